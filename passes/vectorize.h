/* SPDX-License-Identifier: Apache-2.0 */
/* vectorize.h -- what the parts of the vectorize pass share.
 *
 *     vectorize.c   regions, scalars, values that outlive their region
 *     vec_home.c    indices, loops, where each tile lives
 *     vec_group.c   elementwise ops and reductions: which of them share loops
 *     vec_rows.c    those loops, over rows and vectors
 *     vec_across.c  reductions: identities, combining, lanes of a vector as one
 *     vec_again.c   products that are computed twice, not kept
 *     vec_down.c    reductions over the rows of a tile
 *     vec_maxima.c  the largest magnitudes of rows of bf16
 *     vec_narrow.c  the same over rows shorter than a vector
 *     vec_memory.c  tiles to and from parameters
 *     vec_row.c     rows copied into a local
 *     vec_place.c   tiles that are part of a local, where they lie
 *     vec_nibble.c  two codes a byte, taken apart and put together
 *     vec_pack.c    the right factor of a product, brought into product order
 *     vec_layout.c  cache tiles that are stored in that order, or nearly
 *     vec_wide.c    such a tile, widened, into a local in that order
 *     vec_dot.c     products: blocks of accumulators in registers
 *     vec_sums.c    sums over groups of such products, each times its scales
 *     vec_tiles.c   products in tile registers, where the target has them
 */
#ifndef KVJIT_PASSES_VECTORIZE_H
#define KVJIT_PASSES_VECTORIZE_H

#include "emit.h"

/* An index: var + k, var 0 for none. */
typedef struct vec_ix {
	kir_ref var;
	int64_t k;
} vec_ix;

/* A tile's home: a flat local, row-major from element `off`. A vector is one row. i1 is kept
 * as s8. Rows lie `stride` elements apart: more than cols for columns of a wider tile. */
typedef struct vec_tile {
	kir_ref buf;
	vec_ix off;
	int64_t rows, cols;
	kir_elem elem;
	int64_t stride;
} vec_tile;

/* How one product uses tile registers; see vec_tiles.c. */
typedef struct vec_tiling vec_tiling;

#define VEC_GROUP_MAX 64

/* Elementwise ops over one shape that will share their loops. */
typedef struct vec_group {
	int64_t rows, cols;
	bool table; /* conversions by table alone, which take 64 lanes */
	unsigned n;
	kir_ref node[VEC_GROUP_MAX];
} vec_group;

typedef struct vec {
	const kir_func *in;
	kir_func *f;
	kir_diag *why;
	kir_ref *map;     /* scalars and buffers: in -> f                     */
	vec_tile *val;    /* tiles, by node of in                             */
	unsigned *nuse;   /* uses of each node of in                          */
	kir_ref *parent;  /* region_parents of in                               */
	kir_ref *last;    /* last user of each node of in                     */
	kir_ref *read;    /* the same, of it or a part of it                  */
	kir_ref *handed;  /* the last yield of it or a part of it, or 0         */
	bool *deferred;   /* read by its only user, a product, from memory    */
	bool *again;      /* computed by each loop that reads it                */
	kir_ref *direct;  /* the load an elementwise op reads memory for, or 0  */
	vec_tile *want;   /* where a tile should be put (buf 0: anywhere)     */
	kir_ref *guard;   /* with want: the carried value that lives there    */
	kir_ref *stored;  /* with want: the store that puts it just there, or 0 */
	vec_group *group; /* pending groups, to be emitted in order           */
	unsigned ngroup;
	int *in_group;             /* by node of in: its group's number + 1            */
	vec_tiling **tiling;       /* by product of in; 0: none                    */
	bool tiled;                /* there is one                                     */
	struct vec_packed *packed; /* by product of in: its right factor, made before a loop */
	struct {
		kir_ref of, end; /* a left factor, the end of the region it was turned in */
		vec_tile tile;
	} turned;
	struct vec_sum **sum; /* by node of in: the sum over groups that it is; 0: none */
	int64_t lanes;        /* of 32 bits in a vector                           */
	int64_t local_bytes, local_most; /* of locals that live here; at any place */
} vec;

