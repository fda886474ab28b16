/* SPDX-License-Identifier: Apache-2.0 */
/* test_amx.c -- tile instructions: what the processor does with them (or the emulator, where
 * there are none) and what the C backend computes, against the interpreter, byte for byte.
 */
#include "x86.h"

#include "../backends/ref/ref.h"
#include "amx/emulator.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BYTES = 4096 };

typedef void (*tile_fn)(void *a, void *b, void *c, int64_t n, int64_t phase, int64_t begin,
                        int64_t end);

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t random_bits(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static unsigned below(unsigned n)
{
	return (unsigned)(random_bits() >> 33) % n;
}

static const kbe_backend *c_backend(void)
{
	char path[512];
	kbe_get get_backend;

	snprintf(path, sizeof path, "%s/libkvjit-c.so", getenv("KVJIT_BACKEND_DIR"));
	void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (!so)
		fail_msg("%s", dlerror());
	*(void **)&get_backend = dlsym(so, "kvjit_backend");
	return get_backend();
}

typedef struct memory {
	uint8_t a[BYTES], b[BYTES], c[BYTES];
} memory;

static void interpret(const kir_func *f, memory *m)
{
	kref_arg arg[4] = { { .base = m->a, .bytes = BYTES },
		            { .base = m->b, .bytes = BYTES },
		            { .base = m->c, .bytes = BYTES },
		            { .i = 1 } };
	kir_diag d = { 0 };
	char msg[2000];

	if (!kref_run(f, arg, KREF_ROUND, NULL, &d))
		fail_msg("%s", kir_diag_text(&d, msg, sizeof msg));
}

/* c after the text has run, by `how`: interpreter, x86 code, C. */
static void run_text(const char *text, const kbe_backend *how, memory *m)
{
	kir_module *mod;
	kir_func *f = parsed(text, &mod);
	kir_diag d = { 0 };
	char msg[2000];
	kbe_blob blob;
	size_t bytes;
	tile_fn fn;

	if (!how) {
		interpret(f, m);
		kir_module_free(mod);
		return;
	}
	if (!how->compile(f, &blob, &d))
		fail_msg("%s\n%s", kir_diag_text(&d, msg, sizeof msg), text);
	char *at = map_code(&blob, &bytes);

	*(void **)&fn = at + blob.entry;
	fn(m->a, m->b, m->c, 1, 0, 0, 1);
	munmap(at, bytes);
	free(blob.bytes);
	kir_module_free(mod);
}

static bool is_nan(const uint8_t *p)
{
	float x;

	memcpy(&x, p, 4);
	return isnan(x);
}

static void assert_same(const uint8_t *got, const uint8_t *want, bool floats, const char *what)
{
	for (size_t i = 0; i < BYTES; i += 4)
		if (memcmp(got + i, want + i, 4) &&
		    !(floats && is_nan(got + i) && is_nan(want + i)))
			fail_msg("%s: byte %zu is %02x%02x%02x%02x, not %02x%02x%02x%02x", what,
			         i, got[i + 3], got[i + 2], got[i + 1], got[i], want[i + 3],
			         want[i + 2], want[i + 1], want[i]);
}

/* The text of one product of m x 4k and k x 4n bytes, its rows `pitch` bytes apart. */
static const char *product_text(const char *op, unsigned m, unsigned k, unsigned n,
                                unsigned pitch, const char *hint)
{
	static char text[2000];

	snprintf(text, sizeof text,
	         "func @f(%%a: in u8[?], %%b: in u8[?], %%c: inout u8[?], %%n: s64)\n"
	         "     level=V target=amx {\n"
	         "  amx.tile {tile=5, rows=%u, bytes=%u}\n"
	         "  amx.tile {tile=0, rows=%u, bytes=%u}\n"
	         "  amx.tile {tile=7, rows=%u, bytes=%u}\n"
	         "  for %%i = 0 to %%n par {\n"
	         "    amx.load %%c[%%i] {tile=5, pitch=%u}\n"
	         "    amx.load %%a[3] {tile=0, pitch=%u%s}\n"
	         "    amx.load %%b[1] {tile=7, pitch=%u%s}\n"
	         "    amx.%s {tile=5, a=0, b=7}\n"
	         "    amx.%s {tile=5, a=0, b=7}\n"
	         "    amx.store %%c[%%i] {tile=5, pitch=%u}\n"
	         "    amx.zero {tile=5}\n"
	         "    amx.%s {tile=5, a=0, b=7}\n"
	         "    amx.store %%c[2048] {tile=5, pitch=64}\n"
	         "    yield\n  }\n  ret\n}\n",
	         m, 4 * n, m, 4 * k, k, 4 * n, pitch, pitch, hint, pitch, hint, op, op, pitch,
	         op);
	return text;
}

/* Bytes for op: any for integers; bf16 and f32 that are mostly tame, some not. */
static void fill(uint8_t *p, bool floats, bool wild)
{
	static const uint16_t special[] = { 0x0001, 0x807f, 0x0080, 0x8080, 0x0000, 0x8000,
		                            0x7f80, 0xff80, 0x7fc0, 0x7f7f, 0x007f, 0x1f80 };

	for (unsigned i = 0; i < BYTES; i += 2) {
		uint16_t x = (uint16_t)random_bits();

		if (floats && (!wild || below(4)))
			x = (uint16_t)((x & 0x807f) | (112 + below(24)) << 7);
		else if (floats && below(2))
			x = special[below(sizeof special / sizeof *special)];
		memcpy(p + i, &x, 2);
	}
}

static void one_product(const char *op, const kbe_backend *c)
{
	bool floats = !strcmp(op, "dpbf16ps"), wild = below(2);
	unsigned m = 1 + below(16), k = 1 + below(16), n = 1 + below(16);
	const char *text =
	    product_text(op, m, k, n, 64 + 4 * below(16), below(2) ? ", hint=t1" : "");
	static memory want, got;

	fill(want.a, floats, wild);
	fill(want.b, floats, wild);
	fill(want.c, floats, false);
	got = want;
	run_text(text, be(), &got);
	run_text(text, NULL, &want);
	assert_same(got.c, want.c, floats, text);
	if (c) {
		memcpy(got.c, want.c, BYTES); /* the second run starts from the first's sums */
		memory again = got;

		run_text(text, c, &got);
		run_text(text, NULL, &again);
		assert_same(got.c, again.c, floats, text);
	}
}

static void products(void **state)
{
	static const char *const ops[] = { "dpbf16ps", "dpbssd", "dpbsud", "dpbusd", "dpbuud" };
	unsigned n = getenv("KVJIT_LONG") ? 4000 : 40;

	(void)state;
	for (unsigned o = 0; o < sizeof ops / sizeof *ops; o++)
		for (unsigned i = 0; i < n; i++)
			one_product(ops[o], i < 2 ? c_backend() : NULL);
}

/* Sums of one element, worked out by hand: the order is part of what the op means. */
static void order_of_sums(void **state)
{
	static memory m;
	const uint16_t one = 0x3f80, big = 0x4b80, tiny = 0x0001; /* 1, 2^24, subnormal */
	uint16_t a[4] = { big, one, one, one }, b[4] = { one, one, one, one };
	float c;

	(void)state;
	/* even: 2^24 + 1 = 2^24; odd: 1 + 1; their sum 2^24 + 2; twice, then once */
	memset(&m, 0, sizeof m);
	memcpy(m.a + 3, a, 8);
	memcpy(m.b + 1, b, 4);
	memcpy(m.b + 1 + 64, b + 2, 4);
	run_text(product_text("dpbf16ps", 1, 2, 1, 64, ""), be(), &m);
	memcpy(&c, m.c, 4);
	assert_true(c == 0x1p25f + 4);
	memcpy(&c, m.c + 2048, 4);
	assert_true(c == 0x1p24f + 2);
	/* a subnormal factor and a subnormal accumulator count as 0 */
	memset(&m, 0, sizeof m);
	memcpy(m.a + 3, &tiny, 2);
	memcpy(m.b + 1, &big, 2);
	m.c[0] = 1;
	run_text(product_text("dpbf16ps", 1, 1, 1, 64, ""), be(), &m);
	memcpy(&c, m.c, 4);
	assert_true(c == 0);
}

/* A kernel leaves no tiles behind, whichever way it returns. */
static void released(void **state)
{
	static memory m;

	(void)state;
	run_text(product_text("dpbssd", 4, 4, 4, 64, ""), be(), &m);
	assert_false(amx_configured());
}

/* Rows end where the tile's bytes end: the page behind isn't touched. */
static void guard_pages(void **state)
{
	long page = sysconf(_SC_PAGESIZE);
	char *p = mmap(NULL, 2 * (size_t)page, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static memory m;
	kir_module *mod;
	kir_func *f;
	kir_diag d = { 0 };
	kbe_blob blob;
	size_t bytes;
	tile_fn fn;

	(void)state;
	assert_true(p != MAP_FAILED);
	assert_int_equal(mprotect(p + page, (size_t)page, PROT_NONE), 0);
	f = parsed(product_text("dpbusd", 3, 5, 7, 68, ""), &mod);
	assert_true(be()->compile(f, &blob, &d));
	char *at = map_code(&blob, &bytes);

	*(void **)&fn = at + blob.entry;
	/* b: 5 rows of 28 bytes, 68 apart, from byte 1 */
	fn(m.a, p + page - (4 * 68 + 28) - 1, m.c, 1, 0, 0, 1);
	fn(p + page - (2 * 68 + 20) - 3, m.b, m.c, 1, 0, 0, 1);
	munmap(at, bytes);
	munmap(p, 2 * (size_t)page);
	free(blob.bytes);
	kir_module_free(mod);
}

/* What libkvjit finds out about this machine's tiles, and what the tests ran on. */
static void host(void **state)
{
	kir_target h;

	(void)state;
	kbe_host(&h);
	assert_true(kbe_host_runs(kir_target_find("amx")) ||
	            !(h.features & KIR_HAS_avx512)); /* tiles come with AVX-512 */
	assert_int_equal(kbe_host_tiles(),
	                 kvjit_tiles_are_emulated() ? KBE_TILES_EMULATED : KBE_TILES_READY);
	print_message("tiles: %s\n", kbe_tiles_text(kbe_host_tiles()));
}

/* The emulator ends the process where the processor faults: here, tiles without a shape. */
static void no_configuration(void **state)
{
	int status = 0;
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		signal(SIGILL, SIG_DFL);
		__asm__ volatile(".byte 0xc4, 0xe2, 0x7b, 0x49, 0xc0"); /* tilezero tmm0 */
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGILL);
}

/* A configuration with a reserved byte set is refused: by the processor with #GP. */
static void reserved_bytes(void **state)
{
	uint8_t config[64] = { [0] = 1, [15] = 1, [16] = 64, [48] = 16 };
	int status = 0;
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		signal(SIGILL, SIG_DFL);
		signal(SIGSEGV, SIG_DFL);
		__asm__ volatile(".byte 0xc4, 0xe2, 0x78, 0x49, 0x00" /* ldtilecfg [rax] */
		                 :
		                 : "a"(config), "m"(config));
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	/* the processor's, if it has one, whoever does the rest: see emulator.h */
	assert_true(WTERMSIG(status) == SIGSEGV ||
	            (kvjit_tiles_are_emulated() && WTERMSIG(status) == SIGILL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host),           cmocka_unit_test(products),
		cmocka_unit_test(order_of_sums),  cmocka_unit_test(released),
		cmocka_unit_test(guard_pages),    cmocka_unit_test(no_configuration),
		cmocka_unit_test(reserved_bytes),
	};
	kir_target h;

	kbe_host(&h);
	if (!(h.features & KIR_HAS_avx512)) {
		puts("test_amx: code for tiles has AVX-512 in it, which this machine lacks");
		return 77;
	}
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	printf("tile instructions emulated: %llu\n", (unsigned long long)amx_emulated());
	return failed;
}
