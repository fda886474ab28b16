/* SPDX-License-Identifier: Apache-2.0 */
/* test_pack.c -- packs: what is written is read again, the same inputs give the same bytes, and
 * nothing but the signed bytes of a trusted, current pack is ever handed out as code.
 *
 * KVJIT_LONG=1 also times opening a signed pack of 10,000 kernels (20 MB in $KVJIT_TMP) and one
 * lookup in it, in new processes.
 */
#include "support_pack.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* -- what is written is read --------------------------------------------------------- */

static bool count_code(const kt_code *r, void *ctx)
{
	assert_true(r->size > 0 && r->bytes);
	return ++*(unsigned *)ctx != 7;
}

static void round_trip(void **state)
{
	enum { N = 300 };
	static uint8_t bytes[N][100];
	static kt_schedule sched[N];
	static kt_code code[N];
	kt_pack_input in = { .head = { .name = "attention",
		                       .version = 5,
		                       .expires = NOW + 1,
		                       .nschedule = N,
		                       .ncode = N },
		             .schedule = sched,
		             .code = code };
	char why[300];
	kt_schedule *list;
	kt_code got;
	int64_t checked;
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		sched[i] = pk_make_schedule(i / 3); /* three machines' worth of one program */
		sched[i].where.machine = pk_key_of("machine", i % 3);
		code[i] = pk_make_code(i, bytes[i], 4 + i % 97);
	}
	pk_write_pack("round.kvpack", &in);
	pk_sign_pack("round.kvpack");
	kt_pack *p = pk_open_pack("round.kvpack");
	assert_string_equal(pk_said, "");
	pk_assert_reason(kt_pack_state(p), KT_WHY_none);
	pk_assert_reason(kt_pack_trust(p), KT_WHY_none);
	assert_memory_equal(kt_pack_signer(p), pk_pub.id, 8);
	assert_string_equal(kt_pack_head_of(p)->name, "attention");
	assert_int_equal(kt_pack_head_of(p)->version, 5);
	assert_int_equal(kt_pack_head_of(p)->expires, NOW + 1);
	assert_int_equal(kt_pack_head_of(p)->nschedule, N);
	assert_int_equal(kt_pack_head_of(p)->ncode, N);
	for (unsigned i = 0; i < N; i++) {
		pk_assert_reason(kt_pack_code(p, &code[i].key, &got), KT_WHY_none);
		pk_assert_same_code(&got, &code[i]);
		/* what differs from build to build isn't in a pack */
		assert_true(!got.compile_us && !got.uses && !got.last_used);
		kt_code_free(&got);
		assert_int_equal(kt_pack_schedules(p, &sched[i].where.program,
		                                   &sched[i].where.machine, &list),
		                 1);
		pk_assert_same_schedule(&list[0], &sched[i]);
		kt_schedule_free(&list[0]);
		free(list);
	}
	assert_int_equal(kt_pack_schedules(p, &sched[0].where.program, NULL, &list), 3);
	for (unsigned i = 0; i < 3; i++)
		kt_schedule_free(&list[i]);
	free(list);
	kt_key none = pk_key_of("nothing", 0);
	pk_assert_reason(kt_pack_code(p, &none, &got), KT_WHY_miss);
	assert_int_equal(kt_pack_schedules(p, &none, NULL, &list), 0);
	/* a schedule's key isn't one of code, nor the other way round */
	pk_assert_reason(kt_pack_code(p, &sched[0].where.program, &got), KT_WHY_miss);
	assert_int_equal(kt_pack_schedules(p, &code[0].key, NULL, &list), 0);
	assert_true(kt_pack_each_code(p, count_code, &n));
	assert_int_equal(n, 7); /* stopped there */
	n = 100;
	assert_true(kt_pack_each_code(p, count_code, &n));
	assert_int_equal(n, 100 + N);
	pk_assert_reason(kt_pack_verify(p, why, sizeof(why), &checked), KT_WHY_none);
	assert_int_equal(checked, 2 * N);
	kt_pack_close(p);
	kt_pack_close(NULL);
}

