/* SPDX-License-Identifier: Apache-2.0 */
/* prefetch.c -- cache lines are touched knob `prefetch` bytes early.
 *
 *     for %i = 0 to 128 {                        for %i = 0 to 128 {
 *       %x = vload %k[%p,%h,%i,0] : s8<64>         %j = add %i, 8 : s64
 *                                                  prefetch %k[%p,%h,%j,0]
 *                                                  %x = vload %k[%p,%h,%i,0] : s8<64>
 *
 * For each vload in an innermost loop from a parameter, or a view of one, whose place
 * changes in that loop. The address ahead is that of another index of the same buffer: the
 * last piece whose stride divides the distance is moved, if moving it leaves the axis's other
 * pieces as they are. Where no piece serves, nothing is added. The element may lie outside
 * the buffer: a prefetch doesn't fault.
 *
 * Requires: level V. Keeps: everything; prefetches come on top.
 */
#include "passes.h"

#include <string.h>

typedef struct ahead {
	const kir_func *in;
	kir_func *out;
	kir_ref *map;
	kir_ref loop; /* innermost loop around the node, 0 if there is none        */
	kir_ref end;  /* the node after it                                          */
	int64_t bytes;
} ahead;

static bool from_param(const kir_func *f, kir_ref b)
{
	while (kir_at(f, b)->op == KIR_OP_view)
		b = kir_src(f, b, 0);
	return kir_at(f, b)->op == KIR_OP_param;
}

/* Whether moving `axis` by delta moves piece p alone. */
static bool only_piece(const kir_type *t, unsigned p, int64_t delta)
{
	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *q = &t->piece[i];
		int64_t div = q->div > 0 ? q->div : 1;
		if (i == p || q->axis != t->piece[p].axis)
			continue;
		if (q->mod <= 0 || delta % (div * q->mod) != 0)
			return false;
	}
	return true;
}

/* Axis and distance along it that are `bytes` in memory. */
static bool find_axis(const kir_type *t, int64_t bytes, unsigned *axis, int64_t *delta)
{
	for (unsigned p = t->npieces; p-- > 0;) {
		const kir_piece *q = &t->piece[p];
		if (q->dyn || q->mod > 0 || q->stride <= 0 || bytes % q->stride != 0)
			continue;
		*axis = q->axis;
		*delta = bytes / q->stride * (q->div > 0 ? q->div : 1);
		if (only_piece(t, p, *delta))
			return true;
	}
	return false;
}

static bool innermost(const kir_func *f, kir_ref loop, kir_ref end)
{
	for (kir_ref n = loop + 1; n < end; n++)
		if (kir_at(f, n)->op == KIR_OP_for)
			return false;
	return true;
}

static bool changes(const ahead *a, kir_ref load, unsigned first, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		kir_ref s = kir_src(a->in, load, first + i);
		if (s > a->loop && kir_at(a->in, s)->op != KIR_OP_const)
			return true;
	}
	return false;
}

static bool add_prefetch(ahead *a, kir_ref load)
{
	kir_ref buf, upto, src[KIR_RANK + 1];
	unsigned first, nindex, axis;
	int64_t delta;
	const kir_type *t;

	kir_access(a->in, load, &buf, &first, &nindex, &upto);
	t = kir_type_of(a->in, buf);
	if (!from_param(a->in, buf) || !changes(a, load, first, nindex) ||
	    !find_axis(t, a->bytes, &axis, &delta))
		return false;
	src[0] = a->map[buf];
	for (unsigned i = 0; i < t->rank; i++)
		src[1 + i] = i < nindex ? a->map[kir_src(a->in, load, first + i)]
		                        : kir_const_i(a->out, KIR_s64, 0);
	src[1 + axis] = kir_emit(
	    a->out, KIR_OP_add, kir_scalar(a->out->module, KIR_s64),
	    (kir_ref[]){ src[1 + axis], kir_const_i(a->out, KIR_s64, delta) }, 2, NULL);
	kir_emit(a->out, KIR_OP_prefetch, KIR_NO_TYPE, src, 1 + t->rank, NULL);
	return true;
}

kpass_result kpass_prefetch(const kir_func *in, kir_func *out, kir_diag *why)
{
	ahead a = { .in = in, .out = out, .bytes = in->sched.prefetch };
	bool changed = false;

	(void)why;
	if (a.bytes <= 0)
		return KPASS_SAME;
	a.map = kir_map_new(out, in);
	for (kir_ref n = 1; n < in->nnode; n++) {
		const kir_node *x = kir_at(in, n);
		if (x->op == KIR_OP_param)
			continue;
		if (x->op == KIR_OP_for && !kir_for_par(in, n) &&
		    innermost(in, n, kir_region_end(in, n))) {
			a.loop = n;
			a.end = kir_region_end(in, n);
		}
		if (a.loop && n >= a.end)
			a.loop = 0;
		if (x->op == KIR_OP_vload && a.loop)
			changed |= add_prefetch(&a, n);
		kir_copy(out, in, n, a.map);
	}
	return changed ? KPASS_CHANGED : KPASS_SAME;
}
