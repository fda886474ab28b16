/* SPDX-License-Identifier: Apache-2.0 */
/* kvjit.h -- quantized attention kernels, compiled for this machine.
 *
 *     kvjit *kv;
 *     kvjit_kernel *attn;
 *     kvjit_plan *plan;
 *
 *     kvjit_open(NULL, &kv);
 *     kvjit_compile(kv, "attn q=bf16 kv=int8/token-head heads=32:8 dim=128 page=128 causal",
 *                   NULL, &attn);
 *     kvjit_plan_new(attn, &batch, &plan);          // each step: lengths change
 *     kvjit_call(attn, plan, args, nargs, NULL);    // each layer: same plan
 *
 * Compile once, call from any thread. A call allocates nothing, takes no locks and can only
 * fail before it starts. Every function that can fail returns a status, writes a sentence
 * to its context's or kernel's error (kvjit_error) and leaves its outputs untouched. Nothing
 * is printed, nothing falls back: a kernel runs on the target it says it runs on.
 *
 * Units: lengths, positions and slots are tokens; strides are elements of the tensor's type
 * unless the tensor is u8 (a cache: bytes); sizes are bytes.
 */
#ifndef KVJIT_H
#define KVJIT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define KVJIT_API __attribute__((visibility("default")))
#else
#define KVJIT_API
#endif

#define KVJIT_VERSION 1

typedef enum kvjit_status {
	KVJIT_OK = 0,
	KVJIT_BAD_PROBLEM,  /* the text is wrong or contradicts itself                  */
	KVJIT_UNSUPPORTED,  /* a sound problem that this machine or build can't run     */
	KVJIT_BAD_ARGUMENT, /* an argument of a call: type, shape, stride, pointer      */
	KVJIT_NO_BACKEND,   /* the backend's shared object or its LLVM can't be loaded  */
	KVJIT_NO_MEMORY,
	KVJIT_INTERNAL,    /* a bug in kvjit; the message says where                  */
	KVJIT_DEVICE_LOST, /* the device hung or was reset: open a new context        */
	KVJIT_PENDING      /* it is being compiled (KVJIT_LATER): ask again           */
} kvjit_status;

typedef enum kvjit_dtype {
	KVJIT_U8,
	KVJIT_S8,
	KVJIT_S32,
	KVJIT_S64,
	KVJIT_F32,
	KVJIT_F16,
	KVJIT_BF16,
	KVJIT_E4M3FN,
	KVJIT_E5M2,
	KVJIT_E4M3FNUZ,
	KVJIT_E5M2FNUZ,
	KVJIT_E8M0
} kvjit_dtype;

typedef struct kvjit kvjit;               /* a context; any thread                 */
typedef struct kvjit_kernel kvjit_kernel; /* immutable; any thread; outlives kv    */
typedef struct kvjit_plan kvjit_plan;     /* one thread makes it, any may use it   */

/* -- context ------------------------------------------------------------------- */

/* Runs fn(begin, end, ctx) over [0, n) in pieces, on threads of the host's choosing, and
 * returns when all is done. Pieces may be of any size and order. */
typedef void (*kvjit_parallel_for)(int64_t n, void (*fn)(int64_t begin, int64_t end, void *ctx),
                                   void *ctx, void *executor);

/* One of these: on the threads of an OpenMP runtime that the process has anyway, as frameworks
 * bring one of their own. executor is the address of that library's GOMP_parallel, which those
 * of GCC, LLVM and Intel have. Kvjit's own threads are then never started. */
KVJIT_API void kvjit_parallel_gomp(int64_t n, void (*fn)(int64_t begin, int64_t end, void *ctx),
                                   void *ctx, void *executor);

