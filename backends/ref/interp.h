/* SPDX-License-Identifier: Apache-2.0 */
/* interp.h -- what the files of the interpreter share; nobody else includes it.
 *
 * A run has one slot for each node: a value (doubles for floats, int64 for integers and i1,
 * row-major), or a piece of memory for buffers. Slots are allocated once, before the first
 * node runs; a node that runs again overwrites its slot. Nothing is allocated in loops.
 *
 * Functions that return bool have reported the error to run->why when they return false.
 */
#ifndef KVJIT_INTERP_H
#define KVJIT_INTERP_H

#include "ref.h"
#include "../../ir/format.h"

/* A buffer: a parameter, a local, or a view of either. */
typedef struct kref_mem {
	const kir_type *type;
	unsigned char *base;
	int64_t bytes;         /* accessible from base; 0: unchecked                 */
	int64_t offset;        /* of the first element from base                     */
	const int64_t *stride; /* run-time strides                                   */
	unsigned char *init;   /* locals: which bytes were written; NULL: parameters */
	void *owned;           /* locals: the memory, freed with the run             */
} kref_mem;

typedef struct kref_slot {
	union {
		double *f;  /* of floats                                             */
		int64_t *i; /* of integers and i1                                    */
		void *p;
	};
	const kir_type *type;
	int64_t count;
	uint8_t elem;
	bool flt;
	kref_mem *mem;
	kir_ref yield[2]; /* of a region op: what closes its first and second region */
	/* of an access: */
	kir_ref buf, upto;
	unsigned first, nindex;
	int axis, round, nan, over, sub; /* attributes, looked up once               */
} kref_slot;

typedef struct kref_state {
	const kir_func *f;
	const kref_arg *arg;
	kref_slot *slot;
	kref_mode mode;
	kref_stats stats;
	kir_diag *why;
	kref_mem *mem;
	unsigned nmem;
	void *values;             /* of all slots, one allocation                      */
	double *scratch[3];       /* operands repeated along an axis, staged yields     */
	int64_t *off[KIR_RANK];   /* byte offsets of a tile's indices, by dimension     */
	struct kref_tiles *tiles; /* amx.c: allocated by the first amx.tile            */
	double (*table)[256];     /* what the codes of 8-bit floats mean, by element   */
	bool built[KIR_NELEM];
} kref_state;

/* The elements an access touches: `dim` of them along each of the last dimensions, the byte
 * offset of each index from p in off. */
typedef struct kref_window {
	unsigned char *p;
	unsigned char *init;
	kir_elem elem;
	unsigned rank;
	int64_t dim[KIR_RANK];
	int64_t *off[KIR_RANK];
} kref_window;

/* -- interp.c ------------------------------------------------------------------ */

