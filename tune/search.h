/* SPDX-License-Identifier: Apache-2.0 */
/* search.h -- which candidate to try next, and when to stop: no clock, no process, no file of
 * its own, so that the same code runs on a machine and on a recorded space.
 *
 * The default is tried first and stays the incumbent until a candidate is better beyond the
 * interval. Next comes what is predicted fastest: the model's time, corrected by an effect of
 * each knob's value that is fitted to all trials so far, with a bonus for values that were
 * seldom tried, so that a model that is wrong can't trap it. A candidate is
 * raced against the incumbent in rungs of pairs and dropped as soon as it is worse beyond the
 * interval. Equal within the interval: the incumbent stays (ties go to the default, then to
 * the lower index).
 */
#ifndef KVJIT_TUNE_SEARCH_H
#define KVJIT_TUNE_SEARCH_H

#include "record.h"
#include "space.h"
#include "stats.h"

typedef enum kt_effort {
	KT_EFFORT_model,
	KT_EFFORT_quick,
	KT_EFFORT_full,
	KT_EFFORT_exhaustive
} kt_effort;
extern const char *const kt_effort_names[4];

/* What a trial brings. */
typedef struct kt_outcome {
	kt_state state;
	kt_pairs pairs;   /* a: the candidate, b: the incumbent; all taken so far */
	kt_ratio ratio;   /* from pairs */
	unsigned same_as; /* KT_IS_same: which candidate */
} kt_outcome;

typedef struct kt_search_host {
	/* Races candidate against incumbent by the rule and stores the trial. When they are the
	 * same candidate (the default's first run): measures it alone. */
	void (*trial)(unsigned candidate, unsigned incumbent, const kt_rule *rule,
	              kt_outcome *out, void *ctx);
	double (*left)(void *ctx); /* seconds of the budget that are left; < 0: stop */
	/* expected seconds of the next trial, so that none is begun that can't end in time */
	double (*expect)(void *ctx);
	/* after each trial: progress */
	void (*seen)(unsigned candidate, const kt_outcome *o, unsigned incumbent, void *ctx);
	void *ctx;
} kt_search_host;

typedef struct kt_search_options {
	kt_effort effort;
	unsigned max_trials;   /* 0: by effort                                      */
	const unsigned *first; /* candidates to try right after the default: schedules from
	                        * another machine or an earlier codegen; NULL: none    */
	unsigned nfirst;
	const kt_state *known; /* outcome of each candidate known from an earlier run that was
	                        * cut short, KT_NSTATE: none; NULL: none              */
	const double *known_ratio; /* time / the default's of those that are ok or slow    */
	double tie;                /* 0: 0.01 */
	unsigned seed; /* in which order candidates come that are predicted alike, within 1 in
	                * 1,000; 0: in that of their numbers */
} kt_search_options;

/* What ended a search. */
typedef enum kt_end {
	KT_END_budget, /* there was no time for another trial             */
	KT_END_effort, /* as many trials as the effort takes              */
	KT_END_space,  /* there is no candidate that wasn't tried         */
	KT_END_slow    /* the last 32 were slower by more than a quarter  */
} kt_end;
extern const char *const kt_end_names[4];

typedef struct kt_search_result {
	unsigned best;            /* candidate; 0, the default, unless something beat it  */
	kt_ratio against_default; /* of best, over all it was raced against; 1: the default */
	unsigned trials, by_state[KT_NSTATE];
	kt_end ended;
} kt_search_result;

/* Who meets the default once more: of n candidates the fastest by ratio (0: not measured), at
 * most `most`, those within 2 tie of the fastest that are faster than the default by half a
 * tie; what one trial says of them is no more precise. The fastest first. */
unsigned kt_search_finalists(const double *ratio, unsigned n, double tie, unsigned *at,
                             unsigned most);

/* Which of n finalists is taken, by rule, so that two tunes of one machine say the same: the
 * default (0) unless the fastest is faster by more than tie and beyond its interval; else, of
 * all that are so and whose interval holds the fastest's ratio, the first. at[0] isn't read: it
 * is the default. */
unsigned kt_search_pick(const kt_ratio *at, unsigned n, double tie);

/* cost: the model's time of each candidate. */
void kt_search_run(const kt_space *s, const double *cost, const kt_search_options *o,
                   const kt_search_host *h, kt_search_result *out);

#endif
