/* SPDX-License-Identifier: Apache-2.0 */
/* json_line.c -- see tool_print_json. */
#include "tool.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

void tool_print_json(cJSON *json)
{
	char *text = json ? cJSON_PrintUnformatted(json) : NULL;

	if (text)
		puts(text);
	free(text);
	cJSON_Delete(json);
	fflush(stdout);
}
