/* SPDX-License-Identifier: Apache-2.0 */
/* expand_index.c -- an indexer: logits of a query over a cache of index keys, and the slots of
 * the largest.
 *
 *     for %t = 0 to %n par {
 *       for %j = 0 to len step N {                     ; logits
 *         s = max(q . k, 0) <H x N>;  logits[t, j..] = ks * (sum over h of w[h] * s) }
 *       for each of 4 bytes, from the highest:         ; the topk-th largest, exactly
 *         histogram of that byte over the logits whose higher bytes are those found so far;
 *         the byte at which, from above, the count reaches what is still wanted
 *       for %j = 0 to len: if logit > that, or equal and still wanted: out[pos++] = slot
 *       out[pos..] = -1 }
 *
 * Floats are compared as integers that have their order. A NaN logit counts as -inf, and what
 * is -inf is never chosen: keys past the row's length, of pages that the cache doesn't have,
 * and those aren't read either. Of equal logits the earlier keys are chosen, and slots are
 * given in the order of the keys, so that the result doesn't depend on how it was found.
 *
 * The passes read a row's logits, which the first loop left in the caches, five times.
 */
#include "expand.h"
#include "../ir/format.h"

#include <math.h>

enum { DIGITS = 256 };

typedef struct indexer {
	kir_func *f;
	kir_ref q, w, k, ks, table, seqs, lens, out, logits, pages, width;
	int64_t heads, dim, page, keys, topk;
	const kir_side *packed; /* keys of two codes a byte; NULL: they aren't */
	kir_ref t, seq, len;    /* of the row at hand */
	kir_ref hist;
} indexer;

static kir_ref i2(const indexer *x, kir_op op, kir_ref a, kir_ref b)
{
	return e2(x->f, op, kir_scalar(x->f->module, KIR_s64), a, b);
}

static kir_ref test(const indexer *x, kir_op op, kir_ref a, kir_ref b)
{
	return e2(x->f, op, kir_scalar(x->f->module, KIR_i1), a, b);
}

/* Page and token of key j; what isn't a page of the cache is page 0, and *there false. */
static void place_of(const indexer *x, kir_ref j, kir_ref *page, kir_ref *token, kir_ref *there)
{
	kir_func *f = x->f;
	kir_ref idx[2] = { x->seq, i2(x, KIR_OP_fdiv, j, s64c(f, x->page)) };
	kir_ref p = as_elem(f, load1(f, x->table, 2, idx), KIR_s64);

	*there = test(x, KIR_OP_and, test(x, KIR_OP_ge, p, s64c(f, 0)),
	              test(x, KIR_OP_lt, p, x->pages));
	*page = e3(f, KIR_OP_select, kir_scalar(f->module, KIR_s64), *there, p, s64c(f, 0));
	*token = i2(x, KIR_OP_mod, j, s64c(f, x->page));
}

/* Keys [token, upto) of a page as values, with the scales of their groups if they have some:
 * f32<N x D>. */
static kir_ref load_keys(const indexer *x, kir_ref page, kir_ref token, kir_ref upto)
{
	kir_func *f = x->f;
	kir_module *m = f->module;
	const kir_type *kt = kir_type_of(f, x->k), *st = x->ks ? kir_type_of(f, x->ks) : NULL;
	kir_ref zero = s64c(f, 0);
	kir_ref k =
	    kir_emit(f, KIR_OP_load, kir_tile(m, (kir_elem)kt->elem, x->keys, kt->dim[3]),
	             (kir_ref[]){ x->k, page, zero, token, zero, upto }, 6, NULL);

	if (x->packed)
		k = kir_emit(f, KIR_OP_unpack, kir_tile(m, x->packed->elem, x->keys, x->dim),
		             &k, 1, (int64_t[KIR_MAX_ATTRS]){ x->packed->pack });
	if (!st || st->rank == 3)
		return as_elem(f, k, KIR_f32);
	kir_ref d =
	    kir_emit(f, KIR_OP_load, kir_tile(m, (kir_elem)st->elem, x->keys, st->dim[3]),
	             (kir_ref[]){ x->ks, page, zero, token, zero, upto }, 6, NULL);

	return kir_emit(f, KIR_OP_dequant, kir_tile(m, KIR_f32, x->keys, x->dim),
	                (kir_ref[]){ k, as_elem(f, d, KIR_f32) }, 2,
	                (int64_t[KIR_MAX_ATTRS]){ -1, x->dim / st->dim[3] });
}

