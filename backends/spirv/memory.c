/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c -- local memory, and accesses of a sub-group.
 *
 * A scalar is read and written by all lanes at once. A lane's block of a vector is one access,
 * as aligned as is known; where not all lanes or not whole blocks take part, elements go one by
 * one: reads of what isn't there go to the last element that is, and are put right, so that
 * lanes stay together; a lane skips the stores that aren't its own.
 *
 * Bases and run-time strides are multiples of kir_grain: the runtime refuses others
 * (docs/backend-spirv.md).
 */
#include "spirv.h"

#include <llvm/Config/llvm-config.h>

enum { LOCAL_ZEROS = 6 };

static LLVMValueRef word(kll *l, unsigned x)
{
	return LLVMConstInt(l->i32, x, false);
}

/* LLVM 15's pointers say to what. */
static LLVMValueRef pointer_to(kll *l, LLVMTypeRef t, LLVMValueRef at)
{
#if LLVM_VERSION_MAJOR >= 17
	(void)l;
	(void)t;
	return at;
#else
	unsigned space = LLVMGetPointerAddressSpace(LLVMTypeOf(at));

	return LLVMBuildBitCast(l->b, at, LLVMPointerType(t, space), "");
#endif
}

/* -- local memory ---------------------------------------------------------------------- */

static LLVMValueRef local(kll *l, kir_ref n)
{
	const kir_slots *s = kspv_of(l)->slots;
	unsigned slot = s->of[n];
	LLVMValueRef at = kspv_of(l)->at[slot];

	if (!at) {
		LLVMTypeRef t = LLVMArrayType(l->i8, (unsigned)s->bytes[slot]);

		at = LLVMAddGlobalInAddressSpace(l->m, t, "local", KSPV_LOCAL);
		LLVMSetLinkage(at, LLVMInternalLinkage);
		LLVMSetInitializer(at, LLVMGetUndef(t));
		LLVMSetAlignment(at, 1u << LOCAL_ZEROS);
		kspv_of(l)->at[slot] = at;
	}
	return LLVMConstBitCast(at, LLVMPointerType(l->i8, KSPV_LOCAL));
}

/* -- what an access is ------------------------------------------------------------------- */

typedef struct access {
	LLVMValueRef at;     /* of its first element                                */
	LLVMTypeRef e;       /* in memory                                           */
	unsigned bytes;      /* of an element                                       */
	unsigned lanes, own; /* of the vector and of this lane; lanes 0: a scalar   */
	unsigned align;      /* of `at`                                             */
	LLVMValueRef limit;  /* elements that may be touched, an i32; NULL: all     */
	bool counted;        /* the limit comes from `upto` and may be 0            */
	LLVMValueRef whole;  /* whether it is all; NULL: lanes never have full blocks */
} access;

static unsigned align_of(const kll *l, kir_ref n)
{
	kir_ref buf, upto;
	unsigned first, nindex, zeros = kll_zeros(l, n), most;

	kir_access(l->f, n, &buf, &first, &nindex, &upto);
	buf = kir_root(l->f, buf);
	if (l->f->node[buf].op == KIR_OP_local)
		most = LOCAL_ZEROS;
	else
		most = (unsigned)__builtin_ctz(kir_grain(kir_type_of(l->f, buf)));
	if (zeros > most)
		zeros = most;
	return 1u << zeros;
}

static access access_of(kll *l, kir_ref n, kir_ref value, LLVMValueRef at)
{
	kir_elem e = kll_elem(l, value);
	access a = { .at = at,
		     .e = e == KIR_i1 ? l->i8 : kll_elem_type(l, e),
		     .bytes = kir_elem_bytes(e),
		     .lanes = kll_lanes(l, value),
		     .own = kll_own(l, value) ? kll_own(l, value) : 1 };
	LLVMValueRef count = kll_count(l, n), all = LLVMConstInt(l->i64, a.lanes, false);

	a.align = align_of(l, n);
	if (count) {
		LLVMValueRef none = LLVMConstInt(l->i64, 0, false);
		LLVMValueRef more = LLVMBuildICmp(l->b, LLVMIntSGE, count, all, "");

		if (a.lanes == a.own * l->o->spread)
			a.whole = more;
		count = kll_select(l, more, all, count);
		count = kll_select(l, LLVMBuildICmp(l->b, LLVMIntSGT, count, none, ""), count,
		                   none);
		a.limit = LLVMBuildTrunc(l->b, count, l->i32, "");
		a.counted = true;
	} else if (a.lanes && a.lanes != a.own * l->o->spread) {
		a.limit = word(l, a.lanes);
	}
	return a;
}

