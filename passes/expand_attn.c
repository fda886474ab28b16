/* SPDX-License-Identifier: Apache-2.0 */
/* expand_attn.c -- attention as a loop over pages with an online softmax.
 *
 *     for %w = 0 to %nwork par {              ; a tile of queries, a KV head, a key range
 *       q tile <R x Dk>, R = q_tile * group
 *       m, l, acc = for %j = first key to last step kv_tile carry(-inf, 0, 0) {
 *         s = score((q . k) * scale);  s = mask ? s : -inf
 *         m' = max(m, rows of s);  p = exp2(s - m');  a = exp2(m - m')
 *         yield m', l * a + sum(p), acc * a + p . v }
 *       out = acc / l   (or, of a piece of a split sequence, into part) }
 *     for %x = 0 to %njoin par { ... }        ; joins pieces, in order: deterministic
 *
 * With knob split=0 no sequence is ever cut, and neither part nor the second loop exists.
 *
 * With knob q_block an iteration takes several items: expand_block.c.
 *
 * A latent cache has one KV head for many query heads, whose values are the keys' first
 * elements. A tile of keys is then loaded once for both products, in a part for each stored
 * scale, and the query heads are taken some at a time (kpass_head_tile): the work list has as
 * many KV heads as there are such tiles. With index lists, expand_gather.c brings the rows of a
 * tile into locals first; j is then the place in the list.
 *
 * Scores are in base 2. Rows that see nothing keep m = -inf; softmax_safe keeps -inf - -inf
 * from arising. Keys at and past the sequence's end are loaded as 0 where a value matters
 * (V, scales) and replaced by a select where it doesn't (scores): no unwritten slot is ever
 * read as a value.
 */
#include "expand_attn.h"

#include <math.h>
#include <string.h>

/* buf[x] or buf[x, y] as f32. */
static kir_ref descale(const attn *a, kir_ref buf, kir_ref x, kir_ref y)
{
	kir_ref idx[2] = { x, y };

	return as_elem(a->f, load1(a->f, buf, 2, idx), KIR_f32);
}

/* Row r is query r / group of the tile and head r % group of the KV head's. The query is
 * held inside the sequence, so that regions may index tensors with it in any row. */
static void row_places(const attn *a, item *it)
{
	kir_func *f = a->f;
	kir_type_id t = attn_vec(a, KIR_s32), s64 = kir_scalar(f->module, KIR_s64);
	kir_ref iota = e0x(f, KIR_OP_iota, t, 0), g = kir_const_i(f, KIR_s32, a->group);
	kir_ref last = iadd(a, it->count, s64c(f, -1));
	kir_ref i = e2(f, KIR_OP_fdiv, t, iota, g);
	kir_ref idx[2] = { it->seq, iadd(a, it->seq, s64c(f, 1)) };
	kir_ref len = as_elem(f, load1(f, a->lens, 1, &idx[0]), KIR_s64);
	kir_ref s0 = as_elem(f, load1(f, a->starts, 1, &idx[0]), KIR_s64);
	kir_ref s1 = as_elem(f, load1(f, a->starts, 1, &idx[1]), KIR_s64);
	kir_ref p0 = e2(f, KIR_OP_sub, s64, len, e2(f, KIR_OP_sub, s64, s1, s0));

	i = e2(f, KIR_OP_min, t, i, as_elem(f, last, KIR_s32));
	it->qpos = e2(f, KIR_OP_add, t, i, as_elem(f, iadd(a, p0, it->query), KIR_s32));
	it->hq = e2(f, KIR_OP_mod, t, iota, g);
	it->hq = e2(f, KIR_OP_add, t, it->hq, as_elem(f, it->head0, KIR_s32));
}

static void scales(const attn *a, item *it)
{
	kir_func *f = a->f;
	kir_type_id f32 = kir_scalar(f->module, KIR_f32);
	kir_ref s = a->scale;

	if (a->qd)
		s = e2(f, KIR_OP_mul, f32, s, descale(a, a->qd, it->seq, it->head));
	if (a->kd)
		s = e2(f, KIR_OP_mul, f32, s, descale(a, a->kd, it->seq, it->head));
	if (a->plain_score)
		s = e2(f, KIR_OP_mul, f32, s, f32c(f, (float)LOG2E));
	/* both factors of a score are rotated, and H . H is the block's size */
	if (a->rotated[0])
		s = e2(f, KIR_OP_mul, f32, s,
		       f32c(f, 1.0 / (double)kir_side_block(a->rotated[0], a->key[0].dim)));
	/* the sign is in queries that were put in order */
	it->scale = it->place ? e1(f, KIR_OP_abs, f32, s) : s;
	it->vscale = a->vd ? descale(a, a->vd, it->seq, it->head) : 0;
}

