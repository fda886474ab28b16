/* SPDX-License-Identifier: Apache-2.0 */
/* cache_list.c -- kvjit cache ls, show, stats: what a cache holds. A record is made a list of
 * named fields once, which --json prints and show sets one below the other. */
#include "cache.h"
#include "../backends/isa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- fields --------------------------------------------------------------------------- */

static void add_key(cJSON *o, const char *name, const kt_key *k)
{
	char hex[KT_HEX];

	kt_key_hex(k, hex);
	cJSON_AddStringToObject(o, name, hex);
}

static void add_text(cJSON *o, const char *name, const char *text)
{
	cJSON_AddStringToObject(o, name, text ? text : "");
}

static void add_number(cJSON *o, const char *name, double x)
{
	cJSON_AddNumberToObject(o, name, x);
}

static void add_where(cJSON *o, const kt_where *w)
{
	char bucket[48];

	cache_bucket_text(w->bucket, bucket);
	add_key(o, "program", &w->program);
	add_key(o, "machine_key", &w->machine);
	add_number(o, "threads", w->threads);
	add_text(o, "policy", kt_policy_names[w->policy]);
	add_text(o, "sizes", bucket);
}

static cJSON *of_code(const kt_code *c)
{
	cJSON *o = cJSON_CreateObject();
	char isa[1024];

	kbe_isa_text(c->isa, isa, sizeof isa);
	add_text(o, "kind", "code");
	add_key(o, "key", &c->key);
	add_key(o, "program", &c->program);
	add_key(o, "hash", &c->hash);
	add_text(o, "problem", c->problem);
	add_text(o, "schedule", c->sched);
	add_text(o, "target", c->target);
	add_text(o, "backend", c->backend);
	add_text(o, "bytes_are", c->kind);
	add_text(o, "isa", isa);
	add_number(o, "size", (double)c->size);
	add_text(o, "phases", c->phases);
	add_number(o, "compile_us", (double)c->compile_us);
	add_number(o, "uses", (double)c->uses);
	add_number(o, "last_used", (double)c->last_used);
	add_number(o, "codegen", c->codegen);
	return o;
}

static cJSON *of_schedule(const kt_schedule *r)
{
	cJSON *o = cJSON_CreateObject();

	add_text(o, "kind", "schedule");
	add_where(o, &r->where);
	add_text(o, "problem", r->problem);
	add_text(o, "schedule", r->sched);
	add_text(o, "target", r->target);
	add_text(o, "machine", r->machine);
	add_text(o, "source", kt_source_names[r->source]);
	add_number(o, "median", r->median);
	add_number(o, "lo", r->lo);
	add_number(o, "hi", r->hi);
	add_number(o, "ratio", r->ratio);
	add_number(o, "ratio_lo", r->ratio_lo);
	add_number(o, "ratio_hi", r->ratio_hi);
	add_number(o, "n", (double)r->n);
	add_number(o, "when", (double)r->when);
	add_number(o, "codegen", r->codegen);
	return o;
}

static cJSON *of_trial(const kt_trial *t)
{
	cJSON *o = cJSON_CreateObject();

	add_text(o, "kind", "trial");
	add_where(o, &t->where);
	add_number(o, "run", (double)t->run);
	add_number(o, "seq", (double)t->seq);
	add_text(o, "schedule", t->sched);
	add_text(o, "state", kt_state_names[t->state]);
	add_text(o, "why", t->why);
	add_number(o, "median", t->median);
	add_number(o, "lo", t->lo);
	add_number(o, "hi", t->hi);
	add_number(o, "min", t->min);
	add_number(o, "ratio", t->ratio);
	add_number(o, "ratio_lo", t->ratio_lo);
	add_number(o, "ratio_hi", t->ratio_hi);
	add_number(o, "n", (double)t->n);
	add_number(o, "steal", t->steal);
	add_number(o, "migrations", (double)t->migrations);
	add_number(o, "when", (double)t->when);
	add_number(o, "compile_us", (double)t->compile_us);
	add_number(o, "codegen", t->codegen);
	return o;
}

static cJSON *of_pin(const kt_pin *p)
{
	cJSON *o = cJSON_CreateObject();
	char bucket[48];

	cache_bucket_text(p->bucket, bucket);
	add_text(o, "kind", "pin");
	add_key(o, "program", &p->program);
	add_text(o, "sizes", bucket);
	add_text(o, "problem", p->problem);
	add_text(o, "schedule", p->sched);
	return o;
}

/* -- walking -------------------------------------------------------------------------- */

enum { CODE = 1, SCHEDULES = 2, TRIALS = 4, PINS = 8 };

/* What is done with each record: list is filled for --json, else a line or a block printed. */
typedef struct walk {
	cJSON *list;        /* NULL: print */
	const char *prefix; /* of hex keys, NULL: all */
	const kt_key *program;
	bool block; /* print all fields */
	unsigned n;
} walk;

