/* SPDX-License-Identifier: Apache-2.0 */
/* expand_gemm.c -- the gemm part of the expand pass, and relayout.
 *
 *     gemm a=%a, as=%as, w=%w, ws=%ws, c=%c, n=%n {group=128, wgroup=128, block=128}
 *  =>   for %j = 0 to N / n_tile par {
 *         for %i = 0 to %n step m_tile {
 *           %acc = for %k = 0 to K step 128 carry(%sum = 0) {
 *             %p = dot %a[%i,%k], %w[%j,%k] : f32 {trans=1}      one block, in f32
 *             %d = %as[%i, %k/128] * %ws[%j/128, %k/128]
 *             yield fma %p, %d, %sum {axis=0}
 *           }
 *           store convert %acc, %c[%i,%j]
 *
 * A block of the contraction is as long as both its scales hold, at most BLOCK: its products
 * are summed in f32, then scaled once for each element of c. The codes are operands of a `dot`
 * as they are stored: which arithmetic takes them is arith's business, and a tile of w is
 * widened once for all rows of a.
 *
 * Rows are taken m_tile at a time. What is left is a tile of 8 rows (with tile registers 16, as
 * many as one has) where it is more than 4, a tile of 4 where it is more than 1, and one row:
 *
 *       for %i = %whole to %whole + (%n - %whole + 3) / 8 * 8 step 8 {
 *         ... load %a[%i,%k] upto %n ... store ..., %c[%i,%j] upto %n
 *
 * so that a batch of decode (2 to 16 rows) reads and widens w once or twice, and not once for 4
 * rows; one row reads w once. Rows of such a tile past n are read as 0 and not stored. GPUs,
 * whose tiles stay in registers, take whole tiles of 4 and single rows. Columns past the last
 * whole n_tile and the end of the contraction have static sizes, so they are loops and tiles of
 * their own. Where w is padded (a packed layout) the last tile is a whole one, cut when it is
 * stored.
 *
 * relayout copies BAND rows and STRIPE columns at once.
 *
 * Requires level A. Knobs m_tile, n_tile.
 */
#include "expand.h"
#include "../ir/format.h"

enum {
	BLOCK = 128,
	WORD = 4,
	FEW = 4,
	SOME = 8,
	M_TILE = 32,
	GPU_M_TILE = 16,
	NARROW_M = 8,
	NARROW_N = 32,
	N_TILE = 64,
	BAND = 16,
	STRIPE = 64
};

typedef struct gemm {
	kir_func *f;
	kir_ref a, as, w, ws, c, n;
	const kir_side *a_two, *w_two; /* codes two a byte; NULL: they aren't */
	int64_t cols, depth, group, wgroup, block;
	int64_t step; /* of the contraction that both scales hold for */
	int64_t unit; /* of it that codes come in                 */
	int64_t m_tile, n_tile;
} gemm;

static kir_ref s64_op(kir_func *f, kir_op op, kir_ref a, kir_ref b)
{
	return e2(f, op, kir_scalar(f->module, KIR_s64), a, b);
}

/* at / by, of a constant at once. */
static kir_ref quotient(kir_func *f, kir_ref at, int64_t by)
{
	int64_t k;

	if (by == 1)
		return at;
	return kir_is_const(f, at, &k) ? s64c(f, k / by)
	                               : s64_op(f, KIR_OP_fdiv, at, s64c(f, by));
}

/* Which scale of a row position k has; group 0: there is one. */
static kir_ref part_at(kir_func *f, kir_ref k, int64_t group)
{
	return group ? quotient(f, k, group) : s64c(f, 0);
}

static kir_ref tile_at(kir_func *f, kir_ref buf, kir_ref row, kir_ref col, int64_t rows,
                       int64_t cols, kir_ref upto)
{
	kir_elem e = (kir_elem)kir_type_of(f, buf)->elem;
	kir_ref src[4] = { buf, row, col, upto };

	return kir_emit(f, KIR_OP_load, kir_tile(f->module, e, rows, cols), src, upto ? 4 : 3,
	                NULL);
}

