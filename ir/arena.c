/* SPDX-License-Identifier: Apache-2.0 */
/* arena.c -- modules and the memory everything in them lives in.
 *
 * Chunks that only grow and go together. An array that outgrows its place is copied; the
 * old place stays valid, so a pointer into it may be read while more is appended.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK ((size_t)64 << 10)

struct chunk {
	struct chunk *next;
	size_t used, size;
	_Alignas(16) char byte[];
};

struct kir_arena {
	struct chunk *chunk;
};

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static struct kir_arena *arena_new(void)
{
	return must(calloc(1, sizeof(struct kir_arena)));
}

static void arena_free(struct kir_arena *a)
{
	if (!a)
		return;
	for (struct chunk *c = a->chunk, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(a);
}

static void *arena_alloc(struct kir_arena *a, size_t bytes)
{
	if (bytes > SIZE_MAX / 2)
		abort();
	bytes = (bytes + 15) & ~(size_t)15;
	struct chunk *c = a->chunk;
	if (!c || c->size - c->used < bytes) {
		size_t size = bytes > CHUNK / 4 ? bytes : CHUNK;
		struct chunk *fresh = must(calloc(1, sizeof *fresh + size));
		fresh->size = size;
		/* A large block goes behind the current chunk, whose rest stays in use. */
		if (c && size == bytes) {
			fresh->next = c->next;
			c->next = fresh;
		} else {
			fresh->next = c;
			a->chunk = fresh;
		}
		c = fresh;
	}
	void *p = c->byte + c->used;
	c->used += bytes;
	return p;
}

void *kir_grow(kir_module *m, void *old, unsigned used, unsigned *cap, size_t size)
{
	if (used < *cap)
		return old;
	unsigned more = *cap ? *cap * 2 : 16;
	char *p = kir_alloc(m, more * size);
	if (used)
		memcpy(p, old, used * size);
	*cap = more;
	return p;
}

void *kir_alloc(kir_module *m, size_t bytes)
{
	return arena_alloc(m->arena, bytes);
}

const char *kir_strdup(kir_module *m, const char *s, size_t len)
{
	char *p = kir_alloc(m, len + 1);
	memcpy(p, s, len);
	return p;
}

kir_module *kir_module_new(void)
{
	kir_module *m = must(calloc(1, sizeof *m));
	m->arena = arena_new();
	m->type = kir_grow(m, NULL, 0, &m->type_cap, sizeof *m->type);
	m->ntype = 1;
	return m;
}

void kir_module_free(kir_module *m)
{
	if (!m)
		return;
	arena_free(m->arena);
	free(m);
}
