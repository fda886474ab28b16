/* SPDX-License-Identifier: Apache-2.0 */
/* expand_region.c -- a score or mask region, written for one pair of query and key, as ops on
 * a tile of R query rows and N keys.
 *
 *     le %j, %i : i1     =>   %a = spread %kpos : s32<RxN> {axis=1}
 *                             %c = le %a, %qpos : i1<RxN> {axis=0}
 *
 * A value that depends on the query alone stays a vector of R, one that depends on the key
 * alone a vector of N: they cost a lane each instead of a tile. Integers become s32, which
 * holds every position kvjit_plan accepts. A load becomes a gather.
 */
#include "expand.h"

enum { BY_ROW = 1, BY_KEY = 2, BY_BOTH = 3 };

typedef struct region_value {
	kir_ref ref;
	int by; /* which of the two it varies with: 0, BY_ROW, BY_KEY, BY_BOTH */
} region_value;

typedef struct region_copy {
	const kir_func *in;
	kir_func *f;
	const kir_ref *map;
	const region_place *p;
	region_value *val; /* by node of in, minus first */
	kir_ref first;
} region_copy;

static kir_type_id type_by(const region_copy *c, kir_elem e, int by)
{
	kir_module *m = c->f->module;

	if (by == BY_BOTH)
		return kir_tile(m, e, c->p->rows, c->p->keys);
	if (by)
		return kir_vector(m, e, by == BY_ROW ? c->p->rows : c->p->keys);
	return kir_scalar(m, e);
}

static kir_elem small(kir_elem e)
{
	return e == KIR_s64 ? KIR_s32 : e;
}

static kir_ref widen(const region_copy *c, region_value v, int by)
{
	kir_elem e = (kir_elem)kir_type_of(c->f, v.ref)->elem;

	if (v.by == by)
		return v.ref;
	if (!v.by)
		return e1(c->f, KIR_OP_splat, type_by(c, e, by), v.ref);
	return e1x(c->f, KIR_OP_spread, type_by(c, e, by), v.ref, v.by == BY_ROW ? 0 : 1);
}

static region_value operand(const region_copy *c, kir_ref n, unsigned i)
{
	kir_ref s = kir_src(c->in, n, i);

	if (s >= c->first)
		return c->val[s - c->first];
	return (region_value){ c->map[s], 0 };
}

static region_value copy_load(const region_copy *c, kir_ref n, kir_elem e)
{
	kir_ref buf, upto, src[KIR_RANK + 1];
	unsigned first, count;
	region_value idx[KIR_RANK];
	int by = 0;

	kir_access(c->in, n, &buf, &first, &count, &upto);
	src[0] = c->map[buf];
	for (unsigned i = 0; i < count; i++) {
		idx[i] = operand(c, n, first + i);
		by |= idx[i].by;
	}
	for (unsigned i = 0; i < count; i++)
		src[1 + i] =
		    idx[i].by ? widen(c, idx[i], by) : as_elem(c->f, idx[i].ref, KIR_s64);
	return (region_value){ kir_emit(c->f, by ? KIR_OP_gather : KIR_OP_load,
		                        type_by(c, e, by), src, 1 + count, NULL),
		               by };
}

/* Elementwise: rows and keys meet in a tile; one of the two sides must be spread, because an
 * op has one axis. */
static region_value copy_each(const region_copy *c, kir_ref n, kir_elem e)
{
	const kir_node *d = &c->in->node[n];
	region_value v[3];
	kir_ref src[3];
	int64_t attr[KIR_MAX_ATTRS];
	int by = 0;
	bool rows = false;

	for (unsigned i = 0; i < d->nsrc; i++) {
		v[i] = operand(c, n, i);
		by |= v[i].by;
		rows |= v[i].by == BY_ROW;
	}
	for (int i = 0; i < KIR_MAX_ATTRS; i++)
		attr[i] = d->attr[i];
	if (d->op != KIR_OP_convert && d->nsrc > 1)
		attr[0] = -1;
	for (unsigned i = 0; i < d->nsrc; i++) {
		src[i] = v[i].ref;
		if (by != BY_BOTH || v[i].by == BY_BOTH || !v[i].by)
			continue;
		if (v[i].by == BY_KEY && rows)
			src[i] = widen(c, v[i], BY_BOTH);
		else
			attr[0] = v[i].by == BY_ROW ? 0 : 1;
	}
	if (d->op == KIR_OP_convert && kir_type_of(c->f, src[0])->elem == e)
		return v[0];
	return (region_value){
		kir_emit(c->f, (kir_op)d->op, type_by(c, e, by), src, d->nsrc, attr), by
	};
}

static bool copy_node(region_copy *c, kir_ref n, kir_diag *why)
{
	const kir_node *d = &c->in->node[n];
	kir_elem e = small((kir_elem)kir_type_of(c->in, n)->elem);
	region_value *out = &c->val[n - c->first];

	if (d->op == KIR_OP_const) {
		out->ref =
		    kir_is_float(e) ? kir_const_f(c->f, e, d->f) : kir_const_i(c->f, e, d->i);
		out->by = 0;
		return true;
	}
	if (d->op == KIR_OP_load) {
		*out = copy_load(c, n, e);
		return true;
	}
	if (kir_ops[d->op].flags & KIR_EACH) {
		*out = copy_each(c, n, e);
		return true;
	}
	kir_error(why, (int)d->line, 0,
	          "'%s' may not stand in a score or mask region; it takes elementwise ops and "
	          "loads",
	          kir_ops[d->op].name);
	return false;
}

kir_ref expand_region(const kir_func *in, kir_ref first, kir_func *f, const kir_ref *map,
                      const region_place *p, kir_ref score, kir_diag *why)
{
	region_copy c = { in, f, map, p, NULL, first };
	kir_ref n = first, end = first;
	region_value arg[5] = { { score, BY_BOTH },
		                { 0, 0 },
		                { p->head, BY_ROW },
		                { p->qpos, BY_ROW },
		                { p->kpos, BY_KEY } };
	unsigned skip = score ? 0 : 1;

	while (in->node[end].op != KIR_OP_yield)
		end++;
	c.val = kir_alloc(f->module, (end - first + 1) * sizeof *c.val);
	arg[1].ref = as_elem(f, p->seq, KIR_s32);
	for (unsigned i = skip; i < 5; i++, n++)
		c.val[n - first] = arg[i];
	for (; n < end; n++)
		if (!copy_node(&c, n, why))
			return 0;
	return widen(&c, operand(&c, end, 0), BY_BOTH);
}