/* Stored scales in f32. An exponent's bits become those of an f32. */
static kir_ref widen_scale(kir_func *f, kir_ref x)
{
	kir_type_id t = f->node[x].type, it;

	if (kir_type_of(f, x)->elem != KIR_e8m0)
		return as_elem(f, x, KIR_f32);
	it = kir_with_elem(f->module, t, KIR_s32);
	x = e1(f, KIR_OP_bitcast, kir_with_elem(f->module, t, KIR_u8), x);
	x = e2(f, KIR_OP_shl, it, as_elem(f, x, KIR_s32), kir_const_i(f, KIR_s32, 23));
	return e1(f, KIR_OP_bitcast, kir_with_elem(f->module, t, KIR_f32), x);
}

/* n elements from row `row` of column col, as a vector; those from upto on are 0. */
static kir_ref column_at(kir_func *f, kir_ref buf, kir_ref row, kir_ref col, int64_t n,
                         kir_ref upto)
{
	kir_elem e = (kir_elem)kir_type_of(f, buf)->elem;

	return e1(f, KIR_OP_reshape, kir_vector(f->module, e, n),
	          tile_at(f, buf, row, col, n, 1, upto));
}

/* Where a tile is. */
typedef struct where {
	kir_ref i, j, k;
	int64_t rows, cols, depth;
	int64_t keep; /* columns that exist: fewer than cols in what pads w */
	kir_ref upto; /* rows of a that exist; 0: all of these do           */
} where;

/* Codes from element k of rows from i, as values. two: they lie two a byte. */
static kir_ref codes_at(kir_func *f, kir_ref buf, const kir_side *two, kir_ref i, kir_ref k,
                        int64_t rows, int64_t n, kir_ref upto)
{
	kir_ref x;

	if (!two)
		return as_elem(f, tile_at(f, buf, i, k, rows, n, upto), KIR_f32);
	x = tile_at(f, buf, i, quotient(f, k, 2), rows, n / 2, upto);
	x = kir_emit(f, KIR_OP_unpack, kir_tile(f->module, two->elem, rows, n), &x, 1,
	             (int64_t[KIR_MAX_ATTRS]){ two->pack });
	return as_elem(f, x, KIR_f32);
}

/* Products of one block of the contraction, plus acc if it is given. A dot takes whole words of
 * 4 elements; what is left are products of a column of a and a column of w. Codes of 4 bits
 * leave nothing. */
static kir_ref products(const gemm *g, const where *at, kir_ref acc)
{
	kir_func *f = g->f;
	kir_module *m = f->module;
	int64_t whole = at->depth / WORD * WORD;
	kir_type_id t = kir_tile(m, KIR_f32, at->rows, at->cols);

	if (whole) {
		kir_ref a =
		    codes_at(f, g->a, g->a_two, at->i, at->k, at->rows, whole, at->upto);
		kir_ref w = codes_at(f, g->w, g->w_two, at->j, at->k, at->cols, whole, 0);

		acc = kir_emit(f, KIR_OP_dot, t, (kir_ref[]){ a, w, acc }, acc ? 3 : 2,
		               (int64_t[KIR_MAX_ATTRS]){ 1 });
	}
	for (int64_t d = whole; d < at->depth; d++) {
		kir_ref k = s64_op(f, KIR_OP_add, at->k, s64c(f, d));
		kir_ref a =
		    as_elem(f, column_at(f, g->a, at->i, k, at->rows, at->upto), KIR_f32);
		kir_ref w = as_elem(f, column_at(f, g->w, at->j, k, at->cols, 0), KIR_f32);
		kir_ref p = e2x(f, KIR_OP_mul, t, e1x(f, KIR_OP_spread, t, a, 0), w, 1);

		acc = acc ? e2(f, KIR_OP_add, t, acc, p) : p;
	}
	return acc;
}

