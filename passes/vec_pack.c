/* SPDX-License-Identifier: Apache-2.0 */
/* vec_pack.c -- the right factor of a product, brought into product order.
 *
 * A product step wants, for a vector of columns, the 4 bytes of the contraction that belong to
 * each: [depth / unit][cols][unit], unit = 4 / size. How the cache stores the tile decides what
 * it takes to get there:
 *
 *   packed      the layout has that order: read where it lies, if the chain keeps the size;
 *               else widened on the way into a local (8-bit codes to bf16: one vector of
 *               [16][4] becomes two of [16][2])
 *   transposed  rows are columns of the product (keys, token by token): squares of n x n
 *               4-byte words are transposed in registers, n log2 n zips for n vectors
 *   zipped      rows run along the contraction (values, token by token): `unit` rows are
 *               interleaved by zips, unit - 1 for each vector
 *   else        copied element by element into a row-major local first
 *
 * Where few blocks of rows use a vector (decode: up to 16 rows), widening and zipping happen in
 * the product itself, vector by vector, and no local exists: the shuffles run beside the
 * multiplications. vec_dot.c (decodes_in_place) has the rule, knob fuse forbids or forces it.
 *
 * Rows at and past the load's `upto` are not touched and count as 0.
 */
#include "vectorize.h"

/* -- where the factor is ------------------------------------------------------------------ */

/* What a deferred factor is stored as; itself, if it isn't deferred. */
static kir_ref stored_of(const vec *v, kir_ref s)
{
	while (v->deferred[s] && v->in->node[s].op != KIR_OP_load)
		s = kir_src(v->in, s, 0);
	return s;
}

bool vec_factor_of(vec *v, kir_ref dot, vec_factor *b)
{
	const kir_func *in = v->in;
	kir_ref s = kir_src(in, dot, 1);
	const kir_type *t = kir_type_of(in, dot);
	unsigned n = 0;

	int64_t trans = kir_attr_of(in, dot, KIR_ATTR_trans);

	*b = (vec_factor){ .trans = trans == 1 };
	b->cols = t->dim[1];
	b->depth = kir_type_of(in, kir_src(in, dot, 0))->dim[trans != 2];
	b->elem = b->stored = (kir_elem)kir_type_of(in, s)->elem;
	b->unit = 4 / kir_elem_bytes(b->elem);
	if (b->unit < 1 || b->depth % b->unit) {
		kir_error(v->why, (int)in->node[dot].line, 0,
		          "dot: a contraction of %d %s elements has no vector form",
		          (int)b->depth, kir_elems[b->elem].name);
		return false;
	}
	const kir_type *st = kir_type_of(in, stored_of(v, s));

	if (b->trans && b->depth * kir_elem_bytes((kir_elem)st->elem) % 4) {
		kir_error(
		    v->why, (int)in->node[dot].line, 0,
		    "dot: a contraction of %d %s elements along rows is no whole number of "
		    "words of 4 bytes",
		    (int)b->depth, kir_elems[st->elem].name);
		return false;
	}
	if (!v->deferred[s]) {
		b->local = true;
		b->tile = *vec_value(v, s);
		return true;
	}
	for (; in->node[s].op != KIR_OP_load; s = kir_src(in, s, 0))
		b->chain[n++] = s;
	if (n && in->node[b->chain[n - 1]].op == KIR_OP_unpack)
		b->unpack = b->chain[--n];
	b->nchain = n;
	b->load = s;
	b->stored = (kir_elem)kir_type_of(in, s)->elem;
	return true;
}

/* Makes the factor a local copy of the stored tile, its codes a byte each. */
static void bring_home(vec *v, vec_factor *b)
{
	vec_load(v, b->load);
	b->local = true;
	b->tile = v->val[b->load];
	if (!b->unpack)
		return;
	const kir_type *t = kir_type_of(v->in, b->unpack);
	vec_tile codes = vec_local(v, (kir_elem)t->elem, t->dim[0], t->dim[1]);

	vec_unpack(v, &b->tile, &codes, kir_attr_of(v->in, b->unpack, KIR_ATTR_run),
	           kir_attr_of(v->in, b->unpack, KIR_ATTR_half));
	b->tile = codes;
	b->stored = codes.elem;
	b->unpack = 0;
}

/* Buffer of the load and its index operands. */
const kir_type *vec_memory_of(const vec *v, const vec_factor *b)
{
	return kir_type_of(v->in, kir_src(v->in, b->load, 0));
}

