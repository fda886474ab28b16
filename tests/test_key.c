/* SPDX-License-Identifier: Apache-2.0 */
/* test_key.c -- whatever shapes code changes the key, whatever doesn't leaves it alone.
 *
 * The tables are expanded: each knob of knobs.def, each feature of targets.def, each field of
 * problem.def for each kind that has it. A field without a case here fails the test, a member
 * added to a struct of formats or targets fails the build.
 */
#include "../backends/isa.h"
#include "../ir/format_priv.h"
#include "../tune/key.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* -- helpers ------------------------------------------------------------------------------- */

/* The function of a text in a module that may hold others already. */
static kir_func *func_in(kir_module *m, const char *text)
{
	kir_diag d = { 0 };
	kir_problem p;
	kir_func *f = NULL;
	char msg[2000];

	if (kir_problem_parse(m, text, strlen(text), &p, &d))
		f = kir_problem_expand(m, &p, kir_target_find("avx512"), &d);
	if (!f)
		fail_msg("%s\n%s", text, kir_diag_text(&d, msg, sizeof(msg)));
	return f;
}

static kt_key program_of(const char *text)
{
	kir_module *m = kir_module_new();
	kt_key k;

	kt_program_key(func_in(m, text), &k);
	kir_module_free(m);
	return k;
}

static void assert_key(const kt_key *a, const kt_key *b, bool same, const char *what)
{
	if (kt_key_equal(a, b) != same)
		fail_msg("%s: the keys are %s", what, same ? "different" : "the same");
}

static void assert_programs(const char *a, const char *b, bool same)
{
	kt_key x = program_of(a), y = program_of(b);
	char what[2000];

	snprintf(what, sizeof(what), "%s\n%s", a, b);
	assert_key(&x, &y, same, what);
}

/* -- programs: the fields of a problem ----------------------------------------------------- */

enum { A = 1, W = 2, Q = 4, M = 8, G = 16, P = 32, I = 64, T = 128 };

static const struct {
	const char *name;
	unsigned kinds;
} fields[] = {
#define FIELD(name, kinds, type, member, two, lo, hi, step, words, doc) { #name, kinds },
#include "../ir/problem.def"
};

enum { NFIELDS = sizeof(fields) / sizeof(*fields) };

#define ATTN  "attn q=bf16 kv=int8/token-head heads=8:2 dim=64 page=16"
#define WRITE "write in=bf16 kv=int8/token-head heads=8 dim=128 page=128"
#define QUANT "quant in=bf16 to=int8/token-head heads=8 dim=128"
#define MERGE "merge out=bf16 heads=8 dim=128"
#define INDEX "index kv=index_e4m3 heads=4 dim=64 page=16 topk=8"

#define TRANSCODE "transcode from=e4m3/head/nhd to=int8/token-head heads=4 dim=64 page=16"

/* Two problems of a kind that differ in one field. */
typedef struct flip {
	unsigned kind;
	const char *field, *a, *b;
} flip;

#define GEMM "gemm acts=e4m3/g128 weights=e4m3/g128 block=128 dim=256:512"

#define ATTN_K "attn q=bf16 k=int8/token-head v=e4m3/head heads=8:2 dim=64 page=16"
#define WITH   ATTN " score=\"s + t[k]\" with=t:"

#define PAIRS " with=t:bit mask="

