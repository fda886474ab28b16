/* SPDX-License-Identifier: Apache-2.0 */
/* record.h -- counts of calls by problem and size, written to a file: see record.c. */
#ifndef KVJIT_JIT_RECORD_H
#define KVJIT_JIT_RECORD_H

#include "jit.h"

/* name: of KVJIT_RECORD. NULL: the file can't be written, errno says why. */
kvjit_recorder *kvjit_recorder_new(const char *name);
/* The context's end: the file is written, and once more when the last kernel goes. */
void kvjit_recorder_close(kvjit_recorder *rec);

/* The counts of a problem, one for all kernels of that text; NULL: no memory. sized: the
 * problem states its sizes, or has none. */
kvjit_record *kvjit_record_of(kvjit_recorder *rec, const char *problem, bool sized);
void kvjit_record_release(kvjit_record *r);

/* Of a plan; -1: it has no work. */
int kvjit_record_class(int64_t batch, int64_t ctx, int64_t qlen);
/* Around a call that gave KVJIT_OK; p may be NULL. Some ns each, in the mean. */
uint64_t kvjit_record_begin(kvjit_record *r, const kvjit_plan *p);
void kvjit_record_end(kvjit_record *r, const kvjit_plan *p, uint64_t begin);

#endif
