/* SPDX-License-Identifier: Apache-2.0 */
/* test_cpuid.c -- what the C library remembers of the processor is what the processor says: the
 * leaves that backends/cpuid.c answers without the instruction, the state that the system
 * saves, and the sizes of caches. Elsewhere than on x86-64 there is nothing to compare.
 */
#include "../backends/isa.h"

/* libkvjit has it too, but doesn't export it. */
#include "../backends/cpu.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#if defined(__x86_64__)

#include <cpuid.h>

/* The instruction; zero for a leaf above the highest, where Intel answers with another leaf. */
static kbe_regs asked(unsigned leaf, unsigned sub)
{
	kbe_regs r = { 0, 0, 0, 0 };

	if (leaf <= __get_cpuid_max(leaf & 0x80000000, NULL))
		__cpuid_count(leaf, sub, r.a, r.b, r.c, r.d);
	return r;
}

static void assert_leaf(unsigned leaf, unsigned sub)
{
	kbe_regs got = kbe_cpuid(leaf, sub), want = asked(leaf, sub);

	if (leaf == 1) { /* the upper byte of ebx names the processor that was asked */
		got.b &= 0xffffff;
		want.b &= 0xffffff;
	}
	if (got.a != want.a || got.b != want.b || got.c != want.c || got.d != want.d)
		fail_msg("leaf %x.%u: %x %x %x %x, the processor says %x %x %x %x", leaf, sub,
		         got.a, got.b, got.c, got.d, want.a, want.b, want.c, want.d);
}

/* Every leaf that a row of isa.def is found in, and those that backends/cpu.c reads. */
static void test_leaves(void **state)
{
	(void)state;
	for (unsigned i = 0; i < KBE_NISA; i++)
		if (kbe_isas[i].reg)
			assert_leaf(kbe_isas[i].leaf, kbe_isas[i].sub);
	assert_leaf(0, 0);
	assert_leaf(0x80000000, 0);
	for (unsigned i = 0; i < 8; i++)
		assert_leaf(4, i);
}

static void test_absent(void **state)
{
	static const unsigned top[] = { 0, 0x80000000 };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		kbe_regs r = kbe_cpuid(__get_cpuid_max(top[i], NULL) + 1, 0);

		assert_false(r.a | r.b | r.c | r.d);
	}
}

/* Leaf 13 has the same bits as XCR0 for what the processor can save; the system saves no more.
 */
static void test_saved(void **state)
{
	unsigned saved = kbe_saved_state();

	(void)state;
	if (!(asked(1, 0).c >> 27 & 1)) {
		assert_int_equal(saved, 0);
		return;
	}
	assert_int_equal(saved & 1, 1); /* x87, which can't be switched off */
	assert_int_equal(saved & ~asked(13, 0).a, 0);
}

/* Registers that the system doesn't save are no feature, whatever the processor has: upper
 * halves of ymm with 4; masks, upper halves of zmm, and zmm16 to 31 with 0xe0. */
static void test_unsaved_state(void **state)
{
	unsigned all = features_under(0xe6), ymm = features_under(0x6);

	(void)state;
	assert_int_equal(features_under(0), 0);
	assert_int_equal(features_under(0x2), 0);
	assert_int_equal(features_under(0x4), 0);
	assert_int_equal(ymm, all & KIR_HAS_avx2);
	for (unsigned b = 0x20; b <= 0x80; b *= 2)
		assert_int_equal(features_under(0xe6 & ~b), ymm);
	if (!(all & KIR_HAS_avx512))
		print_message("this processor has no AVX-512: only ymm is tested\n");
}

