/* SPDX-License-Identifier: Apache-2.0 */
/* vec_layout.c -- cache tiles that are stored in product order, or nearly.
 *
 *     straight   [contraction/u][columns][u]                 4 bytes, or more, of a column side
 *                                                            by side: k[t/64 d/4 t%64 d%4]
 *     pairs      [contraction/4][columns/4][2][4 columns][2] what unpacking low and high bytes
 *                                                            puts back in order
 *
 * A layout is found by looking at the pieces of the buffer's address, never at a name. Codes
 * that keep their size are in product order already; wider ones take shuffles (straight), or
 * none that widening doesn't need anyway (pairs: 64 codes and what one vector operation makes
 * of their low and high bytes are two vectors of 16 columns with 2 elements each; as f32 each
 * of these is two more, of one element).
 */
#include "vectorize.h"

enum { GROUP_MAX = 4096 }; /* columns looked at one by one */

static int64_t low_bit(int64_t x)
{
	return x & -x;
}

static unsigned deep_axis(const kir_type *t, const vec_factor *b)
{
	return t->rank - (b->trans ? 1u : 2u);
}

static unsigned column_axis(const kir_type *t, const vec_factor *b)
{
	return t->rank - (b->trans ? 2u : 1u);
}

/* Bytes that index i of an axis adds to the address. */
static int64_t offset(const kir_type *t, unsigned axis, int64_t i)
{
	int64_t sum = 0;

	for (unsigned k = 0; k < t->npieces; k++) {
		const kir_piece *p = &t->piece[k];
		int64_t q = i / (p->div > 1 ? p->div : 1);

		if (p->axis == axis && !p->dyn)
			sum += (p->mod ? q % p->mod : q) * p->stride;
	}
	return sum;
}

/* Bytes from one step of `unit` elements of the contraction to the next, all along; 0 if it
 * isn't a number that is the same everywhere. */
static int64_t step_of(const kir_type *t, unsigned deep, int64_t unit)
{
	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *p = &t->piece[i];

		if (p->axis == deep && p->div == unit && !p->mod)
			return p->dyn ? 0 : p->stride;
	}
	return 0;
}

/* Where column c of a group and element d of a step are to lie: columns side by side, each with
 * `unit` elements, or in the order of pairs. */
static int64_t wanted(const vec_layout *l, int64_t size, int64_t c, int64_t d)
{
	if (l->pairs)
		return c / 4 * 16 + d / 2 * 8 + c % 4 * 2 + d % 2;
	return (c * l->unit + d) * size;
}

/* Whether what piece p adds inside of each `n` indices is the same as inside of the first. */
static bool repeats(const kir_piece *p, int64_t n)
{
	int64_t div = p->div > 1 ? p->div : 1, all = p->mod * div;

	return div % n == 0 || (n % div == 0 && (!all || all % n == 0 || n % all == 0));
}

/* Whether all columns and elements lie as l says: other pieces than those it was found by may
 * move them. */
static bool is_so(const kir_type *t, unsigned deep, unsigned col, const vec_layout *l)
{
	int64_t size = kir_elem_bytes((kir_elem)t->elem), pieces = 0;

	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *p = &t->piece[i];
		bool step = p->axis == deep && p->div == l->unit && !p->mod;

		/* of the contraction all but the step are inside of it */
		if (p->axis == deep && !step &&
		    (p->dyn || !p->mod || l->unit % (p->mod * (p->div > 1 ? p->div : 1))))
			return false;
		if (p->axis == col && (!repeats(p, l->group) || (p->dyn && p->div % l->group)))
			return false;
		pieces += p->axis == col;
	}
	for (int64_t d = 0; d < l->unit; d++)
		if (offset(t, deep, d) != wanted(l, size, 0, d))
			return false;
	if (l->group > GROUP_MAX)
		return pieces == 1;
	for (int64_t c = 0; c < l->group; c++)
		if (offset(t, col, c) != wanted(l, size, c, 0))
			return false;
	return true;
}

bool vec_layout_of(const kir_type *t, unsigned deep, unsigned col, vec_layout *l)
{
	int64_t size = kir_elem_bytes((kir_elem)t->elem);

	*l = (vec_layout){ 4, 16, step_of(t, deep, 4), true };
	if (size == 1 && l->step && is_so(t, deep, col, l))
		return true;
	*l = (vec_layout){ 0 };
	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *p = &t->piece[i];

		if (p->axis == deep && p->div <= 1 && p->mod > 1 && p->stride == size)
			l->unit = p->mod;
	}
	l->step = step_of(t, deep, l->unit);
	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *p = &t->piece[i];

		if (!p->dyn && p->axis == col && p->div <= 1 && p->stride == l->unit * size)
			l->group = p->mod ? p->mod : t->dim[col];
	}
	return l->unit > 1 && l->step && l->group > 0 && is_so(t, deep, col, l);
}

