/* SPDX-License-Identifier: Apache-2.0 */
/* golden_attn.c -- golden cases of paged attention, element by element within their bounds.
 *
 * Each case runs twice: on caches as stored (slot-major, scales apart: place `split`) with f32
 * results, and on kvjit's own layout, transcribed code by code through the declared layout with
 * results of the query's type. The bound is the stored one of the arithmetic in use, plus what
 * integer arithmetic adds (bound.c), plus the rounding of the result.
 */
#include "golden.h"
#include "../check/attn.h"
#include "../check/bound.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* fmt of the manifest, without its granularity. */
static const struct {
	const char *fmt, *elem;
} elems[] = { { "bf16", "bf16" },   { "f16", "f16" },     { "fp8", "e4m3" },
	      { "e4m3", "e4m3" },   { "e5m2", "e5m2" },   { "e4m3fnuz", "e4m3fnuz" },
	      { "int4", "uint4" },  { "int8", "int8" },   { "e5m2fnuz", "e5m2fnuz" },
	      { "mxfp8", "mxfp8" }, { "mxfp4", "mxfp4" }, { "nvfp4", "nvfp4" } };

static const struct {
	const char *fmt, *gran;
} grans[] = { { "", "" },
	      { "_tensor", "/tensor" },
	      { "_unit", "/tensor" },
	      { "_head", "/head" },
	      { "_pth", "/token-head" } };

static bool format_name(const char *fmt, char *out, size_t len)
{
	for (size_t i = 0; i < sizeof elems / sizeof *elems; i++)
		for (size_t g = 0; g < sizeof grans / sizeof *grans; g++) {
			char name[40];
			snprintf(name, sizeof name, "%s%s", elems[i].fmt, grans[g].fmt);
			if (strcmp(name, fmt) != 0)
				continue;
			snprintf(out, len, "%s%s", elems[i].elem, grans[g].gran);
			return true;
		}
	return false;
}

/* -- the problem ------------------------------------------------------------------------ */

static bool truth(const cJSON *x)
{
	return cJSON_IsTrue(x) || (cJSON_IsNumber(x) && x->valuedouble != 0);
}

/* Features into the problem; one that isn't known here is an error, for the result would not
 * mean what the case says. */
static bool read_features(const cJSON *features, kir_problem *p, golden_result *r)
{
	const cJSON *f;
	cJSON_ArrayForEach(f, features)
	{
		const char *name = f->string;
		if (strcmp(name, "window") == 0)
			p->window = (int64_t)f->valuedouble;
		else if (strcmp(name, "chunk") == 0)
			p->chunk = (int64_t)f->valuedouble;
		else if (strcmp(name, "softcap") == 0)
			p->softcap = f->valuedouble;
		else if (strcmp(name, "causal") == 0)
			p->causal = truth(f);
		else if (strcmp(name, "sink") == 0)
			p->sink = truth(f);
		else if (strcmp(name, "alibi") == 0)
			p->alibi = truth(f) && p->alibi == 0 ? 1 : p->alibi;
		else if (strcmp(name, "alibi_sqrt") == 0)
			p->alibi = truth(f) ? 2 : p->alibi;
		else if (strcmp(name, "q_fp8") == 0)
			p->qscale = truth(f);
		else if (strcmp(name, "outlier") != 0 && strcmp(name, "kv_std") != 0)
			return golden_fail(r, "unknown feature '%s'", name);
	}
	if (p->chunk)
		p->window = 0;
	return true;
}

static bool read_problem(const golden_case *c, const char *place, kir_elem out, char *format,
                         size_t len, kir_problem *p, golden_result *r)
{
	golden_array q;
	if (!format_name(golden_word(c->params, "fmt"), format, len))
		return golden_fail(r, "unknown fmt '%s'", golden_word(c->params, "fmt"));
	snprintf(format + strlen(format), len - strlen(format), "%s", place);
	memset(p, 0, sizeof *p);
	p->kind = KIR_ATTN;
	p->k_format = p->v_format = format;
	p->heads = (int64_t)golden_number(c->params, "num_q_heads", 0);
	p->kv_heads = (int64_t)golden_number(c->params, "num_kv_heads", 0);
	p->dim_k = (int64_t)golden_number(c->params, "head_size", 0);
	p->dim_v = (int64_t)golden_number(c->params, "head_size_v", (double)p->dim_k);
	p->page = (int64_t)golden_number(c->params, "block_size", 0);
	p->causal = 1;
	p->lse = true;
	p->sched = kir_sched_default();
	if (!read_features(cJSON_GetObjectItemCaseSensitive(c->params, "features"), p, r))
		return false;
	if (!golden_get(c, p->qscale ? "q_code" : "q", &q))
		return golden_fail(r, "array 'q' is missing");
	p->q = p->qscale ? KIR_e4m3fn : q.elem;
	p->out = out ? out : p->qscale ? KIR_bf16 : p->q;
	return true;
}

