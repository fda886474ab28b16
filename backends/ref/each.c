/* SPDX-License-Identifier: Apache-2.0 */
/* each.c -- elementwise ops.
 *
 * Results of f32 operations are computed in double and rounded once more to f32. For one
 * +, -, *, / or square root of f32 operands that is the correctly rounded result, because a
 * double has more than twice the digits; a fused multiply-add isn't so safe, and is rounded
 * by itself.
 */
#include "interp.h"

#include <math.h>
#include <string.h>

/* An operand's element for index k of the result is at [k * step]: step 0 repeats a scalar. */
typedef struct operand {
	const double *f;
	const int64_t *i;
	int64_t step;
} operand;

/* A vector along axis, repeated along the other dimensions into scratch. */
static const void *repeat(kref_state *r, const kref_slot *s, const kref_slot *x, int64_t axis,
                          unsigned slot)
{
	const kir_type *t = s->type;
	int64_t inner = 1, dim = t->dim[axis], k = 0;
	int64_t *out = (int64_t *)r->scratch[slot];

	for (unsigned d = (unsigned)axis + 1; d < t->rank; d++)
		inner *= t->dim[d];
	while (k < s->count)
		for (int64_t i = 0; i < dim; i++)
			for (int64_t j = 0; j < inner; j++)
				memcpy(&out[k++], (const char *)x->p + 8 * i, 8);
	return out;
}

static operand fetch(kref_state *r, kir_ref n, unsigned k)
{
	const kref_slot *s = &r->slot[n], *x = kref_in(r, n, k);
	operand o = { x->f, x->i, x->count != 1 || s->count == 1 };

	if (o.step && x->count != s->count) {
		o.i = repeat(r, s, x, s->axis < 0 ? 0 : s->axis, k);
		o.f = (const double *)(const void *)o.i;
	}
	return o;
}

#define EACH(result, expr)                  \
	for (int64_t k = 0; k < count; k++) \
	result[k] = (expr)

static double smaller(double x, double y)
{
	if (isnan(x) || isnan(y))
		return isnan(x) ? y : x;
	return x < y ? x : y;
}

static double larger(double x, double y)
{
	if (isnan(x) || isnan(y))
		return isnan(x) ? y : x;
	return x > y ? x : y;
}

static bool binary_float(kref_state *r, kir_ref n)
{
	const operand a = fetch(r, n, 0), b = fetch(r, n, 1);
	const kref_slot *s = &r->slot[n];
	int64_t count = s->count;
	double *z = s->f;
#define X a.f[k * a.step]
#define Y b.f[k * b.step]
	switch (r->f->node[n].op) {
	case KIR_OP_add: EACH(z, X + Y); break;
	case KIR_OP_sub: EACH(z, X - Y); break;
	case KIR_OP_mul: EACH(z, X * Y); break;
	case KIR_OP_div: EACH(z, X / Y); break;
	case KIR_OP_min: EACH(z, smaller(X, Y)); break;
	case KIR_OP_max: EACH(z, larger(X, Y)); break;
	default: return kref_fail(r, n, "this op has no meaning for floats");
	}
#undef X
#undef Y
	kref_round(r, s->elem, z, count);
	return true;
}

static int64_t shift_right(int64_t x, int64_t y)
{
	return x < 0 ? ~(~x >> y) : x >> y;
}

/* What no result would be right for. */
static bool check_ints(kref_state *r, kir_ref n, operand b)
{
	kir_op op = r->f->node[n].op;
	int64_t count = b.step ? r->slot[n].count : 1, bits = kir_elems[r->slot[n].elem].bits;

	for (int64_t k = 0; k < count; k++) {
		if ((op == KIR_OP_fdiv || op == KIR_OP_mod) && b.i[k] <= 0)
			return kref_fail(r, n, "the divisor is %lld, must be positive",
			                 (long long)b.i[k]);
		if ((op == KIR_OP_shl || op == KIR_OP_shr) && (b.i[k] < 0 || b.i[k] >= bits))
			return kref_fail(r, n, "the shift is by %lld, must be 0 to %lld",
			                 (long long)b.i[k], (long long)bits - 1);
	}
	return true;
}

