/* SPDX-License-Identifier: Apache-2.0 */
/* recent.h -- what was asked of the user's cache lately, with the answers, in one small file
 * beside it.
 *
 *     kvjit.recent   head:  magic, u32 format, u32 answers, which kvjit.db it is, hash of rows
 *                    rows:  pack_entry.h's: key of the question, hash of the answer, place,
 * size then the answers: records, each with its size before it
 *
 * A process that starts asks for a few programs, the same as the last time. Opening SQLite's
 * file for that costs more than all else together (three times as much as mapping the code):
 * the schema's text has to be parsed, then each statement's. An answer from here needs three
 * system calls and a hash.
 *
 * An answer is never older than the cache:
 *   - It is written under SQLite's write lock, from rows read under that lock.
 *   - Whoever changes or drops what an answer could hold removes the file first, under the same
 *     lock (kts_forget). Killed in between, it has cost others an opening.
 *     Who has it open sees that it has no name any more.
 *   - It names the very file it was read from (device, number, time it was made), so that one
 *     set aside or removed takes it along.
 * New code under a new key changes no answer: a miss is never an answer. Native code is the one
 * kind that is put anew under a key, by another compiler: it removes the file as well.
 */
#ifndef KVJIT_TUNE_RECENT_H
#define KVJIT_TUNE_RECENT_H

#include "store_priv.h"

/* The most that is kept: the latest answers first. */
enum { KT_RECENT_MOST = 128, KT_RECENT_BYTES = 4 << 20 };

/* A question: code by its key; schedules of a program (on a machine, or NULL); pins of a
 * program. */
typedef struct kts_ask {
	kt_table table;
	kt_key key, machine;
	bool on_machine;
} kts_ask;

kts_ask kts_asking(kt_table t, const kt_key *key, const kt_key *machine);

/* True: *out is an array of *n records, as SQL would give them (none: NULL). Only before the
 * cache itself was opened in this process: from then on it is asked. */
bool kts_recall(kt_store *s, const kts_ask *q, void **out, unsigned *n);
/* Remembers that this was asked of the cache itself, for kts_write_recent. */
void kts_note(kt_store *s, const kts_ask *q);
bool kts_noted(const kt_store *s); /* whether there is anything new to write */
/* Whether kts_recall has given anything, so that nothing need be opened to trust it. */
bool kts_recalled(const kt_store *s);

/* Both within a write transaction. */
void kts_forget(kt_store *s);
void kts_write_recent(kt_store *s);
void kts_recent_free(kt_store *s);

#endif
