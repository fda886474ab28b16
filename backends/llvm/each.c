/* SPDX-License-Identifier: Apache-2.0 */
/* each.c -- arithmetic lane by lane, reductions, and moving lanes about. */
#include "lower.h"
#include "../../ir/format.h"

#include <math.h>

static bool native(const kll *l, kir_elem e)
{
	(void)l;
	return e == KIR_f32 || e == KIR_f64;
}

/* -- fused multiply and add ---------------------------------------------------------- */

static LLVMValueRef fma_instruction(kll *l, LLVMValueRef x, LLVMValueRef y, LLVMValueRef z)
{
	LLVMTypeRef t = LLVMTypeOf(x);

	return kll_call(l, "llvm.fma", &t, 1, (LLVMValueRef[]){ x, y, z }, 3);
}

/* x * y + z of f32 in f64. The product is exact there; the sum is rounded to odd (what the
 * rounding lost decides an even last bit), and a number rounded to odd with two bits to spare
 * rounds on as the exact one would. */
static LLVMValueRef fma_odd(kll *l, LLVMValueRef x, LLVMValueRef y, LLVMValueRef z)
{
	LLVMBuilderRef b = l->b;
	LLVMTypeRef wide = kll_like(l->f64, x);
	LLVMValueRef p, c, s, back, err, lost, even, bits, step;

	p = LLVMBuildFMul(b, LLVMBuildFPExt(b, x, wide, ""), LLVMBuildFPExt(b, y, wide, ""),
	                  "");
	c = LLVMBuildFPExt(b, z, wide, "");
	s = LLVMBuildFAdd(b, p, c, "");
	back = LLVMBuildFSub(b, s, p, "");
	err = LLVMBuildFAdd(b, LLVMBuildFSub(b, p, LLVMBuildFSub(b, s, back, ""), ""),
	                    LLVMBuildFSub(b, c, back, ""), "");
	bits = kll_as(l, s, l->i64);
	lost = LLVMBuildFCmp(b, LLVMRealONE, err, kll_real(l->f64, 0, s), "");
	even = LLVMBuildICmp(b, LLVMIntEQ, LLVMBuildAnd(b, bits, kll_int(l->i64, 1, s), ""),
	                     kll_int(l->i64, 0, s), "");
	/* away from zero when the error has the sum's sign, else toward it */
	step = LLVMBuildXor(b, kll_as(l, err, l->i64), bits, "");
	step = LLVMBuildOr(b, LLVMBuildAShr(b, step, kll_int(l->i64, 63, s), ""),
	                   kll_int(l->i64, 1, s), "");
	bits = kll_select(l, LLVMBuildAnd(b, lost, even, ""), LLVMBuildAdd(b, bits, step, ""),
	                  bits);
	return kll_as(l, bits, l->f64);
}

/* The same in f32, rounded to odd: for elements narrower than that, which round once more. */
static LLVMValueRef fma_narrow(kll *l, LLVMValueRef x, LLVMValueRef y, LLVMValueRef z)
{
	LLVMBuilderRef b = l->b;
	LLVMValueRef s = fma_odd(l, x, y, z), r = LLVMBuildFPTrunc(b, s, LLVMTypeOf(x), "");
	LLVMValueRef back = LLVMBuildFPExt(b, r, LLVMTypeOf(s), "");
	LLVMValueRef err = LLVMBuildFSub(b, s, back, ""), bits = kll_as(l, r, l->i32);
	LLVMValueRef one = kll_int(l->i32, 1, r), lost, even, sign, step;

	lost = LLVMBuildFCmp(b, LLVMRealONE, err, kll_real(l->f64, 0, s), "");
	even = LLVMBuildICmp(b, LLVMIntEQ, LLVMBuildAnd(b, bits, one, ""),
	                     kll_int(l->i32, 0, r), "");
	/* s tells the sign of an r that is 0 */
	sign = LLVMBuildXor(b, kll_as(l, err, l->i64), kll_as(l, s, l->i64), "");
	sign = LLVMBuildICmp(b, LLVMIntSLT, sign, kll_int(l->i64, 0, s), "");
	step = kll_select(l, sign, kll_int(l->i32, UINT32_MAX, r), one);
	bits = kll_select(l, LLVMBuildAnd(b, lost, even, ""), LLVMBuildAdd(b, bits, step, ""),
	                  bits);
	return kll_as(l, bits, l->f32);
}

