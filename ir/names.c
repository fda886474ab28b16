/* SPDX-License-Identifier: Apache-2.0 */
/* names.c -- the names values print with: those the nodes have, made unique in scope.
 *
 * The first node with a name keeps it as long as it is in scope, the next get .1, .2 and so
 * on; nodes without are numbered. So a function without clashes keeps all of its names, which
 * is why printing, parsing and printing again gives the same text.
 */
#include "internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define BASE 64 /* longest name that gets a suffix whole */

struct entry {
	uint32_t at;   /* offset of the name in the pool; 0: free slot             */
	uint32_t next; /* suffix to try next for this base                       */
	bool taken;
};

struct table {
	struct entry *entry;
	size_t mask;
	kir_text *pool;
	struct entry **scope; /* taken entries, oldest first                     */
	unsigned nscope, depth;
	struct {
		unsigned mark, left; /* entries below it; regions to come         */
	} region[KIR_MAX_DEPTH];
};

bool kir_is_number(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isdigit((unsigned char)s[i]))
			return false;
	return len > 0;
}

static struct entry *lookup(struct table *t, const char *s, size_t len)
{
	uint64_t h = 14695981039346656037u;
	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)s[i]) * 1099511628211u;
	for (size_t i = (h ^ h >> 32) & t->mask;; i = (i + 1) & t->mask) {
		struct entry *e = &t->entry[i];
		if (!e->at) {
			e->at = (uint32_t)t->pool->len;
			kir_text_add(t->pool, "%.*s%c", (int)len, s, 0);
			return e;
		}
		const char *have = t->pool->text + e->at;
		if (!strncmp(have, s, len) && !have[len])
			return e;
	}
}

static bool usable(const char *name)
{
	if (!name)
		return false;
	size_t len = strlen(name);
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)name[i]) && name[i] != '_' && name[i] != '.')
			return false;
	return len && len <= KIR_MAX_NAME && !kir_is_number(name, len);
}

static uint32_t take(struct table *t, struct entry *e)
{
	e->taken = true;
	t->scope[t->nscope++] = e;
	return e->at;
}

static uint32_t unique(struct table *t, const char *name)
{
	size_t len = strlen(name);
	struct entry *e = lookup(t, name, len);
	if (!e->taken)
		return take(t, e);
	size_t base = len;
	while (base && isdigit((unsigned char)name[base - 1]))
		base--;
	base = base > 1 && base < len && name[base - 1] == '.' ? base - 1 : len;
	if (base > BASE)
		base = BASE;
	struct entry *root = lookup(t, name, base);
	for (;;) {
		char buf[KIR_MAX_NAME + 1];
		kir_text with = { .text = buf, .cap = sizeof buf };
		kir_text_add(&with, "%.*s.%u", (int)base, name, ++root->next);
		e = lookup(t, buf, with.len);
		if (!e->taken)
			return take(t, e);
	}
}

/* Functions nested deeper than the verifier allows keep the names of the regions too deep. */
static void follow_regions(struct table *t, const kir_func *f, kir_ref n)
{
	unsigned regions = kir_regions(f, n);
	if (regions && t->depth < KIR_MAX_DEPTH) {
		t->region[t->depth].mark = t->nscope;
		t->region[t->depth++].left = regions;
	}
	if (f->node[n].op != KIR_OP_yield || !t->depth)
		return;
	while (t->nscope > t->region[t->depth - 1].mark)
		t->scope[--t->nscope]->taken = false;
	if (!--t->region[t->depth - 1].left)
		t->depth--;
}

void kir_names_make(kir_names *names, const kir_func *f)
{
	struct table t = { .mask = 63, .pool = &names->pool };
	uint32_t number = 0;
	*names = (kir_names){ .at = calloc(f->nnode, sizeof *names->at) };
	/* Each name adds at most two entries. */
	while (t.mask < (size_t)f->nnode * 4)
		t.mask = t.mask * 2 + 1;
	t.entry = calloc(t.mask + 1, sizeof *t.entry);
	t.scope = calloc(f->nnode, sizeof(struct entry *));
	if (!names->at || !t.entry || !t.scope)
		abort();
	kir_text_add(&names->pool, "?%c", 0);
	for (kir_ref n = 1; n < f->nnode; n++) {
		const kir_node *x = &f->node[n];
		follow_regions(&t, f, n);
		if (!x->type || x->op == KIR_OP_const)
			continue;
		if (usable(x->name)) {
			names->at[n] = unique(&t, x->name);
			continue;
		}
		names->at[n] = (uint32_t)names->pool.len;
		kir_text_add(&names->pool, "%u%c", number++, 0);
	}
	free(t.entry);
	free(t.scope);
}

void kir_names_free(kir_names *names)
{
	free(names->at);
	free(names->pool.text);
}
