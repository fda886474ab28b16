/* SPDX-License-Identifier: Apache-2.0 */
/* golden_quant.c -- golden cases of codecs and quantizers, byte for byte.
 *
 * Codecs run through generated code: a level-T program of one `convert` for each variant.
 * Quantizers run as `quant` problems with the format's rule declared in their text.
 */
#include "golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- one conversion ---------------------------------------------------------------- */

enum { ROW = 64 };

/* Type of a parameter that holds elements of e: elements of fewer than 8 bits, which have no
 * dtype of their own, travel as bytes and are seen through a view. */
static const char *carrier(kir_elem e)
{
	return kir_elems[e].bits < 8 ? "u8" : kir_elems[e].name;
}

/* y[i] = convert(x[i]) for i < n, 64 at a time. */
static void convert_text(char *text, size_t len, const char *target, kir_elem from, kir_elem to,
                         const char *attrs)
{
	snprintf(text, len,
	         "func @convert(%%x: in %s[?], %%y: out %s[?], %%n: s64, %%blocks: s64)\n"
	         "     level=T target=%s {\n"
	         "  %%xs = view %%x : %s[?]\n"
	         "  %%ys = view %%y : %s[?]\n"
	         "  for %%b = 0 to %%blocks par {\n"
	         "    %%i = mul %%b, %d : s64\n"
	         "    %%v = load %%xs[%%i] upto %%n : %s<%d>\n"
	         "    %%w = convert %%v : %s<%d>%s\n"
	         "    store %%w, %%ys[%%i] upto %%n\n"
	         "    yield\n"
	         "  }\n"
	         "  ret\n"
	         "}\n",
	         carrier(from), carrier(to), target, kir_elems[from].name, kir_elems[to].name,
	         ROW, kir_elems[from].name, ROW, kir_elems[to].name, ROW, attrs);
}

/* The converted elements, as argument y of b. */
static const void *convert(const golden_case *c, const machine *m, bind *b, const char *input,
                           kir_elem from, kir_elem to, const char *attrs, golden_result *r)
{
	char text[1024];
	golden_array x;
	if (!golden_get(c, input, &x)) {
		golden_fail(r, "array '%s' is missing or outside its file", input);
		return NULL;
	}
	if (kir_elem_bytes(from) != kir_elem_bytes(x.elem)) {
		golden_fail(r, "array '%s' doesn't have the width of %s", input,
		            kir_elems[from].name);
		return NULL;
	}
	bind_arg *in = bind_tensor(b, "x", bind_dtype(from), 1, &x.count);
	memcpy(in->data, x.data, (size_t)x.count * kir_elem_bytes(from));
	bind_arg *out = bind_tensor(b, "y", bind_dtype(to), 1, &x.count);
	bind_scalar(b, "n", x.count, 0);
	bind_scalar(b, "blocks", (x.count + ROW - 1) / ROW, 0);
	convert_text(text, sizeof text, m->target, from, to, attrs);
	return golden_call(m, c, text, b, r) ? out->data : NULL;
}

static kir_elem small_float(const golden_case *c, golden_result *r)
{
	const char *fmt = golden_word(c->params, "fmt");
	for (int e = 1; e < KIR_NELEM; e++)
		if (strcmp(kir_elems[e].name, fmt) == 0 && kir_elems[e].bits <= 16)
			return (kir_elem)e;
	golden_fail(r, "fmt '%s' isn't a small float of ir/elems.def", fmt);
	return KIR_VOID;
}

