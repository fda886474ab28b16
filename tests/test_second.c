/* SPDX-License-Identifier: Apache-2.0 */
/* test_second.c -- attention over two caches (kv2=).
 *
 * Two statements pin it. On the interpreter, tokens cut between two caches of one format give
 * what one cache of them all gives. On every backend, the call gives the very bytes that three
 * calls give which a host could make: each cache alone, masks shifted by hand, and a merge. */
#include "support_api.h"

#include "../tools/check/bind.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEQS = 5, PAGE = 16, PAGES = 24, HEADS = 4, KV = 2, DIM = 32, MOST = 96 };

/* Tokens in the first cache, in the second, new ones: both filled, one empty, all empty. */
static const int32_t first[SEQS] = { 70, 0, 33, 40, 0 }, second[SEQS] = { 17, 9, 6, 0, 0 },
                     news[SEQS] = { 1, 9, 5, 3, 0 };

typedef struct job {
	kvjit *kv, *ref;
	bind b;
	int32_t starts[SEQS + 1];
	int rows;
} job;

static float noise(unsigned i)
{
	i = i * 747796405u + 2891336453u;
	i = ((i >> ((i >> 28) + 4)) ^ i) * 277803737u;
	return (float)((i >> 22) ^ i) / 2147483648.0f - 1;
}

static float *floats(bind *b, const char *name, int rank, int64_t x, int64_t y, int64_t z,
                     unsigned seed)
{
	int64_t shape[3] = { x, y, z }, n = x * y * z;
	float *f = bind_tensor(b, name, KVJIT_F32, rank, shape)->data;

	for (int64_t i = 0; i < n; i++)
		f[i] = noise(seed + (unsigned)i);
	return f;
}

static int32_t *words(bind *b, const char *name, int rank, int64_t x, int64_t y)
{
	int64_t shape[2] = { x, y };

	return bind_tensor(b, name, KVJIT_S32, rank, shape)->data;
}

static void open_job(job *j, const char *backend)
{
	memset(j, 0, sizeof *j);
	j->ref = open_with("ref", NULL);
	j->kv = backend ? open_with(backend, NULL) : open_code();
	for (int s = 0; s < SEQS; s++)
		j->starts[s + 1] = j->starts[s] + news[s];
	j->rows = j->starts[SEQS];
	memcpy(words(&j->b, "starts", 1, SEQS + 1, 1), j->starts, sizeof j->starts);
	floats(&j->b, "q", 3, j->rows, HEADS, DIM, 1);
	floats(&j->b, "sink", 1, HEADS, 1, 1, 77);
	floats(&j->b, "alibi", 1, HEADS, 1, 1, 88);
	bind_scalar(&j->b, "scale", 0, 0.3);
	floats(&j->b, "out", 3, j->rows, HEADS, DIM, 0);
	floats(&j->b, "lse", 2, j->rows, HEADS, 1, 0);
}

static void close_job(job *j)
{
	bind_free(&j->b);
	kvjit_close(j->kv);
	kvjit_close(j->ref);
}

/* Writes tokens from[s] to from[s] + n[s] of every sequence into a cache of the format; what is
 * written nowhere is NaN. `two` marks the names of what it binds. */
