/* SPDX-License-Identifier: Apache-2.0 */
/* expand_region.c -- a score or mask region, written for one pair of query and key, as ops on
 * a tile of R query rows and N keys.
 *
 *     le %j, %i : i1     =>   %a = spread %kpos : s32<RxN> {axis=1}
 *                             %c = le %a, %qpos : i1<RxN> {axis=0}
 *
 * A value that depends on the query alone stays a vector of R, one that depends on the key
 * alone a vector of N: they cost a lane each instead of a tile. A load becomes a gather.
 *
 * Integers of 64 bits become s32 where their range says that nothing is lost: positions, which
 * kvjit_plan holds below 2^30, and what is computed from them and small literals.
 */
#include "analysis.h"
#include "expand.h"

#include <math.h>

enum { BY_ROW = 1, BY_KEY = 2, BY_BOTH = 3 };

typedef struct region_value {
	kir_ref ref;
	int by;        /* which of the two it varies with: 0, BY_ROW, BY_KEY, BY_BOTH */
	double lo, hi; /* of an integer: what it may be                              */
} region_value;

typedef struct region_copy {
	const kir_func *in;
	kir_func *f;
	const kir_ref *map;
	const region_place *p;
	region_value *val; /* by node of in, minus first */
	kir_ref first;
} region_copy;

static kir_type_id type_by(const region_copy *c, kir_elem e, int by)
{
	kir_module *m = c->f->module;

	if (by == BY_BOTH)
		return kir_tile(m, e, c->p->rows, c->p->keys);
	if (by)
		return kir_vector(m, e, by == BY_ROW ? c->p->rows : c->p->keys);
	return kir_scalar(m, e);
}

/* -- ranges -------------------------------------------------------------------------------- */

static const double POSITIONS = KIR_MAX_LEN - 1, ANY = 0x1p100;

static bool fits_s32(const region_value *v)
{
	return v->lo >= -0x1p31 && v->hi <= 0x1p31 - 1;
}

static void set_range(region_value *v, double lo, double hi)
{
	v->lo = lo;
	v->hi = hi;
}

static void elem_range(region_value *v, kir_elem e)
{
	double top = ldexp(1, kir_elems[e].bits - kir_is_signed(e));

	set_range(v, kir_is_signed(e) ? -top : 0, top - 1);
}

/* What is beyond the element wraps and may then be anything. */
static void wrap_range(region_value *v, kir_elem e)
{
	region_value all = { .by = 0 };

	elem_range(&all, e);
	if (v->lo < all.lo || v->hi > all.hi)
		set_range(v, all.lo, all.hi);
}

/* What the result of an integer op may be, were it exact; wide when nothing better is known. */
static void op_range(kir_op op, const region_value *a, unsigned n, region_value *r)
{
	const region_value *x = &a[0], *y = n > 1 ? &a[1] : x;
	double p[4] = { x->lo * y->lo, x->lo * y->hi, x->hi * y->lo, x->hi * y->hi };

	set_range(r, -ANY, ANY);
	switch (op) {
	case KIR_OP_add: set_range(r, x->lo + y->lo, x->hi + y->hi); break;
	case KIR_OP_sub: set_range(r, x->lo - y->hi, x->hi - y->lo); break;
	case KIR_OP_mul:
		set_range(r, fmin(fmin(p[0], p[1]), fmin(p[2], p[3])),
		          fmax(fmax(p[0], p[1]), fmax(p[2], p[3])));
		break;
	case KIR_OP_neg: set_range(r, -x->hi, -x->lo); break;
	case KIR_OP_abs: set_range(r, 0, fmax(-x->lo, x->hi)); break;
	case KIR_OP_min: set_range(r, fmin(x->lo, y->lo), fmin(x->hi, y->hi)); break;
	case KIR_OP_max: set_range(r, fmax(x->lo, y->lo), fmax(x->hi, y->hi)); break;
	case KIR_OP_fdiv:
		if (y->lo <= 0) { /* it may turn the sign */
			set_range(r, -fmax(-x->lo, x->hi), fmax(-x->lo, x->hi));
			break;
		}
		/* fall through */
	case KIR_OP_shr: set_range(r, fmin(x->lo, 0), fmax(x->hi, 0)); break;
	case KIR_OP_mod:
		if (y->lo > 0)
			set_range(r, 0, y->hi - 1);
		break;
	case KIR_OP_select: set_range(r, fmin(a[1].lo, a[2].lo), fmax(a[1].hi, a[2].hi)); break;
	case KIR_OP_and:
	case KIR_OP_or:
	case KIR_OP_xor:
		if (fits_s32(x) && fits_s32(y))
			set_range(r, -0x1p31, 0x1p31 - 1);
		break;
	default: break;
	}
	set_range(r, fmax(r->lo, -ANY), fmin(r->hi, ANY));
}

