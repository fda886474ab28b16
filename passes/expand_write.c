/* SPDX-License-Identifier: Apache-2.0 */
/* expand_write.c -- quantize and cache.write as loops over tokens and heads.
 *
 *     for %p = 0 to parts par {                ; pages p, p + parts, ... belong to p
 *       for %t = 0 to %n {
 *         %slot = load %slots[%t]
 *         if slot >= 0 and fdiv(slot, page) % parts == p {
 *           for %h = 0 to heads { K row: scale, codes, store;  V row likewise } } } }
 *
 * A page has one owner who takes its tokens in order: of two tokens with one slot the later
 * wins, whatever the number of threads, and no two threads write one cache line of a page.
 *
 * The arithmetic is formats.md A1: one f32 rounding an operation,
 *     s = max(amax / divisor, floor); t = x * (1 / s) or x / s; code = convert(t).
 * amax ignores NaN and is clamped to the largest finite value of the input's element, and t to
 * the divisor: an infinity is stored as the largest code instead of making the whole row NaN.
 */
#include "expand.h"

#include <math.h>

/* The power of two at or above x > 0, exactly (never through log2). */
static kir_ref pow2_ceil(kir_func *f, kir_ref x)
{
	kir_type_id ft = f->node[x].type, it = kir_with_elem(f->module, ft, KIR_s32);
	kir_ref b = e1(f, KIR_OP_bitcast, it, x);

	b = e2(f, KIR_OP_add, it, b, kir_const_i(f, KIR_s32, 0x7fffff));
	b = e2(f, KIR_OP_and, it, b, kir_const_i(f, KIR_s32, (int32_t)0xff800000));
	return e1(f, KIR_OP_bitcast, ft, b);
}

/* The scale of each vector of x along its last axis, as it will be stored. */
static kir_ref row_scale(kir_func *f, const kir_side *s, kir_ref x, kir_elem from)
{
	const kir_type *xt = kir_type_of(f, x);
	kir_type_id t = xt->rank == 2 ? kir_vector(f->module, KIR_f32, xt->dim[0])
	                              : kir_scalar(f->module, KIR_f32);
	kir_ref a = e1x(f, KIR_OP_reduce_amax, t, x, xt->rank - 1);

	a = e2(f, KIR_OP_min, t, a, f32c(f, kir_elem_max(from)));
	a = e2(f, KIR_OP_div, t, a, f32c(f, (float)s->divisor));
	a = e2(f, KIR_OP_max, t, a, f32c(f, (float)s->floor));
	if (s->rule == KIR_RULE_pow2)
		a = pow2_ceil(f, a);
	return as_elem(f, a, s->scale_elem);
}

/* x within [-most, most]; NaN stays. Compare and select: one instruction each. */
static kir_ref clamp(kir_func *f, kir_ref x, double most)
{
	kir_type_id t = f->node[x].type, it = i1_like(f, t);
	kir_ref hi = f32c(f, most), lo = f32c(f, -most);

	x = e3(f, KIR_OP_select, t, e2(f, KIR_OP_gt, it, x, hi), hi, x);
	return e3(f, KIR_OP_select, t, e2(f, KIR_OP_lt, it, x, lo), lo, x);
}

/* Codes of x (f32, rank 1 or groups x size) under scale d (f32, scalar or one a group). */
static kir_ref row_codes(kir_func *f, const kir_side *s, kir_ref x, kir_ref d)
{
	kir_type_id xt = f->node[x].type, dt = f->node[d].type;
	int64_t axis = kir_type_at(f->module, dt)->rank ? 0 : -1;
	kir_ref t;

	if (s->reciprocal) {
		kir_ref one = f32c(f, 1.0);
		kir_ref r = kir_type_at(f->module, dt)->rank
		                ? e2(f, KIR_OP_div, dt, e1(f, KIR_OP_splat, dt, one), d)
		                : e2(f, KIR_OP_div, dt, one, d);

		t = e2x(f, KIR_OP_mul, xt, x, r, axis);
	} else {
		t = e2x(f, KIR_OP_div, xt, x, d, axis);
	}
	if (s->rule != KIR_RULE_given)
		t = clamp(f, t, s->divisor);
	return kir_emit(f, KIR_OP_convert, kir_with_elem(f->module, xt, s->elem), &t, 1,
	                (int64_t[KIR_MAX_ATTRS]){ s->round, s->nan, KIR_OVER_sat });
}

/* Quantizes the row x<D> and stores codes at q[qi..] and, if the format computes it, the
 * scale at sc[si..]. given: the handed-over scale, a scalar f32, or 0. */
static void write_row(kir_func *f, const kir_side *s, kir_ref x, kir_ref given, kir_ref q,
                      const kir_ref *qi, unsigned nqi, kir_ref sc, const kir_ref *si,
                      unsigned nsi)
{
	kir_module *m = f->module;
	kir_elem from = (kir_elem)kir_type_of(f, x)->elem;
	int64_t dim = kir_type_of(f, x)->dim[0];
	kir_ref codes, src[2 + KIR_RANK];
	unsigned n = 0;

	if (s->gran == KIR_GRAN_none) {
		codes = as_elem(f, x, s->elem);
	} else {
		kir_ref xf = as_elem(f, x, KIR_f32), d = given;

		if (s->gran == KIR_GRAN_group)
			xf = e1(f, KIR_OP_reshape,
			        kir_tile(m, KIR_f32, dim / s->group, s->group), xf);
		if (!given) {
			kir_ref stored = row_scale(f, s, xf, from);

			src[n++] = stored;
			src[n++] = sc;
			for (unsigned i = 0; i < nsi; i++)
				src[n++] = si[i];
			kir_emit(f, KIR_OP_store, KIR_NO_TYPE, src, n, NULL);
			d = as_elem(f, stored, KIR_f32);
		}
		codes = row_codes(f, s, xf, d);
		if (s->gran == KIR_GRAN_group)
			codes = e1(f, KIR_OP_reshape, kir_vector(m, s->elem, dim), codes);
	}
	n = 0;
	src[n++] = codes;
	src[n++] = q;
	for (unsigned i = 0; i < nqi; i++)
		src[n++] = qi[i];
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, src, n, NULL);
}

