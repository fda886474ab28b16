/* SPDX-License-Identifier: Apache-2.0 */
/* vec_group.c -- elementwise ops and reductions over tiles, as loops over rows and vectors.
 *
 *     %a = mul %s, %x : f32<4x64>            for %r = 0 to 4 {
 *     %b = exp2 %a : f32<4x64>          =>     %t = for %c = 0 to 64 step 16 carry(...) {
 *     %t = reduce.add %b {axis=1}                ... one vector of 16 lanes ... }
 *                                              store reduce.add %t }
 *
 * Ops over the same shape share their loops: a value lives in a register from the op that
 * makes it to the last that reads it at the same place, and is written to its home only if
 * something outside the loops reads it. Several groups may be pending; an op joins the last
 * one of its shape that comes after all it depends on, so that vectors computed between two
 * ops over a tile (a key's position, a row's maximum) don't cut the tile's loop in two.
 *
 * A width that isn't a multiple of the vector's is finished with vectors of half the lanes,
 * a quarter and so on: no lane is ever masked.
 *
 * Up to four rows are taken side by side, each op for all of them before the next: what is one
 * a column (a key's scale, its position) is read once for them, their sums and maxima don't
 * wait for each other, and a loop's own instructions are shared. It costs code, so a group of
 * many ops takes fewer, and one that is computed once beside a loop, or that reads rows from
 * far, takes one.
 */
#include "vectorize.h"

#include "analysis.h"

#include <string.h>

enum {
	SIDE_MAX = 4,  /* rows side by side                             */
	SIDE_OPS = 64, /* ops of a loop's body, if there is more than one row */
	ROW_SCALARS = 16 * SIDE_MAX,
	COLUMNS = 8,
	NARROW_OPS = 8
};

