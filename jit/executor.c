/* SPDX-License-Identifier: Apache-2.0 */
/* executor.c -- the default parallel loop, OpenMP; and one on another OpenMP's threads.
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
#include <string.h>

/* Pieces for each thread: enough to even out unequal items, few enough that handing them
 * out costs nothing beside them. */
enum { PIECES = 16 };

static pthread_once_t watched = PTHREAD_ONCE_INIT;
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

/* -- another runtime's threads ---------------------------------------------------------- */

typedef struct pieces {
	void (*fn)(int64_t begin, int64_t end, void *ctx);
	void *ctx;
	int64_t n, chunk;
	atomic_int_fast64_t next;
} pieces;

/* What each of its threads runs, however many it has. */
static void take_pieces(void *data)
{
	pieces *p = data;
	int64_t begin;

	while ((begin = atomic_fetch_add_explicit(&p->next, p->chunk, memory_order_relaxed)) <
	       p->n)
		p->fn(begin, p->chunk < p->n - begin ? begin + p->chunk : p->n, p->ctx);
}

void kvjit_parallel_gomp(int64_t n, void (*fn)(int64_t begin, int64_t end, void *ctx),
                         void *ctx, void *executor)
{
	void (*parallel)(void (*)(void *), void *, unsigned threads, unsigned flags);
	int64_t chunk = n / ((int64_t)omp_get_max_threads() * PIECES);
	pieces p = { .fn = fn, .ctx = ctx, .n = n, .chunk = chunk < 1 ? 1 : chunk };

	if (n <= 1 || lost) {
		take_pieces(&p);
		return;
	}
	pthread_once(&watched, watch_forks);
	memcpy(&parallel, &executor, sizeof(parallel));
	parallel(take_pieces, &p, 0, 0); /* 0: as many as it has; one, inside a region of its */
}

int kvjit_openmp_threads(void)
{
	return omp_get_max_threads();
}
