/* SPDX-License-Identifier: Apache-2.0 */
/* golden_write.c -- golden cases of cache writers: every byte of the cache, those that must
 * stay untouched too. The layouts are declared in the problem's text. */
#include "golden.h"

#include <stdio.h>
#include <string.h>

/* What every writer gets: rows, slots, how many. */
static bool bind_rows(const golden_case *c, bind *b, golden_result *r)
{
	golden_array slots;
	if (!golden_get(c, "slots", &slots) || slots.elem != KIR_s64)
		return golden_fail(r, "array 'slots' is missing or isn't i64");
	bind_scalar(b, "n", slots.count, 0);
	return golden_bind(c, "k", b, "key", r) && golden_bind(c, "v", b, "value", r) &&
	       golden_bind(c, "slots", b, "slots", r);
}

/* A cache tensor [pages][page bytes] under a name, filled with the case's fill byte. */
static bind_arg *bind_cache(const golden_case *c, bind *b, const char *name,
                            const golden_array *want)
{
	int64_t shape[2] = { want->shape[0],
		             want->shape[0] ? want->count / want->shape[0] : 0 };
	bind_arg *x = bind_tensor(b, name, KVJIT_U8, 2, shape);
	memset(x->data, (int)golden_number(c->params, "fill", 0), x->bytes);
	return x;
}

bool golden_write_token_head(const golden_case *c, const machine *m, golden_result *r)
{
	const char *kind = golden_word(c->params, "kind"),
	           *order = golden_word(c->params, "order");
	bool int4 = strcmp(kind, "int4") == 0, int8 = strcmp(kind, "int8") == 0,
	     hnd = strcmp(order, "HND") == 0;
	long long heads = golden_item(c->params, "shape", 1);
	long long dk = golden_item(c->params, "shape", 2),
	          dv = golden_item(c->params, "shape", 3);
	long long pad = (long long)golden_number(c->params, "content_bytes", 0) -
	                (int4 ? (dk + dv) / 2 : dk + dv) - 8;
	char text[1000], padding[40] = "";
	golden_array want, k;
	bind b = { 0 };

	if (!int8 && !int4 && strcmp(kind, "fp8") != 0)
		return golden_fail(r, "unknown kind '%s'", kind);
	if (!hnd && strcmp(order, "NHD") != 0)
		return golden_fail(r, "unknown order '%s'", order);
	if (pad < 0 || !golden_get(c, "cache", &want) || !golden_get(c, "k", &k))
		return golden_fail(
		    r, "array 'cache' or 'k' is missing, or content_bytes is too small");
	if (pad > 0)
		snprintf(padding, sizeof padding, " pad %lld", pad);
	snprintf(
	    text, sizeof text,
	    "format golden v1 {\n  elem %s\n  scale f32 token-head %s floor 1e-06\n%s"
	    "  apply reciprocal\n  round %s\n  tensor cache [%s] { k[d] ks v[d] vs%s }\n}\n"
	    "write in=%s kv=golden heads=%lld dim=%lld:%lld page=%lld\n",
	    int4   ? "u4"
	    : int8 ? "s8"
	           : "e4m3fn",
	    int4   ? "range/15"
	    : int8 ? "amax/127"
	           : "amax/448",
	    int4 ? "  rotate hadamard signs\n" : "", int8 || int4 ? "away" : "even",
	    hnd ? "h t" : "t h", padding, kir_elems[k.elem].name, heads, dk, dv,
	    (long long)golden_number(c->params, "block_size", 0));
	bind_arg *cache = bind_cache(c, &b, "cache", &want);
	if (bind_rows(c, &b, r) &&
	    (!int4 || (golden_bind(c, "rht_signs", &b, "ksign", r) &&
	               golden_bind(c, "rht_signs", &b, "vsign", r))) &&
	    golden_call(m, c, text, &b, r))
		golden_same(r, "cache", cache->data, want.data, (size_t)want.count, 1);
	if (!r->failed)
		snprintf(r->text, sizeof r->text, "%u bytes exact", r->checked);
	bind_free(&b);
	return !r->failed;
}

/* One layout of a static fp8 cache: tensors kc and vc against two arrays of the case. */
static bool write_static(const golden_case *c, const machine *m, const char *tensors,
                         const char *k_name, const char *v_name, golden_result *r)
{
	char text[1000];
	golden_array want[2], k;
	bind b = { 0 };

	if (!golden_get(c, k_name, &want[0]) || !golden_get(c, v_name, &want[1]) ||
	    !golden_get(c, "k", &k))
		return golden_fail(r, "array '%s', '%s' or 'k' is missing", k_name, v_name);
	snprintf(text, sizeof text,
	         "format golden v1 {\n  elem e4m3fn\n  scale f32 %s given\n  apply divide\n"
	         "  round even\n%s}\n"
	         "write in=%s kv=golden heads=%lld dim=%lld page=%lld\n",
	         golden_word(c->params, "per"), tensors, kir_elems[k.elem].name,
	         (long long)golden_item(c->params, "shape", 1),
	         (long long)golden_item(c->params, "shape", 2),
	         (long long)golden_number(c->params, "block_size", 0));
	bind_arg *kc = bind_cache(c, &b, "kc", &want[0]),
	         *vc = bind_cache(c, &b, "vc", &want[1]);
	if (bind_rows(c, &b, r) && golden_bind(c, "k_scale", &b, "kd", r) &&
	    golden_bind(c, "v_scale", &b, "vd", r)) {
		for (int i = 0; i < 2; i++) {
			bind_arg *d = bind_find(&b, i ? "vd" : "kd");
			if (d->shape[0] != 1)
				continue;
			d->shape[0] = golden_item(c->params, "shape", 1);
			d->nstride = 1;
			d->stride[0] = 0;
		}
		if (golden_call(m, c, text, &b, r)) {
			golden_same(r, k_name, kc->data, want[0].data, (size_t)want[0].count,
			            1);
			golden_same(r, v_name, vc->data, want[1].data, (size_t)want[1].count,
			            1);
		}
	}
	bind_free(&b);
	return !r->failed;
}

bool golden_write_static(const golden_case *c, const machine *m, golden_result *r)
{
	const char *order = golden_word(c->params, "order"),
	           *per = golden_word(c->params, "per");
	bool hnd = strcmp(order, "HND") == 0;
	long long x = (long long)golden_number(c->params, "x", 16);
	char packed[200];
	if (!hnd && strcmp(order, "NHD") != 0)
		return golden_fail(r, "unknown order '%s'", order);
	if (strcmp(per, "tensor") != 0 && strcmp(per, "head") != 0)
		return golden_fail(r, "unknown granularity per='%s'", per);
	snprintf(packed, sizeof packed,
	         "  tensor kc [h] { k[d/%lld t d%%%lld] }\n  tensor vc [h] { v[d t] }\n", x, x);
	write_static(c, m,
	             hnd ? "  tensor kc [h t] { k[d] }\n  tensor vc [h t] { v[d] }\n"
	                 : "  tensor kc [t h] { k[d] }\n  tensor vc [t h] { v[d] }\n",
	             "k_cache", "v_cache", r);
	if (!r->failed)
		write_static(c, m, packed, "k_cache_x", "v_cache_x", r);
	if (!r->failed)
		snprintf(r->text, sizeof r->text, "%u bytes exact", r->checked);
	return !r->failed;
}
