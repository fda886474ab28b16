/* SPDX-License-Identifier: Apache-2.0 */
/* test_mla_format.c -- records of keys in parts whose first elements are the values: text,
 * layout, hash, and what is refused. Their bytes are golden data (tools/golden/golden_mla.c).
 */
#include "support_format.h"

#include "../ir/problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Each record: bytes of a page of 64 tokens, and where things of token 5 lie. */
static void test_layouts(void **state)
{
	static const struct {
		const char *name;
		int64_t dim_k, dim_v, page, k, r, ks;
		kir_elem r_elem;
	} rows[] = {
		{ "mla_bf16", 576, 512, 64 * 1152, 5 * 1152, 5 * 1152 + 1024, -1, KIR_bf16 },
		{ "mla_e4m3", 576, 512, 64 * 576, 5 * 576, 5 * 576 + 512, -1, KIR_e4m3fn },
		{ "fp8_ds_mla", 576, 512, 64 * 656, 5 * 656, 5 * 656 + 528, 5 * 656 + 512,
		  KIR_bf16 },
		{ "fp8_ds_mla_f32", 576, 512, 64 * 656, 5 * 656, 5 * 656 + 528, 5 * 656 + 512,
		  KIR_bf16 },
		{ "mla_584", 512, 512, 37440, 5 * 576, 5 * 576 + 448, 64 * 576 + 5 * 8,
		  KIR_bf16 },
		{ "mla_528", 512, 512, 64 * 528, 5 * 528, -1, 5 * 528 + 512, KIR_VOID },
		{ "mla_352", 576, 512, 64 * 352, 5 * 352, 5 * 352 + 256, 5 * 352 + 320,
		  KIR_e4m3fn },
		{ "index_e4m3", 128, 128, 8448, 5 * 128, -1, 64 * 128 + 5 * 4, KIR_VOID },
		{ "index_mxfp8", 128, 128, 8448, 5 * 128, -1, 64 * 128 + 5 * 4, KIR_VOID },
	};
	static const int64_t at[4] = { 0, 0, 5, 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		kir_module *m = kir_module_new();
		const kir_format *f = support_format_get(m, rows[i].name);
		kir_shape s = { 1, rows[i].dim_k, rows[i].dim_v, 64 };
		const int64_t want[KIR_NSTREAM] = {
			rows[i].k, -1, rows[i].r, rows[i].ks, -1, -1
		};
		kir_diag d = { 0 };
		kir_layout l;

		assert_true(kir_format_layout(f, &s, &l, &d));
		assert_int_equal(l.ntensor, 1);
		assert_int_equal(l.tensor[0].page_bytes, rows[i].page);
		for (int k = 0; k < KIR_NSTREAM; k++) {
			const kir_type *t = &l.stream[k].type;
			int64_t to = l.stream[k].offset;

			assert_int_equal(l.stream[k].tensor, want[k] < 0 ? -1 : 0);
			for (unsigned p = 0; want[k] >= 0 && p < t->npieces; p++)
				to += at[t->piece[p].axis] *
				      (t->piece[p].dyn ? l.tensor[0].stride[t->piece[p].stride]
				                       : t->piece[p].stride);
			if (want[k] >= 0)
				assert_int_equal(to, want[k]);
		}
		if (rows[i].r >= 0) {
			assert_int_equal(l.stream[KIR_S_r].type.elem, rows[i].r_elem);
			assert_int_equal(l.stream[KIR_S_r].type.dim[3], 64);
		}
		kir_module_free(m);
	}
}

/* The print of a record parses to the same; statements for all sides and for R alone come in
 * any order of both. */