/* scale * q . mean of each row, for the query as it was handed over; in base 2 where scores
 * are. */
static kir_ref mean_scores(const attn *a, const item *it, kir_ref q)
{
	kir_func *f = a->f;
	kir_type_id t = f->node[q].type, f32 = kir_scalar(f->module, KIR_f32);
	kir_ref m = e3(f, KIR_OP_load, kir_vector(f->module, KIR_f32, a->key[0].dim), a->mean,
	               it->head, s64c(f, 0));
	kir_ref s = a->scale;

	if (a->qd)
		s = e2(f, KIR_OP_mul, f32, s, descale(a, a->qd, it->seq, it->head));
	if (a->plain_score)
		s = e2(f, KIR_OP_mul, f32, s, f32c(f, (float)LOG2E));
	m = e1x(f, KIR_OP_reduce_add, attn_vec(a, KIR_f32), e2x(f, KIR_OP_mul, t, q, m, 1), 1);
	return e2(f, KIR_OP_mul, attn_vec(a, KIR_f32), m, s);
}

static void load_queries(const attn *a, item *it)
{
	kir_func *f = a->f;
	kir_module *m = f->module;
	kir_elem e = (kir_elem)kir_type_of(f, a->q)->elem;
	kir_type t = { .elem = (uint8_t)e, .rank = 3 };
	kir_ref src[5] = { a->q, it->row, it->head0, s64c(f, 0), iadd(a, it->row, it->count) };

	t.dim[0] = a->q_tile;
	t.dim[1] = a->group;
	for (unsigned i = 0; i < a->nkey; i++) {
		t.dim[2] = a->key[i].dim;
		if (i)
			src[3] = s64c(f, a->key[i].from);
		kir_type_id rows = kir_tile(m, e, a->rows, a->key[i].dim);
		kir_ref q;

		if (it->place)
			q = e3(f, KIR_OP_load, rows, a->queries, it->place, s64c(f, 0));
		else
			q = e1(f, KIR_OP_reshape, rows,
			       kir_emit(f, KIR_OP_load, kir_type_intern(m, &t), src, 5, NULL));
		it->q[i] = as_elem(f, q, KIR_f32);
		if (a->mean) /* keys are one part */
			it->mean = mean_scores(a, it, it->q[i]);
		if (a->rotated[0])
			it->q[i] =
			    expand_rotate(f, it->q[i], a->sign[0],
			                  kir_side_block(a->rotated[0], a->key[i].dim), false);
	}
}

item attn_item(const attn *a, kir_ref work, kir_ref w)
{
	item it = { .seq = attn_field(a, work, w, W_SEQ),
		    .head = attn_field(a, work, w, W_HEAD) };

	it.query = attn_field(a, work, w, W_QUERY);
	it.first = attn_field(a, work, w, W_FIRST);
	it.end = attn_field(a, work, w, W_END);
	it.slot = attn_field(a, work, w, W_SLOT);
	it.count = attn_field(a, work, w, W_COUNT);
	it.row = attn_field(a, work, w, W_ROW);
	it.head0 = imul(a, it.head, a->group);
	if (a->tiles > 1)
		it.head = e2(a->f, KIR_OP_fdiv, kir_scalar(a->f->module, KIR_s64), it.head,
		             s64c(a->f, a->tiles));
	return it;
}

void attn_rows(const attn *a, item *it)
{
	row_places(a, it);
	scales(a, it);
	load_queries(a, it);
}

/* Codes x times stored scales s (f32, one a token or one a token and group), less zero points
 * where the scales hold any. */
static kir_ref scaled(const attn *a, const part *p, kir_ref x, kir_ref s, int64_t group)
{
	kir_func *f = a->f;
	const kir_type *xt = kir_type_of(f, x);
	kir_ref src[3] = { x, s };
	bool zero = p->zero != NULL;

	if (zero)
		src[1] = expand_split(f, p->zero, s, &src[2]);
	return kir_emit(f, KIR_OP_dequant, kir_tile(f->module, KIR_f32, xt->dim[0], xt->dim[1]),
	                src, 2u + zero,
	                (int64_t[KIR_MAX_ATTRS]){ group       ? -1
	                                          : p->tokens ? 1
	                                                      : 0,
	                                          group });
}

