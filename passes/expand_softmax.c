/* SPDX-License-Identifier: Apache-2.0 */
/* expand_softmax.c -- see expand_softmax.h. */
#include "expand_softmax.h"

#include <math.h>
#include <string.h>

softmax_state softmax_begin(kir_func *f, int64_t rows, const int64_t *dim, unsigned n)
{
	kir_type_id v = kir_vector(f->module, KIR_f32, rows);
	kir_ref zero = f32c(f, 0);
	softmax_state s = { .m = e1(f, KIR_OP_splat, v, f32c(f, -INFINITY)), .n = n };

	s.l = e1(f, KIR_OP_splat, v, zero);
	for (unsigned i = 0; i < n; i++)
		s.acc[i] =
		    e1(f, KIR_OP_splat, kir_tile(f->module, KIR_f32, rows, dim[i]), zero);
	return s;
}

unsigned softmax_list(const softmax_state *s, kir_ref out[2 + PARTS])
{
	out[0] = s->m;
	out[1] = s->l;
	memcpy(out + 2, s->acc, sizeof(s->acc));
	return 2 + s->n;
}

softmax_state softmax_from(kir_ref first, unsigned n)
{
	softmax_state s = { .m = first, .l = first + 1, .n = n };

	for (unsigned i = 0; i < n; i++)
		s.acc[i] = first + 2 + i;
	return s;
}

kir_ref softmax_safe(kir_func *f, kir_ref m)
{
	kir_type_id t = f->node[m].type;
	kir_ref empty = e2(f, KIR_OP_eq, i1_like(f, t), m, f32c(f, -INFINITY));

	return e3(f, KIR_OP_select, t, empty, f32c(f, 0), m);
}

kir_ref softmax_lse(kir_func *f, softmax_state s)
{
	kir_type_id t = f->node[s.m].type;
	kir_ref x = e2(f, KIR_OP_add, t, e1(f, KIR_OP_log2, t, s.l), s.m);

	return e2(f, KIR_OP_mul, t, x, f32c(f, (float)(1 / LOG2E)));
}

/* 1 / (l + what the sink adds), 0 where that is 0: what sums of weighted values are scaled
 * with. sink2: f32<R> base-2 logits or 0. */
static kir_ref softmax_factor(kir_func *f, softmax_state s, kir_ref sink2)
{
	kir_type_id t = f->node[s.m].type;
	kir_ref l = s.l;

	if (sink2) {
		kir_ref d = e2(f, KIR_OP_sub, t, sink2, softmax_safe(f, s.m));

		l = e2(f, KIR_OP_add, t, l, e1(f, KIR_OP_exp2, t, d));
	}
	kir_ref none = e2(f, KIR_OP_eq, i1_like(f, t), l, f32c(f, 0));
	kir_ref r = e2(f, KIR_OP_div, t, e1(f, KIR_OP_splat, t, f32c(f, 1)), l);

	return e3(f, KIR_OP_select, t, none, f32c(f, 0), r);
}

softmax_state softmax_normal(kir_func *f, softmax_state s, kir_ref sink2, kir_ref scale)
{
	kir_ref r = softmax_factor(f, s, sink2);

	if (scale)
		r = e2(f, KIR_OP_mul, f->node[r].type, r, scale);

	for (unsigned i = 0; i < s.n; i++)
		s.acc[i] = e2x(f, KIR_OP_mul, f->node[s.acc[i]].type, s.acc[i], r, 0);
	return s;
}

softmax_state softmax_join(kir_func *f, softmax_state s, const kir_ref *o, kir_ref lse)
{
	kir_type_id rt = f->node[s.m].type;
	kir_ref x = e2(f, KIR_OP_mul, rt, lse, f32c(f, (float)LOG2E));
	kir_ref m = e2(f, KIR_OP_max, rt, s.m, x), ms = softmax_safe(f, m);
	kir_ref al = e1(f, KIR_OP_exp2, rt, e2(f, KIR_OP_sub, rt, s.m, ms));
	kir_ref w = e1(f, KIR_OP_exp2, rt, e2(f, KIR_OP_sub, rt, x, ms));

	s.m = m;
	s.l = e3(f, KIR_OP_fma, rt, s.l, al, w);
	for (unsigned i = 0; i < s.n; i++) {
		kir_type_id t = f->node[s.acc[i]].type;
		kir_ref old = e2x(f, KIR_OP_mul, t, s.acc[i], al, 0);

		s.acc[i] = e2(f, KIR_OP_add, t, old, e2x(f, KIR_OP_mul, t, o[i], w, 0));
	}
	return s;
}
