/* SPDX-License-Identifier: Apache-2.0 */
/* vec_dot.c -- products: blocks of accumulators in registers.
 *
 *     %s = dot %q, %k : f32<4x64>   =>   for column blocks { for row blocks {
 *                                          %a.. = for %k carry(rows x cols accumulators) {
 *                                            b_j = vector of columns, one unit deep
 *                                            x_i = 4 bytes of row i in every lane
 *                                            acc_ij = dp acc_ij, x_i, b_j } } }
 *
 * Knobs rows and cols say how large a block is; by default as large as leaves registers for
 * the operands: 24 accumulators of 32 registers, 10 of 16. Each b_j feeds `rows` products,
 * each x_i `cols`.
 *
 * bf16 products of AVX-512 take x_i from memory themselves, if it feeds one of them. A block of
 * 16 rows and one vector of columns then has no other instruction for x_i, where 8 rows and two
 * vectors load it: values of a latent cache, whose pairs of rows are zipped by one shuffle for
 * 16 products and not two, take 16.3 cycles on Zen 4 for these instead of 18.3.
 *
 * Where all columns are one vector (a head's group of 16), each x_i would feed one product, and
 * loads of x_i take longer than products. Then two steps are taken side by side:
 *
 *     b, b' = vectors of columns of two steps
 *     l, h = zip.lo b, b' ; zip.hi b, b'        of a column both steps' words
 *     x_i = 8 bytes of row i in every pair of lanes
 *     acc_i0 = dp acc_i0, x_i, l ; acc_i1 = dp acc_i1, x_i, h
 *
 * and neighbours are added at the end. Zips are of each 4 lanes by themselves, which processors
 * have one cheap instruction for, and so are the unzips that put columns back in order.
 *
 * Where arithmetic has two ports of which one moves lanes (vec_two_ports), and loads have two
 * of their own, zips and unzips cost more than the loads that they save: both steps keep their
 * own words, and sums.
 */
#include "vectorize.h"

enum {
	READ_MAX = 64,   /* vectors of the right factor that one step reads          */
	LINE_CODES = 64, /* of 8 bits, that a table widens together                */
	AGAIN_MAX = 4,   /* times that a vector is brought into order                */
	PAIRS_MIN = 3,   /* rows of two steps side by side: fewer don't pay the zips */
	PAIRS_MAX = 8,   /* more don't fit in registers                              */
};

typedef struct product {
	vec *v;
	const vec_tile *a, *acc; /* acc NULL: starts at 0                      */
	bool acc_rows;           /* acc has one number a row                   */
	bool by_line;            /* a block has sums for a whole line          */
	vec_left left;
	vec_factor b;
	vec_packed p;
	vec_tile out;
	kir_ref live; /* VEC_ZIP: rows before the load's upto, 0: all */
	int64_t rows, steps;
} product;

/* rows x cols vectors of `lanes` columns each of the result, from (r, c). */
typedef struct area {
	vec_ix r, c;
	int64_t rows, cols, lanes;
} area;

static kir_ref start_value(product *d, vec_ix r, vec_ix c, int64_t lanes)
{
	vec *v = d->v;
	kir_type_id t = kir_vector(v->f->module, d->out.elem, lanes);

	if (d->acc_rows)
		return e1(v->f, KIR_OP_splat, t, vec_read1(v, d->acc, ix(0), r));
	if (d->acc)
		return vec_read(v, d->acc, r, c, lanes);
	return e1(v->f, KIR_OP_splat, t, zero_of(v->f, d->out.elem));
}

kir_ref vec_left_word(vec *v, const vec_left *l, vec_ix r, vec_ix k, int64_t lanes)
{
	kir_module *m = v->f->module;
	kir_elem word = l->elem == KIR_f32 ? KIR_f32 : KIR_s32;
	vec_ix at = vec_add(v, vec_mul(v, r, l->row), vec_mul(v, k, l->step));

	at = vec_add(v, l->first, at);
	kir_ref x = e2(v->f, KIR_OP_load, kir_scalar(m, word), l->words, vec_ref(v, at));
	x = e1(v->f, KIR_OP_splat, kir_vector(m, word, lanes), x);
	return word == KIR_f32
	           ? x
	           : e1(v->f, KIR_OP_bitcast, kir_vector(m, l->elem, lanes * l->unit), x);
}