static const char *text_of(const cJSON *o, const char *name)
{
	const cJSON *x = cJSON_GetObjectItemCaseSensitive(o, name);

	return cJSON_IsString(x) ? x->valuestring : "";
}

static double number_of(const cJSON *o, const char *name)
{
	const cJSON *x = cJSON_GetObjectItemCaseSensitive(o, name);

	return cJSON_IsNumber(x) ? x->valuedouble : 0;
}

static void print_block(const cJSON *o)
{
	for (const cJSON *x = o->child; x; x = x->next)
		if (cJSON_IsString(x))
			printf("%-12s %s\n", x->string, x->valuestring);
		else
			printf("%-12s %.10g\n", x->string, x->valuedouble);
}

static void print_line(const cJSON *o)
{
	const char *kind = text_of(o, "kind");

	if (!strcmp(kind, "code"))
		printf("code      %.12s  %-12s %-4s %-6s %7.0f B  %5.0f uses  %s\n",
		       text_of(o, "key"), text_of(o, "target"), text_of(o, "backend"),
		       text_of(o, "bytes_are"), number_of(o, "size"), number_of(o, "uses"),
		       text_of(o, "problem"));
	else if (!strcmp(kind, "schedule"))
		printf("schedule  %.12s  %-12s %3.0f threads  %-4s  %-12s %-8s  ratio %.3f  "
		       "%s\n",
		       text_of(o, "program"), text_of(o, "target"), number_of(o, "threads"),
		       text_of(o, "policy"), text_of(o, "sizes"), text_of(o, "source"),
		       number_of(o, "ratio"), text_of(o, "problem"));
	else if (!strcmp(kind, "trial"))
		printf("trial     %.12s  %3.0f threads  %-4s  %-12s %-8s  %10.3f us  %s\n",
		       text_of(o, "program"), number_of(o, "threads"), text_of(o, "policy"),
		       text_of(o, "sizes"), text_of(o, "state"), number_of(o, "median") * 1e6,
		       text_of(o, "schedule"));
	else
		printf("pin       %.12s  %-12s %s :: %s\n", text_of(o, "program"),
		       text_of(o, "sizes"), text_of(o, "problem"), text_of(o, "schedule"));
}

static bool wanted(const walk *w, const cJSON *o)
{
	static const char *const keys[] = { "key", "program", "hash" };
	char hex[KT_HEX];

	if (w->program) {
		kt_key_hex(w->program, hex);
		return !strcmp(hex, text_of(o, "program"));
	}
	for (unsigned i = 0; w->prefix && i < 3; i++)
		if (!strncmp(text_of(o, keys[i]), w->prefix, strlen(w->prefix)))
			return true;
	return !w->prefix;
}

static bool take(walk *w, cJSON *o)
{
	if (!o || !wanted(w, o)) {
		cJSON_Delete(o);
		return true;
	}
	w->n++;
	if (w->list) {
		cJSON_AddItemToArray(w->list, o);
		return true;
	}
	if (w->block && w->n > 1)
		puts("");
	if (w->block)
		print_block(o);
	else
		print_line(o);
	cJSON_Delete(o);
	return true;
}

static bool take_code(const kt_code *r, void *ctx)
{
	return take(ctx, of_code(r));
}

static bool take_schedule(const kt_schedule *r, void *ctx)
{
	return take(ctx, of_schedule(r));
}

static bool take_trial(const kt_trial *r, void *ctx)
{
	return take(ctx, of_trial(r));
}

static bool take_pin(const kt_pin *r, void *ctx)
{
	return take(ctx, of_pin(r));
}

/* A walk that ends early met something unreadable. */
static bool each(kt_store *s, unsigned kinds, walk *w)
{
	return (!(kinds & SCHEDULES) || kt_each_schedule(s, take_schedule, w)) &&
	       (!(kinds & TRIALS) || kt_each_trial(s, take_trial, w)) &&
	       (!(kinds & CODE) || kt_each_code(s, false, take_code, w)) &&
	       (!(kinds & PINS) || kt_each_pin(s, take_pin, w));
}

static int report(kt_store *s, unsigned kinds, walk *w, bool json)
{
	if (json)
		w->list = cJSON_CreateArray();
	bool ok = each(s, kinds, w);

	if (json)
		tool_print_json(w->list);
	return ok ? TOOL_OK : cache_fail("%s couldn't be read to its end", kt_store_path(s));
}

int cache_ls(args *a, const char *dir)
{
	unsigned kinds = 0;
	bool json = args_flag(a, "--json");

	kinds |= args_flag(a, "--code") ? CODE : 0;
	kinds |= args_flag(a, "--schedules") ? SCHEDULES : 0;
	kinds |= args_flag(a, "--trials") ? TRIALS : 0;
	kinds |= args_flag(a, "--pins") ? PINS : 0;
	if (!args_end(a, 0, 0))
		return TOOL_USAGE;
	kt_store *s = cache_open(dir, false);
	if (!s)
		return TOOL_FAILED;
	walk w = { 0 };
	int status = report(s, kinds ? kinds : CODE | SCHEDULES | PINS, &w, json);
	kt_store_close(s);
	return status;
}

