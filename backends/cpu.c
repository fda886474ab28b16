/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.c -- what this machine is. Asks the processor and, through XCR0, the system that must
 * save its registers; never the model number. On other architectures: generic.
 */
#include "backend.h"

#if defined(__x86_64__)

#include "cpuid.h"

#include <unistd.h>

static bool bit(unsigned word, unsigned n)
{
	return word >> n & 1;
}

static unsigned tile_features(void)
{
	unsigned d = kbe_cpuid(7, 0).d, has = KIR_HAS_amx_tile;

	switch (kbe_host_tiles()) {
	case KBE_TILES_EMULATED: return has | KIR_HAS_amx_bf16 | KIR_HAS_amx_int8;
	case KBE_TILES_READY: break;
	default: return 0;
	}
	if (bit(d, 22))
		has |= KIR_HAS_amx_bf16;
	if (bit(d, 25))
		has |= KIR_HAS_amx_int8;
	return has;
}

/* Under a system that saves so much: everything that code for a feature may use has to be
 * there, see feature_text in x86/x86.c. */
static unsigned features_under(unsigned saved)
{
	kbe_regs one = kbe_cpuid(1, 0), seven = kbe_cpuid(7, 0), more = kbe_cpuid(7, 1);
	unsigned has = 0;
	bool ymm = (saved & 0x6) == 0x6, zmm = (saved & 0xe6) == 0xe6;

	if (ymm && bit(one.c, 12) && bit(one.c, 23) && bit(one.c, 28) && bit(one.c, 29) &&
	    bit(seven.b, 3) && bit(seven.b, 5) && bit(seven.b, 8))
		has |= KIR_HAS_avx2;
	if (!has || !zmm || !bit(seven.b, 16) || !bit(seven.b, 17) || !bit(seven.b, 30) ||
	    !bit(seven.b, 31))
		return has;
	has |= KIR_HAS_avx512;
	if (bit(seven.c, 1))
		has |= KIR_HAS_vbmi;
	if (bit(seven.c, 11))
		has |= KIR_HAS_vnni;
	if (bit(more.a, 5))
		has |= KIR_HAS_bf16;
	if (bit(seven.d, 23))
		has |= KIR_HAS_fp16;
	return has | tile_features();
}

static unsigned features(void)
{
	return features_under(kbe_saved_state());
}

static bool runs_anything(void)
{
	return bit(kbe_cpuid(1, 0).c, 19); /* SSE4.1, which generic code uses for rounding */
}

/* Data and unified caches of level 1 and 2; AMD has the same leaf at another number. */
static void ask_caches(kir_target *t)
{
	bool amd = kbe_cpuid(0x80000000, 0).a >= 0x8000001d && kbe_cpuid(0x8000001d, 0).a & 31;

	for (unsigned i = 0; i < 8; i++) {
		kbe_regs r = kbe_cpuid(amd ? 0x8000001d : 4, i);
		unsigned type = r.a & 31, level = r.a >> 5 & 7;
		unsigned bytes = ((r.b >> 22) + 1) * ((r.b >> 12 & 0x3ff) + 1) *
		                 ((r.b & 0xfff) + 1) * (r.c + 1);

		if (!type)
			break;
		if (type != 2 && level == 1)
			t->l1_bytes = bytes;
		if (type != 2 && level == 2)
			t->l2_bytes = bytes;
	}
}

/* The C library knows them since the process started; a libc that doesn't says 0 or less. */
static void caches(kir_target *t)
{
	long l1 = sysconf(_SC_LEVEL1_DCACHE_SIZE), l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);

	if (l1 > 0 && l2 > 0) {
		t->l1_bytes = (unsigned)l1;
		t->l2_bytes = (unsigned)l2;
	} else {
		ask_caches(t);
	}
}

#else

static unsigned features(void)
{
	return 0;
}

static bool runs_anything(void)
{
	return true;
}

static void caches(kir_target *t)
{
	(void)t;
}

#endif

void kbe_host(kir_target *out)
{
	unsigned has = features();

	for (unsigned i = 0; i < kir_ntargets; i++)
		if (!(kir_targets[i].features & ~has))
			*out = kir_targets[i]; /* rows go from plain to rich */
	out->features = has;
	caches(out);
}

bool kbe_host_runs(const kir_target *t)
{
	return runs_anything() && !(t->features & ~features());
}
