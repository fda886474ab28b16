/* SPDX-License-Identifier: Apache-2.0 */
/* test_x86_run.c -- programs through the x86 backend against the interpreter. */
#include "x86.h"
#include "../backends/ref/ref.h"

/* -- against the interpreter ------------------------------------------------------------ */

typedef void (*two_fn)(const void *x, const void *z, void *y, int64_t n, int64_t phase,
                       int64_t b, int64_t e);

typedef struct program {
	const char *x, *z, *y; /* element types                                   */
	unsigned lanes;
	const char *body; /* from %v and %w to %r, with lanes of y               */
	unsigned need;
} program;

enum { WORDS = 64 * 16 };

/* Bytes of two inputs and room for an output. */
typedef struct data {
	uint32_t x[WORDS], z[WORDS], y[WORDS], want[WORDS];
} data;

static uint32_t next_random(uint64_t *s)
{
	*s = *s * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*s >> 33) ^ (uint32_t)(*s >> 7);
}

/* Floats of all sizes and the odd ones; integers of any value. */
static void fill(uint32_t *x, kir_elem e, uint64_t seed)
{
	static const float odd[] = { 0, -0.0f, INFINITY, -INFINITY, NAN, 1, -1, 1e-42f };
	unsigned b = kir_elem_bytes(e);

	for (size_t i = 0; i < WORDS * 4 / b; i++) {
		uint32_t r = next_random(&seed);
		double f = ldexp((int32_t)r, (int)(r % 41) - 50);
		uint64_t c = r | (uint64_t)next_random(&seed) << 32;

		if (r % 13 == 0)
			f = odd[r / 13 % 8];
		if (kir_is_float(e))
			c = kir_encode(e, f, 0, 0, KIR_OVER_inf);
		if (e == KIR_i1)
			c = r & 1;
		memcpy((char *)x + i * b, &c, b);
	}
}

static void interpret(const kir_func *f, data *d, int64_t n)
{
	kref_arg arg[4] = { { .base = d->x, .bytes = sizeof d->x },
		            { .base = d->z, .bytes = sizeof d->z },
		            { .base = d->want, .bytes = sizeof d->want },
		            { .i = n } };
	kir_diag why = { 0 };
	char msg[1000];

	if (!kref_run(f, arg, KREF_ROUND, NULL, &why))
		fail_msg("%s", kir_diag_text(&why, msg, sizeof msg));
}

/* Runs text, a function of (%x, %z, %y, %n), compiled and interpreted; y has elements e. */
static void compare_text(const char *text, unsigned nphase, data *d, int64_t n, kir_elem e)
{
	code c = build(text);
	unsigned b = kir_elem_bytes(e);
	two_fn fn;

	*(void **)&fn = c.entry;
	memset(d->y, 0, sizeof d->y);
	memset(d->want, 0, sizeof d->want);
	for (unsigned p = 0; p < nphase; p++) {
		fn(d->x, d->z, d->y, n, p, 0, n / 2);
		fn(d->x, d->z, d->y, n, p, n / 2, n);
	}
	interpret(c.m->func[c.m->nfunc - 1], d, n);
	for (size_t i = 0; i < WORDS * 4 / b; i++) {
		uint64_t got = get(d->y, b, i), want = get(d->want, b, i);
		bool nan =
		    kir_is_float(e) && isnan(kir_decode(e, got)) && isnan(kir_decode(e, want));

		if (got != want && !nan)
			fail_msg("element %zu is %llx, not %llx:\n%s", i,
			         (unsigned long long)got, (unsigned long long)want, text);
	}
	drop(&c);
}

static kir_elem elem_named(const char *name)
{
	for (unsigned e = 1; e < KIR_NELEM; e++)
		if (!strcmp(kir_elems[e].name, name))
			return (kir_elem)e;
	fail_msg("no element %s", name);
	return KIR_VOID;
}

