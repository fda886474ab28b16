/* SPDX-License-Identifier: Apache-2.0 */
/* golden_rotated.c -- golden cases of rows that are rotated before they are quantized: what the
 * rotation gives, and codes with zero points of that. Records of codebooks that the same cases
 * hold (tq_*) are skipped, and counted as such (golden.c). */
#include "golden.h"

#include <stdio.h>

/* Rotated by the case's signs and stored as `rule` says: what becomes q, and s if it isn't
 * NULL. */
static bool run(const golden_case *c, const machine *m, const char *rule, const char *q,
                const char *s, golden_result *r)
{
	golden_array x, codes, scales;
	char text[400];
	bind b = { 0 };

	if (!golden_get(c, "k", &x) || x.rank != 3 || !golden_get(c, q, &codes) ||
	    codes.rank != 3 || (s && !golden_get(c, s, &scales)))
		return golden_fail(r, "array 'k', '%s' or '%s' is missing", q, s ? s : q);
	snprintf(text, sizeof text,
	         "format golden v1 {\n%s  rotate hadamard signs\n}\n"
	         "quant in=%s to=golden heads=%lld dim=%lld\n",
	         rule, kir_elems[x.elem].name, (long long)x.shape[1], (long long)x.shape[2]);
	bind_arg *out = bind_tensor(&b, "q", bind_dtype(codes.elem), 3, codes.shape);
	bind_arg *sc = bind_tensor(&b, "s", KVJIT_F32, 2, x.shape);

	bind_scalar(&b, "n", x.shape[0], 0);
	if (golden_bind(c, "k", &b, "x", r) && golden_bind(c, "rht_signs", &b, "sign", r) &&
	    golden_call(m, c, text, &b, r)) {
		size_t item = kir_elem_bytes(codes.elem);

		golden_same(r, q, out->data, codes.data, (size_t)codes.count * item, item);
		if (s)
			golden_same(r, s, sc->data, scales.data, (size_t)scales.count * 4, 4);
	}
	bind_free(&b);
	return !r->failed;
}

bool golden_quant_rotated(const golden_case *c, const machine *m, golden_result *r)
{
	if (run(c, m, "  elem bf16\n  scale none\n", "rht_k_bf16", NULL, r))
		run(c, m,
		    "  elem u4\n  scale f32 token-head range/15 floor 1e-06\n"
		    "  apply reciprocal\n  round away\n",
		    "int4_packed", "int4_scale_zp", r);
	if (!r->failed)
		snprintf(r->text, sizeof r->text, "%u values, codes and scales", r->checked);
	return !r->failed;
}
