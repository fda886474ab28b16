/* SPDX-License-Identifier: Apache-2.0 */
/* cache_text.c -- kvjit cache export, import: schedules in clear (tune/text.h). */
#include "cache.h"
#include "../backends/backend.h"
#include "../backends/isa.h"
#include "../tune/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- export --------------------------------------------------------------------------- */

/* A line, and what it is a choice for. */
typedef struct line {
	kt_key program;
	kt_bucket bucket;
	char *text;
} line;

typedef struct export
{
	line *at;
	unsigned n;
	bool pins, failed;
	const char *target; /* NULL: all */
	kt_schedule *best;  /* for pins: copies of the winners, one a place */
	unsigned nbest;
}
export;

static bool add_line(export *e, const kt_schedule *r, const kt_key *program, kt_bucket b)
{
	kir_text t = { 0 };
	line *more = cache_grow(e->at, e->n, sizeof *e->at);

	if (more)
		e->at = more;
	kt_text_schedule(r, e->pins, &t);
	if (!more || !t.text) {
		free(t.text);
		e->failed = true;
		return false;
	}
	e->at[e->n++] = (line){ *program, b, t.text };
	return true;
}

static bool same_choice(const kt_key *p, kt_bucket b, const kt_key *q, kt_bucket c)
{
	return kt_key_equal(p, q) && !memcmp(&b, &c, sizeof b);
}

static bool keep_best(export *e, const kt_schedule *r)
{
	kt_schedule copy, *at = NULL;

	for (unsigned i = 0; i < e->nbest && !at; i++)
		if (same_choice(&e->best[i].where.program, e->best[i].where.bucket,
		                &r->where.program, r->where.bucket))
			at = &e->best[i];
	if (at && !kt_schedule_better(r, at))
		return true;
	if (!kt_schedule_copy(r, &copy))
		return !(e->failed = true);
	if (at) {
		kt_schedule_free(at);
		*at = copy;
		return true;
	}
	kt_schedule *more = cache_grow(e->best, e->nbest, sizeof *e->best);
	if (!more) {
		kt_schedule_free(&copy);
		return !(e->failed = true);
	}
	e->best = more;
	e->best[e->nbest++] = copy;
	return true;
}

static bool take_schedule(const kt_schedule *r, void *ctx)
{
	export *e = ctx;

	if ((e->target && strcmp(e->target, r->target) != 0) || !cache_stands_alone(r->problem))
		return true;
	return e->pins ? keep_best(e, r) : add_line(e, r, &r->where.program, r->where.bucket);
}

static bool take_pin(const kt_pin *p, void *ctx)
{
	kt_schedule r = { .problem = p->problem, .sched = p->sched };

	return !cache_stands_alone(p->problem) || add_line(ctx, &r, &p->program, p->bucket);
}

/* A pin is for the sizes that its problem names: those it was measured for, if it names none.
 * NULL: memory is out. */
static char *sized_problem(const kt_schedule *r)
{
	kir_module *m = kir_module_new();
	kir_text out = { 0 };
	kir_diag d = { 0 };
	kir_problem p;

	if (!kir_problem_parse(m, r->problem, strlen(r->problem), &p, &d)) {
		kir_module_free(m);
		return strdup(r->problem);
	}
	if (!p.batch && !p.ctx && r->where.bucket.batch != KT_ANY)
		p.batch = 1 << r->where.bucket.batch;
	if (!p.ctx && r->where.bucket.ctx != KT_ANY)
		p.ctx = INT64_C(256) << r->where.bucket.ctx;
	if (p.qlen <= 1 && r->where.bucket.qlen > 0)
		p.qlen = r->where.bucket.qlen == 1 ? 2 : 16;
	kir_problem_print_whole(m, &p, &out);
	kir_module_free(m);
	return out.text;
}

