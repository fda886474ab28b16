/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c -- from sequence lengths to a work list.
 *
 * work, s32[n,8]: sequence, KV head, first query of the tile among the sequence's new ones,
 *   first key, end of keys, slot or -1, queries in the tile, absolute row of the first.
 * join, s32[n,8]: absolute row of the first query, KV head, first slot, slots, queries,
 *   sequence, 0, 0.
 *
 * A sequence longer than knob split is cut at multiples of it, wherever its pieces may run:
 * the same batch gives the same pieces, so results don't depend on the number of threads.
 * Piece i of a cut tile leaves its partial result in slot first + i; the tile's join item
 * puts them together. Pieces are ordered by falling cost, to 1/8 of a power of two, equals
 * in the order of sequences.
 *
 * One allocation holds everything and is kept for the next step. A device gets a copy of the
 * lists in its own memory, which the plan waits for, and scratch there.
 */
#include "device.h"

#include <stdlib.h>
#include <string.h>

/* What passes/expand_region.c takes positions to be below: sums of two of them fit s32. */
enum { KVJIT_MAX_LEN = 1 << 30 };
enum { MAX_WORK = INT32_MAX / KIR_ITEM };

/* -- checking -------------------------------------------------------------------- */

#define BAD(...) kvjit_fail((kvjit_errors *)&k->errors, KVJIT_BAD_ARGUMENT, __VA_ARGS__)

static kvjit_status check_sequence(const kvjit_kernel *k, const kvjit_batch *b, int64_t s)
{
	int32_t len = b->seq_lens[s], begin = b->query_starts[s], end = b->query_starts[s + 1];
	int64_t pages = (len + k->shape.page - 1) / k->shape.page, bad = -1;
	const int32_t *row;

	if (len < 0)
		return BAD("seq_lens[%ld] is %d; it must be 0 or more", (long)s, len);
	if (len > KVJIT_MAX_LEN)
		return BAD("seq_lens[%ld] is %d; it must be at most %d", (long)s, len,
		           KVJIT_MAX_LEN);
	if (end < begin)
		return BAD(
		    "query_starts[%ld] is %d, less than query_starts[%ld], %d; they must "
		    "rise",
		    (long)s + 1, end, (long)s, begin);
	if (k->shape.sparse && len > k->shape.sparse)
		return BAD(
		    "seq_lens[%ld] is %d; with sparse=%ld it says how many entries of its "
		    "queries' index lists are used, so it must be at most %ld",
		    (long)s, len, (long)k->shape.sparse, (long)k->shape.sparse);
	if (k->shape.sparse)
		return KVJIT_OK;
	if (len && end - begin > len)
		return BAD(
		    "sequence %ld has %d queries but seq_lens[%ld] is %d; the new tokens "
		    "are part of the length",
		    (long)s, end - begin, (long)s, len);
	if (!b->block_table)
		return KVJIT_OK;
	if (pages > b->table_stride)
		return BAD(
		    "table_stride is %ld, but sequence %ld (seq_lens %d) uses %ld pages of "
		    "%ld tokens",
		    (long)b->table_stride, (long)s, len, (long)pages, (long)k->shape.page);
	row = b->block_table + s * b->table_stride;
	for (int64_t i = 0; i < pages; i++)
		if ((uint64_t)(int64_t)row[i] >= (uint64_t)b->npages)
			bad = i;
	if (bad >= 0)
		return BAD("block_table[%ld][%ld] is %d; pages are 0 to %ld", (long)s,
		           (long)bad, row[bad], (long)b->npages - 1);
	return KVJIT_OK;
}

static kvjit_status check_batch(const kvjit_kernel *k, const kvjit_batch *in, kvjit_batch *b)
{
	kvjit_status s = KVJIT_OK;

	if (!in || in->size < sizeof(size_t) || in->size > sizeof(*b))
		return BAD("batch.size must be sizeof(kvjit_batch), %zu", sizeof(*b));
	memset(b, 0, sizeof(*b));
	memcpy(b, in, in->size);
	if (b->format && k->format && b->format != k->format)
		return BAD(
		    "the cache's format has the hash %016llx; the kernel reads %s, %016llx: "
		    "the bytes don't mean the same",
		    (unsigned long long)b->format, k->format_name,
		    (unsigned long long)k->format);
	if (b->nseq < 0 || b->nseq > INT32_MAX)
		return BAD("nseq is %ld; it must be 0 to %d", (long)b->nseq, INT32_MAX);
	if (!b->seq_lens && b->nseq)
		return BAD("seq_lens is NULL; it must hold %ld lengths", (long)b->nseq);
	if (!b->query_starts && b->nseq)
		return BAD("query_starts is NULL; it must hold %ld rows", (long)b->nseq + 1);
	if (b->nseq && b->query_starts[0] < 0)
		return BAD("query_starts[0] is %d; it must be 0 or more", b->query_starts[0]);
	if (b->block_table && (b->npages < 0 || b->table_stride < 0))
		return BAD("npages is %ld and table_stride %ld; both must be 0 or more",
		           (long)b->npages, (long)b->table_stride);
	for (int64_t i = 0; i < b->nseq && s == KVJIT_OK; i++)
		s = check_sequence(k, b, i);
	return s;
}

