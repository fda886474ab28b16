/* SPDX-License-Identifier: Apache-2.0 */
/* store_house.c -- transactions, merging, throwing out, verifying. */
#include "recent.h"

#include <stdio.h>
#include <string.h>

/* -- transactions ------------------------------------------------------------------------ */

/* The lock stays held until the end, so that no other thread's puts fall into it. */
kt_reason kt_store_begin(kt_store *s)
{
	kt_reason why;

	if (!kts_enter(s, true))
		return s->state == KT_WHY_none ? KT_WHY_unwritable : s->state;
	why = s->begun ? KT_WHY_locked : kts_exec(s, "BEGIN IMMEDIATE");
	if (why == KT_WHY_none)
		s->begun = true;
	else
		kts_leave(s);
	return why;
}

/* Without room SQLite may have dropped all by itself: that is no failure of a ROLLBACK. */
kt_reason kt_store_end(kt_store *s, bool keep)
{
	kt_reason why = keep ? KT_WHY_unwritable : KT_WHY_none;

	if (s->db && !sqlite3_get_autocommit(s->db)) {
		why = kts_exec(s, keep ? "COMMIT" : "ROLLBACK");
		if (why != KT_WHY_none && s->db)
			sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	}
	s->begun = false;
	kts_leave(s);
	return why;
}

/* -- merging --------------------------------------------------------------------------------
 * Of two records for one place the greater one in a total order of contents is kept; counts
 * become the larger one. So the result is a function of the set of records alone. */

typedef struct join {
	kt_store *to;
	kt_reason why;
} join;

/* Runs q, prepared for this one record, on the table's own statement text. */
static sqlite3_stmt *lookup(kt_store *s, kt_table t, const char *rest)
{
	char *sql = kts_select(t, true, rest);
	sqlite3_stmt *q = NULL;

	if (sql && s->db)
		sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);
	sqlite3_free(sql);
	return q;
}

#define PLACE                                                                            \
	"WHERE program=?1 AND machine=?2 AND threads=?3 AND policy=?4 AND batch=?5 AND " \
	"ctx=?6 AND qlen=?7"

static bool join_schedule(const kt_schedule *r, void *ctx)
{
	sqlite3_stmt *q;
	kt_schedule old;
	join *j = ctx;
	bool better = true;

	q = lookup(j->to, KT_SCHEDULES, PLACE);
	if (q)
		kts_bind_where(q, &r->where);
	if (q && sqlite3_step(q) == SQLITE_ROW && kts_read(q, KT_SCHEDULES, &old)) {
		better = kt_schedule_order(r, &old) > 0;
		kt_schedule_free(&old);
	}
	sqlite3_finalize(q);
	if (better)
		j->why = kts_put(j->to, KT_SCHEDULES, r);
	return j->why == KT_WHY_none;
}

static bool join_trial(const kt_trial *r, void *ctx)
{
	sqlite3_stmt *q;
	kt_trial old;
	join *j = ctx;
	bool better = true;

	q = lookup(j->to, KT_TRIALS, PLACE " AND run=?8 AND seq=?9");
	if (q) {
		kts_bind_where(q, &r->where);
		sqlite3_bind_int64(q, 8, r->run);
		sqlite3_bind_int64(q, 9, r->seq);
	}
	if (q && sqlite3_step(q) == SQLITE_ROW && kts_read(q, KT_TRIALS, &old)) {
		better = kt_trial_order(r, &old) > 0;
		kt_trial_free(&old);
	}
	sqlite3_finalize(q);
	if (better)
		j->why = kts_put(j->to, KT_TRIALS, r);
	return j->why == KT_WHY_none;
}

/* Code of one key is made by one code generator of the same text: should its bytes differ all
 * the same, the smaller hash stays. The words beside them may differ, as a problem has several
 * spellings: of the same bytes the smaller seal stays, at last the problem that sorts first. */
