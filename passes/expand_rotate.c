/* SPDX-License-Identifier: Apache-2.0 */
/* expand_rotate.c -- rows rotated in blocks, and back.
 *
 *     y = x . diag(signs) . H            for keys, values and queries
 *     x = y . H . diag(signs) / block    for outputs: H . H is the block's size times 1
 *
 * H is Sylvester's matrix, not normalised: its entries are 1 and -1, so that sums and
 * differences are all there is to it. Each block is a row of its own to the sign's vector.
 */
#include "expand.h"

static kir_ref times_signs(kir_func *f, kir_ref x, kir_ref signs, int64_t block)
{
	kir_type_id t = f->node[x].type;
	kir_ref s;

	if (!signs)
		return x;
	s = e2(f, KIR_OP_load, kir_vector(f->module, KIR_s8, block), signs, s64c(f, 0));
	return e2x(f, KIR_OP_mul, t, x, as_elem(f, s, KIR_f32), 1);
}

kir_ref expand_rotate(kir_func *f, kir_ref x, kir_ref signs, int64_t block, bool back)
{
	kir_type_id whole = f->node[x].type;
	int64_t n = kir_type_count(kir_type_of(f, x));
	kir_type_id t = kir_tile(f->module, KIR_f32, n / block, block);

	x = e1(f, KIR_OP_reshape, t, x);
	if (!back)
		x = times_signs(f, x, signs, block);
	x = kir_emit(f, KIR_OP_hadamard, t, &x, 1, (int64_t[KIR_MAX_ATTRS]){ block });
	if (back) {
		x = times_signs(f, x, signs, block);
		x = e2(f, KIR_OP_mul, t, x, f32c(f, 1.0 / (double)block));
	}
	return e1(f, KIR_OP_reshape, whole, x);
}
