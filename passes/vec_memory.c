/* SPDX-License-Identifier: Apache-2.0 */
/* vec_memory.c -- tiles between parameters and locals.
 *
 *     %x = load %q[%t,%h,0] upto %n : bf16<1x4x128>
 *  =>   for rows before %n { for heads { vload, vstore } }   rows from there on { zeros }
 *
 * Memory is moved in vectors as long as the last dimension is contiguous, at most 64 bytes,
 * and element by element where it isn't. A load from or a store into a layout that puts 4 bytes
 * of each of 16 rows side by side goes through a transposition in registers: 16 whole cache
 * lines instead of 256 pieces of 4 bytes; a store into one that puts 2 or 4 rows of a column
 * side by side, through zips; a store of bytes or pairs of bytes into a local that puts all
 * rows of a column side by side, through zips of each 16 bytes by themselves, a square of 16
 * rows in each. Whatever lies at or past `upto` isn't touched.
 */
#include "vectorize.h"

static int64_t gcd(int64_t a, int64_t b)
{
	return b ? gcd(b, a % b) : a;
}

/* Elements along an axis that lie `step` bytes apart, from each of whose multiples on, whatever
 * other pieces the axis has. */
static int64_t run_along(const kir_type *b, unsigned axis, int64_t step)
{
	int64_t run = 1;
	unsigned at = 0;

	for (; at < b->npieces; at++) {
		const kir_piece *p = &b->piece[at];

		if (p->axis == axis && !p->dyn && p->div <= 1 && p->stride == step)
			break;
	}
	if (at < b->npieces)
		run = b->piece[at].mod          ? b->piece[at].mod
		      : b->dim[axis] == KIR_DYN ? INT64_MAX
		                                : b->dim[axis];
	for (unsigned i = 0; i < b->npieces; i++) {
		const kir_piece *p = &b->piece[i];

		if (i == at || p->axis != axis)
			continue;
		if (p->div <= 1)
			return 1;
		run = run == INT64_MAX ? p->div : gcd(run, p->div);
	}
	return run;
}

int64_t vec_run(const kir_type *b)
{
	return run_along(b, b->rank - 1u, kir_elem_bytes((kir_elem)b->elem));
}

/* One side of a move: a buffer and the index of the tile's first element. */
typedef struct move {
	kir_ref buf, upto; /* in f; upto 0: no bound         */
	vec_ix at[KIR_RANK];
	int64_t starts[KIR_RANK]; /* where these may begin (vec_starts) */
	unsigned nat;             /* rank of the buffer             */
	unsigned first;           /* the tile's first axis there    */
	unsigned along;           /* the axis of consecutive lanes  */
	const kir_type *tile;
	vec_tile home;
	kir_ref from; /* store: the load whose memory is read, 0 */
	bool store;
	int64_t hint;
} move;

static kir_ref access(vec *v, const move *m, kir_op op, kir_type_id t, kir_ref x, vec_ix c,
                      kir_ref limit)
{
	kir_ref src[KIR_RANK + 3];
	unsigned n = 0;

	if (x)
		src[n++] = x;
	src[n++] = m->buf;
	for (unsigned i = 0; i < m->nat; i++)
		src[n++] = vec_ref(v, i == m->along ? vec_add(v, m->at[i], c) : m->at[i]);
	if (limit)
		src[n++] = limit;
	return kir_emit(v->f, op, t, src, n,
	                m->store ? (int64_t[KIR_MAX_ATTRS]){ m->hint } : NULL);
}

/* Lanes of what is stored. */
static kir_ref stored_lanes(vec *v, const move *m, vec_ix row, vec_ix c, int64_t lanes)
{
	return m->from ? vec_read_direct(v, m->from, row, c, lanes)
	               : vec_read(v, &m->home, row, c, lanes);
}

