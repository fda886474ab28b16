/* SPDX-License-Identifier: Apache-2.0 */
/* fragment.c -- tiles in the registers of a sub-group: columns over its lanes, rows as
 * components.
 *
 *     %s = dot %q, %k {trans=1} : f32<8x64>       four blocks f32<128>, xe.dpas each
 *     %t = mul %s, %x : f32<8x64> {axis=0}   =>   four times mul %s_i, %x
 *     %m = reduce.max %t : f32<8> {axis=1}        max of the four, xe.reduce.max
 *
 * A tile is a grid of blocks of up to 8 rows and a column a lane: 16, or 8 where the engines
 * are as wide. An element a row is a block whose lanes are all the same; an element a column is
 * one of each lane, repeated where it meets a tile. What comes out of a product goes into the
 * next one with no move from lane to lane (docs/IR.md). There are no loops but the function's
 * own, and no memory but its parameters.
 *
 * Requires level T and a target of sub-groups. Functions it can't take whole it leaves to
 * vectorize: without products, with columns that don't fill the lanes, with factors that
 * aren't read from memory in one of two layouts (frag_dot.c), with more values around a loop
 * than one may carry.
 *
 * Inexact: floats add in another order.
 */
#include "fragment.h"

#include <math.h>

kir_ref frag_pack(frag *g, kir_ref x, kir_ref y)
{
	const kir_type *a = kir_type_of(g->f, x), *b = kir_type_of(g->f, y);

	return e2(g->f, KIR_OP_xe_pack,
	          kir_vector(g->f->module, (kir_elem)a->elem, a->dim[0] + b->dim[0]), x, y);
}

kir_ref frag_part(frag *g, kir_ref x, int64_t start, int64_t count)
{
	const kir_type *t = kir_type_of(g->f, x);

	if (t->dim[0] == g->lanes * count)
		return x;
	return kir_emit(g->f, KIR_OP_xe_part, frag_vector(g, (kir_elem)t->elem, count), &x, 1,
	                (int64_t[KIR_MAX_ATTRS]){ start, 1 });
}

kir_ref frag_operand(frag *g, kir_ref s, int64_t r, int64_t c, int64_t height)
{
	switch (g->kind[s]) {
	case FRAG_TILE: return g->val[s][r * frag_col_blocks(g, s) + c];
	case FRAG_ROW: return g->val[s][r];
	case FRAG_COL:
		if (height == 1)
			return g->val[s][c];
		return e1(g->f, KIR_OP_xe_repeat,
		          frag_vector(g, (kir_elem)kir_type_of(g->in, s)->elem, height),
		          g->val[s][c]);
	default: return g->map[s];
	}
}

/* -- ops -------------------------------------------------------------------------------- */

kir_ref frag_iota(frag *g, kir_type_id t, int64_t run)
{
	kir_ref i = e0x(g->f, KIR_OP_iota, t, -1);

	for (; run > 1; run /= 2)
		i = e2(g->f, KIR_OP_add, t, i, i);
	return i;
}

int64_t frag_first(const frag *g, int64_t run, int64_t c)
{
	return c / run * run * g->lanes + c % run;
}

/* The index of each row, or of each column in the value's order. */
static void lower_iota(frag *g, kir_ref n)
{
	kir_elem e = (kir_elem)kir_type_of(g->in, n)->elem;
	int64_t h = frag_height(frag_nrows(g, n)), rows = frag_nrows(g, n);
	kir_ref *val = frag_new(g, n), i;
	kir_type_id t = frag_type(g, n);
	int64_t run = g->run[n];

	if (kir_type_of(g->in, n)->rank != 1 || !kir_is_int(e)) {
		g->failed = true;
		return;
	}
	if (g->kind[n] == FRAG_ROW) {
		i = e0x(g->f, KIR_OP_iota, t, -1);
		i = e2(g->f, KIR_OP_and, t, i, kir_const_i(g->f, e, h - 1));
		for (int64_t r = 0; r < frag_row_blocks(g, n); r++) {
			val[r] =
			    r ? e2(g->f, KIR_OP_add, t, i, kir_const_i(g->f, e, 8 * r)) : i;
			if (8 * r + h > rows) /* what fills up repeats the last */
				val[r] = e2(g->f, KIR_OP_min, t, val[r],
				            kir_const_i(g->f, e, rows - 1));
		}
		return;
	}
	i = frag_iota(g, t, run);
	for (int64_t c = 0; c < frag_col_blocks(g, n); c++)
		val[c] =
		    e2(g->f, KIR_OP_add, t, i, kir_const_i(g->f, e, frag_first(g, run, c)));
}

