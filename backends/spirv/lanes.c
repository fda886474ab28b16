/* SPDX-License-Identifier: Apache-2.0 */
/* lanes.c -- a sub-group's lanes: which one this is, and elements that go from one to another.
 *
 * A vector is cut into blocks of `own` elements, lane i has block i. An op that moves elements
 * says for each element of its result where it comes from (a number, computed from the lane's);
 * that is at most one shuffle for each element a lane holds of the operand, and a choice. Where
 * an op leaves blocks in their lanes nothing is moved.
 *
 * Functions are called by the names that OpenCL C's compilers give them; both emitters know
 * those and make core SPIR-V 1.3 of them: GroupNonUniformShuffle, ControlBarrier.
 */
#include "emit.h"
#include "spirv.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* -- calls ---------------------------------------------------------------------------- */

static void add_attribute(kll *l, LLVMValueRef f, const char *name)
{
	unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));

	LLVMAddAttributeAtIndex(f, LLVMAttributeFunctionIndex,
	                        LLVMCreateEnumAttribute(l->c, kind, 0));
}

LLVMValueRef kspv_call(kll *l, const char *name, LLVMTypeRef result, LLVMValueRef *arg,
                       unsigned narg, bool converges)
{
	LLVMValueRef f = LLVMGetNamedFunction(l->m, name), call;
	LLVMTypeRef type[KSPV_MAX_ARGS], t;

	for (unsigned i = 0; i < narg; i++)
		type[i] = LLVMTypeOf(arg[i]);
	t = LLVMFunctionType(result, type, narg, false);
	if (!f) {
		f = LLVMAddFunction(l->m, name, t);
		LLVMSetFunctionCallConv(f, LLVMSPIRFUNCCallConv);
		add_attribute(l, f, "nounwind");
		if (converges)
			add_attribute(l, f, "convergent");
	}
	call = LLVMBuildCall2(l->b, t, f, arg, narg, "");
	LLVMSetInstructionCallConv(call, LLVMSPIRFUNCCallConv);
	return call;
}

/* Its own lane and function while its body is built. */
static void new_function(kll *l, const char *name, LLVMTypeRef t, unsigned narg,
                         kspv_body *body, void *ctx)
{
	LLVMBasicBlockRef now = LLVMGetInsertBlock(l->b);
	LLVMValueRef f = LLVMAddFunction(l->m, name, t), param[KSPV_MAX_ARGS];
	LLVMValueRef caller = l->fn, lane = kspv_of(l)->lane;

	LLVMSetLinkage(f, LLVMInternalLinkage);
	LLVMSetFunctionCallConv(f, LLVMSPIRFUNCCallConv);
	add_attribute(l, f, "nounwind");
	add_attribute(l, f, "convergent");
	add_attribute(l, f, "alwaysinline");
	LLVMGetParams(f, param);
	l->fn = f;
	kspv_of(l)->lane = param[narg];
	LLVMPositionBuilderAtEnd(l->b, LLVMAppendBasicBlockInContext(l->c, f, ""));
	LLVMBuildRet(l->b, body(l, param, ctx));
	LLVMPositionBuilderAtEnd(l->b, now);
	l->fn = caller;
	kspv_of(l)->lane = lane;
}

LLVMValueRef kspv_once(kll *l, const char *name, LLVMTypeRef result, const LLVMValueRef *args,
                       unsigned narg, kspv_body *body, void *ctx)
{
	LLVMValueRef arg[KSPV_MAX_ARGS];
	LLVMTypeRef type[KSPV_MAX_ARGS];

	memcpy(arg, args, narg * sizeof *arg);
	if (!kspv_takes_functions || !kspv_has_engine(l->f->target))
		return body(l, arg, ctx);
	arg[narg] = kspv_lane(l);
	for (unsigned i = 0; i <= narg; i++)
		type[i] = LLVMTypeOf(arg[i]);
	if (!LLVMGetNamedFunction(l->m, name))
		new_function(l, name, LLVMFunctionType(result, type, narg + 1, false), narg,
		             body, ctx);
	return kspv_call(l, name, result, arg, narg + 1, true);
}