/* `lanes` elements from column c of the row at m->at; limit: lanes that may be touched. */
static void move_lanes(vec *v, const move *m, vec_ix row, vec_ix c, int64_t lanes,
                       kir_ref limit)
{
	kir_elem e = m->home.elem;

	if (lanes == 1) {
		if (m->store)
			access(v, m, KIR_OP_store, KIR_NO_TYPE, vec_read1(v, &m->home, row, c),
			       c, 0);
		else
			vec_write1(
			    v, &m->home, row, c,
			    access(v, m, KIR_OP_load, kir_scalar(v->f->module, e), 0, c, 0));
		return;
	}
	if (m->store) {
		access(v, m, KIR_OP_vstore, KIR_NO_TYPE, stored_lanes(v, m, row, c, lanes), c,
		       limit);
		return;
	}
	kir_type_id t = kir_vector(v->f->module, e, lanes);
	vec_write(v, &m->home, row, c, access(v, m, KIR_OP_vload, t, 0, c, limit));
}

/* Whether indices along an axis begin at multiples of n, as far as it is known. */
static bool begins_at(const move *m, unsigned axis, int64_t n)
{
	return m->at[axis].k % n == 0 && m->starts[axis] % n == 0;
}

/* No vector may cross the end of a run. Where the last axis lies in several, tiles start at
 * multiples of their own size, or at a literal. */
static int64_t widest(const vec *v, const move *m, int64_t cols)
{
	const kir_type *t = kir_type_of(v->f, m->buf);
	int64_t run = run_along(t, m->along, kir_elem_bytes((kir_elem)t->elem)),
	        dim = t->dim[m->along];
	int64_t most = 64 / kir_elem_bytes(m->home.elem), both = run | cols;

	if (run < dim && run % cols)
		run = both & -both;
	int64_t lanes = vec_chunk(cols, run < most ? run : most);

	while (run < dim && !begins_at(m, m->along, lanes))
		lanes /= 2;
	return lanes;
}

/* How many of n pieces an iteration takes. Between locals a few vectors: there is nothing to
 * wait for but the loop itself. Elements that lie apart: they share an address. */
static int64_t at_once(const vec *v, const move *m, int64_t n, int64_t lanes)
{
	bool local = v->f->node[m->buf].op == KIR_OP_local;

	if (v->in->target->lanes)
		return 1;
	return lanes == 1 ? vec_chunk(n, 8) : local ? vec_chunk(n, 4) : 1;
}

static void move_row(vec *v, const move *m, vec_ix row, int64_t cols)
{
	int64_t lanes = widest(v, m, cols), whole = cols / lanes * lanes;
	int64_t some = at_once(v, m, whole / lanes, lanes);

	while (whole / lanes % some)
		some /= 2;
	vec_loop l = vec_loop_begin(v, whole, lanes * some);

	for (int64_t i = 0; i < some; i++)
		move_lanes(v, m, row, vec_add(v, l.i, ix(i * lanes)), lanes, 0);
	vec_loop_end(v, &l);
	for (int64_t c = whole; c < cols;) {
		int64_t k = vec_chunk(cols - c, lanes);

		move_lanes(v, m, row, ix(c), k, 0);
		c += k;
	}
}

static kir_ref s64_op(vec *v, kir_op op, kir_ref a, kir_ref b)
{
	return e2(v->f, op, kir_scalar(v->f->module, KIR_s64), a, b);
}

/* How many of the tile's first dimension lie before upto: 0 .. dim. */
static kir_ref live_rows(vec *v, const move *m)
{
	int64_t dim = m->tile->dim[0];
	kir_ref n = s64_op(v, KIR_OP_sub, m->upto, vec_ref(v, m->at[m->first]));

	n = s64_op(v, KIR_OP_max, n, s64c(v->f, 0));
	return s64_op(v, KIR_OP_min, n, s64c(v->f, dim));
}

