/* SPDX-License-Identifier: Apache-2.0 */
/* test_ref_whole.c -- the interpreter on ops that are whole loops (attention, writers,
 * products, indexers, transcodes) and on tile registers, against values worked out by hand. */
#include "ref_whole.h"

#include <math.h>

static void attention(void **state)
{
	float q[3][2][2] = { { { 1, 0 }, { 0, 1 } },
		             { { 1, 0 }, { 0, 1 } },
		             { { 1, 1 }, { 1, 1 } } };
	float out[3][2][2], lse[3][2], sink[2] = { -INFINITY, 1 };
	float k[2][2][2] = { { { NAN, NAN }, { NAN, NAN } }, { { 1, 0 }, { 0, 1 } } };
	float v[2][2][2] = { { { NAN, NAN }, { NAN, NAN } }, { { 8, 0 }, { 0, 8 } } };
	int32_t table[2] = { 1, 0 }, lens[2] = { 2, 0 }, cu[3] = { 0, 2, 3 };
	int32_t work[3][8] = { { 1 }, { 0 }, { 0 } };
	kref_arg arg[12] = {
		{ q, sizeof q, { 0 }, 0, 0 },
		{ out, sizeof out, { 0 }, 0, 0 },
		{ k, sizeof k, { 0 }, 0, 0 },
		{ v, sizeof v, { 0 }, 0, 0 },
		{ table, sizeof table, { 0 }, 0, 0 },
		{ lens, sizeof lens, { 0 }, 0, 0 },
		{ cu, sizeof cu, { 0 }, 0, 0 },
		{ lse, sizeof lse, { 0 }, 0, 0 },
		{ sink, sizeof sink, { 0 }, 0, 0 },
		{ work, sizeof work, { 0 }, 0, 0 },
		{ .i = 3 },
		{ .f = 0.5 },
	};
	kir_func *f = parse(attention_text);
	kir_diag d = { 0 };
	double e = exp(1);

	(void)state;
	assert_true(kref_run(f, arg, KREF_EXACT, NULL, &d));
	/* scores are 1 for the key that equals the query, else 0 */
	assert_true(out[0][0][0] == 8 && out[0][0][1] == 0 && lse[0][0] == 1);
	assert_float_equal(out[0][1][0], 8 / (1 + e), 1e-6); /* score 0 against a sink of 1 */
	assert_float_equal(out[1][0][0], 8 * e / (e + 1), 1e-6);
	assert_float_equal(out[1][0][1], 8 / (e + 1), 1e-6);
	assert_float_equal(out[1][1][1], 8 * e / (1 + e + e), 1e-6);
	assert_float_equal(lse[1][1], log(1 + e), 1e-6);
	for (int h = 0; h < 2; h++) {
		assert_true(out[2][h][0] == 0 && out[2][h][1] == 0);
		assert_true(lse[2][h] == -INFINITY);
	}
	table[0] = 2;
	assert_false(kref_run(f, arg, KREF_EXACT, NULL, &d));
	assert_non_null(strstr(d.at[0].msg, "of an argument of"));
	kir_module_free(f->module);
}

static void merge(void **state)
{
	float parts[2][2][2] = { { { 4, 8 }, { NAN, NAN } }, { { 8, 0 }, { NAN, NAN } } };
	float lses[2][2] = { { 0, -INFINITY }, { 1, -INFINITY } }, out[2][2], lse[2];
	kref_arg arg[6] = {
		{ out, sizeof out, { 0 }, 0, 0 },
		{ lse, sizeof lse, { 0 }, 0, 0 },
		{ parts, sizeof parts, { 0 }, 0, 0 },
		{ lses, sizeof lses, { 0 }, 0, 0 },
		{ .i = 2 },
		{ .i = 2 },
	};
	kir_func *f = parse(merge_text);
	kir_diag d = { 0 };
	double e = exp(1);

	(void)state;
	assert_true(kref_run(f, arg, KREF_EXACT, NULL, &d));
	assert_float_equal(out[0][0], (4 + 8 * e) / (1 + e), 1e-6);
	assert_float_equal(out[0][1], 8 / (1 + e), 1e-6);
	assert_float_equal(lse[0], log(1 + e), 1e-6);
	assert_true(out[1][0] == 0 && out[1][1] == 0 && lse[1] == -INFINITY);
	kir_module_free(f->module);
}

/* A NaN gives code 0 and doesn't set the scale, an infinity counts as the largest f32; the
 * later of two tokens wins; a negative slot writes nothing. */
