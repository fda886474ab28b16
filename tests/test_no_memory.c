/* SPDX-License-Identifier: Apache-2.0 */
/* test_no_memory.c -- the n-th allocation of a plan fails, for every n: that is
 * KVJIT_NO_MEMORY with a sentence, and works when it is made again. A call of a kernel
 * allocates nothing, so it doesn't fail.
 *
 * Contexts and compiling are left out: texts, IR and LLVM end the process where there is no
 * memory (docs/api.md). So are sanitizers, which have an allocator of their own.
 */
#include "support_api.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && defined(__GLIBC__)

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *p, size_t bytes);
void *__libc_memalign(size_t to, size_t bytes);

/* In place of libc's, for the library too. */
#define EXPORTED __attribute__((visibility("default")))

static _Thread_local long left = -1; /* allocations until one fails; -1: none does */
static _Thread_local bool failed;

static bool fails(void)
{
	if (left < 0 || left-- > 0)
		return false;
	errno = ENOMEM;
	return failed = true;
}

EXPORTED void *malloc(size_t bytes)
{
	return fails() ? NULL : __libc_malloc(bytes);
}

EXPORTED void *calloc(size_t n, size_t bytes)
{
	return fails() ? NULL : __libc_calloc(n, bytes);
}

EXPORTED void *realloc(void *p, size_t bytes)
{
	return fails() ? NULL : __libc_realloc(p, bytes);
}

EXPORTED void *aligned_alloc(size_t to, size_t bytes)
{
	return fails() ? NULL : __libc_memalign(to, bytes);
}

static void begin(long n)
{
	failed = false;
	left = n;
}

/* Whether an allocation failed since. */
static bool end(void)
{
	left = -1;
	return failed;
}

enum { MOST = 1000, DIM = 32, PAGE = 16, KEYS = 40, PAGES = 3 };

static void in_order(int64_t n, void (*fn)(int64_t, int64_t, void *), void *ctx, void *executor)
{
	(void)executor;
	fn(0, n, ctx);
}

static kvjit_options options_of(const char *backend)
{
	return (kvjit_options){ .size = sizeof(kvjit_options),
		                .backend = backend,
		                .cache = "off",
		                .parallel = in_order };
}

static void told(kvjit_status s, const char *sentence)
{
	assert_true(s == KVJIT_OK || s == KVJIT_NO_MEMORY);
	assert_true(s == KVJIT_OK || *sentence);
}

static const int32_t lens[] = { KEYS }, starts[] = { 0, 1 }, table[] = { 0, 1, 2 };

static kvjit_batch batch_of(void)
{
	return (kvjit_batch){ .size = sizeof(kvjit_batch),
		              .nseq = 1,
		              .seq_lens = lens,
		              .query_starts = starts,
		              .block_table = table,
		              .table_stride = PAGES,
		              .npages = PAGES };
}

static const char attn_text[] =
    "attn q=f32 kv=int8/token-head heads=2:1 dim=32 page=16 split=16";

static void plans(void **state)
{
	kvjit_options o = options_of("ref");
	kvjit_batch b = batch_of();
	bool missed = true;
	kvjit *kv = NULL;
	long n;

	(void)state;
	assert_int_equal(kvjit_open(&o, &kv), KVJIT_OK);
	kvjit_kernel *k = compile(kv, attn_text, NULL);

	for (n = 0; missed && n < MOST; n++) {
		kvjit_plan *plan = NULL;

		begin(n);
		kvjit_status s = kvjit_plan_new(k, &b, &plan);
		missed = end();
		told(s, kvjit_kernel_error(k));
		assert_int_equal(!plan, s != KVJIT_OK);
		assert_int_equal(kvjit_plan_new(k, &b, &plan), KVJIT_OK); /* again */
		assert_int_equal(kvjit_plan_scratch(plan) % 64, 0);
		kvjit_plan_free(plan);
	}
	assert_in_range(n, 2, MOST - 1);
	kvjit_release(k);
	kvjit_close(kv);
}

/* Both parts of the old plan, of a kernel for few queries too, are as they were, and what may
 * be called has all of its scratch. */
