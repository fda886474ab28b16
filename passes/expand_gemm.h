/* SPDX-License-Identifier: Apache-2.0 */
/* expand_gemm.h -- what the two orders of a product's loops share: expand_gemm.c, a tile of
 * rows after the other, and expand_gemm_chunk.c, many rows past weights widened once.
 */
#ifndef KVJIT_PASSES_EXPAND_GEMM_H
#define KVJIT_PASSES_EXPAND_GEMM_H

#include "expand.h"
#include "../ir/format.h"

typedef struct gemm {
	kir_func *f;
	kir_ref a, as, w, ws, c, n;
	const kir_side *a_two, *w_two; /* codes two a byte; NULL: they aren't */
	kir_elem a_elem, w_elem;       /* of the codes                        */
	int64_t cols, depth, group, wgroup, block;
	int64_t step;  /* of the contraction that both scales hold for */
	int64_t whole; /* of it that are whole steps                    */
	int64_t unit;  /* of it that codes come in                     */
	int64_t m_tile, n_tile;
} gemm;

/* Where a tile is. */
typedef struct gemm_place {
	kir_ref i, j, k;
	int64_t rows, cols, depth;
	int64_t keep; /* columns that exist: fewer than cols in what pads w */
	kir_ref upto; /* rows of a that exist; 0: all of these do           */
	/* as f32, where they are there already */
	kir_ref wide_a, wide_w, row_scales, col_scales;
} gemm_place;

static inline kir_ref gemm_s64(kir_func *f, kir_op op, kir_ref a, kir_ref b)
{
	return e2(f, op, kir_scalar(f->module, KIR_s64), a, b);
}

/* All but the operands, from node n of `in`; the tiles as its schedule has them, or by rule. */
void gemm_sizes(const kir_func *in, kir_ref n, gemm *g);
/* Codes from element k of rows from i of a side's buffer, as values of e. */
kir_ref gemm_codes(kir_func *f, kir_ref buf, const kir_side *two, kir_ref i, kir_ref k,
                   int64_t rows, int64_t n, kir_ref upto, kir_elem e);
/* The scales of a place's rows, as a vector. */
kir_ref gemm_row_scales(const gemm *g, const gemm_place *at);
/* The same of its columns, each of which has its own (block 1). */
kir_ref gemm_col_scales(const gemm *g, const gemm_place *at);
/* acc and a block's products p times the scales of the place. */
kir_ref gemm_scaled(const gemm *g, const gemm_place *at, kir_ref p, kir_ref acc);
/* acc and the products of one block, times its scales. */
kir_ref gemm_block(const gemm *g, const gemm_place *at, kir_ref acc);
/* acc and the part of the contraction behind the whole steps. */
kir_ref gemm_rest(const gemm *g, gemm_place at, kir_ref acc);
/* Sums into c. */
void gemm_store(const gemm *g, const gemm_place *at, kir_ref acc);
/* Rows from `from` of the columns from j; whole: tiles of m_tile rows first. */
void gemm_rows(const gemm *g, kir_ref from, bool whole, kir_ref j, int64_t cols, int64_t keep);

/* -- expand_gemm_chunk.c ------------------------------------------------------------ */

/* Whether knobs m_chunk and n_chunk are legal; a sentence if not. */
bool gemm_chunks(gemm *g, kir_diag *why);
/* All columns that are whole tiles. */
void gemm_chunked(const gemm *g);

#endif