/* p.ratio steps of the contraction from k. */
static void block_step(product *d, const area *a, vec_ix k, const kir_ref *live, kir_ref *acc)
{
	vec *v = d->v;
	kir_ref b[READ_MAX];

	vec_factor_read(v, &d->b, &d->p, &(vec_read_at){ k, a->c, a->cols, a->lanes, live }, b);
	for (int64_t s = 0; s < d->p.ratio; s++)
		for (int64_t i = 0; i < a->rows; i++) {
			kir_ref x = vec_left_word(v, &d->left, vec_add(v, a->r, ix(i)),
			                          vec_add(v, k, ix(s)), a->lanes);

			for (int64_t j = 0; j < a->cols; j++) {
				kir_ref *at = &acc[i * a->cols + j];

				*at = e3(v->f, KIR_OP_dp, v->f->node[*at].type, *at, x,
				         b[s * a->cols + j]);
			}
		}
}

/* Reads a loop takes at once: unrolled where the trip count is known. */
static int64_t unroll_of(const product *d, int64_t accumulators)
{
	int64_t u = d->v->in->sched.unroll, reads = d->steps / d->p.ratio;

	if (!u)
		u = accumulators * d->p.ratio > 16 ? 1 : (accumulators > 8 ? 2 : 4);
	while (u > 1 && reads % u)
		u /= 2;
	u = u < 1 || d->p.how == VEC_ZIP ? 1 : u;
	kir_chose(d->v->f, KIR_KNOB_unroll, u);
	return u;
}

/* Steps [lo, hi) of a block, accumulators in and out. */
static void step_loop(product *d, const area *a, kir_ref lo, kir_ref hi, kir_ref live,
                      kir_ref *acc)
{
	vec *v = d->v;
	unsigned n = (unsigned)(a->rows * a->cols);
	int64_t u = unroll_of(d, n), step = u * d->p.ratio;
	kir_ref loop = kir_for(v->f, lo, hi, step, false, acc, n), ok[4];

	for (unsigned i = 0; i < n; i++)
		acc[i] = loop + 2 + i;
	vec_ix k = { loop + 1, 0 }, row = live ? vec_mul(v, k, d->b.unit) : ix(0);

	for (int64_t i = 0; live && i < d->b.unit; i++)
		ok[i] = e2(v->f, KIR_OP_lt, kir_scalar(v->f->module, KIR_i1),
		           vec_ref(v, vec_add(v, row, ix(i))), live);
	for (int64_t s = 0; s < u; s++)
		block_step(d, a, vec_add(v, k, ix(s * d->p.ratio)), live ? ok : NULL, acc);
	kir_ref res = kir_for_end(v->f, loop, acc, n);

	for (unsigned i = 0; i < n; i++)
		acc[i] = res + i;
}

/* -- two steps side by side ---------------------------------------------------------------- */

/* Whether it is worth it, zips being one instruction, and words of rows lie two by two. */
static bool takes_pairs(const product *d)
{
	const kir_target *t = d->v->in->target;
	const vec_left *l = &d->left;

	return t->features & KIR_HAS_avx512 && d->b.cols == d->v->lanes && !d->b.trans &&
	       !d->acc && d->out.elem == KIR_s32 && d->p.ratio == 1 && d->p.how != VEC_ZIP &&
	       d->p.max_lanes >= d->v->lanes && d->rows >= PAIRS_MIN && d->rows <= PAIRS_MAX &&
	       !d->v->in->sched.rows && d->steps % 2 == 0 && l->step == 1 && !l->first.var &&
	       l->first.k % 2 == 0 && l->row % 2 == 0;
}

