/* SPDX-License-Identifier: Apache-2.0 */
/* test_ref.c -- the interpreter: every op against values worked out by hand, and every
 * refusal. Whole attention calls and writers are in test_ref_golden.c. Long as it is one table,
 * which is held against that of all ops: none may be missing. */
#include "../backends/ref/ref.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* -- one op at a time ----------------------------------------------------------------- */

/* %a, %b are x[0..4), y[0..4); %c, %d i[0..4), j[0..4); %n is 3. */
static const float x[8] = { 1.5f, -2, 0.1f, 4, 1, 2, 3, 4 };
static const float y[8] = { 0.5f, 3, -0.25f, 2, 5, 6, 7, 8 };
static const int32_t i[8] = { 7, -8, 3, 100, 1, 2, 3, 4 };
static const int32_t j[8] = { 2, 3, 1, 5, 5, 6, 7, 8 };

/* At level V memory moves whole vectors by ops of its own. */
#define HEAD(level, load)                                                                  \
	"func @t(%x: in f32[8], %y: in f32[8], %i: in s32[8], %j: in s32[8], %q: in "      \
	"f32[2,4],\n"                                                                      \
	"        %z: in f32[?,2,2 | 0:$0, 1:4, 2:$1], %o: out f32[64], %p: out s32[64],\n" \
	"        %n: s64, %s: f32)\n"                                                      \
	"     level=" level " {\n"                                                         \
	"  for %w = 0 to 1 par {\n"                                                        \
	"    %a = " load " %x[0] : f32<4>\n"                                               \
	"    %b = " load " %y[0] : f32<4>\n"                                               \
	"    %c = " load " %i[0] : s32<4>\n"                                               \
	"    %d = " load " %j[0] : s32<4>\n"
static const char head_t[] = HEAD("T", "load"),
                  head_v[] = HEAD("V target=avx512-bf16", "vload");
static const char tail[] = "\n    yield\n  }\n  ret\n}\n";

/* What %o (out 'o') or %p ('p') holds afterwards, from its start. */
typedef struct op_case {
	char level, out;
	const char *body;
	int n;
	double want[16];
} op_case;

#define O      "store %r, %o[0]"
#define P      "store %r, %p[0]"
#define VO     "v" O
#define VP     "v" P
#define TRUTH  "%t = convert %r : s32<4>\nstore %t, %p[0]"
#define TILE   "%m = reshape %a : f32<2x2>\n"
#define TILES  TILE "%k = reshape %b : f32<2x2>\n"
#define ITILES "%m = reshape %c : s32<2x2>\n%k = reshape %d : s32<2x2>\n"

