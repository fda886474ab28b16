/* SPDX-License-Identifier: Apache-2.0 */
/* problem_priv.h -- what problem.c, problem_expand.c and expr.c share and nobody else. */
#ifndef KVJIT_PROBLEM_PRIV_H
#define KVJIT_PROBLEM_PRIV_H

#include "problem.h"

#define EXPR_MAX_NAMES (5 + KIR_MAX_WITH)
#define EXPR_MAX_RANK  3

/* Names whose ops are only there where an expression uses them: the query's row among all new
 * tokens, the places of query and key among those of their sequence, the tokens before. */
typedef enum expr_lazy { EXPR_row, EXPR_nq, EXPR_nk, EXPR_past, EXPR_NLAZY } expr_lazy;
extern const char *const expr_lazy_names[EXPR_NLAZY];

/* What an infix expression may speak of, and where its ops go. */
typedef struct expr_env {
	kir_func *f;
	unsigned nname;
	struct {
		const char *name;
		kir_ref ref;    /* a scalar, or a buffer that is indexed                  */
		unsigned *rank; /* of one whose indices are counted: how many, 0 so far   */
		bool bits;
	} name[EXPR_MAX_NAMES];
	kir_ref (*lazy)(void *ctx, expr_lazy which);
	void *ctx;
	const char *field; /* score or mask, for messages                             */
	int line, col;     /* of the expression's first character                     */
	kir_diag *d;
} expr_env;

/* Appends the ops of an expression and returns its value: f32 or i1, as `want` says. 0 and
 * messages with columns if it is wrong; what was appended by then is of no use. */
kir_ref expr_build(const expr_env *env, const char *text, kir_elem want);
/* Whether an expression may use the name for something of its own. */
bool expr_reserved(const char *name);

/* A problem on its way to a level-A function. */
typedef struct expansion {
	kir_module *m;
	const kir_problem *p;
	kir_func *f;
	kir_diag *d;
	bool failed;
	const kir_format *rule; /* sides as problem has them                              */
	kir_layout layout[2];   /* of K's format, of V's, if they are two                 */
	kir_ref tensor[2][KIR_MAX_TENSORS];
	kir_ref operand[KIR_MAX_SRC]; /* of the op, in its row's order                    */
	kir_op op;
	const char *prefix;     /* of names of tensors and streams: "" or "from_"          */
	const char *suffix;     /* of names of what is this cache's: "" or "2"             */
	kir_ref before, beside; /* lengths s32[?] of the caches before, and of the other one */
	kir_ref alibi, causal, with[KIR_MAX_WITH];
} expansion;

/* A parameter; one that is the op's operand of the same name; one that is a scalar. */
kir_ref problem_param(expansion *x, const char *name, kir_type_id type, kir_dir dir);
kir_ref problem_operand(expansion *x, const char *name, kir_type_id type, kir_dir dir);
kir_ref problem_scalar(expansion *x, const char *name, kir_elem e);
/* A buffer whose outer `ndyn` axes have run-time strides, the rest being contiguous. */
kir_type_id problem_strided(expansion *x, kir_elem e, unsigned ndyn, unsigned rank,
                            const int64_t *dim);
void problem_refuse(expansion *x, const char *why);
/* The cache of x->p: its rule and where its streams lie; its tensors as parameters; the streams
 * in them as views that are operands of their names. */
bool problem_layouts(expansion *x);
void problem_tensors(expansion *x, kir_dir dir);
void problem_views(expansion *x);
/* A declared format's number in the module. */
int64_t problem_format(const expansion *x, const kir_format *f);

/* problem_region.c: attention's score and mask, behind the op */
void problem_score(expansion *x);
void problem_mask(expansion *x);
/* problem_gemm.c */
void problem_gemm(expansion *x);
void problem_pack(expansion *x);
/* problem_transcode.c */
void problem_transcode(expansion *x);

#endif
