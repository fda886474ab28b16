/* SPDX-License-Identifier: Apache-2.0 */
/* analysis.h -- what more than one pass asks of a function: answered in one place, so that no
 * two passes go by different rules.
 */
#ifndef KVJIT_PASSES_ANALYSIS_H
#define KVJIT_PASSES_ANALYSIS_H

#include "passes.h"

/* Node 0, which is none, is no op either. */
static inline bool is_op(const kir_func *f, kir_ref n, kir_op op)
{
	return f->node[n].op == op;
}

/* The memory that n reads or writes: the parameter or local behind its buffer; 0: none.
 *
 * Two ops may trade places unless this is the same for both and one of them writes: locals are
 * apart from each other and from parameters, and so are two parameters one of which is written
 * (docs/IR.md, Memory). A prefetch touches nothing that a program could notice. Tile registers
 * aren't memory: who moves their ops keeps those in order, too. At levels T and V, where an op
 * has one buffer. */
static inline kir_ref touched(const kir_func *f, kir_ref n, bool *writes)
{
	kir_op op = (kir_op)f->node[n].op;
	unsigned flags = kir_ops[op].flags;

	*writes = false;
	if (!(flags & (KIR_READS | KIR_WRITES)) || op == KIR_OP_prefetch)
		return 0;
	*writes = flags & KIR_WRITES && op != KIR_OP_amx_load;
	for (unsigned i = 0; i < f->node[n].nsrc; i++)
		if (kir_type_of(f, kir_src(f, n, i))->buffer)
			return kir_root(f, kir_src(f, n, i));
	return 0;
}

/* Whether n is a conversion that does nothing but what its element asks for: no other rounding,
 * nothing else in the place of a NaN, an infinity or a subnormal. */
static inline bool is_plain_convert(const kir_func *f, kir_ref n)
{
	return is_op(f, n, KIR_OP_convert) &&
	       kir_attr_of(f, n, KIR_ATTR_round) == KIR_ROUND_even &&
	       kir_attr_of(f, n, KIR_ATTR_nan) == KIR_NAN_keep &&
	       kir_attr_of(f, n, KIR_ATTR_over) == KIR_OVER_sat &&
	       kir_attr_of(f, n, KIR_ATTR_sub) == KIR_SUB_keep;
}

/* Whether that leaves values of element e as they are, where e is also the operand's:
 * infinities of 8 bits saturate. */
static inline bool keeps_values(kir_elem e)
{
	return !kir_is_float(e) || kir_elems[e].bits >= 16;
}

/* Iterations of a loop whose bounds are literals; KIR_DYN: they aren't, or there are 2^63. */
static inline int64_t loop_trips(const kir_func *f, kir_ref loop)
{
	int64_t lo, hi;
	uint64_t trips;

	if (!kir_is_const(f, kir_src(f, loop, 0), &lo) ||
	    !kir_is_const(f, kir_src(f, loop, 1), &hi))
		return KIR_DYN;
	trips = kir_for_trips(lo, hi, kir_for_step(f, loop));
	return trips > INT64_MAX ? KIR_DYN : (int64_t)trips;
}

/* Bytes of local n: its extents are known, and its elements lie one after the other. */
static inline int64_t local_bytes(const kir_func *f, kir_ref n)
{
	const kir_type *t = kir_type_of(f, n);

	return kir_type_count(t) * kir_elem_bytes((kir_elem)t->elem);
}

/* By node, the op in whose region it stands; 0: at the top. A yield stands in the one that it
 * closes, results stand behind it. An array of nnode in the module's arena. */
kir_ref *region_parents(const kir_func *f);
/* The innermost loop around n; 0: none. */
kir_ref loop_around(const kir_func *f, const kir_ref *parent, kir_ref n);

#endif
