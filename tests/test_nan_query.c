/* SPDX-License-Identifier: Apache-2.0 */
/* test_nan_query.c -- a NaN in a query makes that head's output NaN and no other's, whatever
 * the arithmetic: integer digits can't be NaN, so their scale has to be. */
#include "../include/kvjit.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DIM = 32, PAGE = 16, KEYS = 7 };

static const char problem[] = "attn q=bf16 out=f32 kv=int8/token-head heads=2:1 dim=32 page=16";
static const char hidden[] = "attn q=bf16 out=f32 kv=int8/token-head heads=2:1 dim=32 page=16 "
                             "mask=\"k < seen[h]\" with=seen:s32";

static void fill_cache(char *cache)
{
	float scale = 0.1f;

	memset(cache, 3, 2 * PAGE * DIM); /* codes of K and V, then their scales */
	for (int i = 0; i < 2 * PAGE; i++)
		memcpy(cache + 2 * PAGE * DIM + i * 4, &scale, 4);
}

/* seen: how many keys each head sees, or NULL for a problem without a mask. */
static void attend(kvjit *kv, const char *sched, int32_t *seen, float *out)
{
	kvjit_compile_options options = { .size = sizeof options, .sched = sched };
	int32_t table = 0, len = KEYS, starts[2] = { 0, 1 };
	kvjit_batch batch = { .size = sizeof batch,
		              .nseq = 1,
		              .seq_lens = &len,
		              .query_starts = starts,
		              .block_table = &table,
		              .table_stride = 1,
		              .npages = 1 };
	uint16_t q[2 * DIM];
	kvjit_kernel *k = NULL;
	kvjit_plan *plan = NULL;
	char *cache;
	int64_t bytes;

	assert_int_equal(kvjit_page_bytes(kv, "int8/token-head", 1, DIM, DIM, PAGE, &bytes), 0);
	cache = calloc(1, (size_t)bytes);
	fill_cache(cache);
	for (int i = 0; i < 2 * DIM; i++)
		q[i] = i == 5 ? 0x7fc0 : 0x3f80;
	assert_int_equal(kvjit_compile(kv, seen ? hidden : problem, &options, &k), KVJIT_OK);
	assert_int_equal(kvjit_plan_new(k, &batch, &plan), KVJIT_OK);
	kvjit_arg args[] = {
		{ .name = "q", .dtype = KVJIT_BF16, .data = q },
		{ .name = "cache", .dtype = KVJIT_U8, .data = cache },
		{ .name = "table",
		  .dtype = KVJIT_S32,
		  .data = &table,
		  .nstride = 1,
		  .stride = { 1 } },
		{ .name = "lens", .dtype = KVJIT_S32, .data = &len },
		{ .name = "starts", .dtype = KVJIT_S32, .data = starts },
		{ .name = "scale", .f = 0.2 },
		{ .name = "out", .dtype = KVJIT_F32, .data = out },
		{ .name = "seen", .dtype = KVJIT_S32, .data = seen },
	};
	unsigned n = sizeof args / sizeof *args - !seen;
	assert_int_equal(kvjit_call(k, plan, args, n, NULL), KVJIT_OK);
	kvjit_plan_free(plan);
	kvjit_release(k);
	free(cache);
}

static const char *const sched[] = { "",
	                             "qk=f32 pv=f32",
	                             "qk=int8 pv=int8",
	                             "qk=int8 pv=int8 rescale=lazy",
	                             "qk=int8x2 pv=int8x2",
	                             "qk=bf16 pv=bf16" };

static void test_nan(void **state)
{
	float out[2 * DIM];
	kvjit *kv = NULL;

	(void)state;
	assert_int_equal(kvjit_open(NULL, &kv), KVJIT_OK);
	for (size_t i = 0; i < sizeof sched / sizeof *sched; i++) {
		attend(kv, sched[i], NULL, out);
		for (int d = 0; d < DIM; d++) {
			assert_true(isnan(out[d]));
			assert_true(fabsf(out[DIM + d] - 0.3f) < 0.002f);
		}
	}
	kvjit_close(kv);
}

/* Who sees no key has an output of 0, and what its query holds isn't asked; beside one who
 * sees some, or the keys weren't even read.
 */
static void test_nan_sees_nothing(void **state)
{
	int32_t seen[2] = { 0, KEYS };
	float out[2 * DIM];
	kvjit *kv = NULL;

	(void)state;
	assert_int_equal(kvjit_open(NULL, &kv), KVJIT_OK);
	for (size_t i = 0; i < sizeof sched / sizeof *sched; i++) {
		memset(out, 1, sizeof out);
		attend(kv, sched[i], seen, out);
		for (int d = 0; d < DIM; d++) {
			assert_true(out[d] == 0);
			assert_true(fabsf(out[DIM + d] - 0.3f) < 0.002f);
		}
	}
	kvjit_close(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_nan),
		                            cmocka_unit_test(test_nan_sees_nothing) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
