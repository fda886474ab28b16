/* SPDX-License-Identifier: Apache-2.0 */
/* test_pack_hostile.c -- packs that were changed: any bit, any length, entries in each other's
 * place, lengths that overflow, the file under an open pack. Never is anything handed out as
 * code but the signed bytes, and nothing is read outside of what is there.
 *
 * KVJIT_LONG=1 tries 50 times as many random packs.
 */
#include "support_pack.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* -- made by one who has the key, and wrong all the same ----------------------------- */

static uint8_t *row_at(uint8_t *b, unsigned i)
{
	return b + KT_PACK_HEAD + (size_t)i * KT_PACK_ROW;
}

/* Computes the hashes above the entries again. */
static void rehash(uint8_t *b, size_t n)
{
	uint64_t rows = 0;
	kt_key hash;

	for (unsigned i = 0; i < KT_PACK_BUCKETS; i++) {
		uint8_t *at = b + KT_PACK_FIXED + i * KT_PACK_BUCKET;
		uint64_t count = kt_load32(at), place = KT_PACK_HEAD + rows * KT_PACK_ROW;
		if (place + count * KT_PACK_ROW > n)
			return;
		for (uint64_t k = 0; k < count; k++) {
			kt_row r = kt_load_row(b + place + k * KT_PACK_ROW);
			if (r.place > n || r.size > n - r.place)
				continue;
			kt_hash(b + r.place, r.size, &hash);
			memcpy(b + place + k * KT_PACK_ROW + 32, hash.b, 32);
		}
		kt_hash(b + place, count * KT_PACK_ROW, &hash);
		memcpy(at + 4, hash.b, 32);
		rows += count;
	}
}

/* Signs without looking at what is signed. */
static void sign_blindly(const char *name)
{
	char text[2000], comment[300], file[100], hex[KT_HEX];
	size_t n;
	uint8_t *b = pk_get_file(name, &n);
	kt_key root;

	kt_hash(b, KT_PACK_HEAD, &root);
	kt_key_hex(&root, hex);
	snprintf(comment, sizeof(comment), KT_PACK_COMMENT "%s name=attention version=5", hex);
	int fd = open(pk_in_folder(name), O_RDONLY);
	assert_true(kt_sign_file(&pk_sec, fd, comment, text, sizeof(text)));
	close(fd);
	snprintf(file, sizeof(file), "%s.minisig", name);
	pk_put_text(file, text);
	free(b);
}

/* The row of a code in the small pack. */
static uint8_t *code_row(uint8_t *b, unsigned code)
{
	for (unsigned i = 0; i < NSCHED + NCODE; i++)
		if (!memcmp(row_at(b, i), pk_codes[code].key.b, 32))
			return row_at(b, i);
	fail_msg("the code isn't in the pack");
	abort(); /* not reached */
}

/* One entry's place, size and hash under another's key. */
static bool none_is_left(const kt_code *c, void *ctx)
{
	(void)c;
	(void)ctx;
	fail_msg("an entry that is another's was handed out");
	return false;
}