static void test_round_trip(void **state)
{
	static const char *const names[] = {
		"mla_bf16",       "mla_f16",    "mla_e4m3",       "mla_584",
		"mla_528",        "fp8_ds_mla", "mla_352",        "mla_584_floor",
		"fp8_ds_mla_f32", "index_e4m3", "index_e4m3_f32", "index_mxfp8",
		"index_mxfp8_row"
	};
	static const char *const texts[] = {
		"format x v1 { elem s8; scale f32 token-head amax/127 floor 1e-6; round away\n"
		"apply reciprocal; rest 32; r.apply divide; r.round even; r.nan zero\n"
		"tensor c [h t] { k[d] ks r[d] rs v[d] vs } }",
		"format x v1 { k.elem s8; v.elem e4m3fn; r.elem f16; k.round zero; rest 32\n"
		"scale f32 group 16 amax/127 floor 1e-6; r.scale none\n"
		"tensor c [h t] { k[d] ks[g] r[d] v[d] vs[g] } }",
	};

	(void)state;
	for (size_t i = 0; i < 15; i++) {
		kir_module *m = kir_module_new(), *n = kir_module_new();
		kir_diag d = { 0 };
		kir_text a = { 0 }, b = { 0 };
		const kir_format *f, *g;

		if (i < 13) {
			f = support_format_get(m, names[i]);
		} else {
			const char *t = texts[i - 13];

			assert_true(kir_format_parse_body(m, t, strlen(t), 1, &d));
			f = m->format[0];
		}
		kir_format_print(f, &a);
		assert_true(kir_format_parse_body(n, a.text, a.len, 1, &d));
		g = n->format[0];
		kir_format_print(g, &b);
		assert_string_equal(a.text, b.text);
		assert_true(kir_format_hash(f) == kir_format_hash(g));
		for (int k = 0; k < KIR_SIDES; k++) {
			assert_int_equal(f->side[k].elem, g->side[k].elem);
			assert_int_equal(f->side[k].gran, g->side[k].gran);
			assert_int_equal(f->side[k].round, g->side[k].round);
			assert_int_equal(f->side[k].nan, g->side[k].nan);
			assert_int_equal(f->side[k].reciprocal, g->side[k].reciprocal);
		}
		free(a.text);
		free(b.text);
		kir_module_free(m);
		kir_module_free(n);
	}
}

/* The two contracts of the 656-byte record are two formats. */
static void test_contracts_differ(void **state)
{
	kir_module *m = kir_module_new();

	(void)state;
	assert_true(kir_format_hash(support_format_get(m, "fp8_ds_mla")) !=
	            kir_format_hash(support_format_get(m, "fp8_ds_mla_f32")));
	assert_true(kir_format_hash(support_format_get(m, "mla_584")) !=
	            kir_format_hash(support_format_get(m, "mla_584_floor")));
	kir_module_free(m);
}

static void assert_refused(const char *text, const char *part)
{
	kir_module *m = kir_module_new();
	kir_diag d = { 0 };
	kir_problem p;
	char buf[2000];
	bool ok = kir_problem_parse(m, text, strlen(text), &p, &d) &&
	          kir_problem_expand(m, &p, kir_target_find("generic"), &d);

	kir_diag_text(&d, buf, sizeof(buf));
	if (ok || !strstr(buf, part))
		fail_msg("%s\n%s, not '%s'", text, ok ? "accepted" : buf, part);
	kir_module_free(m);
}

