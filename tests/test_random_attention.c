/* SPDX-License-Identifier: Apache-2.0 */
/* test_random_attention.c -- kernels of random problems and schedules on the targets of this
 * machine against the interpreter at level A: attention within bounds, writers to the byte.
 *
 * The data and the bounds are those of `kvjit check`: mixed batches with empty sequences,
 * every buffer between inaccessible pages, NaN codes and NaN scales in slots that no sequence
 * uses. A problem is a function of its number, so a failure is repeated by
 *
 *     KVJIT_SEED=17 test_random_attention
 *
 * and KVJIT_PROBLEMS=1000 runs so many, from KVJIT_SEED on, and tells all that fail. Problems
 * from SUPPORT_SKIPS on leave passes out that are optional.
 *
 * The bits don't depend on how many threads there are, split sequences included.
 * tests/bugs holds problems that were once computed wrong; each runs on every target.
 */
#include "../tools/check/check.h"
#include "support_blob.h"
#include "support_check.h"
#include "support_count.h"
#include "support_random.h"

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
	PROBLEMS = 80,
	EACH = 3,
	TOKEN_PROBLEMS = 10,
	TILE_PROBLEMS = 16,
	WRITTEN = 8,
	LISTS = 8,
	SKIPS = 8,
	THREAD_PROBLEMS = 6
};

/* -- running ----------------------------------------------------------------------------- */

static machine machines[MACHINE_MAX];
static unsigned nmachine;
static kvjit *ref;
static bool programs_only; /* there is no x86 backend: nothing is compiled or run */

/* Too large a tile is refused, in terms of the knobs that size it. */
static bool refused(const check_result *r)
{
	return r->failed && !strncmp(r->text, "unsupported", 11) && strstr(r->text, "knob");
}

/* The first of several problems that failed ends no run of KVJIT_PROBLEMS. */
static unsigned failures;