/* The logits of keys [j, j + keys): f32<N>. */
static kir_ref tile_logits(const indexer *x, kir_ref q, kir_ref w, kir_ref j)
{
	kir_func *f = x->f;
	kir_module *m = f->module;
	kir_type_id st = kir_tile(m, KIR_f32, x->heads, x->keys);
	kir_type_id nt = kir_vector(m, KIR_f32, x->keys), it = kir_vector(m, KIR_s32, x->keys);
	kir_ref page, token, there, zero = s64c(f, 0);

	place_of(x, j, &page, &token, &there);
	kir_ref left = i2(x, KIR_OP_add, token, i2(x, KIR_OP_sub, x->len, j));
	kir_ref upto = e3(f, KIR_OP_select, kir_scalar(m, KIR_s64), there, left, zero);
	kir_ref s =
	    kir_emit(f, KIR_OP_dot, st, (kir_ref[]){ q, load_keys(x, page, token, upto) }, 2,
	             (int64_t[KIR_MAX_ATTRS]){ 1 });

	s = e2(f, KIR_OP_max, st, s, f32c(f, 0));
	/* the sum over heads is a product as well: w is a row */
	s = e2(f, KIR_OP_dot, kir_tile(m, KIR_f32, 1, x->keys), w, s);
	s = e1(f, KIR_OP_reshape, nt, s);
	if (x->ks && kir_type_of(f, x->ks)->rank == 3) {
		kir_elem se = (kir_elem)kir_type_of(f, x->ks)->elem;
		kir_ref d = kir_emit(f, KIR_OP_load, kir_vector(m, se, x->keys),
		                     (kir_ref[]){ x->ks, page, zero, token, upto }, 5, NULL);

		s = e2(f, KIR_OP_mul, nt, s, as_elem(f, d, KIR_f32));
	}
	/* one zero, as the order of integers has two */
	s = e3(f, KIR_OP_select, nt, e2(f, KIR_OP_eq, i1_like(f, nt), s, f32c(f, 0)),
	       f32c(f, 0), s);
	kir_ref pos =
	    e2(f, KIR_OP_add, it, e0x(f, KIR_OP_iota, it, 0), as_elem(f, token, KIR_s32));
	kir_ref live = e2(f, KIR_OP_lt, i1_like(f, it), pos, as_elem(f, upto, KIR_s32));

	live = e2(f, KIR_OP_and, i1_like(f, it), live, e2(f, KIR_OP_eq, i1_like(f, nt), s, s));
	return e3(f, KIR_OP_select, nt, live, s, f32c(f, -INFINITY));
}

static void logits_loop(const indexer *x)
{
	kir_func *f = x->f;
	kir_module *m = f->module;
	kir_elem e = (kir_elem)kir_type_of(f, x->q)->elem;
	kir_type qt = { .elem = (uint8_t)e, .rank = 3, .dim = { 1, x->heads, x->dim } };
	kir_ref zero = s64c(f, 0);
	kir_ref q = kir_emit(f, KIR_OP_load, kir_type_intern(m, &qt),
	                     (kir_ref[]){ x->q, x->t, zero, zero }, 4, NULL);
	kir_ref w = e3(f, KIR_OP_load, kir_tile(m, KIR_f32, 1, x->heads), x->w, x->t, zero);

	q = e1(f, KIR_OP_reshape, kir_tile(m, e, x->heads, x->dim), q);
	q = as_elem(f, q, KIR_f32);
	kir_ref loop = kir_for(f, zero, x->len, x->keys, false, NULL, 0), j = loop + 1;
	kir_ref s = tile_logits(x, q, w, j);

	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ s, x->logits, x->t, j, x->len }, 5,
	         NULL);
	kir_for_end(f, loop, NULL, 0);
}

