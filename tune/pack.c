/* SPDX-License-Identifier: Apache-2.0 */
/* pack.c -- reading a pack (pack.h, pack_entry.h).
 *
 * The file is read with pread, never mapped: one that shrinks or changes under us is a short
 * read or a wrong hash, not a signal. Opening keeps the head (12 KiB) and nothing else; a
 * lookup reads its bucket and its entry, checks both against what the head says, and leaves
 * nothing behind. So there is nothing to lock either.
 */
#include "pack_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* 2026-01-01: no pack is older, so a clock that says less isn't set. Not a pack that expires is
 * taken on its word. */
#define CLOCK_SET INT64_C(1767225600)

enum { MOST_SIGNATURE = 4096 };

/* -- files --------------------------------------------------------------------------- */

/* A regular file and no link, without waiting for one who opens the other end of a FIFO. */
static kt_reason open_file(const char *path, int *fd, uint64_t *size)
{
	struct stat st;
	kt_reason bad = KT_WHY_none;

	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY);
	if (*fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? KT_WHY_absent
		       : errno == ELOOP                    ? KT_WHY_symlink
		       : errno == ENXIO                    ? KT_WHY_not_file
		                                           : KT_WHY_unreadable;
	if (fstat(*fd, &st))
		bad = KT_WHY_unreadable;
	else if (!S_ISREG(st.st_mode))
		bad = KT_WHY_not_file;
	else
		*size = (uint64_t)st.st_size;
	if (bad) {
		close(*fd);
		*fd = -1;
	}
	return bad;
}

bool kt_read_at(int fd, void *to, size_t n, uint64_t from)
{
	uint8_t *at = to;

	while (n) {
		ssize_t got = pread(fd, at, n, (off_t)from);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		at += got;
		from += (uint64_t)got;
		n -= (size_t)got;
	}
	return true;
}

/* -- the head ------------------------------------------------------------------------ */

static kt_reason parse_head(kt_pack *p, const uint8_t raw[KT_PACK_HEAD], const char **detail)
{
	kt_pack_head *h = &p->head;
	uint64_t rows = 0;

	*detail = "it isn't a pack";
	if (memcmp(raw, KT_PACK_MAGIC, 8))
		return KT_WHY_corrupt;
	*detail = "its format isn't one that this kvjit reads";
	if (kt_load32(raw + 8) > KT_PACK_VERSION)
		return KT_WHY_newer;
	*detail = "its head contradicts itself";
	if (kt_load32(raw + 8) != KT_PACK_VERSION || kt_load32(raw + 12) != KT_PACK_HEAD)
		return KT_WHY_corrupt;
	memcpy(h->name, raw + 48, sizeof(h->name));
	size_t n = strnlen(h->name, sizeof(h->name));
	for (size_t i = n; i < sizeof(h->name); i++)
		if (h->name[i])
			return KT_WHY_corrupt;
	h->version = (int64_t)kt_load64(raw + 24);
	h->expires = (int64_t)kt_load64(raw + 32);
	h->nschedule = kt_load32(raw + 40);
	h->ncode = kt_load32(raw + 44);
	if (n == sizeof(h->name) || !kt_pack_name(h->name) || h->version < 1 || h->expires < 0)
		return KT_WHY_corrupt;
	for (unsigned i = 0; i < KT_PACK_BUCKETS; i++) {
		const uint8_t *at = raw + KT_PACK_FIXED + i * KT_PACK_BUCKET;
		kt_rows *b = &p->bucket[i];
		b->place = KT_PACK_HEAD + rows * KT_PACK_ROW;
		b->rows = kt_load32(at);
		memcpy(b->hash.b, at + 4, sizeof(b->hash.b));
		rows += b->rows;
	}
	if (rows != (uint64_t)h->nschedule + h->ncode)
		return KT_WHY_corrupt;
	*detail = "it has more than 1048576 entries";
	if (rows > KT_PACK_MOST_ROWS)
		return KT_WHY_corrupt;
	*detail = "it is shorter or longer than its head says";
	if (kt_load64(raw + 16) != p->size || KT_PACK_HEAD + rows * KT_PACK_ROW > p->size)
		return KT_WHY_corrupt;
	return KT_WHY_none;
}

/* -- the signature ------------------------------------------------------------------- */

/* Text of PATH.minisig; NULL: none, for a reason. */
static kt_reason read_signature(const char *path, char text[MOST_SIGNATURE])
{
	char name[4096];
	uint64_t size;
	int fd;
	int n = snprintf(name, sizeof(name), "%s.minisig", path);
	kt_reason bad = n < 0 || (size_t)n >= sizeof(name) ? KT_WHY_unreadable
	                                                   : open_file(name, &fd, &size);

	if (bad)
		return bad;
	bool ok =
	    size < MOST_SIGNATURE && kt_read_at(fd, text, size, 0) && !memchr(text, '\0', size);
	close(fd);
	text[ok ? size : 0] = '\0';
	return KT_WHY_none;
}

