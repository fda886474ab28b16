/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c -- views, locals, loads, stores.
 *
 * Accesses claim no alignment beyond a byte: pointers and strides are the caller's, and on x86
 * an aligned instruction is no faster. Where they point is address.c's.
 */
#include "lower.h"

#include <llvm/Config/llvm-config.h>

#include <string.h>

/* -- lanes below a count --------------------------------------------------------------- */

/* lane < count, compared in integers as wide as the elements that are moved: that is the
 * form in which a machine wants its masks. */
static LLVMValueRef tail_mask(kll *l, LLVMValueRef count, unsigned lanes, unsigned bits)
{
	LLVMTypeRef t = LLVMIntTypeInContext(l->c, lanes > 127 && bits < 16 ? 16 : bits);
	LLVMValueRef zero = LLVMConstInt(l->i64, 0, false), lim, iota[KLL_MAX_LANES];
	LLVMValueRef all = LLVMConstInt(l->i64, lanes, false);

	for (unsigned i = 0; i < lanes; i++)
		iota[i] = LLVMConstInt(t, i, false);
	count = kll_select(l, LLVMBuildICmp(l->b, LLVMIntSGT, count, zero, ""), count, zero);
	count = kll_select(l, LLVMBuildICmp(l->b, LLVMIntSLT, count, all, ""), count, all);
	lim = kll_splat(l, LLVMBuildTrunc(l->b, count, t, ""), lanes);
	return LLVMBuildICmp(l->b, LLVMIntSLT, LLVMConstVector(iota, lanes), lim, "");
}

static void set_align(kll *l, LLVMValueRef call, unsigned arg)
{
	unsigned kind = LLVMGetEnumAttributeKindForName("align", 5);

	LLVMAddCallSiteAttribute(call, arg, LLVMCreateEnumAttribute(l->c, kind, 1));
}

static LLVMValueRef masked(kll *l, LLVMTypeRef t, LLVMValueRef v, LLVMValueRef at,
                           LLVMValueRef mask)
{
	LLVMTypeRef over[2] = { t, l->ptr };
	LLVMValueRef call;

	if (v) {
		call = kll_call(l, "llvm.masked.store", over, 2,
		                (LLVMValueRef[]){ v, at, mask }, 3);
		set_align(l, call, 2);
	} else {
		call = kll_call(l, "llvm.masked.load", over, 2,
		                (LLVMValueRef[]){ at, mask, LLVMConstNull(t) }, 3);
		set_align(l, call, 1);
	}
	return call;
}

static LLVMValueRef whole(kll *l, LLVMTypeRef t, LLVMValueRef v, LLVMValueRef at)
{
	LLVMValueRef r = v ? LLVMBuildStore(l->b, v, at) : LLVMBuildLoad2(l->b, t, at, "");

	LLVMSetAlignment(r, 1);
	return r;
}

/* Stores the first n lanes in pieces of falling powers of two. Not by a mask: LLVM 22 makes a
 * masked store whose mask is a constant with one lane a scalar store of the lane before it is
 * narrowed, so that a byte writes four. */
static void store_first(kll *l, LLVMValueRef v, LLVMValueRef at, unsigned n)
{
	LLVMTypeRef i32 = LLVMInt32TypeInContext(l->c);
	LLVMTypeRef e = LLVMGetElementType(LLVMTypeOf(v));

	for (unsigned done = 0, piece = 1u << 15; piece; piece /= 2) {
		LLVMValueRef lane[KLL_MAX_LANES], some, to;

		if (!(n & piece))
			continue;
		for (unsigned i = 0; i < piece; i++)
			lane[i] = LLVMConstInt(i32, done + i, false);
		some = piece == 1
		           ? LLVMBuildExtractElement(l->b, v, lane[0], "")
		           : LLVMBuildShuffleVector(l->b, v, LLVMGetPoison(LLVMTypeOf(v)),
		                                    LLVMConstVector(lane, piece), "");
		to = LLVMBuildGEP2(
		    l->b, e, at, (LLVMValueRef[]){ LLVMConstInt(l->i64, done, false) }, 1, "");
		LLVMSetAlignment(LLVMBuildStore(l->b, some, to), 1);
		done += piece;
	}
}

/* Moves the first `count` lanes. Where the machine would take a masked move apart lane by
 * lane, a full one gets a way of its own. */
