/* SPDX-License-Identifier: Apache-2.0 */
/* stagger.c -- products with the values of a tile of keys are computed beside the weights of
 * the next one (knob pipeline=values).
 *
 *     for %j carry(%m, %l, %a) {          for %j carry(%m, %l, %a, %p, %f, %before, %grew) {
 *       if whole {                          if whole {
 *         %s = dot %q, %k                     %b = if %grew { mul %a, %f } else { %a }
 *         %m1 = max %m, maxima of %s          if %before >= 0 {
 *         %al = exp2 (%m - %m1)                 32 keys at a time, but the first 32:
 *         %w = exp2 (%s - %m1)       =>           %s = dot %q, %k;  %w = exp2 (%s - %m)
 *         %l1 = %l * %al + sums of %w           %a1 = dot %p, %v of %before, %b
 *         %b = if %any { mul %a, %al }          %s = dot %q, %k of the next tile's first 32
 *              else { %a }                      %bad = some row's sum of %w over 2^8
 *         %a1 = dot %w, %v, %b                } else { %bad = 1 }
 *         yield %m1, %l1, %a1                 if %bad { as before, without %a1 }
 *       } }                                   else { %l1 = %l + sums of %w }
 *                                             yield %m1, %l1, %a1, %w, %al, %j, %any
 *                                           } }
 *                                         %a = dot %p, %v of %before, (mul %a, %f)
 *
 * Weights take the reference that earlier tiles left, so none waits for a maximum; if one of
 * them is above 2^8, where lazy_rescale would have taken another reference, a row's sum is,
 * too, and the tile is computed again as it was before. The products with the values of the
 * tile before wait for nothing of this one, and those of the next tile's first keys neither:
 * behind each 32 keys' weights stand products that don't need them, and passes/spread.c has
 * the two take turns. Beside a product a core does one vector of f32 a cycle, not two, so it
 * is all products of a tile that its weights must be spread over, equally.
 *
 * Two locals hold scores in turn, 8 KiB of f32 for 32 rows, so that they, the queries, weights
 * of two tiles and sums are 48 KiB: L1. (With a third local a prefill took 1.06 of the time.)
 * Whether the next tile's first scores are there is carried, too: a tile may be skipped, and
 * behind one that was computed as before there are none. Where no whole tile comes next, this
 * one's are computed again: no page is touched that wouldn't have been.
 * A row's sums are kept apart by lanes, and added once a tile.
 *
 * What a row's sum is compared with is the threshold of lazy_rescale: a tile whose weights are
 * many and near 2^8 is computed twice, to the same result. -inf as a reference counts as grown.
 *
 * Scores of codes have scales: one a row, where the query became integers, and one a key.
 * The row's is multiplied by %c once for all keys (without one: the key's, once for all rows),
 * and the key's meets the score in the exponent's fused multiply-add: a score costs one
 * conversion and one multiplication more in integers, and none in bf16. The value's scale is a
 * multiplication of the weight, behind its sum.
 *
 * Requires level T and a loop as lazy_rescale and late_scale leave it, over whole tiles behind
 * an if, with scores that nothing but such scales changes, bf16 weights and one product with
 * values. Costs the body twice in code. passes/swap.c leaves out the copy of the weights that
 * are carried.
 */
#include "analysis.h"
#include "emit.h"

#include <math.h>
#include <string.h>

enum {
	BLOCK = 32, /* keys whose scores are computed at once: two columns of tiles */
	LANES = 16  /* of a vector: sums of so many columns are kept apart */
};

static const double GROWN = 256; /* 2^8: lazy_rescale's threshold */

typedef struct stagger {
	const kir_func *in;
	kir_func *out;
	kir_ref *map, *ahead;
	bool *set;
	kir_ref loop, first, yield; /* the loop, its body, its yield                     */
	kir_ref cond, top, end;     /* the if around the tile, what is in it, its yield  */
	kir_ref dot, keys;          /* scores, and the load of their keys                */
	kir_ref by_row, by_key;     /* their scales, of before the loop and loads; or 0  */
	kir_ref fma, exp2, weights; /* scores less the reference; 2^that; narrowed       */
	kir_ref by_value;           /* the load that they are multiplied by, or 0        */
	kir_ref sums, values;       /* the product with values, and the load of those    */
	kir_ref scaled;             /* if: the sums, scaled if a reference changed       */
	kir_ref factor;             /* that they are scaled by                           */
	kir_ref ring[2];            /* of out: locals of scores, of BLOCK keys in turn   */
} stagger;

