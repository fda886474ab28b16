/* SPDX-License-Identifier: Apache-2.0 */
/* test_xe.c -- ops of a sub-group in the interpreter, against matrices and positions written
 * out here: products of every shape and element, blocks of memory in every order, moves
 * between components and lanes; and what is refused. And every code of 8 bits, as pass fragment
 * widens it for a product.
 */
#include "../backends/ref/ref.h"
#include "../ir/format.h"
#include "../passes/passes.h"

#include <math.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static kir_func *parse(const char *text)
{
	kir_diag d = { 0 };
	char msg[2048];
	kir_module *m = kir_parse(text, strlen(text), &d);

	if (!m || !kir_verify(m->func[0], &d)) {
		print_message("%s\n", text);
		fail_msg("%s", kir_diag_text(&d, msg, sizeof msg));
		abort();
	}
	return m->func[0];
}

static void run(const char *text, kref_arg *arg)
{
	kir_func *f = parse(text);
	kir_diag d = { 0 };
	char msg[2048];

	if (!kref_run(f, arg, KREF_ROUND, NULL, &d))
		fail_msg("%s\n%s", text, kir_diag_text(&d, msg, sizeof msg));
	kir_module_free(f->module);
}

/* -- products ------------------------------------------------------------------------------ */

/* A[m][k] and B[k][n] are small integers, exact in every element; C[m][n] begins at m - n. */
static int mat_a(int m, int k, bool sign)
{
	return (m * 7 + k * 5) % 13 - (sign ? 6 : 0);
}

static int mat_b(int k, int n, bool sign)
{
	return (k * 3 + n * 11) % 9 - (sign ? 4 : 0);
}

static void product(const char *target, int lanes, const char *ea, const char *eb, int rows)
{
	bool bytes = strchr("su", *ea) != NULL, sa = *ea != 'u', sb = *eb != 'u';
	int depth = *ea == 'f' && ea[1] == '3' ? lanes : bytes ? 32 : 16;
	int pair = depth / lanes;
	const char *acc = bytes ? "s32" : "f32";
	static int32_t a[512], b[512], ci[128];
	static float af[512], bf[512], cf[128];
	char text[1024];

	for (int i = 0; i < rows * depth; i++) { /* lane, row, which of the lane's steps */
		int lane = i / (rows * pair), m = i / pair % rows, k = lane * pair + i % pair;

		af[i] = (float)(a[i] = mat_a(m, k, sa));
	}
	for (int i = 0; i < lanes * depth; i++)
		bf[i] = (float)(b[i] = mat_b(i % depth, i / depth, sb));
	for (int i = 0; i < lanes * rows; i++)
		cf[i] = (float)(ci[i] = i % rows - i / rows);
	snprintf(text, sizeof text,
	         "func @f(%%a: in %s[?], %%b: in %s[?], %%c: inout %s[?]) level=V target=%s {\n"
	         "  for %%w = 0 to 1 par {\n    %%x = vload %%a[0] : %s<%d>\n"
	         "    %%p = convert %%x : %s<%d>\n    %%y = vload %%b[0] : %s<%d>\n"
	         "    %%q = convert %%y : %s<%d>\n    %%z = vload %%c[0] : %s<%d>\n"
	         "    %%r = xe.dpas %%z, %%p, %%q : %s<%d>\n    vstore %%r, %%c[0]\n    yield\n"
	         "  }\n  ret\n}\n",
	         acc, acc, acc, target, acc, rows * depth, ea, rows * depth, acc, lanes * depth,
	         eb, lanes * depth, acc, lanes * rows, acc, lanes * rows);
	/* converting f32 to f32 is no op */
	for (char *p; !strcmp(ea, "f32") && (p = strstr(text, "convert")) != NULL;)
		memcpy(p, "neg    ", 7);
	kref_arg arg[3] = { { .base = bytes ? (void *)a : (void *)af, .bytes = sizeof a },
		            { .base = bytes ? (void *)b : (void *)bf, .bytes = sizeof b },
		            { .base = bytes ? (void *)ci : (void *)cf, .bytes = sizeof ci } };
	run(text, arg);
	for (int m = 0; m < rows; m++)
		for (int n = 0; n < lanes; n++) {
			int want = m - n, i = n * rows + m;

			for (int k = 0; k < depth; k++)
				want += mat_a(m, k, sa) * mat_b(k, n, sb);
			if ((bytes ? ci[i] : (int)cf[i]) != want)
				fail_msg("%s . %s, row %d of %d, column %d: %d, not %d", ea, eb,
				         m, rows, n, bytes ? ci[i] : (int)cf[i], want);
		}
}

