/* SPDX-License-Identifier: Apache-2.0 */
/* turn.c -- scores with the query's rows in lanes, so that keys are broadcast as they lie.
 *
 *     %s = dot %q, %k {trans=1} : f32<16x32>       %s = dot %k, %q {trans=1} : f32<32x16>
 *     %m = reduce.max %s {axis=1}             =>   %m = reduce.max %s {axis=0}
 *     %d = sub %s, %m {axis=0} ; %p = exp2 %d      %d = sub %s, %m {axis=1} ; %p = exp2 %d
 *     %o = dot %p, %v, %a : f32<16x512>            %o = dot %p, %v, %a {trans=2}
 *
 * The right factor of a product must lie with the contraction side by side for a vector of
 * columns. Keys stored token by token don't: each tile of them is transposed, n log2 n zips for
 * n vectors, whatever the number of queries. Queries are transposed once, before the loop
 * (vec_dot.c); the left factor is read a word at a time, which a row of keys serves as it is.
 * With keys as rows, sums and maxima over them need no step across lanes, and weights become
 * the left factor of the second product by zipping neighbours.
 *
 * Everything between the two products is turned with the scores or nothing is: the web of
 * elementwise ops from a product on, in both directions, ends in spreads, splats and iotas, in
 * reductions over keys and in left factors. Locals that hold its tiles, or pieces of them, and
 * nothing else are turned with it. Any other reader or maker of a tile in it, and the product
 * stays.
 *
 * Tile registers too take keys as they lie as the left factor, and queries packed once; their
 * weights are transposed for the second product (vec_tiles.c): some 100 shuffles for 32 keys
 * and 16 rows, beside 64 for 16 keys of 32 elements.
 *
 * Requires level T, products of floats, rows that fill whole vectors, keys that don't lie in
 * product order. Knob turn: auto takes one or two vectors of rows; of more, transposed keys
 * serve so many rows that it doesn't matter. In tile registers auto takes keys of at least four
 * times as many elements as there are rows. Not for GPUs, whose engines lay out their factors
 * themselves. Costs vectors half as full where a tile has fewer keys than accumulators hide the
 * products' latency for.
 */
#include "vectorize.h"

#include <string.h>

enum { TILE_KEYS = 4 }; /* elements of a key for each row, in tile registers */

typedef struct web {
	const kir_func *in;
	bool *turned;  /* tiles that change their shape, in all webs so far      */
	kir_ref *node; /* those of the web at hand, and products that read them  */
	unsigned n;
	bool *seen; /* in node[]                                              */
} web;

static bool is_tile2(const kir_func *f, kir_ref n)
{
	const kir_type *t = kir_type_of(f, n);

	return t->rank == 2 && !t->buffer;
}

/* Keys row by row: of a load, with the whole row side by side; of anything else, as level T has
 * its tiles. */
static bool row_by_row(const kir_func *f, kir_ref k)
{
	while (f->node[k].op != KIR_OP_load) {
		kir_op op = (kir_op)f->node[k].op;

		if (op != KIR_OP_convert && op != KIR_OP_bitcast && op != KIR_OP_xor &&
		    op != KIR_OP_fixed && op != KIR_OP_unpack)
			return true;
		k = kir_src(f, k, 0);
	}
	return vec_run(kir_type_of(f, kir_src(f, k, 0))) >= kir_type_of(f, k)->dim[1];
}

static bool may_turn(const kir_func *f, kir_ref n)
{
	if (f->node[n].op != KIR_OP_dot || kir_attr_of(f, n, KIR_ATTR_trans) != 1 ||
	    f->node[n].nsrc > 2)
		return false;
	const kir_type *q = kir_type_of(f, kir_src(f, n, 0)), *t = kir_type_of(f, n);
	int64_t lanes = f->target->vector_bits / 32, vectors = q->dim[0] / lanes;
	bool tiles = kpass_has_tiles(f) && q->elem == KIR_bf16;
	bool pays = vectors <= 2 && (!tiles || q->dim[1] >= TILE_KEYS * q->dim[0]);

	return (q->elem == KIR_bf16 || q->elem == KIR_f32) &&
	       kir_type_of(f, kir_src(f, n, 1))->elem == q->elem && t->dim[0] % lanes == 0 &&
	       (pays || f->sched.turn == KIR_turn_on) && t->dim[1] > 1 &&
	       row_by_row(f, kir_src(f, n, 1));
}