static void lower_splat(frag *g, kir_ref n)
{
	kir_ref *val = frag_new(g, n);
	kir_ref x = e1(g->f, KIR_OP_splat, frag_type(g, n), g->map[kir_src(g->in, n, 0)]);

	for (int64_t i = 0; i < frag_blocks(g, n); i++)
		val[i] = x;
}

static void lower_each(frag *g, kir_ref n)
{
	const kir_node *d = kir_at(g->in, n);
	int64_t h = frag_height(frag_nrows(g, n)), cb = frag_col_blocks(g, n);
	kir_ref *val = frag_new(g, n);
	bool axis = kir_ops[d->op].attr[0] == 'a'; /* the blocks' operands have their shape */
	int64_t attr[KIR_MAX_ATTRS];

	for (int i = 0; i < KIR_MAX_ATTRS; i++)
		attr[i] = axis && !i ? -1 : d->attr[i];
	for (int64_t i = 0; i < frag_blocks(g, n); i++) {
		kir_ref src[KIR_RANK + 1];

		for (unsigned k = 0; k < d->nsrc; k++)
			src[k] = frag_operand(g, kir_src(g->in, n, k), i / cb, i % cb, h);
		val[i] = kir_emit(g->f, (kir_op)d->op, frag_type(g, n), src, d->nsrc,
		                  *kir_ops[d->op].attr ? attr : NULL);
	}
}

static void lower_spread(frag *g, kir_ref n)
{
	int64_t h = frag_height(frag_nrows(g, n)), cb = frag_col_blocks(g, n);
	kir_ref *val = frag_new(g, n);

	for (int64_t i = 0; i < frag_blocks(g, n); i++)
		val[i] = frag_operand(g, kir_src(g->in, n, 0), i / cb, i % cb, h);
}

/* The same elements in the same lanes. */
static void lower_reshape(frag *g, kir_ref n)
{
	kir_ref x = kir_src(g->in, n, 0);

	if (g->deferred[x])
		frag_load_column(g, n);
	else if (frag_nrows(g, n) != frag_nrows(g, x) || frag_ncols(g, n) != frag_ncols(g, x))
		g->failed = true;
	else
		g->val[n] = g->val[x];
}

/* Two tiles side by side: their blocks are, as each is whole runs of them. */
static void lower_beside(frag *g, kir_ref n)
{
	kir_ref x = kir_src(g->in, n, 0), y = kir_src(g->in, n, 1), *val;
	int64_t cx = frag_col_blocks(g, x), cy = frag_col_blocks(g, y), cb = cx + cy;

	if (g->kind[n] != FRAG_TILE) {
		g->failed = true;
		return;
	}
	val = frag_new(g, n);
	for (int64_t i = 0; i < frag_blocks(g, n); i++)
		val[i] = i % cb < cx ? g->val[x][i / cb * cx + i % cb]
		                     : g->val[y][i / cb * cy + i % cb - cx];
}

/* Columns of a tile from a whole run on. */
static void lower_columns(frag *g, kir_ref n)
{
	kir_ref x = kir_src(g->in, n, 0), *val;
	int64_t start = kir_attr_of(g->in, n, KIR_ATTR_start), cb = frag_col_blocks(g, n);

	if (g->kind[n] != FRAG_TILE || start % (g->lanes * g->run[n])) {
		g->failed = true;
		return;
	}
	val = frag_new(g, n);
	for (int64_t i = 0; i < frag_blocks(g, n); i++)
		val[i] = g->val[x][i / cb * frag_col_blocks(g, x) + start / g->lanes + i % cb];
}

/* Two tiles, one below the other, where no block of the upper one is filled up. */
static void lower_concat(frag *g, kir_ref n)
{
	kir_ref x = kir_src(g->in, n, 0), y = kir_src(g->in, n, 1), *val;
	int64_t rx = frag_nrows(g, x), ry = frag_nrows(g, y), nx = frag_blocks(g, x);

	if (kir_attr_of(g->in, n, KIR_ATTR_axis) != 0 || rx != ry || g->kind[n] == FRAG_COL ||
	    (rx % 8 && frag_height(rx) != rx)) {
		g->failed = true;
		return;
	}
	val = frag_new(g, n);
	for (int64_t i = 0; i < nx; i++)
		if (rx % 8) {
			val[i] = frag_pack(g, g->val[x][i], g->val[y][i]);
		} else {
			val[i] = g->val[x][i];
			val[nx + i] = g->val[y][i];
		}
}

