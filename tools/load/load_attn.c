/* SPDX-License-Identifier: Apache-2.0 */
/* load_attn.c -- attention to be measured, over one cache or two. Of two the second holds the
 * newest tokens, TAIL of them, or half of a context that is shorter than twice that.
 */
#include "load.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LISTS = 16, TAIL = 128 };

/* Keys that each query sees, summed over the queries of one sequence. */
static double visible(const kir_problem *p, int64_t ctx, int64_t qlen)
{
	double sum = 0;
	for (int64_t i = 0; i < qlen; i++) {
		int64_t pos = ctx - qlen + i, n = p->causal == 1 ? pos + 1 : ctx;
		if (p->window && n > p->window)
			n = p->window;
		if (p->chunk && n > pos % p->chunk + 1)
			n = pos % p->chunk + 1;
		sum += (double)n;
	}
	return sum;
}

/* Positions of one sequence before this one aren't in any query's reach, and aren't read. */
static int64_t reach_begins(const kir_problem *p, int64_t ctx, int64_t qlen)
{
	int64_t first = ctx - qlen, low = 0;
	if (p->window && first - p->window + 1 > low)
		low = first - p->window + 1;
	if (p->chunk && first / p->chunk * p->chunk > low)
		low = first / p->chunk * p->chunk;
	return low;
}

/* One of the caches of a call: tokens and pages of a sequence. */
typedef struct held {
	attn *a;
	int64_t tokens, pages;
	double page_bytes, read; /* read: tokens of a sequence that a call reads */
} held;

static held held_of(attn *a, int64_t tokens, int64_t unseen, int64_t qlen)
{
	held h = { a, tokens, (tokens + a->p.page - 1) / a->p.page, load_page_bytes(a), 0 };
	int64_t seen = unseen < tokens ? tokens - (unseen > 0 ? unseen : 0) : 0;
	h.read = (double)(a->p.sparse ? a->p.sparse * qlen : seen);
	return h;
}

/* Lengths, and a table or an index list for each turn, which move. */
static int32_t *make_tables(load *l, const held *h, int64_t batch, int64_t qlen)
{
	attn *a = h->a;
	int64_t rows = batch * qlen, topk = a->p.sparse;
	int64_t table[2] = { l->turns * batch, h->pages }, index[2] = { l->turns * rows, topk };
	int32_t *lens = attn_tensor(a, "lens", KVJIT_S32, 1, &batch)->data;
	int32_t *order = topk ? attn_tensor(a, "index", KVJIT_S32, 2, index)->data
	                      : attn_tensor(a, "table", KVJIT_S32, 2, table)->data;
	uint64_t rng = 11;
	for (int64_t i = 0; i < batch; i++)
		lens[i] = (int32_t)(topk ? topk : h->tokens);
	for (int64_t i = 0; topk && i < index[0] * topk; i++) {
		int64_t s = i / topk % rows / qlen; /* any token of the row's own sequence */
		order[i] = (int32_t)(s * h->pages * a->p.page +
		                     (int64_t)(load_random(&rng) % (uint64_t)h->tokens));
	}
	if (!topk)
		load_shuffle(order, a->npages, rng);
	return order;
}

static void move_tables(load *l, const held *h, int32_t *order, int64_t batch, int64_t qlen)
{
	int64_t topk = h->a->p.sparse;
	char name[BIND_NAME];
	snprintf(name, sizeof name, "%s%s", topk ? "index" : "table", h->a->first ? "2" : "");
	load_moves(l, name, order,
	           (size_t)(topk ? batch * qlen * topk : batch * h->pages) * sizeof *order);
}

bool load_plan(load *l)
{
	bind *b = &l->a.b;
	const bind_arg *lens = bind_find(b, "lens");
	kvjit_batch x = { .size = sizeof x,
		          .nseq = lens->shape[0],
		          .seq_lens = lens->data,
		          .query_starts = bind_find(b, "starts")->data,
		          .npages = l->a.npages };
	if (l->a.second) {
		x.seq_lens2 = bind_find(b, "lens2")->data;
		x.npages2 = l->a.second->npages;
	}
	return kvjit_plan_new(l->k, &x, &l->plan) == KVJIT_OK;
}

