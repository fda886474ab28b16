/* SPDX-License-Identifier: Apache-2.0 */
/* tune_place.c -- tuning one problem on this machine.
 *
 *     text -> keys, default schedule -> space -> model -> search (tune/search.c)
 *          -> each trial: race in a child; who would win is checked against the interpreter
 *          -> stored as it is measured -> the fastest against the default once more -> stored
 *
 * What an earlier run measured is read back from the store, so that a run that was ended goes
 * on where it was.
 */
#include "tune.h"
#include "tune_race.h"
#include "../backends/backend.h"
#include "../tune/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct job {
	const tune_options *o;
	tune_place *p;
	trial_bench *bench;
	kir_module *m;
	kir_problem problem;
	kir_func *f;
	kir_target host; /* f points to it, unless a target was named */
	kt_model_of model;
	bool given[kir_nknobs];
	kt_space space;
	double *cost, *known_ratio;
	kt_state *known;
	uint8_t (*program)[32]; /* of each candidate tried; zero: not known */
	bool *right;            /* candidates that passed the checks */
	unsigned sure;          /* the last of them that was faster; 0: none */
	double *ratio;          /* of each candidate / the default; 0: not known */
	/* seconds of the longest check, of a usual race, of its candidate's compile */
	double spent_check, spent_race, spent_compile;
	int64_t run, seq;
	unsigned nfirst, first[16];
	double stop; /* when no trial may run any more */
} job;

#define SAME_WHY "the program of candidate %d"
enum {
	FINALISTS = 4,
	PUTS = 25, /* of KT_WAIT_MS each: what was measured is worth waiting for a lock */
	PUTS_TRIAL = 5
};
static const double tie = 0.01;
static const double close_of = 0.2; /* most of the budget that the last races are kept */
static const double alone_of = 0.1; /* most of it that the default has for itself */
static const double grace = 0.03;   /* seconds after the budget in which a race may end */

/* -- reading ------------------------------------------------------------------------------- */

static bool read_problem(job *j, const char *text, char *why, size_t len)
{
	kir_diag d = { 0 };
	char list[500];
	kir_text canonical = { 0 };

	j->m = kir_module_new();
	if (!kir_problem_parse(j->m, text, strlen(text), &j->problem, &d)) {
		snprintf(why, len, "%s", kir_diag_text(&d, list, sizeof list));
		return false;
	}
	memcpy(j->given, j->problem.has_knob, sizeof j->given);
	/* one thread gains nothing from pieces */
	for (unsigned i = 0; i < kir_nknobs; i++)
		if (j->o->threads == 1 && !strcmp(kir_knobs[i].name, "split"))
			j->given[i] = true;
	kir_problem_print_whole(j->m, &j->problem, &canonical);
	j->p->problem = canonical.text;
	snprintf(why, len, "out of memory");
	return canonical.text;
}

/* Keys and the default schedule, from the library that would compile it: which tiles fit, only
 * a compile knows. */
void tune_ask(const tune_options *options, const char *text, tune_answer *out)
{
	kvjit_options o = { .size = sizeof o,
		            .target = options->target,
		            .cache = "off",
		            .cache_path = "",
		            .pins = "",
		            .threads = options->device ? 0 : options->threads };
	kvjit_compile_options c = { .size = sizeof c, .flags = KVJIT_UNTUNED };
	kvjit *kv = NULL;
	kvjit_kernel *k = NULL;
	char *sched = NULL;

	out->keys.size = sizeof out->keys;
	if (kvjit_open(&o, &kv) != KVJIT_OK) {
		snprintf(out->why, sizeof out->why, "%s", kvjit_open_error());
		return;
	}
	if (kvjit_keys_of(kv, text, &c, &out->keys) == KVJIT_OK &&
	    kvjit_compile(kv, text, &c, &k) == KVJIT_OK)
		sched = kvjit_kernel_text(k, "schedule");
	if (!sched)
		snprintf(out->why, sizeof out->why, "%s", kvjit_error(kv));
	else
		sched[strcspn(sched, "\n")] = 0;
	snprintf(out->sched, sizeof out->sched, "%s", sched ? sched : "");
	kvjit_release(k);
	kvjit_close(kv);
	free(sched);
}

static void ask_of(void *ctx, tune_answer *out)
{
	const job *j = ctx;

	tune_ask(j->o, j->p->text, out);
}

