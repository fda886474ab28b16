/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.c -- asking a kernel what it is, and letting it go. */
#include "device.h"
#include "record.h"
#include "refuse.h"
#include "../passes/passes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kvjit_release(kvjit_kernel *k)
{
	if (!k || atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned i = 0; k->family && i < k->family->n; i++)
		kvjit_release(k->family->variant[i]);
	free(k->family);
	kvjit_release(k->few);
	kvjit_record_release(k->record);
	kvjit_unmap(&k->code);
	if (k->module_on)
		k->device->runtime->module_free(k->module_on);
	kvjit_device_release(k->device);
	kir_module_free(k->module);
	pthread_mutex_destroy(&k->text);
	kvjit_errors_free(&k->errors);
	free(k->param);
	free(k->problem);
	free(k->target);
	free(k->backend_dir);
	free(k->skip);
	free(k);
}

int kvjit_nparam(const kvjit_kernel *k)
{
	return k ? k->nparam : 0;
}

const kvjit_param *kvjit_param_at(const kvjit_kernel *k, int i)
{
	return k && i >= 0 && i < k->nparam ? &k->param[i] : NULL;
}

kvjit_status kvjit_no_such(const kvjit_kernel *k, const char *name)
{
	char all[400] = "";

	for (int i = 0; i < k->nparam; i++)
		if (!k->param[i].planned)
			snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s",
			         all[0] ? ", " : "", k->param[i].name);
	return BAD("no parameter '%.60s'; there are %s", name, all);
}

static int find_given(const kvjit_kernel *k, const char *name)
{
	for (int i = 0; i < k->nparam; i++)
		if (!k->param[i].planned && !strcmp(k->param[i].name, name))
			return i;
	return -1;
}

/* Memory for a as the defaults lay it out: its elements or, where a page is longer than what
 * lies in it, its pages. False: more than there is. */
static bool memory_of(const kvjit_kernel *k, int i, const kvjit_arg *a, size_t *out)
{
	const kvjit_param *p = &k->param[i];
	int64_t bytes = k->slot[i].bytes, span;

	for (int d = 0; d < a->rank; d++)
		if (__builtin_mul_overflow(bytes, a->shape[d], &bytes))
			return false;
	for (int s = 0; s < p->nstride; s++) {
		if (p->stride[s] < 0) /* follows from the extents: dense */
			continue;
		if (__builtin_mul_overflow(p->stride[s] * k->slot[i].bytes,
		                           a->shape[k->slot[i].axis[s]], &span))
			return false;
		bytes = span > bytes ? span : bytes;
	}
	*out = (size_t)bytes;
	return true;
}

kvjit_status kvjit_arg_of(const kvjit_kernel *k, const char *name, int64_t n, kvjit_arg *out,
                          size_t *bytes)
{
	const kvjit_param *p;
	kvjit_arg a = { 0 };
	int i, open = 0;

	if (!k)
		return kvjit_fail_null(__func__, "k", "kvjit_compile");
	if (!name || !out || !bytes)
		return BAD("name, out and bytes must not be NULL");
	if (n < 0)
		return BAD("n is %ld; it must be 0 or more", (long)n);
	i = find_given(k, name);
	if (i < 0)
		return kvjit_no_such(k, name);
	p = &k->param[i];
	if (!p->rank)
		return BAD("argument '%s' is a scalar; it takes no memory", p->name);
	a.name = name; /* k may be gone when a is used */
	a.dtype = p->dtype;
	a.rank = p->rank;
	for (int d = 0; d < p->rank; d++) {
		open += p->shape[d] < 0;
		a.shape[d] = p->shape[d] < 0 ? n : p->shape[d];
	}
	if (open > 1)
		return BAD("argument '%s' has %d extents that are open; n is one of them",
		           p->name, open);
	if (!memory_of(k, i, &a, bytes))
		return BAD("argument '%s': %ld for its open extent is more than memory",
		           p->name, (long)n);
	*out = a;
	return KVJIT_OK;
}

const char *kvjit_kernel_target(const kvjit_kernel *k)
{
	return k ? k->target : "";
}

const char *kvjit_kernel_problem(const kvjit_kernel *k)
{
	return k ? k->problem : "";
}

const char *kvjit_kernel_origin(const kvjit_kernel *k)
{
	return k ? k->origin : "";
}

const char *kvjit_kernel_error(const kvjit_kernel *k)
{
	return k ? kvjit_last_error(kvjit_errors_of(k)) : kvjit_null_error();
}

void *kvjit_entry(const kvjit_kernel *k)
{
	void *entry = NULL;

	if (k)
		memcpy(&entry, &k->entry, sizeof(entry));
	return entry;
}

