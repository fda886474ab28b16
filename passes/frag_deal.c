/* SPDX-License-Identifier: Apache-2.0 */
/* frag_deal.c -- bytes of a left factor on an engine of 16 lanes: a lane of it holds two
 * neighbouring columns of each row.
 *
 *     lanes of blocks    x0 x1 x2 .. x15 | x16 x17 .. x31      a column each, as computed
 *     lanes of a factor  x0x1 x2x3 .. x14x15 x16x17 .. x30x31  two bytes each
 *
 * A query is loaded in that order (frag_shape.c). Weights come out of a product a column a lane
 * and change lanes: as bytes by shuffles, or by the engine, which multiplies by 0, 1 and 256.
 *
 *     %i = mul %y, %r {axis=0}         %t = fma %y, %r, 1024 : f32;  %h = convert %t : f16
 *     %w = convert %i : u8        =>   %c = xe.dpas 2^23 - 1024 * 257, %h0, D0
 *                                      %c = xe.dpas %c, %h1, D1
 *                                      low half of each word of %c: x(2l) + 256 x(2l+1)
 *
 * f16 holds the integers from 1024 to 2047 and nothing between them, so that the sum rounds as
 * it is narrowed, and f32 those up to 2^24: all else is exact. Half a step becomes at most
 * 2^-14 more than half, as the sum was rounded to f32 before. D0's column l < 8 has 1 in row
 * 2l and 256 in 2l + 1, D1's column l + 8 too. That takes a multiply-add, a conversion, half an
 * engine's instruction and half a move for what bytes need seven moves for, but is for rows
 * that were divided by their largest element and have no negative ones.
 */
#include "fragment.h"

#include <math.h>

/* Two blocks of bytes whose columns are paired: the two of a lane side by side. */
static kir_ref pair_bytes(frag *g, kir_ref a, kir_ref b)
{
	kir_type_id w = kir_with_elem(g->f->module, g->f->node[a].type, KIR_s16);
	kir_elem e = (kir_elem)kir_type_of(g->f, a)->elem;
	int64_t n = kir_type_of(g->f, a)->dim[0];
	kir_ref low = e1(g->f, KIR_OP_convert, w, a), high = e1(g->f, KIR_OP_convert, w, b);

	low = e2(g->f, KIR_OP_and, w, low, kir_const_i(g->f, KIR_s16, 255));
	high = e2(g->f, KIR_OP_shl, w, high, kir_const_i(g->f, KIR_s16, 8));
	return e1(g->f, KIR_OP_bitcast, kir_vector(g->f->module, e, 2 * n),
	          e2(g->f, KIR_OP_or, w, low, high));
}

/* Columns 0 to 31 of two blocks, one in each lane, as pairs: those of a lane are moved as one
 * element, all its rows. */
static kir_ref deal_bytes(frag *g, kir_ref a, kir_ref b)
{
	kir_type_id t = g->f->node[a].type;
	int64_t rows = kir_type_of(g->f, a)->dim[0] / g->lanes;
	kir_elem e = rows == 8   ? KIR_s64
	             : rows == 4 ? KIR_s32
	             : rows == 2 ? KIR_s16
	                         : (kir_elem)kir_type_of(g->f, a)->elem;
	kir_type_id one = frag_vector(g, e, 1);
	kir_ref x = rows > 1 ? e1(g->f, KIR_OP_bitcast, one, a) : a;
	kir_ref y = rows > 1 ? e1(g->f, KIR_OP_bitcast, one, b) : b;
	kir_ref even = e2(g->f, KIR_OP_unzip_lo, one, x, y);
	kir_ref odd = e2(g->f, KIR_OP_unzip_hi, one, x, y);

	if (rows > 1) {
		even = e1(g->f, KIR_OP_bitcast, t, even);
		odd = e1(g->f, KIR_OP_bitcast, t, odd);
	}
	return pair_bytes(g, even, odd);
}

/* -- by the engine ------------------------------------------------------------------------- */

/* What n is everywhere; NaN: not known. */
static double const_of(const kir_func *f, kir_ref n)
{
	if (f->node[n].op == KIR_OP_splat)
		n = kir_src(f, n, 0);
	return f->node[n].op == KIR_OP_const && kir_type_of(f, n)->elem == KIR_f32
	           ? f->node[n].f
	           : NAN;
}

/* Whether no element of n can be below 0. */
static bool not_negative(const kir_func *f, kir_ref n)
{
	switch (f->node[n].op) {
	case KIR_OP_exp2: return true;
	case KIR_OP_max:
		return const_of(f, kir_src(f, n, 1)) >= 0 || const_of(f, kir_src(f, n, 0)) >= 0;
	case KIR_OP_mul:
		return not_negative(f, kir_src(f, n, 0)) && not_negative(f, kir_src(f, n, 1));
	default: return const_of(f, n) >= 0;
	}
}

/* Whether n is y times 255 at most, divided by the largest element of each row of y: in [0,
 * 255] but for rounding, where nothing is NaN. */