LLVMValueRef kspv_group(kll *l)
{
	LLVMValueRef zero = LLVMConstInt(l->i32, 0, false);

	return kspv_call(l, "_Z12get_group_idj", l->i64, &zero, 1, false);
}

/* Asked for once, where it is known in every block. */
LLVMValueRef kspv_lane(kll *l)
{
	LLVMBasicBlockRef now = LLVMGetInsertBlock(l->b);
	LLVMValueRef first = LLVMGetFirstInstruction(l->entry);
	kspv *k = kspv_of(l);

	if (k->lane)
		return k->lane;
	if (first)
		LLVMPositionBuilderBefore(l->b, first);
	k->lane = kspv_call(l, "_Z22get_sub_group_local_idv", l->i32, NULL, 0, false);
	LLVMPositionBuilderAtEnd(l->b, now);
	return k->lane;
}

LLVMValueRef kspv_first(kll *l, unsigned own)
{
	LLVMValueRef lane = kspv_lane(l);

	return own <= 1 ? lane : LLVMBuildMul(l->b, lane, LLVMConstInt(l->i32, own, false), "");
}

/* Holds the lanes and orders their memory, as SPIR-V asks for between a store of one lane and a
 * load of another. Intel's compiler for GPUs makes less of it than of a memory barrier alone,
 * as lanes of one thread go together anyway; the one for processors makes a fence for each lane
 * of a memory barrier, and nothing of this (docs/backend-spirv.md, "Speed"). */
void kspv_barrier(kll *l)
{
	enum {
		SUBGROUP = 3,
		ACQUIRE_RELEASE = 0x8,
		GROUP_MEMORY = 0x100,
		DEVICE_MEMORY = 0x200
	};
	LLVMValueRef arg[3] = {
		LLVMConstInt(l->i32, SUBGROUP, false), LLVMConstInt(l->i32, SUBGROUP, false),
		LLVMConstInt(l->i32, ACQUIRE_RELEASE | GROUP_MEMORY | DEVICE_MEMORY, false)
	};

	kspv_call(l, "_Z22__spirv_ControlBarrierjjj", LLVMVoidTypeInContext(l->c), arg, 3,
	          true);
}

/* -- elements ------------------------------------------------------------------------- */

static LLVMValueRef word(kll *l, unsigned x)
{
	return LLVMConstInt(l->i32, x, false);
}

unsigned kspv_split(kll *l, LLVMValueRef v, LLVMValueRef *each)
{
	unsigned n = kll_width(v);

	if (!n) {
		each[0] = v;
		return 1;
	}
	for (unsigned i = 0; i < n; i++)
		each[i] = LLVMBuildExtractElement(l->b, v, word(l, i), "");
	return n;
}

LLVMValueRef kspv_build(kll *l, const LLVMValueRef *each, unsigned n)
{
	LLVMValueRef v;

	if (n == 1)
		return each[0];
	v = LLVMGetUndef(LLVMVectorType(LLVMTypeOf(each[0]), n));
	for (unsigned i = 0; i < n; i++)
		v = LLVMBuildInsertElement(l->b, v, each[i], word(l, i), "");
	return v;
}

/* x of lane `lane`, any scalar; what a lane that isn't there would have is of no use. Devices
 * shuffle words; smaller ones are widened. */
static LLVMValueRef shuffle(kll *l, LLVMValueRef x, LLVMValueRef lane)
{
	LLVMTypeRef t = LLVMTypeOf(x), bits = t, wide = l->i32;
	LLVMValueRef arg[2];

	if (t == l->f32)
		bits = l->i32;
	if (t == l->f64)
		bits = l->i64;
	if (bits == l->i64)
		wide = l->i64;
	x = LLVMBuildBitCast(l->b, x, bits, "");
	if (LLVMGetIntTypeWidth(bits) < 32)
		x = LLVMBuildZExt(l->b, x, wide, "");
	arg[0] = x;
	arg[1] = LLVMBuildAnd(l->b, lane, word(l, l->o->spread - 1), "");
	x = kspv_call(l, wide == l->i64 ? "_Z17sub_group_shufflemj" : "_Z17sub_group_shufflejj",
	              wide, arg, 2, true);
	if (LLVMGetIntTypeWidth(bits) < 32)
		x = LLVMBuildTrunc(l->b, x, bits, "");
	return LLVMBuildBitCast(l->b, x, t, "");
}

