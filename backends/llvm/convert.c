/* SPDX-License-Identifier: Apache-2.0 */
/* convert.c -- from one element type to another; docs/IR.md states the rules.
 *
 * Everything but f64 goes through f32, which holds every code of the smaller floats; what an
 * integer has beyond 24 bits is gathered in its last kept bit first, so that the second
 * rounding is the only one.
 */
#include "lower.h"
#include "../../ir/format.h"

#include <math.h>

static LLVMValueRef is_nan(kll *l, LLVMValueRef x)
{
	return LLVMBuildFCmp(l->b, LLVMRealUNO, x, x, "");
}

/* -- to f32 --------------------------------------------------------------------------- */

LLVMValueRef kll_to_f32(kll *l, LLVMValueRef v, kir_elem from)
{
	LLVMTypeRef f32 = kll_like(l->f32, v);

	if (from == KIR_f32)
		return v;
	if (from == KIR_f64)
		return LLVMBuildFPTrunc(l->b, v, f32, "");
	if (from == KIR_bf16) {
		v = LLVMBuildZExt(l->b, v, kll_like(l->i32, v), "");
		return kll_as(l, LLVMBuildShl(l->b, v, kll_int(l->i32, 16, v), ""), l->f32);
	}
	if (from == KIR_f16 && l->o->half)
		return LLVMBuildFPExt(l->b, kll_as(l, v, l->half), f32, "");
	if (kir_is_float(from))
		return kll_small_decode(l, v, from);
	if (kir_is_signed(from))
		return LLVMBuildSIToFP(l->b, v, f32, "");
	return LLVMBuildUIToFP(l->b, v, f32, "");
}

/* -- from f32 -------------------------------------------------------------------------- */

/* The upper halves of words: as a choice of lanes, which costs less than shifting and
 * narrowing once there are two registers of them. */
static LLVMValueRef upper_half(kll *l, LLVMValueRef bits)
{
	unsigned lanes = kll_width(bits);

	if (lanes >= 32 && lanes <= 256) {
		bits = LLVMBuildBitCast(l->b, bits, LLVMVectorType(l->i16, 2 * lanes), "");
		return kll_lanes_of(l, bits, NULL, 1, 2, lanes);
	}
	bits = LLVMBuildLShr(l->b, bits, kll_int(l->i32, 16, bits), "");
	return LLVMBuildTrunc(l->b, bits, kll_like(l->i16, bits), "");
}

/* A bf16 is the upper half; a NaN keeps its bits and is made quiet. */
static LLVMValueRef to_bf16(kll *l, LLVMValueRef x, int round)
{
	LLVMBuilderRef b = l->b;
	LLVMValueRef bits = kll_as(l, x, l->i32), sixteen = kll_int(l->i32, 16, x), up, lsb;
	LLVMValueRef high = LLVMBuildLShr(b, bits, sixteen, "");

	up = bits;
	if (round == KIR_ROUND_away) {
		up = LLVMBuildAdd(b, bits, kll_int(l->i32, 0x8000, x), "");
	} else if (round == KIR_ROUND_even) {
		lsb = LLVMBuildAnd(b, high, kll_int(l->i32, 1, x), "");
		up = LLVMBuildAdd(b, bits, kll_int(l->i32, 0x7fff, x), "");
		up = LLVMBuildAdd(b, up, lsb, "");
	}
	up = kll_select(l, is_nan(l, x), LLVMBuildOr(b, bits, kll_int(l->i32, 0x400000, x), ""),
	                up);
	return upper_half(l, up);
}

LLVMValueRef kll_from_f32(kll *l, LLVMValueRef x, kir_elem e, int round, int nan, int over)
{
	LLVMValueRef r, lost;

	if (e == KIR_f64 || e == KIR_f32) {
		r = e == KIR_f32 ? x : LLVMBuildFPExt(l->b, x, kll_like(l->f64, x), "");
		if (nan == KIR_NAN_keep)
			return r;
		lost =
		    kll_real(kll_elem_type(l, e), nan == KIR_NAN_max ? kir_elem_max(e) : 0, x);
		return kll_select(l, is_nan(l, x), lost, r);
	}
	if (e == KIR_bf16)
		r = to_bf16(l, x, round);
	else if (e == KIR_f16 && l->o->half && round == KIR_ROUND_even)
		r = kll_as(l, LLVMBuildFPTrunc(l->b, x, kll_like(l->half, x), ""), l->i16);
	else
		return kll_small_encode(l, x, e, round, nan, over);
	if (nan == KIR_NAN_keep)
		return r;
	lost = kll_int(l->i16, kir_encode(e, NAN, round, nan, over), x);
	return kll_select(l, is_nan(l, x), lost, r);
}

