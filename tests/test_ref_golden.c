/* SPDX-License-Identifier: Apache-2.0 */
/* test_ref_golden.c -- the interpreter at level A against tests/golden: attention outputs to
 * 1e-9 of the stored doubles (lse, which is f32: and its rounding), codes and scales of every
 * writer byte for byte.
 *
 * The level-A texts are written out here, from the arrays' shapes, so that formats, layouts
 * and problem strings play no part: what is wrong here is wrong in backends/ref.
 */
#include "../backends/ref/ref.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* -- golden arrays --------------------------------------------------------------------- */

typedef struct array {
	unsigned char *data;
	int64_t bytes;
	char dtype[8];
	int64_t dim[6];
	int rank;
} array;

#define MAX_ARRAYS 64

typedef struct golden {
	char name[MAX_ARRAYS][32];
	array at[MAX_ARRAYS];
	int n;
} golden;

static FILE *open_file(const char *name)
{
	const char *dir = getenv("KVJIT_GOLDEN");
	char path[512];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir ? dir : "tests/golden", name);
	f = fopen(path, "rb");
	if (!f)
		fail_msg("%s: cannot be opened", path);
	return f;
}

static void read_shape(array *a, const char *text)
{
	char *end;

	for (a->rank = 0; *text && a->rank < 6; text = *end ? end + 1 : end)
		a->dim[a->rank++] = strtoll(text, &end, 10);
}

static void load(golden *g, const char *name)
{
	char line[512], file[64], shape[64], id[64];
	FILE *tsv = open_file("manifest.tsv"), *bin;
	long long offset, bytes;

	memset(g, 0, sizeof *g);
	snprintf(file, sizeof file, "%s.bin", name);
	bin = open_file(file);
	while (fgets(line, sizeof line, tsv)) {
		array *a = &g->at[g->n];

		if (sscanf(line, "%63s %*s %*s %31s %7s %63s %lld %lld", id, g->name[g->n],
		           a->dtype, shape, &offset, &bytes) != 6 ||
		    strcmp(id, name))
			continue;
		assert_true(g->n < MAX_ARRAYS - 1);
		a->bytes = bytes;
		read_shape(a, shape);
		a->data = malloc((size_t)bytes + 1);
		assert_non_null(a->data);
		assert_int_equal(fseek(bin, (long)offset, SEEK_SET), 0);
		assert_int_equal(fread(a->data, 1, (size_t)bytes, bin), bytes);
		g->n++;
	}
	fclose(bin);
	fclose(tsv);
	assert_true(g->n > 0);
}

static void unload(golden *g)
{
	for (int k = 0; k < g->n; k++)
		free(g->at[k].data);
}

static array *find(golden *g, const char *name)
{
	for (int k = 0; k < g->n; k++)
		if (!strcmp(g->name[k], name))
			return &g->at[k];
	return NULL;
}

static array *need(golden *g, const char *name)
{
	array *a = find(g, name);

	if (!a)
		fail_msg("no array %s", name);
	return a;
}

/* -- calls -------------------------------------------------------------------------------- */

/* A text and its arguments, added together in order. */
typedef struct call {
	char text[4096];
	size_t len;
	kref_arg arg[24];
	int narg;
} call;

