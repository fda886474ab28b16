/* SPDX-License-Identifier: Apache-2.0 */
/* print.c -- a function as text, from which parse.c builds it again.
 *
 * One pass over the nodes. A stack of open regions gives the indentation and the types that
 * literals in a yield are expected to have.
 */
#include "internal.h"
#include "format.h"

#include <stdlib.h>
#include <string.h>

#define WIDTH 96

struct region {
	kir_ref op;
	kir_ref first; /* yield of the first region, 0 while that is open          */
};

struct printer {
	const kir_func *f;
	kir_text *out;
	kir_names names;
	unsigned depth, indent;
	struct region region[KIR_MAX_DEPTH + 1];
};

/* -- types -- */

static void print_pieces(const kir_type *t, kir_text *out)
{
	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *p = &t->piece[i];
		kir_text_add(out, "%s%d", i ? ", " : " | ", p->axis);
		if (p->div > 1)
			kir_text_add(out, "/%d", p->div);
		if (p->mod)
			kir_text_add(out, "%%%d", p->mod);
		kir_text_add(out, p->dyn ? ":$%lld" : ":%lld", (long long)p->stride);
	}
}

void kir_print_type(const kir_module *m, kir_type_id id, kir_text *out)
{
	const kir_type *t = &m->type[id];
	kir_text_add(out, "%s", kir_elems[t->elem].name);
	for (unsigned i = 0; i < t->rank; i++) {
		kir_text_add(out, "%s", i ? t->buffer ? "," : "x" : t->buffer ? "[" : "<");
		if (t->dim[i] == KIR_DYN)
			kir_text_add(out, "?");
		else
			kir_text_add(out, "%lld", (long long)t->dim[i]);
	}
	if (t->buffer && !kir_is_contiguous(t))
		print_pieces(t, out);
	if (t->rank)
		kir_text_add(out, "%s", t->buffer ? "]" : ">");
}

/* -- operands -- */

static void literal(struct printer *p, kir_ref n, kir_elem place)
{
	const kir_node *c = &p->f->node[n];
	kir_elem e = (kir_elem)kir_type_of(p->f, n)->elem;
	if (kir_is_float(e))
		kir_print_float(p->out, e, c->f);
	else
		kir_text_add(p->out, "%lld", (long long)c->i);
	if (place == KIR_VOID)
		place = kir_is_float(e) ? KIR_f32 : KIR_s64;
	if (e != place)
		kir_text_add(p->out, ":%s", kir_elems[e].name);
}

static void value(struct printer *p, kir_ref n)
{
	kir_text_add(p->out, "%%%s", kir_name(&p->names, n));
}

/* Types that the yields of the innermost region should have: of a loop its carried values,
 * of the second side of an if the first side's. want has room for KIR_MAX_SRC. */
static const kir_type_id *wanted(const struct printer *p, unsigned nsrc, kir_type_id *want)
{
	if (!p->depth || p->depth > KIR_MAX_DEPTH || nsrc > KIR_MAX_SRC)
		return NULL;
	const struct region *r = &p->region[p->depth];
	return kir_yield_types(p->f, r->op, r->first, nsrc, want) ? want : NULL;
}

static void operand(struct printer *p, kir_ref n, unsigned k, const kir_type_id *want)
{
	const kir_node *x = &p->f->node[n];
	kir_ref src = kir_src(p->f, n, k);
	if (p->f->node[src].op != KIR_OP_const) {
		value(p, src);
		return;
	}
	literal(p, src,
	        kir_literal_elem(p->f, (kir_op)x->op, x->type, p->f->srcs + x->src, x->nsrc, k,
	                         want));
}

static void operands(struct printer *p, kir_ref n)
{
	const kir_node *x = &p->f->node[n];
	const kir_ref *src = p->f->srcs + x->src;
	kir_type_id types[KIR_MAX_SRC];
	const kir_type_id *want = NULL;
	kir_op op = (kir_op)x->op;
	bool access = kir_is_access(op), open = false;
	if (op == KIR_OP_yield)
		want = wanted(p, x->nsrc, types);
	for (unsigned k = 0; k < x->nsrc; k++) {
		char letter = kir_src_letter(p->f, op, src, x->nsrc, k);
		if (letter == 'u')
			kir_text_add(p->out, "] upto ");
		else if (letter == 'i' && open)
			kir_text_add(p->out, ",");
		else if (letter != 'i')
			kir_text_add(p->out, k ? ", " : " ");
		open = letter == 'i' || (open && letter != 'u');
		operand(p, n, k, want);
		if (access && letter == 'b') {
			kir_text_add(p->out, "[");
			open = false;
		}
		if (access && k + 1 == x->nsrc && letter != 'u')
			kir_text_add(p->out, "]");
	}
}