/* -- counting -------------------------------------------------------------------- */

typedef struct counts {
	int64_t work, join, slots;
} counts;

static int64_t tiles_of(const kvjit_batch *b, int64_t s, int64_t q_tile)
{
	return (b->query_starts[s + 1] - b->query_starts[s] + q_tile - 1) / q_tile;
}

static int64_t pieces_of(const kvjit_batch *b, int64_t s, int64_t split)
{
	return split > 0 && b->seq_lens[s] > split ? (b->seq_lens[s] + split - 1) / split : 1;
}

/* False and a message if the items are more than an s32 can index. */
static bool count(const kvjit_kernel *k, const kvjit_batch *b, counts *c)
{
	const kvjit_shape *sh = &k->shape;

	*c = (counts){ 0, 0, 0 };
	for (int64_t s = 0; s < b->nseq; s++) {
		int64_t tiles = tiles_of(b, s, sh->q_tile) * sh->kv_heads;
		int64_t pieces = pieces_of(b, s, sh->split), items;

		if (__builtin_mul_overflow(tiles, pieces, &items) ||
		    items > MAX_WORK - c->work) {
			BAD("seq_lens and query_starts make more than %d work items by "
			    "sequence %ld; no more are possible",
			    MAX_WORK, (long)s);
			return false;
		}
		c->work += items;
		if (pieces > 1) {
			c->join += tiles;
			c->slots += items;
		}
	}
	return true;
}

/* Pages that the longest sequence with new tokens reads. */
static int64_t pages_needed(const kvjit_shape *sh, const kvjit_batch *b)
{
	int64_t most = 0;

	for (int64_t s = 0; s < b->nseq; s++) {
		int64_t pages = (b->seq_lens[s] + sh->page - 1) / sh->page;

		if (b->query_starts[s + 1] > b->query_starts[s] && pages > most)
			most = pages;
	}
	return most;
}

/* -- filling --------------------------------------------------------------------- */

typedef struct filler {
	const kvjit_shape *shape;
	const kvjit_batch *batch;
	int32_t *work, *join;
	int32_t nwork, njoin, nslots;
} filler;

static void put(int32_t *at, int32_t a, int32_t b, int32_t c, int32_t d, int32_t e, int32_t f,
                int32_t g, int32_t h)
{
	const int32_t item[KIR_ITEM] = { a, b, c, d, e, f, g, h };

	memcpy(at, item, sizeof(item));
}

/* The pieces of one tile of queries of one KV head. */
static void fill_tile(filler *f, int32_t seq, int32_t head, int32_t first, int32_t nq)
{
	int32_t len = f->batch->seq_lens[seq], row = f->batch->query_starts[seq] + first;
	int64_t pieces = pieces_of(f->batch, seq, f->shape->split), split = f->shape->split;

	if (pieces == 1) {
		put(f->work + (int64_t)f->nwork++ * KIR_ITEM, seq, head, first, 0, len, -1, nq,
		    row);
		return;
	}
	put(f->join + (int64_t)f->njoin++ * KIR_ITEM, row, head, f->nslots, (int32_t)pieces, nq,
	    seq, 0, 0);
	for (int64_t i = 0; i < pieces; i++) {
		int64_t end = (i + 1) * split < len ? (i + 1) * split : len;

		put(f->work + (int64_t)f->nwork++ * KIR_ITEM, seq, head, first,
		    (int32_t)(i * split), (int32_t)end, f->nslots++, nq, row);
	}
}

