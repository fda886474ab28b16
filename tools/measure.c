/* SPDX-License-Identifier: Apache-2.0 */
/* measure.c -- see measure.h.
 *
 * The read and multiply-add loops exist for AVX-512, AVX2 and anything else, chosen by what
 * the processor has. The read loop touches a line a step on one linear stream, with a
 * prefetch far ahead; its result is used, so that no compiler drops it.
 */
#include "measure.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

double measure_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* -- threads ------------------------------------------------------------------------------ */

typedef struct worker {
	measure_team *team;
	int cpu;
	pthread_t thread;
} worker;

struct measure_team {
	int threads;
	cpu_set_t before; /* of the caller, given back at the end */
	pthread_barrier_t begin, end;
	bool stop;
	atomic_llong next;
	int64_t n;
	void (*fn)(int64_t begin, int64_t end, void *ctx);
	void *ctx;
	worker worker[];
};

static bool pin(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof set, &set) == 0;
}

static void take_work(measure_team *t)
{
	for (;;) {
		int64_t i = atomic_fetch_add(&t->next, 1);
		if (i >= t->n)
			return;
		t->fn(i, i + 1, t->ctx);
	}
}

static void *work(void *arg)
{
	worker *w = arg;
	pin(w->cpu);
	for (;;) {
		pthread_barrier_wait(&w->team->begin);
		if (w->team->stop)
			return NULL;
		take_work(w->team);
		pthread_barrier_wait(&w->team->end);
	}
}

measure_team *measure_team_new(int threads)
{
	cpu_set_t allowed;
	int cpus[CPU_SETSIZE], n = 0;
	if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
		return NULL;
	/* from the last: the first processors take most interrupts */
	for (int i = CPU_SETSIZE - 1; i >= 0; i--)
		if (CPU_ISSET(i, &allowed))
			cpus[n++] = i;
	if (threads < 1 || threads > n)
		return NULL;
	measure_team *t = calloc(1, sizeof *t + (size_t)threads * sizeof(worker));
	if (!t)
		return NULL;
	t->threads = threads;
	t->before = allowed;
	pthread_barrier_init(&t->begin, NULL, (unsigned)threads);
	pthread_barrier_init(&t->end, NULL, (unsigned)threads);
	for (int i = 0; i < threads; i++)
		t->worker[i] = (worker){ .team = t, .cpu = cpus[i] };
	for (int i = 1; i < threads; i++)
		if (pthread_create(&t->worker[i].thread, NULL, work, &t->worker[i]) != 0)
			abort();
	pin(cpus[0]);
	return t;
}

void measure_team_free(measure_team *t)
{
	if (!t)
		return;
	t->stop = true;
	if (t->threads > 1)
		pthread_barrier_wait(&t->begin);
	for (int i = 1; i < t->threads; i++)
		pthread_join(t->worker[i].thread, NULL);
	sched_setaffinity(0, sizeof t->before, &t->before);
	free(t);
}

int measure_team_cpu(const measure_team *t)
{
	return t->worker[0].cpu;
}

void measure_parallel(int64_t n, void (*fn)(int64_t begin, int64_t end, void *ctx), void *ctx,
                      void *team)
{
	measure_team *t = team;
	if (t->threads == 1) {
		fn(0, n, ctx);
		return;
	}
	t->n = n;
	t->fn = fn;
	t->ctx = ctx;
	atomic_store(&t->next, 0);
	pthread_barrier_wait(&t->begin);
	take_work(t);
	pthread_barrier_wait(&t->end);
}

/* -- loops --------------------------------------------------------------------------------- */

enum { CHAINS = 8, AHEAD = 4096, FMA_STEPS = 20000, FMA_CHAINS = 16 };

static uint64_t read_plain(const void *from, size_t bytes)
{
	const uint64_t *p = from;
	uint64_t sum[CHAINS] = { 0 };
	for (size_t i = 0; i + CHAINS <= bytes / 8; i += CHAINS)
		for (int j = 0; j < CHAINS; j++)
			sum[j] += p[i + (size_t)j];
	for (int j = 1; j < CHAINS; j++)
		sum[0] += sum[j];
	return sum[0];
}

