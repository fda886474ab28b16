/* SPDX-License-Identifier: Apache-2.0 */
/* test_tune.c -- candidates that crash, hang, lie or take all memory: each is found out, none
 * wins, and tuning goes on. They are put in a candidate's place by trial_hooks, in the child
 * that would have run it. */
#include "../tools/tune.h"
#include "../tools/tune_race.h"
#include "support_patience.h"

#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char problem[] =
    "attn q=bf16 kv=int8/token-head heads=2:1 dim=64 page=32 causal batch=1 ctx=256";
static const char other[] = "kv_tile=16 q_tile=1 split=0";

static trial_bench *open_bench(const trial_hooks *h, double limit)
{
	/* little memory: where a host has to find it first, 4 GiB take longer than the limit */
	trial_setup s = { .text = problem,
		          .threads = 1,
		          .limit = limit,
		          .memory = (size_t)3 << 29,
		          .hooks = h };
	char why[400] = "";
	trial_bench *b = trial_open(&s, why, sizeof why);

	if (!b)
		fail_msg("%s", why);
	return b;
}

static bool crash(load *l, void *ctx)
{
	(void)l;
	(void)ctx;
	raise(SIGILL);
	return true;
}

static bool hang(load *l, void *ctx)
{
	(void)l;
	(void)ctx;
	for (;;)
		pause();
	return true;
}

/* Takes all memory there is; what a kernel would do that got none is crash. */
static bool devour(load *l, void *ctx)
{
	(void)l;
	(void)ctx;
	for (;;) {
		char *p = malloc((size_t)1 << 30);

		if (!p)
			abort();
		for (size_t i = 0; i < (size_t)1 << 30; i += 4096)
			p[i] = 1;
	}
}

static bool write_outside(load *l, void *ctx)
{
	bind_arg *out = bind_find(&l->a.b, "out");

	(void)ctx;
	/* guarded on one side; the other has the rest of a page */
	for (size_t i = 0; i < 4097; i++)
		((volatile char *)out->data)[out->bytes + i] = 1;
	return true;
}

static bool waver(load *l, void *ctx)
{
	static unsigned char n;
	bind_arg *out = bind_find(&l->a.b, "out");

	(void)ctx;
	((unsigned char *)out->data)[0] = n++;
	return load_call(l) && (((unsigned char *)out->data)[0] = n++, true);
}

static bool nothing(load *l, void *ctx)
{
	(void)l;
	(void)ctx;
	return true;
}

static void spoil(attn *a, void *ctx)
{
	bind_arg *out = bind_find(&a->b, "out");

	(void)ctx;
	memset(out->data, 0, out->bytes); /* zeros pass loose tolerances */
}

static const struct {
	const char *name;
	trial_hooks hooks;
	kt_state race, check;
} bad[] = {
	{ "crash", { crash, NULL, NULL }, KT_IS_crashed, KT_IS_ok },
	{ "hang", { hang, NULL, NULL }, KT_IS_hung, KT_IS_ok },
	{ "devour", { devour, NULL, NULL }, KT_IS_crashed, KT_IS_ok },
	{ "write outside", { write_outside, NULL, NULL }, KT_IS_outside, KT_IS_ok },
	{ "waver", { waver, NULL, NULL }, KT_IS_unsteady, KT_IS_ok },
	{ "wrong but fast", { nothing, spoil, NULL }, KT_IS_ok, KT_IS_wrong },
};
enum { NBAD = sizeof bad / sizeof *bad };

static void each_is_found_out(void **state)
{
	static const kt_rule rule = { 0.01, 3, 20 };
	trial_report r;

	(void)state;
	for (unsigned i = 0; i < NBAD; i++) {
		trial_bench *b =
		    open_bench(&bad[i].hooks, support_patience(problem, i == 1 ? 1 : 20));

		trial_race(b, other, NULL, &rule, 5, &r);
		if (r.state != bad[i].race)
			fail_msg("%s: race is %s (%s), not %s", bad[i].name,
			         kt_state_names[r.state], r.why, kt_state_names[bad[i].race]);
		trial_check(b, other, 60, &r);
		if (r.state != bad[i].check)
			fail_msg("%s: check is %s (%s), not %s", bad[i].name,
			         kt_state_names[r.state], r.why, kt_state_names[bad[i].check]);
		/* the bench is as it was */
		assert_int_equal(trial_program(b, other, &r), KT_IS_ok);
		trial_close(b);
	}
}

