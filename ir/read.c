/* SPDX-License-Identifier: Apache-2.0 */
/* read.c -- asking what stands in a function, and copying it. */
#include "internal.h"
#include "format.h"

#include <assert.h>
#include <string.h>

int64_t kir_attr_of(const kir_func *f, kir_ref n, kir_attr a)
{
	kir_attr row[KIR_MAX_ATTRS];
	unsigned nattr = kir_row_attrs((kir_op)f->node[n].op, row);
	for (unsigned i = 0; i < nattr; i++)
		if (row[i] == a)
			return f->node[n].attr[i];
	return kir_attrs[a].dflt;
}

int64_t kir_for_step(const kir_func *f, kir_ref loop)
{
	return f->node[loop].attr[0];
}

bool kir_for_par(const kir_func *f, kir_ref loop)
{
	return f->node[loop].attr[1] != 0;
}

uint64_t kir_for_trips(int64_t lo, int64_t hi, int64_t step)
{
	return lo < hi ? ((uint64_t)hi - (uint64_t)lo - 1) / (uint64_t)step + 1 : 0;
}

int64_t kir_floor_div(int64_t x, int64_t y)
{
	return x / y - (x % y < 0);
}

int64_t kir_floor_mod(int64_t x, int64_t y)
{
	int64_t rest = x % y;

	return rest < 0 ? rest + y : rest;
}

kir_ref kir_operand(const kir_func *f, kir_ref n, const char *name)
{
	int i = kir_operand_index((kir_op)f->node[n].op, name);
	return i < 0 ? 0 : kir_src(f, n, (unsigned)i);
}

/* An index list with an upto behind it is always complete, so what exceeds the buffer's
 * rank is the upto. */
static void access_of(const kir_func *f, kir_op op, const kir_ref *src, unsigned nsrc,
                      unsigned *buf, unsigned *nindex)
{
	*buf = op == KIR_OP_store || op == KIR_OP_vstore;
	*nindex = nsrc > *buf + 1 ? nsrc - *buf - 1 : 0;
	unsigned rank = nsrc > *buf && src[*buf] ? kir_type_of(f, src[*buf])->rank : 0;
	if (*nindex == rank + 1 && strchr(kir_ops[op].src, 'u'))
		*nindex = rank;
}

void kir_access(const kir_func *f, kir_ref n, kir_ref *buf, unsigned *first_index,
                unsigned *nindex, kir_ref *upto)
{
	const kir_node *x = &f->node[n];
	unsigned at;
	access_of(f, (kir_op)x->op, f->srcs + x->src, x->nsrc, &at, nindex);
	*buf = kir_src(f, n, at);
	*first_index = at + 1;
	*upto = kir_src(f, n, at + 1 + *nindex);
}

bool kir_is_access(kir_op op)
{
	return strchr(kir_ops[op].src, 'i') && !(kir_ops[op].flags & KIR_NAMED);
}

char kir_src_letter(const kir_func *f, kir_op op, const kir_ref *src, unsigned nsrc, unsigned k)
{
	kir_slot slot[KIR_MAX_ROW];
	unsigned n = kir_row(op, slot), at, nindex;
	if (kir_is_access(op)) {
		access_of(f, op, src, nsrc, &at, &nindex);
		if (k <= at)
			return slot[k].letter;
		if (k <= at + nindex)
			return 'i';
		return k == at + nindex + 1 ? slot[n - 1].letter : 0;
	}
	if (k < n)
		return slot[k].letter;
	return n && slot[n - 1].many ? slot[n - 1].letter : 0;
}

bool kir_is_const(const kir_func *f, kir_ref n, int64_t *x)
{
	const kir_node *c = &f->node[n];
	if (c->op != KIR_OP_const || kir_is_float((kir_elem)kir_type_of(f, n)->elem))
		return false;
	*x = c->i;
	return true;
}

bool kir_is_amx(kir_op op)
{
	return op >= KIR_OP_amx_tile && op <= KIR_OP_amx_dpbuud;
}

