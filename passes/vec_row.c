/* SPDX-License-Identifier: Apache-2.0 */
/* vec_row.c -- locals that a loop fills row by row.
 *
 *     %x = load %k[%p,%h,%t,0] upto %n : e4m3fn<1x512>      if %t < %n {
 *     %y = convert %x : bf16<1x512>                   =>      for %c = 0 to 512 step 64 {
 *     store %y, %rows[0,0,%i,0]                                 vload, convert, vstore }
 *                                                           } else { zeros }
 *
 * A row that is only loaded to be stored in a local has no home of its own between; what widens
 * it on the way does so in registers.
 */
#include "vectorize.h"

enum { AT_ONCE = 4 }; /* vectors an iteration takes: nothing waits but for the loop itself */

static const kir_type *buffer_of(const kir_func *f, kir_ref access, kir_ref *upto)
{
	kir_ref buf;
	unsigned first, count;

	kir_access(f, access, &buf, &first, &count, upto);
	return kir_type_of(f, buf);
}

/* -- rows into a local ------------------------------------------------ */

kir_ref vec_copies_row(const vec *v, kir_ref store)
{
	const kir_func *f = v->in;
	kir_ref x = kir_src(f, store, 0), upto;
	const kir_type *t = kir_type_of(f, x), *to = buffer_of(f, store, &upto), *from;

	if (f->target->lanes || t->rank != 2 || t->dim[0] != 1 || upto || t->elem == KIR_i1 ||
	    f->node[kir_src(f, store, 1)].op != KIR_OP_local || vec_run(to) < t->dim[1])
		return 0;
	for (; f->node[x].op == KIR_OP_convert && v->nuse[x] == 1; x = kir_src(f, x, 0))
		;
	if (f->node[x].op != KIR_OP_load || v->nuse[x] != 1)
		return 0;
	from = buffer_of(f, x, &upto);
	return kir_type_of(f, x)->elem != KIR_i1 && vec_run(from) >= t->dim[1] ? x : 0;
}

/* What a row's copy is made of. */
typedef struct row_copy {
	kir_ref store, load;
	vec_ix to[KIR_RANK], from[KIR_RANK];
} row_copy;

/* Memory of load or store n from its index `at` on, `c` further along the row. */
static kir_ref access(vec *v, kir_op op, kir_type_id t, kir_ref x, kir_ref n, const vec_ix *at,
                      vec_ix c)
{
	kir_ref src[KIR_RANK + 2], buf, upto;
	unsigned first, count, k = 0;

	kir_access(v->in, n, &buf, &first, &count, &upto);
	unsigned rank = kir_type_of(v->in, buf)->rank;

	if (x)
		src[k++] = x;
	src[k++] = v->map[buf];
	for (unsigned i = 0; i < rank; i++)
		src[k++] = vec_ref(v, i + 1 == rank ? vec_add(v, at[i], c) : at[i]);
	return kir_emit(v->f, op, t, src, k, NULL);
}

/* `lanes` elements of n, which is the row's load or a conversion of it, from column c. */
static kir_ref row_lanes(vec *v, const row_copy *r, kir_ref n, vec_ix c, int64_t lanes)
{
	kir_type_id t = kir_vector(v->f->module, (kir_elem)kir_type_of(v->in, n)->elem, lanes);

	if (n == r->load)
		return access(v, KIR_OP_vload, t, 0, n, r->from, c);
	kir_ref x = row_lanes(v, r, kir_src(v->in, n, 0), c, lanes);

	return kir_emit(v->f, KIR_OP_convert, t, &x, 1, v->in->node[n].attr);
}

static void put_lanes(vec *v, const row_copy *r, vec_ix c, int64_t lanes, bool zero)
{
	kir_ref x = kir_src(v->in, r->store, 0);
	kir_elem e = (kir_elem)kir_type_of(v->in, x)->elem;

	if (zero)
		x = e1(v->f, KIR_OP_splat, kir_vector(v->f->module, e, lanes),
		       kir_is_int(e) ? kir_const_i(v->f, e, 0) : kir_const_f(v->f, e, 0));
	else
		x = row_lanes(v, r, x, c, lanes);
	access(v, KIR_OP_vstore, KIR_NO_TYPE, x, r->store, r->to, c);
}

static void put_row(vec *v, const row_copy *r, bool zero)
{
	const kir_type *a = kir_type_of(v->in, r->load),
	               *b = kir_type_of(v->in, kir_src(v->in, r->store, 0));
	int64_t size = kir_elem_bytes((kir_elem)a->elem), cols = a->dim[1];
	bool table =
	    v->in->target->features & KIR_HAS_vbmi; /* 64 bytes are looked up at once */

	if (!table && kir_elem_bytes((kir_elem)b->elem) > size)
		size = kir_elem_bytes((kir_elem)b->elem);
	for (int64_t c = 0; c < cols;) {
		int64_t lanes = vec_chunk(cols - c, 64 / size), n = (cols - c) / lanes;
		int64_t some = vec_chunk(n, AT_ONCE), whole = n / some * some;
		vec_loop l = vec_loop_begin(v, whole * lanes, some * lanes);

		for (int64_t i = 0; i < some; i++)
			put_lanes(v, r, vec_add(v, l.i, ix(c + i * lanes)), lanes, zero);
		vec_loop_end(v, &l);
		c += whole * lanes;
	}
}

bool vec_store_row(vec *v, kir_ref store)
{
	row_copy r = { .store = store };
	kir_ref upto, cond = 0;

	if (!v->direct[kir_src(v->in, store, 0)])
		return false;
	r.load = vec_copies_row(v, store);
	if (!r.load)
		return false;
	unsigned rank = buffer_of(v->in, r.load, &upto)->rank;

	vec_indices(v, r.load, r.from);
	vec_indices(v, store, r.to);
	if (upto)
		cond = kir_if(v->f, e2(v->f, KIR_OP_lt, kir_scalar(v->f->module, KIR_i1),
		                       vec_ref(v, r.from[rank - 2]),
		                       as_elem(v->f, v->map[upto], KIR_s64)));
	put_row(v, &r, false);
	if (!upto)
		return true;
	kir_else(v->f, NULL, 0);
	put_row(v, &r, true);
	kir_if_end(v->f, cond, NULL, 0);
	return true;
}
