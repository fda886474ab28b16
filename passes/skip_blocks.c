/* SPDX-License-Identifier: Apache-2.0 */
/* skip_blocks.c -- key blocks that the mask empties are not visited.
 *
 *     for %j carry(%m, %l, %a) {            for %j carry(%m, %l, %a) {
 *       ...                                   %any = <bounds of the mask over the tile>
 *       %x = select %mask, %s, -inf     =>    %m2, %l2, %a2 = if %any { ... yield ... }
 *       ...                                                 else { yield %m, %l, %a }
 *       yield %m1, %l1, %a1                   yield %m2, %l2, %a2
 *     }                                     }
 *
 * The bounds come from interval arithmetic over the ops that compute the mask: positions are
 * ranges, comparisons of ranges are decided or not, remainders are ranges where no multiple
 * cuts that of the dividend, a tensor read at the positions of the tile (a document's number,
 * say) is read for the whole tile and reduced. Whatever isn't understood is "maybe": a mask
 * written by anybody is skipped as far as it can be decided, and never wrongly. The block's
 * keys and values are not touched when it is skipped.
 *
 * An iteration that is skipped must leave the carried values as they were. That holds where
 * every value that reaches the yield comes from the masked scores: rows of -inf give maximum
 * -inf, weights 0 and factors 1; the pass takes loops whose select's other side is -inf, that
 * store nothing, carry nothing else, and of which skip_still.c finds none that changes.
 *
 * On GPUs, for 16 query rows and more in tile registers, and where the mask reads memory for
 * each pair (a tree of new tokens, say), there are two such loops, one behind the other: for
 * blocks of which the bounds say that every pair is seen, without mask and bounds of loads, and
 * for those that it cuts.
 *
 * Requires level T. Costs some 20 scalar ops a block, twice with two loops.
 */
#include "emit.h"
#include "skip.h"

#include <math.h>
#include <string.h>

/* Bounds of a value over all its lanes, as scalars of out; 0 when unknown. For i1: whether
 * some lane may hold (hi) and whether every lane must (lo). */
typedef struct range {
	kir_ref lo, hi;
} range;

typedef struct skip {
	const kir_func *in;
	kir_func *out;
	kir_ref *map; /* in -> out, for values outside the tile            */
	range *seen;  /* by node of in                                     */
	bool *have;
	bool *copied; /* by node of in: already in out, before the if      */
	bool *wraps;  /* by node of in: bounds of its operands say nothing of it */
	kir_ref loop; /* the loop's node: values before it are outside     */
} skip;

/* How long a chain of ops may lead to a mask. Bounds follow it by calls of calls, and the stack
 * is the host's; masks that people write have some 20. */
enum { CHAIN = 1000 };

static range bounds(skip *s, kir_ref n);

/* n in out, copied ahead of its place with what it is computed from. */
static kir_ref fetch(skip *s, kir_ref n)
{
	if (n > s->loop && !s->copied[n]) {
		for (unsigned i = 0; i < s->in->node[n].nsrc; i++)
			fetch(s, kir_src(s->in, n, i));
		s->copied[n] = true;
		kir_copy(s->out, s->in, n, s->map);
	}
	return s->map[n];
}

static kir_ref op2(skip *s, kir_op op, kir_elem e, kir_ref a, kir_ref b)
{
	return a && b ? e2(s->out, op, kir_scalar(s->out->module, e), a, b) : 0;
}

static kir_ref either(skip *s, kir_op op, kir_ref a, kir_ref b)
{
	if (!a || !b)
		return a ? a : b;
	return op2(s, op, KIR_i1, a, b);
}

