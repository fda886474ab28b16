/* SPDX-License-Identifier: Apache-2.0 */
/* format.c -- the text of a declared format: parse, print, hash, find.
 *
 * The canonical print leaves out statements that have their default (apply divide, round even,
 * nan keep) and writes one for both sides where they agree; parsing it gives the same format.
 * Its hash stands for the format in every kernel's key, so whatever changes bytes must be in
 * the print. docs/formats.md is the grammar.
 */
#include "format_priv.h"
#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const kir_stream_names[KIR_NSTREAM] = { "k", "v", "r", "ks", "vs", "rs" };

static const char *const gran_names[] = { "none", "tensor", "head", "token-head", "group" };
static const char *const round_names[] = { "even", "away", "zero", NULL };
static const char *const nan_names[] = { "keep", "max", "zero", NULL };
static const char *const apply_names[] = { "divide", "reciprocal", NULL };

/* -- tokens --------------------------------------------------------------------- */

typedef struct parser {
	kir_module *m;
	kir_diag *d;
	kir_format *f;
	const char *at, *end, *line_start;
	int line;
	unsigned items, one_side; /* bit 0: a statement about K alone was seen, ...       */
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

	return e == KIR_s8 || (kir_is_float(e) && i->kind != 'E' && i->bits <= 32);
}

/* Integers of 4 bits: elements only of stored codes, 8-bit ones wherever they are values. */
static const struct {
	const char *name;
	kir_elem elem;
} nibbles[] = { { "s4", KIR_s8 }, { "u4", KIR_u8 } };

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
		snprintf(list + used, sizeof(list) - used, ", s4");
	return FAIL(p, "%s '%.*s' is none of %s", what, shown(p), p->s, list);
}

