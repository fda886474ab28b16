/* SPDX-License-Identifier: Apache-2.0 */
/* tune_trial.c -- see tune_trial.h. */
#include "tune_trial.h"
#include "check/check.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SEEDS = 3, SMALL_K = 512, SMALL_N = 256 };
static const double sample_seconds = 150e-6; /* least length of a sample */
static const double least_kept = 0.5; /* seconds left from which on a compile is for later */

struct trial_bench {
	trial_setup setup;
	char *text, *small; /* the problem; the same with one KV head */
	kvjit *kv, *ref;    /* without caches */
	machine machine;
	measure_team *team; /* only in children: threads don't cross a fork */
	load load;
	int64_t turn;       /* next part of the load's memory */
	kvjit_kernel *kept; /* whom candidates meet first, for all children: compiled once */
	char *kept_sched;
	trial_report *shared;
};

/* -- opening ---------------------------------------------------------------------------- */

/* The executor of every kernel here: the team of the process that runs it, or nobody else. */
static void on_team(int64_t n, void (*fn)(int64_t begin, int64_t end, void *ctx), void *ctx,
                    void *executor)
{
	trial_bench *b = executor;

	if (b->team)
		measure_parallel(n, fn, ctx, b->team);
	else if (n > 0)
		fn(0, n, ctx);
}

static kvjit *open_context(trial_bench *b, const char *backend, char *why, size_t len)
{
	kvjit_options o = { .size = sizeof o,
		            .target = b->setup.target,
		            .backend = backend,
		            .parallel = on_team,
		            .executor = b,
		            .cache = "off",
		            .cache_path = "",
		            .pins = "",
		            .threads = b->setup.threads };
	kvjit *kv = NULL;

	if (kvjit_open(&o, &kv) == KVJIT_OK)
		return kv;
	snprintf(why, len, "%s", kvjit_open_error());
	return NULL;
}

/* The same problem at a size that the interpreter takes: one KV head, or a corner of the
 * weights. */
static char *small_text(const trial_bench *b)
{
	kir_problem p = b->load.a.p;

	if (p.kind == KIR_GEMM) {
		p.dim_k = p.dim_k < SMALL_K ? p.dim_k : SMALL_K;
		p.dim_v = p.dim_v < SMALL_N ? p.dim_v : SMALL_N;
	} else {
		p.heads = p.kind == KIR_ATTN ? p.heads / p.kv_heads : 1;
		p.kv_heads = 1;
	}
	p.batch = p.ctx = 0;
	return attn_text(&b->load.a, &p);
}

/* What a kernel computes: numbers, or, of a writer, the bytes of its first cache tensor. */
static bind_arg *output(const trial_bench *b)
{
	kir_kind kind = b->load.a.p.kind;

	return bind_find((bind *)&b->load.a.b, kind == KIR_WRITE
	                                           ? b->load.a.layout.tensor[0].name
	                                       : kind == KIR_GEMM ? "c"
	                                                          : "out");
}

trial_bench *trial_open(const trial_setup *s, char *why, size_t len)
{
	trial_bench *b = calloc(1, sizeof *b);

	if (!b)
		return NULL;
	b->setup = *s;
	b->setup.limit = s->limit > 0 ? s->limit : 60;
	b->setup.memory = s->memory ? s->memory : (size_t)4 << 30;
	b->text = strdup(s->text);
	b->shared = mmap(NULL, sizeof *b->shared, PROT_READ | PROT_WRITE,
	                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b->shared == MAP_FAILED)
		b->shared = NULL;
	b->ref = b->text && b->shared ? open_context(b, "ref", why, len) : NULL;
	b->kv = !b->ref ? NULL : s->device ? b->ref : open_context(b, NULL, why, len);
	if (b->kv && load_open(&b->load, b->kv, b->text, NULL, s->cold, why, len)) {
		b->machine.backend = s->device ? "device" : "x86";
		snprintf(b->machine.target, sizeof b->machine.target, "%s",
		         kvjit_kernel_target(b->load.k));
		b->machine.kv = b->kv;
		b->small = small_text(b);
		return b;
	}
	trial_close(b);
	return NULL;
}

