/* SPDX-License-Identifier: Apache-2.0 */
/* problem_region.c -- the two regions of attention, from a problem's fields.
 *
 * The score is capped, biased and handed to score= in this order; the mask is the conjunction
 * of causal, window, chunk and mask=. Where there are two caches a region's positions are
 * places in one of them, and become positions in both together first.
 */
#include "internal.h"
#include "problem_priv.h"

typedef struct place {
	kir_ref s, b, h, i, j; /* s: 0 in the mask */
} place;

static kir_ref arg(expansion *x, const char *name, kir_elem e, int64_t index)
{
	kir_ref n = kir_emit(x->f, KIR_OP_arg, kir_scalar(x->m, e), NULL, 0,
	                     (int64_t[KIR_MAX_ATTRS]){ index });

	x->f->node[n].name = name;
	return n;
}

static place region_args(expansion *x, bool score)
{
	place r = { 0 };
	int k = 0;

	if (score)
		r.s = arg(x, "s", KIR_f32, k++);
	r.b = arg(x, "b", KIR_s64, k++);
	r.h = arg(x, "h", KIR_s64, k++);
	r.i = arg(x, "i", KIR_s64, k++);
	r.j = arg(x, "j", KIR_s64, k++);
	return r;
}

static kir_ref op(expansion *x, const char *name, kir_op o, kir_elem e, kir_ref a, kir_ref b)
{
	kir_ref src[2] = { a, b };
	kir_ref n = kir_emit(x->f, o, kir_scalar(x->m, e), src, b ? 2 : 1, NULL);

	x->f->node[n].name = name;
	return n;
}

static kir_ref f32c(expansion *x, double v)
{
	return kir_const_f(x->f, KIR_f32, v);
}

static kir_ref s64c(expansion *x, int64_t v)
{
	return kir_const_i(x->f, KIR_s64, v);
}

/* p plus what the list of lengths says of the region's sequence. */
static kir_ref past_cache(expansion *x, kir_ref lens, kir_ref b, kir_ref p)
{
	kir_ref n = kir_emit(x->f, KIR_OP_load, kir_scalar(x->m, KIR_s32),
	                     (kir_ref[]){ lens, b }, 2, NULL);

	return op(x, NULL, KIR_OP_add, KIR_s64, p, op(x, NULL, KIR_OP_convert, KIR_s64, n, 0));
}

/* Element b, or b + 1, of a list, as s64. */
static kir_ref of_seq(expansion *x, kir_ref list, const place *r, bool next)
{
	kir_ref at = next ? op(x, NULL, KIR_OP_add, KIR_s64, r->b, s64c(x, 1)) : r->b;
	kir_ref n = kir_emit(x->f, KIR_OP_load, kir_scalar(x->m, KIR_s32),
	                     (kir_ref[]){ list, at }, 2, NULL);

	return op(x, NULL, KIR_OP_convert, KIR_s64, n, 0);
}

/* The tokens that the sequence had before this step, of r's positions in both caches. */
static kir_ref past(expansion *x, const place *r)
{
	kir_ref starts = x->operand[kir_operand_index(x->op, "starts")];
	kir_ref len = of_seq(x, x->operand[kir_operand_index(x->op, "lens")], r, false);
	kir_ref n = of_seq(x, starts, r, true);

	n = op(x, "new", KIR_OP_sub, KIR_s64, n, of_seq(x, starts, r, false));
	if (x->beside)
		len = op(x, NULL, KIR_OP_add, KIR_s64, len, of_seq(x, x->beside, r, false));
	return op(x, "past", KIR_OP_sub, KIR_s64, len, n);
}

typedef struct lazy_place {
	expansion *x;
	const place *r;
	kir_ref made[EXPR_NLAZY];
} lazy_place;

/* The forms that kir_region_index knows. */
static kir_ref make_lazy(void *ctx, expr_lazy which)
{
	lazy_place *l = ctx;
	expansion *x = l->x;
	kir_ref *n = &l->made[which], before;

	if (*n)
		return *n;
	before = which == EXPR_past ? 0 : make_lazy(ctx, EXPR_past);
	switch (which) {
	case EXPR_row:
		before = make_lazy(ctx, EXPR_nq);
		*n = of_seq(x, x->operand[kir_operand_index(x->op, "starts")], l->r, false);
		return *n = op(x, "row", KIR_OP_add, KIR_s64, *n, before);
	case EXPR_nq: return *n = op(x, "nq", KIR_OP_sub, KIR_s64, l->r->i, before);
	case EXPR_nk:
		*n = op(x, NULL, KIR_OP_min, KIR_s64, l->r->j, before);
		return *n = op(x, "nk", KIR_OP_sub, KIR_s64, l->r->j, *n);
	default: return *n = past(x, l->r);
	}
}

/* From places in one of two caches to positions in both. */
static void to_positions(expansion *x, place *r)
{
	if (x->beside)
		r->i = past_cache(x, x->beside, r->b, r->i);
	if (x->before)
		r->j = past_cache(x, x->before, r->b, r->j);
}