static void zero_fill(vec *v, const move *m, kir_ref from)
{
	int64_t size = 1;

	for (unsigned i = 1; i < m->tile->rank; i++)
		size *= m->tile->dim[i];
	kir_elem e = vec_stored(m->home.elem);
	int64_t lanes = vec_chunk(size, 64 / kir_elem_bytes(e));
	kir_ref zero = zero_of(v->f, e);
	vec_tile flat = { m->home.buf, m->home.off, m->tile->dim[0], size, e, size };
	kir_ref l = kir_for(v->f, from, s64c(v->f, m->tile->dim[0]), 1, false, NULL, 0);
	vec_ix row = { l + 1, 0 };

	if (lanes == 1) {
		vec_loop c = vec_loop_begin(v, size, 1);

		vec_write1(v, &flat, row, c.i, zero);
		vec_loop_end(v, &c);
	} else {
		kir_ref z = e1(v->f, KIR_OP_splat, kir_vector(v->f->module, e, lanes), zero);
		int64_t whole = size / lanes * lanes;
		vec_loop c = vec_loop_begin(v, whole, lanes);

		vec_write(v, &flat, row, c.i, z);
		vec_loop_end(v, &c);
		for (int64_t k = whole; k < size;) {
			int64_t w = vec_chunk(size - k, lanes);

			z = e1(v->f, KIR_OP_splat, kir_vector(v->f->module, e, w), zero);
			vec_write(v, &flat, row, ix(k), z);
			k += w;
		}
	}
	kir_for_end(v->f, l, NULL, 0);
}

/* A rank-1 tile, or one column: lanes are what upto bounds. */
static void move_vector(vec *v, move *m)
{
	int64_t cols = m->tile->dim[0], lanes = widest(v, m, cols);

	if (!m->upto) {
		move_row(v, m, ix(0), cols);
		return;
	}
	if (lanes == 1 || cols % 2) {
		kir_ref live = live_rows(v, m);
		kir_ref l = kir_for(v->f, s64c(v->f, 0), live, 1, false, NULL, 0);

		move_lanes(v, m, ix(0), (vec_ix){ l + 1, 0 }, 1, 0);
		kir_for_end(v->f, l, NULL, 0);
		if (!m->store)
			zero_fill(v, m, live);
		return;
	}
	kir_ref left = s64_op(v, KIR_OP_sub, m->upto, vec_ref(v, m->at[m->first]));

	for (int64_t c = 0; c < cols;) {
		int64_t k = vec_chunk(cols - c, lanes);
		kir_ref limit = c ? s64_op(v, KIR_OP_sub, left, s64c(v->f, c)) : left;

		move_lanes(v, m, ix(0), ix(c), k, limit);
		c += k;
	}
}

static void move_tile(vec *v, move *m)
{
	const kir_type *t = m->tile;
	unsigned middle = t->rank - 2u;
	kir_ref live = m->upto ? live_rows(v, m) : s64c(v->f, t->dim[0]);
	vec_ix at0 = m->at[m->first], row;
	vec_loop lm[KIR_RANK];
	kir_ref l = kir_for(v->f, s64c(v->f, 0), live, 1, false, NULL, 0);

	row = (vec_ix){ l + 1, 0 };
	m->at[m->first] = vec_add(v, at0, row);
	for (unsigned i = 0; i < middle; i++) {
		lm[i] = vec_loop_begin(v, t->dim[1 + i], 1);
		row = vec_add(v, vec_mul(v, row, t->dim[1 + i]), lm[i].i);
		m->at[m->first + 1 + i] = vec_add(v, m->at[m->first + 1 + i], lm[i].i);
	}
	move_row(v, m, row, t->dim[t->rank - 1]);
	for (unsigned i = middle; i-- > 0;)
		vec_loop_end(v, &lm[i]);
	kir_for_end(v->f, l, NULL, 0);
	m->at[m->first] = at0;
	if (m->upto && !m->store)
		zero_fill(v, m, live);
}

enum { QUAD = 4 * VEC_QUAD }; /* bytes */

