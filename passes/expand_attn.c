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
 * Scores are in base 2. Rows that see nothing keep m = -inf; softmax_safe keeps -inf - -inf
 * from arising. Keys at and past the sequence's end are loaded as 0 where a value matters
 * (V, scales) and replaced by a select where it doesn't (scores): no unwritten slot is ever
 * read as a value.
 */
#include "expand.h"

#include <math.h>

static const double LOG2E = 1.44269504088896340736;

enum { /* fields of a work item, see jit/plan.c */
       W_SEQ,
       W_HEAD,
       W_QUERY,
       W_FIRST,
       W_END,
       W_SLOT,
       W_COUNT,
       W_ROW
};

/* A running softmax over rows: maximum (base 2), sum, and weighted sum of values. */
typedef struct softmax_state {
	kir_ref m, l, acc; /* f32<R>, f32<R>, f32<RxD> */
} softmax_state;

typedef struct attn {
	const kir_func *in;
	kir_ref node;
	kir_func *f;
	kir_ref *map;
	kir_ref q, out, lse, k, v, ks, vs, qd, kd, vd, table, lens, starts, scale, sink, part;
	int64_t heads, kv_heads, group, dim_k, dim_v, page;
	int64_t q_tile, rows, kv_tile;
	kir_ref score_region, mask_region;
	bool plain_score; /* the region yields its argument */
} attn;

/* One work item's scalars, all s64 but where said. */
typedef struct item {
	kir_ref seq, head, query, first, end, slot, count, row;
	kir_ref head0;    /* first query head                       */
	kir_ref qpos, hq; /* s32<R>: position and head of each row  */
	kir_ref scale;    /* f32: everything that scales a score    */
	kir_ref vscale;   /* f32 or 0                               */
	kir_ref q;        /* f32<R x Dk>                            */
} item;

static kir_type_id vec(const attn *a, kir_elem e)
{
	return kir_vector(a->f->module, e, a->rows);
}

static kir_ref field(const attn *a, kir_ref list, kir_ref at, int i)
{
	kir_ref idx[2] = { at, s64c(a->f, i) };

	return as_elem(a->f, load1(a->f, list, 2, idx), KIR_s64);
}

/* buf[x] or buf[x, y] as f32. */
static kir_ref descale(const attn *a, kir_ref buf, kir_ref x, kir_ref y)
{
	kir_ref idx[2] = { x, y };

	return as_elem(a->f, load1(a->f, buf, 2, idx), KIR_f32);
}

static kir_ref imul(const attn *a, kir_ref x, int64_t k)
{
	return e2(a->f, KIR_OP_mul, kir_scalar(a->f->module, KIR_s64), x, s64c(a->f, k));
}

static kir_ref iadd(const attn *a, kir_ref x, kir_ref y)
{
	return e2(a->f, KIR_OP_add, kir_scalar(a->f->module, KIR_s64), x, y);
}

/* Row r is query r / group of the tile and head r % group of the KV head's. The query is
 * held inside the sequence, so that regions may index tensors with it in any row. */
static void row_places(const attn *a, item *it)
{
	kir_func *f = a->f;
	kir_type_id t = vec(a, KIR_s32), s64 = kir_scalar(f->module, KIR_s64);
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
	it->scale = s;
	it->vscale = a->vd ? descale(a, a->vd, it->seq, it->head) : 0;
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
	t.dim[2] = a->dim_k;
	it->q = kir_emit(f, KIR_OP_load, kir_type_intern(m, &t), src, 5, NULL);
	it->q = e1(f, KIR_OP_reshape, kir_tile(m, e, a->rows, a->dim_k), it->q);
	it->q = as_elem(f, it->q, KIR_f32);
}

