/* SPDX-License-Identifier: Apache-2.0 */
/* roll_copies.c -- whether copies agree, and one body for all of them (roll.c).
 *
 * One walk does both: without a function to write to it only compares, and notes which locals
 * lie side by side from then on.
 */
#include "roll.h"

#include "analysis.h"

#include <string.h>

/* -- what isn't compared ------------------------------------------------------------------- */

/* x as another value and a literal; 0 as that value: it is the literal. */
static kir_ref apart(const kir_func *f, kir_ref x, int64_t *lit)
{
	int64_t k;

	*lit = 0;
	if (kir_type_of(f, x)->elem != KIR_s64 || kir_type_of(f, x)->rank)
		return x;
	while (f->node[x].op == KIR_OP_add) {
		kir_ref a = kir_src(f, x, 0), b = kir_src(f, x, 1);

		if (kir_is_const(f, b, &k))
			x = a;
		else if (kir_is_const(f, a, &k))
			x = b;
		else
			return x;
		*lit += k;
	}
	if (!kir_is_const(f, x, &k))
		return x;
	*lit += k;
	return 0;
}

bool roll_is_followed(const kir_func *f, kir_ref n)
{
	int64_t k;

	switch (f->node[n].op) {
	case KIR_OP_const:
	case KIR_OP_view:
	case KIR_OP_local: return true;
	case KIR_OP_add: return apart(f, n, &k) != n;
	default: return false;
	}
}

/* Whether the walk over a copy passes over n; what it opens is `depth` deep. A local inside is
 * one of each time round. */
static bool is_passed_over(const kir_func *f, kir_ref n, unsigned depth)
{
	return roll_is_followed(f, n) && (!depth || f->node[n].op != KIR_OP_local);
}

/* -- what may differ ----------------------------------------------------------------------- */

bool roll_fail(roll *r, unsigned copy)
{
	r->bad = copy ? copy : 1;
	return false;
}

/* Numbers that go up by one step. */
static bool steps(roll *r, const int64_t *x, int64_t *step)
{
	*step = x[1] - x[0];
	for (unsigned g = 2; g < r->r->copies; g++)
		if (x[g] - x[g - 1] != *step)
			return roll_fail(r, g);
	return true;
}

/* Whether x is what it is before the run begins. */
bool roll_is_outside(const roll *r, kir_ref x)
{
	const kir_func *f = r->in;

	if (x < r->r->start[0] || f->node[x].op == KIR_OP_local)
		return true;
	if (!roll_is_followed(f, x))
		return false;
	for (unsigned i = 0; i < f->node[x].nsrc; i++)
		if (!roll_is_outside(r, kir_src(f, x, i)))
			return false;
	return true;
}

/* One value, or one that each copy makes at the same place. */
static bool same(roll *r, const kir_ref *x, kir_ref *out)
{
	const kir_func *f = r->in;
	bool literal = f->node[x[0]].op == KIR_OP_const;

	for (unsigned g = 1; g < r->r->copies; g++) {
		const kir_node *a = &f->node[x[0]], *b = &f->node[x[g]];

		if (literal ? b->op != KIR_OP_const || a->type != b->type || a->i != b->i
		            : x[g] != x[0] && r->partner[x[g]] != x[0])
			return roll_fail(r, g);
	}
	if (x[1] == x[0] && !literal && !roll_is_outside(r, x[0]))
		return roll_fail(r, 1);
	if (!r->out)
		return true;
	if (literal && !r->map[x[0]]) {
		*out = kir_copy(r->out, f, x[0], r->map);
		r->map[x[0]] = 0; /* it is in the body, where others don't see it */
	} else {
		*out = r->partner[x[0]] ? r->body[x[0]] : r->map[x[0]];
	}
	return true;
}

/* Values of s64 as one that all have and a literal that goes up by `step` from lit. */
static bool same_index(roll *r, const kir_ref *x, kir_ref *out, int64_t *lit, int64_t *step)
{
	kir_ref base[ROLL_COPIES] = { 0 };
	int64_t k[ROLL_COPIES] = { 0 };

	for (unsigned g = 0; g < r->r->copies; g++) {
		base[g] = apart(r->in, x[g], &k[g]);
		if (!base[g] != !base[0])
			return roll_fail(r, g);
	}
	*out = 0;
	*lit = k[0];
	return (!base[0] || same(r, base, out)) && steps(r, k, step);
}

static kir_ref plus(kir_func *f, kir_ref x, kir_ref y)
{
	return x && y ? e2(f, KIR_OP_add, kir_scalar(f->module, KIR_s64), x, y) : x ? x : y;
}

static kir_ref literal(kir_func *f, int64_t x)
{
	return x ? s64c(f, x) : 0;
}

