/* SPDX-License-Identifier: Apache-2.0 */
/* model_tiles.h -- what attention costs where products take tile registers. Its numbers are
 * cycles measured by hand on one processor with AMX, not kvjit's; each has its source beside it
 * in model_tiles.c. Like model.h, it orders schedules and decides nothing.
 */
#ifndef KVJIT_TUNE_MODEL_TILES_H
#define KVJIT_TUNE_MODEL_TILES_H

#include "../ir/kir.h"

typedef struct kt_tiles_of {
	const kir_target *target;
	double group, dim[2];    /* query heads of a KV head; elements of K, V           */
	double stored[2];        /* bytes of an element in the cache                     */
	double size[2];          /* of one in a product: 2 bf16, 1 bytes                 */
	double digits[2];        /* products an element takes: 2 for two digits          */
	bool widened[2];         /* stored codes become bf16 first                       */
	double scales;           /* of K, V: those that lie with tokens                   */
	double ctx, qlen, lists; /* keys, new tokens; sequences times KV heads           */
	double room;             /* of L2 that one head's keys and values can be in       */
	bool cold;               /* the cache comes from DRAM                            */
} kt_tiles_of;

typedef struct kt_tiles_parts {
	double product, decode, softmax, sums; /* cycles of a core, for all of the call */
	double near, far;                      /* cycles of waiting: L2, and beyond it  */
} kt_tiles_parts;

/* Cycles of a core for a prefill; *p: what they are made of. */
double kt_tiles_cycles(const kt_tiles_of *t, const kir_sched *s, kt_tiles_parts *p);
/* How much longer a decode from DRAM takes than with the best way to touch lines ahead.
 * straight: tile registers load all of an iteration from where it lies. */
double kt_tiles_ahead(const kir_sched *s, bool straight);

#endif
