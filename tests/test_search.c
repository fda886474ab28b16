/* SPDX-License-Identifier: Apache-2.0 */
/* test_search.c -- the search on spaces whose times are known, with a host that answers from
 * them: what it finds and in how many trials, that it never ends worse than the default, and
 * that budgets, earlier runs and twins are taken as search.h says.
 */
#include "../tune/search.h"
#include "../tools/random.h"
#include "support_count.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* -- a space whose times are known --------------------------------------------------------- */

enum { KNOBS = 6, MOST = 3000, NOBODY = -1 };

typedef struct world {
	kt_space s;
	double truth[MOST], cost[MOST]; /* time / the default's; what the model says */
	kt_state state[MOST];           /* how a trial of it ends                    */
	int twin[MOST];                 /* the candidate whose program it has        */
	double noise;
	uint64_t seed;
	/* what the host saw */
	unsigned ntrial, order[MOST], times[MOST];
	double clock, budget, length; /* seconds: now, in all, of a trial */
	bool incumbent_was_wrong;
	unsigned incumbent;
} world;

static double uniform(uint64_t *seed)
{
	return ((double)(random_bits(seed) >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(uint64_t *seed)
{
	double u = uniform(seed);

	return sqrt(-2 * log(u)) * cos(6.283185307179586 * uniform(seed));
}

/* 5 x 4 x 4 x 4 x 3 x 3 = 2880 schedules. */
static void fill_space(kt_space *s)
{
	static const unsigned nvalue[KNOBS] = { 5, 4, 4, 4, 3, 3 };
	static const char *const name[KNOBS] = { "kv_tile", "rows",     "cols",
		                                 "unroll",  "prefetch", "fuse" };
	unsigned n = 1;

	memset(s, 0, sizeof(*s));
	for (unsigned k = 0; k < KNOBS; k++) {
		while (strcmp(kir_knobs[s->knob[k]].name, name[k]) != 0)
			s->knob[k]++;
		s->nvalue[k] = nvalue[k];
		for (unsigned v = 0; v < nvalue[k]; v++)
			s->value[k][v] = (int)v;
		n *= nvalue[k];
	}
	s->nknob = KNOBS;
	s->n = n;
	s->at = calloc(n, sizeof(*s->at));
	assert_non_null(s->at);
	for (unsigned i = 0; i < n; i++) {
		unsigned rest = i;

		s->at[i] = kir_sched_default();
		for (unsigned k = 0; k < KNOBS; k++) {
			*kir_sched_knob(&s->at[i], s->knob[k]) = (int)(rest % nvalue[k]);
			rest /= nvalue[k];
		}
	}
}

typedef enum model { USEFUL, USELESS, LYING } model;

/* Hidden truth: an effect of each value, interactions of pairs of knobs, a little of what
 * nothing explains. A useful model knows most of the effects and nothing of the rest. */
static world *new_world(uint64_t seed, model kind)
{
	world *w = calloc(1, sizeof(*w));
	double effect[KNOBS][8], known[KNOBS][8], both[KNOBS][8][8];

	assert_non_null(w);
	fill_space(&w->s);
	w->seed = seed;
	w->noise = 0.005;
	w->budget = INFINITY;
	for (unsigned k = 0; k < KNOBS; k++)
		for (unsigned v = 0; v < 8; v++) {
			effect[k][v] = 0.12 * normal(&seed);
			known[k][v] = 0.8 * effect[k][v] + 0.04 * normal(&seed);
			for (unsigned u = 0; u < 8; u++)
				both[k][v][u] = 0.02 * normal(&seed);
		}
	for (unsigned i = 0; i < w->s.n; i++) {
		double t = 0.01 * normal(&seed), guess = 0;
		unsigned before = 0;

		for (unsigned k = 0; k < KNOBS; k++) {
			unsigned v = (unsigned)*kir_sched_knob(&w->s.at[i], w->s.knob[k]);

			t += effect[k][v] + (k ? both[k][before][v] : 0);
			guess += known[k][v];
			before = v;
		}
		w->truth[i] = exp(t);
		w->cost[i] = kind == USEFUL    ? exp(guess)
		             : kind == USELESS ? exp(0.2 * normal(&seed))
		                               : 1 / exp(guess);
		w->state[i] = KT_IS_ok;
		w->twin[i] = NOBODY;
	}
	for (unsigned i = w->s.n; i-- > 0;)
		w->truth[i] /= w->truth[0];
	return w;
}

static void drop(world *w)
{
	kt_space_free(&w->s);
	free(w);
}

static double best_of(const world *w)
{
	double best = INFINITY;

	for (unsigned i = 0; i < w->s.n; i++)
		if (w->state[i] == KT_IS_ok && w->truth[i] < best)
			best = w->truth[i];
	return best;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Part of the candidates that are faster than t. */
static double rank_of(const world *w, double t)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->s.n; i++)
		n += w->truth[i] < t;
	return (double)n / w->s.n;
}

/* -- its host ------------------------------------------------------------------------------ */

static void trial(unsigned c, unsigned incumbent, const kt_rule *rule, kt_outcome *out,
                  void *ctx)
{
	world *w = ctx;
	kt_verdict v = KT_MORE;

	w->order[w->ntrial++] = c;
	w->times[c]++;
	w->clock += w->length;
	w->incumbent_was_wrong |= incumbent != w->incumbent;
	out->state = w->state[c];
	if (w->twin[c] != NOBODY && w->times[w->twin[c]]) {
		out->state = KT_IS_same;
		out->same_as = (unsigned)w->twin[c];
	}
	if (out->state != KT_IS_ok)
		return;
	while (v == KT_MORE) {
		unsigned i = out->pairs.n++;

		out->pairs.a[i] = 1e-5 * w->truth[c] * exp(w->noise * normal(&w->seed));
		out->pairs.b[i] = 1e-5 * w->truth[incumbent] * exp(w->noise * normal(&w->seed));
		v = kt_decide(&out->pairs, rule, &out->ratio);
	}
	if (c && v == KT_WORSE)
		out->state = KT_IS_slow;
}

static double left(void *ctx)
{
	const world *w = ctx;

	return w->budget - w->clock;
}

static double expect(void *ctx)
{
	const world *w = ctx;

	return w->length;
}

static void seen(unsigned c, const kt_outcome *o, unsigned incumbent, void *ctx)
{
	world *w = ctx;

	(void)c;
	(void)o;
	w->incumbent = incumbent;
}

static kt_search_result search(world *w, const kt_search_options *o)
{
	kt_search_host host = { trial, left, expect, seen, w };
	kt_search_result r;

	kt_search_run(&w->s, w->cost, o, &host, &r);
	assert_true(r.best < w->s.n);
	assert_false(w->incumbent_was_wrong);
	assert_int_equal(r.best, w->incumbent);
	return r;
}

/* -- what it finds ------------------------------------------------------------------------- */

enum { WORLDS = 20 };

/* Times of what was found / of the best, sorted; whether they are of all worlds. */
static bool find(model kind, double times[WORLDS], double ranks[WORLDS])
{
	unsigned n = support_count(WORLDS, 3);

	for (unsigned i = 0; i < n; i++) {
		world *w = new_world(100 + i, kind);
		kt_search_options o = { .effort = KT_EFFORT_full };
		kt_search_result r = search(w, &o);

		assert_true(r.trials <= w->s.n / 20);
		times[i] = w->truth[r.best] / best_of(w);
		ranks[i] = rank_of(w, w->truth[r.best]);
		assert_true(w->truth[r.best] < 1.01);
		/* what it says of the winner is what the winner is */
		assert_true(fabs(r.against_default.ratio - w->truth[r.best]) < 0.02);
		assert_true(r.against_default.lo <= w->truth[r.best] &&
		            w->truth[r.best] <= r.against_default.hi);
		assert_true(r.against_default.hi - r.against_default.lo < 0.2);
		drop(w);
	}
	qsort(times, n, sizeof(*times), by_value);
	qsort(ranks, n, sizeof(*ranks), by_value);
	return n == WORLDS;
}

static double mean_of(const double *times)
{
	double sum = 0;

	for (unsigned i = 0; i < WORLDS; i++)
		sum += log(times[i]);
	return exp(sum / WORLDS);
}

static void a_useful_model_finds_the_best(void **state)
{
	double times[WORLDS], ranks[WORLDS];

	(void)state;
	if (!find(USEFUL, times, ranks))
		return;
	print_message("useful model: %.4f of the best, worst %.4f\n", mean_of(times),
	              times[WORLDS - 1]);
	assert_true(mean_of(times) < 1.03);
	assert_true(times[WORLDS - 1] < 1.08);
}

static void a_useless_model_doesnt_trap_it(void **state)
{
	double times[WORLDS], ranks[WORLDS];

	(void)state;
	if (!find(USELESS, times, ranks))
		return;
	print_message("useless model: %.4f of the best, worst %.4f\n", mean_of(times),
	              times[WORLDS - 1]);
	/* 144 at random find one of the best 0.5 % in half of the worlds */
	assert_true(ranks[WORLDS / 2] < 0.003);
	assert_true(mean_of(times) < 1.08);
}

static void a_model_that_lies_doesnt_trap_it(void **state)
{
	double times[WORLDS], ranks[WORLDS];

	(void)state;
	if (!find(LYING, times, ranks))
		return;
	print_message("lying model: %.4f of the best, worst %.4f\n", mean_of(times),
	              times[WORLDS - 1]);
	assert_true(ranks[WORLDS / 2] < 0.01);
	assert_true(mean_of(times) < 1.03);
}

static void without_trials_the_model_decides(void **state)
{
	world *w = new_world(3, USEFUL);
	kt_search_options o = { .effort = KT_EFFORT_model };
	kt_search_result r;

	(void)state;
	kt_search_run(&w->s, w->cost, &o, NULL, &r);
	for (unsigned i = 0; i < w->s.n; i++)
		assert_true(w->cost[i] >= w->cost[r.best]);
	assert_int_equal(r.trials, 0);
	/* ties: the lower index, here the default */
	for (unsigned i = 0; i < w->s.n; i++)
		w->cost[i] = 1;
	kt_search_run(&w->s, w->cost, &o, NULL, &r);
	assert_int_equal(r.best, 0);
	drop(w);
}

static void efforts_are_kept(void **state)
{
	static const unsigned most[4] = { 0, 16, 144, 2880 };

	(void)state;
	for (unsigned e = KT_EFFORT_quick; e <= KT_EFFORT_exhaustive; e++) {
		world *w = new_world(4, USEFUL);
		kt_search_options o = { .effort = (kt_effort)e };
		kt_search_result r;

		/* near each other, so that it doesn't end because all are slow */
		for (unsigned c = 1; c < w->s.n && e == KT_EFFORT_full; c++)
			w->truth[c] = pow(w->truth[c], 0.1);
		r = search(w, &o);
		assert_int_equal(r.trials, most[e]);
		assert_int_equal(r.ended,
		                 e == KT_EFFORT_exhaustive ? KT_END_space : KT_END_effort);
		assert_int_equal(w->ntrial, most[e]);
		assert_int_equal(w->order[0], 0);
		for (unsigned i = 0; i < w->s.n; i++)
			assert_true(w->times[i] <= 1);
		if (e == KT_EFFORT_exhaustive) /* a tie is as good as the best */
			assert_true(w->truth[r.best] < 1.02 * best_of(w));
		drop(w);
	}
}

static void most_trials_are_kept(void **state)
{
	world *w = new_world(4, USEFUL);
	kt_search_options o = { .effort = KT_EFFORT_full, .max_trials = 7 };

	(void)state;
	assert_int_equal(search(w, &o).trials, 7);
	drop(w);
}

/* -- never worse than the default ---------------------------------------------------------- */

static void all_slower_leaves_the_default(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		world *w = new_world(200 + i, i % 2 ? USELESS : USEFUL);
		kt_search_options o = { .effort = KT_EFFORT_full };
		kt_search_result r;

		for (unsigned c = 1; c < w->s.n; c++)
			w->truth[c] = 1 + 0.5 * fabs(log(w->truth[c]));
		w->noise = 0.02;
		r = search(w, &o);
		/* noise may choose what is as good as the default, and nothing else */
		assert_true(w->truth[r.best] < 1.01);
		assert_true(r.best || r.against_default.ratio == 1);
		drop(w);
	}
}

/* What is left to try is worse than what was tried, so a search ends behind 32 that were slower
 * by more than a quarter, unless it was asked for all of them. */
static void a_search_ends_when_all_are_slow(void **state)
{
	(void)state;
	for (unsigned i = 0, n = support_count(4, 2); i < n; i++) {
		world *w = new_world(300 + i, USELESS);
		kt_search_options o = { .effort =
			                    i % 2 ? KT_EFFORT_exhaustive : KT_EFFORT_full };
		kt_search_result r;

		for (unsigned c = 1; c < w->s.n; c++)
			w->truth[c] = i < 2 ? 1.3 : 1.2;
		r = search(w, &o);
		assert_int_equal(r.best, 0);
		assert_int_equal(r.ended, i % 2   ? KT_END_space
		                          : i < 2 ? KT_END_slow
		                                  : KT_END_effort);
		assert_int_equal(r.trials, i % 2 ? w->s.n : i < 2 ? 48 : 144);
		drop(w);
	}
}

static void illegal_everywhere(void **state)
{
	world *w = new_world(5, USEFUL);
	kt_search_options o = { .effort = KT_EFFORT_full };
	kt_search_result r;

	(void)state;
	for (unsigned c = 1; c < w->s.n; c++)
		w->state[c] = KT_IS_illegal;
	r = search(w, &o);
	assert_int_equal(r.best, 0);
	/* what a pass refuses costs no trial, so it goes on to the end */
	assert_int_equal(r.trials, 1);
	assert_int_equal(r.by_state[KT_IS_illegal], w->s.n - 1);
	drop(w);
}

/* Whatever is wrong with a candidate, its time is no reason. */
static void only_ok_wins(void **state)
{
	(void)state;
	for (unsigned s = 0; s < KT_NSTATE; s++) {
		kt_search_options o = { .effort = KT_EFFORT_full };
		kt_search_result r;
		world *w;

		if (s == KT_IS_ok || s == KT_IS_same)
			continue;
		w = new_world(6, USEFUL);
		for (unsigned c = 1; c < w->s.n; c++) {
			w->truth[c] = w->s.at[c].rows == 1 ? 0.1 : w->truth[c];
			w->state[c] = w->s.at[c].rows == 1 ? (kt_state)s : KT_IS_ok;
		}
		r = search(w, &o);
		assert_true(w->s.at[r.best].rows != 1);
		assert_true(r.best && w->truth[r.best] < 1);
		drop(w);
	}
}

static void nothing_races_a_default_that_fails(void **state)
{
	world *w = new_world(7, USEFUL);
	kt_search_options o = { .effort = KT_EFFORT_full };
	kt_search_result r;

	(void)state;
	w->state[0] = KT_IS_crashed;
	r = search(w, &o);
	assert_int_equal(r.best, 0);
	assert_int_equal(w->ntrial, 1);
	assert_int_equal(r.by_state[KT_IS_crashed], 1);
	drop(w);
}

static void what_the_model_excludes_isnt_tried(void **state)
{
	world *w = new_world(8, USEFUL);
	kt_search_options o = { .effort = KT_EFFORT_exhaustive };

	(void)state;
	for (unsigned c = 1; c < w->s.n; c += 2)
		w->cost[c] = INFINITY;
	assert_int_equal(search(w, &o).trials, w->s.n / 2);
	for (unsigned c = 1; c < w->s.n; c += 2)
		assert_int_equal(w->times[c], 0);
	drop(w);
}

/* -- budget -------------------------------------------------------------------------------- */

/* But for the default, without which nothing is known. */
static void no_trial_begins_that_cant_end(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 30; i++) {
		world *w = new_world(9, USEFUL);
		kt_search_options o = { .effort = KT_EFFORT_full };

		w->length = 0.1;
		w->budget = 0.05 + 0.1 * i;
		assert_int_equal(search(w, &o).ended, KT_END_budget);
		assert_true(i == 0 || w->clock <= w->budget);
		assert_int_equal(w->ntrial, i ? i : 1);
		drop(w);
	}
}

