/* SPDX-License-Identifier: Apache-2.0 */
/* xe.c -- ops of a sub-group: products on matrix engines, blocks of memory, lanes' components.
 *
 * Engines and block loads are functions that Intel's graphics compiler knows by name; it puts
 * one instruction there (docs/xpu.md). A device without blocks reads each lane's part by
 * itself, one without an engine of 16 lanes multiplies f32 by broadcasts, whose lanes are
 * constant: an instruction reads such an operand from wherever it is.
 *
 * What a lane holds of more than KLL_MAX_OWN elements, which are bytes, is a vector of words
 * here, as the engine takes it. Without an engine it stays bytes, more of them than SPIR-V has
 * vectors for: they become scalars before anything is emitted (spirv.c). Only ops of this file
 * make or read such values.
 */
#include "newer.h"
#include "spirv.h"

#include <stdio.h>
#include <string.h>

enum { BLOCK_ALIGN = 6 /* log2 */, SURFACE_MAX = (1 << 24) - 1, BLOCK_WORDS = 8 };

static LLVMValueRef word(kll *l, uint64_t x)
{
	return LLVMConstInt(l->i32, x, false);
}

bool kspv_has_engine(const kir_target *t)
{
	return t->features & KIR_HAS_xmx;
}

static unsigned own_of(const kll *l, kir_ref n)
{
	unsigned own = kll_own(l, n);

	return own ? own : 1;
}

/* Bytes a lane has of n. */
static unsigned own_bytes(const kll *l, kir_ref n)
{
	return own_of(l, n) * kir_elem_bytes(kll_elem(l, n));
}

/* Whether a lane's part of n is a vector of words. */
static bool is_words(const kll *l, kir_ref n)
{
	return own_of(l, n) > KLL_MAX_OWN && kspv_has_engine(l->f->target);
}

/* The LLVM value of a lane's part of n. */
static LLVMTypeRef own_type(const kll *l, kir_ref n)
{
	unsigned own = own_of(l, n);

	if (is_words(l, n))
		return kll_vec(l->i32, own_bytes(l, n) / 4);
	return kll_vec(kll_elem_type(l, kll_elem(l, n)), own > 1 ? own : 0);
}

/* -- products ------------------------------------------------------------------------------ */

/* The type's letters in a mangled name: short, int, float and vectors of them. */
static void mangle(char *to, size_t len, unsigned n, char letter)
{
	if (n > 1)
		snprintf(to, len, "Dv%u_%c", n, letter);
	else
		snprintf(to, len, "%c", letter);
}

/* Whether instructions of SPIR-V's extensions are used, not functions by name. */
static bool newer(const kll *l)
{
	return (l->f->target->features & KIR_HAS_xe_ext) != 0;
}

static unsigned kind_of(kir_elem a, kir_elem b)
{
	if (kir_elem_bytes(a) == 1)
		return KSPV_INT8 | (a == KIR_s8 ? KSPV_SIGNED_A : 0) |
		       (b == KIR_s8 ? KSPV_SIGNED_B : 0);
	return a == KIR_bf16 ? KSPV_BF16 : KSPV_F16;
}

/* acc + A . B of these registers, as an instruction. */
static LLVMValueRef product(kll *l, kir_ref n, LLVMValueRef a, LLVMValueRef b, LLVMValueRef acc)
{
	kir_elem ae = kll_elem(l, kir_src(l->f, n, 1)), be = kll_elem(l, kir_src(l->f, n, 2));
	LLVMValueRef arg[5] = { word(l, 32 / kir_elem_bytes(ae)), a, b, acc,
		                word(l, kind_of(ae, be)) };
	char name[64];

	snprintf(name, sizeof name, "%s%s%u", kspv_newer_call[KSPV_NEWER_PRODUCT],
	         kir_elems[kll_elem(l, n)].name, own_of(l, n));
	return kspv_call(l, name, own_type(l, n), arg, 5, true);
}

