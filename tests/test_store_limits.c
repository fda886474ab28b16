/* SPDX-License-Identifier: Apache-2.0 */
/* test_store_limits.c -- a cache that can't be written, has no room, is locked, or is shared
 * with another version of kvjit: what is there is used, nothing is lost or taken for damage,
 * nothing waits long, and kernels are compiled all the same. */
#include "support_api.h"
#include "support_store.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* -- without the right to write ------------------------------------------------------------ */

/* Root may write anywhere, so another user tries; a folder on the way may be closed to it. */
static void be_nobody(void)
{
	if (!geteuid() && (setgid(KS_NOBODY) || setuid(KS_NOBODY)))
		_exit(77);
	if (access(pk_in_folder(""), X_OK))
		_exit(77);
}

static void give_away(const char *name, mode_t mode)
{
	if (!geteuid())
		assert_int_equal(chown(pk_in_folder(name), KS_NOBODY, KS_NOBODY), 0);
	assert_int_equal(chmod(pk_in_folder(name), mode), 0);
}

/* entries: how many of three are read, so the folder has a sound store. */
static void must_only_read(const char *name, kt_reason says, unsigned entries)
{
	kt_store *s = ks_open(name, KT_USER);

	MUST(ks_intact(s, 3, KS_SIZE) == entries);
	MUST(!kt_store_writable(s));
	MUST(kt_store_state(s) == (entries ? KT_WHY_none : says));
	MUST(ks_put(s, 5, KS_SIZE) != KT_WHY_none);
	MUST(ks_lines() == 1 && strstr(pk_said, kt_reasons[says].sentence));
	kt_store_close(s);
	const char *why = ks_not_compiled(name);
	if (why)
		fprintf(stderr, "%s: %s\n", name, why);
	MUST(!why);
}

static void read_what_cannot_be_written(void)
{
	be_nobody();
	must_only_read("ro-folder", KT_WHY_unwritable, 3);
	must_only_read("ro-file", KT_WHY_unwritable, 3);
	must_only_read("ro-empty", KT_WHY_unwritable, 0);
	must_only_read("ro-empty/below", KT_WHY_unwritable, 0);
	must_only_read("closed", KT_WHY_unreadable, 0);
	must_only_read("closed-file", KT_WHY_unreadable, 0);
}

static void what_cannot_be_written_is_read(void **state)
{
	(void)state;
	ks_make("ro-folder", 3);
	give_away("ro-folder/kvjit.db", 0600);
	give_away("ro-folder", 0500);
	ks_make("ro-file", 3);
	give_away("ro-file/kvjit.db", 0400);
	give_away("ro-file", 0700);
	mkdir(pk_in_folder("ro-empty"), 0700);
	give_away("ro-empty", 0500);
	ks_make("closed", 3);
	give_away("closed", 0);
	ks_make("closed-file", 3);
	give_away("closed-file/kvjit.db", 0);
	give_away("closed-file", 0700);
	assert_int_equal(chmod(pk_in_folder(""), 0711), 0);
	ks_run(read_what_cannot_be_written);
}

static bool (*asked)(const char *folder);

static int remember(void **state)
{
	(void)state;
	asked = kts_is_network;
	return 0;
}

static int restore(void **state)
{
	(void)state;
	kts_is_network = asked;
	return 0;
}

static bool always(const char *folder)
{
	(void)folder;
	return true;
}

/* Nothing is made there either. */
static void a_network_file_system_is_only_read(void **state)
{
	kt_store *s;

	(void)state;
	ks_make("net", 3);
	kts_is_network = always;
	s = ks_open("net", KT_USER);
	assert_int_equal(ks_intact(s, 3, KS_SIZE), 3);
	assert_false(kt_store_writable(s));
	pk_assert_reason(kt_store_state(s), KT_WHY_none);
	pk_assert_has(pk_said, kt_reasons[KT_WHY_network].sentence);
	assert_int_equal(ks_lines(), 1);
	kt_store_close(s);
	s = ks_open("net-new", KT_USER);
	pk_assert_reason(kt_store_state(s), KT_WHY_network);
	assert_true(ks_put(s, 1, KS_SIZE) != KT_WHY_none);
	kt_store_close(s);
	assert_int_equal(access(pk_in_folder("net-new"), F_OK), -1);
}