static void say(call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(call *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	c->len += (size_t)vsnprintf(c->text + c->len, sizeof c->text - c->len, fmt, ap);
	va_end(ap);
	assert_true(c->len < sizeof c->text);
}

static void give(call *c, void *base, int64_t bytes)
{
	c->arg[c->narg++] = (kref_arg){ .base = base, .bytes = bytes };
}

static void give_array(call *c, array *a)
{
	give(c, a->data, a->bytes);
}

static void give_int(call *c, int64_t i)
{
	c->arg[c->narg++] = (kref_arg){ .i = i };
}

static void run(call *c, kref_mode mode)
{
	kir_diag d = { 0 };
	char msg[2048];
	kir_module *m = kir_parse(c->text, c->len, &d);

	if (!m || !kir_verify(m->func[0], &d) ||
	    !kref_run(m->func[0], c->arg, mode, NULL, &d)) {
		print_message("%s\n", c->text);
		fail_msg("%s", kir_diag_text(&d, msg, sizeof msg));
	}
	kir_module_free(m);
}

/* -- attention ----------------------------------------------------------------------------- */

enum { SCALE_NONE, SCALE_TENSOR, SCALE_HEAD, SCALE_SLOT, SCALE_GROUP };

static const char causal[] = "%c = le %j, %i : i1\n    yield %c";

static const struct attn_case {
	const char *name, *elem;
	int scale;
	const char *score, *mask; /* score: %z from %y                                */
} attn_cases[] = {
	{ "attn_bf16_decode", "bf16", SCALE_NONE, NULL, causal },
	{ "attn_fp8t_decode", "e4m3fn", SCALE_TENSOR, NULL, causal },
	{ "attn_fp8t_prefill", "e4m3fn", SCALE_TENSOR, NULL, causal },
	{ "attn_fp8t_qfp8", "e4m3fn", SCALE_TENSOR, NULL, causal },
	{ "attn_fp8h_gqa7", "e4m3fn", SCALE_HEAD, NULL, causal },
	{ "attn_fp8_unit_small", "e4m3fn", SCALE_TENSOR, NULL, causal },
	{ "attn_e5m2", "e5m2", SCALE_TENSOR, NULL, causal },
	{ "attn_fnuz", "e4m3fnuz", SCALE_TENSOR, NULL, causal },
	{ "attn_int8pth_mixed", "s8", SCALE_SLOT, NULL, causal },
	{ "attn_int8pth_win", "s8", SCALE_SLOT, NULL,
	  "%d = sub %i, %j : s64\n    %e = ge %d, 0 : i1\n    %f = lt %d, 17 : i1\n"
	  "    %c = and %e, %f : i1\n    yield %c" },
	{ "attn_int8pth_sink_cap", "s8", SCALE_SLOT,
	  "%t = div %y, 20.0 : f32\n    %u = tanh %t : f32\n    %z = mul %u, 20.0 : f32\n",
	  causal },
	{ "attn_int8pth_alibi", "s8", SCALE_SLOT,
	  "%t = load %al[%h] : f32\n    %u = sub %j, %i : s64\n    %r = convert %u : f32\n"
	  "    %z = fma %t, %r, %y : f32\n",
	  causal },
	{ "attn_int8pth_diffkv", "s8", SCALE_SLOT, NULL, causal },
	{ "attn_fp8pth_mixed", "e4m3fn", SCALE_SLOT, NULL, causal },
	{ "attn_fp8pth_chunk", "e4m3fn", SCALE_SLOT, NULL,
	  "%d = fdiv %i, 32 : s64\n    %e = fdiv %j, 32 : s64\n    %f = eq %d, %e : i1\n"
	  "    %g = le %j, %i : i1\n    %c = and %f, %g : i1\n    yield %c" },
	{ "attn_fp8pth_noncausal", "e4m3fn", SCALE_SLOT, NULL,
	  "%c = eq %j, %j : i1\n    yield %c" },
	{ "attn_fp8pth_d256", "e4m3fn", SCALE_SLOT, NULL, causal },
	{ "attn_mxfp8", "e4m3fn", SCALE_GROUP, NULL, causal },
};

typedef long long ll;

/* Codes are slot-major: [page, token, head, dim]. */
static void say_codes(call *c, const char *name, const char *elem, array *a)
{
	ll p = a->dim[1], h = a->dim[2], d = a->dim[3],
	   size = a->bytes / (a->dim[0] * p * h * d);

	say(c, ", %%%s: in %s[?,%lld,%lld,%lld | 0:%lld, 1:%lld, 2:%lld, 3:%lld]", name, elem,
	    h, p, d, p * h * d * size, d * size, h * d * size, size);
	give_array(c, a);
}

static void say_scales(call *c, const char *side, int kind, array *a, array *codes)
{
	ll p = codes->dim[1], h = codes->dim[2], g = a->rank == 4 ? a->dim[3] : 1;

	switch (kind) {
	case SCALE_TENSOR:
	case SCALE_HEAD:
		say(c, ", %%%sd: in f32[?,%lld | 0:$0, 1:$1]", side, h);
		give_array(c, a);
		c->arg[c->narg - 1].stride[1] = kind == SCALE_HEAD ? 4 : 0;
		break;
	case SCALE_SLOT:
		say(c, ", %%%ss: in f32[?,%lld,%lld | 0:%lld, 1:4, 2:%lld]", side, h, p,
		    p * h * 4, h * 4);
		give_array(c, a);
		break;
	default:
		say(c, ", %%%ss: in e8m0[?,%lld,%lld,%lld | 0:%lld, 1:%lld, 2:%lld, 3:1]", side,
		    h, p, g, p * h * g, g, h * g);
		give_array(c, a);
	}
}

static void say_optional(call *c, golden *g, const char *array_name, const char *type,
                         const char *param)
{
	array *a = find(g, array_name);

	if (!a)
		return;
	say(c, ", %%%s: in %s", param, type);
	give_array(c, a);
}

/* The softmax scale is no f32: its two halves are applied in the score region, where EXACT
 * keeps all digits. */
static void say_body(call *c, golden *g, const struct attn_case *t, ll dim)
{
	double scale = 1 / sqrt((double)dim);
	float hi = (float)scale, lo = (float)(scale - (double)hi);

	say(c, ")\n     level=A {\n  attention q=%%q, out=%%out, k=%%k, v=%%v, table=%%bt, "
	       "lens=%%len, starts=%%cu, scale=1.0, lse=%%lse");
	if (find(g, "sink"))
		say(c, ", sink=%%sink");
	if (t->scale >= SCALE_SLOT)
		say(c, ", ks=%%ks, vs=%%vs");
	if (find(g, "q_scale"))
		say(c, ", qd=%%qd");
	if (t->scale == SCALE_TENSOR || t->scale == SCALE_HEAD)
		say(c, ", kd=%%kd, vd=%%vd");
	say(c,
	    ", work=%%work, nwork=%%nwork\n    score(%%s, %%b, %%h, %%i, %%j) {\n"
	    "    %%x = mul %%s, %.17g : f32\n    %%y = fma %%s, %.17g, %%x : f32\n    %s"
	    "    yield %%%s\n    } mask(%%b, %%h, %%i, %%j) {\n    %s\n    }\n  ret\n}\n",
	    (double)lo, (double)hi, t->score ? t->score : "", t->score ? "z" : "y", t->mask);
}

/* unit: roundoff of what the results were stored in. */
static void check_doubles(const char *name, const char *what, const array *want,
                          const double *got, double unit)
{
	double largest = 0;

	for (int64_t k = 0; k < want->bytes / 8; k++) {
		double x;

		memcpy(&x, want->data + 8 * k, 8);
		largest = isfinite(x) && fabs(x) > largest ? fabs(x) : largest;
	}
	for (int64_t k = 0; k < want->bytes / 8; k++) {
		double x;

		memcpy(&x, want->data + 8 * k, 8);
		if (x != got[k] && !(fabs(x - got[k]) <= 1e-9 * largest + unit * fabs(x)))
			fail_msg("%s: %s[%lld] is %.17g, not %.17g", name, what, (ll)k, got[k],
			         x);
	}
}

static void check_attention(const struct attn_case *t)
{
	static int32_t work[64][8];
	golden g;
	call c = { 0 };

	load(&g, t->name);
	array *q = need(&g, "q"), *k = need(&g, "k_code"), *v = need(&g, "v_code");
	array *lens = need(&g, "seq_lens"), *table = need(&g, "block_table");
	array *out = need(&g, "out"), *lse = need(&g, "lse");
	double *o = malloc((size_t)out->bytes), *wide = malloc((size_t)lse->bytes);
	float *l = malloc((size_t)lse->bytes / 2);
	ll heads = q->dim[1];

	say(&c, "func @a(%%q: in %s[?,%lld,%lld]", find(&g, "q_code") ? t->elem : "bf16", heads,
	    (ll)q->dim[2]);
	give_array(&c, find(&g, "q_code") ? find(&g, "q_code") : q);
	say(&c, ", %%out: out f64[?,%lld,%lld]", heads, (ll)out->dim[2]);
	give(&c, o, out->bytes);
	say_codes(&c, "k", t->elem, k);
	say_codes(&c, "v", t->elem, v);
	say(&c, ", %%bt: in s32[?,%lld], %%len: in s32[?], %%cu: in s32[?]", (ll)table->dim[1]);
	give_array(&c, table);
	give_array(&c, lens);
	give_array(&c, need(&g, "cu_q"));
	say(&c, ", %%lse: out f32[?,%lld], %%work: in s32[?,8], %%nwork: s64", heads);
	give(&c, l, lse->bytes / 2);
	for (int b = 0; b < lens->dim[0]; b++)
		work[b][0] = b;
	give(&c, work, lens->dim[0] * 32);
	give_int(&c, lens->dim[0]);
	if (t->scale) {
		say_scales(&c, "k", t->scale, need(&g, "k_scale"), k);
		say_scales(&c, "v", t->scale, need(&g, "v_scale"), v);
	}
	say_optional(&c, &g, "sink", "f32[?]", "sink");
	say_optional(&c, &g, "alibi", "f32[?]", "al");
	say_optional(&c, &g, "q_scale", "f32[?,1 | 0:$0, 1:$1]", "qd");
	say_body(&c, &g, t, q->dim[2]);
	run(&c, KREF_EXACT);
	for (int64_t n = 0; n < lse->bytes / 8; n++)
		wide[n] = (double)l[n];
	check_doubles(t->name, "out", out, o, 0);
	check_doubles(t->name, "lse", lse, wide, 0x1p-24);
	free(wide);
	free(o);
	free(l);
	unload(&g);
}

static void attention(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof attn_cases / sizeof *attn_cases; k++)
		check_attention(&attn_cases[k]);
}

