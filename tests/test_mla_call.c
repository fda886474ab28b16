/* SPDX-License-Identifier: Apache-2.0 */
/* test_mla_call.c -- plans and calls of attention over index lists: what they refuse, and that
 * a cache of another scale contract is told by its hash. Runs where nothing is generated: the
 * interpreter. */
#include "../include/kvjit.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PAGE = 16, PAGES = 3, ROWS = 3, HEADS = 2, TOPK = 8, RECORD = 656, DK = 576, DV = 512 };

typedef struct job {
	kvjit *kv;
	kvjit_kernel *k;
	uint8_t cache[PAGES * PAGE * RECORD];
	uint16_t q[ROWS * HEADS * DK];
	int32_t index[ROWS * TOPK], lens[ROWS], starts[ROWS + 1];
	int64_t stride; /* of index's rows; 0: none is stated */
	float out[ROWS * HEADS * DV];
} job;

static kvjit_kernel *compile(kvjit *kv, const char *text)
{
	kvjit_kernel *k = NULL;

	if (kvjit_compile(kv, text, NULL, &k) != KVJIT_OK)
		fail_msg("%s: %s", text, kvjit_error(kv));
	return k;
}

static uint16_t bf16(float x)
{
	uint32_t b;

	memcpy(&b, &x, 4);
	return (uint16_t)(b >> 16);
}

/* A value that looks random, from -1 to 1. */
static float noise(unsigned i)
{
	i = i * 747796405u + 2891336453u;
	i = ((i >> ((i >> 28) + 4)) ^ i) * 277803737u;
	return (float)((i >> 22) ^ i) / 2147483648.0f - 1;
}

