/* SPDX-License-Identifier: Apache-2.0 */
/* isa.c -- see isa.h. */
#include "isa.h"
#include "cpuid.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* clang-format off */
const kbe_isa_info kbe_isas[KBE_NISA] = {
#define ISA(name, leaf, sub, reg, bit, xcr0, doc) { #name, doc, leaf, sub, bit, xcr0, reg },
#include "isa.def"
};
/* clang-format on */

#if defined(__x86_64__)

#define TILE_STATE 0x60000u /* of XCR0: configuration and data */

/* A test library that executes tile instructions where they fault says so by this name; nobody
 * else has it. */
__attribute__((weak, visibility("default"))) int kvjit_tiles_are_emulated(void);

static kbe_tiles tiles;
static pthread_once_t tiles_once = PTHREAD_ONCE_INIT;

static void ask_for_tiles(void)
{
	enum { REQUEST = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM */

	if (kvjit_tiles_are_emulated && kvjit_tiles_are_emulated())
		tiles = KBE_TILES_EMULATED;
	else if (!(kbe_cpuid(7, 0).d >> 24 & 1))
		tiles = KBE_TILES_ABSENT;
	else if ((kbe_saved_state() & TILE_STATE) != TILE_STATE)
		tiles = KBE_TILES_MASKED;
	else
		tiles = syscall(SYS_arch_prctl, REQUEST, TILE_DATA) ? KBE_TILES_REFUSED
		                                                    : KBE_TILES_READY;
}

kbe_tiles kbe_host_tiles(void)
{
	pthread_once(&tiles_once, ask_for_tiles);
	return tiles;
}

static bool has(const kbe_isa_info *i, unsigned saved)
{
	kbe_regs r;

	if (i->reg && i->xcr0 == TILE_STATE && kbe_host_tiles() != KBE_TILES_READY)
		return kbe_host_tiles() == KBE_TILES_EMULATED &&
		       i != &kbe_isas[KBE_ISA_ROW_amx_fp16];
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

kbe_tiles kbe_host_tiles(void)
{
	return KBE_TILES_ABSENT;
}

uint64_t kbe_host_isa(void)
{
	return 0;
}

#endif

const char *kbe_tiles_text(kbe_tiles t)
{
	switch (t) {
	case KBE_TILES_ABSENT: return "none: not in CPUID";
	case KBE_TILES_MASKED: return "none: the processor has them, the system masks them";
	case KBE_TILES_REFUSED:
		return "none: the system doesn't give them to this process (arch_prctl)";
	case KBE_TILES_EMULATED: return "emulated, for tests";
	default: return "AMX";
	}
}

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