/* -- indices and loops ---------------------------------------------------------- */

/* Whether 512 bits of arithmetic have two ports, one of which does all that moves lanes, beside
 * two loads and a store a cycle: of processors with tile registers all known do. */
static inline bool vec_two_ports(const vec *v)
{
	return v->in->target->features & KIR_HAS_amx_tile;
}

static inline vec_ix ix(int64_t k)
{
	return (vec_ix){ 0, k };
}

vec_ix vec_mul(vec *v, vec_ix a, int64_t m);

/* Where an index may begin that isn't at a multiple of a tile's size: a literal, or the common
 * divisor of what a loop with literals counts. 0 of all others: expand makes only multiples. */
int64_t vec_starts(const kir_func *f, kir_ref index);
vec_ix vec_add(vec *v, vec_ix a, vec_ix b);
kir_ref vec_ref(vec *v, vec_ix a); /* as an s64 value */

/* A counted loop that is left out when it has one iteration. */
typedef struct vec_loop {
	kir_ref node; /* 0: none */
	vec_ix i;     /* 0, step, ... */
} vec_loop;

vec_loop vec_loop_begin(vec *v, int64_t count, int64_t step);
void vec_loop_end(vec *v, vec_loop *l);

/* Largest power of two that is at most `most` and at most what is left of n. */
int64_t vec_chunk(int64_t left, int64_t most);

/* -- tiles ------------------------------------------------------------------------ */

vec_tile vec_local(vec *v, kir_elem e, int64_t rows, int64_t cols);
/* Where node n's tile goes: wanted, or fresh. */
vec_tile vec_home(vec *v, kir_ref n);
void vec_shape(const kir_type *t, int64_t *rows, int64_t *cols);
kir_elem vec_stored(kir_elem e); /* s8 for i1 */

/* Lanes of a tile from (r, c); of a local written by this pass. */
kir_ref vec_read(vec *v, const vec_tile *t, vec_ix r, vec_ix c, int64_t lanes);
void vec_write(vec *v, const vec_tile *t, vec_ix r, vec_ix c, kir_ref x);
kir_ref vec_read1(vec *v, const vec_tile *t, vec_ix r, vec_ix c);
void vec_write1(vec *v, const vec_tile *t, vec_ix r, vec_ix c, kir_ref x);
void vec_copy(vec *v, const vec_tile *to, const vec_tile *from);
/* What a slice or reshape names the memory of. */
kir_ref vec_value_of(const kir_func *f, kir_ref n);
/* Rows [r, r + rows) and columns [c, c + cols) of t: the same memory. */
vec_tile vec_part(const vec_tile *t, int64_t r, int64_t rows, int64_t c, int64_t cols);
/* The operand's tile; pending groups that make it are emitted first. */
const vec_tile *vec_value(vec *v, kir_ref n);

/* -- the parts ---------------------------------------------------------------------- */

/* Of a reduction: what it starts with, and acc with x taken in; a NaN in x doesn't count in a
 * maximum or minimum. */
bool vec_is_reduce(const kir_func *f, kir_ref n);
kir_ref vec_identity(vec *v, kir_ref n);
kir_ref vec_combine(vec *v, kir_op op, kir_ref acc, kir_ref x);
/* Reductions over rows; columns stay in their lanes. */
bool vec_reduces_rows(const vec *v, kir_ref n);
void vec_reduce_rows(vec *v, kir_ref n);

/* Before anything is lowered. */
void vec_again_plan(vec *v);
/* Value x is read at `end`, not before. */
void vec_read_later(vec *v, kir_ref x, kir_ref end);
bool vec_group_takes(const vec *v, kir_ref n);
void vec_group_add(vec *v, kir_ref n);
/* Whether node n reads operand s at its own place, so that both may share a loop body. */
bool vec_in_place(const vec *v, kir_ref n, kir_ref s);
#define VEC_SIDE_MAX 4
/* The loops of a group whose members have their homes: vectors of `lanes`, `side` rows at once,
 * a power of two up to VEC_SIDE_MAX. */
