/* SPDX-License-Identifier: Apache-2.0 */
/* x86.c -- the backend libkvjit loads: LLVM's x86 target around the common lowering.
 *
 * A compile makes everything anew (context, module, target machine) and shares nothing with
 * another, so any number may run at once. Of LLVM's optimizer it takes one cheap pass, which
 * finds equal values: the passes of kvjit have chosen the instructions, and compiling is part
 * of what users wait for. Hoisting is left out on purpose: LLVM moves every repeated operand
 * out of a loop and then has no registers to keep them in.
 */
#include "x86.h"
#include "../llvm/guard.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIPLE "x86_64-unknown-linux-gnu"
#define PASSES "function(early-cse)"

/* -- starting ----------------------------------------------------------------------------- */

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Two passes are left out. Scheduling machine instructions takes 4 to 5 % and the loops are as
 * fast without: blocks are laid out by kvjit's own passes, and the processor reorders. Loop
 * strength reduction takes 45 % of the time to compile a kernel whose addresses are already
 * what it would make of them (29 ms instead of 55 for int8 decode; the same speed). So are some
 * that walk the code and find nothing in it: without them it is the same, byte for byte. LLVM
 * has no other switch for them than these of the whole library. */
static void start_llvm(void)
{
	static const char *const options[] = {
		"kvjit",
		"-disable-lsr",
		"-enable-misched=false",
		/* nothing found: */
		"-disable-constant-hoisting",
		"-disable-early-taildup",
		"-disable-tail-duplicate",
		"-disable-partial-libcall-inlining",
		"-disable-select-optimize",
		"-disable-x86-domain-reassignment",
		"-enable-shrink-wrap=false",
		"-x86-cmov-converter=false",
		"-x86-disable-avoid-SFB",
	};

	LLVMParseCommandLineOptions(sizeof options / sizeof *options, options, NULL);
	LLVMInitializeX86TargetInfo();
	LLVMInitializeX86Target();
	LLVMInitializeX86TargetMC();
	LLVMInitializeX86AsmPrinter();
	LLVMInitializeX86Disassembler();
	kll_guard_install();
}

void kx86_start(void)
{
	pthread_once(&once, start_llvm);
}

/* -- the target ------------------------------------------------------------------------- */

/* Only what kbe_host asks the processor for, never a CPU name that implies more. */
static void feature_text(unsigned has, char *out, size_t len)
{
	static const struct {
		unsigned feature;
		const char *llvm;
	} list[] = {
		{ KIR_HAS_avx2, ",+avx2,+fma,+f16c,+bmi,+bmi2,+popcnt" },
		{ KIR_HAS_avx512, ",+avx512f,+avx512bw,+avx512dq,+avx512vl" },
		{ KIR_HAS_vbmi, ",+avx512vbmi" },
		{ KIR_HAS_vnni, ",+avx512vnni" },
		{ KIR_HAS_bf16, ",+avx512bf16" },
		{ KIR_HAS_fp16, ",+avx512fp16" },
		{ KIR_HAS_amx_tile, ",+amx-tile" },
		{ KIR_HAS_amx_bf16, ",+amx-bf16" },
		{ KIR_HAS_amx_int8, ",+amx-int8" },
	};
	size_t n = (size_t)snprintf(out, len, "+sse4.1");

	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		if (has & list[i].feature)
			n += (size_t)snprintf(out + n, len - n, "%s", list[i].llvm);
}

static const char *tune_for(unsigned has)
{
	return has & KIR_HAS_avx512 ? "x86-64-v4" : has & KIR_HAS_avx2 ? "x86-64-v3" : "x86-64";
}

static LLVMTargetMachineRef make_machine(const kir_target *t, kir_diag *why)
{
	LLVMTargetRef target;
	char *error = NULL, features[256];
	LLVMTargetMachineRef m;

	if (LLVMGetTargetFromTriple(TRIPLE, &target, &error)) {
		kir_error(why, 0, 0, "LLVM: %.180s", error);
		LLVMDisposeMessage(error);
		return NULL;
	}
	feature_text(t->features, features, sizeof features);
	m = LLVMCreateTargetMachine(target, TRIPLE, "x86-64", features, LLVMCodeGenLevelDefault,
	                            LLVMRelocPIC, LLVMCodeModelSmall);
	if (!m)
		kir_error(why, 0, 0, "LLVM makes no target machine for %s", t->name);
	return m;
}

