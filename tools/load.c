/* SPDX-License-Identifier: Apache-2.0 */
/* load.c -- see load.h. */
#include "load.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEFAULT_CTX = 4096, DEFAULT_ROWS = 8192, LISTS = 16 };

static uint64_t next(uint64_t *s)
{
	uint64_t z = *s += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	return z ^ z >> 27;
}

/* Normal enough: the sum of four uniform values, variance 1. */
static double normal(uint64_t *s)
{
	double x = 0;
	for (int i = 0; i < 4; i++)
		x += (double)(next(s) >> 11) * 0x1p-53 - 0.5;
	return x * 1.7320508;
}

void *load_pool(load *l, size_t bytes)
{
	void *p = l->npool < LOAD_POOLS ? kvjit_alloc(bytes) : NULL;
	if (p) {
		l->pool[l->npool].data = p;
		l->pool[l->npool++].bytes = bytes;
	}
	return p;
}

int64_t load_turns(double bytes, double cold)
{
	if (cold <= 0)
		return 1;
	int64_t n = (int64_t)ceil(cold / bytes);
	return n < 2 ? 2 : n;
}

void load_moves(load *l, const char *name, void *base, size_t step)
{
	for (int i = 0; i < l->narg; i++)
		if (strcmp(l->arg[i].name, name) == 0) {
			l->move[l->nmove].arg = i;
			l->move[l->nmove].base = base;
			l->move[l->nmove++].step = step;
		}
}

/* -- what all kernels need --------------------------------------------------------------- */

/* Whatever has no special meaning here: scales near 0.03, whole numbers 1, outputs as large as
 * the rows. open: extent of a first dimension that is known only at run time. */
void load_others(load *l, int64_t open)
{
	for (int i = 0; i < kvjit_nparam(l->k); i++) {
		const kvjit_param *p = kvjit_param_at(l->k, i);
		int64_t shape[6], n = 1;
		if (p->planned || bind_find(&l->a.b, p->name))
			continue;
		if (p->rank == 0) {
			bind_scalar(&l->a.b, p->name, open, 1);
			continue;
		}
		for (int d = 0; d < p->rank; d++) {
			shape[d] = p->shape[d] < 0 ? open : p->shape[d];
			n *= shape[d];
		}
		bind_arg *x = bind_tensor(&l->a.b, p->name, p->dtype, p->rank, shape);
		for (int64_t j = 0; j < n; j++)
			if (p->dtype == KVJIT_F32)
				((float *)x->data)[j] = 0.03f;
			else if (p->dtype == KVJIT_S32)
				((int32_t *)x->data)[j] = 1;
	}
}

void load_fill(kir_elem e, void *data, int64_t n)
{
	uint64_t rng = 7;
	for (int64_t i = 0; i < n; i++)
		elem_set(e, data, i, normal(&rng));
}

/* -- attention ---------------------------------------------------------------------------- */

/* One page of every tensor written by the format's own writer. */
static bool write_page(load *l, kvjit *kv, char *why, size_t len)
{
	attn *a = &l->a;
	kir_problem p = { .kind = KIR_WRITE,
		          .q = KIR_f32,
		          .k_format = a->p.k_format,
		          .v_format = a->p.v_format,
		          .heads = a->p.kv_heads,
		          .kv_heads = a->p.kv_heads,
		          .dim_k = a->p.dim_k,
		          .dim_v = a->p.dim_v,
		          .page = a->p.page,
		          .sched = kir_sched_default() };
	int64_t page = a->shape.page, heads[1] = { a->shape.kv_heads };
	int64_t ks[3] = { page, *heads, a->shape.dim_k - a->format->rest },
	        vs[3] = { page, *heads, a->shape.dim_v },
	        rs[3] = { page, *heads, a->format->rest };
	char *text = attn_text(a, &p);
	kvjit_kernel *k = NULL;
	bind w = { 0 };
	load_fill(KIR_f32, bind_tensor(&w, "key", KVJIT_F32, 3, ks)->data,
	          page * *heads * ks[2]);
	load_fill(KIR_f32, bind_tensor(&w, "value", KVJIT_F32, 3, vs)->data,
	          page * *heads * vs[2]);
	load_fill(KIR_f32, bind_tensor(&w, "rest", KVJIT_F32, 3, rs)->data,
	          page * *heads * rs[2]);
	int64_t *slots = bind_tensor(&w, "slots", KVJIT_S64, 1, &page)->data;
	float *kd = bind_tensor(&w, "kd", KVJIT_F32, 1, heads)->data;
	float *vd = bind_tensor(&w, "vd", KVJIT_F32, 1, heads)->data;
	bind_scalar(&w, "n", page, 0);
	for (int64_t i = 0; i < page; i++)
		slots[i] = i;
	for (int64_t h = 0; h < *heads; h++)
		kd[h] = vd[h] = 0.03f;
	for (unsigned i = 0; i < a->layout.ntensor; i++) {
		const bind_arg *t = bind_find(&a->b, a->layout.tensor[i].name);
		bind_borrow(&w, t->name, t->dtype, t->rank, t->shape, t->data);
	}
	bool ok = kvjit_compile(kv, text, NULL, &k) == KVJIT_OK;
	if (!ok)
		snprintf(why, len, "the cache can't be written: %s", kvjit_error(kv));
	else
		ok = bind_call(&w, kv, k, NULL, why, len) == KVJIT_OK;
	kvjit_release(k);
	bind_free(&w);
	free(text);
	return ok;
}

