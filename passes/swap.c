/* SPDX-License-Identifier: Apache-2.0 */
/* swap.c -- a tile that takes another one's place isn't copied: the two trade names.
 *
 *     %p = local : bf16[4096]                 %b = local : bf16[8192]
 *     for %j {                                %r = for %j carry(%o = 0) {
 *       %w = local : bf16[4096]                 %n = sub 4096, %o
 *       ... %p[%i] ... %w[%i] ...       =>      ... %b[%o + %i] ... %b[%n + %i] ...
 *       if %fast {                              %q = if %fast {
 *         for %i { %w[%i] to %p[%i] }             yield %n
 *         yield                                 } else {
 *       } else {                                  yield %o
 *         yield                                 }
 *       }                                       yield %q
 *       yield                                 }
 *     }                                       ... %b[%r + %i] ...
 *     ... %p[%i] ...
 *
 * What a loop carries in a local and computes anew in another one (the weights of stagger.c, of
 * which the old are read until the new are done) is copied at the end of an iteration. The copy
 * is short, but it waits for the last stores of narrow vectors, and products wait for it: a
 * prefill of bf16 on tiles takes 0.975 of the time without.
 *
 * Stands behind what moves loops past each other (weave.c, spread.c): they tell what ops touch
 * by the local. Requires level V; a copy from end to end, in ifs of the loop but in no other
 * loop; the target declared beside the loop (in a loop around both, the next iteration would
 * have to know where it is), the source in it and not touched after the copy;
 * both of one dimension, and accessed by loads and stores only. The largest of a loop, of at
 * least LEAST bytes: an index is an addition more.
 */
#include "analysis.h"
#include "emit.h"

enum { LEAST = 2048 };

typedef struct swap {
	const kir_func *in;
	kir_func *out;
	kir_ref *map;
	kir_ref *parent;    /* region_parents of in                    */
	kir_ref loop, copy; /* of in: the loop, the loop that copies   */
	kir_ref p, w;       /* of in: to and from                      */
	kir_ref buf;        /* of out: both                            */
	kir_ref at;         /* of out: where %p is now; 0: at 0        */
	int64_t count;      /* elements of each                        */
} swap;

static bool is_local(const kir_func *f, kir_ref n)
{
	return f->node[n].op == KIR_OP_local && kir_type_of(f, n)->rank == 1;
}

/* for %i = 0 to count { vload %w[%i] ; vstore %p[%i] } */
static bool is_copy(const kir_func *f, kir_ref n, kir_ref *p, kir_ref *w)
{
	kir_ref load = n + 2, store = n + 3;
	int64_t lo, hi, lanes;

	if (f->node[n].op != KIR_OP_for || f->node[n].nsrc != 2 ||
	    f->node[load].op != KIR_OP_vload || f->node[store].op != KIR_OP_vstore ||
	    f->node[n + 4].op != KIR_OP_yield || f->node[load].nsrc != 2 ||
	    f->node[store].nsrc != 3 || kir_src(f, load, 1) != n + 1 ||
	    kir_src(f, store, 0) != load || kir_src(f, store, 2) != n + 1)
		return false;
	*w = kir_src(f, load, 0);
	*p = kir_src(f, store, 1);
	lanes = kir_type_of(f, load)->dim[0];
	return is_local(f, *p) && is_local(f, *w) && *p != *w &&
	       f->node[*p].type == f->node[*w].type && kir_is_const(f, kir_src(f, n, 0), &lo) &&
	       kir_is_const(f, kir_src(f, n, 1), &hi) && !lo &&
	       hi == kir_type_of(f, *p)->dim[0] && kir_for_step(f, n) == lanes;
}

/* The operand of n that is buffer b: its number; -1: none. */
static int operand_of(const kir_func *f, kir_ref n, kir_ref b)
{
	for (unsigned i = 0; i < f->node[n].nsrc; i++)
		if (kir_src(f, n, i) == b)
			return (int)i;
	return -1;
}

