/* SPDX-License-Identifier: Apache-2.0 */
/* test_codes.c -- all 256 codes of each 8-bit element, decoded by generated code in both
 * products, in each order a cache may have.
 *
 * One function holds a product for each row of `layouts`; it is compiled for each element,
 * arithmetic, target and with decoding inside and outside the product. In a run a column of
 * a product meets one code, everything else in the column is 0, so the result is the decoded
 * value itself: exactly, or with the row's scale of integer products within two roundings.
 * 32 runs put the codes at 32 places along the contraction. kir_decode says what is right.
 */
#include "support_api.h"
#include "support_blob.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 4, DEPTH = 32, COLS = 256, VIEW = DEPTH * COLS, RUNS = DEPTH, PIECES = 4 };

static const kir_elem elems[] = { KIR_s8, KIR_e4m3fn, KIR_e5m2, KIR_e4m3fnuz, KIR_e5m2fnuz };

enum { ELEMS = sizeof elems / sizeof elems[0] };

/* How a tile of codes lies in memory: keys [256 tokens, 32], values [32 tokens, 256]. */
typedef struct layout {
	const char *name;
	bool keys, fused; /* fused: knob fuse=on takes another path */
	int upto;         /* tokens from here on must not count; 0: all do */
	struct {
		int axis, div, mod, stride; /* axis 1 the token, 2 the dimension */
	} piece[PIECES];
} layout;

/* clang-format off */
static const layout layouts[] = {
	{ "keys t/64 d/4 t%64 d%4", true, true, 0,
	  { { 1, 64, 0, 2048 }, { 2, 4, 0, 256 }, { 1, 1, 64, 4 }, { 2, 1, 4, 1 } } },
	{ "keys d/16 t d%16", true, true, 0,
	  { { 2, 16, 0, 4096 }, { 1, 1, 0, 16 }, { 2, 1, 16, 1 } } },
	{ "keys t d", true, false, 0, { { 1, 1, 0, 32 }, { 2, 1, 0, 1 } } },
	{ "keys t d, cut", true, false, 250, { { 1, 1, 0, 32 }, { 2, 1, 0, 1 } } },
	{ "values t d", false, true, 0, { { 1, 1, 0, 256 }, { 2, 1, 0, 1 } } },
	{ "values t d, cut", false, true, 30, { { 1, 1, 0, 256 }, { 2, 1, 0, 1 } } },
	{ "values t/4 d t%4", false, true, 0,
	  { { 1, 4, 0, 1024 }, { 2, 1, 0, 4 }, { 1, 1, 4, 1 } } },
	{ "values d t", false, false, 0, { { 2, 1, 0, 32 }, { 1, 1, 0, 1 } } },
};
/* clang-format on */

enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

static const struct arith {
	const char *name, *query;
	bool integer;
} ariths[] = {
	{ "f32", "f32", false },
	{ "bf16", "bf16", false },
	{ "int8", "bf16", true },
	{ "int8x2", "f32", true },
};

enum { ARITHS = sizeof ariths / sizeof ariths[0] };

typedef struct run {
	char where[40]; /* backend and target */
	kir_elem elem;
	const struct arith *arith;
	bool keys, fused;
	double value[256];        /* of each code */
	uint32_t q[ROWS * DEPTH]; /* room for f32 */
	float logs[ROWS * DEPTH];
	uint8_t mem[LAYOUTS * VIEW];
	float out[LAYOUTS * ROWS * COLS];
} run;

static bool has_layout(const run *r, int i)
{
	return layouts[i].keys == r->keys && (layouts[i].fused || !r->fused);
}

/* -- the function --------------------------------------------------------------------- */

static void add_view(kir_text *t, const layout *l, kir_elem e, int i)
{
	kir_text_add(t, "  %%m%d = view %%mem : %s[?,%d,%d | 0:$0", i, kir_elems[e].name,
	             l->keys ? COLS : DEPTH, l->keys ? DEPTH : COLS);
	for (int p = 0; p < PIECES && l->piece[p].stride; p++) {
		kir_text_add(t, ", %d", l->piece[p].axis);
		if (l->piece[p].div > 1)
			kir_text_add(t, "/%d", l->piece[p].div);
		if (l->piece[p].mod)
			kir_text_add(t, "%%%d", l->piece[p].mod);
		kir_text_add(t, ":%d", l->piece[p].stride);
	}
	kir_text_add(t, "] {offset=%d}\n", i * VIEW);
}

