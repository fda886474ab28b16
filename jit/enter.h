/* SPDX-License-Identifier: Apache-2.0 */
/* enter.h -- calling a kernel's entry, whose parameters nobody knew when this was compiled.
 *
 * By the System V ABI of x86-64: the first six integers and pointers go in registers, the first
 * eight floats in others, all the rest in order on the stack, each in eight bytes.
 */
#ifndef KVJIT_JIT_ENTER_H
#define KVJIT_JIT_ENTER_H

#include <stdint.h>

/* An argument of the entry, and what it is. */
typedef union kvjit_cell {
	void *p;
	int64_t i;
	int32_t w;
	float f;
} kvjit_cell;

typedef enum kvjit_cell_kind {
	KVJIT_CELL_word, /* p or i */
	KVJIT_CELL_half, /* w */
	KVJIT_CELL_real  /* f */
} kvjit_cell_kind;

enum { KVJIT_MAX_STACK = 256 };

/* Arguments, each in its place. */
typedef struct kvjit_registers {
	uint64_t word[6];
	float real[8];
	unsigned nword, nreal, nstack;
	uint64_t stack[KVJIT_MAX_STACK];
} kvjit_registers;

/* The n first arguments, at most KVJIT_MAX_STACK - 3. */
void kvjit_put(kvjit_registers *r, const kvjit_cell *cell, const uint8_t *kind, unsigned n);
/* Calls entry with these and then three words more. */
void kvjit_enter(void (*entry)(void), const kvjit_registers *r, const int64_t last[3]);

#endif
