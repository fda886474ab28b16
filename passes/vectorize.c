/* SPDX-License-Identifier: Apache-2.0 */
/* vectorize.c -- tiles become vectors of the target's width, local memory and loops.
 *
 *     %s = dot %q, %k {trans=1}             blocks of rows x vectors, accumulators carried
 *     %t = mul %s, %x ; %m = reduce.max %t  one loop over rows and vectors
 *     %k = load %cache[...] : s8<64x128>    read by the product as it lies, or packed
 *
 * Every tile lives in a local, row-major; what passes from op to op at one place stays in a
 * register (vec_group.c). Locals are small against L1, and their traffic against that of the
 * cache tiles: a 4 x 64 tile of scores is 1 KiB beside 16 KiB of keys and values. Values
 * carried around a loop own one local each, updated in place where nobody reads the old
 * value later (mark_want), or where a local has them before and after (vec_place.c).
 *
 * Requires level T. Reads the target's vector width, knobs rows, cols, unroll. Rejects
 * functions whose locals exceed 256 KiB at any place (1 MiB with chunks, or with tile
 * registers, one query and the smallest tiles of keys), or all the local memory of a GPU,
 * naming the knobs that size them.
 */
#include "vectorize.h"

#include "analysis.h"

#include <string.h>

#define BLOCK_MAX KIR_LOCAL_BYTES /* with the states of a block and its chunk */

/* -- values that outlive their region ------------------------------------------------------ */

/* Whether n reads the old value elsewhere than at the place it computes. */
static bool reads_part(const kir_func *f, kir_ref n, kir_ref guard)
{
	for (unsigned i = 0; guard && i < f->node[n].nsrc; i++)
		if (kir_src(f, n, i) != guard && vec_value_of(f, kir_src(f, n, i)) == guard)
			return true;
	return false;
}

/* Whether k, behind n, is never done after it: it stands in the other half of an if. */
static bool is_instead(const vec *v, kir_ref n, kir_ref k)
{
	const kir_func *f = v->in;

	for (kir_ref c = v->parent[n]; c; c = v->parent[c]) {
		kir_ref y1 = kir_region_yield(f, c + 1);

		if (is_op(f, c, KIR_OP_if) && n < y1 && k > y1 && k < kir_region_end(f, c))
			return true;
	}
	return false;
}

/* Whether a yield hands on the value of guard, or a part of it, after n. */
static bool is_handed_on(const vec *v, kir_ref guard, kir_ref n)
{
	const kir_func *f = v->in;

	for (kir_ref k = n + 1; guard && k <= v->handed[guard]; k++)
		for (unsigned i = 0; f->node[k].op == KIR_OP_yield && i < f->node[k].nsrc; i++)
			if (vec_value_of(f, kir_src(f, k, i)) == guard && !is_instead(v, n, k))
				return true;
	return false;
}

static void mark_want(vec *v, kir_ref n, vec_tile home, kir_ref guard, kir_ref region);

static void want_parts(vec *v, kir_ref n, vec_tile home, kir_ref guard, kir_ref region)
{
	bool down =
	    kir_type_of(v->in, n)->rank == 2 && kir_attr_of(v->in, n, KIR_ATTR_axis) <= 0;
	int64_t at = 0, rows, cols;

	for (unsigned i = 0; i < 2; i++) {
		kir_ref s = kir_src(v->in, n, i);

		vec_shape(kir_type_of(v->in, s), &rows, &cols);
		mark_want(v, s,
		          down ? vec_part(&home, at, rows, 0, cols)
		               : vec_part(&home, 0, rows, at, cols),
		          guard, region);
		at += down ? rows : cols;
	}
}

/* The loop that n is a result of, 0: of none. */
static kir_ref loop_of(const kir_func *f, kir_ref n)
{
	kir_ref of = is_op(f, n, KIR_OP_res) ? kir_src(f, n, 0) : 0;

	return is_op(f, of, KIR_OP_for) ? of : 0;
}

/* Whether the value of guard is read while n is computed, or after. A product reads its factors
 * several times; of a loop all that it reads, but what its own result begins with. */
