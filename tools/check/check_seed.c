/* SPDX-License-Identifier: Apache-2.0 */
/* check_seed.c -- one seed of a problem on every machine: random data, counting of results. */
#include "check.h"
#include "first.h"
#include "../random.h"

#include <math.h>
#include <stdio.h>

/* -- random ------------------------------------------------------------------------------ */

double check_uniform(check *c)
{
	return (double)(random_bits(&c->rng) >> 11) * 0x1p-53;
}

double check_normal(check *c)
{
	double u = check_uniform(c) + 0x1p-54, v = check_uniform(c);
	return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

int64_t check_int(check *c, int64_t lo, int64_t hi)
{
	return lo + (int64_t)(random_bits(&c->rng) % (uint64_t)(hi - lo + 1));
}

void check_fill(check *c, kir_elem e, void *data, int64_t n, double sigma)
{
	for (int64_t i = 0; i < n; i++)
		elem_set(e, data, i, sigma * check_normal(c));
}

void check_signs(check *c, bind *b, const char *name, const kir_side *s, int64_t dim)
{
	int64_t block = kir_side_block(s, dim);
	if (!s->signs || block <= 0)
		return;
	int8_t *to = bind_tensor(b, name, KVJIT_S8, 1, &block)->data;
	for (int64_t i = 0; i < block; i++)
		to[i] = check_int(c, 0, 1) ? 1 : -1;
}

void check_mean(check *c, bind *b, const char *name, const kir_side *s, int64_t heads,
                int64_t dim)
{
	int64_t shape[2] = { heads, dim };
	if (s->mean)
		check_fill(c, KIR_f32, bind_tensor(b, name, KVJIT_F32, 2, shape)->data,
		           heads * dim, 1);
}

/* -- results ------------------------------------------------------------------------------ */

void check_fail(check_result *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	first_keep(&r->failed, r->text, sizeof r->text, fmt, ap);
	va_end(ap);
}

void check_value(check_result *r, const char *what, int64_t i, double got, double want,
                 double limit)
{
	r->compared++;
	if (got == want)
		return;
	double ratio = fabs(got - want) / limit;
	if (ratio > r->worst)
		r->worst = ratio;
	if (isinf(want) || !(ratio <= 1))
		check_fail(
		    r, "%s[%lld] is %.9g, the interpreter says %.9g: error %.3g, bound %.3g",
		    what, (long long)i, got, want, fabs(got - want), limit);
}

kvjit_kernel *check_compile(const check *c, unsigned i)
{
	kvjit_compile_options o = { .size = sizeof o, .sched = c->sched };
	kvjit_kernel *k = NULL;
	kvjit *kv = c->machine[i].kv;
	kvjit_status s = kvjit_compile(kv, c->text, &o, &k);
	if (s == KVJIT_OK)
		return k;
	check_fail(&c->result[i], "%s: %s", kvjit_status_name(s), kvjit_error(kv));
	return NULL;
}

/* -- one seed ----------------------------------------------------------------------------- */

bool check_seed(check *c, uint64_t seed, char *why, size_t len)
{
	bool ok = attn_open(&c->a, c->text, why, len);
	c->rng = seed * 1000003 + 1;
	c->a.b.flush_low = seed % 2 == 1;
	if (ok)
		ok = c->a.p.kind == KIR_ATTN        ? check_attn(c, seed, why, len)
		     : c->a.p.kind == KIR_MERGE     ? check_merge(c, seed, why, len)
		     : c->a.p.kind == KIR_GEMM      ? check_gemm(c, why, len)
		     : c->a.p.kind == KIR_PACK      ? check_pack(c, why, len)
		     : c->a.p.kind == KIR_INDEX     ? check_index(c)
		     : c->a.p.kind == KIR_TRANSCODE ? check_transcode(c, why, len)
		                                    : check_write(c, seed, why, len);
	attn_close(&c->a);
	return ok;
}