static bool ask_library(job *j, char *why, size_t len)
{
	tune_answer a = { 0 };

	if (!j->o->device)
		tune_ask(j->o, j->p->text, &a);
	else if (!tune_in_child(ask_of, j, &a))
		snprintf(a.why, sizeof a.why, "the process that asked the device ended badly");
	snprintf(why, len, "%s", a.why);
	snprintf(j->p->fallback, sizeof j->p->fallback, "%s", a.sched);
	snprintf(j->p->chosen, sizeof j->p->chosen, "%s", a.sched);
	if (j->o->device)
		j->p->where.threads = a.keys.threads;
	return *a.sched && kt_key_parse(a.keys.program, &j->p->where.program) &&
	       kt_key_parse(a.keys.machine, &j->p->where.machine);
}

static bool make_space(job *j, char *why, size_t len)
{
	const kir_target *t = j->o->target ? kir_target_find(j->o->target) : &j->host;
	kir_text machine = { 0 };
	kir_diag d = { 0 };
	char list[500];
	bool named[kir_nknobs];

	kir_target as;

	kbe_host(&j->host);
	as = j->host;
	as.name = t->name;
	snprintf(j->p->target, sizeof j->p->target, "%s", t->name);
	if (j->o->device)
		kt_machine_text(t, 0, j->p->where.threads, &machine);
	else
		kt_machine_text(&as, kbe_host_isa(), (int)sysconf(_SC_NPROCESSORS_ONLN),
		                &machine);
	snprintf(j->p->machine, sizeof j->p->machine, "%s", machine.text ? machine.text : "");
	free(machine.text);
	j->f = kir_problem_expand(j->m, &j->problem, t, &d);
	if (j->f && kir_sched_parse(&j->f->sched, named, j->p->fallback, &d) &&
	    kt_space_make(j->f, j->given, &j->problem, &j->space, &d)) {
		j->model = (kt_model_of){ j->f, &j->problem, t, j->o->threads,
			                  j->o->policy == KT_COLD };
		j->cost = malloc(j->space.n * sizeof *j->cost);
		for (unsigned i = 0; j->cost && i < j->space.n; i++)
			j->cost[i] = kt_model_time(&j->model, &j->space.at[i]);
		j->p->ncandidate = j->space.n;
		j->program = calloc(j->space.n, sizeof *j->program);
		j->ratio = calloc(j->space.n, sizeof *j->ratio);
		j->right = calloc(j->space.n, sizeof *j->right);
		j->known = malloc(j->space.n * sizeof *j->known);
		j->known_ratio = calloc(j->space.n, sizeof *j->known_ratio);
		return j->cost && j->program && j->ratio && j->right && j->known &&
		       j->known_ratio;
	}
	j->p->nothing = j->space.nothing;
	snprintf(why, len, "%s", kir_diag_text(&d, list, sizeof list));
	return false;
}

static void sched_text(const kir_sched *s, char *out, size_t len)
{
	kir_text t = { 0 };

	kir_sched_print(s, &t);
	snprintf(out, len, "%s", t.text ? t.text : "");
	free(t.text);
}

/* -- what is known already ----------------------------------------------------------------- */

static int candidate_of(const job *j, const char *sched)
{
	kir_sched s = kir_sched_default();
	bool named[kir_nknobs] = { 0 };
	kir_diag d = { 0 };

	return kir_sched_parse(&s, named, sched, &d) ? kt_space_find(&j->space, &s) : -1;
}

static void recall_trials(job *j)
{
	kt_trial *t = NULL;
	unsigned n = j->o->store ? kt_trials_of(j->o->store, &j->p->where, &t) : 0;

	for (unsigned i = 0; i < j->space.n; i++)
		j->known[i] = KT_NSTATE;
	for (unsigned i = 0; i < n; i++) {
		int c = t[i].codegen == KT_CODEGEN ? candidate_of(j, t[i].sched) : -1;

		if (c > 0 && !j->o->again && t[i].state != KT_IS_failed) {
			j->known[c] = t[i].state;
			j->known_ratio[c] = t[i].ratio;
			if (t[i].state == KT_IS_ok || t[i].state == KT_IS_slow)
				j->ratio[c] = t[i].ratio;
		}
		kt_trial_free(&t[i]);
	}
	free(t);
}

