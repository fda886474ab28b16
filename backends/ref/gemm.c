/* SPDX-License-Identifier: Apache-2.0 */
/* gemm.c -- gemm and relayout, from their definitions.
 *
 *     c[m,n] = sum over k of a[m,k] * w[n,k] * as[m, k / group] * ws[n / block, k / wgroup]
 *
 * group 0, wgroup 0: one scale for the whole row. An exponent (e8m0) is a scale by its bits
 * put into those of an f32: 0 means 0.0, not 2^-127, and 255 infinity. acts and weights name
 * formats whose codes lie two a byte.
 */
#include "interp.h"

#include <math.h>
#include <stdlib.h>

static double scale_value(kir_elem e, double x)
{
	if (e != KIR_e8m0)
		return x;
	return isnan(x) ? INFINITY : x <= 0x1p-127 ? 0 : x;
}

static int64_t parts_of(int64_t n, int64_t group)
{
	return group > 0 ? (n + group - 1) / group : 1;
}

/* Row `row` of a factor, each element times its scale, in out; s is room for the scales. */
static bool scaled_row(kref_state *r, kir_ref n, const kir_side *packed, const kref_mem *x,
                       const kref_mem *scale, int64_t row, int64_t scale_row, int64_t group,
                       int64_t depth, double *out, double *s)
{
	if (!kref_get_codes(r, n, packed, x, &row, 1, depth, out))
		return false;
	if (!scale)
		return true;
	if (!kref_get_row(r, n, scale, &scale_row, 1, parts_of(depth, group), s))
		return false;
	for (int64_t k = 0; k < depth; k++)
		out[k] *= scale_value(scale->type->elem, s[group > 0 ? k / group : 0]);
	return true;
}

bool kref_gemm(kref_state *r, kir_ref n)
{
	const kref_mem *a = kref_buffer(r, n, "a"), *w = kref_buffer(r, n, "w");
	const kref_mem *as = kref_buffer(r, n, "as"), *ws = kref_buffer(r, n, "ws");
	const kref_mem *c = kref_buffer(r, n, "c");
	int64_t rows = r->slot[kir_operand(r->f, n, "n")].i[0];
	const kir_side *two = kir_packed_side(r->f, n, KIR_ATTR_acts);
	const kir_side *wtwo = kir_packed_side(r->f, n, KIR_ATTR_weights);
	int64_t cols = c->type->dim[1], depth = a->type->dim[1] * (two ? 2 : 1);
	int64_t group = kir_attr_of(r->f, n, KIR_ATTR_group);
	int64_t wgroup = kir_attr_of(r->f, n, KIR_ATTR_wgroup);
	int64_t block = kir_attr_of(r->f, n, KIR_ATTR_block);
	double *left = calloc((size_t)(depth * (cols + 2) + cols), sizeof *left);
	double *s = left + depth, *right = s + depth, *out = right + depth * cols;
	bool ok = true;

	if (!left)
		return kref_fail(r, n, "out of memory");
	for (int64_t j = 0; ok && rows > 0 && j < cols; j++)
		ok = scaled_row(r, n, wtwo, w, ws, j, j / block, wgroup, depth,
		                right + j * depth, s);
	for (int64_t i = 0; ok && i < rows; i++) {
		ok = scaled_row(r, n, two, a, as, i, i, group, depth, left, s);
		for (int64_t j = 0; ok && j < cols; j++) {
			out[j] = 0;
			for (int64_t k = 0; k < depth; k++)
				out[j] += left[k] * right[j * depth + k];
		}
		ok = ok && kref_put_row(r, n, c, &i, 1, cols, out);
	}
	free(left);
	return ok;
}

bool kref_relayout(kref_state *r, kir_ref n)
{
	const kref_mem *x = kref_buffer(r, n, "x"), *y = kref_buffer(r, n, "y");
	int64_t rows = x->type->dim[0], cols = x->type->dim[1];
	double *row = calloc((size_t)y->type->dim[1], sizeof *row);
	bool ok = true;

	if (!row)
		return kref_fail(r, n, "out of memory");
	for (int64_t i = 0; ok && i < y->type->dim[0]; i++) {
		if (i < rows)
			ok = kref_get_row(r, n, x, &i, 1, cols, row);
		for (int64_t k = i < rows ? cols : 0; k < y->type->dim[1]; k++)
			row[k] = 0;
		ok = ok && kref_put_row(r, n, y, &i, 1, y->type->dim[1], row);
	}
	free(row);
	return ok;
}
