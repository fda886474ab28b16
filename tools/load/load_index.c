/* SPDX-License-Identifier: Apache-2.0 */
/* load_index.c -- an indexer to be measured: for each new token of each sequence, the choice
 * among the keys up to itself. Its bytes are those of a sequence's keys, once.
 */
#include "load.h"

#include <stdio.h>
#include <string.h>

/* Codes of normal values, no NaN among them. */
static void fill_page(attn *a)
{
	const kir_side *s = &a->format->side[0];
	int64_t groups = s->group ? a->p.dim_k / s->group : 1;
	double size = s->gran == KIR_GRAN_none ? 1 : kir_elem_max(attn_elem(a, KIR_S_k)) / 4;
	uint64_t rng = 5;

	for (int64_t t = 0; t < a->p.page; t++) {
		for (int64_t g = 0; format_stored(s) && g < groups; g++)
			attn_set(a, KIR_S_ks, 0, 0, t, g,
			         kir_encode(s->scale_elem, 0.03, 0, 0, 0));
		for (int64_t d = 0; d < a->p.dim_k; d++)
			attn_set(a, KIR_S_k, 0, 0, t, d,
			         kir_encode(attn_elem(a, KIR_S_k), size * load_normal(&rng), 0,
			                    0, 0));
	}
}

static int32_t *ints(attn *a, const char *name, int rank, int64_t rows, int64_t columns)
{
	return bind_tensor(&a->b, name, KVJIT_S32, rank, (int64_t[]){ rows, columns })->data;
}

bool load_index(load *l, double cold, char *why, size_t len)
{
	attn *a = &l->a;
	const kir_problem *p = &a->p;
	int64_t batch = p->batch ? p->batch : 1, ctx = p->ctx ? p->ctx : LOAD_CTX;
	int64_t qlen = p->qlen ? p->qlen : 1, pages = (ctx + p->page - 1) / p->page;
	int64_t rows = batch * qlen;
	double call = load_page_bytes(a) * (double)pages * (double)batch;
	double logits = 4.0 * (double)rows * (double)pages * (double)p->page;

	if (qlen > ctx) {
		snprintf(why, len, "qlen is %lld; it must be at most ctx, %lld",
		         (long long)qlen, (long long)ctx);
		return false;
	}
	if (!load_fits(a, call + logits, (double)batch * (double)qlen, why, len))
		return false;
	l->bytes = load_page_bytes(a) / (double)p->page * (double)ctx * (double)batch;
	l->flops = 2 * (double)p->heads * (double)p->dim_k * (double)rows * (double)ctx;
	l->turns = load_turns(call, cold);
	l->pool_bytes = (double)l->turns * call;
	a->npages = l->turns * batch * pages;
	for (unsigned i = 0; i < a->layout.ntensor; i++)
		if (!load_pool_tensor(l, a->layout.tensor[i].name, a->npages,
		                      a->layout.tensor[i].page_bytes, why, len))
			return false;
	fill_page(a);
	load_pages(l, 0, a->npages);

	int64_t q[3] = { rows, p->heads, p->dim_k };
	load_fill(p->q, bind_tensor(&a->b, "q", bind_dtype(p->q), 3, q)->data,
	          rows * p->heads * p->dim_k);
	load_fill(KIR_f32, bind_tensor(&a->b, "w", KVJIT_F32, 2, q)->data, rows * p->heads);
	int32_t *table = ints(a, "table", 2, l->turns * batch, pages),
	        *seqs = ints(a, "seqs", 1, rows, 0), *lens = ints(a, "lens", 1, rows, 0);
	load_shuffle(table, a->npages, 11);
	for (int64_t i = 0; i < rows; i++) {
		seqs[i] = (int32_t)(i / qlen);
		lens[i] = (int32_t)(ctx - qlen + i % qlen + 1);
	}
	ints(a, "out", 2, rows, p->topk);
	bind_tensor(&a->b, "logits", KVJIT_F32, 2, (int64_t[]){ rows, pages * p->page });
	bind_scalar(&a->b, "n", rows, 0);
	bind_scalar(&a->b, "pages", a->npages, 0);
	bind_scalar(&a->b, "width", pages * p->page, 0);
	load_others(l, rows);
	l->narg = bind_args(&a->b, l->k, l->arg, why, len);
	if (l->narg < 0)
		return false;
	load_moves(l, "table", table, (size_t)(batch * pages) * sizeof *table);
	return true;
}