static void a_good_one_is_measured_and_right(void **state)
{
	static const kt_rule rule = { 0.01, 3, 20 };
	trial_bench *b = open_bench(NULL, 20);
	trial_report r;

	(void)state;
	trial_race(b, other, "kv_tile=32", &rule, 5, &r);
	assert_true(r.state == KT_IS_ok || r.state == KT_IS_slow);
	assert_true(r.pairs.n >= 3);
	assert_true(r.ratio.ratio > 0.05 && r.ratio.ratio < 20);
	trial_check(b, other, 60, &r);
	assert_int_equal(r.state, KT_IS_ok);
	trial_check(b, other, 0.001, &r);
	assert_int_equal(r.state, KT_IS_failed);
	trial_close(b);
}

/* Counts where in a page the frames of its calls lie. */
static bool count_place(load *l, void *ctx)
{
	unsigned *seen = ctx;

	seen[(uintptr_t)__builtin_frame_address(0) % 4096 / 64]++;
	return load_call(l);
}

/* What a kernel spills may lie anywhere beside its data: a ratio is taken over all places, not
 * over the one that this process was given. */
static void the_stack_is_everywhere(void **state)
{
	static const kt_rule rule = { 0.01, 64, 64 };
	unsigned *seen =
	    mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	trial_hooks h = { count_place, NULL, seen };
	trial_bench *b;
	trial_report r;
	unsigned places = 0;

	(void)state;
	assert_true(seen != MAP_FAILED);
	b = open_bench(&h, 60);
	trial_race(b, other, NULL, &rule, 60, &r);
	assert_int_equal(r.pairs.n, 64);
	for (unsigned i = 0; i < 64; i++)
		places += seen[i] != 0;
	assert_int_equal(places, 64);
	trial_close(b);
	munmap(seen, 4096);
}

/* -- disturbed ----------------------------------------------------------------------------- */

/* Stays on a processor; in the first `moving` races on another after some calls. */
typedef struct mover {
	unsigned races, moving;
	int cpu[2];
} mover;

static bool move_about(load *l, void *ctx)
{
	static unsigned calls; /* of this process, which is a race */
	mover *m = ctx;
	cpu_set_t set;

	m->races += !calls;
	if (!calls || (calls == 10 && m->races <= m->moving)) {
		CPU_ZERO(&set);
		CPU_SET(m->cpu[calls == 10], &set);
		if (sched_setaffinity(0, sizeof set, &set))
			return false;
	}
	calls++;
	return load_call(l);
}

/* A race in which the system moved the process is measured again, up to three times. */
static void a_moved_race_is_measured_again(void **state)
{
	static const kt_rule rule = { 0.01, 3, 20 };
	static const char same[] = "kv_tile=32"; /* slower ones are given up */
	mover *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	trial_hooks h = { move_about, NULL, m };
	trial_bench *b;
	trial_report r;
	cpu_set_t set;
	int n = 0;

	(void)state;
	assert_true(m != MAP_FAILED);
	assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
	for (int i = 0; i < CPU_SETSIZE && n < 2; i++)
		if (CPU_ISSET(i, &set))
			m->cpu[n++] = i;
	if (n < 2) {
		munmap(m, 4096);
		skip();
	}
	b = open_bench(&h, 60);
	m->moving = 1;
	race_once(b, same, same, &rule, measure_now() + 600, NULL, &r);
	assert_true(r.state == KT_IS_ok || r.state == KT_IS_slow);
	/* others may have taken time from the second, too; what looks slow is given up */
	assert_true(m->races <= 4 && (m->races >= 2 || r.state == KT_IS_slow));
	assert_true(r.migrations == 0 || m->races == 1);
	m->races = 0;
	m->moving = 100;
	race_once(b, same, same, &rule, measure_now() + 600, NULL, &r);
	if (r.state == KT_IS_ok)
		assert_int_equal(m->races, 4);
	assert_true(r.migrations > 0);
	trial_close(b);
	munmap(m, 4096);
}

/* -- cold ---------------------------------------------------------------------------------- */

typedef struct turns {
	int64_t turns, seen[64];
	unsigned n;
	double bytes;
} turns;

static bool note_turn(load *l, void *ctx)
{
	turns *t = ctx;

	t->turns = l->turns;
	t->bytes = l->bytes;
	if (t->n < 64)
		t->seen[t->n++] = l->turn;
	return load_call(l);
}

/* Cold: the parts together are more than was asked for, and no call reads one again before all
 * the others were read. */
