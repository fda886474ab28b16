/* SPDX-License-Identifier: Apache-2.0 */
/* fold_scales.c -- scales leave the products, by algebra.
 *
 *     dot(x, dequant(q, d)) {trans=1}  =>  mul(dot(x, convert(q)) {trans=1}, d) {axis=1}
 *     dot(w, dequant(q, d), acc)       =>  dot(mul(w, d) {axis=1}, convert(q), acc)
 *
 * with d one scale a token (axis=0 of the dequantized tile) or one for all. In the first form
 * the token is a column of the result: the scale is constant along the contraction and
 * leaves it. In the second the token is what is contracted: the scale moves to the other
 * factor. Either way R x N multiplications replace N x D.
 *
 * A scale for each element of the head, one for all tokens of the tile, moves to the other
 * factor in the first form, and stays in the second:
 *
 *     dot(x, dequant(q, d) {axis=1}) {trans=1}
 *                                   =>  dot(mul(x, d) {axis=1}, convert(q)) {trans=1}
 *
 * A scale for each group of the head is constant along neither, but inside a group it is. With
 * x_g, q_g the columns of group g and d_g its scales, one a token:
 *
 *     dot(x, dequant(q, d) {group}) {trans=1}  =>  sum over g of dot(x_g, q_g) * d_g
 *     dot(w, dequant(q, d) {group}, acc)       =>  concat over g of dot(w * d_g, q_g, acc_g)
 *
 * The columns of a tile that was loaded are loaded by themselves, so that a product still reads
 * the cache; x_g is a slice, which costs nothing.
 *
 * Zero points z, one for each scale, leave the products too, as sums that are a row long:
 *
 *     dot(x, dequant(q, d, z)) {trans=1}  =>  (dot(x, q) - z * (sum of x's row)) * d
 *     dot(w, dequant(q, d, z), acc)       =>  dot(w * d, q, acc - (sum of (w * d) * z's row))
 *
 *     dot(x, dequant(q, d, z) {axis=1})      =>  dot(x * d, q) - (sum of (x * d) * z's row)
 *
 * Hazard: w * d must not be rounded to a format with less range than f32 (f16 underflows,
 * formats.md, fact 5); arith only offers bf16 and integers scaled a row.
 *
 * Inexact: products round in another order. Leaves the dequants to dce.
 */
#include "emit.h"

enum { GROUPS_MAX = 64 }; /* more would be more code than the products are */

/* Groups of the dequantized tile, 0 if its scales aren't one a group. The last group may be
 * shorter. */
static int64_t groups_of(const kir_func *f, kir_ref deq)
{
	int64_t group = kir_attr_of(f, deq, KIR_ATTR_group);
	const kir_type *t = kir_type_of(f, deq), *d = kir_type_of(f, kir_src(f, deq, 1));

	return group && d->rank == 2 && t->rank == 2 ? d->dim[1] : 0;
}

/* Scores whose keys have a scale for each element of the head. */
static bool by_columns(const kir_func *f, kir_ref dot)
{
	kir_ref deq = kir_src(f, dot, 1);

	return kir_attr_of(f, dot, KIR_ATTR_trans) &&
	       kir_type_of(f, kir_src(f, deq, 1))->rank == 1 &&
	       !kir_attr_of(f, deq, KIR_ATTR_group) && kir_attr_of(f, deq, KIR_ATTR_axis) == 1;
}

static bool foldable(const kir_func *f, kir_ref dot)
{
	kir_ref deq = kir_src(f, dot, 1);

	if (f->node[deq].op != KIR_OP_dequant || kir_attr_of(f, dot, KIR_ATTR_trans) > 1 ||
	    (kir_attr_of(f, dot, KIR_ATTR_trans) && kir_src(f, dot, 2)))
		return false;
	if (!kir_type_of(f, kir_src(f, deq, 1))->rank)
		return true;
	if (kir_attr_of(f, deq, KIR_ATTR_group))
		return groups_of(f, deq) > 0 && groups_of(f, deq) <= GROUPS_MAX;
	return kir_attr_of(f, deq, KIR_ATTR_axis) == 0 || by_columns(f, dot);
}

