/* SPDX-License-Identifier: Apache-2.0 */
/* test_bucket.c -- classes of sizes that schedules are kept by, and how far apart they are. */
#include "../tune/key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_bucket(int64_t batch, int64_t ctx, int64_t qlen, int b, int c, int q)
{
	kt_bucket k = kt_bucket_of(batch, ctx, qlen);

	if (k.batch != b || k.ctx != c || k.qlen != q)
		fail_msg("%lld %lld %lld: %d %d %d", (long long)batch, (long long)ctx,
		         (long long)qlen, k.batch, k.ctx, k.qlen);
}

static void test_buckets(void **state)
{
	(void)state;
	assert_bucket(0, 0, 0, KT_ANY, KT_ANY, 0);
	assert_bucket(-5, INT64_MIN, INT64_MIN, KT_ANY, KT_ANY, 0);
	assert_bucket(1, 1, 1, 0, 0, 0);
	assert_bucket(2, 255, 2, 1, 0, 1);
	assert_bucket(3, 256, 15, 1, 0, 1);
	assert_bucket(4, 511, 16, 2, 0, 2);
	assert_bucket(1023, 512, INT64_MAX, 9, 1, 2);
	assert_bucket(1024, 1 << 20, 1, 10, 12, 0);
	assert_bucket(1025, (1 << 20) - 1, 1, 10, 11, 0);
	assert_bucket(INT64_MAX, INT64_MAX, INT64_MAX, KT_NBATCH - 1, KT_NCTX - 1,
	              KT_NQLEN - 1);
}

static void test_distance(void **state)
{
	kt_bucket all[(KT_NBATCH + 1) * (KT_NCTX + 1) * KT_NQLEN];
	unsigned n = 0;

	(void)state;
	for (int b = KT_ANY; b < KT_NBATCH; b++)
		for (int c = KT_ANY; c < KT_NCTX; c++)
			for (int q = 0; q < KT_NQLEN; q++)
				all[n++] = (kt_bucket){ b, c, q };
	assert_int_equal(n, sizeof(all) / sizeof(*all));
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k <= i; k++) {
			int d = kt_bucket_distance(all[i], all[k]);

			assert_int_equal(d, kt_bucket_distance(all[k], all[i]));
			assert_int_equal(d == 0, i == k);
			assert_int_equal(d >= 100, all[i].qlen != all[k].qlen);
		}
	assert_int_equal(kt_bucket_distance((kt_bucket){ 0, 0, 0 }, (kt_bucket){ 10, 12, 0 }),
	                 22);
	assert_int_equal(kt_bucket_distance((kt_bucket){ 3, 2, 1 }, (kt_bucket){ 1, 3, 1 }), 3);
	assert_int_equal(
	    kt_bucket_distance((kt_bucket){ KT_ANY, 2, 1 }, (kt_bucket){ 9, KT_ANY, 2 }), 102);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buckets),
		cmocka_unit_test(test_distance),
	};

	return cmocka_run_group_tests_name("bucket", tests, NULL, NULL);
}
