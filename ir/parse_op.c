/* SPDX-License-Identifier: Apache-2.0 */
/* parse_op.c -- one op a line, by the rows of ops.def.
 *
 * Operands are read as terms first; literals become const nodes once the op's type is known,
 * just before the op.
 */
#include "parse.h"
#include "format.h"

#include <string.h>

#define MAX_TERMS KIR_MAX_SRC

/* An op as it is read. */
struct line {
	kir_op op;
	kir_lex where; /* the mnemonic                                          */
	unsigned nname, nterm;
	struct {
		const char *name;
		size_t len;
		kir_lex where;
	} name[KIR_MAX_SRC];
	kir_term term[MAX_TERMS];
	kir_ref src[MAX_TERMS];
	int64_t attr[KIR_MAX_ATTRS];
	kir_type_id type;
};

/* What a region's yield gave. */
struct yield {
	unsigned n;
	uint32_t line;
	kir_ref src[KIR_MAX_SRC];
};

static bool parse_op(kir_parser *p);

static const char *mnemonic(const struct line *l)
{
	return kir_ops[l->op].name;
}

/* -- terms -- */

static bool lookup(kir_parser *p, const char *name, size_t len, const kir_lex *where,
                   kir_ref *ref)
{
	const kir_symbol *s = kir_lookup(p, name, len);
	if (!s)
		return kir_fail(p, where, "%%%.*s is not defined here", (int)len, name);
	*ref = s->ref;
	return s->ref != 0;
}

static bool term(kir_parser *p, kir_term *t)
{
	const char *name;
	if (!kir_lex_is(p, '%'))
		return kir_lex_literal(p, t);
	*t = (kir_term){ .where = p->lex };
	size_t len = kir_lex_name(p, '%', &name);
	return len && lookup(p, name, len, &t->where, &t->ref);
}

static bool next_term(kir_parser *p, struct line *l)
{
	if (l->nterm == MAX_TERMS)
		return kir_fail(p, &p->lex, "an op has at most %d operands", MAX_TERMS);
	if (!term(p, &l->term[l->nterm]))
		return false;
	l->src[l->nterm] = l->term[l->nterm].ref;
	l->nterm++;
	return true;
}

/* Past a comma, behind which the list may go on in the next line. */
static bool comma(kir_parser *p)
{
	if (!kir_lex_take(p, ','))
		return false;
	kir_lex_space(p);
	return true;
}

static bool term_list(kir_parser *p, struct line *l)
{
	do
		if (!next_term(p, l))
			return false;
	while (comma(p));
	return true;
}

static bool fits(kir_elem e, int64_t x)
{
	if (e == KIR_i1)
		return x == 0 || x == 1;
	unsigned bits = kir_elems[e].bits - (kir_is_signed(e) ? 1 : 0);
	int64_t max = bits >= 63 ? INT64_MAX : ((int64_t)1 << bits) - 1;
	return x <= max && x >= (kir_is_signed(e) ? -max - 1 : 0);
}

static bool constant(kir_parser *p, const kir_term *t, kir_elem place, kir_ref *ref)
{
	kir_elem e = t->suffix ? t->suffix : place;
	if (e == KIR_VOID)
		e = t->real ? KIR_f32 : KIR_s64;
	if (kir_is_float(e)) {
		*ref = kir_const_f(p->f, e, t->f);
		return true;
	}
	if (t->real)
		return kir_fail(p, &t->where, "a whole number is expected where the type is %s",
		                kir_elems[e].name);
	if (!fits(e, t->i))
		return kir_fail(p, &t->where, "%lld does not fit in %s", (long long)t->i,
		                kir_elems[e].name);
	*ref = kir_const_i(p->f, e, t->i);
	return true;
}

/* Literals become nodes; after this src holds only values. */
static bool constants(kir_parser *p, struct line *l, const kir_type_id *want)
{
	bool named = kir_ops[l->op].flags & KIR_NAMED;
	for (unsigned k = 0; k < l->nterm; k++) {
		const kir_term *t = &l->term[k];
		if (l->src[k] || (named && !t->where.at))
			continue;
		kir_elem e = kir_literal_elem(p->f, l->op, l->type, l->src, l->nterm, k, want);
		if (!constant(p, t, e, &l->src[k]))
			return false;
	}
	return true;
}

