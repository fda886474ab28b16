/* SPDX-License-Identifier: Apache-2.0 */
/* first.h -- of what fails in a check, the first sentence is kept: what comes after follows
 * from it, mostly.
 */
#ifndef KVJIT_TOOL_FIRST_H
#define KVJIT_TOOL_FIRST_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* Into text, as one line, whatever a message holds, unless *failed, which is set. */
void first_keep(bool *failed, char *text, size_t room, const char *fmt, va_list ap);

#endif