static bool is_needed(const vec *v, kir_ref guard, kir_ref n)
{
	const kir_func *f = v->in;
	kir_ref loop = loop_of(f, n), from = loop ? loop : n;

	if (!guard)
		return false;
	if (f->node[n].op == KIR_OP_dot)
		for (unsigned i = 0; i < 2; i++)
			if (vec_value_of(f, kir_src(f, n, i)) == guard)
				return true;
	for (unsigned i = 2; loop && i < f->node[loop].nsrc; i++)
		if (vec_value_of(f, kir_src(f, loop, i)) == guard &&
		    i != 2 + kir_attr_of(f, n, KIR_ATTR_index))
			return true;
	return v->read[guard] > from || is_handed_on(v, guard, from);
}

/* Asks that node n, and what it is computed from in place, be put into `home`, whose old
 * value is that of node guard. Refused where the old value is read after n. */
static void mark_want(vec *v, kir_ref n, vec_tile home, kir_ref guard, kir_ref region)
{
	const kir_node *d = &v->in->node[n];
	bool each = kir_ops[d->op].flags & KIR_EACH || d->op == KIR_OP_splat;

	if (n <= region || v->nuse[n] != 1 || is_needed(v, guard, n) ||
	    reads_part(v->in, n, guard))
		return;
	if (!each && d->op != KIR_OP_dot && d->op != KIR_OP_res && d->op != KIR_OP_concat)
		return;
	v->want[n] = home;
	v->guard[n] = guard;
	if (d->op == KIR_OP_concat) {
		want_parts(v, n, home, guard, region);
		return;
	}
	for (unsigned i = d->nsrc; d->op != KIR_OP_res && i-- > 0;) {
		kir_ref s = kir_src(v->in, n, i);

		if (d->op == KIR_OP_dot && i != 2)
			continue;
		if (v->in->node[s].type == d->type && v->nuse[s] == 1) {
			mark_want(v, s, home, guard, region);
			return;
		}
	}
}

static bool is_tile(const vec *v, kir_ref n)
{
	const kir_type *t = kir_type_of(v->in, n);

	return t->rank && !t->buffer;
}

/* Puts the tiles of a yield into their homes, all at once: a home may hold the value that
 * another one is to get. Appends the scalars to `scalar`, returns how many. */
static unsigned yield_values(vec *v, kir_ref yield, const vec_tile *home, kir_ref *scalar)
{
	unsigned n = v->in->node[yield].nsrc, ns = 0;
	vec_tile from[KIR_MAX_SRC];

	for (unsigned i = 0; i < n; i++) {
		kir_ref s = kir_src(v->in, yield, i);

		if (v->in_group[s])
			vec_flush(v);
		if (is_tile(v, s))
			from[i] = v->val[s];
		else
			scalar[ns++] = v->map[s];
	}
	vec_flush(v);
	for (unsigned i = 0; i < n; i++) {
		if (!is_tile(v, kir_src(v->in, yield, i)))
			continue;
		for (unsigned k = 0; k < i; k++)
			if (is_tile(v, kir_src(v->in, yield, k)) &&
			    from[i].buf == home[k].buf && from[k].buf != home[k].buf) {
				vec_tile t =
				    vec_local(v, from[i].elem, from[i].rows, from[i].cols);

				vec_copy(v, &t, &from[i]);
				from[i] = t;
			}
	}
	for (unsigned i = 0; i < n; i++)
		if (is_tile(v, kir_src(v->in, yield, i)))
			vec_copy(v, &home[i], &from[i]);
	return ns;
}

static kir_ref lower_seq(vec *v, kir_ref n);

/* Whether loop n may go on where its first value x lies: the result of a loop or an if before
 * it, which nobody else reads. */
static bool goes_on(const vec *v, kir_ref n, kir_ref x)
{
	return v->in->node[x].op == KIR_OP_res && v->nuse[x] == 1 && v->val[x].buf &&
	       kir_region_yield(v->in, x) == kir_region_yield(v->in, n);
}

/* Where the tiles that loop n carries live, whose results stand behind `yield`: where a result
 * is wanted, where what it begins with lies if nobody else needs that, or in a local of its
 * own. */
