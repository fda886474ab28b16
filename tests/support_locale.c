/* SPDX-License-Identifier: Apache-2.0 */
/* support_locale.c -- see support_locale.h. */
#include "support_locale.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char name[] = "de_DE.UTF-8";

bool support_comma(const char *folder)
{
	char command[600], half[20];

	if (!setlocale(LC_ALL, name)) {
		snprintf(command, sizeof command,
		         "localedef -i de_DE -f UTF-8 '%s/%s' >/dev/null 2>&1", folder, name);
		if (system(command) < 0)
			return false;
		setenv("LOCPATH", folder, 1);
		if (!setlocale(LC_ALL, name))
			return false;
	}
	snprintf(half, sizeof half, "%g", 0.5);
	return !strcmp(half, "0,5");
}

void support_no_comma(void)
{
	setlocale(LC_ALL, "C");
	unsetenv("LOCPATH");
}
