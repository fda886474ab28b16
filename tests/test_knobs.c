/* SPDX-License-Identifier: Apache-2.0 */
/* test_knobs.c -- every knob, at every word and at several numbers, on three kinds of cache.
 *
 * A knob never changes a result beyond the bound of the arithmetic it names (ir/knobs.def):
 * each value runs on this machine's own target and on the plainest one, against the interpreter
 * at level A. A value that can't be built is refused in a sentence that names the knob.
 *
 * Most values come to a program that another value came to, and the backend sees nothing else:
 * such a program is compiled and run once, and of those that repeat it one in 16 all the same.
 * KVJIT_LONG=1 runs all.
 */
#include "../ir/problem.h"
#include "../jit/jit.h"
#include "../passes/passes.h"
#include "../tools/check/check.h"
#include "../tune/key.h"
#include "support_check.h"
#include "support_count.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const problems[] = {
	"attn q=bf16 out=f32 kv=int8/token-head heads=6:2 dim=64 page=32 causal lse",
	"attn q=bf16 kv=e4m3/head heads=4:1 dim=32:48 page=24 window=40",
	"attn q=f32 out=f32 kv=bf16/none/hnd heads=2:2 dim=80 page=16 sink",
	"write in=bf16 kv=int8/token-head heads=3 dim=64 page=32",
};
#define NPROBLEM (sizeof problems / sizeof *problems)

static machine machines[MACHINE_MAX], some[2];
static unsigned nmachine;
static kvjit *ref;
static unsigned ran, refusals;
static bool programs_only; /* there is no x86 backend: nothing is compiled or run */

/* -- programs that ran ------------------------------------------------------------------- */

enum { MOST = 4096, ONE_IN = 16 };
static kt_key known[MOST];
static unsigned nknown, repeated;

/* What decides a kernel's code and its plans: its function at level V without the schedule it
 * was made by, of which plans read two knobs. False: the passes refuse it, or there is none. */
static bool program_of(const machine *m, const char *problem, const char *sched, kt_key *out)
{
	kvjit_compile_options o = { .size = sizeof o, .sched = sched };
	kvjit_keys keys = { .size = sizeof keys };
	kir_module *module;
	kir_func *f = NULL;
	bool named[kir_nknobs];
	kpass_options plain = { 0 };
	kir_text text = { 0 };
	kir_diag d = { 0 };
	kir_problem p;

	if (kvjit_keys_of(m->kv, problem, &o, &keys) != KVJIT_OK)
		return false;
	module = kir_module_new();
	if (kir_problem_parse(module, problem, strlen(problem), &p, &d))
		f = kir_problem_expand(module, &p, &m->kv->target, &d);
	if (f && kir_sched_parse(&f->sched, named, keys.sched, &d))
		f = kpass_run(f, &plain, &d);
	else
		f = NULL;
	if (f) {
		kir_text_add(&text, "%s %s %d %d\n", problem, m->target, f->sched.split,
		             f->sched.q_tile);
		f->sched = kir_sched_default();
		kir_print(f, &text);
		kt_hash(text.text, text.len, out);
	}
	free(text.text);
	kir_module_free(module);
	return f != NULL;
}

static bool is_known(const kt_key *key)
{
	for (unsigned i = 0; i < nknown; i++)
		if (kt_key_equal(&known[i], key))
			return true;
	return false;
}

/* -- running ----------------------------------------------------------------------------- */

/* One setting on one problem; plain: on the plainest target too. */
static void run(const char *problem, const char *knob, const char *sched, bool plain)
{
	check_result result[2] = { 0 };
	char why[500] = "";
	if (programs_only) {
		unsigned last = kir_ntargets - 1; /* of the processors */

		while (kir_targets[last].lanes)
			last--;
		for (unsigned i = 0; i <= last; i += last) {
			bool ok = support_passes(problem, sched, kir_targets[i].name, why,
			                         sizeof why);

			if (!ok && !strstr(why, *knob ? knob : "knob"))
				fail_msg("%s with %s: %s", problem, sched, why);
			*(ok ? &ran : &refusals) += 1;
		}
		return;
	}
	machine fresh[2];
	kt_key key[2];
	bool has_key[2];
	check c = {
		.text = problem, .sched = sched, .ref = ref, .machine = fresh, .result = result
	};

	for (unsigned i = 0; i < (plain ? 2 : 1); i++) {
		unsigned at = c.nmachine;

		has_key[at] = program_of(&some[i], problem, sched, &key[at]);
		if (has_key[at] && is_known(&key[at]) && !getenv("KVJIT_LONG") &&
		    ++repeated % ONE_IN)
			continue;
		fresh[c.nmachine++] = some[i];
	}
	if (c.nmachine && !check_seed(&c, 1, why, sizeof why))
		fail_msg("%s: %s", problem, why);
	for (unsigned i = 0; i < c.nmachine; i++) {
		const check_result *r = &result[i];

		if (!r->failed && r->compared) {
			if (has_key[i] && !is_known(&key[i]) && nknown < MOST)
				known[nknown++] = key[i];
			ran++;
			continue;
		}
		if (strncmp(r->text, "unsupported", 11) != 0 || !strstr(r->text, knob))
			fail_msg("%s on %s with %s: %s", problem, fresh[i].target, sched,
			         r->text);
		refusals++;
	}
}

