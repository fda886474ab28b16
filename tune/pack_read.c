/* SPDX-License-Identifier: Apache-2.0 */
/* pack_read.c -- looking up entries of a pack (pack.h). A lookup reads one bucket and its
 * entry, both against the hashes above them, and keeps neither.
 */
#include "pack_priv.h"

#include <stdlib.h>

/* -- entries ------------------------------------------------------------------------- */

/* Rows of a bucket as they stand in the file, hashed; NULL and a reason. */
static uint8_t *load_rows(const kt_pack *p, unsigned i, kt_reason *bad)
{
	const kt_rows *b = &p->bucket[i];
	size_t n = (size_t)b->rows * KT_PACK_ROW;
	uint8_t *rows = malloc(n + 1);
	kt_key hash;

	*bad = rows ? KT_WHY_none : KT_WHY_miss;
	if (rows && !kt_read_at(p->fd, rows, n, b->place))
		*bad = KT_WHY_corrupt;
	if (!*bad) {
		kt_hash(rows, n, &hash);
		if (!kt_key_equal(&hash, &b->hash))
			*bad = KT_WHY_wrong_hash;
	}
	if (*bad) {
		free(rows);
		return NULL;
	}
	return rows;
}

/* Bytes of an entry, hashed; NULL and a reason. */
static uint8_t *load_entry(const kt_pack *p, const kt_row *r, kt_reason *bad)
{
	uint8_t *at = NULL;
	kt_key hash;

	*bad = KT_WHY_corrupt;
	if (r->size > KT_PACK_MOST_BYTES || r->size > p->size || r->place > p->size - r->size)
		return NULL;
	if (!(at = malloc((size_t)r->size + 1))) {
		*bad = KT_WHY_miss;
		return NULL;
	}
	if (kt_read_at(p->fd, at, r->size, r->place)) {
		kt_hash(at, r->size, &hash);
		*bad = kt_key_equal(&hash, &r->hash) ? KT_WHY_none : KT_WHY_wrong_hash;
	}
	if (*bad) {
		free(at);
		return NULL;
	}
	return at;
}

kt_reason kt_load_schedule(const kt_pack *p, const kt_row *row, kt_schedule *out)
{
	kt_reason bad;
	uint8_t *at = load_entry(p, row, &bad);

	if (!at)
		return bad;
	if (!kt_get_schedule(at, row->size, out))
		bad = KT_WHY_corrupt;
	else if (!kt_key_equal(&out->where.program, &row->key)) {
		bad = KT_WHY_wrong_key;
		kt_schedule_free(out);
	}
	free(at);
	return bad;
}

kt_reason kt_load_code(const kt_pack *p, const kt_row *row, kt_code *out)
{
	kt_reason bad;
	uint8_t *at = load_entry(p, row, &bad);
	kt_key hash;

	if (!at)
		return bad;
	bool ok = kt_get_code(at, row->size, out);
	free(at);
	if (!ok)
		return KT_WHY_corrupt;
	/* of the copy that is handed out */
	kt_hash(out->bytes, out->size, &hash);
	if (!kt_key_equal(&out->key, &row->key))
		bad = KT_WHY_wrong_key;
	else if (!kt_key_equal(&hash, &out->hash))
		bad = KT_WHY_wrong_hash;
	else if (kt_trust_revoked(p->trust, hash.b))
		bad = KT_WHY_revoked;
	if (bad)
		kt_code_free(out);
	return bad;
}

kt_reason kt_pack_code(kt_pack *p, const kt_key *key, kt_code *out)
{
	char hex[KT_HEX];
	kt_reason bad;

	if (p->state)
		return KT_WHY_miss;
	kt_key_hex(key, hex);
	uint8_t *rows = load_rows(p, key->b[0], &bad);
	if (!rows)
		return kt_say(&p->log, bad, p->path, "its index");
	bad = KT_WHY_miss;
	for (uint32_t i = 0; i < p->bucket[key->b[0]].rows; i++) {
		kt_row r = kt_load_row(rows + (size_t)i * KT_PACK_ROW);
		if (r.type == KT_ENTRY_CODE && kt_key_equal(&r.key, key)) {
			bad = p->trusted ? p->trusted : kt_load_code(p, &r, out);
			break;
		}
	}
	free(rows);
	return p->trusted ? bad : kt_say(&p->log, bad, p->path, hex);
}

unsigned kt_pack_schedules(kt_pack *p, const kt_key *program, const kt_key *machine,
                           kt_schedule **out)
{
	unsigned n = 0, room = 0;
	kt_schedule *list = NULL, one;
	kt_reason bad;

	*out = NULL;
	if (p->state)
		return 0;
	uint8_t *rows = load_rows(p, program->b[0], &bad);
	if (!rows)
		kt_say(&p->log, bad, p->path, "its index");
	for (uint32_t i = 0; rows && i < p->bucket[program->b[0]].rows; i++) {
		kt_row r = kt_load_row(rows + (size_t)i * KT_PACK_ROW);
		if (r.type != KT_ENTRY_SCHEDULE || !kt_key_equal(&r.key, program))
			continue;
		if ((bad = kt_load_schedule(p, &r, &one))) {
			kt_say(&p->log, bad, p->path, "a schedule");
			continue;
		}
		if (n == room) {
			room = room ? room * 2 : 4;
			kt_schedule *more = realloc(list, room * sizeof(*list));
			if (!more) {
				kt_schedule_free(&one);
				break;
			}
			list = more;
		}
		if (!machine || kt_key_equal(machine, &one.where.machine))
			list[n++] = one;
		else
			kt_schedule_free(&one);
	}
	free(rows);
	if (!n) {
		free(list);
		list = NULL;
	}
	*out = list;
	return n;
}

/* -- all of them --------------------------------------------------------------------- */

kt_reason kt_each_row(const kt_pack *p, bool (*fn)(const kt_row *r, void *ctx), void *ctx)
{
	kt_reason bad = p->state;
	bool more = true;

	for (unsigned i = 0; i < KT_PACK_BUCKETS && !bad && more; i++) {
		uint8_t *rows = load_rows(p, i, &bad);
		for (uint32_t k = 0; rows && more && k < p->bucket[i].rows; k++) {
			kt_row r = kt_load_row(rows + (size_t)k * KT_PACK_ROW);
			more = fn(&r, ctx);
		}
		free(rows);
	}
	return bad;
}

typedef struct walk {
	const kt_pack *p;
	bool (*code)(const kt_code *r, void *ctx);
	void *ctx;
	bool whole;
} walk;

static bool walk_code(const kt_row *row, void *ctx)
{
	walk *w = ctx;
	kt_code r;
	kt_reason bad;

	if (row->type != KT_ENTRY_CODE)
		return true;
	if ((bad = kt_load_code(w->p, row, &r))) {
		kt_say(&w->p->log, bad, w->p->path, "an entry of code");
		w->whole = w->whole && bad == KT_WHY_revoked;
		return true;
	}
	if (w->p->trusted) {
		free(r.bytes);
		r.bytes = NULL;
		r.size = 0;
	}
	bool more = w->code(&r, w->ctx);
	kt_code_free(&r);
	return more;
}

bool kt_pack_each_code(kt_pack *p, bool (*fn)(const kt_code *r, void *ctx), void *ctx)
{
	walk w = { .p = p, .code = fn, .ctx = ctx, .whole = true };

	return !kt_each_row(p, walk_code, &w) && w.whole;
}