static void carried_homes(vec *v, kir_ref n, kir_ref yield, vec_tile *home)
{
	const kir_func *in = v->in;
	int64_t rows, cols;

	for (unsigned i = 0; i + 2 < in->node[n].nsrc; i++) {
		kir_ref s = kir_src(in, n, 2 + i), res = yield + 1 + i;

		if (!is_tile(v, s))
			continue;
		vec_keep_state(v, s, res);
		vec_shape(kir_type_of(in, s), &rows, &cols);
		if (v->want[res].buf)
			home[i] = v->want[res];
		else if (goes_on(v, n, s))
			home[i] = v->val[s];
		else
			home[i] = vec_local(v, (kir_elem)kir_type_of(in, s)->elem, rows, cols);
		if (v->in_group[s] && v->nuse[s] == 1)
			v->want[s] = home[i];
	}
}

static kir_ref lower_for(vec *v, kir_ref n)
{
	const kir_func *in = v->in;
	unsigned count = in->node[n].nsrc - 2, ns = 0;
	kir_ref yield = kir_region_yield(in, n + 2 + count), init[KIR_MAX_SRC],
	        out[KIR_MAX_SRC];
	vec_tile home[KIR_MAX_SRC];

	carried_homes(v, n, yield, home);
	vec_flush(v);
	for (unsigned i = 0; i < count; i++) {
		kir_ref s = kir_src(in, n, 2 + i);

		if (is_tile(v, s))
			vec_copy(v, &home[i], &v->val[s]);
		else
			init[ns++] = v->map[s];
	}
	if (!kir_for_par(in, n))
		vec_pack_before(v, n);
	kir_ref loop = kir_for(v->f, v->map[kir_src(in, n, 0)], v->map[kir_src(in, n, 1)],
	                       kir_for_step(in, n), kir_for_par(in, n), init, ns);

	int64_t outside = v->local_bytes;

	v->map[n + 1] = loop + 1;
	ns = 0;
	for (unsigned i = 0; i < count; i++) {
		kir_ref arg = n + 2 + i, s = kir_src(in, yield, i);

		if (!is_tile(v, arg)) {
			v->map[arg] = loop + 2 + ns++;
			continue;
		}
		v->val[arg] = v->val[yield + 1 + i] = home[i];
		mark_want(v, s, home[i], arg, n);
	}
	lower_seq(v, n + 2 + count);
	ns = yield_values(v, yield, home, out);
	kir_ref res = kir_for_end(v->f, loop, out, ns);

	v->local_bytes = outside;
	for (unsigned i = 0, k = 0; i < count; i++)
		if (!is_tile(v, yield + 1 + i))
			v->map[yield + 1 + i] = res + k++;
		else
			vec_keep_through(v, yield + 1 + i);
	return kir_region_end(in, n);
}

static kir_ref lower_if(vec *v, kir_ref n)
{
	const kir_func *in = v->in;
	kir_ref y1 = kir_region_yield(in, n + 1), y2 = kir_region_yield(in, y1 + 1),
	        out[KIR_MAX_SRC];
	unsigned count = in->node[y1].nsrc, ns;
	vec_tile home[KIR_MAX_SRC];

	vec_flush(v);
	for (unsigned i = 0; i < count; i++) {
		kir_ref res = y2 + 1 + i;
		int64_t r, c;

		if (!is_tile(v, res))
			continue;
		vec_shape(kir_type_of(in, res), &r, &c);
		home[i] = v->want[res].buf
		              ? v->want[res]
		              : vec_local(v, (kir_elem)kir_type_of(in, res)->elem, r, c);
		v->val[res] = home[i];
		mark_want(v, kir_src(in, y1, i), home[i], v->guard[res], n);
		mark_want(v, kir_src(in, y2, i), home[i], v->guard[res], y1);
	}
	kir_ref cond = kir_if(v->f, v->map[kir_src(in, n, 0)]);
	int64_t outside = v->local_bytes;

	lower_seq(v, n + 1);
	ns = yield_values(v, y1, home, out);
	kir_else(v->f, out, ns);
	v->local_bytes = outside;
	lower_seq(v, y1 + 1);
	ns = yield_values(v, y2, home, out);
	v->local_bytes = outside;
	kir_ref first = kir_if_end(v->f, cond, out, ns);

	for (unsigned i = 0, k = 0; i < count; i++)
		if (!is_tile(v, y2 + 1 + i))
			v->map[y2 + 1 + i] = first + k++;
	return kir_region_end(in, n);
}

/* -- ops ----------------------------------------------------------------------------------- */