/* Words k and k + 1 of row r, in every pair of lanes. */
static kir_ref pair_of_words(product *d, kir_ref words, int64_t r, vec_ix k, int64_t lanes)
{
	vec *v = d->v;
	kir_module *m = v->f->module;
	int64_t at = (d->left.first.k + r * d->left.row) / 2;
	kir_ref i = e2(v->f, KIR_OP_fdiv, kir_scalar(m, KIR_s64), k.var, s64c(v->f, 2));
	kir_ref x = e2(v->f, KIR_OP_load, kir_scalar(m, KIR_s64), words,
	               vec_ref(v, (vec_ix){ i, at + k.k / 2 }));

	x = e1(v->f, KIR_OP_splat, kir_vector(m, KIR_s64, lanes / 2), x);
	return e1(v->f, KIR_OP_bitcast, kir_vector(m, d->a->elem, lanes * d->b.unit), x);
}

/* Words k and k + 1 of each row times two vectors of columns, each into its own sum. */
static void two_steps(product *d, const kir_ref *b, vec_ix k, int64_t lanes, kir_ref *acc)
{
	vec *v = d->v;
	kir_type_id t = kir_vector(v->f->module, KIR_s32, lanes);

	for (int64_t r = 0; r < d->rows; r++)
		for (int i = 0; i < 2; i++) {
			kir_ref x =
			    vec_left_word(v, &d->left, ix(r), vec_add(v, k, ix(i)), lanes);

			acc[2 * r + i] = e3(v->f, KIR_OP_dp, t, acc[2 * r + i], x, b[i]);
		}
}

static void pair_step(product *d, kir_ref words, vec_ix k, int64_t lanes, kir_ref *acc)
{
	vec *v = d->v;
	kir_type_id wt = kir_vector(v->f->module, KIR_s32, lanes), bt;
	kir_ref b[2], z[2];

	for (int i = 0; i < 2; i++)
		vec_factor_read(v, &d->b, &d->p,
		                &(vec_read_at){ vec_add(v, k, ix(i)), ix(0), 1, lanes, NULL },
		                &b[i]);
	if (vec_two_ports(v)) {
		two_steps(d, b, k, lanes, acc);
		return;
	}
	bt = v->f->node[b[0]].type;
	for (int i = 0; i < 2; i++)
		b[i] = e1(v->f, KIR_OP_bitcast, wt, b[i]);
	for (int i = 0; i < 2; i++)
		z[i] =
		    e1(v->f, KIR_OP_bitcast, bt,
		       e2x(v->f, i ? KIR_OP_zip_hi : KIR_OP_zip_lo, wt, b[0], b[1], VEC_QUAD));
	for (int64_t r = 0; r < d->rows; r++) {
		kir_ref x = pair_of_words(d, words, r, k, lanes);

		for (int i = 0; i < 2; i++)
			acc[2 * r + i] = e3(v->f, KIR_OP_dp, wt, acc[2 * r + i], x, z[i]);
	}
}

/* All rows of the one vector of columns. */
static void pairs(product *d)
{
	vec *v = d->v;
	int64_t lanes = v->lanes, u = unroll_of(d, 2 * d->rows);
	int64_t count = kir_type_of(v->f, d->left.words)->dim[0] / 2;
	kir_type_id t = kir_vector(v->f->module, KIR_s32, lanes);
	unsigned n = 2 * (unsigned)d->rows;
	kir_ref acc[2 * PAIRS_MAX];
	kir_ref words =
	    e1(v->f, KIR_OP_view, kir_buffer(v->f->module, KIR_s64, 1, &count), d->a->buf);

	u = u % 2 ? 2 : u;
	for (unsigned i = 0; i < n; i++)
		acc[i] = e1(v->f, KIR_OP_splat, t, kir_const_i(v->f, KIR_s32, 0));
	kir_ref l = kir_for(v->f, s64c(v->f, 0), s64c(v->f, d->steps), u, false, acc, n);

	for (unsigned i = 0; i < n; i++)
		acc[i] = l + 2 + i;
	for (int64_t s = 0; s < u; s += 2)
		pair_step(d, words, (vec_ix){ l + 1, s }, lanes, acc);
	kir_ref res = kir_for_end(v->f, l, acc, n);

	for (int64_t r = 0; r < d->rows; r++) {
		kir_ref a = res + 2 * (kir_ref)r, b = a + 1;

		if (!vec_two_ports(v)) {
			a = e2x(v->f, KIR_OP_unzip_lo, t, res + 2 * (kir_ref)r, b, VEC_QUAD);
			b = e2x(v->f, KIR_OP_unzip_hi, t, res + 2 * (kir_ref)r, b, VEC_QUAD);
		}
		vec_write(v, &d->out, ix(r), ix(0), e2(v->f, KIR_OP_add, t, a, b));
	}
}

