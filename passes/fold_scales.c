/* SPDX-License-Identifier: Apache-2.0 */
/* fold_scales.c -- scales leave the products, by algebra.
 *
 *     dot(x, dequant(q, d)) {trans=1}  =>  mul(dot(x, convert(q)) {trans=1}, d) {axis=1}
 *     dot(w, dequant(q, d), acc)       =>  dot(mul(w, d) {axis=1}, convert(q), acc)
 *
 * with d one scale a token (axis=0 of the dequantized tile) or one for all. In the first form
 * the token is a column of the result: the scale is constant along the contraction and
 * leaves it. In the second the token is what is contracted: the scale moves to the other
 * factor. Either way R x N multiplications replace N x D. A scale for each group of the head
 * is constant along neither dimension; such a dequant stays, and the product reads f32.
 *
 * Hazard: w * d must not be rounded to a format with less range than f32 (f16 underflows,
 * formats.md, fact 5); arith only offers bf16 and integers scaled a row.
 *
 * Inexact: products round in another order. Leaves the dequants to dce.
 */
#include "emit.h"

static bool foldable(const kir_func *f, kir_ref deq)
{
	if (f->node[deq].op != KIR_OP_dequant || kir_attr_of(f, deq, KIR_ATTR_group))
		return false;
	return !kir_type_of(f, kir_src(f, deq, 1))->rank ||
	       kir_attr_of(f, deq, KIR_ATTR_axis) == 0;
}

static kir_ref fold_dot(const kir_func *in, kir_ref n, kir_func *out, const kir_ref *map)
{
	kir_ref deq = kir_src(in, n, 1), acc = kir_src(in, n, 2);
	kir_ref x = map[kir_src(in, n, 0)], d = map[kir_src(in, deq, 1)];
	kir_ref q = as_elem(out, map[kir_src(in, deq, 0)], KIR_f32);
	int64_t trans = kir_attr_of(in, n, KIR_ATTR_trans);
	int64_t axis = kir_type_of(out, d)->rank ? 1 : -1;
	kir_type_id t = in->node[n].type;
	kir_ref src[3] = { x, q, acc ? map[acc] : 0 };

	if (!trans) {
		src[0] = e2x(out, KIR_OP_mul, out->node[x].type, x, d, axis);
		return kir_emit(out, KIR_OP_dot, t, src, acc ? 3 : 2, NULL);
	}
	kir_ref s = kir_emit(out, KIR_OP_dot, t, src, 2, (int64_t[KIR_MAX_ATTRS]){ 1 });
	return e2x(out, KIR_OP_mul, t, s, d, axis);
}

kpass_result kpass_fold_scales(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_ref *map = kir_map_new(out, in);
	kpass_result result = KPASS_SAME;

	(void)why;
	for (kir_ref n = 1; n < in->nnode; n++) {
		const kir_node *d = &in->node[n];

		if (d->op == KIR_OP_param)
			continue;
		if (d->op == KIR_OP_dot && foldable(in, kir_src(in, n, 1)) &&
		    !(kir_attr_of(in, n, KIR_ATTR_trans) && kir_src(in, n, 2))) {
			map[n] = fold_dot(in, n, out, map);
			result = KPASS_CHANGED;
		} else {
			kir_copy(out, in, n, map);
		}
	}
	return result;
}
