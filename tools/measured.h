/* SPDX-License-Identifier: Apache-2.0 */
/* measured.h -- the schedules of a store that were measured beside the default: what kvjit
 * cache gains shows, and kvjit tune --check measures again.
 */
#ifndef KVJIT_TOOL_MEASURED_H
#define KVJIT_TOOL_MEASURED_H

#include "../tune/store.h"

typedef struct measured {
	kt_schedule *at;
	unsigned n;
	bool failed; /* memory is out */
} measured;

/* False, and why on stderr: the store has none, or can't be read to its end. */
bool measured_read(kt_store *s, measured *out);
void measured_free(measured *m);

#endif
