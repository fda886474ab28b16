/* SPDX-License-Identifier: Apache-2.0 */
/* native.h -- SPIR-V to a GPU's own machine code with no GPU there, and what is in that code.
 *
 * It is done by Intel's offline compiler, libocloc, and its disassembler, libiga64, which are
 * loaded when first asked for; nothing is linked. A machine that has neither still runs SPIR-V:
 * there the driver compiles it. What is made is an ELF file that the driver of that device
 * takes as a native binary, and no other.
 */
#ifndef KVJIT_NATIVE_H
#define KVJIT_NATIVE_H

#include "../ir/kir.h"

#include <stdint.h>

typedef struct kbe_counts {
#define COUNT(name, doc) uint32_t name;
#include "ocloc/counts.def"
} kbe_counts;

/* Compiles a module for the target of that name. The ELF file is malloc'ed. On false, *why has
 * the reason: no compiler here, a target that it doesn't know, or its messages. */
bool kbe_native(const char *target, const void *spirv, size_t size, void **elf,
                size_t *elf_size, kir_diag *why);
/* Adds the code of the first kernel as assembly. */
bool kbe_native_text(const char *target, const void *elf, size_t size, kir_text *out,
                     kir_diag *why);
bool kbe_native_count(const char *target, const void *elf, size_t size, kbe_counts *out,
                      kir_diag *why);
/* A line for each count: name, number, meaning. */
void kbe_counts_print(const kbe_counts *c, kir_text *out);

#endif
