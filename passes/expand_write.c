/* SPDX-License-Identifier: Apache-2.0 */
/* expand_write.c -- how rows become codes and scales: quantize, and what cache.write puts into
 * the slots that expand_tokens.c walks over.
 *
 * The arithmetic is formats.md A1: one f32 rounding an operation,
 *     s = max(max(amax, eps) / divisor, floor); t = x * (1 / s) or x / s; code = convert(t).
 * With range/N in place of amax/N, s = max((max - min) / N, floor), z = convert(-min / s) and
 * code = convert(x * (1 / s) + z); a NaN counts as 0.
 *
 * With amax/6 or 4 both scales are made, and codes of both; that of the smaller squared error,
 * whose order of sums is quant.c's, stays.
 *
 * amax ignores NaN and is clamped to the largest finite value of the input's element, and t to
 * the divisor (of a scale stored with fewer bits: x to that value): an infinity is stored as if
 * it were that value instead of making the whole row NaN.
 */
#include "expand_write.h"

enum { PART = 4096 }; /* elements of a longer row that are quantized at once */

/* A power of two next to x >= 0, exactly (never through log2), but at least 2^-127, the
 * smallest e8m0, which is subnormal in f32. */
static kir_ref pow2_of(kir_func *f, kir_scale_rule rule, kir_ref x)
{
	kir_type_id ft = f->node[x].type, it = kir_with_elem(f->module, ft, KIR_s32);
	kir_ref b = e1(f, KIR_OP_bitcast, it, x), least = kir_const_i(f, KIR_s32, 0x400000);
	kir_ref small = e2(f, KIR_OP_le, i1_like(f, it), b, least);

	if (kir_pow2_carry(rule))
		b = e2(f, KIR_OP_add, it, b, kir_const_i(f, KIR_s32, kir_pow2_carry(rule)));
	b = e2(f, KIR_OP_and, it, b, kir_const_i(f, KIR_s32, (int32_t)0xff800000));
	return e1(f, KIR_OP_bitcast, ft, e3(f, KIR_OP_select, it, small, least, b));
}

kir_ref write_scale(kir_func *f, const kir_side *s, kir_ref a, kir_elem from, kir_ref over)
{
	kir_type_id t = f->node[a].type;

	a = e2(f, KIR_OP_min, t, a, f32c(f, kir_elem_max(s->range ? KIR_f32 : from)));
	if (over)
		a = e2(f, KIR_OP_mul, t, a, over);
	if (s->eps > 0)
		a = e2(f, KIR_OP_max, t, a, f32c(f, (float)s->eps));
	if (s->inverse)
		a = e2(f, KIR_OP_mul, t, a, f32c(f, 1.0F / (float)s->divisor));
	else
		a = e2(f, KIR_OP_div, t, a, f32c(f, (float)s->divisor));
	a = e2(f, KIR_OP_max, t, a, f32c(f, (float)s->floor));
	if (kir_scale_overflows(s, from))
		a = e2(f, KIR_OP_min, t, a, f32c(f, kir_scale_most(s)));
	if (s->rule >= KIR_RULE_pow2)
		a = pow2_of(f, s->rule, a);
	return as_elem(f, a, s->scale_elem);
}

/* The scale of each row of x (its last axis), as it will be stored. over: what rows are
 * multiplied by first, or 0. */
static kir_ref row_scale(kir_func *f, const kir_side *s, kir_ref x, kir_elem from, kir_ref over)
{
	const kir_type *xt = kir_type_of(f, x);
	kir_type_id t = xt->rank == 2 ? kir_vector(f->module, KIR_f32, xt->dim[0])
	                              : kir_scalar(f->module, KIR_f32);
	int64_t last = xt->rank - 1;

	if (!s->range)
		return write_scale(f, s, e1x(f, KIR_OP_reduce_amax, t, x, last), from, over);
	kir_ref a = e2(f, KIR_OP_sub, t, e1x(f, KIR_OP_reduce_max, t, x, last),
	               e1x(f, KIR_OP_reduce_min, t, x, last));
	return write_scale(f, s, a, from, over);
}

