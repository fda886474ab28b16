/* SPDX-License-Identifier: Apache-2.0 */
/* golden_mla.c -- golden cases of MLA caches: records byte for byte, attention over index
 * lists within its bound. */
#include "golden.h"
#include "../check/bound.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
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
	bool spread; /* a token's f32 scale as four exponents, which is as long */
} records[] = {
	{ "fp8_ds_mla", "kv_c", "k_pe", 512, 64, "rec656_pow2", false },
	{ "fp8_ds_mla_f32", "kv_c", "k_pe", 512, 64, "rec656_fp32", false },
	{ "mla_352", "kv_c", "k_pe", 512, 64, "rec352", false },
	{ "mla_584", "kv512", "kv512", 448, 64, "page584", false },
	{ "mla_584_floor", "kv512", "kv512", 448, 64, "page584_floorscale", false },
	{ "mla_528", "kv512", NULL, 512, 0, "rec528", false },
	{ "index_e4m3", "index_k", NULL, 128, 0, "indexer_page", false },
	{ "index_e4m3_f32", "index_k", NULL, 128, 0, "indexer_page_fp32", false },
	{ "index_mxfp8_row", "index_k", NULL, 128, 0, "indexer_page", true },
};

/* What a page of `tokens` codes of `dim` elements and an exponent for each 32 holds, made from
 * one with a power of two for each token. */
static unsigned char *spread_scales(const golden_array *from, int64_t tokens, int64_t dim)
{
	unsigned char *to = malloc((size_t)from->count);
	int64_t codes = tokens * dim;

	if (!to || from->count != codes + 4 * tokens) {
		free(to);
		return NULL;
	}
	memcpy(to, from->data, (size_t)from->count);
	for (int64_t t = 0; t < tokens; t++) {
		uint32_t bits;

		memcpy(&bits, to + codes + 4 * t, 4);
		memset(to + codes + 4 * t, (int)(bits >> 23 & 255), 4);
	}
	return to;
}

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
		unsigned char *made = w->spread ? spread_scales(&want, tokens, w->dim) : NULL;

		if ((size_t)want.count > cache->bytes || (w->spread && !made))
			golden_fail(r, "%s: a page is only %zu bytes", w->want, cache->bytes);
		else
			golden_same(r, w->want, cache->data, made ? made : want.data,
			            (size_t)want.count, 1);
		free(made);
	}
	bind_free(&b);
	return !r->failed;
}

bool golden_mla_records(const golden_case *c, const machine *m, golden_result *r)
{
	for (size_t i = 0; i < sizeof records / sizeof *records; i++)
		if (!write_record(c, m, &records[i], r))
			return false;
	snprintf(r->text, sizeof r->text, "%u bytes exact", r->checked);
	return true;
}

/* -- attention over index lists ------------------------------------------------------ */

enum { PAGE = 64 };

typedef struct want {
	golden_array out, lse, bound[2], bound_lse[2]; /* of f32, and with 16-bit operands */
} want;

static bool get_want(const golden_case *c, want *w, golden_result *r)
{
	static const char *const names[] = {
		"out", "lse", "bound_fp32", "bound_bf16m", "bound_lse_fp32", "bound_lse_bf16m"
	};
	golden_array *const at[] = { &w->out,      &w->lse,          &w->bound[0],
		                     &w->bound[1], &w->bound_lse[0], &w->bound_lse[1] };

	for (int i = 0; i < 6; i++)
		if (!golden_get(c, names[i], at[i]) || at[i]->elem == KIR_VOID)
			return golden_fail(r, "array '%s' is missing", names[i]);
	return true;
}

/* Rows one after the other as pages of PAGE tokens; one sequence for each query. */
static bool bind_lists(const golden_case *c, bind *b, int64_t *rows, golden_result *r)
{
	golden_array cache, index, used;

	if (!golden_get(c, "kv_cache", &cache) || !golden_get(c, "indices", &index) ||
	    cache.rank != 2 || cache.shape[0] % PAGE || index.rank != 2 ||
	    index.elem != KIR_s32)
		return golden_fail(r, "kv_cache or indices is missing or misshapen");
	int64_t n = *rows = index.shape[0], n1 = n + 1;
	int64_t shape[2] = { cache.shape[0] / PAGE, PAGE * cache.shape[1] };
	bind_arg *x = bind_tensor(b, "kv_cache", KVJIT_U8, 2, shape);

	memcpy(x->data, cache.data, x->bytes);
	int32_t *lens = bind_tensor(b, "lens", KVJIT_S32, 1, &n)->data;
	int32_t *starts = bind_tensor(b, "starts", KVJIT_S32, 1, &n1)->data;
	bool some = golden_get(c, "topk_length", &used) && used.count == n;

	for (int64_t i = 0; i < n; i++) {
		lens[i] = some ? ((const int32_t *)used.data)[i] : (int32_t)index.shape[1];
		starts[i + 1] = (int32_t)i + 1;
	}
	bind_scalar(b, "scale", 0, golden_number(c->params, "softmax_scale", 1));
	return golden_bind(c, "indices", b, "index", r) && golden_bind(c, "q", b, "q", r);
}