static range compare(skip *s, kir_op op, range a, range b)
{
	range swap = a;

	if (op == KIR_OP_gt || op == KIR_OP_ge) {
		a = b;
		b = swap;
		op = op == KIR_OP_gt ? KIR_OP_lt : KIR_OP_le;
	}
	if (op == KIR_OP_lt || op == KIR_OP_le)
		return (range){ op2(s, op, KIR_i1, a.hi, b.lo),
			        op2(s, op, KIR_i1, a.lo, b.hi) };
	kir_ref meet = op2(s, KIR_OP_and, KIR_i1, op2(s, KIR_OP_le, KIR_i1, a.lo, b.hi),
	                   op2(s, KIR_OP_le, KIR_i1, b.lo, a.hi));
	kir_ref same = op2(s, KIR_OP_and, KIR_i1, op2(s, KIR_OP_eq, KIR_i1, a.lo, b.hi),
	                   op2(s, KIR_OP_eq, KIR_i1, a.hi, b.lo));

	if (op == KIR_OP_eq)
		return (range){ same, meet };
	kir_ref yes = kir_const_i(s->out, KIR_i1, 1);
	return (range){ meet ? op2(s, KIR_OP_xor, KIR_i1, meet, yes) : 0,
		        same ? op2(s, KIR_OP_xor, KIR_i1, same, yes) : 0 };
}

static range logic(skip *s, kir_op op, range a, range b)
{
	/* and: may hold if both may (an unknown may), must hold if both must (an unknown
	 * needn't); or the other way round. */
	if (op == KIR_OP_and)
		return (range){ op2(s, op, KIR_i1, a.lo, b.lo), either(s, op, a.hi, b.hi) };
	return (range){ either(s, op, a.lo, b.lo), op2(s, op, KIR_i1, a.hi, b.hi) };
}

/* Of a range that no multiple of k cuts, remainders rise as it does. */
static range remainders(skip *s, kir_elem e, range a, int64_t k)
{
	kir_type_id t = kir_scalar(s->out->module, e);
	kir_ref c = kir_const_i(s->out, e, k);
	range all = { kir_const_i(s->out, e, 0), kir_const_i(s->out, e, k - 1) };

	if (!a.lo || !a.hi)
		return all;
	kir_ref whole = op2(s, KIR_OP_eq, KIR_i1, op2(s, KIR_OP_fdiv, e, a.lo, c),
	                    op2(s, KIR_OP_fdiv, e, a.hi, c));
	kir_ref lo = op2(s, KIR_OP_mod, e, a.lo, c), hi = op2(s, KIR_OP_mod, e, a.hi, c);

	return (range){ e3(s->out, KIR_OP_select, t, whole, lo, all.lo),
		        e3(s->out, KIR_OP_select, t, whole, hi, all.hi) };
}

/* These grow with x for a positive literal y. */
static range by_literal(skip *s, kir_ref n, range a)
{
	kir_op op = (kir_op)s->in->node[n].op;
	int64_t k;
	kir_ref y = kir_src(s->in, n, 1);
	kir_elem e = (kir_elem)kir_type_of(s->in, n)->elem;

	/* a larger factor might wrap around */
	if (!kir_is_const(s->in, y, &k) || k <= 0 || k > UINT32_MAX)
		return (range){ 0, 0 };
	kir_ref c = kir_const_i(s->out, e, k);
	if (op == KIR_OP_mod)
		return remainders(s, e, a, k);
	return (range){ op2(s, op, e, a.lo, c), op2(s, op, e, a.hi, c) };
}

