/* SPDX-License-Identifier: Apache-2.0 */
/* test_model.c -- what the model must know of a machine, knob by knob: each comparison is one
 * that holds on every machine, however its numbers are chosen.
 */
#include "../tune/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char decode[] =
    "attn q=bf16 kv=int8/token-head heads=8:2 dim=128 page=128 causal batch=2 ctx=4096";
static const char short_lists[] =
    "attn q=bf16 kv=int8/token-head heads=8:2 dim=128 page=128 causal batch=2 ctx=512";
static const char floats[] =
    "attn q=bf16 kv=e4m3/head heads=32:8 dim=128 page=128 causal batch=2 ctx=4096";
static const char lone[] =
    "attn q=bf16 kv=int8/token-head heads=4:1 dim=128 page=128 causal batch=1 ctx=16384";
static const char prefill[] =
    "attn q=bf16 kv=bf16 heads=8:2 dim=128 page=128 causal batch=1 ctx=2048 qlen=512";
static const char causal[] =
    "attn q=bf16 kv=bf16 heads=8:2 dim=128 page=256 causal batch=1 ctx=512 qlen=256";
static const char all_keys[] =
    "attn q=bf16 kv=bf16 heads=8:2 dim=128 page=256 batch=1 ctx=512 qlen=256";
static const char product[] =
    "gemm acts=e4m3/g128 weights=e4m3/g128 block=128 packed dim=4096 batch=256";
static const char writer[] =
    "write in=bf16 kv=int8/token-head heads=8 dim=128 page=128 batch=4 ctx=512";

typedef struct machine {
	const char *target;
	int threads;
	bool cold;
} machine;

static double time_of(const char *problem, const machine *m, const char *sched)
{
	kir_module *module = kir_module_new();
	const kir_target *t = kir_target_find(m->target);
	kir_diag d = { 0 };
	kir_problem p;
	kir_sched s = kir_sched_default();
	bool named[kir_nknobs];
	double seconds;

	assert_non_null(t);
	assert_true(kir_problem_parse(module, problem, strlen(problem), &p, &d));
	kt_model_of of = { kir_problem_expand(module, &p, t, &d), &p, t, m->threads, m->cold };

	assert_non_null(of.f);
	assert_true(kir_sched_parse(&s, named, sched, &d));
	seconds = kt_model_time(&of, &s);
	kir_module_free(module);
	return seconds;
}

/* On one machine: the first schedule should be faster than the second. */
static void faster(const char *problem, const machine *m, const char *fast, const char *slow)
{
	double a = time_of(problem, m, fast), b = time_of(problem, m, slow);

	if (!(a < b))
		fail_msg("%s for %s, %d threads: %s takes %g, %s %g", problem, m->target,
		         m->threads, fast, a, slow, b);
}

static const machine cold = { "avx512-bf16", 1, true }, warm = { "avx512-bf16", 1, false },
                     four = { "avx512-bf16", 4, true };

