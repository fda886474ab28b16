/* SPDX-License-Identifier: Apache-2.0 */
/* lower.c -- functions, phases and regions.
 *
 * The entry block holds what stands outside the top-level par loops (pure ops and views, so
 * it doesn't matter that every phase computes them) and jumps to the phase asked for. A loop
 * is emitted with its test at the end, guarded by one test before it: nothing of LLVM's
 * middle end has to run to get it into that form.
 */
#include "lower.h"
#include "../../ir/format.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static kir_ref emit_region(kll *l, kir_ref n);

LLVMValueRef kll_fail(kll *l, kir_ref n, const char *fmt, ...)
{
	char msg[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof msg, fmt, ap);
	va_end(ap);
	kir_error(l->why, (int)l->f->node[n].line, 0, "%s: %s", kir_ops[l->f->node[n].op].name,
	          msg);
	l->failed = true;
	if (l->f->node[n].type == KIR_NO_TYPE || kir_type_of(l->f, n)->buffer)
		return LLVMGetPoison(l->ptr);
	return LLVMGetPoison(kll_vec(kll_elem_type(l, kll_elem(l, n)), kll_own(l, n)));
}

static LLVMValueRef literal(kll *l, kir_ref n)
{
	const kir_node *k = kir_at(l->f, n);
	kir_elem e = kll_elem(l, n);
	LLVMTypeRef t = kll_elem_type(l, e);

	if (e == KIR_f32 || e == KIR_f64)
		return LLVMConstReal(t, k->f);
	if (kir_is_float(e))
		return LLVMConstInt(
		    t, kir_encode(e, k->f, KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_sat), false);
	return LLVMConstInt(t, (uint64_t)k->i, true);
}

/* -- regions ---------------------------------------------------------------------- */

static LLVMBasicBlockRef new_block(kll *l, const char *name)
{
	return LLVMAppendBasicBlockInContext(l->c, l->fn, name);
}

/* Enters `from` -> `to` with one value each for what the phis of `to` carry. */
static void add_incoming(LLVMValueRef phi, LLVMValueRef v, LLVMBasicBlockRef from)
{
	LLVMAddIncoming(phi, &v, &from, 1);
}

/* Node n's value, and that it is there from now on. */
static void made(kll *l, kir_ref n, LLVMValueRef v)
{
	LLVMBasicBlockRef now = LLVMGetInsertBlock(l->b);

	l->val[n] = v;
	l->made[n] = (kll_place){ now, LLVMGetLastInstruction(now) };
}

static LLVMValueRef phi_of(kll *l, kir_ref n)
{
	LLVMTypeRef t = kll_vec(kll_elem_type(l, kll_elem(l, n)), kll_own(l, n));

	return LLVMBuildPhi(l->b, t, "");
}

/* Nodes from `first` to `last`, each a `res`, become phis of the current block. Returns the
 * number of results. */
static unsigned open_results(kll *l, kir_ref first)
{
	unsigned n = 0;

	while (first + n < l->f->nnode && l->f->node[first + n].op == KIR_OP_res) {
		made(l, first + n, phi_of(l, first + n));
		n++;
	}
	return n;
}

/* for: lo, hi, start values. `begin`/`end` replace lo and hi for a phase. Returns the node
 * after the loop. */
