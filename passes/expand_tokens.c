/* SPDX-License-Identifier: Apache-2.0 */
/* expand_tokens.c -- the walk of cache.write and transcode over tokens and the pages they go
 * to.
 *
 *     for %p = 0 to parts par {                ; pages p, p + parts, ... belong to p
 *       for %t = 0 to %n step 16 {
 *         if the 16 slots follow each other from a multiple of 16 on:
 *           if their page is p's: for %i { K rows <H x D>, V rows: scales, codes, store }
 *         else
 *           for %i: %slot = load %slots[%i]; if it is p's: the same for one token } }
 *
 * Input is taken in the order it lies in, all heads of a token at once. A layout that puts
 * 4 bytes of each of 16 tokens side by side gets its codes through a local, a head at a time
 * (expand_run.c): 16 tokens fill whole cache lines, where one by one they would touch each line
 * 16 times. So is a source of
 * that kind read, and what is moved as it is goes 16 tokens at a time without rows; then the
 * source's 16 slots must follow each other too.
 *
 * Where tokens share scales the walk goes by groups of them: what isn't a whole group stays
 * where it is. Keys are put into place first (expand_group.c), then all else as above.
 *
 * A page has one owner who takes its tokens in order: of two tokens with one slot the later
 * wins, whatever the number of threads, and no two threads write one cache line of a page.
 */
#include "expand_write.h"

enum { NEAR = 1024 }; /* tokens that a walk looks ahead */

/* Whether slot is to be written by this partition. */
static kir_ref is_mine(const write_op *w, kir_ref slot)
{
	kir_func *f = w->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64), i1 = kir_scalar(f->module, KIR_i1);
	kir_ref page = e2(f, KIR_OP_fdiv, s64, slot, s64c(f, w->page));
	kir_ref owner = e2(f, KIR_OP_mod, s64, page, s64c(f, w->parts));

	return e2(f, KIR_OP_and, i1, e2(f, KIR_OP_ge, i1, slot, s64c(f, 0)),
	          e2(f, KIR_OP_eq, i1, owner, w->part));
}

/* The first token of the run that this partition takes after the one from token t on; t where
 * none is near. Pages that others own stand between: with pages of 16 tokens three runs of
 * four, and touching the very next one brought lines that nobody here reads. */
static kir_ref next_run(const write_op *w, kir_ref t)
{
	kir_func *f = w->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64), i1 = kir_scalar(f->module, KIR_i1);
	int64_t near = 2 * w->parts * w->page < NEAR ? 2 * w->parts * w->page : NEAR;
	kir_ref from = e2(f, KIR_OP_add, s64, t, s64c(f, w->ahead * WRITE_RUN));

	if (w->parts == 1 || !w->ahead)
		return from;
	kir_ref end = e2(f, KIR_OP_min, s64, e2(f, KIR_OP_add, s64, from, s64c(f, near)), w->n);
	kir_ref l = kir_for(f, from, end, WRITE_RUN, false, &t, 1), i = l + 1, found = l + 2;
	kir_ref takes = e2(f, KIR_OP_and, i1, is_mine(w, load1(f, w->slots, 1, &i)),
	                   e2(f, KIR_OP_eq, i1, found, t));

	found = e3(f, KIR_OP_select, s64, takes, i, found);
	return kir_for_end(f, l, &found, 1);
}

/* Token t of one side into its slot; codes into the stage's row `i` if it has one. */
static void write_side_token(const write_op *w, const write_side *s, kir_ref t, kir_ref page,
                             kir_ref token, kir_ref stage, kir_ref i, int hint)
{
	kir_func *f = w->f;
	int64_t heads = write_heads_together(w->heads, s->dim);
	bool loop = heads < w->heads;
	kir_ref lh =
	    loop ? kir_for(f, s64c(f, 0), s64c(f, w->heads), heads, false, NULL, 0) : 0;
	kir_ref h = loop ? lh + 1 : s64c(f, 0), zero = s64c(f, 0);
	write_place codes = { s->codes, { page, h, token, zero }, hint };
	write_place scales = { s->scales, { page, h, token, zero }, 0 };

	if (stage)
		codes = (write_place){ stage, { h, i, zero }, 0 };
	w->put(w, s, t, h, heads, &codes, &scales);
	if (loop)
		kir_for_end(f, lh, NULL, 0);
}

