/* SPDX-License-Identifier: Apache-2.0 */
/* skip_still.c -- what becomes of carried values where all scores are -inf.
 *
 * Each op of the iteration is worked out with -inf in place of the masked scores: its lanes are
 * one number, or those of a carried value, or those of one that was changed, or unknown.
 * Carried maxima count as finite: -inf is what they are before any key was seen, and then sums
 * are 0.
 *
 *     %r = reduce.max %x        -inf
 *     %m2 = max %m, %r          %m as it was
 *     %d = sub %m, %m2          0
 *     %f = exp2 %d              1
 *     %l2 = fma %l, %f, %s      %l as it was, %s being the sum of exp2(-inf)
 *
 * What is unknown (the arithmetic of 8-bit weights, say) is taken to leave a carried value as
 * it was if it is computed from that value: the ops of expand and of the passes behind it do,
 * and nothing here need know how. Of IR that people write, a value is found out that counts
 * iterations, decays, or is of the last block alone.
 */
#include "skip.h"

#include <math.h>

typedef enum kind { UNKNOWN, NUMBER, CARRIED, CHANGED } kind;

typedef struct lanes {
	kind is;
	double x;      /* NUMBER: in every lane   */
	kir_ref carry; /* CARRIED: its node       */
} lanes;

static lanes number(double x)
{
	return (lanes){ isnan(x) ? UNKNOWN : NUMBER, x, 0 };
}

static bool is(lanes a, double x)
{
	return a.is == NUMBER && a.x == x;
}

static bool same(lanes a, lanes b)
{
	return a.is == b.is &&
	       (a.is == CARRIED ? a.carry == b.carry : a.is == NUMBER && a.x == b.x);
}

/* a where b is `neutral`, and another than a for other numbers. */
static lanes joined(lanes a, lanes b, double neutral)
{
	if (is(b, neutral))
		return a;
	if (a.is != UNKNOWN && a.is != NUMBER && b.is == NUMBER)
		return (lanes){ CHANGED, 0, 0 };
	return (lanes){ UNKNOWN, 0, 0 };
}

static lanes sum(lanes a, lanes b, double sign)
{
	if (a.is == NUMBER && b.is == NUMBER)
		return number(a.x + sign * b.x);
	if (sign < 0)
		return same(a, b) ? number(0) : joined(a, b, 0);
	return a.is == NUMBER ? joined(b, a, 0) : joined(a, b, 0);
}

static lanes product(lanes a, lanes b)
{
	if (a.is == NUMBER && b.is == NUMBER)
		return number(a.x * b.x);
	if (is(a, 0) || is(b, 0)) /* what a key that nobody sees holds doesn't count */
		return number(0);
	return a.is == NUMBER ? joined(b, a, 1) : joined(a, b, 1);
}

static lanes larger(lanes a, lanes b, double sign)
{
	if (a.is == NUMBER && b.is == NUMBER)
		return number(sign * fmax(sign * a.x, sign * b.x));
	return same(a, b) || is(b, -sign * INFINITY) ? a
	       : is(a, -sign * INFINITY)             ? b
	                                             : (lanes){ UNKNOWN, 0, 0 };
}

static lanes compared(kir_op op, lanes a, lanes b)
{
	/* a carried value is finite */
	if (a.is == CARRIED && is(b, -INFINITY))
		a = number(0);
	if (a.is != NUMBER || b.is != NUMBER)
		return (lanes){ UNKNOWN, 0, 0 };
	switch (op) {
	case KIR_OP_eq: return number(a.x == b.x);
	case KIR_OP_ne: return number(a.x != b.x);
	case KIR_OP_lt: return number(a.x < b.x);
	case KIR_OP_le: return number(a.x <= b.x);
	case KIR_OP_gt: return number(a.x > b.x);
	default: return number(a.x >= b.x);
	}
}