/* Under sanitizers one of the problems, by turns. */
static void run_value(const char *knob, const char *value)
{
	static unsigned turn;
	char sched[80];

	snprintf(sched, sizeof sched, "%s=%s", knob, value);
	/* the last is the writer, which reads one knob */
	bool parts = strcmp(knob, "parts") == 0;
	size_t step = support_count(1, NPROBLEM - 1), first = step > 1 ? turn++ % step : 0;

	for (size_t p = parts ? NPROBLEM - 1 : first; p < NPROBLEM - !parts; p += step)
		run(problems[p], knob, sched, p != 1);
}

static void run_words(const kir_knob_info *k)
{
	for (const char *w = k->values; *w;) {
		size_t n = strcspn(w, ",");
		char word[32];

		snprintf(word, sizeof word, "%.*s", (int)n, w);
		run_value(k->name, word);
		w += n + (w[n] != 0);
	}
}

static void run_numbers(const kir_knob_info *k, int lo, int hi)
{
	static const int tried[] = { 1, 2, 3, 5, 8, 12, 16, 32, 48, 64 };
	char text[32];

	for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
		if (tried[i] <= lo || tried[i] >= hi)
			continue;
		snprintf(text, sizeof text, "%d", tried[i]);
		run_value(k->name, text);
	}
	snprintf(text, sizeof text, "%d", lo);
	run_value(k->name, text);
	snprintf(text, sizeof text, "%d", hi);
	run_value(k->name, text);
}

static void test_each(void **state)
{
	(void)state;
	for (unsigned i = 0; i < kir_nknobs; i++) {
		const kir_knob_info *k = &kir_knobs[i];
		int lo, hi;

		if (sscanf(k->values, "%d:%d", &lo, &hi) == 2)
			run_numbers(k, lo, hi);
		else
			run_words(k);
	}
	printf("%u kernels ran, %u were refused, %u were like another\n", ran, refusals,
	       repeated - repeated / ONE_IN);
	assert_true(refusals < ran);
}

/* Knobs that meet: a tile of a split, the arithmetic of both products, fused decoding. */
static void test_together(void **state)
{
	static const char *const sched[] = {
		"kv_tile=8 q_tile=3 split=48",
		"kv_tile=4 q_tile=2 rows=5 cols=2 unroll=4",
		"qk=int8x2 pv=bf16 fuse=on",
		"qk=bf16 pv=int8 fuse=off decode=shift",
		"q_tile=8 prefetch=two hint=nta",
		"pv=bf16 exp=cubic",
		"pv=bf16 exp=quartic",
	};

	(void)state;
	for (size_t i = 0; i < sizeof sched / sizeof *sched; i++)
		for (size_t p = 0; p < NPROBLEM; p++)
			run(problems[p], "", sched[i], true);
}

/* Maxima that creep up (never by 2^8 at once), jump, fall, and rows that see nothing until
 * late: each takes another way through what rescale=lazy decides. */
static void test_maxima(void **state)
{
	static const char *const score[] = {
		"score=\"s + 0.1 * k\"",
		"score=\"s + 3 * k\"",
		"score=\"s - 2 * k\"",
		"score=\"k % 16 < 8 ? s : s + 40 * (k % 3)\"",
		"mask=\"k > 20 || k == 3 && h == 0\" score=\"s + 0.5 * k\" sink lse",
	};
	static const char *const cache[] = { "bf16", "e4m3/head", "int8/token-head" };
	static const char *const sched[] = { "rescale=lazy kv_tile=8",
		                             "rescale=lazy kv_tile=16 q_tile=4",
		                             "rescale=lazy kv_tile=16 split=32" };
	char text[300];

	(void)state;
	for (size_t s = 0; s < sizeof score / sizeof *score; s++)
		for (size_t c = 0; c < 3; c++) {
			snprintf(text, sizeof text,
			         "attn q=bf16 out=f32 kv=%s heads=4:2 dim=64 page=16 %s",
			         cache[c], score[s]);
			run(text, "", sched[(s + c) % 3], true);
		}
}

/* What isn't a value is refused before anything is built. */
static void test_wrong(void **state)
{
	static const char *const wrong[][2] = {
		{ "kv_tile=-1", "kv_tile" },
		{ "kv_tile=1025", "kv_tile" },
		{ "qk=int4", "qk" },
		{ "hint=t3", "hint" },
		{ "rescale=never", "rescale" },
		{ "exp=linear", "exp" },
		{ "rows", "rows" },
		{ "tile=4", "tile" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		kvjit_compile_options o = { .size = sizeof o, .sched = wrong[i][0] };
		kvjit_kernel *k = NULL;

		assert_int_equal(kvjit_compile(some[0].kv, problems[0], &o, &k),
		                 KVJIT_BAD_ARGUMENT);
		assert_null(k);
		assert_non_null(strstr(kvjit_error(some[0].kv), wrong[i][1]));
	}
}

static int set_up(void **state)
{
	kvjit_options o = { .size = sizeof o, .backend = "ref" };

	(void)state;
	programs_only = !support_x86();
	nmachine = machine_open(NULL, programs_only ? "c" : "x86", machines);
	if (!nmachine)
		return 1;
	some[0] = machines[0];
	some[1] = machines[nmachine - 1];
	return kvjit_open(&o, &ref) != KVJIT_OK;
}

static int tear_down(void **state)
{
	(void)state;
	machine_close(machines, nmachine);
	kvjit_close(ref);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_together),
		cmocka_unit_test(test_maxima),
		cmocka_unit_test(test_each),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