static const op_case cases[] = {
	{ 'T', 'o', "%r = add %a, %b : f32<4>\n" O, 4, { 2, 1, 0.1f - 0.25f, 6 } },
	{ 'T', 'p', "%r = add %c, 2147483647 : s32<4>\n" P, 2, { -2147483642, 2147483639 } },
	{ 'T', 'o', "%r = sub %a, %b : f32<4>\n" O, 4, { 1, -5, 0.1f + 0.25f, 2 } },
	{ 'T', 'p', "%r = sub %c, %d : s32<4>\n" P, 4, { 5, -11, 2, 95 } },
	{ 'V', 'o', "%r = mul %a, %s : f32<4>\n" VO, 4, { 3.75, -5, 0.25, 10 } },
	{ 'T', 'p', "%r = mul %c, %d : s32<4>\n" P, 4, { 14, -24, 3, 500 } },
	{ 'T', 'o', "%r = div %a, %b : f32<4>\n" O, 4, { 3, -2.f / 3, 0.1f / -0.25f, 2 } },
	{ 'T', 'p', "%r = fdiv %c, %d : s32<4>\n" P, 4, { 3, -3, 3, 20 } },
	{ 'T', 'p', "%r = mod %c, %d : s32<4>\n" P, 4, { 1, 1, 0, 0 } },
	{ 'T',
	  'o',
	  "%z0 = sub inf, inf : f32\n%e = max %a, %z0 : f32<4>\n%r = min %b, %e : f32<4>\n" O,
	  4,
	  { 0.5, -2, -0.25, 2 } },
	{ 'T', 'p', "%r = min %c, %d : s32<4>\n" P, 4, { 2, -8, 1, 5 } },
	{ 'T', 'p', "%r = max %c, %d : s32<4>\n" P, 4, { 7, 3, 3, 100 } },
	{ 'T', 'o', "%r = fma %a, %b, 1.0 : f32<4>\n" O, 4, { 1.75, -5, 0.975, 9 } },
	{ 'T', 'o', "%r = neg %a : f32<4>\n" O, 4, { -1.5, 2, -0.1f, -4 } },
	{ 'T', 'p', "%r = neg %c : s32<4>\n" P, 4, { -7, 8, -3, -100 } },
	{ 'T', 'o', "%r = abs %a : f32<4>\n" O, 4, { 1.5, 2, 0.1f, 4 } },
	{ 'T', 'p', "%r = abs %c : s32<4>\n" P, 4, { 7, 8, 3, 100 } },
	{ 'T', 'p', "%r = and %c, %d : s32<4>\n" P, 4, { 2, 0, 1, 4 } },
	{ 'T', 'p', "%r = or %c, %d : s32<4>\n" P, 4, { 7, -5, 3, 101 } },
	{ 'T', 'p', "%r = xor %c, %d : s32<4>\n" P, 4, { 5, -5, 2, 97 } },
	{ 'T', 'p', "%r = shl %c, %d : s32<4>\n" P, 4, { 28, -64, 6, 3200 } },
	{ 'T', 'p', "%r = shr %c, %d : s32<4>\n" P, 4, { 1, -1, 1, 3 } },
	{ 'T', 'p', "%r = lt %a, %b : i1<4>\n" TRUTH, 4, { 0, 1, 0, 0 } },
	{ 'T', 'p', "%r = le %c, 3 : i1<4>\n" TRUTH, 4, { 0, 1, 1, 0 } },
	{ 'T', 'p', "%r = gt %a, %b : i1<4>\n" TRUTH, 4, { 1, 0, 1, 1 } },
	{ 'T', 'p', "%r = ge %c, 7 : i1<4>\n" TRUTH, 4, { 1, 0, 0, 1 } },
	{ 'T', 'p', "%r = eq %c, 3 : i1<4>\n" TRUTH, 4, { 0, 0, 1, 0 } },
	{ 'T', 'p', "%r = ne %a, 4.0 : i1<4>\n" TRUTH, 4, { 1, 1, 1, 0 } },
	{ 'T',
	  'o',
	  "%t = lt %a, %b : i1<4>\n%r = select %t, %a, 9.0 : f32<4>\n" O,
	  4,
	  { 9, -2, 9, 9 } },
	{ 'T',
	  'p',
	  "%t = lt %a, %b : i1<4>\n%r = select %t, %c, %d : s32<4>\n" P,
	  4,
	  { 2, -8, 1, 5 } },
	{ 'T', 'o', "%e = load %x[4] : f32<4>\n%r = exp2 %e : f32<4>\n" O, 4, { 2, 4, 8, 16 } },
	{ 'T', 'o', "%r = exp2 -inf : f32\n" O, 1, { 0 } },
	{ 'T',
	  'o',
	  "%e = abs %a : f32<4>\n%r = log2 %e : f32<4>\nstore %r, %o[0]",
	  2,
	  { 0.5849625007211562, 1 } },
	{ 'T',
	  'o',
	  "%r = tanh %a : f32<4>\n" O,
	  2,
	  { 0.9051482536448664, -0.9640275800758169 } },
	{ 'T',
	  'o',
	  "%e = abs %a : f32<4>\n%r = sqrt %e : f32<4>\n" O,
	  4,
	  { 1.224744871391589, 1.4142135623730951, 0.31622776837, 2 } },
	{ 'T', 'o', "%r = floor %a : f32<4>\n" O, 4, { 1, -2, 0, 4 } },
	{ 'T', 'p', "%r = bitcast %a : s32<4>\n" P, 2, { 0x3fc00000, -1073741824 } },
	{ 'V',
	  'p',
	  "%e = bitcast %c : u8<16>\n%f = half.lo %e : u8<8>\n%g = half.lo %f : u8<4>\n"
	  "%r = convert %g : s32<4>\n" VP,
	  4,
	  { 7, 0, 0, 0 } },
	{ 'V',
	  'p',
	  "%e = convert %c : s8<4>\n%r = bitcast %e : s32<1>\n" VP,
	  1,
	  { 0x6403f807 } },
	/* conversions */
	{ 'T', 'p', "%r = convert %a : s32<4>\n" P, 4, { 2, -2, 0, 4 } },
	{ 'T', 'p', "%r = convert %a : s32<4> {round=away}\n" P, 4, { 2, -2, 0, 4 } },
	{ 'T', 'p', "%e = sub %b, 0.0 : f32<4>\n%r = convert %e : s32<4>\n" P, 1, { 0 } },
	{ 'T', 'p', "%r = convert %b : s32<4> {round=away}\n" P, 1, { 1 } },
	{ 'T', 'p', "%r = convert %a : s32<4> {round=zero}\n" P, 4, { 1, -2, 0, 4 } },
	{ 'T',
	  'p',
	  "%e = mul %a, 100.0 : f32<4>\n%f = convert %e : s8<4>\n"
	  "%r = convert %f : s32<4>\n" P,
	  4,
	  { 127, -128, 10, 127 } },
	{ 'T',
	  'p',
	  "%e = mul %c, 3 : s32<4>\n%f = convert %e : u8<4>\n%r = convert %f : s32<4>\n" P,
	  4,
	  { 21, 0, 9, 255 } },
	{ 'T', 'o', "%r = convert %c : f32<4>\n" O, 4, { 7, -8, 3, 100 } },
	{ 'T',
	  'o',
	  "%e = convert %a : bf16<4>\n%r = convert %e : f32<4>\n" O,
	  4,
	  { 1.5, -2, 0.10009765625, 4 } },
	{ 'T',
	  'o',
	  "%e = mul %a, 1100.0 : f32<4>\n%f = convert %e : e4m3fn<4>\n"
	  "%r = convert %f : f32<4>\n" O,
	  4,
	  { 448, -448, 112, 448 } },
	{ 'T',
	  'o',
	  "%e = mul %a, 1e6 : f32<4>\n%f = convert %e : e5m2<4> {over=inf}\n"
	  "%r = convert %f : f32<4>\n" O,
	  4,
	  { INFINITY, -INFINITY, INFINITY, INFINITY } },
	{ 'T',
	  'o',
	  "%z0 = sub inf, inf : f32\n%f = convert %z0 : e4m3fn {nan=max}\n"
	  "%r = convert %f : f32\n" O,
	  1,
	  { 448 } },
	{ 'T',
	  'o',
	  "%z0 = sub inf, inf : f32\n%f = convert %z0 : e4m3fn {nan=zero}\n"
	  "%r = convert %f : f32\n" O,
	  1,
	  { 0 } },
	{ 'T',
	  'p',
	  "%e = mul %a, 1e6 : f32<4>\n%f = convert %e : e5m2<4> {over=inf}\n"
	  "%g = bitcast %f : u8<4>\n%r = convert %g : s32<4>\n" P,
	  2,
	  { 0x7c, 0xfc } },
	/* shapes */
	{ 'T',
	  'o',
	  "%r = splat %s : f32<2x2>\n%u = reshape %r : f32<4>\nstore %u, %o[0]",
	  4,
	  { 2.5, 2.5, 2.5, 2.5 } },
	{ 'T',
	  'p',
	  "%e = iota : s32<2x3> {axis=1}\n%r = reshape %e : s32<6>\n" P,
	  6,
	  { 0, 1, 2, 0, 1, 2 } },
	{ 'T',
	  'p',
	  "%e = iota : s32<2x3> {axis=0}\n%r = reshape %e : s32<6>\n" P,
	  6,
	  { 0, 0, 0, 1, 1, 1 } },
	{ 'T',
	  'p',
	  "%e = spread %c : s32<4x2> {axis=0}\n%r = reshape %e : s32<8>\n" P,
	  4,
	  { 7, 7, -8, -8 } },
	{ 'T',
	  'p',
	  "%e = spread %c : s32<2x4> {axis=1}\n%r = reshape %e : s32<8>\n" P,
	  6,
	  { 7, -8, 3, 100, 7, -8 } },
	{ 'T', 'o', TILE "%r = reduce.add %m : f32<2> {axis=1}\n" O, 2, { -0.5, 4.1f } },
	{ 'T', 'o', TILE "%r = reduce.add %m : f32<2> {axis=0}\n" O, 2, { 1.6f, 2 } },
	{ 'T', 'p', "%r = reduce.add %c : s32 {axis=0}\n" P, 1, { 102 } },
	{ 'T', 'o', TILE "%r = reduce.max %m : f32<2> {axis=1}\n" O, 2, { 1.5, 4 } },
	{ 'T', 'o', TILE "%r = reduce.min %m : f32<2> {axis=0}\n" O, 2, { 0.1f, -2 } },
	{ 'T', 'o', TILE "%r = reduce.amax %m : f32<2> {axis=1}\n" O, 2, { 2, 4 } },
	{ 'T', 'p', "%r = reduce.max %c : s32 {axis=0}\n" P, 1, { 100 } },
	{ 'T',
	  'o',
	  TILE "%e = slice %m : f32<2x1> {axis=1, start=1}\n%r = reshape %e : f32<2>\n" O,
	  2,
	  { -2, 4 } },
	{ 'T', 'o', "%r = slice %a : f32<2> {axis=0, start=1}\n" O, 2, { -2, 0.1f } },
	{ 'T',
	  'o',
	  TILES "%e = concat %m, %k : f32<2x4> {axis=1}\n%r = reshape %e : f32<8>\n" O,
	  8,
	  { 1.5, -2, 0.5, 3, 0.1f, 4, -0.25, 2 } },
	{ 'T',
	  'o',
	  TILES "%e = concat %m, %k : f32<4x2> {axis=0}\n%r = reshape %e : f32<8>\n" O,
	  6,
	  { 1.5, -2, 0.1f, 4, 0.5, 3 } },
	{ 'T',
	  'o',
	  ITILES "%v = slice %b : f32<2> {axis=0, start=0}\n"
	         "%e = dequant %m, %v : f32<2x2> {axis=0}\n%r = reshape %e : f32<4>\n" O,
	  4,
	  { 3.5, -4, 9, 300 } },
	{ 'T',
	  'o',
	  "%r = hadamard %b : f32<4> {group=4}\n" O,
	  4,
	  { 5.25, -4.75, 1.75, -0.25 } },
	{ 'T',
	  'o',
	  ITILES "%v = slice %b : f32<2> {axis=0, start=0}\n"
	         "%e = dequant %m, %v, %v : f32<2x2> {axis=0}\n%r = reshape %e : f32<4>\n" O,
	  4,
	  { 3.25, -4.25, 0, 291 } },
	{ 'T',
	  'o',
	  ITILES "%e = dequant %m, 0.5 : f32<2x2>\n%r = reshape %e : f32<4>\n" O,
	  4,
	  { 3.5, -4, 1.5, 50 } },
	{ 'T',
	  'o',
	  "%m = reshape %c : s32<1x4>\n%v = slice %b : f32<2> {axis=0, start=0}\n"
	  "%u = reshape %v : f32<1x2>\n%e = dequant %m, %u : f32<1x4> {group=2}\n"
	  "%r = reshape %e : f32<4>\n" O,
	  4,
	  { 3.5, -4, 9, 300 } },
	{ 'T',
	  'o',
	  TILES "%e = dot %m, %k : f32<2x2>\n%r = reshape %e : f32<4>\n" O,
	  4,
	  { 1.25, 0.5, -0.95, 8.3f } },
	{ 'T',
	  'o',
	  TILES "%e = dot %m, %k, %m : f32<2x2> {trans=1}\n%r = reshape %e : f32<4>\n" O,
	  4,
	  { -3.75, -6.375, 12.15f, 11.975f } },
	{ 'T',
	  'p',
	  ITILES "%e = dot %m, %k : s32<2x2>\n%r = reshape %e : s32<4>\n" P,
	  4,
	  { 6, -19, 106, 509 } },
	/* two codes a byte */
	{ 'T',
	  'p',
	  "%m = splat 159 : u8<2>\n%e = unpack %m : s8<4>\n%r = convert %e : s32<4>\n" P,
	  4,
	  { -1, -7, -1, -7 } },
	{ 'T',
	  'p',
	  "%m = splat 159 : u8<2>\n%e = unpack %m : u8<4> {run=2}\n"
	  "%r = convert %e : s32<4>\n" P,
	  4,
	  { 15, 15, 9, 9 } },
	{ 'T',
	  'o',
	  "%m = splat 151 : u8<4>\n%e = unpack %m : e2m1<4> {run=4, half=lo}\n"
	  "%r = convert %e : f32<4>\n" O,
	  2,
	  { 6, 6 } },
	{ 'T',
	  'o',
	  "%m = splat 151 : u8<4>\n%e = unpack %m : e2m1<4> {half=hi}\n"
	  "%r = convert %e : f32<4>\n" O,
	  2,
	  { -0.5, -0.5 } },
	{ 'T',
	  'p',
	  "%m = convert %c : s8<4>\n%e = pack %m : u8<2>\n%f = concat %e, %e : u8<4> "
	  "{axis=0}\n%r = convert %f : s32<4>\n" P,
	  4,
	  { 0x87, 0x43, 0x87, 0x43 } },
	{ 'T',
	  'p',
	  "%m = convert %c : s8<4>\n%e = pack %m : u8<2> {run=2}\n%f = concat %e, %e : u8<4> "
	  "{axis=0}\n%r = convert %f : s32<4>\n" P,
	  2,
	  { 0x37, 0x48 } },
	{ 'T',
	  'p',
	  "%m = convert %a : e2m1<4>\n%e = fixed %m : s8<4> {shift=1}\n"
	  "%r = convert %e : s32<4>\n" P,
	  4,
	  { 3, -4, 0, 8 } },
	{ 'V',
	  'p',
	  "%m = convert %d : s8<4>\n%e = fixed %m : s8<4> {shift=4}\n"
	  "%r = convert %e : s32<4>\n" VP,
	  4,
	  { 32, 48, 16, 80 } },
	/* elementwise along an axis */
	{ 'T',
	  'o',
	  TILE "%v = slice %b : f32<2> {axis=0, start=0}\n"
	       "%e = mul %m, %v : f32<2x2> {axis=0}\n%r = reshape %e : f32<4>\n" O,
	  4,
	  { 0.75, -1, 0.3f, 12 } },
	{ 'T',
	  'o',
	  TILE "%v = slice %b : f32<2> {axis=0, start=0}\n"
	       "%e = mul %m, %v : f32<2x2> {axis=1}\n%r = reshape %e : f32<4>\n" O,
	  4,
	  { 0.75, -6, 0.05f, 12 } },
	/* lanes */
	{ 'V', 'p', "%r = zip.lo %c, %d : s32<4>\n" VP, 4, { 7, 2, -8, 3 } },
	{ 'V', 'p', "%r = zip.hi %c, %d : s32<4>\n" VP, 4, { 3, 1, 100, 5 } },
	{ 'V', 'p', "%r = unzip.lo %c, %d : s32<4>\n" VP, 4, { 7, 3, 2, 1 } },
	{ 'V', 'p', "%r = unzip.hi %c, %d : s32<4>\n" VP, 4, { -8, 100, 3, 5 } },
	{ 'V', 'p', "%r = half.lo %c : s32<2>\n" VP, 2, { 7, -8 } },
	{ 'V', 'p', "%r = half.hi %c : s32<2>\n" VP, 2, { 3, 100 } },
	{ 'V', 'p', "%r = join %c, %d : s32<8>\n" VP, 8, { 7, -8, 3, 100, 2, 3, 1, 5 } },
	{ 'V',
	  'o',
	  "%u = half.lo %a : f32<2>\n%e = convert %a : bf16<4>\n"
	  "%f = convert %b : bf16<4>\n%r = dp %u, %e, %f : f32<2>\n" VO,
	  2,
	  { -3.75, 5.974975585937500 } },
	{ 'V',
	  'p',
	  "%u = splat 1 : s32<1>\n%e = convert %d : u8<4>\n%f = convert %c : s8<4>\n"
	  "%r = dp %u, %e, %f : s32<1>\n" VP,
	  1,
	  { 494 } },
	{ 'V',
	  'p',
	  "%u = splat 1 : s32<1>\n%e = convert %d : u8<4>\n%f = convert %c : s8<4>\n"
	  "%r = x86.dpbusd %u, %e, %f : s32<1>\n" VP,
	  1,
	  { 494 } },
	{ 'V',
	  'o',
	  "%u = half.lo %a : f32<2>\n%e = convert %a : bf16<4>\n"
	  "%f = convert %b : bf16<4>\n%r = x86.dpbf16 %u, %e, %f : f32<2>\n" VO,
	  2,
	  { -3.75, 5.974975585937500 } },
	{ 'V',
	  'o',
	  "%t = mul %a, 1e-39 : f32<4>\n%e = convert %t : bf16<4>\n"
	  "%f = convert %b : bf16<4>\n%u = splat 0.0 : f32<2>\n"
	  "%r = x86.dpbf16 %u, %e, %f : f32<2>\n" VO,
	  2,
	  { 0, 0 } },
	{ 'V',
	  'o',
	  "%e = mul %a, 0.01 : f32<4>\n%f = convert %e : e4m3fn<4>\n"
	  "%g = x86.lut %f : bf16<4>\n%r = convert %g : f32<4>\n" VO,
	  4,
	  { 0.015625, -0.01953125, 0.001953125, 0.0390625 } },
	{ 'V',
	  'p',
	  "%e = iota : s32<16>\n%f = convert %e : e4m3fn<16>\n"
	  "%g = x86.lut.lo %f : bf16<8>\n%r = convert %g : s32<8>\n" VP,
	  8,
	  { 0, 1, 2, 3, 4, 5, 6, 7 } },
	{ 'V',
	  'p',
	  "%e = iota : s32<32>\n%f = convert %e : e5m2<32>\n"
	  "%g = x86.lut.hi %f : bf16<16>\n%r = convert %g : s32<16>\n" VP,
	  8,
	  { 8, 8, 10, 12, 12, 12, 14, 16 } },
	/* memory */
	{ 'T', 'o', "%r = load %x[1] : f32\n" O, 1, { -2 } },
	{ 'T', 'o', "%r = load %x[0] upto %n : f32<4>\n" O, 4, { 1.5, -2, 0.1f, 0 } },
	{ 'T', 'o', "%r = load %x[1] upto %n : f32<4>\n" O, 4, { -2, 0.1f, 0, 0 } },
	{ 'T', 'o', "%r = load %x[1] upto -1 : f32<4>\n" O, 4, { 0, 0, 0, 0 } },
	{ 'T', 'o', "store %a, %o[0] upto %n", 4, { 1.5, -2, 0.1f, -1 } },
	{ 'T',
	  'o',
	  "%e = load %q[0,0] upto 1 : f32<2x4>\n%r = reshape %e : f32<8>\n" O,
	  6,
	  { 1, 2, 3, 4, 0, 0 } },
	{ 'T', 'o', "%r = load %q[1] : f32<4>\n" O, 4, { 5, 6, 7, 8 } },
	{ 'T',
	  'o',
	  "%e = load %z[1,0,0] : f32<2x2>\n%r = reshape %e : f32<4>\n" O,
	  4,
	  { 5, 7, 6, 8 } },
	{ 'V', 'o', "%r = vload %x[4] upto %n : f32<4>\n" VO, 4, { 1, 2, 3, 0 } },
	{ 'V', 'o', "%r = vload %z[0,1,0] : f32<2>\n" VO, 2, { 2, 3 } },
	{ 'V', 'o', "vstore %a, %o[1] upto 2", 4, { -1, 1.5, -2, -1 } },
	{ 'V', 'o', "prefetch %x[123456]\nvstore %a, %o[0]", 2, { 1.5, -2 } },
	{ 'T',
	  'o',
	  "%e = and %c, 3 : s32<4>\n%r = gather %x[%e] : f32<4>\n" O,
	  4,
	  { 4, 1.5, 4, 1.5 } },
	{ 'T',
	  'o',
	  "%e = and %c, 3 : s32<4>\n%r = gather %q[1,%e] : f32<4>\n" O,
	  4,
	  { 8, 5, 8, 5 } },
	{ 'T',
	  'p',
	  "%v = view %x : s32[4] {offset=12}\n%r = load %v[0] : s32<1>\n" P,
	  1,
	  { 0x40800000 } },
	{ 'T',
	  'o',
	  "%l = local : f32[4,4 | 0:4, 1:16]\nstore %a, %l[2,0]\n"
	  "%e = load %l[2,1] : f32<3>\nstore %e, %o[0]",
	  3,
	  { -2, 0.1f, 4 } },
	{ 'T', 'p', "%r = convert %w : s32\n" P, 1, { 0 } },
	/* regions */
	{ 'T',
	  'p',
	  "%s0, %f = for %k = 1 to 6 step 2 carry(%u = 0:s64, %v = 1:s64) {\n"
	  "%u1 = add %u, %k : s64\n%v1 = mul %v, %k : s64\nyield %u1, %v1\n}\n"
	  "%m = sub %s0, %f : s64\n%r = convert %m : s32\n" P,
	  1,
	  { -6 } },
	{ 'T',
	  'p',
	  "%f, %g = for %k = 0 to %n carry(%u = 1:s64, %v = 2:s64) {\nyield %v, %u\n}\n"
	  "%m = mul %g, 10 : s64\n%t = add %m, %f : s64\n%r = convert %t : s32\n" P,
	  1,
	  { 12 } },
	{ 'T',
	  'p',
	  "%f = for %k = 5 to %n carry(%u = 9:s64) {\n%v = add %u, 1 : s64\nyield %v\n}\n"
	  "%r = convert %f : s32\n" P,
	  1,
	  { 9 } },
	{ 'T',
	  'p',
	  "%t = lt %n, 4 : i1\n%r = if %t {\n%e = add %c, %d : s32<4>\nyield %e\n} else {\n"
	  "yield %c\n}\n" P,
	  2,
	  { 9, -5 } },
	{ 'T',
	  'p',
	  "%t = gt %n, 4 : i1\n%r = if %t {\n%e = add %c, %d : s32<4>\nyield %e\n} else {\n"
	  "yield %c\n}\n" P,
	  2,
	  { 7, -8 } },
};