/* The slot that token t goes to; negative: none. */
static kir_ref load_slot(const write_op *w, kir_ref t)
{
	kir_func *f = w->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	kir_ref slot = load1(f, w->slots, 1, &t), from;

	if (!w->from_slots)
		return slot;
	from = load1(f, w->from_slots, 1, &t);
	return e3(f, KIR_OP_select, s64,
	          e2(f, KIR_OP_lt, kir_scalar(f->module, KIR_i1), from, s64c(f, 0)), from,
	          slot);
}

/* Tokens [t, end), one by one. */
static void write_singly(const write_op *w, kir_ref t, kir_ref end)
{
	kir_func *f = w->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	kir_ref l = kir_for(f, t, end, 1, false, NULL, 0), i = l + 1;
	kir_ref slot = load_slot(w, i);
	kir_ref cond = kir_if(f, is_mine(w, slot));
	kir_ref page = e2(f, KIR_OP_fdiv, s64, slot, s64c(f, w->page));
	kir_ref token = e2(f, KIR_OP_mod, s64, slot, s64c(f, w->page));

	for (int k = 0; k < KIR_SIDES; k++)
		if (w->side[k].in)
			write_side_token(w, &w->side[k], i, page, token, 0, 0, 0);
	kir_else(f, NULL, 0);
	kir_if_end(f, cond, NULL, 0);
	kir_for_end(f, l, NULL, 0);
}

/* The run of sources whose first slot is `slot` of one page, as rows in from_stage: a layout
 * that holds 4 bytes of each token side by side is read in whole lines. */
static void stage_source(const write_op *w, const write_side *s, kir_ref slot)
{
	kir_func *f = w->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	const kir_type *t = kir_type_of(f, s->in);
	kir_type_id tile = kir_tile(f->module, (kir_elem)t->elem, WRITE_RUN, t->dim[3]);
	kir_ref page = s64c(f, t->dim[2]), zero = s64c(f, 0);
	kir_ref at = e2(f, KIR_OP_fdiv, s64, slot, page);
	kir_ref token = e2(f, KIR_OP_mod, s64, slot, page);
	kir_ref l = kir_for(f, zero, s64c(f, w->heads), 1, false, NULL, 0);
	kir_ref x = kir_emit(f, KIR_OP_load, tile, (kir_ref[]){ s->in, at, l + 1, token, zero },
	                     5, NULL);

	kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
	         (kir_ref[]){ x, s->from_stage, l + 1, zero, zero }, 5, NULL);
	kir_for_end(f, l, NULL, 0);
}

/* WRITE_RUN tokens from t into the slots from `slot` on, all in one page. */
static void write_together(const write_op *of, kir_ref t, kir_ref slot)
{
	write_op whole = *of, *w = &whole;
	kir_func *f = w->f;
	kir_module *m = f->module;
	kir_type_id s64 = kir_scalar(m, KIR_s64);
	kir_ref page = e2(f, KIR_OP_fdiv, s64, slot, s64c(f, w->page)), zero = s64c(f, 0);
	kir_ref first = e2(f, KIR_OP_mod, s64, slot, s64c(f, w->page));

	int hint = f->sched.stores == KIR_stores_cached ? 0 : KIR_HINT_nta;
	bool rows = false;

	kir_chose(f, KIR_KNOB_stores, hint ? KIR_stores_streamed : KIR_stores_cached);

	for (int k = 0; k < KIR_SIDES && !w->next; k++)
		if (w->side[k].in && w->side[k].whole && !w->side[k].from)
			w->next = next_run(w, t);
	for (int k = 0; k < KIR_SIDES; k++) {
		const write_side *s = &w->side[k];

		rows = rows || (s->in && !s->whole);
		if (s->in && s->whole)
			w->put_run(w, s, t, page, first, hint);
		if (s->in && s->from_stage)
			stage_source(w, s, load1(f, w->from_slots, 1, &t));
	}
	if (!rows)
		return;
	kir_ref l = kir_for(f, zero, s64c(f, WRITE_RUN), 1, false, NULL, 0), i = l + 1;
	kir_ref ti = e2(f, KIR_OP_add, s64, t, i), token = e2(f, KIR_OP_add, s64, first, i);

	w->staged = true;
	for (int k = 0; k < KIR_SIDES; k++)
		if (w->side[k].in && !w->side[k].whole)
			write_side_token(w, &w->side[k], ti, page, token, w->side[k].stage, i,
			                 hint);
	kir_for_end(f, l, NULL, 0);
	for (int k = 0; k < KIR_SIDES; k++) {
		const write_side *s = &w->side[k];

		if (!s->stage || s->whole)
			continue;
		int64_t dim = kir_type_of(f, s->codes)->dim[3];
		kir_ref lh = kir_for(f, zero, s64c(f, w->heads), 1, false, NULL, 0);
		kir_elem e = (kir_elem)kir_type_of(f, s->codes)->elem;
		kir_ref x = kir_emit(f, KIR_OP_load, kir_tile(m, e, WRITE_RUN, dim),
		                     (kir_ref[]){ s->stage, lh + 1, zero, zero }, 4, NULL);

		kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
		         (kir_ref[]){ x, s->codes, page, lh + 1, first, zero }, 6,
		         (int64_t[KIR_MAX_ATTRS]){ hint });
		kir_for_end(f, lh, NULL, 0);
	}
}