static const flip flips[] = {
	{ A, "mask", ATTN PAIRS "\"t[row,nk]\"", ATTN PAIRS "\"t[nq,nk]\"" },
	{ A, "with", ATTN " with=t:u8 mask=\"t[q,k] > 0\"", ATTN PAIRS "\"t[q,k]\"" },
	{ A, "q", ATTN, "attn q=f16 out=bf16 kv=int8/token-head heads=8:2 dim=64 page=16" },
	{ A, "out", ATTN, ATTN " out=f32" },
	{ A, "kv", ATTN, "attn q=bf16 kv=int8/token-head/div heads=8:2 dim=64 page=16" },
	{ A, "k", ATTN_K, "attn q=bf16 k=e5m2/head v=e4m3/head heads=8:2 dim=64 page=16" },
	{ A, "v", ATTN_K,
	  "attn q=bf16 k=int8/token-head v=e5m2/head heads=8:2 dim=64 page=16" },
	{ A, "heads", ATTN, "attn q=bf16 kv=int8/token-head heads=8:4 dim=64 page=16" },
	{ A, "heads", ATTN, "attn q=bf16 kv=int8/token-head heads=16:2 dim=64 page=16" },
	{ A, "dim", ATTN, "attn q=bf16 kv=int8/token-head heads=8:2 dim=128 page=16" },
	{ A, "dim", ATTN, "attn q=bf16 kv=int8/token-head heads=8:2 dim=64:128 page=16" },
	{ A, "page", ATTN, "attn q=bf16 kv=int8/token-head heads=8:2 dim=64 page=32" },
	{ A, "causal", ATTN, ATTN " causal" },
	{ A, "causal", ATTN " causal", ATTN " causal=seq" },
	{ A, "window", ATTN, ATTN " window=100" },
	{ A, "window", ATTN " window=101", ATTN " window=100" },
	{ A, "chunk", ATTN, ATTN " chunk=64" },
	{ A, "chunk", ATTN " chunk=128", ATTN " chunk=64" },
	{ A, "sparse", ATTN, ATTN " sparse=64" },
	{ A, "sparse", ATTN " sparse=65", ATTN " sparse=64" },
	{ A, "kv2", ATTN, ATTN " kv2=bf16" },
	{ A, "kv2", ATTN " kv2=f16", ATTN " kv2=bf16" },
	{ A, "page2", ATTN " kv2=bf16", ATTN " kv2=bf16 page2=32" },
	{ A, "sparse2", ATTN " sparse=64 kv2=bf16 sparse2=8",
	  ATTN " sparse=64 kv2=bf16 sparse2=9" },
	{ A, "softcap", ATTN, ATTN " softcap=30" },
	{ A, "softcap", ATTN " softcap=30.000002", ATTN " softcap=30" },
	{ A, "alibi", ATTN, ATTN " alibi" },
	{ A, "alibi", ATTN " alibi", ATTN " alibi=sqrt" },
	{ A, "sink", ATTN, ATTN " sink" },
	{ A, "lse", ATTN, ATTN " lse" },
	{ A, "qscale", "attn q=e4m3fn out=bf16 kv=e4m3/head heads=8:2 dim=64 page=16",
	  "attn q=e4m3fn out=bf16 kv=e4m3/head heads=8:2 dim=64 page=16 qscale" },
	{ A, "score", ATTN, ATTN " score=\"s * 2.0\"" },
	{ A, "score", ATTN " score=\"s * 2.5\"", ATTN " score=\"s * 2.0\"" },
	{ A, "mask", ATTN, ATTN " mask=\"k <= q\"" },
	{ A, "mask", ATTN " mask=\"k < q\"", ATTN " mask=\"k <= q\"" },
	{ A, "with", WITH "f32", WITH "bf16" },
	{ W, "in", WRITE, "write in=f16 kv=int8/token-head heads=8 dim=128 page=128" },
	{ W, "kv", WRITE, "write in=bf16 kv=e4m3/head heads=8 dim=128 page=128" },
	{ W, "k", "write in=bf16 k=int8/token-head v=e4m3/head heads=8 dim=128 page=128",
	  "write in=bf16 k=e5m2/head v=e4m3/head heads=8 dim=128 page=128" },
	{ W, "v", "write in=bf16 k=int8/token-head v=e4m3/head heads=8 dim=128 page=128",
	  "write in=bf16 k=int8/token-head v=e5m2/head heads=8 dim=128 page=128" },
	{ W, "heads", WRITE, "write in=bf16 kv=int8/token-head heads=4 dim=128 page=128" },
	{ W, "dim", WRITE, "write in=bf16 kv=int8/token-head heads=8 dim=64 page=128" },
	{ W, "dim", WRITE, "write in=bf16 kv=int8/token-head heads=8 dim=128:64 page=128" },
	{ W, "page", WRITE, "write in=bf16 kv=int8/token-head heads=8 dim=128 page=64" },
	{ Q, "in", QUANT, "quant in=f32 to=int8/token-head heads=8 dim=128" },
	{ Q, "to", QUANT, "quant in=bf16 to=int8/token-head/div heads=8 dim=128" },
	{ Q, "heads", QUANT, "quant in=bf16 to=int8/token-head heads=4 dim=128" },
	{ Q, "scales", "quant in=bf16 to=int8/g64 dim=256",
	  "quant in=bf16 to=int8/g64 dim=256 scales=columns" },
	{ Q, "scales", "quant in=bf16 to=mxfp8 dim=256 scales=packed",
	  "quant in=bf16 to=mxfp8 dim=256 scales=columns" },
	{ Q, "dim", QUANT, "quant in=bf16 to=int8/token-head heads=8 dim=64" },
	{ M, "out", MERGE, "merge out=f16 heads=8 dim=128" },
	{ M, "heads", MERGE, "merge out=bf16 heads=4 dim=128" },
	{ M, "dim", MERGE, "merge out=bf16 heads=8 dim=64" },
	{ M, "lse", MERGE, MERGE " lse" },
	{ G, "in", GEMM, GEMM " in=bf16" },
	{ G, "in", GEMM " in=bf16 out=bf16", GEMM " in=f16 out=bf16" },
	{ G, "out", GEMM, GEMM " out=f32" },
	{ G, "acts", GEMM, "gemm acts=e5m2/g128 weights=e4m3/g128 block=128 dim=256:512" },
	{ G, "weights", GEMM, "gemm acts=e4m3/g128 weights=e4m3/g64 block=128 dim=256:512" },
	{ G, "block", GEMM, "gemm acts=e4m3/g128 weights=e4m3/g128 block=64 dim=256:512" },
	{ G, "packed", GEMM, GEMM " packed" },
	{ G, "dim", GEMM, "gemm acts=e4m3/g128 weights=e4m3/g128 block=128 dim=512" },
	{ P, "weights", "pack weights=e4m3/g128 dim=256:512", "pack weights=bf16 dim=256:512" },
	{ P, "dim", "pack weights=e4m3/g128 dim=256:512",
	  "pack weights=e4m3/g128 dim=512:256" },
	{ I, "q", INDEX, "index q=f16 kv=index_e4m3 heads=4 dim=64 page=16 topk=8" },
	{ I, "kv", INDEX, "index kv=index_e4m3_f32 heads=4 dim=64 page=16 topk=8" },
	{ I, "heads", INDEX, "index kv=index_e4m3 heads=5 dim=64 page=16 topk=8" },
	{ I, "dim", INDEX, "index kv=index_e4m3 heads=4 dim=128 page=16 topk=8" },
	{ I, "page", INDEX, "index kv=index_e4m3 heads=4 dim=64 page=32 topk=8" },
	{ T, "from", TRANSCODE,
	  "transcode from=e4m3/head/hnd to=int8/token-head heads=4 dim=64 page=16" },
	{ T, "to", TRANSCODE,
	  "transcode from=e4m3/head/nhd to=int8/token-head/div heads=4 dim=64 page=16" },
	{ T, "from_v", TRANSCODE,
	  "transcode from=e4m3/head/nhd from_v=bf16/none/nhd to=int8/token-head heads=4 "
	  "dim=64 page=16" },
	{ T, "to_v", TRANSCODE,
	  "transcode from=e4m3/head/nhd to=int8/token-head to_v=bf16 heads=4 dim=64 page=16" },
	{ T, "heads", TRANSCODE,
	  "transcode from=e4m3/head/nhd to=int8/token-head heads=2 dim=64 page=16" },
	{ T, "dim", TRANSCODE,
	  "transcode from=e4m3/head/nhd to=int8/token-head heads=4 dim=64:32 page=16" },
	{ T, "page", TRANSCODE, TRANSCODE ":32" },
	{ I, "topk", INDEX, "index kv=index_e4m3 heads=4 dim=64 page=16 topk=9" },
};