static void entry_under_another_key(void **state)
{
	size_t n;
	char why[200];
	kt_code c;

	(void)state;
	pk_small_pack("swap.kvpack");
	uint8_t *b = pk_get_file("swap.kvpack", &n), *x = code_row(b, 0), *y = code_row(b, 1);
	uint8_t t[48];
	memcpy(t, x + 32, 48);
	memcpy(x + 32, y + 32, 48);
	memcpy(y + 32, t, 48);
	/* as it is: the index no longer matches */
	pk_put_file("swap1.kvpack", b, n);
	uint8_t *sig = pk_get_file("swap.kvpack.minisig", &(size_t){ 0 });
	pk_put_text("swap1.kvpack.minisig", (char *)sig);
	free(sig);
	kt_pack *p = pk_open_pack("swap1.kvpack");
	pk_assert_reason(kt_pack_code(p, &pk_codes[0].key, &c), KT_WHY_wrong_hash);
	kt_pack_close(p);
	/* with all hashes and the signature made anew */
	rehash(b, n);
	pk_put_file("swap2.kvpack", b, n);
	sign_blindly("swap2.kvpack");
	p = pk_open_pack("swap2.kvpack");
	pk_assert_reason(kt_pack_trust(p), KT_WHY_none);
	pk_assert_reason(kt_pack_code(p, &pk_codes[0].key, &c), KT_WHY_wrong_key);
	pk_assert_has(pk_said, "under another entry's key");
	pk_assert_reason(kt_pack_code(p, &pk_codes[1].key, &c), KT_WHY_wrong_key);
	kt_pack_close(p);
	assert_false(kt_pack_sign(pk_in_folder("swap2.kvpack"), &pk_sec, why, sizeof(why)));
	/* who walks over all of them is told what is left out; a reason is told once for a file
	 */
	pk_put_file("swap3.kvpack", b, n);
	sign_blindly("swap3.kvpack");
	p = pk_open_pack("swap3.kvpack");
	assert_false(kt_pack_each_code(p, none_is_left, &n));
	pk_assert_has(pk_said, "under another entry's key: an entry of code");
	kt_pack_close(p);
	free(b);
}

/* Bytes changed, the hash in their record not. */
static void bytes_of_another_hash(void **state)
{
	size_t n;
	char why[200];
	kt_code c;

	(void)state;
	pk_small_pack("hash.kvpack");
	uint8_t *b = pk_get_file("hash.kvpack", &n);
	kt_row r = kt_load_row(code_row(b, 0));
	b[r.place + r.size - 1] ^= 1;
	rehash(b, n);
	pk_put_file("hash.kvpack", b, n);
	assert_false(kt_pack_sign(pk_in_folder("hash.kvpack"), &pk_sec, why, sizeof(why)));
	pk_assert_has(why, "don't match their hash");
	sign_blindly("hash.kvpack");
	kt_pack *p = pk_open_pack("hash.kvpack");
	pk_assert_reason(kt_pack_trust(p), KT_WHY_none);
	pk_assert_reason(kt_pack_code(p, &pk_codes[0].key, &c), KT_WHY_wrong_hash);
	pk_assert_reason(kt_pack_code(p, &pk_codes[1].key, &c), KT_WHY_none);
	kt_code_free(&c);
	pk_assert_reason(kt_pack_verify(p, why, sizeof(why), NULL), KT_WHY_wrong_hash);
	kt_pack_close(p);
	free(b);
}

/* Bytes that no entry owns: opening reads only what it is asked for, verifying says so. */
static void bytes_behind_the_last_entry(void **state)
{
	size_t n;
	char why[200];

	(void)state;
	pk_small_pack("behind.kvpack");
	uint8_t *b = pk_get_file("behind.kvpack", &n);
	assert_non_null(b = realloc(b, n + 64));
	memset(b + n, 0, 64);
	n += 64;
	for (unsigned i = 0; i < 8; i++) /* the head's word for the file's size */
		b[16 + i] = (uint8_t)((uint64_t)n >> 8 * i);
	pk_put_file("behind.kvpack", b, n);
	kt_pack *p = pk_open_pack("behind.kvpack");
	pk_assert_reason(kt_pack_verify(p, why, sizeof(why), NULL), KT_WHY_corrupt);
	pk_assert_has(why, "bytes behind the last entry");
	kt_pack_close(p);
	free(b);
}

/* One schedule more and one piece of code less, which are as many rows. */
static void head_that_counts_others(void **state)
{
	size_t n;
	char why[200];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		pk_small_pack("counts.kvpack");
		uint8_t *b = pk_get_file("counts.kvpack", &n);
		b[40] = (uint8_t)(b[40] + (i ? -1 : 1));
		b[44] = (uint8_t)(b[44] + (i ? 1 : -1));
		pk_put_file("counts.kvpack", b, n);
		kt_pack *p = pk_open_pack("counts.kvpack");
		pk_assert_reason(kt_pack_state(p), KT_WHY_none);
		pk_assert_reason(kt_pack_verify(p, why, sizeof(why), NULL), KT_WHY_corrupt);
		pk_assert_has(why, "its head counts other entries");
		kt_pack_close(p);
		free(b);
	}
}

