/* SPDX-License-Identifier: Apache-2.0 */
/* verify.c -- whether a function is one: regions, scopes, levels, kinds of operands.
 *
 * One pass in text order with a stack of open regions. When the structure itself is broken
 * the check ends there, since nothing behind it would mean anything; type errors are all
 * reported, one for each node.
 */
#include "verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct frame {
	kir_ref op;
	kir_ref first;       /* yield of the first of two regions                     */
	uint32_t id;         /* of the open region                                    */
	int64_t local_bytes; /* around the region                               */
};

struct scopes {
	kir_checker *c;
	const kir_func *f;
	uint32_t *region; /* of each node                                       */
	bool *open;       /* of each region                                     */
	uint32_t nregion;
	unsigned depth;
	struct frame frame[KIR_MAX_DEPTH + 1];
	unsigned args, arg; /* expected next: how many args, which is the next   */
	kir_ref res_op;
	unsigned results, res; /* expected next: results of res_op              */
	bool returned;
};

/* -- messages -- */

static const char *name_of(kir_checker *c, kir_ref n)
{
	if (!c->named)
		kir_names_make(&c->names, c->f);
	c->named = true;
	return kir_name(&c->names, n);
}

bool kir_complain(kir_checker *c, kir_ref n, const char *fmt, ...)
{
	const kir_node *x = &c->f->node[n];
	char msg[sizeof c->d->at[0].msg];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof msg, fmt, ap);
	va_end(ap);
	c->bad = true;
	if (x->type)
		kir_error(c->d, (int)x->line, 0, "%%%s = %s: %s", name_of(c, n),
		          kir_ops[x->op].name, msg);
	else
		kir_error(c->d, (int)x->line, 0, "%s: %s", kir_ops[x->op].name, msg);
	return false;
}

static kir_text *scratch(kir_checker *c)
{
	kir_text *t = &c->type_text[c->next_text++ % KIR_TYPE_TEXTS];
	t->len = 0;
	return t;
}

const char *kir_type_text(kir_checker *c, kir_type_id id)
{
	kir_text *t = scratch(c);
	kir_print_type(c->f->module, id, t);
	return t->text;
}

const char *kir_value_text(kir_checker *c, kir_ref n)
{
	kir_text *t = scratch(c);
	const kir_node *x = &c->f->node[n];
	kir_elem e = (kir_elem)kir_type_of(c->f, n)->elem;
	if (x->op != KIR_OP_const)
		kir_text_add(t, "%%%s", name_of(c, n));
	else if (kir_is_float(e))
		kir_print_float(t, e, x->f);
	else
		kir_text_add(t, "%lld", (long long)x->i);
	return t->text;
}

/* -- types on their own -- */

static bool check_type(kir_checker *c, kir_ref n, kir_type_id id)
{
	const kir_type *t = &c->f->module->type[id];
	int64_t count = 1;
	if (t->rank > KIR_RANK || t->npieces > KIR_PIECES)
		return kir_complain(c, n, "its type has too many dimensions or pieces");
	for (unsigned i = 0; i < t->rank; i++) {
		bool dyn = t->buffer && t->dim[i] == KIR_DYN;
		if (!dyn && (t->dim[i] < 1 || t->dim[i] > KIR_MAX_DIM))
			return kir_complain(c, n, "extent %u of its type is not positive", i);
		if (!t->buffer && t->dim[i] > KIR_MAX_COUNT / count)
			return kir_complain(c, n, "a value has at most %lld elements",
			                    (long long)KIR_MAX_COUNT);
		count *= t->buffer ? 1 : t->dim[i];
	}
	for (unsigned i = 0; i < t->npieces; i++)
		if (t->piece[i].axis >= t->rank || t->piece[i].div < 1 || t->piece[i].mod < 0)
			return kir_complain(c, n, "piece %u of its type is wrong", i);
	if (kir_type_nstride(t) > KIR_MAX_DYN)
		return kir_complain(c, n, "a buffer has at most %d run-time strides",
		                    KIR_MAX_DYN);
	return true;
}

