/* SPDX-License-Identifier: Apache-2.0 */
/* test_x86_isa.c -- the extensions found in finished code: byte sequences with what each needs
 * (encoded by llvm-mc, the expectations from the processors' manual), and kernels of every
 * target, whether this machine runs it or not, which must need no more than the target allows.
 */
#include "x86.h"

#include "../ir/problem.h"
#include "../passes/passes.h"

#include <time.h>

typedef uint64_t (*isa_fn)(const void *code, size_t size);

static void *function(const char *name)
{
	const char *dir = getenv("KVJIT_BACKEND_DIR");
	char path[512];
	void *so, *fn;

	snprintf(path, sizeof path, "%s/libkvjit-x86.so", dir ? dir : ".");
	so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	assert_non_null(so);
	fn = dlsym(so, name);
	assert_non_null(fn);
	return fn;
}

static isa_fn decoder(void)
{
	isa_fn fn;

	*(void **)&fn = function("kx86_isa");
	return fn;
}

static void assert_isa(uint64_t got, uint64_t want, const char *of)
{
	char g[600], w[600];

	kbe_isa_text(got, g, sizeof g);
	kbe_isa_text(want, w, sizeof w);
	if (got != want)
		fail_msg("%s: found '%s', needs '%s'", of, g, w);
}

/* -- bytes --------------------------------------------------------------------------------- */