/* -- parts of a line -- */

static bool index_list(kir_parser *p, struct line *l)
{
	unsigned buf = l->nterm - 1;
	if (!l->src[buf])
		return kir_fail(p, &l->term[buf].where, "%s needs a buffer here", mnemonic(l));
	unsigned rank = kir_type_of(p->f, l->src[buf])->rank, first = l->nterm;
	if (!kir_lex_want(p, '['))
		return false;
	if (!kir_lex_is(p, ']') && !term_list(p, l))
		return false;
	unsigned n = l->nterm - first;
	if (n > rank)
		return kir_fail(p, &l->term[buf].where, "%s has %u indices for %u dimensions",
		                mnemonic(l), n, rank);
	if (!kir_lex_want(p, ']'))
		return false;
	if (!strchr(kir_ops[l->op].src, 'u') || !kir_lex_keyword(p, "upto"))
		return true;
	/* An index list with an upto is complete (kir_access), so the missing zeros are added.
	 */
	for (; n < rank && l->nterm < MAX_TERMS; n++)
		l->term[l->nterm++] = (kir_term){ .where = p->lex };
	return next_term(p, l);
}

static bool access_terms(kir_parser *p, struct line *l)
{
	bool stores = l->op == KIR_OP_store || l->op == KIR_OP_vstore;
	if (stores && (!next_term(p, l) || !kir_lex_want(p, ',')))
		return false;
	return next_term(p, l) && index_list(p, l);
}

static bool named_terms(kir_parser *p, struct line *l)
{
	kir_slot slot[KIR_MAX_ROW];
	unsigned n = kir_row(l->op, slot), k;
	l->nterm = n;
	if (!kir_lex_line_end(p) && !kir_lex_is(p, '{'))
		do {
			kir_lex_blank(p);
			kir_lex where = p->lex;
			const char *word;
			size_t len = kir_lex_word(p, &word);
			for (k = 0; k < n; k++)
				if (slot[k].len == len && !memcmp(slot[k].name, word, len))
					break;
			if (k == n)
				return kir_fail(p, &where, "%s has no operand '%.*s'",
				                mnemonic(l), len > 40 ? 40 : (int)len, word);
			if (l->term[k].where.at)
				return kir_fail(p, &where, "%.*s is given twice", (int)len,
				                word);
			if (!kir_lex_want(p, '=') || !term(p, &l->term[k]))
				return false;
			l->src[k] = l->term[k].ref;
		} while (comma(p));
	for (k = 0; k < n; k++)
		if (!slot[k].optional && !l->term[k].where.at)
			return kir_fail(p, &l->where, "%s needs its operand %.*s", mnemonic(l),
			                (int)slot[k].len, slot[k].name);
	return true;
}

static bool plain_terms(kir_parser *p, struct line *l)
{
	kir_slot slot[KIR_MAX_ROW];
	unsigned n = kir_row(l->op, slot), need = 0;
	bool many = n && slot[n - 1].many;
	if (!kir_lex_line_end(p) && !kir_lex_is(p, ':') && !kir_lex_is(p, '{') &&
	    !kir_lex_is(p, '}') && !term_list(p, l))
		return false;
	for (unsigned k = 0; k < n; k++)
		need += !slot[k].optional;
	if (l->nterm >= need && (many || l->nterm <= n))
		return true;
	return kir_fail(p, &l->where, "%s takes %u%s operand%s, not %u", mnemonic(l), need,
	                n > need ? " or more" : "", need == 1 ? "" : "s", l->nterm);
}

