/* SPDX-License-Identifier: Apache-2.0 */
/* run.c -- a call: its frames, and running them.
 *
 * A call has a frame, or two where its plan hands tiles with few queries to a kernel of their
 * own (few.c). Both are checked before anything runs. Phase i of both is one loop: whoever has
 * done with the tiles of one goes on with those of the other.
 */
#include "few.h"
#include "frame.h"
#include "record.h"
#include "refuse.h"

/* -- which kernels ------------------------------------------------------------------- */

/* The variant of k that the plan was made for. */
static const kvjit_kernel *planned_variant(const kvjit_kernel *k, const kvjit_plan *plan)
{
	return kvjit_variant(k, plan && plan->id == k->id ? plan->pick : 0);
}

static kvjit_status fill_part(const kvjit_kernel *k, const kvjit_plan *plan, kvjit_frame *f,
                              const kvjit_arg *args, int nargs, void *scratch)
{
	f->k = planned_variant(k, plan);
	f->plan = plan;
	return kvjit_pass_on(k, f->k, kvjit_frame_fill(f, args, nargs, scratch));
}

kvjit_status kvjit_frames_fill(const kvjit_kernel *k, const kvjit_plan *plan, kvjit_frames *out,
                               const kvjit_arg *args, int nargs, void *scratch)
{
	const kvjit_kernel *few = kvjit_few_of(k);
	kvjit_status s = KVJIT_OK;

	out->n = 0;
	if (!plan || !plan->mixed || plan->list[0].nwork)
		s = fill_part(k, plan, &out->f[out->n++], args, nargs, scratch);
	if (s != KVJIT_OK || !plan || !plan->mixed)
		return s;
	if (few == k && !k->family)
		return BAD("the plan hands tiles with few queries to a kernel for them, and "
		           "this kernel, whose schedule somebody chose, has none beside it: "
		           "make a plan for it");
	s = fill_part(few, plan->few, &out->f[out->n++], args, nargs,
	              scratch ? (char *)scratch + plan->few_at : NULL);
	return kvjit_pass_on(k, few, s);
}

/* -- running ------------------------------------------------------------------------ */

/* Items [begin, end) of a phase of one frame. */
static void run_items(const kvjit_frame *f, int64_t phase, int64_t begin, int64_t end)
{
	const kvjit_kernel *k = f->k;
	void *value[KVJIT_MAX_CELLS];
	unsigned n = k->ncell - 3;

	for (unsigned i = 0; i < n; i++)
		value[i] = (void *)&f->cell[i];
	value[n] = &phase;
	value[n + 1] = &begin;
	value[n + 2] = &end;
	ffi_call((ffi_cif *)&k->cif, k->entry, NULL, value);
}

typedef struct phase_run {
	const kvjit_frames *frames;
	int64_t phase, first; /* items of the first frame */
} phase_run;

static void run_range(int64_t begin, int64_t end, void *ctx)
{
	const phase_run *r = ctx;
	const kvjit_frame *f = r->frames->f;
	int64_t cut = r->first;

	if (begin < cut)
		run_items(&f[0], r->phase, begin, end < cut ? end : cut);
	if (end > cut)
		run_items(&f[1], r->phase, begin > cut ? begin - cut : 0, end - cut);
}

int64_t kvjit_phase_count(const kvjit_frame *f, const kvjit_phase *p)
{
	const kvjit_slot *s;

	if (p->param < 0)
		return p->n;
	s = &f->k->slot[p->param];
	return s->elem == KIR_s32 ? f->cell[s->cell].w : f->cell[s->cell].i;
}

static int64_t items_of(const kvjit_frames *frames, int part, int phase)
{
	const kvjit_frame *f = &frames->f[part];
	int64_t n = 0;

	if (part < frames->n && phase < f->k->nphase)
		n = kvjit_phase_count(f, &f->k->phase[phase]);
	return n > 0 ? n : 0;
}

static void run_phases(const kvjit_frames *frames)
{
	const kvjit_kernel *k = frames->f[0].k;
	int phases = k->nphase;

	if (frames->n > 1 && frames->f[1].k->nphase > phases)
		phases = frames->f[1].k->nphase;
	for (int i = 0; i < phases; i++) {
		phase_run r = { frames, i, items_of(frames, 0, i) };
		int64_t n = r.first + items_of(frames, 1, i);

		if (n == 1)
			run_range(0, 1, &r);
		else if (n > 1)
			k->parallel(n, run_range, &r, k->executor);
	}
}

static kvjit_status run_code(const kvjit_kernel *k, const kvjit_frames *frames,
                             const kvjit_plan *plan, void *scratch)
{
	size_t bytes = scratch ? 0 : kvjit_plan_scratch(plan);

	for (int i = 0; i < frames->n; i++)
		if (!frames->f[i].k->entry)
			return BAD("this kernel was compiled for another machine "
			           "(KVJIT_FOREIGN): it can be looked at, not called");
	if (bytes && atomic_exchange((_Atomic(bool) *)&plan->busy, true))
		return BAD("another call uses the plan's own scratch: for calls at the same "
		           "time hand over kvjit_plan_scratch bytes, %zu, for each",
		           bytes);
	run_phases(frames);
	if (bytes)
		atomic_store((_Atomic(bool) *)&plan->busy, false);
	return KVJIT_OK;
}

static kvjit_status run(const kvjit_kernel *k, const kvjit_plan *plan, const kvjit_arg *args,
                        int nargs, void *scratch)
{
	kvjit_frames frames;
	kvjit_status s = kvjit_frames_fill(k, plan, &frames, args, nargs, scratch);

	if (s != KVJIT_OK)
		return s;
	if (k->backend_index == KVJIT_BE_ref)
		return kvjit_interpret(&frames.f[0]);
	if (frames.f[0].k->module_on)
		return kvjit_launch_and_wait(k, &frames);
	return run_code(k, &frames, plan, scratch);
}

kvjit_status kvjit_call(const kvjit_kernel *k, const kvjit_plan *plan, const kvjit_arg *args,
                        int nargs, void *scratch)
{
	kvjit_status s;
	uint64_t begin;

	if (!k)
		return kvjit_fail_null("kvjit_call", "k", "kvjit_compile");
	begin = k->record ? kvjit_record_begin(k->record, plan) : 0;
	s = run(k, plan, args, nargs, scratch);
	if (k->record && s == KVJIT_OK)
		kvjit_record_end(k->record, plan, begin);
	return s;
}