static void fill(filler *f)
{
	int64_t tile = f->shape->q_tile;

	for (int32_t s = 0; s < f->batch->nseq; s++) {
		int64_t nq = f->batch->query_starts[s + 1] - f->batch->query_starts[s];

		for (int32_t h = 0; h < f->shape->kv_heads; h++)
			for (int64_t q = 0; q < nq; q += tile)
				fill_tile(f, s, h, (int32_t)q,
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

static size_t scratch_of(const kvjit_shape *s, int64_t slots)
{
	size_t rows = (size_t)(s->q_tile * (s->heads / s->kv_heads));
	size_t bytes = (size_t)slots * rows * (size_t)(s->dim_v + KIR_PART_HEAD) * 4;

	return (bytes + 63) / 64 * 64;
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

/* Items that each list has room for. A device's compiler may load an item of either list before
 * it looks which phase this is (Intel's for CPUs does): both then have as many, the rest zeros,
 * which name the first sequence and head. */
static int64_t room_for(const kvjit_plan *p, int64_t n, int64_t other)
{
	return p->device && other > n ? other : n;
}

static kvjit_status to_device(const kvjit_kernel *k, kvjit_plan *p, size_t bytes)
{
	const kvjit_device *d = p->device;
	void *there = p->there;
	kbe_fault why;
	bool ok = reserve_there(d, &there, &p->there_cap, bytes, &why);

	p->there = there;
	if (ok && d->runtime->copy(d->queue, there, p->work, bytes, &why) &&
	    d->runtime->wait(d->queue, &why))
		return KVJIT_OK;
	return kvjit_fault((kvjit_errors *)&k->errors, &why);
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
	*s = kvjit_fault((kvjit_errors *)&k->errors, &why);
	return false;
}

static kvjit_status build(const kvjit_kernel *k, const kvjit_batch *b, kvjit_plan *p)
{
	counts c;
	size_t item = KIR_ITEM * sizeof(int32_t), scratch;
	int64_t work, join;
	bool sort = b->nseq > 1;
	kvjit_status s = KVJIT_OK;
	filler f = { 0 };

	if (!count(k, b, &c))
		return KVJIT_BAD_ARGUMENT;
	scratch = scratch_of(&k->shape, c.slots);
	work = room_for(p, c.work, c.join);
	join = room_for(p, c.join, c.work);
	/* scratch first: work and join point into memory until they are set again below */
	if (!reserve_scratch(k, p, scratch, &s) && s != KVJIT_NO_MEMORY)
		return s;
	if (scratch > p->scratch_cap ||
	    !reserve(&p->memory, &p->capacity,
	             (size_t)(work + join + (sort ? c.work : 0) + 1) * item))
		return kvjit_fail((kvjit_errors *)&k->errors, KVJIT_NO_MEMORY,
		                  "no memory for a plan with %ld work items and %zu bytes of "
		                  "scratch",
		                  (long)c.work, scratch);
	p->work = p->memory;
	p->join = p->work + work * KIR_ITEM;
	memset(p->work + c.work * KIR_ITEM, 0, (size_t)(work - c.work) * item);
	memset(p->join + c.join * KIR_ITEM, 0, (size_t)(join - c.join) * item);
	f.shape = &k->shape;
	f.batch = b;
	f.join = p->join;
	f.work = sort ? p->join + join * KIR_ITEM : p->work;
	fill(&f);
	if (sort)
		sort_items(f.work, p->work, c.work);
	p->shape = k->shape;
	p->nseq = b->nseq;
	p->nrows = b->nseq ? b->query_starts[b->nseq] : 0;
	p->npages = b->block_table && !k->shape.sparse ? b->npages : 0;
	p->seq_pages = k->shape.sparse ? 0 : pages_needed(&k->shape, b);
	p->nwork = c.work;
	p->njoin = c.join;
	p->nslots = c.slots;
	p->scratch_bytes = scratch;
	return p->device ? to_device(k, p, (size_t)(work + join) * item) : KVJIT_OK;
}

/* The sizes that a schedule goes by: the longest context, the most new tokens. */
static unsigned pick(const kvjit_kernel *k, const kvjit_batch *b)
{
	int64_t ctx = 0, qlen = 0;

	for (int64_t i = 0; k->family && i < b->nseq; i++) {
		int64_t n = b->query_starts[i + 1] - b->query_starts[i];

		ctx = b->seq_lens[i] > ctx ? b->seq_lens[i] : ctx;
		qlen = n > qlen ? n : qlen;
	}
	return kvjit_pick(k, b->nseq, ctx, qlen);
}

kvjit_status kvjit_plan_new(const kvjit_kernel *k, const kvjit_batch *batch, kvjit_plan **plan)
{
	const kvjit_kernel *run;
	kvjit_batch b;
	kvjit_status s;
	kvjit_plan *p;

	if (!k)
		return KVJIT_BAD_ARGUMENT;
	if (!plan)
		return BAD("plan must not be NULL");
	if (!k->planned)
		return BAD("this kernel takes no plan: it has no parameter 'work'");
	s = check_batch(k, batch, &b);
	if (s != KVJIT_OK)
		return s;
	p = *plan ? *plan : calloc(1, sizeof(*p));
	if (!p)
		return kvjit_fail((kvjit_errors *)&k->errors, KVJIT_NO_MEMORY,
		                  "no memory for a plan");
	p->id = k->id;
	p->pick = pick(k, &b);
	if (*plan && p->device != k->device)
		return BAD("the plan is of another device than the kernel, or of another "
		           "context's");
	if (!p->device)
		p->device = kvjit_device_retain(k->device);
	run = kvjit_variant(k, p->pick);
	s = build(run, &b, p);
	if (s != KVJIT_OK && run != k)
		kvjit_fail((kvjit_errors *)&k->errors, s, "%s", kvjit_kernel_error(run));
	if (s == KVJIT_OK)
		*plan = p;
	else if (!*plan)
		kvjit_plan_free(p);
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