enum { NFLIPS = sizeof(flips) / sizeof(*flips) };

/* What a program's key leaves out: hints, and the target, which the code's key has. */
static bool left_out(const char *field)
{
	return !strcmp(field, "batch") || !strcmp(field, "ctx") || !strcmp(field, "qlen") ||
	       !strcmp(field, "target");
}

static void test_fields(void **state)
{
	(void)state;
	for (unsigned i = 0; i < NFLIPS; i++)
		assert_programs(flips[i].a, flips[i].b, false);
	for (unsigned f = 0; f < NFIELDS; f++)
		for (unsigned kind = A; kind <= T; kind <<= 1) {
			unsigned i = 0;

			if (!(fields[f].kinds & kind) || left_out(fields[f].name))
				continue;
			while (i < NFLIPS && (flips[i].kind != kind ||
			                      strcmp(flips[i].field, fields[f].name) != 0))
				i++;
			if (i == NFLIPS)
				fail_msg("no case for field %s of kind %u", fields[f].name,
				         kind);
		}
}

static void test_hints(void **state)
{
	static const char *const base[] = { ATTN, WRITE, QUANT, MERGE, INDEX, TRANSCODE };
	char text[300];

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		snprintf(text, sizeof(text), "%s batch=7 ctx=900 qlen=3", base[i]);
		assert_programs(base[i], text, true);
		snprintf(text, sizeof(text), "%s target=generic", base[i]);
		assert_programs(base[i], text, true);
	}
	for (unsigned i = 0; i < 6; i++)
		for (unsigned k = 0; k < i; k++)
			assert_programs(base[i], base[k], false);
	assert_programs(ATTN, ATTN " kv_tile=16 qk=f32", true);
}

/* -- code ---------------------------------------------------------------------------------- */

_Static_assert(sizeof(kt_code_of) == 32 && sizeof(kir_target) == 40,
               "a member was added: it needs a case in test_code");
_Static_assert(sizeof(kir_sched) / sizeof(int) <= 32, "knobs are ints");

static void code_key(const kt_code_of *c, kt_key *out)
{
	kt_key program;

	kt_program_key(c->f, &program);
	kt_code_key_of(&program, c, out);
}

static void assert_code(const kt_code_of *a, const kt_code_of *b, bool same, const char *what)
{
	kt_key x, y;

	code_key(a, &x);
	code_key(b, &y);
	assert_key(&x, &y, same, what);
}

