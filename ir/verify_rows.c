/* SPDX-License-Identifier: Apache-2.0 */
/* verify_rows.c -- what attention, cache.write and quantize move between rows and a cache:
 * codes and scales are of the elements that the format stores, and of the rows' length. Passes
 * make tiles of the one and store them into the other.
 */
#include "verify.h"
#include "format_priv.h"

#include <stdio.h>

enum { ROW_MAX = 1 << 16 }; /* of a row whose tile is one value */

/* An extent that isn't known agrees with any. */
static bool same(int64_t a, int64_t b)
{
	return a <= 0 || b <= 0 || a == b;
}

/* codes= has the elements that format f's side stores. */
static bool check_elem(kir_checker *c, kir_ref n, const kir_format *f, int side,
                       const char *codes)
{
	const kir_side *s = &f->side[side];
	kir_elem elem = s->bits == 4 ? KIR_u8 : s->elem;
	kir_ref x = kir_operand(c->f, n, codes);
	const kir_type *t = kir_type_of(c->f, x);

	return !x || t->elem == elem ||
	       kir_complain(c, n, "%s=%s is of %s, codes of format %s are of %s", codes,
	                    kir_value_text(c, x), kir_elems[t->elem].name, f->name,
	                    kir_elems[elem].name);
}

/* And, two of them a byte or one, as many as rows=, along the last dimension of both. */
static bool check_codes(kir_checker *c, kir_ref n, const kir_format *f, int side,
                        const char *codes, const char *rows)
{
	kir_ref x = kir_operand(c->f, n, codes), r = kir_operand(c->f, n, rows);
	const kir_type *t = kir_type_of(c->f, x), *rt = kir_type_of(c->f, r);

	if (!x || !r || !check_elem(c, n, f, side, codes))
		return !x || !r;
	int64_t dim = t->dim[t->rank - 1], want = rt->dim[rt->rank - 1];

	dim *= dim > 0 ? kir_side_per(&f->side[side]) : 1;
	return same(dim, want) || kir_complain(c, n, "%s has rows of %lld elements, %s of %lld",
	                                       codes, (long long)dim, rows, (long long)want);
}

bool kir_check_cache_write(kir_checker *c, kir_ref n, const kir_format *f)
{
	static const char *const rows[KIR_SIDES] = { "key", "value", "rest" };

	for (int side = 0; side < KIR_SIDES; side++) {
		char codes[2] = { format_letter(side) }, scales[4];

		snprintf(scales, sizeof scales, "%ss", codes);
		if (!kir_check_wanted(c, n, scales,
		                      format_needs(f, (kir_stream)(KIR_S_ks + side)),
		                      "the format says so") ||
		    !check_codes(c, n, f, side, codes, rows[side]) ||
		    !kir_check_scales(c, n, f, "", side))
			return false;
	}
	return true;
}

bool kir_check_quantize(kir_checker *c, kir_ref n, const kir_format *f)
{
	const kir_side *side = &f->side[0];
	kir_ref s = kir_operand(c->f, n, "s");

	if (!kir_check_wanted(c, n, "s", format_stored(side), "the format says so") ||
	    !check_codes(c, n, f, 0, "q", "x"))
		return false;
	const kir_type *t = kir_type_of(c->f, s),
	               *x = kir_type_of(c->f, kir_operand(c->f, n, "x"));
	int64_t groups = side->group ? x->dim[2] / side->group : 1;

	if (x->dim[2] > ROW_MAX)
		return kir_complain(c, n, "x has rows of %lld elements, more than %d",
		                    (long long)x->dim[2], ROW_MAX);
	if (s && t->dim[t->rank - 1] > ROW_MAX)
		return kir_complain(c, n, "s has rows of %lld elements, more than %d",
		                    (long long)t->dim[t->rank - 1], ROW_MAX);
	if (s && (t->rank == 3 ? t->dim[2] > 0 && t->dim[2] < groups : groups != 1))
		return kir_complain(c, n, "s=%s has fewer than %lld scales a row",
		                    kir_value_text(c, s), (long long)groups);
	if (!s || t->elem == side->scale_elem)
		return true;
	return kir_complain(c, n, "s=%s is of %s, scales of format %s are of %s",
	                    kir_value_text(c, s), kir_elems[kir_type_of(c->f, s)->elem].name,
	                    f->name, kir_elems[side->scale_elem].name);
}

bool kir_check_attention(kir_checker *c, kir_ref n, const kir_format *f)
{
	int64_t dim[2], per[KIR_SIDES];
	kir_ref v = kir_operand(c->f, n, "v"), r = kir_operand(c->f, n, "r");
	const kir_type *k = kir_type_of(c->f, kir_operand(c->f, n, "k"));
	const kir_type *q = kir_type_of(c->f, kir_operand(c->f, n, "q"));
	const kir_type *out = kir_type_of(c->f, kir_operand(c->f, n, "out"));

	for (int i = 0; i < KIR_SIDES; i++)
		per[i] = f ? kir_side_per(&f->side[i]) : 1;
	dim[0] = k->dim[3] * per[0] + (r ? kir_type_of(c->f, r)->dim[3] * per[2] : 0);
	dim[1] = v ? kir_type_of(c->f, v)->dim[3] * per[1] : out->dim[2];
	if (f && (!check_elem(c, n, f, 0, "k") || !check_elem(c, n, f, 1, "v") ||
	          !check_elem(c, n, f, 2, "r")))
		return false;
	if (q->dim[2] != dim[0])
		return kir_complain(c, n, "q has rows of %lld elements, keys have %lld",
		                    (long long)q->dim[2], (long long)dim[0]);
	if (out->dim[2] != dim[1])
		return kir_complain(c, n, "out has rows of %lld elements, values have %lld",
		                    (long long)out->dim[2], (long long)dim[1]);
	for (int side = 0; f && side < KIR_SIDES; side++)
		if (!kir_check_scales(c, n, f, "", side))
			return false;
	return true;
}