static item read_item(const attn *a, kir_ref work, kir_ref w)
{
	item it = { .seq = field(a, work, w, W_SEQ), .head = field(a, work, w, W_HEAD) };

	it.query = field(a, work, w, W_QUERY);
	it.first = field(a, work, w, W_FIRST);
	it.end = field(a, work, w, W_END);
	it.slot = field(a, work, w, W_SLOT);
	it.count = field(a, work, w, W_COUNT);
	it.row = field(a, work, w, W_ROW);
	it.head0 = imul(a, it.head, a->group);
	row_places(a, &it);
	scales(a, &it);
	load_queries(a, &it);
	return it;
}

/* One tile of K or V as stored, times its stored scales: f32<N x D>. Only tokens before
 * `upto` are touched when `cut`. */
static kir_ref load_tile(const attn *a, kir_ref buf, kir_ref sc, const kir_ref at[4],
                         kir_ref upto, bool cut)
{
	kir_func *f = a->f;
	kir_module *m = f->module;
	const kir_type *bt = kir_type_of(f, buf);
	kir_elem e = (kir_elem)bt->elem;
	int64_t dim = bt->dim[3];
	kir_ref src[6] = { buf, at[0], at[1], at[2], at[3], upto };
	kir_ref x =
	    kir_emit(f, KIR_OP_load, kir_tile(m, e, a->kv_tile, dim), src, cut ? 6 : 5, NULL);
	kir_type_id ft = kir_tile(m, KIR_f32, a->kv_tile, dim);

	if (!sc)
		return as_elem(f, x, KIR_f32);
	const kir_type *st = kir_type_of(f, sc);
	kir_elem se = (kir_elem)st->elem;
	int64_t groups = st->rank == 4 ? st->dim[3] : 0;
	kir_ref ssrc[6] = { sc, at[0], at[1], at[2], groups ? at[3] : upto, upto };
	kir_type_id stt =
	    groups ? kir_tile(m, se, a->kv_tile, groups) : kir_vector(m, se, a->kv_tile);
	kir_ref s = kir_emit(f, KIR_OP_load, stt, ssrc, groups ? 6 : 5, NULL);

	return kir_emit(f, KIR_OP_dequant, ft, (kir_ref[]){ x, as_elem(f, s, KIR_f32) }, 2,
	                (int64_t[KIR_MAX_ATTRS]){ groups ? -1 : 0, groups ? dim / groups : 0 });
}

/* Scores of the tile at key j, masked, base 2: f32<R x N>. */
static kir_ref tile_scores(const attn *a, const item *it, kir_ref j, kir_ref kt, kir_diag *why)
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
	kir_ref s = kir_emit(f, KIR_OP_dot, st, (kir_ref[]){ it->q, kt }, 2,
	                     (int64_t[KIR_MAX_ATTRS]){ 1 });
	s = e2(f, KIR_OP_mul, st, s, it->scale);
	if (!a->plain_score) {
		s = expand_region(a->in, a->score_region, f, a->map, &p, s, why);
		if (!s)
			return 0;
		s = e2(f, KIR_OP_mul, st, s, f32c(f, (float)LOG2E));
	}
	kir_ref mask = expand_region(a->in, a->mask_region, f, a->map, &p, 0, why);
	if (!mask)
		return 0;
	mask = e2x(f, KIR_OP_and, i1_like(f, st), mask, live, 1);
	return e3(f, KIR_OP_select, st, mask, s, f32c(f, -INFINITY));
}

static softmax_state softmax_begin(kir_func *f, int64_t rows, int64_t dim)
{
	kir_type_id v = kir_vector(f->module, KIR_f32, rows);
	kir_ref zero = f32c(f, 0);

	return (softmax_state){
		e1(f, KIR_OP_splat, v, f32c(f, -INFINITY)),
		e1(f, KIR_OP_splat, v, zero),
		e1(f, KIR_OP_splat, kir_tile(f->module, KIR_f32, rows, dim), zero),
	};
}

