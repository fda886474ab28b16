/* SPDX-License-Identifier: Apache-2.0 */
/* key.h -- names for programs, machines and code, computed from canonical bytes.
 *
 * A key is BLAKE2b-256 over a list of named fields, each with its length, so that no two lists
 * give the same bytes. Never over a path, a time, a pointer, a locale or the text a user
 * wrote: two spellings of a problem have one key.
 *
 *   program  what is computed: formats and level-A (or T, V) function, without schedule,
 *            target and hints. Schedules are looked up by it.
 *   machine  what a measurement depends on: features, cache sizes, processors. Not the model.
 *   code     program, target, schedule, backend, code generator version, passes left out: all
 *            that decides a blob's bytes. Code is looked up by it.
 *   native   a code key and the device whose own machine code it is: what stands beside SPIR-V.
 */
#ifndef KVJIT_TUNE_KEY_H
#define KVJIT_TUNE_KEY_H

#include "../ir/problem.h"

/* Goes up whenever a change of passes or backends makes other code of the same text. Stored
 * schedules stay valid across it, after one check; code doesn't. */
#define KT_CODEGEN 89

typedef struct kt_key {
	uint8_t b[32];
} kt_key;

enum { KT_HEX = 65 };

void kt_hash(const void *bytes, size_t n, kt_key *out);
bool kt_key_equal(const kt_key *a, const kt_key *b);
void kt_key_hex(const kt_key *k, char out[KT_HEX]);
bool kt_key_parse(const char *hex, kt_key *out); /* exactly 64 hex digits */

/* What a code key is made of; every member reaches the key. */
typedef struct kt_code_of {
	const kir_func *f;   /* schedule resolved, target set */
	const char *backend; /* "x86" */
	const char *skip;    /* passes left out, NULL: none; order and repeats don't matter */
	int codegen;         /* KT_CODEGEN */
} kt_code_of;

void kt_program_key(const kir_func *f, kt_key *out);
/* program: kt_program_key of c->f, which costs a print of it. */
void kt_code_key_of(const kt_key *program, const kt_code_of *c, kt_key *out);
/* Of the native code made of the SPIR-V under `code`, for the row of that name of targets.def.
 */
void kt_native_key(const kt_key *code, const char *device, kt_key *out);

/* The machine as text, e.g. "avx512-bf16 l1=32 l2=1024 processors=2 isa=sse3,...,avx512bf16",
 * and its key. */
void kt_machine_text(const kir_target *host, uint64_t isa, int processors, kir_text *out);
void kt_machine_key(const kir_target *host, uint64_t isa, int processors, kt_key *out);

/* -- buckets -------------------------------------------------------------------------------
 * Sizes that change from step to step, in classes for which one schedule is kept. */
enum { KT_NBATCH = 11, KT_NCTX = 13, KT_NQLEN = 3, KT_ANY = -1 };

typedef struct kt_bucket {
	int batch; /* log2 of the sequences, 0..10; KT_ANY: not known      */
	int ctx;   /* log2 of the longest context in 256ths, 0..12         */
	int qlen;  /* new tokens of a sequence: 0 one, 1 up to 15, 2 more  */
} kt_bucket;

/* Of a batch's sizes; 0: not known. Constant time. */
kt_bucket kt_bucket_of(int64_t batch, int64_t ctx, int64_t qlen);
/* How far apart in octaves; a size not known is 1 from any; another qlen class is 100. */
int kt_bucket_distance(kt_bucket a, kt_bucket b);

#endif
