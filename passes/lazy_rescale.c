/* SPDX-License-Identifier: Apache-2.0 */
/* lazy_rescale.c -- sums are rescaled only where a maximum grew by much (knob rescale=lazy).
 *
 *     %x = reduce.max %s {axis=1}           %x = reduce.max %s {axis=1}
 *     %m1 = max %m, %x                      %over = gt %x, %m + 8;  %any = some row's %over
 *                                           %m1 = select %any, (max %m, %x), %m
 *     %al = exp2 (%m - %m1)            =>   %al = exp2 (%m - %m1)
 *     %p = exp2 (%s - %m1)                  %p = exp2 (%s - %m1)
 *     %l1 = %l * %al + sum of %p            %l1 = %l * %al + sum of %p
 *     %o = mul %acc, %al {axis=0}           %o = if %any { mul %acc, %al } else { %acc }
 *     %acc1 = dot %p, %v, %o                %acc1 = dot %p, %v, %o
 *
 * What stands for a row's maximum is then a reference: a maximum of earlier tiles, below that
 * of all by 8 at most. Weights are at most 2^8, and nothing else of the algebra changes: sums
 * are divided by l, and log2(l) + m is the same number. docs/accuracy.md has the bound. A row
 * that saw nothing (-inf) grows by more than any threshold with its first key; until then its
 * sums are 0, so that keeping them is what multiplying them by 2^-inf is.
 *
 * Requires level T and scores in base 2, as expand writes them; changes loops in which it
 * finds all of that. Costs a comparison a row and one scalar a tile; saves reading and writing
 * the sums once more at almost every tile of keys but the first.
 */
#include "emit.h"

enum { RESCALE_LAZY = 2 }; /* place of the word in ir/knobs.def */

static const double THRESHOLD = 8;

static bool is_op(const kir_func *f, kir_ref n, kir_op op)
{
	return f->node[n].op == op;
}

/* The carried maximum that n, max(carried, largest score of each row), follows; 0: n isn't
 * such. */
static kir_ref old_maximum(const kir_func *f, kir_ref n)
{
	if (!is_op(f, n, KIR_OP_max) || kir_type_of(f, n)->rank != 1 ||
	    kir_type_of(f, n)->elem != KIR_f32)
		return 0;
	kir_ref m = kir_src(f, n, 0), x = kir_src(f, n, 1);

	return is_op(f, m, KIR_OP_arg) && is_op(f, x, KIR_OP_reduce_max) ? m : 0;
}

/* The new maximum in n = exp2(old - new), new being 0 where it is -inf; 0: n isn't such. */
static kir_ref new_maximum(const kir_func *f, kir_ref n)
{
	kir_ref d = is_op(f, n, KIR_OP_exp2) ? kir_src(f, n, 0) : 0;
	kir_ref safe = d && is_op(f, d, KIR_OP_sub) ? kir_src(f, d, 1) : 0;
	kir_ref m1 = safe && is_op(f, safe, KIR_OP_select) ? kir_src(f, safe, 2) : 0;

	return m1 && old_maximum(f, m1) && old_maximum(f, m1) == kir_src(f, d, 0) ? m1 : 0;
}

/* The new maximum that decides whether sums n = carried * factor change; 0: n isn't such. */
static kir_ref rescaled_by(const kir_func *f, kir_ref n)
{
	if (!is_op(f, n, KIR_OP_mul) || kir_type_of(f, n)->rank != 2 ||
	    kir_attr_of(f, n, KIR_ATTR_axis) != 0 || !is_op(f, kir_src(f, n, 0), KIR_OP_arg))
		return 0;
	return new_maximum(f, kir_src(f, n, 1));
}

/* The reference of this tile for maximum n of in; *any: whether it is another one. */
static kir_ref reference(const kir_func *in, kir_func *out, kir_ref n, const kir_ref *map,
                         kir_ref *any)
{
	kir_type_id t = in->node[n].type, f32 = kir_scalar(out->module, KIR_f32);
	kir_ref m = map[kir_src(in, n, 0)], x = map[kir_src(in, n, 1)], zero = f32c(out, 0);
	kir_ref limit = e2(out, KIR_OP_add, t, m, f32c(out, THRESHOLD));
	kir_ref over = e2(out, KIR_OP_gt, i1_like(out, t), x, limit);
	kir_ref ones = e3(out, KIR_OP_select, t, over, f32c(out, 1), zero);

	*any = e2(out, KIR_OP_gt, kir_scalar(out->module, KIR_i1),
	          e1x(out, KIR_OP_reduce_max, f32, ones, 0), zero);
	return e3(out, KIR_OP_select, t, *any, e2(out, KIR_OP_max, t, m, x), m);
}

kpass_result kpass_lazy_rescale(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_ref *map = kir_map_new(out, in);
	kir_ref *any = kir_alloc(out->module, in->nnode * sizeof *any);
	kpass_result result = KPASS_SAME;

	(void)why;
	if (in->sched.rescale != RESCALE_LAZY)
		return KPASS_SAME;
	for (kir_ref n = 1; n < in->nnode; n++) {
		kir_ref m1 = rescaled_by(in, n);

		if (in->node[n].op == KIR_OP_param)
			continue;
		if (old_maximum(in, n)) {
			map[n] = reference(in, out, n, map, &any[n]);
			result = KPASS_CHANGED;
		} else if (m1) {
			kir_ref acc = map[kir_src(in, n, 0)], cond = kir_if(out, any[m1]);
			kir_ref o = e2x(out, KIR_OP_mul, in->node[n].type, acc,
			                map[kir_src(in, n, 1)], 0);

			kir_else(out, &o, 1);
			map[n] = kir_if_end(out, cond, &acc, 1);
		} else {
			kir_copy(out, in, n, map);
		}
	}
	return result;
}
