/* SPDX-License-Identifier: Apache-2.0 */
/* xe_block.c -- blocks of memory: one message of a sub-group where the device has that and the
 * block fits, else each lane reads its own part.
 */
#include "xe.h"

#include <stdio.h>
#include <string.h>

enum { BLOCK_ALIGN = 6 /* log2 */, SURFACE_MAX = (1 << 24) - 1, BLOCK_WORDS = 8 };

typedef struct block {
	LLVMValueRef at;                 /* the indexed element                           */
	LLVMValueRef live;               /* rows from there that exist, an i64; NULL: all */
	LLVMValueRef last;               /* of these; 0 where there is none */
	LLVMValueRef apart;              /* bytes from row to row, an i64                 */
	LLVMValueRef row, col;           /* the first of both, col in bytes               */
	LLVMValueRef base;               /* of the buffer                                 */
	int64_t pitch, x, y;             /* pitch 0: a run-time stride                    */
	unsigned unit, size, own, words; /* words: bytes of a lane / 4        */
	unsigned align;                  /* of each lane's part of a row      */
	unsigned read;                   /* bytes of an element as it is read (read_size) */
	bool trans;
} block;

/* The parameter that n reads; -1: a local. */
static int param_of(const kll *l, kir_ref n)
{
	return kir_param_index(l->f, kir_root(l->f, kir_src(l->f, n, 0)));
}

/* Low bits of where n reads that are zero; bases and strides of caches are multiples of the
 * grain. */
static unsigned zeros_of(const kll *l, kir_ref n)
{
	unsigned zeros = kll_zeros(l, n), grain;
	int param = param_of(l, n);

	if (param < 0 || !l->f->param[param].nstride)
		return zeros;
	grain = (unsigned)__builtin_ctz(
	    kir_grain(kir_type_at(l->f->module, l->f->param[param].type)));
	return zeros < grain ? zeros : grain;
}

static LLVMValueRef row_distance(kll *l, kir_ref n, int64_t pitch)
{
	int s = kir_row_stride(kir_type_of(l->f, kir_src(l->f, n, 0)));
	int param = param_of(l, n);

	if (pitch)
		return LLVMConstInt(l->i64, (uint64_t)pitch, false);
	if (param < 0)
		return kll_fail(l, n, "a local buffer has no run-time strides");
	return LLVMGetParam(l->fn, l->arg[param] + 1 + (unsigned)s);
}

static block block_of(kll *l, kir_ref n)
{
	unsigned zeros = zeros_of(l, n);
	block b = { .pitch = kir_attr_of(l->f, n, KIR_ATTR_pitch),
		    .x = kir_attr_of(l->f, n, KIR_ATTR_x),
		    .y = kir_attr_of(l->f, n, KIR_ATTR_y),
		    .unit = (unsigned)kir_attr_of(l->f, n, KIR_ATTR_unit),
		    .trans = kir_attr_of(l->f, n, KIR_ATTR_trans) };

	b.at = kll_address(l, n, 0);
	b.live = kll_count(l, n);
	b.size = kir_elem_bytes(kll_elem(l, n));
	b.own = kspv_own(l, n);
	b.words = kspv_own_bytes(l, n) / 4;
	b.apart = row_distance(l, n, b.pitch);
	b.align = 1u << (zeros < 4 ? zeros : 4);
	while (b.pitch % b.align || b.x * b.unit * b.size % b.align ||
	       (!b.trans && b.unit * b.size % b.align))
		b.align /= 2;
	return b;
}

/* Whether rows lie where the instruction can begin and go. Where they begin isn't known to be a
 * multiple of 64 bytes it begins before them, and no row may reach into what is then too far
 * for its width. Run-time strides are held to the rules where a call hands them over. */
static bool rows_fit(kll *l, kir_ref n, const block *b)
{
	unsigned zeros = zeros_of(l, n), unit = b->unit * b->size;
	int param = param_of(l, n);
	int64_t end =
	    b->trans ? b->x * b->size + b->words * 4 : (b->x + l->o->spread) * (int64_t)unit;

	if (zeros < 2)
		return false;
	if (!b->pitch)
		return zeros >= BLOCK_ALIGN && param >= 0 && l->f->param[param].dir == KIR_IN;
	if (zeros < BLOCK_ALIGN)
		end += (1 << BLOCK_ALIGN) - (1 << zeros);
	return b->pitch >= KIR_PITCH_MIN && b->pitch % 16 == 0 && b->pitch <= KIR_PITCH_MAX &&
	       end <= b->pitch;
}