LLVMValueRef kll_fma(kll *l, LLVMValueRef x, LLVMValueRef y, LLVMValueRef z)
{
	if (l->o->fma)
		return fma_instruction(l, x, y, z);
	return LLVMBuildFPTrunc(l->b, fma_odd(l, x, y, z), LLVMTypeOf(x), "");
}

/* -- floats ---------------------------------------------------------------------------- */

static LLVMValueRef call1(kll *l, const char *name, LLVMValueRef x)
{
	LLVMTypeRef t = LLVMTypeOf(x);

	return kll_call(l, name, &t, 1, &x, 1);
}

/* The other operand when one is NaN; an x86 minimum or maximum gives the second. */
static LLVMValueRef extreme(kll *l, LLVMRealPredicate p, LLVMValueRef x, LLVMValueRef y)
{
	LLVMValueRef r;

	if (LLVMIsConstant(x)) {
		LLVMValueRef t = x;

		x = y;
		y = t;
	}
	r = kll_select(l, LLVMBuildFCmp(l->b, p, x, y, ""), x, y);
	return kll_select(l, LLVMBuildFCmp(l->b, LLVMRealUNO, y, y, ""), x, r);
}

static LLVMValueRef float_op(kll *l, kir_ref n, LLVMValueRef *x)
{
	kir_op op = (kir_op)l->f->node[n].op;
	LLVMTypeRef t = LLVMTypeOf(x[0]);
	bool f32 =
	    (LLVMGetTypeKind(t) == LLVMVectorTypeKind ? LLVMGetElementType(t) : t) == l->f32;

	switch (op) {
	case KIR_OP_add: return LLVMBuildFAdd(l->b, x[0], x[1], "");
	case KIR_OP_sub: return LLVMBuildFSub(l->b, x[0], x[1], "");
	case KIR_OP_mul: return LLVMBuildFMul(l->b, x[0], x[1], "");
	case KIR_OP_div: return LLVMBuildFDiv(l->b, x[0], x[1], "");
	case KIR_OP_min: return extreme(l, LLVMRealOLT, x[0], x[1]);
	case KIR_OP_max: return extreme(l, LLVMRealOGT, x[0], x[1]);
	case KIR_OP_sqrt: return call1(l, "llvm.sqrt", x[0]);
	case KIR_OP_floor: return call1(l, "llvm.floor", x[0]);
	case KIR_OP_fma:
		if (!f32 && !l->o->fma)
			return kll_fail(l, n, "f64 needs a target with fused multiply-add");
		return kll_fma(l, x[0], x[1], x[2]);
	default: break;
	}
	if (!f32)
		return kll_fail(l, n, "not available in f64");
	switch (op) {
	case KIR_OP_exp2:
		return kll_exp2(l, x[0], kir_exp2_of(kir_attr_of(l->f, n, KIR_ATTR_degree)));
	case KIR_OP_log2: return kll_log2(l, x[0]);
	case KIR_OP_tanh: return kll_tanh(l, x[0]);
	default: return kll_fail(l, n, "not defined on floats");
	}
}

static bool half_has(kir_op op)
{
	switch (op) {
	case KIR_OP_add:
	case KIR_OP_sub:
	case KIR_OP_mul:
	case KIR_OP_div:
	case KIR_OP_min:
	case KIR_OP_max:
	case KIR_OP_sqrt:
	case KIR_OP_floor:
	case KIR_OP_fma: return true;
	default: return false;
	}
}

