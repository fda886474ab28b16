/* SPDX-License-Identifier: Apache-2.0 */
/* support_program.c -- see support_program.h.
 *
 * Made with the builder: elementwise ops, conversions, lane moves, loops, ifs, loads and stores
 * on small buffers, always in range, and tile registers where there are any. What a value may
 * hold is kept with it, so that no op is given what backends may answer differently.
 */
#include "support_program.h"

#include "../tools/random.h"

#include <stdio.h>
#include <string.h>

enum { ELEMS = SUPPORT_PROGRAM_ELEMS, POOL = 160, PER_ITERATION = 8 };

typedef struct value {
	kir_ref ref;
	kir_elem elem;
	int lanes;  /* 0: scalar                                                */
	bool loose; /* a NaN, or a zero of unknown sign, may be in it           */
	bool small; /* an input as it was loaded: finite, below 2 in magnitude  */
} value;

typedef struct gen {
	uint64_t state;
	kir_module *m;
	kir_func *f;
	value pool[POOL];
	int npool;
	int depth;
	kir_ref base; /* s64: first element of this iteration's part of the outputs  */
	int nstore[KIR_NELEM], nnear;
	unsigned features;
	int64_t rows, bytes, cols; /* of tiles: 0 the sum, 1 and 2 the factors       */
	bool sum;                  /* tile 0 is written wherever this iteration goes */
} gen;

/* Elements with an input and an output buffer, and those that may be computed with. */
static const kir_elem elems[] = { KIR_f32,  KIR_s32, KIR_s8,     KIR_u8,   KIR_s16,
	                          KIR_bf16, KIR_f16, KIR_e4m3fn, KIR_e5m2, KIR_s64 };
enum { NELEMS = sizeof elems / sizeof elems[0] };

int support_below(uint64_t *state, int n)
{
	return (int)(random_bits(state) % (uint64_t)n);
}

static int below(gen *g, int n)
{
	return support_below(&g->state, n);
}

static kir_type_id type_of(gen *g, kir_elem e, int lanes)
{
	return lanes ? kir_vector(g->m, e, lanes) : kir_scalar(g->m, e);
}

static kir_ref s64(gen *g, int64_t x)
{
	return kir_const_i(g->f, KIR_s64, x);
}

static kir_ref emit(gen *g, kir_op op, kir_elem e, int lanes, const kir_ref *src, unsigned n,
                    const int64_t *attr)
{
	return kir_emit(g->f, op, type_of(g, e, lanes), src, n, attr);
}

static value *put(gen *g, kir_ref r, kir_elem e, int lanes, bool loose)
{
	/* a full pool forgets an old value */
	int at = g->npool < POOL ? g->npool++ : below(g, POOL);

	g->pool[at] = (value){ .ref = r, .elem = e, .lanes = lanes, .loose = loose };
	return &g->pool[at];
}

/* -- memory ----------------------------------------------------------------------- */

static kir_ref param(const gen *g, const char *prefix, kir_elem e)
{
	char name[32];

	snprintf(name, sizeof name, "%s%s", prefix, kir_elems[e].name);
	for (unsigned i = 0; i < g->f->nparam; i++)
		if (!strcmp(g->f->param[i].name, name))
			return g->f->param[i].node;
	return 0;
}

static kir_ref random_place(gen *g)
{
	kir_ref src[2] = { g->base, s64(g, below(g, 400)) };

	return below(g, 2) ? emit(g, KIR_OP_add, KIR_s64, 0, src, 2, NULL)
	                   : s64(g, below(g, ELEMS - 64));
}

static const value *load(gen *g, kir_elem e, int lanes)
{
	kir_ref src[3] = { param(g, "in_", e), random_place(g), 0 };
	unsigned n = 2;
	value *v;

	if (lanes && below(g, 4) == 0)
		src[n++] = s64(g, below(g, lanes + 2));
	v = put(g, emit(g, lanes ? KIR_OP_vload : KIR_OP_load, e, lanes, src, n, NULL), e,
	        lanes, false);
	v->small = true;
	return v;
}

