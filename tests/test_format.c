/* SPDX-License-Identifier: Apache-2.0 */
/* test_format.c -- declared formats: text, hash, built-in names and where everything lies. */
#include "../ir/format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const kir_shape small = { 2, 64, 64, 16 };

static const kir_format *parse(kir_module *m, const char *text)
{
	kir_diag d = { 0 };
	char buf[1000];

	if (!kir_format_parse_body(m, text, strlen(text), 1, &d))
		fail_msg("%s", kir_diag_text(&d, buf, sizeof(buf)));
	return m->format[m->nformat - 1];
}

static const kir_format *get(kir_module *m, const char *name)
{
	kir_diag d = { 0 };
	char buf[1000];
	const kir_format *f = kir_format_get(m, name, &d);

	if (!f)
		fail_msg("%s: %s", name, kir_diag_text(&d, buf, sizeof(buf)));
	return f;
}

static void layout_of(const kir_format *f, const kir_shape *s, kir_layout *out)
{
	kir_diag d = { 0 };
	char buf[1000];

	if (!kir_format_layout(f, s, out, &d))
		fail_msg("%s: %s", f->name, kir_diag_text(&d, buf, sizeof(buf)));
}

/* Byte address of an element in its tensor, with the default strides. */
static int64_t address(const kir_layout *l, int stream, const int64_t *index)
{
	const kir_type *t = &l->stream[stream].type;
	int64_t at = l->stream[stream].offset;

	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *p = &t->piece[i];
		int64_t stride =
		    p->dyn ? l->tensor[l->stream[stream].tensor].stride[p->stride] : p->stride;
		int64_t x = index[p->axis] / p->div;

		at += (p->mod ? x % p->mod : x) * stride;
	}
	return at;
}

static int64_t at(const kir_layout *l, int stream, int64_t page, int64_t h, int64_t t,
                  int64_t d)
{
	return address(l, stream, (int64_t[]){ page, h, t, d });
}

/* Marks every byte of one page of every stream: none twice, none outside. */
static void assert_sound(const kir_layout *l, const char *name)
{
	char *used[KIR_MAX_TENSORS];

	for (unsigned i = 0; i < l->ntensor; i++)
		used[i] = calloc(1, (size_t)l->tensor[i].page_bytes);
	for (int s = 0; s < KIR_NSTREAM; s++) {
		const kir_type *t = &l->stream[s].type;
		int64_t size, count = 1, left;

		if (l->stream[s].tensor < 0)
			continue;
		size = kir_elem_bytes((kir_elem)t->elem);
		for (unsigned k = 1; k < t->rank; k++)
			count *= t->dim[k];
		for (int64_t n = 0; n < count; n++) {
			int64_t index[KIR_RANK] = { 0 }, to;

			left = n;
			for (unsigned k = t->rank; --k; left /= t->dim[k])
				index[k] = left % t->dim[k];
			to = address(l, s, index);
			assert_int_equal(to % size, 0);
			assert_in_range(to, 0,
			                l->tensor[l->stream[s].tensor].page_bytes - size);
			for (int64_t b = 0; b < size; b++)
				if (used[l->stream[s].tensor][to + b]++)
					fail_msg("%s: stream %d overlaps at %d", name, s,
					         (int)to);
		}
	}
	for (unsigned i = 0; i < l->ntensor; i++)
		free(used[i]);
}

static const char *const names[] = {
	"bf16",
	"f16",
	"bf16/none/inline",
	"f16/centered",
	"int8/token-head/hnd/centered/rotated",
	"bf16/none/split",
	"f16/none/x",
	"e4m3",
	"e4m3/head",
	"e4m3/head/hnd",
	"e4m3/tensor/x",
	"e5m2/tensor/hnd/rcp",
	"e4m3fnuz/nan-max",
	"e5m2fnuz/token-head",
	"int8",
	"int8/token-head",
	"int8/token-head/inline",
	"int8/token-head/inline/zero",
	"int8/token-head/x",
	"int8/g32",
	"int8/g64/inline/div/even",
	"e4m3/g16/split",
	"bf16/none/amx",
	"int8/token-head/amx",
	"e5m2/g32/amx/div",
	"mxfp8",
	"mxfp8/hnd",
	"nvfp4/4over6",
	"nvfp4/4over6/page",
};
enum { NNAMES = sizeof(names) / sizeof(names[0]) };

static void test_names_round_trip(void **state)
{
	(void)state;
	for (int i = 0; i < NNAMES; i++) {
		kir_module *m = kir_module_new(), *n = kir_module_new();
		const kir_format *f = get(m, names[i]), *g;
		kir_text a = { 0 }, b = { 0 };

		assert_string_equal(f->name, names[i]);
		assert_ptr_equal(f, get(m, names[i]));
		kir_format_print(f, &a);
		g = parse(n, a.text);
		kir_format_print(g, &b);
		assert_string_equal(a.text, b.text);
		assert_true(kir_format_hash(f) == kir_format_hash(g));
		free(a.text);
		free(b.text);
		kir_module_free(m);
		kir_module_free(n);
	}
}

static void test_names_are_sound(void **state)
{
	static const kir_shape shapes[] = { { 2, 64, 64, 16 },
		                            { 1, 128, 64, 24 },
		                            { 3, 192, 128, 32 } };

	(void)state;
	for (int i = 0; i < NNAMES; i++) {
		kir_module *m = kir_module_new();
		const kir_format *f = get(m, names[i]);

		for (int k = 0; k < 3; k++) {
			kir_layout l;

			layout_of(f, &shapes[k], &l);
			assert_sound(&l, names[i]);
		}
		kir_module_free(m);
	}
}

