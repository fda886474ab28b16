/* SPDX-License-Identifier: Apache-2.0 */
/* vec_again.c -- weights times a group's scales are computed twice, not kept.
 *
 *     %p = mul %w, %d {axis=1}                  loop: p = w * d ; maximum of p
 *     %m = reduce.max %p                  =>    loop: p = w * d ; digits of p / m
 *     ... digits of %p ...
 *
 * A product of weights takes its digits after the maximum of a row is known, so both loops go
 * over the tile %p. It would be stored by one and loaded by the other, 64 bytes for each
 * vector where a cycle takes one such store; %w is there for the other groups anyway, and a
 * multiplication with a vector from memory is no more than the load was. Where each cycle takes
 * a store and both ports of arithmetic are full (vec_two_ports) it is the multiplication that
 * costs, and %p is kept.
 *
 * Takes products of a tile, of which there are several with others, and a vector along its
 * columns, whole vectors of them, read by one reduction and by elementwise ops at their own
 * place.
 */
#include "vectorize.h"

static bool is_scaling(const vec *v, kir_ref n)
{
	const kir_func *in = v->in;

	return in->node[n].op == KIR_OP_mul && kir_attr_of(in, n, KIR_ATTR_axis) == 1 &&
	       kir_type_of(in, n)->rank == 2 && kir_type_of(in, n)->dim[1] >= v->lanes &&
	       kir_type_of(in, kir_src(in, n, 1))->rank == 1 &&
	       in->node[kir_src(in, n, 0)].type == in->node[n].type;
}

/* Whether all that read n are a reduction and elementwise ops. */
static bool read_in_place(const vec *v, kir_ref n)
{
	const kir_func *in = v->in;
	unsigned reduces = 0, each = 0;

	for (kir_ref k = n + 1; k <= v->last[n]; k++)
		for (unsigned i = 0; i < in->node[k].nsrc; i++) {
			if (kir_src(in, k, i) != n)
				continue;
			if (vec_is_reduce(in, k) && kir_attr_of(in, k, KIR_ATTR_axis) == 1)
				reduces++;
			else if (kir_ops[in->node[k].op].flags & KIR_EACH &&
			         kir_type_of(in, k)->rank == 2)
				each++;
		}
	return reduces == 1 && each > 0 && reduces + each == v->nuse[n];
}

/* Tiles that are scaled more than once have a home whatever becomes of their products. */
static bool scaled_often(const vec *v, kir_ref w)
{
	unsigned times = 0;

	for (kir_ref k = w + 1; k <= v->last[w] && times < 2; k++)
		times += is_scaling(v, k) && kir_src(v->in, k, 0) == w;
	return times > 1;
}

void vec_again_plan(vec *v)
{
	if (v->in->target->lanes || vec_two_ports(v))
		return;
	for (kir_ref n = 1; n < v->in->nnode; n++) {
		if (!is_scaling(v, n) || v->deferred[n] || !read_in_place(v, n) ||
		    !scaled_often(v, kir_src(v->in, n, 0)))
			continue;
		v->again[n] = true;
		for (unsigned i = 0; i < 2; i++) {
			kir_ref x = kir_src(v->in, n, i);

			v->nuse[x]++; /* a reader more, which isn't in its loops */
			vec_read_later(v, x, v->last[n]);
		}
	}
}