static void knobs_have_their_price(void **state)
{
	(void)state;
	/* every tile ends once */
	faster(decode, &warm, "kv_tile=64", "kv_tile=16");
	/* lines that are asked for early */
	faster(decode, &cold, "kv_tile=64 prefetch=one", "kv_tile=64 prefetch=off");
	/* twice, so that none is lost */
	faster(decode, &cold, "kv_tile=64 prefetch=both", "kv_tile=64 prefetch=one");
	/* but for those of a list's first tile, most of all of a short list */
	faster(short_lists, &cold, "kv_tile=32", "kv_tile=128");
	assert_true(
	    time_of(short_lists, &cold, "kv_tile=32") * time_of(decode, &cold, "kv_tile=128") <
	    time_of(short_lists, &cold, "kv_tile=128") * time_of(decode, &cold, "kv_tile=32"));
	/* one permutation instead of shifts */
	faster(floats, &warm, "kv_tile=64 decode=table", "kv_tile=64 decode=shift");
	/* two digits are two products; integers take four elements at once */
	faster(decode, &warm, "kv_tile=64 qk=int8 pv=int8", "kv_tile=64 qk=int8x2 pv=int8x2");
	faster(decode, &warm, "kv_tile=64 qk=int8x2 pv=int8x2", "kv_tile=64 qk=f32 pv=f32");
	/* weights that are widened once for more rows, rows once for more columns */
	faster(product, &warm, "m_tile=32 n_tile=64", "m_tile=8 n_tile=64");
	faster(product, &warm, "m_tile=32 n_tile=64", "m_tile=32 n_tile=32");
	/* queries that share the reading of a cache */
	faster(prefill, &cold, "kv_tile=64 q_tile=8", "kv_tile=64 q_tile=1");
	/* rows that don't fit are read again */
	faster(prefill, &cold, "kv_tile=64 q_tile=8 rows=8", "kv_tile=64 q_tile=8 rows=2");
	/* sums that the registers hold */
	faster(prefill, &cold, "kv_tile=64 q_tile=8 rows=8 cols=2",
	       "kv_tile=64 q_tile=8 rows=8 cols=4");
	/* each part looks at every slot */
	faster(writer, &cold, "parts=1", "parts=16");
	/* eight sums at once, not two: a short tile has a vector of scores for each row */
	faster(decode, &warm, "kv_tile=64 rows=4 cols=4", "kv_tile=64 rows=2 cols=1");
	/* a tile that is widened into memory is read from there */
	faster(decode, &warm, "kv_tile=64 fuse=on", "kv_tile=64 fuse=off");
	/* nothing hides what is waited for */
	assert_true(time_of(floats, &cold, "kv_tile=64 prefetch=off") >
	            1.2 * time_of(floats, &cold, "kv_tile=64 prefetch=one"));
	/* queries before the last see fewer keys, if tiles of keys are small enough to say so
	 */
	assert_true(time_of(causal, &cold, "kv_tile=64 q_tile=8") <
	            0.9 * time_of(all_keys, &cold, "kv_tile=64 q_tile=8"));
	assert_true(time_of(causal, &cold, "kv_tile=256 q_tile=8") ==
	            time_of(all_keys, &cold, "kv_tile=256 q_tile=8"));
	/* a head that the caches hold is read from memory once, however many query tiles there
	 * are */
	assert_true(time_of(prefill, &cold, "kv_tile=64 q_tile=1") <
	            4 * time_of(prefill, &cold, "kv_tile=64 q_tile=16"));
}

/* What was measured by hand on a machine with tiles (docs/backend-amx.md): each pair is the
 * faster way, then the slower. The model has these costs as numbers, so that it must order them
 * so. */