/* clang-format off */
static const struct {
	const char *text, *bytes, *needs;
} cases[] = {
	{ "addps xmm0, xmm1", "0f58c1", "" },
	{ "lock inc dword ptr [rax]", "f0ff00", "" },
	{ "rep movsb", "f3a4", "" },
	{ "haddps xmm0, xmm1", "f20f7cc1", "sse3" },
	{ "pshufb xmm0, xmm1", "660f3800c1", "ssse3" },
	{ "pmulld xmm0, xmm1", "660f3840c1", "sse4_1" },
	{ "pextrw eax, xmm0, 1", "660fc5c001", "" },
	{ "pextrw word ptr [rax], xmm0, 1", "660f3a150001", "sse4_1" },
	{ "pcmpgtq xmm0, xmm1", "660f3837c1", "sse4_2" },
	{ "crc32 eax, ecx", "f20f38f1c1", "sse4_2" },
	{ "popcnt eax, ecx", "f30fb8c1", "popcnt" },
	{ "movbe eax, dword ptr [rcx]", "0f38f001", "movbe" },
	{ "lzcnt eax, ecx", "f30fbdc1", "lzcnt" },
	{ "tzcnt eax, ecx", "f30fbcc1", "bmi1" },
	{ "andn eax, ecx, edx", "c4e270f2c2", "bmi1" },
	{ "shlx eax, ecx, edx", "c4e269f7c1", "bmi2" },
	{ "vaddps ymm0, ymm1, ymm2", "c5f458c2", "avx" },
	{ "vpaddd xmm0, xmm1, xmm2", "c5f1fec2", "avx" },
	{ "vpaddd ymm0, ymm1, ymm2", "c5f5fec2", "avx avx2" },
	{ "vptest ymm0, ymm1", "c4e27d17c1", "avx" },
	{ "vbroadcastss ymm0, dword ptr [rax]", "c4e27d1800", "avx" },
	{ "vbroadcastss ymm0, xmm1", "c4e27d18c1", "avx avx2" },
	{ "vpermq ymm0, ymm1, 3", "c4e3fd00c103", "avx avx2" },
	{ "vcvtph2ps ymm0, xmm1", "c4e27d13c1", "avx f16c" },
	{ "vfmadd213ps ymm0, ymm1, ymm2", "c4e275a8c2", "avx fma" },
	{ "vaddps zmm0, zmm1, zmm2", "62f1744858c2", "avx512f" },
	{ "vaddps zmm0, zmm1, zmm2, {rn-sae}", "62f1741858c2", "avx512f" },
	{ "{evex} vaddps ymm0, ymm1, ymm2", "62f1742858c2", "avx512f avx512vl" },
	{ "vaddps xmm16, xmm1, xmm2", "62e1740858c2", "avx512f avx512vl" },
	{ "{evex} vaddss xmm0, xmm1, xmm2", "62f1760858c2", "avx512f" },
	{ "vaddss xmm17, xmm1, xmm2", "62e1760858ca", "avx512f" },
	{ "vpaddb zmm0, zmm1, zmm2", "62f17548fcc2", "avx512f avx512bw" },
	{ "vpaddb ymm16, ymm1, ymm2", "62e17528fcc2", "avx512f avx512bw avx512vl" },
	{ "vandps zmm0, zmm1, zmm2", "62f1744854c2", "avx512f avx512dq" },
	{ "vpmullq ymm0, ymm1, ymm2", "62f2f52840c2", "avx512f avx512dq avx512vl" },
	{ "vpconflictd zmm0, zmm1", "62f27d48c4c1", "avx512f avx512cd" },
	{ "vpermb zmm0, zmm1, zmm2", "62f275488dc2", "avx512f avx512vbmi" },
	{ "vpermi2b ymm0, ymm1, ymm2", "62f2752875c2", "avx512f avx512vl avx512vbmi" },
	{ "vpcompressb zmm0, zmm1", "62f27d4863c8", "avx512f avx512vbmi2" },
	{ "vpshrdd zmm0, zmm1, zmm2, 3", "62f3754873c203", "avx512f avx512vbmi2" },
	{ "vpdpbusd zmm0, zmm1, zmm2", "62f2754850c2", "avx512f avx512vnni" },
	{ "{evex} vpdpbusd ymm0, ymm1, ymm2", "62f2752850c2", "avx512f avx512vl avx512vnni" },
	{ "{vex} vpdpbusd ymm0, ymm1, ymm2", "c4e27550c2", "unknown" },
	{ "vpopcntb zmm0, zmm1", "62f27d4854c1", "avx512f avx512bitalg" },
	{ "vpopcntd zmm0, zmm1", "62f27d4855c1", "avx512f avx512vpopcnt" },
	{ "vpmadd52luq zmm0, zmm1, zmm2", "62f2f548b4c2", "avx512f avx512ifma" },
	{ "vaddph zmm0, zmm1, zmm2", "62f5744858c2", "avx512f avx512fp16" },
	{ "vfmadd231ph ymm0, ymm1, ymm2", "62f67528b8c2", "avx512f avx512vl avx512fp16" },
	{ "vmovw xmm0, eax", "62f57d086ec0", "avx512f avx512fp16" },
	{ "vcmpltph k1, zmm1, zmm2", "62f37448c2ca01", "avx512f avx512fp16" },
	{ "vcvtneps2bf16 ymm0, zmm1", "62f27e4872c1", "avx512f avx512bf16" },
	{ "vdpbf16ps zmm0, zmm1, zmm2", "62f2764852c2", "avx512f avx512bf16" },
	{ "vdpbf16ps xmm0, xmm1, xmm2", "62f2760852c2", "avx512f avx512vl avx512bf16" },
	{ "gf2p8mulb xmm0, xmm1", "660f38cfc1", "gfni" },
	{ "vgf2p8mulb ymm0, ymm1, ymm2", "c4e275cfc2", "avx gfni" },
	{ "vgf2p8mulb zmm0, zmm1, zmm2", "62f27548cfc2", "avx512f gfni" },
	{ "kmovb k0, k1", "c5f990c1", "avx512dq" },
	{ "kmovw k0, k1", "c5f890c1", "avx512f" },
	{ "kmovd k0, k1", "c4e1f990c1", "avx512bw" },
	{ "kmovq k0, k1", "c4e1f890c1", "avx512bw" },
	{ "kandb k0, k1, k2", "c5f541c2", "avx512dq" },
	{ "kandw k0, k1, k2", "c5f441c2", "avx512f" },
	{ "kaddw k0, k1, k2", "c5f44ac2", "avx512dq" },
	{ "kunpckdq k0, k1, k2", "c4e1f44bc2", "avx512bw" },
	{ "vpcmpltub k1, zmm1, zmm2", "62f375483eca01", "avx512f avx512bw" },
	{ "vpcmpltud k1, zmm1, zmm2", "62f375481eca01", "avx512f" },
	{ "vmovdqu8 zmm0, zmmword ptr [rax]", "62f17f486f00", "avx512f avx512bw" },
	{ "ldtilecfg [rax]", "c4e2784900", "amx_tile" },
	{ "tileloadd tmm0, [rax + rcx]", "c4e27b4b0408", "amx_tile" },
	{ "tilestored [rax + rcx], tmm0", "c4e27a4b0408", "amx_tile" },
	{ "tdpbssd tmm0, tmm1, tmm2", "c4e26b5ec1", "amx_int8" },
	{ "tdpbusd tmm0, tmm1, tmm2", "c4e2695ec1", "amx_int8" },
	{ "tdpbf16ps tmm0, tmm1, tmm2", "c4e26a5cc1", "amx_bf16" },
	{ "tdpfp16ps tmm0, tmm1, tmm2", "c4e26b5cc1", "amx_fp16" },
	{ "vaesenc ymm0, ymm1, ymm2", "c4e275dcc2", "unknown" },
	{ "vaddbf16 zmm0, zmm1, zmm2", "62f5754858c2", "unknown" },
	{ "vpdpbssd ymm0, ymm1, ymm2", "c4e27750c2", "unknown" },
	{ "cpuid", "0fa2", "unknown" },
	{ "vpcmov xmm0, xmm1, xmm2, xmm3", "8fe870a2c230", "unknown" }, /* XOP */
	{ "vprotb xmm0, xmm1, 3", "8fe878c0c103", "unknown" },
	{ "vfmaddps xmm0, xmm1, xmm2, xmm3", "c4e3f168c320", "unknown" }, /* FMA4 */
	{ "{evex} add eax, ecx", "62f47c0801c8", "unknown" },
	{ "add r16d, ecx", "d51001c8", "unknown" },
	{ "vaddps zmm0, zmm1, zmmword ptr [r16]", "62f974485800", "unknown" },
	{ "tcmmimfp16ps tmm0, tmm1, tmm2", "c4e2696cc1", "unknown" },
	{ "vmovd xmm16, dword ptr [rax]", "62e17d086e00", "avx512f" },
	{ "vcvtsi2ss xmm16, xmm1, eax", "62e176082ac0", "avx512f" },
	{ "vextractf32x8 ymm0, zmm1, 1", "62f37d481bc801", "avx512f avx512dq" },
	{ "vpmovusdb xmm0, zmm1", "62f27e4811c8", "avx512f" },
	{ "vaddps zmm0, zmm1, dword ptr [rax]{1to16}", "62f174585800", "avx512f" },
	{ "vaddps ymm0, ymm1, dword ptr [rax]{1to8}", "62f174385800", "avx512f avx512vl" },
	/* AVX10.2 gave old names new encodings */
	{ "vmovd xmm0, xmm1", "62f17e087ec1", "unknown" },
	{ "vmovd xmm1, xmm0", "62f17d08d6c1", "unknown" },
	{ "vmovw xmm0, xmm1", "62f57e086ec1", "unknown" },
};
/* clang-format on */

