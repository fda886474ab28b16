/* SPDX-License-Identifier: Apache-2.0 */
/* spirv.c -- how fast SPIR-V of kvjit runs on an OpenCL device for processors, beside OpenCL C
 * written by hand (spirv.cl). Both are run by turns, and their results compared.
 *
 *     OCL_ICD_VENDORS=... kvjit-bench-spirv FOLDER_OF_BACKENDS spirv.cl [spirv|spirv-llvm]
 */
#include "../tests/support_cl.h"
#include "../ir/problem.h"
#include "../passes/passes.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SEQS = 8, KV = 2, GROUP = 4, DIM = 128, PAGE = 64, LEN = 2000, ROUNDS = 41 };
enum { PAGES = (LEN + PAGE - 1) / PAGE, ROWS = 4096, HEADS = 8 };

static const kbe_backend *be;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

static kir_func *program(const char *text, const char *target)
{
	kir_module *m = kir_module_new();
	kpass_options o = { 0 };
	kir_diag d = { 0 };
	kir_func *f = NULL;
	kir_problem p;
	char msg[600];

	if (kir_problem_parse(m, text, strlen(text), &p, &d))
		f = kir_problem_expand(m, &p, kir_target_find(target), &d);
	if (f)
		f = kpass_run(f, &o, &d);
	if (!f)
		die(text, kir_diag_text(&d, msg, sizeof msg));
	return f;
}

