/* SPDX-License-Identifier: Apache-2.0 */
/* format.c -- the text of a declared format: parse, check, find. format_print.c prints it,
 * format_side.c holds what one side's rules must be.
 *
 * docs/formats.md is the grammar.
 */
#include "format_priv.h"
#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const kir_stream_names[KIR_NSTREAM] = { "k", "v", "r", "ks", "vs", "rs" };

const char *const format_statements[] = { "elem",  "scale", "mean", "rotate", "apply",
	                                  "round", "nan",   "pack", NULL };
const char *const format_grans[] = {
	"none", "tensor", "head", "token-head", "group", "tokens"
};
const char *const format_means[] = { "none", "given", NULL };
const char *const format_rounds[] = { "even", "away", "zero", NULL };
const char *const format_nans[] = { "keep", "max", "zero", NULL };
const char *const format_applies[] = { "divide", "reciprocal", NULL };

/* -- tokens --------------------------------------------------------------------- */

typedef struct parser {
	kir_module *m;
	kir_diag *d;
	kir_format *f;
	const char *at, *end, *line_start;
	int line;
	unsigned items, one_side; /* bit 0: a statement about K alone was seen, ...       */
	unsigned given[KIR_SIDES + 1]; /* bit of each statement seen of a side; last: of all */
	/* the token at hand: kind 'w' for a word, the character of a bracket, 0 at the end */
	char kind;
	const char *s;
	size_t n;
	int tline, tcol;
	bool fresh; /* first of a line or after ';'                                       */
	bool glued; /* no blank before it                                                 */
} parser;

static void advance(parser *p)
{
	p->fresh = false;
	p->glued = true;
	for (; p->at < p->end; p->at++) {
		if (*p->at == '#')
			while (p->at + 1 < p->end && p->at[1] != '\n')
				p->at++;
		else if (*p->at == '\n') {
			p->line++;
			p->line_start = p->at + 1;
			p->fresh = true;
		} else if (*p->at == ';')
			p->fresh = true;
		else if (*p->at != ' ' && *p->at != '\t' && *p->at != '\r')
			break;
		p->glued = false;
	}
	p->s = p->at;
	p->tline = p->line;
	p->tcol = (int)(p->at - p->line_start) + 1;
	p->kind = 0;
	if (p->at == p->end)
		return;
	if (strchr("{}[]", *p->at)) {
		p->kind = *p->at++;
	} else {
		p->kind = 'w';
		while (p->at < p->end && !strchr("{}[]; \t\r\n#", *p->at))
			p->at++;
	}
	p->n = (size_t)(p->at - p->s);
}

/* A message at the token at hand; parsing stops at the first one. */
#define FAIL(p, ...) (kir_error((p)->d, (p)->tline, (p)->tcol, __VA_ARGS__), false)

static int shown(const parser *p)
{
	return p->n > 40 ? 40 : (int)p->n;
}

static bool is_word(const parser *p, const char *w)
{
	return p->kind == 'w' && p->n == strlen(w) && !memcmp(p->s, w, p->n);
}

static bool same_statement(const parser *p)
{
	return p->kind == 'w' && !p->fresh;
}

static bool expect(parser *p, char kind, const char *where)
{
	if (p->kind != kind)
		return FAIL(p, "expected '%c' %s", kind, where);
	advance(p);
	return true;
}

/* An integer of at most 7 digits. */
static bool read_int(const char *s, size_t n, int *out)
{
	if (n == 0 || n > 7)
		return false;
	*out = 0;
	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		*out = *out * 10 + (s[i] - '0');
	}
	return true;
}

static bool number(parser *p, const char *what, int min, int max, int *out)
{
	if (p->kind != 'w' || !read_int(p->s, p->n, out) || *out < min || *out > max)
		return FAIL(p, "%s must be an integer from %d to %d", what, min, max);
	advance(p);
	return true;
}

static bool positive(parser *p, const char *s, size_t n, const char *what, double *out)
{
	if (n < 40 && kir_read_float(s, n, out) && *out > 0 && isfinite(*out))
		return true;
	return FAIL(p, "%s must be a positive number, not '%.*s'", what, (int)(n > 40 ? 40 : n),
	            s);
}

static int find_word(const parser *p, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (is_word(p, words[i]))
			return i;
	return -1;
}

/* -- statements ------------------------------------------------------------------- */

static bool code_elem(kir_elem e)
{
	const kir_elem_info *i = &kir_elems[e];

	return e == KIR_s8 || e == KIR_u8 ||
	       (kir_is_float(e) && i->kind != 'E' && i->bits <= 32);
}

