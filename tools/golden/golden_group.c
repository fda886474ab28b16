/* SPDX-License-Identifier: Apache-2.0 */
/* golden_group.c -- golden cases of group quantizers, byte for byte: every rule as a declared
 * format, every layout of the scales, and the power of two at or above a scale.
 */
#include "golden.h"

#include <stdio.h>
#include <string.h>

/* Calls `quant` over x [rows, dim] with a rule; s is given its shape by the layout. */
static bool quantize(const golden_case *c, const machine *m, const char *rule,
                     const char *scales, bind *b, golden_result *r)
{
	char text[700];
	golden_array x;

	if (!golden_get(c, "x", &x) || x.rank != 2)
		return golden_fail(r, "array 'x' is missing or isn't [rows, dim]");
	int64_t shape[3] = { x.shape[0], 1, x.shape[1] };
	snprintf(text, sizeof text,
	         "format golden v1 {\n%s}\nquant in=%s to=golden dim=%lld scales=%s\n", rule,
	         kir_elems[x.elem].name, (long long)x.shape[1], scales);
	bind_arg *in = bind_tensor(b, "x", bind_dtype(x.elem), 3, shape);
	memcpy(in->data, x.data, (size_t)x.count * kir_elem_bytes(x.elem));
	bind_tensor(b, "q", KVJIT_U8, 3, shape);
	bind_scalar(b, "n", x.shape[0], 0);
	return golden_call(m, c, text, b, r);
}

static bool same(const golden_case *c, golden_result *r, const bind *b, const char *arg,
                 const char *array)
{
	golden_array want;

	if (!golden_get(c, array, &want))
		return golden_fail(r, "array '%s' is missing", array);
	size_t item = kir_elem_bytes(want.elem);
	return golden_same(r, array, bind_find((bind *)b, arg)->data, want.data,
	                   (size_t)want.count * item, item);
}

/* One rule with its scales beside each other in rows. codes, scales: arrays of the case. */
static void one_rule(const golden_case *c, const machine *m, const char *rule,
                     const char *codes, const char *scales, golden_result *r)
{
	golden_array s;
	bind b = { 0 };

	if (!golden_get(c, scales, &s)) {
		golden_fail(r, "array '%s' is missing", scales);
		return;
	}
	bind_tensor(&b, "s", KVJIT_F32, 3, (int64_t[]){ s.shape[0], 1, s.shape[1] });
	if (quantize(c, m, rule, "rows", &b, r)) {
		same(c, r, &b, "s", scales);
		same(c, r, &b, "q", codes);
	}
	bind_free(&b);
}

/* The same scales in a layout of columns; what pads them stays as it was, 0. */
static void one_layout(const golden_case *c, const machine *m, const char *rule,
                       const char *layout, const char *scales, golden_result *r)
{
	golden_array s;
	bind b = { 0 };

	if (!golden_get(c, scales, &s)) {
		golden_fail(r, "array '%s' is missing", scales);
		return;
	}
	bind_tensor(&b, "s", bind_dtype(s.elem), 2, s.shape);
	if (quantize(c, m, rule, layout, &b, r))
		same(c, r, &b, "s", scales);
	bind_free(&b);
}

bool golden_quant_group(const golden_case *c, const machine *m, golden_result *r)
{
	/* scale element, rule, how it is applied, rounding */
	static const struct {
		const char *codes, *scales, *elem, *rule, *apply, *round;
	} rules[] = {
		{ "native_q", "native_s", "e4m3fn", "amax/448", "reciprocal", "even" },
		{ "div_q", "div_s", "e4m3fn", "amax/448", "divide", "even" },
		{ "triton_q", "triton_s", "e4m3fn", "amax*1/448", "divide", "even" },
		{ "ue8m0_q", "ue8m0_s", "e4m3fn", "amax/448 pow2 floor %g", "reciprocal",
		  "even" },
		{ "ue8m0_nofloor_q", "ue8m0_nofloor_s", "e4m3fn", "amax*1/448 pow2", "divide",
		  "even" },
		{ "int8_trunc_q", "int8_s", "s8", "amax/127", "divide", "zero" },
		{ "int8_rne_q", "int8_s", "s8", "amax/127", "divide", "even" },
	};
	int group = (int)golden_number(c->params, "group", 0);
	double eps = golden_number(c->params, "eps", 0);
	char rule[300], body[100];

	for (size_t i = 0; i < sizeof rules / sizeof *rules && !r->failed; i++) {
		snprintf(body, sizeof body, rules[i].rule, eps);
		snprintf(rule, sizeof rule,
		         "  elem %s\n  scale f32 group %d %s eps %g\n  apply %s\n  round %s\n",
		         rules[i].elem, group, body, eps, rules[i].apply, rules[i].round);
		one_rule(c, m, rule, rules[i].codes, rules[i].scales, r);
	}
	snprintf(rule, sizeof rule,
	         "  elem e4m3fn\n  scale f32 group %d amax/448 eps %g\n  apply reciprocal\n",
	         group, eps);
	one_layout(c, m, rule, "columns", "colmajor_s", r);
	one_layout(c, m, rule, "columns", "tma_s", r);
	snprintf(rule, sizeof rule,
	         "  elem e4m3fn\n  scale e8m0 group %d amax/448 eps %g floor %g pow2\n"
	         "  apply reciprocal\n",
	         group, eps, eps);
	one_layout(c, m, rule, "packed", "packed_ue8m0", r);
	if (!r->failed)
		snprintf(r->text, sizeof r->text, "%u codes and scales exact", r->checked);
	return !r->failed;
}

/* The power of two at or above each s, as f32 and as e8m0: the scales of rows of one element
 * that isn't 0. */
bool golden_pow2_ceil(const golden_case *c, const machine *m, golden_result *r)
{
	static const struct {
		const char *array, *elem;
		kvjit_dtype dtype;
	} outs[] = { { "pow2", "f32", KVJIT_F32 }, { "byte", "e8m0", KVJIT_E8M0 } };
	enum { DIM = 16 };
	golden_array s;

	if (!golden_get(c, "s", &s))
		return golden_fail(r, "array 's' is missing");
	for (int i = 0; i < 2 && !r->failed; i++) {
		int64_t shape[3] = { s.count, 1, DIM };
		bind b = { 0 };
		char text[300];

		snprintf(
		    text, sizeof text,
		    "format golden v1 {\n  elem e5m2\n  scale %s token-head amax/1 pow2\n}\n"
		    "quant in=f32 to=golden dim=%d\n",
		    outs[i].elem, DIM);
		float *x = bind_tensor(&b, "x", KVJIT_F32, 3, shape)->data;
		for (int64_t k = 0; k < s.count; k++)
			x[DIM * k] = ((const float *)s.data)[k];
		bind_tensor(&b, "q", KVJIT_U8, 3, shape);
		bind_tensor(&b, "s", outs[i].dtype, 2, shape);
		bind_scalar(&b, "n", s.count, 0);
		if (golden_call(m, c, text, &b, r))
			same(c, r, &b, "s", outs[i].array);
		bind_free(&b);
	}
	if (!r->failed)
		snprintf(r->text, sizeof r->text, "%u scales exact", r->checked);
	return !r->failed;
}