static kir_ref emit_for(kll *l, kir_ref loop)
{
	const kir_func *f = l->f;
	unsigned ncarry = f->node[loop].nsrc - 2;
	LLVMValueRef lo = l->val[kir_src(f, loop, 0)], hi = l->val[kir_src(f, loop, 1)];
	LLVMValueRef step = LLVMConstInt(l->i64, (uint64_t)kir_for_step(f, loop), false);
	LLVMBasicBlockRef from = LLVMGetInsertBlock(l->b), body = new_block(l, "loop");
	LLVMBasicBlockRef done = new_block(l, "done"), latch;

	LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntSLT, lo, hi, ""), body, done);
	LLVMPositionBuilderAtEnd(l->b, body);
	for (unsigned i = 0; i <= ncarry; i++) {
		kir_ref a = loop + 1 + i;

		made(l, a, phi_of(l, a));
		add_incoming(l->val[a], i ? l->val[kir_src(f, loop, 1 + i)] : lo, from);
	}
	kir_ref around = l->loop;

	l->loop = loop;
	kir_ref yield = emit_region(l, loop + 2 + ncarry);

	l->loop = around;
	latch = LLVMGetInsertBlock(l->b);
	LLVMValueRef next = LLVMBuildNSWAdd(l->b, l->val[loop + 1], step, "");
	add_incoming(l->val[loop + 1], next, latch);
	for (unsigned i = 0; i < ncarry; i++)
		add_incoming(l->val[loop + 2 + i], l->val[kir_src(f, yield, i)], latch);
	LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntSLT, next, hi, ""), body, done);

	LLVMPositionBuilderAtEnd(l->b, done);
	unsigned nres = open_results(l, yield + 1);
	for (unsigned i = 0; i < nres; i++) {
		add_incoming(l->val[yield + 1 + i], l->val[kir_src(f, loop, 2 + i)], from);
		add_incoming(l->val[yield + 1 + i], l->val[kir_src(f, yield, i)], latch);
	}
	return yield + 1 + nres;
}

static kir_ref emit_if(kll *l, kir_ref n)
{
	LLVMBasicBlockRef yes = new_block(l, "then"), no = new_block(l, "else");
	LLVMBasicBlockRef done = new_block(l, "endif"), yes_end, no_end;

	LLVMBuildCondBr(l->b, l->val[kir_src(l->f, n, 0)], yes, no);
	LLVMPositionBuilderAtEnd(l->b, yes);
	kir_ref y1 = emit_region(l, n + 1);
	yes_end = LLVMGetInsertBlock(l->b);
	LLVMBuildBr(l->b, done);
	LLVMPositionBuilderAtEnd(l->b, no);
	kir_ref y2 = emit_region(l, y1 + 1);
	no_end = LLVMGetInsertBlock(l->b);
	LLVMBuildBr(l->b, done);

	LLVMPositionBuilderAtEnd(l->b, done);
	unsigned nres = open_results(l, y2 + 1);
	for (unsigned i = 0; i < nres; i++) {
		add_incoming(l->val[y2 + 1 + i], l->val[kir_src(l->f, y1, i)], yes_end);
		add_incoming(l->val[y2 + 1 + i], l->val[kir_src(l->f, y2, i)], no_end);
	}
	return y2 + 1 + nres;
}

static LLVMValueRef emit_plain(kll *l, kir_ref n)
{
	LLVMValueRef v = l->o->hook ? l->o->hook(l, n) : NULL;

	if (v)
		return v;
	if (kir_ops[l->f->node[n].op].flags & KIR_EACH)
		return l->f->node[n].op == KIR_OP_convert ? kll_convert(l, n) : kll_each(l, n);
	switch (l->f->node[n].op) {
	case KIR_OP_param: return l->val[n];
	case KIR_OP_const: return literal(l, n);
	case KIR_OP_view:
	case KIR_OP_local:
	case KIR_OP_load:
	case KIR_OP_gather:
	case KIR_OP_store:
	case KIR_OP_vload:
	case KIR_OP_vstore:
	case KIR_OP_prefetch: return kll_memory(l, n);
	case KIR_OP_reduce_add:
	case KIR_OP_reduce_max:
	case KIR_OP_reduce_min:
	case KIR_OP_reduce_amax: return kll_reduce(l, n);
	case KIR_OP_dp: return kll_dp(l, n);
	case KIR_OP_x86_dpbusd:
	case KIR_OP_x86_dpbf16:
	case KIR_OP_x86_lut:
	case KIR_OP_x86_lut_lo:
	case KIR_OP_x86_lut_hi:
	case KIR_OP_amx_tile:
	case KIR_OP_amx_zero:
	case KIR_OP_amx_load:
	case KIR_OP_amx_store:
	case KIR_OP_amx_dpbf16ps:
	case KIR_OP_amx_dpbssd:
	case KIR_OP_amx_dpbsud:
	case KIR_OP_amx_dpbusd:
	case KIR_OP_amx_dpbuud:
		return kll_fail(l, n, "target %s has no such instruction", l->f->target->name);
	default: return kll_each(l, n);
	}
}

