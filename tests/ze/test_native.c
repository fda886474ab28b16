/* SPDX-License-Identifier: Apache-2.0 */
/* test_native.c -- backends/native.h: hand-written kernels through Intel's offline compiler,
 * what it can't compile, and files that no compiler made.
 */
#include "../../backends/ocloc/ocloc.h"

#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *spirv_of(const char *name, size_t *size)
{
	char path[512];
	char *bytes = malloc(1 << 16);
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s.spv", getenv("ZECL_SPIRV"), name);
	file = fopen(path, "rb");
	assert_non_null(file);
	*size = fread(bytes, 1, 1 << 16, file);
	fclose(file);
	return bytes;
}

/* Skips the test where there is no offline compiler. */
static bool compile(const char *target, const char *name, void **elf, size_t *size, char *why,
                    size_t length)
{
	size_t spirv_size;
	char *spirv = spirv_of(name, &spirv_size);
	kir_diag d = { 0 };
	bool ok = kbe_native(target, spirv, spirv_size, elf, size, &d);

	free(spirv);
	kir_diag_text(&d, why, length);
	if (!ok && strstr(why, "without Intel's offline compiler")) {
		print_message("SKIPPED: %s\n", why);
		skip();
	}
#if defined(__SANITIZE_ADDRESS__)
	if (!ok && strstr(why, "without a word")) {
		print_message(
		    "SKIPPED: libocloc opens its parts with RTLD_DEEPBIND, which ASan "
		    "refuses\n");
		skip();
	}
#endif
	return ok;
}

static kbe_counts counts_of(const char *target, const char *name)
{
	void *elf = NULL;
	size_t size = 0;
	char why[500];
	kbe_counts c = { 0 };
	kir_diag d = { 0 };

	if (!compile(target, name, &elf, &size, why, sizeof(why)))
		fail_msg("%s", why);
	if (!kbe_native_count(target, elf, size, &c, &d))
		fail_msg("%s", kir_diag_text(&d, why, sizeof(why)));
	free(elf);
	return c;
}

static void test_counts(void **state)
{
	kbe_counts c = counts_of("xe-pvc", "gemm");

	(void)state;
	assert_int_equal(c.dpas, 4); /* K = 64 in steps of 16, unrolled */
	assert_int_equal(c.block_loads, 8);
	assert_int_equal(c.spill, 0);
	assert_int_equal(c.calls, 0);
	assert_int_equal(c.lanes, 16);
	assert_true(c.registers == 256 && c.sends > c.block_loads); /* spirv_flags.h */
	assert_true(c.instructions > c.sends + c.dpas);
	assert_true(counts_of("xe-dg2", "step").instructions > 5);
}

/* The compiler says that it succeeded; only the call shows that nobody defines the function. */
static void test_unknown_function_is_a_call(void **state)
{
	(void)state;
	assert_int_equal(counts_of("xe-pvc", "unknown").calls, 1);
}

static void refused(const char *target, const char *name, const char *sentence)
{
	void *elf = NULL;
	size_t size = 0;
	char why[500];

	if (compile(target, name, &elf, &size, why, sizeof(why)))
		fail_msg("%s compiles for %s", name, target);
	if (!strstr(why, sentence))
		fail_msg("'%s' isn't in '%s'", sentence, why);
	assert_null(elf);
}

static void test_refused(void **state)
{
	void *elf;
	size_t size;
	kir_diag d = { 0 };
	char why[500];

	(void)state;
	refused("avx2", "gemm", "no native code for target 'avx2': there is for xe-lp, xe-dg2");
	/* no engine there: the compiler aborts, we don't */
	refused("xe-lp", "gemm", "ocloc can't compile this for 'tgllp'");
	assert_false(kbe_native("xe-pvc", "no module", 9, &elf, &size, &d));
	kir_diag_text(&d, why, sizeof(why));
	assert_true(d.n == 1 && strlen(why) > 20);
}

/* A file as the compiler makes them: names, code, description. */
static unsigned char *made_file(size_t *size)
{
	static const char names[] = "\0.text.k\0.ze_info\0.shstrtab";
	static const char code[64] = "code", info[] = "grf_count: 128\nsimd_size: 16\n";
	static const char *const part[] = { "", code, info, names };
	static const size_t length[] = { 0, sizeof(code), sizeof(info) - 1, sizeof(names) };
	static const unsigned name[] = { 0, 1, 9, 18 };
	Elf64_Ehdr head = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64 },
		            .e_shoff = sizeof(head),
		            .e_shentsize = sizeof(Elf64_Shdr),
		            .e_shnum = 4,
		            .e_shstrndx = 3 };
	size_t at = sizeof(head) + 4 * sizeof(Elf64_Shdr);
	unsigned char *bytes = calloc(1, at + 300);

	memcpy(bytes, &head, sizeof(head));
	for (unsigned i = 0; i < 4; i++) {
		Elf64_Shdr s = { .sh_name = name[i], .sh_offset = at, .sh_size = length[i] };

		memcpy(bytes + sizeof(head) + i * sizeof(s), &s, sizeof(s));
		memcpy(bytes + at, part[i], length[i]);
		at += length[i];
	}
	*size = at;
	return bytes;
}

