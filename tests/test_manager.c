/* SPDX-License-Identifier: Apache-2.0 */
/* test_manager.c -- what passes/manager.c does around the passes. */
#include "../passes/passes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char text[] = "func @f(%x: in f32[64], %y: out f32[64])\n"
                           "     level=T {\n"
                           "  for %w = 0 to 4 par {\n"
                           "    for %i = 0 to 4 {\n"
                           "      %a = add %w, 4 : s64\n"
                           "      %b = add %w, 4 : s64\n"
                           "      %d = exp2 0.5 : f32\n"
                           "      %c = load %x[%a] : f32\n"
                           "      store %c, %y[%b]\n"
                           "      yield\n"
                           "    }\n"
                           "    yield\n"
                           "  }\n"
                           "  ret\n"
                           "}\n";

static kir_module *parse(void)
{
	kir_diag d = { 0 };
	kir_module *m = kir_parse(text, strlen(text), &d);

	if (!m)
		fail_msg("%s", d.at[0].msg);
	return m;
}

static unsigned count(const kir_func *f, kir_op op)
{
	unsigned n = 0;

	for (kir_ref i = 1; i < f->nnode; i++)
		n += kir_at(f, i)->op == op;
	return n;
}

static void table(void **state)
{
	(void)state;
	assert_true(kpass_count >= 11);
	assert_string_equal(kpass_table[0].name, "expand");
	for (unsigned i = 0; i < kpass_count; i++) {
		assert_non_null(kpass_table[i].run);
		assert_true(kpass_table[i].lower || kpass_table[i].from == kpass_table[i].to);
	}
}

static void runs_a_list(void **state)
{
	kpass_options o = { .list = "hoist, cse,dce", .check_text = true };
	kir_module *m = parse();
	kir_diag d = { 0 };
	kir_func *f = kpass_run(m->func[0], &o, &d);
	(void)state;

	assert_non_null(f);
	assert_int_equal(d.n, 0);
	assert_int_equal(count(f, KIR_OP_add), 1);
	assert_int_equal(count(f, KIR_OP_exp2), 0);
	assert_int_equal(m->nfunc, 1);
	assert_ptr_equal(m->func[0], f);
	kir_module_free(m);
}

/* A named pass that didn't run was reported as checked. */
static void named_passes_read_their_level(void **state)
{
	static const char *const cases[][2] = {
		{ "expand,clean", "pass expand reads level A, @f is at level T already" },
		{ "cse,clean",
		  "pass clean reads level V, @f is at level T; run vectorize first" },
	};
	(void)state;

	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		kpass_options o = { .list = cases[i][0] };
		kir_module *m = parse();
		kir_diag d = { 0 };

		assert_null(kpass_run(m->func[0], &o, &d));
		assert_string_equal(d.at[0].msg, cases[i][1]);
		kir_module_free(m);
	}
}

/* Bounds of a mask are found by calls of calls: one made of 100,000 ops ended the process. Such
 * a mask empties no block. */
static void a_mask_of_many_ops_is_left_alone(void **state)
{
	static const char head[] =
	    "func @f(%scores: in f32[4,8], %out: out f32[4], %n: s64) level=T {\n"
	    "  for %w = 0 to %n par {\n"
	    "  %m = splat -inf : f32<4>\n"
	    "  %m1 = for %j = 0 to %n step 8 carry(%m0 = %m) {\n"
	    "    %j32 = convert %j : s32\n"
	    "    %i8 = iota : s32<8> {axis=0}\n"
	    "    %x0 = add %i8, %j32 : s32<8>\n";
	static const char tail[] = "    %k = spread %last : s32<4x8> {axis=1}\n"
	                           "    %mask = le %k, 100 : i1<4x8>\n"
	                           "    %s = load %scores[0,0] : f32<4x8>\n"
	                           "    %x = select %mask, %s, -inf : f32<4x8>\n"
	                           "    %r = reduce.max %x : f32<4> {axis=1}\n"
	                           "    %m2 = max %m0, %r : f32<4>\n"
	                           "    yield %m2\n"
	                           "  }\n"
	                           "  store %m1, %out[0]\n"
	                           "  yield\n"
	                           "  }\n"
	                           "  ret\n"
	                           "}\n";
	static const unsigned counts[] = { 20, 100000 };
	(void)state;

	for (unsigned i = 0; i < 2; i++) {
		kpass_options o = { .list = "skip_blocks" };
		kir_text long_text = { 0 };
		kir_diag d = { 0 };

		kir_text_add(&long_text, "%s", head);
		for (unsigned n = 0; n < counts[i]; n++)
			kir_text_add(&long_text, "    %%x%u = add %%x%u, %%j32 : s32<8>\n",
			             n + 1, n);
		kir_text_add(&long_text, "    %%last = add %%x%u, 0 : s32<8>\n%s", counts[i],
		             tail);
		kir_module *m = kir_parse(long_text.text, long_text.len, &d);
		if (!m)
			fail_msg("%s", d.at[0].msg);
		kir_func *f = kpass_run(m->func[0], &o, &d);
		if (!f)
			fail_msg("%s", d.at[0].msg);
		assert_int_equal(count(f, KIR_OP_if), i == 0);
		kir_module_free(m);
		free(long_text.text);
	}
}

