/* SPDX-License-Identifier: Apache-2.0 */
/* test_random_attention.c -- kernels of random problems and schedules on the targets of this
 * machine against the interpreter at level A: attention within bounds, writers to the byte.
 *
 * The data and the bounds are those of `kvjit check`: mixed batches with empty sequences,
 * every buffer between inaccessible pages, NaN codes and NaN scales in slots that no sequence
 * uses. A problem is a function of its number, so a failure is repeated by
 *
 *     KVJIT_SEED=17 test_random_attention
 *
 * The bits don't depend on how many threads there are, split sequences included.
 * tests/bugs holds problems that were once computed wrong; each runs on every target.
 */
#include "../tools/check/check.h"
#include "../tools/random.h"
#include "support_blob.h"
#include "support_check.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PROBLEMS = 80, EACH = 3, TEXT = 800 };
/* Seeds from here on are problems of make_token_scales. */
enum { TOKEN_SCALES = 1000000, TOKEN_PROBLEMS = 10 };

typedef struct rng {
	uint64_t s;
} rng;

static int64_t pick(rng *r, int64_t lo, int64_t hi)
{
	return lo + (int64_t)(random_bits(&r->s) % (uint64_t)(hi - lo + 1));
}

static bool one_in(rng *r, int n)
{
	return pick(r, 1, n) == 1;
}

#define WORD(r, ...)                                \
	((const char *const[]){ __VA_ARGS__ }[pick( \
	    r, 0, sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *) - 1)])

static void add(char *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(char *text, const char *fmt, ...)
{
	size_t n = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + n, TEXT - n, fmt, ap);
	va_end(ap);
}

/* -- problems -------------------------------------------------------------------------- */

static void add_format(rng *r, char *text, const char *field)
{
	const char *e =
	    WORD(r, "int8", "int8", "e4m3", "e5m2", "e4m3fnuz", "e5m2fnuz", "bf16", "f16");
	const char *place =
	    WORD(r, "native", "native", "inline", "split", "nhd", "hnd", "x", "amx");
	bool wide = !strcmp(e, "bf16") || !strcmp(e, "f16");
	if (one_in(r, 4)) { /* codes of 4 bits, and block formats: the rule names the rest */
		add(text, " %s=%s/%s", field,
		    WORD(r, "int4", "int4/g32", "mxfp4", "mxfp4/ceil", "mxfp4/near", "nvfp4",
		         "mxfp8", "mxfp8/ocp", "uint4", "uint4/g32"),
		    strcmp(place, "x") ? place : "page");
		return;
	}
	const char *gran =
	    wide ? "none" : WORD(r, "tensor", "head", "token-head", "token-head", "g16");

	add(text, " %s=%s/%s/%s", field, e, gran, place);
}

/* Some formats store keys less a mean; by numbers of its own, so that the rest of a problem
 * doesn't depend on it. */
static void add_mean(const rng *r, char *text)
{
	rng own = { r->s ^ 0x6d65616e };

	if (one_in(&own, 6))
		add(text, "/centered");
}

static void add_shape(rng *r, char *text, int *page)
{
	static const int groups[] = { 1, 2, 3, 4, 5, 7, 8 };
	int kv = (int)pick(r, 1, 3), group = groups[pick(r, 0, 6)];
	int dk = 16 * (int)pick(r, 1, one_in(r, 3) ? 36 : 8);
	int dv = one_in(r, 3) ? 16 * (int)pick(r, 1, 12) : dk;

	if (strstr(text, "mxfp") || strstr(text, "int4") || strstr(text, "nvfp4")) {
		dk = (dk + 31) / 32 * 32;
		dv = (dv + 31) / 32 * 32;
	}
	while (kv * group * (dk + dv) > 1600 && (kv > 1 || group > 1))
		kv > 1 ? kv-- : group--;
	*page = 8 * (int)(one_in(r, 3) ? pick(r, 1, 16) : pick(r, 1, 4));
	add(text, " heads=%d:%d dim=%d:%d page=%d", kv * group, kv, dk, dv, *page);
}

