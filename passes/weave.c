/* SPDX-License-Identifier: Apache-2.0 */
/* weave.c -- a loop of products in tile registers and one that doesn't need it take turns
 * (knob pipeline=on).
 *
 *     for %c = 0 to 128 step 32 {           for %i = 0 to 4 {
 *       16 products; store %s               first 8 products of %c = 32 * %i
 *     }                                       body of %r = 8 * %i
 *     for %r = 0 to 32 step 4 {        =>     the other 8; store %s
 *       weights of 4 rows                     body of %r = 8 * %i + 4
 *     }                                     }
 *
 * A processor looks ahead over some 500 instructions: over the end of a loop or two, not over a
 * loop. Nor does LLVM move anything across an op of a tile register. Here the tile unit has
 * products before it whenever vectors are computed, and the other way round.
 *
 * Takes loops of one region with literal bounds that carry nothing, whose trip counts have a
 * common divisor; the loop of products moves down, over nothing that touches what it touches.
 * Of the loops it could join it takes the one with most work. Requires level V. Costs the
 * second loop's body once for each of its turns.
 */
#include "weave.h"

enum { TURNS = 8 }; /* most copies of a body */

/* -- which loops --------------------------------------------------------------------------- */

bool weave_conflict(const kir_func *f, span a, span b)
{
	bool wa, wb;

	for (kir_ref n = b.begin; n < b.end; n++) {
		kir_ref mem = touched(f, n, &wb);

		if (kir_is_amx((kir_op)f->node[n].op))
			return true;
		for (kir_ref k = a.begin; mem && k < a.end; k++)
			if (touched(f, k, &wa) == mem && (wa || wb))
				return true;
	}
	return false;
}

int64_t weave_index(const kir_func *f, kir_ref loop, int64_t trip)
{
	int64_t lo = 0;

	kir_is_const(f, kir_src(f, loop, 0), &lo);
	return lo + trip * kir_for_step(f, loop);
}

span weave_span(const kir_func *f, kir_ref n)
{
	return (span){ n, kir_region_end(f, n) };
}

int64_t weave_work(const kir_func *f, span s)
{
	int64_t sum = 0;

	for (kir_ref n = s.begin; n < s.end;) {
		span one = weave_span(f, n);

		if (f->node[n].op == KIR_OP_for) {
			int64_t t = loop_trips(f, n);

			sum += (t > 0 ? t : 1) * weave_work(f, (span){ n + 1, one.end });
			n = one.end;
		} else {
			sum++;
			n++;
		}
	}
	return sum;
}

bool weave_is_product(kir_op op)
{
	return kir_is_amx(op) && op != KIR_OP_amx_load && op != KIR_OP_amx_store &&
	       op != KIR_OP_amx_zero && op != KIR_OP_amx_tile;
}

static unsigned products(const kir_func *f, span s)
{
	unsigned n = 0;

	for (kir_ref k = s.begin; k < s.end; k++)
		n += weave_is_product((kir_op)f->node[k].op);
	return n;
}

bool weave_is_plain(const kir_func *f, kir_ref n)
{
	return f->node[n].op == KIR_OP_for && !kir_for_par(f, n) && f->node[n].nsrc == 2 &&
	       loop_trips(f, n) > 1;
}

