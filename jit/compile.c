/* SPDX-License-Identifier: Apache-2.0 */
/* compile.c -- from text to a kernel.
 *
 *     text -> module -> [problem -> level-A function] -> default schedule -> passes
 *          -> backend -> blob -> executable memory -> kernel
 *
 * The kernel owns the module, with the function at each stage, so that kvjit_kernel_text can
 * show them. The backend `ref` stops before the passes: the interpreter runs the function as
 * it was written.
 */
#include "jit.h"
#include "../passes/passes.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct job {
	kvjit *kv;
	const char *text;
	kvjit_kernel *k;
	kir_func *f;
	bool is_problem, given[32]; /* knobs that somebody chose */
	kir_problem problem;
	const kir_target *target; /* the context's, in the module's memory */
	const char *print;        /* passes part of KVJIT_PRINT */
	kir_diag d;
} job;

static kvjit_status fail(job *j, kvjit_status s, const char *what)
{
	char text[900];

	return kvjit_fail(&j->kv->errors, s, "%s%s", what,
	                  kir_diag_text(&j->d, text, sizeof(text)));
}

/* -- reading ----------------------------------------------------------------------- */

/* IR has a line whose first word is "func"; formats and problems have none. */
static bool is_ir(const char *text)
{
	while (*text) {
		text += strspn(text, " \t\r\n");
		if (!strncmp(text, "func", 4) && isspace((unsigned char)text[4]))
			return true;
		text += strcspn(text, "\n");
	}
	return false;
}

static kvjit_status read_problem(job *j)
{
	kir_problem *p = &j->problem;
	const kir_target *t = j->target;
	kir_text canonical = { 0 };

	if (!kir_problem_parse(j->k->module, j->text, strlen(j->text), p, &j->d))
		return fail(j, KVJIT_BAD_PROBLEM, "");
	if (p->target && !(t = kir_target_find(p->target))) {
		char list[200];

		kvjit_target_list(list, sizeof(list));
		return kvjit_fail(&j->kv->errors, KVJIT_UNSUPPORTED,
		                  "no target '%.40s'; this machine runs %s", p->target, list);
	}
	j->f = kir_problem_expand(j->k->module, p, t, &j->d);
	if (!j->f)
		return fail(j, KVJIT_BAD_PROBLEM, "");
	kir_problem_print(p, &canonical);
	j->k->problem = canonical.text;
	memcpy(j->given, p->has_knob, sizeof(j->given));
	return KVJIT_OK;
}

static kvjit_status read_ir(job *j)
{
	kir_module *m = j->k->module;

	if (!kir_parse_into(m, j->text, strlen(j->text), &j->d))
		return fail(j, KVJIT_BAD_PROBLEM, "");
	if (!m->nfunc)
		return kvjit_fail(&j->kv->errors, KVJIT_BAD_PROBLEM,
		                  "the text declares no function");
	j->f = m->func[m->nfunc - 1];
	if (!kir_verify(j->f, &j->d))
		return fail(j, KVJIT_BAD_PROBLEM, "");
	/* What is said without a target is compiled for the context's. */
	if (j->f->level == KIR_A && !strcmp(j->f->target->name, "generic"))
		j->f->target = j->target;
	return KVJIT_OK;
}

/* The target in the module's memory: a kernel outlives its context. */
static const kir_target *own_target(job *j)
{
	kir_target *t = kir_alloc(j->k->module, sizeof(*t));

	*t = j->kv->target;
	return t;
}

static kvjit_status read_text(job *j)
{
	j->k->module = kir_module_new();
	j->target = own_target(j);
	j->is_problem = !is_ir(j->text);
	return j->is_problem ? read_problem(j) : read_ir(j);
}

/* -- schedule ------------------------------------------------------------------------ */