static void add_masks(rng *r, char *text)
{
	if (one_in(r, 2))
		add(text, one_in(r, 4) ? " causal=seq" : " causal");
	if (one_in(r, 4))
		add(text, " window=%d", (int)pick(r, 1, 60));
	else if (one_in(r, 5))
		add(text, " chunk=%d", (int)pick(r, 1, 60));
	if (one_in(r, 5))
		add(text, " softcap=%d", (int)pick(r, 1, 30));
	if (one_in(r, 5))
		add(text, one_in(r, 3) ? " alibi=sqrt" : " alibi");
	if (one_in(r, 4))
		add(text, " sink");
	if (one_in(r, 3))
		add(text, " lse");
	if (one_in(r, 6))
		add(text, " qscale");
	if (one_in(r, 6))
		add(text, " %s",
		    WORD(
		        r, "mask=\"doc[q] == doc[k]\" with=doc:s32",
		        "mask=\"k % 3 != 1 || k == q\"",
		        "mask=\"q - k < 9 && h % 2 == 0 || k < 4\"",
		        "mask=\"doc[k] <= doc[q]\" score=\"s * 0.5 + w[h]\" with=doc:s32,w:f32",
		        "score=\"s - 0.01 * abs(q - k)\"",
		        "score=\"k < 8 ? s + 1 : s * 0.5\""));
}

/* What a mask or score reads for each pair of query and key; by numbers of its own. */
static void add_pairs(const rng *r, char *text)
{
	rng own = { r->s ^ 0x74726565 };

	if (strstr(text, "mask=") || strstr(text, "score=") || !one_in(&own, 4))
		return;
	add(text, " %s",
	    WORD(&own, "mask=\"k <= q && (k < past || tree[nq,nk])\" with=tree:bit",
	         "mask=\"k < past || tree[row,nk]\" with=tree:bit",
	         "mask=\"seen[row,k]\" with=seen:bit",
	         "mask=\"k <= q && seen[row,k] != 0 || k == q\" with=seen:u8",
	         "score=\"k < past ? s : s + bias[nq,nk]\" with=bias:f32",
	         "score=\"s + bias[row,k]\" with=bias:bf16",
	         "score=\"s + bias[h,nq,nk]\" with=bias:f16",
	         "score=\"s + near[h,min(abs(q-k),31)]\" with=near:f32"));
}

static void make_problem(rng *r, char *text, int *page)
{
	const char *q = WORD(r, "bf16", "bf16", "f16", "f32", "f32", "e4m3fn");

	*text = 0;
	add(text, "attn q=%s out=%s", q, WORD(r, "bf16", "f16", "f32"));
	if (one_in(r, 5)) {
		add_format(r, text, "k");
		add_format(r, text, "v");
	} else {
		add_format(r, text, "kv");
		add_mean(r, text);
	}
	add_shape(r, text, page);
	add_masks(r, text);
	add_pairs(r, text);
	if (strstr(text, " kv=") && one_in(r, 6))
		add(text, " kv2=%s page2=%d",
		    WORD(r, "bf16", "f16/hnd", "int8/token-head", "int8/g16/inline",
		         "e4m3/head", "e5m2fnuz/token-head/split"),
		    8 * (int)pick(r, 1, 6));
}

static int divisor(rng *r, int page)
{
	int d;

	do
		d = (int)pick(r, 1, page < 128 ? page : 128);
	while (page % d || d < 4);
	return d;
}

