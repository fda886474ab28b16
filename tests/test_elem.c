/* SPDX-License-Identifier: Apache-2.0 */
/* test_elem.c -- the codec of ir/elem.c against the golden codes and against itself. */
#include "../ir/format.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* -- golden arrays -------------------------------------------------------------------- */

static const char *golden_dir(void)
{
	const char *dir = getenv("KVJIT_GOLDEN");

	return dir ? dir : "tests/golden";
}

static FILE *golden_open(const char *name)
{
	char path[1000];

	snprintf(path, sizeof(path), "%s/%s", golden_dir(), name);
	return fopen(path, "rb");
}

/* An array of a case, by manifest.tsv; NULL if there is none. free() it. */
static void *golden(const char *name, const char *array, size_t *bytes)
{
	char line[600], file[200], c[100], a[100];
	FILE *f = golden_open("manifest.tsv");
	long at = -1, n = 0;
	void *data;

	if (!f) {
		print_message("no golden data in %s (KVJIT_GOLDEN): skipped\n", golden_dir());
		skip();
	}
	while (at < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "%99s %*s %*s %99s %*s %*s %ld %ld", c, a, &at, &n) != 4 ||
		    strcmp(c, name) != 0 || strcmp(a, array) != 0)
			at = -1;
	fclose(f);
	if (at < 0)
		return NULL;
	snprintf(file, sizeof(file), "%s.bin", name);
	f = golden_open(file);
	data = malloc((size_t)n);
	assert_non_null(f);
	assert_non_null(data);
	assert_int_equal(fseek(f, at, SEEK_SET), 0);
	assert_int_equal(fread(data, 1, (size_t)n, f), n);
	fclose(f);
	*bytes = (size_t)n;
	return data;
}

static const kir_elem small[] = { KIR_e4m3fn, KIR_e5m2, KIR_e4m3fnuz, KIR_e5m2fnuz,
	                          KIR_e2m1,   KIR_e2m3, KIR_e3m2 };
enum { NSMALL = sizeof(small) / sizeof(small[0]) };

static void test_golden_decode(void **state)
{
	(void)state;
	for (int i = 0; i < NSMALL; i++) {
		char name[64];
		size_t n;

		snprintf(name, sizeof(name), "codec_decode_%s", kir_elems[small[i]].name);
		float *want = golden(name, "value", &n);

		assert_non_null(want);
		for (size_t c = 0; c < n / 4; c++) {
			double got = kir_decode(small[i], c);

			if (isnan(want[c])
			        ? !isnan(got)
			        : got != want[c] || !signbit(got) != !signbit(want[c]))
				fail_msg("%s: code %zx is %a, not %a", name, c, got, want[c]);
		}
		free(want);
	}
}

static void test_golden_encode(void **state)
{
	static const struct {
		const char *array;
		int nan, over;
	} variants[] = { { "sat_nan", KIR_NAN_keep, KIR_OVER_sat },
		         { "sat_nan2max", KIR_NAN_max, KIR_OVER_sat },
		         { "nosat", KIR_NAN_keep, KIR_OVER_inf } };

	(void)state;
	for (int i = 0; i < NSMALL * 3; i++) {
		kir_elem e = small[i / 3];
		char name[64];
		size_t n, nx;

		snprintf(name, sizeof(name), "codec_encode_%s", kir_elems[e].name);
		uint8_t *want = golden(name, variants[i % 3].array, &n);

		if (!want)
			continue; /* elements without NaN have no nosat */
		float *x = golden(name, "x", &nx);

		for (size_t k = 0; k < n; k++) {
			uint64_t got = kir_encode(e, x[k], KIR_ROUND_even, variants[i % 3].nan,
			                          variants[i % 3].over);

			if (got != want[k])
				fail_msg("%s %s: %a is %x, not %x", name, variants[i % 3].array,
				         x[k], (unsigned)got, want[k]);
		}
		free(x);
		free(want);
	}
}

static void test_golden_bf16(void **state)
{
	size_t n, nx;
	float *x = golden("codec_f32_to_bf16", "x", &nx);
	uint16_t *want = golden("codec_f32_to_bf16", "y", &n);

	(void)state;
	assert_non_null(x);
	for (size_t k = 0; k < n / 2; k++)
		if (kir_encode(KIR_bf16, x[k], KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_sat) !=
		    want[k])
			fail_msg("bf16 of %a isn't %x", x[k], want[k]);
	free(x);
	free(want);
}

static void test_golden_pow2(void **state)
{
	size_t n;
	float *s = golden("codec_ue8m0_pow2ceil", "s", &n);
	float *pow2 = golden("codec_ue8m0_pow2ceil", "pow2", &n);
	uint8_t *byte = golden("codec_ue8m0_pow2ceil", "byte", &n);

	(void)state;
	assert_non_null(s);
	for (size_t k = 0; k < n; k++) {
		double got = kir_pow2_ceil(s[k]);

		assert_true(got == pow2[k]);
		assert_int_equal(
		    kir_encode(KIR_e8m0, got, KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_sat),
		    byte[k]);
	}
	free(s);
	free(pow2);
	free(byte);
}