static bool is_scaled(const kir_func *f, kir_ref n)
{
	kir_ref y, d, m, top;

	if (f->node[n].op != KIR_OP_mul || kir_attr_of(f, n, KIR_ATTR_axis) != 0)
		return false;
	y = kir_src(f, n, 0);
	d = kir_src(f, n, 1);
	if (f->node[d].op != KIR_OP_div || !(const_of(f, kir_src(f, d, 0)) <= 255))
		return false;
	m = kir_src(f, d, 1);
	if (f->node[m].op != KIR_OP_max || !(const_of(f, kir_src(f, m, 1)) > 0))
		return false;
	top = kir_src(f, m, 0);
	return f->node[top].op == KIR_OP_reduce_max && kir_src(f, top, 0) == y &&
	       not_negative(f, y);
}

/* Whether the engine deals tile n, bytes that lie a column a lane. */
static bool engine_deals(const frag *g, kir_ref n)
{
	const kir_func *in = g->in;
	kir_ref x = kir_src(in, n, 0);

	return in->node[n].op == KIR_OP_convert && g->nuse[n] == 1 && g->run[n] == 1 &&
	       kir_type_of(in, n)->elem == KIR_u8 && kir_type_of(in, x)->elem == KIR_f32 &&
	       kir_attr_of(in, n, KIR_ATTR_round) == KIR_ROUND_even && is_scaled(in, x);
}

/* D0 or D1: what is multiplied by 1 and by 256. A lane's elements are a column's. */
static kir_ref dealer(frag *g, int half)
{
	kir_func *f = g->f;
	int64_t n = g->lanes;
	kir_type_id it = frag_vector(g, KIR_s32, n), ct = frag_vector(g, KIR_i1, n);
	kir_type_id ft = frag_vector(g, KIR_f16, n);
	kir_ref i = e0x(f, KIR_OP_iota, it, -1), row, first, one, many;

	row = e2(f, KIR_OP_and, it, i, kir_const_i(f, KIR_s32, n - 1));
	first = e2(f, KIR_OP_shr, it, i, kir_const_i(f, KIR_s32, 4)); /* the column */
	first = e2(f, KIR_OP_shl, it, first, kir_const_i(f, KIR_s32, 1));
	row = e2(f, KIR_OP_sub, it, row, first);
	one = e2(f, KIR_OP_eq, ct, row, kir_const_i(f, KIR_s32, -half * n));
	many = e2(f, KIR_OP_eq, ct, row, kir_const_i(f, KIR_s32, 1 - half * n));
	one = e3(f, KIR_OP_select, ft, one, kir_const_f(f, KIR_f16, 1),
	         kir_const_f(f, KIR_f16, 0));
	return e3(f, KIR_OP_select, ft, many, kir_const_f(f, KIR_f16, 256), one);
}

/* Block (r, c) of y * by as f16, 1024 more than the integers they are to become. */
static kir_ref rounded(frag *g, kir_ref y, kir_ref by, int64_t r, int64_t c)
{
	kir_type_id t = frag_type(g, y);
	int64_t h = kir_type_at(g->f->module, t)->dim[0] / g->lanes;
	kir_ref x = e3(g->f, KIR_OP_fma, t, frag_operand(g, y, r, c, h),
	               frag_operand(g, by, r, c, h), f32c(g->f, 1024));

	return e1(g->f, KIR_OP_convert, kir_with_elem(g->f->module, t, KIR_f16), x);
}

static kir_ref dealt(frag *g, kir_ref n, int64_t r, int64_t c)
{
	kir_func *f = g->f;
	kir_ref x = kir_src(g->in, n, 0), y = kir_src(g->in, x, 0), by = kir_src(g->in, x, 1);
	kir_type_id t = frag_type(g, y), it = kir_with_elem(f->module, t, KIR_s32);
	int64_t count = kir_type_at(f->module, t)->dim[0];
	kir_ref w = e1(f, KIR_OP_splat, t, f32c(f, 0x1p23 - 1024 * 257));

	for (int i = 0; i < 2; i++)
		w = e3(f, KIR_OP_xe_dpas, t, w, rounded(g, y, by, r, c + i), dealer(g, i));
	w = e1(f, KIR_OP_bitcast, it, w);
	w = e2(f, KIR_OP_and, it, w, kir_const_i(f, KIR_s32, 0xffff));
	w = e1(f, KIR_OP_convert, kir_with_elem(f->module, t, KIR_u16), w);
	return e1(f, KIR_OP_bitcast, kir_vector(f->module, KIR_u8, 2 * count), w);
}

kir_ref *frag_left_bytes(frag *g, kir_ref a)
{
	int64_t rb = frag_row_blocks(g, a), cb = frag_col_blocks(g, a), half = cb / 2;
	kir_ref *out = kir_alloc(g->f->module, (size_t)(rb * cb) * sizeof *out);
	bool engine = engine_deals(g, a);

	for (int64_t i = 0; i < rb * half; i++) {
		const kir_ref *x = &g->val[a][2 * i];

		out[i] = engine           ? dealt(g, a, i / half, i % half * 2)
		         : g->run[a] == 2 ? pair_bytes(g, x[0], x[1])
		                          : deal_bytes(g, x[0], x[1]);
	}
	return out;
}