/* What one group needs while its loops are emitted; of rows side by side, each its own. */
typedef struct group_run {
	vec_group *g;
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

bool vec_is_reduce(const kir_func *f, kir_ref n)
{
	kir_op op = (kir_op)f->node[n].op;

	return op == KIR_OP_reduce_add || op == KIR_OP_reduce_max || op == KIR_OP_reduce_min ||
	       op == KIR_OP_reduce_amax;
}

/* The shape an op loops over: its result's, or the operand's of a reduction. */
static void domain(const vec *v, kir_ref n, int64_t *rows, int64_t *cols)
{
	if (vec_is_reduce(v->in, n))
		n = kir_src(v->in, n, 0);
	vec_shape(kir_type_of(v->in, n), rows, cols);
}

bool vec_group_takes(const vec *v, kir_ref n)
{
	const kir_node *d = &v->in->node[n];
	const kir_type *t = kir_type_of(v->in, n);

	if (vec_is_reduce(v->in, n)) {
		const kir_type *ot = kir_type_of(v->in, kir_src(v->in, n, 0));

		return ot->rank && kir_attr_of(v->in, n, KIR_ATTR_axis) == ot->rank - 1;
	}
	if (!t->rank || t->buffer)
		return false;
	switch (d->op) {
	case KIR_OP_iota:
	case KIR_OP_splat:
	case KIR_OP_spread:
	case KIR_OP_gather:
	case KIR_OP_dequant:
	case KIR_OP_bitcast: return true;
	default: return kir_ops[d->op].flags & KIR_EACH;
	}
}

/* Whether node n reads operand s at its own place, so that both may share a loop body. */
static bool in_place(const vec *v, kir_ref n, kir_ref s)
{
	int64_t r, c, sr, sc;

	if (vec_is_reduce(v->in, s) || v->in->node[n].op == KIR_OP_spread)
		return false;
	domain(v, n, &r, &c);
	domain(v, s, &sr, &sc);
	if (v->in->node[n].op == KIR_OP_dequant && s != kir_src(v->in, n, 0))
		return false;
	return r == sr && c == sc && kir_type_of(v->in, s)->rank == (r == 1 ? 1 : 2);
}

/* A conversion of 8-bit floats that a table does, 64 lanes at once (select.c). */
static bool by_table(const vec *v, kir_ref n)
{
	const kir_target *t = v->in->target;

	if (v->in->node[n].op != KIR_OP_convert || !(t->features & KIR_HAS_vbmi) ||
	    t->vector_bits != 512)
		return false;
	kir_elem from = (kir_elem)kir_type_of(v->in, kir_src(v->in, n, 0))->elem;
	kir_elem to = (kir_elem)kir_type_of(v->in, n)->elem;

	return kir_is_float(from) && kir_elems[from].bits == 8 &&
	       (to == KIR_bf16 || to == KIR_f32);
}

/* Whether n, over vectors, leaves its group what it is or needs what is in it: one op that
 * isn't a table's would make the others take 16 lanes. */
static bool suits(const vec *v, const vec_group *g, int at, kir_ref n)
{
	if (g->rows > 1 || g->table == by_table(v, n))
		return true;
	for (unsigned i = 0; i < v->in->node[n].nsrc; i++)
		if (v->in_group[kir_src(v->in, n, i)] == at)
			return true;
	return false;
}

/* Whether x, which nobody but its reader has waited for, may be computed with that instead: it
 * reads nothing that a pending group makes. */
static bool may_sink(const vec *v, kir_ref x)
{
	const kir_node *d = &v->in->node[x];

	if (v->nuse[x] != 1 || v->again[x] || !(kir_ops[d->op].flags & KIR_EACH))
		return false;
	for (unsigned i = 0; i < d->nsrc; i++)
		if (v->in_group[kir_src(v->in, x, i)])
			return false;
	return true;
}

/* Operands of n, which joins group `at`, that stand in an earlier one alone for it come with
 * it: what would be stored there and loaded here stays in registers. */
static void sink_operands(vec *v, kir_ref n, int at)
{
	for (unsigned i = 0; i < v->in->node[n].nsrc; i++) {
		kir_ref s = kir_src(v->in, n, i);
		int from = v->in_group[s];
		vec_group *g, *to = &v->group[at - 1];
		unsigned k = 0;

		if (!from || from == at || !in_place(v, n, s) || !may_sink(v, s) ||
		    to->n + 2 > VEC_GROUP_MAX || by_table(v, s) != by_table(v, n))
			continue;
		g = &v->group[from - 1];
		while (g->node[k] != s)
			k++;
		for (g->n--; k < g->n; k++)
			g->node[k] = g->node[k + 1];
		to->node[to->n++] = s;
		v->in_group[s] = at;
	}
}

void vec_group_add(vec *v, kir_ref n)
{
	const kir_node *d = &v->in->node[n];
	int64_t rows, cols;
	unsigned first = 0, at;

	for (unsigned i = 0; i < d->nsrc; i++) {
		kir_ref s = kir_src(v->in, n, i);
		const kir_type *st = kir_type_of(v->in, s);

		if (st->buffer || !v->in_group[s])
			continue;
		if (!st->rank) {
			vec_flush(v);
			first = 0;
			break;
		}
		unsigned g = (unsigned)v->in_group[s] - 1;
		unsigned need = in_place(v, n, s) ? g : g + 1;

		first = need > first ? need : first;
	}
	domain(v, n, &rows, &cols);
	for (at = v->ngroup; at > first; at--) {
		vec_group *g = &v->group[at - 1];

		if (g->rows == rows && g->cols == cols && g->n < VEC_GROUP_MAX &&
		    suits(v, g, (int)at, n))
			break;
	}
	if (at <= first) {
		v->group[v->ngroup] = (vec_group){ rows, cols, true, 0, { 0 } };
		at = ++v->ngroup;
	}
	sink_operands(v, n, (int)at);
	vec_group *g = &v->group[at - 1];
	g->table = g->table && by_table(v, n);
	g->node[g->n++] = n;
	v->in_group[n] = (int)at;
	if (g->n == VEC_GROUP_MAX || v->ngroup == VEC_GROUP_MAX)
		vec_flush(v);
}

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
	if (m >= 0 && in_place(v, n, s))
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

/* -- a group's loops ---------------------------------------------------------------------- */

/* Whether something outside the group's loop body reads member n. */
static bool escapes(const vec *v, const vec_group *g, kir_ref n)
{
	unsigned inside = 0;

	for (unsigned i = 0; i < g->n; i++) {
		kir_ref m = g->node[i];

		for (unsigned k = 0; k < v->in->node[m].nsrc; k++)
			inside += kir_src(v->in, m, k) == n && in_place(v, m, n);
	}
	return inside < v->nuse[n];
}

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

			if (!st->buffer && st->rank == 1 && (spread || !in_place(v, n, s)))
				row_scalar(v, run, s, p);
		}
	}
}

/* Whether the group makes bytes of f32, which goes by 64 at once (backends/x86/narrow.c), and
 * keeps little else in registers, of which each of its values then takes four. */
