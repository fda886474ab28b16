/* SPDX-License-Identifier: Apache-2.0 */
/* stagger.h -- between the parts of pass stagger: which loops it takes (stagger_find.c), and
 * what it makes of them (stagger.c).
 */
#ifndef KVJIT_PASSES_STAGGER_H
#define KVJIT_PASSES_STAGGER_H

#include "analysis.h"
#include "emit.h"

enum { STAGGER_BLOCK = 32 /* keys whose scores are computed at once: two columns of tiles */ };

typedef struct stagger {
	const kir_func *in;
	kir_func *out;
	kir_ref *map, *ahead;
	bool *set;
	kir_ref loop, first, yield; /* the loop, its body, its yield                     */
	kir_ref cond, top, end;     /* the if around the tile, what is in it, its yield  */
	kir_ref dot, keys;          /* scores, and the load of their keys                */
	kir_ref by_row, by_key;     /* their scales, of before the loop and loads; or 0  */
	kir_ref fma, exp2, weights; /* scores less the reference; 2^that; narrowed       */
	kir_ref by_value;           /* the load that they are multiplied by, or 0        */
	kir_ref sums, values;       /* the product with values, and the load of those    */
	kir_ref scaled;             /* if: the sums, scaled if a reference changed       */
	kir_ref factor;             /* that they are scaled by                           */
	kir_ref ring[2];            /* of out: locals of scores, of a block of keys each */
} stagger;

/* Carried value i of the loop, as its body has it. */
static inline kir_ref stagger_arg(const stagger *s, unsigned i)
{
	return s->loop + 2 + i;
}

/* Whether n is a loop that the pass takes; fills in what its parts are. */
bool stagger_finds(stagger *s, kir_ref n);
/* Marks in s->set what of the loop node n is computed from, n left out; false: a carried value
 * is, or what has a region. */
bool stagger_mark(stagger *s, kir_ref n);

#endif
