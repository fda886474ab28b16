/* SPDX-License-Identifier: Apache-2.0 */
/* newer.c -- see newer.h. A module's sections have an order: capabilities come first, then
 * extensions, and decorations before the functions they are of; so functions are found first
 * and everything else is one walk.
 */
#include "newer.h"
#include "words.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of the SPIR-V specification. */
enum {
	OP_NAME = 5,
	OP_EXTENSION = 10,
	OP_CAPABILITY = 17,
	OP_CONSTANT = 43,
	OP_FUNCTION = 54,
	OP_FUNCTION_PARAMETER = 55,
	OP_FUNCTION_END = 56,
	OP_FUNCTION_CALL = 57,
	OP_DECORATE = 71,
	LINKAGE_ATTRIBUTES = 41
};

const char *const kspv_newer_call[KSPV_NNEWER] = {
#define X(name, call, op, capability, extension) call,
	KSPV_NEWER(X)
#undef X
};

static const uint32_t ops[] = {
#define X(name, call, op, capability, extension) op,
	KSPV_NEWER(X)
#undef X
};

static const uint32_t capabilities[] = {
#define X(name, call, op, capability, extension) capability,
	KSPV_NEWER(X)
#undef X
};

static const char *const extensions[] = {
#define X(name, call, op, capability, extension) extension,
	KSPV_NEWER(X)
#undef X
};

typedef struct spelling {
	const uint32_t *in;
	size_t n;
	uint32_t *out;
	size_t at;      /* words written                                               */
	uint8_t *call;  /* by number: 1 + which instruction a call of it is            */
	uint8_t *gone;  /* by number: its declaration goes, and what is said of it     */
	size_t *number; /* by number: where its constant is                            */
	bool used[KSPV_NNEWER];
	bool any, ok;
} spelling;

static uint32_t op_of(const uint32_t *w)
{
	return w[0] & 0xffff;
}

static uint32_t words_of(const uint32_t *w)
{
	return w[0] >> 16;
}

static void find_function(spelling *s, const uint32_t *w)
{
	const char *name = (const char *)(w + 3);

	if (words_of(w) < 5 || w[2] != LINKAGE_ATTRIBUTES || w[1] >= s->in[KSPV_BOUND])
		return;
	for (unsigned i = 0; i < KSPV_NNEWER; i++)
		if (!strncmp(name, kspv_newer_call[i], strlen(kspv_newer_call[i]))) {
			s->call[w[1]] = (uint8_t)(i + 1);
			s->gone[w[1]] = 1;
			s->used[i] = s->any = true;
		}
}

/* The functions that stand for instructions, their parameters, and constants. */
static void learn(spelling *s)
{
	bool inside = false;

	for (size_t at = KSPV_HEADER; s->ok && at < s->n; at += words_of(s->in + at)) {
		const uint32_t *w = s->in + at;
		uint32_t op = op_of(w);

		if (op == OP_DECORATE)
			find_function(s, w);
		if (op != OP_CONSTANT && op != OP_FUNCTION && op != OP_FUNCTION_PARAMETER)
			continue;
		s->ok = words_of(w) > 2 && w[2] < s->in[KSPV_BOUND];
		if (s->ok && op == OP_CONSTANT)
			s->number[w[2]] = at;
		else if (s->ok && op == OP_FUNCTION)
			inside = s->call[w[2]] != 0;
		else if (s->ok)
			s->gone[w[2]] = inside;
	}
}

static void put(spelling *s, const uint32_t *w, size_t n)
{
	memcpy(s->out + s->at, w, n * sizeof *w);
	s->at += n;
}

static void put_op(spelling *s, uint32_t op, size_t n)
{
	s->out[s->at++] = (uint32_t)n << 16 | op;
}

static void put_capabilities(spelling *s)
{
	for (unsigned i = 0; i < KSPV_NNEWER; i++)
		if (s->used[i]) {
			put_op(s, OP_CAPABILITY, 2);
			put(s, &capabilities[i], 1);
		}
}

