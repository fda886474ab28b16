/* SPDX-License-Identifier: Apache-2.0 */
/* stats.h -- from samples to a decision.
 *
 * What tuning.md measured: means are useless on a shared machine; for calls of some ten
 * microseconds a paired ratio in ABBA order is best, for calls of a millisecond, which are
 * often preempted, the interleaved minimum. So samples are always taken interleaved, and the
 * estimator follows from the length of a call and the preemption that was seen.
 */
#ifndef KVJIT_TUNE_STATS_H
#define KVJIT_TUNE_STATS_H

#include <stdbool.h>
#include <stdint.h>

/* Order statistics of n samples (which are sorted): median, smallest, and the two between
 * which the true median lies in 95 of 100 runs. */
typedef struct kt_spread {
	double median, min, lo, hi;
} kt_spread;
kt_spread kt_spread_of(double *samples, unsigned n);

enum { KT_MAX_PAIRS = 512 };

/* Times of a and b, taken as a b b a a b b a ... : pair i is a[i], b[i]. Seconds a call. */
typedef struct kt_pairs {
	unsigned n;
	double a[KT_MAX_PAIRS], b[KT_MAX_PAIRS];
} kt_pairs;

typedef enum kt_estimator { KT_PAIRED, KT_MINIMUM } kt_estimator;

/* Time of a / time of b, with an interval that holds the truth in `level` of 100 runs. */
typedef struct kt_ratio {
	double ratio, lo, hi;
	kt_estimator by;
	unsigned n;
} kt_ratio;
kt_ratio kt_ratio_of(const kt_pairs *p, double level);

/* Sequential: whether enough pairs were taken to say that a is slower than b (worse), faster by
 * more than `tie` (better), or not so much faster that it would matter (equal: no claim which
 * is faster). more: go on. */
typedef enum kt_verdict { KT_MORE, KT_BETTER, KT_EQUAL, KT_WORSE } kt_verdict;
typedef struct kt_rule {
	double tie;           /* 0.01: closer than 1 % is a tie           */
	unsigned least, most; /* pairs                              */
} kt_rule;
kt_verdict kt_decide(const kt_pairs *p, const kt_rule *r, kt_ratio *out);

/* Races of the same two in several processes. Where code and data lie differs from one process
 * to the next and moves a ratio by more than a process's own pairs can know, so the process is
 * a level of the measurement. */
enum { KT_MAX_RACES = 8 };
typedef struct kt_races {
	unsigned n;
	double ratio[KT_MAX_RACES]; /* of each, from its own pairs              */
	kt_pairs all;               /* of all, as many as there is room for       */
} kt_races;
void kt_races_add(kt_races *r, const kt_pairs *p);
/* The median of the processes' ratios. The interval holds that of all pairs, at the level, and
 * what processes differ by: of one process what they differed by elsewhere, of two both ratios,
 * of more the t-interval of 95 % over their logarithms. */
kt_ratio kt_races_ratio(const kt_races *r, double level);
/* more: as long as it looks faster by more than the tie, surely or not, in fewer than three
 * processes: of three, one that was disturbed isn't the median. Better is what they say
 * together, worse what is beyond what processes differ by. */
enum { KT_WITNESSES = 3 };
kt_verdict kt_races_decide(const kt_races *r, const kt_rule *rule, kt_ratio *out);

#endif
