/* SPDX-License-Identifier: Apache-2.0 */
/* vec_rows.c -- the loops of a group of elementwise ops and reductions, over rows and vectors.
 *
 *     %a = mul %s, %x : f32<4x64>            for %r = 0 to 4 {
 *     %b = exp2 %a : f32<4x64>          =>     %t = for %c = 0 to 64 step 16 carry(...) {
 *     %t = reduce.add %b {axis=1}                ... one vector of 16 lanes ... }
 *                                              store reduce.add %t }
 *
 * A value lives in a register from the op that makes it to the last that reads it at the same
 * place, and is written to its home if it has one.
 *
 * A width that isn't a multiple of the vector's is finished with vectors of half the lanes,
 * a quarter and so on: no lane is ever masked.
 *
 * Up to four rows are taken side by side, each op for all of them before the next: what is one
 * a column (a key's scale, its position) is read once for them, their sums and maxima don't
 * wait for each other, and a loop's own instructions are shared. It costs code, so a group of
 * many ops takes fewer, and one that is computed once beside a loop, or that reads rows from
 * far, takes one (side_of in vec_group.c).
 */
#include "vectorize.h"

#include <string.h>

enum { SIDE_MAX = VEC_SIDE_MAX, ROW_SCALARS = 16 * SIDE_MAX, COLUMNS = 8 };

/* What one group needs while its loops are emitted; of rows side by side, each its own. */
typedef struct group_run {
	const vec_group *g;
	int64_t lanes;                         /* of a whole vector               */
	unsigned side;                         /* rows side by side               */
	kir_ref val[VEC_GROUP_MAX][SIDE_MAX];  /* lanes of each member, at the place  */
	kir_ref acc[VEC_GROUP_MAX][SIDE_MAX];  /* reductions: running lanes, or 0     */
	kir_ref done[VEC_GROUP_MAX][SIDE_MAX]; /* reductions: scalar so far, or 0     */
	struct {
		kir_ref node, scalar, wide;
		unsigned at;
	} row[ROW_SCALARS]; /* vectors along the rows: the element of this row, alone and in
	                     * all lanes */
	unsigned nrow;
	struct {
		kir_ref node, lanes;
	} col[COLUMNS]; /* vectors along the columns: the lanes of this place */
	unsigned ncol;
} group_run;

/* -- one place: row r, `lanes` columns from c --------------------------------------- */

typedef struct place {
	vec_ix r, c;
	int64_t lanes;
	unsigned at; /* of the rows side by side, which */
} place;

static int member(const vec_group *g, kir_ref n)
{
	for (unsigned i = 0; i < g->n; i++)
		if (g->node[i] == n)
			return (int)i;
	return -1;
}

/* The element of the vector s that belongs to the row, read once a row. */
static kir_ref row_scalar(vec *v, group_run *run, kir_ref s, const place *p)
{
	for (unsigned i = 0; i < run->nrow; i++)
		if (run->row[i].node == s && run->row[i].at == p->at)
			return p->lanes == run->lanes ? run->row[i].wide : run->row[i].scalar;
	kir_ref x = vec_read1(v, &v->val[s], ix(0), p->r), wide = x;
	kir_elem e = (kir_elem)kir_type_of(v->f, x)->elem;

	if (run->nrow < ROW_SCALARS) {
		wide = e1(v->f, KIR_OP_splat, kir_vector(v->f->module, e, run->lanes), x);
		run->row[run->nrow].node = s;
		run->row[run->nrow].at = p->at;
		run->row[run->nrow].scalar = x;
		run->row[run->nrow++].wide = wide;
	}
	return p->lanes == run->lanes ? wide : x;
}

/* The lanes of the vector s for the columns, read once for rows side by side. */
static kir_ref column(vec *v, group_run *run, kir_ref s, const place *p)
{
	for (unsigned i = 0; i < run->ncol; i++)
		if (run->col[i].node == s)
			return run->col[i].lanes;
	kir_ref x = vec_read(v, &v->val[s], ix(0), p->c, p->lanes);

	if (run->ncol < COLUMNS) {
		run->col[run->ncol].node = s;
		run->col[run->ncol++].lanes = x;
	}
	return x;
}

