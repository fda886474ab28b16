/* SPDX-License-Identifier: Apache-2.0 */
/* quant.c -- cache.write and quantize: a format's rule, carried out as it is declared.
 *
 *     a  = the largest |x| of the elements that share a scale; NaN is passed over, an infinity
 *          counts as the largest finite value of the input's element
 *     s  = max(max(a, eps) / divisor, floor), or a power of two next to that; or given
 *     s' = s as its element stores it, at most its largest finite value (with a power of two:
 *          the largest of those)
 *     t  = x * (1 / s') or x / s'
 *
 * With a global scale G that is handed over, the scale is of x / G:
 *
 *     g  = 1 / G;  s = max(max(a * g, eps) / divisor, floor);  t = x * (g / s'), 0 where s' is
 * 0
 *
 * With zero points (range/N) the scale is of the largest less the smallest element, a NaN being
 * taken as 0, and z, the code of 0, is stored in the scale's lowest bits:
 *
 *     s = max(max(max - min, eps) / divisor, floor);  z = -min / s, rounded away, as a code;
 *     t = x * (1 / s) + z
 *
 * With a second divisor (amax/6 or 4) there are two scales, each with its codes q, and two
 * errors
 *
 *     e = the sum of (x * g - q * s')^2, g = 1 without G: of elements n/2 apart, then n/4, ...
 * 1
 *
 * and the scale of the second is taken where its e is less. A NaN makes both a NaN: the first.
 *
 * With `row`, a is of all of the row's elements, whose groups' scales are equal then.
 *
 *     q  = t in the code's element, rounded as declared, beyond the range the last value
 *
 * Keys that are stored less a mean are rows x - mean of f32 from the start.
 *
 * In KREF_ROUND every step is rounded to f32, as writers do.
 */
#include "interp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double step(const kref_state *r, double x)
{
	return r->mode == KREF_ROUND ? (double)(float)x : x;
}

static double scale_of(const kref_state *r, const kir_side *f, double over, const double *x,
                       int64_t n)
{
	double a = 0, s, lo = n ? x[0] : 0, hi = lo;

	for (int64_t k = 0; k < n; k++) {
		a = fabs(x[k]) > a ? fabs(x[k]) : a;
		lo = x[k] < lo ? x[k] : lo;
		hi = x[k] > hi ? x[k] : hi;
	}
	if (f->range)
		a = fmin(step(r, hi - lo), kir_elem_max(KIR_f32));
	if (f->global)
		a = step(r, a * over);
	a = a < step(r, f->eps) ? step(r, f->eps) : a;
	s = step(r, f->divisor);
	s = step(r, f->inverse ? a * step(r, 1 / s) : a / s);
	if (s < step(r, f->floor))
		s = step(r, f->floor);
	if (s > kir_scale_most(f))
		s = kir_scale_most(f);
	if (f->rule >= KIR_RULE_pow2)
		s = kir_pow2_by(f->rule, s);
	if (kir_elems[f->scale_elem].man >= 23)
		return step(r, s);
	return kref_to_float(f->scale_elem, s, KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_sat);
}

static double code_of(const kir_side *f, double t)
{
	if (kir_is_int(f->elem)) {
		double q = (double)kref_to_int(f->elem, t, f->round, f->nan);
		double most = (double)kir_side_max(f),
		       least = f->elem == KIR_s8 ? -most - 1 : 0;

		return q > most ? most : q < least ? least : q;
	}
	return kref_to_float(f->elem, t, f->round, f->nan, KIR_OVER_sat);
}

/* The code of 0 under scale s. */
static double zero_of(const kref_state *r, const kir_side *f, double s, const double *x,
                      int64_t n)
{
	double lo = n ? x[0] : 0, most = (double)kir_side_max(f);

	for (int64_t k = 1; k < n; k++)
		lo = x[k] < lo ? x[k] : lo;
	lo = fmax(fmin(step(r, -lo / s), most), 0);
	return (double)kref_to_int(KIR_s32, lo, KIR_ROUND_away, KIR_NAN_keep);
}

/* How far codes of x under scale s are from x * over, squared. sq: room for n. */
static double squared_error(const kref_state *r, const kir_side *f, double over, double s,
                            const double *x, int64_t n, double *sq)
{
	double rcp = f->global && s == 0 ? 0 : step(r, over / s);

	for (int64_t i = 0; i < n; i++) {
		double t = step(r, f->reciprocal || f->global ? x[i] * rcp : x[i] / s);
		double e = step(r, x[i] * over) - step(r, code_of(f, t) * s);

		e = step(r, e);
		sq[i] = step(r, e * e);
	}
	for (int64_t h = n / 2; h; h /= 2)
		for (int64_t i = 0; i < h; i++)
			sq[i] = step(r, sq[i] + sq[i + h]);
	return sq[0];
}

