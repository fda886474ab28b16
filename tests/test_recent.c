/* SPDX-License-Identifier: Apache-2.0 */
/* test_recent.c -- what was asked lately is answered without SQL, and never by anything older
 * than the cache or written by somebody else. */
#include "support_store.h"
#include "../tune/recent.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char *recent_of(const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/kvjit.recent", name);
	return pk_in_folder(path);
}

static bool there(const char *name)
{
	return access(recent_of(name), F_OK) == 0;
}

/* What a process asks for at its start. Returns whether SQL was needed; *n: schedules. */
static bool asks(const char *name, unsigned i, unsigned *n, char sched[100])
{
	kt_store *s = ks_open(name, KT_USER);
	kt_key program = pk_make_schedule(i).where.program, key = pk_key_of("code", i);
	kt_schedule *at;
	kt_pin *pin;
	kt_code c;
	bool sql;

	for (unsigned k = kt_pins_of(s, &program, &pin); k--;)
		kt_pin_free(&pin[k]);
	free(pin);
	*n = kt_schedules_of(s, &program, NULL, &at);
	if (sched)
		snprintf(sched, 100, "%s", *n ? at[0].sched : "");
	for (unsigned k = 0; k < *n; k++)
		kt_schedule_free(&at[k]);
	free(at);
	assert_int_equal(kt_code_find(s, &key, &c), KT_WHY_none);
	assert_int_equal(c.size, KS_SIZE);
	kt_code_free(&c);
	assert_int_equal(kt_store_trust(s), KT_WHY_none);
	sql = s->tried;
	kt_store_close(s);
	return sql;
}

/* A cache with a schedule and code, asked once. */
static void make(const char *name, unsigned i)
{
	kt_store *s = ks_open(name, KT_USER);
	kt_schedule r = pk_make_schedule(i);
	unsigned n;

	assert_int_equal(kt_schedule_put(s, &r), KT_WHY_none);
	assert_int_equal(ks_put(s, i, KS_SIZE), KT_WHY_none);
	kt_store_close(s);
	assert_true(asks(name, i, &n, NULL));
	assert_int_equal(n, 1);
	assert_true(there(name));
}

static void the_second_start_needs_no_sql(void **state)
{
	kt_schedule r = pk_make_schedule(0), *at;
	kt_store *s;
	kt_code c, want;
	kt_key key = pk_key_of("code", 0);

	(void)state;
	make("second", 0);
	s = ks_open("second", KT_USER);
	assert_int_equal(kt_schedules_of(s, &r.where.program, NULL, &at), 1);
	pk_assert_same_schedule(&at[0], &r);
	kt_schedule_free(&at[0]);
	free(at);
	assert_int_equal(kt_code_find(s, &key, &c), KT_WHY_none);
	assert_false(s->tried);
	/* as SQL gives it, without what is only counted */
	assert_int_equal(kt_code_get(s, &key, &want), KT_WHY_none);
	assert_true(s->tried);
	want.uses = want.last_used = want.compile_us = 0;
	pk_assert_same_code(&c, &want);
	kt_code_free(&c);
	kt_code_free(&want);
	kt_store_close(s);
}

/* The uses of code that no SQL was asked for are counted all the same. */
static void uses_are_counted(void **state)
{
	kt_key key = pk_key_of("code", 0);
	kt_store *s;
	kt_code c;

	(void)state;
	make("uses", 0);
	for (unsigned i = 0; i < 3; i++) {
		s = ks_open("uses", KT_USER);
		assert_int_equal(kt_code_find(s, &key, &c), KT_WHY_none);
		kt_code_free(&c);
		assert_false(s->tried);
		kt_code_used(s, &key);
		kt_store_close(s);
	}
	s = ks_open("uses", KT_USER);
	assert_int_equal(kt_code_get(s, &key, &c), KT_WHY_none);
	assert_int_equal(c.uses, 3);
	kt_code_free(&c);
	kt_store_close(s);
}

/* -- what changes an answer ------------------------------------------------------------ */

