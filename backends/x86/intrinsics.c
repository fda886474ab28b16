/* SPDX-License-Identifier: Apache-2.0 */
/* intrinsics.c -- instructions that LLVM doesn't find by itself.
 *
 * Vectors of any width are cut into what a register holds; a shorter one is padded with
 * lanes nobody reads.
 */
#include "x86.h"
#include "../../ir/format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool has(const kll *l, unsigned feature)
{
	return (l->f->target->features & feature) == feature;
}

/* n lanes of v from `from` on; lanes past its end are anything. */
static LLVMValueRef piece(kll *l, LLVMValueRef v, unsigned from, unsigned n)
{
	unsigned lane[64], width = kll_width(v);

	if (!from && n == width)
		return v;
	for (unsigned i = 0; i < n; i++)
		lane[i] = from + i < width ? from + i : width; /* the second operand: poison */
	return kll_shuffle(l, v, NULL, lane, n);
}

/* Pieces of equal width, one after the other, cut to `lanes`. Piece count is a power of two
 * or the pieces are joined one by one. */
static LLVMValueRef gather(kll *l, LLVMValueRef *p, unsigned n, unsigned lanes)
{
	unsigned each = kll_width(p[0]);

	if (n & (n - 1)) { /* rare: pad to a power of two */
		while (n & (n - 1))
			p[n++] = LLVMGetPoison(LLVMTypeOf(p[0]));
	}
	for (; n > 1; n /= 2, each *= 2)
		for (unsigned i = 0; i < n / 2; i++)
			p[i] = kll_concat(l, p[2 * i], p[2 * i + 1]);
	return each == lanes ? p[0] : kll_lanes_of(l, p[0], NULL, 0, 1, lanes);
}

/* -- exp2 ------------------------------------------------------------------------------- */

/* One register: x - floor(x) by vreduceps, which gives 0 for infinities, the polynomial, and
 * vscalefps, which takes the floor of the exponent itself, and overflows, goes subnormal
 * and passes NaN as it should. Two instructions and the polynomial's degree: six, if no other
 * is near enough. */
static LLVMValueRef exp2_register(kll *l, LLVMValueRef x, unsigned lanes, const kir_exp2 *p)
{
	LLVMTypeRef t = LLVMTypeOf(x);
	LLVMTypeRef mt = lanes == 16 ? l->i16 : l->i8;
	LLVMValueRef zero = LLVMConstNull(t), mask = LLVMConstAllOnes(mt), r;
	LLVMValueRef control = LLVMConstInt(l->i32, 9, false); /* down, no exceptions */
	LLVMValueRef current = LLVMConstInt(l->i32, 4, false);
	unsigned extra = lanes == 16;
	char name[64];

	snprintf(name, sizeof name, "llvm.x86.avx512.mask.reduce.ps.%u", lanes * 32);
	r = kll_call(l, name, NULL, 0, (LLVMValueRef[]){ x, control, zero, mask, current },
	             4 + extra);
	r = kll_exp2_poly(l, r, p);
	snprintf(name, sizeof name, "llvm.x86.avx512.mask.scalef.ps.%u", lanes * 32);
	return kll_call(l, name, NULL, 0, (LLVMValueRef[]){ r, x, zero, mask, current },
	                4 + extra);
}

LLVMValueRef kx86_exp2(kll *l, LLVMValueRef x, const kir_exp2 *near)
{
	unsigned lanes = kll_width(x), w = lanes > 8 ? 16 : lanes > 4 ? 8 : 4, n;
	LLVMValueRef p[64];

	if (!has(l, KIR_HAS_avx512))
		return NULL;
	if (!lanes) {
		LLVMValueRef v = LLVMConstNull(LLVMVectorType(l->f32, 4));
		LLVMValueRef first = LLVMConstInt(l->i32, 0, false);

		v = exp2_register(l, LLVMBuildInsertElement(l->b, v, x, first, ""), 4, near);
		return LLVMBuildExtractElement(l->b, v, first, "");
	}
	n = (lanes + w - 1) / w;
	for (unsigned i = 0; i < n; i++)
		p[i] = exp2_register(l, piece(l, x, i * w, w), w, near);
	return gather(l, p, n, lanes);
}

