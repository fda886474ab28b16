/* SPDX-License-Identifier: Apache-2.0 */
/* analysis.c -- what takes a walk over the function. */
#include "analysis.h"

kir_ref *region_parents(const kir_func *f)
{
	kir_ref *parent = kir_alloc(f->module, f->nnode * sizeof *parent), open = 0;
	unsigned *yields = kir_alloc(f->module, f->nnode * sizeof *yields);

	for (kir_ref n = 1; n < f->nnode; n++) {
		parent[n] = open;
		yields[n] = kir_regions(f, n); /* that are still to come */
		if (yields[n])
			open = n;
		else if (is_op(f, n, KIR_OP_yield) && --yields[open] == 0)
			open = parent[open];
	}
	return parent;
}

kir_ref loop_around(const kir_func *f, const kir_ref *parent, kir_ref n)
{
	do
		n = parent[n];
	while (n && !is_op(f, n, KIR_OP_for));
	return n;
}
