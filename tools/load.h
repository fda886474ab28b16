/* SPDX-License-Identifier: Apache-2.0 */
/* load.h -- a kernel with data to run it on again and again: what bench measures.
 *
 * Cold: the memory that calls read is larger than the caches, and each call uses the next part
 * of it, so that it comes from DRAM. Warm: every call uses the same part. A cache's pages lie
 * in random order, as an engine that has run for a while has them.
 */
#ifndef KVJIT_TOOL_LOAD_H
#define KVJIT_TOOL_LOAD_H

#include "attn.h"
#include "measure.h"

#define LOAD_COLD ((double)(1u << 30)) /* bytes that no cache here holds */

enum { LOAD_POOLS = 8 };

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
/* Bytes of a page that lie together for one KV head, 0 if it has no such part; of index lists, a
 * row's. */
size_t load_block_bytes(const load *l);
/* Microseconds of kvjit_call without any work in it, NAN for kernels without a plan. */
double load_call_us(load *l);

/* -- for load_*.c --------------------------------------------------------------------- */

bool load_gemm(load *l, double cold, char *why, size_t len);
void *load_pool(load *l, size_t bytes);           /* NULL: no memory                     */
int64_t load_turns(double bytes, double cold);    /* parts a pool is to have             */
void load_moves(load *l, const char *name, void *base, size_t step); /* after bind_args  */
/* What isn't bound yet: scales near 0.03, scalars and unknown extents `open`. */
void load_others(load *l, int64_t open);
void load_fill(kir_elem e, void *data, int64_t n); /* normal values, always the same      */

#endif
