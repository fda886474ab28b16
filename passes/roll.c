/* SPDX-License-Identifier: Apache-2.0 */
/* roll.c -- what stands several times in a row becomes a loop.
 *
 *     for %i { ... vload %a[%i] ... vload %t[%i] }           %ab = local : f32[2048]
 *     for %i { ... vload %b[%i] ... vload %t[add %i, 512] }  for %g = 0 to 4 {
 *     ...                                                =>    for %i { ... vload %abcd[%g,%i]
 *                                                                       ... vload %t[%g,%i] }
 *                                                            }
 *
 * Passes before write out what is done for each group of a head's elements, or each part of a
 * key, since a value of level T has no index. The code generator's time goes with the length of
 * the text, and the processor doesn't care: a copy that has loops of its own is executed many
 * times before the next one begins.
 *
 * Copies agree node by node; they may differ in literals of s64 that go up by equal steps and
 * in locals. Locals that copies take in turn become one, each at its old place in it; what only
 * one copy uses becomes a local of the loop's body. Nothing changes its place in the order of
 * execution. Literals added to an index, and views, aren't compared but followed, so that a
 * copy may have them where another, whose literal would be 0, has none.
 *
 * Requires level V; not for GPUs, whose values lie in registers that need numbers. Costs a
 * counter, and memory where locals that took turns in one place now lie side by side.
 */
#include "roll.h"

#include <string.h>

enum {
	COPIES_LEAST = 3,
	NODES_LEAST = 16, /* of a copy, whose loop isn't worth its counter otherwise */
};

/* -- finding runs -------------------------------------------------------------------------- */

/* Nobody behind a copy reads what it computed. */
static bool are_closed(roll *r)
{
	for (unsigned g = 0; g < r->r->copies; g++)
		for (kir_ref n = r->r->start[g]; n < r->r->start[g + 1]; n = r->end[n])
			if (!roll_is_followed(r->in, n) || !roll_is_outside(r, n))
				for (kir_ref k = n; k < r->end[n]; k++)
					if (r->last[k] >= r->r->start[g + 1])
						return roll_fail(r, g);
	return true;
}

static void forget(roll *r)
{
	kir_ref from = r->r->start[0], to = r->r->start[r->r->copies];

	for (unsigned i = 0; i < r->nlinked; i++) {
		r->before[r->after[r->linked[i]]] = 0;
		r->after[r->linked[i]] = 0;
	}
	for (unsigned i = 0; i < r->ntaken; i++)
		r->partner[r->taken[i]] = 0;
	memset(r->partner + from, 0, (to - from) * sizeof *r->partner);
}

/* `each` items a copy from item[0] on, of which there are as many as item[] has, whose end is
 * its last element. Gives how many copies agree, 0 for too few. */
static unsigned try_run(roll *r, const kir_ref *item, unsigned each, unsigned copies)
{
	kir_module *m = r->in->module;
	kir_ref start[ROLL_COPIES + 1];
	run one = { .start = start };

	for (one.copies = copies; one.copies >= COPIES_LEAST; one.copies = r->bad) {
		for (unsigned g = 0; g <= one.copies; g++)
			start[g] = g ? r->end[item[g * each - 1]] : item[0];
		for (unsigned g = 1; g < one.copies; g++)
			start[g] = item[g * each];
		r->r = &one;
		r->nlinked = r->ntaken = r->nown = 0;
		bool ok = roll_walk(r) && are_closed(r);

		if (!ok) {
			forget(r);
			continue;
		}
		run *keep = kir_alloc(m, sizeof *keep);

		*keep = one;
		keep->start = kir_alloc(m, (one.copies + 1) * sizeof *keep->start);
		memcpy(keep->start, start, (one.copies + 1) * sizeof *start);
		keep->own = kir_alloc(m, (r->nown + 1) * sizeof *keep->own);
		memcpy(keep->own, r->own, r->nown * sizeof *keep->own);
		r->at[start[0]] = keep;
		return one.copies;
	}
	return 0;
}

/* Copies of `each` items that item[0..n) begins with, by their hashes. */
static unsigned alike(const roll *r, const kir_ref *item, unsigned n, unsigned each)
{
	unsigned k = 0;

	if (r->hash[item[0]] != r->hash[item[each]])
		return 0;
	while (k + each < n && r->hash[item[k]] == r->hash[item[k + each]])
		k++;
	k = k / each + 1;
	return k < ROLL_COPIES ? k : ROLL_COPIES;
}

