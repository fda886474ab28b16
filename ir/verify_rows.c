/* SPDX-License-Identifier: Apache-2.0 */
/* verify_rows.c -- what attention, cache.write and quantize move between rows and a cache:
 * codes and scales are of the elements that the format stores, and of the rows' length. Passes
 * make tiles of the one and store them into the other.
 */
#include "verify.h"
#include "format_priv.h"

#include <stdio.h>

/* An extent that isn't known agrees with any. */
static bool same(int64_t a, int64_t b)
{
	return a <= 0 || b <= 0 || a == b;
}

/* codes= has the elements of format f's side and, two of them a byte or one, as many as rows=;
 * `codes` and `rows` have them along their last dimension. */
static bool check_codes(kir_checker *c, kir_ref n, const kir_format *f, int side,
                        const char *codes, const char *rows)
{
	const kir_side *s = &f->side[side];
	kir_elem elem = s->bits == 4 ? KIR_u8 : s->elem;
	kir_ref x = kir_operand(c->f, n, codes), r = kir_operand(c->f, n, rows);
	const kir_type *t = kir_type_of(c->f, x), *rt = kir_type_of(c->f, r);

	if (!x || !r)
		return true;
	if (t->elem != elem)
		return kir_complain(c, n, "%s=%s is of %s, codes of format %s are of %s", codes,
		                    kir_value_text(c, x), kir_elems[t->elem].name, f->name,
		                    kir_elems[elem].name);
	int64_t dim = t->dim[t->rank - 1], want = rt->dim[rt->rank - 1];

	if (dim <= 0 || same(dim * kir_side_per(s), want))
		return true;
	return kir_complain(c, n, "%s has rows of %lld elements, %s of %lld", codes,
	                    (long long)dim * kir_side_per(s), rows, (long long)want);
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
	if (!s || kir_type_of(c->f, s)->elem == side->scale_elem)
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
	if (q->dim[2] != dim[0])
		return kir_complain(c, n, "q has rows of %lld elements, keys have %lld",
		                    (long long)q->dim[2], (long long)dim[0]);
	if (out->dim[2] != dim[1])
		return kir_complain(c, n, "out has rows of %lld elements, values have %lld",
		                    (long long)out->dim[2], (long long)dim[1]);
	return true;
}
