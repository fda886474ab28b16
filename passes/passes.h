/* SPDX-License-Identifier: Apache-2.0 */
/* passes.h -- rewriting kir functions, one step at a time.
 *
 * A pass reads `in` and appends to `out`, an empty function with the same parameters. It is
 * a function of the text: of in's nodes, schedule and target, nothing else. No globals, no
 * environment, no LLVM, no knowledge of a format's name.
 */
#ifndef KVJIT_PASSES_H
#define KVJIT_PASSES_H

#include "../ir/kir.h"
#include "../ir/format.h"

/* REJECT is no bug: this schedule can't be built, and `why` says so in terms of the knob
 * or field; the tuner records it and goes on. */
typedef enum kpass_result { KPASS_SAME, KPASS_CHANGED, KPASS_REJECT } kpass_result;

typedef kpass_result (*kpass_fn)(const kir_func *in, kir_func *out, kir_diag *why);

#define PASS(name, kind, from, to, doc) \
	kpass_result kpass_##name(const kir_func *in, kir_func *out, kir_diag *why);
#include "passes.def"

typedef struct kpass_info {
	const char *name, *doc;
	kpass_fn run;
	uint8_t from, to; /* level before, level after                           */
	bool lower;       /* false: may be skipped without changing the result   */
} kpass_info;

/* Says that a function's tiles take too much memory, by the knobs that size them. */
void kpass_too_large(const kir_sched *s, int64_t bytes, int64_t most, kir_diag *why);
/* Bytes of the locals from node `from` to `to` that live at once, each up to the end of its
 * region. */
int64_t kpass_local_bytes(const kir_func *f, kir_ref from, kir_ref to);

extern const kpass_info kpass_table[];
extern const unsigned kpass_count;

/* What the manager does around each pass. All of it is data handed in. */
typedef struct kpass_options {
	const char *list;  /* "expand,fold_scales", each must read the level it meets;
	                      NULL: the whole table, those of other levels left out  */
	const char *skip;  /* optional passes left out, same form; NULL: none      */
	const char *print; /* "before:select", "after:vectorize", "after:*"; or NULL */
	bool check_text;   /* print, parse, compare and go on with the parsed one  */
	void (*emit)(const char *text, void *ctx); /* where print goes              */
	/* Called with the function before and after each pass that changed it; false
	 * stops with a message naming the pass (the interpreter check, see jit/). */
	bool (*compare)(const kir_func *before, const kir_func *after, void *ctx,
	                kir_diag *why);
	void *ctx;
	unsigned stop_level; /* stop once the function is at this level; 0: run all  */
} kpass_options;

/* Bytes of locals that live at once, of 512 KiB that a thread's stack has at least
 * (docs/api.md); KIR_LOCAL_BYTES where a block of tiles, or tile registers, need more. */
enum { KPASS_LOCALS = 256 * 1024 };

/* Whether products of f may take tile registers. */
bool kpass_has_tiles(const kir_func *f);
/* Knob kv_tile where it is 0: the largest divisor of the page, or of the tokens that share
 * scales (kir_key_run), up to 128 tokens (64 when several queries share a tile and its products
 * are vectors', 32 on engines of 8 lanes) whose keys and values, should they have to be widened
 * to f32, leave room in local memory; a multiple of 16 if there is one, else of 8. */
int64_t kpass_default_kv_tile(const kir_func *f, int64_t run, int64_t dim_k, int64_t dim_v,
                              int64_t q_tile);
/* Whether values of attention n had better become bf16 once a chunk, for all tiles of queries
 * that share it (knob q_block), though products could take them as the bytes that they are. */
bool kpass_values_in_bf16(const kir_func *f, kir_ref n);

/* What the order of attention's loops goes by. */
typedef struct kpass_order {
	int64_t ctx;   /* keys of a sequence; 0: not known                          */
	int64_t tiles; /* of queries, for each of `lists` sequences and KV heads     */
	int64_t lists, rows, dim_k, dim_v; /* rows: of a tile                        */
	int64_t bytes; /* a key and its value as they are stored                     */
	int64_t block; /* what a page has of a head                                  */
	int64_t heads; /* blocks of a page, side by side                             */
	bool wide;     /* codes are widened once a chunk                             */
} kpass_order;

/* Knob q_block where products take tile registers and nobody chose; 0: one tile. */
int64_t kpass_default_q_block(const kir_target *t, const kpass_order *o);
/* Whether the rows of attention n's cache serve as keys and values and are bf16 as they are:
 * the items of a block may share them (expand_latent.c), in tiles of KPASS_SHARED_TILE keys. */
bool kpass_shares_rows(const kir_func *f, kir_ref n);
enum { KPASS_SHARED_TILE = 128 };
/* Whether rows that attention n's index list names are brought in strips (expand_strips.c), in
 * tiles of KPASS_STRIPS_TILE keys where the list has as many and locals have room. By default
 * for one tile of query rows: the queries of more, read for each strip, leave L1. */
bool kpass_takes_strips(const kir_func *f, kir_ref n, int64_t rows);
enum { KPASS_STRIPS_TILE = 64 };
/* Knob kv_chunk where it is 0, in tokens. bytes: of a key and its value, as they are kept for
 * the tiles of queries: stored, or widened, which lies in one piece. */
int64_t kpass_default_kv_chunk(const kir_target *t, const kpass_order *o, int64_t kv_tile);
/* Knob m_chunk of product n where nobody chose; 0: it can't be, or has no gain for `rows`. */
int64_t kpass_default_m_chunk(const kir_func *f, kir_ref n, int64_t rows);
/* Knob n_tile of product n where nobody chose; 0: what it is for any number of rows. */
int64_t kpass_default_n_tile(const kir_func *f, kir_ref n, int64_t rows);
/* With rescale=lazy sums take another reference once a maximum is so much above theirs, as a
 * power of two: weights are at most 2^8 then. */
enum { KPASS_RESCALE = 8 };
/* Query heads of a KV head that are handled together, of `group`. */
int64_t kpass_head_tile(const kir_target *t, int64_t group, int64_t dim_v);
/* Most rows of queries on a GPU, where they and their sums stay in registers: a block of the
 * engine, and no more than take half of them. */
int64_t kpass_gpu_rows(const kir_target *t, int64_t dim_k, int64_t dim_v);
/* Whether auto multiplies keys and values of attention n as integers, with one digit of a query
 * or weight, where products are vectors'. */
bool kpass_one_digit(const kir_func *f, kir_ref n);
/* Whether bf16 products are worth taking. Processors that have FP16 too (Sapphire Rapids) take
 * two cycles for a bf16 product of a register and half a cycle for an f32 one; those with BF16
 * alone (Zen 4) one for either. Tiles are faster than both. */
bool kpass_fast_bf16(const kir_func *f);

/* Runs passes on f; NULL and messages on failure. The result lives in f's module. */
kir_func *kpass_run(kir_func *f, const kpass_options *o, kir_diag *why);

#endif
