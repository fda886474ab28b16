/* SPDX-License-Identifier: Apache-2.0 */
/* x86.h -- the parts of the x86 backend. */
#ifndef KVJIT_BACKENDS_X86_X86_H
#define KVJIT_BACKENDS_X86_X86_H

#include "../backend.h"
#include "../llvm/lower.h"

/* intrinsics.c: what one instruction does and the common lowering takes several for. */
LLVMValueRef kx86_hook(kll *l, kir_ref n);
LLVMValueRef kx86_exp2(kll *l, LLVMValueRef x, const kir_exp2 *near);

/* tiles.c: amx.* ops; NULL for any other. leave: before the function returns. */
LLVMValueRef kx86_tiles(kll *l, kir_ref n);
void kx86_leave(kll *l);

/* tables.c: a vector of these constant bytes, loaded from the code's own constants. */
#define KX86_TABLE 64
LLVMValueRef kx86_table(kll *l, LLVMValueRef *each);
/* 64 bytes of x: byte i is from[i] of it. */
LLVMValueRef kx86_permute(kll *l, LLVMValueRef x, const unsigned *from);

/* permute.c: a join of bytes that come from one register as one permutation, or NULL. */
LLVMValueRef kx86_one_permutation(kll *l, kir_ref n);
/* A conversion of 32 lanes of 32 bits to their lowest bytes, or NULL. */
LLVMValueRef kx86_low_bytes(kll *l, kir_ref n);

/* narrow.c: 64 lanes of f32 to bytes. */
#define KX86_NARROW 64
bool kx86_narrows(const kir_func *f, kir_ref n); /* whether n is for kx86_narrow */
LLVMValueRef kx86_narrow(kll *l, kir_ref n);
/* Whether n widens bf16 for nothing but that, so that its lanes, and those of all ops between,
 * may be in another order: of each 32 the even ones, then the odd ones. */
bool kx86_by_parity(const kir_func *f, kir_ref n);
LLVMValueRef kx86_widen_by_parity(kll *l, kir_ref n);

/* elf.c: an ELF relocatable object to a blob whose entry is `symbol`. Fails, naming what is
 * in the way, when the object needs anything from outside or an absolute address. */
bool kx86_link(const void *object, size_t size, const char *symbol, kbe_blob *out,
               kir_diag *why);

/* x86.c: makes LLVM ready, the first time. */
void kx86_start(void);

/* decode.c: the extensions (isa.h) that these bytes execute, all of which are code; only
 * KBE_ISA(unknown) where an instruction isn't known. Exported for the tests. */
__attribute__((visibility("default"))) uint64_t kx86_isa(const void *code, size_t size);

/* The same, for code that isn't used yet: some instructions become others that do the same and
 * cost less. */
__attribute__((visibility("default"))) uint64_t kx86_finish(void *code, size_t size);

#endif