static void same_inputs_same_bytes(void **state)
{
	kt_pack_input in = pk_small_input();
	size_t n, m;
	char root[KT_HEX];
	kt_key k;

	(void)state;
	pk_write_pack("a.kvpack", &in);
	uint8_t *a = pk_get_file("a.kvpack", &n);
	/* another order, everything twice, other uses and compile times */
	kt_schedule s[3] = { pk_schedules[1], pk_schedules[0], pk_schedules[1] };
	kt_code c[4] = { pk_codes[1], pk_codes[0], pk_codes[1], pk_codes[0] };
	c[2].compile_us = c[2].uses = c[2].last_used = 1;
	in = (kt_pack_input){
		.head = { .name = "attention", .version = 5, .nschedule = 3, .ncode = 4 },
		.schedule = s,
		.code = c
	};
	pk_write_pack("b.kvpack", &in);
	uint8_t *b = pk_get_file("b.kvpack", &m);
	assert_int_equal(n, m);
	assert_memory_equal(a, b, n);
	/* and on every machine: this is what it was on the first */
	kt_hash(a, n, &k);
	kt_key_hex(&k, root);
	assert_string_equal(root,
	                    "db7d3b1e5e841636dfe859e49ec82c5427e8c9fc14104a5a1adda14c7c7e5cc3");
	free(a);
	free(b);
	/* two codes under one key: the same one stays, whatever the order */
	uint8_t other[CODE_BYTES];
	kt_code two[2] = { pk_codes[0], pk_make_code(7, other, CODE_BYTES) };
	two[1].key = two[0].key;
	in.head.nschedule = 0;
	in.head.ncode = 2;
	in.code = two;
	pk_write_pack("a.kvpack", &in);
	two[1] = pk_codes[0];
	two[0] = pk_make_code(7, other, CODE_BYTES);
	two[0].key = two[1].key;
	pk_write_pack("b.kvpack", &in);
	a = pk_get_file("a.kvpack", &n);
	b = pk_get_file("b.kvpack", &m);
	assert_int_equal(n, m);
	assert_memory_equal(a, b, n);
	free(a);
	free(b);
}

static void empty_pack(void **state)
{
	kt_pack_input in = { .head = { .name = "nothing", .version = 1 } };
	char why[200];

	(void)state;
	pk_write_pack("empty.kvpack", &in);
	pk_sign_pack("empty.kvpack");
	kt_pack *p = pk_open_pack("empty.kvpack");
	pk_assert_reason(kt_pack_trust(p), KT_WHY_none);
	pk_assert_reason(kt_pack_verify(p, why, sizeof(why), NULL), KT_WHY_none);
	kt_pack_close(p);
}

static void writer_refuses(void **state)
{
	static const struct {
		const char *name;
		int64_t version, expires;
		const char *words;
	} bad[] = {
		{ "", 1, 0, "1 to 63 of a-z" },    { "Attention", 1, 0, "1 to 63 of a-z" },
		{ "a b", 1, 0, "1 to 63 of a-z" }, { "a/b", 1, 0, "1 to 63 of a-z" },
		{ "a", 0, 0, "a number from 1" },  { "a", 1, -1, "expires after 1970" },
	};
	char why[400];
	kt_pack_input in = pk_small_input();

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		strcpy(in.head.name, bad[i].name);
		in.head.version = bad[i].version;
		in.head.expires = bad[i].expires;
		assert_false(kt_pack_write(pk_in_folder("x.kvpack"), &in, why, sizeof(why)));
		pk_assert_has(why, bad[i].words);
	}
	in = pk_small_input();
	memset(in.head.name, 'a', sizeof(in.head.name));
	assert_false(kt_pack_write(pk_in_folder("x.kvpack"), &in, why, sizeof(why)));
	pk_assert_has(why, "1 to 63 of a-z");
	in = pk_small_input();
	pk_code_bytes[1][5] ^= 1;
	assert_false(kt_pack_write(pk_in_folder("x.kvpack"), &in, why, sizeof(why)));
	pk_assert_has(why, "its hash isn't that of its bytes");
	in = pk_small_input();
	pk_schedules[0].where.bucket.ctx = KT_NCTX;
	assert_false(kt_pack_write(pk_in_folder("x.kvpack"), &in, why, sizeof(why)));
	pk_assert_has(why, "out of range; problem attn q=bf16");
	in = pk_small_input();
	assert_false(kt_pack_write(pk_in_folder("no/x.kvpack"), &in, why, sizeof(why)));
	pk_assert_has(why, "No such file");
	assert_false(kt_pack_sign(pk_in_folder("x.kvpack"), &pk_sec, why, sizeof(why)));
	pk_assert_has(why, "doesn't exist");
	assert_int_equal(access(pk_in_folder("x.kvpack"), F_OK), -1);
}

