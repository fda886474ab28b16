/* SPDX-License-Identifier: Apache-2.0 */
/* test_store_share.c -- several processes that write to a store and claim in it at once. */
#include "support_store.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { WRITERS = 4, EACH = 60, ASK = 1500, ASK_US = 20000 };

/* One that waited for the others as long as a put may is asked again, half a minute long. With
 * a pause: after a put that waited in vain those that follow at once are refused without
 * waiting, and on a busy machine the one that holds the lock isn't running. */
static bool trial_is_put(kt_store *s, const kt_trial *t)
{
	kt_reason why = kt_trial_put(s, t);

	for (int i = 0; i < ASK && why == KT_WHY_locked; i++) {
		usleep(ASK_US);
		why = kt_trial_put(s, t);
	}
	return why == KT_WHY_none;
}

static bool code_is_put(kt_store *s, unsigned i)
{
	kt_reason why = ks_put(s, i, KS_SIZE);

	for (int k = 0; k < ASK && why == KT_WHY_locked; k++) {
		usleep(ASK_US);
		why = ks_put(s, i, KS_SIZE);
	}
	return why == KT_WHY_none;
}

/* Of all, before any is judged: a child left over would be waited for by the next test. */
static void assert_writers_end_well(void)
{
	int bad = 0;

	for (int i = 0; i < WRITERS; i++) {
		int status = -1;

		wait(&status);
		bad += status != 0;
	}
	assert_int_equal(bad, 0);
}

static int write_many(int who)
{
	kt_store *s = ks_open("many", KT_USER);

	for (int i = 0; i < EACH; i++) {
		kt_trial t = { .where = { .program = pk_key_of("many", 0), .threads = 1 },
			       .run = who,
			       .seq = i,
			       .sched = "kv_tile=64",
			       .why = "",
			       .median = i + 1,
			       .n = who + 1,
			       .when = i };
		MUST(trial_is_put(s, &t));
		MUST(code_is_put(s, (unsigned)(who * EACH + i)));
	}
	kt_store_close(s);
	return 0;
}

static void writers_do_not_lose_each_others_records(void **state)
{
	kt_where w = { .program = pk_key_of("many", 0), .threads = 1 };
	char why[300];
	kt_store *s;
	kt_trial *t;
	unsigned n;

	(void)state;
	fflush(NULL);
	for (int i = 0; i < WRITERS; i++)
		if (!fork())
			_exit(write_many(i));
	assert_writers_end_well();
	s = ks_open("many", KT_USER);
	if (kt_store_verify(s, why, sizeof(why), NULL) != KT_WHY_none)
		fail_msg("%s", why);
	n = kt_trials_of(s, &w, &t);
	assert_int_equal(n, WRITERS * EACH);
	for (unsigned i = 0; i < n; i++) {
		assert_true(!i || t[i - 1].when <= t[i].when); /* oldest first */
		kt_trial_free(&t[i]);
	}
	free(t);
	assert_int_equal(ks_intact(s, WRITERS * EACH, KS_SIZE), WRITERS * EACH);
	kt_store_close(s);
	assert_string_equal(pk_said, "");
}

/* Both use the store that the parent had open, at the same time. */
static void parent_and_child_write_what_the_parent_opened(void **state)
{
	kt_store *s = ks_open("fork", KT_USER);
	int status = -1;
	kt_key k = pk_key_of("code", 0);
	kt_code c;

	(void)state;
	pk_assert_reason(ks_put(s, 0, KS_SIZE), KT_WHY_none);
	kt_code_used(s, &k);
	fflush(NULL);
	pid_t pid = fork();
	if (!pid) {
		for (unsigned i = 1; i < 50; i++)
			MUST(code_is_put(s, i));
		kt_store_close(s); /* the parent's count isn't the child's to write */
		_exit(0);
	}
	for (unsigned i = 50; i < 100; i++)
		assert_true(code_is_put(s, i));
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	assert_int_equal(ks_intact(s, 100, KS_SIZE), 100);
	kt_store_close(s);
	s = ks_open("fork", KT_USER);
	c = ks_get(s, 0);
	assert_int_equal(c.uses, 1);
	kt_code_free(&c);
	kt_store_close(s);
}

/* A child opens the file anew, with locks of its own: the parent that closes takes no journal
 * away under it, and what either writes from then on is there. */
