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

/* What tile registers hold in a stretch of products, as bits: sums that aren't stored yet, and
 * what was loaded or zeroed in the stretch. */
typedef struct held {
	unsigned sums, had;
	bool other; /* a product read what was there before */
} held;

/* A place in B: the next node, and the loop around it with the iteration; 0: none. */
typedef struct place {
	kir_ref n, loop;
	int64_t trip;
} place;

/* What of B comes beside a loop of weights. */
typedef struct share {
	place from, to;
	int64_t products;
} share;

typedef struct spread {
	const kir_func *in;
	kir_func *out;
	kir_ref *map;
	kir_ref weights[MOST + 1]; /* their loops, then the end of it all */
	unsigned n;
	kir_ref first; /* the first tile op                           */
	share share[MOST];
	bool whole; /* each share loads what it reads, and stores all of its sums */
	/* while emitting: the weights that are spread, iterations done and in all, products
	 * emitted and in all that they are spread over */
	kir_ref loop;
	int64_t done, all, seen, total;
} spread;

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

	if (!weave_is_plain(f, n) || !has_tiles(f, s) || loop_trips(f, n) > MOST)
		return false;
	for (kir_ref k = n + 1; k < s.end; k++)
		if (kir_regions(f, k))
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
		if (kir_regions(f, k) && f->node[k].op != KIR_OP_for)
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
	for (kir_ref n = a; n < end; n = kir_region_end(f, n)) {
		if (!x->first && kir_is_amx((kir_op)f->node[n].op))
			x->first = before ? before : n;
		if (kir_regions(f, n))
			before = !is_vector_loop(f, n) ? 0 : before ? before : n;
		if (kir_is_amx((kir_op)f->node[n].op) || is_tile_loop(f, n))
			last = kir_region_end(f, n);
	}
	for (kir_ref n = x->first; n && n < last; n = kir_region_end(f, n)) {
		if (kir_regions(f, n) && !is_tile_loop(f, n) && !is_vector_loop(f, n))
			return false;
		if (is_vector_loop(f, n) && weave_work(f, weave_span(f, n)) > most)
			most = weave_work(f, weave_span(f, n));
	}
	for (kir_ref n = x->first; n && n < last; n = kir_region_end(f, n)) {
		span s = weave_span(f, n);

		if (!is_vector_loop(f, n) || weave_work(f, s) * 2 < most)
			continue;
		if (x->n == MOST || loop_trips(f, n) > MOST)
			return false;
		x->weights[x->n++] = n;
	}
	if (x->n < 2)
		return false;
	x->weights[x->n] = last;
	for (kir_ref n = x->first; n < x->weights[x->n - 1]; n = kir_region_end(f, n))
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
		kir_ref from = kir_region_end(f, x->weights[i]), to = x->weights[i + 1];

		for (kir_ref n = from; n < to; n = kir_region_end(f, n))
			for (kir_ref k = kir_region_end(f, n);
			     is_vector_loop(f, n) && k < x->weights[x->n];
			     k = kir_region_end(f, k))
				if (!is_vector_loop(f, k) &&
				    weave_conflict(f, weave_span(f, k), weave_span(f, n)))
					return false;
	}
	return true;
}

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

/* -- shares of B --------------------------------------------------------------------------- */

/* The node at p, a tile op or an address; p goes on. 0 where a loop begins or ends, and for
 * loops of vectors, which are emitted behind weights. */
static kir_ref step(const kir_func *f, place *p)
{
	kir_ref n = p->n;

	if (p->loop && n == kir_region_yield(f, p->loop + 2)) {
		bool more = ++p->trip < loop_trips(f, p->loop);

		p->n = more ? p->loop + 2 : kir_region_end(f, p->loop);
		p->loop = more ? p->loop : 0;
		return 0;
	}
	if (f->node[n].op != KIR_OP_for) {
		p->n++;
		return n;
	}
	if (is_tile_loop(f, n))
		*p = (place){ .n = n + 2, .loop = n };
	else
		p->n = kir_region_end(f, n);
	return 0;
}

static int64_t products(const kir_func *f, kir_ref n, kir_ref end)
{
	int64_t sum = 0;

	for (; n < end; n++)
		sum += weave_is_product((kir_op)f->node[n].op);
	return sum;
}

/* How many products of B there are. */
static int64_t all_of_b(const spread *x, place p)
{
	int64_t n = 0;

	while (p.n < x->weights[x->n]) {
		kir_ref k = step(x->in, &p);

		n += k && weave_is_product((kir_op)x->in->node[k].op);
	}
	return n;
}

/* Cuts B: each loop of weights is to have as many products, and the last takes the rest. A
 * share ends where no register holds a sum. */
static void deal(spread *x)
{
	const kir_func *f = x->in;
	kir_ref begin = kir_region_end(f, x->weights[0]);
	kir_ref b = kir_region_end(f, x->weights[x->n - 1]);
	place p = { .n = b };
	int64_t whole = all_of_b(x, p) + products(f, begin, b), had = 0;

	x->whole = true;
	for (unsigned i = 0; i < x->n; i++) {
		bool rest = i + 1 == x->n;
		share *mine = &x->share[i];
		held h = { 0 };
		int64_t count =
		    rest ? 0
		         : whole * (i + 1) / x->n - had - products(f, begin, x->weights[i + 1]);

		*mine = (share){ .from = p };
		while (p.n < x->weights[x->n] && (rest || mine->products < count || h.sums)) {
			kir_ref n = step(f, &p);

			if (!n)
				continue;
			mine->products += weave_is_product((kir_op)f->node[n].op);
			follow(f, n, &h);
		}
		mine->to = p;
		had += mine->products;
		x->whole &= !h.other && !h.sums;
	}
}

