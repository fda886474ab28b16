/* SPDX-License-Identifier: Apache-2.0 */
/* cache.h -- what the files of `kvjit cache` share. */
#ifndef KVJIT_TOOL_CACHE_H
#define KVJIT_TOOL_CACHE_H

#include "tool.h"
#include "../tune/store.h"

#include <cjson/cJSON.h>

/* Each takes its options and operands; dir is --cache, NULL: the user's. */
int cache_ls(args *a, const char *dir);
int cache_show(args *a, const char *dir);
int cache_why(args *a, const char *dir);
int cache_stats(args *a, const char *dir);
int cache_gains(args *a, const char *dir);
int cache_gc(args *a, const char *dir);
int cache_verify(args *a, const char *dir);
int cache_merge(args *a, const char *dir);
int cache_export(args *a, const char *dir);
int cache_import(args *a, const char *dir);
int cache_pin(args *a, const char *dir);
int cache_unpin(args *a, const char *dir);
int cache_pack(args *a, const char *dir);
int cache_sign(args *a, const char *dir);
int cache_keygen(args *a, const char *dir);

/* A sentence on stderr; gives TOOL_FAILED. */
int cache_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The store in dir, or the user's; NULL after telling why not. make: it may be new. */
kt_store *cache_open(const char *dir, bool make);
bool cache_exists(const char *dir);
/* A context that uses no cache, to ask about problems; NULL after telling why not. */
kvjit *cache_front(void);
/* The same for problems of target t: that of a GPU has another backend, and opens no device. */
kvjit *cache_front_of(const kir_target *t);
/* Keys of a problem under sched (may be NULL), and the sizes it names; false and a sentence in
 * why. */
typedef struct cache_of {
	kt_key program, code;
	kt_bucket bucket;
} cache_of;
bool cache_resolve(kvjit *kv, const char *problem, const char *sched, unsigned flags,
                   cache_of *out, char *why, size_t len);
/* Whether the text says by itself what is computed. A problem with a format of its own doesn't,
 * where its record has only the problem's line: it is told on stderr and left out. */
bool cache_stands_alone(const char *problem);
/* Text to path, NULL: stdout; false after telling why not. */
bool cache_save(const char *path, const char *text, size_t len);
/* "8/8192/1": sequences, context, new tokens of a bucket. */
void cache_bucket_text(kt_bucket b, char out[48]);
/* One more in an array that doubles at powers of two; NULL: memory is out. */
void *cache_grow(void *array, unsigned n, size_t size);

#endif