static bool binary_int(kref_state *r, kir_ref n)
{
	const operand a = fetch(r, n, 0), b = fetch(r, n, 1);
	const kref_slot *s = &r->slot[n];
	int64_t count = s->count, *z = s->i;

	if (!check_ints(r, n, b))
		return false;
#define X    a.i[k * a.step]
#define Y    b.i[k * b.step]
#define U(x) ((uint64_t)(x))
	switch (r->f->node[n].op) {
	case KIR_OP_add: EACH(z, (int64_t)(U(X) + U(Y))); break;
	case KIR_OP_sub: EACH(z, (int64_t)(U(X) - U(Y))); break;
	case KIR_OP_mul: EACH(z, (int64_t)(U(X) * U(Y))); break;
	case KIR_OP_fdiv: EACH(z, kir_floor_div(X, Y)); break;
	case KIR_OP_mod: EACH(z, kir_floor_mod(X, Y)); break;
	case KIR_OP_min: EACH(z, X < Y ? X : Y); break;
	case KIR_OP_max: EACH(z, X > Y ? X : Y); break;
	case KIR_OP_and: EACH(z, X & Y); break;
	case KIR_OP_or: EACH(z, X | Y); break;
	case KIR_OP_xor: EACH(z, X ^ Y); break;
	case KIR_OP_shl: EACH(z, (int64_t)(U(X) << Y)); break;
	case KIR_OP_shr: EACH(z, shift_right(X, Y)); break;
	default: return kref_fail(r, n, "this op has no meaning for integers");
	}
#undef X
#undef Y
#undef U
	EACH(z, kref_wrap(s->elem, z[k]));
	return true;
}

#define COMPARE(op)                                                  \
	do {                                                         \
		if (flt)                                             \
			EACH(z, a.f[k * a.step] op b.f[k * b.step]); \
		else                                                 \
			EACH(z, a.i[k * a.step] op b.i[k * b.step]); \
	} while (0)

static bool compare(kref_state *r, kir_ref n)
{
	const operand a = fetch(r, n, 0), b = fetch(r, n, 1);
	int64_t count = r->slot[n].count, *z = r->slot[n].i;
	bool flt = kref_in(r, n, 0)->flt;

	switch (r->f->node[n].op) {
	case KIR_OP_lt: COMPARE(<); break;
	case KIR_OP_le: COMPARE(<=); break;
	case KIR_OP_gt: COMPARE(>); break;
	case KIR_OP_ge: COMPARE(>=); break;
	case KIR_OP_eq: COMPARE(==); break;
	default: COMPARE(!=);
	}
	return true;
}

static bool select_op(kref_state *r, kir_ref n)
{
	const operand c = fetch(r, n, 0), a = fetch(r, n, 1), b = fetch(r, n, 2);
	const kref_slot *s = &r->slot[n];
	int64_t count = s->count;

	if (s->flt)
		EACH(s->f, c.i[k * c.step] ? a.f[k * a.step] : b.f[k * b.step]);
	else
		EACH(s->i, c.i[k * c.step] ? a.i[k * a.step] : b.i[k * b.step]);
	return true;
}

/* x * y + z of elements with at most 24 digits, rounded to odd in double, so that rounding to
 * the element afterwards is as good as rounding once. The product is exact. */
static double fma_to_odd(double x, double y, double z)
{
	double p = x * y, s = p + z, t, rest;
	uint64_t bits;

	if (!isfinite(s))
		return s;
	t = s - p;
	rest = (p - (s - t)) + (z - t);
	memcpy(&bits, &s, sizeof bits);
	if (rest != 0 && !(bits & 1)) {
		/* the exact sum lies between s and a neighbour, whose last bit is 1 */
		bits = (rest > 0) == (s > 0) ? bits + 1 : bits - 1;
		memcpy(&s, &bits, sizeof s);
	}
	return s;
}

static bool fma_op(kref_state *r, kir_ref n)
{
	const operand a = fetch(r, n, 0), b = fetch(r, n, 1), c = fetch(r, n, 2);
	const kref_slot *s = &r->slot[n];
	int64_t count = s->count;
#define X a.f[k * a.step]
#define Y b.f[k * b.step]
#define Z c.f[k * c.step]
	if (!s->flt) {
		EACH(s->i, kref_wrap(s->elem, (int64_t)((uint64_t)a.i[k * a.step] *
		                                            (uint64_t)b.i[k * b.step] +
		                                        (uint64_t)c.i[k * c.step])));
		return true;
	}
	if (r->mode == KREF_EXACT || kir_elems[s->elem].man > 23)
		EACH(s->f, fma(X, Y, Z));
	else
		EACH(s->f, fma_to_odd(X, Y, Z));
#undef X
#undef Y
#undef Z
	kref_round(r, s->elem, s->f, count);
	return true;
}