/* -- dot products ------------------------------------------------------------------------- */

/* acc is n x 32 bits; a and b have `per` elements for each, handed over as `arg`. With `swap`
 * b is the first factor. */
static LLVMValueRef dot(kll *l, kir_ref n, const char *base, LLVMTypeRef arg, unsigned per,
                        bool swap)
{
	unsigned lanes = kll_lanes(l, n), w = lanes > 8 ? 16 : lanes > 4 ? 8 : 4, count;
	LLVMValueRef v[3], p[64];
	char name[64];

	for (unsigned i = 0; i < 3; i++)
		v[i] = l->val[kir_src(l->f, n, i && swap ? 3 - i : i)];
	v[1] = kll_as(l, v[1], arg);
	v[2] = kll_as(l, v[2], arg);
	count = (lanes + w - 1) / w;
	snprintf(name, sizeof name, "%s.%u", base, w * 32);
	for (unsigned i = 0; i < count; i++) {
		LLVMValueRef a[3] = { piece(l, v[0], i * w, w),
			              piece(l, v[1], i * w * per, w * per),
			              piece(l, v[2], i * w * per, w * per) };

		p[i] = kll_call(l, name, NULL, 0, a, 3);
	}
	return gather(l, p, count, lanes);
}

static LLVMValueRef dpbusd(kll *l, kir_ref n)
{
	if (!has(l, KIR_HAS_vnni | KIR_HAS_avx512))
		return kll_fail(l, n, "needs a target with vnni, not %s", l->f->target->name);
	return dot(l, n, "llvm.x86.avx512.vpdpbusd", l->i8, 4, false);
}

/* One word in all lanes. */
static bool is_splat(const kir_func *f, kir_ref n)
{
	while (f->node[n].op == KIR_OP_bitcast)
		n = kir_src(f, n, 0);
	return f->node[n].op == KIR_OP_splat;
}

/* The second factor is the one that the instruction takes from memory, a word in all lanes too.
 * That costs nothing, where a register filled by an instruction of its own makes a product take
 * 1.33 cycles on Zen 4. The factors may change places: sums are of the same two products. */
static LLVMValueRef dpbf16(kll *l, kir_ref n)
{
	if (!has(l, KIR_HAS_bf16 | KIR_HAS_avx512))
		return kll_fail(l, n, "needs a target with bf16, not %s", l->f->target->name);
	return dot(l, n, "llvm.x86.avx512bf16.dpbf16ps", LLVMBFloatTypeInContext(l->c), 2,
	           is_splat(l->f, kir_src(l->f, n, 1)));
}

/* Quads of 8-bit integers without VNNI: as words, pairs by pmaddwd, pairs of pairs by an add.
 * NULL when it isn't that. */
static LLVMValueRef dp_words(kll *l, kir_ref n)
{
	kir_ref a = kir_src(l->f, n, 1), b = kir_src(l->f, n, 2);
	unsigned lanes = kll_lanes(l, n);
	LLVMValueRef x = l->val[a], y = l->val[b], p[64], r;
	unsigned w = has(l, KIR_HAS_avx512) ? 16 : has(l, KIR_HAS_avx2) ? 8 : 4, count;
	const char *name = w == 16  ? "llvm.x86.avx512.pmaddw.d.512"
	                   : w == 8 ? "llvm.x86.avx2.pmadd.wd"
	                            : "llvm.x86.sse2.pmadd.wd";

	if (kll_elem(l, n) != KIR_s32 || kir_elem_bytes(kll_elem(l, a)) != 1 ||
	    kir_elem_bytes(kll_elem(l, b)) != 1 || !kir_is_int(kll_elem(l, a)) ||
	    !kir_is_int(kll_elem(l, b)) || kll_lanes(l, a) != 4 * lanes || lanes * 2 % w ||
	    lanes > 256)
		return NULL;
	x = LLVMBuildIntCast2(l->b, x, kll_like(l->i16, x), kir_is_signed(kll_elem(l, a)), "");
	y = LLVMBuildIntCast2(l->b, y, kll_like(l->i16, y), kir_is_signed(kll_elem(l, b)), "");
	count = lanes * 2 / w;
	for (unsigned i = 0; i < count; i++)
		p[i] = kll_call(l, name, NULL, 0,
		                (LLVMValueRef[]){ piece(l, x, i * w * 2, w * 2),
		                                  piece(l, y, i * w * 2, w * 2) },
		                2);
	r = gather(l, p, count, lanes * 2);
	r = LLVMBuildAdd(l->b, kll_lanes_of(l, r, NULL, 0, 2, lanes),
	                 kll_lanes_of(l, r, NULL, 1, 2, lanes), "");
	return LLVMBuildAdd(l->b, l->val[kir_src(l->f, n, 0)], r, "");
}

