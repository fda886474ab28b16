/* SPDX-License-Identifier: Apache-2.0 */
/* probe.c -- see probe.h.
 *
 *     func @probe(%b, %h, %i, %n, %s: inout f32[?], operands of the regions)
 *       for %j = 0 to %n {
 *         %x = load %s[%j];  score region;  mask region
 *         store select(mask, score, -inf), %s[%j] }
 */
#include "probe.h"

#include "../../backends/ref/ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { P_B, P_H, P_I, P_N, P_S, P_OWN, MAX_ARGS = 32 };

struct probe {
	kir_func *f;
};

/* A parameter for each one of `in` that the regions read. */
static void add_operands(kir_func *f, const kir_func *in, kir_ref from, kir_ref to,
                         kir_ref *map)
{
	for (kir_ref n = from; n < to; n++)
		for (unsigned i = 0; i < in->node[n].nsrc; i++) {
			kir_ref x = kir_src(in, n, i);
			int k = kir_param_index(in, x);

			if (k >= 0 && !map[x])
				map[x] = kir_add_param(f, in->param[k].name, in->param[k].type,
				                       in->param[k].dir);
		}
}

/* The ops of the region whose arguments begin at n, the last `nargs` of arg; what it yields. */
static kir_ref region(kir_func *f, const kir_func *in, kir_ref n, const kir_ref *arg,
                      unsigned nargs, kir_ref *map)
{
	kir_ref end = kir_region_yield(in, n);

	for (unsigned i = 0; i < nargs; i++)
		map[n + i] = arg[i];
	for (kir_ref x = n + nargs; x <= end; x++) {
		for (unsigned i = 0; i < in->node[x].nsrc; i++)
			if (!map[kir_src(in, x, i)]) /* a literal, from anywhere before */
				kir_copy(f, in, kir_src(in, x, i), map);
		if (x < end)
			kir_copy(f, in, x, map);
	}
	return map[kir_src(in, end, 0)];
}

probe *probe_new(const kir_func *in, kir_ref n)
{
	static const char *const names[] = { "b", "h", "i", "n" };
	kir_module *m = in->module;
	probe *p = calloc(1, sizeof *p);
	kir_ref *map = calloc(in->nnode, sizeof *map), arg[5];
	int64_t any = KIR_DYN;

	if (!p || !map) {
		free(p);
		free(map);
		return NULL;
	}
	kir_func *f = p->f = kir_func_new(m, "probe", KIR_T);
	kir_type_id f32 = kir_scalar(m, KIR_f32);

	for (int i = 0; i < 4; i++)
		arg[1 + i] = kir_add_param(f, names[i], kir_scalar(m, KIR_s64), KIR_IN);
	kir_ref limit = arg[4];
	kir_ref s = kir_add_param(f, "s", kir_buffer(m, KIR_f32, 1, &any), KIR_INOUT);
	kir_ref mask = kir_region_yield(in, n + 1) + 1;

	add_operands(f, in, n + 1, kir_region_end(in, n), map);
	kir_ref loop = kir_for(f, kir_const_i(f, KIR_s64, 0), limit, 1, false, NULL, 0);

	arg[4] = loop + 1;
	arg[0] = kir_emit(f, KIR_OP_load, f32, (kir_ref[]){ s, arg[4] }, 2, NULL);
	kir_ref x = region(f, in, n + 1, arg, 5, map);
	kir_ref seen = region(f, in, mask, arg + 1, 4, map);

	x = kir_emit(f, KIR_OP_select, f32,
	             (kir_ref[]){ seen, x, kir_const_f(f, KIR_f32, -INFINITY) }, 3, NULL);
	x = kir_emit(f, KIR_OP_splat, kir_vector(m, KIR_f32, 1), &x, 1, NULL);
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ x, s, arg[4] }, 3, NULL);
	kir_for_end(f, loop, NULL, 0);
	kir_ret(f);
	free(map);
	return p;
}

void probe_free(probe *p)
{
	free(p);
}

/* Of the outer n axes of contiguous data, in bytes. */
static void default_strides(const bind_arg *x, unsigned n, kref_arg *a)
{
	int64_t bytes = (int64_t)bind_item(x->dtype);

	for (int d = x->rank; d--;) {
		if (d < (int)n)
			a->stride[d] = bytes;
		bytes *= x->shape[d];
	}
}

bool probe_scores(const probe *p, const bind *args, int64_t b, int64_t h, int64_t i, int64_t n,
                  float *s, char *why, size_t len)
{
	kref_arg a[MAX_ARGS] = { [P_B].i = b, [P_H].i = h, [P_I].i = i, [P_N].i = n };
	kir_diag d = { 0 };

	a[P_S].base = s;
	a[P_S].bytes = n * (int64_t)sizeof *s;
	for (unsigned k = P_OWN; k < p->f->nparam && k < MAX_ARGS; k++) {
		const bind_arg *x = bind_find((bind *)args, p->f->param[k].name);

		if (!x)
			return snprintf(why, len, "nothing is bound to '%s'",
			                p->f->param[k].name) < 0;
		a[k] = (kref_arg){
			.base = x->data, .bytes = (int64_t)bind_bytes(x), .i = x->i, .f = x->f
		};
		default_strides(x, p->f->param[k].nstride, &a[k]);
	}
	if (kref_run(p->f, a, KREF_EXACT, NULL, &d))
		return true;
	kir_diag_text(&d, why, len);
	return false;
}