/* Knobs that shape the loops can't change in a function that has its loops. */
static kvjit_status check_late_knobs(job *j, const bool *given)
{
	static const char *const early[] = { "kv_tile", "q_tile", "split", "parts" };

	for (unsigned i = 0; i < kir_nknobs; i++)
		for (unsigned e = 0; e < sizeof(early) / sizeof(early[0]); e++)
			if (given[i] && !strcmp(kir_knobs[i].name, early[e]))
				return kvjit_fail(&j->kv->errors, KVJIT_BAD_ARGUMENT,
				                  "knob %s can't be given for a function at "
				                  "level T or V: its loops are written",
				                  early[e]);
	return KVJIT_OK;
}

static kvjit_status set_schedule(job *j, const char *sched)
{
	bool given[32] = { 0 };
	kvjit_status s = KVJIT_OK;

	if (sched && !kvjit_sched_set(&j->f->sched, given, sched, &j->d))
		return fail(j, KVJIT_BAD_ARGUMENT, "options.sched: ");
	if (j->f->level != KIR_A)
		s = check_late_knobs(j, given);
	for (unsigned i = 0; i < kir_nknobs; i++)
		j->given[i] |= given[i] || *kir_sched_knob(&j->f->sched, i);
	memcpy(j->problem.has_knob, j->given, sizeof(j->given));
	kvjit_default_schedule(j->f, j->is_problem ? &j->problem : NULL);
	return s;
}

/* -- lowering ------------------------------------------------------------------------ */

static void emit_pass(const char *text, void *ctx)
{
	job *j = ctx;

	kvjit_emit(text, j->kv);
}

/* Called after each pass that changed the function: remembers the last one with tiles. */
static bool note(const kir_func *before, const kir_func *after, void *ctx, kir_diag *why)
{
	job *j = ctx;

	(void)before;
	(void)why;
	if (after->level == KIR_T)
		j->k->tile = after;
	return true;
}

/* The manager's words for what no input may cause. */
static bool is_bug(const kir_diag *d)
{
	return d->n &&
	       (strstr(d->at[0].msg, " made invalid IR") ||
	        strstr(d->at[0].msg, " made text") || strstr(d->at[0].msg, " made a function"));
}

static kir_func *run_passes(job *j)
{
	kpass_options o = { 0 };

	o.skip = j->kv->env[KVJIT_ENV_SKIP];
	o.print = j->kv->env[KVJIT_ENV_PRINT];
	o.check_text = kvjit_list_has(j->kv->env[KVJIT_ENV_CHECK], "text");
	o.emit = emit_pass;
	o.compare = note;
	o.ctx = j;
	j->d.n = 0;
	j->k->tile = j->f->level == KIR_T ? j->f : NULL;
	return kpass_run(j->f, &o, &j->d);
}

/* The default q_tile is as large as registers allow; whether its tiles fit in local memory
 * only the passes know. One that somebody chose stays, and its refusal is the answer. */
static kvjit_status lower(job *j)
{
	kir_func *f = run_passes(j);

	while (!f && !is_bug(&j->d) && kvjit_smaller_tile(j->f, j->given))
		f = run_passes(j);
	if (!f)
		return fail(j, is_bug(&j->d) ? KVJIT_INTERNAL : KVJIT_UNSUPPORTED, "");
	if (f->level != KIR_V)
		return kvjit_fail(&j->kv->errors, KVJIT_INTERNAL,
		                  "the passes ended with @%s above level V", f->name);
	j->k->vector = f;
	return KVJIT_OK;
}

/* -- code ---------------------------------------------------------------------------- */

static void print_stages(job *j)
{
	static const char *const stages[] = { "llvm", "c", "asm" };

	for (unsigned i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
		char *text;

		if (!kvjit_list_has(j->kv->env[KVJIT_ENV_PRINT], stages[i]))
			continue;
		text = kvjit_kernel_text(j->k, stages[i]);
		if (text)
			kvjit_emit(text, j->kv);
		free(text);
	}
}

