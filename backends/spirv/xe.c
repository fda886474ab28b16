/* SPDX-License-Identifier: Apache-2.0 */
/* xe.c -- ops of a sub-group: lanes' components, and what a GPU has an instruction for.
 * Products and blocks of memory are in files of their own (xe.h).
 */
#include "xe.h"

bool kspv_has_engine(const kir_target *t)
{
	return t->features & KIR_HAS_xmx;
}

LLVMTypeRef kspv_own_type(const kll *l, kir_ref n)
{
	unsigned own = kspv_own(l, n);

	if (kspv_is_words(l, n))
		return kll_vec(l->i32, kspv_own_bytes(l, n) / 4);
	return kll_vec(kll_elem_type(l, kll_elem(l, n)), own > 1 ? own : 0);
}

/* Elements as words of four bytes. */
LLVMValueRef kspv_as_words(kll *l, const LLVMValueRef *x, unsigned n, unsigned size)
{
	LLVMValueRef w[KLL_MAX_OWN];
	unsigned each = 4 / size;

	for (unsigned i = 0; i < n; i++) {
		LLVMValueRef y = LLVMBuildZExt(l->b, x[i], l->i32, "");

		y = LLVMBuildShl(l->b, y, kspv_word(l, i % each * size * 8), "");
		w[i / each] = i % each ? LLVMBuildOr(l->b, w[i / each], y, "") : y;
	}
	return kspv_build(l, w, n / each);
}

/* One reduction of the lanes for each component. */
static LLVMValueRef reduce(kll *l, kir_ref n)
{
	bool add = l->f->node[n].op == KIR_OP_xe_reduce_add, f = kll_elem(l, n) == KIR_f32;
	const char *name = add ? f ? "_Z20sub_group_reduce_addf" : "_Z20sub_group_reduce_addi"
	                   : f ? "_Z20sub_group_reduce_maxf"
	                       : "_Z20sub_group_reduce_maxi";
	LLVMValueRef x[KLL_MAX_OWN];
	unsigned own = kspv_split(l, l->val[kir_src(l->f, n, 0)], x);

	for (unsigned i = 0; i < own; i++)
		x[i] = kspv_call(l, name, f ? l->f32 : l->i32, &x[i], 1, true);
	return kspv_build(l, x, own);
}

static LLVMValueRef repeat(kll *l, kir_ref n)
{
	LLVMValueRef x[KLL_MAX_OWN], y[KLL_MAX_OWN];
	unsigned from = kspv_split(l, l->val[kir_src(l->f, n, 0)], x), own = kspv_own(l, n);

	for (unsigned i = 0; i < own; i++)
		y[i] = x[i * from / own];
	return kspv_build(l, y, own);
}

/* A lane's own elements, of words or not. */
static unsigned elements_of(kll *l, kir_ref n, LLVMValueRef *x)
{
	LLVMTypeRef t = kll_elem_type(l, kll_elem(l, n));
	unsigned own = kspv_own(l, n), each = 4 / kir_elem_bytes(kll_elem(l, n));
	LLVMValueRef w[KLL_MAX_OWN];

	if (!kspv_is_words(l, n))
		return kspv_split(l, l->val[n], x);
	kspv_split(l, l->val[n], w);
	for (unsigned i = 0; i < own; i++) {
		x[i] = LLVMBuildLShr(l->b, w[i / each], kspv_word(l, i % each * 32 / each), "");
		x[i] = LLVMBuildTrunc(l->b, x[i], t, "");
	}
	return own;
}

/* What lane's elements are as n's value. */
static LLVMValueRef from_elements(kll *l, kir_ref n, LLVMValueRef *x)
{
	unsigned own = kspv_own(l, n);

	return kspv_is_words(l, n) ? kspv_as_words(l, x, own, kir_elem_bytes(kll_elem(l, n)))
	                           : kspv_build(l, x, own);
}

static LLVMValueRef zip(kll *l, kir_ref n)
{
	LLVMValueRef x[2 * KLL_MAX_OWN], y[2 * KLL_MAX_OWN], z[4 * KLL_MAX_OWN];
	unsigned own = elements_of(l, kir_src(l->f, n, 0), x);

	elements_of(l, kir_src(l->f, n, 1), y);
	for (unsigned i = 0; i < own; i++) {
		z[2 * i] = x[i];
		z[2 * i + 1] = y[i];
	}
	return from_elements(l, n, z);
}