/* Where a write beyond the limit ends the process, nothing is written; what is there is read.
 */
static void limited_files_are_only_read(void **state)
{
	struct rlimit was, few;
	kt_store *s;

	(void)state;
	ks_make("limited", 3);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	few = was;
	few.rlim_cur = 1 << 20;
	signal(SIGXFSZ, SIG_DFL);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &few), 0);
	s = ks_open("limited", KT_USER);
	assert_int_equal(ks_intact(s, 3, KS_SIZE), 3);
	assert_false(kt_store_writable(s));
	kt_store_close(s);
	s = ks_open("limited-new", KT_USER);
	assert_true(ks_put(s, 1, KS_SIZE) != KT_WHY_none);
	kt_store_close(s);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(access(pk_in_folder("limited-new"), F_OK), -1);
}

/* -- no room ------------------------------------------------------------------------------- */

/* Puts until that fails: for lack of room. What was acknowledged is there, before and after
 * the store is opened again, and nothing is taken for damage. */
static void fill(const char *name)
{
	kt_store *s = ks_open(name, KT_USER);
	kt_reason why = KT_WHY_none;
	unsigned n = 0;

	while (n < 1000 && (why = ks_put(s, n, 5000)) == KT_WHY_none)
		n++;
	if (why != KT_WHY_full)
		fprintf(stderr, "%s after %u\n", kt_reasons[why].name, n);
	MUST(why == KT_WHY_full && n > 3);
	MUST(ks_put(s, 2000, 5000) == KT_WHY_full);
	MUST(ks_intact(s, n, 5000) == n);
	MUST(ks_lines() == 1 && strstr(pk_said, kt_reasons[KT_WHY_full].sentence));
	kt_store_close(s);
	s = ks_open(name, KT_USER);
	MUST(ks_intact(s, n, 5000) == n);
	kt_store_close(s);
	MUST(ks_aside(name, NULL, 0) == 0);
	const char *compiles = ks_not_compiled(name);
	if (compiles)
		fprintf(stderr, "%s\n", compiles);
	MUST(!compiles);
}

/* In a mount that ends with the child. */
static void fill_a_small_disk(void)
{
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", pk_in_folder("disk"), "tmpfs", 0, "size=512k,mode=0700"))
		_exit(77);
	fill("disk");
}

static void a_full_disk_keeps_what_is_on_it(void **state)
{
	(void)state;
	mkdir(pk_in_folder("disk"), 0700);
	ks_run(fill_a_small_disk);
}

/* A full disk before anything is there. */
static void start_on_a_full_disk(void)
{
	char block[4096] = { 0 };
	kt_store *s;
	FILE *f;

	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", pk_in_folder("none"), "tmpfs", 0, "size=64k,mode=0700"))
		_exit(77);
	f = fopen(pk_in_folder("none/big"), "wb");
	setbuf(f, NULL);
	while (fwrite(block, sizeof(block), 1, f) == 1) {
	}
	fclose(f);
	s = ks_open("none", KT_USER);
	MUST(ks_put(s, 1, KS_SIZE) == KT_WHY_full);
	MUST(ks_intact(s, 3, KS_SIZE) == 0);
	MUST(ks_lines() == 1 && strstr(pk_said, kt_reasons[KT_WHY_full].sentence));
	kt_store_close(s);
	MUST(!ks_not_compiled("none"));
	MUST(ks_aside("none", NULL, 0) == 0);
}

static void a_full_disk_is_told_at_once(void **state)
{
	(void)state;
	mkdir(pk_in_folder("none"), 0700);
	ks_run(start_on_a_full_disk);
}

