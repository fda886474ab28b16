/* SPDX-License-Identifier: Apache-2.0 */
/* test_hostile_calls.c -- whatever a host says that isn't so, of what kvjit can check, is a
 * status and a sentence, or has no effect; it is never a crash.
 *
 * Calls that are right get some of their words changed at random: handles, pointers, types,
 * ranks, extents that are less than what is there, strides, lengths, tables, batches. Each call
 * runs in a child, whose buffers end at pages that can't be touched. A call is a function of
 * its number: KVJIT_SEED=17 repeats one. KVJIT_HOSTILE says how many, 400 unless it is set.
 *
 * Not checked, because nothing says how long memory is: extents larger than it or not stated,
 * strides that lead out of it, pointers to nowhere; nor whether a call's lists are those that
 * its plan was made from (docs/api.md).
 */
#include "support_api.h"
#include "../tools/random.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { CALLS = 400, SEQS = 3, HEADS = 4, KV = 2, DIM = 32, PAGE = 16, PAGES = 6, COLUMNS = 4 };
enum { ROWS = 5, SPACE = 1 << 16, NARG = 12 };

static const char attn_text[] =
    "attn q=f32 kv=int8/token-head heads=4:2 dim=32 page=16 split=16 lse score=\"s + p[nq,k]\" "
    "mask=\"k <= q && (k < past || t[row,nk])\" with=p:f32,t:bit";
static const char write_text[] = "write in=f32 kv=int8/token-head heads=2 dim=32 page=16";

typedef struct host {
	kvjit *kv;
	kvjit_kernel *attn, *write;
	int64_t page_bytes;
	uint64_t rng;
	int32_t lens[SEQS], starts[SEQS + 1], table[SEQS * COLUMNS];
} host;

static int64_t pick(host *x, int64_t lo, int64_t hi)
{
	return hi < lo ? lo : lo + (int64_t)(random_bits(&x->rng) % (uint64_t)(hi - lo + 1));
}

/* n bytes that end where a page begins that can't be touched. */
static void *guarded(size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (n + page - 1) / page * page;
	char *p = mmap(NULL, room + 2 * page, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mprotect(p, page, PROT_NONE) ||
	    mprotect(p + page + room, page, PROT_NONE))
		abort();
	return p + page + room - n;
}

static kvjit_arg tensor(const char *name, kvjit_dtype t, size_t bytes, int rank, int64_t a,
                        int64_t b, int64_t c)
{
	return (kvjit_arg){ .name = name,
		            .data = guarded(bytes),
		            .dtype = t,
		            .rank = rank,
		            .shape = { a, b, c } };
}

static kvjit_arg list(const char *name, const int32_t *from, int rank, int64_t a, int64_t b)
{
	size_t bytes = (size_t)(a * (b ? b : 1)) * sizeof(*from);
	kvjit_arg r = tensor(name, KVJIT_S32, bytes, rank, a, b, 0);

	memcpy(r.data, from, bytes);
	return r;
}

static int attn_args(const host *x, kvjit_arg *a)
{
	int n = 0;

	a[n++] = tensor("q", KVJIT_F32, ROWS * HEADS * DIM * 4, 3, ROWS, HEADS, DIM);
	a[n++] = tensor("cache", KVJIT_U8, (size_t)(PAGES * x->page_bytes), 3, PAGES, KV,
	                x->page_bytes / KV);
	a[n++] = list("table", x->table, 2, SEQS, COLUMNS);
	a[n++] = list("lens", x->lens, 1, SEQS, 0);
	a[n++] = list("starts", x->starts, 1, SEQS + 1, 0);
	a[n++] = (kvjit_arg){ .name = "scale", .f = 0.2 };
	a[n++] = tensor("p", KVJIT_F32, 3 * 40 * 4, 2, 3, 40, 0);
	a[n++] = tensor("t", KVJIT_U8, ROWS, 2, ROWS, 1, 0);
	a[n++] = tensor("out", KVJIT_F32, ROWS * HEADS * DIM * 4, 3, ROWS, HEADS, DIM);
	a[n++] = tensor("lse", KVJIT_F32, ROWS * HEADS * 4, 2, ROWS, HEADS, 0);
	return n;
}

