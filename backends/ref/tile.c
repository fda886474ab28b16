/* SPDX-License-Identifier: Apache-2.0 */
/* tile.c -- ops on the shape of values: splat, iota, reductions, slices, dequant, dot.
 *
 * A tile seen along an axis is outer x dim x inner. Sums are taken in double precision and
 * rounded once, whatever their length.
 */
#include "interp.h"

#include <math.h>
#include <string.h>

typedef struct along {
	int64_t outer, dim, inner;
} along;

static along split(const kir_type *t, int64_t axis)
{
	along a = { 1, 1, 1 };

	for (unsigned d = 0; d < t->rank; d++) {
		if ((int64_t)d < axis)
			a.outer *= t->dim[d];
		else if ((int64_t)d == axis)
			a.dim = t->dim[d];
		else
			a.inner *= t->dim[d];
	}
	return a;
}

/* An op that may leave its axis out works along dimension 0. */
static int64_t axis_of(const kref_state *r, kir_ref n)
{
	return r->slot[n].axis < 0 ? 0 : r->slot[n].axis;
}

static void splat(kref_slot *s, const kref_slot *x)
{
	for (int64_t k = 0; k < s->count; k++)
		memcpy((char *)s->p + 8 * k, x->p, 8);
}

static void spread(kref_slot *s, const kref_slot *x, int64_t axis)
{
	along a = split(s->type, axis);

	for (int64_t k = 0; k < s->count; k++)
		memcpy((char *)s->p + 8 * k, (const char *)x->p + 8 * (k / a.inner % a.dim), 8);
}

static void iota(const kref_state *r, kref_slot *s, int64_t axis)
{
	along a = split(s->type, axis);

	for (int64_t k = 0; k < s->count; k++) {
		int64_t i = k / a.inner % a.dim;

		if (s->flt)
			s->f[k] = (double)i;
		else
			s->i[k] = kref_wrap(s->elem, i);
	}
	if (s->flt)
		kref_round(r, s->elem, s->f, s->count);
}

static double join_floats(kir_op op, double x, double y)
{
	if (op == KIR_OP_reduce_add)
		return x + y;
	if (op == KIR_OP_reduce_amax) {
		y = fabs(y);
		return y > x ? y : x;
	}
	if (isnan(x) || isnan(y))
		return isnan(x) ? y : x;
	return op == KIR_OP_reduce_max ? (x > y ? x : y) : (x < y ? x : y);
}

static int64_t join_ints(kir_op op, int64_t x, int64_t y)
{
	if (op == KIR_OP_reduce_add)
		return (int64_t)((uint64_t)x + (uint64_t)y);
	if (op == KIR_OP_reduce_amax) { /* that of the smallest s64 has no sign to spare */
		y = y < 0 ? (int64_t) - (uint64_t)y : y;
		return (uint64_t)x > (uint64_t)y ? x : y;
	}
	return op == KIR_OP_reduce_min ? (x < y ? x : y) : (x > y ? x : y);
}

static void reduce(kref_state *r, kir_ref n, kref_slot *s, const kref_slot *x)
{
	kir_op op = r->f->node[n].op;
	along a = split(x->type, axis_of(r, n));
	bool zero = op == KIR_OP_reduce_add || op == KIR_OP_reduce_amax;

	for (int64_t o = 0; o < a.outer; o++)
		for (int64_t i = 0; i < a.inner; i++) {
			int64_t at = o * a.dim * a.inner + i, to = o * a.inner + i;

			if (s->flt) {
				double v = zero ? 0 : x->f[at];
				for (int64_t k = !zero; k < a.dim; k++)
					v = join_floats(op, v, x->f[at + k * a.inner]);
				s->f[to] = v;
			} else {
				int64_t v = zero ? 0 : x->i[at];
				for (int64_t k = !zero; k < a.dim; k++)
					v = join_ints(op, v, x->i[at + k * a.inner]);
				s->i[to] = kref_wrap(s->elem, v);
			}
		}
	if (s->flt)
		kref_round(r, s->elem, s->f, s->count);
}

