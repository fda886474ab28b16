/* SPDX-License-Identifier: Apache-2.0 */
/* test_x86.c -- conversions and math of the x86 backend against the element codec and libm, on
 * every target row this machine runs.
 */
#include "x86.h"

#include "../ir/exp2.h"

/* -- conversions ---------------------------------------------------------------------- */

static void check_convert(kir_elem from, kir_elem to, const void *x, size_t n, int round,
                          int nan, int over)
{
	static const char *const rounds[] = { "even", "away", "zero" },
	                         *const nans[] = { "keep", "max", "zero" },
	                         *const overs[] = { "sat", "inf" };
	unsigned fb = kir_elem_bytes(from), tb = kir_elem_bytes(to), i = 0;
	uint64_t *want = malloc(n * sizeof *want);
	char *y = malloc(n * tb), body[200];

	for (size_t k = 0; k < n; k++)
		want[k] = kir_encode(to, kir_decode(from, get(x, fb, k)), round, nan, over);
	snprintf(body, sizeof body, "%%r = convert %%v : %s<64> {round=%s, nan=%s, over=%s}",
	         kir_elems[to].name, rounds[round], nans[nan], overs[over]);
	for (const kir_target *t; (t = runnable(&i));) {
		memset(y, 0xaa, n * tb);
		run_map(t, kir_elems[from].name, kir_elems[to].name, 64, body, x, y, n);
		for (size_t k = 0; k < n; k++)
			if (!same_code(to, get(y, tb, k), want[k]))
				fail_msg("%s: %s %llx to %s is %llx, not %llx (%s)", t->name,
				         kir_elems[from].name,
				         (unsigned long long)get(x, fb, k), kir_elems[to].name,
				         (unsigned long long)get(y, tb, k),
				         (unsigned long long)want[k], body);
	}
	free(want);
	free(y);
}

/* sub=zero: subnormals are 0 of their sign, all else is as ever. */
static void test_bf16_subnormals(void **state)
{
	enum { N = 1 << 15 };
	uint32_t *x = malloc(N * sizeof *x);
	uint16_t *y = malloc(N * sizeof *y);
	unsigned i = 0;

	(void)state;
	/* around the smallest normal number, then all over */
	for (uint32_t k = 0; k < N; k++)
		x[k] = (k & 1) << 31 | (k < N / 2 ? 0x00800000 - N / 4 + k / 2 : k * 0x10fef);
	for (const kir_target *t; (t = runnable(&i));) {
		memset(y, 0xaa, N * sizeof *y);
		run_map(t, "f32", "bf16", 64, "%r = convert %v : bf16<64> {sub=zero}", x, y, N);
		for (uint32_t k = 0; k < N; k++) {
			bool none = !(x[k] & 0x7f800000);
			double v = kir_decode(KIR_f32, none ? x[k] & 0x80000000 : x[k]);
			uint64_t want = kir_encode(KIR_bf16, v, 0, 0, 0);

			if (!same_code(KIR_bf16, y[k], want))
				fail_msg("%s: %08x is %04x, not %04x", t->name, x[k], y[k],
				         (unsigned)want);
		}
	}
	free(x);
	free(y);
}

static void test_decode_all(void **state)
{
	static const kir_elem from[] = { KIR_e4m3fn, KIR_e5m2, KIR_e4m3fnuz, KIR_e5m2fnuz,
		                         KIR_e2m1,   KIR_e2m3, KIR_e3m2,     KIR_e8m0,
		                         KIR_f16,    KIR_bf16, KIR_s8,       KIR_u8,
		                         KIR_s16,    KIR_u16 };
	static const kir_elem to[] = { KIR_f32, KIR_bf16, KIR_f16 };

	(void)state;
	for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
		size_t n;
		void *x = all_codes(from[i], &n);

		for (size_t k = 0; k < sizeof to / sizeof *to; k++)
			if (from[i] != to[k])
				check_convert(from[i], to[k], x, n, 0, 0, 0);
		free(x);
	}
}

/* What becomes of NaN is done although no bit of any other value changes; an infinity counts as
 * beyond the largest finite value of its own element, too. */
