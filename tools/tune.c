/* SPDX-License-Identifier: Apache-2.0 */
/* tune.c -- kvjit tune: schedules chosen by measuring, for one problem or a list.
 *
 * A list has a problem a line; what begins with # and empty lines are skipped. --shard i/n
 * takes the lines whose number among the problems is i modulo n: the shards of a list cover it
 * once, whoever runs them. Lines without anything to choose are told and passed over, so that
 * one list can be tuned and packed. A record of calls (--from, tune_from.h) is a list whose
 * problems share one budget by their time, dearest first. Everything measured is in the cache
 * when the next trial begins, so that a run may be ended at any time and goes on when it is
 * started again.
 */
#include "gpu.h"
#include "tool.h"
#include "tune.h"
#include "tune_from.h"
#include "tune_static.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>

typedef struct session {
	tune_options o;
	bool json, bar;
	const char *report;
	const char *list, *from_file; /* files: of --list, of --from */
	unsigned shard, shards;       /* of the list */
	from_record from;             /* n: 0 without --from */
	double until;                 /* when its budget is used up */
	char **problem;               /* this shard's */
	unsigned nproblem;
	tune_place *done;
	unsigned ndone, failed;
} session;

/* -- the command line ---------------------------------------------------------------------- */

static bool wrong(args *a, const char *option, const char *takes, const char *got)
{
	fprintf(stderr, "kvjit: option %s takes %s, not '%s'\n", option, takes, got);
	a->wrong = true;
	return false;
}

static kt_effort effort_of(args *a)
{
	const char *s = args_value(a, "--effort");

	for (unsigned i = 0; s && i < 4; i++)
		if (!strcmp(s, kt_effort_names[i]))
			return (kt_effort)i;
	if (s)
		wrong(a, "--effort", "model, quick, full or exhaustive", s);
	return KT_EFFORT_full;
}

static void shard_of(args *a, unsigned *i, unsigned *n)
{
	const char *s = args_value(a, "--shard");
	char rest;

	*i = 0;
	*n = 1;
	if (s && (sscanf(s, "%u/%u%c", i, n, &rest) != 2 || !*n || *n > 1000000 || *i >= *n)) {
		wrong(a, "--shard", "I/N with I from 0 to N - 1", s);
		*i = 0;
		*n = 1;
	}
}

/* Lines with formats before their problem have them on the same line, as kvjit cache export
 * writes them; what stands after :: there is not the tuner's. */
static bool add_line(session *s, const char *line, size_t n)
{
	char **more = realloc(s->problem, (s->nproblem + 1) * sizeof *more);
	char *text = more ? strndup(line, n) : NULL, *sep;

	if (more)
		s->problem = more;
	if (!text)
		return false;
	sep = strstr(text, " :: ");
	if (sep)
		*sep = 0;
	s->problem[s->nproblem++] = text;
	return true;
}

static bool read_list(session *s)
{
	size_t len;
	char *text = tool_read(s->list, &len);
	unsigned at = 0;
	bool ok = text != NULL;

	if (!text)
		fprintf(stderr, "kvjit: there is no list %s, or it can't be read\n", s->list);
	for (const char *p = text; ok && p && *p;) {
		size_t n = strcspn(p, "\n"), blank = strspn(p, " \t\r");

		if (blank < n && p[blank] != '#' && at++ % s->shards == s->shard)
			ok = add_line(s, p + blank, n - blank);
		p += n + (p[n] == '\n');
	}
	free(text);
	return ok;
}

/* -- what is told -------------------------------------------------------------------------- */

static void tell_json(const tune_place *p, const kt_trial *t, double best)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddStringToObject(o, "event", "trial");
	cJSON_AddStringToObject(o, "problem", p->problem);
	cJSON_AddNumberToObject(o, "trial", (double)t->seq);
	cJSON_AddStringToObject(o, "sched", t->sched);
	cJSON_AddStringToObject(o, "state", kt_state_names[t->state]);
	cJSON_AddStringToObject(o, "why", t->why);
	cJSON_AddNumberToObject(o, "median", t->median);
	cJSON_AddNumberToObject(o, "ratio", t->ratio);
	cJSON_AddNumberToObject(o, "best", best);
	cJSON_AddNumberToObject(o, "left", p->deadline - measure_now());
	tool_print_json(o);
}

