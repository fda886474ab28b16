/* SPDX-License-Identifier: Apache-2.0 */
/* pipeline.c -- the products of the next tile run beside the softmax of this one (knob
 * pipeline=on).
 *
 *     for %j = lo to hi step n                 %x0 = if lo < hi { q . k of lo } else { 0 }
 *         carry(%m, %l, %a) {                  for %j = lo to hi step n
 *       %s = dot %q, %k of %j                      carry(%m, %l, %a, %x = %x0) {
 *       %t = mask and maxima of %s      =>       if %j is the last tile {
 *       %p = weights, sums of %t                   as before, of %x
 *       %a1 = dot %p, %v of %j                   } else {
 *       yield %m1, %l1, %a1                        %t = mask and maxima of %x
 *     }                                            %xn = dot %q, %k of %j + n
 *                                                  %p = weights, sums of %t
 *                                                  %a1 = dot %p, %v of %j
 *                                                }
 *                                                yield %m1, %l1, %a1, %xn
 *                                              }
 *
 * First stage: products that depend on no carried value, with all they are computed from, and
 * what adds them up where there are several; it runs one iteration ahead, and its one result is
 * carried. Nothing of an iteration that isn't there is computed, nor of its memory touched: the
 * last one takes a copy without the first stage. Where skip_blocks put the body inside an if,
 * what decides that is computed ahead too and carried; blocks that are skipped stay untouched.
 *
 * The next iteration's index is this one's in the last: a pass that computes addresses ahead
 * (prefetch.c) then finds none outside of the loop.
 *
 * In the second stage, what reads the products without a carried value (masks, maxima) stands
 * before the next products, the rest behind: so a product's tile is free when the next takes
 * its place, and none is ever copied. What stands behind is independent of the products;
 * passes/weave.c has the two take turns.
 *
 * Requires level T and a loop that stores nothing. Rejects functions without such a loop, and
 * GPUs, where a product's tile lives in registers. Costs the body twice and the first stage
 * three times in code, and one tile of scores in memory.
 */
#include "emit.h"

#include <string.h>

typedef struct pipe {
	const kir_func *in;
	kir_func *out;
	kir_ref *map;   /* in -> out                                                 */
	kir_ref *ahead; /* the same for copies of the first stage                    */
	bool *waits;    /* by node of the loop: depends on a carried value           */
	bool *early;    /* of the first stage                                        */
	bool *derived;  /* a product of the first stage, or computed from one, up to it  */
	bool *decides;  /* what says whether the block is skipped is computed from it */
	kir_ref loop, first, yield; /* of in: the loop, its body's first node, its yield */
	kir_ref cond;               /* the if around the body, or 0                      */
	kir_ref top, end;           /* the body: nodes from top, and the yield it ends with */
	kir_ref prod;               /* what of the first stage is carried            */
	unsigned ncarry;
} pipe;

/* -- whether and what ---------------------------------------------------------------------- */

/* The body is all of the loop, or the first half of an if whose other half hands on what is
 * carried. */
static void find_body(pipe *p)
{
	const kir_func *in = p->in;
	kir_ref n = p->first, y1, y2;

	p->cond = 0;
	p->top = p->first;
	p->end = p->yield;
	while (n < p->yield && !kir_regions(in, n))
		n++;
	if (n == p->yield || in->node[n].op != KIR_OP_if)
		return;
	y1 = kir_region_yield(in, n + 1);
	y2 = kir_region_yield(in, y1 + 1);
	if (y2 != y1 + 1 || in->node[y2].nsrc != p->ncarry || kir_region_end(in, n) != p->yield)
		return;
	for (unsigned i = 0; i < p->ncarry; i++)
		if (kir_src(in, y2, i) != p->loop + 2 + i ||
		    kir_src(in, p->yield, i) != y2 + 1 + i)
			return;
	p->cond = n;
	p->top = n + 1;
	p->end = y1;
}

