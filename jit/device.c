/* SPDX-License-Identifier: Apache-2.0 */
/* device.c -- opening a device through its runtime, and memory on it. */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>

/* -- faults ------------------------------------------------------------------------------ */

static kvjit_status status_of(kbe_fault_kind kind)
{
	switch (kind) {
	case KBE_NO_DEVICE: return KVJIT_NO_BACKEND;
	case KBE_UNABLE: return KVJIT_UNSUPPORTED;
	case KBE_BAD_VALUE: return KVJIT_BAD_ARGUMENT;
	case KBE_NO_ROOM: return KVJIT_NO_MEMORY;
	case KBE_LOST: return KVJIT_DEVICE_LOST;
	default: return KVJIT_INTERNAL;
	}
}

kvjit_status kvjit_fault(kvjit_errors *e, const kbe_fault *f)
{
	return kvjit_fail(e, status_of(f->kind), "%s", f->text);
}

/* -- opening ----------------------------------------------------------------------------- */

kvjit_status kvjit_device_open(const char *dir, const kbe_choice *choice, kvjit_device **out,
                               char *why, size_t len)
{
	kvjit_loaded l;
	kbe_fault fault = { KBE_NO_ROOM, "out of memory" };
	const kbe_runtime *r = kvjit_load_runtime(dir, &l);
	kvjit_device *d;

	if (!r) {
		snprintf(why, len, "%s", l.why);
		return KVJIT_NO_BACKEND;
	}
	d = calloc(1, sizeof(*d));
	if (d) {
		atomic_init(&d->refs, 1);
		d->runtime = r;
		d->handle = r->open(choice, &d->info, &fault);
	}
	if (d && d->handle)
		d->queue = r->queue(d->handle, NULL, false, &fault);
	if (d && d->queue) {
		*out = d;
		return KVJIT_OK;
	}
	snprintf(why, len, "%s", fault.text);
	kvjit_device_release(d);
	return status_of(fault.kind);
}

kvjit_device *kvjit_device_retain(kvjit_device *d)
{
	if (d)
		atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
	return d;
}

void kvjit_device_release(kvjit_device *d)
{
	if (!d || atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (d->queue)
		d->runtime->queue_free(d->queue);
	if (d->handle)
		d->runtime->close(d->handle);
	free(d);
}

void kvjit_device_print(const kvjit *kv, kir_text *out)
{
	kvjit_loaded l;
	const kbe_runtime *r = kvjit_load_runtime(kv->env[KVJIT_ENV_BACKEND_DIR], &l);

	if (r)
		r->list(out);
	else
		kir_text_add(out, "device   none: %s\n", l.why);
	if (kv->device)
		kir_text_add(out, "on       %s\n", kv->device->info.name);
}

/* -- memory ------------------------------------------------------------------------------ */

const char *kvjit_device_name(const kvjit *kv)
{
	return kv && kv->device ? kv->device->info.name : NULL;
}

static kvjit_status need_device(kvjit *kv, const char *call)
{
	if (!kv)
		return kvjit_fail_null(call, "kv", "kvjit_open");
	return kv->device
	           ? KVJIT_OK
	           : kvjit_fail(&kv->errors, KVJIT_BAD_ARGUMENT,
	                        "this context has no device: its target is %s; open one with "
	                        "options.target \"xe\"",
	                        kv->target.name);
}

kvjit_status kvjit_device_alloc(kvjit *kv, kvjit_memory kind, size_t bytes, void **out)
{
	static const kbe_memory kinds[] = { KBE_MEMORY_device, KBE_MEMORY_shared,
		                            KBE_MEMORY_host };
	kvjit_status s = need_device(kv, __func__);
	kbe_fault fault;
	void *p;

	if (s != KVJIT_OK)
		return s;
	if (!out || (unsigned)kind >= sizeof(kinds) / sizeof(kinds[0]))
		return kvjit_fail(&kv->errors, KVJIT_BAD_ARGUMENT,
		                  out ? "kind is %d; it takes KVJIT_MEMORY_DEVICE, _SHARED "
		                        "and _HOST"
		                      : "out must not be NULL (kind %d)",
		                  (int)kind);
	p = kv->device->runtime->alloc(kv->device->handle, kinds[kind], bytes ? bytes : 1,
	                               &fault);
	if (!p)
		return kvjit_fault(&kv->errors, &fault);
	*out = p;
	return KVJIT_OK;
}

void kvjit_device_free(kvjit *kv, void *p)
{
	if (kv && kv->device && p)
		kv->device->runtime->free(kv->device->handle, p);
}

kvjit_status kvjit_device_copy(kvjit *kv, void *to, const void *from, size_t bytes)
{
	kvjit_status s = need_device(kv, __func__);
	kbe_fault fault;

	if (s != KVJIT_OK)
		return s;
	if (bytes && (!to || !from))
		return kvjit_fail(&kv->errors, KVJIT_BAD_ARGUMENT, "%s is NULL",
		                  to ? "from" : "to");
	if (kv->device->runtime->copy(kv->device->queue, to, from, bytes, &fault) &&
	    kv->device->runtime->wait(kv->device->queue, &fault))
		return KVJIT_OK;
	return kvjit_fault(&kv->errors, &fault);
}