/* x with 0 for NaN: codes with a zero point hold none. */
static kir_ref no_nan(kir_func *f, kir_ref x)
{
	kir_type_id t = f->node[x].type;

	return e3(f, KIR_OP_select, t, e2(f, KIR_OP_eq, i1_like(f, t), x, x), x, f32c(f, 0));
}

/* x within [-most, most]; NaN stays. Compare and select: one instruction each. */
static kir_ref clamp(kir_func *f, kir_ref x, double most)
{
	kir_type_id t = f->node[x].type, it = i1_like(f, t);
	kir_ref hi = f32c(f, most), lo = f32c(f, -most);

	x = e3(f, KIR_OP_select, t, e2(f, KIR_OP_gt, it, x, hi), hi, x);
	return e3(f, KIR_OP_select, t, e2(f, KIR_OP_lt, it, x, lo), lo, x);
}

/* Rows x <R x D> of what was `from`, rotated in blocks and rounded to that again; in f32. A NaN
 * is 0, what is beyond the element's range its largest value, before and after. */
static kir_ref rotate(kir_func *f, kir_ref x, kir_ref signs, int64_t block, kir_elem from)
{
	double most = kir_elem_max(from);

	x = clamp(f, no_nan(f, as_elem(f, x, KIR_f32)), most);
	x = expand_rotate(f, x, signs, block, false);
	x = as_elem(f, as_elem(f, x, from), KIR_f32);
	return clamp(f, no_nan(f, x), most); /* sums of the largest may overflow, and be NaN */
}

/* Whether it comes to the same to clamp what is to be a code: where the scale is exact but for
 * one rounding, nothing finite is much beyond the divisor, and what is cut off would round to
 * it. */
static bool clamps_late(const kir_side *s)
{
	return s->rule == KIR_RULE_amax && s->scale_elem == KIR_f32 &&
	       s->round != KIR_ROUND_zero && !s->global && !s->range && s->other == 0;
}

kir_ref write_clean(kir_func *f, const kir_side *s, kir_ref x, kir_elem from)
{
	if (format_stored(s) && !clamps_late(s))
		x = clamp(f, x, kir_elem_max(from));
	return s->range ? no_nan(f, x) : x;
}

/* over / d, 0 where d is 0. */
static kir_ref safe_ratio(kir_func *f, kir_ref over, kir_ref d)
{
	kir_type_id t = f->node[d].type;
	kir_ref none = e2(f, KIR_OP_eq, i1_like(f, t), d, f32c(f, 0));

	return e3(f, KIR_OP_select, t, none, f32c(f, 0), e2(f, KIR_OP_div, t, over, d));
}

/* What 4 bits hold of integers. */
static kir_ref narrow(kir_func *f, const kir_side *s, kir_ref x)
{
	kir_type_id t = f->node[x].type;
	int64_t most = kir_side_max(s), least = s->elem == KIR_s8 ? -most - 1 : 0;

	if (s->bits >= 8 || kir_is_float(s->elem))
		return x;
	x = e2(f, KIR_OP_min, t, x, kir_const_i(f, s->elem, most));
	return e2(f, KIR_OP_max, t, x, kir_const_i(f, s->elem, least));
}

kir_ref write_zeros(kir_func *f, const kir_side *s, kir_ref least, kir_ref d)
{
	kir_type_id t = f->node[d].type, it = kir_with_elem(f->module, t, KIR_s32);
	kir_ref z = e2(f, KIR_OP_div, t, e1(f, KIR_OP_neg, t, least), d);

	z = e2(f, KIR_OP_min, t, z, f32c(f, (double)kir_side_max(s)));
	z = e2(f, KIR_OP_max, t, z, f32c(f, 0));
	return kir_emit(f, KIR_OP_convert, it, &z, 1,
	                (int64_t[KIR_MAX_ATTRS]){ KIR_ROUND_away });
}