static void cold_calls_read_other_memory(void **state)
{
	static const kt_rule rule = { 0.01, 20, 20 };
	const double cold = 1 << 23;
	turns *t = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	trial_hooks h = { note_turn, NULL, t };
	trial_setup s = { .text = problem,
		          .threads = 1,
		          .cold = cold,
		          .limit = 60,
		          .memory = (size_t)3 << 29,
		          .hooks = &h };
	trial_report r;
	char why[400] = "";
	trial_bench *b = trial_open(&s, why, sizeof why);

	(void)state;
	assert_non_null(b);
	trial_race(b, other, NULL, &rule, 60, &r);
	assert_true(r.pairs.n > 0);
	assert_true((double)t->turns * t->bytes >= cold && t->turns >= 64);
	assert_int_equal(t->n, 64);
	for (unsigned i = 2; i < 64; i++) /* before: the two calls that must agree */
		for (unsigned k = i + 1; k < 64 && (int64_t)(k - i) < t->turns / 2; k++)
			assert_int_not_equal(t->seen[i], t->seen[k]);
	trial_close(b);
	munmap(t, 4096);
}

/* A program that was tried under another schedule isn't raced again. */
static void a_known_program_is_told(void **state)
{
	static const kt_rule rule = { 0.01, 3, 20 };
	static uint8_t program[3][32];
	const trial_known known = { (const uint8_t(*)[32])program, 3 };
	trial_bench *b = open_bench(NULL, 20);
	trial_report r;

	(void)state;
	trial_race_new(b, other, NULL, &rule, 5, &known, &r); /* of zeros nothing is known */
	assert_true(r.state == KT_IS_ok || r.state == KT_IS_slow);
	memcpy(program[2], r.program, 32);
	trial_race_new(b, other, NULL, &rule, 5, &known, &r);
	assert_int_equal(r.state, KT_IS_same);
	assert_int_equal(r.same_as, 2);
	assert_int_equal(r.pairs.n, 0);
	trial_race_new(b, "kv_tile=32", NULL, &rule, 5, &known, &r);
	assert_true(r.state == KT_IS_ok || r.state == KT_IS_slow);
	trial_close(b);
}

static void a_refusal_is_a_result(void **state)
{
	trial_bench *b = open_bench(NULL, 20);
	trial_report r;

	(void)state;
	assert_int_equal(trial_program(b, "kv_tile=24", &r), KT_IS_illegal);
	assert_non_null(strstr(r.why, "kv_tile"));
	trial_close(b);
}

/* Wrong but fast everywhere: the whole tuner keeps the default. */
static void nothing_bad_wins(void **state)
{
	char folder[] = "/tmp/kvjit-tune-XXXXXX", why[400] = "", command[100];
	tune_options o = { .threads = 1,
		           .effort = KT_EFFORT_quick,
		           .policy = KT_WARM,
		           .limit = support_patience(problem, 2) };
	kt_store *s;

	(void)state;
	o.budget = 3 * o.limit; /* a loaded machine takes its time before the first trial */
	assert_non_null(mkdtemp(folder));
	s = kt_store_open(&(kt_store_options){ folder, KT_USER, 0, { NULL, NULL } });
	for (unsigned i = 0; i < NBAD; i += 5) { /* crash, wrong but fast */
		kt_trial *t = NULL;
		tune_place p;
		unsigned n;

		o.store = s;
		o.again = true;
		o.hooks = &bad[i].hooks;
		/* the default itself is a candidate of the first trial: one that crashes can't
		 * be tuned, and one that does nothing has nothing to win against */
		if (tune_one(&o, problem, &p, why, sizeof why) != (i != 0))
			fail_msg("bad %u: %s", i, why);
		assert_string_equal(p.chosen, p.fallback);
		n = kt_trials_of(s, &p.where, &t);
		assert_true(n > 0);
		for (unsigned k = 0; k < n; k++)
			kt_trial_free(&t[k]);
		free(t);
		tune_release(&p);
	}
	kt_store_close(s);
	snprintf(command, sizeof command, "rm -rf %s", folder);
	assert_int_equal(system(command), 0);
}

/* Holds the file's lock for so many milliseconds. */
static pid_t lock_for(const char *folder, unsigned ms)
{
	int ready[2];
	char path[100], x = 0;
	pid_t pid;

	snprintf(path, sizeof path, "%s/kvjit.db", folder);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		sqlite3 *db;

		if (sqlite3_open(path, &db) ||
		    sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) ||
		    write(ready[1], &x, 1) != 1)
			_exit(1);
		usleep(ms * 1000);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &x, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