static bool near(golden_result *r, const char *what, int64_t i, double got, double right,
                 double bound)
{
	r->checked++;
	if (isinf(right) || isnan(got))
		return got == right ||
		       golden_fail(r, "%s[%lld] is %g, not %g", what, (long long)i, got, right);
	if (got != right && fabs(got - right) / bound > r->worst)
		r->worst = fabs(got - right) / bound;
	return fabs(got - right) <= bound ||
	       golden_fail(r, "%s[%lld] is %g, not %g: error %.3g, bound %.3g", what,
	                   (long long)i, got, right, fabs(got - right), bound);
}

static bool run_lists(const machine *m, kvjit_kernel *k, bind *b, int64_t rows, const want *w,
                      double gain, golden_result *r)
{
	kvjit_batch batch = { .size = sizeof batch,
		              .nseq = rows,
		              .seq_lens = bind_find(b, "lens")->data,
		              .query_starts = bind_find(b, "starts")->data };
	kvjit_plan *plan = NULL;
	bound_profile p;
	char why[300];

	if (!bound_profile_of(k, m->backend, false, &p, why, sizeof why))
		return golden_fail(r, "%s", why);
	if (kvjit_plan_new(k, &batch, &plan) != KVJIT_OK)
		return golden_fail(r, "plan: %s", kvjit_kernel_error(k));
	if (bind_call(b, m->kv, k, plan, why, sizeof why) != KVJIT_OK)
		golden_fail(r, "call: %s", why);
	kvjit_plan_free(plan);
	int half = p.pv == ARITH_bf16 || p.qk == ARITH_bf16;
	const float *out = bind_find(b, "out")->data, *lse = bind_find(b, "lse")->data;

	for (int64_t i = 0; i < w->out.count && !r->failed; i++) {
		double right = elem_get(w->out.elem, w->out.data, i);

		near(r, "out", i, gain * (double)out[i], right,
		     elem_get(KIR_f32, w->bound[half].data, i) + 0x1p-24 * fabs(right));
	}
	for (int64_t i = 0; i < w->lse.count && !r->failed; i++)
		near(r, "lse", i, (double)lse[i], elem_get(w->lse.elem, w->lse.data, i),
		     elem_get(KIR_f32, w->bound_lse[half].data, i));
	if (!r->failed)
		snprintf(r->text, sizeof r->text,
		         "worst error %.3f of the bound (bound_%s, %s)", r->worst,
		         half ? "bf16m" : "fp32", p.name);
	return !r->failed;
}

bool golden_sparse_mla(const golden_case *c, const machine *m, golden_result *r)
{
	const char *record = golden_word(c->params, "record");
	const char *format = strcmp(record, "pow2") == 0   ? "fp8_ds_mla"
	                     : strcmp(record, "fp32") == 0 ? "fp8_ds_mla_f32"
	                     : strcmp(record, "352") == 0  ? "mla_352"
	                                                   : NULL;
	double gain = !c->spoil                       ? 1
	              : strcmp(c->spoil, "zero") == 0 ? 0
	              : strcmp(c->spoil, "gain") == 0 ? 1.05
	                                              : 1;
	long long heads = (long long)golden_number(c->params, "heads", 0);
	long long topk = (long long)golden_number(c->params, "topk", 0);
	long long dim_v = (long long)golden_number(c->params, "head_size_v", 0);
	golden_array q, sink;
	bind b = { 0 };
	int64_t rows = 0;
	char text[300];
	want w;

	if (!format)
		return golden_fail(r, "unknown record '%s'", record);
	if (!golden_get(c, "q", &q) || !get_want(c, &w, r))
		return golden_fail(r, "array 'q' is missing");
	bool has_sink = golden_get(c, "sink", &sink);
	snprintf(text, sizeof text,
	         "attn q=%s out=f32 kv=%s heads=%lld:1 dim=%lld:%lld page=%d sparse=%lld%s lse",
	         kir_elems[q.elem].name, format, heads, (long long)q.shape[2], dim_v, PAGE,
	         topk, has_sink ? " sink" : "");
	kvjit_kernel *k = golden_compile(m, c, text, r);

	if (k && bind_lists(c, &b, &rows, r) &&
	    (!has_sink || golden_bind(c, "sink", &b, "sink", r))) {
		int64_t shape[3] = { rows, heads, dim_v };

		bind_tensor(&b, "out", KVJIT_F32, 3, shape);
		bind_tensor(&b, "lse", KVJIT_F32, 2, shape);
		run_lists(m, k, &b, rows, &w, gain, r);
	}
	kvjit_release(k);
	bind_free(&b);
	return !r->failed;
}
