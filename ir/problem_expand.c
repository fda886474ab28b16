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

/* -- parameters --------------------------------------------------------------------- */

kir_ref problem_param(expansion *x, const char *name, kir_type_id type, kir_dir dir)
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

/* A parameter of one of several caches, that is the operand `name`. */
static kir_ref own_operand(expansion *x, const char *name, kir_type_id type, kir_dir dir)
{
	char own[40];
	kir_ref n;

	snprintf(own, sizeof(own), "%s%s", name, x->suffix);
	n = problem_param(x, own, type, dir);
	x->operand[kir_operand_index(x->op, name)] = n;
	return n;
}

/* Signs of a rotated side, one for each element of a block. */
static void add_signs(expansion *x, const char *name, int side, int64_t dim)
{
	int64_t block = kir_side_block(&x->rule->side[side], dim);

	if (x->rule->side[side].signs)
		own_operand(x, name, kir_buffer(x->m, KIR_s8, 1, &block), KIR_IN);
}

/* The mean of each head's keys, where they are stored less it. */
static void add_mean(expansion *x, const char *name, int64_t heads)
{
	int64_t dim[2] = { heads, x->p->dim_k };

	if (x->rule->side[0].mean)
		own_operand(x, name, kir_buffer(x->m, KIR_f32, 2, dim), KIR_IN);
}

/* A parameter that is an operand of the same name. */
kir_ref problem_operand(expansion *x, const char *name, kir_type_id type, kir_dir dir)
{
	kir_ref n = problem_param(x, name, type, dir);

	x->operand[kir_operand_index(x->op, name)] = n;
	return n;
}

kir_ref problem_scalar(expansion *x, const char *name, kir_elem e)
{
	return problem_operand(x, name, kir_scalar(x->m, e), KIR_IN);
}

