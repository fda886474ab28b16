/* SPDX-License-Identifier: Apache-2.0 */
/* bench.c -- kvjit bench: a kernel's time beside what the machine can do, in one process.
 *
 * Each round times each item once, in rotating order, so that a slow moment of the machine
 * hits all of them alike; shares and ratios are medians of pairs taken in the same round. An
 * item's sample is at least SAMPLE_MS long. The items: the kernel, a plain read of as many
 * bytes of the same memory, the same in scattered blocks of one page and head, a copy of them,
 * multiply-adds from registers, and the same problem on a bf16 cache. On a device: the kernel
 * and the bf16 one.
 */
#include "load/load.h"
#include "tool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

enum { MAX_ROUNDS = 400, MIN_ROUNDS = 9, SAMPLE_MS = 2 };

enum { ITEM_KERNEL, ITEM_READ, ITEM_BLOCKS, ITEM_COPY, ITEM_FMA, ITEM_BF16, NITEMS };
static const char *const item_names[NITEMS] = { "this kernel",        "plain read",
	                                        "the same in blocks", "memcpy",
	                                        "f32 multiply-adds",  "kvjit's bf16" };

typedef struct bench {
	measure_team *team;
	load kernel, bf16;
	bool has[NITEMS], cold;
	int threads;
	double seconds;
	double work[NITEMS];               /* bytes or flops of one unit of an item */
	int repeat[NITEMS];                /* units in a sample                     */
	double sample[NITEMS][MAX_ROUNDS]; /* seconds of a unit                     */
	unsigned rounds;
	char *copy;    /* as large as what is copied from */
	size_t offset; /* where the next read or copy begins */
	size_t block;  /* bytes of a page that belong to one head  */
	size_t block_at;
	char *target, *schedule;
	double call_us;
	char why[500];
} bench;

/* -- timing ------------------------------------------------------------------------------ */

/* The next bytes of the kernel's own memory, from its beginning again after its end. */
static const char *next_part(bench *b, size_t *bytes, size_t *at)
{
	size_t total;
	const char *memory = load_memory(&b->kernel, &total);
	*bytes = (size_t)b->kernel.bytes < total ? (size_t)b->kernel.bytes : total;
	if (b->offset + *bytes > total)
		b->offset = 0;
	*at = b->offset;
	if (b->cold)
		b->offset += *bytes / 4096 * 4096;
	return memory + *at;
}

static bool run_unit(bench *b, int item, double *seconds)
{
	size_t bytes, at;
	const char *from;
	switch (item) {
	case ITEM_KERNEL:
	case ITEM_BF16:
		return load_timed_call(item == ITEM_KERNEL ? &b->kernel : &b->bf16, seconds);
	case ITEM_READ:
		from = next_part(b, &bytes, &at);
		*seconds = measure_read(b->team, from, bytes);
		b->work[item] = (double)bytes;
		return true;
	case ITEM_BLOCKS: {
		size_t total, n;
		from = load_memory(&b->kernel, &total);
		n = (size_t)b->kernel.bytes / b->block;
		*seconds = measure_read_blocks(b->team, from, total, b->block, n, b->block_at);
		b->block_at += b->cold ? n : 0;
		b->work[item] = (double)(n * b->block);
		return true;
	}
	case ITEM_COPY:
		from = next_part(b, &bytes, &at);
		*seconds = measure_copy(b->team, b->copy + at, from, bytes);
		b->work[item] = (double)bytes;
		return true;
	default: *seconds = measure_fma(b->team, &b->work[item]); return true;
	}
}

static bool run_sample(bench *b, int item, double *seconds)
{
	double total = 0, one;
	for (int i = 0; i < b->repeat[item]; i++) {
		if (!run_unit(b, item, &one))
			return false;
		total += one;
	}
	*seconds = total / b->repeat[item];
	return true;
}

static bool calibrate(bench *b)
{
	for (int i = 0; i < NITEMS; i++) {
		double one = 0;
		b->repeat[i] = 1;
		for (int warm = 0; b->has[i] && warm < 2; warm++)
			if (!run_unit(b, i, &one))
				return false;
		if (b->has[i] && one < 1e-3 * SAMPLE_MS)
			b->repeat[i] = (int)ceil(1e-3 * SAMPLE_MS / fmax(one, 1e-7));
	}
	return true;
}

static bool run_rounds(bench *b)
{
	double end;
	if (!calibrate(b))
		return false;
	end = measure_now() + b->seconds;
	while (b->rounds < MAX_ROUNDS && (b->rounds < MIN_ROUNDS || measure_now() < end)) {
		for (int i = 0; i < NITEMS; i++) {
			int item = (int)(b->rounds + (unsigned)i) % NITEMS;
			if (b->has[item] && !run_sample(b, item, &b->sample[item][b->rounds]))
				return false;
		}
		b->rounds++;
	}
	return true;
}

