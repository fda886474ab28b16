/* SPDX-License-Identifier: Apache-2.0 */
/* model_gemm.c -- see model_gemm.h.
 *
 * A call is tiles of rows over all columns, as passes/expand_gemm.c cuts it: those of m_tile,
 * then what is left in one of 8 (of tile registers 16), 4 or 1. Each of them widens all
 * weights again, unless knob m_chunk lets many share what is widened
 * (passes/expand_gemm_chunk.c); then sums of a chunk lie in L2 and are read and written once a
 * block of the contraction.
 */
#include "model_gemm.h"
#include "model_parts.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 128, M_TILE = 32, N_TILE = 64, FEW = 4, SOME = 8 }; /* as in expand_gemm.c */
enum { SHARES = 16, WIDEST = 256 };                                /* as in its chunks */

/* Cycles of a vector of sums a block: products scaled and added, of a tile in L1; of a chunk in
 * L2, or beyond it. */
static const double near_sum = 2, chunk_sum = 3, far_sum = 8;
/* Of a column's own scale, turned in registers or copied by itself; of a tile's loops, a block.
 */
static const double column_scale = 1, tile_ends = 60;
/* A run that isn't touched ahead: 0.485 beside 0.415 ms of one row (docs/experiments.md). */
static const double untouched = 1.15;
/* What shows of memory where weights go into a local first: all of it. A tile of 16 rows took
 * 2.8 ms so on Zen 5, widened in the product 1.27; on Zen 4 3.48 and 3.29. */
static const double apart = 1;

static double attr(const kir_func *f, kir_ref n, int which)
{
	int64_t x = kir_attr_of(f, n, (kir_attr)which);

	return x > 0 ? (double)x : INFINITY;
}

bool kt_gemm_look(const kt_model_of *m, kt_gemm_of *z)
{
	const kir_func *f = m->f;

	for (kir_ref n = 1; n < f->nnode; n++) {
		const kir_side *a_two, *w_two;
		const kir_type *a, *w;

		if (f->node[n].op != KIR_OP_gemm)
			continue;
		*z = (kt_gemm_of){ 0 };
		a = kir_type_of(f, kir_operand(f, n, "a"));
		w = kir_type_of(f, kir_operand(f, n, "w"));
		z->rows = m->p && m->p->batch ? (double)m->p->batch : 1;
		z->rows *= m->p && m->p->qlen ? (double)m->p->qlen : 1;
		z->cols = (double)kir_type_of(f, kir_operand(f, n, "c"))->dim[1];
		a_two = kir_packed_side(f, n, KIR_ATTR_acts);
		w_two = kir_packed_side(f, n, KIR_ATTR_weights);
		z->depth = (double)a->dim[1] * (a_two ? 2 : 1);
		z->step = z->depth < BLOCK ? z->depth : BLOCK;
		if (kir_operand(f, n, "as"))
			z->step = fmin(z->step, attr(f, n, KIR_ATTR_group));
		if (kir_operand(f, n, "ws"))
			z->step = fmin(z->step, attr(f, n, KIR_ATTR_wgroup));
		z->block = kir_operand(f, n, "ws") ? kir_attr_of(f, n, KIR_ATTR_block) : 0;
		z->elem[0] = a_two ? a_two->elem : (kir_elem)a->elem;
		z->elem[1] = w_two ? w_two->elem : (kir_elem)w->elem;
		z->bits = w_two ? w_two->bits : kir_elems[w->elem].bits;
		return true;
	}
	return false;
}

/* What products take: as jit/schedule.c has it where knob qk is auto. */
static kir_arith arith_of(const kt_model_of *m, const kt_gemm_of *z, const kir_sched *s)
{
	unsigned has = m->target->features;

	if (kir_is_int(z->elem[0]) && kir_is_int(z->elem[1]) && has & KIR_HAS_vnni)
		return KIR_ARITH_int8;
	if (s->qk != KIR_ARITH_auto)
		return (kir_arith)s->qk;
	return has & KIR_HAS_bf16 && z->elem[0] != KIR_f16 && z->elem[0] != KIR_f32
	           ? KIR_ARITH_bf16
	           : KIR_ARITH_f32;
}