/* A buffer whose outer `ndyn` axes have run-time strides, the rest being contiguous. */
kir_type_id problem_strided(expansion *x, kir_elem e, unsigned ndyn, unsigned rank,
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

static kir_type_id rows(expansion *x, kir_elem e, int64_t heads, int64_t dim)
{
	return problem_strided(x, e, 2, 3, (int64_t[]){ KIR_DYN, heads, dim });
}

static kir_type_id list(expansion *x, kir_elem e)
{
	return kir_buffer(x->m, e, 1, (int64_t[]){ KIR_DYN });
}

/* -- caches ------------------------------------------------------------------------- */

/* Keys that share scales along tokens come a whole group at a time, and lie side by side. */
static bool check_together(expansion *x)
{
	int n = kir_format_tokens(x->rule);

	if (!n || x->p->kind == KIR_TRANSCODE || (x->p->kind == KIR_ATTN && !x->p->sparse))
		return true;
	if (x->p->kind == KIR_ATTN)
		kir_error(x->d, 0, 0,
		          "format %s: %d tokens share the scales of keys, which index lists "
		          "(sparse=) take apart: such a cache is read by pages",
		          x->rule->name, n);
	else
		kir_error(
		    x->d, 0, 0,
		    "format %s: %d tokens share the scales of keys, so they are written "
		    "together: transcode from=bf16 to=%s makes whole groups of a cache that "
		    "holds them one by one",
		    x->rule->name, n, x->rule->name);
	return false;
}

bool problem_layouts(expansion *x)
{
	const kir_problem *p = x->p;
	const kir_format *k = kir_format_get(x->m, p->k_format, x->d);
	const kir_format *v = kir_format_get(x->m, p->v_format, x->d);
	kir_shape s = { p->kind == KIR_INDEX ? 1 : p->kv_heads, p->dim_k, p->dim_v, p->page };

	if (!k || !v)
		return false;
	x->rule = k == v ? k : kir_format_pair(x->m, k, v, x->d);
	return x->rule && check_together(x) && kir_format_layout(k, &s, &x->layout[0], x->d) &&
	       (k == v || kir_format_layout(v, &s, &x->layout[1], x->d));
}

/* Which layout stream s comes from. */
static int layout_of(const expansion *x, int s)
{
	return format_side((kir_stream)s) && x->layout[1].ntensor;
}

static bool tensor_used(const expansion *x, int l, unsigned tensor)
{
	for (int s = 0; s < KIR_NSTREAM; s++)
		if (layout_of(x, s) == l && x->layout[l].stream[s].tensor == (int)tensor)
			return true;
	return false;
}

static void add_tensor(expansion *x, int l, unsigned i, kir_dir dir)
{
	const kir_layout *a = &x->layout[l], *b = &x->layout[!l];
	int64_t dim[KIR_RANK] = { KIR_DYN };
	unsigned rank = a->tensor[i].nstride;
	bool clash = false;
	char name[100];

	for (unsigned k = 0; k < b->ntensor; k++)
		clash = clash || (tensor_used(x, !l, k) &&
		                  !strcmp(a->tensor[i].name, b->tensor[k].name));
	for (unsigned k = 1; k < rank; k++)
		dim[k] = a->tensor[i].axis[k] == 't' ? x->p->page : x->p->kv_heads;
	dim[rank] = a->tensor[i].stride[rank - 1]; /* bytes of the contents */
	snprintf(name, sizeof(name), "%s%s%s%s", x->prefix, clash ? l ? "v_" : "k_" : "",
	         a->tensor[i].name, x->suffix);
	x->tensor[l][i] =
	    problem_param(x, name, problem_strided(x, KIR_u8, rank, rank + 1, dim), dir);
}

void problem_tensors(expansion *x, kir_dir dir)
{
	for (int l = 0; l < 2; l++)
		for (unsigned i = 0; i < x->layout[l].ntensor; i++)
			if (tensor_used(x, l, i))
				add_tensor(x, l, i, dir);
}

static void add_view(expansion *x, int l, int s)
{
	int tensor = x->layout[l].stream[s].tensor;
	char name[24];
	kir_ref view;

	if (tensor < 0)
		return;
	view = kir_emit(x->f, KIR_OP_view, kir_type_intern(x->m, &x->layout[l].stream[s].type),
	                &x->tensor[l][tensor], 1,
	                (int64_t[KIR_MAX_ATTRS]){ x->layout[l].stream[s].offset });
	snprintf(name, sizeof(name), "%s%s", x->prefix, kir_stream_names[s]);
	x->operand[kir_operand_index(x->op, name)] = view;
	snprintf(name, sizeof(name), "%s%s%s", x->prefix, kir_stream_names[s], x->suffix);
	x->f->node[view].name = kir_strdup(x->m, name, strlen(name));
}

void problem_views(expansion *x)
{
	for (int s = 0; s < KIR_NSTREAM; s++)
		add_view(x, layout_of(x, s), s);
}

static bool given(const expansion *x, int side)
{
	if (side == 1 && x->rule->shared)
		return false;
	return kir_side_given(&x->rule->side[side]);
}

/* -- kinds -------------------------------------------------------------------------- */

int64_t problem_format(const expansion *x, const kir_format *f)
{
	for (unsigned i = 0; i < x->m->nformat; i++)
		if (x->m->format[i] == f)
			return i;
	return -1;
}

static kir_ref emit_op(expansion *x, bool format)
{
	kir_slot slot[KIR_MAX_ROW];
	int64_t attr[KIR_MAX_ATTRS] = { format ? problem_format(x, x->rule) : -1 };

	return kir_emit(x->f, x->op, KIR_NO_TYPE, x->operand, kir_row(x->op, slot), attr);
}

/* What is a cache's own: scales handed over, and the list that names its keys. */
static void key_params(expansion *x)
{
	const kir_problem *p = x->p;
	kir_type_id per_seq =
	    problem_strided(x, KIR_f32, 2, 2, (int64_t[]){ KIR_DYN, p->kv_heads });
	int64_t columns = p->sparse ? p->sparse : KIR_DYN;

	if (given(x, 0))
		own_operand(x, "kd", per_seq, KIR_IN);
	if (given(x, 1))
		own_operand(x, "vd", per_seq, KIR_IN);
	add_mean(x, "kmean", p->kv_heads);
	add_signs(x, "ksign", 0, p->dim_k);
	add_signs(x, "vsign", 1, p->dim_v);
	own_operand(x, p->sparse ? "index" : "table",
	            problem_strided(x, KIR_s32, 1, 2, (int64_t[]){ KIR_DYN, columns }), KIR_IN);
	own_operand(x, "lens", list(x, KIR_s32), KIR_IN);
}

static void query_params(expansion *x)
{
	const kir_problem *p = x->p;
	kir_type_id per_seq =
	    problem_strided(x, KIR_f32, 2, 2, (int64_t[]){ KIR_DYN, p->kv_heads });
	kir_type_id per_head = kir_buffer(x->m, KIR_f32, 1, &p->heads);

	problem_operand(x, "q", rows(x, p->q, p->heads, p->dim_k), KIR_IN);
	problem_tensors(x, KIR_IN);
	if (p->qscale)
		problem_operand(x, "qd", per_seq, KIR_IN);
	key_params(x);
	problem_operand(x, "starts", list(x, KIR_s32), KIR_IN);
	problem_scalar(x, "scale", KIR_f32);
	if (p->sink)
		problem_operand(x, "sink", per_head, KIR_IN);
	if (p->alibi)
		x->alibi = problem_param(x, "alibi", per_head, KIR_IN);
	if (p->causal == 2)
		x->causal = problem_param(x, "causal_seq", list(x, KIR_s32), KIR_IN);
	for (unsigned i = 0; i < p->nwith; i++) {
		static const int64_t any[EXPR_MAX_RANK] = { KIR_DYN, KIR_DYN, KIR_DYN };
		unsigned rank = p->with[i].rank;
		kir_type_id t = problem_strided(x, p->with[i].elem, rank - 1, rank, any);

		x->with[i] = problem_param(x, p->with[i].name, t, KIR_IN);
	}
}

static void result_params(expansion *x)
{
	const kir_problem *p = x->p;

	problem_operand(x, "out", rows(x, p->out, p->heads, p->dim_v), KIR_OUT);
	if (p->lse)
		problem_operand(
		    x, "lse",
		    problem_strided(x, KIR_f32, 1, 2, (int64_t[]){ KIR_DYN, p->heads }),
		    KIR_OUT);
}

static void plan_params(expansion *x)
{
	kir_type_id items = kir_buffer(x->m, KIR_s32, 2, (int64_t[]){ KIR_DYN, KIR_ITEM });
	kir_type_id part =
	    kir_buffer(x->m, KIR_f32, 2, (int64_t[]){ KIR_DYN, x->p->dim_v + KIR_PART_HEAD });
	kir_type_id count = kir_scalar(x->m, KIR_s64);

	own_operand(x, "work", items, KIR_IN);
	own_operand(x, "nwork", count, KIR_IN);
	own_operand(x, "join", items, KIR_IN);
	own_operand(x, "njoin", count, KIR_IN);
	own_operand(x, "part", part, KIR_INOUT);
	if (x->p->sparse)
		own_operand(x, "limit", count, KIR_IN);
}

static void emit_attn(expansion *x)
{
	problem_views(x);
	emit_op(x, true);
	problem_score(x);
	problem_mask(x);
}

/* Rows of one cache, or of both side by side, in a buffer f32[rows, 2, heads, n]; n 0: one
 * number each. cache < 0: [2, rows, heads, n]. */
static kir_ref both_view(expansion *x, kir_ref both, int64_t n, int cache)
{
	int64_t heads = x->p->heads, one = heads * (n ? n : 1) * 4;
	kir_type t = { .elem = KIR_f32, .buffer = true };

	if (cache < 0) {
		t.dim[t.rank] = 2;
		t.piece[t.rank] = (kir_piece){ .axis = t.rank, .div = 1, .stride = one };
		t.rank++;
	}
	t.dim[t.rank] = KIR_DYN;
	t.piece[t.rank] = (kir_piece){ .axis = t.rank, .div = 1, .stride = 2 * one };
	t.rank++;
	t.dim[t.rank] = heads;
	t.piece[t.rank] = (kir_piece){ .axis = t.rank, .div = 1, .stride = one / heads };
	t.rank++;
	if (n) {
		t.dim[t.rank] = n;
		t.piece[t.rank] = (kir_piece){ .axis = t.rank, .div = 1, .stride = 4 };
		t.rank++;
	}
	t.npieces = t.rank;
	return kir_emit(x->f, KIR_OP_view, kir_type_intern(x->m, &t), &both, 1,
	                (int64_t[KIR_MAX_ATTRS]){ cache > 0 ? one : 0 });
}

static void set_operand(expansion *x, const char *name, kir_ref n)
{
	x->operand[kir_operand_index(x->op, name)] = n;
}

/* No tensor of the first cache may have a name that the second's could. */
static void check_names(expansion *x)
{
	for (unsigned i = 0; i < x->layout[0].ntensor; i++) {
		const char *name = x->layout[0].tensor[i].name;

		if (name[strlen(name) - 1] == '2')
			problem_refuse(x, "kv2= marks what is a second cache's by a 2 at the "
			                  "end of its name: a tensor of the first format has "
			                  "one already; rename it");
	}
}

/* An attention over each cache, as if it were alone, into rows of both and their log-sum-exps,
 * which a merge joins. A sink has its share there, once. */
static void expand_two(expansion *x)
{
	static const char *const shared[] = { "q", "qd", "starts", "scale" };
	kir_problem second = *x->p;
	expansion y = *x, z = *x;
	int64_t heads = x->p->heads, dim = x->p->dim_v;

	second.k_format = second.v_format = x->p->format2;
	second.page = x->p->page2;
	second.sparse = x->p->sparse2;
	y.p = &second;
	y.suffix = "2";
	memset(y.layout, 0, sizeof(y.layout));
	z.op = KIR_OP_merge;
	check_names(x);
	if (!problem_layouts(&y)) {
		x->failed = true;
		return;
	}
	query_params(x);
	for (size_t i = 0; i < sizeof(shared) / sizeof(*shared); i++) {
		int at = kir_operand_index(x->op, shared[i]);

		y.operand[at] = x->operand[at];
	}
	if (x->p->sink)
		set_operand(&z, "sink", x->operand[kir_operand_index(x->op, "sink")]);
	set_operand(x, "sink", 0);
	y.alibi = x->alibi;
	y.causal = x->causal;
	memcpy(y.with, x->with, sizeof(y.with));
	problem_tensors(&y, KIR_IN);
	key_params(&y);
	x->beside = y.operand[kir_operand_index(y.op, "lens")];
	y.before = y.beside = x->operand[kir_operand_index(x->op, "lens")];
	result_params(&z);
	plan_params(x);
	plan_params(&y);
	kir_ref both = problem_param(
	    x, "both", kir_buffer(x->m, KIR_f32, 4, (int64_t[]){ KIR_DYN, 2, heads, dim }),
	    KIR_INOUT);
	kir_ref logs = problem_param(
	    x, "both_lse", kir_buffer(x->m, KIR_f32, 3, (int64_t[]){ KIR_DYN, 2, heads }),
	    KIR_INOUT);

	set_operand(&z, "n", problem_param(x, "rows", kir_scalar(x->m, KIR_s64), KIR_IN));
	set_operand(&z, "p", kir_const_i(x->f, KIR_s64, 2));
	set_operand(x, "out", both_view(x, both, dim, 0));
	set_operand(x, "lse", both_view(x, logs, 0, 0));
	emit_attn(x);
	set_operand(&y, "out", both_view(x, both, dim, 1));
	set_operand(&y, "lse", both_view(x, logs, 0, 1));
	emit_attn(&y);
	set_operand(&z, "parts", both_view(x, both, dim, -1));
	set_operand(&z, "lses", both_view(x, logs, 0, -1));
	emit_op(&z, false);
	x->failed = x->failed || y.failed || z.failed;
}

static void expand_attn(expansion *x)
{
	if (x->p->format2) {
		expand_two(x);
		return;
	}
	query_params(x);
	result_params(x);
	plan_params(x);
	emit_attn(x);
}

static void expand_write(expansion *x)
{
	const kir_problem *p = x->p;
	kir_type_id per_head = problem_strided(x, KIR_f32, 1, 1, &p->kv_heads);

	problem_operand(x, "key", rows(x, p->q, p->kv_heads, p->dim_k - x->rule->rest), KIR_IN);
	if (!x->rule->shared)
		problem_operand(x, "value", rows(x, p->q, p->kv_heads, p->dim_v), KIR_IN);
	if (x->rule->rest)
		problem_operand(x, "rest", rows(x, p->q, p->kv_heads, x->rule->rest), KIR_IN);
	problem_tensors(x, KIR_INOUT);
	if (given(x, 0) || (x->rule->rest && given(x, 2)))
		problem_operand(x, "kd", per_head, KIR_IN);
	if (given(x, 1))
		problem_operand(x, "vd", per_head, KIR_IN);
	add_mean(x, "kmean", p->kv_heads);
	add_signs(x, "ksign", 0, p->dim_k);
	add_signs(x, "vsign", 1, p->dim_v);
	problem_operand(x, "slots", list(x, KIR_s64), KIR_IN);
	problem_scalar(x, "n", KIR_s64);
	problem_views(x);
	emit_op(x, true);
}

void problem_refuse(expansion *x, const char *why)
{
	kir_error(x->d, 0, 0, "%s", why);
	x->failed = true;
}

/* The parameter that a quantizer's scales go to, and in *view how the op sees it, if not as it
 * is. columns: [groups, rows], so that those of a group lie side by side; the distance of two
 * groups is the caller's, who may pad it. packed: the same with words of four exponents, the
 * last one padded with zeros. */
static kir_ref quant_scales(expansion *x, int64_t groups, kir_type *view)
{
	const kir_problem *p = x->p;
	const kir_side *s = &x->rule->side[0];
	bool packed = p->scales == 2;
	int64_t words = (groups + 3) / 4;

	if (!p->scales)
		return problem_operand(x, "s",
		                       kir_buffer(x->m, s->scale_elem, s->group ? 3 : 2,
		                                  (int64_t[]){ KIR_DYN, p->heads, groups }),
		                       KIR_OUT);
	if (p->heads != 1 || !s->group)
		problem_refuse(x,
		               "scales=columns and scales=packed are of groups of whole rows: "
		               "heads=1 and a format with scale group N");
	else if (packed && s->scale_elem != KIR_e8m0)
		problem_refuse(
		    x, "scales=packed packs exponents: the format's scales must be e8m0");
	*view = (kir_type){ .elem = (uint8_t)s->scale_elem,
		            .rank = 3,
		            .buffer = true,
		            .npieces = packed ? 3 : 2,
		            .dim = { KIR_DYN, 1, packed ? 4 * words : groups } };
	view->piece[0] = (kir_piece){ .axis = 0, .div = 1 };
	view->piece[0].stride = packed ? 4 : kir_elem_bytes(s->scale_elem);
	view->piece[1] = (kir_piece){ .axis = 2, .div = packed ? 4 : 1, .dyn = true };
	view->piece[2] = (kir_piece){ .axis = 2, .div = 1, .mod = 4, .stride = 1 };
	return problem_param(x, "s",
	                     problem_strided(x, packed ? KIR_s32 : s->scale_elem, 1, 2,
	                                     (int64_t[]){ packed ? words : groups, KIR_DYN }),
	                     KIR_OUT);
}

/* Codes of less than 8 bits are bytes to the caller: two each of 4 bits, or one. */
static void quant_codes(expansion *x, const kir_side *s)
{
	const kir_problem *p = x->p;
	int64_t dim[] = { KIR_DYN, p->heads, p->dim_k / kir_side_per(s) };
	kir_ref q = problem_operand(
	    x, "q", kir_buffer(x->m, s->bits < 8 ? KIR_u8 : s->elem, 3, dim), KIR_OUT);

	if (s->bits < 8 && s->bits != 4)
		x->operand[kir_operand_index(x->op, "q")] =
		    kir_emit(x->f, KIR_OP_view, kir_buffer(x->m, s->elem, 3, dim), &q, 1, NULL);
}

static void expand_quant(expansion *x)
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
		problem_refuse(
		    x, "scales= is about computed scales, and the format computes none");
	problem_operand(x, "x", rows(x, p->q, p->heads, p->dim_k), KIR_IN);
	if (p->dim_k % (kir_side_per(s) * s->pack)) {
		kir_error(
		    x->d, 0, 0,
		    "to=%s: two codes a byte, %d elements apart, need another dim than %lld",
		    p->k_format, s->pack, (long long)p->dim_k);
		x->failed = true;
		return;
	}
	quant_codes(x, s);
	if (format_stored(s))
		scales = quant_scales(x, s->group ? p->dim_k / s->group : 1, &view);
	if (x->rule->side[0].rotate && p->dim_k % kir_side_block(&x->rule->side[0], p->dim_k))
		problem_refuse(x, "dim= isn't made of blocks that the format rotates");
	add_mean(x, "mean", p->heads);
	add_signs(x, "sign", 0, p->dim_k);
	if (given(x, 0))
		problem_operand(x, "d", problem_strided(x, KIR_f32, 1, 1, &p->heads), KIR_IN);
	problem_scalar(x, "n", KIR_s64);
	if (view.rank)
		x->operand[kir_operand_index(x->op, "s")] =
		    kir_emit(x->f, KIR_OP_view, kir_type_intern(x->m, &view), &scales, 1, NULL);
	emit_op(x, true);
}