/* Sums of as many as there are along the axis. */
static lanes reduced(const kir_func *f, kir_ref n, lanes a)
{
	const kir_type *t = kir_type_of(f, kir_src(f, n, 0));
	int64_t axis = t->rank > 1 ? kir_attr_of(f, n, KIR_ATTR_axis) : 0;

	if (a.is != NUMBER)
		return (lanes){ UNKNOWN, 0, 0 };
	if (f->node[n].op == KIR_OP_reduce_add)
		return number(a.x * (double)t->dim[axis & 1]);
	return f->node[n].op == KIR_OP_reduce_amax ? number(fabs(a.x)) : a;
}

static lanes worked_out(const kir_func *f, kir_ref n, const lanes *of)
{
	kir_op op = (kir_op)f->node[n].op;
	unsigned nsrc = f->node[n].nsrc;
	lanes a = nsrc > 0 ? of[kir_src(f, n, 0)] : number(0);
	lanes b = nsrc > 1 ? of[kir_src(f, n, 1)] : number(0);
	lanes c = nsrc > 2 ? of[kir_src(f, n, 2)] : number(0);

	switch (op) {
	case KIR_OP_const:
		return number(kir_is_float((kir_elem)kir_type_of(f, n)->elem)
		                  ? f->node[n].f
		                  : (double)f->node[n].i);
	case KIR_OP_splat:
	case KIR_OP_spread:
	case KIR_OP_reshape:
	case KIR_OP_slice: return a.is == NUMBER ? a : (lanes){ UNKNOWN, 0, 0 };
	case KIR_OP_convert: return is(a, 0) ? a : (lanes){ UNKNOWN, 0, 0 };
	case KIR_OP_reduce_add:
	case KIR_OP_reduce_max:
	case KIR_OP_reduce_min:
	case KIR_OP_reduce_amax: return reduced(f, n, a);
	case KIR_OP_neg: return a.is == NUMBER ? number(-a.x) : (lanes){ UNKNOWN, 0, 0 };
	case KIR_OP_exp2: return a.is == NUMBER ? number(exp2(a.x)) : (lanes){ UNKNOWN, 0, 0 };
	case KIR_OP_add: return sum(a, b, 1);
	case KIR_OP_sub: return sum(a, b, -1);
	case KIR_OP_mul: return product(a, b);
	case KIR_OP_fma: return sum(product(a, b), c, 1);
	case KIR_OP_max: return larger(a, b, 1);
	case KIR_OP_min: return larger(a, b, -1);
	case KIR_OP_eq:
	case KIR_OP_ne:
	case KIR_OP_lt:
	case KIR_OP_le:
	case KIR_OP_gt:
	case KIR_OP_ge: return compared(op, a, b);
	case KIR_OP_select:
		return a.is == NUMBER ? (a.x != 0 ? b : c)
		       : same(b, c)   ? b
		                      : (lanes){ UNKNOWN, 0, 0 };
	case KIR_OP_dot: return is(a, 0) || is(b, 0) ? c : (lanes){ UNKNOWN, 0, 0 };
	default: return (lanes){ UNKNOWN, 0, 0 };
	}
}

/* Whether n is computed from the carried value. */
static bool depends(const kir_func *f, kir_ref n, kir_ref carry)
{
	bool *asked = kir_alloc(f->module, f->nnode * sizeof *asked);

	asked[n] = true;
	for (; n > carry; n--)
		for (unsigned i = 0; asked[n] && i < f->node[n].nsrc; i++)
			asked[kir_src(f, n, i)] = true;
	return asked[carry];
}

bool skip_moves(const kir_func *f, kir_ref loop, kir_ref yield, kir_ref masked)
{
	lanes *of = kir_alloc(f->module, f->nnode * sizeof *of);

	for (kir_ref n = 1; n < yield; n++)
		if (n == masked)
			of[n] = number(-INFINITY);
		else if (n > loop + 1 && f->node[n].op == KIR_OP_arg)
			of[n] = (lanes){ CARRIED, 0, n };
		else
			of[n] = worked_out(f, n, of);
	for (unsigned i = 0; i < f->node[yield].nsrc; i++) {
		kir_ref x = kir_src(f, yield, i), carry = loop + 2 + i;

		if (of[x].is == UNKNOWN ? !depends(f, x, carry)
		                        : of[x].is != CARRIED || of[x].carry != carry)
			return true;
	}
	return false;
}
