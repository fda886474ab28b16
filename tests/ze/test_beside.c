/* SPDX-License-Identifier: Apache-2.0 */
/* test_beside.c -- native code beside SPIR-V in a cache: it is taken where the driver takes it,
 * and a binary of another device, of a compiler, or of nobody costs a line in the log and no
 * more.
 */
#include "../../tune/store.h"
#include "../support_api.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROWS = 3, ELEMENTS = ROWS * 16, HEAD = 32 };

static const char scale[] = "func @scale(%x: in f32[?,16 | 0:$0, 1:4],\n"
                            "            %y: out f32[?,16 | 0:$0, 1:4], %a: f32, %n: s64)\n"
                            "     level=V target=xe-pvc {\n"
                            "  for %i = 0 to %n par {\n"
                            "    %v = vload %x[%i,0] : f32<16>\n"
                            "    %w = mul %v, %a : f32<16>\n"
                            "    vstore %w, %y[%i,0]\n"
                            "    yield\n"
                            "  }\n"
                            "  ret\n"
                            "}\n";

static char folder[300], said[4000];

/* -- what the tests share ------------------------------------------------------------------ */

static void hear(const char *line, void *ctx)
{
	size_t n = strlen(said);

	(void)ctx;
	snprintf(said + n, sizeof(said) - n, "%s", line);
}

static kvjit *open_here(void)
{
	kvjit_options o = { .size = sizeof(o),
		            .target = "xe",
		            .cache = folder,
		            .cache_path = "",
		            .pins = "",
		            .log = hear };
	kvjit *kv = NULL;

	said[0] = 0;
	if (kvjit_open(&o, &kv) != KVJIT_OK)
		fail_msg("%s", kvjit_open_error());
	return kv;
}

