/* SPDX-License-Identifier: Apache-2.0 */
/* frag_left.c -- left factors: a lane of them holds its share of each row's columns.
 *
 *     32 bytes of a row a step     of 16 bits   of 8 bits
 *     engines of 16 lanes          1            2            columns a lane
 *     engines of 8 lanes           2            4
 *
 * Where a share is one column, a block is a factor as it is. Where it is more, the blocks of a
 * run (columns l run + i in lane l of block i, frag_shape.c) are put side by side for each row,
 * and no lane looks at another:
 *
 *     %a0 columns 0, 2, .. 14     %a1 columns 1, 3, .. 15
 *     %a = xe.zip %a0, %a1        columns 0 and 1, 2 and 3, ..: of row 0, of row 1, ...
 */
#include "fragment.h"

/* x's blocks i, i + every, ... as one: their columns side by side in each lane, for each row.
 */
static kir_ref side_by_side(frag *g, const kir_ref *x, int64_t count, int64_t every)
{
	kir_ref even, odd;
	const kir_type *t;

	if (count == 1)
		return x[0];
	even = side_by_side(g, x, count / 2, 2 * every);
	odd = side_by_side(g, x + every, count / 2, 2 * every);
	t = kir_type_of(g->f, even);
	return e2(g->f, KIR_OP_xe_zip,
	          kir_vector(g->f->module, (kir_elem)t->elem, 2 * t->dim[0]), even, odd);
}

kir_ref *frag_left(frag *g, kir_ref n)
{
	kir_ref a = kir_src(g->in, n, 0), *out;
	int64_t share = frag_share(g, n), run = g->run[a], count = frag_blocks(g, a) / share;
	int64_t apart =
	    run / share; /* 2: those of the even columns of a run, of the odd ones */

	if (share == 1)
		return g->val[a];
	if (g->lanes == FRAG_WIDE)
		return frag_left_bytes(g, a);
	out = kir_alloc(g->f->module, (size_t)count * sizeof *out);
	for (int64_t i = 0; i < count; i++)
		out[i] = side_by_side(g, &g->val[a][i / apart * run + i % apart], share, apart);
	return out;
}
