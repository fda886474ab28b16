/* SPDX-License-Identifier: Apache-2.0 */
/* pack_entry.h -- the bytes of a pack, for those who write and read it (docs/packs.md).
 *
 *   head     magic "kvpack\r\n", u32 format, u32 bytes of the head, u64 bytes of the file,
 *            i64 version, i64 expires, u32 schedules, u32 code, name[64],
 *            256 x { u32 rows, hash[32] of the rows }
 *   index    rows, those of bucket 0 first: key[32], hash[32] of the entry, u64 place,
 *            u32 bytes, u32 type
 *   entries  one behind the other, in the order of their rows
 *
 * All integers little endian, no gaps. A row stands in the bucket of its key's first byte; a
 * schedule's key is its program. The hash of the head is the pack's root.
 */
#ifndef KVJIT_TUNE_PACK_ENTRY_H
#define KVJIT_TUNE_PACK_ENTRY_H

#include "record.h"

enum {
	KT_PACK_BUCKETS = 256,
	KT_PACK_FIXED = 112, /* the head before the buckets */
	KT_PACK_BUCKET = 36, /* a bucket in the head */
	KT_PACK_HEAD = KT_PACK_FIXED + KT_PACK_BUCKETS * KT_PACK_BUCKET,
	KT_PACK_ROW = 80,
	/* What a reader is willing to hold in memory at a time. */
	KT_PACK_MOST_ROWS = 1 << 20,
	KT_PACK_MOST_BYTES = 1 << 26
};
#define KT_PACK_MAGIC   "kvpack\r\n"
#define KT_PACK_COMMENT "kvjit-pack root="

typedef enum kt_entry_type { KT_ENTRY_SCHEDULE = 1, KT_ENTRY_CODE = 2 } kt_entry_type;

typedef struct kt_row {
	kt_key key, hash;
	uint64_t place;
	uint32_t size, type;
} kt_row;

/* Bytes that grow; free(at). failed: no memory. */
typedef struct kt_bytes {
	uint8_t *at;
	size_t n, cap;
	bool failed;
} kt_bytes;

void kt_put(kt_bytes *b, const void *from, size_t n);
void kt_put32(kt_bytes *b, uint32_t x);
void kt_put64(kt_bytes *b, uint64_t x);
uint32_t kt_load32(const uint8_t *at);
uint64_t kt_load64(const uint8_t *at);

void kt_put_row(kt_bytes *b, const kt_row *r);
kt_row kt_load_row(const uint8_t at[KT_PACK_ROW]);

void kt_put_schedule(kt_bytes *b, const kt_schedule *r);
void kt_put_code(kt_bytes *b, const kt_code *r);
/* Of exactly n bytes, each checked; false leaves nothing to free in *r. Code's bytes are a
 * copy; whether hash is theirs is the caller's to check. */
bool kt_get_schedule(const uint8_t *at, size_t n, kt_schedule *r);
bool kt_get_code(const uint8_t *at, size_t n, kt_code *r);

/* 1 to 63 of [a-z0-9.-] */
bool kt_pack_name(const char *name);

#endif