static bool narrows(const vec *v, const vec_group *g)
{
	const kir_target *t = v->in->target;
	bool some = false;

	if (!(t->features & KIR_HAS_vbmi) || t->vector_bits != 512 || g->n > NARROW_OPS)
		return false;
	for (unsigned i = 0; i < g->n; i++) {
		kir_ref n = g->node[i];
		kir_elem e = (kir_elem)kir_type_of(v->in, n)->elem;

		if (!(kir_ops[v->in->node[n].op].flags & KIR_EACH))
			return false;
		some |= v->in->node[n].op == KIR_OP_convert &&
		        (e == KIR_e4m3fn || e == KIR_e5m2) &&
		        kir_type_of(v->in, kir_src(v->in, n, 0))->elem == KIR_f32;
	}
	return some;
}

/* Whether s32 x has 8 bits that aren't 0 at most. */
static bool is_low_byte(const kir_func *f, kir_ref x)
{
	int64_t mask;

	return kir_type_of(f, x)->elem == KIR_s32 && f->node[x].op == KIR_OP_and &&
	       kir_is_const(f, kir_src(f, x, 1), &mask) && mask == 255;
}

/* Whether the group makes bytes of the lowest 8 bits of 32, two registers of them by one
 * permutation (backends/x86/permute.c), and shuffles are short: elsewhere that gives 2 % at
 * most, and twice the registers take a tenth longer to compile. */
static bool drops_bits(const vec *v, const vec_group *g)
{
	bool some = false;

	if (!vec_two_ports(v) || !(v->in->target->features & KIR_HAS_vbmi))
		return false;
	for (unsigned i = 0; i < g->n; i++) {
		kir_ref n = g->node[i], x = kir_src(v->in, n, 0);
		kir_elem e = (kir_elem)kir_type_of(v->in, n)->elem;

		some |=
		    v->in->node[n].op == KIR_OP_convert && e == KIR_u8 && is_low_byte(v->in, x);
	}
	return some;
}

/* Lanes of a group's vectors: as many as 32 bits have; where a table does all of it, or what
 * narrows is the most of it, 64, and 32 where bytes are cut off. A vector has one scale of
 * dequant's groups: of short ones no more lanes than divide them. */
static int64_t lanes_of(const vec *v, const vec_group *g)
{
	int64_t lanes = vec_chunk(g->cols, v->lanes);

	if (g->cols % 64 == 0 && (g->table || narrows(v, g)))
		lanes = 64;
	else if (g->cols % 32 == 0 && drops_bits(v, g))
		lanes = 32;
	for (unsigned i = 0; i < g->n; i++) {
		int64_t group = v->in->node[g->node[i]].op == KIR_OP_dequant
		                    ? kir_attr_of(v->in, g->node[i], KIR_ATTR_group)
		                    : 0;

		while (group && group % lanes)
			lanes /= 2;
	}
	return lanes;
}

/* Whether the function touches lines of `buf` ahead. */
bool vec_is_touched(const kir_func *f, kir_ref buf)
{
	for (kir_ref n = 1; n < f->nnode; n++)
		if (f->node[n].op == KIR_OP_prefetch && kir_root(f, kir_src(f, n, 0)) == buf)
			return true;
	return false;
}

/* Whether n reads its rows straight from the memory of a parameter that nobody touches ahead.
 */
static bool streams(const vec *v, kir_ref n)
{
	for (unsigned i = 0; i < v->in->node[n].nsrc; i++) {
		kir_ref load = v->direct[kir_src(v->in, n, i)];

		if (load && !vec_is_touched(v->in, kir_root(v->in, kir_src(v->in, load, 0))))
			return true;
	}
	return false;
}

/* Whether n is in no loop, but beside one: computed once for all its rounds. */
static bool beside_loop(const vec *v, kir_ref n)
{
	const kir_func *f = v->in;
	kir_ref loop = loop_around(f, v->parent, n), end;

	if (f->target->lanes || (loop && !kir_for_par(f, loop)))
		return false;
	end = loop ? kir_region_end(f, loop) : f->nnode;
	for (kir_ref k = loop + 1; k < end; k++)
		if (is_op(f, k, KIR_OP_for))
			return true;
	return false;
}

/* Rows side by side: what the ops allow. The loops of one row carry no more than they did, and
 * rows that come from far stay apart, unless their lines are touched ahead: with four streams
 * at once writers took 1.2 to 1.5 times as long. What runs seldom is kept short: it takes as
 * long to compile as what runs often. */
