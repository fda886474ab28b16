/* SPDX-License-Identifier: Apache-2.0 */
/* store_priv.h -- inside the store: its state, and records as rows.
 *
 *     store.c         which file, opening and refusing it, what an error means
 *     store_row.c     one table of columns for each kind of record; bind, read, put, walk
 *     store_data.c    store.h's functions on records
 *     store_house.c   merge, gc, verify, transactions
 *     claim.c         one compile across processes
 *     recent.c        what was asked lately, to be had without SQL
 */
#ifndef KVJIT_TUNE_STORE_PRIV_H
#define KVJIT_TUNE_STORE_PRIV_H

#include "store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <sys/types.h>

typedef enum kt_table { KT_CODE, KT_SCHEDULES, KT_TRIALS, KT_PINS, KT_NTABLE } kt_table;

/* Prepared when first used, finalized with the connection. */
typedef enum kt_stmt {
	KT_S_CODE_GET,
	KT_S_CODE_USED,
	KT_S_CODE_SUM,
	KT_S_CODE_VICTIM,
	KT_S_CODE_DROP,
	KT_S_SCHED_PROGRAM,
	KT_S_SCHED_MACHINE,
	KT_S_TRIALS_PLACE,
	KT_S_PINS_PROGRAM,
	KT_S_META_GET,
	KT_S_META_RAISE,
	KT_S_PUT, /* of each table */
	KT_NSTMT = KT_S_PUT + KT_NTABLE
} kt_stmt;

typedef struct kt_use {
	kt_key key;
	int64_t n;
} kt_use;

/* A file that was locked when it was to be opened isn't asked again sooner, so that a lock that
 * stays doesn't cost every call KT_WAIT_MS. */
enum { KT_AGAIN_MS = 1000 };

struct kt_store {
	pthread_mutex_t lock; /* recursive: a walk's function may ask the store */
	char *folder, *path;  /* path: of the file */
	kt_mode mode;
	int64_t cap;
	kt_log log;
	pid_t pid;                                   /* whose db and use these are */
	bool tried, writable, wrote, relaxed, begun; /* begun: between begin and end */
	int64_t
	    again; /* when to open what was locked, in ms of the monotonic clock; 0: never */
	dev_t dev; /* dev, ino: the file that was looked at */
	ino_t ino;
	kt_reason state, trust;
	sqlite3 *db; /* NULL: nothing to read */
	sqlite3_stmt *stmt[KT_NSTMT];
	kt_use *use;
	unsigned nuse;
	struct kts_recent *recent; /* recent.h; NULL: not asked yet */
};

/* In a child of fork() the store is as before its first use. */
void kts_after_fork(kt_store *s);

/* Locks, opens the file if that wasn't tried in this process; false, unlocked, when there is
 * nothing to read (write: to write). */
bool kts_enter(kt_store *s, bool write);
void kts_leave(kt_store *s);
/* What an SQLite error means; says it, sets a damaged file aside. */
kt_reason kts_failed(kt_store *s, int rc);
/* Reset and ready to be bound; NULL after kts_failed. */
sqlite3_stmt *kts_stmt(kt_store *s, kt_stmt i);
kt_reason kts_exec(kt_store *s, const char *sql);
/* fn as a transaction of its own, undone unless it returns none, or within the one that was
 * begun. Entered to write. */
kt_reason kts_whole(kt_store *s, kt_reason (*fn)(kt_store *s, const void *ctx),
                    const void *ctx);

/* -- rows ------------------------------------------------------------------------------ */

extern const char kts_schema[];
/* A statement's text; free with sqlite3_free. */
char *kts_sql(kt_stmt i);
/* SELECT of all columns of a table, `rest` after it; no bytes: of code without its bytes. */
char *kts_select(kt_table t, bool bytes, const char *rest);
/* The row at hand into a zeroed record; false without memory or for a word that isn't known,
 * and nothing is left in the record. */
bool kts_read(sqlite3_stmt *q, kt_table t, void *record);
void kts_free(kt_table t, void *record);
size_t kts_record_size(kt_table t);
void kts_bind_key(sqlite3_stmt *q, int i, const kt_key *k);
/* A place as parameters 1 to 7. */
void kts_bind_where(sqlite3_stmt *q, const kt_where *w);
/* Walks q, giving each row as a record to fn until it returns false. */
kt_reason kts_walk(kt_store *s, sqlite3_stmt *q, kt_table t,
                   bool (*fn)(const void *record, void *ctx), void *ctx);
/* Inserts or replaces. */
kt_reason kts_put(kt_store *s, kt_table t, const void *record);
/* Hash over all that must belong together in an entry of code, so that one that was moved
 * under another's key is noticed. */
void kts_seal(const kt_code *c, kt_key *out);

/* Drops code until at most cap bytes are kept; `but` stays. How many entries. */
int64_t kts_evict(kt_store *s, int64_t cap, const kt_key *but);

/* For tests: stands in for the file system's type, NULL: asks it. */
extern bool (*kts_is_network)(const char *folder);

#endif