/* What n is in its region says more than its op. A sequence without keys may have queries: of
 * it the tokens before are less than none. */
static void known_range(const kir_func *in, kir_ref n, region_value *r)
{
	if (!kir_is_int((kir_elem)kir_type_of(in, n)->elem))
		return;
	switch (kir_region_index(in, n).of) {
	case KIR_COUNTS_nothing:
		if (kir_region_past(in, n))
			set_range(r, -(0x1p31 - 1), POSITIONS + 1);
		return;
	case KIR_COUNTS_positions: return; /* as its op says */
	default: set_range(r, 0, 0x1p31 - 1);
	}
}

/* -- values -------------------------------------------------------------------------------- */

static kir_ref widen(const region_copy *c, region_value v, int by)
{
	kir_elem e = (kir_elem)kir_type_of(c->f, v.ref)->elem;

	if (v.by == by)
		return v.ref;
	if (!v.by)
		return e1(c->f, KIR_OP_splat, type_by(c, e, by), v.ref);
	return e1x(c->f, KIR_OP_spread, type_by(c, e, by), v.ref, v.by == BY_ROW ? 0 : 1);
}

static region_value operand(const region_copy *c, kir_ref n, unsigned i)
{
	kir_ref s = kir_src(c->in, n, i);

	if (s >= c->first)
		return c->val[s - c->first];
	return (region_value){ c->map[s], 0, -ANY, ANY };
}

static region_value copy_load(const region_copy *c, kir_ref n, kir_elem e)
{
	kir_ref buf, upto, src[KIR_RANK + 1];
	unsigned first, count;
	region_value idx[KIR_RANK];
	int by = 0;

	kir_access(c->in, n, &buf, &first, &count, &upto);
	src[0] = c->map[buf];
	for (unsigned i = 0; i < count; i++) {
		idx[i] = operand(c, n, first + i);
		by |= idx[i].by;
	}
	for (unsigned i = 0; i < count; i++)
		src[1 + i] =
		    idx[i].by ? widen(c, idx[i], by) : as_elem(c->f, idx[i].ref, KIR_s64);
	region_value r = { .by = by };

	r.ref = kir_emit(c->f, by ? KIR_OP_gather : KIR_OP_load, type_by(c, e, by), src,
	                 1 + count, NULL);
	if (kir_is_int(e))
		elem_range(&r, e);
	return r;
}

static region_value to_elem(const region_copy *c, region_value v, kir_elem e)
{
	int64_t k;

	v.ref =
	    kir_is_const(c->f, v.ref, &k) ? kir_const_i(c->f, e, k) : as_elem(c->f, v.ref, e);
	return v;
}

/* The element that op n is computed in: s32 instead of s64 where all of it fits. */
static kir_elem elem_of(const region_copy *c, kir_ref n, region_value *v,
                        const region_value *result)
{
	const kir_node *d = &c->in->node[n];
	kir_elem e = (kir_elem)kir_type_of(c->in, n)->elem, wide = KIR_s32;
	bool any = e == KIR_s64;

	if (d->op == KIR_OP_convert)
		return e;
	if (e == KIR_s64 && !fits_s32(result))
		wide = KIR_s64;
	for (unsigned i = 0; i < d->nsrc; i++)
		if (kir_type_of(c->in, kir_src(c->in, n, i))->elem == KIR_s64) {
			any = true;
			wide = fits_s32(&v[i]) ? wide : KIR_s64;
		}
	for (unsigned i = 0; any && i < d->nsrc; i++)
		if (kir_type_of(c->in, kir_src(c->in, n, i))->elem == KIR_s64)
			v[i] = to_elem(c, v[i], wide);
	return e == KIR_s64 ? wide : e;
}

/* Elementwise: rows and keys meet in a tile; one of the two sides must be spread, because an
 * op has one axis. */