static kir_ref each(vec *v, group_run *run, kir_ref n, const place *p);

/* Operand s of member n at the place: a scalar or lanes. */
static kir_ref operand(vec *v, group_run *run, kir_ref n, kir_ref s, const place *p)
{
	const kir_type *st = kir_type_of(v->in, s);
	int64_t rows, cols, axis = kir_attr_of(v->in, n, KIR_ATTR_axis);
	int m;

	if (!st->rank)
		return v->map[s];
	if (v->direct[s])
		return vec_read_direct(v, v->direct[s], p->r, p->c, p->lanes);
	vec_shape(st, &rows, &cols);
	m = member(run->g, s);
	if (m >= 0 && vec_in_place(v, n, s))
		return run->val[m][p->at];
	if (v->again[s])
		return each(v, run, s, p);
	if (rows == run->g->rows && cols == run->g->cols && (st->rank > 1 || run->g->rows == 1))
		return vec_read(v, &v->val[s], p->r, p->c, p->lanes);
	return axis == 0 ? row_scalar(v, run, s, p) : column(v, run, s, p);
}

static kir_ref lane_index(vec *v, kir_ref n, const place *p, kir_type_id t)
{
	const kir_type *nt = kir_type_of(v->in, n);
	kir_elem e = (kir_elem)nt->elem;
	bool rows = nt->rank > 1 && kir_attr_of(v->in, n, KIR_ATTR_axis) == 0;
	vec_ix base = rows ? p->r : p->c;
	kir_ref b = base.var          ? as_elem(v->f, vec_ref(v, base), e)
	            : kir_is_float(e) ? kir_const_f(v->f, e, (double)base.k)
	                              : kir_const_i(v->f, e, base.k);

	if (rows)
		return e1(v->f, KIR_OP_splat, t, b);
	return e2(v->f, KIR_OP_add, t, e0x(v->f, KIR_OP_iota, t, 0), b);
}

/* What dequant n has for the elements at p of scales or zero points dn: a scalar, an element of
 * the row, or one of the row and group. */
static kir_ref of_group(vec *v, group_run *run, kir_ref n, kir_ref dn, const place *p)
{
	int64_t group = kir_attr_of(v->in, n, KIR_ATTR_group);
	kir_type_id s64 = kir_scalar(v->f->module, KIR_s64);

	if (!group)
		return operand(v, run, n, dn, p);
	vec_ix g = ix(p->c.k / group);

	if (p->c.var)
		g = (vec_ix){ e2(v->f, KIR_OP_fdiv, s64, vec_ref(v, p->c), s64c(v->f, group)),
			      0 };
	return vec_read1(v, &v->val[dn], p->r, g);
}

/* (float(q) - z) * d */
static kir_ref dequant_at(vec *v, group_run *run, kir_ref n, const place *p)
{
	kir_ref q = as_elem(v->f, operand(v, run, n, kir_src(v->in, n, 0), p), KIR_f32);
	kir_ref d = of_group(v, run, n, kir_src(v->in, n, 1), p);
	kir_type_id t = v->f->node[q].type;

	if (kir_src(v->in, n, 2))
		q = e2(v->f, KIR_OP_sub, t, q, of_group(v, run, n, kir_src(v->in, n, 2), p));
	return e2(v->f, KIR_OP_mul, t, q, d);
}

static kir_ref each(vec *v, group_run *run, kir_ref n, const place *p)
{
	const kir_node *d = &v->in->node[n];
	kir_elem e = (kir_elem)kir_type_of(v->in, n)->elem;
	kir_type_id t = kir_vector(v->f->module, e, p->lanes);
	int64_t attr[KIR_MAX_ATTRS];
	kir_ref src[KIR_RANK + 1];

	memcpy(attr, d->attr, sizeof attr);
	if (d->op == KIR_OP_iota)
		return lane_index(v, n, p, t);
	if (d->op == KIR_OP_dequant)
		return dequant_at(v, run, n, p);
	for (unsigned i = 0; i < d->nsrc; i++) {
		kir_ref s = kir_src(v->in, n, i);

		src[i] = kir_type_of(v->in, s)->buffer ? v->map[s] : operand(v, run, n, s, p);
	}
	if (d->op == KIR_OP_spread && kir_type_of(v->f, src[0])->rank)
		return src[0];
	if (!strncmp(kir_ops[d->op].attr, "axis", 4))
		attr[0] = -1;
	if (d->op == KIR_OP_spread)
		return e1(v->f, KIR_OP_splat, t, src[0]);
	return kir_emit(v->f, (kir_op)d->op, t, src, d->nsrc, attr);
}