kir_ref vec_upto_of(const vec *v, const vec_factor *b)
{
	kir_ref buf, upto;
	unsigned first, count;

	kir_access(v->in, b->load, &buf, &first, &count, &upto);
	return upto;
}

unsigned vec_factor_at(vec *v, const vec_factor *b, vec_ix row, vec_ix col, kir_ref *src)
{
	kir_ref buf, upto;
	unsigned first, count, rank, n = 0;

	kir_access(v->in, b->load, &buf, &first, &count, &upto);
	rank = kir_type_of(v->in, buf)->rank;
	src[n++] = v->map[buf];
	for (unsigned i = 0; i < rank; i++) {
		kir_ref s = i < count ? kir_src(v->in, b->load, first + i) : 0;
		vec_ix at = { 0, 0 };

		if (s && !kir_is_const(v->in, s, &at.k))
			at.var = as_elem(v->f, v->map[s], KIR_s64);
		if (i + 2 == rank)
			at = vec_add(v, at, row);
		if (i + 1 == rank)
			at = vec_add(v, at, col);
		src[n++] = vec_ref(v, at);
	}
	return n;
}

/* Lanes of the stored tile from (row, col) of its own shape, at most `limit` of them. */
kir_ref vec_read_stored(vec *v, const vec_factor *b, vec_ix row, vec_ix col, int64_t lanes,
                        kir_ref limit)
{
	kir_ref src[KIR_RANK + 2];
	unsigned n;

	if (b->local)
		return vec_read(v, &b->tile, row, col, lanes);
	n = vec_factor_at(v, b, row, col, src);
	if (limit)
		src[n++] = limit;
	return kir_emit(v->f, KIR_OP_vload, kir_vector(v->f->module, b->stored, lanes), src, n,
	                NULL);
}

/* The conversions between memory and product, on one vector. */
kir_ref vec_apply_chain(vec *v, const vec_factor *b, kir_ref x)
{
	for (unsigned i = b->nchain; i-- > 0;) {
		kir_ref n = b->chain[i];
		const kir_node *d = &v->in->node[n];
		kir_elem e = (kir_elem)kir_type_of(v->in, n)->elem;
		kir_type_id t = kir_with_elem(v->f->module, v->f->node[x].type, e);

		if (d->op == KIR_OP_xor)
			x = e2(v->f, KIR_OP_xor, t, x, v->map[kir_src(v->in, n, 1)]);
		else
			x = kir_emit(v->f, (kir_op)d->op, t, &x, 1,
			             d->op != KIR_OP_bitcast ? d->attr : NULL);
	}
	return x;
}

/* -- rows are columns of the product ------------------------------------------------------- */

void vec_transpose(vec *v, kir_ref *x, int64_t n, int64_t within)
{
	kir_type_id t = v->f->node[x[0]].type;
	kir_ref y[16];

	for (int64_t s = 1; s < n; s *= 2) {
		for (int64_t i = 0; i < n / 2; i++) {
			y[2 * i] = e2x(v->f, KIR_OP_zip_lo, t, x[i], x[i + n / 2], within);
			y[2 * i + 1] = e2x(v->f, KIR_OP_zip_hi, t, x[i], x[i + n / 2], within);
		}
		for (int64_t i = 0; i < n; i++)
			x[i] = y[i];
	}
}

/* One square of n columns (memory rows) by n words from (row, word). */
static void transpose_square(vec *v, const vec_factor *b, const vec_tile *t, vec_ix row,
                             vec_ix word, int64_t n)
{
	kir_module *m = v->f->module;
	int64_t unit = 4 / kir_elem_bytes(b->stored);
	vec_layout words = { .unit = unit };
	kir_type_id wt = kir_vector(m, KIR_s32, n);
	kir_ref x[16];
	vec_ix col = vec_mul(v, word, unit);

	for (int64_t i = 0; i < n; i++) {
		x[i] = vec_read_stored(v, b, vec_add(v, row, ix(i)), col, n * unit, 0);
		if (b->stored != KIR_s32)
			x[i] = e1(v->f, KIR_OP_bitcast, wt, x[i]);
	}
	vec_transpose(v, x, n, 0);
	for (int64_t i = 0; i < n; i++) {
		kir_ref e = e1(v->f, KIR_OP_bitcast, kir_vector(m, b->stored, n * unit), x[i]);

		vec_put_words(v, b, t, e, vec_add(v, col, ix(i * unit)), row, n, &words);
	}
}