/* Whatever a file says, it is read within its bounds. */
static void test_any_file(void **state)
{
	size_t size;
	unsigned char *elf = made_file(&size), *copy;
	unsigned long seed = 1;
	kbe_counts c;
	kir_diag d = { 0 };
	kno_elf e;

	(void)state;
	assert_true(kno_elf_read(elf, size, &e, &d));
	assert_true(e.text_size == 64 && !strcmp((const char *)e.text, "code"));
	assert_string_equal(e.info, "grf_count: 128\nsimd_size: 16\n");
	free(e.info);
	for (int i = 0; i < 20000; i++) {
		size_t length = i % 3 ? size : (size_t)i * size / 20000;

		d.n = 0;
		copy = malloc(length ? length : 1); /* of this size, for ASan */
		memcpy(copy, elf, length);
		for (int k = 0; k < i % 7 && length; k++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			copy[(seed >> 33) % length] = (unsigned char)(seed >> 25);
		}
		if (kno_elf_read(copy, length, &e, &d)) {
			assert_true(e.text >= copy && e.text + e.text_size <= copy + length);
			kno_info_count(e.info, &c);
		} else
			assert_int_equal(d.n, 1);
		free(e.info);
		free(copy);
	}
	free(elf);
}

static void test_description(void **state)
{
	kbe_counts c;

	(void)state;
	kno_info_count(
	    "kernels:\n  - name: k\n    execution_env:\n      grf_count:       256\n"
	    "      simd_size:       16\n      slm_size:        4096\n"
	    "    per_thread_memory_buffers:\n"
	    "      - type:            global\n        usage:           private_space\n"
	    "        size:            2560\n        is_simt_thread:  true\n"
	    "      - type:            scratch\n        usage:           single_space\n"
	    "        size:            1024\nkernels_misc_info:\n  - size: 7\n",
	    &c);
	assert_int_equal(c.registers, 256);
	assert_int_equal(c.slm, 4096);
	assert_int_equal(c.spill, 1024);
	assert_int_equal(c.private_bytes, 2560);
	kno_info_count("grf_count: 128\nspill_size: 64\n", &c);
	assert_int_equal(c.spill, 64);
	kno_info_count("", &c);
	assert_int_equal(c.registers + c.spill + c.private_bytes, 0);
}

/* Two loops, one around an inner one: the hot one is the inner loop with most products. */
static void test_hottest_loop(void **state)
{
	kbe_counts c = { 0 };

	(void)state;
	kno_asm_count(
	    "L0:\n"
	    "(W)     mov (1|M0)   r1.0<1>:ud  0:ud  // L9 isn't a label\n"
	    "L16:\n"
	    "        add (16|M0)  r2.0<1>:d  r2.0<1;1,0>:d  1:w\n"
	    "L32:\n"
	    "        dpas.8x8 (16|M0)  r18:f  null:f  r10:hf  r6.0:hf  {$4}\n"
	    "        send.ugm (1|M0)  r1  r127  null:0  0x0  0x0 // load_block2d.ugm.d16\n"
	    "        sync.nop  null\n"
	    "(W&f0.0) jmpi  L32\n"
	    "        send.slm (1|M0)  r1  r127  null:0  0x0  0x0 // load.slm\n"
	    "(f1.0)  while (16|M0)  L16\n"
	    "L48:\n"
	    "        add (16|M0)  r2.0<1>:d  r2.0<1;1,0>:d  1:w\n"
	    "        add (16|M0)  r2.0<1>:d  r2.0<1;1,0>:d  1:w\n"
	    "        add (16|M0)  r2.0<1>:d  r2.0<1;1,0>:d  1:w\n"
	    "        add (16|M0)  r2.0<1>:d  r2.0<1;1,0>:d  1:w\n"
	    "(f1.0)  goto (16|M0)  L48  L64\n"
	    "(f1.0)  goto (16|M0)  L64  L64\n"
	    "L64:\n"
	    "(W)     call (1|M0)  r1  L48\n",
	    &c);
	assert_int_equal(c.instructions, 15);
	assert_int_equal(c.sends, 2);
	assert_int_equal(c.block_loads, 1);
	assert_int_equal(c.dpas, 1);
	assert_int_equal(c.calls, 1);
	assert_int_equal(c.loop_instructions, 4);
	assert_int_equal(c.loop_shortest, 4);
	assert_int_equal(c.loop_dpas, 1);
	assert_int_equal(c.loop_sends, 1);
	assert_int_equal(c.loop_block_loads, 1);
	kno_asm_count("", &c);
	assert_int_equal(c.instructions, 0);
}

/* What a branch leaves out isn't on the shortest way, but products that it has are. */
static void test_shortest_way(void **state)
{
	kbe_counts c = { 0 };

	(void)state;
	kno_asm_count("L16:\n"
	              "(W&f0.0) jmpi  L96\n"
	              "        dpas.8x8 (16|M0)  r1:f  null:f  r2:hf  r3.0:hf\n"
	              "(W&f0.1) jmpi  L48\n"
	              "        mov (16|M0)  r1.0<1>:d  0:w\n"
	              "(W)     jmpi  L64\n"
	              "L48:\n"
	              "        mul (16|M0)  r1.0<1>:f  r1.0<1;1,0>:f  r2.0<1;1,0>:f\n"
	              "        mul (16|M0)  r1.0<1>:f  r1.0<1;1,0>:f  r2.0<1;1,0>:f\n"
	              "        mul (16|M0)  r1.0<1>:f  r1.0<1;1,0>:f  r2.0<1;1,0>:f\n"
	              "L64:\n"
	              "(~f0.0) goto (16|M0)  L80  L80\n"
	              "        dpas.8x8 (16|M0)  r1:f  null:f  r2:hf  r3.0:hf\n"
	              "L80:\n"
	              "        join (16|M0)  L96\n"
	              "L96:\n"
	              "(W&f1.0) jmpi  L16\n",
	              &c);
	assert_int_equal(c.loop_instructions, 12);
	assert_int_equal(c.loop_dpas, 2);
	assert_int_equal(c.loop_shortest, 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_unknown_function_is_a_call),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_any_file),
		cmocka_unit_test(test_description),
		cmocka_unit_test(test_hottest_loop),
		cmocka_unit_test(test_shortest_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