/* Schedules of this program from other machines, or from here before a change of the code
 * generator: the first to be tried. Whether this place was finished before. */
static bool recall_schedules(job *j)
{
	kt_schedule *r = NULL;
	bool finished = false;
	unsigned n =
	    j->o->store ? kt_schedules_of(j->o->store, &j->p->where.program, NULL, &r) : 0;

	for (unsigned i = 0; i < n; i++) {
		bool here = !memcmp(&r[i].where, &j->p->where, sizeof r[i].where);
		int c = candidate_of(j, r[i].sched);

		if (here && r[i].source == KT_BY_trial && r[i].codegen == KT_CODEGEN) {
			finished = true;
			snprintf(j->p->chosen, sizeof j->p->chosen, "%s", r[i].sched);
			j->p->default_seconds = r[i].ratio > 0 ? r[i].median / r[i].ratio : 0;
			j->p->ratio = (kt_ratio){ r[i].ratio, r[i].ratio_lo, r[i].ratio_hi,
				                  KT_PAIRED, (unsigned)r[i].n };
		} else if (c > 0 && j->nfirst < 16) {
			j->first[j->nfirst++] = (unsigned)c;
		}
		kt_schedule_free(&r[i]);
	}
	free(r);
	return finished && !j->o->again;
}

/* -- trials -------------------------------------------------------------------------------- */

/* One more than any that the store has of this place. */
static int64_t next_run(job *j)
{
	kt_trial *t = NULL;
	unsigned n = kt_trials_of(j->o->store, &j->p->where, &t);
	int64_t run = j->run;

	for (unsigned i = 0; i < n; i++) {
		run = t[i].run >= run ? t[i].run + 1 : run;
		kt_trial_free(&t[i]);
	}
	free(t);
	return run;
}

/* A run's first trial takes its number, which no other process tuning the same place may have:
 * its trials would replace ours. */
static kt_reason put_first(job *j, kt_trial *t)
{
	kt_reason why = kt_store_begin(j->o->store), end;

	if (why != KT_WHY_none)
		return why;
	j->run = t->run = next_run(j);
	why = kt_trial_put(j->o->store, t);
	end = kt_store_end(j->o->store, why == KT_WHY_none);
	return why == KT_WHY_none ? end : why;
}

static void keep_trial(job *j, kt_trial *t)
{
	tune_place *p = j->p;
	kt_trial *more = realloc(p->trial, (p->ntrial + 1) * sizeof *p->trial);

	for (unsigned i = 0; j->o->store && i < PUTS_TRIAL; i++)
		if ((t->seq ? kt_trial_put(j->o->store, t) : put_first(j, t)) != KT_WHY_locked)
			break;
	if (!more)
		return;
	p->trial = more;
	p->trial[p->ntrial] = *t;
	p->trial[p->ntrial].sched = strdup(t->sched);
	p->trial[p->ntrial].why = strdup(t->why);
	p->ntrial++;
}

static kt_trial describe(job *j, const char *sched, trial_report *r)
{
	kt_trial t = { .where = j->p->where, .run = j->run, .seq = j->seq++ };
	double times[KT_MAX_PAIRS];
	kt_spread s;

	memcpy(times, r->pairs.a, sizeof times);
	s = kt_spread_of(times, r->pairs.n);
	t.sched = (char *)sched;
	t.why = r->why;
	t.state = r->state;
	t.median = s.median;
	t.lo = s.lo;
	t.hi = s.hi;
	t.min = s.min;
	t.n = r->pairs.n;
	t.steal = r->steal;
	t.migrations = r->migrations;
	t.when = (int64_t)time(NULL);
	t.compile_us = (int64_t)(r->compile_s * 1e6);
	t.codegen = KT_CODEGEN;
	return t;
}

/* The schedule that is compiled for a candidate. */
static void candidate_text(const job *j, unsigned c, char *out, size_t len)
{
	if (j->o->aa)
		snprintf(out, len, "%s", j->p->fallback);
	else
		sched_text(&j->space.at[c], out, len);
}

