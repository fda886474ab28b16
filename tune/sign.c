/* SPDX-License-Identifier: Apache-2.0 */
/* sign.c -- see sign.h. The layouts, before base64:
 *
 *   public key   "Ed" id[8] key[32]
 *   secret key   "Ed" kdf[2] "B2" salt[32] ops[8] memory[8] id[8] key[64] check[32]
 *                kdf "Sc": the last 104 bytes are xored with scrypt(password); zeros: plain
 *   signature    "ED" or "Ed" id[8] sig[64], a line "trusted comment: ", global[64]
 *
 * sig is over the file's BLAKE2b-512 ("ED") or its bytes ("Ed"); global over sig and comment.
 */
#include "sign.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	PUBLIC_BYTES = 2 + 8 + 32,
	SIG_BYTES = 2 + 8 + 64,
	SECRET_HEAD = 2 + 2 + 2 + 32 + 8 + 8,
	SECRET_TAIL = 8 + 64 + 32,
	SECRET_BYTES = SECRET_HEAD + SECRET_TAIL,
	LINE_MAX_BYTES = 1200,
	CHUNK = 65536
};

/* A password is worth at most this much work: a key file that asks for more is a mistake, or
 * made to stop us. minisign asks for 2^25 and 1 GiB. */
#define MOST_OPS     UINT64_C(0xffffffff)
#define MOST_MEMORY  (UINT64_C(4) << 30)
#define LEGACY_BYTES ((off_t)1 << 30) /* as minisign: the whole file must be in memory */

static const char untrusted[] = "untrusted comment: ", trusted[] = "trusted comment: ";

static bool say(char *why, size_t len, const char *sentence)
{
	if (why && len)
		snprintf(why, len, "%s", sentence);
	return false;
}

/* Nothing here but kt_keypair needs random numbers: it is for the faster hash functions. */
static void start(void)
{
	(void)!sodium_init();
}

/* -- text ---------------------------------------------------------------------------- */

/* The next line without its end into line; false at the end of the text, or if it's longer
 * than a line can be. */
static bool next_line(const char **text, char line[LINE_MAX_BYTES])
{
	size_t n = strcspn(*text, "\n");
	bool end = !(*text)[n];

	if ((!n && end) || n >= LINE_MAX_BYTES)
		return false;
	memcpy(line, *text, n);
	*text += n + !end;
	if (n && line[n - 1] == '\r')
		n--;
	line[n] = '\0';
	return true;
}

/* Only ends of lines are left. */
static bool done(const char *text)
{
	return !text[strspn(text, "\r\n")];
}

/* Exactly n bytes, written the one way there is. libsodium takes every byte from 0x80 on for a
 * '/': so the characters are looked at first. */
static bool decode(const char *line, uint8_t *out, size_t n)
{
	size_t got;

	for (const char *c = line; *c; c++)
		if (*c & 0x80)
			return false;
	return !sodium_base642bin(out, n, line, strlen(line), NULL, &got, NULL,
	                          sodium_base64_VARIANT_ORIGINAL) &&
	       got == n;
}

/* The line of base64 of a key, after a comment line if there is one. */
static bool decode_key(const char *text, uint8_t *out, size_t n)
{
	char line[LINE_MAX_BYTES];
	bool ok = next_line(&text, line);

	if (ok && !strncmp(line, untrusted, strlen(untrusted)))
		ok = next_line(&text, line);
	ok = ok && done(text) && decode(line, out, n);
	sodium_memzero(line, sizeof(line));
	return ok;
}

static void encode(const uint8_t *bytes, size_t n, char *out, size_t len)
{
	sodium_bin2base64(out, len, bytes, n, sodium_base64_VARIANT_ORIGINAL);
}

static uint64_t load64(const uint8_t *at)
{
	uint64_t x;

	memcpy(&x, at, sizeof(x));
	return le64toh(x);
}

/* -- keys ---------------------------------------------------------------------------- */

bool kt_public_parse(const char *text, kt_public *out, char *why, size_t len)
{
	uint8_t raw[PUBLIC_BYTES];

	if (!decode_key(text, raw, sizeof(raw)))
		return say(
		    why, len,
		    "a public key is 56 characters of base64, after a comment line if it "
		    "has one");
	if (memcmp(raw, "Ed", 2))
		return say(why, len, "the public key isn't an Ed25519 key of minisign (RW...)");
	memcpy(out->id, raw + 2, sizeof(out->id));
	memcpy(out->key, raw + 10, sizeof(out->key));
	return true;
}

static void checksum(const uint8_t id[8], const uint8_t key[64], uint8_t out[32])
{
	crypto_generichash_state h;

	crypto_generichash_init(&h, NULL, 0, 32);
	crypto_generichash_update(&h, (const uint8_t *)"Ed", 2);
	crypto_generichash_update(&h, id, 8);
	crypto_generichash_update(&h, key, 64);
	crypto_generichash_final(&h, out, 32);
}