/* A row of the left factor is 32 bytes: two a lane, or four where lanes are 8. */
static LLVMValueRef engine(kll *l, kir_ref n)
{
	kir_elem a = kll_elem(l, kir_src(l->f, n, 1)), b = kll_elem(l, kir_src(l->f, n, 2));
	unsigned rows = own_of(l, n), wide = l->o->spread == 16;
	bool bytes = kir_elem_bytes(a) == 1;
	char name[64], mangled[160], at[24], bt[24], ct[24], one = wide ? 's' : 'i';
	LLVMValueRef arg[3];

	if (bytes)
		snprintf(name, sizeof name, "intel_sub_group_%s_%s_matrix_mad_k32",
		         a == KIR_s8 ? "i8" : "u8", b == KIR_s8 ? "i8" : "u8");
	else
		snprintf(name, sizeof name, "intel_sub_group_%s_%s_matrix_mad_k16",
		         kir_elems[a].name, kir_elems[b].name);
	mangle(at, sizeof at, rows, a == KIR_u8 ? (char)(one + 1) : one);
	mangle(bt, sizeof bt, 8, b == KIR_u8 ? 'j' : 'i');
	mangle(ct, sizeof ct, rows, bytes ? 'i' : 'f');
	if (rows > 1 && !strcmp(ct, at)) /* a vector's type that stood before */
		snprintf(ct, sizeof ct, "S_");
	else if (!strcmp(ct, bt))
		snprintf(ct, sizeof ct, strcmp(bt, at) ? "S0_" : "S_");
	if (!strcmp(bt, at))
		snprintf(bt, sizeof bt, "S_");
	snprintf(mangled, sizeof mangled, "_Z%zu%s%s%s%s", strlen(name), name, at, bt, ct);
	arg[0] = LLVMBuildBitCast(l->b, l->val[kir_src(l->f, n, 1)],
	                          kll_vec(wide ? l->i16 : l->i32, rows > 1 ? rows : 0), "");
	arg[1] = LLVMBuildBitCast(l->b, l->val[kir_src(l->f, n, 2)], kll_vec(l->i32, 8), "");
	arg[2] = l->val[kir_src(l->f, n, 0)];
	if (newer(l))
		return product(l, n, arg[0], arg[1], arg[2]);
	return kspv_call(l, mangled, own_type(l, n), arg, 3, true);
}

/* acc + A . B: element k of row m of A is in lane k, column n of B in this one. */
static LLVMValueRef broadcasts(kll *l, LLVMValueRef acc, LLVMValueRef left, LLVMValueRef right)
{
	LLVMValueRef a[KLL_MAX_OWN], b[KLL_MAX_OWN], sum[KLL_MAX_OWN];
	unsigned rows = kspv_split(l, acc, sum);

	kspv_split(l, left, a);
	kspv_split(l, right, b);
	for (unsigned k = 0; k < l->o->spread; k++)
		for (unsigned m = 0; m < rows; m++) {
			LLVMValueRef arg[2] = { a[m], word(l, k) };
			LLVMValueRef x =
			    kspv_call(l, "_Z19sub_group_broadcastfj", l->f32, arg, 2, true);

			sum[m] = kll_fma(l, x, b[k], sum[m]);
		}
	return kspv_build(l, sum, rows);
}

/* The same as a function of the module, for as many rows: 128 instructions each time would be
 * most of a module and of the time to make it. What reads the module puts it where it's called.
 */
static void product_function(kll *l, const char *name, LLVMTypeRef *type)
{
	LLVMBasicBlockRef now = LLVMGetInsertBlock(l->b);
	LLVMTypeRef t = LLVMFunctionType(type[0], type, 3, false);
	LLVMValueRef f = LLVMAddFunction(l->m, name, t);

	kspv_inline(l, f);
	LLVMPositionBuilderAtEnd(l->b, LLVMAppendBasicBlockInContext(l->c, f, ""));
	LLVMBuildRet(l->b,
	             broadcasts(l, LLVMGetParam(f, 0), LLVMGetParam(f, 1), LLVMGetParam(f, 2)));
	LLVMPositionBuilderAtEnd(l->b, now);
}

