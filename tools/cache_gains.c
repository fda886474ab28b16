/* SPDX-License-Identifier: Apache-2.0 */
/* cache_gains.c -- kvjit cache gains: what tuning gave, problem by problem.
 *
 * A row is a schedule that was measured beside the default. Times are those of the last races,
 * in which both were called in turn: the default's is the tuned one's over their ratio. Only
 * the ratio has an interval that holds for both.
 */
#include "cache.h"
#include "measured.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct gain {
	const kt_schedule *r;
	char *fallback; /* the default's schedule, of its trial; "": no trial is there */
} gain;

typedef struct table {
	gain *at;
	unsigned n;
} table;

/* -- collecting ----------------------------------------------------------------------- */

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

static bool collect(kt_store *s, const measured *m, table *t)
{
	t->at = calloc(m->n, sizeof *t->at);
	for (; t->at && t->n < m->n; t->n++) {
		gain *g = &t->at[t->n];

		*g = (gain){ &m->at[t->n], find_default(s, &m->at[t->n].where) };
		if (!g->fallback)
			break;
	}
	if (t->n < m->n)
		cache_fail("out of memory");
	return t->n == m->n;
}

static int by_problem(const void *a, const void *b)
{
	const kt_schedule *x = ((const gain *)a)->r, *y = ((const gain *)b)->r;
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
	return g->r->ratio_hi < 1 && g->r->ratio < 1;
}

static bool is_slower(const gain *g)
{
	return g->r->ratio_lo > 1;
}

/* -- showing -------------------------------------------------------------------------- */

/* The knobs in which the schedule differs from the default, or all, if that isn't known. */
static void changes(const gain *g, kir_text *out)
{
	const char *a = g->fallback, *b = g->r->sched;

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
	const kt_schedule *r = g->r;
	kir_text knobs = { 0 };

	cache_bucket_text(r->where.bucket, bucket);
	changes(g, &knobs);
	printf("%12.4f %12.4f  %.3f (%.3f to %.3f)  %-12s %3d %s  %-4s  %-12s %s :: %s\n",
	       1e3 * r->median / r->ratio, 1e3 * r->median, r->ratio, r->ratio_lo, r->ratio_hi,
	       r->target, r->where.threads, r->where.threads == 1 ? "thread " : "threads",
	       kt_policy_names[r->where.policy], bucket, r->problem,
	       knobs.text ? knobs.text : "the default");
	free(knobs.text);
}

static cJSON *row_json(const gain *g)
{
	const kt_schedule *r = g->r;
	cJSON *o = cJSON_CreateObject();
	char bucket[48], hex[KT_HEX];

	cache_bucket_text(r->where.bucket, bucket);
	kt_key_hex(&r->where.machine, hex);
	cJSON_AddStringToObject(o, "problem", r->problem);
	cJSON_AddStringToObject(o, "target", r->target);
	cJSON_AddStringToObject(o, "machine_key", hex);
	cJSON_AddNumberToObject(o, "threads", r->where.threads);
	cJSON_AddStringToObject(o, "policy", kt_policy_names[r->where.policy]);
	cJSON_AddStringToObject(o, "sizes", bucket);
	cJSON_AddStringToObject(o, "default", g->fallback);
	cJSON_AddStringToObject(o, "schedule", r->sched);
	cJSON_AddNumberToObject(o, "default_ms", 1e3 * r->median / r->ratio);
	cJSON_AddNumberToObject(o, "tuned_ms", 1e3 * r->median);
	cJSON_AddNumberToObject(o, "ratio", r->ratio);
	cJSON_AddNumberToObject(o, "ratio_lo", r->ratio_lo);
	cJSON_AddNumberToObject(o, "ratio_hi", r->ratio_hi);
	cJSON_AddNumberToObject(o, "pairs", (double)r->n);
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
		x.mean += log(t->at[i].r->ratio) / t->n;
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
	measured m;
	table t = { 0 };
	int status = TOOL_FAILED;
	kt_store *s;

	if (!args_end(a, 0, 0))
		return TOOL_USAGE;
	s = cache_open(dir, false);
	if (!s)
		return TOOL_FAILED;
	if (measured_read(s, &m) && collect(s, &m, &t)) {
		total x = sum_up(&t);

		qsort(t.at, t.n, sizeof *t.at, by_problem);
		(json ? print_json : print_text)(&t, &x);
		status = x.slower ? TOOL_FAILED : TOOL_OK;
	}
	for (unsigned i = 0; i < t.n; i++)
		free(t.at[i].fallback);
	free(t.at);
	measured_free(&m);
	kt_store_close(s);
	return status;
}
