/* SPDX-License-Identifier: Apache-2.0 */
/* vec_group.c -- elementwise ops and reductions over tiles: which of them share loops.
 *
 * Ops over the same shape share their loops (vec_rows.c). Several groups may be pending; an op
 * joins the last one of its shape that comes after all it depends on, so that vectors computed
 * between two ops over a tile (a key's position, a row's maximum) don't cut the tile's loop in
 * two. What is read outside the loops gets a home.
 */
#include "vectorize.h"

#include "analysis.h"

enum {
	SIDE_OPS = 64, /* ops of a loop's body, if there is more than one row */
	NARROW_OPS = 8
};

bool vec_is_reduce(const kir_func *f, kir_ref n)
{
	kir_op op = (kir_op)f->node[n].op;

	return op == KIR_OP_reduce_add || op == KIR_OP_reduce_max || op == KIR_OP_reduce_min ||
	       op == KIR_OP_reduce_amax;
}

/* The shape an op loops over: its result's, or the operand's of a reduction. */
static void domain(const vec *v, kir_ref n, int64_t *rows, int64_t *cols)
{
	if (vec_is_reduce(v->in, n))
		n = kir_src(v->in, n, 0);
	vec_shape(kir_type_of(v->in, n), rows, cols);
}

bool vec_group_takes(const vec *v, kir_ref n)
{
	const kir_node *d = &v->in->node[n];
	const kir_type *t = kir_type_of(v->in, n);

	if (vec_is_reduce(v->in, n)) {
		const kir_type *ot = kir_type_of(v->in, kir_src(v->in, n, 0));

		return ot->rank && kir_attr_of(v->in, n, KIR_ATTR_axis) == ot->rank - 1;
	}
	if (!t->rank || t->buffer)
		return false;
	switch (d->op) {
	case KIR_OP_iota:
	case KIR_OP_splat:
	case KIR_OP_spread:
	case KIR_OP_gather:
	case KIR_OP_dequant:
	case KIR_OP_bitcast: return true;
	default: return kir_ops[d->op].flags & KIR_EACH;
	}
}

/* Whether node n reads operand s at its own place, so that both may share a loop body. */
bool vec_in_place(const vec *v, kir_ref n, kir_ref s)
{
	int64_t r, c, sr, sc;

	if (vec_is_reduce(v->in, s) || v->in->node[n].op == KIR_OP_spread)
		return false;
	domain(v, n, &r, &c);
	domain(v, s, &sr, &sc);
	if (v->in->node[n].op == KIR_OP_dequant && s != kir_src(v->in, n, 0))
		return false;
	return r == sr && c == sc && kir_type_of(v->in, s)->rank == (r == 1 ? 1 : 2);
}

/* A conversion of 8-bit floats that a table does, 64 lanes at once (select.c). */
static bool by_table(const vec *v, kir_ref n)
{
	const kir_target *t = v->in->target;

	if (v->in->node[n].op != KIR_OP_convert || !(t->features & KIR_HAS_vbmi) ||
	    t->vector_bits != 512)
		return false;
	kir_elem from = (kir_elem)kir_type_of(v->in, kir_src(v->in, n, 0))->elem;
	kir_elem to = (kir_elem)kir_type_of(v->in, n)->elem;

	return kir_is_float(from) && kir_elems[from].bits == 8 &&
	       (to == KIR_bf16 || to == KIR_f32);
}

/* Whether n, over vectors, leaves its group what it is or needs what is in it: one op that
 * isn't a table's would make the others take 16 lanes. */
static bool suits(const vec *v, const vec_group *g, int at, kir_ref n)
{
	if (g->rows > 1 || g->table == by_table(v, n))
		return true;
	for (unsigned i = 0; i < v->in->node[n].nsrc; i++)
		if (v->in_group[kir_src(v->in, n, i)] == at)
			return true;
	return false;
}

/* Whether x, which nobody but its reader has waited for, may be computed with that instead: it
 * reads nothing that a pending group makes. */
