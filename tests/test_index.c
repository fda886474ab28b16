/* SPDX-License-Identifier: Apache-2.0 */
/* test_index.c -- an indexer on every backend there is: logits within the bound of f32 sums,
 * and exactly the slots of the largest of them, in the order of the keys. */
#include "support_cache.h"
#include "../ir/format.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
	ROWS = 7,
	HEADS = 4,
	DIM = 64,
	PAGE = 16,
	PAGES = 24,
	COLUMNS = 12,
	WIDTH = 190,
	TOPK = 32
};
enum { SLOTS = PAGES * PAGE, BYTES = PAGE * (DIM + 4) };

typedef struct job {
	uint8_t cache[PAGES * BYTES];
	uint16_t q[ROWS * HEADS * DIM];
	float w[ROWS * HEADS], logits[ROWS * WIDTH];
	int32_t table[2 * COLUMNS], seqs[ROWS], lens[ROWS], out[ROWS * TOPK];
} job;

static double noise(unsigned i)
{
	i = i * 747796405u + 2891336453u;
	i = ((i >> ((i >> 28) + 4)) ^ i) * 277803737u;
	return (double)((i >> 22) ^ i) / 2147483648.0 - 1;
}

/* Pages in any order; one that the cache doesn't have; a row of each kind. */
static void make_job(job *j)
{
	static const int32_t lens[ROWS] = { 1, 180, 100, TOPK, 0, 190, 150 };

	memset(j, 0, sizeof *j);
	for (int p = 0; p < PAGES; p++)
		for (int t = 0; t < PAGE; t++) {
			uint8_t *page = j->cache + p * BYTES;
			float scale =
			    (float)(0.01 + 0.001 * fabs(noise((unsigned)(p * PAGE + t))));

			for (int d = 0; d < DIM; d++)
				page[t * DIM + d] = (uint8_t)kir_encode(
				    KIR_e4m3fn,
				    100 * noise((unsigned)((p * PAGE + t) * DIM + d)), 0, 0, 0);
			memcpy(page + PAGE * DIM + 4 * t, &scale, 4);
		}
	/* many equal keys, so that equal logits are at the border */
	for (int p = 3; p < 9; p++)
		memcpy(j->cache + p * BYTES, j->cache + 2 * BYTES, BYTES);
	for (int i = 0; i < ROWS * HEADS * DIM; i++)
		j->q[i] = (uint16_t)kir_encode(KIR_bf16, noise((unsigned)i + 900000), 0, 0, 0);
	for (int i = 0; i < ROWS * HEADS; i++)
		j->w[i] = (float)noise((unsigned)i + 70000);
	for (int i = 0; i < 2 * COLUMNS; i++)
		j->table[i] = (i * 7 + 3) % PAGES;
	j->table[5] = PAGES;    /* of sequence 0: none */
	j->table[COLUMNS] = -2; /* of sequence 1: none */
	j->table[COLUMNS + 1] = INT32_MAX;
	for (int t = 0; t < ROWS; t++) {
		j->lens[t] = lens[t];
		j->seqs[t] = t % 2;
	}
	j->w[6 * HEADS] = NAN; /* no logit of this row is a number */
}

