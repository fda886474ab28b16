/* SPDX-License-Identifier: Apache-2.0 */
/* test_exp2.c -- the polynomials of ir/exp2.def: that they are the best there are, computed
 * anew, and that no mantissa's error passes what the table says. test_x86 asks the latter of
 * compiled code.
 */
#include "../ir/exp2.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MOST = KIR_EXP2_MOST, STEPS = 1 << 16 };

static long double off(const long double *c, int degree, long double x)
{
	long double p = 0;

	for (int i = degree; i >= 0; i--)
		p = p * x + c[i];
	return p / exp2l(x) - 1;
}

/* Gauss and Jordan: n rows of n + 1 numbers, whose last column becomes the solution. */
static void solve(int n, long double a[MOST + 1][MOST + 2])
{
	for (int i = 0; i < n; i++) {
		int top = i;

		for (int r = i; r < n; r++)
			top = fabsl(a[r][i]) > fabsl(a[top][i]) ? r : top;
		for (int k = 0; k <= n; k++) {
			long double t = a[i][k];

			a[i][k] = a[top][k];
			a[top][k] = t;
		}
		for (int r = 0; r < n; r++) {
			long double f = a[r][i] / a[i][i];

			for (int k = 0; k <= n && r != i; k++)
				a[r][k] -= f * a[i][k];
		}
	}
	for (int i = 0; i < n; i++)
		a[i][n] /= a[i][i];
}

/* Where the error is largest between its changes of sign; the last n of those places. */
static void extrema(const long double *c, int degree, long double *x, int n)
{
	long double place[32], best = 0;
	int found = 0, sign = 0;

	for (int i = 1; i <= STEPS; i++) {
		long double at = (long double)i / STEPS, e = off(c, degree, at);
		int s = e > 0 ? 1 : -1;

		if (s != sign) {
			assert_true(found < 32);
			found++;
			best = 0;
		}
		sign = s;
		if (fabsl(e) > best) {
			best = fabsl(e);
			place[found - 1] = at;
		}
	}
	assert_true(found >= n);
	for (int i = 0; i < n; i++)
		x[i] = place[found - n + i];
}

/* Remez: 1 + c1 r + ... whose relative error on [0, 1] has the same size and alternating signs
 * at degree + 1 places, which makes its largest error the least. Returns that. */
static long double best_of(int degree, long double *c)
{
	int n = degree + 1;
	long double x[MOST + 1], a[MOST + 1][MOST + 2];

	for (int i = 0; i < n; i++)
		x[i] = (1 - cosl(3.14159265358979323846L * (i + 1) / n)) / 2;
	c[0] = 1;
	for (int turn = 0; turn < 20; turn++) {
		for (int i = 0; i < n; i++) {
			for (int k = 1; k <= degree; k++)
				a[i][k - 1] = powl(x[i], k) / exp2l(x[i]);
			a[i][degree] = i % 2 ? 1 : -1;
			a[i][n] = 1 - 1 / exp2l(x[i]);
		}
		solve(n, a);
		for (int k = 1; k <= degree; k++)
			c[k] = a[k - 1][n];
		extrema(c, degree, x, n);
	}
	return fabsl(a[degree][n]);
}

static void test_best(void **state)
{
	(void)state;
	for (int degree = 3; degree <= MOST; degree++) {
		const kir_exp2 *p = kir_exp2_of(degree);
		long double c[MOST + 1], least = best_of(degree, c);

		assert_non_null(p);
		for (int k = 0; k <= degree; k++)
			assert_true(fabsl(c[k] - p->c[k]) < 1e-9L);
		/* the table's bound has room for roundings, and no more */
		print_message("degree %d: %.4Lg, 2^%.2Lf; the table says %.4g\n", degree, least,
		              log2l(least), p->error);
		assert_true(least < p->error && p->error < 1.01L * least + 0x1p-22L);
	}
	assert_null(kir_exp2_of(0));
	assert_null(kir_exp2_of(MOST + 1));
}

static float each(const kir_exp2 *p, float r, int fused)
{
	float y = (float)p->c[p->degree];

	for (int k = p->degree - 1; k >= 0; k--) {
		volatile float product = y * r;

		y = fused ? fmaf(y, r, (float)p->c[k]) : product + (float)p->c[k];
	}
	return y;
}

static void test_all_mantissas(void **state)
{
	(void)state;
	for (int degree = 3; degree <= MOST; degree++)
		for (int fused = 0; fused < 2; fused++) {
			const kir_exp2 *p = kir_exp2_of(degree);
			double worst = 0;

			assert_true(each(p, 0, fused) == 1);
			for (int32_t m = 0; m <= 1 << 23; m++) {
				float r = (float)m * 0x1p-23f;
				double e = fabs((double)each(p, r, fused) / exp2(r) - 1);

				worst = e > worst ? e : worst;
			}
			print_message("degree %d%s: at most %.4g\n", degree,
			              fused ? "" : ", each step rounded twice", worst);
			assert_true(worst < p->error);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_best),
		cmocka_unit_test(test_all_mantissas),
	};

	return cmocka_run_group_tests_name("exp2", tests, NULL, NULL);
}
