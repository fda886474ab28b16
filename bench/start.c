/* SPDX-License-Identifier: Apache-2.0 */
/* start.c -- how soon a process has its first result, and what a known problem costs.
 *
 *     kvjit-bench-start [RUNS [ENTRIES]]
 *
 * Makes a cache and a signed pack of so many kernels (10,000: one that is asked for, the rest
 * copies of it under other keys), then starts RUNS new processes on each, cold compiles between
 * them, and prints medians with the quartiles: from before kvjit_open until kvjit_call has
 * returned, without making the data. Then the hot path: kvjit_compile and kvjit_release of a
 * known text, by 1 thread and by 8 at once; and what KVJIT_RECORD adds to a call: two contexts,
 * in turn, the median of the differences.
 */
#include "../tools/check/attn.h"
#include "../tune/pack.h"
#include "../tune/store.h"

#include <pthread.h>
#include <sodium.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static const char decode[] = "attn q=bf16 kv=int8/token-head heads=8:2 dim=128 page=64 causal";
static const char prefill[] =
    "attn q=bf16 kv=int8/token-head heads=32:8 dim=128 page=128 causal qlen=512";

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *what, const char *why)
{
	fprintf(stderr, "kvjit-bench-start: %s: %s\n", what, why);
	exit(1);
}

/* -- one process ------------------------------------------------------------------------ */

static bool llvm_is_loaded(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[600];
	bool found = false;

	while (f && fgets(line, sizeof(line), f))
		found |= strstr(line, "LLVM") || strstr(line, "libkvjit-x86");
	if (f)
		fclose(f);
	return found;
}

/* Prints microseconds, whether LLVM was loaded, and where the code came from. */
static int child(const char *text)
{
	static const int32_t lens[] = { 100 }, starts[] = { 0, 1 }, table[] = { 1, 0 };
	kvjit_kernel *k = NULL;
	kvjit *kv = NULL;
	double t, spent;
	char why[400];
	attn a;

	if (!attn_open(&a, text, why, sizeof(why)))
		die(text, why);
	attn_batch(&a, 1, lens, starts, table, 2, 2);
	t = now();
	if (kvjit_open(NULL, &kv) != KVJIT_OK)
		die("open", kvjit_open_error());
	if (kvjit_compile(kv, text, NULL, &k) != KVJIT_OK)
		die("compile", kvjit_error(kv));
	spent = now() - t;
	bind_tensor(&a.b, "q", KVJIT_BF16, 3, (int64_t[]){ 1, a.p.heads, a.p.dim_k });
	bind_scalar(&a.b, "scale", 0, 0.1);
	attn_outputs(&a, k);
	t = now();
	if (!attn_call(&a, kv, k, why, sizeof(why)))
		die("call", why);
	spent += now() - t;
	printf("%.1f %d %s\n", spent * 1e6, llvm_is_loaded(), kvjit_kernel_origin(k));
	kvjit_release(k);
	kvjit_close(kv);
	attn_close(&a);
	return 0;
}

static double start(const char *self, const char *text, bool *llvm, char origin[300])
{
	char *argv[] = { (char *)self, (char *)"--child", (char *)text, NULL };
	posix_spawn_file_actions_t fa;
	int pipes[2], status, loaded = 0;
	double us = 0;
	pid_t pid;
	FILE *f;

	if (pipe(pipes))
		die("pipe", "can't be made");
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, pipes[1], 1);
	if (posix_spawn(&pid, self, &fa, NULL, argv, environ))
		die(self, "can't be started");
	posix_spawn_file_actions_destroy(&fa);
	close(pipes[1]);
	f = fdopen(pipes[0], "r");
	if (!f || fscanf(f, "%lf %d %299[^\n]", &us, &loaded, origin) != 3)
		die("a child", "gave no figures");
	fclose(f);
	waitpid(pid, &status, 0);
	*llvm = loaded;
	return us;
}

/* -- what they find ---------------------------------------------------------------------- */

typedef struct stock {
	kt_code one; /* the kernel that is asked for */
	kt_code *all;
	unsigned n;
} stock;