/* Marks what waits for carried values; false: the loop writes. Ops with regions count as
 * waiting, with all that is in them. */
static bool find_waiting(pipe *p)
{
	const kir_func *in = p->in;
	kir_ref inside = p->first; /* nodes before it lie in a region of the body */

	for (kir_ref n = p->first; n < p->yield; n++) {
		unsigned flags = kir_ops[in->node[n].op].flags;

		if (flags & KIR_WRITES || in->node[n].op == KIR_OP_local)
			return false;
		p->waits[n] = n < inside;
		if (n >= p->top && n < p->end && kir_regions(in, n)) {
			p->waits[n] = true;
			inside =
			    inside > kir_region_end(in, n) ? inside : kir_region_end(in, n);
		}
		for (unsigned i = 0; i < in->node[n].nsrc; i++) {
			kir_ref s = kir_src(in, n, i);

			p->waits[n] |= (s > p->loop + 1 && s < p->first) ||
			               (s >= p->first && s != p->cond && p->waits[s]);
		}
	}
	return !p->cond || !p->waits[kir_src(in, p->cond, 0)];
}

/* Marks in `set` what of the loop node n is computed from, n included. */
static void mark(const pipe *p, bool *set, kir_ref n)
{
	if (n < p->first || set[n])
		return;
	set[n] = true;
	for (unsigned i = 0; i < p->in->node[n].nsrc; i++)
		mark(p, set, kir_src(p->in, n, i));
}

/* The first node behind which nothing else that is computed from products of the first stage is
 * read, nor before it by what waits: with one product that itself, with several what adds them
 * up. 0: there is none. */
static kir_ref find_carried(pipe *p, kir_ref last_product)
{
	const kir_func *in = p->in;
	kir_ref read = 0; /* where what was derived so far is read last */

	for (kir_ref n = p->top; n < p->end; n++) {
		p->derived[n] = in->node[n].op == KIR_OP_dot;
		for (unsigned i = 0; i < in->node[n].nsrc; i++)
			p->derived[n] |= p->derived[kir_src(in, n, i)];
		p->derived[n] &= !p->waits[n];
		if (!p->derived[n])
			continue;
		if (n >= last_product && read <= n)
			return n;
		for (kir_ref k = n + 1; k <= p->yield; k++)
			for (unsigned i = 0; i < in->node[k].nsrc; i++)
				if (kir_src(in, k, i) == n) {
					if (k >= p->end || p->waits[k])
						return 0;
					read = k > read ? k : read;
				}
	}
	return 0;
}

/* Whether the loop has two stages. */
static bool find_stages(pipe *p)
{
	const kir_func *in = p->in;
	kir_ref product = 0;
	bool second = false;

	memset(p->waits, 0, in->nnode * sizeof *p->waits);
	memset(p->early, 0, in->nnode * sizeof *p->early);
	memset(p->derived, 0, in->nnode * sizeof *p->derived);
	memset(p->decides, 0, in->nnode * sizeof *p->decides);
	find_body(p);
	if (!find_waiting(p))
		return false;
	for (kir_ref n = p->top; n < p->end; n++) {
		bool dot = in->node[n].op == KIR_OP_dot;

		second |= dot && p->waits[n];
		product = dot && !p->waits[n] ? n : product;
	}
	p->prod = product && second ? find_carried(p, product) : 0;
	if (!p->prod)
		return false;
	mark(p, p->early, p->prod);
	if (p->cond)
		mark(p, p->decides, kir_src(in, p->cond, 0));
	return true;
}

/* -- emitting ------------------------------------------------------------------------------ */

/* Copies what of the loop is in `set` for iteration j. */
static void copy_ahead(pipe *p, const bool *set, kir_ref j)
{
	memcpy(p->ahead, p->map, p->in->nnode * sizeof *p->ahead);
	p->ahead[p->loop + 1] = j;
	for (kir_ref n = p->first; n < p->end; n++)
		if (set[n])
			kir_copy(p->out, p->in, n, p->ahead);
}