/* Each by the process that had them, though neither has opened the cache before the fork. */
static void a_childs_uses_are_its_own(void **state)
{
	kt_key key = pk_key_of("code", 0);
	int status = -1;
	kt_store *s;
	kt_code c;
	pid_t pid;

	(void)state;
	make("children", 0);
	s = ks_open("children", KT_USER);
	assert_int_equal(kt_code_find(s, &key, &c), KT_WHY_none);
	kt_code_free(&c);
	assert_false(s->tried);
	for (int i = 0; i < 5; i++)
		kt_code_used(s, &key);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		alarm(20);
		for (int i = 0; i < 2; i++)
			kt_code_used(s, &key);
		kt_store_close(s);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	kt_store_close(s);
	s = ks_open("children", KT_USER);
	assert_int_equal(kt_code_get(s, &key, &c), KT_WHY_none);
	assert_int_equal(c.uses, 7);
	kt_code_free(&c);
	kt_store_close(s);
}

static void put_other(kt_store *s)
{
	kt_schedule r = pk_make_schedule(0);

	r.sched = (char *)"kv_tile=16";
	assert_int_equal(kt_schedule_put(s, &r), KT_WHY_none);
}

static void a_new_schedule_is_seen_at_once(void **state)
{
	char sched[100];
	unsigned n;

	(void)state;
	make("newer", 0);
	assert_false(asks("newer", 0, &n, sched));
	assert_string_not_equal(sched, "kv_tile=16");
	kt_store *s = ks_open("newer", KT_USER);
	put_other(s);
	assert_false(there("newer"));
	kt_store_close(s);
	assert_true(asks("newer", 0, &n, sched));
	assert_string_equal(sched, "kv_tile=16");
	assert_false(asks("newer", 0, &n, sched));
	assert_string_equal(sched, "kv_tile=16");
}

/* By a process that has been asking for a while, too. */
static void who_has_it_open_sees_what_is_new(void **state)
{
	kt_schedule r = pk_make_schedule(0), *at;
	kt_store *s, *other;

	(void)state;
	make("open", 0);
	s = ks_open("open", KT_USER);
	assert_int_equal(kt_schedules_of(s, &r.where.program, NULL, &at), 1);
	kt_schedule_free(&at[0]);
	free(at);
	assert_false(s->tried);
	other = ks_open("open", KT_USER);
	r.sched = "kv_tile=16 q_tile=8";
	assert_int_equal(kt_schedule_put(other, &r), KT_WHY_none);
	kt_store_close(other);
	assert_int_equal(kt_schedules_of(s, &r.where.program, NULL, &at), 1);
	assert_string_equal(at[0].sched, r.sched);
	kt_schedule_free(&at[0]);
	free(at);
	kt_store_close(s);
}

/* One whose answers another process wrote anew is read again, without SQL. */
static void who_has_it_open_reads_what_took_its_place(void **state)
{
	kt_schedule r = pk_make_schedule(0), *at;
	kt_key key = pk_key_of("code", 1);
	kt_store *s, *other;
	kt_code c;

	(void)state;
	make("place", 0);
	s = ks_open("place", KT_USER);
	assert_int_equal(kt_schedules_of(s, &r.where.program, NULL, &at), 1);
	kt_schedule_free(&at[0]);
	free(at);
	other = ks_open("place", KT_USER);
	assert_int_equal(ks_put(other, 1, KS_SIZE), KT_WHY_none);
	assert_int_equal(kt_code_find(other, &key, &c), KT_WHY_none);
	kt_code_free(&c);
	kt_store_close(other);
	assert_int_equal(kt_code_find(s, &key, &c), KT_WHY_none);
	kt_code_free(&c);
	assert_false(s->tried);
	kt_store_close(s);
}

static void a_merged_schedule_is_seen_at_once(void **state)
{
	char sched[100];
	unsigned n;

	(void)state;
	make("into", 0);
	kt_store *from = ks_open("from", KT_USER), *s = ks_open("into", KT_USER);
	kt_schedule r = pk_make_schedule(0);
	r.codegen++;
	r.sched = (char *)"kv_tile=16";
	assert_int_equal(kt_schedule_put(from, &r), KT_WHY_none);
	assert_int_equal(kt_store_merge(s, from), KT_WHY_none);
	kt_store_close(from);
	kt_store_close(s);
	assert_true(asks("into", 0, &n, sched));
	assert_string_equal(sched, "kv_tile=16");
}

