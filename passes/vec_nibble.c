/* SPDX-License-Identifier: Apache-2.0 */
/* vec_nibble.c -- two codes a byte, in vectors.
 *
 *     unpack {run=16}      low bits of 16 bytes, then their high bits: two vectors, no shuffle
 *     unpack {run=1}       the same, interleaved by zips
 *
 * A run of up to 8 bytes is moved as one integer of that size. Where bytes lie in product order
 * the product takes them apart itself (vec_pack.c), and none of this is needed.
 */
#include "vectorize.h"

/* Low or high 4 bits of u8 lanes as codes of e: s8 (with their sign), u8 or a 4-bit float. */
static kir_ref nibble(vec *v, kir_ref bytes, bool high, kir_elem e)
{
	kir_func *f = v->f;
	kir_type_id bt = f->node[bytes].type, t = kir_with_elem(f->module, bt, e);
	kir_ref four = kir_const_i(f, e == KIR_s8 ? KIR_s8 : KIR_u8, 4), x = bytes;

	if (e == KIR_s8) { /* the sign is in the upper bits: there they are as shr takes them */
		x = e1(f, KIR_OP_bitcast, t, x);
		if (!high)
			x = e2(f, KIR_OP_shl, t, x, four);
		return e2(f, KIR_OP_shr, t, x, four);
	}
	x = high ? e2(f, KIR_OP_shr, bt, x, four)
	         : e2(f, KIR_OP_and, bt, x, kir_const_i(f, KIR_u8, 15));
	return e == KIR_u8 ? x : e1(f, KIR_OP_bitcast, t, x);
}

static kir_elem word_elem(int64_t bytes)
{
	return bytes == 1 ? KIR_u8 : bytes == 2 ? KIR_u16 : bytes == 4 ? KIR_s32 : KIR_s64;
}

/* x as lanes of `run` bytes, or back as lanes of e. */
static kir_ref words(vec *v, kir_ref x, kir_elem e, int64_t lanes)
{
	kir_type_id t = kir_vector(v->f->module, e, lanes);

	return v->f->node[x].type == t ? x : e1(v->f, KIR_OP_bitcast, t, x);
}

/* `lanes` codes each of what lo and hi hold, in the order of the elements. */
static void interleave(vec *v, kir_ref x[2], kir_elem e, int64_t lanes, int64_t run, bool apart)
{
	kir_elem we = word_elem(run);
	kir_type_id t = kir_vector(v->f->module, we, lanes / run);
	kir_ref a = words(v, x[0], we, lanes / run), b = words(v, x[1], we, lanes / run);

	x[0] = words(v, e2(v->f, apart ? KIR_OP_unzip_lo : KIR_OP_zip_lo, t, a, b), e, lanes);
	x[1] = words(v, e2(v->f, apart ? KIR_OP_unzip_hi : KIR_OP_zip_hi, t, a, b), e, lanes);
}

/* Bytes from b that are taken at once: whole runs, or a part of one. Two words at least, as
 * zips need. */
static int64_t chunk(int64_t left, int64_t run)
{
	int64_t lanes = vec_chunk(left, 64);

	return lanes <= run || (run <= 8 && lanes >= 2 * run) ? lanes : run;
}

/* First element of the byte b, and how far the other code of a byte is. */
static int64_t element(int64_t b, int64_t run)
{
	return b / run * 2 * run + b % run;
}

static void unpack_row(vec *v, const vec_tile *from, const vec_tile *to, vec_ix r, int64_t run,
                       int64_t half)
{
	for (int64_t b = 0, lanes; b < from->cols; b += lanes) {
		lanes = half ? vec_chunk(from->cols - b, 64) : chunk(from->cols - b, run);
		kir_ref bytes = vec_read(v, from, r, ix(b), lanes), x[2] = { 0 };

		if (half) {
			vec_write(v, to, r, ix(b), nibble(v, bytes, half == 2, to->elem));
			continue;
		}
		for (int h = 0; h < 2; h++)
			x[h] = nibble(v, bytes, h, to->elem);
		if (lanes > run)
			interleave(v, x, to->elem, lanes, run, false);
		vec_write(v, to, r, ix(element(b, run)), x[0]);
		vec_write(v, to, r, ix(element(b, run) + (lanes > run ? lanes : run)), x[1]);
	}
}