/* A cache write or a quantizer, with every rounding variant. */
static void make_writer(rng *r, char *text)
{
	const char *e = WORD(r, "int8", "e4m3", "e5m2", "e4m3fnuz", "e5m2fnuz", "bf16", "f16");
	bool wide = !strcmp(e, "bf16") || !strcmp(e, "f16"), quant = !wide && one_in(r, 4);
	int dk = 16 * (int)pick(r, 1, 12), dv = one_in(r, 3) ? 16 * (int)pick(r, 1, 8) : dk;

	*text = 0;
	rng own = { r->s ^ 0x6f766572 };
	if (one_in(r, 3)) {
		quant = one_in(r, 4);
		add(text, "%s in=%s %s=%s", quant ? "quant" : "write",
		    WORD(r, "bf16", "f16", "f32"), quant ? "to" : "kv",
		    WORD(r, "int4", "int4/g32", "mxfp4", "mxfp4/near", "nvfp4", "mxfp8/ocp",
		         "uint4", "uint4/g32"));
		if (strstr(text, "nvfp4") && one_in(&own, 2))
			add(text, "/4over6");
		add(text, "%s heads=%d dim=%d", WORD(r, "", "/inline", "/split", "/page"),
		    (int)pick(r, 1, 9), (dk + 31) / 32 * 32);
		if (!quant)
			add(text, ":%d page=%d parts=%d", (dv + 31) / 32 * 32,
			    8 * (int)pick(r, 1, 16), (int)pick(r, 0, 5));
		return;
	}
	const char *nan_max = strcmp(e, "int8") ? "/nan-max" : ""; /* integers have no NaN */

	add(text, "%s in=%s %s=%s/%s/%s%s", quant ? "quant" : "write",
	    WORD(r, "bf16", "f16", "f32"), quant ? "to" : "kv", e,
	    wide ? "none" : WORD(r, "tensor", "head", "token-head", "g16"),
	    WORD(r, "native", "inline", "split", "nhd", "hnd", "x"),
	    wide ? "" : WORD(r, "", "/div", "/rcp", "/even", "/away", "/zero", nan_max));
	if (!quant)
		add_mean(r, text);
	add(text, " heads=%d dim=%d", (int)pick(r, 1, 9), dk);
	if (!quant)
		add(text, ":%d page=%d parts=%d", dv, 8 * (int)pick(r, 1, 16),
		    (int)pick(r, 0, 5));
}

/* A quantizer of whole rows by groups: its rule, any length of row, where its scales go. */
static void make_group_quant(rng *r, char *text)
{
	const char *e = WORD(r, "s8", "e4m3fn", "e5m2", "e4m3fnuz"),
	           *s = WORD(r, "f32", "e8m0");
	int group = one_in(r, 2) ? 8 * (int)pick(r, 1, 20) : 128, n = (int)pick(r, 1, 9);
	bool pow2 = !strcmp(s, "e8m0") || one_in(r, 3), packed = *s == 'e' && one_in(r, 2);

	*text = 0;
	add(text, "format rule v1 {\n elem %s\n scale %s group %d amax%s%d", e, s, group,
	    WORD(r, "/", "*1/"), *e == 's' ? 127 : 448);
	add(text, "%s%s%s\n", pow2 && one_in(r, 3) ? "" : WORD(r, " eps 1e-10", " eps 0.25"),
	    WORD(r, "", " floor 1e-10"), pow2 ? " pow2" : "");
	add(text, " apply %s\n round %s\n nan %s\n}\n", WORD(r, "divide", "reciprocal"),
	    WORD(r, "even", "zero", "away"), WORD(r, "keep", "max", "zero"));
	add(text, "quant in=%s to=rule dim=%d scales=%s", WORD(r, "bf16", "f16", "f32"),
	    group * (one_in(r, 4) ? 8 * n : n), packed ? "packed" : WORD(r, "rows", "columns"));
}

/* A matrix product of any sizes, or the packing of its weights. */
static void make_gemm(rng *r, char *text)
{
	static const char *const scaled[] = { "e4m3/g128", "e4m3/g64",
		                              "e4m3/g32",  "mxfp8",
		                              "e5m2/g32",  "int8/token-head",
		                              "int8/g64",  "bf16",
		                              "f16",       "e4m3fnuz/token-head",
		                              "mxfp4",     "int4/g32",
		                              "int4",      "mxfp4/inline/ceil" };
	enum { N = sizeof(scaled) / sizeof(*scaled) };
	const char *acts = scaled[pick(r, 0, N - 1)], *weights = scaled[pick(r, 0, N - 1)];
	bool in = !strcmp(acts, "mxfp8") || !strcmp(acts, "e4m3/g32") || strstr(acts, "mxfp4");
	bool two = strstr(acts, "p4") || strstr(weights, "p4") || strstr(acts, "int4") ||
	           strstr(weights, "int4");
	int k = one_in(r, 3) ? (int)pick(r, 1, 40) : (int)pick(r, 1, 400);
	int n = one_in(r, 3) ? (int)pick(r, 1, 20) : (int)pick(r, 1, 300);

	*text = 0;
	k = two ? (k + 7) / 8 * 8 : k; /* rows of codes of 4 bits are of whole words */
	if (one_in(r, 6)) {
		add(text, "pack weights=%s dim=%d:%d", weights, k, n);
		return;
	}
	add(text, "gemm out=%s acts=%s weights=%s block=%s%s", WORD(r, "bf16", "f16", "f32"),
	    acts, weights, WORD(r, "1", "1", "64", "128", "48", "32"), WORD(r, "", " packed"));
	if (in && one_in(r, 2))
		add(text, " in=%s dim=%d:%d", WORD(r, "bf16", "f32"), (k + 31) / 32 * 32, n);
	else
		add(text, " dim=%d:%d", k, n);
	if (one_in(r, 3))
		add(text, " m_tile=%s n_tile=%s", WORD(r, "1", "4", "5", "16"),
		    WORD(r, "0", "16"));
	if (one_in(r, 2)) /* so many that they share what is widened */
		add(text, " qlen=%s n_chunk=%s", WORD(r, "10", "40", "64", "500"),
		    WORD(r, "0", "64", "128", "192"));
	if (one_in(r, 4))
		add(text, " qk=%s rows=%d", WORD(r, "f32", "bf16"), (int)pick(r, 0, 6));
}

