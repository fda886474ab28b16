/* SPDX-License-Identifier: Apache-2.0 */
/* merge.c -- joins partial attention outputs by their log-sum-exps, from the definition. A
 * part of weight 0 (log-sum-exp -inf, or +inf, which is what attention over index lists says of
 * rows that saw nothing) isn't read: it may hold anything. */
#include "interp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct parts {
	const kref_mem *out, *lse, *part, *lses, *sink;
	int64_t count, dim;
	double *log, *row, *acc; /* [count], [dim], [dim] */
} parts;

/* The log-sum-exps of a row's parts, -inf of those that saw nothing; *none: what it is of all
 * together if no part saw anything. */
static bool read_logs(kref_state *r, kir_ref n, const parts *m, int64_t t, int64_t h,
                      double *none)
{
	*none = -INFINITY;
	for (int64_t p = 0; p < m->count; p++) {
		int64_t at[3] = { p, t, h };

		if (!kref_get_row(r, n, m->lses, at, 3, 1, &m->log[p]))
			return false;
		if (m->log[p] != INFINITY)
			continue;
		*none = INFINITY;
		m->log[p] = -INFINITY;
	}
	return true;
}

/* A sink takes its share of the weight and no part in the sum, as in attention. */
static bool one_row(kref_state *r, kir_ref n, const parts *m, int64_t t, int64_t h)
{
	int64_t at[3] = { 0, t, h }, to[2] = { t, h };
	double max = -INFINITY, sink = -INFINITY, sum = 0, lse, top, all;

	if (!read_logs(r, n, m, t, h, &lse) ||
	    (m->sink && !kref_get_row(r, n, m->sink, &h, 1, 1, &sink)))
		return false;
	for (int64_t p = 0; p < m->count; p++)
		max = m->log[p] > max || isnan(m->log[p]) ? m->log[p] : max;
	memset(m->acc, 0, (size_t)m->dim * sizeof *m->acc);
	if (max != -INFINITY) {
		for (int64_t p = 0; p < m->count; p++)
			sum += exp(m->log[p] - max);
		lse = max + log(sum);
	}
	top = sink > max ? sink : max;
	all = sum * exp(max - top) + exp(sink - top);
	for (int64_t p = 0; p < m->count; p++) {
		double w = isinf(top) ? 0 : exp(m->log[p] - top) / all;

		at[0] = p;
		if (m->log[p] == -INFINITY)
			continue;
		if (!kref_get_row(r, n, m->part, at, 3, m->dim, m->row))
			return false;
		for (int64_t d = 0; d < m->dim; d++)
			m->acc[d] += w * m->row[d];
	}
	return kref_put_row(r, n, m->out, to, 2, m->dim, m->acc) &&
	       (!m->lse || kref_put_row(r, n, m->lse, to, 2, 1, &lse));
}

bool kref_merge(kref_state *r, kir_ref n)
{
	parts m = {
		.out = kref_buffer(r, n, "out"),
		.lse = kref_buffer(r, n, "lse"),
		.part = kref_buffer(r, n, "parts"),
		.lses = kref_buffer(r, n, "lses"),
		.sink = kref_buffer(r, n, "sink"),
		.count = r->slot[kir_operand(r->f, n, "p")].i[0],
	};
	int64_t rows = r->slot[kir_operand(r->f, n, "n")].i[0], heads = m.out->type->dim[1];
	bool ok = true;

	m.dim = m.out->type->dim[2];
	if (m.out->type->rank != 3 || m.dim <= 0 || heads <= 0)
		return kref_fail(r, n, "out must be [tokens,heads,dim] of known extents");
	m.log = calloc((size_t)(m.count > 0 ? m.count : 1) + 2 * (size_t)m.dim, sizeof *m.log);
	if (!m.log)
		return kref_fail(r, n, "out of memory");
	m.row = m.log + (m.count > 0 ? m.count : 0);
	m.acc = m.row + m.dim;
	for (int64_t t = 0; ok && t < rows; t++)
		for (int64_t h = 0; ok && h < heads; h++)
			ok = one_row(r, n, &m, t, h);
	free(m.log);
	return ok;
}
