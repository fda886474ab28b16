/* SPDX-License-Identifier: Apache-2.0 */
/* test_transcode.c -- a transcoded cache has the bytes that a cache write would have made.
 *
 *   relayout   rows written in one layout and transcoded to another: the bytes of the same rows
 *              written there, for each pair of layouts, whatever the page sizes
 *   requantize rows written in format A, taken apart code by code here, and the result written
 *              in B: the bytes of A transcoded to B
 *
 * The writers are pinned by golden bytes of their own (test_ref_golden, kvjit check --golden).
 * What this machine generates is compared, and the interpreter.
 */
#include "../tools/check/attn.h"
#include "support_api.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS = 40, PAGES = 6, FILL = 0xa5, TEXT = 400 };

static kvjit *kv[2]; /* the interpreter; the default backend, or the C one */
static int nkv;

/* A cache that rows were or will be written to. */
typedef struct cache {
	attn a;
	kvjit_kernel *writer; /* of the interpreter */
} cache;

static double noise(unsigned i)
{
	i = i * 747796405u + 2891336453u;
	i = ((i >> ((i >> 28) + 4)) ^ i) * 277803737u;
	return (double)((i >> 22) ^ i) / 2147483648.0 - 1;
}

/* Token t of every list: slots in pages that come in another order, none used twice. */
static int64_t slot_of(int t, int64_t page)
{
	return (int64_t)(t / page * 5 + 2) % PAGES * page + t % page;
}

/* The fields of a cache's format K, or K+V: `one` of both, or `k` and `v`. */
static const char *fields(char out[TEXT], const char *format, const char *one, const char *k,
                          const char *v)
{
	const char *plus = strchr(format, '+');

	if (plus)
		snprintf(out, TEXT, "%s=%.*s %s=%s", k, (int)(plus - format), format, v,
		         plus + 1);
	else
		snprintf(out, TEXT, "%s=%s", one, format);
	return out;
}

static void open_cache(cache *c, const char *format, const char *shape, int page)
{
	char text[2 * TEXT], kv_fields[TEXT], why[500];

	snprintf(text, sizeof text, "write in=f32 %s %s page=%d",
	         fields(kv_fields, format, "kv", "k", "v"), shape, page);
	if (!attn_open(&c->a, text, why, sizeof why))
		fail_msg("%s: %s", text, why);
	if (kvjit_compile(kv[0], text, NULL, &c->writer) != KVJIT_OK)
		fail_msg("%s: %s", text, kvjit_error(kv[0]));
	for (unsigned i = 0; i < c->a.layout.ntensor; i++)
		for (int k = 0; k < kvjit_nparam(c->writer); k++) {
			const kvjit_param *p = kvjit_param_at(c->writer, k);
			int64_t dims[6];

			if (strcmp(p->name, c->a.layout.tensor[i].name) != 0)
				continue;
			memcpy(dims, p->shape, sizeof dims);
			dims[0] = PAGES;
			bind_arg *x = bind_tensor(&c->a.b, p->name, p->dtype, p->rank, dims);
			memset(x->data, FILL, x->bytes);
		}
}

static void close_cache(cache *c)
{
	kvjit_release(c->writer);
	attn_close(&c->a);
}

static float *rows(cache *c, const char *name, int64_t dim)
{
	int64_t shape[3] = { TOKENS, c->a.p.kv_heads, dim };

	return bind_tensor(&c->a.b, name, KVJIT_F32, 3, shape)->data;
}

static void given(bind *b, const char *name, int64_t heads, double base)
{
	float *x = bind_tensor(b, name, KVJIT_F32, 1, &heads)->data;

	for (int64_t h = 0; h < heads; h++)
		x[h] = (float)(base + 0.01 * (double)h);
}

static void slots(bind *b, const char *name, int64_t page)
{
	int64_t n = TOKENS, *s = bind_tensor(b, name, KVJIT_S64, 1, &n)->data;

	for (int t = 0; t < TOKENS; t++)
		s[t] = slot_of(t, page);
}

/* Binds rows for the writer; what they hold comes after. */
static void bind_rows(cache *c, double kd)
{
	int rest = c->a.format->rest;

	rows(c, "key", c->a.p.dim_k - rest);
	rows(c, "value", c->a.p.dim_v);
	if (rest)
		rows(c, "rest", rest);
	given(&c->a.b, "kd", c->a.p.kv_heads, kd);
	given(&c->a.b, "vd", c->a.p.kv_heads, 2 * kd);
	slots(&c->a.b, "slots", c->a.p.page);
	bind_scalar(&c->a.b, "n", TOKENS, 0);
}

static void write_cache(cache *c)
{
	char why[500];

	if (bind_call(&c->a.b, kv[0], c->writer, NULL, why, sizeof why) != KVJIT_OK)
		fail_msg("%s", why);
}