static int write_args(const host *x, kvjit_arg *a)
{
	int n = 0;

	a[n++] = tensor("key", KVJIT_F32, ROWS * KV * DIM * 4, 3, ROWS, KV, DIM);
	a[n++] = tensor("value", KVJIT_F32, ROWS * KV * DIM * 4, 3, ROWS, KV, DIM);
	a[n] = tensor("slots", KVJIT_S64, ROWS * 8, 1, ROWS, 0, 0);
	for (int i = 0; i < ROWS; i++)
		((int64_t *)a[n].data)[i] = i * 19;
	n++;
	a[n++] = tensor("cache", KVJIT_U8, (size_t)(PAGES * x->page_bytes), 3, PAGES, KV,
	                x->page_bytes / KV);
	a[n++] = (kvjit_arg){ .name = "n", .i = ROWS };
	return n;
}

/* Numbers that sizes and places are wrong by. */
static int64_t odd_number(host *x)
{
	static const int64_t odd[] = { 0,
		                       -1,
		                       1,
		                       2,
		                       3,
		                       7,
		                       INT32_MAX,
		                       INT32_MIN,
		                       INT64_MAX,
		                       INT64_MIN,
		                       INT64_C(1) << 32,
		                       INT64_C(1) << 62,
		                       -2,
		                       -16 };

	return odd[pick(x, 0, (int64_t)(sizeof(odd) / sizeof(*odd)) - 1)];
}

/* One word of an argument, never to say that there is more than there is. */
static void spoil(host *x, kvjit_arg *a)
{
	static const char *const names[] = { "work", "", "k", "out", "cache", NULL, "n" };
	int axis = (int)pick(x, 0, 2);

	switch (pick(x, 0, 9)) {
	case 0: a->name = names[pick(x, 0, 6)]; break;
	case 1: a->data = NULL; break;
	case 2: a->dtype = (kvjit_dtype)pick(x, -2, KVJIT_E8M0 + 2); break;
	case 3: /* 0 would say nothing of extents */
		a->rank = a->rank == 0 || pick(x, 0, 1) ? (int)pick(x, 1, 9) : -1;
		break;
	case 4:
		if (a->shape[axis] > 0)
			a->shape[axis] = pick(x, -2, a->shape[axis]);
		break;
	case 5: a->nstride = (int)odd_number(x); break;
	case 6: /* rows nearer than they lie: less is touched */
		a->nstride = (int)pick(x, 1, 2);
		a->stride[0] = pick(x, 0, a->shape[1] * (a->shape[2] ? a->shape[2] : 1));
		a->stride[1] = pick(x, 0, a->shape[2]);
		break;
	case 7: /* beyond all memory, in one step */
		a->nstride = (int)pick(x, 1, 2);
		a->stride[0] = pick(x, 0, 1) ? INT64_MAX : INT64_MIN;
		a->stride[1] = odd_number(x);
		break;
	case 8: a->i = a->rank ? 0 : odd_number(x); break;
	default: a->data = (char *)a->data + (a->data ? pick(x, -3, 0) : 0);
	}
}

static void spoil_batch(host *x, kvjit_batch *b)
{
	int32_t *lists[] = { x->lens, x->starts, x->table };
	int64_t at = pick(x, 0, 2);

	switch (pick(x, 0, 9)) {
	case 0: b->size = (size_t)odd_number(x); break;
	case 1: b->nseq = pick(x, -1, SEQS); break;
	case 2: b->nseq = odd_number(x) < 0 ? INT64_MIN : -7; break;
	case 3: b->seq_lens = NULL; break;
	case 4: b->query_starts = NULL; break;
	case 5: b->npages = odd_number(x) % (PAGES + 1); break;
	case 6: b->table_stride = pick(x, 0, 1) ? pick(x, -3, COLUMNS) : INT64_MIN; break;
	case 7: b->format = (uint64_t)odd_number(x); break;
	case 8: b->seq_lens2 = x->lens; break;
	default:
		lists[at][pick(x, 0, at == 2 ? SEQS * COLUMNS - 1 : SEQS - 1)] =
		    (int32_t)odd_number(x);
	}
}

/* Whether s is fine with what is said of it; says what it was if it isn't. */
static bool told(kvjit_status s, const char *sentence)
{
	bool fine =
	    s == KVJIT_OK || ((s == KVJIT_BAD_ARGUMENT || s == KVJIT_BAD_PROBLEM) && *sentence);

	if (!fine)
		fprintf(stderr, "%s: '%s'\n", kvjit_status_name(s), sentence);
	return fine;
}

