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
 * many as one has) where it is more than 4, a tile of 4 where it is more than 2, one of 2 (of
 * weights of 8 bits and less: those of 16 bits, which memory limits, come no faster), one row:
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
 * Columns that each have a scale for a short block (weights of 4 bits: 32) have them a row of
 * K / block apart. TURN blocks' are loaded at once, a row of each column, and stored as they
 * are into a local of TURN rows of columns, for which pass vectorize turns squares in
 * registers. Each block widens its own:
 *
 *       for %k0 = 0 to K step TURN * 32 carry(%s0 = 0) {
 *         store load %ws[%j,%k0/32] : <64 x TURN>, %turned[0,0]
 *         for %k = %k0 to %k0 + TURN * 32 step 32 carry(%sum = %s0) {
 *           ... load %turned[0,%k/32 - %k0/32] : <64 x 1>
 *
 * With knob m_chunk the m_tile rows of whole columns are expand_gemm_chunk.c's.
 *
 * relayout copies BAND rows and STRIPE columns at once.
 *
 * Requires level A. Knobs m_tile, n_tile, m_chunk, n_chunk.
 */
#include "expand_gemm.h"

enum {
	BLOCK = 128,
	WORD = 4,
	TWO = 2,
	FEW = 4,
	SOME = 8,
	M_TILE = 32,
	GPU_M_TILE = 16,
	NARROW_M = 8,
	NARROW_N = 32,
	N_TILE = 64,
	TURN = 16,
	SHARES = 16, /* of the columns at least, so that no core waits for work */
	BAND = 16,
	STRIPE = 64
};

/* at / by, of a constant at once. */
static kir_ref quotient(kir_func *f, kir_ref at, int64_t by)
{
	int64_t k;

	if (by == 1)
		return at;
	return kir_is_const(f, at, &k) ? s64c(f, k / by)
	                               : gemm_s64(f, KIR_OP_fdiv, at, s64c(f, by));
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

kir_ref gemm_codes(kir_func *f, kir_ref buf, const kir_side *two, kir_ref i, kir_ref k,
                   int64_t rows, int64_t n, kir_ref upto, kir_elem e)
{
	kir_ref x;

	if (!two)
		return as_elem(f, tile_at(f, buf, i, k, rows, n, upto), e);
	x = tile_at(f, buf, i, quotient(f, k, 2), rows, n / 2, upto);
	x = kir_emit(f, KIR_OP_unpack, kir_tile(f->module, two->elem, rows, n), &x, 1,
	             (int64_t[KIR_MAX_ATTRS]){ two->pack });
	return as_elem(f, x, e);
}

/* Products of one block of the contraction, plus acc if it is given. A dot takes whole words of
 * 4 elements; what is left are products of a column of a and a column of w. Codes of 4 bits
 * leave nothing. */
static kir_ref products(const gemm *g, const gemm_place *at, kir_ref acc)
{
	kir_func *f = g->f;
	kir_module *m = f->module;
	int64_t whole = at->depth / WORD * WORD;
	kir_type_id t = kir_tile(m, KIR_f32, at->rows, at->cols);

	if (whole) {
		kir_ref a = at->wide_a, w = at->wide_w;

		if (!a)
			a = gemm_codes(f, g->a, g->a_two, at->i, at->k, at->rows, whole,
			               at->upto, KIR_f32);
		if (!w)
			w = gemm_codes(f, g->w, g->w_two, at->j, at->k, at->cols, whole, 0,
			               KIR_f32);

		acc = kir_emit(f, KIR_OP_dot, t, (kir_ref[]){ a, w, acc }, acc ? 3 : 2,
		               (int64_t[KIR_MAX_ATTRS]){ 1 });
	}
	for (int64_t d = whole; d < at->depth; d++) {
		kir_ref k = gemm_s64(f, KIR_OP_add, at->k, s64c(f, d));
		kir_ref a =
		    as_elem(f, column_at(f, g->a, at->i, k, at->rows, at->upto), KIR_f32);
		kir_ref w = as_elem(f, column_at(f, g->w, at->j, k, at->cols, 0), KIR_f32);
		kir_ref p = e2x(f, KIR_OP_mul, t, e1x(f, KIR_OP_spread, t, a, 0), w, 1);

		acc = acc ? e2(f, KIR_OP_add, t, acc, p) : p;
	}
	return acc;
}

kir_ref gemm_row_scales(const gemm *g, const gemm_place *at)
{
	return widen_scale(g->f, column_at(g->f, g->as, at->i, part_at(g->f, at->k, g->group),
	                                   at->rows, at->upto));
}

kir_ref gemm_col_scales(const gemm *g, const gemm_place *at)
{
	kir_ref upto = at->keep < at->cols ? s64c(g->f, g->cols) : 0;

	return widen_scale(g->f, column_at(g->f, g->ws, at->j, part_at(g->f, at->k, g->wgroup),
	                                   at->cols, upto));
}

/* The scale that a block of columns shares. */
static kir_ref block_scale(const gemm *g, const gemm_place *at)
{
	kir_func *f = g->f;
	kir_ref at_w[2] = { quotient(f, at->j, g->block), part_at(f, at->k, g->wgroup) };

	return widen_scale(f, load1(f, g->ws, 2, at_w));
}

kir_ref gemm_scaled(const gemm *g, const gemm_place *at, kir_ref p, kir_ref acc)
{
	kir_func *f = g->f;
	kir_type_id t = kir_tile(f->module, KIR_f32, at->rows, at->cols);
	kir_type_id rt = kir_vector(f->module, KIR_f32, at->rows);
	kir_ref row = 0, all = 0;

	if (g->as)
		row = at->row_scales ? at->row_scales : gemm_row_scales(g, at);
	if (g->ws && g->block == 1) {
		kir_ref w = at->col_scales ? at->col_scales : gemm_col_scales(g, at);

		if (!row && !f->target->lanes)
			return e3x(f, KIR_OP_fma, t, p, w, acc, 1);
		p = e2x(f, KIR_OP_mul, t, p, w, 1);
	} else if (g->ws) {
		all = block_scale(g, at);
	}
	if (!row)
		return all ? e3(f, KIR_OP_fma, t, p, all, acc) : e2(f, KIR_OP_add, t, p, acc);
	if (all)
		row = e2(f, KIR_OP_mul, rt, row, all);
	return e3x(f, KIR_OP_fma, t, p, row, acc, 0);
}

kir_ref gemm_block(const gemm *g, const gemm_place *at, kir_ref acc)
{
	bool scaled = g->as || g->ws;
	kir_ref p = products(g, at, scaled ? 0 : acc);

	return scaled ? gemm_scaled(g, at, p, acc) : p;
}

kir_ref gemm_rest(const gemm *g, gemm_place at, kir_ref acc)
{
	if (g->whole == g->depth)
		return acc;
	at.k = s64c(g->f, g->whole);
	at.depth = g->depth - g->whole;
	return gemm_block(g, &at, acc);
}

void gemm_store(const gemm *g, const gemm_place *at, kir_ref acc)
{
	kir_func *f = g->f;

	acc = as_elem(f, acc, (kir_elem)kir_type_of(f, g->c)->elem);
	if (at->keep < at->cols) {
		kir_type_id kt = kir_tile(f->module, (kir_elem)kir_type_of(f, acc)->elem,
		                          at->rows, at->keep);

		acc = kir_emit(f, KIR_OP_slice, kt, &acc, 1, (int64_t[KIR_MAX_ATTRS]){ 1, 0 });
	}
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ acc, g->c, at->i, at->j, at->upto },
	         at->upto ? 5 : 4, NULL);
}

/* acc and the blocks of [from, to). */
static kir_ref some_blocks(const gemm *g, gemm_place at, int64_t from, int64_t to, kir_ref acc)
{
	kir_func *f = g->f;

	if (to - from > g->step) {
		kir_ref l = kir_for(f, s64c(f, from), s64c(f, to), g->step, false, &acc, 1);

		at.k = l + 1;
		acc = gemm_block(g, &at, l + 2);
		return kir_for_end(f, l, &acc, 1);
	}
	at.k = s64c(f, from);
	return to > from ? gemm_block(g, &at, acc) : acc;
}

/* -- scales of columns, TURN groups at a time ---------------------------------------------- */

/* Whether columns have scales of their own, one a block, that lie a row of them apart, and the
 * target turns squares of them in registers. */
static bool turns_scales(const gemm *g, const gemm_place *at)
{
	return g->ws && g->block == 1 && g->wgroup == g->step && !g->f->target->lanes &&
	       at->cols % TURN == 0 && g->whole >= TURN * g->step;
}

/* Scales by column, TURN groups of each: a column's lie TURN * cols apart, a group's columns
 * side by side. */
static kir_ref scales_local(const gemm *g, const gemm_place *at)
{
	kir_elem e = (kir_elem)kir_type_of(g->f, g->ws)->elem;
	kir_type t = { .elem = e, .rank = 2, .buffer = true, .npieces = 2 };
	int64_t size = kir_elem_bytes(e);

	t.dim[0] = at->cols;
	t.dim[1] = TURN;
	t.piece[0] = (kir_piece){ .axis = 0, .div = 1, .stride = size };
	t.piece[1] = (kir_piece){ .axis = 1, .div = 1, .stride = at->cols * size };
	return kir_emit(g->f, KIR_OP_local, kir_type_intern(g->f->module, &t), NULL, 0, NULL);
}

/* The blocks of which there are TURN, whose scales are read row by row and turned once, not
 * one by one for each block. Sets *end to where they end. */
static kir_ref turned_blocks(const gemm *g, gemm_place at, kir_ref acc, int64_t *end)
{
	kir_func *f = g->f;
	int64_t many = TURN * g->step;
	kir_elem e = (kir_elem)kir_type_of(f, g->ws)->elem;
	kir_type_id ct = kir_tile(f->module, e, at.cols, 1);
	kir_ref local = scales_local(g, &at), zero = s64c(f, 0);
	kir_ref upto = at.keep < at.cols ? s64c(f, g->cols) : 0;

	*end = g->whole / many * many;
	kir_ref outer = kir_for(f, zero, s64c(f, *end), many, false, &acc, 1);
	kir_ref x =
	    tile_at(f, g->ws, at.j, part_at(f, outer + 1, g->wgroup), at.cols, TURN, upto);

	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ x, local, zero, zero }, 4, NULL);
	acc = outer + 2;
	kir_ref to = gemm_s64(f, KIR_OP_add, outer + 1, s64c(f, many));
	kir_ref inner = kir_for(f, outer + 1, to, g->step, false, &acc, 1);

	at.k = inner + 1;
	x = quotient(f, gemm_s64(f, KIR_OP_sub, at.k, outer + 1), g->wgroup);
	x = kir_emit(f, KIR_OP_load, ct, (kir_ref[]){ local, zero, x }, 3, NULL);
	x = e1(f, KIR_OP_reshape, kir_vector(f->module, e, at.cols), x);
	at.col_scales = widen_scale(f, x);
	acc = gemm_block(g, &at, inner + 2);
	acc = kir_for_end(f, inner, &acc, 1);
	return kir_for_end(f, outer, &acc, 1);
}