/* -- tables -------------------------------------------------------------------------------- */

static LLVMValueRef bytes(kll *l, unsigned x)
{
	return kll_int(l->i8, x, LLVMGetPoison(LLVMVectorType(l->i8, 64)));
}

/* From a table of 128, or of 64, of whose index the two upper bits may be anything. */
static LLVMValueRef lookup(kll *l, LLVMValueRef code, LLVMValueRef *table, unsigned entries)
{
	if (entries == KX86_TABLE)
		return kll_call(l, "llvm.x86.avx512.permvar.qi.512", NULL, 0,
		                (LLVMValueRef[]){ kx86_table(l, table), code }, 2);
	return kll_call(
	    l, "llvm.x86.avx512.vpermi2var.qi.512", NULL, 0,
	    (LLVMValueRef[]){ kx86_table(l, table), code, kx86_table(l, table + KX86_TABLE) },
	    3);
}

/* Codes of 4 bits, for tables that hold each entry four times: bits 4 to 7 of an index may be
 * anything, so bytes are taken as they are, and shifted as words. */
static LLVMValueRef loose_codes(kll *l, kir_ref src)
{
	kir_ref x = l->f->node[src].op == KIR_OP_bitcast ? kir_src(l->f, src, 0) : src;
	LLVMTypeRef words = LLVMVectorType(l->i16, kll_lanes(l, src) / 2);
	kir_op op = (kir_op)l->f->node[x].op;
	int64_t by = 0;
	LLVMValueRef v;

	if (kll_elem(l, x) != KIR_u8 || (op != KIR_OP_and && op != KIR_OP_shr) ||
	    !kir_is_const(l->f, kir_src(l->f, x, 1), &by) || by != (op == KIR_OP_and ? 15 : 4))
		return l->val[src];
	v = l->val[kir_src(l->f, x, 0)];
	if (op == KIR_OP_and)
		return v;
	v = LLVMBuildBitCast(l->b, v, words, "");
	v = LLVMBuildLShr(l->b, v, kll_int(l->i16, 4, v), "");
	return LLVMBuildBitCast(l->b, v, LLVMTypeOf(l->val[src]), "");
}

/* Low and high bytes of 64 codes as bf16: of 8 bits each from a table of 128, the sign from the
 * code; of 4 bits from one of 64 that holds each entry four times. */
static void lut_bytes(kll *l, LLVMValueRef code, kir_elem e, LLVMValueRef *low,
                      LLVMValueRef *high)
{
	LLVMValueRef lo_table[128], hi_table[128], lo, hi;
	unsigned bits = kir_elems[e].bits, mask = (1u << bits) - 1;
	unsigned entries = bits <= 6 ? KX86_TABLE : 2 * KX86_TABLE;

	for (unsigned c = 0; c < entries; c++) {
		double x = kir_decode(e, c & mask);
		uint64_t b =
		    kir_encode(KIR_bf16, x, KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_inf);

		lo_table[c] = LLVMConstInt(l->i8, b & 0xff, false);
		hi_table[c] = LLVMConstInt(l->i8, b >> 8, false);
	}
	lo = lookup(l, code, lo_table, entries);
	hi = lookup(l, code, hi_table, entries);
	if (bits == 8)
		hi = LLVMBuildOr(l->b, hi, LLVMBuildAnd(l->b, code, bytes(l, 0x80), ""), "");
	if (kir_elems[e].kind == 'Z') {
		LLVMValueRef nan = LLVMBuildICmp(l->b, LLVMIntEQ, code, bytes(l, 0x80), "");

		lo = kll_select(l, nan, bytes(l, 0xc0), lo);
		hi = kll_select(l, nan, bytes(l, 0x7f), hi);
	}
	*low = lo;
	*high = hi;
}

