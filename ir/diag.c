/* SPDX-License-Identifier: Apache-2.0 */
/* diag.c -- messages and growing strings. */
#include "kir.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kir_error(kir_diag *d, int line, int col, const char *fmt, ...)
{
	if (!d)
		return;
	if (d->n < KIR_DIAG_MAX) {
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(d->at[d->n].msg, sizeof d->at[d->n].msg, fmt, ap);
		va_end(ap);
		d->at[d->n].line = line;
		d->at[d->n].col = col;
	}
	d->n++;
}

char *kir_diag_text(const kir_diag *d, char *buf, size_t len)
{
	size_t at = 0;
	if (len)
		buf[0] = '\0';
	for (unsigned i = 0; i < d->n && i < KIR_DIAG_MAX && at < len; i++) {
		char place[32] = "";
		if (d->at[i].line && d->at[i].col)
			snprintf(place, sizeof place, "%d:%d: ", d->at[i].line, d->at[i].col);
		else if (d->at[i].line)
			snprintf(place, sizeof place, "%d: ", d->at[i].line);
		int n =
		    snprintf(buf + at, len - at, "%s%s%s", at ? "\n" : "", place, d->at[i].msg);
		at += n > 0 ? (size_t)n : 0;
	}
	if (d->n > KIR_DIAG_MAX && at < len)
		snprintf(buf + at, len - at, "\nand %u more", d->n - KIR_DIAG_MAX);
	return buf;
}

void kir_text_add(kir_text *t, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(t->text ? t->text + t->len : NULL, t->cap - t->len, fmt, ap);
	va_end(ap);
	if (n < 0)
		abort();
	if (t->len + (size_t)n + 1 > t->cap) {
		size_t cap = t->cap ? t->cap : 256;
		while (cap < t->len + (size_t)n + 1)
			cap *= 2;
		char *more = realloc(t->text, cap);
		if (!more)
			abort();
		t->text = more;
		t->cap = cap;
		vsnprintf(t->text + t->len, t->cap - t->len, fmt, again);
	}
	va_end(again);
	t->len += (size_t)n;
}