/* The area of `rows` memory rows by `words` from (row0, word0), in the largest squares. */
static void transpose_area(vec *v, const vec_factor *b, const vec_tile *t, int64_t row0,
                           int64_t rows, int64_t word0, int64_t words)
{
	int64_t most = v->lanes < 16 ? v->lanes : 16;
	int64_t nr = vec_chunk(rows, most), nw = vec_chunk(words, most), n = nr < nw ? nr : nw;
	int64_t full_r = rows / n * n, full_w = words / n * n;

	if (rows <= 0 || words <= 0)
		return;
	vec_loop lr = vec_loop_begin(v, full_r, n);
	vec_loop lw = vec_loop_begin(v, full_w, n);

	transpose_square(v, b, t, vec_add(v, lr.i, ix(row0)), vec_add(v, lw.i, ix(word0)), n);
	vec_loop_end(v, &lw);
	vec_loop_end(v, &lr);
	transpose_area(v, b, t, row0, full_r, word0 + full_w, words - full_w);
	transpose_area(v, b, t, row0 + full_r, rows - full_r, word0, words);
}

/* -- rows run along the contraction -------------------------------------------------------- */

void vec_interleave(vec *v, int64_t unit, kir_type_id t, kir_ref *x)
{
	bool one = kir_type_at(v->f->module, t)->dim[0] == 1; /* they are in order already */
	kir_ref y[4];

	for (int64_t s = 1; s < unit && !one; s *= 2) {
		for (int64_t i = 0; i < unit / 2; i++) {
			y[2 * i] = e2(v->f, KIR_OP_zip_lo, t, x[i], x[i + unit / 2]);
			y[2 * i + 1] = e2(v->f, KIR_OP_zip_hi, t, x[i], x[i + unit / 2]);
		}
		for (int64_t i = 0; i < unit; i++)
			x[i] = y[i];
	}
}

/* `unit` rows from group g, columns from c: interleaved, converted, written. limit: for each
 * row how many lanes may be read, or NULL. */
static void zip_rows(vec *v, const vec_factor *b, const vec_tile *t, vec_ix g, vec_ix c,
                     int64_t lanes, const kir_ref *limit)
{
	kir_type_id st = kir_vector(v->f->module, b->stored, lanes);
	kir_ref x[4];
	vec_ix row = vec_mul(v, g, b->unit), at = vec_mul(v, c, b->unit);

	for (int64_t i = 0; i < b->unit; i++)
		x[i] = vec_read_stored(v, b, vec_add(v, row, ix(i)), c, lanes,
		                       limit ? limit[i] : 0);
	vec_interleave(v, b->unit, st, x);
	for (int64_t i = 0; i < b->unit; i++)
		vec_write(v, t, g, vec_add(v, at, ix(i * lanes)), vec_apply_chain(v, b, x[i]));
}

static void zip_columns(vec *v, const vec_factor *b, const vec_tile *t, vec_ix g,
                        const kir_ref *live_row)
{
	int64_t lanes = vec_chunk(b->cols, 64 / kir_elem_bytes(b->stored));
	int64_t whole = b->cols / lanes * lanes;
	kir_type_id s64 = kir_scalar(v->f->module, KIR_s64);

	for (int64_t c = 0; c < b->cols;) {
		int64_t k = vec_chunk(b->cols - c, lanes);
		bool main = c < whole;
		vec_loop l = vec_loop_begin(v, main ? whole : k, k);
		kir_ref limit[4];

		for (int64_t i = 0; live_row && i < b->unit; i++)
			limit[i] = e3(v->f, KIR_OP_select, s64, live_row[i], s64c(v->f, k),
			              s64c(v->f, 0));
		zip_rows(v, b, t, g, vec_add(v, l.i, ix(main ? 0 : c)), k,
		         live_row ? limit : NULL);
		vec_loop_end(v, &l);
		c = main ? whole : c + k;
	}
}

