/* SPDX-License-Identifier: Apache-2.0 */
/* cache_pack.c -- kvjit cache pack: schedules of a cache, and code compiled now for several
 * targets, into one file.
 *
 * Each problem is compiled with the default schedule of every target and with each schedule
 * that was tuned for that target: what a machine that reads the pack would ask for. With
 * --native a GPU's own machine code stands beside the SPIR-V. The code goes through a cache of
 * its own in a temporary folder, so that what is packed is what kvjit_compile keeps.
 */
#include "cache.h"
#include "gpu.h"
#include "../tune/pack.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_TARGETS = 16 };

typedef struct job {
	char *problem, *sched, *target; /* sched NULL: the default */
} job;

typedef struct pack {
	kt_store *from;  /* NULL: only a list */
	char **problem;  /* sorted, unique    */
	kt_key *program; /* of each          */
	unsigned nproblem;
	char *target[MOST_TARGETS];
	unsigned ntarget;
	kt_schedule *schedule;
	unsigned nschedule;
	job *job;
	unsigned njob;
	kt_code *code;
	unsigned ncode;
	bool native, failed;
} pack;

/* -- what is to be packed --------------------------------------------------------------- */

static bool add_problem(pack *p, const char *text)
{
	char **more = cache_grow(p->problem, p->nproblem, sizeof *p->problem);
	char *copy = more ? strdup(text) : NULL;

	if (more)
		p->problem = more;
	if (!copy)
		return !(p->failed = true);
	p->problem[p->nproblem++] = copy;
	return true;
}

static bool problem_of_schedule(const kt_schedule *r, void *ctx)
{
	return !cache_stands_alone(r->problem) || add_problem(ctx, r->problem);
}

static bool problem_of_code(const kt_code *c, void *ctx)
{
	/* code of IR has no problem string */
	return !*c->problem || !cache_stands_alone(c->problem) || add_problem(ctx, c->problem);
}

static bool problem_of_pin(const kt_pin *r, void *ctx)
{
	return !cache_stands_alone(r->problem) || add_problem(ctx, r->problem);
}

