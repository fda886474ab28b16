/* SPDX-License-Identifier: Apache-2.0 */
/* record.h -- what is remembered: schedules, trials, code, pins.
 *
 * Strings and bytes of a record belong to whoever filled it in: the store's are valid until
 * kt_*_free.
 */
#ifndef KVJIT_TUNE_RECORD_H
#define KVJIT_TUNE_RECORD_H

#include "key.h"

typedef enum kt_policy { KT_COLD, KT_WARM } kt_policy; /* where the cache lay: DRAM, or L2 */
extern const char *const kt_policy_names[2];

/* What a schedule was chosen for. */
typedef struct kt_where {
	kt_key program, machine;
	int threads;
	kt_policy policy;
	kt_bucket bucket;
} kt_where;

/* Who says that a schedule is good. */
typedef enum kt_source {
	KT_BY_trial,    /* measured here                                        */
	KT_BY_model,    /* the model's first pick, not measured                 */
	KT_BY_transfer, /* measured on another machine                          */
	KT_BY_hand      /* imported text without measurements                   */
} kt_source;
extern const char *const kt_source_names[4];

typedef struct kt_schedule {
	kt_where where;
	char *problem; /* formats and problem string, hints included            */
	char *sched;   /* every knob: "kv_tile=64 q_tile=1 ..."                 */
	char *target;  /* "avx512-bf16"                                         */
	char *machine; /* kt_machine_text                                       */
	kt_source source;
	double median, lo, hi;            /* seconds a call; 0: not measured      */
	double ratio, ratio_lo, ratio_hi; /* time / the default's, paired       */
	int64_t n;                        /* pairs                                */
	int64_t when;                     /* seconds since 1970                   */
	int codegen;
} kt_schedule;

/* How a trial ended. */
typedef enum kt_state {
#define STATE(name, doc) KT_IS_##name,
#include "state.def"
	KT_NSTATE
} kt_state;
extern const char *const kt_state_names[KT_NSTATE];

typedef struct kt_trial {
	kt_where where;
	int64_t run, seq;  /* number of the tuning run, of the trial in it        */
	char *sched, *why; /* why: the sentence when it isn't ok                 */
	kt_state state;
	double median, lo, hi, min;       /* seconds a call                      */
	double ratio, ratio_lo, ratio_hi; /* time / the default's                */
	int64_t n;                        /* samples                             */
	double steal;                     /* share of time taken by others       */
	int64_t migrations, when;
	int64_t compile_us;
	int codegen;
} kt_trial;

/* Finished code. */
typedef struct kt_code {
	kt_key key, program, hash; /* hash: of bytes                             */
	char *kind;                /* what bytes are: "x86-64", "spirv", "native" */
	char *backend, *target, *problem, *sched;
	uint64_t isa; /* backends/isa.h: what it executes           */
	uint8_t *bytes;
	size_t size, entry, text;
	char *phases; /* "nwork njoin", "n", "16": bounds of phases */
	int64_t compile_us, uses, last_used;
	int codegen;
} kt_code;

/* A choice that isn't to be made anew. bucket: {KT_ANY, KT_ANY, KT_ANY} for all. */
typedef struct kt_pin {
	kt_key program;
	kt_bucket bucket;
	char *problem, *sched;
} kt_pin;

void kt_schedule_free(kt_schedule *r);                           /* its strings */
bool kt_schedule_copy(const kt_schedule *from, kt_schedule *to); /* false: no memory */
void kt_trial_free(kt_trial *r);
void kt_code_free(kt_code *r);
void kt_pin_free(kt_pin *r);

/* Which of two records for the same place is kept when caches are merged: a total order of
 * their contents (newer code generator, measured before guessed, more samples, later, then
 * bytes), so that merging in any order and any number of times gives the same. > 0: a. */
int kt_schedule_order(const kt_schedule *a, const kt_schedule *b);
int kt_trial_order(const kt_trial *a, const kt_trial *b);
/* Whether kvjit_compile takes x rather than y, of the same size: measured here before guessed,
 * where the cache is cold before where it is warm, then the total order. */
bool kt_schedule_better(const kt_schedule *x, const kt_schedule *y);

#endif