static cl_module *module_of(const kir_func *f)
{
	kir_diag d = { 0 };
	kbe_blob b;
	char msg[2000];
	cl_module *m;

	if (!be->compile(f, &b, &d))
		die(f->name, kir_diag_text(&d, msg, sizeof msg));
	m = support_cl_build(b.bytes, b.size, f->name, msg, sizeof msg);
	if (!m)
		die(f->name, msg);
	free(b.bytes);
	return m;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *filled(size_t n, unsigned mask)
{
	unsigned char *p = aligned_alloc(64, (n + 63) & ~(size_t)63);
	uint32_t x = 1;

	for (size_t i = 0; p && i < n; i++)
		p[i] = (unsigned char)((x = x * 1664525 + 1013904223) >> 24 & mask);
	return p;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

typedef struct run {
	cl_module *module;
	cl_arg arg[64];
	unsigned narg;
	size_t groups;
} run;

static double timed(const run *r)
{
	double begin = now();

	if (!support_cl_run(r->module, r->arg, r->narg, r->groups, 16))
		exit(1);
	return now() - begin;
}

/* The ratio of each pair, as the machine's speed changes from one to the next. */
static void compare(const char *what, const run *ours, const run *theirs)
{
	double ratio[ROUNDS], a[ROUNDS], b[ROUNDS];

	timed(ours);
	timed(theirs);
	for (int i = 0; i < ROUNDS; i++) {
		a[i] = timed(ours);
		b[i] = timed(theirs);
		ratio[i] = a[i] / b[i];
	}
	qsort(ratio, ROUNDS, sizeof *ratio, by_size);
	qsort(a, ROUNDS, sizeof *a, by_size);
	qsort(b, ROUNDS, sizeof *b, by_size);
	printf("%-28s %-10s %8.3f ms, by hand %8.3f ms, ratio %.2f (%.2f to %.2f)\n", what,
	       be->name, 1e3 * a[ROUNDS / 2], 1e3 * b[ROUNDS / 2], ratio[ROUNDS / 2],
	       ratio[ROUNDS / 10], ratio[ROUNDS - 1 - ROUNDS / 10]);
}

static void pointer(run *r, void *p)
{
	r->arg[r->narg++] = (cl_arg){ .pointer = p };
}

static void number(run *r, int64_t x)
{
	int64_t *at = malloc(sizeof *at);

	*at = x;
	r->arg[r->narg++] = (cl_arg){ .value = at, .bytes = 8 };
}

static void word(run *r, const void *x)
{
	r->arg[r->narg++] = (cl_arg){ .value = x, .bytes = 4 };
}

/* -- decode ------------------------------------------------------------------------------- */

/* Finite queries and scales, whatever the bytes. */
static uint16_t *queries(size_t n)
{
	uint16_t *q = filled(2 * n, 0xff);

	for (size_t i = 0; i < n; i++)
		q[i] = (uint16_t)(0x3f00 | (q[i] & 0x807f));
	return q;
}

/* The scales behind the codes of each page's head, which is `head` bytes. */
static void fill_scales(char *cache, int64_t head)
{
	for (int64_t p = 0; p < SEQS * PAGES * KV; p++)
		for (int t = 0; t < 2 * PAGE; t++)
			((float *)(cache + p * head + PAGE * DIM * 2))[t] =
			    0.001f * (float)(1 + t % 7);
}

/* One query a sequence, one item of work for it and each head. */
static void fill_lists(int32_t *lens, int32_t *starts, int32_t (*work)[8])
{
	for (int s = 0; s < SEQS; s++) {
		lens[s] = LEN - s;
		starts[s] = s;
		for (int h = 0; h < KV; h++)
			memcpy(work[s * KV + h], (int32_t[8]){ s, h, 0, 0, LEN - s, -1, 1, s },
			       32);
	}
	starts[SEQS] = SEQS;
}

/* What both programs read: a query a sequence, pages in mixed order. */
typedef struct batch {
	uint16_t *q;
	char *cache;
	int64_t head, page; /* bytes */
	int32_t table[SEQS * PAGES], lens[SEQS], starts[SEQS + 1], work[SEQS * KV][8];
} batch;

static const float scale = 0.0883883f;

static void fill_batch(batch *b)
{
	b->head = (int64_t)PAGE * DIM * 2 + PAGE * 8;
	b->page = b->head * KV;
	b->q = queries((size_t)SEQS * KV * GROUP * DIM);
	b->cache = filled((size_t)(b->page * SEQS * PAGES), 0xff);
	fill_scales(b->cache, b->head);
	for (int i = 0; i < SEQS * PAGES; i++)
		b->table[i] = i * 7 % (SEQS * PAGES);
	fill_lists(b->lens, b->starts, b->work);
}

static void our_arguments(run *r, batch *b, float *out)
{
	pointer(r, b->q);
	number(r, (int64_t)KV * GROUP * DIM * 2);
	number(r, DIM * 2);
	pointer(r, b->cache);
	number(r, b->page);
	number(r, b->head);
	pointer(r, b->table);
	number(r, PAGES * 4);
	pointer(r, b->lens);
	pointer(r, b->starts);
	word(r, &scale);
	pointer(r, out);
	number(r, (int64_t)KV * GROUP * DIM * 4);
	number(r, DIM * 4);
	pointer(r, b->work);
	number(r, SEQS * KV);
	pointer(r, NULL);
	number(r, 0);
	pointer(r, NULL);
	number(r, 0);
	number(r, 0);
	number(r, SEQS * KV);
}

static void their_arguments(run *r, batch *b, float *out)
{
	static const int kv_heads = KV;

	pointer(r, b->q);
	pointer(r, b->cache);
	number(r, b->page);
	number(r, b->head);
	pointer(r, b->table);
	number(r, PAGES);
	pointer(r, b->lens);
	word(r, &scale);
	pointer(r, out);
	word(r, &kv_heads);
}

static void decode(const char *source, const char *target, int kv_tile)
{
	char problem[200], what[40], msg[2000];
	run ours = { .groups = SEQS * KV }, hand = { .groups = SEQS * KV };
	size_t n = (size_t)SEQS * KV * GROUP * DIM;
	float *a = filled(4 * n, 0), *b = filled(4 * n, 0);
	double worst = 0;
	static batch in;

	snprintf(problem, sizeof problem,
	         "attn q=bf16 out=f32 kv=int8/token-head heads=8:2 dim=128 page=64 kv_tile=%d "
	         "q_tile=1 split=0 qk=f32 pv=f32",
	         kv_tile);
	snprintf(what, sizeof what, "decode int8 kv_tile=%d", kv_tile);
	fill_batch(&in);
	ours.module = module_of(program(problem, target));
	our_arguments(&ours, &in, a);
	hand.module = support_cl_compile(source, "decode", msg, sizeof msg);
	if (!hand.module)
		die("spirv.cl", msg);
	their_arguments(&hand, &in, b);
	compare(what, &ours, &hand);
	for (size_t i = 0; i < n; i++)
		worst = fmax(worst, fabs(a[i] - b[i]) / (1e-3 + fabs(b[i])));
	printf("%-28s largest relative difference %.1e\n", "", worst);
	support_cl_drop(ours.module);
	support_cl_drop(hand.module);
}

/* -- quantize ------------------------------------------------------------------------------ */

static void quantize(const char *source)
{
	kir_func *f = program("quant in=bf16 to=int8/token-head heads=8 dim=128", "xe-pvc");
	size_t n = (size_t)ROWS * HEADS * DIM, wrong = 0;
	run ours = { .groups = ROWS }, hand = { .groups = ROWS };
	uint16_t *x = queries(n);
	signed char *a = filled(n, 0), *b = filled(n, 0);
	float *as = filled(4 * n / DIM, 0), *bs = filled(4 * n / DIM, 0);
	char msg[2000];

	ours.module = module_of(f);
	pointer(&ours, x);
	number(&ours, HEADS * DIM * 2);
	number(&ours, DIM * 2);
	pointer(&ours, a);
	pointer(&ours, as);
	number(&ours, ROWS);
	number(&ours, 0);
	number(&ours, 0);
	number(&ours, ROWS);
	hand.module = support_cl_compile(source, "quantize", msg, sizeof msg);
	if (!hand.module)
		die("spirv.cl", msg);
	pointer(&hand, x);
	pointer(&hand, b);
	pointer(&hand, bs);
	compare("quantize int8/token-head", &ours, &hand);
	for (size_t i = 0; i < n; i++)
		wrong += a[i] != b[i];
	printf("%-28s %zu of %zu codes differ\n", "", wrong, n);
	support_cl_drop(ours.module);
	support_cl_drop(hand.module);
}

int main(int argc, char **argv)
{
	static char source[1 << 16];
	const char *why = "";
	char path[4096];
	kbe_get get = NULL;
	FILE *f = argc > 2 ? fopen(argv[2], "rb") : NULL;
	void *so, *symbol;

	if (!f || !fread(source, 1, sizeof source - 1, f))
		die(argv[0], "FOLDER_OF_BACKENDS spirv.cl [spirv|spirv-llvm]");
	fclose(f);
	if (!support_cl(&why))
		die("OpenCL", why);
	snprintf(path, sizeof path, "%s/libkvjit-%s.so", argv[1], argc > 3 ? argv[3] : "spirv");
	so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	symbol = so ? dlsym(so, "kvjit_backend") : NULL;
	if (!symbol)
		die(path, dlerror());
	memcpy(&get, &symbol, sizeof get);
	be = get();
	quantize(source);
	/* a page is a tile by hand; as one of ours it is more code than a processor's cache
	 * holds */
	for (int kv_tile = PAGE; kv_tile >= 16; kv_tile /= 2)
		decode(source, "xe-lp", kv_tile);
	return 0;
}