/* Without an engine everything becomes scalars (spirv.c), which a function wouldn't take. */
static LLVMValueRef product_f32(kll *l, kir_ref n)
{
	LLVMValueRef arg[3];
	LLVMTypeRef type[3];
	char name[40];

	for (unsigned i = 0; i < 3; i++) {
		arg[i] = l->val[kir_src(l->f, n, i)];
		type[i] = LLVMTypeOf(arg[i]);
	}
	if (!kspv_has_engine(l->f->target))
		return broadcasts(l, arg[0], arg[1], arg[2]);
	snprintf(name, sizeof name, "product_of_rows_%u", own_of(l, n));
	if (!LLVMGetNamedFunction(l->m, name))
		product_function(l, name, type);
	return kspv_call(l, name, type[0], arg, 3, true);
}

static LLVMValueRef dpas(kll *l, kir_ref n)
{
	if (kll_elem(l, kir_src(l->f, n, 1)) == KIR_f32)
		return product_f32(l, n);
	if (!kspv_has_engine(l->f->target))
		return kll_fail(l, n, "target %s has no engine for these elements",
		                l->f->target->name);
	return engine(l, n);
}

/* -- blocks of memory ------------------------------------------------------------------------
 */

typedef struct block {
	LLVMValueRef at;                 /* the indexed element                           */
	LLVMValueRef live;               /* rows from there that exist, an i64; NULL: all */
	LLVMValueRef last;               /* of these; 0 where there is none */
	LLVMValueRef apart;              /* bytes from row to row, an i64                 */
	int64_t pitch, x, y;             /* pitch 0: a run-time stride                    */
	unsigned unit, size, own, words; /* words: bytes of a lane / 4        */
	unsigned align;                  /* of each lane's part of a row      */
	bool trans;
} block;

/* The parameter that n reads, and its index. */
static kir_ref root_of(const kll *l, kir_ref n, unsigned *index)
{
	kir_ref buf = kir_src(l->f, n, 0);

	while (l->f->node[buf].op == KIR_OP_view)
		buf = kir_src(l->f, buf, 0);
	for (*index = 0; *index < l->f->nparam; ++*index)
		if (l->f->param[*index].node == buf)
			return buf;
	return 0;
}

/* Low bits of where n reads that are zero; bases and strides of caches are multiples of the
 * grain. */
static unsigned zeros_of(const kll *l, kir_ref n)
{
	unsigned zeros = kll_zeros(l, n), index, grain;
	kir_ref root = root_of(l, n, &index);

	if (!root || !l->f->param[index].nstride)
		return zeros;
	grain = (unsigned)__builtin_ctz(kir_grain(kir_type_of(l->f, root)));
	return zeros < grain ? zeros : grain;
}