/* One cache into another: any two formats whose rows have the same parts. */
static void make_transcode(rng *r, char *text)
{
	*text = 0;
	if (one_in(r, 5)) {
		const char *from = WORD(r, "mla_bf16", "mla_e4m3", "fp8_ds_mla", "mla_f16"),
		           *to = WORD(r, "mla_bf16", "fp8_ds_mla_f32", "fp8_ds_mla", "mla_f16");

		add(text, "transcode from=%s to=%s dim=576:512", from, to);
	} else {
		int dk = 32 * (int)pick(r, 1, 6),
		    dv = one_in(r, 3) ? 32 * (int)pick(r, 1, 4) : dk;

		add(text, "transcode");
		add_format(r, text, "from");
		add_format(r, text, "to");
		if (one_in(r, 4))
			add_format(r, text, "from_v");
		if (one_in(r, 4))
			add_format(r, text, "to_v");
		add(text, " heads=%d dim=%d:%d", (int)pick(r, 1, 5), dk, dv);
	}
	add(text, " page=%d:%d parts=%d", 8 * (int)pick(r, 1, 8), 8 * (int)pick(r, 1, 8),
	    (int)pick(r, 0, 5));
}

/* Keys with a scale for each element and group of tokens: read, or moved to or from there. */
static void make_token_scales(rng *r, char *text, int *page)
{
	int tokens = 16 * (one_in(r, 3) ? (int)pick(r, 1, 8) : (int)pick(r, 1, 2));
	int kv = (int)pick(r, 1, 3), dim = 32 * (int)pick(r, 1, 5);
	char format[40] = "";

	snprintf(format, sizeof format, "%s/c%d%s",
	         WORD(r, "int8", "int8", "e4m3", "e5m2", "int4", "uint4", "uint4", "e2m1"),
	         tokens, WORD(r, "", "", "/amx", "/div"));
	*page = tokens * (int)pick(r, 1, 3);
	*text = 0;
	if (one_in(r, 2)) {
		bool to = !one_in(r, 3);
		const char *other =
		    WORD(r, "bf16", "f16/none/inline", "int8/token-head", "uint4/g32", format);

		add(text, "transcode from=%s to=%s heads=%d dim=%d page=%d:%d parts=%d",
		    to ? other : format, to ? format : other, kv, dim,
		    to && strcmp(other, format) != 0 ? 8 * (int)pick(r, 1, 8) : *page,
		    to || !strcmp(other, format) ? *page : 8 * (int)pick(r, 1, 8),
		    (int)pick(r, 0, 5));
		return;
	}
	add(text, "attn q=%s out=f32 kv=%s heads=%d:%d dim=%d page=%d",
	    WORD(r, "bf16", "f16", "f32"), format, kv * (int)pick(r, 1, 4), kv, dim, *page);
	add_masks(r, text);
	if (one_in(r, 3))
		add(text, " kv2=bf16 page2=%d", 16 * (int)pick(r, 1, 4));
}