/* m, or 0 where it is -inf, so that differences of two -inf never arise. */
static kir_ref softmax_safe(kir_func *f, kir_ref m)
{
	kir_type_id t = f->node[m].type;
	kir_ref empty = e2(f, KIR_OP_eq, i1_like(f, t), m, f32c(f, -INFINITY));

	return e3(f, KIR_OP_select, t, empty, f32c(f, 0), m);
}

/* Natural log-sum-exp, -inf for rows that saw nothing. */
static kir_ref softmax_lse(kir_func *f, softmax_state s)
{
	kir_type_id t = f->node[s.m].type;
	kir_ref x = e2(f, KIR_OP_add, t, e1(f, KIR_OP_log2, t, s.l), s.m);

	return e2(f, KIR_OP_mul, t, x, f32c(f, (float)(1 / LOG2E)));
}

/* acc / (l + what the sink adds), 0 where that is 0; sink2: f32<R> base-2 logits or 0. */
static kir_ref softmax_out(kir_func *f, softmax_state s, kir_ref sink2)
{
	kir_type_id t = f->node[s.m].type;
	kir_ref l = s.l;

	if (sink2) {
		kir_ref d = e2(f, KIR_OP_sub, t, sink2, softmax_safe(f, s.m));

		l = e2(f, KIR_OP_add, t, l, e1(f, KIR_OP_exp2, t, d));
	}
	kir_ref none = e2(f, KIR_OP_eq, i1_like(f, t), l, f32c(f, 0));
	kir_ref r = e2(f, KIR_OP_div, t, e1(f, KIR_OP_splat, t, f32c(f, 1)), l);

	r = e3(f, KIR_OP_select, t, none, f32c(f, 0), r);
	return e2x(f, KIR_OP_mul, f->node[s.acc].type, s.acc, r, 0);
}

/* The keys of one item: m, l, acc after the last tile. */
static bool key_loop(const attn *a, const item *it, softmax_state *s, kir_diag *why)
{
	kir_func *f = a->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64), rt = f->node[s->m].type;
	kir_type_id st = kir_tile(f->module, KIR_f32, a->rows, a->kv_tile);
	kir_ref init[3] = { s->m, s->l, s->acc };
	kir_ref lj = kir_for(f, it->first, it->end, a->kv_tile, false, init, 3), j = lj + 1;
	kir_ref m0 = lj + 2, l0 = lj + 3, acc0 = lj + 4;
	kir_ref idx[2] = { it->seq, e2(f, KIR_OP_fdiv, s64, j, s64c(f, a->page)) };
	kir_ref page = as_elem(f, load1(f, a->table, 2, idx), KIR_s64);
	kir_ref token = e2(f, KIR_OP_mod, s64, j, s64c(f, a->page));
	kir_ref at[4] = { page, it->head, token, s64c(f, 0) };
	kir_ref upto = iadd(a, token, e2(f, KIR_OP_sub, s64, it->end, j));
	kir_ref sc = tile_scores(a, it, j, load_tile(a, a->k, a->ks, at, upto, false), why);

	if (!sc)
		return false;
	kir_ref m1 = e2(f, KIR_OP_max, rt, m0, e1x(f, KIR_OP_reduce_max, rt, sc, 1));
	kir_ref ms = softmax_safe(f, m1);
	kir_ref al = e1(f, KIR_OP_exp2, rt, e2(f, KIR_OP_sub, rt, m0, ms));
	kir_ref p = e1(f, KIR_OP_exp2, st, e2x(f, KIR_OP_sub, st, sc, ms, 0));
	kir_ref l1 = e3(f, KIR_OP_fma, rt, l0, al, e1x(f, KIR_OP_reduce_add, rt, p, 1));
	kir_ref vt = load_tile(a, a->v, a->vs, at, upto, true);
	kir_ref scaled = e2x(f, KIR_OP_mul, f->node[acc0].type, acc0, al, 0);
	kir_ref acc1 = e3(f, KIR_OP_dot, f->node[acc0].type, p, vt, scaled);
	kir_ref y[3] = { m1, l1, acc1 };
	kir_ref res = kir_for_end(f, lj, y, 3);

	*s = (softmax_state){ res, res + 1, res + 2 };
	return true;
}

