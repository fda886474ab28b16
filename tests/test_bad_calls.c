/* SPDX-License-Identifier: Apache-2.0 */
/* test_bad_calls.c -- what a host gets wrong in its first week: each is a status and a sentence
 * that names what was wrong and what is taken, and nothing is written. test_api.c has the rules
 * of every argument; here are a cache write and attention with what problems add to them.
 */
#include "support_api.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HEADS = 4, KV_HEADS = 2, DIM = 32, PAGE = 16, PAGES = 4, SEQS = 2, COLUMNS = 4, N = 8 };

typedef struct host {
	kvjit *kv;
	kvjit_kernel *write, *attn;
	kvjit_plan *plan;
	uint16_t q[N * HEADS * DIM], out[SEQS * HEADS * DIM];
	int32_t lens[SEQS + 1], starts[SEQS + 2], table[SEQS * COLUMNS + 1];
	int64_t slots[N], page;
	float bias[HEADS], slope[64];
	uint8_t *cache;
} host;

static const char attn_text[] =
    "attn q=bf16 kv=int8/token-head heads=4:2 dim=32 page=16 causal split=16 "
    "score=\"s + bias[h] * slope[k]\" with=bias:f32,slope:f32";

static kvjit_batch batch_of(const host *x)
{
	return (kvjit_batch){ .size = sizeof(kvjit_batch),
		              .nseq = SEQS,
		              .seq_lens = x->lens,
		              .query_starts = x->starts,
		              .block_table = x->table,
		              .table_stride = COLUMNS,
		              .npages = PAGES };
}

static void set_up(host *x)
{
	static const int32_t lens[] = { 5, 40 }, starts[] = { 0, 1, 2 },
	                     table[] = { 0, 0, 0, 0, 1, 2, 3, 0 };
	kvjit_batch b;

	memset(x, 0, sizeof(*x));
	x->kv = open_code();
	x->write =
	    compile(x->kv, "write in=bf16 kv=int8/token-head heads=2 dim=32 page=16", NULL);
	x->attn = compile(x->kv, attn_text, NULL);
	memcpy(x->lens, lens, sizeof(lens));
	memcpy(x->starts, starts, sizeof(starts));
	memcpy(x->table, table, sizeof(table));
	for (int i = 0; i < N; i++)
		x->slots[i] = i;
	assert_int_equal(
	    kvjit_page_bytes(x->kv, "int8/token-head", KV_HEADS, DIM, DIM, PAGE, &x->page),
	    KVJIT_OK);
	x->cache = kvjit_alloc((size_t)(PAGES * x->page));
	assert_non_null(x->cache);
	b = batch_of(x);
	assert_int_equal(kvjit_plan_new(x->attn, &b, &x->plan), KVJIT_OK);
}

static void tear_down(host *x)
{
	kvjit_plan_free(x->plan);
	kvjit_release(x->attn);
	kvjit_release(x->write);
	kvjit_free(x->cache, (size_t)(PAGES * x->page));
	kvjit_close(x->kv);
}

/* -- attention ---------------------------------------------------------------------- */

#define TENSOR(name_, data_, dtype_, rank_, ...)                                         \
	{                                                                                \
		.name = name_, .data = data_, .dtype = dtype_, .rank = rank_, .shape = { \
			__VA_ARGS__                                                      \
		}                                                                        \
	}

enum { Q, CACHE, TABLE, LENS, STARTS, SCALE, BIAS, SLOPE, OUT, NATTN };

static void attn_args(host *x, kvjit_arg *a)
{
	const kvjit_arg all[] = { TENSOR("q", x->q, KVJIT_BF16, 3, SEQS, HEADS, DIM),
		                  TENSOR("cache", x->cache, KVJIT_U8, 3, PAGES, KV_HEADS,
		                         x->page / KV_HEADS),
		                  TENSOR("table", x->table, KVJIT_S32, 2, SEQS, COLUMNS),
		                  TENSOR("lens", x->lens, KVJIT_S32, 1, SEQS),
		                  TENSOR("starts", x->starts, KVJIT_S32, 1, SEQS + 1),
		                  { .name = "scale", .f = 0.2 },
		                  TENSOR("bias", x->bias, KVJIT_F32, 1, HEADS),
		                  TENSOR("slope", x->slope, KVJIT_F32, 1, 40),
		                  TENSOR("out", x->out, KVJIT_BF16, 3, SEQS, HEADS, DIM) };

	memcpy(a, all, sizeof(all));
}

