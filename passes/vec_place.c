/* SPDX-License-Identifier: Apache-2.0 */
/* vec_place.c -- tiles that are part of a local: they are read, and computed, where they lie.
 *
 *     %c = local : f32[64,16]                  %c = local : f32[64,16]
 *     %a = load %c[%i,0] : f32<4x16>      =>   for rows { vload %c ; fma ; vstore %c }
 *     %b = fma %p, %s, %a : f32<4x16>
 *     store %b, %c[%i,0]
 *
 * What a loop, or several in a row, carries from a load on to a store at the same place has its
 * home there, also if between them an if computes it in place. The store is in the load's
 * region: one that is done only now and then leaves the local as it was.
 *
 * Requires a local whose rows lie one after the other, and columns that are known: products
 * read whole words of 4 bytes. A tile that is read is as it was until its last reader has it;
 * one that is computed in place has no reader but the store, and what its op reads of that
 * local is the same place. All others are copied.
 */
#include "vectorize.h"

#include "analysis.h"

/* Whether the local that n reads is as it was until all who read n have; where n or a part of
 * it is handed out of its region, nobody knows. */
static bool stays(const vec *v, kir_ref n)
{
	const kir_func *f = v->in;
	kir_ref root = kir_root(f, kir_src(f, n, 0)), end = v->read[n];

	for (kir_ref k = n + 1; k < f->nnode; k++) {
		kir_op op = (kir_op)f->node[k].op;
		kir_ref after = op == KIR_OP_for ? kir_region_end(f, k) : 0;
		bool writes;

		if (op == KIR_OP_yield)
			for (unsigned i = 0; i < f->node[k].nsrc; i++)
				if (vec_value_of(f, kir_src(f, k, i)) == n)
					return false;
		if (k < end && after > end)
			end = after;
		if (k <= end && touched(f, k, &writes) == root && writes)
			return false;
	}
	return true;
}

bool vec_names_local(const vec *v, kir_ref n, const kir_type *t)
{
	kir_ref buf, upto;
	unsigned first, count;
	int64_t k;

	kir_access(v->in, n, &buf, &first, &count, &upto);
	const kir_type *b = kir_type_of(v->in, buf);
	unsigned last = first + b->rank - 1u;

	return !v->in->target->lanes && v->in->node[buf].op == KIR_OP_local && !upto &&
	       t->rank == 2 && t->elem != KIR_i1 &&
	       kir_buffer(v->f->module, (kir_elem)b->elem, b->rank, b->dim) ==
	           v->in->node[buf].type &&
	       (count < b->rank || kir_is_const(v->in, kir_src(v->in, n, last), &k));
}

/* The local's memory that load or store n names, for a tile of type t. */
static bool place_in_local(vec *v, kir_ref n, const kir_type *t, vec_tile *out)
{
	vec_ix at[KIR_RANK], off = ix(0);
	int64_t count = 1;
	kir_ref buf;

	if (!vec_names_local(v, n, t))
		return false;
	buf = kir_src(v->in, n, v->in->node[n].op == KIR_OP_store);
	const kir_type *b = kir_type_of(v->in, buf);

	vec_indices(v, n, at);
	for (unsigned i = 0; i < b->rank; i++) {
		count *= b->dim[i];
		off = vec_add(v, vec_mul(v, off, b->dim[i]), at[i]);
	}
	kir_type_id flat = kir_buffer(v->f->module, (kir_elem)b->elem, 1, &count);

	*out = (vec_tile){ e1(v->f, KIR_OP_view, flat, v->map[buf]),
		           off,
		           t->dim[0],
		           t->dim[1],
		           (kir_elem)t->elem,
		           b->dim[b->rank - 1] };
	return true;
}

/* Whether a load reads just what the store writes. */
static bool at_same_place(const kir_func *f, kir_ref load, kir_ref store)
{
	kir_ref buf[2], upto[2], a, b;
	unsigned first[2], count[2];
	int64_t x, y;

	kir_access(f, load, &buf[0], &first[0], &count[0], &upto[0]);
	kir_access(f, store, &buf[1], &first[1], &count[1], &upto[1]);
	if (buf[0] != buf[1] || count[0] != count[1] || upto[0] || upto[1] ||
	    f->node[load].type != f->node[kir_src(f, store, 0)].type)
		return false;
	for (unsigned i = 0; i < count[0]; i++) {
		a = kir_src(f, load, first[0] + i);
		b = kir_src(f, store, first[1] + i);
		if (a != b && !(kir_is_const(f, a, &x) && kir_is_const(f, b, &y) && x == y))
			return false;
	}
	return true;
}

