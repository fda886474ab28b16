/* SPDX-License-Identifier: Apache-2.0 */
/* test_later.c -- KVJIT_LATER: compilations that go on while the caller does something else. */
#include "support_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const texts[] = {
	"merge out=bf16 heads=4 dim=64",
	"write in=bf16 kv=int8/token-head heads=2 dim=64 page=16",
	"quant in=f32 to=e4m3/token-head heads=2 dim=64",
	"write in=bf16 kv=bf16 heads=2 dim=32 page=16",
	"merge out=f32 heads=2 dim=64",
	"quant in=bf16 to=int8/token-head heads=3 dim=32",
};
enum { NTEXT = sizeof(texts) / sizeof(texts[0]), NTHREAD = 6 };

static kvjit *open_for(int threads)
{
	kvjit_options o = { .size = sizeof(o),
		            .backend = ct_x86_is_built() ? NULL : "c",
		            .cache = "off",
		            .threads = threads };
	kvjit *kv = NULL;

	if (kvjit_open(&o, &kv) != KVJIT_OK)
		fail_msg("%s", kvjit_open_error());
	return kv;
}

static kvjit_status later(kvjit *kv, const char *text, kvjit_kernel **out)
{
	kvjit_compile_options o = { .size = sizeof(o), .flags = KVJIT_LATER };

	return kvjit_compile(kv, text, &o, out);
}

static void rest(void)
{
	nanosleep(&(struct timespec){ 0, 2000000 }, NULL);
}

/* Asks until it is something else than KVJIT_PENDING. */
static kvjit_status later_done(kvjit *kv, const char *text, kvjit_kernel **out)
{
	kvjit_status s = later(kv, text, out);

	for (int i = 0; s == KVJIT_PENDING && i < 30000; i++) {
		rest();
		s = later(kv, text, out);
	}
	return s;
}

static void asking_again_gives_the_kernel(void **state)
{
	kvjit *kv = open_for(2);
	kvjit_kernel *k[NTEXT], *same = NULL;

	(void)state;
	for (int i = 0; i < NTEXT; i++) {
		k[i] = NULL;
		assert_int_equal(later(kv, texts[i], &k[i]), KVJIT_PENDING);
		assert_null(k[i]);
		assert_says(kvjit_error(kv), "being compiled|ask again");
	}
	for (int i = 0; i < NTEXT; i++) {
		assert_int_equal(later_done(kv, texts[i], &k[i]), KVJIT_OK);
		assert_non_null(kvjit_entry(k[i]));
		same = ct_get(kv, texts[i], 0);
		assert_ptr_equal(same, k[i]);
		kvjit_release(same);
		assert_int_equal(later(kv, texts[i], &same), KVJIT_OK);
		assert_ptr_equal(same, k[i]);
		kvjit_release(same);
	}
	kvjit_close(kv);
	for (int i = 0; i < NTEXT; i++)
		kvjit_release(k[i]);
}

/* One who waits takes what is queued himself, and what runs from the thread that runs it. */
static void who_does_not_ask_for_later_waits(void **state)
{
	kvjit *kv = open_for(1);
	kvjit_kernel *k, *same = NULL;

	(void)state;
	for (int i = 0; i < NTEXT; i++)
		assert_int_equal(later(kv, texts[i], &k), KVJIT_PENDING);
	for (int i = NTEXT; i--;) {
		k = ct_get(kv, texts[i], 0);
		assert_int_equal(later(kv, texts[i], &same), KVJIT_OK);
		assert_ptr_equal(same, k);
		kvjit_release(same);
		kvjit_release(k);
	}
	kvjit_close(kv);
}

