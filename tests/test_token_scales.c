/* SPDX-License-Identifier: Apache-2.0 */
/* test_token_scales.c -- keys quantized by element and groups of tokens.
 *
 *   by hand    codes, scales and zero points of a group that a person can follow
 *   oracle     the rule in C of its own, for random rows: every byte of K and its scales
 *   window     what such a cache is for: the newest tokens in bf16, groups that fill up are
 *              transcoded behind them, attention reads both
 *   refused    calls that hand over parts of groups
 */
#include "support_api.h"

#include "../tools/check/bind.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROWS "format rows v1 { elem f32; scale none; tensor rows [h t] { k[d] v[d] } }\n"

static double noise(unsigned i)
{
	i = i * 747796405u + 2891336453u;
	i = ((i >> ((i >> 28) + 4)) ^ i) * 277803737u;
	return (double)((i >> 22) ^ i) / 2147483648.0 - 1;
}

/* A transcode from rows of f32: one head, keys and values of `dim` elements, pages of `page`.
 */
typedef struct move {
	bind b;
	int64_t dim, page, n;
	float *rows; /* [n][2 dim] */
	int64_t *from, *to;
	uint8_t *cache;
	int64_t page_bytes;
} move;

static void open_move(move *m, int64_t dim, int64_t page, int64_t n, int64_t page_bytes)
{
	int64_t pages = n / page, shape[4] = { pages, 1, page, 8 * dim };
	int64_t cache[3] = { pages, 1, page_bytes };

	*m = (move){ .dim = dim, .page = page, .n = n, .page_bytes = page_bytes };
	m->rows = bind_tensor(&m->b, "from_rows", KVJIT_U8, 4, shape)->data;
	m->cache = bind_tensor(&m->b, "cache", KVJIT_U8, 3, cache)->data;
	m->from = bind_tensor(&m->b, "from_slots", KVJIT_S64, 1, &n)->data;
	m->to = bind_tensor(&m->b, "slots", KVJIT_S64, 1, &n)->data;
	for (int64_t t = 0; t < n; t++)
		m->from[t] = m->to[t] = t;
	memset(m->cache, 0xa5, (size_t)(pages * page_bytes));
	bind_scalar(&m->b, "n", n, 0);
}

static void run_move(move *m, kvjit *kv, const char *format, const char *name)
{
	char text[1000], why[400];

	snprintf(text, sizeof text,
	         ROWS "%stranscode from=rows to=%s heads=1 dim=%d page=%d:%d", format, name,
	         (int)m->dim, (int)m->page, (int)m->page);
	kvjit_kernel *k = compile(kv, text, NULL);

	if (bind_call(&m->b, kv, k, NULL, why, sizeof why) != KVJIT_OK)
		fail_msg("%s: %s", text, why);
	kvjit_release(k);
}

static float float_at(const uint8_t *p)
{
	float x;

	memcpy(&x, p, sizeof x);
	return x;
}

/* -- by hand ------------------------------------------------------------------------------- */

/* 16 tokens of 16 elements. K [t d], then a scale for each d. */
static void signed_by_hand(void **state)
{
	static const char format[] =
	    "format hand v1 { elem s8; "
	    "k.scale f32 tokens 16 amax/127 floor 1e-06; "
	    "v.scale f32 token-head amax/127 floor 1e-06; "
	    "round away; tensor cache [h] { k[t d] ks[g d] v[t d] vs[t] } }\n";
	/* 0.5 t of 7.5: t 127 / 15, rounded */
	static const int8_t ramp[16] = { 0,  8,  17, 25, 34,  42,  51,  59,
		                         68, 76, 85, 93, 102, 110, 119, 127 };
	kvjit *kv[2] = { open_with("ref", NULL), open_code() };

	(void)state;
	for (int i = 0; i < 2; i++) {
		move m;

		open_move(&m, 16, 16, 16, 256 + 64 + 256 + 64);
		for (int t = 0; t < 16; t++) {
			float *k = m.rows + t * 32;

			k[0] = t == 3 ? 127 : 0;
			k[1] = 0.5F * (float)t;
			k[2] = t == 0 ? NAN : -1;
			k[3] = t == 1 ? INFINITY : 1;
			k[4] = 0;
		}
		run_move(&m, kv[i], format, "hand");
		const uint8_t *s = m.cache + 256;

		for (int t = 0; t < 16; t++) {
			const int8_t *k = (const int8_t *)m.cache + t * 16;

			assert_int_equal(k[0], t == 3 ? 127 : 0);
			assert_int_equal(k[1], ramp[t]);
			assert_int_equal(k[2],
			                 t == 0 ? 0 : -127); /* a NaN is 0, and no scale */
			assert_int_equal(k[3], t == 1 ? 127 : 0);
			assert_int_equal(k[4], 0);
		}
		assert_true(float_at(s) == 1);
		assert_true(float_at(s + 4) == 7.5F / 127);
		assert_true(float_at(s + 8) == 1.0F / 127);
		assert_true(float_at(s + 12) == 3.4028235e38F / 127);
		assert_true(float_at(s + 16) == 1e-06F);
		bind_free(&m.b);
		kvjit_close(kv[i]);
	}
}