/* -- who isn't trusted --------------------------------------------------------------- */

static bool no_bytes(const kt_code *r, void *ctx)
{
	assert_null(r->bytes);
	assert_int_equal(r->size, 0);
	++*(unsigned *)ctx;
	return true;
}

/* Code of nobody in particular: it would trap, were it ever run; here it isn't even read. */
static void unsigned_code_is_never_handed_out(void **state)
{
	kt_pack_input in = pk_small_input();
	static uint8_t trap[CODE_BYTES];
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < sizeof(trap); i += 2)
		memcpy(trap + i, "\x0f\x0b", 2); /* ud2 */
	for (unsigned i = 0; i < NCODE; i++) {
		pk_codes[i].bytes = trap;
		kt_hash(trap, sizeof(trap), &pk_codes[i].hash);
	}
	pk_write_pack("trap.kvpack", &in);
	kt_pack *p = pk_open_pack("trap.kvpack");
	pk_assert_schedules_only(p, KT_WHY_unsigned_code, "trap.kvpack.minisig");
	assert_null(kt_pack_signer(p));
	assert_true(kt_pack_each_code(p, no_bytes, &n));
	assert_int_equal(n, NCODE);
	kt_key none = pk_key_of("nothing", 0);
	kt_code c;
	pk_assert_reason(kt_pack_code(p, &none, &c), KT_WHY_miss);
	kt_pack_close(p);
	/* signed, but nobody said whom to trust */
	pk_sign_pack("trap.kvpack");
	kt_pack_options o = { .path = pk_in_folder("trap.kvpack"),
		              .now = NOW,
		              .log = { pk_keep, NULL } };
	p = kt_pack_open(&o);
	pk_assert_schedules_only(p, KT_WHY_unknown_key, "key ");
	kt_pack_close(p);
}

static void unknown_key(void **state)
{
	kt_public other;
	kt_secret theirs;
	char why[300];

	(void)state;
	pk_small_pack("unknown.kvpack");
	assert_true(kt_keypair(&other, &theirs));
	assert_true(kt_pack_sign(pk_in_folder("unknown.kvpack"), &theirs, why, sizeof(why)));
	kt_pack *p = pk_open_pack("unknown.kvpack");
	pk_assert_schedules_only(p, KT_WHY_unknown_key, "key ");
	assert_memory_equal(kt_pack_signer(p), other.id, 8);
	kt_pack_close(p);
	/* and one that only claims the trusted key's number */
	memcpy(theirs.id, pk_pub.id, 8);
	assert_true(kt_pack_sign(pk_in_folder("unknown.kvpack"), &theirs, why, sizeof(why)));
	p = pk_open_pack("unknown.kvpack");
	pk_assert_schedules_only(p, KT_WHY_bad_signature, "key ");
	kt_pack_close(p);
}

/* A good signature, of something else. */
static void bad_signature(void **state)
{
	kt_pack_input in = pk_small_input();

	(void)state;
	pk_small_pack("bad.kvpack");
	in.head.version = 6;
	pk_write_pack("bad.kvpack", &in);
	kt_pack *p = pk_open_pack("bad.kvpack");
	pk_assert_schedules_only(p, KT_WHY_bad_signature, "key ");
	kt_pack_close(p);
	pk_small_pack("bad2.kvpack");
	pk_put_text("bad2.kvpack.minisig", "nothing of the kind\n");
	p = pk_open_pack("bad2.kvpack");
	pk_assert_schedules_only(p, KT_WHY_bad_signature, "four lines");
	kt_pack_close(p);
}

