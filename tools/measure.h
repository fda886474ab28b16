/* SPDX-License-Identifier: Apache-2.0 */
/* measure.h -- timing: pinned threads, and what the machine can do. */
#ifndef KVJIT_TOOL_MEASURE_H
#define KVJIT_TOOL_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../tune/stats.h"

double measure_now(void); /* seconds, monotonic */

/* Threads of a bench, each pinned to a processor of its own; the caller is the first. They
 * sleep while there is nothing to do. As kvjit's executor: `executor` is the team. */
typedef struct measure_team measure_team;
measure_team *measure_team_new(int threads); /* NULL if there aren't that many processors */
void measure_team_free(measure_team *t);
int measure_team_cpu(const measure_team *t); /* processor of the first thread */
void measure_parallel(int64_t n, void (*fn)(int64_t begin, int64_t end, void *ctx), void *ctx,
                      void *team);

/* What the machine can do; seconds of one pass. */
double measure_read(measure_team *t, const void *from, size_t bytes);
/* The same of n blocks of `block` bytes, scattered over `total`: what a paged cache allows. */
double measure_read_blocks(measure_team *t, const void *from, size_t total, size_t block,
                           size_t n, size_t first);
double measure_copy(measure_team *t, void *to, const void *from, size_t bytes);
double measure_fma(measure_team *t, double *flops); /* f32 multiply-adds from registers */

#endif