/* Whether the tile that is loaded begins at a step and where columns lie side by side, and none
 * of its rows, which are read whatever upto says, is past the buffer's end. Of indices that are
 * no literals it is so by what expand makes: tiles begin at multiples of their size. */
static bool lies_well(const vec *v, const vec_factor *b, const vec_layout *l)
{
	const kir_type *t = vec_memory_of(v, b);
	unsigned first, count, deep = deep_axis(t, b), col = column_axis(t, b);
	int64_t extent = t->dim[t->rank - 2u], rows = kir_type_of(v->in, b->load)->dim[0];
	int64_t side = vec_side_by_side(b, l) / (b->unpack && !b->trans ? 2 : 1), d = 0, c = 0;
	kir_ref buf, upto;

	kir_access(v->in, b->load, &buf, &first, &count, &upto);
	if (deep < count)
		d = vec_starts(v->in, kir_src(v->in, b->load, first + deep));
	if (upto && extent != KIR_DYN && extent < (b->trans ? 0 : d) + rows)
		return false;
	if (col < count && l->group != t->dim[col] &&
	    side > 1) /* else there is no other group */
		c = vec_starts(v->in, kir_src(v->in, b->load, first + col));
	return d % l->unit == 0 && (!c || c % side == 0);
}

bool vec_find_layout(const vec *v, const vec_factor *b, vec_layout *l)
{
	const kir_type *t = vec_memory_of(v, b);
	int64_t depth = b->depth / (b->unpack && b->trans ? 2 : 1); /* in bytes of two codes */

	if (!vec_layout_of(t, deep_axis(t, b), column_axis(t, b), l) || depth % l->unit ||
	    !lies_well(v, b, l))
		return false;
	if (l->pairs) /* a pair is a word, or two, of what 8 bits widen to */
		return b->unit <= 2 && b->cols % 4 == 0 && !b->unpack;
	/* whole words of the product, a power of two of them: split_words halves */
	return l->unit % b->unit == 0 && l->unit / b->unit <= VEC_RATIO_MAX &&
	       low_bit(l->unit / b->unit) == l->unit / b->unit;
}

int64_t vec_side_by_side(const vec_factor *b, const vec_layout *l)
{
	if (l->group % b->cols == 0)
		return b->cols;
	return low_bit(b->cols) < low_bit(l->group) ? low_bit(b->cols) : low_bit(l->group);
}

/* -- words of one step --------------------------------------------------------------------- */

/* x: [columns][ratio] words; the `ratio` vectors of one word a column. */
static void split_words(vec *v, kir_ref x, int64_t ratio, kir_ref *out)
{
	const kir_type *t = kir_type_of(v->f, x);
	kir_type_id half = kir_vector(v->f->module, KIR_s32, t->dim[0] / 2);
	kir_ref lo, hi, even[2], part[VEC_RATIO_MAX];

	if (ratio == 1) {
		out[0] = x;
		return;
	}
	lo = e1(v->f, KIR_OP_half_lo, half, x);
	hi = e1(v->f, KIR_OP_half_hi, half, x);
	bool one = t->dim[0] == 2;
	even[0] = one ? lo : e2(v->f, KIR_OP_unzip_lo, half, lo, hi);
	even[1] = one ? hi : e2(v->f, KIR_OP_unzip_hi, half, lo, hi);
	for (int i = 0; i < 2; i++) {
		split_words(v, even[i], ratio / 2, part);
		for (int64_t k = 0; k < ratio / 2; k++)
			out[2 * k + i] = part[k];
	}
}

/* Whether codes of 8 bits become f32 through a table of bf16, which holds each exactly: both of
 * a word are f32 by a shift and a mask, without being moved. */
static bool by_table(const vec *v, const vec_factor *b)
{
	const uint64_t has = v->in->target->features;

	return has & KIR_HAS_avx512 && has & KIR_HAS_vbmi &&
	       v->in->sched.decode != KIR_decode_shift && b->elem == KIR_f32 &&
	       b->nchain == 1 && v->in->node[b->chain[0]].op == KIR_OP_convert &&
	       kir_attr_of(v->in, b->chain[0], KIR_ATTR_nan) == KIR_NAN_keep &&
	       kir_is_float(b->stored) && kir_elems[b->stored].bits == 8;
}

