/* SPDX-License-Identifier: Apache-2.0 */
/* exp2.h -- the table of exp2.def: what op exp2 may be computed by. */
#ifndef KIR_EXP2_H
#define KIR_EXP2_H

enum { KIR_EXP2_MOST = 4 };

typedef struct kir_exp2 {
	int degree;
	double error;                /* relative, at most                 */
	double c[KIR_EXP2_MOST + 1]; /* of 1, r, r^2, ...; 0 beyond degree */
} kir_exp2;

/* NULL: there is none of that degree. */
const kir_exp2 *kir_exp2_of(long long degree);

#endif