/* A value of this element and lane count, loaded if there is none. */
static value pick(gen *g, kir_elem e, int lanes, bool tight)
{
	for (int k = 0; k < 24 && g->npool; k++) {
		const value *v = &g->pool[below(g, g->npool)];
		if (v->elem == e && v->lanes == lanes && !(tight && v->loose))
			return *v;
	}
	if (e != KIR_i1)
		return *load(g, e, lanes);
	value a = pick(g, KIR_s32, lanes, false), b = pick(g, KIR_s32, lanes, false);
	kir_ref src[2] = { a.ref, b.ref };
	return *put(g, emit(g, KIR_OP_lt, KIR_i1, lanes, src, 2, NULL), KIR_i1, lanes, false);
}

/* An operand for a vector op: sometimes a scalar or a literal. */
static value operand(gen *g, kir_elem e, int lanes, bool tight)
{
	int how = below(g, 8);

	if (how == 0 && kir_is_float(e) && e == KIR_f32) {
		static const double x[] = { 0, 1, -1, 0.5, 3, -0.0, 1e-3, 255, 1e20 };
		return (value){ .ref = kir_const_f(g->f, e, x[below(g, 9)]), .elem = e };
	}
	if (how == 0 && kir_is_int(e))
		return (value){ .ref = kir_const_i(g->f, e, below(g, 100)), .elem = e };
	return pick(g, e, how == 1 ? 0 : lanes, tight);
}

/* Every store has a part of the output of its own. */
static void store(gen *g, value v)
{
	kir_elem e = v.elem == KIR_i1 ? KIR_u8 : v.elem;
	kir_ref src[4];
	unsigned n = 3;

	if (v.elem == KIR_i1)
		v.ref = emit(g, KIR_OP_convert, e, v.lanes, &v.ref, 1, NULL);
	if (g->nstore[e] >= PER_ITERATION)
		return;
	src[0] = v.ref;
	src[1] = param(g, "out_", e);
	src[2] = emit(g, KIR_OP_add, KIR_s64, 0,
	              (kir_ref[]){ g->base, s64(g, 64 * g->nstore[e]++) }, 2, NULL);
	if (v.lanes && below(g, 4) == 0)
		src[n++] = s64(g, below(g, v.lanes + 2));
	kir_emit(g->f, v.lanes ? KIR_OP_vstore : KIR_OP_store, KIR_NO_TYPE, src, n, NULL);
}

static void store_near(gen *g, kir_ref r, int lanes)
{
	kir_ref src[3];

	if (g->nnear >= PER_ITERATION)
		return;
	src[0] = r;
	src[1] = g->f->param[g->f->nparam - 1].node;
	src[2] = emit(g, KIR_OP_add, KIR_s64, 0,
	              (kir_ref[]){ g->base, s64(g, 64 * g->nnear++) }, 2, NULL);
	kir_emit(g->f, lanes ? KIR_OP_vstore : KIR_OP_store, KIR_NO_TYPE, src, 3, NULL);
}

/* -- ops -------------------------------------------------------------------------- */

static int random_lanes(gen *g)
{
	static const int lanes[] = { 0, 4, 8, 16, 16, 32, 64 };

	return lanes[below(g, 7)];
}

static kir_elem random_int(gen *g)
{
	static const kir_elem e[] = { KIR_s32, KIR_s32, KIR_s8, KIR_u8, KIR_s16, KIR_s64 };

	return e[below(g, 6)];
}

/* Operands of an elementwise op, whose row of ops.def has a '*' for each. */
static unsigned operands(kir_op op)
{
	unsigned n = 0;

	for (const char *s = kir_ops[op].src; *s; s++)
		n += *s == '*';
	return n;
}

static void float_op(gen *g)
{
	static const kir_op ops[] = { KIR_OP_add, KIR_OP_sub,   KIR_OP_mul, KIR_OP_div,
		                      KIR_OP_min, KIR_OP_max,   KIR_OP_fma, KIR_OP_neg,
		                      KIR_OP_abs, KIR_OP_floor, KIR_OP_sqrt };
	kir_op op = ops[below(g, sizeof ops / sizeof *ops)];
	int lanes = random_lanes(g);
	bool extreme = op == KIR_OP_min || op == KIR_OP_max;
	value x = operand(g, KIR_f32, lanes, false);
	value y = operand(g, KIR_f32, lanes, op == KIR_OP_div);
	value z = operand(g, KIR_f32, lanes, false);
	kir_ref src[3] = { x.ref, y.ref, z.ref };
	unsigned n = operands(op);

	if (n == 1)
		src[0] = pick(g, KIR_f32, lanes, false).ref;
	put(g, emit(g, op, KIR_f32, lanes, src, n, NULL), KIR_f32, lanes,
	    extreme || x.loose || y.loose || z.loose || op == KIR_OP_sqrt || op == KIR_OP_div ||
	        !x.small || !y.small);
}

