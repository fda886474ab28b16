/* SPDX-License-Identifier: Apache-2.0 */
/* pack_entry.c -- see pack_entry.h. A reader here never believes a length: what is left is
 * counted down, and the end must be met exactly.
 */
#include "pack_entry.h"

#include <endian.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* -- writing ------------------------------------------------------------------------- */

void kt_put(kt_bytes *b, const void *from, size_t n)
{
	if (!n || b->failed)
		return;
	if (b->cap - b->n < n) {
		size_t cap = (b->n + n) * 2;
		uint8_t *more = realloc(b->at, cap);
		if (!more) {
			b->failed = true;
			return;
		}
		b->at = more;
		b->cap = cap;
	}
	memcpy(b->at + b->n, from, n);
	b->n += n;
}

void kt_put32(kt_bytes *b, uint32_t x)
{
	x = htole32(x);
	kt_put(b, &x, sizeof(x));
}

void kt_put64(kt_bytes *b, uint64_t x)
{
	x = htole64(x);
	kt_put(b, &x, sizeof(x));
}

static void put_key(kt_bytes *b, const kt_key *x)
{
	kt_put(b, x->b, sizeof(x->b));
}

static void put_i32(kt_bytes *b, const int *x)
{
	kt_put64(b, (uint64_t)(int64_t)*x);
}

static void put_i64(kt_bytes *b, const int64_t *x)
{
	kt_put64(b, (uint64_t)*x);
}

static void put_u64(kt_bytes *b, const uint64_t *x)
{
	kt_put64(b, *x);
}

static void put_size(kt_bytes *b, const size_t *x)
{
	kt_put64(b, *x);
}

static void put_real(kt_bytes *b, const double *x)
{
	uint64_t bits;

	memcpy(&bits, x, sizeof(bits));
	kt_put64(b, bits);
}

/* NULL is an empty text. */
static void put_text(kt_bytes *b, char *const *x)
{
	size_t n = *x ? strlen(*x) : 0;

	if (n > KT_PACK_MOST_BYTES) {
		b->failed = true;
		return;
	}
	kt_put32(b, (uint32_t)n);
	kt_put(b, *x, n);
}

static void put_policy(kt_bytes *b, const kt_policy *x)
{
	kt_put64(b, (uint64_t)*x);
}

static void put_source(kt_bytes *b, const kt_source *x)
{
	kt_put64(b, (uint64_t)*x);
}

#define put_batch put_i32
#define put_ctx   put_i32
#define put_qlen  put_i32

void kt_put_schedule(kt_bytes *b, const kt_schedule *r)
{
#define SCHEDULE(kind, member) put_##kind(b, &r->member);
#define CODE(kind, member)
#include "pack_entry.def"
}

void kt_put_code(kt_bytes *b, const kt_code *r)
{
#define SCHEDULE(kind, member)
#define CODE(kind, member) put_##kind(b, &r->member);
#include "pack_entry.def"
	kt_put(b, r->bytes, r->size);
}

void kt_put_row(kt_bytes *b, const kt_row *r)
{
	put_key(b, &r->key);
	put_key(b, &r->hash);
	kt_put64(b, r->place);
	kt_put32(b, r->size);
	kt_put32(b, r->type);
}

/* -- reading ------------------------------------------------------------------------- */

uint32_t kt_load32(const uint8_t *at)
{
	uint32_t x;

	memcpy(&x, at, sizeof(x));
	return le32toh(x);
}

uint64_t kt_load64(const uint8_t *at)
{
	uint64_t x;

	memcpy(&x, at, sizeof(x));
	return le64toh(x);
}

kt_row kt_load_row(const uint8_t at[KT_PACK_ROW])
{
	kt_row r = { .place = kt_load64(at + 64),
		     .size = kt_load32(at + 72),
		     .type = kt_load32(at + 76) };

	memcpy(r.key.b, at, sizeof(r.key.b));
	memcpy(r.hash.b, at + 32, sizeof(r.hash.b));
	return r;
}

/* What is left to read. */
typedef struct rest {
	const uint8_t *at;
	size_t n;
} rest;

