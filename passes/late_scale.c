/* SPDX-License-Identifier: Apache-2.0 */
/* late_scale.c -- scores meet their scale in the exponent, not before their maximum.
 *
 *     %s = dot %q, %k {trans=1}             %s = dot (%q with the sign of %c), %k {trans=1}
 *     %t = mul %s, %c                       %x = select %mask, %s, -inf
 *     %x = select %mask, %t, -inf      =>   %r = mul (reduce.max %x {axis=1}), |%c|
 *     %r = reduce.max %x {axis=1}
 *     %d = sub %x, %m {axis=0}              %d = fma %x, |%c|, -%m {axis=0}
 *     %p = exp2 %d                          %p = exp2 %d
 *
 * A multiplication a score goes: where nothing is masked, scores stay as the product left them
 * until they become weights. The largest score times a factor is the largest of the scores
 * times that factor if it is positive, so the query takes the sign: a flipped bit, exact in
 * every element, which hoist takes out of the loop. A factor below 2^-100 counts as that, so
 * that hidden scores stay -inf; what it makes of a score that f32 holds is 0 to a weight all
 * the same. NaN stays NaN.
 *
 * %m may be any number near the maximum, so what the product %r rounds off is no error of a
 * weight, and the difference rounds once where it rounded twice: docs/accuracy.md.
 *
 * Requires level T, a processor that fuses multiplication and addition, and scores of which
 * nothing but their maxima and differences is used. The factor is a scalar: a positive literal
 * (scores of base e that went through ops of their own), one that is no less than 0 (an `abs`),
 * or any, if the scores are one product of a query of 16 or 32 bits, times numbers a row or a
 * column.
 *
 * Scores with terms of their own stay. A bias may hide keys by -1e30: the maximum of a tile of
 * those rounds off 1e22, which its weights would be 2 to the power of, either way.
 */
#include "analysis.h"
#include "emit.h"

#include <math.h>

typedef struct late {
	const kir_func *in;
	kir_func *out;
	kir_ref *map;
	unsigned *nuse;
	kir_ref *scores; /* by masked score of in: the multiplication that goes, or 0 */
	kir_ref *sign;   /* by product of in: the factor whose sign its query takes, or 0 */
	bool *gone;      /* by multiplication of in                                   */
} late;

static bool is_hidden(const kir_func *f, kir_ref n)
{
	return is_op(f, n, KIR_OP_const) && f->node[n].f == -INFINITY;
}

static bool is_difference(const kir_func *f, kir_ref n, kir_ref x)
{
	return is_op(f, n, KIR_OP_sub) && kir_src(f, n, 0) == x &&
	       kir_type_of(f, kir_src(f, n, 1))->rank == 1;
}

static bool is_maximum(const kir_func *f, kir_ref n, kir_ref x)
{
	return is_op(f, n, KIR_OP_reduce_max) && kir_src(f, n, 0) == x;
}

/* Whether maxima and differences are all that is made of x. */
static bool only_weights(const late *l, kir_ref x)
{
	unsigned found = 0, maxima = 0;

	for (kir_ref n = x + 1; found < l->nuse[x] && n < l->in->nnode; n++) {
		maxima += is_maximum(l->in, n, x);
		found += is_maximum(l->in, n, x) || is_difference(l->in, n, x);
	}
	return maxima && found == l->nuse[x];
}

/* The masked scores that multiplication t makes: a select against -inf, or t itself; 0: others
 * read it. */
static kir_ref masked(const late *l, kir_ref t)
{
	kir_ref user = t + 1;

	if (l->nuse[t] != 1)
		return t;
	while (user < l->in->nnode &&
	       !(is_op(l->in, user, KIR_OP_select) && kir_src(l->in, user, 1) == t &&
	         is_hidden(l->in, kir_src(l->in, user, 2))))
		user++;
	return user < l->in->nnode ? user : 0;
}

/* The query of product n as it was handed over. */
static kir_ref query_of(const kir_func *f, kir_ref n)
{
	kir_ref q = kir_src(f, n, 0);

	return is_op(f, q, KIR_OP_convert) ? kir_src(f, q, 0) : q;
}

/* The one product that scores s are, times numbers a row or a column that is nobody else's; 0:
 * they are something else. */
static kir_ref product_of(const late *l, kir_ref s)
{
	const kir_func *f = l->in;

	while (is_op(f, s, KIR_OP_mul) && l->nuse[s] == 1 &&
	       kir_type_of(f, kir_src(f, s, 1))->rank == 1)
		s = kir_src(f, s, 0);
	if (!is_op(f, s, KIR_OP_dot) || l->nuse[s] != 1 || f->node[s].nsrc > 2 ||
	    kir_type_of(f, s)->elem != KIR_f32 || kir_type_of(f, query_of(f, s))->rank != 2)
		return 0;
	kir_elem e = (kir_elem)kir_type_of(f, query_of(f, s))->elem;

	return e == KIR_bf16 || e == KIR_f16 || e == KIR_f32 ? s : 0;
}

/* Whether s is a product of rows or a tanh, times numbers: nothing that a host would make huge.
 */
