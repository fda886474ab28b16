/* SPDX-License-Identifier: Apache-2.0 */
/* tiles.c -- AMX: the tile numbers are kvjit's, LLVM only spells the instructions.
 *
 *     amx.tile ...   =>  one ldtilecfg of a constant, at the first of them (the entry block)
 *     ret            =>  tilerelease, so that the system has no tiles to save any more
 *
 * A function has one configuration from entry to return. The configuration is palette 1: bytes
 * of a row of each tile as 16-bit numbers from byte 16 on, rows from byte 48 on.
 */
#include "x86.h"

#include <stdio.h>

static bool has_tiles(const kir_func *f)
{
	for (int64_t t = 0; t < KIR_AMX_TILES; t++)
		if (kir_amx_shape(f, t).rows)
			return true;
	return false;
}

static LLVMValueRef configure(kll *l)
{
	LLVMTypeRef t = LLVMArrayType2(l->i8, 64);
	LLVMValueRef byte[64], g;

	for (unsigned i = 0; i < 64; i++)
		byte[i] = LLVMConstInt(l->i8, i == 0, false);
	for (unsigned i = 0; i < KIR_AMX_TILES; i++) {
		kir_amx s = kir_amx_shape(l->f, i);

		byte[16 + 2 * i] = LLVMConstInt(l->i8, (uint64_t)s.bytes, false);
		byte[48 + i] = LLVMConstInt(l->i8, (uint64_t)s.rows, false);
	}
	g = LLVMAddGlobal(l->m, t, "tiles");
	LLVMSetInitializer(g, LLVMConstArray2(l->i8, byte, 64));
	LLVMSetGlobalConstant(g, true);
	LLVMSetLinkage(g, LLVMPrivateLinkage);
	LLVMSetAlignment(g, 64);
	return kll_call(l, "llvm.x86.ldtilecfg", NULL, 0, &g, 1);
}

static LLVMValueRef number(kll *l, kir_ref n, unsigned attr)
{
	return LLVMConstInt(l->i8, (uint64_t)l->f->node[n].attr[attr], false);
}

static LLVMValueRef declare(kll *l, kir_ref n)
{
	for (kir_ref k = 1; k < n; k++)
		if (l->f->node[k].op == KIR_OP_amx_tile)
			return LLVMConstNull(l->i8); /* configured already */
	return configure(l);
}

static LLVMValueRef move(kll *l, kir_ref n, const char *name)
{
	LLVMValueRef pitch =
	    LLVMConstInt(l->i64, (uint64_t)kir_attr_of(l->f, n, KIR_ATTR_pitch), false);
	LLVMValueRef arg[3] = { number(l, n, 0), kll_address(l, n, 0), pitch };

	return kll_call(l, name, NULL, 0, arg, 3);
}

LLVMValueRef kx86_tiles(kll *l, kir_ref n)
{
	const kir_node *x = kir_at(l->f, n);
	LLVMValueRef arg[3];
	char name[40];

	if (!kir_is_amx((kir_op)x->op))
		return NULL;
	if (!(l->f->target->features & KIR_HAS_amx_tile))
		return kll_fail(l, n, "needs a target with amx_tile, not %s",
		                l->f->target->name);
	arg[0] = number(l, n, 0);
	switch (x->op) {
	case KIR_OP_amx_tile: return declare(l, n);
	case KIR_OP_amx_zero: return kll_call(l, "llvm.x86.tilezero", NULL, 0, arg, 1);
	case KIR_OP_amx_load:
		return move(l, n,
		            x->attr[2] == KIR_HINT_t1 ? "llvm.x86.tileloaddt164"
		                                      : "llvm.x86.tileloadd64");
	case KIR_OP_amx_store: return move(l, n, "llvm.x86.tilestored64");
	default: break;
	}
	arg[1] = number(l, n, 1);
	arg[2] = number(l, n, 2);
	/* amx.dpbssd is llvm.x86.tdpbssd */
	snprintf(name, sizeof name, "llvm.x86.t%s", kir_ops[x->op].name + 4);
	return kll_call(l, name, NULL, 0, arg, 3);
}

void kx86_leave(kll *l)
{
	if (has_tiles(l->f))
		kll_call(l, "llvm.x86.tilerelease", NULL, 0, NULL, 0);
}
