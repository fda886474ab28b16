/* SPDX-License-Identifier: Apache-2.0 */
/* zeros.c -- how many low bits of an integer are zero whatever it is: what it is a multiple of.
 */
#include "kir.h"

enum { DEPTH = 8 }; /* ops that are looked through */

unsigned kir_zeros_of(int64_t x)
{
	unsigned n = 0;

	while (n < KIR_ZEROS_MAX && !(x >> n & 1))
		n++;
	return n;
}

static unsigned smaller(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Low bits of an integer node that are zero whatever it is. */
static unsigned zeros(const kir_func *f, kir_ref n, unsigned depth)
{
	kir_ref x = kir_src(f, n, 0), y = kir_src(f, n, 1);
	int64_t lit;

	if (kir_is_const(f, n, &lit))
		return kir_zeros_of(lit);
	if (!depth)
		return 0;
	switch (f->node[n].op) {
	case KIR_OP_add:
	case KIR_OP_sub:
	case KIR_OP_min:
	case KIR_OP_max: return smaller(zeros(f, x, depth - 1), zeros(f, y, depth - 1));
	case KIR_OP_mul:
		return smaller(KIR_ZEROS_MAX, zeros(f, x, depth - 1) + zeros(f, y, depth - 1));
	case KIR_OP_shl:
		lit = kir_is_const(f, y, &lit) && lit > 0 && lit < KIR_ZEROS_MAX ? lit : 0;
		return smaller(KIR_ZEROS_MAX, zeros(f, x, depth - 1) + (unsigned)lit);
	case KIR_OP_select:
		return smaller(zeros(f, y, depth - 1), zeros(f, kir_src(f, n, 2), depth - 1));
	case KIR_OP_mod: /* what lies below every zero of the divisor passes through */
		return kir_is_const(f, y, &lit) && lit > 0
		           ? smaller(zeros(f, x, depth - 1), kir_zeros_of(lit))
		           : 0;
	case KIR_OP_arg:
		if (f->node[n - 1].op != KIR_OP_for)
			return 0;
		return smaller(kir_zeros_of(kir_for_step(f, n - 1)),
		               zeros(f, kir_src(f, n - 1, 0), depth - 1));
	default: return 0;
	}
}

unsigned kir_zeros(const kir_func *f, kir_ref n)
{
	return zeros(f, n, DEPTH);
}