static LLVMValueRef row_distance(kll *l, kir_ref n, int64_t pitch)
{
	int s = kir_row_stride(kir_type_of(l->f, kir_src(l->f, n, 0)));
	unsigned index;

	if (pitch)
		return LLVMConstInt(l->i64, (uint64_t)pitch, false);
	if (!root_of(l, n, &index))
		return kll_fail(l, n, "a local buffer has no run-time strides");
	return LLVMGetParam(l->fn, l->arg[index] + 1 + (unsigned)s);
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
	b.own = own_of(l, n);
	b.words = own_bytes(l, n) / 4;
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
	unsigned index, zeros = zeros_of(l, n), unit = b->unit * b->size;
	int64_t end =
	    b->trans ? b->x * b->size + b->words * 4 : (b->x + l->o->spread) * (int64_t)unit;

	if (zeros < 2)
		return false;
	if (!b->pitch)
		return zeros >= BLOCK_ALIGN && root_of(l, n, &index) &&
		       l->f->param[index].dir == KIR_IN;
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
	LLVMValueRef one = word(l, 1), zero[2] = { word(l, 0), word(l, 0) };
	LLVMValueRef arg[KSPV_MAX_ARGS];
	LLVMTypeRef at = LLVMPointerType(l->i8, KSPV_GLOBAL);
	LLVMValueRef to = variable(l);

	arg[0] = word(l, size);
	arg[1] = word(l, columns);
	arg[2] = word(l, rows);
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
	LLVMValueRef x = word(l, (uint64_t)(b->trans ? b->x * b->size / 4 : b->x));
	LLVMValueRef arg[5], y = word(l, (uint64_t)b->y), none, low;
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
		low = LLVMBuildLShr(l->b, low, word(l, (unsigned)__builtin_ctz(unit)), "");
		x = LLVMBuildAdd(l->b, x, low, "");
	}
	arg[1] = LLVMBuildTrunc(l->b, b->apart, l->i32, "");
	arg[1] = arg[3] = LLVMBuildSub(l->b, arg[1], word(l, 1), "");
	arg[2] =
	    b->y + (b->trans ? 16 : b->own / b->unit) <= (b->pitch ? b->pitch : KIR_PITCH_MIN)
	        ? arg[1]
	        : word(l, SURFACE_MAX - 1);
	if (b->live) {
		LLVMValueRef live = LLVMBuildTrunc(l->b, b->live, l->i32, "");

		none = LLVMBuildICmp(l->b, LLVMIntSLT, live, word(l, 1), "");
		live = LLVMBuildSub(l->b, live, word(l, 1), "");
		arg[2] = kll_select(l, none, word(l, 0), live);
		y = kll_select(l, none, word(l, SURFACE_MAX / 2), y);
	}
	arg[4] = LLVMBuildInsertElement(l->b, LLVMGetUndef(pair), x, word(l, 0), "");
	arg[4] = LLVMBuildInsertElement(l->b, arg[4], y, word(l, 1), "");
	if (newer(l))
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
		while (n & (n - 1) || (n * b->size > b->align && (b->size != 4 || b->align < 4)))
			n = n & (n - 1) ? n & (n - 1) : n / 2;
		n = n ? n : 1;
		v = kspv_load(l, kll_vec(e, n > 1 ? n : 0), p, n > 1 ? (n * b->size > b->align ? b->align : n * b->size) : 1);
		kspv_split(l, v, out + i);
		for (unsigned k = i; exists && k < i + n; k++)
			out[k] = kll_select(l, exists, out[k], LLVMConstNull(e));
	}
}

/* Elements as words of four bytes. */
static LLVMValueRef as_words(kll *l, const LLVMValueRef *x, unsigned n, unsigned size)
{
	LLVMValueRef w[KLL_MAX_OWN];
	unsigned each = 4 / size;

	for (unsigned i = 0; i < n; i++) {
		LLVMValueRef y = LLVMBuildZExt(l->b, x[i], l->i32, "");

		y = LLVMBuildShl(l->b, y, word(l, i % each * size * 8), "");
		w[i / each] = i % each ? LLVMBuildOr(l->b, w[i / each], y, "") : y;
	}
	return kspv_build(l, w, n / each);
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
	return size == 4 || is_words(l, n) ? size : b->size;
}

/* By shifts, which compilers find the shortest way around: casts to vectors of bytes cost more.
 * Halfway there is a word of 16 bits, as LLVM 22's SPIR-V target makes an and of two widths of
 * what goes from 32 bits to 8 and then to 16. */
static void bytes_of(kll *l, const LLVMValueRef *w, unsigned n, LLVMValueRef *x)
{
	for (unsigned i = 0; i < n; i++) {
		x[i] = LLVMBuildLShr(l->b, w[i / 4], word(l, i % 4 * 8), "");
		x[i] = LLVMBuildTrunc(l->b, x[i], l->i16, "");
		x[i] = LLVMBuildTrunc(l->b, x[i], l->i8, "");
	}
}

