/* SPDX-License-Identifier: Apache-2.0 */
/* model.c -- see model.h.
 *
 * A call's time is what memory takes and what arithmetic takes, the longer of the two hiding
 * most of the shorter where lines are asked for early. Nobody asks for the first tiles of a
 * list, so short lists want small tiles. What each tile and each piece costs once is
 * arithmetic. Queries of causal attention see fewer keys the earlier they are, in whole tiles.
 * Products are cut as passes/vec_dot.c cuts them. Costs are cycles a vector, of an AVX-512 core
 * at 3 GHz; what they stand for is written beside them. They needn't be right to be useful:
 * only the order of schedules of one program matters.
 */
#include "model.h"
#include "model_gemm.h"
#include "model_parts.h"
#include "model_tiles.h"

#include <math.h>
#include <string.h>

static const double most_stream = 80e9; /* bytes/s from DRAM of all cores */
static const double latency = 4; /* cycles of a product: a multiplier has as many at once */

typedef struct sizes {
	int64_t heads, kv_heads, page, dim[2]; /* 0 K, 1 V */
	int64_t batch, ctx, qlen;
	kir_elem elem[2];
	unsigned bits[2];     /* of a stored code                     */
	bool token_scales[2]; /* each token and head has a scale      */
	bool attn, query_exact;
} sizes;

typedef struct parts {
	double memory, again; /* seconds of the first reading; of what comes from L2 or L3 */
	double decode, product, softmax, tiles, pieces, balance;
	double late; /* part of the tiles whose lines nobody asked for before they are needed */
	double seen; /* of the shorter of memory and arithmetic, for all others */
	bool early;
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
		if (!format || k->rank != 4 || (v->rank != 4 && !format->shared))
			return false;
		z->attn = op == KIR_OP_attention;
		z->kv_heads = k->dim[1];
		z->page = k->dim[2];
		z->dim[0] = k->dim[3] * kir_side_per(&format->side[0]);
		z->dim[1] = format->shared ? (m->p ? m->p->dim_v : z->dim[0])
		                           : v->dim[3] * kir_side_per(&format->side[1]);
		z->bits[0] = format->side[0].bits;
		z->bits[1] = format->shared ? 0 : format->side[1].bits; /* read with the keys */
		z->elem[0] = format->side[0].elem;
		z->elem[1] = format->side[format->shared ? 0 : 1].elem;
		for (int i = 0; i < 2; i++)
			z->token_scales[i] =
			    format->side[format->shared ? 0 : i].gran == KIR_GRAN_token_head;
		z->heads =
		    z->attn ? kir_type_of(f, kir_operand(f, n, "out"))->dim[1] : z->kv_heads;
		z->batch = m->p && m->p->batch ? m->p->batch : 1;
		z->ctx = m->p && m->p->ctx ? m->p->ctx : 4096;
		z->qlen = m->p && m->p->qlen ? m->p->qlen : 1;
		if (m->p && m->p->sparse && m->p->sparse < z->ctx)
			z->ctx = m->p->sparse;
		z->query_exact = m->p && m->p->q != KIR_f32 && m->p->q != KIR_f16;
		return true;
	}
	return false;
}

/* Whether integers multiply a side's codes, as they are or, of 4 bits, times a power of two. */
static bool is_integer(const kt_model_of *m, const sizes *z, int side)
{
	bool small = z->elem[side] == KIR_e2m1 && !(m->target->features & KIR_HAS_amx_tile);

	return m->target->features & KIR_HAS_vnni && (kir_is_int(z->elem[side]) || small);
}

/* What passes/arith.c takes for auto. */
static kir_arith arith_of(const kt_model_of *m, const sizes *z, int side, int knob)
{
	unsigned has = m->target->features;

	if (knob != KIR_ARITH_auto)
		return (kir_arith)knob;
	if (is_integer(m, z, side))
		return z->query_exact ? KIR_ARITH_int8 : KIR_ARITH_int8x2;
	if (z->elem[side] != KIR_s8 && z->query_exact && has & KIR_HAS_bf16 &&
	    !(has & KIR_HAS_fp16))
		return KIR_ARITH_bf16;
	return KIR_ARITH_f32;
}