/* Two tiles side by side or stacked: whatever is still to be computed is put in place. */
static void lower_concat(vec *v, kir_ref n)
{
	if (v->guard[n]) /* what still reads its home's old value comes first */
		vec_flush(v);
	vec_tile t = vec_home(v, n);
	bool down =
	    kir_type_of(v->in, n)->rank == 2 && kir_attr_of(v->in, n, KIR_ATTR_axis) <= 0;
	int64_t at = 0;

	for (unsigned i = 0; i < 2; i++) {
		kir_ref s = kir_src(v->in, n, i);
		vec_tile part;
		int64_t rows, cols;

		vec_shape(kir_type_of(v->in, s), &rows, &cols);
		part = down ? vec_part(&t, at, rows, 0, cols) : vec_part(&t, 0, rows, at, cols);
		at += down ? rows : cols;
		if (v->in_group[s] && v->nuse[s] == 1) {
			v->want[s] = part;
			continue;
		}
		vec_copy(v, &part, vec_value(v, s));
	}
	vec_flush(v);
	v->val[n] = t;
}

/* Rows or columns of a tile: the same memory. */
static void lower_slice(vec *v, kir_ref n)
{
	const kir_type *t = kir_type_of(v->in, n);
	int64_t start = kir_attr_of(v->in, n, KIR_ATTR_start), rows, cols;
	int64_t axis = kir_attr_of(v->in, n, KIR_ATTR_axis);
	const vec_tile *from = vec_value(v, kir_src(v->in, n, 0));

	vec_shape(t, &rows, &cols);
	if (t->rank > 2 && axis > 0) {
		kir_error(v->why, (int)v->in->node[n].line, 0, "slice along axis %d of rank %d",
		          (int)axis, t->rank);
		return;
	}
	v->val[n] = t->rank > 1 && axis <= 0
	                ? vec_part(from, start * (rows / t->dim[0]), rows, 0, cols)
	                : vec_part(from, 0, rows, start, cols);
}

/* The same elements in other rows, which must follow each other for that. */
static void lower_reshape(vec *v, kir_ref n)
{
	vec_tile t = *vec_value(v, kir_src(v->in, n, 0));

	if (t.stride != t.cols) {
		vec_tile whole = vec_local(v, t.elem, t.rows, t.cols);

		vec_copy(v, &whole, &t);
		t = whole;
	}
	vec_shape(kir_type_of(v->in, n), &t.rows, &t.cols);
	t.stride = t.cols;
	v->val[n] = t;
}

static void lower_nibbles(vec *v, kir_ref n)
{
	int64_t run = kir_attr_of(v->in, n, KIR_ATTR_run);
	vec_tile from = *vec_value(v, kir_src(v->in, n, 0)), to = vec_home(v, n);

	if (v->in->node[n].op == KIR_OP_pack)
		vec_pack_codes(v, &from, &to, run);
	else
		vec_unpack(v, &from, &to, run, kir_attr_of(v->in, n, KIR_ATTR_half));
	v->val[n] = to;
}

static void lower_scalar(vec *v, kir_ref n)
{
	for (unsigned i = 0; i < v->in->node[n].nsrc; i++)
		if (v->in_group[kir_src(v->in, n, i)])
			vec_flush(v);
	kir_copy(v->f, v->in, n, v->map);
}

/* Groups that read memory themselves do so before it is written. */
static void flush_readers(vec *v, kir_ref store)
{
	kir_ref root = kir_root(v->in, kir_src(v->in, store, 1));

	for (kir_ref n = 1; n < store; n++) {
		kir_op op = (kir_op)v->in->node[n].op;
		kir_ref user = v->direct[n] ? v->last[n] : n;

		if ((op == KIR_OP_gather || (op == KIR_OP_load && v->direct[n])) &&
		    kir_root(v->in, kir_src(v->in, n, 0)) == root &&
		    (v->in_group[user] || v->in_group[v->last[user]])) {
			vec_flush(v);
			return;
		}
	}
}

/* Locals that are there already count as well. */
static void count_local(vec *v, kir_ref n)
{
	v->local_bytes += (local_bytes(v->in, n) + 63) / 64 * 64;
}

