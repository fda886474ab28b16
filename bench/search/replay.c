/* SPDX-License-Identifier: Apache-2.0 */
/* replay.c -- the tuner's search on a recorded space, without a clock or a kernel.
 *
 *     kvjit-replay [--model] [--noise N] FILE [TRIALS [SEED [DRAW]]]
 *
 * FILE is what `kvjit tune --effort exhaustive --record FILE` wrote. A trial's outcome is the
 * recorded one, so that every search sees the same numbers. Prints one JSON line: the sizes,
 * the best there is, what the model's cheapest and the search's best cost beside it, and the
 * candidates in the order they were tried. TRIALS: 5 % of the space when left out or 0; SEED
 * as in kvjit tune; as in the tuner, twins of what was tried and what a pass refuses aren't
 * counted. With --noise what a process says is off by N (lognormal, another for each DRAW), and
 * the finalists are raced once more, as the tuner does it: "pick" is what comes out. So many
 * tunes can be held beside each other (repeat.py replay) in seconds.
 */
#include "../../tune/model.h"
#include "../../tune/search.h"
#include "../../tools/random.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct row {
	unsigned candidate, same_as;
	kt_state state;
	double ratio, model;
	kir_sched sched;
} row;

typedef struct replay {
	kt_space s;
	row *row; /* by candidate */
	double *cost;
	unsigned *order, norder;
	char problem[4000], target[40]; /* of the first line */
	int threads;
	bool cold, noisy;
	double noise, *seen; /* of a process; what it said of each candidate / the default */
	uint64_t random;
} replay;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "kvjit-replay: %s: %s\n", what, why);
	exit(1);
}

/* -- reading ------------------------------------------------------------------------------- */

static double number(const cJSON *line, const char *name, double without)
{
	const cJSON *x = cJSON_GetObjectItemCaseSensitive(line, name);

	return cJSON_IsNumber(x) ? x->valuedouble : without;
}

static const char *word(const cJSON *line, const char *name)
{
	const cJSON *x = cJSON_GetObjectItemCaseSensitive(line, name);

	return cJSON_IsString(x) ? x->valuestring : "";
}

static void read_knobs(const cJSON *head, kt_space *s)
{
	const cJSON *knob, *value;

	cJSON_ArrayForEach(knob, cJSON_GetObjectItemCaseSensitive(head, "knobs"))
	{
		unsigned k = 0, n = 0;

		while (k < kir_nknobs && strcmp(kir_knobs[k].name, knob->string) != 0)
			k++;
		if (k == kir_nknobs)
			die(knob->string, "no knob is called that");
		if (s->nknob == 32)
			die(knob->string, "more knobs than a space holds");
		cJSON_ArrayForEach(value, knob)
		{
			if (n == 16)
				die(knob->string, "more values than a knob has in a space");
			s->value[s->nknob][n++] = value->valueint;
		}
		s->nvalue[s->nknob] = n;
		s->knob[s->nknob++] = k;
	}
}

/* --model: what tune/model.c says today, of the problem and the target that were recorded. */
static void ask_model(replay *x, const char *file)
{
	const kir_target *t = kir_target_find(x->target);
	kir_module *m = kir_module_new();
	kir_problem p;
	kir_diag d = { 0 };
	kt_model_of of = { NULL, &p, t, x->threads, x->cold };

	if (!t || !kir_problem_parse(m, x->problem, strlen(x->problem), &p, &d))
		die(file, "its problem or target is none");
	of.f = kir_problem_expand(m, &p, t, &d);
	if (!of.f)
		die(file, "its problem can't be expanded");
	for (unsigned i = 0; i < x->s.n; i++)
		x->row[i].model = x->cost[i] = kt_model_time(&of, &x->s.at[i]);
	kir_module_free(m);
}

