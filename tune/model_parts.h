/* SPDX-License-Identifier: Apache-2.0 */
/* model_parts.h -- what all of the model's programs share: costs of vectors, and a product of
 * tiles as passes/vec_dot.c cuts it. Cycles of an AVX-512 core.
 */
#ifndef KVJIT_TUNE_MODEL_PARTS_H
#define KVJIT_TUNE_MODEL_PARTS_H

#include "model.h"

static const double kt_hz = 3e9;
static const double kt_stream = 20e9; /* bytes/s of a core from DRAM */
static const double kt_l2_rate = 60e9, kt_l3_rate = 25e9;
/* What stays visible of the shorter of memory and arithmetic, where lines are asked for early:
 * twice, once; where they aren't, nothing hides and every line is waited for. */
static const double kt_seen = 0.3, kt_seen_once = 0.5, kt_waiting = 1.5;

typedef struct kt_blocks {
	double rows, cols; /* of a block: rows times vectors of sums in registers */
	double n;          /* blocks that take the same vectors one after the other */
	bool fused;        /* each block widens them again, none stores them */
} kt_blocks;

kt_blocks kt_blocks_of(const kt_model_of *m, const kir_sched *s, double rows, double vectors);
/* Elements of a row that one instruction multiplies in each lane of 32 bits. */
double kt_depth_of(kir_arith a);
/* Cycles to make 16 f32 of stored elements: loads, permutations, shifts. */
double kt_decode_cycles(const kt_model_of *m, kir_elem e, kir_arith a, int how);
/* Cycles of one vector of codes times all rows. */
double kt_times_rows(const kt_model_of *m, const kt_blocks *b, double rows, kir_arith a);
/* Cycles of widening one vector: again for each block, or once, then stored and read again. */
double kt_widened(const kt_model_of *m, const kt_blocks *b, kir_elem e, kir_arith a, int how);
/* A product in tile registers of 16 elements with up to 16 rows. */
double kt_tile_cycles(kir_arith a);

#endif