static const uint8_t *take(rest *s, size_t n)
{
	const uint8_t *at = s->at;

	if (s->n < n)
		return NULL;
	s->at += n;
	s->n -= n;
	return at;
}

static bool get_key(rest *s, kt_key *x)
{
	const uint8_t *at = take(s, sizeof(x->b));

	if (at)
		memcpy(x->b, at, sizeof(x->b));
	return at;
}

static bool get_u64(rest *s, uint64_t *x)
{
	const uint8_t *at = take(s, sizeof(*x));

	if (at)
		*x = kt_load64(at);
	return at;
}

static bool get_i64(rest *s, int64_t *x)
{
	uint64_t u;

	if (!get_u64(s, &u))
		return false;
	memcpy(x, &u, sizeof(u));
	return true;
}

static bool get_within(rest *s, int64_t lo, int64_t hi, int64_t *x)
{
	return get_i64(s, x) && *x >= lo && *x <= hi;
}

static bool get_int(rest *s, int64_t lo, int64_t hi, int *x)
{
	int64_t wide = 0;
	bool ok = get_within(s, lo, hi, &wide);

	*x = (int)wide;
	return ok;
}

static bool get_i32(rest *s, int *x)
{
	return get_int(s, INT32_MIN, INT32_MAX, x);
}

static bool get_batch(rest *s, int *x)
{
	return get_int(s, KT_ANY, KT_NBATCH - 1, x);
}

static bool get_ctx(rest *s, int *x)
{
	return get_int(s, KT_ANY, KT_NCTX - 1, x);
}

static bool get_qlen(rest *s, int *x)
{
	return get_int(s, KT_ANY, KT_NQLEN - 1, x);
}

static bool get_policy(rest *s, kt_policy *x)
{
	int64_t wide;

	if (!get_within(s, KT_COLD, KT_WARM, &wide))
		return false;
	*x = (kt_policy)wide;
	return true;
}

static bool get_source(rest *s, kt_source *x)
{
	int64_t wide;

	if (!get_within(s, KT_BY_trial, KT_BY_hand, &wide))
		return false;
	*x = (kt_source)wide;
	return true;
}

static bool get_size(rest *s, size_t *x)
{
	int64_t wide;

	if (!get_within(s, 0, KT_PACK_MOST_BYTES, &wide))
		return false;
	*x = (size_t)wide;
	return true;
}

static bool get_real(rest *s, double *x)
{
	uint64_t bits;

	if (!get_u64(s, &bits))
		return false;
	memcpy(x, &bits, sizeof(*x));
	return isfinite(*x);
}

static bool get_text(rest *s, char **x)
{
	const uint8_t *n = take(s, 4);
	const uint8_t *at = n ? take(s, kt_load32(n)) : NULL;
	size_t len = n ? kt_load32(n) : 0;

	if (!at || memchr(at, '\0', len) || !(*x = malloc(len + 1)))
		return false;
	memcpy(*x, at, len);
	(*x)[len] = '\0';
	return true;
}

bool kt_get_schedule(const uint8_t *at, size_t n, kt_schedule *r)
{
	rest s = { at, n };
	bool ok = true;

	memset(r, 0, sizeof(*r));
#define SCHEDULE(kind, member) ok = ok && get_##kind(&s, &r->member);
#define CODE(kind, member)
#include "pack_entry.def"
	if (!ok || s.n)
		kt_schedule_free(r);
	return ok && !s.n;
}

bool kt_get_code(const uint8_t *at, size_t n, kt_code *r)
{
	rest s = { at, n };
	bool ok = true;

	memset(r, 0, sizeof(*r));
#define SCHEDULE(kind, member)
#define CODE(kind, member) ok = ok && get_##kind(&s, &r->member);
#include "pack_entry.def"
	if (ok && r->kind[0] && r->entry < s.n && r->text <= s.n && (r->bytes = malloc(s.n))) {
		memcpy(r->bytes, s.at, s.n);
		r->size = s.n;
		return true;
	}
	kt_code_free(r);
	return false;
}

bool kt_pack_name(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-");

	return n && n < 64 && !name[n];
}
