/* SPDX-License-Identifier: Apache-2.0 */
/* format.c -- declared formats: the text as a whole, what its sides must be together, and
 * finding one by its name. format_rule.c reads statements about a side, format_place.c tensors;
 * format_print.c prints, format_side.c holds what one side's rules must be.
 *
 * docs/formats.md is the grammar.
 */
#include "format_parse.h"
#include "internal.h"

#include <string.h>

const char *const kir_stream_names[KIR_NSTREAM] = { "k", "v", "r", "ks", "vs", "rs" };

const char *const format_statements[] = { "elem",  "scale", "mean", "rotate", "apply",
	                                  "round", "nan",   "pack", NULL };

/* -- statements ------------------------------------------------------------------- */

/* The statements about all of a key: keys N, rest N, values shared. */
static bool parse_whole(format_parser *p)
{
	bool rest = format_is(p, "rest"), keys = format_is(p, "keys");

	format_next(p);
	if (rest)
		return format_number(p, "rest", 8, 65536, &p->f->rest);
	if (keys)
		return format_number(p, "keys", 16, 65536, &p->f->keys);
	if (!format_more(p) || !format_is(p, "shared"))
		return FORMAT_FAIL(
		    p, "values that are stored need no statement; others are 'shared'");
	p->f->shared = true;
	format_next(p);
	return true;
}

static void set_all(kir_format *f, int statement)
{
	const kir_side *k = &f->side[0];

	for (int i = 1; i < KIR_SIDES; i++) {
		kir_side *s = &f->side[i];

		switch (statement) {
		case FORMAT_ELEM:
			s->elem = k->elem;
			s->bits = k->bits;
			break;
		case FORMAT_PACK: s->pack = k->pack; break;
		case FORMAT_MEAN: s->mean = k->mean; break;
		case FORMAT_ROTATE:
			s->rotate = k->rotate;
			s->signs = k->signs;
			break;
		case FORMAT_APPLY: s->reciprocal = k->reciprocal; break;
		case FORMAT_ROUND: s->round = k->round; break;
		case FORMAT_NAN: s->nan = k->nan; break;
		default:
			s->gran = k->gran;
			s->scale_elem = k->scale_elem;
			s->group = k->group;
			s->tokens = k->tokens;
			s->rule = k->rule;
			s->divisor = k->divisor;
			s->other = k->other;
			s->inverse = k->inverse;
			s->range = k->range;
			s->eps = k->eps;
			s->floor = k->floor;
			s->global = k->global;
			s->row = k->row;
		}
	}
}

/* Each statement once, and what is about one side behind what is about all: none replaces
 * another unseen. */
static bool check_once(format_parser *p, int statement, int side)
{
	unsigned bit = 1u << statement, *own = &p->given[side < 0 ? KIR_SIDES : side];

	if (*own & bit)
		return FORMAT_FAIL(p, "%s%s is given twice",
		                   side < 0    ? ""
		                   : side == 0 ? "k."
		                   : side == 1 ? "v."
		                               : "r.",
		                   format_statements[statement]);
	for (int i = 0; side < 0 && i < KIR_SIDES; i++)
		if (p->given[i] & bit)
			return FORMAT_FAIL(
			    p,
			    "%s is for all sides, and would replace %c.%s before it: "
			    "write it first",
			    format_statements[statement], format_letter(i),
			    format_statements[statement]);
	*own |= bit;
	return true;
}

static bool parse_statement(format_parser *p)
{
	const char *at = p->s;
	size_t n = p->n;
	int side = -1, w;

	if (p->kind != 'w' || !p->fresh)
		return FORMAT_FAIL(p, "expected a new line or ';' before '%.*s'",
		                   format_shown(p), p->s);
	if (format_is(p, "tensor")) {
		format_next(p);
		return format_parse_tensor(p);
	}
	if (format_is(p, "keys") || format_is(p, "rest") || format_is(p, "values"))
		return parse_whole(p);
	if (n > 2 && at[1] == '.' && (*at == 'k' || *at == 'v' || *at == 'r')) {
		side = *at == 'k' ? 0 : *at == 'v' ? 1 : 2;
		p->s += 2;
		p->n -= 2;
	}
	w = format_word(p, format_statements);
	if (w < 0)
		return FORMAT_FAIL(
		    p,
		    "'%.*s' is no statement: elem, scale, mean, rotate, apply, round, "
		    "nan, pack "
		    "(with k., v. or "
		    "r. for one side), keys N, rest N, values shared or tensor",
		    format_shown(p), p->s);
	if (!check_once(p, w, side))
		return false;
	format_next(p);
	if (p->kind != 'w' || p->fresh)
		return FORMAT_FAIL(p, "%s needs a value", format_statements[w]);
	p->one_side |= side < 0 ? 0 : 1u << side;
	if (!format_parse_side(p, w, &p->f->side[side < 0 ? 0 : side]))
		return false;
	if (side < 0)
		set_all(p->f, w);
	return true;
}

