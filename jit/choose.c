/* SPDX-License-Identifier: Apache-2.0 */
/* choose.c -- which schedule a kernel gets when the caller gives none.
 *
 * Pins first, then what was tuned for this program with as many threads. A problem whose
 * sizes are known takes the record nearest to them, if one is near enough: what was measured
 * says nothing of sizes far from it. A problem whose sizes aren't known gets a kernel for each
 * size that was tuned, and a table over all sizes from which a plan picks in constant time.
 */
#include "job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NEAR = 2 }; /* octaves of batch and context together */

static kt_bucket bucket_of(const kvjit_job *j)
{
	return kt_bucket_of(j->problem.batch, j->problem.ctx, j->problem.qlen);
}

static bool is_everything(kt_bucket b)
{
	return b.batch == KT_ANY && b.ctx == KT_ANY && b.qlen == KT_ANY;
}

bool kvjit_job_sized(const kvjit_job *j)
{
	return !j->is_problem || j->problem.kind != KIR_ATTN || j->problem.batch ||
	       j->problem.ctx;
}

static bool add(kvjit_choice *at, unsigned *n, kt_bucket bucket, const char *sched,
                const char *by)
{
	char *copy = *n < KVJIT_MAX_CHOICES ? strdup(sched) : NULL;

	if (copy)
		at[(*n)++] = (kvjit_choice){ bucket, copy, by };
	return copy;
}

/* -- pins ------------------------------------------------------------------------------ */

static unsigned choose_pins(kvjit_job *j, kvjit_choice *out, bool *sized)
{
	kt_bucket want = bucket_of(j);
	int best = NEAR + 1;
	kt_pin *pin;
	unsigned n = 0, npin = kvjit_find_pins(j->kv, &j->program, &pin);
	const kt_pin *one = NULL;

	for (unsigned i = 0; i < npin; i++) {
		int far = is_everything(pin[i].bucket)
		              ? NEAR
		              : kt_bucket_distance(pin[i].bucket, want);

		if (npin > 1 && !*sized)
			add(out, &n, pin[i].bucket, pin[i].sched, "pin");
		else if ((npin == 1 && !*sized) || far < best)
			one = &pin[i], best = far;
	}
	if (one) {
		*sized = true;
		add(out, &n, one->bucket, one->sched, "pin");
	}
	for (unsigned i = 0; i < npin; i++)
		kt_pin_free(&pin[i]);
	free(pin);
	return n;
}

/* -- tuned ----------------------------------------------------------------------------- */

static unsigned choose_nearest(const kvjit_job *j, const kt_schedule *r, unsigned nr,
                               kvjit_choice *out)
{
	kt_bucket want = bucket_of(j);
	const kt_schedule *one = NULL;
	int best = NEAR + 1;
	unsigned n = 0;

	for (unsigned i = 0; i < nr; i++) {
		int far = kt_bucket_distance(r[i].where.bucket, want);

		if (far > best || far > NEAR ||
		    (far == best && !kt_schedule_better(&r[i], one)))
			continue;
		best = far;
		one = &r[i];
	}
	if (one)
		add(out, &n, one->where.bucket, one->sched, kt_source_names[one->source]);
	return n;
}

/* The best record of each size. */
static unsigned choose_all(const kt_schedule *r, unsigned nr, kvjit_choice *out)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nr; i++) {
		bool best = true;

		for (unsigned k = 0; k < nr && best; k++)
			best = k == i ||
			       memcmp(&r[k].where.bucket, &r[i].where.bucket,
			              sizeof(kt_bucket)) != 0 ||
			       kt_schedule_better(&r[i], &r[k]) ||
			       (!kt_schedule_better(&r[k], &r[i]) && i < k);
		if (best)
			add(out, &n, r[i].where.bucket, r[i].sched,
			    kt_source_names[r[i].source]);
	}
	return n;
}

static bool may_choose(const kvjit_job *j)
{
	return !(j->flags & (KVJIT_FRESH | KVJIT_UNTUNED)) && j->kv->backend != KVJIT_BE_ref &&
	       j->f->level == KIR_A && !kvjit_job_chosen(j);
}

