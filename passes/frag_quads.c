/* SPDX-License-Identifier: Apache-2.0 */
/* frag_quads.c -- rows of bytes that no block can be read of: each lane has a word of every
 * row, four columns, and brings them together column by column.
 *
 *     words of rows         a0 a1 a2 a3 | b0 b1 b2 b3 | c0 c1 c2 c3 | d0 d1 d2 d3
 *     pairs, rows a and b   a0 a1 b0 b1 | ..            what codes of floats are widened from
 *     columns               a0 b0 c0 d0 | ..            what a product of bytes takes
 *
 * To columns over pairs of rows a, c and b, d: their bytes are in their places then but for a
 * shift by one. Two instructions a word for pairs, four for columns.
 */
#include "fragment.h"

static kir_ref op(frag *g, kir_op o, kir_ref x, int64_t y)
{
	return e2(g->f, o, g->f->node[x].type, x, kir_const_i(g->f, KIR_s32, (int32_t)y));
}

/* Each second component of x from `start` on, elements of e. */
static kir_ref half(frag *g, kir_ref x, kir_elem e, int64_t start)
{
	return kir_emit(g->f, KIR_OP_xe_part,
	                kir_vector(g->f->module, e, kir_type_of(g->f, x)->dim[0] / 2), &x, 1,
	                (int64_t[KIR_MAX_ATTRS]){ start, 2 });
}

static kir_ref as(frag *g, kir_ref x, kir_elem e)
{
	const kir_type *t = kir_type_of(g->f, x);
	int64_t bytes = t->dim[0] * kir_elem_bytes((kir_elem)t->elem);

	return e1(g->f, KIR_OP_bitcast, kir_vector(g->f->module, e, bytes / kir_elem_bytes(e)),
	          x);
}

kir_ref frag_pairs(frag *g, kir_ref words, int64_t which)
{
	return as(g, half(g, as(g, words, KIR_u16), KIR_u16, which), KIR_s32);
}

/* Bytes of x under the mask, of y elsewhere. */
static kir_ref mixed(frag *g, kir_ref x, kir_ref y)
{
	return e2(g->f, KIR_OP_or, g->f->node[x].type, op(g, KIR_OP_and, x, 0x00ff00ff),
	          op(g, KIR_OP_and, y, 0xff00ff00));
}

void frag_quads(frag *g, kir_ref words, kir_ref column[4])
{
	kir_ref even = half(g, words, KIR_s32, 0), odd = half(g, words, KIR_s32, 1);

	for (int64_t i = 0; i < 2; i++) {
		kir_ref a = frag_pairs(g, even, i), b = frag_pairs(g, odd, i);

		column[2 * i] = mixed(g, a, op(g, KIR_OP_shl, b, 8));
		column[2 * i + 1] = mixed(g, op(g, KIR_OP_shr, a, 8), b);
	}
}

/* What lies at a run-time distance, of a parameter whose grain isn't a block's, or at one that
 * no block has. */
static bool beyond_blocks(const kir_func *in, kir_ref load)
{
	const kir_type *t;
	unsigned first, count;
	kir_ref buf, upto, root;
	int64_t offset = 0;

	kir_access(in, load, &buf, &first, &count, &upto);
	t = kir_type_of(in, buf);
	for (root = buf; in->node[root].op == KIR_OP_view; root = kir_src(in, root, 0))
		offset += kir_attr_of(in, root, KIR_ATTR_offset);
	if (kir_row_stride(t) >= 0)
		return kir_grain(kir_type_of(in, root)) != KIR_PITCH_MIN ||
		       offset % KIR_PITCH_MIN;
	for (unsigned i = 0; i < t->npieces; i++)
		if (t->piece[i].axis + 2u == t->rank && !t->piece[i].dyn)
			return t->piece[i].stride % 16 != 0;
	return false;
}

frag_road frag_road_of(const frag *g, kir_ref n)
{
	const kir_func *in = g->in;
	const kir_type *tile;
	frag_factor b;

	if (g->lanes != FRAG_WIDE || !(in->target->features & KIR_HAS_xmx) ||
	    kir_attr_of(in, n, KIR_ATTR_trans) || !frag_factor_of(g, n, &b))
		return FRAG_BLOCKS;
	tile = kir_type_of(in, b.load);
	if (kir_elem_bytes((kir_elem)tile->elem) != 1 || !beyond_blocks(in, b.load))
		return FRAG_BLOCKS;
	if (tile->dim[1] % (4 * g->lanes) ||
	    !(frag_widens(g, n) ||
	      kir_elem_bytes((kir_elem)kir_type_of(in, kir_src(in, n, 1))->elem) == 1))
		return FRAG_NONE;
	return FRAG_WORDS;
}