static void what_was_wrong_is_said_to_who_asks(void **state)
{
	static const char bad[] = "quant in=f32 to=e4m3/nobody heads=2 dim=64";
	kvjit *kv = open_for(1);
	kvjit_kernel *k = NULL;

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(later(kv, bad, &k), KVJIT_PENDING);
		assert_int_equal(later_done(kv, bad, &k), KVJIT_BAD_PROBLEM);
		assert_says(kvjit_error(kv), "nobody");
	}
	assert_int_equal(later(kv, bad, &k), KVJIT_PENDING);
	assert_int_equal(kvjit_compile(kv, bad, NULL, &k), KVJIT_BAD_PROBLEM);
	assert_says(kvjit_error(kv), "nobody");
	assert_null(k);
	kvjit_close(kv);
}

static void knobs_and_flags_are_part_of_the_question(void **state)
{
	kvjit_compile_options o = { sizeof(o), "unroll=2", KVJIT_LATER };
	kvjit *kv = open_for(1);
	kvjit_kernel *a = ct_get(kv, texts[0], 0), *b = NULL;

	(void)state;
	assert_int_equal(kvjit_compile(kv, texts[0], &o, &b), KVJIT_PENDING);
	while (kvjit_compile(kv, texts[0], &o, &b) == KVJIT_PENDING)
		rest();
	assert_non_null(b);
	assert_ptr_not_equal(a, b);
	o = (kvjit_compile_options){ sizeof(o), NULL, KVJIT_LATER | KVJIT_FRESH };
	assert_int_equal(kvjit_compile(kv, texts[0], &o, &b), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_error(kv), "options.flags|KVJIT_FRESH|KVJIT_LATER");
	kvjit_release(a);
	kvjit_release(b);
	kvjit_close(kv);
}

typedef struct asker {
	pthread_t thread;
	kvjit *kv;
	int first;
	kvjit_kernel *k[NTEXT];
	kvjit_status bad;
} asker;

static void *ask_for_all(void *arg)
{
	asker *a = arg;
	kvjit_kernel *none = NULL;

	for (int n = 0; n < NTEXT; n++) {
		int i = (a->first + n) % NTEXT;

		if (a->first % 2 ? later_done(a->kv, texts[i], &a->k[i]) != KVJIT_OK
		                 : kvjit_compile(a->kv, texts[i], NULL, &a->k[i]) != KVJIT_OK)
			return NULL;
	}
	a->bad = a->first % 2 ? later_done(a->kv, "merge heads=x", &none)
	                      : kvjit_compile(a->kv, "merge heads=x", NULL, &none);
	return NULL;
}

static void threads_that_ask_get_one_kernel(void **state)
{
	kvjit *kv = open_for(3);
	asker a[NTHREAD];

	(void)state;
	for (int i = 0; i < NTHREAD; i++) {
		a[i] = (asker){ .kv = kv, .first = i };
		assert_int_equal(pthread_create(&a[i].thread, NULL, ask_for_all, &a[i]), 0);
	}
	for (int i = 0; i < NTHREAD; i++)
		pthread_join(a[i].thread, NULL);
	for (int i = 0; i < NTHREAD; i++) {
		assert_int_equal(a[i].bad, KVJIT_BAD_PROBLEM);
		for (int n = 0; n < NTEXT; n++) {
			assert_non_null(a[i].k[n]);
			assert_ptr_equal(a[i].k[n], a[0].k[n]);
			if (i)
				kvjit_release(a[i].k[n]);
		}
	}
	kvjit_close(kv);
	for (int n = 0; n < NTEXT; n++)
		kvjit_release(a[0].k[n]);
}

/* What runs is waited for, what is queued isn't compiled. */
static void a_context_may_be_closed_meanwhile(void **state)
{
	kvjit_kernel *k = NULL;

	(void)state;
	for (int n = 0; n < 6; n++) {
		kvjit *kv = open_for(1 + n % 3);

		for (int i = 0; i < NTEXT; i++)
			assert_int_equal(later(kv, texts[i], &k), KVJIT_PENDING);
		for (int i = 0; i < n; i++)
			rest();
		kvjit_close(kv);
	}
}

static int exit_of(pid_t pid);

static void *call_exit(void *unused)
{
	(void)unused;
	exit(0);
}

/* A child that asks for all, and ends in `us` microseconds: its first thread, or another one
 * after the first compilation. */