/* Whether node n, one of whose operands is a buffer of one dimension, has its index behind it.
 */
static bool is_access(const kir_func *f, kir_ref n)
{
	switch (f->node[n].op) {
	case KIR_OP_load:
	case KIR_OP_vload:
	case KIR_OP_amx_load:
	case KIR_OP_amx_store: return f->node[n].nsrc == 2;
	case KIR_OP_store:
	case KIR_OP_vstore: return f->node[n].nsrc == 3;
	default: return false;
	}
}

/* Whether n is done in an iteration after the copy: what stands in the other half of an if
 * around that isn't. */
static bool is_after(const swap *s, kir_ref n)
{
	const kir_func *f = s->in;

	for (kir_ref k = s->loop; n > s->copy && k < s->copy; k++) {
		kir_ref y1, end;

		if (f->node[k].op != KIR_OP_if || (end = kir_region_end(f, k)) < s->copy)
			continue;
		y1 = kir_region_yield(f, k + 1);
		if (s->copy < y1 && n > y1 && n < end)
			return false;
	}
	return n > s->copy && n < kir_region_end(f, s->loop);
}

/* Whether the target is declared in the region that the loop is in. */
static bool is_beside(const swap *s)
{
	return s->p < s->loop &&
	       kir_region_yield(s->in, s->p) == kir_region_yield(s->in, s->loop);
}

/* Whether what hands on values from the copy to the loop's end can hand on one more. */
static bool has_room(const swap *s)
{
	const kir_func *f = s->in;

	for (kir_ref k = s->loop + 1; k < s->copy; k++)
		if (f->node[k].op == KIR_OP_if && kir_region_end(f, k) > s->copy &&
		    f->node[kir_region_yield(f, k + 1)].nsrc == KIR_MAX_SRC)
			return false;
	return f->node[s->loop].nsrc < KIR_MAX_SRC;
}

static bool may_swap(swap *s)
{
	const kir_func *f = s->in;

	s->loop = loop_around(f, s->parent, s->copy);
	if (!s->loop || kir_for_par(f, s->loop) || !is_beside(s) || s->w < s->loop ||
	    !has_room(s))
		return false;
	if (loop_around(f, s->parent, s->w) != s->loop)
		return false;
	for (kir_ref n = 1; n < f->nnode; n++) {
		bool mine = operand_of(f, n, s->p) >= 0, other = operand_of(f, n, s->w) >= 0;

		if ((mine || other) && !is_access(f, n))
			return false;
		if (other && n > s->copy + 4 && is_after(s, n))
			return false;
	}
	return true;
}

/* The largest copy that may be left out; false: there is none. */
static bool find(swap *s)
{
	const kir_func *f = s->in;
	swap best = { 0 };

	for (kir_ref n = 1; n + 4 < f->nnode; n++) {
		swap x = *s;

		x.copy = n;
		if (!is_copy(f, n, &x.p, &x.w))
			continue;
		x.count = kir_type_of(f, x.p)->dim[0];
		if (local_bytes(f, x.p) < LEAST || x.count <= best.count || !may_swap(&x))
			continue;
		best = x;
	}
	if (best.copy)
		*s = best;
	return best.copy;
}

/* -- emitting ------------------------------------------------------------------------------ */

/* Where the other half begins. */
static kir_ref other(const swap *s)
{
	kir_ref count = s64c(s->out, s->count);

	return s->at ? e2(s->out, KIR_OP_sub, kir_scalar(s->out->module, KIR_s64), count, s->at)
	             : count;
}

static void access(swap *s, kir_ref n, int i, kir_ref at)
{
	kir_ref index = kir_src(s->in, n, (unsigned)i + 1), had = s->map[index];

	if (at)
		s->map[index] =
		    e2(s->out, KIR_OP_add, kir_scalar(s->out->module, KIR_s64), at, had);
	kir_copy(s->out, s->in, n, s->map);
	s->map[index] = had;
}