void vec_unpack(vec *v, const vec_tile *from, const vec_tile *to, int64_t run, int64_t half)
{
	vec_loop l = vec_loop_begin(v, from->rows, 1);

	unpack_row(v, from, to, l.i, run, half);
	vec_loop_end(v, &l);
}

static void pack_row(vec *v, const vec_tile *from, const vec_tile *to, vec_ix r, int64_t run)
{
	kir_func *f = v->f;

	for (int64_t b = 0, lanes; b < to->cols; b += lanes) {
		lanes = chunk(to->cols - b, run);
		int64_t step = lanes > run ? lanes : run;
		kir_type_id t = kir_vector(f->module, KIR_u8, lanes);
		kir_ref x[2];

		for (int h = 0; h < 2; h++)
			x[h] = words(
			    v, vec_read(v, from, r, ix(element(b, run) + h * step), lanes),
			    KIR_u8, lanes);
		if (lanes > run)
			interleave(v, x, KIR_u8, lanes, run, true);
		x[0] = e2(f, KIR_OP_and, t, x[0], kir_const_i(f, KIR_u8, 15));
		x[1] = e2(f, KIR_OP_shl, t, x[1], kir_const_i(f, KIR_u8, 4));
		vec_write(v, to, r, ix(b), e2(f, KIR_OP_or, t, x[0], x[1]));
	}
}

void vec_pack_codes(vec *v, const vec_tile *from, const vec_tile *to, int64_t run)
{
	vec_loop l = vec_loop_begin(v, from->rows, 1);

	pack_row(v, from, to, l.i, run);
	vec_loop_end(v, &l);
}

/* -- where they lie in product order ------------------------------------------------------- */

/* Whether bytes in that order are in product order too once they are taken apart: of keys, the
 * high bits of 4 bytes follow their low bits; of values, those of whole vectors of columns. */
bool vec_nibbles_fit(const vec *v, const vec_factor *b, vec_layout *l)
{
	int64_t run = kir_attr_of(v->in, b->unpack, KIR_ATTR_run);
	int64_t half = kir_attr_of(v->in, b->unpack, KIR_ATTR_half);

	if (b->trans)
		return run == l->unit && !half && 2 * l->unit / b->unit <= VEC_RATIO_MAX;
	if (l->group > run && !half)
		l->group = run;
	return run >= v->lanes || half;
}

/* Of keys whose words are pairs of bf16, on targets that look 32 words up in a table: bytes 0
 * and 2 of 4 are where 16-bit lanes begin, so elements 0 and 2 are a word, and a shift brings
 * 1 and 3, 4 and 6, 5 and 7 there. That takes no shuffle but the table's. */
bool vec_nibbles_even_odd(const vec *v, const vec_factor *b, const vec_layout *l)
{
	unsigned need = KIR_HAS_avx512 | KIR_HAS_vbmi | KIR_HAS_bf16;
	kir_elem e = (kir_elem)kir_type_of(v->in, b->unpack)->elem;

	return b->trans && b->elem == KIR_bf16 && l->unit == 4 && b->nchain == 1 &&
	       (v->in->target->features & need) == need && b->depth % 8 == 0 &&
	       v->in->sched.decode != KIR_decode_shift && (kir_is_float(e) || e == KIR_s8) &&
	       v->in->node[b->chain[0]].op == KIR_OP_convert &&
	       vec_side_by_side(b, l) % v->lanes == 0;
}

/* Word s of 8 codes a column, widened: code c has its 4 bits at 4 * shift of a 16-bit lane. */
static kir_ref even_odd_word(vec *v, const vec_factor *b, kir_ref bytes, int64_t s,
                             int64_t lanes)
{
	static const int shift[4] = { 0, 8, 4, 12 }; /* codes 0, 1, 4, 5 */
	kir_elem e = (kir_elem)kir_type_of(v->in, b->unpack)->elem;
	kir_elem word = e == KIR_s8 ? KIR_s16 : KIR_u16, code = e == KIR_s8 ? KIR_s8 : KIR_u8;
	kir_module *m = v->f->module;
	kir_type_id t = kir_vector(m, word, 2 * lanes);
	kir_ref x = e1(v->f, KIR_OP_bitcast, t, bytes);

	if (e == KIR_s8) {
		if (shift[s] < 12)
			x = e2(v->f, KIR_OP_shl, t, x, kir_const_i(v->f, word, 12 - shift[s]));
		x = e2(v->f, KIR_OP_shr, t, x, kir_const_i(v->f, word, 12));
	} else {
		if (shift[s])
			x = e2(v->f, KIR_OP_shr, t, x, kir_const_i(v->f, word, shift[s]));
		x = e2(v->f, KIR_OP_and, t, x, kir_const_i(v->f, word, 15));
	}
	x = e1(v->f, KIR_OP_convert, kir_vector(m, code, 2 * lanes), x);
	if (e != code)
		x = e1(v->f, KIR_OP_bitcast, kir_vector(m, e, 2 * lanes), x);
	return vec_apply_chain(v, b, x);
}