/* x, codes, as the factor has them; with a table as bf16. */
static kir_ref widened(vec *v, const vec_factor *b, kir_ref x)
{
	kir_type_id t = kir_with_elem(v->f->module, v->f->node[x].type, KIR_bf16);

	return by_table(v, b) ? e1(v->f, KIR_OP_convert, t, x) : vec_apply_chain(v, b, x);
}

/* Words of `cols` columns and what else x has of each, widened: f32 of one element in a vector
 * each. */
static void f32_words(vec *v, const vec_factor *b, kir_ref x, int64_t cols, int64_t ratio,
                      kir_ref *out)
{
	kir_module *m = v->f->module;
	kir_type_id wt = kir_vector(m, KIR_s32, cols), et = kir_vector(m, KIR_f32, cols);
	kir_ref word[VEC_RATIO_MAX];
	int64_t n = by_table(v, b) ? ratio / 2 : ratio;

	split_words(v, e1(v->f, KIR_OP_bitcast, kir_vector(m, KIR_s32, cols * n), x), n, word);
	for (int64_t i = 0; i < n; i++) {
		if (n == ratio) {
			out[i] = e1(v->f, KIR_OP_bitcast, et, word[i]);
			continue;
		}
		out[2 * i] = e2(v->f, KIR_OP_shl, wt, word[i], kir_const_i(v->f, KIR_s32, 16));
		out[2 * i + 1] =
		    e2(v->f, KIR_OP_and, wt, word[i], kir_const_i(v->f, KIR_s32, -65536));
		for (int64_t k = 2 * i; k < 2 * i + 2; k++)
			out[k] = e1(v->f, KIR_OP_bitcast, et, out[k]);
	}
}

/* x: [columns/4][2][4][2] codes; of each 16 the lower and the upper 8, then widened: pass
 * select knows the two as halves of one table look-up. */
static void split_pairs(vec *v, const vec_factor *b, kir_ref x, kir_ref out[2])
{
	kir_module *m = v->f->module;
	int64_t n = kir_type_of(v->f, x)->dim[0];
	kir_type_id half = kir_vector(m, KIR_s64, n / 16);
	kir_type_id codes = kir_vector(m, b->stored, n / 2);
	kir_ref y = e1(v->f, KIR_OP_bitcast, kir_vector(m, KIR_s64, n / 8), x);
	kir_ref lo = e1(v->f, KIR_OP_half_lo, half, y), hi = e1(v->f, KIR_OP_half_hi, half, y);
	bool one = n == 16;

	out[0] = one ? lo : e2(v->f, KIR_OP_unzip_lo, half, lo, hi);
	out[1] = one ? hi : e2(v->f, KIR_OP_unzip_hi, half, lo, hi);
	for (int i = 0; i < 2; i++)
		out[i] = widened(v, b, e1(v->f, KIR_OP_bitcast, codes, out[i]));
}

void vec_words(vec *v, const vec_factor *b, kir_ref x, int64_t cols, int64_t ratio, bool pairs,
               kir_ref *out)
{
	kir_module *m = v->f->module;
	kir_type_id et = kir_vector(m, b->elem, cols * b->unit);
	kir_ref two[2];

	if (pairs && ratio == 2) {
		split_pairs(v, b, x, out);
	} else if (pairs) {
		split_pairs(v, b, x, two);
		f32_words(v, b, two[0], cols, 2, out);
		f32_words(v, b, two[1], cols, 2, out + 2);
	} else if (ratio % 2 == 0 && by_table(v, b)) {
		f32_words(v, b, widened(v, b, x), cols, ratio, out);
	} else {
		out[0] = vec_apply_chain(v, b, x);
		if (ratio == 1)
			return;
		split_words(
		    v, e1(v->f, KIR_OP_bitcast, kir_vector(m, KIR_s32, cols * ratio), out[0]),
		    ratio, out);
		for (int64_t i = 0; i < ratio; i++)
			out[i] = e1(v->f, KIR_OP_bitcast, et, out[i]);
	}
}

void vec_put_words(vec *v, const vec_factor *b, const vec_tile *t, kir_ref x, vec_ix deep,
                   vec_ix c, int64_t cols, const vec_layout *l)
{
	kir_type_id s64 = kir_scalar(v->f->module, KIR_s64);
	int64_t ratio = l->unit / b->unit;
	kir_ref word[VEC_RATIO_MAX];
	vec_ix row = deep, at = vec_mul(v, c, b->unit);

	if (row.var)
		row.var = e2(v->f, KIR_OP_fdiv, s64, row.var, s64c(v->f, b->unit));
	row.k /= b->unit;
	vec_words(v, b, x, cols, ratio, l->pairs, word);
	for (int64_t i = 0; i < ratio; i++)
		vec_write(v, t, vec_add(v, row, ix(i)), at, word[i]);
}