static void fail_problem(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void fail_problem(const char *fmt, ...)
{
	char text[4 * SUPPORT_RANDOM_TEXT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (!getenv("KVJIT_PROBLEMS"))
		fail_msg("%s", text);
	printf("FAIL %s\n", text);
	fflush(stdout);
	failures++;
}

/* Those machines in contexts that leave passes out. */
static void open_again(machine *some, unsigned n, const char *skip)
{
	setenv("KVJIT_SKIP", skip, 1);
	for (unsigned i = 0; i < n; i++) {
		kvjit_options o = { .size = sizeof o,
			            .target = some[i].target,
			            .backend = some[i].backend };

		assert_int_equal(kvjit_open(&o, &some[i].kv), KVJIT_OK);
	}
	unsetenv("KVJIT_SKIP");
}

/* Runs problem `seed` on the machine's own target and on others by turns. */
static void run(unsigned seed, unsigned *ran, unsigned *refusals)
{
	char text[SUPPORT_RANDOM_TEXT], sched[SUPPORT_RANDOM_TEXT], why[500] = "";
	char skip[SUPPORT_RANDOM_TEXT];
	check_result result[EACH] = { 0 };
	machine some[EACH];
	unsigned most = getenv("KVJIT_LONG") ? EACH : EACH - 1;
	unsigned each = nmachine < most ? nmachine : most, opened = each;

	support_random(seed, text, sched);
	support_random_skip(seed, skip);
	if (programs_only) {
		const kir_target *t = &kir_targets[seed % kir_ntargets];
		char *block = strstr(sched, " q_block");
		bool ok;

		if (!block)
			block = strstr(sched, " pipeline");
		if (t->lanes && block) /* GPUs have one tile, and say so: file tests */
			*block = 0;
		ok = support_passes(text, sched, t->name, why, sizeof why);

		if (!ok && !strstr(why, "knob"))
			fail_problem("KVJIT_SEED=%u: %s\n  %s %s", seed, why, text, sched);
		*(ok ? ran : refusals) += 1;
		return;
	}
	for (unsigned i = 0; i < each; i++)
		some[i] = machines[i ? (seed * (most - 1) + i) % nmachine : 0];
	if (*skip)
		open_again(some, each, skip);
	check c = { .text = text,
		    .sched = sched,
		    .ref = ref,
		    .machine = some,
		    .nmachine = each,
		    .result = result };
	if (!check_seed(&c, seed, why, sizeof why)) {
		fail_problem("KVJIT_SEED=%u: %s\n  %s", seed, why, text);
		each = 0;
	}
	for (unsigned i = 0; i < each; i++) {
		if (getenv("KVJIT_SEED"))
			printf("%s/%s %s | %s less '%s': %s worst %.3f %s\n", some[i].backend,
			       some[i].target, text, sched, skip, result[i].bound,
			       result[i].worst, result[i].text);
		if (refused(&result[i])) {
			++*refusals;
			continue;
		}
		if (result[i].failed || !result[i].compared)
			fail_problem("KVJIT_SEED=%u on %s/%s: %s\n  KVJIT_SKIP=%s kvjit check "
			             "'%s' --sched '%s'",
			             seed, some[i].backend, some[i].target, result[i].text,
			             skip, text, sched);
		++*ran;
	}
	for (unsigned i = 0; *skip && i < opened; i++)
		kvjit_close(some[i].kv);
}

static bool one_was_asked_for(void)
{
	return getenv("KVJIT_SEED") || getenv("KVJIT_PROBLEMS"); /* test_random ran it */
}

/* Where a processor's own tiles run what is there for an emulator's: the same problems have run
 * on them as the machine's own target, without KVJIT_TEST_TARGET. */
static bool ran_before(void)
{
	int (*emulated)(void);
	void *symbol = dlsym(RTLD_DEFAULT, "kvjit_tiles_are_emulated");

	if (!symbol || getenv("KVJIT_LONG"))
		return false;
	memcpy(&emulated, &symbol, sizeof emulated);
	if (!emulated())
		print_message("run by test_random_attention on this processor's tiles\n");
	return !emulated();
}

static void test_random(void **state)
{
	const char *only = getenv("KVJIT_SEED"), *many = getenv("KVJIT_PROBLEMS");
	unsigned ran = 0, refusals = 0;

	(void)state;
	if (only || many) {
		unsigned first = only ? (unsigned)atoi(only) : 0;

		for (unsigned n = many ? (unsigned)atoi(many) : 1, i = 0; i < n; i++)
			run(first + i, &ran, &refusals);
		printf("%u kernels ran, %u were refused\n", ran, refusals);
		assert_int_equal(failures, 0);
		return;
	}
	if (ran_before())
		return;
	/* where tiles are the only target, most of a kernel is what other targets run */
	bool tiles = support_only() && !strcmp(support_only(), "amx") && !getenv("KVJIT_LONG");
	unsigned n = tiles ? PROBLEMS / 2 : support_count(PROBLEMS, PROBLEMS / 3);

	for (unsigned i = 0; i < n; i++)
		run(i, &ran, &refusals);
	printf("%u kernels ran, %u were refused\n", ran, refusals);
	assert_true(refusals * 8 < ran);
}

/* Where tiles are the only target. */
static void test_tiles(void **state)
{
	unsigned ran = 0, refusals = 0;

	(void)state;
	if (one_was_asked_for() || !support_only() || strcmp(support_only(), "amx") != 0)
		return;
	for (unsigned i = 0; i < TILE_PROBLEMS; i++)
		run(SUPPORT_TILES + i, &ran, &refusals);
	printf("%u kernels ran, %u were refused\n", ran, refusals);
	assert_true(refusals * 4 < ran);
}

static void test_token_scales(void **state)
{
	unsigned ran = 0, refusals = 0;

	(void)state;
	if (one_was_asked_for() || ran_before())
		return;
	for (unsigned i = 0; i < TOKEN_PROBLEMS; i++)
		run(SUPPORT_TOKEN_SCALES + i, &ran, &refusals);
	printf("%u kernels ran, %u were refused\n", ran, refusals);
	assert_true(refusals * 2 < ran); /* tiles that don't divide what shares scales */
}

static void test_written(void **state)
{
	unsigned ran = 0, refusals = 0;

	(void)state;
	if (one_was_asked_for() || ran_before())
		return;
	for (unsigned i = 0; i < WRITTEN; i++)
		run(SUPPORT_WRITTEN + i, &ran, &refusals);
	printf("%u kernels ran, %u were refused\n", ran, refusals);
	assert_true(refusals * 2 < ran);
}

static void test_lists(void **state)
{
	unsigned ran = 0, refusals = 0;

	(void)state;
	if (one_was_asked_for() || ran_before())
		return;
	for (unsigned i = 0; i < LISTS; i++)
		run(SUPPORT_LISTS + i, &ran, &refusals);
	printf("%u kernels ran, %u were refused\n", ran, refusals);
	assert_true(refusals < ran);
}

/* A pass that is optional may be left out, and then computes nothing that others count on. */
static void test_skips(void **state)
{
	unsigned ran = 0, refusals = 0;

	(void)state;
	if (one_was_asked_for() || ran_before() || programs_only)
		return;
	for (unsigned i = 0; i < SKIPS; i++)
		run(SUPPORT_SKIPS + i, &ran, &refusals);
	printf("%u kernels ran, %u were refused\n", ran, refusals);
	assert_true(refusals * 4 < ran);
}

static char *slurp(const char *dir, const char *name)
{
	char path[1200], *text = calloc(1, SUPPORT_RANDOM_TEXT);
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (!f || !text || !fread(text, 1, SUPPORT_RANDOM_TEXT - 1, f))
		fail_msg("%s can't be read", path);
	fclose(f);
	return text;
}

static void test_bugs(void **state)
{
	const char *source = getenv("KVJIT_SOURCE_DIR");
	char dir_name[900], why[500] = "";
	struct dirent *e;
	DIR *dir;

	(void)state;
	if (one_was_asked_for() || ran_before())
		return;
	snprintf(dir_name, sizeof dir_name, "%s/tests/bugs", source ? source : ".");
	dir = opendir(dir_name);
	if (!dir)
		fail_msg("%s isn't there; KVJIT_SOURCE_DIR must name the sources", dir_name);
	while ((e = readdir(dir))) {
		check_result result[MACHINE_MAX] = { 0 };
		char *text;

		if (!strstr(e->d_name, ".kvt"))
			continue;
		text = slurp(dir_name, e->d_name);
		for (unsigned i = 0; programs_only && i < kir_ntargets; i++)
			if (!kir_targets[i].lanes && /* a GPU may refuse it */
			    !support_passes(text, "", kir_targets[i].name, why, sizeof why))
				fail_msg("%s: %s", e->d_name, why);
		if (programs_only) {
			free(text);
			continue;
		}
		check c = { .text = text,
			    .ref = ref,
			    .machine = machines,
			    .nmachine = nmachine,
			    .result = result };
		if (!check_seed(&c, 0, why, sizeof why))
			fail_msg("%s: %s", e->d_name, why);
		for (unsigned i = 0; i < nmachine; i++)
			if (result[i].failed || !result[i].compared)
				fail_msg("%s on %s: %s", e->d_name, machines[i].target,
				         result[i].text);
		free(text);
	}
	closedir(dir);
}

/* -- any number of threads ----------------------------------------------------------------- */

enum { THREADS = 3 };

typedef struct piece {
	int64_t begin, end;
	void (*fn)(int64_t begin, int64_t end, void *ctx);
	void *ctx;
} piece;

static void *run_piece(void *p)
{
	const piece *x = p;

	x->fn(x->begin, x->end, x->ctx);
	return NULL;
}

/* As many pieces as *executor says, at the same time. */
static void in_parallel(int64_t n, void (*fn)(int64_t begin, int64_t end, void *ctx), void *ctx,
                        void *executor)
{
	int count = *(int *)executor;
	pthread_t thread[THREADS];
	piece p[THREADS];

	for (int i = 0; i < count; i++) {
		p[i] = (piece){ n * i / count, n * (i + 1) / count, fn, ctx };
		assert_int_equal(pthread_create(&thread[i], NULL, run_piece, &p[i]), 0);
	}
	for (int i = 0; i < count; i++)
		pthread_join(thread[i], NULL);
}

/* The bits of the first machine's results, then a comparison of the others with them. */
static void same_bits(const check *c, unsigned i)
{
	unsigned char **kept = c->ctx;
	static const char *const names[] = { "out", "lse" };

	for (int j = 0; j < 2; j++) {
		const bind_arg *x = bind_find((bind *)&c->a.b, names[j]);

		if (!x)
			continue;
		if (i == 0) {
			kept[j] = malloc(x->bytes);
			memcpy(kept[j], x->data, x->bytes);
		} else if (kept[j] && memcmp(kept[j], x->data, x->bytes) != 0) {
			fail_problem("%s of '%s' differs between 1 and %u threads", names[j],
			             c->text, i + 1);
		}
	}
}

/* Whether the kernel could be built; `which` of the machines it is for. */
static bool same_on_threads(const char *text, const char *sched, unsigned seed, unsigned which)
{
	static int counts[THREADS] = { 1, 2, 3 };
	unsigned char *kept[2] = { NULL, NULL };
	check_result result[THREADS] = { 0 };
	machine some[THREADS];
	char why[500] = "";
	bool built;

	for (int i = 0; i < THREADS; i++) {
		kvjit_options o = { .size = sizeof o,
			            .target = machines[which].target,
			            .backend = machines[which].backend,
			            .parallel = in_parallel,
			            .executor = &counts[i] };
		some[i] = machines[which];
		assert_int_equal(kvjit_open(&o, &some[i].kv), KVJIT_OK);
	}
	check c = { .text = text,
		    .sched = sched,
		    .ref = ref,
		    .machine = some,
		    .nmachine = THREADS,
		    .result = result,
		    .seen = same_bits,
		    .ctx = kept };
	if (!check_seed(&c, seed, why, sizeof why))
		fail_msg("%s: %s", text, why);
	built = !refused(&result[0]);
	for (int i = 0; i < THREADS && built; i++)
		if (result[i].failed)
			fail_problem("%s %s: %s", text, sched, result[i].text);
	assert_true(!built || kept[0]);
	free(kept[0]);
	free(kept[1]);
	machine_close(some, THREADS);
	return built;
}

/* KVJIT_THREADS=1: the problems that KVJIT_SEED and KVJIT_PROBLEMS ask for. */
static void test_threads(void **state)
{
	static const char *const problems[] = {
		"attn q=bf16 kv=int8/token-head heads=8:2 dim=64 page=16 causal sink lse "
		"split=16",
		"attn q=f32 kv=e4m3/head heads=7:1 dim=80:48 page=24 lse alibi split=24 "
		"q_tile=4",
		"attn q=bf16 out=f32 kv=bf16 heads=4:2 dim=32 page=8 window=21 lse split=32",
	};
	const char *only = getenv("KVJIT_SEED"), *many = getenv("KVJIT_PROBLEMS");
	unsigned first = only ? (unsigned)atoi(only) : 0, n = many ? (unsigned)atoi(many) : 1;
	unsigned built = 0;

	(void)state;
	if (one_was_asked_for() ? !getenv("KVJIT_THREADS") : ran_before())
		return;
	n = one_was_asked_for() ? n : programs_only ? 0 : THREAD_PROBLEMS;
	for (unsigned i = 0; i < n; i++) {
		char text[SUPPORT_RANDOM_TEXT], sched[SUPPORT_RANDOM_TEXT];

		support_random(first + i, text, sched);
		if (strstr(text, "attn ") && !strstr(text, "transcode "))
			built += same_on_threads(text, sched, first + i, i % nmachine);
	}
	if (one_was_asked_for()) {
		printf("%u kernels ran on threads\n", built);
		assert_int_equal(failures, 0);
		return;
	}
	for (size_t p = 0; p < sizeof problems / sizeof *problems; p++)
		assert_true(same_on_threads(problems[p], "", (unsigned)p, 0));
	assert_true(built || !n);
}

static int set_up(void **state)
{
	kvjit_options o = { .size = sizeof o, .backend = "ref" };

	(void)state;
	programs_only = !support_x86();
	nmachine = machine_open(support_only(), programs_only ? "c" : "x86", machines);
	return nmachine == 0 || kvjit_open(&o, &ref) != KVJIT_OK;
}

static int tear_down(void **state)
{
	(void)state;
	machine_close(machines, nmachine);
	kvjit_close(ref);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bugs),   cmocka_unit_test(test_threads),
		cmocka_unit_test(test_random), cmocka_unit_test(test_token_scales),
		cmocka_unit_test(test_tiles),  cmocka_unit_test(test_written),
		cmocka_unit_test(test_lists),  cmocka_unit_test(test_skips),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