static void test_same_value(void **state)
{
	static const kir_elem from[] = { KIR_e4m3fn, KIR_e5m2, KIR_e4m3fnuz, KIR_e2m1,
		                         KIR_e8m0,   KIR_f16,  KIR_bf16 };

	(void)state;
	for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
		size_t n;
		void *x = all_codes(from[i], &n);

		for (int nan = KIR_NAN_max; nan <= KIR_NAN_zero; nan++) {
			check_convert(from[i], from[i], x, n, 0, nan, KIR_OVER_sat);
			check_convert(from[i], from[i], x, n, 0, nan, KIR_OVER_inf);
			check_convert(from[i], KIR_f32, x, n, 0, nan, KIR_OVER_sat);
		}
		if (from[i] == KIR_e5m2)
			check_convert(from[i], from[i], x, n, 0, 0, KIR_OVER_sat);
		free(x);
	}
}

static void test_narrow_16(void **state)
{
	static const kir_elem to[] = { KIR_e4m3fn,   KIR_e5m2, KIR_e4m3fnuz,
		                       KIR_e5m2fnuz, KIR_s8,   KIR_u8 };
	size_t n;
	void *x = all_codes(KIR_bf16, &n);

	(void)state;
	for (size_t k = 0; k < sizeof to / sizeof *to; k++)
		check_convert(KIR_bf16, to[k], x, n, 0, 0, 0);
	check_convert(KIR_bf16, KIR_s8, x, n, KIR_ROUND_away, 0, 0);
	free(x);
	x = all_codes(KIR_f16, &n);
	check_convert(KIR_f16, KIR_e4m3fn, x, n, 0, 0, 0);
	free(x);
}

/* f32 patterns: an even spread over all, and around every point where the code changes. */
static uint32_t *f32_samples(kir_elem e, size_t *n)
{
	size_t spread = 1 << 16, cap = spread + 70000 * 10, at = 0;
	uint32_t *x = malloc(cap * sizeof *x), bits;

	for (size_t i = 0; i < spread; i++)
		x[at++] = (uint32_t)(i * 65537 + i * 77);
	for (uint64_t c = 0; c < (1u << kir_elems[e].bits) && kir_elems[e].bits <= 8; c++) {
		float lo = (float)kir_decode(e, c), mid = (float)kir_decode(e, c + 1);

		mid = lo + (mid - lo) / 2;
		for (int d = -2; d <= 2; d++) {
			memcpy(&bits, &mid, 4);
			x[at++] = bits + (uint32_t)d;
			memcpy(&bits, &lo, 4);
			x[at++] = bits + (uint32_t)d;
		}
	}
	for (; at % 64; at++)
		x[at] = 0x7f800000 + (uint32_t)(at % 3);
	*n = at;
	return x;
}

static void test_encode_f32(void **state)
{
	static const kir_elem to[] = { KIR_e4m3fn, KIR_e5m2, KIR_e4m3fnuz, KIR_e5m2fnuz,
		                       KIR_e2m1,   KIR_e2m3, KIR_e3m2,     KIR_e8m0,
		                       KIR_bf16,   KIR_f16,  KIR_s8,       KIR_u8,
		                       KIR_s16,    KIR_s32 };
	(void)state;
	for (size_t k = 0; k < sizeof to / sizeof *to; k++) {
		size_t n;
		uint32_t *x = f32_samples(to[k], &n);
		bool flt = kir_is_float(to[k]), nosat = flt && kir_elems[to[k]].kind != 'P';

		check_convert(KIR_f32, to[k], x, n, 0, 0, 0);
		check_convert(KIR_f32, to[k], x, n, KIR_ROUND_zero, KIR_NAN_max, 0);
		check_convert(KIR_f32, to[k], x, n, KIR_ROUND_away, KIR_NAN_zero, 0);
		if (nosat)
			check_convert(KIR_f32, to[k], x, n, 0, 0, KIR_OVER_inf);
		if (nosat)
			check_convert(KIR_f32, to[k], x, n, KIR_ROUND_zero, 0, KIR_OVER_inf);
		free(x);
	}
}

/* Every f32. Codes of one sign grow with the number, so where the first and the last of many
 * have the same, all between have it. */
