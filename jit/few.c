/* SPDX-License-Identifier: Apache-2.0 */
/* few.c -- a second kernel for the tiles that have few queries.
 *
 *     attn ... qlen=512          new tokens      by q_tile=16      by q_tile=1
 *     q_tile=16           ->     512             512
 *       few: q_tile=1            40              32                8
 *                                1                                 1
 *
 * A tile of queries is computed whole, however many of them there are: with 16 queries of four
 * heads a single one takes 13 times as long as by the kernel that a decode has. Engines put
 * both into one batch. So a kernel whose problem says that there are many queries has another
 * one beside it, for the same problem with one query: a compilation of its own, with what was
 * tuned for that, some 25 ms more where no cache has it. A plan gives each its tiles, and a
 * call runs both side by side.
 *
 * Where a problem leaves its sizes open and was tuned for several, the schedule for one query
 * is among them, and no other kernel is needed.
 *
 * Whoever gives a knob gets the kernel of those knobs alone. Two caches are attended to by one
 * kernel: it merges all rows at its end.
 */
#include "few.h"
#include "job.h"

#include <stdio.h>
#include <stdlib.h>

/* -- who takes which tile ------------------------------------------------------------ */

/* Rows that products work on for n queries: tiles of queries are computed whole, and rows in
 * groups of `grain`. */
static int64_t rows_for(const kvjit_shape *s, int64_t n)
{
	int64_t rows = s->q_tile * (s->heads / s->kv_heads);

	return (n + s->q_tile - 1) / s->q_tile * ((rows + s->grain - 1) / s->grain * s->grain);
}

/* Each of the smaller tiles reads the keys once more and decodes them: half the rows pay for
 * that. On Zen 4 8 queries by tiles of one take 0.56 to 0.63 of the time of a tile of 16 with
 * four heads a group, 2 with one head 0.3 to 0.7, 4 with one head 0.6 to 1.1
 * (docs/experiments.md, "Tiles with few queries"). */
static int64_t most_of(const kvjit_shape *many, const kvjit_shape *few)
{
	int64_t n = many->q_tile - 1;

	if (few->q_tile >= many->q_tile || many->ncache > 1)
		return 0;
	while (n > 0 && 2 * rows_for(few, n) > rows_for(many, 1))
		n--;
	return n;
}

const kvjit_kernel *kvjit_few_of(const kvjit_kernel *k)
{
	return k->few ? k->few : k;
}

int64_t kvjit_few_most(const kvjit_kernel *many, const kvjit_kernel *few)
{
	return many == few ? 0 : most_of(&many->shape, &few->shape);
}

/* -- compiling ------------------------------------------------------------------------- */

/* Whether a kernel with the default schedule for one query would get any tiles. */
static bool would_help(kvjit_job *j, const kvjit_kernel *many)
{
	kvjit_shape s;

	kvjit_default_schedule(j->f, &j->problem);
	return kvjit_shape_of(j->f, &s) && most_of(&many->shape, &s) > 0;
}

static unsigned variants(const kvjit_kernel *k)
{
	return k->family ? k->family->n : 0;
}

/* Whether `few` gets any tiles: what was pinned or tuned for one query may have as large ones.
 */
static bool helps(const kvjit_kernel *many, const kvjit_kernel *few)
{
	for (unsigned i = 0; i <= variants(many); i++)
		for (unsigned n = 0; n <= variants(few); n++)
			if (kvjit_few_most(kvjit_variant(many, i), kvjit_variant(few, n)) > 0)
				return true;
	return false;
}

static kvjit_status compile(kvjit_job *j, const kvjit_kernel *many, bool *wanted)
{
	kvjit_status s = kvjit_job_read(j);

	*wanted = s == KVJIT_OK && would_help(j, many);
	if (*wanted)
		s = kvjit_job_choose(j);
	*wanted = *wanted && s == KVJIT_OK && helps(many, j->k);
	return s;
}

/* The problem was compiled once. For one query it may have a schedule that doesn't fit; or a
 * cache has the code for many alone, and there is no backend for the other. Both do without. */
static bool may_lack(kvjit_status s)
{
	return s == KVJIT_UNSUPPORTED || s == KVJIT_NO_BACKEND;
}

static void tell(const kvjit_job *of, const char *why)
{
	char line[1200];

	snprintf(line, sizeof(line),
	         "kvjit: '%s' has no kernel for tiles with few queries, which are computed "
	         "whole: %s\n",
	         of->k->problem, why);
	if (of->kv->log)
		of->kv->log(line, of->kv->log_ctx);
}

kvjit_status kvjit_add_few(kvjit_job *of)
{
	kvjit_job *j;
	kvjit_status s;
	bool wanted = false;

	if (!of->is_problem || of->problem.kind != KIR_ATTN || of->problem.qlen <= 1 ||
	    of->kv->backend == KVJIT_BE_ref || of->k->shape.q_tile <= 1)
		return KVJIT_OK;
	j = calloc(1, sizeof(*j));
	if (!j || !(j->k = kvjit_kernel_new(of->kv))) {
		free(j);
		return kvjit_fail(&of->kv->errors, KVJIT_NO_MEMORY, "out of memory");
	}
	j->kv = of->kv;
	j->text = of->text;
	j->flags = of->flags;
	j->one_query = true;
	s = compile(j, of->k, &wanted);
	if (wanted)
		of->k->few = j->k;
	else
		kvjit_release(j->k);
	free(j);
	if (!may_lack(s))
		return s;
	tell(of, kvjit_error(of->kv));
	return KVJIT_OK;
}
