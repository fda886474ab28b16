/* SPDX-License-Identifier: Apache-2.0 */
/* info.c -- kvjit info: what this machine is, which backends load, and why not. */
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

/* kvjit_info's lines as a JSON array of strings: its wording is for people, its order fixed. */
static void print_json(char *text)
{
	cJSON *root = cJSON_CreateObject(), *lines = cJSON_AddArrayToObject(root, "info");
	for (char *line = text; *line;) {
		char *end = line;
		while (*end && *end != '\n')
			end++;
		bool more = *end == '\n';
		*end = '\0';
		cJSON_AddItemToArray(lines, cJSON_CreateString(line));
		line = more ? end + 1 : end;
	}
	tool_print_json(root);
}

int tool_info(args *a)
{
	bool json = args_flag(a, "--json");
	const char *target = args_value(a, "--target");
	if (!args_end(a, 0, 0))
		return TOOL_USAGE;
	kvjit *kv = tool_open(target, NULL);
	if (!kv)
		return TOOL_FAILED;
	char *text = kvjit_info(kv);
	if (text && json)
		print_json(text);
	else if (text)
		fputs(text, stdout);
	free(text);
	kvjit_close(kv);
	return text ? TOOL_OK : TOOL_FAILED;
}