/* What is pinned already stays as it is; the winners of other places are added. */
static bool add_winners(export *e)
{
	unsigned npin = e->n;

	for (unsigned i = 0; i < e->nbest; i++) {
		kt_schedule r = e->best[i];
		bool pinned = false;

		for (unsigned k = 0; k < npin && !pinned; k++)
			pinned = same_choice(&e->at[k].program, e->at[k].bucket,
			                     &r.where.program, r.where.bucket);
		if (pinned)
			continue;
		r.problem = sized_problem(&r);
		bool ok = r.problem && add_line(e, &r, &r.where.program, r.where.bucket);
		free(r.problem);
		if (!ok)
			return !(e->failed = true);
	}
	return true;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(((const line *)a)->text, ((const line *)b)->text);
}

static bool print_lines(export *e, const char *path)
{
	kir_text all = { 0 };

	if (e->n)
		qsort(e->at, e->n, sizeof *e->at, by_text);
	kir_text_add(&all, "%s", "");
	for (unsigned i = 0; i < e->n; i++)
		if (!i || strcmp(e->at[i - 1].text, e->at[i].text) != 0)
			kir_text_add(&all, "%s", e->at[i].text);
	bool ok = all.text && cache_save(path, all.text, all.len);
	free(all.text);
	return ok;
}

static void export_free(export *e)
{
	for (unsigned i = 0; i < e->n; i++)
		free(e->at[i].text);
	for (unsigned i = 0; i < e->nbest; i++)
		kt_schedule_free(&e->best[i]);
	free(e->at);
	free(e->best);
}

int cache_export(args *a, const char *dir)
{
	export e = { .pins = args_flag(a, "--pins"), .target = args_value(a, "--target") };
	const char *path = args_value(a, "-o");
	char targets[200];

	args_flag(a, "--text"); /* the only form there is */
	if (!args_end(a, 0, 0))
		return TOOL_USAGE;
	if (e.target && !kir_target_find(e.target))
		return cache_fail("option --target takes one of %s, not '%s'",
		                  kir_target_names(targets, sizeof targets), e.target);
	kt_store *s = cache_open(dir, false);
	if (!s)
		return TOOL_FAILED;
	bool ok = (!e.pins || kt_each_pin(s, take_pin, &e)) &&
	          kt_each_schedule(s, take_schedule, &e) && add_winners(&e) && !e.failed;
	int status = TOOL_FAILED;
	if (!ok)
		cache_fail("%s couldn't be read to its end", kt_store_path(s));
	else if (print_lines(&e, path))
		status = TOOL_OK;
	export_free(&e);
	kt_store_close(s);
	return status;
}

/* -- import --------------------------------------------------------------------------- */

/* This machine, for lines that were written by hand. */
typedef struct here {
	kir_target host;
	int processors;
} here;

static void look_around(here *h)
{
	kbe_host(&h->host);
	h->processors = (int)sysconf(_SC_NPROCESSORS_ONLN);
}

static bool replace(char **to, const char *text)
{
	char *copy = strdup(text ? text : "");

	if (copy) {
		free(*to);
		*to = copy;
	}
	return copy;
}

/* A line without a measurement is a choice for this machine and all its processors. */
static bool complete(kt_schedule *r, const here *h, kt_bucket bucket, char *why, size_t len)
{
	static const kt_key none;
	kir_target t = h->host;
	kir_text machine = { 0 };
	char targets[200];
	bool ok;

	if (*r->target && !kir_target_find(r->target)) {
		snprintf(why, len, "target takes one of %s, not '%.40s'",
		         kir_target_names(targets, sizeof targets), r->target);
		return false;
	}
	if (!kt_key_equal(&r->where.machine, &none)) {
		if (*r->target && r->where.threads)
			return true;
		snprintf(why, len, "a line with key= has target= and threads= as well");
		return false;
	}
	if (*r->target) /* each has its own key, see kvjit_machine_for */
		t.name = r->target;
	kt_machine_key(&t, kbe_host_isa(), h->processors, &r->where.machine);
	kt_machine_text(&t, kbe_host_isa(), h->processors, &machine);
	r->where.bucket = bucket;
	r->codegen = KT_CODEGEN;
	if (!r->where.threads)
		r->where.threads = h->processors;
	snprintf(why, len, "out of memory");
	ok = replace(&r->machine, machine.text) && (*r->target || replace(&r->target, t.name));
	free(machine.text);
	return ok;
}

