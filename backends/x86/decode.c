/* SPDX-License-Identifier: Apache-2.0 */
/* decode.c -- which extensions a finished piece of code executes.
 *
 * LLVM's disassembler gives each instruction's length and name, the bytes say how it is
 * encoded, and mnemonics.def what both together need. What a set of code was compiled for
 * plays no part. An instruction without a row, and bytes that are no instruction, are
 * `unknown`: such code is never kept in a cache, so a gap in the table costs time, never a
 * wrong answer on another machine.
 *
 * On the way some are replaced by others that do the same (broadcasts below).
 *
 * Code is read from its first byte to its last: jump tables are switched off and constants
 * lie behind it, so that there is nothing else in between than int3.
 */
#include "x86.h"

#include <llvm-c/Disassembler.h>

#include <pthread.h>
#include <string.h>

#define NO   KBE_ISA(unknown)
#define BASE UINT64_C(0)
#define I(n) KBE_ISA(n)
#define AVX  KBE_ISA(avx)
#define AVX2 (KBE_ISA(avx) | KBE_ISA(avx2))
#define INT  (KBE_ISA(avx) | WIDER)
#define F    KBE_ISA(avx512f)
#define DQ   (KBE_ISA(avx512f) | KBE_ISA(avx512dq))
#define BW   (KBE_ISA(avx512f) | KBE_ISA(avx512bw))
#define H    (KBE_ISA(avx512f) | KBE_ISA(avx512fp16))

/* Marks of a column, outside of what isa.def has. */
#define WIDER (UINT64_C(1) << 62) /* 256 bits need AVX2 */
#define ONE   (UINT64_C(1) << 63) /* the vector length says nothing */

_Static_assert(KBE_NISA < 62, "two bits are marks");

/* -- the table ----------------------------------------------------------------------------- */

enum { LEGACY, VEX, EVEX, NFORM };

typedef struct group {
	uint64_t needs[NFORM];
	const char *words;
} group;

/* clang-format off */
static const group groups[] = {
#define GROUP(legacy, vex, evex, words) { { legacy, vex, evex }, words },
#include "mnemonics.def"
};
/* clang-format on */

enum { SLOTS = 4096, NGROUPS = sizeof(groups) / sizeof(*groups), MAX_ANY = 32 };

typedef struct word {
	const char *s; /* NULL: a free slot */
	size_t n;
	const group *group;
} word;

static word table[SLOTS], any[MAX_ANY];
static unsigned nany;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static unsigned slot_of(const char *s, size_t n)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)s[i]) * 16777619u;
	return (h ^ h >> 15) % SLOTS;
}

/* The slot of a word, or the free one where it would be. */
static word *find(const char *s, size_t n)
{
	unsigned i = slot_of(s, n);

	while (table[i].s && (table[i].n != n || memcmp(table[i].s, s, n)))
		i = (i + 1) % SLOTS;
	return &table[i];
}

static void fill(void)
{
	for (size_t g = 0; g < NGROUPS; g++) {
		const char *s = groups[g].words;

		for (size_t n; *s; s += n, s += strspn(s, " ")) {
			n = strcspn(s, " ");
			word w = { s, n, &groups[g] };

			if (!memchr(s, '*', n))
				*find(s, n) = w;
			else if (nany < MAX_ANY)
				any[nany++] = w;
		}
	}
}

static bool fits(const word *w, const char *s, size_t n)
{
	const char *star = memchr(w->s, '*', w->n);
	size_t head = (size_t)(star - w->s), tail = w->n - head - 1;

	return n >= head + tail && !memcmp(s, w->s, head) &&
	       !memcmp(s + n - tail, star + 1, tail);
}

static const group *group_of(const char *s, size_t n)
{
	const word *w = find(s, n);

	if (w->s)
		return w->group;
	for (unsigned i = 0; i < nany; i++)
		if (fits(&any[i], s, n))
			return any[i].group;
	return NULL;
}

/* -- encodings ----------------------------------------------------------------------------- */

enum { EVEX_OPCODE = 4 }; /* where it is */

/* What the bytes of an instruction say. */
typedef struct encoding {
	int form, map, pp; /* map 1: 0F, 2: 0F38, 3: 0F3A; 0: none */
	unsigned bits;     /* 128, 256 or 512 of a vector          */
	uint8_t op;
	bool registers; /* modrm names registers only           */
	bool newer;     /* a later extension's registers        */
} encoding;

static size_t skip_prefixes(const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n && memchr("\x66\x67\xf2\xf3\xf0\x2e\x36\x3e\x26\x64\x65", p[i], 11))
		i++;
	return i;
}

static encoding read_vex(const uint8_t *p, size_t n)
{
	size_t op = *p == 0xc4 ? 3 : 2;
	encoding e = { .form = VEX, .map = 1 };

	if (n < op + 1)
		return (encoding){ .newer = true };
	if (*p == 0xc4)
		e.map = p[1] & 31;
	e.pp = p[op - 1] & 3;
	e.bits = p[op - 1] >> 2 & 1 ? 256 : 128;
	e.op = p[op];
	e.registers = op + 1 < n && p[op + 1] >> 6 == 3;
	return e;
}

/* The bits that APX gave a meaning to, and AVX10.2 one of them, are fixed before it. */
static encoding read_evex(const uint8_t *p, size_t n)
{
	encoding e = { .form = EVEX };

	if (n < 6)
		return (encoding){ .newer = true };
	e.map = p[1] & 7;
	e.pp = p[2] & 3;
	e.bits = 128u << (p[3] >> 5 & 3);
	e.op = p[EVEX_OPCODE];
	e.registers = p[5] >> 6 == 3;
	e.newer = (p[1] & 8) || !(p[2] & 4);
	if (e.registers && p[3] >> 4 & 1) /* those bits hold the rounding instead */
		e.bits = 512;
	return e;
}

