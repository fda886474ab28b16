/* SPDX-License-Identifier: Apache-2.0 */
/* test_ref.c -- the interpreter: every op against values worked out by hand, and every
 * refusal. Ops that are whole loops are in test_ref_whole.c, stored data in test_ref_golden.c.
 * One table, which is held against that of all ops: none may be missing. */
#include "ref_whole.h"

#include <math.h>

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
	  "%e = load %x[4] : f32<4>\n%r = exp2 %e : f32<4> {degree=3}\n" O,
	  4,
	  { 2, 4, 8, 16 } },
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
	  'o',
	  TILES "%e = dot %m, %k : f32<2x2> {trans=2}\n%r = reshape %e : f32<4>\n" O,
	  4,
	  { 0.725f, 4.7f, -2, 2 } },
	{ 'T',
	  'p',
	  ITILES "%e = dot %m, %k : s32<2x2>\n%r = reshape %e : s32<4>\n" P,
	  4,
	  { 6, -19, 106, 509 } },
	{ 'T',
	  'p',
	  ITILES "%e = dot %m, %k : s32<2x2> {trans=2}\n%r = reshape %e : s32<4>\n" P,
	  4,
	  { 17, 36, 84, 476 } },
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
	{ 'V', 'p', "%r = zip.lo %c, %d : s32<4> {within=2}\n" VP, 4, { 7, 2, 3, 1 } },
	{ 'V', 'p', "%r = unzip.hi %c, %d : s32<4> {within=2}\n" VP, 4, { -8, 3, 100, 5 } },
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
	/* the value behind the last one is the largest s64; bounds 2^64 - 1 apart */
	{ 'T',
	  'p',
	  "%f = for %k = 9223372036854775799 to 9223372036854775807 step 4 "
	  "carry(%u = 0:s64) {\n%v = add %u, 1 : s64\nyield %v\n}\n"
	  "%r = convert %f : s32\n" P,
	  1,
	  { 2 } },
	{ 'T',
	  'p',
	  "%f = for %k = -9223372036854775808 to 9223372036854775807 step 6148914691236517205 "
	  "carry(%u = 0:s64) {\n%v = add %u, 1 : s64\nyield %v\n}\n"
	  "%r = convert %f : s32\n" P,
	  1,
	  { 3 } },
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
	{ 'V', "for %k = 9223372036854775800 to 9223372036854775807 step 4 {\nyield\n}\n",
	  "step 4: its variable would pass the largest s64" },
	{ 'V',
	  "%e = sub -2, 9223372036854775807 : s64\n%h = sub %e, %n : s64\n"
	  "for %k = %h to 9223372036854775807 step 9223372036854775807 {\nyield\n}\n",
	  "its variable would pass the largest s64" },
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

/* -- completeness --------------------------------------------------------------------- */

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
			fail_msg("nothing tests %s: it needs a row in `cases`",
			         kir_ops[op].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_op),  cmocka_unit_test(rounding),
		cmocka_unit_test(refuses),  cmocka_unit_test(null_argument),
		cmocka_unit_test(complete),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