static bool read_list(pack *p, const char *path)
{
	char *text = tool_read(path, NULL), *rest = NULL;

	if (!text) {
		cache_fail("there is no list %s, or it can't be read", path);
		return false;
	}
	for (char *l = strtok_r(text, "\n", &rest); l; l = strtok_r(NULL, "\n", &rest)) {
		size_t n = strlen(l += strspn(l, " \t\r"));

		while (n && isspace((unsigned char)l[n - 1]))
			l[--n] = '\0';
		if (*l && *l != '#')
			add_problem(p, l);
	}
	free(text);
	return !p->failed;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_problems(pack *p)
{
	unsigned n = 0;

	if (p->nproblem)
		qsort(p->problem, p->nproblem, sizeof *p->problem, by_text);
	for (unsigned i = 0; i < p->nproblem; i++)
		if (n && !strcmp(p->problem[n - 1], p->problem[i]))
			free(p->problem[i]);
		else
			p->problem[n++] = p->problem[i];
	p->nproblem = n;
}

/* The programs of all problems; one that isn't a problem ends it. */
static bool find_programs(pack *p)
{
	kvjit *kv = cache_front();
	bool ok = kv;
	char why[900];
	cache_of of;

	p->program = calloc(p->nproblem + 1, sizeof *p->program);
	for (unsigned i = 0; ok && p->program && i < p->nproblem; i++) {
		ok =
		    cache_resolve(kv, p->problem[i], NULL, KVJIT_FOREIGN, &of, why, sizeof why);
		if (ok)
			p->program[i] = of.program;
		else
			cache_fail("problem '%s': %s", p->problem[i], why);
	}
	kvjit_close(kv);
	return ok && p->program;
}

static bool is_target(const pack *p, const char *name)
{
	for (unsigned i = 0; i < p->ntarget; i++)
		if (!strcmp(p->target[i], name))
			return true;
	return false;
}

static bool read_targets(pack *p, char *list)
{
	char *rest = NULL, all[200];

	kir_target_names(all, sizeof all);
	for (char *t = strtok_r(list, ",", &rest); t; t = strtok_r(NULL, ",", &rest)) {
		if (!kir_target_find(t) || p->ntarget == MOST_TARGETS || is_target(p, t)) {
			cache_fail("option --targets takes up to %d of %s, ',' between, each "
			           "once, and not '%s'",
			           MOST_TARGETS, all, t);
			return false;
		}
		p->target[p->ntarget++] = t;
	}
	if (!p->ntarget)
		cache_fail("option --targets takes up to %d of %s, ',' between", MOST_TARGETS,
		           all);
	return p->ntarget;
}

/* -- jobs ----------------------------------------------------------------------------- */

/* The problem, for this target. */
static char *with_target(const char *problem, const char *target)
{
	kir_module *m = kir_module_new();
	kir_text out = { 0 };
	kir_diag d = { 0 };
	kir_problem p;

	if (kir_problem_parse(m, problem, strlen(problem), &p, &d)) {
		p.target = target;
		kir_problem_print_whole(m, &p, &out);
	}
	kir_module_free(m);
	return out.text;
}

static bool add_job(pack *p, const char *problem, const char *sched, const char *target)
{
	job *more = cache_grow(p->job, p->njob, sizeof *p->job);

	if (more)
		p->job = more;
	if (!more)
		return !(p->failed = true);
	job *j = &p->job[p->njob++];
	*j =
	    (job){ with_target(problem, target), sched ? strdup(sched) : NULL, strdup(target) };
	if (j->problem && j->target && (j->sched || !sched))
		return true;
	return !(p->failed = true);
}

static bool take_schedule(const kt_schedule *r, void *ctx)
{
	pack *p = ctx;
	bool wanted = false;

	for (unsigned i = 0; i < p->nproblem && !wanted; i++)
		wanted = kt_key_equal(&p->program[i], &r->where.program);
	if (!wanted || !is_target(p, r->target))
		return true;
	kt_schedule *more = cache_grow(p->schedule, p->nschedule, sizeof *p->schedule);
	if (more)
		p->schedule = more;
	if (!more || !kt_schedule_copy(r, &p->schedule[p->nschedule++]))
		return !(p->failed = true);
	return add_job(p, r->problem, r->sched, r->target);
}

static bool make_jobs(pack *p)
{
	for (unsigned i = 0; i < p->nproblem; i++)
		for (unsigned t = 0; t < p->ntarget; t++)
			add_job(p, p->problem[i], NULL, p->target[t]);
	if (p->from && !kt_each_schedule(p->from, take_schedule, p))
		p->failed = true;
	return !p->failed;
}

/* -- compiling ------------------------------------------------------------------------ */

static bool compile_one(kvjit *kv, const job *j)
{
	kvjit_compile_options o = { sizeof o, j->sched, KVJIT_FOREIGN | KVJIT_UNTUNED };
	kvjit_kernel *k = NULL;
	bool ok = kvjit_compile(kv, j->problem, &o, &k) == KVJIT_OK;

	if (!ok)
		cache_fail("problem '%s', schedule %s: %s", j->problem,
		           j->sched ? j->sched : "by default", kvjit_error(kv));
	kvjit_release(k);
	return ok;
}

/* Those of GPUs, or the others: a context has one backend. */
static bool compile_kind(const pack *p, const char *folder, bool gpu)
{
	kvjit_options o = { .size = sizeof o, .cache = folder, .cache_path = "", .pins = "" };
	kvjit *kv = NULL;
	bool ok = true;

	if (gpu) {
		o.target = "generic";
		o.backend = gpu_backend(NULL);
	}
	for (unsigned i = 0; i < p->njob && ok; i++) {
		if ((kir_target_find(p->job[i].target)->lanes != 0) != gpu)
			continue;
		if (!kv && kvjit_open(&o, &kv) != KVJIT_OK) {
			cache_fail("%s", kvjit_open_error());
			return false;
		}
		ok = compile_one(kv, &p->job[i]);
		if (isatty(STDERR_FILENO))
			fprintf(stderr, "\r%u of %u kernels", i + 1, p->njob);
	}
	if (kv && isatty(STDERR_FILENO))
		fputc('\n', stderr);
	kvjit_close(kv);
	return ok;
}

static bool compile_all(const pack *p, const char *folder)
{
	/* nothing may be evicted before it is packed; there is no option for the cap */
	setenv("KVJIT_CACHE_MB", "1048576", 1);
	return compile_kind(p, folder, false) && compile_kind(p, folder, true);
}

static bool take_code(const kt_code *c, void *ctx)
{
	pack *p = ctx;
	kt_code *more = cache_grow(p->code, p->ncode, sizeof *p->code);

	if (more)
		p->code = more;
	if (!more)
		return !(p->failed = true);
	kt_code *to = &p->code[p->ncode++];
	*to = *c;
	to->kind = strdup(c->kind);
	to->backend = strdup(c->backend);
	to->target = strdup(c->target);
	to->problem = strdup(c->problem);
	to->sched = strdup(c->sched);
	to->phases = strdup(c->phases);
	to->bytes = malloc(c->size);
	if (to->bytes)
		memcpy(to->bytes, c->bytes, c->size);
	if (to->kind && to->backend && to->target && to->problem && to->sched && to->phases &&
	    to->bytes)
		return true;
	return !(p->failed = true);
}

static bool has_code(const pack *p, const kt_key *key)
{
	for (unsigned i = 0; i < p->ncode; i++)
		if (kt_key_equal(&p->code[i].key, key))
			return true;
	return false;
}

/* The devices' own code of all that is SPIR-V. */
static bool add_native(pack *p)
{
	unsigned n = p->ncode;
	char why[700];

	for (unsigned i = 0; i < n; i++) {
		kir_diag d = { 0 };
		kt_code *more;

		if (!gpu_is_spirv(&p->code[i]))
			continue;
		more = cache_grow(p->code, p->ncode, sizeof *p->code);
		if (!more)
			return !(p->failed = true);
		p->code = more;
		if (!gpu_native_beside(&p->code[i], &p->code[p->ncode], &d)) {
			cache_fail("problem '%s': %s", p->code[i].problem,
			           kir_diag_text(&d, why, sizeof why));
			return false;
		}
		p->ncode++;
	}
	if (p->ncode == n)
		cache_fail("option --native needs a GPU among --targets");
	return p->ncode > n;
}

/* A kernel that couldn't be kept (instructions unknown to isa.def) is told, not left out. */
static bool check_job(const pack *p, const job *j)
{
	kvjit *kv = cache_front_of(kir_target_find(j->target));
	char why[900];
	cache_of of;
	bool ok = kv && cache_resolve(kv, j->problem, j->sched, KVJIT_FOREIGN | KVJIT_UNTUNED,
	                              &of, why, sizeof why);

	if (kv && !ok)
		cache_fail("problem '%s': %s", j->problem, why);
	else if (ok && !(ok = has_code(p, &of.code)))
		cache_fail("problem '%s': its code can't be kept (are KVJIT_PRINT, "
		           "KVJIT_CHECK or KVJIT_BACKEND set?)",
		           j->problem);
	kvjit_close(kv);
	return ok;
}

static bool check_all(const pack *p)
{
	for (unsigned i = 0; i < p->njob; i++)
		if (!check_job(p, &p->job[i]))
			return false;
	return true;
}

static void remove_folder(const char *folder)
{
	static const char *const names[] = { "kvjit.db", "kvjit.db-wal", "kvjit.db-shm",
		                             "kvjit.recent", "claims" };
	char path[4300];

	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, "%s/%s", folder, names[i]);
		unlink(path);
	}
	rmdir(folder);
}

