/* SPDX-License-Identifier: Apache-2.0 */
/* frag_sums.c -- sums of rows that a loop only carries are kept a lane each until it ends.
 *
 *     %l1 = for ... carry(%l = 0) {           %l1 = for ... carry(%l = 0) {
 *       %s = reduce.add %p {axis=1}             %s = sum of p's blocks, a lane each
 *       %t = fma %l, %a, %s             =>      %t = fma %l, %a, %s
 *       yield %t                                yield %t
 *     }                                       }
 *                                             %l1 = xe.reduce.add %l1
 *
 * What multiplies the sum is the same in all lanes, so that lanes may be added at any time:
 * once, where each row's sum took eight instructions in each trip. Branches may stand between,
 * and a loop may go on with what another one gave. Not where the sum is used for anything else
 * in the loop, or doesn't begin as 0.
 */
#include "fragment.h"

#include <string.h>

enum { NO, PARTIAL, DONE /* what such a loop gives */ };

static bool is_zero(const kir_func *f, kir_ref n)
{
	if (f->node[n].op == KIR_OP_splat)
		n = kir_src(f, n, 0);
	return f->node[n].op == KIR_OP_const && f->node[n].f == 0;
}

static bool set(uint8_t *mark, kir_ref n, uint8_t as)
{
	bool news = mark[n] == NO || (mark[n] == DONE && as == PARTIAL);

	if (news)
		mark[n] = as;
	return news;
}

/* What region n yields, takes and gives in one place: one of them partial, all are. A loop
 * begins with nothing or with what another gave, which then isn't done yet. */
static void spread_region(const kir_func *f, kir_ref n, uint8_t *mark, bool *more)
{
	bool loop = f->node[n].op == KIR_OP_for;
	unsigned count = loop ? f->node[n].nsrc - 2u : 0;
	kir_ref y = kir_region_yield(f, loop ? n + 2 + count : n + 1);
	kir_ref z = loop ? y : kir_region_yield(f, y + 1);

	for (unsigned i = 0; i < f->node[y].nsrc; i++) {
		kir_ref a = kir_src(f, y, i), b = kir_src(f, z, i), res = z + 1 + i;

		if (mark[a] != PARTIAL && mark[b] != PARTIAL && mark[res] != PARTIAL &&
		    !(loop && mark[n + 2 + i] == PARTIAL))
			continue;
		*more |= set(mark, a, PARTIAL);
		*more |= set(mark, b, PARTIAL);
		*more |= set(mark, res, loop ? DONE : PARTIAL);
		if (!loop)
			continue;
		*more |= set(mark, n + 2 + i, PARTIAL);
		if (!is_zero(f, kir_src(f, n, 2 + i)))
			*more |= set(mark, kir_src(f, n, 2 + i), PARTIAL);
	}
}

static void spread(const kir_func *f, uint8_t *mark)
{
	bool more;

	do {
		more = false;
		for (kir_ref n = 1; n < f->nnode; n++) {
			kir_op op = (kir_op)f->node[n].op;

			if (op == KIR_OP_fma &&
			    (mark[n] == PARTIAL || mark[kir_src(f, n, 2)] == PARTIAL))
				more |= set(mark, n, PARTIAL) |
				        set(mark, kir_src(f, n, 0), PARTIAL) |
				        set(mark, kir_src(f, n, 2), PARTIAL);
			if (op == KIR_OP_for || op == KIR_OP_if)
				spread_region(f, n, mark, &more);
		}
	} while (more);
}

/* Whether what loop n begins with is partial where what it carries is, or nothing. */
static bool begins(const kir_func *f, kir_ref n, const uint8_t *mark)
{
	for (unsigned i = 0; i + 2u < f->node[n].nsrc; i++) {
		kir_ref x = kir_src(f, n, 2 + i);

		if (mark[x] == PARTIAL ? mark[n + 2 + i] != PARTIAL
		                       : mark[n + 2 + i] == PARTIAL && !is_zero(f, x))
			return false;
	}
	return true;
}

/* Whether n may be partial, and what it takes may. */
static bool fits(const kir_func *f, kir_ref n, const uint8_t *mark)
{
	kir_op op = (kir_op)f->node[n].op;
	bool used = false;

	for (unsigned i = 0; i < f->node[n].nsrc; i++)
		used |= mark[kir_src(f, n, i)] == PARTIAL;
	if (op == KIR_OP_for)
		return begins(f, n, mark);
	if (mark[n] != PARTIAL)
		return !used || op == KIR_OP_yield;
	switch (op) {
	case KIR_OP_reduce_add: return !used;
	case KIR_OP_arg:
	case KIR_OP_res: return true;
	case KIR_OP_fma:
		return mark[kir_src(f, n, 0)] == PARTIAL && mark[kir_src(f, n, 1)] != PARTIAL &&
		       mark[kir_src(f, n, 2)] == PARTIAL;
	default: return false;
	}
}

/* Marks sum r and what follows of it; false if one of that isn't as it must be. */
static bool follow(const kir_func *f, kir_ref r, uint8_t *mark)
{
	bool ends = false;

	mark[r] = PARTIAL;
	spread(f, mark);
	for (kir_ref n = 1; n < f->nnode; n++) {
		if (!fits(f, n, mark))
			return false;
		ends |= mark[n] == DONE;
	}
	return ends;
}

void frag_find_sums(frag *g)
{
	const kir_func *f = g->in;
	uint8_t *mark = kir_alloc(g->f->module, f->nnode);

	for (kir_ref n = 1; n < f->nnode; n++) {
		if (f->node[n].op != KIR_OP_reduce_add || g->kind[n] != FRAG_ROW ||
		    kir_type_of(f, n)->elem != KIR_f32 || g->partial[n])
			continue;
		memset(mark, NO, f->nnode);
		if (!follow(f, n, mark))
			continue;
		for (kir_ref i = 1; i < f->nnode; i++) {
			g->partial[i] |= mark[i] == PARTIAL;
			g->gathers[i] = (g->gathers[i] || mark[i] == DONE) && !g->partial[i];
		}
	}
}

void frag_gather(frag *g, kir_ref n)
{
	for (int64_t i = 0; g->gathers[n] && i < frag_blocks(g, n); i++)
		g->val[n][i] = e1(g->f, KIR_OP_xe_reduce_add, frag_type(g, n), g->val[n][i]);
}
