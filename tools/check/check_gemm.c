/* SPDX-License-Identifier: Apache-2.0 */
/* check_gemm.c -- block-scaled products against sums in double of the very codes and scales,
 * and packed weights to the byte.
 *
 * Rows are strided, scales of rows lie in rows or columns, a row and a column hold NaN, an
 * exponent of 0 is among the scales. The bound of an output is that of any order of f32
 * additions: (depth + 16) u of the sum of magnitudes, and its own rounding. Where a knob has
 * rows rounded to fewer bits, each element is off by what that takes from the largest of its
 * row.
 */
#include "bound.h"
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 64 }; /* columns side by side in packed weights */

typedef struct product {
	int64_t rows, cols, depth, block;
	int64_t items; /* of a row of weights, as they lie: elements or bytes */
	const kir_side *acts, *weights;
	int64_t stride;       /* of a row of acts */
	bool columns;         /* scales of acts lie in columns */
	double *left, *right; /* values times scales */
} product;

static int64_t parts_of(int64_t n, int64_t group)
{
	return group ? (n + group - 1) / group : 1;
}

static bool stored(const kir_side *s)
{
	return s->gran == KIR_GRAN_token_head || s->gran == KIR_GRAN_group;
}

static void fill_scales(check *c, kir_elem e, void *data, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		elem_set(e, data, i, ldexp(0.5 + check_uniform(c), (int)check_int(c, -6, -2)));
	if (e == KIR_e8m0 && n)
		((unsigned char *)data)[check_int(c, 0, n - 1)] = 0;
}

/* What a buffer of codes is of: bytes, where two lie in each. */
static kir_elem item_of(const kir_side *s)
{
	return s->bits == 4 ? KIR_u8 : s->elem;
}

/* Code k of row `row`, whose rows are `stride` codes apart, as a value. */
static double code_at(const kir_side *s, const void *data, int64_t row, int64_t stride,
                      int64_t k)
{
	bool high;
	unsigned bits;

	if (s->bits != 4)
		return elem_get(s->elem, data, row * stride + k);
	bits = ((const unsigned char *)data)[row * stride / 2 + kir_side_byte(s, k, &high)];
	return kir_decode(s->elem, kir_side_code(s, high ? bits >> 4 : bits));
}

/* n codes of all values. */
static void fill_codes(check *c, const kir_side *s, void *data, int64_t n)
{
	if (s->bits != 4) {
		check_fill(c, s->elem, data, n, s->elem == KIR_s8 ? 40 : 1);
		return;
	}
	for (int64_t i = 0; i < n / 2; i++)
		((unsigned char *)data)[i] = (unsigned char)check_int(c, 0, 255);
}

/* As products take it: an exponent's bits become an f32's. */
static double scale_at(kir_elem e, const void *data, int64_t i)
{
	double x = elem_get(e, data, i);

	return e == KIR_e8m0 && x <= 0x1p-127 ? 0 : x;
}

/* -- weights ---------------------------------------------------------------------------- */

/* Where element (n, k) of packed weights lies. */
static int64_t packed_at(const product *g, int64_t size, int64_t n, int64_t k)
{
	int64_t unit = 4 / size, words = (g->items + unit - 1) / unit;

	return ((n / SIDE * words + k / unit) * SIDE + n % SIDE) * unit + k % unit;
}

static int64_t packed_count(const product *g, int64_t size)
{
	int64_t unit = 4 / size;

	return parts_of(g->cols, SIDE) * SIDE * parts_of(g->items, unit) * unit;
}

static void pack(const product *g, int64_t size, const char *from, char *to)
{
	memset(to, 0, (size_t)(packed_count(g, size) * size));
	for (int64_t n = 0; n < g->cols; n++)
		for (int64_t k = 0; k < g->items; k++)
			memcpy(to + packed_at(g, size, n, k) * size,
			       from + (n * g->items + k) * size, (size_t)size);
}

static const kir_side *side_of(const check *c, const char *format)
{
	return &kir_format_find(c->a.m, format)->side[0];
}