static void test_aliases(void **state)
{
	static const char *const pairs[][2] = {
		{ "auto", "bf16" },
		{ "bfloat16", "bf16" },
		{ "float16", "f16" },
		{ "fp8", "e4m3" },
		{ "fp8_e4m3", "e4m3" },
		{ "fp8_e5m2", "e5m2" },
		{ "int8_per_token_head", "int8/token-head/inline" },
		{ "fp8_per_token_head", "e4m3/token-head/inline" },
		{ "e4m3fn/tensor/native/div/even", "e4m3" },
		{ "s8/token-head/rcp/away", "int8/token-head" },
		{ "e4m3/head/nhd", "e4m3/head/split" },
		{ "bf16/none/native", "bf16" },
	};
	kir_module *m = kir_module_new();

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		assert_string_equal(get(m, pairs[i][0])->name, pairs[i][1]);
	kir_module_free(m);
}

static void test_rules(void **state)
{
	kir_module *m = kir_module_new();
	const kir_side *s = &get(m, "int8_per_token_head")->side[1];

	(void)state;
	assert_int_equal(s->elem, KIR_s8);
	assert_int_equal(s->scale_elem, KIR_f32);
	assert_int_equal(s->gran, KIR_GRAN_token_head);
	assert_int_equal(s->rule, KIR_RULE_amax);
	assert_true(s->divisor == 127 && s->floor == 1e-6);
	assert_true(s->reciprocal);
	assert_int_equal(s->round, KIR_ROUND_away);
	s = &get(m, "fp8_per_token_head")->side[0];
	assert_true(s->divisor == 448 && s->reciprocal && s->round == KIR_ROUND_even);
	assert_true(get(m, "e4m3fnuz/token-head")->side[0].divisor == 224);
	assert_true(get(m, "e5m2/token-head")->side[0].divisor == 57344);
	s = &get(m, "fp8")->side[0];
	assert_true(s->gran == KIR_GRAN_tensor && s->rule == KIR_RULE_given && !s->reciprocal);
	assert_int_equal(get(m, "e4m3/nan-max")->side[0].nan, KIR_NAN_max);
	s = &get(m, "mxfp8")->side[0];
	assert_true(s->scale_elem == KIR_e8m0 && s->group == 32 && s->rule == KIR_RULE_pow2);
	kir_module_free(m);
}

/* The record of hosts: [K codes | f32 scale | V codes | f32 scale] for each head and token. */
static void test_inline(void **state)
{
	kir_module *m = kir_module_new();
	kir_shape s = { 2, 192, 128, 16 };
	kir_layout l;

	(void)state;
	layout_of(get(m, "int8_per_token_head"), &s, &l);
	assert_int_equal(l.ntensor, 1);
	assert_string_equal(l.tensor[0].name, "cache");
	assert_int_equal(l.tensor[0].page_bytes, 2 * 16 * 328);
	assert_int_equal(l.tensor[0].nstride, 3);
	assert_memory_equal(l.tensor[0].axis, "pht", 3);
	assert_int_equal(l.tensor[0].stride[1], 16 * 328);
	assert_int_equal(l.tensor[0].stride[2], 328);
	assert_int_equal(at(&l, KIR_S_k, 3, 1, 5, 7), 3 * 10496 + 21 * 328 + 7);
	assert_int_equal(at(&l, KIR_S_ks, 0, 1, 5, 0), 21 * 328 + 192);
	assert_int_equal(at(&l, KIR_S_v, 0, 1, 5, 7), 21 * 328 + 196 + 7);
	assert_int_equal(at(&l, KIR_S_vs, 0, 1, 5, 0), 21 * 328 + 324);
	assert_int_equal(l.stream[KIR_S_ks].type.rank, 3);
	kir_module_free(m);
}

static void test_native(void **state)
{
	kir_module *m = kir_module_new();
	kir_shape s = { 8, 128, 128, 128 };
	kir_layout l;

	(void)state;
	layout_of(get(m, "int8/token-head"), &s, &l);
	assert_int_equal(l.tensor[0].stride[1], 2 * 128 * 128 + 2 * 4 * 128);
	assert_int_equal(at(&l, KIR_S_k, 0, 0, 37, 70), 17 * 256 + 37 * 4 + 2);
	assert_int_equal(at(&l, KIR_S_k, 0, 0, 101, 70), 8192 + 17 * 256 + 37 * 4 + 2);
	assert_int_equal(at(&l, KIR_S_v, 0, 0, 37, 70), 16384 + 37 * 128 + 70);
	assert_int_equal(at(&l, KIR_S_ks, 0, 0, 37, 0), 32768 + 37 * 4);
	assert_int_equal(at(&l, KIR_S_vs, 0, 1, 37, 0), 33792 + 32768 + 512 + 37 * 4);
	layout_of(get(m, "bf16"), &s, &l);
	assert_int_equal(at(&l, KIR_S_k, 0, 0, 37, 71), 35 * 256 + 37 * 4 + 2);
	assert_int_equal(at(&l, KIR_S_k, 0, 0, 101, 71), 16384 + 35 * 256 + 37 * 4 + 2);
	assert_int_equal(l.stream[KIR_S_ks].tensor, -1);
	kir_module_free(m);
}

/* A page of 16 tokens needs no t/64 and no modulus. */
static void test_short_pages(void **state)
{
	kir_module *m = kir_module_new();
	kir_layout l;
	kir_text t = { 0 };

	(void)state;
	layout_of(get(m, "int8"), &small, &l);
	kir_print_type(m, kir_type_intern(m, &l.stream[KIR_S_k].type), &t);
	assert_string_equal(t.text, "s8[?,2,16,64 | 0:$0, 1:$1, 3/4:64, 2:4, 3%4:1]");
	free(t.text);
	kir_module_free(m);
}