static bool may_sink(const vec *v, kir_ref x)
{
	const kir_node *d = &v->in->node[x];

	if (v->nuse[x] != 1 || v->again[x] || !(kir_ops[d->op].flags & KIR_EACH))
		return false;
	for (unsigned i = 0; i < d->nsrc; i++)
		if (v->in_group[kir_src(v->in, x, i)])
			return false;
	return true;
}

/* Operands of n, which joins group `at`, that stand in an earlier one alone for it come with
 * it: what would be stored there and loaded here stays in registers. */
static void sink_operands(vec *v, kir_ref n, int at)
{
	for (unsigned i = 0; i < v->in->node[n].nsrc; i++) {
		kir_ref s = kir_src(v->in, n, i);
		int from = v->in_group[s];
		vec_group *g, *to = &v->group[at - 1];
		unsigned k = 0;

		if (!from || from == at || !vec_in_place(v, n, s) || !may_sink(v, s) ||
		    to->n + 2 > VEC_GROUP_MAX || by_table(v, s) != by_table(v, n))
			continue;
		g = &v->group[from - 1];
		while (g->node[k] != s)
			k++;
		for (g->n--; k < g->n; k++)
			g->node[k] = g->node[k + 1];
		to->node[to->n++] = s;
		v->in_group[s] = at;
	}
}

void vec_group_add(vec *v, kir_ref n)
{
	const kir_node *d = &v->in->node[n];
	int64_t rows, cols;
	unsigned first = 0, at;

	for (unsigned i = 0; i < d->nsrc; i++) {
		kir_ref s = kir_src(v->in, n, i);
		const kir_type *st = kir_type_of(v->in, s);

		if (st->buffer || !v->in_group[s])
			continue;
		if (!st->rank) {
			vec_flush(v);
			first = 0;
			break;
		}
		unsigned g = (unsigned)v->in_group[s] - 1;
		unsigned need = vec_in_place(v, n, s) ? g : g + 1;

		first = need > first ? need : first;
	}
	domain(v, n, &rows, &cols);
	for (at = v->ngroup; at > first; at--) {
		vec_group *g = &v->group[at - 1];

		if (g->rows == rows && g->cols == cols && g->n < VEC_GROUP_MAX &&
		    suits(v, g, (int)at, n))
			break;
	}
	if (at <= first) {
		v->group[v->ngroup] = (vec_group){ rows, cols, true, 0, { 0 } };
		at = ++v->ngroup;
	}
	sink_operands(v, n, (int)at);
	vec_group *g = &v->group[at - 1];
	g->table = g->table && by_table(v, n);
	g->node[g->n++] = n;
	v->in_group[n] = (int)at;
	if (g->n == VEC_GROUP_MAX || v->ngroup == VEC_GROUP_MAX)
		vec_flush(v);
}

/* -- how its loops are: lanes, rows side by side, where results go ------------------------ */

static bool is_convert(const vec *v, kir_ref n, kir_elem from)
{
	return v->in->node[n].op == KIR_OP_convert &&
	       kir_type_of(v->in, kir_src(v->in, n, 0))->elem == from;
}

/* Whether the group makes bytes of f32, which goes by 64 at once (backends/x86/narrow.c), or
 * bf16 of bytes that a table widens to f32, and keeps little else in registers, of which each
 * of its values then takes four. What stays f32 has to be put in order: that takes longer than
 * 16 lanes do. */
static bool narrows(const vec *v, const vec_group *g)
{
	const kir_target *t = v->in->target;
	bool bytes = false, widens = false, halves = false;

	if (!(t->features & KIR_HAS_vbmi) || t->vector_bits != 512 || g->n > NARROW_OPS)
		return false;
	for (unsigned i = 0; i < g->n; i++) {
		kir_ref n = g->node[i];
		kir_elem e = (kir_elem)kir_type_of(v->in, n)->elem;

		if (!(kir_ops[v->in->node[n].op].flags & KIR_EACH))
			return false;
		bytes |= is_convert(v, n, KIR_f32) && (e == KIR_e4m3fn || e == KIR_e5m2);
		halves |= is_convert(v, n, KIR_f32) && e == KIR_bf16;
		widens |= by_table(v, n);
	}
	return bytes || (widens && halves);
}

