/* SPDX-License-Identifier: Apache-2.0 */
/* hot.c -- kernels of this context by the text they were asked for with.
 *
 * Open addressing over pointers to entries that never change. Readers take no lock: they load
 * the table, then slots until an empty one; both are published after what they point to is
 * complete. A writer holds the lock; when the table is half full it makes one of twice the size
 * and publishes that. Old tables and all entries stay until the context is closed, so that a
 * reader may be anywhere in them: as many bytes again as the newest table has.
 */
#include "cache.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
	uint64_t hash;
	size_t len; /* of bytes */
	unsigned flags;
	kvjit_kernel *k;
	char bytes[]; /* text, 0, knobs */
} entry;

typedef struct table {
	struct table *older;
	size_t mask;
	_Atomic(entry *) at[];
} table;

struct kvjit_hot {
	pthread_mutex_t lock; /* of writers */
	_Atomic(table *) now;
	size_t n;
};

enum { FIRST_SLOTS = 64 };

static table *table_new(size_t slots)
{
	table *t = malloc(sizeof(*t) + slots * sizeof(t->at[0]));

	if (!t)
		return NULL;
	t->older = NULL;
	t->mask = slots - 1;
	for (size_t i = 0; i < slots; i++)
		atomic_init(&t->at[i], NULL);
	return t;
}

kvjit_hot *kvjit_hot_new(void)
{
	kvjit_hot *h = calloc(1, sizeof(*h));
	table *t = h ? table_new(FIRST_SLOTS) : NULL;

	if (!t) {
		free(h);
		return NULL;
	}
	pthread_mutex_init(&h->lock, NULL);
	atomic_init(&h->now, t);
	return h;
}

void kvjit_hot_free(kvjit_hot *h)
{
	if (!h)
		return;
	table *t = atomic_load(&h->now);
	for (size_t i = 0; i <= t->mask; i++) {
		entry *e = atomic_load(&t->at[i]);

		if (e)
			kvjit_release(e->k);
		free(e);
	}
	while (t) {
		table *older = t->older;

		free(t);
		t = older;
	}
	pthread_mutex_destroy(&h->lock);
	free(h);
}

/* Eight bytes at a time, each step a multiplication whose halves are folded. */
static uint64_t fold(uint64_t a, uint64_t b)
{
	__extension__ unsigned __int128 x = (unsigned __int128)a * b;

	return (uint64_t)x ^ (uint64_t)(x >> 64);
}

static uint64_t hash_bytes(uint64_t h, const char *s, size_t n)
{
	uint64_t word;

	for (; n >= 8; s += 8, n -= 8) {
		memcpy(&word, s, 8);
		h = fold(h ^ word, 0x9e3779b97f4a7c15);
	}
	word = n;
	for (size_t i = 0; i < n; i++)
		word = word << 8 | (unsigned char)s[i];
	return fold(h ^ word, 0xd6e8feb86659fd93);
}

typedef struct query {
	const char *text, *sched;
	size_t ntext, nsched;
	unsigned flags;
	uint64_t hash;
} query;

static query ask(const char *text, const char *sched, unsigned flags)
{
	query q = { text, sched ? sched : "", strlen(text), 0, flags, 0 };

	q.nsched = strlen(q.sched);
	q.hash = hash_bytes(flags + 1, text, q.ntext);
	if (q.nsched)
		q.hash = hash_bytes(q.hash, q.sched, q.nsched);
	return q;
}

static bool is_for(const entry *e, const query *q)
{
	return e->hash == q->hash && e->flags == q->flags &&
	       e->len == q->ntext + 1 + q->nsched && !memcmp(e->bytes, q->text, q->ntext) &&
	       !e->bytes[q->ntext] && !memcmp(e->bytes + q->ntext + 1, q->sched, q->nsched);
}

static entry *find(const table *t, const query *q)
{
	for (size_t i = q->hash & t->mask;; i = (i + 1) & t->mask) {
		entry *e = atomic_load_explicit(&t->at[i], memory_order_acquire);

		if (!e || is_for(e, q))
			return e;
	}
}

kvjit_kernel *kvjit_hot_find(kvjit_hot *h, const char *text, const char *sched, unsigned flags)
{
	query q = ask(text, sched, flags);
	entry *e = find(atomic_load_explicit(&h->now, memory_order_acquire), &q);

	return e ? kvjit_retain(e->k) : NULL;
}

static void put(table *t, entry *e)
{
	size_t i = e->hash & t->mask;

	while (atomic_load_explicit(&t->at[i], memory_order_relaxed))
		i = (i + 1) & t->mask;
	atomic_store_explicit(&t->at[i], e, memory_order_release);
}

/* A table with room for one more; NULL: no memory. */
static table *with_room(kvjit_hot *h)
{
	table *t = atomic_load(&h->now), *more;

	if (h->n * 2 <= t->mask)
		return t;
	more = table_new((t->mask + 1) * 2);
	if (!more)
		return NULL;
	for (size_t i = 0; i <= t->mask; i++) {
		entry *e = atomic_load(&t->at[i]);

		if (e)
			put(more, e);
	}
	more->older = t;
	atomic_store_explicit(&h->now, more, memory_order_release);
	return more;
}

static entry *entry_new(const query *q, kvjit_kernel *k)
{
	entry *e = malloc(sizeof(*e) + q->ntext + q->nsched + 2);

	if (!e)
		return NULL;
	*e = (entry){ q->hash, q->ntext + 1 + q->nsched, q->flags, k };
	memcpy(e->bytes, q->text, q->ntext + 1);
	memcpy(e->bytes + q->ntext + 1, q->sched, q->nsched + 1);
	return e;
}

kvjit_kernel *kvjit_hot_add(kvjit_hot *h, const char *text, const char *sched, unsigned flags,
                            kvjit_kernel *k)
{
	query q = ask(text, sched, flags);
	table *t;
	entry *e;

	pthread_mutex_lock(&h->lock);
	e = find(atomic_load(&h->now), &q);
	if (e) { /* another thread was faster: all callers get one kernel */
		kvjit_release(k);
		k = kvjit_retain(e->k);
	} else if ((t = with_room(h)) && (e = entry_new(&q, k))) {
		kvjit_retain(k);
		put(t, e);
		h->n++;
	}
	pthread_mutex_unlock(&h->lock);
	return k;
}