static bool is_bf16_tile(const kir_func *f, kir_ref n)
{
	const kir_type *t = kir_type_of(f, n);

	return t->rank == 2 && !t->buffer && t->elem == KIR_bf16;
}

/* -- whether ------------------------------------------------------------------------------- */

static kir_ref arg(const stagger *s, unsigned i)
{
	return s->loop + 2 + i;
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
		if (kir_src(in, y2, i) != arg(s, i) || kir_src(in, s->yield, i) != y2 + 1 + i)
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
	    kir_src(in, mul, 0) != arg(s, 2) || kir_attr_of(in, mul, KIR_ATTR_axis) != 0)
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
	       kir_type_of(in, s->dot)->dim[1] % BLOCK == 0 &&
	       kir_type_of(in, s->dot)->dim[1] > BLOCK;
}

/* Marks what of the loop node n is computed from, n left out; false: a carried value is, or
 * what has a region. */
static bool mark(stagger *s, kir_ref n)
{
	const kir_func *in = s->in;

	for (unsigned i = 0; i < in->node[n].nsrc; i++) {
		kir_ref x = kir_src(in, n, i);

		if (x > s->loop + 1 && x < s->first)
			return false;
		if (x < s->first || s->set[x])
			continue;
		if (kir_regions(in, x) || kir_ops[in->node[x].op].flags & KIR_WRITES ||
		    in->node[x].op == KIR_OP_res || !mark(s, x))
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

	if (!is_op(in, l, KIR_OP_fma) || kir_src(in, l, 0) != arg(s, 1) ||
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
	    kir_src(in, m1, 2) != arg(s, 0) || !is_op(in, less, KIR_OP_neg))
		return false;
	safe = kir_src(in, less, 0);
	if (!is_op(in, safe, KIR_OP_select) || kir_src(in, safe, 2) != m1)
		return false;
	none = kir_src(in, safe, 0);
	diff = is_op(in, s->factor, KIR_OP_exp2) ? kir_src(in, s->factor, 0) : 0;
	return is_op(in, none, KIR_OP_eq) && kir_src(in, none, 0) == m1 &&
	       is_op(in, diff, KIR_OP_sub) && kir_src(in, diff, 0) == arg(s, 0) &&
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

static bool matches(stagger *s, kir_ref n)
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
		if (ahead[i] && !mark(s, ahead[i]))
			return false;
	}
	return true;
}

/* -- emitting ------------------------------------------------------------------------------ */

/* Copies what load n of the loop, and others that aren't 0, are computed from, for iteration j,
 * into s->ahead. */
static void copy_of_all(stagger *s, kir_ref n, kir_ref n2, kir_ref n3, kir_ref j)
{
	memcpy(s->ahead, s->map, s->in->nnode * sizeof *s->ahead);
	memset(s->set, 0, s->in->nnode * sizeof *s->set);
	mark(s, n);
	if (n2)
		mark(s, n2);
	if (n3)
		mark(s, n3);
	s->ahead[s->loop + 1] = j;
	for (kir_ref k = s->first; k < s->end; k++)
		if (s->set[k])
			kir_copy(s->out, s->in, k, s->ahead);
}

static void copy_of(stagger *s, kir_ref n, kir_ref j)
{
	copy_of_all(s, n, 0, 0, j);
}

/* a + weights . values of iteration j, all of which may be read. */
static kir_ref with_values(stagger *s, kir_ref weights, kir_ref j, kir_ref a)
{
	const kir_func *in = s->in;
	kir_ref src[KIR_RANK + 2], v;
	unsigned n = 1 + kir_type_of(in, kir_src(in, s->values, 0))->rank;

	copy_of(s, s->values, j);
	for (unsigned i = 0; i < n; i++)
		src[i] = s->ahead[kir_src(in, s->values, i)];
	v = kir_emit(s->out, KIR_OP_load, in->node[s->values].type, src, n,
	             in->node[s->values].attr);
	return e3(s->out, KIR_OP_dot, in->node[s->sums].type, weights, v, a);
}