static void run_programs(const program *p, size_t n)
{
	data *d = malloc(sizeof *d);
	char text[4000];

	for (size_t k = 0; k < n; k++) {
		kir_elem y = elem_named(p[k].y);
		unsigned i = 0;

		fill(d->x, elem_named(p[k].x), k);
		fill(d->z, elem_named(p[k].z), k + 1000);
		for (const kir_target *t; (t = runnable(&i));) {
			if ((t->features & p[k].need) != p[k].need)
				continue;
			snprintf(text, sizeof text,
			         "func @f(%%x: in %s[?], %%z: in %s[?], %%y: out %s[?], %%n: "
			         "s64) level=V target=%s {\nfor %%i = 0 to %%n par {\n"
			         "%%o = mul %%i, %u : s64\n"
			         "%%v = vload %%x[%%o] : %s<%u>\n"
			         "%%w = vload %%z[%%o] : %s<%u>\n"
			         "%s\nvstore %%r, %%y[%%o]\nyield\n}\nret\n}\n",
			         p[k].x, p[k].z, p[k].y, t->name, p[k].lanes, p[k].x,
			         p[k].lanes, p[k].z, p[k].lanes, p[k].body);
			compare_text(text, 1, d, 8, y);
		}
	}
	free(d);
}

#define F(op)                                                              \
	{                                                                  \
		"f32", "f32", "f32", 16, "%r = " op " %v, %w : f32<16>", 0 \
	}
#define F1(op)                                                         \
	{                                                              \
		"f32", "f32", "f32", 16, "%r = " op " %v : f32<16>", 0 \
	}
#define B(op)                                                                  \
	{                                                                      \
		"bf16", "bf16", "bf16", 32, "%r = " op " %v, %w : bf16<32>", 0 \
	}
#define H(op)                                                              \
	{                                                                  \
		"f16", "f16", "f16", 32, "%r = " op " %v, %w : f16<32>", 0 \
	}
#define I(op)                                                              \
	{                                                                  \
		"s32", "s32", "s32", 16, "%r = " op " %v, %w : s32<16>", 0 \
	}
#define U(op)                                                          \
	{                                                              \
		"u8", "u8", "u8", 64, "%r = " op " %v, %w : u8<64>", 0 \
	}
#define CMP(t, n, op)                                                                          \
	{                                                                                      \
		t, t, t, n,                                                                    \
		    "%c = " op " %v, %w : i1<" #n ">\n%r = select %c, %v, %w : " t "<" #n ">", \
		    0                                                                          \
	}
#define REDUCE(t, n, op)                                                                      \
	{                                                                                     \
		t, t, t, n, "%s = reduce." op " %v : " t "\n%r = splat %s : " t "<" #n ">", 0 \
	}