/* The function that reads this block, NULL if there is none or the block would be too small. */
static const char *block_name(kll *l, kir_ref n, const block *b)
{
	bool four = b->words == 4 && !b->trans && b->unit * b->size == 4;

	if (!(l->f->target->features & KIR_HAS_block2d) || (b->words != BLOCK_WORDS && !four) ||
	    !rows_fit(l, n, b))
		return NULL;
	if (b->trans)
		return b->x * b->size % 4 ? NULL : "transpose_u32_k8";
	if (b->x * b->unit * b->size % 4)
		return NULL;
	switch (b->unit * b->size) {
	case 1: return "transform_u8_k32";
	case 2: return "transform_u16_k16";
	case 4: return four ? "u32_m4k16v1" : "u32_m8k16v1";
	default: return NULL;
	}
}

/* Where instructions put the words they load: in a variable, which compilers make registers. */
static LLVMValueRef variable(kll *l)
{
	LLVMBasicBlockRef now = LLVMGetInsertBlock(l->b);
	LLVMValueRef first = LLVMGetFirstInstruction(l->entry);
	kspv *k = kspv_of(l);

	if (k->block)
		return k->block;
	if (first)
		LLVMPositionBuilderBefore(l->b, first);
	k->block = LLVMBuildAlloca(l->b, LLVMArrayType(l->i32, BLOCK_WORDS), "");
	LLVMPositionBuilderAtEnd(l->b, now);
	return k->block;
}

/* The same block as an instruction, from what the function takes: sizes less one. */
static LLVMValueRef block_instruction(kll *l, const block *b, const LLVMValueRef *less)
{
	unsigned which = b->trans                 ? KSPV_NEWER_TRANSPOSE
	                 : b->unit * b->size == 4 ? KSPV_NEWER_LOAD
	                                          : KSPV_NEWER_TRANSFORM;
	unsigned size = b->trans ? 4 : b->unit * b->size;
	unsigned columns = b->trans ? b->words : l->o->spread;
	unsigned rows = b->trans ? l->o->spread : b->words * 4 / size;
	LLVMTypeRef array = LLVMArrayType(l->i32, BLOCK_WORDS), t = kll_vec(l->i32, b->words);
	LLVMValueRef one = kspv_word(l, 1), zero[2] = { kspv_word(l, 0), kspv_word(l, 0) };
	LLVMValueRef arg[KSPV_MAX_ARGS];
	LLVMTypeRef at = LLVMPointerType(l->i8, KSPV_GLOBAL);
	LLVMValueRef to = variable(l);

	arg[0] = kspv_word(l, size);
	arg[1] = kspv_word(l, columns);
	arg[2] = kspv_word(l, rows);
	arg[3] = one;
	arg[4] = LLVMBuildIntToPtr(l->b, less[0], at, "");
	for (unsigned i = 1; i < 4; i++)
		arg[4 + i] = LLVMBuildAdd(l->b, less[i], one, "");
	arg[8] = less[4];
	arg[9] = LLVMBuildInBoundsGEP2(l->b, array, to, zero, 2, "");
	kspv_call(l, kspv_newer_call[which], LLVMVoidTypeInContext(l->c), arg, KSPV_MAX_ARGS,
	          true);
	return kspv_load(l, t, arg[9], 4);
}

/* Sizes less one, and where it begins: at a multiple of 64 bytes, the rest are columns. Caches
 * and their run-time strides are such multiples (docs/backend-spirv.md), so that rows are
 * inside as wide as they are apart. Rows that don't exist lie past the height; where none does,
 * the block begins there. A height that is the pitch costs an instruction less: it is written
 * into the message together with the width beside it. */