/* -- the data --------------------------------------------------------------------------- */

/* A scale handed over as [1] or [KV heads], as the kernel's [sequences, KV heads]. */
static bool bind_given(const golden_case *c, const char *array, const char *name, attn *a,
                       golden_result *r)
{
	golden_array s;
	if (!golden_get(c, array, &s) || s.elem != KIR_f32 ||
	    (s.count != 1 && s.count != a->p.kv_heads))
		return golden_fail(r, "array '%s' isn't f32 of 1 or %lld elements", array,
		                   (long long)a->p.kv_heads);
	if (!golden_bind(c, array, &a->b, name, r))
		return false;
	bind_arg *b = bind_find(&a->b, name);
	b->rank = 2;
	b->shape[0] = a->nseq;
	b->shape[1] = a->p.kv_heads;
	b->nstride = 2;
	b->stride[0] = 0;
	b->stride[1] = s.count == 1 ? 0 : 1;
	return true;
}

/* The reciprocal of one of the two factors in global_inv, for every sequence and head. */
static bool bind_global(const golden_case *c, int side, const char *name, attn *a,
                        golden_result *r)
{
	golden_array g;
	int64_t shape[2] = { a->nseq, a->p.kv_heads };
	if (!golden_get(c, "global_inv", &g) || g.elem != KIR_f32 || g.count != 2)
		return golden_fail(r, "array 'global_inv' isn't two f32");
	float *to = bind_tensor(&a->b, name, KVJIT_F32, 2, shape)->data;
	for (int64_t i = 0; i < shape[0] * shape[1]; i++)
		to[i] = 1 / ((const float *)g.data)[side];
	return true;
}

/* One stream of the cache from a slot-major array [pages, page, heads(, last)]. */
static bool fill_stream(const golden_case *c, const char *array, kir_stream s, attn *a,
                        golden_result *r)
{
	golden_array x;
	if (a->layout.stream[s].tensor < 0)
		return true;
	int64_t last = a->layout.stream[s].type.rank == 4 ? a->layout.stream[s].type.dim[3] : 1;
	size_t item = kir_elem_bytes(attn_elem(a, s));
	/* two codes a byte come as neighbours, the first in the low bits */
	bool two = s <= KIR_S_v && a->format->side[s == KIR_S_v].bits == 4;
	if (!golden_get(c, array, &x) ||
	    x.count != a->npages * a->shape.page * a->shape.kv_heads * last ||
	    kir_elem_bytes(x.elem) != item)
		return golden_fail(r, "array '%s' doesn't fit the format", array);
	const char *from = x.data;
	for (int64_t p = 0; p < a->npages; p++)
		for (int64_t t = 0; t < a->shape.page; t++)
			for (int64_t h = 0; h < a->shape.kv_heads; h++)
				for (int64_t i = 0; i < last; i++, from += item) {
					uint64_t code = 0;
					memcpy(&code, from, item);
					attn_set(a, s, p, h, t, two ? 2 * i : i, code);
					if (two)
						attn_set(a, s, p, h, t, 2 * i + 1, code >> 4);
				}
	return true;
}

