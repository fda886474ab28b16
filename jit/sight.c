/* SPDX-License-Identifier: Apache-2.0 */
/* sight.c -- how far from its query a key may be that the mask lets it see, so that plans make
 * no items of keys that none of their queries sees.
 *
 *     and(le %j, %i, lt(sub %i, %j), 1024)      ahead 0, back 1023
 *     eq(fdiv %i, 512, fdiv %j, 512)            ahead 511, back 511, chunk 512
 *
 * Comparisons of sums and differences of the two positions and literals are understood, the
 * size of a difference, equal quotients, and what joins them with `and` and `or`. Whatever
 * isn't understood bounds nothing.
 */
#include "jit.h"

/* How deep a mask and a sum are looked into: nodes may be shared, so the work is up to 2 to
 * both. */
enum { DEPTH = 12, SUM_DEPTH = 6 };

typedef struct region {
	const kir_func *f;
	kir_ref i, j; /* the query's position and the key's */
} region;

static const kvjit_sight anywhere = { INT64_MAX, INT64_MAX, 0 };

/* i * query + j * key + c. */
typedef struct linear {
	int64_t i, j, c;
} linear;

static bool linear_of(const region *r, kir_ref n, int depth, linear *out)
{
	kir_op op = (kir_op)r->f->node[n].op;
	linear a, b;
	int64_t c, sign = op == KIR_OP_sub ? -1 : 1;

	*out = (linear){ n == r->i, n == r->j, 0 };
	if (n == r->i || n == r->j)
		return true;
	if (kir_is_const(r->f, n, &c)) {
		out->c = c;
		return c >= -KIR_MAX_LEN && c <= KIR_MAX_LEN; /* more is no offset */
	}
	if (!depth || (op != KIR_OP_add && op != KIR_OP_sub) ||
	    !linear_of(r, kir_src(r->f, n, 0), depth - 1, &a) ||
	    !linear_of(r, kir_src(r->f, n, 1), depth - 1, &b))
		return false;
	*out = (linear){ a.i + sign * b.i, a.j + sign * b.j, a.c + sign * b.c };
	return out->i * out->i <= 1 && out->j * out->j <= 1 && out->i * out->j <= 0 &&
	       out->c >= -KIR_MAX_LEN && out->c <= KIR_MAX_LEN;
}

/* Of x < most. */
static kvjit_sight below(linear x, int64_t most)
{
	kvjit_sight r = anywhere;

	if (x.i == 1 && x.j == -1)
		r.back = most - x.c - 1;
	if (x.i == -1 && x.j == 1)
		r.ahead = most - x.c - 1;
	return r;
}

static kvjit_sight both(kvjit_sight a, kvjit_sight b)
{
	return (kvjit_sight){ a.back < b.back ? a.back : b.back,
		              a.ahead < b.ahead ? a.ahead : b.ahead,
		              a.chunk ? a.chunk : b.chunk };
}

static kvjit_sight either(kvjit_sight a, kvjit_sight b)
{
	return (kvjit_sight){ a.back > b.back ? a.back : b.back,
		              a.ahead > b.ahead ? a.ahead : b.ahead,
		              a.chunk == b.chunk ? a.chunk : 0 };
}

/* Of a < b + more. */
static kvjit_sight less(const region *r, kir_ref a, kir_ref b, int64_t more)
{
	linear x, y;
	bool size = r->f->node[a].op == KIR_OP_abs;

	if (!linear_of(r, size ? kir_src(r->f, a, 0) : a, SUM_DEPTH, &x) ||
	    !linear_of(r, b, SUM_DEPTH, &y))
		return anywhere;
	if (size && (y.i || y.j))
		return anywhere;
	if (size)
		return both(below(x, y.c + more),
		            below((linear){ -x.i, -x.j, -x.c }, y.c + more));
	return below((linear){ x.i - y.i, x.j - y.j, x.c - y.c }, more);
}

static kvjit_sight same_chunk(const region *r, kir_ref a, kir_ref b)
{
	int64_t c, d;

	if (r->f->node[a].op != KIR_OP_fdiv || r->f->node[b].op != KIR_OP_fdiv ||
	    kir_src(r->f, a, 0) + kir_src(r->f, b, 0) != r->i + r->j ||
	    (kir_src(r->f, a, 0) != r->i && kir_src(r->f, a, 0) != r->j) ||
	    !kir_is_const(r->f, kir_src(r->f, a, 1), &c) ||
	    !kir_is_const(r->f, kir_src(r->f, b, 1), &d) || c != d || c <= 0)
		return anywhere;
	return (kvjit_sight){ c - 1, c - 1, c };
}

static kvjit_sight sight(const region *r, kir_ref n, int depth)
{
	kir_ref a, b;

	if (!depth || r->f->node[n].nsrc != 2)
		return anywhere;
	a = kir_src(r->f, n, 0);
	b = kir_src(r->f, n, 1);
	switch ((kir_op)r->f->node[n].op) {
	case KIR_OP_and: return both(sight(r, a, depth - 1), sight(r, b, depth - 1));
	case KIR_OP_or: return either(sight(r, a, depth - 1), sight(r, b, depth - 1));
	case KIR_OP_lt: return less(r, a, b, 0);
	case KIR_OP_le: return less(r, a, b, 1);
	case KIR_OP_gt: return less(r, b, a, 0);
	case KIR_OP_ge: return less(r, b, a, 1);
	case KIR_OP_eq: return same_chunk(r, a, b);
	default: return anywhere;
	}
}

kvjit_sight kvjit_sight_of(const kir_func *f, kir_ref attention)
{
	kvjit_sight out = anywhere;

	if (attention) {
		kir_ref score = kir_region_yield(f, attention + 1), mask = score + 1;
		/* its arguments are sequence, head, query, key */
		region r = { f, mask + 2, mask + 3 };

		out = sight(&r, kir_src(f, kir_region_yield(f, mask), 0), DEPTH);
	}
	/* items have a key: that of the query's own place, if no other */
	out.back = out.back < 0 ? 0 : out.back;
	out.ahead = out.ahead < 0 ? 0 : out.ahead;
	return out;
}
