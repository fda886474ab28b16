/* SPDX-License-Identifier: Apache-2.0 */
/* test_expr.c -- expressions of masks and scores: how long they may be, and what they compute.
 */
#include "../backends/ref/ref.h"
#include "../ir/problem_priv.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_deep_expressions(void **state)
{
	char text[4000] = "attn kv=int8 heads=8 dim=64 page=16 score=\"";
	kir_module *m = kir_module_new();
	kir_diag d = { 0 };
	kir_problem p;

	(void)state;
	memset(text + strlen(text), '(', 2000);
	strcat(text, "\"");
	assert_false(kir_problem_parse(m, text, strlen(text), &p, &d));
	assert_non_null(strstr(d.at[0].msg, "nested more than 64 deep"));
	kir_module_free(m);
}

/* An expression of a million terms took the passes' stack, one of ten thousand 18 s. */
static void test_long_expressions(void **state)
{
	static const char head[] = "attn kv=bf16 heads=8 dim=64 page=16 mask=\"k";
	enum { FITS = 999, MORE = 1000000 };
	char *text = malloc(sizeof(head) + 2 * MORE + 10);
	static const int terms[] = { FITS, FITS + 1, MORE };

	(void)state;
	assert_non_null(text);
	for (int i = 0; i < 3; i++) {
		kir_module *m = kir_module_new();
		char *at = text + sprintf(text, "%s", head);
		kir_diag d = { 0 };
		kir_problem p;

		for (int n = 0; n < terms[i]; n++, at += 2)
			memcpy(at, "+k", 2);
		strcpy(at, "<q\"");
		assert_int_equal(kir_problem_parse(m, text, strlen(text), &p, &d), i == 0);
		if (i)
			assert_non_null(strstr(d.at[0].msg, "mask: more than 1000 operations"));
		kir_module_free(m);
	}
	free(text);
}

/* What an expression computes, by the interpreter: s = 1.5, b = 2, h = 3, q = 20, k = 7,
 * doc = 10, 11, 12, ... */
static double eval(const char *text, bool condition)
{
	static const char *const names[] = { "b", "h", "q", "k", "s" };
	kir_module *m = kir_module_new();
	kir_func *f = kir_func_new(m, "e", KIR_T);
	int64_t any = KIR_DYN;
	kir_diag d = { 0 };
	expr_env env = { .f = f, .nname = 6, .field = "e", .d = &d };
	int32_t doc[32];
	float result = NAN;
	char buf[1000];

	for (int i = 0; i < 5; i++) {
		env.name[i].name = names[i];
		env.name[i].ref = kir_add_param(
		    f, names[i], kir_scalar(m, i < 4 ? KIR_s64 : KIR_f32), KIR_IN);
	}
	env.name[5].name = "doc";
	env.name[5].ref = kir_add_param(f, "doc", kir_buffer(m, KIR_s32, 1, &any), KIR_IN);
	kir_ref out = kir_add_param(f, "out", kir_buffer(m, KIR_f32, 1, &any), KIR_OUT);
	kir_ref zero = kir_const_i(f, KIR_s64, 0), one = kir_const_i(f, KIR_s64, 1);
	kir_ref loop = kir_for(f, zero, one, 1, true, NULL, 0);
	kir_ref v = expr_build(&env, text, condition ? KIR_i1 : KIR_f32);

	if (!v)
		fail_msg("%s: %s", text, kir_diag_text(&d, buf, sizeof(buf)));
	if (condition)
		v = kir_emit(
		    f, KIR_OP_select, kir_scalar(m, KIR_f32),
		    (kir_ref[]){ v, kir_const_f(f, KIR_f32, 1), kir_const_f(f, KIR_f32, 0) }, 3,
		    NULL);
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ v, out, loop + 1 }, 3, NULL);
	kir_for_end(f, loop, NULL, 0);
	kir_ret(f);
	for (int i = 0; i < 32; i++)
		doc[i] = 10 + i;
	kref_arg arg[] = { { .i = 2 },
		           { .i = 3 },
		           { .i = 20 },
		           { .i = 7 },
		           { .f = 1.5 },
		           { .base = doc, .bytes = sizeof(doc) },
		           { .base = &result, .bytes = sizeof(result) } };

	if (!kir_verify(f, &d) || !kref_run(f, arg, KREF_ROUND, NULL, &d))
		fail_msg("%s: %s", text, kir_diag_text(&d, buf, sizeof(buf)));
	kir_module_free(m);
	return result;
}

static void test_expression_values(void **state)
{
	static const struct {
		const char *text;
		double value;
	} cases[] = {
		{ "s", 1.5 },           { "q - k - 1", 12 },
		{ "q - (k - 1)", 14 },  { "2 + 3 * 4", 14 },
		{ "q / 8", 2.5 },       { "q // 8", 2 },
		{ "(k - q) // 8", -2 }, { "(k - q) % 8", 3 },
		{ "s // 1", 1 },        { "-s % 1", 0.5 },
		{ "-k + s", -5.5 },     { "min(k, s) + max(b, h)", 4.5 },
		{ "abs(k - q)", 13 },   { "exp2(b) * log2(8)", 12 },
		{ "floor(-s)", -2 },    { "int(-s)", -1 },
		{ "int(s) // 1", 1 },   { "float(k) / 2", 3.5 },
		{ "sqrt(b * 8)", 4 },   { "tanh(0.0)", 0 },
		{ "exp(0)", 1 },        { "doc[b] + doc[h]", 25 },
		{ "k < q ? 1 : s", 1 }, { "k > q ? 1 : b > h ? 2 : 3", 3 },
		{ "1e2 + .5", 100.5 },
	};
	static const struct {
		const char *text;
		bool value;
	} conditions[] = {
		{ "k <= q", true },
		{ "k >= q", false },
		{ "k == 7 && q != 7", true },
		{ "k == 8 || q == 20 && b == 2", true },
		{ "(k == 8 || q == 20) && b == 3", false },
		{ "!(k < q)", false },
		{ "!!(k < q)", true },
		{ "doc[q] > doc[k]", true },
		{ "k < q ? b > h : b < h", false },
		{ "s < 2", true },
		{ "k // 4 == 1", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		double got = eval(cases[i].text, false);

		if (got != cases[i].value)
			fail_msg("%s is %g, not %g", cases[i].text, got, cases[i].value);
	}
	for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++)
		if (eval(conditions[i].text, true) != conditions[i].value)
			fail_msg("%s", conditions[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_deep_expressions),
		cmocka_unit_test(test_long_expressions),
		cmocka_unit_test(test_expression_values),
	};

	return cmocka_run_group_tests_name("expr", tests, NULL, NULL);
}
