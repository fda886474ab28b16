/* SPDX-License-Identifier: Apache-2.0 */
/* test_sign.c -- minisign's formats: what minisign made is read, what we make is what it would
 * accept, and nothing that was changed is. Where minisign is installed both programs verify
 * each other's files; the texts below are of minisign 0.11, so that it needn't be.
 */
#include "../tune/sign.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* -- what minisign made, of a file "hello\n" ----------------------------------------------- */

static const char plain_public[] = "untrusted comment: minisign public key 787DED3A216C24A2\n"
                                   "RWSiJGwhOu19eMnmGhfrpDtnsgIT6RrfMXLITTGoH773Y/yuVLCcB3AM\n";
static const char plain_secret[] = "untrusted comment: minisign encrypted secret key\n"
                                   "RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                                   "AAAAAAAAAAAAAoiRsITrtfXiMrSs4GTUhK3KA1W02kYX+4Z"
                                   "TAQPgy969HwEyTCPGy1snmGhfrpDtnsgIT6RrfMXLITTGoH773Y/"
                                   "yuVLCcB3AMAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
static const char prehashed_sig[] =
    "untrusted comment: signature from minisign secret key\n"
    "RUSiJGwhOu19eM92od5X52AypiG9rbIynJfftblQhq5Y3huMPZsRRdIx2v4TC8xAgA6cUkxcJtZTslxg6VS2/"
    "SZd+Pb1yvO6Owc=\n"
    "trusted comment: timestamp:1795538778\tfile:f\thashed\n"
    "uGk/"
    "1rIiX0exN3nTIa0r9w04a1Wmkpw8jafo+JnlaNIitYLR8mRgC+v81vdnikFNYQkokKCiEebwCHACLjmfAA==\n";
static const char legacy_sig[] = "untrusted comment: signature from minisign secret key\n"
                                 "RWSiJGwhOu19eMqg3ZxUA0JEo7cxqQE4nmxRHZo6N61PeZ9kbrU03vE/"
                                 "o4YHuRfzqPlLW9uPGVY6MWCg8ldXNz+vs43ek6nHPgE=\n"
                                 "trusted comment: timestamp:1795538778\tfile:f\n"
                                 "He5/azv0kxjyrgVo8cYEkoBF1TNPzWeuNfmfgyfrRRE9eLaXY0V5BNJYO0/"
                                 "84n1D6czLJuPRQ9WgzuwV0ttXCQ==\n";
/* Made where little memory was to be had, so that the password costs 64 MiB, not 1 GiB. */
static const char locked_secret[] =
    "untrusted comment: minisign encrypted secret key\n"
    "RWRTY0IyK9N3PAEX7In9/"
    "k8qczSTRdLG4oJVB8H7HonMB5gGRnQAACAAAAAAAAAAAAQAAAAAk3e7NSqQrAA4S9kmRAhqKQsU0VigzPFFMe"
    "m78LVkM0qNiVFjKgeY7mqjTCo/ZIy59iezXhGj/FMlathFvYzJ2zDEyxyU2DG0H2jjtP7hVLkdaLPD+6P1/"
    "F00R7ZsFqDywTJ8AsHzoKA=\n";
static const char locked_public[] = "RWSEyw9e2oaBv0yuHuY8z79kqvlhyoEyCkx5p/ta1hvfpUqYxkj1hVvV";
static const char password[] = "geheim";

/* -- a folder of its own ------------------------------------------------------------------- */

static char folder[400];