static kt_spread spread(const bench *b, int item)
{
	double x[MAX_ROUNDS]; /* gets sorted */
	memcpy(x, b->sample[item], b->rounds * sizeof *x);
	return kt_spread_of(x, b->rounds);
}

/* Spread of (time of x / time of y) over the rounds, times scale. */
static kt_spread ratio(const bench *b, int x, int y, double scale)
{
	double r[MAX_ROUNDS];
	for (unsigned i = 0; i < b->rounds; i++)
		r[i] = scale * b->sample[x][i] / b->sample[y][i];
	return kt_spread_of(r, b->rounds);
}

/* -- making ------------------------------------------------------------------------------- */

/* The first compilation of a process loads LLVM and pages it in: not the kernel's cost. */
static void load_backend(kvjit *kv)
{
	kvjit_kernel *k = NULL;
	if (kvjit_compile(kv, "attn q=bf16 kv=bf16 heads=1 dim=16 page=16", NULL, &k) ==
	    KVJIT_OK)
		kvjit_release(k);
}

/* The problem with hints and, for the rival, another cache and no knobs. */
static char *problem_text(const char *text, long qlen, const char *format, char *why,
                          size_t len)
{
	attn a;
	char *out = NULL;
	if (attn_open(&a, text, why, len)) {
		kir_problem p = a.p;
		if (qlen > 0)
			p.qlen = qlen;
		if (format && a.format && a.format->shared)
			format = "mla_bf16";
		if (format) {
			p.fused = false;
			p.q = p.kind == KIR_GEMM ? KIR_VOID : p.q;
			p.k_format = p.v_format = format;
			p.format2 = p.format2 ? format : NULL;
			p.sched = kir_sched_default();
			memset(p.has_knob, 0, sizeof p.has_knob);
		}
		out = attn_text(&a, &p);
	}
	attn_close(&a);
	return out;
}

static bool prepare(bench *b, kvjit *kv, const char *text, const char *sched, const char *rival)
{
	char ignored[200];
	load_backend(kv);
	if (!load_open(&b->kernel, kv, text, sched, b->cold ? LOAD_COLD : 0, b->why,
	               sizeof b->why))
		return false;
	load_time_compile(&b->kernel, kv, text, sched);
	b->target = strdup(kvjit_kernel_target(b->kernel.k));
	b->schedule = kvjit_kernel_text(b->kernel.k, "schedule");
	kir_kind kind = b->kernel.a.p.kind;
	if (kind == KIR_QUANT || kind == KIR_TRANSCODE || kind == KIR_INDEX ||
	    kind == KIR_MERGE)
		rival = NULL;
	char *other = rival ? problem_text(text, 0, rival, ignored, sizeof ignored) : NULL;
	b->has[ITEM_BF16] =
	    other && load_open(&b->bf16, kv, other, NULL, b->cold ? LOAD_COLD : 0, ignored,
	                       sizeof ignored);
	if (rival && !b->has[ITEM_BF16])
		snprintf(b->why, sizeof b->why, "the bf16 kernel: %s", ignored);
	free(other);
	if (rival && !b->has[ITEM_BF16])
		return false;
	/* what this processor reads and adds says nothing about a device */
	bool here = !kvjit_device_name(kv);
	b->has[ITEM_KERNEL] = true;
	b->has[ITEM_READ] = b->has[ITEM_FMA] = here;
	b->has[ITEM_COPY] = here && load_writes(&b->kernel);
	b->block = here && b->kernel.a.p.kind == KIR_ATTN ? load_block_bytes(&b->kernel) : 0;
	b->has[ITEM_BLOCKS] = b->block >= 64 && (size_t)b->kernel.bytes >= b->block;
	if (b->has[ITEM_COPY]) {
		size_t bytes;
		load_memory(&b->kernel, &bytes);
		b->copy = kvjit_alloc(bytes);
		if (!b->copy) {
			snprintf(b->why, sizeof b->why, "no memory to copy to");
			return false;
		}
		memset(b->copy, 1, bytes);
	}
	b->call_us = load_call_us(&b->kernel);
	if (run_rounds(b))
		return true;
	const load *l = &b->kernel;
	snprintf(b->why, sizeof b->why, "%s",
	         l->queue ? kvjit_queue_error(l->queue) : kvjit_kernel_error(l->k));
	return false;
}

static void drop(bench *b)
{
	size_t bytes = 0;
	if (b->copy) {
		load_memory(&b->kernel, &bytes);
		kvjit_free(b->copy, bytes);
	}
	load_close(&b->kernel);
	load_close(&b->bf16);
	free(b->target);
	free(b->schedule);
}

