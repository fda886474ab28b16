/* SPDX-License-Identifier: Apache-2.0 */
/* vec_maxima.c -- the largest magnitude of rows of bf16, by their bits.
 *
 *     %y = convert %x : f32<32x128>            for %r = 0 to 32 step 4 {
 *     %a = reduce.amax %y {axis=1}       =>      for %c = 0 to 128 step 32 {
 *                                                  of 32 words each, as s16, 4 times:
 *                                                  (bits & 0x7fff) + 0x7f, the larger }
 *                                                - 0x7f, as f32, across the lanes }
 *
 * Bits of floats without their sign are in the order of their values, those of infinity are
 * 0x7f80 and those of NaN above: 0x7f more makes NaN negative, so that it never counts. Three
 * instructions for 32 elements, where widening them first takes eight.
 *
 * Requires rows in memory that nothing but the maxima are computed from here, whole vectors of
 * them, and AVX-512. Four rows go across their lanes together. They are read together, too,
 * where the next begins where one ends or lines are touched ahead; others are streams of their
 * own (vec_group.c, side_of), of which there should be one at a time.
 */
#include "vectorize.h"

enum { LANES = 32, BIAS = 0x7f, SIDE = 4 };

static kir_ref splat_s16(vec *v, int64_t x)
{
	return e1(v->f, KIR_OP_splat, kir_vector(v->f->module, KIR_s16, LANES),
	          kir_const_i(v->f, KIR_s16, x));
}

/* Words of row r from column c on, ready to be compared. */
static kir_ref magnitudes(vec *v, kir_ref load, vec_ix r, vec_ix c)
{
	kir_type_id t = kir_vector(v->f->module, KIR_s16, LANES);
	kir_ref x = e1(v->f, KIR_OP_bitcast, t, vec_read_direct(v, load, r, c, LANES));

	x = e2(v->f, KIR_OP_and, t, x, kir_const_i(v->f, KIR_s16, 0x7fff));
	return e2(v->f, KIR_OP_add, t, x, kir_const_i(v->f, KIR_s16, BIAS));
}

/* Such words as f32, the larger of each two. */
static kir_ref as_floats(vec *v, kir_ref x)
{
	kir_module *m = v->f->module;
	kir_type_id half = kir_vector(m, KIR_s16, LANES);
	kir_type_id word = kir_vector(m, KIR_s32, LANES / 2);
	kir_ref up = e2(v->f, KIR_OP_shl, word, e1(v->f, KIR_OP_bitcast, word, x),
	                kir_const_i(v->f, KIR_s32, 16));

	x = vec_combine(v, KIR_OP_reduce_max, x, e1(v->f, KIR_OP_bitcast, half, up));
	x = e2(v->f, KIR_OP_sub, half, x, kir_const_i(v->f, KIR_s16, BIAS));
	x = e2(v->f, KIR_OP_and, word, e1(v->f, KIR_OP_bitcast, word, x),
	       kir_const_i(v->f, KIR_s32, -65536));
	return e1(v->f, KIR_OP_bitcast, kir_vector(m, KIR_f32, LANES / 2), x);
}

/* The words of `n` rows from r on that are largest, lane by lane. */
static void lane_maxima(vec *v, const vec_group *g, kir_ref load, vec_ix r, unsigned n,
                        kir_ref *acc)
{
	kir_ref loop, x;

	acc[0] = splat_s16(v, BIAS);
	for (unsigned k = 1; k < n; k++)
		acc[k] = acc[0];
	loop = kir_for(v->f, s64c(v->f, 0), s64c(v->f, g->cols), LANES, false, acc, n);
	for (unsigned k = 0; k < n; k++) {
		x = magnitudes(v, load, vec_add(v, r, ix(k)), (vec_ix){ loop + 1, 0 });
		acc[k] = vec_combine(v, KIR_OP_reduce_max, loop + 2 + k, x);
	}
	x = kir_for_end(v->f, loop, acc, n);
	for (unsigned k = 0; k < n; k++)
		acc[k] = x + k;
}

/* Rows [r, r + side), read together or one after the other. */
static void some_rows(vec *v, const vec_group *g, kir_ref load, vec_ix r, unsigned side,
                      bool together)
{
	kir_ref n = g->node[1], acc[SIDE];
	unsigned each = together ? side : 1;

	for (unsigned k = 0; k < side; k += each)
		lane_maxima(v, g, load, vec_add(v, r, ix(k)), each, acc + k);
	for (unsigned k = 0; k < side; k++)
		acc[k] = as_floats(v, acc[k]);
	if (!v->val[n].buf) /* nobody reads it */
		return;
	if (side > 1)
		vec_write(v, &v->val[n], ix(0), r,
		          vec_across_rows(v, KIR_OP_reduce_max, acc, side));
	else
		vec_write1(v, &v->val[n], ix(0), r, vec_across(v, KIR_OP_reduce_max, acc[0]));
}

/* Whether row r + 1 of load x begins where row r ends. */
static bool adjoin(const kir_func *f, kir_ref x)
{
	const kir_type *t = kir_type_of(f, x), *b = kir_type_of(f, kir_src(f, x, 0));
	int64_t size = kir_elem_bytes((kir_elem)t->elem), cols = t->dim[t->rank - 1];
	unsigned across = b->rank - 2;

	if (t->rank < 2 || t->dim[t->rank - 2] == 1)
		return false;
	for (unsigned i = 0; i < b->npieces; i++)
		if (b->piece[i].axis == across)
			return !b->piece[i].dyn && !b->piece[i].mod && b->piece[i].div <= 1 &&
			       b->piece[i].stride == cols * size;
	return false;
}

static kir_ref load_of(const vec *v, const vec_group *g)
{
	return v->direct[kir_src(v->in, g->node[0], 0)];
}

bool vec_maxima_takes(const vec *v, const vec_group *g)
{
	const kir_func *f = v->in;
	kir_ref y = g->node[0], n = g->n == 2 ? g->node[1] : 0;

	return n && f->target->vector_bits == 512 && !f->target->lanes &&
	       f->node[n].op == KIR_OP_reduce_amax && kir_src(f, n, 0) == y &&
	       kir_type_of(f, n)->rank && f->node[y].op == KIR_OP_convert &&
	       kir_type_of(f, y)->elem == KIR_f32 && v->nuse[y] == 1 && load_of(v, g) &&
	       kir_type_of(f, kir_src(f, y, 0))->elem == KIR_bf16 && g->cols % LANES == 0;
}

void vec_maxima(vec *v, const vec_group *g)
{
	kir_ref load = load_of(v, g);
	bool near = adjoin(v->in, load) ||
	            vec_is_touched(v->in, kir_root(v->in, kir_src(v->in, load, 0)));
	unsigned side = SIDE;
	int64_t whole;

	while (side > g->rows)
		side /= 2;
	whole = g->rows / side * side;
	vec_loop l = vec_loop_begin(v, whole, side);

	some_rows(v, g, load, l.i, side, near);
	vec_loop_end(v, &l);
	l = vec_loop_begin(v, g->rows - whole, 1);
	if (g->rows > whole)
		some_rows(v, g, load, vec_add(v, l.i, ix(whole)), 1, near);
	vec_loop_end(v, &l);
}
