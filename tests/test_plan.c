/* SPDX-License-Identifier: Apache-2.0 */
/* test_plan.c -- plans: everything covered once, reuse, every refusal; and one attention from
 * cache write to output. Plans are read through jit/jit.h, since their contents aren't public.
 */
#include "../tools/random.h"
#include "support_api.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* -- plans ---------------------------------------------------------------------------- */

typedef struct batch {
	int32_t lens[64], starts[65], table[64 * 64];
	kvjit_batch b;
} batch;

static void make_batch(batch *x, int nseq, const int32_t *lens, const int32_t *queries)
{
	memset(x, 0, sizeof(*x));
	x->starts[0] = 3;
	for (int i = 0; i < nseq; i++) {
		x->lens[i] = lens[i];
		x->starts[i + 1] = x->starts[i] + queries[i];
	}
	for (int i = 0; i < 64 * 64; i++)
		x->table[i] = i % 100;
	x->b.size = sizeof(x->b);
	x->b.nseq = nseq;
	x->b.seq_lens = x->lens;
	x->b.query_starts = x->starts;
	x->b.block_table = x->table;
	x->b.table_stride = 64;
	x->b.npages = 100;
}

/* A mask, and which keys a query sees by it: at most so many before it and behind it, of its
 * own chunk unless that is 0. */
typedef struct mask {
	const char *text;
	int64_t back, ahead, chunk;
} mask;

enum { ALL = 1 << 20 };

static bool sees(const mask *m, int64_t query, int64_t key)
{
	return query - key <= m->back && key - query <= m->ahead &&
	       (!m->chunk || query / m->chunk == key / m->chunk);
}

/* The least (or, behind it, the greatest) key that a query at this place sees. */
static int64_t outermost(const mask *m, int64_t query, int64_t len, bool least)
{
	int64_t key = query;

	while (key + (least ? -1 : 1) >= 0 && key + (least ? -1 : 1) < len &&
	       sees(m, query, key + (least ? -1 : 1)))
		key += least ? -1 : 1;
	return key;
}

/* Counts how often each (query row, KV head, key) is covered, of which those a query sees must
 * be once; slots of an item's join. */
typedef struct cover {
	unsigned char seen[64][2][1024];
	int slot_uses[4096];
} cover;

static void check_work(const kvjit_lists *p, const batch *x, const mask *m, int64_t q_tile,
                       int64_t split, cover *c)
{
	memset(c, 0, sizeof(*c));
	for (int64_t w = 0; w < p->nwork; w++) {
		const int32_t *it = p->work + w * 8;
		int seq = it[0], nq = it[6];

		assert_in_range(nq, 1, q_tile);
		assert_int_equal(it[7], x->starts[seq] + it[2]);
		assert_true(it[7] + nq <= x->starts[seq + 1]);
		if (!x->lens[seq]) { /* its queries see nothing, and get that */
			assert_true(it[3] == 0 && it[4] == 0);
			continue;
		}
		int64_t at =
		    x->lens[seq] - (x->starts[seq + 1] - it[7]); /* its first query's */
		int64_t first = outermost(m, at, x->lens[seq], true);
		int64_t end = outermost(m, at + nq - 1, x->lens[seq], false) + 1;

		assert_true(it[3] >= first && it[3] < it[4] && it[4] <= end);
		assert_int_equal(it[5] >= 0, split && end - first > split);
		assert_true(it[3] == first || (it[5] >= 0 && it[3] % split == 0));
		assert_true(it[4] == end || (it[5] >= 0 && it[4] % split == 0));
		assert_true(!split || it[4] - it[3] <= split);
		if (it[5] >= 0)
			c->slot_uses[it[5]]++;
		for (int q = 0; q < nq; q++)
			for (int j = it[3]; j < it[4]; j++)
				c->seen[it[7] + q][it[1]][j]++;
	}
}

