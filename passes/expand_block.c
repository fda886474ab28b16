/* SPDX-License-Identifier: Apache-2.0 */
/* expand_block.c -- several tiles of queries over one chunk of keys.
 *
 * With knob q_block=n an iteration of attention's loop takes n items that follow each other in
 * the list, which are tiles of queries of one sequence and head where the list has as many:
 *
 *     for %w = 0 to %nwork par { if %w % n == 0 {
 *       for %i = %w to %w + n { m, l, acc of %i = -inf, 0, 0 }
 *       for %c = least first key to greatest end step kv_chunk
 *         for %i = %w to %w + n {              ; the chunk stays in L2 meanwhile
 *           if %i is the first of its sequence and head: wide = keys of %c, as bf16
 *           m, l, acc of %i = the loop over tiles, of its keys that are in the chunk }
 *       for %i = %w to %w + n { out = acc / l } } }
 *
 * Items may be any: each keeps its own ends. Keys are read from far once for n tiles of
 * queries; it costs the sums of n tiles of memory, and reading and writing them once a chunk.
 *
 * Knob widen has codes of 8-bit floats widened once a chunk, not once a tile of queries; with
 * knobs qk=bf16 and pv=bf16 also integers and codes of 4 bits, and, where bf16 holds the
 * product, codes times the scales of their groups (e2m1 with scales of 8 bits), which makes one
 * product of what else is one a group. Into a local in the order that products want, groups of
 * 16 columns of pairs,
 *
 *     K [t/16 d/2 t%16 d%2]   V [d/16 t/2 d%16 t%2]
 *
 * where a tile of 16 columns and 32 elements is 1 KiB that lies together. What is widened are
 * the keys that any item of the same sequence and head reads, so that nothing outside of them
 * is touched; the values past the end are 0 there.
 */
#include "expand_attn.h"

enum {
	STEP = 32 /* keys that are widened at a time, or half of them */
};

/* The states of the items of a block, side by side in locals. */
typedef struct block {
	kir_ref m, l, acc[PARTS];
	kir_ref begin, end; /* items of the list */
} block;

static kir_ref block_local(const attn *a, kir_elem e, unsigned rank, int64_t dim)
{
	int64_t dims[2] = { a->q_block * a->rows, dim };

	return kir_emit(a->f, KIR_OP_local, kir_buffer(a->f->module, e, rank, dims), NULL, 0,
	                NULL);
}

/* Where item i's first row is. */
static kir_ref block_row(const attn *a, const block *b, kir_ref i)
{
	kir_type_id s64 = kir_scalar(a->f->module, KIR_s64);

	return imul(a, e2(a->f, KIR_OP_sub, s64, i, b->begin), a->rows);
}

static softmax_state block_load(const attn *a, const block *b, kir_ref i)
{
	kir_func *f = a->f;
	kir_ref row = block_row(a, b, i), zero = s64c(f, 0);
	softmax_state s = { .n = a->nvalue };

	s.m = e2(f, KIR_OP_load, attn_vec(a, KIR_f32), b->m, row);
	s.l = e2(f, KIR_OP_load, attn_vec(a, KIR_f32), b->l, row);
	for (unsigned k = 0; k < s.n; k++)
		s.acc[k] =
		    e3(f, KIR_OP_load, kir_tile(f->module, KIR_f32, a->rows, a->value[k].dim),
		       b->acc[k], row, zero);
	return s;
}

static void block_store(const attn *a, const block *b, kir_ref i, softmax_state s)
{
	kir_func *f = a->f;
	kir_ref row = block_row(a, b, i), zero = s64c(f, 0);

	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ s.m, b->m, row }, 3, NULL);
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ s.l, b->l, row }, 3, NULL);
	for (unsigned k = 0; k < s.n; k++)
		kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
		         (kir_ref[]){ s.acc[k], b->acc[k], row, zero }, 4, NULL);
}

/* The KV head of item i, of which there may be several tiles of query heads. */
static kir_ref head_of(const attn *a, kir_ref work, kir_ref i)
{
	kir_type_id s64 = kir_scalar(a->f->module, KIR_s64);
	kir_ref head = attn_field(a, work, i, W_HEAD);

	return a->tiles > 1 ? e2(a->f, KIR_OP_fdiv, s64, head, s64c(a->f, a->tiles)) : head;
}

