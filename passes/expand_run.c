/* SPDX-License-Identifier: Apache-2.0 */
/* expand_run.c -- a run of 16 tokens of cache.write, a head at a time.
 *
 *     for %h = 0 to heads {
 *       for %i = 0 to 16 step 4 {
 *         touch the rows number 16 %h + %i .. of the run taken next, as they lie in memory
 *         %x = load %key[%t + %i, %h, 0] : <4 x D>
 *         scales and codes of %x (expand_write.c): codes to %stage[%i] }
 *       %c = load %stage : <16 x D>
 *       store %c, %k[%page, %h, %first] }
 *
 * What a head's 16 tokens fill of a packed layout is 2 to 4 KiB in whole cache lines; between
 * the rows and those lines the codes stay in L1. Taken so, the rows of one run lie apart, 16
 * pieces of 256 bytes, which the processor's prefetcher doesn't follow, and while lines are
 * stored nothing is read. Hence the rows of the next run are touched meanwhile, in the order in
 * which they lie: in any other, memory gives a fifth less (docs/experiments.md).
 */
#include "expand_write.h"

enum { LINE = 64, MOST = 4096 };

/* Touches the lines of head row number `piece` of the run from token t on. */
static void touch_piece(const write_op *w, const write_side *s, kir_ref t, kir_ref piece)
{
	kir_func *f = w->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	const kir_type *in = kir_type_of(f, s->in);
	int64_t step = LINE / kir_elem_bytes((kir_elem)in->elem);
	int level = fetch_level(f);
	kir_ref heads = s64c(f, w->heads);
	kir_ref token = e2(f, KIR_OP_add, s64, t, e2(f, KIR_OP_fdiv, s64, piece, heads));
	kir_ref head = e2(f, KIR_OP_mod, s64, piece, heads);

	for (int64_t c = 0; c < s->dim; c += step)
		kir_emit(f, KIR_OP_prefetch, KIR_NO_TYPE,
		         (kir_ref[]){ s->in, token, head, s64c(f, c) }, 4,
		         (int64_t[KIR_MAX_ATTRS]){ level });
}

bool write_interleaves(const kir_type *t)
{
	int64_t size = kir_elem_bytes((kir_elem)t->elem);

	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *p = &t->piece[i];

		if (p->axis + 1 == t->rank && p->stride == size && !p->dyn && p->div <= 1)
			return p->mod && p->mod * size < 16;
	}
	return true;
}

bool write_by_heads(const kir_func *f, const write_side *s)
{
	return !f->target->lanes && write_interleaves(kir_type_of(f, s->codes)) &&
	       s->dim <= MOST / 4;
}

/* Rows handled together. Computed scales are vectors, which 4 of hardly fill. */
static int64_t rows_together(const write_side *s)
{
	int64_t n = format_stored(s->side) ? 8 : 4;

	return n * s->dim <= MOST ? n : 4;
}

/* Rows x <R x D> of head h, less its mean, in f32. */
static kir_ref less_mean(kir_func *f, kir_ref x, kir_ref mean, kir_ref h)
{
	const kir_type *t = kir_type_of(f, x);
	kir_type_id ft = kir_tile(f->module, KIR_f32, t->dim[0], t->dim[1]);
	kir_ref m =
	    e3(f, KIR_OP_load, kir_vector(f->module, KIR_f32, t->dim[1]), mean, h, s64c(f, 0));

	return e2x(f, KIR_OP_sub, ft, as_elem(f, x, KIR_f32), m, 1);
}

/* Tokens [t, t + n) of head h. */
static kir_ref load_rows(kir_func *f, const write_side *s, kir_ref t, kir_ref h, int64_t n)
{
	kir_elem e = (kir_elem)kir_type_of(f, s->in)->elem;
	kir_type tt = { .elem = (uint8_t)e, .rank = 3, .dim = { n, 1, s->dim } };
	kir_ref x = kir_emit(f, KIR_OP_load, kir_type_intern(f->module, &tt),
	                     (kir_ref[]){ s->in, t, h, s64c(f, 0) }, 4, NULL);

	x = e1(f, KIR_OP_reshape, kir_tile(f->module, e, n, s->dim), x);
	return s->mean ? less_mean(f, x, s->mean, h) : x;
}

/* A head's run of codes, from rows in a local to where they belong. */
static void store_stage(const write_op *w, const write_side *s, kir_ref page, kir_ref h,
                        kir_ref first, int hint)
{
	kir_func *f = w->f;
	const kir_type *c = kir_type_of(f, s->codes);
	kir_type_id t = kir_tile(f->module, (kir_elem)c->elem, WRITE_RUN, c->dim[3]);
	kir_ref zero = s64c(f, 0), x;

	x = kir_emit(f, KIR_OP_load, t, (kir_ref[]){ s->stage, zero, zero, zero }, 4, NULL);
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ x, s->codes, page, h, first, zero },
	         6, (int64_t[KIR_MAX_ATTRS]){ hint });
}

void write_heads(const write_op *w, const write_side *s, kir_ref t, kir_ref page, kir_ref first,
                 int hint)
{
	kir_func *f = w->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	kir_ref zero = s64c(f, 0), run = s64c(f, WRITE_RUN), given = 0;
	int64_t rows = rows_together(s);
	kir_ref lh = kir_for(f, zero, s64c(f, w->heads), 1, false, NULL, 0), h = lh + 1;
	kir_ref piece = e2(f, KIR_OP_mul, s64, h, run);

	if (s->given) {
		given = load1(f, s->given, 1, &h);
		given = e1(f, KIR_OP_splat, kir_vector(f->module, KIR_f32, rows), given);
	}
	kir_ref li = kir_for(f, zero, run, rows, false, NULL, 0), i = li + 1;
	kir_ref to = e2(f, KIR_OP_add, s64, first, i);
	write_place codes = { s->codes, { page, h, to, zero }, hint };
	write_place scales = { s->scales, { page, h, to, zero }, 0 };

	if (s->stage)
		codes = (write_place){ s->stage, { zero, i, zero }, 0 };
	kir_chose(f, KIR_KNOB_prefetch, w->ahead + 1);
	if (w->ahead) {
		kir_ref lp =
		    kir_for(f, i, e2(f, KIR_OP_add, s64, i, s64c(f, rows)), 1, false, NULL, 0);

		touch_piece(w, s, w->next, e2(f, KIR_OP_add, s64, piece, lp + 1));
		kir_for_end(f, lp, NULL, 0);
	}
	kir_ref x = load_rows(f, s, e2(f, KIR_OP_add, s64, t, i), h, rows);

	write_rows(f, s->side, x, given, s->signs, &codes, &scales, 0);
	kir_for_end(f, li, NULL, 0);
	if (s->stage)
		store_stage(w, s, page, h, first, hint);
	kir_for_end(f, lh, NULL, 0);
}