static bool open_product(const check *c, product *g, char *why, size_t len)
{
	const kir_problem *p = &c->a.p;
	kir_diag d = { 0 };

	*g = (product){ .cols = p->dim_v, .depth = p->dim_k, .block = p->block ? p->block : 1 };
	if (!kir_format_get(c->a.m, p->k_format, &d) ||
	    !kir_format_get(c->a.m, p->v_format, &d)) {
		kir_diag_text(&d, why, len);
		return false;
	}
	g->acts = side_of(c, p->k_format);
	g->weights = side_of(c, p->v_format);
	g->items = g->depth / kir_side_per(g->weights);
	return true;
}

bool check_pack(check *c, char *why, size_t len)
{
	product g;

	if (!open_product(c, &g, why, len))
		return false;
	kir_elem e = item_of(g.weights);
	int64_t size = kir_elem_bytes(e), n = packed_count(&g, size);
	int64_t shape[2] = { g.cols, g.items }, unit = 4 / size;
	int64_t packed[4] = { parts_of(g.cols, SIDE), parts_of(g.items, unit), SIDE, unit };
	bind_arg *x = bind_tensor(&c->a.b, "x", bind_dtype(e), 2, shape);
	bind_arg *y = bind_tensor(&c->a.b, "y", bind_dtype(e), 4, packed);
	char *want = malloc((size_t)(n * size));

	/* any bits, NaN among them: they are copied */
	for (size_t i = 0; i < x->bytes; i++)
		((unsigned char *)x->data)[i] = (unsigned char)check_int(c, 0, 255);
	pack(&g, size, x->data, want);
	for (unsigned i = 0; i < c->nmachine; i++) {
		check_result *r = &c->result[i];
		kvjit_kernel *k = r->failed ? NULL : check_compile(c, i);
		char reason[400];

		snprintf(r->bound, sizeof r->bound, "byte for byte");
		memset(y->data, 0xa5, y->bytes);
		if (k && bind_call(&c->a.b, c->machine[i].kv, k, NULL, reason, sizeof reason) !=
		             KVJIT_OK)
			check_fail(r, "%s", reason);
		for (int64_t j = 0; k && j < n * size; j++) {
			r->compared++;
			if (((char *)y->data)[j] != want[j])
				check_fail(r, "byte %lld of 'y' is wrong", (long long)j);
		}
		kvjit_release(k);
	}
	free(want);
	return true;
}

/* -- products ------------------------------------------------------------------------------ */

static void make_acts(check *c, product *g)
{
	kir_elem e = item_of(g->acts);
	int64_t per = kir_side_per(g->acts), shape[2] = { g->rows, g->stride / per };
	bind_arg *a = bind_tensor(&c->a.b, "a", bind_dtype(e), 2, shape);

	fill_codes(c, g->acts, a->data, g->rows * g->stride);
	if (g->rows > 2 && kir_is_float(e))
		elem_set(e, a->data, g->stride + check_int(c, 0, g->depth - 1), NAN);
	a->shape[1] = g->depth / per;
	a->nstride = 1;
	a->stride[0] = g->stride / per;
	if (!stored(g->acts))
		return;
	int64_t parts = parts_of(g->depth, g->acts->group);
	bind_arg *s = bind_tensor(&c->a.b, "as", bind_dtype(g->acts->scale_elem), 2,
	                          (int64_t[]){ g->rows, parts });
	fill_scales(c, g->acts->scale_elem, s->data, g->rows * parts);
	s->nstride = 2;
	s->stride[0] = g->columns ? 1 : parts;
	s->stride[1] = g->columns ? g->rows : 1;
}

/* Rows that the kernel is to quantize: finite, so that nothing depends on who does it. */
static void make_input(check *c, product *g)
{
	int64_t shape[2] = { g->rows, g->depth };
	int64_t parts[2] = { g->rows, parts_of(g->depth, g->acts->group) };
	bind_arg *x = bind_tensor(&c->a.b, "x", bind_dtype(c->a.p.q), 2, shape);

	check_fill(c, c->a.p.q, x->data, g->rows * g->depth, 1);
	shape[1] /= kir_side_per(g->acts);
	bind_tensor(&c->a.b, "a", bind_dtype(item_of(g->acts)), 2, shape);
	bind_tensor(&c->a.b, "as", bind_dtype(g->acts->scale_elem), 2, parts);
}

