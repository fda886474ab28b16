/* SPDX-License-Identifier: Apache-2.0 */
/* spread.c -- vectors are spread evenly over the products in tile registers behind them.
 *
 *     for %r ... { weights 0 }             A1 and a first part of B, in between the
 *     products A1                            iterations of weights 0
 *     for %r ... { weights 1 }       =>    A2 and a second part of B, in between those
 *     products A2                            of weights 1
 *     for %r ... { weights 2 }             the rest of B, in between those of weights 2
 *     products B
 *
 * That is what stagger.c leaves behind: weights of 32 keys wait for the scores before them, and
 * for no product behind; what stands behind the last (B) for none of this tile's weights.
 * Beside a product a core does one vector of f32 a cycle, elsewhere two, so products in a row
 * and vectors in a row leave one or the other idle; and it looks ahead over some 500
 * instructions only. Each loop of weights gets as many products.
 *
 * B is cut where no tile register holds a sum: its loops are written out. So are the loops of
 * weights, each iteration of which goes behind its share of products. Takes regions in which
 * nothing else stands between: tile ops, what computes addresses, and loops of vectors without
 * results, of which those that do least half the work of the largest count as weights; the
 * others stay behind the weights before them. Requires level V.
 */
#include "weave.h"

enum { MOST = 8 /* loops of weights; iterations that are written out */ };

typedef struct spread {
	const kir_func *in;
	kir_func *out;
	kir_ref *map;
	kir_ref weights[MOST + 1]; /* their loops, then the end of it all */
	unsigned n;
	kir_ref first; /* the first tile op                           */
	/* while emitting: the weights that are spread, iterations done and in all, products
	 * emitted and in all that they are spread over */
	kir_ref loop;
	int64_t done, all, seen, total;
} spread;

static bool is_region(const kir_func *f, kir_ref n)
{
	return kir_ops[f->node[n].op].flags & (KIR_REGION | KIR_REGION2);
}

static bool has_tiles(const kir_func *f, span s)
{
	for (kir_ref n = s.begin; n < s.end; n++)
		if (kir_is_amx((kir_op)f->node[n].op))
			return true;
	return false;
}

/* A loop that may be written out: of tile ops and addresses, without another in it. */
static bool is_tile_loop(const kir_func *f, kir_ref n)
{
	span s = weave_span(f, n);

	if (!weave_is_plain(f, n) || !has_tiles(f, s) || weave_trips(f, n) > MOST)
		return false;
	for (kir_ref k = n + 1; k < s.end; k++)
		if (is_region(f, k))
			return false;
	return true;
}

/* Of a loop of weights: inner ones are short. */
static bool is_vector_loop(const kir_func *f, kir_ref n)
{
	span s = weave_span(f, n);

	if (!weave_is_plain(f, n) || has_tiles(f, s))
		return false;
	for (kir_ref k = n + 1; k < s.end; k++)
		if (is_region(f, k) && f->node[k].op != KIR_OP_for)
			return false;
	return true;
}

/* Whether nodes from a on, of the region that `end` closes, are what this pass takes. */
static bool find(spread *x, kir_ref a, kir_ref end)
{
	const kir_func *f = x->in;
	int64_t most = 0;
	kir_ref last = 0, before = 0;

	x->n = 0;
	x->first = 0;
	for (kir_ref n = a; n < end; n = weave_span(f, n).end) {
		if (!x->first && kir_is_amx((kir_op)f->node[n].op))
			x->first = before ? before : n;
		if (is_region(f, n))
			before = !is_vector_loop(f, n) ? 0 : before ? before : n;
		if (kir_is_amx((kir_op)f->node[n].op) || is_tile_loop(f, n))
			last = weave_span(f, n).end;
	}
	for (kir_ref n = x->first; n && n < last; n = weave_span(f, n).end) {
		if (is_region(f, n) && !is_tile_loop(f, n) && !is_vector_loop(f, n))
			return false;
		if (is_vector_loop(f, n) && weave_work(f, weave_span(f, n)) > most)
			most = weave_work(f, weave_span(f, n));
	}
	for (kir_ref n = x->first; n && n < last; n = weave_span(f, n).end) {
		span s = weave_span(f, n);

		if (!is_vector_loop(f, n) || weave_work(f, s) * 2 < most)
			continue;
		if (x->n == MOST || weave_trips(f, n) > MOST)
			return false;
		x->weights[x->n++] = n;
	}
	if (x->n < 2)
		return false;
	x->weights[x->n] = last;
	for (kir_ref n = x->first; n < x->weights[x->n - 1]; n = weave_span(f, n).end)
		if (is_tile_loop(f, n))
			return false;
	return true;
}

