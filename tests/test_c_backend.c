/* SPDX-License-Identifier: Apache-2.0 */
/* test_c_backend.c -- programs through the system's compiler, against the interpreter. */
#include "support_blob.h"
#include "support_locale.h"

#include "../ir/format.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { BYTES = 4096, MAX_ARGS = 6 };

typedef struct run {
	kir_module *m;
	kir_func *f;
	kref_arg arg[MAX_ARGS];
	unsigned char *memory[MAX_ARGS][2]; /* of the interpreter, of the blob */
} run;

static void load(run *r, const char *text)
{
	kir_diag d = { 0 };
	char buf[1000];

	memset(r, 0, sizeof *r);
	r->m = kir_parse(text, strlen(text), &d);
	if (r->m)
		r->f = r->m->func[0];
	if (!r->m || !kir_verify(r->f, &d))
		fail_msg("%s", kir_diag_text(&d, buf, sizeof buf));
	for (unsigned i = 0; i < r->f->nparam; i++) {
		for (int k = 0; k < 2; k++)
			r->memory[i][k] = calloc(1, BYTES);
		r->arg[i].bytes = BYTES;
		r->arg[i].base = r->memory[i][0];
	}
}

static void fill(run *r, unsigned param, kir_elem e, double (*number)(int i))
{
	unsigned size = kir_elem_bytes(e);

	for (int i = 0; i < BYTES / (int)size; i++) {
		uint64_t code =
		    kir_encode(e, number(i), KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_sat);
		for (int k = 0; k < 2; k++)
			memcpy(r->memory[param][k] + (unsigned)i * size, &code, size);
	}
}

static void execute(run *r)
{
	const kbe_backend *be = support_backend("c");
	kir_diag d = { 0 };
	kbe_blob blob = { 0 };
	char buf[1000];

	assert_non_null(be);
	assert_int_equal(be->version, KBE_VERSION);
	assert_true(be->supports(r->f->target));
	if (!kref_run(r->f, r->arg, KREF_ROUND, NULL, &d) || !be->compile(r->f, &blob, &d))
		fail_msg("%s", kir_diag_text(&d, buf, sizeof buf));
	for (unsigned i = 0; i < r->f->nparam; i++)
		r->arg[i].base = r->memory[i][1];
	assert_true(support_call(r->f, &blob, r->arg));
	free(blob.bytes);
}

static void unload(run *r)
{
	for (unsigned i = 0; i < r->f->nparam; i++)
		for (int k = 0; k < 2; k++)
			free(r->memory[i][k]);
	kir_module_free(r->m);
}

static void same_bytes(const run *r, unsigned param)
{
	assert_memory_equal(r->memory[param][0], r->memory[param][1], BYTES);
}

static void near_floats(const run *r, unsigned param, double tol)
{
	for (unsigned i = 0; i < BYTES / 4; i++) {
		float x, y;
		memcpy(&x, r->memory[param][0] + 4 * i, 4);
		memcpy(&y, r->memory[param][1] + 4 * i, 4);
		if (x != y && !(isnan(x) && isnan(y)) && fabs((double)x - y) > tol * fabs(x))
			fail_msg("element %u is %.9g, must be %.9g", i, y, x);
	}
}

static double wave(int i)
{
	return (i * 37 % 101 - 50) * 0.0625;
}

static double positive(int i)
{
	return (i * 37 % 101 + 1) * 0.0625;
}

/* Every third a subnormal. */
static double tiny(int i)
{
	return i % 3 ? wave(i) : wave(i) * 0x1p-130;
}

static double code_as_byte(int i)
{
	return i & 255;
}

static double edges(int i)
{
	static const double x[] = { 0,         -0.0,     1,         -1,   0x1p-149, 0x1p-24,
		                    0x1.8p-10, 447,      449,       464,  465,      1e30,
		                    -1e30,     INFINITY, -INFINITY, NAN,  65504,    65520,
		                    0x1.01p0,  0x1.03p0, 0x1p-14,   3e-8, 240,      248,
		                    57344,     61440 };

	return i & 1 ? wave(i) * 100 : x[i / 2 % (int)(sizeof x / sizeof x[0])];
}