static void lower_slice(frag *g, kir_ref n)
{
	kir_ref x = kir_src(g->in, n, 0), *val;
	int64_t start = kir_attr_of(g->in, n, KIR_ATTR_start), rows = frag_nrows(g, n);
	int64_t cb = frag_col_blocks(g, n);

	if (kir_attr_of(g->in, n, KIR_ATTR_axis) != 0 || g->kind[n] == FRAG_COL ||
	    (rows % 8 && (frag_height(rows) != rows || frag_row_blocks(g, x) > 1)) ||
	    (rows % 8 == 0 && start % 8)) {
		g->failed = true;
		return;
	}
	val = frag_new(g, n);
	for (int64_t i = 0; i < frag_blocks(g, n); i++)
		val[i] = rows % 8 ? frag_part(g, g->val[x][i], start, rows)
		                  : g->val[x][start / 8 * cb + i];
}

/* Combines blocks two by two: fewer steps wait for one another. */
static kir_ref combine(frag *g, kir_op op, kir_ref *x, int64_t n)
{
	for (int64_t step = 1; step < n; step *= 2)
		for (int64_t i = 0; i + step < n; i += 2 * step)
			x[i] = e2(g->f, op, g->f->node[x[i]].type, x[i], x[i + step]);
	return x[0];
}

enum { MOST_BLOCKS = 128 };

/* Of an element a row that every lane has: over the rows there are, and then of any lane. */
static void reduce_rows(frag *g, kir_ref n)
{
	kir_ref x = kir_src(g->in, n, 0), part[MOST_BLOCKS];
	kir_op op = (kir_op)g->in->node[n].op;
	int64_t rows = frag_nrows(g, x), h = frag_height(rows);

	if (rows > MOST_BLOCKS || op != KIR_OP_reduce_max) {
		g->failed = true;
		return;
	}
	for (int64_t i = 0; i < rows; i++)
		part[i] = frag_part(g, g->val[x][i / h], i % h, 1);
	g->map[n] = e1(g->f, op, g->in->node[n].type, combine(g, KIR_OP_max, part, rows));
}

/* Largest, smallest and sum are one of two reductions over lanes, on blocks changed so. */
static void lower_reduce(frag *g, kir_ref n)
{
	kir_ref x = kir_src(g->in, n, 0), part[MOST_BLOCKS], *val;
	kir_op op = (kir_op)g->in->node[n].op;
	kir_op each = op == KIR_OP_reduce_add ? KIR_OP_add : KIR_OP_max;
	int64_t cb = frag_col_blocks(g, x), rb = frag_row_blocks(g, x);
	bool scalar = !kir_type_of(g->in, n)->rank;
	kir_type_id t = frag_type(g, x);

	if (scalar && g->kind[x] == FRAG_ROW) {
		reduce_rows(g, n);
		return;
	}
	if (cb > MOST_BLOCKS || (scalar && g->kind[x] != FRAG_COL)) {
		g->failed = true;
		return;
	}
	val = scalar ? NULL : frag_new(g, n);
	for (int64_t r = 0; r < rb; r++) {
		kir_ref y;

		for (int64_t c = 0; c < cb; c++) {
			part[c] = g->val[x][r * cb + c];
			if (op == KIR_OP_reduce_amax)
				part[c] = e1(g->f, KIR_OP_abs, t, part[c]);
			if (op == KIR_OP_reduce_min)
				part[c] = e1(g->f, KIR_OP_neg, t, part[c]);
		}
		y = combine(g, each, part, cb);
		if (scalar) {
			y = e1(g->f, each == KIR_OP_add ? KIR_OP_reduce_add : KIR_OP_reduce_max,
			       g->in->node[n].type, y);
			t = g->in->node[n].type;
		} else if (!g->partial[n] && !g->tops[n]) {
			y = e1(g->f,
			       each == KIR_OP_add ? KIR_OP_xe_reduce_add : KIR_OP_xe_reduce_max,
			       t, y);
		}
		if (op == KIR_OP_reduce_min)
			y = e1(g->f, KIR_OP_neg, t, y);
		if (scalar)
			g->map[n] = y;
		else
			val[r] = y;
	}
}