static void check_all(const kir_target *t, kir_elem to, int over)
{
	enum { MANY = 1 << 20, FEW = 1 << 12 };
	uint32_t *x = malloc(MANY * sizeof *x);
	unsigned char *y = malloc(MANY), want[FEW];
	char body[100];
	map_fn fn;

	snprintf(body, sizeof body, "%%r = convert %%v : %s<64> {over=%s}", kir_elems[to].name,
	         over ? "inf" : "sat");
	code c = build_map(t, "f32", kir_elems[to].name, 64, body);
	*(void **)&fn = c.entry;
	for (uint64_t base = 0; base < 1ull << 32; base += MANY) {
		for (uint32_t i = 0; i < MANY; i++)
			x[i] = (uint32_t)base + i;
		fn(x, y, MANY / 64, 0, 0, MANY / 64);
		for (uint32_t i = 0; i < MANY; i += FEW) {
			double lo = kir_decode(KIR_f32, x[i]),
			       hi = kir_decode(KIR_f32, x[i + FEW - 1]);
			uint64_t a = kir_encode(to, lo, 0, 0, over);
			bool same =
			    !isnan(lo) && !isnan(hi) && a == kir_encode(to, hi, 0, 0, over);

			for (uint32_t k = 0; k < FEW; k++)
				want[k] =
				    (unsigned char)(same
				                        ? a
				                        : kir_encode(
				                              to, kir_decode(KIR_f32, x[i + k]),
				                              0, 0, over));
			for (uint32_t k = 0; k < FEW; k++)
				if (y[i + k] != want[k])
					fail_msg("%s: %08x to %s is %02x, not %02x", t->name,
					         x[i + k], body, y[i + k], want[k]);
		}
	}
	drop(&c);
	free(x);
	free(y);
}

static void test_every_f32(void **state)
{
	unsigned i = 0;
	const kir_target *last = NULL;

	(void)state;
	if (!getenv("KVJIT_LONG"))
		skip();
	for (const kir_target *t; (t = runnable(&i));)
		last = t;
	for (int over = 0; over < 2; over++) {
		check_all(last, KIR_e4m3fn, over);
		check_all(last, KIR_e5m2, over);
	}
}

/* bf16, widened, times one number and narrowed: the lanes may take another order between. */
static void test_scaled(void **state)
{
	static const kir_elem to[] = { KIR_e4m3fn, KIR_e5m2, KIR_s8 };
	static const float by[] = { 1, 0.0123F, -77.7F, 0, INFINITY, NAN };
	size_t n;
	uint16_t *x = all_codes(KIR_bf16, &n);
	unsigned char *y = malloc(n);
	unsigned i = 0;
	char body[200];

	(void)state;
	for (const kir_target *t; (t = runnable(&i));)
		for (size_t k = 0; k < 3 * sizeof by / sizeof *by; k++) {
			kir_elem e = to[k % 3];
			float s = by[k / 3];

			snprintf(body, sizeof body,
			         "%%w = convert %%v : f32<64>\n%%s = splat %.9g : f32<64>\n"
			         "%%p = mul %%w, %%s : f32<64>\n%%r = convert %%p : %s<64>",
			         (double)s, kir_elems[e].name);
			run_map(t, "bf16", kir_elems[e].name, 64, body, x, y, n);
			for (size_t m = 0; m < n; m++) {
				float v = (float)kir_decode(KIR_bf16, x[m]) * s;
				uint64_t want = kir_encode(e, (double)v, 0, 0, 0);

				bool same = y[m] == want;

				if (isnan(v) && kir_is_float(e)) /* its sign is nobody's */
					same = isnan(kir_decode(e, y[m]));
				if (!same)
					fail_msg("%s: %04x times %g to %s is %02x, not %02x",
					         t->name, x[m], (double)s, kir_elems[e].name,
					         y[m], (unsigned)want);
			}
		}
	free(x);
	free(y);
}

/* The stored cases: x, then the codes with sat_nan, sat_nan2max and nosat at these offsets. */
static void test_golden(void **state)
{
	static const struct {
		kir_elem e;
		size_t n, at[3];
	} file[] = { { KIR_e4m3fn, 13029, { 52160, 65216, 78272 } },
		     { KIR_e5m2, 13005, { 52032, 65088, 78144 } },
		     { KIR_e4m3fnuz, 13033, { 52160, 65216, 78272 } },
		     { KIR_e5m2fnuz, 13033, { 52160, 65216, 78272 } } };
	static const char *const attrs[] = { "over=sat", "nan=max", "over=inf" };
	static unsigned char bytes[100000], y[16384];
	const char *dir = getenv("KVJIT_GOLDEN");
	char path[512], body[100];

	(void)state;
	for (size_t k = 0; k < 4; k++) {
		const char *name = kir_elems[file[k].e].name;

		snprintf(path, sizeof path, "%s/codec_encode_%s.bin",
		         dir ? dir : "tests/golden", name);
		FILE *f = fopen(path, "rb");

		if (!f)
			skip();
		assert_true(fread(bytes, 1, sizeof bytes, f) > file[k].at[2]);
		fclose(f);
		for (unsigned a = 0, i = 0; a < 3; a++, i = 0)
			for (const kir_target *t; (t = runnable(&i));) {
				snprintf(body, sizeof body, "%%r = convert %%v : %s<32> {%s}",
				         name, attrs[a]);
				run_map(t, "f32", name, 32, body, bytes, y, 13056);
				assert_memory_equal(y, bytes + file[k].at[a], file[k].n);
			}
	}
}

