/* SPDX-License-Identifier: Apache-2.0 */
/* test_problem.c -- problem strings: what they parse to, print as, stand for, and refuse. */
#include "../ir/problem_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static kir_problem parse(kir_module *m, const char *text)
{
	kir_problem p;
	kir_diag d = { 0 };
	char buf[2000];

	if (!kir_problem_parse(m, text, strlen(text), &p, &d))
		fail_msg("%s\n%s", text, kir_diag_text(&d, buf, sizeof(buf)));
	return p;
}

static kir_func *expand(kir_module *m, const kir_problem *p, const char *text)
{
	kir_diag d = { 0 };
	char buf[2000];
	kir_func *f = kir_problem_expand(m, p, kir_target_find("generic"), &d);

	if (!f || !kir_verify(f, &d))
		fail_msg("%s\n%s", text, kir_diag_text(&d, buf, sizeof(buf)));
	return f;
}

/* With its own formats, on one line: that line is the problem again, and nothing is said of
 * formats that have a name. Comments and line ends don't matter. */
static void test_whole_on_one_line(void **state)
{
	static const char text[] = "format mine v2 {\n  elem s8 # ; }\n"
	                           "  scale f32 token-head amax/127 floor 1e-06\n"
	                           "  tensor cache [h t] { k[d] v[d] ks vs }\n}\n"
	                           "attn q=bf16 k=mine v=e4m3 heads=4:2 dim=64 page=16";
	kir_text first = { 0 }, second = { 0 };
	kir_module *m = kir_module_new(), *n = kir_module_new();
	kir_problem p = parse(m, text);

	(void)state;
	kir_problem_print_whole(m, &p, &first);
	assert_null(strchr(first.text, '\n'));
	assert_int_equal(memcmp(first.text, "format mine v2 { elem s8; ", 26), 0);
	assert_null(strstr(first.text, "format e4m3"));
	p = parse(n, first.text);
	assert_true(kir_format_hash(kir_format_find(m, "mine")) ==
	            kir_format_hash(kir_format_find(n, "mine")));
	kir_problem_print_whole(n, &p, &second);
	assert_string_equal(first.text, second.text);
	free(first.text);
	free(second.text);
	kir_module_free(m);
	kir_module_free(n);
}

/* Whatever field names it, a format that no name alone stands for is said, once. */
static void test_whole_of_every_field(void **state)
{
	static const char format[] = "format mine v2 { elem bf16; scale none; "
	                             "tensor cache [h t] { k[d] v[d] } }\n";
	static const char *const fields[] = {
		"attn kv=mine heads=2 dim=64 page=16",
		"attn kv=bf16 kv2=mine heads=2 dim=64 page=16",
		"transcode from=bf16 from_v=mine to=bf16 dim=64 page=16",
		"transcode from=mine to=bf16 to_v=mine dim=64 page=16",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		kir_module *m = kir_module_new(), *n = kir_module_new();
		kir_text out = { 0 };
		char text[300];

		snprintf(text, sizeof(text), "%s%s", format, fields[i]);
		kir_problem p = parse(m, text);

		kir_problem_print_whole(m, &p, &out);
		assert_int_equal(memcmp(out.text, "format mine v2 {", 16), 0);
		assert_null(strstr(out.text + 16, "format"));
		parse(n, out.text);
		free(out.text);
		kir_module_free(m);
		kir_module_free(n);
	}
}