unsigned kvjit_choose(kvjit_job *j, kvjit_choice out[KVJIT_MAX_CHOICES], bool *sized)
{
	kt_schedule *r = NULL;
	unsigned nr, n;

	*sized = kvjit_job_sized(j);
	if (!may_choose(j))
		return 0;
	n = choose_pins(j, out, sized);
	if (n)
		return n;
	nr = kvjit_find_schedules(j->kv, &j->program, j->f->target->name, &r);
	n = *sized ? choose_nearest(j, r, nr, out) : choose_all(r, nr, out);
	kvjit_schedules_free(r, nr);
	return n;
}

void kvjit_tell_bad(kvjit_job *j, const kvjit_choice *c)
{
	kt_say(&kvjit_places_of(j->kv)->log,
	       strcmp(c->by, "pin") != 0 ? KT_WHY_bad_schedule : KT_WHY_bad_pin, j->k->problem,
	       c->sched);
}

void kvjit_choices_free(kvjit_choice *at, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		free(at[i].sched);
}

/* -- families --------------------------------------------------------------------------- */

static kvjit_kernel *compile_as(const kvjit_job *of, const char *sched)
{
	kvjit_job *j = calloc(1, sizeof(*j));
	kvjit_kernel *k = j ? kvjit_kernel_new(of->kv) : NULL;
	bool ok;

	if (!k) {
		free(j);
		return NULL;
	}
	j->kv = of->kv;
	j->text = of->text;
	j->flags = of->flags;
	j->one_query = of->one_query;
	j->k = k;
	ok = kvjit_job_read(j) == KVJIT_OK && kvjit_job_take(j, sched) &&
	     kvjit_job_finish(j) == KVJIT_OK;
	free(j);
	if (ok)
		return k;
	kvjit_release(k);
	return NULL;
}

/* The number of the variant with this schedule, compiled now if there is none; 0: the kernel
 * itself. */
static unsigned variant_of(kvjit_job *j, kvjit_family *f, const kvjit_choice *c,
                           const char *tried[KVJIT_MAX_VARIANTS])
{
	kvjit_kernel *k;

	for (unsigned i = 0; i < f->n; i++)
		if (!strcmp(tried[i], c->sched))
			return i + 1;
	if (f->n == KVJIT_MAX_VARIANTS)
		return 0;
	k = compile_as(j, c->sched);
	if (!k) {
		kvjit_tell_bad(j, c);
		return 0;
	}
	tried[f->n] = c->sched;
	f->variant[f->n] = k;
	return ++f->n;
}

/* The variant for each size: that of the nearest tuned one, or 0. */
static void fill_table(kvjit_family *f, const kvjit_choice *at, const unsigned *variant,
                       unsigned n)
{
	for (int q = 0; q < KT_NQLEN; q++)
		for (int b = 0; b < KT_NBATCH; b++)
			for (int c = 0; c < KT_NCTX; c++) {
				int best = NEAR + 1;

				for (unsigned i = 0; i < n; i++) {
					int far = kt_bucket_distance(at[i].bucket,
					                             (kt_bucket){ b, c, q });

					if (is_everything(at[i].bucket))
						far = NEAR;
					if (far >= best)
						continue;
					best = far;
					f->at[q][b][c] = (uint8_t)variant[i];
				}
			}
}

void kvjit_add_variants(kvjit_job *j, const kvjit_choice *at, unsigned n)
{
	unsigned variant[KVJIT_MAX_CHOICES];
	const char *tried[KVJIT_MAX_VARIANTS];
	kvjit_family *f = n ? calloc(1, sizeof(*f)) : NULL;

	if (!f)
		return;
	for (unsigned i = 0; i < n; i++)
		variant[i] = variant_of(j, f, &at[i], tried);
	fill_table(f, at, variant, n);
	j->k->family = f;
}

unsigned kvjit_pick(const kvjit_kernel *k, int64_t batch, int64_t ctx, int64_t qlen)
{
	kt_bucket b;

	if (!k->family || !batch || !ctx)
		return 0;
	b = kt_bucket_of(batch, ctx, qlen);
	return k->family->at[b.qlen][b.batch][b.ctx];
}

const kvjit_kernel *kvjit_variant(const kvjit_kernel *k, unsigned pick)
{
	return pick ? k->family->variant[pick - 1] : k;
}
