/* SPDX-License-Identifier: Apache-2.0 */
/* recent.c -- see recent.h. The file is read with pread, as packs are: one that changes under
 * us is a short read or a wrong hash, and then counts as no file at all.
 */
#include "recent.h"
#include "pack_entry.h"
#include "pack_priv.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "kvrecent"

enum { FORMAT = 1, FILE_IS = 32, HEAD = 8 + 4 + 4 + FILE_IS + 32 };

struct kts_recent {
	bool tried, gave; /* whether the file was looked for; whether it has answered */
	int fd;           /* -1: none that can be used */
	unsigned nrow;
	uint8_t *rows; /* as in the file */
	kts_ask *note; /* asked of the cache itself */
	unsigned nnote;
};

/* Which file an answer was read from. Its number is given to another file once it is gone, so
 * the time it was made at belongs to it, where the file system knows it. */
static bool file_is(const char *path, uint8_t out[FILE_IS])
{
	kt_bytes b = { 0 };
	struct statx st;
	bool ok = !statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW,
	                 STATX_TYPE | STATX_UID | STATX_INO | STATX_BTIME, &st) &&
	          S_ISREG(st.stx_mode) && st.stx_uid == geteuid();

	if (!ok)
		return false;
	if (!(st.stx_mask & STATX_BTIME))
		memset(&st.stx_btime, 0, sizeof(st.stx_btime));
	kt_put32(&b, st.stx_dev_major);
	kt_put32(&b, st.stx_dev_minor);
	kt_put64(&b, st.stx_ino);
	kt_put64(&b, (uint64_t)st.stx_btime.tv_sec);
	kt_put64(&b, st.stx_btime.tv_nsec);
	ok = !b.failed;
	if (ok)
		memcpy(out, b.at, FILE_IS);
	free(b.at);
	return ok;
}

/* -- questions ----------------------------------------------------------------------- */

kts_ask kts_asking(kt_table t, const kt_key *key, const kt_key *machine)
{
	kts_ask q = { .table = t, .key = *key, .on_machine = machine != NULL };

	if (machine)
		q.machine = *machine;
	return q;
}

static void name_of(const kts_ask *q, kt_key *out)
{
	uint8_t text[2 + 2 * sizeof(q->key.b)] = { (uint8_t)q->table, q->on_machine };

	memcpy(text + 2, q->key.b, sizeof(q->key.b));
	memcpy(text + 2 + sizeof(q->key.b), q->machine.b, sizeof(q->machine.b));
	kt_hash(text, sizeof(text), out);
}

/* kvjit.recent for kvjit.db. */
static bool path_of(const kt_store *s, const char *end, char *out, size_t len)
{
	size_t n = strlen(s->path);

	return n > 3 &&
	       (size_t)snprintf(out, len, "%.*s.recent%s", (int)(n - 3), s->path, end) < len;
}

static struct kts_recent *state(kt_store *s)
{
	if (!s->recent && (s->recent = calloc(1, sizeof(*s->recent))))
		s->recent->fd = -1;
	return s->recent;
}

/* -- reading ------------------------------------------------------------------------- */

static void close_file(struct kts_recent *r)
{
	if (r->fd >= 0)
		close(r->fd);
	free(r->rows);
	r->fd = -1;
	r->rows = NULL;
	r->nrow = 0;
}

/* Whether the head is one of ours, of this very cache, and the rows are what it says. */
static bool read_rows(struct kts_recent *r, const uint8_t db[FILE_IS])
{
	uint8_t head[HEAD];
	kt_key hash;
	size_t n;

	if (!kt_read_at(r->fd, head, sizeof(head), 0) || memcmp(head, MAGIC, 8) != 0 ||
	    kt_load32(head + 8) != FORMAT || memcmp(head + 16, db, FILE_IS) != 0)
		return false;
	r->nrow = kt_load32(head + 12);
	if (!r->nrow || r->nrow > KT_RECENT_MOST)
		return false;
	n = (size_t)r->nrow * KT_PACK_ROW;
	r->rows = malloc(n);
	if (!r->rows || !kt_read_at(r->fd, r->rows, n, HEAD))
		return false;
	kt_hash(r->rows, n, &hash);
	return !memcmp(hash.b, head + 16 + FILE_IS, sizeof(hash.b));
}

