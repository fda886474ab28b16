/* SPDX-License-Identifier: Apache-2.0 */
/* arith.c -- products take the arithmetic that knobs qk and pv name.
 *
 *     dot(x, convert(q)) in f32   =>   bf16:  dot(convert(x), convert(q)), operands in bf16
 *                                      int8:  x in 8-bit digits times the codes themselves
 *
 * qk is the knob of products with trans=1 (scores), pv that of the others (weights . V).
 * Only products whose right factor is a cache tile read as stored take part: its 8-bit codes
 * are exact in bf16, and s8 codes are what the integer instructions multiply. A step takes 4
 * bytes of the contraction, so that must be whole words.
 *
 *   bf16    x rounds to bf16 (2^-8 relative) unless it came from bf16: then nothing does.
 *   int8    a row x is round(x / s) * s, s = amax / 127 (weights: maximum / 255).
 *           A row that came from s8 is its own digits: nothing is rounded.
 *   int8x2  the same with 16 bits, in two digits: s = amax / 32512 (weights: / 65535). Twice
 *           the products of int8, and an error of 2^-16 of the row's largest element instead
 *           of 2^-8. The digits are rows of one product, so the codes are read once.
 *
 *   f16     on matrix engines of sub-groups only, and only by auto: codes of at most 8 bits are
 *           exact in f16. A query from bf16, or of 8-bit codes, is scaled by a power of two a
 *           row so that its largest element is in [1, 2): it loses below 2^-25 of that.
 *           Weights are at most 1, and times stored scales too, once these are divided by
 *           the largest.
 *
 * Codes of 4 bits are multiplied by a power of two that makes them integers of 8 bits: e2m1 by
 * 2, integers by 16, which is where their bits lie in the byte. The rows' scale takes it back.
 *
 * Signed codes k meet the unsigned operand of vpdpbusd as k + 128; the product starts at less
 * the surplus of 128 * sum(x), which is exact. Tiles and matrix engines take signed times
 * signed: the codes as they are.
 *
 * Weights times codes with zero points (fold_scales.c) have the sums with those taken from the
 * weights as they were rounded: else both errors, of codes and of zero points, would be seen
 * instead of that of their difference. Scores in integers likewise have the sums of their
 * query as it was rounded. Codes of 4 bits with zero points are integers as they are, below 16
 * and so of either sign: no surplus. Matrix engines of sub-groups don't take them in integers,
 * nor f16.
 *
 * What auto means stands in arith_choice.c. docs/accuracy.md has the bounds. Weights and stored
 * scales are not negative.
 */
#include "arith.h"

#include <math.h>

static kir_ref to_bf16(kir_func *f, kir_ref x)
{
	kir_ref s = arith_before_convert(f, x);

	if (arith_exact_in_bf16((kir_elem)kir_type_of(f, s)->elem))
		x = s;
	return as_elem(f, x, KIR_bf16);
}

/* Weights in bf16. Products of bf16 on processors take subnormals for 0, so narrowing may do
 * that, which makes it one instruction. */
static kir_ref bf16_weights(kir_func *f, kir_ref w)
{
	int64_t attr[KIR_MAX_ATTRS] = { 0 };
	kir_type_id t = kir_with_elem(f->module, f->node[w].type, KIR_bf16);

	if (f->target->features & KIR_HAS_bf16)
		attr[3] = KIR_SUB_zero;
	return kir_emit(f, KIR_OP_convert, t, &w, 1, attr);
}

/* Whether products of weights take n in bf16. */
static bool is_bf16_left(const kir_func *f, kir_ref n, kir_elem query)
{
	kir_ref acc, z;

	if (kir_type_of(f, n)->rank != 2 || !arith_is_weights(f, n))
		return false;
	for (kir_ref k = n + 1; k < f->nnode; k++)
		if (f->node[k].op == KIR_OP_dot && kir_src(f, k, 0) == n &&
		    !kir_attr_of(f, k, KIR_ATTR_trans) &&
		    arith_choose(f, k, query) == KIR_ARITH_bf16 &&
		    !arith_less_zeros(f, k, &acc, &z))
			return true;
	return false;
}