kir_ref write_with_zeros(kir_func *f, const kir_side *s, kir_ref d, kir_ref zero)
{
	kir_type_id t = f->node[d].type, it = f->node[zero].type;
	int32_t mask = (int32_t)kir_side_zero_mask(s);
	kir_ref b = e1(f, KIR_OP_bitcast, it, d);

	b = e2(f, KIR_OP_and, it, b, kir_const_i(f, KIR_s32, ~mask));
	return e1(f, KIR_OP_bitcast, t, e2(f, KIR_OP_or, it, b, zero));
}

kir_ref write_codes(kir_func *f, const kir_side *s, kir_ref x, kir_ref d, kir_ref zero,
                    kir_ref over, int64_t axis)
{
	kir_type_id xt = f->node[x].type, dt = f->node[d].type;
	kir_ref t;

	axis = kir_type_at(f->module, dt)->rank ? axis : -1;
	if (over) {
		t = e2x(f, KIR_OP_mul, xt, x, safe_ratio(f, over, d), axis);
	} else if (s->reciprocal) {
		kir_ref one = f32c(f, 1.0);
		kir_ref r = axis >= 0 ? e2(f, KIR_OP_div, dt, e1(f, KIR_OP_splat, dt, one), d)
		                      : e2(f, KIR_OP_div, dt, one, d);

		t = e2x(f, KIR_OP_mul, xt, x, r, axis);
	} else {
		t = e2x(f, KIR_OP_div, xt, x, d, axis);
	}
	if (zero)
		t = e2x(f, KIR_OP_add, xt, t, as_elem(f, zero, KIR_f32), axis);
	/* where the divisor is the element's largest value, the conversion does the same */
	if (clamps_late(s) && !(kir_is_float(s->elem) && s->divisor == kir_elem_max(s->elem)))
		t = clamp(f, t, s->divisor);
	t = kir_emit(f, KIR_OP_convert, kir_with_elem(f->module, xt, s->elem), &t, 1,
	             (int64_t[KIR_MAX_ATTRS]){ s->round, s->nan, KIR_OVER_sat });
	return narrow(f, s, t);
}

/* The sum of each row's squares: of elements half a row apart, then a quarter, ... 1. */
static kir_ref sum_squares(kir_func *f, kir_ref x)
{
	kir_module *m = f->module;
	int64_t rows = kir_type_of(f, x)->dim[0], n = kir_type_of(f, x)->dim[1];

	x = e2(f, KIR_OP_mul, f->node[x].type, x, x);
	for (n /= 2; n; n /= 2) {
		kir_type_id half = kir_tile(m, KIR_f32, rows, n);
		kir_ref low =
		    kir_emit(f, KIR_OP_slice, half, &x, 1, (int64_t[KIR_MAX_ATTRS]){ 1, 0 });
		kir_ref high =
		    kir_emit(f, KIR_OP_slice, half, &x, 1, (int64_t[KIR_MAX_ATTRS]){ 1, n });

		x = e2(f, KIR_OP_add, half, low, high);
	}
	return e1(f, KIR_OP_reshape, kir_vector(m, KIR_f32, rows), x);
}

/* A scale a row, and what the rows are under it. */
typedef struct candidate {
	kir_ref d, codes, error;
} candidate;

/* How far codes of x under scales d are from x (times `over`), squared: one a row. */
static candidate try_scale(kir_func *f, const kir_side *s, kir_ref x, kir_ref d, kir_ref over)
{
	kir_type_id t = f->node[x].type;
	candidate c = { .d = d, .codes = write_codes(f, s, x, d, 0, over, 0) };
	kir_ref q = e2x(f, KIR_OP_mul, t, as_elem(f, c.codes, KIR_f32), d, 0);

	if (over)
		x = e2x(f, KIR_OP_mul, t, x, over, 0);
	c.error = sum_squares(f, e2(f, KIR_OP_sub, t, x, q));
	return c;
}

/* The scale of each row of x, of two divisors that which errs less, as stored; then *codes are
 * the rows under it. */
