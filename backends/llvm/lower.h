/* SPDX-License-Identifier: Apache-2.0 */
/* lower.h -- level-V functions to LLVM IR, for any LLVM target.
 *
 * One LLVM function for a kir function, with the signature of backends/backend.h; one value
 * for a node. How element types look in LLVM:
 *
 *   i1             i1 (a byte in memory)
 *   integers       iN
 *   f32, f64       float, double
 *   f16, bf16      i16: the bits. LLVM's own half and bfloat are used only around a
 *                  conversion or an intrinsic that the target has as an instruction
 *   smaller floats i8: the code
 *
 * Arithmetic on what isn't float or double widens to float, computes and rounds back. There
 * are no fast-math flags and no calls: what the target has no instruction for is written out.
 *
 * What differs between targets is kll_options: facts, and hooks that may lower a node
 * themselves. Threads: everything belongs to the LLVMContext handed in.
 *
 * With `spread` the function is run by that many lanes of a sub-group together, and an LLVM
 * value is one lane's: a scalar is the same in all of them, a vector is cut into blocks, the
 * first to lane 0, each of kll_own elements. What works element by element, here, doesn't
 * notice. Every op that moves elements from lane to lane, and every access, must have a hook.
 *
 * Compiles with LLVM 15, with its typed pointers, and LLVM 22: a pointer is always an i8's.
 */
#ifndef KVJIT_BACKENDS_LLVM_LOWER_H
#define KVJIT_BACKENDS_LLVM_LOWER_H

#include "../../ir/exp2.h"
#include "../../ir/kir.h"

#include <llvm-c/Core.h>

#define KLL_MAX_LANES 512
#define KLL_MAX_OWN   16 /* of a spread vector: no GPU language has more */
#define KLL_MAX_BYTES 64 /* of one that only hooks make and read: it may have more lanes */

typedef struct kll kll;

typedef struct kll_options {
	bool half;      /* fpext and fptrunc of half are instructions           */
	bool half_math; /* so is arithmetic on half                             */
	bool fma;       /* so is llvm.fma of float and double                   */
	/* Narrowest element, in bits, that masked loads and stores move without being
	 * taken apart lane by lane. */
	unsigned mask_bits;
	/* Bytes of a vector that has a store past the caches (aligned to itself); 0: none. */
	unsigned stream_bytes;
	bool hoist;      /* addresses are computed in the loops that their indices come from */
	bool names;      /* keep value names, for people                                     */
	unsigned spread; /* lanes of the sub-group that runs the function; 0: no sub-group */
	unsigned space;  /* address space of the parameters' memory                        */
	/* Called where the function returns; or NULL. */
	void (*leave)(kll *l);
	/* Machine code's own way for a node; NULL: the common one. */
	LLVMValueRef (*hook)(kll *l, kir_ref n);
	/* Which of the iterations is to be run, counted from `begin`: one a call. NULL: all. */
	LLVMValueRef (*group)(kll *l);
	/* of float; or NULL likewise. p: what may stand for it, or NULL */
	LLVMValueRef (*exp2)(kll *l, LLVMValueRef x, const kir_exp2 *p);
	/* One of the elements of x combined as reduction n says; NULL: by halves. */
	LLVMValueRef (*across)(kll *l, kir_ref n, LLVMValueRef x);
	void *own; /* the hooks' own data */
} kll_options;

/* After an instruction of a block, NULL: at its beginning. */
typedef struct kll_place {
	LLVMBasicBlockRef block;
	LLVMValueRef last;
} kll_place;

struct kll {
	const kir_func *f;
	const kll_options *o;
	kir_diag *why;
	bool failed;
	kir_slots slots;  /* of locals                                            */
	LLVMValueRef *at; /* by slot; 0: not made yet                             */
	bool streams;     /* there are stores past the caches: a fence is due at the end    */

	LLVMContextRef c;
	LLVMModuleRef m;
	LLVMBuilderRef b;
	LLVMValueRef fn;
	LLVMBasicBlockRef entry; /* params, locals and top-level values          */
	LLVMValueRef *val;       /* by node: value; of buffers the base pointer  */
	kll_place *made;         /* by node: where it was, with all it took      */
	kir_ref loop;            /* the innermost one that is being written      */
	unsigned *arg;           /* by parameter: number of its LLVM argument    */
	LLVMTypeRef i1, i8, i16, i32, i64, half, f32, f64, ptr;
};

/* A module in c with the one function, named as f is; NULL and messages if f can't be
 * lowered. The caller sets triple, data layout and attributes. */
LLVMModuleRef kll_lower(LLVMContextRef c, const kir_func *f, const kll_options *o,
                        kir_diag *why);

/* -- for the files of this folder and for hooks ------------------------------------ */