/* Sign operations, which need no rounding whatever the element. */
static LLVMValueRef sign_op(kll *l, kir_ref n, LLVMValueRef x)
{
	kir_elem e = kll_elem(l, n);
	uint64_t sign = (uint64_t)1 << (kir_elems[e].exp + kir_elems[e].man);
	LLVMTypeRef t = kll_elem_type(l, e),
	            bits = LLVMIntTypeInContext(l->c, 8 * kir_elem_bytes(e));

	if (kir_elems[e].kind == 'Z' || kir_elems[e].kind == 'E')
		return kll_fail(l, n, "not available for %s", kir_elems[e].name);
	if (native(l, e) && l->f->node[n].op == KIR_OP_neg)
		return LLVMBuildFNeg(l->b, x, "");
	x = kll_as(l, x, bits);
	x = l->f->node[n].op == KIR_OP_neg
	        ? LLVMBuildXor(l->b, x, kll_int(bits, sign, x), "")
	        : LLVMBuildAnd(l->b, x, kll_int(bits, sign - 1, x), "");
	return kll_as(l, x, t);
}

static LLVMValueRef float_each(kll *l, kir_ref n)
{
	kir_elem e = kll_elem(l, n);
	unsigned nsrc = l->f->node[n].nsrc;
	kir_op op = (kir_op)l->f->node[n].op;
	LLVMValueRef x[3] = { NULL, NULL, NULL }, r;
	bool as_half = e == KIR_f16 && l->o->half_math && half_has(op);

	for (unsigned i = 0; i < nsrc && i < 3; i++)
		x[i] = kll_operand(l, n, i);
	if (op == KIR_OP_neg || op == KIR_OP_abs)
		return sign_op(l, n, x[0]);
	if (native(l, e))
		return float_op(l, n, x);
	for (unsigned i = 0; i < nsrc && i < 3; i++)
		x[i] = as_half ? kll_as(l, x[i], l->half) : kll_to_f32(l, x[i], e);
	r = op == KIR_OP_fma && !as_half ? fma_narrow(l, x[0], x[1], x[2]) : float_op(l, n, x);
	if (l->failed)
		return kll_fail(l, n, "not available for %s", kir_elems[e].name);
	return as_half ? kll_as(l, r, l->i16)
	               : kll_from_f32(l, r, e, KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_inf);
}

/* -- integers -------------------------------------------------------------------------- */

/* Toward minus infinity; shifts and masks when the divisor is a literal power of two. */
static LLVMValueRef divide(kll *l, kir_ref n, LLVMValueRef x, LLVMValueRef y, bool mod)
{
	LLVMTypeRef t = kll_elem_type(l, kll_elem(l, n));
	LLVMValueRef zero = kll_int(t, 0, x), q, r, below;
	int64_t d;

	if (kir_is_const(l->f, kir_src(l->f, n, 1), &d) && d > 0 && !(d & (d - 1))) {
		if (mod)
			return LLVMBuildAnd(l->b, x, kll_int(t, (uint64_t)d - 1, x), "");
		y = kll_int(t, (uint64_t)__builtin_ctzll((uint64_t)d), x);
		return kir_is_signed(kll_elem(l, n)) ? LLVMBuildAShr(l->b, x, y, "")
		                                     : LLVMBuildLShr(l->b, x, y, "");
	}
	if (!kir_is_signed(kll_elem(l, n)))
		return mod ? LLVMBuildURem(l->b, x, y, "") : LLVMBuildUDiv(l->b, x, y, "");
	q = LLVMBuildSDiv(l->b, x, y, "");
	r = LLVMBuildSub(l->b, x, LLVMBuildMul(l->b, q, y, ""), "");
	below = LLVMBuildICmp(l->b, LLVMIntSLT, r, zero, "");
	if (mod)
		return LLVMBuildAdd(l->b, r, kll_select(l, below, y, zero), "");
	return LLVMBuildSub(l->b, q, kll_select(l, below, kll_int(t, 1, x), zero), "");
}

