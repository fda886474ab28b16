/* SPDX-License-Identifier: Apache-2.0 */
/* prefetch.c -- the cache lines of a coming iteration are touched while this one computes.
 *
 *     for %j = %a to %b step 64 {            for %j = %a to %b step 64 {
 *       %p = load %table[%s, ...%j]            %j2 = %j + 64, or %j in the last iteration
 *       for %i = 0 to 16 {                     %p2 = load %table[%s, ...%j2]
 *         %x = vload %k[%p,%h,%i]       =>     %p = load %table[%s, ...%j]
 *                                              for %i = 0 to 16 {
 *                                                prefetch %k[%p2,%h,%i] {hint=t1}
 *                                                %x = vload %k[%p,%h,%i]
 *
 * The processor's own prefetcher follows a page; where the next one lies only the block table
 * knows. So the pass looks for loops in which the address of vector loads goes through a
 * table, computes that address once more for knob `prefetch` iterations on, and touches
 * there what the inner loops read here: each line once, spread over the products. Decode from
 * DRAM reads 1.2 to 3 times as fast with it on Zen 5.
 *
 * `both` touches a line two iterations ahead and again one ahead. A processor drops requests
 * that it has no room for, and those of a product come faster than memory answers: the second
 * finds what was dropped. (docs/experiments.md has what it gives.) Otherwise a line that a
 * block reads twice, for the two codes of its bytes, is touched once: a processor that drops
 * nothing waits for room.
 *
 * Knob hint is the level fetched into: L2 if nobody chose (fetch_level in emit.h).
 *
 * Where no loop walks a table, one that reads a run and makes few products of each line (a
 * product with few rows; prefetch_find.c) touches what comes 8 KiB on, behind its own end too:
 *
 *     for %k = 0 to 4096 step 128 {          for %k = 0 to 4096 step 128 {
 *       %x = vload %w[%j,%k]           =>      %k2 = %k + 128
 *                                              prefetch %w[%j,%k2] {hint=t1}
 *                                              %x = vload %w[%j,%k]
 *
 * The processor follows a run by itself, but asked for it takes 0.88 of the time on Zen 5 (e4m3
 * weights from DRAM, 1 row), and a little less into L2 than into L1; 0.69 on an Emerald Rapids.
 *
 * auto: kir_auto_prefetch. Default schedules for tile registers ask for one where hints say
 * that one tile has all queries (jit/schedule.c). Tile registers that load bf16 in runs of 64
 * KiB can do without at times, and then take 1.6 times as long at others, on one Xeon in one
 * hour; from L2 asking costs them a third.
 *
 * Requires level V. Keeps everything; table entries are only read where the loop would.
 */
#include "prefetch.h"

#include <string.h>

/* The loop variable `distance` iterations on, or as it is where the loop ends before. A run
 * goes on behind the loop's end: what lies there is often what comes next. */
static kir_ref next_index(ahead *a, kir_ref loop, int64_t distance)
{
	kir_func *f = a->out;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	kir_ref j = a->map[loop + 1], hi = a->map[kir_src(a->in, loop, 1)];
	kir_ref on = e2(f, KIR_OP_add, s64, j, s64c(f, kir_for_step(a->in, loop) * distance));

	if (a->run)
		return on;
	return e3(f, KIR_OP_select, s64,
	          e2(f, KIR_OP_lt, kir_scalar(f->module, KIR_i1), on, hi), on, j);
}

static kir_ref coming(const ahead *a, const kir_ref *next, kir_ref n)
{
	return next[n] ? next[n] : a->map[n];
}

/* Node n again, for a coming iteration, if it depends on it. */
static void advance(ahead *a, kir_ref *next, kir_ref n)
{
	const kir_node *d = &a->in->node[n];
	kir_ref src[KIR_MAX_SRC];
	bool moves = false;

	for (unsigned i = 0; i < d->nsrc; i++) {
		src[i] = coming(a, next, kir_src(a->in, n, i));
		moves |= next[kir_src(a->in, n, i)] != 0;
	}
	if (moves)
		next[n] = kir_emit(a->out, (kir_op)d->op, d->type, src, d->nsrc, d->attr);
}

/* Whether x and y are one value, computed from the same ones within `depth` steps. */
static bool same_value(const kir_func *f, kir_ref x, kir_ref y, int depth)
{
	const kir_node *p = &f->node[x], *q = &f->node[y];
	int64_t i, j;

	if (x == y)
		return true;
	if (kir_is_const(f, x, &i) && kir_is_const(f, y, &j))
		return i == j && p->type == q->type;
	if (!depth || p->op != q->op || p->type != q->type || p->nsrc != q->nsrc || !p->nsrc ||
	    kir_ops[p->op].flags & KIR_READS || p->op == KIR_OP_arg || p->op == KIR_OP_res ||
	    memcmp(p->attr, q->attr, sizeof p->attr) != 0)
		return false;
	for (unsigned k = 0; k < p->nsrc; k++)
		if (!same_value(f, kir_src(f, x, k), kir_src(f, y, k), depth - 1))
			return false;
	return true;
}

