/* SPDX-License-Identifier: Apache-2.0 */
/* test_cache.c -- what a cache does for kvjit_compile, and that it never fails it.
 *
 * Each process is a child forked before any backend was loaded; it reports through a pipe. */
#include "support_cache.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

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
	kvjit *kv = ct_open(ct_folder, NULL, NULL);
	int compiled = 0;

	(void)arg;
	for (unsigned i = 0; i < NPROBLEM; i++)
		compiled +=
		    !strcmp(kvjit_kernel_origin(ct_get(kv, problems[i], 0)), "compiled");
	return compiled;
}

static int find_all_without_llvm(void *arg)
{
	kvjit *kv = ct_open(ct_folder, NULL, NULL);
	int found = 0;

	(void)arg;
	for (unsigned i = 0; i < NPROBLEM; i++)
		found += ct_from_cache(ct_get(kv, problems[i], 0));
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
	kvjit *kv = ct_open(ct_folder, NULL, NULL);

	(void)arg;
	for (unsigned i = 0; i < NPROBLEM; i++) {
		kvjit_kernel *stored = ct_get(kv, problems[i], 0);
		kvjit_kernel *fresh = ct_get(kv, problems[i], KVJIT_FRESH);

		assert_true(ct_from_cache(stored));
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

/* -- one compile --------------------------------------------------------------------------- */

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
	kvjit *kv = ct_open(ct_folder, NULL, NULL);
	long n = *(long *)arg;
	int compiled = 0;

	for (long i = 0; i < n; i++) {
		char text[100];

		kernel_text(i, text, sizeof(text));
		compiled += !strcmp(kvjit_kernel_origin(ct_get(kv, text, 0)), "compiled");
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

/* -- killed -------------------------------------------------------------------------------- */

enum { KILLED = 8 }; /* kernels of a round: as many as no process has compiled when it dies */

typedef struct killed {
	long round;
	volatile bool done[KILLED]; /* kvjit_compile has returned in one of them */
} killed;

/* New ones each round. */
static kvjit_kernel *killed_kernel(const killed *x, kvjit *kv, int i)
{
	char text[100];

	snprintf(text, sizeof(text), "attn q=f32 kv=bf16 heads=2:1 dim=%d page=%ld causal",
	         16 * (i + 1), 16 * (x->round + 1));
	return ct_get(kv, text, 0);
}

static int compile_until_killed(killed *x)
{
	kvjit *kv = ct_open(ct_folder, NULL, NULL);

	for (int i = 0; i < KILLED; i++) {
		killed_kernel(x, kv, i);
		x->done[i] = true;
	}
	kvjit_close(kv);
	return 0;
}

/* Opens without a word; whatever was returned to somebody is there. */
static int find_what_was_done(void *arg)
{
	const killed *x = arg;
	kvjit *kv = ct_open(ct_folder, NULL, NULL);

	for (int i = 0; i < KILLED; i++)
		if (!ct_from_cache(killed_kernel(x, kv, i)) && x->done[i])
			fail_msg("round %ld: kernel %d was compiled, and is lost", x->round, i);
	assert_string_equal(ct_said, "");
	kvjit_close(kv);
	return 0;
}

/* 4 processes compile and are killed at a random moment. KVJIT_LONG=1: 50 times, 200 kills. */
static void killed_compilers_leave_a_sound_cache(void **state)
{
	long rounds = times("4", "50"), done = 0;
	killed *x =
	    mmap(NULL, sizeof(*x), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)state;
	NEEDS_X86();
	assert_true(x != MAP_FAILED);
	for (x->round = 0; x->round < rounds; x->round++) {
		pid_t pid[4];

		memset((void *)x->done, 0, sizeof(x->done));
		for (int i = 0; i < 4; i++) {
			pid[i] = fork();
			if (!pid[i])
				_exit(compile_until_killed(x));
		}
		usleep((useconds_t)(20000 + rand() % 400000));
		for (int i = 0; i < 4; i++)
			kill(pid[i], SIGKILL);
		for (int i = 0; i < 4; i++)
			waitpid(pid[i], NULL, 0);
		for (int i = 0; i < KILLED; i++)
			done += x->done[i];
		assert_int_equal(in_child(find_what_was_done, x), 0);
	}
	printf("%ld kills, %ld of %ld kernels finished before\n", 4 * rounds, done,
	       KILLED * rounds);
	munmap(x, sizeof(*x));
}

/* -- hot ----------------------------------------------------------------------------------- */

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
			kvjit_kernel *k = ct_get(a->kv, problems[i], 0);

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
	kvjit *kv = ct_open("off", NULL, NULL);
	pthread_t t[8];
	unsigned first = ct_x86_is_built() ? 0 : NPROBLEM - 1; /* cc takes a second each */
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

/* Takes the claim of a kernel, as whoever compiles it does, and stands still. */
static int stop_with_the_claim(void *arg)
{
	const char *text = arg;
	kt_store *s =
	    kt_store_open(&(kt_store_options){ ct_folder, KT_USER, 0, { NULL, NULL } });
	kvjit *kv = ct_open("off", NULL, NULL);
	kvjit_keys keys = { .size = sizeof(keys) };
	kt_claim claim = { -1 };
	bool waited = false;
	kt_key code;

	if (kvjit_keys_of(kv, text, NULL, &keys) != KVJIT_OK ||
	    !kt_key_parse(keys.code, &code) ||
	    kt_claim_take(s, &code, 1000, &claim, &waited) != KT_WHY_none)
		return 1;
	raise(SIGSTOP);
	return 0;
}

/* Others wait a bounded time, then compile for themselves; once it is killed, at once. */
static void a_stopped_compiler_is_waited_for_a_bounded_time(void **state)
{
	static char text[] = "write in=bf16 kv=int8 heads=3 dim=64 page=16";
	static char after[] = "write in=bf16 kv=int8 heads=5 dim=64 page=16";
	char *texts[2] = { text, after };
	struct timespec start, end;
	double seconds;

	(void)state;
	NEEDS_X86();
	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();
		int status = 0;
		kvjit_kernel *k;
		kvjit *kv;

		if (!pid)
			_exit(stop_with_the_claim(texts[i]));
		waitpid(pid, &status, WUNTRACED);
		assert_true(WIFSTOPPED(status));
		if (i) { /* a stopped process dies of this, and its claim with it */
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
		clock_gettime(CLOCK_MONOTONIC, &start);
		kv = ct_open(ct_folder, NULL, NULL);
		k = ct_get(kv, texts[i], 0);
		clock_gettime(CLOCK_MONOTONIC, &end);
		seconds = (double)(end.tv_sec - start.tv_sec) +
		          1e-9 * (double)(end.tv_nsec - start.tv_nsec);
		assert_string_equal(kvjit_kernel_origin(k), "compiled");
		/* five seconds are waited; compiling takes a tenth, or much more where others
		 * compile, too */
		assert_true(i ? seconds < 4.9 : seconds >= 4.9 && seconds < 25);
		kvjit_release(k);
		kvjit_close(kv);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

static void the_same_words_are_the_same_kernel_on_any_thread(void **state)
{
	(void)state;
	assert_int_equal(in_child(threads_share, NULL), 0);
}

static void other_knobs_and_flags_are_other_kernels(void **state)
{
	kvjit_compile_options o = { .size = sizeof(o), .sched = "kv_tile=16" };
	kvjit *kv = ct_open("off", NULL, NULL);
	kvjit_kernel *plain = ct_get(kv, problems[0], 0), *k = NULL;

	(void)state;
	assert_int_equal(kvjit_compile(kv, problems[0], &o, &k), KVJIT_OK);
	assert_ptr_not_equal(k, plain);
	assert_int_equal(k->ir->sched.kv_tile, 16);
	kvjit_release(k);
	k = ct_get(kv, problems[0], KVJIT_FRESH);
	assert_ptr_not_equal(k, plain);
	kvjit_release(k);
	kvjit_release(plain);
	o.flags = 64;
	assert_int_equal(kvjit_compile(kv, problems[0], &o, &k), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_error(kv), "options.flags|KVJIT_FRESH");
	kvjit_close(kv);
}

/* -- whatever is wrong with a cache -------------------------------------------------------- */

static void still_compiles(const char *cache, const char *path, const char *pins,
                           const char *words)
{
	kvjit *kv = ct_open(cache, path, pins);
	kvjit_kernel *k = ct_get(kv, problems[0], 0);

	if (strcmp(words, "") != 0)
		assert_says(ct_said, words);
	kvjit_release(k);
	kvjit_close(kv);
}

static void nothing_wrong_with_a_cache_fails_a_compilation(void **state)
{
	char path[400], pack[1000];

	(void)state;
	snprintf(path, sizeof(path), "%s/a", ct_folder);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/a/kvjit.db", ct_folder);
	ct_put(path, "this is no database, but it is long enough to be taken for one");
	snprintf(path, sizeof(path), "%s/a", ct_folder);
	still_compiles(path, NULL, NULL, "is damaged");
	snprintf(path, sizeof(path), "%s/file", ct_folder);
	ct_put(path, "x");
	still_compiles(path, NULL, NULL, "file");
	snprintf(path, sizeof(path), "%s/fifo", ct_folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	still_compiles(path, NULL, NULL, "fifo");
	snprintf(pack, sizeof(pack), "%s/no.kvpack:%s/nowhere:::%s", ct_folder, ct_folder,
	         ct_folder);
	still_compiles("off", pack, NULL, "");
	snprintf(pack, sizeof(pack), "%s/bad.kvpack", ct_folder);
	ct_put(pack, "not a pack");
	still_compiles("off", pack, NULL, "bad.kvpack");
}

/* Compiles two problems with a cache; whether the log says why nothing could be kept. */
static bool compiles_two(void)
{
	kvjit *kv = ct_open(ct_folder, NULL, NULL);

	for (unsigned i = 0; i < 2; i++)
		kvjit_release(ct_get(kv, problems[i], 0));
	kvjit_close(kv);
	return *ct_said;
}

/* No file may grow beyond so many bytes, as on a full disk. */
static int compile_without_room(void *bytes)
{
	rlim_t n = *(const rlim_t *)bytes;
	struct rlimit l = { n, n };

	signal(SIGXFSZ, SIG_IGN);
	return setrlimit(RLIMIT_FSIZE, &l) || !compiles_two();
}

static void a_full_disk_fails_no_compilation(void **state)
{
	static const rlim_t rooms[] = { 0, 4096, 30000 };

	(void)state;
	NEEDS_X86(); /* backend c needs room for its compiler */
	for (unsigned i = 0; i < sizeof rooms / sizeof *rooms; i++)
		assert_int_equal(in_child(compile_without_room, (void *)&rooms[i]), 0);
	assert_int_equal(in_child(compile_all, NULL), NPROBLEM); /* with room again */
	assert_int_equal(in_child(compile_all, NULL), 0);
}

/* Root may write anywhere, so it becomes somebody else; the backend is loaded before. */
static int compile_read_only(void *arg)
{
	kvjit *kv = ct_open("off", NULL, NULL);

	(void)arg;
	kvjit_release(ct_get(kv, problems[0], 0));
	kvjit_close(kv);
	if (!geteuid() && setuid(65534))
		return 1;
	return !compiles_two();
}

static void a_folder_that_is_only_read_fails_no_compilation(void **state)
{
	(void)state;
	NEEDS_X86();
	assert_int_equal(chmod(ct_folder, 0500), 0);
	if (!geteuid())
		assert_int_equal(chown(ct_folder, 65534, (gid_t)-1), 0);
	assert_int_equal(in_child(compile_read_only, NULL), 0);
	assert_int_equal(chmod(ct_folder, 0700), 0);
}

static void a_pin_that_cannot_be_used_is_told(void **state)
{
	char path[400];

	(void)state;
	snprintf(path, sizeof(path), "%s/pins", ct_folder);
	ct_put(path, "attn q=f32 kv=nothing heads=8:2 dim=64 page=16 :: kv_tile=16\n");
	still_compiles("off", NULL, path, "pins a schedule|nothing");
	ct_put(path, "attn q=f32 kv=int8 heads=8:2 dim=64 page=16 :: kv_tile=often\n");
	still_compiles("off", NULL, path, "");
	snprintf(path, sizeof(path), "%s/absent", ct_folder);
	still_compiles("off", NULL, path, "absent can't be opened");
	still_compiles("off", NULL, "/dev/zero", "/dev/zero can't be opened"); /* has no end */
}

static void without_a_home_there_is_no_cache(void **state)
{
	char home[400] = "", xdg[400] = "";
	kvjit *kv;

	(void)state;
	snprintf(home, sizeof(home), "%s", getenv("HOME") ? getenv("HOME") : "");
	snprintf(xdg, sizeof(xdg), "%s",
	         getenv("XDG_CACHE_HOME") ? getenv("XDG_CACHE_HOME") : "");
	unsetenv("HOME");
	setenv("XDG_CACHE_HOME", "not/absolute", 1);
	setenv("KVJIT_CACHE_DIR", "", 1); /* as if it weren't set */
	kv = ct_open(NULL, NULL, NULL);
	kvjit_release(ct_get(kv, problems[5], 0));
	assert_says(ct_said, "has no place: neither XDG_CACHE_HOME nor HOME");
	kvjit_close(kv);
	setenv("KVJIT_CACHE_DIR", "off", 1);
	home[0] ? setenv("HOME", home, 1) : 0;
	xdg[0] ? setenv("XDG_CACHE_HOME", xdg, 1) : unsetenv("XDG_CACHE_HOME");
}

/* What main does with "--privileged": 77 if the system doesn't take this for set-uid. */
static int as_privileged(void)
{
	kvjit_kernel *k = NULL;
	kvjit *kv;

	if (!kt_privileged())
		return 77;
	kv = ct_open(NULL, NULL, NULL);
	if (kvjit_compile(kv, problems[5], NULL, &k) != KVJIT_OK)
		return 2;
	return !strstr(ct_said, "isn't used by programs with raised privileges");
}

/* A copy of this program that belongs to another user, with the set-uid bit. */
static void programs_with_raised_privileges_use_no_cache(void **state)
{
	char copy[400], cache[400], command[2000];
	int status;

	(void)state;
	NEEDS_X86();
	if (geteuid() != 0)
		skip();
	snprintf(copy, sizeof(copy), "%s/copy", ct_folder);
	snprintf(cache, sizeof(cache), "%s/theirs", ct_folder);
	snprintf(
	    command, sizeof(command),
	    "chmod 755 '%s' && cp /proc/%d/exe '%s' && chown 65534 '%s' && chmod 4755 '%s'",
	    ct_folder, (int)getpid(), copy, copy, copy);
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "KVJIT_CACHE_DIR='%s' '%s' --privileged", cache,
	         copy);
	status = system(command);
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
	assert_int_not_equal(access(cache, F_OK), 0);
}

static bool take_hash(const kt_code *c, void *ctx)
{
	kt_key_hex(&c->hash, ctx);
	return false;
}

static int is_compiled(void *arg)
{
	kvjit *kv = ct_open(ct_folder, NULL, NULL);

	(void)arg;
	return !ct_from_cache(ct_get(kv, problems[0], 0));
}

static void revoked_code_is_not_taken_from_the_user_either(void **state)
{
	char path[400], hash[KT_HEX], line[100];
	kt_store *s;

	(void)state;
	NEEDS_X86();
	assert_int_equal(in_child(is_compiled, NULL), 1);
	assert_int_equal(in_child(is_compiled, NULL), 0);
	s = kt_store_open(&(kt_store_options){ ct_folder, KT_USER, 0, { NULL, NULL } });
	kt_each_code(s, false, take_hash, hash);
	kt_store_close(s);
	snprintf(path, sizeof(path), "%s/trusted", ct_folder);
	snprintf(line, sizeof(line), "revoke %s\n", hash);
	ct_put(path, line);
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
	kv = ct_open(ct_folder, NULL, NULL);
	k = ct_get(kv, "merge out=f32 heads=4 dim=64 target=avx512-fp16", KVJIT_FOREIGN);
	assert_null(kvjit_entry(k));
	assert_true(kvjit_call(k, NULL, NULL, 0, NULL) != KVJIT_OK);
	kvjit_release(k);
	kvjit_close(kv);
}

/* A line a kernel; a link that somebody put in the file's place isn't followed. */
static void perf_knows_kernels_by_name(void **state)
{
	static const char problem[] = "merge heads=1 dim=16";
	char map[60], victim[500], name[100] = "";
	unsigned long base = 0;
	size_t size = 0;
	struct stat st;
	kvjit_kernel *k;
	kvjit *kv;
	FILE *f;

	(void)state;
	snprintf(map, sizeof(map), "/tmp/perf-%ld.map", (long)getpid());
	unlink(map);
	setenv("KVJIT_PERF", "1", 1);
	kv = ct_open("off", NULL, NULL);
	unsetenv("KVJIT_PERF");
	k = ct_get(kv, problem, 0);
	f = fopen(map, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lx %zx kvjit:%99[^\n]", &base, &size, name), 3);
	fclose(f);
	assert_int_equal(base, (unsigned long)(uintptr_t)k->code.base);
	assert_true(size && size <= k->code.size);
	assert_memory_equal(name, problem, sizeof(problem) - 1);
	kvjit_release(k);
	unlink(map);
	snprintf(victim, sizeof(victim), "%s/victim", ct_folder);
	f = fopen(victim, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(symlink(victim, map), 0);
	kvjit_release(ct_get(kv, problem, KVJIT_FRESH));
	unlink(map);
	assert_int_equal(stat(victim, &st), 0);
	assert_int_equal(st.st_size, 0);
	kvjit_close(kv);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--privileged"))
		return as_privileged();
	const struct CMUnitTest tests[] = {
		CT_TEST(a_second_process_finds_all_and_loads_no_llvm),
		CT_TEST(a_stored_kernel_is_the_compiled_one),
		CT_TEST(many_processes_compile_each_kernel_once),
		CT_TEST(killed_compilers_leave_a_sound_cache),
		CT_TEST(a_stopped_compiler_is_waited_for_a_bounded_time),
		CT_TEST(the_same_words_are_the_same_kernel_on_any_thread),
		CT_TEST(other_knobs_and_flags_are_other_kernels),
		CT_TEST(perf_knows_kernels_by_name),
		CT_TEST(nothing_wrong_with_a_cache_fails_a_compilation),
		CT_TEST(a_full_disk_fails_no_compilation),
		CT_TEST(a_folder_that_is_only_read_fails_no_compilation),
		CT_TEST(a_pin_that_cannot_be_used_is_told),
		CT_TEST(without_a_home_there_is_no_cache),
		CT_TEST(programs_with_raised_privileges_use_no_cache),
		CT_TEST(revoked_code_is_not_taken_from_the_user_either),
		CT_TEST(foreign_code_is_not_called),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