static const char *in_folder(const char *name)
{
	static char path[4][600];
	static unsigned next;
	char *p = path[next++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", folder, name);
	return p;
}

static int make_folder(void **state)
{
	const char *tmp = getenv("KVJIT_TMP");

	(void)state;
	snprintf(folder, sizeof(folder), "%s/sign.%ld", tmp ? tmp : "/tmp", (long)getpid());
	return mkdir(folder, 0700);
}

static int drop_folder(void **state)
{
	char command[500];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

static void put_file(const char *name, const void *bytes, size_t n, mode_t mode)
{
	int fd = open(in_folder(name), O_WRONLY | O_CREAT | O_TRUNC, mode);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), (ssize_t)n);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void put_text(const char *name, const char *text)
{
	put_file(name, text, strlen(text), 0600);
}

static int open_file(const char *name)
{
	int fd = open(in_folder(name), O_RDONLY);

	assert_true(fd >= 0);
	return fd;
}

static char *get_text(const char *name)
{
	char *text = calloc(1, 8192);
	int fd = open_file(name);

	assert_non_null(text);
	assert_true(read(fd, text, 8191) > 0);
	close(fd);
	return text;
}

static void assert_has(const char *sentence, const char *words)
{
	if (!strstr(sentence, words))
		fail_msg("'%s' doesn't say '%s'", sentence, words);
}

/* -- minisign's files ---------------------------------------------------------------------- */

static void reads_what_minisign_wrote(void **state)
{
	kt_public pub, other;
	kt_secret sec;
	kt_signature ed, legacy;
	char why[200];

	(void)state;
	put_text("f", "hello\n");
	int fd = open_file("f");
	assert_true(kt_public_parse(plain_public, &pub, why, sizeof(why)));
	assert_true(kt_public_parse(locked_public, &other, why, sizeof(why)));
	assert_true(kt_secret_parse(plain_secret, NULL, &sec, why, sizeof(why)));
	assert_memory_equal(sec.id, pub.id, 8);
	assert_memory_equal(sec.key + 32, pub.key, 32);
	assert_true(kt_signature_parse(prehashed_sig, &ed, why, sizeof(why)));
	assert_true(ed.prehashed);
	assert_has(ed.comment, "file:f\thashed");
	assert_true(kt_verify_comment(&pub, &ed));
	assert_true(kt_verify_file(&pub, &ed, fd));
	assert_true(kt_signature_parse(legacy_sig, &legacy, why, sizeof(why)));
	assert_false(legacy.prehashed);
	assert_true(kt_verify_file(&pub, &legacy, fd));
	/* neither is the other's, nor by another key */
	ed.prehashed = false;
	legacy.prehashed = true;
	assert_false(kt_verify_file(&pub, &ed, fd));
	assert_false(kt_verify_file(&pub, &legacy, fd));
	memcpy(other.id, pub.id, 8);
	assert_false(kt_verify_comment(&other, &ed));
	close(fd);
}

static void password_protects(void **state)
{
	kt_public pub;
	kt_secret sec;
	char why[200];

	(void)state;
	assert_true(kt_public_parse(locked_public, &pub, why, sizeof(why)));
	assert_false(kt_secret_parse(locked_secret, NULL, &sec, why, sizeof(why)));
	assert_has(why, "protected by a password");
	assert_false(kt_secret_parse(locked_secret, "falsch", &sec, why, sizeof(why)));
	assert_has(why, "isn't that of the secret key");
	assert_true(kt_secret_parse(locked_secret, password, &sec, why, sizeof(why)));
	assert_memory_equal(sec.id, pub.id, 8);
	assert_memory_equal(sec.key + 32, pub.key, 32);
	/* a password where none is needed is not an error */
	assert_true(kt_secret_parse(plain_secret, password, &sec, why, sizeof(why)));
	kt_secret_wipe(&sec);
	for (unsigned i = 0; i < sizeof(sec.key); i++)
		assert_int_equal(sec.key[i], 0);
}

/* -- our files ----------------------------------------------------------------------------- */

static void keys_survive_printing(void **state)
{
	kt_public pub, pub2;
	kt_secret sec, sec2;
	char text[600], why[200];

	(void)state;
	assert_true(kt_keypair(&pub, &sec));
	kt_public_print(&pub, text, sizeof(text));
	assert_true(kt_public_parse(text, &pub2, why, sizeof(why)));
	assert_memory_equal(&pub, &pub2, sizeof(pub));
	kt_secret_print(&sec, text, sizeof(text));
	assert_true(kt_secret_parse(text, NULL, &sec2, why, sizeof(why)));
	assert_memory_equal(&sec, &sec2, sizeof(sec));
}

static void refuses_keys_that_are_none(void **state)
{
	static const struct {
		const char *text, *words;
	} bad_public[] = {
		{ "", "base64" },
		{ "untrusted comment: x\n", "base64" },
		{ "RWSiJGwhOu19", "base64" },
		{ "RWSiJGwhOu19eMnmGhfrpDtnsgIT6RrfMXLITTGoH773Y/yuVLCcB3AM\nmore", "base64" },
		{ "QUSiJGwhOu19eMnmGhfrpDtnsgIT6RrfMXLITTGoH773Y/yuVLCcB3AM", "RW..." },
	};
	kt_public pub;
	kt_secret sec;
	char why[200], text[600];

	(void)state;
	for (unsigned i = 0; i < sizeof(bad_public) / sizeof(bad_public[0]); i++) {
		assert_false(kt_public_parse(bad_public[i].text, &pub, why, sizeof(why)));
		assert_has(why, bad_public[i].words);
	}
	assert_false(kt_secret_parse("RWQ=", NULL, &sec, why, sizeof(why)));
	assert_has(why, "212 characters");
	/* every changed character of a key without password: another algorithm, or damaged */
	strcpy(text, plain_secret);
	char *line = strchr(text, '\n') + 1;
	for (size_t i = 0; line[i] != '\n'; i++) {
		char was = line[i];
		line[i] = was == 'A' ? 'B' : 'A';
		bool ok = kt_secret_parse(text, NULL, &sec, why, sizeof(why));
		/* salt and limits of no password, and the key's number, say nothing */
		bool idle = i >= 8 && i < 84;
		if (ok && !idle)
			fail_msg("character %zu of a secret key doesn't matter", i);
		line[i] = was;
	}
	/* a key file that asks for 2^56 bytes of memory */
	strcpy(text, locked_secret);
	line = strchr(text, '\n') + 1;
	memcpy(line + 68, "AAAB", 4);
	assert_false(kt_secret_parse(text, password, &sec, why, sizeof(why)));
	assert_has(why, "4 GiB");
}

static void signs_and_verifies(void **state)
{
	uint8_t *bytes = malloc(200000);
	kt_public pub;
	kt_secret sec;
	kt_signature s;
	char text[2000], again[2000], why[200];

	(void)state;
	for (unsigned i = 0; i < 200000; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	put_file("big", bytes, 200000, 0600);
	assert_true(kt_keypair(&pub, &sec));
	int fd = open_file("big");
	assert_true(kt_sign_file(&sec, fd, "a comment", text, sizeof(text)));
	assert_true(kt_sign_file(&sec, fd, "a comment", again, sizeof(again)));
	assert_string_equal(text, again); /* no time, no chance */
	assert_false(kt_sign_file(&sec, fd, "two\nlines", again, sizeof(again)));
	assert_false(kt_sign_file(&sec, fd, "a comment", again, 100));
	assert_true(kt_signature_parse(text, &s, why, sizeof(why)));
	assert_string_equal(s.comment, "a comment");
	assert_true(kt_verify_file(&pub, &s, fd));
	/* with the head from memory: the file's own is what counts no more */
	assert_true(kt_verify_from(&pub, &s, bytes, 5000, fd));
	bytes[4999] ^= 1;
	assert_false(kt_verify_from(&pub, &s, bytes, 5000, fd));
	bytes[4999] ^= 1;
	/* longer, shorter, changed */
	for (unsigned i = 0; i < 3; i++) {
		uint8_t was = bytes[150000];
		bytes[150000] ^= i == 2;
		put_file("other", bytes, i == 0 ? 199999 : 200000, 0600);
		if (i == 1)
			assert_int_equal(truncate(in_folder("other"), 200001), 0);
		int other = open_file("other");
		assert_false(kt_verify_file(&pub, &s, other));
		close(other);
		bytes[150000] = was;
	}
	close(fd);
	free(bytes);
}

/* Every bit of a signature: what still verifies is a change of the untrusted comment. */
static void every_bit_of_a_signature(void **state)
{
	kt_public pub;
	kt_secret sec;
	kt_signature s;
	char text[2000], why[200];
	unsigned refused = 0, idle = 0;

	(void)state;
	put_text("f", "hello\n");
	int fd = open_file("f");
	assert_true(kt_keypair(&pub, &sec));
	assert_true(kt_sign_file(&sec, fd, "a comment", text, sizeof(text)));
	size_t first = strcspn(text, "\n"), n = strlen(text);
	for (size_t i = 0; i < n * 8; i++) {
		text[i / 8] ^= (char)(1 << i % 8);
		if (!kt_signature_parse(text, &s, why, sizeof(why)) ||
		    !kt_verify_file(&pub, &s, fd))
			refused++;
		else if (i / 8 < first)
			idle++;
		else
			fail_msg("bit %zu of byte %zu doesn't matter", i % 8, i / 8);
		text[i / 8] ^= (char)(1 << i % 8);
	}
	assert_true(refused > 8 * 200);
	assert_true(idle > 0);
	for (size_t i = 0; i + 1 < n; i++) {
		char cut[2000];
		memcpy(cut, text, i);
		cut[i] = '\0';
		if (kt_signature_parse(cut, &s, why, sizeof(why)))
			fail_msg("%zu characters are taken for a signature", i);
	}
	assert_has(why, "base64");
	close(fd);
}

static void refuses_signatures_that_are_none(void **state)
{
	kt_signature s;
	char why[200], text[4000];

	(void)state;
	snprintf(text, sizeof(text), "%smore\n", prehashed_sig);
	assert_false(kt_signature_parse(text, &s, why, sizeof(why)));
	assert_has(why, "four lines");
	strcpy(text, prehashed_sig);
	*strstr(text, "untrusted") = 'U';
	assert_false(kt_signature_parse(text, &s, why, sizeof(why)));
	assert_has(why, "four lines");
	strcpy(text, prehashed_sig);
	memcpy(strchr(text, '\n') + 1, "QUFB", 4);
	assert_false(kt_signature_parse(text, &s, why, sizeof(why)));
	assert_has(why, "ED and Ed");
	snprintf(text, sizeof(text), "untrusted comment: x\nRW\ntrusted comment: %01100d\nRW\n",
	         0);
	assert_false(kt_signature_parse(text, &s, why, sizeof(why)));
	assert_has(why, "longer than 1000");
}

/* -- the other program --------------------------------------------------------------------- */

static bool minisign(const char *words)
{
	char command[3000];

	snprintf(command, sizeof(command), "cd '%s' && minisign %s >minisign.log 2>&1", folder,
	         words);
	int status = system(command);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void both_programs_agree(void **state)
{
	kt_public pub;
	kt_secret sec;
	kt_signature s;
	char text[2000], why[200], *file;
	static const char *const modes[] = { "", "-l" };

	(void)state;
	if (system("command -v minisign >/dev/null")) {
		print_message("SKIPPED: minisign isn't installed\n");
		skip();
	}
	put_text("f", "some bytes\n");
	int fd = open_file("f");
	/* ours, read by minisign: keys and signature */
	assert_true(kt_keypair(&pub, &sec));
	assert_true(
	    kt_sign_file(&sec, fd, "kvjit-pack root=00 name=a version=1", text, sizeof(text)));
	put_text("f.minisig", text);
	kt_public_print(&pub, text, sizeof(text));
	put_text("ours.pub", text);
	kt_secret_print(&sec, text, sizeof(text));
	put_text("ours.key", text);
	assert_true(minisign("-V -H -p ours.pub -m f"));
	assert_true(minisign("-V -Q -p ours.pub -m f -x f.minisig"));
	file = get_text("minisign.log");
	assert_has(file, "kvjit-pack root=00 name=a version=1");
	free(file);
	put_text("g", "some Bytes\n");
	assert_false(minisign("-V -p ours.pub -m g -x f.minisig"));
	assert_true(minisign("-S -s ours.key -m f -x by-our-key.minisig"));
	file = get_text("by-our-key.minisig");
	assert_true(kt_signature_parse(file, &s, why, sizeof(why)));
	assert_true(kt_verify_file(&pub, &s, fd));
	free(file);
	/* its own, read by us: both kinds of signature, both kinds of key */
	assert_true(minisign("-G -W -f -p its.pub -s its.key"));
	file = get_text("its.pub");
	assert_true(kt_public_parse(file, &pub, why, sizeof(why)));
	free(file);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(text, sizeof(text), "-S %s -s its.key -m f -t 'x y' -x its.minisig",
		         modes[i]);
		assert_true(minisign(text));
		file = get_text("its.minisig");
		assert_true(kt_signature_parse(file, &s, why, sizeof(why)));
		assert_true(s.prehashed == !i);
		assert_string_equal(s.comment, "x y");
		assert_true(kt_verify_file(&pub, &s, fd));
		free(file);
	}
	file = get_text("its.key");
	assert_true(kt_secret_parse(file, NULL, &sec, why, sizeof(why)));
	free(file);
	assert_true(kt_sign_file(&sec, fd, "by its key", text, sizeof(text)));
	put_text("f.minisig", text);
	assert_true(minisign("-V -p its.pub -m f"));
	close(fd);
}

/* -- whom to trust ------------------------------------------------------------------------- */

static char said[2000];

static void keep(const char *line, void *ctx)
{
	(void)ctx;
	strncat(said, line, sizeof(said) - strlen(said) - 1);
}

static kt_trust *trust_of(const char *name)
{
	kt_log log = { keep, NULL };

	said[0] = '\0';
	kt_trust *t = kt_trust_read(in_folder(name), &log);
	assert_non_null(t);
	return t;
}

static void trust_file(void **state)
{
	kt_public pub;
	char why[200], text[2000];
	uint8_t hash[32];

	(void)state;
	assert_true(kt_public_parse(plain_public, &pub, why, sizeof(why)));
	snprintf(text, sizeof(text),
	         "# whom to trust\n\nkey %.*s vendor # ours\r\n key\t%s\n"
	         "revoke %064d\nrevoke %064x\nminimum attention 3\nminimum attention 7\n"
	         "minimum other 1",
	         56, strchr(plain_public, '\n') + 1, locked_public, 0, 0xabc);
	put_text("trusted", text);
	kt_trust *t = trust_of("trusted");
	assert_string_equal(said, "");
	assert_non_null(kt_trust_key(t, pub.id));
	assert_memory_equal(kt_trust_key(t, pub.id)->key, pub.key, 32);
	pub.id[0] ^= 1;
	assert_null(kt_trust_key(t, pub.id));
	memset(hash, 0, sizeof(hash));
	assert_true(kt_trust_revoked(t, hash));
	hash[31] = 0xbc;
	assert_false(kt_trust_revoked(t, hash));
	hash[30] = 0x0a;
	assert_true(kt_trust_revoked(t, hash));
	assert_int_equal(kt_trust_minimum(t, "attention"), 7);
	assert_int_equal(kt_trust_minimum(t, "other"), 1);
	assert_int_equal(kt_trust_minimum(t, "third"), 0);
	kt_trust_free(t);
	kt_trust_free(NULL);
	assert_null(kt_trust_key(NULL, pub.id));
	assert_false(kt_trust_revoked(NULL, hash));
	assert_int_equal(kt_trust_minimum(NULL, "attention"), 0);
}

/* A line that can't be read might have been the one that revokes. */
static void bad_line_trusts_nobody(void **state)
{
	static const struct {
		const char *line, *words;
	} bad[] = {
		{ "revok 00", "line 2: a line is one of" },
		{ "revoke 00", "line 2: '00' isn't a hash" },
		{ "key RWQ", "line 2: a public key is" },
		{ "key", "line 2: a line is one of" },
		{ "minimum a", "line 2: a line is one of" },
		{ "minimum a 0", "line 2: minimum takes" },
		{ "minimum a 1x", "line 2: minimum takes" },
		{ "minimum a 99999999999999999999", "line 2: minimum takes" },
		/* the first key's id, another key */
		{ "key RWSiJGwhOu19eEyuHuY8z79kqvlhyoEyCkx5p/ta1hvfpUqYxkj1hVvV",
		  "line 2: there are two keys of one id" },
	};
	char text[600], name[20], why[200];
	kt_public pub;

	(void)state;
	assert_true(kt_public_parse(plain_public, &pub, why, sizeof(why)));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), "key %.56s\n%s\n", strchr(plain_public, '\n') + 1,
		         bad[i].line);
		snprintf(name, sizeof(name), "bad%u", i);
		put_text(name, text);
		kt_trust *t = trust_of(name);
		assert_has(said, bad[i].words);
		assert_has(said, "no key is trusted");
		assert_null(kt_trust_key(t, pub.id));
		kt_trust_free(t);
	}
}

