/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c -- addresses, loads, stores.
 *
 * An index is kept as a variable part plus a literal as long as the pieces of the buffer allow,
 * so that accesses which differ by literals share one pointer and the rest becomes the
 * displacement of the instruction. What makes that possible is how many low bits of the
 * variable part are known to be zero: a loop that steps by 16 through a buffer packed by 16
 * needs no division at all. Indices aren't negative.
 *
 * Accesses claim no alignment beyond a byte: pointers and strides are the caller's, and on x86
 * an aligned instruction is no faster.
 */
#include "lower.h"

#include <llvm/Config/llvm-config.h>

#include <string.h>

typedef struct part {
	LLVMValueRef var; /* s64; NULL: 0                                     */
	int64_t add;
	unsigned zeros; /* low bits of var known to be zero                  */
} part;

static unsigned smaller(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Node n as an index; of a vector, its given lane. */
static part part_of(kll *l, kir_ref n, unsigned lane)
{
	kir_ref x = kir_src(l->f, n, 0), y = kir_src(l->f, n, 1);
	bool wide = kll_elem(l, n) == KIR_s64;
	part p = { NULL, 0, KIR_ZEROS_MAX };

	if (kir_is_const(l->f, n, &p.add))
		return p;
	if (l->f->node[n].op == KIR_OP_add && wide) {
		int64_t lit;

		if (kir_is_const(l->f, y, &lit)) {
			p = part_of(l, x, lane);
			p.add += lit;
			return p;
		}
		if (kir_is_const(l->f, x, &lit)) {
			p = part_of(l, y, lane);
			p.add += lit;
			return p;
		}
	}
	p.var = l->val[n];
	if (kll_width(p.var))
		p.var =
		    LLVMBuildExtractElement(l->b, p.var, LLVMConstInt(l->i32, lane, false), "");
	if (!wide)
		p.var = kir_is_signed(kll_elem(l, n)) ? LLVMBuildSExt(l->b, p.var, l->i64, "")
		                                      : LLVMBuildZExt(l->b, p.var, l->i64, "");
	p.zeros = kir_zeros(l->f, n);
	return p;
}

static int64_t floor_div(int64_t x, int64_t d)
{
	return x / d - (x % d < 0);
}

static LLVMValueRef plus(kll *l, LLVMValueRef x, int64_t add)
{
	if (!add)
		return x;
	return LLVMBuildAdd(l->b, x, LLVMConstInt(l->i64, (uint64_t)add, true), "");
}

static bool is_pow2(int64_t x)
{
	return x > 0 && !(x & (x - 1));
}

static part divide(kll *l, part p, int64_t d)
{
	int64_t grain = (int64_t)1 << p.zeros;
	LLVMValueRef by = LLVMConstInt(l->i64, (uint64_t)d, false);

	if (!p.var || grain % d == 0) {
		p.add = floor_div(p.add, d);
		if (p.var) {
			p.var = LLVMBuildLShr(l->b, p.var,
			                      LLVMConstInt(l->i64, kir_zeros_of(d), false), "");
#if LLVM_VERSION_MAJOR >= 18
			if (LLVMIsABinaryOperator(p.var)) /* its bits go where zeros were */
				LLVMSetExact(p.var, true);
#endif
			p.zeros -= kir_zeros_of(d);
		}
		return p;
	}
	if (d % grain == 0) /* what is below the grain can't change the quotient */
		p.add = floor_div(p.add, grain) * grain;
	p.var = plus(l, p.var, p.add);
	p.var = is_pow2(d) ? LLVMBuildLShr(l->b, p.var,
	                                   LLVMConstInt(l->i64, kir_zeros_of(d), false), "")
	                   : LLVMBuildUDiv(l->b, p.var, by, "");
	return (part){ p.var, 0, 0 };
}

static part modulo(kll *l, part p, int64_t m)
{
	int64_t grain = (int64_t)1 << p.zeros, low = 0;

	if (!p.var || grain % m == 0) {
		p.add -= floor_div(p.add, m) * m;
		p.var = NULL;
		return p;
	}
	if (m % grain == 0) /* the part below the grain passes through */
		low = p.add - floor_div(p.add, grain) * grain;
	else
		p.zeros = 0;
	p.var = plus(l, p.var, p.add - low);
	p.var =
	    is_pow2(m)
	        ? LLVMBuildAnd(l->b, p.var, LLVMConstInt(l->i64, (uint64_t)m - 1, false), "")
	        : LLVMBuildURem(l->b, p.var, LLVMConstInt(l->i64, (uint64_t)m, false), "");
	p.add = low;
	return p;
}

/* The parameter a buffer's memory belongs to; -1 for a local. */
static int root_of(const kll *l, kir_ref buf)
{
	while (l->f->node[buf].op == KIR_OP_view)
		buf = kir_src(l->f, buf, 0);
	for (unsigned i = 0; i < l->f->nparam; i++)
		if (l->f->param[i].node == buf)
			return (int)i;
	return -1;
}

/* Of the indexed element; of a gather, of its given lane. */
static LLVMValueRef address(kll *l, kir_ref n, kir_ref buf, unsigned first, unsigned nindex,
                            unsigned lane)
{
	const kir_type *t = kir_type_of(l->f, buf);
	int root = root_of(l, buf);
	LLVMValueRef var = NULL, at = l->val[buf];
	int64_t offset = 0;

	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *k = &t->piece[i];
		if (k->axis >= nindex)
			continue;
		part p = part_of(l, kir_src(l->f, n, first + k->axis), lane);
		LLVMValueRef stride = LLVMConstInt(l->i64, (uint64_t)k->stride, true), term;

		if (k->div > 1)
			p = divide(l, p, k->div);
		if (k->mod > 0)
			p = modulo(l, p, k->mod);
		if (k->dyn) {
			if (root < 0)
				return kll_fail(l, n, "a local buffer has no run-time strides");
			stride = LLVMGetParam(l->fn, l->arg[root] + 1 + (unsigned)k->stride);
			p.var = p.var ? plus(l, p.var, p.add)
			              : LLVMConstInt(l->i64, (uint64_t)p.add, true);
			p.add = 0;
		}
		offset += p.add * k->stride;
		if (!p.var)
			continue;
		term = LLVMBuildMul(l->b, p.var, stride, "");
		var = var ? LLVMBuildAdd(l->b, var, term, "") : term;
	}
	if (var)
		at = LLVMBuildGEP2(l->b, l->i8, at, &var, 1, "");
	if (offset) {
		LLVMValueRef add = LLVMConstInt(l->i64, (uint64_t)offset, true);
		at = LLVMBuildGEP2(l->b, l->i8, at, &add, 1, "");
	}
	return at;
}