/* -- quantize ------------------------------------------------------------------------------ */

/* One array of codes of a case: the element, the scale rule, the rest of the rule. */
typedef struct quant_case {
	const char *name, *codes, *scales, *elem, *scale, *rest;
	int group;
} quant_case;

/* clang-format off */
#define PTH(name, codes, scales, elem, max, round)                                             \
	{ name, codes, scales, elem, "f32 token-head amax/" max " floor 1e-06",                \
	  "apply reciprocal\n  round " round, 0 }
#define PTH_ALL(name)                                                                          \
	PTH(name, "int8_rha", "int8_scale", "s8", "127", "away"),                              \
	PTH(name, "int8_trunc", "int8_scale", "s8", "127", "zero"),                            \
	PTH(name, "int8_rne", "int8_scale", "s8", "127", "even"),                              \
	PTH(name, "e4m3", "e4m3_scale", "e4m3fn", "448", "even"),                              \
	PTH(name, "e5m2", "e5m2_scale", "e5m2", "57344", "even")
#define GIVEN(name, gran, elem)                                                                \
	{ name, elem "_div", NULL, elem, "f32 " gran " given", "apply divide", 0 },            \
	{ name, elem "_rcp", NULL, elem, "f32 " gran " given", "apply reciprocal", 0 }