/* Sizes are products of hints up to 2^30 each: they are held against the machine in floating
 * point before any is multiplied as an integer. */
static bool fits(const attn *a, double bytes, double rows, char *why, size_t len)
{
	double have = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
	if (bytes <= have && rows <= INT32_MAX)
		return true;
	snprintf(why, len,
	         "batch=%lld ctx=%lld qlen=%lld needs %.1f GB and %.0f rows; this machine has "
	         "%.1f GB and a call takes at most %d rows",
	         (long long)a->p.batch, (long long)a->p.ctx, (long long)a->p.qlen, 1e-9 * bytes,
	         rows, 1e-9 * have, INT32_MAX);
	return false;
}

static bool make_cache(load *l, kvjit *kv, int64_t npages, char *why, size_t len)
{
	attn *a = &l->a;
	for (unsigned i = 0; i < a->layout.ntensor; i++) {
		size_t bytes = (size_t)a->layout.tensor[i].page_bytes;
		int64_t shape[2] = { npages, a->layout.tensor[i].page_bytes };
		char *p = load_pool(l, bytes * (size_t)npages);
		if (!p) {
			snprintf(why, len, "no memory for a pool of %zu bytes",
			         bytes * (size_t)npages);
			return false;
		}
		bind_borrow(&a->b, a->layout.tensor[i].name, KVJIT_U8, 2, shape, p);
	}
	if (!write_page(l, kv, why, len))
		return false;
	for (int i = 0; i < l->npool; i++) {
		size_t bytes = l->pool[i].bytes / (size_t)npages;
		for (int64_t p = 1; p < npages; p++)
			memcpy((char *)l->pool[i].data + (size_t)p * bytes, l->pool[i].data,
			       bytes);
	}
	return true;
}

/* Keys that each query sees, summed over the queries of one sequence. */
static double visible(const kir_problem *p, int64_t ctx, int64_t qlen)
{
	double sum = 0;
	for (int64_t i = 0; i < qlen; i++) {
		int64_t pos = ctx - qlen + i, n = p->causal == 1 ? pos + 1 : ctx;
		if (p->window && n > p->window)
			n = p->window;
		if (p->chunk && n > pos % p->chunk + 1)
			n = pos % p->chunk + 1;
		sum += (double)n;
	}
	return sum;
}

/* Keys of one sequence that some query may see: those before the first one's reach aren't read. */
static int64_t within_reach(const kir_problem *p, int64_t ctx, int64_t qlen)
{
	int64_t first = ctx - qlen, low = 0;
	if (p->window && first - p->window + 1 > low)
		low = first - p->window + 1;
	if (p->chunk && first / p->chunk * p->chunk > low)
		low = first / p->chunk * p->chunk;
	return ctx - low;
}

