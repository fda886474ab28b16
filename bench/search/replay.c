/* SPDX-License-Identifier: Apache-2.0 */
/* replay.c -- the tuner's search on a recorded space, without a clock or a kernel.
 *
 *     kvjit-replay [--model] FILE [TRIALS [SEED]]
 *
 * FILE is what `kvjit tune --effort exhaustive --record FILE` wrote. A trial's outcome is the
 * recorded one, so that every search sees the same numbers. Prints one JSON line: the sizes,
 * the best there is, what the model's cheapest and the search's best cost beside it, and the
 * candidates in the order they were tried. TRIALS: 5 % of the space when left out or 0; SEED
 * as in kvjit tune; as in
 * the tuner, twins of what was tried and what a pass refuses aren't counted.
 */
#include "../../tune/model.h"
#include "../../tune/search.h"

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
	bool cold;
} replay;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "kvjit-replay: %s: %s\n", what, why);
	exit(1);
}

/* -- reading ---------------------------------------------------------------------------------
 */

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
	bool named[32];
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

/* -- replaying -------------------------------------------------------------------------------
 */

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

	(void)rule;
	if (was_tried(x, c, &twin)) {
		out->state = KT_IS_same;
		out->same_as = twin;
	} else if (is_measured(r)) {
		double ratio = r->ratio / x->row[program(x, incumbent)].ratio;

		out->ratio = (kt_ratio){ ratio, ratio, ratio, KT_PAIRED, 160 };
		out->state = ratio > 1 ? KT_IS_slow : KT_IS_ok;
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

static void print(const replay *x, const char *file, unsigned trials, const kt_search_result *r,
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
	       "\"default\":%.6g,\"model\":%.6g,\"search\":%.6g,\"order\":[",
	       file, x->s.n, distinct, trials, best, x->row[0].ratio / best,
	       time_of(x, model) / best, time_of(x, r->best) / best);
	for (unsigned i = 0; i < x->norder; i++)
		printf("%s%u", i ? "," : "", x->row[x->order[i]].candidate);
	printf("]}\n");
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
	if (argc < 2 || argc > 4) {
		fprintf(stderr, "kvjit-replay [--model] FILE [TRIALS [SEED]]\n");
		return 2;
	}
	read_file(&x, argv[1]);
	if (anew)
		ask_model(&x, argv[1]);
	model = model_pick(&x);
	o.seed = argc == 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
	o.max_trials = argc >= 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	if (!o.max_trials)
		o.max_trials = x.s.n < 40 ? 2 : (x.s.n + 10) / 20;
	kt_search_run(&x.s, x.cost, &o, &host, &r);
	print(&x, argv[1], o.max_trials, &r, model);
	kt_space_free(&x.s);
	free(x.row);
	free(x.cost);
	free(x.order);
	return 0;
}
