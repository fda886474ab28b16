/* SPDX-License-Identifier: Apache-2.0 */
/* frag_dot.c -- products of fragments: a block of columns and a step of the contraction at a
 * time, the right factor from memory.
 *
 *     %s = dot %q, %k {trans=1} : f32<8x64>      for each 16 keys, for each 16 elements:
 *  =>   %b = xe.load2d %k[...] {...}             what a lane holds of it is one key's
 *       %c = xe.dpas %c, %q_i, %b : f32<128>
 *
 * Of keys lying as rows, a row goes to a lane (trans); of keys packed so that 4 bytes of each
 * of several lie side by side, these 4 bytes do. Values lie as rows of the contraction, a
 * column goes to a lane. Where a lane has a run of columns (frag_shape.c), so many blocks are
 * read together: values by words, whose halves are the columns'. Either way a lane holds its
 * column's elements in the order of the contraction, which is what the engine takes;
 * conversions are done there, to 32 bytes of memory a lane.
 *
 * A factor in any other layout isn't taken.
 */
#include "fragment.h"

#include <math.h>

typedef struct factor {
	frag_factor b;
	kir_ref buf, at[KIR_RANK], upto; /* in f                                    */
	unsigned rank;
	bool trans;            /* rows of memory are columns of the product        */
	kir_elem stored, elem; /* in memory, in the product                        */
	int64_t pitch, unit;   /* bytes between rows (0: a run-time stride); elements that stay
	                          together */
	int64_t depth, step;   /* of the contraction: its length, what a load gives */
	bool quads;            /* values' rows are read as words                   */
	bool packed, split;    /* the rows of a tile may lie in several pieces     */
	unsigned run;          /* of the product: blocks whose columns are taken together */
} factor;

static const kir_piece *piece_at(const kir_type *t, unsigned axis, int64_t stride)
{
	for (unsigned i = 0; i < t->npieces; i++)
		if (t->piece[i].axis == axis && !t->piece[i].dyn && t->piece[i].div <= 1 &&
		    (stride < 0 || t->piece[i].stride == stride))
			return &t->piece[i];
	return NULL;
}

static unsigned pieces_of(const kir_type *t, unsigned axis)
{
	unsigned n = 0;

	for (unsigned i = 0; i < t->npieces; i++)
		n += t->piece[i].axis == axis;
	return n;
}

/* Rows one after the other, each contiguous. Run-time strides are taken where every lane has
 * one row. */
static bool plain_rows(const kir_type *t, factor *x)
{
	unsigned row = t->rank - 2u, col = t->rank - 1u;
	const kir_piece *r = piece_at(t, row, -1);

	if (pieces_of(t, col) != 1 || !piece_at(t, col, kir_elem_bytes(x->stored)))
		return false;
	if (kir_row_stride(t) >= 0)
		return x->run == 1 || !x->trans;
	if (pieces_of(t, row) != 1 || !r || r->mod || r->stride < 1)
		return false;
	x->pitch = r->stride;
	return true;
}

/* Four bytes of each of several rows side by side: 1/u:P, 1%u:size, 0%m:4. */
static bool packed_rows(const kir_type *t, factor *x, int64_t wide)
{
	unsigned row = t->rank - 2u, col = t->rank - 1u;
	int64_t size = kir_elem_bytes(x->stored);
	const kir_piece *fine = piece_at(t, col, size), *r = piece_at(t, row, 4);

	if (!x->trans || !fine || !fine->mod || fine->mod * size != 4 || !r ||
	    (r->mod && r->mod % wide) || pieces_of(t, col) != 2)
		return false;
	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *p = &t->piece[i];

		if (p->axis == col && p != fine) {
			if (p->dyn || p->div != fine->mod || p->mod || p->stride < 1)
				return false;
			x->pitch = p->stride;
		}
	}
	x->unit = fine->mod;
	x->split = r->mod != 0;
	x->packed = true;
	return true;
}

