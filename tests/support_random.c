/* SPDX-License-Identifier: Apache-2.0 */
/* support_random.c -- see support_random.h. */
#include "support_random.h"

#include "support_draw.h"

#include "../passes/passes.h"

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
	const char *apply = WORD(r, "divide", "reciprocal"),
	           *round = WORD(r, "even", "zero", "away"),
	           *nan = WORD(r, "keep", "max", "zero");

	add(text, " apply %s\n round %s\n nan %s\n}\n", apply, round,
	    *e == 's' && !strcmp(nan, "max") ? "keep" : nan); /* integers have no NaN */
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

/* What tile registers take: queries of 16 bits or fewer, rows that fill them or nearly, and
 * caches of every kind that becomes bf16 or stays bytes. */
static void make_tiles(rng *r, char *text, int *page)
{
	int kv = (int)pick(r, 1, 2), group = (int)pick(r, 1, 12), dk = 16 * (int)pick(r, 2, 12);
	bool blocks;

	*text = 0;
	add(text, "attn q=%s out=%s", WORD(r, "bf16", "bf16", "f16", "e4m3fn"),
	    WORD(r, "bf16", "f16", "f32"));
	add_format(r, text, "kv");
	add_mean(r, text);
	blocks = strstr(text, "mxfp") || strstr(text, "int4") || strstr(text, "nvfp4");
	dk = blocks || one_in(r, 2) ? (dk + 31) / 32 * 32 : dk;
	*page = (one_in(r, 4) ? 8 : 16) * (int)pick(r, 1, 8);
	add(text, " heads=%d:%d dim=%d page=%d", kv * group, kv, dk, *page);
	add_masks(r, text);
	add_pairs(r, text);
	if (one_in(r, 8))
		add(text, " kv2=%s page2=%d",
		    WORD(r, "bf16", "int8/token-head", "e4m3/head", "int8/g16/inline"),
		    16 * (int)pick(r, 1, 6));
}

/* -- schedules ----------------------------------------------------------------------------- */