static void test_each(void **state)
{
	static const program p[] = {
		F("add"),
		F("sub"),
		F("mul"),
		F("div"),
		F("min"),
		F("max"),
		F1("neg"),
		F1("abs"),
		F1("floor"),
		F1("sqrt"),
		{ "f32", "f32", "f32", 16, "%r = fma %v, %w, 1.5 : f32<16>", 0 },
		{ "f32", "f32", "f32", 16, "%r = fma %v, %w, %v : f32<16>", 0 },
		{ "f32", "f32", "f32", 16, "%r = max %v, -3 : f32<16>", 0 },
		{ "f32", "f32", "f32", 16, "%s = load %z[3] : f32\n%r = mul %v, %s : f32<16>",
		  0 },
		B("add"),
		B("mul"),
		B("div"),
		B("max"),
		H("add"),
		H("mul"),
		H("div"),
		H("min"),
		I("add"),
		I("sub"),
		I("mul"),
		I("min"),
		I("max"),
		I("and"),
		I("or"),
		I("xor"),
		U("add"),
		U("sub"),
		U("mul"),
		U("min"),
		U("max"),
		U("xor"),
		CMP("f32", 16, "lt"),
		CMP("f32", 16, "le"),
		CMP("f32", 16, "gt"),
		CMP("f32", 16, "ge"),
		CMP("f32", 16, "eq"),
		CMP("f32", 16, "ne"),
		CMP("s32", 16, "lt"),
		CMP("u8", 64, "lt"),
		CMP("bf16", 32, "ge"),
		CMP("u16", 32, "ge"),
		CMP("s8", 64, "gt"),
		REDUCE("f32", 16, "max"),
		REDUCE("f32", 32, "min"),
		REDUCE("f32", 16, "amax"),
		REDUCE("s32", 16, "add"),
		REDUCE("s8", 64, "max"),
		REDUCE("u8", 64, "min"),
		REDUCE("bf16", 32, "amax"),
		REDUCE("s32", 5, "add"),
		REDUCE("f32", 7, "max"),
		{ "s32", "s32", "s32", 16, "%r = fdiv %v, 7 : s32<16>", 0 },
		{ "s32", "s32", "s32", 16, "%r = mod %v, 7 : s32<16>", 0 },
		{ "s32", "s32", "s32", 16, "%r = fdiv %v, 8 : s32<16>", 0 },
		{ "s32", "s32", "s32", 16, "%r = mod %v, 8 : s32<16>", 0 },
		{ "s32", "s32", "s32", 16, "%r = shl %v, 5 : s32<16>", 0 },
		{ "s32", "s32", "s32", 16, "%r = shr %v, 5 : s32<16>", 0 },
		{ "u16", "u16", "u16", 32, "%r = shr %v, 5 : u16<32>", 0 },
		{ "s32", "s32", "s32", 16, "%i2 = iota : s32<16>\n%r = add %i2, %v : s32<16>",
		  0 },
		{ "f32", "f32", "f32", 16,
		  "%i2 = iota : s32<16>\n%c = lt %i2, 5 : i1<16>\n"
		  "%r = select %c, %v, -inf : f32<16>",
		  0 },
	};

	(void)state;
	run_programs(p, sizeof p / sizeof *p);
}

/* What no kernel of the passes has on the machines that tests run on, but a text may. */
static void test_seldom(void **state)
{
	static const program p[] = {
		H("sub"),
		{ "f16", "f16", "f16", 32, "%r = neg %v : f16<32>", 0 },
		{ "bf16", "bf16", "bf16", 32, "%r = abs %v : bf16<32>", 0 },
		{ "s8", "s8", "s8", 64,
		  "%a = and %v, 7 : s8<64>\n%r = fixed %a : s8<64> {shift=4}", 0 },
		{ "e2m1", "e2m1", "s8", 64, "%r = fixed %v : s8<64> {shift=1}", 0 },
		{ "e2m1", "e2m1", "s8", 8, "%r = fixed %v : s8<8> {shift=2}", 0 },
		/* the products are exact, so that the result is rounded once */
		{ "f32", "f32", "f32", 16,
		  "%a = convert %v : f64<16>\n%b = convert %w : f64<16>\n"
		  "%c = mul %a, %b : f64<16>\n%r = convert %c : f32<16>",
		  0 },
		{ "s32", "s32", "f32", 16,
		  "%a = convert %v : f64<16>\n%b = mul %a, 0.5 : f64<16>\n"
		  "%r = convert %b : f32<16>",
		  0 },
		{ "u16", "u16", "f32", 16,
		  "%a = convert %v : f64<16>\n%r = convert %a : f32<16>", 0 },
		{ "s32", "s32", "s32", 16,
		  "%a = convert %v : f64<16>\n%b = mul %a, 0.25 : f64<16>\n"
		  "%r = convert %b : s32<16> {round=away}",
		  0 },
		{ "f32", "f32", "s64", 8, "%r = convert %v : s64<8> {nan=max}", 0 },
		{ "f32", "f32", "s64", 8, "%r = convert %v : s64<8>", 0 },
		/* every other product lies halfway between two results, and the sum a little
		 * beyond: rounded to f32 first, it would be that half */
		{ "bf16", "bf16", "bf16", 32, "%r = fma %v, 1.5, 1e-30 : bf16<32>", 0 },
		{ "bf16", "bf16", "bf16", 32, "%r = fma %v, %w, %v : bf16<32>", 0 },
		{ "f16", "f16", "f16", 32, "%r = fma %v, 1.5, -6e-8 : f16<32>", 0 },
		{ "bf16", "bf16", "bf16", 32,
		  "%i2 = iota : bf16<512>\n%i3 = half.hi %i2 : bf16<256>\n"
		  "%i4 = half.hi %i3 : bf16<128>\n%i5 = half.hi %i4 : bf16<64>\n"
		  "%i6 = half.hi %i5 : bf16<32>\n%r = max %i6, %v : bf16<32>",
		  0 },
		{ "f16", "f16", "f16", 8, "%i2 = iota : f16<8>\n%r = sub %i2, %v : f16<8>", 0 },
		/* |x| of the smallest s64 is no s64 */
		{ "s64", "s64", "s64", 8,
		  "%c = lt %v, 0 : i1<8>\n%a = select %c, -9223372036854775808, %v : s64<8>\n"
		  "%s = reduce.amax %a : s64\n%r = splat %s : s64<8>",
		  0 },
		/* truth values in memory, one byte each */
		{ "s32", "s32", "s32", 16,
		  "%c = lt %v, %w : i1<16>\n%l = local : i1[16]\nvstore %c, %l[0]\n"
		  "%d = vload %l[0] : i1<16>\n%r = select %d, %v, %w : s32<16>",
		  0 },
		{ "s32", "s32", "s32", 16,
		  "%c = lt %v, %w : i1<16>\n%l = local : i1[16]\nvstore %c, %l[0]\n"
		  "%a = and %v, 15 : s32<16>\n%g = gather %l[%a] : i1<16>\n"
		  "%r = select %g, %v, %w : s32<16>",
		  0 },
	};

	(void)state;
	run_programs(p, sizeof p / sizeof *p);
}