static void call(kvjit *kv, job *j, int64_t width)
{
	kvjit_kernel *k = NULL;
	const char *text = "index kv=index_e4m3_f32 heads=4 dim=64 page=16 topk=32";
	kvjit_arg a[] = {
		{ .name = "q",
		  .data = j->q,
		  .dtype = KVJIT_BF16,
		  .rank = 3,
		  .shape = { ROWS, HEADS, DIM } },
		{ .name = "w",
		  .data = j->w,
		  .dtype = KVJIT_F32,
		  .rank = 2,
		  .shape = { ROWS, HEADS } },
		{ .name = "k_cache",
		  .data = j->cache,
		  .dtype = KVJIT_U8,
		  .rank = 2,
		  .shape = { PAGES, BYTES } },
		{ .name = "table",
		  .data = j->table,
		  .dtype = KVJIT_S32,
		  .rank = 2,
		  .shape = { 2, COLUMNS } },
		{ .name = "seqs",
		  .data = j->seqs,
		  .dtype = KVJIT_S32,
		  .rank = 1,
		  .shape = { ROWS } },
		{ .name = "lens",
		  .data = j->lens,
		  .dtype = KVJIT_S32,
		  .rank = 1,
		  .shape = { ROWS } },
		{ .name = "out",
		  .data = j->out,
		  .dtype = KVJIT_S32,
		  .rank = 2,
		  .shape = { ROWS, TOPK } },
		{ .name = "logits",
		  .data = j->logits,
		  .dtype = KVJIT_F32,
		  .rank = 2,
		  .shape = { ROWS, WIDTH } },
		{ .name = "n", .i = ROWS },
		{ .name = "pages", .i = PAGES },
		{ .name = "width", .i = width },
	};

	if (kvjit_compile(kv, text, NULL, &k) != KVJIT_OK)
		fail_msg("%s", kvjit_error(kv));
	memset(j->out, 0x77, sizeof j->out);
	memset(j->logits, 0x77, sizeof j->logits);
	if (kvjit_call(k, NULL, a, sizeof a / sizeof *a, NULL) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	kvjit_release(k);
}

/* Slot of a row's key, -1: none. */
static int32_t slot_of(const job *j, int t, int key)
{
	int32_t page = j->table[j->seqs[t] * COLUMNS + key / PAGE];

	return page < 0 || page >= PAGES ? -1 : page * PAGE + key % PAGE;
}

static void check_logit(const job *j, int t, int key)
{
	int32_t slot = slot_of(j, t, key);
	double got = (double)j->logits[t * WIDTH + key], want = 0, sum = 0;
	const uint8_t *page = j->cache + (slot < 0 ? 0 : slot / PAGE) * BYTES;
	float scale;

	memcpy(&scale, page + PAGE * DIM + 4 * (slot < 0 ? 0 : slot % PAGE), 4);
	for (int h = 0; h < HEADS; h++) {
		double s = 0, most = 0, w = (double)j->w[t * HEADS + h];

		for (int d = 0; d < DIM && slot >= 0; d++) {
			double x = kir_decode(KIR_bf16, j->q[(t * HEADS + h) * DIM + d]) *
			           kir_decode(KIR_e4m3fn, page[slot % PAGE * DIM + d]);

			s += x;
			most += fabs(x);
		}
		want += w * fmax(s, 0) * (double)scale;
		sum += fabs(w) * most * (double)scale;
	}
	if (slot < 0 || isnan(want))
		assert_true(got == -INFINITY);
	else if (!(fabs(got - want) <= (DIM + HEADS + 8) * 0x1p-24 * sum))
		fail_msg("row %d key %d: %g, not %g", t, key, got, want);
}

/* Keys with fewer than TOPK before them, by logit and then by place, are chosen. */
static void check_row(const job *j, int t, int64_t width)
{
	int len = j->lens[t] < width ? j->lens[t] : (int)width, used = 0;
	const float *l = j->logits + t * WIDTH;

	for (int k = 0; k < len; k++) {
		int before = 0;

		check_logit(j, t, k);
		for (int i = 0; i < len; i++)
			before += l[i] > l[k] || (l[i] == l[k] && i < k);
		if (before >= TOPK || l[k] == -INFINITY)
			continue;
		assert_int_equal(j->out[t * TOPK + used], slot_of(j, t, k));
		used++;
	}
	for (; used < TOPK; used++)
		assert_int_equal(j->out[t * TOPK + used], -1);
	for (int k = len; k < WIDTH; k++) {
		uint32_t bits;

		memcpy(&bits, &l[k], 4);
		assert_int_equal(bits, 0x77777777);
	}
}

static void on_backend(const char *backend)
{
	static job j;
	kvjit_options o = { .size = sizeof o, .backend = backend };
	kvjit *kv = NULL;

	if (kvjit_open(&o, &kv) != KVJIT_OK) {
		print_message("no backend %s: left out\n", backend);
		return;
	}
	for (int64_t width = WIDTH; width > 0; width -= 100) {
		make_job(&j);
		call(kv, &j, width);
		for (int t = 0; t < ROWS; t++)
			check_row(&j, t, width);
	}
	kvjit_close(kv);
}

static void test_ref(void **state)
{
	(void)state;
	on_backend("ref");
}

static void test_c(void **state)
{
	(void)state;
	on_backend("c");
}

static void test_x86(void **state)
{
	(void)state;
	if (!ct_x86_is_built())
		skip();
	on_backend("x86");
}

static void test_refusals(void **state)
{
	static const char *const rows[][2] = {
		{ "index kv=int8 heads=4 dim=64 page=16 topk=8",
		  "an indexer's keys have no values" },
		{ "index kv=mla_bf16 heads=4 dim=576 page=16 topk=8", "no rest" },
		{ "index kv=index_mxfp8 heads=4 dim=48 page=16 topk=8",
		  "scale group of 32 doesn't divide a head of 48" },
		{ "index kv=index_mxfp4 heads=4 dim=48 page=16 topk=8",
		  "scale group of 32 doesn't divide a head of 48" },
		{ "format zeros v1 {\nelem u8\nscale f32 token-head range/255 floor 1e-06\n"
		  "values shared\ntensor k_cache { k[t d] ks[t] }\n}\n"
		  "index kv=zeros heads=4 dim=64 page=16 topk=8",
		  "no zero points" },
		{ "format given v1 {\nelem s8\nscale f32 head given\n"
		  "values shared\ntensor k_cache { k[t d] }\n}\n"
		  "index kv=given heads=4 dim=64 page=16 topk=8",
		  "stored scales or none" },
		{ "index kv=index_e4m3 heads=4 dim=64 page=16", "index needs topk=" },
		{ "index kv=index_e4m3 heads=4 dim=64 topk=8", "index needs page=" },
		{ "index kv=index_e4m3 heads=4:2 dim=64 page=16 topk=8",
		  "index takes one number of heads" },
		{ "index kv=index_e4m3 heads=4 dim=64 page=16 topk=0",
		  "topk must be a number from 1" },
		{ "index kv=index_e4m3 heads=4 dim=64 page=16 topk=8 kv_tile=12",
		  "knob kv_tile=12 must divide the page's 16 tokens" },
	};
	kvjit_options o = { .size = sizeof o, .backend = "c" };
	kvjit *kv = NULL;

	(void)state;
	if (kvjit_open(&o, &kv) != KVJIT_OK)
		skip();
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		kvjit_kernel *k = NULL;

		assert_int_not_equal(kvjit_compile(kv, rows[i][0], NULL, &k), KVJIT_OK);
		if (!strstr(kvjit_error(kv), rows[i][1]))
			fail_msg("%s: %s", rows[i][0], kvjit_error(kv));
	}
	kvjit_close(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ref),
		cmocka_unit_test(test_c),
		cmocka_unit_test(test_x86),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