/* Small loops of vectors stay behind products that stood before them: over those from `from`.
 */
static bool small_stay(const spread *x)
{
	const kir_func *f = x->in;

	for (unsigned i = 0; i < x->n; i++) {
		kir_ref from = weave_span(f, x->weights[i]).end, to = x->weights[i + 1];

		for (kir_ref n = from; n < to; n = weave_span(f, n).end)
			for (kir_ref k = weave_span(f, n).end;
			     is_vector_loop(f, n) && k < x->weights[x->n];
			     k = weave_span(f, k).end)
				if (!is_vector_loop(f, k) &&
				    weave_conflict(f, weave_span(f, k), weave_span(f, n)))
					return false;
	}
	return true;
}

/* What tile registers hold in a stretch of products, as bits: sums that aren't stored yet, and
 * what was loaded or zeroed in the stretch. */
typedef struct held {
	unsigned sums, had;
	bool other; /* a product read what was there before */
} held;

static void follow(const kir_func *f, kir_ref n, held *h)
{
	kir_op op = (kir_op)f->node[n].op;
	unsigned bit = kir_is_amx(op) ? 1u << kir_attr_of(f, n, KIR_ATTR_tile) : 0, reads = bit;

	if (op == KIR_OP_amx_store) {
		h->sums &= ~bit;
	} else if (weave_is_product(op)) {
		reads |= 1u << kir_attr_of(f, n, KIR_ATTR_a);
		reads |= 1u << kir_attr_of(f, n, KIR_ATTR_b);
		h->other |= (reads & ~h->had) != 0;
		h->sums |= bit;
	} else if (op != KIR_OP_amx_tile) {
		h->had |= bit;
	}
}

/* -- emitting ------------------------------------------------------------------------------ */

/* Nodes with short loops written out. */
static void copy_out(spread *x, kir_ref n, kir_ref end)
{
	const kir_func *f = x->in;

	while (n < end) {
		unsigned count = f->node[n].op == KIR_OP_for ? f->node[n].nsrc - 2u : 0;
		kir_ref yield, now[KIR_MAX_SRC];
		int64_t trips = f->node[n].op == KIR_OP_for ? weave_trips(f, n) : 0, lo = 0;

		if (!trips || trips > MOST) {
			kir_copy(x->out, f, n++, x->map);
			continue;
		}
		yield = kir_region_yield(f, n + 2 + count);
		kir_is_const(f, kir_src(f, n, 0), &lo);
		for (unsigned i = 0; i < count; i++)
			now[i] = x->map[kir_src(f, n, 2 + i)];
		for (int64_t t = 0; t < trips; t++) {
			x->map[n + 1] = s64c(x->out, lo + t * kir_for_step(f, n));
			for (unsigned i = 0; i < count; i++)
				x->map[n + 2 + i] = now[i];
			copy_out(x, n + 2 + count, yield);
			for (unsigned i = 0; i < count; i++)
				now[i] = x->map[kir_src(f, yield, i)];
		}
		for (unsigned i = 0; i < count; i++)
			x->map[yield + 1 + i] = now[i];
		n = kir_region_end(f, n);
	}
}

/* The next iteration of weights. */
static void weights(spread *x)
{
	const kir_func *f = x->in;
	int64_t lo = 0;

	kir_is_const(f, kir_src(f, x->loop, 0), &lo);
	x->map[x->loop + 1] = s64c(x->out, lo + x->done++ * kir_for_step(f, x->loop));
	copy_out(x, x->loop + 2, kir_region_yield(f, x->loop + 2));
}