/* -- text ------------------------------------------------------------------------- */

static bool print_func(const kir_func *f, kir_text *out)
{
	if (f)
		kir_print(f, out);
	return f;
}

/* Level A reads declared formats: without them the text wouldn't parse. */
static bool print_ir(const kvjit_kernel *k, kir_text *out)
{
	for (unsigned i = 0; k->ir->level == KIR_A && i < k->module->nformat; i++) {
		kir_format_print(k->module->format[i], out);
		kir_text_add(out, "\n");
	}
	return print_func(k->ir, out);
}

/* Code from a cache came without the levels between: they are made as its compiler made them.
 * Under the kernel's lock. */
static bool remember(const kir_func *before, const kir_func *after, void *ctx, kir_diag *why)
{
	kvjit_kernel *k = ctx;

	(void)before;
	(void)why;
	if (after->level == KIR_T)
		k->tile = after;
	return true;
}

static void lower_again(kvjit_kernel *k, kir_diag *d)
{
	kpass_options o = { .skip = k->skip, .compare = remember, .ctx = k };

	if (k->vector || k->backend_index == KVJIT_BE_ref)
		return;
	k->tile = k->ir->level == KIR_T ? k->ir : NULL;
	k->vector = kpass_run((kir_func *)k->ir, &o, d);
}

static void load_again(kvjit_kernel *k, kir_diag *d)
{
	kvjit_loaded l;

	lower_again(k, d);
	if (k->backend || k->backend_index == KVJIT_BE_ref)
		return;
	kvjit_load_from(k->backend_dir, k->backend_index, &l);
	k->backend = l.backend;
	if (!l.backend)
		kir_error(d, 0, 0, "%s", l.why);
}

static const char *const stage_list =
    "ir, tile, vector, llvm, c, asm, schedule, resolved, problem";

/* backend: whose source it is; NULL: anybody's. */
static bool dump(kvjit_kernel *k, const char *backend, kbe_dump what, kir_text *out,
                 kir_diag *d)
{
	load_again(k, d);
	return k->backend && k->vector && (!backend || !strcmp(backend, k->backend_name)) &&
	       k->backend->dump(k->vector, what, out, d);
}

static bool print_stage(kvjit_kernel *k, const char *stage, kir_text *out, kir_diag *d)
{
	if (!strcmp(stage, "ir"))
		return print_ir(k, out);
	if (!strcmp(stage, "tile"))
		return lower_again(k, d), print_func(k->tile, out);
	if (!strcmp(stage, "vector"))
		return lower_again(k, d), print_func(k->vector, out);
	if (!strcmp(stage, "llvm") && strcmp(k->backend_name, "c") != 0)
		return dump(k, NULL, KBE_DUMP_SOURCE, out, d);
	if (!strcmp(stage, "c"))
		return dump(k, "c", KBE_DUMP_SOURCE, out, d);
	if (!strcmp(stage, "asm"))
		return dump(k, NULL, KBE_DUMP_ASM, out, d);
	if (!strcmp(stage, "schedule"))
		return kir_sched_print(&k->run->sched, out), true;
	if (!strcmp(stage, "resolved")) {
		lower_again(k, d);
		kir_text_add(out, "%s", "");
		if (k->vector)
			kir_chosen_print(k->vector, out);
		return true;
	}
	if (!strcmp(stage, "problem") && k->problem[0])
		return kir_text_add(out, "%s", k->problem), true;
	return false;
}

char *kvjit_kernel_text(const kvjit_kernel *k, const char *stage)
{
	kir_text t = { 0 };
	kir_diag d = { 0 };
	char why[600];
	bool ok;

	if (!k) {
		kvjit_fail_null("kvjit_kernel_text", "k", "kvjit_compile");
		return NULL;
	}
	if (!stage) {
		kvjit_fail(kvjit_errors_of(k), KVJIT_BAD_ARGUMENT,
		           "stage must not be NULL; stages are %s", stage_list);
		return NULL;
	}
	pthread_mutex_lock((pthread_mutex_t *)&k->text);
	ok = print_stage((kvjit_kernel *)k, stage, &t, &d);
	pthread_mutex_unlock((pthread_mutex_t *)&k->text);
	if (ok)
		return t.text;
	free(t.text);
	kvjit_fail(kvjit_errors_of(k), KVJIT_BAD_ARGUMENT,
	           "this kernel, of backend %s, has no text '%.40s'; stages are %s%s%s",
	           k->backend_name, stage, stage_list, d.n ? ": " : "",
	           kir_diag_text(&d, why, sizeof(why)));
	return NULL;
}