/* As a quota ends a write. */
static void fill_a_small_file(void)
{
	struct rlimit l = { 300000, 300000 };

	signal(SIGXFSZ, SIG_IGN);
	MUST(!setrlimit(RLIMIT_FSIZE, &l));
	fill("limit");
}

static void a_full_quota_keeps_what_is_there(void **state)
{
	(void)state;
	ks_run(fill_a_small_file);
}

/* A transaction that ran out of room leaves nothing of itself, and is no damage. */
static void a_transaction_without_room_is_dropped(void **state)
{
	kt_store *s = ks_open("some", KT_USER);
	kt_reason why = KT_WHY_none;
	unsigned n = 0;

	(void)state;
	pk_assert_reason(ks_put(s, 1000, KS_SIZE), KT_WHY_none);
	assert_int_equal(sqlite3_exec(s->db, "PRAGMA max_page_count=40", NULL, NULL, NULL), 0);
	pk_assert_reason(kt_store_begin(s), KT_WHY_none);
	while (n < 100 && (why = ks_put(s, n, 5000)) == KT_WHY_none)
		n++;
	pk_assert_reason(why, KT_WHY_full);
	assert_true(n > 3);
	kt_store_end(s, false);
	assert_int_equal(ks_aside("some", NULL, 0), 0);
	assert_int_equal(ks_intact(s, n, 5000), 0);
	pk_assert_reason(ks_put(s, 1001, KS_SIZE), KT_WHY_none);
	kt_store_close(s);
	s = ks_open("some", KT_USER);
	assert_int_equal(ks_intact(s, n, 5000), 0);
	kt_key k = pk_key_of("code", 1001);
	kt_code c;
	pk_assert_reason(kt_code_get(s, &k, &c), KT_WHY_none);
	kt_code_free(&c);
	kt_store_close(s);
}

/* -- others at work ------------------------------------------------------------------------ */

