/* SPDX-License-Identifier: Apache-2.0 */
/* check_write.c -- cache writes and quantizers, byte for byte, and merges, within a bound.
 *
 * Inputs hold rows of zeros, of tiny and huge values, NaN and infinities; slots hold -1 and the
 * same slot twice; rows are strided as slices of a fused projection are.
 */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 37, PAGES = 4, FILL = 0xa5 };

bind_arg *check_rows(check *c, kir_elem e, const char *name, int64_t tokens, int64_t heads,
                     int64_t dim, int64_t more)
{
	int64_t shape[3] = { tokens, heads + more, dim }, row = (heads + more) * dim;
	bind_arg *x = bind_tensor(&c->a.b, name, bind_dtype(e), 3, shape);
	check_fill(c, e, x->data, tokens * row, 1);
	for (int64_t i = 0; i < heads * dim; i++) {
		elem_set(e, x->data, 2 * row + i, 0);
		elem_set(e, x->data, 3 * row + i, 1e-9 * check_normal(c));
		elem_set(e, x->data, 4 * row + i, 3e4 * check_normal(c));
		elem_set(e, x->data, 8 * row + i, 1e-37 * check_normal(c));
	}
	elem_set(e, x->data, 5 * row + 1, NAN);
	elem_set(e, x->data, 6 * row + 2, INFINITY);
	elem_set(e, x->data, 7 * row + dim - 1, -INFINITY);
	x->shape[1] = heads;
	x->nstride = 2;
	x->stride[0] = row;
	x->stride[1] = dim;
	return x;
}

static bind_arg *make_rows(check *c, const char *name, int64_t heads, int64_t dim, int64_t more)
{
	return check_rows(c, c->a.p.q, name, TOKENS, heads, dim, more);
}

static void make_scales(check *c, const char *name, int64_t heads)
{
	bind_arg *x = bind_tensor(&c->a.b, name, KVJIT_F32, 1, &heads);
	for (int64_t h = 0; h < heads; h++)
		((float *)x->data)[h] = (float)(0.02 + 0.05 * check_uniform(c));
}

static void make_write(check *c)
{
	attn *a = &c->a;
	int64_t tokens = TOKENS, limit = PAGES * a->shape.page, more = check_int(c, 0, 2);
	make_rows(c, "key", a->shape.kv_heads, a->shape.dim_k - a->format->rest, more);
	if (a->format->rest)
		make_rows(c, "rest", a->shape.kv_heads, a->format->rest, more);
	make_rows(c, "value", a->shape.kv_heads, a->shape.dim_v, more);
	bind_arg *slots = bind_tensor(&a->b, "slots", KVJIT_S64, 1, &tokens);
	int64_t *s = slots->data, first = check_int(c, 0, limit - 1);
	for (int64_t t = 0; t < tokens; t++)
		s[t] = (first + 5 * t) % limit;
	s[1] = -1;
	s[TOKENS - 1] = s[TOKENS - 2];
	make_scales(c, "kd", a->shape.kv_heads);
	make_scales(c, "vd", a->shape.kv_heads);
	check_mean(c, &a->b, "kmean", &a->format->side[0], a->shape.kv_heads, a->shape.dim_k);
	check_signs(c, &a->b, "ksign", &a->format->side[0], a->shape.dim_k);
	check_signs(c, &a->b, "vsign", &a->format->side[1], a->shape.dim_v);
	bind_scalar(&a->b, "n", tokens, 0);
	attn_cache(a, PAGES);
}

static void make_quant(check *c)
{
	attn *a = &c->a;
	int64_t heads = a->p.heads;
	make_rows(c, "x", heads, a->p.dim_k, 0)->nstride = 0;
	make_scales(c, "d", heads);
	kir_diag d = { 0 };
	const kir_format *f = kir_format_get(a->m, a->p.k_format, &d);
	if (f) {
		check_mean(c, &a->b, "mean", &f->side[0], heads, a->p.dim_k);
		check_signs(c, &a->b, "sign", &f->side[0], a->p.dim_k);
	}
	bind_scalar(&a->b, "n", TOKENS, 0);
}

/* Outputs of k that nothing has bound yet, by their own description. */
static void make_outputs(check *c, const kvjit_kernel *k)
{
	for (int i = 0; i < kvjit_nparam(k); i++) {
		const kvjit_param *p = kvjit_param_at(k, i);
		if (!(p->role & KVJIT_OUTPUT) || bind_find(&c->a.b, p->name))
			continue;
		int64_t shape[6];
		memcpy(shape, p->shape, sizeof shape);
		if (shape[0] < 0)
			shape[0] = TOKENS;
		if (p->rank > 1 && shape[1] < 0)
			shape[1] = TOKENS + 3; /* columns, padded */
		bind_tensor(&c->a.b, p->name, p->dtype, p->rank, shape);
	}
}

/* -- bytes -------------------------------------------------------------------------------- */

typedef struct bytes {
	unsigned char *at[BIND_MAX];
} bytes;

static bool is_output(const kvjit_kernel *k, const char *name)
{
	for (int i = 0; i < kvjit_nparam(k); i++)
		if (strcmp(kvjit_param_at(k, i)->name, name) == 0)
			return kvjit_param_at(k, i)->role & KVJIT_OUTPUT;
	return false;
}

static bool call(check *c, kvjit *kv, const kvjit_kernel *k, char *why, size_t len)
{
	for (unsigned i = 0; i < c->a.b.n; i++)
		if (is_output(k, c->a.b.at[i].name))
			memset(c->a.b.at[i].data, FILL, c->a.b.at[i].bytes);
	return bind_call(&c->a.b, kv, k, NULL, why, len) == KVJIT_OK;
}

