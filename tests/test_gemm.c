/* SPDX-License-Identifier: Apache-2.0 */
/* test_gemm.c -- quantizers and products through the library, as a host uses them: what is
 * refused and in which words, rows quantized by the product itself, no rows at all. Values are
 * the business of test_random_attention (products too) and of the golden data.
 */
#include "support_api.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { N = 40, K = 64, ROWS = 5, GROUP = 32 };

#define FORMAT                                      \
	"format f v1 {\n"                           \
	"  elem e4m3fn\n"                           \
	"  scale f32 group 32 amax/448 eps 1e-10\n" \
	"  apply reciprocal\n"                      \
	"}\n"

static kvjit_arg tensor(const char *name, kvjit_dtype t, int64_t rows, int64_t cols, void *data)
{
	return (kvjit_arg){
		.name = name, .dtype = t, .data = data, .rank = 2, .shape = { rows, cols }
	};
}

static void refused(kvjit_kernel *k, const kvjit_arg *a, int n, const char *words)
{
	assert_int_equal(kvjit_call(k, NULL, a, n, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(k), words);
}

/* Columns are [groups, rows]: fewer columns than rows are refused, more are left alone. */
static void test_columns(void **state)
{
	static float x[ROWS * K], s[2][ROWS + 3];
	static unsigned char q[ROWS * K];
	kvjit *kv = open_code();
	kvjit_kernel *k = compile(kv, FORMAT "quant in=f32 to=f dim=64 scales=columns", NULL);
	kvjit_arg a[4] = { { .name = "x",
		             .dtype = KVJIT_F32,
		             .data = x,
		             .rank = 3,
		             .shape = { ROWS, 1, K } },
		           { .name = "q",
		             .dtype = KVJIT_E4M3FN,
		             .data = q,
		             .rank = 3,
		             .shape = { ROWS, 1, K } },
		           tensor("s", KVJIT_F32, 2, ROWS + 3, s),
		           { .name = "n", .i = ROWS } };

	(void)state;
	memset(s, 0xff, sizeof s);
	x[K + 3] = -448;
	x[2 * K + 40] = 896;
	assert_int_equal(kvjit_call(k, NULL, a, 4, NULL), KVJIT_OK);
	assert_true(s[0][1] == 1 && s[1][2] == 2 && s[0][0] == 1e-10F / 448);
	assert_int_equal(q[K + 3], 0xfe);
	assert_int_equal(q[2 * K + 40], 0x7e);
	for (int g = 0; g < 2; g++)
		for (int i = 0; i < 3; i++)
			assert_true(s[g][ROWS + i] != s[g][ROWS + i]);
	a[2].shape[1] = ROWS - 1;
	refused(k, a, 4, "'s'|extent 1 is 4|needs 5");
	a[2].shape[1] = ROWS;
	a[2].shape[0] = 3;
	refused(k, a, 4, "'s'|extent 0 is 3|must be 2");
	a[2].dtype = KVJIT_E8M0;
	refused(k, a, 4, "'s' is e8m0|f32[2,?]");
	kvjit_release(k);
	kvjit_close(kv);
}

/* The product that quantizes leaves the bytes of the quantizer, and the sums of the product
 * that doesn't. */
static void test_fused(void **state)
{
	static float x[ROWS * K], s[2][ROWS * 2], c[2][ROWS * N], ws[2 * 2];
	static unsigned char q[2][ROWS * K], w[N * K];
	kvjit *kv = open_code();
	kvjit_kernel *quant = compile(kv, FORMAT "quant in=f32 to=f dim=64", NULL);
	kvjit_kernel *plain =
	    compile(kv, FORMAT "gemm out=f32 acts=f weights=f block=32 dim=64:40", NULL);
	kvjit_kernel *fused =
	    compile(kv, FORMAT "gemm in=f32 acts=f weights=f block=32 dim=64:40", NULL);
	kvjit_arg a[7] = { tensor("a", KVJIT_E4M3FN, ROWS, K, q[0]),
		           tensor("as", KVJIT_F32, ROWS, 2, s[0]),
		           tensor("w", KVJIT_E4M3FN, N, K, w),
		           tensor("ws", KVJIT_F32, 2, 2, ws),
		           tensor("c", KVJIT_F32, ROWS, N, c[0]),
		           { .name = "n", .i = ROWS },
		           tensor("x", KVJIT_F32, ROWS, K, x) };
	kvjit_arg t[4] = { { .name = "x",
		             .dtype = KVJIT_F32,
		             .data = x,
		             .rank = 3,
		             .shape = { ROWS, 1, K } },
		           { .name = "q",
		             .dtype = KVJIT_E4M3FN,
		             .data = q[0],
		             .rank = 3,
		             .shape = { ROWS, 1, K } },
		           { .name = "s",
		             .dtype = KVJIT_F32,
		             .data = s[0],
		             .rank = 3,
		             .shape = { ROWS, 1, 2 } },
		           { .name = "n", .i = ROWS } };

	(void)state;
	for (int i = 0; i < ROWS * K; i++)
		x[i] = (float)(i * 37 % 101 - 50) / 16;
	for (int i = 0; i < N * K; i++)
		w[i] = (unsigned char)(i * 29 % 251 & 0xbf);
	for (int i = 0; i < 4; i++)
		ws[i] = 0.25F * (float)(i + 1);
	assert_int_equal(kvjit_call(quant, NULL, t, 4, NULL), KVJIT_OK);
	assert_int_equal(kvjit_call(plain, NULL, a, 6, NULL), KVJIT_OK);
	a[0].data = q[1];
	a[1].data = s[1];
	a[4].data = c[1];
	assert_int_equal(kvjit_call(fused, NULL, a, 7, NULL), KVJIT_OK);
	assert_memory_equal(q[0], q[1], sizeof q[0]);
	assert_memory_equal(s[0], s[1], sizeof s[0]);
	assert_memory_equal(c[0], c[1], sizeof c[0]);
	assert_true(c[0][0] != 0);

	/* no rows: nothing is touched */
	memset(c[1], 0xff, sizeof c[1]);
	a[5].i = 0;
	assert_int_equal(kvjit_call(fused, NULL, a, 7, NULL), KVJIT_OK);
	assert_true(c[1][0] != c[1][0]);
	a[5].i = ROWS + 1;
	refused(fused, a, 7, "extent 0 is 5|needs 6");
	a[5].i = ROWS;
	a[3].shape[1] = 1;
	refused(fused, a, 7, "'ws'|extent 1 is 1|must be 2");
	kvjit_release(quant);
	kvjit_release(plain);
	kvjit_release(fused);
	kvjit_close(kv);
}

/* What row i gives with column j: codes are 0, 1, 2, -1 and -2, scales powers of two, so every
 * order of sums gives this exactly. */
enum { MOST = 70, DEEP = 70, PARTS = 3, WIDE = 72, DEEPEST = 582 };

static const unsigned char small_code[5] = { 0x00, 0x38, 0x40, 0xb8, 0xc0 };
static const float small_value[5] = { 0, 1, 2, -1, -2 };

static int pick_code(int row, int k)
{
	return (row * 7 + k * 3 + row * k) % 5;
}

static float scale_at(int row, int part)
{
	static const float of[4] = { 0.5F, 2, 1, 4 };

	return of[(row + 3 * part) % 4];
}

static float exact(int i, int j, int block, int deep)
{
	float sum = 0;

	for (int k = 0; k < deep; k++)
		sum += small_value[pick_code(i, k)] * small_value[pick_code(j + 100, k)] *
		       scale_at(i, k / GROUP) * scale_at(j / block, k / GROUP);
	return sum;
}

/* Any number of rows: tiles that are cut at the last row give each row what it has, read no row
 * behind it (there NaN lies) and store none. */
static void any_rows(kvjit *kv, const char *text, int block)
{
	static unsigned char a[MOST][DEEP], w[WIDE][DEEP];
	static float as[MOST][PARTS], ws[WIDE][PARTS], c[MOST][WIDE];
	kvjit_kernel *k = compile(kv, text, NULL);
	kvjit_arg arg[6] = { tensor("a", KVJIT_E4M3FN, MOST, DEEP, a),
		             tensor("as", KVJIT_F32, MOST, PARTS, as),
		             tensor("w", KVJIT_E4M3FN, WIDE, DEEP, w),
		             tensor("ws", KVJIT_F32, WIDE / block, PARTS, ws),
		             tensor("c", KVJIT_F32, MOST, WIDE, c),
		             { .name = "n" } };

	for (int j = 0; j < WIDE; j++)
		for (int d = 0; d < DEEP; d++)
			w[j][d] = small_code[pick_code(j + 100, d)];
	for (int j = 0; j < WIDE / block; j++)
		for (int p = 0; p < PARTS; p++)
			ws[j][p] = scale_at(j, p);
	memset(a, 0x7f, sizeof a);
	memset(as, 0xff, sizeof as);
	for (int n = 1; n <= MOST; n++) {
		for (int d = 0; d < DEEP; d++)
			a[n - 1][d] = small_code[pick_code(n - 1, d)];
		for (int p = 0; p < PARTS; p++)
			as[n - 1][p] = scale_at(n - 1, p);
		memset(c, 0xff, sizeof c);
		arg[5].i = n;
		assert_int_equal(kvjit_call(k, NULL, arg, 6, NULL), KVJIT_OK);
		for (int i = 0; i < MOST; i++)
			for (int j = 0; j < WIDE; j++)
				if (i < n ? c[i][j] != exact(i, j, block, DEEP)
				          : c[i][j] == c[i][j])
					fail_msg("%s: %d rows: c[%d,%d] is %g, must be %g",
					         text, n, i, j, (double)c[i][j],
					         (double)exact(i, j, block, DEEP));
	}
	kvjit_release(k);
}

/* Scales by column of a deep contraction: 16 blocks' are turned at once, of 18 and a part of
 * one the rest is taken one by one. */
static void deep_columns(kvjit *kv, const char *text)
{
	enum { ROWS_DEEP = 9, GROUPS = (DEEPEST + GROUP - 1) / GROUP };
	static unsigned char a[ROWS_DEEP][DEEPEST], w[WIDE][DEEPEST];
	static float as[ROWS_DEEP][GROUPS], ws[WIDE][GROUPS], c[ROWS_DEEP][WIDE];
	kvjit_kernel *k = compile(kv, text, NULL);
	kvjit_arg arg[6] = { tensor("a", KVJIT_E4M3FN, ROWS_DEEP, DEEPEST, a),
		             tensor("as", KVJIT_F32, ROWS_DEEP, GROUPS, as),
		             tensor("w", KVJIT_E4M3FN, WIDE, DEEPEST, w),
		             tensor("ws", KVJIT_F32, WIDE, GROUPS, ws),
		             tensor("c", KVJIT_F32, ROWS_DEEP, WIDE, c),
		             { .name = "n", .i = ROWS_DEEP } };

	for (int i = 0; i < WIDE; i++) {
		for (int d = 0; d < DEEPEST; d++) {
			w[i][d] = small_code[pick_code(i + 100, d)];
			if (i < ROWS_DEEP)
				a[i][d] = small_code[pick_code(i, d)];
		}
		for (int p = 0; p < GROUPS; p++) {
			ws[i][p] = scale_at(i, p);
			if (i < ROWS_DEEP)
				as[i][p] = scale_at(i, p);
		}
	}
	assert_int_equal(kvjit_call(k, NULL, arg, 6, NULL), KVJIT_OK);
	for (int i = 0; i < ROWS_DEEP; i++)
		for (int j = 0; j < WIDE; j++)
			if (c[i][j] != exact(i, j, 1, DEEPEST))
				fail_msg("%s: c[%d,%d] is %g, must be %g", text, i, j,
				         (double)c[i][j], (double)exact(i, j, 1, DEEPEST));
	kvjit_release(k);
}

static void test_rows(void **state)
{
	kvjit *kv[2] = { open_code(), NULL };
	kvjit_kernel *k = NULL;

	(void)state;
	kv[1] = open_with("x86", NULL); /* all that this machine has */
	if (kvjit_compile(kv[1], FORMAT "pack weights=f dim=64:8", NULL, &k) != KVJIT_OK) {
		print_message("only generic code: %s\n", kvjit_error(kv[1]));
		kvjit_close(kv[1]);
		kv[1] = NULL;
	}
	kvjit_release(k);
	for (int i = 0; i < 2 && kv[i]; i++) {
		any_rows(kv[i], FORMAT "gemm out=f32 acts=f weights=f block=24 dim=70:72", 24);
		any_rows(kv[i], FORMAT "gemm out=f32 acts=f weights=f dim=70:72", 1);
		any_rows(kv[i],
		         FORMAT "gemm out=f32 acts=f weights=f dim=70:72 m_tile=16 n_tile=16",
		         1);
		any_rows(kv[i], FORMAT "gemm out=f32 acts=f weights=f dim=70:72 batch=70", 1);
		deep_columns(kv[i], FORMAT "gemm out=f32 acts=f weights=f dim=582:72");
		kvjit_close(kv[i]);
	}
}

/* A schedule that can't be built is refused in terms of its knob. */
static void test_knobs(void **state)
{
	kvjit *kv = open_code();
	kvjit_compile_options o = { .size = sizeof o, .sched = "n_tile=64" };
	kvjit_kernel *k = NULL;

	(void)state;
	assert_int_equal(
	    kvjit_compile(kv, FORMAT "gemm acts=f weights=f block=24 dim=64:48", &o, &k),
	    KVJIT_UNSUPPORTED);
	assert_says(kvjit_error(kv), "n_tile=64|must divide block=24");
	o.sched = "m_tile=500";
	assert_int_equal(
	    kvjit_compile(kv, FORMAT "gemm acts=f weights=f block=24 dim=64:48", &o, &k),
	    KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_error(kv), "m_tile|0:128|500");
	kvjit_close(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_columns),
		cmocka_unit_test(test_fused),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_knobs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
