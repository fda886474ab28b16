/* SPDX-License-Identifier: Apache-2.0 */
/* region_index.c -- how large an index may be by which a score or mask region reads memory.
 *
 * The regions' arguments are [s,] b, h, i, j. What they are added up to with the lists that
 * say where sequences begin and end counts too:
 *
 *     past = lens[b] - (starts[b + 1] - starts[b])    tokens there were before this step
 *     i - past                                        the query's place among its new tokens
 *     j - min(j, past)                                the key's, 0 for those there were before
 *     starts[b] + (i - past)                          the query's row in q and out
 *
 * Of two caches lens[b] is the sum of both, and a position an argument and the other's tokens.
 * problem_region.c writes just these; a person may write them too, or anything else, of which
 * only what literals say is known.
 */
#include "kir.h"

#include <math.h>

/* How far literals are looked for: of a graph of ops, not a tree. */
enum { DEPTH = 8 };

typedef struct span {
	double lo, hi;
} span;

static kir_ref src(const kir_func *f, kir_ref n, unsigned i)
{
	return kir_src(f, n, i);
}

static bool is(const kir_func *f, kir_ref n, kir_op op)
{
	return f->node[n].op == op;
}

/* n, or the integer that it is another width of. */
static kir_ref widened(const kir_func *f, kir_ref n)
{
	while (is(f, n, KIR_OP_convert) &&
	       kir_is_int((kir_elem)kir_type_of(f, src(f, n, 0))->elem))
		n = src(f, n, 0);
	return n;
}

/* -- arguments and lists ---------------------------------------------------------- */

/* Which of b, h, i, j argument n of a region is; -1: the score, or no argument. */
static int argument(const kir_func *f, kir_ref n)
{
	if (!is(f, n, KIR_OP_arg))
		return -1;
	int at = (int)f->node[n].attr[0];
	bool score = kir_type_of(f, n - (kir_ref)at)->elem == KIR_f32;

	return at - score;
}

/* The one that is added to a literal in n; *add is the literal. */
static kir_ref shifted(const kir_func *f, kir_ref n, int64_t *add)
{
	*add = 0;
	if (is(f, n, KIR_OP_add) && kir_is_const(f, src(f, n, 1), add))
		return src(f, n, 0);
	if (is(f, n, KIR_OP_add) && kir_is_const(f, src(f, n, 0), add))
		return src(f, n, 1);
	return n;
}

/* The buffer of which n is element b + add, b the region's sequence; 0 if it is none. */
static kir_ref listed(const kir_func *f, kir_ref n, int64_t add)
{
	int64_t by;

	n = widened(f, n);
	if (!is(f, n, KIR_OP_load) || f->node[n].nsrc != 2)
		return 0;
	return argument(f, shifted(f, src(f, n, 1), &by)) == 0 && by == add ? src(f, n, 0) : 0;
}

/* Whether buffer is operand `name` of an attention. */
static bool is_operand(const kir_func *f, kir_ref buffer, const char *name)
{
	for (kir_ref n = 1; buffer && n < f->nnode; n++)
		if (is(f, n, KIR_OP_attention) && kir_operand(f, n, name) == buffer)
			return true;
	return false;
}

static unsigned caches(const kir_func *f)
{
	unsigned n = 0;

	for (kir_ref i = 1; i < f->nnode; i++)
		n += is(f, i, KIR_OP_attention);
	return n;
}

/* The tokens of the region's sequence, over all caches. */
static bool is_length(const kir_func *f, kir_ref n)
{
	if (caches(f) == 1)
		return is_operand(f, listed(f, n, 0), "lens");
	if (caches(f) != 2 || !is(f, n, KIR_OP_add))
		return false;
	kir_ref a = listed(f, src(f, n, 0), 0), b = listed(f, src(f, n, 1), 0);

	return a != b && is_operand(f, a, "lens") && is_operand(f, b, "lens");
}

bool kir_region_past(const kir_func *f, kir_ref n)
{
	if (!is(f, n, KIR_OP_sub) || !is_length(f, src(f, n, 0)))
		return false;
	n = src(f, n, 1);
	if (!is(f, n, KIR_OP_sub))
		return false;
	kir_ref end = listed(f, src(f, n, 0), 1);

	return end == listed(f, src(f, n, 1), 0) && is_operand(f, end, "starts");
}

/* Whether n is the position of the query (which 2) or the key (3). */
static bool is_position(const kir_func *f, kir_ref n, int which)
{
	if (argument(f, n) == which)
		return true;
	return is(f, n, KIR_OP_add) && argument(f, src(f, n, 0)) == which &&
	       is_operand(f, listed(f, src(f, n, 1), 0), "lens");
}