/* Whoever is taken in the end must be right; in r, if it isn't. */
static void check_winner(job *j, unsigned c, const char *sched, double stop, trial_report *r)
{
	trial_report checked;
	double start = measure_now();

	if (j->right[c])
		return;
	trial_check(j->bench, sched, stop - measure_now(), &checked);
	j->spent_check = fmax(j->spent_check, measure_now() - start);
	j->right[c] = checked.state == KT_IS_ok;
	j->sure = j->right[c] ? c : j->sure;
	if (j->right[c])
		return;
	r->state = checked.state;
	memcpy(r->why, checked.why, sizeof r->why);
}

/* Who would be the incumbent must give what the default gives. The interpreter takes longer
 * than ten trials, so it is asked only about the first, which then can be taken whatever
 * happens, and about the winner. */
static void check_incumbent(job *j, unsigned c, const char *sched, trial_report *r)
{
	trial_report checked;

	if (!j->sure) {
		check_winner(j, c, sched, j->stop, r);
		return;
	}
	trial_agrees(j->bench, sched, j->stop - measure_now(), &checked);
	if (checked.state == KT_IS_ok)
		return;
	r->state = checked.state;
	memcpy(r->why, checked.why, sizeof r->why);
}

static void trial(unsigned candidate, unsigned incumbent, const kt_rule *rule, kt_outcome *out,
                  void *ctx)
{
	job *j = ctx;
	char sched[400], other[400];
	double start = measure_now(), before = incumbent ? j->ratio[incumbent] : 1;
	trial_known known = { (const uint8_t(*)[32])j->program, j->o->aa ? 0 : j->space.n };
	trial_report r;
	kt_trial t;

	candidate_text(j, candidate, sched, sizeof sched);
	candidate_text(j, incumbent, other, sizeof other);
	if (candidate == incumbent)
		race_once(j->bench, sched, other, rule,
		          fmin(j->stop, start + alone_of * j->o->budget), &known, &r);
	else
		race_fairly(j->bench, sched, other, rule, j->stop, &known, &r);
	if (r.state == KT_IS_same) {
		out->same_as = r.same_as;
		snprintf(r.why, sizeof r.why, SAME_WHY, (int)r.same_as);
	} else {
		memcpy(j->program[candidate], r.program, 32);
		if (r.pairs.n) {
			j->spent_race = 0.5 * j->spent_race + 0.5 * (measure_now() - start);
			j->spent_compile = 0.5 * j->spent_compile + 0.5 * r.compile_s;
		}
		if (r.state == KT_IS_ok && candidate != incumbent && r.ratio.hi < 1 &&
		    r.ratio.ratio < 1 - rule->tie)
			check_incumbent(j, candidate, sched, &r);
	}
	t = describe(j, sched, &r);
	t.ratio = r.ratio.ratio * before;
	t.ratio_lo = r.ratio.lo * before;
	t.ratio_hi = isfinite(r.ratio.hi) ? r.ratio.hi * before : 0;
	if (candidate == incumbent) {
		if (r.state == KT_IS_slow) /* of itself: noise */
			r.state = t.state = KT_IS_ok;
		t.ratio = t.ratio_lo = t.ratio_hi = 1;
		j->p->default_seconds = t.median;
	}
	j->ratio[candidate] = r.state == KT_IS_ok || r.state == KT_IS_slow ? t.ratio : 0;
	out->state = r.state;
	out->pairs = r.pairs;
	out->ratio = r.ratio;
	keep_trial(j, &t);
}

/* The last races compile the default, too, which a trial's inherits. */
static double spent_final(const job *j)
{
	return j->spent_race + j->spent_compile;
}

/* Until when trials may run. Whoever may be taken meets the default in the last races, which
 * have a part of the budget, or what they need, if that is less. As long as nothing was faster
 * there will be none, and the search has that time, too: what it finds late meets the default
 * as often as there is time for. */
static void set_stop(job *j)
{
	unsigned at[FINALISTS];
	unsigned n = kt_search_finalists(j->ratio, j->space.n, tie, at, FINALISTS);
	double race = spent_final(j) + 2 * RACE_FINAL_PAIRS * j->p->default_seconds;
	double finals = fmin(close_of * j->o->budget, RACE_FINALS * n * race);

	j->stop = j->p->deadline - (n ? finals + j->spent_check : 0);
}

static double left(void *ctx)
{
	job *j = ctx;

	set_stop(j);
	return j->stop - measure_now();
}