/* The parts of this lane, of block b: elements or words. */
static void read_rows(kll *l, const block *b, LLVMTypeRef e, LLVMValueRef *x)
{
	LLVMValueRef y = LLVMConstInt(l->i64, (uint64_t)b->y, false), off;
	unsigned bytes = b->unit * b->size;

	off = LLVMConstInt(l->i64, (uint64_t)b->x * (b->trans ? b->size : bytes), false);
	if (b->trans) {
		read_part(l, b, LLVMBuildAdd(l->b, y, lane64(l), ""), off, b->own, e, x);
		return;
	}
	off = LLVMBuildAdd(
	    l->b, LLVMBuildMul(l->b, lane64(l), LLVMConstInt(l->i64, bytes, false), ""), off,
	    "");
	for (unsigned r = 0; r < b->own / b->unit; r++)
		read_part(l, b, LLVMConstInt(l->i64, (uint64_t)b->y + r, false), off, b->unit,
		          e, x + r * b->unit);
}

static LLVMValueRef read_parts(kll *l, kir_ref n, const block *b)
{
	LLVMValueRef x[4 * KLL_MAX_OWN], w[4 * KLL_MAX_OWN];
	unsigned size = read_size(l, n, b), by = size / b->size;
	block wide = *b;

	wide.size = size;
	wide.own /= by;
	wide.unit /= b->trans ? 1 : by;
	wide.x /= b->trans ? by : 1;
	read_rows(l, &wide,
	          by == 1     ? kll_elem_type(l, kll_elem(l, n))
	          : size == 4 ? l->i32
	                      : l->i16,
	          w);
	if (is_words(l, n))
		return size == 4 ? kspv_build(l, w, wide.own) : as_words(l, w, wide.own, size);
	if (by == 1)
		return kspv_build(l, w, b->own);
	bytes_of(l, w, b->own, x);
	return kspv_build(l, x, b->own);
}

/* Where no row exists, the block is read where its buffer begins. */
static void find_last(kll *l, kir_ref n, block *b)
{
	LLVMValueRef zero = LLVMConstInt(l->i64, 0, false), some;
	unsigned first, count;
	kir_ref buf, upto;

	kir_access(l->f, n, &buf, &first, &count, &upto);
	some = LLVMBuildICmp(l->b, LLVMIntSGT, b->live, zero, "");
	b->at = kll_select(l, some, b->at, l->val[buf]);
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
	int64_t rows = b->y + (b->trans ? l->o->spread : b->own / b->unit);
	LLVMValueRef v[2], phi, all;
	block every = *b;

	every.live = NULL;
	all = LLVMBuildICmp(l->b, LLVMIntSGE, b->live,
	                    LLVMConstInt(l->i64, (uint64_t)rows, false), "");
	LLVMBuildCondBr(l->b, all, whole, some);
	LLVMPositionBuilderAtEnd(l->b, whole);
	v[0] = read_parts(l, n, &every);
	from[0] = LLVMGetInsertBlock(l->b);
	LLVMBuildBr(l->b, done);
	LLVMPositionBuilderAtEnd(l->b, some);
	find_last(l, n, b);
	v[1] = read_parts(l, n, b);
	from[1] = LLVMGetInsertBlock(l->b);
	LLVMBuildBr(l->b, done);
	LLVMPositionBuilderAtEnd(l->b, done);
	phi = LLVMBuildPhi(l->b, own_type(l, n), "");
	LLVMAddIncoming(phi, v, from, 2);
	return phi;
}

static LLVMValueRef load2d(kll *l, kir_ref n)
{
	block b = block_of(l, n);
	const char *name = block_name(l, n, &b);

	if (b.own * b.size > 4 * KLL_MAX_OWN ||
	    (b.own > KLL_MAX_OWN && b.size > (kspv_has_engine(l->f->target) ? 2 : 1)))
		return kll_fail(l, n, "a lane would get %u elements", b.own);
	if (name)
		return LLVMBuildBitCast(l->b, block_load(l, n, &b, name), own_type(l, n), "");
	if (b.live && !b.trans)
		return read_some(l, n, &b);
	if (b.live)
		find_last(l, n, &b);
	return read_parts(l, n, &b);
}