static bool make_code(pack *p)
{
	const char *tmp = getenv("TMPDIR");
	char folder[4096];
	bool ok = false;

	snprintf(folder, sizeof folder, "%.4000s/kvjit-pack-XXXXXX",
	         tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(folder)) {
		cache_fail("there can't be a temporary folder %s", folder);
		return false;
	}
	if (compile_all(p, folder)) {
		kt_store *s = cache_open(folder, false);

		ok = s && kt_each_code(s, true, take_code, p) && !p->failed && check_all(p) &&
		     (!p->native || add_native(p));
		kt_store_close(s);
	}
	remove_folder(folder);
	return ok;
}

/* -- the command ------------------------------------------------------------------------ */

static bool gather(pack *p, const char *list, const char *dir)
{
	/* with a list, a cache only adds what was tuned */
	if (!list || dir || cache_exists(NULL)) {
		p->from = cache_open(dir, false);
		if (!p->from)
			return false;
	}
	if (list && !read_list(p, list))
		return false;
	if (!list && !(kt_each_schedule(p->from, problem_of_schedule, p) &&
	               kt_each_code(p->from, false, problem_of_code, p) &&
	               kt_each_pin(p->from, problem_of_pin, p)))
		return false;
	sort_problems(p);
	if (p->nproblem)
		return find_programs(p);
	cache_fail("there is no problem to pack");
	return false;
}