typedef struct kvjit_options {
	size_t size;         /* sizeof(kvjit_options)                       */
	const char *target;  /* row of targets.def, NULL: KVJIT_TARGET or the host's own;
	                      * a GPU's row opens a device, "xe" one of any row    */
	const char *backend; /* "x86", "spirv", "spirv-llvm", "c", "ref"; NULL:
	                      * KVJIT_BACKEND or "x86", for a GPU "spirv" or what
	                      * KVJIT_SPIRV says                                     */
	kvjit_parallel_for parallel; /* NULL: OpenMP                                */
	void *executor;              /* handed to parallel                          */
	void (*log)(const char *line, void *log_ctx); /* whole lines, each with its newline,
	                                               * from any thread; NULL: silent      */
	void *log_ctx;
	const char *cache; /* folder of the user's cache, "off": none; NULL: KVJIT_CACHE_DIR
	                    * or $XDG_CACHE_HOME/kvjit. A folder that isn't there yet is
	                    * made; its name has a '/', so that a word is no folder  */
	const char *cache_path; /* read-only caches and packs, ':' between; NULL:
	                         * KVJIT_CACHE_PATH                                     */
	const char *pins;       /* pin file; NULL: KVJIT_PINS                          */
	int threads;            /* that the executor uses, 0: as many as there are
	                         * processors; tuned schedules are chosen by it        */
	const char *device;     /* of a GPU's target: its number in kvjit_info, or words of its
	                         * name; NULL: KVJIT_DEVICE or the first that runs it    */
	void *device_context, *device_handle; /* the host's own ze_context_handle_t and
	                                       * ze_device_handle_t, to share memory with it:
	                                       * both or neither. They outlive all that this
	                                       * context and its kernels make          */
} kvjit_options;

/* options NULL: defaults. *out is closed with kvjit_close. KVJIT_UNSUPPORTED when the target
 * is unknown or this machine can't run it, KVJIT_NO_BACKEND when it has no such device. When
 * *out can't be made there is no context to ask: kvjit_open_error gives the sentence of this
 * thread's last failed kvjit_open. */
KVJIT_API kvjit_status kvjit_open(const kvjit_options *options, kvjit **out);
KVJIT_API const char *kvjit_open_error(void);
/* Once: kv is freed and means nothing from then on. NULL is fine; kernels live on. */
KVJIT_API void kvjit_close(kvjit *kv);
/* The sentence of this thread's last failure on kv (empty if none); valid until the next. Of
 * NULL, as of kvjit_kernel_error and kvjit_queue_error: of its last call with a handle that was
 * NULL. */
KVJIT_API const char *kvjit_error(const kvjit *kv);
KVJIT_API const char *kvjit_status_name(kvjit_status s);
/* What this machine is, which backends load and why not, as lines of text. free() it. */
KVJIT_API char *kvjit_info(kvjit *kv);

/* -- kernels --------------------------------------------------------------------- */

typedef struct kvjit_compile_options {
	size_t size;       /* sizeof(kvjit_compile_options)                        */
	const char *sched; /* knobs that override the text's: "kv_tile=64 qk=bf16" */
	unsigned flags;    /* of the ones below */
} kvjit_compile_options;

enum {
	KVJIT_FRESH = 1,   /* compile now: no cache is asked, none is written, no tuned schedule
	                    * is taken                                                   */
	KVJIT_FOREIGN = 2, /* for a cache: the target may be one that this machine can't run;
	                    * the kernel can be looked at, not called. What this machine can't
	                    * run is compiled anew each time                             */
	KVJIT_UNTUNED = 4, /* the default schedule, from a cache where it has the code   */
	KVJIT_LATER = 8    /* don't wait: KVJIT_PENDING, while a thread of kvjit compiles it;
	                    * the same words again give KVJIT_PENDING, in the end the kernel
	                    * or what was wrong. Without it they wait for that thread, and
	                    * so do kvjit_close and, as docs/api.md says, exit           */
};

/* text: a problem string, format declarations and then a problem string, or IR (functions at
 * any level; the last one is compiled). options may be NULL.
 *
 * Knobs: whoever names one, in the text or in options, gets defaults for the others. Else those
 * of a pin, else of what was tuned for this program and as many threads on this machine, else
 * on another one with this target, else the defaults: kvjit_why says which. Code: of this
 * process, else of the user's cache, else of the read-only ones, else compiled (and kept in the
 * user's cache). The same text and options give the same kernel again, in some 50 ns; it is
 * released as often as it was handed out. A problem without batch and ctx gets a kernel with a
 * schedule for each size that was tuned; kvjit_plan_new picks among them. One with qlen > 1 has
 * beside it a kernel for tiles of queries that have few, which plans and calls take in turn.
 * Whatever is wrong with a cache costs a line in the log, never the kernel. */
