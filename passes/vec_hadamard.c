/* SPDX-License-Identifier: Apache-2.0 */
/* vec_hadamard.c -- blocks of a row times a Hadamard matrix, in vectors.
 *
 *     hadamard %x {group=b}     log2(b) times, over the vectors x[0..n) of a block:
 *                               s = x[i] + x[i + n/2],  d = x[i] - x[i + n/2]
 *                               x[2i] = zip.lo s, d     x[2i + 1] = zip.hi s, d
 *
 * Every stage has the same shape: zipping moves the next distance to where the last one was, so
 * that no stage works inside a vector. The first stage is that of elements b / 2 apart, the
 * last one that of neighbours, and elements are back in order after it. A block stays in
 * registers where there are enough: b = 128 is 8 vectors of 16.
 */
#include "vectorize.h"

#include <string.h>

enum { VECTORS_MAX = 256 };

static void stage(kir_func *f, kir_ref *x, int64_t n)
{
	kir_type_id t = f->node[x[0]].type;
	kir_ref y[VECTORS_MAX];

	for (int64_t i = 0; i < n / 2; i++) {
		kir_ref s = e2(f, KIR_OP_add, t, x[i], x[i + n / 2]);
		kir_ref d = e2(f, KIR_OP_sub, t, x[i], x[i + n / 2]);

		y[2 * i] = e2(f, KIR_OP_zip_lo, t, s, d);
		y[2 * i + 1] = e2(f, KIR_OP_zip_hi, t, s, d);
	}
	memcpy(x, y, (size_t)n * sizeof *x);
}

void vec_hadamard(vec *v, kir_ref n)
{
	int64_t block = kir_attr_of(v->in, n, KIR_ATTR_group);
	int64_t lanes = block / 2 < v->lanes ? block / 2 : v->lanes, count = block / lanes;
	vec_tile from = *vec_value(v, kir_src(v->in, n, 0)), to = vec_home(v, n);
	kir_ref x[VECTORS_MAX];

	if (count > VECTORS_MAX) {
		kir_error(v->why, 0, 0,
		          "hadamard: blocks of %lld are more than %d vectors of %lld elements",
		          (long long)block, VECTORS_MAX, (long long)lanes);
		return;
	}
	vec_loop rows = vec_loop_begin(v, from.rows, 1);
	vec_loop blocks = vec_loop_begin(v, from.cols, block);

	for (int64_t i = 0; i < count; i++)
		x[i] = vec_read(v, &from, rows.i, vec_add(v, blocks.i, ix(i * lanes)), lanes);
	for (int64_t done = 1; done < block; done *= 2)
		stage(v->f, x, count);
	for (int64_t i = 0; i < count; i++)
		vec_write(v, &to, rows.i, vec_add(v, blocks.i, ix(i * lanes)), x[i]);
	vec_loop_end(v, &blocks);
	vec_loop_end(v, &rows);
	v->val[n] = to;
}
