/* SPDX-License-Identifier: Apache-2.0 */
/* tune_from.c -- see tune_from.h. */
#include "tune_from.h"
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_SECONDS = 5 };

/* "PROBLEM :: calls=N us=T" */
static bool read_line(char *line, from_line *out)
{
	char *sep = strstr(line, " :: ");
	char rest;

	*out = (from_line){ .ratio = 1, .lo = 1, .hi = 1 };
	if (!sep || sscanf(sep, " :: calls=%lf us=%lf %c", &out->calls, &out->us, &rest) != 2 ||
	    !(out->calls >= 1 && out->calls < 1e18) || !(out->us >= 0 && out->us < 1e18))
		return false;
	*sep = 0;
	out->problem = strdup(line);
	return out->problem != NULL;
}

static bool add(from_record *r, from_line *l)
{
	from_line *more;

	for (unsigned i = 0; i < r->n; i++)
		if (!strcmp(r->at[i].problem, l->problem)) { /* records put together */
			r->at[i].calls += l->calls;
			r->at[i].us += l->us;
			free(l->problem);
			return true;
		}
	more = realloc(r->at, (r->n + 1) * sizeof *more);
	if (!more) {
		free(l->problem);
		return false;
	}
	r->at = more;
	r->at[r->n++] = *l;
	return true;
}

static int dearest_first(const void *a, const void *b)
{
	const from_line *x = a, *y = b;

	return x->us != y->us ? (x->us < y->us ? 1 : -1) : strcmp(x->problem, y->problem);
}

bool from_read(const char *path, from_record *out)
{
	size_t len;
	char *text = tool_read(path, &len), *p = text;
	unsigned number = 1;
	bool ok = text != NULL;

	*out = (from_record){ 0 };
	if (!text)
		fprintf(stderr, "kvjit: there is no record %s, or it can't be read\n", path);
	for (; ok && *p; number++) {
		size_t n = strcspn(p, "\n");
		char *next = p + n + (p[n] == '\n');
		from_line l;

		p[n] = 0;
		p += strspn(p, " \t\r");
		if (*p && *p != '#' && (!read_line(p, &l) || !add(out, &l))) {
			fprintf(stderr,
			        "kvjit: %s, line %u: a record has PROBLEM :: calls=N us=T, as "
			        "KVJIT_RECORD writes it\n",
			        path, number);
			ok = false;
		}
		p = next;
	}
	free(text);
	if (ok && !out->n) {
		fprintf(stderr, "kvjit: %s has no calls\n", path);
		ok = false;
	}
	if (ok)
		qsort(out->at, out->n, sizeof *out->at, dearest_first);
	return ok;
}

void from_free(from_record *r)
{
	for (unsigned i = 0; i < r->n; i++)
		free(r->at[i].problem);
	free(r->at);
}

double from_share(const from_record *r, unsigned i, double left)
{
	double rest = 0, share;

	for (unsigned k = i; k < r->n; k++)
		rest += r->at[k].us;
	share = rest > 0 ? left * r->at[i].us / rest : left;
	if (share < LEAST_SECONDS)
		share = LEAST_SECONDS;
	return share < left ? share : left;
}

/* The interval adds up the problems' own: nothing is assumed of how they depend on each
 * other. */
static void total(const from_record *r, from_line *sum)
{
	double us = 0;

	*sum = (from_line){ 0 };
	for (unsigned i = 0; i < r->n; i++) {
		const from_line *l = &r->at[i];

		us += l->us;
		sum->us += l->tuned ? l->us : 0;
		sum->ratio += l->us * l->ratio;
		sum->lo += l->us * l->lo;
		sum->hi += l->us * l->hi;
	}
	if (us <= 0) {
		*sum = (from_line){ .ratio = 1, .lo = 1, .hi = 1 };
		return;
	}
	sum->us /= us;
	sum->ratio /= us;
	sum->lo /= us;
	sum->hi /= us;
}

void from_print(const from_record *r, bool json)
{
	from_line sum;
	unsigned tuned = 0;

	total(r, &sum);
	for (unsigned i = 0; i < r->n; i++)
		tuned += r->at[i].tuned;
	if (json)
		printf("{\"event\":\"total\",\"ratio\":%.6f,\"lo\":%.6f,\"hi\":%.6f,"
		       "\"problems\":%u,\"tuned\":%u,\"share\":%.6f}\n",
		       sum.ratio, sum.lo, sum.hi, r->n, tuned, sum.us);
	else
		printf("all recorded calls: %.3f of their time (%.3f to %.3f); %u of %u "
		       "problems were tuned, %.1f %% of the time\n",
		       sum.ratio, sum.lo, sum.hi, tuned, r->n, 100 * sum.us);
}