static bool check_result(kir_checker *c, kir_ref n)
{
	const kir_node *x = &c->f->node[n];
	const kir_type *t = kir_type_of(c->f, n);
	unsigned most = c->f->level == KIR_A ? 0 : c->f->level == KIR_V ? 1 : KIR_RANK;
	bool typed = (kir_ops[x->op].flags & KIR_TYPED) || x->op == KIR_OP_param ||
	             x->op == KIR_OP_arg || x->op == KIR_OP_res || x->op == KIR_OP_const;
	if (typed != (x->type != KIR_NO_TYPE))
		return kir_complain(c, n, typed ? "it needs a type" : "it has no type");
	if (!typed || x->op == KIR_OP_param)
		return !typed || check_type(c, n, x->type);
	if (!check_type(c, n, x->type))
		return false;
	if (t->buffer != (x->op == KIR_OP_view || x->op == KIR_OP_local))
		return kir_complain(c, n,
		                    t->buffer ? "its type is memory, not a value"
		                              : "its type is a value, not memory");
	if (!t->buffer && t->rank > most)
		return kir_complain(c, n, "%s is too large for level %c, which has %s",
		                    kir_type_text(c, x->type), c->f->level == KIR_A ? 'A' : 'V',
		                    most ? "scalars and vectors" : "scalars");
	if (x->op == KIR_OP_const && t->rank)
		return kir_complain(c, n, "a literal is a scalar");
	return true;
}

/* -- operands -- */

static bool visible(const struct scopes *s, kir_ref n, kir_ref src)
{
	return src && src < n && s->open[s->region[src]];
}

static bool right_kind(const kir_func *f, kir_ref src, char letter)
{
	const kir_type *t = kir_type_of(f, src);
	switch (letter) {
	case 'b': return t->buffer;
	case 's': return f->node[src].type && !t->buffer && !t->rank;
	case 'v': return f->node[src].type && !t->buffer && t->rank <= 1;
	case 'u': return !t->buffer && !t->rank && t->elem == KIR_s64;
	default: return f->node[src].type && !t->buffer;
	}
}

static const char *kind_name(char letter)
{
	switch (letter) {
	case 'b': return "a buffer";
	case 's': return "a scalar";
	case 'v': return "a vector or a scalar";
	case 'u': return "an s64";
	default: return "a value";
	}
}

static bool check_count(kir_checker *c, kir_ref n)
{
	const kir_node *x = &c->f->node[n];
	kir_slot slot[KIR_MAX_ROW];
	unsigned count = kir_row((kir_op)x->op, slot), need = 0;
	if (kir_is_access((kir_op)x->op))
		need = x->op == KIR_OP_store || x->op == KIR_OP_vstore ? 2 : 1;
	else if (kir_ops[x->op].flags & KIR_NAMED)
		need = count;
	else
		for (unsigned k = 0; k < count; k++)
			need += !slot[k].optional;
	bool many = kir_is_access((kir_op)x->op) || (count && slot[count - 1].many);
	if (x->nsrc < need || x->nsrc > (many ? KIR_MAX_SRC : count))
		return kir_complain(c, n, "it has %u operands", x->nsrc);
	return true;
}

static bool check_operands(struct scopes *s, kir_ref n)
{
	const kir_func *f = s->f;
	const kir_node *x = &f->node[n];
	const kir_ref *src = f->srcs + x->src;
	kir_slot slot[KIR_MAX_ROW];
	bool named = kir_ops[x->op].flags & KIR_NAMED;
	if (x->op == KIR_OP_res)
		return true;
	if (!check_count(s->c, n))
		return false;
	kir_row((kir_op)x->op, slot);
	for (unsigned k = 0; k < x->nsrc; k++) {
		if (named && !src[k] && slot[k].optional)
			continue;
		if (!src[k] || src[k] >= n)
			return kir_complain(s->c, n, "operand %u is missing", k + 1);
		if (!visible(s, n, src[k]))
			return kir_complain(s->c, n, "operand %u, %s, is out of scope", k + 1,
			                    kir_value_text(s->c, src[k]));
	}
	for (unsigned k = 0; k < x->nsrc; k++) {
		char letter = kir_src_letter(f, (kir_op)x->op, src, x->nsrc, k);
		if (src[k] && letter && !right_kind(f, src[k], letter))
			return kir_complain(s->c, n, "operand %u, %s, is not %s", k + 1,
			                    kir_value_text(s->c, src[k]), kind_name(letter));
	}
	return true;
}