/* Says that node n can't be lowered; returns a value of its type to go on with. */
LLVMValueRef kll_fail(kll *l, kir_ref n, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

kir_elem kll_elem(const kll *l, kir_ref n);  /* element type of a node           */
unsigned kll_lanes(const kll *l, kir_ref n); /* 0 for a scalar                   */
/* Elements of the node that its LLVM value holds: kll_lanes, or, spread, a power of two of
 * them. 0: it is no vector in LLVM, but one element. */
unsigned kll_own(const kll *l, kir_ref n);
LLVMTypeRef kll_elem_type(const kll *l, kir_elem e);
LLVMTypeRef kll_vec(LLVMTypeRef elem, unsigned lanes);  /* lanes 0: the scalar    */
unsigned kll_width(LLVMValueRef v);                     /* its lanes, 0 for a scalar */
LLVMTypeRef kll_like(LLVMTypeRef elem, LLVMValueRef v); /* elem, as wide as v     */
/* Literals as wide as v. */
LLVMValueRef kll_int(LLVMTypeRef elem, uint64_t x, LLVMValueRef v);
LLVMValueRef kll_real(LLVMTypeRef elem, double x, LLVMValueRef v);
LLVMValueRef kll_splat(kll *l, LLVMValueRef x, unsigned lanes);
/* Operand i of n, repeated to as many lanes as n has. */
LLVMValueRef kll_operand(kll *l, kir_ref n, unsigned i);
LLVMValueRef kll_as(kll *l, LLVMValueRef v, LLVMTypeRef elem); /* bitcast, lane by lane */
LLVMValueRef kll_call(kll *l, const char *intrinsic, LLVMTypeRef *over, unsigned nover,
                      LLVMValueRef *args, unsigned nargs);
/* n lanes of (a, b): from, from + step, ... */
LLVMValueRef kll_lanes_of(kll *l, LLVMValueRef a, LLVMValueRef b, unsigned from, unsigned step,
                          unsigned n);
LLVMValueRef kll_shuffle(kll *l, LLVMValueRef a, LLVMValueRef b, const unsigned *lane,
                         unsigned n);
LLVMValueRef kll_concat(kll *l, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef kll_select(kll *l, LLVMValueRef c, LLVMValueRef x, LLVMValueRef y);

/* memory.c: views, locals, accesses */
LLVMValueRef kll_memory(kll *l, kir_ref n);
/* address.c */
/* Of the element that access n indexes; of a gather, that of one element of its index values.
 */
LLVMValueRef kll_address(kll *l, kir_ref n, unsigned element);
/* Low bits that are zero of the bytes between where its buffer's memory begins and that
 * element, if those of every run-time stride are. */
unsigned kll_zeros(const kll *l, kir_ref n);
/* How many elements an access with `upto` may touch, as an s64; NULL: all. */
LLVMValueRef kll_count(kll *l, kir_ref n);

/* each.c: elementwise ops, comparisons, reductions, lanes */
LLVMValueRef kll_each(kll *l, kir_ref n);
LLVMValueRef kll_reduce(kll *l, kir_ref n);
LLVMValueRef kll_dp(kll *l, kir_ref n);
/* The same of values: acc element i + sum over the k elements of x, y that begin at i k. */
LLVMValueRef kll_dp_of(kll *l, kir_ref n, LLVMValueRef acc, LLVMValueRef x, LLVMValueRef y);
/* x and y as reduction n combines them. */
LLVMValueRef kll_reduce_step(kll *l, kir_ref n, LLVMValueRef x, LLVMValueRef y);
/* x * y + z of float or double, rounded once. */
LLVMValueRef kll_fma(kll *l, LLVMValueRef x, LLVMValueRef y, LLVMValueRef z);

/* convert.c, small.c: between element types */
LLVMValueRef kll_convert(kll *l, kir_ref n);
LLVMValueRef kll_to_f32(kll *l, LLVMValueRef v, kir_elem from);
/* f32 to float element e; round, nan, over as in kir_attr. */
LLVMValueRef kll_from_f32(kll *l, LLVMValueRef v, kir_elem e, int round, int nan, int over);
/* Elements of less than 16 bits, and f16 without instructions, bit by bit. */
LLVMValueRef kll_small_decode(kll *l, LLVMValueRef code, kir_elem e);
LLVMValueRef kll_small_encode(kll *l, LLVMValueRef x, kir_elem e, int round, int nan, int over);

/* math.c: on float. p: polynomial that is near enough, or NULL */
LLVMValueRef kll_exp2(kll *l, LLVMValueRef x, const kir_exp2 *p);
LLVMValueRef kll_log2(kll *l, LLVMValueRef x);
LLVMValueRef kll_tanh(kll *l, LLVMValueRef x);
/* The polynomial of kll_exp2 for r in [0, 1]; 1 at 0. */
LLVMValueRef kll_exp2_poly(kll *l, LLVMValueRef r, const kir_exp2 *p);

#endif