/* -- integers --------------------------------------------------------------------------- */

static int64_t int_min(kir_elem e)
{
	return kir_is_signed(e) ? -((int64_t)1 << (kir_elems[e].bits - 2)) * 2 : 0;
}

static int64_t int_max(kir_elem e)
{
	return e == KIR_s64 ? INT64_MAX : ((int64_t)1 << kir_elems[e].man) - 1;
}

static LLVMValueRef int_to_int(kll *l, LLVMValueRef v, kir_elem from, kir_elem to)
{
	LLVMTypeRef t = kll_elem_type(l, from);
	bool sign = kir_is_signed(from);
	LLVMValueRef lim, c;

	if (int_min(from) < int_min(to)) {
		lim = kll_int(t, (uint64_t)int_min(to), v);
		c = LLVMBuildICmp(l->b, LLVMIntSGT, v, lim, "");
		v = kll_select(l, c, v, lim);
	}
	if (int_max(from) > int_max(to)) {
		lim = kll_int(t, (uint64_t)int_max(to), v);
		c = LLVMBuildICmp(l->b, sign ? LLVMIntSLT : LLVMIntULT, v, lim, "");
		v = kll_select(l, c, v, lim);
	}
	return LLVMBuildIntCast2(l->b, v, kll_like(kll_elem_type(l, to), v), sign, "");
}

/* s32 beyond 24 bits: the low byte becomes one sticky bit, far below any bit that a float of
 * 16 bits and less keeps of such a number. */
static LLVMValueRef sticky(kll *l, LLVMValueRef v)
{
	LLVMValueRef low = LLVMBuildAnd(l->b, v, kll_int(l->i32, 0xff, v), ""), small, odd;
	LLVMValueRef zero = kll_int(l->i32, 0, v);

	small = LLVMBuildAdd(l->b, v, kll_int(l->i32, 1 << 24, v), "");
	small = LLVMBuildICmp(l->b, LLVMIntULT, small, kll_int(l->i32, 1 << 25, v), "");
	odd = kll_select(l, LLVMBuildICmp(l->b, LLVMIntNE, low, zero, ""),
	                 kll_int(l->i32, 0x100, v), zero);
	odd = LLVMBuildOr(l->b, LLVMBuildAnd(l->b, v, kll_int(l->i32, ~(uint64_t)0xff, v), ""),
	                  odd, "");
	return kll_select(l, small, v, odd);
}

/* x in the range of `to`, rounded, as an integer value of x's type. */
static LLVMValueRef round_float(kll *l, LLVMValueRef x, LLVMTypeRef t, int round)
{
	LLVMTypeRef tv = LLVMTypeOf(x);
	LLVMValueRef half = kll_real(t, 0.5, x);

	if (round == KIR_ROUND_zero)
		return x; /* the conversion truncates */
	if (round == KIR_ROUND_even)
		return kll_call(l, "llvm.roundeven", &tv, 1, &x, 1);
	half = kll_call(l, "llvm.copysign", &tv, 1, (LLVMValueRef[]){ half, x }, 2);
	x = LLVMBuildFAdd(l->b, x, half, "");
	if (t == l->f64) {
		x = LLVMBuildFPTrunc(l->b, x, kll_like(l->f32, x), "");
		x = LLVMBuildFPExt(l->b, x, tv, "");
	}
	return x;
}

/* f32 to s32 (and others of 32 or 64 bits). The largest s32 isn't an f32: clamp to the largest
 * f32 below it, convert, and put the saturated lanes right. (llvm.fptosi.sat takes the lanes
 * one by one, and GPUs have none.) */