bool golden_fp_decode(const golden_case *c, const machine *m, golden_result *r)
{
	bind b = { 0 };
	golden_array want;
	kir_elem e = small_float(c, r);
	if (e == KIR_VOID)
		return false;
	const uint32_t *got = convert(c, m, &b, "code", e, KIR_f32, "", r);
	if (got && golden_get(c, "value", &want) && want.elem == KIR_f32) {
		const uint32_t *w = want.data;
		for (int64_t i = 0; i < want.count && !r->failed; i++) {
			/* any NaN will do where a NaN is due */
			bool nan = (w[i] & 0x7fffffff) > 0x7f800000;
			bool ok = nan ? (got[i] & 0x7fffffff) > 0x7f800000 : got[i] == w[i];
			r->checked++;
			if (!ok)
				golden_fail(r, "code 0x%02llx: 0x%08x, not 0x%08x",
				            (long long)i, got[i], w[i]);
		}
		if (!r->failed)
			snprintf(r->text, sizeof r->text, "%lld codes exact",
			         (long long)want.count);
	}
	bind_free(&b);
	return !r->failed;
}

bool golden_fp_encode(const golden_case *c, const machine *m, golden_result *r)
{
	static const struct {
		const char *array, *attrs;
	} variants[] = { { "sat_nan", "" },
		         { "sat_nan2max", " {nan=max}" },
		         { "nosat", " {over=inf}" } };
	kir_elem e = small_float(c, r);
	if (e == KIR_VOID)
		return false;
	if (strcmp(golden_word(c->params, "rounding"), "rne") != 0)
		return golden_fail(r, "unknown rounding '%s'",
		                   golden_word(c->params, "rounding"));
	for (size_t v = 0; v < 3 && !r->failed; v++) {
		bind b = { 0 };
		golden_array want;
		if (!golden_get(c, variants[v].array, &want))
			continue; /* 4- and 6-bit elements have no code beyond the largest */
		const void *got = convert(c, m, &b, "x", KIR_f32, e, variants[v].attrs, r);
		if (got)
			golden_same(r, variants[v].array, got, want.data, (size_t)want.count,
			            1);
		bind_free(&b);
	}
	if (!r->failed)
		snprintf(r->text, sizeof r->text, "%u codes exact", r->checked);
	return !r->failed;
}

bool golden_bf16_round(const golden_case *c, const machine *m, golden_result *r)
{
	bind b = { 0 };
	golden_array want;
	const void *got = convert(c, m, &b, "x", KIR_f32, KIR_bf16, "", r);
	if (got && !golden_get(c, "y", &want))
		golden_fail(r, "array 'y' is missing or outside its file");
	/* a NaN is any NaN: compared as such, the rest bit for bit */
	for (int64_t i = 0; got && !r->failed && i < want.count / 2; i++) {
		uint16_t g, w;
		memcpy(&g, (const char *)got + 2 * i, 2);
		memcpy(&w, (const char *)want.data + 2 * i, 2);
		bool nans = (g & 0x7fff) > 0x7f80 && (w & 0x7fff) > 0x7f80;
		r->checked++;
		if (g != w && !nans)
			golden_fail(r, "element %lld: 0x%04x, not 0x%04x", (long long)i, g, w);
	}
	if (!r->failed)
		snprintf(r->text, sizeof r->text, "%u values exact", r->checked);
	bind_free(&b);
	return !r->failed;
}

/* -- quantizers ------------------------------------------------------------------------- */

/* A quant problem over x [T, H, D] with the format's statements given; codes and, if stored,
 * scales are left in b as q and s. */
static bool quantize(const golden_case *c, const machine *m, const char *rule, bind *b,
                     golden_result *r)
{
	char text[1200];
	golden_array x;
	if (!golden_get(c, "x", &x) || x.rank != 3)
		return golden_fail(r, "array 'x' is missing or isn't [tokens, heads, dim]");
	snprintf(text, sizeof text,
	         "format golden v1 {\n%s  tensor cache [h t] { k[d] ks v[d] vs }\n}\n"
	         "quant in=%s to=golden heads=%lld dim=%lld\n",
	         rule, kir_elems[x.elem].name, (long long)x.shape[1], (long long)x.shape[2]);
	if (strstr(rule, "given"))
		snprintf(text, sizeof text,
		         "format golden v1 {\n%s  tensor cache [h t] { k[d] v[d] }\n}\n"
		         "quant in=%s to=golden heads=%lld dim=%lld\n",
		         rule, kir_elems[x.elem].name, (long long)x.shape[1],
		         (long long)x.shape[2]);
	if (!golden_bind(c, "x", b, "x", r))
		return false;
	bind_tensor(b, "q", KVJIT_U8, 3, x.shape);
	bind_tensor(b, "s", KVJIT_F32, 2, x.shape);
	bind_scalar(b, "n", x.shape[0], 0);
	return golden_call(m, c, text, b, r);
}