static bool slice(kref_state *r, kir_ref n, kref_slot *s, const kref_slot *x)
{
	int64_t axis = axis_of(r, n), start = kir_attr_of(r->f, n, KIR_ATTR_start);
	along a = split(x->type, axis), b = split(s->type, axis);

	if (start < 0 || start + b.dim > a.dim)
		return kref_fail(r, n, "elements %lld to %lld of %lld", (long long)start,
		                 (long long)(start + b.dim - 1), (long long)a.dim);
	for (int64_t o = 0; o < a.outer; o++)
		memcpy((char *)s->p + 8 * o * b.dim * b.inner,
		       (const char *)x->p + 8 * (o * a.dim + start) * a.inner,
		       (size_t)(8 * b.dim * b.inner));
	return true;
}

static void concat(kref_slot *s, const kref_slot *x, const kref_slot *y, int64_t axis)
{
	along a = split(x->type, axis), b = split(y->type, axis);
	size_t xs = (size_t)(8 * a.dim * a.inner), ys = (size_t)(8 * b.dim * b.inner);

	for (int64_t o = 0; o < a.outer; o++) {
		char *to = (char *)s->p + (size_t)o * (xs + ys);

		memcpy(to, (const char *)x->p + (size_t)o * xs, xs);
		memcpy(to + xs, (const char *)y->p + (size_t)o * ys, ys);
	}
}

static void dequant(kref_state *r, kir_ref n, kref_slot *s, const kref_slot *q,
                    const kref_slot *d, const kref_slot *z)
{
	int64_t group = kir_attr_of(r->f, n, KIR_ATTR_group);
	int64_t cols = s->type->rank ? s->type->dim[s->type->rank - 1] : 1;
	along a = split(s->type, axis_of(r, n));

	for (int64_t k = 0; k < s->count; k++) {
		int64_t at = 0;

		if (d->count != 1 && group)
			at = k / cols * ((cols + group - 1) / group) + k % cols / group;
		else if (d->count != 1)
			at = k / a.inner % a.dim;
		s->f[k] = q->flt ? q->f[k] : (double)q->i[k];
		if (z) {
			s->f[k] -= z->f[at];
			kref_round(r, s->elem, &s->f[k], 1);
		}
		s->f[k] *= d->f[at];
	}
	kref_round(r, s->elem, s->f, s->count);
}

void kref_hadamard(const kref_state *r, kir_elem e, double *x, int64_t n)
{
	for (int64_t h = n / 2; h >= 1; h /= 2) {
		for (int64_t i = 0; i < n; i++) {
			double a = x[i], b;

			if (i & h)
				continue;
			b = x[i + h];
			x[i] = a + b;
			x[i + h] = a - b;
		}
		kref_round(r, e, x, n);
	}
}

static void hadamard(kref_state *r, kir_ref n, kref_slot *s, const kref_slot *x)
{
	int64_t block = kir_attr_of(r->f, n, KIR_ATTR_group);

	memcpy(s->f, x->f, (size_t)s->count * sizeof *s->f);
	for (int64_t k = 0; k < s->count; k += block)
		kref_hadamard(r, s->elem, s->f + k, block);
}

/* Byte and bits of code k of a row: low bits of byte i are code i of each 2 run, high bits
 * code i + run. */
static int64_t byte_of(int64_t k, int64_t run, bool *high)
{
	*high = k / run & 1;
	return k / (2 * run) * run + k % run;
}

static void unpack(kref_state *r, kir_ref n, kref_slot *s, const kref_slot *x)
{
	int64_t run = kir_attr_of(r->f, n, KIR_ATTR_run),
	        half = kir_attr_of(r->f, n, KIR_ATTR_half);
	int64_t cols = s->type->dim[s->type->rank - 1], bytes = x->type->dim[x->type->rank - 1];

	for (int64_t k = 0; k < s->count; k++) {
		bool high = half == 2;
		int64_t c = k % cols, b = half ? c : byte_of(c, run, &high);
		int64_t code = x->i[k / cols * bytes + b] >> (high ? 4 : 0) & 15;

		if (s->flt)
			s->f[k] = kir_decode(s->elem, (uint64_t)code);
		else
			s->i[k] = kir_is_signed(s->elem) ? (code ^ 8) - 8 : code;
	}
}

static void pack(kref_state *r, kir_ref n, kref_slot *s, const kref_slot *x)
{
	int64_t run = kir_attr_of(r->f, n, KIR_ATTR_run);
	int64_t bytes = s->type->dim[s->type->rank - 1], cols = 2 * bytes;

	memset(s->p, 0, (size_t)s->count * 8);
	for (int64_t k = 0; k < x->count; k++) {
		bool high;
		int64_t b = k / cols * bytes + byte_of(k % cols, run, &high);

		s->i[b] |= (int64_t)(kref_code(x->elem, x, k) & 15) << (high ? 4 : 0);
	}
}