LLVMValueRef kll_address(kll *l, kir_ref n, unsigned element)
{
	kir_ref buf, upto;
	unsigned first, nindex;

	kir_access(l->f, n, &buf, &first, &nindex, &upto);
	return address(l, n, buf, first, nindex, element);
}

/* Low bits of i / div % mod that are zero, if z of i are; KIR_ZEROS_MAX: it is 0. */
static unsigned piece_zeros(const kir_piece *k, unsigned z)
{
	bool whole = k->mod > 0 && !(k->mod & (k->mod - 1)); /* a power of two */

	if (k->div > 1)
		z = !(k->div & (k->div - 1)) && z >= kir_zeros_of(k->div)
		        ? z - kir_zeros_of(k->div)
		        : 0;
	if (k->mod <= 0)
		return z;
	if (whole && z >= kir_zeros_of(k->mod))
		return KIR_ZEROS_MAX;
	return smaller(z, kir_zeros_of(k->mod));
}

/* Low bits of the distance of the indexed element from the start of buf that are zero. */
static unsigned zeros_in(const kll *l, kir_ref n, kir_ref buf, unsigned first, unsigned nindex)
{
	const kir_type *t = kir_type_of(l->f, buf);
	unsigned zeros = KIR_ZEROS_MAX;

	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *k = &t->piece[i];
		unsigned step = k->dyn ? KIR_ZEROS_MAX : kir_zeros_of(k->stride);

		int64_t lit;

		if (k->axis >= nindex)
			continue;
		if (kir_is_const(l->f, kir_src(l->f, n, first + k->axis), &lit) && !lit)
			continue;
		step += piece_zeros(k, kir_zeros(l->f, kir_src(l->f, n, first + k->axis)));
		zeros = smaller(zeros, step);
	}
	return zeros;
}

unsigned kll_zeros(const kll *l, kir_ref n)
{
	kir_ref buf, upto;
	unsigned first, nindex, zeros;

	kir_access(l->f, n, &buf, &first, &nindex, &upto);
	zeros = zeros_in(l, n, buf, first, nindex);
	for (; l->f->node[buf].op == KIR_OP_view; buf = kir_src(l->f, buf, 0))
		zeros = smaller(zeros, kir_zeros_of(kir_attr_of(l->f, buf, KIR_ATTR_offset)));
	return zeros;
}

static LLVMValueRef value_of(kll *l, part p)
{
	return p.var ? plus(l, p.var, p.add) : LLVMConstInt(l->i64, (uint64_t)p.add, true);
}

LLVMValueRef kll_count(kll *l, kir_ref n)
{
	const kir_func *f = l->f;
	bool whole_op = f->node[n].op == KIR_OP_load || f->node[n].op == KIR_OP_store;
	kir_ref buf, upto;
	unsigned first, nindex;
	LLVMValueRef count;

	kir_access(f, n, &buf, &first, &nindex, &upto);
	if (!upto)
		return NULL;
	count = value_of(l, part_of(l, upto, 0));
	if (!whole_op || nindex != kir_type_of(f, buf)->rank)
		return count;
	/* load and store count rows from the buffer's start, vload from the index */
	return LLVMBuildSub(l->b, count,
	                    value_of(l, part_of(l, kir_src(f, n, first + nindex - 1), 0)), "");
}

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
