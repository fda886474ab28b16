/* SPDX-License-Identifier: Apache-2.0 */
/* args.c -- see args.h. */
#include "args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void take(args *a, int at, int n)
{
	memmove(a->argv + at, a->argv + at + n, (size_t)(a->argc - at - n) * sizeof(char *));
	a->argc -= n;
}

bool args_flag(args *a, const char *name)
{
	for (int i = 0; i < a->argc; i++)
		if (strcmp(a->argv[i], name) == 0) {
			take(a, i, 1);
			return true;
		}
	return false;
}

const char *args_value(args *a, const char *name)
{
	size_t len = strlen(name);
	for (int i = 0; i < a->argc; i++) {
		char *s = a->argv[i];
		if (strncmp(s, name, len) != 0)
			continue;
		if (s[len] == '=') {
			take(a, i, 1);
			return s + len + 1;
		}
		if (s[len] != '\0')
			continue;
		if (i + 1 == a->argc) {
			fprintf(stderr, "kvjit: option %s needs a value\n", name);
			a->wrong = true;
			return NULL;
		}
		char *value = a->argv[i + 1];
		take(a, i, 2);
		return value;
	}
	return NULL;
}

long args_number(args *a, const char *name, long lo, long hi, long dflt)
{
	const char *s = args_value(a, name);
	if (!s)
		return dflt;
	char *end;
	long x = strtol(s, &end, 10);
	if (*s == '\0' || *end != '\0' || x < lo || x > hi) {
		fprintf(stderr, "kvjit: option %s takes a number from %ld to %ld, not '%s'\n",
		        name, lo, hi, s);
		a->wrong = true;
		return dflt;
	}
	return x;
}

double args_seconds(args *a, const char *name, double lo, double dflt)
{
	const char *s = args_value(a, name);
	if (!s)
		return dflt;
	char *end;
	double x = strtod(s, &end);
	if (end != s && (!*end || !strcmp(end, "s")) && x >= lo && x <= 1e6)
		return x;
	fprintf(stderr, "kvjit: option %s takes seconds, from %g to 1000000, not '%s'\n", name,
	        lo, s);
	a->wrong = true;
	return dflt;
}

void args_usage(const args *a, FILE *to)
{
	fprintf(to, "usage: kvjit %s%s %s\n", a->group ? a->group : "", a->name, a->operands);
}

bool args_end(args *a, int min, int max)
{
	for (int i = 0; i < a->argc && !a->wrong; i++)
		if (a->argv[i][0] == '-' && a->argv[i][1] == '-') {
			fprintf(stderr, "kvjit: unknown option %s\n", a->argv[i]);
			a->wrong = true;
		}
	if (!a->wrong && (a->argc < min || a->argc > max)) {
		fprintf(stderr, "kvjit: %s\n",
		        a->argc < min ? "an operand is missing" : "too many operands");
		a->wrong = true;
	}
	if (a->wrong)
		args_usage(a, stderr);
	return !a->wrong;
}

/* Appends one operand; a value with blanks gets the quotes that the shell took. */
static void append(char *s, const char *item)
{
	const char *value = strchr(item, '=');
	bool quote = value && value[1] != '"' && strpbrk(value, " \t\n") &&
	             strcspn(item, " \t\n") > (size_t)(value - item);
	if (!quote) {
		strcat(s, item);
		return;
	}
	strncat(s, item, (size_t)(value - item) + 1);
	strcat(s, "\"");
	strcat(s, value + 1);
	strcat(s, "\"");
}

char *args_join(const args *a)
{
	size_t len = 1;
	for (int i = 0; i < a->argc; i++)
		len += strlen(a->argv[i]) + 3;
	char *s = calloc(len, 1);
	for (int i = 0; s && i < a->argc; i++) {
		append(s, a->argv[i]);
		if (i + 1 < a->argc)
			strcat(s, " ");
	}
	return s;
}