/* 64 codes in order: where a product wants another, LLVM makes one permutation of the two. */
static LLVMValueRef lut_register(kll *l, LLVMValueRef code, kir_elem e)
{
	LLVMValueRef lo, hi, half[2];
	unsigned lane[64];

	lut_bytes(l, code, e, &lo, &hi);
	for (unsigned h = 0; h < 2; h++) {
		for (unsigned i = 0; i < 64; i++)
			lane[i] = h * 32 + i / 2 + (i & 1) * 64;
		half[h] = kll_shuffle(l, lo, hi, lane, 64);
	}
	return LLVMBuildBitCast(l->b, kll_concat(l, half[0], half[1]),
	                        LLVMVectorType(l->i16, 64), "");
}

/* Of each 16 bytes the lower or upper 8 of a beside those of b, by turns: one unpack. */
static LLVMValueRef unpack(kll *l, LLVMValueRef a, LLVMValueRef b, bool upper)
{
	unsigned lane[64];

	for (unsigned i = 0; i < 64; i++)
		lane[i] = i / 16 * 16 + upper * 8 + i % 16 / 2 + (i & 1) * 64;
	return kll_shuffle(l, a, b, lane, 64);
}

/* The lower or upper 8 of each 16 codes. */
static LLVMValueRef lut_eights(kll *l, LLVMValueRef code, kir_elem e, bool upper)
{
	LLVMValueRef lo, hi;

	lut_bytes(l, code, e, &lo, &hi);
	return LLVMBuildBitCast(l->b, unpack(l, lo, hi, upper), LLVMVectorType(l->i16, 32), "");
}

/* -- codes brought into an order whose unpacks are the product's -------------------------- */

/* A permutation of the results of two tables reads three registers. Zen 4 makes no such shuffle
 * beside a product, whose three operands take the same ports: 16 products and the 10 of two
 * rows of values took 23 cycles there. Shuffles that read two do run beside products, so the
 * codes are put in order before tables are asked, and after it unpacks are enough. */

/* The 64 codes of which a lut makes bf16 whose words n takes every second of; 0: it doesn't. */
static kir_ref split_codes(const kll *l, kir_ref n)
{
	const kir_func *f = l->f;
	kir_ref lo = kir_src(f, n, 0), hi = kir_src(f, n, 1), x, lut;

	if (f->node[lo].op != KIR_OP_half_lo || f->node[hi].op != KIR_OP_half_hi ||
	    kll_elem(l, n) != KIR_s32 || kll_lanes(l, n) != 16 ||
	    kir_attr_of(f, n, KIR_ATTR_within))
		return 0;
	x = kir_src(f, lo, 0);
	lut = f->node[x].op == KIR_OP_bitcast ? kir_src(f, x, 0) : 0;
	return x == kir_src(f, hi, 0) && lut && f->node[lut].op == KIR_OP_x86_lut &&
	               kll_lanes(l, lut) == 64
	           ? kir_src(f, lut, 0)
	           : 0;
}

/* Keys: of each 4 codes the first or the last two. */
static LLVMValueRef split_lut(kll *l, kir_ref n)
{
	kir_ref src = split_codes(l, n);
	kir_elem e = src ? kll_elem(l, src) : KIR_VOID;
	unsigned from[64];

	if (!src || kir_elems[e].bits != 8)
		return NULL;
	for (unsigned i = 0; i < 64; i++)
		from[i] = i / 16 * 16 + i % 8 / 2 * 4 + i % 16 / 8 * 2 + i % 2;
	return LLVMBuildBitCast(l->b,
	                        lut_eights(l, kx86_permute(l, l->val[src], from), e,
	                                   l->f->node[n].op == KIR_OP_unzip_hi),
	                        LLVMVectorType(l->i32, 16), "");
}