static range arithmetic(skip *s, kir_ref n)
{
	kir_op op = (kir_op)s->in->node[n].op;
	kir_elem e = (kir_elem)kir_type_of(s->in, n)->elem;
	range a = bounds(s, kir_src(s->in, n, 0)), b = { 0, 0 };

	if (s->in->node[n].nsrc > 1)
		b = bounds(s, kir_src(s->in, n, 1));
	if (kir_is_float(e) || s->wraps[n])
		return (range){ 0, 0 };
	switch (op) {
	case KIR_OP_add:
	case KIR_OP_min:
	case KIR_OP_max: return (range){ op2(s, op, e, a.lo, b.lo), op2(s, op, e, a.hi, b.hi) };
	case KIR_OP_sub: return (range){ op2(s, op, e, a.lo, b.hi), op2(s, op, e, a.hi, b.lo) };
	case KIR_OP_abs: {
		kir_ref zero = kir_const_i(s->out, e, 0);
		kir_ref neg = op2(s, KIR_OP_sub, e, a.hi ? zero : 0, a.hi);
		kir_ref far = op2(s, KIR_OP_sub, e, a.lo ? zero : 0, a.lo);

		return (range){ op2(s, KIR_OP_max, e, zero, op2(s, KIR_OP_max, e, a.lo, neg)),
			        op2(s, KIR_OP_max, e, a.hi, far) };
	}
	case KIR_OP_mul:
	case KIR_OP_fdiv:
	case KIR_OP_mod:
	case KIR_OP_shr: return by_literal(s, n, a);
	default: return (range){ 0, 0 };
	}
}

/* A tensor read at positions inside the tile: the values themselves, reduced. */
static range gathered(skip *s, kir_ref n)
{
	const kir_func *in = s->in;
	kir_func *out = s->out;
	const kir_type *t = kir_type_of(in, n);
	kir_type_id st = kir_scalar(out->module, (kir_elem)t->elem);

	if (t->rank != 1 || kir_is_float((kir_elem)t->elem))
		return (range){ 0, 0 };
	return (range){ e1x(out, KIR_OP_reduce_min, st, fetch(s, n), 0),
		        e1x(out, KIR_OP_reduce_max, st, fetch(s, n), 0) };
}

/* From integer to integer a conversion saturates, so it keeps the order. */
static range converted(skip *s, kir_ref n)
{
	kir_elem e = (kir_elem)kir_type_of(s->in, n)->elem;
	range r;

	if (!kir_is_int(e) ||
	    !kir_is_int((kir_elem)kir_type_of(s->in, kir_src(s->in, n, 0))->elem))
		return (range){ 0, 0 };
	r = bounds(s, kir_src(s->in, n, 0));
	return (range){ r.lo ? as_elem(s->out, r.lo, e) : 0,
		        r.hi ? as_elem(s->out, r.hi, e) : 0 };
}

static range compute(skip *s, kir_ref n)
{
	const kir_node *d = &s->in->node[n];
	const kir_type *t = kir_type_of(s->in, n);
	bool i1 = t->elem == KIR_i1;

	if (!t->rank)
		return (range){ fetch(s, n), fetch(s, n) };
	switch (d->op) {
	case KIR_OP_iota:
		if (kir_is_float((kir_elem)t->elem) || kir_attr_of(s->in, n, KIR_ATTR_axis) < 0)
			return (range){ 0, 0 };
		return (range){ kir_const_i(s->out, (kir_elem)t->elem, 0),
			        kir_const_i(s->out, (kir_elem)t->elem,
			                    t->dim[kir_attr_of(s->in, n, KIR_ATTR_axis)] - 1) };
	case KIR_OP_splat:
	case KIR_OP_spread:
		return kir_is_float((kir_elem)t->elem) ? (range){ 0, 0 }
		                                       : bounds(s, kir_src(s->in, n, 0));
	case KIR_OP_convert: return converted(s, n);
	case KIR_OP_lt:
	case KIR_OP_le:
	case KIR_OP_gt:
	case KIR_OP_ge:
	case KIR_OP_eq:
	case KIR_OP_ne:
		if (kir_is_float((kir_elem)kir_type_of(s->in, kir_src(s->in, n, 0))->elem))
			return (range){ 0, 0 };
		return compare(s, (kir_op)d->op, bounds(s, kir_src(s->in, n, 0)),
		               bounds(s, kir_src(s->in, n, 1)));
	case KIR_OP_and:
	case KIR_OP_or:
		if (i1)
			return logic(s, (kir_op)d->op, bounds(s, kir_src(s->in, n, 0)),
			             bounds(s, kir_src(s->in, n, 1)));
		return (range){ 0, 0 };
	case KIR_OP_gather: return gathered(s, n);
	default: return i1 ? (range){ 0, 0 } : arithmetic(s, n);
	}
}