static void tiles_have_their_order(void **state)
{
	static const char
	    p8192[] = "attn q=bf16 kv=bf16/none/amx heads=32:8 dim=128 page=128 causal batch=1 "
	              "ctx=8192 qlen=8192",
	    p2048[] = "attn q=bf16 kv=bf16/none/amx heads=32:8 dim=128 page=128 causal batch=1 "
	              "ctx=2048 qlen=2048",
	    small[] = "attn q=bf16 kv=bf16/none/amx heads=32:8 dim=128 page=16 causal batch=1 "
	              "ctx=8192 qlen=8192",
	    e4m3[] =
	        "attn q=bf16 kv=e4m3/tensor/amx heads=32:8 dim=128 page=128 causal batch=1 "
	        "ctx=8192 qlen=8192",
	    int8[] = "attn q=bf16 kv=int8/token-head/amx heads=32:8 dim=128 page=128 causal "
	             "batch=1 ctx=8192 qlen=8192",
	    d_bf16[] =
	        "attn q=bf16 kv=bf16/none/amx heads=32:8 dim=128 page=128 causal batch=8 "
	        "ctx=8192",
	    d_e4m3[] = "attn q=bf16 kv=e4m3/tensor/amx heads=32:8 dim=128 page=128 causal "
	               "batch=8 ctx=8192";
	static const struct {
		const char *problem, *fast, *slow;
	} pairs[] = {
		/* a chunk that L2 holds serves a thousand rows, not 32, 128 */
		{ p8192, "kv_tile=128 q_tile=8 q_block=32 kv_chunk=1024",
		  "kv_tile=128 q_tile=8 q_block=0" },
		{ p8192, "kv_tile=128 q_tile=8 q_block=32 kv_chunk=1024",
		  "kv_tile=128 q_tile=8 q_block=4 kv_chunk=1024" },
		/* rows change at each tile of keys: their sums go to L2 and back */
		{ p8192, "kv_tile=128 q_tile=8 q_block=32 kv_chunk=1024",
		  "kv_tile=128 q_tile=8 q_block=32 kv_chunk=128" },
		/* a chunk that L2 doesn't hold is none */
		{ p8192, "kv_tile=128 q_tile=8 q_block=32 kv_chunk=1024",
		  "kv_tile=128 q_tile=8 q_block=32 kv_chunk=8192" },
		/* pages of 8 heads leave a head half of L2, smaller ones an eighth */
		{ p2048, "kv_tile=128 q_tile=8 q_block=16 kv_chunk=1024",
		  "kv_tile=128 q_tile=8 q_block=16 kv_chunk=2048" },
		{ small, "kv_tile=16 q_tile=8 q_block=32 kv_chunk=256",
		  "kv_tile=16 q_tile=8 q_block=32 kv_chunk=1024" },
		/* 32 rows fit L1, 64 don't; 16 load a tile of keys for one product */
		{ p2048, "kv_tile=128 q_tile=8 q_block=32",
		  "kv_tile=128 q_tile=16 q_block=16" },
		{ p2048, "kv_tile=128 q_tile=8 q_block=32", "kv_tile=128 q_tile=4 q_block=64" },
		{ p8192, "kv_tile=128 q_tile=8 q_block=32",
		  "kv_tile=128 q_tile=16 q_block=16" },
		/* what streams through L1 takes what lies there with it */
		{ p8192, "kv_tile=128 q_tile=8 q_block=32 stream=cache",
		  "kv_tile=128 q_tile=8 q_block=32 stream=off" },
		{ p2048, "kv_tile=128 q_tile=8 q_block=32",
		  "kv_tile=128 q_tile=8 q_block=32 stream=off" },
		/* blocks of two by two tiles: each load feeds two products */
		{ p8192, "kv_tile=128 q_tile=8 q_block=32",
		  "kv_tile=128 q_tile=8 q_block=32 rows=16" },
		/* sums are loaded and stored for twice as many products */
		{ p2048, "kv_tile=128 q_tile=8 q_block=32", "kv_tile=64 q_tile=8 q_block=32" },
		/* lines touched ahead */
		{ p8192, "kv_tile=128 q_tile=8 q_block=32 prefetch=off",
		  "kv_tile=128 q_tile=8 q_block=32 prefetch=one" },
		/* codes widened once for many rows */
		{ e4m3, "kv_tile=128 q_tile=8 q_block=16", "kv_tile=128 q_tile=8 q_block=4" },
		{ e4m3, "kv_tile=128 q_tile=8 q_block=16 widen=on",
		  "kv_tile=128 q_tile=8 q_block=16 widen=off" },
		/* values of a tile beside the weights of the next, a third at most of the time;
		 * not where weights are digits, which take as many vectors again */
		{ p8192, "kv_tile=128 q_tile=8 q_block=32",
		  "kv_tile=128 q_tile=8 q_block=32 pipeline=off" },
		{ p8192, "kv_tile=128 q_tile=8 q_block=32 pipeline=off",
		  "kv_tile=128 q_tile=8 q_block=32 pipeline=on" },
		{ int8, "kv_tile=128 q_tile=8 q_block=16 pv=bf16",
		  "kv_tile=128 q_tile=8 q_block=16 pv=bf16 pipeline=off" },
		{ int8, "kv_tile=128 q_tile=8 q_block=16 pv=bf16",
		  "kv_tile=128 q_tile=8 q_block=16" },
		/* tiles for vectors */
		{ p2048, "kv_tile=128 q_tile=8", "kv_tile=64 q_tile=16 tiles=off" },
		{ e4m3, "kv_tile=128 q_tile=8 q_block=16", "kv_tile=64 q_tile=16 tiles=off" },
		/* decode: bf16 runs alone, 8-bit floats want the next lines in L2 */
		{ d_bf16, "kv_tile=128 prefetch=one", "kv_tile=128 prefetch=off" },
		{ d_e4m3, "kv_tile=128 prefetch=one hint=t1",
		  "kv_tile=128 prefetch=one hint=t0" },
		{ d_e4m3, "kv_tile=128 prefetch=one hint=t0",
		  "kv_tile=128 prefetch=one hint=nta" },
		{ d_e4m3, "kv_tile=128 prefetch=one", "kv_tile=128 prefetch=off" },
	};
	static const machine cold_tiles = { "amx", 1, true };

	(void)state;
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
		faster(pairs[i].problem, &cold_tiles, pairs[i].fast, pairs[i].slow);
}