/* acc - sum of w * z's row + w . v with w in bf16, in both places. */
static kir_ref bf16_zeros(kir_func *f, kir_ref w, kir_ref v, kir_ref acc, kir_ref z,
                          kir_type_id t)
{
	kir_type_id wt = f->node[w].type;
	kir_type_id rt = kir_vector(f->module, KIR_f32, kir_type_at(f->module, wt)->dim[0]);
	kir_ref half = as_elem(f, w, KIR_bf16), sum;

	sum = e2x(f, KIR_OP_mul, wt, as_elem(f, half, KIR_f32), z,
	          kir_type_of(f, z)->rank ? 1 : -1);
	sum = e1x(f, KIR_OP_reduce_add, rt, sum, 1);
	return e3(f, KIR_OP_dot, t, half, to_bf16(f, v), e2x(f, KIR_OP_sub, t, acc, sum, 0));
}

/* The codes as s8, and the rows' scale of what they are multiplied with to match. */
static kir_ref as_s8(kir_func *f, kir_ref k, kir_ref *scale)
{
	int shift = arith_shift_of(f, k);
	kir_type_id t = kir_with_elem(f->module, f->node[k].type, KIR_s8);

	if (kir_type_of(f, k)->elem == KIR_u8)
		return e1(f, KIR_OP_bitcast, t, k);
	if (!shift)
		return k;
	*scale = e2(f, KIR_OP_mul, f->node[*scale].type, *scale, f32c(f, ldexp(1, -shift)));
	return kir_emit(f, KIR_OP_fixed, t, &k, 1, (int64_t[KIR_MAX_ATTRS]){ shift });
}

/* Integer digits of the rows of x and the scale of each row: x ~ sum_d digit_d 256^d scale,
 * most significant digit first, stacked as rows of one tile. */
typedef struct digits {
	kir_ref tile, scale;
	int64_t rows;
	int count;
} digits;

static kir_ref narrow(kir_func *f, kir_ref x, kir_elem e)
{
	return e1(f, KIR_OP_convert, kir_with_elem(f->module, f->node[x].type, e), x);
}

/* 0 for each row of x, NaN where an element is NaN or infinite. */
static kir_ref nan_of_row(kir_func *f, kir_ref x, kir_type_id rt)
{
	kir_ref zero = e2(f, KIR_OP_mul, f->node[x].type, x, f32c(f, 0));

	return e1x(f, KIR_OP_reduce_add, rt, zero, 1);
}

/* x * r rounded to an integer, for rows that are not negative and no r that makes them exceed
 * 255: added to 2^23 it is the sum's last byte. One instruction multiplies and rounds, another
 * takes bytes out. NaN becomes any byte. */
static kir_ref low_byte(kir_func *f, kir_ref x, kir_ref r)
{
	kir_type_id t = f->node[x].type, it = kir_with_elem(f->module, t, KIR_s32);
	kir_ref i = e3x(f, KIR_OP_fma, t, x, r, f32c(f, 0x1p23), 0);

	i = e1(f, KIR_OP_bitcast, it, i);
	return narrow(f, e2(f, KIR_OP_and, it, i, kir_const_i(f, KIR_s32, 255)), KIR_u8);
}

/* Digits of x in two steps: what rows are scaled by, and the rows themselves. */
typedef struct split {
	kir_ref x, inverse;
	bool weights;
	digits d;
} split;

