/* SPDX-License-Identifier: Apache-2.0 */
/* frag_memory.c -- tiles and vectors from and to memory, a column a lane and a row at a time.
 *
 *     %x = load %q[%t,%h,0] upto %n : f16<1x4x128>
 *  => for each row, for each 16 columns:  vload %q[%t+i,%h+j,c] upto 16 or 0 : f16<16>
 *     and the rows of a block packed
 *
 * What is loaded here is small or read once: queries, scales, parts of a split sequence. The
 * tiles of products are loaded by them (frag_dot.c). Rows that only fill up a block repeat the
 * last one; they aren't stored.
 */
#include "fragment.h"

typedef struct place {
	kir_ref buf, upto;
	kir_ref at[KIR_RANK]; /* of the tile's first element, one for each dimension */
	unsigned rank;        /* of the buffer                                       */
	const kir_type *tile;
	kir_ref last; /* a row there is, where rows that aren't are read instead; or 0 */
	bool guarded; /* only rows that exist are accessed                           */
} place;

static kir_ref s64_op(frag *g, kir_op op, kir_ref a, kir_ref b)
{
	return e2(g->f, op, kir_scalar(g->f->module, KIR_s64), a, b);
}

static kir_ref plus(frag *g, kir_ref a, int64_t k)
{
	int64_t base;

	if (kir_is_const(g->f, a, &base))
		return s64c(g->f, base + k);
	return k ? s64_op(g, KIR_OP_add, a, s64c(g->f, k)) : a;
}

static place place_of(frag *g, kir_ref n)
{
	unsigned first, count;
	kir_ref buf, upto;
	place p = { 0 };

	kir_access(g->in, n, &buf, &first, &count, &upto);
	p.buf = g->map[buf];
	p.upto = upto ? g->map[upto] : 0;
	p.rank = kir_type_of(g->in, buf)->rank;
	for (unsigned i = 0; i < p.rank; i++)
		p.at[i] = i < count ? g->map[kir_src(g->in, n, first + i)] : s64c(g->f, 0);
	p.tile =
	    kir_type_of(g->in, g->in->node[n].op == KIR_OP_store ? kir_src(g->in, n, 0) : n);
	return p;
}

/* Index operands of element `i` of the tile in row-major order. */
static void element(frag *g, const place *p, int64_t i, kir_ref *src)
{
	unsigned lead = p->rank - p->tile->rank;

	for (unsigned d = p->tile->rank; d-- > 0; i /= p->tile->dim[d])
		src[lead + d] = plus(g, p->at[lead + d], i % p->tile->dim[d]);
	for (unsigned d = 0; d < lead; d++)
		src[d] = p->at[d];
	if (p->last) /* rows that aren't there are read where the last one is */
		src[lead] = s64_op(g, KIR_OP_min, src[lead], p->last);
}

/* Whether rows at index `d` of the tile's first dimension exist, as an i1. */
static kir_ref row_exists(frag *g, const place *p, int64_t d)
{
	return e2(g->f, KIR_OP_lt, kir_scalar(g->f->module, KIR_i1),
	          plus(g, p->at[p->rank - p->tile->rank], d), p->upto);
}

/* How many lanes from element i on exist; 0: all. Of a tile, rows are in or out as a whole. */
static kir_ref lanes_limit(frag *g, const place *p, int64_t i, int64_t lanes)
{
	kir_type_id s64 = kir_scalar(g->f->module, KIR_s64);
	int64_t below = kir_type_count(p->tile) / p->tile->dim[0];

	if (!p->upto || p->last || p->guarded)
		return 0;
	if (p->tile->rank == 1)
		return s64_op(g, KIR_OP_min,
		              s64_op(g, KIR_OP_sub, p->upto, plus(g, p->at[p->rank - 1], i)),
		              s64c(g->f, lanes));
	return e3(g->f, KIR_OP_select, s64, row_exists(g, p, i / below), s64c(g->f, lanes),
	          s64c(g->f, 0));
}