void trial_close(trial_bench *b)
{
	if (!b)
		return;
	kvjit_release(b->kept);
	free(b->kept_sched);
	if (b->load.a.m || b->load.k)
		load_close(&b->load);
	if (b->kv != b->ref)
		kvjit_close(b->kv);
	kvjit_close(b->ref);
	if (b->shared)
		munmap(b->shared, sizeof *b->shared);
	free(b->text);
	free(b->small);
	free(b);
}

const load *trial_load(const trial_bench *b)
{
	return &b->load;
}

/* -- the child ----------------------------------------------------------------------------- */

/* What the handler of a fault needs; one trial runs in a process. */
static const trial_bench *faulting;

/* Inside the pages that guard a tensor, or what it was reached through: a write outside of
 * its outputs. Anything else is a crash. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
	const trial_bench *b = faulting;
	const char *at = info->si_addr;
	const ptrdiff_t guard = 65536;

	(void)context;
	for (unsigned i = 0; b && i < b->load.a.b.n; i++) {
		const bind_arg *t = &b->load.a.b.at[i];
		const char *data = t->data;

		if (t->bytes && at >= data - guard && at < data + t->bytes + guard)
			b->shared->state = KT_IS_outside;
	}
	signal(sig, SIG_DFL);
	raise(sig);
}

static void set_limits(const trial_bench *b)
{
	struct sigaction a = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	rlim_t cpu = (rlim_t)(b->setup.limit * b->setup.threads) + 2;
	struct rlimit none = { 0, 0 }, space, time = { cpu, cpu };
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	/* a driver takes addresses by the terabyte, and memory of its own */
	if (f && !b->setup.device && fscanf(f, "%ld", &pages) == 1) {
		space.rlim_cur = space.rlim_max =
		    (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + b->setup.memory;
		setrlimit(RLIMIT_AS, &space);
	}
	if (f)
		fclose(f);
	setrlimit(RLIMIT_CORE, &none);
	/* a host's handlers would make a crash look like something else */
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	setrlimit(RLIMIT_CPU, &time);
	faulting = b;
	sigaction(SIGSEGV, &a, NULL);
	sigaction(SIGBUS, &a, NULL);
}

static void say(trial_report *r, kt_state state, const char *why)
{
	r->state = state;
	snprintf(r->why, sizeof r->why, "%.299s", why);
}

/* In a child: the device, with the load's memory there if calls are to be made. */
static bool enter_device(trial_bench *b, bool calls)
{
	char why[300] = "";

	if (!b->setup.device)
		return true;
	b->kv = open_context(b, NULL, why, sizeof why);
	b->machine.kv = b->kv;
	if (b->kv && (!calls || load_to_device(&b->load, b->kv, why, sizeof why)))
		return true;
	say(b->shared, KT_IS_failed, why);
	return false;
}

/* A kernel with this schedule, compiled now; NULL after saying why not. */
static kvjit_kernel *compile(trial_bench *b, const char *sched)
{
	kvjit_compile_options o = { .size = sizeof o, .sched = sched, .flags = KVJIT_FRESH };
	double start = measure_now();
	kvjit_kernel *k = NULL;
	kvjit_status s = kvjit_compile(b->kv, b->text, &o, &k);

	b->shared->compile_s = measure_now() - start;
	if (s == KVJIT_OK)
		return k;
	say(b->shared,
	    s == KVJIT_UNSUPPORTED || s == KVJIT_BAD_ARGUMENT ? KT_IS_illegal
	    : s == KVJIT_NO_MEMORY                            ? KT_IS_memory
	                                                      : KT_IS_failed,
	    kvjit_error(b->kv));
	return NULL;
}

/* Hash of what is executed: the program without the line that names its schedule, and the
 * knobs that a plan goes by. */
static void hash_program(const kvjit_kernel *k, const char *sched, uint8_t out[32])
{
	char *text = kvjit_kernel_text(k, "vector"), *body = text ? strchr(text, '{') : NULL;
	kir_sched s = kir_sched_default();
	kir_text all = { 0 };
	bool named[kir_nknobs] = { 0 };
	kir_diag d = { 0 };
	kt_key key;

	kir_sched_parse(&s, named, sched, &d);
	kir_text_add(&all, "%d %d\n%s", s.split, s.q_tile, body ? body : "");
	kt_hash(all.text ? all.text : "", all.len, &key);
	memcpy(out, key.b, 32);
	free(all.text);
	free(text);
}