static void fill_rows(cache *c)
{
	static const char *const names[] = { "key", "value", "rest" };

	for (int i = 0; i < 3; i++) {
		bind_arg *x = bind_find(&c->a.b, names[i]);

		for (size_t k = 0; x && k < x->bytes / 4; k++)
			((float *)x->data)[k] =
			    (float)(noise((unsigned)(k + 100000u * (unsigned)i)) *
			            (k % 97 == 5 ? 50 : 2));
	}
}

/* What a reader sees of cache c, as rows of cache `to`: code times (scale times given). */
static void decode_rows(cache *c, cache *to)
{
	static const char *const names[] = { "key", "value", "rest" };
	static const kir_stream codes[] = { KIR_S_k, KIR_S_v, KIR_S_r };
	const kir_format *f = c->a.format;

	for (int i = 0; i < 3; i++) {
		bind_arg *x = bind_find(&to->a.b, names[i]);
		const kir_side *s = &f->side[i];
		const float *g = bind_find(&c->a.b, i == 1 ? "vd" : "kd")->data;

		if (!x || c->a.layout.stream[codes[i]].tensor < 0)
			continue;
		for (int64_t k = 0; k < (int64_t)(x->bytes / 4); k++) {
			int64_t dim = x->shape[2], d = k % dim, h = k / dim % x->shape[1];
			int64_t t = slot_of((int)(k / dim / x->shape[1]), c->a.p.page);
			int64_t page = t / c->a.p.page, token = t % c->a.p.page;
			double code = attn_value(&c->a, codes[i], page, h, token, d);
			float scale = 1;
			double zero = 0;

			if (format_stored(s))
				scale = (float)kir_side_split(
				    s,
				    attn_value(&c->a, (kir_stream)(codes[i] + KIR_S_ks), page,
				               h, token, s->group ? d / s->group : 0),
				    &zero);
			if (kir_side_given(s))
				scale = scale * g[h];
			((float *)x->data)[k] = s->gran == KIR_GRAN_none
			                            ? (float)code
			                            : (float)(code - zero) * scale;
		}
	}
}

static void call_transcode(kvjit *ctx, const char *text, cache *from, cache *to)
{
	kvjit_kernel *k = NULL;
	bind b = { 0 };
	char why[500];

	if (kvjit_compile(ctx, text, NULL, &k) != KVJIT_OK)
		fail_msg("%s: %s", text, kvjit_error(ctx));
	for (int i = 0; i < kvjit_nparam(k); i++) {
		const kvjit_param *p = kvjit_param_at(k, i);
		bool source = !strncmp(p->name, "from_", 5);
		const bind_arg *x =
		    bind_find(&(source ? from : to)->a.b, p->name + (source ? 5 : 0));

		if (!x)
			fail_msg("%s: nothing is called '%s'", text, p->name);
		if (!p->rank) {
			bind_scalar(&b, p->name, TOKENS, 0);
			continue;
		}
		bind_borrow(&b, p->name, x->dtype, x->rank, x->shape, x->data);
		if (p->role & KVJIT_OUTPUT)
			memset(x->data, FILL, x->bytes);
	}
	if (bind_call(&b, ctx, k, NULL, why, sizeof why) != KVJIT_OK)
		fail_msg("%s: %s", text, why);
	kvjit_release(k);
	bind_free(&b);
}

/* All tensors of two caches of one format and shape. */
static void assert_caches(const char *text, cache *got, cache *want)
{
	for (unsigned i = 0; i < want->a.layout.ntensor; i++) {
		const char *name = want->a.layout.tensor[i].name;
		const bind_arg *x = bind_find(&got->a.b, name),
		               *y = bind_find(&want->a.b, name);

		for (size_t k = 0; k < y->bytes; k++)
			if (((uint8_t *)x->data)[k] != ((uint8_t *)y->data)[k])
				fail_msg(
				    "%s: byte %zu of '%s' is 0x%02x, a write makes it 0x%02x",
				    text, k, name, ((uint8_t *)x->data)[k],
				    ((uint8_t *)y->data)[k]);
	}
}

/* From A to B; decode: B's rows are what A's codes stand for, else those A was written from. */
static void compare(const char *a, const char *b, const char *shape, int page, int page_to,
                    bool decode)
{
	cache from = { 0 }, want = { 0 }, got = { 0 };
	char text[3 * TEXT], read[TEXT], written[TEXT];

	open_cache(&from, a, shape, page);
	open_cache(&want, b, shape, page_to);
	open_cache(&got, b, shape, page_to);
	bind_rows(&from, 0.03);
	bind_rows(&want, 0.05);
	bind_rows(&got, 0.05);
	fill_rows(&from);
	write_cache(&from);
	if (decode)
		decode_rows(&from, &want);
	else {
		fill_rows(&want);
		/* handed-over scales stay what they were */
		given(&want.a.b, "kd", want.a.p.kv_heads, 0.03);
		given(&want.a.b, "vd", want.a.p.kv_heads, 0.06);
	}
	write_cache(&want);
	snprintf(text, sizeof text, "transcode %s %s %s page=%d:%d",
	         fields(read, a, "from", "from", "from_v"),
	         fields(written, b, "to", "to", "to_v"), shape, page, page_to);
	for (int i = 0; i < nkv; i++) {
		call_transcode(kv[i], text, &from, &got);
		assert_caches(text, &got, &want);
	}
	close_cache(&from);
	close_cache(&want);
	close_cache(&got);
}

