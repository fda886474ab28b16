/* SPDX-License-Identifier: Apache-2.0 */
/* math.c -- exp2, log2 and tanh of floats, without tables or calls.
 *
 * The polynomials interpolate at Chebyshev points, which is within a few percent of the best
 * there is; their error is a tenth of what rounding the steps adds. tests/test_x86.c measures
 * the whole: docs/backend-x86.md has the figures.
 */
#include "lower.h"

#include <math.h>

static LLVMValueRef real(kll *l, double x, LLVMValueRef like)
{
	return kll_real(l->f32, x, like);
}

static LLVMValueRef word(kll *l, uint32_t x, LLVMValueRef like)
{
	return kll_int(l->i32, x, like);
}

/* c[n-1] x^(n-1) + ... + c[0]. Fused where that is an instruction; rounding twice elsewhere
 * costs less than a tenth of an ulp here. */
static LLVMValueRef step(kll *l, LLVMValueRef x, LLVMValueRef p, LLVMValueRef c)
{
	if (l->o->fma)
		return kll_fma(l, x, p, c);
	return LLVMBuildFAdd(l->b, LLVMBuildFMul(l->b, x, p, ""), c, "");
}

static LLVMValueRef poly(kll *l, LLVMValueRef x, const double *c, unsigned n)
{
	LLVMValueRef p = real(l, c[n - 1], x);

	for (unsigned i = n - 1; i-- > 0;)
		p = step(l, x, p, real(l, c[i], x));
	return p;
}

static LLVMValueRef floor_of(kll *l, LLVMValueRef x)
{
	LLVMTypeRef t = LLVMTypeOf(x);

	return kll_call(l, "llvm.floor", &t, 1, &x, 1);
}

static LLVMValueRef absolute(kll *l, LLVMValueRef x)
{
	LLVMTypeRef t = LLVMTypeOf(x);

	return kll_call(l, "llvm.fabs", &t, 1, &x, 1);
}

static LLVMValueRef fcmp(kll *l, LLVMRealPredicate p, LLVMValueRef x, double y)
{
	return LLVMBuildFCmp(l->b, p, x, real(l, y, x), "");
}

/* -- exp2 ------------------------------------------------------------------------------- */

LLVMValueRef kll_exp2_poly(kll *l, LLVMValueRef r, const kir_exp2 *p)
{
	static const double c[] = { 1,
		                    0.693147182,
		                    0.240227208,
		                    0.0554960221,
		                    0.0096521955,
		                    0.00126921665,
		                    0.000208179146 };

	return p ? poly(l, r, p->c, (unsigned)p->degree + 1) : poly(l, r, c, 7);
}

static LLVMValueRef power(kll *l, LLVMValueRef n)
{
	n = LLVMBuildAdd(l->b, n, word(l, 127, n), "");
	return kll_as(l, LLVMBuildShl(l->b, n, word(l, 23, n), ""), l->f32);
}

/* 2^floor(x) is multiplied in two halves, so that results below the normal range round once
 * and those above it overflow. NaN passes the limits, since both comparisons fail on it. */
LLVMValueRef kll_exp2(kll *l, LLVMValueRef x, const kir_exp2 *near)
{
	LLVMBuilderRef b = l->b;
	LLVMValueRef whole, p, n, half;

	if (l->o->exp2 && (p = l->o->exp2(l, x, near)) != NULL)
		return p;
	x = kll_select(l, fcmp(l, LLVMRealOLT, x, -152), real(l, -152, x), x);
	x = kll_select(l, fcmp(l, LLVMRealOGT, x, 129), real(l, 129, x), x);
	whole = floor_of(l, x);
	p = kll_exp2_poly(l, LLVMBuildFSub(b, x, whole, ""), near);
	/* the integer, from the low bits of a sum: defined for NaN too */
	n = kll_as(l, LLVMBuildFAdd(b, whole, real(l, 12582912, x), ""), l->i32);
	n = LLVMBuildSub(b, n, word(l, 0x4b400000, x), "");
	half = LLVMBuildAShr(b, n, word(l, 1, n), "");
	p = LLVMBuildFMul(b, p, power(l, half), "");
	return LLVMBuildFMul(b, p, power(l, LLVMBuildSub(b, n, half, "")), "");
}

/* -- log2 ------------------------------------------------------------------------------- */

/* x = 2^e m with m in [sqrt(1/2), sqrt(2)); log2(m) is odd in s = (m - 1) / (m + 1). */
LLVMValueRef kll_log2(kll *l, LLVMValueRef x)
{
	static const double c[] = { 2.88539004, 0.961796701, 0.577083588, 0.411673665,
		                    0.340714008 };
	LLVMBuilderRef b = l->b;
	LLVMValueRef small = fcmp(l, LLVMRealOLT, x, 0x1p-126), bits, e, m, s, r;

	m = kll_select(l, small, LLVMBuildFMul(b, x, real(l, 0x1p23, x), ""), x);
	bits = kll_as(l, m, l->i32);
	/* counting from sqrt(1/2) puts m's exponent where it is wanted */
	e = LLVMBuildSub(b, bits, word(l, 0x3f3504f3, x), "");
	e = LLVMBuildAShr(b, e, word(l, 23, x), "");
	bits = LLVMBuildSub(b, bits, LLVMBuildShl(b, e, word(l, 23, x), ""), "");
	m = kll_as(l, bits, l->f32);
	e = LLVMBuildSub(b, e, kll_select(l, small, word(l, 23, x), word(l, 0, x)), "");
	s = LLVMBuildFDiv(b, LLVMBuildFSub(b, m, real(l, 1, x), ""),
	                  LLVMBuildFAdd(b, m, real(l, 1, x), ""), "");
	r = poly(l, LLVMBuildFMul(b, s, s, ""), c, 5);
	r = step(l, s, r, LLVMBuildSIToFP(b, e, LLVMTypeOf(x), ""));
	r = kll_select(l, fcmp(l, LLVMRealOEQ, x, 0), real(l, -INFINITY, x), r);
	r = kll_select(l, fcmp(l, LLVMRealOLT, x, 0), real(l, NAN, x), r);
	/* infinity and NaN are their own logarithms */
	return kll_select(l, fcmp(l, LLVMRealULT, x, INFINITY),
	                  kll_select(l, LLVMBuildFCmp(b, LLVMRealUNO, x, x, ""), x, r), x);
}

/* -- tanh -------------------------------------------------------------------------------- */

LLVMValueRef kll_tanh(kll *l, LLVMValueRef x)
{
	static const double c[] = { -0.333333343, 0.133332998,    -0.0539584607,
		                    0.0217625033, -0.00832318701, 0.0022695018 };
	LLVMBuilderRef b = l->b;
	LLVMTypeRef t = LLVMTypeOf(x);
	LLVMValueRef a = absolute(l, x), z = LLVMBuildFMul(b, x, x, ""), near, far, e;

	near = step(l, LLVMBuildFMul(b, x, z, ""), poly(l, z, c, 6), x);
	/* (1 - e) / (1 + e) with e = exp(-2|x|) */
	e = kll_exp2(l, LLVMBuildFMul(b, a, real(l, -2.8853900817779268, x), ""), NULL);
	far = LLVMBuildFDiv(b, LLVMBuildFSub(b, real(l, 1, x), e, ""),
	                    LLVMBuildFAdd(b, e, real(l, 1, x), ""), "");
	far = kll_call(l, "llvm.copysign", &t, 1, (LLVMValueRef[]){ far, x }, 2);
	return kll_select(l, fcmp(l, LLVMRealOLT, a, 0.625), near, far);
}