#define NCASES (sizeof cases / sizeof *cases)

static const char *compose(const op_case *c)
{
	static char text[4096];

	snprintf(text, sizeof text, "%s%s%s", c->level == 'V' ? head_v : head_t, c->body, tail);
	return text;
}

/* The last function of the text, checked; fails the test with its messages otherwise. */
static kir_func *parse(const char *text)
{
	kir_diag d = { 0 };
	char msg[2048];
	kir_module *m = kir_parse(text, strlen(text), &d);

	if (!m || !kir_verify(m->func[m->nfunc - 1], &d)) {
		print_message("%s\n", text);
		fail_msg("%s", kir_diag_text(&d, msg, sizeof msg));
		abort();
	}
	return m->func[m->nfunc - 1];
}

typedef struct outputs {
	float o[64];
	int32_t p[64];
} outputs;

static bool run_case(const op_case *c, kref_mode mode, outputs *out, kir_diag *d)
{
	static float q[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	kir_func *f = parse(compose(c));
	kref_arg arg[10] = {
		{ .base = (void *)(uintptr_t)x, .bytes = sizeof x },
		{ .base = (void *)(uintptr_t)y, .bytes = sizeof y },
		{ .base = (void *)(uintptr_t)i, .bytes = sizeof i },
		{ .base = (void *)(uintptr_t)j, .bytes = sizeof j },
		{ .base = q, .bytes = sizeof q },
		{ .base = q, .bytes = sizeof q, .stride = { 16, 8 } },
		{ .base = out->o, .bytes = sizeof out->o },
		{ .base = out->p, .bytes = sizeof out->p },
		{ .i = 3 },
		{ .f = 2.5 },
	};
	kref_stats stats;
	bool ok;

	for (int k = 0; k < 64; k++) {
		out->o[k] = -1;
		out->p[k] = -1;
	}
	ok = kref_run(f, arg, mode, &stats, d);
	assert_true(stats.ops > 0);
	kir_module_free(f->module);
	return ok;
}

static void each_op(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2 * NCASES; k++) {
		const op_case *c = &cases[k / 2];
		kref_mode mode = k & 1 ? KREF_EXACT : KREF_ROUND;
		kir_diag d = { 0 };
		outputs out;
		char msg[512];

		if (!run_case(c, mode, &out, &d))
			fail_msg("%s: %s", c->body, kir_diag_text(&d, msg, sizeof msg));
		for (int n = 0; n < c->n; n++) {
			double got = c->out == 'o' ? (double)out.o[n] : out.p[n];
			double want = c->want[n];

			if (got != want && !(fabs(got - want) <= 1e-6 * fabs(want)))
				fail_msg("mode %d, element %d is %.9g, not %.9g: %s", (int)mode,
				         n, got, want, c->body);
		}
	}
}

