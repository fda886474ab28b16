/* SPDX-License-Identifier: Apache-2.0 */
/* test_format.c -- declared formats: text, hash, built-in names and where everything lies.
 * What is refused is test_format_errors.c. */
#include "support_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const kir_shape small = { 2, 64, 64, 16 };

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
		const kir_format *f = support_format_get(m, names[i]), *g;
		kir_text a = { 0 }, b = { 0 };

		assert_string_equal(f->name, names[i]);
		assert_ptr_equal(f, support_format_get(m, names[i]));
		kir_format_print(f, &a);
		g = support_format_parse(n, a.text);
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
		const kir_format *f = support_format_get(m, names[i]);

		for (int k = 0; k < 3; k++) {
			kir_layout l;

			support_format_layout(f, &shapes[k], &l);
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
		{ "int4_per_token_head", "uint4/token-head/inline/rotated" },
		{ "auto/hnd", "bf16/none/hnd" },
		{ "fp8_e4m3/nhd", "e4m3/tensor/split" },
		{ "fp8/head/x/nan-max", "e4m3/head/x/nan-max" },
		{ "int8_per_token_head/amx", "int8/token-head/amx" },
		{ "fp8_per_token_head/native", "e4m3/token-head" },
		{ "e4m3fn/tensor/native/div/even", "e4m3" },
		{ "s8/token-head/rcp/away", "int8/token-head" },
		{ "e4m3/head/nhd", "e4m3/head/split" },
		{ "bf16/none/native", "bf16" },
	};
	kir_module *m = kir_module_new();

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		assert_string_equal(support_format_get(m, pairs[i][0])->name, pairs[i][1]);
	kir_module_free(m);
}

static void test_rules(void **state)
{
	kir_module *m = kir_module_new();
	const kir_side *s = &support_format_get(m, "int8_per_token_head")->side[1];

	(void)state;
	assert_int_equal(s->elem, KIR_s8);
	assert_int_equal(s->scale_elem, KIR_f32);
	assert_int_equal(s->gran, KIR_GRAN_token_head);
	assert_int_equal(s->rule, KIR_RULE_amax);
	assert_true(s->divisor == 127 && s->floor == 1e-6);
	assert_true(s->reciprocal);
	assert_int_equal(s->round, KIR_ROUND_away);
	s = &support_format_get(m, "fp8_per_token_head")->side[0];
	assert_true(s->divisor == 448 && s->reciprocal && s->round == KIR_ROUND_even);
	assert_true(support_format_get(m, "e4m3fnuz/token-head")->side[0].divisor == 224);
	assert_true(support_format_get(m, "e5m2/token-head")->side[0].divisor == 57344);
	s = &support_format_get(m, "fp8")->side[0];
	assert_true(s->gran == KIR_GRAN_tensor && s->rule == KIR_RULE_given && !s->reciprocal);
	assert_int_equal(support_format_get(m, "e4m3/nan-max")->side[0].nan, KIR_NAN_max);
	s = &support_format_get(m, "mxfp8")->side[0];
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
	support_format_layout(support_format_get(m, "int8_per_token_head"), &s, &l);
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
	support_format_layout(support_format_get(m, "int8/token-head"), &s, &l);
	assert_int_equal(l.tensor[0].stride[1], 2 * 128 * 128 + 2 * 4 * 128);
	assert_int_equal(at(&l, KIR_S_k, 0, 0, 37, 70), 17 * 256 + 37 * 4 + 2);
	assert_int_equal(at(&l, KIR_S_k, 0, 0, 101, 70), 8192 + 17 * 256 + 37 * 4 + 2);
	assert_int_equal(at(&l, KIR_S_v, 0, 0, 37, 70), 16384 + 37 * 128 + 70);
	assert_int_equal(at(&l, KIR_S_ks, 0, 0, 37, 0), 32768 + 37 * 4);
	assert_int_equal(at(&l, KIR_S_vs, 0, 1, 37, 0), 33792 + 32768 + 512 + 37 * 4);
	support_format_layout(support_format_get(m, "bf16"), &s, &l);
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
	support_format_layout(support_format_get(m, "int8"), &small, &l);
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
	support_format_layout(support_format_get(m, "e4m3/head/nhd"), &s, &l);
	assert_int_equal(l.ntensor, 2);
	assert_string_equal(l.tensor[1].name, "v_cache");
	assert_memory_equal(l.tensor[0].axis, "pth", 3);
	assert_int_equal(at(&l, KIR_S_k, 1, 3, 5, 9), 4096 + 5 * 256 + 3 * 64 + 9);
	support_format_layout(support_format_get(m, "e4m3/head/hnd"), &s, &l);
	assert_int_equal(at(&l, KIR_S_v, 1, 3, 5, 9), 4096 + 3 * 1024 + 5 * 64 + 9);
	support_format_layout(support_format_get(m, "e4m3/head/x"), &s, &l);
	assert_int_equal(at(&l, KIR_S_k, 1, 3, 5, 41), 4096 + 3 * 1024 + 2 * 256 + 5 * 16 + 9);
	assert_int_equal(at(&l, KIR_S_v, 1, 3, 5, 41), 4096 + 3 * 1024 + 41 * 16 + 5);
	support_format_layout(support_format_get(m, "bf16/none/x"), &s, &l);
	assert_int_equal(at(&l, KIR_S_k, 0, 0, 5, 41), 2 * (5 * 128 + 5 * 8 + 1));
	/* tiles: 16 tokens of K, 16 dimensions of V; a page of 20 tokens is filled up */
	s.page = 20;
	support_format_layout(support_format_get(m, "int8/token-head/amx"), &s, &l);
	assert_int_equal(at(&l, KIR_S_k, 0, 0, 17, 41), 16 * 64 + 10 * 64 + 1 * 4 + 1);
	assert_int_equal(at(&l, KIR_S_v, 0, 0, 17, 41),
	                 32 * 64 + 2 * 5 * 64 + 4 * 64 + 9 * 4 + 1);
	support_format_layout(support_format_get(m, "e4m3/tensor/amx"), &s, &l);
	assert_int_equal(at(&l, KIR_S_k, 0, 0, 23, 43), 16 * 64 + 10 * 64 + 16 + 8 + 3 * 2 + 1);
	assert_int_equal(at(&l, KIR_S_v, 0, 0, 3, 6), 32 * 64 + 16 + 8 + 2 * 2 + 1);
	support_format_layout(support_format_get(m, "bf16/none/amx"), &s, &l);
	assert_int_equal(at(&l, KIR_S_k, 0, 0, 17, 41), 2 * (16 * 64 + 20 * 32 + 2 + 1));
	assert_int_equal(at(&l, KIR_S_v, 0, 0, 17, 41),
	                 2 * (32 * 64 + 2 * 20 * 16 + 8 * 32 + 9 * 2 + 1));
	s.page = 16;
	support_format_layout(support_format_get(m, "int8/token-head/split"), &s, &l);
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
	const kir_format *f = support_format_parse(m, text);
	kir_shape s = { 3, 96, 96, 24 };
	kir_text out = { 0 };
	kir_layout l;

	(void)state;
	kir_format_print(f, &out);
	assert_string_equal(out.text, text);
	support_format_layout(f, &s, &l);
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
	const kir_format *f = support_format_parse(
	    m, "format blocks v2 { elem s8; v.elem e4m3fn; scale f16 group 32 "
	       "amax/127 floor 1e-5 # as others do\n apply divide\n"
	       "tensor kb [t h] { [g] { ks k[d%32] pad 2 } }\n"
	       "tensor vb { [t/2 h] { v[d t%2] vs[g t%2] } } }");
	kir_shape s = { 2, 64, 128, 5 };
	kir_layout l;

	(void)state;
	support_format_layout(f, &s, &l);
	assert_sound(&l, "blocks");
	assert_int_equal(at(&l, KIR_S_k, 0, 1, 2, 40), 2 * 144 + 72 + 36 + 2 + 8);
	assert_int_equal(l.tensor[1].page_bytes, 3 * 2 * (256 + 16));
	kir_module_free(m);
}