static void bytes_before_the_first_entry(void **state)
{
	size_t n, head = KT_PACK_HEAD + (size_t)(NSCHED + NCODE) * KT_PACK_ROW;
	char why[200];

	(void)state;
	pk_small_pack("before.kvpack");
	uint8_t *b = pk_get_file("before.kvpack", &n);
	assert_non_null(b = realloc(b, n + 64));
	memmove(b + head + 64, b + head, n - head);
	memset(b + head, 0, 64);
	n += 64;
	for (unsigned i = 0; i < 8; i++)
		b[16 + i] = (uint8_t)((uint64_t)n >> 8 * i);
	for (unsigned i = 0; i < NSCHED + NCODE; i++) {
		uint64_t place = kt_load_row(row_at(b, i)).place + 64;

		for (unsigned k = 0; k < 8; k++)
			row_at(b, i)[64 + k] = (uint8_t)(place >> 8 * k);
	}
	rehash(b, n);
	pk_put_file("before.kvpack", b, n);
	kt_pack *p = pk_open_pack("before.kvpack");
	pk_assert_reason(kt_pack_verify(p, why, sizeof(why), NULL), KT_WHY_corrupt);
	pk_assert_has(why, "a gap before the entry of");
	kt_pack_close(p);
	free(b);
}

/* The comment names this pack's root and is signed, the signature itself is of another file:
 * enough to open it, since the root's hashes cover all that is read, but not to call it whole.
 */
static void signature_of_another_file(void **state)
{
	char why[200], text[2000];
	size_t n;
	kt_code c;

	(void)state;
	pk_small_pack("this.kvpack");
	char *sig = (char *)pk_get_file("this.kvpack.minisig", &n);
	char *comment = memmem(sig, n, "\ntrusted comment: ", 18);
	assert_non_null(comment);
	comment += strlen("\ntrusted comment: ");
	comment[strcspn(comment, "\n")] = '\0';
	pk_put_file("other", "other", 5);
	int fd = open(pk_in_folder("other"), O_RDONLY);
	assert_true(kt_sign_file(&pk_sec, fd, comment, text, sizeof(text)));
	close(fd);
	pk_put_text("this.kvpack.minisig", text);
	kt_pack *p = pk_open_pack("this.kvpack");
	pk_assert_reason(kt_pack_trust(p), KT_WHY_none);
	pk_assert_reason(kt_pack_code(p, &pk_codes[0].key, &c), KT_WHY_none);
	kt_code_free(&c);
	pk_assert_reason(kt_pack_verify(p, why, sizeof(why), NULL), KT_WHY_bad_signature);
	pk_assert_has(why, "the file as a whole");
	kt_pack_close(p);
	free(sig);
}

static bool any_schedule(const kt_schedule *r, void *ctx)
{
	*(size_t *)ctx += strlen(r->problem) + strlen(r->sched) + strlen(r->target) +
	                  strlen(r->machine) + strlen(kt_policy_names[r->where.policy]) +
	                  strlen(kt_source_names[r->source]);
	return true;
}

static bool any_code(const kt_code *r, void *ctx)
{
	for (size_t i = 0; i < r->size; i++)
		*(size_t *)ctx += r->bytes[i];
	assert_true(!r->size || (r->entry < r->size && r->text <= r->size));
	return true;
}