/* -- whole tiles --------------------------------------------------------------------------- */

kir_ref vec_only_live(vec *v, const vec_factor *b, const vec_layout *l, kir_ref x, kir_ref live)
{
	kir_module *m = v->f->module;
	kir_type_id xt = v->f->node[x].type, s64 = kir_scalar(m, KIR_s64);
	kir_elem e = kir_elem_bytes(b->stored) == 1   ? KIR_s8
	             : kir_elem_bytes(b->stored) == 2 ? KIR_s16
	                                              : KIR_s32;
	kir_type_id t = kir_with_elem(m, xt, e);
	kir_ref lane = e0x(v->f, KIR_OP_iota, t, 0), at = lane, upper;

	at = e2(v->f, KIR_OP_and, t, lane, kir_const_i(v->f, e, l->pairs ? 1 : l->unit - 1));
	if (l->pairs) {
		upper = e2(v->f, KIR_OP_shr, t, lane, kir_const_i(v->f, e, 2));
		upper = e2(v->f, KIR_OP_and, t, upper, kir_const_i(v->f, e, 2));
		at = e2(v->f, KIR_OP_or, t, at, upper);
	}
	live = e2(v->f, KIR_OP_max, s64, live, s64c(v->f, 0));
	live = e2(v->f, KIR_OP_min, s64, live, s64c(v->f, l->unit));
	kir_ref in = e2(v->f, KIR_OP_lt, i1_like(v->f, t), at, as_elem(v->f, live, e));

	x = e1(v->f, KIR_OP_bitcast, t, x);
	x = e3(v->f, KIR_OP_select, t, in, x, kir_const_i(v->f, e, 0));
	return e1(v->f, KIR_OP_bitcast, xt, x);
}

int64_t vec_steps(const vec_factor *b, const vec_layout *l, kir_ref live)
{
	return live ? 1 : vec_chunk((b->depth / l->unit) & -(b->depth / l->unit), 8);
}

/* One vector of `lanes` columns from column c of the factor, contraction from deep, to column
 * `to` of t. */
static void pack_vector(vec *v, const vec_factor *b, const vec_layout *l, const vec_tile *t,
                        vec_ix deep, vec_ix c, vec_ix to, int64_t lanes, kir_ref live)
{
	kir_type_id s64 = kir_scalar(v->f->module, KIR_s64);
	kir_ref x =
	    vec_read_stored(v, b, b->trans ? c : deep, b->trans ? deep : c, lanes * l->unit, 0);

	if (live)
		x = vec_only_live(v, b, l, x,
		                  e2(v->f, KIR_OP_sub, s64, live, vec_ref(v, deep)));
	vec_put_words(v, b, t, x, deep, to, lanes, l);
}

void vec_pack_columns(vec *v, const vec_factor *b, const vec_layout *l, vec_ix c, int64_t n,
                      const vec_tile *t, kir_ref live)
{
	int64_t steps = vec_steps(b, l, live);
	vec_loop ld = vec_loop_begin(v, b->depth, steps * l->unit);

	for (int64_t s = 0; s < steps; s++) {
		vec_ix deep = vec_add(v, ld.i, ix(s * l->unit));

		for (int64_t k = 0, lanes; k < n; k += lanes) {
			lanes = vec_chunk(n - k, v->lanes);
			pack_vector(v, b, l, t, deep, vec_add(v, c, ix(k)), ix(k), lanes, live);
		}
	}
	vec_loop_end(v, &ld);
}

void vec_pack_layout(vec *v, const vec_factor *b, const vec_layout *l, const vec_tile *t,
                     kir_ref live)
{
	int64_t side = vec_side_by_side(b, l);
	vec_loop lr = vec_loop_begin(v, b->cols, side);

	for (int64_t c = 0; c < side;) {
		int64_t lanes = vec_chunk(side - c, v->lanes), whole = (side - c) / lanes;
		vec_loop lc = vec_loop_begin(v, whole * lanes, lanes);
		vec_loop ld = vec_loop_begin(v, b->depth, l->unit);
		vec_ix at = vec_add(v, vec_add(v, lr.i, lc.i), ix(c));

		pack_vector(v, b, l, t, ld.i, at, at, lanes, live);
		vec_loop_end(v, &ld);
		vec_loop_end(v, &lc);
		c += whole * lanes;
	}
	vec_loop_end(v, &lr);
}