/* Columns of values whose codes are in the bytes of other columns: from c, `high` of the byte
 * column returned. */
static int64_t byte_column(const vec *v, const vec_factor *b, int64_t c, bool *high)
{
	int64_t run = kir_attr_of(v->in, b->unpack, KIR_ATTR_run);
	int64_t half = kir_attr_of(v->in, b->unpack, KIR_ATTR_half);

	*high = half ? half == 2 : c / run & 1;
	return half ? c : c / (2 * run) * run + c % run;
}

/* The whole factor into a local in product order. */
void vec_nibbles_pack(vec *v, const vec_factor *b, const vec_layout *l, const vec_tile *t)
{
	int64_t side = vec_side_by_side(b, l);
	kir_elem e = (kir_elem)kir_type_of(v->in, b->unpack)->elem;

	for (int64_t c = 0, lanes; c < b->cols; c += lanes) {
		lanes = vec_chunk(side - c % side, v->lanes);
		vec_loop ld = vec_loop_begin(v, b->trans ? b->depth / 2 : b->depth, l->unit);
		bool high = false;
		int64_t col = b->trans ? c : byte_column(v, b, c, &high);
		kir_ref x = vec_read_stored(v, b, b->trans ? ix(col) : ld.i,
		                            b->trans ? ld.i : ix(col), lanes * l->unit, 0);

		for (int h = high; h < (b->trans ? 2 : high + 1); h++) {
			vec_ix deep =
			    b->trans ? vec_add(v, vec_mul(v, ld.i, 2), ix(h * l->unit)) : ld.i;

			vec_put_words(v, b, t, nibble(v, x, h, e), deep, ix(c), lanes, l);
		}
		vec_loop_end(v, &ld);
	}
}

/* Byte of word k of the contraction, where two codes are a byte. */
static vec_ix byte_of(vec *v, vec_ix k, int64_t unit)
{
	if (unit > 1)
		return vec_mul(v, k, unit / 2);
	if (k.var)
		k.var = e2(v->f, KIR_OP_fdiv, kir_scalar(v->f->module, KIR_s64), k.var,
		           s64c(v->f, 2));
	k.k /= 2;
	return k;
}

void vec_nibbles_read(vec *v, const vec_factor *b, const vec_packed *p, const vec_read_at *r,
                      kir_ref *out)
{
	kir_elem e = (kir_elem)kir_type_of(v->in, b->unpack)->elem;
	int64_t ratio = b->trans ? p->ratio / 2 : p->ratio, lanes = r->lanes;
	vec_ix deep = b->trans ? byte_of(v, r->k, b->unit) : vec_mul(v, r->k, b->unit);
	kir_ref word[VEC_RATIO_MAX];

	for (int64_t j = 0; j < r->cols; j++) {
		bool high = false;
		vec_ix at = vec_add(v, r->c, ix(j * lanes));

		if (!b->trans)
			at = ix(byte_column(v, b, at.k, &high));
		kir_ref x = vec_read_stored(v, b, b->trans ? at : deep, b->trans ? deep : at,
		                            lanes * b->unit * ratio, 0);

		for (int64_t s = 0; p->even_odd && s < p->ratio; s++)
			out[s * r->cols + j] = even_odd_word(v, b, x, s, lanes);
		for (int h = high; !p->even_odd && h < (b->trans ? 2 : high + 1); h++) {
			kir_ref *to = out + (b->trans ? h * ratio * r->cols : 0) + j;

			vec_words(v, b, nibble(v, x, h, e), lanes, ratio, false, word);
			for (int64_t s = 0; s < ratio; s++)
				to[s * r->cols] = word[s];
		}
	}
}