/* The load with another kernel: its own plan, the same data. */
static bool with_kernel(const trial_bench *b, kvjit_kernel *k, load *out)
{
	*out = b->load;
	out->k = k;
	out->plan = NULL;
	if (!b->load.plan)
		return true;
	if (load_plan(out))
		return true;
	say(b->shared, KT_IS_failed, kvjit_kernel_error(k));
	return false;
}

/* Adds what it took, by the device's clock if it ran there. */
static bool call(trial_bench *b, load *l, bool candidate, double *seconds)
{
	const trial_hooks *h = b->setup.hooks;
	double took = 0;
	bool ok;

	errno = 0;
	ok = candidate && h && h->call ? h->call(l, h->ctx) : load_timed_call(l, &took);
	*seconds += took;
	if (ok)
		return true;
	if (errno == ENOMEM)
		say(b->shared, KT_IS_memory, "a call got no memory within its limit");
	else
		say(b->shared, KT_IS_failed,
		    l->queue ? kvjit_queue_error(l->queue) : kvjit_kernel_error(l->k));
	return false;
}

/* Results that a device has, into the host's tensor. */
static bool fetch(trial_bench *b, const load *l, const bind_arg *out)
{
	for (int i = 0; l->queue && i < l->narg; i++)
		if (!strcmp(l->arg[i].name, out->name) &&
		    kvjit_device_copy(b->kv, out->data, l->there[i], bind_bytes(out)) !=
		        KVJIT_OK) {
			say(b->shared, KT_IS_failed, kvjit_error(b->kv));
			return false;
		}
	return true;
}

/* Two calls on the same data must leave the same bytes. */
static bool is_steady(trial_bench *b, load *l)
{
	bind_arg *out = load_writes(&b->load) ? NULL : output(b);
	void *first = out ? malloc(out->bytes) : NULL;
	double ignored = 0;
	bool same = true;

	if (!first)
		return true;
	l->turn = 0;
	same = call(b, l, true, &ignored) && fetch(b, l, out);
	memcpy(first, out->data, out->bytes);
	l->turn = 0;
	same = same && call(b, l, true, &ignored) && fetch(b, l, out);
	if (same && memcmp(first, out->data, out->bytes) != 0) {
		say(b->shared, KT_IS_unsteady, "two calls on the same data gave other bytes");
		same = false;
	}
	free(first);
	return same;
}

/* Calls with `down` bytes more of stack above them. Not inlined: the bytes are to go with it.
 */
__attribute__((noinline)) static bool call_below(trial_bench *b, load *l, bool candidate,
                                                 int repeats, size_t down, double *seconds)
{
	volatile char *above = __builtin_alloca(down + 1);
	bool ok = true;

	above[down] = 0; /* so that it is there */
	for (int i = 0; i < repeats && ok; i++)
		ok = call(b, l, candidate, seconds);
	return ok;
}

/* How far below the race's own frame the calls of pair i have theirs. Where spills lie beside
 * data, modulo a page, moves a ratio by up to 3 %, and a process gets one place of 64 from the
 * system at random: so pairs walk through all of them, and the few of a short race lie evenly.
 */
static size_t stack_of(unsigned i)
{
	enum {
		PLACES = 64,
		LINE = 64,
		GOLDEN = 39
	}; /* 39 / 64: near the golden section, odd */

	return (size_t)(i * GOLDEN % PLACES) * LINE;
}

/* Both kernels take turns through one memory: what one has read must not be the other's next.
 */
static double sample(trial_bench *b, load *l, bool candidate, int repeats, bool *ok)
{
	size_t down = stack_of(b->shared->pairs.n);
	double start = measure_now(), device = 0;

	l->turn = b->turn;
	*ok = *ok && call_below(b, l, candidate, repeats, down, &device);
	b->turn = l->turn;
	return (l->queue ? device : measure_now() - start) / repeats;
}

