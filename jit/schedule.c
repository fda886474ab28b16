/* SPDX-License-Identifier: Apache-2.0 */
/* schedule.c -- knob values for those who give none, and sizes read from a function.
 *
 * The defaults come from static sizes, the problem's hints and the target, so that a text
 * gives the same kernel on every machine that runs its target.
 */
#include "jit.h"

#include "../passes/passes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

kir_ref kvjit_find_op(const kir_func *f, kir_op op)
{
	for (kir_ref n = 1; n < f->nnode; n++)
		if (f->node[n].op == op)
			return n;
	return 0;
}

/* The first view or parameter of rank 4 with any number of pages: [pages, heads, tokens,
 * dim].*/
static const kir_type *pages_of(const kir_func *f)
{
	for (kir_ref n = 1; n < f->nnode; n++) {
		const kir_type *t = kir_type_of(f, n);

		if (t->buffer && t->rank == 4 && t->dim[0] == KIR_DYN &&
		    (f->node[n].op == KIR_OP_view || f->node[n].op == KIR_OP_param))
			return t;
	}
	return NULL;
}

static const kir_type *param_type(const kir_func *f, const char *name)
{
	for (unsigned i = 0; i < f->nparam; i++)
		if (!strcmp(f->param[i].name, name))
			return kir_type_at(f->module, f->param[i].type);
	return NULL;
}

kir_ref kvjit_find_attention(const kir_func *f, int cache)
{
	for (kir_ref n = 1; n < f->nnode; n++)
		if (f->node[n].op == KIR_OP_attention && !cache--)
			return n;
	return 0;
}

/* What is the second cache's own, from its attention or from a kernel's parameters. */
static void second_shape(const kir_func *f, kvjit_shape *out)
{
	kir_ref a = kvjit_find_attention(f, 1);
	const kir_type *pages = a ? kir_type_of(f, kir_operand(f, a, "k")) : NULL;
	const kir_type *index = param_type(f, "index2");

	out->ncache = param_type(f, "work2") ? 2 : 1;
	out->page[1] = pages && pages->rank == 4 ? pages->dim[2] : 0;
	out->sparse[1] = out->ncache == 2 && index && index->rank == 2 ? index->dim[1] : 0;
}

/* Rows of a product that there are registers for, one element of a key or value being
 * multiplied with all of them: fewer take about as long. */
static int64_t grain_of(const kir_func *f)
{
	enum { VECTOR_ROWS = 4, XMX_ROWS = 8 };

	return kpass_has_tiles(f)                  ? KIR_AMX_ROWS
	       : f->target->features & KIR_HAS_xmx ? XMX_ROWS
	                                           : VECTOR_ROWS;
}

bool kvjit_shape_of(const kir_func *f, kvjit_shape *out)
{
	kir_ref a = kvjit_find_op(f, KIR_OP_attention);
	const kir_type *pages, *rows, *index;

	pages = a ? kir_type_of(f, kir_operand(f, a, "k")) : pages_of(f);
	rows = a ? kir_type_of(f, kir_operand(f, a, "out")) : param_type(f, "out");
	if (!pages || pages->rank != 4 || !rows || rows->rank != 3)
		return false;
	out->heads = rows->dim[1];
	out->dim_v = rows->dim[2];
	out->kv_heads = pages->dim[1];
	out->head_tiles = 1;
	if (out->kv_heads > 0 && out->heads % out->kv_heads == 0) {
		int64_t group = out->heads / out->kv_heads;

		out->head_tiles = group / kpass_head_tile(f->target, group, out->dim_v);
		out->kv_heads *= out->head_tiles;
	}
	index = a ? kir_type_of(f, kir_operand(f, a, "index")) : param_type(f, "index");
	out->sparse[0] = index && index->rank == 2 ? index->dim[1] : 0;
	out->page[0] = pages->dim[2];
	second_shape(f, out);
	out->q_tile = f->sched.q_tile > 0 ? f->sched.q_tile : 1;
	out->grain = grain_of(f);
	out->split = param_type(f, "part") ? f->sched.split : 0;
	out->sight = kvjit_sight_of(f, out->sparse[0] || out->ncache > 1 ? 0 : a);
	return out->heads > 0 && out->kv_heads > 0 && out->page[0] > 0 &&
	       (out->ncache == 1 || out->page[1] > 0) && out->dim_v > 0 &&
	       out->heads % out->kv_heads == 0;
}

/* An operand of the cache that op n reads or, as `prefix` says, a transcode's source. */
static const kir_type *cache_type(const kir_func *f, kir_ref n, const char *prefix,
                                  const char *stream)
{
	char name[16];

	snprintf(name, sizeof(name), "%s%s", prefix, stream);
	return kir_type_of(f, kir_operand(f, n, name));
}

