/* SPDX-License-Identifier: Apache-2.0 */
/* setup.c -- what a run needs before its first node: slots, memory, where regions end. */
#include "interp.h"

#include <stdlib.h>
#include <string.h>

static bool is_value(const kir_type *t)
{
	return t->elem != KIR_VOID && !t->buffer;
}

/* Sizes of the shared scratch: the longest value, the values one yield hands over, and the
 * longest dimension of anything. */
typedef struct need {
	int64_t values, longest, staged, dim;
	size_t mems;
} need;

static need measure(const kir_func *f)
{
	need q = { .dim = 1, .longest = 1 };

	for (kir_ref n = 1; n < f->nnode; n++) {
		const kir_type *t = kir_type_of(f, n);
		int64_t staged = 0;

		for (unsigned d = 0; d < t->rank; d++)
			q.dim = t->dim[d] > q.dim ? t->dim[d] : q.dim;
		q.mems += t->buffer;
		if (is_value(t)) {
			int64_t count = kir_type_count(t);
			q.values += count;
			q.longest = count > q.longest ? count : q.longest;
		}
		if (f->node[n].op == KIR_OP_yield)
			for (unsigned k = 0; k < f->node[n].nsrc; k++)
				staged += kir_type_count(kir_type_of(f, kir_src(f, n, k)));
		q.staged = staged > q.staged ? staged : q.staged;
	}
	return q;
}

static bool allocate(kref_state *r, const need *q)
{
	size_t scratch = (size_t)(q->staged > q->longest ? q->staged : q->longest);

	r->slot = calloc(r->f->nnode + 1, sizeof *r->slot);
	r->mem = calloc(q->mems + 1, sizeof *r->mem);
	r->nmem = (unsigned)q->mems;
	r->values = calloc((size_t)q->values + 1, 8);
	r->table = calloc(KIR_NELEM, sizeof *r->table);
	for (unsigned k = 0; k < 3; k++)
		r->scratch[k] = calloc(scratch, 8);
	for (unsigned k = 0; k < KIR_RANK; k++)
		r->off[k] = calloc((size_t)q->dim, sizeof *r->off[k]);
	return r->slot && r->mem && r->values && r->table && r->scratch[0] && r->scratch[1] &&
	       r->scratch[2] && r->off[0] && r->off[1] && r->off[2] && r->off[3] && r->off[4];
}

void kref_release(kref_state *r)
{
	for (unsigned k = 0; r->mem && k < r->nmem; k++)
		free(r->mem[k].owned);
	for (unsigned k = 0; k < 3; k++)
		free(r->scratch[k]);
	for (unsigned k = 0; k < KIR_RANK; k++)
		free(r->off[k]);
	free(r->tiles);
	free(r->table);
	free(r->values);
	free(r->mem);
	free(r->slot);
}

/* Records for every region op which yields close its regions. */
static bool find_yields(kref_state *r)
{
	const kir_func *f = r->f;
	kir_ref *open = malloc((f->nnode + 1) * sizeof *open);
	unsigned depth = 0;

	if (!open)
		return kref_fail(r, 0, "out of memory");
	for (kir_ref n = 1; n < f->nnode; n++) {
		if (kir_regions(f, n))
			open[depth++] = n;
		if (f->node[n].op != KIR_OP_yield || !depth)
			continue;
		kref_slot *s = &r->slot[open[depth - 1]];
		bool two = kir_regions(f, open[depth - 1]) == 2;

		if (two && !s->yield[0])
			s->yield[0] = n;
		else {
			s->yield[two] = n;
			depth--;
		}
	}
	free(open);
	return depth == 0 || kref_fail(r, 0, "a region has no end");
}

/* Locals of one function are at most 1 MiB; they are kept for the whole run. */
static bool make_local(kref_state *r, kir_ref n, kref_mem *m)
{
	m->bytes = kref_extent(r, m);
	m->owned = calloc(2, (size_t)m->bytes);
	if (!m->owned)
		return kref_fail(r, n, "out of memory");
	m->base = m->owned;
	m->init = m->base + m->bytes;
	return true;
}

static void bind_param(kref_state *r, unsigned p)
{
	const kir_param *q = &r->f->param[p];
	kref_slot *s = &r->slot[q->node];

	if (s->mem) {
		s->mem->base = r->arg[p].base;
		s->mem->bytes = r->arg[p].bytes;
		s->mem->stride = r->arg[p].stride;
	} else if (s->flt) {
		s->f[0] = kref_to_float(s->elem, r->arg[p].f, KIR_ROUND_even, KIR_NAN_keep,
		                        KIR_OVER_sat);
	} else {
		s->i[0] = kref_wrap(s->elem, r->arg[p].i);
	}
}

static void fill_slot(kref_state *r, kir_ref n)
{
	const kir_node *x = &r->f->node[n];
	kref_slot *s = &r->slot[n];

	if (*kir_ops[x->op].attr)
		s->axis = (int)kir_attr_of(r->f, n, KIR_ATTR_axis);
	switch (x->op) {
	case KIR_OP_const:
		if (s->flt)
			s->f[0] = x->f;
		else
			s->i[0] = x->i;
		break;
	case KIR_OP_convert:
		s->round = (int)kir_attr_of(r->f, n, KIR_ATTR_round);
		s->nan = (int)kir_attr_of(r->f, n, KIR_ATTR_nan);
		s->over = (int)kir_attr_of(r->f, n, KIR_ATTR_over);
		s->sub = (int)kir_attr_of(r->f, n, KIR_ATTR_sub);
		break;
	case KIR_OP_load:
	case KIR_OP_store:
	case KIR_OP_vload:
	case KIR_OP_vstore:
	case KIR_OP_gather:
	case KIR_OP_xe_load2d:
	case KIR_OP_amx_load:
	case KIR_OP_amx_store:
		kir_access(r->f, n, &s->buf, &s->first, &s->nindex, &s->upto);
		break;
	default: break;
	}
}

bool kref_setup(kref_state *r)
{
	const kir_func *f = r->f;
	need q = measure(f);
	kref_mem *mem;
	char *at;

	if (!allocate(r, &q))
		return kref_fail(r, 0, "out of memory");
	if (f->nnode < 2 || f->node[f->nnode - 1].op != KIR_OP_ret)
		return kref_fail(r, 0, "the function doesn't end with ret");
	at = r->values;
	mem = r->mem;
	for (kir_ref n = 1; n < f->nnode; n++) {
		kref_slot *s = &r->slot[n];

		s->type = kir_type_of(f, n);
		s->elem = s->type->elem;
		s->flt = kir_is_float(s->elem);
		if (s->type->buffer) {
			s->mem = mem++;
			s->mem->type = s->type;
		} else if (is_value(s->type)) {
			s->count = kir_type_count(s->type);
			s->p = at;
			at += 8 * s->count;
		}
		fill_slot(r, n);
		if (f->node[n].op == KIR_OP_local && !make_local(r, n, s->mem))
			return false;
	}
	r->slot[0].type = kir_type_at(f->module, KIR_NO_TYPE);
	for (unsigned p = 0; p < f->nparam; p++)
		bind_param(r, p);
	return find_yields(r);
}