static void test_refusals(void **state)
{
	static const char *const rows[][2] = {
		{ "write kv=fp8_ds_mla heads=1 dim=560:512 page=64",
		  "fp8_ds_mla is for keys of 576 elements, not dim_k=560" },
		{ "write kv=mla_528 heads=1 dim=576:512 page=64",
		  "mla_528 is for keys of 512 elements, not dim_k=576" },
		{ "write kv=mla_352 heads=1 dim=512:448 page=64",
		  "mla_352 is for keys of 576 elements, not dim_k=512" },
		{ "write kv=fp8_ds_mla heads=2 dim=576:512 page=64",
		  "no piece of k is along h, so it is for one KV head (heads=N:1), not 2" },
		{ "write k=fp8_ds_mla v=int8 heads=1 dim=576:512 page=64",
		  "can't be mixed with another format; use one for both" },
		{ "write k=int8 v=index_e4m3 heads=1 dim=128 page=64",
		  "can't be mixed with another format; use one for both" },
		{ "format x v1 { elem bf16; scale none; values shared\n"
		  "tensor c [t] { k[d] v[d] } }\nwrite kv=x heads=1 dim=64 page=8",
		  "v is placed, but values are shared with the keys" },
		{ "format x v1 { elem bf16; scale none\n"
		  "tensor c [h t] { k[d] r[d] v[d] } }\nwrite kv=x heads=1 dim=64 page=8",
		  "r is placed, but keys have no rest" },
		{ "format x v1 { elem bf16; scale none; rest 16\n"
		  "tensor c [h t] { k[d] v[d] } }\nwrite kv=x heads=1 dim=64 page=8",
		  "no tensor holds r" },
		{ "format x v1 { elem bf16; scale none; r.elem f16\n"
		  "tensor c [h t] { k[d] v[d] } }\nwrite kv=x heads=1 dim=64 page=8",
		  "say with 'rest N' how many elements that is" },
		{ "format x v1 { elem bf16; scale none; values shared; v.round zero\n"
		  "tensor c [t] { k[d] } }\nwrite kv=x heads=1 dim=64 page=8",
		  "values shared: they are stored as keys are, v. says nothing" },
		{ "format x v1 { elem bf16; scale none; values few\n"
		  "tensor c [t] { k[d] } }\nwrite kv=x heads=1 dim=64 page=8",
		  "values that are stored need no statement; others are 'shared'" },
		{ "format x v1 { elem bf16; scale none; rest 4\n"
		  "tensor c [h t] { k[d] r[d] v[d] } }\nwrite kv=x heads=1 dim=64 page=8",
		  "rest must be an integer from 8 to 65536" },
		{ "format x v1 { elem bf16; scale none; rest 64\n"
		  "tensor c [h t] { k[d] r[d] v[d] } }\nwrite kv=x heads=1 dim=64 page=8",
		  "dim_k=64 must be more than the 64 elements of the rest" },
		{ "format x v1 { elem bf16; scale none; values shared\n"
		  "tensor c [t] { k[d] } }\nwrite kv=x heads=1 dim=64:128 page=8",
		  "values are the first 128 elements of the keys, which have 64" },
		{ "format x v1 { elem s8; scale f32 group 48 amax/127 floor 1e-6; values "
		  "shared\n"
		  "tensor c [t] { k[d] ks[g] } }\nwrite kv=x heads=1 dim=64 page=8",
		  "k's scale group of 48 doesn't divide a head of 64" },
		{ "format x v1 { elem s8; scale f32 token-head amax/127 floor 1e-6; rest 24\n"
		  "r.elem bf16; r.scale none; values shared\n"
		  "tensor c [t] { k[d] pad 1 r[d] ks } }\nwrite kv=x heads=1 dim=64 page=8",
		  "r is misaligned in tensor c" },
		{ "attn kv=fp8_ds_mla heads=16:1 dim=576:512 page=64 sparse=64 causal",
		  "sparse= and causal exclude each other: index lists name slots, not "
		  "positions" },
		{ "attn kv=fp8_ds_mla heads=16:1 dim=576:512 page=64 sparse=64 window=9",
		  "sparse= and window exclude each other" },
		{ "attn kv=fp8_ds_mla heads=16:1 dim=576:512 page=64 sparse=64 mask=\"k < q\"",
		  "sparse= and mask exclude each other" },
		{ "attn kv=fp8_ds_mla heads=16:1 dim=576:512 page=64 sparse=0",
		  "sparse must be a number from 1 to 1048576" },
		{ "attn kv=fp8_ds_mla heads=16:2 dim=576:512 page=64",
		  "it is for one KV head (heads=N:1), not 2" },
		{ "format x v1 { elem e4m3fn; scale f32 tensor given; rest 16; r.elem bf16\n"
		  "r.scale none; values shared\ntensor c [t] { k[d] r[d] } }\n"
		  "write kv=x heads=1 dim=64 page=8",
		  "k.scale and r.scale are both given or neither" },
		{ "format x v1 { elem bf16; scale none; rest 16\n"
		  "tensor c [h t] { [d] { k r } v[d] } }\nwrite kv=x heads=1 dim=64 page=8",
		  "K and R lie in one group along the head, but their sizes differ" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_refused(rows[i][0], rows[i][1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layouts),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_contracts_differ),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