kir_ref write_is_run(const write_op *w, kir_ref list, kir_ref t, kir_ref slot, int64_t n)
{
	kir_func *f = w->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64), i1 = kir_scalar(f->module, KIR_i1);
	kir_type_id vt = kir_vector(f->module, KIR_s64, n);
	kir_ref x = e3(f, KIR_OP_load, vt, list, t, w->n);

	x = e2(f, KIR_OP_sub, vt, x, e0x(f, KIR_OP_iota, vt, 0));
	kir_ref lo = e1x(f, KIR_OP_reduce_min, s64, x, 0);
	kir_ref hi = e1x(f, KIR_OP_reduce_max, s64, x, 0);
	kir_ref run = e2(f, KIR_OP_eq, i1, lo, hi);
	kir_ref start = e2(f, KIR_OP_mod, s64, slot, s64c(f, n));

	run = e2(f, KIR_OP_and, i1, run, e2(f, KIR_OP_eq, i1, start, s64c(f, 0)));
	return e2(f, KIR_OP_and, i1, run, e2(f, KIR_OP_ge, i1, slot, s64c(f, 0)));
}

static bool takes_runs(const write_op *w)
{
	for (int k = 0; k < KIR_SIDES; k++)
		if (w->side[k].in && (w->side[k].from_stage || w->side[k].whole))
			return true;
	return false;
}

/* Tokens from t on, WRITE_RUN of them: together if their slots follow each other from a
 * multiple of WRITE_RUN on (then they are in one page), else one by one. */
static void write_run(const write_op *w, kir_ref t)
{
	kir_func *f = w->f;
	kir_module *m = f->module;
	kir_type_id s64 = kir_scalar(m, KIR_s64), i1 = kir_scalar(m, KIR_i1);
	kir_ref end = e2(f, KIR_OP_add, s64, t, s64c(f, WRITE_RUN));
	kir_ref last = e2(f, KIR_OP_min, s64, end, w->n);
	kir_ref slot = load1(f, w->slots, 1, &t);
	kir_ref run = e2(f, KIR_OP_and, i1, e2(f, KIR_OP_le, i1, end, w->n),
	                 write_is_run(w, w->slots, t, slot, WRITE_RUN));

	if (w->from_slots && takes_runs(w)) {
		kir_ref from = load1(f, w->from_slots, 1, &t);

		run = e2(f, KIR_OP_and, i1, run,
		         write_is_run(w, w->from_slots, t, from, WRITE_RUN));
	} else if (w->from_slots) {
		kir_ref from = e3(f, KIR_OP_load, kir_vector(m, KIR_s64, WRITE_RUN),
		                  w->from_slots, t, w->n);

		from = e1x(f, KIR_OP_reduce_min, s64, from, 0);
		run = e2(f, KIR_OP_and, i1, run, e2(f, KIR_OP_ge, i1, from, s64c(f, 0)));
	}
	kir_ref cond = kir_if(f, run), own = kir_if(f, is_mine(w, slot));

	write_together(w, t, slot);
	kir_else(f, NULL, 0);
	kir_if_end(f, own, NULL, 0);
	kir_else(f, NULL, 0);
	write_singly(w, t, last);
	kir_if_end(f, cond, NULL, 0);
}

static kir_ref make_stage(const write_op *w, const write_side *s)
{
	kir_func *f = w->f;
	const kir_type *t = kir_type_of(f, s->codes);
	int64_t dim[3] = { s->whole ? 1 : w->heads, WRITE_RUN, t->dim[3] };
	kir_elem e = (kir_elem)t->elem;

	if ((s->whole && s->move) || !write_interleaves(t) ||
	    dim[0] * dim[1] * dim[2] * kir_elem_bytes(e) > 64 * 1024)
		return 0;
	return kir_emit(f, KIR_OP_local, kir_buffer(f->module, e, 3, dim), NULL, 0, NULL);
}