static void loops_and_lanes(void **state)
{
	run r;
	(void)state;

	load(&r, "func @f(%x: in f32[16,64], %y: out f32[16,64], %n: s64, %a: f32) level=V {\n"
	         "  for %w = 0 to %n par {\n"
	         "    %z = splat 0.0 : f32<16>\n"
	         "    %p, %q = for %i = 0 to 4 carry(%pi = %z, %qi = %z) {\n"
	         "      %j = mul %i, 16 : s64\n"
	         "      %v = vload %x[%w,%j] : f32<16>\n"
	         "      %s = fma %v, %a, %pi : f32<16>\n"
	         "      %t = zip.lo %v, %s : f32<16>\n"
	         "      yield %qi, %t\n" /* each becomes the other */
	         "    }\n"
	         "    vstore %p, %y[%w,0]\n"
	         "    vstore %q, %y[%w,16] upto 5\n"
	         "    %c = lt %w, 7 : i1\n"
	         "    %b = if %c {\n"
	         "      %u = reduce.add %p : f32\n"
	         "      yield %u\n"
	         "    } else {\n"
	         "      %u = reduce.amax %q : f32\n"
	         "      yield %u\n"
	         "    }\n"
	         "    store %b, %y[%w,63]\n"
	         "    yield\n"
	         "  }\n"
	         "  ret\n"
	         "}\n");
	r.arg[2].i = 16;
	r.arg[3].f = 1.5;
	fill(&r, 0, KIR_f32, wave);
	execute(&r);
	near_floats(&r, 1, 1e-6);
	unload(&r);
}

/* Bounds as far apart as s64 goes, and a last value a step below the largest. */
static void far_bounds(void **state)
{
	run r;
	(void)state;

	load(&r, "func @f(%y: out s64[4], %lo: s64, %hi: s64) level=V {\n"
	         "  for %w = 0 to 1 par {\n"
	         "    %a = for %i = %lo to %hi step 6148914691236517205 carry(%k = 0:s64) {\n"
	         "      %n = sub %i, %k : s64\n"
	         "      yield %n\n"
	         "    }\n"
	         "    store %a, %y[0]\n"
	         "    %m = sub %hi, 8 : s64\n"
	         "    %b = for %i = %m to %hi step 4 carry(%k = 0:s64) {\n"
	         "      %n = sub %i, %k : s64\n"
	         "      yield %n\n"
	         "    }\n"
	         "    store %b, %y[1]\n"
	         "    yield\n"
	         "  }\n"
	         "  ret\n"
	         "}\n");
	r.arg[1].i = INT64_MIN;
	r.arg[2].i = INT64_MAX;
	execute(&r);
	same_bytes(&r, 0);
	unload(&r);
}

static void mathematics(void **state)
{
	run r;
	(void)state;

	load(&r, "func @f(%x: in f32[1024], %p: in f32[1024], %y: out f32[1024]) level=V {\n"
	         "  for %w = 0 to 12 par {\n"
	         "    %i = mul %w, 64 : s64\n"
	         "    %v = vload %x[%i] : f32<16>\n"
	         "    %u = vload %p[%i] : f32<16>\n"
	         "    %e = exp2 %v : f32<16>\n"
	         "    %l = log2 %u : f32<16>\n"
	         "    %t = tanh %v : f32<16>\n"
	         "    %s = sqrt %u : f32<16>\n"
	         "    %j = add %i, 16 : s64\n"
	         "    %k = add %i, 32 : s64\n"
	         "    %m = add %i, 48 : s64\n"
	         "    vstore %e, %y[%i]\n"
	         "    vstore %l, %y[%j]\n"
	         "    vstore %t, %y[%k]\n"
	         "    vstore %s, %y[%m]\n"
	         "    yield\n"
	         "  }\n"
	         "  ret\n"
	         "}\n");
	fill(&r, 0, KIR_f32, wave);
	fill(&r, 1, KIR_f32, positive);
	execute(&r);
	near_floats(&r, 2, 2e-7);
	unload(&r);
}

/* Every code of every small float, and back with each rule. */
static void codecs(void **state)
{
	static const char *const elems[] = { "e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz",
		                             "e2m1",   "e2m3", "e3m2",     "e8m0" };
	(void)state;

	for (unsigned i = 0; i < sizeof elems / sizeof elems[0]; i++) {
		kir_text t = { 0 };
		run r;
		kir_text_add(
		    &t,
		    "func @f(%%c: in %s[4096], %%x: in f32[1024], %%y: out f32[1024],\n"
		    "        %%q: out %s[4096]) level=V {\n"
		    "  for %%w = 0 to 4 par {\n"
		    "    %%i = mul %%w, 64 : s64\n"
		    "    %%a = vload %%c[%%i] : %s<64>\n"
		    "    %%b = convert %%a : f32<64>\n"
		    "    vstore %%b, %%y[%%i]\n"
		    "    %%d = vload %%x[%%i] : f32<64>\n"
		    "    %%e = convert %%d : %s<64>\n"
		    "    vstore %%e, %%q[%%i]\n"
		    "    %%g = convert %%d : %s<64> {round=zero, nan=max}\n"
		    "    %%j = add %%i, 256 : s64\n"
		    "    vstore %%g, %%q[%%j]\n"
		    "    %%h = convert %%d : %s<64> {nan=zero, over=inf}\n"
		    "    %%k = add %%i, 512 : s64\n"
		    "    vstore %%h, %%q[%%k]\n"
		    "    yield\n"
		    "  }\n"
		    "  ret\n"
		    "}\n",
		    elems[i], elems[i], elems[i], elems[i], elems[i], elems[i]);
		load(&r, t.text);
		fill(&r, 0, KIR_u8, code_as_byte);
		fill(&r, 1, KIR_f32, edges);
		execute(&r);
		near_floats(&r, 2, 0);
		same_bytes(&r, 3);
		unload(&r);
		free(t.text);
	}
}