static void keep(const check *c, const kvjit_kernel *k, bytes *out)
{
	for (unsigned i = 0; i < c->a.b.n; i++) {
		const bind_arg *x = &c->a.b.at[i];
		out->at[i] = is_output(k, x->name) ? malloc(x->bytes) : NULL;
		if (out->at[i])
			memcpy(out->at[i], x->data, x->bytes);
	}
}

static void compare(const check *c, const bytes *want, check_result *r)
{
	snprintf(r->bound, sizeof r->bound, "byte for byte");
	for (unsigned i = 0; i < c->a.b.n; i++) {
		const bind_arg *x = &c->a.b.at[i];
		const unsigned char *got = x->data;
		for (size_t j = 0; want->at[i] && j < x->bytes; j++) {
			r->compared++;
			if (got[j] != want->at[i][j])
				check_fail(
				    r,
				    "byte %zu of '%s' is 0x%02x, the interpreter says 0x%02x",
				    j, x->name, got[j], want->at[i][j]);
		}
	}
}

bool check_bytes(check *c, char *why, size_t len)
{
	kvjit_kernel *k = NULL;
	bytes want = { 0 };
	bool ok = kvjit_compile(c->ref, c->text, NULL, &k) == KVJIT_OK;
	if (!ok)
		snprintf(why, len, "%s", kvjit_error(c->ref));
	if (ok) {
		make_outputs(c, k);
		ok = call(c, c->ref, k, why, len);
		keep(c, k, &want);
	}
	kvjit_release(k);
	for (unsigned i = 0; ok && i < c->nmachine; i++) {
		check_result *r = &c->result[i];
		char reason[400];
		kvjit_kernel *mine = r->failed ? NULL : check_compile(c, i);
		if (mine && !call(c, c->machine[i].kv, mine, reason, sizeof reason))
			check_fail(r, "%s", reason);
		else if (mine)
			compare(c, &want, r);
		kvjit_release(mine);
	}
	for (unsigned i = 0; i < BIND_MAX; i++)
		free(want.at[i]);
	return ok;
}

bool check_write(check *c, uint64_t seed, char *why, size_t len)
{
	(void)seed;
	if (c->a.p.kind == KIR_WRITE)
		make_write(c);
	else
		make_quant(c);
	return check_bytes(c, why, len);
}

/* -- merge --------------------------------------------------------------------------------- */

enum { PARTS = 3, ROWS = 11 };

static void make_merge(check *c)
{
	attn *a = &c->a;
	int64_t heads = a->p.heads, dim = a->p.dim_v ? a->p.dim_v : a->p.dim_k;
	int64_t parts[4] = { PARTS, ROWS, heads, dim }, out[3] = { ROWS, heads, dim };
	bind_arg *x = bind_tensor(&a->b, "parts", KVJIT_F32, 4, parts);
	check_fill(c, KIR_f32, x->data, PARTS * ROWS * heads * dim, 1);
	x = bind_tensor(&a->b, "lses", KVJIT_F32, 3, parts);
	check_fill(c, KIR_f32, x->data, PARTS * ROWS * heads, 4);
	/* a part that saw nothing, and a row that no part saw */
	((float *)x->data)[0] = -INFINITY;
	for (int p = 0; p < PARTS; p++)
		((float *)x->data)[p * ROWS * heads + 1] = -INFINITY;
	bind_tensor(&a->b, "out", bind_dtype(a->p.out), 3, out);
	bind_tensor(&a->b, "lse", KVJIT_F32, 2, out);
	bind_scalar(&a->b, "n", ROWS, 0);
	bind_scalar(&a->b, "p", PARTS, 0);
}

/* out = sum_p exp(lse_p - L) part_p: exps and the sum cost a few units each. */
static void compare_merge(const check *c, check_result *r)
{
	bind *b = (bind *)&c->a.b;
	const float *parts = bind_find(b, "parts")->data, *lses = bind_find(b, "lses")->data;
	const bind_arg *out = bind_find(b, "out");
	int64_t pairs = ROWS * c->a.p.heads, dim = out->shape[2];
	double unit = c->a.p.out == KIR_bf16  ? 0x1p-8
	              : c->a.p.out == KIR_f16 ? 0x1p-11
	                                      : 0x1p-24;
	snprintf(r->bound, sizeof r->bound, "2^-18 of the sum of magnitudes");
	for (int64_t i = 0; i < pairs; i++) {
		double total = 0;
		for (int p = 0; p < PARTS; p++)
			total += exp((double)lses[p * pairs + i]);
		for (int64_t d = 0; d < dim; d++) {
			double want = 0, sum = 0;
			for (int p = 0; p < PARTS && total > 0; p++) {
				double w = exp((double)lses[p * pairs + i]) / total;
				want += w * (double)parts[(p * pairs + i) * dim + d];
				sum += w * fabs((double)parts[(p * pairs + i) * dim + d]);
			}
			check_value(r, "out", i * dim + d,
			            elem_get(c->a.p.out, out->data, i * dim + d), want,
			            0x1p-18 * sum + unit * fabs(want) + 0x1p-100);
		}
	}
}

bool check_merge(check *c, uint64_t seed, char *why, size_t len)
{
	(void)seed;
	(void)why;
	(void)len;
	make_merge(c);
	for (unsigned i = 0; i < c->nmachine; i++) {
		check_result *r = &c->result[i];
		char reason[400];
		kvjit_kernel *k = r->failed ? NULL : check_compile(c, i);
		if (k && bind_call(&c->a.b, c->machine[i].kv, k, NULL, reason, sizeof reason) !=
		             KVJIT_OK)
			check_fail(r, "%s", reason);
		else if (k)
			compare_merge(c, r);
		kvjit_release(k);
	}
	return true;
}
