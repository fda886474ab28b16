/* SPDX-License-Identifier: Apache-2.0 */
/* trust.c -- the file that says whose packs may supply code (sign.h).
 *
 * It counts as a whole or not at all: a line that can't be read might have been the one that
 * revokes, so with it no key is trusted and every pack gives schedules only.
 */
#include "sign.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_BYTES = 16 << 20, NAME_BYTES = 64 };

typedef struct minimum {
	char pack[NAME_BYTES];
	int64_t version;
} minimum;

struct kt_trust {
	kt_public *key;
	uint8_t (*revoked)[32]; /* sorted */
	minimum *minimum;
	unsigned nkey, nrevoked, nminimum;
};

/* -- reading ------------------------------------------------------------------------- */

/* Room for one more in an array that doubles at powers of two. */
static void *grow(void *array, unsigned n, size_t size)
{
	if (n & (n - 1))
		return array;
	return realloc(array, (n ? (size_t)n * 2 : 1) * size);
}

static bool add_key(kt_trust *t, const char *text, char *why, size_t len)
{
	kt_public p;

	if (!kt_public_parse(text, &p, why, len))
		return false;
	const kt_public *old = kt_trust_key(t, p.id);
	if (old && memcmp(old->key, p.key, sizeof(p.key))) {
		snprintf(why, len, "there are two keys of one id");
		return false;
	}
	void *more = grow(t->key, t->nkey, sizeof(*t->key));
	if (!more)
		return false;
	t->key = more;
	t->key[t->nkey++] = p;
	return true;
}

static bool add_revoked(kt_trust *t, const char *hex, char *why, size_t len)
{
	uint8_t hash[32];
	size_t n;

	if (strlen(hex) != 64 || sodium_hex2bin(hash, sizeof(hash), hex, 64, NULL, &n, NULL) ||
	    n != sizeof(hash)) {
		snprintf(why, len, "'%.80s' isn't a hash of 64 hex digits", hex);
		return false;
	}
	void *more = grow(t->revoked, t->nrevoked, sizeof(*t->revoked));
	if (!more)
		return false;
	t->revoked = more;
	memcpy(t->revoked[t->nrevoked++], hash, sizeof(hash));
	return true;
}

static bool add_minimum(kt_trust *t, const char *pack, const char *version, char *why,
                        size_t len)
{
	minimum m = { .version = 0 };
	char *end;

	errno = 0;
	m.version = strtoll(version, &end, 10);
	if (errno || *end || end == version || m.version < 1 || strlen(pack) >= NAME_BYTES) {
		snprintf(why, len, "minimum takes a pack's name and a version from 1");
		return false;
	}
	strcpy(m.pack, pack);
	void *more = grow(t->minimum, t->nminimum, sizeof(*t->minimum));
	if (!more)
		return false;
	t->minimum = more;
	t->minimum[t->nminimum++] = m;
	return true;
}

static bool add_line(kt_trust *t, char *line, char *why, size_t len)
{
	char *word[4], *rest = NULL;
	unsigned n = 0;

	for (char *w = strtok_r(line, " \t\r", &rest); w; w = strtok_r(NULL, " \t\r", &rest)) {
		if (w[0] == '#')
			break;
		if (n < 4)
			word[n++] = w;
	}
	if (!n)
		return true;
	if (!strcmp(word[0], "key") && (n == 2 || n == 3))
		return add_key(t, word[1], why, len);
	if (!strcmp(word[0], "revoke") && n == 2)
		return add_revoked(t, word[1], why, len);
	if (!strcmp(word[0], "minimum") && n == 3)
		return add_minimum(t, word[1], word[2], why, len);
	snprintf(why, len,
	         "a line is one of 'key BASE64 [NAME]', 'revoke HASH' and 'minimum "
	         "PACK VERSION'");
	return false;
}

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, 32);
}

static bool parse(kt_trust *t, char *text, char *why, size_t len)
{
	char sentence[200];
	unsigned number = 1;

	for (char *line = text, *end; line; line = end, number++) {
		if ((end = strchr(line, '\n')))
			*end++ = '\0';
		snprintf(sentence, sizeof(sentence), "no memory is left");
		if (!add_line(t, line, sentence, sizeof(sentence))) {
			snprintf(why, len, "line %u: %s; no key is trusted", number, sentence);
			return false;
		}
	}
	if (t->nrevoked)
		qsort(t->revoked, t->nrevoked, sizeof(*t->revoked), by_bytes);
	return true;
}

/* The file's text, NUL-terminated; NULL if it is too long, changes or holds a NUL. */
static char *read_text(int fd)
{
	struct stat st;
	size_t n = 0;
	ssize_t got = 0;

	if (fstat(fd, &st) || st.st_size > MOST_BYTES)
		return NULL;
	size_t size = (size_t)st.st_size;
	char *text = malloc(size + 1);
	while (text && n <= size &&
	       ((got = read(fd, text + n, size + 1 - n)) > 0 || (got < 0 && errno == EINTR)))
		n += got > 0 ? (size_t)got : 0;
	if (!text || got < 0 || n != size || memchr(text, '\0', n)) {
		free(text);
		return NULL;
	}
	text[n] = '\0';
	return text;
}

static void clear(kt_trust *t)
{
	free(t->key);
	free(t->revoked);
	free(t->minimum);
	memset(t, 0, sizeof(*t));
}

kt_trust *kt_trust_read(const char *path, const kt_log *log)
{
	kt_trust *t = calloc(1, sizeof(*t));
	char why[300];

	if (!t)
		return NULL;
	/* not blocking: a FIFO is refused, not waited for */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY);
	if (fd < 0) {
		kt_say(log,
		       errno == ENOENT  ? KT_WHY_absent
		       : errno == ELOOP ? KT_WHY_symlink
		                        : KT_WHY_unreadable,
		       path, "no key is trusted");
		return t;
	}
	kt_reason bad = kt_file_trusted(fd, path);
	char *text = bad ? NULL : read_text(fd);
	if (bad)
		kt_say(log, bad, path, "no key is trusted");
	else if (!text)
		kt_say(log, KT_WHY_unreadable, path, "it isn't a text of at most 16 MiB");
	else if (!parse(t, text, why, sizeof(why))) {
		kt_say(log, KT_WHY_corrupt, path, why);
		clear(t);
	}
	free(text);
	close(fd);
	return t;
}

void kt_trust_free(kt_trust *t)
{
	if (t)
		clear(t);
	free(t);
}

/* -- asking -------------------------------------------------------------------------- */

const kt_public *kt_trust_key(const kt_trust *t, const uint8_t id[8])
{
	for (unsigned i = 0; t && i < t->nkey; i++)
		if (!memcmp(t->key[i].id, id, sizeof(t->key[i].id)))
			return &t->key[i];
	return NULL;
}

bool kt_trust_revoked(const kt_trust *t, const uint8_t hash[32])
{
	return t && t->nrevoked &&
	       bsearch(hash, t->revoked, t->nrevoked, sizeof(*t->revoked), by_bytes);
}

int64_t kt_trust_minimum(const kt_trust *t, const char *pack)
{
	int64_t most = 0;

	for (unsigned i = 0; t && i < t->nminimum; i++)
		if (!strcmp(t->minimum[i].pack, pack) && t->minimum[i].version > most)
			most = t->minimum[i].version;
	return most;
}