static void int_op(gen *g)
{
	static const kir_op ops[] = { KIR_OP_add,  KIR_OP_sub, KIR_OP_mul, KIR_OP_min,
		                      KIR_OP_max,  KIR_OP_and, KIR_OP_or,  KIR_OP_xor,
		                      KIR_OP_neg,  KIR_OP_abs, KIR_OP_shl, KIR_OP_shr,
		                      KIR_OP_fdiv, KIR_OP_mod };
	kir_op op = ops[below(g, sizeof ops / sizeof *ops)];
	kir_elem e = op == KIR_OP_neg || op == KIR_OP_abs ? KIR_s32 : random_int(g);
	int lanes = random_lanes(g);
	kir_ref src[2] = { pick(g, e, lanes, false).ref, operand(g, e, lanes, false).ref };

	if (op == KIR_OP_shl || op == KIR_OP_shr)
		src[1] = kir_const_i(g->f, e, below(g, kir_elems[e].bits));
	if (op == KIR_OP_fdiv || op == KIR_OP_mod)
		src[1] = kir_const_i(g->f, e, 1 + below(g, 120));
	put(g, emit(g, op, e, lanes, src, operands(op), NULL), e, lanes, false);
}

static void compare_op(gen *g)
{
	kir_op op = (kir_op)(KIR_OP_lt + below(g, 6));
	kir_elem e = below(g, 2) ? KIR_f32 : random_int(g);
	int lanes = random_lanes(g);
	kir_ref src[2] = { pick(g, e, lanes, false).ref, operand(g, e, lanes, false).ref };

	put(g, emit(g, op, KIR_i1, lanes, src, 2, NULL), KIR_i1, lanes, false);
}

static void select_op(gen *g)
{
	kir_elem e = elems[below(g, NELEMS)];
	int lanes = random_lanes(g);
	value c = pick(g, KIR_i1, lanes, false), x = pick(g, e, lanes, false),
	      y = pick(g, e, lanes, false);
	kir_ref src[3] = { c.ref, x.ref, y.ref };

	put(g, emit(g, KIR_OP_select, e, lanes, src, 3, NULL), e, lanes, x.loose || y.loose);
}

static void convert_op(gen *g)
{
	kir_elem from = elems[below(g, NELEMS)], to = elems[below(g, NELEMS)];
	int lanes = random_lanes(g);
	value x = pick(g, from, lanes, false);
	int64_t attr[4] = { 0 };

	if (from == KIR_f32 && to == KIR_bf16 && !x.loose)
		attr[3] = below(g, 2);
	if (!kir_is_float(to) && kir_is_float(from))
		attr[0] = below(g, 3);
	if (kir_is_float(to) && kir_elem_bytes(to) == 1)
		attr[2] = below(g, 2);
	if (from == to || (from == KIR_s64 && kir_is_float(to) && to != KIR_f32))
		return;
	put(g, emit(g, KIR_OP_convert, to, lanes, &x.ref, 1, attr), to, lanes,
	    kir_is_float(to) && (x.loose || !x.small));
}

static void lanes_op(gen *g)
{
	kir_elem e = elems[below(g, NELEMS)];
	static const kir_op ops[] = { KIR_OP_zip_lo,   KIR_OP_zip_hi,  KIR_OP_unzip_lo,
		                      KIR_OP_unzip_hi, KIR_OP_half_lo, KIR_OP_half_hi,
		                      KIR_OP_join,     KIR_OP_splat };
	kir_op op = ops[below(g, 8)];
	int lanes = 8 << below(g, 4), out = lanes;
	value x = pick(g, e,
	               op == KIR_OP_splat  ? 0
	               : op == KIR_OP_join ? lanes / 2
	                                   : lanes,
	               false),
	      y = x;
	kir_ref src[2];

	if (op != KIR_OP_splat)
		y = pick(g, e, x.lanes, false);
	int64_t within[KIR_MAX_ATTRS] = { 0 };

	src[0] = x.ref;
	src[1] = y.ref;
	if (op == KIR_OP_half_lo || op == KIR_OP_half_hi)
		out = lanes / 2;
	if (op == KIR_OP_zip_lo || op == KIR_OP_zip_hi || op == KIR_OP_unzip_lo ||
	    op == KIR_OP_unzip_hi)
		within[0] = below(g, 2) ? 2 << below(g, 3) : 0;
	put(g,
	    emit(g, op, e, out, src,
	         op == KIR_OP_splat || op == KIR_OP_half_lo || op == KIR_OP_half_hi ? 1 : 2,
	         within),
	    e, out, x.loose || y.loose);
}

