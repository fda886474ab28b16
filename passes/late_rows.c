/* SPDX-License-Identifier: Apache-2.0 */
/* late_rows.c -- integer scores meet their rows' scales in the exponent, too.
 *
 *     %s = convert (dot ...) : f32              %s = convert (dot ...) : f32
 *     %t = mul %s, %r {axis=0}                  %x = select %mask, %s, -inf
 *     %x = select %mask, %t, -inf               %y = mul (reduce.max %x {axis=1}), %r
 *     %y = reduce.max %x {axis=1}          =>   %q = mul %r, %c
 *     %d = fma %x, %c, %m {axis=0}              %d = fma %x, %q, %m {axis=0}
 *
 * late_scale.c has made one factor of all rows that of the exponent's multiply-add; a factor
 * for each row costs there nothing more, and a multiplication a score goes. Without it
 * late_scale only moves the multiplication: where additions have units of their own (AMD's)
 * scores of integers even lose by that.
 *
 * Rows' scales are positive by what arith.c makes of them, or NaN, which a row becomes as ever.
 * A product below 2^-100 counts as that, so that hidden scores stay -inf; and a row whose
 * maximum is -inf takes 2^-100 for its factor, so that a NaN in the query of a row that sees
 * no key doesn't come into its sums (test_nan_query).
 *
 * Requires level T, after late_scale and arith.
 */
#include "emit.h"

#include <math.h>

typedef struct late {
	const kir_func *in;
	kir_func *out;
	kir_ref *map;
	unsigned *nuse;
	kir_ref *factor; /* by masked score of in: the multiplication that goes, or 0 */
	kir_ref *top;    /* by masked score of in: its maximum in out, without the factor */
	bool *gone;      /* by multiplication of in */
} late;

static bool is_op(const kir_func *f, kir_ref n, kir_op op)
{
	return f->node[n].op == op;
}

static bool is_above_zero(const kir_func *f, kir_ref n)
{
	return is_op(f, n, KIR_OP_const) && f->node[n].f > 0;
}

/* 0, or NaN if the row it is of holds one. */
static bool is_zero_sum(const kir_func *f, kir_ref n)
{
	kir_ref x = is_op(f, n, KIR_OP_reduce_add) ? kir_src(f, n, 0) : 0;

	return x && is_op(f, x, KIR_OP_mul) && is_op(f, kir_src(f, x, 1), KIR_OP_const) &&
	       f->node[kir_src(f, x, 1)].f == 0;
}

static bool is_positive(const kir_func *f, kir_ref n)
{
	switch (f->node[n].op) {
	case KIR_OP_add:
		return is_positive(f, kir_src(f, n, 0)) && is_zero_sum(f, kir_src(f, n, 1));
	case KIR_OP_div:
		return is_positive(f, kir_src(f, n, 0)) && is_above_zero(f, kir_src(f, n, 1));
	case KIR_OP_max: return is_above_zero(f, kir_src(f, n, 1));
	default: return false;
	}
}

static bool is_maximum(const kir_func *f, kir_ref n, kir_ref x)
{
	return is_op(f, n, KIR_OP_reduce_max) && kir_src(f, n, 0) == x &&
	       kir_attr_of(f, n, KIR_ATTR_axis) == 1;
}

static bool is_exponent(const kir_func *f, kir_ref n, kir_ref x)
{
	return is_op(f, n, KIR_OP_fma) && kir_src(f, n, 0) == x &&
	       !kir_type_of(f, kir_src(f, n, 1))->rank &&
	       kir_type_of(f, kir_src(f, n, 2))->rank == 1 &&
	       kir_attr_of(f, n, KIR_ATTR_axis) == 0;
}

static kir_ref only_user(const late *l, kir_ref n)
{
	for (kir_ref u = n + 1; l->nuse[n] == 1 && u < l->in->nnode; u++)
		for (unsigned i = 0; i < l->in->node[u].nsrc; i++)
			if (kir_src(l->in, u, i) == n)
				return u;
	return 0;
}