static range bounds(skip *s, kir_ref n)
{
	if (!s->have[n]) {
		s->seen[n] = compute(s, n);
		s->have[n] = true;
	}
	return s->seen[n];
}

/* By node, how many ops follow one from another up to it. */
static const unsigned *chains(const kir_func *f)
{
	unsigned *length = kir_alloc(f->module, f->nnode * sizeof *length);

	for (kir_ref n = 1; n < f->nnode; n++)
		for (unsigned i = 0; i < f->node[n].nsrc; i++)
			if (length[kir_src(f, n, i)] >= length[n])
				length[n] = length[kir_src(f, n, i)] + 1;
	return length;
}

static bool is_masking(const kir_func *f, kir_ref n)
{
	kir_ref other = kir_src(f, n, 2);

	return f->node[n].op == KIR_OP_select && kir_type_of(f, n)->rank == 2 &&
	       f->node[other].op == KIR_OP_const && f->node[other].f == -INFINITY;
}

/* The mask of the loop's scores: the condition of a select against -inf over a tile. 0 when
 * the loop isn't one to skip iterations of: it stores, or carries something that isn't
 * computed from the masked scores. */
static kir_ref find_mask(const kir_func *f, kir_ref loop, kir_ref end)
{
	bool *from = kir_alloc(f->module, f->nnode * sizeof *from);
	kir_ref mask = 0, masked = 0;

	for (kir_ref n = loop + 1; n < end; n++) {
		const kir_node *d = &f->node[n];
		bool all = d->nsrc > 0;

		if (kir_regions(f, n) || kir_ops[d->op].flags & KIR_WRITES)
			return 0;
		for (unsigned i = 0; i < d->nsrc; i++) {
			from[n] |= from[kir_src(f, n, i)];
			all &= from[kir_src(f, n, i)];
		}
		if (d->op == KIR_OP_yield)
			return mask && all && !skip_moves(f, loop, n, masked) ? mask : 0;
		if (!mask && is_masking(f, n)) {
			masked = n;
			mask = kir_src(f, n, 0);
			from[n] = true;
		}
	}
	return 0;
}

/* Whether the mask reads an element for each pair: a load a lane, which costs more than the
 * products of a row of int8. */
static bool reads_pairs(const kir_func *f, kir_ref loop, kir_ref mask)
{
	bool *asked = kir_alloc(f->module, f->nnode * sizeof *asked);

	asked[mask] = true;
	for (kir_ref n = mask; n > loop; n--) {
		if (asked[n] && f->node[n].op == KIR_OP_gather && kir_type_of(f, n)->rank == 2)
			return true;
		for (unsigned i = 0; asked[n] && i < f->node[n].nsrc; i++)
			asked[kir_src(f, n, i)] = true;
	}
	return false;
}

/* Whether a loop's blocks are gone over twice: those that the mask leaves whole, then those
 * that it cuts. On GPUs, whose code of a tile is a straight line that masking is an eighth of,
 * where products are so fast that the vectors beside them are what time goes into, in tile
 * registers if their rows are full (masked scores would be a second tile of them in L1, too),
 * and where the mask reads memory for each pair; but only where the tile is no more than two
 * products, as it is there twice. In tile registers parts of the values with the same weights
 * are one. */