static float fma_plain(float x)
{
	float a[FMA_CHAINS] = { 0 };
	for (int i = 0; i < FMA_STEPS; i++)
		for (int j = 0; j < FMA_CHAINS; j++)
			a[j] = a[j] * x + x;
	for (int j = 1; j < FMA_CHAINS; j++)
		a[0] += a[j];
	return a[0];
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static uint64_t read_avx512(const void *from, size_t bytes,
                                                               size_t ahead)
{
	const char *p = from;
	__m512i sum[CHAINS];
	for (int j = 0; j < CHAINS; j++)
		sum[j] = _mm512_setzero_si512();
	for (size_t i = 0; i + 64 * CHAINS <= bytes; i += 64 * CHAINS)
#pragma GCC unroll 8
		for (int j = 0; j < CHAINS; j++) {
			_mm_prefetch(p + i + ahead + 64 * j, _MM_HINT_T0);
			sum[j] = _mm512_add_epi64(sum[j], _mm512_loadu_si512(p + i + 64 * j));
		}
	for (int j = 1; j < CHAINS; j++)
		sum[0] = _mm512_add_epi64(sum[0], sum[j]);
	return (uint64_t)_mm512_reduce_add_epi64(sum[0]);
}

__attribute__((target("avx2"))) static uint64_t read_avx2(const void *from, size_t bytes,
                                                          size_t ahead)
{
	const char *p = from;
	__m256i sum[CHAINS];
	for (int j = 0; j < CHAINS; j++)
		sum[j] = _mm256_setzero_si256();
	for (size_t i = 0; i + 32 * CHAINS <= bytes; i += 32 * CHAINS)
#pragma GCC unroll 8
		for (int j = 0; j < CHAINS; j++) {
			_mm_prefetch(p + i + ahead + 32 * j, _MM_HINT_T0);
			sum[j] = _mm256_add_epi64(
			    sum[j], _mm256_loadu_si256((const __m256i *)(p + i + 32 * j)));
		}
	for (int j = 1; j < CHAINS; j++)
		sum[0] = _mm256_add_epi64(sum[0], sum[j]);
	return (uint64_t)_mm256_extract_epi64(sum[0], 0);
}

__attribute__((target("avx512f"))) static float fma_avx512(float x)
{
	__m512 a[FMA_CHAINS], v = _mm512_set1_ps(x);
	for (int j = 0; j < FMA_CHAINS; j++)
		a[j] = _mm512_set1_ps((float)j);
	for (int i = 0; i < FMA_STEPS; i++)
#pragma GCC unroll 16
		for (int j = 0; j < FMA_CHAINS; j++)
			a[j] = _mm512_fmadd_ps(a[j], v, v);
	for (int j = 1; j < FMA_CHAINS; j++)
		a[0] = _mm512_add_ps(a[0], a[j]);
	return _mm512_reduce_add_ps(a[0]);
}

__attribute__((target("avx2,fma"))) static float fma_avx2(float x)
{
	__m256 a[12], v = _mm256_set1_ps(x);
	for (int j = 0; j < 12; j++)
		a[j] = _mm256_set1_ps((float)j);
	for (int i = 0; i < FMA_STEPS; i++)
#pragma GCC unroll 12
		for (int j = 0; j < 12; j++)
			a[j] = _mm256_fmadd_ps(a[j], v, v);
	for (int j = 1; j < 12; j++)
		a[0] = _mm256_add_ps(a[0], a[j]);
	return _mm256_cvtss_f32(a[0]);
}
#endif

/* ahead: how far from a line the one is that is touched with it. */
static uint64_t read_all(const void *from, size_t bytes, size_t ahead)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx512f"))
		return read_avx512(from, bytes, ahead);
	if (__builtin_cpu_supports("avx2"))
		return read_avx2(from, bytes, ahead);
#endif
	(void)ahead;
	return read_plain(from, bytes);
}

