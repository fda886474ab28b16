/* SPDX-License-Identifier: Apache-2.0 */
/* test_power.c -- power is lost while a cache is written.
 *
 * Between SQLite and the file system stands a layer that knows what has reached the disk: what
 * was written before the last sync of a file. At each write, truncation, sync and removal of a
 * run it makes the disk's image as it might be found: of what wasn't synced nothing is there,
 * or all, or some, or the beginning with a write cut at a sector. Each image is opened. What
 * was there when the store was last closed is there; what came after is there up to some point;
 * no entry is other than it was put; and the file can be written again. (Shared memory, -shm,
 * is lost as a whole: it is made anew.)
 */
#include "support_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <sqlite3.h>

#include <cmocka.h>

enum { SECTOR = 512, FIRST = 5, SECOND = 12, THIRD = 15, MODES = 4 };

/* -- a disk ---------------------------------------------------------------------------------
 */

typedef enum kind { WRITE, CUT, REMOVE } kind;

typedef struct change {
	struct change *next;
	kind kind;
	size_t at, n; /* CUT: to n */
	uint8_t bytes[];
} change;

typedef struct image {
	uint8_t *bytes;
	size_t n;
	bool there;
} image;

typedef struct disk_file {
	const char *name;
	image safe;
	change *pending; /* in order */
} disk_file;

/* Of folder live, which are watched; of lost, the image. */
static disk_file files[] = { { .name = "/live/kvjit.db" },
	                     { .name = "/live/kvjit.db-wal" },
	                     { .name = "/lost/kvjit.db" },
	                     { .name = "/lost/kvjit.db-wal" } };
enum { NFILE = sizeof(files) / sizeof(files[0]), LIVE = 2 };

static unsigned steps, fuse; /* the image is made before step number `fuse` */
static unsigned mode, seed;
static bool lies;                /* a sync does nothing */
static unsigned kept, kept_then; /* entries at the last close; when the image was made */

static void apply(image *i, const change *c, size_t n)
{
	size_t end = c->kind == WRITE ? c->at + n : c->n;

	if (c->kind != REMOVE && end > i->n) {
		i->bytes = realloc(i->bytes, end);
		assert_non_null(i->bytes);
		memset(i->bytes + i->n, 0, end - i->n);
	}
	if (c->kind != WRITE || end > i->n)
		i->n = c->kind == REMOVE ? 0 : end;
	if (c->kind == WRITE)
		memcpy(i->bytes + c->at, c->bytes, n);
	i->there = c->kind != REMOVE;
}

static void forget_pending(disk_file *f)
{
	while (f->pending) {
		change *next = f->pending->next;

		free(f->pending);
		f->pending = next;
	}
}

static void clean(void)
{
	for (int i = 0; i < LIVE; i++) {
		forget_pending(&files[i]);
		free(files[i].safe.bytes);
		files[i].safe = (image){ NULL, 0, false };
	}
}

static void settle(disk_file *f)
{
	for (const change *c = f->pending; c; c = c->next)
		apply(&f->safe, c, c->n);
	forget_pending(f);
}

/* As the disk might be found. */
static image lost(const disk_file *f)
{
	image i = { malloc(f->safe.n + 1), f->safe.n, f->safe.there };
	unsigned stop, n = 0;

	memcpy(i.bytes, f->safe.bytes ? f->safe.bytes : (uint8_t *)"", f->safe.n);
	for (const change *c = f->pending; c; c = c->next)
		n++;
	stop = (unsigned)rand_r(&seed) % (n + 1);
	for (const change *c = f->pending; c && mode; c = c->next) {
		if (mode == 1 || (mode == 2 && rand_r(&seed) % 2))
			apply(&i, c, c->n);
		else if (mode == 3 && !stop--) { /* the last that arrived, in part */
			if (c->kind == WRITE)
				apply(&i, c, c->n / 2 / SECTOR * SECTOR);
			break;
		} else if (mode == 3)
			apply(&i, c, c->n);
	}
	return i;
}

static void put_image(void)
{
	mkdir(pk_in_folder("lost"), 0700);
	for (int i = 0; i < LIVE; i++) {
		image found = lost(&files[i]);

		if (found.there)
			pk_put_file(files[LIVE + i].name + 1, found.bytes, found.n);
		free(found.bytes);
	}
	kept_then = kept;
}

/* One more change of a watched file, which is about to happen. */
static bool step(const disk_file *f)
{
	if (f >= &files[LIVE])
		return false;
	if (++steps == fuse)
		put_image();
	return true;
}

static void note(disk_file *f, kind what, const void *bytes, size_t n, size_t at)
{
	change *c = malloc(sizeof(*c) + (what == WRITE ? n : 0)), **last = &f->pending;

	assert_non_null(c);
	*c = (change){ NULL, what, at, n };
	if (what == WRITE)
		memcpy(c->bytes, bytes, n);
	while (*last)
		last = &(*last)->next;
	*last = c;
}

/* -- SQLite's layer
 * ---------------------------------------------------------------------------- */

static sqlite3_vfs shim, *real;
static sqlite3_io_methods methods[NFILE]; /* a journal's locks nothing */
static const sqlite3_io_methods *real_methods[NFILE];

/* The real file; behind it, in the room that szOsFile asks for, which of ours it is. */
static disk_file **mine(sqlite3_file *f)
{
	return (disk_file **)((char *)f + (real->szOsFile + 7) / 8 * 8);
}

