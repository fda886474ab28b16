/* SPDX-License-Identifier: Apache-2.0 */
/* test_x86_blob.c -- what a blob of the x86 backend must be: self-contained, movable, made by
 * any number of threads at once.
 */
#include "x86.h"

#include <elf.h>
#include <pthread.h>

/* -- blobs --------------------------------------------------------------------------------- */

static const char simple[] =
    "func @simple(%x: in e4m3fn[?], %y: out f32[?], %n: s64) level=V target=avx2 {\n"
    "for %i = 0 to %n par {\n%v = vload %x[0] : e4m3fn<64>\n%r = convert %v : f32<64>\n"
    "%e = exp2 %r : f32<64>\nvstore %e, %y[0]\nyield\n}\nret\n}\n";

static void test_blob(void **state)
{
	kir_module *m;
	kir_func *f = parsed(simple, &m);
	kir_target none = kir_targets[0];
	kir_diag d = { 0 };
	kbe_blob b;
	float y[2][64];
	unsigned char x[64];

	(void)state;
	kbe_host(&none);
	if (!(none.features & KIR_HAS_avx2))
		skip();
	for (unsigned k = 0; k < 64; k++)
		x[k] = (unsigned char)k;
	assert_true(be()->compile(f, &b, &d));
	for (unsigned k = 0; k < 2; k++) {
		size_t bytes;
		char *p = map_code(&b, &bytes);
		map_fn fn;

		/* the module and the first copy are gone when the second runs */
		if (k)
			kir_module_free(m);
		*(void **)&fn = p + b.entry;
		fn(x, y[k], 1, 0, 0, 1);
		fn(x, y[k], 1, 7, 0, 1); /* no such phase: nothing */
		munmap(p, bytes);
	}
	assert_memory_equal(y[0], y[1], sizeof y[0]);
	assert_true(y[0][0] == 1);
	free(b.bytes);
}

static void test_dump(void **state)
{
	kir_module *m;
	kir_func *f = parsed(simple, &m);
	kir_text t[3] = { { 0 }, { 0 }, { 0 } };
	kir_diag d = { 0 };

	(void)state;
	for (int k = 0; k < 3; k++)
		assert_true(be()->dump(f, (kbe_dump)k, &t[k], &d));
	assert_non_null(strstr(t[0].text, "define void @simple(ptr %x"));
	assert_non_null(strstr(t[1].text, "vcvtph2ps"));
	assert_memory_equal(t[2].text, ELFMAG, SELFMAG);
	for (int k = 0; k < 3; k++)
		free(t[k].text);
	kir_module_free(m);
}

static void refuse(const char *text, const char *sentence)
{
	kir_diag d = { 0 };
	kbe_blob b;
	char msg[2000];
	kir_module *m = kir_parse(text, strlen(text), &d);

	assert_non_null(m);
	assert_false(be()->compile(m->func[m->nfunc - 1], &b, &d));
	assert_null(b.bytes);
	kir_diag_text(&d, msg, sizeof msg);
	if (!strstr(msg, sentence))
		fail_msg("\"%s\" is not in \"%s\"", sentence, msg);
	kir_module_free(m);
}

/* The object needs nothing from outside whatever the target, runnable here or not. */
static void test_self_contained(void **state)
{
	static const char body[] =
	    "{\nfor %i = 0 to %n par {\n%v = vload %x[0] upto %n : f32<16>\n%a = exp2 %v : "
	    "f32<16>\n"
	    "%b = log2 %a : f32<16>\n%c = tanh %b : f32<16>\n%d = fma %c, %b, %a : f32<16>\n"
	    "%e = floor %d : f32<16>\n%f = sqrt %e : f32<16>\n%h = convert %f : f16<16>\n"
	    "%j = add %h, %h : f16<16>\n%k = convert %j : s8<16> {round=away}\n"
	    "%l = convert %k : bf16<16>\n%m = convert %l : s64<16>\n%o = fdiv %m, 3 : s64<16>\n"
	    "%p = convert %o : f32<16>\nvstore %p, %y[0] upto %n\nyield\n}\nret\n}\n";
	char text[2000];

	(void)state;
	for (unsigned k = 0; k < kir_ntargets; k++) {
		kir_diag d = { 0 };
		kir_module *m;
		kbe_blob b;
		char msg[1000];

		snprintf(
		    text, sizeof text,
		    "func @f(%%x: in f32[?], %%y: out f32[?], %%n: s64) level=V target=%s %s",
		    kir_targets[k].name, body);
		if (kir_targets[k].lanes) {
			assert_false(be()->supports(&kir_targets[k]));
			refuse(text, "is a GPU, which backend spirv compiles for");
			continue;
		}
		assert_true(be()->supports(&kir_targets[k]));
		if (!be()->compile(parsed(text, &m), &b, &d))
			fail_msg("%s", kir_diag_text(&d, msg, sizeof msg));
		free(b.bytes);
		kir_module_free(m);
	}
}

