/* SPDX-License-Identifier: Apache-2.0 */
/* tune_static.h -- ranking schedules for a GPU that isn't there. */
#ifndef KVJIT_TOOL_TUNE_STATIC_H
#define KVJIT_TOOL_TUNE_STATIC_H

#include "../ir/kir.h"

/* Compiles what tune/space.c holds worth trying until `budget` seconds have passed, counts, and
 * prints the schedules by their static cost (tune/static.h). Nothing is stored: it is no
 * measurement. An exit code of tool.h. */
int tune_static(const kir_target *t, const char *text, double budget);

#endif