KVJIT_API kvjit_status kvjit_compile(kvjit *kv, const char *text,
                                     const kvjit_compile_options *options, kvjit_kernel **out);
KVJIT_API void kvjit_release(kvjit_kernel *k); /* NULL is fine */

typedef enum kvjit_role { KVJIT_INPUT = 1, KVJIT_OUTPUT = 2, KVJIT_INOUT = 3 } kvjit_role;

/* One parameter of a kernel. */
typedef struct kvjit_param {
	const char *name;
	kvjit_dtype dtype;
	kvjit_role role;
	int rank;          /* 0: a scalar                                          */
	int64_t shape[6];  /* -1: any                                              */
	int nstride;       /* run-time strides the caller may give                 */
	int64_t stride[4]; /* their defaults; -1: follows from the next extent     */
	int planned;       /* 1: filled in from the plan, not the caller's         */
} kvjit_param;

/* Number of parameters, and parameter i, valid as long as the kernel; NULL if there is none. */
KVJIT_API int kvjit_nparam(const kvjit_kernel *k);
KVJIT_API const kvjit_param *kvjit_param_at(const kvjit_kernel *k, int i);
KVJIT_API const char *kvjit_kernel_target(const kvjit_kernel *k);
KVJIT_API const char *kvjit_kernel_problem(const kvjit_kernel *k); /* canonical text */
/* Where its code came from: "compiled", "cache PATH" or "pack PATH". */
KVJIT_API const char *kvjit_kernel_origin(const kvjit_kernel *k);
/* Text of the kernel at a stage: "ir", "tile", "vector", "llvm", "asm", "c", "schedule",
 * and "resolved": what was made of the knobs that the schedule leaves open. free() it; NULL if
 * the stage is unknown or the kernel has none. */
KVJIT_API char *kvjit_kernel_text(const kvjit_kernel *k, const char *stage);

/* An argument. Tensors: data, dtype and, unless the defaults do, nstride strides; extent 0 of
 * shape is checked where the kernel knows it. Scalars: i or f. */
typedef struct kvjit_arg {
	const char *name; /* NULL: by position among the parameters not planned     */
	void *data;
	kvjit_dtype dtype;
	int rank;
	int64_t shape[6];
	int nstride;
	int64_t stride[4];
	int64_t i;
	double f;
} kvjit_arg;

/* The argument that tensor `name` of k takes, densely packed: the caller's name, k's dtype,
 * rank and shape, with n for the extent that k leaves open (pages of a cache, rows, sequences).
 * data is left NULL: it takes *bytes of memory. A name that k doesn't take, or a tensor of
 * which it leaves two extents open, is KVJIT_BAD_ARGUMENT. */
KVJIT_API kvjit_status kvjit_arg_of(const kvjit_kernel *k, const char *name, int64_t n,
                                    kvjit_arg *out, size_t *bytes);

/* -- plans ------------------------------------------------------------------------ */

/* A step's sequences, in the host's own arrays; they are read, not kept. A call's lens and
 * starts must say the same, which is checked where the host can read them. Its table may be
 * another one with as many pages, as layers with pools of their own have: what that one holds
 * is the host's word. */
typedef struct kvjit_batch {
	size_t size; /* sizeof(kvjit_batch)                          */
	int64_t nseq;
	const int32_t
	    *seq_lens; /* [nseq] tokens in the cache, the new ones included; <= 2^30. With
	                * sparse=: entries of the index lists of a sequence's queries   */
	const int32_t *query_starts; /* [nseq + 1] first query row of each, rising */
	const int32_t *block_table;  /* [nseq][table_stride], or NULL: unchecked    */
	int64_t table_stride;        /* elements                                     */
	int64_t npages;              /* pages in the pool: entries are in [0, npages) */
	uint64_t format; /* kvjit_format_hash of what the cache was written in; 0: not told */
	/* The same of the second cache, of problems with kv2=: seq_lens2[s] of a sequence's
	 * tokens are in it and come after the seq_lens[s] of the first; the new tokens are
	 * among the two. Without kv2=: NULL and 0. */
	const int32_t *seq_lens2;
	const int32_t *block_table2;
	int64_t table_stride2, npages2;
	uint64_t format2;
} kvjit_batch;

