/* SPDX-License-Identifier: Apache-2.0 */
/* test_store.c -- what a store keeps, what it refuses, and that neither kills nor neighbours
 * nor damage lose what was acknowledged. */
#include "../tune/store_priv.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[300], said[4000];

static int begin(void **state)
{
	const char *tmp = getenv("KVJIT_TMP");

	(void)state;
	snprintf(folder, sizeof folder, "%s/store.XXXXXX", tmp ? tmp : "/tmp");
	said[0] = 0;
	return mkdtemp(folder) ? 0 : -1;
}

static int end(void **state)
{
	char command[400];

	(void)state;
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return system(command) != 0;
}

static void keep_line(const char *line, void *ctx)
{
	(void)ctx;
	strncat(said, line, sizeof said - strlen(said) - 1);
}

static const char *in_folder(const char *name)
{
	static char path[4][700];
	static unsigned turn;
	char *p = path[turn++ % 4];

	snprintf(p, sizeof path[0], "%s/%s", folder, name);
	return p;
}

static kt_store *open_store(const char *name, kt_mode mode)
{
	kt_store *s =
	    kt_store_open(&(kt_store_options){ in_folder(name), mode, 0, { keep_line, NULL } });

	assert_non_null(s);
	return s;
}

static kt_key key_of(unsigned i)
{
	kt_key k;

	kt_hash(&i, sizeof i, &k);
	return k;
}

static kt_code make_code(unsigned i, uint8_t *bytes, size_t n)
{
	kt_code c = { .key = key_of(i), .program = key_of(i + 1000000) };

	for (size_t k = 0; k < n; k++)
		bytes[k] = (uint8_t)(i * 31 + k * 7);
	kt_hash(bytes, n, &c.hash);
	c.kind = (char *)"x86-64";
	c.backend = (char *)"x86";
	c.target = (char *)"avx512";
	c.problem = (char *)"merge out=f32 heads=4 dim=64";
	c.sched = (char *)"kv_tile=0";
	c.phases = (char *)"n";
	c.bytes = bytes;
	c.size = n;
	c.text = n;
	c.compile_us = 1000;
	c.codegen = KT_CODEGEN;
	return c;
}

static void put_codes(kt_store *s, unsigned n)
{
	uint8_t bytes[600];

	for (unsigned i = 0; i < n; i++) {
		kt_code c = make_code(i, bytes, sizeof bytes);

		assert_int_equal(kt_code_put(s, &c), KT_WHY_none);
	}
}

/* How many of the first n entries are there, each with the bytes it was put with. */
static unsigned intact(kt_store *s, unsigned n)
{
	uint8_t bytes[600];
	unsigned found = 0;

	for (unsigned i = 0; i < n; i++) {
		kt_code want = make_code(i, bytes, sizeof bytes), got;

		if (kt_code_get(s, &want.key, &got) != KT_WHY_none)
			continue;
		assert_int_equal(got.size, sizeof bytes);
		assert_memory_equal(got.bytes, bytes, sizeof bytes);
		kt_code_free(&got);
		found++;
	}
	return found;
}

static kt_trial make_trial(int64_t run, int64_t seq)
{
	kt_trial t = { .run = run, .seq = seq, .n = 10, .median = 1e-3, .ratio = 1 };

	t.where.program = key_of(7);
	t.where.threads = 1;
	t.sched = (char *)"kv_tile=64";
	t.why = (char *)"";
	t.codegen = KT_CODEGEN;
	return t;
}

static kt_schedule make_schedule(unsigned i)
{
	kt_schedule r = { .ratio = 0.5 + (i % 10) / 20.0, .n = 10 + i % 3, .when = i % 5 };

	r.where.program = key_of(i % 4);
	r.where.threads = 1 + (int)(i % 2);
	r.where.bucket = (kt_bucket){ (int)(i % 3), KT_ANY, 0 };
	r.problem = (char *)"attn";
	r.sched = (char *)(i % 2 ? "kv_tile=64" : "kv_tile=32");
	r.target = (char *)"avx512";
	r.machine = (char *)"this";
	r.codegen = KT_CODEGEN;
	return r;
}

/* -- keeping ------------------------------------------------------------------------------- */