static kir_ref scale_sums(stagger *s, kir_ref any, kir_ref a, kir_ref factor)
{
	kir_func *f = s->out;
	kir_type_id t = s->in->node[s->sums].type;
	kir_ref cond = kir_if(f, any), x = e2x(f, KIR_OP_mul, t, a, factor, 0);

	kir_else(f, &x, 1);
	return kir_if_end(f, cond, &a, 1);
}

static kir_type_id block_type(stagger *s)
{
	const kir_type *t = kir_type_of(s->in, s->dot);

	return kir_tile(s->out->module, (kir_elem)t->elem, t->dim[0], BLOCK);
}

/* The keys of the tile from number `from` on. */
static kir_ref block_of_keys(stagger *s, int64_t from)
{
	const kir_func *in = s->in;
	kir_func *f = s->out;
	unsigned n = in->node[s->keys].nsrc;
	unsigned rank = kir_type_of(in, kir_src(in, s->keys, 0))->rank;
	kir_ref src[KIR_RANK + 2];
	const kir_type *t = kir_type_of(in, s->keys);

	for (unsigned i = 0; i < n; i++)
		src[i] = s->ahead[kir_src(in, s->keys, i)];
	/* operand 0 is the buffer, then an index an axis, of which the last but one are rows */
	if (from)
		src[rank - 1] = e2(f, KIR_OP_add, kir_scalar(f->module, KIR_s64), src[rank - 1],
		                   s64c(f, from));
	return kir_emit(f, KIR_OP_load,
	                kir_tile(f->module, (kir_elem)t->elem, BLOCK, t->dim[1]), src, n,
	                in->node[s->keys].attr);
}

/* The numbers of load n, one a key, for so many keys from number `from` on of the tile that
 * s->ahead has the address of, all of which may be read. */
static kir_ref column(stagger *s, kir_ref n, int64_t from, int64_t keys)
{
	const kir_func *in = s->in;
	kir_func *f = s->out;
	unsigned rank = kir_type_of(in, kir_src(in, n, 0))->rank;
	kir_ref src[KIR_RANK + 1];

	for (unsigned i = 0; i <= rank; i++)
		src[i] = s->ahead[kir_src(in, n, i)];
	if (from)
		src[rank] =
		    e2(f, KIR_OP_add, kir_scalar(f->module, KIR_s64), src[rank], s64c(f, from));
	return kir_emit(f, KIR_OP_load, kir_vector(f->module, KIR_f32, keys), src, rank + 1,
	                in->node[n].attr);
}

enum { M, L, A, P, F, BEFORE, GREW, READY, CARRIED };

typedef struct fast {
	kir_ref sums, weights, rows, bad; /* rows: their sums */
} fast;

/* Scores of the keys from number `from` on of the tile that s->ahead has the address of, into
 * the local that is their turn. */
static void put_scores(stagger *s, int64_t from)
{
	kir_func *f = s->out;
	kir_ref src[2] = { s->map[kir_src(s->in, s->dot, 0)], block_of_keys(s, from) };
	kir_ref x = kir_emit(f, KIR_OP_dot, block_type(s), src, 2, s->in->node[s->dot].attr);

	kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
	         (kir_ref[]){ x, s->ring[from / BLOCK % 2], s64c(f, 0), s64c(f, 0) }, 4, NULL);
}

/* What scores are multiplied by. */
typedef struct scales {
	kir_ref c;    /* a scalar, or one a row: by_row times %c               */
	kir_ref keys; /* without by_row: a local of by_key times %c; 0: neither */
} scales;

static scales scales_of(stagger *s)
{
	const kir_func *in = s->in;
	kir_func *f = s->out;
	scales k = { .c = s->map[kir_src(in, s->fma, 1)] };

	if (s->by_row) {
		k.c = e2(f, KIR_OP_mul, in->node[s->by_row].type, s->map[s->by_row], k.c);
	} else if (s->by_key) {
		const int64_t *dim = kir_type_of(in, s->by_key)->dim;
		kir_ref x = column(s, s->by_key, 0, dim[0]);

		x = e2(f, KIR_OP_mul, f->node[x].type, x, k.c);
		k.keys = kir_emit(f, KIR_OP_local, kir_buffer(f->module, KIR_f32, 1, dim), NULL,
		                  0, NULL);
		kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ x, k.keys, s64c(f, 0) }, 3,
		         NULL);
	}
	return k;
}