/* r x c times c x n; b may be n x c (trans), or a c x r (left). */
typedef struct shape {
	int64_t rows, cols, n;
	bool trans, left;
} shape;

/* Where element (i, k) of a lies. */
static int64_t left_at(const shape *d, int64_t i, int64_t k)
{
	return d->left ? k * d->rows + i : i * d->cols + k;
}

static void dot_floats(const shape *d, const double *a, const double *b, double *z)
{
	for (int64_t i = 0; i < d->rows; i++, z += d->n) {
		if (d->trans) {
			for (int64_t j = 0; j < d->n; j++) {
				const double *row = b + j * d->cols, *x = a + i * d->cols;
				double even = 0, odd = 0;
				int64_t k = 0;

				for (; k + 1 < d->cols; k += 2) {
					even += x[k] * row[k];
					odd += x[k + 1] * row[k + 1];
				}
				z[j] += even + odd + (k < d->cols ? x[k] * row[k] : 0);
			}
			continue;
		}
		for (int64_t k = 0; k < d->cols; k++)
			for (int64_t j = 0; j < d->n; j++)
				z[j] += a[left_at(d, i, k)] * b[k * d->n + j];
	}
}

static void dot_ints(const shape *d, const int64_t *a, const int64_t *b, int64_t *z)
{
	for (int64_t i = 0; i < d->rows; i++, z += d->n)
		for (int64_t k = 0; k < d->cols; k++)
			for (int64_t j = 0; j < d->n; j++)
				z[j] += a[left_at(d, i, k)] *
				        b[d->trans ? j * d->cols + k : k * d->n + j];
}

static bool dot(kref_state *r, kir_ref n)
{
	kref_slot *s = &r->slot[n];
	const kref_slot *a = kref_in(r, n, 0), *b = kref_in(r, n, 1);
	int64_t which = kir_attr_of(r->f, n, KIR_ATTR_trans);
	shape d = { .trans = which == 1, .left = which == 2 };

	if (a->type->rank != 2 || b->type->rank != 2 || a->flt != b->flt || a->flt != s->flt)
		return kref_fail(r, n,
		                 "operands must be two tiles of rank 2, both of floats or "
		                 "both of integers");
	d.rows = a->type->dim[d.left];
	d.cols = a->type->dim[!d.left];
	d.n = b->type->dim[d.trans ? 0 : 1];
	if (b->type->dim[d.trans ? 1 : 0] != d.cols || s->count != d.rows * d.n)
		return kref_fail(r, n, "the operands' shapes don't fit each other");
	memset(s->p, 0, (size_t)s->count * 8);
	if (kir_src(r->f, n, 2))
		memcpy(s->p, kref_in(r, n, 2)->p, (size_t)s->count * 8);
	if (s->flt) {
		dot_floats(&d, a->f, b->f, s->f);
		kref_round(r, s->elem, s->f, s->count);
		return true;
	}
	dot_ints(&d, a->i, b->i, s->i);
	for (int64_t k = 0; k < s->count; k++)
		s->i[k] = kref_wrap(s->elem, s->i[k]);
	return true;
}

bool kref_tile(kref_state *r, kir_ref n)
{
	kref_slot *s = &r->slot[n];
	const kref_slot *x = kref_in(r, n, 0);

	switch (r->f->node[n].op) {
	case KIR_OP_splat: splat(s, x); return true;
	case KIR_OP_spread: spread(s, x, axis_of(r, n)); return true;
	case KIR_OP_iota: iota(r, s, axis_of(r, n)); return true;
	case KIR_OP_reshape: memcpy(s->p, x->p, (size_t)s->count * 8); return true;
	case KIR_OP_slice: return slice(r, n, s, x);
	case KIR_OP_concat: concat(s, x, kref_in(r, n, 1), axis_of(r, n)); return true;
	case KIR_OP_dequant:
		dequant(r, n, s, x, kref_in(r, n, 1),
		        r->f->node[n].nsrc == 3 ? kref_in(r, n, 2) : NULL);
		return true;
	case KIR_OP_hadamard: hadamard(r, n, s, x); return true;
	case KIR_OP_unpack: unpack(r, n, s, x); return true;
	case KIR_OP_pack: pack(r, n, s, x); return true;
	case KIR_OP_dot: return dot(r, n);
	default: reduce(r, n, s, x); return true;
	}
}
