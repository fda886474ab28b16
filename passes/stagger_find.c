/* SPDX-License-Identifier: Apache-2.0 */
/* stagger_find.c -- the loops over tiles of keys whose products with values may be computed
 * beside the weights of the next tile: the attention that lazy_rescale and late_scale leave
 * behind, found node by node, with the names that struct stagger has for its parts.
 */
#include "stagger.h"

#include <string.h>

static bool is_bf16_tile(const kir_func *f, kir_ref n)
{
	const kir_type *t = kir_type_of(f, n);

	return t->rank == 2 && !t->buffer && t->elem == KIR_bf16;
}

/* Whether n, or one of the conditions that it joins, is that the tile ends before the loop. */
static bool is_whole(const stagger *s, kir_ref n)
{
	const kir_func *in = s->in;
	int64_t step;
	kir_ref end;

	if (is_op(in, n, KIR_OP_and))
		return is_whole(s, kir_src(in, n, 0)) || is_whole(s, kir_src(in, n, 1));
	if (!is_op(in, n, KIR_OP_le) || kir_src(in, n, 1) != kir_src(in, s->loop, 1))
		return false;
	end = kir_src(in, n, 0);
	return is_op(in, end, KIR_OP_add) && kir_src(in, end, 0) == s->loop + 1 &&
	       kir_is_const(in, kir_src(in, end, 1), &step) &&
	       step == kir_for_step(in, s->loop);
}

/* The loop's body is scalars and one if, which hands the carried values on where it isn't
 * taken. */
static bool find_body(stagger *s)
{
	const kir_func *in = s->in;
	kir_ref n = s->first, y1, y2;

	while (n < s->yield && !kir_regions(in, n))
		n++;
	if (n == s->yield || in->node[n].op != KIR_OP_if)
		return false;
	y1 = kir_region_yield(in, n + 1);
	y2 = kir_region_yield(in, y1 + 1);
	if (y2 != y1 + 1 || in->node[y2].nsrc != 3 || kir_region_end(in, n) != s->yield)
		return false;
	for (unsigned i = 0; i < 3; i++)
		if (kir_src(in, y2, i) != stagger_arg(s, i) ||
		    kir_src(in, s->yield, i) != y2 + 1 + i)
			return false;
	s->cond = n;
	s->top = n + 1;
	s->end = y1;
	return is_whole(s, kir_src(in, n, 0));
}

/* %sums = dot %weights, %values, (if %any { mul %a, %factor } else { %a }) */
static bool find_sums(stagger *s)
{
	const kir_func *in = s->in;
	kir_ref y1, mul;

	s->sums = kir_src(in, s->end, 2);
	if (!is_op(in, s->sums, KIR_OP_dot) || s->sums < s->top || in->node[s->sums].nsrc != 3)
		return false;
	s->weights = kir_src(in, s->sums, 0);
	s->values = kir_src(in, s->sums, 1);
	/* the if whose only result it is */
	s->scaled = 0;
	for (kir_ref n = s->top; n < s->sums; n++)
		if (is_op(in, n, KIR_OP_if) &&
		    kir_region_end(in, n) == kir_src(in, s->sums, 2) + 1)
			s->scaled = n;
	if (!s->scaled || !is_bf16_tile(in, s->weights) || !is_bf16_tile(in, s->values) ||
	    !is_op(in, s->values, KIR_OP_load) || s->values < s->top)
		return false;
	y1 = kir_region_yield(in, s->scaled + 1);
	mul = kir_src(in, y1, 0);
	if (in->node[y1].nsrc != 1 || !is_op(in, mul, KIR_OP_mul) || mul != s->scaled + 1 ||
	    kir_src(in, mul, 0) != stagger_arg(s, 2) ||
	    kir_attr_of(in, mul, KIR_ATTR_axis) != 0)
		return false;
	s->factor = kir_src(in, mul, 1);
	return s->factor > s->top;
}