static void the_old_plan_stays(void **state)
{
	enum { SEQS = 40, TOKENS = 9000 };
	static int32_t len[SEQS], one[SEQS + 1], more[SEQS + 1];
	kvjit_batch small = {
		.size = sizeof(small), .nseq = 2, .seq_lens = len, .query_starts = more
	};
	kvjit_batch large = small;
	kvjit *kv = open_code();
	kvjit_kernel *k =
	    compile(kv, "attn q=f32 kv=int8/token-head heads=2:1 dim=32 page=16 qlen=64", NULL);
	bool missed = true;
	long n;

	(void)state;
	assert_non_null(k->few);
	for (int i = 0; i < SEQS; i++) {
		len[i] = TOKENS;
		one[i + 1] = one[i] + 1;
		more[i + 1] = more[i] + (i % 2 ? 64 : 1);
	}
	large.nseq = SEQS;
	for (n = 0; missed && n < MOST; n++) {
		kvjit_plan *plan = NULL, *few;
		size_t scratch;

		assert_int_equal(kvjit_plan_new(k, &small, &plan), KVJIT_OK);
		assert_true(plan->mixed && plan->list[0].nwork && plan->few->list[0].nslots);
		few = plan->few;
		scratch = kvjit_plan_scratch(plan);
		large.query_starts = n % 2 ? one : more;
		begin(n / 2);
		kvjit_status s = kvjit_plan_new(k, &large, &plan);
		missed = end() || !(n % 2);
		told(s, kvjit_kernel_error(k));
		assert_true(plan->mixed);
		assert_true(plan->few->scratch_cap >= plan->few->scratch_bytes);
		if (s != KVJIT_OK) {
			assert_ptr_equal(plan->few, few);
			assert_int_equal(plan->nseq, 2);
			assert_int_equal(few->nseq, 2);
			assert_int_equal(kvjit_plan_scratch(plan), scratch);
			assert_int_equal(few->list[0].work[6], 1);
		}
		assert_int_equal(kvjit_plan_new(k, &large, &plan), KVJIT_OK); /* again */
		assert_int_equal(plan->few->nseq, SEQS);
		assert_true(plan->few->scratch_cap >= plan->few->scratch_bytes);
		kvjit_plan_free(plan);
	}
	assert_in_range(n, 8, MOST - 1);
	kvjit_release(k);
	kvjit_close(kv);
}

/* The first failure on a kernel needs memory for what it says. */
static void a_sentence_without_memory(void **state)
{
	kvjit_options o = options_of("ref");
	kvjit_plan *plan = NULL;
	kvjit *kv = NULL;

	(void)state;
	assert_int_equal(kvjit_open(&o, &kv), KVJIT_OK);
	kvjit_kernel *k = compile(kv, attn_text, NULL);

	assert_string_equal(kvjit_kernel_error(k), "");
	begin(0);
	assert_int_equal(kvjit_plan_new(k, NULL, &plan), KVJIT_BAD_ARGUMENT);
	assert_true(end());
	assert_says(kvjit_kernel_error(k), "no memory for the sentence");
	assert_int_equal(kvjit_plan_new(k, NULL, &plan), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(k), "batch");
	kvjit_release(k);
	kvjit_close(kv);
}

static void calls_allocate_nothing(void **state)
{
	static float q[2 * DIM], out[2 * DIM];
	kvjit *code = open_code(), *kv = NULL;
	kvjit_kernel *first = compile(code, attn_text, NULL);
	kvjit_options o = options_of(first->backend_name);
	kvjit_batch b = batch_of();
	kvjit_plan *plan = NULL;
	int64_t bytes;

	(void)state;
	assert_int_equal(kvjit_open(&o, &kv), KVJIT_OK);
	kvjit_kernel *k = compile(kv, attn_text, NULL);

	assert_int_equal(kvjit_page_bytes(kv, "int8/token-head", 1, DIM, DIM, PAGE, &bytes),
	                 KVJIT_OK);
	void *cache = kvjit_alloc((size_t)bytes * PAGES);
	kvjit_arg a[] = { { .name = "q", .data = q, .dtype = KVJIT_F32 },
		          { .name = "cache", .data = cache, .dtype = KVJIT_U8 },
		          { .name = "table",
		            .data = (void *)table,
		            .dtype = KVJIT_S32,
		            .rank = 2,
		            .shape = { 1, PAGES } },
		          { .name = "lens", .data = (void *)lens, .dtype = KVJIT_S32 },
		          { .name = "starts", .data = (void *)starts, .dtype = KVJIT_S32 },
		          { .name = "scale", .f = 0.2 },
		          { .name = "out", .data = out, .dtype = KVJIT_F32 } };

	assert_int_equal(kvjit_plan_new(k, &b, &plan), KVJIT_OK);
	begin(0);
	assert_int_equal(kvjit_call(k, plan, a, 7, NULL), KVJIT_OK);
	assert_false(end());
	kvjit_plan_free(plan);
	kvjit_release(k);
	kvjit_release(first);
	kvjit_free(cache, (size_t)bytes * PAGES);
	kvjit_close(kv);
	kvjit_close(code);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(plans),
		                            cmocka_unit_test(the_old_plan_stays),
		                            cmocka_unit_test(a_sentence_without_memory),
		                            cmocka_unit_test(calls_allocate_nothing) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
	puts("SKIPPED: this build has an allocator of its own");
	return 77;
}

#endif