/* A trust file that anybody could have written. */
static void foreign_trust_file(void **state)
{
	char text[300], why[200];
	kt_public pub;
	unsigned n = 0;
	static const struct {
		const char *name, *words;
	} bad[] = {
		{ "loose", "written by others" }, { "link", "symbolic link" },
		{ "fifo", "regular file" },       { "loosedir/trusted", "written by others" },
		{ "nul", "at most 16 MiB" },      { "owned", "another user" },
	};

	(void)state;
	assert_true(kt_public_parse(plain_public, &pub, why, sizeof(why)));
	snprintf(text, sizeof(text), "key %.56s\n", strchr(plain_public, '\n') + 1);
	put_text("fine", text);
	put_file("loose", text, strlen(text), 0620);
	assert_int_equal(symlink("fine", in_folder("link")), 0);
	assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
	assert_int_equal(mkdir(in_folder("loosedir"), 0700), 0);
	put_text("loosedir/trusted", text);
	assert_int_equal(chmod(in_folder("loosedir"), 0777), 0);
	text[strlen(text) - 1] = '\0';
	put_file("nul", text, strlen(text) + 1, 0600);
	put_text("owned", text);
	if (chown(in_folder("owned"), 12345, 12345))
		print_message("SKIPPED: another user's file can only be made by root\n"), n = 1;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]) - n; i++) {
		kt_trust *t = trust_of(bad[i].name);
		assert_has(said, bad[i].words);
		assert_null(kt_trust_key(t, pub.id));
		kt_trust_free(t);
	}
	kt_trust *t = trust_of("fine");
	assert_non_null(kt_trust_key(t, pub.id));
	kt_trust_free(t);
	t = trust_of("absent");
	assert_string_equal(said, "");
	assert_null(kt_trust_key(t, pub.id));
	kt_trust_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_minisign_wrote),
		cmocka_unit_test(password_protects),
		cmocka_unit_test(keys_survive_printing),
		cmocka_unit_test(refuses_keys_that_are_none),
		cmocka_unit_test(signs_and_verifies),
		cmocka_unit_test(every_bit_of_a_signature),
		cmocka_unit_test(refuses_signatures_that_are_none),
		cmocka_unit_test(both_programs_agree),
		cmocka_unit_test(trust_file),
		cmocka_unit_test(bad_line_trusts_nobody),
		cmocka_unit_test(foreign_trust_file),
	};

	return cmocka_run_group_tests_name("sign", tests, make_folder, drop_folder);
}
