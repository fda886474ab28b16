/* SPDX-License-Identifier: Apache-2.0 */
/* emulator.c -- see emulator.h. Decoding is VEX map 0F38 only: opcodes 49, 4B, 5C and 5E. */
#include "emulator.h"

#include <cpuid.h>
#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { TILES = 8, ROWS = 16, ROW = 64 };

typedef struct tiles {
	bool configured;
	uint8_t config[64];
	uint8_t data[TILES][ROWS][ROW];
} tiles;

/* In the handler nothing may be allocated, so the registers are where the thread begins. */
static _Thread_local tiles mine __attribute__((tls_model("initial-exec")));
static _Atomic uint64_t count;
static bool emulating, has_tiles;
static struct sigaction before;
static unsigned config_offset; /* of the tile configuration in a signal's frame */

#define EXPORTED __attribute__((visibility("default")))

EXPORTED int kvjit_tiles_are_emulated(void)
{
	return emulating;
}

EXPORTED uint64_t amx_emulated(void)
{
	return count;
}

EXPORTED bool amx_configured(void)
{
	uint8_t config[64] = { 0 };

	if (!has_tiles)
		return mine.configured;
	__asm__ volatile(".byte 0xc4, 0xe2, 0x79, 0x49, 0x00" /* sttilecfg [rax] */
	                 :
	                 : "a"(config)
	                 : "memory");
	return config[0];
}

/* -- one instruction ----------------------------------------------------------------------- */

enum { NP, P66, PF3, PF2 }; /* VEX.pp */

typedef struct insn {
	uint8_t op, pp;
	unsigned reg, rm, vvvv;
	bool memory;
	uint64_t at, stride; /* memory: address; index << scale */
	unsigned length;
} insn;

/* General registers in the order of their numbers. */
static uint64_t general(const ucontext_t *u, unsigned n)
{
	static const int place[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
		                       REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
		                       REG_R12, REG_R13, REG_R14, REG_R15 };

	return (uint64_t)u->uc_mcontext.gregs[place[n]];
}

static int32_t read_s32(const uint8_t *p)
{
	int32_t x;

	memcpy(&x, p, 4);
	return x;
}

static void read_memory(const ucontext_t *u, const uint8_t *p, insn *i, unsigned x, unsigned b)
{
	unsigned mod = p[4] >> 6, rm = p[4] & 7, at = 5, base = rm | b << 3;
	bool no_base = mod == 0 && rm == 5, relative = no_base;

	if (rm == 4) {
		unsigned index = (p[5] >> 3 & 7) | x << 3;

		base = (p[5] & 7) | b << 3;
		no_base = mod == 0 && (p[5] & 7) == 5;
		if (index != 4)
			i->stride = general(u, index) << (p[5] >> 6);
		at = 6;
	}
	if (!no_base)
		i->at = general(u, base);
	if (mod == 1)
		i->at += (uint64_t)(int64_t)(int8_t)p[at++];
	if (mod == 2 || no_base) {
		i->at += (uint64_t)(int64_t)read_s32(p + at);
		at += 4;
	}
	i->length = at;
	if (relative)
		i->at += (uint64_t)(uintptr_t)p + at;
}

/* C4 RXBmmmmm WvvvvLpp opcode modrm; false for anything else. */
static bool decode(const ucontext_t *u, insn *i)
{
	const uint8_t *p = (const uint8_t *)(uintptr_t)u->uc_mcontext.gregs[REG_RIP];

	*i = (insn){ 0 };
	if (p[0] != 0xc4 || (p[1] & 31) != 2 || p[2] & 0x84)
		return false;
	unsigned x = !(p[1] & 0x40), b = !(p[1] & 0x20);

	i->op = p[3];
	i->pp = p[2] & 3;
	i->vvvv = ~p[2] >> 3 & 15;
	i->reg = p[4] >> 3 & 7;
	i->rm = p[4] & 7;
	i->memory = p[4] >> 6 != 3;
	i->length = 5;
	if (!(p[1] & 0x80) || i->vvvv >= TILES)
		return false; /* tile numbers above 7 */
	if (i->memory)
		read_memory(u, p, i, x, b);
	return true;
}

