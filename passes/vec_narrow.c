/* SPDX-License-Identifier: Apache-2.0 */
/* vec_narrow.c -- elementwise ops over rows that are shorter than a vector: several at once.
 *
 *     %a = slice %x : f32<64x4> {axis=1}              for %i = 0 to 256 step 16 {
 *     %b = slice %x : f32<64x4> {axis=1, start=4}       %p, %q = 32 elements of %x from 2 %i
 *     %s = add %a, %b : f32<64x4>                 =>    %a = the 1st, 3rd, .. fours of them
 *                                                       %b = the 2nd, 4th, .. fours of them
 *                                                       vstore add %a, %b to %s [%i] }
 *
 * That is how a row's elements are summed by halves, in an order that a format states. Row by
 * row each step would take an instruction or two a row, whatever its length.
 *
 * Requires ops on 4-byte elements whose operands are tiles of the same shape that lie in one
 * piece, halves of the rows of such, or scalars; and rows that fill whole vectors together.
 */
#include "vectorize.h"

#include <string.h>

static bool is_tile(const kir_func *f, kir_ref n, int64_t rows, int64_t cols)
{
	const kir_type *t = kir_type_of(f, n);

	return t->rank == 2 && t->dim[0] == rows && t->dim[1] == cols &&
	       kir_elem_bytes((kir_elem)t->elem) == 4;
}

/* The tile of which slice s is one half of each row, 0; *odd: the second. */
static kir_ref halved(const vec *v, kir_ref s, int64_t cols, bool *odd)
{
	int64_t start = kir_attr_of(v->in, s, KIR_ATTR_start);
	kir_ref x;

	if (v->in->node[s].op != KIR_OP_slice || kir_attr_of(v->in, s, KIR_ATTR_axis) != 1)
		return 0;
	x = kir_src(v->in, s, 0);
	*odd = start == cols;
	return v->val[x].stride == 2 * cols && (!start || *odd) ? x : 0;
}

static int member(const vec_group *g, unsigned n, kir_ref s)
{
	for (unsigned i = 0; i < n; i++)
		if (g->node[i] == s)
			return (int)i;
	return -1;
}

static bool takes(const vec *v, const vec_group *g, unsigned at)
{
	kir_ref n = g->node[at];
	bool odd;

	if (!(kir_ops[v->in->node[n].op].flags & KIR_EACH) ||
	    !is_tile(v->in, n, g->rows, g->cols) ||
	    (v->val[n].buf && v->val[n].stride != g->cols))
		return false;
	for (unsigned i = 0; i < v->in->node[n].nsrc; i++) {
		kir_ref s = kir_src(v->in, n, i);

		if (!kir_type_of(v->in, s)->rank || member(g, at, s) >= 0)
			continue;
		if (v->direct[s] || !is_tile(v->in, s, g->rows, g->cols) ||
		    (v->val[s].stride != g->cols && !halved(v, s, g->cols, &odd)))
			return false;
	}
	return true;
}

/* Of x's runs of `run` lanes the first, third, ..., or if odd the others: half as many lanes.
 */
static kir_ref every_second(vec *v, kir_ref x, int64_t run, bool odd)
{
	kir_type t = *kir_type_of(v->f, x);
	kir_type_id half = kir_vector(v->f->module, (kir_elem)t.elem, t.dim[0] / 2);

	if (t.dim[0] == 2 * run)
		return e1(v->f, odd ? KIR_OP_half_hi : KIR_OP_half_lo, half, x);
	kir_ref lo = every_second(v, e1(v->f, KIR_OP_half_lo, half, x), run, odd);

	return e2(v->f, KIR_OP_join, half, lo,
	          every_second(v, e1(v->f, KIR_OP_half_hi, half, x), run, odd));
}

/* `lanes` elements from `at` of the halves of the rows of t. */
static kir_ref read_halves(vec *v, const vec_tile *t, vec_ix at, int64_t run, bool odd)
{
	kir_module *m = v->f->module;
	vec_tile flat = { t->buf, t->off, 1, t->rows * t->cols, t->elem, t->rows * t->cols };
	vec_ix from = vec_mul(v, at, 2);
	kir_op unzip = odd ? KIR_OP_unzip_hi : KIR_OP_unzip_lo;
	kir_ref a = vec_read(v, &flat, ix(0), from, v->lanes);
	kir_ref b = vec_read(v, &flat, ix(0), vec_add(v, from, ix(v->lanes)), v->lanes);
	kir_type_id vt = v->f->node[a].type, words = kir_vector(m, KIR_s64, v->lanes / 2);

	if (run == 1)
		return e2(v->f, unzip, vt, a, b);
	if (run == 2)
		return e1(v->f, KIR_OP_bitcast, vt,
		          e2(v->f, unzip, words, e1(v->f, KIR_OP_bitcast, words, a),
		             e1(v->f, KIR_OP_bitcast, words, b)));
	a = every_second(v, a, run, odd);
	return e2(v->f, KIR_OP_join, vt, a, every_second(v, b, run, odd));
}

static kir_ref operand(vec *v, const vec_group *g, unsigned n, const kir_ref *val, kir_ref s,
                       vec_ix at)
{
	vec_tile flat = v->val[s];
	int m = member(g, n, s);
	kir_ref whole;
	bool odd;

	if (!kir_type_of(v->in, s)->rank)
		return v->map[s];
	if (m >= 0)
		return val[m];
	whole = halved(v, s, g->cols, &odd);
	if (whole)
		return read_halves(v, &v->val[whole], at, g->cols, odd);
	flat.cols = flat.stride = flat.rows * flat.cols;
	return vec_read(v, &flat, ix(0), at, v->lanes);
}

static void one_vector(vec *v, const vec_group *g, vec_ix at)
{
	kir_ref val[VEC_GROUP_MAX], src[KIR_MAX_SRC];

	for (unsigned i = 0; i < g->n; i++) {
		kir_ref n = g->node[i];
		const kir_node *d = &v->in->node[n];
		kir_elem e = (kir_elem)kir_type_of(v->in, n)->elem;
		vec_tile flat = v->val[n];
		int64_t attr[KIR_MAX_ATTRS];

		memcpy(attr, d->attr, sizeof attr);
		if (!strncmp(kir_ops[d->op].attr, "axis", 4))
			attr[0] = -1;
		for (unsigned k = 0; k < d->nsrc; k++)
			src[k] = operand(v, g, i, val, kir_src(v->in, n, k), at);
		val[i] = kir_emit(v->f, (kir_op)d->op, kir_vector(v->f->module, e, v->lanes),
		                  src, d->nsrc, attr);
		if (!flat.buf)
			continue;
		flat.cols = flat.stride = flat.rows * flat.cols;
		vec_write(v, &flat, ix(0), at, val[i]);
	}
}

bool vec_narrow_takes(const vec *v, const vec_group *g)
{
	int64_t together = g->cols > 0 ? v->lanes / g->cols : 0;

	if (v->in->target->lanes || together < 2 || v->lanes % g->cols || g->rows % together)
		return false;
	for (unsigned i = 0; i < g->n; i++)
		if (!takes(v, g, i))
			return false;
	return true;
}

void vec_narrow(vec *v, const vec_group *g)
{
	int64_t all = g->rows * g->cols / v->lanes, some = vec_chunk(all, 4);

	while (all % some)
		some /= 2;
	vec_loop l = vec_loop_begin(v, all * v->lanes, some * v->lanes);

	for (int64_t i = 0; i < some; i++)
		one_vector(v, g, vec_add(v, l.i, ix(i * v->lanes)));
	vec_loop_end(v, &l);
}
