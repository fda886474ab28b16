/* SPDX-License-Identifier: Apache-2.0 */
/* compile.c -- kvjit compile: a program to machine code, printing the stage asked for. What
 * --emit ir, tile or vector prints can be edited and compiled again. */
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "compile PROGRAM [--emit ir|tile|vector|llvm|asm|c|obj|schedule] [--target T] "
    "[--backend B] [--sched KNOBS] [-o FILE]";

/* The stages every kernel has come from the kernel; "c" asks the backend that prints C. */
static int emit(kvjit *kv, const char *text, const char *sched, const char *stage,
                const char *path)
{
	kvjit_compile_options o = { .size = sizeof o, .sched = sched };
	kvjit_kernel *k = NULL;
	if (kvjit_compile(kv, text, &o, &k) != KVJIT_OK) {
		fprintf(stderr, "kvjit: %s\n", kvjit_error(kv));
		return TOOL_FAILED;
	}
	int status = TOOL_FAILED;
	char *out = kvjit_kernel_text(k, stage);
	FILE *f = path ? fopen(path, "w") : stdout;
	if (!out)
		fprintf(stderr, "kvjit: this kernel has no text for --emit %s: %s\n", stage,
		        kvjit_kernel_error(k));
	else if (!f)
		fprintf(stderr, "kvjit: %s can't be written\n", path);
	else if (fputs(out, f) >= 0)
		status = TOOL_OK;
	if (f && f != stdout && fclose(f) != 0)
		status = TOOL_FAILED;
	free(out);
	kvjit_release(k);
	return status;
}

int tool_compile(args *a)
{
	const char *stage = args_value(a, "--emit"), *target = args_value(a, "--target");
	const char *backend = args_value(a, "--backend"), *sched = args_value(a, "--sched");
	const char *path = args_value(a, "-o");
	if (!args_end(a, 1, 1 << 20, usage))
		return TOOL_USAGE;
	if (!stage)
		stage = "schedule";
	if (!backend && strcmp(stage, "c") == 0)
		backend = "c";
	kvjit *kv = tool_open(target, backend);
	char *text = tool_program(a);
	int status = kv && text ? emit(kv, text, sched, stage, path) : TOOL_FAILED;
	free(text);
	kvjit_close(kv);
	return status;
}