/* Cycles to make 16 f32 of stored elements: loads, permutations, shifts. */
double kt_decode_cycles(const kt_model_of *m, kir_elem e, kir_arith a, int how)
{
	bool table = m->target->features & KIR_HAS_vbmi && how != KIR_decode_shift;

	if (a == KIR_ARITH_int8 || a == KIR_ARITH_int8x2)
		return 0; /* the codes themselves, whose loads kt_times_rows has */
	if (e == KIR_bf16 || e == KIR_f16)
		return a == KIR_ARITH_bf16 ? 0 : 1;
	if (e == KIR_s8)
		return a == KIR_ARITH_bf16 ? 2.5 : 2;
	return table ? 2.5 : 5;
}

/* Vectors of 512 bits that a core multiplies a cycle: two on all that have AVX-512 but Zen 4,
 * the only one with bf16 and neither fp16 nor tiles; there everything but logic is one a cycle.
 */
static double multipliers(const kt_model_of *m)
{
	unsigned has = m->target->features;

	return has & KIR_HAS_bf16 && !(has & (KIR_HAS_fp16 | KIR_HAS_amx_tile)) ? 1 : 2;
}

/* Cycles of a product of 16 elements of one row. */
static double product_cycles(const kt_model_of *m, kir_arith a)
{
	bool slow_bf16 = m->target->features & KIR_HAS_fp16;
	double each = 1 / multipliers(m);

	switch (a) {
	case KIR_ARITH_int8: return each / 4;
	case KIR_ARITH_int8x2: return each / 2;
	case KIR_ARITH_bf16: return slow_bf16 ? 1 : 0.5;
	default: return each;
	}
}

/* Elements of a row that one instruction multiplies in each lane of 32 bits. */
double kt_depth_of(kir_arith a)
{
	return a == KIR_ARITH_int8 || a == KIR_ARITH_int8x2 ? 4 : a == KIR_ARITH_bf16 ? 2 : 1;
}

/* -- a product of tiles, as passes/vec_dot.c cuts it --------------------------------------- */

kt_blocks kt_blocks_of(const kt_model_of *m, const kir_sched *s, double rows, double vectors)
{
	double room = m->target->vector_regs >= 32 ? 24 : 10;
	kt_blocks b = { .rows = s->rows > 0 ? s->rows : rows <= 8 ? rows : 8 };

	if (b.rows > rows)
		b.rows = rows;
	b.cols = s->cols > 0 ? s->cols : floor(room / b.rows);
	b.cols = b.cols < 1 ? 1 : b.cols > 8 ? 8 : b.cols;
	if (b.cols > vectors)
		b.cols = vectors;
	for (double c = b.cols; c * 2 > b.cols; c--)
		if (fmod(vectors, c) == 0) {
			b.cols = c;
			break;
		}
	b.n = ceil(rows / b.rows);
	b.fused = s->fuse ? s->fuse != KIR_fuse_off : b.n <= 2;
	return b;
}

/* Cycles of one vector of codes times all rows: multiplications, unless loading their factors
 * takes longer; more where there are too few sums to hide an instruction's latency. */
double kt_times_rows(const kt_model_of *m, const kt_blocks *b, double rows, kir_arith a)
{
	double sums = b->rows * b->cols, chains = latency * multipliers(m);
	/* what doesn't fit the registers is stored and read at each step */
	double spills = fmax(0, sums + b->cols - m->target->vector_regs);
	double stall = fmax(1, chains / sums) + spills / sums;
	double loads = 0.5 * (1 / b->cols + 1 / b->rows) / kt_depth_of(a);
	double multiply = product_cycles(m, a) * stall;

	return rows * (multiply > loads ? multiply : loads);
}

/* Cycles of widening one vector: again for each block, or once, then stored and read again. */
double kt_widened(const kt_model_of *m, const kt_blocks *b, kir_elem e, kir_arith a, int how)
{
	double decode = kt_decode_cycles(m, e, a, how);

	return b->fused ? decode * b->n : decode + (1 + 0.5 * b->n) / kt_depth_of(a);
}