static void test_split(void **state)
{
	kir_module *m = kir_module_new();
	kir_shape s = { 4, 64, 64, 16 };
	kir_layout l;

	(void)state;
	layout_of(get(m, "e4m3/head/nhd"), &s, &l);
	assert_int_equal(l.ntensor, 2);
	assert_string_equal(l.tensor[1].name, "v_cache");
	assert_memory_equal(l.tensor[0].axis, "pth", 3);
	assert_int_equal(at(&l, KIR_S_k, 1, 3, 5, 9), 4096 + 5 * 256 + 3 * 64 + 9);
	layout_of(get(m, "e4m3/head/hnd"), &s, &l);
	assert_int_equal(at(&l, KIR_S_v, 1, 3, 5, 9), 4096 + 3 * 1024 + 5 * 64 + 9);
	layout_of(get(m, "e4m3/head/x"), &s, &l);
	assert_int_equal(at(&l, KIR_S_k, 1, 3, 5, 41), 4096 + 3 * 1024 + 2 * 256 + 5 * 16 + 9);
	assert_int_equal(at(&l, KIR_S_v, 1, 3, 5, 41), 4096 + 3 * 1024 + 41 * 16 + 5);
	layout_of(get(m, "bf16/none/x"), &s, &l);
	assert_int_equal(at(&l, KIR_S_k, 0, 0, 5, 41), 2 * (5 * 128 + 5 * 8 + 1));
	/* tiles: 16 tokens of K, 16 dimensions of V; a page of 20 tokens is filled up */
	s.page = 20;
	layout_of(get(m, "int8/token-head/amx"), &s, &l);
	assert_int_equal(at(&l, KIR_S_k, 0, 0, 17, 41), 16 * 64 + 10 * 64 + 1 * 4 + 1);
	assert_int_equal(at(&l, KIR_S_v, 0, 0, 17, 41),
	                 32 * 64 + 2 * 5 * 64 + 4 * 64 + 9 * 4 + 1);
	layout_of(get(m, "e4m3/tensor/amx"), &s, &l);
	assert_int_equal(at(&l, KIR_S_k, 0, 0, 23, 43), 16 * 64 + 10 * 64 + 16 + 8 + 3 * 2 + 1);
	assert_int_equal(at(&l, KIR_S_v, 0, 0, 3, 6), 32 * 64 + 16 + 8 + 2 * 2 + 1);
	layout_of(get(m, "bf16/none/amx"), &s, &l);
	assert_int_equal(at(&l, KIR_S_k, 0, 0, 17, 41), 2 * (16 * 64 + 20 * 32 + 2 + 1));
	assert_int_equal(at(&l, KIR_S_v, 0, 0, 17, 41),
	                 2 * (32 * 64 + 2 * 20 * 16 + 8 * 32 + 9 * 2 + 1));
	s.page = 16;
	layout_of(get(m, "int8/token-head/split"), &s, &l);
	assert_int_equal(l.ntensor, 4);
	assert_string_equal(l.tensor[3].name, "v_scale_cache");
	assert_int_equal(at(&l, KIR_S_vs, 0, 3, 5, 0), 5 * 16 + 3 * 4);
	kir_module_free(m);
}

static char *slurp(const char *path)
{
	const char *root = getenv("KVJIT_SOURCE_DIR");
	char full[1000], *text = calloc(1, 100000);
	FILE *f;

	snprintf(full, sizeof(full), "%s/%s", root ? root : ".", path);
	f = fopen(full, "rb");
	if (!f)
		fail_msg("can't open %s", full);
	assert_true(fread(text, 1, 99999, f) > 0);
	fclose(f);
	return text;
}

/* Nobody's format: what nobody wrote code for must work from its text alone. */
static void test_made_up(void **state)
{
	kir_module *m = kir_module_new();
	char *text = slurp("tests/formats/made_up.kvt");
	const kir_format *f = parse(m, text);
	kir_shape s = { 3, 96, 96, 24 };
	kir_text out = { 0 };
	kir_layout l;

	(void)state;
	kir_format_print(f, &out);
	assert_string_equal(out.text, text);
	layout_of(f, &s, &l);
	assert_sound(&l, "made_up");
	assert_int_equal(l.tensor[0].page_bytes, 3 * 4992);
	assert_int_equal(at(&l, KIR_S_k, 0, 1, 23, 95), 4992 + 23 * 200 + 95);
	assert_int_equal(at(&l, KIR_S_v, 0, 1, 23, 95), 4992 + 23 * 200 + 96 + 95);
	assert_int_equal(at(&l, KIR_S_ks, 0, 1, 23, 1), 4992 + 24 * 200 + 23 * 4 + 2);
	assert_int_equal(at(&l, KIR_S_vs, 0, 0, 0, 1), 24 * 200 + 96 + 2);
	assert_int_equal(l.stream[KIR_S_ks].type.dim[3], 2);
	assert_int_equal(l.stream[KIR_S_ks].type.elem, KIR_bf16);
	free(out.text);
	free(text);
	kir_module_free(m);
}