enum { NCASES = sizeof cases / sizeof *cases };

static size_t unhex(const char *hex, uint8_t *out)
{
	size_t n = strlen(hex) / 2;

	for (size_t i = 0; i < n; i++) {
		char two[3] = { hex[2 * i], hex[2 * i + 1], 0 };

		out[i] = (uint8_t)strtoul(two, NULL, 16);
	}
	return n;
}

static void test_instructions(void **state)
{
	isa_fn isa = decoder();
	uint64_t all = 0;

	(void)state;
	for (size_t i = 0; i < NCASES; i++) {
		uint8_t bytes[16];
		size_t n = unhex(cases[i].bytes, bytes);
		uint64_t want;

		assert_true(kbe_isa_parse(cases[i].needs, &want));
		assert_isa(isa(bytes, n), want, cases[i].text);
		all |= want;
		/* cut short it is no instruction, or a shorter one; never a crash */
		for (size_t k = 1; k < n; k++)
			isa(bytes, k);
	}
	for (unsigned i = 0; i < KBE_NISA; i++)
		if (!(all >> i & 1))
			fail_msg("no case needs %s", kbe_isas[i].name);
}

/* What code needs is the union over its instructions; one unknown spoils it. */
static void test_sequences(void **state)
{
	static uint8_t all[NCASES * 16];
	isa_fn isa = decoder();
	uint64_t want = 0, one;
	size_t n = 0;

	(void)state;
	assert_isa(isa(all, 0), 0, "no bytes");
	for (size_t i = 0; i < NCASES; i++) {
		kbe_isa_parse(cases[i].needs, &one);
		if (one & KBE_ISA(unknown))
			continue;
		n += unhex(cases[i].bytes, all + n);
		all[n++] = 0xcc;
		want |= one;
		assert_isa(isa(all, n), want, cases[i].text);
	}
	all[n] = 0x06; /* no instruction in 64-bit mode */
	assert_isa(isa(all, n + 1), KBE_ISA(unknown), "06");
	all[0] = 0x06;
	assert_isa(isa(all, n), KBE_ISA(unknown), "06 in front");
}