/* Pieces are for cores that would idle, and cost a join. */
static void pieces_are_for_idle_cores(void **state)
{
	(void)state;
	faster(lone, &four, "kv_tile=64 split=4096", "kv_tile=64 split=0");
	faster(lone, &cold, "kv_tile=64 split=0", "kv_tile=64 split=512");
}

static void machines_differ(void **state)
{
	static const char s[] = "kv_tile=64";
	machine plain = { "avx2", 1, false };

	(void)state;
	assert_true(time_of(decode, &warm, s) <= time_of(decode, &cold, s));
	assert_true(time_of(floats, &four, s) < time_of(floats, &cold, s));
	assert_true(time_of(decode, &warm, s) < time_of(decode, &plain, s));
}

static void sizes_scale(void **state)
{
	static const char longer[] = "attn q=bf16 kv=int8/token-head heads=8:2 dim=128 "
	                             "page=128 causal batch=2 ctx=8192";
	static const char unsized[] =
	    "attn q=bf16 kv=int8/token-head heads=8:2 dim=128 page=128 causal";
	static const char s[] = "kv_tile=64";
	double t = time_of(decode, &cold, s);

	(void)state;
	assert_true(t > 1e-6 && t < 1e-1); /* of 4 MiB */
	assert_true(fabs(time_of(longer, &cold, s) / t - 2) < 0.1);
	/* one decode of 4096 tokens: half a batch of two */
	assert_true(fabs(time_of(unsized, &cold, s) / t - 0.5) < 0.05);
}

/* Two codes a byte are two factors: arithmetic of 4 bits is that of 8, and only their bytes are
 * half as many. */
static void halves_of_bytes_are_factors(void **state)
{
	static const char eight[] = "gemm acts=bf16 weights=mxfp8 dim=4096 batch=256",
	                  four_w[] = "gemm acts=bf16 weights=mxfp4 dim=4096 batch=256",
	                  both[] = "gemm acts=mxfp8 weights=mxfp8 dim=4096 batch=256",
	                  four_a[] = "gemm acts=mxfp4 weights=mxfp4 dim=4096 batch=256",
	                  ints[] = "gemm acts=bf16 weights=int4/g32 dim=4096 batch=256",
	                  row8[] = "gemm acts=bf16 weights=mxfp8 dim=4096 batch=1",
	                  row4[] = "gemm acts=bf16 weights=mxfp4 dim=4096 batch=1";
	static const char s[] = "m_tile=32 n_tile=64";
	double t = time_of(eight, &warm, s), ratio;

	(void)state;
	assert_true(fabs(time_of(four_w, &warm, s) / t - 1) < 0.02);
	assert_true(fabs(time_of(four_a, &warm, s) / time_of(both, &warm, s) - 1) < 0.02);
	assert_true(fabs(time_of(ints, &warm, s) / t - 1) < 0.1);
	/* from memory, a single row: between half, which its bytes are, and all */
	ratio = time_of(row4, &cold, s) / time_of(row8, &cold, s);
	assert_true(ratio > 0.5 && ratio < 0.95);
	/* twice the contraction is twice the time, however its codes lie */
	ratio = time_of("gemm acts=bf16 weights=mxfp4 dim=8192:4096 batch=256", &warm, s) /
	        time_of(four_w, &warm, s);
	assert_true(fabs(ratio - 2) < 0.1);
}

