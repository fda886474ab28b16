/* SPDX-License-Identifier: Apache-2.0 */
/* xe.c -- ops of a sub-group: its L lanes hold a vector's elements in equal parts, lane l
 * elements l * k to l * k + k - 1. To the interpreter they are vectors like others.
 */
#include "interp.h"

#include <math.h>
#include <string.h>

static void copy(kref_slot *to, int64_t k, const kref_slot *from, int64_t i)
{
	memcpy((char *)to->p + 8 * k, (const char *)from->p + 8 * i, 8);
}

/* Row m of the result is component m, column n lane n. A lane of a holds its share of the
 * contraction's steps side by side for each row; a lane of b holds its column, from the first
 * step to the last. */
static void dpas(kref_state *r, kir_ref n, int64_t lanes)
{
	kref_slot *s = &r->slot[n];
	const kref_slot *acc = kref_in(r, n, 0), *a = kref_in(r, n, 1), *b = kref_in(r, n, 2);
	int64_t rows = s->count / lanes, depth = b->count / lanes, pair = depth / lanes;

	for (int64_t l = 0; l < lanes; l++)
		for (int64_t m = 0; m < rows; m++) {
			int64_t at = l * rows + m, sum = 0;
			double x = 0;

			for (int64_t k = 0; k < depth; k++) {
				int64_t i = (k / pair * rows + m) * pair + k % pair;

				if (s->flt)
					x += a->f[i] * b->f[l * depth + k];
				else
					sum += a->i[i] * b->i[l * depth + k];
			}
			if (s->flt)
				s->f[at] = acc->f[at] + x;
			else
				s->i[at] = kref_wrap(s->elem, acc->i[at] + sum);
		}
	if (s->flt)
		kref_round(r, s->elem, s->f, s->count);
}

static bool load2d(kref_state *r, kir_ref n, int64_t lanes)
{
	kref_slot *s = &r->slot[n];
	const kref_mem *m = r->slot[s->buf].mem;
	bool trans = kir_attr_of(r->f, n, KIR_ATTR_trans);
	int64_t unit = kir_attr_of(r->f, n, KIR_ATTR_unit), k = s->count / lanes;
	int64_t pitch = kir_attr_of(r->f, n, KIR_ATTR_pitch);
	int64_t x = kir_attr_of(r->f, n, KIR_ATTR_x), y = kir_attr_of(r->f, n, KIR_ATTR_y);
	int64_t rows = trans ? lanes : k / unit, cols = trans ? k : lanes * unit;
	int64_t live = s->upto ? r->slot[s->upto].i[0] - y : rows;
	int64_t size = kir_elem_bytes(s->elem), idx[KIR_RANK] = { 0 };

	for (unsigned i = 0; i < s->nindex; i++)
		idx[i] = kref_in(r, n, s->first + i)->i[0];
	memset(s->p, 0, (size_t)s->count * 8);
	for (int64_t row = 0; row < rows && row < live; row++) {
		unsigned char *p;

		if (!pitch) /* the next index but one to the last is another row */
			idx[m->type->rank - 2] += row ? 1 : y;
		p = kref_span(r, n, m, idx, (pitch ? (y + row) * pitch : 0) + x * unit * size,
		              cols * size);

		if (!p)
			return false;
		for (int64_t c = 0; c < cols; c++) {
			int64_t at = trans ? row * k + c : c / unit * k + row * unit + c % unit;
			int64_t off = c * size;

			kref_decode(r, s->elem, p, &off, 1, s->flt ? s->f + at : NULL,
			            s->flt ? NULL : s->i + at);
		}
	}
	return true;
}

static void reduce(kref_state *r, kir_ref n, int64_t lanes)
{
	kref_slot *s = &r->slot[n];
	const kref_slot *x = kref_in(r, n, 0);
	bool add = r->f->node[n].op == KIR_OP_xe_reduce_add;
	int64_t k = s->count / lanes;

	for (int64_t i = 0; i < s->count; i++) {
		double f = add || !s->flt ? 0 : x->f[i % k]; /* all NaN: NaN */
		int64_t sum = add || s->flt ? 0 : x->i[i % k];

		for (int64_t at = i % k; at < s->count; at += k)
			if (s->flt)
				f = add ? f + x->f[at] : fmax(f, x->f[at]);
			else
				sum = add ? sum + x->i[at] : sum > x->i[at] ? sum : x->i[at];
		if (s->flt)
			s->f[i] = f;
		else
			s->i[i] = kref_wrap(s->elem, sum);
	}
	if (s->flt)
		kref_round(r, s->elem, s->f, s->count);
}

static void pack(kref_state *r, kir_ref n, int64_t lanes)
{
	kref_slot *s = &r->slot[n];
	const kref_slot *x = kref_in(r, n, 0), *y = kref_in(r, n, 1);
	int64_t k = s->count / lanes, kx = x->count / lanes, ky = k - kx;

	for (int64_t i = 0; i < s->count; i++) {
		int64_t l = i / k, c = i % k;

		if (c < kx)
			copy(s, i, x, l * kx + c);
		else
			copy(s, i, y, l * ky + c - kx);
	}
}

static void part(kref_state *r, kir_ref n, int64_t lanes)
{
	kref_slot *s = &r->slot[n];
	const kref_slot *x = kref_in(r, n, 0);
	int64_t k = s->count / lanes, start = kir_attr_of(r->f, n, KIR_ATTR_start);
	int64_t every = kir_attr_of(r->f, n, KIR_ATTR_every);

	for (int64_t i = 0; i < s->count; i++)
		copy(s, i, x, i / k * (x->count / lanes) + start + i % k * every);
}

bool kref_xe(kref_state *r, kir_ref n)
{
	kref_slot *s = &r->slot[n];
	int64_t lanes = r->f->target->lanes;

	switch (r->f->node[n].op) {
	case KIR_OP_xe_dpas: dpas(r, n, lanes); return true;
	case KIR_OP_xe_load2d: return load2d(r, n, lanes);
	case KIR_OP_xe_reduce_add:
	case KIR_OP_xe_reduce_max: reduce(r, n, lanes); return true;
	case KIR_OP_xe_repeat:
		for (int64_t i = 0; i < s->count; i++)
			copy(s, i, kref_in(r, n, 0), i * kref_in(r, n, 0)->count / s->count);
		return true;
	case KIR_OP_xe_pack: pack(r, n, lanes); return true;
	case KIR_OP_xe_zip: /* lanes or not, it is the elements by turns */
		for (int64_t i = 0; i < s->count; i++)
			copy(s, i, kref_in(r, n, (unsigned)(i % 2)), i / 2);
		return true;
	default: part(r, n, lanes); return true;
	}
}
