/* SPDX-License-Identifier: Apache-2.0 */
/* check_attn.c -- attention on a random mixed batch.
 *
 * The cache is written by the format's own writer, run by the interpreter. The interpreter
 * then runs the problem three ways: as it is, for the result; with f32 results, so that only
 * the kernel's rounding counts; and with |V| for V, which gives the sum of weights times |v|
 * that the bound needs, whatever the score and the mask are.
 */
#include "check.h"
#include "bound.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEQS = 6 };

/* -- the batch ----------------------------------------------------------------------------- */

/* Decodes, prefills longer than a tile, a chunked prefill, a sequence without new tokens and
 * an empty one; ends within pages and at their end. */
static void make_lengths(check *c, int32_t *lens, int32_t *starts)
{
	int32_t page = (int32_t)c->a.shape.page;
	int32_t n[SEQS] = { 1, (int32_t)check_int(c, 17, 40), 1,
		            0, (int32_t)check_int(c, 2, 5),   0 };
	lens[0] = (int32_t)check_int(c, 2 * page, 4 * page);
	lens[1] = n[1] + (int32_t)check_int(c, 0, page);
	lens[2] = page * (int32_t)check_int(c, 1, 2);
	lens[3] = (int32_t)check_int(c, 1, page);
	lens[4] = n[4] + (int32_t)check_int(c, page / 2, 2 * page);
	lens[5] = 0;
	starts[0] = 0;
	for (int i = 0; i < SEQS; i++)
		starts[i + 1] = starts[i] + n[i];
}

/* Pages of a's own in random order; entries past a sequence's end are garbage that mustn't
 * matter. */
static void make_pages(check *c, attn *a, const int32_t *lens, const int32_t *starts)
{
	int32_t max_pages = 1, npages = 0, page = (int32_t)a->shape.page;
	for (int i = 0; i < SEQS; i++) {
		int32_t pages = (lens[i] + page - 1) / page;
		npages += pages;
		max_pages = pages + 1 > max_pages ? pages + 1 : max_pages;
	}
	npages += 2;
	int32_t *order = calloc((size_t)npages, sizeof *order);
	int32_t *table = calloc((size_t)(SEQS * max_pages), sizeof *table), used = 0;
	for (int32_t i = 0; i < npages; i++)
		order[i] = i;
	for (int32_t i = npages - 1; i > 0; i--) {
		int32_t j = (int32_t)check_int(c, 0, i), t = order[i];
		order[i] = order[j];
		order[j] = t;
	}
	for (int i = 0; i < SEQS; i++)
		for (int32_t j = 0; j < max_pages; j++)
			table[i * max_pages + j] =
			    j * page < lens[i] ? order[used++] : 0x7ffffff0;
	attn_batch(a, SEQS, lens, starts, table, max_pages, npages);
	free(order);
	free(table);
}

/* With two caches each sequence is cut somewhere: the newest tokens are the second's. Some are
 * all in one of the two. */
static void make_batch(check *c)
{
	int32_t lens[SEQS], starts[SEQS + 1], rest[SEQS];
	make_lengths(c, lens, starts);
	for (int i = 0; c->a.second && i < SEQS; i++) {
		rest[i] = i == 2 ? 0 : i == 3 ? lens[i] : (int32_t)check_int(c, 0, lens[i]);
		lens[i] -= rest[i];
	}
	make_pages(c, &c->a, lens, starts);
	if (c->a.second)
		make_pages(c, c->a.second, rest, starts);
}

/* Index lists: slots in any order and more than once, -1, others that are none, and past a
 * list's end, or where nothing was written, slots that hold NaN. Every third slot is unwritten.
 * Row 1 has a list that names nothing; of two caches another row has none in one of them. n:
 * new tokens of each sequence. */
