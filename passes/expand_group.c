/* SPDX-License-Identifier: Apache-2.0 */
/* expand_group.c -- keys whose scales are shared by tokens: a group of them, for one head.
 *
 *     for %h:
 *       for 16 tokens at a time: their values, f32, into the local %x [tokens, D]
 *       %hi, %lo = for %j carry(0, 0): of each element the largest magnitude, or with zero
 *                  points the largest and the smallest value
 *       scales and zero points from these: f32<D>, store
 *       for 16 tokens at a time: codes of their rows of %x under scales along axis 1, store
 *
 * A token alone has no scale: that is why nothing but a whole group is ever put. The values lie
 * in a local because they are read twice, and their source may have any layout.
 */
#include "expand_group.h"

enum { GROUP_BYTES = 160 * 1024 }; /* of %x, which has other locals beside it in KPASS_LOCALS */

bool group_fits(const write_side *s, kir_diag *why)
{
	if (s->side->tokens * s->dim * 4 <= GROUP_BYTES)
		return true;
	kir_error(
	    why, 0, 0,
	    "%d tokens that share scales, of %lld elements each, are more than the %d KiB "
	    "they can be held in together",
	    s->side->tokens, (long long)s->dim, GROUP_BYTES / 1024);
	return false;
}

static void put_row(kir_func *f, const write_side *s, kir_ref x, kir_ref row)
{
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ x, s->group, row, s64c(f, 0) }, 4,
	         NULL);
}

/* Values of WRITE_RUN tokens from t on into rows `row` on. */
static void read_run(const write_op *w, kir_ref t, kir_ref h, kir_ref row)
{
	kir_func *f = w->f;
	const write_side *s = &w->side[0];
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	kir_ref cond = 0;

	if (kir_type_of(f, s->in)->dim[2] % WRITE_RUN == 0) {
		kir_ref from = load1(f, w->from_slots, 1, &t);

		cond = kir_if(f, write_is_run(w, w->from_slots, t, from, WRITE_RUN));
		put_row(f, s, write_clean(f, s->side, transcode_run(w, s, t, h), KIR_f32), row);
		kir_else(f, NULL, 0);
	}
	kir_ref l = kir_for(f, s64c(f, 0), s64c(f, WRITE_RUN), 1, false, NULL, 0), i = l + 1;
	kir_ref x = transcode_row(w, s, e2(f, KIR_OP_add, s64, t, i), h);

	put_row(f, s, write_clean(f, s->side, x, KIR_f32), e2(f, KIR_OP_add, s64, row, i));
	kir_for_end(f, l, NULL, 0);
	if (cond)
		kir_if_end(f, cond, NULL, 0);
}

/* The greater of x and most, or the lesser; a NaN in x doesn't count. */
static kir_ref beyond(kir_func *f, kir_op cmp, kir_ref x, kir_ref most)
{
	kir_type_id t = f->node[x].type;

	return e3(f, KIR_OP_select, t, e2(f, cmp, i1_like(f, t), x, most), x, most);
}

/* Scales of all elements as they are stored, in *d as f32, and zero points or 0. */
static kir_ref group_scales(const write_op *w, kir_ref *d, kir_ref *zero)
{
	kir_func *f = w->f;
	const write_side *s = &w->side[0];
	kir_type_id t = kir_vector(f->module, KIR_f32, s->dim);
	kir_ref none = s64c(f, 0), row[4] = { s->group, none, none }, x;
	kir_ref first = kir_emit(f, KIR_OP_load, t, row, 3, NULL);
	kir_ref carry[2] = { s->side->range ? first : e1(f, KIR_OP_splat, t, f32c(f, 0)),
		             first };
	unsigned n = s->side->range ? 2 : 1;
	kir_ref l = kir_for(f, none, s64c(f, s->side->tokens), 1, false, carry, n);

	row[1] = l + 1;
	x = kir_emit(f, KIR_OP_load, t, row, 3, NULL);
	carry[0] = beyond(f, KIR_OP_gt, n == 2 ? x : e1(f, KIR_OP_abs, t, x), l + 2);
	if (n == 2)
		carry[1] = beyond(f, KIR_OP_lt, x, l + 3);
	kir_ref hi = kir_for_end(f, l, carry, n), lo = hi + 1;
	kir_ref stored =
	    write_scale(f, s->side, n == 2 ? e2(f, KIR_OP_sub, t, hi, lo) : hi, KIR_f32, 0);

	*d = as_elem(f, stored, KIR_f32);
	*zero = n == 2 ? write_zeros(f, s->side, lo, *d) : 0;
	return n == 2 ? write_with_zeros(f, s->side, *d, *zero) : stored;
}

/* Codes of the group's rows into the slots of `page` from `first` on. */
static void put_codes(const write_op *w, kir_ref h, kir_ref page, kir_ref first, kir_ref d,
                      kir_ref zero)
{
	kir_func *f = w->f;
	const write_side *s = &w->side[0];
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	int hint = f->sched.stores == KIR_stores_cached ? 0 : KIR_HINT_nta;

	kir_chose(f, KIR_KNOB_stores, hint ? KIR_stores_streamed : KIR_stores_cached);
	kir_ref none = s64c(f, 0);
	kir_ref l = kir_for(f, none, s64c(f, s->side->tokens), WRITE_RUN, false, NULL, 0);
	kir_ref x = kir_emit(f, KIR_OP_load, kir_tile(f->module, KIR_f32, WRITE_RUN, s->dim),
	                     (kir_ref[]){ s->group, l + 1, none }, 3, NULL);

	x = write_as_stored(f, s->side, write_codes(f, s->side, x, d, zero, 0, 1));
	kir_emit(
	    f, KIR_OP_store, KIR_NO_TYPE,
	    (kir_ref[]){ x, s->codes, page, h, e2(f, KIR_OP_add, s64, first, l + 1), none }, 6,
	    (int64_t[KIR_MAX_ATTRS]){ hint });
	kir_for_end(f, l, NULL, 0);
}

void transcode_group(const write_op *w, kir_ref t, kir_ref slot)
{
	kir_func *f = w->f;
	const write_side *s = &w->side[0];
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	kir_ref page = e2(f, KIR_OP_fdiv, s64, slot, s64c(f, w->page)), none = s64c(f, 0);
	kir_ref first = e2(f, KIR_OP_mod, s64, slot, s64c(f, w->page)), d, zero;
	kir_ref group = e2(f, KIR_OP_fdiv, s64, first, s64c(f, s->side->tokens));
	kir_ref lh = kir_for(f, none, s64c(f, w->heads), 1, false, NULL, 0), h = lh + 1;
	write_place to = { s->scales, { page, h, group, none }, 0 };

	if (s->move) {
		transcode_scales(w, s, t, h, &to);
	} else {
		kir_ref l =
		    kir_for(f, none, s64c(f, s->side->tokens), WRITE_RUN, false, NULL, 0);

		read_run(w, e2(f, KIR_OP_add, s64, t, l + 1), h, l + 1);
		kir_for_end(f, l, NULL, 0);
		kir_ref stored = group_scales(w, &d, &zero);

		write_store(f, stored, 1, &to);
		put_codes(w, h, page, first, d, zero);
	}
	kir_for_end(f, lh, NULL, 0);
}
