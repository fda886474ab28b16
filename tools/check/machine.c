/* SPDX-License-Identifier: Apache-2.0 */
/* machine.c -- see machine.h. Which targets run here is asked of kvjit_open. */
#include "machine.h"

#include "../../ir/kir.h"

#include <stdio.h>
#include <string.h>

static bool add(machine *m, unsigned *n, const char *backend, const char *target)
{
	kvjit_options o = { .size = sizeof o, .target = target, .backend = backend };
	if (*n == MACHINE_MAX || kvjit_open(&o, &m[*n].kv) != KVJIT_OK)
		return false;
	m[*n].backend = backend;
	snprintf(m[*n].target, sizeof m[*n].target, "%s", target);
	(*n)++;
	return true;
}

/* The interpreter runs any row; it is asked for a device's only by name. */
static bool takes(const char *backend, const kir_target *t, const char *asked)
{
	bool device = strncmp(backend, "spirv", 5) == 0;
	return asked ? strcmp(backend, asked) == 0 : device == (t->lanes != 0);
}

unsigned machine_open(const char *target, const char *backend, machine out[MACHINE_MAX])
{
	static const char *const backends[] = { "ref", "c", "x86", "spirv", "spirv-llvm" };
	static const kir_target any = { .name = "xe", .lanes = 16 };
	const kir_target *named = target ? kir_target_find(target) : NULL;
	unsigned n = 0;
	for (unsigned b = 0; b < sizeof backends / sizeof *backends; b++) {
		bool all = strcmp(backends[b], "x86") == 0;
		if (target) {
			if (takes(backends[b], named ? named : &any, backend))
				add(out, &n, backends[b], target);
			continue;
		}
		/* rich to plain: the first that opens is the machine's own */
		for (unsigned t = kir_ntargets; t-- > 0;)
			if (takes(backends[b], &kir_targets[t], NULL) &&
			    (!backend || strcmp(backend, backends[b]) == 0) &&
			    add(out, &n, backends[b], kir_targets[t].name) && !all)
				break;
	}
	if (n == 0)
		fprintf(stderr, "kvjit: nothing here runs target %s of backend %s: %s\n",
		        target ? target : "(any)", backend ? backend : "(any)",
		        kvjit_open_error());
	return n;
}

void machine_close(machine *m, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		kvjit_close(m[i].kv);
}