/* Bytes of the first reading come from where the cache is; query tiles after the first find
 * those of their head in the caches, and don't wait for them. */
static void memory_time(const kt_model_of *m, const sizes *z, double once, double all, parts *p)
{
	double head = once / (double)(z->batch * z->kv_heads), rate = kt_stream * m->threads;
	double again = head * 2 < m->target->l2_bytes ? kt_l2_rate : kt_l3_rate;
	double first = once < all ? once : all;

	if (!m->cold)
		rate = again * m->threads;
	else if (rate > most_stream)
		rate = most_stream;
	p->memory = first / rate;
	p->again = (all - first) / again / m->threads;
}

/* Whether both products take tile registers. */
static bool in_tiles(const kt_model_of *m, const sizes *z, const kir_sched *s)
{
	kir_arith k = arith_of(m, z, 0, s->qk), v = arith_of(m, z, 1, s->pv);

	return m->target->features & KIR_HAS_amx_tile && s->tiles != KIR_tiles_off &&
	       k != KIR_ARITH_f32 && v != KIR_ARITH_f32;
}

/* A product in tile registers of 16 elements with all rows of queries, which are few. */
double kt_tile_cycles(kir_arith a)
{
	return a == KIR_ARITH_bf16 ? 0.5 : 0.25;
}

/* Whether a side's codes become bf16 before their products. */
static bool widens(const kt_model_of *m, const sizes *z, const kir_sched *s, int side)
{
	return arith_of(m, z, side, side ? s->pv : s->qk) == KIR_ARITH_bf16 &&
	       z->elem[side] != KIR_bf16;
}

/* Keys that a tile of queries passes, in whole tiles of keys: the mean over a sequence's tiles,
 * of which 64 say enough. */
static double keys_of(const kt_model_of *m, const sizes *z, double q_tile, double kv_tile)
{
	double n = ceil((double)z->qlen / q_tile), step = n > 64 ? n / 64 : 1;
	double sum = 0, seen = 0;
	double before = (double)(z->ctx > z->qlen ? z->ctx - z->qlen : 0);

	if (!m->p || !m->p->causal || z->qlen <= 1)
		return ceil((double)z->ctx / kv_tile) * kv_tile;
	for (double i = 0; i < n; i += step, seen++) {
		double last = fmin((floor(i) + 1) * q_tile, (double)z->qlen);

		sum += ceil((before + last) / kv_tile) * kv_tile;
	}
	return sum / seen;
}

/* Whether lines are asked for before they are needed, and how well. True: tile registers load
 * what is stored, 16 lines at a time, which are asked for early by themselves. */
static bool count_early(const kt_model_of *m, const sizes *z, const kir_sched *s, double q_tile,
                        parts *p)
{
	int fetch = s->prefetch ? s->prefetch : kir_auto_prefetch(m->target, (int64_t)q_tile);
	bool straight =
	    in_tiles(m, z, s) && !widens(m, z, s, 0) && !widens(m, z, s, 1) && q_tile <= 1;

	p->early = straight || fetch != KIR_prefetch_off;
	p->seen = !m->cold || in_tiles(m, z, s) || fetch == KIR_prefetch_both ? kt_seen
	                                                                      : kt_seen_once;
	return straight;
}

