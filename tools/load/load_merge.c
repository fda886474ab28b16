/* SPDX-License-Identifier: Apache-2.0 */
/* load_merge.c -- a merge to be measured: batch times qlen rows of PARTS parts each, as a
 * context that was shared out among so many kernels leaves them. Its bytes are those it reads.
 */
#include "load.h"

#include <stdio.h>
#include <string.h>

enum { PARTS = 8 };

bool load_merge(load *l, double cold, char *why, size_t len)
{
	attn *a = &l->a;
	const kir_problem *p = &a->p;
	int64_t rows = (p->batch ? p->batch : 1) * (p->qlen ? p->qlen : 1);
	double sums = (double)PARTS * (double)rows * (double)p->heads;
	double outputs = sums * (double)p->dim_k * sizeof(float);

	l->bytes = outputs + sums * sizeof(float);
	if (!load_fits(a, 2 * l->bytes, (double)rows, why, len))
		return false;
	l->turns = load_turns(outputs, cold);
	l->pool_bytes = outputs * (double)l->turns;

	int64_t shape[4] = { PARTS, rows, p->heads, p->dim_k };
	int64_t n = PARTS * rows * p->heads, step = n * p->dim_k;
	float *parts = load_pool(l, (size_t)(step * l->turns) * sizeof *parts);
	float *lses = bind_tensor(&a->b, "lses", KVJIT_F32, 3, shape)->data;

	if (!parts || !lses) {
		snprintf(why, len, "no memory for the parts");
		return false;
	}
	load_fill(KIR_f32, parts, step);
	for (int64_t t = 1; t < l->turns; t++)
		memcpy(parts + t * step, parts, (size_t)step * sizeof *parts);
	load_fill(KIR_f32, lses, n);
	bind_borrow(&a->b, "parts", KVJIT_F32, 4, shape, parts);
	bind_scalar(&a->b, "n", rows, 0);
	bind_scalar(&a->b, "p", PARTS, 0);
	load_others(l, rows);
	l->narg = bind_args(&a->b, l->k, l->arg, why, len);
	if (l->narg < 0)
		return false;
	load_moves(l, "parts", parts, (size_t)step * sizeof *parts);
	return true;
}