/* Result in *out, multiply-adds done as the return value. */
static double fma_all(float x, float *out)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx512f")) {
		*out = fma_avx512(x);
		return (double)FMA_STEPS * FMA_CHAINS * 16;
	}
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
		*out = fma_avx2(x);
		return (double)FMA_STEPS * 12 * 8;
	}
#endif
	*out = fma_plain(x);
	return (double)FMA_STEPS * FMA_CHAINS;
}

/* -- in pieces, by all threads ------------------------------------------------------------- */

typedef struct piece {
	const char *from;
	char *to; /* NULL: only read */
	size_t bytes, size;
	atomic_ullong sum;
} piece;

static void run_piece(int64_t begin, int64_t end, void *ctx)
{
	piece *p = ctx;
	size_t at = (size_t)begin * p->size, stop = (size_t)end * p->size;
	if (stop > p->bytes)
		stop = p->bytes;
	if (p->to)
		memcpy(p->to + at, p->from + at, stop - at);
	else
		atomic_fetch_add(&p->sum, read_all(p->from + at, stop - at, AHEAD));
}

static double run_pieces(measure_team *t, piece *p)
{
	/* large pieces, a few for each thread */
	p->size = (p->bytes / (size_t)(t->threads * 4) + 4096) / 4096 * 4096;
	if (t->threads == 1)
		p->size = p->bytes + 1;
	double start = measure_now();
	measure_parallel((int64_t)((p->bytes + p->size - 1) / p->size), run_piece, p, t);
	return measure_now() - start;
}

typedef struct blocks {
	const char *from;
	size_t block, count, first; /* bytes of one; how many there are; where to begin */
	atomic_ullong sum;
} blocks;

enum { SMALL_BLOCK = 4096, BLOCKS_AHEAD = 16 };

static void touch(const char *from, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 64)
		__builtin_prefetch(from + i);
	__builtin_prefetch(from + bytes - 1);
}

static void run_blocks(int64_t begin, int64_t end, void *ctx)
{
	blocks *b = ctx;
	unsigned long long sum = 0;
	for (int64_t i = begin; i < end; i++) {
		/* a prime far from any power of two walks all blocks, far apart */
		size_t at = (b->first + (size_t)i) * 7919 % b->count;
		bool small = b->block <= SMALL_BLOCK;
		/* small ones are touched ahead: no stream tells the processor what comes,
		 * and what lies behind a block is no block that is read soon */
		if (small)
			touch(b->from + (b->first + (size_t)i + BLOCKS_AHEAD) * 7919 %
			                    b->count * b->block,
			      b->block);
		sum += read_all(b->from + at * b->block, b->block, small ? 0 : AHEAD);
	}
	atomic_fetch_add(&b->sum, sum);
}

double measure_read_blocks(measure_team *t, const void *from, size_t total, size_t block,
                           size_t n, size_t first)
{
	blocks b = { .from = from, .block = block, .count = total / block, .first = first };
	double start = measure_now();
	measure_parallel((int64_t)n, run_blocks, &b, t);
	return measure_now() - start;
}

double measure_read(measure_team *t, const void *from, size_t bytes)
{
	piece p = { .from = from, .bytes = bytes };
	return run_pieces(t, &p);
}

double measure_copy(measure_team *t, void *to, const void *from, size_t bytes)
{
	piece p = { .from = from, .to = to, .bytes = bytes };
	return run_pieces(t, &p);
}

typedef struct fma_run {
	atomic_ullong steps;
	_Atomic float keep;
} fma_run;

static void run_fma(int64_t begin, int64_t end, void *ctx)
{
	fma_run *r = ctx;
	for (int64_t i = begin; i < end; i++) {
		float x;
		double n = fma_all(0.5f, &x);
		atomic_store(&r->keep, x);
		atomic_fetch_add(&r->steps, (unsigned long long)n);
	}
}

double measure_fma(measure_team *t, double *flops)
{
	fma_run r = { 0 };
	double start = measure_now();
	measure_parallel(8 * t->threads, run_fma, &r, t);
	double seconds = measure_now() - start;
	*flops = 2 * (double)atomic_load(&r.steps);
	return seconds;
}
