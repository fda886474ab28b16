/* SPDX-License-Identifier: Apache-2.0 */
/* expand_gemm_chunk.c -- a product of many rows: codes are widened once for all they meet.
 *
 * A tile of weights that is widened for each m_tile rows, and rows for each n_tile columns,
 * take longer to widen than to multiply where products are tile registers'. With knob m_chunk
 *
 *     for %b = 0 to N / n_chunk par {
 *       for %i0 = 0 to rows step m_chunk {
 *         %sum = 0
 *         for %k0 = 0 to K step k_chunk {
 *           %wa = a[%i0 .. , %k0 .. ] as bf16              m_chunk rows, for n_chunk columns,
 *           %as = their scales as f32                      those of a block one after the other
 *           for %j = columns of %b step n_tile {
 *             %ww = w[%j .. , %k0 .. ] as bf16             n_tile columns, for m_chunk rows
 *             for %i = %i0 to %i0 + m_chunk step m_tile {
 *               for %k = %k0 to %k0 + k_chunk step block {
 *                 %sum[%j, %i] += (%wa[%i,%k] . %ww[%j,%k]) * scales of the block
 *         c[%i0 .. , columns of %b] = %sum
 *       rows that are left, as in expand_gemm.c
 *
 * Rows are whole tiles of m_tile, of which the last chunk may have fewer. %wa has a block's
 * rows one after the other, %ww the order of products (groups of 16 columns of pairs), %sum a
 * tile's rows: products read and sums are updated where they lie.
 *
 * Sizes go by the caches of the target's row: %sum takes a quarter of L2, %wa an eighth at
 * most, %ww what two thirds of L1 hold. It costs that memory, and reading and writing %sum once
 * a block, which registers don't hold anyway.
 *
 * For factors that bf16 holds as they are, on targets whose bf16 products are fast.
 */
#include "arith.h"
#include "expand_gemm.h"

enum {
	GROUP = 16,   /* columns of a group in product order                             */
	WIDEST = 256, /* columns that rows are widened for: all but 1/8 of what there is
	               * to save with 64                                               */
	SHARES = 16,  /* of the columns, so that no core waits for work                 */
	MOST = 512    /* rows: the same of weights, with tiles of 32                    */
};

static const kir_target *row_of(const kir_target *t)
{
	const kir_target *row = kir_target_find(t->name);

	return row ? row : t;
}

static int64_t down(int64_t n, int64_t by)
{
	return n < by ? by : n / by * by;
}

/* -- sizes ----------------------------------------------------------------------------------
 */

/* Whether both factors are bf16 without rounding, and products take them so. */
static bool meets_in_bf16(const kir_func *f, const gemm *g)
{
	bool integers = kir_is_int(g->a_elem) && kir_is_int(g->w_elem);

	return kpass_fast_bf16(f) && (!f->sched.qk || f->sched.qk == KIR_qk_bf16) &&
	       !integers && arith_exact_in_bf16(g->a_elem) && arith_exact_in_bf16(g->w_elem);
}

static bool in_product_order(const gemm *g)
{
	return g->n_tile % GROUP == 0 && g->step % 4 == 0;
}

static int64_t columns_of(const kir_func *f, const gemm *g)
{
	int64_t n = g->cols / SHARES;

	if (f->sched.n_chunk)
		return f->sched.n_chunk;
	return down(n < WIDEST ? n : WIDEST, g->n_tile);
}

int64_t kpass_default_m_chunk(const kir_func *f, kir_ref n, int64_t rows)
{
	const kir_target *t = row_of(f->target);
	gemm g = { 0 };

	gemm_sizes(f, n, &g);
	if (f->target->lanes || !meets_in_bf16(f, &g) || !in_product_order(&g) ||
	    rows < 2 * g.m_tile || g.cols < g.n_tile)
		return 0;
	int64_t most = t->l2_bytes / 4 / (columns_of(f, &g) * 4);

	most = most < MOST ? most : MOST;
	rows = (rows + g.m_tile - 1) / g.m_tile * g.m_tile;
	return down(rows < most ? rows : most, g.m_tile);
}