static kir_ref infix(expansion *x, const char *field, const char *text, const place *r,
                     kir_elem type)
{
	lazy_place later = { x, r, { 0 } };
	expr_env env = { .f = x->f,
		         .lazy = make_lazy,
		         .ctx = &later,
		         .field = field,
		         .line = 1,
		         .col = 1,
		         .d = x->d };
	const struct {
		const char *name;
		kir_ref ref;
	} names[] = {
		{ "b", r->b }, { "h", r->h }, { "q", r->i }, { "k", r->j }, { "s", r->s }
	};

	for (int k = 0; k < 5; k++) {
		if (!names[k].ref)
			continue;
		env.name[env.nname].name = names[k].name;
		env.name[env.nname++].ref = names[k].ref;
	}
	for (unsigned k = 0; k < x->p->nwith; k++) {
		env.name[env.nname].name = x->p->with[k].name;
		env.name[env.nname].bits = x->p->with[k].bits;
		env.name[env.nname++].ref = x->with[k];
	}
	kir_ref n = expr_build(&env, text, type);

	x->failed = x->failed || !n;
	return n;
}

/* slope[h] times how far the key lies from the query, or minus the root of that. */
static kir_ref alibi(expansion *x, const place *r, kir_ref s)
{
	kir_ref slope = kir_emit(x->f, KIR_OP_load, kir_scalar(x->m, KIR_f32),
	                         (kir_ref[]){ x->alibi, r->h }, 2, NULL);
	kir_ref d;

	x->f->node[slope].name = "slope";
	if (x->p->alibi == 1) {
		d = op(x, "distance", KIR_OP_convert, KIR_f32,
		       op(x, NULL, KIR_OP_sub, KIR_s64, r->j, r->i), 0);
	} else {
		d = op(x, "behind", KIR_OP_max, KIR_s64,
		       op(x, NULL, KIR_OP_sub, KIR_s64, r->i, r->j), s64c(x, 0));
		d = op(x, NULL, KIR_OP_sqrt, KIR_f32,
		       op(x, NULL, KIR_OP_convert, KIR_f32, d, 0), 0);
		d = op(x, "distance", KIR_OP_neg, KIR_f32, d, 0);
	}
	return op(x, NULL, KIR_OP_add, KIR_f32, s,
	          op(x, "bias", KIR_OP_mul, KIR_f32, slope, d));
}

void problem_score(expansion *x)
{
	place r = region_args(x, true);
	kir_ref s = r.s;

	if (x->p->alibi || x->p->score)
		to_positions(x, &r);
	if (x->p->softcap > 0) {
		kir_ref cap = f32c(x, x->p->softcap);

		s = op(x, NULL, KIR_OP_tanh, KIR_f32, op(x, NULL, KIR_OP_div, KIR_f32, s, cap),
		       0);
		s = op(x, "capped", KIR_OP_mul, KIR_f32, s, cap);
	}
	if (x->p->alibi)
		s = alibi(x, &r, s);
	r.s = s;
	if (x->p->score)
		s = infix(x, "score", x->p->score, &r, KIR_f32);
	kir_emit(x->f, KIR_OP_yield, KIR_NO_TYPE, &s, s != 0, NULL);
}

static void also(expansion *x, kir_ref *mask, kir_ref cond)
{
	*mask = *mask && cond ? op(x, NULL, KIR_OP_and, KIR_i1, *mask, cond) : cond;
}

void problem_mask(expansion *x)
{
	const kir_problem *p = x->p;
	place r = region_args(x, false);
	kir_ref mask = 0, c;

	if (p->causal || p->window || p->chunk || p->mask)
		to_positions(x, &r);
	if (p->causal)
		mask = op(x, "past", KIR_OP_le, KIR_i1, r.j, r.i);
	if (p->causal == 2) {
		c = kir_emit(x->f, KIR_OP_load, kir_scalar(x->m, KIR_s32),
		             (kir_ref[]){ x->causal, r.b }, 2, NULL);
		c = op(x, "both_ways", KIR_OP_eq, KIR_i1, c, kir_const_i(x->f, KIR_s32, 0));
		mask = op(x, NULL, KIR_OP_or, KIR_i1, c, mask);
	}
	if (p->window) {
		c = op(x, "back", KIR_OP_sub, KIR_s64, r.i, r.j);
		if (p->causal != 1)
			c = op(x, "apart", KIR_OP_abs, KIR_s64, c, 0);
		also(x, &mask, op(x, "near", KIR_OP_lt, KIR_i1, c, s64c(x, p->window)));
	}
	if (p->chunk) {
		kir_ref qc = op(x, "query_chunk", KIR_OP_fdiv, KIR_s64, r.i, s64c(x, p->chunk));
		kir_ref kc = op(x, "key_chunk", KIR_OP_fdiv, KIR_s64, r.j, s64c(x, p->chunk));

		also(x, &mask, op(x, "same_chunk", KIR_OP_eq, KIR_i1, qc, kc));
	}
	if (p->mask)
		also(x, &mask, infix(x, "mask", p->mask, &r, KIR_i1));
	if (!mask && !p->mask)
		mask = kir_const_i(x->f, KIR_i1, 1);
	kir_emit(x->f, KIR_OP_yield, KIR_NO_TYPE, &mask, mask != 0, NULL);
}