/* Rows of a run of the source, where its layout calls for it and its pages are whole runs. */
static kir_ref make_from_stage(kir_func *f, const write_side *s)
{
	const kir_type *t = kir_type_of(f, s->in);
	int64_t dim[3] = { t->dim[1], WRITE_RUN, t->dim[3] };
	kir_elem e = (kir_elem)t->elem;

	if (!s->from || s->whole || t->dim[2] % WRITE_RUN || !write_interleaves(t) ||
	    dim[0] * dim[1] * dim[2] * kir_elem_bytes(e) > 32 * 1024)
		return 0;
	return kir_emit(f, KIR_OP_local, kir_buffer(f->module, e, 3, dim), NULL, 0, NULL);
}

/* Tokens from t on that share scales, if they are one whole group of slots; of those moved as
 * they are, where they come from too. */
static void write_group(const write_op *w, kir_ref t, int64_t tokens)
{
	kir_func *f = w->f;
	kir_module *m = f->module;
	kir_type_id s64 = kir_scalar(m, KIR_s64), i1 = kir_scalar(m, KIR_i1);
	kir_ref end = e2(f, KIR_OP_add, s64, t, s64c(f, tokens));
	kir_ref slot = load1(f, w->slots, 1, &t), from;
	kir_ref run = e2(f, KIR_OP_and, i1, e2(f, KIR_OP_le, i1, end, w->n),
	                 write_is_run(w, w->slots, t, slot, tokens));
	write_op rest = *w;

	if (w->side[0].move) {
		from = load1(f, w->from_slots, 1, &t);
		from = write_is_run(w, w->from_slots, t, from, tokens);
	} else {
		from =
		    e3(f, KIR_OP_load, kir_vector(m, KIR_s64, tokens), w->from_slots, t, w->n);
		from =
		    e2(f, KIR_OP_ge, i1, e1x(f, KIR_OP_reduce_min, s64, from, 0), s64c(f, 0));
		rest.side[0].in = 0;
	}
	run = e2(f, KIR_OP_and, i1, run, from);
	run = e2(f, KIR_OP_and, i1, run, is_mine(w, slot));
	kir_ref cond = kir_if(f, run);

	w->put_group(w, t, slot);
	kir_ref l = kir_for(f, t, end, WRITE_RUN, false, NULL, 0);

	write_run(&rest, l + 1);
	kir_for_end(f, l, NULL, 0);
	kir_else(f, NULL, 0);
	kir_if_end(f, cond, NULL, 0);
}

void write_tokens(write_op *w)
{
	int64_t together = w->put_group ? w->side[0].side->tokens : 0;
	kir_func *f = w->f;
	int knob = f->sched.prefetch;
	kir_ref lp;

	w->page = kir_type_of(f, w->side[0].codes)->dim[2];
	w->heads = kir_type_of(f, w->side[0].codes)->dim[1];
	w->parts = f->sched.parts ? f->sched.parts : 4;
	kir_chose(f, KIR_KNOB_parts, w->parts);
	w->ahead = knob && knob != KIR_prefetch_both ? knob - 1 : 1;
	lp = kir_for(f, s64c(f, 0), s64c(f, w->parts), 1, true, NULL, 0);
	w->part = lp + 1;
	for (int i = 0; i < KIR_SIDES && w->page % WRITE_RUN == 0; i++)
		if (i == 0 && together && !w->side[0].move) {
			w->side[0].group =
			    kir_emit(f, KIR_OP_local,
			             kir_buffer(f->module, KIR_f32, 2,
			                        (int64_t[]){ together, w->side[0].dim }),
			             NULL, 0, NULL);
		} else if (w->side[i].in) {
			w->side[i].stage = make_stage(w, &w->side[i]);
			w->side[i].from_stage = make_from_stage(f, &w->side[i]);
		}
	if (together) {
		kir_ref lt = kir_for(f, s64c(f, 0), w->n, together, false, NULL, 0);

		write_group(w, lt + 1, together);
		kir_for_end(f, lt, NULL, 0);
	} else if (w->page % WRITE_RUN) {
		write_singly(w, s64c(f, 0), w->n);
	} else {
		kir_ref lt = kir_for(f, s64c(f, 0), w->n, WRITE_RUN, false, NULL, 0);

		write_run(w, lt + 1);
		kir_for_end(f, lt, NULL, 0);
	}
	kir_for_end(f, lp, NULL, 0);
}
