/* SPDX-License-Identifier: Apache-2.0 */
/* permute.c -- halves, unzips, zips and joins that end in the bytes of one register, in another
 * order, are one permutation.
 *
 * LLVM sees shuffles of lanes of several widths with bitcasts between them, and takes each by
 * itself: the words of 64 bytes that go where pairs of codes lie (passes/vec_memory.c) were two
 * narrowing conversions, a shift and a shuffle, six operations of which an Intel core does five
 * on the one port that shuffles.
 */
#include "x86.h"

typedef struct byte {
	kir_ref node;
	unsigned at;
} byte;

static unsigned bytes_of(const kir_func *f, kir_ref n)
{
	const kir_type *t = kir_type_of(f, n);

	if (t->rank != 1 || t->buffer || kir_elems[t->elem].bits % 8)
		return 0;
	return (unsigned)(t->dim[0] * kir_elem_bytes((kir_elem)t->elem));
}

/* Where a byte of b's node comes from, one step back; false: no op that moves lanes. */
static bool step(const kir_func *f, byte *b)
{
	const kir_node *d = &f->node[b->node];
	const kir_type *t = kir_type_of(f, b->node);
	unsigned size = (unsigned)kir_elem_bytes((kir_elem)t->elem),
	         lanes = (unsigned)t->dim[0];
	unsigned w = (unsigned)kir_attr_of(f, b->node, KIR_ATTR_within);
	unsigned i = b->at / size, in = b->at % size, src = 0, hi = 0;

	w = w ? w : lanes;
	switch (d->op) {
	case KIR_OP_bitcast: in = b->at, i = 0; break;
	case KIR_OP_half_hi: i += lanes; break;
	case KIR_OP_half_lo: break;
	case KIR_OP_join:
		src = i >= lanes / 2;
		i %= lanes / 2;
		break;
	case KIR_OP_zip_hi: hi = w / 2; /* fall through */
	case KIR_OP_zip_lo:
		src = i & 1;
		i = i / w * w + hi + i % w / 2;
		break;
	case KIR_OP_unzip_hi: hi = 1; /* fall through */
	case KIR_OP_unzip_lo:
		src = i % w >= w / 2;
		i = i / w * w + 2 * i % w + hi;
		break;
	default: return false;
	}
	*b = (byte){ kir_src(f, b->node, src), i * size + in };
	return bytes_of(f, b->node) != 0;
}

LLVMValueRef kx86_one_permutation(kll *l, kir_ref n)
{
	unsigned needs = KIR_HAS_avx512 | KIR_HAS_vbmi, from[KX86_TABLE];
	kir_ref whole = 0;
	bool words = true;

	if ((l->f->target->features & needs) != needs || bytes_of(l->f, n) != KX86_TABLE)
		return NULL;
	for (unsigned i = 0; i < KX86_TABLE; i++) {
		byte b = { n, i };

		do {
			if (!step(l->f, &b))
				return NULL;
		} while (bytes_of(l->f, b.node) < KX86_TABLE);
		if (bytes_of(l->f, b.node) != KX86_TABLE || (whole && whole != b.node))
			return NULL;
		whole = b.node;
		from[i] = b.at;
		words = words && (i % 4 ? b.at == from[i - 1] + 1 : b.at % 4 == 0);
	}
	if (words) /* LLVM knows those */
		return NULL;
	LLVMTypeRef bytes = LLVMVectorType(l->i8, KX86_TABLE);
	LLVMValueRef x = LLVMBuildBitCast(l->b, l->val[whole], bytes, "");

	return LLVMBuildBitCast(l->b, kx86_permute(l, x, from),
	                        kll_vec(kll_elem_type(l, kll_elem(l, n)), kll_own(l, n)), "");
}

/* By one permutation of both registers, three operations of an Intel core, where two
 * conversions that narrow take four. */
LLVMValueRef kx86_low_bytes(kll *l, kir_ref n)
{
	unsigned needs = KIR_HAS_avx512 | KIR_HAS_vbmi;
	kir_ref x = kir_src(l->f, n, 0);
	LLVMValueRef half[2], at[KX86_TABLE], r;
	int64_t mask;

	if ((l->f->target->features & needs) != needs || kll_lanes(l, n) != 32 ||
	    kll_elem(l, n) != KIR_u8 || kll_elem(l, x) != KIR_s32 ||
	    l->f->node[x].op != KIR_OP_and || !kir_is_const(l->f, kir_src(l->f, x, 1), &mask) ||
	    mask != 255)
		return NULL;
	x = kir_src(l->f, x, 0);
	for (unsigned i = 0; i < 2; i++)
		half[i] =
		    LLVMBuildBitCast(l->b, kll_lanes_of(l, l->val[x], NULL, 16 * i, 1, 16),
		                     LLVMVectorType(l->i8, KX86_TABLE), "");
	for (unsigned i = 0; i < KX86_TABLE; i++)
		at[i] = LLVMConstInt(l->i8, 4 * i % 128, false);
	r = kll_call(l, "llvm.x86.avx512.vpermi2var.qi.512", NULL, 0,
	             (LLVMValueRef[]){ half[0], kx86_table(l, at), half[1] }, 3);
	return kll_lanes_of(l, r, NULL, 0, 1, 32);
}