/* -- components ---------------------------------------------------------------------------- */

/* One reduction of the lanes for each component. */
static LLVMValueRef reduce(kll *l, kir_ref n)
{
	bool add = l->f->node[n].op == KIR_OP_xe_reduce_add, f = kll_elem(l, n) == KIR_f32;
	const char *name = add ? f ? "_Z20sub_group_reduce_addf" : "_Z20sub_group_reduce_addi"
	                   : f ? "_Z20sub_group_reduce_maxf"
	                       : "_Z20sub_group_reduce_maxi";
	LLVMValueRef x[KLL_MAX_OWN];
	unsigned own = kspv_split(l, l->val[kir_src(l->f, n, 0)], x);

	for (unsigned i = 0; i < own; i++)
		x[i] = kspv_call(l, name, f ? l->f32 : l->i32, &x[i], 1, true);
	return kspv_build(l, x, own);
}

static LLVMValueRef repeat(kll *l, kir_ref n)
{
	LLVMValueRef x[KLL_MAX_OWN], y[KLL_MAX_OWN];
	unsigned from = kspv_split(l, l->val[kir_src(l->f, n, 0)], x), own = own_of(l, n);

	for (unsigned i = 0; i < own; i++)
		y[i] = x[i * from / own];
	return kspv_build(l, y, own);
}

/* A lane's own elements, of words or not. */
static unsigned elements_of(kll *l, kir_ref n, LLVMValueRef *x)
{
	LLVMTypeRef t = kll_elem_type(l, kll_elem(l, n));
	unsigned own = own_of(l, n), each = 4 / kir_elem_bytes(kll_elem(l, n));
	LLVMValueRef w[KLL_MAX_OWN];

	if (!is_words(l, n))
		return kspv_split(l, l->val[n], x);
	kspv_split(l, l->val[n], w);
	for (unsigned i = 0; i < own; i++) {
		x[i] = LLVMBuildLShr(l->b, w[i / each], word(l, i % each * 32 / each), "");
		x[i] = LLVMBuildTrunc(l->b, x[i], t, "");
	}
	return own;
}

/* What lane's elements are as n's value. */
static LLVMValueRef from_elements(kll *l, kir_ref n, LLVMValueRef *x)
{
	unsigned own = own_of(l, n);

	return is_words(l, n) ? as_words(l, x, own, kir_elem_bytes(kll_elem(l, n)))
	                      : kspv_build(l, x, own);
}

static LLVMValueRef zip(kll *l, kir_ref n)
{
	LLVMValueRef x[2 * KLL_MAX_OWN], y[2 * KLL_MAX_OWN], z[4 * KLL_MAX_OWN];
	unsigned own = elements_of(l, kir_src(l->f, n, 0), x);

	elements_of(l, kir_src(l->f, n, 1), y);
	for (unsigned i = 0; i < own; i++) {
		z[2 * i] = x[i];
		z[2 * i + 1] = y[i];
	}
	return from_elements(l, n, z);
}

static LLVMValueRef pack(kll *l, kir_ref n)
{
	LLVMValueRef x[2 * KLL_MAX_OWN];
	unsigned from = kspv_split(l, l->val[kir_src(l->f, n, 0)], x);

	from += kspv_split(l, l->val[kir_src(l->f, n, 1)], x + from);
	return kspv_build(l, x, from);
}

/* Words as they are. */
static LLVMValueRef cast(kll *l, kir_ref n)
{
	kir_ref s = kir_src(l->f, n, 0);

	if (!is_words(l, s) && !is_words(l, n))
		return NULL;
	return LLVMBuildBitCast(l->b, l->val[s], own_type(l, n), "");
}