static bool open_attn(load *l, kvjit *kv, double cold, char *why, size_t len)
{
	attn *a = &l->a;
	int64_t batch = a->p.batch ? a->p.batch : 1, ctx = a->p.ctx ? a->p.ctx : DEFAULT_CTX;
	int64_t qlen = a->p.qlen ? a->p.qlen : 1, page_bytes = 0, topk = a->p.sparse;
	int64_t pages = (ctx + a->shape.page - 1) / a->shape.page, call_pages = batch * pages;
	if (qlen > ctx) {
		snprintf(why, len, "qlen is %lld; it must be at most ctx, %lld",
		         (long long)qlen, (long long)ctx);
		return false;
	}
	for (unsigned i = 0; i < a->layout.ntensor; i++)
		page_bytes += a->layout.tensor[i].page_bytes;
	l->bytes = (double)page_bytes / (double)a->shape.page * (double)batch *
	           (double)(topk ? topk * qlen : within_reach(&a->p, ctx, qlen));
	double row_bytes = 4.0 * (double)(a->p.heads * (a->p.dim_k + a->p.dim_v));
	if (!fits(a,
	          (double)page_bytes * (double)pages * (double)batch +
	              row_bytes * (double)batch * (double)qlen,
	          (double)batch * (double)qlen, why, len))
		return false;
	l->flops = 2 * (double)(a->p.heads * batch) * (double)(a->p.dim_k + a->p.dim_v) *
	           (topk ? (double)(topk * qlen) : visible(&a->p, ctx, qlen));
	/* index lists move over one cache, block tables over parts of it */
	l->turns =
	    topk ? (cold > 0 ? LISTS : 1) : load_turns((double)(page_bytes * call_pages), cold);
	a->npages = (topk ? 1 : l->turns) * call_pages;
	l->pool_bytes = (double)(a->npages * page_bytes);
	if (!make_cache(l, kv, a->npages, why, len))
		return false;

	int64_t rows = batch * qlen, q[3] = { rows, a->p.heads, a->p.dim_k };
	int64_t out[3] = { rows, a->p.heads, a->p.dim_v },
	        table[2] = { l->turns * batch, pages }, index[2] = { l->turns * rows, topk };
	int64_t next_start = batch + 1;
	uint64_t rng = 11;
	void *queries = bind_tensor(&a->b, "q", bind_dtype(a->p.q), 3, q)->data;
	bool room = queries && bind_tensor(&a->b, "out", bind_dtype(a->p.out), 3, out)->data &&
	            bind_tensor(&a->b, "lse", KVJIT_F32, 2, out)->data;
	bind_scalar(&a->b, "scale", 0, 1 / sqrt((double)a->p.dim_k));
	int32_t *lens = bind_tensor(&a->b, "lens", KVJIT_S32, 1, &batch)->data;
	int32_t *starts = bind_tensor(&a->b, "starts", KVJIT_S32, 1, &next_start)->data;
	int32_t *order = topk ? bind_tensor(&a->b, "index", KVJIT_S32, 2, index)->data
	                      : bind_tensor(&a->b, "table", KVJIT_S32, 2, table)->data;
	if (!room || !lens || !starts || !order) {
		snprintf(why, len, "no memory for the queries or the block table");
		return false;
	}
	load_fill(a->p.q, queries, rows * q[1] * q[2]);
	for (int64_t i = 0; i < batch; i++) {
		lens[i] = (int32_t)(topk ? topk : ctx);
		starts[i + 1] = starts[i] + (int32_t)qlen;
	}
	for (int64_t i = 0; topk && i < index[0] * topk; i++) {
		int64_t s = i / topk % rows / qlen; /* any token of the row's own sequence */
		order[i] = (int32_t)(s * pages * a->shape.page +
		                     (int64_t)(next(&rng) % (uint64_t)ctx));
	}
	for (int64_t i = 0; !topk && i < a->npages; i++) {
		int64_t j = (int64_t)(next(&rng) % (uint64_t)(i + 1));
		order[i] = order[j];
		order[j] = (int32_t)i;
	}
	load_others(l, rows > ctx ? rows : ctx);
	l->narg = bind_args(&a->b, l->k, l->arg, why, len);
	load_moves(l, topk ? "index" : "table", order,
	           (size_t)(topk ? rows * topk : call_pages) * sizeof *order);
	kvjit_batch b = { .size = sizeof b,
		          .nseq = batch,
		          .seq_lens = lens,
		          .query_starts = starts,
		          .npages = a->npages };
	if (l->narg < 0)
		return false;
	if (kvjit_plan_new(l->k, &b, &l->plan) == KVJIT_OK)
		return true;
	snprintf(why, len, "plan: %s", kvjit_kernel_error(l->k));
	return false;
}