/* -- without golden data ------------------------------------------------------------------ */

static void test_round_trip(void **state)
{
	(void)state;
	for (int e = 1; e < KIR_NELEM; e++) {
		const kir_elem_info *i = &kir_elems[e];

		for (uint64_t c = 0; i->bits <= 16 && i->kind != 'B' && c < 1u << i->bits;
		     c++) {
			double x = kir_decode((kir_elem)e, c);

			for (int round = 0; round < 3 && !isnan(x); round++)
				if (kir_encode((kir_elem)e, x, round, KIR_NAN_keep,
				               KIR_OVER_inf) != c)
					fail_msg("%s: %a isn't code %x again", i->name, x,
					         (unsigned)c);
		}
	}
}

static void test_maxima(void **state)
{
	static const struct {
		kir_elem e;
		double max;
	} cases[] = {
		{ KIR_s8, 127 },
		{ KIR_u8, 255 },
		{ KIR_s16, 32767 },
		{ KIR_s32, 0x7fffffff },
		{ KIR_f16, 65504 },
		{ KIR_bf16, 0x1.fep127 },
		{ KIR_f32, 0x1.fffffep127 },
		{ KIR_f64, 0x1.fffffffffffffp1023 },
		{ KIR_e4m3fn, 448 },
		{ KIR_e5m2, 57344 },
		{ KIR_e4m3fnuz, 240 },
		{ KIR_e5m2fnuz, 57344 },
		{ KIR_e2m1, 6 },
		{ KIR_e2m3, 7.5 },
		{ KIR_e3m2, 28 },
		{ KIR_e8m0, 0x1p127 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_true(kir_elem_max(cases[i].e) == cases[i].max);
}

static uint64_t enc(kir_elem e, double x, int round)
{
	return kir_encode(e, x, round, KIR_NAN_keep, KIR_OVER_sat);
}

static void test_roundings(void **state)
{
	(void)state;
	/* 1.0625 lies between 1 and 1.125 of e4m3 */
	assert_int_equal(enc(KIR_e4m3fn, 1.0625, KIR_ROUND_even), 0x38);
	assert_int_equal(enc(KIR_e4m3fn, 1.0625, KIR_ROUND_away), 0x39);
	assert_int_equal(enc(KIR_e4m3fn, -1.0625, KIR_ROUND_away), 0xb9);
	assert_int_equal(enc(KIR_e4m3fn, 1.12, KIR_ROUND_zero), 0x38);
	assert_int_equal(enc(KIR_e4m3fn, 1.1875, KIR_ROUND_even), 0x3a);
	assert_int_equal(enc(KIR_e4m3fn, 1e9, KIR_ROUND_zero), 0x7e);
	assert_int_equal(kir_encode(KIR_e5m2, 1e9, KIR_ROUND_zero, 0, KIR_OVER_inf), 0x7b);
	assert_int_equal(kir_encode(KIR_e5m2, 1e9, KIR_ROUND_even, 0, KIR_OVER_inf), 0x7c);
	assert_int_equal(kir_encode(KIR_f16, 1e9, KIR_ROUND_even, 0, KIR_OVER_sat), 0x7c00);
	assert_int_equal(kir_encode(KIR_f32, 1.5, KIR_ROUND_even, 0, 0), 0x3fc00000);
	assert_true(kir_encode(KIR_f64, -0.1, KIR_ROUND_even, 0, 0) == 0xbfb999999999999au);
	assert_int_equal(enc(KIR_e8m0, 1.5, KIR_ROUND_even), 128);
	assert_int_equal(enc(KIR_e8m0, 1.49, KIR_ROUND_even), 127);
	assert_int_equal(enc(KIR_e8m0, 1.99, KIR_ROUND_zero), 127);
	assert_int_equal(enc(KIR_e8m0, 0, KIR_ROUND_even), 0);
	assert_int_equal(enc(KIR_e8m0, INFINITY, KIR_ROUND_even), 254);
	assert_int_equal(kir_encode(KIR_e8m0, NAN, 0, 0, 0), 255);
}

/* Whatever a rule takes the largest of may be beyond the largest scale: what rows may have,
 * eps, floor; an element without infinities holds it by itself. */
static void test_scales_beyond(void **state)
{
	const kir_side side = { .elem = KIR_s8,
		                .bits = 8,
		                .scale_elem = KIR_f16,
		                .gran = KIR_GRAN_token_head,
		                .rule = KIR_RULE_amax,
		                .divisor = 127 };
	kir_side s = side;

	(void)state;
	assert_false(kir_scale_overflows(&s, KIR_f16)); /* 65504 / 127 */
	assert_true(kir_scale_overflows(&s, KIR_bf16));
	s.floor = 1e5;
	assert_true(kir_scale_overflows(&s, KIR_f16));
	s = side;
	s.eps = 1e7; /* over 127 */
	assert_true(kir_scale_overflows(&s, KIR_f16));
	s.eps = 1e6;
	assert_false(kir_scale_overflows(&s, KIR_f16));
	s = side;
	s.divisor = 0.5;
	assert_true(kir_scale_overflows(&s, KIR_f16));
	s = side;
	s.global = true;
	assert_true(kir_scale_overflows(&s, KIR_f16));
	s = side;
	s.range = true; /* the difference of two of them is f32 */
	assert_true(kir_scale_overflows(&s, KIR_f16));
	s = side;
	s.scale_elem = KIR_e4m3fn;
	s.floor = 1e5;
	assert_false(kir_scale_overflows(&s, KIR_f32));
}

static void test_integers(void **state)
{
	(void)state;
	assert_int_equal(enc(KIR_s8, 2.5, KIR_ROUND_even), 2);
	assert_int_equal(enc(KIR_s8, 2.5, KIR_ROUND_away), 3);
	assert_int_equal(enc(KIR_s8, -2.5, KIR_ROUND_away), 0xfd);
	assert_int_equal(enc(KIR_s8, 2.9, KIR_ROUND_zero), 2);
	assert_int_equal(enc(KIR_s8, 1000, KIR_ROUND_even), 127);
	assert_int_equal(enc(KIR_s8, -1000, KIR_ROUND_away), 0x80);
	assert_int_equal(enc(KIR_s8, NAN, KIR_ROUND_away), 0);
	assert_int_equal(enc(KIR_s8, INFINITY, KIR_ROUND_away), 127);
	assert_int_equal(enc(KIR_u8, -1, KIR_ROUND_even), 0);
	assert_int_equal(enc(KIR_u8, 255.6, KIR_ROUND_even), 255);
	assert_true(enc(KIR_s64, 1e30, KIR_ROUND_even) == INT64_MAX);
	assert_true(enc(KIR_s64, -1e30, KIR_ROUND_even) == (uint64_t)INT64_MIN);
	/* the sum with a half is rounded to f32 first, as writers do: half a step below 0.5 is
	 * 1 */
	assert_int_equal(enc(KIR_s8, 0x1.fffffep-2, KIR_ROUND_away), 1);
	assert_int_equal(enc(KIR_s8, 0x1.fffffcp-2, KIR_ROUND_away), 0);
	assert_true(kir_decode(KIR_s8, 0x80) == -128);
	assert_true(kir_decode(KIR_s64, UINT64_MAX) == -1);
	assert_true(kir_decode(KIR_i1, 1) == 1);
}

static void test_nans(void **state)
{
	(void)state;
	assert_int_equal(kir_encode(KIR_e4m3fn, NAN, 0, KIR_NAN_zero, 0), 0);
	assert_int_equal(kir_encode(KIR_e4m3fn, NAN, 0, KIR_NAN_max, 0), 0x7e);
	assert_int_equal(kir_encode(KIR_e4m3fn, copysign(NAN, -1), 0, KIR_NAN_keep, 0), 0xff);
	assert_int_equal(kir_encode(KIR_e5m2, NAN, 0, KIR_NAN_keep, 0), 0x7e);
	assert_int_equal(kir_encode(KIR_e4m3fnuz, NAN, 0, KIR_NAN_keep, 0), 0x80);
	assert_int_equal(kir_encode(KIR_e4m3fnuz, -0.0, 0, KIR_NAN_keep, 0), 0);
	assert_int_equal(kir_encode(KIR_e4m3fnuz, -1e-9, 0, KIR_NAN_keep, 0), 0);
	assert_int_equal(kir_encode(KIR_e2m1, NAN, 0, KIR_NAN_keep, 0), 7);
	assert_int_equal(kir_encode(KIR_s8, NAN, 0, KIR_NAN_max, 0), 127);
}

static void test_pow2_ceil(void **state)
{
	(void)state;
	for (int k = -126; k < 127; k++) {
		float two_k = ldexpf(1, k);

		assert_true(kir_pow2_ceil(two_k) == two_k);
		assert_true(kir_pow2_ceil(nextafterf(two_k, INFINITY)) == 2.0 * two_k);
		assert_true(kir_pow2_ceil(nextafterf(two_k, 0)) == two_k);
	}
	assert_true(kir_pow2_ceil(0) == 0x1p-127);
	assert_true(kir_pow2_ceil(0x1p-130) == 0x1p-127); /* the least that e8m0 has */
	assert_true(kir_pow2_ceil(0x1.8p-127) == 0x1p-126);
	assert_true(isnan(kir_pow2_ceil(NAN)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_decode), cmocka_unit_test(test_golden_encode),
		cmocka_unit_test(test_golden_bf16),   cmocka_unit_test(test_golden_pow2),
		cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_maxima),
		cmocka_unit_test(test_roundings),     cmocka_unit_test(test_integers),
		cmocka_unit_test(test_scales_beyond), cmocka_unit_test(test_nans),
		cmocka_unit_test(test_pow2_ceil),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