/* The columns of a tile whose products are computed while another's are scaled. */
static int64_t part_of(const gemm *g)
{
	return g->n_tile / 2;
}

/* Whether products of tile registers wait for vectors of scales and sums, which can be those of
 * other columns: there are scales, and half a tile's columns are whole groups. */
static bool is_piped(const gemm *g)
{
	return kpass_has_tiles(g->f) && g->f->sched.pipeline != KIR_pipeline_off &&
	       (g->as || g->ws) && part_of(g) % GROUP == 0;
}

/* Of the contraction at a time: blocks that all lie in L1, of n_tile columns. Beside products
 * that are scaled while others are made, rows and sums pass through L1 too, and hit it again.
 */
static int64_t depth_of(const gemm *g)
{
	const kir_target *t = row_of(g->f->target);
	int64_t k = t->l1_bytes * (is_piped(g) ? 1 : 2) / 3 / (g->n_tile * 2);
	int64_t rows = t->l2_bytes / 8 / (g->f->sched.m_chunk * 2);

	k = k < rows ? k : rows;
	return down(k < g->whole ? k : g->whole, g->step);
}

bool gemm_chunks(gemm *g, kir_diag *why)
{
	const kir_sched *s = &g->f->sched;
	int m = s->m_chunk, n = s->n_chunk;

	if (!m)
		return true;
	if (m % g->m_tile)
		kir_error(why, 0, 0, "knob m_chunk=%d must be a multiple of m_tile=%d", m,
		          (int)g->m_tile);
	else if (n % g->n_tile)
		kir_error(why, 0, 0, "knob n_chunk=%d must be a multiple of n_tile=%d", n,
		          (int)g->n_tile);
	else if (g->f->target->lanes)
		kir_error(why, 0, 0,
		          "knob m_chunk=%d: a GPU keeps one tile's sums in registers, so 0", m);
	else if (!meets_in_bf16(g->f, g))
		kir_error(why, 0, 0,
		          "knob m_chunk=%d: it is for rows and weights that meet in bf16, on "
		          "targets with fast products of it (not f16, f32, integers times "
		          "integers, nor knob qk otherwise), so 0",
		          m);
	else if (!in_product_order(g))
		kir_error(why, 0, 0,
		          "knob m_chunk=%d: it needs n_tile (now %d) a multiple of %d and "
		          "blocks of the contraction (now %d) of 4, so 0",
		          m, (int)g->n_tile, GROUP, (int)g->step);
	return !why->n;
}

/* -- loops -----------------------------------------------------------------------------------
 */

typedef struct chunk {
	const gemm *g;
	int64_t m, n, k;
	kir_ref rows;                   /* that are whole tiles   */
	kir_ref wa, ww, as, ws, sum;    /* locals                 */
	kir_ref ahead[2];               /* products, see piped()  */
	kir_ref i0, i1, j0, j1, k0, k1; /* the chunk's ends       */
} chunk;

static kir_ref add(kir_func *f, kir_ref a, int64_t k)
{
	return gemm_s64(f, KIR_OP_add, a, s64c(f, k));
}

static kir_ref less(kir_func *f, kir_ref a, kir_ref b)
{
	return gemm_s64(f, KIR_OP_sub, a, b);
}

/* from + n, or `to` if that is less. */
static kir_ref end_of(kir_func *f, kir_ref from, int64_t n, kir_ref to)
{
	return gemm_s64(f, KIR_OP_min, add(f, from, n), to);
}

static void put(kir_func *f, kir_ref x, const kir_ref *at, unsigned n)
{
	kir_ref src[5] = { x };

	for (unsigned i = 0; i < n; i++)
		src[1 + i] = at[i];
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, src, 1 + n, NULL);
}