/* The scale of a group; of two divisors that which errs less. */
static double group_scale(const kref_state *r, const kir_side *f, double over, const double *x,
                          int64_t n, double *room)
{
	double s = scale_of(r, f, over, x, n), other;
	kir_side by = *f;

	if (f->other == 0)
		return s;
	by.divisor = f->other;
	other = scale_of(r, &by, over, x, n);
	return squared_error(r, f, over, other, x, n, room) <
	               squared_error(r, f, over, s, x, n, room)
	           ? other
	           : s;
}

/* w->q and w->s from the dim inputs in w->x of element `from`. */
static void quantize_row(const kref_state *r, const kir_side *f, kir_elem from, double given,
                         int64_t dim, const kref_row *w)
{
	int64_t group = f->gran == KIR_GRAN_group ? f->group : dim;
	double most = kir_elem_max(from);

	for (int64_t i = 0; f->row && i < dim; i++)
		if (isinf(w->x[i]))
			w->x[i] = copysign(most, w->x[i]);
	for (int64_t k = 0; k < dim; k += group) {
		int64_t n = k + group < dim ? group : dim - k;
		double s = given, over = f->global ? step(r, 1 / given) : 1, rcp, zero = 0;

		if (f->gran != KIR_GRAN_none && f->rule != KIR_RULE_given) {
			for (int64_t i = k; i < k + n; i++)
				if (isinf(w->x[i]))
					w->x[i] = copysign(most, w->x[i]);
				else if (f->range && isnan(w->x[i]))
					w->x[i] = 0;
			s = f->row ? scale_of(r, f, over, w->x, dim)
			           : group_scale(r, f, over, w->x + k, n, w->q + k);
		}
		if (f->range)
			zero = zero_of(r, f, s, w->x + k, n);
		w->s[k / group] = kir_side_join(f, s, zero);
		rcp = f->global && s == 0 ? 0 : step(r, over / s);
		for (int64_t i = k; i < k + n; i++) {
			double t = w->x[i];

			if (f->gran != KIR_GRAN_none)
				t = step(r, f->reciprocal || f->global ? t * rcp : t / s);
			if (f->range)
				t = step(r, t + zero);
			w->q[i] = code_of(f, t);
		}
	}
}

/* Where one side's rows come from and go to. */
typedef struct stream {
	const kir_side *f;
	const kref_mem *in, *code, *scale, *given, *signs, *mean;
	int64_t dim;
} stream;

/* x in blocks, as it is rotated before it is quantized: a NaN is 0, what is beyond the
 * element's range its largest value, before and after. */
static bool rotate_row(kref_state *r, kir_ref n, const stream *s, kir_elem from, double *x)
{
	int64_t block = kir_side_block(s->f, s->dim);
	double most = kir_elem_max(from), sign = 1;

	for (int64_t k = 0; block && k < s->dim; k++) {
		int64_t at = k % block;

		if (s->signs && !kref_get_row(r, n, s->signs, &at, 1, 1, &sign))
			return false;
		x[k] = isnan(x[k]) ? 0 : sign * fmax(fmin(x[k], most), -most);
	}
	for (int64_t k = 0; block && k < s->dim; k += block)
		kref_hadamard(r, KIR_f32, x + k, block);
	for (int64_t k = 0; block && k < s->dim; k++) {
		if (r->mode == KREF_ROUND)
			x[k] = kref_to_float(from, x[k], KIR_ROUND_even, KIR_NAN_keep,
			                     KIR_OVER_inf);
		x[k] = isnan(x[k]) ? 0 : fmax(fmin(x[k], most), -most);
	}
	return true;
}

/* Takes the mean of head h off w->x, which is of f32 then; w->q is overwritten. */
static bool less_mean(kref_state *r, kir_ref n, const stream *s, int64_t h, const kref_row *w)
{
	if (!kref_get_row(r, n, s->mean, &h, 1, s->dim, w->q))
		return false;
	for (int64_t k = 0; k < s->dim; k++)
		w->x[k] = step(r, w->x[k] - w->q[k]);
	return true;
}