/* Whether the buffer's memory is written by nobody. */
static bool is_input(const kir_func *f, kir_ref buf)
{
	buf = kir_root(f, buf);
	return f->node[buf].op == KIR_OP_param &&
	       f->param[kir_attr_of(f, buf, KIR_ATTR_index)].dir == KIR_IN;
}

static kir_type_id with_cols(kir_func *f, kir_ref x, int64_t cols)
{
	const kir_type *t = kir_type_of(f, x);

	return kir_tile(f->module, (kir_elem)t->elem, t->dim[0], cols);
}

/* A load whose last index is written, of memory that doesn't change: its columns are another
 * load. */
static bool loads_columns(const kir_func *f, kir_ref x, unsigned *last)
{
	kir_ref buf, upto;
	unsigned first, count;

	if (f->node[x].op != KIR_OP_load)
		return false;
	kir_access(f, x, &buf, &first, &count, &upto);
	*last = first + count - 1;
	return is_input(f, buf) && count == kir_type_of(f, buf)->rank;
}

static kir_ref slice(kir_func *f, kir_ref x, int64_t start, int64_t cols)
{
	if (kir_type_of(f, x)->dim[1] == cols)
		return x;
	return kir_emit(f, KIR_OP_slice, with_cols(f, x, cols), &x, 1,
	                (int64_t[KIR_MAX_ATTRS]){ 1, start });
}

/* Which bytes hold columns [start, start + cols) of what unpack x makes of them, in place of
 * those, and the attributes to unpack them with: all bits of them, or the low or high half. */
static bool unpack_columns(const kir_func *f, kir_ref x, int64_t *start, int64_t *cols,
                           kir_node *d)
{
	int64_t run = kir_attr_of(f, x, KIR_ATTR_run), both = 2 * run;

	if (kir_attr_of(f, x, KIR_ATTR_half))
		return false;
	if (*start % both == 0 && *cols % both == 0) {
		*start /= 2;
		*cols /= 2;
		return true;
	}
	if (*start % run || *cols != run)
		return false;
	d->attr[1] = 1 + *start / run % 2; /* lo, hi */
	*start = *start / both * run;
	return true;
}

/* Columns [start, start + cols) of the tile x, read by themselves if they are in memory. */
static kir_ref columns(kir_func *f, kir_ref x, int64_t start, int64_t cols)
{
	kir_node d = f->node[x];
	kir_type_id t = with_cols(f, x, cols), s64 = kir_scalar(f->module, KIR_s64);
	kir_ref src[KIR_MAX_SRC];
	unsigned last;
	int64_t k;

	if (kir_type_of(f, x)->dim[1] == cols)
		return x;
	if (d.op == KIR_OP_convert && kir_type_of(f, kir_src(f, x, 0))->rank) {
		src[0] = columns(f, kir_src(f, x, 0), start, cols);
		return kir_emit(f, KIR_OP_convert, t, src, 1, d.attr);
	}
	if (d.op == KIR_OP_unpack && unpack_columns(f, x, &start, &cols, &d)) {
		src[0] = columns(f, kir_src(f, x, 0), start, cols);
		return kir_emit(f, KIR_OP_unpack, t, src, 1, d.attr);
	}
	if (!loads_columns(f, x, &last))
		return slice(f, x, start, cols);
	for (unsigned i = 0; i < d.nsrc; i++)
		src[i] = kir_src(f, x, i);
	if (kir_is_const(f, src[last], &k))
		src[last] = s64c(f, k + start);
	else
		src[last] =
		    e2(f, KIR_OP_add, s64, as_elem(f, src[last], KIR_s64), s64c(f, start));
	return kir_emit(f, KIR_OP_load, t, src, d.nsrc, d.attr);
}

/* Column g of the scales d as a vector. It is one before it is converted or taken apart, so
 * that such ops are of vectors. */