/* Columns by depth in product order: [col/16][depth/2][col%16][depth%2]. */
static kir_ref weights_local(const chunk *c)
{
	kir_type t = { .elem = KIR_bf16, .rank = 2, .buffer = true, .npieces = 4 };

	t.dim[0] = c->g->n_tile;
	t.dim[1] = c->k;
	t.piece[0] = (kir_piece){ .axis = 0, .div = GROUP, .stride = c->k / 2 * GROUP * 4 };
	t.piece[1] = (kir_piece){ .axis = 1, .div = 2, .stride = GROUP * 4 };
	t.piece[2] = (kir_piece){ .axis = 0, .div = 1, .mod = GROUP, .stride = 4 };
	t.piece[3] = (kir_piece){ .axis = 1, .div = 1, .mod = 2, .stride = 2 };
	return kir_emit(c->g->f, KIR_OP_local, kir_type_intern(c->g->f->module, &t), NULL, 0,
	                NULL);
}

static void locals(chunk *c)
{
	const gemm *g = c->g;
	kir_func *f = g->f;
	int64_t rows[3] = { c->k / g->step, c->m, g->step };
	int64_t scales[2] = { rows[0], c->m };
	int64_t sums[3] = { c->n / g->n_tile, c->m, g->n_tile };

	c->wa =
	    kir_emit(f, KIR_OP_local, kir_buffer(f->module, KIR_bf16, 3, rows), NULL, 0, NULL);
	c->ww = weights_local(c);
	if (g->as)
		c->as = kir_emit(f, KIR_OP_local, kir_buffer(f->module, KIR_f32, 2, scales),
		                 NULL, 0, NULL);
	scales[1] = g->n_tile;
	if (g->ws && g->block == 1)
		c->ws = kir_emit(f, KIR_OP_local, kir_buffer(f->module, KIR_f32, 2, scales),
		                 NULL, 0, NULL);
	c->sum =
	    kir_emit(f, KIR_OP_local, kir_buffer(f->module, KIR_f32, 3, sums), NULL, 0, NULL);
	for (int i = 0; i < 2 && is_piped(g); i++)
		c->ahead[i] = kir_emit(
		    f, KIR_OP_local,
		    kir_buffer(f->module, KIR_f32, 2, (int64_t[]){ g->m_tile, part_of(g) }),
		    NULL, 0, NULL);
}

/* Places in the locals of the block at k, rows from i, columns from j; `out` has the buffer
 * first. */
static void place(const chunk *c, kir_ref buf, kir_ref block, kir_ref i, kir_ref out[4])
{
	out[0] = buf;
	out[1] = block;
	out[2] = less(c->g->f, i, c->i0);
	out[3] = s64c(c->g->f, 0);
}

static void rows_at(const chunk *c, kir_ref i, kir_ref k, kir_ref out[4])
{
	kir_func *f = c->g->f;
	kir_ref from = less(f, k, c->k0);

	place(c, c->wa, gemm_s64(f, KIR_OP_fdiv, from, s64c(f, c->g->step)), i, out);
}

static void weights_at(const chunk *c, kir_ref k, kir_ref out[3])
{
	out[0] = c->ww;
	out[1] = s64c(c->g->f, 0);
	out[2] = less(c->g->f, k, c->k0);
}

static void sums_at(const chunk *c, kir_ref i, kir_ref j, kir_ref out[4])
{
	kir_func *f = c->g->f;
	kir_ref from = less(f, j, c->j0);

	place(c, c->sum, gemm_s64(f, KIR_OP_fdiv, from, s64c(f, c->g->n_tile)), i, out);
}

static kir_ref sum_tile(const chunk *c, const kir_ref at[4])
{
	const gemm *g = c->g;

	return kir_emit(g->f, KIR_OP_load,
	                kir_tile(g->f->module, KIR_f32, g->m_tile, g->n_tile), at, 4, NULL);
}