/* Code of it is executed, so the file is judged like the cache itself. */
static void open_file(kt_store *s, struct kts_recent *r)
{
	uint8_t db[FILE_IS];
	char path[4200];

	r->tried = true;
	if (s->mode != KT_USER || !path_of(s, "", path, sizeof(path)) || !file_is(s->path, db))
		return;
	r->fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (r->fd >= 0 && (kt_file_trusted(r->fd, path) != KT_WHY_none || !read_rows(r, db)))
		close_file(r);
}

/* Removed, or replaced: what an open file said isn't true any more. */
static bool is_gone(const struct kts_recent *r)
{
	struct stat st;

	return r->fd >= 0 && (fstat(r->fd, &st) || !st.st_nlink);
}

static bool find(const struct kts_recent *r, const kt_key *name, kt_row *out)
{
	for (unsigned i = 0; i < r->nrow; i++) {
		*out = kt_load_row(r->rows + (size_t)i * KT_PACK_ROW);
		if (kt_key_equal(&out->key, name))
			return true;
	}
	return false;
}

/* The answer's bytes, as they were written; NULL: they can't be had. */
static uint8_t *read_answer(const struct kts_recent *r, const kt_row *row)
{
	uint8_t *at = row->size <= KT_RECENT_BYTES ? malloc(row->size + 1) : NULL;
	kt_key hash;

	if (at && kt_read_at(r->fd, at, row->size, row->place)) {
		kt_hash(at, row->size, &hash);
		if (kt_key_equal(&hash, &row->hash))
			return at;
	}
	free(at);
	return NULL;
}

static bool get_record(kt_table t, const uint8_t *at, size_t n, void *record)
{
	kt_key hash;

	if (t == KT_SCHEDULES)
		return kt_get_schedule(at, n, record);
	if (t != KT_CODE || !kt_get_code(at, n, record))
		return false;
	const kt_code *c = record;
	kt_hash(c->bytes, c->size, &hash);
	if (kt_key_equal(&hash, &c->hash))
		return true;
	kt_code_free(record);
	return false;
}

/* Records one behind the other; anything that doesn't fit exactly is no answer. */
static bool parse(kt_table t, const uint8_t *at, size_t left, void **out, unsigned *n)
{
	size_t size = kts_record_size(t);
	char *list = NULL;
	bool ok = true;

	*n = 0;
	while (ok && left) {
		uint32_t len = left >= 4 ? kt_load32(at) : 0;
		bool fits = left >= 4 && len <= left - 4;
		char *more = fits ? realloc(list, (*n + 1) * size) : NULL;

		if (more)
			list = more;
		ok = more && get_record(t, at + 4, len, list + *n * size);
		*n += ok;
		at += ok ? 4 + len : 0;
		left -= ok ? 4 + len : 0;
	}
	ok = ok && (t != KT_CODE || *n == 1); /* code under one key is one record */
	if (!ok) {
		for (unsigned i = 0; i < *n; i++)
			kts_free(t, list + i * size);
		free(list);
		list = NULL;
	}
	*out = list;
	return ok;
}

