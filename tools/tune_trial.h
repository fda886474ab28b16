/* SPDX-License-Identifier: Apache-2.0 */
/* tune_trial.h -- one trial of a schedule, in a process of its own.
 *
 * The tuner has one thread and holds the data, the compiler, and the kernels of the default and
 * of the incumbent. A trial is a fork of it: the child compiles its candidate, runs, and leaves
 * what it found in shared memory. A candidate that crashes, hangs, asks for all memory or
 * writes where it mustn't costs that trial and nothing else.
 */
#ifndef KVJIT_TOOL_TUNE_TRIAL_H
#define KVJIT_TOOL_TUNE_TRIAL_H

#include "load/load.h"
#include "../tune/search.h"

/* What tests put in the place of a candidate. In the child. */
typedef struct trial_hooks {
	/* instead of load_call, of the candidate */
	bool (*call)(load *l, void *ctx);
	/* after its results on data of a check, before they are compared */
	void (*results)(attn *a, void *ctx);
	void *ctx;
} trial_hooks;

typedef struct trial_setup {
	const char *text;   /* problem */
	const char *target; /* NULL: the host's */
	bool device;        /* the target is a device of this machine, which only children open:
	                     * what a driver keeps of it doesn't cross a fork */
	int threads;
	double cold;     /* bytes to rotate through, 0: warm */
	double limit;    /* seconds of a trial, 0: 60 */
	double deadline; /* measure_now() at which every trial ends, 0: none */
	size_t memory;   /* bytes that a trial may take, 0: 4 GiB */
	unsigned seed;   /* of the data of checks */
	const trial_hooks *hooks;
} trial_setup;

typedef struct trial_bench trial_bench;

/* What a trial found. */
typedef struct trial_report {
	kt_state state;
	char why[300];
	kt_pairs pairs; /* a: the candidate, b: the incumbent */
	kt_ratio ratio;
	double compile_s, steal;
	int64_t migrations;
	uint8_t program[32]; /* hash of the level-V program */
	unsigned same_as;    /* KT_IS_same: index of the known program */
	double seconds;      /* the whole trial took */
	bool whole;          /* its process went to its end, and didn't leave before */
} trial_report;

/* Fills the data and compiles the default, with the interpreter where the kernels are a
 * device's; NULL and a sentence in why. The calling process must have one thread. */
trial_bench *trial_open(const trial_setup *s, char *why, size_t len);
void trial_close(trial_bench *b);
const load *trial_load(const trial_bench *b);
/* Hash of the level-V program of a schedule, or its state (illegal, failed, crashed). */
kt_state trial_program(trial_bench *b, const char *sched, trial_report *out);
/* Programs that were tried: hashes, zeros where there is none. */
typedef struct trial_known {
	const uint8_t (*program)[32];
	unsigned n;
} trial_known;

/* Races candidate against incumbent (schedules as text) until the rule has its verdict or
 * `seconds` have passed; trial_race_new, unless its program is a known one. */
void trial_race_new(trial_bench *b, const char *candidate, const char *incumbent,
                    const kt_rule *rule, double seconds, const trial_known *known,
                    trial_report *out);
void trial_race(trial_bench *b, const char *candidate, const char *incumbent,
                const kt_rule *rule, double seconds, trial_report *out);
/* The same with code and plans of the two in each other's place: what a kernel gains by where
 * it lies, it loses here. */
void trial_race_again(trial_bench *b, const char *candidate, const char *incumbent,
                      const kt_rule *rule, double seconds, trial_report *out);
/* Whether it gives what the default gives on the full data: the first half of the next. */
void trial_agrees(trial_bench *b, const char *sched, double seconds, trial_report *out);
/* Whether its results are right: beside the default's on the full data, and beside the
 * interpreter's on three data sets of the problem with one KV head. ok, wrong, or how it ended;
 * failed if `seconds` weren't enough. */
void trial_check(trial_bench *b, const char *sched, double seconds, trial_report *out);

#endif