static double expect(void *ctx)
{
	const job *j = ctx;

	/* a race can be cut short, a compile can't; nor the first check, which nobody knows */
	return fmax(0.4 * j->spent_race, j->spent_compile);
}

static void seen(unsigned candidate, const kt_outcome *o, unsigned incumbent, void *ctx)
{
	job *j = ctx;
	double best = incumbent ? j->ratio[incumbent] : 1;

	(void)candidate;
	(void)o;
	if (j->o->seen && j->p->ntrial)
		j->o->seen(j->p, &j->p->trial[j->p->ntrial - 1], best, j->o->ctx);
}

/* -- the end ------------------------------------------------------------------------------- */

/* last: the pairs of the race that says so; NULL: the default's, or nothing was measured */
static void store_winner(job *j, kt_source source, const kt_pairs *last)
{
	tune_place *p = j->p;
	kt_schedule r = { .where = p->where,
		          .problem = p->problem,
		          .sched = p->chosen,
		          .target = p->target,
		          .machine = p->machine,
		          .source = source,
		          .ratio = p->ratio.ratio,
		          .ratio_lo = p->ratio.lo,
		          .ratio_hi = isfinite(p->ratio.hi) ? p->ratio.hi : 0,
		          .n = last ? last->n : 0,
		          .when = (int64_t)time(NULL),
		          .codegen = KT_CODEGEN };
	double times[KT_MAX_PAIRS];

	if (last) {
		memcpy(times, last->a, sizeof times);
		kt_spread s = kt_spread_of(times, last->n);

		r.median = s.median;
		r.lo = s.lo;
		r.hi = s.hi;
	} else if (source == KT_BY_trial) {
		r.median = r.lo = r.hi = p->default_seconds;
	}
	for (unsigned i = 0; j->o->store && i < PUTS; i++)
		if ((p->kept = kt_schedule_put(j->o->store, &r)) != KT_WHY_locked)
			break;
}

static int by_number(const void *a, const void *b)
{
	const race_finalist *x = a, *y = b;

	return (x->candidate > y->candidate) - (x->candidate < y->candidate);
}

/* One of the finalists at[1] to at[n] by rule, or 0, the default, and their ratios. Whoever
 * isn't known to be right is checked before it is taken. */
static unsigned pick(job *j, race_finalist *at, unsigned n, kt_ratio *ratio)
{
	for (;;) {
		trial_report r = { .state = KT_IS_ok };
		unsigned i;

		for (i = 1; i <= n; i++)
			ratio[i] = at[i].out || !at[i].races.n
			               ? (kt_ratio){ 1, 1, 1, KT_PAIRED, 0 }
			               : kt_races_ratio(&at[i].races, 0.95);
		i = kt_search_pick(ratio, n + 1, tie);
		if (i)
			check_winner(j, at[i].candidate, at[i].sched, j->p->deadline, &r);
		if (!i || r.state == KT_IS_ok)
			return i;
		at[i].out = true;
		if (r.state != KT_IS_failed) { /* what was kept as ok isn't */
			kt_trial t = describe(j, at[i].sched, &r);

			keep_trial(j, &t);
		}
	}
}

/* The finalists against the default once more, and one of them. False: the default stays. */
static bool choose(job *j, kt_end ended, race_finalist *won)
{
	static race_finalist at[2 + FINALISTS];
	kt_ratio ratio[2 + FINALISTS] = { { 0 } };
	bool sure = !j->sure;
	double deadline = j->p->deadline;
	unsigned n, i, fastest[FINALISTS];

	memset(at, 0, sizeof at);
	n = kt_search_finalists(j->ratio, j->space.n, tie, fastest, FINALISTS);
	for (i = 1; i <= n; i++)
		at[i].candidate = fastest[i - 1];
	if (n && !j->right[at[1].candidate]) /* a check must have its time */
		deadline -= j->spent_check;
	/* the fastest in four processes rather than four in one */
	while (n > 1 && RACE_FINALS * n * spent_final(j) > deadline - measure_now())
		n--;
	for (i = 1; i <= n; i++)
		sure |= j->right[at[i].candidate];
	if (!sure) /* in case that nobody else is right, or that there is no time to find out */
		at[++n].candidate = j->sure;
	for (i = 1; i <= n; i++)
		candidate_text(j, at[i].candidate, at[i].sched, sizeof at[i].sched);
	race_finals(j->bench, j->p->fallback, at + 1, n, 0, RACE_FINALS, deadline);
	qsort(at + 1, n, sizeof *at, by_number);
	i = pick(j, at, n, ratio);
	if (i && ended == KT_END_budget) {
		/* too little time for another candidate is enough for a narrower interval, of
		 * those that could be taken without a check */
		for (unsigned k = 1; k <= n; k++)
			at[k].out |= !j->right[at[k].candidate];
		race_finals(j->bench, j->p->fallback, at + 1, n, RACE_FINALS, KT_MAX_RACES,
		            j->p->deadline);
		i = pick(j, at, n, ratio);
	}
	*won = at[i];
	j->p->ratio = i ? ratio[i] : (kt_ratio){ 1, 1, 1, KT_PAIRED, 0 };
	return i != 0;
}