static void expand_merge(expansion *x)
{
	const kir_problem *p = x->p;
	int64_t parts[] = { KIR_DYN, KIR_DYN, p->heads, p->dim_v };

	problem_operand(x, "parts", problem_strided(x, KIR_f32, 2, 4, parts), KIR_IN);
	problem_operand(x, "lses", problem_strided(x, KIR_f32, 2, 3, parts), KIR_IN);
	problem_scalar(x, "p", KIR_s64);
	problem_scalar(x, "n", KIR_s64);
	problem_operand(x, "out", rows(x, p->out, p->heads, p->dim_v), KIR_OUT);
	if (p->lse)
		problem_operand(
		    x, "lse",
		    problem_strided(x, KIR_f32, 1, 2, (int64_t[]){ KIR_DYN, p->heads }),
		    KIR_OUT);
	emit_op(x, false);
}

static void expand_index(expansion *x)
{
	const kir_problem *p = x->p;
	const int64_t any[2] = { KIR_DYN, KIR_DYN };

	if (!x->rule->shared || x->rule->rest || kir_side_given(&x->rule->side[0]) ||
	    x->rule->side[0].range) {
		kir_error(
		    x->d, 0, 0,
		    "kv=%s: an indexer's keys have no values ('values shared'), no rest, no "
		    "zero points, and stored scales or none",
		    p->k_format);
		x->failed = true;
		return;
	}
	problem_operand(x, "q", rows(x, p->q, p->heads, p->dim_k), KIR_IN);
	problem_operand(x, "w",
	                problem_strided(x, KIR_f32, 1, 2, (int64_t[]){ KIR_DYN, p->heads }),
	                KIR_IN);
	problem_tensors(x, KIR_IN);
	problem_operand(x, "table", problem_strided(x, KIR_s32, 1, 2, any), KIR_IN);
	problem_operand(x, "seqs", list(x, KIR_s32), KIR_IN);
	problem_operand(x, "lens", list(x, KIR_s32), KIR_IN);
	problem_operand(x, "out",
	                problem_strided(x, KIR_s32, 1, 2, (int64_t[]){ KIR_DYN, p->topk }),
	                KIR_OUT);
	problem_operand(x, "logits", problem_strided(x, KIR_f32, 1, 2, any), KIR_INOUT);
	problem_scalar(x, "n", KIR_s64);
	problem_scalar(x, "pages", KIR_s64);
	problem_scalar(x, "width", KIR_s64);
	problem_views(x);
	emit_op(x, true);
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
		void (*build)(expansion *x);
	} kinds[] = { [KIR_ATTN] = { "attn", KIR_OP_attention, expand_attn },
		      [KIR_WRITE] = { "write", KIR_OP_cache_write, expand_write },
		      [KIR_QUANT] = { "quant", KIR_OP_quantize, expand_quant },
		      [KIR_MERGE] = { "merge", KIR_OP_merge, expand_merge },
		      [KIR_GEMM] = { "gemm", KIR_OP_gemm, problem_gemm },
		      [KIR_PACK] = { "pack", KIR_OP_relayout, problem_pack },
		      [KIR_INDEX] = { "index", KIR_OP_index_topk, expand_index },
		      [KIR_TRANSCODE] = { "transcode", KIR_OP_transcode, problem_transcode } };
	expansion x = {
		.m = m, .p = p, .d = d, .op = kinds[p->kind].op, .prefix = "", .suffix = ""
	};

	if (p->kind == KIR_QUANT &&
	    (!(x.rule = kir_format_get(m, p->k_format, d)) || !check_together(&x)))
		return NULL;
	if ((p->kind == KIR_GEMM || p->kind == KIR_PACK) &&
	    (!kir_format_get(m, p->k_format, d) || !kir_format_get(m, p->v_format, d)))
		return NULL;
	if ((p->kind == KIR_ATTN || p->kind == KIR_WRITE || p->kind == KIR_INDEX) &&
	    !problem_layouts(&x))
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
