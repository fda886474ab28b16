/* SPDX-License-Identifier: Apache-2.0 */
/* test_cache.c -- what a cache does for kvjit_compile, and that it never fails it.
 *
 * Each process is a child forked before any backend was loaded; it reports through a pipe. */
#include "support_api.h"
#include "../jit/cache.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[300];

static int make_folder(void **state)
{
	const char *tmp = getenv("KVJIT_TMP");

	(void)state;
	snprintf(folder, sizeof(folder), "%s/cache.XXXXXX", tmp ? tmp : "/tmp");
	return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
	char command[400];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command) != 0;
}

static char said[8000];

static void listen(const char *line, void *ctx)
{
	(void)ctx;
	strncat(said, line, sizeof(said) - strlen(said) - 1);
}

/* Where x86 isn't built (sanitizers) kernels come from the C backend, a second each. */
static bool x86_is_built(void)
{
	const char *dir = getenv("KVJIT_BACKEND_DIR");
	char path[500];

	snprintf(path, sizeof(path), "%s/libkvjit-x86.so", dir ? dir : ".");
	return access(path, R_OK) == 0;
}

static kvjit *open_at(const char *cache, const char *path, const char *pins)
{
	kvjit_options o = { .size = sizeof(o),
		            .backend = x86_is_built() ? NULL : "c",
		            .cache = cache,
		            .cache_path = path,
		            .pins = pins,
		            .threads = 1,
		            .log = listen };
	kvjit *kv = NULL;

	said[0] = 0;
	if (kvjit_open(&o, &kv) != KVJIT_OK)
		fail_msg("%s", kvjit_open_error());
	return kv;
}

static kvjit_kernel *get(kvjit *kv, const char *text, unsigned flags)
{
	kvjit_compile_options o = { .size = sizeof(o), .flags = flags };
	kvjit_kernel *k = NULL;

	if (kvjit_compile(kv, text, &o, &k) != KVJIT_OK)
		fail_msg("%s: %s", text, kvjit_error(kv));
	return k;
}

static bool from_cache(const kvjit_kernel *k)
{
	return !strncmp(kvjit_kernel_origin(k), "cache ", 6);
}

/* Only x86 code is decoded, and so kept. */
#define NEEDS_X86()          \
	if (!x86_is_built()) \
	skip()

/* Runs fn in a child; what it returns. */
static int in_child(int (*fn)(void *arg), void *arg)
{
	pid_t pid = fork();
	int status = -1;

	if (!pid)
		_exit(fn(arg));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

static bool maps_have(const char *word)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[600];
	bool found = false;

	while (f && fgets(line, sizeof(line), f))
		found |= strstr(line, word) != NULL;
	if (f)
		fclose(f);
	return found;
}

/* -- warm ---------------------------------------------------------------------------------- */

static const char *const problems[] = {
	"attn q=f32 kv=int8/token-head heads=8:2 dim=64 page=16 causal",
	"attn q=bf16 kv=e4m3/head heads=4:1 dim=96 page=32 causal window=64 sink lse qlen=8",
	"attn q=bf16 kv=bf16 heads=2:2 dim=64 page=16 softcap=30 batch=4 ctx=1024",
	"write in=bf16 kv=int8/token-head heads=2 dim=64 page=16",
	"quant in=f32 to=e4m3/token-head heads=2 dim=64",
	"merge out=bf16 heads=4 dim=64",
	scale_ir,
};
enum { NPROBLEM = sizeof(problems) / sizeof(problems[0]) };

static int compile_all(void *arg)
{
	kvjit *kv = open_at(folder, NULL, NULL);
	int compiled = 0;

	(void)arg;
	for (unsigned i = 0; i < NPROBLEM; i++)
		compiled += !strcmp(kvjit_kernel_origin(get(kv, problems[i], 0)), "compiled");
	return compiled;
}

static int find_all_without_llvm(void *arg)
{
	kvjit *kv = open_at(folder, NULL, NULL);
	int found = 0;

	(void)arg;
	for (unsigned i = 0; i < NPROBLEM; i++)
		found += from_cache(get(kv, problems[i], 0));
	return maps_have("LLVM") || maps_have("libkvjit-x86") ? 99 : found;
}

