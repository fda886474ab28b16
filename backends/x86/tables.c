/* SPDX-License-Identifier: Apache-2.0 */
/* tables.c -- tables of bytes that permutations look codes up in.
 *
 * As a literal operand a table is 64 constants, which LLVM makes, compares and hashes anew in
 * each block that uses it: 5 % of a cold compile of nvfp4 decode. In memory it is a load, and
 * the machine code is the same.
 */
#include "x86.h"

/* The module's table of these bytes: constants are unique in a context, so are their tables. */
static LLVMValueRef table_of(kll *l, LLVMValueRef bytes)
{
	LLVMValueRef g = LLVMGetFirstGlobal(l->m);

	while (g && LLVMGetInitializer(g) != bytes)
		g = LLVMGetNextGlobal(g);
	if (g)
		return g;
	g = LLVMAddGlobal(l->m, LLVMTypeOf(bytes), "table");
	LLVMSetInitializer(g, bytes);
	LLVMSetLinkage(g, LLVMPrivateLinkage);
	LLVMSetUnnamedAddress(g, LLVMGlobalUnnamedAddr);
	LLVMSetGlobalConstant(g, true);
	LLVMSetAlignment(g, KX86_TABLE);
	/* Otherwise early-cse would put the literal back; nobody writes to it all the same. */
	LLVMSetExternallyInitialized(g, true);
	return g;
}

LLVMValueRef kx86_table(kll *l, LLVMValueRef *each)
{
	LLVMValueRef bytes = LLVMConstVector(each, KX86_TABLE), load;
	unsigned kind = LLVMGetMDKindIDInContext(l->c, "invariant.load", 14);

	load = LLVMBuildLoad2(l->b, LLVMTypeOf(bytes), table_of(l, bytes), "");
	LLVMSetAlignment(load, KX86_TABLE);
	LLVMSetMetadata(load, kind,
	                LLVMMetadataAsValue(l->c, LLVMMDNodeInContext2(l->c, NULL, 0)));
	return load;
}

LLVMValueRef kx86_permute(kll *l, LLVMValueRef x, const unsigned *from)
{
	LLVMValueRef at[KX86_TABLE];

	for (unsigned i = 0; i < KX86_TABLE; i++)
		at[i] = LLVMConstInt(l->i8, from[i], false);
	return kll_call(l, "llvm.x86.avx512.permvar.qi.512", NULL, 0,
	                (LLVMValueRef[]){ x, kx86_table(l, at) }, 2);
}
