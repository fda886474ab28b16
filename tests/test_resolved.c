/* SPDX-License-Identifier: Apache-2.0 */
/* test_resolved.c -- what passes say that they made of open knobs is what they made: a schedule
 * that says it in so many words gives the same kernel, op by op. And knobs are read as far down
 * as ir/knobs.def says.
 */
#include "../ir/problem.h"
#include "../passes/passes.h"
#include "support_count.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const problems[] = {
	"attn kv=int8/token-head heads=8:2 dim=64 page=64 causal kv_tile=64",
	"attn kv=e4m3/head heads=8:2 dim=64 page=32 causal kv_tile=32 q_tile=4",
	"attn kv=bf16 heads=4:4 dim=64 page=32 window=100 kv_tile=16 q_tile=8 rescale=lazy",
	"attn kv=bf16/none/hnd heads=8:2 dim=64 page=64 kv_tile=32 q_tile=4",
	"attn q=f32 kv=int4/g32 heads=4:2 dim=64 page=32 kv_tile=16 q_tile=2",
	"attn kv=e4m3/head heads=4:2 dim=64 page=64 causal kv_tile=32 q_tile=16 q_block=2",
	"attn kv=fp8_ds_mla heads=4:1 dim=576:512 page=64 sparse=64 kv_tile=8",
	"write kv=int8/token-head heads=8 dim=64 page=32",
	"gemm acts=e4m3/g128 weights=e4m3/g128 block=128 dim=256:512",
	"index kv=index_e4m3 heads=4 dim=64 page=16 topk=8",
	"attn kv=bf16 heads=8:2 dim=64 page=64 kv_tile=64 q_tile=8 pipeline=on",
};

static const char *const targets[] = { "generic",     "avx2", "avx512",
	                               "avx512-bf16", "amx",  "xe-pvc" };
enum { RICH = 3 }; /* the first that has all passes of its kind */

static void without_schedule(char *text)
{
	char *from = strstr(text, " sched("), *to = from ? strchr(from, ')') : NULL;

	if (to)
		memmove(from, to + 1, strlen(to + 1) + 1);
}

/* Level V of a problem whose open knobs `set` gives; its text without the schedule. NULL: the
 * target can't build it. */
static const kir_func *build(kir_module *m, const char *text, const char *target,
                             const kir_chosen *set, char **out)
{
	kir_diag d = { 0 };
	kpass_options o = { .check_text = true };
	kir_text t = { 0 };
	kir_problem p;
	char why[800];

	if (!kir_problem_parse(m, text, strlen(text), &p, &d))
		fail_msg("%s: %s", text, kir_diag_text(&d, why, sizeof why));
	for (unsigned k = 0; set && k < kir_nknobs; k++)
		if (set[k].n == 1 && !set[k].more && !*kir_sched_knob(&p.sched, k))
			*kir_sched_knob(&p.sched, k) = set[k].value[0];
	kir_func *f = kir_problem_expand(m, &p, kir_target_find(target), &d);

	f = f ? kpass_run(f, &o, &d) : NULL;
	if (!f && set)
		fail_msg("%s, %s: what was chosen is refused: %s", text, target,
		         kir_diag_text(&d, why, sizeof why));
	if (!f)
		return NULL;
	kir_print(f, &t);
	without_schedule(t.text);
	*out = t.text;
	return f;
}

static void test_said_is_done(void **state)
{
	unsigned kernels = 0, knobs = 0;

	(void)state;
	for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
		for (size_t j = 0; j < sizeof targets / sizeof *targets; j++) {
			kir_module *m = kir_module_new();
			char *open, *said;
			const kir_func *f = build(m, problems[i], targets[j], NULL, &open);

			if (f) {
				build(m, problems[i], targets[j], f->chosen, &said);
				if (strcmp(open, said) != 0) {
					kir_text t = { 0 };

					kir_chosen_print(f, &t);
					fail_msg("%s, %s: not the same kernel with %s",
					         problems[i], targets[j], t.text);
				}
				for (unsigned k = 0; k < kir_nknobs; k++)
					knobs += f->chosen[k].n != 0;
				kernels++;
				free(open);
				free(said);
			}
			kir_module_free(m);
		}
	printf("%u kernels, %u knobs\n", kernels, knobs);
	assert_true(kernels >= 40 && knobs >= 5 * kernels);
}

