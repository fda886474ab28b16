/* SPDX-License-Identifier: Apache-2.0 */
/* narrow.c -- 64 lanes of f32 to 64 bytes: as much as can be done on bytes and words, which a
 * register holds more of, is.
 *
 * Instructions that pack two registers into one saturate and take both apart by 128 bits; the
 * order is put right at the end, by one permutation of bytes. So it doesn't matter which order
 * lanes came in, and bf16 is widened in the one that costs an instruction a register, not two:
 * even lanes of each 32, then odd ones (kx86_by_parity).
 */
#include "x86.h"
#include "../../ir/format.h"

#include <math.h>

enum { REGISTERS = KX86_NARROW / 16 };

/* -- the order of lanes -------------------------------------------------------------------- */

/* The one reader of n, or 0. */
static kir_ref only_reader(const kir_func *f, kir_ref n)
{
	kir_ref reader = 0;

	for (kir_ref k = n + 1; k < f->nnode; k++)
		for (unsigned i = 0; i < f->node[k].nsrc; i++) {
			if (kir_src(f, k, i) != n)
				continue;
			if (reader)
				return 0;
			reader = k;
		}
	return reader;
}

static bool is_lanes(const kir_func *f, kir_ref n, kir_elem e)
{
	const kir_type *t = kir_type_of(f, n);

	return t->rank == 1 && !t->buffer && t->dim[0] == KX86_NARROW && t->elem == e;
}

bool kx86_narrows(const kir_func *f, kir_ref n)
{
	kir_elem to = (kir_elem)kir_type_of(f, n)->elem;
	unsigned needs = KIR_HAS_avx512 | KIR_HAS_vbmi;

	return f->node[n].op == KIR_OP_convert && (f->target->features & needs) == needs &&
	       (to == KIR_e4m3fn || to == KIR_e5m2) && is_lanes(f, n, to) &&
	       is_lanes(f, kir_src(f, n, 0), KIR_f32) &&
	       kir_attr_of(f, n, KIR_ATTR_round) == KIR_ROUND_even &&
	       kir_attr_of(f, n, KIR_ATTR_nan) == KIR_NAN_keep &&
	       kir_attr_of(f, n, KIR_ATTR_sub) == KIR_SUB_keep;
}

/* Whether operand s of an op is the same in all lanes. */
static bool same_in_all(const kir_func *f, kir_ref s)
{
	return !kir_type_of(f, s)->rank || f->node[s].op == KIR_OP_splat;
}

bool kx86_by_parity(const kir_func *f, kir_ref n)
{
	kir_ref reader = n;

	if (f->node[n].op != KIR_OP_convert || !is_lanes(f, n, KIR_f32) ||
	    !is_lanes(f, kir_src(f, n, 0), KIR_bf16))
		return false;
	while ((reader = only_reader(f, n)) && !kx86_narrows(f, reader)) {
		if (!(kir_ops[f->node[reader].op].flags & KIR_EACH) ||
		    !is_lanes(f, reader, KIR_f32))
			return false;
		for (unsigned i = 0; i < f->node[reader].nsrc; i++)
			if (kir_src(f, reader, i) != n &&
			    !same_in_all(f, kir_src(f, reader, i)))
				return false;
		n = reader;
	}
	return reader;
}

/* Whether what n narrows comes by parity. */
static bool from_parity(const kir_func *f, kir_ref n)
{
	while (!kx86_by_parity(f, n)) {
		unsigned i = 0;

		while (i < f->node[n].nsrc && same_in_all(f, kir_src(f, n, i)))
			i++;
		if (i == f->node[n].nsrc || !is_lanes(f, kir_src(f, n, i), KIR_f32))
			return false;
		n = kir_src(f, n, i);
	}
	return true;
}

static LLVMValueRef part(kll *l, LLVMValueRef x, unsigned i)
{
	return kll_lanes_of(l, x, NULL, i * 16, 1, 16);
}

LLVMValueRef kx86_widen_by_parity(kll *l, kir_ref n)
{
	LLVMValueRef x = l->val[kir_src(l->f, n, 0)], p[REGISTERS];

	x = LLVMBuildBitCast(l->b, x, LLVMVectorType(l->i32, KX86_NARROW / 2), "");
	for (unsigned i = 0; i < REGISTERS; i += 2) {
		LLVMValueRef words = part(l, x, i / 2);

		p[i] = LLVMBuildShl(l->b, words, kll_int(l->i32, 16, words), "");
		p[i + 1] = LLVMBuildAnd(l->b, words, kll_int(l->i32, 0xffff0000, words), "");
	}
	x = kll_concat(l, kll_concat(l, p[0], p[1]), kll_concat(l, p[2], p[3]));
	return kll_as(l, x, l->f32);
}

/* Bytes that were packed from four registers, in the order of their lanes. */
static LLVMValueRef in_order(kll *l, LLVMValueRef x, bool parity)
{
	unsigned from[KX86_NARROW];

	for (unsigned i = 0; i < KX86_NARROW; i++) {
		unsigned reg = i / 16, lane = i % 16;

		if (parity) {
			reg = i / 32 * 2 + i % 2;
			lane = i % 32 / 2;
		}
		from[i] = lane / 4 * 16 + reg * 4 + lane % 4;
	}
	return kx86_permute(l, x, from);
}

/* -- floats of 8 bits ---------------------------------------------------------------------- */

enum { ABS_MIN = 2, ABS_MAX = 3 }; /* of vrangeps; the sign stays the first operand's */