static void dpas(void **state)
{
	static const char *const elem[][2] = { { "f16", "f16" }, { "bf16", "bf16" },
		                               { "f32", "f32" }, { "s8", "s8" },
		                               { "u8", "s8" },   { "s8", "u8" },
		                               { "u8", "u8" } };

	(void)state;
	for (size_t e = 0; e < sizeof elem / sizeof *elem; e++)
		for (int rows = 1; rows <= 8; rows *= 2)
			for (int wide = 0; wide < 2; wide++)
				product(wide ? "xe-pvc" : "xe-dg2", wide ? 16 : 8, elem[e][0],
				        elem[e][1], rows);
}

/* -- blocks of memory ---------------------------------------------------------------------- */

enum { PITCH = 96, ROWS = 40 };
static unsigned char memory[ROWS * PITCH];

/* One load of `count` bytes from memory[at]; out[i] is what the element must be. */
static void block(const char *attr, int count, int at, const char *upto, const int *want)
{
	unsigned char out[1024];
	char text[512];
	kref_arg arg[2] = { { .base = memory, .bytes = sizeof memory },
		            { .base = out, .bytes = sizeof out } };

	for (int i = 0; i < ROWS * PITCH; i++)
		memory[i] = (unsigned char)(i * 37 % 251 + 1);
	memset(out, 0xee, sizeof out);
	snprintf(text, sizeof text,
	         "func @f(%%a: in u8[?], %%o: out u8[?]) level=V target=xe-pvc {\n"
	         "  for %%w = 0 to 1 par {\n    %%r = xe.load2d %%a[%d]%s : u8<%d> {%s}\n"
	         "    vstore %%r, %%o[0]\n    yield\n  }\n  ret\n}\n",
	         at, upto, count, attr);
	run(text, arg);
	for (int i = 0; i < count; i++)
		if (out[i] != (want[i] < 0 ? 0 : memory[want[i]]))
			fail_msg("%s%s, element %d: %d, not that of byte %d", attr, upto, i,
			         out[i], want[i]);
	assert_int_equal(out[count], 0xee);
}

static void load2d(void **state)
{
	int want[1024];

	(void)state;
	for (int i = 0; i < 16 * 32; i++) /* lane: a column, 32 rows of it */
		want[i] = i % 32 * PITCH + i / 32;
	block("pitch=96", 16 * 32, 0, "", want);
	for (int i = 0; i < 16 * 8; i++) /* x and y, in a block that begins inside */
		want[i] = 5 + (i % 8 + 3) * PITCH + i / 8 + 20;
	block("pitch=96, x=20, y=3", 16 * 8, 5, "", want);
	for (int i = 0; i < 16 * 8; i++) /* rows from 3 + 4 on don't exist */
		want[i] = i % 8 < 4 ? (i % 8 + 3) * PITCH + i / 8 : -1;
	block("pitch=96, y=3", 16 * 8, 0, " upto 7", want);
	for (int i = 0; i < 16 * 8; i++)
		want[i] = -1;
	block("pitch=96, y=3", 16 * 8, 0, " upto -1", want);
	for (int i = 0; i < 16 * 16; i++) /* four bytes a column, four rows */
		want[i] = 64 + i / 4 % 4 * PITCH + i / 16 * 4 + i % 4 - 64 + 8;
	block("unit=4, pitch=96, x=2", 16 * 16, 0, "", want);
	for (int i = 0; i < 16 * 32; i++) /* a row a lane */
		want[i] = (i / 32 + 8) * PITCH + i % 32 + 32;
	block("trans=1, pitch=96, x=32, y=8", 16 * 32, 0, "", want);
	for (int i = 0; i < 16 * 32; i++)
		want[i] = i / 32 < 5 ? i / 32 * PITCH + i % 32 : -1;
	block("trans=1, pitch=96", 16 * 32, 0, " upto 5", want);
}

