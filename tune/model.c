/* SPDX-License-Identifier: Apache-2.0 */
/* model.c -- see model.h.
 *
 * A call's time is what memory takes and what arithmetic takes, the longer of the two hiding
 * most of the shorter, plus what each tile and each piece costs once. Costs are cycles a
 * vector, of an AVX-512 core at 3 GHz; what they stand for is written beside them. They needn't
 * be right to be useful: only the order of schedules of one program matters.
 */
#include "model.h"

#include <math.h>
#include <string.h>

enum arith { A_AUTO, A_F32, A_BF16, A_INT8, A_INT8X2 }; /* words of knobs.def */
enum { OFF = 1, FUSE_OFF = 1, TABLE = 1, STREAMED = 2 };

static const double hz = 3e9;
static const double stream = 11e9, most_stream = 80e9; /* bytes/s of a core, of all */
static const double l2_rate = 60e9;

typedef struct sizes {
	int64_t heads, kv_heads, page, dim[2]; /* 0 K, 1 V */
	int64_t batch, ctx, qlen;
	kir_elem elem[2];
	unsigned bits[2]; /* of a stored code */
	bool attn, query_exact;
} sizes;

typedef struct parts {
	double memory, decode, product, softmax, tiles, pieces, balance;
} parts;

static const kir_format *format_of(const kir_func *f, kir_ref n)
{
	int64_t i = kir_attr_of(f, n, KIR_ATTR_format);

	return i >= 0 && i < (int64_t)f->module->nformat ? f->module->format[i] : NULL;
}

static bool look(const kt_model_of *m, sizes *z)
{
	const kir_func *f = m->f;

	memset(z, 0, sizeof(*z));
	for (kir_ref n = 1; n < f->nnode; n++) {
		kir_op op = f->node[n].op;
		const kir_format *format;
		const kir_type *k, *v;

		if (op != KIR_OP_attention && op != KIR_OP_cache_write)
			continue;
		format = format_of(f, n);
		k = kir_type_of(f, kir_operand(f, n, "k"));
		v = kir_type_of(f, kir_operand(f, n, "v"));
		if (!format || k->rank != 4 || v->rank != 4)
			return false;
		z->attn = op == KIR_OP_attention;
		z->kv_heads = k->dim[1];
		z->page = k->dim[2];
		z->dim[0] = k->dim[3] * kir_side_per(&format->side[0]);
		z->dim[1] = v->dim[3] * kir_side_per(&format->side[1]);
		z->bits[0] = format->side[0].bits;
		z->bits[1] = format->side[1].bits;
		z->elem[0] = format->side[0].elem;
		z->elem[1] = format->side[1].elem;
		z->heads =
		    z->attn ? kir_type_of(f, kir_operand(f, n, "out"))->dim[1] : z->kv_heads;
		z->batch = m->p && m->p->batch ? m->p->batch : 1;
		z->ctx = m->p && m->p->ctx ? m->p->ctx : 4096;
		z->qlen = m->p && m->p->qlen ? m->p->qlen : 1;
		z->query_exact = m->p && m->p->q != KIR_f32 && m->p->q != KIR_f16;
		return true;
	}
	return false;
}

/* What passes/arith.c takes for auto. */
static enum arith arith_of(const kt_model_of *m, const sizes *z, int side, int knob)
{
	unsigned has = m->target->features;

	if (knob != A_AUTO)
		return (enum arith)knob;
	if (z->elem[side] == KIR_s8 && has & KIR_HAS_vnni)
		return z->query_exact ? A_INT8 : A_INT8X2;
	if (z->elem[side] != KIR_s8 && z->query_exact && has & KIR_HAS_bf16 &&
	    !(has & KIR_HAS_fp16))
		return A_BF16;
	return A_F32;
}

/* Cycles to make 16 f32 of stored elements: loads, permutations, shifts. */
static double decode_cycles(const kt_model_of *m, kir_elem e, enum arith a, int how)
{
	bool table = m->target->features & KIR_HAS_vbmi && how != TABLE + 1;

	if (a == A_INT8 || a == A_INT8X2)
		return 0.3; /* the codes themselves: 64 a load */
	if (e == KIR_bf16 || e == KIR_f16)
		return a == A_BF16 ? 0.3 : 1;
	if (e == KIR_s8)
		return a == A_BF16 ? 2.5 : 2;
	return table ? 2.5 : 5;
}

