/* SPDX-License-Identifier: Apache-2.0 */
/* lex.c -- the characters of the text form: blanks, words, numbers, and what to say when
 * they aren't the expected ones. There are no tokens in memory; the parser asks for what may
 * come next.
 */
#include "parse.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '.';
}

bool kir_fail(kir_parser *p, const kir_lex *where, const char *fmt, ...)
{
	char msg[sizeof p->d->at[0].msg];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof msg, fmt, ap);
	va_end(ap);
	p->failed = true;
	kir_error(p->d, where->line, (int)(where->at - where->line_start) + 1, "%s", msg);
	return false;
}

void kir_lex_blank(kir_parser *p)
{
	kir_lex *l = &p->lex;
	while (l->at < l->end && (*l->at == ' ' || *l->at == '\t' || *l->at == '\r'))
		l->at++;
	if (l->at < l->end && *l->at == ';')
		while (l->at < l->end && *l->at != '\n')
			l->at++;
}

void kir_lex_space(kir_parser *p)
{
	kir_lex *l = &p->lex;
	for (kir_lex_blank(p); l->at < l->end && *l->at == '\n'; kir_lex_blank(p)) {
		l->line_start = ++l->at;
		l->line++;
	}
}

bool kir_lex_line_end(kir_parser *p)
{
	kir_lex_blank(p);
	return p->lex.at == p->lex.end || *p->lex.at == '\n';
}

bool kir_lex_is(kir_parser *p, char c)
{
	kir_lex_blank(p);
	return p->lex.at < p->lex.end && *p->lex.at == c;
}

bool kir_lex_take(kir_parser *p, char c)
{
	if (!kir_lex_is(p, c))
		return false;
	p->lex.at++;
	return true;
}

/* What stands here, for a message. */
static const char *here(kir_parser *p, char buf[48])
{
	size_t n = 0;
	if (kir_lex_line_end(p))
		return p->lex.at == p->lex.end ? "the end of the text" : "the end of the line";
	while (n < 24 && p->lex.at + n < p->lex.end && is_word(p->lex.at[n]))
		n++;
	n += n == 0;
	if (!isprint((unsigned char)*p->lex.at))
		snprintf(buf, 48, "byte 0x%02x", (unsigned char)*p->lex.at);
	else
		snprintf(buf, 48, "'%.*s'", (int)n, p->lex.at);
	return buf;
}

bool kir_lex_want(kir_parser *p, char c)
{
	char buf[48];
	if (kir_lex_take(p, c))
		return true;
	const char *found = here(p, buf);
	return kir_fail(p, &p->lex, "'%c' is expected instead of %s", c, found);
}

size_t kir_lex_word(kir_parser *p, const char **word)
{
	kir_lex_blank(p);
	*word = p->lex.at;
	while (p->lex.at < p->lex.end && is_word(*p->lex.at))
		p->lex.at++;
	return (size_t)(p->lex.at - *word);
}

bool kir_lex_keyword(kir_parser *p, const char *word)
{
	kir_lex before = p->lex;
	const char *have;
	size_t len = kir_lex_word(p, &have);
	if (len == strlen(word) && !memcmp(have, word, len))
		return true;
	p->lex = before;
	return false;
}

size_t kir_lex_name(kir_parser *p, char sigil, const char **name)
{
	char buf[48];
	if (!kir_lex_take(p, sigil)) {
		const char *found = here(p, buf);
		kir_fail(p, &p->lex, "a name with %c is expected instead of %s", sigil, found);
		return 0;
	}
	kir_lex where = p->lex;
	while (p->lex.at < p->lex.end && is_word(*p->lex.at))
		p->lex.at++;
	*name = where.at;
	size_t len = (size_t)(p->lex.at - where.at);
	if (!len)
		kir_fail(p, &where, "a name is expected after %c", sigil);
	if (len > KIR_MAX_NAME) {
		kir_fail(p, &where, "a name has at most %d characters", KIR_MAX_NAME);
		return 0;
	}
	return len;
}

/* -- numbers -- */

/* The characters that may belong to a number: a sign in front or after an exponent's e or p. */
static size_t number_length(const char *s, const char *end)
{
	const char *at = s;
	if (at < end && (*at == '-' || *at == '+'))
		at++;
	bool hex = end - at > 1 && at[0] == '0' && (at[1] == 'x' || at[1] == 'X');
	for (; at < end; at++) {
		bool sign = (*at == '-' || *at == '+') && at > s &&
		            (strchr("pP", at[-1]) || (!hex && strchr("eE", at[-1])));
		if (!isalnum((unsigned char)*at) && *at != '.' && !sign)
			break;
	}
	return (size_t)(at - s);
}