static split split_scale(kir_func *f, kir_ref x, int count, bool weights)
{
	int64_t rows = kir_type_of(f, x)->dim[0];
	kir_type_id rt = kir_vector(f->module, KIR_f32, rows);
	double top = weights ? (count == 2 ? 65535 : 255) : (count == 2 ? 32512 : 127);
	kir_ref a = e1x(f, weights ? KIR_OP_reduce_max : KIR_OP_reduce_amax, rt, x, 1);
	split s = { .x = x, .weights = weights, .d = { .rows = rows, .count = count } };

	a = e2(f, KIR_OP_max, rt, a, least_scale(f));
	s.d.scale = e2(f, KIR_OP_div, rt, a, f32c(f, top));
	if (!weights) /* digits can't be NaN: their scale is, if the row holds one */
		s.d.scale = e2(f, KIR_OP_add, rt, s.d.scale, nan_of_row(f, x, rt));
	s.inverse = e2(f, KIR_OP_div, rt, e1(f, KIR_OP_splat, rt, f32c(f, top)), a);
	return s;
}

static digits split_round(kir_func *f, const split *s)
{
	kir_module *m = f->module;
	kir_type t = *kir_type_of(f, s->x);
	kir_type_id it = kir_tile(m, KIR_s32, t.dim[0], t.dim[1]);
	kir_elem e = s->weights ? KIR_u8 : KIR_s8;
	digits d = s->d;

	if (d.count == 1 && s->weights && f->target->features & KIR_HAS_avx2) {
		d.tile = low_byte(f, s->x, s->inverse);
		return d;
	}
	kir_ref i = e2x(f, KIR_OP_mul, f->node[s->x].type, s->x, s->inverse, 0);

	if (d.count == 1) {
		d.tile = narrow(f, i, e);
		return d;
	}
	i = narrow(f, i, KIR_s32);
	kir_ref half = kir_const_i(f, KIR_s32, s->weights ? 0 : 128);
	kir_ref eight = kir_const_i(f, KIR_s32, 8);
	kir_ref hi =
	    e2(f, KIR_OP_shr, it, s->weights ? i : e2(f, KIR_OP_add, it, i, half), eight);
	kir_ref lo = e2(f, KIR_OP_sub, it, i, e2(f, KIR_OP_shl, it, hi, eight));

	d.tile = e2x(f, KIR_OP_concat, kir_tile(m, e, 2 * t.dim[0], t.dim[1]), narrow(f, hi, e),
	             narrow(f, lo, e), 0);
	return d;
}

/* f32 value of an s32 product of digits, without the rows' scale. */
static kir_ref join_digits(kir_func *f, kir_ref p, const digits *d)
{
	kir_module *m = f->module;
	int64_t cols = kir_type_of(f, p)->dim[1];
	kir_type_id it = kir_tile(m, KIR_s32, d->rows, cols);
	kir_ref part[2];

	if (d->count == 1)
		return as_elem(f, p, KIR_f32);
	for (int i = 0; i < 2; i++)
		part[i] = as_elem(f,
		                  kir_emit(f, KIR_OP_slice, it, &p, 1,
		                           (int64_t[KIR_MAX_ATTRS]){ 0, i * d->rows }),
		                  KIR_f32);
	return e3(f, KIR_OP_fma, kir_tile(m, KIR_f32, d->rows, cols), part[0], f32c(f, 256),
	          part[1]);
}

/* acc - sum of w * z's row, w as its digits d say. */
static kir_ref digits_zeros(kir_func *f, const digits *d, kir_ref acc, kir_ref z)
{
	kir_ref w =
	    join_digits(f,
	                e1(f, KIR_OP_convert,
	                   kir_with_elem(f->module, f->node[d->tile].type, KIR_s32), d->tile),
	                d);
	kir_type_id rt = f->node[d->scale].type;
	kir_ref sum =
	    e2x(f, KIR_OP_mul, f->node[w].type, w, z, kir_type_of(f, z)->rank ? 1 : -1);

	sum = e2(f, KIR_OP_mul, rt, e1x(f, KIR_OP_reduce_add, rt, sum, 1), d->scale);
	return e2x(f, KIR_OP_sub, f->node[acc].type, acc, sum, 0);
}

/* Of a value made of scores in integers: the value without the scale of the query's rows, the
 * query, that scale, and the sums of the query as it was rounded; 0: there is no such thing. */