static void test_knobs(void **state)
{
	kir_module *m = kir_module_new();
	kir_func *f = func_in(m, ATTN), g;
	kt_code_of a = { f, "x86", NULL, KT_CODEGEN }, b = a;

	(void)state;
	b.f = &g;
	assert_int_equal(kir_nknobs, sizeof(kir_sched) / sizeof(int));
	for (unsigned i = 0; i < kir_nknobs; i++)
		for (int step = -1; step <= 1; step += 2) {
			g = *f;
			assert_code(&a, &b, true, kir_knobs[i].name);
			*kir_sched_knob(&g.sched, i) += step;
			assert_code(&a, &b, false, kir_knobs[i].name);
		}
	/* the same value of another knob is another schedule */
	for (unsigned i = 0; i < kir_nknobs; i++)
		for (unsigned k = 0; k < i; k++) {
			kir_func h = g = *f;

			*kir_sched_knob(&g.sched, i) = *kir_sched_knob(&h.sched, k) = 99;
			a.f = &h;
			assert_code(&a, &b, false, "two knobs");
		}
	kir_module_free(m);
}

static void test_code(void **state)
{
	static const char *const features[] = {
#define FEATURE(name, bit, doc) #name,
#include "../ir/targets.def"
	};
	static const unsigned bits[] = {
#define FEATURE(name, bit, doc) 1u << (bit),
#include "../ir/targets.def"
	};
	kir_module *m = kir_module_new();
	kir_func *f = func_in(m, ATTN), g = *f;
	kir_target t = *f->target;
	kt_code_of a = { f, "x86", NULL, KT_CODEGEN }, b = a;

	(void)state;
	b.f = &g;
	g.target = &t;
	for (unsigned i = 0; i < sizeof(bits) / sizeof(*bits); i++) {
		assert_code(&a, &b, true, "a copy of the target");
		t.features ^= bits[i];
		assert_code(&a, &b, false, features[i]);
		t.features ^= bits[i];
	}
	t.vector_bits *= 2;
	assert_code(&a, &b, false, "vector bits");
	t = *f->target;
	t.vector_regs *= 2;
	assert_code(&a, &b, false, "vector registers");
	t = *f->target;
	t.lanes = 16;
	assert_code(&a, &b, false, "lanes");
	kir_target gpu = t;
	kir_func h = *f;

	h.target = &gpu;
	a.f = &h;
	assert_code(&a, &b, true, "a copy of a GPU");
	gpu.slm_bytes = 1024;
	assert_code(&a, &b, false, "local memory");
	a.f = b.f = f;
	b.backend = "c";
	assert_code(&a, &b, false, "backend");
	b = a;
	b.codegen++;
	assert_code(&a, &b, false, "codegen");
	b.codegen = a.codegen;
	b.skip = "hoist";
	assert_code(&a, &b, false, "skip");
	a.skip = "hoist,cse";
	assert_code(&a, &b, false, "skip two");
	b.skip = "cse,hoist, cse";
	assert_code(&a, &b, true, "order and repeats of skip");
	b.skip = "cseh,oist";
	assert_code(&a, &b, false, "where a word of skip ends");
	a.skip = NULL;
	b.skip = "";
	assert_code(&a, &b, true, "an empty skip");
	kir_module_free(m);
}

/* -- formats ------------------------------------------------------------------------------- */

_Static_assert(sizeof(kir_side) == 88 && sizeof(kir_format) == 304 &&
                   sizeof(struct format_piece) == 12 && sizeof(struct format_item) == 136 &&
                   sizeof(struct kir_format_tensor) == 40,
               "a member was added: it needs a row in test_formats");

/* A declaration in pieces; each row replaces one of them, and must change every key. */
#define NAME_  "f v1"
#define ELEM_  "elem s8"
#define SCALE_ "scale f32 token-head amax/127 floor 1e-06"
#define SEVEN_ "scale f32 token-head amax/7 floor 1e-06"
#define REST_  ""
#define PLACE_ "tensor cache [h t] { k[d] ks v[d] vs }"

