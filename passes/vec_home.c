/* SPDX-License-Identifier: Apache-2.0 */
/* vec_home.c -- indices and loops, and where each tile lives: locals, and their elements.
 */
#include "vectorize.h"

/* -- indices and loops ------------------------------------------------------------------- */

int64_t vec_starts(const kir_func *f, kir_ref index)
{
	kir_ref loop = index - 1; /* the counter is right behind it */
	int64_t lo, hi, step, rest;

	if (kir_is_const(f, index, &lo))
		return lo;
	if (f->node[index].op != KIR_OP_arg || f->node[loop].op != KIR_OP_for ||
	    !kir_is_const(f, kir_src(f, loop, 0), &lo))
		return 0;
	step = kir_for_step(f, loop);
	if (kir_is_const(f, kir_src(f, loop, 1), &hi) && kir_for_trips(lo, hi, step) <= 1)
		return lo;
	for (; step; step = rest) {
		rest = lo % step;
		lo = step;
	}
	return lo;
}

kir_ref vec_ref(vec *v, vec_ix a)
{
	kir_type_id s64 = kir_scalar(v->f->module, KIR_s64);

	if (!a.var)
		return s64c(v->f, a.k);
	return a.k ? e2(v->f, KIR_OP_add, s64, a.var, s64c(v->f, a.k)) : a.var;
}

vec_ix vec_mul(vec *v, vec_ix a, int64_t m)
{
	kir_type_id s64 = kir_scalar(v->f->module, KIR_s64);

	if (a.var && m != 1)
		a.var = e2(v->f, KIR_OP_mul, s64, a.var, s64c(v->f, m));
	return (vec_ix){ a.var, a.k * m };
}

vec_ix vec_add(vec *v, vec_ix a, vec_ix b)
{
	kir_type_id s64 = kir_scalar(v->f->module, KIR_s64);
	kir_ref var =
	    a.var && b.var ? e2(v->f, KIR_OP_add, s64, a.var, b.var) : (a.var ? a.var : b.var);

	return (vec_ix){ var, a.k + b.k };
}

vec_loop vec_loop_begin(vec *v, int64_t count, int64_t step)
{
	vec_loop l = { 0, { 0, 0 } };

	if (count > step) {
		l.node = kir_for(v->f, s64c(v->f, 0), s64c(v->f, count), step, false, NULL, 0);
		l.i.var = l.node + 1;
	}
	return l;
}

void vec_loop_end(vec *v, vec_loop *l)
{
	if (l->node)
		kir_for_end(v->f, l->node, NULL, 0);
}

int64_t vec_chunk(int64_t left, int64_t most)
{
	int64_t c = 1;

	while (c * 2 <= left && c * 2 <= most)
		c *= 2;
	return c;
}

/* -- tiles --------------------------------------------------------------------------------- */

void vec_shape(const kir_type *t, int64_t *rows, int64_t *cols)
{
	*cols = t->rank ? t->dim[t->rank - 1] : 1;
	*rows = 1;
	for (unsigned i = 0; i + 1 < t->rank; i++)
		*rows *= t->dim[i];
}

kir_elem vec_stored(kir_elem e)
{
	return e == KIR_i1 ? KIR_s8 : e;
}

vec_tile vec_local(vec *v, kir_elem e, int64_t rows, int64_t cols)
{
	int64_t dim = rows * cols;
	kir_type_id t = kir_buffer(v->f->module, vec_stored(e), 1, &dim);
	vec_tile l = {
		kir_emit(v->f, KIR_OP_local, t, NULL, 0, NULL), ix(0), rows, cols, e, cols
	};

	v->local_bytes += (dim * kir_elem_bytes(vec_stored(e)) + 63) / 64 * 64;
	v->local_most = v->local_bytes > v->local_most ? v->local_bytes : v->local_most;
	return l;
}

/* What a slice or reshape names the memory of. */
kir_ref vec_value_of(const kir_func *f, kir_ref n)
{
	while (f->node[n].op == KIR_OP_slice || f->node[n].op == KIR_OP_reshape)
		n = kir_src(f, n, 0);
	return n;
}

/* A wanted home is given up when an op that is emitted later still reads the value in it. */
static bool home_is_free(const vec *v, kir_ref n)
{
	kir_ref guard = v->guard[n];

	for (unsigned g = (unsigned)v->in_group[n]; guard && g && g < v->ngroup; g++)
		for (unsigned i = 0; i < v->group[g].n; i++)
			for (unsigned k = 0; k < v->in->node[v->group[g].node[i]].nsrc; k++)
				if (vec_value_of(
				        v->in, kir_src(v->in, v->group[g].node[i], k)) == guard)
					return false;
	return true;
}

