/* SPDX-License-Identifier: Apache-2.0 */
/* test_space.c -- the spaces of real problems: what is in them, what never is, and that the
 * model has an opinion about each candidate.
 */
#include "../tune/model.h"
#include "../tune/space.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* qk, pv: the words that may be in the space; what is less exact than auto may not. */
typedef struct sample {
	const char *problem, *target;
	const char *dflt; /* the default, resolved */
	const char *qk, *pv;
	unsigned least;
} sample;

static const sample samples[] = {
	{ "attn q=bf16 kv=int8/token-head heads=32:8 dim=128 page=128 causal batch=4 ctx=8192",
	  "avx512-vnni", "kv_tile=128 q_tile=1", "auto,f32,bf16,int8,int8x2",
	  "auto,f32,bf16,int8,int8x2", 1000 },
	{ "attn q=f32 kv=int8/token-head heads=8:2 dim=64 page=64 causal ctx=2048",
	  "avx512-vnni", "kv_tile=64 q_tile=1", "auto,f32,int8x2", "auto,f32,int8x2", 1000 },
	{ "attn q=bf16 kv=int8/token-head heads=8:2 dim=64 page=64 causal ctx=2048", "avx2",
	  "kv_tile=64 q_tile=1", "auto,f32,bf16", "auto,f32", 500 },
	{ "attn q=bf16 kv=e4m3/head heads=32:8 dim=128 page=64 causal ctx=4096", "avx512-bf16",
	  "kv_tile=64 q_tile=1", "auto,f32,bf16", "auto,f32", 500 },
	{ "attn q=f16 kv=e4m3/head heads=32:8 dim=128 page=64 causal ctx=4096", "avx512-bf16",
	  "kv_tile=64 q_tile=1", "auto,f32", "auto,f32", 500 },
	{ "attn q=bf16 kv=bf16 heads=8:8 dim=64 page=32 causal ctx=1024", "avx512-bf16",
	  "kv_tile=32 q_tile=1", "auto,f32,bf16", "auto,f32", 500 },
	{ "attn q=f32 kv=f16 heads=8:8 dim=64 page=16 ctx=1024", "avx2", "kv_tile=16 q_tile=1",
	  "auto,f32", "auto,f32", 100 },
	{ "attn q=bf16 kv=int8/token-head heads=8:2 dim=128 page=128 causal batch=2 ctx=1024 "
	  "qlen=512",
	  "avx512-bf16", "kv_tile=128 q_tile=8", "auto,f32,bf16,int8,int8x2",
	  "auto,f32,bf16,int8,int8x2", 1000 },
	{ "attn q=bf16 kv=e4m3/tensor/amx heads=32:8 dim=128 page=128 causal batch=1 ctx=8192 "
	  "qlen=8192",
	  "amx", "kv_tile=128 q_tile=8 q_block=8", "auto,f32,bf16", "auto,f32", 1000 },
	{ "write in=bf16 kv=int8/token-head heads=8 dim=128 page=128", "avx512", "parts=0",
	  "auto", "auto", 6 },
	{ "gemm acts=e4m3/g128 weights=e4m3/g128 block=128 packed dim=4096 batch=256",
	  "avx512-bf16", "", "auto", "auto", 1000 },
	{ "gemm acts=bf16 weights=bf16 dim=1024:48 batch=16", "avx512-bf16", "", "auto", "auto",
	  100 },
};
enum { SAMPLES = sizeof(samples) / sizeof(samples[0]) };

typedef struct made {
	kir_module *m;
	kir_problem p;
	kir_func *f;
	kt_space s;
	const kir_target *target;
	char why[600];
	bool ok;
} made;

/* As tools/tune_place.c does it. */
static made make(const char *problem, const char *target, const char *dflt)
{
	made x = { .m = kir_module_new(), .target = kir_target_find(target) };
	kir_diag d = { 0 };
	bool named[kir_nknobs];

	assert_non_null(x.target);
	if (!kir_problem_parse(x.m, problem, strlen(problem), &x.p, &d))
		fail_msg("%s: %s", problem, kir_diag_text(&d, x.why, sizeof(x.why)));
	x.f = kir_problem_expand(x.m, &x.p, x.target, &d);
	assert_non_null(x.f);
	if (*dflt)
		assert_true(kir_sched_parse(&x.f->sched, named, dflt, &d));
	x.ok = kt_space_make(x.f, x.p.has_knob, &x.p, &x.s, &d);
	kir_diag_text(&d, x.why, sizeof(x.why));
	return x;
}

