/* SPDX-License-Identifier: Apache-2.0 */
/* executor.c -- the default parallel loop: OpenMP.
 *
 * Pieces are handed out as threads come for them, so that one long sequence doesn't hold up
 * the rest. Inside a parallel region of the host the loop runs on the calling thread: the
 * host has spread its work already.
 */
#include "jit.h"

#include <omp.h>

/* Pieces for each thread: enough to even out unequal items, few enough that handing them
 * out costs nothing beside them. */
enum { PIECES = 16 };

void kvjit_openmp(int64_t n, void (*fn)(int64_t begin, int64_t end, void *ctx), void *ctx,
                  void *executor)
{
	int threads = omp_get_max_threads();
	int64_t chunk, pieces, i;

	(void)executor;
	if (n <= 0)
		return;
	if (n == 1 || threads == 1 || omp_in_parallel()) {
		fn(0, n, ctx);
		return;
	}
	chunk = n / ((int64_t)threads * PIECES);
	if (chunk < 1)
		chunk = 1;
	pieces = (n + chunk - 1) / chunk;
	if (threads > pieces)
		threads = (int)pieces;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
	for (i = 0; i < pieces; i++) {
		int64_t begin = i * chunk, end = begin + chunk;

		fn(begin, end < n ? end : n, ctx);
	}
}

int kvjit_openmp_threads(void)
{
	return omp_get_max_threads();
}