/* Each scale beside its codes, K and V different: pieces of enclosing groups count too. */
static void test_blocks(void **state)
{
	kir_module *m = kir_module_new();
	const kir_format *f =
	    parse(m, "format blocks v2 { elem s8; v.elem e4m3fn; scale f16 group 32 "
	             "amax/127 floor 1e-5 # as others do\n apply divide\n"
	             "tensor kb [t h] { [g] { ks k[d%32] pad 2 } }\n"
	             "tensor vb { [t/2 h] { v[d t%2] vs[g t%2] } } }");
	kir_shape s = { 2, 64, 128, 5 };
	kir_layout l;

	(void)state;
	layout_of(f, &s, &l);
	assert_sound(&l, "blocks");
	assert_int_equal(at(&l, KIR_S_k, 0, 1, 2, 40), 2 * 144 + 72 + 36 + 2 + 8);
	assert_int_equal(l.tensor[1].page_bytes, 3 * 2 * (256 + 16));
	kir_module_free(m);
}

/* Changing any statement changes the hash. */
static void test_hash(void **state)
{
	static const char *const texts[] = {
		"format a v1 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06\n"
		"tensor c { k[h t d] v[h t d] ks[h t] vs[h t] } }",
		"format b v1 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06\n"
		"tensor c { k[h t d] v[h t d] ks[h t] vs[h t] } }",
		"format a v2 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06\n"
		"tensor c { k[h t d] v[h t d] ks[h t] vs[h t] } }",
		"format a v1 {\nelem e5m2\nscale f32 token-head amax/127 floor 1e-06\n"
		"tensor c { k[h t d] v[h t d] ks[h t] vs[h t] } }",
		"format a v1 {\nelem s8\nv.elem e5m2\nscale f32 token-head amax/127 floor "
		"1e-06\n"
		"tensor c { k[h t d] v[h t d] ks[h t] vs[h t] } }",
		"format a v1 {\nelem s8\nscale f32 token-head amax/128 floor 1e-06\n"
		"tensor c { k[h t d] v[h t d] ks[h t] vs[h t] } }",
		"format a v1 {\nelem s8\nscale f32 token-head amax/127 floor 1.0000000001e-06\n"
		"tensor c { k[h t d] v[h t d] ks[h t] vs[h t] } }",
		"format a v1 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06 pow2\n"
		"tensor c { k[h t d] v[h t d] ks[h t] vs[h t] } }",
		"format a v1 {\nelem s8\nscale f32 group 8 amax/127 floor 1e-06\n"
		"tensor c { k[h t d] v[h t d] ks[h t g] vs[h t g] } }",
		"format a v1 {\nelem s8\nscale f32 group 16 amax/127 floor 1e-06\n"
		"tensor c { k[h t d] v[h t d] ks[h t g] vs[h t g] } }",
		"format a v1 {\nelem s8\nk.scale f32 tokens 16 amax/127 floor 1e-06\n"
		"v.scale f32 tensor given\ntensor c { k[h t d] v[h t d] ks[h g d] } }",
		"format a v1 {\nelem s8\nk.scale f32 tokens 32 amax/127 floor 1e-06\n"
		"v.scale f32 tensor given\ntensor c { k[h t d] v[h t d] ks[h g d] } }",
		"format a v1 {\nelem s8\nscale bf16 token-head amax/127 floor 1e-06\n"
		"tensor c { k[h t d] v[h t d] ks[h t] vs[h t] } }",
		"format a v1 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06\napply "
		"reciprocal\n"
		"tensor c { k[h t d] v[h t d] ks[h t] vs[h t] } }",
		"format a v1 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06\nround "
		"away\n"
		"tensor c { k[h t d] v[h t d] ks[h t] vs[h t] } }",
		"format a v1 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06\nk.round "
		"away\n"
		"tensor c { k[h t d] v[h t d] ks[h t] vs[h t] } }",
		"format a v1 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06\nround "
		"zero\n"
		"tensor c { k[h t d] v[h t d] ks[h t] vs[h t] } }",
		"format a v1 {\nelem e4m3fn\nscale f32 token-head amax/448 floor 1e-06\nnan "
		"max\n"
		"tensor c { k[h t d] v[h t d] ks[h t] vs[h t] } }",
		"format a v1 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06\nnan zero\n"
		"tensor c { k[h t d] v[h t d] ks[h t] vs[h t] } }",
		"format a v1 {\nelem s8\nscale f32 tensor given\ntensor c { k[h t d] v[h t d] "
		"} }",
		"format a v1 {\nelem s8\nscale f32 head given\ntensor c { k[h t d] v[h t d] } "
		"}",
		"format a v1 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06\n"
		"tensor e { k[h t d] v[h t d] ks[h t] vs[h t] } }",
		"format a v1 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06\n"
		"tensor c [h] { k[t d] v[t d] ks[t] vs[t] } }",
		"format a v1 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06\n"
		"tensor c { [h] { k[t d] v[t d] ks[t] vs[t] } } }",
		"format a v1 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06\n"
		"tensor c { k[h t d] v[h t d] ks[h t] vs[h t] pad 8 } }",
		"format a v1 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06\n"
		"tensor c { k[h t d] v[h t d] ks[h t] vs[h t] align 8 } }",
		"format a v1 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06\n"
		"tensor c { k[h t/2 d t%2] v[h t d] ks[h t] vs[h t] } }",
		"format a v1 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06\n"
		"tensor c { k[h t/4 d t%4] v[h t d] ks[h t] vs[h t] } }",
		"format a v1 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06\n"
		"tensor c { v[h t d] k[h t d] ks[h t] vs[h t] } }",
	};
	enum { N = sizeof(texts) / sizeof(texts[0]) };
	uint64_t hash[N];

	(void)state;
	for (int i = 0; i < N; i++) {
		kir_module *m = kir_module_new();

		hash[i] = kir_format_hash(parse(m, texts[i]));
		for (int k = 0; k < i; k++)
			if (hash[k] == hash[i])
				fail_msg("texts %d and %d have one hash", k, i);
		kir_module_free(m);
	}
}

