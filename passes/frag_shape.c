/* SPDX-License-Identifier: Apache-2.0 */
/* frag_shape.c -- what each value of a function is to the sub-group.
 *
 * Ops that join values of one shape make them the same; products, reductions and operands
 * along an axis say what some of them are; the rest follows from these.
 */
#include "fragment.h"

#include <string.h>

/* -- factors ----------------------------------------------------------------------------- */

bool frag_factor_of(const frag *g, kir_ref n, frag_factor *b)
{
	const kir_func *in = g->in;
	kir_ref s = kir_src(in, n, 1);

	*b = (frag_factor){ 0 };
	while (in->node[s].op != KIR_OP_load) {
		kir_op op = (kir_op)in->node[s].op;

		if (b->nchain == FRAG_CHAIN || g->nuse[s] != 1 ||
		    (!(kir_ops[op].flags & KIR_EACH) && op != KIR_OP_bitcast))
			return false;
		for (unsigned i = 1; i < in->node[s].nsrc; i++)
			if (kir_type_of(in, kir_src(in, s, i))->rank)
				return false;
		b->chain[b->nchain++] = s;
		s = kir_src(in, s, 0);
	}
	b->load = s;
	return g->nuse[s] == 1 && kir_type_of(in, s)->rank == 2;
}

bool frag_widens(const frag *g, kir_ref n)
{
	bool trans = kir_attr_of(g->in, n, KIR_ATTR_trans);
	kir_ref c = kir_src(g->in, n, 1);
	frag_factor b;
	kir_elem e;

	if (!frag_factor_of(g, n, &b) || b.nchain != 1 || g->in->node[c].op != KIR_OP_convert ||
	    kir_attr_of(g->in, c, KIR_ATTR_nan) != KIR_NAN_keep)
		return false;
	e = (kir_elem)kir_type_of(g->in, b.load)->elem;
	return kir_type_of(g->in, c)->elem == KIR_f16 &&
	       (e == KIR_e4m3fn || e == KIR_e5m2 || e == KIR_s8) &&
	       kir_type_of(g->in, b.load)->dim[1] % (trans ? 32 : 2 * g->lanes) == 0 &&
	       (trans || kir_type_of(g->in, b.load)->dim[0] % 16 == 0);
}

int64_t frag_depth(const frag *g, kir_ref n)
{
	kir_elem e = (kir_elem)kir_type_of(g->in, kir_src(g->in, n, 1))->elem;

	return kir_elem_bytes(e) >= 4 ? g->lanes : 32 / kir_elem_bytes(e);
}

int64_t frag_share(const frag *g, kir_ref n)
{
	return frag_depth(g, n) / g->lanes;
}

/* How many columns side by side a lane has of product n's left factor. On engines of 16 lanes
 * bytes of weights lie one in a lane, as they were computed; there are few of them, so they
 * change lanes (frag_deal.c). On those of 8 keys are loaded in the order that weights need. */
static unsigned left_run(const frag *g, kir_ref n)
{
	bool trans = kir_attr_of(g->in, n, KIR_ATTR_trans);
	int64_t share = frag_share(g, n);

	if (g->lanes == FRAG_WIDE && !trans)
		return 1;
	return (unsigned)(frag_widens(g, n) && trans ? 2 * share : share);
}

/* The same of the product itself, where values lie as rows: a lane gets words of them. */
static unsigned right_run(const frag *g, kir_ref n)
{
	bool narrow = g->lanes != FRAG_WIDE && frag_share(g, n) > 1;
	int64_t cols = kir_type_of(g->in, n)->dim[1];

	if (frag_road_of(g, n) == FRAG_WORDS)
		return frag_widens(g, n) || cols % (8 * g->lanes) ? 4 : 8;
	return frag_widens(g, n) || (narrow && cols % (2 * g->lanes) == 0) ? 2 : 1;
}

/* The one op that takes n; 0: none or several. Ops only look back. */
static kir_ref only_user(const frag *g, kir_ref n)
{
	if (g->nuse[n] != 1)
		return 0;
	for (kir_ref u = n + 1; u < g->in->nnode; u++)
		for (unsigned i = 0; i < g->in->node[u].nsrc; i++)
			if (kir_src(g->in, u, i) == n)
				return u;
	return 0;
}