#define GIVEN_ALL(name, gran)                                                                  \
	GIVEN(name, gran, "e4m3fn"), GIVEN(name, gran, "e5m2"), GIVEN(name, gran, "e4m3fnuz")
/* "f32 group 64 amax/448 ...": codes q, scales s, the rule, how it is applied */
#define GROUP(name, g, q, s, elem, rule, apply)                                                \
	{ name, q, s, elem, "f32 group " #g " amax/" rule, apply, g }
#define GROUP_ALL(name, g)                                                                     \
	GROUP(name, g, "native_q", "native_s", "e4m3fn", "448 floor 2.232142857142857e-13",    \
	      "apply reciprocal"),                                                             \
	GROUP(name, g, "div_q", "div_s", "e4m3fn", "448 floor 2.232142857142857e-13",          \
	      "apply divide"),                                                                 \
	GROUP(name, g, "ue8m0_q", "ue8m0_s", "e4m3fn", "448 floor 1e-10 pow2",                 \
	      "apply reciprocal"),                                                             \
	GROUP(name, g, "int8_trunc_q", "int8_s", "s8", "127 floor 7.874016e-13",      \
	      "apply divide\n  round zero"),                                                   \
	GROUP(name, g, "int8_rne_q", "int8_s", "s8", "127 floor 7.874016e-13",        \
	      "apply divide\n  round even")
#define MX(name)                                                                               \
	{ name, "e4m3fn_ceil_q", "e4m3fn_ceil_e", "e4m3fn", "e8m0 group 32 amax/448 pow2",     \
	  "apply divide", 32 },                                                                \
	{ name, "e5m2_ceil_q", "e5m2_ceil_e", "e5m2", "e8m0 group 32 amax/57344 pow2",         \
	  "apply divide", 32 }
/* clang-format on */

static const quant_case quant_cases[] = {
	PTH_ALL("q_pth_norm_bf16"),
	PTH_ALL("q_pth_outlier_f16"),
	PTH_ALL("q_pth_wide_f32"),
	PTH_ALL("q_pth_edge_f32"),
	GIVEN_ALL("q_static_tensor_bf16", "tensor"),
	GIVEN_ALL("q_static_tensor_f32", "tensor"),
	GIVEN_ALL("q_static_head_bf16", "head"),
	GROUP_ALL("q_group_g128_bf16", 128),
	GROUP_ALL("q_group_g64_f32", 64),
	GROUP_ALL("q_group_g128_odd", 128),
	MX("q_mx_norm"),
	MX("q_mx_outlier"),
	MX("q_mx_edge"),
};

static void check_bytes(const char *name, const char *what, const array *want,
                        const unsigned char *got)
{
	for (int64_t k = 0; k < want->bytes; k++)
		if (got[k] != want->data[k])
			fail_msg("%s: byte %lld of %s is %02x, not %02x", name, (ll)k, what,
			         got[k], want->data[k]);
}

static void check_quantize(const quant_case *t)
{
	golden g;
	call c = { 0 };

	load(&g, t->name);
	array *in = need(&g, "x"), *codes = need(&g, t->codes);
	array *scales = t->scales ? need(&g, t->scales) : NULL, *given = find(&g, "scale");
	ll heads = in->rank == 3 ? in->dim[1] : 1, dim = in->dim[in->rank - 1];
	unsigned char *q = calloc(1, (size_t)codes->bytes);
	unsigned char *s = calloc(1, scales ? (size_t)scales->bytes : 1);

	say(&c,
	    "format f v1 {\n  elem %s\n  scale %s\n  %s\n  tensor c [h t] { k[d]%s v[d]%s "
	    "}\n}\n",
	    t->elem, t->scale, t->rest, scales ? t->group ? " ks[g]" : " ks" : "",
	    scales ? t->group ? " vs[g]" : " vs" : "");
	say(&c, "func @q(%%x: in %s[?,%lld,%lld], %%q: out %s[?,%lld,%lld]", in->dtype, heads,
	    dim, t->elem, heads, dim);
	give_array(&c, in);
	give(&c, q, codes->bytes);
	if (scales) {
		say(&c, ", %%s: out %.*s[?,%lld", (int)strcspn(t->scale, " "), t->scale, heads);
		if (t->group)
			say(&c, ",%lld", dim / t->group);
		say(&c, "]");
		give(&c, s, scales->bytes);
	} else {
		say(&c, ", %%s: in f32[%lld | 0:%d]", heads, given->dim[0] > 1 ? 4 : 0);
		give_array(&c, given);
	}
	say(&c,
	    ", %%n: s64)\n     level=A {\n  quantize x=%%x, q=%%q, %s=%%s, n=%%n {format=f}\n"
	    "  ret\n}\n",
	    scales ? "s" : "d");
	give_int(&c, in->dim[0]);
	run(&c, KREF_ROUND);
	check_bytes(t->name, t->codes, codes, q);
	if (scales)
		check_bytes(t->name, t->scales, scales, s);
	free(q);
	free(s);
	unload(&g);
}

static void quantize(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof quant_cases / sizeof *quant_cases; k++)
		check_quantize(&quant_cases[k]);
}