bool kvjit_layout_of(const kir_func *f, int cache, kir_layout *out)
{
	kir_ref n = kvjit_find_attention(f, cache), t = kvjit_find_op(f, KIR_OP_transcode);
	const char *prefix = !n && t && cache ? KVJIT_FROM : "";
	const kir_format *fmt;
	const kir_type *k;
	kir_shape s;
	kir_diag d = { 0 };
	int64_t format;

	if (!n && !cache)
		n = kvjit_find_op(f, KIR_OP_cache_write);
	if (!n)
		n = t;
	if (!n)
		return false;
	format = kir_attr_of(f, n, *prefix ? KIR_ATTR_from : KIR_ATTR_format);
	k = cache_type(f, n, prefix, "k");
	if (format < 0 || format >= (int64_t)f->module->nformat || k->rank != 4)
		return false;
	fmt = f->module->format[format];
	s = (kir_shape){ k->dim[1], k->dim[3] * kir_side_per(&fmt->side[0]), 0, k->dim[2] };
	s.dim_v = s.dim_k;
	s.dim_k += fmt->rest;
	if (!fmt->shared)
		s.dim_v = cache_type(f, n, prefix, "v")->dim[3] * kir_side_per(&fmt->side[1]);
	return kir_format_layout(fmt, &s, out, &d);
}

/* -- defaults -------------------------------------------------------------------- */

enum { ROWS = 64, TILE_ROWS = 32, GROUP_ROWS = 8, SPLIT = 2048, BUSY = 64 };

static bool is_given(const bool *given, const char *name)
{
	for (unsigned i = 0; i < kir_nknobs; i++)
		if (!strcmp(kir_knobs[i].name, name))
			return given[i];
	return false;
}

/* Whether tiles load the values as they lie: four tokens of an element side by side. */
static bool values_in_tiles(const kir_func *f, kir_ref n)
{
	const kir_type *v = kir_type_of(f, kir_operand(f, n, "v"));

	for (unsigned i = 0; i < v->npieces; i++)
		if (v->piece[i].axis == 2 && v->piece[i].stride == 1)
			return true;
	return false;
}

/* Whether vectors of integers may be faster than tiles: not where these have a product a key
 * and value, and nothing goes through memory around it. */
static bool meets_integers(const kir_func *f, kir_ref n)
{
	int64_t format = kir_attr_of(f, n, KIR_ATTR_format);

	if (!kpass_one_digit(f, n))
		return false;
	for (int i = 0; i < 2; i++) {
		const kir_side *s = &f->module->format[format]->side[i];

		if (s->bits == 8 && s->gran != KIR_GRAN_group && values_in_tiles(f, n))
			return false;
	}
	return true;
}

/* A product of tiles takes as long with 4 of its 16 rows as with all; what goes through memory
 * around it (codes of 4 bits as bytes, each group's sums, rows of weights) does not pay for
 * itself with fewer than 16. Vectors of integers are faster up to 8 (docs/experiments.md), but
 * not over whole bytes in place amx, which tiles load as they lie, with two digits for free. */
static void default_tiles(kir_func *f, const kir_problem *p, const kvjit_shape *s)
{
	int64_t rows = s->heads / s->kv_heads;
	bool integers = f->target->features & KIR_HAS_amx_tile && !f->sched.tiles &&
	                !(p && is_given(p->has_knob, "tiles"));

	rows *= f->sched.q_tile ? f->sched.q_tile : p && p->qlen ? p->qlen : 1;
	for (int i = 0; i < s->ncache; i++)
		integers = integers && meets_integers(f, kvjit_find_attention(f, i));
	if (integers && rows <= KIR_AMX_ROWS / 2)
		f->sched.tiles = KIR_tiles_off;
}

/* Whether vectors of integers multiply codes that groups share scales of: a product for each
 * group, so what stands around products is much of the whole. One block of rows decodes codes
 * where it multiplies them, and keeps sums in registers: on Zen 4 tiles of 8 rows and 128 keys
 * take 0.77 to 0.93 of the time that 16 to 64 rows and 64 keys take, in a prefill and with two
 * queries, for groups of 1, 4 and 8 heads (docs/experiments.md). */
static bool has_group_products(const kir_func *f, kir_ref n)
{
	int64_t format = kir_attr_of(f, n, KIR_ATTR_format);

	if (kpass_has_tiles(f) || !kpass_one_digit(f, n))
		return false;
	for (int i = 0; i < 2; i++)
		if (f->module->format[format]->side[i].gran == KIR_GRAN_group)
			return true;
	return false;
}