/* Compiles, runs, and says where the code came from. */
static void run(char *origin, size_t len)
{
	kvjit *kv = open_here();
	kvjit_kernel *k = compile(kv, scale, NULL);
	float x[ELEMENTS], y[ELEMENTS];
	kvjit_arg a[4] = { { .name = "x", .rank = 2, .shape = { ROWS, 16 } },
		           { .name = "y", .rank = 2, .shape = { ROWS, 16 } },
		           { .name = "a", .f = 3 },
		           { .name = "n", .i = ROWS } };

	for (int i = 0; i < ELEMENTS; i++)
		x[i] = (float)i;
	for (int i = 0; i < 2; i++) {
		a[i].dtype = KVJIT_F32;
		assert_int_equal(
		    kvjit_device_alloc(kv, KVJIT_MEMORY_DEVICE, sizeof(x), &a[i].data),
		    KVJIT_OK);
	}
	assert_int_equal(kvjit_device_copy(kv, a[0].data, x, sizeof(x)), KVJIT_OK);
	if (kvjit_call(k, NULL, a, 4, NULL) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	assert_int_equal(kvjit_device_copy(kv, y, a[1].data, sizeof(y)), KVJIT_OK);
	for (int i = 0; i < ELEMENTS; i++)
		assert_true(y[i] == 3 * x[i]);
	snprintf(origin, len, "%s", kvjit_kernel_origin(k));
	for (int i = 0; i < 2; i++)
		kvjit_device_free(kv, a[i].data);
	kvjit_release(k);
	kvjit_close(kv);
}

static bool copy_spirv(const kt_code *c, void *ctx)
{
	kt_key *key = ctx;

	if (!strcmp(c->kind, "spirv"))
		*key = c->key;
	return true;
}

/* Puts a binary with these first bytes and the SPIR-V behind them beside the SPIR-V. */
static void put_beside(const void *head, size_t size, const char *phases)
{
	kt_store *s = kt_store_open(&(kt_store_options){ folder, KT_USER, 0, { 0 } });
	kt_key key = { { 0 } };
	kt_code c;
	uint8_t *bytes;

	assert_true(kt_each_code(s, false, copy_spirv, &key));
	assert_int_equal(kt_code_get(s, &key, &c), KT_WHY_none);
	bytes = malloc(size + c.size);
	memcpy(bytes, head, size);
	memcpy(bytes + size, c.bytes, c.size);
	free(c.bytes);
	c.bytes = bytes;
	c.text = c.size += size;
	kt_native_key(&key, "xe-pvc", &c.key);
	kt_hash(c.bytes, c.size, &c.hash);
	free(c.kind);
	c.kind = strdup("native");
	if (phases) {
		free(c.phases);
		c.phases = strdup(phases);
	}
	assert_int_equal(kt_code_put(s, &c), KT_WHY_none);
	kt_code_free(&c);
	kt_store_close(s);
}

/* The head of a native binary of the test driver (README.md). */
static void put_for(const char *product, const char *phases)
{
	char head[HEAD] = "zecl-nb";

	snprintf(head + 8, sizeof(head) - 8, "%s", product);
	put_beside(head, sizeof(head), phases);
}

static void assert_spirv_taken(const char *words)
{
	char origin[600];

	run(origin, sizeof(origin));
	assert_says(origin, "cache ");
	assert_null(strstr(origin, "native"));
	assert_says(said, words);
}

/* -- tests --------------------------------------------------------------------------------- */

static void test_taken_where_it_fits(void **state)
{
	char origin[600];

	(void)state;
	run(origin, sizeof(origin));
	assert_null(strstr(origin, "cache"));
	run(origin, sizeof(origin));
	assert_says(origin, "cache ");
	put_for("pvc", NULL);
	run(origin, sizeof(origin));
	assert_says(origin, "cache |, native");
	assert_string_equal(said, "");
}

static void test_of_another_device(void **state)
{
	(void)state;
	put_for("dg2", NULL);
	assert_spirv_taken(
	    "native code for xe-pvc|doesn't take|another device|SPIR-V is taken");
}

static void test_of_a_real_compiler(void **state)
{
	(void)state;
	put_beside("\177ELF\2\1\1", 8, NULL);
	assert_spirv_taken("native code for xe-pvc|ERROR_INVALID_NATIVE_BINARY");
}

static void test_of_another_program(void **state)
{
	(void)state;
	put_for("pvc", "nobody");
	assert_spirv_taken("native code for xe-pvc|doesn't fit the program");
}

/* Of the right device, and damaged before it was hashed: the driver can't build it. */
static void test_a_build_that_fails(void **state)
{
	char head[HEAD + 4] = "zecl-nb";

	(void)state;
	strcpy(head + 8, "pvc");
	put_beside(head, sizeof(head), NULL);
	assert_spirv_taken("native code for xe-pvc|ERROR_MODULE_BUILD_FAILURE");
}

static bool can_run(void)
{
	kvjit *kv = NULL;
	kvjit_kernel *k = NULL;
	kvjit_options o = { .size = sizeof(o), .target = "xe", .cache = "off" };
	kvjit_status s = kvjit_open(&o, &kv);

	if (s != KVJIT_OK)
		print_message("SKIPPED: %s\n", kvjit_open_error());
	else if ((s = kvjit_compile(kv, scale, NULL, &k)) == KVJIT_NO_BACKEND)
		print_message("SKIPPED: %s\n", kvjit_error(kv));
	kvjit_release(k);
	kvjit_close(kv);
	return s != KVJIT_NO_BACKEND;
}

static int remove_folder(void **state)
{
	static const char *const names[] = { "kvjit.db", "kvjit.db-wal", "kvjit.db-shm",
		                             "kvjit.recent", "claims" };
	char path[400];

	(void)state;
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		unlink(path);
	}
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_taken_where_it_fits),
		cmocka_unit_test(test_of_another_device),
		cmocka_unit_test(test_of_a_real_compiler),
		cmocka_unit_test(test_of_another_program),
		cmocka_unit_test(test_a_build_that_fails),
	};
	const char *tmp = getenv("KVJIT_TMP");

	snprintf(folder, sizeof(folder), "%s/kvjit-beside-XXXXXX", tmp ? tmp : "/tmp");
	return can_run() && mkdtemp(folder) ? cmocka_run_group_tests(tests, NULL, remove_folder)
	                                    : 77;
}