static bool code_before(const kt_code *a, const kt_code *b)
{
	int c = memcmp(&a->hash, &b->hash, sizeof(a->hash));
	kt_key x, y;

	if (!c) {
		kts_seal(a, &x);
		kts_seal(b, &y);
		c = memcmp(&x, &y, sizeof(x));
	}
	return c ? c < 0 : strcmp(a->problem, b->problem) < 0;
}

static bool join_code(const kt_code *r, void *ctx)
{
	kt_code merged = *r, old;
	join *j = ctx;
	sqlite3_stmt *q = lookup(j->to, KT_CODE, "WHERE key=?1");
	bool found;

	if (q)
		kts_bind_key(q, 1, &r->key);
	found = q && sqlite3_step(q) == SQLITE_ROW && kts_read(q, KT_CODE, &old);
	if (found && code_before(&old, r))
		merged = old;
	if (found) {
		merged.uses = r->uses > old.uses ? r->uses : old.uses;
		merged.last_used = r->last_used > old.last_used ? r->last_used : old.last_used;
		merged.compile_us =
		    r->compile_us > old.compile_us ? r->compile_us : old.compile_us;
	}
	sqlite3_finalize(q);
	j->why = kts_put(j->to, KT_CODE, &merged);
	if (found)
		kt_code_free(&old);
	return j->why == KT_WHY_none;
}

static bool join_pin(const kt_pin *r, void *ctx)
{
	sqlite3_stmt *q;
	join *j = ctx;
	bool better = true;
	kt_pin old;

	q = lookup(j->to, KT_PINS, "WHERE program=?1 AND batch=?2 AND ctx=?3 AND qlen=?4");
	if (q) {
		kts_bind_key(q, 1, &r->program);
		sqlite3_bind_int(q, 2, r->bucket.batch);
		sqlite3_bind_int(q, 3, r->bucket.ctx);
		sqlite3_bind_int(q, 4, r->bucket.qlen);
	}
	if (q && sqlite3_step(q) == SQLITE_ROW && kts_read(q, KT_PINS, &old)) {
		int c = strcmp(r->sched, old.sched);

		better = c ? c < 0 : strcmp(r->problem, old.problem) < 0;
		kt_pin_free(&old);
	}
	sqlite3_finalize(q);
	if (better)
		j->why = kts_put(j->to, KT_PINS, r);
	return j->why == KT_WHY_none;
}

static bool join_meta(kt_store *s, kt_store *from)
{
	sqlite3_stmt *q = NULL;
	bool ok = true;

	if (!kts_enter(from, false))
		return false;
	if (sqlite3_prepare_v2(from->db, "SELECT name,value FROM meta", -1, &q, NULL) !=
	    SQLITE_OK)
		ok = false;
	while (ok && sqlite3_step(q) == SQLITE_ROW)
		ok = kt_meta_raise(s, (const char *)sqlite3_column_text(q, 0),
		                   sqlite3_column_int64(q, 1)) == KT_WHY_none;
	sqlite3_finalize(q);
	kts_leave(from);
	return ok;
}

kt_reason kt_store_merge(kt_store *s, kt_store *from)
{
	join j = { s, kt_store_state(from) };
	bool read;

	if (j.why != KT_WHY_none && !from->db)
		return j.why;
	j.why = kt_store_begin(s);
	if (j.why != KT_WHY_none)
		return j.why;
	read = kt_each_schedule(from, join_schedule, &j) &&
	       kt_each_trial(from, join_trial, &j) && kt_each_code(from, true, join_code, &j) &&
	       kt_each_pin(from, join_pin, &j) && join_meta(s, from);
	if (!read && j.why == KT_WHY_none)
		j.why = KT_WHY_unreadable;
	if (j.why == KT_WHY_none)
		return kt_store_end(s, true);
	kt_store_end(s, false);
	return j.why;
}

/* -- throwing out -------------------------------------------------------------------------- */

static int64_t number(kt_store *s, const char *sql)
{
	sqlite3_stmt *q = NULL;
	int64_t n = 0;

	if (s->db && sqlite3_prepare_v2(s->db, sql, -1, &q, NULL) == SQLITE_OK &&
	    sqlite3_step(q) == SQLITE_ROW)
		n = sqlite3_column_int64(q, 0);
	sqlite3_finalize(q);
	return n;
}