/* Everything that can be asked of a pack, whatever is in it. */
static void ask_all(const char *name)
{
	kt_schedule *list;
	char why[300];
	size_t sum = 0;
	kt_code c;
	kt_pack *p = pk_open_pack(name);

	for (unsigned i = 0; i < NCODE; i++) {
		kt_key k = pk_key_of("code", i), program = pk_key_of("program", i);
		if (!kt_pack_code(p, &k, &c)) {
			any_code(&c, &sum);
			kt_code_free(&c);
		}
		unsigned n = kt_pack_schedules(p, &program, NULL, &list);
		for (unsigned j = 0; j < n; j++) {
			any_schedule(&list[j], &sum);
			kt_schedule_free(&list[j]);
		}
		free(list);
	}
	kt_pack_each_code(p, any_code, &sum);
	kt_pack_verify(p, why, sizeof(why), NULL);
	kt_pack_close(p);
}

/* Random changes under hashes that match: what the readers of entries and rows see first. */
static void hostile_packs(void **state)
{
	static const uint8_t edge[] = { 0, 1, 0x7f, 0x80, 0xff };
	unsigned rounds = getenv("KVJIT_LONG") ? 100000 : 2000, x = 12345;
	size_t n;

	(void)state;
	pk_small_pack("hostile.kvpack");
	uint8_t *good = pk_get_file("hostile.kvpack", &n), *b = malloc(n);
	for (unsigned i = 0; i < rounds; i++) {
		memcpy(b, good, n);
		for (unsigned k = 0; k < 1 + i % 4; k++) {
			x = x * 1664525 + 1013904223;
			size_t at = KT_PACK_HEAD + (x >> 8) % (n - KT_PACK_HEAD);
			if (i % 16 == 0)
				at = (x >> 8) % KT_PACK_FIXED;
			b[at] = i % 2 ? edge[x % 5] : (uint8_t)(x >> 20);
		}
		rehash(b, n);
		pk_put_file("hostile.kvpack", b, n);
		if (i % 4 == 0)
			sign_blindly("hostile.kvpack");
		ask_all("hostile.kvpack");
	}
	free(good);
	free(b);
}

/* Lengths and places at the ends of their types. */
static void lengths_that_overflow(void **state)
{
	static const uint64_t place[] = { 0, UINT64_MAX, UINT64_MAX - 63, (uint64_t)1 << 63 };
	static const uint32_t size[] = { 0, 1, 64, UINT32_MAX, 0x80000000u };
	size_t n;
	kt_code c;

	(void)state;
	pk_small_pack("over.kvpack");
	uint8_t *good = pk_get_file("over.kvpack", &n), *b = malloc(n);
	for (unsigned i = 0; i < 4; i++)
		for (unsigned k = 0; k < 5; k++) {
			kt_bytes row = { 0 };
			memcpy(b, good, n);
			kt_row r = kt_load_row(code_row(b, 0));
			r.place = place[i];
			r.size = size[k];
			kt_put_row(&row, &r);
			memcpy(code_row(b, 0), row.at, KT_PACK_ROW);
			free(row.at);
			rehash(b, n);
			pk_put_file("over.kvpack", b, n);
			sign_blindly("over.kvpack");
			kt_pack *p = pk_open_pack("over.kvpack");
			pk_assert_reason(kt_pack_trust(p), KT_WHY_none);
			kt_reason why = kt_pack_code(p, &pk_codes[0].key, &c);
			assert_true(why == KT_WHY_corrupt || why == KT_WHY_wrong_hash);
			kt_pack_close(p);
			ask_all("over.kvpack");
		}
	/* more rows than the file has room for, in all buckets */
	memcpy(b, good, n);
	for (unsigned i = 0; i < KT_PACK_BUCKETS; i++)
		memset(b + KT_PACK_FIXED + i * KT_PACK_BUCKET, 0xff, 4);
	memset(b + 40, 0xff, 8);
	pk_put_file("over.kvpack", b, n);
	kt_pack *p = pk_open_pack("over.kvpack");
	pk_assert_nothing(p, KT_WHY_corrupt);
	kt_pack_close(p);
	/* a few more than there is room for, counted in the head as well */
	memcpy(b, good, n);
	b[KT_PACK_FIXED + 1] = 1;
	b[45] = 1;
	pk_put_file("over2.kvpack", b, n);
	p = pk_open_pack("over2.kvpack");
	pk_assert_nothing(p, KT_WHY_corrupt);
	pk_assert_has(pk_said, "shorter or longer");
	kt_pack_close(p);
	b[KT_PACK_FIXED + 2] = 0x20;
	b[46] = 0x20;
	pk_put_file("over3.kvpack", b, n);
	p = pk_open_pack("over3.kvpack");
	pk_assert_nothing(p, KT_WHY_corrupt);
	pk_assert_has(pk_said, "more than 1048576 entries");
	kt_pack_close(p);
	free(good);
	free(b);
}

