/* SPDX-License-Identifier: Apache-2.0 */
/* expand_latent.c -- rows of a latent cache brought into locals for all items of a block.
 *
 *     for %j = first to end step 16 {
 *       for %n = 0 to 16 {                          ; a key, as bf16
 *         keys[%j + %n - chunk, ..] = page[.., ..] of %j + %n, or 0 from the last key on }
 *       values[%j - chunk, ..] = keys[%j - chunk, 0 to dim_v] } ; in the order of products
 *
 * A latent cache has one row a token for many query heads, the values being its first elements.
 * The heads are tiles of rows, as many items of the work list that follow each other; a block
 * of them reads a row once and widens it once. Keys lie in the local row by row, which tiles
 * load as a left factor (turn.c) whatever part of the cache they are of, so their product is
 * one. Values lie in the order of a right factor,
 *
 *     [d/16 t/2 d%16 t%2]
 *
 * 16 rows are still in L1, 18 KiB of 576 elements, when their values are read.
 *
 * A tile of keys is then no part of a page, and may be larger: sums of values, 64 KiB for 32
 * heads, are read and written once a tile.
 *
 * Requires elements that bf16 holds as they are, and no stored scales.
 */
#include "expand_attn.h"

#include "passes.h"

enum {
	STEP = 16, /* keys that are widened, and their values ordered, at a time */
	PART = 128 /* columns of sums that lie together */
};

static bool is_plain(const attn *a, const part *p)
{
	kir_elem e = (kir_elem)kir_type_of(a->f, p->codes)->elem;

	return !p->packed && !p->scales && !p->tokens && kir_is_float(e) && e != KIR_e8m0 &&
	       (e == KIR_bf16 || kir_elems[e].bits == 8);
}

bool attn_shares(const attn *a)
{
	const kir_sched *s = &a->f->sched;
	bool tiles = a->f->target->features & KIR_HAS_amx_bf16 && s->tiles != KIR_tiles_off;
	bool ok = a->q_block > 1 && s->kv_tile % 16 == 0 && !a->f->target->lanes &&
	          !a->gather.index && !a->mean && !a->rotated[0] && a->nvalue == 1 &&
	          a->dim_v % 32 == 0 && a->value[0].codes == a->key[0].codes &&
	          a->value[0].column == 0;

	for (unsigned i = 0; ok && i < a->nkey; i++)
		ok = is_plain(a, &a->key[i]) && a->key[i].dim % 2 == 0;
	return ok && s->widen != KIR_widen_off && (s->widen == KIR_widen_on || tiles);
}

/* Rows that turn.c has as columns of the scores, tiles of whole registers. */
static bool orders_queries(const attn *a)
{
	const kir_type *q = kir_type_of(a->f, a->q);

	return kpass_has_tiles(a->f) && q->elem == KIR_bf16 &&
	       (a->rows == 16 || a->rows == 32) && q->dim[2] % 32 == 0 &&
	       a->f->sched.turn != KIR_turn_off;
}

/* Values in parts, each with sums of its own: rows of 512 bytes. In rows of 2 KiB a tile of
 * sums touches eight pages and has its lines in two sets of L1. */
static void cut_values(attn *a)
{
	part whole = a->value[0];

	a->nvalue = 0;
	for (int64_t c = 0; c < a->dim_v; c += PART) {
		part *p = &a->value[a->nvalue++];

		*p = whole;
		p->dim = PART;
		p->from = p->column = c;
	}
}

void attn_latent_begin(attn *a)
{
	kir_func *f = a->f;
	int64_t dim[2] = { a->kv_chunk, kir_type_of(f, a->q)->dim[2] };

	for (unsigned i = 0; i < a->nkey; i++)
		a->stored[a->nstored++] = a->key[i];
	a->nkey = 1;
	a->key[0].dim = dim[1];
	a->key[0].wide =
	    kir_emit(f, KIR_OP_local, kir_buffer(f->module, KIR_bf16, 2, dim), NULL, 0, NULL);
	kir_ref wide = attn_ordered(a, a->kv_chunk, a->dim_v, 0);

	if (a->dim_v % PART == 0 && a->dim_v / PART <= PARTS)
		cut_values(a);
	for (unsigned i = 0; i < a->nvalue; i++)
		a->value[i].wide = wide;
	if (orders_queries(a))
		a->queries = attn_ordered(a, a->q_block * a->rows, dim[1], 1);
}

/* The row of key j. */
static void widen_row(const attn *a, const item *it, kir_ref j, kir_ref last)
{
	kir_func *f = a->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64), i1 = kir_scalar(f->module, KIR_i1);
	kir_ref here = e2(f, KIR_OP_min, s64, j, iadd(a, last, s64c(f, -1)));
	kir_ref idx[2] = { it->seq, e2(f, KIR_OP_fdiv, s64, here, s64c(f, a->page)) };
	kir_ref token = e2(f, KIR_OP_mod, s64, here, s64c(f, a->page));
	kir_ref upto = e3(f, KIR_OP_select, s64, e2(f, KIR_OP_lt, i1, j, last),
	                  iadd(a, token, s64c(f, 1)), s64c(f, 0));
	kir_ref page = as_elem(f, load1(f, a->table, 2, idx), KIR_s64);
	kir_ref row = e2(f, KIR_OP_sub, s64, j, a->chunk);

	for (unsigned i = 0; i < a->nstored; i++) {
		const part *p = &a->stored[i];
		kir_elem e = (kir_elem)kir_type_of(f, p->codes)->elem;
		kir_ref src[6] = { p->codes, page, it->head, token, s64c(f, p->column), upto };
		kir_ref x =
		    kir_emit(f, KIR_OP_load, kir_tile(f->module, e, 1, p->dim), src, 6, NULL);

		kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
		         (kir_ref[]){ as_elem(f, x, KIR_bf16), a->key[0].wide, row,
		                      s64c(f, p->from) },
		         4, NULL);
	}
}

void attn_latent_widen(const attn *a, const item *it, kir_ref first, kir_ref end, kir_ref last)
{
	kir_func *f = a->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	kir_ref block = kir_for(f, first, end, STEP, false, NULL, 0), j = block + 1, x;
	kir_ref loop = kir_for(f, s64c(f, 0), s64c(f, STEP), 1, false, NULL, 0);

	widen_row(a, it, e2(f, KIR_OP_add, s64, j, loop + 1), last);
	kir_for_end(f, loop, NULL, 0);
	kir_ref row = e2(f, KIR_OP_sub, s64, j, a->chunk);

	x = e3(f, KIR_OP_load, kir_tile(f->module, KIR_bf16, STEP, a->dim_v), a->key[0].wide,
	       row, s64c(f, 0));
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
	         (kir_ref[]){ x, a->value[0].wide, row, s64c(f, 0) }, 4, NULL);
	kir_for_end(f, block, NULL, 0);
}
