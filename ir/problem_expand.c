/* SPDX-License-Identifier: Apache-2.0 */
/* problem_expand.c -- a problem as the level-A function that a person would have written.
 *
 * A parameter has the name of the operand it becomes (table, lens, kd, ...); a cache's tensors
 * have the names the format gives them and are u8, because a page is bytes to everybody but the
 * format; `view`s name the streams in them. Every stride that a host may choose is a run-time
 * stride.
 */
#include "internal.h"
#include "problem_priv.h"
#include "format_priv.h"

#include <stdio.h>
#include <string.h>

typedef struct expand {
	kir_module *m;
	const kir_problem *p;
	kir_func *f;
	kir_diag *d;
	bool failed;
	const kir_format *rule; /* sides as problem has them                              */
	kir_layout layout[2];   /* of K's format, of V's                                  */
	kir_ref tensor[2][KIR_MAX_TENSORS], stream[KIR_NSTREAM];
	kir_ref operand[KIR_MAX_SRC]; /* of the op, in its row's order                    */
	kir_op op;
	kir_ref alibi, causal, with[KIR_MAX_WITH];
} expand;

/* -- parameters --------------------------------------------------------------------- */

static kir_ref param(expand *x, const char *name, kir_type_id type, kir_dir dir)
{
	for (unsigned i = 0; i < x->f->nparam && !x->failed; i++) {
		if (strcmp(x->f->param[i].name, name) != 0)
			continue;
		kir_error(x->d, 0, 0,
		          "two parameters are called '%s'; rename the tensor or operand", name);
		x->failed = true;
	}
	return kir_add_param(x->f, name, type, dir);
}

/* A parameter that is an operand of the same name. */
static kir_ref operand(expand *x, const char *name, kir_type_id type, kir_dir dir)
{
	kir_ref n = param(x, name, type, dir);

	x->operand[kir_operand_index(x->op, name)] = n;
	return n;
}

static kir_ref scalar(expand *x, const char *name, kir_elem e)
{
	return operand(x, name, kir_scalar(x->m, e), KIR_IN);
}

/* A buffer whose outer `ndyn` axes have run-time strides, the rest being contiguous. */
static kir_type_id strided(expand *x, kir_elem e, unsigned ndyn, unsigned rank,
                           const int64_t *dim)
{
	kir_type t = { .elem = (uint8_t)e,
		       .rank = (uint8_t)rank,
		       .buffer = true,
		       .npieces = (uint8_t)rank };
	int64_t stride = kir_elem_bytes(e);

	for (unsigned i = rank; i--;) {
		t.dim[i] = dim[i];
		t.piece[i] = (kir_piece){ .axis = (uint8_t)i, .div = 1, .dyn = i < ndyn };
		t.piece[i].stride = i < ndyn ? (int64_t)i : stride;
		stride *= dim[i];
	}
	return kir_type_intern(x->m, &t);
}

static kir_type_id rows(expand *x, kir_elem e, int64_t heads, int64_t dim)
{
	return strided(x, e, 2, 3, (int64_t[]){ KIR_DYN, heads, dim });
}

static kir_type_id list(expand *x, kir_elem e)
{
	return kir_buffer(x->m, e, 1, (int64_t[]){ KIR_DYN });
}

/* -- caches ------------------------------------------------------------------------- */

static bool make_layouts(expand *x)
{
	const kir_problem *p = x->p;
	const kir_format *k = kir_format_get(x->m, p->k_format, x->d);
	const kir_format *v = kir_format_get(x->m, p->v_format, x->d);
	kir_shape s = { p->kv_heads, p->dim_k, p->dim_v, p->page };

	if (!k || !v)
		return false;
	x->rule = k == v ? k : kir_format_pair(x->m, k, v, x->d);
	return x->rule && kir_format_layout(k, &s, &x->layout[0], x->d) &&
	       (k == v || kir_format_layout(v, &s, &x->layout[1], x->d));
}

/* Which layout stream s comes from. */
static int layout_of(const expand *x, int s)
{
	return format_side((kir_stream)s) && x->layout[1].ntensor;
}

static bool tensor_used(const expand *x, int l, unsigned tensor)
{
	for (int s = 0; s < KIR_NSTREAM; s++)
		if (layout_of(x, s) == l && x->layout[l].stream[s].tensor == (int)tensor)
			return true;
	return false;
}

