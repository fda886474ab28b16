/* SPDX-License-Identifier: Apache-2.0 */
/* hoist.c -- invariant ops leave their loop.
 *
 *     for %i = 0 to %n {                 %s = mul %a, %b : f32
 *       %s = mul %a, %b : f32            for %i = 0 to %n {
 *       ...                                ...
 *
 * A pure op moves before the outermost loop in which none of its operands is made, out of
 * ifs on the way too if a loop is left. It never leaves a par loop, whose iterations may be
 * called one at a time. Loads stay, since a store may lie between; so do `local`s, whose
 * memory is new in each iteration. So does what has no meaning for some operands, from which
 * an if, or a loop without iterations, may guard it: quotients and shifts, unless by a literal,
 * and `fixed`.
 *
 * Requires: level T or V. Keeps: the order of what moves.
 */
#include "analysis.h"

typedef struct hoist {
	const kir_func *f;
	kir_ref *parent; /* region_parents                                             */
	kir_ref *home;   /* region op around it once moved                             */
	kir_ref *before; /* region op it moves in front of, 0 if it stays              */
	kir_ref *first;  /* of a region op: first node that moves in front of it       */
	kir_ref *next;   /* and the one after that                                     */
	kir_ref *last;
} hoist;

static bool may_move(const kir_func *f, kir_ref n)
{
	const kir_node *x = kir_at(f, n);
	int64_t y;

	if (!(kir_ops[x->op].flags & KIR_PURE) || x->op == KIR_OP_param ||
	    x->op == KIR_OP_arg || x->op == KIR_OP_res)
		return false;
	switch (x->op) {
	case KIR_OP_fdiv:
	case KIR_OP_mod: return kir_is_const(f, kir_src(f, n, 1), &y) && y > 0;
	case KIR_OP_shl:
	case KIR_OP_shr:
		return kir_is_const(f, kir_src(f, n, 1), &y) && y >= 0 &&
		       y < kir_elems[kir_type_of(f, n)->elem].bits;
	case KIR_OP_fixed: return false;
	default: return true;
	}
}

/* Whether `inner` is region op r or lies in it. */
static bool within(const hoist *h, kir_ref inner, kir_ref r)
{
	while (inner && inner != r)
		inner = h->parent[inner];
	return inner == r;
}

/* Finds the outermost loop that n can leave. */
static void place(hoist *h, kir_ref n)
{
	const kir_func *f = h->f;

	h->home[n] = h->parent[n];
	if (!may_move(f, n))
		return;
	for (kir_ref r = h->parent[n]; r; r = h->parent[r]) {
		if (kir_at(f, r)->op == KIR_OP_for && kir_for_par(f, r))
			return;
		for (unsigned i = 0; i < kir_at(f, n)->nsrc; i++)
			if (within(h, h->home[kir_src(f, n, i)], r))
				return;
		if (kir_at(f, r)->op == KIR_OP_for) {
			h->before[n] = r;
			h->home[n] = h->parent[r];
		}
	}
}

static void enqueue(hoist *h, kir_ref n)
{
	kir_ref r = h->before[n];

	if (!r)
		return;
	if (h->first[r])
		h->next[h->last[r]] = n;
	else
		h->first[r] = n;
	h->last[r] = n;
}

/* Places every node; true if an op moves (literals stand where they are used anyway). */
static bool place_all(hoist *h)
{
	const kir_func *f = h->f;
	bool moved = false;

	for (kir_ref n = 1; n < f->nnode; n++) {
		place(h, n);
		enqueue(h, n);
		moved |= h->before[n] && !is_op(f, n, KIR_OP_const);
	}
	return moved;
}

kpass_result kpass_hoist(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_module *m = in->module;
	size_t bytes = in->nnode * sizeof(kir_ref);
	hoist h = { .f = in };
	kir_ref *map;

	(void)why;
	h.parent = region_parents(in);
	h.home = kir_alloc(m, bytes);
	h.before = kir_alloc(m, bytes);
	h.first = kir_alloc(m, bytes);
	h.next = kir_alloc(m, bytes);
	h.last = kir_alloc(m, bytes);
	if (!place_all(&h))
		return KPASS_SAME;
	map = kir_map_new(out, in);
	for (kir_ref n = 1; n < in->nnode; n++) {
		if (kir_at(in, n)->op == KIR_OP_param || h.before[n])
			continue;
		for (kir_ref k = h.first[n]; k; k = h.next[k])
			kir_copy(out, in, k, map);
		kir_copy(out, in, n, map);
	}
	return KPASS_CHANGED;
}