static kir_ref group_scale(kir_func *f, const kir_side *s, kir_ref x, kir_elem from,
                           kir_ref over, kir_ref *codes)
{
	kir_ref first = row_scale(f, s, x, from, over), wide[2], better;
	kir_type_id t = f->node[x].type, it = i1_like(f, t);
	kir_side by = *s;

	if (s->other == 0)
		return first;
	by.divisor = s->other;
	candidate a = try_scale(f, s, x, as_elem(f, first, KIR_f32), over);
	candidate b =
	    try_scale(f, s, x, as_elem(f, row_scale(f, &by, x, from, over), KIR_f32), over);

	/* compared in every lane: a mask that is the same in all would be a branch */
	wide[0] = e1x(f, KIR_OP_spread, t, a.error, 0);
	wide[1] = e1x(f, KIR_OP_spread, t, b.error, 0);
	better = e2(f, KIR_OP_lt, it, wide[1], wide[0]);
	*codes = e3(f, KIR_OP_select, f->node[a.codes].type, better, b.codes, a.codes);
	better = e2(f, KIR_OP_lt, i1_like(f, f->node[a.d].type), b.error, a.error);
	return as_elem(f, e3(f, KIR_OP_select, f->node[a.d].type, better, b.d, a.d),
	               s->scale_elem);
}

/* x as codes that are values. What is that already is stored bit for bit, NaN too unless the
 * format says what becomes of one. */
static kir_ref plain_codes(kir_func *f, const kir_side *s, kir_ref x)
{
	kir_type_id t = kir_with_elem(f->module, f->node[x].type, s->elem);

	if (s->bits >= 16 && f->node[x].type == t && s->nan == KIR_NAN_keep)
		return x;
	if (s->bits < 16)
		x = as_elem(f, x, KIR_f32);
	return kir_emit(f, KIR_OP_convert, t, &x, 1,
	                (int64_t[KIR_MAX_ATTRS]){ s->round, s->nan, KIR_OVER_sat });
}

kir_ref write_as_stored(kir_func *f, const kir_side *s, kir_ref codes)
{
	const kir_type *t = kir_type_of(f, codes);

	if (s->bits != 4)
		return codes;
	return kir_emit(f, KIR_OP_pack, kir_tile(f->module, KIR_u8, t->dim[0], t->dim[1] / 2),
	                &codes, 1, (int64_t[KIR_MAX_ATTRS]){ s->pack });
}

void write_store(kir_func *f, kir_ref x, unsigned rank, const write_place *to)
{
	const kir_type *xt = kir_type_of(f, x);
	kir_ref src[2 + KIR_RANK] = { 0, to->buf };
	unsigned n = kir_type_of(f, to->buf)->rank;
	kir_type t = { .elem = xt->elem, .rank = (uint8_t)rank };

	for (unsigned i = 0; i < rank; i++)
		t.dim[i] = 1;
	if (xt->rank && rank) {
		t.dim[0] = xt->dim[0];
		if (xt->rank == 2)
			t.dim[rank - 1] = xt->dim[1];
	}
	src[0] = rank > xt->rank ? e1(f, KIR_OP_reshape, kir_type_intern(f->module, &t), x) : x;
	for (unsigned i = 0; i < n; i++)
		src[2 + i] = to->at[i];
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, src, 2 + n,
	         (int64_t[KIR_MAX_ATTRS]){ to->hint });
}

kir_ref write_each_group(kir_func *f, kir_ref x, int64_t groups)
{
	int64_t rows = kir_type_of(f, x)->dim[0];
	kir_ref wide = e1x(f, KIR_OP_spread, kir_tile(f->module, KIR_f32, rows, groups), x, 0);

	return e1(f, KIR_OP_reshape, kir_vector(f->module, KIR_f32, rows * groups), wide);
}

/* Rows x of bf16, widened, which were read from memory as they are: once more. What is read
 * twice is widened twice in registers; what is widened once and read twice lies in memory
 * between, twice as large. 0: x is something else. */
