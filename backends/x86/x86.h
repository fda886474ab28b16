/* SPDX-License-Identifier: Apache-2.0 */
/* x86.h -- the parts of the x86 backend. */
#ifndef KVJIT_BACKENDS_X86_X86_H
#define KVJIT_BACKENDS_X86_X86_H

#include "../backend.h"
#include "../llvm/lower.h"

/* intrinsics.c: what one instruction does and the common lowering takes several for. */
LLVMValueRef kx86_hook(kll *l, kir_ref n);
LLVMValueRef kx86_exp2(kll *l, LLVMValueRef x);

/* elf.c: an ELF relocatable object to a blob whose entry is `symbol`. Fails, naming what is
 * in the way, when the object needs anything from outside or an absolute address. */
bool kx86_link(const void *object, size_t size, const char *symbol, kbe_blob *out,
               kir_diag *why);

/* decode.c: the extensions that `size` bytes of code execute; KBE_ISA(unknown) among them when
 * there is an instruction without a row, or bytes that are none. */
uint64_t kx86_isa_of(const void *code, size_t size);

#endif
