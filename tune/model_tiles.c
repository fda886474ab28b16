/* SPDX-License-Identifier: Apache-2.0 */
/* model_tiles.c -- see model_tiles.h.
 *
 * A tile of queries meets a tile of keys in products of 16 cycles each, two of them for a tile
 * loaded; scores and sums go through memory once a tile of keys; weights are vectors, beside
 * nothing, or beside the products with the values of the tile before (pipeline=values). What
 * one tile of queries needs again and again (queries, sums, scores, weights) is in L1 or comes
 * from L2 each time, with what streams past it; keys and values come from L2, or once for all
 * tiles of queries of a chunk from beyond.
 */
#include "model_tiles.h"

#include <math.h>

/* 16 cycles a product of whatever rows; a tile of it from L2 costs 0.38 of the 20 cycles that
 * its bytes take: measured 19.6 cycles a product where a tile serves two, 24.5 where one. */
static const double product = 16, tile = 1024, l2_bytes = 50, l3_bytes = 8.3, dram_bytes = 4.7;
static const double seen_l2 = 0.38;
/* Four sums stored behind their 16 products, which take 1/0.83 of their time so; loaded and
 * stored: 1/0.74; and of more sums than L1 holds: 1/0.64. */
static const double stored4 = 52, loaded4 = 90, far4 = 144;
/* A weight: scaling, maximum, exponential, sum: some 58 instructions for 32 of them in kvjit's
 * code, three a cycle. Turned beside the products of the next tile (knob pipeline), as it was
 * measured on Emerald Rapids: whole calls take 1.2 to 1.3 times as long. */
static const double weight = 0.6, turned = 1.5;
/* One vector instruction of 16 weights more, at one a cycle. By count of instructions integer
 * scores take two (a conversion, the query's scale), each scale of tokens one, and weights in
 * a digit seven: maxima, rounding, bytes, an exponential to the full, sums that are converted.
 */
static const double vector = 1 / 16.0, score_int = 2, weight_int = 7;
/* What the longer of products and weights doesn't hide of the shorter, where passes/stagger.c
 * has them side by side: by hand products took 22 cycles alone, weights 20, both 30.5. */
static const double beside = 0.42;
/* Codes widened: vectors of 64 in some 12 cycles in a row, 24 beside one tile's products. */
static const double code = 0.06, code_again = 0.12;
/* Lines touched ahead in prefill: 40 cycles a product for 33. */
static const double touched = 1.2;

typedef struct shape {
	double rows, mb, nb; /* of queries; tiles of a block of sums */
	double keys;         /* of a tile */
	double block, chunk; /* tiles of queries, keys */
} shape;

static shape shape_of(const kt_tiles_of *t, const kir_sched *s)
{
	shape x = { .keys = s->kv_tile > 0 ? s->kv_tile : 128 };
	double bytes = 0, tiles;
	bool wide = false;

	x.rows = (s->q_tile > 0 ? s->q_tile : 1) * t->group;
	tiles = ceil(x.rows / KIR_AMX_ROWS);
	x.mb = tiles < 2 || (s->rows && s->rows <= KIR_AMX_ROWS) ? 1 : 2;
	x.nb = s->cols == 1 ? 1 : 2;
	x.block = s->q_block > 1 ? s->q_block : 1;
	for (int i = 0; i < 2; i++) {
		wide |= t->widened[i] && s->widen != KIR_widen_off;
		bytes += t->dim[i] * t->stored[i];
	}
	if (wide)
		bytes = (t->dim[0] + t->dim[1]) * 2;
	x.chunk =
	    s->kv_chunk > 0 ? s->kv_chunk : t->target->l2_bytes / (wide ? 8.0 : 4.0) / bytes;
	if (x.block < 2 || x.chunk > t->ctx)
		x.chunk = t->ctx;
	return x;
}

/* Cycles of the products of one tile of queries and one of keys, right factors from L2. */
static double products(const kt_tiles_of *t, const shape *x)
{
	double tiles = ceil(x->rows / KIR_AMX_ROWS), sum = 0;

	for (int i = 0; i < 2; i++) {
		double n = tiles * x->keys / 16 * t->dim[i] * t->size[i] / 64 * t->digits[i];
		double right = tile / x->mb / l2_bytes, left = 8 / x->nb + 8 / x->mb;

		sum += n * ((left > product ? left : product) + seen_l2 * right);
	}
	return sum;
}

/* Bytes that a tile of queries comes back to. */
static double resident(const kt_tiles_of *t, const shape *x)
{
	return x->rows * (t->dim[0] * 2 + t->dim[1] * 4 + x->keys * (4 + 2));
}

/* Cycles of scores stored, and sums loaded and stored, of one tile of queries and keys. */
static double sums(const kt_tiles_of *t, const shape *x)
{
	double tiles = ceil(x->rows / KIR_AMX_ROWS);
	bool far = x->rows * t->dim[1] * 4 > t->target->l1_bytes;

	return tiles / 4 * (x->keys / 16 * stored4 + t->dim[1] / 16 * (far ? far4 : loaded4));
}

