/* SPDX-License-Identifier: Apache-2.0 */
/* search.c -- see search.h.
 *
 * What comes next is the candidate with the smallest predicted time. A prediction is the
 * model's time, corrected by what was measured: for each value of each knob a factor, fitted
 * to all trials so far (a sum of effects in the logarithm, shrunk where few trials speak), and
 * for the model itself how far it is to be trusted: one that is wrong throughout ends with no
 * voice, or with the opposite one.
 *
 * Values that were seldom tried get a bonus, so that a model that is wrong about a knob finds
 * that out. Neighbours of the incumbent differ from it in one factor and so come early by
 * themselves. The fit is a handful of sweeps over at most some hundred trials: microseconds
 * beside a compile.
 *
 * Many knobs have words that come to the same (auto and what auto takes). Two trials of one
 * program say that the values in which they differ are alike; candidates that differ from a
 * tried one in nothing else wait until there are no others. A pair of values that was seen to
 * matter somewhere isn't alike any more.
 */
#include "search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const kt_effort_names[4] = { "model", "quick", "full", "exhaustive" };
const char *const kt_end_names[4] = { "budget", "effort", "space", "slow" };

enum { QUICK = 16, FULL = 48, IDLE = 32, SWEEPS = 12 };
static const double shrink = 1.5, curious = 0.2, trust_model = 0.7, steady = 0.1,
                    certain = 0.35, hopeless = 1.25;

/* A trial that told a time, while effects are fitted. */
typedef struct measured {
	unsigned candidate;
	double log_time, predicted;
} measured;

typedef struct search {
	const kt_space *s;
	const double *cost;
	const kt_search_options *o;
	const kt_search_host *h;
	kt_search_result *r;
	bool *tried;
	double *log_time; /* of each candidate relative to the default; NAN: not measured */
	unsigned *order;  /* candidates in the order they were tried */
	unsigned norder;
	measured *measured; /* room for all */
	uint8_t *value;     /* of each candidate's knobs, as indices */
	double *opinion;    /* the model's, of each candidate */
	double trust;       /* in it */
	double effect[kir_nknobs][16];
	unsigned seen[kir_nknobs][16];
	int8_t alike[kir_nknobs][16][16]; /* 1: one program was seen for both; -1: two were */
	bool *waits;
	unsigned incumbent;
	unsigned idle;       /* trials since one below `hopeless` times the incumbent's time */
	kt_outcome *outcome; /* of the trial that runs */
	kt_rule rule;
} search;

static unsigned index_of(const kt_space *s, unsigned k, unsigned candidate)
{
	kir_sched sched = s->at[candidate];
	int v = *kir_sched_knob(&sched, s->knob[k]);
	unsigned i = 0;

	while (i + 1 < s->nvalue[k] && s->value[k][i] != v)
		i++;
	return i;
}

static unsigned value_at(const search *x, unsigned k, unsigned candidate)
{
	return x->value[candidate * x->s->nknob + k];
}

/* The model's opinion, relative to the default. It orders well what differs little, but on
 * another processor it has been wrong by a factor of two about a whole knob (prefetch on Zen 4,
 * docs/experiments.md), and no bonus would have had that tried: large claims count as
 * `certain`.
 */
static double opinion(const double *cost, unsigned c)
{
	double g = log(cost[c] / cost[0]);

	return isfinite(g) ? certain * tanh(g / certain) : certain;
}

static double predict(const search *x, unsigned c)
{
	double sum = x->trust * x->opinion[c];

	for (unsigned k = 0; k < x->s->nknob; k++)
		sum += x->effect[k][value_at(x, k, c)];
	return sum;
}

static double bonus(const search *x, unsigned c)
{
	double sum = 0;

	for (unsigned k = 0; k < x->s->nknob; k++)
		sum += curious / (1 + x->seen[k][value_at(x, k, c)]);
	return sum;
}

/* How far the model is to be trusted, from what the trials say beside the effects. */
static void fit_trust(search *x, unsigned n)
{
	double both = 0, square = 0, trust;

	for (unsigned i = 0; i < n; i++) {
		const measured *m = &x->measured[i];
		double g = x->opinion[m->candidate];

		both += g * (m->log_time - m->predicted + x->trust * g);
		square += g * g;
	}
	trust = (both + steady * trust_model) / (square + steady);
	for (unsigned i = 0; i < n; i++)
		x->measured[i].predicted +=
		    (trust - x->trust) * x->opinion[x->measured[i].candidate];
	x->trust = trust;
}

