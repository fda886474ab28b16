/* SPDX-License-Identifier: Apache-2.0 */
/* short_exp.c -- weights that are narrowed come from a shorter exp2.
 *
 *     %p = exp2 %d                              %p = exp2 %d {degree=4}
 *     %l = reduce.add %p {axis=1}        =>     %l = reduce.add %p {axis=1}
 *     %w = convert %p : bf16                    %w = convert %p : bf16
 *     %o = dot %w, %v                           %o = dot %w, %v
 *
 * Their sum has the errors of the weights too, so of an output the polynomial's counts twice:
 * docs/accuracy.md. What bf16 rounds off is less than what is counted for it by more than
 * that of degree 4, which therefore is what knob exp=auto takes, if nothing takes a logarithm:
 * a log-sum-exp has no narrowed weights that its error could hide behind. Words of the knob
 * take degree 3 too, and either for weights that become one digit of 8 bits.
 *
 * Weights are an exp2 of a tile that reaches products as their left factor and nothing else but
 * sums and maxima. Factors of rescaling are exact as ever: they are few. Requires level T;
 * GPUs, for which 2^x is one instruction, are left alone.
 */
#include "emit.h"

#include <string.h>

enum { BF16 = 1, DIGIT = 2, WIDE = 4, OTHER = 8 };

static unsigned as_factor(const kir_func *f, kir_ref x, kir_ref weights)
{
	const kir_type *t = kir_type_of(f, x);

	if (t->elem == KIR_bf16)
		return BF16;
	/* two digits stand below each other */
	if (t->elem == KIR_u8 && t->dim[0] <= kir_type_of(f, weights)->dim[0])
		return DIGIT;
	return WIDE;
}

/* What exp2 p becomes as left factor of products, a set; 0: it doesn't. */
static unsigned becomes(const kir_func *f, kir_ref p, bool *from)
{
	unsigned set = 0;

	memset(from, 0, f->nnode * sizeof *from);
	from[p] = true;
	for (kir_ref n = p + 1; n < f->nnode; n++)
		for (unsigned i = 0; i < f->node[n].nsrc; i++) {
			if (!from[kir_src(f, n, i)])
				continue;
			switch (f->node[n].op) {
			case KIR_OP_reduce_add:
			case KIR_OP_reduce_max: break;
			case KIR_OP_dot:
				set |= i ? OTHER : as_factor(f, kir_src(f, n, i), p);
				break;
			case KIR_OP_mul:
			case KIR_OP_add:
			case KIR_OP_sub:
			case KIR_OP_fma:
			case KIR_OP_min:
			case KIR_OP_shl:
			case KIR_OP_shr:
			case KIR_OP_and:
			case KIR_OP_convert:
			case KIR_OP_bitcast:
			case KIR_OP_slice:
			case KIR_OP_reshape:
			case KIR_OP_concat: from[n] = true; break;
			default: set |= OTHER; break;
			}
		}
	return set & ~(unsigned)OTHER ? set : 0;
}

/* Whether logarithms of sums are results: stored, scaled or not, where a caller reads them.
 * Those of pieces, which `inout` rows keep until pieces are joined, stand for their sums. */
static bool logarithm_leaves(const kir_func *f, bool *from)
{
	memset(from, 0, f->nnode * sizeof *from);
	for (kir_ref n = 1; n < f->nnode; n++) {
		const kir_node *d = &f->node[n];
		const kir_node *to = d->nsrc > 1 ? &f->node[kir_src(f, n, 1)] : NULL;

		switch (d->op) {
		case KIR_OP_log2: from[n] = kir_type_of(f, n)->rank < 2; break;
		case KIR_OP_store:
			if (from[kir_src(f, n, 0)] && to->op == KIR_OP_param &&
			    f->param[to->attr[0]].dir == KIR_OUT)
				return true;
			break;
		case KIR_OP_add:
		case KIR_OP_sub:
		case KIR_OP_mul:
		case KIR_OP_select:
		case KIR_OP_convert:
		case KIR_OP_reshape:
			for (unsigned i = 0; i < d->nsrc; i++)
				from[n] |= from[kir_src(f, n, i)];
			break;
		default: break;
		}
	}
	return false;
}

/* The knob's word for weights that become `set`; -1 if they don't bear the one it has. */
static int word_for(const kir_func *f, unsigned set, bool logarithm)
{
	bool gpu = f->target->lanes != 0;

	if (!f->sched.exp)
		return set == BF16 && !logarithm && !gpu ? KIR_exp_quartic : KIR_exp_full;
	if (f->sched.exp != KIR_exp_full && (gpu || set & ~(unsigned)(BF16 | DIGIT)))
		return -1;
	return f->sched.exp;
}

kpass_result kpass_short_exp(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_ref *map = kir_map_new(out, in);
	bool *from = kir_alloc(out->module, in->nnode * sizeof *from);
	bool logarithm = logarithm_leaves(in, from);
	kpass_result result = KPASS_SAME;

	for (kir_ref n = 1; n < in->nnode; n++) {
		unsigned set = 0;
		int word = KIR_exp_full;

		if (in->node[n].op == KIR_OP_param)
			continue;
		if (in->node[n].op == KIR_OP_exp2 && kir_type_of(in, n)->rank == 2)
			set = becomes(in, n, from);
		if (set) {
			word = word_for(in, set, logarithm);
			kir_chose(out, KIR_KNOB_exp, word);
		}
		if (word < 0) {
			kir_error(
			    why, 0, 0,
			    in->target->lanes
			        ? "knob exp: for a GPU 2^x is an instruction, so auto or full"
			        : "knob exp: weights become neither bf16 nor 8 bits (knob "
			          "pv), so auto or full");
			return KPASS_REJECT;
		}
		if (word == KIR_exp_full) {
			kir_copy(out, in, n, map);
		} else {
			map[n] = kir_emit(
			    out, KIR_OP_exp2, in->node[n].type, &map[kir_src(in, n, 0)], 1,
			    (int64_t[KIR_MAX_ATTRS]){ word == KIR_exp_cubic ? 3 : 4 });
			result = KPASS_CHANGED;
		}
	}
	return result;
}