/* -- earlier runs -------------------------------------------------------------------------- */

static void schedules_from_elsewhere_come_first(void **state)
{
	world *w = new_world(10, USEFUL);
	unsigned first[] = { 1234, 77, 77, 99999, 0 };
	kt_search_options o = { .effort = KT_EFFORT_quick, .first = first, .nfirst = 5 };
	kt_search_result r = search(w, &o);

	(void)state;
	assert_int_equal(w->order[0], 0);
	assert_int_equal(w->order[1], 1234);
	assert_int_equal(w->order[2], 77);
	assert_int_equal(w->times[77], 1);
	assert_int_equal(w->times[0], 1);
	assert_int_equal(r.trials, 16);
	drop(w);
}

/* The run is ended after `cut` trials and begun again with what it left behind. */
static void resume_after(unsigned cut, unsigned seed)
{
	static kt_state known[MOST];
	static double ratio[MOST];
	world *w = new_world(seed, USEFUL), *again = new_world(seed, USEFUL);
	kt_search_options o = { .effort = KT_EFFORT_full, .max_trials = cut };
	unsigned repeated = 0;
	kt_search_result r = search(w, &o);

	for (unsigned c = 0; c < w->s.n; c++) {
		known[c] = w->times[c] ? KT_IS_ok : KT_NSTATE;
		ratio[c] = w->truth[c];
		if (w->times[c] && w->truth[c] > w->truth[r.best])
			known[c] = KT_IS_slow;
	}
	known[0] = KT_NSTATE;
	o = (kt_search_options){ .effort = KT_EFFORT_full,
		                 .known = known,
		                 .known_ratio = ratio };
	r = search(again, &o);
	for (unsigned c = 1; c < w->s.n; c++)
		repeated += w->times[c] && again->times[c];
	assert_true(repeated <= 1);
	assert_true(again->truth[r.best] < 1.01 * w->truth[w->incumbent]);
	assert_true(again->truth[r.best] < 1.08 * best_of(again));
	drop(w);
	drop(again);
}