static void make_lists(check *c, attn *a, const int32_t *n)
{
	static const int32_t none[] = { -1, -2147483647 - 1, 0x7fffffff };
	int32_t most = (int32_t)a->p.sparse, bare = !attn_is_part(a) ? 1 : a->first ? 3 : 2;
	int32_t lens[SEQS] = { most, (int32_t)check_int(c, 1, most), 1, most / 2, most, 0 };
	int32_t starts[SEQS + 1] = { 0 }, slots = 5 * (int32_t)a->shape.page;
	for (int i = 0; i < SEQS; i++)
		starts[i + 1] = starts[i] + n[i];
	attn_batch(a, SEQS, lens, starts, NULL, 0, 5);
	int64_t shape[2] = { a->rows, most };
	int32_t *x = attn_tensor(a, "index", KVJIT_S32, 2, shape)->data;
	for (int32_t row = 0; row < a->rows; row++)
		for (int32_t j = 0; j < most; j++, x++) {
			int64_t kind = check_int(c, 0, 9);
			*x = (int32_t)check_int(c, 0, slots / 3 - 1) * 3 +
			     (int32_t)check_int(c, 0, 1);
			if (kind == 0)
				*x = none[check_int(c, 0, 2)];
			if (kind == 1)
				*x = slots + (int32_t)check_int(c, 0, 2 * slots);
			if (j >= lens[attn_seq(a, row)])
				*x = slots - slots % 3 - 1;
			if ((row == 1 || row == bare) && a->p.sparse > 1)
				*x = -1;
		}
}

/* -- the cache ----------------------------------------------------------------------------- */

/* The slots that are written; as many as there are tokens, or whole groups of them. */
static int64_t fill_slots(const attn *a, int64_t *slot)
{
	const int32_t *lens = attn_arg(a, "lens")->data;
	const bind_arg *table = a->p.sparse ? NULL : attn_arg(a, "table");
	int64_t n = 0, group = kir_format_tokens(a->format);
	for (int64_t i = 0; !table && i < a->npages * a->shape.page; i++)
		if (i % 3 != 2)
			slot[n++] = i;
	for (int64_t s = 0; table && s < a->nseq; s++)
		for (int64_t j = 0; j < lens[s] || (group && j % group); j++)
			slot[n++] = ((const int32_t *)
			                 table->data)[s * a->max_pages + j / a->shape.page] *
			                a->shape.page +
			            j % a->shape.page;
	return n;
}

/* The writer knows one cache, whose tensors have no 2 at the end of their names. */
static void bind_written(check *c, attn *a, bind *w)
{
	int64_t most = a->npages * a->shape.page, rest = a->format->rest;
	bind_arg *slots = bind_tensor(w, "slots", KVJIT_S64, 1, &most);
	int64_t tokens = slots->shape[0] = fill_slots(a, slots->data);
	int64_t ks[3] = { tokens, a->shape.kv_heads, a->shape.dim_k - rest };
	int64_t vs[3] = { tokens, a->shape.kv_heads, a->shape.dim_v };
	int64_t rs[3] = { tokens, a->shape.kv_heads, rest };
	bind_arg *key = bind_tensor(w, "key", KVJIT_F32, 3, ks);
	bind_arg *value = bind_tensor(w, "value", KVJIT_F32, 3, vs);
	bind_arg *tail = bind_tensor(w, "rest", KVJIT_F32, 3, rs);
	check_fill(c, KIR_f32, key->data, tokens * ks[1] * ks[2], 1);
	check_fill(c, KIR_f32, value->data, tokens * vs[1] * vs[2], 1);
	check_fill(c, KIR_f32, tail->data, tokens * rs[1] * rs[2], 1);
	bind_scalar(w, "n", tokens, 0);
	for (unsigned i = 0; i < a->layout.ntensor; i++) {
		bind_arg *t = bind_find(&c->a.b, a->layout.tensor[i].name);
		char name[BIND_NAME];
		snprintf(name, sizeof name, "%.*s", (int)strlen(t->name) - (a->first != NULL),
		         t->name);
		bind_borrow(w, name, t->dtype, t->rank, t->shape, t->data);
	}
}

/* Means of keys, signs of rotations, and scales: kd and vd for the writer are one a head;
 * attention gets the same for every sequence. */