/* The load of the loop that tile n is multiplied by, one number a column; 0: it isn't. */
static kir_ref column_of(const stagger *s, kir_ref n)
{
	const kir_func *in = s->in;
	kir_ref by = is_op(in, n, KIR_OP_mul) ? kir_src(in, n, 1) : 0;

	return is_op(in, by, KIR_OP_load) && by > s->top && kir_type_of(in, by)->rank == 1 &&
	               kir_type_of(in, by)->elem == KIR_f32 &&
	               kir_attr_of(in, n, KIR_ATTR_axis) == 1
	           ? by
	           : 0;
}

/* The number of before the loop that each row of tile n is multiplied by; 0: it isn't. */
static kir_ref row_of(const stagger *s, kir_ref n)
{
	const kir_func *in = s->in;
	kir_ref by = is_op(in, n, KIR_OP_mul) ? kir_src(in, n, 1) : 0;

	return by && by < s->loop && kir_type_of(in, by)->rank == 1 &&
	               kir_attr_of(in, n, KIR_ATTR_axis) == 0
	           ? by
	           : 0;
}

/* The product that scores x are, with their scales. */
static kir_ref product_of(stagger *s, kir_ref x)
{
	const kir_func *in = s->in;

	s->by_row = s->by_key = 0;
	for (;; x = kir_src(in, x, 0))
		if (!s->by_row && row_of(s, x))
			s->by_row = row_of(s, x);
		else if (!s->by_key && column_of(s, x))
			s->by_key = column_of(s, x);
		else
			break;
	return is_op(in, x, KIR_OP_convert) ? kir_src(in, x, 0) : x;
}

/* Whether product n multiplies bf16 or bytes. */
static bool is_tile_product(const kir_func *f, kir_ref n)
{
	int q = kir_type_of(f, kir_src(f, n, 0))->elem,
	    k = kir_type_of(f, kir_src(f, n, 1))->elem;

	return kir_type_of(f, n)->elem == KIR_s32 ? q == KIR_s8 && k == KIR_s8
	                                          : q == KIR_bf16 && k == KIR_bf16;
}

/* %weights = convert (mul (exp2 (fma %scores, %c, %less)), %by_value), or without the mul */
static bool find_scores(stagger *s)
{
	const kir_func *in = s->in;

	if (!is_op(in, s->weights, KIR_OP_convert) || s->weights < s->top)
		return false;
	s->exp2 = kir_src(in, s->weights, 0);
	s->by_value = column_of(s, s->exp2);
	if (s->by_value)
		s->exp2 = kir_src(in, s->exp2, 0);
	if (!is_op(in, s->exp2, KIR_OP_exp2) || s->exp2 < s->top)
		return false;
	s->fma = kir_src(in, s->exp2, 0);
	if (!is_op(in, s->fma, KIR_OP_fma) || kir_attr_of(in, s->fma, KIR_ATTR_axis) != 0 ||
	    kir_type_of(in, kir_src(in, s->fma, 1))->rank || kir_src(in, s->fma, 1) > s->loop)
		return false;
	s->dot = product_of(s, kir_src(in, s->fma, 0));
	if (!is_op(in, s->dot, KIR_OP_dot) || s->dot < s->top || in->node[s->dot].nsrc != 2 ||
	    kir_attr_of(in, s->dot, KIR_ATTR_trans) != 1 || !is_tile_product(in, s->dot) ||
	    kir_src(in, s->dot, 0) > s->loop)
		return false;
	s->keys = kir_src(in, s->dot, 1);
	return is_op(in, s->keys, KIR_OP_load) && s->keys > s->top &&
	       kir_type_of(in, s->dot)->dim[1] % STAGGER_BLOCK == 0 &&
	       kir_type_of(in, s->dot)->dim[1] > STAGGER_BLOCK;
}