#define NAMED  "format a v1 {\n"
#define HEAD   NAMED "elem s8\n"
#define SCALE  "scale f32 token-head amax/127 floor 1e-06\n"
#define TENSOR "tensor c [h] { k[t d] v[t d] ks[t] vs[t] }\n"

static void test_parse_errors(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "format a v1 {\nelem s8\nscale f16 token-head amax/127 floor 1e-30\n" TENSOR
		  "}",
		  "k.scale floor 1e-30, stored as f16, is no normal number" },
		{ "format a v1 {\nelem s8\nscale f32 token-head amax/1e-40 floor 1\n" TENSOR
		  "}",
		  "the divisor must be a normal f32" },
		{ HEAD "scale f32 token-head amax/1e-30 floor 1\n" TENSOR "}",
		  "k.scale amax/1e-30: codes of 8 bits take a divisor from 1 to 128" },
		{ HEAD "scale f32 token-head amax/500 floor 1\n" TENSOR "}",
		  "k.scale amax/500: codes of 8 bits take a divisor from 1 to 128" },
		{ NAMED "elem s4\nscale f32 token-head amax/9 floor 1\n" TENSOR "}",
		  "k.scale amax/9: codes of 4 bits take a divisor from 1 to 8" },
		{ NAMED "elem u4\nscale f32 token-head range/16 floor 1\n" TENSOR "}",
		  "k.scale range/16: codes of 4 bits take a divisor from 1 to 15" },
		{ NAMED "elem e5m2\nscale f32 token-head amax/0.5 floor 1\n" TENSOR "}",
		  "k.scale amax/0.5: the divisor is the largest code, at least 1" },
		{ "formt a v1 {}", "expected 'format NAME vN {'" },
		{ "format { }", "a format needs a name" },
		{ "format a {", "format a needs a version: v1, v2, ..." },
		{ "format a v1 elem s8", "expected '{' after the version" },
		{ "format a v1 { elem s8", "expected '}' at the end of the format" },
		{ HEAD SCALE "elem e4m3fn\n" TENSOR "}", "elem is given twice" },
		{ HEAD SCALE SCALE TENSOR "}", "scale is given twice" },
		{ HEAD SCALE "k.elem e5m2\nk.elem e4m3fn\n" TENSOR "}",
		  "k.elem is given twice" },
		{ "format a v1 {\nv.elem e5m2\nelem s8\n" SCALE TENSOR "}",
		  "elem is for all sides, and would replace v.elem before it: write it first" },
		{ HEAD SCALE TENSOR "} more", "text after the format's last brace" },
		{ NAMED "elem s8 e5m2\n}", "expected a new line or ';' before 'e5m2'" },
		{ HEAD "elm s8\n}",
		  "'elm' is no statement: elem, scale, mean, rotate, apply, round, nan" },
		{ HEAD "round\n}", "round needs a value" },
		{ NAMED "elem s5\n}", "elem 's5' is none of s8, u8, f16, bf16, f32, e4m3fn" },
		{ HEAD SCALE "pack 4\n" TENSOR "}",
		  "k.pack is about codes of 4 bits, s8 has 8" },
		{ NAMED "elem s4\npack 3\n}", "pack must be a power of two from 1 to 32" },
		{ HEAD "pack 64\n}", "pack must be an integer from 1 to 32" },
		{ HEAD "scale f32 group 16 amax/6 global global\n}",
		  "pow2-down or pow2-near, row and global, each once, not 'global'" },
		{ HEAD "scale e8m0 group 16 amax/6 pow2 pow2-down\n}",
		  "pow2-down or pow2-near, row and global, each once, not 'pow2-down'" },
		{ HEAD "scale f32 group 16 amax/6 or\n}",
		  "the divisor after or must be a positive number" },
		{ HEAD "scale f32 group 16 amax/6 or 4 or 3 floor 1\n}",
		  "each once, not 'or'" },
		{ HEAD "scale f32 group 24 amax/6 or 4 floor 1\n}",
		  "is about groups of a power of two" },
		{ HEAD "scale f32 token-head amax/6 or 4 floor 1\n}",
		  "is about groups of a power of two" },
		{ HEAD "scale e8m0 group 32 amax/6 or 4 pow2\n}",
		  "without range/N, row or pow2" },
		{ HEAD "scale f32 group 16 amax/6 or 6 floor 1\n}",
		  "the second divisor is from 1 to the first" },
		{ HEAD "scale f32 group 16 amax/6 or 0.5 floor 1\n}",
		  "the second divisor is from 1 to the first" },
		{ HEAD "scale s8 tensor given\n}",
		  "scale element 's8' is none of f16, bf16, f32" },
		{ HEAD "scale f32 row amax/127\n}",
		  "must be tensor, head, token-head, group N or tokens N" },
		{ HEAD "k.scale f32 tokens 24 amax/127 floor 1\n}",
		  "scale tokens must be a multiple of 16" },
		{ HEAD "k.scale f32 tokens 512 amax/127 floor 1\n}",
		  "scale tokens must be an integer from 16 to 256" },
		{ HEAD "scale f32 tokens 32 amax/127 floor 1\n"
		       "tensor c [h] { k[t d] ks[g d] v[t d] vs[g d] }\n}",
		  "v.scale tokens 32: scales of groups of tokens are for keys only" },
		{ HEAD "scale f32 tokens 32 amax/127 floor 1\nvalues shared\n"
		       "tensor c { k[t d] ks[g d] }\n}",
		  "k.scale tokens 32 is about keys in one part and values that are stored" },
		{ HEAD "k.scale f32 tokens 32 amax/127 floor 1\nv.scale f32 tensor given\n"
		       "rotate hadamard\ntensor c [h] { k[t d] ks[g d] v[t d] }\n}",
		  "k.scale tokens 32: not with rotate" },
		{ HEAD "k.scale f32 tokens 32 amax/127 floor 1\nv.scale f32 tensor given\n"
		       "k.mean given\ntensor c [h] { k[t d] ks[g d] v[t d] }\n}",
		  "k.scale tokens 32: not with mean" },
		{ HEAD "k.scale f32 tokens 32 amax/127 global\nv.scale f32 tensor given\n"
		       "tensor c [h] { k[t d] ks[g d] v[t d] }\n}",
		  "k.scale tokens 32: not with global" },
		{ HEAD "k.scale f32 tokens 32 amax/127 floor 1\nv.scale f32 tensor given\n"
		       "tensor c [h] { k[t d] ks[g] v[t d] }\n}",
		  "the pieces of ks along d don't cover it exactly once" },
		{ HEAD "k.scale f32 tokens 32 amax/127 floor 1\nv.scale f32 tensor given\n"
		       "tensor c [h t] { k[d] ks[d] v[d] }\n}",
		  "ks doesn't vary along t, but lies inside [t]" },
		{ HEAD "scale f32 group amax/127\n}",
		  "scale group must be an integer from 8 to 4096" },
		{ HEAD "scale f32 group 4 amax/127\n}",
		  "scale group must be an integer from 8 to 4096" },
		{ HEAD "scale f32 token-head given\n}",
		  "rule is amax/NUMBER, amax*1/NUMBER or range/NUMBER, then [or NUMBER] [eps "
		  "NUMBER] "
		  "[floor NUMBER] [pow2|pow2-down|pow2-near] [row] [global]" },
		{ HEAD "rotate\n}", "rotate needs a value" },
		{ HEAD "rotate left\n}", "rotate must be none or hadamard [N] [signs]" },
		{ HEAD "rotate hadamard 8\n}",
		  "the block of rotate must be an integer from 16 to 4096" },
		{ HEAD "rotate hadamard 48\n}",
		  "the block of rotate must be a power of two from 16 to 4096" },
		{ HEAD "rotate hadamard 32 sign\n}",
		  "expected a new line or ';' before 'sign'" },
		{ HEAD SCALE "rotate hadamard; values shared\ntensor c { k[t d] ks[t] }\n}",
		  "rotate is about keys in one part and values that are stored" },
		{ HEAD SCALE "k.rotate hadamard; rest 64\n" TENSOR "}",
		  "rotate is about keys in one part and values that are stored" },
		{ HEAD "mean\n}", "mean needs a value" },
		{ HEAD "mean stored\n}", "mean must be none or given" },
		{ HEAD SCALE "mean given\n" TENSOR "}",
		  "values are stored whole, only keys less a mean: write k.mean given" },
		{ HEAD SCALE "k.mean given; rest 64\n" TENSOR "}",
		  "mean is about keys in one part and values that are stored" },
		{ HEAD "scale f32 token-head range/0 floor 1\n}",
		  "the divisor of range must be a positive number, not '0'" },
		{ HEAD "scale f32 token-head range/15\n}",
		  "a scale range/15 needs eps or a floor" },
		{ HEAD "scale f32 token-head range/15 floor 1e-06\n" TENSOR "}",
		  "k.scale range/N and elements u4 and u8 go together" },
		{ NAMED "elem u4\n" SCALE TENSOR "}",
		  "k.scale range/N and elements u4 and u8 go together" },
		{ NAMED "elem u8\nscale bf16 token-head range/255 floor 1e-06\n" TENSOR "}",
		  "the lowest 8 bits of the scale, which must be f32, not bf16" },
		{ HEAD SCALE "v.elem u4\n" TENSOR "}", "go together" },
		{ NAMED "elem s8\nscale f32 token-head amax/127 floor 1e-6 row\n" TENSOR "}",
		  "scale with row: it is about groups" },
		{ NAMED "elem u4\nscale f32 token-head range/15 global\n" TENSOR "}",
		  "range/N with global: a zero point is of the rows as they are" },
		{ HEAD "scale f32 token-head amax/0 floor 1\n}",
		  "must be a positive number, not '0'" },
		{ HEAD "scale f32 token-head amax/127 floor -1\n}",
		  "scale floor must be a positive" },
		{ HEAD "scale f32 token-head amax/127 roof 1\n}",
		  "pow2-down or pow2-near, row and global, each once, not 'roof'" },
		{ HEAD "scale f32 token-head amax*1/127 eps 1 eps 2\n}",
		  "pow2-down or pow2-near, row and global, each once, not 'eps'" },
		{ HEAD "scale f32 token-head amax*1/ eps 1\n}",
		  "rule is amax/NUMBER, amax*1/" },
		{ HEAD "scale f32 token-head amax*1/x eps 1\n}",
		  "the divisor of amax must be a positive number, not 'x'" },
		{ HEAD "scale f32 token-head amax/127 eps 0\n}",
		  "eps must be a positive number" },
		{ HEAD "scale f32 token-head amax/127 eps 1e-40\n" TENSOR "}",
		  "k.scale eps 1e-40 must be a normal f32" },
		{ HEAD "scale f16 token-head amax/127 eps 1e-6\n" TENSOR "}",
		  "k.scale eps 1e-06, stored as f16, is no normal number" },
		{ HEAD "scale f32 token-head amax/127\n}",
		  "a scale amax/127 needs eps or a floor" },
		{ HEAD "scale f32 head amax/127\n}",
		  "handed over by the caller: write 'given'" },
		{ HEAD "scale bf16 head given\n}", "a scale that is handed over is f32" },
		{ HEAD "apply twice\n}", "apply must be divide or reciprocal" },
		{ HEAD "round up\n}", "round must be even, away or zero" },
		{ HEAD "nan min\n}", "nan must be keep, max or zero" },
		{ NAMED "elem s8\n" SCALE "nan max\n" TENSOR "}",
		  "k.nan max: s8 has no NaN, one becomes 0; say it of the side of floats" },
		{ NAMED "k.elem e4m3fn\nv.elem s4\n" SCALE "nan max\n" TENSOR "}",
		  "v.nan max: s4 has no NaN" },
		{ HEAD "tensor\n}", "tensor needs a name" },
		{ HEAD "tensor a-b { }\n}", "a tensor's name has letters, digits and _" },
		{ HEAD "tensor a { } ; tensor a { }\n}", "two tensors are called 'a'" },
		{ HEAD "tensor a {}\ntensor b {}\ntensor c {}\ntensor d {}\ntensor e {}\n}",
		  "more than 4 tensors" },
		{ HEAD "tensor a [t/2] { }\n}", "a tensor's own axes are whole: h and t" },
		{ HEAD "tensor a [d] { }\n}", "'d' is no piece: an axis of \"ht\"" },
		{ HEAD "tensor a [h t h] { }\n}", "more than 2 pieces" },
		{ HEAD "tensor a k\n}", "expected '{' before a tensor's items" },
		{ HEAD "tensor a { kk }\n}",
		  "'kk' is no item: k, v, r, ks, vs, rs, pad N, align N" },
		{ HEAD "tensor a { pad x }\n}", "pad must be an integer from 1 to 65536" },
		{ HEAD "tensor a { align 0 }\n}", "align must be an integer from 1 to 65536" },
		{ HEAD "tensor a { k[] }\n}",
		  "expected pieces like t/16 or d between [ and ]" },
		{ HEAD "tensor a { k[t/0 d] }\n}", "after / comes an integer from 1 to 65536" },
		{ HEAD "tensor a { k[t%] }\n}", "after % comes an integer from 1 to 65536" },
		{ HEAD "tensor a { k[t g] }\n}", "'g' is no piece: an axis of \"htd\"" },
		{ HEAD "tensor a { k[t}\n}", "expected ']' after the pieces" },
		{ HEAD "tensor a {[t]{[t]{[t]{[t]{[t]{[t]{[t]{}}}}}}}}\n}",
		  "groups nested more than 6 deep" },
		{ HEAD "tensor a {pad 1 pad 1 pad 1 pad 1 pad 1 pad 1 pad 1 pad 1 pad 1 pad 1 "
		       "pad 1 pad 1 "
		       "pad 1 pad 1 pad 1 pad 1 pad 1}\n}",
		  "more than 16 items" },
		{ HEAD "tensor a { pad 1", "expected '}' after a tensor's items" },
		{ "format a v1 { k.elem s8; " SCALE TENSOR "}",
		  "doesn't say what it stores: v.elem" },
		{ HEAD TENSOR "}", "k.elem s8 has too small a range for scale none" },
		{ "format a v1 { elem e2m1; scale none\n" TENSOR "}",
		  "k.elem e2m1 has too small a range for scale none" },
		{ HEAD SCALE "tensor c [h] { v[t d] ks[t] vs[t] }\n}", "no tensor holds k" },
		{ HEAD SCALE "tensor c [h] { k[t d] ks[t] vs[t] }\n}", "no tensor holds v" },
		{ HEAD SCALE "tensor c [h] { k[t d] v[t d] ks[t] }\n}", "no tensor holds vs" },
		{ HEAD SCALE "tensor c [h] { k[t d] v[t d] ks[t] vs[t] k[t d] }\n}",
		  "k is placed twice" },
		{ HEAD "scale f32 tensor given\n" TENSOR "}",
		  "ks is placed, but k's scales aren't stored" },
		{ HEAD SCALE "tensor c [h] { k[d] v[t d] ks[t] vs[t] }\n}",
		  "the pieces of k along t don't cover it exactly once" },
		{ HEAD SCALE "tensor c [h] { k[t d/4] v[t d] ks[t] vs[t] }\n}",
		  "the pieces of k along d don't cover it exactly once" },
		{ HEAD SCALE "tensor c [h] { k[t d/4 d%8] v[t d] ks[t] vs[t] }\n}",
		  "the pieces of k along d don't cover it exactly once" },
		{ HEAD SCALE "tensor c [h] { k[t d%4] v[t d] ks[t] vs[t] }\n}",
		  "the pieces of k along d don't cover it exactly once" },
		{ HEAD SCALE "tensor c [h t] { k[t d] v[d] ks vs }\n}",
		  "the pieces of k along t don't cover it exactly once" },
		{ HEAD SCALE "tensor c [h] { k[t d] v[t d] ks[t g] vs[t] }\n}",
		  "ks doesn't vary along g" },
		{ HEAD SCALE "tensor c [h] { [d/16] { k[t d%16] ks[t] } v[t d] vs[t] }\n}",
		  "ks doesn't vary along d, but lies inside [d]" },
		{ HEAD SCALE "tensor c { }\n" TENSOR "}", "two tensors are called 'c'" },
		{ HEAD SCALE "tensor e { }\n" TENSOR "}", "a page of tensor e is empty" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		kir_module *m = kir_module_new();
		kir_diag d = { 0 };
		char buf[1000];

		if (kir_format_parse_body(m, cases[i].text, strlen(cases[i].text), 1, &d))
			fail_msg("accepted: %s", cases[i].text);
		kir_diag_text(&d, buf, sizeof(buf));
		if (!strstr(buf, cases[i].message))
			fail_msg("for: %s\nexpected: %s\ngot: %s", cases[i].text,
			         cases[i].message, buf);
		assert_int_equal(m->nformat, 0);
		kir_module_free(m);
	}
}

