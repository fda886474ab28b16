/* SPDX-License-Identifier: Apache-2.0 */
/* clean.c -- constants fold, identities go, regions that run once or never are opened.
 *
 *     %a = mul %x, 1 : f32<16>            vstore %x, %o[4]
 *     if %t (true) {
 *       vstore %a, %o[add 2, 2]
 *       yield
 *     } else { yield }
 *
 * Folding rounds as the op does: once, to the written type. Rules hold for every value, NaN
 * and minus zero included (so x + 0 goes for integers, x + -0 for floats). Around the rules
 * run cse and dce, until nothing changes any more.
 *
 * Requires: level V. Keeps: par loops and the order of stores.
 *
 * To add a rule: a function that looks at a node about to be written (its operands are nodes
 * of `out` already) and gives the value that replaces it or 0, and a row in rules[].
 */
#include "analysis.h"

#include <math.h>
#include <string.h>

/* A node before it is written. */
typedef struct draft {
	kir_func *out;
	kir_op op;
	kir_type_id type;
	unsigned nsrc;
	kir_ref src[KIR_MAX_SRC];
	const kir_node *old;
	bool plain; /* is_plain_convert */
} draft;

/* -- constants ------------------------------------------------------------------- */

static kir_elem elem_of(const draft *d, kir_ref r)
{
	return (kir_elem)kir_type_of(d->out, r)->elem;
}

static bool is_const(const draft *d, kir_ref r)
{
	return r && kir_at(d->out, r)->op == KIR_OP_const;
}

/* Value of a constant of any kind, as a double (integers of interest are small). */
static bool const_is(const draft *d, kir_ref r, double want)
{
	if (!is_const(d, r))
		return false;
	if (kir_is_float(elem_of(d, r)))
		return kir_at(d->out, r)->f == want &&
		       signbit(kir_at(d->out, r)->f) == signbit(want);
	return kir_at(d->out, r)->i == (int64_t)want && !signbit(want);
}

/* Wraps to the element: sign or zero extends its low bits. */
static int64_t wrap(kir_elem e, int64_t x)
{
	unsigned bits = kir_elems[e].bits;

	if (e == KIR_i1)
		return x & 1;
	if (bits >= 64)
		return x;
	if (!kir_is_signed(e))
		return x & ((INT64_C(1) << bits) - 1);
	return (int64_t)((uint64_t)x << (64 - bits)) >> (64 - bits);
}

static bool fold_int(kir_op op, kir_elem e, int64_t x, int64_t y, int64_t *out)
{
	int64_t add = (int64_t)((uint64_t)x + (uint64_t)y);
	unsigned bits = kir_elems[e].bits;

	switch (op) {
	case KIR_OP_add: *out = add; break;
	case KIR_OP_sub: *out = (int64_t)((uint64_t)x - (uint64_t)y); break;
	case KIR_OP_mul: *out = (int64_t)((uint64_t)x * (uint64_t)y); break;
	case KIR_OP_fdiv: *out = y > 0 ? kir_floor_div(x, y) : 0; break;
	case KIR_OP_mod: *out = y > 0 ? kir_floor_mod(x, y) : 0; break;
	case KIR_OP_min: *out = x < y ? x : y; break;
	case KIR_OP_max: *out = x > y ? x : y; break;
	case KIR_OP_and: *out = x & y; break;
	case KIR_OP_or: *out = x | y; break;
	case KIR_OP_xor: *out = x ^ y; break;
	case KIR_OP_shl: *out = (int64_t)((uint64_t)x << (y & 63)); break;
	case KIR_OP_shr: *out = x >> (y & 63); break;
	case KIR_OP_lt: *out = x < y; break;
	case KIR_OP_le: *out = x <= y; break;
	case KIR_OP_gt: *out = x > y; break;
	case KIR_OP_ge: *out = x >= y; break;
	case KIR_OP_eq: *out = x == y; break;
	case KIR_OP_ne: *out = x != y; break;
	default: return false;
	}
	if ((op == KIR_OP_shl || op == KIR_OP_shr) && (y < 0 || y >= bits))
		return false;
	if ((op == KIR_OP_fdiv || op == KIR_OP_mod) && y <= 0)
		return false;
	return true;
}