static void a_second_process_finds_all_and_loads_no_llvm(void **state)
{
	(void)state;
	NEEDS_X86();
	assert_int_equal(in_child(compile_all, NULL), NPROBLEM);
	assert_int_equal(in_child(find_all_without_llvm, NULL), NPROBLEM);
}

static void assert_same_kernel(const kvjit_kernel *a, const kvjit_kernel *b)
{
	static const char *const stages[] = {
		"ir", "tile", "vector", "llvm", "asm", "schedule"
	};

	assert_int_equal(a->nparam, b->nparam);
	for (int i = 0; i < a->nparam; i++) {
		assert_string_equal(a->param[i].name, b->param[i].name);
		assert_int_equal(a->param[i].dtype, b->param[i].dtype);
		assert_int_equal(a->param[i].role, b->param[i].role);
		assert_int_equal(a->param[i].nstride, b->param[i].nstride);
		assert_memory_equal(a->param[i].stride, b->param[i].stride,
		                    sizeof(a->param[i].stride));
		assert_memory_equal(&a->slot[i], &b->slot[i], sizeof(a->slot[i]));
	}
	assert_int_equal(a->nphase, b->nphase);
	for (int i = 0; i < a->nphase; i++) {
		assert_int_equal(a->phase[i].param, b->phase[i].param);
		assert_int_equal(a->phase[i].n, b->phase[i].n);
	}
	assert_memory_equal(&a->shape, &b->shape, sizeof(a->shape));
	assert_int_equal(a->code.size, b->code.size);
	assert_memory_equal(a->code.base, b->code.base, a->code.size);
	for (unsigned i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
		char *x = kvjit_kernel_text(a, stages[i]), *y = kvjit_kernel_text(b, stages[i]);

		if (x || y)
			assert_string_equal(x ? x : "none", y ? y : "none");
		free(x);
		free(y);
	}
}

/* A kernel from a cache is the kernel that was compiled: parameters, phases, plan, bytes, and
 * every stage that can be printed. */
static int compare_kernels(void *arg)
{
	kvjit *kv = open_at(folder, NULL, NULL);

	(void)arg;
	for (unsigned i = 0; i < NPROBLEM; i++) {
		kvjit_kernel *stored = get(kv, problems[i], 0);
		kvjit_kernel *fresh = get(kv, problems[i], KVJIT_FRESH);

		assert_true(from_cache(stored));
		assert_string_equal(kvjit_kernel_origin(fresh), "compiled");
		assert_same_kernel(stored, fresh);
		kvjit_release(stored);
		kvjit_release(fresh);
	}
	kvjit_close(kv);
	return 0;
}

static void a_stored_kernel_is_the_compiled_one(void **state)
{
	(void)state;
	NEEDS_X86();
	assert_int_equal(in_child(compile_all, NULL), NPROBLEM);
	assert_int_equal(in_child(compare_kernels, NULL), 0);
}

/* -- one compile -----------------------------------------------------------------------------
 */

static long times(const char *small, const char *large)
{
	return atol(getenv("KVJIT_LONG") ? large : small);
}

static void kernel_text(long i, char *out, size_t len)
{
	snprintf(out, len, "attn q=f32 kv=bf16 heads=2:1 dim=%ld page=16 causal", 16 * (i + 1));
}

static int compile_many(void *arg)
{
	kvjit *kv = open_at(folder, NULL, NULL);
	long n = *(long *)arg;
	int compiled = 0;

	for (long i = 0; i < n; i++) {
		char text[100];

		kernel_text(i, text, sizeof(text));
		compiled += !strcmp(kvjit_kernel_origin(get(kv, text, 0)), "compiled");
	}
	kvjit_close(kv);
	return compiled;
}

static void many_processes_compile_each_kernel_once(void **state)
{
	long processes = times("4", "8"), kernels = times("6", "32"), compiled = 0;
	pid_t pid[8];

	(void)state;
	NEEDS_X86();
	for (long i = 0; i < processes; i++) {
		pid[i] = fork();
		if (!pid[i])
			_exit(compile_many(&kernels));
	}
	for (long i = 0; i < processes; i++) {
		int status;

		waitpid(pid[i], &status, 0);
		assert_true(WIFEXITED(status));
		compiled += WEXITSTATUS(status);
	}
	assert_int_equal(compiled, kernels);
}