static kir_ref read_lanes(frag *g, const place *p, int64_t i, int64_t lanes)
{
	kir_ref src[KIR_RANK + 2] = { p->buf }, limit = lanes_limit(g, p, i, lanes);
	kir_type_id t = kir_vector(g->f->module, (kir_elem)p->tile->elem, lanes);

	element(g, p, i, src + 1);
	src[1 + p->rank] = limit;
	return kir_emit(g->f, KIR_OP_vload, t, src, p->rank + (limit ? 2 : 1), NULL);
}

/* Block c of row r, in the value's order. */
static kir_ref read_block_row(frag *g, kir_ref n, const place *p, int64_t r, int64_t c)
{
	int64_t cols = frag_ncols(g, n), run = g->run[n];

	return frag_part(g,
	                 read_lanes(g, p, r * cols + c / run * run * g->lanes, run * g->lanes),
	                 c % run, 1);
}

/* The element in every lane. */
static kir_ref read_everywhere(frag *g, const place *p, int64_t i)
{
	kir_ref src[KIR_RANK + 2] = { p->buf }, limit = lanes_limit(g, p, i, 1);
	kir_elem e = (kir_elem)p->tile->elem;
	kir_type_id one = kir_scalar(g->f->module, e), all = frag_vector(g, e, 1);

	element(g, p, i, src + 1);
	if (!limit)
		return e1(g->f, KIR_OP_splat, all,
		          kir_emit(g->f, KIR_OP_load, one, src, p->rank + 1, NULL));
	src[1 + p->rank] = limit; /* the other lanes are 0 */
	kir_ref x = kir_emit(g->f, KIR_OP_vload, all, src, p->rank + 2, NULL);
	if (kir_elems[e].kind == 'E') { /* has no sums, its bytes have */
		x = e1(g->f, KIR_OP_bitcast, frag_vector(g, KIR_u8, 1), x);
		x = e1(g->f, KIR_OP_reduce_add, kir_scalar(g->f->module, KIR_u8), x);
		x = e1(g->f, KIR_OP_bitcast, one, x);
	} else {
		x = e1(g->f, KIR_OP_reduce_add, one, x);
	}
	return e1(g->f, KIR_OP_splat, all, x);
}

/* Rows of one block, one below the other. */
static kir_ref stack(frag *g, kir_ref *row, int64_t count)
{
	for (int64_t step = 1; step < count; step *= 2)
		for (int64_t i = 0; i < count; i += 2 * step)
			row[i] = frag_pack(g, row[i], row[i + step]);
	return row[0];
}

/* Whether `lanes` elements along an axis follow each other in memory. */
static bool follow(const kir_type *b, unsigned axis, int64_t lanes)
{
	int64_t size = kir_elem_bytes((kir_elem)b->elem), run = 1;

	for (unsigned i = 0; i < b->npieces; i++)
		if (b->piece[i].axis == axis && !b->piece[i].dyn && b->piece[i].div <= 1 &&
		    b->piece[i].stride == size)
			run = b->piece[i].mod ? b->piece[i].mod : INT64_MAX;
	return run == INT64_MAX || run % lanes == 0;
}

static bool contiguous(const frag *g, kir_ref n, int64_t lanes)
{
	kir_ref buf = kir_src(g->in, n, g->in->node[n].op == KIR_OP_store);
	const kir_type *b = kir_type_of(g->in, buf);

	return follow(b, b->rank - 1u, lanes);
}

/* A bounded vector that lies in one record of its buffer, a column a lane: where one of its
 * elements exists the others are memory too, so whole rows are read and what is past the bound
 * is made 0. One load and no branches. */