bool kts_recall(kt_store *s, const kts_ask *q, void **out, unsigned *n)
{
	struct kts_recent *r;
	uint8_t *at = NULL;
	kt_key name;
	kt_row row;
	bool ok;

	pthread_mutex_lock(&s->lock);
	kts_after_fork(s);
	r = s->tried ? NULL : state(s);
	if (r && is_gone(r)) {
		close_file(r);
		r->tried = false;
	}
	if (r && !r->tried)
		open_file(s, r);
	if (r && r->fd >= 0) {
		name_of(q, &name);
		if (find(r, &name, &row) && row.type == (uint32_t)q->table)
			at = read_answer(r, &row);
	}
	ok = at && parse(q->table, at, row.size, out, n);
	if (ok)
		r->gave = true;
	free(at);
	pthread_mutex_unlock(&s->lock);
	return ok;
}

bool kts_recalled(const kt_store *s)
{
	return s->recent && s->recent->gave && !s->tried;
}

/* -- writing ------------------------------------------------------------------------- */

static bool same(const kts_ask *a, const kts_ask *b)
{
	kt_key x, y;

	name_of(a, &x);
	name_of(b, &y);
	return kt_key_equal(&x, &y);
}

static void note(struct kts_recent *r, const kts_ask *q)
{
	kts_ask *more;

	for (unsigned i = 0; i < r->nnote; i++)
		if (same(&r->note[i], q))
			return;
	if (r->nnote == KT_RECENT_MOST ||
	    !(more = realloc(r->note, (r->nnote + 1) * sizeof(*more))))
		return;
	r->note = more;
	r->note[r->nnote++] = *q;
}

void kts_note(kt_store *s, const kts_ask *q)
{
	pthread_mutex_lock(&s->lock);
	if (s->mode == KT_USER && state(s))
		note(s->recent, q);
	pthread_mutex_unlock(&s->lock);
}

bool kts_noted(const kt_store *s)
{
	return s->recent && s->recent->nnote && s->db && s->writable;
}

void kts_forget(kt_store *s)
{
	char path[4200];

	if (s->mode == KT_USER && path_of(s, "", path, sizeof(path)))
		unlink(path);
	if (s->recent)
		close_file(s->recent);
}

typedef struct draft {
	kt_bytes rows, answers;
	unsigned nrow;
} draft;

static void add_row(draft *d, const kt_key *name, kt_table t, const uint8_t *at, size_t n)
{
	kt_row row = { .key = *name,
		       .place = d->answers.n, /* made absolute at the end */
		       .size = (uint32_t)n,
		       .type = (uint32_t)t };

	if (d->nrow == KT_RECENT_MOST || n > KT_RECENT_BYTES - d->answers.n)
		return;
	kt_hash(n ? at : (const uint8_t *)"", n, &row.hash);
	kt_put_row(&d->rows, &row);
	kt_put(&d->answers, at, n);
	d->nrow++;
}

static void put_record(kt_bytes *b, kt_table t, const void *record)
{
	kt_bytes one = { 0 };

	if (t == KT_SCHEDULES)
		kt_put_schedule(&one, record);
	else
		kt_put_code(&one, record);
	kt_put32(b, (uint32_t)one.n);
	kt_put(b, one.at, one.n);
	b->failed |= one.failed;
	free(one.at);
}

/* Asks the cache itself, whose write lock is held. Of pins, which are rare, only that there are
 * none is worth keeping; code that isn't there will be. */
static void add_answer(draft *d, kt_store *s, const kts_ask *q)
{
	kt_schedule *schedule = NULL;
	kt_bytes b = { 0 };
	kt_pin *pin = NULL;
	kt_code code;
	kt_key name;
	unsigned n = 0;
	bool keep = true;

	switch (q->table) {
	case KT_SCHEDULES:
		n = kt_schedules_of(s, &q->key, q->on_machine ? &q->machine : NULL, &schedule);
		for (unsigned i = 0; i < n; i++) {
			put_record(&b, KT_SCHEDULES, &schedule[i]);
			kt_schedule_free(&schedule[i]);
		}
		free(schedule);
		break;
	case KT_PINS:
		n = kt_pins_of(s, &q->key, &pin);
		for (unsigned i = 0; i < n; i++)
			kt_pin_free(&pin[i]);
		free(pin);
		keep = !n;
		break;
	default:
		keep = kt_code_get(s, &q->key, &code) == KT_WHY_none;
		if (keep) {
			put_record(&b, KT_CODE, &code);
			kt_code_free(&code);
		}
	}
	if (keep && s->db && !b.failed) {
		name_of(q, &name);
		add_row(d, &name, q->table, b.at, b.n);
	}
	free(b.at);
}