static bool scale_elem(kir_elem e)
{
	return kir_is_float(e) && kir_elems[e].bits >= 8 && kir_elems[e].bits <= 32;
}

static bool parse_elem(parser *p, const char *what, bool (*ok)(kir_elem), kir_elem *out)
{
	char list[200] = "";
	size_t used = 0;

	for (int e = 1; e < KIR_NELEM; e++) {
		if (!ok((kir_elem)e))
			continue;
		if (is_word(p, kir_elems[e].name)) {
			*out = (kir_elem)e;
			advance(p);
			return true;
		}
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
		                         used ? ", " : "", kir_elems[e].name);
	}
	if (ok == code_elem)
		snprintf(list + used, sizeof(list) - used, ", " FORMAT_S4 ", " FORMAT_U4);
	return FAIL(p, "%s '%.*s' is none of %s", what, shown(p), p->s, list);
}

static bool parse_code_elem(parser *p, kir_side *s)
{
	if (is_word(p, FORMAT_S4) || is_word(p, FORMAT_U4)) {
		s->elem = is_word(p, FORMAT_S4) ? KIR_s8 : KIR_u8;
		s->bits = 4;
		advance(p);
		return true;
	}
	if (!parse_elem(p, "elem", code_elem, &s->elem))
		return false;
	s->bits = kir_elems[s->elem].bits;
	return true;
}

static bool parse_rule(parser *p, kir_side *s)
{
	static const char *const rules[] = { "pow2", "pow2-down", "pow2-near", NULL };
	int pow2 = -1;
	static const char *const heads[] = { "amax/", "amax*1/", "range/" };
	size_t head = 0;
	int h = 0;

	s->global = s->row = false;
	for (; h < 3; h++) {
		head = strlen(heads[h]);
		if (p->kind == 'w' && p->n > head && !memcmp(p->s, heads[h], head))
			break;
	}
	if (h == 3)
		return FAIL(
		    p, "a computed scale's rule is amax/NUMBER, amax*1/NUMBER or range/NUMBER, "
		       "then [or NUMBER] [eps NUMBER] [floor NUMBER] "
		       "[pow2|pow2-down|pow2-near] [row] [global]");
	if (!positive(p, p->s + head, p->n - head,
	              h == 2 ? "the divisor of range" : "the divisor of amax", &s->divisor))
		return false;
	s->inverse = h == 1;
	s->range = h == 2;
	advance(p);
	if (same_statement(p) && is_word(p, "or")) {
		advance(p);
		if (!positive(p, p->s, p->n, "the divisor after or", &s->other))
			return false;
		advance(p);
	}
	for (; same_statement(p); advance(p)) {
		bool eps = is_word(p, "eps");
		double *least = eps ? &s->eps : &s->floor;

		if (pow2 < 0 && (pow2 = find_word(p, rules)) >= 0)
			continue;
		if (is_word(p, "row") && !s->row) {
			s->row = true;
			continue;
		}
		if (is_word(p, "global") && !s->global) {
			s->global = true;
			continue;
		}
		if ((!eps && !is_word(p, "floor")) || *least > 0)
			return FAIL(
			    p,
			    "after amax/NUMBER come eps NUMBER, floor NUMBER, pow2, "
			    "pow2-down or pow2-near, row and global, each once, not '%.*s'",
			    shown(p), p->s);
		advance(p);
		if (!positive(p, p->s, p->n, eps ? "eps" : "scale floor", least))
			return false;
	}
	s->rule = pow2 >= 0 ? (kir_scale_rule)(KIR_RULE_pow2 + pow2) : KIR_RULE_amax;
	if (pow2 < 0 && s->floor == 0 && s->eps == 0 && !s->global)
		return FAIL(p,
		            "a scale %s/%g needs eps or a floor, or a row of zeros would "
		            "divide by zero",
		            s->range ? "range" : "amax", s->divisor);
	return true;
}

static bool parse_tokens(parser *p, int *tokens)
{
	if (!number(p, "scale tokens", 16, 256, tokens))
		return false;
	return *tokens % 16 == 0 || FAIL(p, "scale tokens must be a multiple of 16");
}

/* scale none | ELEM tensor given | ELEM head given | ELEM token-head RULE | ELEM group N RULE
 * | ELEM tokens N RULE */