static made make_sample(const sample *s)
{
	made x = make(s->problem, s->target, s->dflt);

	if (!x.ok)
		fail_msg("%s: %s", s->problem, x.why);
	return x;
}

static void release(made *x)
{
	kt_space_free(&x->s);
	kir_module_free(x->m);
}

static bool is_among(const char *words, const char *word)
{
	size_t n = strlen(word);

	for (const char *w = words; w; w = strchr(w, ',') ? strchr(w, ',') + 1 : NULL)
		if (strcspn(w, ",") == n && !memcmp(w, word, n))
			return true;
	return false;
}

/* -- what a space is ----------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(kir_sched));
}

static void the_default_is_first_and_all_differ(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SAMPLES; i++) {
		made x = make_sample(&samples[i]);
		kir_sched stranger = x.f->sched;

		if (x.s.n < samples[i].least || x.s.n > 20000)
			fail_msg("%s: %u candidates, not %u to 20000: a new knob says in "
			         "tune/space.c where it matters (makes_sense), and which knobs "
			         "go before it where they are too many (spare)",
			         samples[i].problem, x.s.n, samples[i].least);
		assert_memory_equal(&x.s.at[0], &x.f->sched, sizeof(kir_sched));
		for (unsigned c = 0; c < x.s.n; c += 1 + x.s.n / 50)
			assert_int_equal(kt_space_find(&x.s, &x.s.at[c]), c);
		stranger.kv_tile = 7;
		assert_int_equal(kt_space_find(&x.s, &stranger), -1);
		qsort(x.s.at, x.s.n, sizeof(kir_sched), by_bytes);
		for (unsigned c = 1; c < x.s.n; c++)
			assert_memory_not_equal(&x.s.at[c - 1], &x.s.at[c], sizeof(kir_sched));
		release(&x);
	}
}

/* Each candidate differs from the default only in knobs that vary, by values listed. */
static void knobs_take_their_values(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SAMPLES; i++) {
		made x = make_sample(&samples[i]);
		unsigned seen[32][16] = { { 0 } };

		for (unsigned c = 0; c < x.s.n; c++) {
			kir_sched at = x.s.at[c];

			for (unsigned k = 0; k < x.s.nknob; k++) {
				unsigned v = 0;
				int *knob = kir_sched_knob(&at, x.s.knob[k]);

				while (v < x.s.nvalue[k] && x.s.value[k][v] != *knob)
					v++;
				assert_true(v < x.s.nvalue[k]);
				seen[k][v]++;
				*knob = x.s.value[k][0];
			}
			assert_memory_equal(&at, &x.f->sched, sizeof(at));
		}
		for (unsigned k = 0; k < x.s.nknob; k++) {
			assert_true(x.s.nvalue[k] > 1);
			for (unsigned v = 0; v < x.s.nvalue[k]; v++)
				assert_true(seen[k][v] > 0);
		}
		release(&x);
	}
}

static void sizes_are_meaningful(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SAMPLES; i++) {
		made x = make_sample(&samples[i]);
		int64_t group = x.p.kv_heads ? x.p.heads / x.p.kv_heads : 1;

		for (unsigned c = 0; c < x.s.n; c++) {
			const kir_sched *s = &x.s.at[c];

			if (x.p.kind == KIR_GEMM) {
				assert_true(!s->kv_tile && !s->split && !s->stores);
				assert_true(s->m_tile <= x.p.batch);
				assert_true(s->n_tile <= x.p.dim_v);
				assert_true(x.p.block <= 1 || !s->n_tile ||
				            x.p.block % s->n_tile == 0);
				continue;
			}
			if (x.p.kind != KIR_ATTN) {
				assert_true(!s->kv_tile && !s->split && !s->rows);
				continue;
			}
			assert_true(s->kv_tile > 0 && x.p.page % s->kv_tile == 0);
			assert_true(!s->split || s->split % x.p.page == 0);
			assert_true(s->split < x.p.ctx);
			assert_true(!s->split || x.p.qlen <= 1);
			assert_true(s->q_tile * group <= 64);
			assert_true(x.p.qlen > 1 || s->q_tile == 1);
			assert_true(!s->parts && !s->stores);
		}
		release(&x);
	}
}