static LLVMValueRef int_extreme(kll *l, bool sign, bool max, LLVMValueRef x, LLVMValueRef y)
{
	LLVMIntPredicate p = sign ? LLVMIntSGT : LLVMIntUGT;
	LLVMValueRef gt = LLVMBuildICmp(l->b, p, x, y, "");

	return max ? kll_select(l, gt, x, y) : kll_select(l, gt, y, x);
}

static LLVMValueRef int_abs(kll *l, LLVMTypeRef t, LLVMValueRef x)
{
	LLVMValueRef neg = LLVMBuildICmp(l->b, LLVMIntSLT, x, kll_int(t, 0, x), "");

	return kll_select(l, neg, LLVMBuildNeg(l->b, x, ""), x);
}

static LLVMValueRef int_each(kll *l, kir_ref n)
{
	kir_elem e = kll_elem(l, n);
	bool sign = kir_is_signed(e);
	LLVMTypeRef t = kll_elem_type(l, e);
	LLVMValueRef x = kll_operand(l, n, 0);
	LLVMValueRef y = l->f->node[n].nsrc > 1 ? kll_operand(l, n, 1) : NULL;

	switch (l->f->node[n].op) {
	case KIR_OP_add: return LLVMBuildAdd(l->b, x, y, "");
	case KIR_OP_sub: return LLVMBuildSub(l->b, x, y, "");
	case KIR_OP_mul: return LLVMBuildMul(l->b, x, y, "");
	case KIR_OP_fdiv: return divide(l, n, x, y, false);
	case KIR_OP_mod: return divide(l, n, x, y, true);
	case KIR_OP_min: return int_extreme(l, sign, false, x, y);
	case KIR_OP_max: return int_extreme(l, sign, true, x, y);
	case KIR_OP_neg: return LLVMBuildNeg(l->b, x, "");
	case KIR_OP_abs: return sign ? int_abs(l, t, x) : x;
	case KIR_OP_shl: return LLVMBuildShl(l->b, x, y, "");
	case KIR_OP_shr:
		return sign ? LLVMBuildAShr(l->b, x, y, "") : LLVMBuildLShr(l->b, x, y, "");
	default: return kll_fail(l, n, "not defined on %s", kir_elems[e].name);
	}
}

static LLVMValueRef bits_each(kll *l, kir_ref n)
{
	kir_elem e = kll_elem(l, n);
	LLVMTypeRef bits =
	    e == KIR_i1 ? l->i1 : LLVMIntTypeInContext(l->c, 8 * kir_elem_bytes(e));
	LLVMValueRef x = kll_as(l, kll_operand(l, n, 0), bits);
	LLVMValueRef y = kll_as(l, kll_operand(l, n, 1), bits);

	switch (l->f->node[n].op) {
	case KIR_OP_and: x = LLVMBuildAnd(l->b, x, y, ""); break;
	case KIR_OP_or: x = LLVMBuildOr(l->b, x, y, ""); break;
	default: x = LLVMBuildXor(l->b, x, y, ""); break;
	}
	return kll_as(l, x, kll_elem_type(l, e));
}

static LLVMValueRef compare(kll *l, kir_ref n)
{
	static const LLVMRealPredicate real[] = { LLVMRealOLT, LLVMRealOLE, LLVMRealOGT,
		                                  LLVMRealOGE, LLVMRealOEQ, LLVMRealUNE };
	static const LLVMIntPredicate sgn[] = { LLVMIntSLT, LLVMIntSLE, LLVMIntSGT,
		                                LLVMIntSGE, LLVMIntEQ,  LLVMIntNE };
	static const LLVMIntPredicate uns[] = { LLVMIntULT, LLVMIntULE, LLVMIntUGT,
		                                LLVMIntUGE, LLVMIntEQ,  LLVMIntNE };
	unsigned p = l->f->node[n].op - KIR_OP_lt;
	kir_elem e = kll_elem(l, kir_src(l->f, n, 0));
	LLVMValueRef x = kll_operand(l, n, 0), y = kll_operand(l, n, 1);

	if (!kir_is_float(e))
		return LLVMBuildICmp(l->b, kir_is_signed(e) ? sgn[p] : uns[p], x, y, "");
	if (!native(l, e)) {
		x = kll_to_f32(l, x, e);
		y = kll_to_f32(l, y, e);
	}
	return LLVMBuildFCmp(l->b, real[p], x, y, "");
}