/* -- show ----------------------------------------------------------------------------- */

static bool is_prefix(const char *text)
{
	size_t n = strlen(text);

	return n >= 4 && n < KT_HEX && strspn(text, "0123456789abcdef") == n;
}

static int show(kt_store *s, const char *text, bool json)
{
	walk w = { .block = true };
	cache_of of;
	char why[900];

	if (is_prefix(text)) {
		w.prefix = text;
	} else {
		kvjit *kv = cache_front();
		bool ok =
		    kv && cache_resolve(kv, text, NULL, KVJIT_FOREIGN, &of, why, sizeof why);
		if (kv && !ok)
			cache_fail("%s (show takes a problem or 4 to 64 hex digits)", why);
		kvjit_close(kv);
		if (!ok)
			return TOOL_FAILED;
		w.program = &of.program;
	}
	int status = report(s, CODE | SCHEDULES | TRIALS | PINS, &w, json);
	if (status == TOOL_OK && !w.n)
		status = cache_fail("%s has no entry for %s", kt_store_path(s), text);
	return status;
}

int cache_show(args *a, const char *dir)
{
	bool json = args_flag(a, "--json");

	if (!args_end(a, 1, 1 << 20))
		return TOOL_USAGE;
	kt_store *s = cache_open(dir, false);
	bool key = a->argc == 1 && !strpbrk(a->argv[0], " \t\n=./") && access(a->argv[0], F_OK);
	char *text = !s ? NULL : key ? strdup(a->argv[0]) : tool_program(a);
	int status = text ? show(s, text, json) : TOOL_FAILED;
	free(text);
	kt_store_close(s);
	return status;
}

/* -- stats ---------------------------------------------------------------------------- */

typedef struct tally {
	cJSON *targets, *states;
	double code, bytes, schedules, trials, pins, stale;
} tally;

static void count_up(cJSON *o, const char *name)
{
	cJSON *x = cJSON_GetObjectItemCaseSensitive(o, name);

	if (x)
		cJSON_SetNumberValue(x, x->valuedouble + 1);
	else
		cJSON_AddNumberToObject(o, name, 1);
}

static bool count_code(const kt_code *c, void *ctx)
{
	tally *t = ctx;

	t->code++;
	t->bytes += (double)c->size;
	t->stale += c->codegen != KT_CODEGEN;
	count_up(t->targets, c->target);
	return true;
}

static bool count_schedule(const kt_schedule *r, void *ctx)
{
	(void)r;
	((tally *)ctx)->schedules++;
	return true;
}

static bool count_trial(const kt_trial *r, void *ctx)
{
	((tally *)ctx)->trials++;
	count_up(((tally *)ctx)->states, kt_state_names[r->state]);
	return true;
}

static bool count_pin(const kt_pin *r, void *ctx)
{
	(void)r;
	((tally *)ctx)->pins++;
	return true;
}

static cJSON *summary(kt_store *s, tally *t)
{
	cJSON *o = cJSON_CreateObject();

	add_text(o, "path", kt_store_path(s));
	add_number(o, "schedules", t->schedules);
	add_number(o, "trials", t->trials);
	add_number(o, "pins", t->pins);
	add_number(o, "code", t->code);
	add_number(o, "code_bytes", t->bytes);
	add_number(o, "stale_code", t->stale);
	cJSON_AddItemToObject(o, "code_by_target", t->targets);
	cJSON_AddItemToObject(o, "trials_by_state", t->states);
	return o;
}

static void print_summary(const cJSON *o)
{
	for (const cJSON *x = o->child; x; x = x->next) {
		if (cJSON_IsString(x))
			printf("%-16s %s\n", x->string, x->valuestring);
		else if (cJSON_IsNumber(x))
			printf("%-16s %.0f\n", x->string, x->valuedouble);
		for (const cJSON *y = cJSON_IsObject(x) ? x->child : NULL; y; y = y->next)
			printf("%-16s %-14s %.0f\n", x->string, y->string, y->valuedouble);
	}
}

int cache_stats(args *a, const char *dir)
{
	bool json = args_flag(a, "--json");

	if (!args_end(a, 0, 0))
		return TOOL_USAGE;
	kt_store *s = cache_open(dir, false);
	if (!s)
		return TOOL_FAILED;
	tally t = { .targets = cJSON_CreateObject(), .states = cJSON_CreateObject() };
	bool ok = kt_each_schedule(s, count_schedule, &t) &&
	          kt_each_trial(s, count_trial, &t) && kt_each_code(s, false, count_code, &t) &&
	          kt_each_pin(s, count_pin, &t);
	cJSON *o = summary(s, &t);
	if (json) {
		tool_print_json(o);
	} else {
		print_summary(o);
		cJSON_Delete(o);
	}
	int status =
	    ok ? TOOL_OK : cache_fail("%s couldn't be read to its end", kt_store_path(s));
	kt_store_close(s);
	return status;
}
