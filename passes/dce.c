/* SPDX-License-Identifier: Apache-2.0 */
/* dce.c -- what nothing uses goes.
 *
 *     %a = exp2 %x : f32                      (gone)
 *     %m, %l = for ... carry(%i, %j) {        %m = for ... carry(%i) {
 *
 * Goes: ops without effect whose values are unused, loads too; carried values and results
 * of an `if` that only feed themselves; loops and ifs without effect; memory of a `local`
 * that is only written. Stays: parameters, stores, and every par loop, because the phases
 * of a function are numbered.
 *
 * Requires: level T or V. Keeps: the order of what stays.
 */
#include "analysis.h"

#include <string.h>

typedef struct live {
	const kir_func *f;
	bool *on;         /* the node's value or effect is needed                      */
	kir_ref *parent;  /* region_parents                                            */
	kir_ref *yield;   /* of a region op: its first yield                           */
	kir_ref *yield2;  /* of an if: its second                                      */
	kir_ref *work;    /* nodes that are needed and whose reasons aren't noted yet  */
	bool *read_local; /* of a local: something other than a store uses it          */
	unsigned nwork;
} live;

static void need(live *v, kir_ref n)
{
	if (!n || v->on[n])
		return;
	v->on[n] = true;
	v->work[v->nwork++] = n;
}

/* The local a buffer value is part of, 0 if it is a parameter. */
static kir_ref local_of(const kir_func *f, kir_ref b)
{
	b = kir_root(f, b);
	return kir_at(f, b)->op == KIR_OP_local ? b : 0;
}

static kir_ref stored_local(const kir_func *f, kir_ref n)
{
	kir_op op = (kir_op)kir_at(f, n)->op;

	if (op == KIR_OP_store || op == KIR_OP_vstore)
		return local_of(f, kir_src(f, n, 1));
	return op == KIR_OP_prefetch ? local_of(f, kir_src(f, n, 0)) : 0;
}

static void find_yields(live *v)
{
	const kir_func *f = v->f;

	for (kir_ref n = 1; n < f->nnode; n++) {
		kir_ref p = v->parent[n];

		if (is_op(f, n, KIR_OP_yield))
			(v->yield[p] ? v->yield2 : v->yield)[p] = n;
	}
}

/* Whichever of a loop's argument, result and yielded value is needed, all are. */
static void need_carried(live *v, kir_ref loop, unsigned i)
{
	need(v, kir_src(v->f, loop, 2 + i));
	need(v, loop + 2 + i);
	need(v, v->yield[loop] + 1 + i);
	need(v, kir_src(v->f, v->yield[loop], i));
}

static void need_result(live *v, kir_ref n)
{
	kir_ref op = kir_src(v->f, n, 0);
	unsigned i = (unsigned)kir_attr_of(v->f, n, KIR_ATTR_index);

	need(v, op);
	if (kir_at(v->f, op)->op == KIR_OP_for) {
		need_carried(v, op, i);
	} else {
		need(v, kir_src(v->f, v->yield[op], i));
		need(v, kir_src(v->f, v->yield2[op], i));
	}
}

/* Everything node n, which is needed, needs in turn. */
static void need_sources(live *v, kir_ref n)
{
	const kir_func *f = v->f;
	const kir_node *x = kir_at(f, n);
	unsigned i = 0, end = x->nsrc;

	need(v, v->parent[n]);
	switch (x->op) {
	case KIR_OP_for:
		end = 2; /* the carried ones each for themselves */
		need(v, v->yield[n]);
		break;
	case KIR_OP_if:
		need(v, v->yield[n]);
		need(v, v->yield2[n]);
		break;
	case KIR_OP_arg:
		if (kir_at(f, v->parent[n])->op == KIR_OP_for && n > v->parent[n] + 1)
			need_carried(v, v->parent[n], n - v->parent[n] - 2);
		return;
	case KIR_OP_res: need_result(v, n); return;
	case KIR_OP_yield:
		if (kir_at(f, v->parent[n])->op == KIR_OP_for ||
		    kir_at(f, v->parent[n])->op == KIR_OP_if)
			return;
		break;
	default: break;
	}
	for (; i < end; i++)
		need(v, kir_src(f, n, i));
}

static bool is_root(const live *v, kir_ref n)
{
	const kir_func *f = v->f;
	const kir_node *x = kir_at(f, n);
	kir_ref local;

	if (x->op == KIR_OP_param || x->op == KIR_OP_ret)
		return true;
	if (x->op == KIR_OP_for)
		return kir_for_par(f, n);
	if (!(kir_ops[x->op].flags & KIR_WRITES))
		return false;
	local = stored_local(f, n);
	return !local || v->read_local[local];
}

static void mark(live *v)
{
	const kir_func *f = v->f;

	for (kir_ref n = 1; n < f->nnode; n++) {
		bool store = stored_local(f, n) != 0, view = kir_at(f, n)->op == KIR_OP_view;
		for (unsigned i = 0; !view && i < kir_at(f, n)->nsrc; i++) {
			kir_ref s = kir_src(f, n, i);
			kir_ref local = kir_type_of(f, s)->buffer ? local_of(f, s) : 0;
			if (local && !store)
				v->read_local[local] = true;
		}
	}
	for (kir_ref n = 1; n < f->nnode; n++)
		if (is_root(v, n))
			need(v, n);
	while (v->nwork)
		need_sources(v, v->work[--v->nwork]);
}