/* The scales of the group of tokens that a tile lies in: f32<D>. One that was reached was
 * written whole. */
static kir_ref token_scales(const attn *a, const part *p, const kir_ref at[4])
{
	kir_func *f = a->f;
	kir_elem e = (kir_elem)kir_type_of(f, p->scales)->elem;
	kir_ref group =
	    e2(f, KIR_OP_fdiv, kir_scalar(f->module, KIR_s64), at[2], s64c(f, p->tokens));
	kir_ref src[5] = { p->scales, at[0], at[1], group, at[3] };

	return as_elem(f,
	               kir_emit(f, KIR_OP_load, kir_vector(f->module, e, p->dim), src, 5, NULL),
	               KIR_f32);
}

bool attn_grouped(const attn *a, const part *p)
{
	return p->group < 0 && !p->tokens && p->scales &&
	       kir_type_of(a->f, p->scales)->rank == 4;
}

/* Only tokens before `upto` are touched when `cut`; of codes of 4 bits all are, which are never
 * a NaN: there a weight of 0 is enough. What must not be touched was left out when a chunk was
 * widened. */
kir_ref attn_codes(const attn *a, const part *p, const kir_ref at[5], kir_ref upto, bool cut)
{
	kir_func *f = a->f;
	kir_module *m = f->module;
	kir_elem e = (kir_elem)kir_type_of(f, p->codes)->elem;
	int64_t per = p->packed ? 2 : 1;
	kir_ref first = p->column ? s64c(f, p->column / per) : at[3];
	kir_ref src[6] = { p->codes, at[0], at[1], at[2], first, upto }, x;

	if (p->wide)
		return e3(f, KIR_OP_load, kir_tile(m, KIR_bf16, a->kv_tile, p->dim), p->wide,
		          at[4], first);
	x = kir_emit(f, KIR_OP_load, kir_tile(m, e, a->kv_tile, p->dim / per), src,
	             cut && !p->packed ? 6 : 5, NULL);
	if (!p->packed)
		return x;
	return kir_emit(f, KIR_OP_unpack, kir_tile(m, p->packed->elem, a->kv_tile, p->dim), &x,
	                1, (int64_t[KIR_MAX_ATTRS]){ p->packed->pack });
}

kir_ref attn_tile(const attn *a, const part *p, const kir_ref at[5], kir_ref upto, bool cut)
{
	kir_func *f = a->f;
	kir_module *m = f->module;
	kir_ref x = attn_codes(a, p, at, upto, cut), sc = p->scales;

	if (p->wide && attn_grouped(a, p))
		return as_elem(f, x, KIR_f32); /* times its scales already */
	if (!sc)
		return as_elem(f, x, KIR_f32);
	if (p->tokens)
		return scaled(a, p, x, token_scales(a, p, at), 0);
	const kir_type *st = kir_type_of(f, sc);
	kir_elem se = (kir_elem)st->elem;

	if (p->group >= 0) {
		kir_ref gsrc[6] = { sc, at[0], at[1], at[2], s64c(f, p->group), upto };
		kir_ref g = kir_emit(f, KIR_OP_load, kir_tile(m, se, a->kv_tile, 1), gsrc,
		                     upto ? 6 : 5, NULL);

		g = e1(f, KIR_OP_reshape, kir_vector(m, se, a->kv_tile), g);
		return scaled(a, p, x, as_elem(f, g, KIR_f32), 0);
	}
	int64_t per = p->packed ? 2 : 1;
	int64_t group = st->rank == 4 ? kir_type_of(f, p->codes)->dim[3] * per / st->dim[3] : 0;
	int64_t groups = group ? (p->dim + group - 1) / group : 0;
	kir_ref ssrc[6] = { sc, at[0], at[1], at[2], groups ? at[3] : upto, upto };
	kir_type_id stt =
	    groups ? kir_tile(m, se, a->kv_tile, groups) : kir_vector(m, se, a->kv_tile);
	bool end = upto != 0;
	kir_ref s = kir_emit(f, KIR_OP_load, stt, ssrc, (groups ? 5u : 4u) + end, NULL);

	return scaled(a, p, x, as_elem(f, s, KIR_f32), group);
}