/* How 4 bytes of a packed layout are filled by the rows of a tile. */
typedef enum weave {
	APART, /* a row lies by itself                                            */
	WORDS, /* a few elements of a row, then as many of the next: keys         */
	ROWS   /* one element of each of a few rows, then the next column: values */
} weave;

/* Whether whole vectors of rows follow each other in words of 4 bytes. */
static bool has_words(const vec *v, const kir_type *t)
{
	int64_t run = run_along(t, t->rank - 2u, 4);

	return run == t->dim[t->rank - 2] || run % v->lanes == 0 || run == INT64_MAX;
}

/* Squares of n rows that a vector has side by side, a divisor of those of `rows` rows. */
static int64_t quads_of(const vec *v, int64_t rows, int64_t n)
{
	return vec_chunk(rows / n & -(rows / n), v->lanes / VEC_QUAD);
}

bool vec_turns(const vec *v, kir_ref n)
{
	const kir_func *f = v->in;
	kir_ref buf, upto;
	unsigned first, count;
	int64_t row, size;

	if (f->node[n].op != KIR_OP_store || f->target->lanes || v->lanes < VEC_QUAD)
		return false;
	kir_access(f, n, &buf, &first, &count, &upto);
	const kir_type *t = kir_type_of(f, buf), *tile = kir_type_of(f, kir_src(f, n, 0));

	size = kir_elem_bytes((kir_elem)t->elem);
	if (f->node[buf].op != KIR_OP_local || t->rank != 2 || tile->rank != 2 || upto ||
	    size > 2 || t->elem == KIR_i1)
		return false;
	return run_along(t, 0, size) == t->dim[0] && tile->dim[0] % (QUAD / size) == 0 &&
	       tile->dim[1] % (QUAD / size) == 0 && count == 2 &&
	       kir_is_const(f, kir_src(f, n, first), &row);
}

static weave weave_of(const vec *v, const move *m, vec_layout *l)
{
	const kir_type *t = kir_type_of(v->f, m->buf);
	unsigned row = t->rank - 2u, col = t->rank - 1u;
	int64_t size = kir_elem_bytes(m->home.elem), unit = 4 / size;
	int64_t rows = m->tile->dim[0], cols = m->tile->dim[1];

	*l = (vec_layout){ 0 };
	if (m->tile->rank != 2 || m->upto || size > 4)
		return APART;
	/* at multiples of words and vectors; indices that are no literals are */
	if (rows % v->lanes == 0 && cols % (unit * v->lanes) == 0 &&
	    begins_at(m, row, v->lanes) && begins_at(m, col, unit)) {
		if (vec_run(t) == unit && has_words(v, t))
			return WORDS;
		if (vec_layout_of(t, col, row, l) && l->pairs && v->lanes >= 8)
			return WORDS;
	}
	return size < 4 && vec_layout_of(t, row, col, l) && l->unit == unit &&
	               l->group % 16 == 0 && rows % unit == 0 && cols % (64 / size) == 0 &&
	               begins_at(m, row, unit) && begins_at(m, col, 16)
	           ? ROWS
	           : APART;
}

/* n tokens' words of 4 codes in the order of pairs (vec_layout.c). */
static kir_ref pairs_of_words(vec *v, kir_ref x, int64_t n)
{
	kir_module *m = v->f->module;
	kir_type_id half = kir_vector(m, KIR_s16, n), four = kir_vector(m, KIR_s64, n / 4);
	kir_ref lo, hi, side[2];

	x = e1(v->f, KIR_OP_bitcast, kir_vector(m, KIR_s16, 2 * n), x);
	lo = e1(v->f, KIR_OP_half_lo, half, x);
	hi = e1(v->f, KIR_OP_half_hi, half, x);
	side[0] = e1(v->f, KIR_OP_bitcast, four, e2(v->f, KIR_OP_unzip_lo, half, lo, hi));
	side[1] = e1(v->f, KIR_OP_bitcast, four, e2(v->f, KIR_OP_unzip_hi, half, lo, hi));
	return e2(v->f, KIR_OP_join, kir_vector(m, KIR_s64, n / 2),
	          e2(v->f, KIR_OP_zip_lo, four, side[0], side[1]),
	          e2(v->f, KIR_OP_zip_hi, four, side[0], side[1]));
}