kt_reason kt_store_gc(kt_store *s, int64_t cap, kt_gc *out)
{
	static const kt_key none;
	char sql[100];
	kt_reason why = kt_store_begin(s);

	*out = (kt_gc){ 0 };
	if (why != KT_WHY_none)
		return why;
	kts_forget(s);
	out->code_before = number(s, "SELECT total(size) FROM code");
	snprintf(sql, sizeof(sql), "DELETE FROM code WHERE codegen<>%d", KT_CODEGEN);
	why = kts_exec(s, sql);
	out->stale = s->db ? sqlite3_changes(s->db) : 0;
	if (why == KT_WHY_none)
		out->dropped = kts_evict(s, cap > 0 ? cap : s->cap, &none);
	out->code_after = number(s, "SELECT total(size) FROM code");
	if (why == KT_WHY_none)
		why = kt_store_end(s, true);
	else
		kt_store_end(s, false);
	if (why == KT_WHY_none && kts_enter(s, true)) {
		why = kts_exec(s, "VACUUM");
		s->wrote = true; /* the file gets smaller once the journal is copied into it */
		kts_leave(s);
	}
	return why;
}

/* -- verifying ----------------------------------------------------------------------------- */

typedef struct checker {
	kt_store *s;
	char *why;
	size_t len;
	int64_t n;
	kt_reason reason;
} checker;

static bool check_entry(const kt_code *c, void *ctx)
{
	checker *k = ctx;
	char hex[KT_HEX];
	kt_code got;

	k->n++;
	k->reason = kt_code_get(k->s, &c->key, &got);
	if (k->reason == KT_WHY_none) {
		kt_code_free(&got);
		return true;
	}
	kt_key_hex(&c->key, hex);
	snprintf(k->why, k->len, "%s %s: code %s", k->s->path, kt_reasons[k->reason].sentence,
	         hex);
	return false;
}

/* In one transaction, so that what a walk passes over, as it can't be read, is missing from the
 * very entries that are counted. */
static void check_entries(checker *k)
{
	kt_store *s = k->s;
	bool own;

	if (!kts_enter(s, false)) {
		k->reason = s->state;
		return;
	}
	k->why[0] = 0;
	own = sqlite3_exec(s->db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK;
	if (!kt_each_code(s, false, check_entry, k) && k->reason == KT_WHY_none)
		k->reason = KT_WHY_corrupt;
	if (k->reason == KT_WHY_none && number(s, "SELECT count(*) FROM code") != k->n) {
		k->reason = KT_WHY_corrupt;
		snprintf(k->why, k->len, "%s %s: an entry of code can't be read", s->path,
		         kt_reasons[k->reason].sentence);
	}
	if (own && s->db)
		sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL);
	kts_leave(s);
}

/* SQLite's own opinion of the file. */
static kt_reason check_file(kt_store *s, char *why, size_t len)
{
	sqlite3_stmt *q = NULL;
	bool ok = false;
	int rc;

	if (!kts_enter(s, false)) {
		snprintf(why, len, "%s %s", s->path, kt_reasons[s->state].sentence);
		return s->state;
	}
	rc = sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &q, NULL);
	if (rc == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(q, 0);

		ok = text && !strcmp(text, "ok");
		snprintf(why, len, "%s is damaged: %s", s->path, text ? text : "");
	}
	sqlite3_finalize(q);
	kts_leave(s);
	return ok ? KT_WHY_none : KT_WHY_corrupt;
}

kt_reason kt_store_verify(kt_store *s, char *why, size_t len, int64_t *checked)
{
	checker k = { s, why, len, 0, KT_WHY_none };

	why[0] = 0;
	k.reason = check_file(s, why, len);
	if (k.reason == KT_WHY_none)
		check_entries(&k);
	if (checked)
		*checked = k.n;
	return k.reason;
}
