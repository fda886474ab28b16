/* SPDX-License-Identifier: Apache-2.0 */
/* roll.h -- what roll.c, which finds copies and writes the loop, and roll_copies.c, which
 * compares them and writes the body, know together.
 */
#ifndef KVJIT_PASSES_ROLL_H
#define KVJIT_PASSES_ROLL_H

#include "emit.h"

enum { ROLL_COPIES = 64 }; /* at most */

/* Copies of the nodes from start[0] to before start[1], and so on. */
typedef struct run {
	kir_ref *start; /* copies + 1 of them                                          */
	unsigned copies;
	kir_ref *own; /* of the first copy: locals that become the body's, up to a 0 */
} run;

typedef struct roll {
	const kir_func *in;
	kir_func *out; /* NULL while runs are looked for */
	kir_ref *map;
	kir_ref *end;     /* by node: where what it opens is over, else the next node       */
	kir_ref *first;   /* by node: its first reader and its last, those of what it is a  */
	kir_ref *last;    /* literal away from, or a view of, taken together                */
	kir_ref *region;  /* by node: the op or yield that opens the region it stands in    */
	uint64_t *hash;   /* by node: its op and what it opens                              */
	kir_ref *partner; /* by node of the run at hand: that of the first copy             */
	kir_ref *body;    /* by node of the first copy: what it is in the loop              */
	kir_ref *before, *after; /* by local: its neighbours in one that holds them all   */
	kir_ref *linked;         /* locals that the run at hand gave a neighbour */
	kir_ref *taken;          /* those it has as its copies' own              */
	unsigned nlinked, ntaken;
	run **at; /* by node: the run that begins there */
	run *r;
	unsigned bad; /* first copy that doesn't agree */
	kir_ref counter;
	kir_ref *own;
	unsigned nown;
} roll;

/* Copy `copy` doesn't agree with those before it. */
bool roll_fail(roll *r, unsigned copy);
/* Whether n is no part of a copy, wherever it stands: literals, sums with them, views; locals,
 * unless what a copy opens holds them. */
bool roll_is_followed(const kir_func *f, kir_ref n);
/* Whether x is what it is before the run begins. */
bool roll_is_outside(const roll *r, kir_ref x);
/* Where local l begins in the one that holds its neighbours too, and how long that is. */
int64_t roll_offset_of(const roll *r, kir_ref l, int64_t *bytes);
/* All copies of the run r->r side by side, node by node: whether they agree. With r->out the
 * body of their loop is appended to it. */
bool roll_walk(roll *r);

#endif
