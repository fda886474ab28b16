/* SPDX-License-Identifier: Apache-2.0 */
/* xe.cl -- what a sub-group of an Intel GPU can do and a CPU runtime can't: products
 * of small matrices (DPAS) and block loads from a surface of rows. Linked into every module by
 * module.c, under the names the graphics compiler knows.
 *
 * A product D = C + A B has 8 rows or fewer, a column for each of 16 lanes or of 8 (Alchemist),
 * and K terms, 32 bytes of each row of A.
 *   C, D  lane n, component m: column n, row m
 *   A     lane l, component m: bytes 2l, 2l+1 of row m; of 8 lanes, bytes 4l to 4l+3
 *   B     lane n, component k: bytes 4k to 4k+3 of column n
 * A surface is base, width in bytes, height in rows, pitch in bytes; x counts elements. What is
 * out of range reads 0. A lane gets, for each row, its 16th of the row's bytes.
 *
 * The hardware has rules for surfaces and doesn't say when they are broken. Here the first
 * breach is written down, with how many there were, and zecl_tell hands it to the driver, which
 * has the sentences (launch.c).
 */
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#pragma OPENCL EXTENSION cl_intel_subgroups : enable

#define OVER __attribute__((overloadable))
/* One body in a module, not one a use: most of these tests' time is the runtime's compiler, and it
 * needs a third to a quarter of what it needs for kernels with all bodies in them. */
#define ONCE __attribute__((noinline))

__global atomic_int breaches = ATOMIC_VAR_INIT(0);
__global int breach[2];

static void wrong(int number, int value)
{
	if (atomic_fetch_add(&breaches, 1) == 0) {
		breach[0] = number;
		breach[1] = value;
	}
}

__kernel void zecl_tell(__global int *told)
{
	told[0] = atomic_exchange(&breaches, 0);
	told[1] = breach[0];
	told[2] = breach[1];
}

