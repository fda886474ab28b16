/* SPDX-License-Identifier: Apache-2.0 */
/* value.c -- elements as values: rounding, wrapping, and their codes in memory.
 *
 * ir/elem.c defines every element; here are short cuts that give the same results for the
 * common cases (normal numbers, 8-bit tables, f32), driven by the same columns.
 */
#include "interp.h"

#include <math.h>
#include <string.h>

static bool is_f32(kir_elem e)
{
	return kir_elems[e].kind == 'F' && kir_elems[e].bits == 32;
}

static bool is_f64(kir_elem e)
{
	return kir_elems[e].kind == 'F' && kir_elems[e].bits == 64;
}

static uint64_t bits_of(double x)
{
	uint64_t b;

	memcpy(&b, &x, sizeof b);
	return b;
}

static double from_bits(uint64_t b)
{
	double x;

	memcpy(&x, &b, sizeof x);
	return x;
}

/* A normal number rounds to `man` mantissa bits in its own bits: adding half a step (less one
 * when the bit kept is 0) carries into the exponent as it must. */
double kref_to_float(kir_elem e, double x, int round, int nan, int over)
{
	const kir_elem_info *t = &kir_elems[e];
	bool plain = round == KIR_ROUND_even;

	if (is_f64(e) && plain && !isnan(x))
		return x;
	if (is_f32(e) && plain && !isnan(x))
		return (float)x;
	if (plain && t->man && t->exp < 11) {
		uint64_t b = bits_of(x);
		int exp = (int)(b >> 52 & 0x7ff) - 1023, top = (1 << t->exp) - 1 - t->bias;

		/* away from both ends every kind of float is the same */
		if (exp >= 1 - t->bias && exp < top - 1) {
			int cut = 52 - t->man;

			b += ((uint64_t)1 << (cut - 1)) - 1 + (b >> cut & 1);
			return from_bits(b >> cut << cut);
		}
	}
	return kir_decode(e, kir_encode(e, x, round, nan, over));
}

int64_t kref_int_max(kir_elem e)
{
	if (kir_elems[e].kind == 'B')
		return 1;
	return (int64_t)(((uint64_t)1 << kir_elems[e].man) - 1);
}

int64_t kref_int_min(kir_elem e)
{
	return kir_elems[e].kind == 'I' ? -kref_int_max(e) - 1 : 0;
}

int64_t kref_to_int(kir_elem e, double x, int round, int nan)
{
	double top, v;

	if (kir_elems[e].kind == 'B')
		return (int64_t)kir_decode(e, kir_encode(e, x, round, nan, KIR_OVER_sat));
	if (isnan(x)) /* the largest s64 is no double */
		return nan == KIR_NAN_max ? kref_int_max(e) : 0;
	if (round == KIR_ROUND_away)
		v = trunc((float)(x + copysign(0.5, x)));
	else
		v = round == KIR_ROUND_zero ? trunc(x) : rint(x);
	top = ldexp(1, kir_elems[e].man);
	if (v >= top)
		return kref_int_max(e);
	if (v <= (double)kref_int_min(e))
		return kref_int_min(e);
	return (int64_t)v;
}

int64_t kref_wrap(kir_elem e, int64_t x)
{
	switch (kir_elems[e].bits) {
	case 8:
		if (kir_elems[e].kind == 'B')
			return x & 1;
		return kir_elems[e].kind == 'U' ? (uint8_t)x : (int8_t)x;
	case 16: return kir_elems[e].kind == 'U' ? (uint16_t)x : (int16_t)x;
	case 32: return (int32_t)x;
	default: return x;
	}
}

void kref_round(const kref_state *r, kir_elem e, double *x, int64_t n)
{
	if (r->mode != KREF_ROUND || is_f64(e))
		return;
	if (is_f32(e)) {
		for (int64_t k = 0; k < n; k++)
			x[k] = (float)x[k];
		return;
	}
	for (int64_t k = 0; k < n; k++)
		if (!isinf(x[k]))
			x[k] =
			    kref_to_float(e, x[k], KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_sat);
}

/* The code of a value that has the element's type: an infinity of it stays one. */
static uint64_t encode_value(kir_elem e, double x)
{
	return kir_encode(e, x, KIR_ROUND_even, KIR_NAN_keep,
	                  isinf(x) && kir_elems[e].kind == 'F' ? KIR_OVER_inf : KIR_OVER_sat);
}

