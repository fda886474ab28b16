/* SPDX-License-Identifier: Apache-2.0 */
/* test_few.c -- tiles with few queries go to a kernel of their own (jit/few.c): each query is
 * computed once, by the right one, to the bits that this kernel gives alone.
 */
#include "../tools/random.h"
#include "support_api.h"
#include "support_count.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HEADS = 8, KV_HEADS = 2, DIM = 64, PAGE = 16, STRIDE = 330, SEQS = 8, MANY = 64 };

#define BASE "attn q=f32 kv=int8/token-head heads=8:2 dim=64 page=16 causal"

/* Contexts of which one is cut into pieces where one query is computed; whole tiles of 16 with
 * and without a rest, rests of 1, 3, 8 and 9 queries, a sequence with no new token. */
static const int32_t lens[SEQS] = { 300, 64, 5200, 900, 33, 70, 2100, 1000 };
static const int32_t queries[SEQS] = { 1, 64, 3, 17, 24, 0, 9, 40 };

typedef struct problem {
	kvjit *kv;
	unsigned char *pool;
	int64_t page_bytes, pages;
	int32_t *table, starts[SEQS + 1];
	float *q, *out;
	kvjit_batch batch;
} problem;

static float random_unit(uint64_t *r)
{
	return (float)(int32_t)random_bits(r) * 0x1p-31f;
}

static size_t out_bytes(const problem *p)
{
	return (size_t)p->starts[SEQS] * HEADS * DIM * sizeof(float);
}

static kvjit_arg tensor(const char *name, kvjit_dtype type, void *data, int rank, int64_t a,
                        int64_t b, int64_t c)
{
	return (kvjit_arg){
		.name = name, .dtype = type, .data = data, .rank = rank, .shape = { a, b, c }
	};
}