/* One rounding an operation: f32 results in ROUND, more digits in EXACT until a store. */
static void rounding(void **state)
{
	static const op_case third = { 'T',
		                       'o',
		                       "%e = div 1.0, 3.0 : f32\n%f = mul %e, 3.0 : f32\n"
		                       "%g = sub %f, 1.0 : f32\n%h = fma %e, 3.0, -1.0 : f32\n"
		                       "store %g, %o[0]\nstore %h, %o[1]",
		                       0,
		                       { 0 } };
	outputs out;
	kir_diag d = { 0 };

	(void)state;
	assert_true(run_case(&third, KREF_ROUND, &out, &d));
	assert_true(out.o[0] == 0);
	assert_true(out.o[1] == 0x1p-25f);
	assert_true(run_case(&third, KREF_EXACT, &out, &d));
	assert_true(out.o[0] == 0 && fabsf(out.o[1]) < 0x1p-50f);
}

/* -- refusals ---------------------------------------------------------------------------- */

static const struct refusal {
	char level;
	const char *body, *message;
} refusals[] = {
	{ 'T', "%r = load %x[5] : f32<4>\n" O, "5 to 8 of dimension 0, which has 0 to 7" },
	{ 'T', "%r = load %x[-1] : f32<4>\n" O, "-1 to 2 of dimension 0" },
	{ 'T', "%r = load %q[2,0] : f32<4>\n" O,
	  "load %r of %q: index [2,0]: 2 to 2 of dimension 0" },
	{ 'T', "%e = load %z[2,0,0] : f32<2x2>\n",
	  "bytes 32 to 47 of an argument of 32 bytes" },
	{ 'T', "%e = load %z[-1,0,0] : f32<2x2>\n", "-1 of dimension 0 is out of range" },
	{ 'T', "store %a, %o[61]", "store of %o: index [61]: 61 to 64" },
	{ 'V', "%r = vload %x[8] : f32<4>\n", "8 to 8 of dimension 0" },
	{ 'V', "%r = vload %x[6] : f32<4>\n", "bytes 24 to 39 of an argument of 32 bytes" },
	{ 'V', "vstore %a, %o[62]", "bytes 248 to 263 of an argument of 256 bytes" },
	{ 'T', "%r = gather %x[%c] : f32<4>\n", "gather %r of %x: index [-8]" },
	{ 'T', "%l = local : f32[8]\nstore %a, %l[0]\n%r = load %l[2] : f32<4>\n",
	  "load %r of %l: index [2]: reads local memory that nothing has written" },
	{ 'T',
	  "for %k = 0 to 2 {\n%l = local : f32[4]\n%e = gt %k, 0 : i1\nif %e {\n"
	  "%r = load %l[0] : f32<4>\nyield\n} else {\nstore %a, %l[0]\nyield\n}\nyield\n}\n",
	  "nothing has written" },
	{ 'T', "%t = sub %d, 2 : s32<4>\n%r = fdiv %c, %t : s32<4>\n",
	  "the divisor is 0, must be" },
	{ 'T', "%r = mod %c, -5 : s32<4>\n", "the divisor is -5, must be" },
	{ 'T', "%r = shl %d, %c : s32<4>\n", "the shift is by -8, must be 0 to 31" },
	{ 'T', "%r = shr %d, 32 : s32<4>\n", "the shift is by 32" },
};

