/* SPDX-License-Identifier: Apache-2.0 */
/* check_index.c -- an indexer: logits within the bound of f32 sums, and the choice exact.
 *
 * Where a knob has the query rounded to fewer bits, each of its elements is off by what that
 * takes from the largest of its row.
 *
 * What is chosen depends on logits to the last bit, which no bound says. So the logits that a
 * machine gives are held against those computed here, and its choice against its own logits:
 * the largest, of equal ones the earlier, in the order of the keys. Some rows see no key, some
 * fewer than are to be chosen; some pages aren't in the cache, some keys are equal, and what
 * must not be read is NaN.
 */
#include "bound.h"
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 7, SEQS = 2, PAGES = 9 };

typedef struct indexed {
	check *c;
	int64_t width, columns, heads, dim, page, topk; /* width: keys that count     */
	const int32_t *table, *seqs, *lens;
	bound_profile profile;
} indexed;

static void fill_cache(check *c)
{
	attn *a = &c->a;
	const kir_side *s = &a->format->side[0];
	bool stored = format_stored(s);
	int64_t groups = s->group ? a->p.dim_k / s->group : 1;
	double size = s->gran == KIR_GRAN_none ? 1 : kir_elem_max(attn_elem(a, KIR_S_k)) / 4;

	attn_cache(a, PAGES);
	for (int64_t page = 0; page < PAGES; page++)
		for (int64_t t = 0; t < a->p.page; t++) {
			/* every third key is the one before it: equal logits */
			int64_t like = page && t % 3 == 2 ? t - 1 : -1;

			for (int64_t g = 0; stored && g < groups; g++)
				attn_set(a, KIR_S_ks, page, 0, t, g,
				         like >= 0 ? attn_code(a, KIR_S_ks, page, 0, like, g)
				                   : kir_encode(s->scale_elem,
				                                0.01 + 0.05 * check_uniform(c),
				                                0, 0, 0));
			for (int64_t d = 0; d < a->p.dim_k; d++)
				attn_set(a, KIR_S_k, page, 0, t, d,
				         like >= 0
				             ? attn_code(a, KIR_S_k, page, 0, like, d)
				             : kir_encode(attn_elem(a, KIR_S_k),
				                          size * check_normal(c), 0, 0, 0));
		}
}

static int32_t *ints(check *c, const char *name, int rank, int64_t rows, int64_t columns)
{
	return bind_tensor(&c->a.b, name, KVJIT_S32, rank, (int64_t[]){ rows, columns })->data;
}

static indexed make(check *c)
{
	const kir_problem *p = &c->a.p;
	int64_t columns = PAGES + 1, width = columns * p->page - 3;
	indexed x = { c,       width, columns, p->heads, p->dim_k, p->page,
		      p->topk, NULL,  NULL,    NULL,     { 0 } };
	int32_t *table = ints(c, "table", 2, SEQS, columns),
	        *seqs = ints(c, "seqs", 1, ROWS, 0);
	int32_t *lens = ints(c, "lens", 1, ROWS, 0);
	int64_t n = ROWS * p->heads, nq[3] = { ROWS, p->heads, p->dim_k };
	bind_arg *q = bind_tensor(&c->a.b, "q", bind_dtype(p->q), 3, nq);
	bind_arg *w = bind_tensor(&c->a.b, "w", KVJIT_F32, 2, nq);

	fill_cache(c);
	for (int64_t i = 0; i < SEQS * columns; i++)
		table[i] = (int32_t)((i * 4 + 3) % PAGES);
	table[2] = PAGES;
	table[columns + 1] = -1;
	for (int t = 0; t < ROWS; t++) {
		seqs[t] = t % SEQS;
		lens[t] = (int32_t)check_int(c, 0, columns * p->page);
	}
	lens[0] = 0;
	lens[1] = (int32_t)(columns * p->page); /* beyond what counts */
	lens[2] = (int32_t)(p->topk < width ? p->topk : width);
	check_fill(c, p->q, q->data, n * p->dim_k, 1);
	check_fill(c, KIR_f32, w->data, n, 1);
	ints(c, "out", 2, ROWS, p->topk);
	bind_tensor(&c->a.b, "logits", KVJIT_F32, 2, (int64_t[]){ ROWS, columns * p->page });
	bind_scalar(&c->a.b, "n", ROWS, 0);
	bind_scalar(&c->a.b, "pages", PAGES, 0);
	bind_scalar(&c->a.b, "width", width, 0);
	x.table = table;
	x.seqs = seqs;
	x.lens = lens;
	return x;
}

static int64_t slot_of(const indexed *x, int64_t t, int64_t key)
{
	int32_t page = x->table[x->seqs[t] * x->columns + key / x->page];

	return page < 0 || page >= PAGES ? -1 : page * x->page + key % x->page;
}