/* Emits nodes from n to the yield or ret of their region, which it returns. */
static kir_ref emit_region(kll *l, kir_ref n)
{
	const kir_func *f = l->f;

	while (n < f->nnode && f->node[n].op != KIR_OP_yield && f->node[n].op != KIR_OP_ret) {
		if (f->node[n].op == KIR_OP_for) {
			n = emit_for(l, n);
		} else if (f->node[n].op == KIR_OP_if) {
			n = emit_if(l, n);
		} else {
			made(l, n, emit_plain(l, n));
			n++;
		}
	}
	return n;
}

/* -- the function ------------------------------------------------------------------ */

/* Of the LLVM function: each parameter with its run-time strides, then phase, begin, end. */
static unsigned count_arguments(const kir_func *f)
{
	unsigned total = 3;

	for (unsigned i = 0; i < f->nparam; i++)
		total +=
		    1 + (kir_type_at(f->module, f->param[i].type)->buffer ? f->param[i].nstride
		                                                          : 0);
	return total;
}

static bool make_function(kll *l)
{
	const kir_func *f = l->f;
	unsigned n = count_arguments(f), at = 0;
	LLVMTypeRef *t = malloc(n * sizeof *t);

	if (!t) {
		kir_error(l->why, 0, 0, "out of memory");
		return false;
	}
	for (unsigned i = 0; i < f->nparam; i++) {
		const kir_type *k = kir_type_at(f->module, f->param[i].type);

		t[at++] = k->buffer ? l->ptr : kll_elem_type(l, (kir_elem)k->elem);
		for (unsigned j = 0; k->buffer && j < f->param[i].nstride; j++)
			t[at++] = l->i64;
	}
	t[at] = t[at + 1] = t[at + 2] = l->i64;
	l->fn = LLVMAddFunction(l->m, f->name,
	                        LLVMFunctionType(LLVMVoidTypeInContext(l->c), t, n, false));
	free(t);

	at = 0;
	for (unsigned i = 0; i < f->nparam; i++) {
		bool buffer = kir_type_at(f->module, f->param[i].type)->buffer;
		LLVMValueRef p = LLVMGetParam(l->fn, at);

		l->arg[i] = at++;
		LLVMSetValueName2(p, f->param[i].name, strlen(f->param[i].name));
		l->val[f->param[i].node] = p;
		at += buffer ? f->param[i].nstride : 0;
	}
	return true;
}

static void leave(kll *l)
{
	if (l->o->leave)
		l->o->leave(l);
	LLVMBuildRetVoid(l->b);
}

/* The one iteration of this work-group, if there is one. */
static void emit_iteration(kll *l, kir_ref loop, LLVMValueRef begin, LLVMValueRef end)
{
	LLVMBasicBlockRef body = new_block(l, "work"), done = new_block(l, "end");
	LLVMValueRef step = LLVMConstInt(l->i64, (uint64_t)kir_for_step(l->f, loop), false);
	LLVMValueRef k = LLVMBuildNSWAdd(l->b, begin, l->o->group(l), "");

	LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntSLT, k, end, ""), body, done);
	LLVMPositionBuilderAtEnd(l->b, body);
	made(l, loop + 1, kir_for_step(l->f, loop) == 1 ? k : LLVMBuildMul(l->b, k, step, ""));
	l->loop = loop;
	emit_region(l, loop + 2);
	LLVMBuildBr(l->b, done);
	LLVMPositionBuilderAtEnd(l->b, done);
	leave(l);
}

