/* SPDX-License-Identifier: Apache-2.0 */
/* expand_gather.c -- rows that an index list names, brought side by side.
 *
 *     %s = local : e4m3fn[1,1,32,512] ...                ; one for each stream
 *     for %n = 0 to 32 {                                 ; entries of a tile
 *       %x = load %index[%row,%j + %n]
 *       store (load %k[page,head,token,0] upto (listed ? token + 1 : 0)), %s[0,0,%n,0] }
 *     for %n = 0 to 16 { prefetch the rows of entry %n of the next tile }
 *     scores
 *     for %n = 16 to 32 { ... }
 *     sums of values
 *
 * An entry is page * page tokens + token. One that is negative, or not below the cache's slots,
 * or at the list's end or past it, is no row: nothing is touched and zeros stand in its place,
 * so that a NaN in some unused slot is never multiplied with a weight of 0.
 *
 * From the locals on, tiles are read as if they were a page of their own, in any arithmetic.
 * The copy costs a load and a store for 64 bytes, beside at least one product for each of
 * them and query head, and lets the next tile's rows come meanwhile. Codes of 8-bit floats
 * become bf16 on the way, which holds them all, where products are taken in it: they are
 * widened once for scores and values, and a row passes through registers once.
 *
 * With tile registers rows come a few columns at a time, where expand_strips.c takes them.
 *
 * The next tile's rows are touched in shares, one before each product. A processor has some
 * tens of lines under way and waits with the next touch until one has come: touched all at
 * once, beside the copy, rows take as long as memory takes for them, and nothing is computed
 * meanwhile. On GPUs, whose other sub-groups run on, they are touched beside the copy. With
 * tile registers, too: a load of a tile takes 16 lines from L1 or L2 and waits for each behind
 * those that are on their way from memory.
 */
#include "expand.h"

#include "passes.h"

enum {
	LINE = 64,
	FAR = 64 /* rows that are touched ahead, at least, with tile registers */
};

/* Element of stream i's local. */
static kir_elem gathered_elem(const kir_func *f, const row_gather *g, unsigned i)
{
	kir_elem e = (kir_elem)kir_type_of(f, g->from[i])->elem;
	bool code = g->codes[i] && kir_is_float(e) && kir_elems[e].bits == 8 && e != KIR_e8m0;

	return code && kpass_fast_bf16(f) ? KIR_bf16 : e;
}

static void begin(kir_func *f, row_gather *g, unsigned i)
{
	const kir_type *t = kir_type_of(f, g->from[i]);
	int64_t dim[4] = { 1, 1, g->keys, t->dim[3] };

	g->to[i] = kir_emit(f, KIR_OP_local,
	                    kir_buffer(f->module, gathered_elem(f, g, i), t->rank, dim), NULL,
	                    0, NULL);
}

void expand_gather_begin(kir_func *f, row_gather *g)
{
	for (unsigned i = 0; i < g->n; i++)
		begin(f, g, i);
}

kir_ref expand_gathered(const row_gather *g, kir_ref from)
{
	for (unsigned i = 0; from && i < g->n; i++)
		if (g->from[i] == from)
			return g->to[i];
	return 0;
}

/* Entry e of list `row`, which must exist. */
static kir_ref entry(kir_func *f, const row_gather *g, kir_ref row, kir_ref e)
{
	kir_ref idx[2] = { row, e };

	return load1(f, g->index, 2, idx);
}

/* Whether x, s32 or s32<N>, is a slot of the cache. */
static kir_ref is_slot(kir_func *f, const row_gather *g, kir_ref x)
{
	kir_type_id t = i1_like(f, f->node[x].type);
	kir_ref limit = as_elem(f, g->limit, KIR_s32); /* saturates */

	return e2(f, KIR_OP_and, t, e2(f, KIR_OP_ge, t, x, kir_const_i(f, KIR_s32, 0)),
	          e2(f, KIR_OP_lt, t, x, limit));
}

