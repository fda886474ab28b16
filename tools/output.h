/* SPDX-License-Identifier: Apache-2.0 */
/* output.h -- what a command prints arrives, or its exit code says that it didn't. */
#ifndef KVJIT_TOOL_OUTPUT_H
#define KVJIT_TOOL_OUTPUT_H

/* Before anything is opened: descriptors 0 to 2 are taken, so that no file gets the place of a
 * closed output and is printed into. */
void output_begin(void);
/* Before main returns `status`: 1, and a sentence, where what was printed is lost. */
int output_end(const char *program, int status);

#endif