static int64_t common(int64_t a, int64_t b)
{
	while (b) {
		int64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* The loop behind the products `mine`, a loop of `trips` iterations or (0) a run, that takes
 * turns with them; 0: none. */
static kir_ref partner(const kir_func *f, span mine, int64_t trips)
{
	int64_t most = 0;
	kir_ref best = 0;

	for (kir_ref n = mine.end; !(kir_ops[f->node[n].op].flags & KIR_ENDS);) {
		span s = weave_span(f, n);

		if (weave_conflict(f, mine, s))
			break;
		if (weave_is_plain(f, n)) {
			int64_t g = trips ? common(trips, loop_trips(f, n)) : 1;
			int64_t w = weave_work(f, s);

			if ((g > 1 || !trips) && loop_trips(f, n) / g <= TURNS &&
			    trips / g <= TURNS && w > most) {
				most = w;
				best = n;
			}
		}
		n = s.end;
	}
	return best;
}

/* -- emitting ------------------------------------------------------------------------------ */

static kir_ref at(kir_func *out, const kir_func *in, kir_ref loop, kir_ref i, int64_t turns,
                  int64_t turn)
{
	kir_type_id s64 = kir_scalar(out->module, KIR_s64);
	int64_t lo = weave_index(in, loop, turn);

	i = e2(out, KIR_OP_mul, s64, i, s64c(out, turns * kir_for_step(in, loop)));
	return lo ? e2(out, KIR_OP_add, s64, i, s64c(out, lo)) : i;
}

/* The body of loop `a` up to its next `count` products. */
static kir_ref copy_some(kir_func *out, const kir_func *in, kir_ref n, kir_ref end,
                         unsigned count, kir_ref *map)
{
	for (; n < end && count; n++) {
		count -= weave_is_product((kir_op)in->node[n].op);
		kir_copy(out, in, n, map);
	}
	return n;
}

static void copy_all(kir_func *out, const kir_func *in, kir_ref n, kir_ref end, kir_ref *map)
{
	for (; n < end; n++)
		kir_copy(out, in, n, map);
}

/* -- runs of products ---------------------------------------------------------------------- */

/* The end of the run of ops of tile registers that begins at n: they stand in one region, with
 * nothing but what computes indices between them. */
static kir_ref run_end(const kir_func *f, kir_ref n)
{
	kir_ref end = n;

	for (; n < f->nnode; n++) {
		if (kir_is_amx((kir_op)f->node[n].op))
			end = n + 1;
		else if (kir_regions(f, n) ||
		         kir_ops[f->node[n].op].flags & (KIR_READS | KIR_WRITES | KIR_ENDS))
			break;
	}
	return end;
}

/* A run's ops and the iterations of loop b, in turns. */
static void weave_run(kir_func *out, const kir_func *in, span run, kir_ref b, kir_ref *map)
{
	int64_t nb = loop_trips(in, b);
	kir_ref yb = kir_region_yield(in, b + 2), n = run.begin;
	unsigned all = products(in, run), done = 0;

	for (int64_t k = 0; k < nb; k++) {
		unsigned goal = k + 1 < nb ? (unsigned)(all * (k + 1) / nb) : UINT32_MAX;

		for (; n < run.end && done < goal; n++) {
			if (!kir_is_amx((kir_op)in->node[n].op))
				continue;
			done += weave_is_product((kir_op)in->node[n].op);
			kir_copy(out, in, n, map);
		}
		map[b + 1] = s64c(out, weave_index(in, b, k));
		copy_all(out, in, b + 2, yb, map);
	}
}

/* Finds the runs that take turns with a loop: run[b] of loop b, later: ops that wait for it. */
static bool find_runs(const kir_func *in, span *run, bool *later)
{
	bool found = false;

	for (kir_ref n = 1; n < in->nnode; n++) {
		kir_op op = (kir_op)in->node[n].op;
		span s = { n, n + 1 };
		kir_ref b;

		if (!kir_is_amx(op) || op == KIR_OP_amx_tile)
			continue;
		s.end = run_end(in, n);
		b = products(in, s) ? partner(in, s, 0) : 0;
		if (b && !run[b].end) {
			run[b] = s;
			found = true;
			for (kir_ref k = s.begin; k < s.end; k++)
				later[k] = kir_is_amx((kir_op)in->node[k].op);
		}
		n = s.end - 1;
	}
	return found;
}

/* Loops a and b, in turns. A body of products with loops in it isn't cut. */
static void weave(kir_func *out, const kir_func *in, kir_ref a, kir_ref b, kir_ref *map)
{
	int64_t g = common(loop_trips(in, a), loop_trips(in, b));
	int64_t na = loop_trips(in, a) / g, nb = loop_trips(in, b) / g;
	kir_ref loop = kir_for(out, s64c(out, 0), s64c(out, g), 1, false, NULL, 0);
	kir_ref ya = kir_region_yield(in, a + 2), yb = kir_region_yield(in, b + 2),
	        done = a + 2;
	unsigned all = products(in, (span){ a, ya });
	bool cut = na == 1;

	for (kir_ref n = a + 2; n < ya; n++)
		cut &= weave_span(in, n).end == n + 1;
	for (int64_t k = 0; !cut && k < na; k++) {
		map[a + 1] = at(out, in, a, loop + 1, na, k);
		copy_all(out, in, a + 2, ya, map);
	}
	if (cut)
		map[a + 1] = at(out, in, a, loop + 1, 1, 0);
	for (int64_t k = 0; k < nb; k++) {
		unsigned some = (unsigned)(all * (k + 1) / nb - all * k / nb);

		if (cut)
			done =
			    copy_some(out, in, done, ya, k + 1 < nb ? some : UINT32_MAX, map);
		map[b + 1] = at(out, in, b, loop + 1, nb, k);
		copy_all(out, in, b + 2, yb, map);
	}
	kir_for_end(out, loop, NULL, 0);
}

static kpass_result weave_runs(const kir_func *in, kir_func *out)
{
	kir_ref *map = kir_map_new(out, in);
	span *run = kir_alloc(out->module, in->nnode * sizeof *run);
	bool *later = kir_alloc(out->module, in->nnode * sizeof *later);

	if (!find_runs(in, run, later))
		return KPASS_SAME;
	for (kir_ref n = 1; n < in->nnode; n++) {
		if (in->node[n].op == KIR_OP_param || later[n])
			continue;
		if (run[n].end) {
			weave_run(out, in, run[n], n, map);
			n = kir_region_end(in, n) - 1;
		} else {
			kir_copy(out, in, n, map);
		}
	}
	return KPASS_CHANGED;
}

kpass_result kpass_weave(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_ref *map = kir_map_new(out, in);
	kir_ref *with = kir_alloc(out->module, in->nnode * sizeof *with);
	bool *moved = kir_alloc(out->module, in->nnode * sizeof *moved);
	kpass_result result = KPASS_SAME;

	(void)why;
	if (in->sched.m_chunk)
		return in->sched.pipeline == KIR_pipeline_off ? KPASS_SAME
		                                              : weave_runs(in, out);
	if (in->sched.pipeline != KIR_pipeline_on)
		return KPASS_SAME;
	for (kir_ref n = 1; n < in->nnode; n++) {
		kir_ref b = weave_is_plain(in, n) && products(in, weave_span(in, n))
		                ? partner(in, weave_span(in, n), loop_trips(in, n))
		                : 0;

		if (b && !with[b]) {
			with[b] = n;
			moved[n] = true;
			result = KPASS_CHANGED;
		}
	}
	for (kir_ref n = 1; n < in->nnode; n++) {
		if (in->node[n].op == KIR_OP_param)
			continue;
		if (with[n])
			weave(out, in, with[n], n, map);
		if (with[n] || moved[n])
			n = kir_region_end(in, n) - 1;
		else
			kir_copy(out, in, n, map);
	}
	return result;
}
