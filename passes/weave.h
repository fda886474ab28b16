/* SPDX-License-Identifier: Apache-2.0 */
/* weave.h -- what weave.c and spread.c ask of loops at level V. */
#ifndef KVJIT_PASSES_WEAVE_H
#define KVJIT_PASSES_WEAVE_H

#include "analysis.h"
#include "emit.h"

typedef struct span {
	kir_ref begin, end;
} span;

/* A node with what is in it. */
span weave_span(const kir_func *f, kir_ref n);
/* Whether a and b must keep their order, or b has ops of tile registers. */
bool weave_conflict(const kir_func *f, span a, span b);
/* The index of iteration `trip` of a loop with literal bounds. */
int64_t weave_index(const kir_func *f, kir_ref loop, int64_t trip);
/* Ops that are executed, where bounds are literals. */
int64_t weave_work(const kir_func *f, span s);
bool weave_is_product(kir_op op);
/* A loop that may take turns with another: sequential, of literal bounds, carrying nothing. */
bool weave_is_plain(const kir_func *f, kir_ref n);

#endif