/* Loops over squares of n rows and n words of 4 bytes: rows of a tile and, transposed, lines of
 * a packed layout. */
typedef struct squares {
	int64_t n, unit;
	kir_type_id word, elem; /* a row's n words, in both types */
	vec_ix at0;             /* of the tile's first row in memory */
	vec_loop rows, cols;
} squares;

static squares words_begin(vec *v, move *m)
{
	kir_module *mod = v->f->module;
	squares w = { .n = v->lanes, .unit = 4 / kir_elem_bytes(m->home.elem) };

	w.word = kir_vector(mod, KIR_s32, w.n);
	w.elem = kir_vector(mod, m->home.elem, w.n * w.unit);
	w.at0 = m->at[m->first];
	w.rows = vec_loop_begin(v, m->tile->dim[0], w.n);
	w.cols = vec_loop_begin(v, m->tile->dim[1], w.n * w.unit);
	m->at[m->first] = vec_add(v, w.at0, w.rows.i);
	return w;
}

static void words_end(vec *v, move *m, squares *w)
{
	vec_loop_end(v, &w->cols);
	vec_loop_end(v, &w->rows);
	m->at[m->first] = w->at0;
}

static void store_words(vec *v, move *m, bool pairs)
{
	squares w = words_begin(v, m);
	kir_ref x[16];

	for (int64_t i = 0; i < w.n; i++)
		x[i] =
		    e1(v->f, KIR_OP_bitcast, w.word,
		       stored_lanes(v, m, vec_add(v, w.rows.i, ix(i)), w.cols.i, w.n * w.unit));
	vec_transpose(v, x, w.n, 0);
	for (int64_t i = 0; i < w.n; i++) {
		if (pairs)
			x[i] = pairs_of_words(v, x[i], w.n);
		access(v, m, KIR_OP_vstore, KIR_NO_TYPE, e1(v->f, KIR_OP_bitcast, w.elem, x[i]),
		       vec_add(v, w.cols.i, ix(i * w.unit)), 0);
	}
	words_end(v, m, &w);
}

/* Squares of n rows and columns of 1 or 2 bytes, a square in each quad of the vectors: a vector
 * has one element of each row. */
static void store_turned(vec *v, move *m)
{
	int64_t n = QUAD / kir_elem_bytes(m->home.elem);
	int64_t quads = quads_of(v, m->tile->dim[0], n);
	vec_ix at0 = m->at[m->first];
	vec_loop rows = vec_loop_begin(v, m->tile->dim[0], n * quads);
	vec_loop cols = vec_loop_begin(v, m->tile->dim[1], n);
	kir_ref x[QUAD];

	for (int64_t i = 0; i < n; i++) {
		kir_ref part[4] = { 0 };

		for (int64_t q = 0; q < quads; q++)
			part[q] =
			    stored_lanes(v, m, vec_add(v, rows.i, ix(i + q * n)), cols.i, n);
		for (int64_t k = quads, lanes = n; k > 1; k /= 2, lanes *= 2)
			for (int64_t q = 0; q < k / 2; q++)
				part[q] = e2(v->f, KIR_OP_join,
				             kir_vector(v->f->module, m->home.elem, 2 * lanes),
				             part[2 * q], part[2 * q + 1]);
		x[i] = part[0];
	}
	vec_transpose(v, x, n, n);
	m->at[m->first] = vec_add(v, at0, rows.i);
	for (int64_t i = 0; i < n; i++)
		access(v, m, KIR_OP_vstore, KIR_NO_TYPE, x[i], vec_add(v, cols.i, ix(i)), 0);
	vec_loop_end(v, &cols);
	vec_loop_end(v, &rows);
	m->at[m->first] = at0;
}