/* A child that does this to the file and holds it; ends with kill. */
static pid_t hold(const char *name, const char *text)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		sqlite3 *db;

		if (sqlite3_open(pk_in_folder(ks_db(name)), &db) ||
		    sqlite3_exec(db, text, NULL, NULL, NULL) || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void let_go(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Writers wait a bounded time, readers don't wait at all; then all is as before. */
static void a_writer_that_sits_blocks_no_reader(void **state)
{
	kt_store *s;
	double start;
	pid_t pid;

	(void)state;
	ks_make("sits", 3);
	pid = hold("sits", "BEGIN EXCLUSIVE");
	s = ks_open("sits", KT_USER);
	start = seconds();
	assert_int_equal(ks_intact(s, 3, KS_SIZE), 3);
	assert_true(seconds() - start < 0.1);
	start = seconds();
	pk_assert_reason(ks_put(s, 5, KS_SIZE), KT_WHY_locked);
	assert_true(seconds() - start < 1e-3 * KT_WAIT_MS + 0.3);
	assert_true(seconds() - start >
	            1e-3 * KT_WAIT_MS * 0.8); /* a moment's lock is waited for */
	pk_assert_has(pk_said, kt_reasons[KT_WHY_locked].sentence);
	pk_assert_reason(kt_store_begin(s), KT_WHY_locked);
	assert_int_equal(ks_lines(), 1);
	assert_null(ks_not_compiled("sits"));
	for (unsigned i = 0; i < 20; i++) {
		kt_key k = pk_key_of("code", i);

		kt_code_used(s, &k);
	}
	start = seconds();
	kt_store_close(s); /* waits once, not for each count */
	assert_true(seconds() - start < 1e-3 * KT_WAIT_MS + 0.3);
	let_go(pid);
	s = ks_open("sits", KT_USER);
	pk_assert_reason(ks_put(s, 5, KS_SIZE), KT_WHY_none);
	kt_store_close(s);
}

/* No file can be read then, so nothing is there; and nothing is taken for damage. */
static void a_file_locked_for_all_is_left_alone(void **state)
{
	kt_store *s;
	double start;
	pid_t pid;

	(void)state;
	ks_make("whole-lock", 3);
	pid = hold("whole-lock", "PRAGMA locking_mode=EXCLUSIVE;BEGIN EXCLUSIVE;"
	                         "UPDATE code SET uses=uses+1;COMMIT");
	start = seconds();
	s = ks_open("whole-lock", KT_USER);
	assert_int_equal(ks_intact(s, 3, KS_SIZE), 0);
	pk_assert_reason(kt_store_state(s), KT_WHY_locked);
	assert_true(seconds() - start < 1);
	pk_assert_has(pk_said, kt_reasons[KT_WHY_locked].sentence);
	assert_null(ks_not_compiled("whole-lock"));
	kt_store_close(s);
	let_go(pid);
	s = ks_open("whole-lock", KT_USER);
	assert_int_equal(ks_intact(s, 3, KS_SIZE), 3);
	kt_store_close(s);
	assert_int_equal(ks_aside("whole-lock", NULL, 0), 0);
}

/* A newer kvjit changes the tables while this one has the file open: its file isn't damaged,
 * and not a byte of it is touched from then on. */
static void a_newer_version_may_take_the_file_over(void **state)
{
	kt_store *s;
	size_t n, m;
	uint8_t *before, *after;

	(void)state;
	ks_make("both", 3);
	s = ks_open("both", KT_USER);
	assert_int_equal(ks_intact(s, 3, KS_SIZE), 3);
	ks_sql("both", "BEGIN;ALTER TABLE code RENAME TO code2;PRAGMA user_version=99;COMMIT;"
	               "PRAGMA wal_checkpoint(TRUNCATE)");
	before = pk_get_file(ks_db("both"), &n);
	assert_int_equal(ks_intact(s, 3, KS_SIZE), 0);
	pk_assert_reason(kt_store_state(s), KT_WHY_newer);
	assert_true(ks_put(s, 5, KS_SIZE) != KT_WHY_none);
	kt_store_close(s);
	pk_assert_has(pk_said, kt_reasons[KT_WHY_newer].sentence);
	assert_null(ks_not_compiled("both"));
	after = pk_get_file(ks_db("both"), &m);
	assert_int_equal(m, n);
	assert_memory_equal(after, before, n);
	assert_int_equal(ks_aside("both", NULL, 0), 0);
	free(before);
	free(after);
}

/* Code generators of two versions: each has its own entries, and leaves the other's. */
static void two_code_generators_share_a_folder(void **state)
{
	uint8_t bytes[KS_SIZE];
	kt_code c = pk_make_code(9, bytes, KS_SIZE), got;
	kt_store *s;

	(void)state;
	ks_make("gens", 3);
	c.codegen = KT_CODEGEN + 1;
	s = ks_open("gens", KT_USER);
	pk_assert_reason(kt_code_put(s, &c), KT_WHY_none);
	kt_store_close(s);
	assert_null(ks_not_compiled("gens"));
	s = ks_open("gens", KT_USER);
	assert_int_equal(ks_intact(s, 3, KS_SIZE), 3);
	pk_assert_reason(kt_code_get(s, &c.key, &got), KT_WHY_none);
	assert_int_equal(got.codegen, KT_CODEGEN + 1);
	kt_code_free(&got);
	kt_store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_cannot_be_written_is_read),
		cmocka_unit_test_setup_teardown(a_network_file_system_is_only_read, remember,
		                                restore),
		cmocka_unit_test(limited_files_are_only_read),
		cmocka_unit_test(a_full_disk_keeps_what_is_on_it),
		cmocka_unit_test(a_full_disk_is_told_at_once),
		cmocka_unit_test(a_full_quota_keeps_what_is_there),
		cmocka_unit_test(a_transaction_without_room_is_dropped),
		cmocka_unit_test(a_writer_that_sits_blocks_no_reader),
		cmocka_unit_test(a_file_locked_for_all_is_left_alone),
		cmocka_unit_test(a_newer_version_may_take_the_file_over),
		cmocka_unit_test(two_code_generators_share_a_folder),
	};

	return cmocka_run_group_tests(tests, begin_packs, end_packs);
}
