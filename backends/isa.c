/* SPDX-License-Identifier: Apache-2.0 */
/* isa.c -- see isa.h. */
#include "isa.h"

#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* clang-format off */
const kbe_isa_info kbe_isas[KBE_NISA] = {
#define ISA(name, leaf, sub, reg, bit, xcr0, doc) { #name, doc, leaf, sub, bit, xcr0, reg },
#include "isa.def"
};
/* clang-format on */

#if defined(__x86_64__)

/* Registers the system saves. */
static unsigned saved_state(void)
{
	unsigned a, b, c, d, lo, hi;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	(void)hi;
	return lo;
}

static bool has(const kbe_isa_info *i, unsigned saved)
{
	unsigned r[4] = { 0, 0, 0, 0 };

	if (!i->reg || (saved & i->xcr0) != i->xcr0)
		return false;
	if (!__get_cpuid_count(i->leaf, i->sub, &r[0], &r[1], &r[2], &r[3]))
		return false;
	return r[i->reg - 'a'] >> i->bit & 1;
}

uint64_t kbe_host_isa(void)
{
	unsigned saved = saved_state();
	uint64_t set = 0;

	for (unsigned i = 0; i < KBE_NISA; i++)
		if (has(&kbe_isas[i], saved))
			set |= UINT64_C(1) << i;
	return set;
}

#else

uint64_t kbe_host_isa(void)
{
	return 0;
}

#endif

bool kbe_isa_runs(uint64_t code, uint64_t host)
{
	return !(code & ~host) && !(code & KBE_ISA(unknown));
}

void kbe_isa_text(uint64_t set, char *out, size_t len)
{
	size_t at = 0;

	out[0] = 0;
	for (unsigned i = 0; i < KBE_NISA; i++)
		if (set >> i & 1 && at < len)
			at += (size_t)snprintf(out + at, len - at, "%s%s", at ? " " : "",
			                       kbe_isas[i].name);
}

bool kbe_isa_parse(const char *text, uint64_t *out)
{
	uint64_t set = 0;

	for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
		size_t len = strcspn(text, " ");
		unsigned i = 0;

		while (i < KBE_NISA &&
		       (strlen(kbe_isas[i].name) != len || memcmp(kbe_isas[i].name, text, len)))
			i++;
		if (i == KBE_NISA)
			return false;
		set |= UINT64_C(1) << i;
		text += len;
	}
	*out = set;
	return true;
}