/* Page, head and token of slot x. */
static void place_of(kir_func *f, const row_gather *g, kir_ref x, kir_ref head, kir_ref at[4])
{
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);

	x = as_elem(f, x, KIR_s64);
	at[0] = e2(f, KIR_OP_fdiv, s64, x, s64c(f, g->page));
	at[1] = head;
	at[2] = e2(f, KIR_OP_mod, s64, x, s64c(f, g->page));
	at[3] = s64c(f, 0);
}

/* One stream's row at `at` into its local's row n. */
static void copy_row(kir_func *f, const row_gather *g, unsigned i, const kir_ref at[4],
                     kir_ref upto, kir_ref n)
{
	const kir_type *t = kir_type_of(f, g->from[i]);
	bool wide = t->rank == 4;
	kir_elem e = (kir_elem)t->elem;
	kir_type_id row =
	    wide ? kir_tile(f->module, e, 1, t->dim[3]) : kir_vector(f->module, e, 1);
	kir_ref zero = s64c(f, 0), src[6] = { g->from[i], at[0], at[1], at[2], at[3], upto };

	src[t->rank + 1u] = upto;
	kir_ref x = kir_emit(f, KIR_OP_load, row, src, t->rank + 2u, NULL);

	x = as_elem(f, x, (kir_elem)kir_type_of(f, g->to[i])->elem);
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ x, g->to[i], zero, zero, n, zero },
	         wide ? 6 : 5, NULL);
}

static void touch(kir_func *f, kir_ref from, const kir_ref at[4], int64_t d)
{
	kir_ref src[5] = { from, at[0], at[1], at[2], s64c(f, d) };

	kir_emit(f, KIR_OP_prefetch, KIR_NO_TYPE, src, kir_type_of(f, from)->rank + 1u,
	         (int64_t[KIR_MAX_ATTRS]){ fetch_level(f) });
}

/* Touches the lines of elements [begin, end) of a stream's row, which may begin anywhere in
 * one. The last one's end is that of the row: parts before it have it in the next one's. */
static void touch_part(kir_func *f, kir_ref from, const kir_ref at[4], int64_t begin,
                       int64_t end)
{
	const kir_type *t = kir_type_of(f, from);
	int64_t dim = t->rank == 4 ? t->dim[3] : 1, last = begin,
	        step = LINE / kir_elem_bytes((kir_elem)t->elem);

	for (int64_t d = begin; d < end; d += step)
		touch(f, from, at, last = d);
	if (end == dim && last < dim - 1)
		touch(f, from, at, dim - 1);
}

static void touch_row(kir_func *f, const row_gather *g, unsigned i, const kir_ref at[4])
{
	const kir_type *t = kir_type_of(f, g->from[i]);

	touch_part(f, g->from[i], at, 0, t->rank == 4 ? t->dim[3] : 1);
}

/* Touches the row that stands `tiles` tiles behind entry e, or the list's last. */
static void touch_ahead(kir_func *f, const row_gather *g, kir_ref row, kir_ref head, kir_ref e,
                        kir_ref last, int64_t tiles)
{
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	kir_ref next = e2(f, KIR_OP_add, s64, e, s64c(f, tiles * g->keys)), at[4];

	next = entry(f, g, row, e2(f, KIR_OP_min, s64, next, last));
	place_of(f, g, next, head, at);
	for (unsigned i = 0; i < g->n; i++)
		touch_row(f, g, i, at);
}

/* Knob prefetch, whose words count tiles; both is two and again one ahead. With vectors that is
 * the default: the second touch finds what was dropped, and takes 0.94 to 0.98 of the time on
 * Zen 4 from DRAM (1.02 from the caches), but 1.015 where other items bring the same rows. */
static int asked(const kir_func *f, const row_gather *g)
{
	bool twice = !f->target->lanes && !g->again && !kpass_has_tiles(f);
	bool far = kpass_has_tiles(f) && !(g->slots && g->keys >= FAR);
	int by_default = far ? KIR_prefetch_two : twice ? KIR_prefetch_both : KIR_prefetch_one;

	return f->sched.prefetch ? f->sched.prefetch : by_default;
}