/* Two codes a byte, and the code of 0 in the lowest 4 bits of a scale. */
static void unsigned_by_hand(void **state)
{
	static const char format[] =
	    "format hand v1 { elem u4; k.scale f32 tokens 16 range/15 floor 1e-06; "
	    "v.scale f32 token-head range/15 floor 1e-06; apply reciprocal; round away; "
	    "tensor cache [h] { [g] { ks[d] k[t%16 d] } v[t d] vs[t] } }\n";
	kvjit *kv[2] = { open_with("ref", NULL), open_code() };

	(void)state;
	for (int i = 0; i < 2; i++) {
		move m;

		open_move(&m, 16, 16, 16, 64 + 128 + 128 + 64);
		for (int t = 0; t < 16; t++) {
			m.rows[t * 32] = (float)t;         /* 0 .. 15 */
			m.rows[t * 32 + 1] = (float)t - 5; /* -5 .. 10 */
			m.rows[t * 32 + 2] = t == 2 ? 0.4F : t % 2 ? 12 : -3;
		}
		run_move(&m, kv[i], format, "hand");
		for (int t = 0; t < 16; t++) {
			assert_int_equal(m.cache[64 + t * 8], t | t << 4);
			assert_int_equal(m.cache[64 + t * 8 + 1] & 15, t == 2  ? 3 /* 0.4 + 3 */
			                                               : t % 2 ? 15
			                                                       : 0);
		}
		uint32_t bits[3];

		memcpy(bits, m.cache, sizeof bits);
		assert_int_equal(bits[0], 0x3f800000);
		assert_int_equal(bits[1], 0x3f800005);
		assert_int_equal(bits[2], 0x3f800003);
		bind_free(&m.b);
		kvjit_close(kv[i]);
	}
}

/* -- the rule again ------------------------------------------------------------------------ */

/* int8/cN: every code and scale of K, pages that come in another order, one group left out. */
static void codes_and_scales(void **state)
{
	static const int groups[] = { 16, 32, 64, 128 };
	kvjit *kv[2] = { open_with("ref", NULL), open_code() };

	(void)state;
	for (int i = 0; i < 8; i++) {
		int64_t dim = 48, tokens = groups[i / 2], page = 128, n = 3 * page;
		int64_t k_bytes = page * dim, scales = 2 * k_bytes;
		int64_t bytes = (scales + page / tokens * dim * 4 + page * 4 + 63) / 64 * 64;
		char name[20];
		move m;

		open_move(&m, dim, page, n, bytes);
		for (int64_t t = 0; t < n; t++) {
			m.to[t] = t < tokens ? -1 : (t + page) % n;
			for (int64_t d = 0; d < 2 * dim; d++)
				m.rows[t * 2 * dim + d] =
				    (float)(noise((unsigned)(t * 2 * dim + d)) *
				            (d % 11 == 3 ? 40 : 1));
		}
		snprintf(name, sizeof name, "int8/c%d", (int)tokens);
		run_move(&m, kv[i % 2], "", name);
		for (int64_t t = 0; t < n; t++)
			for (int64_t d = 0; d < dim; d++) {
				int64_t slot = (t + page) % n, at = slot % page,
				        g = at / tokens;
				const uint8_t *p = m.cache + slot / page * bytes;
				int code = (int8_t)
				    p[at / 64 * 64 * dim + d / 4 * 256 + at % 64 * 4 + d % 4];
				float s = float_at(p + scales + (g * dim + d) * 4), a = 0;
				int64_t first = t - t % tokens;

				if (t < tokens) { /* left out: nothing was touched */
					assert_int_equal((uint8_t)code, 0xa5);
					continue;
				}
				for (int64_t j = first; j < first + tokens; j++)
					a = fmaxf(a, fabsf(m.rows[j * 2 * dim + d]));
				float want = fmaxf(a / 127, 1e-06F), r = 1 / want;
				float x = m.rows[t * 2 * dim + d] * r;

				assert_true(s == want);
				assert_int_equal(code, (int)(x + copysignf(0.5F, x)));
			}
		bind_free(&m.b);
	}
	kvjit_close(kv[0]);
	kvjit_close(kv[1]);
}