static void confirm(job *j, kt_end ended)
{
	race_finalist won;

	if (!choose(j, ended, &won)) {
		store_winner(j, KT_BY_trial, NULL);
		return;
	}
	memcpy(j->p->chosen, won.sched, sizeof won.sched);
	store_winner(j, KT_BY_trial, &won.races.all);
}

static bool write_record(job *j)
{
	FILE *f = fopen(j->o->record, "w");
	kt_space *s = &j->space;

	if (!f)
		return false;
	fprintf(f, "{\"problem\":\"");
	for (const char *c = j->p->problem; *c; c++)
		fprintf(f, *c == '"' || *c == '\\' ? "\\%c" : "%c", *c == '\n' ? ' ' : *c);
	fprintf(f, "\",\"target\":\"%s\",\"threads\":%d,\"policy\":\"%s\",\"knobs\":{",
	        j->p->target, j->o->threads, kt_policy_names[j->o->policy]);
	for (unsigned k = 0; k < s->nknob; k++) {
		fprintf(f, "%s\"%s\":[", k ? "," : "", kir_knobs[s->knob[k]].name);
		for (unsigned v = 0; v < s->nvalue[k]; v++)
			fprintf(f, "%s%d", v ? "," : "", s->value[k][v]);
		fprintf(f, "]");
	}
	fprintf(f, "}}\n");
	for (unsigned i = 0; i < j->p->ntrial; i++) {
		const kt_trial *t = &j->p->trial[i];
		int c = candidate_of(j, t->sched), same = c;

		if (t->state == KT_IS_same && sscanf(t->why, SAME_WHY, &same) != 1)
			continue;
		if (c >= 0)
			fprintf(f,
			        "{\"candidate\":%d,\"sched\":\"%s\",\"state\":\"%s\",\"ratio\":"
			        "%.6g,"
			        "\"median\":%.6g,\"model\":%.6g,\"same_as\":%d}\n",
			        c, t->sched, kt_state_names[t->state], t->ratio, t->median,
			        j->cost[c], same);
	}
	return fclose(f) == 0;
}

/* What the machine reads and computes at best, of a few passes: for a warm cache of the same
 * bytes again, else of the next ones. */
static void measure_limits(job *j)
{
	enum { PASSES = 5 };
	size_t bytes, part;
	const char *memory = load_memory(trial_load(j->bench), &bytes);
	/* its threads end with it: trials are forks of a process with one */
	measure_team *team = measure_team_new(j->o->threads);

	part = bytes / (j->o->policy == KT_COLD ? PASSES : 1);
	if (part > (size_t)64 << 20)
		part = (size_t)64 << 20;
	for (size_t i = 0; team && i < PASSES; i++) {
		size_t at = j->o->policy == KT_COLD ? i * part : 0;
		double flops, seconds = measure_fma(team, &flops);

		j->p->peak = fmax(j->p->peak, flops / seconds);
		if (part)
			j->p->stream = fmax(
			    j->p->stream, (double)part / measure_read(team, memory + at, part));
	}
	measure_team_free(team);
}

/* Filling 1 GiB takes half a second, or four where the host has to find the memory first: a
 * small budget rotates through less, and never less than 64 MiB. */
double tune_cold_bytes(const tune_options *o)
{
	double part = o->budget / 20 < 1 ? o->budget / 20 : 1;
	double bytes = part * LOAD_COLD, least = (double)(64u << 20);

	return o->policy != KT_COLD ? 0 : bytes > least ? bytes : least;
}