static unsigned splits_of(const char *problem, const char *dflt, bool *whole)
{
	made x = make(problem, "avx512-vnni", dflt);
	unsigned n = 1;

	assert_true(x.ok);
	*whole = false;
	for (unsigned c = 0; c < x.s.n; c++)
		*whole |= !x.s.at[c].split;
	for (unsigned k = 0; k < x.s.nknob; k++)
		if (!strcmp(kir_knobs[x.s.knob[k]].name, "split"))
			n = x.s.nvalue[k];
	release(&x);
	return n;
}

/* Pieces are for batches that leave cores idle, and not even for all of those. */
static void splitting_is_a_choice(void **state)
{
	bool whole;

	(void)state;
	assert_int_equal(splits_of("attn q=bf16 kv=int8/token-head heads=8:2 dim=128 page=128 "
	                           "causal batch=1 ctx=4096 qk=f32 pv=f32",
	                           "kv_tile=128 q_tile=1 split=2048", &whole),
	                 4);
	assert_true(whole);
	assert_int_equal(splits_of("attn q=bf16 kv=int8/token-head heads=8:2 dim=128 page=128 "
	                           "causal batch=32 ctx=4096 qk=f32 pv=f32",
	                           "kv_tile=128 q_tile=1 split=0", &whole),
	                 1);
	assert_true(whole);
}

static const char *word_at(const char *knob, int value)
{
	static char word[20];
	const char *w = "";

	for (unsigned i = 0; i < kir_nknobs; i++)
		if (!strcmp(kir_knobs[i].name, knob))
			w = kir_knobs[i].values;
	while (value--)
		w = strchr(w, ',') + 1;
	snprintf(word, sizeof(word), "%.*s", (int)strcspn(w, ","), w);
	return word;
}

static void no_arithmetic_is_less_exact_than_auto(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SAMPLES; i++) {
		made x = make_sample(&samples[i]);

		for (unsigned c = 0; c < x.s.n; c++) {
			const char *qk = word_at("qk", x.s.at[c].qk), *pv;

			if (!is_among(samples[i].qk, qk))
				fail_msg("%s for %s: qk=%s", samples[i].problem,
				         samples[i].target, qk);
			pv = word_at("pv", x.s.at[c].pv);
			if (!is_among(samples[i].pv, pv))
				fail_msg("%s for %s: pv=%s", samples[i].problem,
				         samples[i].target, pv);
		}
		release(&x);
	}
}

static void nothing_is_hinted_that_isnt_fetched(void **state)
{
	made x = make("attn q=bf16 kv=e4m3/head heads=8:2 dim=64 page=64 ctx=512 kv_tile=32 "
	              "split=0 qk=f32 pv=f32 rows=0 fuse=off",
	              "avx512", "q_tile=1");
	bool hinted = false;

	(void)state;
	assert_true(x.ok);
	for (unsigned c = 0; c < x.s.n; c++) {
		hinted |= x.s.at[c].hint != 0;
		if (!strcmp(word_at("prefetch", x.s.at[c].prefetch), "off"))
			assert_int_equal(x.s.at[c].hint, 0);
	}
	assert_true(hinted);
	release(&x);
}

/* Chunks of keys, and what is widened in them, are tried where products take tile registers. */
static void blocks_are_for_tiles(void **state)
{
	static const char *const targets[] = { "amx", "avx512-bf16" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		made x =
		    make("attn q=bf16 kv=e4m3/tensor/amx heads=8:2 dim=128 page=128 causal "
		         "batch=1 ctx=8192 qlen=8192 qk=auto pv=auto tiles=auto stream=auto "
		         "rescale=lazy",
		         targets[i], "kv_tile=128 q_tile=8 q_block=8");
		unsigned one = 0, chunk = 0, apart = 0, beside = 0;

		assert_true(x.ok);
		for (unsigned c = 0; c < x.s.n; c++) {
			const kir_sched *s = &x.s.at[c];

			one += s->q_block == 0;
			chunk += s->kv_chunk > 0;
			apart += s->widen > 0;
			beside += s->pipeline > 0;
			assert_true(s->q_block > 1 || (!s->kv_chunk && !s->widen));
			assert_true(!s->kv_chunk || s->kv_chunk % s->kv_tile == 0);
		}
		assert_true(i ? !one && !chunk && !apart : one && chunk && apart);
		assert_true(i ? !beside : beside);
		release(&x);
	}
}