/* In double: its 53 bits hold sums, products and quotients of 24-bit floats well enough that
 * rounding a second time to f32 or less gives what rounding once would. */
static bool fold_float(kir_op op, double x, double y, double *out)
{
	switch (op) {
	case KIR_OP_add: *out = x + y; break;
	case KIR_OP_sub: *out = x - y; break;
	case KIR_OP_mul: *out = x * y; break;
	case KIR_OP_div: *out = x / y; break;
	case KIR_OP_min: *out = fmin(x, y); break;
	case KIR_OP_max: *out = fmax(x, y); break;
	default: return false;
	}
	return true;
}

static bool compare_float(kir_op op, double x, double y, int64_t *out)
{
	switch (op) {
	case KIR_OP_lt: *out = x < y; break;
	case KIR_OP_le: *out = x <= y; break;
	case KIR_OP_gt: *out = x > y; break;
	case KIR_OP_ge: *out = x >= y; break;
	case KIR_OP_eq: *out = x == y; break;
	case KIR_OP_ne: *out = x != y; break;
	default: return false;
	}
	return true;
}

static kir_ref make_float(draft *d, kir_elem e, double x)
{
	if (e == KIR_f32)
		x = (double)(float)x;
	else if (e != KIR_f64)
		x = kir_decode(e, kir_encode(e, x, KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_inf));
	return kir_const_f(d->out, e, x);
}

/* -- rules ------------------------------------------------------------------------ */

static kir_ref fold_binary(draft *d)
{
	const kir_node *x = kir_at(d->out, d->src[0]), *y = kir_at(d->out, d->src[1]);
	kir_elem e = (kir_elem)kir_type_at(d->out->module, d->type)->elem;
	kir_elem se = elem_of(d, d->src[0]);
	int64_t i;
	double f;

	if (d->nsrc != 2 || kir_type_at(d->out->module, d->type)->rank)
		return 0;
	if (!is_const(d, d->src[0]) || !is_const(d, d->src[1]) || se != elem_of(d, d->src[1]))
		return 0;
	if (kir_is_float(se)) {
		if (e == KIR_i1)
			return compare_float(d->op, x->f, y->f, &i) ? kir_const_i(d->out, e, i)
			                                            : 0;
		return fold_float(d->op, x->f, y->f, &f) ? make_float(d, e, f) : 0;
	}
	return fold_int(d->op, se, x->i, y->i, &i) ? kir_const_i(d->out, e, wrap(e, i)) : 0;
}

static kir_ref fold_unary(draft *d)
{
	kir_elem e = (kir_elem)kir_type_at(d->out->module, d->type)->elem;
	const kir_node *x = kir_at(d->out, d->src[0]);
	kir_elem se;

	if (d->nsrc != 1 || kir_type_at(d->out->module, d->type)->rank ||
	    !is_const(d, d->src[0]))
		return 0;
	se = elem_of(d, d->src[0]);
	if (d->op == KIR_OP_convert && (kir_is_int(se) || se == KIR_i1) && e == KIR_s64)
		return kir_const_i(d->out, e, x->i);
	if (d->plain && kir_is_int(se) && (e == KIR_f32 || e == KIR_f64) &&
	    x->i == (int64_t)(int32_t)x->i)
		return make_float(d, e, (double)x->i);
	if (se != e)
		return 0;
	if (d->op == KIR_OP_neg)
		return kir_is_float(e)
		           ? kir_const_f(d->out, e, -x->f)
		           : kir_const_i(d->out, e, wrap(e, (int64_t)(0 - (uint64_t)x->i)));
	if (d->op == KIR_OP_floor && kir_is_float(e))
		return kir_const_f(d->out, e, floor(x->f));
	return 0;
}