/* What the file has and wasn't asked anew: still true, as it is still there. */
static void add_old(draft *d, kt_store *s, struct kts_recent *r)
{
	kt_key name;

	close_file(r);
	open_file(s, r);
	for (unsigned i = 0; i < r->nrow; i++) {
		kt_row row = kt_load_row(r->rows + (size_t)i * KT_PACK_ROW);
		uint8_t *at = read_answer(r, &row);
		bool asked = false;

		for (unsigned k = 0; k < r->nnote && !asked; k++) {
			name_of(&r->note[k], &name);
			asked = kt_key_equal(&name, &row.key);
		}
		if (at && !asked)
			add_row(d, &row.key, (kt_table)row.type, at, row.size);
		free(at);
	}
}

static bool write_all(int fd, const uint8_t *at, size_t n)
{
	for (ssize_t done; n; at += done, n -= (size_t)done)
		if ((done = write(fd, at, n)) <= 0)
			return false;
	return true;
}

static bool write_draft(int fd, draft *d, const uint8_t db[FILE_IS])
{
	kt_bytes head = { 0 };
	kt_key hash;
	bool ok;

	for (unsigned i = 0; i < d->nrow; i++) {
		uint8_t *at = d->rows.at + (size_t)i * KT_PACK_ROW;
		kt_row row = kt_load_row(at);
		kt_bytes moved = { 0 };

		row.place += HEAD + d->rows.n;
		kt_put_row(&moved, &row);
		if (!moved.failed)
			memcpy(at, moved.at, KT_PACK_ROW);
		head.failed |= moved.failed;
		free(moved.at);
	}
	kt_hash(d->rows.at, d->rows.n, &hash);
	kt_put(&head, MAGIC, 8);
	kt_put32(&head, FORMAT);
	kt_put32(&head, d->nrow);
	kt_put(&head, db, FILE_IS);
	kt_put(&head, hash.b, sizeof(hash.b));
	ok = !head.failed && write_all(fd, head.at, head.n) &&
	     write_all(fd, d->rows.at, d->rows.n) && write_all(fd, d->answers.at, d->answers.n);
	free(head.at);
	return ok;
}

/* The new file takes the old one's place whole or not at all; two writers don't meet, as both
 * hold the cache's write lock. */
void kts_write_recent(kt_store *s)
{
	struct kts_recent *r = s->recent;
	char path[4200], fresh[4300];
	uint8_t db[FILE_IS];
	draft d = { 0 };
	int fd;

	if (!r || !r->nnote || !path_of(s, "", path, sizeof(path)) ||
	    !path_of(s, ".new", fresh, sizeof(fresh)) || !file_is(s->path, db))
		return;
	for (unsigned i = r->nnote; i-- && s->db;)
		add_answer(&d, s, &r->note[i]);
	add_old(&d, s, r);
	unlink(fresh); /* of one who was killed */
	fd = d.nrow && s->db && !d.rows.failed && !d.answers.failed
	         ? open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)
	         : -1;
	if (fd >= 0) {
		bool ok = write_draft(fd, &d, db);

		ok = !close(fd) && ok;
		if (!ok || rename(fresh, path))
			unlink(fresh);
	}
	r->nnote = 0;
	close_file(r);
	free(d.rows.at);
	free(d.answers.at);
}

void kts_recent_free(kt_store *s)
{
	if (!s->recent)
		return;
	close_file(s->recent);
	free(s->recent->note);
	free(s->recent);
	s->recent = NULL;
}
