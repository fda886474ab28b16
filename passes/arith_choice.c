/* SPDX-License-Identifier: Apache-2.0 */
/* arith_choice.c -- which arithmetic a product takes: what knobs qk and pv name, if it can, and
 * what auto is.
 *
 * auto, for queries that came from bf16 or fewer bits: s8 codes take int8 where the target has
 * vnni or tiles (int8x2 where both digits fit one tile); other codes of at most 8 bits, and
 * bf16, take bf16 where the target has tiles, or bf16 but not fp16. For finer queries, and
 * those times a scale for each element (fold_scales.c), s8 codes take int8x2. All else f32.
 * Default schedules say pv=bf16 for s8 values of a prefill in tiles (kpass_values_in_bf16).
 * Matrix engines of sub-groups take f16 for all but s8 scores (int8, int8x2) and bf16 caches
 * (bf16); f32 queries stay in f32.
 */
#include "analysis.h"
#include "arith.h"

kir_ref arith_before_convert(const kir_func *f, kir_ref x)
{
	return is_plain_convert(f, x) && kir_type_of(f, x)->elem == KIR_f32 ? kir_src(f, x, 0)
	                                                                    : x;
}

bool arith_exact_in_bf16(kir_elem e)
{
	return e == KIR_bf16 || (kir_elems[e].bits <= 8 && e != KIR_e8m0 && e != KIR_i1);
}

kir_ref arith_stored_factor(const kir_func *f, kir_ref n)
{
	kir_ref b = arith_before_convert(f, kir_src(f, n, 1));

	kir_ref l = f->node[b].op == KIR_OP_unpack ? kir_src(f, b, 0) : b;

	return f->node[l].op == KIR_OP_load && kir_type_of(f, kir_src(f, n, 0))->elem == KIR_f32
	           ? b
	           : 0;
}

/* The same of codes of type e that lie two a byte, or one. */
static int shift_of(kir_elem e, bool two)
{
	if (two)
		return e == KIR_s8       ? 4
		       : e == KIR_u8     ? 0
		       : kir_is_float(e) ? kir_elems[e].bias + kir_elems[e].man - 1
		                         : -1;
	return e == KIR_s8 ? 0 : -1;
}

int arith_shift_of(const kir_func *f, kir_ref b)
{
	return shift_of((kir_elem)kir_type_of(f, b)->elem, f->node[b].op == KIR_OP_unpack);
}

bool arith_is_scale(const kir_func *f, kir_ref s)
{
	/* without the bits that hold a zero point */
	while (f->node[s].op == KIR_OP_reshape || f->node[s].op == KIR_OP_slice ||
	       f->node[s].op == KIR_OP_convert || f->node[s].op == KIR_OP_bitcast ||
	       f->node[s].op == KIR_OP_and)
		s = kir_src(f, s, 0);
	return f->node[s].op == KIR_OP_load;
}

bool arith_is_weights(const kir_func *f, kir_ref x)
{
	while (f->node[x].op == KIR_OP_mul && arith_is_scale(f, kir_src(f, x, 1)))
		x = kir_src(f, x, 0);
	return f->node[x].op == KIR_OP_exp2;
}

bool arith_has_tiles(const kir_func *f, unsigned feature)
{
	return f->target->features & feature && f->sched.tiles != KIR_tiles_off;
}

static bool has_int8(const kir_func *f)
{
	return f->target->features & KIR_HAS_vnni || arith_has_tiles(f, KIR_HAS_amx_int8);
}

/* A tile of 16 rows takes as long as one of 4: a second digit that fits in costs nothing. */
static bool digits_are_free(const kir_func *f, kir_ref n)
{
	return arith_has_tiles(f, KIR_HAS_amx_int8) &&
	       kir_type_of(f, n)->dim[0] * 2 <= KIR_AMX_ROWS;
}

bool arith_has_engine(const kir_target *t)
{
	return t->features & KIR_HAS_xmx;
}

bool arith_exact_in_f16(kir_elem e)
{
	return e == KIR_f16 || (kir_elems[e].bits <= 8 && e != KIR_e8m0 && e != KIR_i1);
}