/* -- a window of bf16 and a tail ----------------------------------------------------------- */

enum { TAIL = 96, WINDOW = 41, LEN = TAIL + WINDOW, DIM = 64, PAGE = 64, PAGES = 4 };

static uint16_t bf16(float x)
{
	uint32_t u;

	memcpy(&u, &x, sizeof u);
	return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static float from_bf16(uint16_t x)
{
	uint32_t u = (uint32_t)x << 16;
	float f;

	memcpy(&f, &u, sizeof f);
	return f;
}

/* softmax(q . k) v of LEN tokens, in double. */
static void exact_attention(const float *q, const float *k, const float *v, double scale,
                            double *out)
{
	double w[LEN], sum = 0;

	memset(out, 0, DIM * sizeof *out);
	for (int t = 0; t < LEN; t++) {
		double s = 0;

		for (int d = 0; d < DIM; d++)
			s += (double)q[d] * k[t * DIM + d];
		sum += w[t] = exp(s * scale);
	}
	for (int t = 0; t < LEN; t++)
		for (int d = 0; d < DIM; d++)
			out[d] += w[t] / sum * v[t * DIM + d];
}

typedef struct tokens {
	float k[LEN * DIM], v[LEN * DIM], q[DIM]; /* exact in bf16 */
} tokens;

/* Channels 5 and 37 of K are 30 times as large as the others, as those of real models are. */
static void make_tokens(tokens *x)
{
	for (int i = 0; i < LEN * DIM; i++) {
		int d = i % DIM;

		x->k[i] = from_bf16(
		    bf16((float)(noise((unsigned)i) + (d == 5) * 30 + (d == 37) * -30)));
		x->v[i] = from_bf16(bf16((float)noise((unsigned)i + 77777)));
	}
	for (int d = 0; d < DIM; d++)
		x->q[d] = from_bf16(bf16((float)noise((unsigned)d + 999999)));
}

/* All tokens are written to a cache of bf16 as they come; the first TAIL go on to one of
 * `format`, where they are read from afterwards. */
static void attend(kvjit *kv, const char *format, const tokens *x, float *out)
{
	static const char *const parts[] = { "write in=f32 kv=bf16",
		                             "transcode from=bf16 to=%s",
		                             "attn q=bf16 out=f32 kv=%s kv2=bf16 page2=64" };
	int64_t tail = 0, half = (int64_t)2 * DIM * 2 * PAGE, rows = LEN, moved = TAIL;
	int32_t lens[2] = { TAIL, WINDOW }, starts[2] = { 0, 1 };
	/* the window's slots are those its tokens were written to: its first page is skipped */
	int32_t table[2] = { 2, 0 }, table2[2] = { 3, 1 };
	int64_t slots[LEN], to[TAIL];
	char why[400], text[3][300], head[200];
	bind b = { 0 };

	assert_int_equal(kvjit_page_bytes(kv, format, 1, DIM, DIM, PAGE, &tail), KVJIT_OK);
	for (int t = 0; t < LEN; t++) /* tail tokens in pages 0 and 2, the window in 3 */
		slots[t] = t < TAIL ? t / PAGE * 2 * PAGE + t % PAGE : 3 * PAGE + t - TAIL;
	for (int t = 0; t < TAIL; t++)
		to[t] = table[t / PAGE] * PAGE + t % PAGE;
	int64_t in[3] = { LEN, 1, DIM }, wide[3] = { PAGES, 1, half },
	        low[3] = { PAGES, 1, tail };

	bind_borrow(&b, "key", KVJIT_F32, 3, in, (void *)x->k);
	bind_borrow(&b, "value", KVJIT_F32, 3, in, (void *)x->v);
	bind_arg *win = bind_tensor(&b, "cache2", KVJIT_U8, 3, wide);
	bind_arg *big = bind_tensor(&b, "cache", KVJIT_U8, 3, low);

	memset(win->data, 0xff, win->bytes);
	memset(big->data, 0xff, big->bytes);
	for (int i = 0; i < 3; i++) {
		bind c = { 0 };

		snprintf(head, sizeof head, parts[i], format);
		snprintf(text[i], sizeof text[i], "%s heads=%s dim=%d page=%s", head,
		         i == 2 ? "1:1" : "1", DIM, i == 1 ? "64:64" : "64");
		kvjit_kernel *k = compile(kv, text[i], NULL);
		kvjit_plan *plan = NULL;

		if (i < 2) {
			bind_borrow(&c, i ? "from_cache" : "cache", KVJIT_U8, 3, wide,
			            win->data);
			bind_borrow(&c, i ? "from_slots" : "slots", KVJIT_S64, 1,
			            i ? &moved : &rows, slots);
			bind_scalar(&c, "n", i ? moved : rows, 0);
		}
		if (i == 0) {
			bind_borrow(&c, "key", KVJIT_F32, 3, in, (void *)x->k);
			bind_borrow(&c, "value", KVJIT_F32, 3, in, (void *)x->v);
		} else if (i == 1) {
			bind_borrow(&c, "cache", KVJIT_U8, 3, low, big->data);
			bind_borrow(&c, "slots", KVJIT_S64, 1, &moved, to);
		} else {
			kvjit_batch batch = { .size = sizeof batch,
				              .nseq = 1,
				              .seq_lens = &lens[0],
				              .query_starts = starts,
				              .block_table = table,
				              .table_stride = 2,
				              .npages = PAGES,
				              .seq_lens2 = &lens[1],
				              .block_table2 = table2,
				              .table_stride2 = 2,
				              .npages2 = PAGES };
			uint16_t q[DIM];
			const int64_t one = 1, two = 2, qs[3] = { 1, 1, DIM }, ts[2] = { 1, 2 };

			for (int d = 0; d < DIM; d++)
				q[d] = bf16(x->q[d]);
			memcpy(bind_tensor(&c, "q", KVJIT_BF16, 3, qs)->data, q, sizeof q);
			bind_borrow(&c, "cache", KVJIT_U8, 3, low, big->data);
			bind_borrow(&c, "cache2", KVJIT_U8, 3, wide, win->data);
			bind_borrow(&c, "table", KVJIT_S32, 2, ts, table);
			bind_borrow(&c, "table2", KVJIT_S32, 2, ts, table2);
			bind_borrow(&c, "lens", KVJIT_S32, 1, &one, &lens[0]);
			bind_borrow(&c, "lens2", KVJIT_S32, 1, &one, &lens[1]);
			bind_borrow(&c, "starts", KVJIT_S32, 1, &two, starts);
			bind_borrow(&c, "out", KVJIT_F32, 3, qs, out);
			bind_scalar(&c, "scale", 0, 0.125);
			if (kvjit_plan_new(k, &batch, &plan) != KVJIT_OK)
				fail_msg("%s: %s", text[i], kvjit_kernel_error(k));
		}
		if (bind_call(&c, kv, k, plan, why, sizeof why) != KVJIT_OK)
			fail_msg("%s: %s", text[i], why);
		kvjit_plan_free(plan);
		kvjit_release(k);
		bind_free(&c);
	}
	bind_free(&b);
}

/* What half a step of each key's elements may move a score by, and so the weights, and what
 * half a step of a value's adds: steps are those of `top` codes for the largest of a group. */
static double format_error(const tokens *x, int group, double top)
{
	double ds = 0, dv = 0, vmax = 0;

	for (int t = 0; t < TAIL; t++) {
		double s = 0, v = 0;

		for (int d = 0; d < DIM; d++) {
			double a = 0;

			for (int j = t - t % group; j < t - t % group + group; j++)
				a = fmax(a, fabs((double)x->k[j * DIM + d]));
			s += fabs((double)x->q[d]) * a / top / 2 * 0.125;
			v = fmax(v, fabs((double)x->v[t * DIM + d]));
		}
		ds = fmax(ds, s);
		dv = fmax(dv, v / top / 2);
		vmax = fmax(vmax, v);
	}
	return expm1(2 * ds) * 2 * vmax + dv + 1e-3;
}

static double worst(const float *got, const double *want)
{
	double most = 0;

	for (int d = 0; d < DIM; d++)
		most = fmax(most, fabs(got[d] - want[d]));
	return most;
}

static void window_and_tail(void **state)
{
	static const struct {
		const char *format;
		int group;
		double top;
	} of[] = { { "int8/c32", 32, 127 }, { "int4/c16", 16, 7 }, { "int4/c32", 32, 7 } };
	kvjit *kv[2] = { open_with("ref", NULL), open_code() };
	tokens *x = malloc(sizeof *x);
	double want[DIM];

	(void)state;
	make_tokens(x);
	exact_attention(x->q, x->k, x->v, 0.125, want);
	for (int i = 0; i < 3; i++) {
		float out[2][DIM];
		double bound = format_error(x, of[i].group, of[i].top);

		for (int b = 0; b < 2; b++) {
			attend(kv[b], of[i].format, x, out[b]);
			if (!(worst(out[b], want) <= bound))
				fail_msg("%s: %g from the exact result, at most %g",
				         of[i].format, worst(out[b], want), bound);
		}
		for (int d = 0; d < DIM; d++) /* digits of 16 bits, weights of 8 */
			assert_true(fabsf(out[0][d] - out[1][d]) < 0.01F);
	}
	/* what it is for: two large channels cost the others nothing */
	float by_channel[DIM], by_token[DIM];

	attend(kv[0], "int4/c32", x, by_channel);
	attend(kv[0], "int4/token-head", x, by_token);
	assert_true(3 * worst(by_channel, want) < worst(by_token, want));
	free(x);
	kvjit_close(kv[0]);
	kvjit_close(kv[1]);
}

/* -- refused ------------------------------------------------------------------------------- */

static void parts_of_groups(void **state)
{
	static const char text[] = "transcode from=%s to=int8/c16 heads=1 dim=16 page=32:32";
	static const struct {
		const char *from, *says;
		int at, list, n;
		int64_t slot;
	} cases[] = {
		{ "bf16", "argument 'slots': 17 tokens aren't whole groups of the 16", 0, 0, 17,
		  0 },
		{ "bf16", "argument 'slots': slot 9 of token 3: those of tokens 0 to 15 must",
		  3, 0, 32, 9 },
		{ "bf16", "argument 'slots': slot -1 of token 20", 20, 0, 32, -1 },
		{ "bf16", "argument 'slots': slot 1 of token 0", 0, 0, 32, 1 },
		{ "bf16", "argument 'slots': slot 1 of token 1", 0, 0, 32, -1 },
		{ "bf16", "argument 'from_slots': slot -1 of token 31", 31, 1, 32, -1 },
		{ "int8/c16", "argument 'from_slots': slot 2 of token 1", 1, 1, 32, 2 },
	};
	kvjit *kv = open_code();

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char line[200];
		int64_t list[2][32], n = cases[i].n;
		bind b = { 0 };

		for (int64_t t = 0; t < 32; t++)
			list[0][t] = list[1][t] = t;
		list[cases[i].list][cases[i].at] = cases[i].n == 17 ? 0 : cases[i].slot;
		snprintf(line, sizeof line, text, cases[i].from);
		kvjit_kernel *k = compile(kv, line, NULL);

		bind_borrow(&b, "slots", KVJIT_S64, 1, &n, list[0]);
		bind_borrow(&b, "from_slots", KVJIT_S64, 1, &n, list[1]);
		bind_scalar(&b, "n", n, 0);
		for (int p = 0; p < kvjit_nparam(k); p++) {
			const kvjit_param *x = kvjit_param_at(k, p);
			int64_t shape[6];

			if (x->dtype != KVJIT_U8)
				continue;
			memcpy(shape, x->shape, sizeof shape);
			shape[0] = 1;
			bind_tensor(&b, x->name, x->dtype, x->rank, shape);
		}
		assert_int_equal(bind_call(&b, kv, k, NULL, line, sizeof line),
		                 KVJIT_BAD_ARGUMENT);
		assert_says(line, cases[i].says);
		kvjit_release(k);
		bind_free(&b);
	}
	kvjit_close(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signed_by_hand),   cmocka_unit_test(unsigned_by_hand),
		cmocka_unit_test(codes_and_scales), cmocka_unit_test(window_and_tail),
		cmocka_unit_test(parts_of_groups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
