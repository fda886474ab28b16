/* SPDX-License-Identifier: Apache-2.0 */
/* xe_product.c -- products of a sub-group.
 *
 * Engines are functions that Intel's graphics compiler knows by name, or instructions of an
 * extension (newer.h). Products of f32 are multiplications by broadcasts, whose lanes are
 * constant: an instruction reads such an operand from wherever it is.
 */
#include "xe.h"

#include <stdio.h>
#include <string.h>

/* The type's letters in a mangled name: short, int, float and vectors of them. */
static void mangle(char *to, size_t len, unsigned n, char letter)
{
	if (n > 1)
		snprintf(to, len, "Dv%u_%c", n, letter);
	else
		snprintf(to, len, "%c", letter);
}

static unsigned kind_of(kir_elem a, kir_elem b)
{
	if (kir_elem_bytes(a) == 1)
		return KSPV_INT8 | (a == KIR_s8 ? KSPV_SIGNED_A : 0) |
		       (b == KIR_s8 ? KSPV_SIGNED_B : 0);
	return a == KIR_bf16 ? KSPV_BF16 : KSPV_F16;
}

/* acc + A . B of these registers, as an instruction. */
static LLVMValueRef product(kll *l, kir_ref n, LLVMValueRef a, LLVMValueRef b, LLVMValueRef acc)
{
	kir_elem ae = kll_elem(l, kir_src(l->f, n, 1)), be = kll_elem(l, kir_src(l->f, n, 2));
	LLVMValueRef arg[5] = { kspv_word(l, 32 / kir_elem_bytes(ae)), a, b, acc,
		                kspv_word(l, kind_of(ae, be)) };
	char name[64];

	snprintf(name, sizeof name, "%s%s%u", kspv_newer_call[KSPV_NEWER_PRODUCT],
	         kir_elems[kll_elem(l, n)].name, kspv_own(l, n));
	return kspv_call(l, name, kspv_own_type(l, n), arg, 5, true);
}

/* A row of the left factor is 32 bytes: two a lane, or four where lanes are 8. */
static LLVMValueRef engine(kll *l, kir_ref n)
{
	kir_elem a = kll_elem(l, kir_src(l->f, n, 1)), b = kll_elem(l, kir_src(l->f, n, 2));
	unsigned rows = kspv_own(l, n), wide = l->o->spread == 16;
	bool bytes = kir_elem_bytes(a) == 1;
	char name[64], mangled[160], at[24], bt[24], ct[24], one = wide ? 's' : 'i';
	LLVMValueRef arg[3];

	if (bytes)
		snprintf(name, sizeof name, "intel_sub_group_%s_%s_matrix_mad_k32",
		         a == KIR_s8 ? "i8" : "u8", b == KIR_s8 ? "i8" : "u8");
	else
		snprintf(name, sizeof name, "intel_sub_group_%s_%s_matrix_mad_k16",
		         kir_elems[a].name, kir_elems[b].name);
	mangle(at, sizeof at, rows, a == KIR_u8 ? (char)(one + 1) : one);
	mangle(bt, sizeof bt, 8, b == KIR_u8 ? 'j' : 'i');
	mangle(ct, sizeof ct, rows, bytes ? 'i' : 'f');
	if (rows > 1 && !strcmp(ct, at)) /* a vector's type that stood before */
		snprintf(ct, sizeof ct, "S_");
	else if (!strcmp(ct, bt))
		snprintf(ct, sizeof ct, strcmp(bt, at) ? "S0_" : "S_");
	if (!strcmp(bt, at))
		snprintf(bt, sizeof bt, "S_");
	snprintf(mangled, sizeof mangled, "_Z%zu%s%s%s%s", strlen(name), name, at, bt, ct);
	arg[0] = LLVMBuildBitCast(l->b, l->val[kir_src(l->f, n, 1)],
	                          kll_vec(wide ? l->i16 : l->i32, rows > 1 ? rows : 0), "");
	arg[1] = LLVMBuildBitCast(l->b, l->val[kir_src(l->f, n, 2)], kll_vec(l->i32, 8), "");
	arg[2] = l->val[kir_src(l->f, n, 0)];
	if (kspv_is_newer(l))
		return product(l, n, arg[0], arg[1], arg[2]);
	return kspv_call(l, mangled, kspv_own_type(l, n), arg, 3, true);
}

/* acc + A . B: element k of row m of A is in lane k, column n of B in this one. */
static LLVMValueRef broadcasts(kll *l, LLVMValueRef *arg, void *ctx)
{
	LLVMValueRef a[KLL_MAX_OWN], b[KLL_MAX_OWN], sum[KLL_MAX_OWN];
	unsigned rows = kspv_split(l, arg[0], sum);

	(void)ctx;
	kspv_split(l, arg[1], a);
	kspv_split(l, arg[2], b);
	for (unsigned k = 0; k < l->o->spread; k++)
		for (unsigned m = 0; m < rows; m++) {
			LLVMValueRef of[2] = { a[m], kspv_word(l, k) };
			LLVMValueRef x =
			    kspv_call(l, "_Z19sub_group_broadcastfj", l->f32, of, 2, true);

			sum[m] = kll_fma(l, x, b[k], sum[m]);
		}
	return kspv_build(l, sum, rows);
}

static LLVMValueRef product_f32(kll *l, kir_ref n)
{
	LLVMValueRef arg[3];
	char name[40];

	for (unsigned i = 0; i < 3; i++)
		arg[i] = l->val[kir_src(l->f, n, i)];
	snprintf(name, sizeof name, "product_of_rows_%u", kspv_own(l, n));
	return kspv_once(l, name, LLVMTypeOf(arg[0]), arg, 3, broadcasts, NULL);
}

LLVMValueRef kspv_product(kll *l, kir_ref n)
{
	if (kll_elem(l, kir_src(l->f, n, 1)) == KIR_f32)
		return product_f32(l, n);
	if (!kspv_has_engine(l->f->target))
		return kll_fail(l, n, "target %s has no engine for these elements",
		                l->f->target->name);
	return engine(l, n);
}
