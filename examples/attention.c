/* SPDX-License-Identifier: Apache-2.0 */
/* attention.c -- the twelve lines of the README, with the data they need.
 *
 *     attention        prints `attention: ok`
 *
 * Two sequences of 5 and 130 tokens, one new token each. A value is the same number for all
 * tokens, different for each KV head and dimension. Weights sum to 1, so the output must be
 * that number again, give or take the rounding to int8 and of the arithmetic.
 */
#include <kvjit.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEQUENCES = 2, HEADS = 32, KV_HEADS = 8, DIM = 128, PAGE = 128, PAGES = 3, COLUMNS = 2 };
enum { SLOTS = PAGES * PAGE, ROW = KV_HEADS * DIM };

/* The sentence is the kernel's where there is one, else the context's. */
static void check(kvjit_status status, const kvjit *kv, const kvjit_kernel *k)
{
	if (status == KVJIT_OK)
		return;
	fprintf(stderr, "attention: %s: %s\n", kvjit_status_name(status),
	        k    ? kvjit_kernel_error(k)
	        : kv ? kvjit_error(kv)
	             : kvjit_open_error());
	exit(1);
}

static uint16_t bf16(float x)
{
	uint32_t bits;
	memcpy(&bits, &x, sizeof bits);
	return (uint16_t)((bits + 0x8000) >> 16);
}

static float f32(uint16_t x)
{
	uint32_t bits = (uint32_t)x << 16;
	float y;
	memcpy(&y, &bits, sizeof y);
	return y;
}

/* From 0.25 to 1 over a head's dimensions, negative for odd heads: a wrong head or another
 * order of the dimensions shows. */
static float value_of(int head, int d)
{
	return (head % 2 ? -1.0f : 1.0f) * (0.25f + 0.75f * (float)d / (float)DIM);
}

/* A cache of PAGES pages, as an argument of its kernels, with a key and a value in every slot.
 */
static kvjit_arg make_cache(kvjit *kv, size_t *bytes)
{
	static uint16_t key[SLOTS * ROW], value[SLOTS * ROW];
	static int64_t slots[SLOTS];
	kvjit_kernel *write;
	kvjit_arg cache;

	for (int i = 0; i < SLOTS * ROW; i++) {
		key[i] = bf16((float)(i % 61 - 30) / 30);
		value[i] = bf16(value_of(i / DIM % KV_HEADS, i % DIM));
	}
	for (int i = 0; i < SLOTS; i++)
		slots[i] = i;
	const char *text = "write in=bf16 kv=int8/token-head heads=8 dim=128 page=128";
	check(kvjit_compile(kv, text, NULL, &write), kv, NULL);
	check(kvjit_arg_of(write, "cache", PAGES, &cache, bytes), kv, write);
	cache.data = kvjit_alloc(*bytes);
	kvjit_arg args[] = { { .name = "key", .data = key, .dtype = KVJIT_BF16 },
		             { .name = "value", .data = value, .dtype = KVJIT_BF16 },
		             { .name = "slots", .data = slots, .dtype = KVJIT_S64 },
		             cache,
		             { .name = "n", .i = SLOTS } };
	check(kvjit_call(write, NULL, args, 5, NULL), kv, write);
	kvjit_release(write);
	return cache;
}

static float worst_error(const uint16_t *out)
{
	float worst = 0;
	for (int i = 0; i < SEQUENCES * HEADS * DIM; i++) {
		int kv_head = i / DIM % HEADS / (HEADS / KV_HEADS);
		worst = fmaxf(worst, fabsf(f32(out[i]) - value_of(kv_head, i % DIM)));
	}
	return worst;
}

int main(void)
{
	static uint16_t q[SEQUENCES * HEADS * DIM], out[SEQUENCES * HEADS * DIM];
	/* lengths with the new tokens, query rows of each sequence, the pages they use */
	int32_t lens[] = { 5, 130 }, starts[] = { 0, 1, 2 }, table[] = { 2, 0, 0, 1 };
	kvjit_batch batch = { .size = sizeof batch,
		              .nseq = SEQUENCES,
		              .seq_lens = lens,
		              .query_starts = starts,
		              .block_table = table,
		              .table_stride = COLUMNS,
		              .npages = PAGES };
	kvjit_kernel *attn;
	kvjit_plan *plan = NULL;
	kvjit *kv;
	size_t bytes;

	for (int i = 0; i < SEQUENCES * HEADS * DIM; i++)
		q[i] = bf16((float)(i % 37 - 18) / 18);
	check(kvjit_open(NULL, &kv), NULL, NULL);
	kvjit_arg cache = make_cache(kv, &bytes);

	/* README: a kernel in twelve lines */
	const char *text = "attn q=bf16 kv=int8/token-head heads=32:8 dim=128 page=128 causal";
	check(kvjit_compile(kv, text, NULL, &attn), kv, NULL);
	check(kvjit_plan_new(attn, &batch, &plan), kv, attn);
	kvjit_arg args[] = { { .name = "q", .data = q, .dtype = KVJIT_BF16 },
		             cache, /* pages, of make_cache */
		             { .name = "table", .data = table, .dtype = KVJIT_S32 },
		             { .name = "lens", .data = lens, .dtype = KVJIT_S32 },
		             { .name = "starts", .data = starts, .dtype = KVJIT_S32 },
		             { .name = "scale", .f = 0.08838835 },
		             { .name = "out", .data = out, .dtype = KVJIT_BF16 } };
	args[2].nstride = 1, args[2].stride[0] = COLUMNS; /* of the block table */
	check(kvjit_call(attn, plan, args, 7, NULL), kv, attn);
	/* end of the twelve lines */

	float worst = worst_error(out);
	kvjit_plan_free(plan);
	kvjit_release(attn);
	kvjit_free(cache.data, bytes);
	kvjit_close(kv);
	printf("attention: %s, largest error %g\n", worst < 0.02f ? "ok" : "wrong",
	       (double)worst);
	return worst >= 0.02f;
}