/* Whether item i is of the same sequence and head as one whose fields are seq and head. */
static kir_ref same_keys(const attn *a, kir_ref work, kir_ref i, kir_ref seq, kir_ref head)
{
	kir_type_id i1 = kir_scalar(a->f->module, KIR_i1);

	return e2(a->f, KIR_OP_and, i1,
	          e2(a->f, KIR_OP_eq, i1, attn_field(a, work, i, W_SEQ), seq),
	          e2(a->f, KIR_OP_eq, i1, head_of(a, work, i), head));
}

/* The least first key and the greatest end of the block's items; only of those that read the
 * keys of item `of`, unless that is 0. */
static void block_reach(const attn *a, const block *b, kir_ref work, kir_ref of, kir_ref out[2])
{
	kir_func *f = a->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	kir_ref at = of ? of : b->begin, seq = 0, head = 0;
	kir_ref ends[2] = { attn_field(a, work, at, W_FIRST), attn_field(a, work, at, W_END) };

	if (of) {
		seq = attn_field(a, work, of, W_SEQ);
		head = head_of(a, work, of);
	}
	kir_ref loop = kir_for(f, b->begin, b->end, 1, false, ends, 2);
	kir_ref i = loop + 1, mine = of ? same_keys(a, work, i, seq, head) : 0;

	for (int k = 0; k < 2; k++) {
		ends[k] = e2(f, k ? KIR_OP_max : KIR_OP_min, s64, loop + 2 + (kir_ref)k,
		             attn_field(a, work, i, k ? W_END : W_FIRST));
		if (of)
			ends[k] =
			    e3(f, KIR_OP_select, s64, mine, ends[k], loop + 2 + (kir_ref)k);
	}
	loop = kir_for_end(f, loop, ends, 2);
	out[0] = loop;
	out[1] = loop + 1;
}

/* Rows q of 16-bit floats with the sign of c: one bit of each. */
static kir_ref with_sign(kir_func *f, kir_ref q, kir_ref c)
{
	kir_type_id t = f->node[q].type, s32 = kir_scalar(f->module, KIR_s32);
	kir_type_id wt = kir_with_elem(f->module, t, KIR_s16);
	kir_ref bit = e1(f, KIR_OP_bitcast, s32, c);

	bit = e2(f, KIR_OP_and, s32, bit, kir_const_i(f, KIR_s32, INT32_MIN));
	bit = e2(f, KIR_OP_shr, s32, bit, kir_const_i(f, KIR_s32, 16));
	q = e2(f, KIR_OP_xor, wt, e1(f, KIR_OP_bitcast, wt, q), as_elem(f, bit, KIR_s16));
	return e1(f, KIR_OP_bitcast, t, q);
}

/* The queries of item i, with the sign of what scales their scores, into the local that
 * products read them from, once a block. */
static void order_queries(const attn *a, const block *b, kir_ref work, kir_ref i)
{
	kir_func *f = a->f;
	item it = attn_item(a, work, i);
	kir_type t = *kir_type_of(f, a->q);
	int64_t dim = kir_type_of(f, a->q)->dim[2];
	kir_ref src[5] = { a->q, it.row, it.head0, s64c(f, 0), iadd(a, it.row, it.count) }, q;

	attn_rows(a, &it);
	t = (kir_type){ .elem = t.elem, .rank = 3, .dim = { a->q_tile, a->group, dim } };
	q = kir_emit(f, KIR_OP_load, kir_type_intern(f->module, &t), src, 5, NULL);
	q = e1(f, KIR_OP_reshape, kir_tile(f->module, (kir_elem)t.elem, a->rows, dim), q);
	q = with_sign(f, q, it.scale);
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
	         (kir_ref[]){ q, a->queries, block_row(a, b, i), s64c(f, 0) }, 4, NULL);
}

/* Whether tiles load queries from a local that has them, with their sign, for all chunks: else
 * each chunk copies them twice. */
static bool keeps_queries(const attn *a)
{
	const kir_type *q = kir_type_of(a->f, a->q);

	return kpass_has_tiles(a->f) && q->elem == KIR_bf16 && a->nkey == 1 &&
	       a->key[0].dim == q->dim[2] && !a->mean && !a->rotated[0];
}