static void bind_scales(check *c, attn *a, bind *w)
{
	const char *sign[2] = { a->first ? "ksign2" : "ksign", a->first ? "vsign2" : "vsign" };
	const char *mean = a->first ? "kmean2" : "kmean";
	int64_t heads[2] = { a->nseq, a->shape.kv_heads };
	check_mean(c, &c->a.b, mean, &a->format->side[0], a->shape.kv_heads, a->shape.dim_k);
	const bind_arg *m = bind_find(&c->a.b, mean);
	if (m)
		bind_borrow(w, "kmean", m->dtype, m->rank, m->shape, m->data);
	check_signs(c, &c->a.b, sign[0], &a->format->side[0], a->shape.dim_k);
	check_signs(c, &c->a.b, sign[1], &a->format->side[1], a->shape.dim_v);
	for (int side = 0; side < 2; side++) {
		bind_arg *s = bind_find(&c->a.b, sign[side]);
		if (s)
			bind_borrow(w, side ? "vsign" : "ksign", s->dtype, s->rank, s->shape,
			            s->data);
	}
	for (int side = 0; side < 2; side++) {
		const char *name = side ? "vd" : "kd";
		kir_gran g = a->format->side[side].gran;
		bool handed =
		    g == KIR_GRAN_tensor || g == KIR_GRAN_head || a->format->side[side].global;
		if (!handed || (side && a->format->shared))
			continue;
		bind_arg *one = bind_tensor(w, name, KVJIT_F32, 1, &heads[1]);
		bind_arg *all = attn_tensor(a, name, KVJIT_F32, 2, heads);
		float *from = one->data, *to = all->data;
		for (int64_t h = 0; h < heads[1]; h++)
			from[h] = h && g == KIR_GRAN_tensor
			              ? from[0]
			              : (float)(0.02 + 0.03 * check_uniform(c));
		for (int64_t s = 0; s < heads[0]; s++)
			memcpy(to + s * heads[1], from, (size_t)heads[1] * sizeof *to);
	}
}

static bool write_cache(check *c, attn *a, char *why, size_t len)
{
	kvjit_kernel *k = NULL;
	bind w = { 0 };
	bind_written(c, a, &w);
	bind_scales(c, a, &w);
	char *text = attn_write_text(a, &a->p, &w);
	bool ok = kvjit_compile(c->ref, text, NULL, &k) == KVJIT_OK;
	if (!ok)
		snprintf(why, len, "the cache can't be written: %s", kvjit_error(c->ref));
	else
		ok = bind_call(&w, c->ref, k, NULL, why, len) == KVJIT_OK;
	kvjit_release(k);
	bind_free(&w);
	free(text);
	return ok;
}

/* -- the other arguments ------------------------------------------------------------------- */

/* Long enough for whatever an index of the axis counts; of three axes the first one counts
 * sequences, heads or new tokens. */
static int64_t with_extent(const check *c, const kvjit_param *p, int axis)
{
	int64_t rows = c->a.rows > c->a.p.heads ? c->a.rows : c->a.p.heads;

	if (p->shape[axis] >= 0)
		return p->shape[axis];
	return p->rank == 3 && axis == 0 ? rows : 8 * c->a.shape.page + 64;
}

/* Arrays that score and mask expressions index: rising whole numbers, so that a mask over
 * documents has documents; of bytes half are 0, the others any; small values for floats. */
static void bind_with(check *c, const kvjit_param *p)
{
	int64_t shape[6], n = 1;
	for (int i = 0; i < p->rank; i++) {
		shape[i] = with_extent(c, p, i);
		n *= shape[i];
	}
	bind_arg *x = bind_tensor(&c->a.b, p->name, p->dtype, p->rank, shape);
	for (int64_t i = 0; i < n; i++)
		if (p->dtype == KVJIT_S32)
			((int32_t *)x->data)[i] = (int32_t)(i / 13);
		else if (p->dtype == KVJIT_S64)
			((int64_t *)x->data)[i] = i / 13;
		else if (p->dtype == KVJIT_U8)
			((uint8_t *)x->data)[i] =
			    (uint8_t)(check_int(c, 0, 1) ? check_int(c, 0, 255) : 0);
	if (p->dtype == KVJIT_F32)
		check_fill(c, KIR_f32, x->data, n, 0.5);
	if (p->dtype == KVJIT_BF16)
		check_fill(c, KIR_bf16, x->data, n, 0.5);
	if (p->dtype == KVJIT_F16)
		check_fill(c, KIR_f16, x->data, n, 0.5);
}

