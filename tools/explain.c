/* SPDX-License-Identifier: Apache-2.0 */
/* explain.c -- kvjit explain: whether a problem runs here, why not, and what would be run. */
#include "gpu.h"
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the offline compiler makes of it, whether or not the device is there. */
static void print_counts(const kir_target *t, const char *backend, const char *text)
{
	kvjit *kv = gpu_open(t, backend);
	kvjit_kernel *k = kv ? gpu_compile(kv, t, text, NULL) : NULL;
	kir_diag d = { 0 };
	kir_text out = { 0 };
	kbe_counts counts;
	char why[1000];

	if (k && gpu_count(k, backend, &counts, &d)) {
		kbe_counts_print(&counts, &out);
		printf("offline, for %s:\n%s", t->name, out.text);
	} else if (kv)
		printf("offline, for %s: no counts: %s\n", t->name,
		       k ? kir_diag_text(&d, why, sizeof why) : kvjit_error(kv));
	free(out.text);
	kvjit_release(k);
	kvjit_close(kv);
}

int tool_explain(args *a)
{
	const char *target = args_value(a, "--target"), *backend = args_value(a, "--backend");
	const kir_target *gpu;
	char *text, *why = NULL;
	bool runs = false;
	kvjit *kv;

	if (!args_end(a, 1, 1 << 20))
		return TOOL_USAGE;
	text = tool_program(a);
	gpu = text ? gpu_target(target, text) : NULL;
	kv = text ? tool_open(gpu ? gpu->name : target, backend) : NULL;
	if (kv) {
		kvjit_status s = kvjit_explain(kv, text, &why);

		runs = s == KVJIT_OK && why && !strncmp(why, "supported: yes", 14);
		if (why)
			fputs(why, stdout);
		else
			fprintf(stderr, "kvjit: %s\n", kvjit_error(kv));
	}
	if (gpu)
		print_counts(gpu, backend, text);
	free(why);
	free(text);
	kvjit_close(kv);
	return runs ? TOOL_OK : TOOL_FAILED;
}