/* acc and one block, times its scales. */
static kir_ref one_block(const gemm *g, const where *at, kir_ref acc)
{
	kir_func *f = g->f;
	kir_type_id t = kir_tile(f->module, KIR_f32, at->rows, at->cols);
	kir_type_id rt = kir_vector(f->module, KIR_f32, at->rows);
	bool scaled = g->as || g->ws;
	kir_ref p = products(g, at, scaled ? 0 : acc), row = 0, all = 0;

	if (!scaled)
		return p;
	if (g->as)
		row = widen_scale(f, column_at(f, g->as, at->i, part_at(f, at->k, g->group),
		                               at->rows, at->upto));
	if (g->ws && g->block == 1) {
		kir_ref upto = at->keep < at->cols ? s64c(f, g->cols) : 0;
		kir_ref w =
		    column_at(f, g->ws, at->j, part_at(f, at->k, g->wgroup), at->cols, upto);

		p = e2x(f, KIR_OP_mul, t, p, widen_scale(f, w), 1);
	} else if (g->ws) {
		kir_ref at_w[2] = { quotient(f, at->j, g->block),
			            part_at(f, at->k, g->wgroup) };

		all = widen_scale(f, load1(f, g->ws, 2, at_w));
	}
	if (!row)
		return all ? e3(f, KIR_OP_fma, t, p, all, acc) : e2(f, KIR_OP_add, t, p, acc);
	if (all)
		row = e2(f, KIR_OP_mul, rt, row, all);
	return e3x(f, KIR_OP_fma, t, p, row, acc, 0);
}

/* at.rows rows from at.i of the columns from at.j. */
static void one_tile(const gemm *g, where at)
{
	kir_func *f = g->f;
	kir_type_id t = kir_tile(f->module, KIR_f32, at.rows, at.cols);
	kir_ref acc = e1(f, KIR_OP_splat, t, f32c(f, 0));
	int64_t whole = g->depth / g->step * g->step;

	at.depth = g->step;
	if (whole > g->step) {
		kir_ref l = kir_for(f, s64c(f, 0), s64c(f, whole), g->step, false, &acc, 1);

		at.k = l + 1;
		acc = one_block(g, &at, l + 2);
		acc = kir_for_end(f, l, &acc, 1);
	} else if (whole) {
		at.k = s64c(f, 0);
		acc = one_block(g, &at, acc);
	}
	if (whole < g->depth) {
		at.k = s64c(f, whole);
		at.depth = g->depth - whole;
		acc = one_block(g, &at, acc);
	}
	acc = as_elem(f, acc, (kir_elem)kir_type_of(f, g->c)->elem);
	if (at.keep < at.cols) {
		kir_type_id kt =
		    kir_tile(f->module, (kir_elem)kir_type_of(f, acc)->elem, at.rows, at.keep);

		acc = kir_emit(f, KIR_OP_slice, kt, &acc, 1, (int64_t[KIR_MAX_ATTRS]){ 1, 0 });
	}
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ acc, g->c, at.i, at.j, at.upto },
	         at.upto ? 5 : 4, NULL);
}

/* The rows [from, to) of the columns from j, `rows` at a time. */
static void some_rows(const gemm *g, kir_ref from, kir_ref to, where at)
{
	kir_ref l = kir_for(g->f, from, to, at.rows, false, NULL, 0);

	at.i = l + 1;
	one_tile(g, at);
	kir_for_end(g->f, l, NULL, 0);
}

/* Where tiles of `rows` rows from `from` end, if the last is cut and leaves what has a smaller
 * tile, of at most `less` rows. */
static kir_ref cut_end(const gemm *g, kir_ref from, int64_t rows, int64_t less)
{
	kir_func *f = g->f;
	kir_ref left = s64_op(f, KIR_OP_sub, g->n, from), n;

	n = s64_op(f, KIR_OP_add, left, s64c(f, rows - 1 - less));
	n = s64_op(f, KIR_OP_max, quotient(f, n, rows), s64c(f, 0));
	return s64_op(f, KIR_OP_add, from, s64_op(f, KIR_OP_mul, n, s64c(f, rows)));
}

