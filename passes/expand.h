/* SPDX-License-Identifier: Apache-2.0 */
/* expand.h -- the parts of the expand pass. Each appends one level-A op, given by its node
 * in `in`, to `out` as loops over tiles. map is in's nodes to out's. */
#ifndef KVJIT_PASSES_EXPAND_H
#define KVJIT_PASSES_EXPAND_H

#include "emit.h"

bool expand_attention(const kir_func *in, kir_ref n, kir_func *out, kir_ref *map,
                      kir_diag *why);
bool expand_cache_write(const kir_func *in, kir_ref n, kir_func *out, kir_ref *map,
                        kir_diag *why);
bool expand_transcode(const kir_func *in, kir_ref n, kir_func *out, kir_ref *map,
                      kir_diag *why);
bool expand_quantize(const kir_func *in, kir_ref n, kir_func *out, kir_ref *map, kir_diag *why);
bool expand_gemm(const kir_func *in, kir_ref n, kir_func *out, kir_ref *map, kir_diag *why);
bool expand_relayout(const kir_func *in, kir_ref n, kir_func *out, kir_ref *map, kir_diag *why);
bool expand_index_topk(const kir_func *in, kir_ref n, kir_func *out, kir_ref *map,
                       kir_diag *why);
bool expand_merge(const kir_func *in, kir_ref n, kir_func *out, kir_ref *map, kir_diag *why);

/* A side's stored scales s (f32) without the zero points in their lowest bits, which *zero
 * becomes, as f32. */
struct kir_side;
kir_ref expand_split(kir_func *f, const struct kir_side *side, kir_ref s, kir_ref *zero);

/* Operand `name` of in's node n, mapped to out; 0 if absent. */
kir_ref expand_operand(const kir_func *in, kir_ref n, const kir_ref *map, const char *name);

/* Rows x <R x D> f32 rotated in blocks: x . diag(signs) . H, or back: x . H . diag(signs), over
 * the block's size. signs: a buffer s8[block], or 0 for none. */
kir_ref expand_rotate(kir_func *f, kir_ref x, kir_ref signs, int64_t block, bool back);

/* The score and mask regions over a tile of R query rows and N keys. */
typedef struct region_place {
	kir_ref seq;        /* scalar s64                                       */
	kir_ref head, qpos; /* s32<R> query head and position, valid in any lane */
	kir_ref kpos;       /* s32<N> key position, valid in any lane           */
	int64_t rows, keys;
} region_place;

/* Copies the region that starts after node `first`-1 up to its yield as tile ops; score is
 * f32<RxN> or 0. Returns the yielded value as a tile (or the score itself). */
kir_ref expand_region(const kir_func *in, kir_ref first, kir_func *out, const kir_ref *map,
                      const region_place *p, kir_ref score, kir_diag *why);

/* Rows of a cache that an index list names, brought into locals a tile at a time. */
typedef struct row_gather {
	kir_ref index, limit;   /* s32[T, entries]; s64: slots of the cache           */
	int64_t keys, page;     /* entries of a tile, tokens of a page                */
	unsigned n;             /* streams                                            */
	kir_ref from[6], to[6]; /* [pages, H, page(, D)] and, local, [1, 1, keys(, D)] */
	bool codes[6];          /* what products take, not its scales                   */
	bool again;             /* other items bring the same rows                      */
	kir_ref slots;          /* local s32[keys]: the tile's entries, -1 for no row; or 0 */
	kir_ref ahead[2];       /* the same of tiles that are touched, any for no row; or 0 */
} row_gather;

/* Emits the locals. */
void expand_gather_begin(kir_func *f, row_gather *g);
/* The local for a stream; 0 for none. */
kir_ref expand_gathered(const row_gather *g, kir_ref from);
/* Brings the rows of entries [j, j + keys) of list `row` into the locals: i1<keys>, which of
 * them are rows of the cache. What isn't, or is at or past entry `end`, reads as 0. */
kir_ref expand_gather(kir_func *f, const row_gather *g, kir_ref row, kir_ref head, kir_ref j,
                      kir_ref end);
/* The same for who brings rows a few columns at a time (expand_strips.c): the locals, for
 * streams of scales only; what list `row` has at [j, j + keys), to be read by what follows. */
void expand_slots_begin(kir_func *f, row_gather *g);
kir_ref expand_slots(kir_func *f, const row_gather *g, kir_ref row, kir_ref j, kir_ref end);
/* Where row n of the tile lies: page, head, token, 0, and what loads of it are `upto`. */
kir_ref expand_slot(kir_func *f, const row_gather *g, kir_ref head, kir_ref n, kir_ref at[4]);
/* Brings row n's scales. */
void expand_slot_scales(kir_func *f, const row_gather *g, const kir_ref at[4], kir_ref upto,
                        kir_ref n);
/* Touches what rows n of the tiles ahead have of stream `from` in columns [begin, end), and
 * their scales; all of a row is touched once every part is. */
void expand_slot_touch(kir_func *f, const row_gather *g, kir_ref from, kir_ref head, kir_ref n,
                       int64_t begin, int64_t end, bool scales);
/* Touches rows [from, to) of the tile behind that, unless it is done beside the copy. */
void expand_gather_touch(kir_func *f, const row_gather *g, kir_ref row, kir_ref head, kir_ref j,
                         kir_ref end, int64_t from, int64_t to);

#endif
