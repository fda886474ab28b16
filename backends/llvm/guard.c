/* SPDX-License-Identifier: Apache-2.0 */
/* guard.c -- see guard.h. */
#include "guard.h"

#include <llvm-c/ErrorHandling.h>

#include <setjmp.h>
#include <stdio.h>

typedef struct guard {
	jmp_buf back;
	char msg[200];
} guard;

static _Thread_local guard *current;

static void on_fatal(const char *reason)
{
	if (!current)
		return;
	snprintf(current->msg, sizeof current->msg, "LLVM: %.180s", reason);
	longjmp(current->back, 1);
}

void kll_guard_install(void)
{
	LLVMInstallFatalErrorHandler(on_fatal);
}

bool kll_guarded(bool (*fn)(void *ctx), void *ctx, kir_diag *why)
{
	guard g;
	volatile bool ok = false;

	current = &g;
	if (!setjmp(g.back))
		ok = fn(ctx);
	else
		kir_error(why, 0, 0, "%s", g.msg);
	current = NULL;
	return ok;
}

static void on_diagnostic(LLVMDiagnosticInfoRef info, void *ctx)
{
	kir_diag *why = ctx;

	if (LLVMGetDiagInfoSeverity(info) != LLVMDSError)
		return;
	char *text = LLVMGetDiagInfoDescription(info);

	kir_error(why, 0, 0, "LLVM: %.180s", text);
	LLVMDisposeMessage(text);
}

void kll_guard_context(LLVMContextRef c, kir_diag *why)
{
	LLVMContextSetDiagnosticHandler(c, on_diagnostic, why);
}