/* -- telling ------------------------------------------------------------------------------- */

typedef struct figure {
	kt_spread time;
	double rate;     /* GB/s, of ITEM_FMA GFLOP/s */
	kt_spread share; /* the kernel's rate over this; of ITEM_BF16 its time over that */
} figure;

/* What is said of an item that was measured. */
static figure figure_of(const bench *b, int item)
{
	const load *k = &b->kernel;
	figure f = { .time = spread(b, item) };
	double work = item == ITEM_KERNEL ? k->bytes
	              : item == ITEM_BF16 ? b->bf16.bytes
	                                  : b->work[item];

	f.rate = 1e-9 * work / f.time.median;
	if (item == ITEM_BF16)
		f.share = ratio(b, ITEM_KERNEL, item, 1);
	else if (item != ITEM_KERNEL)
		f.share = ratio(b, item, ITEM_KERNEL,
		                (item == ITEM_FMA ? k->flops : k->bytes) / work);
	return f;
}

static void add_spread(cJSON *root, const char *name, const kt_spread *s, double scale)
{
	char key[40];
	double ci[2] = { s->lo * scale, s->hi * scale };
	cJSON_AddNumberToObject(root, name, s->median * scale);
	snprintf(key, sizeof key, "%s_min", name);
	cJSON_AddNumberToObject(root, key, s->min * scale);
	snprintf(key, sizeof key, "%s_ci", name);
	cJSON_AddItemToObject(root, key, cJSON_CreateDoubleArray(ci, 2));
}

/* A rate and the kernel's share of it. */
static void add_rate(cJSON *root, const bench *b, int item, const char *rate, const char *share)
{
	if (!b->has[item])
		return;
	figure f = figure_of(b, item);
	cJSON_AddNumberToObject(root, rate, f.rate);
	add_spread(root, share, &f.share, 1);
}

static void print_json(const bench *b, const char *problem)
{
	figure kernel = figure_of(b, ITEM_KERNEL);
	cJSON *root = cJSON_CreateObject();
	cJSON_AddStringToObject(root, "problem", problem);
	cJSON_AddStringToObject(root, "target", b->target);
	cJSON_AddStringToObject(root, "schedule", b->schedule ? b->schedule : "");
	cJSON_AddNumberToObject(root, "threads", b->threads);
	cJSON_AddNumberToObject(root, "cpu", measure_team_cpu(b->team));
	cJSON_AddBoolToObject(root, "cold", b->cold);
	cJSON_AddNumberToObject(root, "rounds", b->rounds);
	cJSON_AddNumberToObject(root, "bytes", b->kernel.bytes);
	cJSON_AddNumberToObject(root, "pool_bytes", b->kernel.pool_bytes);
	add_spread(root, "ms", &kernel.time, 1e3);
	cJSON_AddNumberToObject(root, "gb_s", kernel.rate);
	cJSON_AddNumberToObject(root, "gflop_s", 1e-9 * b->kernel.flops / kernel.time.median);
	add_rate(root, b, ITEM_READ, "stream_gb_s", "stream_share");
	add_rate(root, b, ITEM_BLOCKS, "block_gb_s", "block_share");
	add_rate(root, b, ITEM_FMA, "peak_gflop_s", "peak_share");
	if (b->has[ITEM_BF16]) {
		figure f = figure_of(b, ITEM_BF16);
		add_spread(root, "vs_bf16", &f.share, 1);
		cJSON_AddNumberToObject(root, "bf16_ms", 1e3 * f.time.median);
	}
	add_rate(root, b, ITEM_COPY, "memcpy_gb_s", "memcpy_share");
	cJSON_AddNumberToObject(root, "compile_ms", b->kernel.compile_ms);
	if (!isnan(b->call_us))
		cJSON_AddNumberToObject(root, "call_us", b->call_us);
	tool_print_json(root);
}

static void row(const bench *b, int item, const char *unit)
{
	if (!b->has[item])
		return;
	figure f = figure_of(b, item);
	printf("  %-18s %9.3f %9.3f   %.3f .. %.3f  %9.1f %s\n", item_names[item],
	       1e3 * f.time.median, 1e3 * f.time.min, 1e3 * f.time.lo, 1e3 * f.time.hi, f.rate,
	       unit);
}

static void share(const bench *b, int item, const char *what)
{
	if (!b->has[item])
		return;
	kt_spread s = figure_of(b, item).share;
	printf("  %-44s %6.3f  (%.3f .. %.3f)\n", what, s.median, s.lo, s.hi);
}