/* Whether s32 x has 8 bits that aren't 0 at most. */
static bool is_low_byte(const kir_func *f, kir_ref x)
{
	int64_t mask;

	return kir_type_of(f, x)->elem == KIR_s32 && f->node[x].op == KIR_OP_and &&
	       kir_is_const(f, kir_src(f, x, 1), &mask) && mask == 255;
}

/* Whether the group makes bytes of the lowest 8 bits of 32, two registers of them by one
 * permutation (backends/x86/permute.c), and shuffles are short: elsewhere that gives 2 % at
 * most, and twice the registers take a tenth longer to compile. */
static bool drops_bits(const vec *v, const vec_group *g)
{
	bool some = false;

	if (!vec_two_ports(v) || !(v->in->target->features & KIR_HAS_vbmi))
		return false;
	for (unsigned i = 0; i < g->n; i++) {
		kir_ref n = g->node[i], x = kir_src(v->in, n, 0);
		kir_elem e = (kir_elem)kir_type_of(v->in, n)->elem;

		some |=
		    v->in->node[n].op == KIR_OP_convert && e == KIR_u8 && is_low_byte(v->in, x);
	}
	return some;
}

/* Lanes of a group's vectors: as many as 32 bits have; where a table does all of it, or what
 * narrows is the most of it, 64, and 32 where bytes are cut off. A vector has one scale of
 * dequant's groups: of short ones no more lanes than divide them. */
static int64_t lanes_of(const vec *v, const vec_group *g)
{
	int64_t lanes = vec_chunk(g->cols, v->lanes);

	if (g->cols % 64 == 0 && (g->table || narrows(v, g)))
		lanes = 64;
	else if (g->cols % 32 == 0 && drops_bits(v, g))
		lanes = 32;
	for (unsigned i = 0; i < g->n; i++) {
		int64_t group = v->in->node[g->node[i]].op == KIR_OP_dequant
		                    ? kir_attr_of(v->in, g->node[i], KIR_ATTR_group)
		                    : 0;

		while (group && group % lanes)
			lanes /= 2;
	}
	return lanes;
}

/* Whether the function touches lines of `buf` ahead. */
bool vec_is_touched(const kir_func *f, kir_ref buf)
{
	for (kir_ref n = 1; n < f->nnode; n++)
		if (f->node[n].op == KIR_OP_prefetch && kir_root(f, kir_src(f, n, 0)) == buf)
			return true;
	return false;
}

/* Whether n reads its rows straight from the memory of a parameter that nobody touches ahead.
 */
static bool streams(const vec *v, kir_ref n)
{
	for (unsigned i = 0; i < v->in->node[n].nsrc; i++) {
		kir_ref load = v->direct[kir_src(v->in, n, i)];

		if (load && !vec_is_touched(v->in, kir_root(v->in, kir_src(v->in, load, 0))))
			return true;
	}
	return false;
}

/* Whether n is in no loop, but beside one: computed once for all its rounds. */
static bool beside_loop(const vec *v, kir_ref n)
{
	const kir_func *f = v->in;
	kir_ref loop = loop_around(f, v->parent, n), end;

	if (f->target->lanes || (loop && !kir_for_par(f, loop)))
		return false;
	end = loop ? kir_region_end(f, loop) : f->nnode;
	for (kir_ref k = loop + 1; k < end; k++)
		if (is_op(f, k, KIR_OP_for))
			return true;
	return false;
}

/* Rows side by side: what the ops allow. The loops of one row carry no more than they did, and
 * rows that come from far stay apart, unless their lines are touched ahead: with four streams
 * at once writers took 1.2 to 1.5 times as long. What runs seldom is kept short: it takes as
 * long to compile as what runs often. */
static unsigned side_of(const vec *v, const vec_group *g, int64_t lanes)
{
	unsigned reduces = 0, side = beside_loop(v, g->node[0]) ? 1 : VEC_SIDE_MAX;
	unsigned wide = lanes > v->lanes ? (unsigned)(lanes / v->lanes) : 1;

	for (unsigned i = 0; i < g->n; i++) {
		reduces += vec_is_reduce(v->in, g->node[i]);
		if (streams(v, g->node[i]))
			return 1;
	}
	while (side > 1 && (side > g->rows || side * g->n > SIDE_OPS ||
	                    side * reduces * wide > 8 || wide > 2))
		side /= 2;
	return side;
}

