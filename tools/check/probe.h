/* SPDX-License-Identifier: Apache-2.0 */
/* probe.h -- what an attention's own score and mask say, asked of the interpreter.
 *
 * The regions of the level-A program are copied into a function that runs over the keys of one
 * query: whatever a problem's fields or expressions become, checks know it from the program,
 * and from nowhere else. */
#ifndef KVJIT_TOOL_PROBE_H
#define KVJIT_TOOL_PROBE_H

#include "bind.h"
#include "../../ir/kir.h"

typedef struct probe probe;

/* For the attention at node n of f, whose module must outlive the probe. NULL: no memory. */
probe *probe_new(const kir_func *f, kir_ref n);
void probe_free(probe *p); /* NULL is fine */
/* s[j], the scaled products of sequence b, head h and the query at position i with keys 0 to
 * n - 1, become scores, -inf where the mask hides the key. Operands are what b binds. False and
 * a sentence if the interpreter stops. */
bool probe_scores(const probe *p, const bind *args, int64_t b, int64_t h, int64_t i, int64_t n,
                  float *s, char *why, size_t len);

#endif