static void a_run_that_was_cut_short_goes_on(void **state)
{
	(void)state;
	for (unsigned cut = 1; cut < 140; cut += support_count(12, 60))
		resume_after(cut, 300 + cut);
}

/* What is known to crash isn't tried again, and a boast isn't believed. */
static void what_is_known_is_checked(void **state)
{
	static kt_state known[MOST];
	static double ratio[MOST];
	world *w = new_world(11, USEFUL);
	kt_search_options o = { .effort = KT_EFFORT_quick,
		                .known = known,
		                .known_ratio = ratio };
	kt_search_result r;

	(void)state;
	for (unsigned c = 0; c < w->s.n; c++)
		known[c] = c % 2 ? KT_IS_crashed : KT_NSTATE;
	known[40] = KT_IS_ok;
	ratio[40] = 0.01; /* it is nothing of the kind */
	w->truth[40] = 1.3;
	r = search(w, &o);
	assert_true(r.best != 40);
	assert_int_equal(w->times[40], 1);
	for (unsigned c = 1; c < w->s.n; c += 2)
		assert_int_equal(w->times[c], 0);
	drop(w);
}

/* -- twins, and that it is the same each time ---------------------------------------------- */

static void twins_cost_no_trial(void **state)
{
	world *w = new_world(12, USEFUL);
	kt_search_options o = { .effort = KT_EFFORT_full };
	kt_search_result r;
	unsigned same = 0;

	(void)state;
	/* `fuse` does nothing: what differs in it alone is one program */
	for (unsigned c = 0; c < w->s.n; c++)
		if (c >= w->s.n / 3) {
			w->twin[c] = (int)(c % (w->s.n / 3));
			w->truth[c] = w->truth[w->twin[c]];
		}
	r = search(w, &o);
	for (unsigned i = 0; i < w->ntrial; i++)
		same += w->twin[w->order[i]] != NOBODY && w->times[w->twin[w->order[i]]];
	assert_int_equal(r.trials, w->s.n / 20);
	assert_true(r.by_state[KT_IS_same] > 0 && r.by_state[KT_IS_same] <= same);
	assert_int_equal(w->ntrial, r.trials + r.by_state[KT_IS_same]);
	assert_true(w->truth[r.best] < 1.05 * best_of(w));
	drop(w);
}

