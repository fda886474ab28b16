/* SPDX-License-Identifier: Apache-2.0 */
/* expand_transcode.c -- transcode as the loops of a cache write whose rows come from a cache.
 *
 *     for %p, for %t: as expand_write.c has them, and for each token and side
 *       %from = load %from_slots[%t]
 *       codes and scales mean the same in both formats:
 *         load both as integers of their size, store both             ; bit for bit
 *       else:
 *         %x = (code - zero) * (scale as f32, times the handed-over one)
 *         scales, codes of %x, store                              ; %x is what a reader sees
 *
 * So no pair of formats or layouts has code of its own: the one is taken apart as attention
 * does, the other put together as a write does. Codes of 4 bits whose bytes hold other
 * neighbours are taken apart and packed anew.
 *
 * The target is written as cache.write writes it. A source with 4 bytes of each token side by
 * side is read 16 tokens at a time, into rows of a local, where 16 slots of both lists follow
 * each other from a multiple of 16 on; else a token at a time, in pieces of 4 bytes. What is
 * moved as it is goes as a tile of 16 tokens then, without rows.
 */
#include "expand_group.h"

#include <string.h>

/* Where row t's source lies: page, head, token, 0. */
static void source_place(const write_op *w, const write_side *s, kir_ref t, kir_ref h,
                         kir_ref at[4])
{
	kir_func *f = w->f;
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	kir_ref slot = load1(f, w->from_slots, 1, &t);
	kir_ref page = s64c(f, kir_type_of(f, s->in)->dim[2]);

	at[0] = e2(f, KIR_OP_fdiv, s64, slot, page);
	at[1] = h;
	at[2] = e2(f, KIR_OP_mod, s64, slot, page);
	at[3] = s64c(f, 0);
}

/* Where the scales of the token `at` lie. */
static void scales_at(kir_func *f, const kir_side *s, const kir_ref at[4], kir_ref by[4])
{
	memcpy(by, at, 4 * sizeof *by);
	if (s->tokens)
		by[2] = e2(f, KIR_OP_fdiv, kir_scalar(f->module, KIR_s64), at[2],
		           s64c(f, s->tokens));
}

/* [page, heads, token, all] of a stream: <heads x width>, or <heads> of one without columns. */
static kir_ref load_stream(kir_func *f, kir_ref buf, const kir_ref at[4], int64_t heads)
{
	kir_module *m = f->module;
	const kir_type *b = kir_type_of(f, buf);
	kir_elem e = (kir_elem)b->elem;
	unsigned rank = b->rank;
	int64_t width = rank == 4 ? b->dim[3] : 1;
	kir_type t = { .elem = (uint8_t)e,
		       .rank = (uint8_t)(rank - 1),
		       .dim = { heads, 1, width } };
	kir_ref x = kir_emit(f, KIR_OP_load, kir_type_intern(m, &t),
	                     (kir_ref[]){ buf, at[0], at[1], at[2], at[3] }, rank + 1, NULL);

	return e1(f, KIR_OP_reshape,
	          rank == 4 ? kir_tile(m, e, heads, width) : kir_vector(m, e, heads), x);
}

static kir_ref unpacked(kir_func *f, const kir_side *s, kir_ref bytes)
{
	const kir_type *t = kir_type_of(f, bytes);

	return kir_emit(f, KIR_OP_unpack,
	                kir_tile(f->module, s->elem, t->dim[0], 2 * t->dim[1]), &bytes, 1,
	                (int64_t[KIR_MAX_ATTRS]){ s->pack });
}

