/* SPDX-License-Identifier: Apache-2.0 */
/* expand_write.h -- what cache.write, quantize and transcode share: how rows become codes, and
 * the walk over tokens that puts them into their slots. */
#ifndef KVJIT_PASSES_EXPAND_WRITE_H
#define KVJIT_PASSES_EXPAND_WRITE_H

#include "expand.h"
#include "../ir/format.h"

/* Where rows go: a buffer and the index of the first. */
typedef struct write_place {
	kir_ref buf, at[KIR_RANK];
	int hint; /* KIR_HINT_*: nta writes past the caches */
} write_place;

/* x in a shape of the place's last `rank` dimensions (the others are 1), stored there. */
void write_store(kir_func *f, kir_ref x, unsigned rank, const write_place *to);
/* Quantizes the rows of x <R x D>, one a head, and stores codes and, if the format computes
 * them, scales; a place's last dimensions are [head, token, ...] or [head, ...]. given: the
 * handed-over scales f32<R>, or 0. between: dimensions between head and element. */
void write_rows(kir_func *f, const kir_side *s, kir_ref x, kir_ref given, kir_ref signs,
                const write_place *codes_to, const write_place *scales_to, unsigned between);
/* The parts of that, where what shares a scale isn't a row. */
/* x (f32) of what was `from`, without what its rule doesn't take. */
kir_ref write_clean(kir_func *f, const kir_side *s, kir_ref x, kir_elem from);
/* The scale, as it is stored, of what has the largest magnitude, or with range/N the distance
 * of the largest and the smallest, a. over: what rows are multiplied by first, or 0. */
kir_ref write_scale(kir_func *f, const kir_side *s, kir_ref a, kir_elem from, kir_ref over);
/* The zero points of what is at least `least` under scales d: codes of 0, as s32. */
kir_ref write_zeros(kir_func *f, const kir_side *s, kir_ref least, kir_ref d);
/* Scales d with zero points in their lowest bits. */
kir_ref write_with_zeros(kir_func *f, const kir_side *s, kir_ref d, kir_ref zero);
/* Codes of x (f32) under scale d (f32): a scalar, or one for each index along axis. zero: s32
 * zero points, or 0. */
kir_ref write_codes(kir_func *f, const kir_side *s, kir_ref x, kir_ref d, kir_ref zero,
                    kir_ref over, int64_t axis);
/* Rows of codes as they are stored: two a byte where the side says so. */
kir_ref write_as_stored(kir_func *f, const kir_side *s, kir_ref codes);

/* x<R>, each element once for each group of its row. */
kir_ref write_each_group(kir_func *f, kir_ref x, int64_t groups);

/* K, V or R of a cache that is written. */
typedef struct write_side {
	const kir_side *side;
	int64_t dim;                      /* elements of a row                        */
	kir_ref in, codes, scales, given; /* buffers; in 0: nothing is stored         */
	kir_ref signs;                    /* of a rotation; 0: none                   */
	kir_ref mean;                     /* f32[H, D], taken off rows first; 0: none */
	kir_ref stage;        /* [H, RUN, D]: a run's codes before they are interleaved; 0  */
	kir_ref group;        /* f32[tokens, D]: what shares scales, of one head; 0   */
	const kir_side *from; /* of transcode: the rule of what `in` holds */
	kir_ref from_scales, from_given; /* and its scales                            */
	kir_ref from_stage;              /* [H, RUN, D]: a run of it in rows; 0       */
	bool move;                       /* codes and scales are moved as they are    */
	bool whole;                      /* a run at once, by put_run                 */
} write_side;

typedef struct write_op write_op;
struct write_op {
	kir_func *f;
	write_side side[KIR_SIDES];
	kir_ref slots, n;
	kir_ref from_slots; /* of transcode: a token whose slot is negative is skipped */
	/* Puts heads [h, h + heads) of token t of a side into two places. */
	void (*put)(const write_op *w, const write_side *s, kir_ref t, kir_ref h, int64_t heads,
	            const write_place *codes, const write_place *scales);
	/* Puts the run from token t into the slots of `page` from `first` on. */
	void (*put_run)(const write_op *w, const write_side *s, kir_ref t, kir_ref page,
	                kir_ref first, int hint);
	/* Puts tokens that share scales, from token t on, into the slots from `slot` on: all of
	 * side 0, or the scales alone if it is moved as it is. */
	void (*put_group)(const write_op *w, kir_ref t, kir_ref slot);
	bool staged;                /* from_stage holds the run that put() takes from  */
	int64_t page, heads, parts; /* set by write_tokens                            */
	int64_t ahead;              /* runs whose rows are touched early, as well     */
	kir_ref part;               /* the partition whose pages are taken            */
	kir_ref next;               /* first token of the run it takes next           */
};

/* put_run of rows (expand_run.c), and whether a side's may be taken so. */
void write_heads(const write_op *w, const write_side *s, kir_ref t, kir_ref page, kir_ref first,
                 int hint);
bool write_interleaves(const kir_type *t);
bool write_by_heads(const kir_func *f, const write_side *s);

/* The loops over partitions and tokens (expand_tokens.c). */
void write_tokens(write_op *w);
enum { WRITE_RUN = 16 }; /* tokens written together */
/* Whether n slots of a list from t on follow each other, the first, `slot`, being a multiple of
 * n: then they are in one page. */
kir_ref write_is_run(const write_op *w, kir_ref list, kir_ref t, kir_ref slot, int64_t n);

/* Heads handled together: as many as fit a tile of 4096 elements. */
static inline int64_t write_heads_together(int64_t heads, int64_t dim)
{
	int64_t n = heads;

	while (n > 1 && (n * dim > 4096 || heads % n))
		n--;
	return n;
}

#endif