/* rows<R> of the sink's logits in base 2, or 0. */
static kir_ref sink_rows(const attn *a, kir_ref hq)
{
	kir_func *f = a->f;
	kir_type_id t = vec(a, KIR_f32);

	if (!a->sink)
		return 0;
	return e2(f, KIR_OP_mul, t, e2(f, KIR_OP_gather, t, a->sink, hq),
	          f32c(f, (float)LOG2E));
}

/* Normalised output and log-sum-exp of `count` queries to the caller's tensors. */
static void store_result(const attn *a, kir_ref o, kir_ref lse, kir_ref row, kir_ref head0,
                         kir_ref count)
{
	kir_func *f = a->f;
	kir_module *m = f->module;
	kir_elem e = (kir_elem)kir_type_of(f, a->out)->elem;
	kir_ref end = iadd(a, row, count);
	kir_type t = { .elem = (uint8_t)e, .rank = 3 };

	t.dim[0] = a->q_tile;
	t.dim[1] = a->group;
	t.dim[2] = a->dim_v;
	o = e1(f, KIR_OP_reshape, kir_type_intern(m, &t), as_elem(f, o, e));
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
	         (kir_ref[]){ o, a->out, row, head0, s64c(f, 0), end }, 6, NULL);
	if (!a->lse)
		return;
	lse = e1(f, KIR_OP_reshape, kir_tile(m, KIR_f32, a->q_tile, a->group), lse);
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ lse, a->lse, row, head0, end }, 5,
	         NULL);
}

/* A piece's normalised rows and their log-sum-exps, for the join. */
static void store_part(const attn *a, softmax_state s, kir_ref slot)
{
	kir_func *f = a->f;
	kir_ref row = imul(a, slot, a->rows), lse = softmax_lse(f, s);

	kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
	         (kir_ref[]){ softmax_out(f, s, 0), a->part, row, s64c(f, 0) }, 4, NULL);
	lse = e1(f, KIR_OP_reshape, kir_tile(f->module, KIR_f32, a->rows, 1), lse);
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
	         (kir_ref[]){ lse, a->part, row, s64c(f, a->dim_v) }, 4, NULL);
}

static bool work_loop(const attn *a, kir_ref work, kir_ref nwork, kir_diag *why)
{
	kir_func *f = a->f;
	kir_ref lw = kir_for(f, s64c(f, 0), nwork, 1, true, NULL, 0);
	item it = read_item(a, work, lw + 1);
	softmax_state s = softmax_begin(f, a->rows, a->dim_v);

	if (!key_loop(a, &it, &s, why))
		return false;
	if (it.vscale)
		s.acc = e2(f, KIR_OP_mul, f->node[s.acc].type, s.acc, it.vscale);
	kir_ref whole = e2(f, KIR_OP_lt, kir_scalar(f->module, KIR_i1), it.slot, s64c(f, 0));
	kir_ref cond = a->part ? kir_if(f, whole) : 0;

	store_result(a, softmax_out(f, s, sink_rows(a, it.hq)), a->lse ? softmax_lse(f, s) : 0,
	             it.row, it.head0, it.count);
	if (cond) {
		kir_else(f, NULL, 0);
		store_part(a, s, it.slot);
		kir_if_end(f, cond, NULL, 0);
	}
	kir_for_end(f, lw, NULL, 0);
	return true;
}