static LLVMValueRef part(kll *l, kir_ref n)
{
	kir_ref s = kir_src(l->f, n, 0);
	unsigned start = (unsigned)kir_attr_of(l->f, n, KIR_ATTR_start), own = own_of(l, n);
	unsigned every = (unsigned)kir_attr_of(l->f, n, KIR_ATTR_every);
	unsigned size = kir_elem_bytes(kll_elem(l, n));
	LLVMValueRef x[4 * KLL_MAX_OWN];

	if (is_words(l, s) && every == 1 && start * size % 4 == 0 && own * size % 4 == 0) {
		kspv_split(l, l->val[s], x);
		return LLVMBuildBitCast(l->b,
		                        kspv_build(l, x + start * size / 4, own * size / 4),
		                        own_type(l, n), "");
	}
	elements_of(l, s, x);
	for (unsigned i = 0; i < own; i++)
		x[i] = x[start + i * every];
	return from_elements(l, n, x);
}

/* Whether n is a product's left factor. */
static bool is_left(const kll *l, kir_ref n)
{
	for (kir_ref u = n + 1; u < l->f->nnode; u++)
		if (l->f->node[u].op == KIR_OP_xe_dpas && kir_src(l->f, u, 1) == n)
			return true;
	return false;
}

/* f32 to bf16, to even, by one instruction where the engine takes it: whether that keeps
 * subnormals of bf16 is the device's affair, as it is in its products (docs/accuracy.md). */
static LLVMValueRef to_bf16(kll *l, kir_ref n)
{
	LLVMValueRef each[KLL_MAX_OWN];
	unsigned own;

	if (kll_elem(l, kir_src(l->f, n, 0)) != KIR_f32 || !kll_lanes(l, n) ||
	    kir_attr_of(l->f, n, KIR_ATTR_round) != KIR_ROUND_even ||
	    kir_attr_of(l->f, n, KIR_ATTR_nan) != KIR_NAN_keep || !is_left(l, n))
		return NULL;
	own = kspv_split(l, l->val[kir_src(l->f, n, 0)], each);
	for (unsigned i = 0; i < own; i++)
		each[i] =
		    kspv_call(l, "_Z25intel_convert_f32_to_bf16f", l->i16, &each[i], 1, false);
	return kspv_build(l, each, own);
}

/* f32 to bytes, to even and saturated, NaN to 0: one function of OpenCL for each element. */
static LLVMValueRef to_bytes(kll *l, kir_ref n)
{
	kir_ref s = kir_src(l->f, n, 0);
	kir_elem e = kll_elem(l, n);
	LLVMValueRef each[KLL_MAX_OWN];
	unsigned own;

	if (e == KIR_bf16)
		return to_bf16(l, n);
	if ((e != KIR_u8 && e != KIR_s8) || kll_elem(l, s) != KIR_f32 || !kll_lanes(l, n) ||
	    kir_attr_of(l->f, n, KIR_ATTR_round) != KIR_ROUND_even ||
	    l->f->node[s].op == KIR_OP_const)
		return NULL;
	own = kspv_split(l, l->val[s], each);
	for (unsigned i = 0; i < own; i++)
		each[i] = kspv_call(
		    l, e == KIR_u8 ? "_Z21convert_uchar_sat_rtef" : "_Z20convert_char_sat_rtef",
		    l->i8, &each[i], 1, false);
	return kspv_build(l, each, own);
}

static bool is_const(const kll *l, kir_ref n)
{
	if (l->f->node[n].op == KIR_OP_splat)
		n = kir_src(l->f, n, 0);
	return l->f->node[n].op == KIR_OP_const;
}

static bool is_grid(const kll *l, kir_ref n)
{
	return l->f->node[n].op == KIR_OP_for && kir_for_par(l->f, n);
}

/* Whether the grid that n is in has products. */
static bool beside_products(const kll *l, kir_ref n)
{
	bool found = false;
	kir_ref u = n;

	while (u > 1 && !is_grid(l, u))
		u--;
	for (u++; u < l->f->nnode && !is_grid(l, u); u++)
		found |= l->f->node[u].op == KIR_OP_xe_dpas;
	return found;
}

