/* SPDX-License-Identifier: Apache-2.0 */
/* ref_whole.h -- programs of the ops that are whole loops, and of tile registers:
 * test_ref_whole.c runs them, test_ref.c counts which ops stand in one. */
#ifndef KVJIT_TEST_REF_WHOLE_H
#define KVJIT_TEST_REF_WHOLE_H

#include "../backends/ref/ref.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The last function of the text, checked; fails the test with its messages otherwise. */
static inline kir_func *parse(const char *text)
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

static const char merge_text[] =
    "func @m(%out: out f32[?,1,2], %lse: out f32[?,1], %parts: in f32[?,2,1,2],\n"
    "        %lses: in f32[?,2,1], %n: s64, %p: s64)\n"
    "     level=A {\n"
    "  merge out=%out, lse=%lse, parts=%parts, lses=%lses, n=%n, p=%p\n"
    "  ret\n"
    "}\n";

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

/* Tile registers: a product of bytes and of bf16 worked out by hand, and what is refused. */
static const char amx_text[] =
    "func @t(%a: in u8[?], %b: in u8[?], %o: out s32[?], %n: s64) level=V target=amx {\n"
    "amx.tile {tile=0, rows=1, bytes=4}\namx.tile {tile=1, rows=1, bytes=8}\n"
    "amx.tile {tile=2, rows=2, bytes=4}\n"
    "for %i = 0 to %n par {\n"
    "amx.load %a[0] {tile=1, pitch=64}\namx.load %b[0] {tile=2, pitch=4}\n"
    "amx.zero {tile=0}\namx.dpbssd {tile=0, a=1, b=2}\namx.store %o[0] {tile=0, pitch=64}\n"
    "amx.zero {tile=0}\namx.dpbsud {tile=0, a=1, b=2}\namx.store %o[1] {tile=0, pitch=64}\n"
    "amx.zero {tile=0}\namx.dpbusd {tile=0, a=1, b=2}\namx.store %o[2] {tile=0, pitch=64}\n"
    "amx.dpbuud {tile=0, a=1, b=2}\namx.store %o[3] {tile=0, pitch=64}\n"
    "amx.zero {tile=0}\namx.dpbf16ps {tile=0, a=1, b=2}\namx.store %o[4] {tile=0, pitch=64}\n"
    "yield\n}\nret\n}\n";

#endif