static void what_was_put_is_there(void **state)
{
	kt_store *s = open_store("a", KT_USER);
	kt_trial t = make_trial(1, 2), *got;
	kt_pin pin = { key_of(3), { 1, 2, 0 }, (char *)"p", (char *)"kv_tile=16" }, *pins;
	kt_schedule r = make_schedule(3), *rs;
	int64_t version = 0;
	struct stat st;
	kt_code c;
	kt_key k = key_of(99);

	(void)state;
	put_codes(s, 5);
	assert_int_equal(intact(s, 5), 5);
	assert_int_equal(kt_code_get(s, &k, &c), KT_WHY_miss);
	assert_int_equal(kt_trial_put(s, &t), KT_WHY_none);
	assert_int_equal(kt_trials_of(s, &t.where, &got), 1);
	assert_int_equal(got->seq, 2);
	kt_trial_free(got);
	free(got);
	assert_int_equal(kt_pin_put(s, &pin), KT_WHY_none);
	assert_int_equal(kt_pins_of(s, &pin.program, &pins), 1);
	assert_string_equal(pins->sched, "kv_tile=16");
	kt_pin_free(pins);
	free(pins);
	assert_int_equal(kt_schedule_put(s, &r), KT_WHY_none);
	assert_int_equal(kt_schedules_of(s, &r.where.program, NULL, &rs), 1);
	assert_true(rs->ratio == r.ratio && rs->where.threads == r.where.threads);
	kt_schedule_free(rs);
	free(rs);
	kt_meta_raise(s, "x", 5);
	kt_meta_raise(s, "x", 3);
	assert_true(kt_meta_get(s, "x", &version) && version == 5);
	assert_int_equal(stat(in_folder("a/kvjit.db"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	kt_store_close(s);
	s = open_store("a", KT_SYSTEM); /* as everybody else would */
	assert_int_equal(intact(s, 5), 5);
	assert_false(kt_store_writable(s));
	kt_store_close(s);
	assert_string_equal(said, "");
}

static void beyond_the_cap_the_cheapest_go(void **state)
{
	kt_store *s =
	    kt_store_open(&(kt_store_options){ in_folder("a"), KT_USER, 6000, { 0 } });
	uint8_t bytes[600];
	kt_pin pin = { .program = key_of(1000001),
		       .problem = (char *)"p",
		       .sched = (char *)"s" };

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		kt_code c = make_code(i, bytes, sizeof bytes);

		c.compile_us = i < 3 ? 1 : 100000; /* the first three cost nothing to make */
		if (i == 2)
			kt_pin_put(s, &pin); /* but 1 is pinned */
		assert_int_equal(kt_code_put(s, &c), KT_WHY_none);
	}
	kt_code got;
	kt_key k = key_of(0);

	assert_int_equal(kt_code_get(s, &k, &got), KT_WHY_miss);
	k = key_of(1);
	assert_int_equal(kt_code_get(s, &k, &got), KT_WHY_none);
	kt_code_free(&got);
	assert_in_range(intact(s, 20), 9, 10);
	kt_store_close(s);
}

/* Runs SQL on the file as somebody else would. */
static void sql(const char *name, const char *text)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(in_folder(name), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void what_does_not_hash_is_refused(void **state)
{
	kt_store *s = open_store("a", KT_USER);
	kt_key zero = key_of(0), one = key_of(1), two = key_of(2);
	char text[300], hex[2][KT_HEX], why[300];
	kt_code got;

	(void)state;
	put_codes(s, 3);
	kt_store_close(s);
	kt_key_hex(&zero, hex[0]);
	kt_key_hex(&one, hex[1]);
	snprintf(text, sizeof text, "UPDATE code SET bytes=zeroblob(600) WHERE key=x'%s'",
	         hex[0]);
	sql("a/kvjit.db", text);
	s = open_store("a", KT_USER);
	assert_int_equal(kt_code_get(s, &zero, &got), KT_WHY_wrong_hash);
	assert_non_null(strstr(said, "don't match their hash"));
	assert_int_equal(kt_store_verify(s, why, sizeof why, NULL), KT_WHY_wrong_hash);
	kt_store_close(s);
	/* a sound entry under another's key */
	snprintf(text, sizeof text,
	         "DELETE FROM code WHERE key=x'%s';UPDATE code SET key=x'%s' WHERE key=x'%s'",
	         hex[0], hex[0], hex[1]);
	sql("a/kvjit.db", text);
	s = open_store("a", KT_USER);
	assert_int_equal(kt_code_get(s, &zero, &got), KT_WHY_wrong_key);
	assert_int_equal(kt_code_get(s, &two, &got), KT_WHY_none);
	kt_code_free(&got);
	kt_store_close(s);
}

/* -- hostile places ------------------------------------------------------------------------ */

static void expect(const char *name, kt_reason why)
{
	kt_store *s = open_store(name, KT_USER);
	uint8_t bytes[600];
	kt_code c = make_code(1, bytes, sizeof bytes), got;

	if (kt_store_state(s) != why)
		fail_msg("%s is %s, not %s", name, kt_reasons[kt_store_state(s)].name,
		         kt_reasons[why].name);
	assert_non_null(strstr(said, kt_reasons[why].sentence));
	assert_true(kt_code_put(s, &c) != KT_WHY_none);
	assert_true(kt_code_get(s, &c.key, &got) != KT_WHY_none);
	kt_store_close(s);
	said[0] = 0;
}

static void put_file(const char *name, const void *bytes, size_t n)
{
	FILE *f = fopen(in_folder(name), "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	fclose(f);
}

static void what_is_no_file_of_ours_is_left_alone(void **state)
{
	kt_store *s;

	(void)state;
	mkdir(in_folder("link"), 0700);
	assert_int_equal(symlink("/etc/passwd", in_folder("link/kvjit.db")), 0);
	expect("link", KT_WHY_symlink);
	mkdir(in_folder("fifo"), 0700);
	assert_int_equal(mkfifo(in_folder("fifo/kvjit.db"), 0600), 0);
	expect("fifo", KT_WHY_not_file);
	mkdir(in_folder("dir"), 0700);
	mkdir(in_folder("dir/kvjit.db"), 0700);
	expect("dir", KT_WHY_not_file);
	put_file("file", "x", 1);
	expect("file/below", KT_WHY_unwritable);
	s = open_store("new", KT_USER);
	put_codes(s, 1);
	kt_store_close(s);
	sql("new/kvjit.db", "PRAGMA user_version=99");
	expect("new", KT_WHY_newer);
	if (geteuid() == 0) {
		s = open_store("other", KT_USER);
		put_codes(s, 1);
		kt_store_close(s);
		assert_int_equal(chown(in_folder("other/kvjit.db"), 65534, 65534), 0);
		expect("other", KT_WHY_foreign);
	}
	s = open_store("loose", KT_USER);
	put_codes(s, 1);
	chmod(in_folder("loose"), 0770);
	assert_int_equal(kt_store_trust(s), KT_WHY_none); /* judged when it was opened */
	kt_store_close(s);
	s = open_store("loose", KT_USER);
	assert_int_equal(kt_store_trust(s), KT_WHY_loose);
	kt_store_close(s);
}

static bool always(const char *f)
{
	(void)f;
	return true;
}

static void a_network_file_system_is_only_read(void **state)
{
	bool (*before)(const char *) = kts_is_network;
	kt_store *s = open_store("a", KT_USER);

	(void)state;
	put_codes(s, 3);
	kt_store_close(s);
	kts_is_network = always;
	s = open_store("a", KT_USER);
	assert_int_equal(intact(s, 3), 3);
	assert_false(kt_store_writable(s));
	kt_store_close(s);
	kts_is_network = before;
	assert_non_null(strstr(said, "network"));
}

static void damage_is_set_aside(void **state)
{
	char text[2000];
	kt_store *s;

	(void)state;
	memset(text, 'x', sizeof text);
	mkdir(in_folder("a"), 0700);
	put_file("a/kvjit.db", text, sizeof text);
	s = open_store("a", KT_USER);
	put_codes(s, 2);
	assert_int_equal(intact(s, 2), 2);
	assert_non_null(strstr(said, "is damaged"));
	kt_store_close(s);
	snprintf(text, sizeof text, "ls %s | grep -q damaged-", in_folder("a"));
	assert_int_equal(system(text), 0);
}

/* Whatever bytes the file has: no crash, and never other bytes than were put. */
static void bits_may_flip(void **state)
{
	long n, rounds = getenv("KVJIT_LONG") ? 3000 : 150;
	kt_store *s = open_store("a", KT_USER);
	unsigned seed = 5;
	char *bytes;
	FILE *f;

	(void)state;
	put_codes(s, 6);
	kt_store_close(s);
	f = fopen(in_folder("a/kvjit.db"), "rb");
	fseek(f, 0, SEEK_END);
	n = ftell(f);
	rewind(f);
	bytes = malloc((size_t)n);
	assert_int_equal(fread(bytes, 1, (size_t)n, f), n);
	fclose(f);
	for (long i = 0; i < rounds; i++) {
		long at = rand_r(&seed) % n, size = i % 3 ? n : rand_r(&seed) % n;
		char name[40];

		snprintf(name, sizeof name, "b%ld", i);
		mkdir(in_folder(name), 0700);
		bytes[at] ^= (char)(1 << rand_r(&seed) % 8);
		snprintf(name, sizeof name, "b%ld/kvjit.db", i);
		put_file(name, bytes, (size_t)size);
		snprintf(name, sizeof name, "b%ld", i);
		s = open_store(name, i % 2 ? KT_USER : KT_SYSTEM);
		intact(s, 6);
		kt_store_close(s);
		said[0] = 0;
	}
	free(bytes);
}

/* -- several processes --------------------------------------------------------------------- */

static void killed_writers_lose_nothing(void **state)
{
	long rounds = getenv("KVJIT_LONG") ? 200 : 15;
	unsigned seed = 3;

	(void)state;
	for (long r = 0; r < rounds; r++) {
		int pipes[2], last = -1, x;
		kt_trial *t;
		kt_store *s;
		pid_t pid;

		assert_int_equal(pipe(pipes), 0);
		pid = fork();
		if (!pid) {
			s = open_store("a", KT_USER);
			for (int i = 0;; i++) {
				kt_trial one = make_trial(r, i);

				if (kt_trial_put(s, &one) != KT_WHY_none ||
				    write(pipes[1], &i, sizeof i) != sizeof i)
					_exit(1);
			}
		}
		close(pipes[1]);
		usleep((useconds_t)(3000 + rand_r(&seed) % 30000));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		while (read(pipes[0], &x, sizeof x) == sizeof x)
			last = x;
		close(pipes[0]);
		s = open_store("a", KT_USER);
		kt_trial any = make_trial(r, 0);
		unsigned n = kt_trials_of(s, &any.where, &t), seen = 0;

		for (unsigned i = 0; i < n; i++) {
			seen += t[i].run == r;
			kt_trial_free(&t[i]);
		}
		free(t);
		assert_in_range(seen, last + 1, last + 2); /* one may have lost its word only */
		kt_store_close(s);
		assert_string_equal(said, "");
	}
}

static void a_child_opens_anew(void **state)
{
	kt_store *s = open_store("a", KT_USER);
	int status;
	pid_t pid;

	(void)state;
	put_codes(s, 2);
	pid = fork();
	if (!pid) {
		bool ok = intact(s, 2) == 2;

		kt_store_close(s);
		_exit(!ok);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	assert_int_equal(intact(s, 2), 2);
	kt_store_close(s);
}

static void a_claim_has_one_holder(void **state)
{
	kt_store *s = open_store("a", KT_USER);
	kt_key k = key_of(1), other = key_of(2);
	kt_claim a, b;
	bool waited;
	pid_t pid;

	(void)state;
	put_codes(s, 1);
	pid = fork();
	if (!pid) {
		if (kt_claim_take(s, &k, 1000, &a, &waited) != KT_WHY_none)
			_exit(1);
		for (;;)
			pause();
	}
	usleep(100000);
	assert_int_equal(kt_claim_take(s, &other, 100, &b, &waited), KT_WHY_none);
	assert_false(waited);
	kt_claim_drop(&b);
	assert_int_equal(kt_claim_take(s, &k, 100, &b, &waited), KT_WHY_locked);
	assert_true(waited);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(kt_claim_take(s, &k, 100, &b, &waited), KT_WHY_none);
	assert_true(b.fd >= 0);
	kt_claim_drop(&b);
	kt_store_close(s);
}

/* A process that has the file under a lock of SQL's kind until it is told to let go. */
static pid_t lock_file(const char *name, const char *how, int *let_go)
{
	int ready[2], go[2];
	char x = 0;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go), 0);
	pid = fork();
	if (!pid) {
		sqlite3 *db;

		close(go[1]);
		if (sqlite3_open(in_folder(name), &db) ||
		    sqlite3_exec(db, how, NULL, NULL, NULL) || write(ready[1], &x, 1) != 1)
			_exit(1);
		(void)!read(go[0], &x, 1); /* ends when the parent closes its end */
		_exit(0);
	}
	close(ready[1]);
	close(go[0]);
	assert_int_equal(read(ready[0], &x, 1), 1);
	close(ready[0]);
	*let_go = go[1];
	return pid;
}

static void a_lock_at_opening_passes(void **state)
{
	uint8_t bytes[600];
	kt_code c = make_code(1, bytes, sizeof bytes);
	struct timespec begin_at, end_at;
	int let_go, status;
	kt_store *s;
	pid_t pid;

	(void)state;
	mkdir(in_folder("a"), 0700);
	put_file("a/kvjit.db", "", 0);
	pid = lock_file("a/kvjit.db", "BEGIN EXCLUSIVE", &let_go);
	s = open_store("a", KT_USER);
	clock_gettime(CLOCK_MONOTONIC, &begin_at);
	assert_int_equal(kt_code_put(s, &c), KT_WHY_locked);
	clock_gettime(CLOCK_MONOTONIC, &end_at);
	/* what the header promises, and a busy machine's share */
	assert_in_range((end_at.tv_sec - begin_at.tv_sec) * 1000 +
	                    (end_at.tv_nsec - begin_at.tv_nsec) / 1000000,
	                KT_WAIT_MS - 20, KT_WAIT_MS + 150);
	assert_non_null(strstr(said, "stayed locked"));
	close(let_go);
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	usleep(1000 * (KT_AGAIN_MS + 100));
	assert_int_equal(kt_code_put(s, &c), KT_WHY_none);
	assert_int_equal(kt_store_state(s), KT_WHY_none);
	kt_store_close(s);
}

/* Who makes the file keeps others from it for a moment, which they wait for. */
static void a_file_in_the_making_is_waited_for(void **state)
{
	kt_store *s;
	int let_go;
	pid_t pid, later;

	(void)state;
	mkdir(in_folder("a"), 0700);
	put_file("a/kvjit.db", "", 0);
	pid = lock_file("a/kvjit.db", "BEGIN IMMEDIATE", &let_go);
	later = fork();
	if (!later) {
		usleep(60000);
		kill(pid, SIGKILL);
		_exit(0);
	}
	s = open_store("a", KT_USER);
	assert_int_equal(kt_store_state(s), KT_WHY_none);
	assert_true(kt_store_writable(s));
	kt_store_close(s);
	close(let_go);
	waitpid(later, NULL, 0);
	waitpid(pid, NULL, 0);
	assert_string_equal(said, "");
}

/* -- merging ------------------------------------------------------------------------------- */

static bool add_schedule(const kt_schedule *r, void *ctx)
{
	char hex[KT_HEX];

	kt_key_hex(&r->where.program, hex);
	kir_text_add(ctx, "%s %d %d %s %g %lld %lld\n", hex, r->where.threads,
	             r->where.bucket.batch, r->sched, r->ratio, (long long)r->n,
	             (long long)r->when);
	return true;
}

static char *merged(const char *into, const char *const *from, unsigned n)
{
	kt_store *s = open_store(into, KT_USER);
	kir_text t = { 0 };

	for (unsigned i = 0; i < n; i++) {
		kt_store *f = open_store(from[i], KT_SYSTEM);

		assert_int_equal(kt_store_merge(s, f), KT_WHY_none);
		kt_store_close(f);
	}
	assert_true(kt_each_schedule(s, add_schedule, &t));
	kt_store_close(s);
	return t.text;
}

static void order_and_repetition_of_merges_do_not_matter(void **state)
{
	static const char *const orders[][5] = { { "a", "b", "c", "a", "b" },
		                                 { "c", "b", "a", "c", "c" },
		                                 { "b", "c", "a", "b", "a" } };
	char *first = NULL;

	(void)state;
	for (unsigned k = 0; k < 3; k++) {
		kt_store *s = open_store(k == 0 ? "a" : k == 1 ? "b" : "c", KT_USER);

		for (unsigned i = 0; i < 40; i++) {
			kt_schedule r = make_schedule(i * 7 + k * 13);

			assert_int_equal(kt_schedule_put(s, &r), KT_WHY_none);
		}
		kt_store_close(s);
	}
	for (unsigned k = 0; k < 3; k++) {
		char name[10];
		char *all;

		snprintf(name, sizeof name, "to%u", k);
		all = merged(name, orders[k], k == 1 ? 3 : 5);
		if (first)
			assert_string_equal(all, first);
		else
			first = strdup(all);
		free(all);
	}
	free(first);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(what_was_put_is_there),
		TEST(beyond_the_cap_the_cheapest_go),
		TEST(what_does_not_hash_is_refused),
		TEST(what_is_no_file_of_ours_is_left_alone),
		TEST(a_network_file_system_is_only_read),
		TEST(damage_is_set_aside),
		TEST(bits_may_flip),
		TEST(killed_writers_lose_nothing),
		TEST(a_child_opens_anew),
		TEST(a_claim_has_one_holder),
		TEST(a_lock_at_opening_passes),
		TEST(a_file_in_the_making_is_waited_for),
		TEST(order_and_repetition_of_merges_do_not_matter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