/* The exponents of scores x, of LANES keys from number `from` on. */
static kir_ref exponents(stagger *s, const scales *k, kir_ref x, kir_ref less, int64_t from)
{
	kir_func *f = s->out;
	kir_type_id t = kir_with_elem(f->module, f->node[x].type, KIR_f32);
	kir_ref by;

	x = as_elem(f, x, KIR_f32);
	if (!s->by_key)
		return e3x(f, KIR_OP_fma, t, x, k->c, less, 0);
	if (s->by_row)
		x = e2x(f, KIR_OP_mul, t, x, k->c, 0);
	by = s->by_row ? column(s, s->by_key, from, LANES)
	               : e2(f, KIR_OP_load, kir_vector(f->module, KIR_f32, LANES), k->keys,
	                    s64c(f, from));
	return e3x(f, KIR_OP_fma, t, x, e1x(f, KIR_OP_spread, t, by, 1), less, 0);
}

/* Weights y of LANES keys from number `from` on, as products take them. */
static kir_ref narrowed(stagger *s, kir_ref y, int64_t from)
{
	kir_func *f = s->out;
	kir_type_id t = f->node[y].type;

	if (s->by_value)
		y = e2x(f, KIR_OP_mul, t, y, column(s, s->by_value, from, LANES), 1);
	return kir_emit(f, KIR_OP_convert, kir_with_elem(f->module, t, KIR_bf16), &y, 1,
	                s->in->node[s->weights].attr);
}

/* Weights by the reference, beside the products of the tile before; acc: those so far. c: what
 * is carried; next: the tile whose first scores are computed, too. */
static fast fast_tile(stagger *s, const kir_ref *c, kir_ref acc, kir_ref next)
{
	kir_ref m = c[M];
	const kir_func *in = s->in;
	kir_func *f = s->out;
	int64_t rows = kir_type_of(in, s->dot)->dim[0], keys = kir_type_of(in, s->dot)->dim[1];
	kir_type_id rt = in->node[arg(s, 0)].type, i1r = i1_like(f, rt);
	kir_type_id bt = block_type(s);
	kir_type_id i1 = kir_scalar(f->module, KIR_i1), f32 = kir_scalar(f->module, KIR_f32);
	kir_type_id st =
	    kir_tile(f->module, (kir_elem)kir_type_of(in, s->dot)->elem, rows, LANES);
	kir_ref none = e2(f, KIR_OP_eq, i1r, m, f32c(f, -INFINITY));
	kir_ref less = e1(f, KIR_OP_neg, rt, e3(f, KIR_OP_select, rt, none, f32c(f, 0), m));
	kir_type_id lt = kir_tile(f->module, KIR_f32, rows, LANES);
	kir_ref lanes = 0;
	int64_t n = 0;
	fast r = { 0 };

	copy_of_all(s, s->keys, s->by_key, s->by_value, s->map[s->loop + 1]);
	scales scale = scales_of(s);

	for (; n < keys; n += BLOCK) {
		kir_ref w[BLOCK / LANES], x, sum = 0;

		if (n) {
			put_scores(s, n);
		} else {
			kir_ref cond =
			    kir_if(f, e2(f, KIR_OP_ne, i1, c[READY], s->map[s->loop + 1]));

			put_scores(s, 0);
			kir_else(f, NULL, 0);
			kir_if_end(f, cond, NULL, 0);
		}
		x = e3(f, KIR_OP_load, bt, s->ring[n / BLOCK % 2], s64c(f, 0), s64c(f, 0));
		for (int64_t h = 0; h < BLOCK; h += LANES) {
			kir_ref y = kir_emit(f, KIR_OP_slice, st, &x, 1,
			                     (int64_t[KIR_MAX_ATTRS]){ 1, h });

			y = exponents(s, &scale, y, less, n + h);
			y = kir_emit(f, KIR_OP_exp2, lt, &y, 1, in->node[s->exp2].attr);
			w[h / LANES] = narrowed(s, y, n + h);
			sum = h ? e2(f, KIR_OP_add, lt, sum, y) : y;
		}
		lanes = n ? e2(f, KIR_OP_add, lt, lanes, sum) : sum;
		/* last: a concat ends what shares loops */
		for (int64_t h = 0; h < BLOCK; h += LANES)
			r.weights =
			    n || h ? e2x(f, KIR_OP_concat,
			                 kir_tile(f->module, KIR_bf16, rows, n + h + LANES),
			                 r.weights, w[h / LANES], 1)
			           : w[0];
	}
	r.sums = with_values(s, c[P], c[BEFORE], acc);
	copy_of(s, s->keys, next);
	put_scores(s, 0);
	r.rows = e1x(f, KIR_OP_reduce_add, rt, lanes, 1);
	kir_ref worst = e3(f, KIR_OP_select, rt, none, f32c(f, INFINITY), r.rows);

	r.bad = e2(f, KIR_OP_gt, i1, e1x(f, KIR_OP_reduce_max, f32, worst, 0), f32c(f, GROWN));
	return r;
}

