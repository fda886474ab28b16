/* SPDX-License-Identifier: Apache-2.0 */
/* items.h -- the lists of a plan: what each item does, and in what order they stand. */
#ifndef KVJIT_JIT_ITEMS_H
#define KVJIT_JIT_ITEMS_H

#include "jit.h"

enum { KVJIT_MAX_WORK = INT32_MAX / KIR_ITEM };

/* Which queries of a sequence lists are made for. Where a plan is for two kernels (few.c), the
 * last tile of a sequence goes to the other one if it has no more than `most` queries. */
typedef struct kvjit_share {
	int64_t tile; /* queries in a tile of the kernel for many */
	int64_t most; /* 0: one kernel has all                   */
	bool few;     /* the lists are those of the other kernel */
} kvjit_share;

/* Of nq queries of a sequence, those at the end that the kernel for few takes. */
static inline int64_t kvjit_share_rest(const kvjit_share *share, int64_t nq)
{
	int64_t rest = share->most ? nq % share->tile : 0;

	return rest <= share->most ? rest : 0;
}

/* What the lists of one cache are made from. */
typedef struct kvjit_items {
	const kvjit_shape *shape;
	const kvjit_batch *batch;
	const int32_t *lens;
	kvjit_share share;
} kvjit_items;

typedef struct kvjit_counts {
	int64_t work, join, slots;
} kvjit_counts;

/* False, and the sequence by which they are more than an s32 can index. */
bool kvjit_items_count(const kvjit_items *of, kvjit_counts *c, int64_t *sequence);
/* As many as kvjit_items_count said. */
void kvjit_items_fill(const kvjit_items *of, int32_t *work, int32_t *join);
/* Puts the n items of `from` into `to`, dearest first. */
void kvjit_items_sort(const int32_t *from, int32_t *to, int64_t n);

#endif
