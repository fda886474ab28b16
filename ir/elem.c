/* SPDX-License-Identifier: Apache-2.0 */
/* elem.c -- one element, exactly: what the columns of elems.def mean.
 *
 * Everything is computed from a row's kind, exponent and mantissa widths and bias; there is no
 * case for a type by name. Values are doubles, which hold every code of every row but the
 * 64-bit integers beyond 2^53. Decoding a code and encoding the value gives the code again,
 * NaNs excepted (they come back as the canonical one with their sign).
 */
#include "format.h"

#include <math.h>
#include <string.h>

static uint64_t low_bits(unsigned n)
{
	return n >= 64 ? UINT64_MAX : ((uint64_t)1 << n) - 1;
}

/* x * 2^exp: ldexp for the exponents that elements have, without the call. */
static double times_power(double x, int exp)
{
	uint64_t bits = (uint64_t)(exp + 1023) << 52;
	double power;

	if (exp < -1022 || exp > 1023)
		return ldexp(x, exp);
	memcpy(&power, &bits, sizeof power);
	return x * power;
}

static double decode_int(const kir_elem_info *e, uint64_t code)
{
	code &= low_bits(e->bits);
	if (e->kind == 'B')
		return code != 0;
	if (e->kind == 'I' && code >> (e->bits - 1))
		return (double)(int64_t)(code | ~low_bits(e->bits));
	return (double)code;
}

double kir_decode(kir_elem elem, uint64_t code)
{
	const kir_elem_info *e = &kir_elems[elem];

	if (e->kind == 'I' || e->kind == 'U' || e->kind == 'B')
		return decode_int(e, code);
	if (e->kind == 'E') {
		code &= low_bits(e->exp);
		return code == low_bits(e->exp) ? NAN : times_power(1, (int)code - e->bias);
	}
	uint64_t man = code & low_bits(e->man);
	int exp = (int)(code >> e->man & low_bits(e->exp)), top = (int)low_bits(e->exp);
	double sign = code >> (e->exp + e->man) & 1 ? -1 : 1, x;

	if (e->kind == 'Z' && sign < 0 && !exp && !man)
		return NAN;
	if (exp == top && e->kind == 'F')
		x = man ? NAN : INFINITY;
	else if (exp == top && e->kind == 'N' && man == low_bits(e->man))
		x = NAN;
	else if (exp == 0)
		x = times_power((double)man, 1 - e->bias - e->man);
	else
		x = times_power((double)(man | (uint64_t)1 << e->man), exp - e->bias - e->man);
	return copysign(x, sign);
}

double kir_elem_max(kir_elem elem)
{
	const kir_elem_info *e = &kir_elems[elem];
	int top = (int)low_bits(e->exp);
	double all_ones = ldexp(1, e->man + 1) - 1;

	switch (e->kind) {
	case 'B': return 1;
	case 'I':
	case 'U': return ldexp(1, e->man) - 1;
	case 'E': return ldexp(1, top - 1 - e->bias);
	case 'F': return ldexp(all_ones, top - 1 - e->bias - e->man);
	case 'N': return ldexp(all_ones - 1, top - e->bias - e->man);
	default: return ldexp(all_ones, top - e->bias - e->man);
	}
}

/* r >= 0 to an integer. Works on r - floor(r), which is exact, and not on r + 0.5. */
static double round_to(double r, int round)
{
	double lo = floor(r), rest = r - lo;

	if (round == KIR_ROUND_zero || rest < 0.5)
		return lo;
	if (rest > 0.5 || round == KIR_ROUND_away)
		return lo + 1;
	return fmod(lo, 2) == 0 ? lo : lo + 1;
}

static uint64_t encode_int(const kir_elem_info *e, double x, int round, int nan)
{
	double max = ldexp(1, e->man), min = e->kind == 'I' ? -max : 0, r;

	if (isnan(x))
		return nan == KIR_NAN_max ? low_bits(e->man) : 0;
	if (e->kind == 'B')
		return x != 0;
	if (round == KIR_ROUND_away)
		r = trunc((float)(x + copysign(0.5, x))); /* the writers' rule, formats.md A1 */
	else
		r = copysign(round_to(fabs(x), round), x);
	/* max itself is one too many, but unlike max - 1 a double for every row */
	if (r >= max)
		return low_bits(e->man);
	if (r <= min)
		return e->kind == 'I' ? (uint64_t)1 << e->man : 0;
	return (uint64_t)(int64_t)r & low_bits(e->bits);
}

static uint64_t encode_nan(kir_elem elem, const kir_elem_info *e, bool minus, int nan)
{
	uint64_t sign = minus ? (uint64_t)1 << (e->exp + e->man) : 0;

	if (nan == KIR_NAN_zero)
		return 0;
	if (nan == KIR_NAN_max)
		return kir_encode(elem, kir_elem_max(elem), KIR_ROUND_even, nan, KIR_OVER_sat);
	switch (e->kind) {
	case 'E': return low_bits(e->exp);
	case 'Z': return (uint64_t)1 << (e->exp + e->man);
	case 'N': return sign | low_bits(e->exp + e->man);
	case 'F': return sign | low_bits(e->exp) << e->man | (uint64_t)1 << (e->man - 1);
	default: return kir_encode(elem, kir_elem_max(elem), KIR_ROUND_even, nan, KIR_OVER_sat);
	}
}

