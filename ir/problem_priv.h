/* SPDX-License-Identifier: Apache-2.0 */
/* problem_priv.h -- what problem.c, problem_expand.c and expr.c share and nobody else. */
#ifndef KVJIT_PROBLEM_PRIV_H
#define KVJIT_PROBLEM_PRIV_H

#include "problem.h"

#define EXPR_MAX_NAMES (5 + KIR_MAX_WITH)

/* What an infix expression may speak of, and where its ops go. */
typedef struct expr_env {
	kir_func *f;
	unsigned nname;
	struct {
		const char *name;
		kir_ref ref; /* a scalar, or a buffer of rank 1 that is indexed           */
	} name[EXPR_MAX_NAMES];
	const char *field; /* score or mask, for messages                             */
	int line, col;     /* of the expression's first character                     */
	kir_diag *d;
} expr_env;

/* Appends the ops of an expression and returns its value: f32 or i1, as `want` says. 0 and
 * messages with columns if it is wrong; what was appended by then is of no use. */
kir_ref expr_build(const expr_env *env, const char *text, kir_elem want);
/* Whether an expression may use the name for something of its own. */
bool expr_reserved(const char *name);

#endif
