/* SPDX-License-Identifier: Apache-2.0 */
/* args.h -- the command line of one subcommand.
 *
 * Options are taken out one by one, by the code that knows them; what is left at the end
 * are operands, and an option that nobody took is an error with the ones there are.
 */
#ifndef KVJIT_TOOL_ARGS_H
#define KVJIT_TOOL_ARGS_H

#include <stdbool.h>
#include <stdio.h>

typedef struct args {
	int argc; /* operands and options not taken yet, without the program's name */
	char **argv;
	bool wrong; /* an option lacked its value or had a bad one; already told    */
	/* the command's row in the table it was found in: what --help and a complaint print */
	const char *group, *name, *operands; /* group: "cache " of kvjit cache ls, or NULL  */
} args;

bool args_flag(args *a, const char *name);
/* The value after `name` or after `name=`; NULL if the option isn't there. */
const char *args_value(args *a, const char *name);
/* Seconds from lo to hi, at most 1e6, an s behind them or not. */
double args_seconds(args *a, const char *name, double lo, double dflt);
long args_number(args *a, const char *name, long lo, long hi, long dflt);
/* All options have been asked for: complains about the others, with the usage. */
bool args_end(args *a, int min, int max);
void args_usage(const args *a, FILE *to); /* the command's line of --help */
/* Operands joined by blanks: a problem need not be quoted. malloc'd. */
char *args_join(const args *a);

#endif
