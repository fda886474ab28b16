/* SPDX-License-Identifier: Apache-2.0 */
/* skip.h -- what skip_blocks.c asks: what an iteration that a mask empties does (skip_still.c),
 * and which integers may wrap (skip_wraps.c). */
#ifndef KVJIT_PASSES_SKIP_H
#define KVJIT_PASSES_SKIP_H

#include "passes.h"

/* Whether a value that the loop carries is known to be another one behind an iteration all of
 * whose scores, that is `masked`, are -inf: then leaving it out would change the result. */
bool skip_moves(const kir_func *f, kir_ref loop, kir_ref yield, kir_ref masked);

/* By node, whether it is an integer that may wrap around: an array of nnode in f's module. */
bool *skip_wraps(const kir_func *f);

#endif