/* -- lanes ------------------------------------------------------------------------------ */

static LLVMValueRef iota(kll *l, kir_ref n)
{
	kir_elem e = kll_elem(l, n);
	unsigned lanes = kll_lanes(l, n);
	LLVMTypeRef t = kll_elem_type(l, e);
	LLVMValueRef v[KLL_MAX_LANES];

	for (unsigned i = 0; i < lanes; i++)
		v[i] = native(l, e)      ? LLVMConstReal(t, i)
		       : kir_is_float(e) ? LLVMConstInt(t, kir_encode(e, i, 0, 0, 0), false)
		                         : LLVMConstInt(t, i, false);
	return LLVMConstVector(v, lanes);
}

static LLVMValueRef lanes_op(kll *l, kir_ref n)
{
	unsigned lanes = kll_lanes(l, n), lane[KLL_MAX_LANES], hi = 0;
	unsigned within = (unsigned)kir_attr_of(l->f, n, KIR_ATTR_within);
	unsigned w = within ? within : lanes;
	LLVMValueRef x = l->val[kir_src(l->f, n, 0)];
	LLVMValueRef y = l->f->node[n].nsrc > 1 ? l->val[kir_src(l->f, n, 1)] : NULL;

	switch (l->f->node[n].op) {
	case KIR_OP_zip_hi: hi = w / 2; /* fall through */
	case KIR_OP_zip_lo:
		for (unsigned i = 0; i < lanes; i++)
			lane[i] = i / w * w + hi + i % w / 2 + (i & 1) * lanes;
		return kll_shuffle(l, x, y, lane, lanes);
	case KIR_OP_unzip_hi: hi = 1; /* fall through */
	case KIR_OP_unzip_lo:
		for (unsigned i = 0; i < lanes; i++)
			lane[i] = i / w * w + 2 * i % w + hi + (i % w >= w / 2) * lanes;
		return kll_shuffle(l, x, y, lane, lanes);
	case KIR_OP_half_lo: return kll_lanes_of(l, x, NULL, 0, 1, lanes);
	case KIR_OP_half_hi: return kll_lanes_of(l, x, NULL, lanes, 1, lanes);
	default: return kll_concat(l, x, y);
	}
}

/* Nothing rounds: x * 2^shift is an integer. */
static LLVMValueRef fixed(kll *l, kir_ref n)
{
	kir_elem from = kll_elem(l, kir_src(l->f, n, 0)), to = kll_elem(l, n);
	int shift = (int)kir_attr_of(l->f, n, KIR_ATTR_shift);
	LLVMTypeRef t = kll_elem_type(l, to);
	LLVMValueRef x = kll_operand(l, n, 0);

	if (kir_is_int(from))
		return LLVMBuildShl(l->b, x, kll_int(t, (uint64_t)shift, x), "");
	x = kll_to_f32(l, x, from);
	x = LLVMBuildFMul(l->b, x, kll_real(l->f32, ldexp(1, shift), x), "");
	x = LLVMBuildFPToSI(l->b, x, kll_like(l->i32, x), "");
	return LLVMBuildTrunc(l->b, x, kll_like(t, x), "");
}

