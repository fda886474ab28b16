/* SPDX-License-Identifier: Apache-2.0 */
/* vec_down.c -- reductions over the rows of a tile.
 *
 *     %m = reduce.max %s {axis=0} : f32<16>    =>   for %r = 0 to 32 step 4 carry(4 vectors) {
 *                                                     each takes in its row of %s }
 *                                                   the four as one
 *
 * Columns stay in their lanes, so nothing goes across them. Up to four rows at a time are taken
 * into vectors of their own: one would wait for itself.
 */
#include "vectorize.h"

enum { SIDE = 4 };

bool vec_reduces_rows(const vec *v, kir_ref n)
{
	kir_ref s = kir_src(v->in, n, 0);

	return vec_is_reduce(v->in, n) && kir_type_of(v->in, s)->rank == 2 &&
	       kir_attr_of(v->in, n, KIR_ATTR_axis) == 0;
}

static void columns(vec *v, kir_ref n, const vec_tile *x, const vec_tile *out, vec_ix c,
                    int64_t lanes)
{
	kir_op op = (kir_op)v->in->node[n].op;
	kir_type_id t = kir_vector(v->f->module, x->elem, lanes);
	int64_t side = x->rows % SIDE ? 1 : SIDE;
	kir_ref acc[SIDE];

	for (int64_t i = 0; i < side; i++)
		acc[i] = e1(v->f, KIR_OP_splat, t, vec_identity(v, n));
	kir_ref loop =
	    kir_for(v->f, s64c(v->f, 0), s64c(v->f, x->rows), side, false, acc, (unsigned)side);

	for (int64_t i = 0; i < side; i++) {
		vec_ix r = { loop + 1, i };

		acc[i] = vec_combine(v, op, loop + 2 + (kir_ref)i, vec_read(v, x, r, c, lanes));
	}
	kir_ref res = kir_for_end(v->f, loop, acc, (unsigned)side), sum = res;

	for (int64_t i = 1; i < side; i++)
		sum = vec_combine(v, op, sum, res + (kir_ref)i);
	vec_write(v, out, ix(0), c, sum);
}

void vec_reduce_rows(vec *v, kir_ref n)
{
	vec_tile x = *vec_value(v, kir_src(v->in, n, 0)), out;

	vec_flush(v);
	out = vec_home(v, n);
	for (int64_t c = 0; c < x.cols;) {
		int64_t lanes = vec_chunk(x.cols - c, v->lanes), whole = (x.cols - c) / lanes;
		vec_loop l = vec_loop_begin(v, whole * lanes, lanes);

		columns(v, n, &x, &out, vec_add(v, l.i, ix(c)), lanes);
		vec_loop_end(v, &l);
		c += whole * lanes;
	}
	v->val[n] = out;
}