/* Only bits that all agree on are looked at. */
static void bitcast_op(gen *g)
{
	static const kir_elem pair[][2] = { { KIR_f32, KIR_s32 },   { KIR_s32, KIR_f32 },
		                            { KIR_bf16, KIR_s16 },  { KIR_s8, KIR_u8 },
		                            { KIR_u8, KIR_e4m3fn }, { KIR_e5m2, KIR_s8 },
		                            { KIR_s16, KIR_f16 } };
	const kir_elem *p = pair[below(g, 7)];
	int lanes = random_lanes(g);
	value x = pick(g, p[0], lanes, true);

	put(g, emit(g, KIR_OP_bitcast, p[1], lanes, &x.ref, 1, NULL), p[1], lanes,
	    kir_is_float(p[1]));
}

static void near_op(gen *g)
{
	int how = below(g, 5), lanes = random_lanes(g);
	int64_t axis = 0;
	value x;

	for (int k = 0; k < 8; k++) {
		x = pick(g, KIR_f32, lanes, false);
		if (x.small)
			break;
	}
	if (!x.small)
		x = *load(g, KIR_f32, lanes);
	if (how < 3)
		store_near(g,
		           emit(g,
		                how == 0   ? KIR_OP_exp2
		                : how == 1 ? KIR_OP_tanh
		                           : KIR_OP_log2,
		                KIR_f32, lanes, &x.ref, 1, NULL),
		           lanes);
	else if (lanes)
		store_near(g, emit(g, KIR_OP_reduce_add, KIR_f32, 0, &x.ref, 1, &axis), 0);
}

static void reduce_op(gen *g)
{
	static const kir_op ops[] = { KIR_OP_reduce_add, KIR_OP_reduce_max, KIR_OP_reduce_min,
		                      KIR_OP_reduce_amax };
	kir_op op = ops[below(g, 4)];
	kir_elem e = op == KIR_OP_reduce_add || below(g, 2) ? KIR_s32 : KIR_f32;
	value x = pick(g, e, 4 << below(g, 5), false);
	int64_t axis = 0;

	put(g, emit(g, op, e, 0, &x.ref, 1, &axis), e, 0, kir_is_float(e));
}

static void product_op(gen *g)
{
	int lanes = 16, x86 = (g->features & KIR_HAS_vnni) && below(g, 2);
	kir_elem a = x86 || below(g, 2) ? KIR_u8 : KIR_s8;
	kir_ref src[3] = { pick(g, KIR_s32, lanes, false).ref, pick(g, a, 4 * lanes, false).ref,
		           pick(g, KIR_s8, 4 * lanes, false).ref };

	put(g, emit(g, x86 ? KIR_OP_x86_dpbusd : KIR_OP_dp, KIR_s32, lanes, src, 3, NULL),
	    KIR_s32, lanes, false);
}

static void local_op(gen *g)
{
	int lanes = 8 << below(g, 3);
	int64_t n = 128;
	kir_elem e = elems[below(g, NELEMS)];
	kir_ref l = kir_emit(g->f, KIR_OP_local, kir_buffer(g->m, e, 1, &n), NULL, 0, NULL);
	value x = pick(g, e, lanes, false), y = pick(g, e, lanes, false);

	kir_emit(g->f, KIR_OP_vstore, KIR_NO_TYPE, (kir_ref[]){ x.ref, l, s64(g, 8) }, 3, NULL);
	kir_emit(g->f, KIR_OP_vstore, KIR_NO_TYPE, (kir_ref[]){ y.ref, l, s64(g, 8 + lanes) },
	         3, NULL);
	if (below(g, 2)) /* others live at the same time */
		local_op(g);
	put(g,
	    emit(g, KIR_OP_vload, e, lanes, (kir_ref[]){ l, s64(g, 8 + below(g, lanes)) }, 2,
	         NULL),
	    e, lanes, x.loose || y.loose);
}