/* Element `at` of the vector that lanes hold x of, whoever holds it. */
static LLVMValueRef element(kll *l, LLVMValueRef x, LLVMValueRef at)
{
	LLVMValueRef each[KLL_MAX_OWN], lane = at, which = NULL, r = NULL;
	unsigned n = kspv_split(l, x, each);

	if (n > 1) {
		lane = LLVMBuildLShr(l->b, at, word(l, (unsigned)__builtin_ctz(n)), "");
		which = LLVMBuildAnd(l->b, at, word(l, n - 1), "");
	}
	for (unsigned i = 0; i < n; i++) {
		LLVMValueRef y = shuffle(l, each[i], lane);

		r = r ? kll_select(l, LLVMBuildICmp(l->b, LLVMIntEQ, which, word(l, i), ""), y,
		                   r)
		      : y;
	}
	return r;
}

static LLVMValueRef deal(kll *l, LLVMValueRef *arg, void *ctx)
{
	LLVMValueRef each[KLL_MAX_OWN];
	unsigned own = *(unsigned *)ctx;

	for (unsigned i = 0; i < own; i++)
		each[i] =
		    element(l, arg[0], LLVMBuildAdd(l->b, kspv_first(l, own), word(l, i), ""));
	return kspv_build(l, each, own);
}

/* x's element, which vectors of it are made of, and its name. */
static LLVMTypeRef element_of(kll *l, LLVMValueRef x, const char **name)
{
	LLVMTypeRef t = LLVMTypeOf(x), e = kll_width(x) ? LLVMGetElementType(t) : t;

	*name = e == l->f32   ? "f32"
	        : e == l->f64 ? "f64"
	        : e == l->i64 ? "i64"
	        : e == l->i32 ? "i32"
	        : e == l->i16 ? "i16"
	        : e == l->i8  ? "i8"
	                      : "i1";
	return e;
}

/* The same vector in blocks of `own`. */
static LLVMValueRef in_blocks(kll *l, LLVMValueRef x, unsigned own)
{
	unsigned now = kll_width(x) ? kll_width(x) : 1;
	LLVMTypeRef e;
	const char *en;
	char name[48];

	if (now == own)
		return x;
	e = element_of(l, x, &en);
	snprintf(name, sizeof name, "blocks_%s_%u_of_%u", en, own, now);
	return kspv_once(l, name, kll_vec(e, own > 1 ? own : 0), &x, 1, deal, &own);
}

/* -- reductions ------------------------------------------------------------------------ */

/* Elements beyond the last repeat the first, or are 0 in a sum: neither changes the result. */
static void fill(kll *l, kir_ref n, LLVMValueRef *each, unsigned own)
{
	unsigned lanes = kll_lanes(l, kir_src(l->f, n, 0));
	bool sum = l->f->node[n].op == KIR_OP_reduce_add;
	LLVMValueRef rest;

	if (lanes == own * l->o->spread)
		return;
	rest = sum ? LLVMConstNull(LLVMTypeOf(each[0])) : shuffle(l, each[0], word(l, 0));
	for (unsigned i = 0; i < own; i++) {
		LLVMValueRef at = LLVMBuildAdd(l->b, kspv_first(l, own), word(l, i), "");

		at = LLVMBuildICmp(l->b, LLVMIntULT, at, word(l, lanes), "");
		each[i] = kll_select(l, at, each[i], rest);
	}
}

/* Whether n is the largest of f32 and only asked whether it is larger than something, so that
 * NaN of nothing but NaN may as well be -inf. The function for it gives one number, also as
 * compilers see it: no branch on it splits the lanes. */
static bool is_asked(const kll *l, kir_ref n)
{
	const kir_func *f = l->f;

	if (f->node[n].op != KIR_OP_reduce_max || kll_elem(l, n) != KIR_f32)
		return false;
	for (kir_ref u = n + 1; u < f->nnode; u++)
		for (unsigned i = 0; i < f->node[u].nsrc; i++)
			if (kir_src(f, u, i) == n && (f->node[u].op != KIR_OP_gt || i))
				return false;
	return true;
}