/* Powers of two have no zero and no sign: what is too small is the smallest. A tie (1.5) goes
 * to the larger one. */
static uint64_t encode_pow2(kir_elem elem, const kir_elem_info *e, double x, int round,
                            int over)
{
	int exp;

	if (x > kir_elem_max(elem) && over == KIR_OVER_inf)
		return low_bits(e->exp);
	if (!(x > 0))
		return 0;
	if (isinf(x))
		return low_bits(e->exp) - 1;
	double part = frexp(x, &exp); /* in [0.5, 1) */
	int64_t code = exp - 1 + e->bias + (round != KIR_ROUND_zero && part >= 0.75);

	if (code < 0)
		return 0;
	if (code > (int64_t)low_bits(e->exp) - 1)
		return low_bits(e->exp) - 1;
	return (uint64_t)code;
}

/* The code of |x| rounded as if exponents had no upper end, so that codes past the largest
 * finite one mean overflow. */
static uint64_t encode_magnitude(const kir_elem_info *e, double ax, int round)
{
	int exp = 0, emin = 1 - e->bias;

	frexp(ax, &exp);
	exp = ax == 0 || exp - 1 < emin ? emin : exp - 1;
	uint64_t n = (uint64_t)round_to(times_power(ax, e->man - exp), round);

	/* a normal n holds the hidden bit, which the sum turns into one exponent step */
	return ((uint64_t)(exp - emin) << e->man) + n;
}

uint64_t kir_encode(kir_elem elem, double x, int round, int nan, int over)
{
	const kir_elem_info *e = &kir_elems[elem];

	if (e->kind == 'I' || e->kind == 'U' || e->kind == 'B')
		return encode_int(e, x, round, nan);
	if (isnan(x))
		return encode_nan(elem, e, signbit(x), nan);
	if (e->kind == 'E')
		return encode_pow2(elem, e, x, round, over);

	uint64_t sign = (uint64_t)(signbit(x) != 0) << (e->exp + e->man);
	uint64_t inf = low_bits(e->exp) << e->man, max = inf - 1, code;

	if (e->kind == 'N')
		max = low_bits(e->exp + e->man) - 1;
	else if (e->kind != 'F')
		max = low_bits(e->exp + e->man);
	if (e->kind == 'F' && e->bits >= 16)
		over = KIR_OVER_inf;
	code = isinf(x) ? max + 1 : encode_magnitude(e, fabs(x), round);
	if (code > max && (over == KIR_OVER_sat || (round == KIR_ROUND_zero && !isinf(x))))
		code = max;
	if (code > max)
		return e->kind == 'F' ? sign | inf : encode_nan(elem, e, sign, KIR_NAN_keep);
	if (e->kind == 'Z' && code == 0)
		return 0; /* minus zero is the NaN */
	return sign | code;
}

uint32_t kir_pow2_carry(kir_scale_rule rule)
{
	return rule == KIR_RULE_pow2 ? 0x7fffff : rule == KIR_RULE_pow2_near ? 0x200000 : 0;
}

double kir_pow2_by(kir_scale_rule rule, double x)
{
	int exp;

	if (rule == KIR_RULE_pow2 || !isfinite(x))
		return kir_pow2_ceil(x);
	if (!(x > ldexp(1, -127)))
		return ldexp(1, -127);
	double part = frexp(x, &exp); /* in [0.5, 1) */

	return ldexp(1, rule == KIR_RULE_pow2_near && part >= 0.875 ? exp : exp - 1);
}

double kir_scale_most(const kir_side *s)
{
	double most = kir_elem_max(s->scale_elem);

	return s->rule >= KIR_RULE_pow2 ? kir_pow2_by(KIR_RULE_pow2_down, most) : most;
}

bool kir_scale_overflows(const kir_side *s, kir_elem from)
{
	double most = kir_elem_max(s->range ? KIR_f32 : from);
	uint64_t end =
	    kir_encode(s->scale_elem, INFINITY, KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_sat);
	float d = (float)s->divisor;

	if (s->rule < KIR_RULE_pow2 && isfinite(kir_decode(s->scale_elem, end)))
		return false;
	if (s->global)
		return true;
	most = fmax(most, s->eps);
	most = s->inverse ? most * (double)(1 / d) : most / (double)d;
	return fmax(most, s->floor) > kir_scale_most(s);
}

double kir_pow2_ceil(double x)
{
	int exp;

	if (isnan(x) || isinf(x))
		return fabs(x);
	if (!(x > ldexp(1, -127)))
		return ldexp(1, -127);
	double part = frexp(x, &exp);

	return ldexp(1, part == 0.5 ? exp - 1 : exp);
}

double kir_side_split(const kir_side *s, double x, double *zero)
{
	uint32_t mask = kir_side_zero_mask(s), bits;

	*zero = 0;
	if (!mask)
		return x;
	bits = (uint32_t)kir_encode(KIR_f32, x, 0, 0, 0);
	*zero = bits & mask;
	return kir_decode(KIR_f32, bits & ~mask);
}

double kir_side_join(const kir_side *s, double scale, double zero)
{
	uint32_t mask = kir_side_zero_mask(s), bits;

	if (!mask)
		return scale;
	bits = (uint32_t)kir_encode(KIR_f32, scale, 0, 0, 0);
	return kir_decode(KIR_f32, (bits & ~mask) | (uint32_t)zero);
}
