/* SPDX-License-Identifier: Apache-2.0 */
/* golden_mx.c -- golden cases of block formats with small scales: MX and NVFP4, byte for byte.
 *
 * Every variant is a rule of the format language, declared in the problem's text; the codes of
 * a quant problem are two a byte, those of the MX cases one.
 */
#include "golden.h"

#include "../../ir/format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Codes and scales of x [rows, dim] as one head under a rule; global: handed over, 0: none. */
static bool quantize(const golden_case *c, const machine *m, const char *elem, const char *rule,
                     int group, float global, bind *b, golden_result *r)
{
	char text[600];
	golden_array x;
	if (!golden_get(c, "x", &x) || x.rank != 2)
		return golden_fail(r, "array 'x' is missing or isn't [rows, dim]");
	int64_t shape[3] = { x.shape[0], 1, x.shape[1] };
	int64_t scales[3] = { x.shape[0], 1, x.shape[1] / group }, one = 1;
	snprintf(text, sizeof text,
	         "format golden v1 {\n  elem %s\n  scale %s\n"
	         "  tensor cache [h t] { k[d] ks[g] v[d] vs[g] }\n}\n"
	         "quant in=%s to=golden heads=1 dim=%lld\n",
	         elem, rule, kir_elems[x.elem].name, (long long)shape[2]);
	if (!golden_bind(c, "x", b, "x", r))
		return false;
	bind_arg *in = bind_find(b, "x");
	in->rank = 3;
	memcpy(in->shape, shape, sizeof shape);
	if (strcmp(elem, "e2m1") == 0)
		shape[2] /= 2;
	bind_tensor(b, "q", KVJIT_U8, 3, shape);
	bind_tensor(b, "s", KVJIT_U8, 3, scales);
	*(float *)bind_tensor(b, "d", KVJIT_F32, 1, &one)->data = global;
	bind_scalar(b, "n", x.shape[0], 0);
	return golden_call(m, c, text, b, r);
}

/* Codes as the case has them: one a byte, which may be compared with two a byte. */
static bool same_codes(golden_result *r, const char *name, const bind_arg *got,
                       const golden_array *want)
{
	const unsigned char *q = got->data;
	unsigned char code[4096];
	if ((int64_t)got->bytes == want->count)
		return golden_same(r, name, q, want->data, (size_t)want->count, 1);
	if (2 * (int64_t)got->bytes != want->count || want->count > (int64_t)sizeof code)
		return golden_fail(r, "array '%s' has %lld codes", name,
		                   (long long)want->count);
	for (int64_t i = 0; i < want->count; i++)
		code[i] = (unsigned char)(q[i / 2] >> (i % 2 ? 4 : 0) & 15);
	return golden_same(r, name, code, want->data, (size_t)want->count, 1);
}

static bool one_rule(const golden_case *c, const machine *m, const char *elem, const char *rule,
                     int group, float global, const char *codes, const char *scales,
                     golden_result *r)
{
	golden_array q, s;
	bind b = { 0 };
	if (!golden_get(c, codes, &q) || !golden_get(c, scales, &s))
		return golden_fail(r, "array '%s' or '%s' is missing", codes, scales);
	if (quantize(c, m, elem, rule, group, global, &b, r)) {
		golden_same(r, scales, bind_find(&b, "s")->data, s.data, (size_t)s.count, 1);
		same_codes(r, codes, bind_find(&b, "q"), &q);
	}
	bind_free(&b);
	return !r->failed;
}

/* The handed-over scale whose reciprocal, rounded, is g. */
static float inverse_of(float g)
{
	float d = 1 / g;
	for (int i = 0; i < 8 && 1 / d != g; i++)
		d = nextafterf(1 / g, i % 2 ? 0 : INFINITY);
	return d;
}

bool golden_quant_mx(const golden_case *c, const machine *m, golden_result *r)
{
	static const char *const elems[] = { "e4m3fn", "e5m2", "e2m1", "e2m3", "e3m2" };
	static const struct {
		const char *name, *word;
	} rules[] = { { "ocp", "pow2-down" }, { "ceil", "pow2" }, { "round75", "pow2-near" } };
	golden_array x;
	for (int e = 0; e < 5 && !r->failed; e++)
		for (int v = 0; v < 3 && !r->failed; v++) {
			char rule[100], codes[40], scales[40];
			kir_elem elem = KIR_VOID;
			for (int k = 1; k < KIR_NELEM; k++)
				if (strcmp(kir_elems[k].name, elems[e]) == 0)
					elem = (kir_elem)k;
			double most = kir_elem_max(elem);
			double top = v == 1 ? most : exp2(floor(log2(most)));
			snprintf(codes, sizeof codes, "%s_%s_q", elems[e], rules[v].name);
			snprintf(scales, sizeof scales, "%s_%s_e", elems[e], rules[v].name);
			if (v == 2 && !golden_get(c, codes, &x))
				continue; /* only 4-bit elements have it */
			snprintf(rule, sizeof rule, "e8m0 group 32 amax/%g %s", top,
			         rules[v].word);
			one_rule(c, m, elems[e], rule, 32, 0, codes, scales, r);
		}
	if (!r->failed && golden_get(c, "global_scale_inv", &x))
		one_rule(c, m, "e2m1", "e4m3fn group 16 amax/6 global", 16,
		         inverse_of(*(const float *)x.data), "nvfp4_q", "nvfp4_sf", r);
	if (!r->failed)
		snprintf(r->text, sizeof r->text, "%u codes and scales exact", r->checked);
	return !r->failed;
}

bool golden_write_nvfp4(const golden_case *c, const machine *m, golden_result *r)
{
	char text[300];
	golden_array want, k, slots;
	bind b = { 0 };
	long long heads = golden_item(c->params, "shape", 1);
	if (strcmp(golden_word(c->params, "order"), "HND") != 0)
		return golden_fail(r, "unknown order '%s'", golden_word(c->params, "order"));
	if (!golden_get(c, "pages", &want) || !golden_get(c, "k", &k) ||
	    !golden_get(c, "slots", &slots))
		return golden_fail(r, "array 'pages', 'k' or 'slots' is missing");
	snprintf(text, sizeof text, "write in=%s kv=nvfp4/page heads=%lld dim=%lld page=%lld\n",
	         kir_elems[k.elem].name, heads, (long long)golden_item(c->params, "shape", 2),
	         (long long)golden_number(c->params, "block_size", 0));
	bind_arg *pages = bind_tensor(&b, "cache", KVJIT_U8, 2, want.shape);
	memset(pages->data, (int)golden_number(c->params, "fill", 0), pages->bytes);
	bind_scalar(&b, "n", slots.count, 0);
	if (golden_bind(c, "k", &b, "key", r) && golden_bind(c, "v", &b, "value", r) &&
	    golden_bind(c, "slots", &b, "slots", r) && golden_bind(c, "k_scale", &b, "kd", r) &&
	    golden_bind(c, "v_scale", &b, "vd", r)) {
		for (int i = 0; i < 2; i++) { /* one for all heads */
			bind_arg *d = bind_find(&b, i ? "vd" : "kd");
			d->shape[0] = heads;
			d->nstride = 1;
			d->stride[0] = 0;
		}
		if (golden_call(m, c, text, &b, r))
			golden_same(r, "pages", pages->data, want.data, (size_t)want.count, 1);
	}
	if (!r->failed)
		snprintf(r->text, sizeof r->text, "%u bytes exact", r->checked);
	bind_free(&b);
	return !r->failed;
}
