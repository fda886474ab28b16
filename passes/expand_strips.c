/* SPDX-License-Identifier: Apache-2.0 */
/* expand_strips.c -- rows that an index list names, brought, multiplied and put in order a
 * strip of 16 at a time.
 *
 *     for %j = first to end step 64 {
 *       slots = entries %j to %j + 64 of the list, -1 for none
 *       for %b = 0 to 64 step 16 {
 *         for each 128 columns of the keys {
 *           for %n = 0 to 16 {                       ; a row, as bf16
 *             prefetch those columns of row %b + %n of the next tile
 *             strip[%n, ..] = page[.., columns] of slots[%b + %n], or 0 }
 *           values[%b, columns] = strip              ; in the order of products
 *           %s += (q . strip) * scale }
 *         scores[.., %b] = %s }
 *       masks, weights, sums of values
 *
 * For tile registers. What expand_gather.c brings, rows of a whole tile as bf16, leaves L1
 * before products come to it, twice, and values are zipped in pairs for each product that takes
 * them. A strip, 4 KiB, is still in L1 when it is multiplied and zipped, so that only values
 * leave it, once, as products load them. Touches of the next tile's rows stand between
 * products, a few lines at a time. It costs finding a row's place once for each 128 columns.
 *
 * Requires keys of bf16 or 8-bit floats that hold the values, scales (if any) one a token or
 * one for each part of a key (attn.key). Parts without a scale of their own are cut into 128
 * columns. By default for 16 rows of queries: more don't stay in L1 beside a strip. Knob
 * widen=off brings whole rows, on strips for any number.
 */
#include "expand_attn.h"

#include "passes.h"

#include <string.h>

enum {
	ROWS = 16,    /* of a strip: those of a tile register */
	COLUMNS = 128 /* of a strip, at most                  */
};

/* Whether strips take a part whose elements bf16 holds. */
static bool takes(const part *p)
{
	return !p->packed && !p->tokens && !p->zero && p->dim % 32 == 0;
}

bool attn_takes_strips(const attn *a)
{
	bool ok = kpass_takes_strips(a->in, a->node, a->rows) && a->kv_tile % ROWS == 0 &&
	          !a->mean && !a->rotated[0] && a->dim_v % 32 == 0;

	for (unsigned i = 0; ok && i < a->nkey; i++)
		ok = takes(&a->key[i]) && !attn_grouped(a, &a->key[i]);
	return ok;
}

void attn_cut_parts(attn *a)
{
	part whole[PARTS];
	unsigned n = a->nkey, parts = 0;

	for (unsigned i = 0; i < n; i++)
		parts += (unsigned)((a->key[i].dim + COLUMNS - 1) / COLUMNS);
	memcpy(whole, a->key, sizeof whole);
	a->nkey = a->nvalue = 0;
	for (unsigned i = 0; i < n; i++) {
		bool cut = whole[i].group < 0 && parts <= PARTS;
		int64_t step = cut ? COLUMNS : whole[i].dim;

		for (int64_t c = 0; c < whole[i].dim; c += step) {
			part *p = &a->key[a->nkey++];

			*p = whole[i];
			p->from += c;
			p->column += c;
			p->dim = whole[i].dim - c < step ? whole[i].dim - c : step;
			if (p->from >= a->dim_v)
				continue;
			part *v = &a->value[a->nvalue++];

			*v = *p;
			v->dim = a->dim_v - p->from < p->dim ? a->dim_v - p->from : p->dim;
		}
	}
}

/* -- strips -------------------------------------------------------------------------------- */

/* Key parts from i on that are brought together: of one stream, COLUMNS at most. */
static unsigned together(const attn *a, unsigned i)
{
	int64_t dim = 0;
	unsigned n = 0;

	for (; i + n < a->nkey && a->key[i + n].codes == a->key[i].codes; n++) {
		dim += a->key[i + n].dim;
		if (n && dim > COLUMNS)
			break;
	}
	return n;
}

static int64_t width(const attn *a, unsigned i, unsigned n)
{
	return a->key[i + n - 1].from + a->key[i + n - 1].dim - a->key[i].from;
}