static void a_parent_that_closes_takes_nothing_from_its_child(void **state)
{
	kt_store *s = ks_open("early", KT_USER);
	int written[2], closed[2], status = -1;
	char why[300], x = 0;

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		assert_true(code_is_put(s, i));
	assert_int_equal(pipe(written), 0);
	assert_int_equal(pipe(closed), 0);
	fflush(NULL);
	pid_t pid = fork();
	if (!pid) {
		alarm(60);
		for (unsigned i = 10; i < 20; i++)
			MUST(code_is_put(s, i));
		MUST(write(written[1], &x, 1) == 1);
		MUST(read(closed[0], &x, 1) == 1);
		MUST(ks_intact(s, 30, KS_SIZE) == 30);
		for (unsigned i = 30; i < 40; i++)
			MUST(code_is_put(s, i));
		kt_store_close(s);
		_exit(0);
	}
	assert_int_equal(read(written[0], &x, 1), 1);
	kt_store_close(s);
	s = ks_open("early", KT_USER);
	for (unsigned i = 20; i < 30; i++)
		assert_true(code_is_put(s, i));
	assert_int_equal(write(closed[1], &x, 1), 1);
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	for (unsigned i = 40; i < 50; i++)
		assert_true(code_is_put(s, i));
	kt_store_close(s);
	s = ks_open("early", KT_USER);
	if (kt_store_verify(s, why, sizeof(why), NULL) != KT_WHY_none)
		fail_msg("%s", why);
	assert_int_equal(ks_intact(s, 50, KS_SIZE), 50);
	kt_store_close(s);
	assert_int_equal(ks_aside("early", NULL, 0), 0);
	close(written[0]), close(written[1]), close(closed[0]), close(closed[1]);
}

/* A claim that is dropped is free, though a child that was forked meanwhile has a copy of it.
 */
static void a_childs_copy_of_a_claim_holds_nobody(void **state)
{
	kt_key k = pk_key_of("code", 2);
	kt_store *s;
	kt_claim c;
	bool waited;
	int status = -1;

	(void)state;
	ks_make("copy", 1);
	s = ks_open("copy", KT_USER);
	pk_assert_reason(kt_claim_take(s, &k, 0, &c, &waited), KT_WHY_none);
	assert_true(c.fd >= 0);
	fflush(NULL);
	pid_t pid = fork();
	if (!pid) {
		alarm(20);
		pause();
		_exit(1);
	}
	kt_claim_drop(&c);
	pk_assert_reason(kt_claim_take(s, &k, 0, &c, &waited), KT_WHY_none);
	assert_true(c.fd >= 0 && !waited);
	kt_claim_drop(&c);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	kt_store_close(s);
}

/* Reads a number, sleeps, writes one more: a second holder would make one disappear. */
static int count_under_claim(const kt_key *k)
{
	kt_store *s = ks_open("claims", KT_USER);

	for (unsigned i = 0; i < 20; i++) {
		kt_claim c;
		bool waited;
		int fd, n = 0;

		MUST(kt_claim_take(s, k, 20000, &c, &waited) == KT_WHY_none && c.fd >= 0);
		fd = open(pk_in_folder("number"), O_RDWR | O_CREAT, 0600);
		MUST(fd >= 0 && pread(fd, &n, sizeof(n), 0) >= 0);
		usleep(500);
		n++;
		MUST(pwrite(fd, &n, sizeof(n), 0) == sizeof(n));
		close(fd);
		kt_claim_drop(&c);
	}
	kt_store_close(s);
	return 0;
}

static void a_claim_excludes_all_others(void **state)
{
	kt_key k = pk_key_of("code", 1);
	size_t n;
	uint8_t *bytes;

	(void)state;
	ks_make("claims", 1);
	fflush(NULL);
	for (int i = 0; i < WRITERS; i++)
		if (!fork())
			_exit(count_under_claim(&k));
	assert_writers_end_well();
	bytes = pk_get_file("number", &n);
	assert_int_equal(*(int *)(void *)bytes, WRITERS * 20);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writers_do_not_lose_each_others_records),
		cmocka_unit_test(parent_and_child_write_what_the_parent_opened),
		cmocka_unit_test(a_parent_that_closes_takes_nothing_from_its_child),
		cmocka_unit_test(a_claim_excludes_all_others),
		cmocka_unit_test(a_childs_copy_of_a_claim_holds_nobody),
	};

	return cmocka_run_group_tests(tests, begin_packs, end_packs);
}