static void wider_codecs(void **state)
{
	run r;
	(void)state;

	load(&r, "func @f(%x: in f32[1024], %h: out f16[2048], %b: out bf16[2048],\n"
	         "        %s: out s8[4096], %u: out u8[4096]) level=V {\n"
	         "  for %w = 0 to 8 par {\n"
	         "    %i = mul %w, 64 : s64\n"
	         "    %j = add %i, 512 : s64\n"
	         "    %k = add %i, 1024 : s64\n"
	         "    %d = vload %x[%i] : f32<64>\n"
	         "    %1 = convert %d : f16<64>\n"
	         "    vstore %1, %h[%i]\n"
	         "    %2 = convert %d : bf16<64>\n"
	         "    vstore %2, %b[%i]\n"
	         "    %3 = convert %d : s8<64>\n"
	         "    vstore %3, %s[%i]\n"
	         "    %4 = convert %d : s8<64> {round=away}\n"
	         "    vstore %4, %s[%j]\n"
	         "    %5 = convert %d : s8<64> {round=zero, nan=max}\n"
	         "    vstore %5, %s[%k]\n"
	         "    %6 = convert %d : u8<64>\n"
	         "    vstore %6, %u[%i]\n"
	         "    %7 = convert %1 : f32<64>\n"
	         "    %8 = convert %2 : f32<64>\n"
	         "    %9 = mul %7, %8 : f32<64>\n"
	         "    %10 = convert %9 : bf16<64>\n"
	         "    vstore %10, %b[%j]\n"
	         "    %11 = convert %d : bf16<64> {sub=zero}\n"
	         "    vstore %11, %b[%k]\n"
	         "    %l = add %i, 1536 : s64\n"
	         "    %12 = convert %d : bf16<64> {round=away, sub=zero}\n"
	         "    vstore %12, %b[%l]\n"
	         "    yield\n"
	         "  }\n"
	         "  ret\n"
	         "}\n");
	fill(&r, 0, KIR_f32, edges);
	execute(&r);
	for (unsigned i = 1; i < 5; i++)
		same_bytes(&r, i);
	unload(&r);
}

/* Run-time strides, packed pieces, views, gathers, locals, products. */
static void memory_and_products(void **state)
{
	run r;
	(void)state;

	load(&r, "func @f(%c: in u8[?,16 | 0:$0, 1:1], %o: out s32[1024], %n: s64)\n"
	         "     level=V target=avx512-vnni {\n"
	         "  %k = view %c : s8[?,16,8 | 0:$0, 1/4:32, 1%4:1, 2:4] {offset=16}\n"
	         "  for %w = 0 to %n par {\n"
	         "    %l = local : s32[64]\n"
	         "    %i = mul %w, 16 : s64\n"
	         "    %a = vload %k[%w,0,0] : s8<32>\n"
	         "    %b = vload %k[%w,4,0] : s8<32>\n"
	         "    %z = splat 3 : s32<8>\n"
	         "    %p = dp %z, %a, %b : s32<8>\n"
	         "    vstore %p, %l[8]\n"
	         "    %d = iota : s32<8> {axis=0}\n"
	         "    %e = sub 15, %d : s32<8>\n"
	         "    %g = gather %l[%e] : s32<8>\n"
	         "    vstore %g, %o[%i]\n"
	         "    %ua = bitcast %a : u8<32>\n"
	         "    %q = x86.dpbusd %z, %ua, %b : s32<8>\n"
	         "    %j = add %i, 8 : s64\n"
	         "    vstore %q, %o[%j]\n"
	         "    prefetch %k[99,0,0]\n"
	         "    yield\n"
	         "  }\n"
	         "  ret\n"
	         "}\n");
	r.arg[0].stride[0] = 144;
	r.arg[2].i = 20;
	fill(&r, 0, KIR_u8, code_as_byte);
	execute(&r);
	same_bytes(&r, 1);
	unload(&r);
}

