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
 * On GPUs, where a row's maximum is lanes that must meet and a factor is as dear as a row of
 * sums is short, all that the maxima are for stands in the branch, so that nothing but one
 * number for all rows is asked of the others (frag_maxima.c keeps lanes apart until then):
 *
 *     %up = sub %x, %m + 8;  %any = gt (reduce.max %up), 0
 *     %m1, %al = if %any { yield (max %m, %x), exp2 (%m - that) } else { yield %m, 1 }
 *     %p = exp2 (%s - max %m1, -0x1.fffffep127)
 *
 * NaN gives way to any number in a maximum, also the one of -inf less -inf.
 *
 * Requires level T and scores in base 2, as expand writes them; changes loops in which it
 * finds all of that. Costs a comparison a row and one scalar a tile; saves reading and writing
 * the sums once more at almost every tile of keys but the first.
 */
#include "analysis.h"
#include "emit.h"

#include <float.h>

/* The carried maximum that n, max(carried, largest score of each row), follows; 0: n isn't
 * such. */
static kir_ref old_maximum(const kir_func *f, kir_ref n)
{
	if (!is_op(f, n, KIR_OP_max) || kir_type_of(f, n)->rank != 1 ||
	    kir_type_of(f, n)->elem != KIR_f32)
		return 0;
	kir_ref m = kir_src(f, n, 0), x = kir_src(f, n, 1);

	/* times the scores' scale, if that was taken out of them */
	if (is_op(f, x, KIR_OP_mul) && !kir_type_of(f, kir_src(f, x, 1))->rank)
		x = kir_src(f, x, 0);
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
	kir_ref limit = e2(out, KIR_OP_add, t, m, f32c(out, KPASS_RESCALE));
	kir_ref over = e2(out, KIR_OP_gt, i1_like(out, t), x, limit);
	kir_ref ones = e3(out, KIR_OP_select, t, over, f32c(out, 1), zero);

	*any = e2(out, KIR_OP_gt, kir_scalar(out->module, KIR_i1),
	          e1x(out, KIR_OP_reduce_max, f32, ones, 0), zero);
	return e3(out, KIR_OP_select, t, *any, e2(out, KIR_OP_max, t, m, x), m);
}

/* The new maximum that n stands for in differences, 0 where that is -inf; 0: n isn't such. */
static kir_ref safe_maximum(const kir_func *f, kir_ref n)
{
	kir_ref m1 = is_op(f, n, KIR_OP_select) ? kir_src(f, n, 2) : 0;
	kir_ref none = m1 && old_maximum(f, m1) ? kir_src(f, n, 0) : 0;

	return none && is_op(f, none, KIR_OP_eq) && kir_src(f, none, 0) == m1 ? m1 : 0;
}

/* m as what differences are taken from: no -inf, beside which they would be NaN. */
static kir_ref finite(kir_func *f, kir_ref m)
{
	return e2(f, KIR_OP_max, f->node[m].type, m, f32c(f, -FLT_MAX));
}

/* What a GPU's loop has of maximum n; map[n] becomes the reference. */
typedef struct turn {
	kir_ref any, factor; /* whether it is another one, and what that makes of sums */
} turn;

static turn branch(const kir_func *in, kir_func *out, kir_ref n, kir_ref *map)
{
	kir_type_id t = in->node[n].type, f32 = kir_scalar(out->module, KIR_f32);
	kir_ref m = map[kir_src(in, n, 0)], x = map[kir_src(in, n, 1)], now[2], old[2], cond;
	kir_ref limit = e2(out, KIR_OP_add, t, m, f32c(out, KPASS_RESCALE));
	turn r = { 0 };

	r.any = e1x(out, KIR_OP_reduce_max, f32, e2(out, KIR_OP_sub, t, x, limit), 0);
	r.any = e2(out, KIR_OP_gt, kir_scalar(out->module, KIR_i1), r.any, f32c(out, 0));
	old[0] = m;
	old[1] = e1(out, KIR_OP_splat, t, f32c(out, 1));
	cond = kir_if(out, r.any);
	now[0] = e2(out, KIR_OP_max, t, m, x);
	now[1] = e2(out, KIR_OP_sub, t, m, finite(out, now[0]));
	now[1] = e1(out, KIR_OP_exp2, t, now[1]);
	kir_else(out, now, 2);
	map[n] = kir_if_end(out, cond, old, 2);
	r.factor = map[n] + 1;
	return r;
}

static kir_ref rescaled(const kir_func *in, kir_func *out, kir_ref n, const kir_ref *map,
                        kir_ref any)
{
	kir_ref acc = map[kir_src(in, n, 0)], cond = kir_if(out, any);
	kir_ref o = e2x(out, KIR_OP_mul, in->node[n].type, acc, map[kir_src(in, n, 1)], 0);

	kir_else(out, &o, 1);
	return kir_if_end(out, cond, &acc, 1);
}

kpass_result kpass_lazy_rescale(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_ref *map = kir_map_new(out, in);
	turn *at = kir_alloc(out->module, in->nnode * sizeof *at);
	bool lanes = in->target->lanes != 0;
	kpass_result result = KPASS_SAME;

	(void)why;
	for (kir_ref n = 1; n < in->nnode; n++)
		if (old_maximum(in, n))
			kir_chose(out, KIR_KNOB_rescale,
			          in->sched.rescale == KIR_rescale_lazy ? KIR_rescale_lazy
			                                                : KIR_rescale_always);
	if (in->sched.rescale != KIR_rescale_lazy)
		return KPASS_SAME;
	for (kir_ref n = 1; n < in->nnode; n++) {
		kir_ref m1 = rescaled_by(in, n);

		if (in->node[n].op == KIR_OP_param)
			continue;
		if (old_maximum(in, n)) {
			if (lanes)
				at[n] = branch(in, out, n, map);
			else
				map[n] = reference(in, out, n, map, &at[n].any);
			result = KPASS_CHANGED;
		} else if (m1) {
			map[n] = rescaled(in, out, n, map, at[m1].any);
		} else if (lanes && safe_maximum(in, n)) {
			map[n] = finite(out, map[safe_maximum(in, n)]);
		} else if (lanes && new_maximum(in, n)) {
			map[n] = at[new_maximum(in, n)].factor;
		} else {
			kir_copy(out, in, n, map);
		}
	}
	return result;
}