static void test_integers(void **state)
{
	static const kir_elem e[] = { KIR_s8, KIR_u8, KIR_s16, KIR_u16, KIR_s32, KIR_s64 };
	int64_t wide[256];
	char x[256 * 8];

	(void)state;
	for (int i = 0; i < 256; i++)
		wide[i] = (i & 1 ? -1 : 1) * (((int64_t)1 << (i / 4 % 63)) + i % 3 - 1);
	for (size_t i = 0; i < 6; i++) {
		unsigned b = kir_elem_bytes(e[i]);

		for (size_t k = 0; k < 256; k++)
			memcpy(x + k * b, &wide[k], b);
		for (size_t k = 0; k < 6; k++)
			if (i != k && e[i] != KIR_s64) /* the codec's doubles hold 53 bits */
				check_convert(e[i], e[k], x, 256, 0, 0, 0);
		check_convert(e[i], KIR_f32, x, 256, 0, 0, 0);
		if (e[i] != KIR_s64) {
			check_convert(e[i], KIR_bf16, x, 256, 0, 0, 0);
			check_convert(e[i], KIR_f16, x, 256, 0, 0, 0);
			check_convert(e[i], KIR_e4m3fn, x, 256, 0, 0, 0);
		}
	}
}

/* -- math -------------------------------------------------------------------------------- */

static double ulps(float got, double want)
{
	int e;

	if (isnan(want))
		return isnan(got) ? 0 : INFINITY;
	if (isinf((float)want))
		return got == (float)want ? 0 : INFINITY;
	frexp(want, &e);
	e = want == 0 || e - 24 < -149 ? -149 : e - 24;
	return fabs(got - want) / ldexp(1, e);
}

/* Largest error of `op` on n floats from lo to hi (or their patterns), in ulps or absolute. */
static double worst(const kir_target *t, const char *op, double (*ref)(double), float lo,
                    float hi, bool absolute)
{
	enum { N = 1 << 18 };
	static float x[N], y[N];
	double w = 0;
	char body[80];

	for (int i = 0; i < N; i++)
		x[i] = lo + (hi - lo) * ((float)i / N);
	snprintf(body, sizeof body, "%%r = %s %%v : f32<32>", op);
	run_map(t, "f32", "f32", 32, body, x, y, N);
	for (int i = 0; i < N; i++) {
		double want = ref(x[i]), err = absolute ? fabs(y[i] - want) : ulps(y[i], want);

		if (err > w)
			w = err;
	}
	return w;
}

static double ref_exp2(double x)
{
	return exp2(x);
}

static void test_math(void **state)
{
	unsigned i = 0;

	(void)state;
	for (const kir_target *t; (t = runnable(&i));) {
		double e1 = worst(t, "exp2", ref_exp2, -126, 128, false),
		       e2 = worst(t, "exp2", ref_exp2, -152, -126, false),
		       e3 = worst(t, "exp2", ref_exp2, -1e-3f, 1e-3f, false),
		       l1 = worst(t, "log2", log2, 1.5f, 1e6f, false),
		       l2 = worst(t, "log2", log2, 1e-40f, 0.75f, false),
		       l3 = worst(t, "log2", log2, 0.7f, 1.6f, true),
		       h1 = worst(t, "tanh", tanh, -10, 10, true),
		       h2 = worst(t, "tanh", tanh, -0.01f, 0.01f, false);

		print_message("%s: ulps of exp2 %.2f, subnormal %.2f, near 0 %.2f; "
		              "log2 %.2f, below 1 %.2f, near 1 %.2g abs; "
		              "tanh %.2g abs, near 0 %.2f\n",
		              t->name, e1, e2, e3, l1, l2, l3, h1, h2);
		assert_true(e1 < 2 && e2 < 1.5 && e3 < 2);
		assert_true(l1 < 2 && l2 < 2.5 && l3 < 1.5e-7);
		assert_true(h1 < 1.5e-7 && h2 < 2);
	}
}

