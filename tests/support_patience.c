/* SPDX-License-Identifier: Apache-2.0 */
/* support_patience.c -- see support_patience.h. */
#include "support_patience.h"
#include "../tools/tune_trial.h"

#include <stdio.h>

enum { TIMES = 4 }; /* work on a shared machine comes in bursts */

static double longest_honest_trial(const char *problem)
{
	static const kt_rule rule = { 0.01, 3, 10 };
	const trial_setup s = { .text = problem, .threads = 1 };
	double longest = 0;
	trial_report r;
	char why[400];
	trial_bench *b = trial_open(&s, why, sizeof why);

	if (!b)
		return 0; /* the test will say so itself */
	for (int i = 0; i < 2; i++) {
		trial_race(b, "", "", &rule, s.limit, &r);
		longest = r.seconds > longest ? r.seconds : longest;
		trial_check(b, "", 60, &r);
		longest = r.seconds > longest ? r.seconds : longest;
	}
	trial_close(b);
	return longest;
}

double support_patience(const char *problem, double least)
{
	static double longest = -1;
	double limit;

	if (longest < 0) {
		longest = longest_honest_trial(problem);
		printf("an honest trial takes %.2f s here\n", longest);
	}
	limit = TIMES * longest;
	return limit > least ? limit : least;
}