/* Values: two rows, zipped. 16 bytes of a row are its columns 4 i to 4 i + 3 of each 16; the
 * unpack of two rows, and that of the tables' bytes, split these twice. */
static LLVMValueRef zipped_lut(kll *l, kir_ref zip)
{
	kir_elem e = kll_elem(l, zip);
	LLVMValueRef row[2], lo, hi, x;
	unsigned from[64];

	for (unsigned i = 0; i < 64; i++)
		from[i] = i % 16 / 4 * 16 + i / 16 * 4 + i % 4;
	for (unsigned i = 0; i < 2; i++)
		row[i] = kx86_permute(l, l->val[kir_src(l->f, zip, i)], from);
	lut_bytes(l, unpack(l, row[0], row[1], l->f->node[zip].op == KIR_OP_zip_hi), e, &lo,
	          &hi);
	x = kll_concat(l, unpack(l, lo, hi, false), unpack(l, lo, hi, true));
	return LLVMBuildBitCast(l->b, x, LLVMVectorType(l->i16, 64), "");
}

static bool is_zip(const kll *l, kir_ref n)
{
	kir_op op = (kir_op)l->f->node[n].op;

	return (op == KIR_OP_zip_lo || op == KIR_OP_zip_hi) && kll_lanes(l, n) == 64 &&
	       kir_elems[kll_elem(l, n)].bits == 8 && !kir_attr_of(l->f, n, KIR_ATTR_within);
}

/* 64 codes as f32, four registers. Codes i and i + 16 of each 32 share a lane, as the lower and
 * the upper half of it: one instruction more for each. */
static void lut_f32(kll *l, LLVMValueRef code, kir_elem e, LLVMValueRef *part)
{
	LLVMTypeRef words = LLVMVectorType(l->i32, 16), floats = LLVMVectorType(l->f32, 16);
	LLVMValueRef lo, hi, x, half[2];
	unsigned from[64];

	for (unsigned i = 0; i < 64; i++)
		from[i] = i % 16 / 8 * 32 + i % 2 * 16 + i / 16 * 4 + i % 8 / 2;
	lut_bytes(l, kx86_permute(l, code, from), e, &lo, &hi);
	for (unsigned q = 0; q < 2; q++) {
		x = LLVMBuildBitCast(l->b, unpack(l, lo, hi, q), words, "");
		half[0] = LLVMBuildShl(l->b, x, kll_int(l->i32, 16, x), "");
		half[1] = LLVMBuildAnd(l->b, x, kll_int(l->i32, 0xffff0000, x), "");
		for (unsigned h = 0; h < 2; h++)
			part[2 * q + h] = LLVMBuildBitCast(l->b, half[h], floats, "");
	}
}

/* A conversion to f32 of what lut made of whole registers; NULL: n isn't one. */
static LLVMValueRef widen_lut(kll *l, kir_ref n)
{
	kir_ref src = kir_src(l->f, n, 0), code = kir_src(l->f, src, 0);
	unsigned lanes = kll_lanes(l, n);
	LLVMValueRef p[64];

	if (l->f->node[src].op != KIR_OP_x86_lut || kll_elem(l, n) != KIR_f32 || lanes % 64 ||
	    lanes > 1024)
		return NULL;
	for (unsigned i = 0; i < lanes; i += 64)
		lut_f32(l, piece(l, l->val[code], i, 64), kll_elem(l, code), p + i / 16);
	return gather(l, p, lanes / 16, lanes);
}

