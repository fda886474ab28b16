/* SPDX-License-Identifier: Apache-2.0 */
/* arith.h -- what pass arith asks of a product before it rewrites it (arith_choice.c). */
#ifndef KVJIT_PASSES_ARITH_H
#define KVJIT_PASSES_ARITH_H

#include "emit.h"

/* Looks through a conversion to f32: what x was before it. */
kir_ref arith_before_convert(const kir_func *f, kir_ref x);
bool arith_exact_in_bf16(kir_elem e);
/* The stored tile under the right factor of dot n, 0 if it is something else. */
kir_ref arith_stored_factor(const kir_func *f, kir_ref n);
/* The power of two that makes the stored tile's codes integers of 8 bits, -1: none does. */
int arith_shift_of(const kir_func *f, kir_ref b);
/* A scale as it is read from memory, or a column of them. */
bool arith_is_scale(const kir_func *f, kir_ref s);
/* Weights: powers of two, or they times a scale read from memory. Their digits are unsigned. */
bool arith_is_weights(const kir_func *f, kir_ref x);
bool arith_has_tiles(const kir_func *f, unsigned feature);
bool arith_has_engine(const kir_target *t);
bool arith_exact_in_f16(kir_elem e);
/* Element of the queries: of the left factor of the function's first scores. */
kir_elem arith_query_elem(const kir_func *f);
/* A column of stored scales that weights are multiplied by last, 0 if there is none. */
kir_ref arith_weight_scale(const kir_func *f, kir_ref x);
/* An accumulator acc - (sum of w * z's row), as fold_scales leaves it: its parts. */
bool arith_less_zeros(const kir_func *f, kir_ref n, kir_ref *acc, kir_ref *z);
kir_arith arith_choose(const kir_func *f, kir_ref n, kir_elem query);

#endif