static void test_refusals(void **state)
{
	(void)state;
	refuse("func @f(%n: s64) level=T target=generic {\nret\n}\n", "level must be V");
	refuse(
	    "func @f(%x: inout s32[?], %n: s64) level=V target=avx512 {\nfor %i = 0 to %n par "
	    "{\n%a = vload %x[0] : s32<16>\n%u = bitcast %a : u8<64>\n%s = bitcast %a : "
	    "s8<64>\n"
	    "%r = x86.dpbusd %a, %u, %s : s32<16>\nvstore %r, %x[0]\nyield\n}\nret\n}\n",
	    "needs a target with vnni, not avx512");
	refuse(
	    "func @f(%x: inout f64[?], %n: s64) level=V target=avx2 {\nfor %i = 0 to %n par {\n"
	    "%a = load %x[0] : f64\n%r = exp2 %a : f64\nstore %r, %x[0]\nyield\n}\nret\n}\n",
	    "4: exp2: not available in f64");
}

/* Lanes are kept in arrays: more of them were written past the end. */
static void test_too_many_lanes(void **state)
{
	static const char *const first[] = { "%a = vload %x[0] : f32<513>",
		                             "%a = splat 1.0 : f32<1024>",
		                             "%a = iota : f32<65536>" };
	static const char *const sentence[] = {
		"3: vload: a vector of 513 lanes; there are at most 512",
		"a vector of 1024 lanes", "a vector of 65536 lanes"
	};
	char text[400];

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		const char *type = strchr(first[i], ':');

		snprintf(text, sizeof text,
		         "func @f(%%x: inout f32[?], %%n: s64) level=V target=avx2 {\nfor %%i "
		         "= 0 to "
		         "%%n par {\n%s\n%%b = mul %%a, 2.0 %s\nvstore %%b, "
		         "%%x[0]\nyield\n}\nret\n}\n",
		         first[i], type);
		refuse(text, sentence[i]);
	}
}

/* -- the machine, threads, time ------------------------------------------------------------ */

static void test_host(void **state)
{
	kir_target h;

	(void)state;
	kbe_host(&h);
	assert_true(kbe_host_runs(&h));
	assert_true(h.l1_bytes >= 8 << 10 && h.l2_bytes >= 64 << 10);
	assert_true(be()->supports(&h));
	h.features |= 1u << 30;
	assert_false(kbe_host_runs(&h));
	for (unsigned k = 0; k < kir_ntargets; k++) /* a GPU is never the host */
		assert_false(kir_targets[k].lanes && kbe_host_runs(&kir_targets[k]));
}

static void *compile_often(void *arg)
{
	(void)arg;
	for (int k = 0; k < 4; k++) {
		code c = build(simple);

		drop(&c);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t t[3];

	(void)state;
	for (int k = 0; k < 3; k++)
		assert_int_equal(pthread_create(&t[k], NULL, compile_often, NULL), 0);
	for (int k = 0; k < 3; k++)
		pthread_join(t[k], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blob),           cmocka_unit_test(test_dump),
		cmocka_unit_test(test_self_contained), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_too_many_lanes), cmocka_unit_test(test_host),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests_name("x86_blob", tests, NULL, NULL);
}