/* -- rows ------------------------------------------------------------------------------- */

/* x as the first of what reduction n takes in: a NaN must not be what others are compared
 * with. */
static kir_ref without_nan(vec *v, kir_ref n, kir_ref x)
{
	kir_type_id t = v->f->node[x].type;
	kir_op op = (kir_op)v->in->node[n].op;

	if (op == KIR_OP_reduce_add || !kir_is_float((kir_elem)kir_type_of(v->f, x)->elem))
		return op == KIR_OP_reduce_amax ? e1(v->f, KIR_OP_abs, t, x) : x;
	kir_ref none = vec_identity(v, n);

	if (kir_type_of(v->f, x)->rank)
		none = e1(v->f, KIR_OP_splat, t, none);
	return vec_combine(v, op, none, x);
}

/* Whether rows of the group are whole vectors, so that several can be reduced together: with a
 * lane at least for each of them. */
static bool whole_vectors(const vec *v, const group_run *run)
{
	return run->side > 1 && run->lanes >= (int64_t)run->side &&
	       run->g->cols % run->lanes == 0 && !v->in->target->lanes;
}

/* All members at one place of each row side by side; reductions are taken into run->acc if
 * `carry`, else across the lanes at once. A row that is one vector is left in run->acc. */
static void place_body(vec *v, group_run *run, const place *p, bool carry)
{
	run->ncol = 0;
	for (unsigned i = 0; i < run->g->n; i++) {
		kir_ref n = run->g->node[i];
		kir_op op = (kir_op)v->in->node[n].op;
		bool reduces = vec_is_reduce(v->in, n);

		for (unsigned k = 0; k < run->side; k++) {
			kir_ref *val = &run->val[i][k], *done = &run->done[i][k];

			if (!reduces) {
				*val = each(v, run, n, &p[k]);
				continue;
			}
			*val = operand(v, run, n, kir_src(v->in, n, 0), &p[k]);
			if (carry) {
				run->acc[i][k] = vec_combine(v, op, run->acc[i][k], *val);
				continue;
			}
			*val = without_nan(v, n, *val);
			if (run->g->cols == run->lanes && whole_vectors(v, run)) {
				run->acc[i][k] = *val;
				continue;
			}
			*val = vec_across(v, op, *val);
			*done = *done ? vec_combine(v, op, *done, *val) : *val;
		}
		for (unsigned k = 0; k < run->side && !reduces && v->val[n].buf; k++)
			vec_write(v, &v->val[n], p[k].r, p[k].c, run->val[i][k]);
	}
}

static void places(vec *v, const group_run *run, vec_ix r, vec_ix c, int64_t lanes, place *p)
{
	for (unsigned k = 0; k < run->side; k++)
		p[k] = (place){ vec_add(v, r, ix(k)), c, lanes, k };
}

