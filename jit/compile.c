/* SPDX-License-Identifier: Apache-2.0 */
/* compile.c -- from text to a kernel.
 *
 *     text -> the same words before? that kernel
 *          -> module -> [problem -> level-A function] -> schedule (choose.c)
 *          -> code (code.c) -> kernel
 *
 * The kernel owns the module, which holds the function as it was written: some 90 KB. What the
 * passes make of it takes megabytes and goes with the compilation; kvjit_kernel_text makes the
 * stages once more when somebody asks. The backend `ref` has no code: the interpreter runs the
 * function as it was written.
 */
#include "job.h"
#include "record.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

kvjit_status kvjit_job_fail(kvjit_job *j, kvjit_status s, const char *what)
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

static kvjit_status read_problem(kvjit_job *j)
{
	kir_problem *p = &j->problem;
	const kir_target *t = j->target;
	kir_text canonical = { 0 };

	if (!kir_problem_parse(j->k->module, j->text, strlen(j->text), p, &j->d))
		return kvjit_job_fail(j, KVJIT_BAD_PROBLEM, "");
	if (j->one_query)
		p->qlen = 1;
	if (p->target && !(t = kir_target_find(p->target))) {
		char list[200];

		kvjit_target_list(list, sizeof(list));
		return kvjit_fail(&j->kv->errors, KVJIT_UNSUPPORTED,
		                  "no target '%.40s'; this machine runs %s", p->target, list);
	}
	j->f = kir_problem_expand(j->k->module, p, t, &j->d);
	if (!j->f)
		return kvjit_job_fail(j, KVJIT_BAD_PROBLEM, "");
	kir_problem_print_whole(j->k->module, p, &canonical);
	j->k->problem = canonical.text;
	memcpy(j->given, p->has_knob, sizeof(j->given));
	return KVJIT_OK;
}

static kvjit_status read_ir(kvjit_job *j)
{
	kir_module *m = j->k->module;

	if (!kir_parse_into(m, j->text, strlen(j->text), &j->d))
		return kvjit_job_fail(j, KVJIT_BAD_PROBLEM, "");
	if (!m->nfunc)
		return kvjit_fail(&j->kv->errors, KVJIT_BAD_PROBLEM,
		                  "the text declares no function");
	j->f = m->func[m->nfunc - 1];
	if (!kir_verify(j->f, &j->d))
		return kvjit_job_fail(j, KVJIT_BAD_PROBLEM, "");
	/* What is said without a target is compiled for the context's. */
	if (j->f->level == KIR_A && !strcmp(j->f->target->name, "generic"))
		j->f->target = j->target;
	return KVJIT_OK;
}

/* The target in the module's memory: a kernel outlives its context. */
static const kir_target *own_target(kvjit_job *j)
{
	kir_target *t = kir_alloc(j->k->module, sizeof(*t));

	*t = j->kv->target;
	return t;
}

static kvjit_status read_text(kvjit_job *j)
{
	j->k->module = kir_module_new();
	j->target = own_target(j);
	j->is_problem = !is_ir(j->text);
	return j->is_problem ? read_problem(j) : read_ir(j);
}

/* -- schedule ------------------------------------------------------------------------ */

static kvjit_status set_schedule(kvjit_job *j)
{
	bool given[kir_nknobs] = { 0 };

	if (j->sched && (!kir_sched_parse(&j->f->sched, given, j->sched, &j->d) ||
	                 !kir_sched_in_time(j->f, given, &j->d)))
		return kvjit_job_fail(j, KVJIT_BAD_ARGUMENT, "options.sched: ");
	for (unsigned i = 0; i < kir_nknobs; i++)
		j->given[i] |= given[i] || *kir_sched_knob(&j->f->sched, i);
	memcpy(j->problem.has_knob, j->given, sizeof(j->given));
	return KVJIT_OK;
}

bool kvjit_job_chosen(const kvjit_job *j)
{
	for (unsigned i = 0; i < kir_nknobs; i++)
		if (j->given[i])
			return true;
	return false;
}