/* A node of products or their addresses, and what weights are due behind it. */
static void tile_op(spread *x, kir_ref n)
{
	const kir_func *f = x->in;
	kir_op op = (kir_op)f->node[n].op;

	kir_copy(x->out, f, n, x->map);
	if (!weave_is_product(op))
		return;
	x->seen++;
	while (x->loop && x->done < x->all && x->done * x->total < x->seen * x->all)
		weights(x);
}

/* Products of one place of B: where it goes on. */
typedef struct place {
	kir_ref n, loop;
	int64_t trip;
} place;

/* Runs B from p on for `count` products, and on to where no register holds a sum; 0: on to its
 * end, `last`. h: NULL to emit it, else follows registers. The products that makes. */
static int64_t some_of(spread *x, place *p, kir_ref last, int64_t count, held *h)
{
	const kir_func *f = x->in;
	int64_t seen = 0, lo;
	held mine = { 0 };

	while (p->n < last && (!count || seen < count || mine.sums)) {
		if (p->loop && p->n == kir_region_yield(f, p->loop + 2)) {
			bool more = ++p->trip < weave_trips(f, p->loop);

			p->n = more ? p->loop + 2 : kir_region_end(f, p->loop);
			p->loop = more ? p->loop : 0;
		} else if (f->node[p->n].op == KIR_OP_for && !is_tile_loop(f, p->n)) {
			p->n = kir_region_end(f, p->n); /* vectors: emitted behind weights */
			continue;
		} else if (f->node[p->n].op == KIR_OP_for) {
			p->loop = p->n;
			p->trip = 0;
			p->n += 2;
		} else {
			seen += weave_is_product((kir_op)f->node[p->n].op);
			follow(f, p->n, &mine);
			if (!h)
				tile_op(x, p->n);
			p->n++;
			continue;
		}
		if (p->loop && p->n == p->loop + 2 && !h) {
			kir_is_const(f, kir_src(f, p->loop, 0), &lo);
			x->map[p->loop + 1] =
			    s64c(x->out, lo + p->trip * kir_for_step(f, p->loop));
		}
	}
	if (h) {
		h->other |= mine.other;
		h->sums |= mine.sums;
	}
	return seen;
}

static int64_t products(const kir_func *f, kir_ref n, kir_ref end)
{
	int64_t sum = 0;

	for (; n < end; n++)
		sum += weave_is_product((kir_op)f->node[n].op);
	return sum;
}

/* How many products of B come beside loop i of weights, of `all` when `had` were before: each
 * loop is to have as many. */
static int64_t share(const spread *x, unsigned i, int64_t all, int64_t had)
{
	const kir_func *f = x->in;
	kir_ref begin = weave_span(f, x->weights[0]).end;
	kir_ref b = weave_span(f, x->weights[x->n - 1]).end;
	int64_t whole = all + products(f, begin, b), here;

	if (i + 1 == x->n)
		return 0;
	here = products(f, begin, x->weights[i + 1]) + had;
	return whole * (i + 1) / x->n - here;
}

/* Whether products n and k touch the same and one of them writes it. */
static bool clash(const kir_func *f, kir_ref n, kir_ref k)
{
	kir_ref ra, rb;
	bool wa, wb;

	return kir_is_amx((kir_op)f->node[k].op) && weave_touches(f, n, &ra, &wa) &&
	       weave_touches(f, k, &rb, &wb) && ra == rb && (wa || wb);
}

/* Whether nothing that weights touch moves to before their end: products up to the next ones,
 * and of B what comes beside them or earlier; and nothing that products touch to before them:
 * what of B comes earlier. */
static bool may_move(spread *x)
{
	const kir_func *f = x->in;
	kir_ref last = x->weights[x->n], b = weave_span(f, x->weights[x->n - 1]).end;
	place p = { .n = b }, all_of = p;
	held ignored = { 0 };
	int64_t all = some_of(x, &all_of, last, 0, &ignored), had = 0;

	for (unsigned i = 0; i < x->n; i++) {
		bool end = i + 1 == x->n;
		span w = weave_span(f, x->weights[i]);
		kir_ref to = end ? b : x->weights[i + 1], upto;
		int64_t count = share(x, i, all, had);

		if (count > 0 || end)
			had += some_of(x, &p, last, count, &ignored);
		upto = p.loop ? kir_region_end(f, p.loop) : p.n;
		for (kir_ref n = w.end; n < upto; n = weave_span(f, n).end) {
			if (n == to)
				n = b;
			if (n < upto && !is_vector_loop(f, n) &&
			    weave_conflict(f, weave_span(f, n), w))
				return false;
		}
		for (kir_ref n = b; n < upto; n++)
			for (kir_ref k = to; k < b; k++)
				if (clash(f, n, k))
					return false;
	}
	return true;
}

