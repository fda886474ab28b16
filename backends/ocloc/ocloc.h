/* SPDX-License-Identifier: Apache-2.0 */
/* ocloc.h -- what the files of this folder share. */
#ifndef KVJIT_OCLOC_H
#define KVJIT_OCLOC_H

#include "../native.h"

typedef struct kno_device {
	const char *target, *name;
	unsigned major, minor;
} kno_device;

/* NULL after saying which targets there are. */
const kno_device *kno_find(const char *target, kir_diag *why);

typedef struct kno_elf {
	const unsigned char *text; /* code of the first kernel */
	size_t text_size;
	char *info; /* what the compiler says of it, YAML; own copy, NUL at the end */
} kno_elf;

/* zebin.c: sections of the ELF file; free(info). */
bool kno_elf_read(const void *elf, size_t size, kno_elf *out, kir_diag *why);
/* Registers, lanes, memory: the counts that aren't instructions. */
void kno_info_count(const char *info, kbe_counts *out);

/* asm.c: instructions, by their assembly. */
void kno_asm_count(const char *text, kbe_counts *out);

#endif