/* A choice outlasts a lock of a second, and one that can't be kept is told. */
static void a_choice_is_kept_or_told(void **state)
{
	char folder[] = "/tmp/kvjit-tune-XXXXXX", why[400] = "", command[100];
	tune_options o = { .threads = 1,
		           .budget = 6,
		           .effort = KT_EFFORT_model,
		           .policy = KT_WARM,
		           .limit = support_patience(problem, 2) };
	kt_schedule *r = NULL;
	tune_place p;
	pid_t pid;

	(void)state;
	assert_non_null(mkdtemp(folder));
	o.store = kt_store_open(&(kt_store_options){ folder, KT_USER, 0, { NULL, NULL } });
	assert_true(kt_store_writable(o.store));
	pid = lock_for(folder, 4000); /* the model's pick takes a part of it */
	assert_true(tune_one(&o, problem, &p, why, sizeof why));
	assert_int_equal(p.kept, KT_WHY_none);
	assert_int_equal(kt_schedules_of(o.store, &p.where.program, NULL, &r), 1);
	kt_schedule_free(r);
	free(r);
	tune_release(&p);
	waitpid(pid, NULL, 0);
	pid = lock_for(folder, 60000);
	o.again = true;
	assert_true(tune_one(&o, problem, &p, why, sizeof why));
	assert_int_equal(p.kept, KT_WHY_locked);
	tune_release(&p);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	kt_store_close(o.store);
	snprintf(command, sizeof command, "rm -rf %s", folder);
	assert_int_equal(system(command), 0);
}

/* Tunes once `go` is closed; writes how many trials it told. */
static void tune_beside(const char *folder, int go, int told)
{
	tune_options o = {
		.threads = 1, .budget = 2, .effort = KT_EFFORT_quick, .policy = KT_WARM
	};
	char why[400] = "", x;
	tune_place p;

	alarm(120);
	o.store = kt_store_open(&(kt_store_options){ folder, KT_USER, 0, { NULL, NULL } });
	if (read(go, &x, 1) != 0 || !tune_one(&o, problem, &p, why, sizeof why) ||
	    write(told, &p.ntrial, sizeof p.ntrial) != sizeof p.ntrial)
		_exit(1);
	kt_store_close(o.store);
	_exit(0);
}

/* Two runs on one place at the same time: each keeps all that it told. */
static void runs_beside_each_other_lose_nothing(void **state)
{
	char folder[] = "/tmp/kvjit-tune-XXXXXX", command[100];
	int go[2], told[2];
	unsigned n = 0, one;
	kt_schedule *r = NULL;
	kt_trial *t = NULL;
	kt_key program;
	kt_store *s;

	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_int_equal(pipe(go), 0);
	assert_int_equal(pipe(told), 0);
	for (int i = 0; i < 2; i++)
		if (!fork()) {
			close(go[1]);
			tune_beside(folder, go[0], told[1]);
		}
	close(go[1]);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(read(told[0], &one, sizeof one), sizeof one);
		n += one;
	}
	for (int i = 0; i < 2; i++)
		wait(NULL);
	s = kt_store_open(&(kt_store_options){ folder, KT_USER, 0, { NULL, NULL } });
	tune_answer a = { 0 };
	tune_ask(&(tune_options){ .threads = 1 }, problem, &a);
	assert_true(kt_key_parse(a.keys.program, &program));
	assert_int_equal(kt_schedules_of(s, &program, NULL, &r), 1);
	assert_int_equal(kt_trials_of(s, &r->where, &t), n);
	for (unsigned i = 0; i < n; i++)
		kt_trial_free(&t[i]);
	free(t);
	kt_schedule_free(r);
	free(r);
	kt_store_close(s);
	close(go[0]), close(told[0]), close(told[1]);
	snprintf(command, sizeof command, "rm -rf %s", folder);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_beside_each_other_lose_nothing),
		cmocka_unit_test(a_choice_is_kept_or_told),
		cmocka_unit_test(each_is_found_out),
		cmocka_unit_test(a_good_one_is_measured_and_right),
		cmocka_unit_test(the_stack_is_everywhere),
		cmocka_unit_test(a_moved_race_is_measured_again),
		cmocka_unit_test(cold_calls_read_other_memory),
		cmocka_unit_test(a_known_program_is_told),
		cmocka_unit_test(a_refusal_is_a_result),
		cmocka_unit_test(nothing_bad_wins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