/* x op c, where c is the one constant that leaves x as it is. */
static kir_ref neutral(draft *d)
{
	/* clang-format off */
	static const struct { uint8_t op; bool floats; bool swap; double c; } row[] = {
		{ KIR_OP_add, false, true, 0 },   { KIR_OP_add, true, true, -0.0 },
		{ KIR_OP_sub, false, false, 0 },  { KIR_OP_sub, true, false, 0 },
		{ KIR_OP_mul, false, true, 1 },   { KIR_OP_mul, true, true, 1 },
		{ KIR_OP_div, true, false, 1 },   { KIR_OP_fdiv, false, false, 1 },
		{ KIR_OP_or, false, true, 0 },    { KIR_OP_xor, false, true, 0 },
		{ KIR_OP_shl, false, false, 0 },  { KIR_OP_shr, false, false, 0 },
	};
	/* clang-format on */

	for (unsigned i = 0; i < sizeof row / sizeof row[0]; i++) {
		if (row[i].op != d->op || d->nsrc != 2)
			continue;
		for (unsigned k = 0; k <= (row[i].swap ? 1u : 0u); k++) {
			kir_ref x = d->src[k], c = d->src[1 - k];
			if (kir_at(d->out, x)->type == d->type && is_const(d, c) &&
			    kir_is_float(elem_of(d, c)) == row[i].floats &&
			    const_is(d, c, row[i].c))
				return x;
		}
	}
	return 0;
}

/* Whether x is a multiple of the literal y, a power of two. */
static bool divides(const draft *d, kir_ref y, kir_ref x)
{
	int64_t c;

	return kir_is_const(d->out, y, &c) && c > 0 && !(c & (c - 1)) &&
	       c >> kir_zeros(d->out, x) <= 1;
}

/* Integer x * 0, x & 0, mod(x, 1), mod of a multiple: zero. */
static kir_ref zero(draft *d)
{
	kir_elem e = (kir_elem)kir_type_at(d->out->module, d->type)->elem;
	bool z;

	if (d->nsrc != 2 || kir_type_at(d->out->module, d->type)->rank || kir_is_float(e))
		return 0;
	z = (d->op == KIR_OP_mul || d->op == KIR_OP_and) &&
	    (const_is(d, d->src[0], 0) || const_is(d, d->src[1], 0));
	z |= d->op == KIR_OP_mod && divides(d, d->src[1], d->src[0]);
	return z ? kir_const_i(d->out, e, 0) : 0;
}

/* Both operands the same value: min, max, and, or, select. */
static kir_ref same_operands(draft *d)
{
	kir_ref x = d->src[d->nsrc - 1];

	if (d->nsrc < 2 || d->src[d->nsrc - 2] != x || kir_at(d->out, x)->type != d->type)
		return 0;
	switch (d->op) {
	case KIR_OP_min:
	case KIR_OP_max:
	case KIR_OP_and:
	case KIR_OP_or:
	case KIR_OP_select: return x;
	default: return 0;
	}
}

static kir_ref known_select(draft *d)
{
	kir_ref x;

	if (d->op != KIR_OP_select || !is_const(d, d->src[0]))
		return 0;
	x = kir_at(d->out, d->src[0])->i ? d->src[1] : d->src[2];
	return kir_at(d->out, x)->type == d->type ? x : 0;
}

/* A conversion to the type the value has, or one there and back of the bits. */
static kir_ref no_convert(draft *d)
{
	kir_elem e = (kir_elem)kir_type_at(d->out->module, d->type)->elem;
	kir_ref x = d->src[0];

	if (d->op != KIR_OP_bitcast && !(d->plain && keeps_values(e)))
		return 0;
	if (d->op == KIR_OP_bitcast && kir_at(d->out, x)->op == KIR_OP_bitcast)
		x = kir_src(d->out, x, 0);
	return kir_at(d->out, x)->type == d->type ? x : 0;
}

/* half of a join, unzip of two zips. */
static kir_ref lanes(draft *d)
{
	const kir_func *f = d->out;
	kir_ref a = d->src[0], b = d->nsrc > 1 ? d->src[1] : 0;
	bool hi = d->op == KIR_OP_half_hi || d->op == KIR_OP_unzip_hi;
	kir_ref x = 0;

	if ((d->op == KIR_OP_half_lo || d->op == KIR_OP_half_hi) &&
	    kir_at(f, a)->op == KIR_OP_join)
		x = kir_src(f, a, hi);
	if ((d->op == KIR_OP_unzip_lo || d->op == KIR_OP_unzip_hi) &&
	    kir_at(f, a)->op == KIR_OP_zip_lo && kir_at(f, b)->op == KIR_OP_zip_hi &&
	    kir_src(f, a, 0) == kir_src(f, b, 0) && kir_src(f, a, 1) == kir_src(f, b, 1) &&
	    kir_at(f, a)->attr[0] == d->old->attr[0] &&
	    kir_at(f, b)->attr[0] == d->old->attr[0])
		x = kir_src(f, a, hi);
	return x && kir_at(f, x)->type == d->type ? x : 0;
}

