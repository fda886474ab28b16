/* SPDX-License-Identifier: Apache-2.0 */
/* newer.h -- matrix products and loads of blocks as instructions of two SPIR-V extensions.
 *
 * Drivers of today take them as functions by name (xe.c), which belong to Intel's compiler and
 * may go; the instructions are specified: SPV_INTEL_subgroup_matrix_multiply_accumulate and
 * SPV_INTEL_2d_block_io. Rows of ir/targets.def with the feature xe_ext use them.
 *
 * Neither emitter is asked to know them (LLVM 15's translator doesn't). They see a call of a
 * function that is declared and nowhere defined; in the finished module each such call becomes
 * the instruction:
 *
 *     %f = OpFunction ... (its name imported)   ->   OpExtension, OpCapability
 *     %r = OpFunctionCall %t %f %k %a %b %c %n  ->   %r = OpSubgroupMatrix... %t %k %a %b %c n
 */
#ifndef KVJIT_BACKENDS_SPIRV_NEWER_H
#define KVJIT_BACKENDS_SPIRV_NEWER_H

#include "emit.h"

/* One for each instruction, and the start of a function's name that stands for it. */
#define KSPV_NEWER(X)                                                             \
	X(PRODUCT, "kvjit_product_", 6237, 6236,                                  \
	  "SPV_INTEL_subgroup_matrix_multiply_accumulate")                        \
	X(LOAD, "kvjit_load_plain", 6231, 6228, "SPV_INTEL_2d_block_io")          \
	X(TRANSFORM, "kvjit_load_transform", 6232, 6229, "SPV_INTEL_2d_block_io") \
	X(TRANSPOSE, "kvjit_load_transpose", 6233, 6230, "SPV_INTEL_2d_block_io")

enum {
#define X(name, call, op, capability, extension) KSPV_NEWER_##name,
	KSPV_NEWER(X)
#undef X
	    KSPV_NNEWER
};

extern const char *const kspv_newer_call[KSPV_NNEWER];

/* Of a product: what its factors' bits are. */
enum {
	KSPV_SIGNED_A = 0x1,
	KSPV_SIGNED_B = 0x2,
	KSPV_INT8 = 0x30,
	KSPV_F16 = 0xc00,
	KSPV_BF16 = 0x3000
};

/* Makes instructions of the calls. A module without them stays as it is. False: `why` says what
 * is wrong. */
bool kspv_spell_newer(kspv_words *module);

#endif
