/* SPDX-License-Identifier: Apache-2.0 */
/* refuse.h -- for files that hold against a kernel what its caller handed over: BAD("...")
 * keeps the sentence as the error of kernel `k`, and is KVJIT_BAD_ARGUMENT.
 */
#ifndef KVJIT_JIT_REFUSE_H
#define KVJIT_JIT_REFUSE_H

#include "jit.h"

/* k takes no argument of this name: the sentence lists those it takes. */
kvjit_status kvjit_no_such(const kvjit_kernel *k, const char *name);

/* What k's variant or second kernel refuses, k refuses: s, with that sentence. */
static inline kvjit_status kvjit_pass_on(const kvjit_kernel *k, const kvjit_kernel *part,
                                         kvjit_status s)
{
	return s == KVJIT_OK || part == k
	           ? s
	           : kvjit_fail(kvjit_errors_of(k), s, "%s", kvjit_kernel_error(part));
}

#define BAD(...) kvjit_fail(kvjit_errors_of(k), KVJIT_BAD_ARGUMENT, __VA_ARGS__)

#endif