/* Scores t as weights are made of them: times scales a column, hidden where a mask says so. */
static kir_ref as_read(const late *l, kir_ref t)
{
	const kir_func *f = l->in;

	for (kir_ref u; (u = only_user(l, t)) != 0; t = u) {
		bool column = is_op(f, u, KIR_OP_mul) && kir_src(f, u, 0) == t &&
		              kir_attr_of(f, u, KIR_ATTR_axis) == 1;
		bool hides = is_op(f, u, KIR_OP_select) && kir_src(f, u, 1) == t &&
		             is_op(f, kir_src(f, u, 2), KIR_OP_const) &&
		             f->node[kir_src(f, u, 2)].f == -INFINITY;

		if (!column && !hides)
			return 0;
	}
	return t;
}

static void find(late *l, kir_ref n)
{
	const kir_func *f = l->in;
	kir_ref s = is_op(f, n, KIR_OP_mul) ? kir_src(f, n, 0) : 0, x;
	unsigned maxima = 0, exponents = 0;

	if (!s || kir_attr_of(f, n, KIR_ATTR_axis) != 0 || !is_op(f, s, KIR_OP_convert) ||
	    !is_op(f, kir_src(f, s, 0), KIR_OP_dot) ||
	    kir_type_of(f, kir_src(f, n, 1))->rank != 1 || !is_positive(f, kir_src(f, n, 1)) ||
	    !(x = as_read(l, n)))
		return;
	/* one maximum, before the exponents and in scope there: no region ends between */
	for (kir_ref u = x + 1; u < f->nnode && !(kir_ops[f->node[u].op].flags & KIR_ENDS);
	     u++) {
		maxima += is_maximum(f, u, x);
		exponents += maxima && is_exponent(f, u, x);
	}
	if (maxima != 1 || !exponents || maxima + exponents != l->nuse[x])
		return;
	l->factor[x] = n;
	l->gone[n] = true;
}

static void emit(late *l, kir_ref n)
{
	const kir_func *in = l->in;
	kir_func *f = l->out;
	kir_ref x = in->node[n].nsrc ? kir_src(in, n, 0) : 0;
	kir_ref r = x && l->factor[x] ? l->map[kir_src(in, l->factor[x], 1)] : 0;

	if (l->gone[n]) {
		l->map[n] = l->map[x];
		return;
	}
	if (!r || !is_exponent(in, n, x))
		kir_copy(f, in, n, l->map);
	if (r && is_maximum(in, n, x)) {
		l->top[x] = l->map[n];
		l->map[n] = e2(f, KIR_OP_mul, in->node[n].type, l->map[n], r);
	} else if (r && is_exponent(in, n, x)) {
		kir_type_id t = f->node[r].type;
		kir_ref least = f32c(f, 0x1p-100);
		kir_ref q = e2(f, KIR_OP_mul, t, r, l->map[kir_src(in, n, 1)]);

		kir_ref small = e2(f, KIR_OP_lt, i1_like(f, t), q, least);
		kir_ref none = e2(f, KIR_OP_eq, i1_like(f, t), l->top[x], f32c(f, -INFINITY));
		kir_ref either = e2(f, KIR_OP_or, i1_like(f, t), small, none);

		q = e3(f, KIR_OP_select, t, either, least, q);
		l->map[n] = e3x(f, KIR_OP_fma, in->node[n].type, l->map[x], q,
		                l->map[kir_src(in, n, 2)], 0);
	}
}

kpass_result kpass_late_rows(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_module *m = out->module;
	size_t n = in->nnode;
	late l = { .in = in, .out = out, .map = kir_map_new(out, in) };
	kpass_result result = KPASS_SAME;

	(void)why;
	l.nuse = kir_alloc(m, n * sizeof *l.nuse);
	l.factor = kir_alloc(m, n * sizeof *l.factor);
	l.top = kir_alloc(m, n * sizeof *l.top);
	l.gone = kir_alloc(m, n * sizeof *l.gone);
	for (kir_ref k = 1; k < n; k++)
		for (unsigned i = 0; i < in->node[k].nsrc; i++)
			l.nuse[kir_src(in, k, i)]++;
	for (kir_ref k = 1; k < n; k++)
		find(&l, k);
	for (kir_ref k = 1; k < n; k++) {
		if (in->node[k].op == KIR_OP_param)
			continue;
		if (l.gone[k])
			result = KPASS_CHANGED;
		emit(&l, k);
	}
	return result;
}
