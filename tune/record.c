/* SPDX-License-Identifier: Apache-2.0 */
/* record.c -- see record.h. */
#include "record.h"

#include <stdlib.h>
#include <string.h>

const char *const kt_policy_names[2] = { "cold", "warm" };
const char *const kt_source_names[4] = { "trial", "model", "transfer", "hand" };
/* clang-format off */
const char *const kt_state_names[KT_NSTATE] = {
#define STATE(name, doc) #name,
#include "state.def"
};
/* clang-format on */

void kt_schedule_free(kt_schedule *r)
{
	free(r->problem);
	free(r->sched);
	free(r->target);
	free(r->machine);
	memset(r, 0, sizeof(*r));
}

bool kt_schedule_copy(const kt_schedule *from, kt_schedule *to)
{
	*to = *from;
	to->problem = strdup(from->problem);
	to->sched = strdup(from->sched);
	to->target = strdup(from->target);
	to->machine = strdup(from->machine);
	if (to->problem && to->sched && to->target && to->machine)
		return true;
	kt_schedule_free(to);
	return false;
}

void kt_trial_free(kt_trial *r)
{
	free(r->sched);
	free(r->why);
	memset(r, 0, sizeof(*r));
}

void kt_code_free(kt_code *r)
{
	free(r->kind);
	free(r->backend);
	free(r->target);
	free(r->problem);
	free(r->sched);
	free(r->bytes);
	free(r->phases);
	memset(r, 0, sizeof(*r));
}

void kt_pin_free(kt_pin *r)
{
	free(r->problem);
	free(r->sched);
	memset(r, 0, sizeof(*r));
}

/* -- orders ------------------------------------------------------------------------------- */

static int by_number(double a, double b)
{
	return (a > b) - (a < b);
}

/* Not as numbers with a fraction, to which large ones are the same. */
static int by_integer(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

static int by_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "");
}

/* Steps of an order: the first that tells two records apart decides. */
#define STEP(c)                       \
	do {                          \
		int step_ = (c);      \
		if (step_)            \
			return step_; \
	} while (0)

int kt_schedule_order(const kt_schedule *a, const kt_schedule *b)
{
	STEP(by_integer(a->codegen, b->codegen));
	STEP(by_integer(b->source, a->source));
	STEP(by_integer(a->n, b->n));
	STEP(by_integer(a->when, b->when));
	STEP(by_number(a->median, b->median));
	STEP(by_number(a->lo, b->lo));
	STEP(by_number(a->hi, b->hi));
	STEP(by_number(a->ratio, b->ratio));
	STEP(by_number(a->ratio_lo, b->ratio_lo));
	STEP(by_number(a->ratio_hi, b->ratio_hi));
	STEP(by_text(a->sched, b->sched));
	STEP(by_text(a->problem, b->problem));
	STEP(by_text(a->target, b->target));
	return by_text(a->machine, b->machine);
}

int kt_trial_order(const kt_trial *a, const kt_trial *b)
{
	STEP(by_integer(a->codegen, b->codegen));
	STEP(by_integer(a->n, b->n));
	STEP(by_integer(a->when, b->when));
	STEP(by_integer(b->state, a->state));
	STEP(by_number(a->median, b->median));
	STEP(by_number(a->lo, b->lo));
	STEP(by_number(a->hi, b->hi));
	STEP(by_number(a->min, b->min));
	STEP(by_number(a->ratio, b->ratio));
	STEP(by_number(a->ratio_lo, b->ratio_lo));
	STEP(by_number(a->ratio_hi, b->ratio_hi));
	STEP(by_number(a->steal, b->steal));
	STEP(by_integer(a->migrations, b->migrations));
	STEP(by_integer(a->compile_us, b->compile_us));
	STEP(by_text(a->sched, b->sched));
	return by_text(a->why, b->why);
}

bool kt_schedule_better(const kt_schedule *x, const kt_schedule *y)
{
	if (x->source != y->source)
		return x->source < y->source;
	if (x->where.policy != y->where.policy)
		return x->where.policy == KT_COLD;
	return kt_schedule_order(x, y) > 0;
}