/* Cycles of a product of 16 elements of one row. */
static double product_cycles(const kt_model_of *m, enum arith a)
{
	bool slow_bf16 = m->target->features & KIR_HAS_fp16;

	switch (a) {
	case A_INT8: return 0.13;
	case A_INT8X2: return 0.26;
	case A_BF16: return slow_bf16 ? 1 : 0.5;
	default: return 0.5;
	}
}

/* Rows that a product keeps in registers: its knob, or what is left of 32. */
static double rows_held(const kir_sched *s, double rows)
{
	double held = s->rows > 0 ? s->rows : 8;

	return held < rows ? held : rows;
}

static void count(const kt_model_of *m, const sizes *z, const kir_sched *s, parts *p)
{
	double lanes = m->target->vector_bits / 32.0, width = 16 / lanes;
	double q_tile = s->q_tile > 0 ? s->q_tile : 1,
	       kv_tile = s->kv_tile > 0 ? s->kv_tile : 64;
	double rows = q_tile * (double)(z->heads / z->kv_heads);
	double passes = ceil((double)z->qlen / q_tile) * (double)(z->batch * z->kv_heads);
	double tokens = passes * (double)z->ctx * (z->qlen > 1 ? 0.6 : 1);
	double tiles = tokens / kv_tile, blocks = ceil(rows / rows_held(s, rows)), work, each;
	double pieces = s->split ? ceil((double)z->ctx / s->split) : 1, local = 0, bytes = 0;

	for (int side = 0; side < 2; side++) {
		double vectors = tokens * (double)z->dim[side] / 16 * width;
		enum arith a = arith_of(m, z, side, side ? s->pv : s->qk);
		double decode = decode_cycles(m, z->elem[side], a, s->decode);

		bytes += tokens * (double)z->dim[side] * z->bits[side] / 8;
		p->decode += s->fuse == FUSE_OFF ? vectors * (decode + 1 + blocks)
		                                 : vectors * decode * blocks;
		p->product += vectors * rows * product_cycles(m, a);
		local += kv_tile * (double)z->dim[side] * (s->fuse == FUSE_OFF ? 4 : 1);
	}
	/* exponentials, maxima, sums: some 25 operations for 16 scores */
	p->softmax = tokens * rows * 25 / lanes / 2;
	/* loop ends, and the output's rows rescaled once a tile */
	p->tiles = tiles * (80 + rows * (12 + (double)z->dim[1] / lanes * 1.5));
	if (local + rows * (double)z->dim[1] * 4 > m->target->l1_bytes)
		p->tiles *= 1.3;
	p->pieces =
	    pieces > 1 ? passes * pieces * (400 + rows * (double)z->dim[1] / lanes * 3) : 0;
	work = passes * pieces;
	each = work / m->threads;
	p->balance = each > 0 ? ceil(each) / each : 1;
	if (m->cold) {
		double rate = stream * m->threads;

		p->memory = bytes / (rate < most_stream ? rate : most_stream);
		if (s->prefetch == OFF)
			p->memory *= 1.08;
	} else {
		p->memory = bytes / l2_rate / m->threads;
	}
}

static double total(const kt_model_of *m, const parts *p)
{
	double cycles = p->decode + p->product + p->softmax + p->tiles + p->pieces;
	double compute = cycles / hz / m->threads, memory = p->memory;
	double longer = compute > memory ? compute : memory;

	return (longer + 0.3 * (compute + memory - longer)) * p->balance;
}

/* A cache write is bound by memory; what is written past the caches isn't read first. */
static double write_time(const sizes *z, const kir_sched *s)
{
	double bytes = (double)(z->batch * z->ctx * z->kv_heads * (z->dim[0] + z->dim[1])) * 3;
	double more = s->parts > 1 ? 1 + 0.01 * s->parts : 1;

	return bytes / stream * more * (s->stores && s->stores != STREAMED ? 1.2 : 1);
}

/* -- products --------------------------------------------------------------------------------
 */

typedef struct matrices {
	double rows, cols, depth, step;
	kir_elem elem[2]; /* of rows, weights */
} matrices;

