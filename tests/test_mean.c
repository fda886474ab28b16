/* SPDX-License-Identifier: Apache-2.0 */
/* test_mean.c -- keys that are stored less a mean (k.mean given).
 *
 *   whole    on the interpreter, with numbers that nothing rounds, a cache of keys less a mean
 *            gives the very outputs and log-sum-exps of a cache of whole keys: what the mean
 *            adds is part of a score before softcap, sinks and log-sum-exps see it
 *   literal  the bytes of a record, written down by hand
 *
 * `kvjit check` (cli.mean) holds every backend to the interpreter. */
#include "support_api.h"

#include "../tools/check/bind.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS = 21, NEW = 3, PAGE = 8, PAGES = 4, HEADS = 4, KV = 2, DIM = 32, TEXT = 300 };

static int small(unsigned i, int most)
{
	i = i * 747796405u + 2891336453u;
	i = ((i >> ((i >> 28) + 4)) ^ i) * 277803737u;
	return (int)((i >> 16) % (unsigned)(2 * most + 1)) - most;
}

static float *floats(bind *b, const char *name, int rank, int64_t x, int64_t y, int64_t z)
{
	int64_t shape[3] = { x, y, z };

	return bind_tensor(b, name, KVJIT_F32, rank, shape)->data;
}

static void call(kvjit *kv, bind *b, const char *text, const kvjit_batch *batch)
{
	kvjit_kernel *k = compile(kv, text, NULL);
	kvjit_plan *plan = NULL;
	char why[400];

	if (batch && kvjit_plan_new(k, batch, &plan) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	if (bind_call(b, kv, k, plan, why, sizeof why) != KVJIT_OK)
		fail_msg("%s: %s", text, why);
	kvjit_plan_free(plan);
	kvjit_release(k);
}

/* Rows, means and an empty cache of the format: keys are a mean of up to 40 and up to 3 more,
 * so that neither is rounded in bf16, rotated or not. */
static void open_cache(kvjit *kv, bind *b, const char *format)
{
	int64_t n = TOKENS, shape[2] = { PAGES }, block = DIM;
	float *mean = floats(b, "kmean", 2, KV, DIM, 1);
	float *key = floats(b, "key", 3, TOKENS, KV, DIM),
	      *value = floats(b, "value", 3, TOKENS, KV, DIM);

	for (int i = 0; i < KV * DIM; i++)
		mean[i] = (float)small((unsigned)i, 40);
	for (int i = 0; i < TOKENS * KV * DIM; i++) {
		key[i] = mean[i % (KV * DIM)] + (float)small((unsigned)i + 1000, 3);
		value[i] = (float)small((unsigned)i + 90000, 3);
	}
	for (int side = 0; side < 2; side++) {
		int8_t *s = bind_tensor(b, side ? "vsign" : "ksign", KVJIT_S8, 1, &block)->data;

		for (int i = 0; i < DIM; i++)
			s[i] = small((unsigned)(i + 70 * side), 1) < 0 ? -1 : 1;
	}
	int64_t *slots = bind_tensor(b, "slots", KVJIT_S64, 1, &n)->data;

	for (int t = 0; t < TOKENS; t++)
		slots[t] = t;
	bind_scalar(b, "n", TOKENS, 0);
	assert_int_equal(kvjit_page_bytes(kv, format, KV, DIM, DIM, PAGE, &shape[1]), KVJIT_OK);
	bind_tensor(b, "cache", KVJIT_U8, 2, shape);
}

/* Outputs and log-sum-exps of NEW queries over a cache of the format. */
static bind attend(kvjit *kv, const char *format, const char *more)
{
	static const int32_t starts[2] = { 0, NEW }, lens[1] = { TOKENS },
	                     table[PAGES] = { 0, 1, 2, 3 };
	kvjit_batch batch = { .size = sizeof batch,
		              .nseq = 1,
		              .seq_lens = lens,
		              .query_starts = starts,
		              .block_table = table,
		              .table_stride = PAGES,
		              .npages = PAGES };
	char text[TEXT];
	bind b = { 0 };

	open_cache(kv, &b, format);
	snprintf(text, sizeof text, "write in=f32 kv=%s heads=%d dim=%d page=%d", format, KV,
	         DIM, PAGE);
	call(kv, &b, text, NULL);
	float *q = floats(&b, "q", 3, NEW, HEADS, DIM),
	      *sink = floats(&b, "sink", 1, HEADS, 1, 1);

	for (int i = 0; i < NEW * HEADS * DIM; i++)
		q[i] = (float)small((unsigned)i + 5000, 4) / 16;
	for (int i = 0; i < HEADS; i++)
		sink[i] = (float)i;
	floats(&b, "out", 3, NEW, HEADS, DIM);
	floats(&b, "lse", 2, NEW, HEADS, 1);
	bind_scalar(&b, "scale", 0, 0.125);
	memcpy(bind_tensor(&b, "starts", KVJIT_S32, 1, (int64_t[]){ 2 })->data, starts,
	       sizeof starts);
	memcpy(bind_tensor(&b, "lens", KVJIT_S32, 1, (int64_t[]){ 1 })->data, lens,
	       sizeof lens);
	memcpy(bind_tensor(&b, "table", KVJIT_S32, 2, (int64_t[]){ 1, PAGES })->data, table,
	       sizeof table);
	snprintf(text, sizeof text, "attn q=f32 kv=%s heads=%d:%d dim=%d page=%d lse %s",
	         format, HEADS, KV, DIM, PAGE, more);
	call(kv, &b, text, &batch);
	return b;
}

static void same(bind *a, bind *b, const char *name)
{
	bind_arg *x = bind_find(a, name), *y = bind_find(b, name);

	assert_memory_equal(x->data, y->data, x->bytes);
}

static void a_mean_changes_no_answer(void **state)
{
	static const char *const more[] = { "causal", "causal sink", "softcap=3",
		                            "causal sink softcap=7 window=9",
		                            "score=\"s > 0 ? s : s * 0.5\"" };
	static const char *const less[] = { "bf16/centered", "bf16/centered/rotated" };
	kvjit *kv = open_with("ref", NULL);

	(void)state;
	for (size_t i = 0; i < sizeof more / sizeof *more; i++)
		for (size_t k = 0; k < sizeof less / sizeof *less; k++) {
			bind whole = attend(kv, "bf16", more[i]),
			     mean = attend(kv, less[k], more[i]);

			same(&whole, &mean, "out");
			same(&whole, &mean, "lse");
			assert_memory_not_equal(bind_find(&whole, "cache")->data,
			                        bind_find(&mean, "cache")->data, PAGE * DIM);
			bind_free(&whole);
			bind_free(&mean);
		}
	kvjit_close(kv);
}

/* s = 127 / 127; values keep theirs. */
static void a_record_by_hand(void **state)
{
	static const float mean[16] = { 1000, -3, 0.5F, 64 };
	static const float key[16] = { 1127, -130, 3.25F, 64, 1, -1 };
	static const int8_t want[16] = { 127, -127, 3, 0, 1, -1 };
	static const char text[] =
	    "write in=f32 kv=int8/token-head/inline/centered heads=1 dim=16 page=8";
	const char *const backends[] = { "ref", NULL };

	(void)state;
	for (int i = 0; i < 2; i++) {
		kvjit *kv = backends[i] ? open_with(backends[i], NULL) : open_code();
		bind b = { 0 };
		int64_t one = 1;
		float s, *value = floats(&b, "value", 3, 1, 1, 16);

		memcpy(floats(&b, "kmean", 2, 1, 16, 1), mean, sizeof mean);
		memcpy(floats(&b, "key", 3, 1, 1, 16), key, sizeof key);
		value[0] = 254;
		bind_tensor(&b, "slots", KVJIT_S64, 1, &one);
		bind_scalar(&b, "n", 1, 0);
		bind_arg *c = bind_tensor(&b, "cache", KVJIT_U8, 4, (int64_t[]){ 1, 1, 8, 40 });

		call(kv, &b, text, NULL);
		const uint8_t *at = c->data;

		assert_memory_equal(at, want, sizeof want);
		memcpy(&s, at + 16, sizeof s);
		assert_true(s == 1);
		assert_int_equal(at[20], 127);
		memcpy(&s, at + 36, sizeof s);
		assert_true(s == 2);
		bind_free(&b);
		kvjit_close(kv);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mean_changes_no_answer),
		cmocka_unit_test(a_record_by_hand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
