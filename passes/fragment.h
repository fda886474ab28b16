/* SPDX-License-Identifier: Apache-2.0 */
/* fragment.h -- what the parts of the fragment pass share.
 *
 *     fragment.c     regions, elementwise ops, reductions
 *     frag_shape.c   what each value is to the sub-group: tile, row vector, column vector
 *     frag_memory.c  tiles and vectors from and to memory
 *     frag_dot.c     products
 *     frag_left.c    left factors whose lanes hold several columns
 *     frag_deal.c    bytes among them on engines of 16 lanes
 *     frag_sums.c    sums of rows a lane each while a loop carries them
 *     frag_maxima.c  maxima of rows a lane each while nobody needs them
 *     frag_quads.c   bytes of values from words of rows
 *     frag_widen.c   codes of 8 bits to f16, a word at a time
 */
#ifndef KVJIT_PASSES_FRAGMENT_H
#define KVJIT_PASSES_FRAGMENT_H

#include "emit.h"

/* How a value of rank 1 and more lies in the lanes. */
typedef enum frag_kind {
	FRAG_UNKNOWN,
	FRAG_TILE, /* blocks of rows x lanes: a column a lane, a row a component     */
	FRAG_ROW,  /* one element a row: a block is the same in every lane           */
	FRAG_COL   /* one element a column: a block has one in each lane             */
} frag_kind;

enum {
	FRAG_CHAIN = 12,
	FRAG_WIDE = 16, /* lanes of the wider engines           */
	FRAG_RUN = 8    /* most columns that lie side by side in a lane */
};

/* The right factor of a product: what is loaded, and what is done to it before it is used. */
typedef struct frag_factor {
	kir_ref load;
	kir_ref chain[FRAG_CHAIN]; /* the first is next to the product */
	unsigned nchain;
} frag_factor;

typedef struct frag {
	const kir_func *in;
	kir_func *f;
	kir_ref *map;  /* scalars and buffers: in -> f                        */
	kir_ref **val; /* blocks of other values, row by row                  */
	uint8_t *kind; /* frag_kind, by node of in                            */
	uint8_t *run;  /* columns l run + i lie in lane l of block i of run; at most FRAG_RUN */
	bool *deferred; /* read by a product, from memory                      */
	bool *partial;  /* sums of rows, of which a lane has its own part      */
	bool *gathers;  /* loops' results that were partial in them            */
	bool *tops;     /* maxima of rows, of which a lane has its own part    */
	unsigned *nuse;
	int64_t lanes;
	bool failed; /* something isn't taken: vectorize lowers the function    */
} frag;

/* -- shapes ----------------------------------------------------------------------------- */

/* Kinds and orders of all values; false if they contradict each other. */
bool frag_shapes(frag *g);
/* The right factor of product n; false if it isn't memory read through elementwise ops. */
bool frag_factor_of(const frag *g, kir_ref n, frag_factor *b);
/* Whether that is codes of 8 bits that become f16, two words of them from one of codes: the
 * even elements and the odd ones (frag_widen.c). */
bool frag_widens(const frag *g, kir_ref n);
/* Steps of the contraction that product n takes at once, and a lane's share of them. */
int64_t frag_depth(const frag *g, kir_ref n);
int64_t frag_share(const frag *g, kir_ref n);
/* Elements of f16 from words of four codes of e each: x[0] the even ones, x[1] the odd ones, of
 * what x[0] was. Returns what they are to be multiplied by. NaN of e4m3 comes out as a number.
 */
double frag_widen(frag *g, kir_elem e, kir_ref x[2]);
/* Of rows of codes, two columns in each lane: their even columns and their odd ones in f16. */
void frag_widen_rows(frag *g, kir_elem e, kir_ref rows, kir_ref x[2]);
/* Words whose upper bits of bytes say where x, codes of e4m3, is NaN or where `any` (or 0:
 * nothing) said so. Not apart: beside a NaN that of its word's next code may be wrong, an
 * instruction less. */
kir_ref frag_nans(frag *g, kir_ref x, bool apart, kir_ref any);

/* How the right factor of product n comes from memory: in blocks or, each lane what it needs of
 * them, as if; or its rows as words, four or eight columns a lane; or byte by byte, which is no
 * gain. */
typedef enum frag_road { FRAG_BLOCKS, FRAG_WORDS, FRAG_NONE } frag_road;
frag_road frag_road_of(const frag *g, kir_ref n);
/* From words of rows, four columns each: of pairs of rows, columns 0 and 1 (which: 0) or 2 and
 * 3 of both; of four rows, each column. */
kir_ref frag_pairs(frag *g, kir_ref words, int64_t which);
void frag_quads(frag *g, kir_ref words, kir_ref column[4]);

int64_t frag_nrows(const frag *g, kir_ref n); /* 1 for FRAG_COL                    */
int64_t frag_ncols(const frag *g, kir_ref n); /* 1 for FRAG_ROW                    */
/* Rows a block has of a value of that many: 1, 2, 4 or 8. */
int64_t frag_height(int64_t rows);
int64_t frag_row_blocks(const frag *g, kir_ref n);
int64_t frag_col_blocks(const frag *g, kir_ref n);
int64_t frag_blocks(const frag *g, kir_ref n);
kir_type_id frag_type(const frag *g, kir_ref n); /* of a block of n */
kir_ref *frag_new(frag *g, kir_ref n);           /* n's array of blocks, still empty */

/* -- ops --------------------------------------------------------------------------------- */

/* Block (r, c) of operand s for an op whose blocks have `height` rows; scalars as they are. */
kir_ref frag_operand(frag *g, kir_ref s, int64_t r, int64_t c, int64_t height);
kir_ref frag_pack(frag *g, kir_ref x, kir_ref y);
kir_ref frag_part(frag *g, kir_ref x, int64_t start, int64_t count);

/* In each lane its number times `run`, of type t; the column that lane 0 has of block c. */
kir_ref frag_iota(frag *g, kir_type_id t, int64_t run);
int64_t frag_first(const frag *g, int64_t run, int64_t c);

void frag_load(frag *g, kir_ref n);
void frag_load_rows(frag *g, kir_ref n);   /* rows that are widened together */
void frag_load_column(frag *g, kir_ref n); /* a column of a tile of one      */
void frag_store(frag *g, kir_ref n);
void frag_dot(frag *g, kir_ref n);
/* Which sums of rows stay partial in which loops. */
void frag_find_sums(frag *g);
/* Adds the lanes of n where a loop gave a part in each. */
void frag_gather(frag *g, kir_ref n);
/* Which maxima of rows stay a lane's own. */
void frag_find_maxima(frag *g);
/* Before op n, which needs whole ones, reads such: the lanes' largest. What the parts are goes
 * to `was`, of as many as n has operands; frag_part_again() puts them back. */
void frag_meet(frag *g, kir_ref n, kir_ref **was);
void frag_part_again(frag *g, kir_ref n, kir_ref **was);
/* Product n's left factor as the engine takes it: for each row of blocks one for each
 * frag_depth() steps of the contraction. Where keys widen, the even ones of a pair of steps
 * come first, then the odd ones. */
kir_ref *frag_left(frag *g, kir_ref n);
/* The same of bytes, on engines of 16 lanes. */
kir_ref *frag_left_bytes(frag *g, kir_ref a);

static inline kir_type_id frag_vector(const frag *g, kir_elem e, int64_t components)
{
	return kir_vector(g->f->module, e, g->lanes * components);
}

#endif
