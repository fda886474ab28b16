/* SPDX-License-Identifier: Apache-2.0 */
/* cache_gains.c -- kvjit cache gains: what tuning gave, problem by problem.
 *
 * A row is a schedule that was measured beside the default. Times are those of the last races,
 * in which both were called in turn: the default's is the tuned one's over their ratio. Only
 * the ratio has an interval that holds for both.
 */
#include "cache.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct gain {
	kt_where where;
	char *problem, *sched, *target;
	char *fallback; /* the default's schedule, of its trial; "": no trial is there */
	double tuned, ratio, lo, hi;
	long long n;
} gain;

typedef struct table {
	gain *at;
	unsigned n;
	bool failed; /* memory is out */
} table;

/* -- collecting ----------------------------------------------------------------------- */

static bool take(const kt_schedule *r, void *ctx)
{
	table *t = ctx;
	gain *more;

	if (r->source != KT_BY_trial || r->ratio <= 0)
		return true;
	more = cache_grow(t->at, t->n, sizeof *t->at);
	if (more) {
		t->at = more;
		t->at[t->n] = (gain){ .where = r->where,
			              .problem = strdup(r->problem),
			              .sched = strdup(r->sched),
			              .target = strdup(r->target),
			              .tuned = r->median,
			              .ratio = r->ratio,
			              .lo = r->ratio_lo,
			              .hi = r->ratio_hi,
			              .n = (long long)r->n };
		t->n++;
	}
	t->failed |= !more || !t->at[t->n - 1].problem || !t->at[t->n - 1].sched ||
	             !t->at[t->n - 1].target;
	return !t->failed;
}

/* The default is the first of a run, and the one trial that is its own measure. */
static char *find_default(kt_store *s, const kt_where *w)
{
	kt_trial *t = NULL;
	unsigned n = kt_trials_of(s, w, &t);
	char *found = NULL;

	for (unsigned i = 0; i < n; i++) {
		if (t[i].state == KT_IS_ok && t[i].ratio == 1 && t[i].ratio_lo == 1 &&
		    t[i].ratio_hi == 1) {
			free(found);
			found = strdup(t[i].sched);
		}
		kt_trial_free(&t[i]);
	}
	free(t);
	return found ? found : strdup("");
}

static int by_problem(const void *a, const void *b)
{
	const gain *x = a, *y = b;
	int c = strcmp(x->problem, y->problem);

	c = c ? c : strcmp(x->target, y->target);
	c = c ? c : x->where.threads - y->where.threads;
	c = c ? c : (int)x->where.policy - (int)y->where.policy;
	c = c ? c : x->where.bucket.batch - y->where.bucket.batch;
	c = c ? c : x->where.bucket.ctx - y->where.bucket.ctx;
	c = c ? c : x->where.bucket.qlen - y->where.bucket.qlen;
	return c ? c : memcmp(&x->where.machine, &y->where.machine, sizeof x->where.machine);
}

static bool is_faster(const gain *g)
{
	return g->hi < 1 && g->ratio < 1;
}

static bool is_slower(const gain *g)
{
	return g->lo > 1;
}

/* -- showing -------------------------------------------------------------------------- */

/* The knobs in which the schedule differs from the default, or all, if that isn't known. */
static void changes(const gain *g, kir_text *out)
{
	const char *a = g->fallback, *b = g->sched;

	if (!*a)
		kir_text_add(out, "%s", b);
	while (*a && *b) {
		size_t n = strcspn(a, " "), m = strcspn(b, " ");

		if (n != m || memcmp(a, b, n) != 0)
			kir_text_add(out, "%s%.*s", out->len ? " " : "", (int)m, b);
		a += n + (a[n] == ' ');
		b += m + (b[m] == ' ');
	}
}

static void print_row(const gain *g)
{
	char bucket[48];
	kir_text knobs = { 0 };

	cache_bucket_text(g->where.bucket, bucket);
	changes(g, &knobs);
	printf("%12.4f %12.4f  %.3f (%.3f to %.3f)  %-12s %3d %s  %-4s  %-12s %s :: %s\n",
	       1e3 * g->tuned / g->ratio, 1e3 * g->tuned, g->ratio, g->lo, g->hi, g->target,
	       g->where.threads, g->where.threads == 1 ? "thread " : "threads",
	       kt_policy_names[g->where.policy], bucket, g->problem,
	       knobs.text ? knobs.text : "the default");
	free(knobs.text);
}