/* -- writers ------------------------------------------------------------------------------- */

/* Input rows [turns * tokens, heads, dim] under a name. */
static bool make_input(load *l, const char *name, int64_t tokens, int64_t dim)
{
	attn *a = &l->a;
	kir_elem e = a->p.q;
	int64_t shape[3] = { tokens, a->p.heads, dim };
	size_t part = (size_t)(tokens * a->p.heads * dim) * kir_elem_bytes(e);
	char *p = load_pool(l, part * (size_t)l->turns);
	if (!p)
		return false;
	load_fill(e, p, tokens * a->p.heads * dim);
	for (int64_t t = 1; t < l->turns; t++)
		memcpy(p + (size_t)t * part, p, part);
	bind_borrow(&a->b, name, bind_dtype(e), 3, shape, p);
	return true;
}

static bool open_write(load *l, double cold, char *why, size_t len)
{
	attn *a = &l->a;
	bool write = a->p.kind == KIR_WRITE;
	int64_t tokens = a->p.ctx ? a->p.ctx : DEFAULT_ROWS, page = write ? a->shape.page : 1;
	int64_t dims = a->p.dim_k + (write && !a->format->shared ? a->p.dim_v : 0);
	int64_t pages = (tokens + page - 1) / page, slots_shape;
	l->bytes = (double)(tokens * a->p.heads) * (double)dims * kir_elem_bytes(a->p.q);
	if (!fits(a, 2 * l->bytes, (double)tokens, why, len))
		return false;
	l->turns = load_turns(l->bytes, cold);
	l->pool_bytes = l->bytes * (double)l->turns;
	int64_t rest = write ? a->format->rest : 0;
	const char *second = !write ? NULL : rest ? "rest" : a->format->shared ? NULL : "value";
	bool ok = make_input(l, write ? "key" : "x", tokens, a->p.dim_k - rest) &&
	          (!second || make_input(l, second, tokens, rest ? rest : a->p.dim_v));
	for (unsigned i = 0; ok && write && i < a->layout.ntensor; i++) {
		int64_t shape[2] = { l->turns * pages, a->layout.tensor[i].page_bytes };
		char *p = load_pool(l, (size_t)(shape[0] * shape[1]));
		ok = p != NULL;
		if (ok) {
			/* an engine's pool has been written before: no page is new */
			memset(p, 0x5a, (size_t)(shape[0] * shape[1]));
			bind_borrow(&a->b, a->layout.tensor[i].name, KVJIT_U8, 2, shape, p);
		}
	}
	if (!ok) {
		snprintf(why, len, "no memory for the rows or the cache");
		return false;
	}
	slots_shape = l->turns * tokens;
	int64_t *slots = bind_tensor(&a->b, "slots", KVJIT_S64, 1, &slots_shape)->data;
	if (!slots) {
		snprintf(why, len, "no memory for %lld slots", (long long)slots_shape);
		return false;
	}
	for (int64_t i = 0; i < slots_shape; i++)
		slots[i] = i / tokens * pages * page + i % tokens;
	bind_scalar(&a->b, "n", tokens, 0);
	load_others(l, tokens);
	l->narg = bind_args(&a->b, l->k, l->arg, why, len);
	if (l->narg < 0)
		return false;
	load_moves(l, "slots", slots, (size_t)tokens * sizeof *slots);
	load_moves(l, write ? "key" : "x", l->pool[0].data,
	           l->pool[0].bytes / (size_t)l->turns);
	if (second)
		load_moves(l, second, l->pool[1].data, l->pool[1].bytes / (size_t)l->turns);
	return true;
}

/* -- a load ----------------------------------------------------------------------------------
 */

bool load_time_compile(load *l, kvjit *kv, const char *text, const char *sched)
{
	kvjit_compile_options o = { .size = sizeof o, .sched = sched, .flags = KVJIT_FRESH };
	double ms[3];

	for (int i = 0; i < 3; i++) {
		double start = measure_now();
		kvjit_kernel *k = NULL;

		if (kvjit_compile(kv, text, &o, &k) != KVJIT_OK)
			return false;
		ms[i] = 1e3 * (measure_now() - start);
		kvjit_release(k);
	}
	l->compile_ms = kt_spread_of(ms, 3).median;
	return true;
}

