/* SPDX-License-Identifier: Apache-2.0 */
/* small.c -- floats with few bits, from the columns of elems.def.
 *
 * Neither direction makes or reads an f32 subnormal: some processors take a hundred cycles
 * for one, and a host may have told its threads to count them as zero.
 */
#include "lower.h"
#include "../../ir/format.h"

#include <math.h>

typedef struct shape {
	unsigned man, mag; /* mantissa bits; bits of the magnitude                     */
	int bias;
	char kind;
	uint32_t ones, inf; /* the largest magnitude code; exponent all ones           */
} shape;

static shape shape_of(kir_elem e)
{
	const kir_elem_info *k = &kir_elems[e];
	unsigned mag = (unsigned)k->exp + k->man;

	return (shape){ k->man,          mag,
		        k->bias,         k->kind,
		        (1u << mag) - 1, ((1u << k->exp) - 1) << k->man };
}

static LLVMValueRef word(kll *l, uint32_t x, LLVMValueRef like)
{
	return kll_int(l->i32, x, like);
}

static LLVMValueRef equals(kll *l, LLVMValueRef x, uint32_t y)
{
	return LLVMBuildICmp(l->b, LLVMIntEQ, x, word(l, y, x), "");
}

/* -- codes to f32 ----------------------------------------------------------------------- */

/* Through half, whose conversion instruction takes subnormals in its stride. The 8-bit codes
 * are shifted under half's exponent; the rest of the bias is a factor. */
static LLVMValueRef decode_half(kll *l, LLVMValueRef code, kir_elem e)
{
	LLVMBuilderRef b = l->b;
	LLVMTypeRef i16 = kll_like(l->i16, code);
	LLVMValueRef h, x, nan;

	if (e == KIR_e5m2) {
		h = LLVMBuildShl(b, LLVMBuildZExt(b, code, i16, ""), kll_int(l->i16, 8, code),
		                 "");
		return LLVMBuildFPExt(b, kll_as(l, h, l->half), kll_like(l->f32, code), "");
	}
	h = LLVMBuildShl(b, LLVMBuildSExt(b, code, i16, ""), kll_int(l->i16, 7, code), "");
	h = LLVMBuildAnd(b, h, kll_int(l->i16, 0xbf80, code), "");
	x = LLVMBuildFPExt(b, kll_as(l, h, l->half), kll_like(l->f32, code), "");
	x = LLVMBuildFMul(b, x, kll_real(l->f32, e == KIR_e4m3fn ? 256 : 128, x), "");
	if (e == KIR_e4m3fn) {
		nan = LLVMBuildAnd(b, code, kll_int(l->i8, 0x7f, code), "");
		nan = LLVMBuildICmp(b, LLVMIntEQ, nan, kll_int(l->i8, 0x7f, code), "");
	} else {
		nan = LLVMBuildICmp(b, LLVMIntEQ, code, kll_int(l->i8, 0x80, code), "");
	}
	return kll_select(l, nan, kll_real(l->f32, NAN, x), x);
}

/* e8m0: the code is the exponent of f32, but for its two ends. */
static LLVMValueRef decode_pow2(kll *l, LLVMValueRef code)
{
	LLVMValueRef c = LLVMBuildZExt(l->b, code, kll_like(l->i32, code), ""), x;

	x = LLVMBuildShl(l->b, c, word(l, 23, c), "");
	x = kll_select(l, equals(l, c, 0), word(l, 0x00400000, c), x);
	x = kll_select(l, equals(l, c, 255), word(l, 0x7fc00000, c), x);
	return kll_as(l, x, l->f32);
}

LLVMValueRef kll_small_decode(kll *l, LLVMValueRef code, kir_elem e)
{
	LLVMBuilderRef b = l->b;
	shape s = shape_of(e);
	unsigned up = 23 - s.man;
	LLVMValueRef c, t, normal, sub, x, sign;

	if (s.kind == 'E')
		return decode_pow2(l, code);
	if (l->o->half && (e == KIR_e4m3fn || e == KIR_e5m2 || e == KIR_e4m3fnuz))
		return decode_half(l, code, e);
	c = LLVMBuildZExt(b, code, kll_like(l->i32, code), "");
	t = LLVMBuildShl(b, LLVMBuildAnd(b, c, word(l, s.ones, c), ""), word(l, up, c), "");
	normal = LLVMBuildAdd(b, t, word(l, (uint32_t)(127 - s.bias) << 23, c), "");
	/* 1.mmm at the smallest exponent, minus the 1 */
	sub = LLVMBuildAdd(b, t, word(l, (uint32_t)(128 - s.bias) << 23, c), "");
	sub = LLVMBuildFSub(b, kll_as(l, sub, l->f32),
	                    kll_real(l->f32, ldexp(1, 1 - s.bias), c), "");
	x = kll_select(l, LLVMBuildICmp(b, LLVMIntULT, t, word(l, 1u << 23, c), ""),
	               kll_as(l, sub, l->i32), normal);
	if (s.kind == 'F') {
		LLVMValueRef top = LLVMBuildICmp(b, LLVMIntUGE, t, word(l, s.inf << up, c), "");

		x = kll_select(l, top, LLVMBuildOr(b, t, word(l, 0x7f800000, c), ""), x);
	}
	if (s.kind == 'N')
		x = kll_select(l, equals(l, t, s.ones << up), word(l, 0x7fc00000, c), x);
	sign = LLVMBuildAnd(b, c, word(l, s.ones + 1, c), "");
	sign = LLVMBuildShl(b, sign, word(l, 31 - s.mag, c), "");
	x = LLVMBuildOr(b, x, sign, "");
	if (s.kind == 'Z')
		x = kll_select(l, equals(l, c, s.ones + 1), word(l, 0x7fc00000, c), x);
	return kll_as(l, x, l->f32);
}

