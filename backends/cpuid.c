/* SPDX-License-Identifier: Apache-2.0 */
/* cpuid.c -- see cpuid.h. */
#include "cpuid.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <stdlib.h>

#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
#include <sys/platform/x86.h>

static const struct {
	unsigned leaf, sub, index;
} kept[] = {
	{ 1, 0, CPUID_INDEX_1 },
	{ 7, 0, CPUID_INDEX_7 },
	{ 7, 1, CPUID_INDEX_7_ECX_1 },
	{ 0x80000001, 0, CPUID_INDEX_80000001 },
};

static int remembered(unsigned leaf, unsigned sub, kbe_regs *out)
{
	for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		const struct cpuid_feature *f;

		if (kept[i].leaf != leaf || kept[i].sub != sub)
			continue;
		f = __x86_get_cpuid_feature_leaf(kept[i].index);
		*out = (kbe_regs){ f->cpuid_array[0], f->cpuid_array[1], f->cpuid_array[2],
			           f->cpuid_array[3] };
		return 1;
	}
	return 0;
}

#else

static int remembered(unsigned leaf, unsigned sub, kbe_regs *out)
{
	(void)leaf;
	(void)sub;
	(void)out;
	return 0;
}

#endif

kbe_regs kbe_cpuid(unsigned leaf, unsigned sub)
{
	kbe_regs r = { 0, 0, 0, 0 };

	if (!remembered(leaf, sub, &r) && leaf <= __get_cpuid_max(leaf & 0x80000000, NULL))
		__cpuid_count(leaf, sub, r.a, r.b, r.c, r.d);
	return r;
}

unsigned kbe_saved_state(void)
{
	unsigned lo, hi;

	if (!(kbe_cpuid(1, 0).c >> 27 & 1)) /* OSXSAVE */
		return 0;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	(void)hi;
	return lo;
}

#endif