/* Whether the last part of the keys is no part of the values' stream, and its product stands
 * first. On GPUs it stays last, with no loop to gain: first it costs registers
 * (tests/cli/xe_counts.sh: 1,024 bytes spilled of 16 heads over bf16 rows on xe-pvc). */
bool attn_rest_first(const attn *a)
{
	return !a->f->target->lanes && a->nkey > 1 &&
	       a->key[a->nkey - 1].codes != a->key[0].codes;
}

/* Before product number `place` of a tile, of its keys or then its values: rows that index
 * lists name for the next one are touched. As many before each, so that copies of a product
 * are alike (roll.c); what can't be shared comes first, where the short product of a key's
 * rest is. */
static void touch_share(const attn *a, const item *it, kir_ref j, unsigned place)
{
	unsigned rest = attn_rest_first(a), parts = a->nkey + a->nvalue - rest;
	int64_t share = a->kv_tile / parts, left = a->kv_tile - share * parts;
	int64_t from = place ? left + (place - rest) * share : 0,
	        to = left + (place + 1 - rest) * share;

	if (a->gather.index)
		expand_gather_touch(a->f, &a->gather, it->row, it->head, j, it->end, from, to);
}

/* q . k over all parts of the keys of the tile at j: f32<R x N>. */
static kir_ref products(const attn *a, const item *it, kir_ref j, const kir_ref *kt)
{
	kir_func *f = a->f;
	kir_type_id st = kir_tile(f->module, KIR_f32, a->rows, a->kv_tile);
	kir_ref sum = 0;

	for (unsigned place = 0; place < a->nkey; place++) {
		unsigned i = (place + a->nkey - attn_rest_first(a)) % a->nkey;

		touch_share(a, it, j, place);
		kir_ref s = kir_emit(f, KIR_OP_dot, st, (kir_ref[]){ it->q[i], kt[i] }, 2,
		                     (int64_t[KIR_MAX_ATTRS]){ 1 });

		sum = sum ? e2(f, KIR_OP_add, st, sum, s) : s;
	}
	return sum;
}

/* Scores of the tile kt at key j, masked, base 2: f32<R x N>. sums: q . k, or 0. listed: i1<N>,
 * which keys an index list names, or 0. */
static kir_ref tile_scores(const attn *a, const item *it, kir_ref j, const kir_ref *kt,
                           kir_ref sums, kir_ref listed, kir_diag *why)
{
	kir_func *f = a->f;
	kir_module *m = f->module;
	kir_type_id st = kir_tile(m, KIR_f32, a->rows, a->kv_tile);
	kir_type_id kt32 = kir_vector(m, KIR_s32, a->kv_tile);
	region_place p = { it->seq, it->hq, it->qpos, 0, a->rows, a->kv_tile };
	kir_ref j32 = as_elem(f, j, KIR_s32), end32 = as_elem(f, it->end, KIR_s32);
	kir_ref kpos = e2(f, KIR_OP_add, kt32, e0x(f, KIR_OP_iota, kt32, 0), j32);
	kir_ref live = e2(f, KIR_OP_lt, i1_like(f, kt32), kpos, end32);
	kir_ref last =
	    e2(f, KIR_OP_add, kir_scalar(m, KIR_s32), end32, kir_const_i(f, KIR_s32, -1));

	p.kpos = e2(f, KIR_OP_min, kt32, kpos, last);
	kir_ref s = e2(f, KIR_OP_mul, st, sums ? sums : products(a, it, j, kt), it->scale);
	if (it->mean)
		s = e2x(f, KIR_OP_add, st, s, it->mean, 0);
	if (!a->plain_score) {
		s = expand_region(a->in, a->score_region, f, a->map, &p, s, why);
		if (!s)
			return 0;
		s = e2(f, KIR_OP_mul, st, s, f32c(f, (float)LOG2E));
	}
	kir_ref mask = expand_region(a->in, a->mask_region, f, a->map, &p, 0, why);
	if (!mask)
		return 0;
	if (listed)
		live = e2(f, KIR_OP_and, i1_like(f, kt32), live, listed);
	mask = e2x(f, KIR_OP_and, i1_like(f, st), mask, live, 1);
	return e3(f, KIR_OP_select, st, mask, s, f32c(f, -INFINITY));
}

softmax_state attn_begin(const attn *a)
{
	int64_t dim[PARTS];

	for (unsigned i = 0; i < a->nvalue; i++)
		dim[i] = a->value[i].dim;
	return softmax_begin(a->f, a->rows, dim, a->nvalue);
}