/* Whether n makes f16 of a tile of codes that is loaded for it alone and is the left factor of
 * a product that widens: rows are then loaded and widened together. */
static bool widens_rows(const frag *g, kir_ref n)
{
	const kir_func *in = g->in;
	kir_ref load = kir_src(in, n, 0), dot, buf, upto;
	const kir_type *t = kir_type_of(in, load);
	unsigned first, count;
	kir_elem e;

	if (in->node[n].op != KIR_OP_convert || in->node[load].op != KIR_OP_load ||
	    g->nuse[load] != 1 || kir_attr_of(in, n, KIR_ATTR_nan) != KIR_NAN_keep)
		return false;
	kir_access(in, load, &buf, &first, &count, &upto);
	e = (kir_elem)t->elem;
	dot = only_user(g, n);
	return g->lanes == FRAG_WIDE && kir_type_of(in, n)->elem == KIR_f16 &&
	       (e == KIR_e4m3fn || e == KIR_e5m2 || e == KIR_s8) && !upto && t->rank == 2 &&
	       t->dim[0] > 1 && frag_height(t->dim[0]) % 2 == 0 &&
	       t->dim[1] % (2 * g->lanes) == 0 && dot && in->node[dot].op == KIR_OP_dot &&
	       kir_src(in, dot, 0) == n && kir_attr_of(in, dot, KIR_ATTR_trans) &&
	       frag_widens(g, dot);
}

/* Whether n cuts columns off a tile that is stored and used for nothing else: the store does.
 */
static bool cuts_store(const frag *g, kir_ref n)
{
	const kir_func *in = g->in;
	kir_ref user, buf, upto;
	unsigned first, count;

	if (in->node[n].op != KIR_OP_slice || kir_attr_of(in, n, KIR_ATTR_axis) != 1 ||
	    kir_attr_of(in, n, KIR_ATTR_start) || kir_type_of(in, n)->rank != 2)
		return false;
	user = only_user(g, n);
	if (!user || in->node[user].op != KIR_OP_store || kir_src(in, user, 0) != n)
		return false;
	kir_access(in, user, &buf, &first, &count, &upto);
	return !upto;
}

/* Whether n is a column of a tile of one, as a vector: scales of a group of each key. It is
 * loaded as one, the tile isn't. */
static bool is_column(const frag *g, kir_ref n)
{
	const kir_func *in = g->in;
	kir_ref load = kir_src(in, n, 0);
	const kir_type *t = kir_type_of(in, load);

	return in->node[n].op == KIR_OP_reshape && in->node[load].op == KIR_OP_load &&
	       g->nuse[load] == 1 && kir_type_of(in, n)->rank == 1 && t->rank == 2 &&
	       t->dim[1] == 1 && t->dim[0] % g->lanes == 0;
}

/* Whether a store stands between the load and the product that is to do it, or may: the product
 * is in a region that the load isn't in. */
static bool written_between(const kir_func *f, kir_ref load, kir_ref user)
{
	for (kir_ref n = load; n < user; n++)
		if (kir_ops[f->node[n].op].flags & KIR_WRITES ||
		    (kir_regions(f, n) && kir_region_end(f, n) > user))
			return true;
	return false;
}

static bool defer(frag *g)
{
	for (kir_ref n = 1; n < g->in->nnode; n++) {
		frag_factor b;

		if (cuts_store(g, n))
			g->deferred[n] = true;
		if (is_column(g, n) && !written_between(g->in, kir_src(g->in, n, 0), n))
			g->deferred[kir_src(g->in, n, 0)] = true;
		if (widens_rows(g, n) && !written_between(g->in, kir_src(g->in, n, 0), n))
			g->deferred[kir_src(g->in, n, 0)] = true;
		if (g->in->node[n].op != KIR_OP_dot)
			continue;
		if (!frag_factor_of(g, n, &b) || written_between(g->in, b.load, n))
			return false;
		g->deferred[b.load] = true;
		for (unsigned i = 0; i < b.nchain; i++)
			g->deferred[b.chain[i]] = true;
	}
	return true;
}

/* -- kinds ------------------------------------------------------------------------------- */

