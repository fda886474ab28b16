/* SPDX-License-Identifier: Apache-2.0 */
/* why.c -- what a cache would answer, and why: found by the same steps that kvjit_compile
 * takes, up to the point where it would compile.
 */
#include "job.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads text and takes the schedule that kvjit_compile would; *choice says by whom. The job's
 * kernel is the caller's to release. */
static kvjit_status resolve(kvjit *kv, const char *text, const kvjit_compile_options *options,
                            kvjit_job *j, char by[40])
{
	kvjit_choice choice[KVJIT_MAX_CHOICES];
	kvjit_compile_options o = { 0 };
	kvjit_status s = kvjit_check_options(kv, options, &o);
	bool sized = false;
	unsigned n;

	if (s != KVJIT_OK)
		return s;
	j->kv = kv;
	j->text = text;
	j->sched = o.sched;
	j->flags = o.flags;
	j->k = kvjit_kernel_new(kv);
	if (!j->k)
		return kvjit_fail(&kv->errors, KVJIT_NO_MEMORY, "out of memory");
	s = kvjit_job_read(j);
	if (s != KVJIT_OK)
		return s;
	n = kvjit_choose(j, choice, &sized);
	snprintf(by, 40, "%s", kvjit_job_chosen(j) ? "the caller" : "default");
	if (sized && n && kvjit_job_take(j, choice[0].sched))
		snprintf(by, 40, "%s", choice[0].by);
	else if (n)
		snprintf(by, 40, "default, and %u tuned for sizes", n);
	kvjit_choices_free(choice, n);
	kvjit_default_schedule(j->f, j->is_problem ? &j->problem : NULL);
	kvjit_job_keys(j);
	return KVJIT_OK;
}

static kvjit_status check(kvjit *kv, const char *call, const char *text, const void *out)
{
	if (!kv)
		return kvjit_fail_null(call, "kv", "kvjit_open");
	if (text && out)
		return KVJIT_OK;
	return kvjit_fail(&kv->errors, KVJIT_BAD_ARGUMENT, "text and out must not be NULL");
}

kvjit_status kvjit_keys_of(kvjit *kv, const char *text, const kvjit_compile_options *options,
                           kvjit_keys *out)
{
	kvjit_status s = check(kv, __func__, text, out);
	kir_text sched = { 0 };
	kvjit_job *j;
	kt_key machine;
	char by[40];

	if (s != KVJIT_OK)
		return s;
	if (out->size != sizeof(*out))
		return kvjit_fail(&kv->errors, KVJIT_BAD_ARGUMENT,
		                  "out.size must be sizeof(kvjit_keys), %zu", sizeof(*out));
	j = calloc(1, sizeof(*j));
	if (!j)
		return kvjit_fail(&kv->errors, KVJIT_NO_MEMORY, "out of memory");
	s = resolve(kv, text, options, j, by);
	if (s == KVJIT_OK) {
		kt_key_hex(&j->program, out->program);
		kvjit_machine_for(kv, j->f->target->name, &machine);
		kt_key_hex(&machine, out->machine);
		kt_key_hex(&j->code, out->code);
		kir_sched_print(&j->f->sched, &sched);
		snprintf(out->sched, sizeof(out->sched), "%s", sched.text ? sched.text : "");
		free(sched.text);
		out->threads = kv->threads;
	}
	kvjit_release(j->k);
	free(j);
	return s;
}

/* -- why ------------------------------------------------------------------------------ */

/* Code of the same program under another key, and what differs. */
typedef struct near {
	const kvjit_job *j;
	const char *sched;
	kir_text *out;
	unsigned n;
} near;

static void differ(kir_text *out, const char *field, const char *theirs, const char *ours)
{
	if (strcmp(theirs, ours) != 0)
		kir_text_add(out, "    %s: stored %s, wanted %s\n", field, theirs, ours);
}

/* Knobs in both, word by word: the text form names all in one order. */
static void differ_knobs(kir_text *out, const char *theirs, const char *ours)
{
	while (*theirs && *ours) {
		size_t a = strcspn(theirs, " "), b = strcspn(ours, " ");

		if (a != b || memcmp(theirs, ours, a) != 0)
			kir_text_add(out, "    knob: stored %.*s, wanted %.*s\n", (int)a,
			             theirs, (int)b, ours);
		theirs += a + (theirs[a] == ' ');
		ours += b + (ours[b] == ' ');
	}
}

static bool describe_near(const kt_code *c, void *ctx)
{
	near *n = ctx;
	const kvjit_job *j = n->j;
	char hex[KT_HEX], theirs[24], ours[24];

	if (!kt_key_equal(&c->program, &j->program) || kt_key_equal(&c->key, &j->code) ||
	    !strcmp(c->kind, "native")) /* it stands beside SPIR-V, which is told */
		return true;
	kt_key_hex(&c->key, hex);
	kir_text_add(n->out, "  of this program there is %.12s:\n", hex);
	differ(n->out, "target", c->target, j->f->target->name);
	differ(n->out, "backend", c->backend, j->k->backend_name);
	snprintf(theirs, sizeof(theirs), "%d", c->codegen);
	snprintf(ours, sizeof(ours), "%d", KT_CODEGEN);
	differ(n->out, "code generator", theirs, ours);
	differ_knobs(n->out, c->sched, n->sched);
	return ++n->n < 5;
}

