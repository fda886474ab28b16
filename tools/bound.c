/* SPDX-License-Identifier: Apache-2.0 */
/* bound.c -- error bounds derived from the arithmetic a kernel uses.
 *
 * First order, with u32 = 2^-24 and u16 = 2^-8 (bf16), gamma = (D + 4) u32, S keys:
 *
 *   score   |ds| <= (gamma + 4 u32) sum|scale q k| + dq
 *   output  |do| <= (expm1(2 ds) + u_p + (S + 8) u32 + 2^-19) (1 + u_p) sum w|v| + dw
 *                   + u_out |o|
 *   lse     |dl| <= 2 (D + 8) u32 sum|scale q k| + dq + (S + 16) u32 + 4 u32 |lse|
 *
 * u_p = u16 where weights are rounded to bf16 (pv=bf16), else 0. dq and dw are what integer
 * arithmetic adds; the products themselves are exact then.
 *
 * dq, qk=int8: a query row is n * a / L, n integer, a its largest magnitude; L = 127 in one
 * digit, 32512 in two. Rounding moves each element by at most a / 2L, so score j by
 *     scale ks_j a / 2L * sum_d |code_jd|.
 * qk=bf16 with a query that isn't exact in bf16 moves an element by 2^-9 of itself:
 * dq = 2^-9 sum|scale q k|.
 *
 * dw, pv=int8: weights times the V scale, of one row and tile of T keys, are n * m / L with m
 * their largest; L = 255 in one digit, 65535 in two. Each moves by at most m / 2L, so an output
 * by m / 2L * sum over the tile of |code|. A tile's largest is at most the tile's sum, and
 * over all tiles w_j vs_j sums to at most the largest vs, since weights sum to 1:
 *     dw <= T / 2L * max_j vs_j * max_j |code_j|.
 *
 * u32 terms of the query's scaling (two multiplications) are in the 4 u32 of the score.
 */
#include "bound.h"

#include "../passes/passes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define U32 0x1p-24
#define U16 0x1p-8

static const char *const arith_names[] = { "f32", "bf16", "int8", "int8x2" };

double bound_unit(kir_elem e)
{
	return e == KIR_bf16 ? U16 : e == KIR_f16 ? 0x1p-11 : U32;
}

/* -- which arithmetic -------------------------------------------------------------------- */

/* Pass arith stacks the digits of both halves as rows of one product, so two digits show as
 * twice the rows of the scores (or of the output tile) they become. */
static bound_arith dot_arith(const kir_func *f, kir_ref n, int64_t rows)
{
	const kir_type *x = kir_type_of(f, kir_src(f, n, 0));
	if (x->elem == KIR_bf16)
		return ARITH_bf16;
	if (x->elem == KIR_s8 || x->elem == KIR_u8)
		return x->dim[0] >= 2 * rows ? ARITH_int8x2 : ARITH_int8;
	return ARITH_f32;
}

/* Rows of a tile before its products were split into digits: those of the output's carry. */
static void scan(const kir_func *f, bound_profile *out)
{
	int64_t rows = 1 << 30;
	for (kir_ref n = 1; n < f->nnode; n++)
		if (f->node[n].op == KIR_OP_exp2 && kir_type_of(f, n)->rank == 2)
			rows = kir_type_of(f, n)->dim[0];
	for (kir_ref n = 1; n < f->nnode; n++) {
		if (f->node[n].op != KIR_OP_dot)
			continue;
		bool qk = kir_attr_of(f, n, KIR_ATTR_trans) != 0;
		bound_arith a = dot_arith(f, n, rows);
		bound_arith *at = qk ? &out->qk : &out->pv;
		*at = a > *at ? a : *at;
		if (!qk)
			out->kv_tile = (int)kir_type_of(f, kir_src(f, n, 0))->dim[1];
	}
}

bool bound_profile_of(const kvjit_kernel *k, const char *backend, bound_profile *out, char *why,
                      size_t len)
{
	*out = (bound_profile){ ARITH_f32, ARITH_f32, 0, "qk=f32 pv=f32" };
	if (strcmp(backend, "ref") == 0)
		return true;
	char *text = kvjit_kernel_text(k, "ir");
	kir_diag d = { 0 };
	kir_module *m = text ? kir_parse(text, strlen(text), &d) : NULL;
	kpass_options o = { .list = "expand,fold_scales,arith" };
	kir_func *f = m && m->nfunc ? kpass_run(m->func[m->nfunc - 1], &o, &d) : NULL;
	if (f)
		scan(f, out);
	else
		kir_diag_text(&d, why, len);
	snprintf(out->name, sizeof out->name, "qk=%s pv=%s", arith_names[out->qk],
	         arith_names[out->pv]);
	kir_module_free(m);
	free(text);
	return f != NULL;
}