/* What stands between loops of weights, but vectors; or only those. */
static void between(spread *x, unsigned i, bool vectors)
{
	const kir_func *f = x->in;

	for (kir_ref n = weave_span(f, x->weights[i]).end; n < x->weights[i + 1];) {
		span s = weave_span(f, n);

		for (kir_ref k = s.begin; vectors && is_vector_loop(f, n) && k < s.end; k++)
			kir_copy(x->out, f, k, x->map);
		if (!vectors && !is_region(f, n))
			tile_op(x, n);
		n = s.end;
	}
}

static void emit(spread *x)
{
	const kir_func *f = x->in;
	kir_ref last = x->weights[x->n];
	place p = { .n = weave_span(f, x->weights[x->n - 1]).end }, dry = p;
	held ignored = { 0 };
	int64_t all = some_of(x, &dry, last, 0, &ignored), had = 0;

	for (kir_ref n = x->first; n < x->weights[0]; n++)
		kir_copy(x->out, f, n, x->map);
	for (unsigned i = 0; i < x->n; i++) {
		bool end = i + 1 == x->n;
		int64_t count = share(x, i, all, had), mine = 0;

		dry = p;
		if (count > 0 || end)
			mine = some_of(x, &dry, last, count, &ignored);
		had += mine;
		x->loop = x->weights[i];
		x->done = x->seen = 0;
		x->all = weave_trips(f, x->loop);
		x->total = mine;
		if (!end)
			x->total += products(f, weave_span(f, x->loop).end, x->weights[i + 1]);
		if (!end)
			between(x, i, false);
		if (count > 0 || end)
			some_of(x, &p, last, count, NULL);
		while (x->done < x->all)
			weights(x);
		x->loop = 0;
		between(x, i, true);
	}
}

/* Whether each stretch of products loads what it reads, and stores all of its sums. */
static bool each_for_itself(spread *x)
{
	const kir_func *f = x->in;
	kir_ref last = x->weights[x->n];
	place p = { .n = weave_span(f, x->weights[x->n - 1]).end }, all_of = p;
	held h = { 0 };
	int64_t all = some_of(x, &all_of, last, 0, &h), had = 0;

	for (unsigned i = 0; i < x->n; i++) {
		kir_ref n = i ? weave_span(f, x->weights[i - 1]).end : x->first;
		int64_t count = share(x, i, all, had);
		held mine = { 0 };

		for (; n < x->weights[i]; n++)
			follow(f, n, &mine);
		h.other |= mine.other;
		h.sums |= mine.sums;
		if (count > 0 || i + 1 == x->n)
			had += some_of(x, &p, last, count, &h);
	}
	return !h.other && !h.sums;
}

kpass_result kpass_spread(const kir_func *in, kir_func *out, kir_diag *why)
{
	spread x = { .in = in, .out = out, .map = kir_map_new(out, in) };
	kpass_result result = KPASS_SAME;

	(void)why;
	if (!kpass_has_tiles(in) || in->sched.m_chunk ||
	    in->sched.pipeline == KIR_pipeline_off || in->sched.pipeline == KIR_pipeline_on)
		return KPASS_SAME;
	x.first = 0;
	for (kir_ref n = 1; n < in->nnode; n++) {
		if (in->node[n].op == KIR_OP_param)
			continue;
		if (n == x.first) {
			emit(&x);
			n = x.weights[x.n] - 1;
			x.first = 0;
			result = KPASS_CHANGED;
			continue;
		}
		if (!x.first && in->node[n].op == KIR_OP_if &&
		    !(find(&x, n + 1, kir_region_yield(in, n + 1)) && small_stay(&x) &&
		      each_for_itself(&x) && may_move(&x)))
			x.first = 0;
		kir_copy(out, in, n, x.map);
	}
	return result;
}