void attn_strips_begin(attn *a)
{
	kir_func *f = a->f;
	kir_ref order = attn_ordered(a, a->kv_tile, a->dim_v, 0);
	int64_t dim[2] = { a->rows, a->kv_tile };

	kir_chose(f, KIR_KNOB_widen, KIR_widen_on);
	expand_slots_begin(f, &a->gather);
	a->sums =
	    kir_emit(f, KIR_OP_local, kir_buffer(f->module, KIR_f32, 2, dim), NULL, 0, NULL);
	for (unsigned i = 0, n; i < a->nkey; i += n) {
		kir_ref wide = 0;

		n = together(a, i);
		dim[0] = ROWS;
		dim[1] = width(a, i, n);
		for (unsigned k = 0; k < i; k++)
			if (kir_type_of(f, a->key[k].wide)->dim[1] == dim[1])
				wide = a->key[k].wide;
		if (!wide)
			wide = kir_emit(f, KIR_OP_local,
			                kir_buffer(f->module, KIR_bf16, 2, dim), NULL, 0, NULL);
		for (unsigned k = i; k < i + n; k++)
			a->key[k].wide = wide;
	}
	for (unsigned i = 0; i < a->nkey; i++)
		a->key[i].scales = expand_gathered(&a->gather, a->key[i].scales);
	for (unsigned i = 0; i < a->nvalue; i++) {
		part *v = &a->value[i];

		v->scales = a->key[i].scales;
		v->wide = order;
		v->column = v->from;
	}
}

/* Columns of parts [i, i + n) of the rows from b on, into their local; with the scales of all
 * parts, and touches of the same of the next tile's rows. */
static void bring(const attn *a, const item *it, kir_ref b, unsigned i, unsigned n, bool scales)
{
	kir_func *f = a->f;
	const part *p = &a->key[i];
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	kir_elem e = (kir_elem)kir_type_of(f, p->codes)->elem;
	int64_t dim = width(a, i, n);
	kir_ref loop = kir_for(f, s64c(f, 0), s64c(f, ROWS), 1, false, NULL, 0), at[4], x;
	kir_ref row = e2(f, KIR_OP_add, s64, b, loop + 1);

	expand_slot_touch(f, &a->gather, p->codes, it->head, row, p->column, p->column + dim,
	                  scales);
	kir_ref upto = expand_slot(f, &a->gather, it->head, row, at);

	if (scales)
		expand_slot_scales(f, &a->gather, at, upto, row);
	x = kir_emit(f, KIR_OP_load, kir_tile(f->module, e, 1, dim),
	             (kir_ref[]){ p->codes, at[0], at[1], at[2], s64c(f, p->column), upto }, 6,
	             NULL);
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
	         (kir_ref[]){ as_elem(f, x, KIR_bf16), p->wide, loop + 1, s64c(f, 0) }, 4,
	         NULL);
	kir_for_end(f, loop, NULL, 0);
}

/* What of parts [i, i + n) is value, from their local to the order of products. */
static void order_values(const attn *a, kir_ref b, unsigned i, unsigned n)
{
	kir_func *f = a->f;
	int64_t dim = width(a, i, n), left = a->dim_v - a->key[i].from;
	kir_ref x, zero = s64c(f, 0);

	dim = left < dim ? left : dim;
	if (dim <= 0)
		return;
	x = e3(f, KIR_OP_load, kir_tile(f->module, KIR_bf16, ROWS, dim), a->key[i].wide, zero,
	       zero);
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
	         (kir_ref[]){ x, a->value[0].wide, b, s64c(f, a->key[i].from) }, 4, NULL);
}

kir_ref attn_strips(const attn *a, const item *it, kir_ref j, kir_ref *listed)
{
	kir_func *f = a->f;
	kir_type_id st = kir_tile(f->module, KIR_f32, a->rows, ROWS);
	kir_ref zero = s64c(f, 0), sum = 0;
	attn strip = *a;

	*listed = expand_slots(f, &a->gather, it->row, j, it->end);
	kir_ref loop = kir_for(f, zero, s64c(f, a->kv_tile), ROWS, false, NULL, 0),
	        b = loop + 1;

	strip.kv_tile = ROWS;
	for (unsigned done = 0, n; done < a->nkey; done += n) {
		/* the rest of a key first: what is alike stands in a row (roll.c) */
		unsigned i = (done + a->nkey - attn_rest_first(a)) % a->nkey;

		n = together(a, i);
		bring(a, it, b, i, n, !done);
		order_values(a, b, i, n);
		for (unsigned k = i; k < i + n; k++) {
			part p = a->key[k];
			kir_ref at[5] = { zero, zero, b, zero, zero }, s;

			p.column = p.from - a->key[i].from;
			s = kir_emit(
			    f, KIR_OP_dot, st,
			    (kir_ref[]){ it->q[k], attn_tile(&strip, &p, at, 0, false) }, 2,
			    (int64_t[KIR_MAX_ATTRS]){ 1 });
			sum = sum ? e2(f, KIR_OP_add, st, sum, s) : s;
		}
	}
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ sum, a->sums, zero, b }, 4, NULL);
	kir_for_end(f, loop, NULL, 0);
	return e3(f, KIR_OP_load, kir_tile(f->module, KIR_f32, a->rows, a->kv_tile), a->sums,
	          zero, zero);
}