static bool factor_of(frag *g, kir_ref n, factor *x)
{
	const kir_type *t, *tile;
	unsigned first, count;
	kir_ref buf, upto;

	if (!frag_factor_of(g, n, &x->b))
		return false;
	kir_access(g->in, x->b.load, &buf, &first, &count, &upto);
	t = kir_type_of(g->in, buf);
	tile = kir_type_of(g->in, x->b.load);
	x->trans = kir_attr_of(g->in, n, KIR_ATTR_trans);
	x->stored = (kir_elem)tile->elem;
	x->elem = (kir_elem)kir_type_of(g->in, kir_src(g->in, n, 1))->elem;
	x->depth = tile->dim[x->trans];
	x->unit = 1;
	x->run = g->run[n];
	x->quads = frag_road_of(g, n) == FRAG_WORDS;
	if (t->rank < 2 || kir_elem_bytes(x->elem) < kir_elem_bytes(x->stored) ||
	    (!plain_rows(t, x) && !packed_rows(t, x, g->lanes * x->run)))
		return false;
	x->buf = g->map[buf];
	x->rank = t->rank;
	for (unsigned i = 0; i < t->rank; i++)
		x->at[i] =
		    i < count ? g->map[kir_src(g->in, x->b.load, first + i)] : s64c(g->f, 0);
	if (upto) /* counted from the tile's first row */
		x->upto = e2(g->f, KIR_OP_sub, kir_scalar(g->f->module, KIR_s64), g->map[upto],
		             x->at[t->rank - 2u]);
	return !(upto && x->packed);
}

/* What is done to the factor before it is multiplied, on a block's elements. */
static kir_ref apply_chain(frag *g, const factor *x, kir_ref v)
{
	int64_t lanes = kir_type_of(g->f, v)->dim[0];

	for (unsigned i = x->b.nchain; i-- > 0;) {
		kir_ref c = x->b.chain[i], src[4] = { v };
		const kir_node *d = kir_at(g->in, c);
		kir_elem e = (kir_elem)kir_type_of(g->in, c)->elem;

		for (unsigned k = 1; k < d->nsrc; k++)
			src[k] = g->map[kir_src(g->in, c, k)];
		v = kir_emit(g->f, (kir_op)d->op, kir_vector(g->f->module, e, lanes), src,
		             d->nsrc, *kir_ops[d->op].attr ? d->attr : NULL);
	}
	return v;
}

/* `count` elements a lane of the block that attributes say, from the tile's first element or,
 * where its columns lie in several pieces, from column `first` on. */
static kir_ref load(frag *g, const factor *x, int64_t first, int64_t count, const int64_t *attr,
                    kir_ref upto)
{
	kir_ref src[KIR_RANK + 2] = { x->buf };

	for (unsigned i = 0; i < x->rank; i++)
		src[1 + i] = x->at[i];
	if (x->split &&
	    first) /* the index finds the piece; its columns are adjacent from there */
		src[x->rank - 1] = e2(g->f, KIR_OP_add, kir_scalar(g->f->module, KIR_s64),
		                      src[x->rank - 1], s64c(g->f, first));
	src[1 + x->rank] = upto;
	return kir_emit(g->f, KIR_OP_xe_load2d, frag_vector(g, x->stored, count), src,
	                x->rank + (upto ? 2 : 1), attr);
}

/* Columns of rows that are memory's: rows `run` apart go to a lane, from row r on. */
static kir_ref load_rows(frag *g, const factor *x, int64_t c, int64_t r, int64_t k)
{
	kir_type_id s64 = kir_scalar(g->f->module, KIR_s64);
	int64_t attr[KIR_MAX_ATTRS] = { 1, x->unit, x->pitch * x->run,
		                        k + r * x->pitch / kir_elem_bytes(x->stored),
		                        c * g->lanes / x->run };
	kir_ref upto = x->upto;

	if (upto && x->run > 1) { /* of every `run`th row */
		upto = e2(g->f, KIR_OP_add, s64, upto, s64c(g->f, x->run - 1 - r));
		upto = e2(g->f, KIR_OP_shr, s64, upto, s64c(g->f, __builtin_ctz(x->run)));
	}
	return load(g, x, 0, x->step, attr, upto);
}