short OVER intel_convert_f32_to_bf16(float x)
{
	uint bits = as_uint(x);

	return (short)(isnan(x) ? bits >> 16 | 64 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Element i of the 16 or 32 in a row of A, or of a column of B. */
static float of_f16(uint bits) { return (float)as_half((ushort)bits); }
static float of_bf16(uint bits) { return as_float(bits << 16); }

/* With a of 16 bits lane k has element k, with one of 32 lane k / 2 has elements k and k + 1. */
#define FLOAT_ROW(of, share)                                                                   \
	for (int k = 0; k < 16; k++) {                                                         \
		int own = intel_sub_group_shuffle((int)a, (uint)(k / share));                  \
		float x = of((uint)own >> 16 * (k % share) & 0xffff);                          \
		float y = of((uint)b[k / 2] >> 16 * (k & 1) & 0xffff);                         \
		c = fma(x, y, c);                                                              \
	}                                                                                      \
	return c;
static float OVER row_f16(short a, const int *b, float c) { FLOAT_ROW(of_f16, 1) }
static float OVER row_bf16(short a, const int *b, float c) { FLOAT_ROW(of_bf16, 1) }
static float OVER row_f16(int a, const int *b, float c) { FLOAT_ROW(of_f16, 2) }
static float OVER row_bf16(int a, const int *b, float c) { FLOAT_ROW(of_bf16, 2) }

#define BYTE_ROW(atype, btype, share)                                                          \
	for (int k = 0; k < 32; k++) {                                                         \
		int own = intel_sub_group_shuffle((int)a, (uint)(k / share));                  \
		c += (int)(atype)(own >> 8 * (k % share)) *                                    \
		     (int)(btype)(b[k / 4] >> 8 * (k & 3));                                    \
	}                                                                                      \
	return c;
#define BYTE_ROWS(name, atype, btype)                                                          \
	static int OVER name(short a, const int *b, int c) { BYTE_ROW(atype, btype, 2) }       \
	static int OVER name(int a, const int *b, int c) { BYTE_ROW(atype, btype, 4) }
BYTE_ROWS(row_i8_i8, char, char)
BYTE_ROWS(row_i8_u8, char, uchar)
BYTE_ROWS(row_u8_i8, uchar, char)
BYTE_ROWS(row_u8_u8, uchar, uchar)

/* m rows; A and B are signed or not as their elements are, which is part of the name's type. */
#define MAD(name, row, m, avec, bvec, cvec, part, avector, cvector, ctype)                     \
	cvec OVER ONCE name(avec av, bvec bv, cvec cv)                                         \
	{                                                                                      \
		part a[m];                                                                     \
		int b[8];                                                                      \
		ctype c[m];                                                                    \
		*(avector *)a = *(avector *)&av;                                               \
		vstore8(*(int8 *)&bv, 0, b);                                                   \
		*(cvector *)c = cv;                                                            \
		for (int i = 0; i < m; i++)                                                    \
			c[i] = row(a[i], b, c[i]);                                             \
		return *(cvector *)c;                                                          \
	}
#define MADS(name, row, a1, b, part, ctype)                                                    \
	MAD(name, row, 8, a1##8, b, ctype##8, part, part##8, ctype##8, ctype)                  \
	MAD(name, row, 4, a1##4, b, ctype##4, part, part##4, ctype##4, ctype)                  \
	MAD(name, row, 2, a1##2, b, ctype##2, part, part##2, ctype##2, ctype)                  \
	MAD(name, row, 1, a1, b, ctype, part, part, ctype, ctype)
#define BOTH(name, row, sign, b, ctype)                                                        \
	MADS(name, row, sign##short, b, short, ctype)                                          \
	MADS(name, row, sign##int, b, int, ctype)
BOTH(intel_sub_group_f16_f16_matrix_mad_k16, row_f16, , int8, float)
BOTH(intel_sub_group_bf16_bf16_matrix_mad_k16, row_bf16, , int8, float)
BOTH(intel_sub_group_i8_i8_matrix_mad_k32, row_i8_i8, , int8, int)
BOTH(intel_sub_group_i8_u8_matrix_mad_k32, row_i8_u8, , uint8, int)
BOTH(intel_sub_group_u8_i8_matrix_mad_k32, row_u8_i8, u, int8, int)
BOTH(intel_sub_group_u8_u8_matrix_mad_k32, row_u8_u8, u, uint8, int)

/* The newer spelling says the types in its last operand, by bits of the extension. */
#define SIGNED_A  0x1
#define SIGNED_B  0x2
#define INT8_AB   0x30
#define F16_AB    0xc00
#define BF16_AB   0x3000
#define NEW_MAD(m)                                                                             \
	float##m OVER __spirv_SubgroupMatrixMultiplyAccumulateINTEL(int k, short##m a, int8 b, \
	                                                            float##m c, int operands)  \
	{                                                                                      \
		if (k == 16 && operands == F16_AB)                                             \
			return intel_sub_group_f16_f16_matrix_mad_k16(a, b, c);                \
		if (k == 16 && operands == BF16_AB)                                            \
			return intel_sub_group_bf16_bf16_matrix_mad_k16(a, b, c);              \
		wrong(6, operands);                                                            \
		return c;                                                                      \
	}                                                                                      \
	int##m OVER __spirv_SubgroupMatrixMultiplyAccumulateINTEL(int k, short##m a, int8 b,   \
	                                                          int##m c, int operands)      \
	{                                                                                      \
		switch (k == 32 ? operands ^ INT8_AB : -1) {                                   \
		case SIGNED_A | SIGNED_B:                                                      \
			return intel_sub_group_i8_i8_matrix_mad_k32(a, b, c);                  \
		case SIGNED_A: return intel_sub_group_i8_u8_matrix_mad_k32(a, as_uint8(b), c); \
		case SIGNED_B:                                                                 \
			return intel_sub_group_u8_i8_matrix_mad_k32(as_ushort##m(a), b, c);    \
		case 0:                                                                        \
			return intel_sub_group_u8_u8_matrix_mad_k32(as_ushort##m(a),           \
			                                            as_uint8(b), c);           \
		}                                                                              \
		wrong(6, operands);                                                            \
		return c;                                                                      \
	}
NEW_MAD(8)
NEW_MAD(4)
NEW_MAD(2)

struct surface {
	long base;
	int width, height, pitch; /* bytes, rows, bytes */
};

static void check(struct surface s, int xbytes)
{
	if (s.base & 63)
		wrong(1, (int)(s.base & 63));
	if (s.width < 64 || s.width > 1 << 24 || s.width & 3)
		wrong(2, s.width);
	if (s.height < 1 || s.height > 1 << 24)
		wrong(3, s.height);
	if (s.pitch < s.width || s.pitch > 1 << 24 || s.pitch & 15)
		wrong(4, s.pitch);
	if (xbytes & 3)
		wrong(5, xbytes);
}

static bool inside(struct surface s, int xbytes, int y)
{
	return xbytes >= 0 && xbytes < s.width && y >= 0 && y < s.height;
}

#define FETCH(type)                                                                            \
	static type fetch_##type(struct surface s, int xbytes, int y)                          \
	{                                                                                      \
		return inside(s, xbytes, y)                                                    \
		           ? *(const __global type *)(s.base + (long)y * s.pitch + xbytes)     \
		           : (type)0;                                                          \
	}
FETCH(uchar)
FETCH(ushort)
FETCH(uint)

#define SURFACE(size)                                                                          \
	struct surface s = { base, width1 + 1, height1 + 1, pitch1 + 1 };                      \
	int x = at.x * size, lane = (int)get_sub_group_local_id();                             \
	check(s, x);

/* Rows as they are: unit is a lane's part of a row of `row` bytes, blocks lie side by side. */
#define READ(name, unit, vec, n, size, rows, row)                                              \
	ONCE vec __builtin_IB_subgroup_block_read_flat_##name(                                 \
	    long base, int width1, int height1, int pitch1, int2 at)                           \
	{                                                                                      \
		unit d[n];                                                                     \
		SURFACE(size)                                                                  \
		for (int i = 0; i < n; i++)                                                    \
			d[i] = fetch_##unit(s, x + i / rows * row + lane * (int)sizeof(unit),  \
			                    at.y + i % rows);                                  \
		return *(vec *)d;                                                              \
	}
READ(u8_m1k32v1, ushort, ushort, 1, 1, 1, 32)
READ(u8_m2k32v1, ushort, ushort2, 2, 1, 2, 32)
READ(u8_m4k32v1, ushort, ushort4, 4, 1, 4, 32)
READ(u8_m8k32v1, ushort, ushort8, 8, 1, 8, 32)
READ(u8_m8k32v2, ushort, ushort16, 16, 1, 8, 32)
READ(u8_m16k32v1, ushort, ushort16, 16, 1, 16, 32)
READ(u8_m8k16v1, uchar, uchar8, 8, 1, 8, 16)
READ(u8_m16k16v1, uchar, uchar16, 16, 1, 16, 16)
READ(u16_m1k16v1, ushort, ushort, 1, 2, 1, 32)
READ(u16_m2k16v1, ushort, ushort2, 2, 2, 2, 32)
READ(u16_m4k16v1, ushort, ushort4, 4, 2, 4, 32)
READ(u16_m8k16v1, ushort, ushort8, 8, 2, 8, 32)
READ(u16_m8k16v2, ushort, ushort16, 16, 2, 8, 32)
READ(u16_m16k16v1, ushort, ushort16, 16, 2, 16, 32)
READ(u32_m1k16v1, uint, uint, 1, 4, 1, 64)
READ(u32_m2k16v1, uint, uint2, 2, 4, 2, 64)
READ(u32_m4k16v1, uint, uint4, 4, 4, 4, 64)
READ(u32_m8k16v1, uint, uint8, 8, 4, 8, 64)

/* Rows of four bytes put into one another, so that a lane has a column: B of a product. */
#define TRANSFORM(name, unit, vec, n, rows)                                                    \
	ONCE vec __builtin_IB_subgroup_block_read_flat_transform_##name(                       \
	    long base, int width1, int height1, int pitch1, int2 at)                           \
	{                                                                                      \
		const int size = sizeof(unit), each = 4 / sizeof(unit), deep = rows / each;    \
		uint d[n] = { 0 };                                                             \
		SURFACE(size)                                                                  \
		for (int i = 0; i < n * each; i++) {                                           \
			int row = i % rows, block = i / rows;                                  \
			uint v = fetch_##unit(s, x + (block * 16 + lane) * size, at.y + row);  \
			d[block * deep + row / each] |= v << 8 * size * (row % each);          \
		}                                                                              \
		return *(vec *)d;                                                              \
	}
TRANSFORM(u8_k32, uchar, uint8, 8, 32)
TRANSFORM(u16_k16, ushort, uint8, 8, 16)
TRANSFORM(u8_k32v2, uchar, uint16, 16, 32)
TRANSFORM(u16_k16v2, ushort, uint16, 16, 16)

/* Lane r has row r of 16, component c is column c. */
#define TRANSPOSE(name, vec, n)                                                                \
	ONCE vec __builtin_IB_subgroup_block_read_flat_transpose_##name(                       \
	    long base, int width1, int height1, int pitch1, int2 at)                           \
	{                                                                                      \
		uint d[n];                                                                     \
		SURFACE(4)                                                                     \
		for (int i = 0; i < n; i++)                                                    \
			d[i] = fetch_uint(s, x + 4 * i, at.y + lane);                          \
		return *(vec *)d;                                                              \
	}
TRANSPOSE(u32_k1, uint, 1)
TRANSPOSE(u32_k2, uint2, 2)
TRANSPOSE(u32_k4, uint4, 4)
TRANSPOSE(u32_k8, uint8, 8)

/* The newer spelling: sizes are operands, and the lane's part is written through a pointer. */
void OVER ONCE __spirv_Subgroup2DBlockLoadINTEL(
    int size, int columns, int rows, int blocks, const __global void *base, int width, int height,
    int pitch, int2 at, __private void *to)
{
	struct surface s = { (long)base, width, height, pitch };
	int lane = (int)get_sub_group_local_id(), part = columns * size / 16, n = 0;

	check(s, at.x * size);
	if (part * 16 != columns * size || (part != 1 && part != 2 && part != 4))
		wrong(6, columns);
	for (int b = 0; b < blocks; b++)
		for (int r = 0; r < rows; r++, n++) {
			int x = (at.x + b * columns) * size + lane * part;

			if (part == 4)
				((__private uint *)to)[n] = fetch_uint(s, x, at.y + r);
			else if (part == 2)
				((__private ushort *)to)[n] = fetch_ushort(s, x, at.y + r);
			else
				((__private uchar *)to)[n] = fetch_uchar(s, x, at.y + r);
		}
}

void OVER ONCE __spirv_Subgroup2DBlockLoadTransformINTEL(
    int size, int columns, int rows, int blocks, const __global void *base, int width, int height,
    int pitch, int2 at, __private void *to)
{
	struct surface s = { (long)base, width, height, pitch };
	int lane = (int)get_sub_group_local_id(), n = 0;

	check(s, at.x * size);
	if (columns != 16 || rows * size != 32 || size > 2)
		wrong(6, columns);
	for (int b = 0; b < blocks; b++)
		for (int r = 0; r < rows; r++) {
			int x = (at.x + b * columns + lane) * size;

			if (size == 2)
				((__private ushort *)to)[n++] = fetch_ushort(s, x, at.y + r);
			else
				((__private uchar *)to)[n++] = fetch_uchar(s, x, at.y + r);
		}
}

void OVER ONCE __spirv_Subgroup2DBlockLoadTransposeINTEL(
    int size, int columns, int rows, int blocks, const __global void *base, int width, int height,
    int pitch, int2 at, __private void *to)
{
	struct surface s = { (long)base, width, height, pitch };
	int lane = (int)get_sub_group_local_id();

	check(s, at.x * size);
	if (size != 4 || rows != 16 || blocks != 1)
		wrong(6, rows);
	for (int i = 0; i < columns; i++)
		((__private uint *)to)[i] = fetch_uint(s, (at.x + i) * 4, at.y + lane);
}
