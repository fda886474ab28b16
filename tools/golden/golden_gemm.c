/* SPDX-License-Identifier: Apache-2.0 */
/* golden_gemm.c -- golden cases of block-scaled products: weights as they are and as `pack`
 * leaves them, every element of the outputs, each within the case's bound.
 */
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char formats[] = "format codes v1 {\n  elem e4m3fn\n"
                              "  scale f32 group %d amax/448 eps 1e-10\n}\n";

typedef struct sizes {
	int64_t m, n, k;
	int block[2]; /* along the outputs, along the contraction */
} sizes;

static bool compare(const golden_case *c, const bind *b, kir_elem out, golden_result *r)
{
	golden_array want, bound;
	double unit = out == KIR_bf16 ? 0x1p-8 : out == KIR_f16 ? 0x1p-11 : 0;
	const void *got = bind_find((bind *)b, "c")->data;

	if (!golden_get(c, "C", &want) || !golden_get(c, "bound_fp32", &bound) ||
	    want.count != bound.count)
		return golden_fail(r, "arrays 'C' and 'bound_fp32' don't go together");
	for (int64_t i = 0; i < want.count && !r->failed; i++) {
		double x = elem_get(out, got, i), w = ((const double *)want.data)[i];
		double limit = ((const float *)bound.data)[i] + unit * fabs(w);
		double ratio = fabs(x - w) / limit;

		r->checked++;
		r->worst = ratio > r->worst ? ratio : r->worst;
		if (!(ratio <= 1))
			golden_fail(r, "element %lld of %s: %g, not %g within %g", (long long)i,
			            kir_elems[out].name, x, w, limit);
	}
	return !r->failed;
}

static bool pack(const golden_case *c, const machine *m, const sizes *z, bind *b,
                 golden_result *r)
{
	char text[300];
	bind p = { 0 };
	int64_t shape[4] = { (z->n + 63) / 64, (z->k + 3) / 4, 64, 4 };
	int n = snprintf(text, sizeof text, formats, z->block[1]);
	bind_arg *w = bind_tensor(b, "w", KVJIT_E4M3FN, 4, shape);

	snprintf(text + n, sizeof text - (size_t)n, "pack weights=codes dim=%lld:%lld\n",
	         (long long)z->k, (long long)z->n);
	bind_borrow(&p, "y", KVJIT_E4M3FN, 4, shape, w->data);
	golden_bind(c, "B", &p, "x", r);
	if (!r->failed)
		bind_find(&p, "x")->dtype = KVJIT_E4M3FN;
	bool ok = !r->failed && golden_call(m, c, text, &p, r);
	bind_free(&p);
	return ok;
}

static void one(const golden_case *c, const machine *m, const sizes *z, kir_elem out,
                bool packed, golden_result *r)
{
	char text[500];
	int64_t shape[2] = { z->m, z->n };
	bind b = { 0 };
	int n = snprintf(text, sizeof text, formats, z->block[1]);

	snprintf(text + n, sizeof text - (size_t)n,
	         "gemm out=%s acts=codes weights=codes block=%d%s dim=%lld:%lld\n",
	         kir_elems[out].name, z->block[0], packed ? " packed" : "", (long long)z->k,
	         (long long)z->n);
	golden_bind(c, "A", &b, "a", r);
	golden_bind(c, "As", &b, "as", r);
	golden_bind(c, "Bs", &b, "ws", r);
	if (packed)
		pack(c, m, z, &b, r);
	else
		golden_bind(c, "B", &b, "w", r);
	bind_tensor(&b, "c", bind_dtype(out), 2, shape);
	bind_scalar(&b, "n", z->m, 0);
	if (!r->failed) {
		bind_find(&b, "a")->dtype = bind_find(&b, "w")->dtype = KVJIT_E4M3FN;
		if (golden_call(m, c, text, &b, r))
			compare(c, &b, out, r);
	}
	bind_free(&b);
}

bool golden_gemm(const golden_case *c, const machine *m, golden_result *r)
{
	static const kir_elem outs[] = { KIR_f32, KIR_bf16, KIR_f16 };
	sizes z = { (int64_t)golden_number(c->params, "M", 0),
		    (int64_t)golden_number(c->params, "N", 0),
		    (int64_t)golden_number(c->params, "K", 0),
		    { (int)golden_item(c->params, "block", 0),
		      (int)golden_item(c->params, "block", 1) } };

	for (int i = 0; i < 6 && !r->failed; i++)
		one(c, m, &z, outs[i / 2], i % 2, r);
	if (!r->failed)
		snprintf(r->text, sizeof r->text, "%u outputs, worst error / bound %.3f",
		         r->checked, r->worst);
	return !r->failed;
}