/* Canonical strings: they print as they are. */
static const char *const canonical[] = {
	"attn q=bf16 kv=int8/token-head heads=32:8 dim=128 page=128 causal",
	"attn q=f16 kv=e4m3/head heads=8 dim=64 page=16",
	"attn q=f16 kv=e4m3/head/centered heads=8 dim=64 page=16",
	"attn q=f16 k=int4/g32/centered/rotated v=bf16 heads=8 dim=64 page=16",
	"attn q=f32 out=bf16 kv=bf16 heads=1 dim=16 page=8 causal=seq window=17",
	"attn q=e4m3fn out=f16 kv=e4m3 heads=4:2 dim=96 page=32 qscale",
	"attn q=e4m3fn kv=e4m3 heads=4:2 dim=96 page=32 qscale",
	"attn q=bf16 k=int8/token-head v=e4m3 heads=7:1 dim=192:128 page=24 chunk=32",
	"attn q=bf16 k=int8/token-head/split v=int8/token-head/hnd heads=2 dim=64 page=16",
	"attn q=bf16 kv=int8/g32/inline heads=2 dim=64 page=16 lse",
	"attn q=bf16 kv=mxfp8 heads=2 dim=64 page=16 softcap=30 alibi sink lse",
	"attn q=bf16 kv=bf16/none/x heads=2 dim=64 page=16 softcap=0.1 alibi=sqrt",
	"attn q=bf16 kv=bf16 heads=2 dim=64 page=16 score=\"s * 0.5\" mask=\"doc[q] == "
	"doc[k]\" "
	"with=doc:s32",
	"attn q=bf16 kv=bf16 heads=2 dim=64 page=16 score=\"s + w[h]\" with=w:f16,u:s8",
	"attn q=bf16 kv=bf16 heads=2 dim=64 page=16 mask=\"t[row,nk]\" with=t:bit",
	"attn q=bf16 kv=bf16 heads=2 dim=64 page=16 batch=8 ctx=8192 qlen=1 target=avx512 "
	"kv_tile=64 "
	"split=0 qk=bf16 pv=auto",
	"write in=bf16 kv=int8/token-head heads=8 dim=128 page=128",
	"write in=f32 kv=e4m3/head/hnd heads=8 dim=128:64 page=16",
	"write in=f16 k=e4m3/head/hnd v=f16/none/split heads=8 dim=128 page=16",
	"write in=bf16 kv=int8/token-head/inline heads=8 dim=128 page=128 parts=4",
	"quant in=bf16 to=int8/token-head heads=8 dim=128",
	"quant in=f32 to=e4m3/g16 heads=8 dim=128",
	"quant in=f32 to=e4m3/head heads=8 dim=128",
	"quant in=f32 to=bf16 heads=8 dim=128",
	"quant in=bf16 to=e4m3/g128 scales=columns heads=1 dim=7168",
	"quant in=bf16 to=mxfp8 scales=packed heads=1 dim=96",
	"merge heads=32 dim=128",
	"gemm acts=e4m3/g128 weights=e4m3/g128 block=128 packed dim=4096:11008 batch=8",
	"gemm in=bf16 out=f32 acts=mxfp8 weights=mxfp8 dim=96:100 m_tile=16",
	"gemm acts=bf16 weights=int8/token-head dim=7:5",
	"gemm in=bf16 acts=mxfp4 weights=mxfp4/inline dim=96:100",
	"pack weights=e4m3/g128 dim=4096",
	"merge out=f32 heads=32 dim=128 lse",
	"transcode from=e4m3/head/hnd to=int8/token-head heads=8 dim=128 page=16:128",
	"transcode from=int4/g32 to=int4/g32/inline heads=8 dim=128:64 page=16",
	"transcode from=int4/g32 from_v=e4m3/head to=bf16 heads=8 dim=128 page=16",
	"transcode from=int8 from_v=e4m3 to=bf16 to_v=e5m2/head heads=8 dim=128:64 page=16:8",
	"transcode from=nvfp4/page to=mxfp4 heads=8 dim=128 page=16",
	"transcode from=mla_bf16 to=fp8_ds_mla heads=1 dim=576:512 page=64",
	"transcode from=mla_528 to=mla_528 heads=1 dim=512 page=64:16",
};

static void test_round_trip(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(canonical) / sizeof(canonical[0]); i++) {
		kir_module *m = kir_module_new();
		kir_problem p = parse(m, canonical[i]);
		kir_text t = { 0 };

		kir_problem_print(&p, &t);
		assert_string_equal(t.text, canonical[i]);
		free(t.text);
		kir_module_free(m);
	}
}

/* Each verifies, and its text parses to the same text. */
static void test_expansions(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(canonical) / sizeof(canonical[0]); i++) {
		kir_module *m = kir_module_new(), *n;
		kir_problem p = parse(m, canonical[i]);
		kir_text a = { 0 }, b = { 0 };
		kir_diag d = { 0 };
		char buf[2000];

		expand(m, &p, canonical[i]);
		kir_print_module(m, &a);
		n = kir_parse(a.text, a.len, &d);
		if (!n)
			fail_msg("%s\n%s", a.text, kir_diag_text(&d, buf, sizeof(buf)));
		kir_print_module(n, &b);
		assert_string_equal(a.text, b.text);
		assert_true(kir_verify(n->func[0], &d));
		free(a.text);
		free(b.text);
		kir_module_free(m);
		kir_module_free(n);
	}
}