static LLVMValueRef pack(kll *l, kir_ref n)
{
	LLVMValueRef x[2 * KLL_MAX_OWN];
	unsigned from = kspv_split(l, l->val[kir_src(l->f, n, 0)], x);

	from += kspv_split(l, l->val[kir_src(l->f, n, 1)], x + from);
	return kspv_build(l, x, from);
}

/* Words as they are. */
static LLVMValueRef cast(kll *l, kir_ref n)
{
	kir_ref s = kir_src(l->f, n, 0);

	if (!kspv_is_words(l, s) && !kspv_is_words(l, n))
		return NULL;
	return LLVMBuildBitCast(l->b, l->val[s], kspv_own_type(l, n), "");
}

static LLVMValueRef part(kll *l, kir_ref n)
{
	kir_ref s = kir_src(l->f, n, 0);
	unsigned start = (unsigned)kir_attr_of(l->f, n, KIR_ATTR_start), own = kspv_own(l, n);
	unsigned every = (unsigned)kir_attr_of(l->f, n, KIR_ATTR_every);
	unsigned size = kir_elem_bytes(kll_elem(l, n));
	LLVMValueRef x[4 * KLL_MAX_OWN];

	if (kspv_is_words(l, s) && every == 1 && start * size % 4 == 0 && own * size % 4 == 0) {
		kspv_split(l, l->val[s], x);
		return LLVMBuildBitCast(l->b,
		                        kspv_build(l, x + start * size / 4, own * size / 4),
		                        kspv_own_type(l, n), "");
	}
	elements_of(l, s, x);
	for (unsigned i = 0; i < own; i++)
		x[i] = x[start + i * every];
	return from_elements(l, n, x);
}

/* Whether n is a product's left factor. */
static bool is_left(const kll *l, kir_ref n)
{
	for (kir_ref u = n + 1; u < l->f->nnode; u++)
		if (l->f->node[u].op == KIR_OP_xe_dpas && kir_src(l->f, u, 1) == n)
			return true;
	return false;
}

/* f32 to bf16, to even, by one instruction where the engine takes it: whether that keeps
 * subnormals of bf16 is the device's affair, as it is in its products (docs/accuracy.md). */
static LLVMValueRef to_bf16(kll *l, kir_ref n)
{
	LLVMValueRef each[KLL_MAX_OWN];
	unsigned own;

	if (kll_elem(l, kir_src(l->f, n, 0)) != KIR_f32 || !kll_lanes(l, n) ||
	    kir_attr_of(l->f, n, KIR_ATTR_round) != KIR_ROUND_even ||
	    kir_attr_of(l->f, n, KIR_ATTR_nan) != KIR_NAN_keep || !is_left(l, n))
		return NULL;
	own = kspv_split(l, l->val[kir_src(l->f, n, 0)], each);
	for (unsigned i = 0; i < own; i++)
		each[i] =
		    kspv_call(l, "_Z25intel_convert_f32_to_bf16f", l->i16, &each[i], 1, false);
	return kspv_build(l, each, own);
}

/* f32 to bytes, to even and saturated, NaN to 0: one function of OpenCL for each element. */
static LLVMValueRef to_bytes(kll *l, kir_ref n)
{
	kir_ref s = kir_src(l->f, n, 0);
	kir_elem e = kll_elem(l, n);
	LLVMValueRef each[KLL_MAX_OWN];
	unsigned own;

	if (e == KIR_bf16)
		return to_bf16(l, n);
	if ((e != KIR_u8 && e != KIR_s8) || kll_elem(l, s) != KIR_f32 || !kll_lanes(l, n) ||
	    kir_attr_of(l->f, n, KIR_ATTR_round) != KIR_ROUND_even ||
	    l->f->node[s].op == KIR_OP_const)
		return NULL;
	own = kspv_split(l, l->val[s], each);
	for (unsigned i = 0; i < own; i++)
		each[i] = kspv_call(
		    l, e == KIR_u8 ? "_Z21convert_uchar_sat_rtef" : "_Z20convert_char_sat_rtef",
		    l->i8, &each[i], 1, false);
	return kspv_build(l, each, own);
}

static bool is_const(const kll *l, kir_ref n)
{
	if (l->f->node[n].op == KIR_OP_splat)
		n = kir_src(l->f, n, 0);
	return l->f->node[n].op == KIR_OP_const;
}

