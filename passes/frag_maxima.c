/* SPDX-License-Identifier: Apache-2.0 */
/* frag_maxima.c -- the largest of a row is kept a lane each where it is needed in a branch
 * only.
 *
 *     %x = reduce.max %s {axis=1}             %x = max of s's blocks, a lane each
 *     %up = sub %x, %limit                    %up = sub %x, %limit
 *     %top = reduce.max %up            =>     %top = reduce.max %up, rows and lanes
 *     if .. {                                 if .. {
 *       %m1 = max %m, %x                        %y = xe.reduce.max %x;  %m1 = max %m, %y
 *
 * What a row is compared with is the same in all lanes, so the largest of all rows is the same
 * of parts. The lanes of one vector meet there instead of those of every row; of a row they
 * take nine instructions. Not where a whole maximum is needed outside a branch.
 */
#include "fragment.h"

static bool reads(const kir_func *f, kir_ref u, kir_ref n)
{
	for (unsigned i = 0; i < f->node[u].nsrc; i++)
		if (kir_src(f, u, i) == n)
			return true;
	return false;
}

/* Whether all that reads n is the largest of all rows. */
static bool only_largest(const frag *g, kir_ref n)
{
	const kir_func *f = g->in;

	for (kir_ref u = n + 1; u < f->nnode; u++)
		if (reads(f, u, n) &&
		    (f->node[u].op != KIR_OP_reduce_max || kir_type_of(f, u)->rank))
			return false;
	return true;
}

/* Whether u, which reads n, may do so a lane each: x less something. */
static bool asks(const frag *g, kir_ref u, kir_ref n)
{
	const kir_func *f = g->in;

	return f->node[u].op == KIR_OP_sub && kir_src(f, u, 0) == n && kir_src(f, u, 1) != n &&
	       g->kind[u] == FRAG_ROW && only_largest(g, u);
}

/* Whether u stands in a branch that n is outside of. */
static bool in_branch(const kir_func *f, kir_ref n, kir_ref u)
{
	for (kir_ref r = n + 1; r < u; r++)
		if (f->node[r].op == KIR_OP_if && kir_region_end(f, r) > u)
			return true;
	return false;
}

void frag_find_maxima(frag *g)
{
	const kir_func *f = g->in;

	for (kir_ref n = 1; n < f->nnode; n++) {
		bool fits = f->node[n].op == KIR_OP_reduce_max && g->kind[n] == FRAG_ROW &&
		            kir_type_of(f, n)->elem == KIR_f32,
		     asked = false;

		for (kir_ref u = n + 1; fits && u < f->nnode; u++) {
			if (!reads(f, u, n))
				continue;
			if (asks(g, u, n))
				asked = true;
			else
				fits = kir_ops[f->node[u].op].flags & KIR_EACH &&
				       in_branch(f, n, u);
		}
		if (!fits || !asked)
			continue;
		g->tops[n] = true;
		for (kir_ref u = n + 1; u < f->nnode; u++)
			g->tops[u] |= reads(f, u, n) && asks(g, u, n);
	}
}

static bool needs_whole(const frag *g, kir_ref n, kir_ref s)
{
	return g->tops[s] && !g->tops[n] && kir_type_of(g->in, n)->rank;
}

void frag_meet(frag *g, kir_ref n, kir_ref **was)
{
	for (unsigned i = 0; i < g->in->node[n].nsrc; i++) {
		kir_ref s = kir_src(g->in, n, i);

		if (!needs_whole(g, n, s))
			continue;
		was[i] = g->val[s];
		frag_new(g, s);
		for (int64_t k = 0; k < frag_blocks(g, s); k++)
			g->val[s][k] =
			    e1(g->f, KIR_OP_xe_reduce_max, frag_type(g, s), was[i][k]);
	}
}

void frag_part_again(frag *g, kir_ref n, kir_ref **was)
{
	for (unsigned i = g->in->node[n].nsrc; i-- > 0;)
		if (needs_whole(g, n, kir_src(g->in, n, i)))
			g->val[kir_src(g->in, n, i)] = was[i];
}