static void refuses(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof refusals / sizeof *refusals; k++) {
		const op_case c = { refusals[k].level, 'o', refusals[k].body, 0, { 0 } };
		kir_diag d = { 0 };
		outputs out;
		char msg[512];

		if (run_case(&c, KREF_ROUND, &out, &d))
			fail_msg("accepted: %s", c.body);
		kir_diag_text(&d, msg, sizeof msg);
		if (!strstr(msg, refusals[k].message))
			fail_msg("'%s' doesn't say '%s'", msg, refusals[k].message);
		if (d.n != 1 || d.at[0].line < 10)
			fail_msg("%u messages, line %d", d.n, d.at[0].line);
	}
}

static void null_argument(void **state)
{
	static const char text[] = "func @f(%x: in f32[4], %o: out f32[4]) level=T {\n"
	                           "  for %w = 0 to 1 par {\n    %a = load %x[0] : f32<4>\n"
	                           "    store %a, %o[0]\n    yield\n  }\n  ret\n}\n";
	kir_func *f = parse(text);
	kref_arg arg[2] = { { 0 } };
	kir_diag d = { 0 };
	char msg[512];

	(void)state;
	assert_false(kref_run(f, arg, KREF_ROUND, NULL, &d));
	assert_non_null(strstr(kir_diag_text(&d, msg, sizeof msg), "argument is NULL"));
	kir_module_free(f->module);
}

/* -- level A by hand ----------------------------------------------------------------------- */

/* Two sequences; the second has no tokens. Queries 1,0 and 0,1; keys 1,0 and 0,1 with value
 * rows 8,0 and 0,8; page 1 is the first page; slots past the end hold NaN. */
static const char attention_text[] =
    "func @a(%q: in f32[?,2,2], %out: out f32[?,2,2], %k: in f32[?,1,2,2], %v: in "
    "f32[?,1,2,2],\n"
    "        %bt: in s32[?,1], %len: in s32[?], %cu: in s32[?], %lse: out f32[?,2],\n"
    "        %sink: in f32[2], %work: in s32[?,8], %nwork: s64, %sc: f32)\n"
    "     level=A {\n"
    "  attention q=%q, out=%out, k=%k, v=%v, table=%bt, lens=%len, starts=%cu, scale=%sc,\n"
    "    lse=%lse, sink=%sink, work=%work, nwork=%nwork\n"
    "    score(%s, %b, %h, %i, %j) {\n"
    "      %x = mul %s, 2.0 : f32\n"
    "      yield %x\n"
    "    } mask(%b, %h, %i, %j) {\n"
    "      %c = le %j, %i : i1\n"
    "      yield %c\n"
    "    }\n"
    "  ret\n"
    "}\n";

static void attention(void **state)
{
	float q[3][2][2] = { { { 1, 0 }, { 0, 1 } },
		             { { 1, 0 }, { 0, 1 } },
		             { { 1, 1 }, { 1, 1 } } };
	float out[3][2][2], lse[3][2], sink[2] = { -INFINITY, 1 };
	float k[2][2][2] = { { { NAN, NAN }, { NAN, NAN } }, { { 1, 0 }, { 0, 1 } } };
	float v[2][2][2] = { { { NAN, NAN }, { NAN, NAN } }, { { 8, 0 }, { 0, 8 } } };
	int32_t table[2] = { 1, 0 }, lens[2] = { 2, 0 }, cu[3] = { 0, 2, 3 };
	int32_t work[3][8] = { { 1 }, { 0 }, { 0 } };
	kref_arg arg[12] = {
		{ q, sizeof q, { 0 }, 0, 0 },
		{ out, sizeof out, { 0 }, 0, 0 },
		{ k, sizeof k, { 0 }, 0, 0 },
		{ v, sizeof v, { 0 }, 0, 0 },
		{ table, sizeof table, { 0 }, 0, 0 },
		{ lens, sizeof lens, { 0 }, 0, 0 },
		{ cu, sizeof cu, { 0 }, 0, 0 },
		{ lse, sizeof lse, { 0 }, 0, 0 },
		{ sink, sizeof sink, { 0 }, 0, 0 },
		{ work, sizeof work, { 0 }, 0, 0 },
		{ .i = 3 },
		{ .f = 0.5 },
	};
	kir_func *f = parse(attention_text);
	kir_diag d = { 0 };
	double e = exp(1);

	(void)state;
	assert_true(kref_run(f, arg, KREF_EXACT, NULL, &d));
	/* scores are 1 for the key that equals the query, else 0 */
	assert_true(out[0][0][0] == 8 && out[0][0][1] == 0 && lse[0][0] == 1);
	assert_float_equal(out[0][1][0], 8 / (1 + e), 1e-6); /* score 0 against a sink of 1 */
	assert_float_equal(out[1][0][0], 8 * e / (e + 1), 1e-6);
	assert_float_equal(out[1][0][1], 8 / (e + 1), 1e-6);
	assert_float_equal(out[1][1][1], 8 * e / (1 + e + e), 1e-6);
	assert_float_equal(lse[1][1], log(1 + e), 1e-6);
	for (int h = 0; h < 2; h++) {
		assert_true(out[2][h][0] == 0 && out[2][h][1] == 0);
		assert_true(lse[2][h] == -INFINITY);
	}
	table[0] = 2;
	assert_false(kref_run(f, arg, KREF_EXACT, NULL, &d));
	assert_non_null(strstr(d.at[0].msg, "of an argument of"));
	kir_module_free(f->module);
}

