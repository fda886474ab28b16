/* SPDX-License-Identifier: Apache-2.0 */
/* tiles.c -- tile registers in plain C: eight arrays in the kernel's frame.
 *
 * The same order of sums and the same zeros for subnormals as backends/ref/amx.c, which says
 * what is computed.
 */
#include "c.h"

static const char *const tile_helpers[] = {
	"static inline float k_zsub(float x)",
	"{ return k_absf(x) < 0x1p-126f ? k_fromf(k_bitsf(x) & 0x80000000) : x; }",
	"static inline float k_tbf16(const u8 *p)",
	"{ return k_zsub(k_fromf((u32)p[1] << 24 | (u32)p[0] << 16)); }",
	"static void k_tload(u8 (*t)[64], const u8 *p, s64 stride, int rows, int bytes)",
	"{ for (int i = 0; i < rows; i++) __builtin_memcpy(t[i], p + i * stride, bytes); }",
	"static void k_tstore(u8 (*t)[64], u8 *p, s64 stride, int rows, int bytes)",
	"{ for (int i = 0; i < rows; i++) __builtin_memcpy(p + i * stride, t[i], bytes); }",
	"static void k_tbf16ps(u8 (*c)[64], u8 (*a)[64], u8 (*b)[64], int m, int n, int k)",
	"{",
	"  for (int i = 0; i < m; i++)",
	"    for (int j = 0; j < n; j++) {",
	"      float s[2] = { 0, 0 }, x;",
	"      for (int l = 0; l < k; l++)",
	"        for (int h = 0; h < 2; h++)",
	"          s[h] = k_zsub(k_fmaf(k_tbf16(a[i] + 4 * l + 2 * h),",
	"                               k_tbf16(b[l] + 4 * j + 2 * h), s[h]));",
	"      __builtin_memcpy(&x, c[i] + 4 * j, 4);",
	"      x = k_zsub(k_zsub(x) + k_zsub(s[0] + s[1]));",
	"      __builtin_memcpy(c[i] + 4 * j, &x, 4);",
	"    }",
	"}",
	"static void k_tbytes(u8 (*c)[64], u8 (*a)[64], u8 (*b)[64], int m, int n, int k,",
	"                     int sa, int sb)",
	"{",
	"  for (int i = 0; i < m; i++)",
	"    for (int j = 0; j < n; j++) {",
	"      u32 x;",
	"      __builtin_memcpy(&x, c[i] + 4 * j, 4);",
	"      for (int l = 0; l < 4 * k; l++) {",
	"        int p = a[i][l], q = b[l / 4][4 * j + l % 4];",
	"        x += (u32)((sa ? (s8)p : p) * (sb ? (s8)q : q));",
	"      }",
	"      __builtin_memcpy(c[i] + 4 * j, &x, 4);",
	"    }",
	"}",
};

void kbe_c_tile_helpers(kir_text *out)
{
	for (unsigned i = 0; i < sizeof tile_helpers / sizeof tile_helpers[0]; i++)
		kir_text_add(out, "%s\n", tile_helpers[i]);
}

void kbe_c_tile_registers(kir_text *out)
{
	kir_text_add(out, "\tu8 tile[%d][%d][%d] = { { { 0 } } };\n", KIR_AMX_TILES,
	             KIR_AMX_ROWS, KIR_AMX_BYTES);
}

static void move(const kir_func *f, kir_ref n, const char *helper, kir_text *out)
{
	kir_amx s = kir_amx_shape(f, kir_at(f, n)->attr[0]);

	kir_text_add(out, "%s(tile[%d], ", helper, (int)kir_at(f, n)->attr[0]);
	kbe_c_address(f, n, out);
	kir_text_add(out, ", %lld, %d, %d);\n", (long long)kir_at(f, n)->attr[1], (int)s.rows,
	             (int)s.bytes);
}

static void product(const kir_func *f, kir_ref n, const char *helper, const char *more,
                    kir_text *out)
{
	const int64_t *t = kir_at(f, n)->attr;
	kir_amx c = kir_amx_shape(f, t[0]), b = kir_amx_shape(f, t[2]);

	kir_text_add(out, "%s(tile[%d], tile[%d], tile[%d], %d, %d, %d%s);\n", helper,
	             (int)t[0], (int)t[1], (int)t[2], (int)c.rows, (int)c.bytes / 4,
	             (int)b.rows, more);
}

void kbe_c_tile(const kir_func *f, kir_ref n, kir_text *out)
{
	switch (kir_at(f, n)->op) {
	case KIR_OP_amx_zero:
		kir_text_add(out, "__builtin_memset(tile[%d], 0, sizeof tile[0]);\n",
		             (int)kir_at(f, n)->attr[0]);
		break;
	case KIR_OP_amx_load: move(f, n, "k_tload", out); break;
	case KIR_OP_amx_store: move(f, n, "k_tstore", out); break;
	case KIR_OP_amx_dpbf16ps: product(f, n, "k_tbf16ps", "", out); break;
	case KIR_OP_amx_dpbssd: product(f, n, "k_tbytes", ", 1, 1", out); break;
	case KIR_OP_amx_dpbsud: product(f, n, "k_tbytes", ", 1, 0", out); break;
	case KIR_OP_amx_dpbusd: product(f, n, "k_tbytes", ", 0, 1", out); break;
	case KIR_OP_amx_dpbuud: product(f, n, "k_tbytes", ", 0, 0", out); break;
	default: kir_text_add(out, "; /* a shape */\n"); break; /* amx.tile */
	}
}