static void add_decoding(rng *r, char *sched)
{
	if (one_in(r, 3))
		add(sched, " fuse=%s decode=%s", WORD(r, "off", "on"),
		    WORD(r, "table", "shift"));
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
	add_decoding(r, sched);
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

/* The same for tile registers: the knobs that they read, in sizes that fill them. */
static void make_tile_schedule(rng *r, char *sched, int page)
{
	*sched = 0;
	add(sched, "q_tile=%d qk=%s pv=%s", (int)pick(r, 0, one_in(r, 3) ? 24 : 5),
	    WORD(r, "auto", "bf16", "bf16", "int8", "int8x2"),
	    WORD(r, "auto", "bf16", "bf16", "int8", "int8x2"));
	if (one_in(r, 3))
		add(sched, " kv_tile=%d", divisor(r, page));
	if (one_in(r, 3))
		add(sched, " split=%d", page * (int)pick(r, 1, 3));
	if (one_in(r, 2))
		add(sched, " stream=%s", WORD(r, "off", "cache", "all"));
	if (one_in(r, 3))
		add(sched, " rows=%d cols=%d", 16 * (int)pick(r, 0, 2), (int)pick(r, 0, 4));
	add_decoding(r, sched);
	if (one_in(r, 3))
		add(sched, " prefetch=%s hint=%s", WORD(r, "off", "one", "three", "both"),
		    WORD(r, "t0", "t2", "nta"));
	if (one_in(r, 3))
		add(sched, " rescale=%s", WORD(r, "always", "lazy"));
	if (strstr(sched, " pv=bf16") && one_in(r, 2))
		add(sched, " exp=%s", WORD(r, "full", "quartic", "cubic"));
	if (one_in(r, 3))
		add(sched, " turn=%s", WORD(r, "off", "on"));
	if (one_in(r, 3))
		add(sched, " widen=%s", WORD(r, "off", "on"));
	if (one_in(r, 2))
		add(sched, " q_block=%d", (int)pick(r, 2, 9));
	if (one_in(r, 3))
		add(sched, " kv_chunk=%d", page * (int)pick(r, 1, 2));
	if (one_in(r, 3))
		add(sched, " pipeline=on");
}

/* -- records, index lists, other knobs ----------------------------------------------------- */

/* Sums of a split, or its own order of loops, are for queries whose lists are one. */
static void drop_block(char *sched)
{
	char *at = strstr(sched, " q_block=");

	if (at) {
		size_t n = strcspn(at + 1, " ") + 1;

		memmove(at, at + n, strlen(at + n) + 1);
	}
}

static void make_record(rng *r, char *text, char *sched)
{
	static const int heads[] = { 1, 2, 3, 4, 5, 8, 16, 17, 32 };
	const char *kv = WORD(r, "mla_bf16", "mla_f16", "mla_e4m3", "fp8_ds_mla",
	                      "fp8_ds_mla_f32", "mla_584", "mla_528", "mla_352");
	const char *q = WORD(r, "bf16", "bf16", "f16", "f32", "e4m3", "s8");
	int page = 8 * (int)pick(r, 1, 8);

	add(text, "attn q=%s%s out=%s kv=%s heads=%d:1 dim=%s page=%d", q,
	    !strcmp(q, "s8") ? " qscale" : "", WORD(r, "bf16", "f16", "f32"), kv,
	    heads[pick(r, 0, 8)], strstr(kv, "584") || strstr(kv, "528") ? "512" : "576:512",
	    page);
	if (one_in(r, 2)) {
		add(text, " sparse=%d%s%s", (int)pick(r, 1, 100), one_in(r, 3) ? " sink" : "",
		    one_in(r, 3) ? " lse" : "");
	} else {
		add(text, "%s%s%s", one_in(r, 2) ? " causal" : "", one_in(r, 3) ? " lse" : "",
		    one_in(r, 4) ? " window=9" : "");
	}
	make_tile_schedule(r, sched, page);
}

static void make_sparse(rng *r, char *text, char *sched)
{
	int page = 8 * (int)pick(r, 1, 8), kv = (int)pick(r, 1, 3);

	add(text, "attn q=%s out=%s kv=%s heads=%d:%d dim=%d page=%d sparse=%d",
	    WORD(r, "bf16", "bf16", "f16", "f32", "e4m3"), WORD(r, "bf16", "f16", "f32"),
	    WORD(r, "bf16", "f16/nhd", "int8/token-head", "int8/g16", "e4m3/head", "mxfp4",
	         "int4/g32", "nvfp4", "uint4/g32/inline", "e5m2/token-head/split", "mxfp8"),
	    kv * (int)pick(r, 1, 8), kv, 32 * (int)pick(r, 1, 6), page, (int)pick(r, 1, 120));
	if (one_in(r, 3))
		add(text, " kv2=%s page2=%d sparse2=%d",
		    WORD(r, "bf16", "int8/token-head", "e4m3/head"), 8 * (int)pick(r, 1, 6),
		    (int)pick(r, 1, 50));
	add(text, "%s%s", one_in(r, 3) ? " sink" : "", one_in(r, 3) ? " lse" : "");
	make_tile_schedule(r, sched, page);
}

static void add_product_knobs(rng *r, char *sched)
{
	if (one_in(r, 2))
		add(sched, " rows=%d cols=%d unroll=%d", (int)pick(r, 0, 9), (int)pick(r, 0, 5),
		    (int)pick(r, 0, 8));
	add_decoding(r, sched);
	if (one_in(r, 3))
		add(sched, " prefetch=%s", WORD(r, "off", "one", "two", "three"));
	if (one_in(r, 3))
		add(sched, " qk=%s", WORD(r, "f32", "bf16", "int8", "int8x2"));
	if (one_in(r, 3))
		add(sched, " tiles=%s stream=%s", WORD(r, "on", "off"),
		    WORD(r, "off", "cache", "all"));
}

/* What make_problem and its like give no knobs. */
static void make_others(rng *r, char *text, char *sched)
{
	int page;

	switch (pick(r, 0, 3)) {
	case 0:
		make_index(r, text, &page);
		add_product_knobs(r, sched);
		return;
	case 1:
		make_gemm(r, text);
		if (strstr(text, "qk=") || strstr(text, "pack "))
			return;
		add_product_knobs(r, sched);
		if (one_in(r, 3))
			add(sched, " m_chunk=%d", 16 * (int)pick(r, 0, 8));
		return;
	case 2: make_transcode(r, text); break;
	default: make_writer(r, text);
	}
	if (!strstr(text, "quant "))
		add(sched, " stores=%s hint=%s", WORD(r, "cached", "streamed"),
		    WORD(r, "t0", "t1", "nta"));
}

static void make_lists(rng *r, char *text, char *sched)
{
	int kind = (int)pick(r, 0, 3);

	*text = *sched = 0;
	if (kind > 1) {
		make_others(r, text, sched);
		return;
	}
	kind ? make_record(r, text, sched) : make_sparse(r, text, sched);
	if (strstr(text, " sparse=")) { /* each query has a list of its own */
		drop_block(sched);
		memmove(sched, sched + strcspn(sched, " "),
		        strlen(sched + strcspn(sched, " ")) + 1);
	}
}

void support_random_skip(unsigned seed, char *skip)
{
	rng r = { seed * 7919u };
	unsigned optional = 0;
	int64_t some;

	*skip = 0;
	if (seed < SUPPORT_SKIPS)
		return;
	for (size_t i = 0; i < kpass_count; i++)
		optional += !kpass_table[i].lower;
	some = one_in(&r, 6) ? optional : pick(&r, 1, 4);
	do
		for (size_t i = 0; i < kpass_count; i++)
			if (!kpass_table[i].lower && pick(&r, 1, optional) <= some)
				add(skip, "%s%s", *skip ? "," : "", kpass_table[i].name);
	while (!*skip);
}

void support_random(unsigned seed, char *text, char *sched)
{
	rng r = { seed * 7919u };
	int page;

	*sched = 0;
	if (seed >= SUPPORT_SKIPS) {
		support_random(seed - SUPPORT_SKIPS, text, sched);
		char *exp = strstr(sched, " exp=");

		if (exp) /* what narrows the weights may be left out */
			memset(exp, ' ', strcspn(exp + 1, " ") + 1);
		return;
	}
	if (seed >= SUPPORT_LISTS) {
		make_lists(&r, text, sched);
		return;
	}
	if (seed >= SUPPORT_WRITTEN) {
		support_random_written(&r, text, &page);
		if (!strstr(text, "attn "))
			return;
		make_schedule(&r, sched, page);
		if (strstr(text, "sparse=")) /* each query has a list of its own */
			sched[strlen("q_tile=")] = '1';
		return;
	}
	if (seed >= SUPPORT_TILES) {
		make_tiles(&r, text, &page);
		make_tile_schedule(&r, sched, page);
		return;
	}
	if (seed >= SUPPORT_TOKEN_SCALES) {
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