static void signature_that_cant_be_read(void **state)
{
	kt_pack *p;

	(void)state;
	pk_small_pack("sigfifo.kvpack");
	assert_int_equal(unlink(pk_in_folder("sigfifo.kvpack.minisig")), 0);
	assert_int_equal(mkfifo(pk_in_folder("sigfifo.kvpack.minisig"), 0600), 0);
	p = pk_open_pack("sigfifo.kvpack");
	pk_assert_schedules_only(p, KT_WHY_unsigned_code, "its signature isn't a regular file");
	kt_pack_close(p);
	pk_small_pack("siglink.kvpack");
	assert_int_equal(rename(pk_in_folder("siglink.kvpack.minisig"), pk_in_folder("moved")),
	                 0);
	assert_int_equal(symlink("moved", pk_in_folder("siglink.kvpack.minisig")), 0);
	p = pk_open_pack("siglink.kvpack");
	pk_assert_schedules_only(p, KT_WHY_unsigned_code, "its signature is a symbolic link");
	kt_pack_close(p);
	pk_small_pack("siglong.kvpack");
	static char text[5000];
	memset(text, 'x', sizeof(text));
	pk_put_file("siglong.kvpack.minisig", text, sizeof(text));
	p = pk_open_pack("siglong.kvpack");
	pk_assert_schedules_only(p, KT_WHY_bad_signature, "four lines");
	kt_pack_close(p);
}

static void expired(void **state)
{
	static const struct {
		int64_t expires, now;
		kt_reason why;
		const char *words;
	} when[] = {
		{ 0, NOW, KT_WHY_none, "" },
		{ NOW + 1, NOW, KT_WHY_none, "" },
		{ NOW, NOW, KT_WHY_expired, "that was on 2027-01-15" },
		{ NOW - 86400, NOW, KT_WHY_expired, "that was on 2027-01-14" },
		/* a clock that was never set doesn't make a pack young again */
		{ NOW + 1, 0, KT_WHY_expired, "the clock isn't set: it says 1970-01-01" },
		{ NOW + 1, -5, KT_WHY_expired, "the clock isn't set: it says 1969-12-31" },
		{ 100, 50, KT_WHY_expired, "the clock isn't set: it says 1970-01-01" },
		{ 0, 0, KT_WHY_none, "" },
		{ INT64_MAX, INT64_MAX, KT_WHY_expired, "that was on" },
	};
	char name[30];

	(void)state;
	for (unsigned i = 0; i < sizeof(when) / sizeof(when[0]); i++) {
		kt_pack_input in = pk_small_input();
		snprintf(name, sizeof(name), "expired%u.kvpack", i);
		in.head.expires = when[i].expires;
		pk_write_pack(name, &in);
		pk_sign_pack(name);
		kt_pack_options o = { .path = pk_in_folder(name),
			              .trust = pk_trust,
			              .now = when[i].now,
			              .log = { pk_keep, NULL } };
		pk_said[0] = '\0';
		kt_pack *p = kt_pack_open(&o);
		if (when[i].why)
			pk_assert_schedules_only(p, when[i].why, when[i].words);
		else
			pk_assert_reason(kt_pack_trust(p), KT_WHY_none);
		kt_pack_close(p);
	}
}

static int64_t seen_version(const char *name, const uint8_t id[8], void *ctx)
{
	assert_string_equal(name, "attention");
	assert_memory_equal(id, pk_pub.id, 8);
	return *(int64_t *)ctx;
}

static void rolled_back(void **state)
{
	int64_t seen = 5;
	kt_pack *p;

	(void)state;
	pk_small_pack("rolled.kvpack");
	kt_pack_options o = { .path = pk_in_folder("rolled.kvpack"),
		              .trust = pk_trust,
		              .now = NOW,
		              .seen = seen_version,
		              .ctx = &seen,
		              .log = { pk_keep, NULL } };
	p = kt_pack_open(&o);
	pk_assert_reason(kt_pack_trust(p), KT_WHY_none);
	kt_pack_close(p);
	seen = 6;
	pk_said[0] = '\0';
	p = kt_pack_open(&o);
	pk_assert_schedules_only(p, KT_WHY_rolled_back,
	                         "version 5 of attention, and 6 is the least");
	kt_pack_close(p);
	/* by the administrator's word */
	pk_small_pack("minimum.kvpack");
	kt_trust *t = pk_trust_of("minimum attention 7\nminimum other 9\n");
	o.trust = t;
	o.path = pk_in_folder("minimum.kvpack");
	pk_said[0] = '\0';
	p = kt_pack_open(&o);
	pk_assert_schedules_only(p, KT_WHY_rolled_back,
	                         "version 5 of attention, and 7 is the least");
	kt_pack_close(p);
	kt_trust_free(t);
}