void attn_place(const attn *a, const item *it, kir_ref j, kir_ref at[5])
{
	kir_func *f = a->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);

	at[4] = a->chunk ? e2(f, KIR_OP_sub, s64, j, a->chunk) : 0;
	if (a->shared) { /* a tile of the chunk may be of several pages */
		at[0] = at[1] = at[2] = at[3] = s64c(f, 0);
		return;
	}
	kir_ref idx[2] = { it->seq, e2(f, KIR_OP_fdiv, s64, j, s64c(f, a->page)) };

	at[0] = as_elem(f, load1(f, a->table, 2, idx), KIR_s64);
	at[1] = it->head;
	at[2] = e2(f, KIR_OP_mod, s64, j, s64c(f, a->page));
	at[3] = s64c(f, 0);
}

bool attn_keys(const attn *a, const item *it, kir_ref first, kir_ref end, softmax_state *s,
               kir_diag *why)
{
	kir_func *f = a->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64), rt = f->node[s->m].type;
	kir_type_id st = kir_tile(f->module, KIR_f32, a->rows, a->kv_tile);
	kir_ref carry[2 + PARTS], at[5], kt[PARTS], upto = 0, listed = 0, sums = 0;
	unsigned n = softmax_list(s, carry);
	/* a piece begins where a tile does; written so that the text says it, and addresses of
	 * packed layouts are as simple as they can be */
	if (!a->gather.index)
		first =
		    imul(a, e2(f, KIR_OP_fdiv, s64, first, s64c(f, a->kv_tile)), a->kv_tile);
	kir_ref lj = kir_for(f, first, end, a->kv_tile, false, carry, n), j = lj + 1;
	softmax_state old = softmax_from(lj + 2, a->nvalue), now = old;

	if (a->gather.index) {
		for (int i = 0; i < 5; i++)
			at[i] = s64c(f, 0);
		if (a->strips)
			sums = attn_strips(a, it, j, &listed);
		else
			listed = expand_gather(f, &a->gather, it->row, it->head, j, it->end);
	} else {
		attn_place(a, it, j, at);
	}
	if (!a->gather.index && !a->shared) {
		upto = iadd(a, at[2], e2(f, KIR_OP_sub, s64, it->end, j));
	}
	/* of strips, which have their scores, what values are read: for one product as for the
	 * other, scales are put in a row before both */
	for (unsigned i = 0; i < (sums ? a->nvalue : a->nkey); i++)
		kt[i] = attn_tile(a, sums ? &a->value[i] : &a->key[i], at, upto,
		                  upto && is_value(a, i));
	kir_ref sc = tile_scores(a, it, j, kt, sums, listed, why);

	if (!sc)
		return false;
	now.m = e2(f, KIR_OP_max, rt, old.m, e1x(f, KIR_OP_reduce_max, rt, sc, 1));
	kir_ref ms = softmax_safe(f, now.m);
	kir_ref al = e1(f, KIR_OP_exp2, rt, e2(f, KIR_OP_sub, rt, old.m, ms));
	kir_ref p = e1(f, KIR_OP_exp2, st, e2x(f, KIR_OP_sub, st, sc, ms, 0));

	now.l = e3(f, KIR_OP_fma, rt, old.l, al, e1x(f, KIR_OP_reduce_add, rt, p, 1));
	for (unsigned i = 0; i < a->nvalue; i++) {
		kir_type_id t = f->node[old.acc[i]].type;
		kir_ref vt = sums || is_value(a, i)
		                 ? kt[i]
		                 : attn_tile(a, &a->value[i], at, upto, upto != 0);
		kir_ref scaled = e2x(f, KIR_OP_mul, t, old.acc[i], al, 0);

		touch_share(a, it, j, a->nkey + i);
		now.acc[i] = e3(f, KIR_OP_dot, t, p, vt, scaled);
	}
	softmax_list(&now, carry);
	*s = softmax_from(kir_for_end(f, lj, carry, n), a->nvalue);
	return true;
}

