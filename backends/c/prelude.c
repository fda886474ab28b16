/* SPDX-License-Identifier: Apache-2.0 */
/* prelude.c -- what every printed translation unit begins with.
 *
 * No headers and no library: the image may not have undefined symbols. Mathematics is done in
 * double precision and rounded once, which is slower than need be and as exact as one can
 * ask. The codecs of small floats come from the columns of ir/elems.def, as in ir/elem.c.
 */
#include "c.h"

#include "../../ir/format.h"

#include <math.h>
#include <string.h>

static const char *const helpers[] = {
	"typedef signed char s8; typedef unsigned char u8;",
	"typedef short s16; typedef unsigned short u16;",
	"typedef int s32; typedef unsigned u32;",
	"typedef long long s64; typedef unsigned long long u64;",
	"typedef float f32; typedef double f64;",
	"",
	"/* the compiler calls these even when nobody else does */",
	"__attribute__((used)) void *memcpy(void *d, const void *s, __SIZE_TYPE__ n)",
	"{ for (__SIZE_TYPE__ i = 0; i < n; i++) ((u8 *)d)[i] = ((const u8 *)s)[i]; return d; "
	"}",
	"__attribute__((used)) void *memmove(void *d, const void *s, __SIZE_TYPE__ n)",
	"{ if ((u8 *)d < (const u8 *)s) return memcpy(d, s, n);",
	"  while (n--) ((u8 *)d)[n] = ((const u8 *)s)[n]; return d; }",
	"__attribute__((used)) void *memset(void *d, int c, __SIZE_TYPE__ n)",
	"{ for (__SIZE_TYPE__ i = 0; i < n; i++) ((u8 *)d)[i] = (u8)c; return d; }",
	"",
	"static inline u64 k_bits(double x) { u64 b; __builtin_memcpy(&b, &x, 8); return b; }",
	"static inline double k_from(u64 b) { double x; __builtin_memcpy(&x, &b, 8); return x; "
	"}",
	"static inline float k_fromf(u32 b) { float x; __builtin_memcpy(&x, &b, 4); return x; "
	"}",
	"static inline u32 k_bitsf(float x) { u32 b; __builtin_memcpy(&b, &x, 4); return b; }",
	"static inline double k_pow2(int e) { return k_from((u64)(e + 1023) << 52); }",
	"static inline s64 k_fdiv(s64 x, s64 y) { s64 q = x / y; return q - (x % y < 0); }",
	"static inline s64 k_mod(s64 x, s64 y) { s64 r = x % y; return r < 0 ? r + y : r; }",
	"static inline float k_minf(float x, float y) { return x < y || y != y ? x : y; }",
	"static inline float k_maxf(float x, float y) { return x > y || y != y ? x : y; }",
	"static inline double k_min(double x, double y) { return x < y || y != y ? x : y; }",
	"static inline double k_max(double x, double y) { return x > y || y != y ? x : y; }",
	"static inline float k_absf(float x) { return k_fromf(k_bitsf(x) & 0x7fffffff); }",
	"static inline double k_abs(double x) { return k_from(k_bits(x) << 1 >> 1); }",
	"static inline float k_sqrtf(float x) { return __builtin_sqrtf(x); }",
	"static inline double k_sqrt(double x) { return __builtin_sqrt(x); }",
	"static inline double k_trunc(double x)",
	"{ return k_abs(x) < 0x1p52 ? k_from(k_bits((double)(s64)x) | (k_bits(x) & 1ull << "
	"63)) : x; }",
	"static inline double k_floor(double x)",
	"{ double t = k_trunc(x); return t > x ? t - 1 : t; }",
	"static inline double k_rint(double x)",
	"{ return k_abs(x) < 0x1p51 ? (x + 0x1.8p52) - 0x1.8p52 : x; }",
	"static inline float k_floorf(float x) { return (float)k_floor(x); }",
	"",
	"/* the product is exact; of float operands so are both parts of the sum */",
	"static inline double k_fma_odd(double x, double y, double z)",
	"{",
	"  double p = x * y, s = p + z, t = s - p, e = (p - (s - t)) + (z - t);",
	"  u64 b = k_bits(s);",
	"  /* a sum that isn't exact is made odd, so that the second rounding sees what was "
	"cut */",
	"  if (e != 0 && e == e && !(b & 1)) b += (e > 0) == (s > 0) ? 1 : -1;",
	"  return k_from(b);",
	"}",
	"static inline float k_fmaf(float x, float y, float z)",
	"{ return (float)k_fma_odd(x, y, z); }",
	"static inline double k_half(double x) { return k_from(k_bits(x) & ~0x7ffffffull); }",
	"static inline double k_fma(double x, double y, double z)",
	"{",
	"  double p = x * y, s = p + z, t = s - p, xh = k_half(x), xl = x - xh;",
	"  double yh = k_half(y), yl = y - yh;",
	"  double ep = ((xh * yh - p) + xh * yl + xl * yh) + xl * yl;",
	"  double es = (p - (s - t)) + (z - t), e = ep + es;",
	"  return e == e && s - s == 0 ? s + e : s;",
	"}",
	"",
	"/* e^y - 1 for small y */",
	"static inline double k_em1(double y)",
	"{",
	"  double s = 1;",
	"  for (int i = 15; i > 1; i--) s = 1 + s * y / i;",
	"  return s * y;",
	"}",
	"static inline double k_exp2(double x)",
	"{",
	"  double n, r;",
	"  if (x != x) return x;",
	"  if (x > 1100) return __builtin_inf();",
	"  if (x < -1200) return 0;",
	"  n = k_rint(x);",
	"  r = 1 + k_em1((x - n) * 0.69314718055994530942);",
	"  return r * k_pow2((int)n / 2) * k_pow2((int)n - (int)n / 2);",
	"}",
	"static inline double k_log2(double x)",
	"{",
	"  u64 b; int e = 0; double m, s, q, t = 0;",
	"  if (x != x || x > 0x1.fffffffffffffp1023) return x;",
	"  if (x <= 0) return x < 0 ? __builtin_nan(\"\") : -__builtin_inf();",
	"  if (x < 0x1p-1022) { x *= 0x1p54; e = -54; }",
	"  b = k_bits(x);",
	"  e += (int)(b >> 52) - 1023;",
	"  m = k_from((b & 0xfffffffffffffull) | 0x3ffull << 52);",
	"  if (m > 1.41421356237309504880) { m *= 0.5; e++; }",
	"  s = (m - 1) / (m + 1);",
	"  q = s * s;",
	"  for (int i = 25; i > 0; i -= 2) t = t * q + 1.0 / i;",
	"  return e + 2 * s * t * 1.44269504088896340736;",
	"}",
	"static inline double k_tanh(double x)",
	"{",
	"  double a = 2 * k_abs(x), e;",
	"  if (x != x) return x;",
	"  if (a > 60) return x < 0 ? -1 : 1;",
	"  e = a < 0.5 ? k_em1(a) : k_exp2(a * 1.44269504088896340736) - 1;",
	"  e = e / (e + 2);",
	"  return x < 0 ? -e : k_from(k_bits(e) | (k_bits(x) & 1ull << 63));",
	"}",
	"",
	"/* round: 0 even, 1 away, 2 zero; nan: 0 keep, 1 max, 2 zero; over: 0 sat, 1 inf */",
	"static inline s64 k_int(double x, int round, int nan, double top, s64 min, s64 max)",
	"{",
	"  if (x != x) return nan == 1 ? max : 0;",
	"  x = round == 1 ? k_trunc((float)(x + (x < 0 ? -0.5 : 0.5)))",
	"      : round == 2 ? k_trunc(x) : k_rint(x);",
	"  return x >= top ? max : x <= (double)min ? min : (s64)x;",
	"}",
	"static inline s64 k_clamp(s64 x, s64 min, s64 max)",
	"{ return x < min ? min : x > max ? max : x; }",
	"static inline double k_whole(double r, int round)",
	"{",
	"  double lo = k_floor(r), rest = r - lo;",
	"  if (round == 2 || rest < 0.5) return lo;",
	"  if (rest > 0.5 || round == 1) return lo + 1;",
	"  return (s64)lo & 1 ? lo + 1 : lo;",
	"}",
	"static inline u64 k_encode(double x, int kind, int bits, int exp, int man, int bias,",
	"                           int round, int nan, int over)",
	"{",
	"  u64 sign = k_bits(x) >> 63 << (exp + man), all = (1ull << (exp + man)) - 1;",
	"  u64 inf = all >> man << man, max = kind == 'F' ? inf - 1 : kind == 'N' ? all - 1 : "
	"all;",
	"  u64 none = kind == 'Z' ? 1ull << (exp + man) : kind == 'N' ? sign | all",
	"             : kind == 'P' ? max : sign | inf | 1ull << (man - 1);",
	"  u64 code = max + 1;",
	"  double a = k_abs(x);",
	"  int e = (int)(k_bits(a) >> 52) - 1023;",
	"  if (x != x) return nan == 2 ? 0 : nan == 1 ? max : none;",
	"  if (kind == 'F' && bits >= 16) over = 1;",
	"  if (a - a == 0) {",
	"    e = e < 1 - bias ? 1 - bias : e;",
	"    code = ((u64)(e - 1 + bias) << man) + (u64)k_whole(a * k_pow2(man - e), round);",
	"    if (code > max && round == 2) code = max;",
	"  }",
	"  if (code > max && !over) code = max;",
	"  if (code > max) return kind == 'F' ? sign | inf : none;",
	"  return kind == 'Z' && !code ? 0 : sign | code;",
	"}",
	"/* powers of two without a sign; 1.5 goes up */",
	"static inline u64 k_encode2(double x, int exp, int bias, int round, int nan, int "
	"over)",
	"{",
	"  s64 none = (1ll << exp) - 1, c;",
	"  u64 b = k_bits(x);",
	"  if (x != x) return nan == 2 ? 0 : nan == 1 ? none - 1 : none;",
	"  if (!(x > 0)) return 0;",
	"  if (over && x > k_pow2((int)none - 1 - bias)) return none;",
	"  if (x - x != 0) return none - 1;",
	"  c = (s64)(b >> 52) - 1023 + bias + (round != 2 && (b >> 51 & 1));",
	"  return k_clamp(c, 0, none - 1);",
	"}",
	"static inline float k_normal(float x)",
	"{",
	"  u32 b = k_bitsf(x);",
	"  return b & 0x7f800000 ? x : k_fromf(b & 0x80000000);",
	"}",
	"/* floats with f32's exponent are its upper bits */",
	"static inline u32 k_cut(float x, int man)",
	"{",
	"  u32 b = k_bitsf(x), cut = 23 - man;",
	"  if (x != x) return (b >> 31 << (8 + man)) | 0xffu << man | 1u << (man - 1);",
	"  return (b + (1u << (cut - 1)) - 1 + (b >> cut & 1)) >> cut;",
	"}",
	"static inline float k_widen(u32 c, int exp, int man, int bias)",
	"{",
	"  u32 s = c >> (exp + man) << 31, e = c >> man & ((1u << exp) - 1), m = c & ((1u << "
	"man) - 1);",
	"  if (e == (1u << exp) - 1) return k_fromf(s | 0x7f800000 | m << (23 - man));",
	"  if (e) return k_fromf(s | (e - bias + 127) << 23 | m << (23 - man));",
	"  return k_fromf(k_bitsf((float)m * (float)k_pow2(1 - bias - man)) | s);",
	"}",
	"",
};

