/* SPDX-License-Identifier: Apache-2.0 */
/* emit.h -- what an emitter does: translator.cc or target.c, one for each shared object.
 *
 * Plain C types, as one of them is C++.
 */
#ifndef KVJIT_BACKENDS_SPIRV_EMIT_H
#define KVJIT_BACKENDS_SPIRV_EMIT_H

#include <llvm-c/Core.h>

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

extern const char kspv_name[]; /* of the backend */
/* Whether a module may have functions beside its kernel. LLVM 22 numbers blocks by where they
 * lie in memory (labels.h): blocks of one function after the other's come to lie where others
 * were, and too many modules would have to be made again. */
extern const bool kspv_takes_functions;

typedef struct kspv_words {
	char *bytes; /* malloc'd, a zero behind them */
	size_t n;
	char why[200]; /* if it failed */
	bool again;    /* and that may be otherwise at the next attempt */
} kspv_words;

void kspv_start(void);                       /* once a process                */
void kspv_prepare_context(LLVMContextRef c); /* before anything is made in it */
/* Triple and data layout. */
bool kspv_prepare_module(LLVMModuleRef m, kspv_words *out);
/* The words of the module, or its text. The module is of no use afterwards. `attempt`: how
 * often this was asked for with the same module, made anew. */
bool kspv_emit(LLVMModuleRef m, bool text, unsigned attempt, kspv_words *out);

#ifdef __cplusplus
}
#endif

#endif