/* Entries cut at every length, and with a byte too many. */
static void entries_of_every_length(void **state)
{
	kt_bytes s = { 0 }, c = { 0 };
	kt_schedule r;
	kt_code code;
	size_t least;

	(void)state;
	pk_small_input();
	kt_put_schedule(&s, &pk_schedules[0]);
	kt_put_code(&c, &pk_codes[0]);
	/* all of the bytes but as many as keep the entry point inside */
	least = c.n - CODE_BYTES + pk_codes[0].text;
	for (size_t i = 0; i <= c.n; i++) {
		uint8_t *cut = malloc(i ? i : 1); /* its own, for a sanitizer to watch */
		memcpy(cut, c.at, i);
		bool ok = kt_get_code(cut, i, &code);
		assert_true(ok == (i >= least));
		if (ok)
			kt_code_free(&code);
		free(cut);
	}
	kt_put(&s, "", 1);
	for (size_t i = 0; i <= s.n; i++) {
		uint8_t *cut = malloc(i ? i : 1);
		memcpy(cut, s.at, i);
		bool ok = kt_get_schedule(cut, i, &r);
		assert_true(ok == (i + 1 == s.n));
		if (ok)
			kt_schedule_free(&r);
		free(cut);
	}
	free(s.at);
	free(c.at);
}

/* -- every bit, every length --------------------------------------------------------- */

static unsigned intact_of(const kt_pack_options *o)
{
	kt_pack *p = kt_pack_open(o);

	assert_non_null(p);
	unsigned n = pk_intact(p);
	if (kt_pack_trust(p))
		for (unsigned i = 0; i < NCODE; i++) {
			kt_code c;
			assert_int_not_equal(kt_pack_code(p, &pk_codes[i].key, &c),
			                     KT_WHY_none);
		}
	kt_pack_close(p);
	return n;
}

