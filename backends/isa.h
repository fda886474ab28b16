/* SPDX-License-Identifier: Apache-2.0 */
/* isa.h -- which instruction set extensions a piece of code executes, and which a machine has.
 *
 * Found by decoding the finished bytes, never from the options they were compiled with; held
 * against CPUID and XCR0, never against a model name. isa.def is the table.
 */
#ifndef KVJIT_ISA_H
#define KVJIT_ISA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum kbe_isa_row {
#define ISA(name, leaf, sub, reg, bit, xcr0, doc) KBE_ISA_ROW_##name,
#include "isa.def"
	KBE_NISA
} kbe_isa_row;

#define KBE_ISA(name) (UINT64_C(1) << KBE_ISA_ROW_##name)

typedef struct kbe_isa_info {
	const char *name, *doc;
	unsigned leaf, sub, bit, xcr0;
	char reg; /* 'a' to 'd' */
} kbe_isa_info;

extern const kbe_isa_info kbe_isas[KBE_NISA];

/* Tile registers (AMX) must be asked for: the system saves them only for processes it has
 * given them to. Asked once per process, at the first question. */
typedef enum kbe_tiles {
	KBE_TILES_ABSENT,   /* CPUID knows of none                                   */
	KBE_TILES_MASKED,   /* the processor has them, the system doesn't save them  */
	KBE_TILES_REFUSED,  /* the system saves them, but not for this process       */
	KBE_TILES_EMULATED, /* the process brought an emulator (tests/amx)          */
	KBE_TILES_READY
} kbe_tiles;
kbe_tiles kbe_host_tiles(void);
const char *kbe_tiles_text(kbe_tiles t); /* "not in CPUID" */

/* What this machine executes and its system saves. `unknown` is never among it. */
uint64_t kbe_host_isa(void);
/* Whether a machine that executes `host` executes code that uses `code`. */
bool kbe_isa_runs(uint64_t code, uint64_t host);
/* "avx512f avx512vbmi" of a set, in table order; parse gives false for an unknown word. */
void kbe_isa_text(uint64_t set, char *out, size_t len);
bool kbe_isa_parse(const char *text, uint64_t *out);

#endif
