/* SPDX-License-Identifier: Apache-2.0 */
/* expand.c -- from what is computed to loops over tiles.
 *
 *     attention q=%q, out=%o, k=%k, ...        =>  for %w = 0 to %nwork par { ... }
 *     cache.write key=%key, ...                    for %x = 0 to %njoin par { ... }
 *
 * Each level-A op becomes top-level par loops: expand_attn.c, expand_write.c, expand_gemm.c. The text that
 * results is exact: every rounding, bound and mask of the op is an op of its own, so that the
 * passes after this one know nothing of attention or of formats.
 *
 * Requires level A. Reads knobs kv_tile, q_tile, parts, m_tile, n_tile. Keeps nothing.
 */
#include "expand.h"

kir_ref expand_operand(const kir_func *in, kir_ref n, const kir_ref *map, const char *name)
{
	kir_ref r = kir_operand(in, n, name);

	return r ? map[r] : 0;
}

static bool expand_op(const kir_func *in, kir_ref n, kir_func *out, kir_ref *map, kir_diag *why)
{
	switch (in->node[n].op) {
	case KIR_OP_attention: return expand_attention(in, n, out, map, why);
	case KIR_OP_cache_write: return expand_cache_write(in, n, out, map, why);
	case KIR_OP_quantize: return expand_quantize(in, n, out, map, why);
	case KIR_OP_gemm: return expand_gemm(in, n, out, map, why);
	case KIR_OP_relayout: return expand_relayout(in, n, out, map, why);
	case KIR_OP_merge: return expand_merge(in, n, out, map, why);
	case KIR_OP_index_topk: return expand_index_topk(in, n, out, map, why);
	default: kir_copy(out, in, n, map); return true;
	}
}

kpass_result kpass_expand(const kir_func *in, kir_func *out, kir_diag *why)
{
	kir_ref *map = kir_map_new(out, in);

	for (kir_ref n = 1; n < in->nnode;) {
		if (in->node[n].op == KIR_OP_param) {
			n++;
			continue;
		}
		if (!expand_op(in, n, out, map, why))
			return KPASS_REJECT;
		n = in->node[n].op == KIR_OP_attention ? kir_region_end(in, n) : n + 1;
	}
	return KPASS_CHANGED;
}
