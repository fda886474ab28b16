/* SPDX-License-Identifier: Apache-2.0 */
/* tune_race.h -- races in several processes (tune/stats.h says why).
 */
#ifndef KVJIT_TOOL_TUNE_RACE_H
#define KVJIT_TOOL_TUNE_RACE_H

#include "tune_trial.h"

/* known: as trial_race_new. */

/* One process; up to three more times if others took time from it or the system moved it. */
void race_once(trial_bench *b, const char *candidate, const char *incumbent,
               const kt_rule *rule, double stop, const trial_known *known, trial_report *out);
/* In more processes too, code in each other's place in every second one, as long as
 * kt_races_decide asks for it. pairs and ratio are of all. */
void race_fairly(trial_bench *b, const char *candidate, const char *incumbent,
                 const kt_rule *rule, double stop, const trial_known *known, trial_report *out);

/* One that may be taken in the end. */
typedef struct race_finalist {
	unsigned candidate;
	char sched[400];
	kt_races races; /* against the default */
	bool out;       /* it ended otherwise than by a verdict or the clock */
} race_finalist;

/* Each against the default on pairs that chose nobody, a process each by turns: rounds `from`
 * to `to` less one, as long as the deadline hasn't come. RACE_FINALS are what a claim needs;
 * up to KT_MAX_RACES narrow its interval. */
enum { RACE_FINALS = 4, RACE_FINAL_PAIRS = 64 };
void race_finals(trial_bench *b, const char *fallback, race_finalist *e, unsigned n,
                 unsigned from, unsigned to, double deadline);

#endif
