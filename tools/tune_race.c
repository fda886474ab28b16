/* SPDX-License-Identifier: Apache-2.0 */
/* tune_race.c -- see tune_race.h. */
#include "tune_race.h"

#include <math.h>
#include <stdio.h>

static bool was_measured(const trial_report *r)
{
	return r->state == KT_IS_ok || r->state == KT_IS_slow;
}

void race_once(trial_bench *b, const char *candidate, const char *incumbent,
               const kt_rule *rule, double stop, const trial_known *known, trial_report *out)
{
	trial_race_new(b, candidate, incumbent, rule, stop - measure_now(), known, out);
	for (int i = 0;
	     i < 3 && out->state == KT_IS_ok && (out->steal > 0.05 || out->migrations) &&
	     stop - measure_now() > 2 * out->seconds;
	     i++)
		trial_race(b, candidate, incumbent, rule, stop - measure_now(), out);
}

void race_fairly(trial_bench *b, const char *candidate, const char *incumbent,
                 const kt_rule *rule, double stop, const trial_known *known, trial_report *out)
{
	kt_races races = { 0 };
	kt_verdict verdict;
	trial_report more;

	race_once(b, candidate, incumbent, rule, stop, known, out);
	if (!was_measured(out))
		return;
	kt_races_add(&races, &out->pairs);
	while ((verdict = kt_races_decide(&races, rule, &out->ratio)) == KT_MORE &&
	       stop > measure_now()) {
		(races.n % 2 ? trial_race_again : trial_race)(b, candidate, incumbent, rule,
		                                              stop - measure_now(), &more);
		more.seconds += out->seconds;
		if (more.state == KT_IS_failed) /* no time */
			break;
		if (!was_measured(&more)) {
			*out = more;
			return;
		}
		kt_races_add(&races, &more.pairs);
		out->seconds = more.seconds;
	}
	out->pairs = races.all;
	out->state = verdict == KT_WORSE ? KT_IS_slow : KT_IS_ok;
	if (verdict == KT_MORE) /* too few witnesses make nobody the incumbent */
		out->ratio.hi = fmax(out->ratio.hi, 1);
}

void race_finals(trial_bench *b, const char *fallback, race_finalist *e, unsigned n,
                 unsigned from, unsigned to, double deadline)
{
	const kt_rule rule = { 0.01, 10, RACE_FINAL_PAIRS };
	double longest = 0, left;
	trial_report r;

	for (unsigned round = from; round < to; round++)
		for (unsigned i = 0; i < n; i++) {
			left = deadline - measure_now();
			/* half of one still has pairs enough */
			if (e[i].out || left <= (round < RACE_FINALS ? 1 : 0.5) * longest)
				continue;
			(round % 2 ? trial_race : trial_race_again)(b, e[i].sched, fallback,
			                                            &rule, left, &r);
			longest = fmax(longest, r.seconds);
			if (was_measured(&r) && r.pairs.n >= rule.least)
				kt_races_add(&e[i].races, &r.pairs);
			else
				e[i].out = !was_measured(&r) && r.state != KT_IS_failed;
		}
}
