/* SPDX-License-Identifier: Apache-2.0 */
/* spirv.c -- the backend libkvjit loads for GPUs: the common lowering, spread over a sub-group.
 *
 * The blob is a module of SPIR-V, with one kernel of the function's name; it has no code of a
 * processor and so no extension of one. The kernel's arguments are those of backends/backend.h;
 * work-group g runs iteration begin + g, if that is below end. A driver must build it with
 * -cl-fp32-correctly-rounded-divide-sqrt, or quotients round as they like.
 *
 * A compile makes everything anew and shares nothing with another of ours; but both emitters
 * have state of the process, so only one at a time compiles.
 */
#include "spirv.h"
#include "emit.h"
#include "newer.h"
#include "../llvm/guard.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t alone = PTHREAD_MUTEX_INITIALIZER;

static void start(void)
{
	kll_guard_install();
	kspv_start();
}

/* -- the kernel -------------------------------------------------------------------------- */

static LLVMValueRef hook(kll *l, kir_ref n)
{
	LLVMValueRef v = kspv_memory(l, n);

	if (!v)
		v = kspv_xe(l, n);
	if (!v)
		v = kspv_moves(l, n);
	/* a choice of vectors by one truth needs SPIR-V 1.4 */
	if (!v && l->f->node[n].op == KIR_OP_select)
		v = kll_select(l, kll_operand(l, n, 0), kll_operand(l, n, 1),
		               kll_operand(l, n, 2));
	return v;
}

static void add_numbers(LLVMContextRef c, LLVMValueRef fn, const char *name, const unsigned *x,
                        unsigned n)
{
	LLVMTypeRef i32 = LLVMInt32TypeInContext(c);
	LLVMMetadataRef m[3];

	for (unsigned i = 0; i < n; i++)
		m[i] = LLVMValueAsMetadata(LLVMConstInt(i32, x[i], false));
	LLVMGlobalSetMetadata(fn, LLVMGetMDKindIDInContext(c, name, (unsigned)strlen(name)),
	                      LLVMMDNodeInContext2(c, m, n));
}

static void add_version(LLVMContextRef c, LLVMModuleRef m, const char *name, unsigned major,
                        unsigned minor)
{
	LLVMTypeRef i32 = LLVMInt32TypeInContext(c);
	LLVMMetadataRef v[2] = { LLVMValueAsMetadata(LLVMConstInt(i32, major, false)),
		                 LLVMValueAsMetadata(LLVMConstInt(i32, minor, false)) };

	LLVMAddNamedMetadataOperand(m, name,
	                            LLVMMetadataAsValue(c, LLVMMDNodeInContext2(c, v, 2)));
}

/* What makes the function a kernel of OpenCL: one sub-group of the target's lanes a group. */
static void make_kernel(LLVMContextRef c, LLVMModuleRef m, const kir_func *f)
{
	LLVMValueRef fn = LLVMGetNamedFunction(m, f->name);
	unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
	unsigned group[3] = { f->target->lanes, 1, 1 };

	LLVMSetFunctionCallConv(fn, LLVMSPIRKERNELCallConv);
	LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex,
	                        LLVMCreateEnumAttribute(c, nounwind, 0));
	add_numbers(c, fn, "intel_reqd_sub_group_size", group, 1);
	add_numbers(c, fn, "reqd_work_group_size", group, 3);
	add_version(c, m, "opencl.ocl.version", 3, 0);
	add_version(c, m, "opencl.spir.version", 1, 2);
	add_version(c, m, "spirv.Source", 3, 300000);
}

/* -- compiling --------------------------------------------------------------------------- */

enum { ATTEMPTS = 8 };

typedef struct job {
	const kir_func *f;
	kbe_dump what;
	unsigned attempt;
	kspv_words out;
	kir_diag *why;
} job;

static bool verify(LLVMModuleRef m, kir_diag *why)
{
	char *text = NULL;
	bool ok = !LLVMVerifyModule(m, LLVMReturnStatusAction, &text);

	if (!ok)
		kir_error(why, 0, 0,
		          "the SPIR-V backend made LLVM IR that LLVM rejects: %.140s", text);
	LLVMDisposeMessage(text);
	return ok;
}

/* LLVM's text, in memory that free() takes. */
static bool source(LLVMModuleRef m, kspv_words *out)
{
	char *text = LLVMPrintModuleToString(m);

	out->bytes = strdup(text);
	out->n = strlen(text);
	LLVMDisposeMessage(text);
	snprintf(out->why, sizeof out->why, "out of memory");
	return out->bytes != NULL;
}

/* A lane's vectors become scalars, where no engine takes whole ones: products by broadcasts use
 * their elements one by one, and Intel's compilers keep a vector that goes round a loop
 * together (a quarter of decode's time on processors, a tenth of its instructions for dg2). */
static bool scalarize(LLVMModuleRef m, const kir_target *t, kspv_words *out)
{
	LLVMPassBuilderOptionsRef o;
	LLVMErrorRef e;

	if (kspv_has_engine(t))
		return true;
	o = LLVMCreatePassBuilderOptions();
	e = LLVMRunPasses(m, "function(scalarizer)", NULL, o);
	LLVMDisposePassBuilderOptions(o);
	if (e) {
		char *text = LLVMGetErrorMessage(e);

		snprintf(out->why, sizeof out->why, "LLVM: %.180s", text);
		LLVMDisposeErrorMessage(text);
	}
	return !e;
}

