/* SPDX-License-Identifier: Apache-2.0 */
/* format_rule.c -- reads what a format says of keys, of values or of the rest of a key: the
 * element, where its scale comes from, how codes are made.
 *
 * Whether the parts of a rule fit each other is format_side.c's question.
 */
#include "format_parse.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

const char *const format_grans[] = {
	"none", "tensor", "head", "token-head", "group", "tokens"
};
const char *const format_means[] = { "none", "given", NULL };
const char *const format_rounds[] = { "even", "away", "zero", NULL };
const char *const format_nans[] = { "keep", "max", "zero", NULL };
const char *const format_applies[] = { "divide", "reciprocal", NULL };

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

static bool parse_elem(format_parser *p, const char *what, bool (*ok)(kir_elem), kir_elem *out)
{
	kir_text list = { 0 };
	bool good;

	for (int e = 1; e < KIR_NELEM; e++)
		if (ok((kir_elem)e) && format_is(p, kir_elems[e].name)) {
			*out = (kir_elem)e;
			format_next(p);
			return true;
		}
	for (int e = 1; e < KIR_NELEM; e++)
		if (ok((kir_elem)e))
			kir_text_add(&list, "%s%s", list.len ? ", " : "", kir_elems[e].name);
	if (ok == code_elem)
		kir_text_add(&list, ", " FORMAT_S4 ", " FORMAT_U4);
	good =
	    FORMAT_FAIL(p, "%s '%.*s' is none of %s", what, format_shown(p), p->s, list.text);
	free(list.text);
	return good;
}

static bool parse_code_elem(format_parser *p, kir_side *s)
{
	if (format_is(p, FORMAT_S4) || format_is(p, FORMAT_U4)) {
		s->elem = format_is(p, FORMAT_S4) ? KIR_s8 : KIR_u8;
		s->bits = 4;
		format_next(p);
		return true;
	}
	if (!parse_elem(p, "elem", code_elem, &s->elem))
		return false;
	s->bits = kir_elems[s->elem].bits;
	return true;
}

/* What divides, and of what: amax/NUMBER, amax*1/NUMBER or range/NUMBER. */
static bool parse_divisor(format_parser *p, kir_side *s)
{
	static const char *const heads[] = { "amax/", "amax*1/", "range/" };
	size_t head = 0;
	int h = 0;

	for (; h < 3; h++) {
		head = strlen(heads[h]);
		if (p->kind == 'w' && p->n > head && !memcmp(p->s, heads[h], head))
			break;
	}
	if (h == 3)
		return FORMAT_FAIL(
		    p, "a computed scale's rule is amax/NUMBER, amax*1/NUMBER or range/NUMBER, "
		       "then [or NUMBER] [eps NUMBER] [floor NUMBER] "
		       "[pow2|pow2-down|pow2-near] [row] [global]");
	s->inverse = h == 1;
	s->range = h == 2;
	return format_positive(p, p->s + head, p->n - head,
	                       h == 2 ? "the divisor of range" : "the divisor of amax",
	                       &s->divisor);
}

static bool parse_rule(format_parser *p, kir_side *s)
{
	static const char *const rules[] = { "pow2", "pow2-down", "pow2-near", NULL };
	int pow2 = -1;

	s->global = s->row = false;
	if (!parse_divisor(p, s))
		return false;
	format_next(p);
	if (format_more(p) && format_is(p, "or")) {
		format_next(p);
		if (!format_positive(p, p->s, p->n, "the divisor after or", &s->other))
			return false;
		format_next(p);
	}
	for (; format_more(p); format_next(p)) {
		bool eps = format_is(p, "eps");
		double *least = eps ? &s->eps : &s->floor;

		if (pow2 < 0 && (pow2 = format_word(p, rules)) >= 0)
			continue;
		if (format_is(p, "row") && !s->row) {
			s->row = true;
			continue;
		}
		if (format_is(p, "global") && !s->global) {
			s->global = true;
			continue;
		}
		if ((!eps && !format_is(p, "floor")) || *least > 0)
			return FORMAT_FAIL(
			    p,
			    "after amax/NUMBER come eps NUMBER, floor NUMBER, pow2, "
			    "pow2-down or pow2-near, row and global, each once, not '%.*s'",
			    format_shown(p), p->s);
		format_next(p);
		if (!format_positive(p, p->s, p->n, eps ? "eps" : "scale floor", least))
			return false;
	}
	s->rule = pow2 >= 0 ? (kir_scale_rule)(KIR_RULE_pow2 + pow2) : KIR_RULE_amax;
	if (pow2 < 0 && s->floor == 0 && s->eps == 0 && !s->global)
		return FORMAT_FAIL(
		    p,
		    "a scale %s/%g needs eps or a floor, or a row of zeros would "
		    "divide by zero",
		    s->range ? "range" : "amax", s->divisor);
	return true;
}