/* An indexer over keys of any of its formats. */
static void make_index(rng *r, char *text, int *page)
{
	*text = 0;
	*page = 8 * (int)pick(r, 1, 8);
	add(text, "index q=%s kv=%s heads=%d dim=%d page=%d topk=%d",
	    WORD(r, "bf16", "f16", "f32", "e4m3fn"),
	    WORD(r, "index_e4m3", "index_e4m3_f32", "index_mxfp4", "index_mxfp8",
	         "index_mxfp8_row"),
	    (int)pick(r, 1, 20), 32 * (int)pick(r, 1, 5), *page, (int)pick(r, 1, 90));
	if (one_in(r, 2))
		add(text, " kv_tile=%d", divisor(r, *page));
}

static void make_schedule(rng *r, char *sched, int page)
{
	*sched = 0;
	add(sched, "q_tile=%d", (int)pick(r, 0, 8));
	if (one_in(r, 2))
		add(sched, " kv_tile=%d", divisor(r, page));
	if (one_in(r, 2))
		add(sched, " split=%d", page * (int)pick(r, 1, 2));
	if (one_in(r, 3))
		add(sched, " qk=%s pv=%s", WORD(r, "f32", "bf16", "int8", "int8x2"),
		    WORD(r, "f32", "bf16", "int8", "int8x2"));
	if (one_in(r, 3))
		add(sched, " rows=%d cols=%d unroll=%d", (int)pick(r, 0, 9), (int)pick(r, 0, 5),
		    (int)pick(r, 0, 8));
	if (one_in(r, 3))
		add(sched, " fuse=%s decode=%s", WORD(r, "off", "on"),
		    WORD(r, "table", "shift"));
	if (one_in(r, 3))
		add(sched, " prefetch=%s hint=%s", WORD(r, "off", "one", "three", "both"),
		    WORD(r, "t0", "nta"));
	if (one_in(r, 3))
		add(sched, " rescale=lazy");
	if (strstr(sched, " pv=bf16") && one_in(r, 2)) /* elsewhere it is refused */
		add(sched, " exp=%s", WORD(r, "full", "quartic", "cubic"));
	if (one_in(r, 3))
		add(sched, " turn=%s", WORD(r, "off", "on"));
	if (one_in(r, 4))
		add(sched, " q_block=%d widen=%s kv_chunk=%d", (int)pick(r, 2, 5),
		    WORD(r, "auto", "off", "on"), one_in(r, 2) ? page * (int)pick(r, 1, 2) : 0);
	if (one_in(r, 4))
		add(sched, " pipeline=on");
}

/* -- running ----------------------------------------------------------------------------- */

static machine machines[MACHINE_MAX];
static unsigned nmachine;
static kvjit *ref;
static bool programs_only; /* there is no x86 backend: nothing is compiled or run */

/* Too large a tile is refused, in terms of the knobs that size it. */
static bool refused(const check_result *r)
{
	return r->failed && !strncmp(r->text, "unsupported", 11) && strstr(r->text, "knob");
}

/* Problem `seed`: attention three times of four, else a writer, a transcode, an indexer, a
 * quantizer or a product. */
static void make(unsigned seed, char *text, char *sched)
{
	rng r = { seed * 7919u };
	int page;

	*sched = 0;
	if (seed >= TOKEN_SCALES) {
		make_token_scales(&r, text, &page);
		if (!strncmp(text, "attn", 4))
			make_schedule(&r, sched, page);
		return;
	}
	if (seed % 4 == 3) {
		if (seed % 16 == 7)
			make_group_quant(&r, text);
		else if (seed % 16 == 15)
			make_gemm(&r, text);
		else if (seed % 32 == 11)
			make_index(&r, text, &page);
		else if (seed % 16 == 11)
			make_transcode(&r, text);
		else
			make_writer(&r, text);
		return;
	}
	make_problem(&r, text, &page);
	make_schedule(&r, sched, page);
}

