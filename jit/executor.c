/* SPDX-License-Identifier: Apache-2.0 */
/* executor.c -- the default parallel loop: OpenMP.
 *
 * Pieces are handed out as threads come for them, so that one long sequence doesn't hold up
 * the rest. Inside a parallel region of the host the loop runs on the calling thread: the
 * host has spread its work already.
 *
 * A forked child has none of its parent's threads, but GCC's OpenMP waits for them. So where
 * the parent's loops had started some, the child's run on the calling thread.
 */
#include "jit.h"

#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>

/* Pieces for each thread: enough to even out unequal items, few enough that handing them
 * out costs nothing beside them. */
enum { PIECES = 16 };

static atomic_bool lost; /* a parent's threads, which this process doesn't have */

static void in_child(void)
{
	lost = true;
}

/* Before the first threads; the library is never unloaded (CMakeLists.txt), so the handler
 * stays where it is. */
static void watch_forks(void)
{
	pthread_atfork(NULL, NULL, in_child);
}

void kvjit_openmp(int64_t n, void (*fn)(int64_t begin, int64_t end, void *ctx), void *ctx,
                  void *executor)
{
	int threads = omp_get_max_threads();
	static pthread_once_t watched = PTHREAD_ONCE_INIT;
	int64_t chunk, pieces, i;

	(void)executor;
	if (n <= 0)
		return;
	if (n == 1 || threads == 1 || lost || omp_in_parallel()) {
		fn(0, n, ctx);
		return;
	}
	chunk = n / ((int64_t)threads * PIECES);
	if (chunk < 1)
		chunk = 1;
	pieces = (n + chunk - 1) / chunk;
	if (threads > pieces)
		threads = (int)pieces;
	pthread_once(&watched, watch_forks);
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