static void lower_op(vec *v, kir_ref n)
{
	if (v->deferred[n] || v->direct[n])
		return;
	if (v->sum[n]) {
		vec_sum(v, n);
		return;
	}
	vec_place_stored(v, n);
	switch (v->in->node[n].op) {
	case KIR_OP_local:
		count_local(v, n);
		lower_scalar(v, n);
		return;
	case KIR_OP_store:
		flush_readers(v, n);
		vec_store(v, n);
		return;
	case KIR_OP_dot: vec_dot(v, n); return;
	case KIR_OP_hadamard: vec_hadamard(v, n); return;
	case KIR_OP_unpack:
	case KIR_OP_pack: lower_nibbles(v, n); return;
	case KIR_OP_concat: lower_concat(v, n); return;
	case KIR_OP_slice: lower_slice(v, n); return;
	case KIR_OP_reshape: lower_reshape(v, n); return;
	default: break;
	}
	if (v->in->node[n].op == KIR_OP_load && is_tile(v, n))
		vec_load(v, n);
	else if (vec_reduces_rows(v, n))
		vec_reduce_rows(v, n);
	else if (vec_group_takes(v, n))
		vec_group_add(v, n);
	else if (!is_tile(v, n) && !vec_is_reduce(v->in, n))
		lower_scalar(v, n);
	else /* also a reduction of a whole tile to one value: fragment knows it, vectors don't
	      */
		kir_error(v->why, (int)v->in->node[n].line, 0,
		          "op '%s' has no vector form for this shape",
		          kir_ops[v->in->node[n].op].name);
}

/* Lowers up to the yield or ret that closes the region, or the first op that can't be, of which
 * v->why says why; returns that yield or ret. */
static kir_ref lower_seq(vec *v, kir_ref n)
{
	for (; !(kir_ops[v->in->node[n].op].flags & KIR_ENDS);) {
		kir_op op = (kir_op)v->in->node[n].op;

		if (v->why->n)
			return kir_region_yield(v->in, n);
		if (op == KIR_OP_for) {
			n = lower_for(v, n);
		} else if (op == KIR_OP_if) {
			n = lower_if(v, n);
		} else {
			if (op != KIR_OP_param && op != KIR_OP_res)
				lower_op(v, n);
			n++;
		}
	}
	return n;
}

/* -- the pass ------------------------------------------------------------------------------ */

static void count_uses(vec *v)
{
	for (kir_ref n = 1; n < v->in->nnode; n++)
		for (unsigned i = 0; i < v->in->node[n].nsrc; i++) {
			kir_ref s = kir_src(v->in, n, i);

			v->nuse[s]++;
			if (v->in->node[n].op != KIR_OP_yield)
				v->last[s] = n;
			else
				v->handed[vec_value_of(v->in, s)] = n;
		}
	memcpy(v->read, v->last, v->in->nnode * sizeof *v->read);
	for (kir_ref n = v->in->nnode; n-- > 1;) {
		kir_ref s = vec_value_of(v->in, n);

		if (s != n && v->read[n] > v->read[s])
			v->read[s] = v->read[n];
	}
}

void vec_read_later(vec *v, kir_ref x, kir_ref end)
{
	if (!x)
		return;
	if (v->last[x] < end)
		v->last[x] = end;
	x = vec_value_of(v->in, x);
	if (v->read[x] < end)
		v->read[x] = end;
}

/* Whether what n reads is written before `user` reads it instead, which may be in a loop that
 * n isn't in. */
bool vec_changes(const kir_func *f, kir_ref n, kir_ref user)
{
	kir_ref root = kir_root(f, kir_src(f, n, 0)), end = user;

	for (kir_ref k = n + 1; k < end; k++) {
		kir_ref after = f->node[k].op == KIR_OP_for ? kir_region_end(f, k) : 0;
		bool writes;

		if (k < user && after > end)
			end = after;
		if (touched(f, k, &writes) == root && writes)
			return true;
	}
	return false;
}

/* Readers of memory take words of 4 bytes apart, so elements may only grow on the way. */
static bool narrows(const kir_func *in, kir_ref n)
{
	return in->node[n].op == KIR_OP_convert &&
	       kir_elem_bytes((kir_elem)kir_type_of(in, kir_src(in, n, 0))->elem) >
	           kir_elem_bytes((kir_elem)kir_type_of(in, n)->elem);
}

/* Whether load s of a local that is in the order of words is read by nothing but products, as
 * their right factor, none of which sees it changed. */