static void touch_next(kir_func *f, const row_gather *g, kir_ref row, kir_ref head, kir_ref e,
                       kir_ref last)
{
	bool both = asked(f, g) == KIR_prefetch_both;

	touch_ahead(f, g, row, head, e, last, both ? 2 : asked(f, g) - 1);
	if (both)
		touch_ahead(f, g, row, head, e, last, 1);
}

/* Whether rows are touched between products, not beside the copy of others. */
static bool spreads(const kir_func *f)
{
	return !f->target->lanes && !kpass_has_tiles(f);
}

void expand_gather_touch(kir_func *f, const row_gather *g, kir_ref row, kir_ref head, kir_ref j,
                         kir_ref end, int64_t from, int64_t to)
{
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);

	if (f->sched.prefetch == KIR_prefetch_off || from == to || !spreads(f))
		return;
	kir_ref last = e2(f, KIR_OP_add, s64, end, s64c(f, -1));
	kir_ref loop = kir_for(f, s64c(f, from), s64c(f, to), 1, false, NULL, 0);

	touch_next(f, g, row, head, e2(f, KIR_OP_add, s64, j, loop + 1), last);
	kir_for_end(f, loop, NULL, 0);
}

kir_ref expand_gather(kir_func *f, const row_gather *g, kir_ref row, kir_ref head, kir_ref j,
                      kir_ref end)
{
	kir_module *m = f->module;
	kir_type_id s64 = kir_scalar(m, KIR_s64), i1 = kir_scalar(m, KIR_i1);
	kir_ref zero = s64c(f, 0), at[4];
	kir_ref last = e2(f, KIR_OP_add, s64, end, s64c(f, -1));
	kir_ref loop = kir_for(f, zero, s64c(f, g->keys), 1, false, NULL, 0), n = loop + 1;
	kir_ref e = e2(f, KIR_OP_add, s64, j, n);

	kir_chose(f, KIR_KNOB_prefetch, asked(f, g));
	if (f->sched.prefetch != KIR_prefetch_off && !spreads(f))
		touch_next(f, g, row, head, e, last);
	kir_ref x = entry(f, g, row, e2(f, KIR_OP_min, s64, e, last));
	kir_ref ok = e2(f, KIR_OP_and, i1, is_slot(f, g, x), e2(f, KIR_OP_lt, i1, e, end));

	place_of(f, g, x, head, at);
	kir_ref upto =
	    e3(f, KIR_OP_select, s64, ok, e2(f, KIR_OP_add, s64, at[2], s64c(f, 1)), zero);

	for (unsigned i = 0; i < g->n; i++)
		copy_row(f, g, i, at, upto, n);
	kir_for_end(f, loop, NULL, 0);
	kir_ref list = kir_emit(f, KIR_OP_load, kir_vector(m, KIR_s32, g->keys),
	                        (kir_ref[]){ g->index, row, j, end }, 4, NULL);

	return is_slot(f, g, list);
}

/* -- a few columns at a time ----------------------------------------------------------------
 */

static kir_ref slots_local(kir_func *f, const row_gather *g)
{
	return kir_emit(f, KIR_OP_local, kir_buffer(f->module, KIR_s32, 1, &g->keys), NULL, 0,
	                NULL);
}

/* A stream of scales, those of one part of all rows side by side: products take a column. */
static void begin_scales(kir_func *f, row_gather *g, unsigned i)
{
	const kir_type *from = kir_type_of(f, g->from[i]);
	int64_t size = kir_elem_bytes((kir_elem)from->elem);
	kir_type t = { .elem = from->elem, .rank = from->rank, .buffer = true, .npieces = 1 };

	t.dim[0] = t.dim[1] = 1;
	t.dim[2] = g->keys;
	t.piece[0] = (kir_piece){ .axis = 2, .div = 1, .stride = size };
	if (t.rank == 4) {
		t.dim[3] = from->dim[3];
		t.piece[t.npieces++] =
		    (kir_piece){ .axis = 3, .div = 1, .stride = size * g->keys };
	}
	g->to[i] = kir_emit(f, KIR_OP_local, kir_type_intern(f->module, &t), NULL, 0, NULL);
}

