/* SPDX-License-Identifier: Apache-2.0 */
/* expand_merge.c -- partial outputs joined by their log-sum-exps.
 *
 *     for %t = 0 to %n par {                  ; a token, its heads as rows
 *       m, l, acc = for %p = 0 to parts carry(-inf, 0, 0) {
 *         one more normalised part with its log-sum-exp }
 *       out = acc / l; lse = log of l, and m }
 */
#include "expand_softmax.h"

/* parts[p, t, h, :] and lses[p, t, h] over p into out and lse: one token at a time, the heads
 * as rows. */
bool expand_merge(const kir_func *in, kir_ref n, kir_func *f, kir_ref *map, kir_diag *why)
{
	kir_module *m = f->module;
	kir_ref out = expand_operand(in, n, map, "out"),
	        lse = expand_operand(in, n, map, "lse");
	kir_ref parts = expand_operand(in, n, map, "parts");
	kir_ref lses = expand_operand(in, n, map, "lses"), zero = s64c(f, 0);
	int64_t heads = kir_type_of(f, out)->dim[1], dim = kir_type_of(f, out)->dim[2];
	kir_elem e = (kir_elem)kir_type_of(f, out)->elem;
	kir_ref lt = kir_for(f, zero, expand_operand(in, n, map, "n"), 1, true, NULL, 0);
	kir_ref t = lt + 1;
	softmax_state s = softmax_begin(f, heads, &dim, 1);
	kir_ref carry[2 + PARTS];
	unsigned width = softmax_list(&s, carry);
	kir_ref lp = kir_for(f, zero, expand_operand(in, n, map, "p"), 1, false, carry, width);
	kir_ref o = kir_emit(f, KIR_OP_load, kir_tile(m, KIR_f32, heads, dim),
	                     (kir_ref[]){ parts, lp + 1, t, zero, zero }, 5, NULL);
	kir_ref x = kir_emit(f, KIR_OP_load, kir_vector(m, KIR_f32, heads),
	                     (kir_ref[]){ lses, lp + 1, t, zero }, 4, NULL);

	(void)why;
	s = softmax_join(f, softmax_from(lp + 2, 1), &o, x);
	softmax_list(&s, carry);
	s = softmax_from(kir_for_end(f, lp, carry, width), 1);
	kir_emit(
	    f, KIR_OP_store, KIR_NO_TYPE,
	    (kir_ref[]){ as_elem(f, softmax_normal(f, s, 0, 0).acc[0], e), out, t, zero, zero },
	    5, NULL);
	if (lse)
		kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
		         (kir_ref[]){ softmax_lse(f, s), lse, t, zero }, 4, NULL);
	kir_for_end(f, lt, NULL, 0);
	return true;
}
