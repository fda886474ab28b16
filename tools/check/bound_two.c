/* SPDX-License-Identifier: Apache-2.0 */
/* bound_two.c -- how far attention over two caches may be from exact arithmetic.
 *
 * Each cache's result o_c and log-sum-exp l_c are within the bounds of one cache, B_c and L_c
 * (bound.c), as f32. The merge weighs them by w_c = exp(l_c - l), l over both and a sink. With
 * L the larger of the L_c that count and 8 u32 |l_c| for the merge's own exponents,
 *
 *   output  |do| <= sum_c w_c ((1 + g) B_c + g sum w|v|) + u_out |o|,  g = expm1(2 L) + 2^-18
 *   lse     |dl| <= L + 8 u32 |l| + 2^-20
 *
 * where 2^-18 is what check allows any merge. A cache whose keys are all hidden has weight 0,
 * exactly: whether a key is seen isn't a matter of rounding.
 */
#include "bound.h"

#include <math.h>
#include <string.h>

#define U32 0x1p-24

double bound_extra(const attn *a, const bound_terms *t, int64_t head, double keys)
{
	const bind_arg *slope = attn_arg(a, "alibi");
	double extra = a->p.alibi ? fabs(((const float *)slope->data)[head]) * keys : 0;

	return a->p.score ? extra + 2 * t->sabs + keys : extra;
}

bound_two bound_two_of(const attn *a, const bound_profile p[2], int64_t row, int64_t head,
                       const double *out, double lse, kir_elem stored)
{
	const attn *part[2] = { a, a->second };
	double keys = 0, l[2], abs_out[2][BOUND_DIM], most = 0,
	       tiny = stored == KIR_f16 ? 0x1p-25 : 0x1p-120;
	bound_terms t[2];
	bound_two b = { 0 };

	for (int c = 0; c < 2; c++) {
		t[c] = bound_terms_of(part[c], &p[c], row, head);
		l[c] = bound_abs_out(part[c], row, head, abs_out[c]);
		keys += t[c].len;
	}
	for (int c = 0; c < 2; c++) {
		double extra = bound_extra(a, &t[c], head, keys);

		if (l[c] > -INFINITY)
			most = fmax(most, bound_lse(part[c], &t[c], l[c], extra) +
			                      8 * U32 * fabs(l[c]));
	}
	double grow = expm1(2 * most) + 0x1p-18;

	b.lse = most + 8 * U32 * fabs(lse) + 0x1p-20;
	for (int64_t d = 0; d < a->shape.dim_v; d++)
		b.out[d] = bound_unit(stored) * fabs(out[d]) + tiny;
	for (int c = 0; c < 2; c++) {
		double extra = bound_extra(a, &t[c], head, keys), w = exp(l[c] - lse);

		for (int64_t d = 0; l[c] > -INFINITY && d < a->shape.dim_v; d++)
			b.out[d] +=
			    w * (grow * abs_out[c][d] +
			         (1 + grow) * bound_out(part[c], &p[c], &t[c], d, abs_out[c][d],
			                                abs_out[c][d], extra, KIR_f32));
	}
	return b;
}