static void test_garbage(void **state)
{
	isa_fn isa = decoder();
	uint64_t x = 1;
	unsigned unknown = 0;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		uint8_t bytes[256];
		uint64_t set;

		for (size_t k = 0; k < sizeof bytes; k++) {
			x = x * 6364136223846793005u + 1442695040888963407u;
			bytes[k] = (uint8_t)(x >> 56);
		}
		set = isa(bytes, sizeof bytes);
		assert_true(set == KBE_ISA(unknown) || !(set & KBE_ISA(unknown)));
		unknown += set == KBE_ISA(unknown);
	}
	assert_int_equal(unknown, 2000);
}

/* -- kernels ------------------------------------------------------------------------------- */

static const char *const problems[] = {
	"attn q=bf16 kv=int8/token-head heads=8:2 dim=64 page=16",
	"attn q=bf16 kv=e4m3/head heads=8:2 dim=128 page=64",
	"attn q=f32 kv=e4m3/head heads=8:2 dim=128 page=64 decode=shift",
	"attn q=bf16 kv=bf16 heads=4:4 dim=64 page=32 causal batch=4 ctx=512 qlen=64 q_tile=8",
	"attn q=f16 kv=f16 heads=8:2 dim=64 page=16 softcap=30 window=100 lse",
	"attn q=bf16 kv=int8/token-head heads=8:2 dim=64 page=16 qk=int8 pv=int8 split=512",
	"attn q=bf16 kv=e5m2/head heads=8:2 dim=64 page=16 causal",
	"attn q=bf16 kv=mxfp8 heads=8:2 dim=64 page=16 alibi sink softcap=30",
	"write in=bf16 kv=mxfp8 heads=2 dim=64 page=16",
	"write in=bf16 kv=int8/token-head heads=8 dim=128 page=128",
	"write in=f16 kv=e4m3/head heads=2 dim=64 page=16",
	"write in=f32 kv=bf16 heads=2 dim=64 page=16 stores=streamed",
	"quant in=bf16 to=int8/token-head heads=8 dim=128",
	"merge out=bf16 heads=8 dim=128",
};

enum { NPROBLEMS = sizeof problems / sizeof *problems };

/* Everything the target's features promise. */
static uint64_t allowed(const kir_target *t)
{
	static const struct {
		unsigned feature;
		const char *isa;
	} rows[] = {
		{ KIR_HAS_avx2, "sse3 ssse3 sse4_1 sse4_2 popcnt bmi1 bmi2 avx f16c fma avx2" },
		{ KIR_HAS_avx512, "avx512f avx512dq avx512bw avx512vl" },
		{ KIR_HAS_vbmi, "avx512vbmi" },
		{ KIR_HAS_vnni, "avx512vnni" },
		{ KIR_HAS_bf16, "avx512bf16" },
		{ KIR_HAS_fp16, "avx512fp16" },
		{ KIR_HAS_amx_tile, "amx_tile" },
		{ KIR_HAS_amx_bf16, "amx_bf16" },
		{ KIR_HAS_amx_int8, "amx_int8" },
	};
	uint64_t set = KBE_ISA(sse3) | KBE_ISA(ssse3) | KBE_ISA(sse4_1), one;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_true(kbe_isa_parse(rows[i].isa, &one));
		if (t->features & rows[i].feature)
			set |= one;
	}
	return set;
}

static kbe_blob compiled(const char *text, const kir_target *t)
{
	kir_module *m = kir_module_new();
	kir_diag d = { 0 };
	kpass_options o = { 0 };
	char msg[2000];
	kir_problem p;
	kbe_blob b = { 0 };
	kir_func *f = NULL;

	if (kir_problem_parse(m, text, strlen(text), &p, &d))
		f = kir_problem_expand(m, &p, t, &d);
	if (f)
		f = kpass_run(f, &o, &d);
	if (!f || !be()->compile(f, &b, &d))
		fail_msg("%s on %s: %s", text, t->name, kir_diag_text(&d, msg, sizeof msg));
	kir_module_free(m);
	return b;
}

/* KVJIT_ISA_DUMP names a folder that gets each kernel's code, for a check by other tools. */
static void keep(const kbe_blob *b, const kir_target *t, int problem)
{
	const char *dir = getenv("KVJIT_ISA_DUMP");
	char path[512], text[600];
	FILE *f;

	if (!dir)
		return;
	kbe_isa_text(b->isa, text, sizeof text);
	snprintf(path, sizeof path, "%s/%s-%d.bin", dir, t->name, problem);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(b->bytes, 1, b->text, f), b->text);
	fclose(f);
	print_message("%s: %s\n", path, text);
}

