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