static void widen_rows(const chunk *c)
{
	const gemm *g = c->g;
	kir_func *f = g->f;
	kir_ref li = kir_for(f, c->i0, c->i1, g->m_tile, false, NULL, 0);
	kir_ref lk = kir_for(f, c->k0, c->k1, g->step, false, NULL, 0), at[4];

	rows_at(c, li + 1, lk + 1, at);
	put(f, gemm_codes(f, g->a, g->a_two, li + 1, lk + 1, g->m_tile, g->step, 0, KIR_bf16),
	    at, 4);
	if (g->as) {
		gemm_place rows = { .i = li + 1, .k = lk + 1, .rows = g->m_tile };

		at[0] = c->as;
		put(f, gemm_row_scales(g, &rows), at, 3);
	}
	kir_for_end(f, lk, NULL, 0);
	kir_for_end(f, li, NULL, 0);
}

/* Where scales of the n_tile columns are. */
static void scales_at(const chunk *c, kir_ref k, kir_ref out[3])
{
	kir_func *f = c->g->f;

	out[0] = c->ws;
	out[1] = gemm_s64(f, KIR_OP_fdiv, less(f, k, c->k0), s64c(f, c->g->step));
	out[2] = s64c(f, 0);
}

static void widen_weights(const chunk *c, kir_ref j)
{
	const gemm *g = c->g;
	kir_func *f = g->f;
	kir_ref l = kir_for(f, c->k0, c->k1, g->step, false, NULL, 0), at[3];

	weights_at(c, l + 1, at);
	put(f, gemm_codes(f, g->w, g->w_two, j, l + 1, g->n_tile, g->step, 0, KIR_bf16), at, 3);
	if (c->ws) {
		gemm_place place = { .j = j, .k = l + 1, .cols = g->n_tile, .keep = g->n_tile };

		scales_at(c, l + 1, at);
		put(f, gemm_col_scales(g, &place), at, 3);
	}
	kir_for_end(f, l, NULL, 0);
}

static kir_ref wide_tile(const gemm *g, const kir_ref *at, unsigned n, int64_t rows)
{
	kir_func *f = g->f;

	return as_elem(
	    f,
	    kir_emit(f, KIR_OP_load, kir_tile(f->module, KIR_bf16, rows, g->step), at, n, NULL),
	    KIR_f32);
}

/* A tile's sums and the products of the chunk. */
static void add_products(const chunk *c, gemm_place at)
{
	const gemm *g = c->g;
	kir_func *f = g->f;
	kir_ref l = kir_for(f, c->k0, c->k1, g->step, false, NULL, 0), a[4], w[3], s[4];

	at.k = l + 1;
	rows_at(c, at.i, at.k, a);
	weights_at(c, at.k, w);
	sums_at(c, at.i, at.j, s);
	at.wide_a = wide_tile(g, a, 4, g->m_tile);
	at.wide_w = wide_tile(g, w, 3, g->n_tile);
	if (g->as) {
		kir_type_id t = kir_vector(f->module, KIR_f32, g->m_tile);

		a[0] = c->as;
		at.row_scales = kir_emit(f, KIR_OP_load, t, a, 3, NULL);
	}
	if (c->ws) {
		kir_type_id t = kir_vector(f->module, KIR_f32, g->n_tile);

		scales_at(c, at.k, w);
		at.col_scales = kir_emit(f, KIR_OP_load, t, w, 3, NULL);
	}
	put(f, gemm_block(g, &at, sum_tile(c, s)), s, 4);
	kir_for_end(f, l, NULL, 0);
}

/* -- products beside the scales of others ----------------------------------------------------
 */

/* Products of rows from i and a part of the columns at hand, into the local of that part. */
static void multiply(const chunk *c, kir_ref i, kir_ref k, int part)
{
	const gemm *g = c->g;
	kir_func *f = g->f;
	kir_type_id t = kir_tile(f->module, KIR_f32, g->m_tile, part_of(g));
	kir_ref a[4], w[3], p, zero = s64c(f, 0);

	rows_at(c, i, k, a);
	weights_at(c, k, w);
	w[1] = s64c(f, part * part_of(g));
	p = kir_emit(
	    f, KIR_OP_dot, t,
	    (kir_ref[]){ wide_tile(g, a, 4, g->m_tile), wide_tile(g, w, 3, part_of(g)) }, 2,
	    (int64_t[KIR_MAX_ATTRS]){ 1 });
	put(f, p, (kir_ref[]){ c->ahead[part], zero, zero }, 3);
}