static kt_pin make_pin(void)
{
	kt_bucket all = { KT_ANY, KT_ANY, KT_ANY };

	return (kt_pin){ pk_make_schedule(0).where.program, all, (char *)"p",
		         (char *)"qk=f32" };
}

static unsigned pins(const char *name)
{
	kt_store *s = ks_open(name, KT_USER);
	kt_pin p = make_pin(), *at;
	unsigned n = kt_pins_of(s, &p.program, &at);

	for (unsigned i = 0; i < n; i++)
		kt_pin_free(&at[i]);
	free(at);
	kt_store_close(s);
	return n;
}

static void pins_come_and_go(void **state)
{
	kt_pin p = make_pin();

	(void)state;
	make("pins", 0);
	assert_int_equal(pins("pins"), 0);
	kt_store *s = ks_open("pins", KT_USER);
	assert_int_equal(kt_pin_put(s, &p), KT_WHY_none);
	kt_store_close(s);
	assert_int_equal(pins("pins"), 1);
	assert_int_equal(pins("pins"), 1);
	s = ks_open("pins", KT_USER);
	assert_int_equal(kt_pin_drop(s, &p), KT_WHY_none);
	assert_int_equal(kt_pin_drop(s, &p), KT_WHY_miss);
	kt_store_close(s);
	assert_int_equal(pins("pins"), 0);
}

static void what_was_thrown_out_is_gone(void **state)
{
	kt_key key = pk_key_of("code", 0);
	kt_gc gc;
	kt_code c;

	(void)state;
	make("gc", 0);
	kt_store *s = ks_open("gc", KT_USER);
	assert_int_equal(kt_store_gc(s, 1, &gc), KT_WHY_none);
	assert_int_equal(gc.dropped, 1);
	kt_store_close(s);
	s = ks_open("gc", KT_USER);
	assert_int_equal(kt_code_find(s, &key, &c), KT_WHY_miss);
	kt_store_close(s);
}

/* The new file often has the number of the one that was removed. */
static void a_removed_cache_takes_its_answers_along(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		kt_key key = pk_key_of("code", 0);
		kt_store *s;
		kt_code c;

		make("removed", 0);
		unlink(pk_in_folder(ks_db("removed")));
		unlink(pk_in_folder("removed/kvjit.db-wal"));
		unlink(pk_in_folder("removed/kvjit.db-shm"));
		s = ks_open("removed", KT_USER);
		assert_int_equal(ks_put(s, 7, KS_SIZE), KT_WHY_none);
		kt_store_close(s);
		s = ks_open("removed", KT_USER);
		assert_int_equal(kt_code_find(s, &key, &c), KT_WHY_miss);
		kt_store_close(s);
	}
}

/* -- others ------------------------------------------------------------------------------ */

static void a_file_that_others_can_write_is_not_used(void **state)
{
	unsigned n;

	(void)state;
	make("loose", 0);
	assert_false(asks("loose", 0, &n, NULL));
	assert_int_equal(chmod(recent_of("loose"), 0666), 0);
	assert_true(asks("loose", 0, &n, NULL));
	/* it was written anew */
	assert_false(asks("loose", 0, &n, NULL));
	assert_int_equal(rename(recent_of("loose"), pk_in_folder("elsewhere")), 0);
	assert_int_equal(symlink(pk_in_folder("elsewhere"), recent_of("loose")), 0);
	assert_true(asks("loose", 0, &n, NULL));
	unlink(recent_of("loose"));
	assert_int_equal(mkfifo(recent_of("loose"), 0600), 0);
	assert_true(asks("loose", 0, &n, NULL));
	assert_int_equal(n, 1);
}