static void cache(job *j, const char *format, const char *two, int page, const int32_t *from,
                  const int32_t *n)
{
	char text[200], name[24];
	bind w = { 0 };
	int64_t slots[SEQS * MOST], tokens = 0, bytes, shape[2] = { PAGES };
	int per = MOST / page;

	assert_int_equal(kvjit_page_bytes(j->kv, format, KV, DIM, DIM, page, &bytes), KVJIT_OK);
	shape[1] = bytes;
	snprintf(name, sizeof name, "cache%s", two);
	bind_arg *c = bind_tensor(&j->b, name, KVJIT_U8, 2, shape);

	memset(c->data, 0xff, c->bytes);
	snprintf(name, sizeof name, "table%s", two);
	int32_t *table = words(&j->b, name, 2, SEQS, per);

	for (int s = 0; s < SEQS; s++)
		for (int p = 0; p < per; p++)
			table[s * per + p] = (7 * (s * per + p) + 3) % PAGES;
	float *key = floats(&w, "key", 3, SEQS * MOST, KV, DIM, 0);
	float *value = floats(&w, "value", 3, SEQS * MOST, KV, DIM, 0);

	for (int s = 0; s < SEQS; s++)
		for (int t = 0; t < n[s]; t++, tokens++) {
			slots[tokens] = table[s * per + t / page] * page + t % page;
			for (int i = 0; i < KV * DIM; i++) {
				unsigned at =
				    (unsigned)((s * 1000 + from[s] + t) * KV * DIM + i);

				key[tokens * KV * DIM + i] = noise(at + 5000);
				value[tokens * KV * DIM + i] = noise(at + 900000);
			}
		}
	memcpy(bind_tensor(&w, "slots", KVJIT_S64, 1, (int64_t[]){ SEQS * MOST })->data, slots,
	       sizeof slots);
	bind_scalar(&w, "n", tokens, 0);
	bind_borrow(&w, "cache", KVJIT_U8, 2, shape, c->data);
	snprintf(text, sizeof text, "write in=f32 kv=%s heads=%d dim=%d page=%d", format, KV,
	         DIM, page);
	kvjit_kernel *k = compile(j->ref, text, NULL);

	if (bind_call(&w, j->ref, k, NULL, text, sizeof text) != KVJIT_OK)
		fail_msg("%s", text);
	kvjit_release(k);
	bind_free(&w);
}

/* Compiles, plans and calls; lens2 may be NULL. */
static void run(job *j, kvjit *kv, const char *text, const char *sched, const int32_t *lens,
                const int32_t *lens2)
{
	kvjit_kernel *k = compile(kv, text, sched);
	kvjit_batch b = { .size = sizeof b,
		          .nseq = SEQS,
		          .seq_lens = lens,
		          .query_starts = j->starts,
		          .seq_lens2 = lens2 };
	bind_arg *table = bind_find(&j->b, "table"), *table2 = bind_find(&j->b, "table2");
	kvjit_plan *plan = NULL;
	char why[400];

	if (table) {
		b.block_table = table->data;
		b.table_stride = table->shape[1];
		b.npages = PAGES;
	}
	if (table2 && lens2) {
		b.block_table2 = table2->data;
		b.table_stride2 = table2->shape[1];
		b.npages2 = PAGES;
	}
	memcpy(words(&j->b, "lens", 1, SEQS, 1), lens, SEQS * sizeof *lens);
	if (lens2)
		memcpy(words(&j->b, "lens2", 1, SEQS, 1), lens2, SEQS * sizeof *lens2);
	if (kvjit_plan_new(k, &b, &plan) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	if (bind_call(&j->b, kv, k, plan, why, sizeof why) != KVJIT_OK)
		fail_msg("%s: %s", text, why);
	kvjit_plan_free(plan);
	kvjit_release(k);
}

static float *copy_of(job *j, const char *name)
{
	bind_arg *x = bind_find(&j->b, name);
	float *f = malloc(x->bytes);

	memcpy(f, x->data, x->bytes);
	return f;
}

/* -- one cache of all tokens --------------------------------------------------------------- */

static void a_cut_cache_is_the_whole_one(void **state)
{
	static const char *const more[] = {
		"causal",
		"causal window=20",
		"",
		"chunk=32 softcap=5",
		"causal alibi sink",
		"causal sink softcap=3",
		"causal score=\"s + (q - k) * 0.01\" mask=\"k % 3 != 1\"",
	};
	static const int32_t none[SEQS];
	int32_t all[SEQS];

	(void)state;
	for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
		char text[300];
		job j;

		open_job(&j, "ref");
		for (int s = 0; s < SEQS; s++)
			all[s] = first[s] + second[s];
		cache(&j, "bf16", "", PAGE, none, all);
		snprintf(text, sizeof text,
		         "attn q=f32 kv=bf16 heads=4:2 dim=32 page=16 lse %s", more[i]);
		run(&j, j.ref, text, NULL, all, NULL);
		float *out = copy_of(&j, "out"), *lse = copy_of(&j, "lse");

		cache(&j, "bf16", "", PAGE, none, first);
		cache(&j, "bf16", "2", 32, first, second);
		snprintf(text, sizeof text,
		         "attn q=f32 kv=bf16 kv2=bf16 page2=32 heads=4:2 dim=32 page=16 lse %s",
		         more[i]);
		run(&j, j.ref, text, NULL, first, second);
		const float *now = bind_find(&j.b, "out")->data,
		            *log = bind_find(&j.b, "lse")->data;

		/* f32 results of each cache, and weights from f32 log-sum-exps */
		for (int k = 0; k < j.rows * HEADS * DIM; k++)
			assert_true(fabsf(now[k] - out[k]) <= 4e-6f);
		for (int k = 0; k < j.rows * HEADS; k++)
			assert_true(log[k] == lse[k] || fabsf(log[k] - lse[k]) <= 4e-6f);
		free(out);
		free(lse);
		close_job(&j);
	}
}

