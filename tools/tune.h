/* SPDX-License-Identifier: Apache-2.0 */
/* tune.h -- kvjit tune: what its files share.
 *
 *     tune.c        the command line, the list, shards, what is printed
 *     tune_check.c  whether what was found still holds
 *     tune_from.c   a record of calls in place of a list
 *     tune_place.c  one problem: space, search, what is stored
 *     tune_race.c   races in several processes
 *     tune_trial.c  one trial, in a process of its own
 *     tune_device.c what is asked of a device before that
 */
#ifndef KVJIT_TOOL_TUNE_H
#define KVJIT_TOOL_TUNE_H

#include "report.h"
#include "tune_trial.h"
#include "../tune/store.h"

struct tune_place;

typedef struct tune_options {
	kt_store *store;
	const char *target;
	bool device; /* a device of this machine is the target: tune_device says so */
	int threads;
	double budget; /* seconds a problem */
	kt_effort effort;
	kt_policy policy;
	bool aa;                  /* every candidate is the default: what differs is noise */
	unsigned seed;            /* of the order among equals and of the data of checks */
	bool again;               /* what was tuned before, too */
	const char *record;       /* file for the complete space, NULL: none */
	const trial_hooks *hooks; /* of tests; NULL: none */
	double limit;             /* seconds of a trial; 0: the usual */
	/* progress: after each trial; best: time of the incumbent / the default's */
	void (*seen)(const struct tune_place *p, const kt_trial *t, double best, void *ctx);
	void *ctx;
} tune_options;

/* What came of a problem. */
typedef struct tune_place {
	const char *text;
	char *problem; /* canonical, on one line, with its own formats */
	kt_where where;
	char machine[700], target[40];
	char fallback[400], chosen[400]; /* schedules: the default, the winner */
	char model[300];                 /* what the model says of its pick; else empty */
	double default_seconds, bytes, flops, stream, peak;
	kt_ratio ratio;
	kt_trial *trial;
	unsigned ntrial, ncandidate;
	kt_end ended;
	bool nothing;     /* varies; tune_one failed for that reason */
	bool done_before; /* found in the store, nothing was measured */
	kt_reason kept;   /* none; else why the store didn't take the choice */
	double started, deadline;
} tune_place;

/* What a context says: its keys of a problem, a schedule (or, of a device, its name), or why
 * not. */
typedef struct tune_answer {
	kvjit_keys keys;
	char sched[400], why[600];
} tune_answer;

/* Calls fn in a process of its own; false: that ended badly. */
bool tune_in_child(void (*fn)(void *ctx, tune_answer *out), void *ctx, tune_answer *out);
/* Whether this machine has a device that runs t's programs. It is asked in a process of its
 * own: the one that tunes forks and so mustn't open it. */
bool tune_device(const kir_target *t);
/* Keys and the default schedule of a problem, from the library that would compile it. */
void tune_ask(const tune_options *o, const char *text, tune_answer *out);
/* Bytes that cold calls rotate through; 0: warm. */
double tune_cold_bytes(const tune_options *o);
/* Races what o's store has of this machine once more; an exit code of tool.h. */
int tune_check(const tune_options *o, bool json);
/* Tunes one problem. False and a sentence in why when it can't be tuned. Release either way. */
bool tune_one(const tune_options *o, const char *text, tune_place *out, char *why, size_t len);
void tune_release(tune_place *p);

#endif
