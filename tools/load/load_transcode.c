/* SPDX-License-Identifier: Apache-2.0 */
/* load_transcode.c -- a transcode to be measured: tokens of a cache that an engine has used for
 * a while, pages in any order, into pages of another. Its bytes are those it reads.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Pools of the tensors whose names begin with from_, or of the others; bytes of a page. */
static double make_pools(load *l, bool from, int64_t npages, char *why, size_t len)
{
	double bytes = 0;

	for (int i = 0; i < kvjit_nparam(l->k); i++) {
		const kvjit_param *p = kvjit_param_at(l->k, i);
		int64_t page = 1;

		if (p->dtype != KVJIT_U8 || (strncmp(p->name, "from_", 5) == 0) != from)
			continue;
		for (int d = 1; d < p->rank; d++)
			page *= p->shape[d];
		if (npages && !load_pool_tensor(l, p->name, npages, page, why, len))
			return -1;
		if (npages) { /* in the parameter's own shape; bytes are the same */
			bind_arg *x = bind_find(&l->a.b, p->name);
			x->rank = p->rank;
			memcpy(x->shape + 1, p->shape + 1,
			       (size_t)(p->rank - 1) * sizeof(int64_t));
		}
		bytes += (double)page;
	}
	return bytes;
}

/* Slots of each turn: its pages in any order, their tokens one after the other. */
static int64_t *make_slots(load *l, const char *name, int64_t tokens, int64_t page)
{
	int64_t pages = (tokens + page - 1) / page, all = l->turns * tokens;
	int64_t *slots = bind_tensor(&l->a.b, name, KVJIT_S64, 1, &all)->data;
	int32_t *order = calloc((size_t)(l->turns * pages), sizeof *order);

	if (!order)
		return NULL;
	load_shuffle(order, l->turns * pages, 13);
	for (int64_t i = 0; i < all; i++)
		slots[i] =
		    order[i / tokens * pages + i % tokens / page] * page + i % tokens % page;
	free(order);
	return slots;
}

bool load_transcode(load *l, kvjit *kv, double cold, char *why, size_t len)
{
	attn *a = &l->a;
	int64_t tokens = a->p.ctx ? a->p.ctx : LOAD_ROWS, page = a->p.page, to = a->p.page_to;
	int64_t pages = (tokens + page - 1) / page, written = (tokens + to - 1) / to;
	double per_page = make_pools(l, true, 0, why, len);
	double target = make_pools(l, false, 0, why, len);

	l->bytes = per_page / (double)page * (double)tokens;
	if (!load_fits(a, per_page * (double)pages + target * (double)written, (double)tokens,
	               why, len))
		return false;
	l->turns = load_turns(l->bytes, cold);
	l->pool_bytes = per_page * (double)pages * (double)l->turns;
	if (make_pools(l, true, l->turns * pages, why, len) < 0 ||
	    !load_write_page(l, kv, &a->p, "from_", "", why, len))
		return false;
	load_pages(l, 0, l->turns * pages);
	int first = l->npool;
	if (make_pools(l, false, l->turns * written, why, len) < 0)
		return false;
	for (; first < l->npool; first++) /* an engine's pool has been written before */
		memset(l->pool[first].data, 0x5a, l->pool[first].bytes);
	int64_t *from = make_slots(l, "from_slots", tokens, page),
	        *slots = make_slots(l, "slots", tokens, to);
	if (!from || !slots) {
		snprintf(why, len, "no memory for %lld slots", (long long)tokens);
		return false;
	}
	bind_scalar(&a->b, "n", tokens, 0);
	load_others(l, tokens);
	l->narg = bind_args(&a->b, l->k, l->arg, why, len);
	if (l->narg < 0)
		return false;
	load_moves(l, "from_slots", from, (size_t)tokens * sizeof *from);
	load_moves(l, "slots", slots, (size_t)tokens * sizeof *slots);
	return true;
}