static void add_product(kir_text *t, const layout *l, kir_elem e, int i)
{
	int rows = l->keys ? COLS : DEPTH, cols = l->keys ? DEPTH : COLS;

	kir_text_add(t, "    %%c%d = load %%m%d[%%p,0,0]", i, i);
	if (l->upto)
		kir_text_add(t, " upto %d", l->upto);
	kir_text_add(t,
	             " : %s<%dx%d>\n"
	             "    %%f%d = convert %%c%d : f32<%dx%d>\n"
	             "    %%r%d = dot %s, %%f%d : f32<%dx%d>%s\n"
	             "    store %%r%d, %%out[%d,0,0]\n",
	             kir_elems[e].name, rows, cols, i, i, rows, cols, i, l->keys ? "%qf" : "%w",
	             i, ROWS, COLS, l->keys ? " {trans=1}" : "", i, i);
}

/* Weights are powers of two, as those of attention are: integer products ask for it. */
static char *function_of(const run *r)
{
	const struct arith *a = r->arith;
	kir_text t = { 0 };

	kir_text_add(&t,
	             "func @codes(%%q: in %s[%d,%d], %%l: in f32[%d,%d],\n"
	             "            %%mem: in u8[?,%d | 0:$0, 1:1], %%out: out f32[%d,%d,%d])\n"
	             "     level=T {\n",
	             a->query, ROWS, DEPTH, ROWS, DEPTH, LAYOUTS * VIEW, LAYOUTS, ROWS, COLS);
	for (int i = 0; i < LAYOUTS; i++)
		if (has_layout(r, i))
			add_view(&t, &layouts[i], r->elem, i);
	kir_text_add(&t,
	             "  for %%p = 0 to 1 par {\n"
	             "    %%qs = load %%q[0,0] : %s<%dx%d>\n",
	             a->query, ROWS, DEPTH);
	if (strcmp(a->query, "f32"))
		kir_text_add(&t, "    %%qf = convert %%qs : f32<%dx%d>\n", ROWS, DEPTH);
	else
		kir_text_add(&t, "    %%qf = reshape %%qs : f32<%dx%d>\n", ROWS, DEPTH);
	kir_text_add(&t,
	             "    %%ls = load %%l[0,0] : f32<%dx%d>\n"
	             "    %%w = exp2 %%ls : f32<%dx%d>\n",
	             ROWS, DEPTH, ROWS, DEPTH);
	for (int i = 0; i < LAYOUTS; i++)
		if (has_layout(r, i))
			add_product(&t, &layouts[i], r->elem, i);
	kir_text_add(&t, "    yield\n  }\n  ret\n}\n");
	return t.text;
}

/* -- a run ---------------------------------------------------------------------------- */

/* The code that column c of a layout meets in run n, and where along the contraction. */
static int code_at(const layout *l, int c, int n)
{
	return l->keys ? (c + 8 * n) & 255 : c;
}

static int place_of(const layout *l, int c, int n)
{
	return l->keys ? n : (c + n) % (l->upto ? l->upto : DEPTH);
}

static void put_code(run *r, int i, int token, int dim, int code)
{
	const layout *l = &layouts[i];
	int at = i * VIEW, index[3] = { 0, token, dim };

	for (int p = 0; p < PIECES && l->piece[p].stride; p++) {
		int x = index[l->piece[p].axis] / l->piece[p].div;

		at += (l->piece[p].mod ? x % l->piece[p].mod : x) * l->piece[p].stride;
	}
	r->mem[at] = (uint8_t)code;
}

/* Rows of the left factors hold a 1 each at the place whose row it is, or 1 every fourth
 * place; the rows a cut layout doesn't have hold codes that would show. */
