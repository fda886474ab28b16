/* SPDX-License-Identifier: Apache-2.0 */
/* test_store_hostile.c -- whatever stands in place of the cache has its own reason, which is
 * said once; what is damaged is set aside and kept; kernels are compiled all the same. */
#include "support_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* -- what may stand there ------------------------------------------------------------------ */

static void make_link(const char *name)
{
	ks_make("target", 1);
	mkdir(pk_in_folder(name), 0700);
	assert_int_equal(symlink("../target/kvjit.db", pk_in_folder(ks_db(name))), 0);
}

static void make_dangling(const char *name)
{
	mkdir(pk_in_folder(name), 0700);
	assert_int_equal(symlink("../nowhere.db", pk_in_folder(ks_db(name))), 0);
}

static void make_fifo(const char *name)
{
	mkdir(pk_in_folder(name), 0700);
	assert_int_equal(mkfifo(pk_in_folder(ks_db(name)), 0600), 0);
}

static void make_folder(const char *name)
{
	mkdir(pk_in_folder(name), 0700);
	mkdir(pk_in_folder(ks_db(name)), 0700);
}

/* Bound by a relative path, as an address is short. */
static void make_socket(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "kvjit.db" };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char before[1000];

	assert_non_null(getcwd(before, sizeof(before)));
	mkdir(pk_in_folder(name), 0700);
	assert_int_equal(chdir(pk_in_folder(name)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(chdir(before), 0);
	close(fd);
}

static void make_below_a_file(const char *name)
{
	char *slash, top[100];

	snprintf(top, sizeof(top), "%s", name);
	slash = strchr(top, '/');
	*slash = 0;
	pk_put_text(top, "x");
}

static void make_newer(const char *name)
{
	ks_make(name, 3);
	ks_sql(name, "PRAGMA user_version=99");
}

static void make_foreign_file(const char *name)
{
	ks_make(name, 3);
	assert_int_equal(chown(pk_in_folder(ks_db(name)), KS_NOBODY, KS_NOBODY), 0);
}

static void make_foreign_folder(const char *name)
{
	ks_make(name, 3);
	assert_int_equal(chown(pk_in_folder(name), KS_NOBODY, KS_NOBODY), 0);
}

static void make_loose_folder(const char *name)
{
	ks_make(name, 3);
	assert_int_equal(chmod(pk_in_folder(name), 0770), 0);
}

static void make_sticky_folder(const char *name)
{
	ks_make(name, 3);
	assert_int_equal(chmod(pk_in_folder(name), 01777), 0);
}

static void make_loose_file(const char *name)
{
	ks_make(name, 3);
	assert_int_equal(chmod(pk_in_folder(ks_db(name)), 0660), 0);
}

static void make_empty(const char *name)
{
	mkdir(pk_in_folder(name), 0700);
	pk_put_text(ks_db(name), "");
}

static void make_other_bytes(const char *name)
{
	char text[3000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	mkdir(pk_in_folder(name), 0700);
	pk_put_text(ks_db(name), text);
}

static void make_short_bytes(const char *name)
{
	mkdir(pk_in_folder(name), 0700);
	pk_put_text(ks_db(name), "xyz"); /* one byte is nothing to SQLite */
}

static void make_other_tables(const char *name)
{
	ks_make(name, 3);
	ks_sql(name, "ALTER TABLE code RENAME TO cod");
}

static void make_negative_version(const char *name)
{
	ks_make(name, 3);
	ks_sql(name, "PRAGMA user_version=-1");
}

/* Clocks that jumped. */
static void make_future(const char *name)
{
	ks_make(name, 3);
	ks_sql(name, "UPDATE code SET last_used=9223372036854775807");
	ks_sql(name, "UPDATE code SET last_used=-9223372036854775807 WHERE rowid=1");
}

typedef struct place {
	const char *name;
	void (*make)(const char *name);
	kt_reason state, trust, says; /* says none: not a word */
	unsigned found;               /* of the three entries */
	bool writable, root;          /* root: only root can make it */
} place;

#define WHY(x) KT_WHY_##x
static const place places[] = {
	{ "link", make_link, WHY(symlink), WHY(symlink), WHY(symlink), 0, 0, 0 },
	{ "dangling", make_dangling, WHY(symlink), WHY(symlink), WHY(symlink), 0, 0, 0 },
	{ "fifo", make_fifo, WHY(not_file), WHY(not_file), WHY(not_file), 0, 0, 0 },
	{ "folder", make_folder, WHY(not_file), WHY(not_file), WHY(not_file), 0, 0, 0 },
	{ "socket", make_socket, WHY(not_file), WHY(not_file), WHY(not_file), 0, 0, 0 },
	{ "file/below", make_below_a_file, WHY(unwritable), WHY(unwritable), WHY(unwritable), 0,
	  0, 0 },
	{ "newer", make_newer, WHY(newer), WHY(newer), WHY(newer), 0, 0, 0 },
	{ "foreign", make_foreign_file, WHY(foreign), WHY(foreign), WHY(foreign), 0, 0, 1 },
	{ "others", make_foreign_folder, WHY(none), WHY(foreign), WHY(foreign), 3, 1, 1 },
	{ "loose", make_loose_folder, WHY(none), WHY(loose), WHY(loose), 3, 1, 0 },
	{ "sticky", make_sticky_folder, WHY(none), WHY(loose), WHY(loose), 3, 1, 0 },
	{ "looser", make_loose_file, WHY(none), WHY(loose), WHY(loose), 3, 1, 0 },
	{ "empty", make_empty, WHY(none), WHY(none), WHY(none), 0, 1, 0 },
	{ "bytes", make_other_bytes, WHY(none), WHY(none), WHY(corrupt), 0, 1, 0 },
	{ "byte", make_short_bytes, WHY(none), WHY(none), WHY(corrupt), 0, 1, 0 },
	{ "negative", make_negative_version, WHY(none), WHY(none), WHY(corrupt), 0, 1, 0 },
	{ "tables", make_other_tables, WHY(none), WHY(none), WHY(corrupt), 0, 1, 0 },
	{ "future", make_future, WHY(none), WHY(none), WHY(none), 3, 1, 0 },
};
enum { NPLACE = sizeof(places) / sizeof(places[0]) };

static void check_place(const place *p)
{
	kt_store *s = ks_open(p->name, KT_USER);

	print_message("%s\n", p->name);
	assert_int_equal(ks_intact(s, 3, KS_SIZE), p->found);
	pk_assert_reason(kt_store_state(s), p->state);
	pk_assert_reason(kt_store_trust(s), p->trust);
	assert_int_equal(kt_store_writable(s), p->writable);
	assert_int_equal(ks_put(s, 5, KS_SIZE) == KT_WHY_none, p->writable);
	kt_store_close(s);
	assert_int_equal(ks_lines(), p->says != KT_WHY_none);
	if (p->says != KT_WHY_none) {
		pk_assert_has(pk_said, kt_reasons[p->says].sentence);
		pk_assert_has(pk_said, p->name);
	}
	s = ks_open(p->name, KT_USER); /* a reason is said once in a process */
	ks_intact(s, 3, KS_SIZE);
	kt_store_close(s);
	assert_string_equal(pk_said, "");
}

static void each_has_its_own_reason(void **state)
{
	(void)state;
	for (unsigned i = 0; i < NPLACE; i++)
		if (!places[i].root || !geteuid()) {
			places[i].make(places[i].name);
			check_place(&places[i]);
		}
}

static void each_lets_kernels_be_compiled(void **state)
{
	(void)state;
	for (unsigned i = 0; i < NPLACE; i++) {
		const char *why;
		char name[60];

		if (places[i].root && geteuid())
			continue;
		snprintf(name, sizeof(name), "k-%s", places[i].name);
		places[i].make(name);
		why = ks_not_compiled(name);
		if (why)
			fail_msg("%s: %s", name, why);
	}
}

/* The reason and the line's end aren't lost behind a path that is too long. */
static void a_long_path_is_told_in_a_whole_line(void **state)
{
	char folder[2501];
	size_t n = (size_t)snprintf(folder, sizeof(folder), "%s/", pk_in_folder("long"));
	kt_store *s;

	(void)state;
	memset(folder + n, 'x', sizeof(folder) - n); /* longer than a name may be */
	folder[sizeof(folder) - 1] = 0;
	pk_said[0] = 0;
	s = kt_store_open(&(kt_store_options){ folder, KT_USER, 0, { pk_keep, NULL } });
	assert_int_not_equal(kt_store_state(s), KT_WHY_none);
	assert_non_null(strstr(pk_said, kt_reasons[kt_store_state(s)].sentence));
	assert_int_equal(pk_said[strlen(pk_said) - 1], '\n');
	kt_store_close(s);
}

/* -- damage -------------------------------------------------------------------------------- */

static void assert_kept(const char *name, const uint8_t *bytes, size_t n)
{
	char path[400];
	uint8_t *got;
	size_t m;

	assert_int_equal(ks_aside(name, path, sizeof(path)), 1);
	got = pk_get_file(path, &m);
	assert_int_equal(m, n);
	assert_memory_equal(got, bytes, n);
	free(got);
}

/* Cut at any length: what is read is what was put, and either the file is good enough to go on
 * with or it is kept as it was, beside a new one. */
static void a_cut_file_is_used_or_kept(void **state)
{
	size_t size, step;
	unsigned aside = 0;
	uint8_t *bytes;

	(void)state;
	ks_make("whole", 8);
	bytes = pk_get_file(ks_db("whole"), &size);
	step = size / (getenv("KVJIT_LONG") ? 1500 : 60) | 1;
	for (size_t n = 0; n < size; n += step) {
		char name[40];
		kt_store *s;

		snprintf(name, sizeof(name), "cut%zu", n);
		mkdir(pk_in_folder(name), 0700);
		pk_put_file(ks_db(name), bytes, n);
		s = ks_open(name, KT_USER);
		assert_in_range(ks_intact(s, 8, KS_SIZE), 0, 8);
		/* damage may be found by this one, which is lost then, but not by the next */
		if (ks_put(s, 20, KS_SIZE) != KT_WHY_none)
			pk_assert_reason(ks_put(s, 20, KS_SIZE), KT_WHY_none);
		pk_assert_reason(kt_store_state(s), KT_WHY_none);
		kt_store_close(s);
		if (strstr(pk_said, kt_reasons[KT_WHY_corrupt].sentence)) {
			assert_kept(name, bytes, n);
			aside++;
		} else {
			assert_int_equal(ks_aside(name, NULL, 0), 0);
		}
	}
	assert_true(aside > 10);
	free(bytes);
}

/* A system's cache isn't ours to move. */
static void a_damaged_system_cache_stays_where_it_is(void **state)
{
	size_t size, after;
	uint8_t *bytes, *same;

	(void)state;
	ks_make("system", 8);
	bytes = pk_get_file(ks_db("system"), &size);
	for (size_t n = 0; n < size; n += size / 20) {
		kt_store *s;

		pk_put_file(ks_db("system"), bytes, n);
		s = ks_open("system", KT_SYSTEM);
		assert_in_range(ks_intact(s, 8, KS_SIZE), 0, 8);
		assert_true(ks_put(s, 1, KS_SIZE) != KT_WHY_none);
		kt_store_close(s);
		same = pk_get_file(ks_db("system"), &after);
		assert_int_equal(after, n);
		assert_memory_equal(same, bytes, n);
		free(same);
	}
	assert_int_equal(ks_aside("system", NULL, 0), 0);
	free(bytes);
}

/* Twice in a second, too: the first isn't replaced by the second. */
static void each_damaged_file_is_kept(void **state)
{
	(void)state;
	mkdir(pk_in_folder("again"), 0700);
	for (unsigned i = 0; i < 4; i++) {
		char text[40];
		kt_store *s;

		snprintf(text, sizeof(text), "no database, of number %u", i);
		pk_put_text(ks_db("again"), text);
		s = ks_open("again", KT_USER);
		pk_assert_reason(ks_put(s, i, KS_SIZE), KT_WHY_none);
		kt_store_close(s);
		assert_int_equal(ks_aside("again", NULL, 0), i + 1);
	}
}

/* Processes that find the damage at the same time: one moves it, none moves the new file. */
static void one_process_sets_aside(void **state)
{
	(void)state;
	for (unsigned r = 0; r < (getenv("KVJIT_LONG") ? 200 : 10); r++) {
		char name[40];
		pid_t pid[4];
		kt_store *s;

		snprintf(name, sizeof(name), "race%u", r);
		make_other_bytes(name);
		fflush(NULL);
		for (unsigned i = 0; i < 4; i++)
			if (!(pid[i] = fork())) {
				s = ks_open(name, KT_USER);
				_exit(ks_put(s, i, KS_SIZE) != KT_WHY_none);
			}
		unsigned acknowledged = 0;
		for (unsigned i = 0; i < 4; i++) {
			int status;

			waitpid(pid[i], &status, 0);
			acknowledged += status == 0;
		}
		s = ks_open(name, KT_USER);
		assert_true(ks_intact(s, 4, KS_SIZE) >= acknowledged);
		assert_true(acknowledged > 0);
		kt_store_close(s);
		assert_int_equal(ks_aside(name, NULL, 0), 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_has_its_own_reason),
		cmocka_unit_test(each_lets_kernels_be_compiled),
		cmocka_unit_test(a_long_path_is_told_in_a_whole_line),
		cmocka_unit_test(a_cut_file_is_used_or_kept),
		cmocka_unit_test(a_damaged_system_cache_stays_where_it_is),
		cmocka_unit_test(each_damaged_file_is_kept),
		cmocka_unit_test(one_process_sets_aside),
	};

	return cmocka_run_group_tests(tests, begin_packs, end_packs);
}