/* A part's products, times their scales, to the sums of rows from i. */
static void add_part(const chunk *c, gemm_place at, int part)
{
	const gemm *g = c->g;
	kir_func *f = g->f;
	kir_type_id t = kir_tile(f->module, KIR_f32, g->m_tile, part_of(g));
	kir_ref zero = s64c(f, 0), s[4], p, sum;

	sums_at(c, at.i, at.j, s);
	s[3] = s64c(f, part * part_of(g));
	p = kir_emit(f, KIR_OP_load, t, (kir_ref[]){ c->ahead[part], zero, zero }, 3, NULL);
	sum = kir_emit(f, KIR_OP_load, t, s, 4, NULL);
	at.cols = part_of(g);
	if (c->ws) {
		kir_type_id ct = kir_vector(f->module, KIR_f32, part_of(g));
		kir_ref w[3];

		scales_at(c, at.k, w);
		w[2] = s[3];
		at.col_scales = kir_emit(f, KIR_OP_load, ct, w, 3, NULL);
	}
	put(f, gemm_scaled(g, &at, p, sum), s, 4);
}

/* All rows of the columns from j. The products of a part of the columns are computed while
 * those of the other are scaled: passes/weave.c has them take turns. Each part has its place,
 * so that neither waits for the other. Behind the last block of the last rows comes their first
 * again, which nobody reads. */
static void piped(const chunk *c, kir_ref j)
{
	const gemm *g = c->g;
	kir_func *f = g->f;
	kir_type_id i1 = kir_scalar(f->module, KIR_i1), t = kir_scalar(f->module, KIR_s64);
	kir_ref last = add(f, c->i1, -g->m_tile), more, k, i;

	multiply(c, c->i0, c->k0, 0);
	kir_ref li = kir_for(f, c->i0, c->i1, g->m_tile, false, NULL, 0);
	kir_ref lk = kir_for(f, c->k0, c->k1, g->step, false, NULL, 0);
	gemm_place at = {
		.i = li + 1, .j = j, .k = lk + 1, .rows = g->m_tile, .keep = g->n_tile
	};

	k = add(f, at.k, g->step);
	i = gemm_s64(f, KIR_OP_min, add(f, at.i, g->m_tile), last);
	more = e2(f, KIR_OP_lt, i1, k, c->k1);
	k = e3(f, KIR_OP_select, t, more, k, c->k0);
	i = e3(f, KIR_OP_select, t, more, at.i, i);
	if (g->as) {
		kir_ref a[4];

		rows_at(c, at.i, at.k, a);
		a[0] = c->as;
		at.row_scales = kir_emit(f, KIR_OP_load,
		                         kir_vector(f->module, KIR_f32, g->m_tile), a, 3, NULL);
	}
	multiply(c, at.i, at.k, 1);
	add_part(c, at, 0);
	multiply(c, i, k, 0);
	add_part(c, at, 1);
	kir_for_end(f, lk, NULL, 0);
	kir_for_end(f, li, NULL, 0);
}

typedef void each_tile(const chunk *c, gemm_place at);

/* Does each for the chunk's tiles of rows, of the columns from j. */
static void all_rows(const chunk *c, each_tile *each, kir_ref j)
{
	const gemm *g = c->g;
	kir_ref l = kir_for(g->f, c->i0, c->i1, g->m_tile, false, NULL, 0);

	each(c, (gemm_place){ .i = l + 1,
	                      .j = j,
	                      .rows = g->m_tile,
	                      .cols = g->n_tile,
	                      .depth = g->step,
	                      .keep = g->n_tile });
	kir_for_end(g->f, l, NULL, 0);
}