/* -- writing what is left ------------------------------------------------------- */

/* The needed ones of n operands of x from the `first` on, mapped. `as`: the node whose mark
 * tells whether operand i is needed is as + i. */
static unsigned keep(const live *v, kir_ref x, unsigned first, kir_ref as, unsigned n,
                     const kir_ref *map, kir_ref *to)
{
	unsigned k = 0;

	for (unsigned i = 0; i < n; i++)
		if (v->on[as + i])
			to[k++] = map[kir_src(v->f, x, first + i)];
	return k;
}

static void rename_as(kir_func *out, kir_ref to, const kir_func *in, kir_ref from)
{
	out->node[to].name = in->node[from].name;
	out->node[to].line = in->node[from].line;
}

static void write_for(const live *v, kir_func *out, kir_ref n, kir_ref *map)
{
	const kir_func *in = v->f;
	kir_ref init[KIR_MAX_SRC];
	unsigned nc = kir_at(in, n)->nsrc - 2u, k;

	k = keep(v, n, 2, n + 2, nc, map, init);
	map[n] = kir_for(out, map[kir_src(in, n, 0)], map[kir_src(in, n, 1)],
	                 kir_for_step(in, n), kir_for_par(in, n), init, k);
	rename_as(out, map[n], in, n);
	map[n + 1] = map[n] + 1;
	rename_as(out, map[n + 1], in, n + 1);
	k = 0;
	for (unsigned i = 0; i < nc; i++) {
		if (!v->on[n + 2 + i])
			continue;
		map[n + 2 + i] = map[n] + 2 + k++;
		rename_as(out, map[n + 2 + i], in, n + 2 + i);
	}
}

static void write_results(const live *v, kir_func *out, kir_ref yield, unsigned nres,
                          kir_ref first, kir_ref *map)
{
	for (unsigned i = 0, k = 0; i < nres; i++) {
		if (!v->on[yield + 1 + i])
			continue;
		map[yield + 1 + i] = first + k++;
		rename_as(out, map[yield + 1 + i], v->f, yield + 1 + i);
	}
}

static void write_yield(const live *v, kir_func *out, kir_ref n, kir_ref *map)
{
	const kir_func *in = v->f;
	kir_ref op = v->parent[n], keepers[KIR_MAX_SRC], first;
	unsigned ny = kir_at(in, n)->nsrc, k;

	if (kir_at(in, op)->op == KIR_OP_for) {
		k = keep(v, n, 0, op + 2, ny, map, keepers);
		first = kir_for_end(out, map[op], keepers, k);
		write_results(v, out, n, ny, first, map);
		return;
	}
	k = keep(v, n, 0, v->yield2[op] + 1, ny, map, keepers);
	if (n == v->yield[op]) {
		kir_else(out, keepers, k);
	} else {
		first = kir_if_end(out, map[op], keepers, k);
		write_results(v, out, n, ny, first, map);
	}
}

static void write_live(const live *v, kir_func *out)
{
	const kir_func *in = v->f;
	kir_ref *map = kir_map_new(out, in);

	for (kir_ref n = 1; n < in->nnode; n++) {
		const kir_node *x = kir_at(in, n);
		kir_ref p = v->parent[n];
		bool ours =
		    p && (kir_at(in, p)->op == KIR_OP_for || kir_at(in, p)->op == KIR_OP_if);

		if (!v->on[n] || map[n] || x->op == KIR_OP_param || x->op == KIR_OP_res)
			continue;
		if (x->op == KIR_OP_arg && ours)
			continue;
		if (x->op == KIR_OP_for)
			write_for(v, out, n, map);
		else if (x->op == KIR_OP_yield && ours)
			write_yield(v, out, n, map);
		else
			kir_copy(out, in, n, map);
	}
}

/* Locals whose stores went are unused now; they were marked by no one. */
static bool any_dead(const live *v)
{
	for (kir_ref n = 1; n < v->f->nnode; n++)
		if (!v->on[n] && kir_at(v->f, n)->op != KIR_OP_const &&
		    kir_at(v->f, n)->op != KIR_OP_arg)
			return true;
	return false;
}

kpass_result kpass_dce(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_module *m = in->module;
	live v = { .f = in };

	(void)why;
	v.on = kir_alloc(m, in->nnode * sizeof *v.on);
	v.parent = region_parents(in);
	v.yield = kir_alloc(m, in->nnode * sizeof *v.yield);
	v.yield2 = kir_alloc(m, in->nnode * sizeof *v.yield2);
	v.work = kir_alloc(m, in->nnode * sizeof *v.work);
	v.read_local = kir_alloc(m, in->nnode * sizeof *v.read_local);
	find_yields(&v);
	mark(&v);
	if (!any_dead(&v))
		return KPASS_SAME;
	write_live(&v, out);
	return KPASS_CHANGED;
}