static void bind_rest(check *c, const kvjit_kernel *k)
{
	attn *a = &c->a;
	int64_t q[3] = { a->rows, a->p.heads, a->p.dim_k },
	        given[2] = { a->nseq, a->p.kv_heads };
	bind_arg *x = bind_tensor(&a->b, "q", bind_dtype(a->p.q), 3, q);
	check_fill(c, a->p.q, x->data, q[0] * q[1] * q[2], 1);
	bind_scalar(&a->b, "scale", 0, (float)(c->scale_sign / sqrt((double)a->p.dim_k)));
	x = bind_tensor(&a->b, "alibi", KVJIT_F32, 1, &a->p.heads);
	for (int64_t h = 0; h < a->p.heads; h++)
		((float *)x->data)[h] =
		    (float)exp2(-8.0 * (double)(h + 1) / (double)a->p.heads);
	x = bind_tensor(&a->b, "sink", KVJIT_F32, 1, &a->p.heads);
	check_fill(c, KIR_f32, x->data, a->p.heads, 2);
	if (a->p.qscale) {
		x = bind_tensor(&a->b, "qd", KVJIT_F32, 2, given);
		for (int64_t i = 0; i < given[0] * given[1]; i++)
			((float *)x->data)[i] = (float)(0.5 + check_uniform(c));
	}
	x = bind_tensor(&a->b, "causal_seq", KVJIT_S32, 1, &a->nseq);
	for (int64_t i = 0; i < a->nseq; i++)
		((int32_t *)x->data)[i] = (int32_t)(i % 2);
	for (int i = 0; i < kvjit_nparam(k); i++) {
		const kvjit_param *p = kvjit_param_at(k, i);
		if (!p->planned && p->rank && !(p->role & KVJIT_OUTPUT) &&
		    !bind_find(&a->b, p->name))
			bind_with(c, p);
	}
}

/* -- the reference ------------------------------------------------------------------------- */

typedef struct reference {
	double *out, *lse, *abs_out, *abs_lse;
} reference;

static void free_reference(reference *r)
{
	free(r->out);
	free(r->lse);
	free(r->abs_out);
	free(r->abs_lse);
}

/* Negative V codes lose their sign; -128 becomes 127, which the bound's rounding covers. */
static void make_abs(attn *a)
{
	kir_elem e = attn_elem(a, KIR_S_v);
	for (int64_t p = 0; p < a->npages; p++)
		for (int64_t h = 0; h < a->shape.kv_heads; h++)
			for (int64_t t = 0; t < a->shape.page; t++)
				for (int64_t d = 0; d < a->shape.dim_v; d++) {
					double x = attn_value(a, KIR_S_v, p, h, t, d);
					if (x < 0)
						attn_set(
						    a, KIR_S_v, p, h, t, d,
						    kir_encode(e, -x, KIR_ROUND_even, 0, 0));
				}
}

/* Values inside keys can't lose their sign alone, nor can codes with a zero point, nor ones
 * that are rotated. */
static bool sum_abs(check *c, kvjit_kernel *k, reference *r, char *why, size_t len)
{
	attn *a = &c->a;
	int64_t pairs = a->rows * a->p.heads;
	attn_outputs(a, k);
	bool ok = attn_call(a, c->ref, k, why, len);
	if (!ok)
		return false;
	attn_results(a, k, &r->out, &r->lse);
	r->abs_out = calloc((size_t)(pairs * a->p.dim_v) + 1, sizeof *r->abs_out);
	for (int64_t i = 0; i < pairs; i++)
		bound_abs_out(a, i / a->p.heads, i % a->p.heads, r->abs_out + i * a->p.dim_v);
	return true;
}

static bool run_reference(check *c, kvjit_kernel *k, reference *r, char *why, size_t len)
{
	attn *a = &c->a;
	if (a->second) { /* each cache's sums are the bound's business */
		attn_outputs(a, k);
		if (!attn_call(a, c->ref, k, why, len))
			return false;
		attn_results(a, k, &r->out, &r->lse);
		return true;
	}
	if (a->format->shared || a->format->side[1].range || a->format->side[1].rotate)
		return sum_abs(c, k, r, why, len);
	const char *name = a->layout.tensor[a->layout.stream[KIR_S_v].tensor].name;
	bind_arg *cache = bind_find(&a->b, name);
	char *kept = malloc(cache->bytes);
	attn_outputs(a, k);
	bool ok = attn_call(a, c->ref, k, why, len);
	if (ok) {
		attn_results(a, k, &r->out, &r->lse);
		memcpy(kept, cache->data, cache->bytes);
		make_abs(a);
		ok = attn_call(a, c->ref, k, why, len);
		attn_results(a, k, &r->abs_out, &r->abs_lse);
		memcpy(cache->data, kept, cache->bytes);
	}
	free(kept);
	return ok;
}

/* -- comparing ----------------------------------------------------------------------------- */

