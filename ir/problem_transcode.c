/* SPDX-License-Identifier: Apache-2.0 */
/* problem_transcode.c -- a transcode problem as the level-A function that a person would have
 * written.
 *
 * Both caches are described alike: tensors, then views of the streams in them. What belongs to
 * the cache that is read has `from_` before its name.
 */
#include "internal.h"
#include "problem_priv.h"
#include "format_priv.h"

#include <stdio.h>
#include <string.h>

/* Where x writes, and what scales of it are handed over. */
static const char *const from_streams[KIR_NSTREAM] = { "from_k",  "from_v",  "from_r",
	                                               "from_ks", "from_vs", "from_rs" };

/* A key's parts and whether there are values must be the same: nothing else has a meaning. */
static bool same_rows(const expansion *x, const kir_format *a, const kir_format *b)
{
	const char *from = x->p->k_format, *to = x->p->v_format;

	if (a->rest == b->rest && a->shared == b->shared)
		return true;
	if (a->shared != b->shared)
		kir_error(x->d, 0, 0,
		          "from=%s to=%s: %s stores no values (they are the first elements of "
		          "its keys), %s stores some; both formats must do the same",
		          from, to, a->shared ? from : to, a->shared ? to : from);
	else
		kir_error(
		    x->d, 0, 0,
		    "from=%s to=%s: the last %d elements of a key are a part of their "
		    "own in the one, the last %d in the other; both formats must part keys "
		    "alike",
		    from, to, a->rest, b->rest);
	return false;
}

/* The scales that are handed over, for each head, of sides that aren't moved as they are. */
static void given_scales(expansion *x, const kir_format *a, const kir_format *b)
{
	static const char *const names[2][2] = { { "from_kd", "from_vd" }, { "kd", "vd" } };
	kir_type_id per_head = problem_strided(x, KIR_f32, 1, 1, &x->p->kv_heads);

	for (int to = 0; to < 2; to++)
		for (int v = 0; v < 2; v++) {
			bool wanted = false;

			for (int s = v; s < KIR_SIDES; s += 2) /* K and R, or V */
				wanted = wanted || kir_side_wants(a, b, s, to);
			if (wanted)
				problem_operand(x, names[to][v], per_head, KIR_IN);
		}
}

void problem_transcode(expansion *x)
{
	const kir_problem *p = x->p;
	const int64_t any = KIR_DYN;
	kir_type_id slots = kir_buffer(x->m, KIR_s64, 1, &any);
	const kir_format *f[2] = { kir_format_get(x->m, p->k_format, x->d),
		                   kir_format_get(x->m, p->v_format, x->d) };
	kir_slot slot[KIR_MAX_ROW];

	x->failed = !f[0] || !f[1] || !same_rows(x, f[0], f[1]);
	for (int s = 0; s < 2 && !x->failed; s++) {
		if (kir_side_transcodes(f[0], f[1], s))
			continue;
		if (f[0]->side[s].mean != f[1]->side[s].mean) {
			kir_error(x->d, 0, 0,
			          "from=%s to=%s: %s stores keys less a mean, %s whole ones; "
			          "both formats must do the same",
			          p->k_format, p->v_format,
			          f[0]->side[s].mean ? p->k_format : p->v_format,
			          f[0]->side[s].mean ? p->v_format : p->k_format);
			x->failed = true;
			continue;
		}
		kir_error(x->d, 0, 0,
		          "from=%s to=%s: rotated %s are moved as they are or not at all: both "
		          "formats must rotate alike and store the same codes and scales",
		          p->k_format, p->v_format, s ? "values" : "keys");
		x->failed = true;
	}
	for (int l = 0; l < 2 && !x->failed; l++) {
		kir_shape s = { p->kv_heads, p->dim_k, p->dim_v, l ? p->page_to : p->page };

		x->failed = !kir_format_layout(f[l], &s, &x->layout[l], x->d);
	}
	if (x->failed)
		return;
	for (int l = 0; l < 2; l++)
		for (unsigned i = 0; i < x->layout[l].ntensor; i++)
			problem_tensor(x, l, i, l ? "" : "from_", l ? p->page_to : p->page,
			               l ? KIR_INOUT : KIR_IN);
	given_scales(x, f[0], f[1]);
	problem_operand(x, "from_slots", slots, KIR_IN);
	problem_operand(x, "slots", slots, KIR_IN);
	problem_scalar(x, "n", KIR_s64);
	for (int s = 0; s < KIR_NSTREAM; s++)
		problem_view(x, 0, s, from_streams[s]);
	for (int s = 0; s < KIR_NSTREAM; s++)
		problem_view(x, 1, s, kir_stream_names[s]);
	kir_emit(x->f, x->op, KIR_NO_TYPE, x->operand, kir_row(x->op, slot),
	         (int64_t[KIR_MAX_ATTRS]){ problem_format(x, f[1]), problem_format(x, f[0]) });
}