static void check_joins(const kvjit_lists *p, const batch *x, const cover *c)
{
	int64_t next = 0;

	for (int64_t i = 0; i < p->njoin; i++) {
		const int32_t *it = p->join + i * 8;

		assert_true(it[3] > 1 && it[2] == next);
		next = it[2] + it[3];
		assert_true(it[0] >= x->starts[it[5]] && it[0] + it[4] <= x->starts[it[5] + 1]);
		for (int s = it[2]; s < next; s++)
			assert_int_equal(c->slot_uses[s], 1);
		for (int64_t w = 0; w < p->nwork; w++) {
			const int32_t *piece = p->work + w * 8;

			if (piece[5] < it[2] || piece[5] >= next)
				continue;
			assert_true(piece[7] == it[0] && piece[1] == it[1] &&
			            piece[6] == it[4] && piece[0] == it[5]);
		}
	}
	assert_int_equal(next, p->nslots);
}

static void check_plan(const kvjit_kernel *k, const batch *x, const mask *m, int64_t q_tile,
                       int64_t split, kvjit_plan **plan)
{
	static cover c;

	if (kvjit_plan_new(k, &x->b, plan) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	check_work((*plan)->list, x, m, q_tile, split, &c);
	for (int s = 0; s < x->b.nseq; s++)
		for (int r = x->starts[s]; r < x->starts[s + 1]; r++)
			for (int h = 0; h < 2; h++)
				for (int j = 0; j < 1024; j++)
					if (j < x->lens[s] &&
					    sees(m, x->lens[s] - (x->starts[s + 1] - r), j))
						assert_int_equal(c.seen[r][h][j], 1);
					else
						assert_true(c.seen[r][h][j] <=
						            (j < x->lens[s]));
	check_joins((*plan)->list, x, &c);
	assert_int_equal(kvjit_plan_scratch(*plan) % 64, 0);
	assert_true(kvjit_plan_scratch(*plan) >=
	            (size_t)((*plan)->list[0].nslots * q_tile * 4 * (64 + 16) * 4));
}

static void test_plan(void **state)
{
	static const struct {
		int64_t q_tile, split;
	} knobs[] = { { 1, 0 }, { 4, 0 }, { 1, 64 }, { 8, 100 }, { 3, 1 << 20 } };
	static const mask causal = { "causal", ALL, 0, 0 };
	const int32_t lens[] = { 700, 1, 64, 65, 0, 128, 17, 1000 };
	const int32_t queries[] = { 1, 1, 7, 0, 6, 4, 17, 9 };
	kvjit *kv = open_with("ref", "generic");
	batch x;

	(void)state;
	make_batch(&x, 8, lens, queries);
	for (unsigned i = 0; i < sizeof(knobs) / sizeof(knobs[0]); i++) {
		kvjit_plan *plan = NULL;
		kvjit_kernel *k;
		char sched[60];

		snprintf(sched, sizeof(sched), "q_tile=%ld split=%ld", (long)knobs[i].q_tile,
		         (long)knobs[i].split);
		k = compile(kv, attn_problem, sched);
		for (int n = 8; n >= 0; n--) {
			x.b.nseq = n;
			check_plan(k, &x, &causal, knobs[i].q_tile, knobs[i].split, &plan);
		}
		kvjit_plan_free(plan);
		kvjit_release(k);
	}
	kvjit_close(kv);
}

/* A list of a plan that was made before for other batches, and of one that is new. */
static void same_lists(const kvjit_lists *a, const kvjit_lists *b)
{
	assert_true(a->nwork == b->nwork && a->njoin == b->njoin && a->nslots == b->nslots &&
	            a->npages == b->npages && a->seq_pages == b->seq_pages &&
	            a->part == b->part);
	if (a->nwork)
		assert_memory_equal(a->work, b->work, (size_t)a->nwork * 8 * sizeof *a->work);
	if (a->njoin)
		assert_memory_equal(a->join, b->join, (size_t)a->njoin * 8 * sizeof *a->join);
}

/* Steps of a server: sequences come, grow and go, one plan is made anew for each.
 * KVJIT_STEPS=N, KVJIT_SEED=N. */
static void random_batches(void **state)
{
	static const mask masks[] = { { "causal", ALL, 0, 0 },
		                      { "causal window=70", 69, 0, 0 },
		                      { "window=40", 39, 39, 0 },
		                      { "causal chunk=96", 95, 0, 96 },
		                      { "window=80 mask=\"q // 100 == k // 100\"", 79, 79,
		                        100 },
		                      { "causal window=1", 0, 0, 0 },
		                      { "", ALL, ALL, 0 } };
	const char *many = getenv("KVJIT_STEPS"), *seed = getenv("KVJIT_SEED");
	uint64_t r = seed ? (uint64_t)atoll(seed) : 0;
	kvjit *kv = open_with("ref", "generic");

	(void)state;
	for (int i = 0; i < 14; i++) {
		const mask *m = &masks[i / 2];
		int64_t q_tile = 1 + (int64_t)(random_bits(&r) % 9);
		int64_t split = i % 2 ? 16 * (int64_t)(1 + random_bits(&r) % 20) : 0;
		kvjit_plan *plan = NULL;
		kvjit_kernel *k;
		char sched[60], text[120];

		snprintf(sched, sizeof sched, "q_tile=%lld split=%lld", (long long)q_tile,
		         (long long)split);
		snprintf(text, sizeof text,
		         "attn q=f32 kv=int8/token-head heads=8:2 dim=64 page=16 %s", m->text);
		k = compile(kv, text, sched);
		for (int n = many ? atoi(many) : 30; n > 0; n--) {
			int32_t lens[64], queries[64];
			int nseq = (int)(random_bits(&r) % 13), left = 60;
			kvjit_plan *fresh = NULL;
			batch x;

			for (int s = 0; s < nseq; s++) {
				int most = random_bits(&r) % 3 ? 1 : 20;

				queries[s] = (int)(random_bits(&r) %
				                   (unsigned)(most < left ? most + 1 : 1));
				left -= queries[s];
				lens[s] = random_bits(&r) % 8
				              ? queries[s] + (int)(random_bits(&r) % 1000)
				              : 0;
			}
			make_batch(&x, nseq, lens, queries);
			check_plan(k, &x, m, q_tile, split, &plan);
			assert_int_equal(kvjit_plan_new(k, &x.b, &fresh), KVJIT_OK);
			same_lists(plan->list, fresh->list);
			assert_int_equal(plan->scratch_bytes, fresh->scratch_bytes);
			assert_true(plan->longest == fresh->longest &&
			            plan->most_new == fresh->most_new &&
			            plan->nrows == fresh->nrows && plan->ctx == fresh->ctx &&
			            plan->qlen == fresh->qlen);
			kvjit_plan_free(fresh);
		}
		kvjit_plan_free(plan);
		kvjit_release(k);
	}
	kvjit_close(kv);
}

/* A smaller batch fits in the memory of the plan before; the dearest pieces come first. */
static void test_plan_reuse(void **state)
{
	const int32_t lens[] = { 10, 1000, 300, 1000 }, queries[] = { 1, 1, 1, 1 };
	kvjit *kv = open_with("ref", "generic");
	kvjit_kernel *k = compile(kv, attn_problem, "q_tile=1 split=0");
	kvjit_plan *plan = NULL, *old;
	const void *memory;
	batch x;
	double t;

	(void)state;
	make_batch(&x, 4, lens, queries);
	assert_int_equal(kvjit_plan_new(k, &x.b, &plan), KVJIT_OK);
	assert_true(plan->list[0].work[0] == 1 && plan->list[0].work[1] == 0 &&
	            plan->list[0].work[8] == 1 && plan->list[0].work[16] == 3 &&
	            plan->list[0].work[7 * 8] == 0);
	x.b.nseq = 2; /* the least that have an order */
	assert_int_equal(kvjit_plan_new(k, &x.b, &plan), KVJIT_OK);
	assert_true(plan->list[0].work[0] == 1 && plan->list[0].work[3 * 8] == 0);
	x.b.nseq = 4;
	assert_int_equal(kvjit_plan_new(k, &x.b, &plan), KVJIT_OK);
	old = plan;
	memory = plan->memory;
	x.b.nseq = 3;
	t = seconds();
	assert_int_equal(kvjit_plan_new(k, &x.b, &plan), KVJIT_OK);
	t = seconds() - t;
	print_message("a plan costs %.1f us\n", t * 1e6);
	assert_true(plan == old && plan->memory == memory);
	x.lens[0] = -1;
	assert_int_equal(kvjit_plan_new(k, &x.b, &plan), KVJIT_BAD_ARGUMENT);
	assert_true(plan == old && plan->nseq == 3);
	kvjit_plan_free(plan);
	kvjit_release(k);
	kvjit_close(kv);
}

/* A tile's items have the keys that the mask lets its queries see, in whatever way it is
 * written: here of queries 17 to 20 of 30. A plan is no kernel's whose queries see more. */
static void test_sight(void **state)
{
	static const struct {
		const char *mask;
		int first, end;
	} masks[] = { { "", 0, 30 },
		      { "causal", 0, 21 },
		      { "causal window=40", 0, 21 },
		      { "causal window=5", 13, 21 },
		      { "window=5", 13, 25 },
		      { "causal=seq window=5", 13, 25 },
		      { "causal chunk=8", 16, 21 },
		      { "chunk=8", 16, 24 },
		      { "causal window=3 mask=\"q // 8 == k // 8\"", 16, 21 },
		      { "mask=\"k <= q && k % 3 == 0\"", 0, 21 },
		      { "mask=\"q >= k\"", 0, 21 },
		      { "mask=\"k < q\"", 0, 21 },
		      { "mask=\"k <= q + 1\"", 0, 22 },
		      { "mask=\"k - 2 < q\"", 0, 22 },
		      { "mask=\"k > q - 5\"", 13, 30 },
		      { "mask=\"q - 5 < k && q >= k\"", 13, 21 },
		      { "mask=\"k + 5 > q\"", 13, 30 },
		      { "mask=\"k + 4 >= q && k < q + 2\"", 13, 22 },
		      { "mask=\"q - k < 5\"", 13, 30 },
		      { "mask=\"5 > q - k\"", 13, 30 },
		      { "mask=\"abs(k - q) < 5\"", 13, 25 },
		      { "mask=\"abs(q - k + 1) <= 4\"", 14, 26 },
		      { "mask=\"q // 8 == k // 8\"", 16, 24 },
		      /* what bounds nothing, or not both sides */
		      { "mask=\"k <= q || k < 4\"", 0, 30 },
		      { "mask=\"k <= q && (q - k < 5 || k < 4)\"", 0, 21 },
		      { "mask=\"q - k < 5 || q - k < 3\"", 13, 30 },
		      { "mask=\"q // 8 == k // 8 || k < 2\"", 0, 30 },
		      { "mask=\"q // 8 == k // 4\"", 0, 30 },
		      { "mask=\"q // 8 <= k // 8\"", 0, 30 },
		      { "mask=\"q + k < 30\"", 0, 30 },
		      { "mask=\"2 * q - k < 5\"", 0, 30 },
		      { "mask=\"abs(q - k) > 5\"", 0, 30 },
		      { "mask=\"abs(q - k) < k\"", 0, 30 },
		      { "mask=\"q - k > 5\"", 0, 21 },
		      { "mask=\"q - k < 2000000000\"", 0, 30 } };
	enum { MASKS = sizeof(masks) / sizeof(masks[0]) };
	const int32_t lens[] = { 30 }, queries[] = { 13 };
	kvjit *kv = open_with("ref", "generic");
	static kvjit_kernel *k[MASKS];
	static kvjit_plan *plan[MASKS];
	batch x;

	(void)state;
	make_batch(&x, 1, lens, queries);
	for (unsigned i = 0; i < MASKS; i++) {
		char text[200];

		snprintf(text, sizeof(text), "attn q=f32 kv=int8 heads=4:2 dim=16 page=16 %s",
		         masks[i].mask);
		k[i] = compile(kv, text, "q_tile=4 split=0");
		assert_int_equal(kvjit_plan_new(k[i], &x.b, &plan[i]), KVJIT_OK);
		print_message("%s: %d to %d\n", masks[i].mask, plan[i]->list[0].work[3],
		              plan[i]->list[0].work[4]);
		assert_int_equal(plan[i]->list[0].work[3], masks[i].first);
		assert_int_equal(plan[i]->list[0].work[4], masks[i].end);
	}
	for (unsigned i = 0; i < MASKS; i++)
		for (unsigned j = 0; j < MASKS; j++) {
			assert_int_equal(kvjit_call(k[j], plan[i], NULL, 0, NULL),
			                 KVJIT_BAD_ARGUMENT);
			if (masks[i].first > masks[j].first || masks[i].end < masks[j].end)
				assert_says(kvjit_kernel_error(k[j]),
				            "the plan is of a kernel");
			else if (i == j || !i) /* whose items have all keys */
				assert_says(kvjit_kernel_error(k[j]), "is missing");
		}
	for (unsigned i = 0; i < MASKS; i++) {
		kvjit_plan_free(plan[i]);
		kvjit_release(k[i]);
	}
	kvjit_close(kv);
}

static void refuse_batch(const kvjit_kernel *k, const batch *x, const char *words)
{
	kvjit_plan *plan = NULL;

	assert_int_equal(kvjit_plan_new(k, &x->b, &plan), KVJIT_BAD_ARGUMENT);
	assert_null(plan);
	assert_says(kvjit_kernel_error(k), words);
}

static void test_plan_refuses(void **state)
{
	const int32_t lens[] = { 20, 50, 30 }, queries[] = { 1, 2, 3 };
	kvjit *kv = open_with("ref", "generic");
	kvjit_kernel *k = compile(kv, attn_problem, NULL);
	kvjit_kernel *small = compile(kv, attn_problem, "q_tile=1 split=16");
	kvjit_plan *plan = NULL;
	batch x;

	(void)state;
#define BATCH make_batch(&x, 3, lens, queries)
	BATCH, x.b.size = 0, refuse_batch(k, &x, "size");
	BATCH, x.b.nseq = -1, refuse_batch(k, &x, "nseq|-1");
	BATCH, x.b.seq_lens = NULL, refuse_batch(k, &x, "seq_lens|NULL");
	BATCH, x.b.query_starts = NULL, refuse_batch(k, &x, "query_starts|NULL");
	BATCH, x.lens[2] = -7, refuse_batch(k, &x, "seq_lens[2]|-7");
	BATCH, x.lens[2] = 2, refuse_batch(k, &x, "sequence 2|3 queries|2");
	BATCH, x.starts[0] = -3, refuse_batch(k, &x, "query_starts[0]|-3");
	BATCH, x.starts[2] = 1, refuse_batch(k, &x, "query_starts[2]|1|rise");
	BATCH, x.table[64 + 3] = 100, refuse_batch(k, &x, "block_table[1][3]|100|0 to 99");
	BATCH, x.table[64] = 100, refuse_batch(k, &x, "block_table[1][0]|100|0 to 99");
	BATCH, x.table[2 * 64 + 1] = -1, refuse_batch(k, &x, "block_table[2][1]|-1");
	BATCH, x.b.npages = 0, refuse_batch(k, &x, "npages is 0|sequence");
	BATCH, x.table[64 + 3] = -1, refuse_batch(k, &x, "block_table[1][3]|-1");
	BATCH, x.b.table_stride = 3, refuse_batch(k, &x, "table_stride|3|sequence 1|4 pages");
	BATCH, x.b.npages = -1, refuse_batch(k, &x, "npages|-1");
	assert_int_equal(kvjit_plan_new(k, &x.b, NULL), KVJIT_BAD_ARGUMENT);
	BATCH, x.lens[0] = INT32_MAX, refuse_batch(k, &x, "seq_lens[0]|2147483647|at most");
	/* tiles times pieces wouldn't fit 64 bits, let alone the list */
	BATCH, x.b.block_table = NULL, x.b.nseq = 1;
	x.lens[0] = x.starts[1] = 1 << 30;
	refuse_batch(small, &x, "query_starts|268435455|sequence 0");
	/* entries of pages past the end of a sequence may hold anything */
	BATCH, x.table[64 + 4] = -1;
	check_plan(k, &x, &(mask){ "causal", ALL, 0, 0 }, k->shape.q_tile, k->shape.split,
	           &plan);
	kvjit_plan_free(plan);
	kvjit_release(small);
	kvjit_release(k);
	kvjit_close(kv);
}

static void test_plan_and_call(void **state)
{
	const int32_t lens[] = { 20 }, queries[] = { 1 };
	kvjit *kv = open_with("ref", "generic");
	kvjit_kernel *a = compile(kv, attn_problem, "q_tile=1"),
	             *b = compile(kv, attn_problem, "q_tile=2");
	kvjit_plan *plan = NULL;
	kvjit_arg arg = { 0 };
	batch x;

	(void)state;
	make_batch(&x, 1, lens, queries);
	assert_int_equal(kvjit_plan_new(a, &x.b, &plan), KVJIT_OK);
	assert_int_equal(kvjit_call(a, NULL, NULL, 0, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(a), "plan is NULL");
	assert_int_equal(kvjit_call(b, plan, NULL, 0, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(b),
	            "another kernel's|heads=8:2 dim=64 page=16 q_tile=1|8:2, 64, 16, 2");
	arg.name = "work";
	assert_int_equal(kvjit_call(a, plan, &arg, 1, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(a), "'work'|plan");
	assert_int_equal(kvjit_call(a, plan, NULL, 0, (char *)&x + 1), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(a), "scratch|64");
	kvjit_plan_free(plan);
	kvjit_release(a);
	kvjit_release(b);
	kvjit_close(kv);
}

/* -- attention, whole ------------------------------------------------------------------ */

enum { HEADS = 8, KV_HEADS = 2, DIM = 64, PAGE = 16, PAGES = 100, ROWS = 64 };

typedef struct attention {
	unsigned char *pool;
	int64_t page_bytes;
	float *key, *value, *q, *out;
	int64_t slots[PAGES * PAGE];
	batch x;
} attention;

static float sample(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (float)(int32_t)*seed * 0x1p-31f;
}

static void fill_attention(attention *t, kvjit *kv)
{
	const int32_t lens[] = { 300, 17, 90 }, queries[] = { 1, 17, 3 };
	const size_t cells = (size_t)PAGES * PAGE * KV_HEADS * DIM;
	uint32_t seed = 7;

	make_batch(&t->x, 3, lens, queries);
	if (kvjit_page_bytes(kv, "int8/token-head", KV_HEADS, DIM, DIM, PAGE, &t->page_bytes))
		fail_msg("%s", kvjit_error(kv));
	t->pool = kvjit_alloc((size_t)(PAGES * t->page_bytes));
	t->key = malloc(cells * sizeof(float));
	t->value = malloc(cells * sizeof(float));
	t->q = malloc(ROWS * HEADS * DIM * sizeof(float));
	t->out = malloc(ROWS * HEADS * DIM * sizeof(float));
	for (size_t i = 0; i < cells; i++) {
		t->key[i] = sample(&seed);
		t->value[i] = sample(&seed);
	}
	for (int i = 0; i < ROWS * HEADS * DIM; i++)
		t->q[i] = sample(&seed);
	for (int i = 0; i < PAGES * PAGE; i++)
		t->slots[i] = i;
}

static void free_attention(attention *t)
{
	kvjit_free(t->pool, (size_t)(PAGES * t->page_bytes));
	free(t->key);
	free(t->value);
	free(t->q);
	free(t->out);
}

static kvjit_arg tensor(const char *name, kvjit_dtype type, void *data, int rank, int64_t a,
                        int64_t b, int64_t c)
{
	kvjit_arg x = { 0 };

	x.name = name;
	x.dtype = type;
	x.data = data;
	x.rank = rank;
	x.shape[0] = a;
	x.shape[1] = b;
	x.shape[2] = c;
	return x;
}

static void write_pool(attention *t, kvjit *kv)
{
	kvjit_kernel *k =
	    compile(kv, "write in=f32 kv=int8/token-head heads=2 dim=64 page=16", NULL);
	kvjit_arg a[5];
	int64_t n = PAGES * PAGE;

	a[0] = tensor("key", KVJIT_F32, t->key, 3, n, KV_HEADS, DIM);
	a[1] = tensor("value", KVJIT_F32, t->value, 3, n, KV_HEADS, DIM);
	a[2] = tensor("cache", KVJIT_U8, t->pool, 3, PAGES, KV_HEADS, t->page_bytes / KV_HEADS);
	a[3] = tensor("slots", KVJIT_S64, t->slots, 1, n, 0, 0);
	a[4] = (kvjit_arg){ 0 };
	a[4].name = "n";
	a[4].i = n;
	t->slots[5] = PAGES * PAGE;
	assert_int_equal(kvjit_call(k, NULL, a, 5, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(k), "slots|1600|token 5|100 pages");
	t->slots[5] = 5;
	a[0].shape[0] = n - 1;
	assert_int_equal(kvjit_call(k, NULL, a, 5, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(k), "'key'|extent 0 is 1599|1600");
	a[0].shape[0] = n;
	if (kvjit_call(k, NULL, a, 5, NULL) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	kvjit_release(k);
}

static void attend(attention *t, kvjit *kv, const char *sched)
{
	kvjit_kernel *k = compile(kv, attn_problem, sched);
	int64_t table_rows = t->x.b.nseq, rows = t->x.starts[3];
	kvjit_plan *plan = NULL;
	kvjit_arg a[7];

	memset(t->out, 0, ROWS * HEADS * DIM * sizeof(float));
	if (kvjit_plan_new(k, &t->x.b, &plan) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	a[0] = tensor("q", KVJIT_F32, t->q, 3, rows, HEADS, DIM);
	a[1] = tensor("out", KVJIT_F32, t->out, 3, rows, HEADS, DIM);
	a[2] = tensor("cache", KVJIT_U8, t->pool, 3, PAGES, KV_HEADS, t->page_bytes / KV_HEADS);
	a[3] = tensor("table", KVJIT_S32, t->x.table, 2, table_rows, 64, 0);
	a[4] = tensor("lens", KVJIT_S32, t->x.lens, 1, table_rows, 0, 0);
	a[5] = tensor("starts", KVJIT_S32, t->x.starts, 1, table_rows + 1, 0, 0);
	a[6] = (kvjit_arg){ 0 };
	a[6].name = "scale";
	a[6].f = 0.125;
	a[1].shape[0] = rows - 1;
	assert_int_equal(kvjit_call(k, plan, a, 7, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(k), "'out'|extent 0");
	a[1].shape[0] = rows;
	a[3].shape[1] = 1;
	assert_int_equal(kvjit_call(k, plan, a, 7, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(k), "'table'|extent 1 is 1");
	a[3].shape[1] = 64;
	/* stride 0 of another axis doesn't make one row serve all */
	a[0].shape[0] = 1;
	a[0].nstride = 2;
	a[0].stride[0] = HEADS * DIM;
	assert_int_equal(kvjit_call(k, plan, a, 7, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(k), "'q'|extent 0 is 1");
	a[0].nstride = 0;
	a[0].shape[0] = rows;
	if (kvjit_call(k, plan, a, 7, NULL) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	kvjit_plan_free(plan);
	kvjit_release(k);
}

/* The interpreter's answer, within what f32 and int8 rows allow, whatever the schedule; rows
 * that no sequence has stay as they were. */
static void test_attention(void **state)
{
	static const char *const scheds[] = { "q_tile=1 split=0", "q_tile=4 split=64" };
	static attention t;
	kvjit *ref = open_with("ref", "generic"), *kv = open_code();
	size_t bytes = ROWS * HEADS * DIM * sizeof(float);
	float *want = malloc(bytes);

	(void)state;
	fill_attention(&t, kv);
	write_pool(&t, kv);
	attend(&t, ref, NULL);
	memcpy(want, t.out, bytes);
	assert_true(want[0] == 0 && want[3 * HEADS * DIM] != 0);
	for (unsigned i = 0; i < 2; i++) {
		attend(&t, kv, scheds[i]);
		for (int j = 0; j < ROWS * HEADS * DIM; j++) {
			float off = t.out[j] - want[j];

			if (off < 0 ? off < -1e-4f : !(off <= 1e-4f))
				fail_msg("%s: out[%d] is %g, not %g", scheds[i], j, t.out[j],
				         want[j]);
		}
	}
	free(want);
	free_attention(&t);
	kvjit_close(kv);
	kvjit_close(ref);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plan),         cmocka_unit_test(random_batches),
		cmocka_unit_test(test_plan_reuse),   cmocka_unit_test(test_sight),
		cmocka_unit_test(test_plan_refuses), cmocka_unit_test(test_plan_and_call),
		cmocka_unit_test(test_attention),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