/* Declarations stand before the first region. */
kir_amx kir_amx_shape(const kir_func *f, int64_t t)
{
	for (kir_ref n = 1; n < f->nnode; n++) {
		if (kir_ops[f->node[n].op].flags & KIR_REGION)
			break;
		if (f->node[n].op == KIR_OP_amx_tile && f->node[n].attr[0] == t)
			return (kir_amx){ f->node[n].attr[1], f->node[n].attr[2] };
	}
	return (kir_amx){ 0, 0 };
}

kir_ref kir_region_yield(const kir_func *f, kir_ref n)
{
	for (unsigned depth = 0;; n++) {
		depth += kir_regions(f, n);
		if (kir_ops[f->node[n].op].flags & KIR_ENDS && depth-- == 0)
			return n;
	}
}

kir_ref kir_region_end(const kir_func *f, kir_ref op)
{
	unsigned open = 0;
	kir_ref n = op;
	do {
		open += kir_regions(f, n);
		if (f->node[n].op == KIR_OP_yield && open)
			open--;
		n++;
	} while (open && n < f->nnode);
	while (n < f->nnode && f->node[n].op == KIR_OP_res && kir_src(f, n, 0) == op)
		n++;
	return n;
}

unsigned *kir_count_uses(const kir_func *f)
{
	unsigned *uses = kir_alloc(f->module, f->nnode * sizeof *uses);
	for (kir_ref n = 1; n < f->nnode; n++)
		for (unsigned i = 0; i < f->node[n].nsrc; i++)
			uses[kir_src(f, n, i)]++;
	return uses;
}

kir_ref *kir_map_new(kir_func *to, const kir_func *from)
{
	kir_ref *map = kir_alloc(to->module, from->nnode * sizeof *map);
	assert(to->nparam == from->nparam);
	for (unsigned i = 0; i < from->nparam; i++)
		map[from->param[i].node] = to->param[i].node;
	return map;
}

/* What a copy between modules translates: types, names and format numbers. */
static void adopt(kir_func *to, const kir_func *from, kir_node *c)
{
	kir_module *m = to->module;
	kir_attr row[KIR_MAX_ATTRS];
	unsigned nattr = kir_row_attrs((kir_op)c->op, row);
	c->type = c->type ? kir_type_intern(m, &from->module->type[c->type]) : KIR_NO_TYPE;
	if (c->name)
		c->name = kir_strdup(m, c->name, strlen(c->name));
	for (unsigned i = 0; i < nattr; i++) {
		if (kir_attrs[row[i]].kind != KIR_FORMAT || c->attr[i] < 0)
			continue;
		const char *name = from->module->format[c->attr[i]]->name;
		c->attr[i] = -1;
		for (unsigned k = 0; k < m->nformat; k++)
			if (!strcmp(m->format[k]->name, name))
				c->attr[i] = k;
	}
}

kir_ref kir_copy(kir_func *to, const kir_func *from, kir_ref n, kir_ref *map)
{
	kir_node x = from->node[n];
	kir_ref src[256];
	assert(x.op != KIR_OP_param && n < from->nnode);
	if (to->module != from->module)
		adopt(to, from, &x);
	for (unsigned i = 0; i < x.nsrc; i++)
		src[i] = map[kir_src(from, n, i)];
	kir_ref c = kir_emit(to, (kir_op)x.op, x.type, src, x.nsrc, NULL);
	x.src = to->node[c].src;
	to->node[c] = x;
	map[n] = c;
	return c;
}

kir_ref kir_root(const kir_func *f, kir_ref buffer)
{
	while (f->node[buffer].op == KIR_OP_view)
		buffer = kir_src(f, buffer, 0);
	return buffer;
}

int kir_param_index(const kir_func *f, kir_ref n)
{
	return f->node[n].op == KIR_OP_param ? (int)f->node[n].attr[0] : -1;
}
