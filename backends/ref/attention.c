/* SPDX-License-Identifier: Apache-2.0 */
/* attention.c -- attention and merge from their definitions, in double precision.
 *
 * A row's scores are all computed first, then softmax in two passes, then the sum. Keys and
 * values are decoded when a row first sees them, so that what no row sees (a slot past the
 * end, a masked key) is never read, and once for all query heads that share them.
 */
#include "interp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What lies in one stream: codes and their stored scales. */
typedef struct part {
	const kref_mem *code, *scale;
	const kir_side *rule, *packed; /* packed: two codes a byte, or NULL */
	int64_t dim, group;
} part;

/* One side of the cache: its parts, scales handed over. */
typedef struct side {
	part part[2];
	unsigned nparts;
	const kref_mem *given, *signs;
	int64_t dim, block; /* block: elements that are rotated together, or 0 */
	double *row;        /* [len][dim], decoded, times the stored scales           */
	char *have;         /* [len]                                                  */
	double *scale;      /* one row's stored scales                                */
} side;

typedef struct attn {
	const kref_mem *q, *out, *table, *index, *lens, *starts, *lse, *sink, *qd, *work;
	const kref_mem *mean; /* what keys are stored less, or NULL                 */
	side k, v;            /* v without parts: values are the first elements of the keys */
	int64_t limit;        /* slots that an index list may name                        */
	int64_t heads, kv_heads, page, dim_v, nwork;
	double scale;
	int64_t len, cap; /* of the sequence at hand; tokens there is room for    */
	double *qrow, *mrow, *score, *acc;
	int64_t *slots; /* of its keys; negative: no key                         */
} attn;

static bool alloc_side(side *s, int64_t cap)
{
	free(s->row);
	free(s->have);
	s->row = malloc((size_t)(cap * s->dim) * sizeof *s->row + 1);
	s->have = malloc((size_t)cap + 1);
	if (!s->scale)
		s->scale = malloc((size_t)s->dim * sizeof *s->scale + 1);
	return s->row && s->have && s->scale;
}

static bool make_room(kref_state *r, kir_ref n, attn *a)
{
	if (!a->qrow) {
		a->qrow = malloc((size_t)a->k.dim * sizeof *a->qrow);
		a->mrow = malloc((size_t)a->k.dim * sizeof *a->mrow);
		a->acc = malloc((size_t)a->dim_v * sizeof *a->acc);
	}
	if (a->len <= a->cap && a->cap)
		return true;
	a->cap = a->len > 64 ? a->len : 64;
	free(a->score);
	free(a->slots);
	a->score = malloc((size_t)a->cap * sizeof *a->score);
	a->slots = malloc((size_t)a->cap * sizeof *a->slots);
	if (a->qrow && a->mrow && a->acc && a->score && a->slots && alloc_side(&a->k, a->cap) &&
	    alloc_side(&a->v, a->cap))
		return true;
	return kref_fail(r, n, "out of memory for a sequence of %lld tokens",
	                 (long long)a->len);
}

static void release(attn *a)
{
	side *both[] = { &a->k, &a->v };

	for (unsigned k = 0; k < 2; k++) {
		free(both[k]->row);
		free(both[k]->have);
		free(both[k]->scale);
	}
	free(a->qrow);
	free(a->mrow);
	free(a->acc);
	free(a->score);
	free(a->slots);
}

/* Takes a row's rotation back: H and signs, over the block's size. */
static bool unrotate(kref_state *r, kir_ref n, const side *s, double *row)
{
	double sign = 1;

	for (int64_t k = 0; s->block && k < s->dim; k += s->block)
		kref_hadamard(r, KIR_f64, row + k, s->block);
	for (int64_t k = 0; s->block && k < s->dim; k++) {
		int64_t at = k % s->block;

		if (s->signs && !kref_get_row(r, n, s->signs, &at, 1, 1, &sign))
			return false;
		row[k] *= sign / (double)s->block;
	}
	return true;
}