static void skips(void **state)
{
	kpass_options o = { .list = "cse,dce", .skip = "cse" };
	kir_module *m = parse();
	kir_diag d = { 0 };
	kir_func *f = kpass_run(m->func[0], &o, &d);
	(void)state;

	assert_non_null(f);
	assert_int_equal(count(f, KIR_OP_add), 2);
	kir_module_free(m);
}

static void refuses_lists(void **state)
{
	kpass_options o = { .list = "cse,nosuch" };
	kir_module *m = parse();
	kir_diag d = { 0 }, e = { 0 };
	(void)state;

	assert_null(kpass_run(m->func[0], &o, &d));
	assert_non_null(strstr(d.at[0].msg, "'nosuch'"));
	assert_non_null(strstr(d.at[0].msg, "fold_scales"));
	assert_non_null(strstr(d.at[0].msg, "clean"));
	o = (kpass_options){ .skip = "vectorize" };
	assert_null(kpass_run(m->func[0], &o, &e));
	assert_non_null(strstr(e.at[0].msg, "vectorize"));
	assert_non_null(strstr(e.at[0].msg, "can't be left out"));
	kir_module_free(m);
}

static void stops_at_a_level(void **state)
{
	kpass_options o = { .stop_level = KIR_T };
	kir_module *m = parse();
	kir_func *f = m->func[0];
	kir_diag d = { 0 };
	(void)state;

	assert_ptr_equal(kpass_run(f, &o, &d), f);
	kir_module_free(m);
}

static void collect(const char *s, void *ctx)
{
	kir_text_add(ctx, "%s", s);
}

static void prints(void **state)
{
	kir_text t = { 0 };
	kpass_options o = {
		.list = "cse,dce", .print = "before:dce,after:*", .emit = collect, .ctx = &t
	};
	kir_module *m = parse();
	kir_diag d = { 0 };
	const char *cse, *before, *after;
	(void)state;

	assert_non_null(kpass_run(m->func[0], &o, &d));
	cse = strstr(t.text, "; after cse: kvjit-opt --passes=cse FILE\nfunc @f(");
	assert_non_null(cse);
	before = strstr(cse, "; before dce: kvjit-opt --passes=dce FILE\nfunc @f(");
	assert_non_null(before);
	after = strstr(before, "; after dce: ");
	assert_non_null(after);
	assert_null(strstr(t.text, "before cse"));
	assert_null(strstr(after, "exp2"));
	free(t.text);
	kir_module_free(m);
}

static bool refuse_dce(const kir_func *before, const kir_func *after, void *ctx, kir_diag *why)
{
	unsigned *calls = ctx;

	++*calls;
	if (count(before, KIR_OP_exp2) == count(after, KIR_OP_exp2))
		return true;
	kir_error(why, 0, 0, "element 3 differs");
	return false;
}

static void names_the_pass_that_changed_a_result(void **state)
{
	unsigned calls = 0;
	kpass_options o = { .list = "hoist,hoist,cse,dce",
		            .compare = refuse_dce,
		            .ctx = &calls };
	kir_module *m = parse();
	kir_diag d = { 0 };
	(void)state;

	assert_null(kpass_run(m->func[0], &o, &d));
	assert_string_equal(d.at[0].msg, "pass dce changed the result: element 3 differs");
	assert_int_equal(calls, 3); /* the second hoist changed nothing */
	kir_module_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table),
		cmocka_unit_test(runs_a_list),
		cmocka_unit_test(named_passes_read_their_level),
		cmocka_unit_test(a_mask_of_many_ops_is_left_alone),
		cmocka_unit_test(skips),
		cmocka_unit_test(refuses_lists),
		cmocka_unit_test(stops_at_a_level),
		cmocka_unit_test(prints),
		cmocka_unit_test(names_the_pass_that_changed_a_result),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
