/* SPDX-License-Identifier: Apache-2.0 */
/* explain.c -- kvjit explain: whether a problem runs here, why not, and what would be run. */
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int tool_explain(args *a)
{
	const char *target = args_value(a, "--target"), *backend = args_value(a, "--backend");
	char *text = NULL, *why = NULL;

	if (!args_end(a, 1, 1 << 20, "explain PROBLEM|FILE [--target T] [--backend B]"))
		return TOOL_USAGE;
	kvjit *kv = tool_open(target, backend);

	if (!kv)
		return TOOL_FAILED;
	text = tool_program(a);
	kvjit_status s = text ? kvjit_explain(kv, text, &why) : KVJIT_NO_MEMORY;
	bool runs = s == KVJIT_OK && why && !strncmp(why, "supported: yes", 14);

	if (why)
		fputs(why, stdout);
	else
		fprintf(stderr, "kvjit: %s\n", kvjit_error(kv));
	free(why);
	free(text);
	kvjit_close(kv);
	return runs ? TOOL_OK : TOOL_FAILED;
}