static void test_lanes(void **state)
{
	static const program p[] = {
		B("zip.lo"),
		B("zip.hi"),
		B("unzip.lo"),
		B("unzip.hi"),
		U("zip.lo"),
		U("unzip.hi"),
		{ "f32", "f32", "f32", 16, "%r = zip.lo %v, %w : f32<16> {within=4}", 0 },
		{ "s32", "s32", "s32", 16, "%r = zip.hi %v, %w : s32<16> {within=4}", 0 },
		{ "f32", "f32", "f32", 16, "%r = unzip.lo %v, %w : f32<16> {within=4}", 0 },
		{ "s32", "s32", "s32", 16, "%r = unzip.hi %v, %w : s32<16> {within=8}", 0 },
		/* what a table of codes makes of zips is another order than what it makes of
		   these */
		{ "e4m3fn", "e4m3fn", "bf16", 64,
		  "%u = zip.lo %v, %w : e4m3fn<64> {within=4}\n%r = x86.lut %u : bf16<64>",
		  KIR_HAS_vbmi },
		{ "e4m3fn", "e4m3fn", "u8", 64,
		  "%l = x86.lut %v : bf16<64>\n%b = bitcast %l : s32<32>\n"
		  "%p = half.lo %b : s32<16>\n%q = half.hi %b : s32<16>\n"
		  "%u = unzip.lo %p, %q : s32<16> {within=4}\n%r = bitcast %u : u8<64>",
		  KIR_HAS_vbmi },
		{ "s8", "s8", "s8", 64,
		  "%a = half.hi %v : s8<32>\n%b = half.lo %w : s8<32>\n"
		  "%r = join %a, %b : s8<64>",
		  0 },
		/* one register's bytes in another order: of words, of bytes by eights, of both
		   operands, which is no such order */
		{ "s8", "s8", "s8", 64,
		  "%b = bitcast %v : s16<32>\n%c = half.lo %b : s16<16>\n"
		  "%d = half.hi %b : s16<16>\n%e = unzip.lo %c, %d : s16<16>\n"
		  "%f = unzip.hi %c, %d : s16<16>\n%g = bitcast %e : s64<4>\n"
		  "%h = bitcast %f : s64<4>\n%j = zip.lo %g, %h : s64<4>\n"
		  "%k = zip.hi %g, %h : s64<4>\n%l = join %j, %k : s64<8>\n"
		  "%r = bitcast %l : s8<64>",
		  0 },
		{ "s8", "s8", "s8", 64,
		  "%c = half.lo %v : s8<32>\n%d = half.hi %v : s8<32>\n"
		  "%e = zip.lo %d, %c : s8<32> {within=8}\n"
		  "%f = unzip.hi %c, %d : s8<32> {within=8}\n%r = join %f, %e : s8<64>",
		  0 },
		{ "s8", "s8", "s8", 64,
		  "%c = half.lo %v : s8<32>\n%d = half.hi %w : s8<32>\n"
		  "%e = zip.lo %c, %d : s8<32>\n%f = zip.hi %c, %d : s8<32>\n"
		  "%r = join %e, %f : s8<64>",
		  0 },
		/* the lowest bytes of two registers */
		{ "s32", "s32", "u8", 32,
		  "%a = and %v, 255 : s32<32>\n%r = convert %a : u8<32>", 0 },
		{ "f32", "f32", "s32", 16, "%r = bitcast %v : s32<16>", 0 },
		{ "s32", "s32", "u8", 64,
		  "%a = half.lo %v : s32<32>\n%b = half.lo %a : s32<16>\n"
		  "%r = bitcast %b : u8<64>",
		  0 },
		{ "s8", "s8", "s8", 64, "%s = load %x[%o] : s8\n%r = splat %s : s8<64>", 0 },
		{ "s32", "s32", "u8", 16,
		  "%s = load %x[%i] : s32\n%t = splat %s : s32<4>\n"
		  "%r = bitcast %t : u8<16>",
		  0 },
	};

	(void)state;
	run_programs(p, sizeof p / sizeof *p);
}