static void fit_knob(search *x, unsigned k, unsigned n)
{
	double sum[16] = { 0 }, count[16] = { 0 }, change[16];

	for (unsigned i = 0; i < n; i++) {
		const measured *m = &x->measured[i];
		unsigned v = value_at(x, k, m->candidate);

		sum[v] += m->log_time - m->predicted + x->effect[k][v];
		count[v]++;
	}
	for (unsigned v = 0; v < x->s->nvalue[k]; v++) {
		double effect = sum[v] / (count[v] + shrink);

		change[v] = effect - x->effect[k][v];
		x->effect[k][v] = effect;
	}
	for (unsigned i = 0; i < n; i++)
		x->measured[i].predicted += change[value_at(x, k, x->measured[i].candidate)];
}

/* All of it from all measured trials, one after the other. A prediction follows what changes in
 * it, else a sweep's time would go with the square of the knobs; each sweep begins with exact
 * ones. */
static void fit(search *x)
{
	unsigned n = 0;

	for (unsigned i = 0; i < x->norder; i++) {
		unsigned c = x->order[i];

		if (!isnan(x->log_time[c]))
			x->measured[n++] = (measured){ c, x->log_time[c], 0 };
	}
	for (unsigned sweep = 0; sweep < SWEEPS; sweep++) {
		for (unsigned i = 0; i < n; i++)
			x->measured[i].predicted = predict(x, x->measured[i].candidate);
		fit_trust(x, n);
		for (unsigned k = 0; k < x->s->nknob; k++)
			fit_knob(x, k, n);
	}
}

/* -- values that are alike ----------------------------------------------------------------- */

/* The knob in which alone two candidates differ, -1: none or several. */
static int only_difference(const search *x, unsigned a, unsigned b)
{
	int knob = -1;

	for (unsigned k = 0; k < x->s->nknob; k++) {
		if (value_at(x, k, a) == value_at(x, k, b))
			continue;
		if (knob >= 0)
			return -1;
		knob = (int)k;
	}
	return knob;
}

static void mark(search *x, unsigned k, unsigned a, unsigned b, int8_t what)
{
	unsigned u = value_at(x, k, a), v = value_at(x, k, b);

	if (u != v && x->alike[k][u][v] != -1)
		x->alike[k][u][v] = x->alike[k][v][u] = what;
}

static void learn_same(search *x, unsigned c, unsigned as)
{
	for (unsigned k = 0; k < x->s->nknob; k++)
		mark(x, k, c, as, 1);
}

/* A program of its own, though it differs from a tried candidate in one value. */
static void learn_other(search *x, unsigned c)
{
	for (unsigned i = 0; i < x->norder; i++) {
		int k = x->order[i] == c ? -1 : only_difference(x, c, x->order[i]);

		if (k >= 0)
			mark(x, (unsigned)k, c, x->order[i], -1);
	}
}

static bool is_like_a_tried_one(const search *x, unsigned c)
{
	for (unsigned i = 0; i < x->norder; i++) {
		bool like = true;

		for (unsigned k = 0; like && k < x->s->nknob; k++) {
			unsigned u = value_at(x, k, c), v = value_at(x, k, x->order[i]);

			like = u == v || x->alike[k][u][v] == 1;
		}
		if (like)
			return true;
	}
	return false;
}

/* Below what anything is predicted to; the same for the same seed. */
static double shuffle(const search *x, unsigned c)
{
	uint32_t h = (c + 1) * 2654435761u ^ x->o->seed * 2246822519u;

	h = (h ^ h >> 15) * 2246822519u;
	h = (h ^ h >> 13) * 3266489917u;
	return x->o->seed ? 1e-3 * (double)(h >> 8) / (1 << 24) : 0;
}

static int best_of(const search *x, bool waiting)
{
	double best = INFINITY;
	int c = -1;

	for (unsigned i = 1; i < x->s->n; i++) {
		double p;

		if (x->tried[i] || x->waits[i] != waiting || !isfinite(x->cost[i]))
			continue;
		p = predict(x, i) - bonus(x, i) + shuffle(x, i);
		if (p < best) {
			best = p;
			c = (int)i;
		}
	}
	return c;
}

static int next(search *x)
{
	int c;

	while ((c = best_of(x, false)) >= 0 && is_like_a_tried_one(x, (unsigned)c))
		x->waits[c] = true;
	return c >= 0 ? c : best_of(x, true);
}