static void test_canonical_names(void **state)
{
	static const char *const pairs[][2] = {
		{ "  attn\tkv=fp8_e4m3 heads=8:8 dim=64:64 page=16 \n",
		  "attn q=bf16 kv=e4m3 heads=8 dim=64 page=16" },
		{ "attn page=16 dim=64 heads=8 kv=int8_per_token_head q=int8 out=bf16",
		  "attn q=s8 kv=int8/token-head/inline heads=8 dim=64 page=16" },
		{ "attn k=fp8 v=e4m3/tensor heads=8 dim=64 page=16 q=e4m3",
		  "attn q=e4m3fn kv=e4m3 heads=8 dim=64 page=16" },
		{ "merge heads=4 dim=64 out=bf16", "merge heads=4 dim=64" },
		{ "# a list of problems may say why\nmerge heads=4\n dim=64 ; so",
		  "merge heads=4 dim=64" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		kir_module *m = kir_module_new();
		kir_problem p = parse(m, pairs[i][0]);
		kir_text t = { 0 };

		kir_problem_print(&p, &t);
		assert_string_equal(t.text, pairs[i][1]);
		free(t.text);
		kir_module_free(m);
	}
}

static void test_fields(void **state)
{
	kir_module *m = kir_module_new();
	kir_problem p =
	    parse(m, "attn kv=int8/token-head heads=32:8 dim=192:128 page=24 causal=seq "
	             "window=5 softcap=2.5 alibi=sqrt sink lse qscale qk=int8 split=100 "
	             "with=a:f32,b2:s8 score=\"a[b]\" batch=3 ctx=4 qlen=5");

	(void)state;
	assert_int_equal(p.kind, KIR_ATTN);
	assert_int_equal(p.q, KIR_bf16);
	assert_int_equal(p.out, KIR_bf16);
	assert_string_equal(p.k_format, "int8/token-head");
	assert_string_equal(p.v_format, "int8/token-head");
	assert_true(p.heads == 32 && p.kv_heads == 8 && p.dim_k == 192 && p.dim_v == 128);
	assert_true(p.page == 24 && p.window == 5 && p.chunk == 0 && p.softcap == 2.5);
	assert_true(p.causal == 2 && p.alibi == 2 && p.sink && p.lse && p.qscale);
	assert_string_equal(p.score, "a[b]");
	assert_null(p.mask);
	assert_int_equal(p.nwith, 2);
	assert_string_equal(p.with[1].name, "b2");
	assert_int_equal(p.with[1].elem, KIR_s8);
	assert_true(p.batch == 3 && p.ctx == 4 && p.qlen == 5);
	assert_int_equal(p.sched.split, 100);
	assert_int_equal(p.sched.qk, 3);
	assert_null(p.target);
	p = parse(m, "write kv=fp8 heads=4 dim=64 page=16");
	assert_true(p.heads == 4 && p.kv_heads == 4 && p.q == KIR_bf16);
	kir_module_free(m);
}

static void test_declared_format(void **state)
{
	const char *text =
	    "; mine\nformat mine v3 {\n  elem s8\n  scale bf16 group 48 amax/127 floor "
	    "1e-06\n  tensor pages [h] { [t] { k[d] v[d] pad 8 } ks[t g] vs[t g] "
	    "align 64 }\n}\n"
	    "attn q=bf16 kv=mine heads=4:2 dim=96 page=24 window=x\n";
	kir_module *m = kir_module_new();
	kir_problem p;
	kir_diag d = { 0 };
	char *good = strdup(text);

	(void)state;
	assert_false(kir_problem_parse(m, text, strlen(text), &p, &d));
	assert_int_equal(d.at[0].line, 7);
	assert_int_equal(d.at[0].col, 53);
	memcpy(strstr(good, "window=x"), "        ", 8);
	p = parse(m, good);
	assert_string_equal(p.k_format, "mine");
	kir_func *f = expand(m, &p, good);

	assert_string_equal(f->param[1].name, "pages");
	assert_int_equal(kir_type_at(m, f->param[1].type)->dim[2], 4992);
	free(good);
	kir_module_free(m);
}

/* heads=0 was printed, which no problem may say. */
static void test_missing_pair(void **state)
{
	kir_problem p = { .kind = KIR_QUANT, .v_format = "int8", .dim_k = 64, .dim_v = 64 };
	kir_text text = { 0 };

	(void)state;
	kir_problem_print(&p, &text);
	assert_string_equal(text.text, "quant to=int8 dim=64");
	free(text.text);
}

static void test_signatures(void **state)
{
	static const struct {
		const char *problem, *names;
	} cases[] = {
		{ "attn kv=int8/token-head heads=4 dim=64 page=16",
		  "q cache table lens starts scale out work nwork join njoin part" },
		{ "attn kv=e4m3/head/hnd heads=4 dim=64 page=16 qscale sink alibi causal=seq "
		  "lse "
		  "with=doc:s32 mask=\"doc[k] == 1\"",
		  "q k_cache v_cache qd kd vd table lens starts scale sink alibi causal_seq "
		  "doc out lse "
		  "work nwork join njoin part" },
		{ "attn k=int8/token-head v=e4m3 heads=4 dim=64 page=16",
		  "q k_cache v_cache vd table lens starts scale out work nwork join njoin "
		  "part" },
		{ "attn k=int8/token-head/split v=e4m3/tensor/hnd heads=4 dim=64 page=16",
		  "q k_cache k_scale_cache v_cache vd table lens starts scale out work nwork "
		  "join njoin "
		  "part" },
		{ "write kv=e4m3 heads=4 dim=64 page=16", "key value cache kd vd slots n" },
		{ "write kv=int8/token-head/x heads=4 dim=64 page=16",
		  "key value k_cache v_cache k_scale_cache v_scale_cache slots n" },
		{ "quant to=int8/token-head heads=4 dim=64", "x q s n" },
		{ "quant to=e4m3/tensor heads=4 dim=64", "x q d n" },
		{ "quant to=mxfp8 dim=64 scales=packed", "x q s n" },
		{ "merge heads=4 dim=64 lse", "parts lses p n out lse" },
		{ "gemm acts=e4m3/g8 weights=e4m3/g8 dim=64", "a as w ws c n" },
		{ "gemm acts=bf16 weights=bf16 dim=64 packed", "a w c n" },
		{ "gemm acts=mxfp8 weights=mxfp4 dim=64 packed", "a as w ws c n" },
		{ "gemm in=bf16 acts=e4m3/g8 weights=bf16 dim=64", "x a as w c n" },
		{ "pack weights=bf16 dim=64", "x y" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		kir_module *m = kir_module_new();
		kir_problem p = parse(m, cases[i].problem);
		kir_func *f = expand(m, &p, cases[i].problem);
		kir_text t = { 0 };

		for (unsigned k = 0; k < f->nparam; k++)
			kir_text_add(&t, "%s%s", k ? " " : "", f->param[k].name);
		assert_string_equal(t.text, cases[i].names);
		free(t.text);
		kir_module_free(m);
	}
}

static void test_text(void **state)
{
	static const char *const lines[] = {
		"func @attn(%q: in bf16[?,8,64 | 0:$0, 1:$1, 2:2],\n",
		"%cache: in u8[?,2,16,136 | 0:$0, 1:$1, 2:$2, 3:1], ",
		"%table: in s32[?,? | 0:$0, 1:4]",
		"%part: inout f32[?,80])\n",
		"level=A sched(qk=int8) {\n",
		"%k = view %cache : s8[?,2,16,64 | 0:$0, 1:$1, 2:$2, 3:1]\n",
		"%v = view %cache : s8[?,2,16,64 | 0:$0, 1:$1, 2:$2, 3:1] {offset=68}\n",
		"%ks = view %cache : f32[?,2,16 | 0:$0, 1:$1, 2:$2] {offset=64}\n",
		"score(%s, %b, %h, %i, %j) {\n",
		"= div %s, 30.0 : f32\n",
		"%slope = load %alibi[%h] : f32\n",
		"%past = le %j, %i : i1\n",
		"%back = sub %i, %j : s64\n",
		"%near = lt %back, 9 : i1\n",
	};
	kir_module *m = kir_module_new();
	kir_problem p =
	    parse(m, "attn kv=int8_per_token_head heads=8:2 dim=64 page=16 causal window=9 "
	             "softcap=30 alibi qk=int8");
	kir_text t = { 0 };

	(void)state;
	kir_print(expand(m, &p, "text"), &t);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (!strstr(t.text, lines[i]))
			fail_msg("no line %s in\n%s", lines[i], t.text);
	free(t.text);
	kir_module_free(m);
}

#define OK "attn kv=int8 heads=8 dim=64 page=16 "

static void test_errors(void **state)
{
	static const struct {
		const char *text;
		int col;
		const char *message;
	} cases[] = {
		{ "", 1,
		  "a problem begins with attn, write, quant, merge, gemm, pack, index or "
		  "transcode, not ''" },
		{ "attm heads=3", 1, "not 'attm'" },
		{ "attn=3", 1, "a problem begins with" },
		{ "func @f() level=A {\n ret\n}\nmerge heads=4 dim=64", 1, "no functions" },
		{ "attn heads=8 dim=64 page=16", 1, "attn needs kv=..., cache format" },
		{ "attn kv=int8 dim=64 page=16", 1, "attn needs heads=..." },
		{ "attn kv=int8 heads=8 dim=64", 1, "attn needs page=..., tokens of a page" },
		{ "attn kv=int8 heads=8/2 dim=64 page=16", 20,
		  "heads=8/2: two numbers have ':'" },
		{ "attn kv=int8 heads=8:2:1 dim=64 page=16", 20,
		  "heads=8:2:1: heads takes one number or two, not more" },
		{ "attn kv=int8 heads=8 page=16", 1, "attn needs dim=..." },
		{ "quant heads=8 dim=64", 1, "quant needs to=..." },
		{ OK "k=bf16", 37, "kv= names both formats; k= and v= exclude it" },
		{ "attn k=bf16 heads=8 dim=64 page=16", 6, "k= goes with v=" },
		{ OK "zzz=4", 37, "attn has no field 'zzz'" },
		{ OK "=4", 37, "without a field's name: write NAME=VALUE" },
		{ OK "write kv=int8", 37, "'write' begins another problem; a text holds one" },
		{ "format f v1 { elem s8\nattn kv=f heads=8 dim=64 page=16", 1,
		  "no '}' at its end" },
		{ "transcode from=bf16 dim=64 page=16", 1, "transcode needs to=" },
		{ "transcode to=bf16 dim=64 page=16", 1, "transcode needs from=" },
		{ "transcode from=bf16 to=f16 dim=64", 1, "transcode needs page=" },
		{ "transcode from=bf16 to=f16 dim=64 page=16:12", 40,
		  "page must be a multiple of 8 from 8 to 65536" },
		{ "transcode from=bf16 from_v= to=f16 dim=64 page=16", 21,
		  "from_v needs a value" },
		{ "transcode from=bf16 to=f16 to_v=f17 dim=64 page=16", 33,
		  "no format is called 'f17'" },
		{ "attn kv=bf16 from_v=f16 heads=2 dim=64 page=16", 14,
		  "attn has no field from_v" },
		{ "transcode kv=bf16 to=f16 dim=64 page=16", 11, "transcode has no field kv" },
		{ "attn kv=int8 heads=8 dim=64 page=16:32", 34,
		  "attn takes one number of page" },
		{ OK "softcap=1e-39", 45, "softcap must be a positive number" },
		{ OK "score=\"s*1e999\"", 46, "1e999 is beyond the numbers of f32" },
		{ OK "score=\"s*1e-400\"", 46, "1e-400 is beyond the numbers of f32" },
		{ OK "score=\"s/0\"", 45, "division by 0" },
		/* these two gave infinities or NaN as scores */
		{ OK "score=\"s // 0.0\"", 46, "division by 0" },
		{ OK "score=\"s % 0.0\"", 46, "division by 0" },
		{ OK "windw=4", 37, "attn has no field 'windw'; the nearest is window" },
		{ OK "kvtile=4", 37, "the nearest is kv_tile" },
		{ OK "x=1", 37, "fields: q out kv k v heads dim page" },
		{ OK "x=1", 37, " parts" }, /* the list ended within this name */
		{ "write kv=int8 heads=8 dim=64 page=16 causal", 38,
		  "write has no field causal" },
		{ "quant to=int8 out=f16 dim=64", 15, "fields: in to scales heads dim" },
		{ OK "kv=int8", 37, "kv is given twice" },
		{ OK "qk=int8 qk=int8", 45, "qk is given twice" },
		{ OK "page", 37, "page is given twice" },
		{ "attn kv=int8 heads=8 dim=64 page", 29,
		  "page needs a value: page=..., tokens of a page" },
		{ "attn kv= heads=8", 6, "kv needs a value" },
		{ OK "kv_tile", 37, "kv_tile needs a value" },
		{ "attn kv=fp7 heads=8 dim=64 page=16", 9, "no format is called 'fp7'" },
		{ "attn kv=int8_per_token_head/head heads=8 dim=64 page=16", 9,
		  "no format is called 'int8_per_token_head/head' ('head' is none of the words "
		  "below, or the second of its kind)" },
		{ "attn kv=fp8/nhd/hnd heads=8 dim=64 page=16", 9,
		  "no format is called 'fp8/nhd/hnd' ('hnd' is none of the words" },
		{ "attn kv=fp8/ heads=8 dim=64 page=16", 9, "no format is called 'fp8/'" },
		{ "attn kv=int8/c24 heads=8 dim=64 page=48", 9,
		  "no format is called 'int8/c24' (N of cN is a multiple of 16 from 16 to "
		  "256)" },
		{ "attn kv=int8/g12 heads=8 dim=48 page=48", 9, "(N of gN is a multiple of 8" },
		{ "attn kv=int8/head/token-head heads=8 dim=48 page=48", 9,
		  "('token-head' is none of the words below, or the second of its kind)" },
		{ "attn kv=int8/none heads=8 dim=48 page=48", 9, "4 and 8 bits have a scale" },
		{ "attn kv=uint4/head heads=8 dim=64 page=48", 9, "zero points lie in stored" },
		{ "attn kv=int8/c32/inline heads=8 dim=64 page=64", 9,
		  "no format is called 'int8/c32/inline' (cN goes with the places" },
		{ "attn kv=bf16/c32 heads=8 dim=64 page=64", 9,
		  "no format is called 'bf16/c32' (16-bit elements are stored without" },
		{ OK "q=s4", 39, "q=s4: q must be one of bf16,f16,f32,e4m3fn" },
		{ OK "out=e5m2", 41, "out=e5m2: out must be one of bf16,f16,f32" },
		{ "write in=s8 kv=int8 heads=8 dim=64 page=16", 10,
		  "in must be one of bf16,f16,f32" },
		{ "attn kv=int8 heads=0 dim=64 page=16", 20,
		  "heads must be a number from 1 to 1024" },
		{ "attn kv=int8 heads=4: dim=64 page=16", 20, "heads=4:: heads must be" },
		{ "attn kv=int8 heads=99999999999999999999 dim=64 page=16", 20,
		  "heads must be a number from 1 to 1024" },
		{ "attn kv=int8 heads=8:3 dim=64 page=16", 20,
		  "must be a multiple of the KV heads" },
		{ "write kv=int8 heads=8:8 dim=64 page=16", 21,
		  "write takes one number of heads" },
		{ "quant to=int8/g8 dim=64 scales=rows,columns", 32,
		  "scales must be one of rows,columns,packed" },
		{ "quant to=int8/g8 dim=64 scales", 25, "scales needs a value" },
		{ "quant to=int8/g8 dim=0", 22, "dim must be a number from 1 to 1048576" },
		{ "write kv=int8 heads=8 page=16 dim=24", 35,
		  "dim must be a multiple of 16 from 16 to 576" },
		{ "gemm acts=bf16 dim=64", 1, "gemm needs weights=..." },
		{ "gemm weights=bf16 dim=64", 1, "gemm needs acts=..." },
		{ "gemm acts=bf16 weights=bf16", 1, "gemm needs dim=..." },
		{ "pack weights=bf16 dim=64 packed", 26, "pack has no field packed" },
		{ "quant to=int8 heads=8 dim=64:64", 27, "quant takes one number of dim" },
		{ "attn kv=int8 heads=8 dim=72 page=16", 26,
		  "dim must be a multiple of 16 from 16 to 576" },
		{ "attn kv=int8 heads=8 dim=64:592 page=16", 26,
		  "dim=64:592: dim must be a multiple" },
		{ "attn kv=int8 heads=8 dim=64 page=12", 34,
		  "page must be a multiple of 8 from 8 to 65536" },
		{ "attn kv=int8 heads=8 dim=64 page=999999", 34,
		  "page must be a multiple of 8" },
		{ OK "window=0", 44, "window must be a number from 1" },
		{ OK "window=4 chunk=4", 46, "window and chunk exclude each other" },
		{ OK "causal=yes", 44, "causal=yes: write causal or causal=seq" },
		{ OK "alibi=", 43, "write alibi or alibi=sqrt" },
		{ OK "sink=1", 42, "sink takes no value" },
		{ OK "softcap=0", 45, "softcap must be a positive number" },
		{ OK "softcap=1e400", 45, "softcap must be a positive number" },
		{ OK "softcap=cap", 45, "softcap must be a positive number" },
		{ OK "target=avx1024", 44, "target must be one of generic, avx2" },
		{ OK "split=-1", 43, "split must be a number from 0 to 1048576" },
		{ OK "qk=int4", 40, "qk must be one of auto,f32,bf16,int8,int8x2" },
		{ OK "with=doc", 42, "with=doc: write NAME:ELEM,..., ELEM one of s8" },
		{ OK "with=doc:s4", 42, "write NAME:ELEM,..." },
		{ OK "with=1a:s32", 42, "write NAME:ELEM,..." },
		{ OK "with=q:s32", 42, "the name q has a meaning in expressions already" },
		{ OK "with=tanh:s32", 42, "the name tanh has a meaning" },
		{ OK "with=a:s32,a:s8", 42, "two operands are called a" },
		{ OK "with=a:s8,b1:s8,c:s8,d:s8,e:s8", 42, "at most 4 operands" },
		{ OK "with=a:s8", 37, "with= needs a score= or mask= that reads the operands" },
		{ OK "score=\"s", 37, "score=\": the closing quote is missing" },
		/* expressions: the column is that of the string */
		{ OK "score=\"s +\"", 47, "score: expected a number, a name or '('" },
		{ OK "mask=\"doc[q] == doc[k]\"", 43, "declared by with=doc:s32" },
		{ OK "score=\"s * t\"", 48,
		  "'t' is none of b, h, q, k, s, row, nq, nk, past and no function (min" },
		{ OK "mask=\"s > 0\"", 43,
		  "'s' is none of b, h, q, k, row, nq, nk, past and no function (" },
		{ OK "score=\"s s\"", 46, "expected an operator or the end, not 's'" },
		{ OK "score=\"k < q\"", 44, "score: must be a number, like s * 0.5" },
		{ OK "mask=\"k\"", 43, "mask: must be a condition, like k <= q" },
		{ OK "mask=\"k < q + (k > 1)\"", 49,
		  "one side is a condition, the other a number" },
		{ OK "mask=\"(k < q) < (k > 1)\"", 51,
		  "both sides are conditions, not numbers" },
		{ OK "mask=\"k && q\"", 45, "both sides of && are conditions" },
		{ OK "mask=\"k || q\"", 45, "both sides of || are conditions" },
		{ OK "mask=\"!k\"", 43, "! takes a condition, not a number" },
		{ OK "score=\"-(k < q)\"", 44, "- takes a number, not a condition" },
		{ OK "score=\"abs(k < q)\"", 44, "abs takes a number, not a condition" },
		{ OK "score=\"k ? s : s\"", 46, "a condition stands before '?'" },
		{ OK "score=\"k < q ? s\"", 53, "expected ':'" },
		{ OK "score=\"min(s)\"", 49, "expected ','" },
		{ OK "score=\"(s\"", 46, "expected ')'" },
		{ OK "score=\"k // q\"", 46, "an integer divisor must be a positive number" },
		{ OK "score=\"k % -3\"", 46, "an integer divisor must be a positive number" },
		{ OK "score=\"1.2.3\"", 44, "is no number" },
		{ OK "score=\"1x\"", 44, "is no number" },
		{ OK "score=\"1234567890123456789\"", 44, "the number is too long" },
		{ OK "with=d:s32 score=\"d[k + 1]\"", 57,
		  "d is indexed by b, h, q, k, row, nq or nk alone" },
		{ OK "with=d:s32 score=\"d[kk]\"", 57, "'kk' is none of b, h, q, k, s" },
		{ OK "with=d:s32 score=\"d\"", 56, "expected '['" },
		{ OK "with=d:s32 score=\"d[s]\"", 57, "d is indexed by b, h, q, k, row" },
		{ OK "with=d:s32 score=\"d[past]\"", 57, "d is indexed by b, h, q, k, row" },
		{ OK "with=d:s32 score=\"d[k - past]\"", 57, "d is indexed by b, h, q, k, " },
		{ OK "with=d:s32 score=\"d[min(q - k, 9)]\"", 57, "between 0 and a number" },
		{ OK "with=d:s32 score=\"d[q,k,b,h]\"", 63, "d has more than 3 indices" },
		{ OK "with=d:s32 score=\"d[q] + d[q,k]\"", 63,
		  "d has 2 indices here and 1 elsewhere" },
		{ OK "with=d:s32 score=\"d[q,]\"", 59, "expected a number, a name" },
		{ OK "with=d:s32 score=\"d[q\"", 58, "expected ']'" },
		{ OK "with=d:bit score=\"s + d[q,k]\"", 57, "one side is a condition" },
		{ OK "with=row:s32", 42, "the name row has a meaning" },
		{ OK "with=nk:s32", 42, "the name nk has a meaning" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		kir_module *m = kir_module_new();
		kir_diag d = { 0 };
		kir_problem p;
		char buf[3000];

		if (kir_problem_parse(m, cases[i].text, strlen(cases[i].text), &p, &d))
			fail_msg("accepted: %s", cases[i].text);
		kir_diag_text(&d, buf, sizeof(buf));
		if (!strstr(buf, cases[i].message))
			fail_msg("for: %s\nexpected: %s\ngot: %s", cases[i].text,
			         cases[i].message, buf);
		if (d.at[0].col != cases[i].col)
			fail_msg("for: %s\ncolumn %d\ngot: %s", cases[i].text, cases[i].col,
			         buf);
		kir_module_free(m);
	}
}

#define TURNED(name, how)                                                            \
	"format " name " v1 {\nelem s8\nscale f32 token-head amax/127 floor 1e-06\n" \
	"rotate " how "\ntensor c [h t] { k[d] ks v[d] vs }\n}\n"

static void test_expand_errors(void **state)
{
	static const char *const cases[][2] = {
		{ "attn kv=int8/g48 heads=8 dim=64 page=16",
		  "scale group of 48 doesn't divide a head of 64" },
		{ "quant to=int8/g48 heads=8 dim=64",
		  "its scale group of 48 doesn't divide dim=64" },
		{ "write kv=int8/c32 heads=8 dim=64 page=64",
		  "32 tokens share the scales of keys, so they are written together: transcode "
		  "from=bf16 to=int8/c32" },
		{ "quant to=int8/c32 heads=8 dim=64", "so they are written together" },
		{ "attn kv=int8/c32 heads=8 dim=64 page=64 sparse=16",
		  "index lists (sparse=) take apart" },
		{ "attn kv=bf16 kv2=int8/c32 page2=48 heads=8 dim=64 page=64",
		  "page=48 isn't made of whole groups of the 32 tokens" },
		{ "gemm acts=int8/c32 weights=bf16 dim=64", "acts=: a product's scales are" },
		{ "quant to=int8/tensor dim=64 scales=columns", "the format computes none" },
		{ "quant to=int8/g32 heads=2 dim=64 scales=columns",
		  "of groups of whole rows" },
		{ "quant to=int8/token-head dim=64 scales=packed", "of groups of whole rows" },
		{ "quant to=int8/g32 dim=64 scales=packed",
		  "the format's scales must be e8m0" },
		{ "gemm acts=e4m3/head weights=bf16 dim=64",
		  "the format says scale none, token-head" },
		{ "gemm acts=bf16 weights=e4m3/tensor dim=64",
		  "weights=: a product's scales are" },
		{ "gemm in=f16 acts=bf16 weights=bf16 dim=64", "acts= computes no scales" },
		{ "gemm acts=mxfp8 weights=mxfp4 dim=68:64",
		  "weights=: codes of 4 bits lie two a byte: dim=68" },
		{ "gemm acts=mxfp4 weights=e4m3/g128 dim=60:64", "multiples of 8 elements" },
		{ "format g12 v1 { elem e4m3fn; scale f32 group 12 amax/448 floor 1e-6 }\n"
		  "gemm acts=g12 weights=mxfp4 dim=96:64",
		  "the scales' groups must be multiples of 8 elements" },
		{ "pack weights=mxfp4 dim=20:64", "weights=: codes of 4 bits lie two a byte" },
		{ "gemm in=f16 acts=e4m3/g48 weights=bf16 dim=64",
		  "a group of 48 doesn't divide dim=64, so in= can't quantize" },
		{ "transcode from=bf16 to=fp8_ds_mla dim=576:512 page=64",
		  "fp8_ds_mla stores no values (they are the first elements of its keys), bf16 "
		  "stores some" },
		{ "transcode from=index_e4m3 to=fp8_ds_mla dim=576:512 page=64",
		  "both formats must part keys alike" },
		{ "transcode from=fp8_ds_mla from_v=bf16 to=fp8_ds_mla dim=576:512 page=64",
		  "keys in parts and shared values can't be mixed with another format" },
		{ "transcode from=bf16 to=bf16 to_v=index_e4m3 dim=64 page=64",
		  "keys in parts and shared values can't be mixed with another format" },
		{ "transcode from=bf16 from_v=int8/token-head/rotated to=bf16 dim=64 page=64",
		  "rotated values are moved as they are or not at all" },
		{ TURNED("a", "hadamard signs")
		      TURNED("b", "hadamard") "transcode from=a to=b dim=64 page=64",
		  "rotated keys are moved as they are or not at all" },
		{ TURNED("a", "hadamard 32")
		      TURNED("b", "hadamard 64") "transcode from=a to=b dim=64 page=64",
		  "rotated keys are moved as they are or not at all" },
		{ "transcode from=int8/g48 to=bf16 dim=64 page=16",
		  "scale group of 48 doesn't divide a head of 64" },
		{ "transcode from=bf16 to=int8/g48 dim=64 page=16",
		  "scale group of 48 doesn't divide a head of 64" },
		{ "transcode from=fp8_ds_mla to=fp8_ds_mla_f32 dim=512 page=64",
		  "fp8_ds_mla is for keys of 576 elements" },
		{ "transcode from=fp8_ds_mla to=mla_bf16 dim=576:512 heads=2 page=64",
		  "one KV head" },
		{ "attn kv=int8 heads=8 dim=64 page=16 with=cache:s32 mask=\"cache[k] > 0\"",
		  "two parameters are called 'cache'" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		kir_module *m = kir_module_new();
		kir_problem p = parse(m, cases[i][0]);
		kir_diag d = { 0 };

		assert_null(kir_problem_expand(m, &p, NULL, &d));
		if (!strstr(d.at[0].msg, cases[i][1]))
			fail_msg("%s", d.at[0].msg);
		assert_int_equal(m->nfunc, 0);
		kir_module_free(m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_expansions),
		cmocka_unit_test(test_canonical_names),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_declared_format),
		cmocka_unit_test(test_missing_pair),
		cmocka_unit_test(test_signatures),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_whole_on_one_line),
		cmocka_unit_test(test_whole_of_every_field),
		cmocka_unit_test(test_expand_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