/* -- tests ------------------------------------------------------------------------------ */

/* One element and rule, every pair of layouts, in the pages of one and the other. */
static void relayout(const char *const *names, int n, const char *shape)
{
	for (int i = 0; i < n; i++)
		for (int k = 0; k < n; k++)
			compare(names[i], names[k], shape, k % 2 ? 16 : 24, i % 2 ? 32 : 8,
			        false);
}

static void relayout_wide(void **state)
{
	static const char *const names[] = { "bf16",          "bf16/none/inline",
		                             "bf16/none/nhd", "bf16/none/hnd",
		                             "bf16/none/x",   "bf16/none/amx" };

	(void)state;
	relayout(names, 6, "heads=2 dim=64:48");
}

static void relayout_scaled(void **state)
{
	static const char *const names[] = { "int8/token-head", "int8/token-head/inline",
		                             "int8/token-head/split", "int8/token-head/x",
		                             "int8/token-head/amx" };

	(void)state;
	relayout(names, 5, "heads=3 dim=64:32");
}

static void relayout_given(void **state)
{
	static const char *const names[] = { "e4m3/head", "e4m3/head/nhd", "e4m3/head/hnd",
		                             "e4m3/head/x", "e4m3/head/amx" };

	(void)state;
	relayout(names, 5, "heads=2 dim=96:80");
}

static void relayout_nibbles(void **state)
{
	static const char *const names[] = { "int4/g32", "int4/g32/inline", "int4/g32/page" };
	static const char *const zeros[] = { "uint4/g32", "uint4/g32/inline" };
	static const char *const float4[] = { "nvfp4", "nvfp4/page", "nvfp4/inline" };

	(void)state;
	relayout(names, 3, "heads=2 dim=64");
	relayout(zeros, 2, "heads=2 dim=64");
	relayout(float4, 3, "heads=2 dim=64");
}

/* Where scales were found otherwise, they are still scales. */
static void relayout_rules(void **state)
{
	(void)state;
	compare("fp8_ds_mla", "fp8_ds_mla", "heads=1 dim=576:512", 64, 16, false);
	compare("mla_528", "mla_528", "heads=1 dim=512", 16, 64, false);
	compare("mxfp8", "mxfp8/inline", "heads=2 dim=64", 16, 16, false);
}

/* K and V of two formats each: tensors of one name have k_ and v_ before it. */
static void relayout_pairs(void **state)
{
	static const char *const names[] = { "int8/token-head+bf16",
		                             "int8/token-head/inline+bf16/none/hnd",
		                             "int8/token-head/x+bf16/none/x" };

	(void)state;
	relayout(names, 3, "heads=2 dim=64:48");
}

static void requantize(void **state)
{
	static const char *const names[][2] = {
		{ "e4m3/head/nhd", "int8/token-head" },
		{ "int8/token-head/inline", "e4m3/head/hnd" },
		{ "int8/token-head/amx", "e5m2/g16" },
		{ "bf16", "int4/g32" },
		{ "int4/g32", "bf16/none/amx" },
		{ "mxfp4", "nvfp4/page" },
		{ "nvfp4/page", "int8/token-head" },
		{ "nvfp4", "mxfp8" },
		{ "bf16", "nvfp4/4over6/page" },
		{ "e4m3", "f16/none/nhd" },
		{ "f16", "bf16" },
		{ "uint4", "int8/token-head" },
		{ "int8/token-head", "uint4/g32/inline" },
		{ "mxfp8/ocp", "e4m3/g32" },
		{ "int8/token-head+e4m3/head", "bf16+uint4/g32" },
		{ "bf16/none/hnd+nvfp4/page", "int4/g32/inline+e5m2/g16/hnd" },
		{ "f16", "int8/g32+bf16/none/amx" },
		{ "mxfp4+e4m3/head/hnd", "bf16" }
	};

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		compare(names[i][0], names[i][1], "heads=3 dim=64:96", 16, i % 2 ? 8 : 32,
		        true);
}