static kir_ref column(kir_func *f, kir_ref d, int64_t g)
{
	const kir_type *t = kir_type_of(f, d);
	kir_type_id vt = kir_vector(f->module, (kir_elem)t->elem, t->dim[0]);
	kir_node n = f->node[d];
	kir_ref x[2];

	/* of a tile of as many columns: not of a scalar, nor of what other elements lie in */
	if (n.nsrc == 0 || kir_type_of(f, kir_src(f, d, 0))->dim[1] != t->dim[1] ||
	    (n.op != KIR_OP_convert && n.op != KIR_OP_bitcast &&
	     (n.op != KIR_OP_and || kir_type_of(f, kir_src(f, d, 1))->rank)))
		return e1(f, KIR_OP_reshape, vt, columns(f, d, g, 1));
	x[1] = kir_src(f, d, 1);
	x[0] = column(f, kir_src(f, d, 0), g);
	return kir_emit(f, (kir_op)n.op, vt, x, n.nsrc, n.attr);
}

/* What one group of columns, or the whole tile, needs. */
typedef struct piece {
	kir_ref q, d, z;     /* codes as f32, scales, zero points or 0: f32 or f32<N> */
	int64_t start, cols; /* of the dequantized tile            */
} piece;

static piece piece_of(const kir_func *in, kir_ref deq, int64_t g, kir_func *f,
                      const kir_ref *map)
{
	int64_t group = kir_attr_of(in, deq, KIR_ATTR_group), groups = groups_of(in, deq);
	int64_t all = kir_type_of(in, deq)->dim[1];
	piece p = { map[kir_src(in, deq, 0)], map[kir_src(in, deq, 1)], 0, 0, all };

	if (kir_src(in, deq, 2))
		p.z = map[kir_src(in, deq, 2)];

	if (groups) {
		p.start = g * group;
		p.cols = all - p.start < group ? all - p.start : group;
		p.q = columns(f, p.q, p.start, p.cols);
		p.d = column(f, p.d, g);
		p.z = p.z ? column(f, p.z, g) : 0;
	}
	p.q = as_elem(f, p.q, KIR_f32);
	return p;
}

static kir_ref row_sums(kir_func *f, kir_ref x)
{
	kir_type_id t = kir_vector(f->module, KIR_f32, kir_type_of(f, x)->dim[0]);

	return e1x(f, KIR_OP_reduce_add, t, as_elem(f, x, KIR_f32), 1);
}

/* s <R x N>, the products of x's rows with codes, less those with zero points z. */
static kir_ref less_zeros(kir_func *f, kir_ref s, kir_ref x, kir_ref z)
{
	kir_type_id t = f->node[s].type;
	kir_ref sums = row_sums(f, x);

	if (!kir_type_of(f, z)->rank)
		return e2x(f, KIR_OP_sub, t, s, e2(f, KIR_OP_mul, f->node[sums].type, sums, z),
		           0);
	z = e1x(f, KIR_OP_spread, t, z, 1);
	return e2(f, KIR_OP_sub, t, s, e2x(f, KIR_OP_mul, t, z, sums, 0));
}

static kir_ref fold_scores(const kir_func *in, kir_ref n, kir_func *f, const kir_ref *map)
{
	kir_ref deq = kir_src(in, n, 1), x = map[kir_src(in, n, 0)], sum = 0;
	kir_type_id t = in->node[n].type;
	int64_t groups = groups_of(in, deq);

	for (int64_t g = 0; g == 0 || g < groups; g++) {
		piece p = piece_of(in, deq, g, f, map);
		int64_t axis = kir_type_of(f, p.d)->rank ? 1 : -1;
		kir_ref src[2] = { slice(f, x, p.start, p.cols), p.q };
		kir_ref s = kir_emit(f, KIR_OP_dot, t, src, 2, (int64_t[KIR_MAX_ATTRS]){ 1 });

		if (p.z)
			s = less_zeros(f, s, src[0], p.z);
		sum = sum ? e3x(f, KIR_OP_fma, t, s, p.d, sum, axis)
		          : e2x(f, KIR_OP_mul, t, s, p.d, axis);
	}
	return sum;
}