/* Whether index j is below the loop's end. */
static kir_ref is_inside(pipe *p, kir_ref j)
{
	return e2(p->out, KIR_OP_lt, kir_scalar(p->out->module, KIR_i1), j,
	          p->map[kir_src(p->in, p->loop, 1)]);
}

/* Whether there is an iteration j, which `inside` says, and it isn't skipped. */
static kir_ref is_there(pipe *p, kir_ref j, kir_ref inside)
{
	kir_ref c, no;

	if (!p->cond)
		return inside;
	c = kir_if(p->out, inside);
	copy_ahead(p, p->decides, j);
	kir_else(p->out, &p->ahead[kir_src(p->in, p->cond, 0)], 1);
	no = kir_const_i(p->out, KIR_i1, 0);
	return kir_if_end(p->out, c, &no, 1);
}

/* The products of iteration j. */
static kir_ref products_of(pipe *p, kir_ref j)
{
	copy_ahead(p, p->early, j);
	return p->ahead[p->prod];
}

/* The same if `there`; else, what no one reads, `idle` or 0 where that is none. */
static kir_ref products_if(pipe *p, kir_ref there, kir_ref j, kir_ref idle)
{
	kir_func *out = p->out;
	kir_type_id t = p->in->node[p->prod].type;
	kir_elem e = (kir_elem)kir_type_of(p->in, p->prod)->elem;
	kir_ref c = kir_if(out, there), x = products_of(p, j);

	kir_else(out, &x, 1);
	if (!idle)
		idle = e1(out, KIR_OP_splat, t, zero_of(out, e));
	return kir_if_end(out, c, &idle, 1);
}

/* The second stage's nodes that wait for carried values, or those that don't. */
static void copy_second(pipe *p, bool waiting)
{
	for (kir_ref n = p->top; n < p->end; n++)
		if (p->waits[n] == waiting && !p->derived[n])
			kir_copy(p->out, p->in, n, p->map);
}

static void yielded(const pipe *p, kir_ref x, kir_ref *list)
{
	for (unsigned i = 0; i < p->ncarry; i++)
		list[i] = p->map[kir_src(p->in, p->end, i)];
	list[p->ncarry] = x;
}

/* The body of an iteration that isn't skipped; x: its products. Its first result. */
static kir_ref body(pipe *p, kir_ref next, kir_ref there, kir_ref x)
{
	kir_func *out = p->out;
	kir_type_id i1 = kir_scalar(out->module, KIR_i1);
	kir_ref list[KIR_MAX_SRC], xn;
	kir_ref c = kir_if(out, e2(out, KIR_OP_xor, i1, there, kir_const_i(out, KIR_i1, 1)));

	p->map[p->prod] = x;
	copy_second(p, false);
	copy_second(p, true);
	yielded(p, x, list);
	kir_else(out, list, p->ncarry + 1);
	copy_second(p, false);
	xn = products_of(p, next);
	copy_second(p, true);
	yielded(p, xn, list);
	return kir_if_end(out, c, list, p->ncarry + 1);
}

/* The same inside an if: whether the iteration is skipped was found out in the one before. */
static kir_ref body_if(pipe *p, kir_ref loop, kir_ref next, kir_ref there)
{
	kir_ref x = loop + 2 + p->ncarry, now = x + 1, list[KIR_MAX_SRC], c, res;

	if (!p->cond)
		return body(p, next, there, x);
	for (kir_ref n = p->first; n < p->cond; n++)
		kir_copy(p->out, p->in, n, p->map);
	c = kir_if(p->out, now);
	res = body(p, next, there, x);
	for (unsigned i = 0; i <= p->ncarry; i++)
		list[i] = res + i;
	kir_else(p->out, list, p->ncarry + 1);
	x = products_if(p, there, next, x);
	for (unsigned i = 0; i < p->ncarry; i++)
		list[i] = loop + 2 + i;
	list[p->ncarry] = x;
	return kir_if_end(p->out, c, list, p->ncarry + 1);
}

