/* SPDX-License-Identifier: Apache-2.0 */
/* launch.c -- calls on a device: where their memory lies, and the queues they go to. */
#include "frame.h"
#include "refuse.h"

#include <stdlib.h>
#include <string.h>

/* -- memory ---------------------------------------------------------------------------- */

bool kvjit_host_reads(const kvjit_frame *f, int i)
{
	const kvjit_device *d = f->k->device;
	kbe_place at;
	kbe_fault ignored;

	return !d || (d->runtime->place(d->handle, f->arg[i]->data, &at, &ignored) &&
	              at.host_readable);
}

/* A pointer of the host's own memory would make most devices fault long after the call. */
static kvjit_status check_place(const kvjit_frame *f, int i)
{
	const kvjit_kernel *k = f->k;
	const kvjit_device *d = k->device;
	const void *p = f->cell[k->slot[i].cell].p;
	const char *name = k->param[i].planned ? "scratch" : k->param[i].name;
	const char *what = k->param[i].planned ? "" : "argument ";
	int64_t bytes = f->plan ? kvjit_planned_bytes(f, i) : kvjit_reach(f, i);
	kbe_fault fault;
	kbe_place at;

	if (!p)
		return KVJIT_OK;
	if (!d->runtime->place(d->handle, p, &at, &fault))
		return kvjit_fault(kvjit_errors_of(k), &fault);
	if (!at.readable)
		return BAD("%s'%s' is %p, ordinary memory of the host, which %s can't read: "
		           "take kvjit_device_alloc's, or copy it there",
		           what, name, p, d->info.name);
	if (at.end && bytes > (int64_t)(at.end - (uintptr_t)p))
		return BAD("%s'%s' reaches %ld bytes, but its allocation ends after %ld", what,
		           name, (long)bytes, (long)(at.end - (uintptr_t)p));
	return KVJIT_OK;
}

/* What the plan itself allocated needs no look. */
static bool is_plans(const kvjit_frame *f, int i)
{
	int planned = f->k->slot[i].planned;
	bool scratch = planned == KVJIT_PLAN_part || planned == KVJIT_PLAN_both ||
	               planned == KVJIT_PLAN_both_lse;

	return planned && (!scratch || f->scratch == f->plan->scratch);
}

static kvjit_status check_places(const kvjit_frame *f)
{
	const kvjit_kernel *k = f->k;
	kvjit_status s = KVJIT_OK;

	for (int i = 0; i < k->nparam && s == KVJIT_OK; i++)
		if (k->slot[i].buffer && !is_plans(f, i))
			s = check_place(f, i);
	return s;
}

/* -- launching -------------------------------------------------------------------------- */

typedef struct launch {
	const void *value[KVJIT_MAX_CELLS];
	uint8_t bytes[KVJIT_MAX_CELLS];
	int64_t count[KVJIT_MAX_PHASES];
} launch;

static kbe_launch launch_of(const kvjit_frame *f, launch *l)
{
	const kvjit_kernel *k = f->k;
	unsigned n = k->ncell - 3;

	for (unsigned i = 0; i < n; i++) {
		l->value[i] = &f->cell[i];
		l->bytes[i] = (uint8_t)k->types[i]->size;
	}
	for (int i = 0; i < k->nphase; i++)
		l->count[i] = kvjit_phase_count(f, &k->phase[i]);
	return (
	    kbe_launch){ k->module_on, l->value, l->bytes, n, l->count, (unsigned)k->nphase };
}

/* What is wrong is said of k, whose parts the frames are; then nothing was launched, unless the
 * device itself failed. */
static kvjit_status launch_all(const kvjit_kernel *k, const kvjit_frames *frames,
                               kbe_queue *queue)
{
	launch room[2];
	kbe_launch l[2];
	kbe_fault fault;

	for (int i = 0; i < frames->n; i++) {
		kvjit_status s = kvjit_pass_on(k, frames->f[i].k, check_places(&frames->f[i]));

		if (s != KVJIT_OK)
			return s;
		l[i] = launch_of(&frames->f[i], &room[i]);
	}
	if (k->device->runtime->launch(queue, l, (unsigned)frames->n, &fault))
		return KVJIT_OK;
	return kvjit_fault(kvjit_errors_of(k), &fault);
}

kvjit_status kvjit_launch_and_wait(const kvjit_kernel *k, const kvjit_frames *frames)
{
	const kvjit_device *d = k->device;
	kvjit_status s = launch_all(k, frames, d->queue);
	kbe_fault fault;

	/* a launch that failed may have begun: what it reads and writes is the caller's again
	 */
	if (!d->runtime->wait(d->queue, &fault) && s == KVJIT_OK)
		s = kvjit_fault(kvjit_errors_of(k), &fault);
	return s;
}