typedef struct scores {
	kir_ref plain, query, scale, row_sum;
} scores;

/* scores: x . k^T with k s8. Columns of a query have the digits that the whole of it has. */
static kir_ref int_scores(kir_func *f, kir_ref x, kir_ref k, int count, kir_type_id t,
                          scores *made)
{
	kir_module *m = f->module;
	bool part = f->node[x].op == KIR_OP_slice;
	kir_ref codes = arith_before_convert(f, x);
	bool exact = kir_type_of(f, codes)->elem == KIR_s8;
	digits d = { .tile = codes, .rows = kir_type_of(f, x)->dim[0], .count = 1 };

	if (exact)
		count = 1;
	else {
		split q = split_scale(f, part ? kir_src(f, x, 0) : x, count, false);

		d = split_round(f, &q);
	}
	if (exact)
		d.scale = e1(f, KIR_OP_splat, kir_vector(m, KIR_f32, d.rows), f32c(f, 1));
	bool below16 = kir_type_of(f, k)->elem == KIR_u8;
	exact = exact && !arith_shift_of(f, k) && !below16;
	k = as_s8(f, k, &d.scale);
	kir_type_id kt = f->node[k].type;
	int64_t rows = d.rows * count, dim = kir_type_of(f, x)->dim[1];
	int64_t keys = kir_type_at(m, t)->dim[1];
	kir_type_id rt = kir_vector(m, KIR_s32, rows), pt = kir_tile(m, KIR_s32, rows, keys);
	bool both_signed = arith_has_engine(f->target) || arith_has_tiles(f, KIR_HAS_amx_int8);
	kir_ref ku = k, p, sum = 0;

	if (part)
		d.tile = kir_emit(f, KIR_OP_slice, kir_tile(m, KIR_s8, rows, dim), &d.tile, 1,
		                  f->node[x].attr);
	if (below16 && !both_signed)
		ku = e1(f, KIR_OP_bitcast, kir_with_elem(m, kt, KIR_u8), k);
	if (below16) {
		kir_type_id ft = kir_vector(m, KIR_f32, d.rows);

		sum = e1(f, KIR_OP_convert, kir_tile(m, KIR_s32, rows, dim), d.tile);
		sum = e1x(f, KIR_OP_reduce_add, ft, join_digits(f, sum, &d), 1);
		made->row_sum = e2(f, KIR_OP_mul, ft, sum, d.scale);
		sum = 0;
	} else if (!both_signed) {
		sum = e1(f, KIR_OP_convert, kir_tile(m, KIR_s32, rows, dim), d.tile);
		sum = e1x(f, KIR_OP_reduce_add, rt, sum, 1);
		sum = e2(f, KIR_OP_mul, rt, sum, kir_const_i(f, KIR_s32, -128));
		sum = e1x(f, KIR_OP_spread, pt, sum, 0); /* the product starts there */
		ku = e2(f, KIR_OP_xor, kt, k, kir_const_i(f, KIR_s8, -128));
		ku = e1(f, KIR_OP_bitcast, kir_with_elem(m, kt, KIR_u8), ku);
	}
	p = kir_emit(f, KIR_OP_dot, pt, (kir_ref[]){ d.tile, ku, sum }, sum ? 3 : 2,
	             (int64_t[KIR_MAX_ATTRS]){ 1 });
	if (exact)
		return as_elem(f, p, KIR_f32);
	made->plain = join_digits(f, p, &d);
	made->query = part ? kir_src(f, x, 0) : x;
	made->scale = d.scale;
	return e2x(f, KIR_OP_mul, t, made->plain, d.scale, 0);
}

/* Weights times a scale, whose factor can't make them negative: pass fragment then deals bytes
 * of them by a product. */
static kir_ref scaled_weights(kir_func *f, kir_ref w, kir_ref scale)
{
	scale = e2(f, KIR_OP_max, f->node[scale].type, scale, f32c(f, 0));
	return e2x(f, KIR_OP_mul, f->node[w].type, w, scale, 1);
}

