/* SPDX-License-Identifier: Apache-2.0 */
/* tune_check.c -- kvjit tune --check: does what was found still hold?
 *
 * Each schedule that was measured on this machine meets the default again, in as many processes
 * as the last races of a tune. Two things are compared with its record. Its gain: where the two
 * intervals have nothing in common, the choice is out of date. Its time: where the gain is as
 * it was and the calls take longer, the machine has changed (frequency, memory, other load),
 * and tuning anew doesn't change that.
 */
#include "measured.h"
#include "tool.h"
#include "tune.h"
#include "tune_race.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>

static const double longer = 1.2; /* what counts as a slower machine */
static const double tie = 1.01;   /* closer is a tie, as for the tuner */

typedef enum finding { HOLDS, MACHINE, RETUNE, UNKNOWN } finding;
static const char *const finding_names[] = { "holds", "machine", "retune", "unknown" };

/* -- one ------------------------------------------------------------------------------------
 */

typedef struct check {
	finding found;
	kt_ratio now;
	double times; /* of its recorded time */
	char why[600];
} check;

static finding find(const kt_schedule *k, const kt_ratio *now, const kt_spread *s)
{
	if (now->lo > tie || now->lo > k->ratio_hi * tie || now->hi * tie < k->ratio_lo)
		return RETUNE;
	return s->lo > longer * k->hi ? MACHINE : HOLDS;
}

static void say(const kt_schedule *k, check *c, double default_times)
{
	const char *what;

	if (c->now.lo > tie)
		what = "the default is faster now: tune with --again";
	else if (c->found == RETUNE && c->now.ratio > k->ratio)
		what = "it gains less than it did: tune with --again";
	else if (c->found == RETUNE)
		what = "it gains more than it did: others may, too; tune with --again";
	else if (c->found == MACHINE && default_times > longer)
		what = "so does the default: frequency, memory or other load; tuning doesn't "
		       "change that";
	else if (c->found == MACHINE)
		what = "the gain is as it was";
	else
		what = "as it was";
	snprintf(c->why, sizeof c->why, "%s%s", what,
	         c->found == RETUNE && k->codegen != KT_CODEGEN
	             ? " (it was measured with another code generator)"
	             : "");
}

static void race(const tune_options *o, const kt_schedule *k, const char *fallback, check *c)
{
	static race_finalist f;
	trial_setup setup = { .text = k->problem,
		              .target = k->target,
		              .threads = o->threads,
		              .cold = tune_cold_bytes(o),
		              .seed = o->seed };
	double deadline = measure_now() + o->budget;
	trial_bench *b = trial_open(&setup, c->why, sizeof c->why);
	kt_spread mine, other;

	if (!b)
		return;
	memset(&f, 0, sizeof f);
	snprintf(f.sched, sizeof f.sched, "%s", k->sched);
	race_finals(b, fallback, &f, 1, 0, RACE_FINALS, deadline);
	trial_close(b);
	if (f.out || f.races.n < 2) {
		snprintf(c->why, sizeof c->why, "%s",
		         f.out ? "its schedule can't be run any more: tune with --again"
		               : "there was no time: give more with --budget");
		c->found = f.out ? RETUNE : UNKNOWN;
		return;
	}
	c->now = kt_races_ratio(&f.races, 0.95);
	mine = kt_spread_of(f.races.all.a, f.races.all.n);
	other = kt_spread_of(f.races.all.b, f.races.all.n);
	c->times = mine.median / k->median;
	c->found = find(k, &c->now, &mine);
	say(k, c, other.median * k->ratio / k->median);
}

/* False: it is another machine's, or a device's. */
static bool check_one(tune_options *o, const kt_schedule *k, check *c)
{
	const kir_target *t = kir_target_find(k->target);
	tune_answer a = { 0 };
	kt_key machine;

	*c = (check){ .found = UNKNOWN };
	if (!t || t->lanes)
		return false;
	o->target = k->target;
	o->threads = k->where.threads;
	o->policy = k->where.policy;
	tune_ask(o, k->problem, &a);
	if (!kt_key_parse(a.keys.machine, &machine) ||
	    memcmp(&machine, &k->where.machine, sizeof machine) != 0)
		return false;
	if (!*a.sched)
		snprintf(c->why, sizeof c->why, "%s", a.why);
	else
		race(o, k, a.sched, c);
	return true;
}

/* -- what is told -----------------------------------------------------------------------------
 */

static void tell_json(const kt_schedule *k, const check *c)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddStringToObject(o, "event", "check");
	cJSON_AddStringToObject(o, "problem", k->problem);
	cJSON_AddStringToObject(o, "target", k->target);
	cJSON_AddNumberToObject(o, "threads", k->where.threads);
	cJSON_AddStringToObject(o, "policy", kt_policy_names[k->where.policy]);
	cJSON_AddStringToObject(o, "finding", finding_names[c->found]);
	cJSON_AddStringToObject(o, "why", c->why);
	cJSON_AddNumberToObject(o, "was", k->ratio);
	cJSON_AddNumberToObject(o, "was_lo", k->ratio_lo);
	cJSON_AddNumberToObject(o, "was_hi", k->ratio_hi);
	cJSON_AddNumberToObject(o, "ratio", c->now.ratio);
	cJSON_AddNumberToObject(o, "lo", c->now.lo);
	cJSON_AddNumberToObject(o, "hi", isfinite(c->now.hi) ? c->now.hi : 0);
	cJSON_AddNumberToObject(o, "times", c->times);
	tool_print_json(o);
}

static void tell_text(const kt_schedule *k, const check *c)
{
	printf("%s  [%s, %d thread%s, %s]\n  ", k->problem, k->target, k->where.threads,
	       k->where.threads == 1 ? "" : "s", kt_policy_names[k->where.policy]);
	if (c->now.n)
		printf("%.3f of the default's time (%.3f to %.3f), was %.3f (%.3f to %.3f); "
		       "%.2f of its own time then: ",
		       c->now.ratio, c->now.lo, c->now.hi, k->ratio, k->ratio_lo, k->ratio_hi,
		       c->times);
	printf("%s\n", c->why);
}

int tune_check(const tune_options *options, bool json)
{
	unsigned count[4] = { 0 }, elsewhere = 0;
	tune_options o = *options;
	measured l;
	int code = measured_read(o.store, &l) ? TOOL_OK : TOOL_FAILED;

	for (unsigned i = 0; code == TOOL_OK && i < l.n; i++) {
		check c;

		if (!check_one(&o, &l.at[i], &c)) {
			elsewhere++;
			continue;
		}
		count[c.found]++;
		(json ? tell_json : tell_text)(&l.at[i], &c);
	}
	if (code == TOOL_OK && !json)
		printf(
		    "%u schedules: %u hold, %u on a slower machine, %u to be tuned again, %u "
		    "not known; %u of other machines or devices\n",
		    l.n, count[HOLDS], count[MACHINE], count[RETUNE], count[UNKNOWN],
		    elsewhere);
	if (count[MACHINE] || count[RETUNE] || count[UNKNOWN])
		code = TOOL_FAILED;
	measured_free(&l);
	return code;
}