/* The line of the file that the n-th entry stands in, from 1. */
static unsigned line_of(const char *text, unsigned n)
{
	for (unsigned number = 1;; number++) {
		const char *end = strchr(text, '\n');
		const char *first = text + strspn(text, " \t\r\v\f");

		if (*first && *first != '\n' && *first != '#' && !n--)
			return number;
		if (!end)
			return number;
		text = end + 1;
	}
}

/* Every line's problem and knobs are held against the front before anything is stored. */
static bool resolve_all(const char *path, const char *text, kt_schedule *at, unsigned n,
                        bool pins)
{
	kvjit *kv = cache_front();
	here h = { 0 };
	char why[900];
	bool ok = kv;

	look_around(&h);
	for (unsigned i = 0; i < n && ok; i++) {
		cache_of of;

		ok = cache_resolve(kv, at[i].problem, at[i].sched, KVJIT_FOREIGN, &of, why,
		                   sizeof why);
		if (ok && pins)
			at[i].where.bucket = of.bucket;
		else if (ok)
			ok = complete(&at[i], &h, of.bucket, why, sizeof why);
		at[i].where.program = of.program;
		if (!ok)
			cache_fail("%s:%u: %s", path, line_of(text, i), why);
	}
	kvjit_close(kv);
	return ok;
}

static bool same_place(const kt_where *a, const kt_where *b)
{
	return kt_key_equal(&a->program, &b->program) &&
	       kt_key_equal(&a->machine, &b->machine) && a->threads == b->threads &&
	       a->policy == b->policy && !memcmp(&a->bucket, &b->bucket, sizeof a->bucket);
}

/* Of two records for one place the greater stays, as when caches are merged. */
static kt_reason put(kt_store *s, const kt_schedule *r, bool pins)
{
	kt_schedule *old = NULL;
	bool better = true;

	if (pins)
		return kt_pin_put(
		    s, &(kt_pin){ r->where.program, r->where.bucket, r->problem, r->sched });
	unsigned n = kt_schedules_of(s, &r->where.program, &r->where.machine, &old);
	for (unsigned i = 0; i < n; i++) {
		if (same_place(&old[i].where, &r->where))
			better = kt_schedule_order(r, &old[i]) > 0;
		kt_schedule_free(&old[i]);
	}
	free(old);
	return better ? kt_schedule_put(s, r) : KT_WHY_none;
}

static bool put_all(kt_store *s, const kt_schedule *at, unsigned n, bool pins)
{
	kt_reason r = kt_store_begin(s);

	if (r == KT_WHY_none) {
		for (unsigned i = 0; i < n && r == KT_WHY_none; i++)
			r = put(s, &at[i], pins);
		kt_reason end = kt_store_end(s, r == KT_WHY_none);
		if (r == KT_WHY_none)
			r = end;
	}
	if (r != KT_WHY_none)
		cache_fail("cache %s %s", kt_store_path(s), kt_reasons[r].sentence);
	return r == KT_WHY_none;
}

static int import(const char *path, const char *dir, bool pins)
{
	kt_schedule *at = NULL;
	kir_diag d = { 0 };
	unsigned n = 0;
	size_t len = 0;
	char text[900], *file = tool_read(path, &len);
	int status = TOOL_FAILED;

	if (!file)
		return cache_fail("there is no file %s, or it can't be read", path);
	if (!kt_text_read(file, len, &at, &n, &d)) {
		cache_fail("%s:%s", path, kir_diag_text(&d, text, sizeof text));
	} else if (resolve_all(path, file, at, n, pins)) {
		kt_store *s = cache_open(dir, true);

		if (s && put_all(s, at, n, pins)) {
			printf("%s: %u %s\n", kt_store_path(s), n, pins ? "pins" : "schedules");
			status = TOOL_OK;
		}
		kt_store_close(s);
	}
	for (unsigned i = 0; i < n; i++)
		kt_schedule_free(&at[i]);
	free(at);
	free(file);
	return status;
}

int cache_import(args *a, const char *dir)
{
	bool pins = args_flag(a, "--pins");

	if (!args_end(a, 1, 1))
		return TOOL_USAGE;
	return import(a->argv[0], dir, pins);
}