/* -- blocks -------------------------------------------------------------------------------- */

/* Where a sum of the area is: its vectors are numbered row by row. */
static vec_ix row_of(vec *v, const area *a, unsigned i)
{
	return vec_add(v, a->r, ix(i / a->cols));
}

static vec_ix column_of(vec *v, const area *a, unsigned i)
{
	return vec_add(v, a->c, ix(i % a->cols * a->lanes));
}

/* Where rows of the factor end early (upto), whole steps of live rows are taken first, then the
 * one that is cut. */
static void block(product *d, const area *a)
{
	vec *v = d->v;
	kir_type_id s64 = kir_scalar(v->f->module, KIR_s64);
	kir_ref acc[KIR_MAX_SRC], zero = s64c(v->f, 0), all = s64c(v->f, d->steps);
	unsigned n = (unsigned)(a->rows * a->cols);

	for (unsigned i = 0; i < n; i++)
		acc[i] = start_value(d, row_of(v, a, i), column_of(v, a, i), a->lanes);
	if (d->p.how == VEC_ZIP && d->live) {
		kir_ref unit = s64c(v->f, d->b.unit);
		kir_ref full = e2(v->f, KIR_OP_fdiv, s64, d->live, unit);
		kir_ref up = e2(v->f, KIR_OP_add, s64, d->live, s64c(v->f, d->b.unit - 1));

		step_loop(d, a, zero, full, 0, acc);
		step_loop(d, a, full, e2(v->f, KIR_OP_fdiv, s64, up, unit), d->live, acc);
	} else {
		step_loop(d, a, zero, all, 0, acc);
	}
	for (unsigned i = 0; i < n; i++)
		vec_write(v, &d->out, row_of(v, a, i), column_of(v, a, i), acc[i]);
}

/* Pairs of rows that lie in a local as they are, to be zipped. */
static bool is_local_pairs(const product *d)
{
	const kir_func *in = d->v->in;
	bool local = d->b.local || in->node[kir_src(in, d->b.load, 0)].op == KIR_OP_local;

	return local && !d->b.trans && !d->b.nchain && d->b.unit == 2;
}

/* Whether the instruction takes a row's word from memory, in all lanes, at no cost. */
static bool takes_words(const product *d)
{
	unsigned need = KIR_HAS_avx512 | KIR_HAS_bf16;

	return (d->v->in->target->features & need) == need && d->b.elem == KIR_bf16;
}

static bool is_float8(const product *d)
{
	return kir_is_float(d->b.stored) && kir_elem_bytes(d->b.stored) == 1;
}

/* Vectors of columns that a line of memory has. */
static int64_t line_of(const product *d)
{
	return 64 / kir_elem_bytes(d->b.stored) / d->v->lanes;
}

/* Sums that leave registers for what is brought into order. */
static int64_t room_of(const product *d)
{
	return d->v->in->target->vector_regs >= 32 ? 16 : 8;
}