LLVMValueRef kll_each(kll *l, kir_ref n)
{
	kir_elem e = kll_elem(l, n);

	switch (l->f->node[n].op) {
	case KIR_OP_lt:
	case KIR_OP_le:
	case KIR_OP_gt:
	case KIR_OP_ge:
	case KIR_OP_eq:
	case KIR_OP_ne: return compare(l, n);
	case KIR_OP_and:
	case KIR_OP_or:
	case KIR_OP_xor: return bits_each(l, n);
	case KIR_OP_select:
		return kll_select(l, l->val[kir_src(l->f, n, 0)], kll_operand(l, n, 1),
		                  kll_operand(l, n, 2));
	case KIR_OP_bitcast:
		return LLVMBuildBitCast(l->b, l->val[kir_src(l->f, n, 0)],
		                        kll_vec(kll_elem_type(l, e), kll_own(l, n)), "");
	case KIR_OP_splat: return kll_operand(l, n, 0);
	case KIR_OP_fixed: return fixed(l, n);
	case KIR_OP_iota: return iota(l, n);
	case KIR_OP_zip_lo:
	case KIR_OP_zip_hi:
	case KIR_OP_unzip_lo:
	case KIR_OP_unzip_hi:
	case KIR_OP_half_lo:
	case KIR_OP_half_hi:
	case KIR_OP_join: return lanes_op(l, n);
	default: break;
	}
	if (!(kir_ops[l->f->node[n].op].flags & KIR_EACH))
		return kll_fail(l, n, "not an op of level V");
	return kir_is_float(e) ? float_each(l, n) : int_each(l, n);
}

/* -- reductions ------------------------------------------------------------------------- */

static LLVMValueRef reduce_step(kll *l, kir_op op, kir_elem e, LLVMValueRef x, LLVMValueRef y)
{
	bool flt = kir_is_float(e);

	switch (op) {
	case KIR_OP_reduce_add:
		return flt ? LLVMBuildFAdd(l->b, x, y, "") : LLVMBuildAdd(l->b, x, y, "");
	case KIR_OP_reduce_max:
		return flt ? extreme(l, LLVMRealOGT, x, y)
		           : int_extreme(l, kir_is_signed(e), true, x, y);
	case KIR_OP_reduce_min:
		return flt ? extreme(l, LLVMRealOLT, x, y)
		           : int_extreme(l, kir_is_signed(e), false, x, y);
	default: /* amax, of absolute values without NaN */
		return flt ? kll_select(l, LLVMBuildFCmp(l->b, LLVMRealOGT, x, y, ""), x, y)
		           : int_extreme(l, false, true, x, y);
	}
}

/* |x| with NaN as 0, in one instruction more than |x|: the maximum with 0 drops NaN. */
static LLVMValueRef magnitude(kll *l, kir_elem e, LLVMValueRef x)
{
	LLVMTypeRef t = kll_elem_type(l, e);

	if (!kir_is_float(e))
		return kir_is_signed(e) ? int_abs(l, t, x) : x;
	t = LLVMTypeOf(x);
	x = kll_call(l, "llvm.fabs", &t, 1, &x, 1);
	LLVMValueRef zero = LLVMConstNull(t);

	return kll_select(l, LLVMBuildFCmp(l->b, LLVMRealOGT, x, zero, ""), x, zero);
}

LLVMValueRef kll_reduce_step(kll *l, kir_ref n, LLVMValueRef x, LLVMValueRef y)
{
	return reduce_step(l, (kir_op)l->f->node[n].op, kll_elem(l, kir_src(l->f, n, 0)), x, y);
}

static LLVMValueRef lane_of(kll *l, LLVMValueRef x, unsigned lane)
{
	return LLVMBuildExtractElement(l->b, x, LLVMConstInt(l->i32, lane, false), "");
}

/* The upper half with the lower, until one is left. Two lanes are taken as scalars: of vectors
 * with one lane LLVM makes the same, after it has looked at them for as long as at all others.
 */
