/* SPDX-License-Identifier: Apache-2.0 */
/* format_side.c -- what the rules of keys, of values and of the rest of a key must be, each by
 * itself: that codes have a range that fits them, and that no scale divides by zero.
 */
#include "format_priv.h"
#include "internal.h"

#include <math.h>

/* A divisor below 1 makes codes below 1, one above what integers hold cuts off the rows'
 * largest elements: half a step more than the largest code is in use. */
static bool check_divisor(const kir_format *f, int side, int line, kir_diag *d)
{
	const kir_side *s = &f->side[side];
	double most = kir_is_int(s->elem) ? (double)(kir_side_max(s) + !s->range) : INFINITY;
	const char *rule = s->range ? "range" : "amax";

	if (s->divisor >= 1 && s->divisor <= most)
		return true;
	if (isfinite(most))
		kir_error(d, line, 1,
		          "format %s: %c.scale %s/%g: codes of %u bits take a divisor from 1 "
		          "to %g",
		          f->name, format_letter(side), rule, s->divisor, s->bits, most);
	else
		kir_error(d, line, 1,
		          "format %s: %c.scale %s/%g: the divisor is the largest code, at "
		          "least 1",
		          f->name, format_letter(side), rule, s->divisor);
	return false;
}

/* A divisor that f32 flushes to zero, or a floor that the stored scale does, would divide by
 * zero after all. */
static bool check_range(const kir_format *f, int side, int line, kir_diag *d)
{
	const kir_side *s = &f->side[side];

	if (!format_stored(s))
		return true;
	if (!isnormal((float)s->divisor)) {
		kir_error(
		    d, line, 1, "format %s: %c.scale %s/%g: the divisor must be a normal f32",
		    f->name, format_letter(side), s->range ? "range" : "amax", s->divisor);
		return false;
	}
	if (!check_divisor(f, side, line, d))
		return false;
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

/* Unsigned codes need a zero point, and that needs them and a scale with bits to spare. */
static bool check_zero(const kir_format *f, int side, int line, kir_diag *d)
{
	const kir_side *s = &f->side[side];
	char c = format_letter(side);

	if (s->row && (s->gran != KIR_GRAN_group || s->range || s->global))
		kir_error(d, line, 1,
		          "format %s: %c.scale with row: it is about groups, whose scales are "
		          "made from the amax of their row, without range/N or global",
		          f->name, c);
	else if (s->range != (s->elem == KIR_u8))
		kir_error(
		    d, line, 1,
		    "format %s: %c.scale range/N and elements u4 and u8 go together: codes "
		    "with a zero point are unsigned, others signed",
		    f->name, c);
	else if (s->range && s->scale_elem != KIR_f32)
		kir_error(d, line, 1,
		          "format %s: %c.scale range/N keeps the zero point in the lowest %u "
		          "bits of the scale, which must be f32, not %s",
		          f->name, c, s->bits, kir_elems[s->scale_elem].name);
	else if (s->range && s->global)
		kir_error(
		    d, line, 1,
		    "format %s: %c.scale range/N with global: a zero point is of the rows "
		    "as they are",
		    f->name, c);
	else
		return true;
	return false;
}

/* Two scales are compared by sums over halves, halves of these and so on. */
static bool check_other(const kir_format *f, int side, int line, kir_diag *d)
{
	const kir_side *s = &f->side[side];

	if (s->other == 0)
		return true;
	if (s->gran != KIR_GRAN_group || (s->group & (s->group - 1)) || s->range || s->row ||
	    s->rule != KIR_RULE_amax)
		kir_error(d, line, 1,
		          "format %s: %c.scale amax/%g or %g: of two scales the one with the "
		          "smaller squared error is about groups of a power of two, whose own "
		          "amax is taken, without range/N, row or pow2",
		          f->name, format_letter(side), s->divisor, s->other);
	else if (s->other < 1 || s->other >= s->divisor)
		kir_error(d, line, 1,
		          "format %s: %c.scale amax/%g or %g: the second divisor is from 1 to "
		          "the first",
		          f->name, format_letter(side), s->divisor, s->other);
	else
		return true;
	return false;
}

bool format_check_side(const kir_format *f, int side, int line, kir_diag *d)
{
	const kir_side *s = &f->side[side];
	char c = format_letter(side);

	if (s->elem == KIR_VOID) {
		kir_error(d, line, 1,
		          "format %s doesn't say what it stores: %c.elem is missing", f->name,
		          c);
		return false;
	}
	/* 8-bit floats without a scale saturate, as engines store rotary parts of keys */
	if (s->gran == KIR_GRAN_none && (s->bits < 8 || !kir_is_float(s->elem))) {
		kir_error(d, line, 1,
		          "format %s: %c.elem %s has too small a range for scale none", f->name,
		          c, kir_elems[s->elem].name);
		return false;
	}
	if (!check_zero(f, side, line, d) || !check_other(f, side, line, d))
		return false;
	if (s->bits != 4 && s->pack != 1) {
		kir_error(d, line, 1, "format %s: %c.pack is about codes of 4 bits, %s has %u",
		          f->name, c, kir_elems[s->elem].name, s->bits);
		return false;
	}
	if (kir_is_int(s->elem) && s->nan == KIR_NAN_max) {
		kir_error(d, line, 1,
		          "format %s: %c.nan max: %s has no NaN, one becomes 0; say it of the "
		          "side of floats, or leave it out",
		          f->name, c, format_elem_name(s));
		return false;
	}
	return check_range(f, side, line, d);
}

int64_t kir_key_run(const kir_func *f, kir_ref n)
{
	int64_t at = kir_attr_of(f, n, KIR_ATTR_format);
	int tokens = at >= 0 ? kir_format_tokens(f->module->format[at]) : 0;

	return tokens ? tokens : kir_type_of(f, kir_operand(f, n, "k"))->dim[2];
}

const kir_side *kir_packed_side(const kir_func *f, kir_ref n, kir_attr attr)
{
	int64_t at = kir_attr_of(f, n, attr);
	const kir_side *s = at >= 0 ? &f->module->format[at]->side[0] : NULL;

	return s && s->bits == 4 ? s : NULL;
}