/* -- three calls --------------------------------------------------------------------------- */

/* Results of the calls a host would make, in out and lse. */
static void by_hand(job *j, const char *one, const char *two, const char *sched)
{
	static const int32_t *const lens[2] = { first, second };
	const char *const text[2] = { one, two };
	int64_t n = (int64_t)j->rows * HEADS;
	float *parts = floats(&j->b, "parts", 3, 2 * j->rows, HEADS, DIM, 0);
	float *lses = floats(&j->b, "lses", 3, 2, j->rows, HEADS, 0);

	bind_find(&j->b, "parts")->rank = 4;
	memcpy(bind_find(&j->b, "parts")->shape, (int64_t[]){ 2, j->rows, HEADS, DIM },
	       4 * sizeof(int64_t));
	memcpy(words(&j->b, "before", 1, SEQS, 1), first, sizeof first);
	memcpy(words(&j->b, "after", 1, SEQS, 1), second, sizeof second);
	for (int c = 0; c < 2; c++) {
		bind_arg *own = bind_find(&j->b, "cache"), *table = bind_find(&j->b, "table");
		bind_arg a = *own, t = *table;

		if (c) { /* the second's under the names of the first */
			own->data = bind_find(&j->b, "cache2")->data;
			memcpy(own->shape, bind_find(&j->b, "cache2")->shape,
			       sizeof own->shape);
			table->data = bind_find(&j->b, "table2")->data;
			memcpy(table->shape, bind_find(&j->b, "table2")->shape,
			       sizeof table->shape);
		}
		run(j, j->kv, text[c], sched, lens[c], NULL);
		*bind_find(&j->b, "cache") = a;
		*bind_find(&j->b, "table") = t;
		memcpy(parts + c * n * DIM, bind_find(&j->b, "out")->data,
		       (size_t)(n * DIM) * sizeof(float));
		memcpy(lses + c * n, bind_find(&j->b, "lse")->data, (size_t)n * sizeof(float));
	}
	bind_scalar(&j->b, "n", j->rows, 0);
	bind_scalar(&j->b, "p", 2, 0);
	kvjit_kernel *k = compile(j->kv, "merge out=f32 heads=4 dim=32 lse", NULL);
	char why[300];

	if (bind_call(&j->b, j->kv, k, NULL, why, sizeof why) != KVJIT_OK)
		fail_msg("%s", why);
	kvjit_release(k);
}

static void assert_same_as_by_hand(const char *backend, const char *a, const char *b, int page2,
                                   const char *sched)
{
	static const int32_t none[SEQS];
	char two[300], one[2][300];
	job j;

	open_job(&j, backend);
	cache(&j, a, "", PAGE, none, first);
	cache(&j, b, "2", page2, first, second);
	snprintf(
	    two, sizeof two,
	    "attn q=f32 kv=%s kv2=%s page2=%d heads=4:2 dim=32 page=16 causal window=40 lse", a,
	    b, page2);
	snprintf(one[0], sizeof one[0],
	         "attn q=f32 kv=%s heads=4:2 dim=32 page=16 lse with=before:s32,after:s32 "
	         "mask=\"k <= q + after[b] && q + after[b] - k < 40 && before[b] >= 0\"",
	         a);
	snprintf(one[1], sizeof one[1],
	         "attn q=f32 kv=%s heads=4:2 dim=32 page=%d lse with=before:s32,after:s32 "
	         "mask=\"k + before[b] <= q + before[b] && q - k < 40 && after[b] >= 0\"",
	         b, page2);
	by_hand(&j, one[0], one[1], sched);
	float *out = copy_of(&j, "out"), *lse = copy_of(&j, "lse");

	run(&j, j.kv, two, sched, first, second);
	assert_memory_equal(out, bind_find(&j.b, "out")->data,
	                    (size_t)(j.rows * HEADS * DIM) * sizeof *out);
	assert_memory_equal(lse, bind_find(&j.b, "lse")->data,
	                    (size_t)(j.rows * HEADS) * sizeof *lse);
	free(out);
	free(lse);
	close_job(&j);
}