/* A row is the machine's exactly if its bit is set and its state is saved. */
static void test_rows(void **state)
{
	uint64_t host = kbe_host_isa();
	unsigned saved = kbe_saved_state();

	(void)state;
	for (unsigned i = 0; i < KBE_NISA; i++) {
		const kbe_isa_info *row = &kbe_isas[i];
		kbe_regs r = asked(row->leaf, row->sub);
		unsigned word[] = { r.a, r.b, r.c, r.d };
		bool has = row->reg && word[row->reg - 'a'] >> row->bit & 1 &&
		           (saved & row->xcr0) == row->xcr0;

		if (row->xcr0 == 0x60000) /* the system may refuse what it could save */
			has &= kbe_host_tiles() == KBE_TILES_READY;

		if (has != (host >> i & 1))
			fail_msg("%s: the processor says %d", row->name, has);
	}
}

/* The compiler's names for the bits; some compilers lack the latest. */
#define BIT(row, name)                        \
	{                                     \
		KBE_ISA_ROW_##row, bit_##name \
	}

static const struct {
	kbe_isa_row row;
	unsigned mask;
} bits[] = {
	BIT(sse3, SSE3),
	BIT(ssse3, SSSE3),
	BIT(sse4_1, SSE4_1),
	BIT(sse4_2, SSE4_2),
	BIT(popcnt, POPCNT),
	BIT(movbe, MOVBE),
	BIT(bmi2, BMI2),
	BIT(avx, AVX),
	BIT(f16c, F16C),
	BIT(fma, FMA),
	BIT(avx2, AVX2),
	BIT(avx512f, AVX512F),
	BIT(avx512dq, AVX512DQ),
	BIT(avx512bw, AVX512BW),
	BIT(avx512vl, AVX512VL),
	BIT(avx512cd, AVX512CD),
	BIT(avx512vbmi, AVX512VBMI),
	BIT(avx512vnni, AVX512VNNI),
	BIT(avx512vpopcnt, AVX512VPOPCNTDQ),
	BIT(avx512ifma, AVX512IFMA),
	BIT(gfni, GFNI),
#ifdef bit_LZCNT
	BIT(lzcnt, LZCNT),
#endif
#ifdef bit_BMI
	BIT(bmi1, BMI),
#endif
#ifdef bit_AVX512VBMI2
	BIT(avx512vbmi2, AVX512VBMI2),
#endif
#ifdef bit_AVX512BITALG
	BIT(avx512bitalg, AVX512BITALG),
#endif
#ifdef bit_AVX512BF16
	BIT(avx512bf16, AVX512BF16),
#endif
#ifdef bit_AVX512FP16
	BIT(avx512fp16, AVX512FP16),
#endif
#ifdef bit_AMX_TILE
	BIT(amx_tile, AMX_TILE),
#endif
#ifdef bit_AMX_INT8
	BIT(amx_int8, AMX_INT8),
#endif
#ifdef bit_AMX_BF16
	BIT(amx_bf16, AMX_BF16),
#endif
};

static void test_bits(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bits) / sizeof(*bits); i++)
		if (1u << kbe_isas[bits[i].row].bit != bits[i].mask)
			fail_msg("%s: bit %u", kbe_isas[bits[i].row].name,
			         kbe_isas[bits[i].row].bit);
}

static void test_caches(void **state)
{
	kir_target host = { 0 }, want = { 0 };

	(void)state;
	ask_caches(&want);
	if (!want.l1_bytes || !want.l2_bytes)
		skip(); /* a hypervisor may hide the leaves */
	kbe_host(&host);
	assert_int_equal(host.l1_bytes, want.l1_bytes);
	assert_int_equal(host.l2_bytes, want.l2_bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_leaves), cmocka_unit_test(test_absent),
		cmocka_unit_test(test_saved),  cmocka_unit_test(test_unsaved_state),
		cmocka_unit_test(test_rows),   cmocka_unit_test(test_bits),
		cmocka_unit_test(test_caches),
	};

	return cmocka_run_group_tests_name("cpuid", tests, NULL, NULL);
}

#else

int main(void)
{
	puts("not x86-64: skipped");
	return 77;
}

#endif