static bool attr_value(kir_parser *p, kir_attr a, int64_t *x)
{
	const kir_attr_info *info = &kir_attrs[a];
	const char *word;
	if (info->kind == KIR_NUMBER)
		return kir_lex_int(p, x);
	kir_lex_blank(p);
	kir_lex where = p->lex;
	size_t len = kir_lex_word(p, &word);
	if (info->kind == KIR_WORD) {
		*x = kir_word_index(info->words, word, len);
		if (*x >= 0)
			return true;
		return kir_fail(p, &where, "%s is one of %s", info->name, info->words);
	}
	while (p->lex.at < p->lex.end && strchr("/-", *p->lex.at) && *p->lex.at) {
		p->lex.at++;
		kir_lex_word(p, &(const char *){ NULL });
	}
	len = (size_t)(p->lex.at - word);
	kir_diag why = { 0 };
	const kir_format *format = kir_format_get(p->m, kir_strdup(p->m, word, len), &why);
	for (unsigned i = 0; format && i < p->m->nformat; i++)
		if (p->m->format[i] == format) {
			*x = i;
			return true;
		}
	return kir_fail(p, &where, "%s", why.n ? why.at[0].msg : "unknown format");
}

static bool attributes(kir_parser *p, struct line *l)
{
	kir_attr row[KIR_MAX_ATTRS];
	unsigned n = kir_row_attrs(l->op, row), i;
	for (i = 0; i < n; i++)
		l->attr[i] = kir_attrs[row[i]].dflt;
	if (!n || !kir_lex_take(p, '{'))
		return true;
	do {
		kir_lex_blank(p);
		kir_lex where = p->lex;
		const char *word;
		size_t len = kir_lex_word(p, &word);
		for (i = 0; i < n; i++)
			if (strlen(kir_attrs[row[i]].name) == len &&
			    !memcmp(kir_attrs[row[i]].name, word, len))
				break;
		if (i == n)
			return kir_fail(p, &where, "%s has no attribute '%.*s'; it has: %s",
			                mnemonic(l), len > 40 ? 40 : (int)len, word,
			                kir_ops[l->op].attr);
		if (!kir_lex_want(p, '=') || !attr_value(p, row[i], &l->attr[i]))
			return false;
	} while (kir_lex_take(p, ','));
	return kir_lex_want(p, '}');
}

static bool line_end(kir_parser *p, const struct line *l)
{
	if (kir_lex_line_end(p) || kir_lex_is(p, '}'))
		return true;
	return kir_fail(p, &p->lex, "nothing more is expected behind this %s", mnemonic(l));
}

static bool define_results(kir_parser *p, struct line *l, kir_ref first)
{
	bool good = true;
	for (unsigned i = 0; i < l->nname; i++) {
		if (first && !kir_is_number(l->name[i].name, l->name[i].len))
			p->f->node[first + i].name =
			    kir_strdup(p->m, l->name[i].name, l->name[i].len);
		if (!kir_define(p, l->name[i].name, l->name[i].len, first ? first + i : 0,
		                &l->name[i].where))
			good = false;
	}
	return good;
}

/* -- regions -- */

static bool define_arg(kir_parser *p, const char *name, size_t len, kir_ref arg,
                       const kir_lex *where)
{
	if (!kir_is_number(name, len))
		p->f->node[arg].name = kir_strdup(p->m, name, len);
	p->f->node[arg].line = (uint32_t)where->line;
	return kir_define(p, name, len, arg, where);
}

static bool parse_yield(kir_parser *p, kir_ref op, kir_ref first, struct yield *y)
{
	struct line l = { .op = KIR_OP_yield, .where = p->lex };
	kir_type_id want[KIR_MAX_SRC];
	unsigned from = p->f->nnode;
	if (!plain_terms(p, &l))
		return false;
	bool known = kir_yield_types(p->f, op, first, l.nterm, want);
	if (!constants(p, &l, known ? want : NULL))
		return false;
	for (unsigned n = from; n < p->f->nnode; n++)
		p->f->node[n].line = (uint32_t)l.where.line;
	y->n = l.nterm;
	y->line = (uint32_t)l.where.line;
	memcpy(y->src, l.src, sizeof y->src);
	return true;
}

/* Ops up to the end of a region, `yield` and '}' included. `first` is the yield of the op's
 * first region if this is the second. Emits no yield. */