/* Queries, results, and where each sequence's queries start. */
static void bind_queries(attn *a, int64_t batch, int64_t qlen)
{
	int64_t rows = batch * qlen, nstart = batch + 1;
	int64_t q[3] = { rows, a->p.heads, a->p.dim_k },
	        out[3] = { rows, a->p.heads, a->p.dim_v };
	int32_t *starts;

	load_fill(a->p.q, bind_tensor(&a->b, "q", bind_dtype(a->p.q), 3, q)->data,
	          rows * q[1] * q[2]);
	bind_tensor(&a->b, "out", bind_dtype(a->p.out), 3, out);
	bind_tensor(&a->b, "lse", KVJIT_F32, 2, out);
	bind_scalar(&a->b, "scale", 0, 1 / sqrt((double)a->p.dim_k));
	starts = bind_tensor(&a->b, "starts", KVJIT_S32, 1, &nstart)->data;
	for (int64_t i = 0; i < batch; i++)
		starts[i + 1] = starts[i] + (int32_t)qlen;
}

bool load_attn(load *l, kvjit *kv, double cold, char *why, size_t len)
{
	attn *a = &l->a;
	int64_t batch = a->p.batch ? a->p.batch : 1, ctx = a->p.ctx ? a->p.ctx : LOAD_CTX;
	int64_t qlen = a->p.qlen ? a->p.qlen : 1, topk = a->p.sparse;
	int64_t rows = batch * qlen, low, tail = 0;
	double whole = 4.0 * (double)(a->p.heads * (a->p.dim_k + a->p.dim_v)) * (double)batch *
	               (double)qlen,
	       call = 0;
	if (qlen > ctx) {
		snprintf(why, len, "qlen is %lld; it must be at most ctx, %lld",
		         (long long)qlen, (long long)ctx);
		return false;
	}
	if (a->second)
		tail = ctx / 2 < TAIL ? ctx / 2 : TAIL;
	if (a->second && tail == 0) {
		snprintf(why, len, "ctx=%lld leaves nothing for the second cache of kv2=",
		         (long long)ctx);
		return false;
	}
	low = reach_begins(&a->p, ctx, qlen);
	held h[2] = { held_of(a, ctx - tail, low, qlen) };
	int n = 1;
	if (a->second)
		h[n++] = held_of(a->second, tail, low - (ctx - tail), qlen);
	for (int c = 0; c < n; c++) {
		call += h[c].page_bytes * (double)h[c].pages * (double)batch;
		l->bytes +=
		    load_page_read(h[c].a) / (double)h[c].a->p.page * (double)batch * h[c].read;
		topk += c ? h[c].a->p.sparse : 0;
	}
	if (!load_fits(a, call + whole, (double)batch * (double)qlen, why, len))
		return false;
	l->flops = 2 * (double)(a->p.heads * batch) * (double)(a->p.dim_k + a->p.dim_v) *
	           (topk ? (double)(topk * qlen) : visible(&a->p, ctx, qlen));
	/* index lists move over one cache, block tables over parts of it */
	l->turns = topk ? (cold > 0 ? LISTS : 1) : load_turns(call, cold);
	l->pool_bytes = (topk ? 1 : (double)l->turns) * call;
	for (int c = 0; c < n; c++)
		if (!load_cache(l, kv, h[c].a, (topk ? 1 : l->turns) * batch * h[c].pages, why,
		                len))
			return false;
	bind_queries(a, batch, qlen);
	int32_t *order[2];
	for (int c = 0; c < n; c++)
		order[c] = make_tables(l, &h[c], batch, qlen);
	load_others(l, rows > ctx ? rows : ctx);
	l->narg = bind_args(&a->b, l->k, l->arg, why, len);
	if (l->narg < 0)
		return false;
	for (int c = 0; c < n; c++)
		move_tables(l, &h[c], order[c], batch, qlen);
	if (load_plan(l))
		return true;
	snprintf(why, len, "plan: %s", kvjit_kernel_error(l->k));
	return false;
}