/* Whatever a file holds, answers are right: its own or the cache's. */
static void no_damage_gives_a_wrong_answer(void **state)
{
	char want[100], sched[100];
	size_t size;
	uint8_t *good;
	unsigned n, sql = 0;

	(void)state;
	make("flip", 0);
	asks("flip", 0, &n, want);
	good = pk_get_file("flip/kvjit.recent", &size);
	for (size_t i = 0; i < size; i += i < 400 ? 1 : 37) {
		uint8_t *bad = malloc(size);

		memcpy(bad, good, size);
		bad[i] ^= (uint8_t)(1 << i % 8);
		pk_put_file("flip/kvjit.recent", bad, size);
		assert_int_equal(chmod(recent_of("flip"), 0600), 0);
		sql += asks("flip", 0, &n, sched);
		assert_int_equal(n, 1);
		assert_string_equal(sched, want);
		free(bad);
	}
	assert_true(sql > 400);
	for (size_t i = 0; i < size; i += 41) {
		pk_put_file("flip/kvjit.recent", good, i);
		assert_int_equal(chmod(recent_of("flip"), 0600), 0);
		assert_true(asks("flip", 0, &n, sched));
		assert_string_equal(sched, want);
	}
	free(good);
}

/* kvjit.recent with every answer of table t as many bytes longer (the file's last, 0xff) or of
 * no bytes at all, and all hashes right. */
static void put_resized(const char *name, const uint8_t *good, size_t size, kt_table t,
                        int more)
{
	enum { ROWS = 80, ROWS_HASH = 48 };
	size_t grown = more > 0 ? (size_t)more : 0;
	uint8_t *bad = calloc(1, size + grown);
	uint32_t nrow = kt_load32(good + 12);
	kt_key hash;

	memcpy(bad, good, size);
	memset(bad + size, 0xff, grown);
	for (uint32_t i = 0; i < nrow; i++) {
		uint8_t *at = bad + ROWS + (size_t)i * KT_PACK_ROW;
		kt_row row = kt_load_row(at);
		kt_bytes b = { 0 };

		if (row.type != (uint32_t)t)
			continue;
		row.size = more > 0 ? row.size + (uint32_t)more : 0;
		kt_hash(bad + row.place, row.size, &row.hash);
		kt_put_row(&b, &row);
		memcpy(at, b.at, KT_PACK_ROW);
		free(b.at);
	}
	kt_hash(bad + ROWS, (size_t)nrow * KT_PACK_ROW, &hash);
	memcpy(bad + ROWS_HASH, hash.b, sizeof(hash.b));
	pk_put_file(name, bad, size + grown);
	free(bad);
}

/* Hashes say that nothing was damaged, not that it is well made: a last record of fewer bytes
 * than its size takes was read behind the answer's end. */
static void a_record_cut_short_is_not_read(void **state)
{
	size_t size;
	unsigned n;
	uint8_t *good;

	(void)state;
	make("cut", 0);
	good = pk_get_file("cut/kvjit.recent", &size);
	for (int more = 1; more < 6; more++) {
		/* schedules are asked for behind pins, of which there are none: the last answer
		 */
		put_resized("cut/kvjit.recent", good, size, KT_SCHEDULES, more);
		assert_int_equal(chmod(recent_of("cut"), 0600), 0);
		assert_true(asks("cut", 0, &n, NULL));
		assert_int_equal(n, 1);
	}
	free(good);
}

/* An answer about code without code in it was read through NULL. */
static void code_that_is_no_record_is_asked_of_the_cache(void **state)
{
	size_t size;
	unsigned n;
	uint8_t *good;

	(void)state;
	make("none", 0);
	good = pk_get_file("none/kvjit.recent", &size);
	put_resized("none/kvjit.recent", good, size, KT_CODE, 0);
	assert_int_equal(chmod(recent_of("none"), 0600), 0);
	assert_true(asks("none", 0, &n, NULL));
	assert_int_equal(n, 1);
	free(good);
}

static void as_many_are_kept_as_it_says(void **state)
{
	kt_store *s = ks_open("many", KT_USER);
	unsigned n, kept = 0;
	struct stat st;

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(ks_put(s, i, KS_SIZE), KT_WHY_none);
	kt_store_close(s);
	for (unsigned i = 0; i < 100; i++)
		asks("many", i, &n, NULL);
	assert_int_equal(stat(recent_of("many"), &st), 0);
	assert_true(st.st_size < KT_RECENT_BYTES + KT_RECENT_MOST * KT_PACK_ROW + 200);
	assert_false(asks("many", 99, &n, NULL)); /* the latest are kept */
	for (unsigned i = 0; i < 100; i++)
		kept += !asks("many", i, &n, NULL);
	assert_true(kept < 100);
}

