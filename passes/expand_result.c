/* SPDX-License-Identifier: Apache-2.0 */
/* expand_result.c -- what becomes of attention's sums: rows of the output, or pieces in part
 * and their joining.
 */
#include "expand_attn.h"

#include <math.h>

enum {                   /* pieces are joined some columns at a time */
       JOIN_DIM = 256,   /* where values have more elements */
       JOIN_GPU = 2048,  /* and on GPUs where sums have more bytes */
       JOIN_COLUMNS = 64 /* so many */
};

/* rows<R> of the sink's logits in base 2, or 0. */
static kir_ref sink_rows(const attn *a, kir_ref hq)
{
	kir_func *f = a->f;
	kir_type_id t = attn_vec(a, KIR_f32);

	if (!a->sink)
		return 0;
	return e2(f, KIR_OP_mul, t, e2(f, KIR_OP_gather, t, a->sink, hq),
	          f32c(f, (float)LOG2E));
}

/* The log-sum-exp that callers see: of index lists, plus infinity where nothing was seen. */
static kir_ref told_lse(const attn *a, softmax_state s)
{
	kir_func *f = a->f;
	kir_type_id t = f->node[s.m].type;
	kir_ref lse = softmax_lse(f, s);

	if (!a->gather.index)
		return lse;
	return e3(f, KIR_OP_select, t, e2(f, KIR_OP_eq, i1_like(f, t), s.l, f32c(f, 0)),
	          f32c(f, INFINITY), lse);
}

/* Normalised output, columns `from` on of each part, and log-sum-exp of `count` queries to the
 * caller's tensors. */
static void store_result(const attn *a, softmax_state s, const part *list, const kir_ref *from,
                         kir_ref lse, kir_ref row, kir_ref head0, kir_ref count)
{
	kir_func *f = a->f;
	kir_module *m = f->module;
	kir_elem e = (kir_elem)kir_type_of(f, a->out)->elem;
	kir_ref end = iadd(a, row, count);
	kir_type t = { .elem = (uint8_t)e, .rank = 3 };

	t.dim[0] = a->q_tile;
	t.dim[1] = a->group;
	for (unsigned i = 0; i < s.n; i++) {
		kir_ref o = s.acc[i];

		t.dim[2] = list[i].dim;
		if (a->rotated[1])
			o = expand_rotate(f, o, a->sign[1],
			                  kir_side_block(a->rotated[1], a->dim_v), true);
		o = e1(f, KIR_OP_reshape, kir_type_intern(m, &t), as_elem(f, o, e));
		kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
		         (kir_ref[]){ o, a->out, row, head0, from[i], end }, 6, NULL);
	}
	if (!a->lse)
		return;
	lse = e1(f, KIR_OP_reshape, kir_tile(m, KIR_f32, a->q_tile, a->group), lse);
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ lse, a->lse, row, head0, end }, 5,
	         NULL);
}

/* A piece's normalised rows and their log-sum-exps, for the join. */
static void store_part(const attn *a, softmax_state s, kir_ref slot, bool normal)
{
	kir_func *f = a->f;
	kir_ref row = imul(a, slot, a->rows), lse = softmax_lse(f, s);

	if (!normal)
		s = softmax_normal(f, s, 0, 0);
	for (unsigned i = 0; i < s.n; i++)
		kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
		         (kir_ref[]){ s.acc[i], a->part, row, s64c(f, a->value[i].from) }, 4,
		         NULL);
	lse = e1(f, KIR_OP_reshape, kir_tile(f->module, KIR_f32, a->rows, 1), lse);
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
	         (kir_ref[]){ lse, a->part, row, s64c(f, a->dim_v) }, 4, NULL);
}

/* Wide values are gone over once at the end, whether they are a result or a piece, to which a
 * sink adds nothing yet: sums over l, m and l as they were. */
static softmax_state normal_once(const attn *a, const item *it, softmax_state s, kir_ref whole)
{
	kir_func *f = a->f;
	kir_ref sink = sink_rows(a, it->hq);

	if (sink && a->part)
		sink =
		    e3(f, KIR_OP_select, attn_vec(a, KIR_f32), whole, sink, f32c(f, -INFINITY));
	return softmax_normal(f, s, sink, it->vscale);
}