static kir_ref read_again(kir_func *f, kir_ref x)
{
	kir_ref y = f->node[x].op == KIR_OP_convert ? kir_src(f, x, 0) : 0;
	kir_ref load = y && f->node[y].op == KIR_OP_reshape ? kir_src(f, y, 0) : 0;
	kir_ref src[KIR_RANK + 1];
	unsigned n;

	if (f->target->lanes || !load || f->node[load].op != KIR_OP_load ||
	    kir_type_of(f, load)->elem != KIR_bf16)
		return 0;
	n = f->node[load].nsrc;
	for (unsigned i = 0; i < n; i++)
		src[i] = kir_src(f, load, i);
	load = kir_emit(f, KIR_OP_load, f->node[load].type, src, n, NULL);
	return as_elem(f, e1(f, KIR_OP_reshape, f->node[y].type, load), KIR_f32);
}

void write_rows(kir_func *f, const kir_side *s, kir_ref x, kir_ref given, kir_ref signs,
                const write_place *codes_to, const write_place *scales_to, unsigned between)
{
	kir_module *m = f->module;
	kir_type t = *kir_type_of(f, x);
	int64_t rows = t.dim[0], dim = t.dim[1], groups = s->group ? dim / s->group : 1;
	kir_ref xf, whole = 0, d = given, codes = 0, over = 0, zero = 0;

	if (s->rotate)
		x = rotate(f, x, signs, kir_side_block(s, dim), (kir_elem)t.elem);
	if (s->gran == KIR_GRAN_none) {
		write_store(f, plain_codes(f, s, x), 2 + between, codes_to);
		return;
	}
	xf = write_clean(f, s, as_elem(f, x, KIR_f32), (kir_elem)t.elem);
	whole = xf;
	bool plain = f->node[xf].op == KIR_OP_convert && kir_src(f, xf, 0) == x;
	if (s->gran == KIR_GRAN_group)
		xf = e1(f, KIR_OP_reshape, kir_tile(m, KIR_f32, rows * groups, s->group), xf);
	if (s->global) {
		kir_type_id gt = f->node[given].type;

		over = e2(f, KIR_OP_div, gt, e1(f, KIR_OP_splat, gt, f32c(f, 1)), given);
		if (s->gran == KIR_GRAN_group)
			over = write_each_group(f, over, groups);
	}
	if (format_stored(s)) {
		kir_ref stored =
		    group_scale(f, s, s->row ? whole : xf, (kir_elem)t.elem, over, &codes);
		kir_ref out;

		d = as_elem(f, stored, KIR_f32);
		if (s->row) { /* one of each row's groups is as exact as the others */
			d = write_each_group(f, d, groups);
			stored = as_elem(f, d, s->scale_elem);
		}
		out = stored;
		if (s->range) {
			zero = write_zeros(
			    f, s, e1x(f, KIR_OP_reduce_min, f->node[d].type, xf, 1), d);
			out = write_with_zeros(f, s, d, zero);
		}
		if (s->gran == KIR_GRAN_group)
			out = e1(f, KIR_OP_reshape, kir_tile(m, s->scale_elem, rows, groups),
			         out);
		write_store(f, out, (s->gran == KIR_GRAN_group ? 2 : 1) + between, scales_to);
		kir_ref again = plain && !codes && !s->range ? read_again(f, whole) : 0;

		if (again && s->gran == KIR_GRAN_group)
			again = e1(f, KIR_OP_reshape, f->node[xf].type, again);
		xf = again ? again : xf;
	}
	if (!codes)
		codes = write_codes(f, s, xf, d, zero, over, 0);
	if (s->gran == KIR_GRAN_group)
		codes =
		    e1(f, KIR_OP_reshape, kir_with_elem(m, f->node[x].type, s->elem), codes);
	write_store(f, write_as_stored(f, s, codes), 2 + between, codes_to);
}

/* x[t, h .. h + heads, c .. c + width] of a [T, H, D] input: <heads x width>. */
static kir_ref load_part(kir_func *f, kir_ref x, kir_ref t, kir_ref h, kir_ref c, int64_t heads,
                         int64_t width)
{
	kir_elem e = (kir_elem)kir_type_of(f, x)->elem;
	kir_ref src[4] = { x, t, h, c };
	kir_type tt = { .elem = (uint8_t)e, .rank = 3, .dim = { 1, heads, width } };
	kir_ref l = kir_emit(f, KIR_OP_load, kir_type_intern(f->module, &tt), src, 4, NULL);

	return e1(f, KIR_OP_reshape, kir_tile(f->module, e, heads, width), l);
}