static void write_pool(const problem *p)
{
	int64_t n = p->pages * PAGE, *slots = malloc((size_t)n * sizeof(*slots));
	size_t cells = (size_t)n * KV_HEADS * DIM;
	float *key = malloc(cells * sizeof(*key)), *value = malloc(cells * sizeof(*value));
	kvjit_kernel *k =
	    compile(p->kv, "write in=f32 kv=int8/token-head heads=2 dim=64 page=16", NULL);
	uint64_t r = 7;

	for (size_t i = 0; i < cells; i++) {
		key[i] = random_unit(&r);
		value[i] = random_unit(&r);
	}
	for (int64_t i = 0; i < n; i++)
		slots[i] = i;
	kvjit_arg a[] = {
		tensor("key", KVJIT_F32, key, 3, n, KV_HEADS, DIM),
		tensor("value", KVJIT_F32, value, 3, n, KV_HEADS, DIM),
		tensor("cache", KVJIT_U8, p->pool, 3, p->pages, KV_HEADS,
		       p->page_bytes / KV_HEADS),
		tensor("slots", KVJIT_S64, slots, 1, n, 0, 0),
		{ .name = "n", .i = n },
	};
	if (kvjit_call(k, NULL, a, 5, NULL) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	kvjit_release(k);
	free(key);
	free(value);
	free(slots);
}

static void open_problem(problem *p)
{
	uint64_t r = 11;

	*p = (problem){ .kv = open_code() };
	p->table = calloc(SEQS * STRIDE, sizeof(*p->table));
	for (int s = 0; s < SEQS; s++) {
		p->starts[s + 1] = p->starts[s] + queries[s];
		for (int i = 0; i < (lens[s] + PAGE - 1) / PAGE; i++)
			p->table[s * STRIDE + i] = (int32_t)p->pages++;
	}
	p->batch = (kvjit_batch){ .size = sizeof(p->batch),
		                  .nseq = SEQS,
		                  .seq_lens = lens,
		                  .query_starts = p->starts,
		                  .block_table = p->table,
		                  .table_stride = STRIDE,
		                  .npages = p->pages };
	if (kvjit_page_bytes(p->kv, "int8/token-head", KV_HEADS, DIM, DIM, PAGE,
	                     &p->page_bytes))
		fail_msg("%s", kvjit_error(p->kv));
	p->pool = kvjit_alloc((size_t)(p->pages * p->page_bytes));
	p->q = malloc(out_bytes(p));
	p->out = malloc(out_bytes(p));
	for (size_t i = 0; i < out_bytes(p) / sizeof(float); i++)
		p->q[i] = random_unit(&r);
	write_pool(p);
}

static void close_problem(problem *p)
{
	kvjit_free(p->pool, (size_t)(p->pages * p->page_bytes));
	free(p->table);
	free(p->q);
	free(p->out);
	kvjit_close(p->kv);
}

static kvjit_status call(const problem *p, const kvjit_batch *b, const kvjit_kernel *k,
                         const kvjit_plan *plan, void *scratch)
{
	int64_t rows = p->starts[SEQS];
	kvjit_arg a[] = {
		tensor("q", KVJIT_F32, p->q, 3, rows, HEADS, DIM),
		tensor("out", KVJIT_F32, p->out, 3, rows, HEADS, DIM),
		tensor("cache", KVJIT_U8, p->pool, 3, p->pages, KV_HEADS,
		       p->page_bytes / KV_HEADS),
		tensor("table", KVJIT_S32, p->table, 2, b->nseq, STRIDE, 0),
		tensor("lens", KVJIT_S32, (void *)b->seq_lens, 1, b->nseq, 0, 0),
		tensor("starts", KVJIT_S32, (void *)b->query_starts, 1, b->nseq + 1, 0, 0),
		{ .name = "scale", .f = 0.125 },
	};

	memset(p->out, 0xff, out_bytes(p));
	return kvjit_call(k, plan, a, 7, scratch);
}

/* What k gives for the whole batch; free it. */
static float *attend(const problem *p, const kvjit_kernel *k)
{
	kvjit_plan *plan = NULL;
	float *out = malloc(out_bytes(p));

	if (kvjit_plan_new(k, &p->batch, &plan) != KVJIT_OK ||
	    call(p, &p->batch, k, plan, NULL) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	memcpy(out, p->out, out_bytes(p));
	kvjit_plan_free(plan);
	return out;
}

/* k's own schedule, given: a kernel that has all tiles. */
static kvjit_kernel *alone(const problem *p, const kvjit_kernel *k)
{
	char *sched = kvjit_kernel_text(k, "schedule");
	kvjit_kernel *out = compile(p->kv, BASE, sched);

	assert_null(out->few);
	free(sched);
	return out;
}

/* Rows of a rest of at most `most` queries are `few`'s, the others `many`'s. */
static void assert_rows(const problem *p, const float *many, const float *few, int64_t tile,
                        int64_t most)
{
	const size_t row = HEADS * DIM * sizeof(float);
	const int32_t *starts = p->batch.query_starts;

	for (int64_t s = 0; s < p->batch.nseq; s++)
		for (int32_t i = starts[s]; i < starts[s + 1]; i++) {
			int64_t rest = (starts[s + 1] - starts[s]) % tile;
			bool is_few = rest <= most && i >= starts[s + 1] - rest;
			size_t at = (size_t)i * HEADS * DIM;

			assert_memory_equal(p->out + at, (is_few ? few : many) + at, row);
		}
}

static int64_t queries_in(const kvjit_plan *plan)
{
	int64_t n = 0;

	for (int64_t i = 0; i < plan->list[0].nwork; i++)
		if (plan->list[0].work[i * 8 + 5] < 0)
			n += plan->list[0].work[i * 8 + 6];
	for (int64_t i = 0; i < plan->list[0].njoin; i++)
		n += plan->list[0].join[i * 8 + 4];
	return n;
}

/* An executor that hands out odd ranges, the last first. */
static void in_sevens(int64_t n, void (*fn)(int64_t begin, int64_t end, void *ctx), void *ctx,
                      void *executor)
{
	(void)executor;
	for (int64_t at = (n - 1) / 7 * 7; at >= 0; at -= 7)
		fn(at, at + 7 < n ? at + 7 : n, ctx);
}

static void each_query_is_computed_by_its_kernel(void **state)
{
	problem p;
	kvjit_kernel *k, *many, *few;
	kvjit_plan *plan = NULL;
	float *by_many, *by_few;
	char *scratch;
	size_t bytes;

	(void)state;
	open_problem(&p);
	k = compile(p.kv, BASE " qlen=64", NULL);
	assert_non_null(k->few);
	assert_int_equal(k->shape.q_tile, 16);
	assert_int_equal(k->few->shape.q_tile, 1);
	many = alone(&p, k);
	few = compile(p.kv, BASE, NULL);
	by_many = attend(&p, many);
	by_few = attend(&p, few);
	assert_memory_not_equal(by_many, by_few, out_bytes(&p)); /* or this test sees nothing */

	assert_int_equal(kvjit_plan_new(k, &p.batch, &plan), KVJIT_OK);
	assert_true(plan->mixed);
	assert_true(plan->few->list[0].njoin > 0); /* the sequence of 5200 */
	assert_int_equal(queries_in(plan), KV_HEADS * (64 + 16 + 16 + 9 + 32));
	assert_int_equal(queries_in(plan->few), KV_HEADS * (1 + 3 + 1 + 8 + 8));
	assert_int_equal(call(&p, &p.batch, k, plan, NULL), KVJIT_OK);
	assert_rows(&p, by_many, by_few, 16, 8);

	/* ranges across the border between the two, and scratch of the caller's */
	bytes = kvjit_plan_scratch(plan);
	assert_true(bytes >= (size_t)(plan->few->list[0].nslots * 4 * (DIM + 16) * 4));
	scratch = kvjit_alloc(bytes + 64);
	memset(scratch, 0x5a, bytes + 64);
	k->parallel = in_sevens;
	assert_int_equal(call(&p, &p.batch, k, plan, scratch), KVJIT_OK);
	assert_rows(&p, by_many, by_few, 16, 8);
	for (int i = 0; i < 64; i++)
		assert_int_equal(scratch[bytes + (size_t)i], 0x5a);
	kvjit_free(scratch, bytes + 64);
	kvjit_plan_free(plan);
	free(by_many);
	free(by_few);
	kvjit_release(many);
	kvjit_release(few);
	kvjit_release(k);
	close_problem(&p);
}

/* Steps of an engine: a plan is made again for batches that have both kinds of tiles, one of
 * them, the other; one that fails leaves the old. */
static void a_plan_is_made_again(void **state)
{
	static const int32_t all_one[] = { 0, 1, 2, 3 }, all_many[] = { 0, 32, 64, 96 };
	kvjit_plan *plan = NULL, *few;
	kvjit_kernel *k;
	kvjit_batch b;
	problem p;

	(void)state;
	open_problem(&p);
	k = compile(p.kv, BASE " qlen=64", NULL);
	for (int round = 0; round < 3; round++) {
		float *want = NULL;

		assert_int_equal(kvjit_plan_new(k, &p.batch, &plan), KVJIT_OK);
		assert_true(plan->mixed && plan->list[0].nwork && plan->few->list[0].nwork);
		assert_int_equal(call(&p, &p.batch, k, plan, NULL), KVJIT_OK);
		want = attend(&p, k);
		assert_memory_equal(p.out, want, out_bytes(&p));
		free(want);

		few = plan->few;
		b = p.batch;
		b.nseq = 3;
		b.seq_lens = (const int32_t[]){ 300, -1, 900 };
		b.query_starts = all_one;
		assert_int_equal(kvjit_plan_new(k, &b, &plan), KVJIT_BAD_ARGUMENT);
		assert_true(plan->mixed && plan->few == few);
		assert_int_equal(call(&p, &p.batch, k, plan, NULL), KVJIT_OK);

		b.seq_lens = (const int32_t[]){ 300, 200, 900 };
		assert_int_equal(kvjit_plan_new(k, &b, &plan), KVJIT_OK);
		assert_true(plan->mixed && !plan->list[0].nwork);
		assert_int_equal(plan->few->list[0].nwork, 3 * KV_HEADS);
		assert_int_equal(call(&p, &b, k, plan, NULL), KVJIT_OK);

		b.query_starts = all_many;
		assert_int_equal(kvjit_plan_new(k, &b, &plan), KVJIT_OK);
		assert_true(!plan->mixed && plan->list[0].nwork == 6 * KV_HEADS);
		assert_int_equal(call(&p, &b, k, plan, NULL), KVJIT_OK);
	}
	kvjit_plan_free(plan);
	kvjit_release(k);
	close_problem(&p);
}

/* One plan for batches of all kinds of rests, of sequences without tokens and of none at all.
 */
static void random_batches(void **state)
{
	static const int32_t sizes[] = { 0, 1, 1, 2, 7, 8, 9, 15, 16, 17, 24, 25, 40 };
	int32_t len[SEQS], starts[SEQS + 1];
	kvjit_kernel *k, *many, *few;
	kvjit_plan *plan = NULL;
	unsigned mixed = 0, rounds = support_count(30, 4);
	uint64_t r = 5;
	problem p;

	(void)state;
	open_problem(&p);
	k = compile(p.kv, BASE " qlen=64", NULL);
	many = alone(&p, k);
	few = compile(p.kv, BASE, NULL);
	p.batch.seq_lens = len;
	p.batch.query_starts = starts;
	for (unsigned round = 0; round < rounds; round++) {
		float *by_many, *by_few;

		p.batch.nseq = random_bits(&r) % (SEQS + 1);
		starts[0] = (int32_t)(random_bits(&r) % 3);
		for (int64_t s = 0; s < p.batch.nseq; s++) {
			uint64_t to = sizeof(sizes) / sizeof(sizes[0]);
			int32_t n = sizes[random_bits(&r) % to];
			int32_t room = p.starts[SEQS] - starts[s];

			len[s] = (int32_t)(random_bits(&r) % (uint64_t)(lens[s] + 1));
			len[s] = random_bits(&r) % 6 ? len[s] : 0;
			n = n < room ? n : room;
			starts[s + 1] = starts[s] + (len[s] && len[s] < n ? len[s] : n);
		}
		assert_int_equal(kvjit_plan_new(k, &p.batch, &plan), KVJIT_OK);
		mixed += plan->mixed && plan->list[0].nwork;
		by_many = attend(&p, many);
		by_few = attend(&p, few);
		if (call(&p, &p.batch, k, plan, NULL) != KVJIT_OK)
			fail_msg("round %u: %s", round, kvjit_kernel_error(k));
		assert_rows(&p, by_many, by_few, 16, 8);
		free(by_many);
		free(by_few);
	}
	assert_in_range(mixed, rounds / 4, rounds);
	kvjit_plan_free(plan);
	kvjit_release(many);
	kvjit_release(few);
	kvjit_release(k);
	close_problem(&p);
}

/* Kernels of several layers share a plan if they have the same two schedules. */
static void plans_of_other_kernels(void **state)
{
	kvjit_kernel *k, *window, *given, *one;
	kvjit_plan *plan = NULL;
	problem p;
	char *sched;

	(void)state;
	open_problem(&p);
	k = compile(p.kv, BASE " qlen=64", NULL);
	window = compile(p.kv, BASE " window=100 qlen=64", NULL);
	one = compile(p.kv, BASE, NULL);
	sched = kvjit_kernel_text(k, "schedule");
	given = compile(p.kv, BASE " qlen=64", sched);
	assert_null(given->few);
	assert_int_equal(kvjit_plan_new(k, &p.batch, &plan), KVJIT_OK);
	assert_int_equal(call(&p, &p.batch, window, plan, NULL), KVJIT_OK);
	assert_int_equal(call(&p, &p.batch, given, plan, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(given), "tiles with few queries|make a plan for it");
	assert_int_equal(call(&p, &p.batch, one, plan, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(one), "another kernel's|q_tile=16");
	/* what is wrong with the part for few queries is said of the kernel that was called */
	assert_int_equal(kvjit_plan_new(k, &p.batch, &plan), KVJIT_OK);
	plan->list[0].nwork = 0; /* its own part isn't looked at */
	assert_int_equal(kvjit_call(k, plan, NULL, 0, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(k), "'q' is missing");
	kvjit_plan_free(plan);
	free(sched);
	kvjit_release(given);
	kvjit_release(one);
	kvjit_release(window);
	kvjit_release(k);
	close_problem(&p);
}

/* No kernel is made that would get no tile. */
static void who_has_none(void **state)
{
	static const char *const texts[] = {
		BASE,                                                 /* one query */
		BASE " qlen=1",                                       /* the same */
		BASE " qlen=64 q_tile=16",                            /* a knob */
		"attn q=f32 kv=bf16 heads=8:8 dim=16 page=16 qlen=2", /* as many rows for both
		                                                       */
		"attn q=f32 kv=int8/token-head kv2=bf16 heads=8:2 dim=64 page=16 qlen=64",
		"write in=f32 kv=bf16 heads=2 dim=64 page=16 qlen=64",
	};
	kvjit *kv = open_code(), *ref = open_with("ref", "generic");

	(void)state;
	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		kvjit_kernel *k = compile(kv, texts[i], NULL);

		print_message("%s\n", texts[i]);
		assert_null(k->few);
		kvjit_release(k);
	}
	kvjit_kernel *k = compile(ref, BASE " qlen=64", NULL);
	assert_null(k->few);
	kvjit_release(k);
	kvjit_close(ref);
	kvjit_close(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_query_is_computed_by_its_kernel),
		cmocka_unit_test(a_plan_is_made_again),
		cmocka_unit_test(random_batches),
		cmocka_unit_test(plans_of_other_kernels),
		cmocka_unit_test(who_has_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
