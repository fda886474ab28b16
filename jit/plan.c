/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c -- what a step has to do: the lists of items.c, and memory for them and for scratch.
 *
 * Two caches (kv2=) have lists of their own, both with every tile of queries; positions in the
 * second follow those in the first. Their rows stand side by side in `both` and are merged.
 *
 * Tiles with few queries may go to a second kernel (few.c), which has a plan of its own beside
 * this one. It is made anew before this one is touched: a step that fails leaves the old plan.
 *
 * One allocation holds everything and is kept for the next step. A device gets a copy of the
 * lists in its own memory, which the plan waits for, and scratch there.
 */
#include "device.h"
#include "few.h"
#include "items.h"
#include "record.h"
#include "refuse.h"

#include <stdlib.h>
#include <string.h>

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
	if (len > KIR_MAX_LEN)
		return BAD("seq_lens%s[%ld] is %d; it must be at most %d", b->suffix, (long)s,
		           len, KIR_MAX_LEN);
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
	if (len > KIR_MAX_LEN)
		return BAD("seq_lens[%ld] and seq_lens2[%ld] are %ld together; they must be at "
		           "most %d",
		           (long)s, (long)s, (long)len, KIR_MAX_LEN);
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

/* -- what a call is held against --------------------------------------------------- */

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
static void fill_lists(const kvjit_items *of, kvjit_plan *p, int cache, const source *from,
                       int32_t *at, int32_t *room)
{
	kvjit_lists *l = &p->list[cache];
	int64_t work = room_for(p, l->nwork), join = room_for(p, l->njoin);
	size_t item = KIR_ITEM * sizeof(int32_t);

	l->work = at;
	l->join = at + work * KIR_ITEM;
	memset(l->work + l->nwork * KIR_ITEM, 0, (size_t)(work - l->nwork) * item);
	memset(l->join + l->njoin * KIR_ITEM, 0, (size_t)(join - l->njoin) * item);
	kvjit_items_fill(of, room ? room : l->work, l->join);
	if (room)
		kvjit_items_sort(room, l->work, l->nwork);
	l->npages = from->table && !from->sparse ? from->npages : 0;
	l->seq_pages = from->sparse ? 0 : pages_needed(of->batch, from);
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

/* False and a message if the items are more than an s32 can index. */
static bool count(const kvjit_kernel *k, const kvjit_items *of, kvjit_counts *c)
{
	int64_t s;

	if (kvjit_items_count(of, c, &s))
		return true;
	BAD("seq_lens and query_starts make more than %d work items by sequence %ld; no more "
	    "are possible",
	    KVJIT_MAX_WORK, (long)s);
	return false;
}

static kvjit_status build(const kvjit_kernel *k, const kvjit_batch *b, const kvjit_share *share,
                          kvjit_plan *p)
{
	const kvjit_shape *sh = &k->shape;
	size_t item = KIR_ITEM * sizeof(int32_t), scratch, bytes;
	int64_t items = 0, most = 0;
	bool sort = b->nseq > 1;
	kvjit_status s = KVJIT_OK;
	kvjit_counts c[2];
	kvjit_plan next = *p;
	int32_t *at;

	for (int i = 0; i < sh->ncache; i++) {
		kvjit_items of = { sh, b, source_of(k, b, i).lens, *share };

		if (!count(k, &of, &c[i]))
			return KVJIT_BAD_ARGUMENT;
	}
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
		kvjit_items of = { &p->shape, b, from.lens, *share };

		fill_lists(&of, p, i, &from, at,
		           sort ? (int32_t *)p->memory + items * KIR_ITEM : NULL);
		at += (room_for(p, c[i].work) + room_for(p, c[i].join)) * KIR_ITEM;
	}
	keep_batch(p, k, b, (int32_t *)p->memory + bytes / sizeof(*at));
	return p->device ? to_device(k, p, (size_t)items * item) : KVJIT_OK;
}