/* Rows a block holds: a divisor of all rows where one from 4 to 8 exists. */
static int64_t rows_of_block(const product *d)
{
	int64_t rows = d->rows, knob = d->v->in->sched.rows;
	bool wide = d->v->in->target->vector_regs >= 32;

	if (knob)
		return knob < rows ? knob : rows;
	if (d->by_line)
		return rows < room_of(d) / line_of(d) ? rows : room_of(d) / line_of(d);
	if (rows <= 8)
		return rows;
	/* with one vector of columns it takes that many sums to hide a product's latency */
	for (int64_t r = 16; d->b.cols <= d->v->lanes && wide && r > 8; r--)
		if (rows % r == 0)
			return r;
	if (rows % 16 == 0 && is_local_pairs(d) && takes_words(d))
		return 16;
	for (int64_t r = 8; r >= 4; r--)
		if (rows % r == 0)
			return r;
	return 8;
}

static int64_t cols_of_block(const product *d, int64_t rows, int64_t vectors)
{
	bool wide = d->v->in->target->vector_regs >= 32;
	int64_t room = d->p.how >= VEC_WIDEN ? room_of(d) : wide ? 24 : 10;
	int64_t most = d->v->in->sched.cols ? d->v->in->sched.cols : room / rows;

	most = most < 1 ? 1 : (most > 8 ? 8 : most);
	while (most * rows >= KIR_MAX_SRC - 2 || (most > 1 && most * d->p.ratio > READ_MAX))
		most--;
	if (most >= vectors)
		return vectors;
	/* Whole lines, and a block of what is left: equal parts of 96 columns are two of 48,
	 * which tables don't widen. On Zen 4 that takes 0.65 to 0.87 of their time. */
	if (d->by_line && !d->v->in->sched.cols && most >= line_of(d))
		return most / line_of(d) * line_of(d);
	for (int64_t c = most; c * 2 > most; c--)
		if (vectors % c == 0)
			return c;
	return most;
}

/* All rows of `count` column blocks of cols vectors each from column c0. */
static void column_blocks(product *d, int64_t c0, int64_t count, int64_t rows, int64_t cols,
                          int64_t lanes)
{
	vec *v = d->v;
	int64_t whole = d->rows / rows * rows;

	kir_chose(v->f, KIR_KNOB_rows, rows);
	kir_chose(v->f, KIR_KNOB_cols, cols);
	vec_loop lc = vec_loop_begin(v, count * cols * lanes, cols * lanes);
	vec_ix c = vec_add(v, lc.i, ix(c0));
	vec_loop lr = vec_loop_begin(v, whole, rows);

	block(d, &(area){ lr.i, c, rows, cols, lanes });
	vec_loop_end(v, &lr);
	if (d->rows > whole)
		block(d, &(area){ ix(whole), c, d->rows - whole, cols, lanes });
	vec_loop_end(v, &lc);
}

static void all_columns(product *d)
{
	int64_t most = d->p.max_lanes < d->v->lanes ? d->p.max_lanes : d->v->lanes;
	int64_t rows = rows_of_block(d), c = 0;

	while (c < d->b.cols) {
		int64_t lanes = vec_chunk(d->b.cols - c, most);
		int64_t vectors = (d->b.cols - c) / lanes;
		int64_t cols = cols_of_block(d, rows, vectors);
		int64_t count = d->p.columns_known ? 1 : vectors / cols;

		column_blocks(d, c, count, rows, cols, lanes);
		c += count * cols * lanes;
	}
}

/* Whether blocks of rows bring what they multiply into order each for itself, which is done
 * again then for each block, and for columns of a line that it hasn't sums for. A local spares
 * that, but it is written and read, and while it is made no product runs: memory, and the ports
 * that multiply, wait. Up to four times is faster so, from DRAM and from the caches: on Zen 4
 * 0.75 to 0.95 of the time for 5 to 16 rows. What takes more than shifts and zips (codes of 4
 * bits and 8-bit floats that become f32) only one block of rows brings into order, twice, and
 * values of 8-bit floats that aren't a whole line (of groups of 32) once.
 *
 * Pairs of rows in a local are zipped by two shuffles a line: two blocks of 8 rows may do that
 * each, or of 16 rows by half a line, one shuffle for 16 products. */