static bool splits(const kir_func *f, kir_ref loop, kir_ref mask, kir_ref end)
{
	bool tiles = kpass_has_tiles(f);
	unsigned products = 0;
	kir_ref left = 0;

	for (kir_ref n = loop; n < end; n++)
		if (f->node[n].op == KIR_OP_dot) {
			products += !kpass_has_tiles(f) || kir_src(f, n, 0) != left;
			left = kir_src(f, n, 0);
			tiles &= kir_type_of(f, n)->dim[0] >= KIR_AMX_ROWS;
		}
	return products == 2 && (f->target->lanes || tiles || reads_pairs(f, loop, mask));
}

/* Whether the block is whole: every pair of the mask holds, and the loop doesn't end in it. */
static kir_ref is_whole(skip *s, range mask)
{
	kir_ref last;

	if (!mask.lo)
		return 0;
	last = op2(s, KIR_OP_add, KIR_s64, s->map[s->loop + 1],
	           s64c(s->out, kir_for_step(s->in, s->loop)));
	last = op2(s, KIR_OP_le, KIR_i1, last, s->map[kir_src(s->in, s->loop, 1)]);
	return op2(s, KIR_OP_and, KIR_i1, mask.lo, last);
}

/* Whether bounded load n has all its rows where the block is whole: its bound is its first row
 * and what is left of the loop, as far as which the block reaches. */
static bool all_there(const skip *s, kir_ref n)
{
	const kir_func *f = s->in;
	kir_ref buf, upto, row, left;
	unsigned first, count, rank;

	if (f->node[n].op != KIR_OP_load)
		return false;
	kir_access(f, n, &buf, &first, &count, &upto);
	rank = kir_type_of(f, n)->rank;
	if (!upto || f->node[upto].op != KIR_OP_add || !rank ||
	    kir_type_of(f, n)->dim[0] > kir_for_step(f, s->loop))
		return false;
	rank = kir_type_of(f, buf)->rank - rank; /* the index along which rows are counted */
	int64_t extent = kir_type_of(f, buf)->dim[rank];

	if (extent != KIR_DYN && extent < kir_type_of(f, n)->dim[0])
		return false; /* nothing but a bound may read more rows than there are */
	row = rank < count ? kir_src(f, n, first + rank) : 0;
	left = kir_src(f, upto, 1);
	return row && kir_src(f, upto, 0) == row && f->node[left].op == KIR_OP_sub &&
	       kir_src(f, left, 0) == kir_src(f, s->loop, 1) &&
	       kir_src(f, left, 1) == s->loop + 1;
}

/* n where the block is whole: nothing is masked, and loads have no bounds. */
static void copy_whole(skip *s, kir_ref n, kir_ref mask)
{
	const kir_node *d = &s->in->node[n];
	kir_ref src[KIR_MAX_SRC];

	if (is_masking(s->in, n) && kir_src(s->in, n, 0) == mask) {
		s->map[n] = s->map[kir_src(s->in, n, 1)];
		return;
	}
	if (!all_there(s, n)) {
		kir_copy(s->out, s->in, n, s->map);
		return;
	}
	for (unsigned i = 0; i + 1 < d->nsrc; i++)
		src[i] = s->map[kir_src(s->in, n, i)];
	s->map[n] = kir_emit(s->out, KIR_OP_load, d->type, src, d->nsrc - 1u, d->attr);
}

typedef enum blocks { SEEN, WHOLE, CUT } blocks;

/* Copies the loop with its body inside an if: for blocks of which something is seen, or of
 * those whole ones or, beginning with `carried`, the others. Its results go there. Returns
 * what it is for: where it can't be said which are whole, all that are seen. */