static LLVMValueRef float_to_wide(kll *l, LLVMValueRef x, LLVMTypeRef t, kir_elem to, int round,
                                  int nan)
{
	LLVMTypeRef it = kll_elem_type(l, to);
	int bits = kir_elems[to].bits, digits = t == l->f32 ? 24 : 53;
	double end = ldexp(1, bits - 1), below = end - ldexp(1, bits - 1 - digits);
	LLVMValueRef r = round_float(l, x, t, round), c, lim;
	LLVMValueRef ordered = LLVMBuildFCmp(l->b, LLVMRealORD, x, x, "");
	LLVMValueRef big = LLVMBuildFCmp(l->b, LLVMRealOGE, r, kll_real(t, end, x), "");
	LLVMValueRef top = kll_int(it, (uint64_t)int_max(to), x);

	lim = kll_real(t, below, x);
	c = kll_select(l, LLVMBuildFCmp(l->b, LLVMRealOLT, r, lim, ""), r, lim);
	lim = kll_real(t, -end, x);
	c = kll_select(l, LLVMBuildFCmp(l->b, LLVMRealOGT, c, lim, ""), c, lim);
	c = LLVMBuildFPToSI(l->b, c, kll_like(it, x), "");
	c = kll_select(l, big, top, c);
	return kll_select(l, ordered, c, nan == KIR_NAN_max ? top : kll_int(it, 0, x));
}

/* Whether node n is select(lt(y, lo), lo, y) with y = select(gt(z, hi), hi, z) and literals in
 * the range of `to`: a value that was clamped needs no second clamp. */
static bool is_clamped(const kir_func *f, kir_ref n, kir_elem to)
{
	for (int i = 0; i < 2; i++) {
		kir_op op = i ? KIR_OP_gt : KIR_OP_lt;
		kir_ref c = kir_src(f, n, 0), lim = kir_src(f, n, 1), y = kir_src(f, n, 2);

		kir_ref same = kir_src(f, c, 1);

		if (f->node[n].op != KIR_OP_select || f->node[c].op != op ||
		    kir_src(f, c, 0) != y || f->node[lim].op != KIR_OP_const ||
		    f->node[same].op != KIR_OP_const || f->node[lim].f != f->node[same].f ||
		    f->node[lim].f < (double)int_min(to) ||
		    f->node[lim].f > (double)int_max(to))
			return false;
		n = y;
	}
	return true;
}

static LLVMValueRef float_to_int(kll *l, LLVMValueRef x, kir_elem from, kir_elem to, int round,
                                 int nan, bool clamped)
{
	LLVMTypeRef t = from == KIR_f64 ? l->f64 : l->f32;
	LLVMTypeRef it = kll_elem_type(l, to), over[2] = { kll_like(it, x), LLVMTypeOf(x) };
	LLVMValueRef ordered, r, lim;

	if ((from != KIR_f64 && to == KIR_s32) || (l->o->spread && kir_elems[to].bits > 16))
		return float_to_wide(l, x, t, to, round, nan);
	if (kir_elems[to].bits >
	    16) { /* the limits aren't floats: saturate in the instruction */
		r = round_float(l, x, t, round);
		r = kll_call(l, "llvm.fptosi.sat", over, 2, &r, 1);
		return nan == KIR_NAN_max ? kll_select(l, is_nan(l, x),
		                                       kll_int(it, (uint64_t)int_max(to), x), r)
		                          : r;
	}
	ordered = LLVMBuildFCmp(l->b, LLVMRealORD, x, x, "");
	r = x;
	if (!clamped) {
		lim = kll_real(t, (double)int_max(to), x);
		r = kll_select(l, LLVMBuildFCmp(l->b, LLVMRealOLT, x, lim, ""), x, lim);
		lim = kll_real(t, (double)int_min(to), x);
		r = kll_select(l, LLVMBuildFCmp(l->b, LLVMRealOGT, r, lim, ""), r, lim);
	}
	r = LLVMBuildFPToSI(l->b, round_float(l, r, t, round), kll_like(l->i32, x), "");
	lim = kll_int(l->i32, nan == KIR_NAN_max ? (uint64_t)int_max(to) : 0, x);
	r = kll_select(l, ordered, r, lim);
	return LLVMBuildTrunc(l->b, r, over[0], "");
}