/* Iteration k of a par loop has the variable k * step. */
static void emit_phase(kll *l, kir_ref loop, LLVMValueRef begin, LLVMValueRef end)
{
	LLVMBasicBlockRef from = LLVMGetInsertBlock(l->b), body = new_block(l, "work");
	LLVMBasicBlockRef done = new_block(l, "end");
	LLVMValueRef step = LLVMConstInt(l->i64, (uint64_t)kir_for_step(l->f, loop), false);
	LLVMValueRef one = LLVMConstInt(l->i64, 1, false);

	LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntSLT, begin, end, ""), body, done);
	LLVMPositionBuilderAtEnd(l->b, body);
	LLVMValueRef k = LLVMBuildPhi(l->b, l->i64, "");
	add_incoming(k, begin, from);
	made(l, loop + 1, kir_for_step(l->f, loop) == 1 ? k : LLVMBuildMul(l->b, k, step, ""));
	l->loop = loop;
	emit_region(l, loop + 2);
	LLVMValueRef next = LLVMBuildNSWAdd(l->b, k, one, "");
	add_incoming(k, next, LLVMGetInsertBlock(l->b));
	LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntSLT, next, end, ""), body, done);
	LLVMPositionBuilderAtEnd(l->b, done);
	if (l->streams)
		LLVMBuildFence(l->b, LLVMAtomicOrderingSequentiallyConsistent, false, "");
	leave(l);
}

/* The first node of the top level at or after n that is a par loop, everything before it
 * emitted; 0 at the end. */
static kir_ref next_phase(kll *l, kir_ref n)
{
	const kir_func *f = l->f;

	for (; n < f->nnode && f->node[n].op != KIR_OP_ret; n++) {
		if (f->node[n].op == KIR_OP_for && kir_for_par(f, n))
			return n;
		if (kir_regions(f, n)) {
			kll_fail(l, n,
			         "at the top of a function only par loops may hold a region");
			return 0;
		}
		made(l, n, emit_plain(l, n));
	}
	return 0;
}

static void emit_body(kll *l)
{
	unsigned n = LLVMCountParams(l->fn), nphase = 0;
	LLVMValueRef phase = LLVMGetParam(l->fn, n - 3);
	LLVMValueRef begin = LLVMGetParam(l->fn, n - 2), end = LLVMGetParam(l->fn, n - 1);
	LLVMBasicBlockRef out = new_block(l, "out");
	LLVMValueRef sw;

	LLVMPositionBuilderAtEnd(l->b, l->entry);
	for (kir_ref p = next_phase(l, 1); p; p = next_phase(l, kir_region_end(l->f, p)))
		nphase++;
	sw = LLVMBuildSwitch(l->b, phase, out, nphase);
	nphase = 0;
	for (kir_ref p = 1; !l->failed && p < l->f->nnode; p++) {
		if (l->f->node[p].op != KIR_OP_for || !kir_for_par(l->f, p))
			continue;
		LLVMBasicBlockRef b = new_block(l, "phase");

		LLVMAddCase(sw, LLVMConstInt(l->i64, nphase++, false), b);
		LLVMPositionBuilderAtEnd(l->b, b);
		if (l->o->group)
			emit_iteration(l, p, begin, end);
		else
			emit_phase(l, p, begin, end);
		p = kir_region_end(l->f, p) - 1;
	}
	LLVMPositionBuilderAtEnd(l->b, out);
	leave(l);
}

static void init_types(kll *l)
{
	l->i1 = LLVMInt1TypeInContext(l->c);
	l->i8 = LLVMInt8TypeInContext(l->c);
	l->i16 = LLVMInt16TypeInContext(l->c);
	l->i32 = LLVMInt32TypeInContext(l->c);
	l->i64 = LLVMInt64TypeInContext(l->c);
	l->half = LLVMHalfTypeInContext(l->c);
	l->f32 = LLVMFloatTypeInContext(l->c);
	l->f64 = LLVMDoubleTypeInContext(l->c);
	l->ptr = LLVMPointerType(l->i8, l->o->space);
}

/* Ops of a sub-group whose lanes may have more than vectors hold: their hook makes words of it.
 */
static bool hook_makes(kir_op op)
{
	return op == KIR_OP_xe_load2d || op == KIR_OP_xe_zip || op == KIR_OP_xe_part ||
	       op == KIR_OP_bitcast;
}