void vec_group_rows(vec *v, const vec_group *g, int64_t lanes, unsigned side);
void vec_flush(vec *v);
/* Whether several rows of the group, whose members have their homes, are a vector; emits it. */
bool vec_narrow_takes(const vec *v, const vec_group *g);
void vec_narrow(vec *v, const vec_group *g);
bool vec_maxima_takes(const vec *v, const vec_group *g);
void vec_maxima(vec *v, const vec_group *g);
/* The lanes of x as one; of each of n vectors x, all n in one vector. */
kir_ref vec_across(vec *v, kir_op op, kir_ref x);
kir_ref vec_across_rows(vec *v, kir_op op, kir_ref *x, unsigned n);
/* Whether the function touches lines of `buf` ahead. */
bool vec_is_touched(const kir_func *f, kir_ref buf);

void vec_load(vec *v, kir_ref n);
void vec_store(vec *v, kir_ref n);
/* Whether elementwise ops may read the load's memory themselves: no bound, one dimension of
 * rows, contiguous columns. */
bool vec_reads_direct(const vec *v, kir_ref load);
/* Whether store n turns rows of 1 or 2 bytes an element into a local that has them side by side
 * for each column: it reads 16 bytes of a row at a time. */
bool vec_turns(const vec *v, kir_ref store);
kir_ref vec_read_direct(vec *v, kir_ref load, vec_ix r, vec_ix c, int64_t lanes);
/* Index of a load's or store's first element, an entry an axis of the buffer. */
void vec_indices(vec *v, kir_ref access, vec_ix *at);
/* The load whose one row a store puts into a local, as it is or converted; 0: it does not. */
kir_ref vec_copies_row(const vec *v, kir_ref store);
/* Such a store, if the row was left where it lies. */
bool vec_store_row(vec *v, kir_ref store);
/* Whether a load or store, of a tile of type t, names part of a local as it lies. Where rows
 * begin may be known at run time only, which columns of them not: products read whole words. */
bool vec_names_local(const vec *v, kir_ref access, const kir_type *t);
/* Has elementwise n, or a product, computed where its only reader, a store, puts it in a local,
 * if that may be; who is pending and reads that place's old value is emitted before. */
void vec_place_stored(vec *v, kir_ref n);
/* Result `res` of a loop that begins with `load`: if a store puts it back where that is from,
 * it stays there. */
void vec_keep_state(vec *v, kir_ref load, kir_ref res);
/* Result x of a loop, which an if behind it computes in place: it stays where it is. */
void vec_keep_through(vec *v, kir_ref x);
/* Whether what it stores is there already. */
bool vec_is_placed(const vec *v, kir_ref store);
/* Whether the tile that n loads is part of a local as it lies; makes that its value. */
bool vec_is_local(vec *v, kir_ref load);
/* How many elements along the last axis lie one after the other in memory, given that the
 * first is at a multiple of that many. */
int64_t vec_run(const kir_type *buffer);

void vec_unpack(vec *v, const vec_tile *from, const vec_tile *to, int64_t run, int64_t half);
void vec_pack_codes(vec *v, const vec_tile *from, const vec_tile *to, int64_t run);

void vec_hadamard(vec *v, kir_ref n);

/* What can't be lowered leaves a message in v->why. */
void vec_dot(vec *v, kir_ref n);
/* Before a loop: what its products need that is there already, in product order. */
void vec_pack_before(vec *v, kir_ref loop);
/* Transposes n vectors x of n elements each, in place: log2(n) rounds of zips. within: n, and
 * each n lanes by themselves are transposed; 0: there are no more. */
void vec_transpose(vec *v, kir_ref *x, int64_t n, int64_t within);
/* Rows x[unit] of type t become vectors of [columns][unit]. */
void vec_interleave(vec *v, int64_t unit, kir_type_id t, kir_ref *x);

/* -- the right factor of a product ----------------------------------------------------- */

#define VEC_CHAIN_MAX 4