/* Tiles are read from locals that the index lists' rows are brought into. */
static void use_gathered(attn *a)
{
	static const char *const names[] = { "k", "ks", "v", "vs", "r", "rs" };
	row_gather *g = &a->gather;

	g->keys = a->kv_tile;
	g->page = a->page;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if ((g->from[g->n] = expand_operand(a->in, a->node, a->map, names[i])))
			g->codes[g->n++] = i % 2 == 0;
	if (a->strips) {
		attn_strips_begin(a);
		return;
	}
	expand_gather_begin(a->f, g);
	for (unsigned i = 0; i < a->nkey + a->nvalue; i++) {
		part *p = i < a->nkey ? &a->key[i] : &a->value[i - a->nkey];

		p->codes = expand_gathered(g, p->codes);
		p->scales = expand_gathered(g, p->scales);
	}
}

static bool work_loop(const attn *shared, kir_ref work, kir_ref nwork, kir_diag *why)
{
	attn mine = *shared, *a = &mine;
	kir_func *f = a->f;
	kir_ref lw = kir_for(f, s64c(f, 0), nwork, 1, true, NULL, 0);

	if (a->q_block > 1) {
		if (!attn_block(a, work, lw + 1, nwork, why))
			return false;
	} else {
		item it = attn_item(a, work, lw + 1);

		attn_rows(a, &it);

		if (a->gather.index)
			use_gathered(a);
		softmax_state s = attn_begin(a);

		if (!attn_keys(a, &it, it.first, it.end, &s, why))
			return false;
		attn_finish(a, &it, s);
	}
	kir_for_end(f, lw, NULL, 0);
	return true;
}

/* Appends a stream's elements to the keys: one part, or one for each scale if `split`. */
static void add_keys(attn *a, const part *p, bool split)
{
	int64_t groups = 1,
	        base = a->nkey ? a->key[a->nkey - 1].from + a->key[a->nkey - 1].dim : 0;

	if (split && p->scales && kir_type_of(a->f, p->scales)->rank == 4)
		groups = kir_type_of(a->f, p->scales)->dim[3];
	if (a->nkey + groups > PARTS - 1) /* one is left for the rest of the keys */
		groups = 1;
	for (int64_t g = 0; g < groups; g++) {
		part one = *p;

		one.dim = p->dim / groups;
		one.column = g * one.dim;
		one.from = base + one.column;
		one.group = groups > 1 ? g : -1;
		a->key[a->nkey++] = one;
	}
}

/* Where keys and values lie: shared values are the keys' first elements. */
static bool find_parts(attn *a, kir_diag *why)
{
	static const char *const names[3][2] = { { "k", "ks" }, { "v", "vs" }, { "r", "rs" } };
	part side[3];
	int64_t at = kir_attr_of(a->in, a->node, KIR_ATTR_format);
	const kir_format *format = at >= 0 ? a->in->module->format[at] : NULL;

	for (int i = 0; i < 3; i++) {
		side[i] = (part){ .codes = expand_operand(a->in, a->node, a->map, names[i][0]),
			          .scales = expand_operand(a->in, a->node, a->map, names[i][1]),
			          .group = -1 };
		if (!side[i].codes)
			continue;
		if (format && format->side[i].bits == 4)
			side[i].packed = &format->side[i];
		if (format && format->side[i].range)
			side[i].zero = &format->side[i];
		if (format)
			side[i].tokens = format->side[i].tokens;
		if (format && i < 2 && format->side[i].rotate)
			a->rotated[i] = &format->side[i];
		side[i].dim =
		    kir_type_of(a->f, side[i].codes)->dim[3] * (side[i].packed ? 2 : 1);
	}
	add_keys(a, &side[0], !side[1].codes);
	if (side[2].codes)
		add_keys(a, &side[2], !side[1].codes);
	if (side[1].codes) {
		a->value[a->nvalue++] = side[1];
		return true;
	}
	for (unsigned i = 0; i < a->nkey && a->key[i].from < a->dim_v; i++) {
		part p = a->key[i];

		p.dim = a->dim_v - p.from < p.dim ? a->dim_v - p.from : p.dim;
		a->value[a->nvalue++] = p;
	}
	part last = a->value[a->nvalue - 1];

	if (last.from + last.dim == a->dim_v)
		return true;
	kir_error(why, 0, 0, "out has rows of %d elements, but the keys only %d", (int)a->dim_v,
	          (int)(last.from + last.dim));
	return false;
}