/* Whether n, of B, must stay behind k, which stands before it. */
static bool must_follow(const kir_func *f, kir_ref n, kir_ref k)
{
	bool wn, wk;
	kir_ref mem = touched(f, n, &wn);

	for (unsigned i = 0; i < f->node[n].nsrc; i++)
		if (kir_src(f, n, i) == k)
			return true;
	return mem && touched(f, k, &wk) == mem && (wn || wk);
}

/* Whether nothing that weights touch moves to before their end: products up to the next ones,
 * and of B what comes beside them or earlier; and nothing of B to before what it uses. */
static bool may_move(const spread *x)
{
	const kir_func *f = x->in;
	kir_ref b = kir_region_end(f, x->weights[x->n - 1]);

	for (unsigned i = 0; i < x->n; i++) {
		span w = weave_span(f, x->weights[i]);
		place p = x->share[i].to;
		kir_ref to = i + 1 == x->n ? b : x->weights[i + 1];
		kir_ref upto = p.loop ? kir_region_end(f, p.loop) : p.n;

		for (kir_ref n = w.end; n < upto; n = kir_region_end(f, n)) {
			if (n == to)
				n = b;
			if (n < upto && !is_vector_loop(f, n) &&
			    weave_conflict(f, weave_span(f, n), w))
				return false;
		}
		for (kir_ref n = b; n < upto; n++)
			for (kir_ref k = to; k < b; k++)
				if (must_follow(f, n, k))
					return false;
	}
	return true;
}

/* Whether each stretch of products loads what it reads, and stores all of its sums. */
static bool each_for_itself(const spread *x)
{
	const kir_func *f = x->in;

	for (unsigned i = 0; i < x->n; i++) {
		kir_ref n = i ? kir_region_end(f, x->weights[i - 1]) : x->first;
		held h = { 0 };

		for (; n < x->weights[i]; n++)
			follow(f, n, &h);
		if (h.other || h.sums)
			return false;
	}
	return x->whole;
}

/* Whether nodes from a on, of the region that `end` closes, may be spread. */
static bool matches(spread *x, kir_ref a, kir_ref end)
{
	if (!find(x, a, end) || !small_stay(x))
		return false;
	deal(x);
	return each_for_itself(x) && may_move(x);
}

/* -- emitting ------------------------------------------------------------------------------ */

/* Nodes with short loops written out. */
static void copy_out(spread *x, kir_ref n, kir_ref end)
{
	const kir_func *f = x->in;

	while (n < end) {
		unsigned count = f->node[n].op == KIR_OP_for ? f->node[n].nsrc - 2u : 0;
		kir_ref yield, now[KIR_MAX_SRC];
		int64_t trips = f->node[n].op == KIR_OP_for ? loop_trips(f, n) : 0;

		if (trips <= 0 || trips > MOST) {
			kir_copy(x->out, f, n++, x->map);
			continue;
		}
		yield = kir_region_yield(f, n + 2 + count);
		for (unsigned i = 0; i < count; i++)
			now[i] = x->map[kir_src(f, n, 2 + i)];
		for (int64_t t = 0; t < trips; t++) {
			x->map[n + 1] = s64c(x->out, weave_index(f, n, t));
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
	x->map[x->loop + 1] = s64c(x->out, weave_index(f, x->loop, x->done++));
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

/* What stands between loops of weights, but vectors; or only those. */
static void between(spread *x, unsigned i, bool vectors)
{
	const kir_func *f = x->in;

	for (kir_ref n = kir_region_end(f, x->weights[i]); n < x->weights[i + 1];) {
		span s = weave_span(f, n);

		for (kir_ref k = s.begin; vectors && is_vector_loop(f, n) && k < s.end; k++)
			kir_copy(x->out, f, k, x->map);
		if (!vectors && !kir_regions(f, n))
			tile_op(x, n);
		n = s.end;
	}
}

/* A share of B. */
static void emit_share(spread *x, const share *mine)
{
	const kir_func *f = x->in;
	place p = mine->from;

	while (p.n != mine->to.n || p.trip != mine->to.trip) {
		kir_ref n = step(f, &p);

		if (n)
			tile_op(x, n);
		else if (p.loop)
			x->map[p.loop + 1] = s64c(x->out, weave_index(f, p.loop, p.trip));
	}
}

static void emit(spread *x)
{
	const kir_func *f = x->in;

	for (kir_ref n = x->first; n < x->weights[0]; n++)
		kir_copy(x->out, f, n, x->map);
	for (unsigned i = 0; i < x->n; i++) {
		bool end = i + 1 == x->n;

		x->loop = x->weights[i];
		x->done = x->seen = 0;
		x->all = loop_trips(f, x->loop);
		x->total = x->share[i].products;
		if (!end) {
			x->total += products(f, kir_region_end(f, x->loop), x->weights[i + 1]);
			between(x, i, false);
		}
		emit_share(x, &x->share[i]);
		while (x->done < x->all)
			weights(x);
		x->loop = 0;
		between(x, i, true);
	}
}

kpass_result kpass_spread(const kir_func *in, kir_func *out, kir_diag *why)
{
	spread x = { .in = in, .out = out, .map = kir_map_new(out, in) };
	kpass_result result = KPASS_SAME;

	(void)why;
	if (!kpass_has_tiles(in) || in->sched.m_chunk ||
	    in->sched.pipeline == KIR_pipeline_off || in->sched.pipeline == KIR_pipeline_on)
		return KPASS_SAME;
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
		    !matches(&x, n + 1, kir_region_yield(in, n + 1)))
			x.first = 0;
		kir_copy(out, in, n, x.map);
	}
	return result;
}
