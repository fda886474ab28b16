/* SPDX-License-Identifier: Apache-2.0 */
/* transcode.c -- tokens of one cache into slots of another, side by side from the definition:
 *
 *     codes and scales mean the same in both formats:  their bytes
 *     otherwise:  d = stored scale * handed-over scale (those there are)
 *                 x = (code - zero point) * d, rounded to f32; written as a row of f32 would be
 *
 * In KREF_ROUND d is rounded to f32 too.
 *
 * Where tokens share scales of keys they are taken so many at a time, from the first of the
 * lists on: those that aren't one whole group of slots where they go (and, if codes are moved
 * as they are, where they come from) stay where they are, and so does what is left at the end.
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

/* Where the scales of the token at [page, head, token] lie. */
static void scales_at(const kir_side *f, const int64_t *at, int64_t out[4])
{
	memcpy(out, at, 3 * sizeof *out);
	out[3] = 0;
	if (f->tokens)
		out[2] /= f->tokens;
}

static bool move_row(kref_state *r, kir_ref n, const pair *s, const int64_t *src,
                     const int64_t *dst, const kref_row *w)
{
	const kir_side *a = s->f[0], *b = s->f[1];
	int64_t sat[4], dat[4];

	scales_at(a, src, sat);
	scales_at(b, dst, dat);

	if (a->bits == 4 && a->pack != b->pack) {
		if (!kref_get_codes(r, n, a, s->code[0], src, 3, s->dim, w->x) ||
		    !kref_put_codes(r, n, b, s->code[1], dst, 3, s->dim, w->x))
			return false;
	} else if (!move_bytes(r, n, s->code[0], src, s->code[1], dst, (unsigned char *)w->x)) {
		return false;
	}
	return !s->scale[0] ||
	       move_bytes(r, n, s->scale[0], sat, s->scale[1], dat, (unsigned char *)w->x);
}

/* The row's values in w->x. */
static bool read_row(kref_state *r, kir_ref n, const pair *s, const int64_t *src,
                     const kref_row *w)
{
	const kir_side *f = s->f[0];
	int64_t groups = kir_side_scales(f, s->dim), group = s->dim / groups, at[4];
	double given = 1;

	scales_at(f, src, at);

	if (!kref_get_codes(r, n, f->bits == 4 ? f : NULL, s->code[0], src, 3, s->dim, w->x))
		return false;
	if (s->given[0] && !kref_get_row(r, n, s->given[0], &src[1], 1, 1, &given))
		return false;
	if (s->scale[0] && !kref_get_row(r, n, s->scale[0], at, 3, groups, w->s))
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

/* Rows whose scales are found together: from[0..tokens) to `to` and what follows it. */
static bool one_group(kref_state *r, kir_ref n, const pair *s, const int64_t *from, int64_t to,
                      const kref_row *w)
{
	int64_t heads = s->code[0]->type->dim[1], tokens = s->f[1]->tokens;
	double *x = malloc((size_t)(tokens * s->dim) * sizeof *x);
	bool ok = x || kref_fail(r, n, "out of memory");

	for (int64_t h = 0; ok && h < heads; h++) {
		int64_t dst[3] = { to / s->page[1], h, to % s->page[1] };

		for (int64_t t = 0; ok && t < tokens; t++) {
			int64_t src[3] = { from[t] / s->page[0], h, from[t] % s->page[0] };

			ok = read_row(r, n, s, src, w);
			memcpy(x + t * s->dim, w->x, (size_t)s->dim * sizeof *x);
		}
		ok = ok &&
		     kref_put_group(r, n, s->f[1], s->code[1], s->scale[1], dst, s->dim, x);
	}
	free(x);
	return ok;
}

/* Whether n slots are one group of those that share scales. */
static bool is_group(const int64_t *slot, int64_t n)
{
	for (int64_t t = 1; t < n; t++)
		if (slot[t] != slot[0] + t)
			return false;
	return slot[0] % n == 0;
}

/* n tokens one by one, those sides from `first` on. */
static bool each_token(kref_state *r, kir_ref n, const pair *s, int first,
                       int64_t *const slot[2], int64_t tokens, const kref_row *w)
{
	for (int64_t t = 0; t < tokens; t++)
		for (int i = first; slot[0][t] >= 0 && slot[1][t] >= 0 && i < KIR_SIDES; i++)
			if (s[i].dim && !one_token(r, n, &s[i], slot[0][t], slot[1][t], w))
				return false;
	return true;
}

/* The tokens of a group, if they are one. */
static bool whole_group(kref_state *r, kir_ref n, const pair *s, int64_t *const slot[2],
                        int64_t tokens, const kref_row *w)
{
	for (int64_t t = 0; t < tokens; t++)
		if (slot[0][t] < 0 || slot[1][t] < 0)
			return true;
	if (!is_group(slot[1], tokens) || (s[0].move && !is_group(slot[0], tokens)))
		return true;
	if (!s[0].move && !one_group(r, n, &s[0], slot[0], slot[1][0], w))
		return false;
	return each_token(r, n, s, s[0].move ? 0 : 1, slot, tokens, w);
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
	int64_t tokens = r->slot[kir_operand(r->f, n, "n")].i[0], dim = 0, together;
	int64_t *slot[2];
	pair s[KIR_SIDES];
	bool ok = true;
	kref_row w;

	for (int i = 0; i < KIR_SIDES; i++) {
		set_up(r, n, i, &s[i]);
		dim = s[i].dim > dim ? s[i].dim : dim;
	}
	if (!kref_make_row(r, n, dim, &w))
		return false;
	together = s[0].f[1]->tokens ? s[0].f[1]->tokens : 1;
	slot[0] = malloc((size_t)together * 2 * sizeof *slot[0]);
	slot[1] = slot[0] ? slot[0] + together : NULL;
	ok = slot[0] || kref_fail(r, n, "out of memory");
	for (int64_t t = 0; ok && t + together <= tokens; t += together) {
		for (int64_t i = t; i < t + together; i++)
			for (int l = 0; ok && l < 2; l++)
				ok = kref_get_int(r, n, lists[l], &i, 1, &slot[l][i - t]);
		if (ok && together > 1)
			ok = whole_group(r, n, s, slot, together, &w);
		else if (ok)
			ok = each_token(r, n, s, 0, slot, 1, &w);
	}
	free(slot[0]);
	free(w.x);
	return ok;
}
