/* SPDX-License-Identifier: Apache-2.0 */
/* index.c -- an indexer from its definition: logits, then the slots of the largest. The choice
 * is made on the logits as they are stored, so that both outputs agree. */
#include "interp.h"

#include <math.h>
#include <stdlib.h>

typedef struct indexer {
	const kref_mem *q, *w, *k, *ks, *table, *seqs, *lens, *out, *logits;
	int64_t heads, dim, page, topk, pages;
	int64_t groups;         /* of a key, with a scale each; 0: one scale or none  */
	const kir_side *packed; /* keys of two codes a byte; NULL: they aren't        */
	double *query, *weight, *key, *scale; /* [heads * dim], [heads], [dim], [dim] */
} indexer;

/* Slot of key j of sequence b, -1 where the cache has no such page. */
static bool slot_of(kref_state *r, kir_ref n, const indexer *x, int64_t b, int64_t j,
                    int64_t *slot)
{
	int64_t at[2] = { b, j / x->page }, page;

	if (!kref_get_int(r, n, x->table, at, 2, &page))
		return false;
	*slot = page < 0 || page >= x->pages ? -1 : page * x->page + j % x->page;
	return true;
}

static bool logit(kref_state *r, kir_ref n, const indexer *x, int64_t slot, double *sum)
{
	int64_t at[3] = { slot / x->page, 0, slot % x->page };
	double scale = 1;

	*sum = -INFINITY;
	if (slot < 0)
		return true;
	if (!kref_get_codes(r, n, x->packed, x->k, at, 3, x->dim, x->key))
		return false;
	if (x->groups) {
		if (!kref_get_row(r, n, x->ks, at, 3, x->groups, x->scale))
			return false;
		for (int64_t d = 0; d < x->dim; d++)
			x->key[d] *= x->scale[d / (x->dim / x->groups)];
	} else if (x->ks && !kref_get_row(r, n, x->ks, at, 3, 1, &scale)) {
		return false;
	}
	*sum = 0;
	for (int64_t h = 0; h < x->heads; h++) {
		double s = 0;

		for (int64_t d = 0; d < x->dim; d++)
			s += x->query[h * x->dim + d] * x->key[d];
		*sum += x->weight[h] * (s > 0 ? s : 0);
	}
	*sum *= scale;
	if (isnan(*sum))
		*sum = -INFINITY;
	return true;
}

typedef struct ranked {
	double logit;
	int64_t key;
} ranked;

/* Largest first, of equals the earlier. */
static int by_rank(const void *a, const void *b)
{
	const ranked *x = a, *y = b;

	if (x->logit != y->logit)
		return x->logit > y->logit ? -1 : 1;
	return (x->key > y->key) - (x->key < y->key);
}

static int by_key(const void *a, const void *b)
{
	const ranked *x = a, *y = b;

	return (x->key > y->key) - (x->key < y->key);
}

static bool one_row(kref_state *r, kir_ref n, const indexer *x, int64_t t, int64_t width)
{
	int64_t at[3] = { t, 0, 0 }, seq, len, used = 0;
	ranked *list = NULL;
	bool ok;

	if (!kref_get_int(r, n, x->seqs, &t, 1, &seq) ||
	    !kref_get_int(r, n, x->lens, &t, 1, &len) ||
	    !kref_get_row(r, n, x->w, at, 1, x->heads, x->weight))
		return false;
	for (at[1] = 0; at[1] < x->heads; at[1]++)
		if (!kref_get_row(r, n, x->q, at, 2, x->dim, x->query + at[1] * x->dim))
			return false;
	len = len < width ? len : width;
	list = calloc((size_t)(len > 0 ? len : 1), sizeof *list);
	ok = list || kref_fail(r, n, "out of memory");
	for (int64_t j = 0; ok && j < len; j++) {
		int64_t to[2] = { t, j }, slot;

		list[j].key = j;
		ok = slot_of(r, n, x, seq, j, &slot) && logit(r, n, x, slot, &list[j].logit) &&
		     kref_put_row(r, n, x->logits, to, 2, 1, &list[j].logit) &&
		     kref_get_row(r, n, x->logits, to, 2, 1, &list[j].logit);
	}
	if (ok && len > 0)
		qsort(list, (size_t)len, sizeof *list, by_rank);
	while (ok && used < len && used < x->topk && list[used].logit > -INFINITY)
		used++;
	if (used)
		qsort(list, (size_t)used, sizeof *list, by_key);
	for (int64_t i = 0; ok && i < x->topk; i++) {
		int64_t to[2] = { t, i }, slot = -1;
		double value;

		ok = i >= used || slot_of(r, n, x, seq, list[i].key, &slot);
		value = (double)slot;
		ok = ok && kref_put_row(r, n, x->out, to, 2, 1, &value);
	}
	free(list);
	return ok;
}

bool kref_index(kref_state *r, kir_ref n)
{
	int64_t rows = r->slot[kir_operand(r->f, n, "n")].i[0];
	int64_t width = r->slot[kir_operand(r->f, n, "width")].i[0];
	indexer x = {
		.q = kref_buffer(r, n, "q"),
		.w = kref_buffer(r, n, "w"),
		.k = kref_buffer(r, n, "k"),
		.ks = kref_buffer(r, n, "ks"),
		.table = kref_buffer(r, n, "table"),
		.seqs = kref_buffer(r, n, "seqs"),
		.lens = kref_buffer(r, n, "lens"),
		.out = kref_buffer(r, n, "out"),
		.logits = kref_buffer(r, n, "logits"),
		.pages = r->slot[kir_operand(r->f, n, "pages")].i[0],
	};
	int64_t format = kir_attr_of(r->f, n, KIR_ATTR_format);
	bool ok = true;

	if (format >= 0 && r->f->module->format[format]->side[0].bits == 4)
		x.packed = &r->f->module->format[format]->side[0];
	if (x.ks && x.ks->type->rank == 4)
		x.groups = x.ks->type->dim[3];
	x.heads = x.q->type->dim[1];
	x.dim = x.q->type->dim[2];
	x.page = x.k->type->dim[2];
	x.topk = x.out->type->dim[1];
	if (x.heads <= 0 || x.dim <= 0 || x.page <= 0 || x.topk <= 0)
		return kref_fail(r, n, "q, k and out must have known extents");
	x.query = calloc((size_t)(x.heads * x.dim + x.heads + 2 * x.dim), sizeof *x.query);
	if (!x.query)
		return kref_fail(r, n, "out of memory");
	x.weight = x.query + x.heads * x.dim;
	x.key = x.weight + x.heads;
	x.scale = x.key + x.dim;
	for (int64_t t = 0; ok && t < rows; t++)
		ok = one_row(r, n, &x, t, width);
	free(x.query);
	return ok;
}