/* Removes the password from the tail of a secret key. */
static bool decrypt(uint8_t raw[SECRET_BYTES], const char *password, char *why, size_t len)
{
	uint64_t ops = load64(raw + 38), memory = load64(raw + 46);
	uint8_t stream[SECRET_TAIL];

	if (!password)
		return say(why, len, "the secret key is protected by a password");
	if (ops > MOST_OPS || memory > MOST_MEMORY)
		return say(why, len,
		           "the secret key asks for more than 4 GiB to check its password");
	if (crypto_pwhash_scryptsalsa208sha256(stream, sizeof(stream), password,
	                                       strlen(password), raw + 6, ops, memory))
		return say(why, len, "there isn't enough memory to check the key's password");
	for (unsigned i = 0; i < SECRET_TAIL; i++)
		raw[SECRET_HEAD + i] ^= stream[i];
	sodium_memzero(stream, sizeof(stream));
	return true;
}

/* minisign leaves the checksum of a key without password zero; the public half of the key says
 * as much: it must follow from the other half. */
static bool sound(const uint8_t tail[SECRET_TAIL], bool plain)
{
	uint8_t check[32], pub[32], sec[64];

	checksum(tail, tail + 8, check);
	crypto_sign_seed_keypair(pub, sec, tail + 8);
	bool ok = !sodium_memcmp(pub, tail + 40, sizeof(pub)) &&
	          (!sodium_memcmp(check, tail + 72, sizeof(check)) ||
	           (plain && sodium_is_zero(tail + 72, 32)));
	sodium_memzero(sec, sizeof(sec));
	return ok;
}

bool kt_secret_parse(const char *text, const char *password, kt_secret *out, char *why,
                     size_t len)
{
	uint8_t raw[SECRET_BYTES];
	bool ok = false;

	start();
	if (!decode_key(text, raw, sizeof(raw)))
		say(why, len, "a secret key is a comment line and 212 characters of base64");
	else if (memcmp(raw, "Ed", 2) || memcmp(raw + 4, "B2", 2) ||
	         (memcmp(raw + 2, "Sc", 2) && memcmp(raw + 2, "\0\0", 2)))
		say(why, len, "the secret key isn't an Ed25519 key of minisign (RW...)");
	else if (!raw[2] || decrypt(raw, password, why, len)) {
		ok = sound(raw + SECRET_HEAD, !raw[2]);
		if (!ok)
			say(why, len,
			    raw[2] ? "the password isn't that of the secret key"
			           : "the secret key is damaged");
	}
	if (ok) {
		memcpy(out->id, raw + SECRET_HEAD, sizeof(out->id));
		memcpy(out->key, raw + SECRET_HEAD + 8, sizeof(out->key));
	}
	sodium_memzero(raw, sizeof(raw));
	return ok;
}

void kt_secret_wipe(kt_secret *s)
{
	sodium_memzero(s, sizeof(*s));
}

bool kt_keypair(kt_public *pub, kt_secret *sec)
{
	if (sodium_init() < 0)
		return false;
	randombytes_buf(pub->id, sizeof(pub->id));
	memcpy(sec->id, pub->id, sizeof(sec->id));
	return !crypto_sign_keypair(pub->key, sec->key);
}

void kt_public_print(const kt_public *p, char *out, size_t len)
{
	uint8_t raw[PUBLIC_BYTES] = "Ed";
	char line[64];

	memcpy(raw + 2, p->id, sizeof(p->id));
	memcpy(raw + 10, p->key, sizeof(p->key));
	encode(raw, sizeof(raw), line, sizeof(line));
	snprintf(out, len, "%sminisign public key %" PRIX64 "\n%s\n", untrusted, load64(p->id),
	         line);
}

void kt_secret_print(const kt_secret *s, char *out, size_t len)
{
	uint8_t raw[SECRET_BYTES] = "Ed\0\0B2";
	char line[256];

	memcpy(raw + SECRET_HEAD, s->id, sizeof(s->id));
	memcpy(raw + SECRET_HEAD + 8, s->key, sizeof(s->key));
	checksum(s->id, s->key, raw + SECRET_HEAD + 72);
	encode(raw, sizeof(raw), line, sizeof(line));
	snprintf(out, len, "%skvjit secret key without password\n%s\n", untrusted, line);
	sodium_memzero(raw, sizeof(raw));
	sodium_memzero(line, sizeof(line));
}

/* -- signatures ---------------------------------------------------------------------- */