/* The scales, one an element, that queries x are multiplied by before each tile of keys that
 * shares them, 0 if they aren't. */
static kir_ref column_scale(const kir_func *f, kir_ref x)
{
	kir_ref d = f->node[x].op == KIR_OP_mul ? kir_src(f, x, 1) : 0;

	return d && kir_type_of(f, d)->rank == 1 && kir_attr_of(f, x, KIR_ATTR_axis) == 1 &&
	               arith_is_scale(f, d)
	           ? d
	           : 0;
}

kir_elem arith_query_elem(const kir_func *f)
{
	for (kir_ref n = 1; n < f->nnode; n++)
		if (f->node[n].op == KIR_OP_dot && kir_attr_of(f, n, KIR_ATTR_trans) == 1) {
			kir_ref q = kir_src(f, n, 0);

			q = column_scale(f, q) ? kir_src(f, q, 0) : q;
			q = arith_before_convert(
			    f, f->node[q].op == KIR_OP_slice ? kir_src(f, q, 0) : q);
			return (kir_elem)kir_type_of(f, q)->elem;
		}
	return KIR_f32;
}

kir_ref arith_weight_scale(const kir_func *f, kir_ref x)
{
	kir_ref d = f->node[x].op == KIR_OP_mul ? kir_src(f, x, 1) : 0;

	return d && kir_type_of(f, d)->rank == 1 && arith_is_scale(f, d) ? d : 0;
}

static kir_arith choose_engine(const kir_func *f, kir_ref n, kir_elem e, kir_elem q)
{
	bool scores = kir_attr_of(f, n, KIR_ATTR_trans) != 0;
	kir_ref x = kir_src(f, n, 0);

	if (q == KIR_f32 || q == KIR_f64)
		return KIR_ARITH_f32;
	if (e == KIR_s8 && (scores || arith_is_weights(f, x)) &&
	    kir_type_of(f, x)->dim[1] % 32 == 0)
		return arith_exact_in_bf16(q) ? KIR_ARITH_int8 : KIR_ARITH_int8x2;
	if (e == KIR_bf16)
		return arith_exact_in_bf16(q) ? KIR_ARITH_bf16 : KIR_ARITH_f32;
	if (!arith_exact_in_f16(e))
		return KIR_ARITH_f32;
	if (scores || f->node[x].op == KIR_OP_exp2 ||
	    (arith_weight_scale(f, x) && arith_is_weights(f, x) &&
	     f->node[kir_src(f, x, 0)].op == KIR_OP_exp2))
		return KIR_ARITH_f16;
	return arith_exact_in_bf16(e) ? KIR_ARITH_bf16 : KIR_ARITH_f32;
}

bool arith_less_zeros(const kir_func *f, kir_ref n, kir_ref *acc, kir_ref *z)
{
	kir_ref w = kir_src(f, n, 0), sub = kir_src(f, n, 2);
	kir_ref sum = sub && f->node[sub].op == KIR_OP_sub ? kir_src(f, sub, 1) : 0;
	kir_ref mul = sum && f->node[sum].op == KIR_OP_reduce_add ? kir_src(f, sum, 0) : 0;

	if (!mul || f->node[mul].op != KIR_OP_mul || kir_src(f, mul, 0) != w)
		return false;
	*acc = kir_src(f, sub, 0);
	*z = kir_src(f, mul, 1);
	return true;
}

/* Codes with zero points, which only such codes are: unsigned. */
static bool has_zeros(kir_elem e)
{
	return e == KIR_u8;
}

