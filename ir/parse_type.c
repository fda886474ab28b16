/* SPDX-License-Identifier: Apache-2.0 */
/* parse_type.c -- types: f32, f32<4x128>, f32[?,32,128 | 0:$0, 1:$1, 2:4]. */
#include "parse.h"

#include <ctype.h>
#include <string.h>

static const char *elem_name(unsigned i)
{
	return i == KIR_VOID ? NULL : kir_elems[i].name;
}

bool kir_parse_elem(kir_parser *p, kir_elem *e)
{
	kir_lex where = p->lex;
	const char *word;
	char buf[64];
	size_t len = kir_lex_word(p, &word);
	for (int i = KIR_VOID + 1; i < KIR_NELEM; i++) {
		if (strlen(kir_elems[i].name) != len || memcmp(kir_elems[i].name, word, len))
			continue;
		*e = (kir_elem)i;
		return true;
	}
	where.at = word;
	if (!len)
		return kir_fail(p, &where, "a type is expected here");
	return kir_fail(p, &where, "unknown type '%.*s'%s", len > 40 ? 40 : (int)len, word,
	                kir_closest(word, len, elem_name, KIR_NELEM, buf));
}

/* Digits only: in 4x128 the x belongs to neither number. */
static bool extent(kir_parser *p, int64_t *x)
{
	kir_lex where;
	kir_lex_blank(p);
	where = p->lex;
	*x = 0;
	while (p->lex.at < p->lex.end && isdigit((unsigned char)*p->lex.at) &&
	       *x <= KIR_MAX_DIM)
		*x = *x * 10 + (*p->lex.at++ - '0');
	if (*x < 1 || *x > KIR_MAX_DIM)
		return kir_fail(p, &where, "an extent is a number from 1 to %lld",
		                (long long)KIR_MAX_DIM);
	return true;
}

static bool value_dims(kir_parser *p, kir_type *t)
{
	kir_lex where = p->lex;
	int64_t count = 1;
	do {
		if (t->rank == KIR_RANK)
			return kir_fail(p, &where, "a type has at most %d dimensions",
			                KIR_RANK);
		if (!extent(p, &t->dim[t->rank]))
			return false;
		if (t->dim[t->rank] > KIR_MAX_COUNT / count)
			return kir_fail(p, &where, "a value has at most %lld elements",
			                (long long)KIR_MAX_COUNT);
		count *= t->dim[t->rank++];
	} while (kir_lex_take(p, 'x'));
	return kir_lex_want(p, '>');
}

static bool number_in(kir_parser *p, int64_t lo, int64_t hi, const char *what, int64_t *x)
{
	kir_lex_blank(p);
	kir_lex where = p->lex;
	if (!kir_lex_int(p, x))
		return false;
	if (*x < lo || *x > hi)
		return kir_fail(p, &where, "%s is a number from %lld to %lld", what,
		                (long long)lo, (long long)hi);
	return true;
}

static bool piece(kir_parser *p, kir_type *t)
{
	int64_t axis, div = 1, mod = 0, stride;
	if (t->npieces == KIR_PIECES)
		return kir_fail(p, &p->lex, "a buffer has at most %d pieces", KIR_PIECES);
	if (!number_in(p, 0, t->rank - 1, "an axis of this buffer", &axis))
		return false;
	if (kir_lex_take(p, '/') && !number_in(p, 1, INT32_MAX, "a divisor", &div))
		return false;
	if (kir_lex_take(p, '%') && !number_in(p, 1, INT32_MAX, "a modulus", &mod))
		return false;
	if (!kir_lex_want(p, ':'))
		return false;
	bool dyn = kir_lex_take(p, '$');
	if (dyn ? !number_in(p, 0, KIR_MAX_DYN - 1, "a run-time stride", &stride)
	        : !number_in(p, -KIR_MAX_DIM, KIR_MAX_DIM, "a stride", &stride))
		return false;
	t->piece[t->npieces++] = (kir_piece){ .axis = (uint8_t)axis,
		                              .dyn = dyn,
		                              .div = (int32_t)div,
		                              .mod = (int32_t)mod,
		                              .stride = stride };
	return true;
}

static bool buffer_dims(kir_parser *p, kir_type *t)
{
	kir_lex where = p->lex;
	t->buffer = true;
	do {
		if (t->rank == KIR_RANK)
			return kir_fail(p, &where, "a type has at most %d dimensions",
			                KIR_RANK);
		if (kir_lex_take(p, '?'))
			t->dim[t->rank] = KIR_DYN;
		else if (!extent(p, &t->dim[t->rank]))
			return false;
		t->rank++;
	} while (kir_lex_take(p, ','));
	if (kir_lex_take(p, '|')) {
		do
			if (!piece(p, t))
				return false;
		while (kir_lex_take(p, ','));
	} else if (!kir_fill_pieces(t)) {
		return kir_fail(p, &where,
		                "without pieces only the first extent may be '?', and the "
		                "buffer must fit in memory");
	}
	return kir_lex_want(p, ']');
}

bool kir_parse_type(kir_parser *p, kir_type_id *type)
{
	kir_type t = { 0 };
	kir_elem e;
	kir_lex where = p->lex;
	if (!kir_parse_elem(p, &e))
		return false;
	t.elem = (uint8_t)e;
	if (kir_lex_take(p, '<') ? !value_dims(p, &t)
	                         : kir_lex_take(p, '[') && !buffer_dims(p, &t))
		return false;
	if (p->m->ntype >= KIR_MAX_TYPES) {
		p->stop = true;
		return kir_fail(p, &where, "there are more than %d types", KIR_MAX_TYPES);
	}
	*type = kir_type_intern(p->m, &t);
	return true;
}
