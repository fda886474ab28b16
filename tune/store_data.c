/* SPDX-License-Identifier: Apache-2.0 */
/* store_data.c -- asking for records and putting them. */
#include "recent.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* -- code ------------------------------------------------------------------------------- */

/* What the row says of itself, held against what it is. */
static kt_reason check_code(sqlite3_stmt *q, const kt_code *c, const kt_key *asked)
{
	int last = sqlite3_column_count(q) - 1;
	const void *stored = sqlite3_column_blob(q, last);
	kt_key hash, seal;

	kt_hash(c->bytes ? c->bytes : (const uint8_t *)"", c->bytes ? c->size : 0, &hash);
	if (!kt_key_equal(&hash, &c->hash))
		return KT_WHY_wrong_hash;
	kts_seal(c, &seal);
	if (!kt_key_equal(&c->key, asked) || !stored ||
	    sqlite3_column_bytes(q, last) != sizeof(seal) ||
	    memcmp(stored, seal.b, sizeof(seal)) != 0)
		return KT_WHY_wrong_key;
	return KT_WHY_none;
}

static kt_reason get(kt_store *s, const kt_key *key, kt_code *out)
{
	sqlite3_stmt *q = kts_stmt(s, KT_S_CODE_GET);
	kt_reason why = KT_WHY_miss;
	int rc;

	if (!q)
		return s->state == KT_WHY_none ? KT_WHY_miss : s->state;
	kts_bind_key(q, 1, key);
	rc = sqlite3_step(q);
	if (rc == SQLITE_ROW) {
		why = kts_read(q, KT_CODE, out) ? check_code(q, out, key) : KT_WHY_corrupt;
		if (why != KT_WHY_none)
			kt_code_free(out);
	}
	sqlite3_reset(q);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return kts_failed(s, rc);
	return kt_say(&s->log, why, s->path, NULL);
}

kt_reason kt_code_get(kt_store *s, const kt_key *key, kt_code *out)
{
	kt_reason why;

	memset(out, 0, sizeof(*out));
	if (!kts_enter(s, false))
		return s->state == KT_WHY_none ? KT_WHY_miss : s->state;
	why = get(s, key, out);
	kts_leave(s);
	return why;
}

kt_reason kt_code_find(kt_store *s, const kt_key *key, kt_code *out)
{
	kts_ask ask = kts_asking(KT_CODE, key, NULL);
	void *at = NULL;
	unsigned n = 0;
	kt_reason why;

	if (kts_recall(s, &ask, &at, &n)) {
		*out = *(kt_code *)at;
		free(at);
		return KT_WHY_none;
	}
	why = kt_code_get(s, key, out);
	kts_note(s, &ask);
	return why;
}

static int64_t bytes_kept(kt_store *s)
{
	sqlite3_stmt *q = kts_stmt(s, KT_S_CODE_SUM);
	int64_t n = 0;

	if (q && sqlite3_step(q) == SQLITE_ROW)
		n = sqlite3_column_int64(q, 0);
	sqlite3_reset(q);
	return n;
}

/* Drops one entry, not `but`; its size, 0 when none is left that may go. */
static int64_t drop_one(kt_store *s, const kt_key *but)
{
	sqlite3_stmt *q = kts_stmt(s, KT_S_CODE_VICTIM), *drop = kts_stmt(s, KT_S_CODE_DROP);
	int64_t size = 0;

	if (!q || !drop)
		return 0;
	kts_bind_key(q, 1, but);
	if (sqlite3_step(q) == SQLITE_ROW) {
		sqlite3_bind_blob(drop, 1, sqlite3_column_blob(q, 0),
		                  sqlite3_column_bytes(q, 0), SQLITE_TRANSIENT);
		size = sqlite3_column_int64(q, 1) + 1;
		kts_forget(s);
	}
	sqlite3_reset(q);
	if (size && sqlite3_step(drop) != SQLITE_DONE)
		size = 0;
	sqlite3_reset(drop);
	return size;
}

int64_t kts_evict(kt_store *s, int64_t cap, const kt_key *but)
{
	int64_t kept = bytes_kept(s), dropped = 0, size;

	for (; kept > cap && (size = drop_one(s, but)); kept -= size - 1)
		dropped++;
	return dropped;
}