/* Queries handled together share the reading of the cache, but a tile's rows live in
 * registers and first-level cache. With tile registers two tiles of rows: queries, scores,
 * weights and sums of 32 rows of 128 elements are 36 KiB, those of 64 leave L1. */
static int default_q_tile(const kir_func *f, kir_ref n, const kvjit_shape *s, int64_t qlen)
{
	int64_t dim_k = kir_type_of(f, kir_operand(f, n, "q"))->dim[2];
	int64_t rows = kpass_has_tiles(f) ? TILE_ROWS : ROWS, t = qlen < 16 ? qlen : 16, most;

	if (has_group_products(f, n))
		rows = GROUP_ROWS;
	if (f->target->lanes)
		rows = kpass_gpu_rows(f->target, dim_k, s->dim_v);
	most = rows / (s->heads / s->kv_heads);
	if (t > most)
		t = most;
	return t < 1 ? 1 : (int)t;
}

/* Long sequences are cut when there may be too few of them to keep every core busy. A
 * prefill has query tiles enough; the few queries of speculative decoding are one. */
static int default_split(const kir_func *f, const kir_problem *p, const kvjit_shape *s)
{
	int64_t q_tile = f->sched.q_tile > 0 ? f->sched.q_tile : 1;
	int64_t pages = (SPLIT + s->page[0] - 1) / s->page[0];
	int64_t qlen = p->qlen > 1 ? p->qlen : 1, rows = qlen * (s->heads / s->kv_heads);
	int64_t lists = p->batch * s->kv_heads * ((qlen + q_tile - 1) / q_tile);

	if ((qlen > q_tile && rows > (kpass_has_tiles(f) ? TILE_ROWS : ROWS)) || lists >= BUSY)
		return 0;
	return (int)(pages * s->page[0]);
}