static bool is_new_query(const kir_func *f, kir_ref n)
{
	return is(f, n, KIR_OP_sub) && is_position(f, src(f, n, 0), 2) &&
	       kir_region_past(f, src(f, n, 1));
}

static bool is_new_key(const kir_func *f, kir_ref n)
{
	if (!is(f, n, KIR_OP_sub) || !is_position(f, src(f, n, 0), 3))
		return false;
	kir_ref least = src(f, n, 1);

	return is(f, least, KIR_OP_min) && src(f, least, 0) == src(f, n, 0) &&
	       kir_region_past(f, src(f, least, 1));
}

static bool is_row(const kir_func *f, kir_ref n)
{
	return is(f, n, KIR_OP_add) && is_operand(f, listed(f, src(f, n, 0), 0), "starts") &&
	       is_new_query(f, src(f, n, 1));
}

static kir_counted counted(const kir_func *f, kir_ref n)
{
	switch (argument(f, n)) {
	case 0: return KIR_COUNTS_seqs;
	case 1: return KIR_COUNTS_heads;
	case 2:
	case 3: return KIR_COUNTS_positions;
	default: break;
	}
	if (is_position(f, n, 2) || is_position(f, n, 3))
		return KIR_COUNTS_positions;
	if (is_new_query(f, n) || is_new_key(f, n))
		return KIR_COUNTS_new;
	return is_row(f, n) ? KIR_COUNTS_rows : KIR_COUNTS_nothing;
}

/* -- literals --------------------------------------------------------------------- */

static span span_of(const kir_func *f, kir_ref n, unsigned depth);

static span by_literal(const kir_func *f, kir_ref n, span x)
{
	int64_t k;

	if (!kir_is_const(f, src(f, n, 1), &k) || k <= 0)
		return (span){ -INFINITY, INFINITY };
	if (is(f, n, KIR_OP_mod))
		return (span){ 0, (double)(k - 1) };
	return (span){ floor(x.lo / (double)k), floor(x.hi / (double)k) };
}

static span loaded(kir_elem e)
{
	int bits = kir_elems[e].bits;

	if (!kir_is_int(e) || bits > 16)
		return (span){ -INFINITY, INFINITY };
	return kir_is_signed(e) ? (span){ -ldexp(1, bits - 1), ldexp(1, bits - 1) - 1 }
	                        : (span){ 0, ldexp(1, bits) - 1 };
}

static span span_of(const kir_func *f, kir_ref n, unsigned depth)
{
	span any = { -INFINITY, INFINITY }, x, y;
	int64_t k;

	if (kir_is_const(f, n, &k))
		return (span){ (double)k, (double)k };
	if (is(f, n, KIR_OP_load))
		return loaded((kir_elem)kir_type_of(f, n)->elem);
	if (!depth || !f->node[n].nsrc || !kir_is_int((kir_elem)kir_type_of(f, n)->elem))
		return any;
	x = span_of(f, src(f, n, 0), depth - 1);
	y = f->node[n].nsrc > 1 ? span_of(f, src(f, n, 1), depth - 1) : any;
	switch (f->node[n].op) {
	case KIR_OP_convert: return widened(f, n) != n ? x : any;
	case KIR_OP_min: return (span){ fmin(x.lo, y.lo), fmin(x.hi, y.hi) };
	case KIR_OP_max: return (span){ fmax(x.lo, y.lo), fmax(x.hi, y.hi) };
	case KIR_OP_add: return (span){ x.lo + y.lo, x.hi + y.hi };
	case KIR_OP_sub: return (span){ x.lo - y.hi, x.hi - y.lo };
	case KIR_OP_abs:
		return (span){ fmax(0, fmax(x.lo, -x.hi)), fmax(fabs(x.lo), fabs(x.hi)) };
	case KIR_OP_mod:
	case KIR_OP_fdiv: return by_literal(f, n, x);
	default: return any;
	}
}

kir_index kir_region_index(const kir_func *f, kir_ref n)
{
	kir_index r = { .div = 1 };
	int64_t k;

	r.of = counted(f, n);
	if (r.of == KIR_COUNTS_nothing && is(f, n, KIR_OP_fdiv) &&
	    kir_is_const(f, src(f, n, 1), &k) && k > 0) {
		r.of = counted(f, src(f, n, 0));
		r.div = k;
	}
	if (r.of != KIR_COUNTS_nothing)
		return r;
	span s = span_of(f, n, DEPTH);

	if (s.lo >= 0 && s.hi < 0x1p31)
		r.below = (int64_t)s.hi + 1;
	return r;
}