/* Logit j as a number from 0 to 2^32 - 1 in the order of the floats. */
static kir_ref order_of(const indexer *x, kir_ref j)
{
	kir_func *f = x->f;
	kir_type_id s32 = kir_scalar(f->module, KIR_s32);
	kir_ref idx[2] = { x->t, j };
	kir_ref b = e1(f, KIR_OP_bitcast, s32, load1(f, x->logits, 2, idx));
	kir_ref sign = e2(f, KIR_OP_shr, s32, b, kir_const_i(f, KIR_s32, 31));

	sign = e2(f, KIR_OP_and, s32, sign, kir_const_i(f, KIR_s32, 0x7fffffff));
	b = as_elem(f, e2(f, KIR_OP_xor, s32, b, sign), KIR_s64);
	return i2(x, KIR_OP_add, b, s64c(f, (int64_t)1 << 31));
}

/* One more byte, at `shift`, of the key that is the wanted-th largest: *found is the bytes
 * above it, *wanted how many of the keys with these bytes are to be taken. */
static void find_byte(const indexer *x, int shift, kir_ref *found, kir_ref *wanted)
{
	kir_func *f = x->f;
	kir_module *m = f->module;
	kir_ref zero = s64c(f, 0), none = kir_const_i(f, KIR_s32, 0);

	kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
	         (kir_ref[]){ e1(f, KIR_OP_splat, kir_vector(m, KIR_s32, DIGITS), none),
	                      x->hist, zero },
	         3, NULL);
	kir_ref loop = kir_for(f, zero, x->len, 1, false, NULL, 0);
	kir_ref key = i2(x, KIR_OP_shr, order_of(x, loop + 1), s64c(f, shift));
	kir_ref above = i2(x, KIR_OP_shr, key, s64c(f, 8));
	kir_ref cond = kir_if(f, test(x, KIR_OP_eq, above, *found));
	kir_ref byte = i2(x, KIR_OP_and, key, s64c(f, DIGITS - 1));
	kir_ref n = load1(f, x->hist, 1, &byte);

	n = e2(f, KIR_OP_add, kir_scalar(m, KIR_s32), n, kir_const_i(f, KIR_s32, 1));
	e3(f, KIR_OP_store, KIR_NO_TYPE, n, x->hist, byte);
	kir_else(f, NULL, 0);
	kir_if_end(f, cond, NULL, 0);
	kir_for_end(f, loop, NULL, 0);

	/* from the largest byte: the first whose count takes what is left; else the least */
	kir_ref carry[3] = { zero, *wanted, zero }; /* byte, left, whether it is found */
	loop = kir_for(f, zero, s64c(f, DIGITS), 1, false, carry, 3);
	kir_ref d = i2(x, KIR_OP_sub, s64c(f, DIGITS - 1), loop + 1);
	kir_ref count = as_elem(f, load1(f, x->hist, 1, &d), KIR_s64);
	kir_ref open = test(x, KIR_OP_eq, loop + 4, zero);
	kir_ref here = test(x, KIR_OP_and, open, test(x, KIR_OP_ge, count, loop + 3));
	kir_ref past = test(x, KIR_OP_and, open, test(x, KIR_OP_lt, count, loop + 3));
	kir_type_id s64 = kir_scalar(m, KIR_s64);
	kir_ref next[3] = { e3(f, KIR_OP_select, s64, here, d, loop + 2),
		            e3(f, KIR_OP_select, s64, past, i2(x, KIR_OP_sub, loop + 3, count),
		               loop + 3),
		            e3(f, KIR_OP_select, s64, here, s64c(f, 1), loop + 4) };
	kir_ref res = kir_for_end(f, loop, next, 3);

	*found = i2(x, KIR_OP_or, i2(x, KIR_OP_shl, *found, s64c(f, 8)), res);
	*wanted = res + 1;
}