/* -- f32 to codes ------------------------------------------------------------------------ */

static double value_of(const shape *s, uint32_t code)
{
	uint32_t man = code & ((1u << s->man) - 1), exp = code >> s->man;

	return ldexp((double)(man | 1u << s->man), (int)exp - s->bias - (int)s->man);
}

/* |x|, at most the largest number whose code is wanted; NaN becomes that number. */
static LLVMValueRef clamp(kll *l, LLVMValueRef a, const shape *s, int round, bool inf)
{
	uint32_t max = s->kind == 'F' ? s->inf - 1 : s->kind == 'N' ? s->ones - 1 : s->ones;
	bool beyond = inf && round != KIR_ROUND_zero;
	LLVMValueRef lim = kll_real(l->f32, value_of(s, beyond ? max + 1 : max), a), r;

	r = kll_select(l, LLVMBuildFCmp(l->b, LLVMRealOLT, a, lim, ""), a, lim);
	if (inf && !beyond) { /* toward zero only an infinity is too large */
		LLVMValueRef is =
		    LLVMBuildFCmp(l->b, LLVMRealOEQ, a, kll_real(l->f32, INFINITY, a), "");
		r = kll_select(l, is, kll_real(l->f32, value_of(s, max + 1), a), r);
	}
	return r;
}

/* The code of magnitude c, in the low bits of an i32 (the ones above are noise).
 *
 * m is the power of two at or below c, at least the smallest normal. Adding m * 2^(23-man)
 * pushes the bits that don't fit out of the significand: the processor's own rounding, to
 * even, for normals and subnormals alike. What remains is exponent and quotient of the code
 * in one word, and adding the word shifted down to itself puts one on top of the other; the
 * constant that is then still missing hides in the low bits of the factor. */
static LLVMValueRef magnitude(kll *l, LLVMValueRef c, const shape *s, int round)
{
	LLVMBuilderRef b = l->b;
	unsigned up = 23 - s->man;
	int emin = 1 - s->bias;
	uint32_t base = (up + 127 + (uint32_t)emin) << s->man;
	uint32_t hidden = s->mag < 8 ? -base & 0xff : 0; /* fits below the quotient's bits */
	LLVMValueRef m = kll_as(l, c, l->i32), low, factor, sum, word_sum, r;

	low = word(l, (uint32_t)(127 + emin) << 23, c);
	m = kll_select(l, LLVMBuildICmp(b, LLVMIntSGT, m, low, ""), m, low);
	m = kll_as(l, LLVMBuildAnd(b, m, word(l, 0x7f800000, c), ""), l->f32);
	factor = kll_real(l->f32, ldexp(1, (int)up) + ldexp(hidden, -(int)s->man), c);
	if (l->o->fma)
		sum = kll_fma(l, m, factor, c);
	else /* the product is exact */
		sum = LLVMBuildFAdd(b, LLVMBuildFMul(b, m, factor, ""), c, "");
	word_sum = kll_as(l, sum, l->i32);
	r = LLVMBuildAdd(b, word_sum, LLVMBuildLShr(b, word_sum, word(l, up, c), ""), "");
	if (!hidden)
		r = LLVMBuildSub(b, r, word(l, base, c), "");
	if (round == KIR_ROUND_even)
		return r;

	/* mend the direction: y is c as rounded, exact */
	LLVMValueRef y = LLVMBuildFSub(b, sum, LLVMBuildFMul(b, m, factor, ""), ""), fix, lost;

	lost = LLVMBuildFSub(b, c, y, "");
	if (round == KIR_ROUND_zero)
		fix = LLVMBuildFCmp(b, LLVMRealOLT, lost, kll_real(l->f32, 0, c), "");
	else
		fix = LLVMBuildFCmp(
		    b, LLVMRealOEQ, lost,
		    LLVMBuildFMul(b, m, kll_real(l->f32, ldexp(0.5, -(int)s->man), c), ""), "");
	y = word(l, round == KIR_ROUND_zero ? UINT32_MAX : 1, c);
	return kll_select(l, fix, LLVMBuildAdd(b, r, y, ""), r);
}