static const char merge_text[] =
    "func @m(%out: out f32[?,1,2], %lse: out f32[?,1], %parts: in f32[?,2,1,2],\n"
    "        %lses: in f32[?,2,1], %n: s64, %p: s64)\n"
    "     level=A {\n"
    "  merge out=%out, lse=%lse, parts=%parts, lses=%lses, n=%n, p=%p\n"
    "  ret\n"
    "}\n";

static void merge(void **state)
{
	float parts[2][2][2] = { { { 4, 8 }, { NAN, NAN } }, { { 8, 0 }, { NAN, NAN } } };
	float lses[2][2] = { { 0, -INFINITY }, { 1, -INFINITY } }, out[2][2], lse[2];
	kref_arg arg[6] = {
		{ out, sizeof out, { 0 }, 0, 0 },
		{ lse, sizeof lse, { 0 }, 0, 0 },
		{ parts, sizeof parts, { 0 }, 0, 0 },
		{ lses, sizeof lses, { 0 }, 0, 0 },
		{ .i = 2 },
		{ .i = 2 },
	};
	kir_func *f = parse(merge_text);
	kir_diag d = { 0 };
	double e = exp(1);

	(void)state;
	assert_true(kref_run(f, arg, KREF_EXACT, NULL, &d));
	assert_float_equal(out[0][0], (4 + 8 * e) / (1 + e), 1e-6);
	assert_float_equal(out[0][1], 8 / (1 + e), 1e-6);
	assert_float_equal(lse[0], log(1 + e), 1e-6);
	assert_true(out[1][0] == 0 && out[1][1] == 0 && lse[1] == -INFINITY);
	kir_module_free(f->module);
}

static const char write_text[] =
    "format mine v1 {\n"
    "  elem s8\n"
    "  scale f32 token-head amax/127 floor 1e-06\n"
    "  apply reciprocal\n"
    "  round away\n"
    "  tensor cache [h t] { k[d] ks v[d] vs }\n"
    "}\n"
    "func @w(%key: in f32[?,1,4], %value: in f32[?,1,4], %slots: in s64[?],\n"
    "        %c: inout u8[?,48], %n: s64)\n"
    "     level=A {\n"
    "  %k = view %c : s8[?,1,3,4 | 0:48, 1:48, 2:16, 3:1]\n"
    "  %ks = view %c : f32[?,1,3 | 0:48, 1:48, 2:16] {offset=4}\n"
    "  %v = view %c : s8[?,1,3,4 | 0:48, 1:48, 2:16, 3:1] {offset=8}\n"
    "  %vs = view %c : f32[?,1,3 | 0:48, 1:48, 2:16] {offset=12}\n"
    "  cache.write key=%key, value=%value, slots=%slots, k=%k, v=%v, ks=%ks, vs=%vs, n=%n "
    "{format=mine}\n"
    "  ret\n"
    "}\n";

/* A NaN gives code 0 and doesn't set the scale, an infinity counts as the largest f32; the
 * later of two tokens wins; a negative slot writes nothing. */
static void cache_write(void **state)
{
	float key[4][4] = { { 9, 9, 9, 9 },
		            { 127, -63.5f, 1, NAN },
		            { 1, 2, 3, 4 },
		            { INFINITY, 1, 0, -INFINITY } };
	float value[4][4] = { { 9 }, { 0, 0, 0, 0 }, { 1 }, { 254, 2, 1, 3 } };
	int64_t slots[4] = { 4, 4, -1, 0 };
	unsigned char c[2][48];
	kref_arg arg[5] = { { key, sizeof key, { 0 }, 0, 0 },
		            { value, sizeof value, { 0 }, 0, 0 },
		            { slots, sizeof slots, { 0 }, 0, 0 },
		            { c, sizeof c, { 0 }, 0, 0 },
		            { .i = 4 } };
	kir_func *f = parse(write_text);
	kir_diag d = { 0 };
	float s[2];

	(void)state;
	memset(c, 0xa5, sizeof c);
	assert_true(kref_run(f, arg, KREF_ROUND, NULL, &d));
	assert_memory_equal(c[1] + 16, ((signed char[]){ 127, -64, 1, 0 }), 4);
	memcpy(&s[0], c[1] + 20, 4);
	memcpy(&s[1], c[1] + 28, 4);
	assert_true(s[0] == 1 && s[1] == 1e-6f);
	assert_memory_equal(c[0], ((signed char[]){ 127, 0, 0, -127 }), 4);
	assert_memory_equal(c[0] + 8, ((signed char[]){ 127, 1, 1, 2 }), 4);
	for (int k = 16; k < 64; k++)
		assert_true(k >= 48 || c[0][k] == 0xa5);
	slots[1] = 6;
	assert_false(kref_run(f, arg, KREF_ROUND, NULL, &d));
	kir_module_free(f->module);
}

static const char quantize_text[] =
    "format mine v1 {\n"
    "  elem e4m3fn\n"
    "  scale f32 head given\n"
    "  apply divide\n"
    "  round even\n"
    "  nan max\n"
    "  tensor cache [h t] { k[d] v[d] }\n"
    "}\n"
    "func @q(%x: in f32[?,2,4], %q: out e4m3fn[?,2,4], %d: in f32[2], %n: s64)\n"
    "     level=A {\n"
    "  quantize x=%x, q=%q, d=%d, n=%n {format=mine}\n"
    "  ret\n"
    "}\n";

static void quantize(void **state)
{
	float in[1][2][4] = { { { 1, 1000, -1, NAN }, { 1, 1000, -1, INFINITY } } };
	float scale[2] = { 1, 4 };
	unsigned char q[8];
	kref_arg arg[4] = { { in, sizeof in, { 0 }, 0, 0 },
		            { q, sizeof q, { 0 }, 0, 0 },
		            { scale, sizeof scale, { 0 }, 0, 0 },
		            { .i = 1 } };
	kir_func *f = parse(quantize_text);
	kir_diag d = { 0 };

	(void)state;
	assert_true(kref_run(f, arg, KREF_ROUND, NULL, &d));
	assert_memory_equal(q, "\x38\x7e\xb8\x7e\x28\x78\xa8\x7e", 8);
	kir_module_free(f->module);
}

/* 1e9 and an infinity have scales beyond every f16: they are stored as the largest one, or the
 * largest power of two. Of bf16 and f32 a scale that is rounded up is beyond the last. */
