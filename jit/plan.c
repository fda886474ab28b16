/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c -- from sequence lengths to a work list.
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
 *
 * Two caches (kv2=) have lists of their own, both with every tile of queries; positions in the
 * second follow those in the first. Their rows stand side by side in `both` and are merged.
 *
 * One allocation holds everything and is kept for the next step. A device gets a copy of the
 * lists in its own memory, which the plan waits for, and scratch there.
 */
#include "device.h"
#include "record.h"
#include "refuse.h"

#include <stdlib.h>
#include <string.h>

/* What passes/expand_region.c takes positions to be below: sums of two of them fit s32. */
enum { KVJIT_MAX_LEN = 1 << 30 };
enum { MAX_WORK = INT32_MAX / KIR_ITEM };

/* -- checking -------------------------------------------------------------------- */

/* What a batch says of one of a kernel's caches, and how its fields are called. */
typedef struct source {
	const int32_t *lens, *table;
	int64_t stride, npages, page, sparse;
	uint64_t format;
	const char *suffix;
} source;

static source source_of(const kvjit_kernel *k, const kvjit_batch *b, int cache)
{
	source s = { b->seq_lens, b->block_table,      b->table_stride,
		     b->npages,   .format = b->format, .suffix = "" };

	if (cache)
		s = (source){ b->seq_lens2, b->block_table2,      b->table_stride2,
			      b->npages2,   .format = b->format2, .suffix = "2" };
	s.page = k->shape.page[cache];
	s.sparse = k->shape.sparse[cache];
	return s;
}

static kvjit_status check_table(const kvjit_kernel *k, const source *b, int64_t s)
{
	int32_t len = b->lens[s];
	int64_t pages = (len + b->page - 1) / b->page, bad = -1;
	const int32_t *row;

	if (!b->table)
		return KVJIT_OK;
	if (pages > b->stride)
		return BAD("table_stride%s is %ld, but sequence %ld (seq_lens%s %d) uses %ld "
		           "pages of %ld tokens",
		           b->suffix, (long)b->stride, (long)s, b->suffix, len, (long)pages,
		           (long)b->page);
	row = b->table + s * b->stride;
	for (int64_t i = 0; i < pages; i++)
		if ((uint64_t)(int64_t)row[i] >= (uint64_t)b->npages)
			bad = i;
	if (bad >= 0 && b->npages <= 0)
		return BAD("npages%s is %ld, but sequence %ld has %d tokens in pages",
		           b->suffix, (long)b->npages, (long)s, len);
	if (bad >= 0)
		return BAD("block_table%s[%ld][%ld] is %d; pages are 0 to %ld", b->suffix,
		           (long)s, (long)bad, row[bad], (long)b->npages - 1);
	return KVJIT_OK;
}

static kvjit_status check_length(const kvjit_kernel *k, const source *b, int64_t s)
{
	int32_t len = b->lens[s];

	if (len < 0)
		return BAD("seq_lens%s[%ld] is %d; it must be 0 or more", b->suffix, (long)s,
		           len);
	if (len > KVJIT_MAX_LEN)
		return BAD("seq_lens%s[%ld] is %d; it must be at most %d", b->suffix, (long)s,
		           len, KVJIT_MAX_LEN);
	if (b->sparse && len > b->sparse)
		return BAD("seq_lens%s[%ld] is %d; with sparse%s=%ld it says how many entries "
		           "of its queries' index lists are used, so it must be at most %ld",
		           b->suffix, (long)s, len, b->suffix, (long)b->sparse,
		           (long)b->sparse);
	return KVJIT_OK;
}