/* Whether what n reads of the store's local is its old value at the same place, and nobody
 * reads of that local after n what was loaded before it. */
static bool reads_in_place(const vec *v, kir_ref n, kir_ref store)
{
	const kir_func *f = v->in;
	kir_ref root = kir_root(f, kir_src(f, store, 1));

	for (kir_ref k = 1; k < n; k++) {
		bool operand = false;

		if (f->node[k].op != KIR_OP_load || !kir_type_of(f, k)->rank ||
		    kir_root(f, kir_src(f, k, 0)) != root || v->read[k] < n)
			continue;
		for (unsigned i = 0; i < f->node[n].nsrc; i++) {
			if (kir_src(f, n, i) != k)
				continue;
			if (f->node[n].op == KIR_OP_dot && i != 2)
				return false; /* factors are read more than once */
			operand = true;
		}
		if (!operand || v->read[k] > n || !at_same_place(f, k, store))
			return false;
	}
	return true;
}

/* The store into a local that may have n computed in place: its only reader, with nothing
 * between them that reads or writes that local, or is done another number of times. */
static kir_ref store_of(const vec *v, kir_ref n)
{
	const kir_func *f = v->in;
	kir_ref s = v->last[n], buf, upto;
	unsigned first, count;
	int64_t x;

	if (v->nuse[n] != 1 || !s || f->node[s].op != KIR_OP_store || kir_src(f, s, 0) != n ||
	    v->again[n] || v->deferred[n] || v->want[n].buf ||
	    !(kir_ops[f->node[n].op].flags & KIR_EACH || f->node[n].op == KIR_OP_splat ||
	      f->node[n].op == KIR_OP_dot))
		return 0;
	kir_access(f, s, &buf, &first, &count, &upto);
	if (buf > n)
		return 0; /* not there yet */
	for (kir_ref k = n + 1; k < s; k++) {
		bool writes;

		if (kir_regions(f, k) || kir_ops[f->node[k].op].flags & KIR_ENDS ||
		    touched(f, k, &writes) == kir_root(f, buf))
			return 0;
	}
	for (unsigned i = 0; i < count; i++)
		if (kir_src(f, s, first + i) > n &&
		    !kir_is_const(f, kir_src(f, s, first + i), &x))
			return 0;
	return reads_in_place(v, n, s) ? s : 0;
}

static kir_ref second_yield(const kir_func *f, kir_ref cond)
{
	return kir_region_yield(f, kir_region_yield(f, cond + 1) + 1);
}

/* How often x is read where value n is x computed in place, element by element or as what a
 * product adds to; 0: n isn't. */
static unsigned reads_along(const vec *v, kir_ref n, kir_ref x)
{
	const kir_func *f = v->in;
	const kir_node *d = &f->node[n];
	unsigned sum = 0;

	if (n == x)
		return 1;
	if (n < x || v->nuse[n] != 1)
		return 0;
	if (d->op == KIR_OP_res) {
		kir_ref cond = x + 1, y1, y2 = n - 1;
		unsigned one, two;

		while (f->node[y2].op == KIR_OP_res)
			y2--;
		while (cond < y2 &&
		       !(f->node[cond].op == KIR_OP_if && second_yield(f, cond) == y2))
			cond++;
		if (cond == y2)
			return 0; /* of a loop */
		y1 = kir_region_yield(f, cond + 1);
		one = reads_along(v, kir_src(f, y1, n - y2 - 1), x);
		two = reads_along(v, kir_src(f, y2, n - y2 - 1), x);
		return one && two ? one + two : 0;
	}
	if (d->op == KIR_OP_dot)
		return d->nsrc == 3 ? reads_along(v, kir_src(f, n, 2), x) : 0;
	if (!(kir_ops[d->op].flags & KIR_EACH))
		return 0;
	for (unsigned i = 0; i < d->nsrc; i++)
		if (f->node[kir_src(f, n, i)].type == d->type)
			sum += reads_along(v, kir_src(f, n, i), x);
	return sum;
}

/* The result of the if around all that reads x, which is x computed in place in both of its
 * halves; 0: there is none. */