/* The kernel that a host would get, with what was tuned for it. */
static bool compile(load *l, kvjit *kv, const char *text, const char *sched, char *why,
                    size_t len)
{
	kvjit_compile_options o = { .size = sizeof o, .sched = sched };

	if (kvjit_compile(kv, text, &o, &l->k) == KVJIT_OK)
		return true;
	snprintf(why, len, "%s", kvjit_error(kv));
	return false;
}

bool load_open(load *l, kvjit *kv, const char *text, const char *sched, double cold, char *why,
               size_t len)
{
	memset(l, 0, sizeof *l);
	if (!attn_open(&l->a, text, why, len) || !compile(l, kv, text, sched, why, len))
		return false;
	bool ok = false;
	if (l->a.p.kind == KIR_ATTN)
		ok = open_attn(l, kv, cold, why, len);
	else if (l->a.p.kind == KIR_WRITE || l->a.p.kind == KIR_QUANT)
		ok = open_write(l, cold, why, len);
	else if (l->a.p.kind == KIR_GEMM)
		ok = load_gemm(l, cold, why, len);
	else
		snprintf(why, len, "bench takes attn, write, quant and gemm problems");
	return ok && (!kvjit_device_name(kv) || load_to_device(l, kv, why, len));
}

void load_close(load *l)
{
	load_leave_device(l);
	kvjit_plan_free(l->plan);
	kvjit_release(l->k);
	for (int i = 0; i < l->npool; i++)
		kvjit_free(l->pool[i].data, l->pool[i].bytes);
	attn_close(&l->a);
}

bool load_call(load *l)
{
	double ignored;
	return load_timed_call(l, &ignored);
}

bool load_timed_call(load *l, double *seconds)
{
	for (int i = 0; i < l->nmove; i++)
		l->arg[l->move[i].arg].data =
		    l->move[i].base + l->move[i].step * (size_t)l->turn;
	l->turn = (l->turn + 1) % l->turns;
	if (l->queue)
		return load_device_call(l, seconds);
	double start = measure_now();
	bool ok = kvjit_call(l->k, l->plan, l->arg, l->narg, NULL) == KVJIT_OK;
	*seconds = measure_now() - start;
	return ok;
}

bool load_writes(const load *l)
{
	return l->a.p.kind != KIR_ATTN && l->a.p.kind != KIR_GEMM;
}

const void *load_memory(const load *l, size_t *bytes)
{
	int most = 0; /* writers read their rows, which are the first pool */
	for (int i = 1; i < l->npool && !load_writes(l); i++)
		if (l->pool[i].bytes > l->pool[most].bytes)
			most = i;
	*bytes = l->pool[most].bytes;
	return l->pool[most].data;
}

size_t load_block_bytes(const load *l)
{
	const kvjit_param *p;
	if (l->a.p.sparse && l->a.layout.ntensor)
		return (size_t)(l->a.layout.tensor[0].page_bytes / l->a.shape.page);
	for (int i = 0; i < kvjit_nparam(l->k); i++) {
		p = kvjit_param_at(l->k, i);
		/* the page's stride, then the head's; a native page holds one after the other
		 */
		if (p->dtype == KVJIT_U8 && p->nstride == 2)
			return (size_t)p->stride[1];
	}
	return 0;
}

double load_call_us(load *l)
{
	enum { CALLS = 2000, ROUNDS = 15 };
	double sample[ROUNDS];
	kvjit_plan *empty = NULL;
	kvjit_batch none = { .size = sizeof none };
	if (!l->plan || kvjit_plan_new(l->k, &none, &empty) != KVJIT_OK)
		return NAN;
	for (int r = 0; r < ROUNDS; r++) {
		double start = measure_now();
		for (int i = 0; i < CALLS; i++)
			kvjit_call(l->k, empty, l->arg, l->narg, NULL);
		sample[r] = 1e6 * (measure_now() - start) / CALLS;
	}
	kvjit_plan_free(empty);
	return kt_spread_of(sample, ROUNDS).median;
}