/* A constant divided by what is not below another: what rows are scaled by before they are
 * rounded to bytes that nobody sees but a product. The device's own reciprocal and a
 * multiplication, 2 instructions where the exact one takes 8 (0 for divisors above 2^126, whose
 * sums are infinite soon anyway); 3/2 units in the last place are
 * inside what docs/accuracy.md leaves for it. Other quotients, and those of grids without
 * products (quantizers, also of the rows of a product that comes after), are rounded
 * correctly. */
static LLVMValueRef row_factor(kll *l, kir_ref n)
{
	kir_ref m = kir_src(l->f, n, 1);
	LLVMValueRef x[KLL_MAX_OWN], y[KLL_MAX_OWN], v;
	unsigned own;

	if (kll_elem(l, n) != KIR_f32 || !kll_lanes(l, n) ||
	    !is_const(l, kir_src(l->f, n, 0)) || l->f->node[m].op != KIR_OP_max ||
	    !is_const(l, kir_src(l->f, m, 1)) || !beside_products(l, n))
		return NULL;
	v = kll_operand(l, n, 0);
	own = kspv_split(l, v, x);
	kspv_split(l, kll_operand(l, n, 1), y);
	for (unsigned i = 0; i < own; i++) {
		LLVMValueRef arg[2] = { x[i], y[i] };

		x[i] = kspv_call(l, "_Z13native_divideff", l->f32, arg, 2, false);
	}
	return kll_width(v) ? kspv_build(l, x, own) : x[0];
}

/* The device's own, good to 4 units in the last place. */
LLVMValueRef kspv_exp2(kll *l, LLVMValueRef x)
{
	LLVMValueRef each[KLL_MAX_OWN];
	unsigned own = kspv_split(l, x, each);

	for (unsigned i = 0; i < own; i++)
		each[i] = kspv_call(l, "_Z11native_exp2f", l->f32, &each[i], 1, false);
	return kll_width(x) ? kspv_build(l, each, own) : each[0];
}

/* Larger and smaller of f32, one instruction each: as they are defined, a NaN gives way. */
static LLVMValueRef extreme(kll *l, kir_ref n)
{
	const char *name = l->f->node[n].op == KIR_OP_max ? "_Z4fmaxff" : "_Z4fminff";
	LLVMValueRef x[KLL_MAX_OWN], y[KLL_MAX_OWN], v = kll_operand(l, n, 0);
	unsigned own;

	if (kll_elem(l, n) != KIR_f32)
		return NULL;
	own = kspv_split(l, v, x);
	kspv_split(l, kll_operand(l, n, 1), y);
	for (unsigned i = 0; i < own; i++) {
		LLVMValueRef arg[2] = { x[i], y[i] };

		x[i] = kspv_call(l, name, l->f32, arg, 2, false);
	}
	return kll_width(v) ? kspv_build(l, x, own) : x[0];
}

LLVMValueRef kspv_xe(kll *l, kir_ref n)
{
	switch (l->f->node[n].op) {
	case KIR_OP_xe_dpas: return dpas(l, n);
	case KIR_OP_xe_load2d: return load2d(l, n);
	case KIR_OP_xe_reduce_add:
	case KIR_OP_xe_reduce_max: return reduce(l, n);
	case KIR_OP_xe_repeat: return repeat(l, n);
	case KIR_OP_xe_pack: return pack(l, n);
	case KIR_OP_xe_zip: return zip(l, n);
	case KIR_OP_xe_part: return part(l, n);
	case KIR_OP_bitcast: return cast(l, n);
	case KIR_OP_convert: return to_bytes(l, n);
	case KIR_OP_div: return row_factor(l, n);
	case KIR_OP_min:
	case KIR_OP_max: return extreme(l, n);
	default: return NULL;
	}
}
