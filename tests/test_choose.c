/* SPDX-License-Identifier: Apache-2.0 */
/* test_choose.c -- which schedule kvjit_compile takes: what was tuned near a size, pins, what
 * other machines found, defaults; and that kvjit_why says so. */
#include "support_cache.h"

#include <sqlite3.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* target: that of the text. */
static void put_for(const char *text, const char *target, const char *sched, int64_t batch,
                    int64_t ctx, int64_t qlen)
{
	kvjit *kv = ct_open(ct_folder, NULL, NULL);
	kvjit_keys keys = { .size = sizeof(keys) };
	kt_store *s;
	kt_schedule r = { 0 };

	assert_int_equal(kvjit_keys_of(kv, text, NULL, &keys), KVJIT_OK);
	assert_true(kt_key_parse(keys.program, &r.where.program));
	assert_true(kt_key_parse(keys.machine, &r.where.machine));
	r.where.threads = 1;
	r.where.policy = KT_COLD;
	r.where.bucket = kt_bucket_of(batch, ctx, qlen);
	r.problem = (char *)text;
	r.sched = (char *)sched;
	r.target = (char *)(target ? target : kv->target.name);
	r.machine = (char *)"a machine";
	r.source = KT_BY_trial;
	r.ratio = 0.9;
	r.codegen = KT_CODEGEN;
	s = kt_store_open(&(kt_store_options){ ct_folder, KT_USER, 0, { NULL, NULL } });
	assert_int_equal(kt_schedule_put(s, &r), KT_WHY_none);
	kt_store_close(s);
	kvjit_close(kv);
}

static void put_schedule(const char *text, const char *sched, int64_t batch, int64_t ctx)
{
	put_for(text, NULL, sched, batch, ctx, 1);
}

#define BASE "attn q=f32 kv=int8/token-head heads=8:2 dim=64 page=64 causal"

static void a_tuned_schedule_is_taken_near_its_size(void **state)
{
	kvjit *kv;
	kvjit_kernel *k;

	(void)state;
	put_schedule(BASE, "kv_tile=32 prefetch=off", 4, 4096);
	kv = ct_open(ct_folder, NULL, NULL);
	k = ct_get(kv, BASE " batch=4 ctx=4096", 0);
	assert_int_equal(k->ir->sched.kv_tile, 32);
	kvjit_release(k);
	k = ct_get(kv, BASE " batch=8 ctx=8000", 0);
	assert_int_equal(k->ir->sched.kv_tile, 32);
	kvjit_release(k);
	/* two octaves in all are near, three aren't */
	k = ct_get(kv, BASE " batch=16 ctx=4096", 0);
	assert_int_equal(k->ir->sched.kv_tile, 32);
	kvjit_release(k);
	k = ct_get(kv, BASE " batch=32 ctx=4096", 0);
	assert_int_not_equal(k->ir->sched.kv_tile, 32);
	kvjit_release(k);
	k = ct_get(kv, BASE " batch=8 ctx=16384", 0);
	assert_int_not_equal(k->ir->sched.kv_tile, 32);
	kvjit_release(k);
	k = ct_get(kv, BASE " batch=4 ctx=4096", KVJIT_UNTUNED);
	assert_int_not_equal(k->ir->sched.kv_tile, 32);
	kvjit_release(k);
	k = ct_get(kv, BASE " batch=4 ctx=4096 kv_tile=16", 0);
	assert_int_equal(k->ir->sched.kv_tile, 16);
	kvjit_release(k);
	kvjit_close(kv);
}

/* A kernel for many queries has one for few beside it, with what was tuned for one query. */
static void few_queries_take_what_was_tuned_for_one(void **state)
{
	kvjit *kv;
	kvjit_kernel *k;

	(void)state;
	put_schedule(BASE, "kv_tile=32 prefetch=off", 4, 4096);
	put_for(BASE, NULL, "q_tile=8 kv_tile=16", 4, 4096, 64);
	kv = ct_open(ct_folder, NULL, NULL);
	k = ct_get(kv, BASE " batch=4 ctx=4096 qlen=64", 0);
	assert_int_equal(k->ir->sched.kv_tile, 16);
	assert_non_null(k->few);
	assert_int_equal(k->few->ir->sched.kv_tile, 32);
	kvjit_release(k);
	kvjit_close(kv);
}

/* A pin for all sizes is one for a single query too: the same tiles, so one kernel has them
 * all. */
static void a_pin_for_all_sizes_leaves_one_kernel(void **state)
{
	char path[400], *text = NULL;
	kvjit_kernel *k;
	kvjit *kv;

	(void)state;
	snprintf(path, sizeof(path), "%s/pins", ct_folder);
	ct_put(path, BASE " :: q_tile=8 kv_tile=16\n");
	kv = ct_open(ct_folder, NULL, path);
	k = ct_get(kv, BASE " qlen=64", 0);
	assert_int_equal(k->shape.q_tile, 8);
	assert_null(k->few);
	assert_int_equal(kvjit_explain(kv, BASE " qlen=64", &text), KVJIT_OK);
	assert_null(strstr(text, "a kernel of their own"));
	free(text);
	kvjit_release(k);
	kvjit_close(kv);
}