static void revoked(void **state)
{
	char line[100], hex[KT_HEX], why[200];
	unsigned n = 0;
	kt_code c;

	(void)state;
	pk_small_pack("revoked.kvpack");
	kt_key_hex(&pk_codes[0].hash, hex);
	snprintf(line, sizeof(line), "revoke %s\n", hex);
	kt_trust *t = pk_trust_of(line);
	kt_pack_options o = { .path = pk_in_folder("revoked.kvpack"),
		              .trust = t,
		              .now = NOW,
		              .log = { pk_keep, NULL } };
	pk_said[0] = '\0';
	kt_pack *p = kt_pack_open(&o);
	pk_assert_reason(kt_pack_trust(p), KT_WHY_none);
	pk_assert_reason(kt_pack_code(p, &pk_codes[0].key, &c), KT_WHY_revoked);
	pk_assert_has(pk_said, "was revoked");
	pk_assert_reason(kt_pack_code(p, &pk_codes[1].key, &c), KT_WHY_none);
	kt_code_free(&c);
	assert_true(kt_pack_each_code(p, count_code, &n));
	assert_int_equal(n, NCODE - 1);
	pk_assert_reason(kt_pack_verify(p, why, sizeof(why), NULL), KT_WHY_revoked);
	kt_pack_close(p);
	kt_trust_free(t);
}

/* -- what isn't a pack --------------------------------------------------------------- */

static void not_a_file(void **state)
{
	kt_pack *p;

	(void)state;
	p = pk_open_pack("absent.kvpack");
	pk_assert_nothing(p, KT_WHY_absent);
	assert_string_equal(pk_said, "");
	kt_pack_close(p);
	assert_int_equal(mkfifo(pk_in_folder("fifo.kvpack"), 0600), 0);
	p = pk_open_pack("fifo.kvpack");
	pk_assert_nothing(p, KT_WHY_not_file);
	pk_assert_has(pk_said, "isn't a regular file");
	kt_pack_close(p);
	p = pk_open_pack(".");
	pk_assert_nothing(p, KT_WHY_not_file);
	kt_pack_close(p);
	pk_small_pack("real.kvpack");
	assert_int_equal(symlink("real.kvpack", pk_in_folder("link.kvpack")), 0);
	p = pk_open_pack("link.kvpack");
	pk_assert_nothing(p, KT_WHY_symlink);
	pk_assert_has(pk_said, "is a symbolic link");
	kt_pack_close(p);
	if (geteuid() == 0)
		print_message("SKIPPED: nothing is unreadable to root\n");
	else {
		assert_int_equal(chmod(pk_in_folder("real.kvpack"), 0), 0);
		p = pk_open_pack("real.kvpack");
		pk_assert_nothing(p, KT_WHY_unreadable);
		kt_pack_close(p);
	}
}