typedef struct cut {
	const kt_model_of *m;
	const kt_gemm_of *z;
	const kir_sched *s;
	kir_arith a;
	bool tiles; /* products take tile registers */
	double lanes, m_tile, n_tile, n_chunk;
} cut;

static double down(double n, double by)
{
	return n < by ? by : floor(n / by) * by;
}

static cut cut_of(const kt_model_of *m, const kt_gemm_of *z, const kir_sched *s)
{
	cut c = { .m = m, .z = z, .s = s, .a = arith_of(m, z, s) };

	c.tiles = m->target->features & KIR_HAS_amx_tile && s->tiles != KIR_tiles_off &&
	          c.a != KIR_ARITH_f32;
	c.lanes = m->target->vector_bits / 32.0;
	c.m_tile = s->m_tile ? s->m_tile : M_TILE;
	c.n_tile = s->n_tile ? s->n_tile : N_TILE;
	while (z->block > 1 && !s->n_tile && fmod((double)z->block, c.n_tile) != 0)
		c.n_tile /= 2;
	c.n_chunk =
	    s->n_chunk ? s->n_chunk : down(fmin(floor(z->cols / SHARES), WIDEST), c.n_tile);
	return c;
}

/* Cycles of one tile of rows times all weights, widened before or beside it. */
static double products(const cut *c, const kt_blocks *b, double rows)
{
	double vectors = c->z->cols * c->z->depth / c->lanes;

	if (c->tiles)
		return vectors * ceil(rows / KIR_AMX_ROWS) * kt_tile_cycles(c->a);
	return vectors * kt_times_rows(c->m, b, rows, c->a);
}

static double bands(const cut *c)
{
	return ceil(c->z->cols / c->n_tile);
}

/* Loops' ends, sums and scales of a tile of rows, for each block of the contraction. */
static double ends(const cut *c, double rows, double sum)
{
	double scales = c->z->block == 1 ? c->z->cols * column_scale : 0;

	return ceil(c->z->depth / c->z->step) *
	       (c->z->cols * rows / c->lanes * sum + bands(c) * tile_ends + scales);
}

/* n tiles of so many rows that widen for themselves: weights for each tile, or for each block
 * of it, rows for each tile of columns. */
static void alone(const cut *c, double n, double rows, kt_gemm_parts *p)
{
	const kt_gemm_of *z = c->z;
	double local = (rows + c->n_tile) * z->step * 4 / kt_depth_of(c->a);
	double vectors = z->cols * z->depth / c->lanes;
	double far = n * (local > c->m->target->l1_bytes ? 1.2 : 1);
	kt_blocks b = kt_blocks_of(c->m, c->s, rows, c->n_tile / c->lanes);

	p->product += far * products(c, &b, rows);
	p->decode += far * vectors * kt_widened(c->m, &b, z->elem[1], c->a, c->s->decode);
	p->decode += far * bands(c) * rows * z->depth / c->lanes *
	             kt_decode_cycles(c->m, z->elem[0], c->a, c->s->decode);
	p->sums += far * ends(c, rows, near_sum);
}

