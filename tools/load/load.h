/* SPDX-License-Identifier: Apache-2.0 */
/* load.h -- a kernel with data to run it on again and again: what bench measures.
 *
 * Cold: the memory that calls read is larger than the caches, and each call uses the next part
 * of it, so that it comes from DRAM. Warm: every call uses the same part. A cache's pages lie
 * in random order, as an engine that has run for a while has them.
 */
#ifndef KVJIT_TOOL_LOAD_H
#define KVJIT_TOOL_LOAD_H

#include "../check/attn.h"
#include "../measure.h"

#define LOAD_COLD ((double)(1u << 30)) /* bytes that no cache here holds */

/* A problem's ctx where none is given: tokens of a sequence, or rows to store. */
enum { LOAD_POOLS = 16, LOAD_CTX = 4096, LOAD_ROWS = 8192 };

typedef struct load {
	attn a;
	kvjit_kernel *k;
	kvjit_plan *plan;
	kvjit_arg arg[BIND_MAX];
	int narg;
	int64_t turns, turn; /* parts of the memory, the next one */
	struct {
		void *data;
		size_t bytes;
	} pool[LOAD_POOLS]; /* from kvjit_alloc */
	int npool;
	/* arguments that move on each turn: base, bytes a turn */
	struct {
		int arg;
		char *base;
		size_t step;
	} move[4];
	int nmove;
	double bytes;      /* of one call: stored cache read, or input rows written */
	double flops;      /* of one call, 0 for writers */
	double pool_bytes; /* rotated through */
	double compile_ms;
	/* on a device: a queue that takes times, and the arguments' memory there */
	kvjit *kv; /* NULL: the processor */
	kvjit_queue *queue;
	void *there[BIND_MAX];
} load;

/* Compiles and fills. cold: bytes to rotate through, 0: warm. */
bool load_open(load *l, kvjit *kv, const char *text, const char *sched, double cold, char *why,
               size_t len);
void load_close(load *l);
/* The plan of l's batch for l->k, which may be another kernel than it was opened with; false
 * and the kernel's error. */
bool load_plan(load *l);
/* compile_ms: median of three compilations from text to code, nothing kept between them. */
bool load_time_compile(load *l, kvjit *kv, const char *text, const char *sched);
/* One call on the next part of the memory; false after a failed call. */
bool load_call(load *l);
/* And the seconds it took, by a device's own clock if it runs there. */
bool load_timed_call(load *l, double *seconds);
/* load_device.c: moves the arguments of an open load to kv's device, and frees them. */
bool load_to_device(load *l, kvjit *kv, char *why, size_t len);
void load_leave_device(load *l);
bool load_device_call(load *l, double *seconds);
/* The memory that calls read, for a plain read of as many bytes. */
const void *load_memory(const load *l, size_t *bytes);
/* Whether the kernel's bytes are those of rows it stores, rather than of what it reads. */
bool load_writes(const load *l);
/* Bytes of a page that lie together for one KV head, 0 if it has no such part; of index lists,
 * a row's. */
size_t load_block_bytes(const load *l);
/* Microseconds of kvjit_call without any work in it, NAN for kernels without a plan. */
double load_call_us(load *l);

/* -- for load_*.c --------------------------------------------------------------------- */

/* A problem of each kind; as load_open, but compiled already. */
bool load_attn(load *l, kvjit *kv, double cold, char *why, size_t len);
bool load_gemm(load *l, double cold, char *why, size_t len);
bool load_index(load *l, double cold, char *why, size_t len);
bool load_merge(load *l, double cold, char *why, size_t len);
bool load_transcode(load *l, kvjit *kv, double cold, char *why, size_t len);
void *load_pool(load *l, size_t bytes);        /* NULL: no memory                     */
int64_t load_turns(double bytes, double cold); /* parts a pool is to have             */
void load_moves(load *l, const char *name, void *base, size_t step); /* after bind_args  */
/* What isn't bound yet: scales near 0.03, scalars and unknown extents `open`. */
void load_others(load *l, int64_t open);
void load_fill(kir_elem e, void *data, int64_t n); /* normal values, always the same      */
uint64_t load_random(uint64_t *state);
double load_normal(uint64_t *state);
/* 0 to n - 1 in an order that the seed says. */
void load_shuffle(int32_t *order, int64_t n, uint64_t seed);

/* Sizes are products of hints up to 2^30 each: they are held against the machine in floating
 * point before any is multiplied as an integer. */
bool load_fits(const attn *a, double bytes, double rows, char *why, size_t len);
double load_page_bytes(const attn *a); /* of all tensors of a's cache */
/* Of them what attention reads: where K and V are of two formats, one side of each. */
double load_page_read(const attn *a);
/* A pool of pages, bound under a tensor's name. */
bool load_pool_tensor(load *l, const char *name, int64_t npages, int64_t page_bytes, char *why,
                      size_t len);
/* Writes page 0 of a cache in the formats, heads and page of a problem; its tensors are bound
 * as the writer's, with `before` and `after` around their names. */
bool load_write_page(load *l, kvjit *kv, const kir_problem *of, const char *before,
                     const char *after, char *why, size_t len);
/* Page 0 of the pools from this one on becomes all their pages. */
void load_pages(load *l, int pool, int64_t npages);
/* All of it for the cache of a, which is l's or the second of l's. */
bool load_cache(load *l, kvjit *kv, attn *a, int64_t npages, char *why, size_t len);

#endif