static void add_attribute(LLVMContextRef c, LLVMValueRef fn, const char *key, const char *value)
{
	LLVMAttributeRef a = LLVMCreateStringAttribute(c, key, (unsigned)strlen(key), value,
	                                               (unsigned)strlen(value));

	LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex, a);
}

static void set_attributes(LLVMContextRef c, LLVMModuleRef m, const kir_func *f)
{
	LLVMValueRef fn = LLVMGetNamedFunction(m, f->name);
	unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
	char features[256];

	feature_text(f->target->features, features, sizeof features);
	LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex,
	                        LLVMCreateEnumAttribute(c, nounwind, 0));
	add_attribute(c, fn, "target-cpu", "x86-64");
	add_attribute(c, fn, "target-features", features);
	add_attribute(c, fn, "tune-cpu", tune_for(f->target->features));
	add_attribute(c, fn, "prefer-vector-width",
	              f->target->features & KIR_HAS_avx512 ? "512" : "256");
	/* tiles take up to 256 KiB, blocks of them 1 MiB: each page is touched, so that a
	 * thread's guard page is met */
	add_attribute(c, fn, "probe-stack", "inline-asm");
	add_attribute(c, fn, "no-builtins", "true");
	add_attribute(c, fn, "no-jump-tables", "true");
}

/* -- compiling -------------------------------------------------------------------------- */

typedef struct job {
	const kir_func *f;
	kbe_blob *blob; /* what is wanted: this, or `what` as text */
	kbe_dump what;
	kir_text *text;
	kir_diag *why;
	LLVMContextRef c;
	LLVMModuleRef m;
	LLVMTargetMachineRef machine;
} job;

static kll_options options_for(const kir_target *t, bool names)
{
	return (kll_options){
		.half = t->features & KIR_HAS_avx2,
		.fma = t->features & KIR_HAS_avx2,
		.half_math = (t->features & KIR_HAS_fp16) && (t->features & KIR_HAS_avx512),
		.stream_bytes = t->features & KIR_HAS_avx512 ? 64 : 0,
		.mask_bits = t->features & KIR_HAS_avx512 ? 8
		             : t->features & KIR_HAS_avx2 ? 32
		                                          : 1024,
		.hoist = true,
		.names = names,
		.leave = kx86_leave,
		.hook = kx86_hook,
		.exp2 = kx86_exp2,
	};
}

/* The module, ready for code generation. */
static bool prepare(job *j, bool names)
{
	kll_options o = options_for(j->f->target, names);
	LLVMTargetDataRef layout;
	LLVMPassBuilderOptionsRef pb;
	LLVMErrorRef e;
	char *text;

	kll_guard_context(j->c, j->why);
	j->machine = make_machine(j->f->target, j->why);
	if (!j->machine)
		return false;
	j->m = kll_lower(j->c, j->f, &o, j->why);
	if (!j->m)
		return false;
	layout = LLVMCreateTargetDataLayout(j->machine);
	LLVMSetModuleDataLayout(j->m, layout);
	LLVMDisposeTargetData(layout);
	LLVMSetTarget(j->m, TRIPLE);
	set_attributes(j->c, j->m, j->f);
	if (LLVMVerifyModule(j->m, LLVMReturnStatusAction, &text)) {
		kir_error(j->why, 0, 0,
		          "the x86 backend made LLVM IR that LLVM rejects: %.140s", text);
		LLVMDisposeMessage(text);
		return false;
	}
	LLVMDisposeMessage(text);
	pb = LLVMCreatePassBuilderOptions();
	e = LLVMRunPasses(j->m, PASSES, j->machine, pb);
	LLVMDisposePassBuilderOptions(pb);
	if (e) {
		text = LLVMGetErrorMessage(e);
		kir_error(j->why, 0, 0, "LLVM: %.180s", text);
		LLVMDisposeErrorMessage(text);
		return false;
	}
	return true;
}

static LLVMMemoryBufferRef emit(job *j, LLVMCodeGenFileType type)
{
	LLVMMemoryBufferRef buffer = NULL;
	char *error = NULL;

	if (LLVMTargetMachineEmitToMemoryBuffer(j->machine, j->m, type, &error, &buffer)) {
		kir_error(j->why, 0, 0, "LLVM: %.180s", error);
		LLVMDisposeMessage(error);
		return NULL;
	}
	return buffer;
}

static void dispose(job *j)
{
	if (j->m)
		LLVMDisposeModule(j->m);
	if (j->machine)
		LLVMDisposeTargetMachine(j->machine);
	LLVMContextDispose(j->c);
}

