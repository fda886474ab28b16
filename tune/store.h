/* SPDX-License-Identifier: Apache-2.0 */
/* store.h -- a cache on disk: one SQLite file, `kvjit.db` of its folder.
 *
 * The user's is read and written by any number of processes (WAL); a system's is opened
 * immutable and only read. Whatever is wrong with a file, no function here fails the caller's
 * work or blocks longer than KT_WAIT_MS: what can't be read is a miss, what can't be written
 * is dropped, and the first time for each reason and file one line goes to the log.
 *
 * A store may be used from any thread, one call at a time inside; after fork() the child's
 * first call opens the file anew.
 */
#ifndef KVJIT_TUNE_STORE_H
#define KVJIT_TUNE_STORE_H

#include "reason.h"
#include "record.h"

enum { KT_SCHEMA = 1, KT_WAIT_MS = 200 };

typedef struct kt_store kt_store;

typedef enum kt_mode {
	KT_USER,  /* read and write; made, with its folder (0700), if it isn't there          */
	KT_SYSTEM /* immutable */
} kt_mode;

typedef struct kt_store_options {
	const char *folder; /* or a .db file */
	kt_mode mode;
	int64_t cap; /* bytes of code kept, 0: 256 MiB                                  */
	kt_log log;
} kt_store_options;

/* Never NULL but when memory is out. A store that couldn't be opened answers miss to all;
 * kt_store_state says why (KT_WHY_none: all is well). The file is opened at the first use. */
kt_store *kt_store_open(const kt_store_options *o);
/* Writes the uses counted by kt_code_used and what was asked (recent.h); NULL is fine. */
void kt_store_close(kt_store *s);
kt_reason kt_store_state(kt_store *s);
const char *kt_store_path(const kt_store *s);
bool kt_store_writable(kt_store *s);
/* Whether the file's owner and mode allow its code to be executed. */
kt_reason kt_store_trust(kt_store *s);

/* $KVJIT_CACHE_DIR (override), else $XDG_CACHE_HOME/kvjit, else $HOME/.cache/kvjit, into
 * out; no_home or setuid when there is none. */
kt_reason kt_user_folder(const char *override, char *out, size_t len);

/* -- code ----------------------------------------------------------------------------------
 * Fills *out (kt_code_free) if there is code under the key whose recorded hash is that of its
 * bytes and whose stored key is the one asked for: none, miss, wrong_hash, wrong_key, ... Bytes
 * are a private copy: the hash was taken of the very bytes handed over. Doesn't judge isa and
 * trust. */
kt_reason kt_code_get(kt_store *s, const kt_key *key, kt_code *out);
/* The same for whoever runs the code: from what was asked lately where it can be (recent.h),
 * then without what it cost to compile, its uses and their time. */
kt_reason kt_code_find(kt_store *s, const kt_key *key, kt_code *out);
/* Under c->key; evicts by (compile cost x uses / size) beyond the cap, never what a pin names.
 */
kt_reason kt_code_put(kt_store *s, const kt_code *c);
void kt_code_used(kt_store *s, const kt_key *key); /* counts in memory */

/* -- schedules -----------------------------------------------------------------------------*/
/* All schedules of a program on a machine (machine NULL: on any), into *out, an array to be
 * freed after each record. Returns how many. */
unsigned kt_schedules_of(kt_store *s, const kt_key *program, const kt_key *machine,
                         kt_schedule **out);
kt_reason kt_schedule_put(kt_store *s, const kt_schedule *r); /* replaces that of its where */

/* -- trials --------------------------------------------------------------------------------
 * Once kt_trial_put has returned none, a killed process loses nothing of it. */
kt_reason kt_trial_put(kt_store *s, const kt_trial *t);
/* Trials of a place, oldest first. */
unsigned kt_trials_of(kt_store *s, const kt_where *w, kt_trial **out);

/* -- pins ----------------------------------------------------------------------------------*/
kt_reason kt_pin_put(kt_store *s, const kt_pin *p);
unsigned kt_pins_of(kt_store *s, const kt_key *program, kt_pin **out);
kt_reason kt_pin_drop(kt_store *s, const kt_pin *p); /* of its program and bucket, or miss */

/* -- meta: small facts by name, e.g. the highest version of a pack seen ---------------------*/
bool kt_meta_get(kt_store *s, const char *name, int64_t *out);
/* Keeps the larger of the old value and x. */
kt_reason kt_meta_raise(kt_store *s, const char *name, int64_t x);

/* -- walking, in the order of keys -----------------------------------------------------------
 * fn returns false to stop. Records are freed after it returns. bytes: whether code is read. */
bool kt_each_schedule(kt_store *s, bool (*fn)(const kt_schedule *r, void *ctx), void *ctx);
bool kt_each_trial(kt_store *s, bool (*fn)(const kt_trial *r, void *ctx), void *ctx);
bool kt_each_code(kt_store *s, bool bytes, bool (*fn)(const kt_code *r, void *ctx), void *ctx);
bool kt_each_pin(kt_store *s, bool (*fn)(const kt_pin *r, void *ctx), void *ctx);

/* -- keeping house ------------------------------------------------------------------------- */
/* Joins all of `from` into s: commutative, associative, idempotent (record.h). */
kt_reason kt_store_merge(kt_store *s, kt_store *from);
typedef struct kt_gc {
	int64_t code_before, code_after; /* bytes                                            */
	int64_t dropped, stale;          /* entries evicted; of another code generator        */
} kt_gc;
kt_reason kt_store_gc(kt_store *s, int64_t cap, kt_gc *out);
/* Hashes every entry; none, or the first thing wrong with a sentence in why. */
kt_reason kt_store_verify(kt_store *s, char *why, size_t len, int64_t *checked);
/* All or nothing: begin, then any puts, then end(true) keeps or end(false) drops them. */
kt_reason kt_store_begin(kt_store *s);
kt_reason kt_store_end(kt_store *s, bool keep);

/* -- one compile across processes ------------------------------------------------------------
 * A claim is a byte-range lock on the file `claims` beside the store, at a place that follows
 * from the key: the system drops it when its holder dies. */
typedef struct kt_claim {
	int fd; /* -1: none */
} kt_claim;
/* Takes the claim, or waits until it is free (then *waited is set: look again before you
 * compile) or wait_ms have passed (locked). none: *c is held. On file systems without such
 * locks: none at once, and nothing is held. */
kt_reason kt_claim_take(kt_store *s, const kt_key *key, int wait_ms, kt_claim *c, bool *waited);
void kt_claim_drop(kt_claim *c);

#endif