static bool is_grid(const kll *l, kir_ref n)
{
	return l->f->node[n].op == KIR_OP_for && kir_for_par(l->f, n);
}

/* Whether the grid that n is in has products. */
static bool beside_products(const kll *l, kir_ref n)
{
	bool found = false;
	kir_ref u = n;

	while (u > 1 && !is_grid(l, u))
		u--;
	for (u++; u < l->f->nnode && !is_grid(l, u); u++)
		found |= l->f->node[u].op == KIR_OP_xe_dpas;
	return found;
}

/* A constant divided by what is not below another: what rows are scaled by before they are
 * rounded to bytes that nobody sees but a product. The device's own reciprocal and a
 * multiplication, 2 instructions where the exact one takes 8 (0 for divisors above 2^126, whose
 * sums are infinite soon anyway); 3/2 units in the last place are
 * inside what docs/accuracy.md leaves for it. Other quotients, and those of grids without
 * products (quantizers, also of the rows of a product that comes after), are rounded
 * correctly. */
static LLVMValueRef row_factor(kll *l, kir_ref n)
{
	kir_ref m = kir_src(l->f, n, 1);
	LLVMValueRef x[KLL_MAX_OWN], y[KLL_MAX_OWN], v;
	unsigned own;

	if (kll_elem(l, n) != KIR_f32 || !kll_lanes(l, n) ||
	    !is_const(l, kir_src(l->f, n, 0)) || l->f->node[m].op != KIR_OP_max ||
	    !is_const(l, kir_src(l->f, m, 1)) || !beside_products(l, n))
		return NULL;
	v = kll_operand(l, n, 0);
	own = kspv_split(l, v, x);
	kspv_split(l, kll_operand(l, n, 1), y);
	for (unsigned i = 0; i < own; i++) {
		LLVMValueRef arg[2] = { x[i], y[i] };

		x[i] = kspv_call(l, "_Z13native_divideff", l->f32, arg, 2, false);
	}
	return kll_width(v) ? kspv_build(l, x, own) : x[0];
}

/* The device's own, good to 4 units in the last place. */
LLVMValueRef kspv_exp2(kll *l, LLVMValueRef x, const kir_exp2 *near)
{
	LLVMValueRef each[KLL_MAX_OWN];
	unsigned own = kspv_split(l, x, each);

	(void)near; /* no polynomial takes less than an instruction */
	for (unsigned i = 0; i < own; i++)
		each[i] = kspv_call(l, "_Z11native_exp2f", l->f32, &each[i], 1, false);
	return kll_width(x) ? kspv_build(l, each, own) : each[0];
}

/* Larger and smaller of f32, one instruction each: as they are defined, a NaN gives way. */
static LLVMValueRef extreme(kll *l, kir_ref n)
{
	const char *name = l->f->node[n].op == KIR_OP_max ? "_Z4fmaxff" : "_Z4fminff";
	LLVMValueRef x[KLL_MAX_OWN], y[KLL_MAX_OWN], v = kll_operand(l, n, 0);
	unsigned own;

	if (kll_elem(l, n) != KIR_f32)
		return NULL;
	own = kspv_split(l, v, x);
	kspv_split(l, kll_operand(l, n, 1), y);
	for (unsigned i = 0; i < own; i++) {
		LLVMValueRef arg[2] = { x[i], y[i] };

		x[i] = kspv_call(l, name, l->f32, arg, 2, false);
	}
	return kll_width(v) ? kspv_build(l, x, own) : x[0];
}

LLVMValueRef kspv_xe(kll *l, kir_ref n)
{
	switch (l->f->node[n].op) {
	case KIR_OP_xe_dpas: return kspv_product(l, n);
	case KIR_OP_xe_load2d: return kspv_load2d(l, n);
	case KIR_OP_xe_reduce_add:
	case KIR_OP_xe_reduce_max: return reduce(l, n);
	case KIR_OP_xe_repeat: return repeat(l, n);
	case KIR_OP_xe_pack: return pack(l, n);
	case KIR_OP_xe_zip: return zip(l, n);
	case KIR_OP_xe_part: return part(l, n);
	case KIR_OP_bitcast: return cast(l, n);
	case KIR_OP_convert: return to_bytes(l, n);
	case KIR_OP_div: return row_factor(l, n);
	case KIR_OP_min:
	case KIR_OP_max: return extreme(l, n);
	default: return NULL;
	}
}