static void not_a_pack(void **state)
{
	size_t n;
	kt_pack *p;

	(void)state;
	pk_small_pack("newer.kvpack");
	uint8_t *b = pk_get_file("newer.kvpack", &n);
	b[8] = KT_PACK_VERSION + 1;
	pk_put_file("newer.kvpack", b, n);
	p = pk_open_pack("newer.kvpack");
	pk_assert_nothing(p, KT_WHY_newer);
	pk_assert_has(pk_said, "was made by a newer kvjit");
	kt_pack_close(p);
	b[8] = 0;
	pk_put_file("older.kvpack", b, n);
	p = pk_open_pack("older.kvpack");
	pk_assert_nothing(p, KT_WHY_corrupt);
	kt_pack_close(p);
	b[8] = KT_PACK_VERSION;
	pk_put_file("longer.kvpack", b, n + 1);
	p = pk_open_pack("longer.kvpack");
	pk_assert_nothing(p, KT_WHY_corrupt);
	pk_assert_has(pk_said, "shorter or longer");
	kt_pack_close(p);
	b[48] = '\n'; /* names go to the log */
	pk_put_file("name.kvpack", b, n);
	p = pk_open_pack("name.kvpack");
	pk_assert_nothing(p, KT_WHY_corrupt);
	kt_pack_close(p);
	pk_put_text("text.kvpack", "SQLite format 3");
	p = pk_open_pack("text.kvpack");
	pk_assert_nothing(p, KT_WHY_corrupt);
	pk_assert_has(pk_said, "shorter than a pack's head");
	kt_pack_close(p);
	memset(b, 'x', n);
	pk_put_file("other.kvpack", b, n);
	p = pk_open_pack("other.kvpack");
	pk_assert_nothing(p, KT_WHY_corrupt);
	pk_assert_has(pk_said, "it isn't a pack");
	kt_pack_close(p);
	free(b);
}

/* -- minisign ------------------------------------------------------------------------ */

/* A signature without our comment: over the file as a whole, when it is opened. */
static void signature_over_the_file(void **state)
{
	char text[2000], why[200];
	size_t n;
	kt_code c;

	(void)state;
	pk_small_pack("whole.kvpack");
	int fd = open(pk_in_folder("whole.kvpack"), O_RDONLY);
	assert_true(
	    kt_sign_file(&pk_sec, fd, "timestamp:1\tfile:whole.kvpack", text, sizeof(text)));
	close(fd);
	pk_put_text("whole.kvpack.minisig", text);
	kt_pack *p = pk_open_pack("whole.kvpack");
	pk_assert_reason(kt_pack_trust(p), KT_WHY_none);
	pk_assert_reason(kt_pack_code(p, &pk_codes[0].key, &c), KT_WHY_none);
	kt_code_free(&c);
	pk_assert_reason(kt_pack_verify(p, why, sizeof(why), NULL), KT_WHY_none);
	kt_pack_close(p);
	uint8_t *b = pk_get_file("whole.kvpack", &n);
	b[n - 1] ^= 1;
	pk_put_file("whole.kvpack", b, n);
	p = pk_open_pack("whole.kvpack");
	pk_assert_schedules_only(p, KT_WHY_bad_signature, "key ");
	kt_pack_close(p);
	free(b);
}

static bool minisign(const char *words)
{
	char command[3000];

	snprintf(command, sizeof(command), "cd '%s' && minisign %s >minisign.log 2>&1",
	         pk_in_folder("."), words);
	int status = system(command);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void minisign_agrees(void **state)
{
	char text[2000], comment[500];
	kt_pack *p;

	(void)state;
	if (system("command -v minisign >/dev/null")) {
		print_message("SKIPPED: minisign isn't installed\n");
		skip();
	}
	pk_small_pack("mini.kvpack");
	kt_public_print(&pk_pub, text, sizeof(text));
	pk_put_text("mini.pub", text);
	kt_secret_print(&pk_sec, text, sizeof(text));
	pk_put_text("mini.key", text);
	assert_true(minisign("-V -H -p mini.pub -m mini.kvpack"));
	p = pk_open_pack("mini.kvpack");
	kt_pack_comment(p, comment, sizeof(comment));
	kt_pack_close(p);
	/* its signatures, plain, legacy, and with the comment that makes opening cheap */
	for (unsigned i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), "-S %s -s mini.key -m mini.kvpack %s%s%s",
		         i == 1 ? "-l" : "", i == 2 ? "-t '" : "", i == 2 ? comment : "",
		         i == 2 ? "'" : "");
		assert_true(minisign(text));
		p = pk_open_pack("mini.kvpack");
		pk_assert_reason(kt_pack_trust(p), KT_WHY_none);
		assert_int_equal(pk_intact(p), NSCHED + NCODE);
		kt_pack_close(p);
	}
}