static kir_ref through_if(const vec *v, kir_ref x)
{
	const kir_func *f = v->in;
	kir_ref end = kir_region_yield(f, x), n = x + 1, y2;

	while (n < end && f->node[n].op != KIR_OP_if)
		n = f->node[n].op == KIR_OP_for ? kir_region_end(f, n) : n + 1;
	if (n >= end)
		return 0;
	y2 = second_yield(f, n);
	for (unsigned i = 0; i < f->node[y2].nsrc; i++)
		if (kir_type_of(f, y2 + 1 + i) == kir_type_of(f, x) &&
		    reads_along(v, y2 + 1 + i, x) == v->nuse[x])
			return y2 + 1 + i;
	return 0;
}

/* What result x of a loop is handed to, alone: a store of it, an if that computes it in place,
 * or the next loop, whose result it then is; 0: anything else. */
static kir_ref handed_to(const vec *v, kir_ref x)
{
	const kir_func *f = v->in;
	kir_ref user = v->nuse[x] == 1 ? v->last[x] : 0;

	if (!user)
		return through_if(v, x);
	if (f->node[user].op == KIR_OP_store)
		return kir_src(f, user, 0) == x ? user : 0;
	if (f->node[user].op != KIR_OP_for)
		return 0;
	unsigned count = f->node[user].nsrc - 2;

	for (unsigned i = 0; i < count; i++)
		if (kir_src(f, user, 2 + i) == x)
			return kir_region_yield(f, user + 2 + count) + 1 + i;
	return 0;
}

void vec_keep_state(vec *v, kir_ref load, kir_ref res)
{
	const kir_func *f = v->in;
	kir_ref x = res, root, store, before = 0;

	if (f->node[load].op != KIR_OP_load || v->nuse[load] != 1 ||
	    !vec_names_local(v, load, kir_type_of(f, load)) || v->deferred[load] ||
	    v->direct[load] || !stays(v, load))
		return;
	while ((store = handed_to(v, x)) && f->node[store].op != KIR_OP_store)
		x = store;
	/* one of another region is done now and then, or several times */
	if (!store || kir_region_yield(f, load) != kir_region_yield(f, store) ||
	    !at_same_place(f, load, store))
		return;
	root = kir_root(f, kir_src(f, load, 0));
	for (kir_ref k = load + 1; k < store; k++) {
		bool writes;

		if (touched(f, k, &writes) == root)
			return;
	}
	for (x = res; x != store; x = handed_to(v, x)) {
		v->want[x] = v->val[load];
		v->stored[x] = handed_to(v, x) == store ? store : 0;
		/* an if's: nothing may be computed there while what it goes on from is read */
		v->guard[x] = x == res ? 0 : before;
		before = x;
	}
}

void vec_keep_through(vec *v, kir_ref x)
{
	kir_ref r = v->nuse[x] > 1 ? through_if(v, x) : 0;

	if (!r || v->want[r].buf)
		return;
	v->want[r] = v->val[x];
	v->guard[r] = x;
}

/* Pending groups that read the local. */
static bool is_read_later(const vec *v, kir_ref n, kir_ref root)
{
	const kir_func *f = v->in;

	for (kir_ref k = 1; k < n; k++)
		for (unsigned i = 0; v->in_group[k] && i < f->node[k].nsrc; i++) {
			kir_ref x = vec_value_of(f, kir_src(f, k, i));

			if (f->node[k].op == KIR_OP_gather)
				x = k;
			if ((f->node[x].op == KIR_OP_load || x == k) &&
			    kir_root(f, kir_src(f, x, 0)) == root)
				return true;
		}
	return false;
}

void vec_place_stored(vec *v, kir_ref n)
{
	kir_ref s = store_of(v, n);

	if (!s || !vec_names_local(v, s, kir_type_of(v->in, n)))
		return;
	if (is_read_later(v, n, kir_root(v->in, kir_src(v->in, s, 1))))
		vec_flush(v);
	v->stored[n] = place_in_local(v, s, kir_type_of(v->in, n), &v->want[n]) ? s : 0;
}

bool vec_is_placed(const vec *v, kir_ref store)
{
	kir_ref x = kir_src(v->in, store, 0);
	const vec_tile *a = &v->val[x], *b = &v->want[x];

	return v->nuse[x] == 1 && v->stored[x] == store && a->buf == b->buf &&
	       a->off.var == b->off.var && a->off.k == b->off.k;
}

bool vec_is_local(vec *v, kir_ref n)
{
	return vec_names_local(v, n, kir_type_of(v->in, n)) && stays(v, n) &&
	       place_in_local(v, n, kir_type_of(v->in, n), &v->val[n]);
}