static bool only_factor(const vec *v, kir_ref s)
{
	const kir_func *in = v->in;
	unsigned found = 0;

	if (in->node[s].op != KIR_OP_load || kir_type_of(in, s)->rank != 2 ||
	    in->node[kir_src(in, s, 0)].op != KIR_OP_local ||
	    vec_run(kir_type_of(in, kir_src(in, s, 0))) *
	            kir_elem_bytes((kir_elem)kir_type_of(in, s)->elem) !=
	        4)
		return false;
	for (kir_ref n = s + 1; n <= v->last[s]; n++)
		found += in->node[n].op == KIR_OP_dot && kir_src(in, n, 1) == s;
	return found == v->nuse[s] && !vec_changes(in, s, v->last[s]);
}

/* A cache tile whose only reader is a product's right factor, or a store of it in product
 * order, through conversions, isn't loaded: the reader reads memory. */
static void defer_factors(vec *v)
{
	const kir_func *in = v->in;

	for (kir_ref n = 1; n < in->nnode; n++) {
		bool copy = in->node[n].op == KIR_OP_store && vec_widens(v, n);
		kir_ref chain[VEC_CHAIN_MAX + 1], s = kir_src(in, n, copy ? 0 : 1);
		unsigned k = 0;
		int64_t x;

		if (in->node[n].op != KIR_OP_dot && !copy)
			continue;
		if (!copy && v->nuse[s] > 1 && only_factor(v, s))
			v->deferred[s] = true;
		while (k <= VEC_CHAIN_MAX && v->nuse[s] == 1) {
			kir_op op = (kir_op)in->node[s].op;

			chain[k++] = s;
			if (op == KIR_OP_load) {
				while (k > 0 && !vec_changes(in, s, n))
					v->deferred[chain[--k]] = true;
				break;
			}
			if (narrows(in, s) ||
			    (op != KIR_OP_convert && op != KIR_OP_bitcast &&
			     op != KIR_OP_fixed && op != KIR_OP_unpack &&
			     !(op == KIR_OP_xor && kir_is_const(in, kir_src(in, s, 1), &x))))
				break;
			s = kir_src(in, s, 0);
		}
	}
}

/* A product's start that is one number a row: it reads the number. */
static void defer_starts(vec *v)
{
	const kir_func *in = v->in;

	for (kir_ref n = 1; n < in->nnode; n++) {
		kir_ref s = in->node[n].op == KIR_OP_dot ? kir_src(in, n, 2) : 0;

		if (s && v->nuse[s] == 1 && !v->tiling[n] && in->node[s].op == KIR_OP_spread &&
		    kir_attr_of(in, s, KIR_ATTR_axis) == 0)
			v->deferred[s] = true;
	}
}

/* A row that is only loaded to be stored in a local isn't brought home. */
static void find_rows(vec *v)
{
	for (kir_ref n = 1; n < v->in->nnode; n++) {
		kir_ref load = v->in->node[n].op == KIR_OP_store ? vec_copies_row(v, n) : 0;

		if (!load || vec_changes(v->in, load, n))
			continue;
		for (kir_ref x = kir_src(v->in, n, 0);; x = kir_src(v->in, x, 0)) {
			v->direct[x] = load;
			if (x == load)
				break;
		}
	}
}

/* A tile whose only reader is an elementwise op isn't brought home either: the op reads memory,
 * also through a reshape that keeps the rows. */
static void find_direct(vec *v)
{
	const kir_func *in = v->in;

	for (kir_ref n = 1; n < in->nnode; n++) {
		const kir_type *t = kir_type_of(in, n);
		kir_ref last = n, user = v->last[n];

		if (in->node[n].op != KIR_OP_load || !t->rank || v->deferred[n] ||
		    v->direct[n] || v->nuse[n] != 1 || !user)
			continue;
		if (vec_turns(v, user) && vec_reads_direct(v, n) && !vec_changes(in, n, user))
			v->direct[n] = n;
		if (v->direct[n] || !vec_reads_direct(v, n))
			continue;
		if (in->node[user].op == KIR_OP_reshape && v->nuse[user] == 1 &&
		    kir_type_of(in, user)->dim[kir_type_of(in, user)->rank - 1] ==
		        t->dim[t->rank - 1]) {
			last = user;
			user = v->last[last];
		}
		const kir_type *ut = user ? kir_type_of(in, user) : NULL;
		int64_t r, c, ur, uc;

		if (user && vec_changes(in, n, user))
			continue;
		if (user && last == n && in->node[user].op == KIR_OP_store && t->rank == 2 &&
		    in->node[kir_src(in, n, 0)].op == KIR_OP_local) {
			v->direct[n] = n;
			continue;
		}
		if (!user || !(kir_ops[in->node[user].op].flags & KIR_EACH) ||
		    vec_names_local(v, n, t))
			continue;
		vec_shape(t, &r, &c);
		vec_shape(ut, &ur, &uc);
		if (r == ur && c == uc && kir_type_of(in, last)->rank == ut->rank)
			v->direct[n] = v->direct[last] = n;
	}
}