/* The result of an item, or its piece of one. */
void attn_finish(const attn *a, const item *it, softmax_state s)
{
	kir_func *f = a->f;
	bool wide = is_value(a, 0) || a->shared;

	for (unsigned i = 0; it->vscale && !wide && i < s.n; i++)
		s.acc[i] = e2(f, KIR_OP_mul, f->node[s.acc[i]].type, s.acc[i], it->vscale);
	kir_ref whole = e2(f, KIR_OP_lt, kir_scalar(f->module, KIR_i1), it->slot, s64c(f, 0));

	if (wide)
		s = normal_once(a, it, s, whole);
	kir_ref cond = a->part ? kir_if(f, whole) : 0;
	kir_ref lse = a->lse ? told_lse(a, s) : 0, from[PARTS];

	for (unsigned i = 0; i < s.n; i++)
		from[i] = s64c(f, a->value[i].from);
	store_result(a, wide ? s : softmax_normal(f, s, sink_rows(a, it->hq), 0), a->value,
	             from, lse, it->row, it->head0, it->count);
	if (cond) {
		kir_else(f, NULL, 0);
		store_part(a, s, it->slot, wide);
		kir_if_end(f, cond, NULL, 0);
	}
}

/* Where the pieces of one tile of queries are. */
typedef struct join_item {
	kir_ref row, head0, slot, n, count;
} join_item;

/* Joins columns `from` on of each part of `list`. */
static void join_columns(const attn *a, const join_item *t, const part *list,
                         const kir_ref *from, unsigned nlist)
{
	kir_func *f = a->f;
	kir_module *m = f->module;
	kir_type_id vt = attn_vec(a, KIR_f32);
	kir_ref carry[2 + PARTS], o[PARTS];
	int64_t dim[PARTS];

	for (unsigned i = 0; i < nlist; i++)
		dim[i] = list[i].dim;
	softmax_state s = softmax_begin(f, a->rows, dim, nlist);
	unsigned width = softmax_list(&s, carry);
	kir_ref li = kir_for(f, s64c(f, 0), t->n, 1, false, carry, width);
	kir_ref at0 = imul(a, iadd(a, t->slot, li + 1), a->rows);

	for (unsigned i = 0; i < nlist; i++)
		o[i] = e3(f, KIR_OP_load, kir_tile(m, KIR_f32, a->rows, dim[i]), a->part, at0,
		          from[i]);
	kir_ref lse = e3(f, KIR_OP_load, kir_tile(m, KIR_f32, a->rows, 1), a->part, at0,
	                 s64c(f, a->dim_v));

	s = softmax_join(f, softmax_from(li + 2, nlist), o, e1(f, KIR_OP_reshape, vt, lse));
	softmax_list(&s, carry);
	s = softmax_from(kir_for_end(f, li, carry, width), nlist);
	kir_type_id it = attn_vec(a, KIR_s32);
	kir_ref hq = e2(f, KIR_OP_mod, it, e0x(f, KIR_OP_iota, it, 0),
	                kir_const_i(f, KIR_s32, a->group));
	hq = e2(f, KIR_OP_add, it, hq, as_elem(f, t->head0, KIR_s32));
	lse = a->lse ? told_lse(a, s) : 0;
	store_result(a, softmax_normal(f, s, sink_rows(a, hq), 0), list, from, lse, t->row,
	             t->head0, t->count);
}

/* Whether pieces are joined some columns at a time: wide values, whose tiles would take as much
 * memory again as those of the first loop, and on GPUs sums of more than 2 KiB, which are
 * registers there (of 8 or 16 KiB), with a piece's beside them and addresses of both. */
static bool join_cuts(const attn *a)
{
	bool many = a->f->target->lanes && a->rows * a->dim_v * 4 > JOIN_GPU;

	/* blocks of a rotation aren't cut */
	return (many || a->dim_v > JOIN_DIM) && !a->rotated[1];
}

/* The most columns up to JOIN_COLUMNS that divide them. */
static int64_t join_width(int64_t dim)
{
	int64_t n = JOIN_COLUMNS;

	while (dim % n)
		n -= n > 16 ? 16 : 1;
	return n;
}

void attn_join(const attn *a, kir_ref list, kir_ref njoin)
{
	kir_func *f = a->f;
	kir_ref from[PARTS];
	kir_ref lx = kir_for(f, s64c(f, 0), njoin, 1, true, NULL, 0), x = lx + 1;
	join_item t = { .row = attn_field(a, list, x, 0) };

	t.head0 = imul(a, attn_field(a, list, x, 1), a->group);
	t.slot = attn_field(a, list, x, 2);
	t.n = attn_field(a, list, x, 3);
	t.count = attn_field(a, list, x, 4);
	for (unsigned i = 0; i < a->nvalue; i++)
		from[i] = s64c(f, a->value[i].from);
	if (!join_cuts(a)) {
		join_columns(a, &t, a->value, from, a->nvalue);
		kir_for_end(f, lx, NULL, 0);
		return;
	}
	part some = { .dim = join_width(a->dim_v) };
	kir_ref lc = kir_for(f, s64c(f, 0), s64c(f, a->dim_v), some.dim, false, NULL, 0);
	kir_ref column = lc + 1;

	join_columns(a, &t, &some, &column, 1);
	kir_for_end(f, lc, NULL, 0);
	kir_for_end(f, lx, NULL, 0);
}