/* Each `run`th component of x, from r on. */
static kir_ref each(frag *g, kir_ref x, int64_t r, int64_t run)
{
	const kir_type *t = kir_type_of(g->f, x);

	return kir_emit(g->f, KIR_OP_xe_part,
	                kir_vector(g->f->module, (kir_elem)t->elem, t->dim[0] / run), &x, 1,
	                (int64_t[KIR_MAX_ATTRS]){ r, run });
}

enum { MOST_BYTES = 64 /* of one load, in a lane */ };

/* Packed keys: a load gives each lane the words of `run` keys. */
static void load_words(frag *g, const factor *x, int64_t c, int64_t k, kir_ref *out)
{
	int64_t size = kir_elem_bytes(x->stored), words = x->step * size / 4;
	int64_t rows = words * x->run * 4 > MOST_BYTES ? MOST_BYTES / 4 / x->run : words;

	for (int64_t i = 0; i < words; i += rows) {
		int64_t attr[KIR_MAX_ATTRS] = { 0, x->unit * x->run, x->pitch,
			                        x->split ? 0 : c * g->lanes / x->run,
			                        k / x->unit + i };
		kir_ref v = load(g, x, c * g->lanes, rows * x->run * x->unit, attr, 0);

		v = e1(g->f, KIR_OP_bitcast, frag_vector(g, KIR_s32, rows * x->run), v);
		for (int64_t r = 0; r < x->run; r++) {
			kir_ref w = each(g, v, r, x->run);

			out[r] = i ? frag_pack(g, out[r], w) : w;
		}
	}
	for (int64_t r = 0; r < x->run; r++)
		out[r] = e1(g->f, KIR_OP_bitcast, frag_vector(g, x->stored, x->step), out[r]);
}

/* Of values whose rows are read as words: word w of each of `rows` rows, from row k on. A load
 * gives each lane all words of its run. */
static void load_row_words(frag *g, const factor *x, int64_t c, int64_t k, int64_t rows,
                           kir_ref *out)
{
	int64_t words = x->run / 4, most = MOST_BYTES / 4 / words;

	for (int64_t at = 0; at < rows; at += most) {
		int64_t attr[KIR_MAX_ATTRS] = { 0, x->run, x->pitch, c * g->lanes / x->run,
			                        k + at };
		kir_ref v = load(g, x, 0, most * x->run, attr, x->upto);

		v = e1(g->f, KIR_OP_bitcast, frag_vector(g, KIR_s32, most * words), v);
		for (int64_t w = 0; w < words; w++) {
			kir_ref y = words > 1 ? each(g, v, w, words) : v;

			out[w] = at ? frag_pack(g, out[w], y) : y;
		}
	}
}

/* The same as columns of bytes. */
static void load_quads(frag *g, const factor *x, int64_t c, int64_t k, kir_ref *out)
{
	for (int64_t at = 0; at < x->step; at += 16) {
		kir_ref words[FRAG_RUN / 4], column[4];

		load_row_words(g, x, c, k + at, 16, words);
		for (unsigned w = 0; w < x->run / 4; w++) {
			frag_quads(g, words[w], column);
			for (int i = 0; i < 4; i++)
				out[4 * w + i] =
				    at ? frag_pack(g, out[4 * w + i], column[i]) : column[i];
		}
	}
	for (unsigned i = 0; i < x->run; i++)
		out[i] = e1(g->f, KIR_OP_bitcast, frag_vector(g, x->stored, x->step), out[i]);
}