static LLVMValueRef block_load(kll *l, kir_ref n, const block *b, const char *name)
{
	LLVMValueRef x = kspv_word(l, (uint64_t)(b->trans ? b->x * b->size / 4 : b->x));
	LLVMValueRef arg[5], y = kspv_word(l, (uint64_t)b->y), none, low;
	LLVMValueRef mask = LLVMConstInt(l->i64, (1 << BLOCK_ALIGN) - 1, false);
	unsigned unit = b->trans ? 4 : b->unit * b->size;
	LLVMTypeRef pair = kll_vec(l->i32, 2);
	char full[80];

	snprintf(full, sizeof full, "__builtin_IB_subgroup_block_read_flat_%s", name);
	arg[0] = LLVMBuildPtrToInt(l->b, b->at, l->i64, "");
	if (zeros_of(l, n) < BLOCK_ALIGN) {
		low = LLVMBuildAnd(l->b, arg[0], mask, "");
		arg[0] = LLVMBuildSub(l->b, arg[0], low, "");
		low = LLVMBuildTrunc(l->b, low, l->i32, "");
		low = LLVMBuildLShr(l->b, low, kspv_word(l, (unsigned)__builtin_ctz(unit)), "");
		x = LLVMBuildAdd(l->b, x, low, "");
	}
	arg[1] = LLVMBuildTrunc(l->b, b->apart, l->i32, "");
	arg[1] = arg[3] = LLVMBuildSub(l->b, arg[1], kspv_word(l, 1), "");
	arg[2] =
	    b->y + (b->trans ? 16 : b->own / b->unit) <= (b->pitch ? b->pitch : KIR_PITCH_MIN)
	        ? arg[1]
	        : kspv_word(l, SURFACE_MAX - 1);
	if (b->live) {
		LLVMValueRef live = LLVMBuildTrunc(l->b, b->live, l->i32, "");

		none = LLVMBuildICmp(l->b, LLVMIntSLT, live, kspv_word(l, 1), "");
		live = LLVMBuildSub(l->b, live, kspv_word(l, 1), "");
		arg[2] = kll_select(l, none, kspv_word(l, 0), live);
		y = kll_select(l, none, kspv_word(l, SURFACE_MAX / 2), y);
	}
	arg[4] = LLVMBuildInsertElement(l->b, LLVMGetUndef(pair), x, kspv_word(l, 0), "");
	arg[4] = LLVMBuildInsertElement(l->b, arg[4], y, kspv_word(l, 1), "");
	if (kspv_is_newer(l))
		return block_instruction(l, b, arg);
	return kspv_call(l, full, kll_vec(l->i32, b->words), arg, 5, true);
}

/* The element of this lane's row and column that lies `off` bytes from the block's own `at`;
 * rows that don't exist read the last that does. */
static LLVMValueRef part_at(kll *l, const block *b, LLVMValueRef row, LLVMValueRef off,
                            LLVMValueRef *exists)
{
	*exists = NULL;
	if (b->live) {
		*exists = LLVMBuildICmp(l->b, LLVMIntSLT, row, b->live, "");
		row = kll_select(l, *exists, row, b->last);
	}
	row = LLVMBuildMul(l->b, row, b->apart, "");
	if (b->pitch) { /* a lane's place once, and literals from there */
		off = LLVMBuildAdd(l->b, off, row, "");
		return LLVMBuildGEP2(l->b, l->i8, b->at, &off, 1, "");
	}
	row = LLVMBuildGEP2(l->b, l->i8, b->at, &row, 1, "");
	return LLVMBuildGEP2(l->b, l->i8, row, &off, 1, "");
}

/* Anew for each read: widened once, it would be in registers all along. */
static LLVMValueRef lane64(kll *l)
{
	return LLVMBuildZExt(l->b, kspv_lane(l), l->i64, "");
}

/* `count` elements that lie side by side, as many at a time as one access may hold. */
static void read_part(kll *l, const block *b, LLVMValueRef row, LLVMValueRef off,
                      unsigned count, LLVMTypeRef e, LLVMValueRef *out)
{
	LLVMValueRef exists, at = part_at(l, b, row, off, &exists);
	unsigned most = 16 / b->size, n;

	for (unsigned i = 0; i < count; i += n) {
		LLVMValueRef far = LLVMConstInt(l->i64, i * b->size, false);
		LLVMValueRef p = LLVMBuildGEP2(l->b, l->i8, at, &far, 1, ""), v;

		n = count - i < most ? count - i : most;
		while (n & (n - 1) ||
		       (n * b->size > b->align && (b->size != 4 || b->align < 4)))
			n = n & (n - 1) ? n & (n - 1) : n / 2;
		n = n ? n : 1;
		v = kspv_load(l, kll_vec(e, n > 1 ? n : 0), p,
		              n > 1 ? (n * b->size > b->align ? b->align : n * b->size) : 1);
		kspv_split(l, v, out + i);
		for (unsigned k = i; exists && k < i + n; k++)
			out[k] = kll_select(l, exists, out[k], LLVMConstNull(e));
	}
}