static void the_call_is_three_calls(void **state)
{
	static const char *const backends[] = { "ref", "c", NULL };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_same_as_by_hand(backends[i], "int8/token-head", "bf16", 32,
		                       "kv_tile=16 split=0 q_tile=2");
		assert_same_as_by_hand(backends[i], "int8/token-head", "bf16", 32,
		                       "kv_tile=16 split=32 q_tile=1");
		assert_same_as_by_hand(backends[i], "int4/g32", "f16", 16,
		                       "kv_tile=16 split=16 q_tile=4");
		assert_same_as_by_hand(backends[i], "bf16", "e4m3/token-head", 48,
		                       "kv_tile=8 split=0 q_tile=1");
	}
}

/* -- index lists --------------------------------------------------------------------------- */

/* Slots of the first cache 0 to 95, of the second 0 to 31; row 2 names nothing in the first,
 * row 3 nothing at all. */
static void two_lists_are_one(void **state)
{
	static const int32_t none[SEQS], some[SEQS] = { 64 }, rest[SEQS] = { 32 };
	static const int32_t most[SEQS] = { 8, 8, 5, 8, 0 }, most2[SEQS] = { 4, 4, 4, 4, 0 };
	static const int32_t all[SEQS] = { 96 }, sum[SEQS] = { 12, 12, 12, 12, 0 };
	job j;

	(void)state;
	open_job(&j, "ref");
	cache(&j, "bf16", "2", PAGE, some, rest);
	cache(&j, "bf16", "", PAGE, none, all);
	int32_t *index = words(&j.b, "index", 2, j.rows, 12), one[18][8], two[18][4];
	const int32_t *table = bind_find(&j.b, "table")->data,
	              *table2 = bind_find(&j.b, "table2")->data;

	assert_int_equal(j.rows, 18);
	for (int r = 0; r < 18; r++)
		for (int i = 0; i < 12; i++) {
			int s = r < 1    ? 0
			        : r < 10 ? 1
			        : r < 15 ? 2
			                 : 3,
			    at = (i * 17 + r * 5) % 64, at2 = (i * 7 + r * 3) % 32;
			bool no = i < 8 ? i >= most[s] || r == 2 || r == 3 || i == 6 : r == 3;

			at = i < 8 ? table[at / PAGE] * PAGE + at % PAGE
			           : table[(64 + at2) / PAGE] * PAGE + at2 % PAGE;
			index[r * 12 + i] = no ? -1 : at;
			if (i < 8)
				one[r][i] = i < most[s] && !no ? at : i == 6 ? 1 << 30 : -1;
			else
				two[r][i - 8] =
				    no ? -1 : table2[at2 / PAGE] * PAGE + at2 % PAGE;
		}
	run(&j, j.ref, "attn q=f32 kv=bf16 heads=4:2 dim=32 page=16 lse sparse=12 sink", NULL,
	    sum, NULL);
	float *out = copy_of(&j, "out"), *lse = copy_of(&j, "lse");

	memcpy(words(&j.b, "index", 2, j.rows, 8), one, sizeof one);
	memcpy(words(&j.b, "index2", 2, j.rows, 4), two, sizeof two);
	for (int code = 0; code < 2; code++) {
		run(&j, code ? j.kv : j.ref,
		    "attn q=f32 kv=bf16 kv2=bf16 heads=4:2 dim=32 page=16 lse sparse=8 "
		    "sparse2=4 "
		    "sink",
		    NULL, most, most2);
		const float *now = bind_find(&j.b, "out")->data,
		            *log = bind_find(&j.b, "lse")->data;

		for (int k = 0; k < j.rows * HEADS * DIM; k++)
			assert_true(fabsf(now[k] - out[k]) <= 4e-6f);
		for (int k = 0; k < j.rows * HEADS; k++)
			assert_true(log[k] == lse[k] || fabsf(log[k] - lse[k]) <= 4e-6f);
		assert_true(log[3 * HEADS] == INFINITY && now[3 * HEADS * DIM] == 0);
	}
	free(out);
	free(lse);
	close_job(&j);
}

/* -- what is refused ----------------------------------------------------------------------- */