/* All rows of the columns from j. */
static void all_rows(const gemm *g, kir_ref j, int64_t cols, int64_t keep)
{
	kir_func *f = g->f;
	const kir_target *t = f->target;
	int64_t some = t->features & KIR_HAS_amx_tile ? KIR_AMX_ROWS : SOME;
	int64_t sizes[4] = { g->m_tile, t->lanes ? FEW : some, FEW, 1 }, size = 0;
	kir_ref from = s64c(f, 0), step, to;

	for (int i = 0; i < 4; i++) {
		where at = { .j = j, .rows = sizes[i], .cols = cols, .keep = keep };

		if (size && sizes[i] >= size)
			continue;
		size = sizes[i];
		step = s64c(f, size);
		if (size == 1) {
			to = g->n;
		} else if (!i || t->lanes) {
			to = s64_op(f, KIR_OP_mul, s64_op(f, KIR_OP_fdiv, g->n, step), step);
		} else {
			to = cut_end(g, from, size, size > FEW ? FEW : 1);
			at.upto = g->n;
		}
		some_rows(g, from, to, at);
		from = to;
	}
}

/* Elements that codes of 4 bits come in; BLOCK is a multiple of it. */
static int64_t unit_of(const kir_side *two)
{
	return !two ? 1 : two->pack > WORD ? 2 * two->pack : 2 * WORD;
}

static bool choose_tiles(gemm *g, kir_diag *why)
{
	const kir_sched *s = &g->f->sched;
	int64_t a = g->group ? g->group : g->depth, w = g->wgroup ? g->wgroup : g->depth;
	unsigned lanes = g->f->target->lanes;
	bool narrow = lanes == 8; /* half the registers */

	g->step = g->as && a < g->depth ? a : g->depth;
	if (g->ws && w < g->step)
		g->step = w;
	for (int64_t d = BLOCK; g->step > BLOCK; d -= g->unit)
		if (g->step % d == 0 || (g->step == g->depth && d == BLOCK))
			g->step = d;
	g->m_tile = s->m_tile ? s->m_tile : narrow ? NARROW_M : lanes ? GPU_M_TILE : M_TILE;
	g->n_tile = s->n_tile ? s->n_tile : narrow ? NARROW_N : N_TILE;
	while (g->block > 1 && g->block % g->n_tile && g->n_tile > 1 && !s->n_tile)
		g->n_tile /= 2;
	kir_chose(g->f, KIR_KNOB_m_tile, g->m_tile);
	kir_chose(g->f, KIR_KNOB_n_tile, g->n_tile);
	if (g->block == 1 || g->block % g->n_tile == 0)
		return true;
	kir_error(why, 0, 0,
	          "knob n_tile=%d: it must divide block=%d, whose columns share a scale",
	          (int)g->n_tile, (int)g->block);
	return false;
}

bool expand_gemm(const kir_func *in, kir_ref n, kir_func *f, kir_ref *map, kir_diag *why)
{
	gemm g = { .f = f,
		   .a = expand_operand(in, n, map, "a"),
		   .as = expand_operand(in, n, map, "as"),
		   .w = expand_operand(in, n, map, "w"),
		   .ws = expand_operand(in, n, map, "ws"),
		   .c = expand_operand(in, n, map, "c"),
		   .n = expand_operand(in, n, map, "n"),
		   .group = kir_attr_of(in, n, KIR_ATTR_group),
		   .wgroup = kir_attr_of(in, n, KIR_ATTR_wgroup),
		   .block = kir_attr_of(in, n, KIR_ATTR_block),
		   .a_two = kir_packed_side(in, n, KIR_ATTR_acts),
		   .w_two = kir_packed_side(in, n, KIR_ATTR_weights) };

	g.cols = kir_type_of(f, g.c)->dim[1];
	g.depth = kir_type_of(f, g.a)->dim[1] * (g.a_two ? 2 : 1);
	g.unit = unit_of(g.w_two) > unit_of(g.a_two) ? unit_of(g.w_two) : unit_of(g.a_two);
	if (!choose_tiles(&g, why))
		return false;
	int64_t whole = g.cols / g.n_tile, rest = g.cols % g.n_tile;

	if (whole) {
		kir_ref l = kir_for(f, s64c(f, 0), s64c(f, whole), 1, true, NULL, 0);

		all_rows(&g, s64_op(f, KIR_OP_mul, l + 1, s64c(f, g.n_tile)), g.n_tile,
		         g.n_tile);
		kir_for_end(f, l, NULL, 0);
	}
	if (rest) {
		int64_t start = whole * g.n_tile, end = kir_type_of(f, g.w)->dim[0];
		bool padded = start + g.n_tile <= end;
		kir_ref l = kir_for(f, s64c(f, 0), s64c(f, 1), 1, true, NULL, 0);

		all_rows(&g, s64c(f, start), padded ? g.n_tile : rest, rest);
		kir_for_end(f, l, NULL, 0);
	}
	return true;
}