static void it_is_the_same_each_time(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		world *a = new_world(400 + i, USELESS), *b = new_world(400 + i, USELESS);
		kt_search_options o = { .effort = KT_EFFORT_full };
		kt_search_result x = search(a, &o), y = search(b, &o);

		assert_int_equal(x.best, y.best);
		assert_int_equal(a->ntrial, b->ntrial);
		assert_memory_equal(a->order, b->order, sizeof(a->order));
		drop(a);
		drop(b);
	}
}

/* Which finalist is taken: by rule, so that two tunes say the same. */
static void ties_go_to_the_first(void **state)
{
	kt_ratio at[4] = { { 0 },
		           { 0.930, 0.92, 0.94, KT_PAIRED, 99 },
		           { 0.925, 0.92, 0.93, KT_PAIRED, 99 },
		           { 0.950, 0.94, 0.96, KT_PAIRED, 99 } };

	(void)state;
	assert_int_equal(kt_search_pick(at, 1, 0.01), 0);
	assert_int_equal(kt_search_pick(at, 4, 0.01), 1);
	at[1].lo = 0.926; /* surely slower than the fastest */
	assert_int_equal(kt_search_pick(at, 4, 0.01), 2);
	at[1].lo = 0.92;
	at[1].hi = 1.01; /* not surely faster than the default */
	assert_int_equal(kt_search_pick(at, 4, 0.01), 2);
	at[2].hi = 1; /* nor is this one: not taken, and not the measure */
	assert_int_equal(kt_search_pick(at, 4, 0.01), 3);
	at[3] = (kt_ratio){ 0.995, 0.99, 0.999, KT_PAIRED, 99 }; /* a tie with the default */
	assert_int_equal(kt_search_pick(at, 4, 0.01), 0);
}