/* Block columns c to c + run - 1 of the product, `step` elements of the contraction from k. */
static void load_blocks(frag *g, const factor *x, int64_t c, int64_t k, kir_ref *out)
{
	int64_t attr[KIR_MAX_ATTRS] = { 0, x->unit, x->pitch, c * g->lanes, k };
	kir_ref v;

	if (x->packed && x->run > 1) {
		load_words(g, x, c, k, out);
	} else if (x->packed) {
		attr[3] = x->split ? 0 : c * g->lanes;
		attr[4] = k / x->unit;
		out[0] = load(g, x, c * g->lanes, x->step, attr, x->upto);
	} else if (x->trans) {
		for (int64_t r = 0; r < x->run; r++)
			out[r] = load_rows(g, x, c, r, k);
	} else if (x->quads) {
		load_quads(g, x, c, k, out);
	} else if (x->run > 1) {
		attr[1] = x->run;
		attr[3] = c * g->lanes / x->run;
		v = load(g, x, 0, x->step * x->run, attr, x->upto);
		for (int64_t r = 0; r < x->run; r++)
			out[r] = each(g, v, r, x->run);
	} else {
		out[0] = load(g, x, 0, x->step, attr, x->upto);
	}
}

/* What every block of the product begins as. */
static void begin(frag *g, kir_ref n, kir_ref acc)
{
	kir_elem e = (kir_elem)kir_type_of(g->in, n)->elem;
	kir_ref *val = frag_new(g, n), zero = zero_of(g->f, e);

	zero = acc ? 0 : e1(g->f, KIR_OP_splat, frag_type(g, n), zero);
	for (int64_t i = 0; i < frag_blocks(g, n); i++)
		val[i] = acc ? g->val[acc][i] : zero;
}

/* Block column c of the product, a step of the contraction further: left block k of each row.
 */
static void step(frag *g, kir_ref n, const kir_ref *left, int64_t nleft, int64_t c, int64_t k,
                 kir_ref b)
{
	int64_t cb = frag_col_blocks(g, n);

	for (int64_t r = 0; r < frag_row_blocks(g, n); r++) {
		kir_ref *v = &g->val[n][r * cb + c];

		*v = e3(g->f, KIR_OP_xe_dpas, g->f->node[*v].type, *v, left[r * nleft + k], b);
	}
}

/* `by` in each lane, NaN where one of its words has a bit of `mask`, as a block of n. */
static kir_ref lanes_factor(frag *g, kir_ref n, kir_ref words, uint32_t mask, double by)
{
	int64_t own = kir_type_of(g->f, words)->dim[0] / g->lanes;
	kir_type_id w = frag_vector(g, KIR_s32, 1);
	kir_ref bad;

	while ((own /= 2) > 0)
		words = e2(g->f, KIR_OP_or, frag_vector(g, KIR_s32, own),
		           frag_part(g, words, 0, own), frag_part(g, words, own, own));
	words = e2(g->f, KIR_OP_and, w, words, kir_const_i(g->f, KIR_s32, (int32_t)mask));
	bad = e2(g->f, KIR_OP_ne, frag_vector(g, KIR_i1, 1), words,
	         kir_const_i(g->f, KIR_s32, 0));
	words = e3(g->f, KIR_OP_select, frag_vector(g, KIR_f32, 1), bad, f32c(g->f, NAN),
	           f32c(g->f, by));
	return frag_height(frag_nrows(g, n)) == 1
	           ? words
	           : e1(g->f, KIR_OP_xe_repeat, frag_type(g, n), words);
}

/* Block column c of the product, that began as 0: times `by`, and then what was there before.
 */
static void finish(frag *g, kir_ref n, int64_t c, kir_ref by)
{
	kir_ref acc = kir_src(g->in, n, 2);
	int64_t cb = frag_col_blocks(g, n);

	for (int64_t i = c; i < frag_blocks(g, n); i += cb) {
		kir_ref *v = &g->val[n][i];
		kir_type_id t = g->f->node[*v].type;

		*v = acc ? e3(g->f, KIR_OP_fma, t, *v, by, g->val[acc][i])
		         : e2(g->f, KIR_OP_mul, t, *v, by);
	}
}

/* Words of codes whose even and odd ones are blocks of their own, from step k of the
 * contraction; how many. */