static const struct {
	const char *what, *name, *elem, *scale, *rest, *place;
} formats[] = {
	{ "base", NAME_, ELEM_, SCALE_, REST_, PLACE_ },
	{ "rotation", NAME_, ELEM_, SCALE_, "rotate hadamard", PLACE_ },
	{ "its block", NAME_, ELEM_, SCALE_, "rotate hadamard 32", PLACE_ },
	{ "its signs", NAME_, ELEM_, SCALE_, "rotate hadamard signs", PLACE_ },
	{ "mean", NAME_, ELEM_, SCALE_, "k.mean given", PLACE_ },
	{ "unsigned", NAME_, "elem u8", "scale f32 token-head range/255 floor 1e-06", REST_,
	  PLACE_ },
	{ "version", "f v2", ELEM_, SCALE_, REST_, PLACE_ },
	{ "elem", NAME_, "elem e4m3fn", SCALE_, REST_, PLACE_ },
	{ "k.elem", NAME_, "elem s8; k.elem e4m3fn", SCALE_, REST_, PLACE_ },
	{ "v.elem", NAME_, "elem s8; v.elem e4m3fn", SCALE_, REST_, PLACE_ },
	{ "divisor 7", NAME_, "elem s8", SEVEN_, REST_, PLACE_ },
	{ "4 bits", NAME_, "elem s4", SEVEN_, REST_, PLACE_ },
	{ "pack", NAME_, "elem s4", SEVEN_, "pack 4", PLACE_ },
	{ "v.pack", NAME_, "elem s4", SEVEN_, "v.pack 4", PLACE_ },
	{ "down", NAME_, ELEM_, "scale f32 token-head amax/127 floor 1e-06 pow2-down", REST_,
	  PLACE_ },
	{ "near", NAME_, ELEM_, "scale f32 token-head amax/127 floor 1e-06 pow2-near", REST_,
	  PLACE_ },
	{ "two divisors", NAME_, ELEM_, "scale f32 group 16 amax/127 or 64 floor 1e-06", REST_,
	  "tensor cache [h t] { k[d] ks[g] v[d] vs[g] }" },
	{ "global", NAME_, ELEM_, "scale f32 token-head amax/127 floor 1e-06 global", REST_,
	  PLACE_ },
	{ "scale elem", NAME_, ELEM_, "scale bf16 token-head amax/127 floor 1e-06", REST_,
	  PLACE_ },
	{ "granularity", NAME_, ELEM_, "scale f32 head given", REST_,
	  "tensor cache [h t] { k[d] v[d] }" },
	{ "tensor granularity", NAME_, ELEM_, "scale f32 tensor given", REST_,
	  "tensor cache [h t] { k[d] v[d] }" },
	{ "group", NAME_, ELEM_, "scale f32 group 16 amax/127 floor 1e-06", REST_,
	  "tensor cache [h t] { k[d] ks[g] v[d] vs[g] }" },
	{ "group size", NAME_, ELEM_, "scale f32 group 32 amax/127 floor 1e-06", REST_,
	  "tensor cache [h t] { k[d] ks[g] v[d] vs[g] }" },
	{ "rule", NAME_, ELEM_, "scale f32 token-head amax/127 floor 1e-06 pow2", REST_,
	  PLACE_ },
	{ "divisor", NAME_, ELEM_, "scale f32 token-head amax/126 floor 1e-06", REST_, PLACE_ },
	{ "divisor's last bit", NAME_, ELEM_,
	  "scale f32 token-head amax/127.00000000000001 floor 1e-06", REST_, PLACE_ },
	{ "floor", NAME_, ELEM_, "scale f32 token-head amax/127 floor 1e-05", REST_, PLACE_ },
	{ "eps", NAME_, ELEM_, "scale f32 token-head amax/127 eps 1e-06", REST_, PLACE_ },
	{ "eps and floor", NAME_, ELEM_, "scale f32 token-head amax/127 eps 1e-06 floor 1e-06",
	  REST_, PLACE_ },
	{ "inverse", NAME_, ELEM_, "scale f32 token-head amax*1/127 floor 1e-06", REST_,
	  PLACE_ },
	{ "apply", NAME_, ELEM_, SCALE_, "apply reciprocal", PLACE_ },
	{ "v.apply", NAME_, ELEM_, SCALE_, "v.apply reciprocal", PLACE_ },
	{ "round away", NAME_, ELEM_, SCALE_, "round away", PLACE_ },
	{ "round zero", NAME_, ELEM_, SCALE_, "round zero", PLACE_ },
	{ "k.round", NAME_, ELEM_, SCALE_, "k.round away", PLACE_ },
	{ "nan max", NAME_, "elem e4m3fn", SCALE_, "nan max", PLACE_ },
	{ "nan zero", NAME_, ELEM_, SCALE_, "nan zero", PLACE_ },
	{ "tensor's name", NAME_, ELEM_, SCALE_, REST_,
	  "tensor other [h t] { k[d] ks v[d] vs }" },
	{ "axes", NAME_, ELEM_, SCALE_, REST_, "tensor cache [t h] { k[d] ks v[d] vs }" },
	{ "fewer axes", NAME_, ELEM_, SCALE_, REST_,
	  "tensor cache [h] { [t] { k[d] ks v[d] vs } }" },
	{ "order", NAME_, ELEM_, SCALE_, REST_, "tensor cache [h t] { k[d] ks vs v[d] }" },
	{ "place", NAME_, ELEM_, SCALE_, REST_, "tensor cache [h t] { ks vs k[d] v[d] }" },
	{ "pad", NAME_, ELEM_, SCALE_, REST_, "tensor cache [h t] { k[d] ks v[d] vs pad 8 }" },
	{ "size of pad", NAME_, ELEM_, SCALE_, REST_,
	  "tensor cache [h t] { k[d] ks v[d] vs pad 16 }" },
	{ "place of pad", NAME_, ELEM_, SCALE_, REST_,
	  "tensor cache [h t] { k[d] ks pad 8 v[d] vs }" },
	{ "align", NAME_, ELEM_, SCALE_, REST_,
	  "tensor cache [h t] { k[d] ks v[d] vs align 64 }" },
	{ "size of align", NAME_, ELEM_, SCALE_, REST_,
	  "tensor cache [h t] { k[d] ks v[d] vs align 128 }" },
	{ "two tensors", NAME_, ELEM_, SCALE_, REST_,
	  "tensor a [h t] { k[d] ks }; tensor b [h t] { v[d] vs }" },
	{ "order of tensors", NAME_, ELEM_, SCALE_, REST_,
	  "tensor b [h t] { v[d] vs }; tensor a [h t] { k[d] ks }" },
	{ "pieces", NAME_, ELEM_, SCALE_, REST_,
	  "tensor cache [h t] { k[d/16 d%16] pad 4 ks v[d] vs }" },
	{ "digits", NAME_, ELEM_, SCALE_, REST_,
	  "tensor cache [h] { [t/16 t%16] { k[d] ks v[d] vs } }" },
	{ "other digits", NAME_, ELEM_, SCALE_, REST_,
	  "tensor cache [h] { [t/8 t%8] { k[d] ks v[d] vs } }" },
	{ "order of digits", NAME_, ELEM_, SCALE_, REST_,
	  "tensor cache [h] { [t%8 t/8] { k[d] ks v[d] vs } }" },
	{ "a leaf's stream", NAME_, ELEM_, SCALE_, REST_,
	  "tensor cache [h t] { v[d] ks k[d] vs }" },
	{ "shared values", NAME_, ELEM_, SCALE_, "values shared",
	  "tensor cache [h t] { k[d] ks }" },
	{ "size of keys", NAME_, ELEM_, SCALE_, "keys 64", PLACE_ },
	{ "rest", NAME_, ELEM_, SCALE_, "rest 16",
	  "tensor cache [h t] { k[d] r[d] ks rs v[d] vs }" },
	{ "length of rest", NAME_, ELEM_, SCALE_, "rest 32",
	  "tensor cache [h t] { k[d] r[d] ks rs v[d] vs }" },
	{ "r.elem", NAME_, ELEM_, SCALE_, "rest 16; r.elem bf16; r.scale none",
	  "tensor cache [h t] { k[d] r[d] ks v[d] vs }" },
	{ "r.round", NAME_, ELEM_, SCALE_, "rest 16; r.round away",
	  "tensor cache [h t] { k[d] r[d] ks rs v[d] vs }" },
	{ "place of rest", NAME_, ELEM_, SCALE_, "rest 16",
	  "tensor cache [h t] { r[d] k[d] ks rs v[d] vs }" },
	{ "name", "g v1", ELEM_, SCALE_, REST_, PLACE_ },
};