static unsigned side_of(const vec *v, const group_run *run)
{
	unsigned reduces = 0, side = beside_loop(v, run->g->node[0]) ? 1 : SIDE_MAX;
	unsigned wide = run->lanes > v->lanes ? (unsigned)(run->lanes / v->lanes) : 1;

	for (unsigned i = 0; i < run->g->n; i++) {
		reduces += vec_is_reduce(v->in, run->g->node[i]);
		if (streams(v, run->g->node[i]))
			return 1;
	}
	while (side > 1 && (side > run->g->rows || side * run->g->n > SIDE_OPS ||
	                    side * reduces * wide > 8 || wide > 2))
		side /= 2;
	return side;
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

/* Whether member i of the group may be written over operand s, a tile of the same shape and
 * element that is read here for the last time, by members up to it and at their own place. s
 * must be written anew each time: made in the region the group is in, and nobody's home. */
static bool may_cover(const vec *v, const vec_group *g, unsigned i, kir_ref s)
{
	const kir_type *t = kir_type_of(v->in, s), *nt = kir_type_of(v->in, g->node[i]);
	kir_op op = (kir_op)v->in->node[s].op;
	unsigned uses = 0;

	if (t->rank != 2 || nt->rank != 2 || t->elem != nt->elem || t->buffer ||
	    !v->val[s].buf || v->want[s].buf || v->in_group[s] == v->in_group[g->node[i]] ||
	    (op != KIR_OP_dot && !vec_group_takes(v, s)))
		return false;
	for (unsigned m = 0; m < i; m++)
		if (v->val[g->node[m]].buf == v->val[s].buf)
			return false; /* taken */
	for (unsigned m = 0; m <= i; m++)
		for (unsigned k = 0; k < v->in->node[g->node[m]].nsrc; k++)
			uses +=
			    kir_src(v->in, g->node[m], k) == s && in_place(v, g->node[m], s);
	if (uses != v->nuse[s])
		return false;
	for (kir_ref k = s + 1; k < g->node[i]; k++)
		if (v->in->node[k].op == KIR_OP_for || v->in->node[k].op == KIR_OP_if) {
			kir_ref end = kir_region_end(v->in, k);

			if (end > g->node[i])
				return false;
			k = end - 1;
		}
	return true;
}

/* The home of a dying operand for member i, where products take tile registers: scores of a
 * tile of queries, which must stay in L1 beside its sums, are one tile then, not one before the
 * mask and one behind it. buf 0: none. */
static vec_tile dying_home(const vec *v, const vec_group *g, unsigned i)
{
	if (!v->tiled || g->cols % v->lanes || v->want[g->node[i]].buf)
		return (vec_tile){ 0 };
	for (unsigned m = 0; m <= i; m++)
		for (unsigned k = 0; k < v->in->node[g->node[m]].nsrc; k++) {
			kir_ref s = kir_src(v->in, g->node[m], k);

			if (may_cover(v, g, i, s))
				return v->val[s];
		}
	return (vec_tile){ 0 };
}

static void emit_group(vec *v, vec_group *g)
{
	group_run run = { .g = g, .lanes = lanes_of(v, g) };
	int64_t whole;

	for (unsigned i = 0; i < g->n; i++) {
		kir_ref n = g->node[i];

		v->val[n].buf = 0;
		if (!kir_type_of(v->in, n)->rank || v->again[n] || !escapes(v, g, n))
			continue;
		v->val[n] = vec_is_reduce(v->in, n) ? (vec_tile){ 0 } : dying_home(v, g, i);
		if (!v->val[n].buf)
			v->val[n] = vec_home(v, n);
	}
	if (vec_narrow_takes(v, g)) {
		vec_narrow(v, g);
		return;
	}
	if (vec_maxima_takes(v, g)) {
		vec_maxima(v, g);
		return;
	}
	run.side = side_of(v, &run);
	whole = g->rows / run.side * run.side;
	vec_loop lr = vec_loop_begin(v, whole, run.side);

	emit_rows(v, &run, lr.i);
	vec_loop_end(v, &lr);
	run.side = 1;
	lr = vec_loop_begin(v, g->rows - whole, 1);
	if (g->rows > whole)
		emit_rows(v, &run, vec_add(v, lr.i, ix(whole)));
	vec_loop_end(v, &lr);
}

void vec_flush(vec *v)
{
	for (unsigned i = 0; i < v->ngroup; i++) {
		if (v->group[i].n)
			emit_group(v, &v->group[i]);
		for (unsigned k = 0; k < v->group[i].n; k++)
			v->in_group[v->group[i].node[k]] = 0;
	}
	v->ngroup = 0;
}