/* -- the op ------------------------------------------------------------------------------ */

static LLVMValueRef int_to_float(kll *l, kir_ref n, LLVMValueRef v, kir_elem from, kir_elem to,
                                 int round)
{
	if (to == KIR_f64)
		return kir_is_signed(from) ? LLVMBuildSIToFP(l->b, v, kll_like(l->f64, v), "")
		                           : LLVMBuildUIToFP(l->b, v, kll_like(l->f64, v), "");
	if (to == KIR_f32 && round != KIR_ROUND_even && kir_elems[from].man > 24)
		return kll_fail(l, n, "to f32 only round=even is available");
	if (to != KIR_f32 && from == KIR_s64)
		return kll_fail(l, n, "s64 converts to f32 and f64 only");
	if (to != KIR_f32 && from == KIR_s32)
		v = sticky(l, v);
	return kll_to_f32(l, v, from);
}

/* f32 without what is below its normal range; the sign stays. */
static LLVMValueRef no_subnormal(kll *l, LLVMValueRef x)
{
	LLVMValueRef bits = kll_as(l, x, l->i32), exponent, sign;

	exponent = LLVMBuildAnd(l->b, bits, kll_int(l->i32, 0x7f800000, x), "");
	sign = LLVMBuildAnd(l->b, bits, kll_int(l->i32, 0x80000000, x), "");
	exponent =
	    LLVMBuildICmp(l->b, LLVMIntEQ, exponent, LLVMConstNull(LLVMTypeOf(bits)), "");
	return kll_as(l, kll_select(l, exponent, sign, bits), l->f32);
}

/* Whether every value of e, infinities and NaNs with it, converts to e as it is. */
static bool stays(kir_elem e, int nan, int over)
{
	bool ends = kir_elems[e].kind == 'F' && kir_elems[e].bits < 16;

	return !kir_is_float(e) || (nan == KIR_NAN_keep && !(ends && over == KIR_OVER_sat));
}

LLVMValueRef kll_convert(kll *l, kir_ref n)
{
	kir_elem to = kll_elem(l, n), from = kll_elem(l, kir_src(l->f, n, 0));
	int round = (int)kir_attr_of(l->f, n, KIR_ATTR_round);
	int nan = (int)kir_attr_of(l->f, n, KIR_ATTR_nan);
	int over = (int)kir_attr_of(l->f, n, KIR_ATTR_over);
	LLVMValueRef v = kll_operand(l, n, 0);

	if (to == from && stays(to, nan, over))
		return v;
	if (from == KIR_i1) {
		v = LLVMBuildZExt(l->b, v, kll_like(l->i32, v), "");
		from = KIR_s32;
	}
	if (kir_is_int(from) && kir_is_int(to))
		return int_to_int(l, v, from, to);
	if (kir_is_int(to))
		return float_to_int(l, from == KIR_f64 ? v : kll_to_f32(l, v, from), from, to,
		                    round, nan, is_clamped(l->f, kir_src(l->f, n, 0), to));
	if (kir_is_int(from)) {
		v = int_to_float(l, n, v, from, to, round);
		if (l->failed || to == KIR_f64)
			return v;
	} else if (from == KIR_f64 && to != KIR_f32) {
		return kll_fail(l, n, "f64 converts to f32 and integers only");
	} else if (from == KIR_f64 && (round != KIR_ROUND_even || nan != KIR_NAN_keep)) {
		return kll_fail(l, n, "f64 to f32 has round=even and nan=keep only");
	} else {
		v = kll_to_f32(l, v, from);
	}
	if (kir_attr_of(l->f, n, KIR_ATTR_sub) == KIR_SUB_zero)
		v = no_subnormal(l, v);
	if (to == KIR_bf16 && kir_elem_bytes(from) == 1 && nan == KIR_NAN_keep)
		return upper_half(
		    l, kll_as(l, v, l->i32)); /* exact: at most eight significant bits */
	return kll_from_f32(l, v, to, round, nan, over);
}