typedef struct solver {
	frag *g;
	bool changed, clash;
} solver;

static bool is_value(const frag *g, kir_ref n)
{
	const kir_type *t = kir_type_of(g->in, n);

	return n && t->rank && !t->buffer && !g->deferred[n];
}

static void set(solver *s, kir_ref n, frag_kind k)
{
	uint8_t *at = &s->g->kind[n];

	if (!is_value(s->g, n) || *at == (uint8_t)k || k == FRAG_UNKNOWN)
		return;
	s->clash |= *at != FRAG_UNKNOWN;
	s->changed |= *at == FRAG_UNKNOWN;
	*at = (uint8_t)k;
}

/* Columns of n lie so, if nothing was said yet. */
static void set_run(solver *s, kir_ref n, unsigned run)
{
	uint8_t *at = &s->g->run[n];

	if (run == 1 || *at == run)
		return;
	s->clash |= *at != 1;
	s->changed = true;
	*at = (uint8_t)run;
}

static void same_order(solver *s, kir_ref a, kir_ref b)
{
	if (!is_value(s->g, a) || !is_value(s->g, b))
		return;
	set_run(s, a, s->g->run[b]);
	set_run(s, b, s->g->run[a]);
}

/* a and b are of one kind, and their columns in one order. */
static void same(solver *s, kir_ref a, kir_ref b)
{
	frag *g = s->g;

	if (!is_value(g, a) || !is_value(g, b))
		return;
	set(s, a, (frag_kind)g->kind[b]);
	set(s, b, (frag_kind)g->kind[a]);
	same_order(s, a, b);
}

static void visit_region(solver *s, kir_ref n)
{
	const kir_func *in = s->g->in;
	bool loop = in->node[n].op == KIR_OP_for;
	unsigned count = loop ? in->node[n].nsrc - 2u : 0;
	kir_ref y = kir_region_yield(in, loop ? n + 2 + count : n + 1);
	kir_ref z = loop ? y : kir_region_yield(in, y + 1);

	for (unsigned i = 0; i < in->node[y].nsrc; i++) {
		same(s, z + 1 + i, kir_src(in, y, i));
		same(s, z + 1 + i, kir_src(in, z, i));
		if (loop) {
			same(s, n + 2 + i, kir_src(in, y, i));
			same(s, n + 2 + i, kir_src(in, n, 2 + i));
		}
	}
}

static void visit_each(solver *s, kir_ref n)
{
	const kir_func *in = s->g->in;
	const kir_type *t = kir_type_of(in, n);
	int64_t axis = kir_attr_of(in, n, KIR_ATTR_axis);

	for (unsigned i = 0; i < in->node[n].nsrc; i++) {
		kir_ref x = kir_src(in, n, i);
		const kir_type *o = kir_type_of(in, x);

		if (!o->rank || o->buffer)
			continue;
		if (o->rank == t->rank) {
			same(s, n, x);
			continue;
		}
		set(s, n, FRAG_TILE);
		set(s, x, axis == 0 ? FRAG_ROW : FRAG_COL);
		if (axis == 1)
			same_order(s, n, x);
	}
}

static void visit(solver *s, kir_ref n)
{
	const kir_func *in = s->g->in;
	kir_ref x = kir_src(in, n, 0);
	kir_op op = (kir_op)in->node[n].op;

	switch (op) {
	case KIR_OP_for:
	case KIR_OP_if: visit_region(s, n); return;
	case KIR_OP_dot:
		set(s, n, FRAG_TILE);
		set(s, x, FRAG_TILE);
		same(s, n, kir_src(in, n, 2));
		set_run(s, x, left_run(s->g, n));
		if (!kir_attr_of(in, n, KIR_ATTR_trans))
			set_run(s, n, right_run(s->g, n));
		return;
	case KIR_OP_reduce_add:
	case KIR_OP_reduce_max:
	case KIR_OP_reduce_min:
	case KIR_OP_reduce_amax:
		if (is_value(s->g, n)) {
			set(s, x, FRAG_TILE);
			set(s, n, kir_attr_of(in, n, KIR_ATTR_axis) == 1 ? FRAG_ROW : FRAG_COL);
			s->clash |= kir_attr_of(in, n, KIR_ATTR_axis) != 1;
		}
		return;
	case KIR_OP_spread:
	case KIR_OP_gather: visit_each(s, n); return;
	case KIR_OP_concat:
		same(s, n, kir_src(in, n, 1));
		same(s, n, x);
		return;
	case KIR_OP_slice:
	case KIR_OP_bitcast:
	case KIR_OP_reshape: same(s, n, x); return;
	default:
		if (kir_ops[op].flags & KIR_EACH)
			visit_each(s, n);
	}
}

