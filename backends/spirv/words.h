/* SPDX-License-Identifier: Apache-2.0 */
/* words.h -- a finished module of SPIR-V as its words, for what is put right in it afterwards.
 */
#ifndef KVJIT_BACKENDS_SPIRV_WORDS_H
#define KVJIT_BACKENDS_SPIRV_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of the SPIR-V specification. */
enum {
	KSPV_HEADER = 5,    /* words before the first instruction            */
	KSPV_BOUND = 3,     /* the one that all numbers are below             */
	KSPV_MOST = 1 << 22 /* numbers that a module may have                */
};

/* Whether every instruction ends inside the module. */
static inline bool kspv_sound(const uint32_t *word, size_t n)
{
	size_t at = KSPV_HEADER;

	while (at < n && word[at] >> 16)
		at += word[at] >> 16;
	return n > KSPV_HEADER && at == n && word[KSPV_BOUND] < KSPV_MOST;
}

#endif