static void test_products(void **state)
{
	static const program p[] = {
		{ "u8", "s8", "s32", 64,
		  "%a = splat -7 : s32<16>\n"
		  "%r = dp %a, %v, %w : s32<16>",
		  0 },
		{ "s8", "s8", "s32", 64,
		  "%a = splat -7 : s32<16>\n"
		  "%r = dp %a, %v, %w : s32<16>",
		  0 },
		{ "u8", "u8", "s32", 32, "%a = splat 9 : s32<8>\n%r = dp %a, %v, %w : s32<8>",
		  0 },
		{ "u8", "s8", "s32", 64,
		  "%a = splat -7 : s32<16>\n"
		  "%r = x86.dpbusd %a, %v, %w : s32<16>",
		  KIR_HAS_vnni },
		{ "u8", "s8", "s32", 128,
		  "%a = splat -7 : s32<32>\n"
		  "%r = x86.dpbusd %a, %v, %w : s32<32>",
		  KIR_HAS_vnni },
		{ "u8", "s8", "s32", 16,
		  "%a = splat -7 : s32<4>\n"
		  "%r = x86.dpbusd %a, %v, %w : s32<4>",
		  KIR_HAS_vnni },
		{ "f32", "f32", "f32", 16,
		  "%a = splat 0.5 : f32<16>\n"
		  "%r = dp %a, %v, %w : f32<16>",
		  0 },
		/* small integers, so that no order of rounding shows */
		{ "s8", "s8", "f32", 32,
		  "%a = splat 0.5 : f32<16>\n%p = convert %v : bf16<32>\n"
		  "%q = convert %w : bf16<32>\n"
		  "%r = dp %a, %p, %q : f32<16>",
		  0 },
		{ "s8", "s8", "f32", 32,
		  "%a = splat 0.5 : f32<16>\n%p = convert %v : bf16<32>\n"
		  "%q = convert %w : bf16<32>\n"
		  "%r = x86.dpbf16 %a, %p, %q : f32<16>",
		  KIR_HAS_bf16 },
		{ "s8", "s8", "f32", 64,
		  "%a = splat 0.5 : f32<32>\n%p = convert %v : f16<64>\n"
		  "%q = convert %w : f16<64>\n"
		  "%r = dp %a, %p, %q : f32<32>",
		  0 },
	};

	(void)state;
	run_programs(p, sizeof p / sizeof *p);
}

