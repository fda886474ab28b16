/* SPDX-License-Identifier: Apache-2.0 */
/* weave.h -- what weave.c and spread.c ask of loops at level V. */
#ifndef KVJIT_PASSES_WEAVE_H
#define KVJIT_PASSES_WEAVE_H

#include "emit.h"

typedef struct span {
	kir_ref begin, end;
} span;

/* A node with what is in it. */
span weave_span(const kir_func *f, kir_ref n);
/* The local that node n reads or writes, 0 for a parameter; false: none. */
bool weave_touches(const kir_func *f, kir_ref n, kir_ref *root, bool *writes);
/* Whether a and b must keep their order, or b has ops of tile registers. */
bool weave_conflict(const kir_func *f, span a, span b);
/* Iterations of a loop with literal bounds, 0 if it has others. */
int64_t weave_trips(const kir_func *f, kir_ref loop);
/* Ops that are executed, where bounds are literals. */
int64_t weave_work(const kir_func *f, span s);
bool weave_is_product(kir_op op);
/* A loop that may take turns with another: sequential, of literal bounds, carrying nothing. */
bool weave_is_plain(const kir_func *f, kir_ref n);

#endif