static void results(swap *s, kir_ref yield, kir_ref first)
{
	unsigned count = s->in->node[yield].nsrc;

	for (unsigned i = 0; i < count; i++)
		s->map[yield + 1 + i] = first + i;
	s->at = first + count;
}

static unsigned yielded(swap *s, kir_ref yield, kir_ref *list)
{
	unsigned n = 0;

	for (; n < s->in->node[yield].nsrc; n++)
		list[n] = s->map[kir_src(s->in, yield, n)];
	list[n++] = s->at ? s->at : s64c(s->out, 0);
	return n;
}

static void region(swap *s, kir_ref n, kir_ref end);

static void emit_for(swap *s, kir_ref n)
{
	const kir_func *in = s->in;
	unsigned count = in->node[n].nsrc - 2u;
	kir_ref list[KIR_MAX_SRC], loop, yield = kir_region_yield(in, n + 2 + count);

	for (unsigned i = 0; i < count; i++)
		list[i] = s->map[kir_src(in, n, 2 + i)];
	list[count] = s64c(s->out, 0);
	loop = kir_for(s->out, s->map[kir_src(in, n, 0)], s->map[kir_src(in, n, 1)],
	               kir_for_step(in, n), false, list, count + 1);
	for (unsigned i = 0; i <= count; i++)
		s->map[n + 1 + i] = loop + 1 + i;
	s->at = loop + 2 + count;
	region(s, n + 2 + count, yield);
	count = yielded(s, yield, list);
	results(s, yield, kir_for_end(s->out, loop, list, count));
}

static void emit_if(swap *s, kir_ref n)
{
	const kir_func *in = s->in;
	kir_ref y1 = kir_region_yield(in, n + 1), y2 = kir_region_yield(in, y1 + 1);
	kir_ref list[KIR_MAX_SRC], at = s->at, cond = kir_if(s->out, s->map[kir_src(in, n, 0)]);
	unsigned count;

	region(s, n + 1, y1);
	count = yielded(s, y1, list);
	kir_else(s->out, list, count);
	s->at = at;
	region(s, y1 + 1, y2);
	count = yielded(s, y2, list);
	results(s, y2, kir_if_end(s->out, cond, list, count));
}

static void region(swap *s, kir_ref n, kir_ref end)
{
	const kir_func *in = s->in;

	while (n < end) {
		kir_op op = (kir_op)in->node[n].op;
		int p = operand_of(in, n, s->p), w = operand_of(in, n, s->w);

		if (op == KIR_OP_param) {
			n++;
		} else if (n == s->copy) {
			s->at = other(s);
			n = kir_region_end(in, n);
		} else if (n == s->loop) {
			emit_for(s, n);
			n = kir_region_end(in, n);
		} else if (op == KIR_OP_if && n > s->loop && n < s->copy &&
		           kir_region_end(in, n) > s->copy) {
			emit_if(s, n);
			n = kir_region_end(in, n);
		} else if (n == s->p) {
			int64_t both = s->count * 2;
			kir_type_id t = kir_buffer(
			    s->out->module, (kir_elem)kir_type_of(in, n)->elem, 1, &both);

			s->buf = kir_emit(s->out, KIR_OP_local, t, NULL, 0, NULL);
			s->map[s->p] = s->map[s->w] = s->buf;
			n++;
		} else if (n == s->w) {
			n++;
		} else if (p >= 0) {
			access(s, n++, p, s->at);
		} else if (w >= 0) {
			access(s, n++, w, other(s));
		} else {
			kir_copy(s->out, in, n++, s->map);
		}
	}
}

kpass_result kpass_swap(const kir_func *in, kir_func *out, kir_diag *why)
{
	swap s = { .in = in, .out = out, .map = kir_map_new(out, in) };

	(void)why;
	s.parent = region_parents(in);
	if (in->target->lanes || !find(&s))
		return KPASS_SAME;
	region(&s, 1, in->nnode);
	return KPASS_CHANGED;
}