static bool parse_scale(parser *p, kir_side *s)
{
	int gran;

	s->rule = KIR_RULE_given;
	s->divisor = s->other = s->eps = s->floor = 0;
	s->inverse = s->range = false;
	s->group = s->tokens = 0;
	s->global = s->row = false;
	if (is_word(p, "none")) {
		s->gran = KIR_GRAN_none;
		s->scale_elem = KIR_VOID;
		advance(p);
		return true;
	}
	if (!parse_elem(p, "scale element", scale_elem, &s->scale_elem))
		return false;
	for (gran = KIR_GRAN_tensor; gran <= KIR_GRAN_tokens; gran++)
		if (is_word(p, format_grans[gran]))
			break;
	if (gran > KIR_GRAN_tokens)
		return FAIL(p,
		            "what shares a scale must be tensor, head, token-head, group N or "
		            "tokens N");
	s->gran = (kir_gran)gran;
	advance(p);
	if (gran == KIR_GRAN_group && !number(p, "scale group", 8, 4096, &s->group))
		return false;
	if (gran == KIR_GRAN_tokens && !parse_tokens(p, &s->tokens))
		return false;
	if (format_stored(s))
		return parse_rule(p, s);
	if (!is_word(p, "given"))
		return FAIL(p,
		            "a scale for each %s is handed over by the caller: write 'given'",
		            format_grans[gran]);
	if (s->scale_elem != KIR_f32)
		return FAIL(p, "a scale that is handed over is f32");
	advance(p);
	return true;
}

static bool parse_choice(parser *p, const char *what, const char *const *words, int *out)
{
	int i = find_word(p, words);

	if (i < 0)
		return FAIL(p, "%s must be %s%s%s or %s", what, words[0], words[2] ? ", " : "",
		            words[2] ? words[1] : "", words[2] ? words[2] : words[1]);
	*out = i;
	advance(p);
	return true;
}

/* One statement about a side. What: the statement's keyword without its k. or v. */
static bool parse_apply(parser *p, bool *reciprocal)
{
	int apply = 0;
	bool ok = parse_choice(p, "apply", format_applies, &apply);

	*reciprocal = apply;
	return ok;
}

static bool parse_mean(parser *p, bool *mean)
{
	int given = 0;
	bool ok = parse_choice(p, "mean", format_means, &given);

	*mean = given;
	return ok;
}

/* none | hadamard [N] [signs] */
static bool parse_rotate(parser *p, kir_side *s)
{
	s->rotate = 0;
	s->signs = false;
	if (is_word(p, "none")) {
		advance(p);
		return true;
	}
	if (!is_word(p, "hadamard"))
		return FAIL(p, "rotate must be none or hadamard [N] [signs]");
	advance(p);
	s->rotate = KIR_ROTATE_WHOLE;
	if (same_statement(p) && !is_word(p, "signs") &&
	    (!number(p, "the block of rotate", 16, 4096, &s->rotate) ||
	     (s->rotate & (s->rotate - 1))))
		return p->d->n ? false
		               : FAIL(p, "the block of rotate must be a power of two from 16 "
		                         "to 4096");
	if (same_statement(p) && is_word(p, "signs")) {
		s->signs = true;
		advance(p);
	}
	return true;
}

static bool parse_pack(parser *p, int *pack)
{
	if (!number(p, "pack", 1, 32, pack))
		return false;
	return !(*pack & (*pack - 1)) || FAIL(p, "pack must be a power of two from 1 to 32");
}

static bool parse_side(parser *p, int statement, kir_side *s)
{
	switch (statement) {
	case FORMAT_ELEM: return parse_code_elem(p, s);
	case FORMAT_SCALE: return parse_scale(p, s);
	case FORMAT_MEAN: return parse_mean(p, &s->mean);
	case FORMAT_ROTATE: return parse_rotate(p, s);
	case FORMAT_APPLY: return parse_apply(p, &s->reciprocal);
	case FORMAT_ROUND: return parse_choice(p, "round", format_rounds, &s->round);
	case FORMAT_NAN: return parse_choice(p, "nan", format_nans, &s->nan);
	default: return parse_pack(p, &s->pack);
	}
}