static disk_file *disk_of(const char *path)
{
	for (int i = 0; i < NFILE; i++) {
		size_t n = strlen(files[i].name), len = path ? strlen(path) : 0;

		if (len >= n && !strcmp(path + len - n, files[i].name))
			return &files[i];
	}
	return NULL;
}

static const sqlite3_io_methods *real_of(sqlite3_file *f)
{
	return real_methods[*mine(f) - files];
}

static int shim_write(sqlite3_file *f, const void *bytes, int n, sqlite3_int64 at)
{
	if (step(*mine(f)))
		note(*mine(f), WRITE, bytes, (size_t)n, (size_t)at);
	return real_of(f)->xWrite(f, bytes, n, at);
}

static int shim_truncate(sqlite3_file *f, sqlite3_int64 n)
{
	if (step(*mine(f)))
		note(*mine(f), CUT, NULL, (size_t)n, 0);
	return real_of(f)->xTruncate(f, n);
}

/* The disk beneath is no part of this, and slow. */
static int shim_sync(sqlite3_file *f, int flags)
{
	(void)flags;
	if (step(*mine(f)) && !lies)
		settle(*mine(f));
	return SQLITE_OK;
}

static int shim_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out)
{
	int status = real->xOpen(real, name, f, flags, out);

	(void)v;
	*mine(f) = disk_of(name);
	if (status == SQLITE_OK && *mine(f)) {
		sqlite3_io_methods *m = &methods[*mine(f) - files];

		real_methods[*mine(f) - files] = f->pMethods;
		*m = *f->pMethods;
		if (m->iVersion > 2) /* pages are read, not mapped */
			m->iVersion = 2;
		m->xWrite = shim_write;
		m->xTruncate = shim_truncate;
		m->xSync = shim_sync;
		f->pMethods = m;
	}
	return status;
}

static int shim_delete(sqlite3_vfs *v, const char *name, int sync_folder)
{
	disk_file *f = disk_of(name);

	(void)v;
	if (f && step(f)) {
		note(f, REMOVE, NULL, 0, 0);
		if (sync_folder && !lies)
			settle(f);
	}
	return real->xDelete(real, name, 0);
}

static int install(void **state)
{
	if (begin_packs(state))
		return -1;
	real = sqlite3_vfs_find(NULL);
	shim = *real;
	shim.zName = "power";
	shim.szOsFile = (real->szOsFile + 7) / 8 * 8 + (int)sizeof(disk_file *);
	shim.xOpen = shim_open;
	shim.xDelete = shim_delete;
	return sqlite3_vfs_register(&shim, 1);
}

static int uninstall(void **state)
{
	clean();
	sqlite3_vfs_register(real, 1);
	sqlite3_vfs_unregister(&shim);
	return end_packs(state);
}

/* -- runs
 * --------------------------------------------------------------------------------------- */

static void put_until(unsigned from, unsigned to)
{
	kt_store *s = ks_open("live", KT_USER);

	for (unsigned i = from; i < to; i++)
		pk_assert_reason(ks_put(s, i, KS_SIZE), KT_WHY_none);
	kt_store_close(s);
	kept = to;
}

/* Three times something is put and the store closed; power goes before step `at`. */
static void run(unsigned at, unsigned how)
{
	char command[400];

	snprintf(command, sizeof(command), "rm -rf '%s' '%s'", pk_in_folder("live"),
	         pk_in_folder("lost"));
	assert_int_equal(system(command), 0);
	clean();
	steps = kept = kept_then = 0;
	fuse = at;
	mode = how;
	seed = at * MODES + how;
	put_until(0, FIRST);
	put_until(FIRST, SECOND);
	put_until(SECOND, THIRD);
}

/* Of the image: entries, -1 if one isn't as it was put, or there is one behind one that is
 * missing, or the file is refused or can't be written. */
static int found(void)
{
	kt_store *s = ks_open("lost", KT_USER);
	unsigned n = ks_intact(s, THIRD, KS_SIZE);
	bool ok = n <= THIRD && ks_intact(s, n, KS_SIZE) == n &&
	          ks_put(s, 99, KS_SIZE) == KT_WHY_none && !*pk_said;

	kt_store_close(s);
	return ok ? (int)n : -1;
}

static void what_was_closed_is_there_after_any_loss(void **state)
{
	unsigned all, later = 0;

	(void)state;
	run(0, 0);
	all = steps;
	assert_true(all > 50);
	for (unsigned at = 1; at <= all; at++)
		for (unsigned how = 0; how < MODES; how++) {
			int n;

			if (!getenv("KVJIT_LONG") && (at + how) % MODES)
				continue;
			run(at, how);
			assert_int_equal(steps, all);
			n = found();
			if (n < (int)kept_then)
				fail_msg("lost before step %u of %u, %u: %d entries, %u were "
				         "closed; %s",
				         at, all, how, n, kept_then, pk_said);
			later += n > (int)kept_then;
		}
	assert_true(later); /* images differ: some have more than what was closed */
}

/* That it can fail: on a disk that says it has written, and hasn't. */
static void a_disk_that_lies_is_found_out(void **state)
{
	int n;

	(void)state;
	run(0, 0);
	lies = true;
	run(steps - 1, 0);
	lies = false;
	n = found();
	assert_true(kept_then >= SECOND && n < (int)kept_then);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_closed_is_there_after_any_loss),
		cmocka_unit_test(a_disk_that_lies_is_found_out),
	};

	return cmocka_run_group_tests(tests, install, uninstall);
}