/* To the nearest power of two, halves up; not above zero: the smallest. */
static LLVMValueRef encode_pow2(kll *l, LLVMValueRef x, int round, int nan, int over)
{
	LLVMBuilderRef b = l->b;
	LLVMValueRef bits = kll_as(l, x, l->i32), c = bits, sub, r, bad;
	bool up = round != KIR_ROUND_zero;

	if (up)
		c = LLVMBuildAdd(b, bits, word(l, 0x400000, x), "");
	r = LLVMBuildLShr(b, c, word(l, 23, x), "");
	sub = LLVMBuildICmp(b, LLVMIntUGE, bits, word(l, up ? 0x600000 : 0x800000, x), "");
	sub = LLVMBuildZExt(b, sub, LLVMTypeOf(bits), "");
	r = kll_select(l, LLVMBuildICmp(b, LLVMIntULT, bits, word(l, 0x800000, x), ""), sub, r);
	r = kll_select(l, LLVMBuildICmp(b, LLVMIntULT, r, word(l, 254, x), ""), r,
	               word(l, 254, x));
	if (over == KIR_OVER_inf) {
		bad = LLVMBuildFCmp(b, LLVMRealOGT, x, kll_real(l->f32, ldexp(1, 127), x), "");
		r = kll_select(l, bad, word(l, 255, x), r);
	}
	bad = LLVMBuildFCmp(b, LLVMRealOGT, x, kll_real(l->f32, 0, x), "");
	r = kll_select(l, bad, r, word(l, 0, x));
	bad = LLVMBuildFCmp(b, LLVMRealUNO, x, x, "");
	r = kll_select(l, bad,
	               word(l,
	                    nan == KIR_NAN_keep  ? 255
	                    : nan == KIR_NAN_max ? 254
	                                         : 0,
	                    x),
	               r);
	return LLVMBuildTrunc(b, r, kll_like(l->i8, x), "");
}

LLVMValueRef kll_small_encode(kll *l, LLVMValueRef x, kir_elem e, int round, int nan, int over)
{
	LLVMBuilderRef b = l->b;
	shape s = shape_of(e);
	bool inf = over == KIR_OVER_inf || kir_elems[e].bits >= 16;
	uint32_t signbit = s.ones + 1, keep = s.ones;
	bool exact = s.mag != 7 || s.kind == 'Z'; /* else the bits above are cut off anyway */
	LLVMValueRef bits = kll_as(l, x, l->i32), a, r, sign, lost;

	if (s.kind == 'E')
		return encode_pow2(l, x, round, nan, over);
	if (s.kind == 'P')
		inf = false; /* has nothing beyond its largest number */
	a = kll_as(l, LLVMBuildAnd(b, bits, word(l, 0x7fffffff, x), ""), l->f32);
	r = magnitude(l, clamp(l, a, &s, round, inf), &s, round);
	if (s.kind == 'Z' && inf)
		keep |= signbit; /* one beyond the largest is the NaN */
	r = LLVMBuildAnd(b, r, word(l, exact ? keep : ~signbit, x), "");
	sign = LLVMBuildLShr(b, bits, word(l, 31 - s.mag, x), "");
	sign = LLVMBuildAnd(b, sign, word(l, signbit, x), "");
	if (s.kind == 'Z') /* there is no minus zero */
		sign = kll_select(l, equals(l, r, 0), word(l, 0, x), sign);
	r = LLVMBuildOr(b, r, sign, "");

	lost = LLVMBuildFCmp(b, LLVMRealUNO, x, x, "");
	if (nan == KIR_NAN_keep && s.kind == 'N') {
		lost = kll_select(l, lost, word(l, s.ones, x), word(l, 0, x));
		r = LLVMBuildOr(b, r, lost, "");
	} else if (nan == KIR_NAN_keep && s.kind == 'F') {
		sign = LLVMBuildOr(b, sign, word(l, s.inf | 1u << (s.man - 1), x), "");
		r = kll_select(l, lost, sign, r);
	} else {
		uint64_t c = kir_encode(e, NAN, round, nan, over);

		r = kll_select(l, lost, word(l, (uint32_t)c, x), r);
	}
	return LLVMBuildTrunc(b, r, kll_like(kll_elem_type(l, e), x), "");
}
