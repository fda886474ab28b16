/* SPDX-License-Identifier: Apache-2.0 */
/* problem_gemm.c -- products and the packing of their weights as level-A functions.
 *
 * Rows that the product quantizes itself are a `quantize` in front of the `gemm`: codes and
 * scales are parameters, written by the one and read by the other.
 */
#include "internal.h"
#include "problem_priv.h"
#include "format_priv.h"

/* The same memory as another type of the same strides. */
static kir_ref seen_as(expansion *x, kir_ref buffer, const kir_type *t)
{
	return kir_emit(x->f, KIR_OP_view, kir_type_intern(x->m, t), &buffer, 1, NULL);
}

enum { PACK = 64 }; /* columns of a product that packed weights put side by side */

/* What the buffers of codes are of, and how many items a row of n codes has. */
static kir_elem item_of(const kir_side *s)
{
	return s->bits == 4 ? KIR_u8 : s->elem;
}

static int64_t items(const kir_side *s, int64_t n)
{
	return n / kir_side_per(s);
}

static int64_t round_up(int64_t n, int64_t step)
{
	return (n + step - 1) / step * step;
}

/* Weights [outputs, row] as pack leaves them: for each PACK outputs the words of 4 bytes
 * along the contraction, each for all the outputs; filled up with zeros. */
static kir_ref packed_param(expansion *x, const char *name, kir_elem e, int64_t row,
                            kir_dir dir)
{
	int64_t unit = 4 / kir_elem_bytes(e), deep = round_up(row, unit);
	int64_t dim[] = { round_up(x->p->dim_v, PACK) / PACK, deep / unit, PACK, unit };

	return problem_param(x, name, kir_buffer(x->m, e, 4, dim), dir);
}

/* That as [outputs, row] of element e. */
static kir_ref packed_view(expansion *x, kir_ref buffer, kir_elem e, int64_t row)
{
	int64_t size = kir_elem_bytes(e), unit = 4 / size;
	int64_t deep = round_up(row, unit);
	kir_type t = { .elem = (uint8_t)e,
		       .rank = 2,
		       .buffer = true,
		       .npieces = 4,
		       .dim = { round_up(x->p->dim_v, PACK), deep } };

	t.piece[0] = (kir_piece){ .axis = 0, .div = PACK, .stride = PACK * deep * size };
	t.piece[1] = (kir_piece){ .axis = 1, .div = (int32_t)unit, .stride = PACK * 4 };
	t.piece[2] = (kir_piece){ .axis = 0, .div = 1, .mod = PACK, .stride = 4 };
	t.piece[3] = (kir_piece){ .axis = 1, .div = 1, .mod = (int32_t)unit, .stride = size };
	return seen_as(x, buffer, &t);
}

/* How many scales a row of the contraction has under side s. */
static int64_t scales_of(const expansion *x, const kir_side *s)
{
	return s->group ? (x->p->dim_k + s->group - 1) / s->group : 1;
}

static bool check_side(expansion *x, const char *field, const kir_side *s)
{
	if (!s->range && !s->rotate && !s->mean &&
	    (s->gran == KIR_GRAN_none || s->gran == KIR_GRAN_token_head ||
	     s->gran == KIR_GRAN_group))
		return true;
	kir_error(x->d, 0, 0,
	          "%s=: a product's scales are of rows or of groups along the contraction: the "
	          "format says scale none, token-head or group N, with no zero points, mean or "
	          "rotation",
	          field);
	x->failed = true;
	return false;
}

/* Codes of 4 bits come in words of 8, and in whole runs of their packing; so must the rows and
 * what shares a scale. */
static bool check_runs(expansion *x, const char *field, const kir_side *s,
                       const kir_side *other)
{
	int64_t unit = s->pack > 4 ? 2 * s->pack : 8;

	if (s->bits != 4 ||
	    (x->p->dim_k % unit == 0 && s->group % unit == 0 && other->group % unit == 0))
		return true;
	kir_error(x->d, 0, 0,
	          "%s=: codes of 4 bits lie two a byte: dim=%lld and the scales' "
	          "groups must be multiples of %lld elements",
	          field, (long long)x->p->dim_k, (long long)unit);
	x->failed = true;
	return false;
}

static int64_t index_of(const expansion *x, const kir_format *f)
{
	int64_t i = 0;

	while (i < (int64_t)x->m->nformat && x->m->format[i] != f)
		i++;
	return i;
}

/* The attribute of a factor: its format, if codes lie two a byte. */
static int64_t named(const expansion *x, const kir_format *f)
{
	return f->side[0].bits == 4 ? index_of(x, f) : -1;
}