/* B of a product: columns x contraction, in memory as stored, or in a local. */
typedef struct vec_factor {
	bool local; /* tile: row-major [cols or contraction]          */
	vec_tile tile;
	kir_ref load;                 /* the T load in `in`                             */
	kir_ref chain[VEC_CHAIN_MAX]; /* ops of `in` applied after loading   */
	unsigned nchain;
	kir_ref unpack;        /* op of `in` between load and chain, or 0      */
	kir_elem stored, elem; /* in memory, after the chain                 */
	bool trans;            /* memory rows are columns of the product         */
	int64_t cols, depth;   /* columns and length of the contraction        */
	int64_t unit;          /* elements of the contraction side by side: 4 bytes*/
} vec_factor;

/* How a product gets the vectors of its right factor. */
typedef enum vec_how {
	VEC_LOCAL,  /* from a local in product order                          */
	VEC_DIRECT, /* from memory, which has product order                   */
	VEC_WIDEN,  /* from memory in packed order, several steps a vector    */
	VEC_ZIP     /* from where it lies, rows along the contraction, interleaved */
} vec_how;

typedef struct vec_packed {
	vec_how how;
	vec_tile tile;      /* VEC_LOCAL: [depth / unit][cols * unit]          */
	int64_t max_lanes;  /* columns that lie side by side                   */
	int64_t ratio;      /* steps of the contraction one read gives         */
	bool pairs;         /* VEC_WIDEN: in the order of vec_layout's pairs   */
	bool columns_known; /* columns must be literals                       */
	bool even_odd;      /* of 4 elements 0 and 2 are a word, then 1 and 3: so must
	                     * be the left factor's (vec_left_even_odd)          */
} vec_packed;

/* What a product reads of it at once: `cols` blocks of `lanes` columns from c, of as many steps
 * of the contraction from k (counted in units) as one read gives. live: for each row of a step
 * whether it may be read (VEC_ZIP), or NULL. */
typedef struct vec_read_at {
	vec_ix k, c;
	int64_t cols, lanes;
	const kir_ref *live;
} vec_read_at;

bool vec_factor_of(vec *v, kir_ref dot, vec_factor *b);
/* fuse: decoding is done in the product, vector by vector, not into a local first. */
vec_packed vec_pack(vec *v, const vec_factor *b, bool fuse);
/* The vectors there, of p->ratio steps: out[step * cols + block]. */
void vec_factor_read(vec *v, const vec_factor *b, const vec_packed *p, const vec_read_at *at,
                     kir_ref *out);
/* Of a factor in memory: the buffer's type, the load's upto or 0, operands of an access to the
 * element at (row, col) of the stored tile, lanes from there (at most `limit`, or 0), and the
 * conversions between memory and product. */
const kir_type *vec_memory_of(const vec *v, const vec_factor *b);
kir_ref vec_upto_of(const vec *v, const vec_factor *b);
unsigned vec_factor_at(vec *v, const vec_factor *b, vec_ix row, vec_ix col, kir_ref *src);
kir_ref vec_read_stored(vec *v, const vec_factor *b, vec_ix row, vec_ix col, int64_t lanes,
                        kir_ref limit);
kir_ref vec_apply_chain(vec *v, const vec_factor *b, kir_ref x);
/* Rows before the load's upto, as an s64: 0 .. depth; 0 when there is no upto. */
kir_ref vec_live_rows(vec *v, const vec_factor *b);

/* -- products of which a sum is made ------------------------------------------------------ */

/* The left factor of a product as 4-byte words, s32 or f32: the first, from row to row, from
 * step to step. */
typedef struct vec_left {
	kir_ref words;
	vec_ix first;
	int64_t row, step, unit;
	kir_elem elem; /* `unit` of them are a word */
} vec_left;

vec_left vec_left_words(vec *v, const vec_tile *t, int64_t unit);
/* The same of a copy whose words are elements 0 and 2, 1 and 3 of each 4; elements of 2 bytes,
 * rows a multiple of 4 long. */
vec_left vec_left_even_odd(vec *v, const vec_tile *t);
/* Word k of row r, in every lane. */
kir_ref vec_left_word(vec *v, const vec_left *l, vec_ix r, vec_ix k, int64_t lanes);

/* Before anything is lowered, but with factors deferred: finds sums over groups. */
void vec_sums_plan(vec *v);
void vec_sum(vec *v, kir_ref n);