/* The tile as it was computed before, up to its weights. */
static void slow_tile(stagger *s)
{
	for (kir_ref n = s->top; n < s->end; n++) {
		if (n == s->scaled)
			n = kir_region_end(s->in, n) - 1;
		else if (n != s->sums && n != s->values)
			kir_copy(s->out, s->in, n, s->map);
	}
}

/* The next iteration, if it has a whole tile, else this one: whose keys may be read. */
static kir_ref next_tile(stagger *s)
{
	const kir_func *in = s->in;
	kir_func *f = s->out;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	kir_ref j = s->map[s->loop + 1], cond = kir_src(in, s->cond, 0);
	kir_ref next = e2(f, KIR_OP_add, s64, j, s64c(f, kir_for_step(in, s->loop)));

	copy_of(s, cond, next);
	if (cond > s->first)
		kir_copy(f, in, cond, s->ahead);
	return e3(f, KIR_OP_select, s64, s->ahead[cond], next, j);
}

/* The iteration of a whole tile; c: what is carried. Its first result. */
static kir_ref whole_tile(stagger *s, const kir_ref *c, kir_ref *out)
{
	const kir_func *in = s->in;
	kir_func *f = s->out;
	kir_type_id i1 = kir_scalar(f->module, KIR_i1), rt = in->node[arg(s, 0)].type;
	kir_ref yes = kir_const_i(f, KIR_i1, 1), any = kir_src(in, s->scaled, 0), list[5], r, b;
	kir_ref next = next_tile(s);
	kir_ref one = e1(f, KIR_OP_splat, rt, f32c(f, 1)), zero, acc;
	kir_ref cond = kir_if(f, e2(f, KIR_OP_ge, i1, c[BEFORE], s64c(f, 0)));

	acc = scale_sums(s, c[GREW], c[A], c[F]);
	fast q = fast_tile(s, c, acc, next);

	list[0] = q.sums;
	list[1] = q.weights;
	list[2] = q.rows;
	list[3] = q.bad;
	list[4] = next;
	kir_else(f, list, 5);
	zero = e1(f, KIR_OP_splat, rt, f32c(f, 0));
	list[0] = c[A];
	list[1] = e1(f, KIR_OP_splat, in->node[s->weights].type, kir_const_f(f, KIR_bf16, 0));
	list[2] = zero;
	list[3] = yes;
	list[4] = c[READY];
	r = kir_if_end(f, cond, list, 5);
	cond = kir_if(f, r + 3);
	slow_tile(s);
	list[0] = s->map[kir_src(in, s->end, 0)];
	list[1] = s->map[kir_src(in, s->end, 1)];
	list[2] = s->map[s->weights];
	list[3] = s->map[s->factor];
	list[4] = s->map[any];
	kir_else(f, list, 5);
	list[0] = c[M];
	list[1] = e2(f, KIR_OP_add, rt, c[L], r + 2);
	list[2] = r + 1;
	list[3] = one;
	list[4] = kir_const_i(f, KIR_i1, 0);
	b = kir_if_end(f, cond, list, 5);
	out[M] = b;
	out[L] = b + 1;
	out[A] = r;
	out[P] = b + 2;
	out[F] = b + 3;
	out[BEFORE] = s->map[s->loop + 1];
	out[GREW] = b + 4;
	out[READY] = r + 4;
	return b;
}