static void add_tensor(expand *x, int l, unsigned i, kir_dir dir)
{
	const kir_layout *a = &x->layout[l], *b = &x->layout[!l];
	int64_t dim[KIR_RANK] = { KIR_DYN };
	unsigned rank = a->tensor[i].nstride;
	bool clash = false;
	char name[100];

	for (unsigned k = 1; k < rank; k++)
		dim[k] = a->tensor[i].axis[k] == 't' ? x->p->page : x->p->kv_heads;
	dim[rank] = a->tensor[i].stride[rank - 1]; /* bytes of the contents */
	for (unsigned k = 0; k < b->ntensor; k++)
		clash = clash || (tensor_used(x, !l, k) &&
		                  !strcmp(a->tensor[i].name, b->tensor[k].name));
	snprintf(name, sizeof(name), "%s%s", clash ? l ? "v_" : "k_" : "", a->tensor[i].name);
	x->tensor[l][i] = param(x, name, strided(x, KIR_u8, rank, rank + 1, dim), dir);
}

static void add_tensors(expand *x, kir_dir dir)
{
	for (int l = 0; l < 2; l++)
		for (unsigned i = 0; i < x->layout[l].ntensor; i++)
			if (tensor_used(x, l, i))
				add_tensor(x, l, i, dir);
}

static void add_views(expand *x)
{
	for (int s = 0; s < KIR_NSTREAM; s++) {
		int l = layout_of(x, s), tensor = x->layout[l].stream[s].tensor;

		if (tensor < 0)
			continue;
		x->stream[s] = kir_emit(
		    x->f, KIR_OP_view, kir_type_intern(x->m, &x->layout[l].stream[s].type),
		    &x->tensor[l][tensor], 1,
		    (int64_t[KIR_MAX_ATTRS]){ x->layout[l].stream[s].offset });
		x->f->node[x->stream[s]].name = kir_stream_names[s];
		x->operand[kir_operand_index(x->op, kir_stream_names[s])] = x->stream[s];
	}
}

static bool given(const expand *x, int side)
{
	if (side == 1 && x->rule->shared)
		return false;
	return kir_side_given(&x->rule->side[side]);
}

/* -- regions ------------------------------------------------------------------------ */

typedef struct place {
	kir_ref s, b, h, i, j; /* s: 0 in the mask */
} place;

static kir_ref arg(expand *x, const char *name, kir_elem e, int64_t index)
{
	kir_ref n = kir_emit(x->f, KIR_OP_arg, kir_scalar(x->m, e), NULL, 0,
	                     (int64_t[KIR_MAX_ATTRS]){ index });

	x->f->node[n].name = name;
	return n;
}

static place region_args(expand *x, bool score)
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

static kir_ref op(expand *x, const char *name, kir_op o, kir_elem e, kir_ref a, kir_ref b)
{
	kir_ref src[2] = { a, b };
	kir_ref n = kir_emit(x->f, o, kir_scalar(x->m, e), src, b ? 2 : 1, NULL);

	x->f->node[n].name = name;
	return n;
}

static kir_ref f32c(expand *x, double v)
{
	return kir_const_f(x->f, KIR_f32, v);
}

static kir_ref s64c(expand *x, int64_t v)
{
	return kir_const_i(x->f, KIR_s64, v);
}

static kir_ref infix(expand *x, const char *field, const char *text, const place *r,
                     kir_elem type)
{
	expr_env env = { .f = x->f, .field = field, .line = 1, .col = 1, .d = x->d };
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
		env.name[env.nname++].ref = x->with[k];
	}
	kir_ref n = expr_build(&env, text, type);

	x->failed = x->failed || !n;
	return n;
}

/* slope[h] times how far the key lies from the query, or minus the root of that. */
static kir_ref alibi(expand *x, const place *r, kir_ref s)
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