static void named_operands(struct printer *p, kir_ref n)
{
	kir_slot slot[KIR_MAX_ROW];
	unsigned count = kir_row((kir_op)p->f->node[n].op, slot);
	const char *before = " ";
	for (unsigned k = 0; k < count; k++) {
		if (!kir_src(p->f, n, k))
			continue;
		kir_text_add(p->out, "%s%.*s=", before, (int)slot[k].len, slot[k].name);
		operand(p, n, k, NULL);
		before = ", ";
	}
}

static void attributes(struct printer *p, kir_ref n)
{
	const kir_node *x = &p->f->node[n];
	const kir_module *m = p->f->module;
	kir_attr row[KIR_MAX_ATTRS];
	unsigned nattr = kir_row_attrs((kir_op)x->op, row);
	const char *before = " {", *after = "";
	for (unsigned i = 0; i < nattr; i++) {
		const kir_attr_info *a = &kir_attrs[row[i]];
		size_t len;
		const char *word = kir_word_at(a->words, x->attr[i], &len);
		if (x->attr[i] == a->dflt)
			continue;
		kir_text_add(p->out, "%s%s=", before, a->name);
		if (a->kind == KIR_FORMAT && x->attr[i] >= 0 && x->attr[i] < m->nformat)
			kir_text_add(p->out, "%s", m->format[x->attr[i]]->name);
		else if (len)
			kir_text_add(p->out, "%.*s", (int)len, word);
		else
			kir_text_add(p->out, "%lld", (long long)x->attr[i]);
		before = ", ";
		after = "}";
	}
	kir_text_add(p->out, "%s", after);
}

/* -- lines -- */

static void start(struct printer *p)
{
	kir_text_add(p->out, "%*s", (int)p->indent, "");
}

static void results(struct printer *p, kir_ref op)
{
	kir_ref end = kir_region_end(p->f, op), n = end;
	while (n > op + 1 && p->f->node[n - 1].op == KIR_OP_res &&
	       kir_src(p->f, n - 1, 0) == op)
		n--;
	for (kir_ref r = n; r < end; r++) {
		value(p, r);
		kir_text_add(p->out, r + 1 < end ? ", " : " = ");
	}
}

static void enter(struct printer *p, kir_ref op, unsigned indent)
{
	p->depth++;
	p->indent += indent;
	if (p->depth <= KIR_MAX_DEPTH)
		p->region[p->depth] = (struct region){ .op = op };
}

/* `name(%a, %b) {` of an attention; the args follow node n. */
static void region_args(struct printer *p, const char *name, kir_ref n)
{
	kir_text_add(p->out, "%s(", name);
	for (kir_ref a = n + 1; a < p->f->nnode && p->f->node[a].op == KIR_OP_arg; a++) {
		kir_text_add(p->out, a > n + 1 ? ", " : "");
		value(p, a);
	}
	kir_text_add(p->out, ") {\n");
}

static void print_for(struct printer *p, kir_ref n)
{
	const kir_node *x = &p->f->node[n];
	results(p, n);
	kir_text_add(p->out, "for ");
	value(p, n + 1);
	kir_text_add(p->out, " = ");
	operand(p, n, 0, NULL);
	kir_text_add(p->out, " to ");
	operand(p, n, 1, NULL);
	if (kir_for_step(p->f, n) != 1)
		kir_text_add(p->out, " step %lld", (long long)kir_for_step(p->f, n));
	if (kir_for_par(p->f, n))
		kir_text_add(p->out, " par");
	for (unsigned k = 2; k < x->nsrc; k++) {
		kir_text_add(p->out, k == 2 ? " carry(" : ", ");
		value(p, n + k);
		kir_text_add(p->out, " = ");
		operand(p, n, k, NULL);
	}
	kir_text_add(p->out, x->nsrc > 2 ? ") {\n" : " {\n");
	enter(p, n, 2);
}

static void print_if(struct printer *p, kir_ref n)
{
	results(p, n);
	kir_text_add(p->out, "if ");
	operand(p, n, 0, NULL);
	kir_text_add(p->out, " {\n");
	enter(p, n, 2);
}

static void print_attention(struct printer *p, kir_ref n)
{
	kir_text_add(p->out, "attention");
	named_operands(p, n);
	attributes(p, n);
	kir_text_add(p->out, "\n");
	p->indent += 2;
	start(p);
	region_args(p, "score", n);
	enter(p, n, 2);
}

