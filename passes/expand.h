/* SPDX-License-Identifier: Apache-2.0 */
/* expand.h -- the parts of the expand pass. Each appends one level-A op, given by its node
 * in `in`, to `out` as loops over tiles. map is in's nodes to out's. */
#ifndef KVJIT_PASSES_EXPAND_H
#define KVJIT_PASSES_EXPAND_H

#include "emit.h"

bool expand_attention(const kir_func *in, kir_ref n, kir_func *out, kir_ref *map,
                      kir_diag *why);
bool expand_cache_write(const kir_func *in, kir_ref n, kir_func *out, kir_ref *map,
                        kir_diag *why);
bool expand_quantize(const kir_func *in, kir_ref n, kir_func *out, kir_ref *map, kir_diag *why);
bool expand_merge(const kir_func *in, kir_ref n, kir_func *out, kir_ref *map, kir_diag *why);

/* Operand `name` of in's node n, mapped to out; 0 if absent. */
kir_ref expand_operand(const kir_func *in, kir_ref n, const kir_ref *map, const char *name);

/* The score and mask regions over a tile of R query rows and N keys. */
typedef struct region_place {
	kir_ref seq;        /* scalar s64                                       */
	kir_ref head, qpos; /* s32<R> query head and position, valid in any lane */
	kir_ref kpos;       /* s32<N> key position, valid in any lane           */
	int64_t rows, keys;
} region_place;

/* Copies the region that starts after node `first`-1 up to its yield as tile ops; score is
 * f32<RxN> or 0. Returns the yielded value as a tile (or the score itself). */
kir_ref expand_region(const kir_func *in, kir_ref first, kir_func *out, const kir_ref *map,
                      const region_place *p, kir_ref score, kir_diag *why);

#endif