/* The same the other way: lines of words become rows. */
static void load_words(vec *v, move *m)
{
	squares w = words_begin(v, m);
	kir_ref x[16];

	for (int64_t i = 0; i < w.n; i++)
		x[i] = e1(v->f, KIR_OP_bitcast, w.word,
		          access(v, m, KIR_OP_vload, w.elem, 0,
		                 vec_add(v, w.cols.i, ix(i * w.unit)), 0));
	vec_transpose(v, x, w.n, 0);
	for (int64_t i = 0; i < w.n; i++)
		vec_write(v, &m->home, vec_add(v, w.rows.i, ix(i)), w.cols.i,
		          e1(v->f, KIR_OP_bitcast, w.elem, x[i]));
	words_end(v, m, &w);
}

/* Four rows of 64 codes as four vectors of 16 columns in the order of pairs. */
static void weave_pairs(vec *v, kir_type_id t, kir_ref *x)
{
	kir_type_id words = kir_vector(v->f->module, KIR_s64, 8);
	kir_ref y[4];

	for (int i = 0; i < 4; i++) /* lower and upper columns of rows 0 and 1, of 2 and 3 */
		y[i] = e1(v->f, KIR_OP_bitcast, words,
		          e2(v->f, i % 2 ? KIR_OP_zip_hi : KIR_OP_zip_lo, t, x[i / 2 * 2],
		             x[i / 2 * 2 + 1]));
	for (int i = 0; i < 4; i++)
		x[i] = e1(v->f, KIR_OP_bitcast, t,
		          e2(v->f, i % 2 ? KIR_OP_zip_hi : KIR_OP_zip_lo, words, y[i / 2],
		             y[2 + i / 2]));
}

/* 64 bytes of each of `unit` rows become as many lines of 16 columns. Into a local rows are the
 * inner loop: its groups of columns lie a power of two apart, and lines of all of them would
 * have one set of L1. */
static void store_rows(vec *v, move *m, bool pairs)
{
	int64_t unit = 4 / kir_elem_bytes(m->home.elem), n = 16 * unit;
	kir_type_id t = kir_vector(v->f->module, m->home.elem, n);
	vec_ix at0 = m->at[m->first];
	bool local = v->f->node[m->buf].op == KIR_OP_local;
	int64_t rows = m->tile->dim[0], cols = m->tile->dim[1];
	vec_loop outer = vec_loop_begin(v, local ? cols : rows, local ? n : unit);
	vec_loop inner = vec_loop_begin(v, local ? rows : cols, local ? unit : n);
	vec_loop lr = local ? inner : outer, lc = local ? outer : inner;
	kir_ref x[4];

	for (int64_t i = 0; i < unit; i++)
		x[i] = stored_lanes(v, m, vec_add(v, lr.i, ix(i)), lc.i, n);
	if (pairs)
		weave_pairs(v, t, x);
	else
		vec_interleave(v, unit, t, x);
	m->at[m->first] = vec_add(v, at0, lr.i);
	for (int64_t i = 0; i < unit; i++)
		access(v, m, KIR_OP_vstore, KIR_NO_TYPE, x[i], vec_add(v, lc.i, ix(16 * i)), 0);
	vec_loop_end(v, &inner);
	vec_loop_end(v, &outer);
	m->at[m->first] = at0;
}

void vec_indices(vec *v, kir_ref n, vec_ix *at)
{
	kir_ref buf, upto;
	unsigned first, count;

	kir_access(v->in, n, &buf, &first, &count, &upto);
	for (unsigned i = 0; i < kir_type_of(v->in, buf)->rank; i++) {
		kir_ref s = i < count ? kir_src(v->in, n, first + i) : 0;
		int64_t k;

		at[i] = ix(0);
		if (s && kir_is_const(v->in, s, &k))
			at[i] = ix(k);
		else if (s)
			at[i].var = as_elem(v->f, v->map[s], KIR_s64);
	}
}

