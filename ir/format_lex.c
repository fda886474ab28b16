/* SPDX-License-Identifier: Apache-2.0 */
/* format_lex.c -- words and brackets of a declared format's text; see format_parse.h. */
#include "format_parse.h"
#include "internal.h"

#include <math.h>
#include <string.h>

void format_next(format_parser *p)
{
	p->fresh = false;
	p->glued = true;
	for (; p->at < p->end; p->at++) {
		if (*p->at == '#')
			while (p->at + 1 < p->end && p->at[1] != '\n')
				p->at++;
		else if (*p->at == '\n') {
			p->line++;
			p->line_start = p->at + 1;
			p->fresh = true;
		} else if (*p->at == ';')
			p->fresh = true;
		else if (*p->at != ' ' && *p->at != '\t' && *p->at != '\r')
			break;
		p->glued = false;
	}
	p->s = p->at;
	p->tline = p->line;
	p->tcol = (int)(p->at - p->line_start) + 1;
	p->kind = 0;
	if (p->at == p->end)
		return;
	if (strchr("{}[]", *p->at)) {
		p->kind = *p->at++;
	} else {
		p->kind = 'w';
		while (p->at < p->end && !strchr("{}[]; \t\r\n#", *p->at))
			p->at++;
	}
	p->n = (size_t)(p->at - p->s);
}

int format_shown(const format_parser *p)
{
	return p->n > 40 ? 40 : (int)p->n;
}

bool format_is(const format_parser *p, const char *w)
{
	return p->kind == 'w' && p->n == strlen(w) && !memcmp(p->s, w, p->n);
}

bool format_more(const format_parser *p)
{
	return p->kind == 'w' && !p->fresh;
}

bool format_expect(format_parser *p, char kind, const char *where)
{
	if (p->kind != kind)
		return FORMAT_FAIL(p, "expected '%c' %s", kind, where);
	format_next(p);
	return true;
}

bool format_int(const char *s, size_t n, int *out)
{
	if (n == 0 || n > 7)
		return false;
	*out = 0;
	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		*out = *out * 10 + (s[i] - '0');
	}
	return true;
}

bool format_number(format_parser *p, const char *what, int min, int max, int *out)
{
	if (p->kind != 'w' || !format_int(p->s, p->n, out) || *out < min || *out > max)
		return FORMAT_FAIL(p, "%s must be an integer from %d to %d", what, min, max);
	format_next(p);
	return true;
}

bool format_positive(format_parser *p, const char *s, size_t n, const char *what, double *out)
{
	if (n < 40 && kir_read_float(s, n, out) && *out > 0 && isfinite(*out))
		return true;
	return FORMAT_FAIL(p, "%s must be a positive number, not '%.*s'", what,
	                   (int)(n > 40 ? 40 : n), s);
}

int format_word(const format_parser *p, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (format_is(p, words[i]))
			return i;
	return -1;
}