static kvjit_status check_sequence(const kvjit_kernel *k, const kvjit_batch *b, int64_t s)
{
	int32_t begin = b->query_starts[s], end = b->query_starts[s + 1];
	bool two = k->shape.ncache > 1;
	kvjit_status st = KVJIT_OK;
	int64_t len = 0;

	for (int c = 0; c < k->shape.ncache && st == KVJIT_OK; c++) {
		source from = source_of(k, b, c);

		st = check_length(k, &from, s);
		len += from.lens[s];
	}
	if (st != KVJIT_OK)
		return st;
	if (len > KVJIT_MAX_LEN)
		return BAD("seq_lens[%ld] and seq_lens2[%ld] are %ld together; they must be at "
		           "most %d",
		           (long)s, (long)s, (long)len, KVJIT_MAX_LEN);
	if (end < begin)
		return BAD(
		    "query_starts[%ld] is %d, less than query_starts[%ld], %d; they must "
		    "rise",
		    (long)s + 1, end, (long)s, begin);
	if (k->shape.sparse[0])
		return KVJIT_OK;
	if (len && end - begin > len)
		return BAD(
		    "sequence %ld has %d queries but seq_lens%s[%ld] is %ld; the new tokens "
		    "are part of the length",
		    (long)s, end - begin, two ? " + seq_lens2" : "", (long)s, (long)len);
	for (int c = 0; c < k->shape.ncache && st == KVJIT_OK; c++) {
		source from = source_of(k, b, c);

		st = check_table(k, &from, s);
	}
	return st;
}

/* What concerns a whole cache, not one sequence. */
static kvjit_status check_source(const kvjit_kernel *k, const kvjit_batch *b, int cache)
{
	source s = source_of(k, b, cache);
	uint64_t want = k->format[cache];

	if (s.format && want && s.format != want)
		return BAD("%s's format has the hash %016llx; the kernel reads %s, %016llx: "
		           "the bytes don't mean the same",
		           cache ? "the second cache" : "the cache",
		           (unsigned long long)s.format, k->format_name[cache],
		           (unsigned long long)want);
	if (!s.lens && b->nseq)
		return BAD("seq_lens%s is NULL; it must hold %ld lengths", s.suffix,
		           (long)b->nseq);
	if ((uintptr_t)s.lens % sizeof(int32_t) || (uintptr_t)s.table % sizeof(int32_t))
		return BAD("seq_lens%s is %p and block_table%s %p; both must be aligned to 4 "
		           "bytes",
		           s.suffix, (const void *)s.lens, s.suffix, (const void *)s.table);
	if (s.table && (s.npages < 0 || s.stride < 0))
		return BAD("npages%s is %ld and table_stride%s %ld; both must be 0 or more",
		           s.suffix, (long)s.npages, s.suffix, (long)s.stride);
	return KVJIT_OK;
}

/* A field that says something of a second cache, NULL if none does. */
static const char *second_cache(const kvjit_batch *b)
{
	return b->seq_lens2       ? "seq_lens2"
	       : b->block_table2  ? "block_table2"
	       : b->table_stride2 ? "table_stride2"
	       : b->npages2       ? "npages2"
	       : b->format2       ? "format2"
	                          : NULL;
}

static kvjit_status check_batch(const kvjit_kernel *k, const kvjit_batch *in, kvjit_batch *b)
{
	kvjit_status s = KVJIT_OK;

	if (!in)
		return BAD("batch must not be NULL");
	if (in->size < sizeof(size_t) || in->size > sizeof(*b))
		return BAD("batch.size must be sizeof(kvjit_batch), %zu", sizeof(*b));
	memset(b, 0, sizeof(*b));
	memcpy(b, in, in->size);
	if (b->nseq < 0 || b->nseq > INT32_MAX)
		return BAD("nseq is %ld; it must be 0 to %d", (long)b->nseq, INT32_MAX);
	if (k->shape.ncache == 1 && second_cache(b))
		return BAD(
		    "%s is of a second cache, which this kernel doesn't read: kv2= names "
		    "one",
		    second_cache(b));
	for (int c = 0; c < k->shape.ncache && s == KVJIT_OK; c++)
		s = check_source(k, b, c);
	if (s != KVJIT_OK)
		return s;
	if (!b->query_starts && b->nseq)
		return BAD("query_starts is NULL; it must hold %ld rows", (long)b->nseq + 1);
	if ((uintptr_t)b->query_starts % sizeof(int32_t))
		return BAD("query_starts is %p; it must be aligned to 4 bytes",
		           (const void *)b->query_starts);
	if (b->nseq && b->query_starts[0] < 0)
		return BAD("query_starts[0] is %d; it must be 0 or more", b->query_starts[0]);
	for (int64_t i = 0; i < b->nseq && s == KVJIT_OK; i++)
		s = check_sequence(k, b, i);
	return s;
}