static void make_weights(check *c, const product *g)
{
	kir_elem e = item_of(g->weights);
	int64_t size = kir_elem_bytes(e), unit = 4 / size;
	int64_t rows[2] = { g->cols, g->items };
	int64_t packed[4] = { parts_of(g->cols, SIDE), parts_of(g->items, unit), SIDE, unit };
	bind plain = { 0 };
	bind_arg *w = bind_tensor(&plain, "w", bind_dtype(e), 2, rows);

	fill_codes(c, g->weights, w->data, g->cols * g->depth);
	if (g->cols > 2 && kir_is_float(e))
		elem_set(e, w->data, 2 * g->depth + check_int(c, 0, g->depth - 1), NAN);
	for (int64_t i = 0; i < g->cols * g->depth; i++)
		g->right[i] =
		    code_at(g->weights, w->data, i / g->depth, g->depth, i % g->depth);
	if (c->a.p.packed)
		pack(g, size, w->data,
		     bind_tensor(&c->a.b, "w", bind_dtype(e), 4, packed)->data);
	else
		memcpy(bind_tensor(&c->a.b, "w", bind_dtype(e), 2, rows)->data, w->data,
		       w->bytes);
	bind_free(&plain);
	if (!stored(g->weights))
		return;
	int64_t n[2] = { parts_of(g->cols, g->block), parts_of(g->depth, g->weights->group) };
	kir_elem se = g->weights->scale_elem;
	bind_arg *s = bind_tensor(&c->a.b, "ws", bind_dtype(se), 2, n);
	fill_scales(c, se, s->data, n[0] * n[1]);
	for (int64_t i = 0; i < g->cols * g->depth; i++) {
		int64_t k = i % g->depth / (g->weights->group ? g->weights->group : g->depth);

		g->right[i] *= scale_at(se, s->data, i / g->depth / g->block * n[1] + k);
	}
}

/* Values of the rows as they are now bound. */
static void read_acts(const check *c, product *g)
{
	const bind_arg *a = bind_find((bind *)&c->a.b, "a");
	const bind_arg *s = bind_find((bind *)&c->a.b, "as");
	int64_t parts = parts_of(g->depth, g->acts->group);

	for (int64_t i = 0; i < g->rows * g->depth; i++) {
		int64_t row = i / g->depth, k = i % g->depth;
		int64_t part = g->acts->group ? k / g->acts->group : 0;

		g->left[i] = code_at(g->acts, a->data, row, g->stride, k);
		if (s)
			g->left[i] *=
			    scale_at(g->acts->scale_elem, s->data,
			             g->columns ? part * g->rows + row : row * parts + part);
	}
}

/* What the knob has rows rounded to; integers stay as they are, and without it so does all. */
static bool find_profile(const check *c, const product *g, unsigned i, const kvjit_kernel *k,
                         bound_profile *p, char *why, size_t len)
{
	if (!bound_profile_of(k, c->machine[i].backend, false, p, why, len))
		return false;
	p->qk = p->pv > p->qk ? p->pv : p->qk;
	if (kir_is_int(g->acts->elem) || (p->qk >= ARITH_int8 && !p->asked) ||
	    !bound_query(p, g->acts->elem, 1, 1))
		p->qk = ARITH_f32;
	return true;
}

static void compare(const check *c, const product *g, const bound_profile *p, check_result *r)
{
	kir_elem e = c->a.p.out;
	const void *got = bind_find((bind *)&c->a.b, "c")->data;
	double unit = e == KIR_bf16 ? 0x1p-8 : e == KIR_f16 ? 0x1p-11 : 0x1p-24;

	snprintf(r->bound, sizeof r->bound, "(depth + 16) u of the sum of magnitudes%s",
	         p->qk == ARITH_f32 ? "" : ", rows rounded");
	for (int64_t i = 0; i < g->rows * g->cols; i++) {
		const double *x = g->left + i / g->cols * g->depth;
		const double *w = g->right + i % g->cols * g->depth;
		double want = 0, sum = 0, have = elem_get(e, got, i), amax = 0, moved = 0;

		for (int64_t k = 0; k < g->depth; k++) {
			want += x[k] * w[k];
			sum += fabs(x[k] * w[k]);
			amax = fmax(amax, fabs(x[k]));
		}
		for (int64_t k = 0; k < g->depth && p->qk != ARITH_f32; k++)
			moved += fabs(w[k]) * bound_query(p, g->acts->elem, x[k], amax);
		if (isnan(want)) {
			r->compared++;
			if (!isnan(have))
				check_fail(r, "c[%lld] is %g, the sum NaN", (long long)i, have);
			continue;
		}
		check_value(r, "c", i, have, want,
		            ((double)g->depth + 16) * 0x1p-24 * (sum + moved) + moved +
		                unit * (fabs(want) + moved) + 0x1p-24);
	}
}