/* Rows that a run-time stride of the buffer is between: y counts from the indexed one. */
static void load2d_stride(void **state)
{
	static const char text[] =
	    "func @f(%a: in u8[?,24,16 | 0:960, 1:$0, 2:1], %o: out u8[?]) level=V\n"
	    "     target=xe-pvc {\n  for %w = 0 to 1 par {\n"
	    "    %r = xe.load2d %a[1,2,4] upto 6 : u8<64> {trans=1, x=4, y=3}\n"
	    "    vstore %r, %o[0]\n    yield\n  }\n  ret\n}\n";
	static const int64_t apart[2] = { 40, 80 };
	unsigned char out[64];

	(void)state;
	for (int i = 0; i < ROWS * PITCH; i++)
		memory[i] = (unsigned char)(i * 37 % 251 + 1);
	for (int s = 0; s < 2; s++) {
		kref_arg arg[2] = {
			{ .base = memory, .bytes = sizeof memory, .stride = { apart[s] } },
			{ .base = out, .bytes = sizeof out }
		};

		run(text, arg);
		for (int i = 0; i < 64; i++) { /* a lane: 4 elements of its row */
			int64_t at = 960 + (2 + 3 + i / 4) * apart[s] + 4 + 4 + i % 4;

			assert_int_equal(out[i], i / 4 + 3 < 6 ? memory[at] : 0);
		}
	}
}

/* Rows past the upto aren't touched, others must be there. */
static void load2d_bounds(void **state)
{
	static const char fmt[] =
	    "func @f(%%a: in u8[?], %%o: out u8[?]) level=V target=xe-pvc {\n"
	    "  for %%w = 0 to 1 par {\n    %%r = xe.load2d %%a[0] upto %d : u8<128> "
	    "{pitch=96}\n"
	    "    vstore %%r, %%o[0]\n    yield\n  }\n  ret\n}\n";
	unsigned char out[128];
	kref_arg arg[2] = { { .base = memory, .bytes = 96 + 16 },
		            { .base = out, .bytes = sizeof out } };
	char text[512];
	kir_diag d = { 0 };

	(void)state;
	snprintf(text, sizeof text, fmt, 2);
	run(text, arg);
	snprintf(text, sizeof text, fmt, 3);
	kir_func *f = parse(text);
	assert_false(kref_run(f, arg, KREF_ROUND, NULL, &d));
	assert_non_null(strstr(d.at[0].msg, "bytes 192 to 207 of an argument of 112 bytes"));
	kir_module_free(f->module);
}

/* -- components and lanes ------------------------------------------------------------------ */

/* The op on s32 vectors of `from` and `from2` elements 100 + i; element i must be want[i]. */
static void moves(const char *op, int from, int from2, int to, const int *want)
{
	static int32_t in[512], out[512];
	kref_arg arg[2] = { { .base = in, .bytes = sizeof in },
		            { .base = out, .bytes = sizeof out } };
	char text[512];

	for (int i = 0; i < 512; i++)
		in[i] = 100 + i;
	snprintf(text, sizeof text,
	         "func @f(%%a: in s32[?], %%o: out s32[?]) level=V target=xe-pvc {\n"
	         "  for %%w = 0 to 1 par {\n    %%x = vload %%a[0] : s32<%d>\n"
	         "    %%y = vload %%a[%d] : s32<%d>\n    %%r = xe.%s\n    vstore %%r, %%o[0]\n"
	         "    yield\n  }\n  ret\n}\n",
	         from, from, from2, op);
	run(text, arg);
	for (int i = 0; i < to; i++)
		if (out[i] != want[i])
			fail_msg("%s, element %d: %d, not %d", op, i, out[i], want[i]);
}