kir_arith arith_choose(const kir_func *f, kir_ref n, kir_elem query)
{
	bool scores = kir_attr_of(f, n, KIR_ATTR_trans) != 0;

	if (kir_attr_of(f, n, KIR_ATTR_trans) > 1) /* who wrote that chose already */
		return KIR_ARITH_f32;
	/* products of queries and scales are as fine as scales are */
	if (scores && column_scale(f, kir_src(f, n, 0)))
		query = KIR_f32;
	bool query_exact = arith_exact_in_bf16(query);
	int knob = scores ? f->sched.qk : f->sched.pv;
	kir_ref b = arith_stored_factor(f, n);
	kir_elem e = b ? (kir_elem)kir_type_of(f, b)->elem : KIR_VOID;
	/* a step takes 4 bytes of the contraction */
	int64_t depth = kir_type_of(f, kir_src(f, n, 0))->dim[1];
	bool bf16 = b && arith_exact_in_bf16(e) && depth % 2 == 0;
	bool int8 = b && arith_shift_of(f, b) >= 0 && depth % 4 == 0 &&
	            !(has_zeros(e) && arith_has_engine(f->target)) &&
	            (scores || arith_is_weights(f, kir_src(f, n, 0)));

	if (b && has_zeros(e) && !scores) {
		kir_ref acc, z;

		if (!arith_less_zeros(f, n, &acc, &z))
			return KIR_ARITH_f32;
	}
	switch (knob) {
	case KIR_ARITH_f32: return KIR_ARITH_f32;
	case KIR_ARITH_bf16: return bf16 ? KIR_ARITH_bf16 : KIR_ARITH_f32;
	case KIR_ARITH_int8:
	case KIR_ARITH_int8x2: return int8 ? (kir_arith)knob : KIR_ARITH_f32;
	default: break;
	}
	if (b && arith_has_engine(f->target) && has_zeros(e))
		return scores ? choose_engine(f, n, e, query) : KIR_ARITH_f32;
	if (b && arith_has_engine(f->target))
		return choose_engine(f, n, e, query);
	if (int8 && has_int8(f))
		return query_exact && !digits_are_free(f, n) ? KIR_ARITH_int8
		                                             : KIR_ARITH_int8x2;
	if (bf16 && e != KIR_s8 && query_exact && kpass_fast_bf16(f))
		return KIR_ARITH_bf16;
	return KIR_ARITH_f32;
}

/* What arith_choose says of level T, of the level above: expand makes an unpack of codes of 4
 * bits, scales by groups of tokens a column of the queries, and rotated queries f32.
 */
bool kpass_one_digit(const kir_func *f, kir_ref n)
{
	int64_t format = kir_attr_of(f, n, KIR_ATTR_format);
	kir_elem q = (kir_elem)kir_type_of(f, kir_operand(f, n, "q"))->elem;
	const int knob[] = { f->sched.qk, f->sched.pv };

	if (format < 0 || format >= (int64_t)f->module->nformat || !arith_exact_in_bf16(q) ||
	    !(f->target->features & KIR_HAS_vnni) || arith_has_engine(f->target))
		return false;
	for (int i = 0; i < 2; i++) {
		const kir_side *s = &f->module->format[format]->side[i];

		if (shift_of(s->elem, s->bits == 4) < 0 || s->gran == KIR_GRAN_tokens ||
		    s->rotate || (knob[i] && knob[i] != KIR_ARITH_int8))
			return false;
	}
	return true;
}

/* As bf16 a weight takes a third of the instructions that it takes as a digit of 8 bits, and
 * those stand beside products, of which there are half more: docs/backend-amx.md, "int8 beside
 * bf16". For one tile of queries alone widening weighs more than both. */
bool kpass_values_in_bf16(const kir_func *f, kir_ref n)
{
	int64_t format = kir_attr_of(f, n, KIR_ATTR_format);
	kir_elem q = (kir_elem)kir_type_of(f, kir_operand(f, n, "q"))->elem;
	const kir_side *v;

	if (format < 0 || format >= (int64_t)f->module->nformat || !kir_operand(f, n, "v") ||
	    !arith_has_tiles(f, KIR_HAS_amx_bf16) || f->sched.widen == KIR_widen_off ||
	    !arith_exact_in_bf16(q))
		return false;
	v = &f->module->format[format]->side[1];
	return v->elem == KIR_s8 && v->bits == 8 && v->gran != KIR_GRAN_tokens &&
	       v->gran != KIR_GRAN_group &&
	       kir_type_of(f, kir_operand(f, n, "v"))->dim[3] % 16 == 0;
}