/* What locals take where those that never live at once share memory, as backends with LLVM have
 * it; on a CPU also without, as C has it, up to the end of their regions. */
static bool fits(const vec *v, kir_diag *why)
{
	const kir_sched *s = &v->in->sched;
	bool gpu = v->in->target->lanes != 0;
	/* 32 heads of one query are two tiles of rows, whatever keys of a latent cache take
	 * beside them */
	bool least = v->in->target->features & KIR_HAS_amx_tile && s->q_tile <= 1 &&
	             s->kv_tile && s->kv_tile <= 16;
	int64_t cpu = s->q_block > 1 || s->m_chunk || least ? BLOCK_MAX : KPASS_LOCALS, bytes;
	int64_t most = gpu ? (int64_t)v->in->target->slm_bytes : cpu;
	kir_slots slots;

	bytes = kir_find_slots(v->f, &slots) ? (int64_t)slots.total : INT64_MAX;
	kir_drop_slots(&slots);
	if (bytes < v->local_most && (!gpu || v->local_most > cpu))
		bytes = v->local_most;
	if (bytes <= most)
		return true;
	kpass_too_large(s, bytes, most, why);
	return false;
}

/* Tiles have homes, of which every thread has its own only in par loops. */
static bool has_homes(const kir_func *in, kir_diag *why)
{
	for (kir_ref n = 1; n < in->nnode; n++) {
		const kir_type *t = kir_type_of(in, n);

		if (in->node[n].op == KIR_OP_for)
			n = kir_region_end(in, n) - 1;
		else if (t->rank && !t->buffer) {
			kir_error(
			    why, (int)in->node[n].line, 0,
			    "op '%s' makes a tile outside of par loops, where there is no "
			    "memory for it",
			    kir_ops[in->node[n].op].name);
			return false;
		}
	}
	return true;
}

kpass_result kpass_vectorize(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_module *m = out->module;
	size_t n = in->nnode;
	vec v = { .in = in, .f = out, .why = why, .map = kir_map_new(out, in) };

	if (!has_homes(in, why))
		return KPASS_REJECT;
	v.val = kir_alloc(m, n * sizeof *v.val);
	v.nuse = kir_alloc(m, n * sizeof *v.nuse);
	v.parent = region_parents(in);
	v.last = kir_alloc(m, n * sizeof *v.last);
	v.read = kir_alloc(m, n * sizeof *v.read);
	v.handed = kir_alloc(m, n * sizeof *v.handed);
	v.deferred = kir_alloc(m, n * sizeof *v.deferred);
	v.again = kir_alloc(m, n * sizeof *v.again);
	v.direct = kir_alloc(m, n * sizeof *v.direct);
	v.want = kir_alloc(m, n * sizeof *v.want);
	v.guard = kir_alloc(m, n * sizeof *v.guard);
	v.stored = kir_alloc(m, n * sizeof *v.stored);
	v.in_group = kir_alloc(m, n * sizeof *v.in_group);
	v.group = kir_alloc(m, (VEC_GROUP_MAX + 1) * sizeof *v.group);
	v.lanes = in->target->vector_bits / 32;
	v.tiling = kir_alloc(m, n * sizeof *v.tiling);
	v.packed = kir_alloc(m, n * sizeof *v.packed);
	v.sum = kir_alloc(m, n * sizeof *v.sum);
	vec_tiles_plan(&v);
	count_uses(&v);
	defer_factors(&v);
	defer_starts(&v);
	vec_sums_plan(&v);
	vec_again_plan(&v);
	find_rows(&v);
	find_direct(&v);
	lower_seq(&v, 1);
	if (why->n)
		return KPASS_REJECT;
	kir_ret(out);
	return fits(&v, why) ? KPASS_CHANGED : KPASS_REJECT;
}