static region_value copy_each(const region_copy *c, kir_ref n)
{
	const kir_node *d = &c->in->node[n];
	kir_elem e = (kir_elem)kir_type_of(c->in, n)->elem;
	region_value v[3], r = { .by = 0 };
	kir_ref src[3];
	int64_t attr[KIR_MAX_ATTRS];
	bool rows = false;

	for (unsigned i = 0; i < d->nsrc; i++) {
		v[i] = operand(c, n, i);
		r.by |= v[i].by;
		rows |= v[i].by == BY_ROW;
	}
	if (d->op != KIR_OP_convert)
		op_range((kir_op)d->op, v, d->nsrc, &r);
	else if (kir_is_int(e))
		elem_range(&r, e);
	if (d->op == KIR_OP_convert && kir_is_int((kir_elem)kir_type_of(c->f, v[0].ref)->elem))
		set_range(&r, fmax(r.lo, v[0].lo), fmin(r.hi, v[0].hi));
	if (kir_is_int(e))
		wrap_range(&r, e);
	known_range(c->in, n, &r);
	e = elem_of(c, n, v, &r);
	if (d->op == KIR_OP_convert && e == KIR_s64 && fits_s32(&r))
		e = KIR_s32;
	for (int i = 0; i < KIR_MAX_ATTRS; i++)
		attr[i] = d->attr[i];
	if (d->op != KIR_OP_convert && d->nsrc > 1)
		attr[0] = -1;
	for (unsigned i = 0; i < d->nsrc; i++) {
		src[i] = v[i].ref;
		if (r.by != BY_BOTH || v[i].by == BY_BOTH || !v[i].by)
			continue;
		if (v[i].by == BY_KEY && rows)
			src[i] = widen(c, v[i], BY_BOTH);
		else
			attr[0] = v[i].by == BY_ROW ? 0 : 1;
	}
	if (is_plain_convert(c->in, n) && keeps_values(e) &&
	    kir_type_of(c->f, src[0])->elem == e)
		r.ref = src[0];
	else
		r.ref = kir_emit(c->f, (kir_op)d->op, type_by(c, e, r.by), src, d->nsrc, attr);
	return e == KIR_s64 && fits_s32(&r) ? to_elem(c, r, KIR_s32) : r;
}

static bool copy_node(region_copy *c, kir_ref n, kir_diag *why)
{
	const kir_node *d = &c->in->node[n];
	kir_elem e = (kir_elem)kir_type_of(c->in, n)->elem;
	region_value *out = &c->val[n - c->first];

	if (d->op == KIR_OP_const) {
		*out = (region_value){ .by = 0 };
		if (!kir_is_float(e))
			set_range(out, (double)d->i, (double)d->i);
		if (e == KIR_s64 && fits_s32(out))
			e = KIR_s32;
		out->ref =
		    kir_is_float(e) ? kir_const_f(c->f, e, d->f) : kir_const_i(c->f, e, d->i);
		return true;
	}
	if (d->op == KIR_OP_load) {
		*out = copy_load(c, n, e);
		return true;
	}
	if (kir_ops[d->op].flags & KIR_EACH) {
		*out = copy_each(c, n);
		return true;
	}
	kir_error(why, (int)d->line, 0,
	          "'%s' may not stand in a score or mask region; it takes elementwise ops and "
	          "loads",
	          kir_ops[d->op].name);
	return false;
}

kir_ref expand_region(const kir_func *in, kir_ref first, kir_func *f, const kir_ref *map,
                      const region_place *p, kir_ref score, kir_diag *why)
{
	region_copy c = { in, f, map, p, NULL, first };
	kir_ref n = first, end = first;
	region_value arg[5] = { { score, BY_BOTH, 0, 0 },
		                { 0, 0, 0, 0x1p31 - 1 },
		                { p->head, BY_ROW, 0, POSITIONS },
		                { p->qpos, BY_ROW, 0, POSITIONS },
		                { p->kpos, BY_KEY, 0, POSITIONS } };
	unsigned skip = score ? 0 : 1;

	while (in->node[end].op != KIR_OP_yield)
		end++;
	c.val = kir_alloc(f->module, (end - first + 1) * sizeof *c.val);
	arg[1].ref = as_elem(f, p->seq, KIR_s32);
	for (unsigned i = skip; i < 5; i++, n++)
		c.val[n - first] = arg[i];
	for (; n < end; n++)
		if (!copy_node(&c, n, why))
			return 0;
	return widen(&c, operand(&c, end, 0), BY_BOTH);
}
