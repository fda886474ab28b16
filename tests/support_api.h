/* SPDX-License-Identifier: Apache-2.0 */
/* support_api.h -- what the tests of the library share: opening, compiling, sentences.
 *
 * Each function fails the test with the library's own sentence when it can't do its work. */
#ifndef KVJIT_TESTS_SUPPORT_API_H
#define KVJIT_TESTS_SUPPORT_API_H

#include "../jit/jit.h"

/* y = a * x, the first four of sixteen columns, at level V. */
extern const char scale_ir[];
extern const char attn_problem[];

kvjit *open_with(const char *backend, const char *target);
/* A context whose kernels are machine code: x86 where it was built, else c. */
kvjit *open_code(void);
kvjit_kernel *compile(kvjit *kv, const char *text, const char *sched);
/* sentence holds each of the words, which are separated by '|'. */
void assert_says(const char *sentence, const char *words);
double seconds(void);

#endif
