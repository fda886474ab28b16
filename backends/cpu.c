/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.c -- what this machine is. Asks the processor and, through XCR0, the system that must
 * save its registers; never the model number. On other architectures: generic.
 */
#include "backend.h"

#if defined(__x86_64__)

#include <cpuid.h>

typedef struct regs {
	unsigned a, b, c, d;
} regs;

static regs cpuid(unsigned leaf, unsigned sub)
{
	regs r = { 0, 0, 0, 0 };

	if (leaf <= __get_cpuid_max(leaf & 0x80000000, NULL))
		__cpuid_count(leaf, sub, r.a, r.b, r.c, r.d);
	return r;
}

static bool bit(unsigned word, unsigned n)
{
	return word >> n & 1;
}

/* Registers the system saves: bits of XCR0. */
static unsigned saved_state(void)
{
	unsigned lo, hi;

	if (!bit(cpuid(1, 0).c, 27)) /* OSXSAVE */
		return 0;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	(void)hi;
	return lo;
}

/* Everything that code for a feature may use has to be there: see feature_text in
 * x86/x86.c. */
static unsigned features(void)
{
	regs one = cpuid(1, 0), seven = cpuid(7, 0), more = cpuid(7, 1);
	unsigned saved = saved_state(), has = 0;
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
	return has;
}

static bool runs_anything(void)
{
	return bit(cpuid(1, 0).c, 19); /* SSE4.1, which generic code uses for rounding */
}

/* Data and unified caches of level 1 and 2; AMD has the same leaf at another number. */
static void caches(kir_target *t)
{
	bool amd = cpuid(0x80000000, 0).a >= 0x8000001d && cpuid(0x8000001d, 0).a & 31;

	for (unsigned i = 0; i < 8; i++) {
		regs r = cpuid(amd ? 0x8000001d : 4, i);
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
