/* SPDX-License-Identifier: Apache-2.0 */
/* vec_wide.c -- a tile of the cache, widened and copied into a local in product order.
 *
 *     %x = load %k[..] : e4m3fn<32x64>                  for %c = 0 to 32 step 16
 *     %y = convert %x : bf16<32x64>                       for %d = 0 to 64 step 4 {
 *     store %y, %wide[%r,0]                      =>         vload %k[..,%c,%d] : e4m3fn<64>
 *     %wide : bf16[.. | 0/16:., 1/2:64, 0%16:4, 1%2:2]      widened, words apart: 2 vectors
 *                                                           vstore to %wide[%r + %c,%d + 0, 2]
 * }
 *
 * Requires a source that is in the order of words or pairs (vec_layout.c), a destination whose
 * pieces are groups of 16 columns, 4 bytes of the contraction each, and that nothing else reads
 * the tile. Other tiles go through locals of their own, as any store. Costs one load and as
 * many stores as there are words, and no shuffles that widening doesn't need.
 *
 * Rows at and past the load's `upto` become 0: a tile that has such takes a second copy of the
 * loops, which compares.
 */
#include "vectorize.h"

enum { COLS = 16 }; /* of a group */

/* Whether the buffer of n's store is in product order, and whether its rows are columns. */
static bool in_order(const vec *v, kir_ref n, bool *trans)
{
	kir_ref buf = kir_src(v->in, n, 1);
	const kir_type *t = kir_type_of(v->in, buf);
	vec_layout l;

	if (v->in->node[buf].op != KIR_OP_local || t->rank != 2)
		return false;
	for (unsigned deep = 0; deep < 2; deep++)
		if (vec_layout_of(t, deep, 1 - deep, &l) && !l.pairs && l.group == COLS &&
		    l.unit * kir_elem_bytes((kir_elem)t->elem) == 4 && l.step == COLS * 4) {
			*trans = deep == 1;
			return true;
		}
	return false;
}

/* The stored tile as a product's right factor. */
static bool factor_of(const vec *v, kir_ref n, vec_factor *b, vec_layout *l)
{
	const kir_func *in = v->in;
	kir_ref s = kir_src(in, n, 0), buf, upto;
	const kir_type *t = kir_type_of(in, s);
	unsigned first, count;

	*b = (vec_factor){ 0 };
	kir_access(in, n, &buf, &first, &count, &upto);
	if (t->rank != 2 || upto || !in_order(v, n, &b->trans))
		return false;
	b->cols = t->dim[b->trans ? 0 : 1];
	b->depth = t->dim[b->trans ? 1 : 0];
	b->elem = (kir_elem)t->elem;
	b->unit = 4 / kir_elem_bytes(b->elem);
	for (unsigned i = 0; i < count; i++)
		if (vec_starts(in, kir_src(in, n, first + i)) %
		    (i == (unsigned)b->trans ? b->unit : COLS))
			return false;
	for (; in->node[s].op == KIR_OP_convert; s = kir_src(in, s, 0)) {
		if (b->nchain == VEC_CHAIN_MAX || v->nuse[s] != 1)
			return false;
		b->chain[b->nchain++] = s;
	}
	if (in->node[s].op != KIR_OP_load || v->nuse[s] != 1)
		return false;
	b->load = s;
	b->stored = (kir_elem)kir_type_of(in, s)->elem;
	return !(b->trans && vec_upto_of(v, b)) && vec_find_layout(v, b, l) &&
	       vec_side_by_side(b, l) % COLS == 0;
}

kir_ref vec_widens(const vec *v, kir_ref store)
{
	vec_factor b;
	vec_layout l;

	return factor_of(v, store, &b, &l) ? b.load : 0;
}

static kir_ref index_of(vec *v, kir_ref store, unsigned i, vec_ix more)
{
	vec_ix at = { 0, 0 };
	kir_ref buf, upto, s;
	unsigned first, count;

	kir_access(v->in, store, &buf, &first, &count, &upto);
	s = i < count ? kir_src(v->in, store, first + i) : 0;
	if (s && !kir_is_const(v->in, s, &at.k))
		at.var = as_elem(v->f, v->map[s], KIR_s64);
	return vec_ref(v, vec_add(v, at, more));
}

/* Columns [c, c + lanes), contraction from `deep`: one load, l->unit / b->unit stores. */
static void copy_vector(vec *v, kir_ref store, const vec_factor *b, const vec_layout *l,
                        vec_ix deep, vec_ix c, int64_t lanes, kir_ref live)
{
	kir_ref word[VEC_RATIO_MAX];
	kir_ref x =
	    vec_read_stored(v, b, b->trans ? c : deep, b->trans ? deep : c, lanes * l->unit, 0);

	if (live)
		x = vec_only_live(v, b, l, x,
		                  e2(v->f, KIR_OP_sub, kir_scalar(v->f->module, KIR_s64), live,
		                     vec_ref(v, deep)));
	vec_words(v, b, x, lanes, l->unit / b->unit, l->pairs, word);
	for (int64_t i = 0; i < l->unit / b->unit; i++) {
		vec_ix at = vec_add(v, deep, ix(i * b->unit));

		kir_emit(v->f, KIR_OP_vstore, KIR_NO_TYPE,
		         (kir_ref[]){ word[i], v->map[kir_src(v->in, store, 1)],
		                      index_of(v, store, 0, b->trans ? c : at),
		                      index_of(v, store, 1, b->trans ? at : c) },
		         4, NULL);
	}
}

static void copy(vec *v, kir_ref store, const vec_factor *b, const vec_layout *l, kir_ref live)
{
	int64_t lanes = vec_chunk(COLS, v->lanes), steps = vec_steps(b, l, live);
	vec_loop lc = vec_loop_begin(v, b->cols, COLS);
	vec_loop ld = vec_loop_begin(v, b->depth, steps * l->unit);

	for (int64_t s = 0; s < steps; s++)
		for (int64_t k = 0; k < COLS; k += lanes)
			copy_vector(v, store, b, l, vec_add(v, ld.i, ix(s * l->unit)),
			            vec_add(v, lc.i, ix(k)), lanes, live);
	vec_loop_end(v, &ld);
	vec_loop_end(v, &lc);
}

bool vec_store_widened(vec *v, kir_ref store)
{
	vec_factor b;
	vec_layout l;
	kir_ref live, cond;

	if (!factor_of(v, store, &b, &l) || !v->deferred[b.load])
		return false;
	live = vec_live_rows(v, &b);
	if (!live) {
		copy(v, store, &b, &l, 0);
		return true;
	}
	cond = kir_if(v->f, e2(v->f, KIR_OP_ge, kir_scalar(v->f->module, KIR_i1), live,
	                       s64c(v->f, b.depth)));
	copy(v, store, &b, &l, 0);
	kir_else(v->f, NULL, 0);
	copy(v, store, &b, &l, live);
	kir_if_end(v->f, cond, NULL, 0);
	return true;
}
