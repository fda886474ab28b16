/* SPDX-License-Identifier: Apache-2.0 */
/* load_cache.c -- pools of a paged cache to be measured on: one page as the format's own writer
 * leaves it, and as many copies of that as calls rotate through.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool load_fits(const attn *a, double bytes, double rows, char *why, size_t len)
{
	double have = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
	if (bytes <= have && rows <= INT32_MAX)
		return true;
	snprintf(why, len,
	         "batch=%lld ctx=%lld qlen=%lld needs %.1f GB and %.0f rows; this machine has "
	         "%.1f GB and a call takes at most %d rows",
	         (long long)(a->p.batch ? a->p.batch : 1), (long long)a->p.ctx,
	         (long long)(a->p.qlen ? a->p.qlen : 1), 1e-9 * bytes, rows, 1e-9 * have,
	         INT32_MAX);
	return false;
}

double load_page_bytes(const attn *a)
{
	double bytes = 0;
	for (unsigned i = 0; i < a->layout.ntensor; i++)
		bytes += (double)a->layout.tensor[i].page_bytes;
	return bytes;
}

double load_page_read(const attn *a)
{
	double bytes = 0;
	if (!strcmp(a->p.k_format, a->p.v_format))
		return load_page_bytes(a);
	for (unsigned i = 0; i < KIR_NSTREAM; i++) {
		const kir_type *t = &a->layout.stream[i].type;
		double n = kir_elem_bytes((kir_elem)t->elem);
		for (unsigned d = 1; d < t->rank; d++)
			n *= (double)t->dim[d];
		bytes += a->layout.stream[i].tensor < 0 ? 0 : n;
	}
	return bytes;
}

void load_pages(load *l, int pool, int64_t npages)
{
	for (; pool < l->npool; pool++) {
		size_t bytes = l->pool[pool].bytes / (size_t)npages;
		for (int64_t p = 1; p < npages; p++)
			memcpy((char *)l->pool[pool].data + (size_t)p * bytes,
			       l->pool[pool].data, bytes);
	}
}

bool load_pool_tensor(load *l, const char *name, int64_t npages, int64_t page_bytes, char *why,
                      size_t len)
{
	int64_t shape[2] = { npages, page_bytes };
	char *p = load_pool(l, (size_t)npages * (size_t)page_bytes);
	if (!p) {
		snprintf(why, len, "no memory for a pool of %.0f bytes",
		         (double)npages * (double)page_bytes);
		return false;
	}
	bind_borrow(&l->a.b, name, KVJIT_U8, 2, shape, p);
	return true;
}

static void random_rows(bind *w, const char *name, int64_t tokens, int64_t heads, int64_t dim)
{
	int64_t shape[3] = { tokens, heads, dim };
	load_fill(KIR_f32, bind_tensor(w, name, KVJIT_F32, 3, shape)->data,
	          tokens * heads * dim);
}

/* What is left of the writer's parameters: its tensors are those of l, `before` and `after`
 * their names there; scales and means are handed over, signs are 1. */
static bool bind_writer(load *l, bind *w, const kvjit_kernel *k, const char *before,
                        const char *after, char *why, size_t len)
{
	for (int i = 0; i < kvjit_nparam(k); i++) {
		const kvjit_param *p = kvjit_param_at(k, i);
		char name[2 * BIND_NAME];

		if (bind_find(w, p->name))
			continue;
		if (p->role & KVJIT_OUTPUT) {
			snprintf(name, sizeof name, "%s%s%s", before, p->name, after);
			const bind_arg *t = bind_find(&l->a.b, name);
			if (!t) {
				snprintf(why, len, "no tensor %s", name);
				return false;
			}
			bind_borrow(w, p->name, t->dtype, t->rank, t->shape, t->data);
			continue;
		}
		bind_arg *x = bind_tensor(w, p->name, p->dtype, p->rank, p->shape);
		int64_t n = 1;
		for (int j = 0; j < p->rank; j++)
			n *= p->shape[j];
		for (int64_t j = 0; j < n; j++)
			elem_set(p->dtype == KVJIT_F32 ? KIR_f32 : KIR_s8, x->data, j,
			         p->dtype == KVJIT_F32 ? 0.03 : 1);
	}
	return true;
}

bool load_write_page(load *l, kvjit *kv, const kir_problem *of, const char *before,
                     const char *after, char *why, size_t len)
{
	const kir_format *f = kir_format_find(l->a.m, of->k_format);
	int64_t page = of->page, rest = f ? f->rest : 0;
	kvjit_kernel *k = NULL;
	bind w = { 0 };
	random_rows(&w, "key", page, of->kv_heads, of->dim_k - rest);
	random_rows(&w, "value", page, of->kv_heads, of->dim_v);
	random_rows(&w, "rest", page, of->kv_heads, rest);
	int64_t *slots = bind_tensor(&w, "slots", KVJIT_S64, 1, &page)->data;
	bind_scalar(&w, "n", page, 0);
	for (int64_t i = 0; i < page; i++)
		slots[i] = i;
	char *text = attn_write_text(&l->a, of, &w);
	bool ok = kvjit_compile(kv, text, NULL, &k) == KVJIT_OK;
	if (!ok)
		snprintf(why, len, "the cache can't be written: %s", kvjit_error(kv));
	else
		ok = bind_writer(l, &w, k, before, after, why, len) &&
		     bind_call(&w, kv, k, NULL, why, len) == KVJIT_OK;
	kvjit_release(k);
	bind_free(&w);
	free(text);
	return ok;
}

bool load_cache(load *l, kvjit *kv, attn *a, int64_t npages, char *why, size_t len)
{
	int first = l->npool;
	a->npages = npages;
	for (unsigned i = 0; i < a->layout.ntensor; i++)
		if (!load_pool_tensor(l, a->layout.tensor[i].name, npages,
		                      a->layout.tensor[i].page_bytes, why, len))
			return false;
	if (!load_write_page(l, kv, &a->p, "", a->first ? "2" : "", why, len))
		return false;
	load_pages(l, first, npages);
	return true;
}

void load_shuffle(int32_t *order, int64_t n, uint64_t seed)
{
	for (int64_t i = 0; i < n; i++) {
		int64_t j = (int64_t)(load_random(&seed) % (uint64_t)(i + 1));
		order[i] = order[j];
		order[j] = (int32_t)i;
	}
}
