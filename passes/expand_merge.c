/* SPDX-License-Identifier: Apache-2.0 */
/* expand_merge.c -- partial outputs joined by their log-sum-exps.
 *
 *     for %t = 0 to %n par {                  ; a token, its heads as rows
 *       m, l, acc = for %p = 0 to parts carry(-inf, 0, 0) {
 *         one more normalised part with its log-sum-exp }
 *       out = acc / l; lse = log of l, and m }
 */
#include "expand_softmax.h"

#include <math.h>

/* A part's log-sum-exps for the sum: +inf says that nothing was seen, as -inf does. */
static kir_ref seen(kir_func *f, kir_ref lse)
{
	kir_type_id t = f->node[lse].type;
	kir_ref none = e2(f, KIR_OP_eq, i1_like(f, t), lse, f32c(f, INFINITY));

	return e3(f, KIR_OP_select, t, none, f32c(f, -INFINITY), lse);
}

/* Rows of a part for the sum. One that saw nothing may hold anything: a weight of 0 makes no 0
 * of a NaN or an infinity. */
static kir_ref written(kir_func *f, kir_ref part, kir_ref lse)
{
	kir_type_id t = f->node[lse].type;
	kir_ref none = e2(f, KIR_OP_eq, i1_like(f, t), lse, f32c(f, -INFINITY));

	return e3x(f, KIR_OP_select, f->node[part].type, none, f32c(f, 0), part, 0);
}

/* The sum's log-sum-exps; where no part saw anything, the largest that one of them said. */
static kir_ref told(kir_func *f, softmax_state s, kir_ref largest)
{
	kir_type_id t = f->node[s.m].type;
	kir_ref none = e2(f, KIR_OP_eq, i1_like(f, t), s.l, f32c(f, 0));

	return e3(f, KIR_OP_select, t, none, largest, softmax_lse(f, s));
}

/* parts[p, t, h, :] and lses[p, t, h] over p into out and lse: one token at a time, the heads
 * as rows. */
bool expand_merge(const kir_func *in, kir_ref n, kir_func *f, kir_ref *map, kir_diag *why)
{
	kir_module *m = f->module;
	kir_ref out = expand_operand(in, n, map, "out"),
	        lse = expand_operand(in, n, map, "lse");
	kir_ref parts = expand_operand(in, n, map, "parts");
	kir_ref lses = expand_operand(in, n, map, "lses"), zero = s64c(f, 0);
	kir_ref sink = expand_operand(in, n, map, "sink");
	int64_t heads = kir_type_of(f, out)->dim[1], dim = kir_type_of(f, out)->dim[2];
	kir_elem e = (kir_elem)kir_type_of(f, out)->elem;
	kir_type_id row = kir_vector(m, KIR_f32, heads);
	kir_ref lt = kir_for(f, zero, expand_operand(in, n, map, "n"), 1, true, NULL, 0);
	kir_ref t = lt + 1;
	softmax_state s = softmax_begin(f, heads, &dim, 1);
	kir_ref carry[3 + PARTS];
	unsigned width = softmax_list(&s, carry);

	(void)why;
	if (lse)
		carry[width++] = e1(f, KIR_OP_splat, row, f32c(f, -INFINITY));
	kir_ref lp = kir_for(f, zero, expand_operand(in, n, map, "p"), 1, false, carry, width);
	kir_ref o = kir_emit(f, KIR_OP_load, kir_tile(m, KIR_f32, heads, dim),
	                     (kir_ref[]){ parts, lp + 1, t, zero, zero }, 5, NULL);
	kir_ref x =
	    kir_emit(f, KIR_OP_load, row, (kir_ref[]){ lses, lp + 1, t, zero }, 4, NULL);
	kir_ref most = lse ? e2(f, KIR_OP_max, row, lp + 1 + width, x) : 0;

	x = seen(f, x);
	o = written(f, o, x);
	s = softmax_join(f, softmax_from(lp + 2, 1), &o, x);
	softmax_list(&s, carry);
	if (lse)
		carry[width - 1] = most;
	kir_ref done = kir_for_end(f, lp, carry, width);

	s = softmax_from(done, 1);
	if (sink)
		sink = e2(f, KIR_OP_mul, row, e2(f, KIR_OP_load, row, sink, zero),
		          f32c(f, (float)LOG2E));
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
	         (kir_ref[]){ as_elem(f, softmax_normal(f, s, sink, 0).acc[0], e), out, t, zero,
	                      zero },
	         5, NULL);
	if (lse)
		kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
		         (kir_ref[]){ told(f, s, done + width - 1), lse, t, zero }, 4, NULL);
	kir_for_end(f, lt, NULL, 0);
	return true;
}