/* One line that is written over: how far, the best so far, time left. */
static void draw_bar(const session *s, const tune_place *p, double best)
{
	enum { CELLS = 24 };
	double spent = measure_now() - p->started, whole = p->deadline - p->started;
	int full = (int)(CELLS * (spent < whole ? spent / whole : 1));
	char bar[CELLS + 1];

	for (int i = 0; i < CELLS; i++)
		bar[i] = i < full ? '#' : '.';
	bar[CELLS] = 0;
	fprintf(stderr, "\r[%s] %u/%u  trial %u of %u  best %.3f of the default  %.0f s left ",
	        bar, s->ndone + 1, s->nproblem, p->ntrial, p->ncandidate, best,
	        whole > spent ? whole - spent : 0);
}

static void after_trial(const tune_place *p, const kt_trial *t, double best, void *ctx)
{
	const session *s = ctx;

	if (s->json)
		tell_json(p, t, best);
	else if (s->bar)
		draw_bar(s, p, best);
}

static void result_json(const session *s, const tune_place *p)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddStringToObject(o, "event", "result");
	cJSON_AddStringToObject(o, "problem", p->problem);
	cJSON_AddStringToObject(o, "target", p->target);
	cJSON_AddNumberToObject(o, "threads", s->o.threads);
	cJSON_AddStringToObject(o, "policy", kt_policy_names[s->o.policy]);
	cJSON_AddStringToObject(o, "sched", p->chosen);
	cJSON_AddStringToObject(o, "default", p->fallback);
	cJSON_AddNumberToObject(o, "ratio", p->ratio.ratio);
	cJSON_AddNumberToObject(o, "lo", p->ratio.lo);
	cJSON_AddNumberToObject(o, "hi", isfinite(p->ratio.hi) ? p->ratio.hi : 0);
	cJSON_AddNumberToObject(o, "trials", p->ntrial);
	cJSON_AddNumberToObject(o, "candidates", p->ncandidate);
	cJSON_AddBoolToObject(o, "known", p->done_before);
	cJSON_AddStringToObject(o, "ended",
	                        p->done_before || p->model[0] ? "" : kt_end_names[p->ended]);
	cJSON_AddNumberToObject(o, "seconds", measure_now() - p->started);
	tool_print_json(o);
}

/* Only the knobs in which the winner differs from the default. */
static void print_changes(const tune_place *p)
{
	const char *a = p->fallback, *b = p->chosen;

	while (*a && *b) {
		size_t n = strcspn(a, " "), m = strcspn(b, " ");

		if (n != m || memcmp(a, b, n) != 0)
			printf(" %.*s", (int)m, b);
		a += n + (a[n] == ' ');
		b += m + (b[m] == ' ');
	}
}

static void result_text(const session *s, const tune_place *p)
{
	static const char *const ends[4] = {
		"all of the budget",
		"as many trials as the effort takes",
		"no candidate is left",
		"the last 32 were slower by more than a quarter",
	};

	if (s->bar)
		fprintf(stderr, "\r%100s\r", "");
	printf("%s\n  ", p->problem);
	if (p->ratio.ratio <= 0)
		printf("the model's pick, not measured:");
	else if (s->o.aa)
		printf("%.3f of its own time (%.3f to %.3f)", p->ratio.ratio, p->ratio.lo,
		       p->ratio.hi);
	else if (!strcmp(p->fallback, p->chosen))
		printf("the default stays: nothing was faster beyond the interval");
	else
		printf("%.3f of the default's time (%.3f to %.3f):", p->ratio.ratio,
		       p->ratio.lo, p->ratio.hi);
	print_changes(p);
	if (p->done_before)
		printf("  [tuned before; --again measures anew]\n");
	else if (p->model[0])
		printf("  [%u candidates]\n  %s", p->ncandidate, p->model);
	else
		printf("  [%u of %u candidates, %.1f s: %s]\n", p->ntrial, p->ncandidate,
		       measure_now() - p->started, ends[p->ended]);
}

static bool write_report(const session *s)
{
	report_place *r = calloc(s->ndone + 1, sizeof *r);
	char why[300] = "no memory";
	bool ok = r != NULL;

	for (unsigned i = 0; ok && i < s->ndone; i++) {
		const tune_place *p = &s->done[i];

		r[i] = (report_place){ .problem = p->problem,
			               .target = p->target,
			               .machine = p->machine,
			               .threads = s->o.threads,
			               .policy = s->o.policy,
			               .bytes = p->bytes,
			               .flops = p->flops,
			               .stream = p->stream,
			               .peak = p->peak,
			               .fallback = p->fallback,
			               .chosen = p->chosen,
			               .ratio = p->ratio.ratio,
			               .ratio_lo = p->ratio.lo,
			               .ratio_hi = isfinite(p->ratio.hi) ? p->ratio.hi : 0,
			               .default_seconds = p->default_seconds,
			               .trial = p->trial,
			               .ntrial = p->ntrial };
	}
	ok = ok && report_write(s->report, r, s->ndone, why, sizeof why);
	if (!ok)
		fprintf(stderr, "kvjit: %s\n", why);
	free(r);
	return ok;
}