bool stagger_mark(stagger *s, kir_ref n)
{
	const kir_func *in = s->in;

	for (unsigned i = 0; i < in->node[n].nsrc; i++) {
		kir_ref x = kir_src(in, n, i);

		if (x > s->loop + 1 && x < s->first)
			return false;
		if (x < s->first || s->set[x])
			continue;
		if (kir_regions(in, x) || kir_ops[in->node[x].op].flags & KIR_WRITES ||
		    in->node[x].op == KIR_OP_res || !stagger_mark(s, x))
			return false;
		s->set[x] = true;
	}
	return true;
}

/* The first sums %l1 = fma %l, %factor, (reduce.add %exp2 {axis=1}). */
static bool find_row_sums(const stagger *s)
{
	const kir_func *in = s->in;
	kir_ref l = kir_src(in, s->end, 1), add;

	if (!is_op(in, l, KIR_OP_fma) || kir_src(in, l, 0) != stagger_arg(s, 1) ||
	    kir_src(in, l, 1) != s->factor)
		return false;
	add = kir_src(in, l, 2);
	return is_op(in, add, KIR_OP_reduce_add) && kir_src(in, add, 0) == s->exp2 &&
	       kir_attr_of(in, add, KIR_ATTR_axis) == 1;
}

/* The reference: %m1 = select %any, _, %m, of which the differences are taken where it is a
 * number, %safe = select (eq %m1, -inf), 0, %m1: what sums are scaled by is exp2 (sub %m,
 * %safe), and scores have %less = neg %safe added. Without %any it is the old one. */
static bool find_reference(const stagger *s)
{
	const kir_func *in = s->in;
	kir_ref m1 = kir_src(in, s->end, 0), less = kir_src(in, s->fma, 2), safe, none, diff;

	if (!is_op(in, m1, KIR_OP_select) || kir_src(in, m1, 0) != kir_src(in, s->scaled, 0) ||
	    kir_src(in, m1, 2) != stagger_arg(s, 0) || !is_op(in, less, KIR_OP_neg))
		return false;
	safe = kir_src(in, less, 0);
	if (!is_op(in, safe, KIR_OP_select) || kir_src(in, safe, 2) != m1)
		return false;
	none = kir_src(in, safe, 0);
	diff = is_op(in, s->factor, KIR_OP_exp2) ? kir_src(in, s->factor, 0) : 0;
	return is_op(in, none, KIR_OP_eq) && kir_src(in, none, 0) == m1 &&
	       is_op(in, diff, KIR_OP_sub) && kir_src(in, diff, 0) == stagger_arg(s, 0) &&
	       kir_src(in, diff, 1) == safe;
}

/* Whether the sums with values are handed on and nothing else is made of them here. */
static bool sums_leave(const stagger *s)
{
	const kir_func *in = s->in;

	for (kir_ref n = s->sums + 1; n < s->end; n++)
		for (unsigned i = 0; i < in->node[n].nsrc; i++)
			if (kir_src(in, n, i) == s->sums)
				return false;
	return true;
}

bool stagger_finds(stagger *s, kir_ref n)
{
	const kir_func *in = s->in;

	if (in->node[n].op != KIR_OP_for || kir_for_par(in, n) || in->node[n].nsrc != 5)
		return false;
	s->loop = n;
	s->first = n + 2 + 3;
	s->yield = kir_region_yield(in, s->first);
	if (!find_body(s) || !find_sums(s) || !find_scores(s) || !find_row_sums(s) ||
	    !find_reference(s) || !sums_leave(s))
		return false;
	for (kir_ref k = s->first; k < s->end; k++)
		if (kir_ops[in->node[k].op].flags & KIR_WRITES ||
		    (k >= s->top && k != s->scaled && kir_regions(in, k)))
			return false;
	kir_ref ahead[] = { s->keys, s->values, kir_src(in, s->cond, 0), s->by_key,
		            s->by_value };

	for (unsigned i = 0; i < sizeof ahead / sizeof *ahead; i++) {
		memset(s->set, 0, in->nnode * sizeof *s->set);
		if (ahead[i] && !stagger_mark(s, ahead[i]))
			return false;
	}
	return true;
}