static void prepare(run *r, int n)
{
	static const uint16_t one[2] = { 0, 0x3f80 };
	bool f32 = !strcmp(r->arith->query, "f32");

	memset(r->q, 0, sizeof r->q);
	memset(r->mem, 0, sizeof r->mem);
	for (int row = 0; row < ROWS; row++) {
		int at = row * DEPTH + ((n + 8 * (row - n % ROWS)) & (DEPTH - 1));

		/* 1.0; a bf16 is the upper half of an f32 */
		memcpy((char *)r->q + at * (f32 ? 4 : 2), f32 ? &one[0] : &one[1], f32 ? 4 : 2);
		for (int t = 0; t < DEPTH; t++)
			r->logs[row * DEPTH + t] = t % ROWS == row ? 0 : -INFINITY;
	}
	for (int i = 0; i < LAYOUTS; i++) {
		const layout *l = &layouts[i];

		for (int c = 0; has_layout(r, i) && c < COLS; c++) {
			int k = place_of(l, c, n);

			put_code(r, i, l->keys ? c : k, l->keys ? k : c, code_at(l, c, n));
			for (int t = l->upto; l->upto && !l->keys && t < DEPTH; t++)
				put_code(r, i, t, c, 0xff - (c & 0x80));
		}
	}
}

/* Integer products are times the row's scale: a rounding to make it, one to apply it. */
static bool is_value(float got, double want, bool exact)
{
	if (isnan(want) || isinf(want) || exact)
		return isnan(want) ? isnan(got) : (double)got == want;
	return fabs((double)got - want) <= 0x1p-22 * fabs(want);
}

static void check_layout(const run *r, int n, int i)
{
	const layout *l = &layouts[i];

	for (int c = 0; c < COLS; c++) {
		int code = code_at(l, c, n), hot = place_of(l, c, n) % ROWS;
		double v = r->value[code];

		if (l->keys && l->upto && c >= l->upto)
			v = 0;
		for (int row = 0; row < ROWS; row++) {
			float got = r->out[(i * ROWS + row) * COLS + c];
			double want = row == hot ? v : 0 * v;

			if (!is_value(got, want, !r->arith->integer))
				fail_msg("%s %s %s fuse=%s, %s, run %d: code 0x%02x in column "
				         "%d gives %.9g in row %d, must be %.9g",
				         r->where, kir_elems[r->elem].name, r->arith->name,
				         r->fused ? "on" : "off", l->name, n, (unsigned)code, c,
				         (double)got, row, want);
		}
	}
}

static void run_kernel(run *r, const kvjit_kernel *k)
{
	bool f32 = !strcmp(r->arith->query, "f32");
	kvjit_arg a[] = { { .data = r->q, .dtype = f32 ? KVJIT_F32 : KVJIT_BF16 },
		          { .data = r->logs, .dtype = KVJIT_F32 },
		          { .data = r->mem, .dtype = KVJIT_U8 },
		          { .data = r->out, .dtype = KVJIT_F32 } };

	for (int n = 0; n < RUNS; n++) {
		prepare(r, n);
		memset(r->out, 0x55, sizeof r->out);
		if (kvjit_call(k, NULL, a, 4, NULL) != KVJIT_OK)
			fail_msg("%s", kvjit_kernel_error(k));
		for (int i = 0; i < LAYOUTS; i++)
			if (has_layout(r, i))
				check_layout(r, n, i);
	}
}

/* Small blocks: what they hold isn't the subject, and LLVM takes a tenth of the time. Values
 * decoded inside the product take four vectors, which is what whole lines are cut into. */
static void compile_and_run(kvjit *kv, run *r)
{
	char *text = function_of(r), sched[80];
	kvjit_kernel *k;

	snprintf(sched, sizeof sched, "qk=%s pv=%s fuse=%s rows=1 cols=%d unroll=1",
	         r->arith->name, r->arith->name, r->fused ? "on" : "off",
	         r->fused && !r->keys ? 4 : 1);
	for (unsigned c = 0; c < 256; c++)
		r->value[c] = kir_decode(r->elem, c);
	k = compile(kv, text, sched);
	run_kernel(r, k);
	kvjit_release(k);
	free(text);
}

/* A C compiler takes its time: there each arithmetic has one of the two ways to decode. */
static void products(const char *backend, const char *target)
{
	kvjit *kv = open_with(backend, target);
	run *r = malloc(sizeof *r);

	assert_non_null(r);
	snprintf(r->where, sizeof r->where, "%s, %s:", backend, target);
	for (unsigned e = 0; e < ELEMS; e++)
		for (int a = 0; a < ARITHS; a++)
			for (int i = 0; i < 4; i++) {
				if (ariths[a].integer && elems[e] != KIR_s8)
					continue;
				if (!strcmp(backend, "c") && (i >> 1 & 1) != (a & 1))
					continue;
				r->elem = elems[e];
				r->arith = &ariths[a];
				r->keys = i & 1;
				r->fused = i & 2;
				compile_and_run(kv, r);
			}
	free(r);
	kvjit_close(kv);
}