static blocks copy_loop(skip *s, kir_ref mask, kir_ref end, blocks which, kir_ref *carried)
{
	const kir_func *in = s->in;
	kir_func *out = s->out;
	kir_ref first = s->loop + 1, yield = end - 1, ncarry, loop, cond, whole, res;
	range r;

	while (in->node[yield].op != KIR_OP_yield)
		yield--;
	ncarry = in->node[yield].nsrc;
	/* bounds are computed inside the loop: those of another are out of scope */
	memset(s->have, 0, in->nnode * sizeof *s->have);
	memset(s->copied, 0, in->nnode * sizeof *s->copied);
	if (which == CUT) {
		loop = kir_for(out, s->map[kir_src(in, s->loop, 0)],
		               s->map[kir_src(in, s->loop, 1)], kir_for_step(in, s->loop),
		               false, carried, ncarry);
		for (; in->node[first].op == KIR_OP_arg; first++) {
			s->map[first] = loop + (first - s->loop);
			s->copied[first] = true;
		}
	} else { /* by its own name */
		kir_copy(out, in, s->loop, s->map);
		loop = s->map[s->loop];
		for (; in->node[first].op == KIR_OP_arg; first++)
			fetch(s, first);
	}
	r = bounds(s, mask);
	cond = r.hi ? r.hi : kir_const_i(out, KIR_i1, 1);
	whole = which == SEEN ? 0 : is_whole(s, r);
	if (!whole)
		which = SEEN;
	else if (which == WHOLE)
		cond = whole;
	else
		cond = op2(s, KIR_OP_and, KIR_i1, cond,
		           op2(s, KIR_OP_xor, KIR_i1, whole, kir_const_i(out, KIR_i1, 1)));
	cond = kir_if(out, cond);
	for (kir_ref n = first; n < yield; n++)
		if (s->copied[n])
			continue;
		else if (which == WHOLE)
			copy_whole(s, n, mask);
		else
			kir_copy(out, in, n, s->map);
	for (kir_ref i = 0; i < ncarry; i++)
		carried[i] = s->map[kir_src(in, yield, i)];
	kir_else(out, carried, ncarry);
	for (kir_ref i = 0; i < ncarry; i++)
		carried[i] = s->map[s->loop + 2 + i];
	res = kir_if_end(out, cond, carried, ncarry);
	for (kir_ref i = 0; i < ncarry; i++)
		carried[i] = res + i;
	res = kir_for_end(out, loop, carried, ncarry);
	for (kir_ref i = 0; i < ncarry; i++)
		carried[i] = res + i;
	return which;
}

static void copy_loops(skip *s, kir_ref mask, kir_ref end)
{
	const kir_func *in = s->in;
	kir_ref carried[KIR_MAX_SRC], yield = end - 1;
	blocks which = splits(in, s->loop, mask, end) ? WHOLE : SEEN;

	which = copy_loop(s, mask, end, which, carried);
	if (which == WHOLE)
		copy_loop(s, mask, end, CUT, carried);
	while (in->node[yield].op != KIR_OP_yield)
		yield--;
	for (kir_ref n = yield + 1; n < end; n++)
		s->map[n] = carried[n - yield - 1];
}

kpass_result kpass_skip_blocks(const kir_func *in, kir_func *out, kir_diag *why)
{
	skip s = { .in = in, .out = out, .map = kir_map_new(out, in) };
	kpass_result result = KPASS_SAME;
	const unsigned *chain = chains(in);

	(void)why;
	s.seen = kir_alloc(out->module, in->nnode * sizeof *s.seen);
	s.have = kir_alloc(out->module, in->nnode * sizeof *s.have);
	s.copied = kir_alloc(out->module, in->nnode * sizeof *s.copied);
	s.wraps = skip_wraps(in);
	for (kir_ref n = 1; n < in->nnode; n++) {
		kir_ref end, mask;

		if (in->node[n].op == KIR_OP_param)
			continue;
		if (in->node[n].op == KIR_OP_for && !kir_for_par(in, n)) {
			end = kir_region_end(in, n);
			mask = find_mask(in, n, end);
			if (mask && chain[mask] <= CHAIN) {
				s.loop = n;
				copy_loops(&s, mask, end);
				result = KPASS_CHANGED;
				n = end - 1;
				continue;
			}
		}
		kir_copy(out, in, n, s.map);
	}
	return result;
}