/* Checks the batch (KVJIT_BAD_ARGUMENT names the field) and makes the balanced work list,
 * which any number of calls (layers) may use. *plan may hold an old plan of the same kernel:
 * its memory is used again. Microseconds. */
KVJIT_API kvjit_status kvjit_plan_new(const kvjit_kernel *k, const kvjit_batch *batch,
                                      kvjit_plan **plan);
KVJIT_API size_t kvjit_plan_scratch(const kvjit_plan *p); /* bytes a call needs, 64-aligned */
KVJIT_API void kvjit_plan_free(kvjit_plan *p);            /* NULL is fine */

/* plan: NULL for kernels without one (write, quant, merge). scratch: kvjit_plan_scratch bytes,
 * one for each call running at a time; NULL uses the plan's own, then calls with this plan may
 * not run at the same time: the second is KVJIT_BAD_ARGUMENT. What is written shares no memory
 * with another argument. */
KVJIT_API kvjit_status kvjit_call(const kvjit_kernel *k, const kvjit_plan *plan,
                                  const kvjit_arg *args, int nargs, void *scratch);
/* The entry itself, for hosts that know the prototype (backends/backend.h states it). */
KVJIT_API void *kvjit_entry(const kvjit_kernel *k);
KVJIT_API const char *kvjit_kernel_error(const kvjit_kernel *k); /* this thread's last */

/* -- asking ------------------------------------------------------------------------ */

/* Whether this machine runs the problem, why not, and what would be run: text, free() it. A
 * text that is wrong anywhere, as one with a head size that doesn't exist, is
 * KVJIT_BAD_PROBLEM. For a GPU that isn't there: kvjit_compile with KVJIT_FOREIGN and backend
 * "spirv". */
KVJIT_API kvjit_status kvjit_explain(kvjit *kv, const char *text, char **out);
/* Whether kvjit_compile would find the kernel and its schedule in a cache, and why not, place
 * by place and field by field: text, free() it. options may be NULL. */
KVJIT_API kvjit_status kvjit_why(kvjit *kv, const char *text,
                                 const kvjit_compile_options *options, char **out);

/* Writes what was called so far to KVJIT_RECORD's file, as kvjit_close and the end of the
 * process do, for kvjit tune --from. KVJIT_UNSUPPORTED where the variable wasn't set. */
KVJIT_API kvjit_status kvjit_record_write(kvjit *kv);

/* The names that caches know a kernel by, in hex. Processes that must run the same code
 * compare `code`. */
typedef struct kvjit_keys {
	size_t size;      /* sizeof(kvjit_keys)                                          */
	char program[65]; /* what is computed: without schedule, target and hints        */
	char machine[65]; /* what a measurement depends on here                          */
	char code[65];    /* all that decides the code: program, target, schedule, kvjit */
	char sched[400];  /* the schedule that kvjit_compile takes                       */
	int threads;      /* of the context: schedules tuned with as many are taken      */
} kvjit_keys;
KVJIT_API kvjit_status kvjit_keys_of(kvjit *kv, const char *text,
                                     const kvjit_compile_options *options, kvjit_keys *out);
/* Bytes of one page (all KV heads, K, V and scales of every tensor) of a format: a name, or the
 * text that declares it, as in kvjit_format_hash. Of a record in parts dim_k is the whole key:
 * 1, 576, 512 of fp8_ds_mla. Sizes that no problem has are KVJIT_BAD_ARGUMENT. */
KVJIT_API kvjit_status kvjit_page_bytes(kvjit *kv, const char *format, int64_t kv_heads,
                                        int64_t dim_k, int64_t dim_v, int64_t page,
                                        int64_t *out);

/* A number that stands for all that a format says: layout, elements, scale rules. Kept beside a
 * cache that is stored or moved, it tells caches of one name and two contracts apart; a batch
 * that says it is refused by kernels of another format. */
KVJIT_API kvjit_status kvjit_format_hash(kvjit *kv, const char *format, uint64_t *out);