static bool check_stream(kref_state *r, kir_ref n, stream *s, const char *in)
{
	bool stored = s->f->gran != KIR_GRAN_none && s->f->rule != KIR_RULE_given;

	if (s->in->type->rank != 3 || s->in->type->dim[1] <= 0 || s->in->type->dim[2] <= 0)
		return kref_fail(r, n, "%s must be [tokens,heads,dim] of known extents", in);
	s->dim = s->in->type->dim[2];
	if (stored && !s->scale)
		return kref_fail(r, n,
		                 "%s: the format computes scales, there is nowhere to put "
		                 "them",
		                 in);
	if (s->f->gran != KIR_GRAN_none && (!stored || s->f->global) && !s->given)
		return kref_fail(
		    r, n, "%s: the format's scales are given, the operand is missing", in);
	return true;
}

/* The row in w->x, of element `from`, as codes at [at..., dim] and scales at [at...] or [at...,
 * groups]. */
static bool put_row(kref_state *r, kir_ref n, const stream *s, kir_elem from, double given,
                    const int64_t *at, unsigned nat, const kref_row *w)
{
	int64_t group, groups;

	quantize_row(r, s->f, from, given, s->dim, w);
	if (!kref_put_codes(r, n, s->f->bits == 4 ? s->f : NULL, s->code, at, nat, s->dim,
	                    w->q))
		return false;
	if (s->f->gran == KIR_GRAN_none || s->f->rule == KIR_RULE_given || !s->scale)
		return true;
	group = s->f->gran == KIR_GRAN_group ? s->f->group : s->dim;
	groups = (s->dim + group - 1) / group;
	if (s->scale->type->rank > nat && s->scale->type->dim[nat] > groups) {
		/* a row of scales that is longer ends in the least ones */
		int64_t all = s->scale->type->dim[nat];

		if (all > s->dim)
			return kref_fail(r, n, "s has more scales a row than elements");
		memset(w->s + groups, 0, (size_t)(all - groups) * sizeof *w->s);
		groups = all;
	}
	return kref_put_row(r, n, s->scale, at, nat, groups, w->s);
}

/* Row [t,h] of the input to codes and scales. */
static bool write_row(kref_state *r, kir_ref n, const stream *s, int64_t t, int64_t h,
                      const int64_t *at, unsigned nat, const kref_row *w)
{
	int64_t from[2] = { t, h };
	kir_elem elem = s->mean ? KIR_f32 : s->in->type->elem;
	double given = 1;

	if (!kref_get_row(r, n, s->in, from, 2, s->dim, w->x) ||
	    (s->mean && !less_mean(r, n, s, h, w)) || !rotate_row(r, n, s, elem, w->x))
		return false;
	if (s->f->gran != KIR_GRAN_none && (s->f->rule == KIR_RULE_given || s->f->global) &&
	    !kref_get_row(r, n, s->given, &h, 1, 1, &given))
		return false;
	return put_row(r, n, s, elem, given, at, nat, w);
}

bool kref_make_row(kref_state *r, kir_ref n, int64_t dim, kref_row *w)
{
	w->x = calloc(3 * (size_t)dim, sizeof *w->x);
	w->q = w->x ? w->x + dim : NULL;
	w->s = w->x ? w->q + dim : NULL;
	return w->x || kref_fail(r, n, "out of memory");
}

static const kir_format *format_of(const kref_state *r, kir_ref n)
{
	int64_t k = kir_attr_of(r->f, n, KIR_ATTR_format);

	if (k < 0 || k >= r->f->module->nformat)
		return NULL;
	return r->f->module->format[k];
}

static bool write_all(kref_state *r, kir_ref n, const stream *s, const kref_mem *slots,
                      const kref_row *w)
{
	int64_t tokens = r->slot[kir_operand(r->f, n, "n")].i[0];
	int64_t heads = s->in->type->dim[1], page = s->code->type->dim[2], slot;

	for (int64_t t = 0; t < tokens; t++) {
		if (!kref_get_int(r, n, slots, &t, 1, &slot))
			return false;
		for (int64_t h = 0; h < heads && slot >= 0; h++) {
			int64_t at[3] = { slot / page, h, slot % page };

			for (int k = 0; k < KIR_SIDES; k++)
				if (s[k].in && !write_row(r, n, &s[k], t, h, at, 3, w))
					return false;
		}
	}
	return true;
}