static bool bind_case(const golden_case *c, attn *a, golden_result *r)
{
	golden_array lens, starts, table, k;
	if (!golden_get(c, "seq_lens", &lens) || !golden_get(c, "cu_q", &starts) ||
	    !golden_get(c, "block_table", &table) || !golden_get(c, "k_code", &k) ||
	    table.rank != 2 || starts.count != lens.count + 1)
		return golden_fail(
		    r, "seq_lens, cu_q, block_table or k_code is missing or misshapen");
	attn_batch(a, lens.count, lens.data, starts.data, table.data, table.shape[1],
	           k.shape[0]);
	for (int side = 0; side < 2; side++) {
		bool given = a->format->side[side].gran == KIR_GRAN_tensor ||
		             a->format->side[side].gran == KIR_GRAN_head;
		const char *scale = side ? "v_scale" : "k_scale";
		if (given && !bind_given(c, scale, side ? "vd" : "kd", a, r))
			return false;
		if (a->format->side[side].global &&
		    !bind_global(c, side, side ? "vd" : "kd", a, r))
			return false;
		if (!fill_stream(c, side ? "v_code" : "k_code", side ? KIR_S_v : KIR_S_k, a,
		                 r) ||
		    !fill_stream(c, scale, side ? KIR_S_vs : KIR_S_ks, a, r))
			return false;
	}
	if (a->p.qscale && !bind_given(c, "q_scale", "qd", a, r))
		return false;
	if (a->p.sink && !golden_bind(c, "sink", &a->b, "sink", r))
		return false;
	if (a->p.alibi && !golden_bind(c, "alibi", &a->b, "alibi", r))
		return false;
	bind_scalar(&a->b, "scale", 0, golden_number(c->params, "softmax_scale", 1));
	if (!golden_bind(c, a->p.qscale ? "q_code" : "q", &a->b, "q", r))
		return false;
	bind_find(&a->b, "q")->dtype = bind_dtype(a->p.q);
	return true;
}

/* -- making it wrong -----------------------------------------------------------------------
 *
 * Mistakes that a bound must see: `zero` and `gain` outputs times 0 and 1.05, `scale` one
 * token's V scale (or the given one) forgotten, `window` one key too few for the longest
 * sequence.
 */

static bool spoils(const golden_case *c, const char *how)
{
	return c->spoil && strcmp(c->spoil, how) == 0;
}

static void spoil_window(const golden_case *c, kir_problem *p)
{
	golden_array lens;
	if (!spoils(c, "window") || !golden_get(c, "seq_lens", &lens))
		return;
	int32_t most = 0;
	for (int64_t i = 0; i < lens.count; i++)
		if (((const int32_t *)lens.data)[i] > most)
			most = ((const int32_t *)lens.data)[i];
	if (p->chunk)
		p->chunk--;
	else
		p->window = (p->window ? p->window : most) - 1;
}

/* Calls with the scale of the first sequence's last token set to 1, and puts it back: what is
 * expected is computed from the scales as stored. Formats without any have no such mistake. */
static bool spoiled_call(const golden_case *c, attn *a, kvjit *kv, const kvjit_kernel *k,
                         char *why, size_t len)
{
	bind_arg *vd = bind_find(&a->b, "vd");
	bool stored = a->layout.stream[KIR_S_vs].tensor >= 0;
	if (!spoils(c, "scale") || (!stored && !vd))
		return attn_call(a, kv, k, why, len);
	if (!stored) {
		float kept = *(float *)vd->data;
		*(float *)vd->data = 1;
		bool ok = attn_call(a, kv, k, why, len);
		*(float *)vd->data = kept;
		return ok;
	}
	int32_t last = *(const int32_t *)bind_find(&a->b, "lens")->data - 1;
	int64_t page = ((const int32_t *)bind_find(&a->b, "table")->data)[last / a->shape.page];
	int64_t t = last % a->shape.page;
	uint64_t kept = attn_code(a, KIR_S_vs, page, 0, t, 0);
	attn_set(a, KIR_S_vs, page, 0, t, 0,
	         kir_encode(attn_elem(a, KIR_S_vs), 1, KIR_ROUND_even, 0, 0));
	bool ok = attn_call(a, kv, k, why, len);
	attn_set(a, KIR_S_vs, page, 0, t, 0, kept);
	return ok;
}

/* -- comparing --------------------------------------------------------------------------- */

typedef struct stored {
	golden_array out, lse, fp32, bf16, bound_lse;
} stored;

static bool get_stored(const golden_case *c, stored *s, golden_result *r)
{
	static const char *const names[] = { "out", "lse", "bound_fp32", "bound_bf16",
		                             "bound_lse" };
	golden_array *const at[] = { &s->out, &s->lse, &s->fp32, &s->bf16, &s->bound_lse };
	for (int i = 0; i < 5; i++)
		if (!golden_get(c, names[i], at[i]) || at[i]->elem == KIR_VOID)
			return golden_fail(r, "array '%s' is missing", names[i]);
	return true;
}

static double number(const golden_array *a, int64_t i)
{
	return elem_get(a->elem, a->data, i);
}

