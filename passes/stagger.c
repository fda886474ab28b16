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
#include "stagger.h"

#include <math.h>
#include <string.h>

enum { LANES = 16 /* of a vector: sums of so many columns are kept apart */ };

/* Copies what load n of the loop, and others that aren't 0, are computed from, for iteration j,
 * into s->ahead. */
static void copy_of_all(stagger *s, kir_ref n, kir_ref n2, kir_ref n3, kir_ref j)
{
	memcpy(s->ahead, s->map, s->in->nnode * sizeof *s->ahead);
	memset(s->set, 0, s->in->nnode * sizeof *s->set);
	stagger_mark(s, n);
	if (n2)
		stagger_mark(s, n2);
	if (n3)
		stagger_mark(s, n3);
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

	return kir_tile(s->out->module, (kir_elem)t->elem, t->dim[0], STAGGER_BLOCK);
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
	                kir_tile(f->module, (kir_elem)t->elem, STAGGER_BLOCK, t->dim[1]), src,
	                n, in->node[s->keys].attr);
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
	         (kir_ref[]){ x, s->ring[from / STAGGER_BLOCK % 2], s64c(f, 0), s64c(f, 0) }, 4,
	         NULL);
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

/* The tile's first scores, unless the iteration before has computed them. */
static void first_scores(stagger *s, kir_ref ready)
{
	kir_func *f = s->out;
	kir_type_id i1 = kir_scalar(f->module, KIR_i1);
	kir_ref cond = kir_if(f, e2(f, KIR_OP_ne, i1, ready, s->map[s->loop + 1]));

	put_scores(s, 0);
	kir_else(f, NULL, 0);
	kir_if_end(f, cond, NULL, 0);
}

/* Weights w of STAGGER_BLOCK keys from number n on, whose scores lie in their local, LANES keys
 * each; returns their sums by lanes. */
static kir_ref block_weights(stagger *s, const scales *k, kir_ref less, int64_t n, kir_ref *w)
{
	const kir_func *in = s->in;
	kir_func *f = s->out;
	int64_t rows = kir_type_of(in, s->dot)->dim[0];
	kir_type_id lt = kir_tile(f->module, KIR_f32, rows, LANES);
	kir_type_id st =
	    kir_tile(f->module, (kir_elem)kir_type_of(in, s->dot)->elem, rows, LANES);
	kir_ref x = e3(f, KIR_OP_load, block_type(s), s->ring[n / STAGGER_BLOCK % 2],
	               s64c(f, 0), s64c(f, 0)),
	        sum = 0;

	for (int64_t h = 0; h < STAGGER_BLOCK; h += LANES) {
		kir_ref y =
		    kir_emit(f, KIR_OP_slice, st, &x, 1, (int64_t[KIR_MAX_ATTRS]){ 1, h });

		y = exponents(s, k, y, less, n + h);
		y = kir_emit(f, KIR_OP_exp2, lt, &y, 1, in->node[s->exp2].attr);
		w[h / LANES] = narrowed(s, y, n + h);
		sum = h ? e2(f, KIR_OP_add, lt, sum, y) : y;
	}
	return sum;
}

/* Weights by the reference, beside the products of the tile before; acc: those so far. c: what
 * is carried; next: the tile whose first scores are computed, too. */
static fast fast_tile(stagger *s, const kir_ref *c, kir_ref acc, kir_ref next)
{
	kir_ref m = c[M];
	const kir_func *in = s->in;
	kir_func *f = s->out;
	int64_t rows = kir_type_of(in, s->dot)->dim[0], keys = kir_type_of(in, s->dot)->dim[1];
	kir_type_id rt = in->node[stagger_arg(s, 0)].type, i1r = i1_like(f, rt);
	kir_type_id i1 = kir_scalar(f->module, KIR_i1), f32 = kir_scalar(f->module, KIR_f32);
	kir_ref none = e2(f, KIR_OP_eq, i1r, m, f32c(f, -INFINITY));
	kir_ref less = e1(f, KIR_OP_neg, rt, e3(f, KIR_OP_select, rt, none, f32c(f, 0), m));
	kir_type_id lt = kir_tile(f->module, KIR_f32, rows, LANES);
	kir_ref lanes = 0;
	int64_t n = 0;
	fast r = { 0 };

	copy_of_all(s, s->keys, s->by_key, s->by_value, s->map[s->loop + 1]);
	scales scale = scales_of(s);

	for (; n < keys; n += STAGGER_BLOCK) {
		kir_ref w[STAGGER_BLOCK / LANES], sum;

		if (n)
			put_scores(s, n);
		else
			first_scores(s, c[READY]);
		sum = block_weights(s, &scale, less, n, w);
		lanes = n ? e2(f, KIR_OP_add, lt, lanes, sum) : sum;
		/* last: a concat ends what shares loops */
		for (int64_t h = 0; h < STAGGER_BLOCK; h += LANES)
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

	r.bad = e2(f, KIR_OP_gt, i1, e1x(f, KIR_OP_reduce_max, f32, worst, 0),
	           f32c(f, 1 << KPASS_RESCALE));
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
	kir_type_id i1 = kir_scalar(f->module, KIR_i1), rt = in->node[stagger_arg(s, 0)].type;
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
	kir_type_id i1 = kir_scalar(f->module, KIR_i1), rt = in->node[stagger_arg(s, 0)].type;
	kir_ref init[CARRIED], c[CARRIED], list[CARRIED], loop, cond, r;

	for (unsigned i = 0; i < 3; i++)
		init[i] = s->map[kir_src(in, s->loop, 2 + i)];
	init[P] = e1(f, KIR_OP_splat, in->node[s->weights].type, kir_const_f(f, KIR_bf16, 0));
	init[F] = e1(f, KIR_OP_splat, rt, f32c(f, 1));
	init[BEFORE] = s64c(f, -1);
	init[GREW] = kir_const_i(f, KIR_i1, 0);
	int64_t dim[2] = { kir_type_of(in, s->dot)->dim[0], STAGGER_BLOCK };

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
		if (asked && stagger_finds(&s, n)) {
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