static void test_kernels(void **state)
{
	(void)state;
	for (unsigned i = 0; i < kir_ntargets; i++)
		for (int k = 0; k < NPROBLEMS && !kir_targets[i].lanes; k++) {
			const kir_target *t = &kir_targets[i];
			kbe_blob b = compiled(problems[k], t);
			char name[200];

			snprintf(name, sizeof name, "%s on %s", problems[k], t->name);
			keep(&b, t, k);
			assert_isa(b.isa, b.isa & allowed(t), name);
			assert_true(!kbe_host_runs(t) || kbe_isa_runs(b.isa, kbe_host_isa()));
			assert_isa(decoder()(b.bytes, b.text), b.isa, name);
			/* the target's own instructions are there where the problem wants them
			 */
			if (!(t->features & KIR_HAS_avx2))
				assert_false(b.isa & KBE_ISA(avx));
			if (t->features & KIR_HAS_avx512)
				assert_true(b.isa & KBE_ISA(avx512f));
			else if (t->features & KIR_HAS_avx2)
				assert_true(b.isa & KBE_ISA(avx));
			if (k == 0 && t->features & KIR_HAS_amx_int8)
				assert_true(b.isa & KBE_ISA(amx_int8));
			else if (k == 0 && t->features & KIR_HAS_vnni)
				assert_true(b.isa & KBE_ISA(avx512vnni));
			if (k == 1 && !strcmp(t->name, "avx512-bf16"))
				assert_true(b.isa & KBE_ISA(avx512bf16));
			free(b.bytes);
		}
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Part of what users wait for. The limit is ten times what it takes here. */
static void test_fast(void **state)
{
	enum { SIZE = 16384 };
	static uint8_t all[SIZE + 32768];
	isa_fn isa = decoder();
	unsigned i = 0;
	const kir_target *t = NULL;
	size_t n = 0;
	double best = 1;
	kbe_blob b;

	(void)state;
	for (const kir_target *x; (x = runnable(&i));)
		t = x;
	b = compiled(problems[0], t);
	assert_true(b.text <= 32768);
	for (; n < SIZE; n += b.text)
		memcpy(all + n, b.bytes, b.text);
	for (int k = 0; k < 9; k++) {
		double at = now();

		assert_isa(isa(all, n), b.isa, "16 KiB");
		if ((at = (now() - at) * SIZE / (double)n) < best)
			best = at;
	}
	print_message("16 KiB take %.2f ms\n", best * 1e3);
	assert_true(best < 0.05);
	free(b.bytes);
}

/* -- replaced ------------------------------------------------------------------------------ */

/* clang-format off */
static const struct {
	const char *text, *before, *after;
} replaced[] = {
	{ "vbroadcastss zmm17, dword ptr [rax + 4*rcx + 64]", "62e27d48184c8810", "62e27d48584c8810" },
	{ "vbroadcastss zmm2, dword ptr fs:[rax]", "6462f27d481810", "6462f27d485810" },
	{ "vbroadcastsd zmm1 {k2} {z}, qword ptr [rip + 64]", "62f2fdca190d40000000", "62f2fdca590d40000000" },
	/* registers aren't loads, and shorter ones need AVX2 or have nothing to gain */
	{ "vbroadcastss zmm1, xmm2", "62f27d4818ca", NULL },
	{ "vbroadcastss ymm17, dword ptr [rax]", "62e27d281808", NULL },
	{ "vbroadcastss ymm1, dword ptr [rax]", "c4e27d1808", NULL },
	{ "vbroadcastf32x2 zmm1, qword ptr [rax]", "62f27d481908", NULL },
};
/* clang-format on */

static void test_replaced(void **state)
{
	uint64_t (*finish)(void *code, size_t size);
	isa_fn isa = decoder();

	(void)state;
	*(void **)&finish = function("kx86_finish");
	for (size_t i = 0; i < sizeof replaced / sizeof *replaced; i++) {
		const char *after = replaced[i].after ? replaced[i].after : replaced[i].before;
		uint8_t got[64], want[64];
		size_t n = unhex("0f58c1", got); /* addps */

		memcpy(want, got, n);
		unhex(after, want + n);
		n += unhex(replaced[i].before, got + n);
		assert_isa(finish(got, n), isa(got, n), replaced[i].text);
		assert_memory_equal(got, want, n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replaced),  cmocka_unit_test(test_instructions),
		cmocka_unit_test(test_sequences), cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_kernels),   cmocka_unit_test(test_fast),
	};

	return cmocka_run_group_tests_name("x86 isa", tests, NULL, NULL);
}