static bool call_attn(host *x)
{
	kvjit_arg a[NARG];
	kvjit_plan *plan = NULL;
	kvjit_batch b = { .size = sizeof(b),
		          .nseq = SEQS,
		          .seq_lens = x->lens,
		          .query_starts = x->starts,
		          .block_table = x->table,
		          .table_stride = COLUMNS,
		          .npages = PAGES };
	int n, wrong = (int)pick(x, 0, 3);
	bool bad_batch = !wrong || pick(x, 0, 3) == 0;
	const kvjit_kernel *k = pick(x, 0, 30) ? x->attn : NULL;
	kvjit_status s;

	if (bad_batch)
		spoil_batch(x, &b);
	n = attn_args(x, a); /* the lists of a call are the batch's */
	s = kvjit_plan_new(k, pick(x, 0, 30) ? &b : NULL, pick(x, 0, 30) ? &plan : NULL);
	if (!told(s, kvjit_kernel_error(k)))
		return false;
	for (int i = 0; i < wrong; i++)
		spoil(x, &a[pick(x, 0, n - 1)]);
	n = pick(x, 0, 9) ? n : (int)pick(x, -1, n);
	s = kvjit_call(k, plan, pick(x, 0, 30) ? a : NULL, n, NULL);
	return told(s, kvjit_kernel_error(k));
}

static bool call_write(host *x)
{
	kvjit_arg a[NARG];
	int n = write_args(x, a);
	int64_t *slots = a[2].data;

	for (int i = (int)pick(x, 1, 3); i--;)
		if (pick(x, 0, 4))
			spoil(x, &a[pick(x, 0, n - 1)]);
		else
			slots[pick(x, 0, ROWS - 1)] = odd_number(x);
	kvjit_status s = kvjit_call(x->write, NULL, a, n, NULL);

	return told(s, kvjit_kernel_error(x->write));
}

/* Those that ask. */
static bool call_others(host *x)
{
	static const char *const texts[] = {
		"", "attn", "bf16", "int8/token-head", "format x {", "nothing", write_text
	};
	kvjit *kv = pick(x, 0, 3) ? x->kv : NULL;
	const char *text = pick(x, 0, 6) ? texts[pick(x, 0, 6)] : NULL;
	int64_t slots[8], bytes;
	int32_t blocks[] = { 1, -5, INT32_MAX };
	uint64_t hash;
	kvjit_keys keys = { .size = (size_t)odd_number(x) };
	char *out = NULL;
	kvjit_arg arg;
	size_t room;
	kvjit_status s;

	switch (pick(x, 0, 7)) {
	case 0:
		s = kvjit_page_bytes(kv, text, odd_number(x), odd_number(x), odd_number(x),
		                     odd_number(x), pick(x, 0, 5) ? &bytes : NULL);
		break;
	case 1: s = kvjit_format_hash(kv, text, pick(x, 0, 5) ? &hash : NULL); break;
	case 2: s = kvjit_explain(kv, text, pick(x, 0, 5) ? &out : NULL); break;
	case 3: s = kvjit_why(kv, text, NULL, pick(x, 0, 5) ? &out : NULL); break;
	case 4: s = kvjit_keys_of(kv, text, NULL, pick(x, 0, 5) ? &keys : NULL); break;
	case 5:
		bytes = kvjit_block_slots(pick(x, 0, 5) ? blocks : NULL, pick(x, -1, 3),
		                          odd_number(x), pick(x, -1, 8),
		                          pick(x, 0, 5) ? slots : NULL);
		return bytes >= 0 && bytes <= 8;
	case 6: {
		static const char *const names[] = { "q", "cache", "table", "scale", "n", "" };
		const kvjit_kernel *k = kv ? x->attn : NULL;

		s = kvjit_arg_of(k, pick(x, 0, 5) ? names[pick(x, 0, 5)] : NULL, odd_number(x),
		                 pick(x, 0, 5) ? &arg : NULL, pick(x, 0, 5) ? &room : NULL);
		return told(s, kvjit_kernel_error(k));
	}
	default:
		return kvjit_nparam(NULL) == 0 &&
		       !kvjit_param_at(x->attn, (int)odd_number(x) | 64) &&
		       !kvjit_kernel_text(kv ? x->attn : NULL, "nothing") &&
		       !kvjit_alloc(SIZE_MAX - (size_t)pick(x, 0, 4096));
	}
	return told(s, kvjit_error(kv));
}

/* What number `seed` does; 0 if all is well. */
static int one_call(host *x, uint64_t seed)
{
	static const int32_t lens[] = { 5, 40, 16 }, starts[] = { 0, 1, 4, 5 },
	                     table[] = { 0, 0, 0, 0, 1, 2, 3, 0, 4, 0, 0, 0 };

	x->rng = seed * 2 + 1;
	memcpy(x->lens, lens, sizeof(lens));
	memcpy(x->starts, starts, sizeof(starts));
	memcpy(x->table, table, sizeof(table));
	switch (pick(x, 0, 4)) {
	case 0: return !call_others(x);
	case 1: return !call_write(x);
	default: return !call_attn(x);
	}
}