static void count(const kt_model_of *m, const sizes *z, const kir_sched *s, parts *p)
{
	double lanes = m->target->vector_bits / 32.0;
	double q_tile = s->q_tile > 0 ? s->q_tile : 1,
	       kv_tile = s->kv_tile > 0 ? s->kv_tile : 64;
	double rows = q_tile * (double)(z->heads / z->kv_heads);
	double passes = ceil((double)z->qlen / q_tile) * (double)(z->batch * z->kv_heads);
	double tokens = passes * keys_of(m, z, q_tile, kv_tile);
	/* tiles of queries that share what is widened, if auto or on */
	double shared = s->q_block > 1 && s->widen != KIR_widen_off ? s->q_block : 1;
	double chunk = s->kv_chunk ? s->kv_chunk : 256;
	double pieces = s->split ? ceil((double)z->ctx / s->split) : 1, local = 0, bytes = 0;
	double work, each, sums = rows * (double)z->dim[1] * 4;
	int rescale = s->rescale ? s->rescale
	                         : kir_auto_rescale(m->target, (int64_t)q_tile, (int64_t)sums);
	bool lazy = rescale == KIR_rescale_lazy;
	bool straight;

	for (int side = 0; side < 2; side++) {
		double vectors = tokens * (double)z->dim[side] / lanes;
		kir_arith a = arith_of(m, z, side, side ? s->pv : s->qk);
		kt_blocks b =
		    kt_blocks_of(m, s, rows, (side ? (double)z->dim[1] : kv_tile) / lanes);

		bytes += (double)z->dim[side] * z->bits[side] / 8;
		p->decode += vectors * kt_widened(m, &b, z->elem[side], a, s->decode) / shared;
		p->product += vectors * (in_tiles(m, z, s) ? kt_tile_cycles(a)
		                                           : kt_times_rows(m, &b, rows, a));
		local += kv_tile * (double)z->dim[side] * (b.fused ? 1 : 4 / kt_depth_of(a));
	}
	/* exponentials, maxima, sums: some 25 operations for 16 scores; 5 more to see whether a
	 * maximum grew by so much that sums are rescaled */
	p->softmax = tokens * rows * (lazy ? 30 : 25) / lanes / 2;
	/* loop ends, sums and maxima across lanes, and the output's rows rescaled once a tile
	 */
	p->tiles = tokens / kv_tile *
	           (80 + rows * (12 + (lazy ? 0 : (double)z->dim[1] / lanes * 1.5)));
	if (s->q_block > 1) /* sums are read and written once a chunk */
		p->tiles += tokens / chunk * rows * (double)z->dim[1] / lanes * 4;
	p->pieces =
	    pieces > 1 ? passes * pieces * (400 + rows * (double)z->dim[1] / lanes * 3) : 0;
	work = passes * pieces;
	each = work / m->threads;
	p->balance = each > 0 ? ceil(each) / each : 1;
	straight = count_early(m, z, s, q_tile, p);
	memory_time(m, z, (double)(z->batch * z->kv_heads * z->ctx) * bytes, tokens * bytes, p);
	/* sums that L1 has no room for beside a tile come from L2 and go back there */
	if (local + sums > m->target->l1_bytes)
		p->again += tokens / kv_tile * 2 * sums / kt_l2_rate / m->threads;
	/* the first of each list, or of each piece of it; two with two ahead */
	p->late = (double)(z->batch * z->kv_heads) * pieces * kv_tile / tokens;
	p->late = p->early ? fmin(1, p->late * (s->prefetch == KIR_prefetch_two ? 2 : 1)) : 1;
	if (in_tiles(m, z, s) && m->cold)
		p->memory *= kt_tiles_ahead(s, straight);
}

/* -- queries in tile registers ------------------------------------------------------------- */

static kt_tiles_of tiles_of(const kt_model_of *m, const sizes *z, const kir_sched *s)
{
	kt_tiles_of t = { .target = m->target,
		          .group = (double)(z->heads / z->kv_heads),
		          .ctx = (double)z->ctx,
		          .qlen = (double)z->qlen,
		          .lists = (double)(z->batch * z->kv_heads),
		          .cold = m->cold };
	int64_t block = 0;

	for (int i = 0; i < 2; i++) {
		kir_arith a = arith_of(m, z, i, i ? s->pv : s->qk);

		t.dim[i] = (double)z->dim[i];
		t.stored[i] = z->bits[i] / 8.0;
		t.size[i] = a == KIR_ARITH_bf16 ? 2 : 1;
		t.digits[i] = a == KIR_ARITH_int8x2 ? 2 : 1;
		t.widened[i] = widens(m, z, s, i);
		t.scales += z->token_scales[i];
		block += (int64_t)(t.dim[i] * t.stored[i]) * z->page;
	}
	t.room = (double)kir_cache_room(m->target->l2_bytes, block, block * z->kv_heads);
	return t;
}

