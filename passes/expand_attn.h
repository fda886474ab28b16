/* SPDX-License-Identifier: Apache-2.0 */
/* expand_attn.h -- what the files that expand attention share.
 *
 *     expand_attn.c    items, tiles of keys, the loop over them
 *     expand_block.c   several items over one chunk of keys
 *     expand_latent.c  the same of a latent cache: keys and values of one row
 *     expand_strips.c  rows of index lists, 16 at a time, for tile registers
 *     expand_result.c  results, pieces and their joining
 */
#ifndef KVJIT_PASSES_EXPAND_ATTN_H
#define KVJIT_PASSES_EXPAND_ATTN_H

#include "../ir/format.h"
#include "expand_softmax.h"

enum { /* fields of a work item, see jit/plan.c */
       W_SEQ,
       W_HEAD,
       W_QUERY,
       W_FIRST,
       W_END,
       W_SLOT,
       W_COUNT,
       W_ROW
};

/* Elements of keys or values that lie in one stream. Where one tile of keys serves as values
 * too, those that share a scale are a part: then scales are one a token, and each part's sum
 * of values is a tile of its own. */
typedef struct part {
	kir_ref codes, scales;  /* buffers; 0: none are stored     */
	int64_t from, dim;      /* of the whole head               */
	int64_t column, group;  /* of the stream; group -1: all of its scales */
	const kir_side *packed; /* codes are two a byte; NULL: one element each */
	const kir_side *zero;   /* scales hold zero points; NULL: they don't    */
	int64_t tokens;         /* those that share scales, one an element; 0   */
	kir_ref wide;           /* keys from attn.chunk on, or those of a strip, as bf16: codes,
	                         * times scales of groups; or 0 */
} part;

typedef struct attn {
	const kir_func *in;
	kir_ref node;
	kir_func *f;
	kir_ref *map;
	kir_ref q, out, lse, qd, kd, vd, table, lens, starts, scale, sink, part;
	part key[PARTS], value[PARTS];
	unsigned nkey, nvalue;
	const kir_side *rotated[2]; /* K, V: how they are rotated, or NULL */
	kir_ref sign[2];            /* s8[block], or 0                     */
	kir_ref mean;               /* f32[Hkv, D] that keys are stored less, or 0 */
	row_gather gather;          /* index lists: rows are brought into locals */
	int64_t heads, page;
	int64_t group, tiles; /* query heads handled together, such tiles of a KV head */
	int64_t dim_v;
	int64_t q_tile, rows, kv_tile;
	int64_t q_block, kv_chunk; /* items of an iteration, keys that they pass over in turn */
	bool widen_key, widen_value;
	bool strips;        /* listed rows are brought and multiplied 16 at a time         */
	kir_ref sums;       /* scores of all strips of a tile then, f32[R, kv_tile]        */
	bool shared;        /* rows of a latent cache are widened for all items of a block */
	part stored[PARTS]; /* of the keys then, as they lie in the cache */
	unsigned nstored;
	kir_ref queries; /* those of a block in the order of products, or 0 */
	kir_ref chunk;   /* first key of those, where any part is widened, or 0 */
	kir_ref score_region, mask_region;
	bool plain_score; /* the region yields its argument */
} attn;

/* One work item's scalars, all s64 but where said. */
typedef struct item {
	kir_ref seq, head, query, first, end, slot, count, row;
	kir_ref head0;    /* first query head                       */
	kir_ref qpos, hq; /* s32<R>: position and head of each row  */
	kir_ref scale;    /* f32: everything that scales a score    */
	kir_ref vscale;   /* f32 or 0                               */
	kir_ref q[PARTS]; /* f32<R x D>, for each part of the keys  */
	kir_ref mean;     /* f32<R>: what the keys' mean adds to each score, or 0 */
	kir_ref place;    /* of its first row in attn.queries, or 0 */
} item;

static inline kir_type_id attn_vec(const attn *a, kir_elem e)
{
	return kir_vector(a->f->module, e, a->rows);
}