/* Codes of row t: its part of the run that lies in a local, or straight from the cache. */
static kir_ref load_codes(const write_op *w, const write_side *s, kir_ref t,
                          const kir_ref at[4], int64_t heads)
{
	kir_func *f = w->f;
	const kir_type *b = kir_type_of(f, s->in);
	kir_type_id s64 = kir_scalar(f->module, KIR_s64);
	kir_type row = { .elem = b->elem, .rank = 3, .dim = { heads, 1, b->dim[3] } };

	if (!w->staged || !s->from_stage)
		return load_stream(f, s->in, at, heads);
	kir_ref i = e2(f, KIR_OP_mod, s64, t, s64c(f, WRITE_RUN));
	kir_ref x = kir_emit(f, KIR_OP_load, kir_type_intern(f->module, &row),
	                     (kir_ref[]){ s->from_stage, at[1], i, at[3] }, 4, NULL);

	return e1(f, KIR_OP_reshape, kir_tile(f->module, (kir_elem)b->elem, heads, b->dim[3]),
	          x);
}

static kir_ref repacked(kir_func *f, const write_side *s, kir_ref x)
{
	kir_type_id t = f->node[x].type;

	if (s->side->bits != 4 || s->side->pack == s->from->pack)
		return x;
	x = unpacked(f, s->from, x);
	return kir_emit(f, KIR_OP_pack, t, &x, 1, (int64_t[KIR_MAX_ATTRS]){ s->side->pack });
}

/* A run of codes and scales as they are, a head at a time: tiles of whole cache lines, whatever
 * the layouts. */
static void move_run(const write_op *w, const write_side *s, kir_ref t, kir_ref page,
                     kir_ref first, int hint)
{
	kir_func *f = w->f;
	kir_module *m = f->module;
	const kir_type *c = kir_type_of(f, s->in);
	kir_ref l = kir_for(f, s64c(f, 0), s64c(f, w->heads), 1, false, NULL, 0), at[4];

	source_place(w, s, t, l + 1, at);
	kir_ref x =
	    kir_emit(f, KIR_OP_load, kir_tile(m, (kir_elem)c->elem, WRITE_RUN, c->dim[3]),
	             (kir_ref[]){ s->in, at[0], at[1], at[2], at[3] }, 5, NULL);

	x = repacked(f, s, x);
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
	         (kir_ref[]){ x, s->codes, page, l + 1, first, at[3] }, 6,
	         (int64_t[KIR_MAX_ATTRS]){ hint });
	if (s->scales && !s->side->tokens) {
		const kir_type *g = kir_type_of(f, s->from_scales);
		bool groups = g->rank == 4;
		kir_elem e = (kir_elem)g->elem;

		x = kir_emit(f, KIR_OP_load,
		             groups ? kir_tile(m, e, WRITE_RUN, g->dim[3])
		                    : kir_vector(m, e, WRITE_RUN),
		             (kir_ref[]){ s->from_scales, at[0], at[1], at[2], at[3] },
		             groups ? 5 : 4, NULL);
		kir_emit(f, KIR_OP_store, KIR_NO_TYPE,
		         (kir_ref[]){ x, s->scales, page, l + 1, first, at[3] }, groups ? 6 : 5,
		         (int64_t[KIR_MAX_ATTRS]){ 0 });
	}
	kir_for_end(f, l, NULL, 0);
}

/* Codes and scales as they are. */
static void move_row(const write_op *w, const write_side *s, kir_ref x, const kir_ref at[4],
                     int64_t heads, const write_place *codes, const write_place *scales)
{
	kir_func *f = w->f;

	write_store(f, repacked(f, s, x), 3, codes);
	if (s->scales && !s->side->tokens) /* those put_group() puts */
		write_store(f, load_stream(f, s->from_scales, at, heads),
		            kir_type_of(f, s->scales)->rank - 1, scales);
}

/* Codes as f32, one an element. */
static kir_ref code_values(kir_func *f, const write_side *s, kir_ref x)
{
	return as_elem(f, s->from->bits == 4 ? unpacked(f, s->from, x) : x, KIR_f32);
}

/* What codes x <R x D> (f32) under stored scales g (f32: one a row, one a row and group, or one
 * an element, of each row or of all) and handed-over ones d (f32<R>) stand for: f32<R x dim>.
 */
