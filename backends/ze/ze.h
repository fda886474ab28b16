/* SPDX-License-Identifier: Apache-2.0 */
/* ze.h -- Level Zero, inside libkvjit-ze.so: what its files share.
 *
 * The loader, libze_loader.so.1, is opened when the first device is asked for: neither this
 * object nor libkvjit.so links it, so both load where there is none.
 */
#ifndef KVJIT_ZE_H
#define KVJIT_ZE_H

#include "../device.h"

#include <level_zero/ze_api.h>
#include <pthread.h>

/* -- calls (calls.def) ----------------------------------------------------------------- */

typedef struct ze_calls {
#define CALL(name) __typeof__(&name) name;
#include "calls.def"
} ze_calls;

/* Filled once, by ze_ready. */
extern ze_calls ze;

/* The loader is there and has a driver; false and why not. The answer is the process's: a
 * loader looks for drivers once. */
bool ze_ready(kbe_fault *why);

/* -- faults ------------------------------------------------------------------------------ */

/* Fills why and is false, so that callers can return it. */
bool ze_fault(kbe_fault *why, kbe_fault_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same of a result: "zeX returned ZE_RESULT_ERROR_Y (0x7...): what to do". */
bool ze_failed(kbe_fault *why, const char *call, ze_result_t r);
/* Whether a call returned success; else its fault. */
#define ZE_OK(why, name, ...) ze_succeeded(why, #name, ze.name(__VA_ARGS__))

static inline bool ze_succeeded(kbe_fault *why, const char *call, ze_result_t r)
{
	return r == ZE_RESULT_SUCCESS || ze_failed(why, call, r);
}

/* -- objects ------------------------------------------------------------------------------- */

struct kbe_device {
	ze_context_handle_t context;
	ze_device_handle_t handle;
	bool own_context, system_memory; /* the device reads all of the host's memory */
	char name[ZE_MAX_DEVICE_NAME];
	const kir_target *row; /* NULL: not known */
	uint32_t spirv;        /* newest version that modules may have */
	uint32_t ordinal;      /* of the command queues that compute */
	uint32_t most_groups, timer_bits, local;
	double tick; /* seconds of a time stamp's unit */
};

struct kbe_module {
	kbe_device *device;
	pthread_mutex_t lock; /* a kernel holds one call's arguments at a time */
	ze_module_handle_t module;
	ze_kernel_handle_t kernel;
	uint32_t lanes, nargs;
};

void ze_list(kir_text *out);
kbe_device *ze_open(const kbe_choice *c, kbe_device_info *info, kbe_fault *why);
void ze_close(kbe_device *d);
void *ze_alloc(kbe_device *d, kbe_memory kind, size_t bytes, kbe_fault *why);
void ze_free(kbe_device *d, void *p);
bool ze_place(kbe_device *d, const void *p, kbe_place *out, kbe_fault *why);

kbe_module *ze_module(kbe_device *d, const void *bytes, size_t size, kbe_fault *why);
void ze_module_free(kbe_module *m);
void ze_module_info(const kbe_module *m, kbe_module_info *out);

kbe_queue *ze_queue(kbe_device *d, void *list, bool timed, kbe_fault *why);
void ze_queue_free(kbe_queue *q);
bool ze_launch(kbe_queue *q, const kbe_launch *l, unsigned n, kbe_fault *why);
bool ze_copy(kbe_queue *q, void *to, const void *from, size_t bytes, kbe_fault *why);
bool ze_wait(kbe_queue *q, kbe_fault *why);
bool ze_seconds(kbe_queue *q, double *out, kbe_fault *why);

#endif
