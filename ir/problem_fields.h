/* SPDX-License-Identifier: Apache-2.0 */
/* problem_fields.h -- the rows of problem.def, for problem.c, which reads them, and
 * problem_print.c.
 */
#ifndef KVJIT_PROBLEM_FIELDS_H
#define KVJIT_PROBLEM_FIELDS_H

#include "problem.h"

enum { ELEM, FORMAT, PAIR, NUM, REAL, FLAG, CHOICE, WORD, EXPR, WITH, TARGET };

typedef struct field {
	const char *name;
	uint8_t kinds, type, two;
	size_t member;
	int64_t lo, hi, step;
	const char *words, *doc;
} field;

/* clang-format off */
enum {
#define FIELD(name, kinds, type, member, two, lo, hi, step, words, doc) F_##name,
#include "problem.def"
	NFIELDS
};
/* clang-format on */

extern const field kir_fields[NFIELDS];
extern const char *const kir_kinds[KIR_NKIND]; /* "attn", ... */

/* Where the problem holds the field's value. */
static inline void *field_of(const kir_problem *p, const field *f)
{
	return (char *)p + f->member;
}

/* What out= is where it isn't given. */
kir_elem problem_default_out(const kir_problem *p);

#endif