static unsigned load_codes(frag *g, const factor *x, int64_t c, int64_t k, kir_ref *out)
{
	unsigned count = x->trans ? x->run : 1;
	kir_ref words[FRAG_RUN / 4];

	if (x->quads) {
		load_row_words(g, x, c, k * 16, 16, words);
		for (unsigned i = 0; i < x->run / 2; i++)
			out[i] = frag_pairs(g, words[i / 2], i % 2);
		return x->run / 2;
	}
	load_blocks(g, x, x->trans ? c : c / 2, k * 16, out);
	for (unsigned r = 0; r < count; r++)
		out[r] = e1(g->f, KIR_OP_bitcast, frag_vector(g, KIR_s32, 8), out[r]);
	return count;
}

/* Codes of 8 bits as two blocks of f16: of keys the even and the odd elements of the head, of
 * values the even and the odd columns. A factor that all codes share is multiplied in at the
 * end, and NaN with it. */
static void widened(frag *g, kir_ref n, factor *x)
{
	int64_t nleft = x->depth / 16, cb = frag_col_blocks(g, n);
	kir_ref acc = kir_src(g->in, n, 2), *left = frag_left(g, n);
	bool nans = x->stored == KIR_e4m3fn, trans = x->trans;
	int64_t columns = x->run;

	begin(g, n, nans ? 0 : acc);
	x->step = 32;
	if (!trans && !x->quads) /* two columns' codes together are one load */
		x->unit = 2, x->run = 1;
	for (int64_t c = 0; c < cb; c += columns) {
		kir_ref any[FRAG_RUN] = { 0 }, block[FRAG_RUN];
		unsigned count = 0;
		double by = 1;

		for (int64_t k = 0; k < nleft; k += trans ? 2 : 1) {
			count = load_codes(g, x, c, k, block);
			for (unsigned r = 0; r < count; r++) {
				int64_t at = trans ? c + r : c + 2 * r;
				kir_ref b[2] = { block[r] };

				if (nans)
					any[r] = frag_nans(g, b[0], !trans, any[r]);
				by = frag_widen(g, x->stored, b);
				step(g, n, left, nleft, at, k, b[0]);
				step(g, n, left, nleft, trans ? at : at + 1, trans ? k + 1 : k,
				     b[1]);
			}
		}
		for (unsigned r = 0; nans && r < count; r++)
			if (trans) {
				finish(g, n, c + r, lanes_factor(g, n, any[r], 0x80808080, by));
			} else {
				finish(g, n, c + 2 * r,
				       lanes_factor(g, n, any[r], 0x00800080, by));
				finish(g, n, c + 2 * r + 1,
				       lanes_factor(g, n, any[r], 0x80008000, by));
			}
	}
}

void frag_dot(frag *g, kir_ref n)
{
	kir_elem ae = (kir_elem)kir_type_of(g->in, kir_src(g->in, n, 0))->elem;
	kir_ref *left, block[FRAG_RUN];
	factor x = { 0 };
	bool bytes = kir_elem_bytes(ae) == 1;
	int64_t k = frag_depth(g, n);

	if (!factor_of(g, n, &x) || frag_road_of(g, n) == FRAG_NONE || x.depth % k ||
	    (bytes && x.b.nchain) ||
	    (!(g->in->target->features & KIR_HAS_xmx) && x.elem != KIR_f32) ||
	    (bytes ? kir_elem_bytes(x.elem) != 1 : ae != x.elem)) {
		g->failed = true;
		return;
	}
	if (frag_widens(g, n)) {
		widened(g, n, &x);
		return;
	}
	x.step = 32 / kir_elem_bytes(x.stored);
	if (x.step < k || x.depth % x.step)
		x.step = k;
	begin(g, n, kir_src(g->in, n, 2));
	left = frag_left(g, n);
	for (int64_t c = 0; c < frag_col_blocks(g, n); c += x.run)
		for (int64_t at = 0; at < x.depth; at += x.step) {
			load_blocks(g, &x, c, at, block);
			for (int64_t i = 0; i < x.step; i += k)
				for (unsigned r = 0; r < x.run; r++)
					step(g, n, left, x.depth / k, c + r, (at + i) / k,
					     apply_chain(g, &x, frag_part(g, block[r], i, k)));
		}
}