static bool is_tile(const frag *g, kir_ref n)
{
	const kir_type *t = kir_type_of(g->in, n);

	return t->rank && !t->buffer;
}

static bool has_tile(const frag *g, kir_ref n)
{
	for (unsigned i = 0; i < g->in->node[n].nsrc; i++)
		if (is_tile(g, kir_src(g->in, n, i)))
			return true;
	return is_tile(g, n);
}

static void lower_whole(frag *g, kir_ref n)
{
	kir_op op = (kir_op)g->in->node[n].op;

	if (!has_tile(g, n)) {
		if (op == KIR_OP_local)
			g->failed = true;
		else
			kir_copy(g->f, g->in, n, g->map);
		return;
	}
	switch (op) {
	case KIR_OP_load: frag_load(g, n); return;
	case KIR_OP_store: frag_store(g, n); return;
	case KIR_OP_dot: frag_dot(g, n); return;
	case KIR_OP_convert:
		if (g->deferred[kir_src(g->in, n, 0)])
			frag_load_rows(g, n);
		else
			lower_each(g, n);
		return;
	case KIR_OP_iota: lower_iota(g, n); return;
	case KIR_OP_splat: lower_splat(g, n); return;
	case KIR_OP_spread: lower_spread(g, n); return;
	case KIR_OP_reshape: lower_reshape(g, n); return;
	case KIR_OP_concat:
		(kir_attr_of(g->in, n, KIR_ATTR_axis) == 1 ? lower_beside : lower_concat)(g, n);
		return;
	case KIR_OP_slice:
		(kir_attr_of(g->in, n, KIR_ATTR_axis) == 1 ? lower_columns : lower_slice)(g, n);
		return;
	case KIR_OP_reduce_add:
	case KIR_OP_reduce_max:
	case KIR_OP_reduce_min:
	case KIR_OP_reduce_amax: lower_reduce(g, n); return;
	case KIR_OP_gather:
	case KIR_OP_bitcast: lower_each(g, n); return;
	default:
		if (kir_ops[op].flags & KIR_EACH)
			lower_each(g, n);
		else
			g->failed = true;
	}
}

static void lower_op(frag *g, kir_ref n)
{
	kir_ref *was[KIR_MAX_SRC];

	if (g->deferred[n])
		return;
	frag_meet(g, n, was);
	lower_whole(g, n);
	frag_part_again(g, n, was);
}

/* -- regions ---------------------------------------------------------------------------- */

/* The values that n stands for; how many. At most KIR_MAX_SRC are written. */
static unsigned spell(frag *g, kir_ref n, kir_ref *out, unsigned at)
{
	int64_t count = is_tile(g, n) ? frag_blocks(g, n) : 1;

	for (int64_t i = 0; i < count; i++, at++) {
		if (at >= KIR_MAX_SRC - 2) {
			g->failed = true;
			return at;
		}
		out[at] = is_tile(g, n) ? g->val[n][i] : g->map[n];
	}
	return at;
}

/* Values `first`, `first` + 1, ... of the output are n; returns what follows them. */
static kir_ref bind(frag *g, kir_ref n, kir_ref first)
{
	if (!is_tile(g, n)) {
		g->map[n] = first;
		return first + 1;
	}
	frag_new(g, n);
	for (int64_t i = 0; i < frag_blocks(g, n); i++)
		g->val[n][i] = first++;
	return first;
}

static kir_ref lower_seq(frag *g, kir_ref n);

static unsigned yielded(frag *g, kir_ref yield, kir_ref *out)
{
	unsigned n = 0;

	for (unsigned i = 0; i < g->in->node[yield].nsrc && !g->failed; i++)
		n = spell(g, kir_src(g->in, yield, i), out, n);
	return n;
}

