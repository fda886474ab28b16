/* SPDX-License-Identifier: Apache-2.0 */
/* tune_static.c -- see tune_static.h. */
#include "tune_static.h"
#include "gpu.h"
#include "measure.h"
#include "tool.h"
#include "../tune/space.h"
#include "../tune/static.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 8 };

typedef struct ranking {
	const kir_target *t;
	kir_module *m;
	kir_problem p;
	kt_space space;
	double *cost; /* of those that were tried */
	kbe_counts *counts;
	unsigned n;
	char why[600]; /* the last one that has no counts hasn't */
} ranking;

static void sched_text(const kir_sched *s, char *out, size_t len)
{
	kir_text text = { 0 };

	kir_sched_print(s, &text);
	snprintf(out, len, "%s", text.text ? text.text : "");
	free(text.text);
}

/* The space around the schedule that the library takes untuned. */
static bool open_space(ranking *r, kvjit *kv, const char *text, char *why, size_t len)
{
	kvjit_kernel *k = gpu_compile(kv, r->t, text, NULL);
	char *sched = k ? kvjit_kernel_text(k, "schedule") : NULL;
	kir_diag d = { 0 };
	kir_func *f = NULL;
	bool named[kir_nknobs], ok = false;

	if (!k)
		snprintf(why, len, "%s", kvjit_error(kv));
	else if (kir_problem_parse(r->m, text, strlen(text), &r->p, &d))
		f = kir_problem_expand(r->m, &r->p, r->t, &d);
	if (f && sched && kir_sched_parse(&f->sched, named, sched, &d))
		ok = kt_space_make(f, r->p.has_knob, &r->p, &r->space, &d);
	if (k && !ok)
		snprintf(why, len, "there is no space of schedules around '%s'",
		         sched ? sched : "");
	if (k && !ok && d.n)
		kir_diag_text(&d, why, len);
	free(sched);
	kvjit_release(k);
	return ok;
}

/* Vector engines of 8 lanes take two cycles for the 16 of a sub-group. */
static double cost_of(const ranking *r, const kir_sched *s, const kbe_counts *c)
{
	const kt_static k = { .registers = c->registers,
		              .spill = c->spill + c->private_bytes,
		              .calls = c->calls,
		              .issue = r->t->features & KIR_HAS_block2d ? 1 : 2,
		              .instructions = c->loop_shortest,
		              .sends = c->loop_sends,
		              .dpas = c->loop_dpas,
		              .elements =
		                  (double)s->kv_tile * (double)(r->p.dim_k + r->p.dim_v) };

	return kt_static_cost(&k);
}

static void try_all(ranking *r, kvjit *kv, const char *text, double budget)
{
	double end = measure_now() + budget;
	char sched[400];

	for (; r->n < r->space.n && (!r->n || measure_now() < end); r->n++) {
		kvjit_kernel *k;
		kir_diag d = { 0 };

		sched_text(&r->space.at[r->n], sched, sizeof sched);
		k = gpu_compile(kv, r->t, text, sched);
		if (k && gpu_count(k, NULL, &r->counts[r->n], &d))
			r->cost[r->n] = cost_of(r, &r->space.at[r->n], &r->counts[r->n]);
		else
			r->cost[r->n] = INFINITY;
		if (!k)
			snprintf(r->why, sizeof r->why, "%s", kvjit_error(kv));
		else if (d.n)
			kir_diag_text(&d, r->why, sizeof r->why);
		kvjit_release(k);
	}
}

static int tell(const ranking *r)
{
	unsigned *order = malloc(r->n * sizeof *order), fit = 0;
	char sched[400];

	if (!order) {
		fprintf(stderr, "kvjit: out of memory\n");
		return TOOL_FAILED;
	}
	kt_static_rank(r->cost, r->n, order);
	for (unsigned i = 0; i < r->n; i++)
		fit += isfinite(r->cost[i]);
	printf("for %s, by its code alone: %u of %u schedules tried, %u without spills\n",
	       r->t->name, r->n, r->space.n, fit);
	for (unsigned i = 0; i < fit && i < SHOWN; i++) {
		const kbe_counts *c = &r->counts[order[i]];

		sched_text(&r->space.at[order[i]], sched, sizeof sched);
		printf(
		    "  %.4f cycles an element, %u instructions, %u dpas, %u registers%s: %s\n",
		    r->cost[order[i]], c->loop_shortest, c->loop_dpas, c->registers,
		    order[i] ? "" : ", the default", sched);
	}
	free(order);
	if (!fit)
		fprintf(stderr,
		        "kvjit: no schedule of those tried has code that can be ranked: %s\n",
		        r->why[0] ? r->why : "all spill registers or call functions");
	return fit ? TOOL_OK : TOOL_FAILED;
}

int tune_static(const kir_target *t, const char *text, double budget)
{
	ranking r = { .t = t, .m = kir_module_new() };
	kvjit *kv = gpu_open(t, NULL);
	char why[600] = "out of memory";
	int status = TOOL_FAILED;

	if (kv && open_space(&r, kv, text, why, sizeof why)) {
		r.cost = calloc(r.space.n, sizeof *r.cost);
		r.counts = calloc(r.space.n, sizeof *r.counts);
		if (r.cost && r.counts) {
			try_all(&r, kv, text, budget);
			status = tell(&r);
		} else {
			fprintf(stderr, "kvjit: out of memory\n");
		}
	} else if (kv)
		fprintf(stderr, "kvjit: %s\n", why);
	free(r.cost);
	free(r.counts);
	kt_space_free(&r.space);
	kir_module_free(r.m);
	kvjit_close(kv);
	return status;
}