static void finalists_are_the_fastest(void **state)
{
	/* number 0 is the default; 0: not measured */
	static const double ratio[] = { 1, 0.93, 0, 0.92, 0.95, 0.999, 0.925, 0.921, 1.2 };
	unsigned at[3];

	(void)state;
	assert_int_equal(kt_search_finalists(ratio, 9, 0.01, at, 3), 3);
	assert_int_equal(at[0], 3);
	assert_int_equal(at[1], 7);
	assert_int_equal(at[2], 6);
	assert_int_equal(kt_search_finalists(ratio, 7, 0.01, at, 1), 1);
	assert_int_equal(at[0], 3);
	/* 0.95 is too far from the fastest, 0.999 too near to the default */
	assert_int_equal(kt_search_finalists(ratio, 6, 0.01, at, 3), 2);
	assert_int_equal(kt_search_finalists(ratio + 3, 2, 0.01, at, 3), 1);
	assert_int_equal(kt_search_finalists(ratio, 1, 0.01, at, 3), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ties_go_to_the_first),
		cmocka_unit_test(finalists_are_the_fastest),
		cmocka_unit_test(a_useful_model_finds_the_best),
		cmocka_unit_test(a_useless_model_doesnt_trap_it),
		cmocka_unit_test(a_model_that_lies_doesnt_trap_it),
		cmocka_unit_test(without_trials_the_model_decides),
		cmocka_unit_test(efforts_are_kept),
		cmocka_unit_test(most_trials_are_kept),
		cmocka_unit_test(all_slower_leaves_the_default),
		cmocka_unit_test(a_search_ends_when_all_are_slow),
		cmocka_unit_test(illegal_everywhere),
		cmocka_unit_test(only_ok_wins),
		cmocka_unit_test(nothing_races_a_default_that_fails),
		cmocka_unit_test(what_the_model_excludes_isnt_tried),
		cmocka_unit_test(no_trial_begins_that_cant_end),
		cmocka_unit_test(schedules_from_elsewhere_come_first),
		cmocka_unit_test(a_run_that_was_cut_short_goes_on),
		cmocka_unit_test(what_is_known_is_checked),
		cmocka_unit_test(twins_cost_no_trial),
		cmocka_unit_test(it_is_the_same_each_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