static void cache_write(void **state)
{
	float key[4][4] = { { 9, 9, 9, 9 },
		            { 127, -63.5f, 1, NAN },
		            { 1, 2, 3, 4 },
		            { INFINITY, 1, 0, -INFINITY } };
	float value[4][4] = { { 9 }, { 0, 0, 0, 0 }, { 1 }, { 254, 2, 1, 3 } };
	int64_t slots[4] = { 4, 4, -1, 0 };
	unsigned char c[2][48];
	kref_arg arg[5] = { { key, sizeof key, { 0 }, 0, 0 },
		            { value, sizeof value, { 0 }, 0, 0 },
		            { slots, sizeof slots, { 0 }, 0, 0 },
		            { c, sizeof c, { 0 }, 0, 0 },
		            { .i = 4 } };
	kir_func *f = parse(write_text);
	kir_diag d = { 0 };
	float s[2];

	(void)state;
	memset(c, 0xa5, sizeof c);
	assert_true(kref_run(f, arg, KREF_ROUND, NULL, &d));
	assert_memory_equal(c[1] + 16, ((signed char[]){ 127, -64, 1, 0 }), 4);
	memcpy(&s[0], c[1] + 20, 4);
	memcpy(&s[1], c[1] + 28, 4);
	assert_true(s[0] == 1 && s[1] == 1e-6f);
	assert_memory_equal(c[0], ((signed char[]){ 127, 0, 0, -127 }), 4);
	assert_memory_equal(c[0] + 8, ((signed char[]){ 127, 1, 1, 2 }), 4);
	for (int k = 16; k < 64; k++)
		assert_true(k >= 48 || c[0][k] == 0xa5);
	slots[1] = 6;
	assert_false(kref_run(f, arg, KREF_ROUND, NULL, &d));
	kir_module_free(f->module);
}

static void quantize(void **state)
{
	float in[1][2][4] = { { { 1, 1000, -1, NAN }, { 1, 1000, -1, INFINITY } } };
	float scale[2] = { 1, 4 };
	unsigned char q[8];
	kref_arg arg[4] = { { in, sizeof in, { 0 }, 0, 0 },
		            { q, sizeof q, { 0 }, 0, 0 },
		            { scale, sizeof scale, { 0 }, 0, 0 },
		            { .i = 1 } };
	kir_func *f = parse(quantize_text);
	kir_diag d = { 0 };

	(void)state;
	assert_true(kref_run(f, arg, KREF_ROUND, NULL, &d));
	assert_memory_equal(q, "\x38\x7e\xb8\x7e\x28\x78\xa8\x7e", 8);
	kir_module_free(f->module);
}

/* 1e9 and an infinity have scales beyond every f16: they are stored as the largest one, or the
 * largest power of two. Of bf16 and f32 a scale that is rounded up is beyond the last. */
static void scales_that_overflow(void **state)
{
	static const struct {
		const char *scale, *elem, *rule;
		uint32_t s[3]; /* of the rows 1e9, infinity and 0.5 */
		const char *q;
	} rows[] = {
		{ "f16", "s8", "amax/127 floor 1e-06", { 0x7bff, 0x7bff, 0x1c08 }, "\x7f\x7f" },
		{ "f16", "s8", "amax/127 pow2", { 0x7800, 0x7800, 0x2000 }, "\x7f\x7f" },
		{ "bf16", "e5m2", "amax/1 eps 1", { 0x4e6e, 0x7f7f, 0x3f80 }, "\x3c\x3c" },
		{ "bf16", "e5m2", "amax/1 pow2", { 0x4e80, 0x7f00, 0x3f00 }, "\x3b\x40" },
		{ "f32",
		  "e5m2",
		  "amax/1 pow2",
		  { 0x4e800000, 0x7f000000, 0x3f000000 },
		  "\x3b\x40" },
		{ "e4m3fn", "s8", "amax/127 pow2", { 0x78, 0x78, 0x04 }, "\x7f\x7f" },
	};

	(void)state;
	for (size_t n = 0; n < sizeof rows / sizeof rows[0]; n++) {
		float in[3] = { 1e9F, INFINITY, 0.5F };
		unsigned char q[3], s[12], want[12];
		unsigned bytes = rows[n].scale[0] == 'e'         ? 1
		                 : !strcmp(rows[n].scale, "f32") ? 4
		                                                 : 2;
		kref_arg arg[4] = { { in, sizeof in, { 0 }, 0, 0 },
			            { q, sizeof q, { 0 }, 0, 0 },
			            { s, 3 * bytes, { 0 }, 0, 0 },
			            { .i = 3 } };
		char text[600];
		kir_diag d = { 0 };
		kir_func *f;

		snprintf(text, sizeof text,
		         "format mine v1 {\n  elem %s\n  scale %s token-head %s\n}\n"
		         "func @q(%%x: in f32[?,1,1], %%q: out %s[?,1,1], %%s: out %s[?,1], "
		         "%%n: s64)\n     level=A {\n"
		         "  quantize x=%%x, q=%%q, s=%%s, n=%%n {format=mine}\n  ret\n}\n",
		         rows[n].elem, rows[n].scale, rows[n].rule, rows[n].elem,
		         rows[n].scale);
		f = parse(text);
		assert_true(kref_run(f, arg, KREF_ROUND, NULL, &d));
		for (unsigned k = 0; k < 3; k++)
			memcpy(want + k * bytes, &rows[n].s[k], bytes);
		assert_memory_equal(s, want, 3 * bytes);
		assert_memory_equal(q, rows[n].q, 2);
		kir_module_free(f->module);
	}
}