/* Elements that lie side by side in words, or in halves of them, are read as these: the engine
 * takes words, and to take one apart is a shift for each element, which compilers find the way
 * around where they can. Bytes of what is read at once. */
static unsigned read_size(const kll *l, kir_ref n, const block *b)
{
	unsigned together = (b->trans ? b->own : b->unit) * b->size, size = 4;

	if (b->own <= KLL_MAX_OWN)
		return b->size;
	while (size > b->size &&
	       (together % size || b->align < size || (b->trans && b->x * b->size % size)))
		size /= 2;
	return size == 4 || kspv_is_words(l, n) ? size : b->size;
}

/* By shifts, which compilers find the shortest way around: casts to vectors of bytes cost more.
 * Halfway there is a word of 16 bits, as LLVM 22's SPIR-V target makes an and of two widths of
 * what goes from 32 bits to 8 and then to 16. */
static void bytes_of(kll *l, const LLVMValueRef *w, unsigned n, LLVMValueRef *x)
{
	for (unsigned i = 0; i < n; i++) {
		x[i] = LLVMBuildLShr(l->b, w[i / 4], kspv_word(l, i % 4 * 8), "");
		x[i] = LLVMBuildTrunc(l->b, x[i], l->i16, "");
		x[i] = LLVMBuildTrunc(l->b, x[i], l->i8, "");
	}
}

/* The parts of this lane, of block b: elements or words. */
static void read_rows(kll *l, const block *b, LLVMTypeRef e, LLVMValueRef *x)
{
	LLVMValueRef bytes = LLVMConstInt(l->i64, b->unit * b->size, false), off;

	if (b->trans) {
		read_part(l, b, LLVMBuildAdd(l->b, b->row, lane64(l), ""), b->col, b->own, e,
		          x);
		return;
	}
	off = LLVMBuildAdd(l->b, LLVMBuildMul(l->b, lane64(l), bytes, ""), b->col, "");
	for (unsigned r = 0; r < b->own / b->unit; r++) {
		LLVMValueRef i = LLVMConstInt(l->i64, r, false);

		read_part(l, b, LLVMBuildAdd(l->b, b->row, i, ""), off, b->unit, e,
		          x + r * b->unit);
	}
}

static LLVMValueRef read_parts(kll *l, kir_ref n, const block *b)
{
	LLVMValueRef x[4 * KLL_MAX_OWN], w[4 * KLL_MAX_OWN];
	unsigned size = b->read, by = size / b->size;
	block wide = *b;

	wide.size = size;
	wide.own /= by;
	wide.unit /= b->trans ? 1 : by;
	read_rows(l, &wide,
	          by == 1     ? kll_elem_type(l, kll_elem(l, n))
	          : size == 4 ? l->i32
	                      : l->i16,
	          w);
	if (kspv_is_words(l, n))
		return size == 4 ? kspv_build(l, w, wide.own)
		                 : kspv_as_words(l, w, wide.own, size);
	if (by == 1)
		return kspv_build(l, w, b->own);
	bytes_of(l, w, b->own, x);
	return kspv_build(l, x, b->own);
}

/* Where no row exists, the block is read where its buffer begins. */
static void find_last(kll *l, block *b)
{
	LLVMValueRef zero = LLVMConstInt(l->i64, 0, false), some;

	some = LLVMBuildICmp(l->b, LLVMIntSGT, b->live, zero, "");
	b->at = kll_select(l, some, b->at, b->base);
	b->last = LLVMBuildSub(l->b, b->live, LLVMConstInt(l->i64, 1, false), "");
	b->last = kll_select(l, some, b->last, zero);
}

/* Rows are asked for one by one only where some don't exist: in the last tile of a sequence.
 * What that takes stays in its own branch, beside which registers would be short. */