/* The code of a value of e itself: an infinity that got here is one. */
static uint64_t own_code(kir_elem e, double x)
{
	return kir_encode(e, x, KIR_ROUND_even, KIR_NAN_keep,
	                  isinf(x) ? KIR_OVER_inf : KIR_OVER_sat);
}

uint64_t kref_code(kir_elem e, const kref_slot *s, int64_t k)
{
	unsigned bits = 8 * kir_elem_bytes(e);
	uint64_t mask = bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;

	if (!s->flt)
		return (uint64_t)s->i[k] & mask;
	return encode_value(e, s->f[k]);
}

void kref_set_code(kref_slot *s, int64_t k, uint64_t code)
{
	if (s->flt)
		s->f[k] = kir_decode(s->elem, code);
	else
		s->i[k] = kref_wrap(s->elem, (int64_t)code);
}

static const double *table_of(kref_state *r, kir_elem e)
{
	if (!r->built[e]) {
		for (unsigned c = 0; c < 256; c++)
			r->table[e][c] = kir_decode(e, c);
		r->built[e] = true;
	}
	return r->table[e];
}

static double decode16(kir_elem e, uint16_t code)
{
	const kir_elem_info *t = &kir_elems[e];
	int exp = code >> t->man & ((1 << t->exp) - 1);

	if (exp == 0 || exp == (1 << t->exp) - 1)
		return kir_decode(e, code);
	return from_bits((uint64_t)(code >> 15) << 63 | (uint64_t)(exp - t->bias + 1023) << 52 |
	                 (uint64_t)(code & ((1u << t->man) - 1)) << (52 - t->man));
}

static void decode_ints(kir_elem e, const unsigned char *p, const int64_t *off, int64_t n,
                        int64_t *i)
{
	switch (kir_elem_bytes(e)) {
	case 1:
		for (int64_t k = 0; k < n; k++)
			i[k] = kref_wrap(e, p[off[k]]);
		break;
	case 2:
		for (int64_t k = 0; k < n; k++) {
			uint16_t c;
			memcpy(&c, p + off[k], sizeof c);
			i[k] = kref_wrap(e, c);
		}
		break;
	case 4:
		for (int64_t k = 0; k < n; k++) {
			int32_t c;
			memcpy(&c, p + off[k], sizeof c);
			i[k] = c;
		}
		break;
	default:
		for (int64_t k = 0; k < n; k++)
			memcpy(&i[k], p + off[k], sizeof i[k]);
	}
}

void kref_decode(kref_state *r, kir_elem e, const unsigned char *p, const int64_t *off,
                 int64_t n, double *f, int64_t *i)
{
	if (!kir_is_float(e)) {
		decode_ints(e, p, off, n, i);
		return;
	}
	switch (kir_elem_bytes(e)) {
	case 1: {
		const double *table = table_of(r, e);
		for (int64_t k = 0; k < n; k++)
			f[k] = table[p[off[k]]];
		break;
	}
	case 2:
		for (int64_t k = 0; k < n; k++) {
			uint16_t c;
			memcpy(&c, p + off[k], sizeof c);
			f[k] = decode16(e, c);
		}
		break;
	case 4:
		for (int64_t k = 0; k < n; k++) {
			float c;
			memcpy(&c, p + off[k], sizeof c);
			f[k] = c;
		}
		break;
	default:
		for (int64_t k = 0; k < n; k++)
			memcpy(&f[k], p + off[k], sizeof f[k]);
	}
}

void kref_encode(kir_elem e, unsigned char *p, const int64_t *off, int64_t n, const double *f,
                 const int64_t *i)
{
	unsigned size = kir_elem_bytes(e);

	if (kir_is_float(e) && size == 4) {
		for (int64_t k = 0; k < n; k++) {
			float c = (float)f[k];
			memcpy(p + off[k], &c, sizeof c);
		}
		return;
	}
	for (int64_t k = 0; k < n; k++) {
		/* little endian, as every memory format here is */
		uint64_t c = kir_is_float(e) ? own_code(e, f[k]) : (uint64_t)i[k];

		memcpy(p + off[k], &c, size);
	}
}