static void test_lut(void **state)
{
	static const kir_elem from[] = { KIR_e4m3fn, KIR_e5m2, KIR_e4m3fnuz, KIR_e5m2fnuz };
	uint16_t y[256];
	uint32_t z[256];
	unsigned i = 0;

	(void)state;
	for (const kir_target *t; (t = runnable(&i));)
		for (size_t k = 0; t->features & KIR_HAS_vbmi && k < 4; k++) {
			size_t n;
			unsigned char *x = all_codes(from[k], &n);

			run_map(t, kir_elems[from[k]].name, "bf16", 64,
			        "%r = x86.lut %v : bf16<64>", x, y, n);
			for (size_t c = 0; c < n; c++)
				assert_true(same_code(
				    KIR_bf16, y[c],
				    kir_encode(KIR_bf16, kir_decode(from[k], x[c]), 0, 0, 0)));
			run_map(t, kir_elems[from[k]].name, "f32", 64,
			        "%m = x86.lut %v : bf16<64>\n%r = convert %m : f32<64>", x, z,
			        n);
			for (size_t c = 0; c < n; c++)
				assert_true(same_code(
				    KIR_f32, z[c],
				    kir_encode(KIR_f32, kir_decode(from[k], x[c]), 0, 0, 0)));
			free(x);
		}
}

/* -- control and memory -------------------------------------------------------------------- */

static const char *const flow[] = {
	/* a loop with two carried values, a branch in it, lengths from memory */
	"for %i = 0 to %n par {\n%m = load %x[%i] : s32\n%b0 = and %m, 15 : s32\n"
	"%b = convert %b0 : s64\n"
	"%s, %t = for %j = 0 to %b carry(%p = 1:s32, %q = 0:s32) {\n"
	"%c = gt %p, 100:s32 : i1\n%u = if %c {\n%h = sub %p, 90 : s32\nyield %h\n} else {\n"
	"%k = load %z[%j] : s32\n%k2 = and %k, 31 : s32\n%g = add %p, %k2 : s32\nyield %g\n}\n"
	"%r = add %q, %u : s32\nyield %u, %r\n}\n%e = add %s, %t : s32\nstore %e, "
	"%y[%i]\nyield\n}\n",
	/* two phases, the second reads what the first wrote; a value from outside of both */
	"%two = add %n, 2 : s64\nfor %i = 0 to %n par {\n%a = load %x[%i] : s32\n"
	"store %a, %y[%i]\nyield\n}\n"
	"for %i = 0 to %n par {\n%a = load %y[%i] : s32\n%o = add %i, %two : s64\n%t2 = "
	"convert "
	"%two : s32\n%b = add %a, %t2 : s32\n%p = add %o, 100 : s64\nstore %b, "
	"%y[%p]\nyield\n}\n",
	/* a local, a loop by steps, tails */
	"for %i = 0 to %n par {\n%l = local : s32[3,16]\n%o = mul %i, 16 : s64\n"
	"for %j = 0 to 3 {\n%v = vload %x[%o] : s32<16>\n%js = convert %j : s32\n"
	"%w = add %v, %js : s32<16>\nvstore %w, %l[%j,0]\nyield\n}\n"
	"%s = for %j = 1 to 3 step 2 carry(%a = 0:s32) {\n%k = load %l[%j,5] : s32\n"
	"%b = add %a, %k : s32\nyield %b\n}\nstore %s, %y[%i]\n"
	"%v = vload %l[2,0] upto %i : s32<16>\n%q = add %o, 256 : s64\n"
	"vstore %v, %y[%q] upto 7\nyield\n}\n",
	/* packed and overlaid views */
	"%p = view %x : s8[?,16,8 | 0/16:2048, 1:4, 0%16:64, 2/4:1024, 2%4:1] {offset=8}\n"
	"%f = view %z : s32[?,4 | 0:16, 1:4]\n"
	"for %i = 0 to %n par {\n%a = load %p[3,%i,5] : s8\n%t = add %i, 9 : s64\n"
	"%u = mul %i, 4 : s64\n%v = add %u, 1 : s64\n%m = mod %i, 8 : s64\n"
	"%b = load %p[%t,2,%m] : s8\n%e = load %f[%v,3] : s32\n%ea = convert %a : s32\n"
	"%eb = convert %b : s32\n%s = add %ea, %eb : s32\n%r = add %s, %e : s32\n"
	"store %r, %y[%i]\nprefetch %x[%i] {hint=t1}\nyield\n}\n",
	/* gathers: by one vector and a scalar, by literals added to it, through a packed view
	 */
	"%p = view %z : s8[?,16 | 0/4:64, 0%4:1, 1:4]\n"
	"for %i = 0 to %n par {\n%o = mul %i, 16 : s64\n%v = vload %x[%o] : s32<16>\n"
	"%m = and %v, 63 : s32<16>\n%a = gather %x[%m] : s32<16>\n%w = convert %m : s64<16>\n"
	"%w1 = add %w, 5 : s64<16>\n%b = gather %p[%w1,%i] : s8<16>\n"
	"%c = convert %b : s32<16>\n%r = add %a, %c : s32<16>\n%s = gather %z[%i] : s32\n"
	"%t = add %r, %s : s32<16>\nvstore %t, %y[%o]\nyield\n}\n",
	/* bounds as far apart as s64 goes; a last value a step below the largest (n is 16) */
	"for %w = 0 to %n par {\n%h = add %n, 9223372036854775791 : s64\n"
	"%l = add %n, 9223372036854775792 : s64\n%m = sub %h, 8 : s64\n"
	"%a = for %i = %l to %h step 6148914691236517205 carry(%k = %w) {\n"
	"%t = sub %i, %k : s64\nyield %t\n}\n"
	"%b = for %i = %m to %h step 4 carry(%k = %a) {\n%t = sub %i, %k : s64\nyield %t\n}\n"
	"%r = mod %b, 2147483647 : s64\n%c = convert %r : s32\nstore %c, %y[%w]\nyield\n}\n",
};