static kir_ref load_heads(kir_func *f, kir_ref x, kir_ref t, kir_ref h, int64_t heads)
{
	return load_part(f, x, t, h, s64c(f, 0), heads, kir_type_of(f, x)->dim[2]);
}

/* Rows x of heads from h and columns from c on, less their means, in f32. */
static kir_ref less_mean(kir_func *f, kir_ref x, kir_ref mean, kir_ref h, kir_ref c)
{
	const kir_type *t = kir_type_of(f, x);
	kir_type_id ft = kir_tile(f->module, KIR_f32, t->dim[0], t->dim[1]);
	kir_ref m = e3(f, KIR_OP_load, ft, mean, h, c);

	return e2(f, KIR_OP_sub, ft, as_elem(f, x, KIR_f32), m);
}

/* Heads [h, h + heads) of row t of the input. */
static void put_row(const write_op *w, const write_side *s, kir_ref t, kir_ref h, int64_t heads,
                    const write_place *codes, const write_place *scales)
{
	kir_func *f = w->f;
	kir_ref given = 0, x;

	if (s->given)
		given = e2(f, KIR_OP_load, kir_vector(f->module, KIR_f32, heads), s->given, h);
	x = load_heads(f, s->in, t, h, heads);
	if (s->mean)
		x = less_mean(f, x, s->mean, h, s64c(f, 0));
	write_rows(f, s->side, x, given, s->signs, codes, scales, 1);
}

bool expand_cache_write(const kir_func *in, kir_ref n, kir_func *f, kir_ref *map, kir_diag *why)
{
	const kir_format *fmt = in->module->format[kir_attr_of(in, n, KIR_ATTR_format)];
	static const char *const names[KIR_SIDES][5] = {
		{ "key", "k", "ks", "kd", "ksign" },
		{ "value", "v", "vs", "vd", "vsign" },
		{ "rest", "r", "rs", "kd", NULL } /* what is handed over is for the whole key */
	};
	write_op w = { .f = f,
		       .slots = expand_operand(in, n, map, "slots"),
		       .put = put_row,
		       .put_run = write_heads };

	(void)why;
	for (int i = 0; i < KIR_SIDES; i++) {
		w.side[i] = (write_side){ .side = &fmt->side[i],
			                  .in = expand_operand(in, n, map, names[i][0]),
			                  .codes = expand_operand(in, n, map, names[i][1]),
			                  .scales = expand_operand(in, n, map, names[i][2]) };
		if (kir_side_given(&fmt->side[i]))
			w.side[i].given = expand_operand(in, n, map, names[i][3]);
		if (w.side[i].in)
			w.side[i].dim = kir_type_of(f, w.side[i].in)->dim[2];
		if (i == 0)
			w.side[i].mean = expand_operand(in, n, map, "kmean");
		if (fmt->side[i].signs && names[i][4])
			w.side[i].signs = expand_operand(in, n, map, names[i][4]);
		if (w.side[i].in)
			w.side[i].whole = write_by_heads(f, &w.side[i]);
	}
	w.n = expand_operand(in, n, map, "n");
	write_tokens(&w);
	return true;
}

/* A quantizer's operands, and how much of a row it takes at once: whole groups. */
typedef struct quant_op {
	kir_func *f;
	const kir_side *side;
	kir_ref x, q, s, d, signs, mean;
	int64_t heads, group;
} quant_op;