/* Slots of the keys above `least`, and of the first `equal` keys that are it. */
static void choose_loop(const indexer *x, kir_ref least, kir_ref equal)
{
	kir_func *f = x->f;
	/* the order of -inf: 0xff800000 ^ 0x7fffffff, past 2^31 */
	const int64_t empty = 0x007fffff;
	kir_ref zero = s64c(f, 0), carry[2] = { zero, equal }, page, token, there;
	kir_ref loop = kir_for(f, zero, x->len, 1, false, carry, 2), j = loop + 1;
	kir_ref key = order_of(x, j), tie = test(x, KIR_OP_eq, key, least);
	kir_ref take = test(x, KIR_OP_and, tie, test(x, KIR_OP_gt, loop + 3, zero));

	take = test(x, KIR_OP_or, take, test(x, KIR_OP_gt, key, least));
	take = test(x, KIR_OP_and, take, test(x, KIR_OP_gt, key, s64c(f, empty)));
	kir_ref cond = kir_if(f, take);

	place_of(x, j, &page, &token, &there);
	kir_ref slot = i2(x, KIR_OP_add, i2(x, KIR_OP_mul, page, s64c(f, x->page)), token);

	kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
	         (kir_ref[]){ as_elem(f, slot, KIR_s32), x->out, x->t, loop + 2 }, 4, NULL);
	kir_ref spent =
	    e3(f, KIR_OP_select, kir_scalar(f->module, KIR_s64), tie, s64c(f, 1), zero);
	kir_ref yes[2] = { i2(x, KIR_OP_add, loop + 2, s64c(f, 1)),
		           i2(x, KIR_OP_sub, loop + 3, spent) };
	kir_ref no[2] = { loop + 2, loop + 3 };

	kir_else(f, yes, 2);
	kir_ref r = kir_if_end(f, cond, no, 2);
	kir_ref next[2] = { r, r + 1 };
	kir_ref res = kir_for_end(f, loop, next, 2);

	loop = kir_for(f, res, s64c(f, x->topk), 1, false, NULL, 0);
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
	         (kir_ref[]){ kir_const_i(f, KIR_s32, -1), x->out, x->t, loop + 1 }, 4, NULL);
	kir_for_end(f, loop, NULL, 0);
}

bool expand_index_topk(const kir_func *in, kir_ref n, kir_func *f, kir_ref *map, kir_diag *why)
{
	indexer x = { .f = f };
	struct {
		const char *name;
		kir_ref *at;
	} op[] = { { "q", &x.q },         { "w", &x.w },         { "k", &x.k },
		   { "ks", &x.ks },       { "table", &x.table }, { "seqs", &x.seqs },
		   { "lens", &x.lens },   { "out", &x.out },     { "logits", &x.logits },
		   { "pages", &x.pages }, { "width", &x.width } };

	for (size_t i = 0; i < sizeof op / sizeof op[0]; i++)
		*op[i].at = expand_operand(in, n, map, op[i].name);
	x.heads = kir_type_of(f, x.q)->dim[1];
	x.dim = kir_type_of(f, x.q)->dim[2];
	x.page = kir_type_of(f, x.k)->dim[2];
	x.topk = kir_type_of(f, x.out)->dim[1];
	x.keys =
	    f->sched.kv_tile ? f->sched.kv_tile : kpass_default_kv_tile(f, x.page, x.dim, 0, 1);
	kir_chose(f, KIR_KNOB_kv_tile, x.keys);
	if (x.page % x.keys) {
		kir_error(why, 0, 0, "knob kv_tile=%d must divide the page's %d tokens",
		          (int)x.keys, (int)x.page);
		return false;
	}
	int64_t format = kir_attr_of(in, n, KIR_ATTR_format);

	if (format >= 0 && in->module->format[format]->side[0].bits == 4)
		x.packed = &in->module->format[format]->side[0];
	kir_ref rows = expand_operand(in, n, map, "n");
	kir_ref loop = kir_for(f, s64c(f, 0), rows, 1, true, NULL, 0);
	int64_t digits = DIGITS;

	x.t = loop + 1;
	x.seq = as_elem(f, load1(f, x.seqs, 1, &x.t), KIR_s64);
	x.len = as_elem(f, load1(f, x.lens, 1, &x.t), KIR_s64);
	x.len = i2(&x, KIR_OP_min, x.len, x.width);
	x.hist = kir_emit(f, KIR_OP_local, kir_buffer(f->module, KIR_s32, 1, &digits), NULL, 0,
	                  NULL);
	logits_loop(&x);
	kir_ref found = s64c(f, 0), wanted = s64c(f, x.topk);

	for (int shift = 24; shift >= 0; shift -= 8)
		find_byte(&x, shift, &found, &wanted);
	choose_loop(&x, found, wanted);
	kir_for_end(f, loop, NULL, 0);
	return true;
}