/* Nodes of a copy, if it has a loop. */
static bool is_worth(const roll *r, const kir_ref *item, unsigned each)
{
	bool loop = false;
	unsigned nodes = 0;

	for (unsigned i = 0; i < each; i++) {
		loop |= r->in->node[item[i]].op == KIR_OP_for && !kir_for_par(r->in, item[i]);
		nodes += r->end[item[i]] - item[i];
	}
	return loop && nodes >= NODES_LEAST;
}

static void find_in(roll *r, kir_ref n);

/* Runs of a region's items, and those inside the rest of them. */
static void find_runs(roll *r, const kir_ref *item, unsigned n, const unsigned *loops)
{
	const kir_func *f = r->in;
	unsigned next = 0; /* behind the next loop, which a copy is to have */

	for (unsigned i = 0; i < n;) {
		unsigned found = 0;

		while (next < n && loops[next] <= loops[i])
			next++;
		for (unsigned each = next - i; i + each * COPIES_LEAST <= n; each++) {
			found = alike(r, item + i, n - i, each);
			if (found < COPIES_LEAST || !is_worth(r, item + i, each))
				found = 0;
			else
				found = try_run(r, item + i, each, found);
			if (found) {
				i += found * each;
				break;
			}
		}
		if (found)
			continue;
		if (kir_regions(f, item[i]))
			find_in(r, item[i] + 1);
		if (kir_regions(f, item[i]) == 2)
			find_in(r, kir_region_yield(f, item[i] + 1) + 1);
		i++;
	}
}

/* The region whose first node is n. */
static void find_in(roll *r, kir_ref n)
{
	const kir_func *f = r->in;
	unsigned count = 0, k = 0;

	for (kir_ref x = n; !(kir_ops[f->node[x].op].flags & KIR_ENDS); x = r->end[x])
		count += !roll_is_followed(f, x);
	kir_ref *item = kir_alloc(f->module, (count + 1) * sizeof *item);
	unsigned *loops = kir_alloc(f->module, (count + 1) * sizeof *loops);

	for (kir_ref x = n; !(kir_ops[f->node[x].op].flags & KIR_ENDS); x = r->end[x]) {
		if (roll_is_followed(f, x))
			continue;
		item[k] = x;
		loops[k + 1] = loops[k] + (f->node[x].op == KIR_OP_for);
		k++;
	}
	if (count)
		find_runs(r, item, count, loops);
}

static uint64_t mix(uint64_t h, uint64_t x)
{
	h = (h ^ x) * 0x9e3779b97f4a7c15u;
	return h ^ (h >> 29);
}

static void measure(roll *r)
{
	const kir_func *f = r->in;
	kir_ref open = 0;

	for (kir_ref n = 1; n < f->nnode; n++) {
		r->region[n] = open;
		r->end[n] = kir_region_end(f, n);
		r->hash[n] = mix(mix(f->node[n].op, f->node[n].type), f->node[n].nsrc);
		if (kir_regions(f, n))
			open = n;
		else if (f->node[n].op == KIR_OP_yield)
			open = kir_regions(f, open) == 2          ? n
			       : f->node[open].op == KIR_OP_yield ? r->region[r->region[open]]
			                                          : r->region[open];
	}
	for (kir_ref n = f->nnode; n-- > 1;) {
		bool on = roll_is_followed(f, n);

		for (unsigned i = 0; i < f->node[n].nsrc; i++) {
			kir_ref s = kir_src(f, n, i), a = on ? r->first[n] : n,
			        b = on ? r->last[n] : n;

			if (a && (!r->first[s] || a < r->first[s]))
				r->first[s] = a;
			if (b > r->last[s])
				r->last[s] = b;
		}
		for (kir_ref k = n + 1; k < r->end[n]; k = r->end[k])
			if (!roll_is_followed(f, k))
				r->hash[n] = mix(r->hash[n], r->hash[k]);
	}
}

/* -- the new text -------------------------------------------------------------------------- */