static bool unary(kref_state *r, kir_ref n)
{
	const kref_slot *s = &r->slot[n], *x = kref_in(r, n, 0);
	int64_t count = s->count, step = x->count != 1 || count == 1;
#define X x->f[k * step]
#define I x->i[k * step]
	if (!s->flt) {
		switch (r->f->node[n].op) {
		case KIR_OP_neg: EACH(s->i, kref_wrap(s->elem, (int64_t) - (uint64_t)I)); break;
		case KIR_OP_abs:
			EACH(s->i, kref_wrap(s->elem, I < 0 ? (int64_t) - (uint64_t)I : I));
			break;
		default: return kref_fail(r, n, "this op has no meaning for integers");
		}
		return true;
	}
	switch (r->f->node[n].op) {
	case KIR_OP_neg: EACH(s->f, -X); break;
	case KIR_OP_abs: EACH(s->f, fabs(X)); break;
	case KIR_OP_exp2: EACH(s->f, exp2(X)); break;
	case KIR_OP_log2: EACH(s->f, log2(X)); break;
	case KIR_OP_tanh: EACH(s->f, tanh(X)); break;
	case KIR_OP_sqrt: EACH(s->f, sqrt(X)); break;
	case KIR_OP_floor: EACH(s->f, floor(X)); break;
	default: return kref_fail(r, n, "this op has no meaning for floats");
	}
#undef X
#undef I
	kref_round(r, s->elem, s->f, count);
	return true;
}

static int64_t clamp_int(kir_elem e, int64_t x)
{
	int64_t lo = kref_int_min(e), hi = kref_int_max(e);

	if (kir_elems[e].kind == 'B')
		return x != 0;
	return x < lo ? lo : x > hi ? hi : x;
}

/* x, an f32, without what is below its normal range; the sign stays. */
static double no_subnormal(double x)
{
	return fabs(x) < 0x1p-126 ? copysign(0, x) : x;
}

static bool convert(kref_state *r, kir_ref n)
{
	const kref_slot *s = &r->slot[n], *x = kref_in(r, n, 0);
	int round = s->round, nan = s->nan, over = s->over;
	int64_t count = s->count, step = x->count != 1 || count == 1;
	bool wide = kir_elems[s->elem].man >= 23, plain = round == KIR_ROUND_even && !nan;

	if (!s->flt && !x->flt)
		EACH(s->i, clamp_int(s->elem, x->i[k * step]));
	else if (!s->flt)
		EACH(s->i, kref_to_int(s->elem, x->f[k * step], round, nan));
	else if (wide && plain) {
		if (x->flt)
			EACH(s->f, x->f[k * step]);
		else
			EACH(s->f, (double)x->i[k * step]);
		kref_round(r, s->elem, s->f, count);
	} else if (s->sub == KIR_SUB_zero)
		EACH(s->f,
		     kref_to_float(s->elem, no_subnormal(x->f[k * step]), round, nan, over));
	else if (x->flt)
		EACH(s->f, kref_to_float(s->elem, x->f[k * step], round, nan, over));
	else
		EACH(s->f, kref_to_float(s->elem, (double)x->i[k * step], round, nan, over));
	return true;
}

static bool fixed(kref_state *r, kir_ref n)
{
	const kref_slot *s = &r->slot[n], *x = kref_in(r, n, 0);
	int64_t count = s->count, step = x->count != 1 || count == 1;
	double factor = ldexp(1, (int)kir_attr_of(r->f, n, KIR_ATTR_shift));

	for (int64_t k = 0; k < count; k++) {
		double y = (x->flt ? x->f[k * step] : (double)x->i[k * step]) * factor;

		if (!(y >= (double)kref_int_min(s->elem) &&
		      y <= (double)kref_int_max(s->elem)) ||
		    y != floor(y))
			return kref_fail(r, n, "%g is no %s", y, kir_elems[s->elem].name);
		s->i[k] = (int64_t)y;
	}
	return true;
}

bool kref_each(kref_state *r, kir_ref n)
{
	switch (r->f->node[n].op) {
	case KIR_OP_lt:
	case KIR_OP_le:
	case KIR_OP_gt:
	case KIR_OP_ge:
	case KIR_OP_eq:
	case KIR_OP_ne: return compare(r, n);
	case KIR_OP_select: return select_op(r, n);
	case KIR_OP_fma: return fma_op(r, n);
	case KIR_OP_convert: return convert(r, n);
	case KIR_OP_fixed: return fixed(r, n);
	default: break;
	}
	switch (r->f->node[n].nsrc) {
	case 1: return unary(r, n);
	case 2: return r->slot[n].flt ? binary_float(r, n) : binary_int(r, n);
	default: return kref_fail(r, n, "the interpreter has no meaning for this op");
	}
}