/* A product of weights, whose contraction a turned left factor still takes in whole words. */
static bool takes_left(const kir_func *f, kir_ref n, kir_ref x)
{
	int64_t unit = 4 / kir_elem_bytes((kir_elem)kir_type_of(f, x)->elem);

	return f->node[n].op == KIR_OP_dot && kir_src(f, n, 0) == x && kir_src(f, n, 1) != x &&
	       kir_src(f, n, 2) != x && !kir_attr_of(f, n, KIR_ATTR_trans) && unit >= 1 &&
	       kir_type_of(f, x)->dim[1] % unit == 0 &&
	       kir_is_float((kir_elem)kir_type_of(f, x)->elem);
}

static void add(web *w, kir_ref n)
{
	if (!w->seen[n])
		w->node[w->n++] = n;
	w->seen[n] = true;
}

/* A local row by row, whose elements are tiles' or a tile's. */
static bool holds_tiles(const kir_func *f, kir_ref n)
{
	const kir_type *t = kir_type_of(f, n);

	return f->node[n].op == KIR_OP_local && t->rank == 2 &&
	       f->node[n].type == kir_buffer(f->module, (kir_elem)t->elem, 2, t->dim);
}

/* What is read from local x, and stored to it. */
static bool grow_local(web *w, kir_ref x)
{
	const kir_func *f = w->in;

	for (kir_ref n = x + 1; n < f->nnode; n++)
		for (unsigned i = 0; i < f->node[n].nsrc; i++) {
			kir_op op = (kir_op)f->node[n].op;

			if (kir_src(f, n, i) != x)
				continue;
			if (op == KIR_OP_load && f->node[n].nsrc == 3 && is_tile2(f, n))
				add(w, n);
			else if (op == KIR_OP_store && i == 1 && f->node[n].nsrc == 4 &&
			         is_tile2(f, kir_src(f, n, 0)))
				add(w, kir_src(f, n, 0));
			else
				return false;
		}
	return true;
}

/* Takes in what must turn with x, a tile or a local of them; false if something can't. */
static bool grow(web *w, kir_ref x)
{
	const kir_func *f = w->in;
	const kir_node *d = &f->node[x];
	bool each = kir_ops[d->op].flags & KIR_EACH, load = d->op == KIR_OP_load;

	if (d->op == KIR_OP_local)
		return grow_local(w, x);
	if (!each && d->op != KIR_OP_splat && d->op != KIR_OP_spread && d->op != KIR_OP_iota &&
	    !load && !may_turn(f, x))
		return false;
	if (load && !holds_tiles(f, kir_src(f, x, 0)))
		return false;
	if (load)
		add(w, kir_src(f, x, 0));
	for (unsigned i = 0; each && i < d->nsrc; i++)
		if (is_tile2(f, kir_src(f, x, i)))
			add(w, kir_src(f, x, i));
	for (kir_ref n = x + 1; n < f->nnode; n++)
		for (unsigned i = 0; i < f->node[n].nsrc; i++) {
			kir_op op = (kir_op)f->node[n].op;

			if (kir_src(f, n, i) != x)
				continue;
			if (kir_ops[op].flags & KIR_EACH)
				add(w, n);
			else if (op == KIR_OP_store && holds_tiles(f, kir_src(f, n, 1)))
				add(w, kir_src(f, n, 1));
			else if (!(vec_is_reduce(f, n) &&
			           kir_attr_of(f, n, KIR_ATTR_axis) == 1) &&
			         !takes_left(f, n, x))
				return false;
		}
	return true;
}

/* The web around product n joins what is turned, or stays as it is. */
static bool turn_web(web *w, kir_ref n)
{
	bool ok = true;

	w->n = 0;
	add(w, n);
	for (unsigned i = 0; ok && i < w->n; i++)
		ok = grow(w, w->node[i]);
	for (unsigned i = 0; i < w->n; i++) {
		w->seen[w->node[i]] = false;
		w->turned[w->node[i]] |= ok;
	}
	return ok;
}