/* -- running ------------------------------------------------------------------------------- */

/* Problem i's part of the budget that a record has as a whole. False: nothing is left. */
static bool share_budget(session *s, unsigned i)
{
	double left = s->until - measure_now();

	if (!s->from.n)
		return true;
	s->o.budget = from_share(&s->from, i, left);
	if (left > 0.1)
		return true;
	fprintf(stderr, "kvjit: %s: not tuned, the budget is used up\n", s->problem[i]);
	return false;
}

static void take_gain(from_line *l, const tune_place *p)
{
	l->tuned = true;
	if (p->ratio.ratio <= 0 || !isfinite(p->ratio.hi) || !strcmp(p->fallback, p->chosen))
		return;
	l->ratio = p->ratio.ratio;
	l->lo = p->ratio.lo;
	l->hi = p->ratio.hi;
}

static void run(session *s)
{
	s->done = calloc(s->nproblem + 1, sizeof *s->done);
	for (unsigned i = 0; s->done && i < s->nproblem; i++) {
		tune_place *p = &s->done[s->ndone];
		char why[600];

		if (!share_budget(s, i))
			continue;
		if (!tune_one(&s->o, s->problem[i], p, why, sizeof why)) {
			bool passed_over = p->nothing && (s->list || s->from_file);

			fprintf(stderr, "%skvjit: %s: %s%s\n", s->bar ? "\n" : "",
			        s->problem[i], why, passed_over ? "; passed over" : "");
			s->failed += !passed_over;
			tune_release(p);
			continue;
		}
		if (s->json)
			result_json(s, p);
		else
			result_text(s, p);
		if (p->kept != KT_WHY_none) {
			fprintf(stderr, "kvjit: %s: the choice isn't kept: cache %s %s\n",
			        s->problem[i], kt_store_path(s->o.store),
			        kt_reasons[p->kept].sentence);
			s->failed++;
		}
		if (s->from.n)
			take_gain(&s->from.at[i], p);
		s->ndone++;
	}
	if (s->from.n)
		from_print(&s->from, s->json);
}

static void log_line(const char *line, void *ctx)
{
	(void)ctx;
	fputs(line, stderr);
}

static kt_store *open_store(const char *dir)
{
	char folder[4000];
	kt_reason why = dir ? (snprintf(folder, sizeof folder, "%s", dir), KT_WHY_none)
	                    : kt_user_folder(getenv("KVJIT_CACHE_DIR"), folder, sizeof folder);
	kt_store *s;

	if (why == KT_WHY_none && !strcmp(folder, "off"))
		why = KT_WHY_off;
	s = why == KT_WHY_none
	        ? kt_store_open(&(kt_store_options){ folder, KT_USER, 0, { log_line, NULL } })
	        : NULL;
	if (s && kt_store_writable(s))
		return s;
	fprintf(stderr, "kvjit: the cache that results go to %s; name one with --cache DIR\n",
	        kt_reasons[s ? kt_store_state(s) : why].sentence);
	kt_store_close(s);
	return NULL;
}

/* A fleet with pins has made its choices. */
static bool may_tune(void)
{
	const char *pins = getenv("KVJIT_PINS");

	if (!pins || !*pins)
		return true;
	fprintf(stderr,
	        "kvjit: schedules are pinned by %s (KVJIT_PINS); nothing is tuned under pins\n",
	        pins);
	return false;
}

/* Place and policy of each are its record's. */
static int check_known(args *a, const char *dir)
{
	tune_options o = { .budget = args_seconds(a, "--budget", 0.1, 5),
		           .seed = (unsigned)args_number(a, "--seed", 0, 1000000, 0) };
	bool json = args_flag(a, "--json");
	int code = TOOL_FAILED;

	if (!args_end(a, 0, 0))
		return TOOL_USAGE;
	o.store = open_store(dir);
	if (o.store)
		code = tune_check(&o, json);
	kt_store_close(o.store);
	return code;
}