const char *kbe_c_type(kir_elem e)
{
	static const char *const by_bytes[] = { "", "u8", "u16", "", "u32" };

	if (e == KIR_i1)
		return "u8";
	if (kir_is_int(e) || e == KIR_f32 || e == KIR_f64)
		return kir_elems[e].name;
	return by_bytes[kir_elem_bytes(e)];
}

const char *kbe_c_hex(char buf[KIR_FLOAT_TEXT], double x)
{
	kir_float_digits(buf, 'a', -1, x);
	return buf;
}

static void print_float(double x, kir_text *out)
{
	char hex[KIR_FLOAT_TEXT];

	if (isnan(x))
		kir_text_add(out, "%s__builtin_nanf(\"\")", signbit(x) ? "-" : "");
	else if (isinf(x))
		kir_text_add(out, "%s__builtin_inff()", x < 0 ? "-" : "");
	else
		kir_text_add(out, "%sf", kbe_c_hex(hex, x));
}

/* d_NAME: code to float; e_NAME: number to code. */
static void print_codec(kir_elem e, kir_text *out)
{
	const kir_elem_info *i = &kir_elems[e];
	const char *t = kbe_c_type(e);

	if (kir_elem_bytes(e) == 1) {
		kir_text_add(out, "static const float t_%s[256] = {", i->name);
		for (unsigned c = 0; c < 256; c++) {
			kir_text_add(out, c % 8 ? " " : "\n");
			print_float(kir_decode(e, c), out);
			kir_text_add(out, ",");
		}
		kir_text_add(out, "\n};\nstatic inline float d_%s(u8 c) { return t_%s[c]; }\n",
		             i->name, i->name);
	} else if (e != KIR_f32 && i->exp == 8) {
		kir_text_add(
		    out, "static inline float d_%s(%s c) { return k_fromf((u32)c << %d); }\n",
		    i->name, t, 23 - i->man);
	} else if (e != KIR_f32) {
		kir_text_add(
		    out, "static inline float d_%s(%s c) { return k_widen(c, %d, %d, %d); }\n",
		    i->name, t, i->exp, i->man, i->bias);
	}
	if (i->kind == 'E') {
		kir_text_add(out,
		             "static inline %s e_%s(double x, int r, int n, int o)\n"
		             "{ return (%s)k_encode2(x, %d, %d, r, n, o); }\n",
		             t, i->name, t, i->exp, i->bias);
		return;
	}
	kir_text_add(out, "static inline %s e_%s(double x, int r, int n, int o)\n{ return ", t,
	             i->name);
	kir_text_add(out, e == KIR_f32 ? "k_fromf((u32)" : "(%s)(", t);
	kir_text_add(out, "k_encode(x, '%c', %d, %d, %d, %d, r, n, o)); }\n", i->kind, i->bits,
	             i->exp, i->man, i->bias);
}

void kbe_c_prelude(const bool used[KIR_NELEM], kir_text *out)
{
	for (unsigned i = 0; i < sizeof helpers / sizeof helpers[0]; i++)
		kir_text_add(out, "%s\n", helpers[i]);
	for (unsigned e = 1; e < KIR_NELEM; e++)
		if (used[e] && kir_is_float((kir_elem)e) && e != KIR_f64)
			print_codec((kir_elem)e, out);
}