/* Rows of index lists come in strips or whole; the way that isn't the default is tried, where
 * there are two: with tiles, of what bf16 holds. */
static void rows_of_index_lists_come_in_two_ways(void **state)
{
	static const struct {
		const char *target, *cache;
		int heads, widen;
	} rows[] = { { "amx", "fp8_ds_mla", 16, KIR_widen_off },
		     { "amx", "mla_bf16", 32, KIR_widen_on },
		     { "avx512-bf16", "fp8_ds_mla", 16, 0 } };
	char text[200];

	(void)state;
	for (int i = 0; i < 3; i++) {
		unsigned tried = 0, other = 0;

		snprintf(text, sizeof text,
		         "attn q=bf16 kv=%s heads=%d:1 dim=576:512 page=64 sparse=2048 batch=1 "
		         "ctx=8192",
		         rows[i].cache, rows[i].heads);
		made x = make(text, rows[i].target, "kv_tile=64");

		assert_true(x.ok);
		for (unsigned c = 0; c < x.s.n; c++) {
			tried += x.s.at[c].widen && x.s.at[c].widen == rows[i].widen;
			other += x.s.at[c].widen && x.s.at[c].widen != rows[i].widen;
		}
		assert_true(!other && !tried == !rows[i].widen);
		release(&x);
	}
}

/* In a prefill in tile registers products in bf16 are all that is tried beside what auto takes:
 * of bytes, both of scores and of weights. */
static void tiles_have_two_arithmetics(void **state)
{
	static const char *const formats[] = { "int8/token-head/amx", "e4m3/tensor/amx" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		char problem[160];
		bool had[2][8] = { { 0 } };

		snprintf(
		    problem, sizeof problem,
		    "attn q=bf16 kv=%s heads=32:8 dim=128 page=128 causal batch=1 ctx=8192 "
		    "qlen=8192",
		    formats[i]);
		made x = make(problem, "amx", "kv_tile=128 q_tile=8 q_block=16 rescale=lazy");

		assert_true(x.ok);
		for (unsigned c = 0; c < x.s.n; c++) {
			had[0][x.s.at[c].qk] = true;
			had[1][x.s.at[c].pv] = true;
		}
		for (int k = 0; k < 2; k++)
			for (int a = 1; a < 8; a++)
				assert_int_equal(had[k][a], !i && a == KIR_ARITH_bf16);
		release(&x);
	}
}

/* Columns are widened for together only beside rows, in whole tiles of both; what is widened
 * once is neither fused nor touched ahead. So the two knobs leave room for all others but
 * `cols` and `unroll`. */
static void chunks_of_products_are_possible_ones(void **state)
{
	made x =
	    make("gemm acts=e4m3/g128 weights=e4m3/g128 block=128 packed dim=4096 batch=256",
	         "avx512-bf16", "m_chunk=256");
	unsigned chunk = 0, apart = 0, blocks = 0;

	(void)state;
	assert_true(x.ok);
	for (unsigned c = 1; c < x.s.n; c++) {
		const kir_sched *s = &x.s.at[c];

		chunk += s->m_chunk && s->n_chunk;
		apart += !s->m_chunk;
		blocks += s->rows > 0;
		assert_true(s->m_chunk || !s->n_chunk);
		assert_true(!s->m_chunk || (!s->fuse && !s->prefetch));
		assert_true(!s->m_chunk || !s->m_tile || s->m_chunk % s->m_tile == 0);
		assert_true(!s->n_chunk || !s->n_tile || s->n_chunk % s->n_tile == 0);
	}
	assert_true(chunk && apart && blocks && x.s.n < 20000);
	release(&x);
}

/* -- what a user chose, and what can't vary ------------------------------------------------ */

static void given_knobs_dont_vary(void **state)
{
	made x =
	    make("attn q=bf16 kv=int8/token-head heads=8:2 dim=128 page=128 causal ctx=4096 "
	         "kv_tile=32 rows=3 fuse=on",
	         "avx512-vnni", "q_tile=1");

	(void)state;
	assert_true(x.ok);
	assert_true(x.s.n > 10);
	for (unsigned c = 0; c < x.s.n; c++) {
		assert_int_equal(x.s.at[c].kv_tile, 32);
		assert_int_equal(x.s.at[c].rows, 3);
		assert_string_equal(word_at("fuse", x.s.at[c].fuse), "on");
	}
	release(&x);
}