static void print_near(const kvjit_job *j, const char *sched, kir_text *out)
{
	const struct kvjit_places *p = j->kv->places;
	near n = { j, sched, out, 0 };

	if (p->user)
		kt_each_code(p->user, false, describe_near, &n);
	for (unsigned i = 0; i < p->nplace; i++) {
		if (p->place[i].store)
			kt_each_code(p->place[i].store, false, describe_near, &n);
		if (p->place[i].pack)
			kt_pack_each_code(p->place[i].pack, describe_near, &n);
	}
	if (!n.n)
		kir_text_add(out, "  no code of this program was found under another key\n");
}

/* With how many threads else it was tuned, each number once. */
static void print_other_threads(const kvjit_job *j, kir_text *out)
{
	kt_schedule *r = NULL;
	unsigned n = kvjit_find_other_threads(j->kv, &j->program, j->f->target->name, &r);
	int most = 0;

	while (n) {
		int next = INT_MAX;

		for (unsigned i = 0; i < n; i++)
			if (r[i].where.threads > most && r[i].where.threads < next)
				next = r[i].where.threads;
		if (next == INT_MAX)
			break;
		kir_text_add(
		    out, "%s%d",
		    most ? ", " : "  there are some with another number of threads: ", next);
		most = next;
	}
	if (most)
		kir_text_add(out, "\n");
	kvjit_schedules_free(r, n);
}

static void print_schedules(const kvjit_job *j, kir_text *out)
{
	kt_schedule *r = NULL;
	unsigned n = kvjit_find_schedules(j->kv, &j->program, j->f->target->name, &r);

	for (unsigned i = 0; i < n; i++)
		kir_text_add(
		    out,
		    "  tuned: batch 2^%d, context 256 x 2^%d, new tokens class %d, %s, "
		    "%s: %.3g of the default's time\n",
		    r[i].where.bucket.batch, r[i].where.bucket.ctx, r[i].where.bucket.qlen,
		    kt_policy_names[r[i].where.policy], kt_source_names[r[i].source],
		    r[i].ratio);
	if (!n) {
		kir_text_add(out, "  none was tuned for target %s with %d threads\n",
		             j->f->target->name, j->kv->threads);
		print_other_threads(j, out);
	}
	kvjit_schedules_free(r, n);
}

/* A device's own code beside the SPIR-V: taken first, where the driver takes it. */
static void print_native(const kvjit_job *j, kir_text *out)
{
	char origin[560];
	kt_code c = { 0 };
	kt_key key;

	if (!j->f->target->lanes)
		return;
	kt_native_key(&j->code, j->f->target->name, &key);
	if (!kvjit_find_code(j->kv, &key, &c, origin, sizeof(origin), NULL)) {
		kir_text_add(out, "native: none, the driver compiles SPIR-V\n");
		return;
	}
	kir_text_add(out, "native: %zu bytes for %s in %s\n", c.size, c.target, origin);
	kt_code_free(&c);
}

static void print_why(kvjit_job *j, const char *by, kir_text *out)
{
	char hex[KT_HEX], origin[560];
	kir_text sched = { 0 };
	kt_code c = { 0 };
	bool hit;

	kir_sched_print(&j->f->sched, &sched);
	kir_text_add(out, "problem: %s\n", j->k->problem);
	kt_key_hex(&j->program, hex);
	kir_text_add(out, "program: %s\nschedule: %s\n  chosen by: %s\n", hex,
	             sched.text ? sched.text : "", by);
	print_schedules(j, out);
	kt_key_hex(&j->code, hex);
	kir_text_add(out, "code: %s\n", hex);
	hit = kvjit_find_code(j->kv, &j->code, &c, origin, sizeof(origin), out);
	kir_text_add(out, "answer: %s\n", hit ? "hit" : "miss: it would be compiled");
	if (hit)
		kt_code_free(&c);
	else
		print_near(j, sched.text ? sched.text : "", out);
	print_native(j, out);
	free(sched.text);
}

kvjit_status kvjit_why(kvjit *kv, const char *text, const kvjit_compile_options *options,
                       char **out)
{
	kvjit_status s = check(kv, __func__, text, out);
	kir_text t = { 0 };
	kvjit_job *j;
	char by[40];

	if (s != KVJIT_OK)
		return s;
	j = calloc(1, sizeof(*j));
	if (!j)
		return kvjit_fail(&kv->errors, KVJIT_NO_MEMORY, "out of memory");
	s = resolve(kv, text, options, j, by);
	if (s == KVJIT_OK) {
		print_why(j, by, &t);
		*out = t.text;
	}
	kvjit_release(j->k);
	free(j);
	return s;
}