/* Writes the whole cache in a format. */
static void write_cache(job *j, const char *format)
{
	enum { N = PAGES * PAGE };
	static uint16_t key[N * 512], rest[N * 64];
	static int64_t slots[N];
	char text[200];

	snprintf(text, sizeof text, "write in=bf16 kv=%s heads=1 dim=576:512 page=16", format);
	kvjit_kernel *k = compile(j->kv, text);

	for (unsigned i = 0; i < N * 512; i++)
		key[i] = bf16(noise(i) * (1 + (float)(i / 128 % 7) * 0.31f));
	for (unsigned i = 0; i < N * 64; i++)
		rest[i] = bf16(noise(i + 7777777));
	for (int i = 0; i < N; i++)
		slots[i] = i;
	kvjit_arg a[] = {
		{ .name = "key",
		  .data = key,
		  .dtype = KVJIT_BF16,
		  .rank = 3,
		  .shape = { N, 1, 512 } },
		{ .name = "rest",
		  .data = rest,
		  .dtype = KVJIT_BF16,
		  .rank = 3,
		  .shape = { N, 1, 64 } },
		{ .name = "kv_cache",
		  .data = j->cache,
		  .dtype = KVJIT_U8,
		  .rank = 3,
		  .shape = { PAGES, PAGE, RECORD } },
		{ .name = "slots",
		  .data = slots,
		  .dtype = KVJIT_S64,
		  .rank = 1,
		  .shape = { N } },
		{ .name = "n", .i = N },
	};
	if (kvjit_call(k, NULL, a, 5, NULL) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	kvjit_release(k);
}

static void open_job(job *j)
{
	kvjit_options o = { .size = sizeof o, .backend = "ref" };

	memset(j, 0, sizeof *j);
	assert_int_equal(kvjit_open(&o, &j->kv), KVJIT_OK);
	j->k = compile(j->kv, "attn q=bf16 out=f32 kv=fp8_ds_mla heads=2:1 dim=576:512 page=16 "
	                      "sparse=8");
	write_cache(j, "fp8_ds_mla");
	for (unsigned i = 0; i < ROWS * HEADS * DK; i++)
		j->q[i] = bf16(noise(i + 1000));
	for (int i = 0; i < ROWS; i++) {
		j->lens[i] = TOPK;
		j->starts[i + 1] = i + 1;
		for (int e = 0; e < TOPK; e++)
			j->index[i * TOPK + e] = (11 * e + 5 * i) % (PAGES * PAGE);
	}
}

static void close_job(job *j)
{
	kvjit_release(j->k);
	kvjit_close(j->kv);
}

static kvjit_batch batch_of(const job *j)
{
	return (kvjit_batch){ .size = sizeof(kvjit_batch),
		              .nseq = ROWS,
		              .seq_lens = j->lens,
		              .query_starts = j->starts };
}

/* Calls with a cache of `pages` pages, -1: without rank and shape. */
static kvjit_status call(job *j, int64_t pages, int64_t columns)
{
	kvjit_batch b = batch_of(j);
	kvjit_plan *p = NULL;
	kvjit_arg a[] = {
		{ .name = "q",
		  .data = j->q,
		  .dtype = KVJIT_BF16,
		  .rank = 3,
		  .shape = { ROWS, HEADS, DK } },
		{ .name = "kv_cache",
		  .data = j->cache,
		  .dtype = KVJIT_U8,
		  .rank = pages < 0 ? 0 : 3,
		  .shape = { pages, PAGE, RECORD } },
		{ .name = "index",
		  .data = j->index,
		  .dtype = KVJIT_S32,
		  .rank = 2,
		  .shape = { ROWS, columns },
		  .nstride = j->stride != 0,
		  .stride = { j->stride } },
		{ .name = "lens",
		  .data = j->lens,
		  .dtype = KVJIT_S32,
		  .rank = 1,
		  .shape = { ROWS } },
		{ .name = "starts",
		  .data = j->starts,
		  .dtype = KVJIT_S32,
		  .rank = 1,
		  .shape = { ROWS + 1 } },
		{ .name = "scale", .f = 1.0 / 24 },
		{ .name = "out",
		  .data = j->out,
		  .dtype = KVJIT_F32,
		  .rank = 3,
		  .shape = { ROWS, HEADS, DV } },
	};

	if (kvjit_plan_new(j->k, &b, &p) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(j->k));
	kvjit_status s = kvjit_call(j->k, p, a, 7, NULL);

	kvjit_plan_free(p);
	return s;
}

static void assert_said(job *j, const char *part)
{
	if (!strstr(kvjit_kernel_error(j->k), part))
		fail_msg("'%s', not '%s'", kvjit_kernel_error(j->k), part);
}

static void test_refusals(void **state)
{
	static job j;
	kvjit_plan *p = NULL;

	(void)state;
	open_job(&j);
	j.lens[1] = TOPK + 1;
	kvjit_batch b = batch_of(&j);

	assert_int_equal(kvjit_plan_new(j.k, &b, &p), KVJIT_BAD_ARGUMENT);
	assert_said(&j, "seq_lens[1] is 9; with sparse=8 it says how many entries");
	/* so the new tokens aren't part of it */
	j.lens[1] = 1;
	j.starts[2] = j.starts[1] + 2;
	b.nseq = 2;
	assert_int_equal(kvjit_plan_new(j.k, &b, &p), KVJIT_OK);
	kvjit_plan_free(p);
	p = NULL;
	j.starts[2] = 2;
	b.nseq = ROWS;
	j.lens[1] = -1;
	assert_int_equal(kvjit_plan_new(j.k, &b, &p), KVJIT_BAD_ARGUMENT);
	assert_said(&j, "seq_lens[1] is -1; it must be 0 or more");
	j.lens[1] = TOPK;
	assert_int_equal(call(&j, -1, TOPK), KVJIT_BAD_ARGUMENT);
	assert_said(&j, "argument 'kv_cache' needs rank and shape");
	assert_int_equal(call(&j, PAGES, TOPK - 1), KVJIT_BAD_ARGUMENT);
	assert_said(&j, "argument 'index': extent 1 is 7; it must be 8");
	j.stride = TOPK - 1;
	assert_int_equal(call(&j, PAGES, TOPK), KVJIT_BAD_ARGUMENT);
	assert_said(&j, "argument 'index': stride 0 is 7; rows of 8 entries would overlap");
	j.stride = -TOPK;
	assert_int_equal(call(&j, PAGES, TOPK), KVJIT_BAD_ARGUMENT);
	assert_said(&j,
	            "argument 'index': stride 0 is -8; rows of a list lie behind each other");
	j.stride = TOPK;
	assert_int_equal(call(&j, PAGES, TOPK), KVJIT_OK);
	close_job(&j);
}

/* A list may name a slot that a smaller cache doesn't have: it is no key, and nothing is read
 * there. */
static void test_out_of_range(void **state)
{
	static job j;
	static float right[ROWS * HEADS * DV];

	(void)state;
	open_job(&j);
	for (int i = 0; i < ROWS * TOPK; i++)
		if (j.index[i] >= 2 * PAGE)
			j.index[i] = i % 2 ? -1 : INT32_MIN;
	assert_int_equal(call(&j, PAGES, TOPK), KVJIT_OK);
	memcpy(right, j.out, sizeof right);
	for (int i = 0; i < ROWS * TOPK; i++)
		if (j.index[i] < 0)
			j.index[i] = i % 2 ? 2 * PAGE : INT32_MAX;
	memset(j.cache + (size_t)2 * PAGE * RECORD, 0xff, (size_t)PAGE * RECORD);
	assert_int_equal(call(&j, 2, TOPK), KVJIT_OK);
	assert_memory_equal(right, j.out, sizeof right);
	close_job(&j);
}

/* No entries at all, or none of a list that is a slot, give zeros. */
static void test_empty(void **state)
{
	static job j;

	(void)state;
	open_job(&j);
	j.lens[0] = 0;
	for (int e = 0; e < TOPK; e++)
		j.index[TOPK + e] = -1;
	memset(j.out, 0xff, sizeof j.out);
	assert_int_equal(call(&j, PAGES, TOPK), KVJIT_OK);
	for (int i = 0; i < 2 * HEADS * DV; i++)
		assert_true(j.out[i] == 0);
	assert_true(j.out[2 * HEADS * DV] != 0);
	close_job(&j);
}

/* Codes were made with any f32 scale; a reader that takes only its power of two multiplies with
 * up to half of it. That is why the two contracts are two formats: a batch that says which one
 * its cache has is refused by a kernel of the other. */
static void test_wrong_contract(void **state)
{
	static job j;
	static float right[ROWS * HEADS * DV];
	uint64_t pow2, any;
	double error = 0, sum = 0;

	(void)state;
	open_job(&j);
	kvjit_kernel *own = j.k;

	j.k =
	    compile(j.kv, "attn q=bf16 out=f32 kv=fp8_ds_mla_f32 heads=2:1 dim=576:512 page=16 "
	                  "sparse=8");
	write_cache(&j, "fp8_ds_mla_f32");
	assert_int_equal(call(&j, PAGES, TOPK), KVJIT_OK);
	memcpy(right, j.out, sizeof right);
	for (int t = 0; t < PAGES * PAGE; t++)
		for (int g = 0; g < 4; g++) /* the mantissa goes */
			memset(j.cache + t * RECORD + 512 + 4 * g, 0, 2),
			    j.cache[t * RECORD + 512 + 4 * g + 2] &= 0x80;
	assert_int_equal(call(&j, PAGES, TOPK), KVJIT_OK);
	for (int i = 0; i < ROWS * HEADS * DV; i++) {
		error += pow((double)(j.out[i] - right[i]), 2);
		sum += pow((double)right[i], 2);
	}
	assert_true(sqrt(error / sum) > 0.2 && sqrt(error / sum) < 0.6);

	assert_int_equal(kvjit_format_hash(j.kv, "fp8_ds_mla", &pow2), KVJIT_OK);
	assert_int_equal(kvjit_format_hash(j.kv, "fp8_ds_mla_f32", &any), KVJIT_OK);
	assert_true(pow2 != any);
	kvjit_batch b = batch_of(&j);
	kvjit_plan *p = NULL;

	b.format = any;
	assert_int_equal(kvjit_plan_new(j.k, &b, &p), KVJIT_OK);
	kvjit_plan_free(p);
	p = NULL;
	b.format = pow2;
	assert_int_equal(kvjit_plan_new(j.k, &b, &p), KVJIT_BAD_ARGUMENT);
	assert_said(&j, "the cache's format has the hash");
	assert_said(&j, "the kernel reads fp8_ds_mla_f32");
	kvjit_release(own);
	close_job(&j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_out_of_range),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_wrong_contract),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
