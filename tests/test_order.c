/* SPDX-License-Identifier: Apache-2.0 */
/* test_order.c -- the order of attention's loops that nobody chose, where products take tile
 * registers: what a chunk of keys serves, and that all of it stays in the caches. The sizes are
 * those of the table in docs/backend-amx.md.
 */
#include "../passes/passes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const kir_target *amx;

/* 4 query heads for each KV head of 128 elements, 8 queries a tile. Pages of 128 tokens and 7
 * heads, so that blocks of a head lie anywhere in L2. */
static kpass_order usual(int64_t ctx, int64_t queries, int64_t bytes)
{
	return (kpass_order){ .ctx = ctx,
		              .tiles = queries / 8,
		              .lists = 8,
		              .rows = 32,
		              .dim_k = 128,
		              .dim_v = 128,
		              .bytes = bytes,
		              .block = bytes * 128,
		              .heads = 7 };
}

static int64_t block_of(kpass_order o)
{
	return kpass_default_q_block(amx, &o);
}

static void long_keys_serve_many_rows(void **state)
{
	kpass_order o = usual(8192, 8192, 512);
	int64_t rows = block_of(o) * o.rows, chunk = kpass_default_kv_chunk(amx, &o, 128);

	(void)state;
	assert_int_equal(rows, 1024);
	assert_int_equal(chunk, 2048);
	/* the chunk, the sums of all rows and their queries: L2 less an eighth */
	assert_true(chunk * o.bytes + rows * (o.dim_v * 4 + o.dim_k * 2) <=
	            amx->l2_bytes / 8 * 7);
	/* half the bytes a key need half the rows */
	assert_int_equal(block_of(usual(16384, 8192, 256)) * 32, 512);
	/* nobody said how long: as if it were */
	o.ctx = 0;
	assert_int_equal(block_of(o) * o.rows, 1024);
}

/* Keys that L2 nearly holds are read in one go: three quarters of it; codes are widened once
 * all the same. */
static void short_keys_need_no_chunks(void **state)
{
	kpass_order o = usual(2048, 2048, 512), wide = usual(2048, 2048, 256);
	int64_t chunk;

	(void)state;
	assert_int_equal(block_of(o), 0);
	o.ctx = 3072;
	assert_int_equal(block_of(o), 0);
	o.ctx = 3073;
	assert_true(block_of(o) > 0);
	wide.wide = true;
	assert_int_equal(block_of(wide) * 32, 512);
	/* 512 bytes a key once they are bf16 */
	wide.bytes = 512;
	chunk = kpass_default_kv_chunk(amx, &wide, 128);
	assert_int_equal(chunk, 512);
	assert_true(chunk * 512 + 512 * 128 * 4 <= amx->l2_bytes / 4);
}

/* New tokens behind a long context: at least 32 blocks of 8 KV heads, as long as they are 8
 * tiles or more. */
static void few_queries_are_spread(void **state)
{
	(void)state;
	assert_int_equal(block_of(usual(8704, 512, 512)), 16);
	assert_int_equal(block_of(usual(8704, 256, 512)), 8);
	assert_int_equal(block_of(usual(8704, 64, 512)), 8);
	assert_int_equal(block_of(usual(8704, 24, 512)), 3);
	assert_int_equal(block_of(usual(8704, 8, 512)), 0);
}

/* Heads of any size: sums of a block never take more than a quarter of L2. */
static void sums_stay_in_l2(void **state)
{
	(void)state;
	for (int64_t dim = 32; dim <= 512; dim *= 2) {
		kpass_order o = usual(65536, 8192, dim * 4);
		int64_t rows;

		o.dim_k = o.dim_v = dim;
		rows = block_of(o) * o.rows;
		assert_true(rows >= 256 && rows * dim * 4 <= amx->l2_bytes / 4);
	}
	/* a chunk is a tile of keys at least */
	kpass_order o = usual(8192, 8192, 65536);

	assert_int_equal(kpass_default_kv_chunk(amx, &o, 128), 128);
	o.bytes = 576;
	assert_int_equal(kpass_default_kv_chunk(amx, &o, 128) % 128, 0);
}

/* Pages of 2^n heads: all blocks of a head lie in a few sets of L2, which then holds less of
 * it. */
static void blocks_of_a_head_meet(void **state)
{
	static const struct {
		int64_t page, heads, chunk;
	} of[] = { { 128, 7, 2048 }, { 128, 8, 2048 }, { 64, 8, 1024 }, { 16, 8, 512 },
		   { 16, 1, 2048 },  { 128, 2, 2048 }, { 256, 8, 2048 } };

	(void)state;
	for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
		kpass_order o = usual(2048, 2048, 512);

		o.block = 512 * of[i].page;
		o.heads = of[i].heads;
		assert_int_equal(kpass_default_kv_chunk(amx, &o, 16), of[i].chunk);
		/* 2048 keys of 512 bytes, a MiB: measured, no chunks whatever the pages */
		assert_int_equal(block_of(o), 0);
		/* what is widened lies in one piece */
		o.wide = true;
		assert_int_equal(kpass_default_kv_chunk(amx, &o, 16), 512);
	}
}

/* Tiles of 128 keys where sums go through memory once a tile of keys, 64 with vectors. */
static void tiles_of_keys_are_longer(void **state)
{
	kir_module *m = kir_module_new();
	kir_func *f = kir_func_new(m, "f", KIR_A);

	(void)state;
	f->target = amx;
	assert_int_equal(kpass_default_kv_tile(f, 128, 128, 128, 8), 128);
	assert_int_equal(kpass_default_kv_tile(f, 64, 128, 128, 8), 64);
	f->sched.tiles = KIR_tiles_off;
	assert_int_equal(kpass_default_kv_tile(f, 128, 128, 128, 8), 64);
	f->sched.tiles = 0;
	f->target = kir_target_find("avx512-bf16");
	assert_int_equal(kpass_default_kv_tile(f, 128, 128, 128, 8), 64);
	assert_int_equal(kpass_default_kv_tile(f, 128, 128, 128, 1), 128);
	kir_module_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(long_keys_serve_many_rows),
		cmocka_unit_test(short_keys_need_no_chunks),
		cmocka_unit_test(few_queries_are_spread),
		cmocka_unit_test(sums_stay_in_l2),
		cmocka_unit_test(blocks_of_a_head_meet),
		cmocka_unit_test(tiles_of_keys_are_longer),
	};

	amx = kir_target_find("amx");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
