/* SPDX-License-Identifier: Apache-2.0 */
/* format_priv.h -- how a declaration is kept, shared by format*.c and nobody else.
 *
 * A tensor is a list of items, as written. An item's pieces mean: for a leaf, how its elements
 * are indexed (innermost last); for a group, along what its items are repeated.
 */
#ifndef KVJIT_FORMAT_PRIV_H
#define KVJIT_FORMAT_PRIV_H

#include "format.h"

enum { FORMAT_MAX_DEPTH = 6, FORMAT_MAX_ITEMS = 64 };

/* axis / div % mod: 't' token in the page, 'h' KV head, 'd' element of the head, 'g' scale
 * group; div 1 and mod 0 when not written. */
struct format_piece {
	char axis;
	int div, mod;
};

enum format_item_kind { FORMAT_LEAF, FORMAT_GROUP, FORMAT_PAD, FORMAT_ALIGN };

struct format_item {
	enum format_item_kind kind;
	int line, col;
	kir_stream stream;      /* FORMAT_LEAF                        */
	int64_t bytes;          /* FORMAT_PAD, FORMAT_ALIGN           */
	unsigned npiece, nitem; /* leaf and group; group              */
	struct format_piece piece[KIR_PIECES];
	struct format_item *item;
};

struct kir_format_tensor {
	const char *name;
	int line, col;
	unsigned naxis, nitem;
	char axis[2]; /* h, t: those with run-time strides, outermost first       */
	struct format_item *item;
};

extern const char *const kir_stream_names[KIR_NSTREAM];

/* Statements about a side, in printing order, and the words of their values. */
enum format_statement {
	FORMAT_ELEM,
	FORMAT_SCALE,
	FORMAT_MEAN,
	FORMAT_ROTATE,
	FORMAT_APPLY,
	FORMAT_ROUND,
	FORMAT_NAN,
	FORMAT_PACK,
	FORMAT_STATEMENTS
};
extern const char *const format_statements[FORMAT_STATEMENTS + 1];
extern const char *const format_grans[], *const format_means[], *const format_rounds[],
                                                                    *const format_nans[],
                                                                        *const format_applies[];
/* Integers of 4 bits: elements of stored codes only, s8 wherever they are values. */
#define FORMAT_S4 "s4"
#define FORMAT_U4 "u4"

static inline int format_side(kir_stream s)
{
	return (int)s % KIR_SIDES;
}

/* A side's letter in the text. */
static inline char format_letter(int side)
{
	return "kvr"[side];
}

/* A side's element as formats write it: s4 is the integer s8 in 4 bits. */
const char *format_elem_name(const kir_side *s);

/* Whether the format needs stream s. */
static inline bool format_needs(const kir_format *f, kir_stream s)
{
	int side = format_side(s);

	if ((side == 1 && f->shared) || (side == 2 && !f->rest))
		return false;
	return s < KIR_S_ks || format_stored(&f->side[side]);
}

/* Whether side's rules make sense alone; messages are about line `line`. */
bool format_check_side(const kir_format *f, int side, int line, kir_diag *d);
/* What holds for every shape: each stream that is needed appears once and each axis is covered
 * once. Messages point at the lines of the text. */
bool kir_format_check(const kir_format *f, kir_diag *d);

/* As few digits as read back the same. */
void format_print_number(double x, kir_text *out);

/* The rules of k for K and of v for V under the name K--V, for problems whose two formats
 * differ. Its tensors say nothing about where anything lies: addresses come from k's and v's
 * layouts. */
const kir_format *kir_format_pair(kir_module *m, const kir_format *k, const kir_format *v,
                                  kir_diag *d);

#endif