static LLVMValueRef by_halves(kll *l, kir_ref n, LLVMValueRef x)
{
	unsigned lanes = kll_width(x);
	LLVMValueRef odd = NULL;

	for (; lanes > 2; lanes /= 2) {
		if (lanes % 2) {
			LLVMValueRef last = lane_of(l, x, --lanes);

			odd = odd ? kll_reduce_step(l, n, odd, last) : last;
		}
		x = kll_reduce_step(l, n, kll_lanes_of(l, x, NULL, 0, 1, lanes / 2),
		                    kll_lanes_of(l, x, NULL, lanes / 2, 1, lanes / 2));
	}
	if (lanes == 2)
		x = kll_reduce_step(l, n, lane_of(l, x, 0), lane_of(l, x, 1));
	else if (kll_width(x))
		x = lane_of(l, x, 0);
	return odd ? kll_reduce_step(l, n, x, odd) : x;
}

LLVMValueRef kll_reduce(kll *l, kir_ref n)
{
	kir_ref src = kir_src(l->f, n, 0);
	kir_elem e = kll_elem(l, src);
	LLVMValueRef x = l->val[src];
	bool widen = kir_is_float(e) && !native(l, e);

	if (widen)
		x = kll_to_f32(l, x, e);
	if (l->f->node[n].op == KIR_OP_reduce_amax)
		x = magnitude(l, widen ? KIR_f32 : e, x);
	x = l->o->across ? l->o->across(l, n, x) : by_halves(l, n, x);
	return widen ? kll_from_f32(l, x, e, KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_inf) : x;
}

/* -- dot products ------------------------------------------------------------------------- */

/* Elements j, j + k, ... of v, as many as lanes; one if that is 0. */
static LLVMValueRef each_kth(kll *l, LLVMValueRef v, unsigned j, unsigned k, unsigned lanes)
{
	if (!lanes)
		return LLVMBuildExtractElement(l->b, v, LLVMConstInt(l->i32, j, false), "");
	return kll_lanes_of(l, v, NULL, j, k, lanes);
}

LLVMValueRef kll_dp_of(kll *l, kir_ref n, LLVMValueRef acc, LLVMValueRef x, LLVMValueRef y)
{
	kir_elem e = kll_elem(l, n), ea = kll_elem(l, kir_src(l->f, n, 1));
	kir_elem eb = kll_elem(l, kir_src(l->f, n, 2));
	unsigned lanes = kll_width(acc), k = kll_width(x) / (lanes ? lanes : 1);
	LLVMTypeRef t = LLVMTypeOf(acc);

	if (e != KIR_f32 && e != KIR_s32)
		return kll_fail(l, n, "the accumulator must be f32 or s32, not %s",
		                kir_elems[e].name);
	if (kir_is_float(ea) != (e == KIR_f32) || kir_is_float(eb) != (e == KIR_f32))
		return kll_fail(l, n, "%s and %s don't add up to %s", kir_elems[ea].name,
		                kir_elems[eb].name, kir_elems[e].name);
	for (unsigned j = 0; j < (k ? k : 1); j++) {
		LLVMValueRef p = k <= 1 ? x : each_kth(l, x, j, k, lanes);
		LLVMValueRef q = k <= 1 ? y : each_kth(l, y, j, k, lanes);

		if (e == KIR_f32) {
			acc = kll_fma(l, kll_to_f32(l, p, ea), kll_to_f32(l, q, eb), acc);
			continue;
		}
		p = LLVMBuildIntCast2(l->b, p, t, kir_is_signed(ea), "");
		q = LLVMBuildIntCast2(l->b, q, t, kir_is_signed(eb), "");
		acc = LLVMBuildAdd(l->b, acc, LLVMBuildMul(l->b, p, q, ""), "");
	}
	return acc;
}

LLVMValueRef kll_dp(kll *l, kir_ref n)
{
	return kll_dp_of(l, n, l->val[kir_src(l->f, n, 0)], l->val[kir_src(l->f, n, 1)],
	                 l->val[kir_src(l->f, n, 2)]);
}