/* Whether vector n lies where one lies that was touched in this block; remembers it if not. */
static bool is_touched(ahead *a, kir_ref n)
{
	const kir_func *f = a->in;
	kir_ref buf, upto;
	unsigned first, count;

	kir_access(f, n, &buf, &first, &count, &upto);
	for (unsigned k = 0; k < a->nseen; k++) {
		bool same = prefetch_buffer(f, a->seen[k]) == buf;

		for (unsigned i = 0; i < count && same; i++)
			same = same_value(f, kir_src(f, a->seen[k], first + i),
			                  kir_src(f, n, first + i), 4);
		if (same)
			return true;
	}
	if (a->nseen < sizeof a->seen / sizeof *a->seen)
		a->seen[a->nseen++] = n;
	return false;
}

static void touch(ahead *a, const kir_ref *next, kir_ref n)
{
	kir_ref buf, upto, src[KIR_RANK + 1];
	unsigned first, count;
	bool moves = false;

	kir_access(a->in, n, &buf, &first, &count, &upto);
	if (a->run && buf != a->run)
		return;
	src[0] = a->map[buf];
	for (unsigned i = 0; i < count; i++) {
		src[1 + i] = coming(a, next, kir_src(a->in, n, first + i));
		moves |= next[kir_src(a->in, n, first + i)] != 0;
	}
	if (!moves || (!a->both && a->in->node[n].op == KIR_OP_vload && is_touched(a, n)))
		return;
	bool tile = a->in->node[n].op == KIR_OP_amx_load;
	int64_t rows =
	    tile ? kir_amx_shape(a->in, kir_attr_of(a->in, n, KIR_ATTR_tile)).rows : 1;
	int64_t pitch = tile ? kir_attr_of(a->in, n, KIR_ATTR_pitch) : 0;

	for (int64_t r = 0; r < rows; r++)
		kir_emit(a->out, KIR_OP_prefetch, KIR_NO_TYPE, src, 1 + count,
		         (int64_t[KIR_MAX_ATTRS]){ a->hint, r * pitch });
}

/* Copies the loop; returns its end. */
static kir_ref copy_loop(ahead *a, kir_ref loop)
{
	kir_ref end = kir_region_end(a->in, loop), n = loop + 1;
	int times = a->both && !a->run ? 2 : 1;

	a->hint = fetch_level(a->out);
	kir_chose(a->out, KIR_KNOB_prefetch, times > 1 ? KIR_prefetch_both : a->asked + 1);
	kir_copy(a->out, a->in, loop, a->map);
	for (; a->in->node[n].op == KIR_OP_arg; n++)
		kir_copy(a->out, a->in, n, a->map);
	for (int i = 0; i < times; i++)
		a->next[i][loop + 1] = next_index(a, loop, a->distance * (i + 1));
	for (; n < end; n++) {
		kir_op op = (kir_op)a->in->node[n].op;

		if (kir_regions(a->in, n) || op == KIR_OP_yield)
			a->nseen = 0;
		for (int i = 0; i < times && prefetch_is_stream(a->in, n); i++)
			touch(a, a->next[i], n);
		kir_copy(a->out, a->in, n, a->map);
		for (int i = 0; i < times && a->slice[n]; i++)
			if (op != KIR_OP_arg && op != KIR_OP_res && op != KIR_OP_const)
				advance(a, a->next[i], n);
	}
	return end;
}

/* How many iterations ahead lines of this loop are touched; false: none. */
static bool ahead_of(ahead *a, kir_ref loop)
{
	a->distance = a->asked;
	a->run = 0;
	if (!a->tables)
		return prefetch_run(a, loop);
	return prefetch_walks_table(a, loop);
}

kpass_result kpass_prefetch(const kir_func *in, kir_func *out, kir_diag *why)
{
	ahead a = { .in = in, .out = out, .map = kir_map_new(out, in) };
	int knob = in->sched.prefetch;
	kpass_result result = KPASS_SAME;

	(void)why;
	if (!knob)
		knob = kir_auto_prefetch(in->target, in->sched.q_tile);
	a.both = knob == KIR_prefetch_both;
	a.asked = a.both ? 1 : knob - 1;
	for (int i = 0; i < 2; i++)
		a.next[i] = kir_alloc(out->module, in->nnode * sizeof *a.next[i]);
	a.slice = kir_alloc(out->module, in->nnode * sizeof *a.slice);
	a.varies = kir_alloc(out->module, in->nnode * sizeof *a.varies);
	a.bytes = kir_alloc(out->module, in->nnode * sizeof *a.bytes);
	for (kir_ref n = 1; n < in->nnode; n++)
		if (in->node[n].op == KIR_OP_prefetch)
			return KPASS_SAME; /* somebody has already said what to touch */
	if (!a.asked) {
		kir_chose(out, KIR_KNOB_prefetch, KIR_prefetch_off);
		return KPASS_SAME;
	}
	for (kir_ref n = 1; n < in->nnode && !a.tables; n++)
		a.tables = in->node[n].op == KIR_OP_for && prefetch_walks_table(&a, n);
	for (kir_ref n = 1; n < in->nnode;) {
		if (in->node[n].op == KIR_OP_param) {
			n++;
		} else if (in->node[n].op == KIR_OP_for && ahead_of(&a, n)) {
			n = copy_loop(&a, n);
			result = KPASS_CHANGED;
		} else {
			kir_copy(out, in, n++, a.map);
		}
	}
	return result;
}