static bool produce(job *j, LLVMContextRef c, LLVMModuleRef m)
{
	bool ok = kspv_prepare_module(m, &j->out);

	if (ok) {
		make_kernel(c, m, j->f);
		if (!verify(m, j->why))
			return false;
		ok = scalarize(m, j->f->target, &j->out);
	}
	if (ok)
		ok = j->what == KBE_DUMP_SOURCE
		         ? source(m, &j->out)
		         : kspv_emit(m, j->what == KBE_DUMP_ASM, j->attempt, &j->out);
	if (ok && j->what == KBE_DUMP_OBJECT)
		ok = kspv_spell_newer(&j->out);
	if (!ok && !j->out.again)
		kir_error(j->why, 0, 0, "%s", j->out.why);
	return ok;
}

/* From function to module, in a context of its own. */
static bool once_through(job *j, bool *barriers, const kir_slots *slots, LLVMValueRef *at)
{
	kspv own = { .barrier = barriers, .slots = slots, .at = at };
	kll_options o = {
		.half = true,
		.half_math = true,
		.fma = true,
		.names = j->what != KBE_DUMP_OBJECT,
		.spread = j->f->target->lanes,
		.space = KSPV_GLOBAL,
		.hook = hook,
		.group = kspv_group,
		.exp2 = kspv_exp2,
		.across = kspv_across,
		.own = &own,
	};
	LLVMContextRef c = LLVMContextCreate();
	LLVMModuleRef m;
	bool ok = false;

	kll_guard_context(c, j->why);
	kspv_prepare_context(c);
	m = kll_lower(c, j->f, &o, j->why);
	if (m) {
		ok = produce(j, c, m);
		LLVMDisposeModule(m);
	}
	LLVMContextDispose(c);
	return ok;
}

/* What a work-group may have is the target's. */
static bool fits(const kir_func *f, const kir_slots *s, kir_diag *why)
{
	if (s->total <= f->target->slm_bytes)
		return true;
	kir_error(why, 0, 0,
	          "locals that live at once take %llu bytes, more than the %llu bytes of local "
	          "memory that a work-group of %s has: smaller tiles take less",
	          (unsigned long long)s->total, (unsigned long long)f->target->slm_bytes,
	          f->target->name);
	return false;
}

static bool attempts(job *j, bool *barriers, const kir_slots *slots, LLVMValueRef *at)
{
	bool ok;

	do {
		j->out.again = false;
		memset(at, 0, slots->n * sizeof *at);
		ok = once_through(j, barriers, slots, at);
	} while (j->out.again && ++j->attempt < ATTEMPTS);
	if (j->out.again)
		kir_error(j->why, 0, 0, "%s", j->out.why);
	return ok;
}

static bool work(void *ctx)
{
	job *j = ctx;
	bool *barriers = calloc(j->f->nnode, sizeof *barriers), ok = false;
	LLVMValueRef *at = calloc(j->f->nnode, sizeof *at);
	kir_slots slots = { 0 };

	if (!barriers || !at || !kir_find_slots(j->f, &slots) ||
	    !kspv_find_barriers(j->f, &slots, barriers))
		kir_error(j->why, 0, 0, "out of memory");
	else if (fits(j->f, &slots, j->why))
		ok = attempts(j, barriers, &slots, at);
	kir_drop_slots(&slots);
	free(at);
	free(barriers);
	return ok;
}

static bool supports(const kir_target *t)
{
	return t->lanes && t->features & KIR_HAS_xe;
}

/* What it returns is freed by the caller; .bytes NULL: failed. */
static kspv_words run(const kir_func *f, kbe_dump what, kir_diag *why)
{
	kir_diag mine = { 0 };
	job j = { .f = f, .what = what, .why = &mine };
	bool ok = supports(f->target);

	if (!ok)
		kir_error(&mine, 0, 0, "target %s is no GPU", f->target->name);
	pthread_once(&once, start);
	pthread_mutex_lock(&alone);
	ok = ok && kll_guarded(work, &j, &mine) && !mine.n;
	pthread_mutex_unlock(&alone);
	for (unsigned i = 0; i < mine.n && i < KIR_DIAG_MAX; i++)
		kir_error(why, mine.at[i].line, mine.at[i].col, "%s", mine.at[i].msg);
	if (!ok) {
		free(j.out.bytes);
		j.out.bytes = NULL;
	}
	return j.out;
}

static bool compile(const kir_func *f, kbe_blob *out, kir_diag *why)
{
	kspv_words w = run(f, KBE_DUMP_OBJECT, why);

	*out = (kbe_blob){ 0 };
	if (w.bytes)
		*out = (kbe_blob){ .bytes = w.bytes, .size = w.n, .text = w.n };
	return w.bytes != NULL;
}

static bool dump(const kir_func *f, kbe_dump what, kir_text *out, kir_diag *why)
{
	kspv_words w = run(f, what, why);

	if (w.bytes) {
		free(out->text);
		*out = (kir_text){ w.bytes, w.n, w.n + 1 };
	}
	return w.bytes != NULL;
}

/* Its name is the emitter's, which no constant expression knows. */
static kbe_backend backend = { KBE_VERSION, NULL, &kir_own_build, supports, compile, dump };

__attribute__((visibility("default"))) const kbe_backend *kvjit_backend(void);

const kbe_backend *kvjit_backend(void)
{
	backend.name = kspv_name;
	return &backend;
}
