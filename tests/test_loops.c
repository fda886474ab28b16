/* SPDX-License-Identifier: Apache-2.0 */
/* test_loops.c -- kvjit_parallel_gomp on a runtime of the test's own: each iteration once, on
 * all of its threads.
 */
#include <kvjit.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { LOOP = 1000, RUNTIME_THREADS = 3 };
static atomic_int seen[LOOP], joined;

static void see(int64_t begin, int64_t end, void *ctx)
{
	(void)ctx;
	for (int64_t i = begin; i < end; i++)
		seen[i]++;
}

typedef struct region {
	void (*fn)(void *);
	void *data;
} region;

static void *in_region(void *r)
{
	((region *)r)->fn(((region *)r)->data);
	joined++;
	return NULL;
}

/* What a runtime of OpenMP exports: fn(data) on each of its threads. */
static void runtime(void (*fn)(void *), void *data, unsigned threads, unsigned flags)
{
	region r = { fn, data };
	pthread_t t[RUNTIME_THREADS];

	assert_true(threads == 0 && flags == 0);
	for (int i = 0; i < RUNTIME_THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, in_region, &r), 0);
	for (int i = 0; i < RUNTIME_THREADS; i++)
		pthread_join(t[i], NULL);
}

static void test_parallel_gomp(void **state)
{
	static const int64_t sizes[] = { 0, 1, 2, 7, LOOP };
	void (*entry)(void (*)(void *), void *, unsigned, unsigned) = runtime;
	void *executor;

	(void)state;
	memcpy(&executor, &entry, sizeof(executor));
	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		for (int i = 0; i < LOOP; i++)
			seen[i] = 0;
		joined = 0;
		kvjit_parallel_gomp(sizes[k], see, NULL, executor);
		for (int i = 0; i < LOOP; i++)
			assert_int_equal(seen[i], i < sizes[k]);
		assert_int_equal(joined, sizes[k] > 1 ? RUNTIME_THREADS : 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_parallel_gomp) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