/* What weights of product n are scaled by; done before the product that comes before n, if the
 * weights are there (the groups of a head have their own): it is a chain of a maximum, a
 * quotient and its broadcast that nothing else hides. */
static split weights_scale(const kir_func *in, kir_ref n, kir_func *f, const kir_ref *map,
                           int count)
{
	kir_ref w = kir_src(in, n, 0), d = arith_weight_scale(in, w);

	return split_scale(f,
	                   d && arith_has_engine(f->target)
	                       ? scaled_weights(f, map[kir_src(in, w, 0)], map[d])
	                       : map[w],
	                   count, true);
}

/* The product of weights after n in its region whose weights are there, 0 if none is. */
static kir_ref next_weights(const kir_func *in, kir_ref n, const kir_ref *map, kir_arith kind,
                            kir_elem query)
{
	for (n++; !kir_regions(in, n) && !(kir_ops[in->node[n].op].flags & KIR_ENDS); n++)
		if (in->node[n].op == KIR_OP_dot && !kir_attr_of(in, n, KIR_ATTR_trans) &&
		    arith_choose(in, n, query) == kind)
			return map[kir_src(in, n, 0)] ? n : 0;
	return 0;
}

/* Digits of the weights of product n, and ahead of it the scales of the next one's. */
static digits weight_digits(const kir_func *in, kir_ref n, kir_func *f, const kir_ref *map,
                            kir_arith kind, kir_elem query, split *ahead)
{
	int count = kind == KIR_ARITH_int8x2 ? 2 : 1;
	kir_ref next =
	    f->target->features & KIR_HAS_xe ? 0 : next_weights(in, n, map, kind, query);

	if (!ahead[n].x)
		ahead[n] = weights_scale(in, n, f, map, count);
	digits d = split_round(f, &ahead[n]);

	if (next && !ahead[next].x)
		ahead[next] = weights_scale(in, next, f, map, count);
	return d;
}

/* acc + w . v with v s8 and w >= 0, in digits d; with z less the sum of w * z's row. */
static kir_ref int_weights(kir_func *f, digits d, kir_ref v, kir_ref acc, kir_ref z,
                           kir_type_id t)
{
	kir_module *m = f->module;

	if (z)
		acc = digits_zeros(f, &d, acc, z);
	v = as_s8(f, v, &d.scale);
	kir_type_id pt = kir_tile(m, KIR_s32, d.rows * d.count, kir_type_at(m, t)->dim[1]);
	kir_ref o = join_digits(f, e2(f, KIR_OP_dot, pt, d.tile, v), &d);

	if (!acc)
		return e2x(f, KIR_OP_mul, t, o, d.scale, 0);
	return e3x(f, KIR_OP_fma, t, o, d.scale, acc, 0);
}

/* The largest power of two not above each row's largest magnitude, at least 2^-100. */
static kir_ref row_power(kir_func *f, kir_ref x)
{
	kir_type_id rt = kir_vector(f->module, KIR_f32, kir_type_of(f, x)->dim[0]);
	kir_type_id it = kir_with_elem(f->module, rt, KIR_s32);
	kir_ref a = e1x(f, KIR_OP_reduce_amax, rt, x, 1);

	a = e1(f, KIR_OP_bitcast, it, e2(f, KIR_OP_max, rt, a, least_scale(f)));
	a = e2(f, KIR_OP_and, it, a, kir_const_i(f, KIR_s32, 0x7f800000));
	return e1(f, KIR_OP_bitcast, rt, a);
}

static kir_ref reciprocal(kir_func *f, kir_ref x)
{
	kir_type_id t = f->node[x].type;
	kir_ref one = f32c(f, 1);

	if (kir_type_of(f, x)->rank)
		one = e1(f, KIR_OP_splat, t, one);
	return e2(f, KIR_OP_div, t, one, x);
}

/* scores: x . k^T in f16; a query that isn't exact in f16, or whose sums with codes up to 57344
 * might not be finite, is scaled a row. */