/* -- at the same time --------------------------------------------------------------------- */

static void set_number(kt_store *s, long i)
{
	kt_schedule r = pk_make_schedule(0);
	char sched[40];

	snprintf(sched, sizeof(sched), "split=%ld", i);
	r.sched = sched;
	MUST(kt_schedule_put(s, &r) == KT_WHY_none);
}

static long number(kt_store *s)
{
	kt_key program = pk_make_schedule(0).where.program;
	kt_schedule *at;
	long i = -1;

	if (kt_schedules_of(s, &program, NULL, &at) == 1) {
		sscanf(at[0].sched, "split=%ld", &i);
		kt_schedule_free(&at[0]);
	}
	free(at);
	return i;
}

/* Counts up and tells each number once it is acknowledged, until it is killed. */
static void count_up(int tell, long from)
{
	for (long i = from;; i++) {
		kt_store *s = ks_open("race", KT_USER);

		set_number(s, i);
		kt_store_close(s);
		MUST(write(tell, &i, sizeof(i)) == sizeof(i));
	}
}

/* Whoever opens the cache after a number was acknowledged sees it or a later one, also when
 * writers are killed at any time and other processes write kvjit.recent between them. */
static void no_answer_is_older_than_the_cache(void **state)
{
	long last = 0, seen = 0, recalled = 0;
	int rounds = getenv("KVJIT_LONG") ? 200 : 40;
	kt_store *s = ks_open("race", KT_USER);

	(void)state;
	set_number(s, 0);
	kt_store_close(s);
	for (int round = 0; round < rounds; round++) {
		int pipes[2], status;
		pid_t pid;

		assert_int_equal(pipe(pipes), 0);
		fflush(NULL);
		pid = fork();
		if (!pid) {
			close(pipes[0]);
			count_up(pipes[1], last + 1);
		}
		close(pipes[1]);
		for (int look = 0; look < 10; look++) {
			/* told before this store is opened */
			if (look % 3 == 0 && read(pipes[0], &last, sizeof(last)) < 0)
				fail();
			if (look == 9)
				kill(pid, SIGKILL);
			s = ks_open("race", KT_USER);
			seen = number(s);
			recalled += kts_recalled(s);
			kt_store_close(s);
			assert_true(seen >= last);
		}
		waitpid(pid, &status, 0);
		while (read(pipes[0], &last, sizeof(last)) == sizeof(last))
			;
		close(pipes[0]);
		for (int look = 0; look < 3; look++) {
			s = ks_open("race", KT_USER);
			seen = number(s);
			recalled += kts_recalled(s);
			kt_store_close(s);
			assert_true(seen >= last);
		}
		last = seen;
	}
	assert_true(recalled >= rounds); /* it did answer */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_second_start_needs_no_sql),
		cmocka_unit_test(uses_are_counted),
		cmocka_unit_test(a_childs_uses_are_its_own),
		cmocka_unit_test(a_new_schedule_is_seen_at_once),
		cmocka_unit_test(who_has_it_open_sees_what_is_new),
		cmocka_unit_test(who_has_it_open_reads_what_took_its_place),
		cmocka_unit_test(a_merged_schedule_is_seen_at_once),
		cmocka_unit_test(pins_come_and_go),
		cmocka_unit_test(what_was_thrown_out_is_gone),
		cmocka_unit_test(a_removed_cache_takes_its_answers_along),
		cmocka_unit_test(a_file_that_others_can_write_is_not_used),
		cmocka_unit_test(no_damage_gives_a_wrong_answer),
		cmocka_unit_test(a_record_cut_short_is_not_read),
		cmocka_unit_test(code_that_is_no_record_is_asked_of_the_cache),
		cmocka_unit_test(as_many_are_kept_as_it_says),
		cmocka_unit_test(no_answer_is_older_than_the_cache),
	};

	return cmocka_run_group_tests(tests, begin_packs, end_packs);
}