/* Tokens that the pages of all caches, or what shares scales in them, are multiples of. */
static int64_t common_run(const kir_func *f, const kvjit_shape *s)
{
	int64_t a = kir_key_run(f, kvjit_find_attention(f, 0));
	int64_t b = s->ncache > 1 ? kir_key_run(f, kvjit_find_attention(f, 1)) : 0;

	while (b) {
		int64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* An indexer's logits decide what is chosen, so nothing is rounded to 8 bits unless somebody
 * asks for it: codes that auto would multiply as integers are multiplied in f32. */
static void default_index(kir_func *f)
{
	kir_ref n = kvjit_find_op(f, KIR_OP_index_topk);
	int64_t format = n ? kir_attr_of(f, n, KIR_ATTR_format) : -1;
	const kir_side *s;

	if (format < 0 || format >= (int64_t)f->module->nformat || f->sched.qk)
		return;
	s = &f->module->format[format]->side[0];
	if (s->bits == 4 || kir_is_int(s->elem))
		f->sched.qk = KIR_ARITH_f32;
}

/* What the codes of a product's factor are, and whether they lie two a byte. */
static kir_elem codes_of(const kir_func *f, kir_ref n, const char *name, kir_attr format,
                         bool *two)
{
	const kir_side *s = kir_packed_side(f, n, format);

	*two = s != NULL;
	return s ? s->elem : (kir_elem)kir_type_of(f, kir_operand(f, n, name))->elem;
}

/* A product is the sum of what its codes say: rows of anything but integers aren't rounded to 8
 * bits to meet weights that are integers, or that a power of two makes integers. They meet in
 * bf16 where that takes both as they are and is no slower, else in f32. */
static void default_gemm(kir_func *f)
{
	const uint64_t features = f->target->features;
	kir_ref n = kvjit_find_op(f, KIR_OP_gemm);
	kir_elem a, w;
	bool two, wtwo, engine, bf16;

	if (!n || f->sched.qk)
		return;
	a = codes_of(f, n, "a", KIR_ATTR_acts, &two);
	w = codes_of(f, n, "w", KIR_ATTR_weights, &wtwo);
	if (a == KIR_s8 || (w != KIR_s8 && !wtwo))
		return;
	engine = (features & KIR_HAS_xmx) != 0;
	if (engine && w != KIR_s8)
		return; /* they take it in f16 */
	bf16 = engine || (features & KIR_HAS_amx_bf16 && kpass_has_tiles(f)) ||
	       (features & KIR_HAS_bf16 && !(features & KIR_HAS_fp16));
	f->sched.qk = bf16 && a != KIR_f16 && a != KIR_f32 ? KIR_ARITH_bf16 : KIR_ARITH_f32;
}

/* Where hints say how many rows there are: many share what is widened, one takes more columns
 * at a time. */
static void default_chunks(kir_func *f, const kir_problem *p)
{
	kir_ref n = kvjit_find_op(f, KIR_OP_gemm);
	int64_t batch = p && p->batch ? p->batch : 1, qlen = p && p->qlen ? p->qlen : 1;

	if (n && p && !f->sched.n_tile && !is_given(p->has_knob, "n_tile"))
		f->sched.n_tile = (int)kpass_default_n_tile(f, n, batch * qlen);
	if (n && p && !f->sched.m_chunk && !is_given(p->has_knob, "m_chunk"))
		f->sched.m_chunk = (int)kpass_default_m_chunk(f, n, batch * qlen);
}

static void default_rescale(kir_func *f, const kvjit_shape *s)
{
	int64_t sums = s->heads / s->kv_heads * s->dim_v * 4;

	if (!f->sched.rescale &&
	    kir_auto_rescale(f->target, f->sched.q_tile, sums) == KIR_rescale_lazy)
		f->sched.rescale = KIR_rescale_lazy;
}

/* Beside products in tile registers, which take as long for a byte as for two, widening codes
 * for each tile of queries takes longer than the products: several share what is widened. And
 * keys that L2 doesn't hold are read for many rows at a time. Both where hints say how many
 * queries there are. */
enum { LATENT_BLOCK = 4 }; /* tiles of 32 rows, whose sums take 256 KiB */

/* Rows of a latent cache serve keys and values of many heads: a block of items, which are tiles
 * of heads and then of queries, shares them where products take tile registers. */
static int latent_q_block(const kir_func *f, const kir_problem *p, const kvjit_shape *s)
{
	int64_t qlen = p->qlen > 1 ? p->qlen : 1, q_tile = f->sched.q_tile;
	int64_t items = (qlen + q_tile - 1) / q_tile * s->head_tiles;

	if (f->sched.widen == KIR_widen_off || items < 2)
		return 0;
	return (int)(items < LATENT_BLOCK ? items : LATENT_BLOCK);
}

static int default_q_block(kir_func *f, kir_ref attention, const kir_problem *p,
                           const kvjit_shape *s)
{
	const kir_type *k = kir_type_of(f, kir_operand(f, attention, "k")), *cache;
	kir_ref value = kir_operand(f, attention, "v");
	int64_t q_tile = f->sched.q_tile, heads = s->kv_heads;
	kir_elem e = (kir_elem)k->elem;
	bool bytes = !is_given(p->has_knob, "pv") && common_run(f, s) % 16 == 0 &&
	             kpass_values_in_bf16(f, attention);
	int block;

	if (kpass_has_tiles(f) && s->ncache == 1 && kpass_shares_rows(f, attention))
		return latent_q_block(f, p, s);
	if (!kpass_has_tiles(f) || !value || p->sparse || p->qlen / q_tile < 2)
		return 0;
	kpass_order o = { .ctx = p->ctx,
		          .tiles = (p->qlen + q_tile - 1) / q_tile,
		          .lists = heads * (p->batch ? p->batch : 1),
		          .rows = q_tile * (s->heads / heads),
		          .heads = k->dim[1],
		          .dim_k = kir_type_of(f, kir_operand(f, attention, "q"))->dim[2],
		          .dim_v = s->dim_v,
		          .wide = f->sched.widen != KIR_widen_off &&
		                  (bytes || (kir_is_float(e) && kir_elems[e].bits == 8)) };

	o.bytes = k->dim[3] * kir_elem_bytes(e);
	k = kir_type_of(f, value);
	o.bytes += k->dim[3] * kir_elem_bytes((kir_elem)k->elem);
	o.block = o.bytes * s->page[0];
	cache = param_type(f, "cache");
	if (cache && cache->rank == 3 && cache->dim[2] > 0)
		o.block = cache->dim[2] * kir_elem_bytes((kir_elem)cache->elem);
	block = (int)kpass_default_q_block(f->target, &o);
	if (bytes && block > 1)
		f->sched.pv = KIR_pv_bf16;
	return block;
}

/* Whether listed rows are brought in tiles of KPASS_STRIPS_TILE: pieces of a list begin where a
 * tile does, and a second cache's tiles are parts of its pages. A short list that isn't a whole
 * number of them would have a tile of little. */
static bool takes_long_tiles(const kir_func *f, kir_ref attention, const kir_problem *p,
                             const kvjit_shape *s)
{
	enum { TILE = KPASS_STRIPS_TILE };
	int64_t rows = kpass_head_tile(f->target, s->heads / s->kv_heads, s->dim_v);
	int split = f->sched.split;

	if (!split && p && !is_given(p->has_knob, "split") && param_type(f, "part"))
		split = default_split(f, p, s);
	return kpass_takes_strips(f, attention, rows) && split % TILE == 0 &&
	       (s->sparse[0] % TILE == 0 || s->sparse[0] >= 8 * TILE) &&
	       (s->ncache == 1 || common_run(f, s) % TILE == 0);
}

static int default_kv_tile(const kir_func *f, kir_ref attention, const kvjit_shape *s)
{
	int64_t dim_k = kir_type_of(f, kir_operand(f, attention, "q"))->dim[2];
	bool few = f->sched.q_tile * (s->heads / s->kv_heads) <= GROUP_ROWS &&
	           has_group_products(f, attention);

	return (int)kpass_default_kv_tile(f, common_run(f, s), dim_k,
	                                  kir_operand(f, attention, "v") ? s->dim_v : 0,
	                                  few ? 1 : f->sched.q_tile);
}

/* Fewer items share what is brought of a cache; one alone reads tiles of a page. */
static void smaller_block(kir_func *f, const bool *given)
{
	kir_ref n = kvjit_find_op(f, KIR_OP_attention);
	kvjit_shape s;

	f->sched.q_block /= 2;
	if (f->sched.q_block < 2 && !is_given(given, "pv"))
		f->sched.pv = KIR_pv_auto;
	if (n && f->sched.q_block < 2 && !is_given(given, "kv_tile") &&
	    kpass_shares_rows(f, n) && kvjit_shape_of(f, &s))
		f->sched.kv_tile = default_kv_tile(f, n, &s);
}

void kvjit_default_schedule(kir_func *f, const kir_problem *p)
{
	kir_ref n = kvjit_find_op(f, KIR_OP_attention);
	kvjit_shape s;

	if (f->level == KIR_A) {
		default_index(f);
		default_gemm(f);
		default_chunks(f, p);
	}

	if (f->level != KIR_A || !n || !kvjit_shape_of(f, &s))
		return;
	default_tiles(f, p, &s);
	if (!f->sched.q_tile)
		f->sched.q_tile = s.sparse[0] ? 1 : default_q_tile(f, n, &s, p ? p->qlen : 1);
	if (!f->sched.q_block && p && !is_given(p->has_knob, "q_block"))
		f->sched.q_block = default_q_block(f, n, p, &s);
	if (!f->sched.kv_tile && f->sched.q_block > 1 && kpass_has_tiles(f) &&
	    f->sched.widen != KIR_widen_off && kpass_shares_rows(f, n))
		f->sched.kv_tile = KPASS_SHARED_TILE;
	if (!f->sched.kv_tile && takes_long_tiles(f, n, p, &s))
		f->sched.kv_tile = KPASS_STRIPS_TILE;
	if (!f->sched.kv_tile)
		f->sched.kv_tile = default_kv_tile(f, n, &s);
	if (!f->sched.split && p && !is_given(p->has_knob, "split") && param_type(f, "part"))
		f->sched.split = default_split(f, p, &s);
	default_rescale(f, &s);
	/* with tile registers lines are touched of a cache that is read once: by one tile of
	 * queries, though it may have several */
	if (p && !is_given(p->has_knob, "prefetch") && !f->sched.prefetch &&
	    f->target->features & KIR_HAS_amx_tile && p->qlen > 1 && p->qlen <= f->sched.q_tile)
		f->sched.prefetch = kir_auto_prefetch(f->target, 1);
}

bool kvjit_smaller_tile(kir_func *f, const bool *given)
{
	if (f->level != KIR_A)
		return false;
	/* tiles of 128 keys are for products in tile registers; fewer rows cost more */
	if (f->sched.q_tile > 1 && f->sched.kv_tile == 128 && !is_given(given, "kv_tile")) {
		f->sched.kv_tile /= 2;
		return true;
	}
	if (f->sched.q_block > 1 && !is_given(given, "q_block")) {
		smaller_block(f, given);
		return true;
	}
	if (f->sched.q_tile > 1 && !is_given(given, "q_tile")) {
		f->sched.q_tile /= 2;
		return true;
	}
	/* where scores are turned each group's queries stay in product order through the loop
	 */
	if (f->sched.kv_tile <= 16 && !f->sched.turn && !f->target->lanes) {
		f->sched.turn = KIR_turn_off;
		return true;
	}
	if (f->sched.kv_tile < 16 || f->sched.kv_tile % 16 || is_given(given, "kv_tile"))
		return false;
	f->sched.kv_tile /= 2;
	return true;
}