/* -- time ---------------------------------------------------------------------------- */

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_time(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* What a new process does: trust file, pack, one lookup. Prints microseconds and KiB. */
static int open_once(const char *path, const char *trusted, unsigned i)
{
	double t0 = seconds();
	kt_trust *t = kt_trust_read(trusted, NULL);
	kt_pack_options o = { .path = path, .trust = t, .now = NOW };
	kt_key k = pk_key_of("code", i);
	kt_code c = { 0 };
	kt_pack *p = kt_pack_open(&o);
	kt_reason why = kt_pack_code(p, &k, &c);
	double t1 = seconds();
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	printf("%.1f %ld %s\n", (t1 - t0) * 1e6, u.ru_maxrss, kt_reasons[why].name);
	return why != KT_WHY_none || c.size != 2048;
}

static void ten_thousand_kernels(void **state)
{
	enum { N = 10000, BYTES = 2048, RUNS = 101 };
	kt_pack_input in = { .head = { .name = "attention", .version = 5, .ncode = N } };
	kt_code *code = calloc(N, sizeof(*code));
	uint8_t *bytes = malloc((size_t)N * BYTES);
	double us[RUNS], inner[RUNS], t0, written;
	long kib = 0, least = 0;

	(void)state;
	if (!getenv("KVJIT_LONG")) {
		print_message("SKIPPED: KVJIT_LONG=1 measures this\n");
		free(code);
		free(bytes);
		skip();
	}
	for (unsigned i = 0; i < N; i++)
		code[i] = pk_make_code(i, bytes + (size_t)i * BYTES, BYTES);
	in.code = code;
	t0 = seconds();
	pk_write_pack("big.kvpack", &in);
	written = seconds() - t0;
	pk_sign_pack("big.kvpack");
	double both = seconds() - t0;
	kt_trust_free(pk_trust_of(""));
	for (unsigned i = 0; i < RUNS; i++) {
		char command[1500], line[100], reason[40];
		snprintf(command, sizeof(command), "/proc/%ld/exe --open '%s' '%s' %u",
		         (long)getpid(), pk_in_folder("big.kvpack"), pk_in_folder("trusted"),
		         i * 97 % N);
		FILE *f = popen(command, "r");
		assert_non_null(f);
		assert_non_null(fgets(line, sizeof(line), f));
		assert_int_equal(pclose(f), 0);
		assert_int_equal(sscanf(line, "%lf %ld %39s", &us[i], &kib, reason), 3);
		least = !i || kib < least ? kib : least;
		t0 = seconds();
		kt_pack *p = pk_open_pack("big.kvpack");
		kt_code c;
		pk_assert_reason(kt_pack_code(p, &code[i * 89 % N].key, &c), KT_WHY_none);
		inner[i] = (seconds() - t0) * 1e6;
		kt_code_free(&c);
		kt_pack_close(p);
	}
	qsort(us, RUNS, sizeof(us[0]), by_time);
	qsort(inner, RUNS, sizeof(inner[0]), by_time);
	print_message(
	    "10,000 kernels of 2 KiB: written in %.2f s, checked and signed in %.2f s; "
	    "trust file, open and one lookup in a new process: median %.0f us, 9 of 10 "
	    "below %.0f us, %ld KiB resident; again in the same process: %.0f us\n",
	    written, both - written, us[RUNS / 2], us[RUNS * 9 / 10], least, inner[RUNS / 2]);
	assert_true(us[RUNS / 2] <= 400);
	free(code);
	free(bytes);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(same_inputs_same_bytes),
		cmocka_unit_test(empty_pack),
		cmocka_unit_test(writer_refuses),
		cmocka_unit_test(unsigned_code_is_never_handed_out),
		cmocka_unit_test(unknown_key),
		cmocka_unit_test(bad_signature),
		cmocka_unit_test(signature_that_cant_be_read),
		cmocka_unit_test(expired),
		cmocka_unit_test(rolled_back),
		cmocka_unit_test(revoked),
		cmocka_unit_test(not_a_file),
		cmocka_unit_test(not_a_pack),
		cmocka_unit_test(signature_over_the_file),
		cmocka_unit_test(minisign_agrees),
		cmocka_unit_test(ten_thousand_kernels),
	};

	if (argc == 5 && !strcmp(argv[1], "--open"))
		return open_once(argv[2], argv[3], (unsigned)atoi(argv[4]));
	return cmocka_run_group_tests_name("pack", tests, begin_packs, end_packs);
}