/* Where a cache has the code for many queries and nothing can compile that for few, one kernel
 * computes all, and the log says so. */
static void without_a_backend_one_kernel_has_all(void **state)
{
	kvjit_compile_options o = { .size = sizeof(o) };
	char folder[400], *sched;
	kvjit_kernel *k;
	kvjit *kv;

	(void)state;
	if (!ct_x86_is_built()) /* a cache keeps no code of unknown instructions, as cc gives */
		skip();
	kv = ct_open(ct_folder, NULL, NULL);
	k = ct_get(kv, BASE " qlen=64", 0);
	o.sched = sched = kvjit_kernel_text(k, "schedule");
	assert_non_null(k->few);
	kvjit_release(k);
	kvjit_close(kv);
	snprintf(folder, sizeof(folder), "%s/many", ct_folder);
	kv = ct_open(folder, NULL, NULL);
	assert_int_equal(kvjit_compile(kv, BASE " qlen=64", &o, &k), KVJIT_OK);
	assert_null(k->few);
	kvjit_release(k);
	kvjit_close(kv);
	free(sched);

	kv = ct_open(folder, NULL, NULL);
	free(kv->env[KVJIT_ENV_BACKEND_DIR]);
	kv->env[KVJIT_ENV_BACKEND_DIR] = strdup("/nowhere");
	k = ct_get(kv, BASE " qlen=64", 0);
	assert_true(ct_from_cache(k));
	assert_null(k->few);
	assert_says(ct_said, "no kernel for tiles with few queries|/nowhere/");
	kvjit_release(k);
	kvjit_close(kv);
}

static const kvjit_kernel *picked(const kvjit_kernel *k, const kvjit_plan *p)
{
	return p->pick ? k->family->variant[p->pick - 1] : k;
}

/* Of an open size with schedules for one query and for many a plan takes both. */
static void a_mixed_batch_takes_both_of_a_family(void **state)
{
	static const int32_t starts[] = { 0, 1, 65, 66, 67 },
	                     lens[] = { 2000, 2000, 2000, 2000 };
	kvjit_batch b = {
		.size = sizeof(b), .nseq = 4, .seq_lens = lens, .query_starts = starts
	};
	kvjit_plan *plan = NULL;
	kvjit_kernel *k;
	kvjit *kv;

	(void)state;
	put_schedule(BASE, "kv_tile=32 prefetch=off", 4, 4096);
	put_for(BASE, NULL, "q_tile=8 kv_tile=16", 4, 4096, 64);
	kv = ct_open(ct_folder, NULL, NULL);
	k = ct_get(kv, BASE, 0);
	assert_null(k->few);
	assert_non_null(k->family);
	assert_int_equal(kvjit_plan_new(k, &b, &plan), KVJIT_OK);
	assert_true(plan->mixed);
	assert_int_equal(plan->list[0].nwork, 2 * 8);
	assert_int_equal(plan->few->list[0].nwork, 2 * 3);
	assert_int_equal(picked(k, plan)->ir->sched.kv_tile, 16);
	assert_int_equal(picked(k, plan->few)->ir->sched.kv_tile, 32);
	kvjit_plan_free(plan);
	kvjit_release(k);
	kvjit_close(kv);
}

