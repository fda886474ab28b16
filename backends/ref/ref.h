/* SPDX-License-Identifier: Apache-2.0 */
/* ref.h -- the interpreter: the meaning of every op, at every level.
 *
 * Floats are computed in double precision. With KREF_ROUND every result is rounded to its
 * written type, which is what "one rounding an operation" in a format's rule means: writers
 * are compared byte for byte in that mode, attention within bounds in the other.
 *
 * Every memory access is checked against the extents of its argument; reading outside, or
 * an uninitialised local, is an error with the op's line, not a crash.
 */
#ifndef KVJIT_REF_H
#define KVJIT_REF_H

#include "../../ir/kir.h"

typedef enum kref_mode { KREF_EXACT = 0, KREF_ROUND = 1 } kref_mode;

/* One parameter, in order. */
typedef struct kref_arg {
	void *base;        /* buffers                                               */
	int64_t bytes;     /* accessible from base; 0: unchecked                    */
	int64_t stride[4]; /* run-time strides in bytes                             */
	int64_t i;         /* integer scalars                                       */
	double f;          /* float scalars                                         */
} kref_arg;

typedef struct kref_stats {
	uint64_t ops;   /* nodes executed                                         */
	uint64_t bytes; /* read and written through parameters                    */
} kref_stats;

/* Runs all phases of f, any level. stats may be NULL. */
bool kref_run(const kir_func *f, const kref_arg *arg, kref_mode mode, kref_stats *stats,
              kir_diag *why);

#endif