static bool take_record(session *s)
{
	bool ok = from_read(s->from_file, &s->from);

	for (unsigned i = 0; ok && i < s->from.n; i++)
		ok = add_line(s, s->from.at[i].problem, strlen(s->from.at[i].problem));
	return ok;
}

/* What the options say, each by itself. */
static void read_options(args *a, session *s)
{
	s->list = args_value(a, "--list");
	s->from_file = args_value(a, "--from");
	shard_of(a, &s->shard, &s->shards);
	s->o.budget = args_seconds(a, "--budget", 0.1, s->from_file ? 300 : 30);
	s->o.effort = effort_of(a);
	s->o.target = args_value(a, "--target");
	s->o.threads = (int)args_number(a, "--threads", 1, 1024, 1);
	s->o.again = args_flag(a, "--again");
	s->o.seed = (unsigned)args_number(a, "--seed", 0, 1000000, 0);
	s->o.record = args_value(a, "--record");
	s->o.seen = after_trial;
	s->o.ctx = s;
	s->o.aa = args_flag(a, "--aa");
	s->json = args_flag(a, "--json");
	s->bar = !s->json && isatty(STDERR_FILENO);
	s->report = args_value(a, "--report");
	if (s->o.target && !kir_target_find(s->o.target))
		wrong(a, "--target", "a row that `kvjit info` lists", s->o.target);
}

/* Options that exclude or need another. */
static void check_options(args *a, session *s, bool cache)
{
	bool warm = args_flag(a, "--warm"), cold = args_flag(a, "--cold");
	const char *why = NULL;

	s->o.policy = warm ? KT_WARM : KT_COLD;
	if (warm && cold)
		why = "options --warm and --cold exclude each other";
	else if (s->o.aa && (cache || s->o.record || s->o.effort == KT_EFFORT_model))
		why = "option --aa keeps nothing and measures; it excludes --cache, --record "
		      "and --effort model";
	else if (s->from_file && (s->list || s->o.aa))
		why = "option --from has the problems and keeps what is found; it excludes "
		      "--list and --aa";
	else if (!s->list && s->shards > 1)
		why = "option --shard divides a list; name one with --list";
	if (!why)
		return;
	fprintf(stderr, "kvjit: %s\n", why);
	a->wrong = true;
}

/* Tunes the problems of the list or record, or the one that `text` is. */
static int tune_all(session *s, const char *text, const char *dir)
{
	int code = TOOL_FAILED;
	bool ok;

	s->until = measure_now() + s->o.budget;
	ok = s->list        ? read_list(s)
	     : s->from_file ? take_record(s)
	                    : text && add_line(s, text, strlen(text));
	s->o.store = ok && !s->o.aa ? open_store(dir) : NULL;
	if (ok && (s->o.aa || s->o.store)) {
		run(s);
		code = s->failed ? TOOL_FAILED : TOOL_OK;
		if (s->report && !write_report(s))
			code = TOOL_FAILED;
	}
	for (unsigned i = 0; i < s->ndone; i++)
		tune_release(&s->done[i]);
	for (unsigned i = 0; i < s->nproblem; i++)
		free(s->problem[i]);
	free(s->problem);
	from_free(&s->from);
	free(s->done);
	kt_store_close(s->o.store);
	return code;
}

static int tune(args *a, const char *dir)
{
	session s = { 0 };
	const kir_target *gpu;
	bool many;
	int code;

	read_options(a, &s);
	check_options(a, &s, dir != NULL);
	many = s.list || s.from_file;
	if (!args_end(a, many ? 0 : 1, many ? 0 : 1 << 20))
		return TOOL_USAGE;
	if (!may_tune())
		return TOOL_FAILED;
	char *text = many ? NULL : tool_program(a);

	gpu = gpu_target(s.o.target, text ? text : "");
	s.o.device = gpu && tune_device(gpu);
	if (s.o.device)
		s.o.target = gpu->name;
	/* with a GPU's code and no GPU nothing can be measured: its code is counted */
	code = gpu && text && !s.o.device ? tune_static(gpu, text, s.o.budget)
	                                  : tune_all(&s, text, dir);
	free(text);
	return code;
}

int tool_tune(args *a)
{
	const char *dir = args_value(a, "--cache");

	/* who started us may have it ignored: how a trial ended would be lost with its process
	 */
	signal(SIGCHLD, SIG_DFL);
	return args_flag(a, "--check") ? check_known(a, dir) : tune(a, dir);
}