/* Whether what n reads is written before `user` reads it instead. */
bool vec_changes(const kir_func *f, kir_ref n, kir_ref user);

/* -- layouts ---------------------------------------------------------------------------- */

enum { VEC_QUAD = 4 };       /* lanes of 4 bytes among which shuffles are cheapest: 128 bits */
enum { VEC_RATIO_MAX = 32 }; /* words of the product in one of the layout */

typedef struct vec_layout {
	int64_t unit, group; /* contraction elements side by side; columns in a run        */
	int64_t step;        /* bytes from one `unit` of the contraction to the next       */
	bool pairs;          /* the order of vec_layout.c's second line                    */
} vec_layout;

/* Of memory whose axis `deep` lies innermost, in units, then `col`: keys by dimension and
 * token, values by token and dimension. */
bool vec_layout_of(const kir_type *t, unsigned deep, unsigned col, vec_layout *l);
/* The same of a product's right factor, if it is of use to it. */
bool vec_find_layout(const vec *v, const vec_factor *b, vec_layout *l);
/* Columns that lie side by side wherever a tile starts: tiles start at multiples of their
 * own number of columns. Divides the tile's columns. */
int64_t vec_side_by_side(const vec_factor *b, const vec_layout *l);
/* Units of the contraction that are widened in a row, without a branch: addresses of one and of
 * its neighbours are computed once. Divides the factor's. live: 1, as it is for few tiles. */
int64_t vec_steps(const vec_factor *b, const vec_layout *l, kir_ref live);
/* x: stored codes, [columns][ratio * b->unit] or in the order of pairs; the `ratio` vectors of
 * [columns][b->unit], after the chain. */
void vec_words(vec *v, const vec_factor *b, kir_ref x, int64_t cols, int64_t ratio, bool pairs,
               kir_ref *out);
/* Codes x of [columns][l->unit] with 0 for those at and past `live`, counted from the vector's
 * first along the contraction. */
kir_ref vec_only_live(vec *v, const vec_factor *b, const vec_layout *l, kir_ref x,
                      kir_ref live);
/* Writes stored lanes of [cols][l->unit], after the chain, to the packed tile: columns from c,
 * contraction from `deep` (in elements). */
void vec_put_words(vec *v, const vec_factor *b, const vec_tile *t, kir_ref x, vec_ix deep,
                   vec_ix c, int64_t cols, const vec_layout *l);
/* The factor, or n columns of it from c, into t: [depth / unit][columns][unit]. live: elements
 * of the contraction that count, the others become 0; or 0 for all. */
void vec_pack_layout(vec *v, const vec_factor *b, const vec_layout *l, const vec_tile *t,
                     kir_ref live);
void vec_pack_columns(vec *v, const vec_factor *b, const vec_layout *l, vec_ix c, int64_t n,
                      const vec_tile *t, kir_ref live);

/* The load that a store of a widened tile reads itself, vector by vector, or 0. */
kir_ref vec_widens(const vec *v, kir_ref store);
/* Whether it is such a store, with the load deferred; if so, it has been emitted. */
bool vec_store_widened(vec *v, kir_ref store);

/* -- tile registers ------------------------------------------------------------------------ */

/* Before anything is lowered: shares the eight registers out and declares them. */
void vec_tiles_plan(vec *v);
/* Whether product n is done in tile registers; if so, it has been emitted. */
bool vec_tiles_dot(vec *v, kir_ref n);

/* -- two codes a byte (vec_nibble.c) ------------------------------------------------------ */

/* Whether they are taken apart word by word, in the order of vec_left_even_odd. */
bool vec_nibbles_even_odd(const vec *v, const vec_factor *b, const vec_layout *l);
/* Whether bytes in that layout are in product order once they are taken apart. Narrows the
 * columns that count as side by side. */
bool vec_nibbles_fit(const vec *v, const vec_factor *b, vec_layout *l);
void vec_nibbles_pack(vec *v, const vec_factor *b, const vec_layout *l, const vec_tile *t);
/* As vec_factor_read. Columns of values must be literals. */
void vec_nibbles_read(vec *v, const vec_factor *b, const vec_packed *p, const vec_read_at *r,
                      kir_ref *out);

#endif