bool kvjit_job_take(kvjit_job *j, const char *sched)
{
	kir_sched s = kir_sched_default();
	bool given[kir_nknobs] = { 0 };
	kir_diag d = { 0 };

	if (j->f->level != KIR_A || !kir_sched_parse(&s, given, sched, &d))
		return false;
	j->f->sched = s;
	memcpy(j->given, given, sizeof(given));
	/* a chosen 0 isn't replaced by a default */
	memcpy(j->problem.has_knob, given, sizeof(given));
	return true;
}

void kvjit_job_keys(kvjit_job *j)
{
	kt_code_of of = { j->f, kvjit_backend_names[j->kv->backend], j->kv->env[KVJIT_ENV_SKIP],
		          KT_CODEGEN };

	kt_code_key_of(&j->program, &of, &j->code);
}

/* -- the kernel ----------------------------------------------------------------------- */

kvjit_status kvjit_job_read(kvjit_job *j)
{
	kvjit_kernel *k = j->k;
	kvjit_status s = read_text(j);

	if (s == KVJIT_OK)
		s = set_schedule(j);
	if (s != KVJIT_OK)
		return s;
	kt_program_key(j->f, &j->program);
	k->ir = k->run = j->f;
	k->backend_name = kvjit_backend_names[j->kv->backend];
	k->target = strdup(j->f->target->name);
	if (!k->problem)
		k->problem = strdup("");
	return k->target && k->problem
	           ? KVJIT_OK
	           : kvjit_fail(&j->kv->errors, KVJIT_NO_MEMORY, "out of memory");
}

kvjit_status kvjit_job_read_again(kvjit_job *j)
{
	kir_module *used = j->k->module;
	char *problem = j->k->problem; /* the same, and in use */
	kvjit_status s = read_text(j);

	if (j->k->problem != problem)
		free(j->k->problem);
	j->k->problem = problem;
	j->k->tile = j->k->vector = NULL;
	j->k->ir = j->k->run = j->f;
	kir_module_free(used);
	return s;
}

kvjit_status kvjit_job_finish(kvjit_job *j)
{
	kvjit_default_schedule(j->f, j->is_problem ? &j->problem : NULL);
	if (j->kv->backend != KVJIT_BE_ref)
		return kvjit_job_code(j);
	return kvjit_describe(j->k, j->k->run, j->k->ir, &j->d)
	           ? KVJIT_OK
	           : kvjit_job_fail(j, KVJIT_UNSUPPORTED, "");
}

static char *copy_of(const char *s)
{
	return s ? strdup(s) : NULL;
}

/* Kernels made so far in this process. */
static _Atomic(uint64_t) kernels = 1;

kvjit_kernel *kvjit_kernel_new(const kvjit *kv)
{
	kvjit_kernel *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	atomic_init(&k->refs, 1);
	k->id = atomic_fetch_add(&kernels, 1);
	kvjit_errors_init(&k->errors);
	pthread_mutex_init(&k->text, NULL);
	k->parallel = kv->parallel;
	k->executor = kv->executor;
	k->backend_index = kv->backend;
	k->skip = copy_of(kv->env[KVJIT_ENV_SKIP]);
	k->backend_dir = copy_of(kv->env[KVJIT_ENV_BACKEND_DIR]);
	snprintf(k->origin, sizeof(k->origin), "%s",
	         kv->backend == KVJIT_BE_ref ? "interpreted" : "compiled");
	return k;
}

/* With a schedule that was tuned or pinned for this size. One that can't be compiled any more
 * is told, and the default takes its place. */
static kvjit_status build_chosen(kvjit_job *j, const kvjit_choice *c)
{
	kir_sched untuned = j->f->sched;
	kvjit_status s = KVJIT_UNSUPPORTED;

	if (kvjit_job_take(j, c->sched))
		s = kvjit_job_finish(j);
	if (s == KVJIT_OK || s == KVJIT_NO_MEMORY || s == KVJIT_NO_BACKEND)
		return s;
	kvjit_tell_bad(j, c);
	j->f->sched = untuned;
	/* who gets a choice has given no knob */
	memset(j->given, 0, sizeof(j->given));
	memset(j->problem.has_knob, 0, sizeof(j->problem.has_knob));
	j->d.n = 0;
	return kvjit_job_finish(j);
}

