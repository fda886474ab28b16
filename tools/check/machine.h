/* SPDX-License-Identifier: Apache-2.0 */
/* machine.h -- everything here that runs a kernel: a backend with a target. */
#ifndef KVJIT_TOOL_MACHINE_H
#define KVJIT_TOOL_MACHINE_H

#include "../../include/kvjit.h"

#include <stdbool.h>

enum { MACHINE_MAX = 32 };

typedef struct machine {
	const char *backend;
	char target[64];
	kvjit *kv;
} machine;

/* The interpreter, backends/c on this machine's own target, and backends/x86 on every row of
 * targets.def that runs here. target and backend limit the choice if not NULL. 0 after telling
 * on stderr why there is none. */
unsigned machine_open(const char *target, const char *backend, machine out[MACHINE_MAX]);
void machine_close(machine *m, unsigned n);

#endif
