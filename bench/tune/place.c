/* SPDX-License-Identifier: Apache-2.0 */
/* place.c -- races of two schedules in one process, each in a child: what repeat.py places asks
 * again and again, to see how far ratios of one process lie from those of another.
 *
 *     kvjit-bench-place RACES PAIRS PROBLEM SCHEDULE SCHEDULE
 *
 * One JSON line: the ratio of each race, and its interval's ends.
 */
#include "../../tools/tune_trial.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	trial_setup setup = { .threads = 1 };
	kt_rule rule = { 0.01, 0, 0 };
	trial_bench *b;
	char why[400];
	int n;

	if (argc != 6 || (n = atoi(argv[1])) < 1 || (rule.most = (unsigned)atoi(argv[2])) < 1 ||
	    rule.most > KT_MAX_PAIRS) {
		fprintf(stderr, "kvjit-bench-place RACES PAIRS PROBLEM SCHEDULE SCHEDULE\n");
		return 2;
	}
	rule.least = rule.most;
	setup.text = argv[3];
	b = trial_open(&setup, why, sizeof why);
	if (!b) {
		fprintf(stderr, "kvjit-bench-place: %s\n", why);
		return 1;
	}
	for (int i = 0; i < n; i++) {
		trial_report r;

		trial_race(b, argv[4], argv[5], &rule, 60, &r);
		if (r.state != KT_IS_ok && r.state != KT_IS_slow) {
			fprintf(stderr, "kvjit-bench-place: %s\n", r.why);
			return 1;
		}
		r.ratio = kt_ratio_of(&r.pairs, 0.95);
		printf("%s[%.5f,%.5f,%.5f]", i ? "," : "[", r.ratio.ratio, r.ratio.lo,
		       r.ratio.hi);
	}
	printf("]\n");
	trial_close(b);
	return 0;
}
