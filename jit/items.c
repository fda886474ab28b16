/* SPDX-License-Identifier: Apache-2.0 */
/* items.c -- from sequence lengths to lists of work.
 *
 * work, s32[n,8]: sequence, KV head, first query of the tile among the sequence's new ones,
 *   first key, end of keys, slot or -1, queries in the tile, absolute row of the first. Keys
 *   are those that some query of the tile may see, so far as the mask says (sight.c).
 * join, s32[n,8]: absolute row of the first query, KV head, first slot, slots, queries,
 *   sequence, 0, 0.
 *
 * A tile with more keys than knob split is cut at multiples of it, wherever its pieces may run:
 * the same batch gives the same pieces, so results don't depend on the number of threads.
 * Piece i of a cut tile leaves its partial result in slot first + i; the tile's join item
 * puts them together. Pieces are ordered by falling cost, to 1/8 of a power of two, equals
 * in the order of sequences.
 */
#include "items.h"

#include <string.h>

/* -- counting -------------------------------------------------------------------- */

/* Keys [first, end) of a tile of queries, and into how many pieces they are cut. */
typedef struct range {
	int64_t first, end, pieces;
} range;

static int64_t new_tokens(const kvjit_items *of, int64_t s)
{
	return of->batch->query_starts[s + 1] - of->batch->query_starts[s];
}

/* Of nq queries of sequence s from number `from` on. */
static range range_of(const kvjit_items *of, int64_t s, int64_t from, int64_t nq)
{
	const kvjit_sight *see = &of->shape->sight;
	int64_t len = of->lens[s], split = of->shape->split;
	int64_t at = len - new_tokens(of, s) + from;
	range r = { 0, len, 1 };

	if (!len)
		return r;
	if (at > see->back)
		r.first = at - see->back;
	if (len - (at + nq) > see->ahead)
		r.end = at + nq + see->ahead;
	if (see->chunk) {
		int64_t first = at / see->chunk * see->chunk;
		int64_t end = ((at + nq - 1) / see->chunk + 1) * see->chunk;

		r.first = first > r.first ? first : r.first;
		r.end = end < r.end ? end : r.end;
	}
	if (split > 0 && r.end - r.first > split)
		r.pieces = (r.end + split - 1) / split - r.first / split;
	return r;
}

/* The queries [begin, end) of sequence s that the lists are made for. */
static void share_of(const kvjit_items *of, int64_t s, int64_t *begin, int64_t *end)
{
	int64_t nq = new_tokens(of, s), cut = nq - kvjit_share_rest(&of->share, nq);

	*begin = of->share.few ? cut : 0;
	*end = of->share.few ? nq : cut;
}

/* False if they are too many. */
static bool count_tile(const kvjit_shape *sh, int64_t pieces, int64_t tiles, kvjit_counts *c)
{
	int64_t n = tiles * sh->kv_heads, items;

	if (__builtin_mul_overflow(n, pieces, &items) || items > KVJIT_MAX_WORK - c->work)
		return false;
	c->work += items;
	c->join += pieces > 1 ? n : 0;
	c->slots += pieces > 1 ? items : 0;
	return true;
}

static bool count_sequence(const kvjit_items *of, int64_t s, kvjit_counts *c)
{
	const kvjit_shape *sh = of->shape;
	int64_t begin, end, tiles;

	share_of(of, s, &begin, &end);
	tiles = (end - begin + sh->q_tile - 1) / sh->q_tile;
	if (sh->split <= 0 || of->lens[s] <= sh->split)
		return count_tile(sh, 1, tiles, c);
	if (tiles > KVJIT_MAX_WORK) /* before they are gone through */
		return false;
	for (int64_t q = begin; q < end; q += sh->q_tile) {
		int64_t n = end - q < sh->q_tile ? end - q : sh->q_tile;

		if (!count_tile(sh, range_of(of, s, q, n).pieces, 1, c))
			return false;
	}
	return true;
}

