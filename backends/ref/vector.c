/* SPDX-License-Identifier: Apache-2.0 */
/* vector.c -- ops on the lanes of vectors, and the processor's own products.
 *
 * A lane moves as the eight bytes of its slot, float or integer alike.
 */
#include "interp.h"

#include <float.h>
#include <math.h>
#include <string.h>

static void lane(kref_slot *to, int64_t k, const kref_slot *from, int64_t i)
{
	memcpy((char *)to->p + 8 * k, (const char *)from->p + 8 * i, 8);
}

/* Of each w lanes by themselves. */
static void zip(kref_slot *s, const kref_slot *x, const kref_slot *y, int64_t upper, int64_t w)
{
	w = w ? w : s->count;
	for (int64_t k = 0; k < s->count; k++)
		lane(s, k, k & 1 ? y : x, k / w * w + upper * (w / 2) + k % w / 2);
}

static void unzip(kref_slot *s, const kref_slot *x, const kref_slot *y, int64_t odd, int64_t w)
{
	w = w ? w : s->count;
	for (int64_t k = 0; k < s->count; k++)
		lane(s, k, k % w < w / 2 ? x : y, k / w * w + 2 * (k % w) % w + odd);
}

/* Of each 16 lanes the lower or upper 8. */
static void eights(kref_slot *s, const kref_slot *x, int64_t upper)
{
	for (int64_t k = 0; k < s->count; k++)
		lane(s, k, x, k / 8 * 16 + 8 * upper + k % 8);
}

static void join(kref_slot *s, const kref_slot *x, const kref_slot *y)
{
	for (int64_t k = 0; k < s->count; k++)
		lane(s, k, k < x->count ? x : y, k < x->count ? k : k - x->count);
}

/* Element sizes may differ: the bytes are strung together in lane order and cut anew. */
static bool bitcast(kref_state *r, kir_ref n)
{
	kref_slot *s = &r->slot[n];
	const kref_slot *x = kref_in(r, n, 0);
	int64_t from = kir_elem_bytes(x->elem), to = kir_elem_bytes(s->elem);
	uint64_t in = 0, out;

	if (x->count * from != s->count * to)
		return kref_fail(r, n, "the sizes differ: %lld and %lld bytes",
		                 (long long)(x->count * from), (long long)(s->count * to));
	for (int64_t k = 0; k < s->count; k++) {
		out = 0;
		for (int64_t b = 0; b < to; b++) {
			int64_t at = k * to + b;

			if (at % from == 0)
				in = kref_code(x->elem, x, at / from);
			out |= (in >> 8 * (at % from) & 0xff) << 8 * b;
		}
		kref_set_code(s, k, out);
	}
	return true;
}

static bool dp(kref_state *r, kir_ref n)
{
	kref_slot *s = &r->slot[n];
	const kref_slot *acc = kref_in(r, n, 0), *a = kref_in(r, n, 1), *b = kref_in(r, n, 2);
	int64_t per = a->count / s->count;

	if (a->count != per * s->count || b->count != a->count || acc->count != s->count)
		return kref_fail(r, n, "the lane counts don't fit: %lld, %lld and %lld",
		                 (long long)acc->count, (long long)a->count,
		                 (long long)b->count);
	for (int64_t i = 0, k = 0; i < s->count; i++) {
		if (s->flt) {
			double sum = acc->f[i];
			for (int64_t j = 0; j < per; j++, k++)
				sum += a->f[k] * b->f[k];
			s->f[i] = sum;
		} else {
			int64_t sum = acc->i[i];
			for (int64_t j = 0; j < per; j++, k++)
				sum += a->i[k] * b->i[k];
			s->i[i] = kref_wrap(s->elem, sum);
		}
	}
	if (s->flt)
		kref_round(r, s->elem, s->f, s->count);
	return true;
}

/* Subnormals of f32 and bf16, which have the same exponents, count as zero. */
static double flush(double x)
{
	return fabs(x) < FLT_MIN ? copysign(0, x) : x;
}

static void dpbf16(kref_state *r, kref_slot *s, const kref_slot *acc, const kref_slot *a,
                   const kref_slot *b)
{
	for (int64_t i = 0; i < s->count; i++) {
		double sum = flush(acc->f[i]);

		for (int64_t j = 2 * i; j < 2 * i + 2; j++)
			sum += flush(a->f[j]) * flush(b->f[j]);
		kref_round(r, s->elem, &sum, 1);
		s->f[i] = flush(sum);
	}
}

bool kref_vector(kref_state *r, kir_ref n)
{
	kref_slot *s = &r->slot[n];
	const kref_slot *x = kref_in(r, n, 0), *y = kref_in(r, n, 1);
	int64_t within = kir_attr_of(r->f, n, KIR_ATTR_within);

	switch (r->f->node[n].op) {
	case KIR_OP_zip_lo: zip(s, x, y, 0, within); return true;
	case KIR_OP_zip_hi: zip(s, x, y, 1, within); return true;
	case KIR_OP_unzip_lo: unzip(s, x, y, 0, within); return true;
	case KIR_OP_unzip_hi: unzip(s, x, y, 1, within); return true;
	case KIR_OP_half_lo: memcpy(s->p, x->f, (size_t)s->count * 8); return true;
	case KIR_OP_half_hi: memcpy(s->p, x->f + s->count, (size_t)s->count * 8); return true;
	case KIR_OP_join: join(s, x, y); return true;
	case KIR_OP_bitcast: return bitcast(r, n);
	case KIR_OP_x86_dpbf16: dpbf16(r, s, x, y, kref_in(r, n, 2)); return true;
	case KIR_OP_x86_lut: /* bf16 holds every 8-bit float */
		memcpy(s->p, x->p, (size_t)s->count * 8);
		return true;
	case KIR_OP_x86_lut_lo: eights(s, x, 0); return true;
	case KIR_OP_x86_lut_hi: eights(s, x, 1); return true;
	default: return dp(r, n); /* x86_dpbusd too: u8 . s8 is exact either way */
	}
}
