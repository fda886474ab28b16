/* SPDX-License-Identifier: Apache-2.0 */
/* model_gemm.h -- what a block-scaled product costs. Like model.h, it orders schedules and
 * decides nothing.
 */
#ifndef KVJIT_TUNE_MODEL_GEMM_H
#define KVJIT_TUNE_MODEL_GEMM_H

#include "model.h"

typedef struct kt_gemm_of {
	double rows, cols, depth; /* of the call: from the problem's hints */
	double step;              /* of the contraction that both scales hold for */
	int64_t block;            /* columns that share scales; 0: none */
	kir_elem elem[2];         /* of rows, weights */
	double bits;              /* of a stored weight */
} kt_gemm_of;

typedef struct kt_gemm_parts {
	double memory, decode, product, sums; /* seconds of a core, for all of the call */
	double balance;                       /* the busiest core's share over the mean */
} kt_gemm_parts;

/* Whether the program is a product. */
bool kt_gemm_look(const kt_model_of *m, kt_gemm_of *z);
/* Seconds a call; *p: what they are made of. INFINITY for what is known to be illegal. */
double kt_gemm_time(const kt_model_of *m, const kt_gemm_of *z, const kir_sched *s,
                    kt_gemm_parts *p);

#endif
