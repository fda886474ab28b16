/* SPDX-License-Identifier: Apache-2.0 */
/* format_parse.h -- what the readers of a declared format's text share: format_lex.c makes
 * tokens, format_rule.c reads what is said of a side, format_place.c where streams lie, and
 * format.c the whole. Parsing stops at the first message. */
#ifndef KVJIT_FORMAT_PARSE_H
#define KVJIT_FORMAT_PARSE_H

#include "format_priv.h"

typedef struct format_parser {
	kir_module *m;
	kir_diag *d;
	kir_format *f;
	const char *at, *end, *line_start;
	int line;
	unsigned items, one_side; /* bit 0: a statement about K alone was seen, ...       */
	unsigned given[KIR_SIDES + 1]; /* bit of each statement seen of a side; last: of all */
	/* the token at hand: kind 'w' for a word, the character of a bracket, 0 at the end */
	char kind;
	const char *s;
	size_t n;
	int tline, tcol;
	bool fresh; /* first of a line or after ';'                                       */
	bool glued; /* no blank before it                                                 */
} format_parser;

/* A message at the token at hand. */
#define FORMAT_FAIL(p, ...) (kir_error((p)->d, (p)->tline, (p)->tcol, __VA_ARGS__), false)

void format_next(format_parser *p);
/* How many characters of the token at hand a message shows. */
int format_shown(const format_parser *p);
bool format_is(const format_parser *p, const char *word);
/* The token at hand is a word that goes on with the statement. */
bool format_more(const format_parser *p);
/* Takes a bracket; where: "after the pieces". */
bool format_expect(format_parser *p, char kind, const char *where);
/* An integer of at most 7 digits. */
bool format_int(const char *s, size_t n, int *out);
bool format_number(format_parser *p, const char *what, int min, int max, int *out);
bool format_positive(format_parser *p, const char *s, size_t n, const char *what, double *out);
/* Index of the token at hand in words, which end with NULL; -1 if it is none of them. */
int format_word(const format_parser *p, const char *const *words);

/* One statement about a side, its keyword taken. */
bool format_parse_side(format_parser *p, int statement, kir_side *s);
/* tensor NAME [AXES] { ITEMS }, its keyword taken. */
bool format_parse_tensor(format_parser *p);

#endif