static int count_found(void *arg)
{
	kvjit *kv = open_at(folder, NULL, NULL);
	long n = *(long *)arg;
	int found = 0;

	for (long i = 0; i < n; i++) {
		char text[100];

		kernel_text(i, text, sizeof(text));
		found += from_cache(get(kv, text, 0));
	}
	assert_string_equal(said, "");
	kvjit_close(kv);
	return found;
}

/* Processes that compile are killed at random moments; the next one opens the cache without a
 * word, and what is found is what was compiled. */
static void killed_compilers_leave_a_sound_cache(void **state)
{
	long rounds = times("4", "50"), kernels = 8;
	int before = 0;

	(void)state;
	NEEDS_X86();
	for (long r = 0; r < rounds; r++) {
		pid_t pid[4];
		int now;

		for (int i = 0; i < 4; i++) {
			pid[i] = fork();
			if (!pid[i])
				_exit(compile_many(&kernels));
		}
		usleep((useconds_t)(20000 + rand() % 300000));
		for (int i = 0; i < 4; i++)
			kill(pid[i], SIGKILL);
		for (int i = 0; i < 4; i++)
			waitpid(pid[i], NULL, 0);
		now = in_child(count_found, &kernels); /* compiles what is missing, too */
		assert_in_range(now, before, kernels);
		before = (int)kernels;
	}
}

/* -- hot -------------------------------------------------------------------------------------
 */

typedef struct asker {
	kvjit *kv;
	unsigned first; /* problem */
	kvjit_kernel *k[NPROBLEM];
} asker;

static void *ask_all(void *ctx)
{
	asker *a = ctx;

	for (int turn = 0; turn < 200; turn++)
		for (unsigned i = a->first; i < NPROBLEM; i++) {
			kvjit_kernel *k = get(a->kv, problems[i], 0);

			if (turn)
				kvjit_release(a->k[i]);
			if (turn && k != a->k[i])
				abort();
			a->k[i] = k;
		}
	return NULL;
}

static int threads_share(void *arg)
{
	kvjit *kv = open_at("off", NULL, NULL);
	pthread_t t[8];
	unsigned first = x86_is_built() ? 0 : NPROBLEM - 1; /* cc takes a second each */
	asker a[8];

	(void)arg;
	for (int i = 0; i < 8; i++) {
		a[i].kv = kv;
		a[i].first = first;
		pthread_create(&t[i], NULL, ask_all, &a[i]);
	}
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	for (unsigned p = first; p < NPROBLEM; p++) {
		assert_int_equal(atomic_load(&a[0].k[p]->refs), 9); /* the table's as well */
		for (int i = 0; i < 8; i++) {
			assert_ptr_equal(a[i].k[p], a[0].k[p]);
		}
	}
	kvjit_close(kv); /* kernels outlive it */
	for (unsigned p = first; p < NPROBLEM; p++)
		for (int i = 0; i < 8; i++) {
			assert_int_equal(a[i].k[p]->nparam > 0, 1);
			kvjit_release(a[i].k[p]);
		}
	return 0;
}

static void the_same_words_are_the_same_kernel_on_any_thread(void **state)
{
	(void)state;
	assert_int_equal(in_child(threads_share, NULL), 0);
}

static void other_knobs_and_flags_are_other_kernels(void **state)
{
	kvjit_compile_options o = { .size = sizeof(o), .sched = "kv_tile=16" };
	kvjit *kv = open_at("off", NULL, NULL);
	kvjit_kernel *plain = get(kv, problems[0], 0), *k = NULL;

	(void)state;
	assert_int_equal(kvjit_compile(kv, problems[0], &o, &k), KVJIT_OK);
	assert_ptr_not_equal(k, plain);
	assert_int_equal(k->ir->sched.kv_tile, 16);
	kvjit_release(k);
	k = get(kv, problems[0], KVJIT_FRESH);
	assert_ptr_not_equal(k, plain);
	kvjit_release(k);
	kvjit_release(plain);
	o.flags = 64;
	assert_int_equal(kvjit_compile(kv, problems[0], &o, &k), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_error(kv), "options.flags|KVJIT_FRESH");
	kvjit_close(kv);
}

