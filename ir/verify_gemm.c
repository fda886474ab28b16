/* SPDX-License-Identifier: Apache-2.0 */
/* verify_gemm.c -- sizes of matrix products and relayouts, which nobody checks again. */
#include "verify.h"
#include "format.h"

static int64_t parts_of(int64_t n, int64_t group)
{
	return group > 0 ? (n + group - 1) / group : 1;
}

/* At least `want` along an axis of a gemm's or relayout's operand. */
static bool check_extent(kir_checker *c, kir_ref n, const char *name, unsigned axis,
                         int64_t want)
{
	kir_ref x = kir_operand(c->f, n, name);
	int64_t have = x ? kir_type_of(c->f, x)->dim[axis] : want;

	return have >= want ||
	       kir_complain(c, n, "%s=%s has extent %lld along axis %u, not %lld or more", name,
	                    kir_value_text(c, x), (long long)have, axis, (long long)want);
}

/* Of a factor whose attribute names a format: bytes of two codes. *per: codes a column. */
static bool check_packed(kir_checker *c, kir_ref n, const char *name, kir_attr attr,
                         int64_t *per)
{
	const kir_func *f = c->f;
	int64_t at = kir_attr_of(f, n, attr);
	kir_ref x = kir_operand(f, n, name);

	*per = 1;
	if (at < 0)
		return true;
	if (!kir_packed_side(f, n, attr))
		return kir_complain(c, n, "%s=%s: the codes of its keys aren't of 4 bits",
		                    kir_attrs[attr].name, f->module->format[at]->name);
	if (kir_type_of(f, x)->elem != KIR_u8)
		return kir_complain(c, n, "%s=%s is of %s; two codes a byte are u8", name,
		                    kir_value_text(c, x),
		                    kir_elems[kir_type_of(f, x)->elem].name);
	*per = 2;
	return true;
}

/* Codes of 4 bits are taken apart in words of 8, and in whole runs of their packing. */
static bool check_runs(kir_checker *c, kir_ref n, kir_attr attr, int64_t depth)
{
	const kir_side *s = kir_packed_side(c->f, n, attr);
	int64_t unit = s && s->pack > 4 ? 2 * s->pack : 8;
	int64_t part[3] = { depth, kir_attr_of(c->f, n, KIR_ATTR_group),
		            kir_attr_of(c->f, n, KIR_ATTR_wgroup) };

	for (int i = 0; s && i < 3; i++)
		if (part[i] % unit)
			return kir_complain(c, n,
			                    "codes of 4 bits want rows and scale groups of "
			                    "multiples of %lld elements, not %lld",
			                    (long long)unit, (long long)part[i]);
	return true;
}

/* Tiles of rows are loaded whole, whatever n is. */
static bool check_any_rows(kir_checker *c, kir_ref n)
{
	static const char *const rows[] = { "a", "as", "c" };

	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
		kir_ref x = kir_operand(c->f, n, rows[i]);

		if (x && kir_type_of(c->f, x)->dim[0] > 0)
			return kir_complain(c, n, "%s=%s: its first extent must be ?", rows[i],
			                    kir_value_text(c, x));
	}
	return true;
}

/* c[?,N], a[?,K], as[?,K / group], w[N,K], ws[N / block, K / wgroup]: the sizes are static. */
bool kir_check_gemm(kir_checker *c, kir_ref n)
{
	const kir_func *f = c->f;
	int64_t cols = kir_type_of(f, kir_operand(f, n, "c"))->dim[1];
	int64_t depth = kir_type_of(f, kir_operand(f, n, "a"))->dim[1];
	int64_t group = kir_attr_of(f, n, KIR_ATTR_group);
	int64_t wgroup = kir_attr_of(f, n, KIR_ATTR_wgroup);
	int64_t block = kir_attr_of(f, n, KIR_ATTR_block), per, wper;

	const kir_type *out = kir_type_of(f, kir_operand(f, n, "c"));

	if (cols <= 0 || depth <= 0)
		return kir_complain(c, n, "columns of a and c must be known extents");
	if (!kir_is_float((kir_elem)out->elem) || kir_elem_bytes((kir_elem)out->elem) < 2)
		return kir_complain(c, n, "c is of %s; it must be of f32, bf16 or f16",
		                    kir_elems[out->elem].name);
	if (group < 0 || wgroup < 0 || block < 1)
		return kir_complain(c, n,
		                    "group and wgroup must be 0 or more, block 1 or more");
	if (group > 0 && wgroup > 0 && group % wgroup && wgroup % group)
		return kir_complain(c, n,
		                    "one of group=%lld and wgroup=%lld must divide the other",
		                    (long long)group, (long long)wgroup);
	if (!check_packed(c, n, "a", KIR_ATTR_acts, &per) ||
	    !check_packed(c, n, "w", KIR_ATTR_weights, &wper))
		return false;
	depth *= per;
	return check_runs(c, n, KIR_ATTR_acts, depth) &&
	       check_runs(c, n, KIR_ATTR_weights, depth) &&
	       check_extent(c, n, "as", 1, parts_of(depth, group)) &&
	       check_extent(c, n, "w", 0, cols) && check_extent(c, n, "w", 1, depth / wper) &&
	       check_extent(c, n, "ws", 0, parts_of(cols, block)) &&
	       check_extent(c, n, "ws", 1, parts_of(depth, wgroup)) && check_any_rows(c, n);
}

bool kir_check_relayout(kir_checker *c, kir_ref n)
{
	const kir_type *x = kir_type_of(c->f, kir_operand(c->f, n, "x"));
	const kir_type *y = kir_type_of(c->f, kir_operand(c->f, n, "y"));

	if (x->elem != y->elem)
		return kir_complain(c, n, "x is of %s, y of %s", kir_elems[x->elem].name,
		                    kir_elems[y->elem].name);
	if (x->dim[0] <= 0 || x->dim[1] <= 0)
		return kir_complain(c, n, "x must have known extents");
	return check_extent(c, n, "y", 0, x->dim[0]) && check_extent(c, n, "y", 1, x->dim[1]);
}
