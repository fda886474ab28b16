/* SPDX-License-Identifier: Apache-2.0 */
/* vec_across.c -- reductions: what one begins with, takes in, and leaves of a vector's lanes.
 *
 *     %t = reduce.max %x {axis=1}   =>   acc = -inf ; for %c: acc = x > acc ? x : acc
 *                                        halves of acc combined until one lane is left
 *
 * Of four rows at once neighbours are combined until each 128 bits have all four, and then
 * halves: half the shuffles that one row after the other takes.
 */
#include "vectorize.h"

#include <math.h>

kir_ref vec_identity(vec *v, kir_ref n)
{
	kir_op op = (kir_op)v->in->node[n].op;
	kir_elem e = (kir_elem)kir_type_of(v->in, n)->elem;

	if (op == KIR_OP_reduce_add || op == KIR_OP_reduce_amax)
		return zero_of(v->f, e);
	if (kir_is_float(e))
		return kir_const_f(v->f, e, op == KIR_OP_reduce_max ? -INFINITY : INFINITY);
	int64_t hi = INT64_MAX >> (64 - kir_elems[e].bits), lo = -hi - 1;

	if (!kir_is_signed(e)) {
		hi = 2 * hi + 1;
		lo = 0;
	}
	return kir_const_i(v->f, e, op == KIR_OP_reduce_max ? lo : hi);
}

/* acc with x taken in. A NaN in x leaves a maximum or minimum as it is: written as compare
 * and select, which is one instruction where min and max of the IR are three. */
kir_ref vec_combine(vec *v, kir_op op, kir_ref acc, kir_ref x)
{
	kir_type_id t = v->f->node[acc].type;

	if (op == KIR_OP_reduce_add)
		return e2(v->f, KIR_OP_add, t, acc, x);
	if (op == KIR_OP_reduce_amax)
		x = e1(v->f, KIR_OP_abs, t, x);
	kir_ref better =
	    e2(v->f, op == KIR_OP_reduce_min ? KIR_OP_lt : KIR_OP_gt, i1_like(v->f, t), x, acc);
	return e3(v->f, KIR_OP_select, t, better, x, acc);
}

/* The lower and the upper half of x's lanes combined. */
static kir_ref halves(vec *v, kir_op op, kir_ref x)
{
	const kir_type *t = kir_type_of(v->f, x);
	kir_type_id half = kir_vector(v->f->module, (kir_elem)t->elem, t->dim[0] / 2);
	kir_ref lo = e1(v->f, KIR_OP_half_lo, half, x);

	return vec_combine(v, op, lo, e1(v->f, KIR_OP_half_hi, half, x));
}

/* The lanes of x as one. Halves are combined in registers: a maximum over lanes that must look
 * out for NaN takes LLVM three times the instructions. */
kir_ref vec_across(vec *v, kir_op op, kir_ref x)
{
	kir_type t = *kir_type_of(v->f, x);
	kir_elem e = (kir_elem)t.elem;

	if (op == KIR_OP_reduce_amax)
		op = KIR_OP_reduce_max;
	for (int64_t n = t.dim[0] / 2; op != KIR_OP_reduce_add && n > 0; n /= 2)
		x = halves(v, op, x);
	return e1x(v->f, op, kir_scalar(v->f->module, e), x, 0);
}

/* Lanes 2i and 2i + 1 combined: those of a, then those of b; of each `within` lanes. */
static kir_ref neighbours(vec *v, kir_op op, kir_ref a, kir_ref b, int64_t within)
{
	kir_type_id t = v->f->node[a].type;
	kir_ref even = e2x(v->f, KIR_OP_unzip_lo, t, a, b, within);

	return vec_combine(v, op, even, e2x(v->f, KIR_OP_unzip_hi, t, a, b, within));
}

/* The lanes of each of `n` vectors x as one, all n results in one vector: neighbours are
 * combined, of two vectors at once, until each has what is left of one row beside the next.
 * Four rows of 16 lanes take half the instructions that one after the other would. What 4
 * lanes hold is combined first, by shuffles inside them, so that each 4 have all of four rows
 * and halves of the vector are combined as they are. */
kir_ref vec_across_rows(vec *v, kir_op op, kir_ref *x, unsigned n)
{
	kir_type t = *kir_type_of(v->f, x[0]);
	int64_t lanes = t.dim[0], each = n;
	int64_t within = n <= VEC_QUAD && lanes > VEC_QUAD ? VEC_QUAD : 0;

	if (op == KIR_OP_reduce_amax)
		op = KIR_OP_reduce_max;
	for (; lanes > each && lanes > v->lanes; lanes /= 2) /* more than one register */
		for (unsigned i = 0; i < n; i++)
			x[i] = halves(v, op, x[i]);
	for (; n > 1; n /= 2)
		for (unsigned i = 0; i < n / 2; i++)
			x[i] = neighbours(v, op, x[2 * i], x[2 * i + 1], within);
	for (; lanes > each; lanes /= 2) {
		if (within && lanes > VEC_QUAD) {
			x[0] = halves(v, op, x[0]);
			continue;
		}
		kir_type_id half = kir_vector(v->f->module, (kir_elem)t.elem, lanes / 2);
		kir_ref lo = e1(v->f, KIR_OP_half_lo, half, x[0]);

		x[0] = neighbours(v, op, lo, e1(v->f, KIR_OP_half_hi, half, x[0]), 0);
	}
	return x[0];
}