static bool within(golden_result *r, const char *what, int64_t i, double got, double want,
                   double bound)
{
	r->checked++;
	if (isinf(want) || isnan(got))
		return got == want ||
		       golden_fail(r, "%s[%lld] is %g, not %g", what, (long long)i, got, want);
	double ratio = fabs(got - want) / bound;
	if (got != want && !(ratio <= r->worst))
		r->worst = ratio;
	return fabs(got - want) <= bound ||
	       golden_fail(r, "%s[%lld] is %g, not %g: error %.3g, bound %.3g", what,
	                   (long long)i, got, want, fabs(got - want), bound);
}

static bool compare(const golden_case *c, const attn *a, const kvjit_kernel *k,
                    const bound_profile *p, const stored *s, golden_result *r)
{
	double *out, *lse, unit = bound_unit(a->p.out);
	double factor = spoils(c, "zero") ? 0 : spoils(c, "gain") ? 1.05 : 1;
	bool bf16 = p->pv == ARITH_bf16;
	attn_results(a, k, &out, &lse);
	for (int64_t row = 0; row < a->rows && !r->failed; row++)
		for (int64_t h = 0; h < a->p.heads && !r->failed; h++) {
			bound_terms t = bound_terms_of(a, p, row, h);
			int64_t pair = row * a->p.heads + h;
			within(r, "lse", pair, lse[pair], number(&s->lse, pair),
			       number(&s->bound_lse, pair) + t.ds + t.dl);
			for (int64_t d = 0; d < a->p.dim_v && !r->failed; d++) {
				int64_t i = pair * a->p.dim_v + d;
				double b32 = number(&s->fp32, i), b16 = number(&s->bf16, i);
				double want = number(&s->out, i);
				/* b16 / (1 + u) = b32 + u * (sum of weights times |v|) */
				double abs_out =
				    fmax(0, (b16 / (1 + 0x1p-8) - b32) * 256 * 1.01);
				double up = bound_weight(p) - (bf16 ? 0x1p-8 : 0);
				double bound =
				    (bf16 ? b16 : b32) + up * abs_out + unit * fabs(want) +
				    (abs_out + b32) * expm1(2 * t.ds) + 1.01 * t.dw[d];
				within(r, "out", i, factor * out[i], want, bound);
			}
		}
	free(out);
	free(lse);
	return !r->failed;
}

static bool run_place(const golden_case *c, const machine *m, const char *place, kir_elem out,
                      golden_result *r)
{
	char format[60], why[300], suffix[80];
	kir_problem p;
	bound_profile profile;
	stored s;
	attn a;
	if (!read_problem(c, place, out, format, sizeof format, &p, r) || !get_stored(c, &s, r))
		return false;
	kir_text text = { 0 };
	kir_problem right = p;
	spoil_window(c, &p);
	kir_problem_print(&p, &text);
	if (!attn_open(&a, text.text, why, sizeof why)) {
		/* kvjit's own layout doesn't take every page size */
		if (*place || p.page % 16 == 0)
			golden_fail(r, "%s: %s", text.text, why);
	} else {
		kvjit_kernel *k = golden_compile(m, c, text.text, r);
		a.p.window = right.window;
		a.p.chunk = right.chunk;
		if (k && bind_case(c, &a, r)) {
			attn_outputs(&a, k);
			if (!bound_profile_of(k, m->backend, false, &profile, why,
			                      sizeof why) ||
			    !spoiled_call(c, &a, m->kv, k, why, sizeof why))
				golden_fail(r, "%s", why);
			else if (compare(c, &a, k, &profile, &s, r))
				snprintf(r->text, sizeof r->text,
				         "worst error %.3f of the bound (bound_%s%s, %s)",
				         r->worst, profile.pv == ARITH_bf16 ? "bf16" : "fp32",
				         profile.qk >= ARITH_int8 || profile.pv >= ARITH_int8
				             ? " and integer terms"
				             : "",
				         profile.name);
		}
		kvjit_release(k);
	}
	snprintf(suffix, sizeof suffix, " [%.30s]", format);
	if (r->failed)
		strncat(r->text, suffix, sizeof r->text - strlen(r->text) - 1);
	attn_close(&a);
	free(text.text);
	return !r->failed;
}

bool golden_attention(const golden_case *c, const machine *m, golden_result *r)
{
	if (!run_place(c, m, "/split", KIR_f32, r))
		return false;
	/* rounding a result to 16 bits alone may use all of its own bound: told apart */
	double worst = r->worst;
	r->worst = 0;
	run_place(c, m, "", KIR_VOID, r);
	size_t n = strlen(r->text);
	if (!r->failed)
		snprintf(r->text + n, sizeof r->text - n, "; %.3f with f32 results", worst);
	r->worst = worst;
	return !r->failed;
}
