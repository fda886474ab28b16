/* SPDX-License-Identifier: Apache-2.0 */
/* isa.c -- see isa.h. */
#include "isa.h"
#include "cpuid.h"

#include <stdio.h>
#include <string.h>

/* clang-format off */
const kbe_isa_info kbe_isas[KBE_NISA] = {
#define ISA(name, leaf, sub, reg, bit, xcr0, doc) { #name, doc, leaf, sub, bit, xcr0, reg },
#include "isa.def"
};
/* clang-format on */

#if defined(__x86_64__)

static bool has(const kbe_isa_info *i, unsigned saved)
{
	kbe_regs r;

	if (!i->reg || (saved & i->xcr0) != i->xcr0)
		return false;
	r = kbe_cpuid(i->leaf, i->sub);
	return (i->reg == 'a'   ? r.a
	        : i->reg == 'b' ? r.b
	        : i->reg == 'c' ? r.c
	                        : r.d) >>
	           i->bit &
	       1;
}

uint64_t kbe_host_isa(void)
{
	unsigned saved = kbe_saved_state();
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