/* What a schedule goes by: the longest context, the most new tokens. */
static void set_sizes(kvjit_plan *p, const kvjit_kernel *k, const kvjit_batch *b)
{
	bool wanted = k->family || k->record || (k->few && k->few->family);
	int64_t ctx = 0, qlen = 0;

	for (int64_t i = 0; wanted && i < b->nseq; i++) {
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

static void adopt_sizes(kvjit_plan *p, uint64_t id, const kvjit_plan *sizes)
{
	p->id = id;
	p->ctx = sizes->ctx;
	p->qlen = sizes->qlen;
	p->size_class = sizes->size_class;
	p->pick = sizes->pick;
}

static kvjit_plan *plan_on(const kvjit_kernel *k)
{
	kvjit_plan *p = calloc(1, sizeof(*p));

	if (p)
		p->device = kvjit_device_retain(k->device);
	return p;
}

/* A plan of k's, by the variant that sizes->pick names; what fails leaves p as it was. */
static kvjit_status build_part(const kvjit_kernel *k, const kvjit_batch *b,
                               const kvjit_share *share, const kvjit_plan *sizes, kvjit_plan *p)
{
	const kvjit_kernel *run = kvjit_variant(k, sizes->pick);
	kvjit_status s = build(run, b, share, p);

	if (s == KVJIT_OK)
		adopt_sizes(p, k->id, sizes);
	return kvjit_pass_on(k, run, s);
}

/* Between p->few and p->spare. Scratch holds nothing from one call to the next, so one serves
 * both; a second time gives it back, with what was allocated meanwhile. */
static void hand_over_scratch(kvjit_plan *p)
{
	kvjit_plan *few = p->few, *spare = p->spare;
	void *scratch = few ? few->scratch : NULL;
	size_t cap = few ? few->scratch_cap : 0;

	if (!few)
		return;
	few->scratch = spare->scratch;
	few->scratch_cap = spare->scratch_cap;
	spare->scratch = scratch;
	spare->scratch_cap = cap;
}

/* Both parts, that for few queries only if there are such tiles. */
static kvjit_status build_parts(const kvjit_kernel *k, const kvjit_batch *b, kvjit_plan *p)
{
	const kvjit_kernel *few = kvjit_few_of(k);
	kvjit_plan sizes = { 0 }, one; /* of a plan that fails the old one keeps its own */
	kvjit_share share = { 0 };
	kvjit_status s = KVJIT_OK;
	bool mixed = false;

	set_sizes(&sizes, k, b);
	one = sizes;
	one.pick = kvjit_pick(few, b->nseq, sizes.ctx, 1);
	share.tile = kvjit_variant(k, sizes.pick)->shape.q_tile;
	share.most = kvjit_few_most(kvjit_variant(k, sizes.pick), kvjit_variant(few, one.pick));
	for (int64_t i = 0; !mixed && i < b->nseq; i++)
		mixed = kvjit_share_rest(&share, b->query_starts[i + 1] - b->query_starts[i]);
	if (mixed && !p->spare && !(p->spare = plan_on(k)))
		return kvjit_fail(kvjit_errors_of(k), KVJIT_NO_MEMORY, "no memory for a plan");
	if (mixed) {
		hand_over_scratch(p);
		share.few = true;
		s = kvjit_pass_on(k, few, build_part(few, b, &share, &one, p->spare));
		share.few = false;
	}
	if (s == KVJIT_OK)
		s = build_part(k, b, &share, &sizes, p);
	if (s != KVJIT_OK && mixed)
		hand_over_scratch(p);
	if (s != KVJIT_OK)
		return s;
	p->mixed = mixed;
	p->few_at = lines((int64_t)p->scratch_bytes);
	if (mixed) {
		kvjit_plan *used = p->few;

		p->few = p->spare;
		p->spare = used;
	}
	return KVJIT_OK;
}

kvjit_status kvjit_plan_new(const kvjit_kernel *k, const kvjit_batch *batch, kvjit_plan **plan)
{
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
	if (*plan && (*plan)->device != k->device)
		return BAD("the plan is of another device than the kernel, or of another "
		           "context's");
	p = *plan ? *plan : plan_on(k);
	if (!p)
		return kvjit_fail(kvjit_errors_of(k), KVJIT_NO_MEMORY, "no memory for a plan");
	s = build_parts(k, &b, p);
	if (s == KVJIT_OK)
		*plan = p;
	else if (!*plan)
		kvjit_plan_free(p);
	return s;
}

size_t kvjit_plan_scratch(const kvjit_plan *p)
{
	if (!p)
		return 0;
	return p->mixed ? p->few_at + p->few->scratch_bytes : p->scratch_bytes;
}

void kvjit_plan_free(kvjit_plan *p)
{
	if (!p)
		return;
	kvjit_plan_free(p->few);
	kvjit_plan_free(p->spare);
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
