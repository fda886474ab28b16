/* SPDX-License-Identifier: Apache-2.0 */
/* skip_wraps.c -- which integers of a mask may wrap around, so that the bounds of what they are
 * made of say nothing.
 *
 *     %a = mul %kpos, 4294967295 : s64<16>      below 2^63, as a position is below 2^30
 *     %b = mul %a, 4294967295 : s64<16>         may be beyond
 *
 * In 64 bits magnitudes are followed from op to op. In fewer only what a tensor holds may wrap:
 * expand has the rest in as many bits as it needs.
 */
#include "analysis.h"
#include "skip.h"

#include <math.h>

/* Powers of two: below is whatever an element holds. */
static double top_of(const kir_func *f, kir_ref n)
{
	return ldexp(1, kir_elems[kir_type_of(f, n)->elem].bits - 1);
}

static bool is_integer(const kir_func *f, kir_ref n)
{
	const kir_type *t = kir_type_of(f, n);

	return f->node[n].type != KIR_NO_TYPE && !t->buffer && kir_is_int((kir_elem)t->elem);
}

/* How large integer n could be, were it exact; most: its operands. */
static double magnitude(const kir_func *f, kir_ref n, const double *most)
{
	double top = top_of(f, n), x = most[kir_src(f, n, 0)], y = most[kir_src(f, n, 1)];
	int64_t k, axis = kir_attr_of(f, n, KIR_ATTR_axis);

	if (kir_is_const(f, n, &k))
		return fabs((double)k);
	switch (f->node[n].op) {
	case KIR_OP_add:
	case KIR_OP_sub: return x + y;
	case KIR_OP_mul: return x * y;
	case KIR_OP_min:
	case KIR_OP_max: return fmax(x, y);
	case KIR_OP_mod: return y;
	case KIR_OP_select: return fmax(y, most[kir_src(f, n, 2)]);
	case KIR_OP_convert: return is_integer(f, kir_src(f, n, 0)) ? x : top;
	case KIR_OP_abs:
	case KIR_OP_neg:
	case KIR_OP_fdiv:
	case KIR_OP_shr:
	case KIR_OP_splat:
	case KIR_OP_spread: return x;
	case KIR_OP_iota: return axis < 0 ? top : (double)kir_type_of(f, n)->dim[axis];
	case KIR_OP_param: return KIR_MAX_LEN;
	case KIR_OP_arg: return is_op(f, n - 1, KIR_OP_for) ? KIR_MAX_LEN : top;
	default: return top;
	}
}

bool *skip_wraps(const kir_func *f)
{
	bool *wraps = kir_alloc(f->module, f->nnode * sizeof *wraps);
	bool *wild = kir_alloc(f->module, f->nnode * sizeof *wild); /* from a tensor */
	double *most = kir_alloc(f->module, f->nnode * sizeof *most);

	for (kir_ref n = 1; n < f->nnode; n++) {
		kir_op op = (kir_op)f->node[n].op;

		wild[n] = op == KIR_OP_gather;
		for (unsigned i = 0; i < f->node[n].nsrc; i++)
			wild[n] |= wild[kir_src(f, n, i)];
		if (!is_integer(f, n))
			continue;
		double exact = magnitude(f, n, most), top = top_of(f, n);
		bool wide = kir_elems[kir_type_of(f, n)->elem].bits == 64;

		most[n] = fmin(exact, top);
		wraps[n] =
		    (wide ? exact >= top : wild[n]) && (op == KIR_OP_add || op == KIR_OP_sub ||
		                                        op == KIR_OP_mul || op == KIR_OP_abs);
	}
	return wraps;
}