static void test_math_corners(void **state)
{
	static const float x[16] = { -INFINITY, INFINITY, NAN,    0,      -0.0f, 128,
		                     -149,      -150,     1,      -1e30f, 1e30f, 1e-45f,
		                     -1,        2,        127.5f, 8 };
	unsigned i = 0;
	float y[16];

	(void)state;
	for (const kir_target *t; (t = runnable(&i));) {
		run_map(t, "f32", "f32", 16, "%r = exp2 %v : f32<16>", x, y, 16);
		for (int k = 0; k < 16; k++)
			assert_true(ulps(y[k], exp2(x[k])) < 1.5);
		assert_true(y[3] == 1 && y[8] == 2 && y[15] == 256 && y[0] == 0);
		run_map(t, "f32", "f32", 16, "%r = log2 %v : f32<16>", x, y, 16);
		for (int k = 0; k < 16; k++)
			assert_true(ulps(y[k], log2(x[k])) < 1.5);
		run_map(t, "f32", "f32", 16, "%r = tanh %v : f32<16>", x, y, 16);
		for (int k = 0; k < 16; k++)
			assert_true(ulps(y[k], tanh(x[k])) < 2);
		run_map(
		    t, "f32", "f32", 16,
		    "%a = half.lo %v : f32<8>\n%b = half.hi %v : f32<8>\n"
		    "%c = exp2 %a : f32<8>\n%d = exp2 %b : f32<8>\n%r = join %c, %d : f32<16>",
		    x, y, 16);
		for (int k = 0; k < 16; k++)
			assert_true(ulps(y[k], exp2(x[k])) < 1.5);
		run_map(t, "f32", "f32", 16,
		        "%s = load %x[13] : f32\n%e = exp2 %s : f32\n%r = splat %e : f32<16>",
		        x, y, 16);
		assert_true(y[0] == 4 && y[15] == 4);
	}
}

/* What the table of ir/exp2.def says of each polynomial holds for code: all mantissas, and what
 * lies on the borders. */
static void test_short_exp2(void **state)
{
	enum { N = 1 << 20 };
	static const float corner[16] = { -INFINITY, INFINITY, NAN,    0,      -0.0f,     128,
		                          -150,      -126,     -1e9f,  -1e-9f, -0x1p-24f, 1,
		                          -1,        2,        127.5f, 8 };
	float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
	unsigned i = 0;

	(void)state;
	for (const kir_target *t; (t = runnable(&i));)
		for (int degree = 3; degree <= KIR_EXP2_MOST; degree++) {
			double most = kir_exp2_of(degree)->error, worst = 0;
			char body[80];

			snprintf(body, sizeof body, "%%r = exp2 %%v : f32<32> {degree=%d}",
			         degree);
			/* [1, 2) eight times a million, then [-8, 0) */
			for (int part = 0; part < 9; part++) {
				for (int k = 0; k < N; k++)
					x[k] = part < 8
					           ? 1 + ((float)k + (float)part * N) / 0x1p23f
					           : (float)k / N * 8 - 8;
				run_map(t, "f32", "f32", 32, body, x, y, N);
				for (int k = 0; k < N; k++)
					worst =
					    fmax(worst, fabs((double)y[k] / exp2(x[k]) - 1));
			}
			print_message("%s: degree %d, %.4g at most\n", t->name, degree, worst);
			assert_true(worst < most && worst > most / 2);
			snprintf(body, sizeof body, "%%r = exp2 %%v : f32<16> {degree=%d}",
			         degree);
			run_map(t, "f32", "f32", 16, body, corner, y, 16);
			for (int k = 0; k < 16; k++) {
				double want = (double)(float)exp2(corner[k]);

				if (isnan(want) || isinf(want))
					assert_true(isnan(want) ? isnan(y[k]) : y[k] == want);
				else
					assert_true(fabs(y[k] - want) <=
					            most * want + 0x1p-149);
			}
			assert_true(y[3] == 1 && y[4] == 1 && y[0] == 0 && y[8] == 0);
			assert_true(y[11] == 2 && y[12] == 0.5 && y[15] == 256);
		}
	free(x);
	free(y);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bf16_subnormals), cmocka_unit_test(test_decode_all),
		cmocka_unit_test(test_same_value),      cmocka_unit_test(test_narrow_16),
		cmocka_unit_test(test_encode_f32),      cmocka_unit_test(test_every_f32),
		cmocka_unit_test(test_scaled),          cmocka_unit_test(test_golden),
		cmocka_unit_test(test_integers),        cmocka_unit_test(test_math),
		cmocka_unit_test(test_math_corners),    cmocka_unit_test(test_short_exp2),
	};

	return cmocka_run_group_tests_name("x86", tests, NULL, NULL);
}