static bool parse_code_elem(parser *p, kir_side *s)
{
	for (size_t i = 0; i < sizeof nibbles / sizeof *nibbles; i++)
		if (is_word(p, nibbles[i].name) && nibbles[i].elem == KIR_s8) {
			s->elem = nibbles[i].elem;
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
	size_t head = p->kind == 'w' && p->n > 7 && !memcmp(p->s, "amax*1/", 7) ? 7 : 5;

	s->global = false;
	if (p->kind != 'w' || p->n < 6 || (head == 5 && memcmp(p->s, "amax/", 5)))
		return FAIL(p,
		            "a computed scale's rule is amax/NUMBER or amax*1/NUMBER, then "
		            "[eps NUMBER] [floor NUMBER] [pow2|pow2-down|pow2-near] [global]");
	if (!positive(p, p->s + head, p->n - head, "the divisor of amax", &s->divisor))
		return false;
	s->inverse = head == 7;
	advance(p);
	for (; same_statement(p); advance(p)) {
		bool eps = is_word(p, "eps");
		double *least = eps ? &s->eps : &s->floor;

		if (pow2 < 0 && (pow2 = find_word(p, rules)) >= 0)
			continue;
		if (is_word(p, "global") && !s->global) {
			s->global = true;
			continue;
		}
		if ((!eps && !is_word(p, "floor")) || *least > 0)
			return FAIL(p,
			            "after amax/NUMBER come eps NUMBER, floor NUMBER, pow2, "
			            "pow2-down or pow2-near, and global, each once, not '%.*s'",
			            shown(p), p->s);
		advance(p);
		if (!positive(p, p->s, p->n, eps ? "eps" : "scale floor", least))
			return false;
	}
	s->rule = pow2 >= 0 ? (kir_scale_rule)(KIR_RULE_pow2 + pow2) : KIR_RULE_amax;
	if (pow2 < 0 && s->floor == 0 && s->eps == 0 && !s->global)
		return FAIL(p,
		            "a scale amax/%g needs eps or a floor, or a row of zeros would "
		            "divide by zero",
		            s->divisor);
	return true;
}

/* A divisor that f32 flushes to zero, or a floor that the stored scale does, would divide by
 * zero after all. */
static bool check_range(const kir_format *f, int side, int line, kir_diag *d)
{
	const kir_side *s = &f->side[side];

	if (!format_stored(s))
		return true;
	if (!isnormal((float)s->divisor)) {
		kir_error(d, line, 1,
		          "format %s: %c.scale amax/%g: the divisor must be a normal f32",
		          f->name, format_letter(side), s->divisor);
		return false;
	}
	double least = s->rule == KIR_RULE_amax ? s->eps / s->divisor : 0;

	if (s->eps > 0 && !isnormal((float)s->eps)) {
		kir_error(d, line, 1, "format %s: %c.scale eps %g must be a normal f32",
		          f->name, format_letter(side), s->eps);
		return false;
	}
	least = s->floor > least ? s->floor : least;
	if (least > 0 && !isnormal((float)kir_round_to(s->scale_elem, least))) {
		kir_error(d, line, 1,
		          "format %s: %c.scale %s %g, stored as %s, is no normal number",
		          f->name, format_letter(side), s->floor > 0 ? "floor" : "eps",
		          s->floor > 0 ? s->floor : s->eps, kir_elems[s->scale_elem].name);
		return false;
	}
	return true;
}

/* scale none | ELEM tensor given | ELEM head given | ELEM token-head RULE | ELEM group N RULE
 */
static bool parse_scale(parser *p, kir_side *s)
{
	int gran;

	s->rule = KIR_RULE_given;
	s->divisor = s->eps = s->floor = 0;
	s->inverse = false;
	s->group = 0;
	s->global = false;
	if (is_word(p, "none")) {
		s->gran = KIR_GRAN_none;
		s->scale_elem = KIR_VOID;
		advance(p);
		return true;
	}
	if (!parse_elem(p, "scale element", scale_elem, &s->scale_elem))
		return false;
	for (gran = KIR_GRAN_tensor; gran <= KIR_GRAN_group; gran++)
		if (is_word(p, gran_names[gran]))
			break;
	if (gran > KIR_GRAN_group)
		return FAIL(p,
		            "what shares a scale must be tensor, head, token-head or group N");
	s->gran = (kir_gran)gran;
	advance(p);
	if (gran == KIR_GRAN_group && !number(p, "scale group", 8, 4096, &s->group))
		return false;
	if (format_stored(s))
		return parse_rule(p, s);
	if (!is_word(p, "given"))
		return FAIL(p,
		            "a scale for each %s is handed over by the caller: write 'given'",
		            gran_names[gran]);
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
static bool parse_side(parser *p, const char *what, kir_side *s)
{
	int apply = 0;

	if (!strcmp(what, "elem"))
		return parse_code_elem(p, s);
	if (!strcmp(what, "pack")) {
		if (!number(p, "pack", 1, 32, &s->pack))
			return false;
		return !(s->pack & (s->pack - 1)) ||
		       FAIL(p, "pack must be a power of two from 1 to 32");
	}
	if (!strcmp(what, "scale"))
		return parse_scale(p, s);
	if (!strcmp(what, "round"))
		return parse_choice(p, "round", round_names, &s->round);
	if (!strcmp(what, "nan"))
		return parse_choice(p, "nan", nan_names, &s->nan);
	if (!parse_choice(p, "apply", apply_names, &apply))
		return false;
	s->reciprocal = apply;
	return true;
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
		return parse_pieces(p, s < KIR_S_ks ? "htd" : "htg", it->piece, KIR_PIECES,
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
		case 0:
			s->elem = k->elem;
			s->bits = k->bits;
			break;
		case 5: s->pack = k->pack; break;
		case 2: s->reciprocal = k->reciprocal; break;
		case 3: s->round = k->round; break;
		case 4: s->nan = k->nan; break;
		default:
			s->gran = k->gran;
			s->scale_elem = k->scale_elem;
			s->group = k->group;
			s->rule = k->rule;
			s->divisor = k->divisor;
			s->inverse = k->inverse;
			s->eps = k->eps;
			s->floor = k->floor;
			s->global = k->global;
		}
	}
}

static bool parse_statement(parser *p)
{
	static const char *const words[] = { "elem", "scale", "apply", "round",
		                             "nan",  "pack",  NULL };
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
	w = find_word(p, words);
	if (w < 0)
		return FAIL(p,
		            "'%.*s' is no statement: elem, scale, apply, round, nan, pack "
		            "(with k., v. or "
		            "r. for one side), keys N, rest N, values shared or tensor",
		            shown(p), p->s);
	advance(p);
	if (p->kind != 'w' || p->fresh)
		return FAIL(p, "%s needs a value", words[w]);
	p->one_side |= side < 0 ? 0 : 1u << side;
	if (!parse_side(p, words[w], &p->f->side[side < 0 ? 0 : side]))
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

static bool check_side(const kir_format *f, int side, int line, kir_diag *d)
{
	const kir_side *s = &f->side[side];
	char c = format_letter(side);

	if (s->elem == KIR_VOID) {
		kir_error(d, line, 1,
		          "format %s doesn't say what it stores: %c.elem is missing", f->name,
		          c);
		return false;
	}
	if (s->gran == KIR_GRAN_none && kir_elems[s->elem].bits < 16) {
		kir_error(d, line, 1,
		          "format %s: %c.elem %s has too small a range for scale none", f->name,
		          c, kir_elems[s->elem].name);
		return false;
	}
	if (s->bits != 4 && s->pack != 1) {
		kir_error(d, line, 1, "format %s: %c.pack is about codes of 4 bits, %s has %u",
		          f->name, c, kir_elems[s->elem].name, s->bits);
		return false;
	}
	return check_range(f, side, line, d);
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
		if (!check_side(f, i, line, p->d))
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

/* -- print -------------------------------------------------------------------------- */

void format_print_number(double x, kir_text *out)
{
	char buf[KIR_FLOAT_TEXT];
	double back;

	for (int digits = 15; digits <= 17; digits++) {
		kir_float_digits(buf, 'g', digits, x);
		if (kir_read_float(buf, strlen(buf), &back) && back == x)
			break;
	}
	kir_text_add(out, "%s", buf);
}

static void print_scale(const kir_side *s, kir_text *out)
{
	if (s->gran == KIR_GRAN_none) {
		kir_text_add(out, "none");
		return;
	}
	kir_text_add(out, "%s %s", kir_elems[s->scale_elem].name, gran_names[s->gran]);
	if (s->gran == KIR_GRAN_group)
		kir_text_add(out, " %d", s->group);
	if (s->rule == KIR_RULE_given) {
		kir_text_add(out, " given");
		return;
	}
	kir_text_add(out, s->inverse ? " amax*1/" : " amax/");
	format_print_number(s->divisor, out);
	if (s->eps > 0) {
		kir_text_add(out, " eps ");
		format_print_number(s->eps, out);
	}
	if (s->floor > 0) {
		kir_text_add(out, " floor ");
		format_print_number(s->floor, out);
	}
	if (s->rule >= KIR_RULE_pow2)
		kir_text_add(out, " pow2%s",
		             s->rule == KIR_RULE_pow2_down   ? "-down"
		             : s->rule == KIR_RULE_pow2_near ? "-near"
		                                             : "");
	if (s->global)
		kir_text_add(out, " global");
}

enum { STMT_ELEM, STMT_SCALE, STMT_APPLY, STMT_ROUND, STMT_NAN, STMT_PACK, STMT_COUNT };

const char *kir_side_elem_name(const kir_side *s)
{
	for (size_t i = 0; i < sizeof nibbles / sizeof *nibbles; i++)
		if (s->bits == 4 && s->elem == nibbles[i].elem)
			return nibbles[i].name;
	return kir_elems[s->elem].name;
}

/* A statement's value as text. */
static void print_value(const kir_side *s, int stmt, kir_text *out)
{
	switch (stmt) {
	case STMT_ELEM: kir_text_add(out, "%s", kir_side_elem_name(s)); break;
	case STMT_SCALE: print_scale(s, out); break;
	case STMT_APPLY: kir_text_add(out, "%s", apply_names[s->reciprocal]); break;
	case STMT_ROUND: kir_text_add(out, "%s", round_names[s->round]); break;
	case STMT_NAN: kir_text_add(out, "%s", nan_names[s->nan]); break;
	default: kir_text_add(out, "%d", s->pack);
	}
}

static bool is_default(const kir_side *s, int stmt)
{
	switch (stmt) {
	case STMT_APPLY: return !s->reciprocal;
	case STMT_ROUND: return !s->round;
	case STMT_NAN: return !s->nan;
	case STMT_PACK: return s->pack == 1;
	default: return false;
	}
}

/* One line for the sides that agree; R's own where it differs from what K and V share. */
static void print_statement(const kir_format *f, int stmt, kir_text *out)
{
	static const char *const names[] = { "elem", "scale", "apply", "round", "nan", "pack" };
	kir_text side[KIR_SIDES] = { { 0 } };
	bool both, all;

	for (int i = 0; i < KIR_SIDES; i++)
		print_value(&f->side[i], stmt, &side[i]);
	both = !strcmp(side[0].text, side[1].text);
	all = both && !strcmp(side[0].text, side[2].text);
	if (both && !is_default(&f->side[0], stmt))
		kir_text_add(out, "  %s %s\n", names[stmt], side[0].text);
	for (int i = both ? 2 : 0; i < (f->rest && !all ? 3 : 2); i++)
		if (both || !is_default(&f->side[i], stmt))
			kir_text_add(out, "  %c.%s %s\n", format_letter(i), names[stmt],
			             side[i].text);
	for (int i = 0; i < KIR_SIDES; i++)
		free(side[i].text);
}

static void print_pieces(const struct format_piece *p, unsigned n, kir_text *out)
{
	kir_text_add(out, "[");
	for (unsigned i = 0; i < n; i++) {
		kir_text_add(out, "%s%c", i ? " " : "", p[i].axis);
		if (p[i].div != 1)
			kir_text_add(out, "/%d", p[i].div);
		if (p[i].mod)
			kir_text_add(out, "%%%d", p[i].mod);
	}
	kir_text_add(out, "]");
}

static void print_items(const struct format_item *it, unsigned n, kir_text *out)
{
	kir_text_add(out, "{");
	for (unsigned i = 0; i < n; i++) {
		kir_text_add(out, " ");
		switch (it[i].kind) {
		case FORMAT_PAD: kir_text_add(out, "pad %d", (int)it[i].bytes); break;
		case FORMAT_ALIGN: kir_text_add(out, "align %d", (int)it[i].bytes); break;
		case FORMAT_LEAF:
			kir_text_add(out, "%s", kir_stream_names[it[i].stream]);
			if (it[i].npiece)
				print_pieces(it[i].piece, it[i].npiece, out);
			break;
		case FORMAT_GROUP:
			print_pieces(it[i].piece, it[i].npiece, out);
			kir_text_add(out, " ");
			print_items(it[i].item, it[i].nitem, out);
		}
	}
	kir_text_add(out, " }");
}

void kir_format_print(const kir_format *f, kir_text *out)
{
	kir_text_add(out, "format %s v%d {\n", f->name, f->version);
	for (int s = 0; s < STMT_COUNT; s++)
		print_statement(f, s, out);
	if (f->keys)
		kir_text_add(out, "  keys %d\n", f->keys);
	if (f->rest)
		kir_text_add(out, "  rest %d\n", f->rest);
	if (f->shared)
		kir_text_add(out, "  values shared\n");
	for (unsigned i = 0; i < f->ntensor; i++) {
		const struct kir_format_tensor *t = &f->tensor[i];

		kir_text_add(out, "  tensor %s ", t->name);
		if (t->naxis)
			kir_text_add(out, "[%.1s%s%.1s] ", t->axis, t->naxis > 1 ? " " : "",
			             t->naxis > 1 ? t->axis + 1 : "");
		print_items(t->item, t->nitem, out);
		kir_text_add(out, "\n");
	}
	kir_text_add(out, "}\n");
}

const kir_format *kir_format_pair(kir_module *m, const kir_format *k, const kir_format *v,
                                  kir_diag *d)
{
	kir_format both = { .side = { k->side[0], v->side[1], k->side[2] } };
	kir_text t = { 0 };
	char *name;
	bool ok;

	if (k->rest || v->rest || k->shared || v->shared) {
		kir_error(d, 0, 0,
		          "k=%s and v=%s: keys in parts and shared values can't be mixed with "
		          "another format; use kv=",
		          k->name, v->name);
		return NULL;
	}
	kir_text_add(&t, "%s--%s", k->name, v->name);
	name = t.text;
	t = (kir_text){ 0 };
	kir_text_add(&t, "format %s v1 {\n", name);
	for (int s = 0; s < STMT_COUNT; s++)
		print_statement(&both, s, &t);
	for (int s = 0; s < KIR_NSTREAM; s++)
		if (format_needs(&both, (kir_stream)s))
			kir_text_add(&t, "tensor rule_%s { %s[h t%s] }\n", kir_stream_names[s],
			             kir_stream_names[s],
			             s < KIR_S_ks                                  ? " d"
			             : both.side[format_side((kir_stream)s)].group ? " g"
			                                                           : "");
	kir_text_add(&t, "}");
	ok = kir_format_parse_body(m, t.text, t.len, 0, d);
	free(t.text);
	const kir_format *f = ok ? kir_format_find(m, name) : NULL;

	free(name);
	return f;
}

uint64_t kir_format_hash(const kir_format *f)
{
	kir_text t = { 0 };
	uint64_t h = 0xcbf29ce484222325u;

	kir_format_print(f, &t);
	for (size_t i = 0; i < t.len; i++)
		h = (h ^ (uint8_t)t.text[i]) * 0x100000001b3u;
	free(t.text);
	return h;
}