/* The stored scales of one slot become one factor for each group of elements. */
static bool read_row(kref_state *r, kir_ref n, const attn *a, side *s, int64_t h, int64_t j)
{
	int64_t at[3] = { a->slots[j] / a->page, h, a->slots[j] % a->page };
	double *row = s->row + j * s->dim;

	if (s->have[j])
		return true;
	for (unsigned i = 0; i < s->nparts; row += s->part[i++].dim) {
		const part *p = &s->part[i];
		int64_t groups = (p->dim + p->group - 1) / p->group, sat[3];

		memcpy(sat, at, sizeof sat);
		if (p->rule && p->rule->tokens)
			sat[2] /= p->rule->tokens;
		if (!kref_get_codes(r, n, p->packed, p->code, at, 3, p->dim, row))
			return false;
		if (!p->scale)
			continue;
		if (!kref_get_row(r, n, p->scale, sat, 3, groups, s->scale))
			return false;
		for (int64_t d = 0; d < p->dim; d++) {
			double zero = 0, x = s->scale[d / p->group];

			if (p->rule)
				x = kir_side_split(p->rule, x, &zero);
			row[d] = (row[d] - zero) * x;
		}
	}
	s->have[j] = 1;
	return unrotate(r, n, s, s->row + j * s->dim);
}

/* The scale handed over for sequence b and KV head h; 1 when there is none. */
static bool given(kref_state *r, kir_ref n, const kref_mem *m, int64_t b, int64_t h, double *x)
{
	int64_t at[2] = { b, h };

	*x = 1;
	return !m || kref_get_row(r, n, m, at, 2, 1, x);
}

/* Sets region arguments, runs the region, returns the slot of what it yields. */
static const kref_slot *ask(kref_state *r, kir_ref arg, unsigned nargs, const int64_t *where,
                            kir_ref yield)
{
	for (unsigned k = 0; k < nargs; k++)
		r->slot[arg + k].i[0] = where[k];
	if (!kref_exec(r, arg + nargs))
		return NULL;
	return kref_in(r, yield, 0);
}

/* In four sums, which doesn't matter at this precision, and is three times as fast. */
static double dot(const double *x, const double *y, int64_t n)
{
	double sum[4] = { 0 };
	int64_t d = 0;

	for (; d + 4 <= n; d += 4)
		for (int k = 0; k < 4; k++)
			sum[k] += x[d + k] * y[d + k];
	for (; d < n; d++)
		sum[0] += x[d] * y[d];
	return sum[0] + sum[1] + (sum[2] + sum[3]);
}

/* What the mean of KV head kvh's keys adds to every score of the query in a->qrow. */
static bool mean_score(kref_state *r, kir_ref n, const attn *a, int64_t kvh, double scale,
                       double *add)
{
	*add = 0;
	if (!a->mean)
		return true;
	if (!kref_get_row(r, n, a->mean, &kvh, 1, a->k.dim, a->mrow))
		return false;
	*add = scale * dot(a->qrow, a->mrow, a->k.dim);
	return true;
}

/* a->score[j] for the keys that are seen, -inf for the others; `add` is a part of each. That a
 * key was decoded says nothing: it may have been for another row. */
static bool scores(kref_state *r, kir_ref n, attn *a, const int64_t where[4], int64_t kvh,
                   double scale, double add)
{
	const kref_slot *s = &r->slot[n];
	int64_t at[4] = { where[0], where[1], where[2], 0 };

	for (int64_t j = 0; j < a->len; j++) {
		const kref_slot *x;
		const double *row = a->k.row + j * a->k.dim;

		at[3] = j;
		a->score[j] = -INFINITY;
		if (a->slots[j] < 0)
			continue;
		x = ask(r, s->yield[0] + 1, 4, at, s->yield[1]);
		if (!x)
			return false;
		if (!x->i[0])
			continue;
		if (!read_row(r, n, a, &a->k, kvh, j))
			return false;
		r->slot[n + 1].f[0] = scale * dot(a->qrow, row, a->k.dim) + add;
		kref_round(r, r->slot[n + 1].elem, r->slot[n + 1].f, 1);
		x = ask(r, n + 2, 4, at, s->yield[0]);
		if (!x)
			return false;
		a->score[j] = x->f[0];
	}
	return true;
}

/* acc = softmax(score) v; gives the log of the sum of exp(score), -inf if nothing is seen. A
 * sink takes its share of the weight, all of it if it is infinite, and no part in the sum. */
static bool weigh(kref_state *r, kir_ref n, attn *a, int64_t kvh, double sink, double scale,
                  double *lse)
{
	double max = -INFINITY, top, sum = 0, all;
	side *v = a->v.nparts ? &a->v : &a->k;

	memset(a->acc, 0, (size_t)a->dim_v * sizeof *a->acc);
	*lse = a->index ? INFINITY : -INFINITY;
	for (int64_t j = 0; j < a->len; j++)
		max = a->score[j] > max || isnan(a->score[j]) ? a->score[j] : max;
	if (max == -INFINITY)
		return true;
	for (int64_t j = 0; j < a->len; j++)
		sum += exp(a->score[j] - max);
	*lse = max + log(sum);
	top = sink > max ? sink : max;
	all = sum * exp(max - top) + exp(sink - top);
	for (int64_t j = 0; j < a->len; j++) {
		double w = isinf(top) ? 0 : exp(a->score[j] - top) / all * scale;

		if (a->score[j] == -INFINITY)
			continue;
		if (!read_row(r, n, a, v, kvh, j))
			return false;
		for (int64_t d = 0; d < a->dim_v; d++)
			a->acc[d] += w * v->row[j * v->dim + d];
	}
	return true;
}