static LLVMValueRef lut(kll *l, kir_ref n)
{
	kir_ref src = kir_src(l->f, n, 0);
	kir_elem e = kll_elem(l, src);
	kir_op op = (kir_op)l->f->node[n].op;
	bool all = op == KIR_OP_x86_lut;
	unsigned lanes = kll_lanes(l, n), each = all ? 64 : 32;
	unsigned count = (lanes + each - 1) / each;
	LLVMValueRef p[16], codes = kir_elems[e].bits == 4 ? loose_codes(l, src) : l->val[src];

	if (!has(l, KIR_HAS_vbmi | KIR_HAS_avx512))
		return kll_fail(l, n, "needs a target with vbmi, not %s", l->f->target->name);
	if (kll_elem(l, n) != KIR_bf16 || kir_elem_bytes(e) != 1 || !lanes ||
	    !kir_is_float(e) || kir_elems[e].kind == 'E')
		return kll_fail(l, n, "turns signed floats of at most 8 bits into bf16");
	if (all && is_zip(l, src))
		return zipped_lut(l, src);
	for (unsigned i = 0; i < count; i++) {
		LLVMValueRef code = piece(l, codes, i * 64, 64);

		p[i] = all ? lut_register(l, code, e)
		           : lut_eights(l, code, e, op == KIR_OP_x86_lut_hi);
	}
	return gather(l, p, count, lanes);
}

/* 16-bit lanes whose lowest 4 bits are n's codes, whatever lies above, or NULL: codes that a
 * mask or a sign's shifts took out of such lanes (passes/vec_nibble.c). */
static LLVMValueRef codes_in_words(kll *l, kir_ref src)
{
	const kir_func *f = l->f;
	kir_ref x = f->node[src].op == KIR_OP_bitcast ? kir_src(f, src, 0) : src, y;
	int64_t by, up = 0;
	LLVMValueRef v;

	if (f->node[x].op != KIR_OP_convert || kll_lanes(l, x) != 32)
		return NULL;
	x = kir_src(f, x, 0);
	if (kll_elem(l, x) == KIR_u16 && f->node[x].op == KIR_OP_and &&
	    kir_is_const(f, kir_src(f, x, 1), &by) && by == 15)
		return l->val[kir_src(f, x, 0)];
	if (kll_elem(l, x) != KIR_s16 || f->node[x].op != KIR_OP_shr ||
	    !kir_is_const(f, kir_src(f, x, 1), &by) || by != 12)
		return NULL;
	y = kir_src(f, x, 0);
	if (f->node[y].op == KIR_OP_shl && kir_is_const(f, kir_src(f, y, 1), &up) && up >= 0 &&
	    up <= 12)
		y = kir_src(f, y, 0);
	else
		up = 0;
	v = l->val[y];
	return up == 12 ? v
	                : LLVMBuildLShr(l->b, v, kll_int(l->i16, (uint64_t)(12 - up), v), "");
}

/* 32 codes of 4 bits as bf16, by a permutation of a table that holds each twice: it looks at 5
 * bits of a 16-bit lane. NULL: n's codes don't lie so. */
static LLVMValueRef lut_words(kll *l, kir_ref n)
{
	kir_ref src = kir_src(l->f, n, 0);
	kir_elem e = kll_elem(l, src);
	LLVMTypeRef words = LLVMVectorType(l->i16, 32);
	LLVMValueRef table[64], codes;

	if (!has(l, KIR_HAS_avx512 | KIR_HAS_vbmi) || kll_elem(l, n) != KIR_bf16 ||
	    kll_lanes(l, n) != 32 || (e != KIR_s8 && kir_elems[e].bits != 4))
		return NULL;
	codes = codes_in_words(l, src);
	if (!codes)
		return NULL;
	for (unsigned c = 0; c < 32; c++) {
		double x =
		    e == KIR_s8 ? (double)((int)((c & 15) ^ 8) - 8) : kir_decode(e, c & 15);
		uint64_t b =
		    kir_encode(KIR_bf16, x, KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_inf);

		table[2 * c] = LLVMConstInt(l->i8, b & 0xff, false);
		table[2 * c + 1] = LLVMConstInt(l->i8, b >> 8, false);
	}
	return kll_call(
	    l, "llvm.x86.avx512.permvar.hi.512", NULL, 0,
	    (LLVMValueRef[]){ LLVMBuildBitCast(l->b, kx86_table(l, table), words, ""), codes },
	    2);
}

