/* SPDX-License-Identifier: Apache-2.0 */
/* decode.c -- which extensions finished code executes.
 *
 * LLVM's disassembler gives each instruction's length and name; the encoding is read from the
 * bytes, since one name may be SSE, AVX or AVX-512; mnemonics.def says what that takes. The
 * options the code was compiled with aren't asked: code is judged by what it is.
 *
 * Code is decoded in order from its first byte. It holds no data (no-jump-tables; constants
 * lie behind `text`), and what fills gaps between sections is int3.
 */
#include "x86.h"

#include <llvm-c/Disassembler.h>
#include <llvm-c/Target.h>

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define UNKNOWN KBE_ISA(unknown)

/* -- the table --------------------------------------------------------------------------- */

typedef struct row {
	const char *name;
	uint64_t legacy, vex, vex256, evex;
} row;

#define N       UNKNOWN
#define B       0
#define X(name) KBE_ISA(name)
static row rows[] = {
#define M(name, legacy, vex, vex256, evex) { #name, legacy, vex, vex256, evex },
#define PLAIN(name)                        { #name, B, N, N, N },
#define INTEGER(name)                                                                \
	{ #name, B, N, N, N }, { #name "b", B, N, N, N }, { #name "w", B, N, N, N }, \
	    { #name "l", B, N, N, N }, { #name "q", B, N, N, N },
#define CONDITION(name)                                                                       \
	{ "j" #name, B, N, N, N }, { "set" #name, B, N, N, N }, { "cmov" #name, B, N, N, N }, \
	    { "cmov" #name "w", B, N, N, N }, { "cmov" #name "l", B, N, N, N },               \
	    { "cmov" #name "q", B, N, N, N },
#include "mnemonics.def"
};
#undef N
#undef B
#undef X

enum { NROWS = sizeof(rows) / sizeof(rows[0]) };

static int by_name(const void *a, const void *b)
{
	return strcmp(((const row *)a)->name, ((const row *)b)->name);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start(void)
{
	qsort(rows, NROWS, sizeof(rows[0]), by_name);
	LLVMInitializeX86TargetInfo();
	LLVMInitializeX86TargetMC();
	LLVMInitializeX86Disassembler();
}

static const row *find(const char *name)
{
	row key = { name, 0, 0, 0, 0 };

	return bsearch(&key, rows, NROWS, sizeof(rows[0]), by_name);
}

/* -- one instruction ---------------------------------------------------------------------- */

typedef enum encoding { LEGACY, VEX, EVEX } encoding;

static encoding encoding_of(const uint8_t *p, size_t n)
{
	static const uint8_t prefixes[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65,
		                            0x66, 0x67, 0xf0, 0xf2, 0xf3 };

	while (n && memchr(prefixes, *p, sizeof(prefixes)))
		p++, n--;
	if (n && *p == 0x62)
		return EVEX;
	return n && (*p == 0xc4 || *p == 0xc5) ? VEX : LEGACY;
}

static bool starts(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

static bool ends(const char *s, const char *with)
{
	size_t n = strlen(s), m = strlen(with);

	return n >= m && !strcmp(s + n - m, with);
}

/* Comparisons carry their condition inside the name: vcmpltps is vcmp, lt, ps. */
static uint64_t of_comparison(const char *name, encoding e, bool *known)
{
	const char *cmp = name + (*name == 'v');

	*known = true;
	if (e == EVEX && starts(name, "vpcmp"))
		return ends(name, "b") || ends(name, "w") ? KBE_ISA(avx512bw)
		                                          : KBE_ISA(avx512f);
	if (starts(cmp, "cmp") && (ends(cmp, "ph") || ends(cmp, "sh")))
		return e == EVEX ? KBE_ISA(avx512fp16) : UNKNOWN;
	if (starts(cmp, "cmp") &&
	    (ends(cmp, "ps") || ends(cmp, "pd") || ends(cmp, "ss") || ends(cmp, "sd")))
		return e == EVEX ? KBE_ISA(avx512f) : e == VEX ? KBE_ISA(avx) : 0;
	*known = false;
	return 0;
}

/* vfmadd231ps and its many relatives. */
static uint64_t of_fused(const char *name, encoding e, bool *known)
{
	*known = (starts(name, "vfm") || starts(name, "vfnm")) &&
	         (strstr(name, "132") || strstr(name, "213") || strstr(name, "231"));
	if (!*known)
		return 0;
	if (ends(name, "ph") || ends(name, "sh"))
		return e == EVEX ? KBE_ISA(avx512fp16) : UNKNOWN;
	return e == EVEX ? KBE_ISA(avx512f) : e == VEX ? KBE_ISA(fma) : UNKNOWN;
}

/* Instructions on one element, or on the low half of a vector: they have no vector length. */
static bool is_scalar(const char *name)
{
	static const char *const others[] = { "vmovd",     "vmovq",   "vmovlps",   "vmovhps",
		                              "vmovlpd",   "vmovhpd", "vmovhlps",  "vmovlhps",
		                              "vinsertps", "vmovw",   "vextractps" };

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (!strcmp(name, others[i]))
			return true;
	if (starts(name, "vpextr") || starts(name, "vpinsr") || starts(name, "vcvtsi2") ||
	    starts(name, "vcvtusi2") || ends(name, "2si") || ends(name, "2usi"))
		return true;
	/* broadcasts fill a vector with the scalar they are named for */
	return (ends(name, "ss") || ends(name, "sd") || ends(name, "sh")) &&
	       !starts(name, "vbroadcast");
}

static uint64_t of_row(const row *r, encoding e, const char *operands)
{
	bool ymm = strstr(operands, "%ymm"), memory = strchr(operands, '(');

	if (e == LEGACY)
		return r->legacy;
	if (e == EVEX)
		return r->evex;
	/* from a register these came with AVX2 only */
	if (starts(r->name, "vbroadcasts") && !memory)
		return KBE_ISA(avx2);
	return ymm ? r->vex256 : r->vex;
}

static uint64_t of_instruction(const char *name, const char *operands, encoding e)
{
	uint64_t set;
	const row *r;
	bool known;

	set = of_comparison(name, e, &known);
	if (!known)
		set = of_fused(name, e, &known);
	if (!known) {
		r = find(name);
		if (!r && *name == 'v' && e != LEGACY)
			r = find(name + 1);
		set = r ? of_row(r, e, operands) : UNKNOWN;
	}
	if (e == EVEX && !(set & UNKNOWN)) {
		set |= KBE_ISA(avx512f);
		if (!strstr(operands, "%zmm") && !is_scalar(name))
			set |= KBE_ISA(avx512vl);
	}
	return set;
}

/* "\tlock\t\taddl\t%eax, (%rdi)" into its name, prefixes left out, and operands. */
static const char *split(char *text, char **operands)
{
	static const char *const prefixes[] = { "lock", "rep", "repe", "repne", "notrack" };

	for (;;) {
		char *name = text + strspn(text, " \t"), *end = name + strcspn(name, " \t");
		bool prefix = false;

		*operands = end;
		if (*end) {
			*end = 0;
			*operands = end + 1;
		}
		for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
			prefix |= !strcmp(name, prefixes[i]);
		if (!prefix || !**operands)
			return name;
		text = *operands;
	}
}

uint64_t kx86_isa_of(const void *code, size_t size)
{
	uint8_t *p = (uint8_t *)code;
	LLVMDisasmContextRef d;
	uint64_t set = 0;

	pthread_once(&once, start);
	d = LLVMCreateDisasm("x86_64-unknown-linux-gnu", NULL, 0, NULL, NULL);
	if (!d)
		return UNKNOWN;
	while (size && !(set & UNKNOWN)) {
		char text[256], *operands;
		size_t n = LLVMDisasmInstruction(d, p, size, 0, text, sizeof(text));

		if (!n) {
			set |= UNKNOWN;
			break;
		}
		const char *name = split(text, &operands);

		set |= of_instruction(name, operands, encoding_of(p, n));
		p += n;
		size -= n;
	}
	LLVMDisasmDispose(d);
	return set;
}