static row read_row(const char *file, const cJSON *line)
{
	double candidate = number(line, "candidate", -1);
	row r = { .state = KT_NSTATE,
		  .ratio = number(line, "ratio", 0),
		  .model = number(line, "model", INFINITY) };
	double same_as = number(line, "same_as", -1);
	bool named[kir_nknobs];
	kir_diag d = { 0 };

	for (unsigned i = 0; i < KT_NSTATE; i++)
		if (!strcmp(kt_state_names[i], word(line, "state")))
			r.state = (kt_state)i;
	if (candidate < 0 || r.state == KT_NSTATE)
		die(file, "a line has no candidate, or no state that is one");
	if (r.state == KT_IS_same && same_as < 0)
		die(file, "a line doesn't say whose program it has (same_as); an older kvjit "
		          "wrote it");
	r.candidate = (unsigned)candidate;
	r.same_as = same_as < 0 ? r.candidate : (unsigned)same_as;
	r.sched = kir_sched_default();
	if (!kir_sched_parse(&r.sched, named, word(line, "sched"), &d))
		die(file, "a line's sched is none");
	return r;
}

static int by_candidate(const void *a, const void *b)
{
	const row *x = a, *y = b;

	return (x->candidate > y->candidate) - (x->candidate < y->candidate);
}

/* Position of a candidate: they are numbered anew, as a record may lack some. */
static unsigned position(const replay *x, unsigned candidate)
{
	row key = { .candidate = candidate };
	const row *r = bsearch(&key, x->row, x->s.n, sizeof(*x->row), by_candidate);

	if (!r)
		die("same_as", "names a candidate that isn't in the file");
	return (unsigned)(r - x->row);
}

static void finish(replay *x, const char *file)
{
	kt_space *s = &x->s;

	if (!s->n)
		die(file, "holds no candidates");
	qsort(x->row, s->n, sizeof(*x->row), by_candidate);
	if (x->row[0].candidate || x->row[0].state != KT_IS_ok)
		die(file, "the default, candidate 0, isn't there or wasn't measured");
	s->at = calloc(s->n, sizeof(*s->at));
	x->cost = calloc(s->n, sizeof(*x->cost));
	x->order = calloc(s->n, sizeof(*x->order));
	if (!s->at || !x->cost || !x->order)
		die(file, "out of memory");
	for (unsigned i = 0; i < s->n; i++) {
		row *r = &x->row[i];

		s->at[i] = r->sched;
		x->cost[i] = r->model;
		r->same_as = position(x, r->same_as);
	}
	for (unsigned i = 0; i < s->n; i++)
		if (x->row[i].state == KT_IS_same)
			x->row[i].ratio = x->row[x->row[i].same_as].ratio;
}

static void read_file(replay *x, const char *file)
{
	static char line[20000];
	FILE *f = fopen(file, "r");
	bool head = true;

	if (!f)
		die(file, "can't be read");
	while (fgets(line, sizeof(line), f)) {
		cJSON *j = cJSON_Parse(line);

		if (!j)
			die(file, "a line isn't JSON");
		if (head) {
			read_knobs(j, &x->s);
			snprintf(x->problem, sizeof(x->problem), "%s", word(j, "problem"));
			snprintf(x->target, sizeof(x->target), "%s", word(j, "target"));
			x->threads = (int)number(j, "threads", 1);
			x->cold = !strcmp(word(j, "policy"), "cold");
		} else {
			x->row = realloc(x->row, (x->s.n + 1) * sizeof(*x->row));
			if (!x->row)
				die(file, "out of memory");
			x->row[x->s.n++] = read_row(file, j);
		}
		head = false;
		cJSON_Delete(j);
	}
	fclose(f);
	finish(x, file);
}

/* -- noise --------------------------------------------------------------------------------- */

static double uniform(replay *x)
{
	return ((double)(random_bits(&x->random) >> 11) + 0.5) * 0x1p-53;
}

/* What a process adds to a ratio. */
static double off(replay *x)
{
	double u = uniform(x);

	return exp(x->noise * sqrt(-2 * log(u)) * cos(6.283185307179586 * uniform(x)));
}