/* x[t, h, :] of a [T, H, D] input. */
static kir_ref load_row(kir_func *f, kir_ref x, kir_ref t, kir_ref h)
{
	const kir_type *xt = kir_type_of(f, x);
	kir_type_id rt = kir_vector(f->module, (kir_elem)xt->elem, xt->dim[2]);

	return kir_emit(f, KIR_OP_load, rt, (kir_ref[]){ x, t, h, s64c(f, 0) }, 4, NULL);
}

typedef struct write_side {
	const kir_side *side;
	kir_ref in, codes, scales, given; /* buffers */
} write_side;

static void write_token(kir_func *f, const write_side *w, kir_ref t, kir_ref page,
                        kir_ref token, kir_ref h)
{
	kir_ref zero = s64c(f, 0), given = 0;
	kir_ref at[4] = { page, h, token, zero };

	if (w->given)
		given = load1(f, w->given, 1, &h);
	write_row(f, w->side, load_row(f, w->in, t, h), given, w->codes, at, 4, w->scales, at,
	          w->scales ? kir_type_of(f, w->scales)->rank : 0);
}

bool expand_cache_write(const kir_func *in, kir_ref n, kir_func *f, kir_ref *map, kir_diag *why)
{
	const kir_format *fmt = in->module->format[kir_attr_of(in, n, KIR_ATTR_format)];
	write_side w[2] = {
		{ &fmt->side[0], expand_operand(in, n, map, "key"),
		  expand_operand(in, n, map, "k"), expand_operand(in, n, map, "ks"),
		  expand_operand(in, n, map, "kd") },
		{ &fmt->side[1], expand_operand(in, n, map, "value"),
		  expand_operand(in, n, map, "v"), expand_operand(in, n, map, "vs"),
		  expand_operand(in, n, map, "vd") },
	};
	kir_ref slots = expand_operand(in, n, map, "slots");
	kir_type_id s64 = kir_scalar(f->module, KIR_s64), i1 = kir_scalar(f->module, KIR_i1);
	int64_t tokens = kir_type_of(f, w[0].codes)->dim[2];
	int64_t heads = kir_type_of(f, w[0].codes)->dim[1];
	int64_t parts = f->sched.parts ? f->sched.parts : 4;

	(void)why;
	kir_ref lp = kir_for(f, s64c(f, 0), s64c(f, parts), 1, true, NULL, 0);
	kir_ref lt = kir_for(f, s64c(f, 0), expand_operand(in, n, map, "n"), 1, false, NULL, 0);
	kir_ref t = lt + 1;
	kir_ref slot = load1(f, slots, 1, &t);
	kir_ref page = e2(f, KIR_OP_fdiv, s64, slot, s64c(f, tokens));
	kir_ref owner = e2(f, KIR_OP_mod, s64, page, s64c(f, parts));
	kir_ref mine = e2(f, KIR_OP_and, i1, e2(f, KIR_OP_ge, i1, slot, s64c(f, 0)),
	                  e2(f, KIR_OP_eq, i1, owner, lp + 1));
	kir_ref cond = kir_if(f, mine);
	kir_ref token = e2(f, KIR_OP_mod, s64, slot, s64c(f, tokens));
	kir_ref lh = kir_for(f, s64c(f, 0), s64c(f, heads), 1, false, NULL, 0);

	for (int i = 0; i < 2; i++)
		write_token(f, &w[i], t, page, token, lh + 1);
	kir_for_end(f, lh, NULL, 0);
	kir_else(f, NULL, 0);
	kir_if_end(f, cond, NULL, 0);
	kir_for_end(f, lt, NULL, 0);
	kir_for_end(f, lp, NULL, 0);
	return true;
}

bool expand_quantize(const kir_func *in, kir_ref n, kir_func *f, kir_ref *map, kir_diag *why)
{
	const kir_format *fmt = in->module->format[kir_attr_of(in, n, KIR_ATTR_format)];
	kir_ref x = expand_operand(in, n, map, "x"), q = expand_operand(in, n, map, "q");
	kir_ref s = expand_operand(in, n, map, "s"), d = expand_operand(in, n, map, "d");
	kir_ref given = 0;

	(void)why;
	kir_ref lt = kir_for(f, s64c(f, 0), expand_operand(in, n, map, "n"), 1, true, NULL, 0);
	kir_ref lh =
	    kir_for(f, s64c(f, 0), s64c(f, kir_type_of(f, x)->dim[1]), 1, false, NULL, 0);
	kir_ref at[3] = { lt + 1, lh + 1, s64c(f, 0) }, h = lh + 1;

	if (d)
		given = load1(f, d, 1, &h);
	write_row(f, &fmt->side[0], load_row(f, x, lt + 1, lh + 1), given, q, at, 3, s, at,
	          s ? kir_type_of(f, s)->rank : 0);
	kir_for_end(f, lh, NULL, 0);
	kir_for_end(f, lt, NULL, 0);
	return true;
}
