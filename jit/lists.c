/* SPDX-License-Identifier: Apache-2.0 */
/* lists.c -- what the host's lists hold: slots of cache writes and transcodes, the sequences
 * and lengths of an indexer, and lengths beside those of a plan. They change with every call,
 * and what they name is read or written, so they are held against the extents that the call
 * states. Lists that the host can't read, in a device's memory, are its word; so is everything
 * about a tensor without rank and shape.
 */
#include "frame.h"
#include "refuse.h"

#include <string.h>

/* -- slots -------------------------------------------------------------------------- */

/* Tokens that share scales are written together: each run of the list is one whole group of
 * slots, or skipped, all of it. */
static kvjit_status check_groups(const kvjit_frame *f, int list, const int64_t *slots)
{
	const kvjit_kernel *k = f->k;
	int64_t group = k->slots[list].group;

	if (!group)
		return KVJIT_OK;
	if (f->count % group)
		return BAD(
		    "argument '%s': %ld tokens aren't whole groups of the %ld that share "
		    "scales",
		    k->param[k->slots[list].param].name, (long)f->count, (long)group);
	for (int64_t t = 0; t < f->count; t++) {
		int64_t first = slots[t - t % group];

		if (first < 0 ? slots[t] < 0
		    : !k->slots[list].whole
		        ? slots[t] >= 0
		        : first % group == 0 && slots[t] == first + t % group)
			continue;
		return BAD(
		    "argument '%s': slot %ld of token %ld: those of tokens %ld to %ld must "
		    "all be negative or, in order, the %ld slots that share scales",
		    k->param[k->slots[list].param].name, (long)slots[t], (long)t,
		    (long)(t - t % group), (long)(t - t % group + group - 1), (long)group);
	}
	return KVJIT_OK;
}

/* Slots come from the host for each call; one outside the pool would write outside it. Those in
 * a device's own memory can't be looked at. */
static kvjit_status check_list(const kvjit_frame *f, int list)
{
	const kvjit_kernel *k = f->k;
	const int64_t *slots;
	int64_t limit = k->slots[list].page, pages = -1;
	bool written = list == 0;

	if (!limit || f->count < 0 || !kvjit_host_reads(f, k->slots[list].param))
		return KVJIT_OK;
	for (int i = 0; i < k->nparam; i++)
		if (k->param[i].dtype == KVJIT_U8 && f->arg[i] && f->arg[i]->rank &&
		    !(k->param[i].role & KVJIT_OUTPUT) == !written &&
		    (pages < 0 || f->arg[i]->shape[0] < pages))
			pages = f->arg[i]->shape[0];
	if (pages < 0 || __builtin_mul_overflow(limit, pages, &limit))
		return KVJIT_OK;
	slots = f->arg[k->slots[list].param]->data;
	for (int64_t t = 0; t < f->count; t++)
		if (slots[t] >= limit)
			return BAD("argument '%s': slot %ld of token %ld is beyond the pool of "
			           "%ld pages of %ld tokens",
			           k->param[k->slots[list].param].name, (long)slots[t], (long)t,
			           (long)pages, (long)k->slots[list].page);
	return check_groups(f, list, slots);
}

/* -- an indexer's ------------------------------------------------------------------- */

/* Extent d that argument i states, INT64_MAX if it states none. */
static int64_t stated(const kvjit_frame *f, int i, int d)
{
	const kvjit_arg *a = f->arg[i];

	return a->rank ? a->shape[d] : INT64_MAX;
}

/* The table's columns must reach as far as the longest row that is looked at; a row's sequence
 * is one of the table's. */
static kvjit_status check_rows(const kvjit_frame *f, int64_t width)
{
	const kvjit_kernel *k = f->k;
	const kvjit_indexer *x = &k->indexer;
	const int32_t *seqs, *lens;
	int64_t rows = stated(f, x->table, 0), columns = stated(f, x->table, 1);

	if (!f->arg[x->table]->rank || !kvjit_host_reads(f, x->seqs) ||
	    !kvjit_host_reads(f, x->lens))
		return KVJIT_OK;
	seqs = f->arg[x->seqs]->data;
	lens = f->arg[x->lens]->data;
	for (int64_t t = 0; t < f->count; t++) {
		int64_t len = lens[t] < width ? lens[t] : width;

		if (len <= 0)
			continue;
		if (seqs[t] < 0 || seqs[t] >= rows)
			return BAD(
			    "argument 'seqs': row %ld is of sequence %d; the table has %ld",
			    (long)t, seqs[t], (long)rows);
		if ((len - 1) / x->page >= columns)
			return BAD(
			    "argument 'table': extent 1 is %ld; row %ld looks at %ld keys, in "
			    "pages of %ld",
			    (long)columns, (long)t, (long)len, (long)x->page);
	}
	return KVJIT_OK;
}

static kvjit_status check_indexer(const kvjit_frame *f)
{
	const kvjit_kernel *k = f->k;
	const kvjit_indexer *x = &k->indexer;
	int64_t pages = f->arg[x->pages]->i, width = f->arg[x->width]->i;

	if (pages < 0 || pages > stated(f, x->cache, 0))
		return BAD("argument 'pages' is %ld; it must be 0 to the cache's, %ld",
		           (long)pages, (long)stated(f, x->cache, 0));
	if (width < 0 || width > stated(f, x->logits, 1))
		return BAD(
		    "argument 'width' is %ld; it must be 0 to the columns of 'logits', %ld",
		    (long)width, (long)stated(f, x->logits, 1));
	return check_rows(f, width);
}

/* -- a plan's ------------------------------------------------------------------------ */

/* Whether the n numbers of argument i are those that the plan was made from; of lengths (i is
 * not `starts`), where the sequence has new tokens. */
static kvjit_status check_same(const kvjit_frame *f, int i, const int32_t *planned, int64_t n)
{
	const kvjit_kernel *k = f->k;
	const int32_t *now = f->arg[i]->data, *starts = f->plan->starts;
	bool all = planned == starts;

	if (!memcmp(now, planned, (size_t)n * sizeof(*now)))
		return KVJIT_OK;
	for (int64_t s = 0; s < n; s++)
		if (now[s] != planned[s] && (all || starts[s + 1] > starts[s]))
			return BAD("argument '%s': element %ld is %d; the plan was made with "
			           "%d: make one for each step",
			           k->param[i].name, (long)s, now[s], planned[s]);
	return KVJIT_OK;
}

/* A plan's items say which keys and queries there are; where a query stands is computed from
 * lens and starts. With others than the plan's it would be taken for another position. */
static kvjit_status check_planned(const kvjit_frame *f)
{
	const kvjit_kernel *k = f->k;
	const kvjit_plan *p = f->plan;
	kvjit_status s = KVJIT_OK;

	for (int i = 0; p && p->nseq && i < k->nparam && s == KVJIT_OK; i++) {
		bool lens = k->slot[i].rows == KVJIT_ROWS_lens;

		if ((!lens && k->slot[i].rows != KVJIT_ROWS_starts) || !kvjit_host_reads(f, i))
			continue;
		s = lens ? check_same(f, i, p->lens[k->slot[i].cache], p->nseq)
		         : check_same(f, i, p->starts, p->nseq + 1);
	}
	return s;
}

kvjit_status kvjit_check_lists(const kvjit_frame *f)
{
	kvjit_status s = check_list(f, 0);

	if (s == KVJIT_OK)
		s = check_list(f, 1);
	if (s == KVJIT_OK)
		s = check_planned(f);
	return s == KVJIT_OK && f->k->indexer.page ? check_indexer(f) : s;
}