bool kvjit_items_count(const kvjit_items *of, kvjit_counts *c, int64_t *sequence)
{
	*c = (kvjit_counts){ 0, 0, 0 };
	for (*sequence = 0; *sequence < of->batch->nseq; ++*sequence)
		if (!count_sequence(of, *sequence, c))
			return false;
	return true;
}

/* -- filling --------------------------------------------------------------------- */

typedef struct filler {
	const kvjit_items *of;
	int32_t *work, *join;
	int32_t nwork, njoin, nslots;
} filler;

static void put(int32_t *at, int32_t a, int32_t b, int32_t c, int32_t d, int32_t e, int32_t f,
                int32_t g, int32_t h)
{
	const int32_t item[KIR_ITEM] = { a, b, c, d, e, f, g, h };

	memcpy(at, item, sizeof(item));
}

/* The pieces of one tile of queries, for `heads` tiles of the query heads of one KV head from
 * `head` on. Those of a piece follow each other: they read the same keys. */
static void fill_tile(filler *f, int32_t seq, int32_t head, int32_t heads, int32_t first,
                      int32_t nq)
{
	int32_t row = f->of->batch->query_starts[seq] + first;
	range r = range_of(f->of, seq, first, nq);
	int32_t pieces = (int32_t)r.pieces;
	int64_t split = f->of->shape->split;

	for (int32_t h = 0; pieces > 1 && h < heads; h++)
		put(f->join + (int64_t)f->njoin++ * KIR_ITEM, row, head + h,
		    f->nslots + h * pieces, pieces, nq, seq, 0, 0);
	for (int32_t i = 0; i < pieces; i++) {
		int64_t end = i + 1 < pieces ? (r.first / split + 1) * split : r.end;

		for (int32_t h = 0; h < heads; h++)
			put(f->work + (int64_t)f->nwork++ * KIR_ITEM, seq, head + h, first,
			    (int32_t)r.first, (int32_t)end,
			    pieces > 1 ? f->nslots + h * pieces + i : -1, nq, row);
		r.first = end;
	}
	f->nslots += pieces > 1 ? heads * pieces : 0;
}

void kvjit_items_fill(const kvjit_items *of, int32_t *work, int32_t *join)
{
	filler f = { .of = of, .work = work, .join = join };
	int64_t tile = of->shape->q_tile, begin, end;
	int32_t heads = (int32_t)of->shape->head_tiles;

	for (int32_t s = 0; s < of->batch->nseq; s++) {
		share_of(of, s, &begin, &end);
		for (int32_t h = 0; h < of->shape->kv_heads; h += heads)
			for (int64_t q = begin; q < end; q += tile)
				fill_tile(&f, s, h, heads, (int32_t)q,
				          (int32_t)(end - q < tile ? end - q : tile));
	}
}

/* -- their order ------------------------------------------------------------------- */

enum { CLASSES = 33 * 8 };

/* The logarithm of an item's cost in eighths, falling: 0 is the dearest. */
static unsigned cost_class(const int32_t *item)
{
	uint64_t cost = ((uint64_t)(item[4] - item[3]) + 16) * (uint64_t)item[6];
	unsigned log = 0;

	if (cost >> 32)
		cost = UINT32_MAX;
	log = 63 - (unsigned)__builtin_clzll(cost | 8);
	return CLASSES - 1 - (log * 8 + (unsigned)(cost >> (log - 3) & 7));
}

void kvjit_items_sort(const int32_t *from, int32_t *to, int64_t n)
{
	uint32_t at[CLASSES] = { 0 }, sum = 0;

	for (int64_t i = 0; i < n; i++)
		at[cost_class(from + i * KIR_ITEM)]++;
	for (unsigned c = 0; c < CLASSES; c++) {
		uint32_t here = at[c];

		at[c] = sum;
		sum += here;
	}
	for (int64_t i = 0; i < n; i++) {
		uint32_t place = at[cost_class(from + i * KIR_ITEM)]++;

		memcpy(to + (int64_t)place * KIR_ITEM, from + i * KIR_ITEM,
		       KIR_ITEM * sizeof(int32_t));
	}
}
