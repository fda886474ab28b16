/* SPDX-License-Identifier: Apache-2.0 */
/* device.h -- running blobs on a device that isn't the processor.
 *
 * A runtime is one const struct in one folder and one shared object, which jit/ loads when a
 * context wants a device and which exports kvjit_runtime(). It sees no format and no IR, only
 * blobs, addresses and the signature of backends/backend.h:
 *
 *     open -> device -> module (blob to kernel) \
 *                    -> alloc, free, copy         > launch -> wait -> seconds
 *                    -> queue (launches in order) /
 *
 * A kernel of a device runs one iteration in each work-group: begin + the group's number. A
 * launch runs the phases one after the other; what is launched on one queue runs in order.
 *
 * Everything that can fail gets a kbe_fault and leaves its kind and a sentence there. Devices,
 * modules and queues may be used by any thread at any time, and are freed by one, when no other
 * uses them; a device after all that was made with it.
 */
#ifndef KVJIT_DEVICE_H
#define KVJIT_DEVICE_H

#include "../ir/kir.h"

#define KBE_RUNTIME_VERSION 2

typedef enum kbe_fault_kind {
	KBE_NO_DEVICE, /* no loader, no driver or no device of that name          */
	KBE_UNABLE,    /* this device or driver can't do that                     */
	KBE_BAD_VALUE, /* a handle or an address that isn't what it should be     */
	KBE_NO_ROOM,   /* out of memory, the device's or the host's               */
	KBE_LOST,      /* the device hung or was reset: nothing runs any more     */
	KBE_BUG        /* what kvjit or the driver may not do                     */
} kbe_fault_kind;

typedef struct kbe_fault {
	kbe_fault_kind kind;
	char text[1000];
} kbe_fault;

typedef struct kbe_device kbe_device;
typedef struct kbe_module kbe_module;
typedef struct kbe_queue kbe_queue;

/* What to open. Handles are the host's own and stay its own. */
typedef struct kbe_choice {
	const char *device; /* its number, or words of its name; NULL: the first that can */
	const kir_target *target; /* that it must run; NULL: any row of targets.def       */
	void *context, *handle;   /* the host's; NULL: the runtime makes and finds them   */
} kbe_choice;

typedef struct kbe_device_info {
	char name[256];
	const kir_target *row; /* of targets.def; NULL: none is known for this device */
	uint64_t memory;       /* bytes that one allocation may have   */
	unsigned local;        /* bytes of local memory of a work-group */
	unsigned units;        /* threads that it runs at once */
} kbe_device_info;

typedef struct kbe_module_info {
	size_t native;                   /* bytes of machine code                        */
	unsigned spill, private_, local; /* bytes a thread, a thread, a work-group       */
	unsigned subgroup, nargs;
} kbe_module_info;

typedef enum kbe_memory {
	KBE_MEMORY_device, /* fastest for the device; the host can't touch it           */
	KBE_MEMORY_shared, /* both may touch it, not at the same time                   */
	KBE_MEMORY_host    /* the host's, read by the device over the bus               */
} kbe_memory;

/* Where an address lies: `end` is that of its allocation. */
typedef struct kbe_place {
	bool readable;      /* by the device */
	bool host_readable; /* by the host   */
	const char *kind;   /* "device", "shared", "host", "ordinary" */
	uintptr_t end;      /* 0: not known */
} kbe_place;

/* A kernel with its arguments in the order of the signature without the last three, 4 or 8
 * bytes each, and the iterations of each phase. */
typedef struct kbe_launch {
	kbe_module *module;
	const void *const *value;
	const uint8_t *bytes;
	unsigned nvalue;
	const int64_t *count;
	unsigned nphase;
} kbe_launch;

typedef struct kbe_runtime {
	unsigned version; /* KBE_RUNTIME_VERSION */
	const char *name; /* "ze" */
	/* A line for each device, or one that says why there is none. */
	void (*list)(kir_text *out);
	kbe_device *(*open)(const kbe_choice *c, kbe_device_info *info, kbe_fault *why);
	void (*close)(kbe_device *d);
	/* From the bytes of a blob, SPIR-V or native: what it is they say themselves. */
	kbe_module *(*module)(kbe_device *d, const void *bytes, size_t size, kbe_fault *why);
	void (*module_free)(kbe_module *m);
	void (*module_info)(const kbe_module *m, kbe_module_info *out);
	void *(*alloc)(kbe_device *d, kbe_memory kind, size_t bytes, kbe_fault *why);
	void (*free)(kbe_device *d, void *p);
	bool (*place)(kbe_device *d, const void *p, kbe_place *out, kbe_fault *why);
	/* list: a command list of the host's that takes commands at once; NULL: one of its own.
	 * timed: each call of `launch` takes its time. */
	kbe_queue *(*queue)(kbe_device *d, void *list, bool timed, kbe_fault *why);
	void (*queue_free)(kbe_queue *q); /* waits for what runs on it */
	/* n kernels, one after the other, which are one call. */
	bool (*launch)(kbe_queue *q, const kbe_launch *l, unsigned n, kbe_fault *why);
	bool (*copy)(kbe_queue *q, void *to, const void *from, size_t bytes, kbe_fault *why);
	bool (*wait)(kbe_queue *q, kbe_fault *why);
	/* Of the last call of `launch` on a timed queue, on the device's clock; waits for it.
	 */
	bool (*seconds)(kbe_queue *q, double *out, kbe_fault *why);
} kbe_runtime;

/* What a runtime's shared object exports, as kvjit_runtime. */
typedef const kbe_runtime *(*kbe_runtime_get)(void);

#endif