/* -- tiles --------------------------------------------------------------------------------- */

static unsigned rows_of(unsigned t)
{
	return mine.config[48 + t];
}

static unsigned bytes_of(unsigned t)
{
	return mine.config[16 + 2 * t] | (unsigned)mine.config[17 + 2 * t] << 8;
}

static bool usable(unsigned t)
{
	return mine.configured && rows_of(t) && bytes_of(t);
}

static bool configure(const uint8_t *c)
{
	if (c[0] > 1)
		return false;
	for (unsigned reserved = 2; reserved < 16; reserved++)
		if (c[reserved])
			return false;
	for (unsigned t = 0; t < 16; t++) {
		unsigned bytes = c[16 + 2 * t] | (unsigned)c[17 + 2 * t] << 8, rows = c[48 + t];

		if (bytes > ROW || rows > ROWS || !bytes != !rows || (t >= TILES && bytes))
			return false;
	}
	memset(&mine, 0, sizeof mine);
	if (!c[0])
		return true;
	memcpy(mine.config, c, 64);
	mine.configured = true;
	return true;
}

static bool move(const insn *i)
{
	uint8_t *memory = (uint8_t *)(uintptr_t)i->at;
	unsigned bytes = bytes_of(i->reg);
	static const uint8_t zero[ROW];

	if (!i->memory || i->rm != 4 || i->vvvv || !usable(i->reg) || i->pp == NP)
		return false;
	for (unsigned r = 0; r < ROWS; r++) {
		uint8_t *row = mine.data[i->reg][r], *at = memory + r * i->stride;

		if (i->pp == PF3) {
			if (r < rows_of(i->reg))
				memcpy(at, row, bytes);
			continue;
		}
		memcpy(row, zero, ROW);
		if (r < rows_of(i->reg))
			memcpy(row, at, bytes);
	}
	return true;
}

/* -- products ------------------------------------------------------------------------------ */

static float number(const void *p, size_t bytes)
{
	uint8_t b[4] = { 0 };
	float x;

	memcpy(b + 4 - bytes, p, bytes); /* bf16 is the upper half */
	memcpy(&x, b, 4);
	return fabsf(x) < FLT_MIN ? copysignf(0, x) : x;
}

static float settled(float x)
{
	return number(&x, 4);
}

static void add_bf16(uint8_t *acc, const uint8_t *a, const uint8_t (*b)[ROW], unsigned col,
                     unsigned depth)
{
	float even = 0, odd = 0, sum;

	for (unsigned k = 0; k < depth; k++) {
		const uint8_t *x = a + 4 * k, *y = b[k] + 4 * col;

		even = settled(fmaf(number(x, 2), number(y, 2), even));
		odd = settled(fmaf(number(x + 2, 2), number(y + 2, 2), odd));
	}
	sum = settled(number(acc, 4) + settled(even + odd));
	memcpy(acc, &sum, 4);
}

static void add_bytes(uint8_t *acc, const uint8_t *a, const uint8_t (*b)[ROW], unsigned col,
                      unsigned depth, uint8_t pp)
{
	bool sa = pp == PF2 || pp == PF3, sb = pp == PF2 || pp == P66;
	uint32_t sum;

	memcpy(&sum, acc, 4);
	for (unsigned k = 0; k < 4 * depth; k++) {
		int x = a[k], y = b[k / 4][4 * col + k % 4];

		sum += (uint32_t)((sa ? (int8_t)x : x) * (sb ? (int8_t)y : y));
	}
	memcpy(acc, &sum, 4);
}

static bool product(const insn *i)
{
	unsigned c = i->reg, a = i->rm, b = i->vvvv;
	const uint8_t(*right)[ROW] = (const uint8_t(*)[ROW])mine.data[b];

	if (i->memory || !usable(a) || !usable(b) || !usable(c) || a == b || a == c || b == c ||
	    rows_of(a) != rows_of(c) || bytes_of(b) != bytes_of(c) ||
	    bytes_of(a) != 4 * rows_of(b) || bytes_of(c) % 4 || (i->op == 0x5c && i->pp != PF3))
		return false;
	for (unsigned r = 0; r < rows_of(c); r++)
		for (unsigned j = 0; j < bytes_of(c) / 4; j++) {
			uint8_t *acc = mine.data[c][r] + 4 * j;

			if (i->op == 0x5c)
				add_bf16(acc, mine.data[a][r], right, j, rows_of(b));
			else
				add_bytes(acc, mine.data[a][r], right, j, rows_of(b), i->pp);
		}
	return true;
}