static double tiles_time(const kt_model_of *m, const sizes *z, const kir_sched *s,
                         kt_tiles_parts *p)
{
	kt_tiles_of t = tiles_of(m, z, s);
	double rows = (s->q_tile > 0 ? s->q_tile : 1) * (s->q_block > 1 ? s->q_block : 1);
	double each = ceil((double)z->qlen / rows) * t.lists / m->threads;

	return kt_tiles_cycles(&t, s, p) / kt_hz / m->threads * ceil(each) / each;
}

/* What of memory and arithmetic, one beside the other, a call takes. */
static double beside(double memory, double compute, double seen)
{
	return fmax(memory, compute) + seen * fmin(memory, compute);
}

static double total(const kt_model_of *m, const parts *p)
{
	double cycles = p->decode + p->product + p->softmax + p->tiles + p->pieces;
	double compute = beside(p->again, cycles / kt_hz / m->threads, kt_seen);
	double ahead = beside(p->memory, compute, p->seen);
	double behind = m->cold ? beside(p->memory * kt_waiting, compute, 1) : ahead;

	return (ahead + p->late * (behind - ahead)) * p->balance;
}

/* A cache write is bound by memory, and each part looks at every slot. What is written past the
 * caches isn't read first, which neither of two machines showed: no opinion about that. */
static double write_time(const sizes *z, const kir_sched *s)
{
	double tokens = (double)(z->batch * z->ctx);
	double bytes = tokens * (double)(z->kv_heads * (z->dim[0] + z->dim[1])) * 3;

	return bytes / kt_stream + tokens * (s->parts ? s->parts : 4) / kt_hz;
}

double kt_model_time(const kt_model_of *m, const kir_sched *s)
{
	kt_tiles_parts t;
	kt_gemm_parts g;
	kt_gemm_of x;
	parts p = { 0 };
	sizes z;

	if (kt_gemm_look(m, &x))
		return kt_gemm_time(m, &x, s, &g);
	if (!look(m, &z))
		return 1;
	if (!z.attn)
		return write_time(&z, s);
	if (s->kv_tile && z.page % s->kv_tile)
		return INFINITY;
	if (z.qlen > 1 && in_tiles(m, &z, s))
		return tiles_time(m, &z, s, &t);
	count(m, &z, s, &p);
	return total(m, &p);
}

void kt_model_explain(const kt_model_of *m, const kir_sched *s, kir_text *out)
{
	double ms = 1e3 / kt_hz / m->threads;
	kt_tiles_parts t;
	kt_gemm_parts g;
	kt_gemm_of x;
	parts p = { 0 };
	sizes z;

	if (kt_gemm_look(m, &x)) {
		double all = kt_gemm_time(m, &x, s, &g) * 1e3;

		kir_text_add(out,
		             "a product of %.0f rows: memory %.3g ms, decode %.3g ms, products "
		             "%.3g ms, sums %.3g ms, balance %.3g: %.3g ms\n",
		             x.rows, g.memory * 1e3, g.decode * 1e3, g.product * 1e3,
		             g.sums * 1e3, g.balance, all);
		return;
	}
	if (!look(m, &z) || !z.attn) {
		kir_text_add(out, "memory decides\n");
		return;
	}
	if (z.qlen > 1 && in_tiles(m, &z, s)) {
		double all = tiles_time(m, &z, s, &t) * 1e3;

		kir_text_add(out,
		             "products %.3g ms, decode %.3g ms, softmax %.3g ms, sums %.3g ms, "
		             "L2 %.3g ms, beyond %.3g ms: %.3g ms\n",
		             t.product * ms, t.decode * ms, t.softmax * ms, t.sums * ms,
		             t.near * ms, t.far * ms, all);
		return;
	}
	count(m, &z, s, &p);
	kir_text_add(out,
	             "memory %.3g ms, L2 %.3g ms, decode %.3g ms, products %.3g ms, softmax "
	             "%.3g ms, tiles %.3g ms, pieces %.3g ms, balance %.3g: %.3g ms\n",
	             p.memory * 1e3, p.again * 1e3, p.decode / kt_hz * 1e3,
	             p.product / kt_hz * 1e3, p.softmax / kt_hz * 1e3, p.tiles / kt_hz * 1e3,
	             p.pieces / kt_hz * 1e3, p.balance, total(m, &p) * 1e3);
}