/* -- cache writers ------------------------------------------------------------------------- */

static void say_write(call *c, const char *format, ll heads, ll dk, ll dv)
{
	say(c, "%s", format);
	say(c,
	    "func @w(%%key: in bf16[?,%lld,%lld], %%value: in bf16[?,%lld,%lld], "
	    "%%slots: in s64[?], %%n: s64",
	    heads, dk, heads, dv);
}

static void give_write(call *c, golden *g)
{
	give_array(c, need(g, "k"));
	give_array(c, need(g, "v"));
	give_array(c, need(g, "slots"));
	give_int(c, need(g, "slots")->dim[0]);
}

/* A record [K codes | f32 | V codes | f32] for each slot and head, in either order. */
static void check_inline(const char *name, const char *elem, const char *max, const char *round,
                         bool head_first)
{
	golden g;
	call c = { 0 };

	load(&g, name);
	array *want = need(&g, "cache");
	ll h = want->dim[head_first ? 1 : 2], p = want->dim[head_first ? 2 : 1];
	ll record = want->dim[3], dk = need(&g, "k")->dim[2], dv = need(&g, "v")->dim[2];
	ll page = h * p * record, hs = head_first ? p * record : record;
	ll ts = head_first ? record : h * record;
	unsigned char *cache = malloc((size_t)want->bytes);
	char format[512];

	snprintf(format, sizeof format,
	         "format f v1 {\n  elem %s\n  scale f32 token-head amax/%s floor 1e-06\n"
	         "  apply reciprocal\n  round %s\n  tensor c [h t] { k[d] ks v[d] vs }\n}\n",
	         elem, max, round);
	memset(cache, 0xa5, (size_t)want->bytes);
	say_write(&c, format, h, dk, dv);
	give_write(&c, &g);
	say(&c, ", %%c: inout u8[?,%lld])\n     level=A {\n", page);
	give(&c, cache, want->bytes);
	say(&c, "  %%k = view %%c : %s[?,%lld,%lld,%lld | 0:%lld, 1:%lld, 2:%lld, 3:1]\n", elem,
	    h, p, dk, page, hs, ts);
	say(&c, "  %%ks = view %%c : f32[?,%lld,%lld | 0:%lld, 1:%lld, 2:%lld] {offset=%lld}\n",
	    h, p, page, hs, ts, dk);
	say(&c,
	    "  %%v = view %%c : %s[?,%lld,%lld,%lld | 0:%lld, 1:%lld, 2:%lld, 3:1] "
	    "{offset=%lld}\n",
	    elem, h, p, dv, page, hs, ts, dk + 4);
	say(&c, "  %%vs = view %%c : f32[?,%lld,%lld | 0:%lld, 1:%lld, 2:%lld] {offset=%lld}\n",
	    h, p, page, hs, ts, dk + 4 + dv);
	say(&c, "  cache.write key=%%key, value=%%value, slots=%%slots, k=%%k, v=%%v, ks=%%ks, "
	        "vs=%%vs, n=%%n {format=f}\n  ret\n}\n");
	run(&c, KREF_ROUND);
	check_bytes(name, "cache", want, cache);
	free(cache);
	unload(&g);
}