static void requantize_latent(void **state)
{
	static const char *const names[][2] = { { "mla_bf16", "fp8_ds_mla" },
		                                { "fp8_ds_mla_f32", "fp8_ds_mla" },
		                                { "fp8_ds_mla", "mla_bf16" },
		                                { "mla_e4m3", "fp8_ds_mla_f32" },
		                                { "mla_f16", "mla_e4m3" } };

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		compare(names[i][0], names[i][1], "heads=1 dim=576:512", 64, 16, true);
}

/* -- calls that are refused ---------------------------------------------------------------- */

static void bad_slots(void **state)
{
	const char *text = "transcode from=bf16/none/inline to=int8/token-head dim=16 page=8";
	static uint16_t source[2 * 8 * 32];
	static uint8_t target[3 * 320];
	int64_t from[2] = { 15, -1 }, to[2] = { 23, 100000 };
	kvjit_kernel *k = NULL;
	kvjit_arg a[] = {
		{ .name = "from_cache", .data = source, .dtype = KVJIT_U8, .rank = 4 },
		{ .name = "cache", .data = target, .dtype = KVJIT_U8, .rank = 3 },
		{ .name = "from_slots",
		  .data = from,
		  .dtype = KVJIT_S64,
		  .rank = 1,
		  .shape = { 2 } },
		{ .name = "slots", .data = to, .dtype = KVJIT_S64, .rank = 1, .shape = { 2 } },
		{ .name = "n", .i = 2 },
	};

	(void)state;
	if (kvjit_compile(kv[nkv - 1], text, NULL, &k) != KVJIT_OK)
		fail_msg("%s", kvjit_error(kv[nkv - 1]));
	for (int i = 0; i < 2; i++) {
		memcpy(a[i].shape, kvjit_param_at(k, i)->shape, sizeof a[i].shape);
		a[i].shape[0] = 2 + i;
	}
	assert_int_equal(a[0].shape[3], 64);
	assert_int_equal(a[1].shape[2], 320);
	assert_int_equal(kvjit_call(k, NULL, a, 5, NULL), KVJIT_BAD_ARGUMENT);
	assert_non_null(strstr(kvjit_kernel_error(k),
	                       "argument 'slots': slot 100000 of token 1 is beyond the pool of "
	                       "3 pages of 8 tokens"));
	to[1] = 5;
	from[0] = 16;
	assert_int_equal(kvjit_call(k, NULL, a, 5, NULL), KVJIT_BAD_ARGUMENT);
	assert_non_null(
	    strstr(kvjit_kernel_error(k),
	           "argument 'from_slots': slot 16 of token 0 is beyond the pool of "
	           "2 pages of 8 tokens"));
	from[0] = 15;
	memset(target, FILL, sizeof target);
	for (int i = 0; i < 16; i++)
		source[15 * 32 + i] = 0x3f80; /* K of the last token: ones */
	assert_int_equal(kvjit_call(k, NULL, a, 5, NULL), KVJIT_OK);
	assert_int_equal(target[2 * 320 + 7 * 4], 127);
	assert_int_equal(target[5 * 4], FILL); /* its source is negative */
	kvjit_release(k);
}

static void block_slots(void **state)
{
	static const int32_t blocks[3] = { 7, -1, 2147483647 };
	static const int64_t want[9] = {
		28, 29, 30, 31, -1, -1, -1, -1, 4 * INT64_C(2147483647)
	};
	int64_t got[13];

	(void)state;
	memset(got, FILL, sizeof got);
	assert_int_equal(kvjit_block_slots(blocks, 3, 4, 9, got), 9);
	assert_memory_equal(got, want, sizeof want);
	assert_true(got[9] == (int64_t)0xa5a5a5a5a5a5a5a5);
	assert_int_equal(kvjit_block_slots(blocks, 1, 4, 9, got), 4);
	assert_int_equal(kvjit_block_slots(NULL, 0, 4, 9, got), 0);
	assert_int_equal(kvjit_block_slots(NULL, 3, 4, 9, got), 0);
	assert_int_equal(kvjit_block_slots(blocks, 3, 4, 9, NULL), 0);
	assert_int_equal(kvjit_block_slots(blocks, 3, 4, 0, got), 0);
}

/* The interpreter, and machine code where there is a backend for it. */
static int open_all(void **state)
{
	(void)state;
	kv[nkv++] = open_with("ref", NULL);
	kv[nkv++] = open_code();
	return 0;
}

static int close_all(void **state)
{
	(void)state;
	for (int i = 0; i < nkv; i++)
		kvjit_close(kv[i]);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(relayout_wide),     cmocka_unit_test(relayout_scaled),
		cmocka_unit_test(relayout_given),    cmocka_unit_test(relayout_nibbles),
		cmocka_unit_test(relayout_rules),    cmocka_unit_test(requantize),
		cmocka_unit_test(requantize_latent), cmocka_unit_test(relayout_pairs),
		cmocka_unit_test(bad_slots),         cmocka_unit_test(block_slots),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