/* 4-bit floats as integers, their bits flipped where `flip` has ones: by a table of 16 bytes,
 * which is there four times if the processor has permutations of 64. Others stay. */
static LLVMValueRef fixed(kll *l, kir_ref n, uint64_t flip)
{
	kir_ref src = kir_src(l->f, n, 0);
	kir_elem from = kll_elem(l, src), to = kll_elem(l, n);
	unsigned lanes = kll_lanes(l, n), count = (lanes + 63) / 64;
	int shift = (int)kir_attr_of(l->f, n, KIR_ATTR_shift);
	LLVMValueRef p[16], table[64], codes;
	bool all = has(l, KIR_HAS_vbmi);

	if (!has(l, KIR_HAS_avx512) || !kir_is_float(from) || kir_elems[from].bits != 4 ||
	    kir_elem_bytes(to) != 1 || lanes < 16 || count > 16)
		return NULL;
	for (unsigned c = 0; c < 64; c++) {
		int64_t x = (int64_t)ldexp(kir_decode(from, c & 15), shift);

		table[c] = LLVMConstInt(l->i8, ((uint64_t)x ^ flip) & 255, false);
	}
	codes = all ? loose_codes(l, src) : l->val[src];
	for (unsigned i = 0; i < count; i++) {
		LLVMValueRef t = kx86_table(l, table), x = piece(l, codes, i * 64, 64);

		if (!all)
			x = LLVMBuildAnd(l->b, x, bytes(l, 15), "");
		p[i] = kll_call(
		    l, all ? "llvm.x86.avx512.permvar.qi.512" : "llvm.x86.avx512.pshuf.b.512",
		    NULL, 0, (LLVMValueRef[]){ t, x }, 2);
	}
	return gather(l, p, count, lanes);
}

/* Such integers with bits flipped: another table. */
static LLVMValueRef flipped(kll *l, kir_ref n)
{
	kir_ref x = kir_src(l->f, n, 0);
	int64_t flip;

	if (l->f->node[x].op != KIR_OP_fixed || !kir_is_const(l->f, kir_src(l->f, n, 1), &flip))
		return NULL;
	return fixed(l, x, (uint64_t)flip);
}

/* -- f32 to integers of 8 bits ------------------------------------------------------------ */

static LLVMValueRef clamp_int(kll *l, LLVMValueRef x, LLVMIntPredicate p, int64_t lim)
{
	LLVMValueRef c = kll_int(l->i32, (uint64_t)lim, x);

	return kll_select(l, LLVMBuildICmp(l->b, p, x, c, ""), x, c);
}

/* 16 lanes, rounded to even by the conversion itself, whose answer to what it can't hold is all
 * ones (unsigned) or the lowest number (signed): with the other end cut off before, both
 * saturate as they should when the instruction that narrows saturates too. NaN becomes 0. */
static LLVMValueRef to_bytes(kll *l, LLVMValueRef x, bool sign)
{
	LLVMTypeRef mt = LLVMVectorType(l->i1, 16);
	LLVMValueRef lim = kll_real(l->f32, sign ? 127 : 0, x), keep = LLVMConstAllOnes(mt), r;
	LLVMValueRef zero = LLVMConstNull(LLVMVectorType(l->i32, 16));

	if (sign)
		keep = LLVMBuildFCmp(l->b, LLVMRealORD, x, x, "");
	r = LLVMBuildFCmp(l->b, sign ? LLVMRealOLT : LLVMRealOGT, x, lim, "");
	r = kll_select(l, r, x, lim);
	r = kll_call(l,
	             sign ? "llvm.x86.avx512.mask.cvtps2dq.512"
	                  : "llvm.x86.avx512.mask.cvtps2udq.512",
	             NULL, 0,
	             (LLVMValueRef[]){ r, zero, LLVMBuildBitCast(l->b, keep, l->i16, ""),
	                               LLVMConstInt(l->i32, 8, false) },
	             4);
	if (sign)
		r = clamp_int(l, clamp_int(l, r, LLVMIntSGT, -128), LLVMIntSLT, 127);
	else
		r = clamp_int(l, r, LLVMIntULT, 255);
	return LLVMBuildTrunc(l->b, r, LLVMVectorType(l->i8, 16), "");
}

