/* SPDX-License-Identifier: Apache-2.0 */
/* interpret.c -- a call by the interpreter, which wants to know how far each tensor reaches. */
#include "frame.h"
#include "../backends/ref/ref.h"

/* Axes without a run-time stride are the innermost ones and contiguous. */
int64_t kvjit_reach(const kvjit_frame *f, int i)
{
	const kvjit_slot *slot = &f->k->slot[i];
	const kvjit_arg *a = f->arg[i];
	int64_t inner = slot->bytes, outer = 0;
	unsigned strided = 0;

	if (!a || !a->rank)
		return 0;
	for (int s = 0; s < f->k->param[i].nstride; s++) {
		int64_t stride = f->cell[slot->cell + 1 + s].i, n = a->shape[slot->axis[s]];

		if (stride < 0)
			return 0;
		strided |= 1u << slot->axis[s];
		outer += n > 0 ? (n - 1) * stride : 0;
	}
	for (int d = 0; d < a->rank; d++)
		if (!(strided >> d & 1))
			inner *= a->shape[d];
	return inner + outer;
}

int64_t kvjit_planned_bytes(const kvjit_frame *f, int i)
{
	const kvjit_plan *p = f->plan;
	const kvjit_lists *l = &p->list[f->k->slot[i].cache];

	switch (f->k->slot[i].planned) {
	case KVJIT_PLAN_work: return l->nwork * KIR_ITEM * 4;
	case KVJIT_PLAN_join: return l->njoin * KIR_ITEM * 4;
	case KVJIT_PLAN_part: return (int64_t)(p->scratch_bytes - l->part);
	case KVJIT_PLAN_both: return (int64_t)(p->scratch_bytes - p->both);
	case KVJIT_PLAN_both_lse: return (int64_t)(p->scratch_bytes - p->both_lse);
	default: break;
	}
	switch (f->k->slot[i].rows) {
	case KVJIT_ROWS_lens:
	case KVJIT_ROWS_seqs: return f->k->param[i].rank == 1 ? p->nseq * 4 : kvjit_reach(f, i);
	case KVJIT_ROWS_starts: return (p->nseq + 1) * 4;
	default: return kvjit_reach(f, i);
	}
}

kvjit_status kvjit_interpret(const kvjit_frame *f)
{
	const kvjit_kernel *k = f->k;
	kref_arg arg[KVJIT_MAX_PARAMS] = { 0 };
	kir_diag d = { 0 };
	char text[600];
	bool ok;

	for (int i = 0; i < k->nparam; i++) {
		const kvjit_cell *c = &f->cell[k->slot[i].cell];
		kref_arg *a = &arg[i];

		if (k->slot[i].buffer) {
			a->base = c->p;
			a->bytes = f->plan ? kvjit_planned_bytes(f, i) : kvjit_reach(f, i);
			for (int s = 0; s < k->param[i].nstride; s++)
				a->stride[s] = c[1 + s].i;
		} else {
			if (k->slot[i].elem == KIR_f32)
				a->f = c->f;
			else
				a->i = k->slot[i].elem == KIR_s32 ? c->w : c->i;
		}
	}
	pthread_mutex_lock((pthread_mutex_t *)&k->text);
	ok = kref_run(k->run, arg, k->planned ? KREF_EXACT : KREF_ROUND, NULL, &d);
	pthread_mutex_unlock((pthread_mutex_t *)&k->text);
	if (ok)
		return KVJIT_OK;
	return kvjit_fail(kvjit_errors_of(k), KVJIT_BAD_ARGUMENT, "the interpreter stopped: %s",
	                  kir_diag_text(&d, text, sizeof(text)));
}