/* Whether something outside the group's loop body reads member n. */
static bool escapes(const vec *v, const vec_group *g, kir_ref n)
{
	unsigned inside = 0;

	for (unsigned i = 0; i < g->n; i++) {
		kir_ref m = g->node[i];

		for (unsigned k = 0; k < v->in->node[m].nsrc; k++)
			inside += kir_src(v->in, m, k) == n && vec_in_place(v, m, n);
	}
	return inside < v->nuse[n];
}

/* Whether member i of the group may be written over operand s, a tile of the same shape and
 * element that is read here for the last time, by members up to it and at their own place. s
 * must be written anew each time: made in the region the group is in, and nobody's home. */
static bool may_cover(const vec *v, const vec_group *g, unsigned i, kir_ref s)
{
	const kir_type *t = kir_type_of(v->in, s), *nt = kir_type_of(v->in, g->node[i]);
	kir_op op = (kir_op)v->in->node[s].op;
	unsigned uses = 0;

	if (t->rank != 2 || nt->rank != 2 || t->elem != nt->elem || t->buffer ||
	    !v->val[s].buf || v->want[s].buf || v->in_group[s] == v->in_group[g->node[i]] ||
	    (op != KIR_OP_dot && !vec_group_takes(v, s)))
		return false;
	for (unsigned m = 0; m < i; m++)
		if (v->val[g->node[m]].buf == v->val[s].buf)
			return false; /* taken */
	for (unsigned m = 0; m <= i; m++)
		for (unsigned k = 0; k < v->in->node[g->node[m]].nsrc; k++)
			uses += kir_src(v->in, g->node[m], k) == s &&
			        vec_in_place(v, g->node[m], s);
	if (uses != v->nuse[s])
		return false;
	for (kir_ref k = s + 1; k < g->node[i]; k++)
		if (v->in->node[k].op == KIR_OP_for || v->in->node[k].op == KIR_OP_if) {
			kir_ref end = kir_region_end(v->in, k);

			if (end > g->node[i])
				return false;
			k = end - 1;
		}
	return true;
}

/* The home of a dying operand for member i, where products take tile registers: scores of a
 * tile of queries, which must stay in L1 beside its sums, are one tile then, not one before the
 * mask and one behind it. buf 0: none. */
static vec_tile dying_home(const vec *v, const vec_group *g, unsigned i)
{
	if (!v->tiled || g->cols % v->lanes || v->want[g->node[i]].buf)
		return (vec_tile){ 0 };
	for (unsigned m = 0; m <= i; m++)
		for (unsigned k = 0; k < v->in->node[g->node[m]].nsrc; k++) {
			kir_ref s = kir_src(v->in, g->node[m], k);

			if (may_cover(v, g, i, s))
				return v->val[s];
		}
	return (vec_tile){ 0 };
}

static void emit_group(vec *v, vec_group *g)
{
	int64_t lanes = lanes_of(v, g);

	for (unsigned i = 0; i < g->n; i++) {
		kir_ref n = g->node[i];

		v->val[n].buf = 0;
		if (!kir_type_of(v->in, n)->rank || v->again[n] || !escapes(v, g, n))
			continue;
		v->val[n] = vec_is_reduce(v->in, n) ? (vec_tile){ 0 } : dying_home(v, g, i);
		if (!v->val[n].buf)
			v->val[n] = vec_home(v, n);
	}
	if (vec_narrow_takes(v, g)) {
		vec_narrow(v, g);
		return;
	}
	if (vec_maxima_takes(v, g)) {
		vec_maxima(v, g);
		return;
	}
	vec_group_rows(v, g, lanes, side_of(v, g, lanes));
}

void vec_flush(vec *v)
{
	for (unsigned i = 0; i < v->ngroup; i++) {
		if (v->group[i].n)
			emit_group(v, &v->group[i]);
		for (unsigned k = 0; k < v->group[i].n; k++)
			v->in_group[v->group[i].node[k]] = 0;
	}
	v->ngroup = 0;
}