static bool is_wide(const kll *l, kir_ref n)
{
	return l->o->spread && !kir_type_of(l->f, n)->buffer && kll_own(l, n) > KLL_MAX_OWN;
}

/* Whether n's value has a place in LLVM: tiles are for level T, and this folder keeps lanes in
 * arrays. */
static bool check_value(kll *l, kir_ref n)
{
	kir_op op = (kir_op)l->f->node[n].op;
	unsigned lanes = kll_lanes(l, n);
	unsigned bytes = kll_own(l, n) * kir_elem_bytes(kll_elem(l, n));

	if (kir_type_of(l->f, n)->rank > 1)
		kll_fail(l, n, "a value at level V is a scalar or a vector, not a tile");
	else if (!l->o->spread && lanes > KLL_MAX_LANES)
		kll_fail(l, n, "a vector of %u lanes; there are at most %d", lanes,
		         KLL_MAX_LANES);
	else if (is_wide(l, n) && !hook_makes(op))
		kll_fail(l, n, "a vector of more than %u elements for each of %u lanes",
		         KLL_MAX_OWN, l->o->spread);
	else if (is_wide(l, n) && bytes > KLL_MAX_BYTES)
		kll_fail(l, n, "%u bytes for each of %u lanes; there are at most %d", bytes,
		         l->o->spread, KLL_MAX_BYTES);
	return !l->failed;
}

/* Nobody else reads such. */
static bool check_operands(kll *l, kir_ref n)
{
	kir_op op = (kir_op)l->f->node[n].op;

	for (unsigned i = 0; i < l->f->node[n].nsrc; i++)
		if (is_wide(l, kir_src(l->f, n, i)) && !hook_makes(op) &&
		    op != KIR_OP_xe_dpas) {
			kll_fail(
			    l, n,
			    "operand %u has more than %u elements for each of %u lanes, which "
			    "only xe.dpas, xe.zip, xe.part and bitcast take",
			    i + 1, KLL_MAX_OWN, l->o->spread);
			return false;
		}
	return true;
}

static bool check_types(kll *l)
{
	const kir_func *f = l->f;

	if (f->level != KIR_V) {
		kir_error(l->why, 0, 0, "@%s: level must be V, the function is at level %s",
		          f->name, f->level == KIR_A ? "A" : "T");
		return false;
	}
	for (kir_ref n = 1; n < f->nnode; n++) {
		bool value = f->node[n].type != KIR_NO_TYPE && !kir_type_of(f, n)->buffer;

		if ((value && !check_value(l, n)) || !check_operands(l, n))
			return false;
	}
	return true;
}

LLVMModuleRef kll_lower(LLVMContextRef c, const kir_func *f, const kll_options *o,
                        kir_diag *why)
{
	kll l = { .f = f, .o = o, .why = why, .c = c };

	init_types(&l);
	if (!check_types(&l))
		return NULL;
	LLVMContextSetDiscardValueNames(c, !o->names);
	l.val = calloc(f->nnode, sizeof(LLVMValueRef));
	l.made = calloc(f->nnode, sizeof *l.made);
	l.arg = calloc(f->nparam + 1, sizeof *l.arg);
	l.at = calloc(f->nnode, sizeof *l.at);
	l.m = LLVMModuleCreateWithNameInContext("kvjit", c);
	l.b = LLVMCreateBuilderInContext(c);
	if (!l.val || !l.made || !l.arg || !l.at || !kir_find_slots(f, &l.slots)) {
		kir_error(why, 0, 0, "out of memory");
		l.failed = true;
	} else if (!make_function(&l)) {
		l.failed = true;
	} else {
		l.entry = new_block(&l, "entry");
		emit_body(&l);
	}
	LLVMDisposeBuilder(l.b);
	free(l.val);
	free(l.made);
	free(l.arg);
	free(l.at);
	kir_drop_slots(&l.slots);
	if (l.failed) {
		LLVMDisposeModule(l.m);
		return NULL;
	}
	return l.m;
}