/* -- relayout --------------------------------------------------------------------------- */

typedef struct copy {
	kir_func *f;
	kir_ref x, y;
	int64_t rows, cols, y_rows, y_cols;
} copy;

static void zero_patch(const copy *c, kir_ref row, int64_t rows, kir_ref col, int64_t cols)
{
	kir_func *f = c->f;
	kir_elem e = (kir_elem)kir_type_of(f, c->y)->elem;
	kir_ref zero = kir_is_float(e) ? kir_const_f(f, e, 0) : kir_const_i(f, e, 0);
	kir_ref t = e1(f, KIR_OP_splat, kir_tile(f->module, e, rows, cols), zero);

	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ t, c->y, row, col }, 4, NULL);
}

static void zeros(const copy *c, kir_ref row, int64_t rows, int64_t from)
{
	kir_func *f = c->f;
	int64_t whole = from + (c->y_cols - from) / STRIPE * STRIPE;

	if (whole > from) {
		kir_ref l = kir_for(f, s64c(f, from), s64c(f, whole), STRIPE, false, NULL, 0);

		zero_patch(c, row, rows, l + 1, STRIPE);
		kir_for_end(f, l, NULL, 0);
	}
	if (whole < c->y_cols)
		zero_patch(c, row, rows, s64c(f, whole), c->y_cols - whole);
}

static void patch(const copy *c, kir_ref row, int64_t rows, kir_ref col, int64_t cols,
                  kir_ref upto)
{
	kir_func *f = c->f;
	kir_ref t = tile_at(f, c->x, row, col, rows, cols, upto);

	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ t, c->y, row, col }, 4, NULL);
}

/* Rows from `row`; those from upto on are 0. */
static void band(const copy *c, kir_ref row, int64_t rows, kir_ref upto)
{
	kir_func *f = c->f;
	int64_t whole = c->cols / STRIPE * STRIPE;

	if (whole) {
		kir_ref l = kir_for(f, s64c(f, 0), s64c(f, whole), STRIPE, false, NULL, 0);

		patch(c, row, rows, l + 1, STRIPE, upto);
		kir_for_end(f, l, NULL, 0);
	}
	if (whole < c->cols)
		patch(c, row, rows, s64c(f, whole), c->cols - whole, upto);
	if (c->cols < c->y_cols)
		zeros(c, row, rows, c->cols);
}

bool expand_relayout(const kir_func *in, kir_ref n, kir_func *f, kir_ref *map, kir_diag *why)
{
	copy c = { .f = f,
		   .x = expand_operand(in, n, map, "x"),
		   .y = expand_operand(in, n, map, "y") };

	(void)why;
	c.rows = kir_type_of(f, c.x)->dim[0];
	c.cols = kir_type_of(f, c.x)->dim[1];
	c.y_rows = kir_type_of(f, c.y)->dim[0];
	c.y_cols = kir_type_of(f, c.y)->dim[1];
	int64_t whole = c.rows / BAND, row = whole * BAND;

	if (whole) {
		kir_ref l = kir_for(f, s64c(f, 0), s64c(f, whole), 1, true, NULL, 0);

		band(&c, s64_op(f, KIR_OP_mul, l + 1, s64c(f, BAND)), BAND, 0);
		kir_for_end(f, l, NULL, 0);
	}
	if (row == c.y_rows)
		return true;
	kir_ref l = kir_for(f, s64c(f, 0), s64c(f, 1), 1, true, NULL, 0);

	for (; row < c.y_rows; row += BAND) {
		int64_t rows = c.y_rows - row < BAND ? c.y_rows - row : BAND;

		if (row < c.rows)
			band(&c, s64c(f, row), rows, s64c(f, c.rows));
		else
			zeros(&c, s64c(f, row), rows, 0);
	}
	kir_for_end(f, l, NULL, 0);
	return true;
}