/* Without LLVM there is no x86 backend to test. */
static bool has_x86(void)
{
	kvjit *kv = open_with("x86", "generic");
	kvjit_kernel *k = NULL;
	bool has = kvjit_compile(kv, scale_ir, NULL, &k) != KVJIT_NO_BACKEND;

	kvjit_release(k);
	kvjit_close(kv);
	return has;
}

static void test_x86(void **state)
{
	(void)state;
	if (!has_x86())
		skip();
	for (unsigned i = 0; i < kir_ntargets; i++) {
		kvjit_options o = { .size = sizeof o,
			            .target = kir_targets[i].name,
			            .backend = "x86" };
		kvjit *kv = NULL;

		if (support_only() && strcmp(o.target, support_only()) != 0)
			continue;
		if (kvjit_open(&o, &kv) == KVJIT_UNSUPPORTED) {
			print_message("this machine isn't %s\n", o.target);
			continue;
		}
		kvjit_close(kv);
		products("x86", o.target);
	}
}

static void test_c(void **state)
{
	(void)state;
	if (support_only())
		skip();
	products("c", "generic");
}

/* -- from the problem string ---------------------------------------------------------------
 * A sequence of one token for each code: its value is the output, its score the log-sum-exp.
 * All else in the pages are bytes 0xff, NaN where it matters. */

enum { DIM = 32, SEQS = 256 };

typedef struct pool {
	kir_module *m; /* holds the names of l */
	kir_layout l;
	uint8_t *tensor[KIR_MAX_TENSORS];
} pool;

static pool pool_of(const char *format)
{
	kir_shape s = { .kv_heads = 1, .dim_k = DIM, .dim_v = DIM, .page = 16 };
	const kir_format *f;
	kir_diag d = { 0 };
	char msg[500];
	pool p = { .m = kir_module_new() };

	f = kir_format_get(p.m, format, &d);
	if (!f || !kir_format_layout(f, &s, &p.l, &d))
		fail_msg("%s", kir_diag_text(&d, msg, sizeof msg));
	for (unsigned i = 0; i < p.l.ntensor; i++) {
		size_t bytes = (size_t)p.l.tensor[i].page_bytes * SEQS;

		p.tensor[i] = malloc(bytes);
		assert_non_null(p.tensor[i]);
		memset(p.tensor[i], 0xff, bytes);
	}
	return p;
}

/* Where element d of the first token of a page is. */
static uint8_t *slot(const pool *p, kir_stream s, int64_t page, int64_t d)
{
	const kir_type *t = &p->l.stream[s].type;
	int tensor = p->l.stream[s].tensor;
	int64_t at = p->l.stream[s].offset, index[KIR_RANK] = { page, 0, 0, d };

	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *c = &t->piece[i];
		int64_t x = index[c->axis] / (c->div ? c->div : 1);

		at += (c->mod ? x % c->mod : x) *
		      (c->dyn ? p->l.tensor[tensor].stride[c->stride] : c->stride);
	}
	return p->tensor[tensor] + at;
}

static void fill_pool(const pool *p, kir_elem e)
{
	const float one = 1;

	for (int c = 0; c < SEQS; c++) {
		bool finite = isfinite(kir_decode(e, (uint64_t)c));

		for (int d = 0; d < DIM; d++) {
			*slot(p, KIR_S_k, c, d) = (uint8_t)(d == c % DIM && finite ? c : 0);
			*slot(p, KIR_S_v, c, d) = (uint8_t)c;
		}
		memcpy(slot(p, KIR_S_ks, c, 0), &one, 4);
		memcpy(slot(p, KIR_S_vs, c, 0), &one, 4);
	}
}