/* -- terms ------------------------------------------------------------------------------- */

static int digits(bound_arith a, int one, int two)
{
	return a == ARITH_int8 ? one : two;
}

static double bound_scalar(const attn *a, const char *name)
{
	const bind_arg *b = bind_find((bind *)&a->b, name);
	return b ? b->f : 1;
}

/* The query's largest element, and whether all are exact in bf16. */
static double query_amax(const double *q, int64_t dim, bool *exact)
{
	double most = 0;
	*exact = true;
	for (int64_t d = 0; d < dim; d++) {
		most = fmax(most, fabs(q[d]));
		*exact &= kir_decode(KIR_bf16, kir_encode(KIR_bf16, q[d], 0, 0, 0)) == q[d];
	}
	return most;
}

/* Sums over one key: |q k| and |code|, the latter times the stored scale. */
static void key_sums(const attn *a, const double *q, int64_t page, int64_t h, int64_t t,
                     double *qk, double *codes)
{
	*qk = *codes = 0;
	for (int64_t d = 0; d < a->shape.dim_k; d++) {
		double k = fabs(attn_value(a, KIR_S_k, page, h, t, d)) *
		           attn_scale(a, 0, page, h, t, d);
		*qk += fabs(q[d]) * k;
		*codes += k;
	}
}

bound_terms bound_terms_of(const attn *a, const bound_profile *p, int64_t row, int64_t head)
{
	bind *b = (bind *)&a->b;
	int64_t seq = attn_seq(a, row), h = head / (a->p.heads / a->p.kv_heads);
	int32_t len = ((const int32_t *)bind_find(b, "lens")->data)[seq];
	const int32_t *table = bind_find(b, "table")->data;
	double q[1024], factor = fabs(bound_scalar(a, "scale") * attn_given(a, "kd", seq, h) *
	                              attn_given(a, "qd", seq, h));
	double most_codes = 0, most_vs = 0;
	bool exact;
	bound_terms t = { .len = len };

	for (int64_t d = 0; d < a->shape.dim_k; d++)
		q[d] = elem_get(a->p.q, bind_find(b, "q")->data,
		                (row * a->p.heads + head) * a->shape.dim_k + d);
	double amax = query_amax(q, a->shape.dim_k, &exact);
	for (int64_t j = 0; j < len; j++) {
		int64_t page = table[seq * a->max_pages + j / a->shape.page];
		int64_t token = j % a->shape.page;
		double qk, codes;
		key_sums(a, q, page, h, token, &qk, &codes);
		t.sabs = fmax(t.sabs, factor * qk);
		most_codes = fmax(most_codes, factor * codes);
		most_vs = fmax(most_vs, attn_scale(a, 1, page, h, token, 0));
	}
	if (p->qk >= ARITH_int8)
		t.ds = most_codes * amax / (2 * digits(p->qk, 127, 32512));
	else if (p->qk == ARITH_bf16 && !exact)
		t.ds = t.sabs * 0x1p-9;
	if (p->pv >= ARITH_int8)
		t.dw = p->kv_tile * most_vs * fabs(attn_given(a, "vd", seq, h)) * 128 /
		       (2 * digits(p->pv, 255, 65535));
	return t;
}

/* -- bounds ------------------------------------------------------------------------------ */

/* A softcap's tanh is approximated to a few units of its result. */
static double score_error(const attn *a, const bound_terms *t, double extra)
{
	double d = (double)a->shape.dim_k;
	return (d + 8) * U32 * t->sabs + t->ds + 4 * U32 * extra + 8 * U32 * a->p.softcap;
}

double bound_out(const attn *a, const bound_profile *p, const bound_terms *t, double abs_out,
                 double out, double extra, kir_elem stored)
{
	double up = p->pv == ARITH_bf16 ? U16 : 0;
	double weights =
	    expm1(2 * score_error(a, t, extra)) + up + (t->len + 8) * U32 + 0x1p-19;
	double tiny = stored == KIR_f16 ? 0x1p-25 : 0x1p-120;
	return weights * (1 + up) * abs_out + t->dw + bound_unit(stored) * fabs(out) + tiny;
}

double bound_lse(const attn *a, const bound_terms *t, double lse, double extra)
{
	return score_error(a, t, extra) + ((double)a->shape.dim_k + 8) * U32 * t->sabs +
	       (t->len + 16) * U32 + 4 * U32 * fabs(lse) + 0x1p-20;
}