static bool has_no_terms(const kir_func *f, kir_ref s)
{
	while (is_op(f, s, KIR_OP_neg) ||
	       ((is_op(f, s, KIR_OP_mul) || is_op(f, s, KIR_OP_div)) &&
	        kir_type_of(f, kir_src(f, s, 1))->rank < 2))
		s = kir_src(f, s, 0);
	return is_op(f, s, KIR_OP_dot) || is_op(f, s, KIR_OP_tanh);
}

static void find(late *l, kir_ref t)
{
	const kir_func *f = l->in;
	kir_ref c = is_op(f, t, KIR_OP_mul) ? kir_src(f, t, 1) : 0, x, dot = 0;

	if (!c || kir_type_of(f, t)->rank != 2 || kir_type_of(f, t)->elem != KIR_f32 ||
	    kir_type_of(f, c)->rank || kir_type_of(f, kir_src(f, t, 0))->rank != 2)
		return;
	x = masked(l, t);
	if (!x || !only_weights(l, x))
		return;
	if (is_op(f, c, KIR_OP_const)) {
		if (!(f->node[c].f > 0) || !has_no_terms(f, kir_src(f, t, 0)))
			return;
	} else if (!is_op(f, c, KIR_OP_abs)) {
		dot = product_of(l, kir_src(f, t, 0));
		if (!dot || c > dot || l->sign[dot])
			return;
		l->sign[dot] = c;
	}
	l->scores[x] = t;
	l->gone[t] = true;
}

/* -- emitting ------------------------------------------------------------------------------ */

/* |c|, at least 2^-100; NaN for NaN. */
static kir_ref size_of(const late *l, kir_ref t)
{
	kir_func *f = l->out;
	kir_ref c = l->map[kir_src(l->in, t, 1)], least = least_scale(f), a;
	kir_type_id f32 = kir_scalar(f->module, KIR_f32);

	if (is_op(f, c, KIR_OP_const))
		return c;
	a = e1(f, KIR_OP_abs, f32, c);
	return e3(f, KIR_OP_select, f32,
	          e2(f, KIR_OP_lt, kir_scalar(f->module, KIR_i1), a, least), least, a);
}

/* Product n with the sign of factor c in its query. */
static void signed_product(late *l, kir_ref n, kir_ref c)
{
	kir_func *f = l->out;
	kir_ref q = l->map[query_of(l->in, n)], src[2];
	kir_elem e = (kir_elem)kir_type_of(f, q)->elem;
	kir_elem word = e == KIR_f32 ? KIR_s32 : KIR_s16;
	kir_type_id s32 = kir_scalar(f->module, KIR_s32);
	kir_type_id wt = kir_with_elem(f->module, f->node[q].type, word);
	kir_ref bit = e1(f, KIR_OP_bitcast, s32, c);

	bit = e2(f, KIR_OP_and, s32, bit, kir_const_i(f, KIR_s32, INT32_MIN));
	if (word == KIR_s16)
		bit =
		    as_elem(f, e2(f, KIR_OP_shr, s32, bit, kir_const_i(f, KIR_s32, 16)), word);
	src[0] = e2(f, KIR_OP_xor, wt, e1(f, KIR_OP_bitcast, wt, q), bit);
	src[0] = e1(f, KIR_OP_bitcast, f->node[q].type, src[0]);
	src[0] = as_elem(f, src[0], (kir_elem)kir_type_of(l->in, kir_src(l->in, n, 0))->elem);
	src[1] = l->map[kir_src(l->in, n, 1)];
	l->map[n] = kir_emit(f, KIR_OP_dot, l->in->node[n].type, src, 2, l->in->node[n].attr);
}

static void emit(late *l, kir_ref n)
{
	const kir_func *in = l->in;
	kir_func *f = l->out;
	kir_ref x = in->node[n].nsrc ? kir_src(in, n, 0) : 0, t = x ? l->scores[x] : 0;
	kir_type_id type = in->node[n].type;

	if (l->sign[n]) {
		signed_product(l, n, l->map[l->sign[n]]);
	} else if (l->gone[n]) {
		l->map[n] = l->map[x];
	} else if (t && is_maximum(in, n, x)) {
		kir_copy(f, in, n, l->map);
		l->map[n] = e2(f, KIR_OP_mul, type, l->map[n], size_of(l, t));
	} else if (t && is_difference(in, n, x)) {
		kir_ref m = l->map[kir_src(in, n, 1)];

		m = e1(f, KIR_OP_neg, f->node[m].type, m);
		l->map[n] = e3x(f, KIR_OP_fma, type, l->map[x], size_of(l, t), m,
		                kir_attr_of(in, n, KIR_ATTR_axis));
	} else {
		kir_copy(f, in, n, l->map);
	}
}

kpass_result kpass_late_scale(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_module *m = out->module;
	size_t n = in->nnode;
	late l = { .in = in, .out = out, .map = kir_map_new(out, in) };
	kpass_result result = KPASS_SAME;

	(void)why;
	if (!(in->target->features & KIR_HAS_avx2))
		return KPASS_SAME;
	l.nuse = kir_count_uses(in);
	l.scores = kir_alloc(m, n * sizeof *l.scores);
	l.sign = kir_alloc(m, n * sizeof *l.sign);
	l.gone = kir_alloc(m, n * sizeof *l.gone);
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