/* The rows a product quantizes itself: codes and scales are left with the caller. */
static void quantize_first(expansion *x, const kir_format *rule, kir_ref in, kir_ref a,
                           kir_ref as)
{
	const kir_side *s = &rule->side[0];
	int64_t k = x->p->dim_k, n = scales_of(x, s);
	kir_type xt = *kir_type_of(x->f, in), at = *kir_type_of(x->f, a),
	         st = *kir_type_of(x->f, as);
	kir_ref op[KIR_MAX_SRC] = { 0 };
	kir_slot slot[KIR_MAX_ROW];
	int64_t attr[KIR_MAX_ATTRS] = { 0 };

	if (k % (s->group ? s->group : k)) {
		kir_error(
		    x->d, 0, 0,
		    "acts=%s: a group of %d doesn't divide dim=%lld, so in= can't quantize",
		    rule->name, s->group, (long long)k);
		x->failed = true;
		return;
	}
	xt.rank = at.rank = 3;
	xt.dim[1] = at.dim[1] = 1;
	xt.dim[2] = k;
	at.dim[2] = items(s, k);
	xt.piece[1].axis = at.piece[1].axis = 2;
	st.rank = s->group ? 3 : 2;
	if (s->group) {
		st.dim[1] = 1;
		st.dim[2] = n;
		st.piece[1].axis = 2;
	}
	attr[0] = index_of(x, rule);
	op[kir_operand_index(KIR_OP_quantize, "x")] = seen_as(x, in, &xt);
	op[kir_operand_index(KIR_OP_quantize, "q")] = seen_as(x, a, &at);
	op[kir_operand_index(KIR_OP_quantize, "s")] = seen_as(x, as, &st);
	op[kir_operand_index(KIR_OP_quantize, "n")] = x->operand[kir_operand_index(x->op, "n")];
	kir_emit(x->f, KIR_OP_quantize, KIR_NO_TYPE, op, kir_row(KIR_OP_quantize, slot), attr);
}

void problem_gemm(expansion *x)
{
	const kir_problem *p = x->p;
	const kir_format *acts = kir_format_get(x->m, p->k_format, x->d);
	const kir_format *weights = kir_format_get(x->m, p->v_format, x->d);
	const kir_side *a = &acts->side[0], *w = &weights->side[0];
	int64_t k = p->dim_k, n = p->dim_v, block = p->block ? p->block : 1;
	kir_dir dir = p->fused ? KIR_INOUT : KIR_IN;
	kir_ref in = 0, codes, scales = 0, packed = 0;
	kir_slot slot[KIR_MAX_ROW];

	if (!check_side(x, "acts", a) || !check_side(x, "weights", w) ||
	    !check_runs(x, "acts", a, w) || !check_runs(x, "weights", w, a))
		return;
	if (p->fused && !format_stored(a)) {
		problem_refuse(
		    x, "in= is about rows that are quantized, and acts= computes no scales");
		return;
	}
	if (p->fused)
		in = problem_param(
		    x, "x", problem_strided(x, p->q, 1, 2, (int64_t[]){ KIR_DYN, k }), KIR_IN);
	codes = problem_operand(
	    x, "a", problem_strided(x, item_of(a), 1, 2, (int64_t[]){ KIR_DYN, items(a, k) }),
	    dir);
	if (format_stored(a))
		scales =
		    problem_operand(x, "as",
		                    problem_strided(x, a->scale_elem, 2, 2,
		                                    (int64_t[]){ KIR_DYN, scales_of(x, a) }),
		                    dir);
	if (p->packed)
		packed = packed_param(x, "w", item_of(w), items(w, k), KIR_IN);
	else
		problem_operand(
		    x, "w", problem_strided(x, item_of(w), 1, 2, (int64_t[]){ n, items(w, k) }),
		    KIR_IN);
	if (format_stored(w))
		problem_operand(
		    x, "ws",
		    kir_buffer(x->m, w->scale_elem, 2,
		               (int64_t[]){ (n + block - 1) / block, scales_of(x, w) }),
		    KIR_IN);
	problem_operand(x, "c", problem_strided(x, p->out, 1, 2, (int64_t[]){ KIR_DYN, n }),
	                KIR_OUT);
	problem_scalar(x, "n", KIR_s64);
	if (p->fused)
		quantize_first(x, acts, in, codes, scales);
	if (p->packed)
		x->operand[kir_operand_index(x->op, "w")] =
		    packed_view(x, packed, item_of(w), items(w, k));
	kir_emit(x->f, x->op, KIR_NO_TYPE, x->operand, kir_row(x->op, slot),
	         (int64_t[KIR_MAX_ATTRS]){ a->group, w->group, block, named(x, acts),
	                                   named(x, weights) });
}

/* Codes are copied as bits. */
void problem_pack(expansion *x)
{
	const kir_side *w = &kir_format_get(x->m, x->p->v_format, x->d)->side[0];
	static const kir_elem bits[] = { KIR_VOID, KIR_u8, KIR_u16, KIR_VOID, KIR_s32 };
	kir_elem own = item_of(w), e = bits[kir_elem_bytes(own)];
	int64_t row = items(w, x->p->dim_k);
	kir_slot slot[KIR_MAX_ROW];
	kir_type t;

	if (!check_runs(x, "weights", w, w))
		return;
	kir_ref from = problem_param(
	    x, "x", problem_strided(x, own, 1, 2, (int64_t[]){ x->p->dim_v, row }), KIR_IN);
	kir_ref to = packed_param(x, "y", own, row, KIR_OUT);

	t = *kir_type_of(x->f, from);
	t.elem = (uint8_t)e;
	x->operand[kir_operand_index(x->op, "x")] = seen_as(x, from, &t);
	x->operand[kir_operand_index(x->op, "y")] = packed_view(x, to, e, row);
	kir_emit(x->f, x->op, KIR_NO_TYPE, x->operand, kir_row(x->op, slot), NULL);
}