kvjit_status kvjit_job_choose(kvjit_job *j)
{
	kvjit_choice choice[KVJIT_MAX_CHOICES];
	bool sized = false;
	unsigned n = kvjit_choose(j, choice, &sized);
	kvjit_status s;

	s = sized && n ? build_chosen(j, &choice[0]) : kvjit_job_finish(j);
	if (s == KVJIT_OK && !sized)
		kvjit_add_variants(j, choice, n);
	kvjit_choices_free(choice, n);
	return s;
}

static kvjit_status build(kvjit_job *j)
{
	kvjit_status s = kvjit_job_read(j);
	bool chosen;

	if (s != KVJIT_OK)
		return s;
	chosen = kvjit_job_chosen(j); /* by the caller, not yet by what was tuned */
	if (j->kv->recorder && j->is_problem && !chosen)
		j->k->record =
		    kvjit_record_of(j->kv->recorder, j->k->problem, kvjit_job_sized(j));
	s = kvjit_job_choose(j);
	return s == KVJIT_OK && !chosen ? kvjit_add_few(j) : s;
}

kvjit_status kvjit_check_options(kvjit *kv, const kvjit_compile_options *options,
                                 kvjit_compile_options *o)
{
	if (!options)
		return KVJIT_OK;
	if (options->size < sizeof(size_t) || options->size > sizeof(*o))
		return kvjit_fail(&kv->errors, KVJIT_BAD_ARGUMENT,
		                  "options.size must be sizeof(kvjit_compile_options), %zu",
		                  sizeof(*o));
	memcpy(o, options, options->size);
	if (o->flags & ~(unsigned)(KVJIT_FRESH | KVJIT_FOREIGN | KVJIT_UNTUNED | KVJIT_LATER))
		return kvjit_fail(&kv->errors, KVJIT_BAD_ARGUMENT,
		                  "options.flags is %#x; it takes KVJIT_FRESH, KVJIT_FOREIGN, "
		                  "KVJIT_UNTUNED and KVJIT_LATER",
		                  o->flags);
	if (o->flags & KVJIT_FRESH && o->flags & KVJIT_LATER)
		return kvjit_fail(&kv->errors, KVJIT_BAD_ARGUMENT,
		                  "options.flags has KVJIT_FRESH and KVJIT_LATER: a fresh "
		                  "kernel is another one each time, so asking again wouldn't "
		                  "find it");
	return KVJIT_OK;
}

kvjit_status kvjit_compile_now(kvjit *kv, const char *text, const kvjit_compile_options *o,
                               kvjit_kernel **out)
{
	kvjit_job *j = calloc(1, sizeof(*j));
	kvjit_status s;

	if (!j || !(j->k = kvjit_kernel_new(kv))) {
		free(j);
		return kvjit_fail(&kv->errors, KVJIT_NO_MEMORY, "out of memory");
	}
	j->kv = kv;
	j->text = text;
	j->sched = o->sched;
	j->flags = o->flags;
	s = build(j);
	if (s != KVJIT_OK)
		kvjit_release(j->k);
	else if (o->flags & KVJIT_FRESH)
		*out = j->k;
	else
		*out = kvjit_hot_add(kv->hot, text, o->sched, o->flags, j->k);
	free(j);
	return s;
}

kvjit_status kvjit_compile(kvjit *kv, const char *text, const kvjit_compile_options *options,
                           kvjit_kernel **out)
{
	kvjit_compile_options o = { 0 };
	kvjit_kernel *k = NULL;
	kvjit_status s;

	KVJIT_NEED_CONTEXT(kv);
	if (!text || !out)
		return kvjit_fail(&kv->errors, KVJIT_BAD_ARGUMENT,
		                  "text and out must not be NULL");
	s = kvjit_check_options(kv, options, &o);
	if (s != KVJIT_OK)
		return s;
	if (o.flags & KVJIT_FRESH)
		return kvjit_compile_now(kv, text, &o, out);
	k = kvjit_hot_find(kv->hot, text, o.sched, o.flags & ~(unsigned)KVJIT_LATER);
	if (!k)
		return kvjit_later_ask(kv, text, &o, out);
	*out = k;
	return KVJIT_OK;
}