static bool search(job *j, char *why, size_t len)
{
	trial_setup setup = { .text = j->p->text,
		              .target = j->o->target,
		              .device = j->o->device,
		              .threads = j->o->threads,
		              .cold = tune_cold_bytes(j->o),
		              .limit = j->o->limit,
		              .deadline = j->p->deadline + grace,
		              .seed = j->o->seed,
		              .hooks = j->o->hooks };
	kt_search_host host = { trial, left, expect, seen, j };
	kt_search_options o = { .effort = j->o->effort,
		                .seed = j->o->seed,
		                .first = j->first,
		                .nfirst = j->nfirst,
		                .known = j->known,
		                .known_ratio = j->known_ratio };
	kt_search_result r;

	j->bench = trial_open(&setup, why, len);
	if (!j->bench)
		return false;
	j->ratio[0] = 1;
	j->p->bytes = trial_load(j->bench)->bytes;
	j->p->flops = trial_load(j->bench)->flops;
	if (!j->o->device) /* what this machine's processors can do says nothing of a device */
		measure_limits(j);
	kt_search_run(&j->space, j->cost, &o, &host, &r);
	if (!r.by_state[KT_IS_ok]) {
		snprintf(why, len, "the default schedule couldn't be measured: %s",
		         j->p->ntrial ? j->p->trial[0].why : "there was no time");
		return false;
	}
	j->p->ended = r.ended;
	confirm(j, r.ended);
	if (!j->o->record || write_record(j))
		return true;
	snprintf(why, len, "the space can't be written to %.300s", j->o->record);
	return false;
}

/* The cheapest that the passes don't refuse: what the model calls illegal is infinite, but only
 * they know about local memory and registers. */
static bool pick_by_model(job *j, char *why, size_t len)
{
	kt_search_options o = { .effort = KT_EFFORT_model };
	trial_setup setup = {
		.text = j->p->text, .target = j->o->target, .device = j->o->device, .threads = 1
	};
	kt_search_result r;
	kir_text parts = { 0 };
	trial_report t;

	j->bench = trial_open(&setup, why, len);
	while (j->bench) {
		kt_search_run(&j->space, j->cost, &o, NULL, &r);
		sched_text(&j->space.at[r.best], j->p->chosen, sizeof j->p->chosen);
		if (!r.best || trial_program(j->bench, j->p->chosen, &t) == KT_IS_ok)
			break;
		j->cost[r.best] = INFINITY;
	}
	if (!j->bench)
		return false;
	kt_model_explain(&j->model, &j->space.at[r.best], &parts);
	snprintf(j->p->model, sizeof j->p->model, "%s", parts.text ? parts.text : "");
	free(parts.text);
	j->p->ratio = (kt_ratio){ 0, 0, 0, KT_PAIRED, 0 };
	store_winner(j, KT_BY_model, NULL);
	return true;
}

bool tune_one(const tune_options *o, const char *text, tune_place *out, char *why, size_t len)
{
	job j = { .o = o, .p = out, .run = 1 };
	bool ok;

	memset(out, 0, sizeof *out);
	out->text = text;
	out->started = measure_now();
	out->deadline = out->started + o->budget;
	j.stop = out->deadline;
	out->where.threads = o->threads;
	out->where.policy = o->policy;
	ok = read_problem(&j, text, why, len);
	if (ok) {
		out->where.bucket =
		    kt_bucket_of(j.problem.batch, j.problem.ctx, j.problem.qlen);
		ok = ask_library(&j, why, len) && make_space(&j, why, len);
	}
	if (ok) {
		recall_trials(&j);
		out->done_before = recall_schedules(&j);
		if (!out->done_before)
			ok = o->effort == KT_EFFORT_model ? pick_by_model(&j, why, len)
			                                  : search(&j, why, len);
	}
	trial_close(j.bench);
	kt_space_free(&j.space);
	free(j.cost);
	free(j.program);
	free(j.ratio);
	free(j.right);
	free(j.known);
	free(j.known_ratio);
	kir_module_free(j.m);
	return ok;
}

void tune_release(tune_place *p)
{
	for (unsigned i = 0; i < p->ntrial; i++)
		kt_trial_free(&p->trial[i]);
	free(p->trial);
	free(p->problem);
	p->trial = NULL;
	p->problem = NULL;
	p->ntrial = 0;
}