static bool check_attrs(kir_checker *c, kir_ref n)
{
	const kir_node *x = &c->f->node[n];
	kir_attr row[KIR_MAX_ATTRS];
	unsigned nattr = kir_row_attrs((kir_op)x->op, row);
	if (x->op == KIR_OP_for && x->attr[0] < 1)
		return kir_complain(c, n, "its step is %lld; it must be positive",
		                    (long long)x->attr[0]);
	for (unsigned i = 0; i < nattr; i++) {
		const kir_attr_info *a = &kir_attrs[row[i]];
		int64_t lo = a->dflt < 0 ? a->dflt : 0, hi = INT64_MAX;
		size_t len;
		if (row[i] == KIR_ATTR_trans)
			hi = x->op == KIR_OP_dot ? 2 : 1;
		else if (row[i] == KIR_ATTR_axis)
			hi = KIR_RANK - 1;
		else if (row[i] == KIR_ATTR_group || row[i] == KIR_ATTR_wgroup ||
		         row[i] == KIR_ATTR_block || row[i] == KIR_ATTR_start ||
		         row[i] == KIR_ATTR_every || row[i] == KIR_ATTR_unit)
			hi = KIR_MAX_DIM; /* counts of elements: sums of them are numbers */
		else if (a->kind == KIR_FORMAT)
			hi = (int64_t)c->f->module->nformat - 1;
		if (a->kind == KIR_WORD) {
			kir_word_at(a->words, x->attr[i], &len);
			hi = len ? x->attr[i] : -1;
		}
		if (x->attr[i] < lo || x->attr[i] > hi)
			return kir_complain(c, n, "its %s is %lld, out of range", a->name,
			                    (long long)x->attr[i]);
	}
	return true;
}

/* -- regions -- */

static bool push(struct scopes *s, kir_ref n)
{
	const kir_node *x = &s->f->node[n];
	if (s->depth == KIR_MAX_DEPTH)
		return kir_complain(s->c, n, "regions are nested deeper than %d levels",
		                    KIR_MAX_DEPTH);
	s->frame[++s->depth] =
	    (struct frame){ .op = n, .id = ++s->nregion, .local_bytes = s->c->local_bytes };
	s->open[s->nregion] = true;
	s->arg = 0;
	s->args = x->op == KIR_OP_for ? x->nsrc - 1u : x->op == KIR_OP_attention ? 5 : 0;
	return true;
}

static bool check_yield(struct scopes *s, kir_ref n)
{
	const kir_node *x = &s->f->node[n];
	const struct frame *r = &s->frame[s->depth];
	const kir_node *op = &s->f->node[r->op];
	kir_type_id want[KIR_MAX_SRC];
	unsigned expect = op->op == KIR_OP_for         ? op->nsrc - 2u
	                  : op->op == KIR_OP_attention ? 1
	                  : r->first                   ? s->f->node[r->first].nsrc
	                                               : x->nsrc;
	if (x->nsrc != expect)
		return kir_complain(s->c, n, "it gives %u values where %u are expected",
		                    x->nsrc, expect);
	if (!kir_yield_types(s->f, r->op, r->first, x->nsrc, want))
		return true;
	for (unsigned k = 0; k < x->nsrc; k++) {
		kir_ref src = kir_src(s->f, n, k);
		if (s->f->node[src].type != want[k])
			return kir_complain(s->c, n, "value %u, %s, is %s, not %s", k + 1,
			                    kir_value_text(s->c, src),
			                    kir_type_text(s->c, s->f->node[src].type),
			                    kir_type_text(s->c, want[k]));
	}
	return true;
}

static void pop(struct scopes *s, kir_ref n)
{
	struct frame *r = &s->frame[s->depth];
	kir_op op = (kir_op)s->f->node[r->op].op;
	s->open[r->id] = false;
	s->c->local_bytes = r->local_bytes;
	if (kir_regions(s->f, r->op) == 2 && !r->first) {
		r->first = n;
		r->id = ++s->nregion;
		s->open[r->id] = true;
		s->arg = 0;
		s->args = op == KIR_OP_attention ? 4 : 0;
		return;
	}
	s->depth--;
	s->res = 0;
	s->res_op = r->op;
	s->results = op == KIR_OP_attention ? 0 : s->f->node[n].nsrc;
}