/* Bits of a left shift by a literal, of which `fixed` of integers is one (the shift is its only
 * attribute); 0: another op. */
static int64_t left_shift(const draft *d)
{
	int64_t by = 0;

	if (kir_is_float(elem_of(d, d->src[0])))
		return 0;
	if (d->op == KIR_OP_fixed)
		by = d->old->attr[0];
	else if (d->op == KIR_OP_shl)
		kir_is_const(d->out, d->src[1], &by);
	return by;
}

/* There and back: (x >> c) << c is x without its low bits, and x itself if it is y << c. Codes
 * of four bits are taken out of their byte so, and then scaled to where they were. */
static kir_ref shifted_back(draft *d)
{
	const kir_func *f = d->out;
	int64_t by = d->nsrc ? left_shift(d) : 0, c;
	kir_ref down = d->src[0], x;
	kir_elem e;

	if (by <= 0 || by > 62 || kir_at(f, down)->op != KIR_OP_shr ||
	    !kir_is_const(f, kir_src(f, down, 1), &c) || c != by ||
	    kir_at(f, down)->type != d->type)
		return 0;
	x = kir_src(f, down, 0);
	if (kir_at(f, x)->op == KIR_OP_shl && kir_is_const(f, kir_src(f, x, 1), &c) && c == by)
		return x;
	e = elem_of(d, x);
	return kir_emit(d->out, KIR_OP_and, d->type,
	                (kir_ref[]){ x, kir_const_i(d->out, e, wrap(e, -(INT64_C(1) << by))) },
	                2, NULL);
}

static kir_ref (*const rules[])(draft *d) = {
	fold_binary,  fold_unary, neutral, zero,         same_operands,
	known_select, no_convert, lanes,   shifted_back,
};

/* -- walking ---------------------------------------------------------------------- */

/* A region op that is being opened: its ops are written where it stood. */
typedef struct walk {
	const kir_func *in;
	kir_func *out;
	kir_ref *map;
	kir_ref *open; /* enclosing region ops of `in`                              */
	bool *opened;  /* of each of them: not written itself                        */
	unsigned depth;
	bool changed;
} walk;

static void push(walk *w, kir_ref n, bool opened)
{
	w->open[w->depth] = n;
	w->opened[w->depth++] = opened;
	w->changed |= opened;
}

/* Nodes after `yield` that are results of op get the mapped values src[first...]. */
static void set_results(walk *w, kir_ref op, kir_ref yield, kir_ref from, unsigned first)
{
	for (kir_ref r = yield + 1; r < w->in->nnode; r++) {
		if (kir_at(w->in, r)->op != KIR_OP_res || kir_src(w->in, r, 0) != op)
			break;
		w->map[r] = w->map[kir_src(w->in, from, first + (r - yield - 1))];
	}
}

/* A loop with literal bounds that runs once is opened, one that never runs skipped. Gives
 * the last node dealt with, 0 if the loop stays. */
static kir_ref open_loop(walk *w, kir_ref n)
{
	const kir_func *in = w->in;
	int64_t lo, hi;
	uint64_t trips;

	if (kir_for_par(in, n) || !kir_is_const(w->out, w->map[kir_src(in, n, 0)], &lo) ||
	    !kir_is_const(w->out, w->map[kir_src(in, n, 1)], &hi))
		return 0;
	trips = kir_for_trips(lo, hi, kir_for_step(in, n));
	if (!trips) {
		kir_ref y = kir_region_yield(in, n + 1);
		set_results(w, n, y, n, 2);
		w->changed = true;
		return y;
	}
	if (trips > 1)
		return 0;
	w->map[n + 1] = w->map[kir_src(in, n, 0)];
	for (unsigned i = 2; i < kir_at(in, n)->nsrc; i++)
		w->map[n + i] = w->map[kir_src(in, n, i)];
	push(w, n, true);
	return n + kir_at(in, n)->nsrc - 1;
}