static bool parse_tokens(format_parser *p, int *tokens)
{
	if (!format_number(p, "scale tokens", 16, 256, tokens))
		return false;
	return *tokens % 16 == 0 || FORMAT_FAIL(p, "scale tokens must be a multiple of 16");
}

/* scale none | ELEM tensor given | ELEM head given | ELEM token-head RULE | ELEM group N RULE
 * | ELEM tokens N RULE */
static bool parse_scale(format_parser *p, kir_side *s)
{
	int gran;

	s->rule = KIR_RULE_given;
	s->divisor = s->other = s->eps = s->floor = 0;
	s->inverse = s->range = false;
	s->group = s->tokens = 0;
	s->global = s->row = false;
	if (format_is(p, "none")) {
		s->gran = KIR_GRAN_none;
		s->scale_elem = KIR_VOID;
		format_next(p);
		return true;
	}
	if (!parse_elem(p, "scale element", scale_elem, &s->scale_elem))
		return false;
	for (gran = KIR_GRAN_tensor; gran <= KIR_GRAN_tokens; gran++)
		if (format_is(p, format_grans[gran]))
			break;
	if (gran > KIR_GRAN_tokens)
		return FORMAT_FAIL(
		    p, "what shares a scale must be tensor, head, token-head, group N or "
		       "tokens N");
	s->gran = (kir_gran)gran;
	format_next(p);
	if (gran == KIR_GRAN_group && !format_number(p, "scale group", 8, 4096, &s->group))
		return false;
	if (gran == KIR_GRAN_tokens && !parse_tokens(p, &s->tokens))
		return false;
	if (format_stored(s))
		return parse_rule(p, s);
	if (!format_is(p, "given"))
		return FORMAT_FAIL(
		    p, "a scale for each %s is handed over by the caller: write 'given'",
		    format_grans[gran]);
	if (s->scale_elem != KIR_f32)
		return FORMAT_FAIL(p, "a scale that is handed over is f32");
	format_next(p);
	return true;
}

static bool parse_choice(format_parser *p, const char *what, const char *const *words, int *out)
{
	int i = format_word(p, words);

	if (i < 0)
		return FORMAT_FAIL(p, "%s must be %s%s%s or %s", what, words[0],
		                   words[2] ? ", " : "", words[2] ? words[1] : "",
		                   words[2] ? words[2] : words[1]);
	*out = i;
	format_next(p);
	return true;
}

static bool parse_apply(format_parser *p, bool *reciprocal)
{
	int apply = 0;
	bool ok = parse_choice(p, "apply", format_applies, &apply);

	*reciprocal = apply;
	return ok;
}

static bool parse_mean(format_parser *p, bool *mean)
{
	int given = 0;
	bool ok = parse_choice(p, "mean", format_means, &given);

	*mean = given;
	return ok;
}

/* none | hadamard [N] [signs] */
static bool parse_rotate(format_parser *p, kir_side *s)
{
	s->rotate = 0;
	s->signs = false;
	if (format_is(p, "none")) {
		format_next(p);
		return true;
	}
	if (!format_is(p, "hadamard"))
		return FORMAT_FAIL(p, "rotate must be none or hadamard [N] [signs]");
	format_next(p);
	s->rotate = KIR_ROTATE_WHOLE;
	if (format_more(p) && !format_is(p, "signs") &&
	    (!format_number(p, "the block of rotate", 16, 4096, &s->rotate) ||
	     (s->rotate & (s->rotate - 1))))
		return p->d->n
		           ? false
		           : FORMAT_FAIL(p,
		                         "the block of rotate must be a power of two from 16 "
		                         "to 4096");
	if (format_more(p) && format_is(p, "signs")) {
		s->signs = true;
		format_next(p);
	}
	return true;
}

static bool parse_pack(format_parser *p, int *pack)
{
	if (!format_number(p, "pack", 1, 32, pack))
		return false;
	return !(*pack & (*pack - 1)) ||
	       FORMAT_FAIL(p, "pack must be a power of two from 1 to 32");
}

bool format_parse_side(format_parser *p, int statement, kir_side *s)
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