static bool check_arg(struct scopes *s, kir_ref n)
{
	const kir_func *f = s->f;
	const kir_node *x = &f->node[n];
	kir_type_id want = kir_scalar(f->module, KIR_s64);
	if (!s->args || x->attr[0] != s->arg)
		return kir_complain(s->c, n, "it is not where its region begins");
	const struct frame *r = &s->frame[s->depth];
	if (f->node[r->op].op == KIR_OP_for && s->arg)
		want = f->node[kir_src(f, r->op, s->arg + 1)].type;
	if (f->node[r->op].op == KIR_OP_attention && !r->first && !s->arg)
		want = kir_scalar(f->module, KIR_f32);
	if (x->type != want)
		kir_complain(s->c, n, "its type is %s, not %s", kir_type_text(s->c, x->type),
		             kir_type_text(s->c, want));
	s->arg++;
	s->args--;
	return true;
}

static bool check_res(struct scopes *s, kir_ref n)
{
	const kir_func *f = s->f;
	const kir_node *x = &f->node[n];
	if (s->res == s->results || kir_src(f, n, 0) != s->res_op || x->attr[0] != s->res)
		return kir_complain(s->c, n, "it is not behind its loop or if");
	/* A loop gives what it carries; an if what its second yield, just before, gives. */
	kir_ref from = f->node[s->res_op].op == KIR_OP_for ? s->res_op + 2 + s->res
	                                                   : kir_src(f, n - 1 - s->res, s->res);
	if (x->type != f->node[from].type)
		kir_complain(s->c, n, "its type is %s, not %s", kir_type_text(s->c, x->type),
		             kir_type_text(s->c, f->node[from].type));
	s->res++;
	return true;
}

/* -- loops and places -- */

static bool check_for(struct scopes *s, kir_ref n)
{
	const kir_func *f = s->f;
	const kir_node *x = &f->node[n];
	kir_ref lo = kir_src(f, n, 0), hi = kir_src(f, n, 1);
	int64_t zero;
	for (unsigned k = 0; k < 2; k++)
		if (kir_type_of(f, kir_src(f, n, k))->elem != KIR_s64)
			return kir_complain(s->c, n, "its bound %s is not an s64",
			                    kir_value_text(s->c, kir_src(f, n, k)));
	if (!kir_for_par(f, n))
		return true;
	if (s->depth)
		return kir_complain(s->c, n, "a par loop stands at the top of a function");
	if (x->nsrc > 2)
		return kir_complain(s->c, n, "a par loop carries no values");
	if (!kir_is_const(f, lo, &zero) || zero || kir_for_step(f, n) != 1)
		return kir_complain(s->c, n, "a par loop begins at 0 and has step 1");
	if (f->node[hi].op != KIR_OP_param && f->node[hi].op != KIR_OP_const)
		return kir_complain(s->c, n,
		                    "a par loop ends at a parameter or a literal, not %s",
		                    kir_value_text(s->c, hi));
	return true;
}

/* What may stand where: at the top only what every thread may repeat. */
static bool check_place(struct scopes *s, kir_ref n)
{
	const kir_func *f = s->f;
	const kir_op_info *op = &kir_ops[f->node[n].op];
	bool par = f->node[n].op == KIR_OP_for && kir_for_par(f, n);
	if (!(op->level & f->level))
		return kir_complain(s->c, n, "there is no %s at level %c", op->name,
		                    f->level == KIR_A   ? 'A'
		                    : f->level == KIR_T ? 'T'
		                                        : 'V');
	if (f->node[n].op == KIR_OP_amx_tile)
		return !s->depth || kir_complain(s->c, n, "it stands at the top of a function");
	if (s->depth) {
		if (f->level == KIR_A && (op->flags & KIR_WRITES))
			return kir_complain(s->c, n, "score and mask write nothing");
		return true;
	}
	if ((op->flags & (KIR_PURE | KIR_ENDS)) || par)
		return true;
	if (f->level == KIR_A && (op->flags & KIR_WRITES))
		return true;
	return kir_complain(s->c, n, "outside par loops only pure ops and views may stand");
}

/* Args and results have been checked when this returns true; nothing else has. False when the
 * structure is broken. */
