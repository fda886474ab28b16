/* SPDX-License-Identifier: Apache-2.0 */
/* model.h -- what a schedule should cost, from its program alone: bytes, vector operations,
 * working sets against the caches. It orders candidates; it never decides against a
 * measurement.
 */
#ifndef KVJIT_TUNE_MODEL_H
#define KVJIT_TUNE_MODEL_H

#include "../ir/problem.h"

typedef struct kt_model_of {
	const kir_func *f;        /* level A, schedule ignored */
	const kir_problem *p;     /* hints: batch, ctx, qlen; NULL: one decode of 4096 tokens */
	const kir_target *target; /* with this machine's cache sizes */
	int threads;
	bool cold; /* the cache comes from DRAM */
} kt_model_of;

/* Seconds a call; only ratios between schedules of one program mean anything. About a
 * microsecond: no pass is run. INFINITY for what it knows to be illegal. */
double kt_model_time(const kt_model_of *m, const kir_sched *s);
/* The parts of that time as text, which `kvjit tune --effort model` prints. */
void kt_model_explain(const kt_model_of *m, const kir_sched *s, kir_text *out);

#endif