static bool control(const insn *i)
{
	uint8_t *memory = (uint8_t *)(uintptr_t)i->at;

	if (i->vvvv)
		return false;
	if (i->memory && i->pp == NP)
		return !i->reg && configure(memory);
	if (i->memory && i->pp == P66) {
		memcpy(memory, mine.config, 64); /* all 0 without a configuration */
		return !i->reg;
	}
	if (!i->memory && i->pp == NP && !i->reg && !i->rm) {
		memset(&mine, 0, sizeof mine);
		return true;
	}
	if (i->memory || i->pp != PF2 || i->rm || !usable(i->reg))
		return false;
	memset(mine.data[i->reg], 0, sizeof mine.data[0]);
	return true;
}

static bool execute(const insn *i)
{
	switch (i->op) {
	case 0x49: return control(i);
	case 0x4b: return move(i);
	case 0x5c:
	case 0x5e: return product(i);
	default: return false;
	}
}

/* A processor with tiles executes what configures them without permission, so that no ldtilecfg
 * or tilerelease faults; the configuration is in the frame of the signal. Tile data stays if
 * two configurations are equal. */
static void adopt(const ucontext_t *u)
{
	enum { SOFTWARE = 464, MAGIC = 0x46505853, STATES = 512, TILE_CONFIG = 17 };
	const uint8_t *frame = (const uint8_t *)u->uc_mcontext.fpregs;
	uint8_t config[64] = { 0 };
	uint64_t states = 0;
	uint32_t magic;

	memcpy(&magic, frame + SOFTWARE, sizeof magic);
	if (magic == MAGIC)
		memcpy(&states, frame + STATES, sizeof states);
	if (states >> TILE_CONFIG & 1)
		memcpy(config, frame + config_offset, sizeof config);
	if (memcmp(config, mine.config, sizeof config) != 0)
		configure(config);
}

/* -- the handler --------------------------------------------------------------------------- */

static void on_illegal(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	insn i;

	if (has_tiles)
		adopt(u);
	if (decode(u, &i) && execute(&i)) {
		u->uc_mcontext.gregs[REG_RIP] += i.length;
		count++;
		return;
	}
	if (before.sa_flags & SA_SIGINFO)
		before.sa_sigaction(sig, info, context);
	else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
		before.sa_handler(sig);
	else
		sigaction(sig, &before, NULL); /* it faults again, and ends the process */
}

/* Test frameworks catch SIGILL themselves: theirs comes after ours. Stands in for the C
 * library's, because this library is found first. */
EXPORTED sighandler_t signal(int sig, sighandler_t handler)
{
	struct sigaction s = { .sa_handler = handler, .sa_flags = SA_RESTART }, old;

	if (sig == SIGILL && emulating) {
		old = before;
		before = s;
	} else if (sigaction(sig, &s, &old)) {
		return SIG_ERR;
	}
	return old.sa_flags & SA_SIGINFO ? SIG_DFL : old.sa_handler;
}

static bool processor_has_tiles(void)
{
	unsigned a, b, c, d, lo, hi;

	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 24 & 1) ||
	    !__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1))
		return false;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	__get_cpuid_count(13, 17, &a, &config_offset, &c, &d);
	return (lo & 0x60000) == 0x60000;
}

__attribute__((constructor)) static void start(void)
{
	struct sigaction s = { .sa_sigaction = on_illegal,
		               .sa_flags = SA_SIGINFO | SA_NODEFER };
	const char *forced = getenv("KVJIT_EMULATE_AMX");

	has_tiles = processor_has_tiles();
	emulating = (forced && *forced == '1') || !has_tiles;
	if (emulating)
		sigaction(SIGILL, &s, &before);
}