static void refused(host *x, const kvjit_arg *a, int n, const char *words)
{
	assert_int_equal(kvjit_call(x->attn, x->plan, a, n, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(x->attn), words);
	for (int i = 0; i < SEQS * HEADS * DIM; i++)
		assert_int_equal(x->out[i], 0);
}

static void attention(void **state)
{
	kvjit_arg a[NATTN + 1] = { 0 };
	host x;

	(void)state;
	set_up(&x);
#define WRONG(words, ...)                 \
	do {                              \
		int n = NATTN;            \
		attn_args(&x, a);         \
		__VA_ARGS__;              \
		refused(&x, a, n, words); \
	} while (0)
	WRONG("'q' has rank 7|bf16[?,4,32]", a[Q].rank = 7);
	WRONG("'q' has rank -1|bf16[?,4,32]", a[Q].rank = -1);
	WRONG("'q' has -1 strides|takes 2", a[Q].nstride = -1);
	WRONG("'q': extent 0 is 1|needs 2", a[Q].shape[0] = 1);
	/* one row stands for all with stride 0 alone */
	WRONG("'q': extent 0 is 1|needs 2", a[Q].shape[0] = 1, a[Q].nstride = 2,
	      a[Q].stride[0] = HEADS * DIM, a[Q].stride[1] = DIM);
	WRONG("'cache': extent 0 is 3|needs 4", a[CACHE].shape[0] = 3);
	WRONG("'cache': extent 2 is 16|u8[?,2,", a[CACHE].shape[2] = 16);
	WRONG("'cache': data is NULL", a[CACHE].data = NULL);
	WRONG("'table': extent 1 is 1|needs 3", a[TABLE].shape[1] = 1);
	WRONG("'table' needs stride 0, or rank and shape", a[TABLE].rank = 0);
	WRONG("'table' is s64|s32[?,?]", a[TABLE].dtype = KVJIT_S64);
	WRONG("'lens': extent 0 is 1|needs 2", a[LENS].shape[0] = 1);
	WRONG("'starts': extent 0 is 2|needs 3", a[STARTS].shape[0] = 2);
	/* the plan's items are of other lengths */
	WRONG("'lens': element 1 is 41; the plan was made with 40|each step", x.lens[1] = 41);
	WRONG("'lens': element 1 is 39|with 40", x.lens[1] = 39);
	x.lens[1] = 40;
	WRONG("'starts': element 2 is 1|with 2", x.starts[2] = 1);
	x.starts[2] = 2;
	WRONG("'out'|aligned to 2 bytes, its ", a[OUT].data = (char *)x.out + 1);
	/* bytes, but scales of 4 lie in them */
	WRONG("'cache'|elements of 4 bytes|aligned to them", a[CACHE].data = x.cache + 2);
	WRONG("'out' is written and lies where 'q' does", a[OUT].data = x.q);
	WRONG("'out' is written and lies where 'cache' does", a[OUT].data = x.cache);
	/* heads that write over each other */
	WRONG("'out': stride 1 is 8|not overlap|32 elements", a[OUT].nstride = 2,
	      a[OUT].stride[0] = HEADS * DIM, a[OUT].stride[1] = 8);
	WRONG("'out': stride 0 is -31|not overlap", a[OUT].nstride = 2, a[OUT].stride[0] = -31,
	      a[OUT].stride[1] = DIM);
	/* how many rows there are is the plan's, though no shape says so */
	WRONG("'out': stride 0 is 8|not overlap|32 elements", a[OUT].rank = 0,
	      a[OUT].nstride = 2, a[OUT].stride[0] = 8, a[OUT].stride[1] = DIM);
	WRONG("'out': stride 1 is 8|not overlap|32 elements", a[OUT].rank = 0,
	      a[OUT].nstride = 2, a[OUT].stride[0] = HEADS * DIM, a[OUT].stride[1] = 8);
	/* rows that lie among heads, whichever of the two is the outer one */
	WRONG("'out': rows along one of its strides lie among those", a[OUT].nstride = 2,
	      a[OUT].stride[0] = DIM, a[OUT].stride[1] = DIM);
	WRONG("'out': rows along one of its strides lie among those", a[OUT].nstride = 2,
	      a[OUT].stride[0] = 2 * DIM, a[OUT].stride[1] = DIM);
	WRONG("'out': rows along one of its strides lie among those", a[OUT].nstride = 2,
	      a[OUT].stride[0] = DIM, a[OUT].stride[1] = -(SEQS * DIM - 1));
	WRONG("'table': stride 0 is 2|rows of 3 entries would overlap", a[TABLE].rank = 0,
	      a[TABLE].nstride = 1, a[TABLE].stride[0] = 2);
	/* rows of a list that a host wouldn't lay so */
	WRONG("'table': stride 0 is 3|rows of 4 entries would overlap", a[TABLE].nstride = 1,
	      a[TABLE].stride[0] = 3);
	WRONG("'table': stride 0 is -4|0 or more", a[TABLE].nstride = 1,
	      a[TABLE].stride[0] = -4);
	/* each number is one, their product is more than there can be */
	/* 256 bytes of codes, then scales of 4 */
	WRONG("'cache': stride 1 is 3 bytes|elements of 4 bytes", a[CACHE].nstride = 2,
	      a[CACHE].stride[0] = x.page, a[CACHE].stride[1] = 3);
	WRONG("'cache': stride 0 is 1026 bytes|elements of 4 bytes", a[CACHE].nstride = 2,
	      a[CACHE].stride[0] = 1026, a[CACHE].stride[1] = x.page / 2);
	WRONG("'q': its extents and strides span more than memory",
	      a[Q].shape[0] = INT64_C(1) << 40, a[Q].nstride = 2,
	      a[Q].stride[0] = INT64_C(1) << 40, a[Q].stride[1] = DIM);
	WRONG("'q': its extents and strides span more than memory", a[Q].nstride = 2,
	      a[Q].stride[0] = INT64_MIN / 2, a[Q].stride[1] = DIM);
	/* what a score reads: one element for each head, for each position */
	WRONG("'bias': extent 0 is 3|needs 4", a[BIAS].shape[0] = HEADS - 1);
	WRONG("'slope': extent 0 is 39|needs 40", a[SLOPE].shape[0] = 39);
	/* a number in the wrong member was 0 without a word */
	WRONG("'scale' is 0 in f|scalar f32|given in f", a[SCALE].f = 0, a[SCALE].i = 1);
	WRONG("'scale' is a scalar f32", a[SCALE].data = x.bias);
	/* every output would be a NaN */
	WRONG("'scale' is nan|finite f32", a[SCALE].f = (double)NAN);
	WRONG("'scale' is -inf|finite f32", a[SCALE].f = -(double)INFINITY);
	WRONG("'scale' is 1e+300|finite f32", a[SCALE].f = 1e300);
	WRONG("nargs is -1|0 or more", n = -1);
	WRONG("'out' is missing", n = NATTN - 1);
	WRONG("'work' comes from the plan", n = NATTN + 1, a[NATTN] = a[Q],
	      a[NATTN].name = "work");
	WRONG("'K'|q, cache, table", a[Q].name = "K");
#undef WRONG
	attn_args(&x, a);
	assert_int_equal(kvjit_call(x.attn, NULL, a, NATTN, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(x.attn), "plan is NULL|kvjit_plan_new");
	assert_int_equal(kvjit_call(x.attn, x.plan, NULL, INT32_MAX, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(x.attn), "args is NULL|2147483647");
	attn_args(&x, a);
	assert_int_equal(kvjit_call(x.attn, x.plan, a, NATTN, x.cache + 32),
	                 KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(x.attn), "scratch is|aligned to 64");
	/* one row may have any stride, as hosts state for extents of 1 */
	attn_args(&x, a);
	a[Q].nstride = 2, a[Q].stride[0] = 0, a[Q].stride[1] = DIM;
	assert_int_equal(kvjit_call(x.attn, x.plan, a, NATTN, NULL), KVJIT_OK);
	a[Q].shape[0] = 1;
	assert_int_equal(kvjit_call(x.attn, x.plan, a, NATTN, NULL), KVJIT_OK);
	tear_down(&x);
}

/* What nothing reads may change between plan and call, and layers have tables of their own. */
static void not_the_plans_own(void **state)
{
	int32_t other[SEQS * COLUMNS];
	kvjit_arg a[NATTN];
	kvjit_batch b;
	host x;

	(void)state;
	set_up(&x);
	x.starts[1] = 0;
	x.starts[2] = 1;
	b = batch_of(&x);
	assert_int_equal(kvjit_plan_new(x.attn, &b, &x.plan), KVJIT_OK);
	attn_args(&x, a);
	x.lens[0] = -1; /* no new token of it */
	for (int i = 0; i < SEQS * COLUMNS; i++)
		other[i] = PAGES - 1 - x.table[i];
	a[TABLE].data = other;
	assert_int_equal(kvjit_call(x.attn, x.plan, a, NATTN, NULL), KVJIT_OK);
	x.lens[1] = 41;
	assert_int_equal(kvjit_call(x.attn, x.plan, a, NATTN, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(x.attn), "'lens': element 1 is 41|with 40");
	tear_down(&x);
}

/* What scores and masks read for each pair of tokens: each extent is held against what indexes
 * it. Sequences of 5 and 40 tokens, of which 1 and 3 are new. */
static void pairs(void **state)
{
	static const char *const text[] = {
		"score=\"s + p[row,k]\" with=p:f32",
		"score=\"s + p[nq,nk]\" with=p:f32",
		"mask=\"p[h,row,k]\" with=p:bit",
		"mask=\"p[b,nk] > 0\" with=p:u8",
		"score=\"s + p[q,k]\" with=p:bf16",
		"score=\"s + p[min(abs(q-k),30),h]\" with=p:f16",
	};
	static const struct {
		int text;
		kvjit_dtype dtype;
		int64_t shape[3], least[3]; /* enough, and the least of each: one less isn't */
	} cases[] = {
		{ 0, KVJIT_F32, { 4, 40 }, { 4, 40 } },
		{ 1, KVJIT_F32, { 3, 3 }, { 3, 3 } },
		{ 2, KVJIT_U8, { 4, 4, 5 }, { 4, 4, 5 } },
		{ 3, KVJIT_U8, { 2, 9 }, { 2, 3 } },
		{ 4, KVJIT_BF16, { 40, 64 }, { 40, 40 } },
		{ 5, KVJIT_F16, { 31, 4 }, { 31, 4 } },
	};
	static uint8_t data[64 * 64 * 4];
	static float out[4 * HEADS * DIM];
	host x;

	(void)state;
	set_up(&x);
	x.starts[1] = 1, x.starts[2] = 4;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char problem[300], words[80];
		kvjit_arg a[NATTN];
		kvjit_batch b = batch_of(&x);
		kvjit_plan *plan = NULL;

		snprintf(problem, sizeof(problem),
		         "attn q=bf16 out=f32 kv=int8/token-head heads=4:2 dim=32 page=16 %s",
		         text[cases[i].text]);
		kvjit_kernel *k = compile(x.kv, problem, NULL);

		assert_int_equal(kvjit_plan_new(k, &b, &plan), KVJIT_OK);
		for (int d = -1; d < 3; d++) {
			int rank = cases[i].shape[2] ? 3 : 2;
			kvjit_arg p = TENSOR("p", data, cases[i].dtype, rank, 0);

			if (d >= rank)
				break;
			attn_args(&x, a);
			a[Q].shape[0] = a[OUT].shape[0] = 4;
			a[OUT].data = out;
			a[OUT].dtype = KVJIT_F32;
			memcpy(p.shape, cases[i].shape, sizeof(cases[i].shape));
			if (d >= 0)
				p.shape[d] = cases[i].least[d] - 1;
			a[BIAS] = p;
			a[SLOPE] = a[OUT];
			kvjit_status s = kvjit_call(k, plan, a, NATTN - 1, NULL);

			if (d < 0 && s != KVJIT_OK)
				fail_msg("%s: %s", problem, kvjit_kernel_error(k));
			if (d < 0)
				continue;
			assert_int_equal(s, KVJIT_BAD_ARGUMENT);
			snprintf(words, sizeof(words), "'p': extent %d is %ld|needs %ld", d,
			         (long)cases[i].least[d] - 1, (long)cases[i].least[d]);
			assert_says(kvjit_kernel_error(k), words);
		}
		kvjit_plan_free(plan);
		kvjit_release(k);
	}
	tear_down(&x);
}

/* -- a cache write ------------------------------------------------------------------- */

enum { KEY, VALUE, SLOTS, POOL, COUNT, NWRITE };

static void cache_write(void **state)
{
	kvjit_arg a[NWRITE];
	host x;

	(void)state;
	set_up(&x);
	const kvjit_arg all[] = { TENSOR("key", x.q, KVJIT_BF16, 3, N, KV_HEADS, DIM),
		                  TENSOR("value", x.q, KVJIT_BF16, 3, N, KV_HEADS, DIM),
		                  TENSOR("slots", x.slots, KVJIT_S64, 1, N),
		                  TENSOR("cache", x.cache, KVJIT_U8, 3, PAGES, KV_HEADS,
		                         x.page / KV_HEADS),
		                  { .name = "n", .i = N } };
#define WRONG(words, ...)                                                    \
	do {                                                                 \
		kvjit_plan *plan = NULL;                                     \
		memcpy(a, all, sizeof(all));                                 \
		__VA_ARGS__;                                                 \
		assert_int_equal(kvjit_call(x.write, plan, a, NWRITE, NULL), \
		                 KVJIT_BAD_ARGUMENT);                        \
		assert_says(kvjit_kernel_error(x.write), words);             \
	} while (0)
	WRONG("'slots': slot 64 of token 2|4 pages of 16", x.slots[2] = 64);
	WRONG("'slots': slot 9223372036854775807", x.slots[2] = INT64_MAX);
	x.slots[2] = INT64_MIN; /* skipped, as every negative one */
	WRONG("'key': extent 0 is 8|needs 9", a[COUNT].i = 9);
	WRONG("'key': extent 0 is 8|needs 4611686018427387904", a[COUNT].i = INT64_C(1) << 62);
	WRONG("'n' is -1", a[COUNT].i = -1);
	WRONG("'n' is 0 in i|scalar s64", a[COUNT].i = 0, a[COUNT].f = N);
	WRONG("takes no plan", plan = x.plan);
	WRONG("'key' is f32|bf16[?,2,32]", a[KEY].dtype = KVJIT_F32);
	WRONG("'slots' is s32|s64[?]", a[SLOTS].dtype = KVJIT_S32);
	WRONG("'cache': stride 0 is 0|not overlap", a[POOL].nstride = 2,
	      a[POOL].stride[1] = x.page / 2);
	WRONG("'cache': rows along one of its strides|not overlap", a[POOL].nstride = 2,
	      a[POOL].stride[0] = x.page - 4, a[POOL].stride[1] = x.page / 2);
	WRONG("'cache': stride 1 is 4|not overlap", a[POOL].nstride = 2,
	      a[POOL].stride[0] = x.page, a[POOL].stride[1] = 4);
#undef WRONG
	for (int64_t i = 0; i < PAGES * x.page; i++)
		assert_int_equal(x.cache[i], 0);
	assert_int_equal(kvjit_call(x.write, NULL, all, NWRITE, NULL), KVJIT_OK);
	tear_down(&x);
}

/* -- an indexer ---------------------------------------------------------------------- */

/* Rows, pages and columns beyond what is handed over were read, and logits written. */
static void indexer(void **state)
{
	enum { Q_, W_, KEYS, TABLE_, SEQ, LEN, CHOSEN, LOGITS, N_, PAGES_, WIDTH, NINDEX };
	enum { ROWS = 2, H = 4, D = 128, KEPT = 8, MOST = 64 };
	static uint16_t q[ROWS * H * D];
	static float w[ROWS * H], logits[ROWS * MOST];
	static int32_t table[2 * 4] = { 0, 1, 2, 3, 3, 2, 1, 0 }, seqs[] = { 0, 1 },
	                         lens[] = { 40, 64 }, chosen[ROWS * KEPT];
	kvjit *kv = open_code();
	kvjit_kernel *k =
	    compile(kv, "index q=bf16 kv=index_e4m3 heads=4 dim=128 page=16 topk=8", NULL);
	kvjit_arg a[NINDEX];
	int64_t page;
	uint8_t *cache;

	(void)state;
	assert_int_equal(kvjit_page_bytes(kv, "index_e4m3", 1, D, D, PAGE, &page), KVJIT_OK);
	cache = kvjit_alloc((size_t)(PAGES * page));
	assert_non_null(cache);
	const kvjit_arg all[] = { TENSOR("q", q, KVJIT_BF16, 3, ROWS, H, D),
		                  TENSOR("w", w, KVJIT_F32, 2, ROWS, H),
		                  TENSOR("k_cache", cache, KVJIT_U8, 2, PAGES, page),
		                  TENSOR("table", table, KVJIT_S32, 2, 2, 4),
		                  TENSOR("seqs", seqs, KVJIT_S32, 1, ROWS),
		                  TENSOR("lens", lens, KVJIT_S32, 1, ROWS),
		                  TENSOR("out", chosen, KVJIT_S32, 2, ROWS, KEPT),
		                  TENSOR("logits", logits, KVJIT_F32, 2, ROWS, MOST),
		                  { .name = "n", .i = ROWS },
		                  { .name = "pages", .i = PAGES },
		                  { .name = "width", .i = MOST } };
#define WRONG(words, ...)                                                                   \
	do {                                                                                \
		memcpy(a, all, sizeof(all));                                                \
		__VA_ARGS__;                                                                \
		assert_int_equal(kvjit_call(k, NULL, a, NINDEX, NULL), KVJIT_BAD_ARGUMENT); \
		assert_says(kvjit_kernel_error(k), words);                                  \
	} while (0)
	WRONG("'pages' is 5|the cache's, 4", a[PAGES_].i = 5);
	WRONG("'pages' is -1", a[PAGES_].i = -1);
	WRONG("'width' is 65|'logits', 64", a[WIDTH].i = 65);
	WRONG("'width' is -1", a[WIDTH].i = -1);
	WRONG("'table': extent 1 is 3|row 1 looks at 64 keys", a[TABLE_].shape[1] = 3,
	      a[TABLE_].nstride = 1, a[TABLE_].stride[0] = 4);
	WRONG("'seqs': row 1 is of sequence 1|has 1", a[TABLE_].shape[0] = 1);
	WRONG("'seqs': row 0 is of sequence -1", seqs[0] = -1);
	lens[0] = 0; /* looks at nothing, so its sequence is of no account */
	assert_int_equal(kvjit_call(k, NULL, all, NINDEX, NULL), KVJIT_OK);
	seqs[0] = 0, lens[0] = INT32_MAX; /* as far as width */
	assert_int_equal(kvjit_call(k, NULL, all, NINDEX, NULL), KVJIT_OK);
#undef WRONG
	kvjit_free(cache, (size_t)(PAGES * page));
	kvjit_release(k);
	kvjit_close(kv);
}

/* -- batches and what is asked -------------------------------------------------------- */

static void batches(void **state)
{
	kvjit_batch b;
	host x;

	(void)state;
	set_up(&x);
#define WRONG(words, ...)                                                                  \
	do {                                                                               \
		b = batch_of(&x);                                                          \
		__VA_ARGS__;                                                               \
		assert_int_equal(kvjit_plan_new(x.attn, &b, &x.plan), KVJIT_BAD_ARGUMENT); \
		assert_says(kvjit_kernel_error(x.attn), words);                            \
	} while (0)
	WRONG("nseq is 1099511627776", b.nseq = INT64_C(1) << 40);
	WRONG("seq_lens is|aligned to 4", b.seq_lens = (void *)((char *)x.lens + 2));
	WRONG("block_table|aligned to 4", b.block_table = (void *)((char *)x.table + 1));
	WRONG("query_starts|aligned to 4", b.query_starts = (void *)((char *)x.starts + 2));
	WRONG("table_stride -1", b.table_stride = -1);
	WRONG("hash 0000000000003039|int8/token-head", b.format = 12345);
	WRONG("seq_lens2|kv2=", b.seq_lens2 = x.lens);
	WRONG("table_stride2|kv2=", b.table_stride2 = 3);
	WRONG("npages2|kv2=", b.npages2 = 4);
	WRONG("format2|kv2=", b.format2 = 1);
	WRONG("sizeof(kvjit_batch)", b.size = 10000);
#undef WRONG
	assert_int_equal(kvjit_plan_new(x.attn, NULL, &x.plan), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(x.attn), "batch must not be NULL");
	tear_down(&x);
}

/* Frameworks hand over NULL for a tensor without elements: a step without new tokens, a block
 * table without columns. */
static void what_has_no_elements_lies_nowhere(void **state)
{
	kvjit_arg a[NATTN], none[] = { { .name = "key", .dtype = KVJIT_BF16 },
		                       { .name = "value", .dtype = KVJIT_BF16 },
		                       { .name = "cache", .dtype = KVJIT_U8 },
		                       { .name = "slots", .dtype = KVJIT_S64 },
		                       { .name = "n", .i = 0 } };
	kvjit_batch b = { .size = sizeof(b) };
	kvjit_plan *plan = NULL;
	host x;

	(void)state;
	set_up(&x);
	/* no sequences, and no shapes that say so */
	assert_int_equal(kvjit_plan_new(x.attn, &b, &plan), KVJIT_OK);
	attn_args(&x, a);
	for (int i = 0; i < NATTN; i++)
		if (i == Q || i == OUT || (i >= TABLE && i <= STARTS))
			a[i].data = NULL, a[i].rank = 0;
	a[TABLE].nstride = 1, a[TABLE].stride[0] = COLUMNS;
	assert_int_equal(kvjit_call(x.attn, plan, a, NATTN, NULL), KVJIT_OK);
	a[BIAS].data = NULL;
	assert_int_equal(kvjit_call(x.attn, plan, a, NATTN, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(x.attn), "'bias': data is NULL");

	/* two sequences without tokens: their table has no column, their queries see nothing */
	memset(x.lens, 0, sizeof(x.lens));
	memset(x.out, 0xaa, sizeof(x.out));
	b = batch_of(&x);
	b.table_stride = 0;
	assert_int_equal(kvjit_plan_new(x.attn, &b, &plan), KVJIT_OK);
	attn_args(&x, a);
	a[TABLE].data = NULL, a[TABLE].shape[1] = 0;
	assert_int_equal(kvjit_call(x.attn, plan, a, NATTN, NULL), KVJIT_OK);
	for (int i = 0; i < SEQS * HEADS * DIM; i++)
		assert_int_equal(x.out[i], 0);
	a[LENS].data = NULL;
	assert_int_equal(kvjit_call(x.attn, plan, a, NATTN, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(x.attn), "'lens': data is NULL");

	none[2].data = x.cache;
	assert_int_equal(kvjit_call(x.write, NULL, none, 5, NULL), KVJIT_OK);
	none[4].i = 1;
	assert_int_equal(kvjit_call(x.write, NULL, none, 5, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(x.write), "'key': data is NULL; one without elements");
	kvjit_plan_free(plan);
	tear_down(&x);
}

static void asking(void **state)
{
	kvjit *kv = open_code();
	int64_t bytes;
	uint64_t hash;

	(void)state;
	assert_int_equal(kvjit_page_bytes(kv, "fp8", -1, 64, 64, 16, &bytes),
	                 KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_error(kv), "kv_heads is -1; it must be a number from 1 to 1024");
	/* sizes that no kernel takes were once answered with bytes */
	assert_int_equal(kvjit_page_bytes(kv, "fp8", 2, 64, 64, 1 << 20, &bytes),
	                 KVJIT_BAD_ARGUMENT);
	assert_int_equal(kvjit_page_bytes(kv, "fp8", 2, 64, 64, 12, &bytes),
	                 KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_error(kv), "page is 12; it must be a multiple of 8 from 8 to 65536");
	assert_int_equal(kvjit_page_bytes(kv, "fp8", 2, 72, 64, 16, &bytes),
	                 KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_error(kv), "dim_k is 72; it must be a multiple of 16 from 16 to 576");
	assert_int_equal(kvjit_page_bytes(kv, "fp8", 2, 64, 592, 16, &bytes),
	                 KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_error(kv), "dim_v is 592");
	assert_int_equal(kvjit_page_bytes(kv, "fp8_ds_mla", 8, 576, 512, 64, &bytes),
	                 KVJIT_BAD_PROBLEM);
	assert_says(kvjit_error(kv), "fp8_ds_mla|one KV head|not 8");
	assert_int_equal(kvjit_format_hash(kv, "format {", &hash), KVJIT_BAD_PROBLEM);
	/* the list of names once ended in the middle of one */
	assert_int_equal(kvjit_format_hash(kv, "int7", &hash), KVJIT_BAD_PROBLEM);
	assert_says(kvjit_error(kv), "'int7'|[/rotated]|mxfp4[/ceil|ocp|near]|nvfp4[/4over6]|"
	                             "fp8_per_token_head|fp8_ds_mla|index_mxfp4");
	assert_int_equal(kvjit_explain(kv, NULL, NULL), KVJIT_BAD_ARGUMENT);
	assert_int_equal(kvjit_device_alloc(kv, KVJIT_MEMORY_DEVICE, 64, (void **)&bytes),
	                 KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_error(kv), "no device|xe");
	kvjit_close(kv);
}

/* -- one plan, two calls at a time ---------------------------------------------------- */

typedef struct again {
	host *x;
	bool inside;
	kvjit_status status;
} again;

/* Calls the kernel once more while its first call runs. */
static void meanwhile(int64_t n, void (*fn)(int64_t, int64_t, void *), void *ctx,
                      void *executor)
{
	again *g = executor;

	if (!g->inside) {
		kvjit_arg a[NATTN];

		g->inside = true;
		attn_args(g->x, a);
		g->status = kvjit_call(g->x->attn, g->x->plan, a, NATTN, NULL);
	}
	fn(0, n, ctx);
}

static void own_scratch_is_for_one_call(void **state)
{
	host x;
	again g = { .x = &x };
	kvjit_options o = { .size = sizeof(o), .parallel = meanwhile, .executor = &g };
	kvjit_arg a[NATTN];
	kvjit *kv, *first;
	void *scratch;

	(void)state;
	set_up(&x);
	o.backend = x.kv->backend == KVJIT_BE_x86 ? "x86" : "c";
	assert_int_equal(kvjit_open(&o, &kv), KVJIT_OK);
	kvjit_release(x.attn);
	first = x.kv;
	x.attn = compile(kv, attn_text, NULL);
	attn_args(&x, a);
	assert_true(kvjit_plan_scratch(x.plan) > 0);
	assert_int_equal(kvjit_call(x.attn, x.plan, a, NATTN, NULL), KVJIT_OK);
	assert_true(g.inside);
	assert_int_equal(g.status, KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(x.attn), "another call|kvjit_plan_scratch");
	/* the outer call brings its own */
	g.inside = false;
	scratch = kvjit_alloc(kvjit_plan_scratch(x.plan));
	assert_int_equal(kvjit_call(x.attn, x.plan, a, NATTN, scratch), KVJIT_OK);
	assert_true(g.inside);
	assert_int_equal(g.status, KVJIT_OK);
	kvjit_free(scratch, kvjit_plan_scratch(x.plan));
	kvjit_close(kv);
	x.kv = first;
	tear_down(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attention),
		cmocka_unit_test(not_the_plans_own),
		cmocka_unit_test(pairs),
		cmocka_unit_test(cache_write),
		cmocka_unit_test(indexer),
		cmocka_unit_test(batches),
		cmocka_unit_test(what_has_no_elements_lies_nowhere),
		cmocka_unit_test(asking),
		cmocka_unit_test(own_scratch_is_for_one_call),
	};

	return cmocka_run_group_tests_name("bad_calls", tests, NULL, NULL);
}