/* Sums of f32 over the head and over heads, in any order; an element of the product is exact
 * but for what the query's is rounded by.
 */
static void check_logit(const indexed *x, check_result *r, int64_t t, int64_t key, double got)
{
	attn *a = &x->c->a;
	const bind_arg *q = bind_find(&a->b, "q"), *w = bind_find(&a->b, "w");
	int64_t slot = slot_of(x, t, key), page = slot / x->page, token = slot % x->page;
	double want = 0, sum = 0, moved = 0;

	if (slot < 0) {
		check_value(r, "logits", t * x->columns * x->page + key, got, -INFINITY, 1);
		return;
	}
	for (int64_t h = 0; h < x->heads; h++) {
		double s = 0, most = 0, amax = 0,
		       weight = elem_get(KIR_f32, w->data, t * x->heads + h);
		int64_t first = (t * x->heads + h) * x->dim;

		for (int64_t d = 0; d < x->dim; d++)
			amax = fmax(amax, fabs(elem_get(a->p.q, q->data, first + d)));
		for (int64_t d = 0; d < x->dim; d++) {
			double e = elem_get(a->p.q, q->data, first + d);
			double y = attn_element(a, 0, page, 0, token, d) *
			           attn_scale(a, 0, page, 0, token, d);

			s += e * y;
			most += fabs(e * y);
			moved += fabs(weight * y) * bound_query(&x->profile, a->p.q, e, amax);
		}
		want += weight * fmax(s, 0);
		sum += fabs(weight) * most;
	}
	check_value(r, "logits", t * x->columns * x->page + key, got, want,
	            (double)(x->dim + x->heads + 8) * 0x1p-24 * (sum + moved) + moved +
	                0x1p-120);
}

/* The row's choice by its own logits l. */
static void check_choice(const indexed *x, check_result *r, int64_t t, const float *l)
{
	const int32_t *out = (const int32_t *)bind_find(&x->c->a.b, "out")->data + t * x->topk;
	int64_t len = x->lens[t] < x->width ? x->lens[t] : x->width, used = 0;

	for (int64_t k = 0; k < len; k++) {
		int64_t before = 0;

		for (int64_t i = 0; i < len && before < x->topk; i++)
			before += l[i] > l[k] || (l[i] == l[k] && i < k);
		if (before >= x->topk || l[k] == -INFINITY)
			continue;
		r->compared++;
		if (out[used++] != slot_of(x, t, k))
			check_fail(r, "out[%lld,%lld] is %d; key %lld has slot %lld",
			           (long long)t, (long long)used - 1, out[used - 1],
			           (long long)k, (long long)slot_of(x, t, k));
	}
	for (; used < x->topk; used++)
		if (out[used] != -1)
			check_fail(r, "out[%lld,%lld] is %d behind the last key, not -1",
			           (long long)t, (long long)used, out[used]);
}

static void compare(const indexed *x, check_result *r)
{
	const float *logits = bind_find(&x->c->a.b, "logits")->data;
	int64_t all = x->columns * x->page;

	bool f32 = x->profile.qk == ARITH_f32;

	snprintf(r->bound, sizeof r->bound, "f32 sums%s%.*s; the choice by the logits exact",
	         f32 ? "" : ", ", f32 ? 0 : (int)strcspn(x->profile.name, " "),
	         x->profile.name);
	for (int64_t t = 0; t < ROWS; t++) {
		int64_t len = x->lens[t] < x->width ? x->lens[t] : x->width;

		for (int64_t k = 0; k < len; k++)
			check_logit(x, r, t, k, (double)logits[t * all + k]);
		check_choice(x, r, t, logits + t * all);
		for (int64_t k = len; k < all; k++)
			if (!isnan(logits[t * all + k]))
				check_fail(
				    r, "logits[%lld,%lld] is written, the row has %lld keys",
				    (long long)t, (long long)k, (long long)len);
	}
}

bool check_index(check *c)
{
	indexed x = make(c);

	for (unsigned i = 0; i < c->nmachine; i++) {
		check_result *r = &c->result[i];
		char reason[400];
		kvjit_kernel *k = r->failed ? NULL : check_compile(c, i);
		bind_arg *out = bind_find(&c->a.b, "out"), *l = bind_find(&c->a.b, "logits");

		if (k && !bound_profile_of(k, c->machine[i].backend, false, &x.profile, reason,
		                           sizeof reason))
			check_fail(r, "%s", reason);
		memset(out->data, 0x77, out->bytes);
		memset(l->data, 0xff, l->bytes);
		if (k && bind_call(&c->a.b, c->machine[i].kv, k, NULL, reason, sizeof reason) !=
		             KVJIT_OK)
			check_fail(r, "%s", reason);
		else if (k)
			compare(&x, r);
		kvjit_release(k);
	}
	return true;
}