static bool read_int(const char *s, size_t len, int64_t *x)
{
	char buf[32], *end;
	if (!len || len >= sizeof buf || *s == '+')
		return false;
	memcpy(buf, s, len);
	buf[len] = '\0';
	errno = 0;
	*x = strtoll(buf, &end, 10);
	return end == buf + len && !errno;
}

bool kir_lex_int(kir_parser *p, int64_t *x)
{
	char buf[48];
	kir_lex_blank(p);
	size_t len = number_length(p->lex.at, p->lex.end);
	if (!read_int(p->lex.at, len, x)) {
		const char *found = here(p, buf);
		return kir_fail(p, &p->lex, "a whole number is expected instead of %s", found);
	}
	p->lex.at += len;
	return true;
}

static bool read_word_number(const char *s, size_t len, double *x)
{
	bool minus = len && *s == '-';
	s += minus;
	len -= minus;
	if (len == 3 && !memcmp(s, "inf", 3))
		*x = minus ? -INFINITY : INFINITY;
	else if (len == 3 && !minus && !memcmp(s, "nan", 3))
		*x = NAN;
	else
		return false;
	return true;
}

bool kir_lex_literal(kir_parser *p, kir_term *t)
{
	char buf[48];
	kir_lex_blank(p);
	*t = (kir_term){ .where = p->lex };
	const char *s = p->lex.at;
	size_t len = number_length(s, p->lex.end);
	bool minus = len && *s == '-';
	bool digit = len > minus && (isdigit((unsigned char)s[minus]) || s[minus] == '.');
	if (!digit || !read_int(s, len, &t->i)) {
		t->real = true;
		if (!read_word_number(s, len, &t->f) &&
		    !(digit && kir_read_float(s, len, &t->f))) {
			const char *found = here(p, buf);
			return kir_fail(p, &p->lex,
			                "a value or a number is expected instead of %s", found);
		}
	}
	if (!t->real) /* -0 among floats is minus zero */
		t->f = copysign((double)t->i, minus ? -1.0 : 1.0);
	p->lex.at += len;
	/* A suffix touches the number; the type of the op's result never does. */
	if (p->lex.at < p->lex.end && *p->lex.at == ':') {
		p->lex.at++;
		return kir_parse_elem(p, &t->suffix);
	}
	return true;
}

/* -- going on after an error -- */

/* Whether the next line goes on with a region of the attention in this one. */
static bool region_follows(kir_parser *p)
{
	kir_lex before = p->lex;
	kir_lex_space(p);
	bool follows = kir_lex_keyword(p, "score") || kir_lex_keyword(p, "mask");
	if (!follows)
		p->lex = before;
	return follows;
}

void kir_lex_skip_op(kir_parser *p)
{
	kir_lex *l = &p->lex;
	unsigned depth = 0;
	for (;;) {
		if (kir_lex_line_end(p)) {
			if (l->at == l->end || (!depth && !region_follows(p)))
				return;
			kir_lex_space(p);
			continue;
		}
		if (*l->at == '}' && !depth)
			return;
		depth += *l->at == '{';
		depth -= *l->at == '}';
		l->at++;
	}
}

/* Letters to change, add or remove; words are short, a larger difference is no likeness. */
static unsigned distance(const char *a, size_t na, const char *b, size_t nb)
{
	unsigned row[33];
	if (na > 32 || nb > 32)
		return 99;
	for (unsigned j = 0; j <= nb; j++)
		row[j] = j;
	for (unsigned i = 1; i <= na; i++) {
		unsigned diagonal = row[0];
		row[0] = i;
		for (unsigned j = 1; j <= nb; j++) {
			unsigned change = diagonal + (a[i - 1] != b[j - 1]);
			unsigned drop = row[j] + 1, put = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = change < drop ? change : drop;
			row[j] = put < row[j] ? put : row[j];
		}
	}
	return row[nb];
}

const char *kir_closest(const char *word, size_t len, const char *(*name)(unsigned), unsigned n,
                        char buf[64])
{
	unsigned best = 99;
	buf[0] = '\0';
	for (unsigned i = 0; i < n; i++) {
		const char *s = name(i);
		unsigned d = s ? distance(word, len, s, strlen(s)) : 99;
		if (d < best && d <= 2 && d < len) {
			best = d;
			snprintf(buf, 64, "; did you mean '%s'?", s);
		}
	}
	return buf;
}