/* at.rows rows from at.i of the columns from at.j. */
static void one_tile(const gemm *g, gemm_place at)
{
	kir_func *f = g->f;
	kir_type_id t = kir_tile(f->module, KIR_f32, at.rows, at.cols);
	kir_ref acc = e1(f, KIR_OP_splat, t, f32c(f, 0));
	int64_t from = 0;

	at.depth = g->step;
	if (turns_scales(g, &at))
		acc = turned_blocks(g, at, acc, &from);
	acc = some_blocks(g, at, from, g->whole, acc);
	gemm_store(g, &at, gemm_rest(g, at, acc));
}

/* The rows [from, to) of the columns from j, `rows` at a time. */
static void some_rows(const gemm *g, kir_ref from, kir_ref to, gemm_place at)
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
	kir_ref left = gemm_s64(f, KIR_OP_sub, g->n, from), n;

	n = gemm_s64(f, KIR_OP_add, left, s64c(f, rows - 1 - less));
	n = gemm_s64(f, KIR_OP_max, quotient(f, n, rows), s64c(f, 0));
	return gemm_s64(f, KIR_OP_add, from, gemm_s64(f, KIR_OP_mul, n, s64c(f, rows)));
}

void gemm_rows(const gemm *g, kir_ref from, bool whole, kir_ref j, int64_t cols, int64_t keep)
{
	kir_func *f = g->f;
	const kir_target *t = f->target;
	int64_t some = t->features & KIR_HAS_amx_tile ? KIR_AMX_ROWS : SOME;
	int64_t few = !t->lanes && kir_elems[g->w_elem].bits <= 8 ? TWO : 1, size = 0;
	int64_t sizes[5] = { g->m_tile, t->lanes ? FEW : some, FEW, few, 1 };
	kir_ref step, to;

	for (int i = 0; i < 5; i++) {
		gemm_place at = { .j = j, .rows = sizes[i], .cols = cols, .keep = keep };

		if (size && sizes[i] >= size)
			continue;
		size = sizes[i];
		if (!i && !whole)
			continue;
		step = s64c(f, size);
		if (size == 1) {
			to = g->n;
		} else if (!i || t->lanes) {
			to =
			    gemm_s64(f, KIR_OP_mul, gemm_s64(f, KIR_OP_fdiv, g->n, step), step);
		} else {
			to = cut_end(g, from, size, size > FEW ? FEW : size > few ? few : 1);
			at.upto = size > TWO ? g->n : 0; /* 2 rows are never cut */
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

void gemm_sizes(const kir_func *in, kir_ref n, gemm *g)
{
	const kir_sched *s = &in->sched;
	const kir_type *a = kir_type_of(in, kir_operand(in, n, "a"));
	const kir_type *w = kir_type_of(in, kir_operand(in, n, "w"));
	unsigned lanes = in->target->lanes;
	bool narrow = lanes == 8; /* half the registers */

	g->a_two = kir_packed_side(in, n, KIR_ATTR_acts);
	g->w_two = kir_packed_side(in, n, KIR_ATTR_weights);
	g->a_elem = g->a_two ? g->a_two->elem : (kir_elem)a->elem;
	g->w_elem = g->w_two ? g->w_two->elem : (kir_elem)w->elem;
	g->cols = kir_type_of(in, kir_operand(in, n, "c"))->dim[1];
	g->depth = a->dim[1] * (g->a_two ? 2 : 1);
	g->unit = unit_of(g->w_two) > unit_of(g->a_two) ? unit_of(g->w_two) : unit_of(g->a_two);
	g->group = kir_attr_of(in, n, KIR_ATTR_group);
	g->wgroup = kir_attr_of(in, n, KIR_ATTR_wgroup);
	g->block = kir_attr_of(in, n, KIR_ATTR_block);
	g->step =
	    kir_operand(in, n, "as") && g->group && g->group < g->depth ? g->group : g->depth;
	if (kir_operand(in, n, "ws") && g->wgroup && g->wgroup < g->step)
		g->step = g->wgroup;
	for (int64_t d = BLOCK; g->step > BLOCK; d -= g->unit)
		if (g->step % d == 0 || (g->step == g->depth && d == BLOCK))
			g->step = d;
	g->whole = g->depth / g->step * g->step;
	g->m_tile = s->m_tile ? s->m_tile : narrow ? NARROW_M : lanes ? GPU_M_TILE : M_TILE;
	g->n_tile = s->n_tile ? s->n_tile : narrow ? NARROW_N : N_TILE;
	while (g->block > 1 && g->block % g->n_tile && g->n_tile > 1 && !s->n_tile)
		g->n_tile /= 2;
}

/* Whether w has words of N_TILE columns side by side, then the next words (pack). */
static bool is_packed(const kir_type *w)
{
	for (unsigned i = 0; i < w->npieces; i++)
		if (w->piece[i].axis == 0 && w->piece[i].mod == N_TILE)
			return true;
	return false;
}

/* One row by packed 8-bit floats of which blocks of columns share a scale, on processors with
 * tiles: two bands of weights side by side come faster than one, and the row is widened half as
 * often. Columns with scales of their own, and rows of weights as they are, gain nothing. */
int64_t kpass_default_n_tile(const kir_func *f, kir_ref n, int64_t rows)
{
	const kir_type *w = kir_type_of(f, kir_operand(f, n, "w"));
	kir_elem e = (kir_elem)w->elem;
	gemm g = { 0 };

	gemm_sizes(f, n, &g);
	return rows == 1 && f->target->features & KIR_HAS_amx_tile && is_packed(w) &&
	               kir_is_float(e) && kir_elems[e].bits == 8 && g.block > 1 &&
	               g.block % (2 * N_TILE) == 0 && g.cols >= SHARES * 2 * N_TILE
	           ? 2 * N_TILE
	           : 0;
}

static bool choose_tiles(gemm *g, kir_diag *why)
{
	kir_chose(g->f, KIR_KNOB_m_tile, g->m_tile);
	kir_chose(g->f, KIR_KNOB_n_tile, g->n_tile);
	if (g->block == 1 || g->block % g->n_tile == 0)
		return gemm_chunks(g, why);
	kir_error(why, 0, 0,
	          "knob n_tile=%d: it must divide block=%d, whose columns share a scale",
	          (int)g->n_tile, (int)g->block);
	return false;
}

static void all_columns(const gemm *g)
{
	kir_func *f = g->f;
	int64_t whole = g->cols / g->n_tile, rest = g->cols % g->n_tile;

	if (whole && f->sched.m_chunk) {
		gemm_chunked(g);
	} else if (whole) {
		kir_ref l = kir_for(f, s64c(f, 0), s64c(f, whole), 1, true, NULL, 0);

		gemm_rows(g, s64c(f, 0), true,
		          gemm_s64(f, KIR_OP_mul, l + 1, s64c(f, g->n_tile)), g->n_tile,
		          g->n_tile);
		kir_for_end(f, l, NULL, 0);
	}
	if (rest) {
		int64_t start = whole * g->n_tile, end = kir_type_of(f, g->w)->dim[0];
		bool padded = start + g->n_tile <= end;
		kir_ref l = kir_for(f, s64c(f, 0), s64c(f, 1), 1, true, NULL, 0);

		gemm_rows(g, s64c(f, 0), true, s64c(f, start), padded ? g->n_tile : rest, rest);
		kir_for_end(f, l, NULL, 0);
	}
}

bool expand_gemm(const kir_func *in, kir_ref n, kir_func *f, kir_ref *map, kir_diag *why)
{
	gemm g = { .f = f };

	gemm_sizes(in, n, &g);
	g.a = expand_operand(in, n, map, "a");
	g.as = expand_operand(in, n, map, "as");
	g.w = expand_operand(in, n, map, "w");
	g.ws = expand_operand(in, n, map, "ws");
	g.c = expand_operand(in, n, map, "c");
	g.n = expand_operand(in, n, map, "n");
	if (!choose_tiles(&g, why))
		return false;
	all_columns(&g);
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

		band(&c, gemm_s64(f, KIR_OP_mul, l + 1, s64c(f, BAND)), BAND, 0);
		kir_for_end(f, l, NULL, 0);
	}
	if (row == c.y_rows)
		return true;
	kir_ref l = kir_for(f, s64c(f, 0), s64c(f, 1), 1, true, NULL, 0);

	if (row < c.rows) {
		int64_t rows = c.y_rows - row < BAND ? c.y_rows - row : BAND;

		band(&c, s64c(f, row), rows, s64c(f, c.rows));
		row += rows;
	}
	whole = (c.y_rows - row) / BAND;
	if (whole) { /* of any number of them */
		kir_ref r =
		    kir_for(f, s64c(f, row), s64c(f, row + whole * BAND), BAND, false, NULL, 0);

		zeros(&c, r + 1, BAND, 0);
		kir_for_end(f, r, NULL, 0);
		row += whole * BAND;
	}
	if (row < c.y_rows)
		zeros(&c, s64c(f, row), c.y_rows - row, 0);
	kir_for_end(f, l, NULL, 0);
	return true;
}
