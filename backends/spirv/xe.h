/* SPDX-License-Identifier: Apache-2.0 */
/* xe.h -- what the files of the ops of a sub-group share.
 *
 *     xe.c           lanes' components, what only GPUs have an instruction for
 *     xe_product.c   products on matrix engines
 *     xe_block.c     blocks of memory
 *
 * What a lane holds of more than KLL_MAX_OWN elements, which are bytes or pairs of them, is a
 * vector of words, as the engine takes it. Without an engine it stays bytes, more of them than
 * SPIR-V has vectors for: they become scalars before anything is emitted (spirv.c). Only ops of
 * these files make or read such values.
 */
#ifndef KVJIT_BACKENDS_SPIRV_XE_H
#define KVJIT_BACKENDS_SPIRV_XE_H

#include "newer.h"
#include "spirv.h"

static inline LLVMValueRef kspv_word(kll *l, uint64_t x)
{
	return LLVMConstInt(l->i32, x, false);
}

static inline unsigned kspv_own(const kll *l, kir_ref n)
{
	unsigned own = kll_own(l, n);

	return own ? own : 1;
}

/* Bytes a lane has of n. */
static inline unsigned kspv_own_bytes(const kll *l, kir_ref n)
{
	return kspv_own(l, n) * kir_elem_bytes(kll_elem(l, n));
}

/* Whether a lane's part of n is a vector of words. */
static inline bool kspv_is_words(const kll *l, kir_ref n)
{
	return kspv_own(l, n) > KLL_MAX_OWN && kspv_has_engine(l->f->target);
}

/* Whether instructions of SPIR-V's extensions are used, not functions by name. */
static inline bool kspv_is_newer(const kll *l)
{
	return (l->f->target->features & KIR_HAS_xe_ext) != 0;
}

/* The LLVM type of a lane's part of n. */
LLVMTypeRef kspv_own_type(const kll *l, kir_ref n);
/* Elements as words of four bytes. */
LLVMValueRef kspv_as_words(kll *l, const LLVMValueRef *x, unsigned n, unsigned size);
LLVMValueRef kspv_product(kll *l, kir_ref n);
LLVMValueRef kspv_load2d(kll *l, kir_ref n);

#endif