/* A local alone, or the place of one in what holds its neighbours. */
static void copy_local(roll *r, kir_ref l)
{
	const kir_type *t = kir_type_of(r->in, l);
	int64_t bytes, at = roll_offset_of(r, l, &bytes);

	if (r->partner[l])
		return; /* a loop's own */
	if (!r->before[l] && !r->after[l]) {
		kir_copy(r->out, r->in, l, r->map);
		return;
	}
	kir_ref first = l;

	while (r->before[first])
		first = r->before[first];
	int64_t n = bytes / kir_elem_bytes((kir_elem)t->elem);
	kir_ref whole =
	    first == l
	        ? kir_emit(r->out, KIR_OP_local,
	                   kir_buffer(r->out->module, (kir_elem)t->elem, 1, &n), NULL, 0, NULL)
	        : kir_root(r->out, r->map[first]);

	r->map[l] = kir_emit(r->out, KIR_OP_view, r->in->node[l].type, &whole, 1,
	                     (int64_t[KIR_MAX_ATTRS]){ at });
}

static void copy_node(roll *r, kir_ref n)
{
	if (r->in->node[n].op == KIR_OP_local)
		copy_local(r, n);
	else
		kir_copy(r->out, r->in, n, r->map);
}

/* What stands between the copies' nodes and is no part of them comes before the loop. */
static void copy_between(roll *r, const run *x)
{
	const kir_func *f = r->in;

	for (kir_ref n = x->start[0]; n < x->start[x->copies]; n = r->end[n]) {
		bool known = true;

		for (unsigned i = 0; i < f->node[n].nsrc; i++)
			known &= r->map[kir_src(f, n, i)] != 0;
		if (known && roll_is_followed(f, n) && roll_is_outside(r, n))
			copy_node(r, n);
	}
}

static void emit_run(roll *r, run *x)
{
	kir_func *f = r->out;

	r->r = x;
	copy_between(r, x);
	kir_ref loop = kir_for(f, s64c(f, 0), s64c(f, x->copies), 1, false, NULL, 0);

	r->counter = loop + 1;
	for (unsigned i = 0; x->own[i]; i++)
		r->body[x->own[i]] =
		    kir_emit(f, KIR_OP_local, r->in->node[x->own[i]].type, NULL, 0, NULL);
	roll_walk(r);
	kir_for_end(f, loop, NULL, 0);
}

static uint64_t stack_of(const kir_func *f)
{
	kir_slots s;
	uint64_t bytes = kir_find_slots(f, &s) ? s.total : UINT64_MAX;

	kir_drop_slots(&s);
	return bytes;
}

static bool fits(const kir_func *before, const kir_func *after)
{
	uint64_t bytes = stack_of(after);

	return bytes <= KPASS_LOCALS || bytes <= stack_of(before);
}

kpass_result kpass_roll(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_module *m = in->module;
	size_t n = in->nnode;
	roll r = { .in = in, .map = kir_map_new(out, in) };
	bool any = false;

	(void)why;
	if (in->target->lanes)
		return KPASS_SAME;
	r.end = kir_alloc(m, n * sizeof *r.end);
	r.first = kir_alloc(m, n * sizeof *r.first);
	r.last = kir_alloc(m, n * sizeof *r.last);
	r.region = kir_alloc(m, n * sizeof *r.region);
	r.hash = kir_alloc(m, n * sizeof *r.hash);
	r.partner = kir_alloc(m, n * sizeof *r.partner);
	r.body = kir_alloc(m, n * sizeof *r.body);
	r.before = kir_alloc(m, n * sizeof *r.before);
	r.after = kir_alloc(m, n * sizeof *r.after);
	r.linked = kir_alloc(m, n * sizeof *r.linked);
	r.taken = kir_alloc(m, n * sizeof *r.taken);
	r.own = kir_alloc(m, n * sizeof *r.own);
	r.at = kir_alloc(m, n * sizeof *r.at);
	measure(&r);
	find_in(&r, 1);
	r.out = out;
	for (kir_ref k = 1; k < in->nnode;) {
		run *x = r.at[k];

		any |= x != NULL;
		if (x)
			emit_run(&r, x);
		else if (in->node[k].op != KIR_OP_param)
			copy_node(&r, k);
		k = x ? x->start[x->copies] : k + 1;
	}
	return any && fits(in, out) ? KPASS_CHANGED : KPASS_SAME;
}