static bool take_first(const kt_code *c, void *ctx)
{
	stock *s = ctx;

	s->one = *c;
	s->one.kind = strdup(c->kind);
	s->one.backend = strdup(c->backend);
	s->one.target = strdup(c->target);
	s->one.problem = strdup(c->problem);
	s->one.sched = strdup(c->sched);
	s->one.phases = strdup(c->phases);
	s->one.bytes = malloc(c->size);
	if (s->one.bytes)
		memcpy(s->one.bytes, c->bytes, c->size);
	return false;
}

static void fill(const char *folder, unsigned n, stock *s)
{
	kt_store *st = kt_store_open(
	    &(kt_store_options){ folder, KT_USER, (int64_t)4 << 30, { NULL, NULL } });

	kt_each_code(st, true, take_first, s);
	s->all = calloc(n, sizeof(*s->all));
	if (!s->one.bytes || !s->all)
		die(folder, "has no code");
	s->n = n;
	s->all[0] = s->one;
	kt_store_begin(st);
	for (unsigned i = 1; i < n; i++) {
		s->all[i] = s->one;
		kt_hash(&i, sizeof(i), &s->all[i].key);
		if (kt_code_put(st, &s->all[i]) != KT_WHY_none)
			die(folder, "can't be filled");
	}
	kt_store_end(st, true);
	kt_store_close(st);
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	if (!f || fputs(text, f) < 0 || fclose(f))
		die(path, "can't be written");
}

static void make_pack(const char *path, const char *trusted, const stock *s)
{
	kt_pack_input in = { .head = { .name = "bench", .version = 1 } };
	char line[400] = "key ", why[300], text[300];
	kt_public pub;
	kt_secret sec;
	char *base64;

	in.code = s->all;
	in.head.ncode = s->n;
	if (!kt_keypair(&pub, &sec) || !kt_pack_write(path, &in, why, sizeof(why)) ||
	    !kt_pack_sign(path, &sec, why, sizeof(why)))
		die(path, why);
	kt_public_print(&pub, text, sizeof(text));
	base64 = strchr(text, '\n');
	snprintf(line, sizeof(line), "key %s", base64 ? base64 + 1 : text);
	write_file(trusted, line);
}