/* To bf16 by the instructions that do all of it, and take subnormals for 0: of two registers
 * at once, of a single one, or what there is of one, alone. */
static LLVMValueRef to_bf16(kll *l, LLVMValueRef x, unsigned lanes)
{
	LLVMValueRef p[KLL_MAX_LANES / 16];
	unsigned count = (lanes + 15) / 16, each = count % 2 ? 1 : 2;

	for (unsigned i = 0; i < count; i += each) {
		LLVMValueRef lo = piece(l, x, i * 16, 16);
		LLVMValueRef both[] = { each == 2 ? piece(l, x, i * 16 + 16, 16) : lo, lo };

		lo = kll_call(l,
		              each == 2 ? "llvm.x86.avx512bf16.cvtne2ps2bf16.512"
		                        : "llvm.x86.avx512bf16.cvtneps2bf16.512",
		              NULL, 0, both, each);
		p[i / each] = LLVMBuildBitCast(l->b, lo, LLVMVectorType(l->i16, 16 * each), "");
	}
	return gather(l, p, count / each, lanes);
}

static LLVMValueRef convert(kll *l, kir_ref n)
{
	kir_ref src = kir_src(l->f, n, 0);
	kir_elem to = kll_elem(l, n);
	unsigned lanes = kll_lanes(l, n), count = lanes / 16;
	LLVMValueRef p[KLL_MAX_LANES / 16];

	if (kir_attr_of(l->f, n, KIR_ATTR_sub) == KIR_SUB_zero && lanes &&
	    kir_attr_of(l->f, n, KIR_ATTR_round) == KIR_ROUND_even &&
	    kir_attr_of(l->f, n, KIR_ATTR_nan) == KIR_NAN_keep &&
	    has(l, KIR_HAS_avx512 | KIR_HAS_bf16))
		return to_bf16(l, l->val[src], lanes);
	if (kx86_narrows(l->f, n))
		return kx86_narrow(l, n);
	if (kx86_by_parity(l->f, n))
		return kx86_widen_by_parity(l, n);
	LLVMValueRef words = lut_words(l, n), low = kx86_low_bytes(l, n);

	if (words || low)
		return words ? words : low;
	if (l->f->node[src].op == KIR_OP_x86_lut)
		return widen_lut(l, n);
	if (!has(l, KIR_HAS_avx512) || kll_elem(l, src) != KIR_f32 ||
	    (to != KIR_s8 && to != KIR_u8) || !lanes || lanes % 16 ||
	    kir_attr_of(l->f, n, KIR_ATTR_round) != KIR_ROUND_even ||
	    kir_attr_of(l->f, n, KIR_ATTR_nan) == KIR_NAN_max)
		return NULL;
	for (unsigned i = 0; i < count; i++)
		p[i] = to_bytes(l, piece(l, l->val[src], i * 16, 16), to == KIR_s8);
	return gather(l, p, count, lanes);
}

LLVMValueRef kx86_hook(kll *l, kir_ref n)
{
	switch (l->f->node[n].op) {
	case KIR_OP_convert: return convert(l, n);
	case KIR_OP_dp: return dp_words(l, n);
	case KIR_OP_x86_dpbusd: return dpbusd(l, n);
	case KIR_OP_x86_dpbf16: return dpbf16(l, n);
	case KIR_OP_x86_lut:
	case KIR_OP_x86_lut_lo:
	case KIR_OP_x86_lut_hi: return lut(l, n);
	case KIR_OP_unzip_lo:
	case KIR_OP_unzip_hi: return split_lut(l, n);
	case KIR_OP_join: return kx86_one_permutation(l, n);
	case KIR_OP_fixed: return fixed(l, n, 0);
	case KIR_OP_xor: return flipped(l, n);
	default: return kx86_tiles(l, n);
	}
}