/* Declares three tiles that make a product. */
static void declare_tiles(gen *g)
{
	g->rows = 1 + below(g, KIR_AMX_ROWS);
	g->bytes = 4 * (1 + below(g, KIR_AMX_BYTES / 4));
	g->cols = 1 + below(g, KIR_AMX_BYTES / 4);
	const int64_t shape[3][3] = { { 0, g->rows, g->cols * 4 },
		                      { 1, g->rows, g->bytes },
		                      { 2, g->bytes / 4, g->cols * 4 } };

	for (int i = 0; i < 3; i++)
		kir_emit(g->f, KIR_OP_amx_tile, KIR_NO_TYPE, NULL, 0,
		         (int64_t[KIR_MAX_ATTRS]){ shape[i][0], shape[i][1], shape[i][2] });
}

/* Tile t from anywhere in the input of e that holds all of its rows. */
static void load_tile(gen *g, int64_t t, kir_elem e, int64_t rows, int64_t bytes)
{
	int64_t size = kir_elem_bytes(e), pitch = bytes + below(g, (int)(65 - bytes));
	int64_t room = ELEMS * size - (rows - 1) * pitch - bytes;
	kir_ref src[2] = { param(g, "in_", e), s64(g, below(g, (int)(room / size) + 1)) };

	kir_emit(g->f, KIR_OP_amx_load, KIR_NO_TYPE, src, 2,
	         (int64_t[KIR_MAX_ATTRS]){ t, pitch, below(g, 2) ? KIR_HINT_t1 : KIR_HINT_t0 });
}

/* One or two products into a sum that begins with 0, with an input, or goes on; its rows then
 * lie in a local. */
static void tile_op(gen *g)
{
	static const struct {
		kir_op op;
		kir_elem a, b, sum;
	} kinds[] = { { KIR_OP_amx_dpbssd, KIR_s8, KIR_s8, KIR_s32 },
		      { KIR_OP_amx_dpbsud, KIR_s8, KIR_u8, KIR_s32 },
		      { KIR_OP_amx_dpbusd, KIR_u8, KIR_s8, KIR_s32 },
		      { KIR_OP_amx_dpbuud, KIR_u8, KIR_u8, KIR_s32 },
		      { KIR_OP_amx_dpbf16ps, KIR_bf16, KIR_bf16, KIR_f32 } };
	int k = below(g, 5), begin = below(g, g->sum && k < 4 ? 3 : 2);
	int64_t dim[2] = { KIR_AMX_ROWS, KIR_AMX_BYTES / 4 };

	if (!(g->features & KIR_HAS_amx_tile))
		return;
	if (begin == 0)
		kir_emit(g->f, KIR_OP_amx_zero, KIR_NO_TYPE, NULL, 0,
		         (int64_t[KIR_MAX_ATTRS]){ 0 });
	else if (begin == 1)
		load_tile(g, 0, kinds[k].sum, g->rows, g->cols * 4);
	for (int i = below(g, 2); i < 2; i++) {
		load_tile(g, 1, kinds[k].a, g->rows, g->bytes);
		load_tile(g, 2, kinds[k].b, g->bytes / 4, g->cols * 4);
		kir_emit(g->f, kinds[k].op, KIR_NO_TYPE, NULL, 0,
		         (int64_t[KIR_MAX_ATTRS]){ 0, 1, 2 });
	}
	/* bits of any sum are integers; those of floats go on only as floats */
	g->sum = k < 4 && (g->sum || g->depth == 1);
	kir_ref l =
	    kir_emit(g->f, KIR_OP_local, kir_buffer(g->m, kinds[k].sum, 2, dim), NULL, 0, NULL);

	kir_emit(g->f, KIR_OP_amx_store, KIR_NO_TYPE, (kir_ref[]){ l, s64(g, 0), s64(g, 0) }, 3,
	         (int64_t[KIR_MAX_ATTRS]){ 0, KIR_AMX_BYTES });
	int lanes = g->cols >= 8 ? 8 : g->cols >= 4 ? 4 : 0;
	kir_ref at[3] = { l, s64(g, below(g, (int)g->rows)),
		          s64(g, below(g, (int)g->cols - (lanes ? lanes - 1 : 0))) };

	put(g, emit(g, lanes ? KIR_OP_vload : KIR_OP_load, kinds[k].sum, lanes, at, 3, NULL),
	    kinds[k].sum, lanes, k == 4);
}

/* -- regions ---------------------------------------------------------------------- */