static void emit(pipe *p)
{
	const kir_func *in = p->in;
	kir_func *out = p->out;
	kir_type_id s64 = kir_scalar(out->module, KIR_s64);
	kir_ref lo = p->map[kir_src(in, p->loop, 0)], list[KIR_MAX_SRC];
	kir_ref there = is_there(p, lo, is_inside(p, lo)), x = products_if(p, there, lo, 0);
	kir_ref loop, next, inside, res;
	unsigned n = p->ncarry + 1 + (p->cond != 0);

	for (unsigned i = 0; i < p->ncarry; i++)
		list[i] = p->map[kir_src(in, p->loop, 2 + i)];
	list[p->ncarry] = x;
	list[p->ncarry + 1] = there;
	loop = kir_for(out, lo, p->map[kir_src(in, p->loop, 1)], kir_for_step(in, p->loop),
	               false, list, n);
	for (unsigned i = 0; i < 1 + p->ncarry; i++)
		p->map[p->loop + 1 + i] = loop + 1 + i;
	next = e2(out, KIR_OP_add, s64, loop + 1, s64c(out, kir_for_step(in, p->loop)));
	inside = is_inside(p, next);
	next = e3(out, KIR_OP_select, s64, inside, next, loop + 1);
	there = is_there(p, next, inside);
	res = body_if(p, loop, next, there);
	for (unsigned i = 0; i <= p->ncarry; i++)
		list[i] = res + i;
	list[p->ncarry + 1] = there;
	res = kir_for_end(out, loop, list, n);
	for (unsigned i = 0; i < p->ncarry; i++)
		p->map[p->yield + 1 + i] = res + i;
}

/* Loop n of in, its body and yield, into p; false: not one with carried values. */
static bool is_candidate(pipe *p, kir_ref n)
{
	const kir_func *in = p->in;

	if (in->node[n].op != KIR_OP_for || kir_for_par(in, n) || in->node[n].nsrc < 3)
		return false;
	p->loop = n;
	p->ncarry = in->node[n].nsrc - 2u;
	p->first = n + 2 + p->ncarry;
	p->yield = kir_region_yield(in, p->first);
	return p->ncarry + 2 <= KIR_MAX_SRC;
}

kpass_result kpass_pipeline(const kir_func *in, kir_func *out, kir_diag *why)
{
	pipe p = { .in = in, .out = out, .map = kir_map_new(out, in) };
	kpass_result result = KPASS_SAME;

	if (in->sched.pipeline != KIR_pipeline_on || in->sched.m_chunk)
		return KPASS_SAME;
	if (in->target->lanes) {
		kir_error(
		    why, 0, 0,
		    "knob pipeline=on: a GPU keeps one tile's scores in registers, so auto "
		    "or off");
		return KPASS_REJECT;
	}
	p.ahead = kir_alloc(out->module, in->nnode * sizeof *p.ahead);
	p.waits = kir_alloc(out->module, in->nnode * sizeof *p.waits);
	p.derived = kir_alloc(out->module, in->nnode * sizeof *p.derived);
	p.early = kir_alloc(out->module, in->nnode * sizeof *p.early);
	p.decides = kir_alloc(out->module, in->nnode * sizeof *p.decides);
	for (kir_ref n = 1; n < in->nnode; n++) {
		if (in->node[n].op == KIR_OP_param)
			continue;
		if (is_candidate(&p, n) && find_stages(&p)) {
			emit(&p);
			n = kir_region_end(in, n) - 1;
			result = KPASS_CHANGED;
			continue;
		}
		kir_copy(out, in, n, p.map);
	}
	if (result == KPASS_CHANGED)
		return result;
	kir_error(
	    why, 0, 0,
	    "knob pipeline=on: no loop has a product that waits for no carried value before "
	    "one that does, and stores nothing (with an index list rows are stored into "
	    "place), so auto or off");
	return KPASS_REJECT;
}
