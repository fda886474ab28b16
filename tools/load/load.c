/* SPDX-License-Identifier: Apache-2.0 */
/* load.c -- see load.h. */
#include "load.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t load_random(uint64_t *s)
{
	uint64_t z = *s += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	return z ^ z >> 27;
}

/* Normal enough: the sum of four uniform values, variance 1. */
double load_normal(uint64_t *s)
{
	double x = 0;
	for (int i = 0; i < 4; i++)
		x += (double)(load_random(s) >> 11) * 0x1p-53 - 0.5;
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

/* Whatever has no special meaning here: scales near 0.03, whole numbers and signs 1, outputs as
 * large as the rows. open: extent of a first dimension that is known only at run time, or of
 * the last of several, of which the others are as many as there are rows or heads. */
void load_others(load *l, int64_t open)
{
	const kir_problem *of = &l->a.p;
	int64_t rows = (of->batch ? of->batch : 1) * (of->qlen ? of->qlen : 1);

	rows = rows > of->heads ? rows : of->heads;
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
			bool outer = d + 1 < p->rank && p->shape[p->rank - 1] < 0;

			shape[d] = p->shape[d] >= 0 ? p->shape[d] : outer ? rows : open;
			n *= shape[d];
		}
		bind_arg *x = bind_tensor(&l->a.b, p->name, p->dtype, p->rank, shape);
		for (int64_t j = 0; j < n; j++)
			if (p->dtype == KVJIT_F32)
				((float *)x->data)[j] = 0.03f;
			else if (p->dtype == KVJIT_S32)
				((int32_t *)x->data)[j] = 1;
			else if (p->dtype == KVJIT_S8)
				((int8_t *)x->data)[j] = 1;
			else if (p->dtype == KVJIT_U8) /* a mask that hides nothing */
				((uint8_t *)x->data)[j] = 255;
	}
}

void load_fill(kir_elem e, void *data, int64_t n)
{
	uint64_t rng = 7;
	for (int64_t i = 0; i < n; i++)
		elem_set(e, data, i, load_normal(&rng));
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
	int64_t tokens = a->p.ctx ? a->p.ctx : LOAD_ROWS, page = write ? a->shape.page : 1;
	int64_t dims = a->p.dim_k + (write && !a->format->shared ? a->p.dim_v : 0);
	int64_t pages = (tokens + page - 1) / page, slots_shape;
	l->bytes = (double)(tokens * a->p.heads) * (double)dims * kir_elem_bytes(a->p.q);
	if (!load_fits(a, 2 * l->bytes, (double)tokens, why, len))
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

/* -- a load -------------------------------------------------------------------------------- */

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
		ok = load_attn(l, kv, cold, why, len);
	else if (l->a.p.kind == KIR_WRITE || l->a.p.kind == KIR_QUANT)
		ok = open_write(l, cold, why, len);
	else if (l->a.p.kind == KIR_GEMM)
		ok = load_gemm(l, cold, why, len);
	else if (l->a.p.kind == KIR_INDEX)
		ok = load_index(l, cold, why, len);
	else if (l->a.p.kind == KIR_TRANSCODE)
		ok = load_transcode(l, kv, cold, why, len);
	else if (l->a.p.kind == KIR_MERGE)
		ok = load_merge(l, cold, why, len);
	else
		snprintf(why, len, "bench takes all problems but pack");
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
	kir_kind kind = l->a.p.kind;
	return kind == KIR_WRITE || kind == KIR_QUANT || kind == KIR_TRANSCODE;
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