static bool region(kir_parser *p, kir_ref op, kir_ref first, struct yield *y)
{
	for (;;) {
		kir_lex_space(p);
		if (p->lex.at == p->lex.end) {
			p->stop = true;
			return kir_fail(p, &p->lex, "the text ends inside a region");
		}
		if (*p->lex.at == '}')
			return kir_fail(p, &p->lex, "a region ends with yield");
		if (kir_lex_keyword(p, "yield"))
			break;
		if (!parse_op(p) && p->stop)
			return false;
	}
	if (!parse_yield(p, op, first, y))
		return false;
	kir_lex_space(p);
	return kir_lex_want(p, '}');
}

static bool open_region(kir_parser *p)
{
	if (!kir_lex_want(p, '{'))
		return false;
	if (p->depth >= KIR_MAX_DEPTH)
		return kir_fail(p, &p->lex, "regions are nested deeper than %d levels",
		                KIR_MAX_DEPTH);
	p->depth++;
	return true;
}

/* The region of a loop whose names stand in front of it; both lists are in `l`. */
static bool for_body(kir_parser *p, struct line *l, const struct line *args, bool par,
                     int64_t step)
{
	struct yield y;
	unsigned mark = p->nsymbol, n = l->nterm - 2;
	if (!constants(p, l, NULL))
		return false;
	kir_ref loop = kir_for(p->f, l->src[0], l->src[1], step, par, l->src + 2, n);
	p->f->node[loop].line = (uint32_t)l->where.line;
	for (unsigned i = 0; i < args->nname; i++)
		if (!define_arg(p, args->name[i].name, args->name[i].len, loop + 1 + i,
		                &args->name[i].where))
			return false;
	if (!region(p, loop, 0, &y))
		return false;
	kir_scope_end(p, mark);
	if (y.n != n)
		return kir_fail(p, &l->where, "the loop carries %u values, its yield gives %u",
		                n, y.n);
	kir_ref end = p->f->nnode, first = kir_for_end(p->f, loop, y.src, n);
	p->f->node[end].line = y.line;
	return define_results(p, l, first);
}

/* `%name = X` of a loop's head. */
static bool for_arg(kir_parser *p, struct line *args)
{
	const char *name;
	if (args->nname == KIR_MAX_SRC - 1)
		return kir_fail(p, &p->lex, "a loop carries at most %d values",
		                KIR_MAX_SRC - 2);
	kir_lex_blank(p);
	kir_lex where = p->lex;
	size_t len = kir_lex_name(p, '%', &name);
	args->name[args->nname].name = name;
	args->name[args->nname].len = len;
	args->name[args->nname++].where = where;
	return len && kir_lex_want(p, '=');
}

static bool parse_for(kir_parser *p, struct line *l)
{
	struct line args = { .op = KIR_OP_for };
	int64_t step = 1;
	if (!for_arg(p, &args) || !next_term(p, l))
		return false;
	if (!kir_lex_keyword(p, "to"))
		return kir_fail(p, &p->lex,
		                "'to' is expected behind the first value of a loop");
	if (!next_term(p, l) || (kir_lex_keyword(p, "step") && !kir_lex_int(p, &step)))
		return false;
	bool par = kir_lex_keyword(p, "par");
	if (kir_lex_keyword(p, "carry")) {
		if (!kir_lex_want(p, '('))
			return false;
		do
			if (!for_arg(p, &args) || !next_term(p, l))
				return false;
		while (comma(p));
		if (!kir_lex_want(p, ')'))
			return false;
	}
	if (l->nname + 2 != l->nterm)
		return kir_fail(p, &l->where, "the loop carries %u values but gives %u names",
		                l->nterm - 2, l->nname);
	if (!open_region(p))
		return false;
	bool good = for_body(p, l, &args, par, step);
	p->depth--;
	return good && line_end(p, l);
}

static bool if_sides(kir_parser *p, struct line *l, kir_ref op)
{
	struct yield y;
	unsigned mark = p->nsymbol, n;
	if (!region(p, op, 0, &y))
		return false;
	kir_scope_end(p, mark);
	n = y.n;
	kir_ref first = p->f->nnode;
	kir_else(p->f, y.src, n);
	p->f->node[first].line = y.line;
	if (!kir_lex_keyword(p, "else"))
		return kir_fail(p, &p->lex,
		                "'else' is expected behind the first side of an if");
	if (!kir_lex_want(p, '{') || !region(p, op, first, &y))
		return false;
	kir_scope_end(p, mark);
	if (y.n != n)
		return kir_fail(p, &l->where,
		                "one side of the if yields %u values, the other %u", n, y.n);
	if (l->nname != n)
		return kir_fail(p, &l->where, "the if yields %u values but gives %u names", n,
		                l->nname);
	kir_ref end = p->f->nnode, result = kir_if_end(p->f, op, y.src, n);
	p->f->node[end].line = y.line;
	return define_results(p, l, result);
}