static block block_begin(const attn *a, kir_ref work, kir_ref w, kir_ref nwork)
{
	kir_func *f = a->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	block b = { .m = block_local(a, KIR_f32, 1, 0),
		    .l = block_local(a, KIR_f32, 1, 0),
		    .begin = w };

	for (unsigned k = 0; k < a->nvalue; k++)
		b.acc[k] = block_local(a, KIR_f32, 2, a->value[k].dim);
	b.end = e2(f, KIR_OP_min, s64, iadd(a, w, s64c(f, a->q_block)), nwork);
	kir_ref loop = kir_for(f, w, b.end, 1, false, NULL, 0);

	block_store(a, &b, loop + 1, attn_begin(a));
	if (a->queries)
		order_queries(a, &b, work, loop + 1);
	kir_for_end(f, loop, NULL, 0);
	return b;
}

/* -- widened chunks ------------------------------------------------------------------------ */

/* Bits that hold the digits of any value of e. */
static unsigned digits(kir_elem e)
{
	return kir_elems[e].man + (unsigned)kir_is_float(e);
}

/* Whether a part's codes, with scales of groups times those, are bf16 as they are, and products
 * take them so: 8-bit floats always, all else where knob qk or pv, which is `arithmetic`, says.
 */
static bool is_wide(const attn *a, const part *p, int arithmetic)
{
	kir_elem e = (kir_elem)kir_type_of(a->f, p->codes)->elem;
	bool grouped = attn_grouped(a, p);
	unsigned n = digits(e);

	if (p->packed)
		n = kir_is_float(p->packed->elem) ? digits(p->packed->elem) : 4;
	if (p->group >= 0 || p->tokens || e == KIR_e8m0 || kir_elems[e].bits != 8)
		return false;
	if (grouped)
		n += digits((kir_elem)kir_type_of(a->f, p->scales)->elem);
	if (arithmetic != KIR_ARITH_bf16)
		return kir_is_float(e) && !p->packed && !grouped;
	return n <= digits(KIR_bf16) && !(grouped && p->zero);
}

kir_ref attn_ordered(const attn *a, int64_t rows, int64_t cols, uint8_t inner)
{
	uint8_t outer = 1 - inner;
	int64_t dim[2] = { rows, cols };
	kir_type t = { .elem = KIR_bf16, .rank = 2, .buffer = true, .npieces = 4 };

	t.dim[0] = dim[0];
	t.dim[1] = dim[1];
	t.piece[0] = (kir_piece){ .axis = outer, .div = 16, .stride = dim[inner] / 2 * 64 };
	t.piece[1] = (kir_piece){ .axis = inner, .div = 2, .stride = 64 };
	t.piece[2] = (kir_piece){ .axis = outer, .div = 1, .mod = 16, .stride = 4 };
	t.piece[3] = (kir_piece){ .axis = inner, .div = 1, .mod = 2, .stride = 2 };
	return kir_emit(a->f, KIR_OP_local, kir_type_intern(a->f->module, &t), NULL, 0, NULL);
}

static void widen_part(const attn *a, const part *p, const kir_ref at[5], kir_ref upto,
                       int64_t keys)
{
	attn step = *a;
	part stored = *p;
	kir_ref x;

	step.kv_tile = keys;
	stored.wide = 0;
	x = attn_grouped(a, p) ? attn_tile(&step, &stored, at, upto, upto != 0)
	                       : attn_codes(&step, &stored, at, upto, upto != 0);
	kir_emit(a->f, KIR_OP_store, KIR_NO_TYPE,
	         (kir_ref[]){ as_elem(a->f, x, KIR_bf16), p->wide, at[4], at[3] }, 4, NULL);
}

/* Keys of the chunk that items like number i read, unless those of the item before are the
 * same. */
