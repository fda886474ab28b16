/* SPDX-License-Identifier: Apache-2.0 */
/* sample.h -- arguments for any function, made from its parameters' names and types.
 *
 * A small random batch: sequences of no tokens, one, a part of a page, several pages; a block
 * table over shuffled pages; the work list a plan would make; slots with a skipped and a
 * repeated one; random numbers without NaN. Cache slots that no sequence uses hold NaN
 * codes, so that who reads them is found out. Names mean what they mean to kvjit_plan and
 * to the operands of the level-A ops (docs/IR.md); any other gets numbers that index safely.
 *
 * A function of the signature, the sizes read from the text, the schedule and the seed.
 */
#ifndef KVJIT_TOOL_SAMPLE_H
#define KVJIT_TOOL_SAMPLE_H

#include "../backends/ref/ref.h"

typedef struct sample {
	unsigned n;    /* parameters            */
	kref_arg *arg; /* one for each          */
	int64_t *size; /* bytes at arg[i].base */
} sample;

/* NULL and a message if no arguments can be made; sample_free it. */
sample *sample_new(const kir_func *f, uint64_t seed, kir_diag *why);
sample *sample_copy(const sample *s); /* its own memory; NULL: none left */
void sample_free(sample *s);          /* NULL is fine                     */

/* Compares what two runs of f left in its out and inout parameters. Integers and codes must
 * be equal; a float may differ by tol times (its size + the largest one's of its parameter
 * / 16). False and the first difference. */
bool sample_same(const kir_func *f, const sample *a, const sample *b, double tol,
                 kir_diag *why);

#endif
