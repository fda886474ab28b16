/* SPDX-License-Identifier: Apache-2.0 */
/* labels.c -- see labels.h. What names a block does so at a place of its own, so that a block's
 * number can be told from the same number of something else.
 */
#include "labels.h"
#include "words.h"

#include <stdlib.h>
#include <string.h>

/* Of the SPIR-V specification. */
enum {
	OP_FUNCTION_END = 56,
	OP_PHI = 245,
	OP_LOOP_MERGE = 246,
	OP_SELECTION_MERGE = 247,
	OP_LABEL = 248,
	OP_BRANCH = 249,
	OP_BRANCH_CONDITIONAL = 250,
	OP_SWITCH = 251
};

typedef struct renumber {
	uint32_t *fresh; /* by number: the block's new one; 0: no block */
	uint32_t bound, next;
	bool ok;
} renumber;

static void declare(renumber *r, uint32_t *at)
{
	if (*at >= r->bound || r->fresh[*at]) {
		r->ok = false;
		return;
	}
	r->fresh[*at] = r->next;
	*at = r->next++;
}

static void name(renumber *r, uint32_t *at)
{
	if (*at >= r->bound || !r->fresh[*at])
		r->ok = false;
	else
		*at = r->fresh[*at];
}

/* w: the instruction, of n words. Literals of a switch are of two words, as its phase is 64
 * bits. */
static void rename_uses(renumber *r, uint32_t *w, unsigned n)
{
	switch (w[0] & 0xffff) {
	case OP_PHI:
		for (unsigned i = 4; i < n; i += 2)
			name(r, &w[i]);
		break;
	case OP_LOOP_MERGE: name(r, &w[2]); /* fall through */
	case OP_SELECTION_MERGE:
	case OP_BRANCH: name(r, &w[1]); break;
	case OP_BRANCH_CONDITIONAL:
		name(r, &w[2]);
		name(r, &w[3]);
		break;
	case OP_SWITCH:
		name(r, &w[2]);
		for (unsigned i = 5; i < n; i += 3)
			name(r, &w[i]);
		break;
	default: break;
	}
}

/* Words from `at` to the end of the function that is there, or to the end. */
static size_t end_of(const uint32_t *word, size_t at, size_t n)
{
	while (at < n && (word[at] & 0xffff) != OP_FUNCTION_END)
		at += word[at] >> 16;
	return at < n ? at + (word[at] >> 16) : n;
}

/* Blocks are named in their function alone: what another one calls so is no matter. */
static void number_function(renumber *r, uint32_t *word, size_t from, size_t to)
{
	memset(r->fresh, 0, r->bound * sizeof *r->fresh);
	for (size_t at = from; at < to; at += word[at] >> 16)
		if ((word[at] & 0xffff) == OP_LABEL)
			declare(r, &word[at + 1]);
	for (size_t at = from; r->ok && at < to; at += word[at] >> 16)
		rename_uses(r, &word[at], word[at] >> 16);
}

bool kspv_number_labels(uint32_t *word, size_t n)
{
	renumber r = { .ok = kspv_sound(word, n) };

	if (!r.ok)
		return false;
	r.bound = r.next = word[KSPV_BOUND];
	r.fresh = calloc(r.bound, sizeof *r.fresh);
	if (!r.fresh)
		return false;
	for (size_t at = KSPV_HEADER, to; r.ok && at < n; at = to) {
		to = end_of(word, at, n);
		number_function(&r, word, at, to);
	}
	word[KSPV_BOUND] = r.next;
	free(r.fresh);
	return r.ok && r.next <= KSPV_MOST;
}