/* Element `index` (an i32, not negative) from a.at on. */
static LLVMValueRef element_at(kll *l, const access *a, LLVMValueRef index)
{
	LLVMValueRef far = LLVMBuildZExt(l->b, index, l->i64, "");

	far = LLVMBuildMul(l->b, far, LLVMConstInt(l->i64, a->bytes, false), "");
	return LLVMBuildGEP2(l->b, l->i8, a->at, &far, 1, "");
}

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* -- blocks of code ------------------------------------------------------------------------ */

static LLVMBasicBlockRef new_block(kll *l, const char *name)
{
	return LLVMAppendBasicBlockInContext(l->c, l->fn, name);
}

/* Goes on in a block entered if c holds; *after is where to meet again. */
static void when(kll *l, LLVMValueRef c, LLVMBasicBlockRef *after)
{
	LLVMBasicBlockRef yes = new_block(l, "when");

	*after = new_block(l, "after");
	LLVMBuildCondBr(l->b, c, yes, *after);
	LLVMPositionBuilderAtEnd(l->b, yes);
}

static void meet(kll *l, LLVMBasicBlockRef after)
{
	LLVMBuildBr(l->b, after);
	LLVMPositionBuilderAtEnd(l->b, after);
}

/* -- loads -------------------------------------------------------------------------------- */

LLVMValueRef kspv_load(kll *l, LLVMTypeRef t, LLVMValueRef at, unsigned align)
{
	LLVMValueRef v = LLVMBuildLoad2(l->b, t, pointer_to(l, t, at), "");

	LLVMSetAlignment(v, align);
	return v;
}

static LLVMValueRef load_whole(kll *l, const access *a)
{
	LLVMTypeRef t = kll_vec(a->e, a->own > 1 ? a->own : 0);

	if (!a->lanes)
		return kspv_load(l, t, a->at, a->align);
	return kspv_load(l, t, element_at(l, a, kspv_first(l, a->own)),
	                 least(a->align, a->own * a->bytes));
}

/* Elements below the limit, the rest 0. There is at least one. */
static LLVMValueRef load_some(kll *l, const access *a)
{
	LLVMValueRef each[KLL_MAX_OWN], last = LLVMBuildSub(l->b, a->limit, word(l, 1), "");

	for (unsigned i = 0; i < a->own; i++) {
		LLVMValueRef at = LLVMBuildAdd(l->b, kspv_first(l, a->own), word(l, i), "");
		LLVMValueRef there = LLVMBuildICmp(l->b, LLVMIntULT, at, a->limit, "");

		at = element_at(l, a, kll_select(l, there, at, last));
		each[i] =
		    kll_select(l, there, kspv_load(l, a->e, at, least(a->align, a->bytes)),
		               LLVMConstNull(a->e));
	}
	return kspv_build(l, each, a->own);
}

/* All if that is known here, else those below the limit, if there are any. */
static LLVMValueRef load_upto(kll *l, const access *a)
{
	LLVMTypeRef t = kll_vec(a->e, a->own > 1 ? a->own : 0);
	LLVMBasicBlockRef whole = NULL, rest = new_block(l, "rest"),
	                  some = new_block(l, "some");
	LLVMBasicBlockRef done = new_block(l, "loaded"), from[3];
	LLVMValueRef v[3], phi;
	unsigned n = 0;

	if (a->whole) {
		whole = new_block(l, "whole");
		LLVMBuildCondBr(l->b, a->whole, whole, rest);
		LLVMPositionBuilderAtEnd(l->b, whole);
		v[n] = load_whole(l, a);
		from[n++] = LLVMGetInsertBlock(l->b);
		LLVMBuildBr(l->b, done);
	} else {
		LLVMBuildBr(l->b, rest);
	}
	LLVMPositionBuilderAtEnd(l->b, rest);
	v[n] = LLVMConstNull(t);
	from[n++] = rest;
	LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntEQ, a->limit, word(l, 0), ""), done,
	                some);
	LLVMPositionBuilderAtEnd(l->b, some);
	v[n] = load_some(l, a);
	from[n++] = LLVMGetInsertBlock(l->b);
	LLVMBuildBr(l->b, done);
	LLVMPositionBuilderAtEnd(l->b, done);
	phi = LLVMBuildPhi(l->b, t, "");
	LLVMAddIncoming(phi, v, from, n);
	return phi;
}

static LLVMValueRef is_true(kll *l, LLVMValueRef v)
{
	return LLVMBuildICmp(l->b, LLVMIntNE, v, LLVMConstNull(LLVMTypeOf(v)), "");
}