static LLVMValueRef read_some(kll *l, kir_ref n, block *b)
{
	LLVMBasicBlockRef whole = LLVMAppendBasicBlockInContext(l->c, l->fn, "whole");
	LLVMBasicBlockRef some = LLVMAppendBasicBlockInContext(l->c, l->fn, "some");
	LLVMBasicBlockRef done = LLVMAppendBasicBlockInContext(l->c, l->fn, "loaded"), from[2];
	LLVMValueRef rows = LLVMConstInt(l->i64, b->own / b->unit, false), v[2], phi, all;
	block every = *b;

	every.live = NULL;
	all =
	    LLVMBuildICmp(l->b, LLVMIntSGE, b->live, LLVMBuildAdd(l->b, b->row, rows, ""), "");
	LLVMBuildCondBr(l->b, all, whole, some);
	LLVMPositionBuilderAtEnd(l->b, whole);
	v[0] = read_parts(l, n, &every);
	from[0] = LLVMGetInsertBlock(l->b);
	LLVMBuildBr(l->b, done);
	LLVMPositionBuilderAtEnd(l->b, some);
	find_last(l, b);
	v[1] = read_parts(l, n, b);
	from[1] = LLVMGetInsertBlock(l->b);
	LLVMBuildBr(l->b, done);
	LLVMPositionBuilderAtEnd(l->b, done);
	phi = LLVMBuildPhi(l->b, kspv_own_type(l, n), "");
	LLVMAddIncoming(phi, v, from, 2);
	return phi;
}

static LLVMValueRef read_lanes(kll *l, kir_ref n, block *b)
{
	if (b->live && !b->trans)
		return read_some(l, n, b);
	if (b->live)
		find_last(l, b);
	return read_parts(l, n, b);
}

enum { MAX_VALUES = 8 };

/* The values of b that a function takes, in its order. */
static unsigned values_of(block *b, LLVMValueRef **value)
{
	unsigned n = 0;

	value[n++] = &b->at;
	value[n++] = &b->row;
	value[n++] = &b->col;
	if (!b->pitch)
		value[n++] = &b->apart;
	if (b->live) {
		value[n++] = &b->live;
		value[n++] = &b->base;
	}
	return n;
}

struct reading {
	kir_ref n;
	block b;
};

static LLVMValueRef reading_body(kll *l, LLVMValueRef *arg, void *ctx)
{
	struct reading r = *(struct reading *)ctx;
	LLVMValueRef *value[MAX_VALUES];
	unsigned count = values_of(&r.b, value);

	for (unsigned i = 0; i < count; i++)
		*value[i] = arg[i];
	return read_lanes(l, r.n, &r.b);
}

/* Each lane's part: one function for all blocks of a form. */
static LLVMValueRef read_block(kll *l, kir_ref n, block *b)
{
	LLVMValueRef *value[MAX_VALUES], arg[MAX_VALUES];
	unsigned count = values_of(b, value);
	struct reading r = { n, *b };
	char name[96];

	for (unsigned i = 0; i < count; i++)
		arg[i] = *value[i];
	snprintf(name, sizeof name, "read_%s_%u_%u_%u_%u_%s%s%lld",
	         kir_elems[kll_elem(l, n)].name, b->own, b->unit, b->read, b->align,
	         b->trans ? "rows_" : "", b->live ? "live_" : "", (long long)b->pitch);
	return kspv_once(l, name, kspv_own_type(l, n), arg, count, reading_body, &r);
}

LLVMValueRef kspv_load2d(kll *l, kir_ref n)
{
	block b = block_of(l, n);
	const char *name = block_name(l, n, &b);
	kir_ref buf, upto;
	unsigned first, nindex;

	if (b.own * b.size > 4 * KLL_MAX_OWN ||
	    (b.own > KLL_MAX_OWN && b.size > (kspv_has_engine(l->f->target) ? 2 : 1)))
		return kll_fail(l, n, "a lane would get %u elements", b.own);
	if (name)
		return LLVMBuildBitCast(l->b, block_load(l, n, &b, name), kspv_own_type(l, n),
		                        "");
	b.read = read_size(l, n, &b);
	b.row = LLVMConstInt(l->i64, (uint64_t)b.y, false);
	b.col = LLVMConstInt(l->i64, (uint64_t)b.x * (b.trans ? 1 : b.unit) * b.size, false);
	if (b.live) {
		kir_access(l->f, n, &buf, &first, &nindex, &upto);
		b.base = l->val[buf];
	}
	return read_block(l, n, &b);
}
