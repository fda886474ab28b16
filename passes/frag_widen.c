/* SPDX-License-Identifier: Apache-2.0 */
/* frag_widen.c -- codes of 8 bits to f16 in words: two halves at a time, with no move.
 *
 *     word of codes   c3 c2 c1 c0
 *     even            f16(c2) f16(c0)       odd   f16(c3) f16(c1)
 *
 * An odd code is in the upper byte of its half already, where f16 has sign and exponent; an
 * even one is moved there. The product takes even and odd elements one after the other, so they
 * never have to be put side by side.
 *
 *   e5m2   is the upper half of f16: nothing is left to do.
 *   e4m3   has a bit of exponent less: the seven bits go one to the right, what comes out is
 *          the value / 256, subnormals included, as f16's are 2^-24 wide. The code of NaN, all
 *          ones, comes out as a number. A NaN makes its whole column of the product NaN,
 *          whatever it is multiplied by: so it is enough to know which lanes had one.
 *   s8     c + 128 as the lower bits of 1024 + 128 + c, less 1152: both exact.
 *
 * A left factor's rows of codes, two columns a lane, are words of two rows: the same gives its
 * block of even and that of odd columns. Few of them meet many columns, so that NaN and the
 * power of two are dealt with in each element.
 */
#include "fragment.h"

static kir_ref op(frag *g, kir_op o, kir_ref x, int64_t y)
{
	return e2(g->f, o, g->f->node[x].type, x, kir_const_i(g->f, KIR_s32, (int32_t)y));
}

static kir_ref either(frag *g, kir_ref x, kir_ref y)
{
	return e2(g->f, KIR_OP_or, g->f->node[x].type, x, y);
}

static kir_ref e4m3(frag *g, kir_ref x)
{
	kir_ref low = op(g, KIR_OP_and, op(g, KIR_OP_shr, x, 1), 0x3f803f80);

	return either(g, op(g, KIR_OP_and, x, 0x80008000), low);
}

kir_ref frag_nans(frag *g, kir_ref x, bool apart, kir_ref any)
{
	kir_ref low = apart ? op(g, KIR_OP_and, x, 0x7f7f7f7f) : x;
	kir_ref y = op(g, KIR_OP_add, low, 0x01010101);

	if (!apart)
		y = e2(g->f, KIR_OP_xor, g->f->node[x].type, y, x);
	return any ? either(g, y, any) : y;
}

/* Two f16 for each word. */
static kir_type_id halves(const frag *g, kir_ref x)
{
	return kir_vector(g->f->module, KIR_f16, 2 * kir_type_of(g->f, x)->dim[0]);
}

static kir_ref s8(frag *g, kir_ref x)
{
	kir_type_id t = halves(g, x);

	x = either(g, op(g, KIR_OP_and, x, 0x00ff00ff), kir_const_i(g->f, KIR_s32, 0x64006400));
	return e2(g->f, KIR_OP_sub, t, e1(g->f, KIR_OP_bitcast, t, x),
	          kir_const_f(g->f, KIR_f16, 1152));
}

double frag_widen(frag *g, kir_elem e, kir_ref x[2])
{
	kir_type_id t = halves(g, x[0]);

	if (e == KIR_s8) {
		kir_ref u = op(g, KIR_OP_xor, x[0], 0x80808080);

		x[1] = s8(g, op(g, KIR_OP_shr, u, 8));
		x[0] = s8(g, u);
		return 1;
	}
	x[1] = x[0];
	x[0] = op(g, KIR_OP_shl, x[0], 8);
	for (int i = 0; i < 2; i++) {
		x[i] = e == KIR_e4m3fn ? e4m3(g, x[i]) : op(g, KIR_OP_and, x[i], 0xff00ff00);
		x[i] = e1(g->f, KIR_OP_bitcast, t, x[i]);
	}
	return e == KIR_e4m3fn ? 256 : 1;
}

/* x is e4m3() of c, whose NaN's seven bits carry into f16's largest exponent. */
static kir_ref with_nans(frag *g, kir_ref x)
{
	kir_ref c = e1(g->f, KIR_OP_bitcast,
	               kir_vector(g->f->module, KIR_s32, kir_type_of(g->f, x)->dim[0] / 2), x);
	kir_ref nan =
	    op(g, KIR_OP_and, op(g, KIR_OP_add, op(g, KIR_OP_and, c, 0x3f803f80), 0x00800080),
	       0x40004000);

	return e1(g->f, KIR_OP_bitcast, g->f->node[x].type, either(g, c, nan));
}

void frag_widen_rows(frag *g, kir_elem e, kir_ref rows, kir_ref x[2])
{
	int64_t words = kir_type_of(g->f, rows)->dim[0] / 4;
	double by;

	x[0] = e1(g->f, KIR_OP_bitcast, kir_vector(g->f->module, KIR_s32, words), rows);
	by = frag_widen(g, e, x);
	for (int i = 0; by != 1 && i < 2; i++)
		x[i] = e2(g->f, KIR_OP_mul, g->f->node[x[i]].type, with_nans(g, x[i]),
		          kir_const_f(g->f, KIR_f16, by));
}