static void compare_two(check *c, const kvjit_kernel *k, const bound_profile p[2],
                        const reference *ref, check_result *r)
{
	const attn *a = &c->a;
	double *out, *lse;
	attn_results(a, k, &out, &lse);
	for (int64_t pair = 0; pair < a->rows * a->p.heads && !r->failed; pair++) {
		int64_t at = pair * a->p.dim_v;
		bound_two b = bound_two_of(a, p, pair / a->p.heads, pair % a->p.heads,
		                           ref->out + at, ref->lse[pair], a->p.out);
		if (!isnan(lse[pair]))
			check_value(r, "lse", pair, lse[pair], ref->lse[pair], b.lse);
		for (int64_t d = 0; d < a->p.dim_v; d++)
			check_value(r, "out", at + d, out[at + d], ref->out[at + d], b.out[d]);
	}
	free(out);
	free(lse);
}

static void compare(check *c, const kvjit_kernel *k, const bound_profile *p,
                    const reference *ref, check_result *r)
{
	const attn *a = &c->a;
	double *out, *lse;
	attn_results(a, k, &out, &lse);
	for (int64_t row = 0; row < a->rows && !r->failed; row++)
		for (int64_t h = 0; h < a->p.heads && !r->failed; h++) {
			bound_terms t = bound_terms_of(a, p, row, h);
			int64_t pair = row * a->p.heads + h;
			double extra = bound_extra(a, &t, h, t.len);
			if (!isnan(lse[pair]))
				check_value(r, "lse", pair, lse[pair], ref->lse[pair],
				            bound_lse(a, &t, ref->lse[pair], extra));
			for (int64_t d = 0; d < a->p.dim_v; d++) {
				int64_t i = pair * a->p.dim_v + d;
				check_value(r, "out", i, out[i], ref->out[i],
				            bound_out(a, p, &t, d, ref->abs_out[i], ref->out[i],
				                      extra, a->p.out));
			}
		}
	free(out);
	free(lse);
}

static void run_machine(check *c, unsigned i, const reference *ref)
{
	check_result *r = &c->result[i];
	bound_profile p[2];
	bool two = c->a.second;
	char why[400];
	kvjit_kernel *k = check_compile(c, i);
	if (!k)
		return;
	attn_outputs(&c->a, k);
	if (!bound_profile_of(k, c->machine[i].backend, false, &p[0], why, sizeof why) ||
	    (two &&
	     !bound_profile_of(k, c->machine[i].backend, true, &p[1], why, sizeof why)) ||
	    !attn_call(&c->a, c->machine[i].kv, k, why, sizeof why)) {
		check_fail(r, "%s", why);
	} else {
		snprintf(r->bound, sizeof r->bound, "bound of %s%s%s", p[0].name,
		         two ? " and " : "", two ? p[1].name : "");
		if (c->seen)
			c->seen(c, i);
		if (two)
			compare_two(c, k, p, ref, r);
		else
			compare(c, k, &p[0], ref, r);
	}
	kvjit_release(k);
}

bool check_attn(check *c, uint64_t seed, char *why, size_t len)
{
	kir_problem p = c->a.p;
	reference ref = { 0 };
	kvjit_kernel *k = NULL;
	c->scale_sign = seed % 3 == 2 ? -1 : 1;
	p.out = KIR_f32;
	p.lse = true;
	if (p.sparse) {
		int32_t n[SEQS] = { 1, (int32_t)check_int(c, 3, 9), 1, 0, 2, 1 };
		make_lists(c, &c->a, n);
		if (c->a.second)
			make_lists(c, c->a.second, n);
	} else {
		make_batch(c);
	}
	if (!write_cache(c, &c->a, why, len) ||
	    (c->a.second && !write_cache(c, c->a.second, why, len)))
		return false;
	char *text = attn_text(&c->a, &p);
	bool ok = kvjit_compile(c->ref, text, NULL, &k) == KVJIT_OK;
	if (!ok)
		snprintf(why, len, "%s", kvjit_error(c->ref));
	free(text);
	if (ok) {
		bind_rest(c, k);
		ok = run_reference(c, k, &ref, why, len);
	}
	for (unsigned i = 0; ok && i < c->nmachine; i++)
		if (!c->result[i].failed)
			run_machine(c, i, &ref);
	kvjit_release(k);
	free_reference(&ref);
	return ok;
}