static kir_ref f16_scores(kir_func *f, kir_ref x, kir_ref k, kir_ref acc, kir_type_id t)
{
	bool plain =
	    arith_exact_in_f16((kir_elem)kir_type_of(f, arith_before_convert(f, x))->elem);
	int64_t attr[KIR_MAX_ATTRS] = { 1 };
	kir_ref src[3] = { 0, as_elem(f, k, KIR_f16), acc }, s = 0;

	if (plain) {
		src[0] = as_elem(f, arith_before_convert(f, x), KIR_f16);
		return kir_emit(f, KIR_OP_dot, t, src, acc ? 3 : 2, attr);
	}
	s = row_power(f, x);
	x = e2x(f, KIR_OP_mul, f->node[x].type, x, reciprocal(f, s), 0);
	src[0] = narrow(f, x, KIR_f16);
	x = kir_emit(f, KIR_OP_dot, t, src, 2, attr);
	if (acc)
		return e3x(f, KIR_OP_fma, t, x, s, acc, 0);
	return e2x(f, KIR_OP_mul, t, x, s, 0);
}

/* acc + w . v in f16; w at most 1, or at most 1 times the column `scale` of stored scales. */
static kir_ref f16_weights(kir_func *f, kir_ref w, kir_ref scale, kir_ref v, kir_ref acc,
                           kir_type_id t)
{
	kir_type_id f32 = kir_scalar(f->module, KIR_f32), wt = f->node[w].type;
	kir_ref s, src[3] = { 0, as_elem(f, v, KIR_f16), acc };

	if (!scale) {
		src[0] = narrow(f, w, KIR_f16);
		return kir_emit(f, KIR_OP_dot, t, src, acc ? 3 : 2, NULL);
	}
	s = e1x(f, KIR_OP_reduce_max, f32, scale, 0);
	s = e2(f, KIR_OP_max, f32, s, least_scale(f));
	scale = e2(f, KIR_OP_mul, f->node[scale].type, scale, reciprocal(f, s));
	src[0] = narrow(f, e2x(f, KIR_OP_mul, wt, w, scale, 1), KIR_f16);
	w = kir_emit(f, KIR_OP_dot, t, src, 2, NULL);
	if (acc)
		return e3(f, KIR_OP_fma, t, w, s, acc);
	return e2(f, KIR_OP_mul, t, w, s);
}

static kir_ref rewrite(const kir_func *in, kir_ref n, kir_func *f, const kir_ref *map,
                       kir_arith kind, const digits *d, scores *made, kir_ref half)
{
	kir_ref x = map[kir_src(in, n, 0)], b = map[arith_stored_factor(in, n)];
	kir_ref acc = kir_src(in, n, 2) ? map[kir_src(in, n, 2)] : 0;
	int64_t trans = kir_attr_of(in, n, KIR_ATTR_trans);
	kir_type_id t = in->node[n].type;
	int count = kind == KIR_ARITH_int8x2 ? 2 : 1;
	kir_ref zacc, z;

	if (kind == KIR_ARITH_bf16 && !trans && arith_less_zeros(in, n, &zacc, &z))
		return bf16_zeros(f, x, b, map[zacc], map[z], t);
	if (kind == KIR_ARITH_bf16)
		return kir_emit(f, KIR_OP_dot, t,
		                (kir_ref[]){ half ? half : to_bf16(f, x), to_bf16(f, b), acc },
		                acc ? 3 : 2, (int64_t[KIR_MAX_ATTRS]){ trans });
	if (kind == KIR_ARITH_f16 && trans)
		return f16_scores(f, x, b, acc, t);
	if (kind == KIR_ARITH_f16) {
		kir_ref w = kir_src(in, n, 0), by = arith_weight_scale(in, w);

		return f16_weights(f, by ? map[kir_src(in, w, 0)] : x, by ? map[by] : 0, b, acc,
		                   t);
	}
	if (!trans && arith_less_zeros(in, n, &zacc, &z))
		return int_weights(f, *d, b, map[zacc], map[z], t);
	if (!trans)
		return int_weights(f, *d, b, acc, 0, t);
	kir_ref s = int_scores(f, x, b, count, t, made);
	return acc ? e2(f, KIR_OP_add, t, s, acc) : s;
}

