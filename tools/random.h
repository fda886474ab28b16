/* SPDX-License-Identifier: Apache-2.0 */
/* random.h -- the numbers that made-up data, random programs and simulated noise are functions
 * of: splitmix64, the same on every machine.
 */
#ifndef KVJIT_TOOL_RANDOM_H
#define KVJIT_TOOL_RANDOM_H

#include <stdint.h>

static inline uint64_t random_bits(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

#endif
