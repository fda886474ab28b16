/* SPDX-License-Identifier: Apache-2.0 */
/* measured.c -- see measured.h. */
#include "measured.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool take(const kt_schedule *r, void *ctx)
{
	measured *m = ctx;
	kt_schedule *more, *to;

	if (r->source != KT_BY_trial || r->ratio <= 0)
		return true;
	more = realloc(m->at, (m->n + 1) * sizeof *more);
	m->failed = !more;
	if (!more)
		return false;
	m->at = more;
	to = &more[m->n++];
	m->failed = !kt_schedule_copy(r, to);
	return !m->failed;
}

bool measured_read(kt_store *s, measured *out)
{
	bool whole;

	*out = (measured){ 0 };
	whole = kt_each_schedule(s, take, out);
	if (out->failed)
		fprintf(stderr, "kvjit: out of memory\n");
	else if (!whole)
		fprintf(stderr, "kvjit: %s couldn't be read to its end\n", kt_store_path(s));
	else if (!out->n)
		fprintf(stderr, "kvjit: %s has no schedule that was measured: run kvjit tune\n",
		        kt_store_path(s));
	return whole && !out->failed && out->n;
}

void measured_free(measured *m)
{
	for (unsigned i = 0; i < m->n; i++)
		kt_schedule_free(&m->at[i]);
	free(m->at);
	*m = (measured){ 0 };
}