static bool decodes_in_place(const product *d)
{
	int64_t line = line_of(d), rows = rows_of_block(d), room = room_of(d);
	int64_t parts = d->b.trans ? 1 : (rows * line + room - 1) / room;
	bool half = rows == room && takes_words(d);

	if (is_local_pairs(d) && (rows == room / line || half))
		return d->rows <= 2 * rows;
	if (d->b.unit == 1 && (is_float8(d) || d->b.unpack))
		return rows == d->rows && parts <= 2;
	if (is_float8(d) && !d->b.trans && d->b.cols < LINE_CODES)
		return rows >= d->rows;
	return (d->rows + rows - 1) / rows * parts <= AGAIN_MAX;
}

/* Tables widen the 64 codes of a line together: fewer columns of 8-bit floats take slower
 * conversions. So a block has sums for a whole line, and few rows. */
static bool is_by_line(const product *d)
{
	const kir_target *t = d->v->in->target;

	return t->features & KIR_HAS_vbmi && t->vector_bits == 512 && is_float8(d) &&
	       !d->b.trans && !d->b.local && d->b.unit == 2 && d->b.cols >= LINE_CODES;
}

vec_left vec_left_words(vec *v, const vec_tile *t, int64_t unit)
{
	vec_tile copy;

	if (t->off.k % unit ||
	    t->stride % unit) { /* columns of a tile that begin inside a word */
		copy = vec_local(v, t->elem, t->rows, t->cols);
		vec_copy(v, &copy, t);
		t = &copy;
	}
	vec_left l = { .words = t->buf, .unit = unit, .elem = t->elem };

	l.first = ix(t->off.k / unit);
	if (t->off.var) /* whole rows */
		l.first.var = e2(v->f, KIR_OP_fdiv, kir_scalar(v->f->module, KIR_s64),
		                 t->off.var, s64c(v->f, unit));
	l.row = t->stride / unit;
	l.step = 1;
	if (t->elem == KIR_f32)
		return l;
	int64_t count = kir_type_of(v->f, t->buf)->dim[0] * kir_elem_bytes(t->elem) / 4;

	l.words = e1(v->f, KIR_OP_view, kir_buffer(v->f->module, KIR_s32, 1, &count), t->buf);
	return l;
}

vec_left vec_left_even_odd(vec *v, const vec_tile *t)
{
	kir_module *m = v->f->module;
	vec_tile copy = vec_local(v, t->elem, t->rows, t->cols);
	int64_t lanes = vec_chunk(t->cols & -t->cols, 64 / kir_elem_bytes(t->elem));
	vec_loop lr = vec_loop_begin(v, t->rows, 1), lc = vec_loop_begin(v, t->cols, lanes);
	kir_type_id half = kir_vector(m, KIR_s16, lanes / 2);
	kir_type_id words = kir_vector(m, KIR_s32, lanes / 4);
	kir_ref x = e1(v->f, KIR_OP_bitcast, kir_vector(m, KIR_s16, lanes),
	               vec_read(v, t, lr.i, lc.i, lanes));
	kir_ref lo = e1(v->f, KIR_OP_half_lo, half, x), hi = e1(v->f, KIR_OP_half_hi, half, x);
	kir_ref even = e2(v->f, KIR_OP_unzip_lo, half, lo, hi);
	kir_ref odd = e2(v->f, KIR_OP_unzip_hi, half, lo, hi);

	even = e1(v->f, KIR_OP_bitcast, words, even);
	odd = e1(v->f, KIR_OP_bitcast, words, odd);
	lo = e2(v->f, KIR_OP_zip_lo, words, even, odd);
	hi = e2(v->f, KIR_OP_zip_hi, words, even, odd);
	x = e2(v->f, KIR_OP_join, kir_vector(m, KIR_s32, lanes / 2), lo, hi);
	vec_write(v, &copy, lr.i, lc.i,
	          e1(v->f, KIR_OP_bitcast, kir_vector(m, t->elem, lanes), x));
	vec_loop_end(v, &lc);
	vec_loop_end(v, &lr);
	return vec_left_words(v, &copy, 2);
}

