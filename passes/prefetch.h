/* SPDX-License-Identifier: Apache-2.0 */
/* prefetch.h -- between the parts of pass prefetch: which loops read where lines can be touched
 * before they are needed (prefetch_find.c), and the copy that touches them (prefetch.c).
 */
#ifndef KVJIT_PASSES_PREFETCH_H
#define KVJIT_PASSES_PREFETCH_H

#include "emit.h"

typedef struct ahead {
	const kir_func *in;
	kir_func *out;
	kir_ref *map;     /* in -> out: of this iteration                                 */
	kir_ref *next[2]; /* of a coming one, and of one as far behind it; 0: the same    */
	bool both;        /* lines are touched in both                                    */
	bool *slice;      /* nodes that the address of some vload is computed from        */
	int64_t asked;    /* iterations, of a loop that walks a table                     */
	int64_t distance; /* of this loop                                                 */
	bool tables;      /* some loop walks a table: then runs are left alone            */
	int64_t *bytes;   /* by buffer: what an iteration reads of it                     */
	bool *varies;     /* nodes of a run's slice that the loop's variable is in        */
	kir_ref run;      /* the buffer this loop reads in one run; 0: through a table    */
	int hint;         /* of this loop                                                 */
	kir_ref seen[32]; /* vectors whose lines this block of nodes has touched          */
	unsigned nseen;
} ahead;

bool prefetch_is_stream(const kir_func *f, kir_ref n);
kir_ref prefetch_buffer(const kir_func *f, kir_ref n);
/* Whether this loop's own addresses go through a table: not only those of loops around it. */
bool prefetch_walks_table(ahead *a, kir_ref loop);
/* Whether it reads a run; sets its buffer and the distance. */
bool prefetch_run(ahead *a, kir_ref loop);

#endif