/* The order the model alone gives: ties to the lower index. */
static unsigned cheapest(const kt_space *s, const double *cost)
{
	unsigned best = 0;

	for (unsigned i = 1; i < s->n; i++)
		if (cost[i] < cost[best])
			best = i;
	return best;
}

static void note(search *x, unsigned c)
{
	x->tried[c] = true;
	x->order[x->norder++] = c;
	for (unsigned k = 0; k < x->s->nknob; k++)
		x->seen[k][value_at(x, k, c)]++;
}

static bool is_counted(kt_state s)
{
	return s != KT_IS_same && s != KT_IS_illegal;
}

/* Relative to the default: times what was measured of the incumbent, whose own interval counts
 * as well. */
static kt_ratio chained(const kt_ratio *to_incumbent, const kt_ratio *incumbent)
{
	kt_ratio r = *to_incumbent;

	r.ratio *= incumbent->ratio;
	r.lo *= incumbent->lo;
	r.hi *= incumbent->hi;
	return r;
}

static void learn(search *x, unsigned c)
{
	const kt_outcome *out = x->outcome;

	if (out->state == KT_IS_same) {
		x->log_time[c] = x->log_time[out->same_as];
		learn_same(x, c, out->same_as);
	} else if (out->state != KT_IS_illegal) {
		learn_other(x, c);
	}
	if ((out->state == KT_IS_ok || out->state == KT_IS_slow) && c)
		x->log_time[c] = log(out->ratio.ratio) + x->log_time[x->incumbent];
}

static void try(search *x, unsigned c)
{
	kt_outcome *out = x->outcome;

	memset(out, 0, sizeof(*out));
	out->ratio = (kt_ratio){ 1, 1, 1, KT_PAIRED, 0 };
	note(x, c);
	x->h->trial(c, x->incumbent, &x->rule, out, x->h->ctx);
	x->r->by_state[out->state]++;
	x->r->trials += is_counted(out->state);
	learn(x, c);
	if (out->state == KT_IS_ok || out->state == KT_IS_slow)
		x->idle = out->ratio.ratio > hopeless ? x->idle + 1 : 0;
	if (c && out->state == KT_IS_ok && out->ratio.hi < 1 &&
	    out->ratio.ratio < 1 - x->rule.tie) {
		x->r->against_default = chained(&out->ratio, &x->r->against_default);
		x->incumbent = c;
	}
	if (x->h->seen)
		x->h->seen(c, out, x->incumbent, x->h->ctx);
}

static unsigned most_trials(const search *x)
{
	unsigned part = x->s->n / 20;

	if (x->o->max_trials)
		return x->o->max_trials;
	switch (x->o->effort) {
	case KT_EFFORT_model: return 1;
	case KT_EFFORT_quick: return QUICK;
	case KT_EFFORT_full: return part > FULL ? part : FULL;
	default: return x->s->n;
	}
}

static bool may_go_on(const search *x)
{
	double left = x->h->left ? x->h->left(x->h->ctx) : 1;
	double expected = x->h->expect ? x->h->expect(x->h->ctx) : 0;

	return x->r->trials < most_trials(x) && left >= 0 && left >= expected;
}

/* Outcomes of an earlier run aren't measured again. The fastest of them is raced once more:
 * nothing wins by what another process says. */
static void recall(search *x)
{
	unsigned best = 0;

	for (unsigned i = 1; x->o->known && i < x->s->n; i++) {
		kt_state s = x->o->known[i];

		if (s == KT_NSTATE)
			continue;
		if ((s == KT_IS_ok || s == KT_IS_slow) && x->o->known_ratio[i] > 0)
			x->log_time[i] = log(x->o->known_ratio[i]);
		if (s == KT_IS_ok && x->log_time[i] < x->log_time[best])
			best = i;
	}
	for (unsigned i = 1; x->o->known && i < x->s->n; i++)
		if (x->o->known[i] != KT_NSTATE && i != best)
			note(x, i);
	if (best && may_go_on(x))
		try(x, best);
}

/* What comes next is what is predicted fastest. Once so many in a row were slower by a quarter,
 * what is left is worse: in five tunes of 400 to 630 trials the best was among those before,
 * and of those behind up to all took more than 1.5 times its time. */
