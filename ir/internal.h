/* SPDX-License-Identifier: Apache-2.0 */
/* internal.h -- what the files of ir/ share and nobody else includes. */
#ifndef KVJIT_KIR_INTERNAL_H
#define KVJIT_KIR_INTERNAL_H

#include "kir.h"

#define KIR_MAX_NODES (1u << 20)
#define KIR_MAX_TEXT  ((size_t)16 << 20)
#define KIR_MAX_DEPTH 64
#define KIR_MAX_NAME  80
#define KIR_MAX_TYPES 8192
#define KIR_MAX_COUNT ((int64_t)1 << 24) /* elements of a value                  */
#define KIR_MAX_DIM   ((int64_t)1 << 40)
#define KIR_MAX_DYN   4 /* run-time strides of a parameter                      */

/* Room for one more element behind `used`: a larger copy of old when cap is reached. */
void *kir_grow(kir_module *m, void *old, unsigned used, unsigned *cap, size_t size);

/* -- types -- */

/* Fills in the pieces of a contiguous buffer; false when an extent but the first is `?` or
 * the size doesn't fit. */
bool kir_fill_pieces(kir_type *t);
bool kir_is_contiguous(const kir_type *t);
/* Highest run-time stride + 1. */
unsigned kir_type_nstride(const kir_type *t);
/* Bytes from the lowest to the end of the highest address; -1 unless all is static. */
int64_t kir_type_span(const kir_type *t);

/* -- rows of ops.def -- */

#define KIR_MAX_ROW 30

typedef struct kir_slot {
	const char *name; /* of a named operand, not terminated            */
	unsigned len;
	char letter;
	bool optional, many;
} kir_slot;

/* The operand columns of an op; returns how many. */
unsigned kir_row(kir_op op, kir_slot slot[KIR_MAX_ROW]);
unsigned kir_row_attrs(kir_op op, kir_attr attr[KIR_MAX_ATTRS]);
/* Column letter of operand k of an op with these operands; 0 if it has no such operand. */
char kir_src_letter(const kir_func *f, kir_op op, const kir_ref *src, unsigned nsrc,
                    unsigned k);
/* Position of a word in a comma-separated list, -1 if it isn't there. */
int kir_word_index(const char *words, const char *word, size_t len);
/* Word i of such a list; len 0 if there are fewer. */
const char *kir_word_at(const char *words, int64_t i, size_t *len);
/* Bounds of a numeric knob ("0:1024"); false if its values are words. */
bool kir_knob_range(unsigned knob, long *lo, long *hi);

/* -- literals (literal.c) -- */

double kir_round_to(kir_elem e, double x);
/* Element type that a literal without suffix takes at operand k, KIR_VOID where its place
 * doesn't say (then s64 or f32, by its spelling). Operands that are literals may be 0 in
 * src. `want` are the types a yield is expected to give, or NULL. Shared by the parser and
 * the printer, which is what makes the suffix exact. */
kir_elem kir_literal_elem(const kir_func *f, kir_op op, kir_type_id type, const kir_ref *src,
                          unsigned nsrc, unsigned k, const kir_type_id *want);
/* Types the yield that closes a region of `op` should give; `first` is the yield of its first
 * region when it closes the second, else 0. False where they aren't known or aren't n. */
bool kir_yield_types(const kir_func *f, kir_ref op, kir_ref first, unsigned n,
                     kir_type_id want[KIR_MAX_SRC]);
/* Whether the op has a buffer with an index list. */
bool kir_is_access(kir_op op);
void kir_print_float(kir_text *out, kir_elem e, double x);

/* -- names (names.c) -- */

/* The name each node prints as, without %, unique in its scope. */
typedef struct kir_names {
	uint32_t *at; /* offset into pool, for each node                       */
	kir_text pool;
} kir_names;

void kir_names_make(kir_names *names, const kir_func *f);
void kir_names_free(kir_names *names);
static inline const char *kir_name(const kir_names *names, kir_ref n)
{
	return names->pool.text + names->at[n];
}
/* Only digits: such a name isn't kept, the printer counts anew. */
bool kir_is_number(const char *s, size_t len);

#endif
