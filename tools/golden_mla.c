/* SPDX-License-Identifier: Apache-2.0 */
/* golden_mla.c -- golden cases of MLA caches: records byte for byte, attention over index
 * lists within its bound. */
#include "golden.h"

#include <stdio.h>
#include <string.h>

/* Columns [from, from + dim) of a [tokens, width] array as the rows of one head. */
static bool bind_slice(const golden_case *c, const char *array, bind *b, const char *name,
                       int64_t from, int64_t dim, golden_result *r)
{
	golden_array a;

	if (!golden_get(c, array, &a) || a.rank != 2 || a.shape[1] < from + dim)
		return golden_fail(r, "array '%s' is missing or has too few columns", array);
	int64_t shape[3] = { a.shape[0], 1, dim };
	size_t item = kir_elem_bytes(a.elem);
	bind_arg *x = bind_borrow(b, name, bind_dtype(a.elem), 3, shape,
	                          (char *)a.data + (size_t)from * item);

	x->nstride = 2;
	x->stride[0] = a.shape[1];
	x->stride[1] = dim;
	return true;
}

/* A record's writer: the format, the array with whole keys or their first part, the array with
 * the rest or NULL, the sizes of both, what the bytes must be. */
static const struct record {
	const char *format, *key, *rest;
	int64_t dim, rest_dim;
	const char *want;
} records[] = {
	{ "fp8_ds_mla", "kv_c", "k_pe", 512, 64, "rec656_pow2" },
	{ "fp8_ds_mla_f32", "kv_c", "k_pe", 512, 64, "rec656_fp32" },
	{ "mla_584", "kv512", "kv512", 448, 64, "page584" },
	{ "mla_584_floor", "kv512", "kv512", 448, 64, "page584_floorscale" },
	{ "mla_528", "kv512", NULL, 512, 0, "rec528" },
	{ "index_e4m3", "index_k", NULL, 128, 0, "indexer_page" },
	{ "index_e4m3_f32", "index_k", NULL, 128, 0, "indexer_page_fp32" },
};

static bool write_record(const golden_case *c, const machine *m, const struct record *w,
                         golden_result *r)
{
	long long page = (long long)golden_number(c->params, "block_size", 0);
	golden_array want, key;
	char text[200];
	bind b = { 0 };

	if (!golden_get(c, w->want, &want) || !golden_get(c, w->key, &key) || page <= 0)
		return golden_fail(r, "array '%s' or '%s' is missing", w->want, w->key);
	int64_t tokens = key.shape[0], pages = (tokens + page - 1) / page;
	int64_t bytes, shape[2] = { pages, 0 };
	snprintf(text, sizeof text, "write in=%s kv=%s heads=1 dim=%lld:%lld page=%lld",
	         kir_elems[key.elem].name, w->format, (long long)(w->dim + w->rest_dim),
	         (long long)w->dim, page);
	if (kvjit_page_bytes(m->kv, w->format, 1, w->dim + w->rest_dim, w->dim, page, &bytes) !=
	    KVJIT_OK)
		return golden_fail(r, "%s", kvjit_error(m->kv));
	shape[1] = bytes;
	bind_arg *cache = bind_tensor(&b, "kv_cache", KVJIT_U8, 2, shape);
	bind_arg *slots = bind_tensor(&b, "slots", KVJIT_S64, 1, &tokens);
	memset(cache->data, 0, cache->bytes);
	/* the indexer's cache has another name; the same memory will do */
	bind_borrow(&b, "k_cache", KVJIT_U8, 2, shape, cache->data);
	for (int64_t t = 0; t < tokens; t++)
		((int64_t *)slots->data)[t] = t;
	bind_scalar(&b, "n", tokens, 0);
	if (bind_slice(c, w->key, &b, "key", 0, w->dim, r) &&
	    (!w->rest || bind_slice(c, w->rest, &b, "rest", w->rest == w->key ? w->dim : 0,
	                            w->rest_dim, r)) &&
	    golden_call(m, c, text, &b, r)) {
		if ((size_t)want.count > cache->bytes)
			golden_fail(r, "%s: a page is only %zu bytes", w->want, cache->bytes);
		else
			golden_same(r, w->want, cache->data, want.data, (size_t)want.count, 1);
	}
	bind_free(&b);
	return !r->failed;
}

bool golden_mla_records(const golden_case *c, const machine *m, golden_result *r)
{
	for (size_t i = 0; i < sizeof records / sizeof *records; i++)
		if (!write_record(c, m, &records[i], r))
			return false;
	snprintf(r->text, sizeof r->text, "%u bytes exact; rec352 needs 4-bit elements",
	         r->checked);
	return true;
}