enum { NFORMATS = sizeof(formats) / sizeof(*formats) };

static void declare(unsigned i, char *out, size_t len, const char *problem)
{
	snprintf(out, len, "format %s {\n%s\n%s\n%s\n%s\n}\n%s", formats[i].name,
	         formats[i].elem, formats[i].scale, formats[i].rest, formats[i].place, problem);
}

/* A problem of each kind over the format; the name is its first letter. */
static void over(unsigned i, unsigned kind, char *out, size_t len)
{
	char problem[200];

	snprintf(problem, sizeof(problem),
	         kind == 0   ? "attn q=bf16 kv=%c heads=8:2 dim=64 page=16"
	         : kind == 1 ? "write in=bf16 kv=%c heads=2 dim=64 page=16"
	                     : "quant in=bf16 to=%c heads=2 dim=64",
	         formats[i].name[0]);
	declare(i, out, len, problem);
}

/* Any two rows differ, for readers and writers. */
static void test_formats(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < 3; kind++) {
		kt_key key[NFORMATS];
		char text[1000], what[200];

		for (unsigned i = 0; i < NFORMATS; i++) {
			over(i, kind, text, sizeof(text));
			key[i] = program_of(text);
			for (unsigned k = 0; k < i; k++) {
				snprintf(what, sizeof(what), "%s and %s", formats[i].what,
				         formats[k].what);
				assert_key(&key[i], &key[k], false, what);
			}
		}
	}
}

/* A format's name says nothing of it, and is all that the text of an op has: wherever one is
 * named, two declarations of one name are two programs. Once those of a product's factors
 * weren't, and the second got the first one's code. */
static void test_names_of_formats(void **state)
{
	static const char *const problems[] = {
		"attn q=bf16 kv=f heads=8:2 dim=64 page=16",
		"gemm acts=f weights=mxfp4 dim=64:64",
		"gemm acts=mxfp4 weights=f dim=64:64",
		"transcode from=f to=bf16 heads=2 dim=64 page=16",
		"transcode from=bf16 to=f heads=2 dim=64 page=16",
	};
	char text[2][400];

	(void)state;
	for (size_t i = 0; i < sizeof(problems) / sizeof(*problems); i++) {
		for (int k = 0; k < 2; k++)
			snprintf(
			    text[k], sizeof(text[k]),
			    "format f v1 {\nelem e2m1\npack %d\nscale e8m0 group 32 amax/6 "
			    "pow2\ntensor cache [h t] { k[d] ks[g] v[d] vs[g] }\n}\n%s",
			    k ? 4 : 1, problems[i]);
		assert_programs(text[0], text[1], false);
	}
}