static bool one_row(kref_state *r, kir_ref n, attn *a, int64_t b, int64_t h, int64_t row,
                    int64_t pos)
{
	int64_t kvh = h / (a->heads / a->kv_heads), at[2] = { row, h };
	int64_t where[4] = { b, h, pos, 0 };
	double qd, kd, vd, sink = -INFINITY, lse, add;

	if (!given(r, n, a->qd, b, kvh, &qd) || !given(r, n, a->k.given, b, kvh, &kd) ||
	    !given(r, n, a->v.given, b, kvh, &vd))
		return false;
	if (a->sink && !kref_get_row(r, n, a->sink, &h, 1, 1, &sink))
		return false;
	if (!a->v.nparts)
		vd = kd;
	if (!kref_get_row(r, n, a->q, at, 2, a->k.dim, a->qrow) ||
	    !mean_score(r, n, a, kvh, a->scale * qd, &add) ||
	    !scores(r, n, a, where, kvh, a->scale * qd * kd, add) ||
	    !weigh(r, n, a, kvh, sink, vd, &lse))
		return false;
	return kref_put_row(r, n, a->out, at, 2, a->dim_v, a->acc) &&
	       (!a->lse || kref_put_row(r, n, a->lse, at, 2, 1, &lse));
}

/* Slots of a sequence's keys, from the block table. */
static bool slots_by_table(kref_state *r, kir_ref n, attn *a, int64_t b)
{
	int64_t page = 0;

	for (int64_t j = 0; j < a->len; j++) {
		int64_t at[2] = { b, j / a->page };

		if (j % a->page == 0 && !kref_get_int(r, n, a->table, at, 2, &page))
			return false;
		a->slots[j] = page * a->page + j % a->page;
	}
	return true;
}

/* Of a query's, from its index list; what is no slot of the cache is no key. */
static bool slots_by_list(kref_state *r, kir_ref n, attn *a, int64_t row)
{
	for (int64_t j = 0; j < a->len; j++) {
		int64_t at[2] = { row, j };

		if (!kref_get_int(r, n, a->index, at, 2, &a->slots[j]))
			return false;
		if (a->slots[j] >= a->limit)
			a->slots[j] = -1;
	}
	return true;
}

static void forget_rows(attn *a)
{
	if (a->len <= 0)
		return;
	memset(a->k.have, 0, (size_t)a->len);
	memset(a->v.have, 0, (size_t)a->len);
}

static bool sequence(kref_state *r, kir_ref n, attn *a, int64_t b)
{
	int64_t first, end, next = b + 1, group = a->heads / a->kv_heads;

	if (!kref_get_int(r, n, a->lens, &b, 1, &a->len) ||
	    !kref_get_int(r, n, a->starts, &b, 1, &first) ||
	    !kref_get_int(r, n, a->starts, &next, 1, &end) || !make_room(r, n, a))
		return false;
	if (!a->index && !slots_by_table(r, n, a, b))
		return false;
	for (int64_t h = 0; h < a->heads; h++) {
		if (h % group == 0 && !a->index)
			forget_rows(a);
		for (int64_t row = first; row < end && !a->index; row++)
			if (!one_row(r, n, a, b, h, row, a->len - (end - row)))
				return false;
	}
	for (int64_t row = first; row < end && a->index; row++) {
		if (!slots_by_list(r, n, a, row))
			return false;
		for (int64_t h = 0; h < a->heads; h++) {
			if (h % group == 0)
				forget_rows(a);
			if (!one_row(r, n, a, b, h, row, a->len - (end - row)))
				return false;
		}
	}
	return true;
}

