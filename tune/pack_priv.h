/* SPDX-License-Identifier: Apache-2.0 */
/* pack_priv.h -- an open pack, for the files that read it: pack.c opens it and judges its
 * signature, pack_read.c looks entries up, pack_check.c hashes everything.
 */
#ifndef KVJIT_TUNE_PACK_PRIV_H
#define KVJIT_TUNE_PACK_PRIV_H

#include "pack.h"
#include "pack_entry.h"

typedef struct kt_rows {
	uint64_t place;
	uint32_t rows;
	kt_key hash;
} kt_rows;

struct kt_pack {
	int fd;
	uint64_t size;
	char *path;
	const kt_trust *trust;
	kt_log log;
	kt_reason state, trusted;
	kt_pack_head head;
	kt_key root;
	const kt_public *key; /* of the signature, if it's trusted */
	bool has_signature;
	kt_signature signature;
	kt_rows bucket[KT_PACK_BUCKETS];
};

/* n bytes at a place of the file; false if it ends before. */
bool kt_read_at(int fd, void *to, size_t n, uint64_t from);
/* An entry, hashed and of its row's key; code also of its own hash, and not revoked. Doesn't
 * ask whether the pack is trusted. */
kt_reason kt_load_schedule(const kt_pack *p, const kt_row *row, kt_schedule *out);
kt_reason kt_load_code(const kt_pack *p, const kt_row *row, kt_code *out);
/* Calls fn for each row, in the order of keys, until it returns false or a bucket is bad. */
kt_reason kt_each_row(const kt_pack *p, bool (*fn)(const kt_row *r, void *ctx), void *ctx);

#endif
