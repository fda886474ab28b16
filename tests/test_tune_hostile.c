/* SPDX-License-Identifier: Apache-2.0 */
/* test_tune_hostile.c -- candidates that lie, crash, hang, eat memory, write where they mustn't
 * or give another answer each time: none of them wins, each is recorded as what it is, and the
 * tuning ends in its time with a schedule that may be used.
 *
 * Every candidate but the default is replaced; the default runs as it is.
 */
#include "../tools/tune.h"
#include "support_patience.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char problem[] =
    "attn q=bf16 kv=int8/token-head heads=4:1 dim=64 page=64 causal batch=1 ctx=1024";

typedef enum crime {
	HONEST,
	WRONG, /* does nothing, which is fast */
	CRASHING,
	HANGING,
	HUNGRY, /* asks for 10 GB */
	ESCAPING,
	UNSTEADY,
	LEAVING /* does nothing, and ends its process when it is looked at */
} crime;

typedef struct villain {
	crime kind;
	char fallback[400]; /* the default's schedule, which is left alone */
} villain;

static bool is_default(const villain *v, const kvjit_kernel *k)
{
	char *sched = kvjit_kernel_text(k, "schedule");
	bool same = sched && !strcmp(sched, v->fallback);

	free(sched);
	return same;
}

static void hang(void)
{
	for (;;)
		pause();
}

/* Until memory is out, as a kernel's scratch might be. */
static bool eat(void)
{
	size_t size = (size_t)10 << 30;
	char *p = malloc(size);

	if (!p)
		return false;
	for (size_t i = 0; i < size; i += 4096)
		p[i] = 1;
	free(p);
	return true;
}

static bool commit(load *l, void *ctx)
{
	static unsigned calls;
	const villain *v = ctx;
	bind_arg *out = bind_find(&l->a.b, "out");
	volatile uint8_t *bytes = out->data;

	if (v->kind == HONEST || is_default(v, l->k))
		return load_call(l);
	switch (v->kind) {
	case WRONG:
	case LEAVING: return true;
	case CRASHING: abort();
	case HANGING: hang(); return false;
	case HUNGRY: return eat();
	case ESCAPING:
		bytes[out->bytes + 4095] = 1; /* in the guard page, flush with it or not */
		return true;
	default:
		if (!load_call(l))
			return false;
		bytes[0] = (uint8_t)calls++;
		return true;
	}
}

/* What it would have left behind on the data of a check. */
static void spoil(attn *a, void *ctx)
{
	const villain *v = ctx;
	bind_arg *out = bind_find(&a->b, "out");

	if (v->kind == LEAVING)
		_exit(0);
	if (v->kind == WRONG)
		memset(out->data, 0, out->bytes);
}

static void learn_default(villain *v)
{
	kvjit_options o = { .size = sizeof o, .cache = "off", .cache_path = "", .threads = 1 };
	kvjit_compile_options c = { .size = sizeof c, .flags = KVJIT_UNTUNED };
	kvjit_keys keys = { .size = sizeof keys };
	kvjit *kv = NULL;

	assert_int_equal(kvjit_open(&o, &kv), KVJIT_OK);
	assert_int_equal(kvjit_keys_of(kv, problem, &c, &keys), KVJIT_OK);
	kvjit_close(kv);
	snprintf(v->fallback, sizeof v->fallback, "%s", keys.sched);
}

/* A tune of at most 6 s, or more where a trial takes longer; p is released by the caller. */
static void tune_with(crime kind, tune_place *p)
{
	double limit = support_patience(problem, 0.4), budget = limit > 1 ? 6 * limit : 6;
	static villain v;
	static trial_hooks hooks;
	char why[600] = "";
	double start = measure_now();

	v.kind = kind;
	learn_default(&v);
	hooks = (trial_hooks){ commit, spoil, &v };
	tune_options o = { .threads = 1,
		           .budget = budget,
		           .effort = KT_EFFORT_quick,
		           .policy = KT_WARM,
		           .hooks = &hooks,
		           .limit = limit };

	if (!tune_one(&o, problem, p, why, sizeof why))
		fail_msg("%s", why);
	/* room for a machine that does other things */
	if (measure_now() - start > 2 * budget)
		fail_msg("a budget of %.1f s took %.1f s", budget, measure_now() - start);
}

/* The default stays, and of its rivals some ended as they must, none well. */
static void none_wins(crime kind, kt_state expected)
{
	tune_place p;
	unsigned as_expected = 0;

	tune_with(kind, &p);
	assert_string_equal(p.chosen, p.fallback);
	assert_true(p.ratio.ratio == 1);
	assert_true(p.ntrial >= 2);
	assert_int_equal(p.trial[0].state, KT_IS_ok);
	assert_string_equal(p.trial[0].sched, p.fallback);
	for (unsigned i = 1; i < p.ntrial; i++) {
		const kt_trial *t = &p.trial[i];
		/* who isn't surely faster claims nothing: nobody checks it, and it can't win */
		bool claims = t->ratio_hi > 0 && t->ratio_hi < 1; /* 0: unbounded */

		if (t->state == KT_IS_ok && claims && strcmp(t->sched, p.fallback) != 0)
			fail_msg("trial %u of %u, %.3f to %.3f of the default: %s passes",
			         i + 1, p.ntrial, t->ratio_lo, t->ratio_hi, t->sched);
		as_expected += t->state == expected && strlen(t->why) > 0;
	}
	if (!as_expected)
		fail_msg("no trial of %u ended as %s; the second is %s: %s", p.ntrial,
		         kt_state_names[expected], kt_state_names[p.trial[1].state],
		         p.trial[1].why);
	tune_release(&p);
}

static void wrong_but_fast(void **state)
{
	(void)state;
	none_wins(WRONG, KT_IS_wrong);
}

static void crashing(void **state)
{
	(void)state;
	none_wins(CRASHING, KT_IS_crashed);
}

static void hanging(void **state)
{
	(void)state;
	none_wins(HANGING, KT_IS_hung);
}

static void hungry(void **state)
{
	(void)state;
	none_wins(HUNGRY, KT_IS_memory);
}

static void escaping(void **state)
{
	(void)state;
	none_wins(ESCAPING, KT_IS_outside);
}

static void unsteady(void **state)
{
	(void)state;
	none_wins(UNSTEADY, KT_IS_unsteady);
}

/* The end of a process is no word for its results. What the time wasn't enough to tell from the
 * default isn't checked, and may be ok. */
static void leaving(void **state)
{
	unsigned left = 0;
	tune_place p;

	(void)state;
	tune_with(LEAVING, &p);
	assert_string_equal(p.chosen, p.fallback);
	assert_true(p.ratio.ratio == 1);
	for (unsigned i = 1; i < p.ntrial; i++)
		left += p.trial[i].state == KT_IS_failed &&
		        !strcmp(p.trial[i].why, "it ended without a result");
	assert_true(left > 0);
	tune_release(&p);
}

/* The same tune with candidates as they are: the villains above aren't caught by a tuner that
 * refuses everybody. */
static void honest(void **state)
{
	tune_place p;
	unsigned measured = 0;

	(void)state;
	tune_with(HONEST, &p);
	for (unsigned i = 1; i < p.ntrial; i++)
		measured += p.trial[i].n > 0;
	assert_true(measured > 0);
	assert_true(p.ratio.ratio <= 1);
	tune_release(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(honest),   cmocka_unit_test(wrong_but_fast),
		cmocka_unit_test(crashing), cmocka_unit_test(hanging),
		cmocka_unit_test(hungry),   cmocka_unit_test(escaping),
		cmocka_unit_test(unsteady), cmocka_unit_test(leaving),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