static void widen_chunk(const attn *a, const block *b, kir_ref work, kir_ref i)
{
	kir_func *f = a->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64), i1 = kir_scalar(f->module, KIR_i1);
	kir_ref before = e2(f, KIR_OP_max, s64, iadd(a, i, s64c(f, -1)), b->begin);
	item it = attn_item(a, work, i);
	kir_ref had = e2(f, KIR_OP_and, i1, e2(f, KIR_OP_gt, i1, i, b->begin),
	                 same_keys(a, work, before, it.seq, it.head));
	kir_ref cond = kir_if(f, had), reach[2], at[5];
	int64_t step = a->kv_tile % STEP ? STEP / 2 : STEP; /* tiles are multiples of 16 */

	kir_else(f, NULL, 0);
	block_reach(a, b, work, i, reach);
	kir_ref first = e2(f, KIR_OP_max, s64, reach[0], a->chunk);
	kir_ref end = iadd(a, a->chunk, s64c(f, a->kv_chunk));

	first = imul(a, e2(f, KIR_OP_fdiv, s64, first, s64c(f, a->kv_tile)), a->kv_tile);
	/* tiles are read whole: behind the last key, keys as they lie and values of 0 */
	kir_ref last = iadd(a, reach[1], s64c(f, a->kv_tile - 1));

	last = imul(a, e2(f, KIR_OP_fdiv, s64, last, s64c(f, a->kv_tile)), a->kv_tile);
	end = e2(f, KIR_OP_min, s64, end, last);
	if (a->shared) {
		attn_latent_widen(a, &it, first, end, reach[1]);
	} else {
		kir_ref lj = kir_for(f, first, end, step, false, NULL, 0), j = lj + 1;

		attn_place(a, &it, j, at);
		kir_ref upto = iadd(a, at[2], e2(f, KIR_OP_sub, s64, reach[1], j));

		if (a->key[0].wide)
			widen_part(a, &a->key[0], at, 0, step);
		if (a->value[0].wide)
			widen_part(a, &a->value[0], at, upto, step);
		kir_for_end(f, lj, NULL, 0);
	}
	kir_if_end(f, cond, NULL, 0);
}

/* -- the block ----------------------------------------------------------------------------- */

/* Item i's keys in the chunk from `chunk` on; nothing is read or written if there are none. */
static bool chunk_of_item(const attn *a, const block *b, kir_ref work, kir_ref i, kir_ref chunk,
                          kir_diag *why)
{
	kir_func *f = a->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64), i1 = kir_scalar(f->module, KIR_i1);
	item it = attn_item(a, work, i);
	kir_ref first = e2(f, KIR_OP_max, s64, it.first, chunk);
	kir_ref end = e2(f, KIR_OP_min, s64, it.end, iadd(a, chunk, s64c(f, a->kv_chunk)));
	kir_ref cond = kir_if(f, e2(f, KIR_OP_lt, i1, first, end));
	softmax_state s = block_load(a, b, i);

	it.place = a->queries ? block_row(a, b, i) : 0;
	attn_rows(a, &it);
	if (!attn_keys(a, &it, first, end, &s, why))
		return false;
	block_store(a, b, i, s);
	kir_else(f, NULL, 0);
	kir_if_end(f, cond, NULL, 0);
	return true;
}

bool attn_block(const attn *shared, kir_ref work, kir_ref w, kir_ref nwork, kir_diag *why)
{
	attn mine = *shared, *a = &mine;
	kir_func *f = a->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64), i1 = kir_scalar(f->module, KIR_i1);
	kir_ref place = e2(f, KIR_OP_mod, s64, w, s64c(f, a->q_block)), reach[2];
	kir_ref cond = kir_if(f, e2(f, KIR_OP_eq, i1, place, s64c(f, 0)));
	bool wide = a->widen_key || a->widen_value || a->shared;

	if (a->shared)
		attn_latent_begin(a);
	else if (keeps_queries(a))
		a->queries = block_local(a, KIR_bf16, 2, a->key[0].dim);
	block b = block_begin(a, work, w, nwork);

	block_reach(a, &b, work, 0, reach);
	if (a->widen_key)
		a->key[0].wide = attn_ordered(a, a->kv_chunk, a->key[0].dim, 1);
	if (a->widen_value)
		a->value[0].wide = attn_ordered(a, a->kv_chunk, a->value[0].dim, 0);
	kir_ref first =
	    imul(a, e2(f, KIR_OP_fdiv, s64, reach[0], s64c(f, a->kv_chunk)), a->kv_chunk);
	kir_ref lc = kir_for(f, first, reach[1], a->kv_chunk, false, NULL, 0);
	kir_ref li = kir_for(f, w, b.end, 1, false, NULL, 0);

	if (wide) {
		a->chunk = lc + 1;
		widen_chunk(a, &b, work, li + 1);
	}
	if (!chunk_of_item(a, &b, work, li + 1, lc + 1, why))
		return false;
	kir_for_end(f, li, NULL, 0);
	kir_for_end(f, lc, NULL, 0);
	li = kir_for(f, w, b.end, 1, false, NULL, 0);
	item it = attn_item(a, work, li + 1);
	attn_rows(a, &it);
	attn_finish(a, &it, block_load(a, &b, li + 1));
	kir_for_end(f, li, NULL, 0);
	kir_else(f, NULL, 0);
	kir_if_end(f, cond, NULL, 0);
	return true;
}