kir_ref vec_live_rows(vec *v, const vec_factor *b)
{
	kir_type_id s64 = kir_scalar(v->f->module, KIR_s64);
	kir_ref upto = b->local ? 0 : vec_upto_of(v, b), buf, skip, live, row0;
	unsigned first, count;

	if (!upto)
		return 0;
	kir_access(v->in, b->load, &buf, &first, &count, &skip);
	row0 = v->map[kir_src(v->in, b->load, first + kir_type_of(v->in, buf)->rank - 2u)];
	live = e2(v->f, KIR_OP_sub, s64, as_elem(v->f, v->map[upto], KIR_s64),
	          as_elem(v->f, row0, KIR_s64));
	live = e2(v->f, KIR_OP_max, s64, live, s64c(v->f, 0));
	return e2(v->f, KIR_OP_min, s64, live, s64c(v->f, b->depth));
}

/* Whole groups of live rows, then those with rows past the end. */
static void pack_zipped(vec *v, const vec_factor *b, const vec_tile *t)
{
	kir_type_id s64 = kir_scalar(v->f->module, KIR_s64),
	            i1 = kir_scalar(v->f->module, KIR_i1);
	int64_t groups = b->depth / b->unit;
	kir_ref live = vec_live_rows(v, b), full, l, ok[4];

	if (!live) {
		vec_loop g = vec_loop_begin(v, groups, 1);

		zip_columns(v, b, t, g.i, NULL);
		vec_loop_end(v, &g);
		return;
	}
	full = e2(v->f, KIR_OP_fdiv, s64, live, s64c(v->f, b->unit));
	l = kir_for(v->f, s64c(v->f, 0), full, 1, false, NULL, 0);
	zip_columns(v, b, t, (vec_ix){ l + 1, 0 }, NULL);
	kir_for_end(v->f, l, NULL, 0);
	l = kir_for(v->f, full, s64c(v->f, groups), 1, false, NULL, 0);
	vec_ix g = { l + 1, 0 }, row = vec_mul(v, g, b->unit);

	for (int64_t i = 0; i < b->unit; i++)
		ok[i] = e2(v->f, KIR_OP_lt, i1, vec_ref(v, vec_add(v, row, ix(i))), live);
	zip_columns(v, b, t, g, ok);
	kir_for_end(v->f, l, NULL, 0);
}

/* -- inside the product ------------------------------------------------------------------- */

static void read_widened(vec *v, const vec_factor *b, const vec_packed *p, const vec_read_at *r,
                         kir_ref *out)
{
	vec_ix deep = vec_mul(v, r->k, b->unit);
	kir_ref word[VEC_RATIO_MAX];

	for (int64_t j = 0; j < r->cols; j++) {
		vec_ix at = vec_add(v, r->c, ix(j * r->lanes));
		kir_ref x = vec_read_stored(v, b, b->trans ? at : deep, b->trans ? deep : at,
		                            r->lanes * b->unit * p->ratio, 0);

		vec_words(v, b, x, r->lanes, p->ratio, p->pairs, word);
		for (int64_t s = 0; s < p->ratio; s++)
			out[s * r->cols + j] = word[s];
	}
}

/* Cuts or joins the interleaved vectors x[unit] of `width` columns into blocks of `lanes`
 * columns, converted. */
static void blocks_of(vec *v, const vec_factor *b, kir_ref *x, int64_t width, int64_t lanes,
                      kir_ref *out)
{
	kir_module *m = v->f->module;
	int64_t n = b->unit, size = width, want = lanes * b->unit, k = 0;

	for (; size < want; size *= 2, n /= 2)
		for (int64_t i = 0; i < n / 2; i++)
			x[i] = e2(v->f, KIR_OP_join, kir_vector(m, b->stored, size * 2),
			          x[2 * i], x[2 * i + 1]);
	for (int64_t i = 0; i < n; i++) {
		kir_ref part[8] = { vec_apply_chain(v, b, x[i]) };
		int64_t parts = 1;

		for (int64_t s = size; s > want; s /= 2, parts *= 2)
			for (int64_t q = parts; q-- > 0;) {
				kir_type_id t = kir_vector(m, b->elem, s / 2);
				kir_ref whole = part[q];

				part[2 * q] = e1(v->f, KIR_OP_half_lo, t, whole);
				part[2 * q + 1] = e1(v->f, KIR_OP_half_hi, t, whole);
			}
		for (int64_t q = 0; q < parts; q++)
			out[k++] = part[q];
	}
}

