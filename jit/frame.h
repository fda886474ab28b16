/* SPDX-License-Identifier: Apache-2.0 */
/* frame.h -- one call: its arguments, checked, as the cells of the entry's signature; and the
 * three that run it: code (run.c), the interpreter, a device.
 */
#ifndef KVJIT_JIT_FRAME_H
#define KVJIT_JIT_FRAME_H

#include "device.h"

typedef struct kvjit_frame {
	const kvjit_kernel *k;
	const kvjit_plan *plan;
	void *scratch;
	const kvjit_arg *arg[KVJIT_MAX_PARAMS];
	kvjit_cell cell[KVJIT_MAX_CELLS];
	int64_t pages[2];     /* of each cache, where an index list is held against them */
	int64_t count, parts; /* scalars n and p of a kernel without a plan, or -1 */
} kvjit_frame;

/* All of one call. */
typedef struct kvjit_frames {
	int n;
	kvjit_frame f[2];
} kvjit_frames;

/* -- call.c ------------------------------------------------------------------------- */

/* From k and plan to all the rest, or why not: k's error. */
kvjit_status kvjit_frame_fill(kvjit_frame *f, const kvjit_arg *args, int nargs, void *scratch);

/* -- run.c --------------------------------------------------------------------------- */

/* From k and plan to all the rest, or why not: k's error. */
kvjit_status kvjit_frames_fill(const kvjit_kernel *k, const kvjit_plan *plan, kvjit_frames *out,
                               const kvjit_arg *args, int nargs, void *scratch);
int64_t kvjit_phase_count(const kvjit_frame *f, const kvjit_phase *p);

/* -- operands.c --------------------------------------------------------------------- */

/* The least extent along an axis of what scores or masks read of parameter i, -1 if that isn't
 * known. */
int64_t kvjit_elements_read(const kvjit_frame *f, int i, int axis);

/* -- lists.c ------------------------------------------------------------------------ */

/* What the host's lists name lies inside what the call hands over. */
kvjit_status kvjit_check_lists(const kvjit_frame *f);

/* -- interpret.c -------------------------------------------------------------------- */

/* Bytes that a tensor's stated extents reach; 0, unchecked, if it states none. */
int64_t kvjit_reach(const kvjit_frame *f, int i);
/* Bytes that parameter i of a planned call holds, at least. */
int64_t kvjit_planned_bytes(const kvjit_frame *f, int i);
kvjit_status kvjit_interpret(const kvjit_frame *f);

/* -- launch.c ------------------------------------------------------------------------ */

/* Whether the host may look at the memory of tensor i. */
bool kvjit_host_reads(const kvjit_frame *f, int i);
kvjit_status kvjit_launch_and_wait(const kvjit_kernel *k, const kvjit_frames *frames);

#endif
