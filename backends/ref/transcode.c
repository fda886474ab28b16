/* SPDX-License-Identifier: Apache-2.0 */
/* transcode.c -- tokens of one cache into slots of another, side by side from the definition:
 *
 *     codes and scales mean the same in both formats:  their bytes
 *     otherwise:  d = stored scale * handed-over scale (those there are)
 *                 x = (code - zero point) * d, rounded to f32; written as a row of f32 would be
 *
 * In KREF_ROUND d is rounded to f32 too.
 */
#include "interp.h"

#include <stdlib.h>
#include <string.h>

/* One side of both caches. */
typedef struct pair {
	const kir_side *f[2]; /* read, written */
	const kref_mem *code[2], *scale[2], *given[2];
	int64_t dim, page[2];
	bool move;
} pair;

static double step(const kref_state *r, double x)
{
	return r->mode == KREF_ROUND ? (double)(float)x : x;
}

/* A stream's row, or its one element where it has no columns, bit for bit. */
static bool move_bytes(kref_state *r, kir_ref n, const kref_mem *from, const int64_t *src,
                       const kref_mem *to, const int64_t *dst, unsigned char *room)
{
	unsigned columns = from->type->rank == 4;
	int64_t dim = columns ? from->type->dim[3] : 1;
	size_t bytes = (size_t)kir_elem_bytes((kir_elem)from->type->elem);
	kref_window w;

	if (!kref_touch(r, n, from, src, 3, &dim, columns, false, &w))
		return false;
	for (int64_t k = 0; k < dim; k++)
		memcpy(room + (size_t)k * bytes, w.p + (columns ? w.off[0][k] : 0), bytes);
	if (!kref_touch(r, n, to, dst, 3, &dim, columns, true, &w))
		return false;
	for (int64_t k = 0; k < dim; k++) {
		int64_t off = columns ? w.off[0][k] : 0;

		memcpy(w.p + off, room + (size_t)k * bytes, bytes);
		if (w.init)
			memset(w.init + off, 1, bytes);
	}
	return true;
}

static bool move_row(kref_state *r, kir_ref n, const pair *s, const int64_t *src,
                     const int64_t *dst, const kref_row *w)
{
	const kir_side *a = s->f[0], *b = s->f[1];

	if (a->bits == 4 && a->pack != b->pack) {
		if (!kref_get_codes(r, n, a, s->code[0], src, 3, s->dim, w->x) ||
		    !kref_put_codes(r, n, b, s->code[1], dst, 3, s->dim, w->x))
			return false;
	} else if (!move_bytes(r, n, s->code[0], src, s->code[1], dst, (unsigned char *)w->x)) {
		return false;
	}
	return !s->scale[0] ||
	       move_bytes(r, n, s->scale[0], src, s->scale[1], dst, (unsigned char *)w->x);
}

/* The row's values in w->x. */
static bool read_row(kref_state *r, kir_ref n, const pair *s, const int64_t *src,
                     const kref_row *w)
{
	const kir_side *f = s->f[0];
	int64_t group = f->group ? f->group : s->dim, groups = s->dim / group;
	double given = 1;

	if (!kref_get_codes(r, n, f->bits == 4 ? f : NULL, s->code[0], src, 3, s->dim, w->x))
		return false;
	if (s->given[0] && !kref_get_row(r, n, s->given[0], &src[1], 1, 1, &given))
		return false;
	if (s->scale[0] && !kref_get_row(r, n, s->scale[0], src, 3, groups, w->s))
		return false;
	for (int64_t k = 0; k < s->dim && (s->scale[0] || s->given[0]); k++) {
		double d = given, zero = 0;

		if (s->scale[0])
			d = step(r, kir_side_split(f, w->s[k / group], &zero) * given);
		w->x[k] = step(r, (w->x[k] - zero) * d);
	}
	return true;
}

static bool one_token(kref_state *r, kir_ref n, const pair *s, int64_t from, int64_t to,
                      const kref_row *w)
{
	int64_t heads = s->code[0]->type->dim[1];

	for (int64_t h = 0; h < heads; h++) {
		int64_t src[4] = { from / s->page[0], h, from % s->page[0] };
		int64_t dst[4] = { to / s->page[1], h, to % s->page[1] };
		double given = 1;

		if (s->move) {
			if (!move_row(r, n, s, src, dst, w))
				return false;
			continue;
		}
		if (!read_row(r, n, s, src, w) ||
		    (s->given[1] && !kref_get_row(r, n, s->given[1], &h, 1, 1, &given)) ||
		    !kref_put_quantized(r, n, s->f[1], s->code[1], s->scale[1], given, dst,
		                        s->dim, w))
			return false;
	}
	return true;
}

static void set_up(const kref_state *r, kir_ref n, int i, pair *s)
{
	static const char *const names[2][KIR_SIDES][3] = {
		{ { "from_k", "from_ks", "from_kd" },
		  { "from_v", "from_vs", "from_vd" },
		  { "from_r", "from_rs", "from_kd" } },
		{ { "k", "ks", "kd" }, { "v", "vs", "vd" }, { "r", "rs", "kd" } }
	};
	const kir_module *m = r->f->module;
	const kir_format *f[2] = { m->format[kir_attr_of(r->f, n, KIR_ATTR_from)],
		                   m->format[kir_attr_of(r->f, n, KIR_ATTR_format)] };

	*s = (pair){ 0 };
	for (int l = 0; l < 2; l++) {
		s->f[l] = &f[l]->side[i];
		s->code[l] = kref_buffer(r, n, names[l][i][0]);
		s->scale[l] = kref_buffer(r, n, names[l][i][1]);
		if (kir_side_wants(f[0], f[1], i, l))
			s->given[l] = kref_buffer(r, n, names[l][i][2]);
		if (s->code[l])
			s->page[l] = s->code[l]->type->dim[2];
	}
	s->move = kir_side_moves(s->f[0], s->f[1]);
	if (s->code[0])
		s->dim = s->code[0]->type->dim[3] * kir_side_per(s->f[0]);
}

bool kref_transcode(kref_state *r, kir_ref n)
{
	const kref_mem *lists[2] = { kref_buffer(r, n, "from_slots"),
		                     kref_buffer(r, n, "slots") };
	int64_t tokens = r->slot[kir_operand(r->f, n, "n")].i[0], slot[2], dim = 0;
	pair s[KIR_SIDES];
	bool ok = true;
	kref_row w;

	for (int i = 0; i < KIR_SIDES; i++) {
		set_up(r, n, i, &s[i]);
		dim = s[i].dim > dim ? s[i].dim : dim;
	}
	if (!kref_make_row(r, n, dim, &w))
		return false;
	for (int64_t t = 0; ok && t < tokens; t++) {
		for (int l = 0; ok && l < 2; l++)
			ok = kref_get_int(r, n, lists[l], &t, 1, &slot[l]);
		for (int i = 0; ok && slot[0] >= 0 && slot[1] >= 0 && i < KIR_SIDES; i++)
			ok = !s[i].dim || one_token(r, n, &s[i], slot[0], slot[1], &w);
	}
	free(w.x);
	return ok;
}
