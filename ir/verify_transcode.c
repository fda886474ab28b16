/* SPDX-License-Identifier: Apache-2.0 */
/* verify_transcode.c -- operands of transcode: each stream that the two formats call for is
 * there, and rows of both caches have the same heads and elements. */
#include "verify.h"
#include "format_priv.h"

#include <stdio.h>

/* Elements of a row of codes, and heads. */
static bool same_shape(kir_checker *c, kir_ref n, const kir_format *const f[2], int side)
{
	int64_t dim[2], heads[2];

	for (int l = 0; l < 2; l++) {
		char name[16];

		snprintf(name, sizeof name, "%s%c", l ? "" : "from_", format_letter(side));
		const kir_type *t = kir_type_of(c->f, kir_operand(c->f, n, name));
		const kir_side *s = &f[l]->side[side];

		if (t->dim[1] <= 0 || t->dim[2] <= 0 || t->dim[3] <= 0)
			return kir_complain(
			    c, n, "%s must have known extents but for its pages", name);
		if (t->elem != (s->bits == 4 ? KIR_u8 : s->elem))
			return kir_complain(c, n, "%s is of %s, codes of format %s aren't",
			                    name, kir_elems[t->elem].name, f[l]->name);
		heads[l] = t->dim[1];
		dim[l] = t->dim[3] * kir_side_per(s);
		if (s->group && dim[l] % s->group)
			return kir_complain(
			    c, n, "%s: rows of %lld elements aren't whole groups of %d", name,
			    (long long)dim[l], s->group);
	}
	if (heads[0] == heads[1] && dim[0] == dim[1])
		return true;
	return kir_complain(c, n,
	                    "from_%c has %lld heads of %lld elements, %c has %lld of %lld",
	                    format_letter(side), (long long)heads[0], (long long)dim[0],
	                    format_letter(side), (long long)heads[1], (long long)dim[1]);
}

bool kir_check_scales(kir_checker *c, kir_ref n, const kir_format *f, const char *prefix,
                      int side)
{
	char codes[16], scales[16];

	snprintf(codes, sizeof codes, "%s%c", prefix, format_letter(side));
	snprintf(scales, sizeof scales, "%s%cs", prefix, format_letter(side));
	kir_ref s = kir_operand(c->f, n, scales);
	const kir_type *k = kir_type_of(c->f, kir_operand(c->f, n, codes));
	const kir_type *t = kir_type_of(c->f, s);
	const kir_side *rule = &f->side[side];
	int64_t groups = rule->group ? k->dim[3] * kir_side_per(rule) / rule->group : 1;

	if (!s)
		return true;
	if (rule->tokens)
		return kir_check_token_scales(c, n, rule, codes, scales);
	if (t->elem != rule->scale_elem || t->dim[1] != k->dim[1] || t->dim[2] != k->dim[2] ||
	    t->rank != (rule->group ? 4 : 3) || (rule->group && t->dim[3] != groups))
		return kir_complain(c, n,
		                    "%s=%s isn't a scale of %s for each of %lld groups of "
		                    "each head and token of %s",
		                    scales, kir_value_text(c, s),
		                    kir_elems[rule->scale_elem].name, (long long)groups, codes);
	return true;
}

static bool check_side(kir_checker *c, kir_ref n, const kir_format *const f[2], int side)
{
	for (int l = 0; l < 2; l++) {
		const char *prefix = l ? "" : "from_";
		char name[16], why[200];

		snprintf(why, sizeof why, "format %s says so", f[l]->name);
		snprintf(name, sizeof name, "%s%c", prefix, format_letter(side));
		if (!kir_check_wanted(c, n, name, format_needs(f[l], (kir_stream)side), why))
			return false;
		snprintf(name, sizeof name, "%s%cs", prefix, format_letter(side));
		if (!kir_check_wanted(c, n, name,
		                      format_needs(f[l], (kir_stream)(KIR_S_ks + side)), why))
			return false;
	}
	if (!format_needs(f[0], (kir_stream)side))
		return true;
	if (f[0]->side[side].mean != f[1]->side[side].mean)
		return kir_complain(c, n, "only one of %s and %s stores keys less a mean",
		                    f[0]->name, f[1]->name);
	if (!kir_side_transcodes(f[0], f[1], side))
		return kir_complain(
		    c, n,
		    "%c is rotated, and its codes and scales don't mean the same "
		    "in %s and %s",
		    format_letter(side), f[0]->name, f[1]->name);
	return same_shape(c, n, f, side) && kir_check_scales(c, n, f[0], "from_", side) &&
	       kir_check_scales(c, n, f[1], "", side);
}

/* Handed-over scales: of sides that aren't moved as they are, one for each head. */
static bool check_given(kir_checker *c, kir_ref n, const kir_format *const f[2])
{
	int64_t heads = kir_type_of(c->f, kir_operand(c->f, n, "k"))->dim[1];

	for (int to = 0; to < 2; to++)
		for (int v = 0; v < 2; v++) {
			const char *name = to ? v ? "vd" : "kd" : v ? "from_vd" : "from_kd";
			kir_ref d = kir_operand(c->f, n, name);
			bool wanted = kir_side_wants(f[0], f[1], v, to) ||
			              (!v && kir_side_wants(f[0], f[1], 2, to));

			if (!kir_check_wanted(
			        c, n, name, wanted,
			        "scales are handed over where a format says so and "
			        "codes aren't moved as they are"))
				return false;
			if (d && kir_type_of(c->f, d)->dim[0] != heads)
				return kir_complain(c, n, "%s=%s must have %lld elements", name,
				                    kir_value_text(c, d), (long long)heads);
		}
	return true;
}

bool kir_check_transcode(kir_checker *c, kir_ref n)
{
	const kir_module *m = c->f->module;
	int64_t at[2] = { kir_attr_of(c->f, n, KIR_ATTR_from),
		          kir_attr_of(c->f, n, KIR_ATTR_format) };

	for (int l = 0; l < 2; l++)
		if (at[l] < 0 || at[l] >= m->nformat)
			return kir_complain(c, n, "it needs %s=, a declared format",
			                    l ? "format" : "from");
	const kir_format *const f[2] = { m->format[at[0]], m->format[at[1]] };

	if (f[0]->shared != f[1]->shared || f[0]->rest != f[1]->rest)
		return kir_complain(c, n, "formats %s and %s don't part keys and values alike",
		                    f[0]->name, f[1]->name);
	for (int side = 0; side < KIR_SIDES; side++)
		if (!check_side(c, n, f, side))
			return false;
	return check_given(c, n, f);
}