/* -- whatever is wrong with a cache
 * -------------------------------------------------------------- */

static void still_compiles(const char *cache, const char *path, const char *pins,
                           const char *words)
{
	kvjit *kv = open_at(cache, path, pins);
	kvjit_kernel *k = get(kv, problems[0], 0);

	if (strcmp(words, "") != 0)
		assert_says(said, words);
	kvjit_release(k);
	kvjit_close(kv);
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void nothing_wrong_with_a_cache_fails_a_compilation(void **state)
{
	char path[400], pack[1000];

	(void)state;
	snprintf(path, sizeof(path), "%s/a", folder);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/a/kvjit.db", folder);
	put(path, "this is no database, but it is long enough to be taken for one");
	snprintf(path, sizeof(path), "%s/a", folder);
	still_compiles(path, NULL, NULL, "is damaged");
	snprintf(path, sizeof(path), "%s/file", folder);
	put(path, "x");
	still_compiles(path, NULL, NULL, "file");
	snprintf(path, sizeof(path), "%s/fifo", folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	still_compiles(path, NULL, NULL, "fifo");
	snprintf(pack, sizeof(pack), "%s/no.kvpack:%s/nowhere:::%s", folder, folder, folder);
	still_compiles("off", pack, NULL, "");
	snprintf(pack, sizeof(pack), "%s/bad.kvpack", folder);
	put(pack, "not a pack");
	still_compiles("off", pack, NULL, "bad.kvpack");
}

static void a_pin_that_cannot_be_used_is_told(void **state)
{
	char path[400];

	(void)state;
	snprintf(path, sizeof(path), "%s/pins", folder);
	put(path, "attn q=f32 kv=nothing heads=8:2 dim=64 page=16 :: kv_tile=16\n");
	still_compiles("off", NULL, path, "pins a schedule|nothing");
	put(path, "attn q=f32 kv=int8 heads=8:2 dim=64 page=16 :: kv_tile=often\n");
	still_compiles("off", NULL, path, "");
	snprintf(path, sizeof(path), "%s/absent", folder);
	still_compiles("off", NULL, path, "absent can't be opened");
}

/* -- choosing
 * -------------------------------------------------------------------------------------- */

static void put_schedule(const char *text, const char *sched, int64_t batch, int64_t ctx)
{
	kvjit *kv = open_at(folder, NULL, NULL);
	kvjit_keys keys = { .size = sizeof(keys) };
	kt_store *s;
	kt_schedule r = { 0 };

	assert_int_equal(kvjit_keys_of(kv, text, NULL, &keys), KVJIT_OK);
	assert_true(kt_key_parse(keys.program, &r.where.program));
	assert_true(kt_key_parse(keys.machine, &r.where.machine));
	r.where.threads = 1;
	r.where.policy = KT_COLD;
	r.where.bucket = kt_bucket_of(batch, ctx, 1);
	r.problem = (char *)text;
	r.sched = (char *)sched;
	r.target = kv->target.name ? (char *)kv->target.name : NULL;
	r.machine = (char *)"a machine";
	r.source = KT_BY_trial;
	r.ratio = 0.9;
	r.codegen = KT_CODEGEN;
	s = kt_store_open(&(kt_store_options){ folder, KT_USER, 0, { NULL, NULL } });
	assert_int_equal(kt_schedule_put(s, &r), KT_WHY_none);
	kt_store_close(s);
	kvjit_close(kv);
}

#define BASE "attn q=f32 kv=int8/token-head heads=8:2 dim=64 page=64 causal"

static void a_tuned_schedule_is_taken_near_its_size(void **state)
{
	kvjit *kv;
	kvjit_kernel *k;

	(void)state;
	put_schedule(BASE, "kv_tile=32 prefetch=off", 4, 4096);
	kv = open_at(folder, NULL, NULL);
	k = get(kv, BASE " batch=4 ctx=4096", 0);
	assert_int_equal(k->ir->sched.kv_tile, 32);
	kvjit_release(k);
	k = get(kv, BASE " batch=8 ctx=8000", 0);
	assert_int_equal(k->ir->sched.kv_tile, 32);
	kvjit_release(k);
	k = get(kv, BASE " batch=512 ctx=4096", 0);
	assert_int_not_equal(k->ir->sched.kv_tile, 32);
	kvjit_release(k);
	k = get(kv, BASE " batch=4 ctx=4096", KVJIT_UNTUNED);
	assert_int_not_equal(k->ir->sched.kv_tile, 32);
	kvjit_release(k);
	k = get(kv, BASE " batch=4 ctx=4096 kv_tile=16", 0);
	assert_int_equal(k->ir->sched.kv_tile, 16);
	kvjit_release(k);
	kvjit_close(kv);
}

static const kvjit_kernel *picked(const kvjit_kernel *k, const kvjit_plan *p)
{
	return p->pick ? k->family->variant[p->pick - 1] : k;
}

static void an_unsized_kernel_picks_by_the_batch(void **state)
{
	static const int32_t starts[] = { 0, 1, 2, 3, 4 };
	int32_t lens[] = { 4000, 4000, 4000, 4000 };
	kvjit_batch b = { sizeof(b), 4, lens, starts, NULL, 0, 0 };
	kvjit_plan *plan = NULL;
	kvjit_kernel *k;
	kvjit *kv;

	(void)state;
	put_schedule(BASE, "kv_tile=32 prefetch=off", 4, 4096);
	put_schedule(BASE, "kv_tile=16 split=512", 1, 65536);
	kv = open_at(folder, NULL, NULL);
	k = get(kv, BASE, 0);
	assert_non_null(k->family);
	assert_int_equal(k->family->n, 2);
	assert_int_equal(kvjit_plan_new(k, &b, &plan), KVJIT_OK);
	assert_int_equal(picked(k, plan)->ir->sched.kv_tile, 32);
	b.nseq = 1;
	lens[0] = 70000;
	assert_int_equal(kvjit_plan_new(k, &b, &plan), KVJIT_OK);
	assert_int_equal(picked(k, plan)->ir->sched.kv_tile, 16);
	assert_true(plan->njoin > 0); /* its split */
	lens[0] = 100;
	assert_int_equal(kvjit_plan_new(k, &b, &plan), KVJIT_OK);
	assert_ptr_equal(picked(k, plan), k);
	kvjit_plan_free(plan);
	kvjit_release(k);
	kvjit_close(kv);
}

static void a_pin_file_decides(void **state)
{
	char path[400];
	kvjit_kernel *k;
	kvjit *kv;
	char *info, *why;

	(void)state;
	put_schedule(BASE, "kv_tile=32", 4, 4096);
	snprintf(path, sizeof(path), "%s/pins", folder);
	put(path, BASE " :: kv_tile=16 prefetch=two\n");
	kv = open_at(folder, NULL, path);
	k = get(kv, BASE " batch=4 ctx=4096", 0);
	assert_int_equal(k->ir->sched.kv_tile, 16);
	kvjit_release(k);
	k = get(kv, BASE, 0);
	assert_int_equal(k->ir->sched.kv_tile, 16);
	kvjit_release(k);
	info = kvjit_info(kv);
	assert_says(info, "pins|: 1, digest ");
	free(info);
	assert_int_equal(kvjit_why(kv, BASE, NULL, &why), KVJIT_OK);
	assert_says(why, "chosen by: pin|answer: ");
	free(why);
	kvjit_close(kv);
}

/* 0 is a choice, too: what is unsplit by a record isn't split by default. */
static void what_is_chosen_to_be_whole_stays_whole(void **state)
{
	char path[400];
	kvjit_kernel *k;
	kvjit *kv = open_at("off", NULL, NULL);

	(void)state;
	k = get(kv, BASE " batch=1 ctx=65536", 0);
	assert_int_equal(k->ir->sched.split, 2048);
	kvjit_release(k);
	kvjit_close(kv);
	put_schedule(BASE, "kv_tile=32 split=0", 1, 65536);
	kv = open_at(folder, NULL, NULL);
	k = get(kv, BASE " batch=1 ctx=65536", 0);
	assert_int_equal(k->ir->sched.kv_tile, 32);
	assert_int_equal(k->ir->sched.split, 0);
	kvjit_release(k);
	kvjit_close(kv);
	snprintf(path, sizeof(path), "%s/pins", folder);
	put(path, BASE " :: kv_tile=16 split=0\n");
	kv = open_at("off", NULL, path);
	k = get(kv, BASE " batch=1 ctx=65536", 0);
	assert_int_equal(k->ir->sched.kv_tile, 16);
	assert_int_equal(k->ir->sched.split, 0);
	kvjit_release(k);
	kvjit_close(kv);
}

static void why_says_what_differs(void **state)
{
	kvjit_compile_options o = { .size = sizeof(o), .sched = "kv_tile=16" };
	char *why;
	kvjit *kv;

	(void)state;
	NEEDS_X86();
	kv = open_at(folder, NULL, NULL);
	assert_int_equal(kvjit_why(kv, BASE, NULL, &why), KVJIT_OK);
	assert_says(why, "has no such entry|answer: miss|no code of this program");
	free(why);
	kvjit_release(get(kv, BASE, 0));
	assert_int_equal(kvjit_why(kv, BASE, NULL, &why), KVJIT_OK);
	assert_says(why, "has the code|answer: hit");
	free(why);
	assert_int_equal(kvjit_why(kv, BASE, &o, &why), KVJIT_OK);
	assert_says(why, "answer: miss|of this program there is|wanted kv_tile=16");
	free(why);
	kvjit_close(kv);
}

static bool take_hash(const kt_code *c, void *ctx)
{
	kt_key_hex(&c->hash, ctx);
	return false;
}

static int is_compiled(void *arg)
{
	kvjit *kv = open_at(folder, NULL, NULL);

	(void)arg;
	return !from_cache(get(kv, problems[0], 0));
}

static void revoked_code_is_not_taken_from_the_user_either(void **state)
{
	char path[400], hash[KT_HEX], line[100];
	kt_store *s;

	(void)state;
	NEEDS_X86();
	assert_int_equal(in_child(is_compiled, NULL), 1);
	assert_int_equal(in_child(is_compiled, NULL), 0);
	s = kt_store_open(&(kt_store_options){ folder, KT_USER, 0, { NULL, NULL } });
	kt_each_code(s, false, take_hash, hash);
	kt_store_close(s);
	snprintf(path, sizeof(path), "%s/trusted", folder);
	snprintf(line, sizeof(line), "revoke %s\n", hash);
	put(path, line);
	chmod(path, 0600);
	setenv("KVJIT_TRUSTED", path, 1);
	assert_int_equal(in_child(is_compiled, NULL), 1);
	unsetenv("KVJIT_TRUSTED");
}

static void foreign_code_is_not_called(void **state)
{
	kvjit_kernel *k;
	kvjit *kv;

	(void)state;
	NEEDS_X86();
	kv = open_at(folder, NULL, NULL);
	k = get(kv, "merge out=f32 heads=4 dim=64 target=avx512-fp16", KVJIT_FOREIGN);
	assert_null(kvjit_entry(k));
	assert_true(kvjit_call(k, NULL, NULL, 0, NULL) != KVJIT_OK);
	kvjit_release(k);
	kvjit_close(kv);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, drop_folder)
	const struct CMUnitTest tests[] = {
		TEST(a_second_process_finds_all_and_loads_no_llvm),
		TEST(a_stored_kernel_is_the_compiled_one),
		TEST(many_processes_compile_each_kernel_once),
		TEST(killed_compilers_leave_a_sound_cache),
		TEST(the_same_words_are_the_same_kernel_on_any_thread),
		TEST(other_knobs_and_flags_are_other_kernels),
		TEST(nothing_wrong_with_a_cache_fails_a_compilation),
		TEST(a_pin_that_cannot_be_used_is_told),
		TEST(a_tuned_schedule_is_taken_near_its_size),
		TEST(an_unsized_kernel_picks_by_the_batch),
		TEST(a_pin_file_decides),
		TEST(what_is_chosen_to_be_whole_stays_whole),
		TEST(why_says_what_differs),
		TEST(revoked_code_is_not_taken_from_the_user_either),
		TEST(foreign_code_is_not_called),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