static void refused(const char *problem, const char *sentence)
{
	made x = make(problem, "avx512", "");

	if (x.ok)
		fail_msg("%s: %u candidates, none was to be left", problem, x.s.n);
	if (!strstr(x.why, sentence))
		fail_msg("%s: %s", problem, x.why);
	assert_null(x.s.at);
	kir_module_free(x.m);
}

static void what_cant_vary_is_refused(void **state)
{
	(void)state;
	refused("quant in=bf16 to=int8/token-head heads=8 dim=128",
	        "there is nothing to tune: schedules vary for attn, write, gemm and index "
	        "problems");
	refused("merge out=bf16 heads=8 dim=128", "there is nothing to tune: schedules vary "
	                                          "for attn, write, gemm and index problems");
	refused(
	    "write in=bf16 kv=int8/token-head heads=8 dim=128 page=128 parts=4 stores=cached "
	    "hint=auto",
	    "there is nothing to tune: every knob was given");
	refused("attn q=bf16 kv=int8/token-head heads=8:2 dim=128 page=128 kv_tile=16 q_tile=1 "
	        "split=0 qk=f32 pv=f32 rows=1 cols=1 unroll=1 fuse=off prefetch=off hint=auto "
	        "decode=auto",
	        "there is nothing to tune: every knob was given");
}

/* -- the model ----------------------------------------------------------------------------- */

static void the_model_orders_candidates(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SAMPLES; i++) {
		made x = make_sample(&samples[i]);
		kt_model_of cold = { x.f, &x.p, x.target, 1, true }, warm = cold;
		double least = INFINITY, most = 0;
		kir_text text = { 0 };

		warm.cold = false;
		for (unsigned c = 0; c < x.s.n; c++) {
			double t = kt_model_time(&cold, &x.s.at[c]);

			assert_true(t > 0 && isfinite(t));
			assert_true(t == kt_model_time(&cold, &x.s.at[c]));
			if (x.p.kind == KIR_ATTN)
				assert_true(kt_model_time(&warm, &x.s.at[c]) <= t);
			least = t < least ? t : least;
			most = t > most ? t : most;
		}
		/* a write is bound by memory, whatever its knobs */
		assert_true(most > (x.p.kind == KIR_WRITE ? 1 : 1.02) * least);
		kt_model_explain(&cold, &x.s.at[0], &text);
		assert_true(text.len > 10);
		free(text.text);
		release(&x);
	}
}

static void the_model_knows_sizes(void **state)
{
	made x = make_sample(&samples[0]);
	kir_problem more = x.p;
	kt_model_of one = { x.f, &x.p, x.target, 1, true }, two = one, longer = one;
	kir_sched odd = x.f->sched;
	double t = kt_model_time(&one, &x.f->sched);

	(void)state;
	more.ctx *= 2;
	longer.p = &more;
	assert_true(kt_model_time(&longer, &x.f->sched) > 1.8 * t);
	two.threads = 2;
	assert_true(kt_model_time(&two, &x.f->sched) < 0.7 * t);
	odd.kv_tile = 48; /* doesn't divide the page */
	assert_true(isinf(kt_model_time(&one, &odd)));
	release(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_default_is_first_and_all_differ),
		cmocka_unit_test(knobs_take_their_values),
		cmocka_unit_test(sizes_are_meaningful),
		cmocka_unit_test(splitting_is_a_choice),
		cmocka_unit_test(no_arithmetic_is_less_exact_than_auto),
		cmocka_unit_test(nothing_is_hinted_that_isnt_fetched),
		cmocka_unit_test(blocks_are_for_tiles),
		cmocka_unit_test(rows_of_index_lists_come_in_two_ways),
		cmocka_unit_test(tiles_have_two_arithmetics),
		cmocka_unit_test(chunks_of_products_are_possible_ones),
		cmocka_unit_test(given_knobs_dont_vary),
		cmocka_unit_test(what_cant_vary_is_refused),
		cmocka_unit_test(the_model_orders_candidates),
		cmocka_unit_test(the_model_knows_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
