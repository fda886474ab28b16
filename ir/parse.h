/* SPDX-License-Identifier: Apache-2.0 */
/* parse.h -- what lex.c, parse_type.c, parse_op.c and parse.c share.
 *
 * Functions that return bool have reported what is wrong when they return false; the line
 * loop then goes on behind the op. Everything is bounded: recursion by KIR_MAX_DEPTH, memory
 * by KIR_MAX_NODES and KIR_MAX_TYPES.
 */
#ifndef KVJIT_KIR_PARSE_H
#define KVJIT_KIR_PARSE_H

#include "internal.h"

typedef struct kir_lex {
	const char *at, *end, *line_start;
	int line;
} kir_lex;

/* A name in scope. ref 0: its op was wrong, which has been said. */
typedef struct kir_symbol {
	const char *name;
	uint32_t len, next, hash;
	int line;
	kir_ref ref;
} kir_symbol;

#define KIR_BUCKETS 4096

typedef struct kir_parser {
	kir_module *m;
	kir_func *f;
	kir_diag *d;
	kir_lex lex;
	bool failed, stop; /* stop: a limit is reached, nothing more is read    */
	unsigned depth;
	kir_symbol *symbol; /* a stack; symbol[0] is unused                     */
	unsigned nsymbol, symbol_cap;
	uint32_t bucket[KIR_BUCKETS];
} kir_parser;

/* An operand before its type is known. */
typedef struct kir_term {
	kir_ref ref; /* 0: a literal                                           */
	bool real;   /* spelled as a float                                     */
	kir_elem suffix;
	int64_t i;
	double f;
	kir_lex where;
} kir_term;

/* -- lex.c -- */

void kir_lex_blank(kir_parser *p); /* to the next token on this line            */
void kir_lex_space(kir_parser *p); /* to the next token                         */
bool kir_lex_line_end(kir_parser *p);
bool kir_lex_is(kir_parser *p, char c);                /* next on this line            */
bool kir_lex_take(kir_parser *p, char c);              /* the same, and past it         */
bool kir_lex_want(kir_parser *p, char c);              /* or an error                   */
size_t kir_lex_word(kir_parser *p, const char **word); /* letters, digits, _ and .  */
bool kir_lex_keyword(kir_parser *p, const char *word); /* and past it               */
bool kir_lex_int(kir_parser *p, int64_t *x);           /* or an error               */
bool kir_lex_literal(kir_parser *p, kir_term *t);
/* The name after % or @; an error if there is none. */
size_t kir_lex_name(kir_parser *p, char sigil, const char **name);
/* Skips an op that starts here, with the regions it opens. */
void kir_lex_skip_op(kir_parser *p);
bool kir_fail(kir_parser *p, const kir_lex *where, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* " (did you mean 'x'?)" for the closest of n names, or "". */
const char *kir_closest(const char *word, size_t len, const char *(*name)(unsigned), unsigned n,
                        char buf[64]);

/* -- parse.c -- */

bool kir_define(kir_parser *p, const char *name, size_t len, kir_ref ref, const kir_lex *where);
const kir_symbol *kir_lookup(const kir_parser *p, const char *name, size_t len);
void kir_scope_end(kir_parser *p, unsigned nsymbol);

/* -- parse_type.c -- */

bool kir_parse_type(kir_parser *p, kir_type_id *type);
bool kir_parse_elem(kir_parser *p, kir_elem *e);

/* -- parse_op.c -- */

bool kir_parse_body(kir_parser *p);

#endif