static void score_region(expand *x)
{
	place r = region_args(x, true);
	kir_ref s = r.s;

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

static void also(expand *x, kir_ref *mask, kir_ref cond)
{
	*mask = *mask && cond ? op(x, NULL, KIR_OP_and, KIR_i1, *mask, cond) : cond;
}

static void mask_region(expand *x)
{
	const kir_problem *p = x->p;
	place r = region_args(x, false);
	kir_ref mask = 0, c;

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

/* -- kinds -------------------------------------------------------------------------- */

static kir_ref emit_op(expand *x, bool format)
{
	kir_slot slot[KIR_MAX_ROW];
	int64_t attr[KIR_MAX_ATTRS] = { -1 };

	for (unsigned i = 0; format && i < x->m->nformat; i++)
		if (x->m->format[i] == x->rule)
			attr[0] = i;
	return kir_emit(x->f, x->op, KIR_NO_TYPE, x->operand, kir_row(x->op, slot), attr);
}

static void attn_params(expand *x)
{
	const kir_problem *p = x->p;
	kir_type_id per_seq = strided(x, KIR_f32, 2, 2, (int64_t[]){ KIR_DYN, p->kv_heads });
	kir_type_id per_head = kir_buffer(x->m, KIR_f32, 1, &p->heads);

	operand(x, "q", rows(x, p->q, p->heads, p->dim_k), KIR_IN);
	add_tensors(x, KIR_IN);
	if (p->qscale)
		operand(x, "qd", per_seq, KIR_IN);
	if (given(x, 0))
		operand(x, "kd", per_seq, KIR_IN);
	if (given(x, 1))
		operand(x, "vd", per_seq, KIR_IN);
	if (p->sparse)
		operand(x, "index", strided(x, KIR_s32, 1, 2, (int64_t[]){ KIR_DYN, p->sparse }),
		        KIR_IN);
	else
		operand(x, "table", strided(x, KIR_s32, 1, 2, (int64_t[]){ KIR_DYN, KIR_DYN }),
		        KIR_IN);
	operand(x, "lens", list(x, KIR_s32), KIR_IN);
	operand(x, "starts", list(x, KIR_s32), KIR_IN);
	scalar(x, "scale", KIR_f32);
	if (p->sink)
		operand(x, "sink", per_head, KIR_IN);
	if (p->alibi)
		x->alibi = param(x, "alibi", per_head, KIR_IN);
	if (p->causal == 2)
		x->causal = param(x, "causal_seq", list(x, KIR_s32), KIR_IN);
	for (unsigned i = 0; i < p->nwith; i++)
		x->with[i] = param(x, p->with[i].name, list(x, p->with[i].elem), KIR_IN);
	operand(x, "out", rows(x, p->out, p->heads, p->dim_v), KIR_OUT);
	if (p->lse)
		operand(x, "lse", strided(x, KIR_f32, 1, 2, (int64_t[]){ KIR_DYN, p->heads }),
		        KIR_OUT);
}

static void expand_attn(expand *x)
{
	kir_type_id items = kir_buffer(x->m, KIR_s32, 2, (int64_t[]){ KIR_DYN, KIR_ITEM });
	kir_type_id part =
	    kir_buffer(x->m, KIR_f32, 2, (int64_t[]){ KIR_DYN, x->p->dim_v + KIR_PART_HEAD });

	attn_params(x);
	operand(x, "work", items, KIR_IN);
	scalar(x, "nwork", KIR_s64);
	operand(x, "join", items, KIR_IN);
	scalar(x, "njoin", KIR_s64);
	operand(x, "part", part, KIR_INOUT);
	if (x->p->sparse)
		scalar(x, "limit", KIR_s64);
	add_views(x);
	emit_op(x, true);
	score_region(x);
	mask_region(x);
}

static void expand_write(expand *x)
{
	const kir_problem *p = x->p;
	kir_type_id per_head = strided(x, KIR_f32, 1, 1, &p->kv_heads);

	operand(x, "key", rows(x, p->q, p->kv_heads, p->dim_k - x->rule->rest), KIR_IN);
	if (!x->rule->shared)
		operand(x, "value", rows(x, p->q, p->kv_heads, p->dim_v), KIR_IN);
	if (x->rule->rest)
		operand(x, "rest", rows(x, p->q, p->kv_heads, x->rule->rest), KIR_IN);
	add_tensors(x, KIR_INOUT);
	if (given(x, 0) || (x->rule->rest && given(x, 2)))
		operand(x, "kd", per_head, KIR_IN);
	if (given(x, 1))
		operand(x, "vd", per_head, KIR_IN);
	operand(x, "slots", list(x, KIR_s64), KIR_IN);
	scalar(x, "n", KIR_s64);
	add_views(x);
	emit_op(x, true);
}

static void refuse(expand *x, const char *why)
{
	kir_error(x->d, 0, 0, "%s", why);
	x->failed = true;
}

/* The parameter that a quantizer's scales go to, and in *view how the op sees it, if not as it
 * is. columns: [groups, rows], so that those of a group lie side by side; the distance of two
 * groups is the caller's, who may pad it. packed: the same with words of four exponents, the
 * last one padded with zeros. */
static kir_ref quant_scales(expand *x, int64_t groups, kir_type *view)
{
	const kir_problem *p = x->p;
	const kir_side *s = &x->rule->side[0];
	bool packed = p->scales == 2;
	int64_t words = (groups + 3) / 4;

	if (!p->scales)
		return operand(x, "s",
		               kir_buffer(x->m, s->scale_elem, s->group ? 3 : 2,
		                          (int64_t[]){ KIR_DYN, p->heads, groups }),
		               KIR_OUT);
	if (p->heads != 1 || !s->group)
		refuse(x, "scales=columns and scales=packed are of groups of whole rows: "
		          "heads=1 and a format with scale group N");
	else if (packed && s->scale_elem != KIR_e8m0)
		refuse(x, "scales=packed packs exponents: the format's scales must be e8m0");
	*view = (kir_type){ .elem = (uint8_t)s->scale_elem,
		            .rank = 3,
		            .buffer = true,
		            .npieces = packed ? 3 : 2,
		            .dim = { KIR_DYN, 1, packed ? 4 * words : groups } };
	view->piece[0] = (kir_piece){ .axis = 0, .div = 1 };
	view->piece[0].stride = packed ? 4 : kir_elem_bytes(s->scale_elem);
	view->piece[1] = (kir_piece){ .axis = 2, .div = packed ? 4 : 1, .dyn = true };
	view->piece[2] = (kir_piece){ .axis = 2, .div = 1, .mod = 4, .stride = 1 };
	return param(x, "s",
	             strided(x, packed ? KIR_s32 : s->scale_elem, 1, 2,
	                     (int64_t[]){ packed ? words : groups, KIR_DYN }),
	             KIR_OUT);
}

static void expand_quant(expand *x)
{
	const kir_problem *p = x->p;
	const kir_side *s = &x->rule->side[0];

	kir_type view = { 0 };
	kir_ref scales = 0;

	if (s->group && p->dim_k % s->group) {
		kir_error(x->d, 0, 0, "to=%s: its scale group of %d doesn't divide dim=%lld",
		          p->k_format, s->group, (long long)p->dim_k);
		x->failed = true;
		return;
	}
	if (p->scales && !format_stored(s))
		refuse(x, "scales= is about computed scales, and the format computes none");
	operand(x, "x", rows(x, p->q, p->heads, p->dim_k), KIR_IN);
	operand(x, "q",
	        kir_buffer(x->m, s->elem, 3, (int64_t[]){ KIR_DYN, p->heads, p->dim_k }),
	        KIR_OUT);
	if (format_stored(s))
		scales = quant_scales(x, s->group ? p->dim_k / s->group : 1, &view);
	else if (given(x, 0))
		operand(x, "d", strided(x, KIR_f32, 1, 1, &p->heads), KIR_IN);
	scalar(x, "n", KIR_s64);
	if (view.rank)
		x->operand[kir_operand_index(x->op, "s")] =
		    kir_emit(x->f, KIR_OP_view, kir_type_intern(x->m, &view), &scales, 1, NULL);
	emit_op(x, true);
}

/* -- products ------------------------------------------------------------------------- */

/* The same memory as another type of the same strides. */
static kir_ref seen_as(expand *x, kir_ref buffer, const kir_type *t)
{
	return kir_emit(x->f, KIR_OP_view, kir_type_intern(x->m, t), &buffer, 1, NULL);
}

enum { PACK = 64 }; /* columns of a product that packed weights put side by side */

static int64_t round_up(int64_t n, int64_t step)
{
	return (n + step - 1) / step * step;
}

/* Weights [outputs, depth] as pack leaves them: for each PACK outputs the words of 4 bytes
 * along the contraction, each for all the outputs; filled up with zeros. */
static kir_ref packed_param(expand *x, const char *name, kir_elem e, kir_dir dir)
{
	int64_t unit = 4 / kir_elem_bytes(e), deep = round_up(x->p->dim_k, unit);
	int64_t dim[] = { round_up(x->p->dim_v, PACK) / PACK, deep / unit, PACK, unit };

	return param(x, name, kir_buffer(x->m, e, 4, dim), dir);
}

/* That as [outputs, depth] of element e. */
static kir_ref packed_view(expand *x, kir_ref buffer, kir_elem e)
{
	int64_t size = kir_elem_bytes(e), unit = 4 / size;
	int64_t deep = round_up(x->p->dim_k, unit);
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
static int64_t scales_of(const expand *x, const kir_side *s)
{
	return s->group ? (x->p->dim_k + s->group - 1) / s->group : 1;
}

static bool check_side(expand *x, const char *field, const kir_side *s)
{
	if (s->gran == KIR_GRAN_none || s->gran == KIR_GRAN_token_head ||
	    s->gran == KIR_GRAN_group)
		return true;
	kir_error(x->d, 0, 0,
	          "%s=: a product's scales are of rows or of groups along the contraction: the "
	          "format says scale none, token-head or group N",
	          field);
	x->failed = true;
	return false;
}

/* The rows a product quantizes itself: codes and scales are left with the caller. */
static void quantize_first(expand *x, const kir_format *rule, kir_ref in, kir_ref a, kir_ref as)
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
	xt.dim[2] = at.dim[2] = k;
	xt.piece[1].axis = at.piece[1].axis = 2;
	st.rank = s->group ? 3 : 2;
	if (s->group) {
		st.dim[1] = 1;
		st.dim[2] = n;
		st.piece[1].axis = 2;
	}
	while (attr[0] < (int64_t)x->m->nformat && x->m->format[attr[0]] != rule)
		attr[0]++;
	op[kir_operand_index(KIR_OP_quantize, "x")] = seen_as(x, in, &xt);
	op[kir_operand_index(KIR_OP_quantize, "q")] = seen_as(x, a, &at);
	op[kir_operand_index(KIR_OP_quantize, "s")] = seen_as(x, as, &st);
	op[kir_operand_index(KIR_OP_quantize, "n")] = x->operand[kir_operand_index(x->op, "n")];
	kir_emit(x->f, KIR_OP_quantize, KIR_NO_TYPE, op, kir_row(KIR_OP_quantize, slot), attr);
}

static void expand_gemm(expand *x)
{
	const kir_problem *p = x->p;
	const kir_format *acts = kir_format_get(x->m, p->k_format, x->d);
	const kir_format *weights = kir_format_get(x->m, p->v_format, x->d);
	const kir_side *a = &acts->side[0], *w = &weights->side[0];
	int64_t k = p->dim_k, n = p->dim_v, block = p->block ? p->block : 1;
	kir_dir dir = p->fused ? KIR_INOUT : KIR_IN;
	kir_ref in = 0, codes, scales = 0, packed = 0;
	kir_slot slot[KIR_MAX_ROW];

	if (!check_side(x, "acts", a) || !check_side(x, "weights", w))
		return;
	if (p->fused && !format_stored(a)) {
		refuse(x, "in= is about rows that are quantized, and acts= computes no scales");
		return;
	}
	if (p->fused)
		in = param(x, "x", strided(x, p->q, 1, 2, (int64_t[]){ KIR_DYN, k }), KIR_IN);
	codes = operand(x, "a", strided(x, a->elem, 1, 2, (int64_t[]){ KIR_DYN, k }), dir);
	if (format_stored(a))
		scales = operand(
		    x, "as",
		    strided(x, a->scale_elem, 2, 2, (int64_t[]){ KIR_DYN, scales_of(x, a) }),
		    dir);
	if (p->packed)
		packed = packed_param(x, "w", w->elem, KIR_IN);
	else
		operand(x, "w", strided(x, w->elem, 1, 2, (int64_t[]){ n, k }), KIR_IN);
	if (format_stored(w))
		operand(x, "ws",
		        kir_buffer(x->m, w->scale_elem, 2,
		                   (int64_t[]){ (n + block - 1) / block, scales_of(x, w) }),
		        KIR_IN);
	operand(x, "c", strided(x, p->out, 1, 2, (int64_t[]){ KIR_DYN, n }), KIR_OUT);
	scalar(x, "n", KIR_s64);
	if (p->fused)
		quantize_first(x, acts, in, codes, scales);
	if (p->packed)
		x->operand[kir_operand_index(x->op, "w")] = packed_view(x, packed, w->elem);
	kir_emit(x->f, x->op, KIR_NO_TYPE, x->operand, kir_row(x->op, slot),
	         (int64_t[KIR_MAX_ATTRS]){ a->group, w->group, block });
}

/* Codes are copied as bits. */
static void expand_pack(expand *x)
{
	const kir_side *w = &kir_format_get(x->m, x->p->v_format, x->d)->side[0];
	static const kir_elem bits[] = { KIR_VOID, KIR_u8, KIR_u16, KIR_VOID, KIR_s32 };
	kir_elem e = bits[kir_elem_bytes(w->elem)];
	kir_type t;
	kir_ref from = param(
	    x, "x", strided(x, w->elem, 1, 2, (int64_t[]){ x->p->dim_v, x->p->dim_k }), KIR_IN);
	kir_ref to = packed_param(x, "y", w->elem, KIR_OUT);

	t = *kir_type_of(x->f, from);
	t.elem = (uint8_t)e;
	x->operand[kir_operand_index(x->op, "x")] = seen_as(x, from, &t);
	x->operand[kir_operand_index(x->op, "y")] = packed_view(x, to, e);
	emit_op(x, false);
}

static void expand_merge(expand *x)
{
	const kir_problem *p = x->p;
	int64_t parts[] = { KIR_DYN, KIR_DYN, p->heads, p->dim_v };

	operand(x, "parts", strided(x, KIR_f32, 2, 4, parts), KIR_IN);
	operand(x, "lses", strided(x, KIR_f32, 2, 3, parts), KIR_IN);
	scalar(x, "p", KIR_s64);
	scalar(x, "n", KIR_s64);
	operand(x, "out", rows(x, p->out, p->heads, p->dim_v), KIR_OUT);
	if (p->lse)
		operand(x, "lse", strided(x, KIR_f32, 1, 2, (int64_t[]){ KIR_DYN, p->heads }),
		        KIR_OUT);
	emit_op(x, false);
}

/* A failed expansion leaves no half function behind: it is the module's last. */
static kir_func *give_up(kir_module *m)
{
	m->nfunc--;
	return NULL;
}

kir_func *kir_problem_expand(kir_module *m, const kir_problem *p, const kir_target *t,
                             kir_diag *d)
{
	static const struct {
		const char *name;
		kir_op op;
		void (*build)(expand *x);
	} kinds[] = { [KIR_ATTN] = { "attn", KIR_OP_attention, expand_attn },
		      [KIR_WRITE] = { "write", KIR_OP_cache_write, expand_write },
		      [KIR_QUANT] = { "quant", KIR_OP_quantize, expand_quant },
		      [KIR_MERGE] = { "merge", KIR_OP_merge, expand_merge },
		      [KIR_GEMM] = { "gemm", KIR_OP_gemm, expand_gemm },
		      [KIR_PACK] = { "pack", KIR_OP_relayout, expand_pack } };
	expand x = { .m = m, .p = p, .d = d, .op = kinds[p->kind].op };

	if (p->kind == KIR_QUANT && !(x.rule = kir_format_get(m, p->k_format, d)))
		return NULL;
	if ((p->kind == KIR_GEMM || p->kind == KIR_PACK) &&
	    (!kir_format_get(m, p->k_format, d) || !kir_format_get(m, p->v_format, d)))
		return NULL;
	if ((p->kind == KIR_ATTN || p->kind == KIR_WRITE) && !make_layouts(&x))
		return NULL;
	x.f = kir_func_new(m, kinds[p->kind].name, KIR_A);
	if (t)
		x.f->target = t;
	x.f->sched = p->sched;
	kinds[p->kind].build(&x);
	if (x.failed)
		return give_up(m);
	kir_ret(x.f);
	return x.f;
}