static void find_operands(attn *a)
{
	struct {
		const char *name;
		kir_ref *at;
	} op[] = { { "q", &a->q },
		   { "out", &a->out },
		   { "lse", &a->lse },
		   { "qd", &a->qd },
		   { "kd", &a->kd },
		   { "vd", &a->vd },
		   { "kmean", &a->mean },
		   { "ksign", &a->sign[0] },
		   { "vsign", &a->sign[1] },
		   { "table", &a->table },
		   { "lens", &a->lens },
		   { "starts", &a->starts },
		   { "scale", &a->scale },
		   { "sink", &a->sink },
		   { "part", &a->part },
		   { "index", &a->gather.index },
		   { "limit", &a->gather.limit } };

	for (size_t i = 0; i < sizeof op / sizeof op[0]; i++)
		*op[i].at = expand_operand(a->in, a->node, a->map, op[i].name);
	if (!a->f->sched.split)
		a->part = 0;
}

/* What knobs and sizes must be to each other. */
static bool check_tiles(const attn *a, kir_diag *why)
{
	if (a->gather.index && a->q_tile > 1) {
		kir_error(why, 0, 0,
		          "knob q_tile=%d: each query has an index list of its own, so 1",
		          (int)a->q_tile);
		return false;
	}
	if (a->key[0].tokens && a->key[0].tokens % a->kv_tile) {
		kir_error(why, 0, 0,
		          "knob kv_tile=%d must divide the %d tokens that share scales",
		          (int)a->kv_tile, (int)a->key[0].tokens);
		return false;
	}
	if (!a->gather.index && !a->shared && a->page % a->kv_tile) {
		kir_error(why, 0, 0, "knob kv_tile=%d must divide the page's %d tokens",
		          (int)a->kv_tile, (int)a->page);
		return false;
	}
	/* a piece begins where a tile does: a tile must not cross a page */
	if (a->f->sched.split % a->kv_tile) {
		kir_error(why, 0, 0, "knob split=%d must be a multiple of kv_tile=%d",
		          a->f->sched.split, (int)a->kv_tile);
		return false;
	}
	return true;
}

static bool set_up(attn *a, kir_diag *why)
{
	const kir_func *in = a->in;
	kir_ref n = a->node, end;
	const kir_type *k;
	int64_t kv_heads;

	find_operands(a);
	a->heads = kir_type_of(a->f, a->q)->dim[1];
	a->dim_v = kir_type_of(a->f, a->out)->dim[2];
	if (!find_parts(a, why))
		return false;
	k = kir_type_of(a->f, a->key[0].codes);
	kv_heads = k->dim[1];
	a->page = k->dim[2];
	a->group = kpass_head_tile(a->f->target, a->heads / kv_heads, a->dim_v);
	a->tiles = a->heads / kv_heads / a->group;
	a->gather.again = a->tiles > 1;
	bool inside = !expand_operand(in, n, a->map, "v");

	a->q_block = a->f->sched.q_block;
	a->shared = attn_shares(a);

	if (inside)
		a->vd = a->kd;
	a->q_tile = a->f->sched.q_tile ? a->f->sched.q_tile : 1;
	a->rows = a->q_tile * a->group;
	int64_t dim_k = kir_type_of(a->f, a->q)->dim[2];

	a->kv_tile = a->f->sched.kv_tile ? a->f->sched.kv_tile
	             : a->shared         ? KPASS_SHARED_TILE
	                         : kpass_default_kv_tile(a->f, kir_key_run(in, n), dim_k,
	                                                 inside ? 0 : a->dim_v, a->q_tile);
	a->strips = attn_takes_strips(a);
	if (a->strips)
		attn_cut_parts(a);
	a->score_region = n + 1;
	for (end = n + 1; in->node[end].op != KIR_OP_yield; end++)
		;
	a->plain_score = kir_src(in, end, 0) == n + 1;
	a->mask_region = end + 1;
	return check_tiles(a, why) && attn_set_blocks(a, why);
}

bool expand_attention(const kir_func *in, kir_ref n, kir_func *f, kir_ref *map, kir_diag *why)
{
	attn a = { .in = in, .node = n, .f = f, .map = map };
	kir_ref work = expand_operand(in, n, map, "work");
	kir_ref join = expand_operand(in, n, map, "join");

	if (!work) {
		kir_error(why, (int)in->node[n].line, 0,
		          "attention needs work= and nwork= to become a kernel");
		return false;
	}
	if (!set_up(&a, why) || !work_loop(&a, work, expand_operand(in, n, map, "nwork"), why))
		return false;
	if (a.part && join)
		attn_join(&a, join, expand_operand(in, n, map, "njoin"));
	return true;
}
