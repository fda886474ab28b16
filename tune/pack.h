/* SPDX-License-Identifier: Apache-2.0 */
/* pack.h -- a shipped cache: schedules and code in one read-only file, with a signature.
 *
 *     NAME.kvpack            the file
 *     NAME.kvpack.minisig    its signature, minisign's format
 *
 * The same inputs give the same bytes on any machine: entries are sorted by key, no time is
 * written that wasn't given. A table of hashes over the index and each entry hangs together in
 * one root hash, which our trusted comment carries ("kvjit-pack root=HEX"): opening checks one
 * signature and the head, and each use the entry used, so that neither time nor memory follow
 * from the pack's size. A signature without that comment (minisign's own) is checked over the
 * whole file when it is opened.
 *
 * Code is handed out only by a pack with a good signature of a trusted key, not expired, not
 * revoked, not older than one seen before. Any other pack gives schedules only.
 */
#ifndef KVJIT_TUNE_PACK_H
#define KVJIT_TUNE_PACK_H

#include "record.h"
#include "sign.h"

enum { KT_PACK_VERSION = 1 }; /* of the file format */

typedef struct kt_pack kt_pack;

/* Of the whole pack, in its head. */
typedef struct kt_pack_head {
	char name[64]; /* "attention": what `minimum` and rollback go by; [a-z0-9.-]         */
	int64_t version; /* of the contents, rising */
	int64_t expires; /* seconds since 1970, 0: never */
	unsigned nschedule, ncode;
} kt_pack_head;

typedef struct kt_pack_input {
	kt_pack_head head;
	const kt_schedule *schedule; /* head.nschedule of them, any order */
	const kt_code *code;         /* head.ncode                        */
} kt_pack_input;

/* Writes the file (made anew beside path, then renamed). False and a sentence in why. */
bool kt_pack_write(const char *path, const kt_pack_input *in, char *why, size_t len);
/* Signs with the root hash in the trusted comment; writes PATH.minisig. Nothing is signed that
 * kt_pack_verify finds fault with. */
bool kt_pack_sign(const char *path, const kt_secret *key, char *why, size_t len);

/* Never NULL but when memory is out; a pack that can't be used at all answers miss. Whatever
 * is wrong is said to the log, once. */
typedef struct kt_pack_options {
	const char *path;
	const kt_trust *trust; /* as long as the pack; NULL: no key is trusted */
	/* seconds since 1970; before 2026 the clock isn't set, and whatever expires counts as
	 * expired */
	int64_t now;
	/* highest version of a pack by that name and key seen before, 0: none; may be NULL */
	int64_t (*seen)(const char *name, const uint8_t id[8], void *ctx);
	void *ctx;
	kt_log log;
} kt_pack_options;
kt_pack *kt_pack_open(const kt_pack_options *o);
void kt_pack_close(kt_pack *p);
/* Of the file: none, or why nothing in it is used. */
kt_reason kt_pack_state(const kt_pack *p);
/* Of its code: none, or why only schedules are used. */
kt_reason kt_pack_trust(const kt_pack *p);
const kt_pack_head *kt_pack_head_of(const kt_pack *p); /* NULL if the file isn't one */
const uint8_t *kt_pack_signer(const kt_pack *p);       /* key id, NULL: unsigned */
/* "kvjit-pack root=HEX name=NAME version=N": what a signature of this pack has as its trusted
 * comment, ours or minisign's (-t). */
void kt_pack_comment(const kt_pack *p, char *out, size_t len);
/* Text of a new signature file. */
bool kt_pack_signature(kt_pack *p, const kt_secret *key, char *out, size_t len);

/* As kt_code_get and kt_schedules_of of the store; the bytes are a private copy, hashed after
 * copying. kt_pack_code gives code of an untrusted pack never: the reason is then that of
 * kt_pack_trust. Any number of threads may ask at once. */
kt_reason kt_pack_code(kt_pack *p, const kt_key *key, kt_code *out);
unsigned kt_pack_schedules(kt_pack *p, const kt_key *program, const kt_key *machine,
                           kt_schedule **out);
/* Of an untrusted pack without bytes: NULL and size 0. Revoked code is left out. */
bool kt_pack_each_code(kt_pack *p, bool (*fn)(const kt_code *r, void *ctx), void *ctx);
/* Hashes everything, and checks the file's signature if its key is trusted; none, or the first
 * thing wrong with a sentence in why. Whether the pack is trusted, expired or too old is
 * kt_pack_trust. checked (may be NULL): entries. */
kt_reason kt_pack_verify(kt_pack *p, char *why, size_t len, int64_t *checked);

#endif