/* Time that others took from this machine, in ticks. */
static double stolen(void)
{
	double steal = 0;
	FILE *f = fopen("/proc/stat", "r");

	if (f && fscanf(f, "cpu %*f %*f %*f %*f %*f %*f %*f %lf", &steal) != 1)
		steal = 0;
	if (f)
		fclose(f);
	return steal / (double)sysconf(_SC_CLK_TCK);
}

/* a b b a a b b a ..., until the verdict or the end of the time. */
static void race(trial_bench *b, load *x, load *y, const kt_rule *rule, double end)
{
	trial_report *r = b->shared;
	double once = 1, start = measure_now(), steal = stolen();
	int repeats, cpu = sched_getcpu(), now;
	kt_verdict verdict = KT_MORE;
	bool ok = true;

	sample(b, y, false, 1, &ok);
	once = sample(b, x, true, 1, &ok);
	repeats =
	    once < sample_seconds ? (int)(sample_seconds / (once > 1e-9 ? once : 1e-9)) + 1 : 1;
	if (ok)
		r->state = KT_IS_ok;
	while (ok && !verdict && r->pairs.n < KT_MAX_PAIRS &&
	       (!r->pairs.n || measure_now() < end)) {
		unsigned i = r->pairs.n;

		if (i % 2)
			r->pairs.b[i] = sample(b, y, false, repeats, &ok);
		r->pairs.a[i] = sample(b, x, true, repeats, &ok);
		if (i % 2 == 0)
			r->pairs.b[i] = sample(b, y, false, repeats, &ok);
		now = sched_getcpu();
		r->migrations += now != cpu;
		cpu = now;
		r->pairs.n += ok;
		if (ok)
			verdict = kt_decide(&r->pairs, rule, &r->ratio);
	}
	if (ok && verdict == KT_WORSE)
		r->state = KT_IS_slow;
	r->steal = (stolen() - steal) / (measure_now() - start + 1e-9);
	if (ok && !r->pairs.n)
		say(r, KT_IS_failed, "there was no time to measure it");
}

typedef struct errand {
	const char *candidate, *incumbent;
	const kt_rule *rule;
	double end;
	bool incumbent_first; /* is compiled */
	const trial_known *known;
	kvjit_kernel *other; /* the incumbent's, if it is there already */
} errand;

static bool is_known(const trial_known *known, trial_report *r)
{
	static const uint8_t none[32];

	for (unsigned i = 0; known && i < known->n; i++)
		if (memcmp(known->program[i], none, 32) != 0 &&
		    !memcmp(known->program[i], r->program, 32)) {
			say(r, KT_IS_same, "");
			r->same_as = i;
			return true;
		}
	return false;
}

static void race_in_child(trial_bench *b, const errand *e)
{
	kvjit_kernel *other = e->other, *k;
	double compiled;
	load x, y;

	if (!enter_device(b, true))
		return;
	if (e->incumbent_first)
		other = compile(b, e->incumbent);
	k = compile(b, e->candidate);
	compiled = b->shared->compile_s;
	if (!k)
		return;
	hash_program(k, e->candidate, b->shared->program);
	if (is_known(e->known, b->shared))
		return;
	if (!other)
		other = compile(b, e->incumbent);
	b->shared->compile_s = compiled;
	b->team = measure_team_new(b->setup.threads);
	if (!b->team)
		say(b->shared, KT_IS_failed, "there aren't that many processors");
	else if (other && with_kernel(b, k, &x) && with_kernel(b, other, &y) &&
	         is_steady(b, &x))
		race(b, &x, &y, e->rule, e->end);
}

static void program_in_child(trial_bench *b, const errand *e)
{
	kvjit_kernel *k = enter_device(b, false) ? compile(b, e->candidate) : NULL;

	if (!k)
		return;
	hash_program(k, e->candidate, b->shared->program);
	b->shared->state = KT_IS_ok;
}

static void corrupt(const check *c, unsigned i)
{
	const trial_bench *b = c->ctx;

	(void)i;
	b->setup.hooks->results((attn *)&c->a, b->setup.hooks->ctx);
}

/* One call of a kernel on the first part of the data; its results as numbers, or, for writers,
 * the bytes of the cache. */