enum { STEP = 128, M_TILE = 32, N_TILE = 64 }; /* as passes/expand_gemm.c has them */

static bool look_at_product(const kt_model_of *m, matrices *z)
{
	for (kir_ref n = 1; n < m->f->nnode; n++) {
		const kir_type *a, *w;

		if (m->f->node[n].op != KIR_OP_gemm)
			continue;
		a = kir_type_of(m->f, kir_operand(m->f, n, "a"));
		w = kir_type_of(m->f, kir_operand(m->f, n, "w"));
		z->rows = m->p && m->p->batch ? (double)m->p->batch : 1;
		z->rows *= m->p && m->p->qlen ? (double)m->p->qlen : 1;
		z->cols = (double)w->dim[0];
		z->depth = (double)w->dim[1];
		z->step = z->depth < STEP ? z->depth : STEP;
		z->elem[0] = (kir_elem)a->elem;
		z->elem[1] = (kir_elem)w->elem;
		return true;
	}
	return false;
}

/* Weights are widened once for each tile of rows, rows once for each tile of columns; each
 * block of the contraction is scaled and added once for each output. */
static double product_time(const kt_model_of *m, const matrices *z, const kir_sched *s)
{
	enum arith a = m->target->features & KIR_HAS_bf16 ? A_BF16 : A_F32;
	double m_tile = s->m_tile ? s->m_tile : M_TILE, n_tile = s->n_tile ? s->n_tile : N_TILE;
	double lanes = m->target->vector_bits / 32.0, left = fmod(z->rows, m_tile);
	/* what whole tiles leave is taken 4 rows at a time, then singly */
	double passes = floor(z->rows / m_tile) + floor(left / 4) + fmod(left, 4);
	double steps = ceil(z->depth / z->step), blocks = ceil(z->cols / n_tile);
	double held = s->rows > 0 ? s->rows : 8,
	       again = ceil((m_tile < z->rows ? m_tile : z->rows) / held);
	double widen[2], tile[2] = { m_tile, n_tile }, cycles, local = 0, memory, compute;

	for (int i = 0; i < 2; i++) {
		widen[i] = decode_cycles(m, z->elem[i], a, s->decode);
		local += tile[i] * z->step * (a == A_BF16 ? 2 : 4);
	}
	cycles = z->rows * z->cols * z->depth / lanes * product_cycles(m, a);
	cycles +=
	    passes * z->cols * z->depth / lanes * widen[1] * (s->fuse == FUSE_OFF ? 1 : again);
	cycles += blocks * z->rows * z->depth / lanes * widen[0];
	cycles += steps * z->cols * z->rows / lanes * 2 + steps * passes * blocks * 60;
	if (local > m->target->l1_bytes)
		cycles *= 1.2;
	memory = z->cols * z->depth * kir_elems[z->elem[1]].bits / 8 /
	         (m->cold ? stream * m->threads : l2_rate * m->threads);
	compute = cycles / hz / m->threads;
	return (compute > memory ? compute : memory) +
	       0.3 * (compute < memory ? compute : memory);
}

double kt_model_time(const kt_model_of *m, const kir_sched *s)
{
	parts p = { 0 };
	matrices x;
	sizes z;

	if (look_at_product(m, &x))
		return product_time(m, &x, s);
	if (!look(m, &z))
		return 1;
	if (!z.attn)
		return write_time(&z, s);
	if (s->kv_tile && z.page % s->kv_tile)
		return INFINITY;
	count(m, &z, s, &p);
	return total(m, &p);
}

void kt_model_explain(const kt_model_of *m, const kir_sched *s, kir_text *out)
{
	parts p = { 0 };
	sizes z;

	if (!look(m, &z) || !z.attn) {
		kir_text_add(out, "memory decides\n");
		return;
	}
	count(m, &z, s, &p);
	kir_text_add(out,
	             "memory %.3g ms, decode %.3g ms, products %.3g ms, softmax %.3g ms, tiles "
	             "%.3g ms, pieces %.3g ms, balance %.3g: %.3g ms\n",
	             p.memory * 1e3, p.decode / hz * 1e3, p.product / hz * 1e3,
	             p.softmax / hz * 1e3, p.tiles / hz * 1e3, p.pieces / hz * 1e3, p.balance,
	             total(m, &p) * 1e3);
}