static void read_zipped(vec *v, const vec_factor *b, const vec_read_at *r, kir_ref *out)
{
	kir_type_id s64 = kir_scalar(v->f->module, KIR_s64);
	int64_t most = 64 / kir_elem_bytes(b->stored) / r->lanes;
	vec_ix row = vec_mul(v, r->k, b->unit);

	for (int64_t j = 0; j < r->cols;) {
		int64_t n = vec_chunk(r->cols - j, most < 1 ? 1 : most), width = n * r->lanes;
		kir_ref x[4];

		for (int64_t i = 0; i < b->unit; i++) {
			kir_ref limit = r->live ? e3(v->f, KIR_OP_select, s64, r->live[i],
			                             s64c(v->f, width), s64c(v->f, 0))
			                        : 0;

			x[i] =
			    vec_read_stored(v, b, vec_add(v, row, ix(i)),
			                    vec_add(v, r->c, ix(j * r->lanes)), width, limit);
		}
		vec_interleave(v, b->unit, kir_vector(v->f->module, b->stored, width), x);
		blocks_of(v, b, x, width, r->lanes, out + j);
		j += n;
	}
}

void vec_factor_read(vec *v, const vec_factor *b, const vec_packed *p, const vec_read_at *r,
                     kir_ref *out)
{
	switch (p->how) {
	case VEC_LOCAL:
		for (int64_t j = 0; j < r->cols; j++)
			out[j] =
			    vec_read(v, &p->tile, r->k,
			             vec_mul(v, vec_add(v, r->c, ix(j * r->lanes)), b->unit),
			             r->lanes * b->unit);
		return;
	case VEC_DIRECT:
	case VEC_WIDEN:
		if (b->unpack)
			vec_nibbles_read(v, b, p, r, out);
		else
			read_widened(v, b, p, r, out);
		return;
	case VEC_ZIP: read_zipped(v, b, r, out); return;
	}
}

/* -- which of them ------------------------------------------------------------------------- */

static vec_packed pack_memory(vec *v, vec_factor *b, bool fuse)
{
	bool same = kir_elem_bytes(b->stored) == kir_elem_bytes(b->elem);
	int64_t run = vec_run(vec_memory_of(v, b));
	vec_packed p = { .max_lanes = v->lanes, .ratio = 1 };
	kir_ref upto = vec_upto_of(v, b);
	vec_layout l;

	if (vec_find_layout(v, b, &l) && !(upto && (b->trans || b->unpack)) &&
	    (!b->unpack || vec_nibbles_fit(v, b, &l))) {
		p.max_lanes = vec_side_by_side(b, &l);
		p.ratio = l.unit / b->unit * (b->unpack && b->trans ? 2 : 1);
		p.pairs = l.pairs;
		p.columns_known = b->unpack && !b->trans;
		p.even_odd = b->unpack && vec_nibbles_even_odd(v, b, &l);
		p.how = same && p.ratio == 1 && !b->unpack ? VEC_DIRECT : VEC_WIDEN;
		if (!upto && (p.how == VEC_DIRECT || fuse))
			return p;
		p = (vec_packed){ .max_lanes = v->lanes, .ratio = 1 };
		p.tile = vec_local(v, b->elem, b->depth / b->unit, b->cols * b->unit);
		if (b->unpack)
			vec_nibbles_pack(v, b, &l, &p.tile);
		else
			vec_pack_layout(v, b, &l, &p.tile, upto ? vec_live_rows(v, b) : 0);
	} else if (b->unpack) {
		bring_home(v, b);
	} else if (!b->trans && run >= b->cols && fuse) {
		p.how = VEC_ZIP;
	} else if (run < (b->trans ? b->depth : b->cols) || (b->trans && upto)) {
		bring_home(v, b);
	}
	return p;
}

vec_packed vec_pack(vec *v, const vec_factor *factor, bool fuse)
{
	vec_factor b = *factor;
	vec_packed p = { .max_lanes = v->lanes, .ratio = 1 };

	if (!b.local)
		p = pack_memory(v, &b, fuse);
	if (p.how != VEC_LOCAL || p.tile.buf)
		return p;
	/* not what was just brought home: the product reads where its factor says */
	if (factor->local && !b.trans && b.unit > 1 && fuse) {
		p.how = VEC_ZIP;
		return p;
	}
	if (b.local && !b.trans && b.unit == 1 && !b.nchain) {
		p.tile = b.tile;
		return p;
	}
	p.tile = vec_local(v, b.elem, b.depth / b.unit, b.cols * b.unit);
	if (b.trans)
		transpose_area(v, &b, &p.tile, 0, b.cols, 0,
		               b.depth * kir_elem_bytes(b.stored) / 4);
	else
		pack_zipped(v, &b, &p.tile);
	return p;
}