/* A ratio as so many processes say it; their pairs say nothing more. */
static kt_ratio said_by(replay *x, double ratio, unsigned processes)
{
	kt_races all = { 0 };
	kt_pairs one = { .n = 12 };

	for (unsigned i = 0; i < one.n; i++)
		one.b[i] = 1;
	for (unsigned p = 0; p < processes; p++) {
		one.a[0] = ratio * off(x);
		for (unsigned i = 1; i < one.n; i++)
			one.a[i] = one.a[0];
		kt_races_add(&all, &one);
	}
	return kt_races_ratio(&all, processes > KT_WITNESSES ? 0.95 : 0.998);
}

/* -- replaying ----------------------------------------------------------------------------- */

static bool is_measured(const row *r)
{
	return r->ratio > 0 && (r->state == KT_IS_ok || r->state == KT_IS_slow);
}

/* The program a candidate has: of twins the one that was recorded. */
static unsigned program(const replay *x, unsigned c)
{
	return x->row[c].state == KT_IS_same ? x->row[c].same_as : c;
}

static bool was_tried(const replay *x, unsigned c, unsigned *twin)
{
	for (unsigned i = 0; i < x->norder; i++)
		if (program(x, x->order[i]) == program(x, c)) {
			*twin = x->order[i];
			return true;
		}
	return false;
}

static void trial(unsigned c, unsigned incumbent, const kt_rule *rule, kt_outcome *out,
                  void *ctx)
{
	replay *x = ctx;
	const row *r = &x->row[program(x, c)];
	unsigned twin;

	if (was_tried(x, c, &twin)) {
		out->state = KT_IS_same;
		out->same_as = twin;
	} else if (is_measured(r)) {
		double ratio = r->ratio / x->row[program(x, incumbent)].ratio;

		out->ratio = (kt_ratio){ ratio, ratio, ratio, KT_PAIRED, 160 };
		if (x->noisy && c != incumbent) {
			out->ratio = said_by(x, ratio, 1);
			if (out->ratio.ratio < 1 - rule->tie)
				out->ratio = said_by(x, ratio, KT_WITNESSES);
			x->seen[c] = out->ratio.ratio * (incumbent ? x->seen[incumbent] : 1);
		}
		out->state = out->ratio.ratio > 1 ? KT_IS_slow : KT_IS_ok;
	} else {
		out->state = r->state;
	}
	x->order[x->norder++] = c;
}

static double time_of(const replay *x, unsigned c)
{
	const row *r = &x->row[program(x, c)];

	return is_measured(r) ? r->ratio : x->row[0].ratio; /* else the default is taken */
}

/* The finalists once more, and one of them by rule; with its interval. */
static unsigned final_pick(replay *x, kt_ratio *said)
{
	enum { FINALISTS = 4, PROCESSES = 4 };
	unsigned at[1 + FINALISTS] = { 0 }, n, k;
	kt_ratio ratio[1 + FINALISTS] = { { 1, 1, 1, KT_PAIRED, 0 } };

	n = kt_search_finalists(x->seen, x->s.n, 0.01, at + 1, FINALISTS);
	for (unsigned i = 1; i <= n; i++) /* by number */
		for (k = i; k > 1 && at[k - 1] > at[k]; k--) {
			unsigned swap = at[k];

			at[k] = at[k - 1];
			at[k - 1] = swap;
		}
	for (unsigned i = 1; i <= n; i++)
		ratio[i] =
		    said_by(x, x->row[program(x, at[i])].ratio / x->row[0].ratio, PROCESSES);
	k = kt_search_pick(ratio, n + 1, 0.01);
	*said = ratio[k];
	return program(x, at[k]);
}