static void ask_and_exit(long us, bool other)
{
	static kvjit *kv; /* not lost, for those who look for that */
	kvjit_kernel *k = NULL;
	pthread_t thread;

	kv = open_for(3);
	for (int i = 0; i < NTEXT; i++)
		later(kv, texts[i], &k);
	if (other) {
		later_done(kv, texts[0], &k);
		kvjit_release(k);
	}
	nanosleep(&(struct timespec){ 0, us * 1000 }, NULL);
	if (!other)
		exit(0);
	pthread_create(&thread, NULL, call_exit, NULL);
	pthread_join(thread, NULL);
}

/* exit destroyed what LLVM had built under the threads that were in it. */
static void a_process_may_end_meanwhile(void **state)
{
	/* cc takes a second, and leaves nothing to destroy */
	const int children = ct_x86_is_built() ? 50 : 4;

	(void)state;
#ifdef __SANITIZE_THREAD__
	skip(); /* allows no threads in a child */
#endif
	for (int n = 0; n < children; n++) {
		pid_t pid = fork();

		if (!pid)
			ask_and_exit(n * 7919 % 40000, n % 2);
		if (exit_of(pid) != 0)
			fail_msg("child %d", n);
	}
}

static int exit_of(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

static int threads_now(void)
{
	char line[200];
	FILE *f = fopen("/proc/self/status", "r");
	int n = 0;

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "Threads: %d", &n);
	if (f)
		fclose(f);
	return n;
}

/* Threads end with their work; a child has its own. */
static void a_child_asks_as_its_parent_did(void **state)
{
	int before = threads_now();
	kvjit *kv = open_for(2);
	kvjit_kernel *k = NULL;
	pid_t pid;

	(void)state;
#ifdef __SANITIZE_THREAD__
	kvjit_close(kv);
	skip(); /* has a thread of its own, and allows none in a child */
#endif
	for (int i = 0; i < 2; i++)
		later(kv, texts[i], &k);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(later_done(kv, texts[i], &k), KVJIT_OK);
		kvjit_release(k);
	}
	for (int i = 0; i < 5000 && threads_now() > before; i++)
		rest();
	assert_int_equal(threads_now(), before);
	pid = fork();
	if (!pid) {
		int bad = 0;

		for (int i = 0; i < NTEXT; i++) {
			bad += later_done(kv, texts[i], &k) != KVJIT_OK;
			kvjit_release(k);
		}
		kvjit_close(kv);
		_exit(bad);
	}
	assert_int_equal(exit_of(pid), 0);
	assert_int_equal(later_done(kv, texts[3], &k), KVJIT_OK);
	kvjit_release(k);
	kvjit_close(kv);
}

/* Room for all but a thread's stack. */
static void without_a_thread_it_is_said(void **state)
{
	pid_t pid;

	(void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* their own memory is beyond any limit */
#endif
	pid = fork();
	if (!pid) {
		kvjit *kv = open_for(2);
		kvjit_kernel *k = NULL;
		struct rlimit none = { 0, 0 };
		int bad;

		setrlimit(RLIMIT_AS, &none);
		bad = later(kv, texts[0], &k) != KVJIT_NO_MEMORY ||
		      !strstr(kvjit_error(kv), "no thread can be started");
		_exit(bad);
	}
	assert_int_equal(exit_of(pid), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_process_may_end_meanwhile), /* first: LLVM isn't loaded */
		cmocka_unit_test(without_a_thread_it_is_said),
		cmocka_unit_test(a_child_asks_as_its_parent_did),
		cmocka_unit_test(asking_again_gives_the_kernel),
		cmocka_unit_test(who_does_not_ask_for_later_waits),
		cmocka_unit_test(what_was_wrong_is_said_to_who_asks),
		cmocka_unit_test(knobs_and_flags_are_part_of_the_question),
		cmocka_unit_test(threads_that_ask_get_one_kernel),
		cmocka_unit_test(a_context_may_be_closed_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
