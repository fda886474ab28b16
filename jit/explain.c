/* SPDX-License-Identifier: Apache-2.0 */
/* explain.c -- whether a problem runs here: found out by compiling it, the one way that
 * can't disagree with kvjit_compile.
 */
#include "device.h"
#include "few.h"

#include <stdlib.h>

static void print_params(const kvjit_kernel *k, kir_text *t)
{
	static const char *const roles[] = { "", "in", "out", "inout" };

	for (int i = 0; i < k->nparam; i++) {
		const kvjit_param *p = &k->param[i];

		kir_text_add(t, "  %s%s %s%s", p->planned ? "(plan) " : "", roles[p->role],
		             p->name, k->slot[i].buffer ? "[" : "");
		for (int d = 0; d < p->rank; d++)
			if (p->shape[d] < 0)
				kir_text_add(t, "%s?", d ? "," : "");
			else
				kir_text_add(t, "%s%ld", d ? "," : "", (long)p->shape[d]);
		kir_text_add(t, "%s %s", k->slot[i].buffer ? "]" : "",
		             kir_elems[k->slot[i].elem].name);
		for (int s = 0; s < p->nstride; s++)
			kir_text_add(t, "%s%ld", s ? "," : " strides ", (long)p->stride[s]);
		kir_text_add(t, "\n");
	}
}

static void print_module(const kvjit_kernel *k, kir_text *t)
{
	kbe_module_info m;

	k->device->runtime->module_info(k->module_on, &m);
	kir_text_add(t,
	             "device: %s\ncode: %zu bytes, %d phases, sub-groups of %u, %u bytes of "
	             "local memory, %u spilled, %u private\n",
	             k->device->info.name, m.native, k->nphase, m.subgroup, m.local, m.spill,
	             m.private_);
}

static void print_schedule(const kvjit_kernel *k, kir_text *t)
{
	char *resolved = kvjit_kernel_text(k, "resolved");

	kir_text_add(t, "schedule: ");
	kir_sched_print(&k->run->sched, t);
	kir_text_add(t, "\nresolved: %s\n",
	             resolved && *resolved ? resolved : "none was asked for");
	free(resolved);
}

static void print_kernel(const kvjit_kernel *k, kir_text *t)
{
	int64_t few = kvjit_few_most(k, kvjit_few_of(k)); /* 0: only of other sizes, or none */

	kir_text_add(t, "supported: yes\nproblem: %s\ntarget: %s\nbackend: %s\n", k->problem,
	             k->target, k->backend_name);
	print_schedule(k, t);
	if (few > 0) {
		kir_text_add(t,
		             "tiles with at most %ld of %ld queries have a kernel of their "
		             "own:\n",
		             (long)few, (long)k->shape.q_tile);
		print_schedule(k->few, t);
	}
	kir_text_add(t, "tiles: %s\n", kbe_tiles_text(kbe_host_tiles()));
	if (k->entry)
		kir_text_add(t, "code: %zu bytes mapped, %d phases\n", k->code.size, k->nphase);
	if (k->module_on)
		print_module(k, t);
	kir_text_add(t, "parameters:\n");
	print_params(k, t);
}

kvjit_status kvjit_explain(kvjit *kv, const char *text, char **out)
{
	kvjit_kernel *k = NULL;
	kir_text t = { 0 };
	kvjit_status s;

	KVJIT_NEED_CONTEXT(kv);
	if (!out)
		return kvjit_fail(&kv->errors, KVJIT_BAD_ARGUMENT, "out must not be NULL");
	s = kvjit_compile(kv, text, NULL, &k);
	if (s == KVJIT_OK)
		print_kernel(k, &t);
	else if (s == KVJIT_UNSUPPORTED || s == KVJIT_NO_BACKEND)
		kir_text_add(&t, "supported: no\nwhy: %s\n", kvjit_error(kv));
	else
		return s;
	kvjit_release(k);
	*out = t.text;
	return KVJIT_OK;
}
