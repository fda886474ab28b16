/* SPDX-License-Identifier: Apache-2.0 */
/* device.h -- a device of this process: opened by a context, kept by its kernels, plans and
 * queues, which may outlive the context.
 */
#ifndef KVJIT_JIT_DEVICE_H
#define KVJIT_JIT_DEVICE_H

#include "jit.h"

struct kvjit_device {
	atomic_int refs;
	const kbe_runtime *runtime;
	kbe_device *handle;
	kbe_device_info info;
	kbe_queue *queue; /* of calls that name none */
};

/* loader.c: NULL, and l->why. */
const kbe_runtime *kvjit_load_runtime(const char *dir, kvjit_loaded *l);

/* Opens what options and environment choose, for a row of targets.def or, with NULL, any. */
kvjit_status kvjit_device_open(const char *dir, const kbe_choice *choice, kvjit_device **out,
                               char *why, size_t len);
kvjit_device *kvjit_device_retain(kvjit_device *d); /* NULL stays NULL */
void kvjit_device_release(kvjit_device *d);         /* NULL is fine */
/* Lines of kvjit_info: the devices of this machine, or why there is none. */
void kvjit_device_print(const kvjit *kv, kir_text *out);

/* The status of a fault, whose sentence is kept. */
kvjit_status kvjit_fault(kvjit_errors *e, const kbe_fault *f);

#endif