static void emit(stagger *s)
{
	const kir_func *in = s->in;
	kir_func *f = s->out;
	kir_type_id i1 = kir_scalar(f->module, KIR_i1), rt = in->node[arg(s, 0)].type;
	kir_ref init[CARRIED], c[CARRIED], list[CARRIED], loop, cond, r;

	for (unsigned i = 0; i < 3; i++)
		init[i] = s->map[kir_src(in, s->loop, 2 + i)];
	init[P] = e1(f, KIR_OP_splat, in->node[s->weights].type, kir_const_f(f, KIR_bf16, 0));
	init[F] = e1(f, KIR_OP_splat, rt, f32c(f, 1));
	init[BEFORE] = s64c(f, -1);
	init[GREW] = kir_const_i(f, KIR_i1, 0);
	int64_t dim[2] = { kir_type_of(in, s->dot)->dim[0], BLOCK };

	for (unsigned i = 0; i < 2; i++)
		s->ring[i] = kir_emit(
		    f, KIR_OP_local,
		    kir_buffer(f->module, (kir_elem)kir_type_of(in, s->dot)->elem, 2, dim),
		    NULL, 0, NULL);
	init[READY] = s64c(f, -1);
	loop = kir_for(f, s->map[kir_src(in, s->loop, 0)], s->map[kir_src(in, s->loop, 1)],
	               kir_for_step(in, s->loop), false, init, CARRIED);
	for (unsigned i = 0; i < CARRIED; i++)
		c[i] = loop + 2 + i;
	for (unsigned i = 0; i < 4; i++)
		s->map[s->loop + 1 + i] = loop + 1 + i;
	for (kir_ref n = s->first; n < s->cond; n++)
		kir_copy(f, in, n, s->map);
	cond = kir_if(f, s->map[kir_src(in, s->cond, 0)]);
	whole_tile(s, c, list);
	kir_else(f, list, CARRIED);
	r = kir_if_end(f, cond, c, CARRIED);
	for (unsigned i = 0; i < CARRIED; i++)
		list[i] = r + i;
	r = kir_for_end(f, loop, list, CARRIED);
	cond = kir_if(f, e2(f, KIR_OP_ge, i1, r + BEFORE, s64c(f, 0)));
	list[0] = with_values(s, r + P, r + BEFORE, scale_sums(s, r + GREW, r + A, r + F));
	kir_else(f, list, 1);
	list[0] = r + A;
	list[0] = kir_if_end(f, cond, list, 1);
	s->map[s->yield + 1] = r + M;
	s->map[s->yield + 2] = r + L;
	s->map[s->yield + 3] = list[0];
}

kpass_result kpass_stagger(const kir_func *in, kir_func *out, kir_diag *why)
{
	stagger s = { .in = in, .out = out, .map = kir_map_new(out, in) };
	int knob = in->sched.pipeline;
	bool asked = knob == KIR_pipeline_values, any = false, dots = false;

	s.ahead = kir_alloc(out->module, in->nnode * sizeof *s.ahead);
	s.set = kir_alloc(out->module, in->nnode * sizeof *s.set);
	asked = asked || (!knob && kpass_has_tiles(in));
	for (kir_ref n = 1; n < in->nnode; n++) {
		dots |= in->node[n].op == KIR_OP_dot;
		if (in->node[n].op == KIR_OP_param)
			continue;
		if (asked && matches(&s, n)) {
			emit(&s);
			n = kir_region_end(in, n) - 1;
			any = true;
			continue;
		}
		kir_copy(out, in, n, s.map);
	}
	if ((any || dots) && !in->sched.m_chunk)
		kir_chose(out, KIR_KNOB_pipeline,
		          any                       ? KIR_pipeline_values
		          : knob == KIR_pipeline_on ? KIR_pipeline_on
		                                    : KIR_pipeline_off);
	if (any || !knob || knob != KIR_pipeline_values)
		return any ? KPASS_CHANGED : KPASS_SAME;
	kir_error(
	    why, 0, 0,
	    "knob pipeline=values: no loop over whole tiles of keys has scores of bf16 that "
	    "nothing changes, weights that are narrowed and rescale=lazy, so auto or off");
	return KPASS_REJECT;
}