/* Whether passes/stagger.c takes the loop over tiles of keys: weights and values in bf16, as
 * they lie or widened once a chunk, scores in bf16 or one digit. */
static bool staggered(const kt_tiles_of *t, const kir_sched *s, const shape *x)
{
	bool shared = x->block > 1 && s->widen != KIR_widen_off;

	if ((s->pipeline && s->pipeline != KIR_pipeline_values) ||
	    (s->rescale && s->rescale != KIR_rescale_lazy) || t->size[1] < 2 ||
	    t->digits[0] > 1 || t->qlen < 2)
		return false;
	return (shared || !(t->widened[0] || t->widened[1])) && x->keys > 32 &&
	       fmod(x->keys, 32) == 0;
}

double kt_tiles_cycles(const kt_tiles_of *t, const kir_sched *s, kt_tiles_parts *p)
{
	shape x = shape_of(t, s);
	double lists = t->lists, tiles = ceil(t->qlen / (x.rows / t->group)) * lists;
	double keys =
	    t->ctx - t->qlen / 2; /* that a query sees, of those it may see causally */
	double met = tiles * keys / x.keys, stays = resident(t, &x), bytes = 0, chunk = 0;
	double l2 = t->target->l2_bytes, l1 = t->target->l1_bytes, far, compute;
	bool fits, wide = false;

	*p = (kt_tiles_parts){ 0 };
	p->product = met * products(t, &x) * (s->prefetch > KIR_prefetch_off ? touched : 1);
	p->sums = met * (sums(t, &x) + 200); /* and a loop's own work */
	p->softmax = met * x.rows * x.keys *
	             (weight + vector * (t->scales + (t->size[0] < 2 ? score_int : 0) +
	                                 (t->size[1] < 2 ? weight_int : 0)));
	if (s->pipeline == KIR_pipeline_on)
		p->softmax *= turned;
	else if (staggered(t, s, &x)) /* products keep their own, weights what is longer */
		p->softmax = fmax(p->softmax - (1 - beside) * p->product, beside * p->softmax);
	for (int i = 0; i < 2; i++) {
		bool shared = x.block > 1 && s->widen != KIR_widen_off;
		double codes = met * x.keys * t->dim[i];

		wide |= t->widened[i] && shared;
		if (t->widened[i])
			p->decode += shared ? codes * code / x.block : codes * code_again;
		bytes += t->dim[i] * t->stored[i];
		chunk += t->dim[i] * (t->widened[i] && shared ? 2 : t->stored[i]);
	}
	/* what L1 doesn't hold of it, or loses to what streams through, comes back from L2 */
	if (s->stream == KIR_stream_off)
		p->near += met * 1.5 * fmin(stays, l1) / l2_bytes;
	if (stays > l1)
		p->near += met * 1.5 * fmin(stays, 2 * (stays - l1)) / l2_bytes;
	/* state of a tile of queries, read and written once a chunk, to and from where it grows
	 */
	if (x.block > 1)
		p->near += met * x.keys / x.chunk * x.rows *
		           (t->dim[1] * 4 * 4 + t->dim[0] * 2 * 2) / l2_bytes;
	/* keys and values beyond L2: once for the tiles of queries of a chunk, if it stays */
	chunk *= x.chunk;
	/* what is widened lies in one piece */
	fits = chunk + x.block * x.rows * t->dim[1] * 4 <= 0.75 * l2 &&
	       (wide || chunk <= 0.6 * t->room);
	far = tiles * keys * bytes / (fits ? x.block : 1);
	if (x.block < 2 && t->ctx * bytes <= 0.6 * t->room)
		far = lists * t->ctx * bytes;
	p->far = far / l3_bytes;
	if (t->cold)
		p->far += lists * t->ctx * bytes * (1 / dram_bytes - 1 / l3_bytes);
	compute = p->product + p->sums + p->softmax + p->decode + p->near;
	return fmax(compute, p->far) + seen_l2 * fmin(compute, p->far);
}

/* Shares of the streaming rate measured: 8-bit floats with t1 and t2 0.79, t0 0.68, nta 0.45
 * (none: memory_time in model.c). Codes and bf16 that are loaded as they lie: 0.80 to 0.94 with
 * t1, without 0.50 in hours when the processor's own prefetcher falls behind, in others as
 * with. */
double kt_tiles_ahead(const kir_sched *s, bool straight)
{
	static const double of[] = { 1, [KIR_hint_t0] = 0.79 / 0.68, [KIR_hint_t1] = 1,
		                     [KIR_hint_t2] = 1, [KIR_hint_nta] = 0.79 / 0.45 };

	if (s->prefetch == KIR_prefetch_off)
		return straight ? 1.3 : 1;
	return straight ? 1 : of[s->hint >= 0 && s->hint <= KIR_hint_nta ? s->hint : 0];
}
