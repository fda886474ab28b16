/* SPDX-License-Identifier: Apache-2.0 */
/* support_program.h -- random level-V programs whose results don't depend on who runs them.
 *
 * A program reads buffers in_ELEM and writes out_ELEM, and writes to near, of f32, what is only
 * right to some ulps: exp2, log2, tanh, sums. Nothing else is computed from these. The sign of
 * a zero that min, max or abs of a NaN may choose, and NaNs' payloads, are never made visible.
 */
#ifndef KVJIT_TESTS_SUPPORT_PROGRAM_H
#define KVJIT_TESTS_SUPPORT_PROGRAM_H

#include "../ir/kir.h"

enum { SUPPORT_PROGRAM_ELEMS = 1024, SUPPORT_PROGRAM_PARAMS = 24 };

/* One function, for target t, a function of its seed. */
kir_func *support_program(kir_module *m, const kir_target *t, uint64_t seed);

/* A number from 0 to n - 1. */
int support_below(uint64_t *state, int n);

#endif