/* One more normalised part o with natural log-sum-exp lse into the running state. */
static softmax_state join_one(kir_func *f, softmax_state s, kir_ref o, kir_ref lse)
{
	kir_type_id rt = f->node[s.m].type, at = f->node[s.acc].type;
	kir_ref x = e2(f, KIR_OP_mul, rt, lse, f32c(f, (float)LOG2E));
	kir_ref m = e2(f, KIR_OP_max, rt, s.m, x), ms = softmax_safe(f, m);
	kir_ref al = e1(f, KIR_OP_exp2, rt, e2(f, KIR_OP_sub, rt, s.m, ms));
	kir_ref w = e1(f, KIR_OP_exp2, rt, e2(f, KIR_OP_sub, rt, x, ms));
	kir_ref l = e3(f, KIR_OP_fma, rt, s.l, al, w);
	kir_ref old = e2x(f, KIR_OP_mul, at, s.acc, al, 0);
	kir_ref acc = e2(f, KIR_OP_add, at, old, e2x(f, KIR_OP_mul, at, o, w, 0));

	return (softmax_state){ m, l, acc };
}

static void join_loop(const attn *a, kir_ref join, kir_ref njoin)
{
	kir_func *f = a->f;
	kir_module *m = f->module;
	kir_type_id at = kir_tile(m, KIR_f32, a->rows, a->dim_v), vt = vec(a, KIR_f32);
	kir_ref lx = kir_for(f, s64c(f, 0), njoin, 1, true, NULL, 0), x = lx + 1;
	kir_ref row = field(a, join, x, 0), head0 = imul(a, field(a, join, x, 1), a->group);
	kir_ref slot = field(a, join, x, 2), n = field(a, join, x, 3);
	kir_ref count = field(a, join, x, 4);
	softmax_state s = softmax_begin(f, a->rows, a->dim_v);
	kir_ref init[3] = { s.m, s.l, s.acc };
	kir_ref li = kir_for(f, s64c(f, 0), n, 1, false, init, 3);
	kir_ref at0 = imul(a, iadd(a, slot, li + 1), a->rows);
	kir_ref o = e3(f, KIR_OP_load, at, a->part, at0, s64c(f, 0));
	kir_ref lse = e3(f, KIR_OP_load, kir_tile(m, KIR_f32, a->rows, 1), a->part, at0,
	                 s64c(f, a->dim_v));

	s = (softmax_state){ li + 2, li + 3, li + 4 };
	s = join_one(f, s, o, e1(f, KIR_OP_reshape, vt, lse));
	kir_ref y[3] = { s.m, s.l, s.acc };
	kir_ref res = kir_for_end(f, li, y, 3);

	s = (softmax_state){ res, res + 1, res + 2 };
	kir_type_id it = vec(a, KIR_s32);
	kir_ref hq = e2(f, KIR_OP_mod, it, e0x(f, KIR_OP_iota, it, 0),
	                kir_const_i(f, KIR_s32, a->group));
	hq = e2(f, KIR_OP_add, it, hq, as_elem(f, head0, KIR_s32));
	store_result(a, softmax_out(f, s, sink_rows(a, hq)), a->lse ? softmax_lse(f, s) : 0,
	             row, head0, count);
	kir_for_end(f, lx, NULL, 0);
}

int64_t kpass_default_kv_tile(int64_t page, int64_t dim_k, int64_t dim_v, int64_t q_tile)
{
	int64_t most = 128 * 1024 / ((dim_k + dim_v) * 4), top = q_tile <= 1 ? 128 : 64;

	most = most > top ? top : most;
	for (int64_t by = 16; by >= 8; by -= 8)
		for (int64_t t = most / by * by; t >= by; t -= by)
			if (page % t == 0)
				return t;
	return page % 8 ? 1 : 8;
}