static bool load_record(frag *g, kir_ref n, const place *p, unsigned axis)
{
	const kir_type *b = kir_type_of(g->f, p->buf), *t = p->tile;
	int64_t count = frag_col_blocks(g, n), size = kir_elem_bytes((kir_elem)t->elem);
	int64_t run = g->run[n], wide = g->lanes * run;
	int64_t attr[KIR_MAX_ATTRS] = { 0, run, wide * size, 0, 0 };
	kir_type_id s64 = kir_scalar(g->f->module, KIR_s64), it, ct;
	kir_ref src[KIR_RANK + 2] = { p->buf }, live, rows, x, at, *val;

	if (g->kind[n] != FRAG_COL || t->rank + axis != b->rank || size != 4 ||
	    (count != 2 && count != 4 && count != 8) || b->rank < 2 ||
	    b->dim[axis] % t->dim[0] || !follow(b, axis, t->dim[0]))
		return false;
	for (unsigned i = 0; i < b->rank; i++)
		src[1 + i] = p->at[i];
	if (!p->upto) {
		x = kir_emit(g->f, KIR_OP_xe_load2d, frag_vector(g, (kir_elem)t->elem, count),
		             src, b->rank + 1u, attr);
		val = frag_new(g, n);
		for (int64_t c = 0; c < count; c++)
			val[c] = frag_part(g, x, c, 1);
		return true;
	}
	live = s64_op(g, KIR_OP_sub, p->upto, p->at[axis]);
	rows = e2(g->f, KIR_OP_shr, s64, plus(g, live, wide - 1),
	          s64c(g->f, __builtin_ctz((unsigned)wide)));
	src[1 + b->rank] = rows;
	x = kir_emit(g->f, KIR_OP_xe_load2d, frag_vector(g, (kir_elem)t->elem, count), src,
	             b->rank + 2u, attr);
	live = e2(g->f, KIR_OP_min, s64, live, s64c(g->f, t->dim[0]));
	live = e1(g->f, KIR_OP_convert, kir_scalar(g->f->module, KIR_s32), live);
	it = frag_vector(g, KIR_s32, 1);
	ct = frag_vector(g, KIR_i1, 1);
	at = frag_iota(g, it, run);
	val = frag_new(g, n);
	for (int64_t c = 0; c < count; c++) {
		int64_t first = frag_first(g, run, c);
		kir_ref i =
		    c ? e2(g->f, KIR_OP_add, it, at, kir_const_i(g->f, KIR_s32, first)) : at;

		i = e2(g->f, KIR_OP_lt, ct, i, live);
		val[c] = e3(g->f, KIR_OP_select, frag_type(g, n), i, frag_part(g, x, c, 1),
		            zero_of(g->f, (kir_elem)t->elem));
	}
	return true;
}

/* Rows of one element each, from the indexed one on: each lane reads its own. src has room for
 * what follows the index. */
static void read_column(frag *g, kir_ref n, kir_ref *src, unsigned nsrc, kir_ref live,
                        int64_t pitch)
{
	kir_ref *val = frag_new(g, n);

	src[nsrc] = live;
	for (int64_t c = 0; c < frag_col_blocks(g, n); c++)
		val[c] = kir_emit(g->f, KIR_OP_xe_load2d, frag_type(g, n), src, nsrc + !!live,
		                  (int64_t[KIR_MAX_ATTRS]){ 1, 1, pitch, 0, c * g->lanes });
}

/* A vector whose elements are a run-time stride apart is a matrix of one column. */
static bool load_strided(frag *g, kir_ref n, const place *p)
{
	kir_type t = *kir_type_of(g->f, p->buf);
	kir_ref src[KIR_RANK + 3];
	unsigned row = t.rank;

	if (g->kind[n] != FRAG_COL || p->tile->rank != 1 || g->run[n] > 1 ||
	    t.rank == KIR_RANK || t.npieces == KIR_PIECES)
		return false;
	t.dim[t.rank++] = 1;
	t.piece[t.npieces++] = (kir_piece){ .axis = (uint8_t)row,
		                            .div = 1,
		                            .stride = kir_elem_bytes((kir_elem)t.elem) };
	if (kir_row_stride(&t) < 0)
		return false;
	src[0] = kir_emit(g->f, KIR_OP_view, kir_type_intern(g->f->module, &t), &p->buf, 1,
	                  (int64_t[KIR_MAX_ATTRS]){ 0 });
	for (unsigned i = 0; i < row; i++)
		src[1 + i] = p->at[i];
	src[1 + row] = s64c(g->f, 0);
	read_column(g, n, src, row + 2,
	            p->upto ? s64_op(g, KIR_OP_sub, p->upto, p->at[row - 1]) : 0, 0);
	return true;
}

/* Bytes between elements along an axis; 0: no number says it. */
static int64_t apart(const kir_type *t, unsigned axis)
{
	int64_t found = 0;

	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *k = &t->piece[i];

		if (k->axis != axis)
			continue;
		if (found || k->dyn || k->div > 1 || k->mod)
			return 0;
		found = k->stride;
	}
	return found;
}

