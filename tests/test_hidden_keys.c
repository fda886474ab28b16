/* SPDX-License-Identifier: Apache-2.0 */
/* test_hidden_keys.c -- keys that a bias hides by a large negative number, as hosts do who have
 * masks of numbers: a tile of hidden keys before those that are seen leaves no trace, and where
 * all keys are hidden alike they count alike (whole parts, where it is split).
 */
#include "support_api.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DIM = 32, PAGE = 16, KEYS = 40, PAGES = 3, FIRST = 20 };

/* Of a query of 0 and keys whose values are their positions. Head 0 sees keys from FIRST on,
 * head 1 none. */
static void attend(kvjit *kv, const char *text, const char *sched, float hide, float *out)
{
	static uint16_t key[KEYS][DIM], value[KEYS][DIM], q[2][DIM];
	static float bias[2][KEYS];
	int32_t table[PAGES] = { 0, 1, 2 }, len = KEYS, starts[2] = { 0, 1 };
	int64_t slots[KEYS], bytes;
	kvjit_batch batch = { .size = sizeof(batch),
		              .nseq = 1,
		              .seq_lens = &len,
		              .query_starts = starts,
		              .block_table = table,
		              .table_stride = PAGES,
		              .npages = PAGES };
	kvjit_kernel *write = compile(kv, "write in=bf16 kv=bf16 heads=1 dim=32 page=16", NULL),
	             *attn = compile(kv, text, sched);
	kvjit_plan *plan = NULL;

	assert_int_equal(kvjit_page_bytes(kv, "bf16", 1, DIM, DIM, PAGE, &bytes), KVJIT_OK);
	void *cache = kvjit_alloc((size_t)bytes * PAGES);
	for (int k = 0; k < KEYS; k++) {
		float v = (float)k;
		uint32_t bits;

		memcpy(&bits, &v, sizeof(bits));
		slots[k] = k;
		for (int d = 0; d < DIM; d++) {
			key[k][d] = 0x3f80;
			value[k][d] = (uint16_t)(bits >> 16);
		}
		bias[0][k] = k < FIRST ? hide : 0;
		bias[1][k] = hide;
	}
	kvjit_arg w[] = { { .name = "key", .data = key, .dtype = KVJIT_BF16 },
		          { .name = "value", .data = value, .dtype = KVJIT_BF16 },
		          { .name = "slots", .data = slots, .dtype = KVJIT_S64 },
		          { .name = "cache", .data = cache, .dtype = KVJIT_U8 },
		          { .name = "n", .i = KEYS } };
	kvjit_arg a[] = { { .name = "q", .data = q, .dtype = KVJIT_BF16 },
		          { .name = "cache", .data = cache, .dtype = KVJIT_U8 },
		          { .name = "table",
		            .data = table,
		            .dtype = KVJIT_S32,
		            .rank = 2,
		            .shape = { 1, PAGES } },
		          { .name = "lens", .data = &len, .dtype = KVJIT_S32 },
		          { .name = "starts", .data = starts, .dtype = KVJIT_S32 },
		          { .name = "scale", .f = 0.2 },
		          { .name = "bias",
		            .data = bias,
		            .dtype = KVJIT_F32,
		            .rank = 2,
		            .shape = { 2, KEYS } },
		          { .name = "out", .data = out, .dtype = KVJIT_F32 } };

	assert_int_equal(kvjit_call(write, NULL, w, 5, NULL), KVJIT_OK);
	assert_int_equal(kvjit_plan_new(attn, &batch, &plan), KVJIT_OK);
	assert_int_equal(kvjit_call(attn, plan, a, 8, NULL), KVJIT_OK);
	kvjit_plan_free(plan);
	kvjit_release(attn);
	kvjit_release(write);
	kvjit_free(cache, (size_t)bytes * PAGES);
}

static void hidden_by_numbers(void **state)
{
	static const char *const text[] = {
		"attn q=bf16 out=f32 kv=bf16 heads=2:1 dim=32 page=16 score=\"s + bias[h,k]\" "
		"with=bias:f32",
		"attn q=bf16 out=f32 kv=bf16 heads=2:1 dim=32 page=16 "
		"score=\"bias[h,k] < 0 ? bias[h,k] : s\" with=bias:f32",
	};
	static const char *const sched[] = { "qk=f32 pv=f32 kv_tile=16",
		                             "qk=bf16 pv=bf16 kv_tile=16 rescale=lazy",
		                             "kv_tile=16 split=16" };
	static const float hide[] = { -1e10F, -1e30F, -2e38F };
	kvjit *kv = open_code();

	(void)state;
	for (int t = 0; t < 2; t++)
		for (int s = 0; s < 3; s++)
			for (int h = 0; h < 3; h++) {
				float out[2 * DIM];
				bool split = strstr(sched[s], "split=16");

				attend(kv, text[t], sched[s], hide[h], out);
				for (int d = 0; d < DIM; d++) {
					float none = out[DIM + d];

					assert_true(fabsf(out[d] - 29.5F) < 1e-4F);
					/* a part is kept by the logarithm of its sum, in which
					 * hide leaves no room for how many keys there were */
					if (!split)
						assert_true(fabsf(none - 19.5F) < 1e-4F);
					assert_true(none > 0 && none < KEYS);
				}
			}
	kvjit_close(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(hidden_by_numbers) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