kt_reason kts_whole(kt_store *s, kt_reason (*fn)(kt_store *s, const void *ctx), const void *ctx)
{
	bool own = sqlite3_get_autocommit(s->db);
	kt_reason why = own ? kts_exec(s, "BEGIN IMMEDIATE") : KT_WHY_none;

	if (why != KT_WHY_none)
		return why;
	why = fn(s, ctx);
	if (!own || !s->db)
		return why;
	if (why == KT_WHY_none)
		why = kts_exec(s, "COMMIT");
	if (why != KT_WHY_none && s->db)
		sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	return why;
}

typedef struct putting {
	kt_table table;
	const void *record;
} putting;

/* Room for code is made in the same transaction: the file never exceeds the cap for long. Not
 * in one that the caller began: that is a merge, which must not depend on the order. */
static kt_reason put_one(kt_store *s, const void *ctx)
{
	const putting *p = ctx;
	kt_reason why = kts_put(s, p->table, p->record);

	if (why == KT_WHY_none && p->table == KT_CODE && !s->begun)
		kts_evict(s, s->cap, &((const kt_code *)p->record)->key);
	return why;
}

static kt_reason put(kt_store *s, kt_table t, const void *record)
{
	kt_reason why;

	if (!kts_enter(s, true))
		return s->state == KT_WHY_none ? KT_WHY_unwritable : s->state;
	why = kts_whole(s, put_one, &(putting){ t, record });
	kts_leave(s);
	return why;
}

kt_reason kt_code_put(kt_store *s, const kt_code *c)
{
	return (int64_t)c->size > s->cap ? KT_WHY_full : put(s, KT_CODE, c);
}

void kt_code_used(kt_store *s, const kt_key *key)
{
	kt_use *more;
	unsigned i = 0;

	pthread_mutex_lock(&s->lock);
	kts_after_fork(s);
	while (i < s->nuse && !kt_key_equal(&s->use[i].key, key))
		i++;
	if (i < s->nuse) {
		s->use[i].n++;
	} else if ((more = realloc(s->use, (s->nuse + 1) * sizeof(*s->use)))) {
		s->use = more;
		s->use[s->nuse++] = (kt_use){ *key, 1 };
	}
	pthread_mutex_unlock(&s->lock);
}

/* -- several ------------------------------------------------------------------------------ */

/* Every row of q as an array of records. */
static unsigned rows(kt_store *s, sqlite3_stmt *q, kt_table t, void **out)
{
	size_t size = kts_record_size(t);
	char *at = NULL;
	unsigned n = 0, cap = 0;
	int rc;

	while ((rc = sqlite3_step(q)) == SQLITE_ROW) {
		char *more = n == cap ? realloc(at, (cap = cap * 2 + 8) * size) : at;

		if (!more)
			break;
		at = more;
		n += kts_read(q, t, at + n * size);
	}
	sqlite3_reset(q);
	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		kts_failed(s, rc);
	*out = at;
	return n;
}

unsigned kt_schedules_of(kt_store *s, const kt_key *program, const kt_key *machine,
                         kt_schedule **out)
{
	kts_ask ask = kts_asking(KT_SCHEDULES, program, machine);
	void *at = NULL;
	unsigned n = 0;
	sqlite3_stmt *q;

	*out = NULL;
	if (kts_recall(s, &ask, &at, &n)) {
		*out = at;
		return n;
	}
	if (!kts_enter(s, false))
		return 0;
	q = kts_stmt(s, machine ? KT_S_SCHED_MACHINE : KT_S_SCHED_PROGRAM);
	if (q) {
		kts_bind_key(q, 1, program);
		if (machine)
			kts_bind_key(q, 2, machine);
		n = rows(s, q, KT_SCHEDULES, &at);
		kts_note(s, &ask);
	}
	kts_leave(s);
	*out = at;
	return n;
}

unsigned kt_trials_of(kt_store *s, const kt_where *w, kt_trial **out)
{
	void *at = NULL;
	unsigned n = 0;
	sqlite3_stmt *q;

	*out = NULL;
	if (!kts_enter(s, false))
		return 0;
	q = kts_stmt(s, KT_S_TRIALS_PLACE);
	if (q) {
		kts_bind_where(q, w);
		n = rows(s, q, KT_TRIALS, &at);
	}
	kts_leave(s);
	*out = at;
	return n;
}

unsigned kt_pins_of(kt_store *s, const kt_key *program, kt_pin **out)
{
	kts_ask ask = kts_asking(KT_PINS, program, NULL);
	void *at = NULL;
	unsigned n = 0;
	sqlite3_stmt *q;

	*out = NULL;
	if (kts_recall(s, &ask, &at, &n))
		return 0;
	if (!kts_enter(s, false))
		return 0;
	q = kts_stmt(s, KT_S_PINS_PROGRAM);
	if (q) {
		kts_bind_key(q, 1, program);
		n = rows(s, q, KT_PINS, &at);
		kts_note(s, &ask);
	}
	kts_leave(s);
	*out = at;
	return n;
}