static void body(gen *g, int ops);

static void loop(gen *g)
{
	int lanes = random_lanes(g), keep;
	value x = pick(g, KIR_f32, lanes, false), y = pick(g, KIR_s32, lanes, false);
	kir_ref init[2] = { x.ref, y.ref }, end[2], res, l;
	int64_t lo, hi, step;

	lo = below(g, 2);
	hi = below(g, 5);
	step = 1 + below(g, 2);
	if (below(g, 8) == 0) { /* up to three iterations from one end of s64 to the other */
		lo = INT64_MIN + lo;
		step += INT64_MAX / 3;
		hi = (int64_t)((uint64_t)lo + (uint64_t)hi % 4 * (uint64_t)step);
	}
	l = kir_for(g->f, s64(g, lo), s64(g, hi), step, false, init, 2);
	keep = g->npool;
	put(g, l + 1, KIR_s64, 0, false);
	put(g, l + 2, KIR_f32, lanes, true);
	put(g, l + 3, KIR_s32, lanes, false);
	body(g, 4 + below(g, 6));
	end[0] = pick(g, KIR_f32, lanes, false).ref;
	end[1] = pick(g, KIR_s32, lanes, false).ref;
	res = kir_for_end(g->f, l, end, 2);
	g->npool = keep;
	put(g, res, KIR_f32, lanes, true);
	put(g, res + 1, KIR_s32, lanes, false);
}

static void branch(gen *g)
{
	kir_elem e = elems[below(g, NELEMS)];
	int lanes = random_lanes(g), keep = g->npool;
	kir_ref c = kir_if(g->f, pick(g, KIR_i1, 0, false).ref), end;

	keep = g->npool < keep ? g->npool : keep;
	body(g, 2 + below(g, 5));
	end = pick(g, e, lanes, false).ref;
	kir_else(g->f, &end, 1);
	g->npool = keep;
	body(g, below(g, 5));
	end = pick(g, e, lanes, false).ref;
	end = kir_if_end(g->f, c, &end, 1);
	g->npool = keep;
	put(g, end, e, lanes, true);
}

static void one_op(gen *g)
{
	static void (*const ops[])(
	    gen *) = { float_op,  float_op,   float_op,   int_op,   int_op,   compare_op,
		       select_op, convert_op, convert_op, lanes_op, lanes_op, bitcast_op,
		       near_op,   reduce_op,  product_op, local_op, tile_op };

	ops[below(g, sizeof ops / sizeof ops[0])](g);
}

static void body(gen *g, int ops)
{
	g->depth++;
	for (int i = 0; i < ops; i++) {
		int how = below(g, 16);
		/* regions forget what they made, which a full pool can't */
		if (g->depth < 3 && how < 2 && g->npool < POOL - 60)
			how ? loop(g) : branch(g);
		else
			one_op(g);
	}
	for (int i = 0; i < 3 && g->npool; i++)
		store(g, g->pool[below(g, g->npool)]);
	g->depth--;
}

kir_func *support_program(kir_module *m, const kir_target *t, uint64_t seed)
{
	gen made = { .state = seed }, *g = &made;
	int64_t n = ELEMS;
	kir_ref l;

	g->m = m;
	g->f = kir_func_new(m, "fuzz", KIR_V);
	g->f->target = t;
	g->features = t->features;
	for (int k = 0; k < 2; k++)
		for (int i = 0; i < NELEMS; i++) {
			char name[32];
			snprintf(name, sizeof name, "%s%s", k ? "out_" : "in_",
			         kir_elems[elems[i]].name);
			kir_add_param(g->f, name, kir_buffer(m, elems[i], 1, &n),
			              k ? KIR_INOUT : KIR_IN);
		}
	kir_add_param(g->f, "near", kir_buffer(m, KIR_f32, 1, &n), KIR_INOUT);
	if (t->features & KIR_HAS_amx_tile)
		declare_tiles(g);
	l = kir_for(g->f, s64(g, 0), s64(g, 2), 1, true, NULL, 0);
	g->base = emit(g, KIR_OP_mul, KIR_s64, 0, (kir_ref[]){ l + 1, s64(g, 512) }, 2, NULL);
	put(g, l + 1, KIR_s64, 0, false);
	body(g, 12 + below(g, 20));
	kir_for_end(g->f, l, NULL, 0);
	kir_ret(g->f);
	return g->f;
}