/* The left factor as words, of rows that are columns in memory: these get `unit` steps side by
 * side as a right factor does whose rows run along the contraction. */
static vec_left columns_as_words(vec *v, const vec_tile *t, int64_t unit)
{
	vec_factor left = { .local = true, .tile = *t, .cols = t->cols, .depth = t->rows };

	left.stored = left.elem = t->elem;
	left.unit = unit;
	vec_tile packed = vec_pack(v, &left, false).tile;
	vec_left l = vec_left_words(v, &packed, unit);

	l.step = l.row;
	l.row = 1;
	return l;
}

/* Right factors of products in loop n of `in` that are made before it: they are brought into
 * product order before it, once. */
void vec_pack_before(vec *v, kir_ref loop)
{
	const kir_func *in = v->in;
	kir_ref end = kir_region_end(in, loop);

	for (kir_ref n = loop + 1; n < end; n++) {
		kir_ref s = in->node[n].op == KIR_OP_dot ? kir_src(in, n, 1) : 0;
		vec_factor b;

		if (!s || s >= loop || v->deferred[s] || v->packed[n].tile.buf)
			continue;
		vec_value(v, s);
		if (vec_factor_of(v, n, &b))
			v->packed[n] = vec_pack(v, &b, false);
	}
}

/* Whether op dp takes factors of these elements. */
static bool multiply(kir_elem a, kir_elem b)
{
	if (kir_is_int(a) && kir_is_int(b))
		return kir_elem_bytes(a) == kir_elem_bytes(b);
	return a == b && kir_elem_bytes(a) >= 2;
}

void vec_dot(vec *v, kir_ref n)
{
	kir_ref an = kir_src(v->in, n, 0), accn = kir_src(v->in, n, 2);
	product d = { .v = v };

	if (vec_tiles_dot(v, n))
		return;
	vec_flush(v);
	d.a = vec_value(v, an);
	d.acc_rows = accn && v->deferred[accn];
	if (d.acc_rows)
		accn = kir_src(v->in, accn, 0);
	d.acc = accn ? vec_value(v, accn) : NULL;
	if (!vec_factor_of(v, n, &d.b))
		return;
	d.rows = kir_type_of(v->in, n)->dim[0];
	d.steps = d.b.depth / d.b.unit;
	if (!multiply(d.a->elem, d.b.elem)) {
		kir_error(v->why, (int)v->in->node[n].line, 0,
		          "dot of %s and %s: the factors must be of integers of one size, or "
		          "of the same floats of 16 bits or more",
		          kir_elems[d.a->elem].name, kir_elems[d.b.elem].name);
		return;
	}
	int knob = v->in->sched.fuse;

	d.by_line = knob != KIR_fuse_off && is_by_line(&d);
	bool here = knob ? knob == KIR_fuse_on : decodes_in_place(&d);

	d.by_line = d.by_line && here;
	d.p = v->packed[n].tile.buf ? v->packed[n] : vec_pack(v, &d.b, here);
	kir_chose(v->f, KIR_KNOB_fuse, here ? KIR_fuse_on : KIR_fuse_off);
	d.live = d.p.how == VEC_ZIP ? vec_live_rows(v, &d.b) : 0;
	d.left = kir_attr_of(v->in, n, KIR_ATTR_trans) == 2 ? columns_as_words(v, d.a, d.b.unit)
	         : d.p.even_odd                             ? vec_left_even_odd(v, d.a)
	                                                    : vec_left_words(v, d.a, d.b.unit);
	d.out = vec_home(v, n);
	if (takes_pairs(&d))
		pairs(&d);
	else
		all_columns(&d);
	v->val[n] = d.out;
}