/* -- the new text ------------------------------------------------------------------------- */

static int64_t other(int64_t axis)
{
	return axis < 0 ? axis : 1 - axis;
}

/* The place in a turned local. */
static void turn_place(kir_ref at[2])
{
	kir_ref row = at[0];

	at[0] = at[1];
	at[1] = row;
}

static kir_ref turned_tile(const web *w, kir_func *out, kir_ref n, const kir_ref *map)
{
	const kir_node *d = &w->in->node[n];
	const kir_type *t = kir_type_of(w->in, n);
	int64_t dim[2] = { t->dim[1], t->dim[0] };
	kir_type_id to = t->buffer ? kir_buffer(out->module, (kir_elem)t->elem, 2, dim)
	                           : kir_tile(out->module, (kir_elem)t->elem, dim[0], dim[1]);
	int64_t attr[KIR_MAX_ATTRS];
	kir_ref src[KIR_MAX_SRC];

	for (unsigned i = 0; i < d->nsrc; i++)
		src[i] = map[kir_src(w->in, n, i)];
	memcpy(attr, d->attr, sizeof attr);
	if (d->op == KIR_OP_dot)
		return kir_emit(out, KIR_OP_dot, to, (kir_ref[]){ src[1], src[0] }, 2, attr);
	if (d->op == KIR_OP_load)
		turn_place(src + 1);
	if (!strncmp(kir_ops[d->op].attr, "axis", 4))
		attr[0] = other(attr[0]);
	return kir_emit(out, (kir_op)d->op, to, src, d->nsrc, attr);
}

/* Whoever reads a turned tile without being one: along the other axis, as a left factor, or to
 * store it. */
static kir_ref reader(const web *w, kir_func *out, kir_ref n, const kir_ref *map)
{
	const kir_node *d = &w->in->node[n];
	bool dot = d->op == KIR_OP_dot;
	kir_ref src[4];

	for (unsigned i = 0; i < d->nsrc; i++)
		src[i] = map[kir_src(w->in, n, i)];
	if (d->op == KIR_OP_store) {
		turn_place(src + 2);
		return kir_emit(out, KIR_OP_store, KIR_NO_TYPE, src, d->nsrc, d->attr);
	}
	return kir_emit(out, (kir_op)d->op, d->type, src, d->nsrc,
	                (int64_t[KIR_MAX_ATTRS]){ dot ? 2 : 0 });
}

kpass_result kpass_turn(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_ref *map = kir_map_new(out, in);
	web w = { .in = in };
	bool any = false;

	(void)why;
	for (kir_ref n = 1; n < in->nnode; n++)
		if (in->node[n].op == KIR_OP_dot && kir_attr_of(in, n, KIR_ATTR_trans) == 1)
			kir_chose(out, KIR_KNOB_turn, KIR_turn_off);
	if (in->sched.turn == KIR_turn_off || in->target->lanes)
		return KPASS_SAME;
	w.turned = kir_alloc(out->module, in->nnode * sizeof *w.turned);
	w.seen = kir_alloc(out->module, in->nnode * sizeof *w.seen);
	w.node = kir_alloc(out->module, in->nnode * sizeof *w.node);
	for (kir_ref n = 1; n < in->nnode; n++)
		if (!w.turned[n] && may_turn(in, n))
			any |= turn_web(&w, n);
	if (any)
		out->chosen[KIR_KNOB_turn] = (kir_chosen){ .value = { KIR_turn_on }, .n = 1 };
	for (kir_ref n = 1; any && n < in->nnode; n++) {
		const kir_node *d = &in->node[n];
		bool reads = false;

		if (d->op == KIR_OP_param)
			continue;
		for (unsigned i = 0; i < d->nsrc; i++)
			reads |= w.turned[kir_src(in, n, i)];
		if (w.turned[n])
			map[n] = turned_tile(&w, out, n, map);
		else if (reads)
			map[n] = reader(&w, out, n, map);
		else
			kir_copy(out, in, n, map);
	}
	return any ? KPASS_CHANGED : KPASS_SAME;
}
