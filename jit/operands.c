/* SPDX-License-Identifier: Apache-2.0 */
/* operands.c -- how long the vectors must be that scores and masks read: operands of with=,
 * slopes, whatever a level-A text names. What a region indexes by its sequence needs one
 * element for each sequence, and so on; a call holds the host's extents against that. Nothing
 * is known of an index that is computed otherwise, or of texts at levels T and V.
 */
#include "jit.h"

/* What argument n of a region counts: the regions' arguments are [s,] b, h, i, j. */
static unsigned counts(const kir_func *f, kir_ref n)
{
	static const uint8_t what[] = { KVJIT_READ_seqs, KVJIT_READ_heads, KVJIT_READ_positions,
		                        KVJIT_READ_positions };
	int64_t at = f->node[n].attr[0];
	bool score = kir_type_of(f, n - (kir_ref)at)->elem == KIR_f32;

	return score && !at ? 0 : what[at - score];
}

/* Of a second cache a position is an argument and the tokens of the first. */
static unsigned counts_of(const kir_func *f, kir_ref index)
{
	unsigned read = 0;

	if (f->node[index].op == KIR_OP_arg)
		return counts(f, index);
	if (f->node[index].op != KIR_OP_add)
		return 0;
	for (unsigned i = 0; i < 2; i++) {
		kir_ref side = kir_src(f, index, i);

		if (f->node[side].op == KIR_OP_arg)
			read |= counts(f, side);
		else if (f->node[side].op == KIR_OP_const)
			return 0;
	}
	return read == KVJIT_READ_positions ? read : 0;
}

void kvjit_find_operands(kvjit_kernel *k, const kir_func *ir)
{
	kir_ref end;

	for (kir_ref op = 1; ir->level == KIR_A && op < ir->nnode; op++) {
		if (ir->node[op].op != KIR_OP_attention)
			continue;
		end = kir_region_end(ir, op);
		for (kir_ref n = op + 1; n < end; n++)
			for (unsigned i = 0; ir->node[n].op == KIR_OP_load && i < ir->nparam;
			     i++)
				if (ir->param[i].node == kir_src(ir, n, 0) &&
				    kir_type_of(ir, ir->param[i].node)->rank == 1)
					k->slot[i].read |=
					    (uint8_t)counts_of(ir, kir_src(ir, n, 1));
	}
}