/* The slots of the first `tokens` tokens of a sequence whose pages are blocks[0 .. nblocks):
 * what `slots` and `from_slots` of writes and transcodes are made of. A block below 0 gives
 * slots of -1, which are skipped. Returns how many slots were written: tokens, or fewer where
 * the blocks hold fewer; 0 without blocks or slots, or with pages beyond 2^31 - 1 tokens. */
KVJIT_API int64_t kvjit_block_slots(const int32_t *blocks, int64_t nblocks, int64_t page,
                                    int64_t tokens, int64_t *slots);

/* -- memory ------------------------------------------------------------------------ */

/* Zeroed memory for cache pools, on huge pages where the system gives them (long contexts
 * run 1.1 to 3 times faster on them). NULL if there is none. Free with kvjit_free. */
KVJIT_API void *kvjit_alloc(size_t bytes);
KVJIT_API void kvjit_free(void *p, size_t bytes); /* NULL is fine */

/* -- devices -----------------------------------------------------------------------
 *
 * A context whose target is a GPU's row runs its kernels there. Everything above holds, but:
 * tensors lie in memory that the device reads (kvjit_device_alloc, or the host's own: a pointer
 * that the device can't read is KVJIT_BAD_ARGUMENT and named); plans are still made from the
 * host's arrays, and copied; scratch is the device's memory; a call takes locks, may fail
 * while it runs, and kvjit_call waits for it. kvjit_entry is NULL. */

typedef struct kvjit_queue kvjit_queue; /* calls in order, which the host doesn't wait for */

typedef enum kvjit_memory {
	KVJIT_MEMORY_DEVICE, /* the fastest; the host can't touch it: kvjit_device_copy   */
	KVJIT_MEMORY_SHARED, /* moves to whoever touches it; one at a time                */
	KVJIT_MEMORY_HOST    /* the host's; the device reads it over the bus              */
} kvjit_memory;

/* The name of kv's device; NULL: it has none. */
KVJIT_API const char *kvjit_device_name(const kvjit *kv);
/* 64-aligned, not zeroed. Freed before kv is closed, after the calls that use it have ended. */
KVJIT_API kvjit_status kvjit_device_alloc(kvjit *kv, kvjit_memory kind, size_t bytes,
                                          void **out);
KVJIT_API void kvjit_device_free(kvjit *kv, void *p); /* NULL is fine */
/* From any memory to any; waits until it is done, but for no queue. */
KVJIT_API kvjit_status kvjit_device_copy(kvjit *kv, void *to, const void *from, size_t bytes);

typedef struct kvjit_queue_options {
	size_t size; /* sizeof(kvjit_queue_options)                               */
	void *list;  /* the host's immediate ze_command_list_handle_t, of the device and
	              * context that kv was opened with; NULL: a new one. It stays the
	              * host's, and nobody may append to it during a call           */
	int timed;   /* 1: calls take their time; each waits for the one before */
} kvjit_queue_options;

/* options may be NULL. A queue may be used by any thread; it lives on when kv is closed. */
KVJIT_API kvjit_status kvjit_queue_new(kvjit *kv, const kvjit_queue_options *options,
                                       kvjit_queue **out);
KVJIT_API void kvjit_queue_free(kvjit_queue *q); /* waits; NULL is fine */
/* kvjit_call without waiting: it begins when all before it on q has ended. The arguments'
 * memory, plan and scratch stay as they are until then. What goes wrong on the device later is
 * told by kvjit_queue_wait. */
KVJIT_API kvjit_status kvjit_queue_call(kvjit_queue *q, const kvjit_kernel *k,
                                        const kvjit_plan *plan, const kvjit_arg *args,
                                        int nargs, void *scratch);
KVJIT_API kvjit_status kvjit_queue_copy(kvjit_queue *q, void *to, const void *from,
                                        size_t bytes);
KVJIT_API kvjit_status kvjit_queue_wait(kvjit_queue *q);
/* How long the device worked on the last call of a timed queue; waits for it. */
KVJIT_API kvjit_status kvjit_queue_seconds(kvjit_queue *q, double *out);
/* This thread's last failure of any of these but kvjit_queue_new, which is kv's. */
KVJIT_API const char *kvjit_queue_error(const kvjit_queue *q);

#ifdef __cplusplus
}
#endif
#endif
