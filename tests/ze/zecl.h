/* SPDX-License-Identifier: Apache-2.0 */
/* zecl.h -- a Level Zero driver for tests: what its files share. README.md says what it does.
 *
 * One lock guards everything that threads share: objects, memory, events, queues. A launch or
 * a copy holds `running` besides, and no other: one at a time has the device.
 */
#ifndef ZECL_H
#define ZECL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl.h>

/* The loader has functions of the same names: ours are seen by nobody but tables.c. */
#define ZE_APIEXPORT
#include <level_zero/ze_api.h>

enum zecl_fault {
#define FAULT(name, what) ZECL_FAULT_##name,
#include "faults.def"
	ZECL_FAULTS
};

/* Objects that live; each create counts up, each destroy down. */
enum zecl_kind {
	ZECL_CONTEXTS,
	ZECL_MEMORIES,
	ZECL_MODULES,
	ZECL_LOGS,
	ZECL_KERNELS,
	ZECL_POOLS,
	ZECL_EVENTS,
	ZECL_FENCES,
	ZECL_QUEUES,
	ZECL_LISTS,
	ZECL_KINDS
};

/* By zeDriverGetExtensionFunctionAddress(driver, "zecl_live"): how many of each there are. */
typedef void zecl_live_fn(uint32_t live[ZECL_KINDS]);

struct zecl_product {
	const char *name;
	uint32_t id;
	const char *title;
	uint32_t slices, subslices, eus, threads, lanes, subgroup[2], slm_kib, memory_gib,
	    cache_mib, mhz, bus, tick_ns;
};

struct zecl {
	cl_device_id device;
	cl_context context;
	cl_command_queue queue;
	cl_program library; /* xe.cl, compiled */
	const struct zecl_product *product;
	uint64_t memory_limit; /* bytes of device and shared memory there are */
	bool lost;
	uint32_t live[ZECL_KINDS];
	pthread_mutex_t lock, running;
	pthread_cond_t changed; /* an event, a fence, a queue, or the device was lost */
};

extern struct zecl zecl;

/* driver.c */
void zecl_count(enum zecl_kind kind, int by);
void zecl_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* From now on every call that needs the device says ZE_RESULT_ERROR_DEVICE_LOST. */
void zecl_lose(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* With zecl.lock held: waits for a change, at most until the time; false if it is past. */
bool zecl_wait(uint64_t until_ns);
uint64_t zecl_now_ns(void);
uint64_t zecl_until(uint64_t timeout_ns);

/* fault.c */
bool zecl_fault(enum zecl_fault fault);
/* n of "fault:n", or the other value. */
unsigned zecl_fault_value(enum zecl_fault fault, unsigned otherwise);
/* NULL, or what is wrong with ZECL_FAULT. */
const char *zecl_fault_read(const char *text);

/* memory.c */
/* The allocation p lies in: bytes from p to its end; 0 if there is none. */
size_t zecl_memory_behind(const void *p);
/* Device memory can be touched between these two only; with zecl.running held. */
void zecl_memory_open(void);
void zecl_memory_close(void);

/* spirv.c */
enum zecl_arg { ZECL_VALUE, ZECL_POINTER, ZECL_LOCAL };
struct zecl_spirv {
	const uint32_t *words;
	size_t nwords;
};
const char *zecl_spirv_check(const struct zecl_spirv *m, unsigned minor);
/* Name of the i-th kernel, NULL behind the last. */
const char *zecl_spirv_kernel(const struct zecl_spirv *m, unsigned i);
/* Whether it calls functions that another module has. */
bool zecl_spirv_imports(const struct zecl_spirv *m);
/* Fills kinds of at most max parameters; how many there are, or -1: no such kernel. */
int zecl_spirv_args(const struct zecl_spirv *m, const char *kernel, enum zecl_arg *kinds,
                    int max);

/* newer.c: true and a new module (words from malloc) if it has instructions of the newer
 * spelling. */
bool zecl_newer(const struct zecl_spirv *in, struct zecl_spirv *out);

/* module.c, kernel.c */
enum { ZECL_MAX_ARGS = 128, ZECL_MAX_VALUE = 64 };

struct _ze_module_handle_t {
	cl_program program;
	struct zecl_spirv spirv;
};

struct zecl_value {
	bool set;
	size_t size;
	unsigned char bytes[ZECL_MAX_VALUE];
};

struct _ze_kernel_handle_t {
	ze_module_handle_t module;
	cl_kernel kernel;
	char name[256];
	int nargs;
	enum zecl_arg kinds[ZECL_MAX_ARGS];
	struct zecl_value args[ZECL_MAX_ARGS];
	size_t group[3], required[3], subgroup;
	ze_kernel_indirect_access_flags_t indirect;
};

/* launch.c: runs one and says whether the device is still there. */
struct zecl_op;
bool zecl_launch(const struct zecl_op *op);

/* event.c */
struct _ze_event_handle_t {
	ze_event_pool_handle_t pool;
	bool set;
	uint64_t start, end; /* ticks of the kernel or copy that signalled it */
};
void zecl_event_signal(ze_event_handle_t event, uint64_t start, uint64_t end);
uint64_t zecl_ticks(void);
/* Done when everything pushed so far is. */
void zecl_fence_arm(ze_fence_handle_t fence);

/* queue.c: a thread that runs operations in order */
enum zecl_opcode { ZECL_LAUNCH, ZECL_COPY, ZECL_FILL, ZECL_STAMP, ZECL_RESET, ZECL_NOTHING };

struct zecl_op {
	enum zecl_opcode code;
	ze_kernel_handle_t kernel;
	struct zecl_value *args; /* own copy */
	size_t group[3];
	uint32_t groups[3];
	void *dst;
	const void *src;
	size_t size, pattern_size;
	unsigned char pattern[128];
	ze_event_handle_t reset;
	ze_event_handle_t signal; /* may be NULL */
	ze_event_handle_t *waits; /* own copy */
	uint32_t nwaits;
	struct zecl_op *next;
};

struct zecl_queue;
struct zecl_queue *zecl_queue_new(void);
void zecl_queue_free(struct zecl_queue *queue);
/* Takes a copy; the ticket is what to wait for. */
uint64_t zecl_queue_push(struct zecl_queue *queue, const struct zecl_op *op);
uint64_t zecl_queue_last(struct zecl_queue *queue);
ze_result_t zecl_queue_sync(struct zecl_queue *queue, uint64_t ticket, uint64_t timeout_ns);
/* Of threads that wait for work to be done; with zecl.lock held. */
void zecl_waiting(int by);

struct _ze_command_queue_handle_t {
	struct zecl_queue *queue;
	bool synchronous;
};

#endif