static bool parse_if(kir_parser *p, struct line *l)
{
	if (!next_term(p, l) || !open_region(p))
		return false;
	bool good = constants(p, l, NULL);
	if (good) {
		kir_ref op = kir_if(p->f, l->src[0]);
		p->f->node[op].line = (uint32_t)l->where.line;
		good = if_sides(p, l, op);
	}
	p->depth--;
	return good && line_end(p, l);
}

/* `score(%s, %b, ...) { ... }`; n args, the first of type `elem`, the others s64. */
static bool attention_region(kir_parser *p, kir_ref op, kir_ref first, unsigned n)
{
	const char *word = first ? "mask" : "score", *name;
	struct yield y;
	unsigned mark = p->nsymbol;
	kir_lex_space(p);
	kir_lex where = p->lex;
	if (!kir_lex_keyword(p, word))
		return kir_fail(p, &where, "the attention's region '%s' is expected here",
		                word);
	if (!kir_lex_want(p, '('))
		return false;
	kir_ref arg = p->f->nnode;
	for (unsigned i = 0; i < n; i++)
		kir_emit(p->f, KIR_OP_arg, kir_scalar(p->m, first || i ? KIR_s64 : KIR_f32),
		         NULL, 0, (int64_t[]){ i });
	for (unsigned i = 0; i < n; i++) {
		kir_lex at = p->lex;
		size_t len = kir_lex_name(p, '%', &name);
		if (!len || !define_arg(p, name, len, arg + i, &at) ||
		    !kir_lex_want(p, i + 1 < n ? ',' : ')'))
			return false;
	}
	if (!kir_lex_want(p, '{') || !region(p, op, first, &y))
		return false;
	kir_scope_end(p, mark);
	if (y.n != 1)
		return kir_fail(p, &where, "%s yields one value, not %u", word, y.n);
	kir_ref end = kir_emit(p->f, KIR_OP_yield, KIR_NO_TYPE, y.src, y.n, NULL);
	p->f->node[end].line = y.line;
	return true;
}

static bool parse_attention(kir_parser *p, struct line *l)
{
	if (l->nname)
		return kir_fail(p, &l->where, "%s gives no value", mnemonic(l));
	if (!named_terms(p, l) || !attributes(p, l) || !constants(p, l, NULL))
		return false;
	kir_ref op = kir_emit(p->f, l->op, KIR_NO_TYPE, l->src, l->nterm, l->attr);
	p->f->node[op].line = (uint32_t)l->where.line;
	p->depth++;
	bool good =
	    attention_region(p, op, 0, 5) && attention_region(p, op, p->f->nnode - 1, 4);
	p->depth--;
	return good && line_end(p, l);
}

/* -- lines -- */

static bool parse_plain(kir_parser *p, struct line *l)
{
	unsigned flags = kir_ops[l->op].flags;
	if (!(flags & KIR_TYPED) && l->nname)
		return kir_fail(p, &l->where, "%s gives no value", mnemonic(l));
	if ((flags & KIR_TYPED) && l->nname != 1)
		return kir_fail(p, &l->where, "%s gives one value: %%name = %s ...",
		                mnemonic(l), mnemonic(l));
	if (flags & KIR_NAMED      ? !named_terms(p, l)
	    : kir_is_access(l->op) ? !access_terms(p, l)
	                           : !plain_terms(p, l))
		return false;
	if (flags & KIR_TYPED) {
		if (!kir_lex_is(p, ':'))
			return kir_fail(p, &p->lex, "the type of %s is expected here: ': TYPE'",
			                mnemonic(l));
		kir_lex_take(p, ':');
		if (!kir_parse_type(p, &l->type))
			return false;
	}
	if (!attributes(p, l) || !line_end(p, l) || !constants(p, l, NULL))
		return false;
	kir_ref n = kir_emit(p->f, l->op, l->type, l->src, l->nterm, l->attr);
	return define_results(p, l, l->nname ? n : 0);
}

