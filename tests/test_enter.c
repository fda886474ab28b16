/* SPDX-License-Identifier: Apache-2.0 */
/* test_enter.c -- arguments of every kind and number arrive where a compiled function looks. */
#include "../jit/enter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* What a function found: its arguments in order, as numbers. */
static double found[256];
static unsigned nfound;

static void see(double x)
{
	found[nfound++] = x;
}

#define T2(t, a)   t a##0, t a##1
#define T8(t, a)   T2(t, a##0), T2(t, a##1), T2(t, a##2), T2(t, a##3)
#define T32(t, a)  T8(t, a##0), T8(t, a##1), T8(t, a##2), T8(t, a##3)
#define SEE2(a)    see((double)a##0), see((double)a##1)
#define SEE8(a)    SEE2(a##0), SEE2(a##1), SEE2(a##2), SEE2(a##3)
#define SEE32(a)   SEE8(a##0), SEE8(a##1), SEE8(a##2), SEE8(a##3)
#define LAST       int64_t phase, int64_t begin, int64_t end
#define SEE_LAST() see((double)phase), see((double)begin), see((double)end)

static void none(LAST)
{
	SEE_LAST();
}

static void four_words(T2(int64_t, a), T2(int64_t, b), LAST)
{
	SEE2(a), SEE2(b), SEE_LAST();
}

static void eight_halves(T8(int32_t, a), LAST)
{
	SEE8(a), SEE_LAST();
}

static void reals(T8(float, a), T2(float, b), LAST)
{
	SEE8(a), SEE2(b), SEE_LAST();
}

/* As kernels have them: tensors with strides, a scale between. */
static void mixed(T8(int64_t, a), T2(float, b), T2(int32_t, c), T8(int64_t, d), T8(float, e),
                  T2(int32_t, f), T2(float, g), T2(int64_t, h), LAST)
{
	SEE8(a), SEE2(b), SEE2(c), SEE8(d), SEE8(e), SEE2(f), SEE2(g), SEE2(h), SEE_LAST();
}

static void many(T32(int64_t, a), T8(float, b), T32(int32_t, c), T8(float, d), LAST)
{
	SEE32(a), SEE8(b), SEE32(c), SEE8(d), SEE_LAST();
}

static void most(T32(int64_t, a), T32(int32_t, b), T32(float, c), T32(int64_t, d),
                 T32(int32_t, e), T32(float, f), T32(int64_t, g), LAST)
{
	SEE32(a), SEE32(b), SEE32(c), SEE32(d), SEE32(e), SEE32(f), SEE32(g), SEE_LAST();
}

/* kinds: "32w8r": so many words (w), halves (h), reals (r). */
static void check(void (*entry)(void), const char *kinds)
{
	kvjit_cell cell[256];
	uint8_t kind[256];
	double want[256];
	const int64_t last[3] = { 1ll << 40, -2, 77 };
	kvjit_registers r;
	unsigned n = 0;

	for (; *kinds; kinds++) {
		unsigned count = 0;

		for (; *kinds >= '0' && *kinds <= '9'; kinds++)
			count = count * 10 + (unsigned)(*kinds - '0');
		for (; count; count--, n++) {
			int sign = n % 3 ? 1 : -1;

			/* what a half or a real leaves of its cell means nothing */
			cell[n].i = 0x5a5a5a5a5a5a5a5a;
			if (*kinds == 'r') {
				kind[n] = KVJIT_CELL_real;
				want[n] = cell[n].f = (float)sign * ((float)n + 0.5f);
			} else if (*kinds == 'h') {
				kind[n] = KVJIT_CELL_half;
				want[n] = cell[n].w = sign * (int)(n + 1000000000);
			} else {
				kind[n] = KVJIT_CELL_word;
				cell[n].i = sign * ((1ll << 45) + n);
				want[n] = (double)cell[n].i;
			}
		}
	}
	kvjit_put(&r, cell, kind, n);
	for (int twice = 0; twice < 2; twice++) {
		nfound = 0;
		kvjit_enter(entry, &r, last);
		assert_int_equal(nfound, n + 3);
		for (unsigned i = 0; i < n; i++)
			assert_true(found[i] == want[i]);
		for (unsigned i = 0; i < 3; i++)
			assert_true(found[n + i] == (double)last[i]);
	}
}

static void test_enter(void **state)
{
	(void)state;
	check((void (*)(void))none, "");
	check((void (*)(void))four_words, "4w");
	check((void (*)(void))eight_halves, "8h");
	check((void (*)(void))reals, "10r");
	check((void (*)(void))mixed, "8w2r2h8w8r2h2r2w");
	check((void (*)(void))many, "32w8r32h8r");
	check((void (*)(void))most, "32w32h32r32w32h32r32w");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_enter) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
