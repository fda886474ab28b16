/* SPDX-License-Identifier: Apache-2.0 */
/* pack_write.c -- making a pack and its signature (pack.h, pack_entry.h).
 *
 * The same records in any order give the same bytes: rows are sorted by key, then type, then
 * hash; what is there twice is written once.
 */
#include "pack.h"
#include "pack_entry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct item {
	kt_row row;
	unsigned i; /* of the records of its type */
} item;

__attribute__((format(printf, 3, 4))) static bool say(char *why, size_t len, const char *fmt,
                                                      ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, len, fmt, ap);
	va_end(ap);
	return false;
}

/* -- a file that is there whole or not at all ---------------------------------------- */

typedef struct beside {
	char path[4096];
	FILE *f;
} beside;

static bool beside_open(beside *b, const char *path, char *why, size_t len)
{
	int n = snprintf(b->path, sizeof(b->path), "%s.%ld.tmp", path, (long)getpid());
	int fd = -1;

	if (n > 0 && (size_t)n < sizeof(b->path)) {
		unlink(b->path); /* of a process of this number that was killed */
		fd = open(b->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	}
	b->f = fd < 0 ? NULL : fdopen(fd, "wb");
	if (!b->f) {
		if (fd >= 0)
			close(fd);
		return say(why, len, "%s can't be written: %s", path, strerror(errno));
	}
	return true;
}

static bool beside_close(beside *b, const char *path, bool ok, char *why, size_t len)
{
	bool written = !ferror(b->f) && !fflush(b->f) && !fsync(fileno(b->f));

	written = !fclose(b->f) && written;
	if (ok && written && !rename(b->path, path))
		return true;
	if (ok)
		say(why, len, "%s can't be written: %s", path, strerror(errno));
	unlink(b->path);
	return false;
}

/* -- the pack ------------------------------------------------------------------------ */

static void put_item(kt_bytes *b, const kt_pack_input *in, const item *x)
{
	b->n = 0;
	if (x->row.type == KT_ENTRY_CODE)
		kt_put_code(b, &in->code[x->i]);
	else
		kt_put_schedule(b, &in->schedule[x->i]);
}

/* Whether the bytes can be read again, by the very code that will. */
static bool readable(const kt_bytes *b, const item *x)
{
	kt_schedule s;
	kt_code c;
	kt_key hash;

	if (b->failed || b->n > KT_PACK_MOST_BYTES)
		return false;
	if (x->row.type == KT_ENTRY_SCHEDULE) {
		bool ok = kt_get_schedule(b->at, b->n, &s);
		if (ok)
			kt_schedule_free(&s);
		return ok;
	}
	if (!kt_get_code(b->at, b->n, &c))
		return false;
	kt_hash(c.bytes, c.size, &hash);
	bool ok = kt_key_equal(&hash, &c.hash);
	kt_code_free(&c);
	return ok;
}

static int by_row(const void *a, const void *b)
{
	const kt_row *x = &((const item *)a)->row, *y = &((const item *)b)->row;
	int d = memcmp(x->key.b, y->key.b, sizeof(x->key.b));

	if (!d)
		d = (x->type > y->type) - (x->type < y->type);
	return d ? d : memcmp(x->hash.b, y->hash.b, sizeof(x->hash.b));
}

/* Whether b, which follows a, is left out: the same record, or other code under one key. Of
 * two codes the one with the lower hash stays. */
static bool again(const kt_row *a, const kt_row *b)
{
	return kt_key_equal(&a->key, &b->key) && a->type == b->type &&
	       (a->type == KT_ENTRY_CODE || kt_key_equal(&a->hash, &b->hash));
}

/* Rows of all records, sorted, with their places; NULL and a sentence if one can't be written.
 */
static item *make_items(const kt_pack_input *in, kt_pack_head *head, char *why, size_t len)
{
	unsigned nsched = in->head.nschedule, n = nsched + in->head.ncode, kept = 0;
	item *items = calloc((size_t)n + 1, sizeof(*items));
	kt_bytes b = { 0 };
	bool ok = items || say(why, len, "no memory is left");

	for (unsigned i = 0; i < n && ok; i++) {
		item *x = &items[i];
		bool code = i >= nsched;
		x->i = code ? i - nsched : i;
		x->row.type = code ? KT_ENTRY_CODE : KT_ENTRY_SCHEDULE;
		x->row.key = code ? in->code[x->i].key : in->schedule[x->i].where.program;
		put_item(&b, in, x);
		if (!(ok = readable(&b, x)))
			say(why, len,
			    "%s %u can't be packed: a field is out of range%s; problem %s",
			    code ? "code" : "schedule", x->i,
			    code ? " or its hash isn't that of its bytes" : "",
			    code ? in->code[x->i].problem : in->schedule[x->i].problem);
		x->row.size = (uint32_t)b.n;
		if (ok)
			kt_hash(b.at, b.n, &x->row.hash);
	}
	free(b.at);
	if (!ok) {
		free(items);
		return NULL;
	}
	qsort(items, n, sizeof(*items), by_row);
	head->nschedule = head->ncode = 0;
	for (unsigned i = 0; i < n; i++) {
		if (kept && again(&items[kept - 1].row, &items[i].row))
			continue;
		if (items[i].row.type == KT_ENTRY_CODE)
			head->ncode++;
		else
			head->nschedule++;
		items[kept++] = items[i];
	}
	uint64_t place = KT_PACK_HEAD + (uint64_t)kept * KT_PACK_ROW;
	for (unsigned i = 0; i < kept; i++) {
		items[i].row.place = place;
		place += items[i].row.size;
	}
	return items;
}

static void put_head(kt_bytes *b, const kt_pack_head *h, uint64_t bytes)
{
	char name[64] = "";

	strcpy(name, h->name);
	kt_put(b, KT_PACK_MAGIC, 8);
	kt_put32(b, KT_PACK_VERSION);
	kt_put32(b, KT_PACK_HEAD);
	kt_put64(b, bytes);
	kt_put64(b, (uint64_t)h->version);
	kt_put64(b, (uint64_t)h->expires);
	kt_put32(b, h->nschedule);
	kt_put32(b, h->ncode);
	kt_put(b, name, sizeof(name));
}

/* Head and index. */
static bool put_table(kt_bytes *b, const kt_pack_head *h, const item *items, unsigned n)
{
	const kt_row *last = n ? &items[n - 1].row : NULL;
	kt_bytes rows = { 0 };
	unsigned at = 0;

	put_head(b, h, last ? last->place + last->size : KT_PACK_HEAD);
	for (unsigned bucket = 0; bucket < KT_PACK_BUCKETS; bucket++) {
		unsigned first = at;
		size_t before = rows.n;
		kt_key hash;
		for (; at < n && items[at].row.key.b[0] == bucket; at++)
			kt_put_row(&rows, &items[at].row);
		if (rows.failed)
			break;
		kt_hash(rows.at ? rows.at + before : (const uint8_t *)"", rows.n - before,
		        &hash);
		kt_put32(b, at - first);
		kt_put(b, hash.b, sizeof(hash.b));
	}
	kt_put(b, rows.at, rows.n);
	bool ok = !rows.failed && !b->failed;
	free(rows.at);
	return ok;
}

static bool head_ok(const kt_pack_input *in, char *why, size_t len)
{
	const kt_pack_head *h = &in->head;

	if (!memchr(h->name, '\0', sizeof(h->name)) || !kt_pack_name(h->name))
		return say(why, len, "a pack's name is 1 to 63 of a-z, 0-9, '.' and '-'");
	if (h->version < 1)
		return say(why, len, "a pack's version is a number from 1");
	if (h->expires < 0)
		return say(why, len, "a pack expires after 1970, or never (0)");
	if (h->nschedule > KT_PACK_MOST_ROWS || h->ncode > KT_PACK_MOST_ROWS - h->nschedule)
		return say(why, len, "a pack has at most %d entries", KT_PACK_MOST_ROWS);
	return true;
}

bool kt_pack_write(const char *path, const kt_pack_input *in, char *why, size_t len)
{
	kt_pack_head head = in->head;
	kt_bytes b = { 0 };
	item *items = NULL;
	beside out;

	if (!head_ok(in, why, len) || !(items = make_items(in, &head, why, len)))
		return false;
	unsigned n = head.nschedule + head.ncode;
	bool ok = put_table(&b, &head, items, n) || say(why, len, "no memory is left");
	ok = ok && beside_open(&out, path, why, len);
	if (ok) {
		fwrite(b.at, 1, b.n, out.f);
		for (unsigned i = 0; i < n && ok; i++) {
			put_item(&b, in, &items[i]);
			ok = !b.failed || say(why, len, "no memory is left");
			if (ok)
				fwrite(b.at, 1, b.n, out.f);
		}
		ok = beside_close(&out, path, ok, why, len);
	}
	free(b.at);
	free(items);
	return ok;
}

/* -- the signature ------------------------------------------------------------------- */

bool kt_pack_sign(const char *path, const kt_secret *key, char *why, size_t len)
{
	kt_pack_options o = { .path = path };
	char text[4096], to[4096];
	beside out;

	kt_pack *p = kt_pack_open(&o);
	if (!p)
		return say(why, len, "no memory is left");
	bool ok = kt_pack_state(p) == KT_WHY_none ||
	          say(why, len, "%s %s", path, kt_reasons[kt_pack_state(p)].sentence);
	/* What doesn't hold together isn't signed. */
	ok = ok && kt_pack_verify(p, why, len, NULL) == KT_WHY_none;
	if (ok && !kt_pack_signature(p, key, text, sizeof(text)))
		ok = say(why, len, "%s can't be read", path);
	kt_pack_close(p);
	int n = snprintf(to, sizeof(to), "%s.minisig", path);
	if (ok && (n < 0 || (size_t)n >= sizeof(to)))
		ok = say(why, len, "the path is too long");
	if (!ok || !beside_open(&out, to, why, len))
		return false;
	fputs(text, out.f);
	return beside_close(&out, to, true, why, len);
}
