/* SPDX-License-Identifier: Apache-2.0 */
/* test_isa.c -- which machines take which code: fifteen processors by the extensions that CPUID
 * and XCR0 give, some of them with a model number that promises more, against code of every
 * kind.
 */
#include "../backends/isa.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NEHALEM  "sse3 ssse3 sse4_1 sse4_2 popcnt "
#define SANDY    NEHALEM "avx "
#define HASWELL  SANDY "movbe lzcnt bmi1 bmi2 f16c fma avx2 "
#define SKYLAKE  HASWELL "avx512f avx512dq avx512bw avx512vl avx512cd "
#define CASCADE  SKYLAKE "avx512vnni "
#define ICELAKE  CASCADE "avx512vbmi avx512vbmi2 avx512bitalg avx512vpopcnt avx512ifma gfni "
#define SAPPHIRE ICELAKE "avx512fp16 avx512bf16 "
#define AMX      "amx_tile amx_int8 amx_bf16 "

enum { KINDS = 8 };

/* What each kind of code needs, and by machine whether it runs ('y') or not. */
static const char *const code[KINDS] = {
	"sse3 sse4_1",
	"avx",
	"avx fma avx2 f16c bmi1",
	"avx avx512f avx512dq avx512bw avx512vl",
	"avx512f avx512vnni",
	"avx512f avx512vl avx512vbmi avx512bf16",
	"avx512f avx512fp16",
	"avx512f amx_tile amx_int8 amx_bf16",
};

static const struct {
	const char *name, *isa, *runs;
} machines[] = {
	{ "x86-64", "", "nnnnnnnn" },
	{ "Nehalem", NEHALEM, "ynnnnnnn" },
	{ "Sandy Bridge", SANDY, "yynnnnnn" },
	{ "Haswell", HASWELL, "yyynnnnn" },
	{ "Skylake-SP", SKYLAKE, "yyyynnnn" },
	{ "Cascade Lake", CASCADE, "yyyyynnn" },
	{ "Ice Lake", ICELAKE, "yyyyynnn" },
	{ "Zen 4", ICELAKE "avx512bf16", "yyyyyynn" },
	{ "Sapphire Rapids", SAPPHIRE AMX, "yyyyyyyy" },
	{ "Sapphire Rapids, AMX not permitted", SAPPHIRE, "yyyyyyyn" },
	{ "Granite Rapids", SAPPHIRE AMX "amx_fp16", "yyyyyyyy" },
	/* the model says one thing, the hypervisor or the system another */
	{ "Sapphire Rapids without AVX-512 state", HASWELL "gfni", "yyynnnnn" },
	{ "Ice Lake without vbmi", CASCADE "avx512bf16", "yyyyynnn" },
	{ "Skylake-SP without AVX state", NEHALEM "movbe lzcnt bmi1 bmi2", "ynnnnnnn" },
	{ "Knights Landing", HASWELL "avx512f avx512cd", "yyynnnnn" },
};

enum { NMACHINES = sizeof(machines) / sizeof(*machines) };

static uint64_t set_of(const char *text)
{
	uint64_t set;

	if (!kbe_isa_parse(text, &set))
		fail_msg("'%s' names an extension that isn't in isa.def", text);
	return set;
}

static void test_machines(void **state)
{
	(void)state;
	for (unsigned m = 0; m < NMACHINES; m++)
		for (unsigned k = 0; k < KINDS; k++) {
			bool runs = kbe_isa_runs(set_of(code[k]), set_of(machines[m].isa));

			if (runs != (machines[m].runs[k] == 'y'))
				fail_msg("%s %s '%s'", machines[m].name,
				         runs ? "takes" : "refuses", code[k]);
		}
}

/* Each extension alone decides: code that needs it runs where it is, and not where only it is
 * missing. */
static void test_each(void **state)
{
	uint64_t all = ~UINT64_C(0) & ((UINT64_C(1) << KBE_NISA) - 1) & ~KBE_ISA(unknown);

	(void)state;
	for (unsigned i = 0; i < KBE_NISA; i++) {
		uint64_t one = UINT64_C(1) << i;

		if (one == KBE_ISA(unknown))
			continue;
		assert_true(kbe_isa_runs(one, one));
		assert_true(kbe_isa_runs(one, all));
		assert_true(kbe_isa_runs(0, one));
		assert_false(kbe_isa_runs(one, all & ~one));
		assert_false(kbe_isa_runs(all, all & ~one));
	}
	assert_true(kbe_isa_runs(all, all));
}

/* Not even on a machine that says it had it; nor what a later kvjit knows and this one doesn't.
 */
static void test_unknown(void **state)
{
	(void)state;
	assert_false(kbe_isa_runs(KBE_ISA(unknown), 0));
	assert_false(kbe_isa_runs(KBE_ISA(unknown), ~UINT64_C(0)));
	assert_false(kbe_isa_runs(KBE_ISA(unknown) | KBE_ISA(avx), ~UINT64_C(0)));
	assert_false(kbe_isa_runs(UINT64_C(1) << 63, kbe_host_isa()));
}

static void test_host(void **state)
{
	uint64_t host = kbe_host_isa(), back;
	char text[600];

	(void)state;
	assert_false(host & KBE_ISA(unknown));
	assert_int_equal(host >> KBE_NISA, 0);
	kbe_isa_text(host, text, sizeof(text));
	assert_true(kbe_isa_parse(text, &back) && back == host);
	/* an operating system that saves no AVX state has none of what lives in it */
	if (!(host & KBE_ISA(avx)))
		assert_false(host & (KBE_ISA(avx2) | KBE_ISA(fma) | KBE_ISA(avx512f)));
}

static void test_text(void **state)
{
	uint64_t set = 7, all = (UINT64_C(1) << KBE_NISA) - 1;
	char text[600], small[8];

	(void)state;
	kbe_isa_text(all, text, sizeof(text));
	assert_true(strlen(text) < sizeof(text) - 1);
	assert_true(kbe_isa_parse(text, &set) && set == all);
	assert_true(kbe_isa_parse("", &set) && set == 0);
	assert_true(kbe_isa_parse("  fma   avx ", &set) &&
	            set == (KBE_ISA(fma) | KBE_ISA(avx)));
	set = 7;
	assert_false(kbe_isa_parse("avx av", &set));
	assert_false(kbe_isa_parse("avx,fma", &set));
	assert_false(kbe_isa_parse("AVX", &set));
	assert_int_equal(set, 7);
	kbe_isa_text(all, small, sizeof(small));
	assert_true(strlen(small) < sizeof(small));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_machines), cmocka_unit_test(test_each),
		cmocka_unit_test(test_unknown),  cmocka_unit_test(test_host),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests_name("isa", tests, NULL, NULL);
}
