/* SPDX-License-Identifier: Apache-2.0 */
/* expand.c -- from what is computed to loops over tiles.
 *
 *     attention q=%q, out=%o, k=%k, ...        =>  for %w = 0 to %nwork par { ... }
 *     cache.write key=%key, ...                    for %x = 0 to %njoin par { ... }
 *
 * Each level-A op becomes top-level par loops: expand_attn.c, expand_write.c,
 * expand_transcode.c, expand_gemm.c. The text that results is exact: every rounding, bound and
 * mask of the op is an op of its own, so that the passes after this one know nothing of
 * attention or of formats.
 *
 * Requires level A. Reads knobs kv_tile, q_tile, parts, m_tile, n_tile. Keeps nothing.
 */
#include "expand.h"
#include "../ir/format.h"

kir_ref expand_operand(const kir_func *in, kir_ref n, const kir_ref *map, const char *name)
{
	kir_ref r = kir_operand(in, n, name);

	return r ? map[r] : 0;
}

kir_ref expand_split(kir_func *f, const kir_side *side, kir_ref s, kir_ref *zero)
{
	kir_type_id st = f->node[s].type, it = kir_with_elem(f->module, st, KIR_s32);
	int32_t mask = (int32_t)kir_side_zero_mask(side);
	kir_ref b = e1(f, KIR_OP_bitcast, it, s);
	kir_ref z = e2(f, KIR_OP_and, it, b, kir_const_i(f, KIR_s32, mask));
	kir_ref d = e2(f, KIR_OP_and, it, b, kir_const_i(f, KIR_s32, ~mask));

	d = e1(f, KIR_OP_bitcast, st, d);
	*zero = as_elem(f, z, KIR_f32);
	return d;
}

static bool expand_op(const kir_func *in, kir_ref n, kir_func *out, kir_ref *map, kir_diag *why)
{
	switch (in->node[n].op) {
	case KIR_OP_attention: return expand_attention(in, n, out, map, why);
	case KIR_OP_cache_write: return expand_cache_write(in, n, out, map, why);
	case KIR_OP_transcode: return expand_transcode(in, n, out, map, why);
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
	int64_t bytes = kpass_local_bytes(out, 1, out->nnode);

	if (bytes > KIR_LOCAL_BYTES) {
		kpass_too_large(&in->sched, bytes, KIR_LOCAL_BYTES, why);
		return KPASS_REJECT;
	}
	return KPASS_CHANGED;
}