static LLVMValueRef move_upto(kll *l, LLVMTypeRef t, LLVMValueRef v, LLVMValueRef at,
                              LLVMValueRef count)
{
	unsigned lanes = LLVMGetVectorSize(t);
	LLVMTypeRef e = LLVMGetElementType(t);
	unsigned bits = e == l->f32 ? 32 : e == l->f64 ? 64 : LLVMGetIntTypeWidth(e);
	if (v && LLVMIsAConstantInt(count)) {
		long long n = LLVMConstIntGetSExtValue(count);

		store_first(l, v, at, n < 0 ? 0 : n > lanes ? lanes : (unsigned)n);
		return NULL;
	}
	if (bits >= l->o->mask_bits)
		return masked(l, t, v, at, tail_mask(l, count, lanes, bits));

	LLVMBasicBlockRef full = LLVMAppendBasicBlockInContext(l->c, l->fn, "full");
	LLVMBasicBlockRef tail = LLVMAppendBasicBlockInContext(l->c, l->fn, "tail");
	LLVMBasicBlockRef done = LLVMAppendBasicBlockInContext(l->c, l->fn, "moved"), from[2];
	LLVMValueRef all = LLVMConstInt(l->i64, lanes, false), r[2], phi;

	LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntSGE, count, all, ""), full, tail);
	LLVMPositionBuilderAtEnd(l->b, full);
	r[0] = whole(l, t, v, at);
	from[0] = full;
	LLVMBuildBr(l->b, done);
	LLVMPositionBuilderAtEnd(l->b, tail);
	r[1] = masked(l, t, v, at, tail_mask(l, count, lanes, bits));
	from[1] = LLVMGetInsertBlock(l->b);
	LLVMBuildBr(l->b, done);
	LLVMPositionBuilderAtEnd(l->b, done);
	if (v)
		return NULL;
	phi = LLVMBuildPhi(l->b, t, "");
	LLVMAddIncoming(phi, r, from, 2);
	return phi;
}

/* A store past the caches where the address is a multiple of the vector's size, as the
 * instruction demands; a plain one elsewhere. Saves reading lines that will be overwritten
 * whole: a cache write of a long prefill takes two thirds of the time. */
static void stream(kll *l, LLVMValueRef v, LLVMValueRef at, unsigned bytes)
{
	LLVMBasicBlockRef past = LLVMAppendBasicBlockInContext(l->c, l->fn, "past");
	LLVMBasicBlockRef plain = LLVMAppendBasicBlockInContext(l->c, l->fn, "plain");
	LLVMBasicBlockRef done = LLVMAppendBasicBlockInContext(l->c, l->fn, "stored");
	LLVMValueRef low = LLVMBuildPtrToInt(l->b, at, l->i64, ""), st;
	LLVMMetadataRef one = LLVMValueAsMetadata(LLVMConstInt(l->i32, 1, false));
	unsigned kind = LLVMGetMDKindIDInContext(l->c, "nontemporal", 11);

	low = LLVMBuildAnd(l->b, low, LLVMConstInt(l->i64, bytes - 1, false), "");
	low = LLVMBuildICmp(l->b, LLVMIntEQ, low, LLVMConstInt(l->i64, 0, false), "");
	LLVMBuildCondBr(l->b, low, past, plain);
	LLVMPositionBuilderAtEnd(l->b, past);
	st = LLVMBuildStore(l->b, v, at);
	LLVMSetAlignment(st, bytes);
	LLVMSetMetadata(st, kind,
	                LLVMMetadataAsValue(l->c, LLVMMDNodeInContext2(l->c, &one, 1)));
	LLVMBuildBr(l->b, done);
	LLVMPositionBuilderAtEnd(l->b, plain);
	whole(l, NULL, v, at);
	LLVMBuildBr(l->b, done);
	LLVMPositionBuilderAtEnd(l->b, done);
	l->streams = true;
}

/* -- ops ------------------------------------------------------------------------------- */

static LLVMValueRef access_op(kll *l, kir_ref n, bool store)
{
	const kir_func *f = l->f;
	kir_ref value = store ? kir_src(f, n, 0) : n;
	unsigned lanes = kll_lanes(l, value);
	LLVMValueRef at = kll_address(l, n, 0), v = store ? l->val[value] : NULL, count, r;
	kir_elem e = kll_elem(l, value);

	count = kll_count(l, n);
	if (count && !lanes)
		return kll_fail(l, n, "upto needs a vector");
	LLVMTypeRef t = kll_vec(e == KIR_i1 ? l->i8 : kll_elem_type(l, e), lanes);

	if (store && e == KIR_i1)
		v = LLVMBuildZExt(l->b, v, t, "");
	if (store && !count && e != KIR_i1 && lanes && l->o->stream_bytes &&
	    kir_attr_of(f, n, KIR_ATTR_hint) == KIR_HINT_nta &&
	    lanes * kir_elem_bytes(e) == l->o->stream_bytes) {
		stream(l, v, at, l->o->stream_bytes);
		return NULL;
	}
	r = count ? move_upto(l, t, v, at, count) : whole(l, t, v, at);
	if (!store && e == KIR_i1)
		r = LLVMBuildICmp(l->b, LLVMIntNE, r, LLVMConstNull(t), "");
	return r;
}