bool kt_signature_parse(const char *text, kt_signature *out, char *why, size_t len)
{
	char first[LINE_MAX_BYTES], sig[LINE_MAX_BYTES], comment[LINE_MAX_BYTES],
	    global[LINE_MAX_BYTES];
	uint8_t raw[SIG_BYTES];

	if (!next_line(&text, first) || !next_line(&text, sig) || !next_line(&text, comment) ||
	    !next_line(&text, global) || !done(text) ||
	    strncmp(first, untrusted, strlen(untrusted)) ||
	    strncmp(comment, trusted, strlen(trusted)))
		return say(why, len,
		           "a signature is four lines: untrusted comment, base64, trusted "
		           "comment, base64");
	if (strlen(comment + strlen(trusted)) > KT_COMMENT_MAX)
		return say(why, len, "the trusted comment is longer than 1000 characters");
	if (!decode(sig, raw, sizeof(raw)) || !decode(global, out->global, sizeof(out->global)))
		return say(why, len, "a line of the signature isn't base64 of its length");
	out->prehashed = !memcmp(raw, "ED", 2);
	if (!out->prehashed && memcmp(raw, "Ed", 2))
		return say(why, len, "the signature's algorithm isn't one of ED and Ed");
	memcpy(out->id, raw + 2, sizeof(out->id));
	memcpy(out->sig, raw + 10, sizeof(out->sig));
	strcpy(out->comment, comment + strlen(trusted));
	return true;
}

/* What `global` is over. */
static size_t signed_comment(const uint8_t sig[64], const char *comment,
                             uint8_t out[64 + KT_COMMENT_MAX])
{
	size_t n = strlen(comment);

	memcpy(out, sig, 64);
	memcpy(out + 64, comment, n);
	return 64 + n;
}

static ssize_t read_at(int fd, void *to, size_t n, off_t from)
{
	ssize_t got;

	do
		got = pread(fd, to, n, from);
	while (got < 0 && errno == EINTR);
	return got;
}

/* Of head, then of the file from n on. */
static bool prehash(const uint8_t *head, size_t n, int fd, uint8_t out[64])
{
	crypto_generichash_state h;
	uint8_t *chunk = malloc(CHUNK);
	off_t at = (off_t)n;
	ssize_t got = -1;

	crypto_generichash_init(&h, NULL, 0, 64);
	crypto_generichash_update(&h, head, n);
	while (chunk && (got = read_at(fd, chunk, CHUNK, at)) > 0) {
		crypto_generichash_update(&h, chunk, (size_t)got);
		at += got;
	}
	crypto_generichash_final(&h, out, 64);
	free(chunk);
	return got == 0;
}

bool kt_sign_file(const kt_secret *s, int fd, const char *comment, char *out, size_t len)
{
	uint8_t hash[64], raw[SIG_BYTES] = "ED", global[64], text[64 + KT_COMMENT_MAX];
	char line[128], last[128];

	for (const char *c = comment; *c; c++)
		if ((unsigned char)*c < ' ' && *c != '\t')
			return false;
	if (strlen(comment) > KT_COMMENT_MAX)
		return false;
	start();
	if (!prehash(NULL, 0, fd, hash))
		return false;
	memcpy(raw + 2, s->id, sizeof(s->id));
	crypto_sign_detached(raw + 10, NULL, hash, sizeof(hash), s->key);
	crypto_sign_detached(global, NULL, text, signed_comment(raw + 10, comment, text),
	                     s->key);
	encode(raw, sizeof(raw), line, sizeof(line));
	encode(global, sizeof(global), last, sizeof(last));
	int n = snprintf(out, len, "%ssignature from kvjit\n%s\n%s%s\n%s\n", untrusted, line,
	                 trusted, comment, last);
	return n > 0 && (size_t)n < len;
}

bool kt_verify_comment(const kt_public *p, const kt_signature *s)
{
	uint8_t text[64 + KT_COMMENT_MAX];

	start();
	return !memcmp(p->id, s->id, sizeof(p->id)) &&
	       !crypto_sign_verify_detached(s->global, text,
	                                    signed_comment(s->sig, s->comment, text), p->key);
}

static bool verify_legacy(const kt_public *p, const kt_signature *s, const uint8_t *head,
                          size_t n, int fd)
{
	struct stat st;
	uint8_t *all;
	size_t have = n;
	ssize_t got = 1;

	if (fstat(fd, &st) || st.st_size > LEGACY_BYTES || (size_t)st.st_size < n)
		return false;
	if (!(all = malloc((size_t)st.st_size + 1)))
		return false;
	if (n)
		memcpy(all, head, n);
	while (have < (size_t)st.st_size && got > 0) {
		got = read_at(fd, all + have, (size_t)st.st_size - have, (off_t)have);
		have += got > 0 ? (size_t)got : 0;
	}
	bool ok = have == (size_t)st.st_size &&
	          !crypto_sign_verify_detached(s->sig, all, have, p->key);
	free(all);
	return ok;
}

bool kt_verify_from(const kt_public *p, const kt_signature *s, const uint8_t *head, size_t n,
                    int fd)
{
	uint8_t hash[64];

	if (!kt_verify_comment(p, s))
		return false;
	if (!s->prehashed)
		return verify_legacy(p, s, head, n, fd);
	return prehash(head, n, fd, hash) &&
	       !crypto_sign_verify_detached(s->sig, hash, sizeof(hash), p->key);
}

bool kt_verify_file(const kt_public *p, const kt_signature *s, int fd)
{
	return kt_verify_from(p, s, NULL, 0, fd);
}