/* The largest over the lanes. What the function makes of NaN beside numbers isn't said. */
static LLVMValueRef largest(kll *l, LLVMValueRef x)
{
	LLVMValueRef arg[2] = { x, LLVMConstReal(l->f32, -INFINITY) };

	x = kspv_call(l, "_Z4fmaxff", l->f32, arg, 2, false);
	return kspv_call(l, "_Z20sub_group_reduce_maxf", l->f32, &x, 1, true);
}

LLVMValueRef kspv_across(kll *l, kir_ref n, LLVMValueRef x)
{
	LLVMValueRef each[KLL_MAX_OWN];
	unsigned own = kspv_split(l, x, each);

	fill(l, n, each, own);
	for (; own > 1; own /= 2)
		for (unsigned i = 0; i < own / 2; i++)
			each[i] = kll_reduce_step(l, n, each[i], each[own / 2 + i]);
	if (is_asked(l, n) && kspv_has_engine(l->f->target))
		return largest(l, each[0]);
	for (unsigned far = l->o->spread / 2; far; far /= 2) {
		LLVMValueRef lane = LLVMBuildXor(l->b, kspv_lane(l), word(l, far), "");

		each[0] = kll_reduce_step(l, n, each[0], shuffle(l, each[0], lane));
	}
	return each[0];
}

/* -- ops ------------------------------------------------------------------------------- */

static LLVMValueRef iota(kll *l, kir_ref n)
{
	kir_elem e = kll_elem(l, n);
	LLVMTypeRef t = kll_elem_type(l, e);
	unsigned own = kll_own(l, n) ? kll_own(l, n) : 1;
	LLVMValueRef each[KLL_MAX_OWN];

	if (kir_is_float(e) && e != KIR_f32 && e != KIR_f64)
		return kll_fail(l, n, "of f32, f64 or an integer type only");
	for (unsigned i = 0; i < own; i++) {
		each[i] = LLVMBuildAdd(l->b, kspv_first(l, own), word(l, i), "");
		each[i] = kir_is_float(e) ? LLVMBuildUIToFP(l->b, each[i], t, "")
		                          : LLVMBuildIntCast2(l->b, each[i], t, false, "");
	}
	return kspv_build(l, each, own);
}

/* Lane by lane as far as a lane has whole elements of both types. */
static LLVMValueRef bitcast(kll *l, kir_ref n)
{
	kir_ref src = kir_src(l->f, n, 0);
	unsigned from = kir_elem_bytes(kll_elem(l, src)), to = kir_elem_bytes(kll_elem(l, n));
	LLVMValueRef x = l->val[src];
	LLVMTypeRef t = kll_elem_type(l, kll_elem(l, n));
	unsigned own = kll_width(x) ? kll_width(x) : 1, want = kll_own(l, n);

	if (own * from < to) {
		own = to / from;
		x = in_blocks(l, x, own);
	}
	own = own * from / to;
	x = LLVMBuildBitCast(l->b, x, kll_vec(t, own > 1 ? own : 0), "");
	return in_blocks(l, x, want ? want : 1);
}

/* Where element i of the result comes from: of x, or of y if that is where it is from. */
typedef struct source {
	LLVMValueRef at, of_y;
} source;

/* Of `count` lanes. */
static source source_of(kll *l, kir_ref n, LLVMValueRef i, unsigned count)
{
	LLVMValueRef lanes = word(l, count), half = word(l, count / 2);
	LLVMValueRef one = word(l, 1);
	source s = { i, NULL };

	switch (l->f->node[n].op) {
	case KIR_OP_half_lo: return s;
	case KIR_OP_half_hi: s.at = LLVMBuildAdd(l->b, i, lanes, ""); return s;
	case KIR_OP_zip_lo:
	case KIR_OP_zip_hi:
		s.of_y = LLVMBuildAnd(l->b, i, one, "");
		s.of_y = LLVMBuildICmp(l->b, LLVMIntNE, s.of_y, word(l, 0), "");
		s.at = LLVMBuildLShr(l->b, i, one, "");
		if (l->f->node[n].op == KIR_OP_zip_hi)
			s.at = LLVMBuildAdd(l->b, s.at, half, "");
		return s;
	case KIR_OP_unzip_lo:
	case KIR_OP_unzip_hi:
		i = LLVMBuildShl(l->b, i, one, "");
		if (l->f->node[n].op == KIR_OP_unzip_hi)
			i = LLVMBuildAdd(l->b, i, one, "");
		half = lanes;
		break;
	default: break; /* join */
	}
	s.of_y = LLVMBuildICmp(l->b, LLVMIntUGE, i, half, "");
	s.at = kll_select(l, s.of_y, LLVMBuildSub(l->b, i, half, ""), i);
	return s;
}

