/* SPDX-License-Identifier: Apache-2.0 */
/* emit.h -- short spellings for building IR inside a pass.
 *
 * e1..e3 emit an op with one to three operands and default attributes; the x forms take
 * the axis along which vector operands of an elementwise op lie, or a reduction works.
 */
#ifndef KVJIT_PASSES_EMIT_H
#define KVJIT_PASSES_EMIT_H

#include "passes.h"

static inline kir_ref e1(kir_func *f, kir_op op, kir_type_id t, kir_ref a)
{
	return kir_emit(f, op, t, &a, 1, NULL);
}

static inline kir_ref e2(kir_func *f, kir_op op, kir_type_id t, kir_ref a, kir_ref b)
{
	return kir_emit(f, op, t, (kir_ref[]){ a, b }, 2, NULL);
}

static inline kir_ref e3(kir_func *f, kir_op op, kir_type_id t, kir_ref a, kir_ref b, kir_ref c)
{
	return kir_emit(f, op, t, (kir_ref[]){ a, b, c }, 3, NULL);
}

static inline kir_ref e0x(kir_func *f, kir_op op, kir_type_id t, int64_t axis)
{
	return kir_emit(f, op, t, NULL, 0, (int64_t[KIR_MAX_ATTRS]){ axis });
}

static inline kir_ref e1x(kir_func *f, kir_op op, kir_type_id t, kir_ref a, int64_t axis)
{
	return kir_emit(f, op, t, &a, 1, (int64_t[KIR_MAX_ATTRS]){ axis });
}

static inline kir_ref e2x(kir_func *f, kir_op op, kir_type_id t, kir_ref a, kir_ref b,
                          int64_t axis)
{
	return kir_emit(f, op, t, (kir_ref[]){ a, b }, 2, (int64_t[KIR_MAX_ATTRS]){ axis });
}

static inline kir_ref e3x(kir_func *f, kir_op op, kir_type_id t, kir_ref a, kir_ref b,
                          kir_ref c, int64_t axis)
{
	return kir_emit(f, op, t, (kir_ref[]){ a, b, c }, 3, (int64_t[KIR_MAX_ATTRS]){ axis });
}

static inline kir_ref s64c(kir_func *f, int64_t x)
{
	return kir_const_i(f, KIR_s64, x);
}

static inline kir_ref f32c(kir_func *f, double x)
{
	return kir_const_f(f, KIR_f32, x);
}

/* Scales count as 2^-100 where they are less, zero too: their reciprocals stay finite, and an
 * infinity times one stays an infinity. */
static inline kir_ref least_scale(kir_func *f)
{
	return f32c(f, 0x1p-100);
}

/* The level that lines are fetched into: knob hint, or L2. Into L1 Zen 5 takes 0.9 to 1 of the
 * time, Zen 4 1.3 to 1.9 of it, however little is fetched (docs/experiments.md), and a Xeon
 * with tile registers got 0.68 of the streaming rate instead of 0.79. The tuner tries L1. */
static inline int fetch_level(kir_func *f)
{
	int level = f->sched.hint ? f->sched.hint - 1 : KIR_HINT_t1;

	kir_chose(f, KIR_KNOB_hint, level + 1);
	return level;
}

/* 0 of any element. */
static inline kir_ref zero_of(kir_func *f, kir_elem e)
{
	return kir_is_float(e) ? kir_const_f(f, e, 0) : kir_const_i(f, e, 0);
}

/* A comparison's type: i1 in the shape of t. */
static inline kir_type_id i1_like(kir_func *f, kir_type_id t)
{
	return kir_with_elem(f->module, t, KIR_i1);
}

/* Value x as element e, itself if it is that already. */
static inline kir_ref as_elem(kir_func *f, kir_ref x, kir_elem e)
{
	if (kir_type_of(f, x)->elem == e)
		return x;
	return e1(f, KIR_OP_convert, kir_with_elem(f->module, f->node[x].type, e), x);
}

/* Reads one element; idx are its n indices. */
static inline kir_ref load1(kir_func *f, kir_ref buf, unsigned n, const kir_ref *idx)
{
	kir_ref src[KIR_RANK + 1] = { buf };

	for (unsigned i = 0; i < n; i++)
		src[1 + i] = idx[i];
	return kir_emit(f, KIR_OP_load,
	                kir_scalar(f->module, (kir_elem)kir_type_of(f, buf)->elem), src, n + 1,
	                NULL);
}

#endif
