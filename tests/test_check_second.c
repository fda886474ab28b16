/* SPDX-License-Identifier: Apache-2.0 */
/* test_check_second.c -- what `kvjit check` says of two caches can fail: results that are a
 * little off are outside the bound of bound_two.c, whichever cache they came from. */
#include "../tools/check/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef enum spoil { SPOIL_nothing, SPOIL_out, SPOIL_lse, SPOIL_one } spoil;

static void spoil_results(const check *c, unsigned which)
{
	bind *b = (bind *)&c->a.b;
	float *out = bind_find(b, "out")->data, *lse = bind_find(b, "lse")->data;
	int64_t pairs = c->a.rows * c->a.p.heads, dim = c->a.p.dim_v;
	spoil how = *(const spoil *)c->ctx;

	(void)which;
	for (int64_t i = 0; how == SPOIL_out && i < pairs * dim; i++)
		out[i] *= 1.001f;
	for (int64_t i = 0; how == SPOIL_lse && i < pairs; i++)
		lse[i] += 1e-3f;
	if (how == SPOIL_one) /* the last row's last element alone */
		out[pairs * dim - 1] += 1e-3f;
}

static check_result checked(const char *text, spoil how)
{
	kvjit_options o = { .size = sizeof o, .backend = "ref" };
	check_result r = { 0 };
	machine m[MACHINE_MAX];
	kvjit *ref = NULL;
	char why[500] = "";

	assert_int_equal(kvjit_open(&o, &ref), KVJIT_OK);
	assert_int_equal(machine_open(NULL, "ref", m), 1);
	check c = { .text = text,
		    .ref = ref,
		    .machine = m,
		    .nmachine = 1,
		    .result = &r,
		    .seen = spoil_results,
		    .ctx = &how };
	if (!check_seed(&c, 5, why, sizeof why))
		fail_msg("%s: %s", text, why);
	assert_true(r.compared > 0);
	machine_close(m, 1);
	kvjit_close(ref);
	return r;
}

static void wrong_results_are_told(void **state)
{
	static const char *const problems[] = {
		"attn q=bf16 out=f32 kv=int8/token-head kv2=bf16 page2=24 heads=4:2 dim=32 "
		"page=16 causal sink lse",
		"attn q=f32 kv=bf16 kv2=e4m3/token-head heads=4:2 dim=32 page=16 lse sparse=24 "
		"sparse2=8",
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		check_result r = checked(problems[i], SPOIL_nothing);
		if (r.failed)
			fail_msg("%s: %s", problems[i], r.text);
		assert_true(checked(problems[i], SPOIL_out).failed);
		assert_true(checked(problems[i], SPOIL_lse).failed);
		assert_true(checked(problems[i], SPOIL_one).failed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_results_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