static LLVMValueRef range(kll *l, LLVMValueRef x, double lim, int how)
{
	return kll_call(l, "llvm.x86.avx512.mask.range.ps.512", NULL, 0,
	                (LLVMValueRef[]){ x, kll_real(l->f32, lim, x),
	                                  LLVMConstInt(l->i32, (unsigned)how, false),
	                                  LLVMConstNull(LLVMTypeOf(x)),
	                                  LLVMConstAllOnes(l->i16),
	                                  LLVMConstInt(l->i32, 4, false) },
	                6);
}

/* s, but where x is NaN an infinity of its sign. */
static LLVMValueRef nan_to_inf(kll *l, LLVMValueRef s, LLVMValueRef x)
{
	/* 4 bits for each class of x, from quiet and signalling NaN on: 6 is that, 0 is s */
	return kll_call(
	    l, "llvm.x86.avx512.mask.fixupimm.ps.512", NULL, 0,
	    (LLVMValueRef[]){ s, x, kll_int(l->i32, 0x66, x), LLVMConstInt(l->i32, 0, false),
	                      LLVMConstAllOnes(l->i16), LLVMConstInt(l->i32, 4, false) },
	    6);
}

/* 16 lanes as s32: -2^15 for a minus, and the code's magnitude in the bits below that, from bit
 * 7 - man on; of NaN all ones or nearly.
 *
 * As in backends/llvm/small.c, adding a power of two rounds x, subnormals too, and leaves
 * exponent and quotient of the code in one word, here with x's sign; the exponent's bias hides
 * in the low bits of the factor as a 16-bit word below zero. The upper half of the word and the
 * lower, times what brings them to the same bit, are added by one instruction. */
static LLVMValueRef float_code(kll *l, LLVMValueRef x, kir_elem e, bool inf)
{
	const kir_elem_info *k = &kir_elems[e];
	unsigned up = 23 - k->man, lanes = 2 * 16;
	uint32_t base = (up + 128 - (uint32_t)k->bias) << k->man;
	uint32_t ones = (1u << (k->exp + k->man)) - 1;
	uint32_t max = k->kind == 'N' ? ones - 1 : (((1u << k->exp) - 1) << k->man) - 1;
	LLVMTypeRef words = LLVMVectorType(l->i16, lanes);
	LLVMValueRef y, m, s, c[2 * 16];
	double lim;

	/* as codes go on, also beyond what is finite */
	max += inf;
	lim = ldexp((double)((max & ((1u << k->man) - 1)) | 1u << k->man),
	            (int)(max >> k->man) - k->bias - (int)k->man);
	y = range(l, x, lim, ABS_MIN);
	m = kll_as(l, range(l, y, ldexp(1, 1 - k->bias), ABS_MAX), l->i32);
	m = kll_as(l, LLVMBuildAnd(l->b, m, kll_int(l->i32, 0xff800000, m), ""), l->f32);
	s = kll_real(l->f32, ldexp(1, (int)up) + ldexp(-base & 0xffff, -(int)k->man), x);
	s = nan_to_inf(l, kll_fma(l, m, s, y), x);
	for (unsigned i = 0; i < lanes; i++)
		c[i] = LLVMConstInt(l->i16, i & 1 ? 1 : 1u << (7 - k->man), false);
	return kll_call(
	    l, "llvm.x86.avx512.pmaddw.d.512", NULL, 0,
	    (LLVMValueRef[]){ LLVMBuildBitCast(l->b, s, words, ""), LLVMConstVector(c, lanes) },
	    2);
}

static LLVMValueRef pack(kll *l, const char *name, LLVMValueRef a, LLVMValueRef b)
{
	return kll_call(l, name, NULL, 0, (LLVMValueRef[]){ a, b }, 2);
}

/* Signs and magnitudes go to bytes each on their own: both saturate, a minus at 0x80, a NaN at
 * 0x7f. */
static LLVMValueRef floats(kll *l, LLVMValueRef x, kir_elem e, bool inf)
{
	LLVMValueRef w[2], sign, magnitude, low;

	for (unsigned i = 0; i < 2; i++)
		w[i] = pack(l, "llvm.x86.avx512.packssdw.512",
		            float_code(l, part(l, x, 2 * i), e, inf),
		            float_code(l, part(l, x, 2 * i + 1), e, inf));
	sign = pack(l, "llvm.x86.avx512.packsswb.512", w[0], w[1]);
	for (unsigned i = 0; i < 2; i++) {
		w[i] = LLVMBuildAnd(l->b, w[i], kll_int(l->i16, 0x7fff, w[i]), "");
		w[i] =
		    LLVMBuildLShr(l->b, w[i], kll_int(l->i16, 7 - kir_elems[e].man, w[i]), "");
	}
	magnitude = pack(l, "llvm.x86.avx512.packsswb.512", w[0], w[1]);
	low = kll_int(l->i8, 0x7f, magnitude);
	if (kir_elems[e].kind == 'F') { /* its NaN isn't all ones */
		LLVMValueRef nan = kll_int(
		    l->i8,
		    kir_encode(e, NAN, KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_sat) & 0x7f,
		    magnitude);

		magnitude = kll_select(l, LLVMBuildICmp(l->b, LLVMIntULT, magnitude, nan, ""),
		                       magnitude, nan);
	}
	sign = LLVMBuildAnd(l->b, sign, kll_int(l->i8, 0x80, sign), "");
	return LLVMBuildOr(l->b, LLVMBuildAnd(l->b, magnitude, low, ""), sign, "");
}

LLVMValueRef kx86_narrow(kll *l, kir_ref n)
{
	bool inf = kir_attr_of(l->f, n, KIR_ATTR_over) == KIR_OVER_inf;
	LLVMValueRef x = floats(l, l->val[kir_src(l->f, n, 0)], kll_elem(l, n), inf);

	return in_order(l, x, from_parity(l->f, n));
}