/* Separate caches with given scales; pieces of K and V as they are in memory. */
static void check_flash(const char *name, const char *gran, const char *suffix,
                        const char *k_pieces, const char *v_pieces)
{
	golden g;
	call c = { 0 };
	char k_name[32], v_name[32], format[256];

	load(&g, name);
	snprintf(k_name, sizeof k_name, "k_cache%s", suffix);
	snprintf(v_name, sizeof v_name, "v_cache%s", suffix);
	array *kw = need(&g, k_name), *vw = need(&g, v_name), *key = need(&g, "k");
	ll h = key->dim[1], d = key->dim[2];
	unsigned char *k = malloc((size_t)kw->bytes), *v = malloc((size_t)vw->bytes);

	snprintf(format, sizeof format,
	         "format f v1 {\n  elem e4m3fn\n  scale f32 %s given\n"
	         "  tensor k [h t] { k[d] }\n  tensor v [h t] { v[d] }\n}\n",
	         gran);
	memset(k, 90, (size_t)kw->bytes);
	memset(v, 90, (size_t)vw->bytes);
	say_write(&c, format, h, d, d);
	give_write(&c, &g);
	say(&c,
	    ", %%k: inout e4m3fn[?,%lld,16,%lld | %s], %%v: inout e4m3fn[?,%lld,16,%lld | %s]",
	    h, d, k_pieces, h, d, v_pieces);
	give(&c, k, kw->bytes);
	give(&c, v, vw->bytes);
	say(&c, ", %%kd: in f32[%lld | 0:$0], %%vd: in f32[%lld | 0:$0])\n     level=A {\n", h,
	    h);
	for (int side = 0; side < 2; side++) {
		give_array(&c, need(&g, side ? "v_scale" : "k_scale"));
		c.arg[c.narg - 1].stride[0] = !strcmp(gran, "head") ? 4 : 0;
	}
	say(&c, "  cache.write key=%%key, value=%%value, slots=%%slots, k=%%k, v=%%v, kd=%%kd, "
	        "vd=%%vd, n=%%n {format=f}\n  ret\n}\n");
	run(&c, KREF_ROUND);
	check_bytes(name, k_name, kw, k);
	check_bytes(name, v_name, vw, v);
	free(k);
	free(v);
	unload(&g);
}

static void writers(void **state)
{
	(void)state;
	check_inline("cache_pth_int8_hnd", "s8", "127", "away", true);
	check_inline("cache_pth_fp8_nhd", "e4m3fn", "448", "even", false);
	check_inline("cache_pth_int8_diffkv", "s8", "127", "away", true);
	check_flash("cache_flash_nhd_t", "tensor", "", "0:2048, 1:64, 2:128, 3:1",
	            "0:2048, 1:64, 2:128, 3:1");
	check_flash("cache_flash_hnd_h", "head", "", "0:4096, 1:1024, 2:64, 3:1",
	            "0:4096, 1:1024, 2:64, 3:1");
	check_flash("cache_flash_nhd_t", "tensor", "_x",
	            "0:2048, 1:1024, 2:16, 3/16:256, 3%16:1", "0:2048, 1:1024, 2:1, 3:16");
	check_flash("cache_flash_hnd_h", "head", "_x", "0:4096, 1:1024, 2:16, 3/16:256, 3%16:1",
	            "0:4096, 1:1024, 2:1, 3:16");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attention),
		cmocka_unit_test(quantize),
		cmocka_unit_test(writers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