/* The rows of a block; rows that only fill it up are the last one. */
static kir_ref read_block(frag *g, kir_ref n, const place *p, int64_t r, int64_t c)
{
	int64_t rows = frag_nrows(g, n), h = frag_height(rows);
	int64_t below = rows / p->tile->dim[0];
	kir_ref row[8];

	for (int64_t i = 0; i < h; i++) {
		int64_t at = r * h + i < rows ? r * h + i : rows - 1;

		if (i && at == r * h + i - 1) {
			row[i] = row[i - 1];
			continue;
		}
		row[i] = g->kind[n] == FRAG_ROW ? read_everywhere(g, p, at)
		                                : read_block_row(g, n, p, at, c);
		if (p->last && at / below) /* the first is there */
			row[i] = e3(g->f, KIR_OP_select, g->f->node[row[i]].type,
			            row_exists(g, p, at / below), row[i],
			            zero_of(g->f, (kir_elem)p->tile->elem));
	}
	return stack(g, row, h);
}

static void read_blocks(frag *g, kir_ref n, const place *p)
{
	int64_t cb = frag_col_blocks(g, n);

	for (int64_t i = 0; i < frag_blocks(g, n); i++)
		g->val[n][i] = read_block(g, n, p, i / cb, i % cb);
}

/* A tile of one column as a vector: in one load where it lies as one, else a lane each. */
void frag_load_column(frag *g, kir_ref n)
{
	place p = place_of(g, kir_src(g->in, n, 0));
	const kir_type *t = kir_type_of(g->f, p.buf);
	kir_ref src[KIR_RANK + 3] = { p.buf };
	unsigned axis = t->rank - 2u;
	int64_t pitch = apart(t, axis);

	if (g->kind[n] == FRAG_ROW) {
		frag_new(g, n);
		read_blocks(g, n, &p);
		return;
	}
	if (load_record(g, n, &p, axis))
		return;
	if (g->kind[n] != FRAG_COL || g->run[n] > 1 || (pitch < 1 && kir_row_stride(t) < 0)) {
		g->failed = true;
		return;
	}
	for (unsigned i = 0; i < t->rank; i++)
		src[1 + i] = p.at[i];
	read_column(g, n, src, t->rank + 1u,
	            p.upto ? s64_op(g, KIR_OP_sub, p.upto, p.at[axis]) : 0, pitch);
}

/* A tile some of whose rows may not exist: if the first does, all are read, and those that
 * don't are made 0. One branch for the whole tile. */
static void read_guarded(frag *g, kir_ref n, place *p)
{
	unsigned count = (unsigned)frag_blocks(g, n);
	kir_ref branch = kir_if(g->f, row_exists(g, p, 0)), *val = g->val[n], res;

	p->last = plus(g, p->upto, -1);
	read_blocks(g, n, p);
	kir_else(g->f, val, count);
	val[0] =
	    e1(g->f, KIR_OP_splat, frag_type(g, n), zero_of(g->f, (kir_elem)p->tile->elem));
	for (unsigned i = 1; i < count; i++)
		val[i] = val[0];
	res = kir_if_end(g->f, branch, val, count);
	for (unsigned i = 0; i < count; i++)
		val[i] = res + i;
}

void frag_load(frag *g, kir_ref n)
{
	place p = place_of(g, n);
	frag_kind k = (frag_kind)g->kind[n];
	kir_elem e = (kir_elem)p.tile->elem;
	bool plain = kir_elem_bytes(e) > 1 && (kir_is_float(e) || kir_is_int(e));

	if (load_strided(g, n, &p))
		return;
	if ((k != FRAG_ROW && !contiguous(g, n, g->lanes * g->run[n])) ||
	    (k == FRAG_ROW && p.upto && !kir_is_float(e) && !kir_is_int(e))) {
		g->failed = true;
		return;
	}
	if (load_record(g, n, &p, p.rank - 1))
		return;
	frag_new(g, n);
	if (k == FRAG_TILE && p.upto && plain && frag_blocks(g, n) < KIR_MAX_SRC)
		read_guarded(g, n, &p);
	else
		read_blocks(g, n, &p);
}