static bool parse_piece(parser *p, const char *axes, struct format_piece *out)
{
	const char *s = p->s, *end = p->s + p->n;

	*out = (struct format_piece){ .axis = p->kind == 'w' ? *s : ' ', .div = 1, .mod = 0 };
	if (p->kind == 'w' && strchr(axes, *s)) {
		s++;
		for (int k = 0; k < 2; k++) {
			const char *from = s + 1;

			if (s == end || *s != "/%"[k])
				continue;
			for (s++; s < end && *s >= '0' && *s <= '9'; s++)
				;
			if (!read_int(from, (size_t)(s - from), k ? &out->mod : &out->div) ||
			    (k ? out->mod : out->div) < 1 || (k ? out->mod : out->div) > 65536)
				return FAIL(p,
				            "'%.*s': after %c comes an integer from 1 to 65536",
				            shown(p), p->s, "/%"[k]);
		}
		if (s == end) {
			advance(p);
			return true;
		}
	}
	return FAIL(p, "'%.*s' is no piece: an axis of \"%s\", then /N, %%N or both", shown(p),
	            p->s, axes);
}

/* [PIECE...]; the bracket is at hand. */
static bool parse_pieces(parser *p, const char *axes, struct format_piece *out, unsigned max,
                         unsigned *n)
{
	*n = 0;
	advance(p);
	while (p->kind == 'w') {
		if (*n == max)
			return FAIL(p, "more than %u pieces", max);
		if (!parse_piece(p, axes, &out[(*n)++]))
			return false;
	}
	if (*n == 0)
		return FAIL(p, "expected pieces like t/16 or d between [ and ]");
	return expect(p, ']', "after the pieces");
}

static bool parse_items(parser *p, unsigned depth, struct format_item **out, unsigned *n);

static bool parse_item(parser *p, unsigned depth, struct format_item *it)
{
	int bytes;

	*it = (struct format_item){ .line = p->tline, .col = p->tcol };
	if (p->kind == '[') {
		it->kind = FORMAT_GROUP;
		return parse_pieces(p, "htdg", it->piece, KIR_PIECES, &it->npiece) &&
		       parse_items(p, depth + 1, &it->item, &it->nitem);
	}
	if (is_word(p, "pad") || is_word(p, "align")) {
		it->kind = is_word(p, "pad") ? FORMAT_PAD : FORMAT_ALIGN;
		advance(p);
		if (!number(p, it->kind == FORMAT_PAD ? "pad" : "align", 1, 65536, &bytes))
			return false;
		it->bytes = bytes;
		return true;
	}
	it->kind = FORMAT_LEAF;
	for (int s = 0; s < KIR_NSTREAM; s++) {
		if (!is_word(p, kir_stream_names[s]))
			continue;
		it->stream = (kir_stream)s;
		advance(p);
		if (p->kind != '[' || !p->glued)
			return true;
		return parse_pieces(p, s < KIR_S_ks ? "htd" : "htgd", it->piece, KIR_PIECES,
		                    &it->npiece);
	}
	return FAIL(p,
	            "'%.*s' is no item: k, v, r, ks, vs, rs, pad N, align N or [AXES] { ... }",
	            shown(p), p->s);
}

/* { ITEM... }, into the arena. */
static bool parse_items(parser *p, unsigned depth, struct format_item **out, unsigned *n)
{
	struct format_item item[FORMAT_MAX_ITEMS / 4];

	*n = 0;
	if (depth > FORMAT_MAX_DEPTH)
		return FAIL(p, "groups nested more than %d deep", FORMAT_MAX_DEPTH);
	if (!expect(p, '{', "before a tensor's items"))
		return false;
	while (p->kind && p->kind != '}') {
		if (*n == FORMAT_MAX_ITEMS / 4 || p->items++ == FORMAT_MAX_ITEMS)
			return FAIL(p, "more than %d items", FORMAT_MAX_ITEMS / 4);
		if (!parse_item(p, depth, &item[*n]))
			return false;
		(*n)++;
	}
	*out = kir_alloc(p->m, (*n + 1) * sizeof(item[0]));
	memcpy(*out, item, *n * sizeof(item[0]));
	return expect(p, '}', "after a tensor's items");
}

static bool parse_tensor(parser *p)
{
	kir_format *f = p->f;
	struct kir_format_tensor *t = &f->tensor[f->ntensor];
	struct format_piece piece[2];

	if (f->ntensor == KIR_MAX_TENSORS)
		return FAIL(p, "more than %d tensors", KIR_MAX_TENSORS);
	if (!same_statement(p))
		return FAIL(p, "tensor needs a name");
	for (size_t i = 0; i < p->n; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789",
		            p->s[i]))
			return FAIL(p, "a tensor's name has letters, digits and _");
	*t = (struct kir_format_tensor){ .name = kir_strdup(p->m, p->s, p->n),
		                         .line = p->tline,
		                         .col = p->tcol };
	for (unsigned i = 0; i < f->ntensor; i++)
		if (!strcmp(f->tensor[i].name, t->name))
			return FAIL(p, "two tensors are called '%s'", t->name);
	f->ntensor++;
	advance(p);
	if (p->kind == '[') {
		if (!parse_pieces(p, "ht", piece, 2, &t->naxis))
			return false;
		for (unsigned i = 0; i < t->naxis; i++) {
			if (piece[i].div != 1 || piece[i].mod)
				return FAIL(p, "a tensor's own axes are whole: h and t");
			t->axis[i] = piece[i].axis;
		}
	}
	return parse_items(p, 0, &t->item, &t->nitem);
}

