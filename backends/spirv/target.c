/* SPDX-License-Identifier: Apache-2.0 */
/* target.c -- the other emitter: LLVM 22's own SPIR-V target.
 *
 * It is told of no extension. What would need one either ends the process (guard.h) or makes a
 * module that only spirv-val finds invalid, which is why the tests run that on every module.
 */
#include "emit.h"
#include "labels.h"

#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIPLE "spirv64v1.3-unknown-unknown"

const char kspv_name[] = "spirv-llvm";
const bool kspv_takes_functions = false;

void kspv_start(void)
{
	LLVMInitializeSPIRVTargetInfo();
	LLVMInitializeSPIRVTarget();
	LLVMInitializeSPIRVTargetMC();
	LLVMInitializeSPIRVAsmPrinter();
}

void kspv_prepare_context(LLVMContextRef c)
{
	(void)c;
}

static bool fail(kspv_words *out, const char *what)
{
	snprintf(out->why, sizeof out->why, "LLVM: %.180s", what);
	return false;
}

static LLVMTargetMachineRef make_machine(kspv_words *out)
{
	LLVMTargetMachineRef m;
	LLVMTargetRef target;
	char *error = NULL;

	if (LLVMGetTargetFromTriple(TRIPLE, &target, &error)) {
		fail(out, error);
		LLVMDisposeMessage(error);
		return NULL;
	}
	/* With optimization, loop strength reduction writes x & 3 in an address as a truncation
	 * to an i2, which this target widens to x & 255. The driver optimizes anyway. */
	m = LLVMCreateTargetMachine(target, TRIPLE, "", "", LLVMCodeGenLevelNone,
	                            LLVMRelocDefault, LLVMCodeModelDefault);
	if (!m)
		fail(out, "no target machine for SPIR-V");
	return m;
}

bool kspv_prepare_module(LLVMModuleRef m, kspv_words *out)
{
	LLVMTargetMachineRef machine = make_machine(out);
	LLVMTargetDataRef layout;

	if (!machine)
		return false;
	layout = LLVMCreateTargetDataLayout(machine);
	LLVMSetModuleDataLayout(m, layout);
	LLVMDisposeTargetData(layout);
	LLVMDisposeTargetMachine(machine);
	LLVMSetTarget(m, TRIPLE);
	return true;
}

static bool copy(LLVMMemoryBufferRef b, kspv_words *out)
{
	size_t n = LLVMGetBufferSize(b);

	out->bytes = malloc(n + 1);
	if (!out->bytes)
		return fail(out, "out of memory");
	memcpy(out->bytes, LLVMGetBufferStart(b), n);
	out->bytes[n] = 0;
	out->n = n;
	return true;
}

/* Memory that blocks aren't put in (labels.h), in pieces as LLVM asks for it: twice as much at
 * each attempt, and soon more than all modules before have given back. */
enum { PIECE = 4096, PIECES = 128, MOST_PIECES = PIECES << 7 };

static void **occupy(unsigned attempt)
{
	unsigned n = attempt ? PIECES << attempt : 0;
	void **held = calloc(MOST_PIECES + 1, sizeof *held);

	for (unsigned i = 0; held && i < n && i < MOST_PIECES; i++)
		held[i] = malloc(PIECE);
	return held;
}

static void give_back(void **held)
{
	for (unsigned i = 0; held && i < MOST_PIECES; i++)
		free(held[i]);
	free(held);
}

static bool emit(LLVMModuleRef m, LLVMCodeGenFileType type, kspv_words *out)
{
	LLVMTargetMachineRef machine = make_machine(out);
	LLVMMemoryBufferRef words = NULL;
	char *error = NULL;
	bool ok;

	if (!machine)
		return false;
	if (LLVMTargetMachineEmitToMemoryBuffer(machine, m, type, &error, &words)) {
		ok = fail(out, error);
		LLVMDisposeMessage(error);
	} else {
		ok = copy(words, out);
		LLVMDisposeMemoryBuffer(words);
	}
	LLVMDisposeTargetMachine(machine);
	return ok;
}

bool kspv_emit(LLVMModuleRef m, bool text, unsigned attempt, kspv_words *out)
{
	void **held = occupy(attempt);
	bool ok = emit(m, text ? LLVMAssemblyFile : LLVMObjectFile, out);

	give_back(held);
	if (!ok || text || kspv_number_labels((uint32_t *)(void *)out->bytes, out->n / 4))
		return ok;
	free(out->bytes);
	out->bytes = NULL;
	out->again = true;
	return fail(out, "two blocks of the module have one number");
}