/* -- what must not matter ------------------------------------------------------------------ */

static void test_spelling(void **state)
{
	static const char *const same[][2] = {
		{ ATTN " causal lse",
		  "attn page=16 lse dim=64 heads=8:2 causal kv=int8/token-head q=bf16" },
		{ ATTN, "  attn   q=bf16 kv=int8/token-head   heads=8:2 dim=64:64 page=16  " },
		{ ATTN, "# a comment\n" ATTN },
		{ "attn q=bf16 kv=int8/token-head/inline heads=8:2 dim=64 page=16",
		  "attn q=bf16 out=bf16 kv=int8_per_token_head heads=8:2 dim=64 page=16" },
		{ ATTN " softcap=30", ATTN " softcap=3e1" },
		{ ATTN " score=\"s * 2.0\"", ATTN " score=\"s*2.0\"" },
		{ ATTN " mask=\"k <= q\"", ATTN " mask=\"(k<=q)\"" },
		{ "format f v1 {\nelem s8\n" SCALE_ "\n" PLACE_ "\n}\n"
		  "attn q=bf16 kv=f heads=8:2 dim=64 page=16",
		  "format f v1 { " PLACE_
		  " # where\n v.elem s8 ; k.elem s8; round even\n nan keep;"
		  "apply divide\n scale f32 token-head amax/127.0 floor 0.000001\n }\n"
		  "attn q=bf16 kv=f heads=8:2 dim=64 page=16" },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(same) / sizeof(*same); i++)
		assert_programs(same[i][0], same[i][1], true);
}

static void test_surroundings(void **state)
{
	static const char *const names[] = { "de_DE.UTF-8", "de_DE.utf8", "de_DE",
		                             "fr_FR.UTF-8" };
	char text[1000];
	kt_key before, after;
	bool found = false;

	(void)state;
	over(0, 0, text, sizeof(text));
	strcat(text, " softcap=30.5 score=\"s * 2.5\"");
	before = program_of(text);
	setenv("TZ", "Asia/Kathmandu", 1);
	setenv("HOME", "/nowhere", 1);
	setenv("KVJIT_CACHE_DIR", "/nowhere", 1);
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names) && !found; i++)
		found = setlocale(LC_ALL, names[i]) != NULL;
	if (!found)
		print_message("no locale with a decimal comma is installed: left out\n");
	after = program_of(text);
	setlocale(LC_ALL, "C");
	assert_key(&before, &after, true, "locale, TZ, HOME");
}

/* Other formats declared before and in any order, other programs' types interned before,
 * several functions in one module: the same keys. */
static void test_orders(void **state)
{
	static const char *const others[] = { WRITE, QUANT, MERGE, ATTN " causal lse",
		                              ATTN " softcap=20 sink" };
	kt_key want[NFORMATS][3];
	uint64_t x = 88172645463325252u;
	char text[1000];

	(void)state;
	for (unsigned i = 0; i < NFORMATS; i++)
		for (unsigned kind = 0; kind < 3; kind++) {
			over(i, kind, text, sizeof(text));
			want[i][kind] = program_of(text);
		}
	for (int round = 0; round < 2000; round++) {
		kir_module *m = kir_module_new();
		bool has[2] = { false, false }; /* f and g: one declaration each in a module */

		for (int step = 0; step < 4; step++) {
			unsigned i, kind;
			kt_key k;

			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			i = (unsigned)(x >> 8) % NFORMATS;
			kind = (unsigned)(x >> 32) % 3;
			if (x & 1 || has[formats[i].name[0] == 'g']) {
				func_in(m, others[(x >> 40) % 5]);
				continue;
			}
			has[formats[i].name[0] == 'g'] = true;
			over(i, kind, text, sizeof(text));
			kt_program_key(func_in(m, text), &k);
			assert_key(&k, &want[i][kind], true, formats[i].what);
		}
		kir_module_free(m);
	}
}

/* -- golden -------------------------------------------------------------------------------- */

/* Keys that users' caches and packs hold. When the text form, a built-in format or a hash's
 * fields change on purpose, raise KT_CODEGEN and store what this test prints. */