/* The fastest of the model's first `most` programs: what is left to racing a handful. */
static double first_of_model(const replay *x, unsigned most)
{
	unsigned at[8], n = 0;
	double fastest = INFINITY;

	while (n < most) {
		int next = -1;

		for (unsigned i = 0; i < x->s.n; i++) {
			bool taken = !is_measured(&x->row[program(x, i)]);

			for (unsigned k = 0; k < n; k++)
				taken |= at[k] == program(x, i);
			if (!taken && (next < 0 || x->cost[i] < x->cost[next]))
				next = (int)i;
		}
		if (next < 0)
			break;
		at[n++] = program(x, (unsigned)next);
		fastest = fmin(fastest, time_of(x, (unsigned)next));
	}
	return fastest;
}

static void print(replay *x, const char *file, unsigned trials, const kt_search_result *r,
                  unsigned model)
{
	double best = INFINITY;
	unsigned distinct = 0;

	for (unsigned i = 0; i < x->s.n; i++) {
		if (!is_measured(&x->row[i]))
			continue;
		distinct++;
		best = x->row[i].ratio < best ? x->row[i].ratio : best;
	}
	printf("{\"file\":\"%s\",\"candidates\":%u,\"programs\":%u,\"trials\":%u,\"best\":%.6g,"
	       "\"default\":%.6g,\"model\":%.6g,\"model8\":%.6g,\"search\":%.6g,\"order\":[",
	       file, x->s.n, distinct, trials, best, x->row[0].ratio / best,
	       time_of(x, model) / best, first_of_model(x, 8) / best,
	       time_of(x, r->best) / best);
	for (unsigned i = 0; i < x->norder; i++)
		printf("%s%u", i ? "," : "", x->row[x->order[i]].candidate);
	printf("]");
	if (x->noisy) {
		kt_ratio said;
		unsigned pick = final_pick(x, &said);

		printf(",\"pick\":%u,\"ratio\":%.6g,\"lo\":%.6g,\"hi\":%.6g",
		       x->row[pick].candidate, said.ratio, said.lo, said.hi);
	}
	printf("}\n");
}

/* As the tuner: the cheapest of those that no pass refuses. */
static unsigned model_pick(replay *x)
{
	kt_search_options o = { .effort = KT_EFFORT_model };
	kt_search_result r;

	for (;;) {
		kt_search_run(&x->s, x->cost, &o, NULL, &r);
		if (!r.best || x->row[r.best].state != KT_IS_illegal)
			break;
		x->cost[r.best] = INFINITY;
	}
	for (unsigned i = 0; i < x->s.n; i++)
		x->cost[i] = x->row[i].model;
	return r.best;
}

int main(int argc, char **argv)
{
	replay x = { 0 };
	kt_search_options o = { .effort = KT_EFFORT_full };
	kt_search_host host = { .trial = trial, .ctx = &x };
	kt_search_result r;
	unsigned model;
	bool anew;

	anew = argc > 1 && !strcmp(argv[1], "--model");
	argc -= anew;
	argv += anew;
	if (argc > 2 && !strcmp(argv[1], "--noise")) {
		x.noisy = true;
		x.noise = strtod(argv[2], NULL);
		argc -= 2;
		argv += 2;
	}
	if (argc < 2 || argc > 5 || !(x.noise >= 0 && x.noise < 1)) {
		fprintf(stderr, "kvjit-replay [--model] [--noise N, from 0 to below 1] FILE "
		                "[TRIALS [SEED [DRAW]]]\n");
		return 2;
	}
	read_file(&x, argv[1]);
	if (anew)
		ask_model(&x, argv[1]);
	model = model_pick(&x);
	o.seed = argc >= 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
	o.max_trials = argc >= 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	if (!o.max_trials)
		o.max_trials = x.s.n < 40 ? 2 : (x.s.n + 10) / 20;
	x.random = argc == 5 ? strtoull(argv[4], NULL, 10) : 0;
	x.seen = calloc(x.s.n, sizeof(*x.seen));
	if (!x.seen)
		die(argv[1], "out of memory");
	kt_search_run(&x.s, x.cost, &o, &host, &r);
	print(&x, argv[1], o.max_trials, &r, model);
	kt_space_free(&x.s);
	free(x.row);
	free(x.cost);
	free(x.order);
	free(x.seen);
	return 0;
}