static void put_extensions(spelling *s)
{
	for (unsigned i = 0; i < KSPV_NNEWER; i++) {
		uint32_t text[16] = { 0 };
		size_t n = strlen(extensions[i]) / 4 + 1;
		bool known = false;

		for (unsigned k = 0; k < i; k++)
			known |= s->used[k] && !strcmp(extensions[k], extensions[i]);
		if (!s->used[i] || known)
			continue;
		memcpy(text, extensions[i], strlen(extensions[i]));
		put_op(s, OP_EXTENSION, n + 1);
		put(s, text, n);
	}
}

/* A product's last operand says what its bits are: a literal, which the call has as a number.
 */
static void put_product(spelling *s, const uint32_t *w)
{
	bool whole = words_of(w) == 9 && w[8] < s->in[KSPV_BOUND];
	size_t literal = whole ? s->number[w[8]] : 0;

	if (!literal) {
		s->ok = false;
		return;
	}
	put_op(s, ops[KSPV_NEWER_PRODUCT], 8);
	put(s, w + 1, 2);
	put(s, w + 4, 4);
	put(s, s->in + literal + 3, 1);
}

static bool is_call(const spelling *s, const uint32_t *w)
{
	return op_of(w) == OP_FUNCTION_CALL && words_of(w) > 3 && w[3] < s->in[KSPV_BOUND] &&
	       s->call[w[3]];
}

static bool is_gone(const spelling *s, const uint32_t *w)
{
	return (op_of(w) == OP_NAME || op_of(w) == OP_DECORATE) && words_of(w) > 1 &&
	       w[1] < s->in[KSPV_BOUND] && s->gone[w[1]];
}

static void put_call(spelling *s, const uint32_t *w)
{
	unsigned which = s->call[w[3]] - 1u;

	if (which == KSPV_NEWER_PRODUCT) {
		put_product(s, w);
		return;
	}
	put_op(s, ops[which], words_of(w) - 3);
	put(s, w + 4, words_of(w) - 4);
}

static void rewrite(spelling *s)
{
	bool head = true, inside = false;

	put(s, s->in, KSPV_HEADER);
	put_capabilities(s);
	for (size_t at = KSPV_HEADER; at < s->n; at += words_of(s->in + at)) {
		const uint32_t *w = s->in + at;
		uint32_t op = op_of(w);

		if (head && op != OP_CAPABILITY) {
			put_extensions(s);
			head = false;
		}
		if (op == OP_FUNCTION)
			inside = s->call[w[2]] != 0;
		if (is_call(s, w))
			put_call(s, w);
		else if (!inside && !is_gone(s, w))
			put(s, w, words_of(w));
		inside &= op != OP_FUNCTION_END;
	}
}

/* Room for all of it: a call loses more words than its instruction has. */
static bool make_room(spelling *s)
{
	size_t bound = s->in[KSPV_BOUND];

	s->out = malloc((s->n + KSPV_NNEWER * 20) * sizeof *s->out);
	s->call = calloc(bound, sizeof *s->call);
	s->gone = calloc(bound, sizeof *s->gone);
	s->number = calloc(bound, sizeof *s->number);
	return s->out && s->call && s->gone && s->number;
}

bool kspv_spell_newer(kspv_words *module)
{
	spelling s = { .in = (const uint32_t *)(const void *)module->bytes,
		       .n = module->n / 4,
		       .ok = true };
	bool enough = false;

	snprintf(module->why, sizeof module->why, "the emitter's module isn't sound");
	if (kspv_sound(s.in, s.n)) {
		enough = make_room(&s);
		snprintf(module->why, sizeof module->why, "out of memory");
	}
	if (enough)
		learn(&s);
	if (enough && s.ok && s.any)
		rewrite(&s);
	if (enough && !s.ok)
		snprintf(
		    module->why, sizeof module->why,
		    "the emitter's module has numbers beyond its bound, or a matrix product "
		    "whose kind of factors is none");
	if (enough && s.ok && s.any) {
		free(module->bytes);
		module->bytes = (char *)s.out;
		module->n = s.at * 4;
		s.out = NULL;
	}
	free(s.out);
	free(s.call);
	free(s.gone);
	free(s.number);
	return enough && s.ok;
}