static void topk(void **state)
{
	float q[3][2] = { { 1, -1 }, { 1, 1 }, { 1, 1 } }, k[4] = { 1, 2, 3, 4 }, s[3][6];
	float w[3][2] = { { 2, 7 }, { 0, 0 }, { NAN, 1 } };
	int32_t t[3] = { 1, 9, 0 }, b[3] = { 0, 0, 0 }, l[3] = { 6, 5, 2 }, o[3][3];
	static const float right[6] = { 6, 8, -INFINITY, -INFINITY, 2, 4 };
	static const int32_t chosen[3][3] = { { 2, 3, 1 }, { 2, 3, 0 }, { -1, -1, -1 } };
	kref_arg arg[10] = { { q, sizeof q, { 0 }, 0, 0 },
		             { w, sizeof w, { 0 }, 0, 0 },
		             { k, sizeof k, { 0 }, 0, 0 },
		             { t, sizeof t, { 0 }, 0, 0 },
		             { b, sizeof b, { 0 }, 0, 0 },
		             { l, sizeof l, { 0 }, 0, 0 },
		             { o, sizeof o, { 0 }, 0, 0 },
		             { s, sizeof s, { 0 }, 0, 0 },
		             { .i = 3 },
		             { .i = 2 } };
	kir_func *f = parse(index_text);
	kir_diag d = { 0 };

	(void)state;
	assert_true(kref_run(f, arg, KREF_ROUND, NULL, &d));
	assert_memory_equal(s[0], right, sizeof right);
	assert_memory_equal(o, chosen, sizeof chosen);
	kir_module_free(f->module);
}

static void transcode(void **state)
{
	signed char fk[2][2][2] = { { { 1, 2 }, { 3, 4 } }, { { 10, -20 }, { 0, 127 } } };
	signed char fv[2][2][2] = { { { 1, 2 }, { 3, 4 } }, { { 7, -128 }, { 5, 6 } } };
	float fks[4] = { NAN, 1, 0.5F, 1e30F }, kd = 2;
	uint32_t fvs[4] = { 1, 2, 0xffc01234, 4 }, vs[4];
	int64_t from[3] = { 2, 3, -1 }, to[3] = { 3, 0, 1 };
	unsigned char k[4][2], v[4][2];
	kref_arg arg[11] = { { fk, sizeof fk, { 0 }, 0, 0 },
		             { fv, sizeof fv, { 0 }, 0, 0 },
		             { fks, sizeof fks, { 0 }, 0, 0 },
		             { fvs, sizeof fvs, { 0 }, 0, 0 },
		             { from, sizeof from, { 0 }, 0, 0 },
		             { to, sizeof to, { 0 }, 0, 0 },
		             { k, sizeof k, { 0 }, 0, 0 },
		             { v, sizeof v, { 0 }, 0, 0 },
		             { vs, sizeof vs, { 0 }, 0, 0 },
		             { &kd, sizeof kd, { 0 }, 0, 0 },
		             { .i = 3 } };
	kir_func *f = parse(transcode_text);
	kir_diag d = { 0 };

	(void)state;
	memset(k, 0xa5, sizeof k);
	memset(v, 0xa5, sizeof v);
	memset(vs, 0xa5, sizeof vs);
	assert_true(kref_run(f, arg, KREF_ROUND, NULL, &d));
	/* 5 / 2 and -10 / 2; 0 and far beyond 448 */
	assert_memory_equal(k, "\x00\x7e\xa5\xa5\xa5\xa5\x42\xca", 8);
	assert_memory_equal(v, "\x05\x06\xa5\xa5\xa5\xa5\x07\x80", 8);
	assert_int_equal(vs[3], 0xffc01234);
	assert_true(vs[0] == 4 && vs[1] == 0xa5a5a5a5 && vs[2] == 0xa5a5a5a5);
	from[2] = 4;
	assert_false(kref_run(f, arg, KREF_ROUND, NULL, &d));
	kir_module_free(f->module);
}