/* Runs problem `seed` on the machine's own target and on others by turns. */
static void run(unsigned seed, unsigned *ran, unsigned *refusals)
{
	char text[TEXT], sched[TEXT], why[500] = "";
	check_result result[EACH] = { 0 };
	machine some[EACH];
	unsigned each = nmachine < EACH ? nmachine : EACH;

	make(seed, text, sched);
	if (programs_only) {
		const kir_target *t = &kir_targets[seed % kir_ntargets];
		char *block = strstr(sched, " q_block");
		bool ok;

		if (!block)
			block = strstr(sched, " pipeline");
		if (t->lanes && block) /* GPUs have one tile, and say so: file tests */
			*block = 0;
		ok = support_passes(text, sched, t->name, why, sizeof why);

		if (!ok && !strstr(why, "knob"))
			fail_msg("KVJIT_SEED=%u: %s\n  %s %s", seed, why, text, sched);
		*(ok ? ran : refusals) += 1;
		return;
	}
	for (unsigned i = 0; i < each; i++)
		some[i] = machines[i ? (seed * (EACH - 1) + i) % nmachine : 0];
	check c = { .text = text,
		    .sched = sched,
		    .ref = ref,
		    .machine = some,
		    .nmachine = each,
		    .result = result };
	if (!check_seed(&c, seed, why, sizeof why))
		fail_msg("KVJIT_SEED=%u: %s\n  %s", seed, why, text);
	for (unsigned i = 0; i < each; i++) {
		if (getenv("KVJIT_SEED"))
			printf("%s/%s %s | %s: %s worst %.3f %s\n", some[i].backend,
			       some[i].target, text, sched, result[i].bound, result[i].worst,
			       result[i].text);
		if (refused(&result[i])) {
			++*refusals;
			continue;
		}
		if (result[i].failed || !result[i].compared)
			fail_msg("KVJIT_SEED=%u on %s/%s: %s\n  kvjit check '%s' --sched '%s'",
			         seed, some[i].backend, some[i].target, result[i].text, text,
			         sched);
		++*ran;
	}
}

static void test_random(void **state)
{
	const char *only = getenv("KVJIT_SEED");
	unsigned ran = 0, refusals = 0;

	(void)state;
	if (only) {
		run((unsigned)atoi(only), &ran, &refusals);
		return;
	}
	for (unsigned i = 0; i < PROBLEMS; i++)
		run(i, &ran, &refusals);
	printf("%u kernels ran, %u were refused\n", ran, refusals);
	assert_true(refusals * 8 < ran);
}

static void test_token_scales(void **state)
{
	unsigned ran = 0, refusals = 0;

	(void)state;
	if (getenv("KVJIT_SEED")) /* test_random ran it */
		return;
	for (unsigned i = 0; i < TOKEN_PROBLEMS; i++)
		run(TOKEN_SCALES + i, &ran, &refusals);
	printf("%u kernels ran, %u were refused\n", ran, refusals);
	assert_true(refusals * 2 < ran); /* tiles that don't divide what shares scales */
}

static char *slurp(const char *dir, const char *name)
{
	char path[1200], *text = calloc(1, TEXT);
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (!f || !text || !fread(text, 1, TEXT - 1, f))
		fail_msg("%s can't be read", path);
	fclose(f);
	return text;
}

static void test_bugs(void **state)
{
	const char *source = getenv("KVJIT_SOURCE_DIR");
	char dir_name[900], why[500] = "";
	struct dirent *e;
	DIR *dir;

	(void)state;
	snprintf(dir_name, sizeof dir_name, "%s/tests/bugs", source ? source : ".");
	dir = opendir(dir_name);
	if (!dir)
		fail_msg("%s isn't there; KVJIT_SOURCE_DIR must name the sources", dir_name);
	while ((e = readdir(dir))) {
		check_result result[MACHINE_MAX] = { 0 };
		char *text;

		if (!strstr(e->d_name, ".kvt"))
			continue;
		text = slurp(dir_name, e->d_name);
		for (unsigned i = 0; programs_only && i < kir_ntargets; i++)
			if (!kir_targets[i].lanes && /* a GPU may refuse it */
			    !support_passes(text, "", kir_targets[i].name, why, sizeof why))
				fail_msg("%s: %s", e->d_name, why);
		if (programs_only) {
			free(text);
			continue;
		}
		check c = { .text = text,
			    .ref = ref,
			    .machine = machines,
			    .nmachine = nmachine,
			    .result = result };
		if (!check_seed(&c, 0, why, sizeof why))
			fail_msg("%s: %s", e->d_name, why);
		for (unsigned i = 0; i < nmachine; i++)
			if (result[i].failed || !result[i].compared)
				fail_msg("%s on %s: %s", e->d_name, machines[i].target,
				         result[i].text);
		free(text);
	}
	closedir(dir);
}