/* One load a lane: where processors have an instruction for it, it does the same. */
static LLVMValueRef gather(kll *l, kir_ref n)
{
	kir_elem e = kll_elem(l, n);
	unsigned lanes = kll_lanes(l, n);
	LLVMTypeRef t = e == KIR_i1 ? l->i8 : kll_elem_type(l, e);
	LLVMValueRef r = LLVMGetPoison(kll_vec(t, lanes)), x;

	for (unsigned i = 0; i < (lanes ? lanes : 1); i++) {
		x = whole(l, t, NULL, kll_address(l, n, i));
		r = lanes
		        ? LLVMBuildInsertElement(l->b, r, x, LLVMConstInt(l->i32, i, false), "")
		        : x;
	}
	return e == KIR_i1 ? LLVMBuildICmp(l->b, LLVMIntNE, r, LLVMConstNull(LLVMTypeOf(r)), "")
	                   : r;
}

/* LLVM 15 counts in 32 bits, which level V's 256 KiB are far below. */
static LLVMTypeRef array_type(LLVMTypeRef e, uint64_t n)
{
#if LLVM_VERSION_MAJOR >= 17
	return LLVMArrayType2(e, n);
#else
	return LLVMArrayType(e, (unsigned)n);
#endif
}

/* Locals that never live at once have one place on the stack: what is written and read there
 * again and again then stays in the first-level cache. */
static LLVMValueRef local(kll *l, kir_ref n)
{
	const kir_type *t = kir_type_of(l->f, n);
	LLVMBasicBlockRef now = LLVMGetInsertBlock(l->b);
	LLVMValueRef first = LLVMGetFirstInstruction(l->entry);
	LLVMValueRef *at = &l->at[l->slots.of[n]];

	for (unsigned i = 0; i < t->npieces; i++)
		if (t->piece[i].dyn)
			return kll_fail(l, n, "a local buffer has no run-time strides");
	if (*at)
		return *at;
	if (first)
		LLVMPositionBuilderBefore(l->b, first);
	else
		LLVMPositionBuilderAtEnd(l->b, l->entry);
	*at = LLVMBuildAlloca(l->b, array_type(l->i8, l->slots.bytes[l->slots.of[n]]), "");
	LLVMSetAlignment(*at, 64);
	LLVMPositionBuilderAtEnd(l->b, now);
	return *at;
}

static LLVMValueRef prefetch(kll *l, kir_ref n)
{
	static const unsigned locality[] = { 3, 2, 1, 0 }; /* t0, t1, t2, nta */
	int64_t hint = kir_attr_of(l->f, n, KIR_ATTR_hint);
	LLVMValueRef off =
	    LLVMConstInt(l->i64, (uint64_t)kir_attr_of(l->f, n, KIR_ATTR_offset), false);
	LLVMValueRef at = LLVMBuildGEP2(l->b, l->i8, kll_address(l, n, 0), &off, 1, "");
	LLVMValueRef arg[4] = { at, LLVMConstInt(l->i32, 0, false),
		                LLVMConstInt(l->i32, locality[hint & 3], false),
		                LLVMConstInt(l->i32, 1, false) };
	return kll_call(l, "llvm.prefetch", &l->ptr, 1, arg, 4);
}

LLVMValueRef kll_memory(kll *l, kir_ref n)
{
	LLVMValueRef add;

	switch (l->f->node[n].op) {
	case KIR_OP_view:
		add =
		    LLVMConstInt(l->i64, (uint64_t)kir_attr_of(l->f, n, KIR_ATTR_offset), true);
		return LLVMBuildGEP2(l->b, l->i8, l->val[kir_src(l->f, n, 0)], &add, 1, "");
	case KIR_OP_local: return local(l, n);
	case KIR_OP_prefetch: return prefetch(l, n);
	case KIR_OP_gather: return gather(l, n);
	case KIR_OP_store:
	case KIR_OP_vstore: return access_op(l, n, true);
	default: return access_op(l, n, false);
	}
}
