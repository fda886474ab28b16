/* SPDX-License-Identifier: Apache-2.0 */
/* first.c -- see first.h. */
#include "first.h"

#include <stdio.h>

void first_keep(bool *failed, char *text, size_t room, const char *fmt, va_list ap)
{
	if (*failed)
		return;
	*failed = true;
	vsnprintf(text, room, fmt, ap);
	for (char *p = text; *p; p++)
		if (*p == '\n')
			*p = ' ';
}
