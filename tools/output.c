/* SPDX-License-Identifier: Apache-2.0 */
/* output.c -- see output.h. */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

void output_begin(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0) /* read-only: what is printed there is an error */
			(void)!open("/dev/null", O_RDONLY);
}

int output_end(const char *program, int status)
{
	bool lost = ferror(stdout);

	errno = 0;
	lost = fflush(stdout) != 0 || lost;
	if (!lost || status)
		return status;
	fprintf(stderr, "%s: the output can't be written%s%s\n", program, errno ? ": " : "",
	        errno ? strerror(errno) : "");
	return 1;
}