/* Columns [c, c + width) of heads h.. of row t. */
static void quantize_part(const quant_op *o, kir_ref t, kir_ref h, kir_ref c, int64_t width)
{
	kir_func *f = o->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	int64_t k;
	kir_ref g = kir_is_const(f, c, &k) ? s64c(f, k / o->group)
	                                   : e2(f, KIR_OP_fdiv, s64, c, s64c(f, o->group));
	kir_ref given = 0, x;
	int64_t per = kir_side_per(o->side);
	kir_ref at = per == 1                 ? c
	             : kir_is_const(f, c, &k) ? s64c(f, k / per)
	                                      : e2(f, KIR_OP_fdiv, s64, c, s64c(f, per));
	write_place codes = { o->q, { t, h, at }, 0 }, scales = { o->s, { t, h, g }, 0 };

	if (o->d)
		given = e2(f, KIR_OP_load, kir_vector(f->module, KIR_f32, o->heads), o->d, h);
	x = load_part(f, o->x, t, h, c, o->heads, width);
	if (o->mean)
		x = less_mean(f, x, o->mean, h, c);
	write_rows(f, o->side, x, given, o->signs, &codes, &scales, 0);
}

/* Row t, whole heads or parts of a longer one at a time. */
static void quantize_rows(const quant_op *o, kir_ref t, int64_t heads, int64_t dim)
{
	kir_func *f = o->f;
	int64_t some = o->group > PART ? o->group : PART / o->group * o->group;
	int64_t part = dim <= PART ? dim : some;
	kir_ref lh = kir_for(f, s64c(f, 0), s64c(f, heads), o->heads, false, NULL, 0);

	if (part < dim) {
		kir_ref lc =
		    kir_for(f, s64c(f, 0), s64c(f, dim / part * part), part, false, NULL, 0);

		quantize_part(o, t, lh + 1, lc + 1, part);
		kir_for_end(f, lc, NULL, 0);
	} else {
		quantize_part(o, t, lh + 1, s64c(f, 0), dim);
	}
	if (dim % part)
		quantize_part(o, t, lh + 1, s64c(f, dim / part * part), dim % part);
	kir_for_end(f, lh, NULL, 0);
}

/* A [T, H, D] buffer as [T, H, D / group, group]. */
static kir_ref by_groups(kir_func *f, kir_ref buf, int64_t group)
{
	kir_type t = *kir_type_of(f, buf);

	for (unsigned i = 0; i < t.npieces; i++)
		if (t.piece[i].axis == 2) {
			kir_piece p = t.piece[i];

			t.piece[i].stride = p.stride * group;
			t.piece[t.npieces++] =
			    (kir_piece){ .axis = 3, .div = 1, .stride = p.stride };
			break;
		}
	t.rank = 4;
	t.dim[2] /= group;
	t.dim[3] = group;
	return e1(f, KIR_OP_view, kir_type_intern(f->module, &t), buf);
}

/* Whether a row's elements follow each other, so that groups are another view of it. */
static bool plain_row(const kir_type *t)
{
	unsigned n = 0;

	for (unsigned i = 0; i < t->npieces; i++)
		if (t->piece[i].axis == 2)
			n += t->piece[i].dyn || t->piece[i].div > 1 || t->piece[i].mod ? 2 : 1;
	return n == 1 && t->npieces < KIR_PIECES;
}

/* What a side's codes are made of, as f32, where `at` is an input with its indices. */
static kir_ref read_groups(const quant_op *o, kir_type_id tile, kir_ref at[5])
{
	kir_func *f = o->f;
	kir_elem from = (kir_elem)kir_type_of(f, at[0])->elem;
	kir_ref x = as_elem(f, kir_emit(f, KIR_OP_load, tile, at, 5, NULL), KIR_f32);

	return clamps_late(o->side) ? x : clamp(f, x, kir_elem_max(from));
}

/* `count` groups from g of head h of row t. The input is read twice, for the scales and for the
 * codes: no wider copy of it is kept. */
static void quantize_groups(const quant_op *o, kir_ref t, kir_ref h, kir_ref g, int64_t count)
{
	kir_func *f = o->f;
	const kir_side *s = o->side;
	kir_elem from = (kir_elem)kir_type_of(f, o->x)->elem;
	kir_type_id tt = kir_tile(f->module, from, count, s->group);
	kir_ref at[5] = { o->x, t, h, g, s64c(f, 0) }, scale, x, codes;

	scale = row_scale(f, s, read_groups(o, tt, at), from, 0);
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ scale, o->s, t, h, g }, 5, NULL);
	x = read_groups(o, tt, at);
	codes = write_codes(f, s, x, as_elem(f, scale, KIR_f32), 0, 0, 0);
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ codes, o->q, t, h, g, at[4] }, 6,
	         NULL);
}