static void wrong_problems_are_refused(void **state)
{
	static const struct {
		const char *more, *says;
	} bad[] = {
		{ "page2=16", "page2=|kv2=" },
		{ "sparse2=16", "sparse2=|kv2=" },
		{ "kv2=bf16 sparse2=16", "sparse=|sparse2=" },
		{ "kv2=bf16 sparse=16", "sparse=|sparse2=" },
		{ "kv2=bf99", "bf99" },
		{ "kv2=fp8_ds_mla", "576" },
	};
	kvjit *kv = open_with("ref", NULL);
	kvjit_kernel *k = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char text[200];

		snprintf(text, sizeof text, "attn q=bf16 kv=bf16 heads=4:2 dim=32 page=16 %s",
		         bad[i].more);
		assert_int_equal(kvjit_compile(kv, text, NULL, &k), KVJIT_BAD_PROBLEM);
		assert_says(kvjit_error(kv), bad[i].says);
	}
	kvjit_close(kv);
}

/* Names of a second cache's parameters end in 2. */
static void a_name_with_a_2_is_refused(void **state)
{
	kvjit *kv = open_with("ref", NULL);
	kvjit_kernel *k = NULL;

	(void)state;
	assert_int_equal(kvjit_compile(kv,
	                               "format mine v1 {\n  elem bf16\n  scale none\n"
	                               "  tensor pool2 [h] { k[t d] v[t d] align 64 }\n}\n"
	                               "attn q=bf16 kv=mine kv2=bf16 heads=4:2 dim=32 page=16",
	                               NULL, &k),
	                 KVJIT_BAD_PROBLEM);
	assert_says(kvjit_error(kv), "kv2=|rename");
	kvjit_close(kv);
}

static void wrong_batches_are_refused(void **state)
{
	static const int32_t lens[] = { 20 }, starts[] = { 0, 1 }, table[] = { 0, 9 },
	                     big[] = { 40 }, low[] = { -1 }, huge[] = { 1 << 30 };
	kvjit *kv = open_with("ref", NULL);
	kvjit_kernel *two = compile(
	    kv, "attn q=bf16 kv=int8/token-head kv2=bf16 heads=4:2 dim=32 page=16", NULL);
	kvjit_kernel *one =
	    compile(kv, "attn q=bf16 kv=int8/token-head heads=4:2 dim=32 page=16", NULL);
	kvjit_batch good = { .size = sizeof good,
		             .nseq = 1,
		             .seq_lens = lens,
		             .query_starts = starts,
		             .seq_lens2 = lens };
	kvjit_batch b = good;
	kvjit_plan *plan = NULL;
	uint64_t hash;

	(void)state;
#define REFUSED(k, words)                                                           \
	do {                                                                        \
		assert_int_equal(kvjit_plan_new(k, &b, &plan), KVJIT_BAD_ARGUMENT); \
		assert_says(kvjit_kernel_error(k), words);                          \
		b = good;                                                           \
	} while (0)
	REFUSED(one, "seq_lens2|kv2=");
	b.seq_lens2 = NULL;
	REFUSED(two, "seq_lens2 is NULL");
	b.seq_lens2 = low;
	REFUSED(two, "seq_lens2[0] is -1");
	b.seq_lens2 = huge;
	REFUSED(two, "together");
	b.block_table2 = table;
	b.table_stride2 = 1;
	b.npages2 = 4;
	REFUSED(two, "table_stride2 is 1");
	b.block_table2 = table;
	b.table_stride2 = 2;
	b.npages2 = 4;
	REFUSED(two, "block_table2[0][1] is 9");
	b.seq_lens = b.seq_lens2 = big;
	b.query_starts = (int32_t[]){ 0, 81 };
	REFUSED(two, "81 queries|seq_lens + seq_lens2|80");
	assert_int_equal(kvjit_format_hash(kv, "int8/token-head", &hash), KVJIT_OK);
	b.format2 = hash;
	REFUSED(two, "second cache|bf16");
	assert_int_equal(kvjit_plan_new(two, &good, &plan), KVJIT_OK);
	kvjit_plan_free(plan);
	kvjit_release(one);
	kvjit_release(two);
	kvjit_close(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cut_cache_is_the_whole_one),
		cmocka_unit_test(the_call_is_three_calls),
		cmocka_unit_test(two_lists_are_one),
		cmocka_unit_test(wrong_problems_are_refused),
		cmocka_unit_test(a_name_with_a_2_is_refused),
		cmocka_unit_test(wrong_batches_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
