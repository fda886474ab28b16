/* SPDX-License-Identifier: Apache-2.0 */
/* support_draw.h -- numbers and words drawn, and text put together of them: what the files of
 * support_random share. */
#ifndef KVJIT_TESTS_SUPPORT_DRAW_H
#define KVJIT_TESTS_SUPPORT_DRAW_H

#include "support_random.h"

#include "../tools/random.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct rng {
	uint64_t s;
} rng;

static inline int64_t pick(rng *r, int64_t lo, int64_t hi)
{
	return lo + (int64_t)(random_bits(&r->s) % (uint64_t)(hi - lo + 1));
}

static inline bool one_in(rng *r, int n)
{
	return pick(r, 1, n) == 1;
}

#define WORD(r, ...)                                \
	((const char *const[]){ __VA_ARGS__ }[pick( \
	    r, 0, sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *) - 1)])

__attribute__((format(printf, 2, 3))) static inline void add(char *text, const char *fmt, ...)
{
	size_t n = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + n, SUPPORT_RANDOM_TEXT - n, fmt, ap);
	va_end(ap);
}

/* A problem of a format that is written down, with a mask and a score that are expressions
 * (support_random_written.c). */
void support_random_written(rng *r, char *text, int *page);

#endif
