/* SPDX-License-Identifier: Apache-2.0 */
/* enter.c -- arguments to where the ABI wants them. libffi, which knows any ABI, takes half a
 * microsecond for as many as attention has, for each range of a loop that a thread takes.
 *
 * The entry is called as a function of all registers there are and of a struct, which the ABI
 * passes on the stack as it lies. A callee looks at no more than its own parameters, and the
 * caller clears the stack.
 */
#include "enter.h"

#include <string.h>

#if defined(__clang__) /* a prototype that can't be right: there is none to compare with */
#define ANY_PROTOTYPE __attribute__((no_sanitize("function")))
#else
#define ANY_PROTOTYPE
#endif

static void put_word(kvjit_registers *r, uint64_t x)
{
	if (r->nword < 6)
		r->word[r->nword++] = x;
	else
		r->stack[r->nstack++] = x;
}

static void put_real(kvjit_registers *r, float x)
{
	if (r->nreal < 8)
		r->real[r->nreal++] = x;
	else
		memcpy(&r->stack[r->nstack++], &x, sizeof(x));
}

void kvjit_put(kvjit_registers *r, const kvjit_cell *cell, const uint8_t *kind, unsigned n)
{
	memset(r->word, 0, sizeof(r->word));
	memset(r->real, 0, sizeof(r->real));
	r->nword = r->nreal = r->nstack = 0;
	for (unsigned i = 0; i < n; i++) {
		if (kind[i] == KVJIT_CELL_real)
			put_real(r, cell[i].f);
		else
			put_word(r, kind[i] == KVJIT_CELL_half ? (uint32_t)cell[i].w
			                                       : (uint64_t)cell[i].i);
	}
}

/* Most kernels have the least stack; a larger one costs its copying. */
#define ENTER_WITH(words)                                                                      \
	typedef struct stack_##words {                                                         \
		uint64_t at[words];                                                            \
	} stack_##words;                                                                       \
	typedef void function_##words(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,        \
	                              uint64_t, float, float, float, float, float, float,      \
	                              float, float, stack_##words);                            \
	ANY_PROTOTYPE static void enter_##words(void (*entry)(void), const kvjit_registers *r, \
	                                        const uint64_t *w, unsigned nstack,            \
	                                        const int64_t *last)                           \
	{                                                                                      \
		const float *f = r->real;                                                      \
		stack_##words s;                                                               \
                                                                                               \
		memcpy(s.at, r->stack, r->nstack * sizeof(s.at[0]));                           \
		memcpy(s.at + r->nstack, last, (nstack - r->nstack) * sizeof(s.at[0]));        \
		((function_##words *)entry)(w[0], w[1], w[2], w[3], w[4], w[5], f[0], f[1],    \
		                            f[2], f[3], f[4], f[5], f[6], f[7], s);            \
	}
ENTER_WITH(16)
ENTER_WITH(64)
ENTER_WITH(256)
_Static_assert(KVJIT_MAX_STACK == 256, "the largest of these");

void kvjit_enter(void (*entry)(void), const kvjit_registers *r, const int64_t last[3])
{
	unsigned in_words = 6 - r->nword < 3 ? 6 - r->nword : 3;
	unsigned nstack = r->nstack + 3 - in_words;
	uint64_t word[6];

	memcpy(word, r->word, sizeof(word));
	memcpy(word + r->nword, last, in_words * sizeof(word[0]));
	last += in_words;
	if (nstack <= 16)
		enter_16(entry, r, word, nstack, last);
	else if (nstack <= 64)
		enter_64(entry, r, word, nstack, last);
	else
		enter_256(entry, r, word, nstack, last);
}