bool golden_quant_token_head(const golden_case *c, const machine *m, golden_result *r)
{
	static const struct {
		const char *codes, *scales, *elem, *round;
		double divisor;
	} variants[] = {
		{ "int8_rha", "int8_scale", "s8", "away", 127 },
		{ "int8_trunc", "int8_scale", "s8", "zero", 127 },
		{ "int8_rne", "int8_scale", "s8", "even", 127 },
		{ "e4m3", "e4m3_scale", "e4m3fn", "even", 448 },
		{ "e5m2", "e5m2_scale", "e5m2", "even", 57344 },
	};
	double eps = golden_number(c->params, "eps", 1e-6);
	for (size_t v = 0; v < 5 && !r->failed; v++) {
		char rule[300];
		golden_array codes, scales;
		bind b = { 0 };
		snprintf(rule, sizeof rule,
		         "  elem %s\n  scale f32 token-head amax/%g floor %g\n"
		         "  apply reciprocal\n  round %s\n",
		         variants[v].elem, variants[v].divisor, eps, variants[v].round);
		if (!golden_get(c, variants[v].codes, &codes) ||
		    !golden_get(c, variants[v].scales, &scales)) {
			golden_fail(r, "array '%s' or '%s' is missing", variants[v].codes,
			            variants[v].scales);
		} else if (quantize(c, m, rule, &b, r)) {
			golden_same(r, variants[v].scales, bind_find(&b, "s")->data,
			            scales.data, (size_t)scales.count * 4, 4);
			golden_same(r, variants[v].codes, bind_find(&b, "q")->data, codes.data,
			            (size_t)codes.count, 1);
		}
		bind_free(&b);
	}
	if (!r->failed)
		snprintf(r->text, sizeof r->text, "%u codes and scales exact", r->checked);
	return !r->failed;
}

bool golden_quant_static(const golden_case *c, const machine *m, golden_result *r)
{
	static const char *const elems[] = { "e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz" };
	const char *per = golden_word(c->params, "per");
	golden_array scale;
	if (strcmp(per, "tensor") != 0 && strcmp(per, "head") != 0)
		return golden_fail(r, "unknown granularity per='%s'", per);
	if (!golden_get(c, "scale", &scale))
		return golden_fail(r, "array 'scale' is missing");
	for (int v = 0; v < 8 && !r->failed; v++) {
		char rule[300], name[40];
		golden_array codes;
		bind b = { 0 };
		snprintf(name, sizeof name, "%s_%s", elems[v / 2], v % 2 ? "rcp" : "div");
		if (!golden_get(c, name, &codes))
			continue;
		snprintf(rule, sizeof rule,
		         "  elem %s\n  scale f32 %s given\n  apply %s\n  round even\n",
		         elems[v / 2], per, v % 2 ? "reciprocal" : "divide");
		golden_bind(c, "scale", &b, "d", r);
		bind_arg *d = bind_find(&b, "d");
		golden_array x;
		if (scale.count == 1 && golden_get(c, "x", &x) && x.rank == 3) {
			/* one scale for all: every head reads the same element */
			d->shape[0] = x.shape[1];
			d->nstride = 1;
			d->stride[0] = 0;
		}
		if (quantize(c, m, rule, &b, r))
			golden_same(r, name, bind_find(&b, "q")->data, codes.data,
			            (size_t)codes.count, 1);
		bind_free(&b);
	}
	if (!r->failed)
		snprintf(r->text, sizeof r->text, "%u codes exact", r->checked);
	return !r->failed;
}