bool kref_cache_write(kref_state *r, kir_ref n)
{
	static const char *const names[KIR_SIDES][5] = {
		{ "key", "k", "ks", "kd", "ksign" },
		{ "value", "v", "vs", "vd", "vsign" },
		{ "rest", "r", "rs", "kd", "rsign" },
	};
	const kir_format *f = format_of(r, n);
	stream s[KIR_SIDES];
	int64_t dim = 0;
	kref_row w;
	bool ok;

	if (!f)
		return kref_fail(r, n, "no format is named");
	for (int i = 0; i < KIR_SIDES; i++) {
		s[i] = (stream){ &f->side[i],
			         kref_buffer(r, n, names[i][0]),
			         kref_buffer(r, n, names[i][1]),
			         kref_buffer(r, n, names[i][2]),
			         kref_buffer(r, n, names[i][3]),
			         i < 2 ? kref_buffer(r, n, names[i][4]) : NULL,
			         i == 0 ? kref_buffer(r, n, "kmean") : NULL,
			         0 };
		if (s[i].in && !check_stream(r, n, &s[i], names[i][0]))
			return false;
		dim = s[i].dim > dim ? s[i].dim : dim;
	}
	if (s[0].code->type->rank != 4 || s[0].code->type->dim[2] <= 0)
		return kref_fail(r, n, "k must be [pages,heads,page,dim] of known extents");
	if (!kref_make_row(r, n, dim, &w))
		return false;
	ok = write_all(r, n, s, kref_buffer(r, n, "slots"), &w);
	free(w.x);
	return ok;
}

bool kref_put_quantized(kref_state *r, kir_ref n, const kir_side *f, const kref_mem *code,
                        const kref_mem *scale, double given, const int64_t at[3], int64_t dim,
                        const kref_row *w)
{
	stream s = { .f = f, .code = code, .scale = scale, .dim = dim };

	return put_row(r, n, &s, KIR_f32, given, at, 3, w);
}

/* An element of all rows is what a row is elsewhere: its scale, and codes under it. */
bool kref_put_group(kref_state *r, kir_ref n, const kir_side *f, const kref_mem *code,
                    const kref_mem *scale, const int64_t at[3], int64_t dim, const double *x)
{
	int64_t tokens = f->tokens, group[3] = { at[0], at[1], at[2] / tokens };
	double *codes = malloc((size_t)(tokens + 1) * (size_t)dim * sizeof *codes);
	double *scales = codes ? codes + tokens * dim : NULL;
	kref_row w = { 0 };
	bool ok = codes ? kref_make_row(r, n, tokens, &w) : kref_fail(r, n, "out of memory");

	for (int64_t d = 0; ok && d < dim; d++) {
		for (int64_t t = 0; t < tokens; t++)
			w.x[t] = x[t * dim + d];
		quantize_row(r, f, KIR_f32, 1, tokens, &w);
		scales[d] = w.s[0];
		for (int64_t t = 0; t < tokens; t++)
			codes[t * dim + d] = w.q[t];
	}
	for (int64_t t = 0; ok && t < tokens; t++) {
		int64_t token[3] = { at[0], at[1], at[2] + t };

		ok = kref_put_codes(r, n, f->bits == 4 ? f : NULL, code, token, 3, dim,
		                    codes + t * dim);
	}
	ok = ok && kref_put_row(r, n, scale, group, 3, dim, scales);
	free(w.x);
	free(codes);
	return ok;
}

bool kref_quantize(kref_state *r, kir_ref n)
{
	const kir_format *f = format_of(r, n);
	int64_t tokens = r->slot[kir_operand(r->f, n, "n")].i[0];
	bool ok = true;
	kref_row w;

	if (!f)
		return kref_fail(r, n, "no format is named");
	stream s = { &f->side[0],
		     kref_buffer(r, n, "x"),
		     kref_buffer(r, n, "q"),
		     kref_buffer(r, n, "s"),
		     kref_buffer(r, n, "d"),
		     kref_buffer(r, n, "sign"),
		     kref_buffer(r, n, "mean"),
		     0 };

	if (!check_stream(r, n, &s, "x") || !kref_make_row(r, n, s.dim, &w))
		return false;
	for (int64_t t = 0; ok && t < tokens; t++)
		for (int64_t h = 0; ok && h < s.in->type->dim[1]; h++) {
			int64_t at[2] = { t, h };
			ok = write_row(r, n, &s, t, h, at, 2, &w);
		}
	free(w.x);
	return ok;
}
