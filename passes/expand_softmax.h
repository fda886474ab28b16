/* SPDX-License-Identifier: Apache-2.0 */
/* expand_softmax.h -- the online softmax of attention and merge, as tile ops.
 *
 * Scores are in base 2. A state's values may be in several tiles, side by side.
 */
#ifndef KVJIT_PASSES_EXPAND_SOFTMAX_H
#define KVJIT_PASSES_EXPAND_SOFTMAX_H

#include "expand.h"

static const double LOG2E = 1.44269504088896340736;

enum { PARTS = 18 }; /* most parts of a key, and of a value that is inside it */

/* A running softmax over rows: maximum (base 2), sum, and weighted sums of the values' parts.
 */
typedef struct softmax_state {
	kir_ref m, l, acc[PARTS]; /* f32<R>, f32<R>, f32<RxD> */
	unsigned n;               /* parts */
} softmax_state;

/* An empty state; n sums of R x dim[i]. */
softmax_state softmax_begin(kir_func *f, int64_t rows, const int64_t *dim, unsigned n);
/* A state as the values a loop carries, and back: m, l, then the sums. */
unsigned softmax_list(const softmax_state *s, kir_ref out[2 + PARTS]);
softmax_state softmax_from(kir_ref first, unsigned n);
/* m, or 0 where it is -inf, so that differences of two -inf never arise. */
kir_ref softmax_safe(kir_func *f, kir_ref m);
/* Natural log-sum-exp, -inf for rows that saw nothing. */
kir_ref softmax_lse(kir_func *f, softmax_state s);
/* The sums divided by l and what the sink adds, 0 where that is 0. sink2: f32<R> base-2 logits
 * or 0; scale: f32 that the values are yet to be multiplied with, or 0. */
softmax_state softmax_normal(kir_func *f, softmax_state s, kir_ref sink2, kir_ref scale);
/* One more normalised part o with natural log-sum-exp lse into the running state. */
softmax_state softmax_join(kir_func *f, softmax_state s, const kir_ref *o, kir_ref lse);

#endif
