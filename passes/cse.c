/* SPDX-License-Identifier: Apache-2.0 */
/* cse.c -- equal pure ops in scope become one.
 *
 *     %a = mul %x, %y : f32           %a = mul %x, %y : f32
 *     %b = mul %y, %x : f32
 *     %c = add %a, %b : f32           %c = add %a, %a : f32
 *
 * A table of the values in scope, keyed by op, type, operands (sorted if the op commutes)
 * and attributes; what a region added is taken out again at its end. Loads aren't pure, so
 * no aliasing question arises.
 *
 * Requires: level T or V. Keeps: order, regions, names of what stays.
 */
#include "passes.h"

#include <string.h>

typedef struct table {
	const kir_func *f; /* the function being written */
	kir_ref *slot;     /* open addressing, 0 is free */
	uint32_t mask;
	uint32_t *undo; /* slots in the order they were filled */
	unsigned nundo;
} table;

static uint64_t mix(uint64_t h, uint64_t x)
{
	h = (h ^ x) * 0x9e3779b97f4a7c15u;
	return h ^ (h >> 29);
}

/* Operands of x in canonical order. */
static unsigned operands(const kir_func *f, const kir_node *x, kir_ref *s)
{
	unsigned n = x->nsrc;

	for (unsigned i = 0; i < n; i++)
		s[i] = f->srcs[x->src + i];
	if ((kir_ops[x->op].flags & KIR_COMMUTES) && n >= 2 && s[0] > s[1]) {
		kir_ref t = s[0];
		s[0] = s[1];
		s[1] = t;
	}
	return n;
}

static uint64_t hash(const kir_func *f, kir_ref r)
{
	const kir_node *x = kir_at(f, r);
	kir_ref s[KIR_MAX_SRC];
	unsigned n = operands(f, x, s);
	uint64_t h = mix(mix(0, x->op), x->type);

	for (unsigned i = 0; i < n; i++)
		h = mix(h, s[i]);
	for (unsigned i = 0; i < KIR_MAX_ATTRS; i++)
		h = mix(h, (uint64_t)x->attr[i]);
	return h;
}

static bool equal(const kir_func *f, kir_ref a, kir_ref b)
{
	const kir_node *x = kir_at(f, a), *y = kir_at(f, b);
	kir_ref s[KIR_MAX_SRC], t[KIR_MAX_SRC];

	if (x->op != y->op || x->type != y->type || x->nsrc != y->nsrc ||
	    memcmp(x->attr, y->attr, sizeof x->attr) != 0)
		return false;
	operands(f, x, s);
	operands(f, y, t);
	return !memcmp(s, t, x->nsrc * sizeof *s);
}

/* The value in scope that equals r, or r itself, which is now in the table. */
static kir_ref look_up(table *t, kir_ref r)
{
	uint32_t i = (uint32_t)hash(t->f, r) & t->mask;

	for (; t->slot[i]; i = (i + 1) & t->mask)
		if (equal(t->f, t->slot[i], r))
			return t->slot[i];
	t->slot[i] = r;
	t->undo[t->nundo++] = i;
	return r;
}

/* Newest first, so that no probe sequence is ever interrupted. */
static void forget(table *t, unsigned keep)
{
	while (t->nundo > keep)
		t->slot[t->undo[--t->nundo]] = 0;
}

static bool candidate(const kir_node *x)
{
	return (kir_ops[x->op].flags & KIR_PURE) && x->op != KIR_OP_param &&
	       x->op != KIR_OP_arg && x->op != KIR_OP_res;
}

kpass_result kpass_cse(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_module *m = in->module;
	kir_ref *map = kir_map_new(out, in);
	table t = { .f = out, .mask = 63 };
	unsigned *mark = kir_alloc(m, in->nnode * sizeof *mark), depth = 0;
	bool changed = false;

	(void)why;
	while (t.mask < 2 * in->nnode)
		t.mask = 2 * t.mask + 1;
	t.slot = kir_alloc(m, (t.mask + 1) * sizeof *t.slot);
	t.undo = kir_alloc(m, in->nnode * sizeof *t.undo);
	for (kir_ref n = 1; n < in->nnode; n++) {
		const kir_node *x = kir_at(in, n);
		kir_ref r;

		if (x->op == KIR_OP_param)
			continue;
		r = kir_copy(out, in, n, map);
		for (unsigned i = kir_regions(in, n); i; i--)
			mark[depth++] = t.nundo; /* once for each region */
		if (x->op == KIR_OP_yield)
			forget(&t, mark[--depth]);
		if (!candidate(x))
			continue;
		map[n] = look_up(&t, r);
		if (map[n] == r)
			continue;
		out->nsrcs -= out->node[r].nsrc; /* the copy was the last node */
		out->nnode--;
		changed |= x->op != KIR_OP_const;
	}
	return changed ? KPASS_CHANGED : KPASS_SAME;
}