static void print_yield(struct printer *p, kir_ref n)
{
	kir_text_add(p->out, "yield");
	operands(p, n);
	kir_text_add(p->out, "\n");
	if (!p->depth || p->depth > KIR_MAX_DEPTH) {
		p->depth -= p->depth > 0;
		return;
	}
	struct region *r = &p->region[p->depth];
	kir_op op = (kir_op)p->f->node[r->op].op;
	p->indent -= 2;
	start(p);
	kir_text_add(p->out, "}");
	if (kir_regions(p->f, r->op) == 2 && !r->first) {
		r->first = n;
		p->indent += 2;
		if (op == KIR_OP_if)
			kir_text_add(p->out, " else {\n");
		else
			region_args(p, " mask", n);
		return;
	}
	p->indent -= op == KIR_OP_attention ? 2 : 0;
	p->depth--;
	kir_text_add(p->out, "\n");
}

static void print_plain(struct printer *p, kir_ref n)
{
	const kir_node *x = &p->f->node[n];
	const kir_op_info *op = &kir_ops[x->op];
	if (x->type) {
		value(p, n);
		kir_text_add(p->out, " = ");
	}
	kir_text_add(p->out, "%s", op->name);
	if (op->flags & KIR_NAMED)
		named_operands(p, n);
	else
		operands(p, n);
	if (x->type) {
		kir_text_add(p->out, " : ");
		kir_print_type(p->f->module, x->type, p->out);
	}
	attributes(p, n);
	kir_text_add(p->out, "\n");
}

static void print_node(struct printer *p, kir_ref n)
{
	switch (p->f->node[n].op) {
	case KIR_OP_param:
	case KIR_OP_arg:
	case KIR_OP_res:
	case KIR_OP_const: return;
	default: break;
	}
	start(p);
	switch (p->f->node[n].op) {
	case KIR_OP_for: print_for(p, n); break;
	case KIR_OP_if: print_if(p, n); break;
	case KIR_OP_attention: print_attention(p, n); break;
	case KIR_OP_yield: print_yield(p, n); break;
	default: print_plain(p, n);
	}
}

/* -- header -- */

/* Adds a word to a list that wraps. */
static void wrap(kir_text *out, size_t *line, const char *before, const kir_text *word)
{
	if (out->len - *line + word->len + 4 > WIDTH) {
		kir_text_add(out, "%s\n         ", *before == ',' ? "," : "");
		*line = out->len - 9;
		before = "";
	}
	kir_text_add(out, "%s%s", before, word->text);
}

static void print_params(const struct printer *p)
{
	static const char *const dirs[] = { "", "in ", "out ", "inout " };
	const kir_func *f = p->f;
	size_t line = p->out->len;
	kir_text_add(p->out, "func @%s(", f->name);
	for (unsigned i = 0; i < f->nparam; i++) {
		const kir_param *a = &f->param[i];
		kir_text word = { 0 };
		bool buffer = f->module->type[a->type].buffer;
		kir_text_add(&word, "%%%s: %s", kir_name(&p->names, a->node),
		             buffer ? dirs[a->dir & 3] : "");
		kir_print_type(f->module, a->type, &word);
		wrap(p->out, &line, i ? ", " : "", &word);
		free(word.text);
	}
	kir_text_add(p->out, ")\n");
}

static void print_sched(const kir_func *f, kir_text *out)
{
	const char *before = " sched(", *after = "";
	for (unsigned k = 0; k < kir_nknobs; k++) {
		kir_sched s = f->sched;
		int x = *kir_sched_knob(&s, k);
		long lo, hi;
		size_t len;
		if (x == kir_knobs[k].dflt)
			continue;
		kir_text_add(out, "%s%s=", before, kir_knobs[k].name);
		const char *word = kir_word_at(kir_knobs[k].values, x, &len);
		if (!kir_knob_range(k, &lo, &hi) && len)
			kir_text_add(out, "%.*s", (int)len, word);
		else
			kir_text_add(out, "%d", x);
		before = ", ";
		after = ")";
	}
	kir_text_add(out, "%s", after);
}

void kir_print(const kir_func *f, kir_text *out)
{
	struct printer p = { .f = f, .out = out, .indent = 2 };
	kir_names_make(&p.names, f);
	print_params(&p);
	kir_text_add(out, "     level=%s", kir_level_name(f->level));
	if (f->target->features || strcmp(f->target->name, kir_targets[0].name)) {
		kir_text_add(out, " target=");
		kir_target_print(f->target, out);
	}
	print_sched(f, out);
	kir_text_add(out, " {\n");
	for (kir_ref n = 1; n < f->nnode; n++)
		print_node(&p, n);
	kir_text_add(out, "}\n");
	kir_names_free(&p.names);
}

void kir_print_module(const kir_module *m, kir_text *out)
{
	for (unsigned i = 0; i < m->nformat; i++) {
		kir_format_print(m->format[i], out);
		kir_text_add(out, "\n");
	}
	for (unsigned i = 0; i < m->nfunc; i++) {
		kir_text_add(out, i ? "\n" : "");
		kir_print(m->func[i], out);
	}
}