/* n tiles of m_tile rows, m_chunk rows past weights widened once. */
static void chunked(const cut *c, double n, kt_gemm_parts *p)
{
	const kt_gemm_of *z = c->z;
	double rows = n * c->m_tile, stored = 1 / kt_depth_of(c->a);
	double m_chunk = fmin(c->s->m_chunk, rows), chunks = ceil(rows / m_chunk);
	double l2 = c->m->target->l2_bytes, l1 = c->m->target->l1_bytes;
	double bytes = m_chunk * c->n_chunk * 4, local = c->n_tile * z->step * 2;
	kt_blocks b = kt_blocks_of(c->m, c->s, c->m_tile, c->n_tile / c->lanes);

	b.fused = false;
	p->product += n * products(c, &b, c->m_tile) * (local > l1 / 2 ? 1.2 : 1);
	p->decode += chunks * z->cols * z->depth / c->lanes *
	             (kt_decode_cycles(c->m, z->elem[1], c->a, c->s->decode) + stored);
	p->decode += ceil(z->cols / c->n_chunk) * rows * z->depth / c->lanes *
	             (kt_decode_cycles(c->m, z->elem[0], c->a, c->s->decode) + stored);
	p->sums += n * ends(c, c->m_tile, bytes > l2 / 2 ? far_sum : chunk_sum);
}

/* What whole tiles leave: as gemm_rows cuts it, each but the last size cut at the last row. */
static double left_over(const cut *c, double left, kt_gemm_parts *p)
{
	double sizes[3] = { c->tiles ? KIR_AMX_ROWS : SOME, FEW, 1 }, last = c->m_tile, n = 0;

	for (int i = 0; i < 3; i++) {
		double size = sizes[i], less = size > FEW ? FEW : 1, k;

		if (size >= last)
			continue;
		last = size;
		k = size > 1 ? floor((left + size - 1 - less) / size) : left;
		k = fmax(k, 0);
		alone(c, k, size, p);
		left = fmax(0, left - k * size);
		n += k;
	}
	return n;
}

/* Whether the first tile of rows, which waits for memory, multiplies while lines come. */
static bool beside(const cut *c, bool whole, bool shared)
{
	double some = c->tiles ? KIR_AMX_ROWS : SOME, rows = c->z->rows;

	rows = whole ? c->m_tile : rows > FEW ? fmin(some, c->m_tile) : rows > 1 ? FEW : 1;
	return !shared && kt_blocks_of(c->m, c->s, rows, c->n_tile / c->lanes).fused;
}

double kt_gemm_time(const kt_model_of *m, const kt_gemm_of *z, const kir_sched *s,
                    kt_gemm_parts *p)
{
	cut c = cut_of(m, z, s);
	bool shared = s->m_chunk && z->rows >= c.m_tile;
	double n = floor(z->rows / c.m_tile), bytes = z->cols * z->depth * z->bits / 8, passes;
	double band = c.n_tile * z->depth * z->bits / 8, again, rate, each;

	*p = (kt_gemm_parts){ 0 };
	if ((z->block > 1 && fmod((double)z->block, c.n_tile) != 0) ||
	    (s->m_chunk && (fmod(s->m_chunk, c.m_tile) != 0 || fmod(c.n_chunk, c.n_tile) != 0)))
		return INFINITY;
	if (shared)
		chunked(&c, n, p);
	else
		alone(&c, n, c.m_tile, p);
	passes = shared ? ceil(n * c.m_tile / s->m_chunk) : n;
	passes += left_over(&c, z->rows - n * c.m_tile, p);
	/* weights of the columns at hand come from memory once, for the next rows from near */
	again = !shared && band * 2 < m->target->l2_bytes ? kt_l2_rate : kt_l3_rate;
	rate = m->cold ? kt_stream : bytes * 2 < m->target->l2_bytes ? kt_l2_rate : kt_l3_rate;
	p->memory = bytes / rate * (s->prefetch == KIR_prefetch_off ? untouched : 1);
	p->memory += bytes * fmax(0, passes - 1) / again;
	each = ceil(z->cols / (s->m_chunk ? c.n_chunk : c.n_tile)) / m->threads;
	p->balance = ceil(each) / each;
	p->product /= kt_hz;
	p->decode /= kt_hz;
	p->sums /= kt_hz;
	double compute = p->product + p->decode + p->sums;
	double shown = m->cold && !beside(&c, n >= 1, shared) ? apart : kt_seen;

	return (fmax(compute, p->memory) + shown * fmin(compute, p->memory)) / m->threads *
	       p->balance;
}