static void test_flow(void **state)
{
	data *d = malloc(sizeof *d);
	char text[4000];

	(void)state;
	for (size_t k = 0; k < sizeof flow / sizeof *flow; k++) {
		unsigned i = 0;

		fill(d->x, KIR_s32, k);
		fill(d->z, KIR_s32, k + 9);
		for (const kir_target *t; (t = runnable(&i));) {
			snprintf(text, sizeof text,
			         "func @f(%%x: in s32[?], %%z: in s32[?], %%y: inout s32[?], "
			         "%%n: s64) level=V target=%s {\n%sret\n}\n",
			         t->name, flow[k]);
			compare_text(text, k == 1 ? 2 : 1, d, 16, KIR_s32);
		}
	}
	free(d);
}

/* Tails end at an inaccessible page: a lane too far is a fault. */
static void test_tail(void **state)
{
	static const kir_elem e[] = { KIR_s8, KIR_bf16, KIR_f32 };
	char *page =
	    mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned i = 0;
	char text[1000];

	(void)state;
	assert_true(page != MAP_FAILED && !mprotect(page + 4096, 4096, PROT_NONE));
	for (const kir_target *t; (t = runnable(&i));)
		for (unsigned k = 0; k < 3; k++) {
			unsigned b = kir_elem_bytes(e[k]), lanes = 64 / b;
			const char *name = kir_elems[e[k]].name;
			map_fn fn;

			snprintf(
			    text, sizeof text,
			    "func @f(%%x: in %s[?], %%y: out %s[?], %%n: s64) level=V "
			    "target=%s {\nfor %%i = 0 to 1 par {\n%%v = vload %%x[0] upto "
			    "%%n : %s<%u>\nvstore %%v, %%y[0] upto %%n\nyield\n}\nret\n}\n",
			    name, name, t->name, name, lanes);
			code c = build(text);

			*(void **)&fn = c.entry;
			for (unsigned n = 0; n <= lanes; n++) {
				char *x = page + 4096 - n * b, y[65];

				memset(page, 7, 4096);
				memset(y, 9, 65);
				fn(x, y, n, 0, 0, 1);
				for (unsigned j = 0; j < 65; j++)
					assert_int_equal(y[j], j < n * b ? 7 : 9);
				memset(y, 3, 64);
				fn(y, x, n, 0, 0, 1);
				assert_int_equal(page[4095], n ? 3 : 7);
				assert_int_equal(page[4095 - n * b], 7);
			}
			fn(page, page + 64, -5, 0, 0, 1);
			fn(page, page + 64, INT64_MAX, 0, 0, 1);
			drop(&c);
		}
	munmap(page, 8192);
}

