/* SPDX-License-Identifier: Apache-2.0 */
/* space.h -- the schedules worth trying for a program.
 *
 * Column `tries` of ir/knobs.def, limited by what a program's sizes and target make
 * meaningful: tiles that divide the page, arithmetic no less exact than what `auto` takes,
 * a hint only where something is prefetched. What a pass refuses can't be known here: that is
 * a trial's result. Two schedules that lower to the same program are one candidate: whoever
 * runs the trials sees that (KT_IS_same), so a knob without effect costs no measurement.
 */
#ifndef KVJIT_TUNE_SPACE_H
#define KVJIT_TUNE_SPACE_H

#include "../ir/problem.h"

typedef struct kt_space {
	kir_sched *at; /* at[0] is the default: what kvjit_compile takes untuned */
	unsigned n;
	unsigned nknob; /* knobs that vary, as indices of kir_knobs      */
	unsigned knob[kir_nknobs];
	unsigned nvalue[kir_nknobs]; /* their values                          */
	int value[kir_nknobs][16];
	bool rows;    /* of index lists: knob widen says how they are brought, without blocks */
	bool nothing; /* varies: no mistake of anyone's, but no space either */
} kt_space;

/* f: level-A function whose schedule is the default one, resolved (no kv_tile=0). given: knobs
 * that the user chose; they don't vary. p: its problem (hints), NULL for IR text. False and a
 * message when there is nothing to vary (then `nothing` is set). */
bool kt_space_make(const kir_func *f, const bool *given, const kir_problem *p, kt_space *out,
                   kir_diag *d);
void kt_space_free(kt_space *s);
/* Candidate with this schedule, -1 if it isn't in the space. */
int kt_space_find(const kt_space *s, const kir_sched *x);

#endif