/* What a product widens once for many, and what that costs. */
static void products_share_what_is_widened(void **state)
{
#define E4M3 "gemm acts=e4m3/g128 weights=e4m3/g128 block=128 packed dim=4096 batch="
	static const machine tiles = { "amx", 1, true };
	const machine *of[] = { &warm, &cold, &tiles };

	(void)state;
	for (int i = 0; i < 3; i++) {
		/* weights once for 256 rows, not for each 32 */
		faster(E4M3 "256", of[i], "m_chunk=256", "m_chunk=0");
		faster(E4M3 "512", of[i], "m_chunk=512", "m_chunk=64");
		/* rows once for 256 columns, not for each 64 */
		faster(E4M3 "256", of[i], "m_chunk=256 n_chunk=256", "m_chunk=256 n_chunk=64");
		/* sums that leave L2 */
		faster(E4M3 "4096", of[i], "m_chunk=256 n_chunk=256",
		       "m_chunk=4096 n_chunk=4096");
	}
	/* two pieces of work for four cores */
	faster(E4M3 "256", &four, "m_chunk=256 n_chunk=256", "m_chunk=256 n_chunk=2048");
	/* multiplied while lines come, or widened into a local first */
	faster(E4M3 "16", &cold, "m_tile=16 fuse=on", "m_tile=16 fuse=off");
	/* lines of weights that are asked for early */
	faster(E4M3 "1", &cold, "prefetch=one", "prefetch=off");
}

/* Few rows are tiles of 8, 4 and 1, cut at the last row. */
static void few_rows_widen_weights_once(void **state)
{
	double one = time_of(E4M3 "1", &warm, ""), two = time_of(E4M3 "2", &warm, ""),
	       four_rows = time_of(E4M3 "4", &warm, ""), five = time_of(E4M3 "5", &warm, ""),
	       eight = time_of(E4M3 "8", &warm, ""), nine = time_of(E4M3 "9", &warm, "");

	(void)state;
	assert_true(two < 2 * one && eight < 2 * four_rows);
	/* a cut tile takes as long as a whole one */
	assert_true(fabs(two / four_rows - 1) < 1e-6 && fabs(five / eight - 1) < 1e-6);
	/* the ninth row reads all weights again */
	assert_true(nine > 1.1 * eight);
	/* a tile of 16 widens once for more rows */
	faster(E4M3 "16", &warm, "m_tile=16", "m_tile=4");
}

/* The model counts with what auto of knobs prefetch and rescale becomes, not with words of its
 * own. Products in vectors, for tile registers ask for lines by themselves. */
static void auto_is_what_it_stands_for(void **state)
{
	static const machine tiles = { "amx", 1, true };
	static const struct {
		const machine *m;
		const char *open, *said;
	} row[] = {
		{ &cold, "q_tile=1", "q_tile=1 prefetch=both rescale=always" },
		{ &cold, "q_tile=4", "q_tile=4 prefetch=both rescale=lazy" },
		{ &tiles, "q_tile=1 tiles=off",
		  "q_tile=1 tiles=off prefetch=one rescale=always" },
		{ &tiles, "q_tile=4 tiles=off",
		  "q_tile=4 tiles=off prefetch=off rescale=lazy" },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof row / sizeof *row; i++)
		if (time_of(decode, row[i].m, row[i].open) !=
		    time_of(decode, row[i].m, row[i].said))
			fail_msg("%s: %s isn't %s", row[i].m->target, row[i].open, row[i].said);
}

static void what_cant_be_is_infinite(void **state)
{
	(void)state;
	assert_true(isinf(time_of(decode, &cold, "kv_tile=48")));
	assert_true(isfinite(time_of(decode, &cold, "kv_tile=32")));
	assert_true(isinf(time_of(product, &cold, "m_chunk=100")));
	assert_true(isinf(time_of(product, &cold, "m_chunk=64 n_chunk=100")));
	assert_true(isinf(time_of(product, &cold, "n_tile=256")));
	assert_true(isfinite(time_of(product, &cold, "m_chunk=64 n_chunk=128")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knobs_have_their_price),
		cmocka_unit_test(tiles_have_their_order),
		cmocka_unit_test(pieces_are_for_idle_cores),
		cmocka_unit_test(machines_differ),
		cmocka_unit_test(sizes_scale),
		cmocka_unit_test(halves_of_bytes_are_factors),
		cmocka_unit_test(products_share_what_is_widened),
		cmocka_unit_test(few_rows_widen_weights_once),
		cmocka_unit_test(auto_is_what_it_stands_for),
		cmocka_unit_test(what_cant_be_is_infinite),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
