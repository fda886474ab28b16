/* SPDX-License-Identifier: Apache-2.0 */
/* problem_transcode.c -- a transcode problem as the level-A function that a person would have
 * written.
 *
 * Both caches are described alike, as attention describes its own: tensors of one format or of
 * K's and V's, then views of the streams in them. What belongs to the cache that is read has
 * `from_` before its name.
 */
#include "internal.h"
#include "problem_priv.h"
#include "format_priv.h"

#include <string.h>

/* A key's parts, whether there are values and whether keys are whole must be the same: nothing
 * else has a meaning. */
static bool same_rows(const expansion *x, const kir_format *a, const kir_format *b)
{
	const char *from = a->name, *to = b->name;

	if (a->shared != b->shared)
		kir_error(x->d, 0, 0,
		          "from=%s to=%s: %s stores no values (they are the first elements of "
		          "its keys), %s stores some; both formats must do the same",
		          from, to, a->shared ? from : to, a->shared ? to : from);
	else if (a->rest != b->rest)
		kir_error(
		    x->d, 0, 0,
		    "from=%s to=%s: the last %d elements of a key are a part of their "
		    "own in the one, the last %d in the other; both formats must part keys "
		    "alike",
		    from, to, a->rest, b->rest);
	else if (a->side[0].mean != b->side[0].mean)
		kir_error(x->d, 0, 0,
		          "from=%s to=%s: %s stores keys less a mean, %s whole ones; both "
		          "formats must do the same",
		          from, to, a->side[0].mean ? from : to, a->side[0].mean ? to : from);
	else
		return true;
	return false;
}

static bool rotate_alike(const expansion *x, const kir_format *a, const kir_format *b)
{
	for (int s = 0; s < 2; s++) {
		if (kir_side_transcodes(a, b, s))
			continue;
		kir_error(x->d, 0, 0,
		          "from=%s to=%s: rotated %s are moved as they are or not at all: both "
		          "formats must rotate alike and store the same codes and scales",
		          a->name, b->name, s ? "values" : "keys");
		return false;
	}
	return true;
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
	const int64_t any = KIR_DYN;
	kir_type_id slots = kir_buffer(x->m, KIR_s64, 1, &any);
	kir_problem read = *x->p, written = *x->p;
	expansion from = *x, to = *x;
	kir_slot slot[KIR_MAX_ROW];

	read.v_format = read.from_v ? read.from_v : read.k_format;
	written.k_format = written.v_format;
	written.v_format = written.to_v ? written.to_v : written.v_format;
	written.page = written.page_to;
	from.p = &read;
	from.prefix = "from_";
	to.p = &written;
	x->failed = !problem_layouts(&from) || !problem_layouts(&to) ||
	            !same_rows(x, from.rule, to.rule) || !rotate_alike(x, from.rule, to.rule);
	if (x->failed)
		return;
	problem_tensors(&from, KIR_IN);
	problem_tensors(&to, KIR_INOUT);
	given_scales(x, from.rule, to.rule);
	problem_operand(x, "from_slots", slots, KIR_IN);
	problem_operand(x, "slots", slots, KIR_IN);
	problem_scalar(x, "n", KIR_s64);
	problem_views(&from);
	problem_views(&to);
	for (int i = 0; i < KIR_MAX_SRC; i++) /* each has operands of its own */
		x->operand[i] |= from.operand[i] | to.operand[i];
	x->failed = x->failed || from.failed || to.failed;
	kir_emit(x->f, x->op, KIR_NO_TYPE, x->operand, kir_row(x->op, slot),
	         (int64_t[KIR_MAX_ATTRS]){ problem_format(x, to.rule),
	                                   problem_format(x, from.rule) });
}
