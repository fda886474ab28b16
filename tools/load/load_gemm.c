/* SPDX-License-Identifier: Apache-2.0 */
/* load_gemm.c -- a matrix product to be measured: batch times qlen rows, weights that are
 * another copy on each turn, as those of the next layer are.
 */
#include "load.h"

#include <stdio.h>
#include <string.h>

enum { SOME = 1 << 16 }; /* elements that are made; the rest repeats them */

static kir_elem elem_of(const kvjit_kernel *k, const char *name, int64_t *count)
{
	kir_elem e = KIR_VOID;

	for (int i = 0; i < kvjit_nparam(k); i++) {
		const kvjit_param *p = kvjit_param_at(k, i);

		if (strcmp(p->name, name) != 0)
			continue;
		for (int x = 1; x < KIR_NELEM; x++)
			if (!e && kir_elems[x].bits >= 8 && bind_dtype((kir_elem)x) == p->dtype)
				e = (kir_elem)x;
		*count = 1;
		for (int d = 0; d < p->rank; d++)
			*count *= p->shape[d] < 0 ? 1 : p->shape[d];
	}
	return e;
}

static void fill(kir_elem e, char *data, int64_t n)
{
	size_t size = kir_elem_bytes(e), some = (size_t)(n < SOME ? n : SOME) * size;

	load_fill(e, data, n < SOME ? n : SOME);
	for (size_t at = some; at < (size_t)n * size; at += some)
		memcpy(data + at, data,
		       (size_t)n * size - at < some ? (size_t)n * size - at : some);
}

/* A tensor of `turns` copies of the parameter. */
static char *rotating(load *l, const char *name, int64_t copies, size_t *bytes)
{
	int64_t n = 0;
	kir_elem e = elem_of(l->k, name, &n);
	char *p;

	*bytes = (size_t)n * kir_elem_bytes(e);
	p = e ? load_pool(l, *bytes * (size_t)copies) : NULL;
	if (!p)
		return NULL;
	fill(e, p, n * copies);
	for (int i = 0; i < kvjit_nparam(l->k); i++) {
		const kvjit_param *q = kvjit_param_at(l->k, i);
		int64_t shape[6];

		if (strcmp(q->name, name) != 0)
			continue;
		for (int d = 0; d < q->rank; d++)
			shape[d] = q->shape[d] < 0 ? copies : q->shape[d];
		bind_borrow(&l->a.b, name, q->dtype, q->rank, shape, p);
	}
	return p;
}

bool load_gemm(load *l, double cold, char *why, size_t len)
{
	const kir_problem *p = &l->a.p;
	int64_t rows = (p->batch ? p->batch : 1) * (p->qlen ? p->qlen : 1), n = 0;
	size_t bytes = 0, row = 0;
	kir_elem e = elem_of(l->k, "w", &n);

	l->bytes = (double)n * kir_elem_bytes(e);
	l->flops = 2 * (double)rows * (double)p->dim_k * (double)p->dim_v;
	if (rows > 1 << 20 || l->bytes > 0x1p34) {
		snprintf(why, len, "batch * qlen is %lld rows; bench takes up to 2^20",
		         (long long)rows);
		return false;
	}
	l->turns = load_turns(l->bytes, cold);
	l->pool_bytes = l->bytes * (double)l->turns;
	char *w = rotating(l, "w", l->turns, &bytes);
	if (!w || !rotating(l, p->fused ? "x" : "a", rows, &row)) {
		snprintf(why, len, "no memory for the weights or the rows");
		return false;
	}
	load_others(l, rows);
	l->narg = bind_args(&l->a.b, l->k, l->arg, why, len);
	if (l->narg < 0)
		return false;
	load_moves(l, "w", w, bytes);
	return true;
}
