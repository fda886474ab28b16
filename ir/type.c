/* SPDX-License-Identifier: Apache-2.0 */
/* type.c -- interned types: equal types have equal numbers, so passes compare numbers.
 *
 * Interning is a scan: a module has some tens of types, and the first word tells most apart.
 */
#include "internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static bool same_piece(const kir_piece *a, const kir_piece *b)
{
	return a->axis == b->axis && a->dyn == b->dyn && a->div == b->div && a->mod == b->mod &&
	       a->stride == b->stride;
}

static bool same_type(const kir_type *a, const kir_type *b)
{
	if (a->elem != b->elem || a->rank != b->rank || a->buffer != b->buffer ||
	    a->npieces != b->npieces)
		return false;
	for (unsigned i = 0; i < a->rank; i++)
		if (a->dim[i] != b->dim[i])
			return false;
	for (unsigned i = 0; i < a->npieces; i++)
		if (!same_piece(&a->piece[i], &b->piece[i]))
			return false;
	return true;
}

bool kir_fill_pieces(kir_type *t)
{
	int64_t stride = kir_elem_bytes((kir_elem)t->elem);
	t->npieces = t->rank;
	for (unsigned i = t->rank; i-- > 0;) {
		t->piece[i] = (kir_piece){ .axis = (uint8_t)i, .div = 1, .stride = stride };
		if (!i)
			break;
		if (t->dim[i] < 0 || __builtin_mul_overflow(stride, t->dim[i], &stride))
			return false;
	}
	return true;
}

bool kir_is_contiguous(const kir_type *t)
{
	kir_type full = *t;
	return kir_fill_pieces(&full) && same_type(&full, t);
}

unsigned kir_type_nstride(const kir_type *t)
{
	unsigned n = 0;
	for (unsigned i = 0; i < t->npieces; i++)
		if (t->piece[i].dyn && t->piece[i].stride >= n)
			n = (unsigned)t->piece[i].stride + 1;
	return n;
}

int64_t kir_type_span(const kir_type *t)
{
	int64_t span = kir_elem_bytes((kir_elem)t->elem);
	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *p = &t->piece[i];
		int64_t top = t->dim[p->axis] - 1, bytes;
		if (p->dyn || top < 0 || p->stride < 0)
			return -1;
		top /= p->div;
		if (p->mod && top >= p->mod)
			top = p->mod - 1;
		if (__builtin_mul_overflow(top, p->stride, &bytes) ||
		    __builtin_add_overflow(span, bytes, &span))
			return -1;
	}
	return span;
}

kir_type_id kir_type_intern(kir_module *m, const kir_type *type)
{
	kir_type t = *type;
	if (t.elem == KIR_VOID)
		return KIR_NO_TYPE;
	if (t.buffer && !t.npieces)
		kir_fill_pieces(&t);
	for (unsigned i = 1; i < m->ntype; i++)
		if (same_type(&m->type[i], &t))
			return (kir_type_id)i;
	if (m->ntype > UINT16_MAX)
		abort();
	m->type = kir_grow(m, m->type, m->ntype, &m->type_cap, sizeof t);
	m->type[m->ntype] = t;
	return (kir_type_id)m->ntype++;
}

const kir_type *kir_type_at(const kir_module *m, kir_type_id t)
{
	return &m->type[t];
}

static bool has_strides(const kir_type *t)
{
	for (unsigned i = 0; i < t->npieces; i++)
		if (t->piece[i].dyn)
			return true;
	return false;
}

unsigned kir_grain(const kir_type *t)
{
	unsigned grain = kir_elem_bytes((kir_elem)t->elem);
	int64_t row = t->rank ? t->dim[t->rank - 1] : 0;

	if (grain > 1)
		return grain;
	for (unsigned i = 0; i < t->npieces; i++)
		if (t->piece[i].dyn && t->piece[i].axis + 1 == t->rank)
			return grain;
	for (grain = has_strides(t) ? 64 : 4; row != KIR_DYN && row % grain;)
		grain = grain == 64 ? 4 : grain / 2;
	return grain;
}

int kir_row_stride(const kir_type *t)
{
	int found = -1;

	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *p = &t->piece[i];

		if (p->axis + 2u != t->rank)
			continue;
		if (found >= 0 || !p->dyn || p->div > 1 || p->mod)
			return -1;
		found = (int)p->stride;
	}
	return found;
}

static kir_type_id value(kir_module *m, kir_elem e, unsigned rank, int64_t rows, int64_t cols)
{
	kir_type t = { .elem = (uint8_t)e, .rank = (uint8_t)rank, .dim = { rows, cols } };
	return kir_type_intern(m, &t);
}

kir_type_id kir_scalar(kir_module *m, kir_elem e)
{
	return value(m, e, 0, 0, 0);
}

kir_type_id kir_vector(kir_module *m, kir_elem e, int64_t n)
{
	return value(m, e, 1, n, 0);
}

kir_type_id kir_tile(kir_module *m, kir_elem e, int64_t rows, int64_t cols)
{
	return value(m, e, 2, rows, cols);
}

kir_type_id kir_buffer(kir_module *m, kir_elem e, unsigned rank, const int64_t *dim)
{
	assert(rank <= KIR_RANK);
	kir_type t = { .elem = (uint8_t)e, .rank = (uint8_t)rank, .buffer = true };
	memcpy(t.dim, dim, rank * sizeof *dim);
	kir_fill_pieces(&t);
	return kir_type_intern(m, &t);
}

kir_type_id kir_with_elem(kir_module *m, kir_type_id id, kir_elem e)
{
	kir_type t = m->type[id];
	/* Strides are bytes: a contiguous buffer stays contiguous, another keeps its pieces. */
	if (t.buffer && kir_is_contiguous(&t))
		t.npieces = 0;
	t.elem = (uint8_t)e;
	return kir_type_intern(m, &t);
}

int64_t kir_type_count(const kir_type *t)
{
	int64_t n = 1;
	for (unsigned i = 0; i < t->rank; i++)
		n *= t->dim[i];
	return n;
}

unsigned kir_elem_bytes(kir_elem e)
{
	return (kir_elems[e].bits + 7u) / 8u;
}

bool kir_is_float(kir_elem e)
{
	return e != KIR_VOID && !strchr("IUB", kir_elems[e].kind);
}

bool kir_is_int(kir_elem e)
{
	return kir_elems[e].kind == 'I' || kir_elems[e].kind == 'U';
}

bool kir_is_signed(kir_elem e)
{
	return kir_elems[e].kind == 'I';
}
