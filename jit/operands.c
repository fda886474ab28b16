/* SPDX-License-Identifier: Apache-2.0 */
/* operands.c -- how long the tensors must be that scores and masks read: operands of with=,
 * slopes, whatever a level-A text names. What a region indexes by its sequence needs one
 * element for each sequence, and so on (ir/region_index.c); a call holds the host's extents
 * against that. Nothing is known of an index that is computed otherwise, or of texts at levels
 * T and V.
 */
#include "frame.h"

static void note(kvjit_read *r, kir_index at)
{
	int64_t *div = &r->div[at.of];

	if (at.of == KIR_COUNTS_nothing)
		r->below = at.below > r->below ? at.below : r->below;
	else if (!*div || at.div < *div)
		*div = at.div;
}

static void note_load(kvjit_kernel *k, const kir_func *ir, kir_ref load)
{
	kir_ref buf, upto;
	unsigned first, count;

	kir_access(ir, load, &buf, &first, &count, &upto);
	int param = kir_param_index(ir, buf);
	kvjit_slot *s = param < 0 ? NULL : &k->slot[param];

	if (!s)
		return;
	for (unsigned d = 0; d < count && d < KVJIT_MAX_READ; d++)
		note(&s->read[d], kir_region_index(ir, kir_src(ir, load, first + d)));
	if (s->rows == KVJIT_ROWS_pages) /* bytes, but not a cache's */
		s->rows = KVJIT_ROWS_any;
}

void kvjit_find_operands(kvjit_kernel *k, const kir_func *ir)
{
	kir_ref end;

	for (kir_ref op = 1; ir->level == KIR_A && op < ir->nnode; op++) {
		if (ir->node[op].op != KIR_OP_attention)
			continue;
		end = kir_region_end(ir, op);
		for (kir_ref n = op + 1; n < end; n++)
			if (ir->node[n].op == KIR_OP_load)
				note_load(k, ir, n);
	}
}

/* How many there are in a call of what an index counts; -1: not known. Positions over index
 * lists are entries, of which nothing is known here. */
static int64_t there_are(const kvjit_frame *f, kir_counted of)
{
	const kvjit_plan *p = f->plan;

	switch (of) {
	case KIR_COUNTS_seqs: return p->nseq;
	case KIR_COUNTS_heads: return f->k->shape.heads;
	case KIR_COUNTS_positions: return f->k->shape.sparse[0] ? -1 : p->longest;
	case KIR_COUNTS_new: return p->most_new;
	case KIR_COUNTS_rows: return p->nrows;
	default: return -1;
	}
}

int64_t kvjit_elements_read(const kvjit_frame *f, int i, int axis)
{
	int64_t most = -1, n;

	if (!f->plan || !f->plan->nrows || axis >= KVJIT_MAX_READ)
		return -1;
	const kvjit_read *r = &f->k->slot[i].read[axis];

	for (int c = 0; c < KIR_NCOUNTED; c++) {
		if (!r->div[c])
			continue;
		n = there_are(f, (kir_counted)c);
		n = n > 0 ? (n - 1) / r->div[c] + 1 : n;
		most = n > most ? n : most;
	}
	return r->below > most ? r->below : most;
}