/* LLVM 22 stored four bytes for the first of four narrowed lanes: bytes behind a store that
 * ends at a literal must stay as they were. */
static void test_tail_of_one_narrowed_lane(void **state)
{
	static const char *const words[] = { "e4m3fn", "s8" };
	unsigned i = 0;

	(void)state;
	for (const kir_target *t; (t = runnable(&i));)
		for (unsigned k = 0; k < 2; k++)
			for (unsigned n = 0; n <= 4; n++) {
				uint8_t x[4] = { 0x48, 0x49, 0x4a, 0x4b }, y[8];
				char text[600];
				map_fn fn;

				snprintf(
				    text, sizeof text,
				    "func @f(%%x: in e5m2[?], %%y: out %s[?], %%n: s64) "
				    "level=V "
				    "target=%s {\nfor %%i = 0 to 1 par {\n%%v = vload %%x[0] : "
				    "e5m2<4>\n%%f = convert %%v : f32<4>\n%%w = convert %%f : "
				    "%s<4>\nvstore %%w, %%y[0] upto %u\nyield\n}\nret\n}\n",
				    words[k], t->name, words[k], n);
				code c = build(text);

				*(void **)&fn = c.entry;
				memset(y, 0x77, sizeof y);
				fn(x, y, 0, 0, 0, 1);
				for (unsigned j = 0; j < 8; j++)
					if ((y[j] != 0x77) != (j < n))
						fail_msg("%s: byte %u of a store of %u:\n%s",
						         t->name, j, n, text);
				drop(&c);
			}
}

static void test_strides(void **state)
{
	typedef void (*fn_t)(const void *x, int64_t s0, int64_t s1, float f, int32_t add,
	                     void *y, int64_t phase, int64_t b, int64_t e);
	static const float x[12] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 };
	unsigned i = 0;
	char text[1000];

	(void)state;
	for (const kir_target *t; (t = runnable(&i));) {
		float y[6] = { 0 };
		fn_t fn;

		snprintf(
		    text, sizeof text,
		    "func @f(%%x: in f32[?,?,2 | 0:$0, 1:$1, 2:4], %%f: f32, %%a: s32, %%y: "
		    "out f32[6]) level=V target=%s {\nfor %%i = 0 to 6 par {\n"
		    "%%q = fdiv %%i, 3 : s64\n%%r = mod %%i, 3 : s64\n"
		    "%%v = load %%x[%%q,%%r,1] : f32\n%%b = convert %%a : f32\n"
		    "%%s = fma %%v, %%f, %%b : f32\nstore %%s, %%y[%%i]\nyield\n}\nret\n}\n",
		    t->name);
		code c = build(text);

		*(void **)&fn = c.entry;
		fn(x, 24, 8, 0.5f, 100, y, 0, 0, 6);
		for (int k = 0; k < 6; k++)
			assert_true(y[k] == 100 + 0.5f * x[2 * k + 1]);
		fn(x + 6, -24, 0, 1, 0, y, 0, 3, 6); /* only half of them, other strides */
		assert_true(y[2] == 100 + 0.5f * 5 && y[3] == 1 && y[5] == 1);
		drop(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each),
		cmocka_unit_test(test_seldom),
		cmocka_unit_test(test_lanes),
		cmocka_unit_test(test_products),
		cmocka_unit_test(test_lut),
		cmocka_unit_test(test_flow),
		cmocka_unit_test(test_tail),
		cmocka_unit_test(test_tail_of_one_narrowed_lane),
		cmocka_unit_test(test_strides),
	};

	return cmocka_run_group_tests_name("x86_run", tests, NULL, NULL);
}