/* The same for all columns. widen: these columns' weights first. */
static void all_tiles(const chunk *c, each_tile *each, bool widen)
{
	kir_func *f = c->g->f;
	kir_ref l = kir_for(f, c->j0, c->j1, c->g->n_tile, false, NULL, 0);

	if (widen)
		widen_weights(c, l + 1);
	if (widen && is_piped(c->g))
		piped(c, l + 1);
	else
		all_rows(c, each, l + 1);
	kir_for_end(f, l, NULL, 0);
}

static void clear(const chunk *c, gemm_place at)
{
	kir_func *f = c->g->f;
	kir_type_id t = kir_tile(f->module, KIR_f32, at.rows, at.cols);
	kir_ref s[4];

	sums_at(c, at.i, at.j, s);
	put(f, e1(f, KIR_OP_splat, t, f32c(f, 0)), s, 4);
}

static void finish(const chunk *c, gemm_place at)
{
	kir_ref s[4];

	sums_at(c, at.i, at.j, s);
	gemm_store(c->g, &at, gemm_rest(c->g, at, sum_tile(c, s)));
}

/* Whole tiles of rows of the columns from c->j0 to c->j1. */
static void whole_rows(chunk *c)
{
	kir_func *f = c->g->f;
	kir_ref li = kir_for(f, s64c(f, 0), c->rows, c->m, false, NULL, 0);

	c->i0 = li + 1;
	c->i1 = end_of(f, c->i0, c->m, c->rows);
	all_tiles(c, clear, false);
	kir_ref lk = kir_for(f, s64c(f, 0), s64c(f, c->g->whole), c->k, false, NULL, 0);

	c->k0 = lk + 1;
	c->k1 = end_of(f, c->k0, c->k, s64c(f, c->g->whole));
	widen_rows(c);
	all_tiles(c, add_products, true);
	kir_for_end(f, lk, NULL, 0);
	all_tiles(c, finish, false);
	kir_for_end(f, li, NULL, 0);
}

/* Two sums, a tile of rows and two of columns at a time, all from L1. A processor whose other
 * thread is busy renames few tile registers: a product of a block of 2 x 2, eight registers,
 * took 70 cycles there, of 1 x 2 38, and both 16 to 20 where it was alone. */
static void choose_registers(kir_func *f)
{
	kir_sched *s = &f->sched;

	if (!s->rows && !s->cols) {
		s->rows = KIR_AMX_ROWS;
		s->cols = 2;
	}
	if (!s->stream)
		s->stream = KIR_stream_off;
}

void gemm_chunked(const gemm *g)
{
	kir_func *f = g->f;
	int64_t cols = g->cols / g->n_tile * g->n_tile;
	chunk c = { .g = g, .m = f->sched.m_chunk, .n = columns_of(f, g), .k = depth_of(g) };
	kir_ref tile = s64c(f, g->m_tile);
	kir_ref l = kir_for(f, s64c(f, 0), s64c(f, (cols + c.n - 1) / c.n), 1, true, NULL, 0);

	kir_chose(f, KIR_KNOB_m_chunk, c.m);
	kir_chose(f, KIR_KNOB_n_chunk, c.n);
	kir_chose(f, KIR_KNOB_pipeline, is_piped(g) ? KIR_pipeline_on : KIR_pipeline_off);
	c.rows = gemm_s64(f, KIR_OP_mul, gemm_s64(f, KIR_OP_fdiv, g->n, tile), tile);
	c.j0 = gemm_s64(f, KIR_OP_mul, l + 1, s64c(f, c.n));
	c.j1 = end_of(f, c.j0, c.n, s64c(f, cols));
	locals(&c);
	if (kpass_has_tiles(f))
		choose_registers(f);
	whole_rows(&c);
	kir_ref lj = kir_for(f, c.j0, c.j1, g->n_tile, false, NULL, 0);

	gemm_rows(g, c.rows, false, lj + 1, g->n_tile, g->n_tile);
	kir_for_end(f, lj, NULL, 0);
	kir_for_end(f, l, NULL, 0);
}