static void test_positions(void **state)
{
	kir_module *m = kir_module_new();
	kir_diag d = { 0 };
	const char *text = "format a v1 {\n  elem s8\n  round up\n}";

	(void)state;
	assert_false(kir_format_parse_body(m, text, strlen(text), 7, &d));
	assert_int_equal(d.at[0].line, 9);
	assert_int_equal(d.at[0].col, 9);
	kir_module_free(m);
}

static void test_declared_twice(void **state)
{
	kir_module *m = kir_module_new();
	kir_diag d = { 0 };
	const char *a = "format a v1 { elem bf16; scale none; tensor c [h t] { k[d] v[d] } }";
	const char *b = "format a v1 { elem f16; scale none; tensor c [h t] { k[d] v[d] } }";

	(void)state;
	parse(m, a);
	assert_true(kir_format_parse_body(m, a, strlen(a), 1, &d));
	assert_int_equal(m->nformat, 1);
	assert_false(kir_format_parse_body(m, b, strlen(b), 1, &d));
	assert_string_equal(d.at[0].msg, "format a is declared twice, differently");
	kir_module_free(m);
}

static void test_layout_errors(void **state)
{
	static const struct {
		const char *name;
		kir_shape shape;
		const char *message;
	} cases[] = {
		{ "int8", { 2, 64, 64, 0 }, "page=0 must be a number from 1 to 65536" },
		{ "int8", { 0, 64, 64, 16 }, "kv_heads=0 must be" },
		{ "int8",
		  { 2, 60, 64, 16 },
		  "dim_k=60 must be a multiple of 8 from 8 to 65536" },
		{ "int8", { 2, 64, 65544, 16 }, "dim_v=65544 must be" },
		{ "int8/g48",
		  { 2, 96, 64, 16 },
		  "v's scale group of 48 doesn't divide a head of 64" },
		{ "int8/c32",
		  { 2, 64, 64, 48 },
		  "page=48 isn't made of whole groups of the 32 tokens that share scales of "
		  "k" },
		{ "int8/token-head/inline", { 65536, 65536, 65536, 65536 }, "is too large" },
	};
	kir_module *m = kir_module_new();
	kir_diag d = { 0 };
	kir_layout l;
	char buf[1000];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		d.n = 0;
		if (kir_format_layout(get(m, cases[i].name), &cases[i].shape, &l, &d))
			fail_msg("accepted: %s", cases[i].message);
		if (!strstr(kir_diag_text(&d, buf, sizeof(buf)), cases[i].message))
			fail_msg("%s", buf);
	}
	const kir_format *f =
	    parse(m, "format odd v1 { elem s8; scale f32 token-head amax/127 floor 1; "
	             "tensor c [h t] { k[d] pad 2 ks v[d] vs } }");

	d.n = 0;
	assert_false(kir_format_layout(f, &small, &l, &d));
	assert_string_equal(d.at[0].msg,
	                    "format odd: ks is misaligned in tensor c: 66 bytes is no "
	                    "multiple of its 4-byte f32; add pad or align");
	f = parse(m, "format odd2 v1 { elem s8; scale f32 token-head amax/127 floor 1; "
	             "tensor c [h t] { k[d] ks v[d] vs pad 2 } }");
	d.n = 0;
	assert_false(kir_format_layout(f, &small, &l, &d));
	assert_non_null(strstr(d.at[0].msg, "add pad or align"));
	f = parse(m, "format both v1 { elem s8; scale f32 tensor given; "
	             "tensor c [h t] { [d/16] { k[d%16] v[d%16] } } }");
	d.n = 0;
	assert_false(kir_format_layout(f, &(kir_shape){ 2, 64, 128, 16 }, &l, &d));
	assert_non_null(
	    strstr(d.at[0].msg, "lie in one group along the head, but their sizes differ"));
	kir_module_free(m);
}

static void test_unknown_name(void **state)
{
	static const char *const bad[] = { "fp6",   "int8/none", "bf16/head",
		                           "",      "int8/g12",  "e4m3/head/head",
		                           "int8/", "int8//x",   "e4m3/native/x" };
	kir_module *m = kir_module_new();

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		kir_diag d = { 0 };

		assert_null(kir_format_get(m, bad[i], &d));
		assert_int_equal(d.n, 4);
		assert_non_null(strstr(d.at[0].msg, bad[i]));
		assert_non_null(strstr(d.at[1].msg, "token-head|gN"));
		assert_non_null(strstr(d.at[2].msg, "int8_per_token_head"));
		assert_non_null(strstr(d.at[3].msg, "fp8_ds_mla"));
	}
	assert_int_equal(m->nformat, 0);
	kir_module_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_round_trip),
		cmocka_unit_test(test_names_are_sound),
		cmocka_unit_test(test_aliases),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_inline),
		cmocka_unit_test(test_native),
		cmocka_unit_test(test_short_pages),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_made_up),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_parse_errors),
		cmocka_unit_test(test_positions),
		cmocka_unit_test(test_declared_twice),
		cmocka_unit_test(test_layout_errors),
		cmocka_unit_test(test_unknown_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