static encoding read_legacy(const uint8_t *p, size_t n)
{
	encoding e = { .form = LEGACY };
	size_t i = (*p & 0xf0) == 0x40;

	if (i + 1 < n && p[i] == 0x0f)
		e.map = p[i + 1] == 0x38 ? 2 : p[i + 1] == 0x3a ? 3 : 1;
	return e;
}

static encoding encoding_of(const uint8_t *p, size_t n)
{
	size_t i = skip_prefixes(p, n);

	if (i == n || p[i] == 0xd5) /* d5: APX */
		return (encoding){ .newer = true };
	if (p[i] == 0xc4 || p[i] == 0xc5)
		return read_vex(p + i, n - i);
	if (p[i] == 0x62)
		return read_evex(p + i, n - i);
	return read_legacy(p + i, n - i);
}

/* -- instructions -------------------------------------------------------------------------- */

static bool is(const char *s, size_t n, const char *name)
{
	return strlen(name) == n && !memcmp(s, name, n);
}

/* Where one name has several encodings that came at different times. */
static uint64_t special(const char *s, size_t n, const encoding *e)
{
	if (is(s, n, "pextrw") && e->form == LEGACY && e->map == 3)
		return KBE_ISA(sse4_1); /* to memory */
	if (e->form == VEX && e->registers &&
	    (is(s, n, "vbroadcastss") || is(s, n, "vbroadcastsd")))
		return KBE_ISA(avx2);
	if (e->form == EVEX && is(s, n, "vmovd") && (e->pp != 1 || e->op == 0xd6))
		return KBE_ISA(unknown); /* AVX10.2 */
	if (e->form == EVEX && is(s, n, "vmovw") && e->pp != 1)
		return KBE_ISA(unknown);
	return 0;
}

static uint64_t needs(const char *s, size_t n, const encoding *e)
{
	const group *g = e->newer ? NULL : group_of(s, n);
	uint64_t set;

	if (!g)
		return KBE_ISA(unknown);
	set = g->needs[e->form] | special(s, n, e);
	if (set & WIDER && e->bits == 256)
		set |= KBE_ISA(avx2);
	if (e->form == EVEX && !(set & ONE) && e->bits < 512)
		set |= KBE_ISA(avx512vl);
	return set & ~(WIDER | ONE);
}

/* The name in what LLVM prints: "\tlock\t\tinc\tdword ptr [rax]". */
static const char *name_in(const char *text, size_t *n)
{
	static const char *const prefix[] = { "lock",    "rep",    "repe", "repne",
		                              "notrack", "data16", "cs" };
	bool again;

	do {
		text += strspn(text, " \t");
		*n = strcspn(text, " \t");
		again = *text == '{'; /* {evex} and the like say what the bytes do */
		for (size_t i = 0; i < sizeof(prefix) / sizeof(*prefix); i++)
			again |= is(text, *n, prefix[i]);
		if (again)
			text += *n;
	} while (again);
	return text;
}

/* Broadcasts of 4 and 8 bytes of memory to 512 bits: vpbroadcastd and q are loads on Zen 4,
 * vbroadcastss and sd take a shuffle besides, which the products they feed are short of (8-bit
 * floats by bf16, 12.2 cycles for 8 products, 9.9 with the former). They do the same, need the
 * same, and differ in one bit of the opcode; LLVM takes the latter for operands of floats and
 * has no switch for it. */
static bool broadcasts(const char *s, size_t n, const encoding *e)
{
	return e->form == EVEX && e->bits == 512 && !e->registers &&
	       (is(s, n, "vbroadcastss") || is(s, n, "vbroadcastsd"));
}

/* The walk over code; out: the same code, where loads replace broadcasts, or NULL. */
static uint64_t isa_of(LLVMDisasmContextRef d, const uint8_t *p, size_t size, uint8_t *out)
{
	uint64_t set = 0;

	for (size_t at = 0, n; at < size; at += n) {
		char text[256];
		size_t len;

		n = LLVMDisasmInstruction(d, (uint8_t *)(uintptr_t)(p + at), size - at, at,
		                          text, sizeof(text));
		if (!n)
			return KBE_ISA(unknown);
		if (n == 1 && p[at] == 0xf0) /* lock: LLVM gives what it locks by itself */
			continue;
		encoding e = encoding_of(p + at, n);
		const char *name = name_in(text, &len);

		if (out && broadcasts(name, len, &e))
			out[at + skip_prefixes(p + at, n) + EVEX_OPCODE] |= 0x40;
		set |= needs(name, len, &e);
		if (set & KBE_ISA(unknown))
			return KBE_ISA(unknown);
	}
	return set;
}

static uint64_t walk(const void *code, size_t size, void *out)
{
	LLVMDisasmContextRef d;
	uint64_t set;

	kx86_start();
	pthread_once(&once, fill);
	d = LLVMCreateDisasm("x86_64-unknown-linux-gnu", NULL, 0, NULL, NULL);
	if (!d)
		return KBE_ISA(unknown);
	LLVMSetDisasmOptions(d, LLVMDisassembler_Option_AsmPrinterVariant);
	set = isa_of(d, code, size, out);
	LLVMDisasmDispose(d);
	return set;
}

uint64_t kx86_isa(const void *code, size_t size)
{
	return walk(code, size, NULL);
}

uint64_t kx86_finish(void *code, size_t size)
{
	return walk(code, size, code);
}