kt_reason kt_schedule_put(kt_store *s, const kt_schedule *r)
{
	return put(s, KT_SCHEDULES, r);
}

kt_reason kt_trial_put(kt_store *s, const kt_trial *t)
{
	return put(s, KT_TRIALS, t);
}

kt_reason kt_pin_put(kt_store *s, const kt_pin *p)
{
	return put(s, KT_PINS, p);
}

/* -- meta ---------------------------------------------------------------------------------- */

bool kt_meta_get(kt_store *s, const char *name, int64_t *out)
{
	bool found = false;
	sqlite3_stmt *q;

	if (!kts_enter(s, false))
		return false;
	q = kts_stmt(s, KT_S_META_GET);
	if (q) {
		sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
		found = sqlite3_step(q) == SQLITE_ROW;
		if (found)
			*out = sqlite3_column_int64(q, 0);
		sqlite3_reset(q);
	}
	kts_leave(s);
	return found;
}

kt_reason kt_meta_raise(kt_store *s, const char *name, int64_t x)
{
	kt_reason why = KT_WHY_none;
	sqlite3_stmt *q;
	int rc;

	if (!kts_enter(s, true))
		return s->state == KT_WHY_none ? KT_WHY_unwritable : s->state;
	q = kts_stmt(s, KT_S_META_RAISE);
	if (q) {
		sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
		sqlite3_bind_int64(q, 2, x);
		rc = sqlite3_step(q);
		sqlite3_reset(q);
		why = rc == SQLITE_DONE ? KT_WHY_none : kts_failed(s, rc);
	}
	kts_leave(s);
	return why;
}

/* -- walking ------------------------------------------------------------------------------- */

typedef struct walk {
	union {
		bool (*schedule)(const kt_schedule *r, void *ctx);
		bool (*trial)(const kt_trial *r, void *ctx);
		bool (*code)(const kt_code *r, void *ctx);
		bool (*pin)(const kt_pin *r, void *ctx);
	} fn;
	void *ctx;
} walk;

static bool see_schedule(const void *r, void *ctx)
{
	walk *w = ctx;

	return w->fn.schedule(r, w->ctx);
}

static bool see_trial(const void *r, void *ctx)
{
	walk *w = ctx;

	return w->fn.trial(r, w->ctx);
}

static bool see_code(const void *r, void *ctx)
{
	walk *w = ctx;

	return w->fn.code(r, w->ctx);
}

static bool see_pin(const void *r, void *ctx)
{
	walk *w = ctx;

	return w->fn.pin(r, w->ctx);
}

static bool each(kt_store *s, kt_table t, bool bytes, bool (*fn)(const void *, void *), walk *w)
{
	sqlite3_stmt *q = NULL;
	kt_reason why = KT_WHY_none;
	char *sql;
	int rc;

	if (!kts_enter(s, false))
		return false;
	sql = kts_select(t, bytes, NULL);
	rc = sql ? sqlite3_prepare_v2(s->db, sql, -1, &q, NULL) : SQLITE_NOMEM;
	sqlite3_free(sql);
	if (rc != SQLITE_OK)
		why = kts_failed(s, rc);
	else
		why = kts_walk(s, q, t, fn, w);
	sqlite3_finalize(q);
	kts_leave(s);
	return why == KT_WHY_none;
}

bool kt_each_schedule(kt_store *s, bool (*fn)(const kt_schedule *r, void *ctx), void *ctx)
{
	return each(s, KT_SCHEDULES, true, see_schedule, &(walk){ { .schedule = fn }, ctx });
}

bool kt_each_trial(kt_store *s, bool (*fn)(const kt_trial *r, void *ctx), void *ctx)
{
	return each(s, KT_TRIALS, true, see_trial, &(walk){ { .trial = fn }, ctx });
}

bool kt_each_code(kt_store *s, bool bytes, bool (*fn)(const kt_code *r, void *ctx), void *ctx)
{
	return each(s, KT_CODE, bytes, see_code, &(walk){ { .code = fn }, ctx });
}

bool kt_each_pin(kt_store *s, bool (*fn)(const kt_pin *r, void *ctx), void *ctx)
{
	return each(s, KT_PINS, true, see_pin, &(walk){ { .pin = fn }, ctx });
}