static const struct {
	const char *text, *program, *code;
} golden[] = {
	{ ATTN, "a607d681d00243bd8a4dfaad81e4b1dffa0ed61424879339893bd3c0a9e8a6fe",
	  "7ed9b37b7341668898cfb4503e06f1af5abb04cb8dcc65f9e10d22863140b1c3" },
	{ ATTN " causal window=100 softcap=30 lse",
	  "b0b2e5e1720846121766048eed220a880b7d4dd0c1d5b464902ea927903cf4d9",
	  "11c9fadfb16e7b209ad51e83c5f4b26ff2891bd28ef6e0cbc9ced1ceb85e9751" },
	{ "attn q=bf16 kv=e4m3/head heads=32:8 dim=128 page=128",
	  "b5abf72f6a0b70131acbac7b6e7028cd0eb76adad8279e1271e5804afa607ba7",
	  "658546dbfbd2518aed1ef587318d55a5354843d7efbbbcc9c2f9ddc109696161" },
	{ WRITE, "bf14b3a84d9ad82c58f673a4561d978b8b5ace8e7c5162d06d69323c961ea70d",
	  "08e813e418912e2e24c9edd5835d66f801ed8b44e182d04b1fc50fcefbd7cd48" },
	{ QUANT, "4af17118c00d0a891929b3ec52b7ca0f50af3e64d431296d74a889a785c7448f",
	  "7e47d0f6407b86b03c4386658b56eb220a877d5a4199e8d321339ffa16a7a744" },
	{ MERGE, "4eb744bc1f2ff4f4231979fcfca5b7d375604a201ff2f2d83c8edc5ccdb3ce7a",
	  "f266822b9d0adbabe4d1cc755e2bbb8a003be875f5fd50b8c1a6664a7cde8446" },
};

static void test_golden(void **state)
{
	bool same = true;

	(void)state;
	for (unsigned i = 0; i < sizeof(golden) / sizeof(*golden); i++) {
		kir_module *m = kir_module_new();
		kir_func *f = func_in(m, golden[i].text);
		kt_code_of c = { f, "x86", "hoist", 1 };
		char program[KT_HEX], code[KT_HEX];
		kt_key k;

		kt_program_key(f, &k);
		kt_key_hex(&k, program);
		code_key(&c, &k);
		kt_key_hex(&k, code);
		kir_module_free(m);
		if (strcmp(program, golden[i].program) != 0 ||
		    strcmp(code, golden[i].code) != 0) {
			print_message("%s:\n\"%s\", \"%s\"\n", golden[i].text, program, code);
			same = false;
		}
	}
	if (!same)
		fail_msg("keys that caches hold have changed. If that is meant (a knob more, "
		         "another "
		         "text), raise KT_CODEGEN and put the lines above into `golden`");
}

static void test_machine(void **state)
{
	static const char want[] = "avx2 l1=32 l2=512 processors=4 isa=avx,fma,avx2";
	kir_target t = *kir_target_find("avx2"), u = t;
	uint64_t isa = KBE_ISA(avx) | KBE_ISA(fma) | KBE_ISA(avx2);
	kir_text text = { 0 };
	kt_key a, b;

	(void)state;
	kt_machine_text(&t, isa, 4, &text);
	assert_string_equal(text.text, want);
	free(text.text);
	kt_machine_key(&t, isa, 4, &a);
	kt_machine_key(&u, isa, 4, &b);
	assert_key(&a, &b, true, "a copy of a machine");
	kt_machine_key(&t, isa, 5, &b);
	assert_key(&a, &b, false, "processors");
	for (unsigned i = 0; i < KBE_NISA; i++) {
		kt_machine_key(&t, isa ^ UINT64_C(1) << i, 4, &b);
		assert_key(&a, &b, false, kbe_isas[i].name);
	}
	u.l1_bytes += 1024;
	kt_machine_key(&u, isa, 4, &b);
	assert_key(&a, &b, false, "l1");
	u = t;
	u.l2_bytes += 1024;
	kt_machine_key(&u, isa, 4, &b);
	assert_key(&a, &b, false, "l2");
	u = t;
	u.name = "avx2-x";
	kt_machine_key(&u, isa, 4, &b);
	assert_key(&a, &b, false, "name");
}

static void test_hex(void **state)
{
	char hex[KT_HEX], bad[KT_HEX + 2];
	kt_key k, back = { { 9 } };

	(void)state;
	kt_hash("abc", 3, &k);
	kt_key_hex(&k, hex);
	/* BLAKE2b-256 of "abc" */
	assert_string_equal(hex,
	                    "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
	assert_true(kt_key_parse(hex, &back) && kt_key_equal(&k, &back));
	back.b[31] ^= 1;
	assert_false(kt_key_equal(&k, &back));
	for (int i = 0; i < KT_HEX - 1; i++) {
		strcpy(bad, hex);
		bad[i] = 'g';
		assert_false(kt_key_parse(bad, &back));
		bad[i] = 0;
		assert_false(kt_key_parse(bad, &back));
	}
	snprintf(bad, sizeof(bad), "%s0", hex);
	assert_false(kt_key_parse(bad, &back));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_hints),
		cmocka_unit_test(test_knobs),
		cmocka_unit_test(test_code),
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_spelling),
		cmocka_unit_test(test_names_of_formats),
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_surroundings),
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_machine),
		cmocka_unit_test(test_hex),
	};

	return cmocka_run_group_tests_name("key", tests, NULL, NULL);
}