static kir_ref fold_columns(const kir_func *in, kir_ref n, kir_func *f, const kir_ref *map)
{
	kir_ref deq = kir_src(in, n, 1), x = map[kir_src(in, n, 0)];
	kir_type_id t = in->node[n].type, xt = f->node[x].type;
	piece p = piece_of(in, deq, 0, f, map);

	x = e2x(f, KIR_OP_mul, xt, x, p.d, 1);
	kir_ref s =
	    kir_emit(f, KIR_OP_dot, t, (kir_ref[]){ x, p.q }, 2, (int64_t[KIR_MAX_ATTRS]){ 1 });

	if (!p.z)
		return s;
	return e2x(f, KIR_OP_sub, t, s, row_sums(f, e2x(f, KIR_OP_mul, xt, x, p.z, 1)), 0);
}

/* Weights times the scales of one group. */
static kir_ref scaled(kir_func *f, kir_ref w, const piece *p)
{
	return e2x(f, KIR_OP_mul, f->node[w].type, w, p->d,
	           kir_type_of(f, p->d)->rank ? 1 : -1);
}

/* acc_g + wd . q_g, with wd the weights times the scales of group g */
static kir_ref fold_group(kir_func *f, const piece *p, kir_ref wd, kir_ref acc, kir_type_id t)
{
	int64_t axis = kir_type_of(f, p->d)->rank ? 1 : -1;
	kir_ref src[3] = { wd, p->q, acc ? slice(f, acc, p->start, p->cols) : 0 }, o, z = 0;

	if (p->z)
		z = row_sums(f, e2x(f, KIR_OP_mul, f->node[wd].type, wd, p->z, axis));
	if (z && acc)
		src[2] = e2x(f, KIR_OP_sub, t, src[2], z, 0);
	o = kir_emit(f, KIR_OP_dot, t, src, acc ? 3 : 2, NULL);
	return z && !acc ? e2x(f, KIR_OP_sub, t, o, z, 0) : o;
}

/* The next group's weights are scaled before a group's product, so that what else becomes of
 * them (arith) needn't wait for it, nor the next product for them. Not for sub-groups, whose
 * registers they would take meanwhile. */
static kir_ref fold_weights(const kir_func *in, kir_ref n, kir_func *f, const kir_ref *map)
{
	kir_ref deq = kir_src(in, n, 1), w = map[kir_src(in, n, 0)], out = 0;
	kir_ref acc = kir_src(in, n, 2) ? map[kir_src(in, n, 2)] : 0;
	int64_t groups = groups_of(in, deq), rows = kir_type_of(in, n)->dim[0];
	piece p = piece_of(in, deq, 0, f, map), next = p;
	kir_ref wd = scaled(f, w, &p), ahead = 0;
	bool early = !(f->target->features & KIR_HAS_xe);

	for (int64_t g = 0; g == 0 || g < groups; g++, p = next, wd = ahead) {
		kir_type_id t =
		    groups ? kir_tile(f->module, KIR_f32, rows, p.cols) : in->node[n].type;

		if (g + 1 < groups && early) {
			next = piece_of(in, deq, g + 1, f, map);
			ahead = scaled(f, w, &next);
		}
		kir_ref o = fold_group(f, &p, wd, acc, t);

		if (g + 1 < groups && !early) {
			next = piece_of(in, deq, g + 1, f, map);
			ahead = scaled(f, w, &next);
		}
		out = out ? e2x(f, KIR_OP_concat,
		                kir_tile(f->module, KIR_f32, rows, p.start + p.cols), out, o, 1)
		          : o;
	}
	return out;
}

kpass_result kpass_fold_scales(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_ref *map = kir_map_new(out, in);
	kpass_result result = KPASS_SAME;

	(void)why;
	for (kir_ref n = 1; n < in->nnode; n++) {
		const kir_node *d = &in->node[n];

		if (d->op == KIR_OP_param)
			continue;
		if (d->op == KIR_OP_dot && foldable(in, n)) {
			map[n] = by_columns(in, n) ? fold_columns(in, n, out, map)
			         : kir_attr_of(in, n, KIR_ATTR_trans)
			             ? fold_scores(in, n, out, map)
			             : fold_weights(in, n, out, map);
			result = KPASS_CHANGED;
		} else {
			kir_copy(out, in, n, map);
		}
	}
	return result;
}