static void structure(void **state)
{
	int want[512];

	(void)state;
	for (int i = 0; i < 128; i++)
		want[i] = 100 + i / 8;
	moves("repeat %x : s32<128>", 16, 16, 128, want);
	for (int i = 0; i < 64; i++)
		want[i] = 100 + i / 2;
	moves("repeat %x : s32<64>", 32, 16, 64, want);
	for (int i = 0; i < 48; i++) /* two of x, one of y */
		want[i] = i % 3 < 2 ? 100 + i / 3 * 2 + i % 3 : 132 + i / 3;
	moves("pack %x, %y : s32<48>", 32, 16, 48, want);
	for (int i = 0; i < 32; i++)
		want[i] = 100 + i / 2 * 8 + 5 + i % 2;
	moves("part %x : s32<32> {start=5}", 128, 16, 32, want);
	for (int i = 0; i < 32; i++) /* of eight the second and the fifth */
		want[i] = 100 + i / 2 * 8 + 1 + i % 2 * 3;
	moves("part %x : s32<32> {start=1, every=3}", 128, 16, 32, want);
	for (int i = 0; i < 64; i++)
		want[i] = 100 + i / 2 + i % 2 * 32;
	moves("zip %x, %y : s32<64>", 32, 32, 64, want);
	for (int i = 0; i < 32; i++) /* the sum of i % 2, + 2, ... of 32 */
		want[i] = 16 * (100 + i % 2) + 2 * (15 * 16 / 2);
	moves("reduce.add %x : s32<32>", 32, 16, 32, want);
	for (int i = 0; i < 64; i++)
		want[i] = 160 + i % 4;
	moves("reduce.max %x : s32<64>", 64, 16, 64, want);
}

/* A NaN is no maximum: the other one is taken, as max does. */
static void reduce_nan(void **state)
{
	float in[16] = { -5, -3, -4 }, out[16];
	kref_arg arg[2] = { { .base = in, .bytes = sizeof in },
		            { .base = out, .bytes = sizeof out } };

	(void)state;
	for (int i = 3; i < 16; i++)
		in[i] = -8;
	in[7] = (float)strtod("nan", NULL);
	run("func @f(%a: in f32[?], %o: out f32[?]) level=V target=xe-pvc {\n"
	    "  for %w = 0 to 1 par {\n    %x = vload %a[0] : f32<16>\n"
	    "    %r = xe.reduce.max %x : f32<16>\n    vstore %r, %o[0]\n    yield\n  }\n  "
	    "ret\n}\n",
	    arg);
	for (int i = 0; i < 16; i++)
		assert_true(out[i] == -3);
}

/* -- codes of 8 bits as products take them ------------------------------------------------- */

/* Rows 0 to 7 of 16 rows of 32 codes, or, of keys, of 16 keys of 32 codes, by a product with
 * ones: out[m][c] is the code of row m, or key c, at m. */
static const char as_values[] =
    "func @f(%a: in f16[?,16], %v: in ELEM[?,32], %o: out f32[?,32])\n"
    "     level=T target=TARGET {\n  for %w = 0 to 1 par {\n"
    "    %x = load %a[0,0] : f16<8x16>\n"
    "    %q = load %v[0,0] : ELEM<16x32>\n"
    "    %b = convert %q : f16<16x32>\n"
    "    %s = dot %x, %b : f32<8x32>\n"
    "    store %s, %o[0,0]\n    yield\n  }\n  ret\n}\n";
static const char as_keys[] =
    "func @f(%a: in f16[?,32], %v: in ELEM[?,32], %o: out f32[?,16])\n"
    "     level=T target=TARGET {\n  for %w = 0 to 1 par {\n"
    "    %x = load %a[0,0] : f16<8x32>\n"
    "    %q = load %v[0,0] : ELEM<16x32>\n"
    "    %b = convert %q : f16<16x32>\n"
    "    %s = dot %x, %b : f32<8x16> {trans=1}\n"
    "    store %s, %o[0,0]\n    yield\n  }\n  ret\n}\n";

static kir_func *widened(const char *program, const char *elem, const char *target)
{
	char text[1024] = "";
	kpass_options o = { .list = "fragment" };
	kir_diag d = { 0 };
	kir_func *f;

	for (const char *p = program; *p;) {
		size_t n = strcspn(p, "ET");

		strncat(text, p, n);
		p += n;
		if (!strncmp(p, "ELEM", 4))
			strcat(text, elem), p += 4;
		else if (!strncmp(p, "TARGET", 6))
			strcat(text, target), p += 6;
		else if (*p)
			strncat(text, p++, 1);
	}
	f = kpass_run(parse(text), &o, &d);
	assert_non_null(f);
	assert_int_equal(f->level, KIR_V);
	return f;
}