static void start(vec *v, kir_ref n, const kir_type *tile, move *m)
{
	kir_ref buf, upto;
	unsigned first, count;

	kir_access(v->in, n, &buf, &first, &count, &upto);
	m->buf = v->map[buf];
	m->nat = kir_type_of(v->in, buf)->rank;
	m->tile = tile;
	m->first = m->nat - tile->rank;
	m->along = m->nat - 1;
	m->upto = upto ? as_elem(v->f, v->map[upto], KIR_s64) : 0;
	vec_indices(v, n, m->at);
	for (unsigned i = 0; i < count; i++)
		m->starts[i] = vec_starts(v->in, kir_src(v->in, n, first + i));
}

bool vec_reads_direct(const vec *v, kir_ref n)
{
	const kir_type *t = kir_type_of(v->in, n);
	kir_ref buf, upto;
	unsigned first, count, rows = 0;

	kir_access(v->in, n, &buf, &first, &count, &upto);
	for (unsigned i = 0; i + 1 < t->rank; i++)
		rows += t->dim[i] > 1;
	return !upto && rows <= 1 && t->elem != KIR_i1 &&
	       vec_run(kir_type_of(v->in, buf)) >= t->dim[t->rank - 1];
}

kir_ref vec_read_direct(vec *v, kir_ref n, vec_ix r, vec_ix c, int64_t lanes)
{
	const kir_type *t = kir_type_of(v->in, n);
	move m = { .store = false };
	kir_elem e = (kir_elem)t->elem;

	start(v, n, t, &m);
	for (unsigned i = 0; i + 1 < t->rank; i++)
		if (t->dim[i] > 1)
			m.at[m.first + i] = vec_add(v, m.at[m.first + i], r);
	return access(v, &m, KIR_OP_vload, kir_vector(v->f->module, e, lanes), 0, c, 0);
}

void vec_load(vec *v, kir_ref n)
{
	move m = { .store = false };
	vec_layout l;

	if (vec_is_local(v, n))
		return;
	start(v, n, kir_type_of(v->in, n), &m);
	m.home = vec_home(v, n);
	if (m.tile->rank == 2 && m.tile->dim[1] == 1 && m.home.stride == 1)
		m.along = m.first;
	if (m.tile->rank == 1 || m.along == m.first)
		move_vector(v, &m);
	else if (weave_of(v, &m, &l) == WORDS && !l.pairs)
		load_words(v, &m);
	else
		move_tile(v, &m);
	v->val[n] = m.home;
}

void vec_store(vec *v, kir_ref n)
{
	kir_ref x = kir_src(v->in, n, 0);
	const kir_type *t = kir_type_of(v->in, x);
	move m = { .store = true };

	vec_flush(v);
	if (!t->rank) {
		kir_copy(v->f, v->in, n, v->map);
		return;
	}
	if (vec_is_placed(v, n) || vec_store_widened(v, n) || vec_store_row(v, n))
		return;
	start(v, n, t, &m);
	m.home = v->val[x];
	m.home.elem = (kir_elem)t->elem;
	m.from = v->direct[x];
	if (vec_turns(v, n)) {
		store_turned(v, &m);
		return;
	}
	vec_layout l;
	weave how = weave_of(v, &m, &l);

	if (m.from && how == APART && widest(v, &m, t->dim[t->rank - 1]) == 1) {
		vec_load(v, x);
		m.home = v->val[x];
		m.from = 0;
	}
	m.hint = kir_attr_of(v->in, n, KIR_ATTR_hint);
	if (t->rank == 1)
		move_vector(v, &m);
	else if (how == WORDS)
		store_words(v, &m, l.pairs);
	else if (how == ROWS)
		store_rows(v, &m, l.pairs);
	else
		move_tile(v, &m);
}