static kir_ref index_of(roll *r, kir_ref base, int64_t lit, int64_t step)
{
	kir_func *f = r->out;
	kir_ref up = 0;

	if (!f)
		return 0;
	if (step)
		up = e2(f, KIR_OP_mul, kir_scalar(f->module, KIR_s64), r->counter,
		        s64c(f, step));
	base = plus(f, plus(f, base, up), literal(f, lit));
	return base ? base : s64c(f, 0);
}

static bool value(roll *r, const kir_ref *x, kir_ref *out)
{
	const kir_type *t = kir_type_of(r->in, x[0]);
	int64_t lit, step;

	if (t->elem != KIR_s64 || t->rank)
		return same(r, x, out);
	if (!same_index(r, x, out, &lit, &step))
		return false;
	*out = index_of(r, *out, lit, step);
	return true;
}

/* -- locals -------------------------------------------------------------------------------- */

/* Whether each copy has its own of them, which nobody else knows. */
static bool are_own(const roll *r, const kir_ref *l)
{
	for (unsigned g = 0; g < r->r->copies; g++)
		if (r->region[l[g]] != r->region[r->r->start[0]] ||
		    r->first[l[g]] < r->r->start[g] || r->last[l[g]] >= r->r->start[g + 1])
			return false;
	return true;
}

/* Copies take l[0], l[1] ... in turn: they are to lie side by side. */
static bool link(roll *r, const kir_ref *l)
{
	const kir_func *f = r->in;

	for (unsigned g = 0; g + 1 < r->r->copies; g++) {
		kir_ref a = l[g], b = l[g + 1];

		if (r->after[a] == b)
			continue;
		if (r->out || a > b || r->after[a] || r->before[b] || r->partner[a] ||
		    r->partner[b] || r->region[a] != r->region[b] ||
		    kir_type_of(f, a)->rank != 1 || local_bytes(f, a) % 64)
			return roll_fail(r, g + 1);
		r->after[a] = b;
		r->before[b] = a;
		r->linked[r->nlinked++] = a;
	}
	return true;
}

/* Where local l begins in the one that holds its neighbours too, and how long that is. */
int64_t roll_offset_of(const roll *r, kir_ref l, int64_t *bytes)
{
	int64_t one = local_bytes(r->in, l), at = 0;

	for (kir_ref k = r->before[l]; k; k = r->before[k])
		at += one;
	*bytes = at + one;
	for (kir_ref k = r->after[l]; k; k = r->after[k])
		*bytes += one;
	return at;
}

/* A buffer of each copy: bytes `from` of a local or a parameter on, `step` further a copy. */
typedef struct place {
	kir_ref root; /* of out                                       */
	kir_type_id type;
	int64_t from, step, bytes; /* bytes 0: not a local                         */
} place;

static kir_ref root_of(const kir_func *f, kir_ref b, int64_t *offset)
{
	for (*offset = 0; f->node[b].op == KIR_OP_view; b = kir_src(f, b, 0))
		*offset += kir_attr_of(f, b, KIR_ATTR_offset);
	return b;
}

static bool place_of(roll *r, const kir_ref *x, place *p)
{
	const kir_func *f = r->in;
	kir_ref l[ROLL_COPIES];
	int64_t at[ROLL_COPIES] = { 0 };
	bool one = true, local = true;

	for (unsigned g = 0; g < r->r->copies; g++) {
		l[g] = root_of(f, x[g], &at[g]);
		one &= l[g] == l[0];
		local &= f->node[l[g]].op == KIR_OP_local;
		if (f->node[x[g]].type != f->node[x[0]].type ||
		    f->node[l[g]].type != f->node[l[0]].type)
			return roll_fail(r, g);
	}
	*p = (place){ .type = f->node[x[0]].type };
	if (!steps(r, at, &p->step))
		return false;
	p->from = at[0];
	if (!one && !local)
		return roll_fail(r, 1);
	if (local)
		p->bytes = local_bytes(f, l[0]);
	if (!one && !r->partner[l[0]] && are_own(r, l)) {
		for (unsigned g = 0; g < r->r->copies; g++) {
			r->partner[l[g]] = l[0];
			r->taken[r->ntaken++] = l[g];
		}
		r->own[r->nown++] = l[0];
	}
	if (one || r->partner[l[0]])
		return same(r, l, &p->root);
	if (!link(r, l))
		return false;
	p->step += p->bytes;
	p->from += roll_offset_of(r, l[0], &p->bytes);
	if (r->out)
		p->root = kir_root(r->out, r->map[l[0]]);
	return true;
}

static kir_ref view(roll *r, const place *p, kir_type_id t)
{
	if (!r->out || (!p->from && r->out->node[p->root].type == t))
		return p->root;
	return kir_emit(r->out, KIR_OP_view, t, &p->root, 1,
	                (int64_t[KIR_MAX_ATTRS]){ p->from });
}

/* Memory that copies read or write `step` bytes apart, with the copy's number as an index of
 * its own: addresses are computed where indices are (backends/llvm/address.c). */