/* x times scalar s, where x is a tile of f32 times a scale a row, or that times one a column: s
 * joins the rows' scale, which hoist takes out of the loop. Engines only: what their tiles are
 * multiplied by is a tenth of their loop. 0: x isn't such. */
static kir_ref join_scale(kir_func *f, kir_ref x, kir_ref s)
{
	kir_ref c = 0, r = x;

	if (!arith_has_engine(f->target) || kir_type_of(f, s)->rank ||
	    kir_type_of(f, x)->rank != 2)
		return 0;
	if (f->node[r].op == KIR_OP_mul && kir_type_of(f, kir_src(f, r, 1))->rank == 1 &&
	    kir_attr_of(f, r, KIR_ATTR_axis) == 1) {
		c = kir_src(f, r, 1);
		r = kir_src(f, r, 0);
	}
	if (f->node[r].op != KIR_OP_mul || kir_type_of(f, kir_src(f, r, 1))->rank != 1 ||
	    kir_attr_of(f, r, KIR_ATTR_axis) != 0)
		return 0;
	kir_ref by = kir_src(f, r, 1);

	by = e2(f, KIR_OP_mul, f->node[by].type, by, s);
	r = e2x(f, KIR_OP_mul, f->node[r].type, kir_src(f, r, 0), by, 0);
	return c ? e2x(f, KIR_OP_mul, f->node[x].type, r, c, 1) : r;
}

/* Scores less (zero points * sums of the query), as fold_scales leaves them, whose product took
 * integers: the sums are those of the query as it was rounded. 0 if n isn't that. */
static kir_ref scores_zeros(const kir_func *in, kir_ref n, kir_func *f, const kir_ref *map,
                            const scores *made)
{
	kir_ref s = kir_src(in, n, 0), mul = kir_src(in, n, 1), src[2];
	unsigned sums = 2;

	if (in->node[n].op != KIR_OP_sub || !made[s].row_sum || in->node[mul].op != KIR_OP_mul)
		return 0;
	for (unsigned i = 0; i < 2; i++) {
		kir_ref x = kir_src(in, mul, i);

		src[i] = map[x];
		if (in->node[x].op == KIR_OP_reduce_add &&
		    arith_before_convert(in, kir_src(in, x, 0)) ==
		        arith_before_convert(in, kir_src(in, s, 0)))
			sums = i;
	}
	if (sums == 2)
		return 0;
	src[sums] = made[s].row_sum;
	mul = kir_emit(f, KIR_OP_mul, in->node[mul].type, src, 2, in->node[mul].attr);
	src[0] = map[s];
	src[1] = mul;
	return kir_emit(f, KIR_OP_sub, in->node[n].type, src, 2, in->node[n].attr);
}

/* A column of stored scales so near 1 that integers below 2^31 times them are finite in f32 and
 * normal, whatever else they are multiplied with. */
static bool near_one(const kir_func *f, kir_ref s)
{
	if (kir_type_of(f, s)->rank != 1 || !arith_is_scale(f, s))
		return false;
	while (f->node[s].op != KIR_OP_load)
		s = kir_src(f, s, 0);
	kir_elem e = (kir_elem)kir_type_of(f, s)->elem;

	return e == KIR_f16 || (kir_is_float(e) && kir_elems[e].bits <= 8 && e != KIR_e8m0);
}

/* Scores of one group after the other, times their scales, in one sum: the query's scale, which
 * is the same for all, is multiplied to the sum instead of to each. 0 if n isn't such a step.
 */