static bool results_of(trial_bench *b, const char *sched, double **out, size_t *n)
{
	kvjit_kernel *k = compile(b, sched);
	bool reads = !load_writes(&b->load);
	bind_arg *o = output(b);
	double ignored = 0;
	load l;

	if (!k || !o || !with_kernel(b, k, &l))
		return false;
	l.turn = 0;
	if (!call(b, &l, false, &ignored) || !fetch(b, &l, o))
		return false;
	*n = 1;
	for (int i = 0; i < o->rank; i++)
		*n *= (size_t)o->shape[i];
	if (!reads && b->load.turns > 1)
		*n /= (size_t)b->load.turns;
	*out = malloc(*n * sizeof **out);
	for (size_t i = 0; *out && i < *n; i++)
		(*out)[i] = reads ? elem_get(b->load.a.p.out, o->data, (int64_t)i)
		                  : ((const uint8_t *)o->data)[i];
	return *out;
}

/* Beside the default's results on the full data. */
static bool agrees(trial_bench *b, const char *sched)
{
	double *mine = NULL, *theirs = NULL, error = 0, norm = 0;
	bool reads = !load_writes(&b->load), ok;
	size_t n = 0, m = 0;

	ok = results_of(b, sched, &mine, &n) && results_of(b, NULL, &theirs, &m) && n == m;
	for (size_t i = 0; ok && i < n; i++) {
		error += (mine[i] - theirs[i]) * (mine[i] - theirs[i]);
		norm += theirs[i] * theirs[i];
	}
	free(mine);
	free(theirs);
	if (!ok && b->shared->state == KT_IS_ok)
		say(b->shared, KT_IS_failed, "its results couldn't be read");
	if (!ok || (reads ? error <= 0.02 * 0.02 * norm : error <= 0))
		return ok;
	say(b->shared, KT_IS_wrong, "other results than the default's on the full data");
	return false;
}

static void agree_in_child(trial_bench *b, const errand *e)
{
	say(b->shared, KT_IS_ok, "");
	if (enter_device(b, true))
		agrees(b, e->candidate);
}

static void check_in_child(trial_bench *b, const errand *e)
{
	check_result result = { 0 };
	check c = { .text = b->small,
		    .sched = e->candidate,
		    .ref = b->ref,
		    .machine = &b->machine,
		    .nmachine = 1,
		    .result = &result,
		    .ctx = b };
	char why[300] = "";

	if (b->setup.hooks && b->setup.hooks->results)
		c.seen = corrupt;
	if (!b->small) {
		say(b->shared, KT_IS_failed, "there is no memory for a check");
		return;
	}
	say(b->shared, KT_IS_ok, "");
	if (!enter_device(b, true) || !agrees(b, e->candidate))
		return;
	for (uint64_t s = 0; s < SEEDS && !result.failed; s++)
		if (!check_seed(&c, (uint64_t)b->setup.seed * SEEDS + s, why, sizeof why)) {
			say(b->shared, KT_IS_failed, why);
			return;
		}
	if (result.failed || !result.compared)
		say(b->shared, KT_IS_wrong,
		    result.failed ? result.text : "nothing was compared");
}

/* -- the parent ---------------------------------------------------------------------------- */

/* Waits for the child, ends it when its time is over. False: it had to be ended. */
static bool wait_for(pid_t pid, double end, int *status)
{
	struct timespec nap = { 0, 200000 };
	pid_t got;

	while ((got = waitpid(pid, status, WNOHANG)) == 0 || (got < 0 && errno == EINTR)) {
		if (measure_now() > end) {
			kill(pid, SIGKILL);
			waitpid(pid, status, 0);
			return false;
		}
		nanosleep(&nap, NULL);
		if (nap.tv_nsec < 2000000)
			nap.tv_nsec *= 2;
	}
	return true;
}