static kir_ref open_if(walk *w, kir_ref n)
{
	const kir_node *c = kir_at(w->out, w->map[kir_src(w->in, n, 0)]);

	if (c->op != KIR_OP_const)
		return 0;
	push(w, n, true);
	return c->i ? n : kir_region_yield(w->in, n + 1);
}

/* At a yield of an opened region: where the op ends, its results known. */
static kir_ref close_opened(walk *w, kir_ref n)
{
	kir_ref op = w->open[--w->depth], last = n;

	/* the first region of an if was taken: the second is skipped */
	if (kir_at(w->in, op)->op == KIR_OP_if && kir_region_yield(w->in, op + 1) == n)
		last = kir_region_yield(w->in, n + 1);
	set_results(w, op, last, n, 0);
	return last;
}

static kir_ref apply_rules(walk *w, kir_ref n)
{
	draft d = { .out = w->out,
		    .old = kir_at(w->in, n),
		    .plain = is_plain_convert(w->in, n) };

	d.op = (kir_op)d.old->op;
	d.type = d.old->type;
	d.nsrc = d.old->nsrc;
	if (!(kir_ops[d.op].flags & KIR_PURE) || !d.nsrc || d.op == KIR_OP_res)
		return 0;
	for (unsigned i = 0; i < d.nsrc; i++)
		d.src[i] = w->map[kir_src(w->in, n, i)];
	for (unsigned i = 0; i < sizeof rules / sizeof rules[0]; i++) {
		kir_ref r = rules[i](&d);
		if (r)
			return r;
	}
	return 0;
}

/* Deals with node n; gives the last node dealt with. */
static kir_ref visit(walk *w, kir_ref n)
{
	const kir_node *x = kir_at(w->in, n);
	kir_ref last = 0;

	if (x->op == KIR_OP_param || (x->op == KIR_OP_res && w->map[n]))
		return n;
	if (x->op == KIR_OP_for)
		last = open_loop(w, n);
	else if (x->op == KIR_OP_if)
		last = open_if(w, n);
	else if (x->op == KIR_OP_yield && w->opened[w->depth - 1])
		last = close_opened(w, n);
	if (last)
		return last;
	w->map[n] = apply_rules(w, n);
	if (w->map[n]) {
		w->changed = true;
		return n;
	}
	kir_copy(w->out, w->in, n, w->map);
	for (unsigned i = kir_regions(w->in, n); i; i--)
		push(w, n, false);
	if (x->op == KIR_OP_yield)
		w->depth--;
	return n;
}

static kpass_result simplify(const kir_func *in, kir_func *out, kir_diag *why)
{
	walk w = { .in = in, .out = out, .map = kir_map_new(out, in) };

	(void)why;
	w.open = kir_alloc(in->module, 2 * in->nnode * sizeof *w.open);
	w.opened = kir_alloc(in->module, 2 * in->nnode * sizeof *w.opened);
	for (kir_ref n = 1; n < in->nnode; n++)
		n = visit(&w, n);
	return w.changed ? KPASS_CHANGED : KPASS_SAME;
}

kpass_result kpass_clean(const kir_func *in, kir_func *out, kir_diag *why)
{
	static const kpass_fn round[] = { simplify, kpass_cse, kpass_dce };
	enum { NROUND = sizeof round / sizeof round[0], MAX_ROUNDS = 16 };
	const kir_func *f = in;
	kir_ref *map;

	/* Every change removes an op, a region or a use; sixteen rounds are plenty, and
	 * stopping early is no error. */
	for (unsigned i = 0, same = 0; i < MAX_ROUNDS * NROUND && same < NROUND; i++) {
		kir_func *g = kir_func_like(f, f->level);
		same = round[i % NROUND](f, g, why) == KPASS_CHANGED ? 0 : same + 1;
		if (!same)
			f = g;
	}
	if (f == in)
		return KPASS_SAME;
	map = kir_map_new(out, f);
	for (kir_ref n = 1; n < f->nnode; n++)
		if (kir_at(f, n)->op != KIR_OP_param)
			kir_copy(out, f, n, map);
	return KPASS_CHANGED;
}