/* One code among zeros, at row `r` and column `c` of the 16 x 32. */
static double one_code(kir_func *f, bool keys, unsigned char code, int r, int c)
{
	uint16_t a[8 * 32] = { 0 };
	unsigned char v[16 * 32] = { 0 };
	float out[8 * 32];
	int depth = keys ? 32 : 16, wide = keys ? 16 : 32, k = keys ? c : r;
	kref_arg arg[3] = { { .base = a, .bytes = sizeof a },
		            { .base = v, .bytes = sizeof v },
		            { .base = out, .bytes = sizeof out } };
	kir_diag d = { 0 };

	a[3 * depth + k] = 0x3c00;
	v[r * 32 + c] = code;
	assert_true(kref_run(f, arg, KREF_ROUND, NULL, &d));
	return out[3 * wide + (keys ? r : c)];
}

static void every_code(void **state)
{
	static const kir_elem elems[] = { KIR_e4m3fn, KIR_e5m2, KIR_s8 };

	(void)state;
	for (int i = 0; i < 12; i++) {
		kir_elem e = elems[i / 2 % 3];
		bool keys = i % 2;
		kir_func *f = widened(keys ? as_keys : as_values, kir_elems[e].name,
		                      i < 6 ? "xe-pvc" : "xe-dg2");

		for (int code = 0; code < 256; code++) {
			double got =
			    one_code(f, keys, (unsigned char)code, code % 16, code / 8);
			double want =
			    e == KIR_s8 ? (signed char)code : kir_decode(e, (uint64_t)code);

			if (got != want && !(isnan(got) && isnan(want)))
				fail_msg("%s code %d as %s: %g, not %g", kir_elems[e].name,
				         code, keys ? "key" : "value", got, want);
		}
		kir_module_free(f->module);
	}
}

/* A NaN among the codes that a carry out of it would reach: its column is NaN in every row,
 * those multiplied by nothing too, and no other column is. */
static void nan_stays(const char *target)
{
	static const unsigned char nans[] = { 0x7f, 0xff }, beside[] = { 0xfe, 0x7e, 0x00 };
	uint16_t a[8 * 32] = { 0 };
	unsigned char v[16 * 32];
	float out[8 * 32];
	kref_arg arg[3] = { { .base = a, .bytes = sizeof a },
		            { .base = v, .bytes = sizeof v },
		            { .base = out, .bytes = sizeof out } };

	for (int i = 0; i < 2 * 512 * 6; i++) {
		bool keys = i % 2;
		int at = i / 2 % 512, wide = keys ? 16 : 32, column = keys ? at / 32 : at % 32;
		static kir_func *f[2];
		kir_diag d = { 0 };

		if (!f[keys])
			f[keys] = widened(keys ? as_keys : as_values, "e4m3fn", target);
		memset(v, beside[i / 1024 % 3], sizeof v);
		v[at] = nans[i / 3072];
		a[0] = 0x3c00; /* row 0 takes one step of the contraction, the others none */
		assert_true(kref_run(f[keys], arg, KREF_ROUND, NULL, &d));
		for (int k = 0; k < 8 * wide; k++)
			if ((isnan(out[k]) != 0) != (k % wide == column))
				fail_msg("%s, NaN at %d: row %d, column %d is %g",
				         keys ? "key" : "value", at, k / wide, k % wide,
				         out[k]);
		if (i >= 2 * 512 * 6 - 2) {
			kir_module_free(f[keys]->module);
			f[keys] = NULL;
		}
	}
}

static void nan_stays_in_its_column(void **state)
{
	(void)state;
	nan_stays("xe-pvc");
	nan_stays("xe-dg2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dpas),          cmocka_unit_test(load2d),
		cmocka_unit_test(load2d_stride), cmocka_unit_test(structure),
		cmocka_unit_test(load2d_bounds), cmocka_unit_test(reduce_nan),
		cmocka_unit_test(every_code),    cmocka_unit_test(nan_stays_in_its_column),
	};

	return cmocka_run_group_tests_name("xe", tests, NULL, NULL);
}