/* The x86 ops mean the same without the instructions; subnormal bf16 count as zero. */
static void ops_of_x86(void **state)
{
	run r;
	(void)state;

	load(&r, "func @f(%x: in bf16[2048], %c: in e4m3fn[4096], %y: out f32[1024],\n"
	         "        %z: out bf16[2048]) level=V target=avx512-bf16 {\n"
	         "  for %w = 0 to 16 par {\n"
	         "    %i = mul %w, 32 : s64\n"
	         "    %j = add %i, 64 : s64\n"
	         "    %o = mul %w, 16 : s64\n"
	         "    %a = vload %x[%i] : bf16<32>\n"
	         "    %b = vload %x[%j] : bf16<32>\n"
	         "    %k = splat 0.25 : f32<16>\n"
	         "    %p = x86.dpbf16 %k, %a, %b : f32<16>\n"
	         "    vstore %p, %y[%o]\n"
	         "    %t = vload %c[%i] : e4m3fn<32>\n"
	         "    %u = x86.lut %t : bf16<32>\n"
	         "    vstore %u, %z[%i]\n"
	         "    yield\n"
	         "  }\n"
	         "  ret\n"
	         "}\n");
	fill(&r, 0, KIR_bf16, tiny);
	fill(&r, 1, KIR_u8, code_as_byte);
	execute(&r);
	near_floats(&r, 2, 0);
	same_bytes(&r, 3);
	unload(&r);
}

static void dumps(void **state)
{
	const kbe_backend *be = support_backend("c");
	kir_text t = { 0 };
	kir_diag d = { 0 };
	run r;
	(void)state;

	load(&r, "func @f(%y: out f32[4]) level=V {\n  for %i = 0 to 4 par {\n"
	         "    store 1.5, %y[%i]\n    yield\n  }\n  ret\n}\n");
	assert_true(be->dump(r.f, KBE_DUMP_SOURCE, &t, &d));
	assert_non_null(strstr(t.text, "void kvjit_kernel("));
	t.len = 0;
	assert_true(be->dump(r.f, KBE_DUMP_OBJECT, &t, &d));
	assert_memory_equal(t.text, "\177ELF", 4);
	free(t.text);
	unload(&r);
}

/* A number, codecs' tables and the limit of a conversion, as cc reads them. */
static void no_locale_changes_the_source(void **state)
{
	const kbe_backend *be = support_backend("c");
	char folder[] = "/tmp/kvjit-c-locale-XXXXXX", command[80];
	kir_text here = { 0 }, there = { 0 };
	kir_diag d = { 0 };
	bool comma;
	run r;

	(void)state;
	assert_non_null(mkdtemp(folder));
	load(&r, "func @f(%c: in e4m3fn[4], %y: out f32[4], %z: out s8[4]) level=V {\n"
	         "  for %i = 0 to 4 par {\n    %a = load %c[%i] : e4m3fn\n"
	         "    %b = convert %a : f32\n    %d = mul %b, 1.5 : f32\n"
	         "    store %d, %y[%i]\n    %e = convert %d : s8\n"
	         "    store %e, %z[%i]\n    yield\n  }\n  ret\n}\n");
	assert_true(be->dump(r.f, KBE_DUMP_SOURCE, &here, &d));
	assert_non_null(strstr(here.text, "0x1.8p+0f"));
	comma = support_comma(folder);
	if (comma)
		assert_true(be->dump(r.f, KBE_DUMP_SOURCE, &there, &d));
	support_no_comma();
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	assert_int_equal(system(command), 0);
	if (comma)
		assert_string_equal(there.text, here.text);
	free(here.text);
	free(there.text);
	unload(&r);
	if (!comma)
		skip();
}

static void no_compiler(void **state)
{
	const kbe_backend *be = support_backend("c");
	char *path = strdup(getenv("PATH"));
	kir_diag d = { 0 };
	kbe_blob blob;
	run r;
	(void)state;

	load(&r, "func @f(%y: out f32[4]) level=V {\n  for %i = 0 to 4 par {\n"
	         "    store 1.5, %y[%i]\n    yield\n  }\n  ret\n}\n");
	setenv("PATH", "/nowhere", 1);
	assert_false(be->compile(r.f, &blob, &d));
	assert_non_null(strstr(d.at[0].msg, "no C compiler"));
	setenv("PATH", path, 1);
	free(path);
	unload(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loops_and_lanes),
		cmocka_unit_test(far_bounds),
		cmocka_unit_test(mathematics),
		cmocka_unit_test(codecs),
		cmocka_unit_test(wider_codecs),
		cmocka_unit_test(memory_and_products),
		cmocka_unit_test(ops_of_x86),
		cmocka_unit_test(dumps),
		cmocka_unit_test(no_locale_changes_the_source),
		cmocka_unit_test(no_compiler),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