/* All groups of the heads of row t, one head at a time. */
static void quantize_by_groups(quant_op o, kir_ref t, int64_t heads, int64_t groups)
{
	kir_func *f = o.f;
	int64_t most = PART / o.side->group < 1 ? 1 : PART / o.side->group;
	int64_t part = groups < most ? groups : most, whole = groups / part * part;
	kir_ref lh = kir_for(f, s64c(f, 0), s64c(f, heads), 1, false, NULL, 0), lg;

	if (whole > part) {
		lg = kir_for(f, s64c(f, 0), s64c(f, whole), part, false, NULL, 0);
		quantize_groups(&o, t, lh + 1, lg + 1, part);
		kir_for_end(f, lg, NULL, 0);
	} else {
		quantize_groups(&o, t, lh + 1, s64c(f, 0), part);
	}
	if (whole < groups)
		quantize_groups(&o, t, lh + 1, s64c(f, whole), groups - whole);
	kir_for_end(f, lh, NULL, 0);
}

/* The scales of row t past those of its last group. */
static void pad_scales(const quant_op *o, kir_ref t, int64_t groups)
{
	kir_func *f = o->f;
	int64_t more = kir_type_of(f, o->s)->dim[2] - groups;
	kir_elem e = (kir_elem)kir_type_of(f, o->s)->elem;
	kir_type_id tt = kir_tile(f->module, e, 1, more);
	kir_ref zero = kir_const_f(f, e, kir_decode(e, 0));

	kir_emit(
	    f, KIR_OP_store, KIR_NO_TYPE,
	    (kir_ref[]){ e1(f, KIR_OP_splat, tt, zero), o->s, t, s64c(f, 0), s64c(f, groups) },
	    5, NULL);
}

bool expand_quantize(const kir_func *in, kir_ref n, kir_func *f, kir_ref *map, kir_diag *why)
{
	const kir_format *fmt = in->module->format[kir_attr_of(in, n, KIR_ATTR_format)];
	quant_op o = { .f = f,
		       .side = &fmt->side[0],
		       .x = expand_operand(in, n, map, "x"),
		       .q = expand_operand(in, n, map, "q"),
		       .s = expand_operand(in, n, map, "s"),
		       .d = expand_operand(in, n, map, "d"),
		       .signs = expand_operand(in, n, map, "sign"),
		       .mean = expand_operand(in, n, map, "mean") };
	int64_t heads = kir_type_of(f, o.x)->dim[1], dim = kir_type_of(f, o.x)->dim[2];
	/* blocks of a rotation aren't cut, nor rows with one amax */
	bool whole = o.side->gran == KIR_GRAN_token_head || o.side->rotate || o.side->row;

	(void)why;
	o.heads = write_heads_together(heads, dim);
	o.group = whole ? dim : o.side->group ? o.side->group : 1;
	/* codes an element each, made of a group's elements and its scale alone */
	bool plain = o.side->bits != 4 && !o.side->global && !o.side->range &&
	             !o.side->rotate && !o.side->row && !o.mean;
	bool groups = plain && o.side->group && o.heads == 1 &&
	              plain_row(kir_type_of(f, o.x)) && plain_row(kir_type_of(f, o.q));

	if (groups) {
		o.x = by_groups(f, o.x, o.group);
		o.q = by_groups(f, o.q, o.group);
	}
	kir_ref lt = kir_for(f, s64c(f, 0), expand_operand(in, n, map, "n"), 1, true, NULL, 0);

	if (groups)
		quantize_by_groups(o, lt + 1, heads, dim / o.group);
	else
		quantize_rows(&o, lt + 1, heads, dim);
	if (o.side->group && kir_type_of(f, o.s)->dim[2] > dim / o.side->group)
		pad_scales(&o, lt + 1, dim / o.side->group);
	kir_for_end(f, lt, NULL, 0);
	return true;
}