static bool is_idle(const search *x)
{
	return x->o->effort == KT_EFFORT_full && x->r->trials >= FULL && x->idle >= IDLE;
}

static void run(search *x)
{
	try(x, 0); /* whatever the clock says: without it nothing is known */
	if (x->r->by_state[KT_IS_ok] != 1)
		return; /* nothing can be raced against a default that doesn't run */
	recall(x);
	for (unsigned i = 0; i < x->o->nfirst && may_go_on(x); i++)
		if (x->o->first[i] < x->s->n && !x->tried[x->o->first[i]])
			try(x, x->o->first[i]);
	while (may_go_on(x) && !is_idle(x)) {
		int c;

		fit(x);
		c = next(x);
		if (c < 0) {
			x->r->ended = KT_END_space;
			return;
		}
		try(x, (unsigned)c);
	}
	if (x->r->trials >= x->s->n)
		x->r->ended = KT_END_space;
	else if (x->r->trials >= most_trials(x))
		x->r->ended = KT_END_effort;
	else if (is_idle(x))
		x->r->ended = KT_END_slow;
}

static bool beats_default(const kt_ratio *r, double tie)
{
	return r->hi < 1 && r->ratio < 1 - tie;
}

unsigned kt_search_finalists(const double *ratio, unsigned n, double tie, unsigned *at,
                             unsigned most)
{
	double least = 1 - tie / 2, limit;
	unsigned found = 0;

	for (unsigned i = 1; i < n; i++)
		if (ratio[i] > 0 && ratio[i] < least)
			least = ratio[i];
	limit = fmin(1 - tie / 2, least * (1 + 2 * tie));
	for (unsigned i = 1; i < n; i++) {
		unsigned k;

		if (!(ratio[i] > 0 && ratio[i] < limit) ||
		    (found == most && ratio[i] >= ratio[at[most - 1]]))
			continue;
		k = found < most ? found++ : most - 1;
		for (; k && ratio[at[k - 1]] > ratio[i]; k--)
			at[k] = at[k - 1];
		at[k] = i;
	}
	return found;
}

unsigned kt_search_pick(const kt_ratio *at, unsigned n, double tie)
{
	double least = 1;

	for (unsigned i = 1; i < n; i++)
		if (beats_default(&at[i], tie) && at[i].ratio < least)
			least = at[i].ratio;
	for (unsigned i = 1; i < n; i++)
		if (beats_default(&at[i], tie) && at[i].lo <= least)
			return i;
	return 0;
}

static bool prepare(search *x)
{
	unsigned n = x->s->n;

	x->tried = calloc(n, sizeof(*x->tried));
	x->log_time = malloc(n * sizeof(*x->log_time));
	x->order = calloc(n, sizeof(*x->order));
	x->measured = calloc(n, sizeof(*x->measured));
	x->value = calloc(n, x->s->nknob + 1);
	x->opinion = calloc(n, sizeof(*x->opinion));
	x->waits = calloc(n, sizeof(*x->waits));
	x->outcome = calloc(1, sizeof(*x->outcome));
	if (!x->tried || !x->log_time || !x->order || !x->measured || !x->value ||
	    !x->opinion || !x->waits || !x->outcome)
		return false;
	for (unsigned i = 0; i < n; i++) {
		x->log_time[i] = NAN;
		x->opinion[i] = opinion(x->cost, i);
		for (unsigned k = 0; k < x->s->nknob; k++)
			x->value[i * x->s->nknob + k] = (uint8_t)index_of(x->s, k, i);
	}
	x->log_time[0] = 0;
	x->trust = trust_model;
	return true;
}

void kt_search_run(const kt_space *s, const double *cost, const kt_search_options *o,
                   const kt_search_host *h, kt_search_result *out)
{
	search x = { .s = s, .cost = cost, .o = o, .h = h, .r = out };

	memset(out, 0, sizeof(*out));
	out->against_default = (kt_ratio){ 1, 1, 1, KT_PAIRED, 0 };
	if (o->effort == KT_EFFORT_model) {
		out->best = cheapest(s, cost);
		return;
	}
	x.rule = (kt_rule){ o->tie > 0 ? o->tie : 0.01, 3, 160 };
	if (prepare(&x)) {
		run(&x);
		out->best = x.incumbent;
	}
	free(x.tried);
	free(x.log_time);
	free(x.order);
	free(x.measured);
	free(x.waits);
	free(x.value);
	free(x.opinion);
	free(x.outcome);
}