static void gemm(void **state)
{
	float a[2][4] = { { 1, 2, 3, 4 }, { 1, 0, 0, -1 } }, s[2][2] = { { 1, 10 }, { 2, 1 } };
	float w[2][4] = { { 1, 1, 1, 2 }, { 1, 2, 3, NAN } }, big[3][5], c[2][2];
	unsigned char ws[2][2] = { { 127, 128 }, { 130, 0 } };
	kref_arg arg[7] = { { a, sizeof a, { 0 }, 0, 0 },
		            { s, sizeof s, { 0 }, 0, 0 },
		            { w, sizeof w, { 0 }, 0, 0 },
		            { big, sizeof big, { 0 }, 0, 0 },
		            { ws, sizeof ws, { 0 }, 0, 0 },
		            { c, sizeof c, { 0 }, 0, 0 },
		            { .i = 2 } };
	kir_func *f = parse(gemm_text);
	kir_diag d = { 0 };

	(void)state;
	memset(big, 0xff, sizeof big);
	assert_true(kref_run(f, arg, KREF_ROUND, NULL, &d));
	assert_true(c[0][0] == 3 + 2 * 10 * 11 && c[1][0] == 2 - 4);
	assert_true(isnan(c[0][1]) && isnan(c[1][1])); /* NaN times 0.0 */
	assert_true(big[0][3] == 2 && big[0][4] == 0 && big[2][0] == 0 && big[1][2] == 3);
	w[1][3] = 1;
	assert_true(kref_run(f, arg, KREF_ROUND, NULL, &d));
	assert_true(c[0][1] == 8 * 5 && c[1][1] == 2 * 8);
	arg[0].bytes = sizeof a - 1;
	assert_false(kref_run(f, arg, KREF_ROUND, NULL, &d));
	kir_module_free(f->module);
}

static void tiles(void **state)
{
	/* as bytes 255 1 2 3, 0 128 0 63; as bf16 pairs big ones and -0, 0.5 */
	uint8_t a[8] = { 255, 1, 2, 3, 0, 128, 0, 63 }, b[8] = { 255, 2, 1, 0, 3, 128, 0, 64 };
	int32_t o[5] = { 0 };
	kir_diag d = { 0 };
	kir_module *m = kir_parse(amx_text, strlen(amx_text), &d);
	kref_arg arg[4] = { { .base = a, .bytes = 8 },
		            { .base = b, .bytes = 8 },
		            { .base = o, .bytes = 20 },
		            { .i = 1 } };

	(void)state;
	assert_non_null(m);
	assert_true(kir_verify(m->func[0], &d));
	assert_true(kref_run(m->func[0], arg, KREF_ROUND, NULL, &d));
	assert_int_equal(o[0], 1 + 2 + 2 + 128 * 128 + 63 * 64);
	assert_int_equal(o[1], -255 + 2 + 2 - 128 * 128 + 63 * 64);
	assert_int_equal(o[2], -255 + 2 + 2 - 128 * 128 + 63 * 64);
	assert_int_equal(o[3], o[2] + 255 * 255 + 2 + 2 + 128 * 128 + 63 * 64);
	/* pairs (0x01ff, 0x0302) . (0x02ff, 0x0001) and (0x8000, 0x3f00) . (0x8003, 0x4000):
	 * all but 0.5 * 2 is far too small or subnormal */
	assert_int_equal(o[4], 0x3f800000);
	arg[0].bytes = 7;
	assert_false(kref_run(m->func[0], arg, KREF_ROUND, NULL, &d));
	assert_non_null(strstr(d.at[0].msg, "bytes 0 to 7 of an argument of 7 bytes"));
	kir_module_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attention),
		cmocka_unit_test(merge),
		cmocka_unit_test(cache_write),
		cmocka_unit_test(quantize),
		cmocka_unit_test(scales_that_overflow),
		cmocka_unit_test(topk),
		cmocka_unit_test(transcode),
		cmocka_unit_test(gemm),
		cmocka_unit_test(tiles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