static const char *op_name(unsigned i)
{
	switch (i) {
	case KIR_NONE:
	case KIR_OP_param:
	case KIR_OP_arg:
	case KIR_OP_res:
	case KIR_OP_const: return NULL;
	default: return kir_ops[i].name;
	}
}

static bool result_names(kir_parser *p, struct line *l)
{
	if (!kir_lex_is(p, '%'))
		return true;
	do {
		kir_lex_blank(p);
		kir_lex where = p->lex;
		if (l->nname == KIR_MAX_SRC)
			return kir_fail(p, &where, "an op gives at most %d values",
			                KIR_MAX_SRC);
		size_t len = kir_lex_name(p, '%', &l->name[l->nname].name);
		if (!len)
			return false;
		l->name[l->nname].len = len;
		l->name[l->nname++].where = where;
	} while (comma(p));
	return kir_lex_want(p, '=');
}

static bool parse_line(kir_parser *p, struct line *l)
{
	const char *word;
	char buf[64];
	if (!result_names(p, l))
		return false;
	kir_lex_blank(p);
	l->where = p->lex;
	size_t len = kir_lex_word(p, &word);
	l->op = kir_op_find(word, len);
	if (!len)
		return kir_fail(p, &l->where, "an op is expected here");
	if (!op_name(l->op))
		return kir_fail(p, &l->where, "unknown op '%.*s'%s", len > 40 ? 40 : (int)len,
		                word, kir_closest(word, len, op_name, KIR_NOP, buf));
	switch (l->op) {
	case KIR_OP_for: return parse_for(p, l);
	case KIR_OP_if: return parse_if(p, l);
	case KIR_OP_attention: return parse_attention(p, l);
	case KIR_OP_yield: return kir_fail(p, &l->where, "yield stands outside a region");
	case KIR_OP_ret: return kir_fail(p, &l->where, "ret stands inside a region");
	default: return parse_plain(p, l);
	}
}

/* One op with the regions it opens. After an error reading goes on behind it, with its
 * results known as wrong, so that one mistake is one message. */
static bool parse_op(kir_parser *p)
{
	struct line l = { 0 };
	kir_lex start = p->lex;
	unsigned mark = p->nsymbol, depth = p->depth, from = p->f->nnode;
	if (from > KIR_MAX_NODES - 4 * KIR_MAX_SRC) {
		p->stop = true;
		return kir_fail(p, &start, "a function has at most %u nodes", KIR_MAX_NODES);
	}
	if (parse_line(p, &l)) {
		for (; from < p->f->nnode; from++)
			if (!p->f->node[from].line)
				p->f->node[from].line = (uint32_t)l.where.line;
		return true;
	}
	if (p->stop)
		return false;
	p->depth = depth;
	kir_scope_end(p, mark);
	p->lex = start;
	kir_lex_skip_op(p);
	for (unsigned i = 0; i < l.nname; i++)
		if (l.name[i].len && !kir_lookup(p, l.name[i].name, l.name[i].len))
			kir_define(p, l.name[i].name, l.name[i].len, 0, &l.name[i].where);
	return false;
}

bool kir_parse_body(kir_parser *p)
{
	for (;;) {
		kir_lex_space(p);
		if (p->lex.at == p->lex.end)
			return kir_fail(p, &p->lex, "the text ends inside a function");
		if (*p->lex.at == '}')
			return kir_fail(p, &p->lex, "a function ends with ret");
		kir_lex where = p->lex;
		if (kir_lex_keyword(p, "ret")) {
			kir_ret(p->f);
			p->f->node[p->f->nnode - 1].line = (uint32_t)where.line;
			kir_lex_space(p);
			if (kir_lex_is(p, '}'))
				return kir_lex_take(p, '}');
			return kir_fail(p, &p->lex, "ret is the last op of a function");
		}
		if (!parse_op(p) && p->stop)
			return false;
	}
}