static cJSON *row_json(const gain *g)
{
	cJSON *o = cJSON_CreateObject();
	char bucket[48], hex[KT_HEX];

	cache_bucket_text(g->where.bucket, bucket);
	kt_key_hex(&g->where.machine, hex);
	cJSON_AddStringToObject(o, "problem", g->problem);
	cJSON_AddStringToObject(o, "target", g->target);
	cJSON_AddStringToObject(o, "machine_key", hex);
	cJSON_AddNumberToObject(o, "threads", g->where.threads);
	cJSON_AddStringToObject(o, "policy", kt_policy_names[g->where.policy]);
	cJSON_AddStringToObject(o, "sizes", bucket);
	cJSON_AddStringToObject(o, "default", g->fallback);
	cJSON_AddStringToObject(o, "schedule", g->sched);
	cJSON_AddNumberToObject(o, "default_ms", 1e3 * g->tuned / g->ratio);
	cJSON_AddNumberToObject(o, "tuned_ms", 1e3 * g->tuned);
	cJSON_AddNumberToObject(o, "ratio", g->ratio);
	cJSON_AddNumberToObject(o, "ratio_lo", g->lo);
	cJSON_AddNumberToObject(o, "ratio_hi", g->hi);
	cJSON_AddNumberToObject(o, "pairs", (double)g->n);
	return o;
}

typedef struct total {
	double mean; /* geometric */
	unsigned faster, slower;
} total;

static total sum_up(const table *t)
{
	total x = { 0 };

	for (unsigned i = 0; i < t->n; i++) {
		x.mean += log(t->at[i].ratio) / t->n;
		x.faster += is_faster(&t->at[i]);
		x.slower += is_slower(&t->at[i]);
	}
	x.mean = exp(x.mean);
	return x;
}

static void print_text(const table *t, const total *x)
{
	printf("%12s %12s  tuned / default\n", "default, ms", "tuned, ms");
	for (unsigned i = 0; i < t->n; i++)
		print_row(&t->at[i]);
	printf("%u schedules: %.3f of the default's time in the geometric mean; %u faster "
	       "beyond the interval, %u as fast, %u slower\n",
	       t->n, x->mean, x->faster, t->n - x->faster - x->slower, x->slower);
}

static void print_json(const table *t, const total *x)
{
	cJSON *o = cJSON_CreateObject(), *rows = cJSON_AddArrayToObject(o, "gains");

	for (unsigned i = 0; i < t->n; i++)
		cJSON_AddItemToArray(rows, row_json(&t->at[i]));
	cJSON_AddNumberToObject(o, "geomean", x->mean);
	cJSON_AddNumberToObject(o, "faster", x->faster);
	cJSON_AddNumberToObject(o, "slower", x->slower);
	tool_print_json(o);
}

int cache_gains(args *a, const char *dir)
{
	bool json = args_flag(a, "--json");
	table t = { 0 };
	int status = TOOL_OK;
	kt_store *s;

	if (!args_end(a, 0, 0))
		return TOOL_USAGE;
	s = cache_open(dir, false);
	if (!s)
		return TOOL_FAILED;
	if (!kt_each_schedule(s, take, &t))
		status = cache_fail("%s couldn't be read to its end", kt_store_path(s));
	for (unsigned i = 0; i < t.n; i++) {
		t.at[i].fallback = find_default(s, &t.at[i].where);
		t.failed |= !t.at[i].fallback;
	}
	if (t.failed)
		status = cache_fail("out of memory");
	else if (!t.n && status == TOOL_OK)
		status = cache_fail("%s has no schedule that was measured: run kvjit tune",
		                    kt_store_path(s));
	if (status == TOOL_OK) {
		total x = sum_up(&t);

		qsort(t.at, t.n, sizeof *t.at, by_problem);
		(json ? print_json : print_text)(&t, &x);
		status = x.slower ? TOOL_FAILED : TOOL_OK;
	}
	for (unsigned i = 0; i < t.n; i++) {
		free(t.at[i].problem);
		free(t.at[i].sched);
		free(t.at[i].target);
		free(t.at[i].fallback);
	}
	free(t.at);
	kt_store_close(s);
	return status;
}