void expand_slots_begin(kir_func *f, row_gather *g)
{
	for (unsigned i = 0; i < g->n; i++)
		if (!g->codes[i])
			begin_scales(f, g, i);
	g->slots = slots_local(f, g);
	kir_chose(f, KIR_KNOB_prefetch, asked(f, g));
	if (f->sched.prefetch == KIR_prefetch_off)
		return;
	g->ahead[0] = slots_local(f, g);
	g->ahead[1] = asked(f, g) == KIR_prefetch_both ? slots_local(f, g) : 0;
}

kir_ref expand_slots(kir_func *f, const row_gather *g, kir_ref row, kir_ref j, kir_ref end)
{
	kir_module *m = f->module;
	kir_type_id t = kir_vector(m, KIR_s32, g->keys), s64 = kir_scalar(m, KIR_s64);
	kir_ref zero = s64c(f, 0);
	int64_t tiles = asked(f, g) == KIR_prefetch_both ? 2 : asked(f, g) - 1;

	for (unsigned i = 0; i < 2 && g->ahead[i]; i++) {
		kir_ref at = e2(f, KIR_OP_add, s64, j, s64c(f, (i ? 1 : tiles) * g->keys));
		kir_ref x =
		    kir_emit(f, KIR_OP_load, t, (kir_ref[]){ g->index, row, at, end }, 4, NULL);

		kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ x, g->ahead[i], zero }, 3,
		         NULL);
	}
	kir_ref x = kir_emit(f, KIR_OP_load, t, (kir_ref[]){ g->index, row, j, end }, 4, NULL);
	kir_ref e = e2(f, KIR_OP_add, t, e0x(f, KIR_OP_iota, t, 0), as_elem(f, j, KIR_s32));
	kir_ref listed = is_slot(f, g, x);
	kir_ref live = e2(f, KIR_OP_lt, i1_like(f, t), e, as_elem(f, end, KIR_s32));

	live = e2(f, KIR_OP_and, i1_like(f, t), live, listed);
	x = e3(f, KIR_OP_select, t, live, x, kir_const_i(f, KIR_s32, -1));
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ x, g->slots, zero }, 3, NULL);
	return listed;
}

kir_ref expand_slot(kir_func *f, const row_gather *g, kir_ref head, kir_ref n, kir_ref at[4])
{
	kir_type_id s64 = kir_scalar(f->module, KIR_s64), i1 = kir_scalar(f->module, KIR_i1);
	kir_ref x = load1(f, g->slots, 1, &n);
	kir_ref ok = e2(f, KIR_OP_ge, i1, x, kir_const_i(f, KIR_s32, 0));

	place_of(f, g, x, head, at);
	return e3(f, KIR_OP_select, s64, ok, s64c(f, g->page), s64c(f, 0));
}

void expand_slot_scales(kir_func *f, const row_gather *g, const kir_ref at[4], kir_ref upto,
                        kir_ref n)
{
	for (unsigned i = 0; i < g->n; i++)
		if (!g->codes[i])
			copy_row(f, g, i, at, upto, n);
}

void expand_slot_touch(kir_func *f, const row_gather *g, kir_ref from, kir_ref head, kir_ref n,
                       int64_t begin, int64_t end, bool scales)
{
	kir_ref at[4];

	for (unsigned k = 0; k < 2 && g->ahead[k]; k++) {
		place_of(f, g, load1(f, g->ahead[k], 1, &n), head, at);
		touch_part(f, from, at, begin, end);
		for (unsigned i = 0; scales && i < g->n; i++)
			if (!g->codes[i])
				touch_row(f, g, i, at);
	}
}