static kir_ref decode(kir_func *f, const write_side *s, kir_ref x, kir_ref g, kir_ref d)
{
	kir_module *m = f->module;
	int64_t rows = kir_type_of(f, x)->dim[0], groups = kir_side_scales(s->from, s->dim);
	kir_type_id row = kir_tile(m, KIR_f32, rows, s->dim), t = row;
	kir_ref zero = 0;
	int64_t axis = 0;

	if (g && s->from->tokens) {
		axis = kir_type_of(f, g)->rank == 2 ? -1 : 1;
	} else if (g && s->from->group) {
		g = e1(f, KIR_OP_reshape, kir_vector(m, KIR_f32, rows * groups), g);
		t = kir_tile(m, KIR_f32, rows * groups, s->from->group);
	}
	if (g && s->from->range)
		g = expand_split(f, s->from, g, &zero);
	if (g && d && s->from->group)
		d = write_each_group(f, d, groups);
	d = g && d ? e2(f, KIR_OP_mul, f->node[g].type, g, d) : g ? g : d;
	if (!d)
		return x;
	if (t != row)
		x = e1(f, KIR_OP_reshape, t, x);
	if (zero)
		x = e2x(f, KIR_OP_sub, t, x, zero, axis);
	x = e2x(f, KIR_OP_mul, t, x, d, axis);
	return t == row ? x : e1(f, KIR_OP_reshape, row, x);
}

/* What the source's codes stand for: f32<heads x dim>. */
static kir_ref decode_row(const write_op *w, const write_side *s, kir_ref x,
                          const kir_ref at[4], int64_t heads)
{
	kir_func *f = w->f;
	kir_ref d = 0, g = 0, by[4];

	x = code_values(f, s, x);
	if (s->from_given)
		d = e2(f, KIR_OP_load, kir_vector(f->module, KIR_f32, heads), s->from_given,
		       at[1]);
	if (s->from_scales) {
		scales_at(f, s->from, at, by);
		g = as_elem(f, load_stream(f, s->from_scales, by, heads), KIR_f32);
	}
	return decode(f, s, x, g, d);
}

kir_ref transcode_row(const write_op *w, const write_side *s, kir_ref t, kir_ref h)
{
	kir_ref at[4];

	source_place(w, s, t, h, at);
	return decode_row(w, s, load_stream(w->f, s->in, at, 1), at, 1);
}

kir_ref transcode_run(const write_op *w, const write_side *s, kir_ref t, kir_ref h)
{
	kir_func *f = w->f;
	kir_module *m = f->module;
	const kir_type *c = kir_type_of(f, s->in);
	kir_ref at[4], by[4], g = 0, d = 0;

	source_place(w, s, t, h, at);
	kir_ref x =
	    kir_emit(f, KIR_OP_load, kir_tile(m, (kir_elem)c->elem, WRITE_RUN, c->dim[3]),
	             (kir_ref[]){ s->in, at[0], at[1], at[2], at[3] }, 5, NULL);
	x = code_values(f, s, x);
	if (s->from_scales) {
		const kir_type *st = kir_type_of(f, s->from_scales);
		kir_elem e = (kir_elem)st->elem;
		kir_type_id t16 = kir_vector(m, e, s->from->tokens ? st->dim[3] : WRITE_RUN);

		if (s->from->group)
			t16 = kir_tile(m, e, WRITE_RUN, st->dim[3]);
		scales_at(f, s->from, at, by);
		g = kir_emit(f, KIR_OP_load, t16,
		             (kir_ref[]){ s->from_scales, by[0], by[1], by[2], by[3] },
		             st->rank + 1, NULL);
		g = as_elem(f, g, KIR_f32);
	}
	if (s->from_given)
		d = e1(f, KIR_OP_splat, kir_vector(m, KIR_f32, WRITE_RUN),
		       load1(f, s->from_given, 1, &h));
	return decode(f, s, x, g, d);
}