/* The statements about all of a key: keys N, rest N, values shared. */
static bool parse_whole(parser *p)
{
	bool rest = is_word(p, "rest"), keys = is_word(p, "keys");

	advance(p);
	if (rest)
		return number(p, "rest", 8, 65536, &p->f->rest);
	if (keys)
		return number(p, "keys", 16, 65536, &p->f->keys);
	if (!same_statement(p) || !is_word(p, "shared"))
		return FAIL(p, "values that are stored need no statement; others are 'shared'");
	p->f->shared = true;
	advance(p);
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
static bool check_once(parser *p, int statement, int side)
{
	unsigned bit = 1u << statement, *own = &p->given[side < 0 ? KIR_SIDES : side];

	if (*own & bit)
		return FAIL(p, "%s%s is given twice",
		            side < 0    ? ""
		            : side == 0 ? "k."
		            : side == 1 ? "v."
		                        : "r.",
		            format_statements[statement]);
	for (int i = 0; side < 0 && i < KIR_SIDES; i++)
		if (p->given[i] & bit)
			return FAIL(p,
			            "%s is for all sides, and would replace %c.%s before it: "
			            "write it first",
			            format_statements[statement], format_letter(i),
			            format_statements[statement]);
	*own |= bit;
	return true;
}

static bool parse_statement(parser *p)
{
	const char *at = p->s;
	size_t n = p->n;
	int side = -1, w;

	if (p->kind != 'w' || !p->fresh)
		return FAIL(p, "expected a new line or ';' before '%.*s'", shown(p), p->s);
	if (is_word(p, "tensor")) {
		advance(p);
		return parse_tensor(p);
	}
	if (is_word(p, "keys") || is_word(p, "rest") || is_word(p, "values"))
		return parse_whole(p);
	if (n > 2 && at[1] == '.' && (*at == 'k' || *at == 'v' || *at == 'r')) {
		side = *at == 'k' ? 0 : *at == 'v' ? 1 : 2;
		p->s += 2;
		p->n -= 2;
	}
	w = find_word(p, format_statements);
	if (w < 0)
		return FAIL(p,
		            "'%.*s' is no statement: elem, scale, mean, rotate, apply, round, "
		            "nan, pack "
		            "(with k., v. or "
		            "r. for one side), keys N, rest N, values shared or tensor",
		            shown(p), p->s);
	if (!check_once(p, w, side))
		return false;
	advance(p);
	if (p->kind != 'w' || p->fresh)
		return FAIL(p, "%s needs a value", format_statements[w]);
	p->one_side |= side < 0 ? 0 : 1u << side;
	if (!parse_side(p, w, &p->f->side[side < 0 ? 0 : side]))
		return false;
	if (side < 0)
		set_all(p->f, w);
	return true;
}

/* format NAME vN {, then statements up to the brace that closes it. */
static bool parse_all(parser *p)
{
	kir_format *f = p->f;

	advance(p);
	if (!is_word(p, "format"))
		return FAIL(p, "expected 'format NAME vN {'");
	advance(p);
	if (p->kind != 'w')
		return FAIL(p, "a format needs a name");
	f->name = kir_strdup(p->m, p->s, p->n);
	advance(p);
	if (p->kind != 'w' || p->n < 2 || *p->s != 'v' ||
	    !read_int(p->s + 1, p->n - 1, &f->version))
		return FAIL(p, "format %s needs a version: v1, v2, ...", f->name);
	advance(p);
	if (!expect(p, '{', "after the version"))
		return false;
	p->fresh = true;
	while (p->kind && p->kind != '}')
		if (!parse_statement(p))
			return false;
	if (!expect(p, '}', "at the end of the format"))
		return false;
	if (p->kind)
		return FAIL(p, "text after the format's last brace");
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
static bool check_sides(parser *p, int line)
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
	parser p = { .m = m,
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