static bool check_structure(struct scopes *s, kir_ref n)
{
	const kir_func *f = s->f;
	const kir_node *x = &f->node[n];
	if (s->returned)
		return kir_complain(s->c, n, "it stands behind ret");
	if (x->op == KIR_OP_param) {
		if (n <= f->nparam && f->param[n - 1].node == n)
			return true;
		return kir_complain(s->c, n, "parameters stand in front of everything else");
	}
	if (x->op == KIR_OP_arg)
		return check_arg(s, n);
	if (x->op == KIR_OP_res)
		return check_res(s, n);
	if (s->args)
		return kir_complain(s->c, s->frame[s->depth].op,
		                    "its region has %u arguments less "
		                    "than it needs",
		                    s->args);
	if (s->res != s->results)
		return kir_complain(s->c, s->res_op, "it gives %u values, %u are taken",
		                    s->results, s->res);
	if (x->op == KIR_OP_yield && !s->depth)
		return kir_complain(s->c, n, "it stands outside a region");
	if (x->op == KIR_OP_ret && s->depth)
		return kir_complain(s->c, n, "it stands inside a region");
	return true;
}

/* False when the check can't go on. */
static bool check_node(struct scopes *s, kir_ref n)
{
	const kir_node *x = &s->f->node[n];
	if (!check_structure(s, n))
		return false;
	s->region[n] = s->depth ? s->frame[s->depth].id : 0;
	bool good = check_place(s, n) && check_result(s->c, n) && check_operands(s, n) &&
	            check_attrs(s->c, n);
	if (good && x->op == KIR_OP_yield)
		good = check_yield(s, n);
	else if (good && x->op == KIR_OP_for)
		good = check_for(s, n);
	else if (good)
		good = kir_check_op(s->c, n);
	if (x->op == KIR_OP_ret)
		s->returned = true;
	if (x->op == KIR_OP_yield)
		pop(s, n);
	if (kir_regions(s->f, n))
		return (x->op != KIR_OP_for || x->nsrc >= 2) && push(s, n);
	return true;
}

/* -- headers -- */

static void check_header(kir_checker *c)
{
	const kir_func *f = c->f;
	for (unsigned k = 0; k < kir_nknobs; k++) {
		kir_sched sched = f->sched;
		int x = *kir_sched_knob(&sched, k);
		long lo = 0, hi;
		size_t len;
		if (!kir_knob_range(k, &lo, &hi)) {
			kir_word_at(kir_knobs[k].values, x, &len);
			hi = len ? x : -1;
		}
		if (x >= lo && x <= hi)
			continue;
		c->bad = true;
		kir_error(c->d, 0, 0, "@%s: knob %s is %d; it takes %s", f->name,
		          kir_knobs[k].name, x, kir_knobs[k].values);
	}
	for (unsigned i = 0; i < f->nparam; i++) {
		const kir_type *t = &f->module->type[f->param[i].type];
		bool scalar = !t->rank &&
		              (t->elem == KIR_s32 || t->elem == KIR_s64 || t->elem == KIR_f32);
		if (!t->buffer && !scalar)
			kir_complain(c, f->param[i].node,
			             "a parameter is memory, s32, s64 or f32");
	}
}

static void finish(const struct scopes *s)
{
	const kir_func *f = s->f;
	if (s->returned)
		return;
	s->c->bad = true;
	kir_error(s->c->d, (int)f->node[f->nnode - 1].line, 0, "@%s: %s", f->name,
	          s->depth ? "a region is not closed" : "a function ends with ret");
}

/* Whether every node has a row in the table, which all that follows looks at. */
static bool all_ops(const kir_func *f, kir_diag *diag)
{
	for (kir_ref n = 1; n < f->nnode; n++) {
		if (f->node[n].op != KIR_NONE && f->node[n].op < KIR_NOP)
			continue;
		kir_error(diag, (int)f->node[n].line, 0, "@%s: node %u is no op", f->name, n);
		return false;
	}
	return true;
}

bool kir_verify(const kir_func *f, kir_diag *diag)
{
	if (!all_ops(f, diag))
		return false;
	kir_checker c = { .f = f, .d = diag };
	struct scopes s = { .c = &c, .f = f };
	s.region = calloc(f->nnode, sizeof *s.region);
	s.open = calloc((size_t)f->nnode * 2 + 1, sizeof *s.open);
	if (!s.region || !s.open)
		abort();
	s.open[0] = true;
	check_header(&c);
	kir_ref n = 1;
	while (n < f->nnode && check_node(&s, n))
		n++;
	if (n == f->nnode)
		finish(&s);
	free(s.region);
	free(s.open);
	if (c.named)
		kir_names_free(&c.names);
	for (unsigned i = 0; i < KIR_TYPE_TEXTS; i++)
		free(c.type_text[i].text);
	return !c.bad;
}