/* -- queues ------------------------------------------------------------------------------ */

struct kvjit_queue {
	kvjit_errors errors;
	kvjit_device *device;
	kbe_queue *handle;
};

static kvjit_status queue_fault(kvjit_queue *q, bool ok, const kbe_fault *fault)
{
	return ok ? KVJIT_OK : kvjit_fault(&q->errors, fault);
}

static kvjit_status make_queue(kvjit *kv, const kvjit_queue_options *o, kvjit_queue **out)
{
	kvjit_queue *q = calloc(1, sizeof(*q));
	kbe_fault fault;

	if (!q)
		return kvjit_fail(&kv->errors, KVJIT_NO_MEMORY, "out of memory");
	q->handle = kv->device->runtime->queue(kv->device->handle, o->list, o->timed, &fault);
	if (!q->handle) {
		free(q);
		return kvjit_fault(&kv->errors, &fault);
	}
	kvjit_errors_init(&q->errors);
	q->device = kvjit_device_retain(kv->device);
	*out = q;
	return KVJIT_OK;
}

kvjit_status kvjit_queue_new(kvjit *kv, const kvjit_queue_options *options, kvjit_queue **out)
{
	kvjit_queue_options o = { 0 };

	KVJIT_NEED_CONTEXT(kv);
	if (!out || (options && (options->size < sizeof(size_t) || options->size > sizeof(o))))
		return kvjit_fail(&kv->errors, KVJIT_BAD_ARGUMENT,
		                  out ? "options.size must be sizeof(kvjit_queue_options), %zu"
		                      : "out must not be NULL (options take %zu bytes)",
		                  sizeof(o));
	if (!kv->device)
		return kvjit_fail(&kv->errors, KVJIT_BAD_ARGUMENT,
		                  "this context has no device: its target is %s",
		                  kv->target.name);
	if (options)
		memcpy(&o, options, options->size);
	return make_queue(kv, &o, out);
}

void kvjit_queue_free(kvjit_queue *q)
{
	if (!q)
		return;
	q->device->runtime->queue_free(q->handle);
	kvjit_device_release(q->device);
	kvjit_errors_free(&q->errors);
	free(q);
}

const char *kvjit_queue_error(const kvjit_queue *q)
{
	return q ? kvjit_last_error((kvjit_errors *)&q->errors) : kvjit_null_error();
}

kvjit_status kvjit_queue_call(kvjit_queue *q, const kvjit_kernel *k, const kvjit_plan *plan,
                              const kvjit_arg *args, int nargs, void *scratch)
{
	kvjit_frames frames;
	kvjit_status s;

	if (!q)
		return kvjit_fail_null(__func__, "q", "kvjit_queue_new");
	if (!k)
		return kvjit_fail(&q->errors, KVJIT_BAD_ARGUMENT, "k must not be NULL");
	if (!k->module_on || k->device != q->device)
		return kvjit_fail(&q->errors, KVJIT_BAD_ARGUMENT,
		                  "the kernel, for target %s, isn't one of this queue's device",
		                  k->target);
	s = kvjit_frames_fill(k, plan, &frames, args, nargs, scratch);
	if (s == KVJIT_OK)
		s = launch_all(k, &frames, q->handle);
	if (s != KVJIT_OK)
		kvjit_fail(&q->errors, s, "%s", kvjit_kernel_error(k));
	return s;
}

kvjit_status kvjit_queue_copy(kvjit_queue *q, void *to, const void *from, size_t bytes)
{
	kbe_fault fault;

	if (!q)
		return kvjit_fail_null(__func__, "q", "kvjit_queue_new");
	if (bytes && (!to || !from))
		return kvjit_fail(&q->errors, KVJIT_BAD_ARGUMENT, "%s is NULL",
		                  to ? "from" : "to");
	return queue_fault(q, q->device->runtime->copy(q->handle, to, from, bytes, &fault),
	                   &fault);
}

kvjit_status kvjit_queue_wait(kvjit_queue *q)
{
	kbe_fault fault;

	return q ? queue_fault(q, q->device->runtime->wait(q->handle, &fault), &fault)
	         : kvjit_fail_null(__func__, "q", "kvjit_queue_new");
}

kvjit_status kvjit_queue_seconds(kvjit_queue *q, double *out)
{
	kbe_fault fault;

	if (!q)
		return kvjit_fail_null(__func__, "q", "kvjit_queue_new");
	if (!out)
		return kvjit_fail(&q->errors, KVJIT_BAD_ARGUMENT, "out must not be NULL");
	return queue_fault(q, q->device->runtime->seconds(q->handle, out, &fault), &fault);
}