static kir_ref rows(roll *r, const place *p, int64_t step)
{
	kir_type t = *kir_type_at(r->in->module, p->type);
	int64_t size = kir_elem_bytes((kir_elem)t.elem);

	t.rank = 2;
	t.dim[0] = r->r->copies;
	t.dim[1] = (p->bytes - p->from - (t.dim[0] - 1) * step) / size;
	t.npieces = 2;
	memset(t.piece, 0, sizeof t.piece);
	t.piece[0] = (kir_piece){ .axis = 0, .div = 1, .stride = step };
	t.piece[1] = (kir_piece){ .axis = 1, .div = 1, .stride = size };
	return view(r, p, kir_type_intern(r->in->module, &t));
}

/* -- one copy for all ---------------------------------------------------------------------- */

static void operand(const roll *r, const kir_ref *n, unsigned i, kir_ref *x)
{
	for (unsigned g = 0; g < r->r->copies; g++)
		x[g] = kir_src(r->in, n[g], i);
}

/* Operands of the nodes n, of which number `at` is a buffer; those of an access may become one
 * more. */
static bool memory(roll *r, const kir_ref *n, unsigned at, kir_ref *src, unsigned *nsrc)
{
	const kir_func *f = r->in;
	kir_ref x[ROLL_COPIES], buf, upto, base;
	unsigned first, count;
	int64_t lit, step;
	place p;

	operand(r, n, at, x);
	if (!place_of(r, x, &p))
		return false;
	kir_access(f, n[0], &buf, &first, &count, &upto);
	const kir_type *t = kir_type_at(f->module, p.type);
	int64_t size = kir_elem_bytes((kir_elem)t->elem);

	if (count == 1 && t->rank == 1 && t->npieces == 1 && t->piece[0].stride == size &&
	    !upto && p.bytes) {
		operand(r, n, first, x);
		if (!same_index(r, x, &base, &lit, &step))
			return false;
		step = p.step + step * size;
		if (step < 0 || p.from + (int64_t)(r->r->copies - 1) * step >= p.bytes)
			return roll_fail(r, 1);
		src[at] = step ? rows(r, &p, step) : view(r, &p, p.type);
		if (step)
			src[++at] = r->counter;
		src[++at] = index_of(r, base, lit, 0);
		*nsrc = at + 1;
		return true;
	}
	if (p.step)
		return roll_fail(r, 1);
	src[at] = view(r, &p, p.type);
	*nsrc = at + 1;
	return true;
}

static bool agree(roll *r, const kir_ref *n)
{
	const kir_node *a = &r->in->node[n[0]];
	kir_ref src[KIR_MAX_SRC + 1], x[ROLL_COPIES];
	unsigned to = 0;

	for (unsigned g = 1; g < r->r->copies; g++) {
		const kir_node *b = &r->in->node[n[g]];

		if (a->op != b->op || a->type != b->type || a->nsrc != b->nsrc ||
		    memcmp(a->attr, b->attr, sizeof a->attr) != 0)
			return roll_fail(r, g);
	}
	for (unsigned i = 0; i < a->nsrc; i++) {
		bool buffer = kir_type_of(r->in, kir_src(r->in, n[0], i))->buffer;
		unsigned from = to;

		operand(r, n, i, x);
		if (buffer ? !memory(r, n, i, src, &to) : !value(r, x, &src[to++]))
			return false;
		if (buffer && to > from + 1)
			i++; /* the index is there already */
	}
	for (unsigned g = 0; g < r->r->copies; g++)
		r->partner[n[g]] = n[0];
	if (!r->out)
		return true;
	kir_ref c = kir_emit(r->out, (kir_op)a->op, a->type, src, to, NULL);
	kir_node copy = *a;

	copy.src = r->out->node[c].src;
	copy.nsrc = (uint8_t)to;
	copy.name = NULL;
	r->out->node[c] = copy;
	r->body[n[0]] = c;
	return true;
}

/* All copies of the run side by side, node by node. */
bool roll_walk(roll *r)
{
	const kir_func *f = r->in;
	kir_ref n[ROLL_COPIES];
	unsigned depth = 0;

	memcpy(n, r->r->start, r->r->copies * sizeof *n);
	for (;;) {
		for (unsigned g = 0; g < r->r->copies; g++)
			while (n[g] < r->r->start[g + 1] && is_passed_over(f, n[g], depth))
				n[g]++;
		for (unsigned g = 1; g < r->r->copies; g++)
			if ((n[g] < r->r->start[g + 1]) != (n[0] < r->r->start[1]))
				return roll_fail(r, g);
		if (n[0] >= r->r->start[1])
			return true;
		if (!agree(r, n))
			return false;
		depth += kir_regions(f, n[0]);
		depth -= f->node[n[0]].op == KIR_OP_yield;
		for (unsigned g = 0; g < r->r->copies; g++)
			n[g]++;
	}
}