/* -- figures ----------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void row(const char *what, double *us, unsigned n, bool llvm, const char *origin)
{
	qsort(us, n, sizeof(*us), by_size);
	printf("%-28s %9.0f us  (%.0f to %.0f)  LLVM %s, %.8s\n", what, us[n / 2], us[n / 4],
	       us[n * 3 / 4], llvm ? "loaded" : "not loaded", origin);
}

static void measure(const char *self, const char *what, const char *text, unsigned runs)
{
	double *us = calloc(runs, sizeof(*us));
	bool llvm = false, any = false;
	char origin[300] = "";

	for (unsigned i = 0; us && i < runs; i++) {
		us[i] = start(self, text, &llvm, origin);
		any |= llvm;
	}
	row(what, us, runs, any, origin);
	free(us);
}

typedef struct hot {
	kvjit *kv;
	double ns;
} hot;

static void *ask(void *ctx)
{
	enum { TIMES = 200000 };
	hot *h = ctx;
	double begin = now();

	for (int i = 0; i < TIMES; i++) {
		kvjit_kernel *k = NULL;

		if (kvjit_compile(h->kv, decode, NULL, &k) != KVJIT_OK)
			die("compile", kvjit_error(h->kv));
		kvjit_release(k);
	}
	h->ns = (now() - begin) / TIMES * 1e9;
	return NULL;
}

static void measure_hot(unsigned threads)
{
	pthread_t t[8];
	hot h[8];
	kvjit *kv;
	double sum = 0, begin;
	kvjit_kernel *k = NULL;

	if (kvjit_open(NULL, &kv) != KVJIT_OK ||
	    kvjit_compile(kv, decode, NULL, &k) != KVJIT_OK)
		die("open", kvjit_open_error());
	for (unsigned i = 0; i < threads; i++)
		h[i] = (hot){ kv, 0 };
	begin = now();
	for (unsigned i = 0; i < threads; i++)
		pthread_create(&t[i], NULL, ask, &h[i]);
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(t[i], NULL);
		sum += h[i].ns;
	}
	printf(
	    "known text, %u thread%-9s %9.0f ns a call; %.1f million calls a second in all\n",
	    threads, threads > 1 ? "s" : "", sum / threads, 0.2 * threads / (now() - begin));
	kvjit_release(k);
	kvjit_close(kv);
}

enum { ROUNDS = 4001, CALLS = 200, MOST = 8 };

typedef struct calls {
	kvjit *kv;
	kvjit_kernel *k;
	kvjit_arg arg[MOST];
	int n;
} calls;

static const char one_row[] = "quant in=f32 to=e4m3/token-head heads=1 dim=64";

static void prepare(calls *c, const char *record)
{
	static _Alignas(64) char memory[MOST][4096];

	if (record)
		setenv("KVJIT_RECORD", record, 1);
	if (kvjit_open(NULL, &c->kv) != KVJIT_OK)
		die("open", kvjit_open_error());
	unsetenv("KVJIT_RECORD");
	if (kvjit_compile(c->kv, one_row, NULL, &c->k) != KVJIT_OK)
		die(one_row, kvjit_error(c->kv));
	c->n = kvjit_nparam(c->k);
	for (int i = 0; i < c->n && i < MOST; i++) {
		const kvjit_param *p = kvjit_param_at(c->k, i);

		c->arg[i] = (kvjit_arg){ .name = p->name,
			                 .dtype = p->dtype,
			                 .data = p->rank ? memory[i] : NULL,
			                 .i = p->rank ? 0 : 1 };
	}
}

static double ns_a_call(const calls *c)
{
	double begin = now();

	for (int i = 0; i < CALLS; i++)
		if (kvjit_call(c->k, NULL, c->arg, c->n, NULL) != KVJIT_OK)
			die("call", kvjit_kernel_error(c->k));
	return (now() - begin) / CALLS * 1e9;
}

static void measure_record(const char *folder)
{
	static double more[ROUNDS], plain[ROUNDS];
	calls c[2] = { 0 };
	char path[200];

	snprintf(path, sizeof(path), "%s/calls", folder);
	prepare(&c[0], NULL);
	prepare(&c[1], path);
	for (int i = 0; i < ROUNDS; i++) {
		plain[i] = ns_a_call(&c[0]);
		more[i] = ns_a_call(&c[1]) - plain[i];
	}
	qsort(more, ROUNDS, sizeof(*more), by_size);
	qsort(plain, ROUNDS, sizeof(*plain), by_size);
	printf("a call of one row            %9.0f ns; recorded %.1f ns more (%.1f to %.1f)\n",
	       plain[ROUNDS / 2], more[ROUNDS / 2], more[ROUNDS / 4], more[ROUNDS * 3 / 4]);
	for (int i = 0; i < 2; i++) {
		kvjit_release(c[i].k);
		kvjit_close(c[i].kv);
	}
}

int main(int argc, char **argv)
{
	unsigned runs = argc > 1 ? (unsigned)atoi(argv[1]) : 30;
	unsigned entries = argc > 2 ? (unsigned)atoi(argv[2]) : 10000;
	char folder[] = "/tmp/kvjit-start-XXXXXX", pack[100], trusted[100], command[100];
	char origin[300];
	stock s = { 0 };
	bool llvm;

	if (argc == 3 && !strcmp(argv[1], "--child"))
		return child(argv[2]);
	if (!runs || !entries || sodium_init() < 0 || !mkdtemp(folder))
		die("usage", "kvjit-bench-start [RUNS [ENTRIES]]");
	setenv("KVJIT_CACHE_DIR", "off", 1);
	measure(argv[0], "cold, decode", decode, runs / 3 + 1);
	measure(argv[0], "cold, prefill", prefill, runs / 3 + 1);
	setenv("KVJIT_CACHE_DIR", folder, 1);
	start(argv[0], decode, &llvm, origin);
	fill(folder, entries, &s);
	measure(argv[0], "warm, user's cache", decode, runs);
	snprintf(pack, sizeof(pack), "%s/bench.kvpack", folder);
	snprintf(trusted, sizeof(trusted), "%s/trusted", folder);
	make_pack(pack, trusted, &s);
	setenv("KVJIT_CACHE_DIR", "off", 1);
	setenv("KVJIT_CACHE_PATH", pack, 1);
	setenv("KVJIT_TRUSTED", trusted, 1);
	measure(argv[0], "warm, signed pack", decode, runs);
	unsetenv("KVJIT_CACHE_PATH");
	measure_hot(1);
	measure_hot(8);
	measure_record(folder);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command) != 0;
}