static void print_text(const bench *b, const char *problem)
{
	bool reads = !load_writes(&b->kernel);
	const char *what = !reads                            ? "GB/s of input"
	                   : b->kernel.a.p.kind == KIR_GEMM  ? "GB/s of weights"
	                   : b->kernel.a.p.kind == KIR_MERGE ? "GB/s of parts"
	                                                     : "GB/s of cache";

	printf("%s\n  target %s, schedule %s, ", problem, b->target,
	       b->schedule && *b->schedule ? b->schedule : "default");
	if (b->kernel.queue)
		printf("on %s, by its clock\n", kvjit_device_name(b->kernel.kv));
	else
		printf("%d thread%s from processor %d\n", b->threads, b->threads > 1 ? "s" : "",
		       measure_team_cpu(b->team));
	printf("  %s: %.1f MB a call from %.0f MB; %u rounds\n\n", b->cold ? "cold" : "warm",
	       1e-6 * b->kernel.bytes, 1e-6 * b->kernel.pool_bytes, b->rounds);
	printf("  %-18s %9s %9s   %-16s %9s\n", "", "median ms", "least", "95 % interval",
	       "rate");
	row(b, ITEM_KERNEL, what);
	row(b, ITEM_BF16, what);
	row(b, ITEM_READ, "GB/s");
	row(b, ITEM_BLOCKS, "GB/s");
	row(b, ITEM_COPY, "GB/s");
	row(b, ITEM_FMA, "GFLOP/s");
	printf("\n");
	share(b, ITEM_BLOCKS, "share of the rate in blocks");
	if (reads)
		share(b, ITEM_READ, "share of the read rate");
	share(b, ITEM_COPY, "share of memcpy's rate");
	if (reads)
		share(b, ITEM_FMA, "rate / f32 multiply-add rate");
	share(b, ITEM_BF16, "time / time of bf16");
	printf("  compiled in %.1f ms", b->kernel.compile_ms);
	if (!isnan(b->call_us))
		printf("; an empty kvjit_call takes %.2f us", b->call_us);
	printf("\n");
}

/* -- the command --------------------------------------------------------------------------- */

static int run(bench *b, kvjit *kv, args *a, long qlen, const char *sched, const char *rival,
               bool json)
{
	int status = TOOL_FAILED;
	char *given = tool_program(a);
	if (!given)
		return status;
	char *text = problem_text(given, qlen, NULL, b->why, sizeof b->why);
	if (!text || !prepare(b, kv, text, sched, rival)) {
		fprintf(stderr, "kvjit: %s\n", b->why);
	} else {
		const char *problem = kvjit_kernel_problem(b->kernel.k);
		if (json)
			print_json(b, problem);
		else
			print_text(b, problem);
		status = TOOL_OK;
	}
	drop(b);
	free(text);
	free(given);
	return status;
}

int tool_bench(args *a)
{
	const char *target = args_value(a, "--target"), *backend = args_value(a, "--backend");
	const char *sched = args_value(a, "--sched"), *vs = args_value(a, "--vs");
	double seconds = args_seconds(a, "--seconds", 0, 4);
	long qlen = args_number(a, "--q-len", 1, 1 << 20, 0);
	long threads = args_number(a, "--threads", 1, 1024, 1);
	bool json = args_flag(a, "--json"), cold = args_flag(a, "--cold"),
	     warm = args_flag(a, "--warm");
	if (!args_end(a, 1, 1 << 20))
		return TOOL_USAGE;
	if ((cold && warm) || (vs && strcmp(vs, "bf16") != 0 && strcmp(vs, "none") != 0)) {
		fprintf(stderr, "kvjit: %s\n",
		        cold && warm ? "--cold or --warm, not both"
		                     : "--vs takes bf16 or none");
		args_usage(a, stderr);
		return TOOL_USAGE;
	}
	bench *b = calloc(1, sizeof *b);
	b->threads = (int)threads;
	b->cold = cold;
	b->seconds = seconds;
	b->team = measure_team_new(b->threads);
	kvjit_options o = { .size = sizeof o,
		            .target = target,
		            .backend = backend,
		            .parallel = measure_parallel,
		            .executor = b->team };
	kvjit *kv = NULL;
	int status = TOOL_FAILED;
	if (!b->team)
		fprintf(stderr, "kvjit: --threads %ld: there aren't that many processors\n",
		        threads);
	else if (kvjit_open(&o, &kv) != KVJIT_OK)
		fprintf(stderr, "kvjit: %s\n", kvjit_open_error());
	else
		status = run(b, kv, a, qlen, sched,
		             vs && strcmp(vs, "none") == 0 ? NULL : "bf16", json);
	kvjit_close(kv);
	measure_team_free(b->team);
	free(b);
	return status;
}