/* Codes of 32 columns of each row, two in a lane, as even and odd columns of f16. */
void frag_load_rows(frag *g, kir_ref n)
{
	kir_ref load = kir_src(g->in, n, 0), *val = frag_new(g, n), row[8];
	place p = place_of(g, load);
	int64_t rows = frag_nrows(g, n), cols = frag_ncols(g, n), h = frag_height(rows);
	int64_t cb = frag_col_blocks(g, n);

	if (!contiguous(g, load, 2 * g->lanes)) {
		g->failed = true;
		return;
	}
	for (int64_t i = 0; i < frag_blocks(g, n); i += 2) {
		for (int64_t k = 0; k < h; k++) {
			int64_t r = i / cb * h + k < rows ? i / cb * h + k : rows - 1;

			row[k] = read_lanes(g, &p, r * cols + i % cb * g->lanes, 2 * g->lanes);
		}
		frag_widen_rows(g, (kir_elem)p.tile->elem, stack(g, row, h), &val[i]);
	}
}

/* Row i from block c of x on, as many blocks as lie side by side in memory. */
static kir_ref stored_row(frag *g, kir_ref x, int64_t i, int64_t c)
{
	int64_t h = frag_height(frag_nrows(g, x)), cb = frag_col_blocks(g, x);
	const kir_ref *val = &g->val[x][i / h * cb + c];
	kir_ref row[FRAG_RUN];

	for (int64_t k = 0; k < g->run[x]; k++)
		row[k] = frag_part(g, val[k], i % h, 1);
	return stack(g, row, g->run[x]);
}

/* Of x's columns those before `keep` are stored. */
static void store_row(frag *g, kir_ref n, kir_ref x, const place *p, int64_t i, int64_t keep)
{
	int64_t cb = frag_col_blocks(g, x), step = g->run[x];
	int64_t lanes = g->kind[x] == FRAG_ROW ? 1 : g->lanes * step;

	for (int64_t c = 0; c < cb; c += step) {
		int64_t at = lanes > 1 ? (i * cb + c) * g->lanes : i;
		int64_t left = lanes > 1 ? keep - c * g->lanes : 1;
		kir_ref src[KIR_RANK + 3] = { 0, p->buf }, limit;

		if (left <= 0)
			return;
		src[0] = stored_row(g, x, i, c);
		limit = left < lanes ? s64c(g->f, left) : lanes_limit(g, p, at, lanes);

		element(g, p, at, src + 2);
		src[2 + p->rank] = limit ? limit : s64c(g->f, lanes);
		kir_emit(g->f, KIR_OP_vstore, KIR_NO_TYPE, src,
		         p->rank + (limit || lanes == 1 ? 3u : 2u),
		         (int64_t[KIR_MAX_ATTRS]){ kir_attr_of(g->in, n, KIR_ATTR_hint) });
	}
}

/* Rows that may not exist are stored in branches, those of one index of the first dimension
 * together. */
void frag_store(frag *g, kir_ref n)
{
	kir_ref x = kir_src(g->in, n, 0), branch = 0;
	int64_t keep = kir_type_of(g->in, x)->dim[kir_type_of(g->in, x)->rank - 1];

	if (g->deferred[x]) /* columns are cut off here */
		x = kir_src(g->in, x, 0);
	int64_t rows = frag_nrows(g, x), lanes = g->lanes * g->run[x];
	place p = place_of(g, n);

	p.tile = kir_type_of(g->in, x);
	int64_t below = rows / p.tile->dim[0];

	if (g->kind[x] != FRAG_ROW && !contiguous(g, n, lanes)) {
		g->failed = true;
		return;
	}
	p.guarded = p.upto && p.tile->rank > 1;
	for (int64_t i = 0; i < rows; i++) {
		if (p.guarded && i % below == 0)
			branch = kir_if(g->f, row_exists(g, &p, i / below));
		store_row(g, n, x, &p, i, keep);
		if (p.guarded && i % below == below - 1) {
			kir_else(g->f, NULL, 0);
			kir_if_end(g->f, branch, NULL, 0);
		}
	}
}