/* The root that a trusted comment names. */
static bool root_of(const char *comment, kt_key *out)
{
	char hex[KT_HEX] = "";
	size_t n = strlen(KT_PACK_COMMENT);

	if (strncmp(comment, KT_PACK_COMMENT, n))
		return false;
	strncpy(hex, comment + n, KT_HEX - 1);
	return strlen(hex) == KT_HEX - 1 && strchr(" ", comment[n + KT_HEX - 1]) &&
	       kt_key_parse(hex, out);
}

/* Whether the signature is by the key and over these contents. With a root in the comment the
 * file needn't be read; the algorithm must then be the one that we sign with, as the comment's
 * signature doesn't cover its name. */
static bool signed_by(const kt_pack *p, const kt_public *key, const uint8_t *raw)
{
	kt_key root;

	if (p->signature.prehashed && root_of(p->signature.comment, &root))
		return kt_key_equal(&root, &p->root) && kt_verify_comment(key, &p->signature);
	return kt_verify_from(key, &p->signature, raw, KT_PACK_HEAD, p->fd);
}

static kt_reason judge_time(const kt_pack *p, int64_t now, char *why, size_t len)
{
	char date[32] = "";
	time_t at = (time_t)(now < CLOCK_SET ? now : p->head.expires);
	struct tm tm;

	if (!p->head.expires || (now >= CLOCK_SET && now < p->head.expires))
		return KT_WHY_none;
	if (gmtime_r(&at, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d", &tm);
	snprintf(why, len,
	         now < CLOCK_SET ? "the clock isn't set: it says %s" : "that was on %s", date);
	return KT_WHY_expired;
}

/* Why its code isn't used. */
static kt_reason judge(kt_pack *p, const kt_pack_options *o, const uint8_t *raw, char *why,
                       size_t len)
{
	char text[MOST_SIGNATURE];
	const kt_pack_head *h = &p->head;
	kt_reason bad = read_signature(p->path, text);

	if (bad == KT_WHY_absent) {
		snprintf(why, len, "there is no %.200s.minisig", p->path);
		return KT_WHY_unsigned_code;
	}
	if (bad) {
		snprintf(why, len, "its signature %s", kt_reasons[bad].sentence);
		return KT_WHY_unsigned_code;
	}
	if (!kt_signature_parse(text, &p->signature, why, len))
		return KT_WHY_bad_signature;
	p->has_signature = true;
	snprintf(why, len, "key %016" PRIX64, kt_load64(p->signature.id));
	const kt_public *key = kt_trust_key(o->trust, p->signature.id);
	if (!key)
		return KT_WHY_unknown_key;
	if (!signed_by(p, key, raw))
		return KT_WHY_bad_signature;
	p->key = key;
	int64_t least = kt_trust_minimum(o->trust, h->name);
	int64_t seen = o->seen ? o->seen(h->name, p->signature.id, o->ctx) : 0;
	least = seen > least ? seen : least;
	snprintf(why, len, "version %" PRId64 " of %s, and %" PRId64 " is the least",
	         h->version, h->name, least);
	if (h->version < least)
		return KT_WHY_rolled_back;
	return judge_time(p, o->now, why, len);
}

kt_pack *kt_pack_open(const kt_pack_options *o)
{
	kt_pack *p = calloc(1, sizeof(*p));
	uint8_t raw[KT_PACK_HEAD];
	char why[300];
	const char *detail = NULL;

	if (!p || !(p->path = strdup(o->path))) {
		free(p);
		return NULL;
	}
	p->log = o->log;
	p->trust = o->trust;
	p->trusted = KT_WHY_unsigned_code;
	p->state = open_file(o->path, &p->fd, &p->size);
	if (!p->state && !kt_read_at(p->fd, raw, sizeof(raw), 0)) {
		p->state = KT_WHY_corrupt;
		detail = "it is shorter than a pack's head";
	}
	if (!p->state)
		p->state = parse_head(p, raw, &detail);
	if (p->state) {
		kt_say(&p->log, p->state, p->path, detail);
		p->trusted = p->state;
		return p;
	}
	kt_hash(raw, sizeof(raw), &p->root);
	p->trusted = judge(p, o, raw, why, sizeof(why));
	kt_say(&p->log, p->trusted, p->path, why);
	return p;
}

void kt_pack_close(kt_pack *p)
{
	if (!p)
		return;
	if (p->fd >= 0)
		close(p->fd);
	free(p->path);
	free(p);
}

kt_reason kt_pack_state(const kt_pack *p)
{
	return p->state;
}

kt_reason kt_pack_trust(const kt_pack *p)
{
	return p->trusted;
}

const kt_pack_head *kt_pack_head_of(const kt_pack *p)
{
	return p->state ? NULL : &p->head;
}

const uint8_t *kt_pack_signer(const kt_pack *p)
{
	return p->has_signature ? p->signature.id : NULL;
}

void kt_pack_comment(const kt_pack *p, char *out, size_t len)
{
	char hex[KT_HEX];

	kt_key_hex(&p->root, hex);
	snprintf(out, len, KT_PACK_COMMENT "%s name=%s version=%" PRId64, hex, p->head.name,
	         p->head.version);
}

bool kt_pack_signature(kt_pack *p, const kt_secret *key, char *out, size_t len)
{
	char comment[KT_COMMENT_MAX];

	kt_pack_comment(p, comment, sizeof(comment));
	return !p->state && kt_sign_file(key, p->fd, comment, out, len);
}