bool kref_fail(kref_state *r, kir_ref n, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Runs from node n to the end of its region. */
bool kref_exec(kref_state *r, kir_ref n);
static inline const kref_slot *kref_in(const kref_state *r, kir_ref n, unsigned k)
{
	return &r->slot[kir_src(r->f, n, k)];
}

/* -- setup.c ------------------------------------------------------------------- */

bool kref_setup(kref_state *r);
void kref_release(kref_state *r); /* also after a setup that failed */

/* -- value.c: elements as values ------------------------------------------------- */

/* x rounded to element e, as a value. */
double kref_to_float(kir_elem e, double x, int round, int nan, int over);
int64_t kref_to_int(kir_elem e, double x, int round, int nan);
int64_t kref_wrap(kir_elem e, int64_t x);
int64_t kref_int_min(kir_elem e);
int64_t kref_int_max(kir_elem e);
/* In KREF_ROUND, rounds n results of element e; otherwise leaves them. */
void kref_round(const kref_state *r, kir_elem e, double *x, int64_t n);
uint64_t kref_code(kir_elem e, const kref_slot *s, int64_t k); /* bits of element k */
void kref_set_code(kref_slot *s, int64_t k, uint64_t code);
/* n elements at p + off[k] to or from f (floats) or i (integers). */
void kref_decode(kref_state *r, kir_elem e, const unsigned char *p, const int64_t *off,
                 int64_t n, double *f, int64_t *i);
void kref_encode(kir_elem e, unsigned char *p, const int64_t *off, int64_t n, const double *f,
                 const int64_t *i);

/* -- memory.c --------------------------------------------------------------------- */

/* What an access of node n to m touches: the element at idx in the first `lead` dimensions,
 * and from idx[lead...] on dim[] elements of the next `rank` ones. Checks everything. Empty
 * windows aren't allowed. */
bool kref_touch(kref_state *r, kir_ref n, const kref_mem *m, const int64_t *idx, unsigned lead,
                const int64_t *dim, unsigned rank, bool store, kref_window *w);
/* `bytes` of memory from `from` bytes past the element at idx, which needs all indices: they
 * exist and, when read, were written. NULL when not. */
unsigned char *kref_span(kref_state *r, kir_ref n, const kref_mem *m, const int64_t *idx,
                         int64_t from, int64_t bytes);
/* Bytes from the first element of m, whose extents are all static, to the end of its last. */
int64_t kref_extent(kref_state *r, const kref_mem *m);
bool kref_access(kref_state *r,
                 kir_ref n); /* load, store, vload, vstore, gather, view, local */
/* Address of `bytes` bytes, `skip` behind the element that access n indexes; checked. */
bool kref_bytes(kref_state *r, kir_ref n, int64_t skip, int64_t bytes, bool store,
                unsigned char **p);
/* Rows of the last dimension for the level-A ops: idx has rank - 1 entries (rank for one
 * element, then count is 1). */
bool kref_get_row(kref_state *r, kir_ref n, const kref_mem *m, const int64_t *idx,
                  unsigned nidx, int64_t count, double *out);
bool kref_put_row(kref_state *r, kir_ref n, const kref_mem *m, const int64_t *idx,
                  unsigned nidx, int64_t count, const double *in);
/* The same of codes; packed: rows are bytes of two codes, as the side says, or NULL. */
bool kref_get_codes(kref_state *r, kir_ref n, const kir_side *packed, const kref_mem *m,
                    const int64_t *idx, unsigned nidx, int64_t count, double *out);
bool kref_put_codes(kref_state *r, kir_ref n, const kir_side *packed, const kref_mem *m,
                    const int64_t *idx, unsigned nidx, int64_t count, const double *in);
bool kref_get_int(kref_state *r, kir_ref n, const kref_mem *m, const int64_t *idx,
                  unsigned nidx, int64_t *out);

/* -- one file for each kind of op -------------------------------------------------- */

bool kref_each(kref_state *r, kir_ref n);   /* each.c: elementwise ops            */
bool kref_tile(kref_state *r, kir_ref n);   /* tile.c: shapes, reductions, dot    */
bool kref_vector(kref_state *r, kir_ref n); /* vector.c: lanes, dp, x86 ops       */
bool kref_xe(kref_state *r, kir_ref n);     /* xe.c: ops of a sub-group           */
bool kref_amx(kref_state *r, kir_ref n);    /* amx.c: tile registers              */
void kref_amx_forget(kref_state *r);        /* a par iteration finds no tile written        */
bool kref_attention(kref_state *r, kir_ref n); /* attention.c                        */
bool kref_merge(kref_state *r, kir_ref n);
bool kref_gemm(kref_state *r, kir_ref n); /* gemm.c */
bool kref_relayout(kref_state *r, kir_ref n);
bool kref_index(kref_state *r, kir_ref n);
bool kref_cache_write(kref_state *r, kir_ref n); /* quant.c                          */
bool kref_quantize(kref_state *r, kir_ref n);
bool kref_transcode(kref_state *r, kir_ref n); /* transcode.c                        */

/* A row on its way through a format's rule: input, codes as values, scales as values. */
typedef struct kref_row {
	double *x, *q, *s;
} kref_row;

/* Room for rows of dim elements, one allocation that begins at w->x. */
bool kref_make_row(kref_state *r, kir_ref n, int64_t dim, kref_row *w);
/* The f32 row in w->x as codes and scales of rule f at [page, head, token]. */
bool kref_put_quantized(kref_state *r, kir_ref n, const kir_side *f, const kref_mem *code,
                        const kref_mem *scale, double given, const int64_t at[3], int64_t dim,
                        const kref_row *w);
/* f->tokens f32 rows x, dim elements each, as codes from [page, head, token] on, with the
 * scales that they share. */
bool kref_put_group(kref_state *r, kir_ref n, const kir_side *f, const kref_mem *code,
                    const kref_mem *scale, const int64_t at[3], int64_t dim, const double *x);

/* Named operands of level-A ops: NULL when absent. */
static inline const kref_mem *kref_buffer(const kref_state *r, kir_ref n, const char *name)
{
	kir_ref b = kir_operand(r->f, n, name);

	return b ? r->slot[b].mem : NULL;
}

/* A block of n = 2^k numbers times Sylvester's matrix, in place: sums and differences of those
 * n/2 apart, then n/4, ... 1, each rounded as element e. */
void kref_hadamard(const kref_state *r, kir_elem e, double *x, int64_t n);

#endif