static bool to_blob(job *j)
{
	LLVMMemoryBufferRef object = prepare(j, false) ? emit(j, LLVMObjectFile) : NULL;
	bool ok;

	if (!object || j->why->n) {
		if (object)
			LLVMDisposeMemoryBuffer(object);
		return false;
	}
	ok = kx86_link(LLVMGetBufferStart(object), LLVMGetBufferSize(object), j->f->name,
	               j->blob, j->why);
	LLVMDisposeMemoryBuffer(object);
	return ok;
}

/* Appends bytes, which may hold zeros. */
static bool add_bytes(kir_text *out, const char *bytes, size_t n, kir_diag *why)
{
	char *text = realloc(out->text, out->len + n + 1);

	if (!text) {
		kir_error(why, 0, 0, "out of memory");
		return false;
	}
	memcpy(text + out->len, bytes, n);
	text[out->len + n] = 0;
	out->text = text;
	out->len += n;
	out->cap = out->len + 1;
	return true;
}

static bool to_text(job *j)
{
	LLVMMemoryBufferRef buffer;
	bool ok;

	if (!prepare(j, true))
		return false;
	if (j->what == KBE_DUMP_SOURCE) {
		char *ir = LLVMPrintModuleToString(j->m);

		ok = add_bytes(j->text, ir, strlen(ir), j->why);
		LLVMDisposeMessage(ir);
		return ok;
	}
	buffer = emit(j, j->what == KBE_DUMP_ASM ? LLVMAssemblyFile : LLVMObjectFile);
	if (!buffer)
		return false;
	ok = add_bytes(j->text, LLVMGetBufferStart(buffer), LLVMGetBufferSize(buffer), j->why);
	LLVMDisposeMemoryBuffer(buffer);
	return ok;
}

static bool work(void *ctx)
{
	job *j = ctx;
	bool ok = j->blob ? to_blob(j) : to_text(j);

	dispose(j);
	return ok;
}

/* Either blob or text is wanted. */
static bool run(const kir_func *f, kbe_blob *blob, kbe_dump what, kir_text *text, kir_diag *why)
{
	kir_diag mine = { 0 };
	job j = { .f = f, .blob = blob, .what = what, .text = text, .why = &mine };
	bool ok;

	kx86_start();
	j.c = LLVMContextCreate();
	ok = kll_guarded(work, &j, &mine);
	for (unsigned i = 0; i < mine.n && i < KIR_DIAG_MAX; i++)
		kir_error(why, mine.at[i].line, mine.at[i].col, "%s", mine.at[i].msg);
	return ok;
}

static bool supports(const kir_target *t)
{
	unsigned products = KIR_HAS_amx_bf16 | KIR_HAS_amx_int8;
	unsigned beyond = KIR_HAS_avx512 | KIR_HAS_vbmi | KIR_HAS_vnni | KIR_HAS_bf16 |
	                  KIR_HAS_fp16 | KIR_HAS_amx_tile | products;

	if (t->lanes || t->features & KIR_HAS_xe)
		return false;
	/* each step up needs the ones below it */
	if ((t->features & KIR_HAS_avx512) && !(t->features & KIR_HAS_avx2))
		return false;
	if ((t->features & products) && !(t->features & KIR_HAS_amx_tile))
		return false;
	return (t->features & KIR_HAS_avx512) || !(t->features & beyond & ~KIR_HAS_avx512);
}

static bool check(const kir_func *f, kir_diag *why)
{
	if (supports(f->target))
		return true;
	if (f->target->features & KIR_HAS_xe)
		kir_error(why, 0, 0, "target %s is a GPU, which backend spirv compiles for",
		          f->target->name);
	else
		kir_error(why, 0, 0,
		          "target %s: avx512 needs avx2; vbmi, vnni, bf16, fp16 and amx_tile "
		          "need avx512; amx_bf16 and amx_int8 need amx_tile",
		          f->target->name);
	return false;
}

static bool compile(const kir_func *f, kbe_blob *out, kir_diag *why)
{
	*out = (kbe_blob){ 0 };
	return check(f, why) && run(f, out, KBE_DUMP_OBJECT, NULL, why);
}

static bool dump(const kir_func *f, kbe_dump what, kir_text *out, kir_diag *why)
{
	return check(f, why) && run(f, NULL, what, out, why);
}

static const kbe_backend backend = {
	KBE_VERSION, "x86", &kir_own_build, supports, compile, dump
};

__attribute__((visibility("default"))) const kbe_backend *kvjit_backend(void);

const kbe_backend *kvjit_backend(void)
{
	return &backend;
}