static bool read_date(const char *text, int64_t *out)
{
	struct tm t = { 0 }, back;
	char again[11];
	const char *end = text ? strptime(text, "%Y-%m-%d", &t) : NULL;

	*out = 0;
	if (!text)
		return true;
	time_t at = timegm(&t);
	*out = (int64_t)at;
	if (end && !*end && gmtime_r(&at, &back) &&
	    strftime(again, sizeof again, "%Y-%m-%d", &back) && !strcmp(again, text) &&
	    *out > 0)
		return true;
	cache_fail("option --expires takes a day as YYYY-MM-DD, not '%s'", text);
	return false;
}

static bool read_head(args *a, kt_pack_head *h)
{
	const char *name = args_value(a, "--name");

	h->version = args_number(a, "--version", 1, INT32_MAX, 0);
	if (!read_date(args_value(a, "--expires"), &h->expires))
		a->wrong = true;
	if (!a->wrong && (!name || !*name || strlen(name) >= sizeof h->name ||
	                  name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-")])) {
		cache_fail("option --name takes up to 63 of a-z, 0-9, '.' and '-'");
		a->wrong = true;
	}
	if (!a->wrong && !h->version) {
		cache_fail("option --version takes a number from 1, higher than any before");
		a->wrong = true;
	}
	if (!a->wrong)
		snprintf(h->name, sizeof h->name, "%s", name);
	return !a->wrong;
}

static int write_pack(pack *p, kt_pack_head head, const char *path)
{
	char why[600];

	head.nschedule = p->nschedule;
	head.ncode = p->ncode;
	if (!kt_pack_write(path, &(kt_pack_input){ head, p->schedule, p->code }, why,
	                   sizeof why))
		return cache_fail("%s: %s", path, why);
	printf("%s: %u schedules, %u pieces of code\n", path, p->nschedule, p->ncode);
	return TOOL_OK;
}

static void pack_free(pack *p)
{
	for (unsigned i = 0; i < p->nproblem; i++)
		free(p->problem[i]);
	for (unsigned i = 0; i < p->nschedule; i++)
		kt_schedule_free(&p->schedule[i]);
	for (unsigned i = 0; i < p->njob; i++) {
		free(p->job[i].problem);
		free(p->job[i].sched);
		free(p->job[i].target);
	}
	for (unsigned i = 0; i < p->ncode; i++)
		kt_code_free(&p->code[i]);
	free(p->problem);
	free(p->program);
	free(p->schedule);
	free(p->job);
	free(p->code);
	kt_store_close(p->from);
}

int cache_pack(args *a, const char *dir)
{
	kt_pack_head head = { 0 };
	const char *path = args_value(a, "-o"), *list = args_value(a, "--list");
	const char *targets = args_value(a, "--targets");
	pack p = { .native = args_flag(a, "--native") };

	if (!path || strlen(path) < 8 || strcmp(path + strlen(path) - 7, ".kvpack") != 0) {
		cache_fail("option -o takes a file NAME.kvpack");
		a->wrong = true;
	}
	if (!a->wrong)
		read_head(a, &head);
	if (!args_end(a, 0, 0))
		return TOOL_USAGE;
	char *words = strdup(targets ? targets : "avx2,avx512,avx512-bf16");
	int status = TOOL_FAILED;
	if (words && read_targets(&p, words) && gather(&p, list, dir) && make_jobs(&p) &&
	    make_code(&p))
		status = write_pack(&p, head, path);
	else if (p.failed)
		cache_fail("the pack couldn't be made: out of memory, or its cache can't be "
		           "read");
	pack_free(&p);
	free(words);
	return status;
}