static bool set_up(attn *a, kir_diag *why)
{
	const kir_func *in = a->in;
	kir_ref n = a->node, end;
	struct {
		const char *name;
		kir_ref *at;
	} op[] = { { "q", &a->q },           { "out", &a->out },     { "lse", &a->lse },
		   { "k", &a->k },           { "v", &a->v },         { "ks", &a->ks },
		   { "vs", &a->vs },         { "qd", &a->qd },       { "kd", &a->kd },
		   { "vd", &a->vd },         { "table", &a->table }, { "lens", &a->lens },
		   { "starts", &a->starts }, { "scale", &a->scale }, { "sink", &a->sink },
		   { "part", &a->part } };

	for (size_t i = 0; i < sizeof op / sizeof op[0]; i++)
		*op[i].at = expand_operand(in, n, a->map, op[i].name);
	if (!a->f->sched.split)
		a->part = 0;
	a->heads = kir_type_of(a->f, a->q)->dim[1];
	a->dim_k = kir_type_of(a->f, a->k)->dim[3];
	a->dim_v = kir_type_of(a->f, a->v)->dim[3];
	a->kv_heads = kir_type_of(a->f, a->k)->dim[1];
	a->page = kir_type_of(a->f, a->k)->dim[2];
	a->group = a->heads / a->kv_heads;
	a->q_tile = a->f->sched.q_tile ? a->f->sched.q_tile : 1;
	a->rows = a->q_tile * a->group;
	a->kv_tile = a->f->sched.kv_tile
	                 ? a->f->sched.kv_tile
	                 : kpass_default_kv_tile(a->page, a->dim_k, a->dim_v, a->q_tile);
	a->score_region = n + 1;
	for (end = n + 1; in->node[end].op != KIR_OP_yield; end++)
		;
	a->plain_score = kir_src(in, end, 0) == n + 1;
	a->mask_region = end + 1;
	if (a->page % a->kv_tile) {
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
	if (a->heads % a->kv_heads) {
		kir_error(why, 0, 0, "heads: %d query heads are no multiple of %d KV heads",
		          (int)a->heads, (int)a->kv_heads);
		return false;
	}
	return true;
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
		join_loop(&a, join, expand_operand(in, n, map, "njoin"));
	return true;
}

/* parts[p, t, h, :] and lses[p, t, h] over p into out and lse: one token at a time, the heads
 * as rows. */
bool expand_merge(const kir_func *in, kir_ref n, kir_func *f, kir_ref *map, kir_diag *why)
{
	kir_module *m = f->module;
	kir_ref out = expand_operand(in, n, map, "out"),
	        lse = expand_operand(in, n, map, "lse");
	kir_ref parts = expand_operand(in, n, map, "parts");
	kir_ref lses = expand_operand(in, n, map, "lses"), zero = s64c(f, 0);
	int64_t heads = kir_type_of(f, out)->dim[1], dim = kir_type_of(f, out)->dim[2];
	kir_elem e = (kir_elem)kir_type_of(f, out)->elem;
	kir_ref lt = kir_for(f, zero, expand_operand(in, n, map, "n"), 1, true, NULL, 0);
	kir_ref t = lt + 1;
	softmax_state s = softmax_begin(f, heads, dim);
	kir_ref init[3] = { s.m, s.l, s.acc };
	kir_ref lp = kir_for(f, zero, expand_operand(in, n, map, "p"), 1, false, init, 3);
	kir_ref o = kir_emit(f, KIR_OP_load, kir_tile(m, KIR_f32, heads, dim),
	                     (kir_ref[]){ parts, lp + 1, t, zero, zero }, 5, NULL);
	kir_ref x = kir_emit(f, KIR_OP_load, kir_vector(m, KIR_f32, heads),
	                     (kir_ref[]){ lses, lp + 1, t, zero }, 4, NULL);

	(void)why;
	s = join_one(f, (softmax_state){ lp + 2, lp + 3, lp + 4 }, o, x);
	kir_ref y[3] = { s.m, s.l, s.acc };
	kir_ref res = kir_for_end(f, lp, y, 3);

	s = (softmax_state){ res, res + 1, res + 2 };
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
	         (kir_ref[]){ as_elem(f, softmax_out(f, s, 0), e), out, t, zero, zero }, 5,
	         NULL);
	if (lse)
		kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
		         (kir_ref[]){ softmax_lse(f, s), lse, t, zero }, 4, NULL);
	kir_for_end(f, lt, NULL, 0);
	return true;
}