vec_tile vec_home(vec *v, kir_ref n)
{
	const kir_type *t = kir_type_of(v->in, n);
	int64_t rows, cols;

	vec_shape(t, &rows, &cols);
	if (v->want[n].buf && home_is_free(v, n))
		return v->want[n];
	return vec_local(v, (kir_elem)t->elem, rows, cols);
}

static vec_ix flat(vec *v, const vec_tile *t, vec_ix r, vec_ix c)
{
	return vec_add(v, t->off, vec_add(v, vec_mul(v, r, t->stride), c));
}

/* Truth values lie in memory as 0 and 1 of s8. */
static kir_ref from_memory(vec *v, const vec_tile *t, kir_ref x)
{
	kir_type_id i1 = kir_with_elem(v->f->module, v->f->node[x].type, KIR_i1);

	return t->elem == KIR_i1 ? e2(v->f, KIR_OP_ne, i1, x, kir_const_i(v->f, KIR_s8, 0)) : x;
}

static kir_ref to_memory(vec *v, const vec_tile *t, kir_ref x)
{
	kir_type_id s8 = kir_with_elem(v->f->module, v->f->node[x].type, KIR_s8);

	return t->elem == KIR_i1 ? e3(v->f, KIR_OP_select, s8, x, kir_const_i(v->f, KIR_s8, 1),
	                              kir_const_i(v->f, KIR_s8, 0))
	                         : x;
}

kir_ref vec_read(vec *v, const vec_tile *t, vec_ix r, vec_ix c, int64_t lanes)
{
	kir_type_id vt = kir_vector(v->f->module, vec_stored(t->elem), lanes);
	kir_ref at = vec_ref(v, flat(v, t, r, c));

	return from_memory(v, t, e2(v->f, KIR_OP_vload, vt, t->buf, at));
}

void vec_write(vec *v, const vec_tile *t, vec_ix r, vec_ix c, kir_ref x)
{
	kir_ref at = vec_ref(v, flat(v, t, r, c));

	e3(v->f, KIR_OP_vstore, KIR_NO_TYPE, to_memory(v, t, x), t->buf, at);
}

kir_ref vec_read1(vec *v, const vec_tile *t, vec_ix r, vec_ix c)
{
	kir_type_id st = kir_scalar(v->f->module, vec_stored(t->elem));
	kir_ref at = vec_ref(v, flat(v, t, r, c));

	return from_memory(v, t, e2(v->f, KIR_OP_load, st, t->buf, at));
}

void vec_write1(vec *v, const vec_tile *t, vec_ix r, vec_ix c, kir_ref x)
{
	kir_ref at = vec_ref(v, flat(v, t, r, c));

	e3(v->f, KIR_OP_store, KIR_NO_TYPE, to_memory(v, t, x), t->buf, at);
}

vec_tile vec_part(const vec_tile *t, int64_t r, int64_t rows, int64_t c, int64_t cols)
{
	vec_tile p = *t;

	p.off.k += r * t->stride + c;
	p.rows = rows;
	p.cols = cols;
	return p;
}

/* As few rows as the memory allows: one, where both tiles lie in one piece. */
void vec_copy(vec *v, const vec_tile *to, const vec_tile *from)
{
	bool whole_rows = to->stride == to->cols && from->stride == from->cols;
	int64_t rows = whole_rows ? 1 : to->rows, n = to->rows * to->cols / rows;
	int64_t size = kir_elem_bytes(vec_stored(to->elem));
	int64_t lanes = vec_chunk(n, v->lanes * 4 / size), whole = n / lanes * lanes;
	vec_tile a = { to->buf, to->off, rows, n, vec_stored(to->elem), to->stride };
	vec_tile b = { from->buf, from->off, rows, n, vec_stored(from->elem), from->stride };

	if (to->buf == from->buf && to->off.var == from->off.var && to->off.k == from->off.k)
		return;
	vec_loop lr = vec_loop_begin(v, rows, 1);
	vec_loop l = vec_loop_begin(v, whole, lanes);
	vec_write(v, &a, lr.i, l.i, vec_read(v, &b, lr.i, l.i, lanes));
	vec_loop_end(v, &l);
	for (int64_t c = whole; c < n;) {
		int64_t k = vec_chunk(n - c, lanes);

		vec_write(v, &a, lr.i, ix(c), vec_read(v, &b, lr.i, ix(c), k));
		c += k;
	}
	vec_loop_end(v, &lr);
}

const vec_tile *vec_value(vec *v, kir_ref n)
{
	if (v->in_group[n])
		vec_flush(v);
	return &v->val[n];
}
