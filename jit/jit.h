/* SPDX-License-Identifier: Apache-2.0 */
/* jit.h -- inside libkvjit: what the files of this folder share.
 *
 * A context is written once, in kvjit_open; later only its backends are, under its lock. A
 * kernel is written once, in kvjit_compile. So calls read without locks.
 */
#ifndef KVJIT_JIT_H
#define KVJIT_JIT_H

#include "kvjit.h"
#include "../backends/backend.h"
#include "../backends/device.h"
#include "../ir/problem.h"
#include "../tune/key.h"

#include <ffi.h>
#include <pthread.h>
#include <stdatomic.h>

/* -- errors -------------------------------------------------------------------- */

/* The last failure of each thread on one object. As long as the most threads that ever
 * failed at the same time: an entry whose thread is gone is taken over by the thread that
 * gets its pthread_t. */
typedef struct kvjit_errors {
	pthread_mutex_t lock;
	struct kvjit_error_of *first;
	pid_t mute; /* the last thread for whose sentence there was no memory */
} kvjit_errors;

void kvjit_errors_init(kvjit_errors *e);
void kvjit_errors_free(kvjit_errors *e);
/* Keeps the sentence for this thread; returns s, so that callers can `return` it. */
kvjit_status kvjit_fail(kvjit_errors *e, kvjit_status s, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
const char *kvjit_last_error(kvjit_errors *e);
/* The handle of a public call is NULL: keeps a sentence for this thread, which the error calls
 * give for a handle that is NULL. Returns KVJIT_BAD_ARGUMENT. */
kvjit_status kvjit_fail_null(const char *call, const char *handle, const char *from);
const char *kvjit_null_error(void);
/* In a public call whose first argument is a context. */
#define KVJIT_NEED_CONTEXT(kv)                                                \
	do {                                                                  \
		if (!(kv))                                                    \
			return kvjit_fail_null(__func__, "kv", "kvjit_open"); \
	} while (0)

/* -- environment (env.def) ------------------------------------------------------- */

typedef enum kvjit_env {
#define ENVVAR(name, values, doc) KVJIT_ENV_##name,
#include "env.def"
	KVJIT_NENV
} kvjit_env;

typedef struct kvjit_env_info {
	const char *name, *values, *doc;
} kvjit_env_info;

extern const kvjit_env_info kvjit_env_table[KVJIT_NENV];

/* Whether word stands in a list separated by commas. list may be NULL. */
bool kvjit_list_has(const char *list, const char *word);

/* -- backends -------------------------------------------------------------------- */

enum {
	KVJIT_BE_x86,
	KVJIT_BE_spirv,
	KVJIT_BE_spirv_llvm,
	KVJIT_BE_c,
	KVJIT_NLOADED,
	KVJIT_BE_ref = KVJIT_NLOADED,
	KVJIT_NBACKEND
};

extern const char *const kvjit_backend_names[KVJIT_NBACKEND];
int kvjit_backend_find(const char *name); /* -1 if unknown */

/* A backend once loaded stays in the process: LLVM doesn't survive being unloaded. */
typedef struct kvjit_loaded {
	bool tried;
	const kbe_backend *backend; /* NULL: why says what is missing */
	char why[640];
	char path[512];
} kvjit_loaded;

/* -- context --------------------------------------------------------------------- */

typedef struct kvjit_hot kvjit_hot;
typedef struct kvjit_later kvjit_later;
typedef struct kvjit_recorder kvjit_recorder; /* record.h */
typedef struct kvjit_record kvjit_record;
typedef struct kvjit_device kvjit_device; /* device.h */

struct kvjit {
	kvjit_errors errors;
	kir_target host, target;
	int backend;
	char *env[KVJIT_NENV]; /* NULL: not set */
	kvjit_parallel_for parallel;
	void *executor;
	void (*log)(const char *line, void *log_ctx);
	void *log_ctx;
	int threads;          /* that parallel uses */
	pthread_mutex_t load; /* guards loaded */
	kvjit_loaded loaded[KVJIT_NLOADED];
	kvjit_device *device;        /* NULL: kernels run on the processor */
	struct kvjit_hot *hot;       /* cache.h */
	struct kvjit_later *later;   /* job.h */
	kvjit_recorder *recorder;    /* record.h; NULL: calls aren't recorded */
	struct kvjit_places *places; /* cache.h */
};

/* NULL and a sentence in *why, which is kv's, when it can't be loaded. */
const kbe_backend *kvjit_load(kvjit *kv, int backend, const char **why);
/* The same for one who has no context any more; *l is the caller's. */
void kvjit_load_from(const char *folder, int backend, kvjit_loaded *l);
/* KVJIT_UNSUPPORTED's sentence when the host can't run t. */
bool kvjit_target_runs(const kir_target *host, const kir_target *t, char *why, size_t len);
/* Names of the targets this machine runs, "generic, avx2". */
void kvjit_target_list(char *buf, size_t len);
/* To the log, or, without one, to stderr: only for what KVJIT_PRINT asks for. */
void kvjit_emit(const char *text, void *kv);

/* -- kernels --------------------------------------------------------------------- */

#define KVJIT_MAX_PARAMS   48
#define KVJIT_MAX_CELLS    (KVJIT_MAX_PARAMS * 5 + 3)
#define KVJIT_MAX_PHASES   8
#define KVJIT_MAX_VARIANTS 16

/* An argument of the entry, as libffi wants it. */
typedef union kvjit_cell {
	void *p;
	int64_t i;
	int32_t w;
	float f;
} kvjit_cell;

/* The element that each dtype of the API is: its name and size are that row of elems.def. */
enum { KVJIT_NDTYPE = KVJIT_E8M0 + 1 };
extern const uint8_t kvjit_dtype_elem[KVJIT_NDTYPE];

/* What a planned parameter is filled with. */
typedef enum kvjit_planned {
	KVJIT_PLAN_none,
	KVJIT_PLAN_work,
	KVJIT_PLAN_join,
	KVJIT_PLAN_part,
	KVJIT_PLAN_nwork,
	KVJIT_PLAN_njoin,
	KVJIT_PLAN_limit,    /* slots of the cache, from the tensors of a call */
	KVJIT_PLAN_both,     /* of two caches: rows of each, before they are merged */
	KVJIT_PLAN_both_lse, /* their log-sum-exps */
	KVJIT_PLAN_rows      /* how many: query_starts[nseq] */
} kvjit_planned;

/* What extent 0 of a tensor must cover at least. */
typedef enum kvjit_rows {
	KVJIT_ROWS_any,
	KVJIT_ROWS_queries,    /* query_starts[nseq] */
	KVJIT_ROWS_seqs,       /* nseq */
	KVJIT_ROWS_lens,       /* nseq, of the lengths themselves */
	KVJIT_ROWS_starts,     /* nseq + 1 */
	KVJIT_ROWS_table,      /* nseq, and the pages of the longest in extent 1 */
	KVJIT_ROWS_pages,      /* npages, when the plan knows them */
	KVJIT_ROWS_iterations, /* the scalar that bounds the loops */
	KVJIT_ROWS_parts,      /* the scalar p, and n in extent 1 */
	KVJIT_ROWS_across      /* n in extent 1 alone             */
} kvjit_rows;

/* What regions index an axis of a tensor by: by what counts these, over div; 0: they don't. And
 * by what is below a number; 0: nothing. */
enum { KVJIT_MAX_READ = 3 };
typedef struct kvjit_read {
	int64_t div[KIR_NCOUNTED], below;
} kvjit_read;

/* What a call needs to know about a parameter, beyond what it shows. */
typedef struct kvjit_slot {
	uint8_t cell;  /* of its pointer or value; strides follow */
	uint8_t elem;  /* enum kir_elem */
	uint8_t bytes; /* of an element */
	uint8_t grain; /* kir_grain */
	uint8_t unit;  /* of what lies in it: its bytes, where all of it lies at multiples */
	uint8_t pitch; /* bit s: stride s is that of rows, kir_row_stride */
	uint8_t planned, rows;
	uint8_t cache; /* 0 or, of the second of two caches, 1 */
	kvjit_read read[KVJIT_MAX_READ];
	bool buffer;
	uint8_t axis[4]; /* axis a stride belongs to, for defaults of -1 */
} kvjit_slot;

/* Parameters of an indexer's kernel, whose lists are held against each other. */
typedef struct kvjit_indexer {
	int table, seqs, lens, logits, pages, width, cache;
	int64_t page; /* tokens a page; 0: the kernel is no indexer */
} kvjit_indexer;

/* How many keys a query may see behind and in front of its own place, INT64_MAX: any number;
 * and chunk, unless 0: only those whose place over chunk is its own's. */
typedef struct kvjit_sight {
	int64_t back, ahead, chunk;
} kvjit_sight;

/* What a plan must agree on with a kernel. kv_heads: as many as work lists have, which is more
 * than the cache's where a KV head's query heads are handled in tiles. */
typedef struct kvjit_shape {
	int64_t heads, kv_heads, dim_v;
	int64_t head_tiles; /* of each KV head of the cache */
	int ncache;
	int64_t page[2];
	int64_t sparse[2]; /* entries of a query's index list; 0: keys by block table */
	int64_t q_tile, split;
	int64_t grain;     /* rows that products take together: fewer cost as much */
	kvjit_sight sight; /* a plan's must hold the kernel's */
} kvjit_shape;

typedef struct kvjit_phase {
	int param; /* scalar that bounds it, -1: n does */
	int64_t n;
} kvjit_phase;

/* Memory that is executable and, by then, no longer writable. */
typedef struct kvjit_map {
	void *base;
	size_t size;
} kvjit_map;

/* A problem whose sizes aren't known has a kernel for each size that was tuned: `at` says
 * which, 0 being the kernel itself and i variant i - 1. */
typedef struct kvjit_family {
	unsigned n;
	struct kvjit_kernel *variant[KVJIT_MAX_VARIANTS];
	uint8_t at[KT_NQLEN][KT_NBATCH][KT_NCTX];
} kvjit_family;

struct kvjit_kernel {
	atomic_int refs;
	uint64_t id; /* no other kernel of the process has it, nor had it */
	kvjit_errors errors;
	kvjit_parallel_for parallel;
	void *executor;
	kvjit_param *param;
	kvjit_slot slot[KVJIT_MAX_PARAMS];
	int nparam, ngiven; /* ngiven: parameters not planned */
	kvjit_phase phase[KVJIT_MAX_PHASES];
	int nphase;
	bool planned;       /* has parameters a plan fills in */
	kvjit_shape shape;  /* only if planned */
	uint64_t format[2]; /* hash of a cache's format; 0: not known, nothing is level A */
	const char *format_name[2];
	struct {
		int param;    /* whose values are slots                             */
		int64_t page; /* tokens a page; 0: no such parameter                */
		int group;    /* tokens that only go together; 0: each by itself    */
		bool whole;   /* and are the slots of one group                     */
	} slots[2];           /* of the cache that is written, of one that is read by slots */
	kvjit_indexer indexer;
	kvjit_map code;
	void (*entry)(void);   /* NULL: the interpreter runs `run`, or a device the module */
	kvjit_device *device;  /* NULL: none */
	kbe_module *module_on; /* the device's */
	ffi_cif cif;
	ffi_type *types[KVJIT_MAX_CELLS];
	unsigned ncell;
	int backend_index;
	const kbe_backend *backend; /* NULL: ref, or not loaded yet */
	const char *backend_name;
	char *backend_dir, *skip; /* of the context: NULL: not set */
	char origin[560];
	kvjit_family *family; /* NULL: one schedule for all sizes */
	kvjit_kernel *few;    /* for tiles with few queries (few.c); NULL: none */
	kvjit_record *record; /* NULL: its calls aren't recorded */
	char *problem, *target;
	pthread_mutex_t text; /* reading a module may intern types */
	kir_module *module;
	const kir_func *ir, *tile, *vector, *run;
};

/* A kernel that is only looked at keeps its callers' errors all the same. */
static inline kvjit_errors *kvjit_errors_of(const kvjit_kernel *k)
{
	return (kvjit_errors *)&k->errors;
}

static inline kvjit_kernel *kvjit_retain(kvjit_kernel *k)
{
	atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
	return k;
}

/* Fills param, slot, cif and, unless they are there, phases from f, what runs, and ir, what it
 * was compiled from. False and a message when the API can't say it. */
bool kvjit_describe(kvjit_kernel *k, const kir_func *f, const kir_func *ir, kir_diag *d);
/* Attention's sizes: from the attention op, or from the views of lower levels. */
bool kvjit_shape_of(const kir_func *f, kvjit_shape *out);
/* What the mask says; attention 0: anything. */
kvjit_sight kvjit_sight_of(const kir_func *f, kir_ref attention);
/* What a transcode's source has before the names of its parameters and operands. */
#define KVJIT_FROM "from_"
/* Where the tensors of cache 0 or 1 of f's attention, of its cache.write, or of what its
 * transcode writes (0) and reads (1) lie; false if f has none. */
bool kvjit_layout_of(const kir_func *f, int cache, kir_layout *out);
/* f's attention over its first (0) or second (1) cache; 0 if it has none. */
kir_ref kvjit_find_attention(const kir_func *f, int cache);
void kvjit_find_operands(kvjit_kernel *k, const kir_func *ir);
kir_ref kvjit_find_op(const kir_func *f, kir_op op); /* 0 if f has none */

/* Knobs still 0 get their value from sizes, hints and target. p: NULL for IR text. */
void kvjit_default_schedule(kir_func *f, const kir_problem *p);
/* Halves q_tile, then kv_tile down to 8, unless given marks them; false when nothing is left to
 * halve. */
bool kvjit_smaller_tile(kir_func *f, const bool *given);
bool kvjit_map_code(const void *bytes, size_t size, kvjit_map *out);
void kvjit_unmap(kvjit_map *m);
void kvjit_perf_map(const kvjit_map *m, size_t text, const char *name);

/* The default executor; the argument executor isn't used. */
void kvjit_openmp(int64_t n, void (*fn)(int64_t begin, int64_t end, void *ctx), void *ctx,
                  void *executor);

int kvjit_openmp_threads(void);

/* Which of k's family is for a batch's sizes; 0: k itself. */
unsigned kvjit_pick(const kvjit_kernel *k, int64_t batch, int64_t ctx, int64_t qlen);
const kvjit_kernel *kvjit_variant(const kvjit_kernel *k, unsigned pick);

/* -- plans ----------------------------------------------------------------------- */

/* The lists of one cache. */
typedef struct kvjit_lists {
	int64_t nwork, njoin, nslots;
	int32_t *work, *join; /* into the plan's memory */
	int64_t npages;
	int64_t seq_pages; /* of the longest sequence with new tokens */
	size_t part;       /* its pieces' results, from the start of scratch */
} kvjit_lists;

struct kvjit_plan {
	uint64_t id;   /* of the kernel that made it */
	unsigned pick; /* of its family */
	kvjit_shape shape;
	int64_t nseq, nrows;
	int64_t longest;  /* positions of the longest sequence with new tokens, over both
	                   * caches */
	int64_t most_new; /* new tokens of the sequence that has most */
	kvjit_lists list[2];
	int64_t ctx, qlen;     /* the longest context, the most new tokens */
	int size_class;        /* kvjit_record_class */
	size_t both, both_lse; /* from the start of scratch */
	void *memory;
	size_t capacity;
	const int32_t *lens[2],
	    *starts; /* as the batch had them, in memory; NULL: no sequence */
	size_t scratch_bytes, scratch_cap;
	void *scratch;        /* the device's memory, if there is one */
	kvjit_device *device; /* NULL: none */
	_Atomic(bool) busy;   /* a call uses the scratch above */
	int32_t *there;       /* the lists once more, in the device's memory */
	size_t there_cap;
	size_t few_at;     /* its scratch, from the start of what a call hands over */
	bool mixed;        /* `few` holds tiles of this batch, for another kernel (few.c) */
	kvjit_plan *few;   /* NULL: none so far */
	kvjit_plan *spare; /* memory for the next step's; NULL: none so far */
};

#endif