static void call_attention(const kvjit_kernel *k, const pool *p, float *out, float *lse)
{
	static uint16_t q[SEQS * DIM];
	static int32_t lens[SEQS], starts[SEQS + 1], table[SEQS];
	kvjit_batch batch = { .size = sizeof batch,
		              .nseq = SEQS,
		              .seq_lens = lens,
		              .query_starts = starts,
		              .block_table = table,
		              .table_stride = 1,
		              .npages = SEQS };
	kvjit_arg a[7 + KIR_MAX_TENSORS] = {
		{ .name = "q", .dtype = KVJIT_BF16, .data = q },
		{ .name = "table",
		  .dtype = KVJIT_S32,
		  .data = table,
		  .nstride = 1,
		  .stride = { 1 } },
		{ .name = "lens", .dtype = KVJIT_S32, .data = lens },
		{ .name = "starts", .dtype = KVJIT_S32, .data = starts },
		{ .name = "scale", .f = 1 },
		{ .name = "out", .dtype = KVJIT_F32, .data = out },
		{ .name = "lse", .dtype = KVJIT_F32, .data = lse },
	};
	kvjit_plan *plan = NULL;

	for (int c = 0; c < SEQS; c++) {
		q[c * DIM + c % DIM] = 0x3f80;
		lens[c] = 1;
		starts[c + 1] = c + 1;
		table[c] = c;
	}
	for (unsigned i = 0; i < p->l.ntensor; i++)
		a[7 + i] = (kvjit_arg){ .name = p->l.tensor[i].name,
			                .dtype = KVJIT_U8,
			                .data = p->tensor[i] };
	if (kvjit_plan_new(k, &batch, &plan) != KVJIT_OK ||
	    kvjit_call(k, plan, a, 7 + (int)p->l.ntensor, NULL) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	kvjit_plan_free(plan);
}

/* Of one key, whose weight is the largest. What its score times its scale loses when it becomes
 * the reference, half an ulp, stays in the exponent (passes/late_scale.c): as the weight,
 * 1 +- |score| 2^-24, is narrowed to 1 for the product but not for the sum, so much of the
 * value goes. Two roundings more, of the sum's reciprocal and by it. */
static bool is_only_value(float got, double want, double score)
{
	if (!isfinite(want))
		return is_value(got, want, true);
	return fabs((double)got - want) <= (0x1p-24 * fabs(score) + 0x1p-22) * fabs(want);
}

static void pipeline(kvjit *kv, const char *format, kir_elem e)
{
	static float out[SEQS * DIM], lse[SEQS];
	char text[200];
	kvjit_kernel *k;
	pool p = pool_of(format);

	snprintf(text, sizeof text, "attn q=bf16 out=f32 kv=%s heads=1 dim=%d page=16 lse",
	         format, DIM);
	k = compile(kv, text, NULL);
	fill_pool(&p, e);
	call_attention(k, &p, out, lse);
	for (int c = 0; c < SEQS; c++) {
		double v = kir_decode(e, (uint64_t)c), score = isfinite(v) ? v : 0;

		if (fabs(lse[c] - score) > 1e-6 * fabs(score))
			fail_msg("%s: key code 0x%02x scores %.9g, must be %.9g", format,
			         (unsigned)c, (double)lse[c], score);
		for (int d = 0; d < DIM; d++)
			if (!is_only_value(out[c * DIM + d], v, score))
				fail_msg(
				    "%s: value code 0x%02x gives %.9g in dimension %d, must "
				    "be %.9g",
				    format, (unsigned)c, (double)out[c * DIM + d], d, v);
	}
	kvjit_release(k);
	for (unsigned i = 0; i < p.l.ntensor; i++)
		free(p.tensor[i]);
	kir_module_free(p.m);
}

static void test_problem(void **state)
{
	static const char *const names[] = { "int8", "e4m3", "e5m2", "e4m3fnuz", "e5m2fnuz" };
	static const char *const places[] = { "native", "inline", "x", "amx" };
	kvjit *kv = open_with(has_x86() ? "x86" : "c", NULL);
	char format[60];

	(void)state;
	for (unsigned e = 0; e < ELEMS; e++)
		for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
			snprintf(format, sizeof format, "%s/token-head/%s", names[e],
			         places[i]);
			pipeline(kv, format, elems[e]);
		}
	kvjit_close(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_x86),
		cmocka_unit_test(test_c),
		cmocka_unit_test(test_problem),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
