/* SPDX-License-Identifier: Apache-2.0 */
/* support_check.h -- what tests of whole kernels share. */
#ifndef KVJIT_TEST_SUPPORT_CHECK_H
#define KVJIT_TEST_SUPPORT_CHECK_H

#include <stdbool.h>
#include <stddef.h>

/* Whether libkvjit-x86.so is there. Without it (builds under sanitizers) a kernel costs a run
 * of the C compiler, so tests of many kernels only make their programs. */
bool support_x86(void);

/* Runs all passes on a problem text with the schedule's words behind it, for a row of
 * targets.def, verifying and reading back the text after each. False and a sentence. */
bool support_passes(const char *text, const char *sched, const char *target, char *why,
                    size_t len);

#endif