/* The part of a row that whole vectors cover, with the reductions carried. */
static void row_main(vec *v, group_run *run, vec_ix r, int64_t count)
{
	kir_ref init[VEC_GROUP_MAX * SIDE_MAX], yield[VEC_GROUP_MAX * SIDE_MAX];
	unsigned which[VEC_GROUP_MAX], n = 0, side = run->side;
	int64_t lanes = run->lanes;
	place p[SIDE_MAX];

	for (unsigned i = 0; i < run->g->n; i++) {
		kir_ref m = run->g->node[i];
		kir_elem e = (kir_elem)kir_type_of(v->in, m)->elem;

		if (!vec_is_reduce(v->in, m))
			continue;
		init[n * side] = e1(v->f, KIR_OP_splat, kir_vector(v->f->module, e, lanes),
		                    vec_identity(v, m));
		for (unsigned k = 1; k < side; k++)
			init[n * side + k] = init[n * side];
		which[n++] = i;
	}
	unsigned nrow = run->nrow; /* what is read inside isn't there after the loop */
	kir_ref loop = kir_for(v->f, s64c(v->f, 0), s64c(v->f, count * lanes), lanes, false,
	                       init, n * side);

	places(v, run, r, (vec_ix){ loop + 1, 0 }, lanes, p);
	for (unsigned i = 0; i < n * side; i++)
		run->acc[which[i / side]][i % side] = loop + 2 + i;
	place_body(v, run, p, true);
	for (unsigned i = 0; i < n * side; i++)
		yield[i] = run->acc[which[i / side]][i % side];
	kir_ref res = kir_for_end(v->f, loop, yield, n * side);

	run->nrow = nrow;
	for (unsigned i = 0; i < n; i++) {
		unsigned m = which[i];
		kir_op op = (kir_op)v->in->node[run->g->node[m]].op;

		for (unsigned k = 0; k < side; k++)
			run->acc[m][k] = res + i * side + k;
		for (unsigned k = 0; k < side && !whole_vectors(v, run); k++)
			run->done[m][k] = vec_across(v, op, run->acc[m][k]);
	}
}

/* Reads what every place of a row needs, before the row's loop. */
static void row_scalars(vec *v, group_run *run, const place *p)
{
	for (unsigned i = 0; i < run->g->n; i++) {
		kir_ref n = run->g->node[i];
		bool spread = v->in->node[n].op == KIR_OP_spread;

		if (kir_attr_of(v->in, n, KIR_ATTR_axis) != 0 || vec_is_reduce(v->in, n))
			continue;
		for (unsigned k = 0; k < v->in->node[n].nsrc; k++) {
			kir_ref s = kir_src(v->in, n, k);
			const kir_type *st = kir_type_of(v->in, s);

			if (!st->buffer && st->rank == 1 && (spread || !vec_in_place(v, n, s)))
				row_scalar(v, run, s, p);
		}
	}
}

/* Rows [r, r + run->side). */
static void emit_rows(vec *v, group_run *run, vec_ix r)
{
	const vec_group *g = run->g;
	int64_t lanes = run->lanes, full = g->cols / lanes;
	place p[SIDE_MAX];

	run->nrow = 0;
	places(v, run, r, ix(0), lanes, p);
	for (unsigned k = 0; k < run->side; k++)
		row_scalars(v, run, &p[k]);
	memset(run->done, 0, sizeof run->done);
	if (full > 1)
		row_main(v, run, r, full);
	for (int64_t c = full > 1 ? full * lanes : 0; c < g->cols; c += p->lanes) {
		places(v, run, r, ix(c), vec_chunk(g->cols - c, lanes), p);
		place_body(v, run, p, false);
	}
	for (unsigned i = 0; i < g->n; i++) {
		kir_ref n = g->node[i];

		if (!vec_is_reduce(v->in, n))
			continue;
		if (!kir_type_of(v->in, n)->rank)
			v->map[n] = run->done[i][0];
		else if (!v->val[n].buf) /* nobody reads it */
			continue;
		if (whole_vectors(v, run)) /* nothing joins them: they go home together */
			vec_write(v, &v->val[n], ix(0), r,
			          vec_across_rows(v, (kir_op)v->in->node[n].op, run->acc[i],
			                          run->side));
		for (unsigned k = 0; k < run->side && kir_type_of(v->in, n)->rank; k++)
			if (run->done[i][k])
				vec_write1(v, &v->val[n], ix(0), vec_add(v, r, ix(k)),
				           run->done[i][k]);
	}
}

void vec_group_rows(vec *v, const vec_group *g, int64_t lanes, unsigned side)
{
	group_run run = { .g = g, .lanes = lanes, .side = side };
	int64_t whole = g->rows / side * side;
	vec_loop lr = vec_loop_begin(v, whole, side);

	emit_rows(v, &run, lr.i);
	vec_loop_end(v, &lr);
	run.side = 1;
	lr = vec_loop_begin(v, g->rows - whole, 1);
	if (g->rows > whole)
		emit_rows(v, &run, vec_add(v, lr.i, ix(whole)));
	vec_loop_end(v, &lr);
}