/* The default of knob tiles asks what arith will choose before there are products to ask about:
 * it must be what arith does choose. */
static void test_foretold(void **state)
{
	static const char *const formats[] = { "bf16",
		                               "int8/token-head",
		                               "int8/tensor",
		                               "int8/g32",
		                               "int8/c32",
		                               "int8/head/amx",
		                               "int8/head/rotated",
		                               "int4/g32",
		                               "int4/c32",
		                               "int4/g32/nhd",
		                               "int4/g64/rotated",
		                               "uint4/g32",
		                               "e2m1/g32",
		                               "mxfp4",
		                               "nvfp4",
		                               "mxfp8",
		                               "e5m2/head" };
	static const char *const queries[] = { "bf16", "f16", "f32" };
	static const char *const knobs[] = { "", " qk=f32", " pv=int8x2", " pv=bf16" };
	unsigned asked = 0, integers = 0;

	(void)state;
	for (size_t i = 0; i < sizeof formats / sizeof *formats * 12; i++) {
		kir_module *m = kir_module_new();
		kpass_options o = { .list = "expand,fold_scales,arith" };
		kir_diag d = { 0 };
		kir_problem p;
		char text[200], why[300];

		snprintf(text, sizeof text,
		         "attn q=%s kv=%s heads=4:2 dim=64 page=64 q_tile=1 kv_tile=32 "
		         "tiles=off%s",
		         queries[i % 3], formats[i / 12], knobs[i / 3 % 4]);
		assert_true(kir_problem_parse(m, text, strlen(text), &p, &d));
		kir_func *f = kir_problem_expand(m, &p, kir_target_find("amx"), &d);
		kir_ref n = 1;
		bool told, is;

		assert_non_null(f);
		while (f->node[n].op != KIR_OP_attention)
			n++;
		told = kpass_one_digit(f, n);
		const int given[] = { f->sched.qk, f->sched.pv };
		const kir_func *t = kpass_run(f, &o, &d);

		if (!t)
			fail_msg("%s: %s", text, kir_diag_text(&d, why, sizeof why));
		is = true;
		for (int k = 0; k < 2; k++) {
			const kir_chosen *c = &t->chosen[k ? KIR_KNOB_pv : KIR_KNOB_qk];

			is = is && !given[k] && c->n == 1 && !c->more &&
			     c->value[0] == KIR_ARITH_int8;
		}
		if (told != is)
			fail_msg("%s: %sone digit is foretold", text, told ? "" : "not ");
		asked++;
		integers += is;
		kir_module_free(m);
	}
	printf("%u problems, %u with integers\n", asked, integers);
	assert_true(asked >= 200 && integers >= 8);
}

/* Only open knobs are told, each value once, no more than there is room for. */
static void test_printing(void **state)
{
	kir_module *m = kir_module_new();
	kir_func *f = kir_func_new(m, "f", KIR_A);
	kir_text t = { 0 };

	(void)state;
	f->sched.cols = 2;
	kir_chose(f, KIR_KNOB_hint, 1);
	kir_chose(f, KIR_KNOB_cols, 2);
	for (int i = 0; i < 12; i++)
		kir_chose(f, KIR_KNOB_rows, i % 2 ? 4 : 2);
	for (int i = 1; i < 7; i++)
		kir_chose(f, KIR_KNOB_unroll, i);
	kir_chosen_print(f, &t);
	assert_string_equal(t.text, "rows=2/4 unroll=1/2/3/4/... hint=t0");
	free(t.text);
	kir_module_free(m);
}