static inline kir_ref attn_field(const attn *a, kir_ref list, kir_ref at, int i)
{
	kir_ref idx[2] = { at, s64c(a->f, i) };

	return as_elem(a->f, load1(a->f, list, 2, idx), KIR_s64);
}

static inline kir_ref imul(const attn *a, kir_ref x, int64_t k)
{
	return e2(a->f, KIR_OP_mul, kir_scalar(a->f->module, KIR_s64), x, s64c(a->f, k));
}

static inline kir_ref iadd(const attn *a, kir_ref x, kir_ref y)
{
	return e2(a->f, KIR_OP_add, kir_scalar(a->f->module, KIR_s64), x, y);
}

/* Whether part i of the keys is part i of the values, all of it: one tile serves both. */
static inline bool is_value(const attn *a, unsigned i)
{
	return i < a->nvalue && i < a->nkey && !a->shared && !a->strips &&
	       a->key[i].codes == a->value[i].codes && a->key[i].column == a->value[i].column &&
	       a->key[i].dim == a->value[i].dim;
}

/* An item's fields, and what follows from them: places and scale of its rows, queries. */
item attn_item(const attn *a, kir_ref work, kir_ref w);
void attn_rows(const attn *a, item *it);
/* Where key j lies: page, KV head, token, 0; and its place in the chunk. */
void attn_place(const attn *a, const item *it, kir_ref j, kir_ref at[5]);
/* One tile of K or V: as stored, or times its stored scales, f32<N x D>. */
kir_ref attn_codes(const attn *a, const part *p, const kir_ref at[5], kir_ref upto, bool cut);
kir_ref attn_tile(const attn *a, const part *p, const kir_ref at[5], kir_ref upto, bool cut);
/* Whether each group of a token's elements has a scale of its own. */
bool attn_grouped(const attn *a, const part *p);
softmax_state attn_begin(const attn *a);
/* Keys from the tile of `first` on, to `end`, of one item: its state after the last tile. */
bool attn_keys(const attn *a, const item *it, kir_ref first, kir_ref end, softmax_state *s,
               kir_diag *why);

/* Sizes of blocks, from the knobs; what codes are widened. */
bool attn_set_blocks(attn *a, kir_diag *why);
/* The q_block items from w on, if w is the first of a block. */
bool attn_block(const attn *a, kir_ref work, kir_ref w, kir_ref nwork, kir_diag *why);

/* Whether a block's items share rows of a latent cache that are brought into locals as bf16,
 * the values beside in the order of products; asked once parts and knobs are known. */
bool attn_shares(const attn *a);
/* A local of bf16 in the order of products, its axis of pairs being `inner`. */
kir_ref attn_ordered(const attn *a, int64_t rows, int64_t cols, uint8_t inner);
/* Locals of a latent block; keys become one part, values another. */
void attn_latent_begin(attn *a);
/* The rows of the chunk from `first` to `end`, those from `last` on as zeros. */
void attn_latent_widen(const attn *a, const item *it, kir_ref first, kir_ref end, kir_ref last);

/* Whether rows of index lists are brought in strips; asked once parts and knobs are known. */
bool attn_takes_strips(const attn *a);
/* Cuts keys and values into the parts that strips take. */
void attn_cut_parts(attn *a);
/* Their locals. */
void attn_strips_begin(attn *a);
/* Brings the rows of the tile at j: q . k of all of them, f32<R x N>; *listed: i1<N>, which of
 * them are rows of the cache. */
kir_ref attn_strips(const attn *a, const item *it, kir_ref j, kir_ref *listed);
/* Whether the last part of the keys is no part of the values' stream, and its product stands
 * first. */
bool attn_rest_first(const attn *a);

/* The result of an item, or its piece of one. */
void attn_finish(const attn *a, const item *it, softmax_state s);
void attn_join(const attn *a, kir_ref list, kir_ref njoin);

#endif