static LLVMValueRef load(kll *l, kir_ref n)
{
	access a = access_of(l, n, n, kll_address(l, n, 0));
	LLVMValueRef v;

	if (a.limit && !a.lanes)
		return kll_fail(l, n, "upto needs a vector");
	v = !a.limit ? load_whole(l, &a) : !a.counted ? load_some(l, &a) : load_upto(l, &a);
	return kll_elem(l, n) == KIR_i1 ? is_true(l, v) : v;
}

/* An element each; lanes beyond the last one, whose indices are anything, read nothing. */
static LLVMValueRef gather(kll *l, kir_ref n)
{
	access a = access_of(l, n, n, NULL);
	LLVMValueRef each[KLL_MAX_OWN], v;

	for (unsigned i = 0; i < a.own; i++) {
		LLVMBasicBlockRef from[2], after;
		LLVMValueRef some[2], in;

		if (!a.limit) {
			each[i] =
			    kspv_load(l, a.e, kll_address(l, n, i), least(a.align, a.bytes));
			continue;
		}
		in = LLVMBuildAdd(l->b, kspv_first(l, a.own), word(l, i), "");
		in = LLVMBuildICmp(l->b, LLVMIntULT, in, a.limit, "");
		from[0] = LLVMGetInsertBlock(l->b);
		some[0] = LLVMConstNull(a.e);
		when(l, in, &after);
		some[1] = kspv_load(l, a.e, kll_address(l, n, i), least(a.align, a.bytes));
		from[1] = LLVMGetInsertBlock(l->b);
		meet(l, after);
		each[i] = LLVMBuildPhi(l->b, a.e, "");
		LLVMAddIncoming(each[i], some, from, 2);
	}
	v = kspv_build(l, each, a.own);
	return kll_elem(l, n) == KIR_i1 ? is_true(l, v) : v;
}

/* -- stores -------------------------------------------------------------------------------- */

static LLVMValueRef store_at(kll *l, LLVMValueRef v, LLVMValueRef at, unsigned align)
{
	LLVMValueRef s = LLVMBuildStore(l->b, v, pointer_to(l, LLVMTypeOf(v), at));

	LLVMSetAlignment(s, align);
	return s;
}

static void store_whole(kll *l, const access *a, LLVMValueRef v)
{
	if (!a->lanes)
		store_at(l, v, a->at, a->align);
	else
		store_at(l, v, element_at(l, a, kspv_first(l, a->own)),
		         least(a->align, a->own * a->bytes));
}

static void store_some(kll *l, const access *a, LLVMValueRef v)
{
	LLVMValueRef each[KLL_MAX_OWN];
	unsigned own = kspv_split(l, v, each);

	for (unsigned i = 0; i < own; i++) {
		LLVMValueRef at = LLVMBuildAdd(l->b, kspv_first(l, own), word(l, i), "");
		LLVMBasicBlockRef after;

		when(l, LLVMBuildICmp(l->b, LLVMIntULT, at, a->limit, ""), &after);
		store_at(l, each[i], element_at(l, a, at), least(a->align, a->bytes));
		meet(l, after);
	}
}

static LLVMValueRef store(kll *l, kir_ref n)
{
	kir_ref value = kir_src(l->f, n, 0);
	access a = access_of(l, n, value, kll_address(l, n, 0));
	LLVMValueRef v = l->val[value];

	if (a.limit && !a.lanes)
		return kll_fail(l, n, "upto needs a vector");
	if (kll_elem(l, value) == KIR_i1)
		v = LLVMBuildZExt(l->b, v, kll_like(l->i8, v), "");
	if (a.limit && a.whole) {
		LLVMBasicBlockRef whole = new_block(l, "whole"), some = new_block(l, "some");
		LLVMBasicBlockRef done = new_block(l, "stored");

		LLVMBuildCondBr(l->b, a.whole, whole, some);
		LLVMPositionBuilderAtEnd(l->b, whole);
		store_whole(l, &a, v);
		LLVMBuildBr(l->b, done);
		LLVMPositionBuilderAtEnd(l->b, some);
		store_some(l, &a, v);
		meet(l, done);
	} else if (a.limit) {
		store_some(l, &a, v);
	} else {
		store_whole(l, &a, v);
	}
	return LLVMGetUndef(l->i32);
}

LLVMValueRef kspv_memory(kll *l, kir_ref n)
{
	if (kspv_of(l)->barrier[n])
		kspv_barrier(l);
	switch (l->f->node[n].op) {
	case KIR_OP_local: return local(l, n);
	case KIR_OP_load:
	case KIR_OP_vload: return load(l, n);
	case KIR_OP_gather: return gather(l, n);
	case KIR_OP_store:
	case KIR_OP_vstore: return store(l, n);
	case KIR_OP_prefetch: return LLVMGetUndef(l->i32); /* the device's caches know better */
	default: return NULL;
	}
}