/* What is said of one side alone replaces what was said of both, and leaves nothing of it: the
 * same declaration as with a statement for each side. */
static void test_a_side_alone(void **state)
{
	static const struct {
		const char *elem, *both, *alone,
		    *scales; /* the last of v, where its group allows */
	} row[] = {
		{ "s8", "scale f32 group 32 amax*1/127 eps 1e-05 floor 1e-06 pow2 row",
		  "scale f32 token-head amax/120 floor 0.001", " vs[h t]" },
		{ "s8", "scale f32 group 16 amax/127 eps 1e-05",
		  "scale bf16 group 16 amax/127 pow2-down", " vs[h t g]" },
		{ "e2m1", "scale e4m3fn group 16 amax/6 or 4 global",
		  "scale f32 group 32 amax/6 floor 0.001", " vs[h t g]" },
		{ "u4", "scale f32 group 32 range/15 floor 1e-06",
		  "elem s8\nv.scale e8m0 group 32 amax/127 pow2", " vs[h t g]" },
		{ "u4", "scale f32 group 32 range/15 floor 1e-06",
		  "elem s8\nv.scale f32 tensor given", "" },
		{ "s8", "scale f32 group 32 amax*1/127 floor 1e-06", "elem bf16\nv.scale none",
		  "" },
		{ "s8", "rotate hadamard 32 signs", "rotate hadamard", NULL },
		{ "s8", "rotate hadamard 32 signs", "rotate none", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		const char *scale = "", *vs = row[i].scales;
		kir_module *m = kir_module_new(), *n = kir_module_new();
		char together[500], apart[500], tensor[100];

		if (!vs) {
			scale = "scale f32 group 32 amax/127 floor 1e-06\n";
			vs = " vs[h t g]";
		}
		snprintf(tensor, sizeof tensor, "tensor c { k[h t d] v[h t d] ks[h t g]%s }",
		         vs);
		snprintf(together, sizeof together, "format a v1 {\nelem %s\n%s%s\nv.%s\n%s }",
		         row[i].elem, scale, row[i].both, row[i].alone, tensor);
		snprintf(apart, sizeof apart, "format a v1 {\nelem %s\n%sk.%s\nv.%s\n%s }",
		         row[i].elem, scale, row[i].both, row[i].alone, tensor);
		if (kir_format_hash(support_format_parse(m, together)) !=
		    kir_format_hash(support_format_parse(n, apart)))
			fail_msg("'%s' keeps something of '%s'", row[i].alone, row[i].both);
		kir_module_free(m);
		kir_module_free(n);
	}
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

		hash[i] = kir_format_hash(support_format_parse(m, texts[i]));
		for (int k = 0; k < i; k++)
			if (hash[k] == hash[i])
				fail_msg("texts %d and %d have one hash", k, i);
		kir_module_free(m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_round_trip), cmocka_unit_test(test_names_are_sound),
		cmocka_unit_test(test_aliases),          cmocka_unit_test(test_rules),
		cmocka_unit_test(test_inline),           cmocka_unit_test(test_native),
		cmocka_unit_test(test_short_pages),      cmocka_unit_test(test_split),
		cmocka_unit_test(test_made_up),          cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_a_side_alone),     cmocka_unit_test(test_hash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