/* -- any number of threads ----------------------------------------------------------------- */

enum { THREADS = 3 };

typedef struct piece {
	int64_t begin, end;
	void (*fn)(int64_t begin, int64_t end, void *ctx);
	void *ctx;
} piece;

static void *run_piece(void *p)
{
	const piece *x = p;

	x->fn(x->begin, x->end, x->ctx);
	return NULL;
}

/* As many pieces as *executor says, at the same time. */
static void in_parallel(int64_t n, void (*fn)(int64_t begin, int64_t end, void *ctx), void *ctx,
                        void *executor)
{
	int count = *(int *)executor;
	pthread_t thread[THREADS];
	piece p[THREADS];

	for (int i = 0; i < count; i++) {
		p[i] = (piece){ n * i / count, n * (i + 1) / count, fn, ctx };
		assert_int_equal(pthread_create(&thread[i], NULL, run_piece, &p[i]), 0);
	}
	for (int i = 0; i < count; i++)
		pthread_join(thread[i], NULL);
}

/* The bits of the first machine's results, then a comparison of the others with them. */
static void same_bits(const check *c, unsigned i)
{
	unsigned char **kept = c->ctx;
	static const char *const names[] = { "out", "lse" };

	for (int j = 0; j < 2; j++) {
		const bind_arg *x = bind_find((bind *)&c->a.b, names[j]);

		if (i == 0) {
			kept[j] = malloc(x->bytes);
			memcpy(kept[j], x->data, x->bytes);
		} else if (memcmp(kept[j], x->data, x->bytes) != 0) {
			fail_msg("%s differs between 1 and %u threads", names[j], i + 1);
		}
	}
}

static void test_threads(void **state)
{
	static const char *const problems[] = {
		"attn q=bf16 kv=int8/token-head heads=8:2 dim=64 page=16 causal sink lse "
		"split=16",
		"attn q=f32 kv=e4m3/head heads=7:1 dim=80:48 page=24 lse alibi split=24 "
		"q_tile=4",
		"attn q=bf16 out=f32 kv=bf16 heads=4:2 dim=32 page=8 window=21 lse split=32",
	};
	static int counts[THREADS] = { 1, 2, 3 };

	(void)state;
	for (size_t p = 0; p < sizeof problems / sizeof *problems; p++) {
		unsigned char *kept[2] = { NULL, NULL };
		check_result result[THREADS] = { 0 };
		machine some[THREADS];
		char why[500] = "";

		for (int i = 0; i < THREADS; i++) {
			kvjit_options o = { .size = sizeof o,
				            .target = machines[0].target,
				            .backend = machines[0].backend,
				            .parallel = in_parallel,
				            .executor = &counts[i] };
			some[i] = machines[0];
			assert_int_equal(kvjit_open(&o, &some[i].kv), KVJIT_OK);
		}
		check c = { .text = problems[p],
			    .ref = ref,
			    .machine = some,
			    .nmachine = THREADS,
			    .result = result,
			    .seen = same_bits,
			    .ctx = kept };
		if (!check_seed(&c, p, why, sizeof why))
			fail_msg("%s: %s", problems[p], why);
		for (int i = 0; i < THREADS; i++)
			if (result[i].failed)
				fail_msg("%s: %s", problems[p], result[i].text);
		assert_non_null(kept[1]);
		free(kept[0]);
		free(kept[1]);
		machine_close(some, THREADS);
	}
}

static int set_up(void **state)
{
	kvjit_options o = { .size = sizeof o, .backend = "ref" };

	(void)state;
	programs_only = !support_x86();
	nmachine = machine_open(support_only(), programs_only ? "c" : "x86", machines);
	return nmachine == 0 || kvjit_open(&o, &ref) != KVJIT_OK;
}

static int tear_down(void **state)
{
	(void)state;
	machine_close(machines, nmachine);
	kvjit_close(ref);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bugs),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_token_scales),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
