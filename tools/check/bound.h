/* SPDX-License-Identifier: Apache-2.0 */
/* bound.h -- how far an attention kernel may be from exact arithmetic on the same codes. */
#ifndef KVJIT_TOOL_BOUND_H
#define KVJIT_TOOL_BOUND_H

#include "attn.h"

typedef enum bound_arith {
	ARITH_f32,
	ARITH_f16,
	ARITH_bf16,
	ARITH_int8,
	ARITH_int8x2
} bound_arith;

/* What the kernel's two products really compute in, read from its program. */
typedef struct bound_profile {
	bound_arith qk, pv;
	bool asked;  /* knob qk says 8 bits */
	bool engine; /* of a sub-group: weights are rounded as sums with 1024 in f16 */
	int kv_tile;
	double e;      /* relative error of a weight by a short exp2 */
	char name[40]; /* "qk=int8x2 pv=bf16 exp=cubic" */
} bound_profile;

/* backend: whose kernel it is; the interpreter has no arithmetic but double precision. second:
 * of two caches, the products with the second one. */
bool bound_profile_of(const kvjit_kernel *k, const char *backend, bool second,
                      bound_profile *out, char *why, size_t len);

/* What element x of a query row, or of another product's left factor, is rounded by at most;
 * amax: the largest magnitude of the row. */
double bound_query(const bound_profile *p, kir_elem stored, double x, double amax);

enum { BOUND_DIM = 1024 };

/* Extra errors of one query row and head beyond those of f32 (docs/accuracy.md). */
typedef struct bound_terms {
	double sabs;          /* largest sum |scale q k| over keys                       */
	double ds;            /* error of any score from rounding the query: worst case  */
	double dl;            /* of the visible scores, where it is known key by key     */
	double len;           /* keys                                                    */
	double dw[BOUND_DIM]; /* error of an output from rounding to integers            */
} bound_terms;

bound_terms bound_terms_of(const attn *a, const bound_profile *p, int64_t row, int64_t head);
/* Sums of weights times |v| of a row and head; the log-sum-exp of its scores. */
double bound_abs_out(const attn *a, int64_t row, int64_t head, double *out);

/* Full bounds where none is stored. d: which element of the output row; abs_out: sum of weights
 * times |v|; out, lse: the exact results; extra: largest magnitude added to a score after the
 * product (ALiBi), or 0. */
double bound_out(const attn *a, const bound_profile *p, const bound_terms *t, int64_t d,
                 double abs_out, double out, double extra, kir_elem stored);
double bound_lse(const attn *a, const bound_terms *t, double lse, double extra);

/* What a row and head may be off by that is made of two caches (bound_two.c). p: the products
 * with each; extra as above. */
typedef struct bound_two {
	double lse;
	double out[BOUND_DIM];
} bound_two;
bound_two bound_two_of(const attn *a, const bound_profile p[2], int64_t row, int64_t head,
                       const double *out, double lse, kir_elem stored);
/* Largest magnitude that is added to a score: a bias over `keys` positions, or as much as an
 * expression of the user's was given. */
double bound_extra(const attn *a, const bound_terms *t, int64_t head, double keys);

/* Relative error of a weight by its narrowing to floats and by a short exp2, as outputs have
 * it. */
double bound_weight(const bound_profile *p);

/* Unit roundoff of an element that results are stored in. */
double bound_unit(kir_elem e);

#endif
