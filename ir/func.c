/* SPDX-License-Identifier: Apache-2.0 */
/* func.c -- functions and the builder: nodes are appended, never changed or removed.
 *
 * Pointers into f->node and f->srcs are good until the next node is appended.
 */
#include "internal.h"

#include <assert.h>
#include <string.h>

static kir_func *bare(kir_module *m, const char *name, kir_level level)
{
	kir_func *f = kir_alloc(m, sizeof *f);
	f->module = m;
	f->name = name;
	f->level = level;
	f->target = &kir_targets[0];
	f->sched = kir_sched_default();
	f->node = kir_grow(m, NULL, 0, &f->node_cap, sizeof *f->node);
	f->nnode = 1;
	return f;
}

kir_func *kir_func_new(kir_module *m, const char *name, kir_level level)
{
	kir_func *f = bare(m, kir_strdup(m, name, strlen(name)), level);
	m->func = kir_grow(m, m->func, m->nfunc, &m->func_cap, sizeof(kir_func *));
	m->func[m->nfunc++] = f;
	return f;
}

kir_func *kir_func_like(const kir_func *f, kir_level level)
{
	kir_func *g = bare(f->module, f->name, level);
	g->target = f->target;
	g->sched = f->sched;
	memcpy(g->chosen, f->chosen, sizeof g->chosen);
	for (unsigned i = 0; i < f->nparam; i++) {
		const kir_param *p = &f->param[i];
		kir_ref n = kir_add_param(g, p->name, p->type, p->dir);
		assert(n == p->node);
		g->node[n].line = f->node[p->node].line;
	}
	return g;
}

/* -- nodes -- */

static kir_ref append(kir_func *f, kir_op op, kir_type_id type)
{
	f->node = kir_grow(f->module, f->node, f->nnode, &f->node_cap, sizeof *f->node);
	f->node[f->nnode] = (kir_node){ .op = (uint8_t)op, .type = type };
	return f->nnode++;
}

static void put_src(kir_func *f, kir_ref src)
{
	f->srcs = kir_grow(f->module, f->srcs, f->nsrcs, &f->srcs_cap, sizeof *f->srcs);
	f->srcs[f->nsrcs++] = src;
}

kir_ref kir_add_param(kir_func *f, const char *name, kir_type_id type, kir_dir dir)
{
	kir_ref n = append(f, KIR_OP_param, type);
	const kir_type *t = &f->module->type[type];
	unsigned cap = f->nparam;
	/* The capacity isn't kept: an array of 2^k elements is full, others have room. */
	if (f->nparam == 0 || (f->nparam >= 16 && (f->nparam & (f->nparam - 1)) == 0))
		f->param = kir_grow(f->module, f->param, f->nparam, &cap, sizeof *f->param);
	name = kir_strdup(f->module, name, strlen(name));
	f->node[n].name = name;
	f->node[n].attr[0] = f->nparam;
	f->param[f->nparam++] = (kir_param){
		.name = name,
		.type = type,
		.dir = t->buffer ? dir : KIR_IN,
		.nstride = kir_type_nstride(t),
		.node = n,
	};
	return n;
}

kir_ref kir_emit(kir_func *f, kir_op op, kir_type_id type, const kir_ref *src, unsigned nsrc,
                 const int64_t *attr)
{
	assert(op > KIR_NONE && op < KIR_NOP && nsrc <= 255);
	kir_ref n = append(f, op, type);
	f->node[n].nsrc = (uint8_t)nsrc;
	f->node[n].src = f->nsrcs;
	for (unsigned i = 0; i < nsrc; i++) {
		assert(src[i] < n);
		put_src(f, src[i]);
	}
	kir_attr row[KIR_MAX_ATTRS];
	unsigned nattr = kir_row_attrs(op, row);
	for (unsigned i = 0; i < nattr; i++)
		f->node[n].attr[i] = attr ? attr[i] : kir_attrs[row[i]].dflt;
	if (op == KIR_OP_for) {
		f->node[n].attr[0] = attr ? attr[0] : 1;
		f->node[n].attr[1] = attr ? attr[1] : 0;
	}
	return n;
}

kir_ref kir_const_f(kir_func *f, kir_elem e, double x)
{
	kir_ref n = append(f, KIR_OP_const, kir_scalar(f->module, e));
	f->node[n].f = kir_round_to(e, x);
	return n;
}

kir_ref kir_const_i(kir_func *f, kir_elem e, int64_t x)
{
	kir_ref n = append(f, KIR_OP_const, kir_scalar(f->module, e));
	f->node[n].i = x;
	return n;
}

/* -- regions -- */

static kir_ref indexed(kir_func *f, kir_op op, kir_type_id type, kir_ref of, int64_t index)
{
	return kir_emit(f, op, type, &of, of ? 1 : 0, &index);
}

kir_ref kir_for(kir_func *f, kir_ref lo, kir_ref hi, int64_t step, bool par,
                const kir_ref *init, unsigned ncarry)
{
	kir_ref src[KIR_MAX_SRC] = { lo, hi };
	assert(ncarry + 2 <= KIR_MAX_SRC);
	for (unsigned i = 0; i < ncarry; i++)
		src[2 + i] = init[i];
	kir_ref loop =
	    kir_emit(f, KIR_OP_for, KIR_NO_TYPE, src, ncarry + 2, (int64_t[]){ step, par });
	indexed(f, KIR_OP_arg, kir_scalar(f->module, KIR_s64), 0, 0);
	for (unsigned i = 0; i < ncarry; i++)
		indexed(f, KIR_OP_arg, f->node[init[i]].type, 0, i + 1);
	return loop;
}

kir_ref kir_for_end(kir_func *f, kir_ref loop, const kir_ref *yield, unsigned n)
{
	assert(f->node[loop].op == KIR_OP_for && f->node[loop].nsrc == n + 2);
	kir_emit(f, KIR_OP_yield, KIR_NO_TYPE, yield, n, NULL);
	kir_ref first = f->nnode;
	for (unsigned i = 0; i < n; i++)
		indexed(f, KIR_OP_res, f->node[loop + 2 + i].type, loop, i);
	return n ? first : 0;
}

kir_ref kir_if(kir_func *f, kir_ref cond)
{
	return kir_emit(f, KIR_OP_if, KIR_NO_TYPE, &cond, 1, NULL);
}

void kir_else(kir_func *f, const kir_ref *yield, unsigned n)
{
	kir_emit(f, KIR_OP_yield, KIR_NO_TYPE, yield, n, NULL);
}

kir_ref kir_if_end(kir_func *f, kir_ref cond_op, const kir_ref *yield, unsigned n)
{
	assert(f->node[cond_op].op == KIR_OP_if);
	kir_emit(f, KIR_OP_yield, KIR_NO_TYPE, yield, n, NULL);
	kir_ref first = f->nnode;
	for (unsigned i = 0; i < n; i++)
		indexed(f, KIR_OP_res, f->node[yield[i]].type, cond_op, i);
	return n ? first : 0;
}

void kir_ret(kir_func *f)
{
	kir_emit(f, KIR_OP_ret, KIR_NO_TYPE, NULL, 0, NULL);
}