/* -- counting -------------------------------------------------------------------- */

typedef struct counts {
	int64_t work, join, slots;
} counts;

/* Keys [first, end) of a tile of queries, and into how many pieces they are cut. */
typedef struct range {
	int64_t first, end, pieces;
} range;

/* Of nq queries of sequence s from number `from` on. */
static range range_of(const kvjit_shape *sh, const kvjit_batch *b, const int32_t *lens,
                      int64_t s, int64_t from, int64_t nq)
{
	const kvjit_sight *see = &sh->sight;
	int64_t len = lens[s], split = sh->split;
	int64_t at = len - (b->query_starts[s + 1] - b->query_starts[s]) + from;
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

/* False if they are too many. */
static bool count_tile(const kvjit_shape *sh, int64_t pieces, int64_t tiles, counts *c)
{
	int64_t n = tiles * sh->kv_heads, items;

	if (__builtin_mul_overflow(n, pieces, &items) || items > MAX_WORK - c->work)
		return false;
	c->work += items;
	c->join += pieces > 1 ? n : 0;
	c->slots += pieces > 1 ? items : 0;
	return true;
}

static bool count_sequence(const kvjit_shape *sh, const kvjit_batch *b, const int32_t *lens,
                           int64_t s, counts *c)
{
	int64_t nq = b->query_starts[s + 1] - b->query_starts[s];
	int64_t tiles = (nq + sh->q_tile - 1) / sh->q_tile;

	if (sh->split <= 0 || lens[s] <= sh->split)
		return count_tile(sh, 1, tiles, c);
	if (tiles > MAX_WORK) /* before they are gone through */
		return false;
	for (int64_t q = 0; q < nq; q += sh->q_tile) {
		int64_t n = nq - q < sh->q_tile ? nq - q : sh->q_tile;

		if (!count_tile(sh, range_of(sh, b, lens, s, q, n).pieces, 1, c))
			return false;
	}
	return true;
}

/* False and a message if the items are more than an s32 can index. */
static bool count(const kvjit_kernel *k, const kvjit_batch *b, const int32_t *lens, counts *c)
{
	*c = (counts){ 0, 0, 0 };
	for (int64_t s = 0; s < b->nseq; s++)
		if (!count_sequence(&k->shape, b, lens, s, c)) {
			BAD("seq_lens and query_starts make more than %d work items by "
			    "sequence %ld; no more are possible",
			    MAX_WORK, (long)s);
			return false;
		}
	return true;
}

/* Pages that the longest sequence with new tokens reads. */
static int64_t pages_needed(const kvjit_batch *b, const source *from)
{
	int64_t most = 0;

	for (int64_t s = 0; s < b->nseq; s++) {
		int64_t pages = (from->lens[s] + from->page - 1) / from->page;

		if (b->query_starts[s + 1] > b->query_starts[s] && pages > most)
			most = pages;
	}
	return most;
}

/* Over both caches, of the sequences with new tokens. */
static int64_t longest(const kvjit_batch *b)
{
	int64_t most = 0;

	for (int64_t s = 0; s < b->nseq; s++) {
		int64_t len = b->seq_lens[s] + (b->seq_lens2 ? b->seq_lens2[s] : 0);

		if (b->query_starts[s + 1] > b->query_starts[s] && len > most)
			most = len;
	}
	return most;
}

static int64_t most_new(const kvjit_batch *b)
{
	int64_t most = 0;

	for (int64_t s = 0; s < b->nseq; s++)
		if (b->query_starts[s + 1] - b->query_starts[s] > most)
			most = b->query_starts[s + 1] - b->query_starts[s];
	return most;
}

/* -- filling --------------------------------------------------------------------- */

typedef struct filler {
	const kvjit_shape *shape;
	const kvjit_batch *batch;
	const int32_t *lens;
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
	int32_t row = f->batch->query_starts[seq] + first;
	range r = range_of(f->shape, f->batch, f->lens, seq, first, nq);
	int32_t pieces = (int32_t)r.pieces;
	int64_t split = f->shape->split;

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

static void fill(filler *f)
{
	int64_t tile = f->shape->q_tile;
	int32_t heads = (int32_t)f->shape->head_tiles;

	for (int32_t s = 0; s < f->batch->nseq; s++) {
		int64_t nq = f->batch->query_starts[s + 1] - f->batch->query_starts[s];

		for (int32_t h = 0; h < f->shape->kv_heads; h += heads)
			for (int64_t q = 0; q < nq; q += tile)
				fill_tile(f, s, h, heads, (int32_t)q,
				          (int32_t)(nq - q < tile ? nq - q : tile));
	}
}

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

static void sort_items(const int32_t *from, int32_t *to, int64_t n)
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

/* -- the plan -------------------------------------------------------------------- */

static size_t lines(int64_t bytes)
{
	return ((size_t)bytes + 63) / 64 * 64;
}

/* Sets where things lie in scratch, and gives its bytes. */
static size_t lay_out(const kvjit_shape *s, kvjit_plan *p)
{
	int64_t rows = s->q_tile * (s->heads / s->kv_heads), both = 2 * p->nrows * s->heads * 4;
	size_t at = 0;

	for (int c = 0; c < s->ncache; c++) {
		p->list[c].part = at;
		at += lines(p->list[c].nslots * rows * (s->dim_v + KIR_PART_HEAD) * 4);
	}
	p->both = at;
	if (s->ncache == 1)
		return at;
	p->both_lse = at + lines(both * s->dim_v);
	return p->both_lse + lines(both);
}

/* Makes *p hold at least bytes, 64-aligned. The old contents are lost if that worked, and kept
 * if it didn't. */
static bool reserve(void **p, size_t *cap, size_t bytes)
{
	void *now;

	if (bytes <= *cap)
		return true;
	bytes = (bytes + bytes / 4 + 63) / 64 * 64;
	now = aligned_alloc(64, bytes);
	if (!now)
		return false;
	free(*p);
	*p = now;
	*cap = bytes;
	return true;
}

/* The same of the device's memory. */
static bool reserve_there(const kvjit_device *d, void **p, size_t *cap, size_t bytes,
                          kbe_fault *why)
{
	void *now;

	if (bytes <= *cap)
		return true;
	bytes = (bytes + bytes / 4 + 63) / 64 * 64;
	now = d->runtime->alloc(d->handle, KBE_MEMORY_device, bytes, why);
	if (!now)
		return false;
	d->runtime->free(d->handle, *p);
	*p = now;
	*cap = bytes;
	return true;
}

/* Items that each list has room for. A device's compiler may load an item of any list before
 * it looks which phase this is (Intel's for CPUs does): all then have as many, the rest zeros,
 * which name the first sequence and head. */
static int64_t room_for(const kvjit_plan *p, int64_t n)
{
	for (int c = 0; p->device && c < p->shape.ncache; c++) {
		n = p->list[c].nwork > n ? p->list[c].nwork : n;
		n = p->list[c].njoin > n ? p->list[c].njoin : n;
	}
	return n;
}

static kvjit_status to_device(const kvjit_kernel *k, kvjit_plan *p, size_t bytes)
{
	const kvjit_device *d = p->device;
	void *there = p->there;
	kbe_fault why;
	bool ok = reserve_there(d, &there, &p->there_cap, bytes, &why);

	p->there = there;
	if (ok && d->runtime->copy(d->queue, there, p->memory, bytes, &why) &&
	    d->runtime->wait(d->queue, &why))
		return KVJIT_OK;
	return kvjit_fault(kvjit_errors_of(k), &why);
}

static bool reserve_scratch(const kvjit_kernel *k, kvjit_plan *p, size_t bytes, kvjit_status *s)
{
	kbe_fault why;

	if (!p->device) {
		*s = KVJIT_NO_MEMORY;
		return reserve(&p->scratch, &p->scratch_cap, bytes);
	}
	if (reserve_there(p->device, &p->scratch, &p->scratch_cap, bytes, &why))
		return true;
	*s = kvjit_fault(kvjit_errors_of(k), &why);
	return false;
}

static kvjit_status no_memory(const kvjit_kernel *k, int64_t items, size_t scratch)
{
	return kvjit_fail(kvjit_errors_of(k), KVJIT_NO_MEMORY,
	                  "no memory for a plan with %ld work items and %zu bytes of scratch",
	                  (long)items, scratch);
}

/* The lists of one cache, at and behind `at`; where room for as many items is, sorting them
 * needs it. */
static void fill_lists(const kvjit_batch *b, kvjit_plan *p, int cache, const source *from,
                       int32_t *at, int32_t *room)
{
	kvjit_lists *l = &p->list[cache];
	int64_t work = room_for(p, l->nwork), join = room_for(p, l->njoin);
	size_t item = KIR_ITEM * sizeof(int32_t);
	filler f = { .shape = &p->shape, .batch = b, .lens = from->lens };

	l->work = at;
	l->join = at + work * KIR_ITEM;
	memset(l->work + l->nwork * KIR_ITEM, 0, (size_t)(work - l->nwork) * item);
	memset(l->join + l->njoin * KIR_ITEM, 0, (size_t)(join - l->njoin) * item);
	f.join = l->join;
	f.work = room ? room : l->work;
	fill(&f);
	if (room)
		sort_items(f.work, l->work, l->nwork);
	l->npages = from->table && !from->sparse ? from->npages : 0;
	l->seq_pages = from->sparse ? 0 : pages_needed(b, from);
}

/* Keeps what the lists were made from, at `at`: calls are held against it. */
static void keep_batch(kvjit_plan *p, const kvjit_kernel *k, const kvjit_batch *b, int32_t *at)
{
	size_t n = (size_t)b->nseq;

	p->lens[0] = p->lens[1] = p->starts = NULL;
	if (!n)
		return;
	for (int i = 0; i < p->shape.ncache; i++, at += n) {
		memcpy(at, source_of(k, b, i).lens, n * sizeof(*at));
		p->lens[i] = at;
	}
	memcpy(at, b->query_starts, (n + 1) * sizeof(*at));
	p->starts = at;
}

static void adopt(kvjit_plan *p, const kvjit_plan *next)
{
	p->shape = next->shape;
	p->nseq = next->nseq;
	p->nrows = next->nrows;
	p->most_new = next->most_new;
	p->longest = next->longest;
	memcpy(p->list, next->list, sizeof(p->list));
	p->both = next->both;
	p->both_lse = next->both_lse;
	p->scratch_bytes = next->scratch_bytes;
}

static kvjit_status build(const kvjit_kernel *k, const kvjit_batch *b, kvjit_plan *p)
{
	const kvjit_shape *sh = &k->shape;
	size_t item = KIR_ITEM * sizeof(int32_t), scratch, bytes;
	int64_t items = 0, most = 0;
	bool sort = b->nseq > 1;
	kvjit_status s = KVJIT_OK;
	counts c[2];
	kvjit_plan next = *p;
	int32_t *at;

	for (int i = 0; i < sh->ncache; i++)
		if (!count(k, b, source_of(k, b, i).lens, &c[i]))
			return KVJIT_BAD_ARGUMENT;
	/* what fails below leaves the old plan as it was */
	next.shape = *sh;
	next.nseq = b->nseq;
	next.nrows = b->nseq ? b->query_starts[b->nseq] : 0;
	next.most_new = most_new(b);
	next.longest = longest(b);
	for (int i = 0; i < sh->ncache; i++) {
		next.list[i] = (kvjit_lists){ .nwork = c[i].work,
			                      .njoin = c[i].join,
			                      .nslots = c[i].slots };
		most = c[i].work > most ? c[i].work : most;
	}
	for (int i = 0; i < sh->ncache; i++)
		items += room_for(&next, c[i].work) + room_for(&next, c[i].join);
	next.scratch_bytes = scratch = lay_out(sh, &next);
	if (!reserve_scratch(k, p, scratch, &s) && s != KVJIT_NO_MEMORY)
		return s;
	bytes = (size_t)(items + (sort ? most : 0)) * item;
	if (scratch > p->scratch_cap ||
	    !reserve(&p->memory, &p->capacity,
	             bytes + (size_t)(b->nseq + 1) * (size_t)(sh->ncache + 1) * sizeof(*at)))
		return no_memory(k, most, scratch);
	adopt(p, &next);
	at = p->memory;
	for (int i = 0; i < sh->ncache; i++) {
		source from = source_of(k, b, i);

		fill_lists(b, p, i, &from, at,
		           sort ? (int32_t *)p->memory + items * KIR_ITEM : NULL);
		at += (room_for(p, c[i].work) + room_for(p, c[i].join)) * KIR_ITEM;
	}
	keep_batch(p, k, b, (int32_t *)p->memory + bytes / sizeof(*at));
	return p->device ? to_device(k, p, (size_t)items * item) : KVJIT_OK;
}

/* The sizes that a schedule goes by: the longest context, the most new tokens. */
static void set_sizes(kvjit_plan *p, const kvjit_kernel *k, const kvjit_batch *b)
{
	int64_t ctx = 0, qlen = 0;

	for (int64_t i = 0; (k->family || k->record) && i < b->nseq; i++) {
		int64_t n = b->query_starts[i + 1] - b->query_starts[i];

		int64_t len = b->seq_lens[i] + (b->seq_lens2 ? b->seq_lens2[i] : 0);

		ctx = len > ctx ? len : ctx;
		qlen = n > qlen ? n : qlen;
	}
	p->ctx = ctx;
	p->qlen = qlen;
	p->size_class = kvjit_record_class(b->nseq, ctx, qlen);
	p->pick = kvjit_pick(k, b->nseq, ctx, qlen);
}

kvjit_status kvjit_plan_new(const kvjit_kernel *k, const kvjit_batch *batch, kvjit_plan **plan)
{
	const kvjit_kernel *run;
	kvjit_plan sizes = { 0 }; /* of a plan that fails the old one keeps its own */
	kvjit_batch b;
	kvjit_status s;
	kvjit_plan *p;

	if (!k)
		return kvjit_fail_null("kvjit_plan_new", "k", "kvjit_compile");
	if (!plan)
		return BAD("plan must not be NULL");
	if (!k->planned)
		return BAD("this kernel takes no plan: it has no parameter 'work'");
	s = check_batch(k, batch, &b);
	if (s != KVJIT_OK)
		return s;
	p = *plan ? *plan : calloc(1, sizeof(*p));
	if (!p)
		return kvjit_fail(kvjit_errors_of(k), KVJIT_NO_MEMORY, "no memory for a plan");
	if (*plan && p->device != k->device)
		return BAD("the plan is of another device than the kernel, or of another "
		           "context's");
	if (!p->device)
		p->device = kvjit_device_retain(k->device);
	set_sizes(&sizes, k, &b);
	run = kvjit_variant(k, sizes.pick);
	s = build(run, &b, p);
	if (s != KVJIT_OK && run != k)
		kvjit_fail(kvjit_errors_of(k), s, "%s", kvjit_kernel_error(run));
	if (s == KVJIT_OK) {
		p->id = k->id;
		p->ctx = sizes.ctx;
		p->qlen = sizes.qlen;
		p->size_class = sizes.size_class;
		p->pick = sizes.pick;
		*plan = p;
	} else if (!*plan) {
		kvjit_plan_free(p);
	}
	return s;
}

size_t kvjit_plan_scratch(const kvjit_plan *p)
{
	return p ? p->scratch_bytes : 0;
}

void kvjit_plan_free(kvjit_plan *p)
{
	if (!p)
		return;
	free(p->memory);
	if (p->device) {
		p->device->runtime->free(p->device->handle, p->there);
		p->device->runtime->free(p->device->handle, p->scratch);
		kvjit_device_release(p->device);
	} else {
		free(p->scratch);
	}
	free(p);
}