/* format NAME vN {, then statements up to the brace that closes it. */
static bool parse_all(format_parser *p)
{
	kir_format *f = p->f;

	format_next(p);
	if (!format_is(p, "format"))
		return FORMAT_FAIL(p, "expected 'format NAME vN {'");
	format_next(p);
	if (p->kind != 'w')
		return FORMAT_FAIL(p, "a format needs a name");
	f->name = kir_strdup(p->m, p->s, p->n);
	format_next(p);
	if (p->kind != 'w' || p->n < 2 || *p->s != 'v' ||
	    !format_int(p->s + 1, p->n - 1, &f->version))
		return FORMAT_FAIL(p, "format %s needs a version: v1, v2, ...", f->name);
	format_next(p);
	if (!format_expect(p, '{', "after the version"))
		return false;
	p->fresh = true;
	while (p->kind && p->kind != '}')
		if (!parse_statement(p))
			return false;
	if (!format_expect(p, '}', "at the end of the format"))
		return false;
	if (p->kind)
		return FORMAT_FAIL(p, "text after the format's last brace");
	return true;
}

/* -- declared formats --------------------------------------------------------------- */

/* Scales of groups of tokens are of keys in one part; values follow those of their token. */
static bool check_tokens(const kir_format *f, int line, kir_diag *d)
{
	const kir_side *k = &f->side[0];

	if (f->side[1].tokens && !f->shared)
		kir_error(
		    d, line, 1,
		    "format %s: v.scale tokens %d: scales of groups of tokens are for keys "
		    "only, write k.scale and another v.scale",
		    f->name, f->side[1].tokens);
	else if (k->tokens && (f->shared || f->rest))
		kir_error(
		    d, line, 1,
		    "format %s: k.scale tokens %d is about keys in one part and values that "
		    "are stored, not with rest or values shared",
		    f->name, k->tokens);
	else if (k->tokens && (k->rotate || k->global || k->mean || k->other > 0))
		kir_error(d, line, 1, "format %s: k.scale tokens %d: not with %s", f->name,
		          k->tokens,
		          k->rotate      ? "rotate"
		          : k->mean      ? "mean"
		          : k->other > 0 ? "or NUMBER"
		                         : "global");
	else
		return true;
	return false;
}

/* A side that isn't stored has nothing of its own, so that equal formats print the same. */
static bool check_sides(format_parser *p, int line)
{
	kir_format *f = p->f;

	if (f->shared && p->one_side & 2) {
		kir_error(p->d, line, 1,
		          "format %s: values shared: they are stored as keys are, v. says "
		          "nothing",
		          f->name);
		return false;
	}
	if (!f->rest && p->one_side & 4) {
		kir_error(
		    p->d, line, 1,
		    "format %s: r. is about the rest of a key: say with 'rest N' how many "
		    "elements that is",
		    f->name);
		return false;
	}
	if (f->shared)
		f->side[1] = f->side[0];
	if (!f->rest)
		f->side[2] = f->side[0];
	for (int i = 0; i < KIR_SIDES; i++)
		if (!format_check_side(f, i, line, p->d))
			return false;
	if ((f->shared || f->rest) && (f->side[0].rotate || f->side[1].rotate)) {
		kir_error(p->d, line, 1,
		          "format %s: rotate is about keys in one part and values that are "
		          "stored, not with rest or values shared",
		          f->name);
		return false;
	}
	if (f->side[0].mean && (f->shared || f->rest)) {
		kir_error(p->d, line, 1,
		          "format %s: mean is about keys in one part and values that are "
		          "stored, not with rest or values shared",
		          f->name);
		return false;
	}
	if (f->side[1].mean) {
		kir_error(p->d, line, 1,
		          "format %s: values are stored whole, only keys less a mean: write "
		          "k.mean given",
		          f->name);
		return false;
	}
	if (!check_tokens(f, line, p->d))
		return false;
	if (kir_side_given(&f->side[0]) == kir_side_given(&f->side[2]))
		return true;
	kir_error(p->d, line, 1,
	          "format %s: a scale that is handed over is for the whole key, so k.scale and "
	          "r.scale are both given or neither",
	          f->name);
	return false;
}

static bool declare(kir_module *m, kir_format *f, int line, kir_diag *d)
{
	const kir_format *old = kir_format_find(m, f->name);

	if (old && kir_format_hash(old) == kir_format_hash(f))
		return true;
	if (old) {
		kir_error(d, line, 1, "format %s is declared twice, differently", f->name);
		return false;
	}
	m->format = kir_grow(m, m->format, m->nformat, &m->format_cap, sizeof(*m->format));
	m->format[m->nformat++] = f;
	return true;
}

bool kir_format_parse_body(kir_module *m, const char *text, size_t len, int line, kir_diag *d)
{
	kir_format *f = kir_alloc(m, sizeof(*f));
	format_parser p = { .m = m,
		            .d = d,
		            .f = f,
		            .at = text,
		            .end = text + len,
		            .line_start = text,
		            .line = line };

	f->tensor = kir_alloc(m, KIR_MAX_TENSORS * sizeof(*f->tensor));
	for (int i = 0; i < KIR_SIDES; i++)
		f->side[i].pack = 1;
	return parse_all(&p) && check_sides(&p, line) && kir_format_check(f, d) &&
	       declare(m, f, line, d);
}

const kir_format *kir_format_find(const kir_module *m, const char *name)
{
	for (unsigned i = 0; i < m->nformat; i++)
		if (!strcmp(m->format[i]->name, name))
			return m->format[i];
	return NULL;
}
