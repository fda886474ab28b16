/* SPDX-License-Identifier: Apache-2.0 */
/* sign.h -- Ed25519 signatures in minisign's file formats, through libsodium.
 *
 * minisign's public keys, secret keys (plain or protected by a password) and detached
 * signatures, prehashed ("ED") and legacy ("Ed"): what one makes the other verifies. Source of
 * the formats: minisign's documentation.
 */
#ifndef KVJIT_TUNE_SIGN_H
#define KVJIT_TUNE_SIGN_H

#include "reason.h"

#include <stdint.h>

typedef struct kt_public {
	uint8_t id[8], key[32];
} kt_public;

typedef struct kt_secret {
	uint8_t id[8], key[64];
} kt_secret;

typedef struct kt_signature {
	bool prehashed;
	uint8_t id[8], sig[64], global[64];
	char comment[1024]; /* the trusted comment: signed with the signature by `global` */
} kt_signature;

enum { KT_COMMENT_MAX = 1000 };

/* text: a line of base64, or a key file with its comment line. False and a sentence in why. */
bool kt_public_parse(const char *text, kt_public *out, char *why, size_t len);
/* password may be NULL for a key without one. Wipe *out with kt_secret_wipe. */
bool kt_secret_parse(const char *text, const char *password, kt_secret *out, char *why,
                     size_t len);
void kt_secret_wipe(kt_secret *s);
bool kt_keypair(kt_public *pub, kt_secret *sec);
void kt_public_print(const kt_public *p, char *out, size_t len); /* key file */
void kt_secret_print(const kt_secret *s, char *out, size_t len); /* key file, no password */

bool kt_signature_parse(const char *text, kt_signature *out, char *why, size_t len);
/* Signature file for the bytes of an open file, with this trusted comment. */
bool kt_sign_file(const kt_secret *s, int fd, const char *comment, char *out, size_t len);
/* Only the trusted comment and the signature's own bytes: costs one Ed25519 check, whatever the
 * size of the file. */
bool kt_verify_comment(const kt_public *p, const kt_signature *s);
/* The file's bytes as well. */
bool kt_verify_file(const kt_public *p, const kt_signature *s, int fd);
/* The same of a file whose first n bytes were read before: they are taken from head, so that
 * what was checked is what was read. */
bool kt_verify_from(const kt_public *p, const kt_signature *s, const uint8_t *head, size_t n,
                    int fd);

/* -- whom to trust ---------------------------------------------------------------------------
 * A text file, `/etc/kvjit/trusted` or KVJIT_TRUSTED: lines of
 *     key BASE64 [name]          a public key as minisign prints it
 *     revoke HASH                code (64 hex digits, of its bytes) that is never run
 *     minimum PACK VERSION       packs of that name with a lower version are refused
 * The file must be owned by root or this user and writable by nobody else (kt_file_trusted),
 * or it counts as empty and the log says so. */
typedef struct kt_trust kt_trust;
kt_trust *kt_trust_read(const char *path, const kt_log *log); /* never NULL but out of memory */
void kt_trust_free(kt_trust *t);
const kt_public *kt_trust_key(const kt_trust *t, const uint8_t id[8]); /* NULL: not trusted */
bool kt_trust_revoked(const kt_trust *t, const uint8_t hash[32]);
int64_t kt_trust_minimum(const kt_trust *t, const char *pack); /* 0: none */

#endif