static kir_ref sum_of_groups(const kir_func *in, kir_ref n, kir_func *f, const kir_ref *map,
                             scores *made)
{
	bool first = in->node[n].op == KIR_OP_mul;
	kir_ref s = kir_src(in, n, 0), sum = first ? 0 : kir_src(in, n, 2), src[3];

	if ((!first && in->node[n].op != KIR_OP_fma) || !made[s].plain ||
	    kir_attr_of(in, n, KIR_ATTR_axis) != 1 || !near_one(in, kir_src(in, n, 1)) ||
	    (!first && made[sum].query != made[s].query))
		return 0;
	src[0] = made[s].plain;
	src[1] = map[kir_src(in, n, 1)];
	src[2] = first ? 0 : made[sum].plain;
	made[n] = made[s];
	made[n].plain = kir_emit(f, (kir_op)in->node[n].op, in->node[n].type, src,
	                         first ? 2 : 3, in->node[n].attr);
	return e2x(f, KIR_OP_mul, in->node[n].type, made[n].plain, made[n].scale, 0);
}

/* Such a sum times a scalar s, which joins the rows' scale; 0 if n isn't that. */
static kir_ref scaled_sum(const kir_func *in, kir_ref n, kir_func *f, const kir_ref *map,
                          const scores *made)
{
	kir_ref x = kir_src(in, n, 0), s = kir_src(in, n, 1), by;

	if (in->node[n].op != KIR_OP_mul || !made[x].plain || in->node[x].op == KIR_OP_dot ||
	    kir_type_of(in, s)->rank)
		return 0;
	by = e2(f, KIR_OP_mul, f->node[made[x].scale].type, made[x].scale, map[s]);
	return e2x(f, KIR_OP_mul, in->node[n].type, made[x].plain, by, 0);
}

kpass_result kpass_arith(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_ref *map = kir_map_new(out, in);
	scores *made = kir_alloc(out->module, in->nnode * sizeof *made);
	split *ahead = kir_alloc(out->module, in->nnode * sizeof *ahead);
	kir_ref *half = kir_alloc(out->module, in->nnode * sizeof *half); /* weights in bf16 */
	kir_elem query = arith_query_elem(in);
	kpass_result result = KPASS_SAME;

	(void)why;
	for (kir_ref n = 1; n < in->nnode; n++) {
		kir_arith kind = KIR_ARITH_f32;

		if (in->node[n].op == KIR_OP_param)
			continue;
		if (in->node[n].op == KIR_OP_dot)
			kind = arith_choose(in, n, query);
		/* kinds are the words of the knobs, but engines' f16, which has none */
		if (in->node[n].op == KIR_OP_dot)
			kir_chose(
			    out, kir_attr_of(in, n, KIR_ATTR_trans) ? KIR_KNOB_qk : KIR_KNOB_pv,
			    kind <= KIR_ARITH_int8x2 ? (int)kind : -1);
		if (in->node[n].op == KIR_OP_mul && result == KPASS_CHANGED) {
			kir_ref joined =
			    join_scale(out, map[kir_src(in, n, 0)], map[kir_src(in, n, 1)]);

			if (joined) {
				map[n] = joined;
				continue;
			}
		}
		if ((map[n] = scores_zeros(in, n, out, map, made)) != 0 ||
		    (map[n] = sum_of_groups(in, n, out, map, made)) != 0 ||
		    (map[n] = scaled_sum(in, n, out, map, made)) != 0)
			continue;
		if (kind == KIR_ARITH_f32) {
			kir_copy(out, in, n, map);
			/* beside what they are computed from: f32 weights live in no memory */
			if (is_bf16_left(in, n, query))
				half[n] = bf16_weights(out, map[n]);
			continue;
		}
		digits d = { 0 };

		if (kind >= KIR_ARITH_int8 && kind <= KIR_ARITH_int8x2 &&
		    !kir_attr_of(in, n, KIR_ATTR_trans))
			d = weight_digits(in, n, out, map, kind, query, ahead);
		map[n] = rewrite(in, n, out, map, kind, &d, &made[n], half[kir_src(in, n, 0)]);
		result = KPASS_CHANGED;
	}
	return result;
}