void transcode_scales(const write_op *w, const write_side *s, kir_ref t, kir_ref h,
                      const write_place *to)
{
	kir_ref at[4], by[4];

	source_place(w, s, t, h, at);
	scales_at(w->f, s->from, at, by);
	write_store(w->f, load_stream(w->f, s->from_scales, by, 1), 3, to);
}

static void put_token(const write_op *w, const write_side *s, kir_ref t, kir_ref h,
                      int64_t heads, const write_place *codes, const write_place *scales)
{
	kir_func *f = w->f;
	kir_ref at[4], given = 0;

	source_place(w, s, t, h, at);
	kir_ref x = load_codes(w, s, t, at, heads);
	if (s->move) {
		move_row(w, s, x, at, heads, codes, scales);
		return;
	}
	if (s->given)
		given = e2(f, KIR_OP_load, kir_vector(f->module, KIR_f32, heads), s->given, h);
	write_rows(f, s->side, decode_row(w, s, x, at, heads), given, 0, codes, scales, 1);
}

/* A stream as integers of the same size: nothing that moves them looks at a NaN. */
static kir_ref as_bits(kir_func *f, kir_ref buf)
{
	static const kir_elem words[] = { [1] = KIR_u8, [2] = KIR_u16, [4] = KIR_s32 };
	kir_type t = *kir_type_of(f, buf);

	t.elem = (uint8_t)words[kir_elem_bytes((kir_elem)t.elem)];
	return e1(f, KIR_OP_view, kir_type_intern(f->module, &t), buf);
}

static write_side make_side(const kir_func *in, kir_ref n, kir_func *f, const kir_ref *map,
                            int i)
{
	static const char *const names[KIR_SIDES][6] = {
		{ "from_k", "k", "from_ks", "ks", "from_kd", "kd" },
		{ "from_v", "v", "from_vs", "vs", "from_vd", "vd" },
		{ "from_r", "r", "from_rs", "rs", "from_kd", "kd" }
	};
	const kir_format *from = in->module->format[kir_attr_of(in, n, KIR_ATTR_from)];
	const kir_format *to = in->module->format[kir_attr_of(in, n, KIR_ATTR_format)];
	write_side s = { .side = &to->side[i],
		         .from = &from->side[i],
		         .in = expand_operand(in, n, map, names[i][0]) };

	if (!s.in)
		return s;
	s.codes = expand_operand(in, n, map, names[i][1]);
	s.from_scales = expand_operand(in, n, map, names[i][2]);
	s.scales = expand_operand(in, n, map, names[i][3]);
	if (kir_side_wants(from, to, i, 0))
		s.from_given = expand_operand(in, n, map, names[i][4]);
	if (kir_side_wants(from, to, i, 1))
		s.given = expand_operand(in, n, map, names[i][5]);
	s.dim = kir_type_of(f, s.codes)->dim[3] * kir_side_per(s.side);
	s.move = kir_side_moves(s.from, s.side);
	s.whole = s.move && kir_type_of(f, s.in)->dim[2] % WRITE_RUN == 0;
	if (s.move) {
		s.in = as_bits(f, s.in);
		s.codes = as_bits(f, s.codes);
		s.from_scales = s.from_scales ? as_bits(f, s.from_scales) : 0;
		s.scales = s.scales ? as_bits(f, s.scales) : 0;
	}
	return s;
}

bool expand_transcode(const kir_func *in, kir_ref n, kir_func *f, kir_ref *map, kir_diag *why)
{
	write_op w = { .f = f,
		       .slots = expand_operand(in, n, map, "slots"),
		       .from_slots = expand_operand(in, n, map, "from_slots"),
		       .n = expand_operand(in, n, map, "n"),
		       .put = put_token,
		       .put_run = move_run };

	for (int i = 0; i < KIR_SIDES; i++)
		w.side[i] = make_side(in, n, f, map, i);
	if (w.side[0].side->tokens) {
		w.put_group = transcode_group;
		if (!w.side[0].move && !group_fits(&w.side[0], why))
			return false;
	}
	write_tokens(&w);
	return true;
}
