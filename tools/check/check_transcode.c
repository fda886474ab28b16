/* SPDX-License-Identifier: Apache-2.0 */
/* check_transcode.c -- transcodes, byte for byte.
 *
 * The source is what the interpreter's cache write makes of rows with zeros, tiny and huge
 * values, NaN and infinities. Slots of both caches come in any order, some negative, some
 * twice; the first 16 of both follow each other, as those of whole pages do, and 16 more of the
 * source alone. Where tokens share scales, slots are whole groups in any order, and one group
 * is skipped.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 45, GROUPS = 4, PAGES = 3, FILL = 0xa5 };

/* GROUPS runs of `group` slots each, the third being skipped. */
static void group_slots(check *c, const char *name, int64_t limit, int64_t group)
{
	int64_t tokens = GROUPS * group, first = 0;
	int64_t *s = bind_tensor(&c->a.b, name, KVJIT_S64, 1, &tokens)->data;

	for (int64_t t = 0; t < tokens; t++) {
		if (t % group == 0)
			first = check_int(c, 0, limit / group - 1) * group;
		s[t] = t / group == 2 ? -1 : first + t % group;
	}
}

static void random_slots(check *c, const char *name, int64_t limit, int64_t runs, int64_t group)
{
	int64_t tokens = group ? GROUPS * group : TOKENS,
	        first = limit < 16 ? 0 : check_int(c, 0, limit / 16 - 1) * 16;
	int64_t *s = bind_tensor(&c->a.b, name, KVJIT_S64, 1, &tokens)->data;

	for (int64_t t = 0; t < tokens; t++)
		s[t] = t < runs ? (first + t) % limit : check_int(c, 0, limit - 1);
	if (group)
		return;
	s[17] = -1;
	s[TOKENS - 1] = s[TOKENS - 2];
}

static void given(check *c, const char *name, double low)
{
	bind_arg *x = bind_tensor(&c->a.b, name, KVJIT_F32, 1, &c->a.p.kv_heads);

	for (int64_t h = 0; h < c->a.p.kv_heads; h++)
		((float *)x->data)[h] = (float)(low + 0.05 * check_uniform(c));
}

/* Tensors of k, which has the target's or, for a write, one cache's. */
static void make_tensors(bind *b, const kvjit_kernel *k)
{
	for (int i = 0; i < kvjit_nparam(k); i++) {
		const kvjit_param *p = kvjit_param_at(k, i);
		int64_t shape[6];

		if (p->dtype != KVJIT_U8 || bind_find(b, p->name))
			continue;
		memcpy(shape, p->shape, sizeof shape);
		shape[0] = PAGES;
		bind_arg *x = bind_tensor(b, p->name, p->dtype, p->rank, shape);
		memset(x->data, FILL, x->bytes);
	}
}

/* A cache of the source's format, written by the interpreter, as the tensors from_NAME. */
static bool make_source(check *c, char *why, size_t len)
{
	attn *a = &c->a;
	kir_problem p = attn_writer(&a->p);
	const kir_format *f = kir_format_find(a->m, p.k_format);
	const kir_format *v = kir_format_find(a->m, p.v_format);
	int64_t tokens = PAGES * a->p.page;
	kvjit_kernel *k = NULL;
	attn source = *a;

	memset(&c->a.b, 0, sizeof c->a.b);
	c->a.b.flush_low = source.b.flush_low;
	check_rows(c, KIR_f32, "key", tokens, a->p.kv_heads, a->p.dim_k - f->rest, 0);
	check_rows(c, KIR_f32, "value", tokens, a->p.kv_heads, a->p.dim_v, 0);
	if (f->rest)
		check_rows(c, KIR_f32, "rest", tokens, a->p.kv_heads, f->rest, 0);
	char *text = attn_write_text(a, &a->p, &c->a.b);
	bool ok = kvjit_compile(c->ref, text, NULL, &k) == KVJIT_OK;

	if (!ok) {
		snprintf(why, len, "the source can't be written: %s", kvjit_error(c->ref));
	} else {
		given(c, "kd", 0.02);
		given(c, "vd", 0.02);
		check_mean(c, &c->a.b, "kmean", &f->side[0], a->p.kv_heads, a->p.dim_k);
		check_signs(c, &c->a.b, "ksign", &f->side[0], a->p.dim_k);
		check_signs(c, &c->a.b, "vsign", &v->side[1], a->p.dim_v);
		int64_t *s = bind_tensor(&c->a.b, "slots", KVJIT_S64, 1, &tokens)->data;
		for (int64_t t = 0; t < tokens; t++)
			s[t] = t;
		bind_scalar(&c->a.b, "n", tokens, 0);
		make_tensors(&c->a.b, k);
		ok = bind_call(&c->a.b, c->ref, k, NULL, why, len) == KVJIT_OK;
	}
	for (int i = 0; ok && i < kvjit_nparam(k); i++) {
		const kvjit_param *t = kvjit_param_at(k, i);
		const bind_arg *x = bind_find(&c->a.b, t->name);
		char name[BIND_NAME];

		if (t->dtype != KVJIT_U8)
			continue;
		snprintf(name, sizeof name, "from_%.18s", t->name);
		bind_arg *y = bind_tensor(&source.b, name, x->dtype, x->rank, x->shape);
		memcpy(y->data, x->data, x->bytes);
	}
	bind_free(&c->a.b);
	c->a.b = source.b;
	kvjit_release(k);
	free(text);
	return ok;
}

bool check_transcode(check *c, char *why, size_t len)
{
	const kir_format *from = kir_format_find(c->a.m, c->a.p.k_format);
	const kir_format *to = kir_format_find(c->a.m, c->a.p.v_format);
	int64_t group = to ? kir_format_tokens(to) : 0;
	kvjit_kernel *k = NULL;
	bool ok = make_source(c, why, len);

	if (!ok)
		return false;
	given(c, "from_kd", 0.02);
	given(c, "from_vd", 0.03);
	given(c, "kd", 0.04);
	given(c, "vd", 0.05);
	if (group && kir_side_moves(&from->side[0], &to->side[0]))
		group_slots(c, "from_slots", PAGES * c->a.p.page, group);
	else
		random_slots(c, "from_slots", PAGES * c->a.p.page, 32, group);
	if (group)
		group_slots(c, "slots", PAGES * c->a.p.page_to, group);
	else
		random_slots(c, "slots", PAGES * c->a.p.page_to, 16, 0);
	bind_scalar(&c->a.b, "n", group ? GROUPS * group : TOKENS, 0);
	ok = kvjit_compile(c->ref, c->text, NULL, &k) == KVJIT_OK;
	if (!ok)
		snprintf(why, len, "%s", kvjit_error(c->ref));
	else
		make_tensors(&c->a.b, k);
	kvjit_release(k);
	return ok && check_bytes(c, why, len);
}