/* A schedule may have comments: `--emit schedule` has one, and is handed back as it is. */
static void test_comments(void **state)
{
	kir_sched s = kir_sched_default();
	kir_diag d = { 0 };
	bool given[kir_nknobs] = { false };

	(void)state;
	assert_true(
	    kir_sched_parse(&s, given, "rows=4; cols=3\n;resolved: hint=t9\ncols=2;x", &d));
	assert_int_equal(s.rows, 4);
	assert_int_equal(s.cols, 2);
	assert_true(given[KIR_KNOB_rows] && !given[KIR_KNOB_hint]);
	assert_true(kir_sched_parse(&s, given, "; nothing", &d));
	assert_false(kir_sched_parse(&s, given, "rows=4;\nhint=t9", &d));
}

/* A value of knob k that isn't `now`: its last word or the one before, or its largest number.
 */
static int other_value(unsigned k, int now)
{
	const char *v = kir_knobs[k].values;
	long lo, hi;
	int words = 0;

	if (sscanf(v, "%ld:%ld", &lo, &hi) == 2)
		return (int)hi;
	for (; (v = strchr(v, ',')) != NULL; v++)
		words++;
	return words == now ? words - 1 : words;
}

/* What is left of the passes makes of f, whose knob k `value` is, as text without a schedule;
 * to `level` only, if that isn't 0. */
static char *rest(kir_func *f, unsigned k, int value, unsigned level, kir_func **out)
{
	kpass_options o = { .stop_level = level };
	int *knob = kir_sched_knob(&f->sched, k), old = *knob;
	kir_text t = { 0 };
	kir_diag d = { 0 };
	kir_func *g;

	*knob = value;
	g = kpass_run(f, &o, &d);
	*knob = old;
	if (out)
		*out = g;
	if (!g)
		return NULL;
	kir_print(g, &t);
	without_schedule(t.text);
	return t.text;
}

/* Column `last` of ir/knobs.def: past it no pass asks for the knob, and up to it one does. That
 * prefetch takes from the header for how many queries a tile was made is no choice of it. */
static void test_last_level(void **state)
{
	bool heard[kir_nknobs] = { false };
	size_t step = support_count(1, 3);

	(void)state;
	for (size_t i = 0; i < sizeof problems / sizeof *problems; i += step)
		for (size_t j = RICH; j < sizeof targets / sizeof *targets; j++)
			for (unsigned level = KIR_T; level <= KIR_V; level *= 2) {
				kir_module *m = kir_module_new();
				kir_diag d = { 0 };
				kir_func *f = NULL, *g = NULL;
				kir_problem p;
				char *open;

				assert_true(kir_problem_parse(m, problems[i],
				                              strlen(problems[i]), &p, &d));
				f = kir_problem_expand(m, &p, kir_target_find(targets[j]), &d);
				free(f ? rest(f, 0, f->sched.kv_tile, level, &f) : NULL);
				open = f ? rest(f, 0, f->sched.kv_tile, 0, &g) : NULL;
				for (unsigned k = 0; open && k < kir_nknobs; k++) {
					int now = g->chosen[k].n ? g->chosen[k].value[0] : 0;
					char *set = rest(f, k, other_value(k, now), 0, NULL);
					bool same = set && !strcmp(open, set);

					if (level == kir_knobs[k].last)
						heard[k] |= !same;
					if (level > kir_knobs[k].last && k != KIR_KNOB_q_tile &&
					    !same)
						fail_msg("%s, %s: %s is read at level %s",
						         problems[i], targets[j],
						         kir_knobs[k].name,
						         kir_level_name(level));
					free(set);
				}
				free(open);
				kir_module_free(m);
			}
	for (unsigned k = 0; step == 1 && k < kir_nknobs; k++)
		if (!heard[k] && kir_knobs[k].last != KIR_A)
			fail_msg("%s: no pass asks for it at level %s: column last of "
			         "ir/knobs.def is wrong, or `problems` above has no program "
			         "in which it matters",
			         kir_knobs[k].name, kir_level_name(kir_knobs[k].last));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_said_is_done), cmocka_unit_test(test_foretold),
		cmocka_unit_test(test_last_level),   cmocka_unit_test(test_printing),
		cmocka_unit_test(test_comments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