static bool add_part(kref_state *r, kir_ref n, side *s, int which, const char *code,
                     const char *scale)
{
	part *p = &s->part[s->nparts];
	int64_t groups = 1, format = kir_attr_of(r->f, n, KIR_ATTR_format);
	const kir_side *rule = format >= 0 ? &r->f->module->format[format]->side[which] : NULL;

	p->code = kref_buffer(r, n, code);
	p->scale = kref_buffer(r, n, scale);
	if (!p->code)
		return true;
	p->rule = rule;
	if (rule && which < 2) {
		s->block = kir_side_block(rule, p->code->type->dim[3] * kir_side_per(rule));
		s->signs = kref_buffer(r, n, which ? "vsign" : "ksign");
	}
	p->packed = rule && rule->bits == 4 ? rule : NULL;
	p->dim = p->code->type->dim[3] * (p->packed ? 2 : 1);
	if (p->scale && p->scale->type->rank == 4)
		groups = p->scale->type->dim[3];
	if (p->code->type->rank != 4 || p->dim <= 0 || groups <= 0)
		return kref_fail(r, n, "%s must be [pages,heads,page,dim] of known extents",
		                 code);
	p->group = (p->dim + groups - 1) / groups;
	s->dim += p->dim;
	s->nparts++;
	return true;
}

static bool set_up(kref_state *r, kir_ref n, attn *a)
{
	kir_ref scale = kir_operand(r->f, n, "scale"), nwork = kir_operand(r->f, n, "nwork");
	kir_ref limit = kir_operand(r->f, n, "limit");

	a->q = kref_buffer(r, n, "q");
	a->out = kref_buffer(r, n, "out");
	a->table = kref_buffer(r, n, "table");
	a->index = kref_buffer(r, n, "index");
	a->limit = limit ? r->slot[limit].i[0] : 0;
	a->k.given = kref_buffer(r, n, "kd");
	a->v.given = kref_buffer(r, n, "vd");
	a->lens = kref_buffer(r, n, "lens");
	a->starts = kref_buffer(r, n, "starts");
	a->lse = kref_buffer(r, n, "lse");
	a->sink = kref_buffer(r, n, "sink");
	a->qd = kref_buffer(r, n, "qd");
	a->mean = kref_buffer(r, n, "kmean");
	a->work = kref_buffer(r, n, "work");
	a->scale = r->slot[scale].f[0];
	if (!add_part(r, n, &a->k, 0, "k", "ks") || !add_part(r, n, &a->k, 2, "r", "rs") ||
	    !add_part(r, n, &a->v, 1, "v", "vs"))
		return false;
	a->dim_v = a->out->type->dim[2];
	if (a->dim_v > (a->v.nparts ? a->v.dim : a->k.dim))
		return kref_fail(r, n, "out has rows of %lld elements, values of %lld",
		                 (long long)a->dim_v,
		                 (long long)(a->v.nparts ? a->v.dim : a->k.dim));
	a->heads = a->q->type->dim[1];
	a->kv_heads = a->k.part[0].code->type->dim[1];
	a->page = a->k.part[0].code->type->dim[2];
	if (a->kv_heads <= 0 || a->page <= 0 || a->heads % a->kv_heads)
		return kref_fail(r, n, "%lld query heads don't divide among %lld KV heads",
		                 (long long)a->heads, (long long)a->kv_heads);
	if (a->work && nwork)
		a->nwork = r->slot[nwork].i[0];
	else if (a->lens->type->dim[0] < 0)
		return kref_fail(r, n, "without work and nwork, lens needs a known extent");
	return true;
}

static int by_value(const void *x, const void *y)
{
	int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;

	return (a > b) - (a < b);
}

/* The sequences of the work list, each once: the list says what there is to do, not how. */
static bool all_sequences(kref_state *r, kir_ref n, attn *a)
{
	int64_t *seq;
	bool ok = true;

	if (!a->work) {
		for (int64_t b = 0; ok && b < a->lens->type->dim[0]; b++)
			ok = sequence(r, n, a, b);
		return ok;
	}
	seq = malloc((size_t)(a->nwork > 0 ? a->nwork : 1) * sizeof *seq);
	if (!seq)
		return kref_fail(r, n, "out of memory");
	for (int64_t k = 0; ok && k < a->nwork; k++) {
		int64_t at[2] = { k, 0 };
		ok = kref_get_int(r, n, a->work, at, 2, &seq[k]);
	}
	if (ok && a->nwork > 0)
		qsort(seq, (size_t)a->nwork, sizeof *seq, by_value);
	for (int64_t k = 0; ok && k < a->nwork; k++)
		if (k == 0 || seq[k] != seq[k - 1])
			ok = sequence(r, n, a, seq[k]);
	free(seq);
	return ok;
}

bool kref_attention(kref_state *r, kir_ref n)
{
	attn a = { 0 };
	bool ok = set_up(r, n, &a) && all_sequences(r, n, &a);

	release(&a);
	return ok;
}
