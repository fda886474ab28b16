/* SPDX-License-Identifier: Apache-2.0 */
/* tool.h -- the kvjit command: one file a subcommand, and what they share.
 *
 * Exit codes: 0 done and, for check, right; 1 something asked for didn't hold or couldn't be
 * done; 2 the command line was wrong.
 */
#ifndef KVJIT_TOOL_H
#define KVJIT_TOOL_H

#include "args.h"
#include "../include/kvjit.h"
#include "../ir/problem.h"

enum { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_USAGE = 2 };

int tool_info(args *a);
int tool_explain(args *a);
int tool_compile(args *a);
int tool_run(args *a);
int tool_check(args *a);
int tool_golden(const char *dir, args *a); /* check --golden DIR */
int tool_bench(args *a);
int tool_tune(args *a);
int tool_cache(args *a);

/* Text of a file, NUL-terminated; NULL if it can't be read. free() it. */
char *tool_read(const char *path, size_t *len);
/* PROGRAM operand: the text of the file if there is one of that name, else the words
 * themselves. free() it. */
char *tool_program(const args *a);
/* A context for --target and --backend (NULL: defaults); NULL after telling why not. */
kvjit *tool_open(const char *target, const char *backend);
struct cJSON;
/* One line of JSON, which readers of a pipe see at once; json is deleted. */
void tool_print_json(struct cJSON *json);

#endif
