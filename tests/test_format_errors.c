/* SPDX-License-Identifier: Apache-2.0 */
/* test_format_errors.c -- what a declared format, a name or a shape is refused for: each
 * sentence names the statement and what it takes. */
#include "support_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

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
	support_format_parse(m, a);
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
		if (kir_format_layout(support_format_get(m, cases[i].name), &cases[i].shape, &l,
		                      &d))
			fail_msg("accepted: %s", cases[i].message);
		if (!strstr(kir_diag_text(&d, buf, sizeof(buf)), cases[i].message))
			fail_msg("%s", buf);
	}
	const kir_format *f = support_format_parse(
	    m, "format odd v1 { elem s8; scale f32 token-head amax/127 floor 1; "
	       "tensor c [h t] { k[d] pad 2 ks v[d] vs } }");

	d.n = 0;
	assert_false(kir_format_layout(f, &(kir_shape){ 2, 64, 64, 16 }, &l, &d));
	assert_string_equal(d.at[0].msg,
	                    "format odd: ks is misaligned in tensor c: 66 bytes is no "
	                    "multiple of its 4-byte f32; add pad or align");
	f = support_format_parse(
	    m, "format odd2 v1 { elem s8; scale f32 token-head amax/127 floor 1; "
	       "tensor c [h t] { k[d] ks v[d] vs pad 2 } }");
	d.n = 0;
	assert_false(kir_format_layout(f, &(kir_shape){ 2, 64, 64, 16 }, &l, &d));
	assert_non_null(strstr(d.at[0].msg, "add pad or align"));
	f = support_format_parse(m, "format both v1 { elem s8; scale f32 tensor given; "
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
		assert_int_equal(d.n, 5);
		assert_non_null(strstr(d.at[0].msg, bad[i]));
		assert_non_null(strstr(d.at[1].msg, "token-head|gN"));
		assert_non_null(strstr(d.at[2].msg, "nvfp4[/4over6]"));
		assert_non_null(strstr(d.at[3].msg, "int8_per_token_head"));
		assert_non_null(strstr(d.at[4].msg, "fp8_ds_mla"));
	}
	assert_int_equal(m->nformat, 0);
	kir_module_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_errors),   cmocka_unit_test(test_positions),
		cmocka_unit_test(test_declared_twice), cmocka_unit_test(test_layout_errors),
		cmocka_unit_test(test_unknown_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