static void in_a_child(host *x, uint64_t seed)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) { /* a crash ends it, whatever the test's library does about signals */
		static const int deadly[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };

		for (size_t i = 0; i < sizeof(deadly) / sizeof(*deadly); i++)
			signal(deadly[i], SIG_DFL);
		_exit(one_call(x, seed));
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status))
		fail_msg("KVJIT_SEED=%lu: ended by signal %d", (unsigned long)seed,
		         WTERMSIG(status));
	if (WEXITSTATUS(status))
		fail_msg("KVJIT_SEED=%lu: a status without a sentence, or another one than for "
		         "a bad argument",
		         (unsigned long)seed);
}

/* A child has no OpenMP threads: pieces run where they are. */
static void in_order(int64_t n, void (*fn)(int64_t, int64_t, void *), void *ctx, void *executor)
{
	(void)executor;
	fn(0, n, ctx);
}

static void hostile(void **state)
{
	static const char *const backends[] = { "code", "ref" };
	const char *one = getenv("KVJIT_SEED"), *many = getenv("KVJIT_HOSTILE");
	unsigned long n = many ? strtoul(many, NULL, 10) : CALLS;

	(void)state;
	for (int i = 0; i < 2; i++) {
		host x = { 0 };
		kvjit *code = open_code();
		const char *name = "ref";
		kvjit_kernel *k = compile(code, write_text, NULL);

		if (!strcmp(backends[i], "code"))
			name = k->backend_name;
		kvjit_options o = { .size = sizeof(o), .backend = name, .parallel = in_order };

		assert_int_equal(kvjit_open(&o, &x.kv), KVJIT_OK);
		x.attn = compile(x.kv, attn_text, NULL);
		x.write = compile(x.kv, write_text, NULL);
		assert_int_equal(kvjit_page_bytes(x.kv, "int8/token-head", KV, DIM, DIM, PAGE,
		                                  &x.page_bytes),
		                 KVJIT_OK);
		if (one)
			in_a_child(&x, strtoull(one, NULL, 10));
		for (unsigned long s = 0; !one && s < n; s++)
			in_a_child(&x, s);
		kvjit_release(x.attn);
		kvjit_release(x.write);
		kvjit_close(x.kv);
		kvjit_release(k);
		kvjit_close(code);
	}
}

/* Handles that are NULL have no place for a sentence; it is there all the same. */
static void null_handles(void **state)
{
	kvjit_plan *plan = NULL;
	kvjit_kernel *k = NULL;
	char *text = NULL;
	double seconds;

	(void)state;
#define SAYS(call, error, words)                            \
	do {                                                \
		assert_int_equal(call, KVJIT_BAD_ARGUMENT); \
		assert_string_equal(error(NULL), words);    \
	} while (0)
	SAYS(kvjit_compile(NULL, "", NULL, &k), kvjit_error,
	     "kvjit_compile: kv is NULL; kvjit_open makes one");
	SAYS(kvjit_explain(NULL, "", &text), kvjit_error,
	     "kvjit_explain: kv is NULL; kvjit_open makes one");
	SAYS(kvjit_why(NULL, "", NULL, &text), kvjit_error,
	     "kvjit_why: kv is NULL; kvjit_open makes one");
	SAYS(kvjit_plan_new(NULL, NULL, &plan), kvjit_kernel_error,
	     "kvjit_plan_new: k is NULL; kvjit_compile makes one");
	SAYS(kvjit_call(NULL, NULL, NULL, 0, NULL), kvjit_kernel_error,
	     "kvjit_call: k is NULL; kvjit_compile makes one");
	SAYS(kvjit_queue_seconds(NULL, &seconds), kvjit_queue_error,
	     "kvjit_queue_seconds: q is NULL; kvjit_queue_new makes one");
	SAYS(kvjit_device_copy(NULL, NULL, NULL, 0), kvjit_error,
	     "kvjit_device_copy: kv is NULL; kvjit_open makes one");
#undef SAYS
	assert_null(kvjit_info(NULL));
	assert_string_equal(kvjit_error(NULL), "kvjit_info: kv is NULL; kvjit_open makes one");
	assert_null(kvjit_kernel_text(NULL, "ir"));
	assert_string_equal(kvjit_kernel_error(NULL),
	                    "kvjit_kernel_text: k is NULL; kvjit_compile makes one");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(null_handles),
		                            cmocka_unit_test(hostile) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
