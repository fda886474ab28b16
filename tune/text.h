/* SPDX-License-Identifier: Apache-2.0 */
/* text.h -- schedules and pins in clear: one line each, sorted, to be read, diffed and edited.
 *
 *     PROBLEM :: SCHEDULE # NAME=VALUE NAME=VALUE ...
 *     attn q=bf16 kv=int8/token-head heads=32:8 dim=128 page=128 causal batch=8 ctx=8192 ::
 *         kv_tile=64 q_tile=1 ... # target=avx512-bf16 threads=1 policy=cold median=7.41e-3 ...
 *
 * (one line in the file). Formats declared before the problem stand on the same line, ';'
 * between their statements. What stands after # is the measurement and the machine it was made
 * on; without it a line is a choice by hand. Lines that begin with # and empty lines are
 * skipped.
 */
#ifndef KVJIT_TUNE_TEXT_H
#define KVJIT_TUNE_TEXT_H

#include "record.h"

/* Appends the line of a schedule; pin: without what stands after #. */
void kt_text_schedule(const kt_schedule *r, bool pin, kir_text *out);
/* Reads all lines into *out, an array of *n (each kt_schedule_free, then free): all or
 * nothing. where.program is left zero: it follows from the problem, which only a compiler's
 * front can parse. False and messages with line numbers. */
bool kt_text_read(const char *text, size_t len, kt_schedule **out, unsigned *n, kir_diag *d);

#endif