/* What codes are widened: by auto where products take tiles of bf16, which is where widening
 * weighs most beside them. */
static bool set_widened(attn *a, kir_diag *why)
{
	const kir_sched *s = &a->f->sched;
	bool plain = a->nkey == 1 && a->nvalue == 1 && !is_value(a, 0) && a->kv_tile % 16 == 0;
	bool tiles = a->f->target->features & KIR_HAS_amx_bf16 && s->tiles != KIR_tiles_off;

	if (a->q_block < 2 || s->widen == KIR_widen_off || (!s->widen && !tiles) || a->shared)
		return true;
	a->widen_key = plain && is_wide(a, &a->key[0], s->qk) && a->key[0].dim % 2 == 0;
	a->widen_value = plain && is_wide(a, &a->value[0], s->pv) && a->value[0].dim % 16 == 0;
	if (!s->widen || a->widen_key || a->widen_value)
		return true;
	kir_error(
	    why, 0, 0,
	    "knob widen=on: it is for keys and values apart, of 8-bit floats with at most "
	    "one scale a token, or with qk=bf16, pv=bf16 whatever bf16 holds as it is, and "
	    "kv_tile a multiple of 16");
	return false;
}

/* What is kept of a chunk for the tiles of queries: widened, or the keys as they lie. */
static kpass_order kept(const attn *a)
{
	const kir_type *codes = kir_type_of(a->f, a->key[0].codes), *cache;
	kpass_order o = { .wide = a->widen_key || a->widen_value || a->shared,
		          .heads = codes->dim[1] };

	o.bytes =
	    (a->widen_key ? a->key[0].dim * 2 : 0) + (a->widen_value ? a->value[0].dim * 2 : 0);
	if (a->shared)
		o.bytes = 2 * (kir_type_of(a->f, a->q)->dim[2] + a->dim_v);
	for (unsigned i = 0; !o.wide && i < a->nkey + a->nvalue; i++) {
		const part *p = i < a->nkey ? &a->key[i] : &a->value[i - a->nkey];

		if (i < a->nkey || !is_value(a, i - a->nkey))
			o.bytes += p->dim / (p->packed ? 2 : 1) *
			           kir_elem_bytes((kir_elem)kir_type_of(a->f, p->codes)->elem);
	}
	o.block = o.bytes * a->page;
	cache = kir_type_of(a->f, kir_root(a->f, a->key[0].codes));
	if (cache->rank == 3 &&
	    cache->dim[2] > 0) /* a page's blocks with all that is in them */
		o.block = cache->dim[2] * kir_elem_bytes((kir_elem)cache->elem);
	return o;
}

bool attn_set_blocks(attn *a, kir_diag *why)
{
	const kir_sched *s = &a->f->sched;
	kpass_order o;

	a->kv_chunk = s->kv_chunk;
	if (a->q_block > 1 && (a->gather.index || a->f->target->lanes)) {
		kir_error(why, 0, 0, "knob q_block=%d: %s, so 0 or 1", (int)a->q_block,
		          a->gather.index ? "each query has an index list of its own"
		                          : "a GPU keeps one tile's sums in registers");
		return false;
	}
	if (a->kv_chunk % a->kv_tile) {
		kir_error(why, 0, 0, "knob kv_chunk=%d must be a multiple of kv_tile=%d",
		          (int)a->kv_chunk, (int)a->kv_tile);
		return false;
	}
	if (!set_widened(a, why))
		return false;
	o = kept(a);
	if (!a->kv_chunk)
		a->kv_chunk = kpass_default_kv_chunk(a->f->target, &o, a->kv_tile);
	if (a->q_block > 1) {
		kir_chose(a->f, KIR_KNOB_kv_chunk, a->kv_chunk);
		kir_chose(a->f, KIR_KNOB_widen, o.wide ? KIR_widen_on : KIR_widen_off);
	}
	return true;
}
