/* SPDX-License-Identifier: Apache-2.0 */
/* value.c -- types, literals and lanes: what the other files of this folder build with. */
#include "lower.h"

#include <string.h>

kir_elem kll_elem(const kll *l, kir_ref n)
{
	return (kir_elem)kir_type_of(l->f, n)->elem;
}

unsigned kll_lanes(const kll *l, kir_ref n)
{
	const kir_type *t = kir_type_of(l->f, n);

	return t->rank ? (unsigned)kir_type_count(t) : 0;
}

unsigned kll_own(const kll *l, kir_ref n)
{
	unsigned lanes = kll_lanes(l, n), own = 1;

	if (!l->o->spread)
		return lanes;
	while (own * l->o->spread < lanes)
		own *= 2;
	return own > 1 ? own : 0;
}

LLVMTypeRef kll_elem_type(const kll *l, kir_elem e)
{
	if (e == KIR_i1)
		return l->i1;
	if (e == KIR_f32)
		return l->f32;
	if (e == KIR_f64)
		return l->f64;
	switch (kir_elem_bytes(e)) {
	case 8: return l->i64;
	case 4: return l->i32;
	case 2: return l->i16;
	default: return l->i8;
	}
}

LLVMTypeRef kll_vec(LLVMTypeRef elem, unsigned lanes)
{
	return lanes ? LLVMVectorType(elem, lanes) : elem;
}

unsigned kll_width(LLVMValueRef v)
{
	LLVMTypeRef t = LLVMTypeOf(v);

	return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? LLVMGetVectorSize(t) : 0;
}

LLVMTypeRef kll_like(LLVMTypeRef elem, LLVMValueRef v)
{
	return kll_vec(elem, kll_width(v));
}

static LLVMValueRef repeat(LLVMValueRef k, unsigned lanes)
{
	LLVMValueRef each[KLL_MAX_LANES];

	for (unsigned i = 0; i < lanes; i++)
		each[i] = k;
	return lanes ? LLVMConstVector(each, lanes) : k;
}

LLVMValueRef kll_int(LLVMTypeRef elem, uint64_t x, LLVMValueRef v)
{
	return repeat(LLVMConstInt(elem, x, true), kll_width(v));
}

LLVMValueRef kll_real(LLVMTypeRef elem, double x, LLVMValueRef v)
{
	return repeat(LLVMConstReal(elem, x), kll_width(v));
}

LLVMValueRef kll_splat(kll *l, LLVMValueRef x, unsigned lanes)
{
	LLVMTypeRef t;

	if (!lanes || kll_width(x))
		return x;
	if (LLVMIsConstant(x))
		return repeat(x, lanes);
	t = LLVMVectorType(LLVMTypeOf(x), lanes);
	x = LLVMBuildInsertElement(l->b, LLVMGetPoison(t), x, LLVMConstInt(l->i32, 0, false),
	                           "");
	return LLVMBuildShuffleVector(l->b, x, LLVMGetPoison(t),
	                              LLVMConstNull(LLVMVectorType(l->i32, lanes)), "");
}

LLVMValueRef kll_operand(kll *l, kir_ref n, unsigned i)
{
	return kll_splat(l, l->val[kir_src(l->f, n, i)], kll_own(l, n));
}

LLVMValueRef kll_as(kll *l, LLVMValueRef v, LLVMTypeRef elem)
{
	return LLVMBuildBitCast(l->b, v, kll_like(elem, v), "");
}

LLVMValueRef kll_call(kll *l, const char *intrinsic, LLVMTypeRef *over, unsigned nover,
                      LLVMValueRef *args, unsigned nargs)
{
	unsigned id = LLVMLookupIntrinsicID(intrinsic, strlen(intrinsic));
	LLVMValueRef fn = LLVMGetIntrinsicDeclaration(l->m, id, over, nover);

	return LLVMBuildCall2(l->b, LLVMIntrinsicGetType(l->c, id, over, nover), fn, args,
	                      nargs, "");
}

LLVMValueRef kll_shuffle(kll *l, LLVMValueRef a, LLVMValueRef b, const unsigned *lane,
                         unsigned n)
{
	LLVMValueRef mask[KLL_MAX_LANES];

	for (unsigned i = 0; i < n; i++)
		mask[i] = LLVMConstInt(l->i32, lane[i], false);
	return LLVMBuildShuffleVector(l->b, a, b ? b : LLVMGetPoison(LLVMTypeOf(a)),
	                              LLVMConstVector(mask, n), "");
}

LLVMValueRef kll_lanes_of(kll *l, LLVMValueRef a, LLVMValueRef b, unsigned from, unsigned step,
                          unsigned n)
{
	unsigned lane[KLL_MAX_LANES];

	for (unsigned i = 0; i < n; i++)
		lane[i] = from + i * step;
	return kll_shuffle(l, a, b, lane, n);
}

LLVMValueRef kll_concat(kll *l, LLVMValueRef a, LLVMValueRef b)
{
	return kll_lanes_of(l, a, b, 0, 1, 2 * kll_width(a));
}

LLVMValueRef kll_select(kll *l, LLVMValueRef c, LLVMValueRef x, LLVMValueRef y)
{
	return LLVMBuildSelect(l->b, c, x, y, "");
}
