/* SPDX-License-Identifier: Apache-2.0 */
/* guard.h -- LLVM's own failures as messages.
 *
 * LLVM reports what it thinks can't happen (no pattern for an instruction, say) by ending the
 * process. While a compile runs under kll_guarded, that becomes a jump back and a message; that
 * compile's memory is then lost, since nothing says what state it is in.
 */
#ifndef KVJIT_BACKENDS_LLVM_GUARD_H
#define KVJIT_BACKENDS_LLVM_GUARD_H

#include "../../ir/kir.h"

#include <llvm-c/Core.h>

/* Once a process, for this LLVM. */
void kll_guard_install(void);
/* fn(ctx), or false and a message in why if LLVM gave up. Not nested. */
bool kll_guarded(bool (*fn)(void *ctx), void *ctx, kir_diag *why);
/* Errors that LLVM reports by c's diagnostic handler go to why. */
void kll_guard_context(LLVMContextRef c, kir_diag *why);

#endif