static kir_ref lower_for(frag *g, kir_ref n)
{
	const kir_func *in = g->in;
	unsigned count = in->node[n].nsrc - 2u, ns = 0;
	kir_ref out[KIR_MAX_SRC], loop, at, y;

	for (unsigned i = 0; i < count && !g->failed; i++)
		ns = spell(g, kir_src(in, n, 2 + i), out, ns);
	if (g->failed)
		return 0;
	loop = kir_for(g->f, g->map[kir_src(in, n, 0)], g->map[kir_src(in, n, 1)],
	               kir_for_step(in, n), kir_for_par(in, n), out, ns);
	at = bind(g, n + 1, loop + 1);
	for (unsigned i = 0; i < count; i++)
		at = bind(g, n + 2 + i, at);
	y = lower_seq(g, n + 2 + count);
	if (g->failed)
		return 0;
	ns = yielded(g, y, out);
	if (g->failed)
		return 0;
	at = kir_for_end(g->f, loop, out, ns);
	for (unsigned i = 0; i < count; i++) {
		at = bind(g, y + 1 + i, at);
		frag_gather(g, y + 1 + i);
	}
	return kir_region_end(in, n);
}

static kir_ref lower_if(frag *g, kir_ref n)
{
	kir_ref cond = kir_if(g->f, g->map[kir_src(g->in, n, 0)]), out[KIR_MAX_SRC], y, at;
	unsigned ns;

	y = lower_seq(g, n + 1);
	if (g->failed)
		return 0;
	ns = yielded(g, y, out);
	if (g->failed)
		return 0;
	kir_else(g->f, out, ns);
	y = lower_seq(g, y + 1);
	if (g->failed)
		return 0;
	ns = yielded(g, y, out);
	if (g->failed)
		return 0;
	at = kir_if_end(g->f, cond, out, ns);
	for (unsigned i = 0; i < g->in->node[y].nsrc; i++)
		at = bind(g, y + 1 + i, at);
	return kir_region_end(g->in, n);
}

/* Lowers up to the yield or ret that closes the region; returns it, 0 when something isn't
 * taken. */
static kir_ref lower_seq(frag *g, kir_ref n)
{
	while (!g->failed && !(kir_ops[g->in->node[n].op].flags & KIR_ENDS)) {
		kir_op op = (kir_op)g->in->node[n].op;

		if (op == KIR_OP_for) {
			n = lower_for(g, n);
		} else if (op == KIR_OP_if) {
			n = lower_if(g, n);
		} else {
			if (op != KIR_OP_param)
				lower_op(g, n);
			n++;
		}
	}
	return g->failed ? 0 : n;
}

/* The same function with an iota of its own for each use: one may number rows for one op and
 * columns for another. */
static const kir_func *split_iotas(const kir_func *in)
{
	kir_func *f = kir_func_like(in, in->level);
	kir_ref *map = kir_map_new(f, in);

	for (kir_ref n = 1; n < in->nnode; n++) {
		for (unsigned i = 0; i < in->node[n].nsrc; i++) {
			kir_ref s = kir_src(in, n, i);

			if (in->node[s].op == KIR_OP_iota)
				kir_copy(f, in, s, map);
		}
		if (in->node[n].op != KIR_OP_param && in->node[n].op != KIR_OP_iota)
			kir_copy(f, in, n, map);
	}
	return f;
}

/* None of them with columns of its left factor as rows, which lanes don't hold. */
static bool has_products(const kir_func *f)
{
	bool any = false;

	for (kir_ref n = 1; n < f->nnode; n++) {
		if (f->node[n].op != KIR_OP_dot)
			continue;
		if (kir_attr_of(f, n, KIR_ATTR_trans) == 2)
			return false;
		any = true;
	}
	return any;
}

kpass_result kpass_fragment(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_module *m = out->module;
	frag g = { .f = out, .lanes = in->target->lanes };

	(void)why;
	if (!(in->target->features & KIR_HAS_xe) || !has_products(in))
		return KPASS_SAME;
	g.in = in = split_iotas(in);
	g.map = kir_map_new(out, in);
	g.val = kir_alloc(m, in->nnode * sizeof *g.val);
	g.kind = kir_alloc(m, in->nnode * sizeof *g.kind);
	g.run = kir_alloc(m, in->nnode * sizeof *g.run);
	g.deferred = kir_alloc(m, in->nnode * sizeof *g.deferred);
	g.nuse = kir_count_uses(in);
	g.partial = kir_alloc(m, in->nnode * sizeof *g.partial);
	g.gathers = kir_alloc(m, in->nnode * sizeof *g.gathers);
	g.tops = kir_alloc(m, in->nnode * sizeof *g.tops);
	if (!frag_shapes(&g))
		return KPASS_SAME;
	frag_find_sums(&g);
	frag_find_maxima(&g);
	lower_seq(&g, 1);
	if (g.failed)
		return KPASS_SAME;
	kir_ret(out);
	return KPASS_CHANGED;
}