static void in_child(trial_bench *b, void (*fn)(trial_bench *b, const errand *e),
                     const errand *e, double seconds, trial_report *out)
{
	double start = measure_now(), end = start + seconds;
	/* the default, raced against itself, is measured whatever the clock says */
	bool alone = e->incumbent && !strcmp(e->candidate, e->incumbent);
	bool cut = !alone && b->setup.deadline > 0 && b->setup.deadline < end;
	pid_t pid, parent = getpid();
	int status = 0;

	if (cut)
		end = b->setup.deadline;
	memset(b->shared, 0, sizeof *b->shared);
	b->shared->state = KT_NSTATE;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		/* a tuner that is killed leaves nobody behind */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		set_limits(b);
		fn(b, e);
		b->shared->whole = true;
		_exit(0);
	}
	if (pid < 0)
		say(b->shared, KT_IS_failed, "no process for it");
	else if (!wait_for(pid, end, &status))
		say(b->shared, cut ? KT_IS_failed : KT_IS_hung,
		    cut ? "the budget ended first" : "it took longer than its time limit");
	else if (WIFSIGNALED(status) && b->shared->state == KT_IS_outside)
		say(b->shared, KT_IS_outside, "it touched memory beyond a tensor's end");
	else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
		say(b->shared, KT_IS_hung, "it took longer than its time limit");
	else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		say(b->shared, KT_IS_memory, "the system ended it, as it does without memory");
	else if (WIFSIGNALED(status))
		say(b->shared, KT_IS_crashed, strsignal(WTERMSIG(status)));
	else if (!b->shared->whole || b->shared->state == KT_NSTATE)
		say(b->shared, KT_IS_failed, "it ended without a result");
	*out = *b->shared;
	out->seconds = measure_now() - start;
}

kt_state trial_program(trial_bench *b, const char *sched, trial_report *out)
{
	in_child(b, program_in_child, &(errand){ .candidate = sched }, b->setup.limit, out);
	return out->state;
}

/* The incumbent's kernel for the children to come: half of a trial is a compile of it
 * otherwise. Who is an incumbent was compiled and called in a child before; the default was in
 * trial_open. NULL: the child compiles it, as all do where the kernels are a device's. */
static kvjit_kernel *keep(trial_bench *b, const char *sched, double end)
{
	kvjit_compile_options o = { .size = sizeof o, .sched = sched, .flags = KVJIT_FRESH };

	if (b->setup.device || !sched)
		return NULL;
	if (b->kept && !strcmp(b->kept_sched, sched))
		return b->kept;
	if (measure_now() + least_kept > end) /* a child can be ended in time, this can't */
		return NULL;
	kvjit_release(b->kept);
	free(b->kept_sched);
	b->kept = NULL;
	b->kept_sched = strdup(sched);
	if (!b->kept_sched || kvjit_compile(b->kv, b->text, &o, &b->kept) != KVJIT_OK)
		b->kept = NULL;
	return b->kept;
}

void trial_race_new(trial_bench *b, const char *candidate, const char *incumbent,
                    const kt_rule *rule, double seconds, const trial_known *known,
                    trial_report *out)
{
	double end = measure_now() + seconds;
	kvjit_kernel *other = keep(b, incumbent, end);

	in_child(b, race_in_child,
	         &(errand){ candidate, incumbent, rule, end, false, known, other },
	         b->setup.limit, out);
}

void trial_race(trial_bench *b, const char *candidate, const char *incumbent,
                const kt_rule *rule, double seconds, trial_report *out)
{
	in_child(
	    b, race_in_child,
	    &(errand){ candidate, incumbent, rule, measure_now() + seconds, false, NULL, NULL },
	    b->setup.limit, out);
}

void trial_race_again(trial_bench *b, const char *candidate, const char *incumbent,
                      const kt_rule *rule, double seconds, trial_report *out)
{
	in_child(
	    b, race_in_child,
	    &(errand){ candidate, incumbent, rule, measure_now() + seconds, true, NULL, NULL },
	    b->setup.limit, out);
}

static void check_with(trial_bench *b, void (*fn)(trial_bench *b, const errand *e),
                       const char *sched, double seconds, trial_report *out)
{
	bool all = seconds >= b->setup.limit;

	in_child(b, fn, &(errand){ .candidate = sched }, all ? b->setup.limit : seconds, out);
	if (out->state == KT_IS_hung && !all)
		say(out, KT_IS_failed, "there was no time to check it");
}

void trial_agrees(trial_bench *b, const char *sched, double seconds, trial_report *out)
{
	check_with(b, agree_in_child, sched, seconds, out);
}

void trial_check(trial_bench *b, const char *sched, double seconds, trial_report *out)
{
	check_with(b, check_in_child, sched, seconds, out);
}