/* What quantizing first leaves in a and as must be the interpreter's bytes. */
static bool quantized(const check *c, const bind *want, check_result *r)
{
	for (unsigned i = 0; i < want->n && !r->failed; i++) {
		const bind_arg *x = &want->at[i], *y = bind_find((bind *)&c->a.b, x->name);

		if (memcmp(x->data, y->data, x->bytes) != 0)
			check_fail(r, "'%s' isn't the interpreter's", x->name);
	}
	return !r->failed;
}

static bool interpret(check *c, bind *want, char *why, size_t len)
{
	kvjit_kernel *k = NULL;
	bool ok = kvjit_compile(c->ref, c->text, NULL, &k) == KVJIT_OK;

	if (!ok)
		snprintf(why, len, "%s", kvjit_error(c->ref));
	ok = ok && bind_call(&c->a.b, c->ref, k, NULL, why, len) == KVJIT_OK;
	kvjit_release(k);
	for (int i = 0; ok && i < 2; i++) {
		const bind_arg *x = bind_find(&c->a.b, i ? "as" : "a");

		memcpy(bind_tensor(want, x->name, x->dtype, x->rank, x->shape)->data, x->data,
		       x->bytes);
	}
	return ok;
}

/* Elements between two rows: any even number, but on devices, whose blocks of memory begin at
 * multiples of 64 bytes. */
static int64_t row_gap(check *c)
{
	int64_t n = check_int(c, 0, 20);

	for (unsigned i = 0; i < c->nmachine; i++)
		if (kvjit_device_name(c->machine[i].kv))
			return n % 3 * 128;
	return 2 * n;
}

bool check_gemm(check *c, char *why, size_t len)
{
	static const int rows[] = { 1, 37, 4, 70, 3, 33, 0, 14, 55, 2 };
	bind want = { 0 };
	product g;
	bool ok = open_product(c, &g, why, len);

	if (!ok)
		return false;
	g.rows = rows[check_int(c, 0, 9)];
	g.stride = g.depth + (c->a.p.fused ? 0 : row_gap(c));
	g.columns = !c->a.p.fused && check_int(c, 0, 1);
	g.left = calloc((size_t)(g.rows * g.depth + 1), sizeof *g.left);
	g.right = calloc((size_t)(g.cols * g.depth), sizeof *g.right);
	if (c->a.p.fused)
		make_input(c, &g);
	else
		make_acts(c, &g);
	make_weights(c, &g);
	bind_arg *out =
	    bind_tensor(&c->a.b, "c", bind_dtype(c->a.p.out), 2, (int64_t[]){ g.rows, g.cols });
	bind_scalar(&c->a.b, "n", g.rows, 0);
	if (c->a.p.fused)
		ok = interpret(c, &want, why, len);
	for (unsigned i = 0; ok && i < c->nmachine; i++) {
		check_result *r = &c->result[i];
		kvjit_kernel *k = r->failed ? NULL : check_compile(c, i);
		bound_profile profile;
		char reason[400];

		if (out->bytes)
			memset(out->data, 0xff, out->bytes);
		if (k && bind_call(&c->a.b, c->machine[i].kv, k, NULL, reason, sizeof reason) !=
		             KVJIT_OK) {
			check_fail(r, "%s", reason);
		} else if (k && !find_profile(c, &g, i, k, &profile, reason, sizeof reason)) {
			check_fail(r, "%s", reason);
		} else if (k && quantized(c, &want, r)) {
			r->compared += g.rows == 0; /* the call itself */
			read_acts(c, &g);
			compare(c, &g, &profile, r);
		}
		kvjit_release(k);
	}
	free(g.left);
	free(g.right);
	bind_free(&want);
	return ok;
}
