/* SPDX-License-Identifier: Apache-2.0 */
/* test_static.c -- what a static cost must know, number by number: each comparison holds for
 * every GPU of these kinds.
 */
#include "../tune/static.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const kt_static base = { .registers = 128,
	                        .issue = 1,
	                        .instructions = 400,
	                        .sends = 16,
	                        .dpas = 16,
	                        .elements = 4096 };

static void test_what_cannot_be(void **state)
{
	kt_static k = base;

	(void)state;
	assert_true(isfinite(kt_static_cost(&k)));
	k.spill = 64;
	assert_true(isinf(kt_static_cost(&k)));
	k = base;
	k.calls = 1;
	assert_true(isinf(kt_static_cost(&k)));
	k = base;
	k.instructions = 0; /* no loop was found */
	assert_true(isinf(kt_static_cost(&k)));
	k = base;
	k.elements = 0;
	assert_true(isinf(kt_static_cost(&k)));
}

static void test_more_costs_more(void **state)
{
	double cost = kt_static_cost(&base);
	kt_static k = base;

	(void)state;
	k.instructions += 40;
	assert_true(kt_static_cost(&k) > cost);
	k = base;
	k.issue = 2; /* engines of 8 lanes */
	assert_true(kt_static_cost(&k) > cost);
	k = base;
	k.elements *= 2;
	assert_true(kt_static_cost(&k) < cost);
	k = base;
	k.dpas = 100; /* then the matrix engine is what all wait for */
	assert_true(kt_static_cost(&k) > cost);
}

/* A short loop waits for memory, more so with fewer threads; a long one hides it. */
static void test_latency(void **state)
{
	kt_static small = base, wide;

	(void)state;
	small.instructions = 80;
	small.dpas = 4;
	small.elements = 512;
	wide = small;
	wide.registers = 256;
	assert_true(kt_static_cost(&wide) > kt_static_cost(&small));
	wide = base;
	wide.registers = 256;
	assert_true(kt_static_cost(&wide) == kt_static_cost(&base));
}

static void test_rank(void **state)
{
	static const double cost[] = { 3, INFINITY, 1, 3, 2, 1 };
	static const unsigned right[] = { 2, 5, 4, 0, 3, 1 };
	unsigned order[6];

	(void)state;
	kt_static_rank(cost, 6, order);
	assert_memory_equal(order, right, sizeof(right));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_cannot_be),
		cmocka_unit_test(test_more_costs_more),
		cmocka_unit_test(test_latency),
		cmocka_unit_test(test_rank),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