static void scales_that_overflow(void **state)
{
	static const struct {
		const char *scale, *elem, *rule;
		uint32_t s[3]; /* of the rows 1e9, infinity and 0.5 */
		const char *q;
	} rows[] = {
		{ "f16", "s8", "amax/127 floor 1e-06", { 0x7bff, 0x7bff, 0x1c08 }, "\x7f\x7f" },
		{ "f16", "s8", "amax/127 pow2", { 0x7800, 0x7800, 0x2000 }, "\x7f\x7f" },
		{ "bf16", "e5m2", "amax/1 eps 1", { 0x4e6e, 0x7f7f, 0x3f80 }, "\x3c\x3c" },
		{ "bf16", "e5m2", "amax/1 pow2", { 0x4e80, 0x7f00, 0x3f00 }, "\x3b\x40" },
		{ "f32",
		  "e5m2",
		  "amax/1 pow2",
		  { 0x4e800000, 0x7f000000, 0x3f000000 },
		  "\x3b\x40" },
		{ "e4m3fn", "s8", "amax/127 pow2", { 0x78, 0x78, 0x04 }, "\x7f\x7f" },
	};

	(void)state;
	for (size_t n = 0; n < sizeof rows / sizeof rows[0]; n++) {
		float in[3] = { 1e9F, INFINITY, 0.5F };
		unsigned char q[3], s[12], want[12];
		unsigned bytes = rows[n].scale[0] == 'e'         ? 1
		                 : !strcmp(rows[n].scale, "f32") ? 4
		                                                  : 2;
		kref_arg arg[4] = { { in, sizeof in, { 0 }, 0, 0 },
			            { q, sizeof q, { 0 }, 0, 0 },
			            { s, 3 * bytes, { 0 }, 0, 0 },
			            { .i = 3 } };
		char text[600];
		kir_diag d = { 0 };
		kir_func *f;

		snprintf(text, sizeof text,
		         "format mine v1 {\n  elem %s\n  scale %s token-head %s\n}\n"
		         "func @q(%%x: in f32[?,1,1], %%q: out %s[?,1,1], %%s: out %s[?,1], "
		         "%%n: s64)\n     level=A {\n"
		         "  quantize x=%%x, q=%%q, s=%%s, n=%%n {format=mine}\n  ret\n}\n",
		         rows[n].elem, rows[n].scale, rows[n].rule, rows[n].elem,
		         rows[n].scale);
		f = parse(text);
		assert_true(kref_run(f, arg, KREF_ROUND, NULL, &d));
		for (unsigned k = 0; k < 3; k++)
			memcpy(want + k * bytes, &rows[n].s[k], bytes);
		assert_memory_equal(s, want, 3 * bytes);
		assert_memory_equal(q, rows[n].q, 2);
		kir_module_free(f->module);
	}
}

/* Two blocks of 2 along the contraction, exponents 0 (0.0) and 130 (8) among the scales, a
 * padded copy of w. */
static const char gemm_text[] =
    "func @g(%a: in f32[?,4], %as: in f32[?,2], %w: in f32[2,4], %y: inout f32[3,5],\n"
    "        %ws: in e8m0[2,2], %c: out f32[?,2], %n: s64)\n"
    "     level=A {\n"
    "  relayout x=%w, y=%y\n"
    "  gemm a=%a, as=%as, w=%y, ws=%ws, c=%c, n=%n {group=2, wgroup=2}\n"
    "  ret\n"
    "}\n";

/* Keys 1, 2, 3, 4 and a page that isn't there; a negative product counts as 0; of equal logits
 * the earlier, in the order of the keys; NaN is never chosen. */
static const char index_text[] =
    "func @i(%q: in f32[?,2,1], %w: in f32[?,2], %k: in f32[?,1,2,1], %t: in s32[1,3],\n"
    "        %b: in s32[?], %l: in s32[?], %o: out s32[3,3], %s: inout f32[3,6], %n: s64,\n"
    "        %p: s64)\n"
    "     level=A {\n"
    "  index.topk q=%q, w=%w, k=%k, table=%t, seqs=%b, lens=%l, out=%o, logits=%s, n=%n, "
    "pages=%p, width=6\n"
    "  ret\n"
    "}\n";

static void topk(void **state)
{
	float q[3][2] = { { 1, -1 }, { 1, 1 }, { 1, 1 } }, k[4] = { 1, 2, 3, 4 }, s[3][6];
	float w[3][2] = { { 2, 7 }, { 0, 0 }, { NAN, 1 } };
	int32_t t[3] = { 1, 9, 0 }, b[3] = { 0, 0, 0 }, l[3] = { 6, 5, 2 }, o[3][3];
	static const float right[6] = { 6, 8, -INFINITY, -INFINITY, 2, 4 };
	static const int32_t chosen[3][3] = { { 2, 3, 1 }, { 2, 3, 0 }, { -1, -1, -1 } };
	kref_arg arg[10] = { { q, sizeof q, { 0 }, 0, 0 },
		             { w, sizeof w, { 0 }, 0, 0 },
		             { k, sizeof k, { 0 }, 0, 0 },
		             { t, sizeof t, { 0 }, 0, 0 },
		             { b, sizeof b, { 0 }, 0, 0 },
		             { l, sizeof l, { 0 }, 0, 0 },
		             { o, sizeof o, { 0 }, 0, 0 },
		             { s, sizeof s, { 0 }, 0, 0 },
		             { .i = 3 },
		             { .i = 2 } };
	kir_func *f = parse(index_text);
	kir_diag d = { 0 };

	(void)state;
	assert_true(kref_run(f, arg, KREF_ROUND, NULL, &d));
	assert_memory_equal(s[0], right, sizeof right);
	assert_memory_equal(o, chosen, sizeof chosen);
	kir_module_free(f->module);
}

/* Keys change their element and take a handed-over scale; values are moved, whatever they are:
 * codes that no writer makes and scales that are NaN with their bits. */
static const char transcode_text[] =
    "format a v1 {\n"
    "  elem s8\n"
    "  scale f32 token-head amax/127 floor 1e-06\n"
    "  tensor cache [h] { k[t d] v[t d] ks[t] vs[t] }\n"
    "}\n"
    "format b v1 {\n"
    "  k.elem e4m3fn\n"
    "  k.scale f32 head given\n"
    "  v.elem s8\n"
    "  v.scale f32 token-head amax/127 eps 3\n"
    "  tensor cache [h] { k[t d] v[d t] vs[t] }\n"
    "}\n"
    "func @t(%fk: in s8[?,1,2,2], %fv: in s8[?,1,2,2], %fks: in f32[?,1,2], %fvs: in "
    "f32[?,1,2],\n"
    "        %f: in s64[?], %s: in s64[?], %k: inout e4m3fn[?,1,4,2], %v: inout s8[?,1,4,2],\n"
    "        %vs: inout f32[?,1,4], %kd: in f32[1], %n: s64)\n"
    "     level=A {\n"
    "  transcode from_k=%fk, from_v=%fv, from_ks=%fks, from_vs=%fvs, from_slots=%f, slots=%s, "
    "k=%k, v=%v, vs=%vs, kd=%kd, n=%n {format=b, from=a}\n"
    "  ret\n"
    "}\n";

static void transcode(void **state)
{
	signed char fk[2][2][2] = { { { 1, 2 }, { 3, 4 } }, { { 10, -20 }, { 0, 127 } } };
	signed char fv[2][2][2] = { { { 1, 2 }, { 3, 4 } }, { { 7, -128 }, { 5, 6 } } };
	float fks[4] = { NAN, 1, 0.5F, 1e30F }, kd = 2;
	uint32_t fvs[4] = { 1, 2, 0xffc01234, 4 }, vs[4];
	int64_t from[3] = { 2, 3, -1 }, to[3] = { 3, 0, 1 };
	unsigned char k[4][2], v[4][2];
	kref_arg arg[11] = { { fk, sizeof fk, { 0 }, 0, 0 },
		             { fv, sizeof fv, { 0 }, 0, 0 },
		             { fks, sizeof fks, { 0 }, 0, 0 },
		             { fvs, sizeof fvs, { 0 }, 0, 0 },
		             { from, sizeof from, { 0 }, 0, 0 },
		             { to, sizeof to, { 0 }, 0, 0 },
		             { k, sizeof k, { 0 }, 0, 0 },
		             { v, sizeof v, { 0 }, 0, 0 },
		             { vs, sizeof vs, { 0 }, 0, 0 },
		             { &kd, sizeof kd, { 0 }, 0, 0 },
		             { .i = 3 } };
	kir_func *f = parse(transcode_text);
	kir_diag d = { 0 };

	(void)state;
	memset(k, 0xa5, sizeof k);
	memset(v, 0xa5, sizeof v);
	memset(vs, 0xa5, sizeof vs);
	assert_true(kref_run(f, arg, KREF_ROUND, NULL, &d));
	/* 5 / 2 and -10 / 2; 0 and far beyond 448 */
	assert_memory_equal(k, "\x00\x7e\xa5\xa5\xa5\xa5\x42\xca", 8);
	assert_memory_equal(v, "\x05\x06\xa5\xa5\xa5\xa5\x07\x80", 8);
	assert_int_equal(vs[3], 0xffc01234);
	assert_true(vs[0] == 4 && vs[1] == 0xa5a5a5a5 && vs[2] == 0xa5a5a5a5);
	from[2] = 4;
	assert_false(kref_run(f, arg, KREF_ROUND, NULL, &d));
	kir_module_free(f->module);
}