static bool solve(solver *s)
{
	do {
		s->changed = false;
		for (kir_ref n = 1; n < s->g->in->nnode && !s->clash; n++)
			visit(s, n);
	} while (s->changed && !s->clash);
	return !s->clash;
}

/* What nothing says: vectors are rows, tiles too where no block fits. */
static bool guess(frag *g)
{
	bool any = false;

	for (kir_ref n = 1; n < g->in->nnode; n++) {
		const kir_type *t = kir_type_of(g->in, n);

		if (!is_value(g, n) || g->kind[n])
			continue;
		g->kind[n] =
		    t->rank > 1 && t->dim[t->rank - 1] % g->lanes == 0 ? FRAG_TILE : FRAG_ROW;
		any = true;
	}
	return any;
}

/* Left factors and products lie as the engine and their memory have it. Only keys that a lane
 * loads by itself come in any order. */
static bool orders_fit(const frag *g)
{
	for (kir_ref n = 1; n < g->in->nnode; n++) {
		bool trans = kir_attr_of(g->in, n, KIR_ATTR_trans);

		if (g->in->node[n].op != KIR_OP_dot)
			continue;
		if (g->run[kir_src(g->in, n, 0)] != left_run(g, n) ||
		    (trans ? g->lanes == FRAG_WIDE && g->run[n] != 1
		           : g->run[n] != right_run(g, n)))
			return false;
	}
	return true;
}

static bool sizes_fit(const frag *g)
{
	for (kir_ref n = 1; n < g->in->nnode; n++) {
		int64_t unit = g->lanes * g->run[n];

		if (is_value(g, n) && g->kind[n] != FRAG_ROW && frag_ncols(g, n) % unit)
			return false;
	}
	return true;
}

bool frag_shapes(frag *g)
{
	solver s = { .g = g };

	memset(g->run, 1, g->in->nnode);
	if (!defer(g) || !solve(&s))
		return false;
	while (guess(g))
		if (!solve(&s))
			return false;
	return orders_fit(g) && sizes_fit(g);
}

/* -- sizes ------------------------------------------------------------------------------- */

int64_t frag_nrows(const frag *g, kir_ref n)
{
	const kir_type *t = kir_type_of(g->in, n);
	int64_t count = kir_type_count(t);

	switch (g->kind[n]) {
	case FRAG_TILE: return count / t->dim[t->rank - 1];
	case FRAG_ROW: return count;
	default: return 1;
	}
}

int64_t frag_ncols(const frag *g, kir_ref n)
{
	const kir_type *t = kir_type_of(g->in, n);

	return g->kind[n] == FRAG_ROW ? 1 : t->dim[t->rank - 1];
}

int64_t frag_height(int64_t rows)
{
	int64_t h = 1;

	while (h < rows && h < 8)
		h *= 2;
	return h;
}

int64_t frag_row_blocks(const frag *g, kir_ref n)
{
	return (frag_nrows(g, n) + 7) / 8;
}

int64_t frag_col_blocks(const frag *g, kir_ref n)
{
	return g->kind[n] == FRAG_ROW ? 1 : frag_ncols(g, n) / g->lanes;
}

int64_t frag_blocks(const frag *g, kir_ref n)
{
	return frag_row_blocks(g, n) * frag_col_blocks(g, n);
}

kir_type_id frag_type(const frag *g, kir_ref n)
{
	return frag_vector(g, (kir_elem)kir_type_of(g->in, n)->elem,
	                   frag_height(frag_nrows(g, n)));
}

kir_ref *frag_new(frag *g, kir_ref n)
{
	g->val[n] = kir_alloc(g->f->module, (size_t)frag_blocks(g, n) * sizeof **g->val);
	return g->val[n];
}
