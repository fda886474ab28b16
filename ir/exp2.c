/* SPDX-License-Identifier: Apache-2.0 */
/* exp2.c -- see exp2.h. */
#include "exp2.h"

#include <stddef.h>

static const kir_exp2 table[] = {
#define EXP2(degree, error, ...) { degree, error, { __VA_ARGS__ } },
#include "exp2.def"
};

const kir_exp2 *kir_exp2_of(long long degree)
{
	for (unsigned i = 0; i < sizeof table / sizeof table[0]; i++)
		if (table[i].degree == degree)
			return &table[i];
	return NULL;
}