static LLVMValueRef moved(kll *l, LLVMValueRef *arg, void *ctx)
{
	kir_ref n = *(kir_ref *)ctx;
	LLVMValueRef each[KLL_MAX_OWN];
	unsigned own = kll_own(l, n) ? kll_own(l, n) : 1;

	unsigned within = (unsigned)kir_attr_of(l->f, n, KIR_ATTR_within);

	for (unsigned i = 0; i < own; i++) {
		LLVMValueRef at = LLVMBuildAdd(l->b, kspv_first(l, own), word(l, i), ""), base;
		source s;

		if (within) {
			base = at;
			at = LLVMBuildURem(l->b, at, word(l, within), "");
			base = LLVMBuildSub(l->b, base, at, "");
			s = source_of(l, n, at, within);
			s.at = LLVMBuildAdd(l->b, s.at, base, "");
		} else {
			s = source_of(l, n, at, kll_lanes(l, n));
		}
		each[i] = element(l, arg[0], s.at);
		if (s.of_y)
			each[i] = kll_select(l, s.of_y, element(l, arg[1], s.at), each[i]);
	}
	return kspv_build(l, each, own);
}

static LLVMValueRef rearrange(kll *l, kir_ref n)
{
	LLVMValueRef arg[2] = { l->val[kir_src(l->f, n, 0)] };
	unsigned own = kll_own(l, n), narg = l->f->node[n].nsrc;
	char name[64];
	const char *en;
	LLVMTypeRef e = element_of(l, arg[0], &en);

	if (l->f->node[n].op == KIR_OP_half_lo)
		return in_blocks(l, arg[0], own ? own : 1);
	if (narg > 1)
		arg[1] = l->val[kir_src(l->f, n, 1)];
	snprintf(name, sizeof name, "%s_%s_%u_%u", kir_ops[l->f->node[n].op].name, en,
	         kll_lanes(l, n), (unsigned)kir_attr_of(l->f, n, KIR_ATTR_within));
	return kspv_once(l, name, kll_vec(e, own > 1 ? own : 0), arg, narg, moved, &n);
}

static LLVMValueRef dp(kll *l, kir_ref n)
{
	LLVMValueRef acc = l->val[kir_src(l->f, n, 0)];
	kir_ref x = kir_src(l->f, n, 1), y = kir_src(l->f, n, 2);
	unsigned lanes = kll_lanes(l, n) ? kll_lanes(l, n) : 1, own = kll_width(acc);
	unsigned k = (own ? own : 1) * (kll_lanes(l, x) / lanes);

	return kll_dp_of(l, n, acc, in_blocks(l, l->val[x], k), in_blocks(l, l->val[y], k));
}

LLVMValueRef kspv_moves(kll *l, kir_ref n)
{
	switch (l->f->node[n].op) {
	case KIR_OP_iota: return iota(l, n);
	case KIR_OP_bitcast:
		return kll_lanes(l, n) || kll_lanes(l, kir_src(l->f, n, 0)) ? bitcast(l, n)
		                                                            : NULL;
	case KIR_OP_dp: return dp(l, n);
	case KIR_OP_zip_lo:
	case KIR_OP_zip_hi:
	case KIR_OP_unzip_lo:
	case KIR_OP_unzip_hi:
	case KIR_OP_half_lo:
	case KIR_OP_half_hi:
	case KIR_OP_join: return rearrange(l, n);
	default: return NULL;
	}
}