static void gemm(void **state)
{
	float a[2][4] = { { 1, 2, 3, 4 }, { 1, 0, 0, -1 } }, s[2][2] = { { 1, 10 }, { 2, 1 } };
	float w[2][4] = { { 1, 1, 1, 2 }, { 1, 2, 3, NAN } }, big[3][5], c[2][2];
	unsigned char ws[2][2] = { { 127, 128 }, { 130, 0 } };
	kref_arg arg[7] = { { a, sizeof a, { 0 }, 0, 0 },
		            { s, sizeof s, { 0 }, 0, 0 },
		            { w, sizeof w, { 0 }, 0, 0 },
		            { big, sizeof big, { 0 }, 0, 0 },
		            { ws, sizeof ws, { 0 }, 0, 0 },
		            { c, sizeof c, { 0 }, 0, 0 },
		            { .i = 2 } };
	kir_func *f = parse(gemm_text);
	kir_diag d = { 0 };

	(void)state;
	memset(big, 0xff, sizeof big);
	assert_true(kref_run(f, arg, KREF_ROUND, NULL, &d));
	assert_true(c[0][0] == 3 + 2 * 10 * 11 && c[1][0] == 2 - 4);
	assert_true(isnan(c[0][1]) && isnan(c[1][1])); /* NaN times 0.0 */
	assert_true(big[0][3] == 2 && big[0][4] == 0 && big[2][0] == 0 && big[1][2] == 3);
	w[1][3] = 1;
	assert_true(kref_run(f, arg, KREF_ROUND, NULL, &d));
	assert_true(c[0][1] == 8 * 5 && c[1][1] == 2 * 8);
	arg[0].bytes = sizeof a - 1;
	assert_false(kref_run(f, arg, KREF_ROUND, NULL, &d));
	kir_module_free(f->module);
}

/* Tile registers: a product of bytes and of bf16 worked out by hand, and what is refused. */
static const char amx_text[] =
    "func @t(%a: in u8[?], %b: in u8[?], %o: out s32[?], %n: s64) level=V target=amx {\n"
    "amx.tile {tile=0, rows=1, bytes=4}\namx.tile {tile=1, rows=1, bytes=8}\n"
    "amx.tile {tile=2, rows=2, bytes=4}\n"
    "for %i = 0 to %n par {\n"
    "amx.load %a[0] {tile=1}\namx.load %b[0] {tile=2, stride=4}\n"
    "amx.zero {tile=0}\namx.dpbssd {tile=0, a=1, b=2}\namx.store %o[0] {tile=0}\n"
    "amx.zero {tile=0}\namx.dpbsud {tile=0, a=1, b=2}\namx.store %o[1] {tile=0}\n"
    "amx.zero {tile=0}\namx.dpbusd {tile=0, a=1, b=2}\namx.store %o[2] {tile=0}\n"
    "amx.dpbuud {tile=0, a=1, b=2}\namx.store %o[3] {tile=0}\n"
    "amx.zero {tile=0}\namx.dpbf16ps {tile=0, a=1, b=2}\namx.store %o[4] {tile=0}\n"
    "yield\n}\nret\n}\n";

static void tiles(void **state)
{
	/* as bytes 255 1 2 3, 0 128 0 63; as bf16 pairs big ones and -0, 0.5 */
	uint8_t a[8] = { 255, 1, 2, 3, 0, 128, 0, 63 }, b[8] = { 255, 2, 1, 0, 3, 128, 0, 64 };
	int32_t o[5] = { 0 };
	kir_diag d = { 0 };
	kir_module *m = kir_parse(amx_text, strlen(amx_text), &d);
	kref_arg arg[4] = { { .base = a, .bytes = 8 },
		            { .base = b, .bytes = 8 },
		            { .base = o, .bytes = 20 },
		            { .i = 1 } };

	(void)state;
	assert_non_null(m);
	assert_true(kir_verify(m->func[0], &d));
	assert_true(kref_run(m->func[0], arg, KREF_ROUND, NULL, &d));
	assert_int_equal(o[0], 1 + 2 + 2 + 128 * 128 + 63 * 64);
	assert_int_equal(o[1], -255 + 2 + 2 - 128 * 128 + 63 * 64);
	assert_int_equal(o[2], -255 + 2 + 2 - 128 * 128 + 63 * 64);
	assert_int_equal(o[3], o[2] + 255 * 255 + 2 + 2 + 128 * 128 + 63 * 64);
	/* pairs (0x01ff, 0x0302) . (0x02ff, 0x0001) and (0x8000, 0x3f00) . (0x8003, 0x4000):
	 * all but 0.5 * 2 is far too small or subnormal */
	assert_int_equal(o[4], 0x3f800000);
	arg[0].bytes = 7;
	assert_false(kref_run(m->func[0], arg, KREF_ROUND, NULL, &d));
	assert_non_null(strstr(d.at[0].msg, "bytes 0 to 7 of an argument of 7 bytes"));
	kir_module_free(m);
}

/* Every op of ops.def stands in one of the texts above, those of a sub-group in test_xe.c. */
static void complete(void **state)
{
	static const char *const level_a[] = { attention_text, merge_text,    write_text,
		                               quantize_text,  amx_text,      gemm_text,
		                               index_text,     transcode_text };

	(void)state;
	for (unsigned op = 1; op < KIR_NOP; op++) {
		char word[40];
		bool found = op == KIR_OP_param || op == KIR_OP_arg || op == KIR_OP_res ||
		             op == KIR_OP_const || !strncmp(kir_ops[op].name, "xe.", 3);

		snprintf(word, sizeof word, "%s ", kir_ops[op].name);
		if (op == KIR_OP_ret || op == KIR_OP_yield)
			word[strlen(word) - 1] = 0;
		if (op == KIR_OP_iota || op == KIR_OP_local)
			snprintf(word, sizeof word, "%s :", kir_ops[op].name);
		for (size_t k = 0; k < NCASES; k++)
			found |= strstr(compose(&cases[k]), word) != NULL;
		for (size_t k = 0; k < sizeof level_a / sizeof *level_a; k++)
			found |= strstr(level_a[k], word) != NULL;
		if (!found)
			fail_msg("nothing tests %s", kir_ops[op].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_op),
		cmocka_unit_test(rounding),
		cmocka_unit_test(refuses),
		cmocka_unit_test(null_argument),
		cmocka_unit_test(attention),
		cmocka_unit_test(merge),
		cmocka_unit_test(cache_write),
		cmocka_unit_test(quantize),
		cmocka_unit_test(scales_that_overflow),
		cmocka_unit_test(tiles),
		cmocka_unit_test(gemm),
		cmocka_unit_test(topk),
		cmocka_unit_test(transcode),
		cmocka_unit_test(complete),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