static kvjit_status make_code(job *j)
{
	kvjit_kernel *k = j->k;
	kbe_blob blob = { 0 };
	bool mapped;

	if (!k->backend->supports(k->vector->target))
		return kvjit_fail(&j->kv->errors, KVJIT_UNSUPPORTED,
		                  "backend '%s' doesn't compile for target '%s'",
		                  k->backend_name, k->vector->target->name);
	if (!k->backend->compile(k->vector, &blob, &j->d))
		return fail(j, KVJIT_UNSUPPORTED, "");
	mapped = kvjit_map_code(blob.bytes, blob.size, &k->code);
	free(blob.bytes);
	if (!mapped)
		return kvjit_fail(&j->kv->errors, KVJIT_NO_MEMORY,
		                  "no executable memory for %zu bytes of code", blob.size);
	if (blob.entry >= blob.size)
		return kvjit_fail(&j->kv->errors, KVJIT_INTERNAL,
		                  "backend '%s' gave an entry at %zu of %zu bytes",
		                  k->backend_name, blob.entry, blob.size);
	void *entry = (char *)k->code.base + blob.entry;

	memcpy(&k->entry, &entry, sizeof(k->entry));
	if (j->kv->env[KVJIT_ENV_PERF])
		kvjit_perf_map(&k->code, blob.text, k->problem ? k->problem : k->vector->name);
	print_stages(j);
	return KVJIT_OK;
}

static kvjit_status compile_code(job *j)
{
	kvjit_status s;
	const char *why;
	char text[400];

	if (!kvjit_target_runs(&j->kv->host, j->f->target, text, sizeof(text)))
		return kvjit_fail(&j->kv->errors, KVJIT_UNSUPPORTED, "%s", text);
	j->k->backend = kvjit_load(j->kv, j->kv->backend, &why);
	if (!j->k->backend)
		return kvjit_fail(&j->kv->errors, KVJIT_NO_BACKEND, "%s", why);
	s = lower(j);
	j->k->run = j->k->vector;
	return s == KVJIT_OK ? make_code(j) : s;
}

/* -- the kernel ----------------------------------------------------------------------- */

static kvjit_status build(job *j, const char *sched)
{
	kvjit_kernel *k = j->k;
	kvjit_status s = read_text(j);

	if (s == KVJIT_OK)
		s = set_schedule(j, sched);
	if (s != KVJIT_OK)
		return s;
	k->ir = k->run = j->f;
	k->backend_name = kvjit_backend_names[j->kv->backend];
	k->target = strdup(j->f->target->name);
	if (!k->problem)
		k->problem = strdup("");
	if (!k->target || !k->problem)
		return kvjit_fail(&j->kv->errors, KVJIT_NO_MEMORY, "out of memory");
	if (j->kv->backend != KVJIT_BE_ref)
		s = compile_code(j);
	if (s == KVJIT_OK && !kvjit_describe(k, k->run, k->ir, &j->d))
		s = fail(j, KVJIT_UNSUPPORTED, "");
	return s;
}

static kvjit_kernel *kernel_new(const kvjit *kv)
{
	kvjit_kernel *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	kvjit_errors_init(&k->errors);
	pthread_mutex_init(&k->text, NULL);
	k->parallel = kv->parallel;
	k->executor = kv->executor;
	return k;
}

kvjit_status kvjit_compile(kvjit *kv, const char *text, const kvjit_compile_options *options,
                           kvjit_kernel **out)
{
	kvjit_compile_options o = { 0 };
	kvjit_status s;
	job *j;

	if (!kv)
		return KVJIT_BAD_ARGUMENT;
	if (!text || !out)
		return kvjit_fail(&kv->errors, KVJIT_BAD_ARGUMENT,
		                  "text and out must not be NULL");
	if (options) {
		if (options->size < sizeof(size_t) || options->size > sizeof(o))
			return kvjit_fail(
			    &kv->errors, KVJIT_BAD_ARGUMENT,
			    "options.size must be sizeof(kvjit_compile_options), %zu",
			    sizeof(o));
		memcpy(&o, options, options->size);
	}
	j = calloc(1, sizeof(*j));
	if (!j || !(j->k = kernel_new(kv))) {
		free(j);
		return kvjit_fail(&kv->errors, KVJIT_NO_MEMORY, "out of memory");
	}
	j->kv = kv;
	j->text = text;
	s = build(j, o.sched);
	if (s == KVJIT_OK)
		*out = j->k;
	else
		kvjit_release(j->k);
	free(j);
	return s;
}
