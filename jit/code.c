/* SPDX-License-Identifier: Apache-2.0 */
/* code.c -- where a kernel's code comes from: a cache, or passes and a backend.
 *
 *     key -> user's cache, read-only caches, packs        no LLVM is loaded
 *            of a GPU: its native code, else SPIR-V
 *         -> claim the key; whoever waited looks again      one compile across processes
 *         -> passes -> backend -> blob -> the user's cache
 *         -> executable memory
 */
#include "device.h"
#include "job.h"
#include "../passes/passes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Longer than compiling takes on a busy machine. Whoever has waited that long for another
 * process compiles for itself. */
enum { CLAIM_MS = 5000 };

/* -- lowering ------------------------------------------------------------------------ */

static void emit_pass(const char *text, void *ctx)
{
	kvjit_job *j = ctx;

	kvjit_emit(text, j->kv);
}

/* Called after each pass that changed the function: remembers the last one with tiles. */
static bool note(const kir_func *before, const kir_func *after, void *ctx, kir_diag *why)
{
	kvjit_job *j = ctx;

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

static kir_func *run_passes(kvjit_job *j)
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

/* The default tiles are as large as registers and caches allow; whether they fit in local
 * memory only the passes know. Sizes that somebody chose stay, and their refusal is the answer.
 */
static kvjit_status lower(kvjit_job *j)
{
	kir_func *f = run_passes(j);

	while (!f && !is_bug(&j->d) && kvjit_smaller_tile(j->f, j->given))
		f = run_passes(j);
	if (!f)
		return kvjit_job_fail(j, is_bug(&j->d) ? KVJIT_INTERNAL : KVJIT_UNSUPPORTED,
		                      "");
	if (f->level != KIR_V)
		return kvjit_fail(&j->kv->errors, KVJIT_INTERNAL,
		                  "the passes ended with @%s above level V", f->name);
	j->k->vector = f;
	return KVJIT_OK;
}

/* -- compiling ----------------------------------------------------------------------- */

static void print_stages(kvjit_job *j)
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

static kvjit_status make_blob(kvjit_job *j, kbe_blob *blob)
{
	kvjit_kernel *k = j->k;
	kvjit_status s;
	const char *why;

	k->backend = kvjit_load(j->kv, j->kv->backend, &why);
	if (!k->backend)
		return kvjit_fail(&j->kv->errors, KVJIT_NO_BACKEND, "%s", why);
	s = lower(j);
	if (s != KVJIT_OK)
		return s;
	k->run = k->vector;
	if (!k->backend->supports(k->vector->target))
		return kvjit_fail(&j->kv->errors, KVJIT_UNSUPPORTED,
		                  "backend '%s' doesn't compile for target '%s'",
		                  k->backend_name, k->vector->target->name);
	if (!k->backend->compile(k->vector, blob, &j->d))
		return kvjit_job_fail(j, KVJIT_UNSUPPORTED, "");
	if (blob->entry < blob->size)
		return KVJIT_OK;
	return kvjit_fail(&j->kv->errors, KVJIT_INTERNAL,
	                  "backend '%s' gave an entry at %zu of %zu bytes", k->backend_name,
	                  blob->entry, blob->size);
}

/* The driver compiles a blob here, in kvjit_compile, so that no call has to. */
static kvjit_status build_module(kvjit_job *j, const void *bytes, size_t size)
{
	kvjit_device *d = j->kv->device;
	kbe_fault fault;

	if (j->flags & KVJIT_FOREIGN)
		return KVJIT_OK;
	j->k->module_on = d->runtime->module(d->handle, bytes, size, &fault);
	if (!j->k->module_on)
		return kvjit_fault(&j->kv->errors, &fault);
	j->k->device = kvjit_device_retain(d);
	return KVJIT_OK;
}

static kvjit_status map_code(kvjit_job *j, const void *bytes, size_t size, size_t entry,
                             size_t text)
{
	kvjit_kernel *k = j->k;
	void *at;

	if (j->f->target->lanes)
		return build_module(j, bytes, size);
	if (!kvjit_map_code(bytes, size, &k->code))
		return kvjit_fail(&j->kv->errors, KVJIT_NO_MEMORY,
		                  "no executable memory for %zu bytes of code", size);
	at = (char *)k->code.base + entry;
	if (!(j->flags & KVJIT_FOREIGN))
		memcpy(&k->entry, &at, sizeof(k->entry));
	if (j->kv->env[KVJIT_ENV_PERF])
		kvjit_perf_map(&k->code, text, k->problem[0] ? k->problem : k->ir->name);
	return KVJIT_OK;
}

/* -- keeping ------------------------------------------------------------------------- */

/* "nwork 16": what bounds each phase, a parameter or a number. */
static char *phases_text(const kvjit_kernel *k)
{
	kir_text t = { 0 };

	kir_text_add(&t, "%s", "");
	for (int i = 0; i < k->nphase; i++) {
		const kvjit_phase *p = &k->phase[i];

		if (p->param >= 0)
			kir_text_add(&t, "%s%s", i ? " " : "", k->param[p->param].name);
		else
			kir_text_add(&t, "%s%lld", i ? " " : "", (long long)p->n);
	}
	return t.text;
}

static const char *kind_of(const kvjit_job *j)
{
	return j->f->target->lanes ? "spirv" : "x86-64";
}

/* The blob as a cache holds it; free sched and phases. False: no memory. */
static bool entry_of(const kvjit_job *j, const kbe_blob *blob, double seconds, kt_code *c)
{
	const kvjit_kernel *k = j->k;
	kir_text sched = { 0 };

	kir_sched_print(&k->run->sched, &sched);
	*c = (kt_code){ 0 };
	c->key = j->code;
	c->program = j->program;
	kt_hash(blob->bytes, blob->size, &c->hash);
	c->kind = (char *)kind_of(j);
	c->backend = (char *)k->backend_name;
	c->target = k->target;
	c->problem = k->problem;
	c->sched = sched.text;
	c->isa = blob->isa;
	c->bytes = blob->bytes;
	c->size = blob->size;
	c->entry = blob->entry;
	c->text = blob->text;
	c->phases = phases_text(k);
	c->compile_us = (int64_t)(seconds * 1e6);
	c->codegen = KT_CODEGEN;
	return c->sched && c->phases;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* -- from code to kernel ----------------------------------------------------------------------
 */

/* The phases of stored code, by the parameters of the function it was made of. */
static bool read_phases(kvjit_kernel *k, const kir_func *f, const char *text)
{
	k->nphase = 0;
	for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
		size_t n = strcspn(text, " ");
		kvjit_phase *p = &k->phase[k->nphase];
		char *end;

		if (k->nphase == KVJIT_MAX_PHASES)
			return false;
		*p = (kvjit_phase){ -1, strtoll(text, &end, 10) };
		for (unsigned i = 0; end != text + n && i < f->nparam; i++)
			if (strlen(f->param[i].name) == n && !memcmp(f->param[i].name, text, n))
				p->param = (int)i;
		if (end != text + n && p->param < 0)
			return false;
		k->nphase++;
		text += n;
	}
	return k->nphase > 0;
}

/* Undoes a description, for a kernel that gets another one. */
static void forget(kvjit_kernel *k)
{
	free(k->param);
	k->param = NULL;
	memset(k->slot, 0, sizeof(k->slot));
	k->nparam = k->ngiven = k->nphase = 0;
	k->ncell = 0;
	k->planned = false;
}

/* False: an entry that doesn't fit the function, which a sound cache never holds; the kernel
 * is compiled then. */
static bool adopt(kvjit_job *j, const kt_code *c, const char *kind, kvjit_status *s)
{
	kir_sched sched = kir_sched_default(), old = j->f->sched;
	kvjit_kernel *k = j->k;
	bool given[kir_nknobs] = { 0 };

	if (c->entry >= c->size || c->text > c->size || strcmp(c->kind, kind) != 0 ||
	    !kir_sched_parse(&sched, given, c->sched, &j->d))
		return false;
	j->f->sched = sched;
	if (!read_phases(k, j->f, c->phases) || !kvjit_describe(k, j->f, k->ir, &j->d)) {
		forget(k);
		j->f->sched = old;
		return false;
	}
	*s = map_code(j, c->bytes, c->size, c->entry, c->text);
	if (*s != KVJIT_UNSUPPORTED && !(*s == KVJIT_INTERNAL && !strcmp(kind, "native")))
		return true;
	/* the driver refuses what it, or an older one, took before; of a binary that it can't
	 * read it may say that it doesn't know what is wrong */
	forget(k);
	j->f->sched = old;
	return false;
}

/* The native code of this very kind of device that somebody put beside the SPIR-V. A driver
 * that refuses it, because it is of another device or of a compiler too new or too old, loses
 * nothing but the time: the SPIR-V is taken. */
static bool native_from_cache(kvjit_job *j, kvjit_status *s)
{
	const kvjit_device *on = j->kv->device;
	char origin[sizeof(j->k->origin)], line[1400];
	kt_code c = { 0 };
	kt_key key;
	bool done;

	if (!on || !j->f->target->lanes || j->flags & KVJIT_FOREIGN)
		return false;
	kt_native_key(&j->code, j->f->target->name, &key);
	if (!kvjit_find_code(j->kv, &key, &c, origin, sizeof(origin), NULL))
		return false;
	j->d.n = 0;
	done = adopt(j, &c, "native", s);
	j->d.n = 0;
	if (done)
		snprintf(j->k->origin, sizeof(j->k->origin), "%.540s, native", origin);
	else if (j->kv->log) {
		snprintf(
		    line, sizeof(line),
		    "kvjit: %s has native code for %s that %s doesn't take; SPIR-V is taken "
		    "instead: %s\n",
		    origin, c.target, on->info.name,
		    *s == KVJIT_OK ? "the entry doesn't fit the program" : kvjit_error(j->kv));
		j->kv->log(line, j->kv->log_ctx);
	}
	kt_code_free(&c);
	if (!done)
		*s = KVJIT_OK;
	return done;
}

static bool from_cache(kvjit_job *j, kvjit_status *s)
{
	char origin[sizeof(j->k->origin)];
	kt_code c = { 0 };
	bool done;

	if (native_from_cache(j, s))
		return true;
	if (!kvjit_find_code(j->kv, &j->code, &c, origin, sizeof(origin), NULL))
		return false;
	j->d.n = 0;
	done = adopt(j, &c, kind_of(j), s);
	j->d.n = 0;
	if (done)
		memcpy(j->k->origin, origin, sizeof(origin));
	kt_code_free(&c);
	return done;
}

/* From the passes' function to code: the kernel takes it as it would from a cache. */
static kvjit_status use_blob(kvjit_job *j, const kbe_blob *blob, double seconds, bool kept)
{
	kvjit_status s = KVJIT_OK;
	kt_code c;

	if (!kvjit_describe(j->k, j->k->run, j->k->ir, &j->d))
		return kvjit_job_fail(j, KVJIT_UNSUPPORTED, "");
	if (!entry_of(j, blob, seconds, &c))
		s = kvjit_fail(&j->kv->errors, KVJIT_NO_MEMORY, "out of memory");
	forget(j->k);
	if (s == KVJIT_OK)
		s = kvjit_job_read_again(j);
	if (s == KVJIT_OK && !adopt(j, &c, kind_of(j), &s) && s == KVJIT_OK)
		s = kvjit_job_fail(j, KVJIT_INTERNAL,
		                   "what was compiled doesn't fit its program");
	if (s == KVJIT_OK && kept)
		kvjit_keep_code(j->kv, &c);
	free(c.sched);
	free(c.phases);
	return s;
}

static kvjit_status compile_code(kvjit_job *j, bool kept)
{
	kbe_blob blob = { 0 };
	double begin = now();
	kvjit_status s = make_blob(j, &blob);

	if (s == KVJIT_OK)
		s = use_blob(j, &blob, now() - begin, kept);
	free(blob.bytes);
	if (s == KVJIT_OK)
		print_stages(j);
	return s;
}

/* What a person asked to see of compiling needs the compiler. */
static bool may_use_caches(const kvjit_job *j)
{
	return !(j->flags & KVJIT_FRESH) && !j->kv->env[KVJIT_ENV_PRINT] &&
	       !j->kv->env[KVJIT_ENV_CHECK];
}

/* One compile across processes: the holder of a claim compiles, the others wait and find it.
 * Whoever couldn't get one in time compiles as well. */
static kvjit_status compile_claimed(kvjit_job *j)
{
	kt_store *user = kvjit_places_of(j->kv)->user;
	kvjit_status s = KVJIT_OK;
	kt_claim claim = { -1 };
	bool waited = false;

	if (user && kt_store_writable(user))
		kt_claim_take(user, &j->code, CLAIM_MS, &claim, &waited);
	if (!waited || !from_cache(j, &s))
		s = compile_code(j, true);
	kt_claim_drop(&claim);
	return s;
}

static bool runs_here(const kvjit_job *j, char *why, size_t len)
{
	const kir_target *t = j->f->target;

	if (!t->lanes)
		return kvjit_target_runs(&j->kv->host, t, why, len);
	if (j->kv->device && !(t->features & ~j->kv->target.features))
		return true;
	if (j->kv->device)
		snprintf(why, len, "target '%s' needs more than this context's device, %s, has",
		         t->name, j->kv->target.name);
	else
		snprintf(why, len,
		         "target '%s' is a device's: open the context with options.target "
		         "\"%s\"",
		         t->name, t->name);
	return false;
}

kvjit_status kvjit_job_code(kvjit_job *j)
{
	kvjit_status s = KVJIT_OK;
	char why[400];

	if (!(j->flags & KVJIT_FOREIGN) && !runs_here(j, why, sizeof(why)))
		return kvjit_fail(&j->kv->errors, KVJIT_UNSUPPORTED, "%s", why);
	if (!may_use_caches(j))
		return compile_code(j, false);
	kvjit_job_keys(j);
	return from_cache(j, &s) ? s : compile_claimed(j);
}