static void an_unsized_kernel_picks_by_the_batch(void **state)
{
	static const int32_t starts[] = { 0, 1, 2, 3, 4 };
	int32_t lens[] = { 4000, 4000, 4000, 4000 };
	kvjit_batch b = {
		.size = sizeof(b), .nseq = 4, .seq_lens = lens, .query_starts = starts
	};
	kvjit_plan *plan = NULL;
	kvjit_kernel *k;
	kvjit *kv;

	(void)state;
	put_schedule(BASE, "kv_tile=32 prefetch=off", 4, 4096);
	put_schedule(BASE, "kv_tile=16 split=512", 1, 65536);
	kv = ct_open(ct_folder, NULL, NULL);
	/* the next isn't the first of all */
	kvjit_release(ct_get(kv, BASE " split=0 kv_tile=8", 0));
	k = ct_get(kv, BASE, 0);
	assert_non_null(k->family);
	assert_int_equal(k->family->n, 2);
	assert_int_equal(kvjit_plan_new(k, &b, &plan), KVJIT_OK);
	assert_int_equal(picked(k, plan)->ir->sched.kv_tile, 32);
	b.nseq = 1;
	lens[0] = 70000;
	assert_int_equal(kvjit_plan_new(k, &b, &plan), KVJIT_OK);
	assert_int_equal(picked(k, plan)->ir->sched.kv_tile, 16);
	assert_true(plan->list[0].njoin > 0); /* its split */
	/* a call takes that one too: it would refuse another's plan before arguments */
	assert_int_equal(kvjit_call(k, plan, NULL, 0, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(k), "missing");
	assert_null(strstr(kvjit_kernel_error(k), "another kernel's"));
	lens[0] = 100;
	assert_int_equal(kvjit_plan_new(k, &b, &plan), KVJIT_OK);
	assert_ptr_equal(picked(k, plan), k);
	kvjit_plan_free(plan);
	kvjit_release(k);
	kvjit_close(kv);
}

static void a_pin_file_decides(void **state)
{
	char path[400];
	kvjit_kernel *k;
	kvjit *kv;
	char *info, *why;

	(void)state;
	put_schedule(BASE, "kv_tile=32", 4, 4096);
	snprintf(path, sizeof(path), "%s/pins", ct_folder);
	ct_put(path, BASE " :: kv_tile=16 prefetch=two\n");
	kv = ct_open(ct_folder, NULL, path);
	k = ct_get(kv, BASE " batch=4 ctx=4096", 0);
	assert_int_equal(k->ir->sched.kv_tile, 16);
	kvjit_release(k);
	k = ct_get(kv, BASE, 0);
	assert_int_equal(k->ir->sched.kv_tile, 16);
	kvjit_release(k);
	info = kvjit_info(kv);
	assert_says(info, "pins|: 1, digest ");
	free(info);
	assert_int_equal(kvjit_why(kv, BASE, NULL, &why), KVJIT_OK);
	assert_says(why, "chosen by: pin|answer: ");
	free(why);
	kvjit_close(kv);
}

/* A pin file's kernel and digest for these lines. */
static int pinned(const char *lines, char digest[100])
{
	char path[400];
	kvjit_kernel *k;
	kvjit *kv;
	char *info, *at;
	int tile;

	snprintf(path, sizeof(path), "%s/pins", ct_folder);
	ct_put(path, lines);
	kv = ct_open("off", NULL, path);
	k = ct_get(kv, BASE, 0);
	tile = k->ir->sched.kv_tile;
	info = kvjit_info(kv);
	at = strstr(info, "digest ");
	assert_non_null(at);
	snprintf(digest, 100, "%.*s", (int)strcspn(at, "\n"), at);
	free(info);
	kvjit_release(k);
	kvjit_close(kv);
	return tile;
}

/* Of two lines for one program and size it was the first that the sort left in front. */
static void the_order_of_a_pin_file_says_nothing(void **state)
{
	char a[100], b[100];

	(void)state;
	assert_int_equal(pinned(BASE " :: kv_tile=32\n" BASE " :: kv_tile=16\n", a),
	                 pinned(BASE " :: kv_tile=16\n" BASE " :: kv_tile=32\n", b));
	assert_string_equal(a, b);
}

/* 0 is a choice, too: what is unsplit by a record isn't split by default. */
static void what_is_chosen_to_be_whole_stays_whole(void **state)
{
	char path[400];
	kvjit_kernel *k;
	kvjit *kv = ct_open("off", NULL, NULL);

	(void)state;
	k = ct_get(kv, BASE " batch=1 ctx=65536", 0);
	assert_int_equal(k->ir->sched.split, 2048);
	kvjit_release(k);
	kvjit_close(kv);
	put_schedule(BASE, "kv_tile=32 split=0", 1, 65536);
	kv = ct_open(ct_folder, NULL, NULL);
	k = ct_get(kv, BASE " batch=1 ctx=65536", 0);
	assert_int_equal(k->ir->sched.kv_tile, 32);
	assert_int_equal(k->ir->sched.split, 0);
	kvjit_release(k);
	kvjit_close(kv);
	snprintf(path, sizeof(path), "%s/pins", ct_folder);
	ct_put(path, BASE " :: kv_tile=16 split=0\n");
	kv = ct_open("off", NULL, path);
	k = ct_get(kv, BASE " batch=1 ctx=65536", 0);
	assert_int_equal(k->ir->sched.kv_tile, 16);
	assert_int_equal(k->ir->sched.split, 0);
	kvjit_release(k);
	kvjit_close(kv);
}

/* The default takes its place, with all that a default has: here its split. */
static void what_can_not_be_compiled_is_told(void **state)
{
	char path[400];
	kvjit_kernel *k;
	kvjit *kv;

	(void)state;
	put_schedule(BASE, "kv_tile=24 split=0", 1, 65536);
	kv = ct_open(ct_folder, NULL, NULL);
	k = ct_get(kv, BASE " batch=1 ctx=65536", 0);
	assert_says(ct_said, "has a tuned schedule that can't be compiled|kv_tile=24");
	assert_int_equal(k->ir->sched.split, 2048);
	kvjit_release(k);
	k = ct_get(kv, BASE, 0); /* one of a family */
	assert_int_equal(k->family->n, 0);
	kvjit_release(k);
	kvjit_close(kv);
	snprintf(path, sizeof(path), "%s/pins", ct_folder);
	ct_put(path, BASE " :: kv_tile=24\n");
	kv = ct_open("off", NULL, path);
	k = ct_get(kv, BASE " batch=1 ctx=65536", 0);
	assert_says(ct_said, "pins a schedule that can't be used|kv_tile=24");
	assert_int_equal(k->ir->sched.split, 2048);
	kvjit_release(k);
	kvjit_close(kv);
}

/* Taken where there is none from here, and called what it is. */
static void a_schedule_of_another_machine_is_by_transfer(void **state)
{
	char sql[400], *why;
	sqlite3 *db;
	kvjit *kv;

	(void)state;
	put_schedule(BASE, "kv_tile=32", 4, 4096);
	snprintf(sql, sizeof(sql), "%s/kvjit.db", ct_folder);
	assert_int_equal(sqlite3_open(sql, &db), SQLITE_OK);
	assert_int_equal(
	    sqlite3_exec(db, "UPDATE schedules SET machine=zeroblob(32)", NULL, NULL, NULL),
	    SQLITE_OK);
	sqlite3_close(db);
	snprintf(sql, sizeof(sql), "%s/kvjit.recent", ct_folder);
	unlink(sql); /* SQL of others doesn't */
	kv = ct_open(ct_folder, NULL, NULL);
	assert_int_equal(kvjit_why(kv, BASE " batch=4 ctx=4096", NULL, &why), KVJIT_OK);
	assert_says(why, "kv_tile=32|chosen by: transfer");
	free(why);
	kvjit_close(kv);
}

/* What was tuned for one target of a machine stays when another is, and is taken for it alone.
 */
static void each_target_has_its_own(void **state)
{
	kvjit *kv = ct_open(ct_folder, NULL, NULL);
	bool other = strcmp(kv->target.name, "generic") != 0;
	char *why;

	(void)state;
	kvjit_close(kv);
	put_schedule(BASE, "kv_tile=32", 4, 4096);
	if (other)
		put_for(BASE " target=generic", "generic", "kv_tile=16", 4, 4096, 1);
	kv = ct_open(ct_folder, NULL, NULL);
	assert_int_equal(kvjit_why(kv, BASE " batch=4 ctx=4096", NULL, &why), KVJIT_OK);
	assert_says(why, "kv_tile=32|chosen by: trial");
	free(why);
	assert_int_equal(kvjit_why(kv, BASE " batch=4 ctx=4096 target=generic", NULL, &why),
	                 KVJIT_OK);
	assert_says(why, other ? "kv_tile=16|chosen by: trial" : "kv_tile=32");
	free(why);
	kvjit_close(kv);
}

static void why_says_what_differs(void **state)
{
	kvjit_compile_options o = { .size = sizeof(o), .sched = "kv_tile=16" };
	char *why;
	kvjit *kv;

	(void)state;
	NEEDS_X86();
	kv = ct_open(ct_folder, NULL, NULL);
	assert_int_equal(kvjit_why(kv, BASE, NULL, &why), KVJIT_OK);
	assert_says(why, "has no such entry|answer: miss|no code of this program");
	free(why);
	kvjit_release(ct_get(kv, BASE, 0));
	assert_int_equal(kvjit_why(kv, BASE, NULL, &why), KVJIT_OK);
	assert_says(why, "has the code|answer: hit");
	free(why);
	assert_int_equal(kvjit_why(kv, BASE, &o, &why), KVJIT_OK);
	assert_says(why, "answer: miss|of this program there is|wanted kv_tile=16");
	free(why);
	kvjit_close(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CT_TEST(a_tuned_schedule_is_taken_near_its_size),
		CT_TEST(an_unsized_kernel_picks_by_the_batch),
		CT_TEST(few_queries_take_what_was_tuned_for_one),
		CT_TEST(a_mixed_batch_takes_both_of_a_family),
		CT_TEST(a_pin_for_all_sizes_leaves_one_kernel),
		CT_TEST(without_a_backend_one_kernel_has_all),
		CT_TEST(a_pin_file_decides),
		CT_TEST(the_order_of_a_pin_file_says_nothing),
		CT_TEST(what_is_chosen_to_be_whole_stays_whole),
		CT_TEST(what_can_not_be_compiled_is_told),
		CT_TEST(a_schedule_of_another_machine_is_by_transfer),
		CT_TEST(each_target_has_its_own),
		CT_TEST(why_says_what_differs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