static void every_bit_and_length(void **state)
{
	kt_pack_options o = { .trust = pk_trust, .now = NOW };
	char path[600], sigpath[620];
	size_t n, m;

	(void)state;
	pk_small_pack("bits.kvpack");
	snprintf(path, sizeof(path), "%s", pk_in_folder("bits.kvpack"));
	snprintf(sigpath, sizeof(sigpath), "%s.minisig", path);
	o.path = path;
	assert_int_equal(intact_of(&o), NSCHED + NCODE);
	uint8_t *b = pk_get_file("bits.kvpack", &n),
	        *sig = pk_get_file("bits.kvpack.minisig", &m);
	int fd = open(path, O_RDWR), sigfd = open(sigpath, O_RDWR);
	assert_true(fd >= 0 && sigfd >= 0);
	/* the pack: something is always missing */
	for (size_t i = 0; i < n * 8; i++) {
		uint8_t x = b[i / 8] ^ (uint8_t)(1 << i % 8);
		assert_int_equal(pwrite(fd, &x, 1, (off_t)(i / 8)), 1);
		if (intact_of(&o) == NSCHED + NCODE)
			fail_msg("bit %zu of byte %zu of the pack doesn't matter", i % 8,
			         i / 8);
		assert_int_equal(pwrite(fd, &b[i / 8], 1, (off_t)(i / 8)), 1);
	}
	/* the signature: no code, unless it's the comment that nobody signs */
	size_t untrusted = strcspn((char *)sig, "\n");
	for (size_t i = 0; i < m * 8; i++) {
		uint8_t x = sig[i / 8] ^ (uint8_t)(1 << i % 8);
		assert_int_equal(pwrite(sigfd, &x, 1, (off_t)(i / 8)), 1);
		unsigned left = intact_of(&o);
		if (left != NSCHED && (left != NSCHED + NCODE || i / 8 >= untrusted))
			fail_msg("bit %zu of byte %zu of the signature doesn't matter", i % 8,
			         i / 8);
		assert_int_equal(pwrite(sigfd, &sig[i / 8], 1, (off_t)(i / 8)), 1);
	}
	assert_int_equal(intact_of(&o), NSCHED + NCODE);
	/* all lengths; the last byte of a signature is the end of its line */
	for (size_t i = m; i-- > 0;) {
		assert_int_equal(ftruncate(sigfd, (off_t)i), 0);
		assert_int_equal(intact_of(&o), i + 1 == m ? NSCHED + NCODE : NSCHED);
	}
	assert_int_equal(pwrite(sigfd, sig, m, 0), (ssize_t)m);
	assert_int_equal(intact_of(&o), NSCHED + NCODE);
	for (size_t i = n; i-- > 0;) {
		assert_int_equal(ftruncate(fd, (off_t)i), 0);
		assert_int_equal(intact_of(&o), 0);
	}
	close(fd);
	close(sigfd);
	free(b);
	free(sig);
}

/* -- a file that changes under an open pack ------------------------------------------ */

static void changes_while_open(void **state)
{
	size_t n;
	kt_code c;
	kt_schedule *list;

	(void)state;
	pk_small_pack("live.kvpack");
	uint8_t *b = pk_get_file("live.kvpack", &n);
	kt_row r = kt_load_row(code_row(b, 0));
	kt_pack *p = pk_open_pack("live.kvpack");
	int fd = open(pk_in_folder("live.kvpack"), O_RDWR);
	assert_int_equal(pwrite(fd, "\xcc", 1, (off_t)(r.place + r.size - 7)), 1);
	pk_assert_reason(kt_pack_code(p, &pk_codes[0].key, &c), KT_WHY_wrong_hash);
	pk_assert_reason(kt_pack_code(p, &pk_codes[1].key, &c), KT_WHY_none);
	kt_code_free(&c);
	assert_int_equal(ftruncate(fd, KT_PACK_HEAD + 10), 0);
	pk_assert_reason(kt_pack_code(p, &pk_codes[1].key, &c), KT_WHY_corrupt);
	assert_int_equal(kt_pack_schedules(p, &pk_schedules[0].where.program, NULL, &list), 0);
	pk_assert_has(pk_said, "is damaged");
	/* replaced by another: the open one stays what it was */
	assert_int_equal(pwrite(fd, b, n, 0), (ssize_t)n);
	pk_put_text("new", "another file");
	assert_int_equal(rename(pk_in_folder("new"), pk_in_folder("live.kvpack")), 0);
	pk_assert_reason(kt_pack_code(p, &pk_codes[1].key, &c), KT_WHY_none);
	kt_code_free(&c);
	kt_pack_close(p);
	close(fd);
	free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entry_under_another_key),
		cmocka_unit_test(bytes_of_another_hash),
		cmocka_unit_test(bytes_behind_the_last_entry),
		cmocka_unit_test(head_that_counts_others),
		cmocka_unit_test(bytes_before_the_first_entry),
		cmocka_unit_test(signature_of_another_file),
		cmocka_unit_test(hostile_packs),
		cmocka_unit_test(lengths_that_overflow),
		cmocka_unit_test(entries_of_every_length),
		cmocka_unit_test(every_bit_and_length),
		cmocka_unit_test(changes_while_open),
	};

	return cmocka_run_group_tests_name("pack hostile", tests, begin_packs, end_packs);
}
