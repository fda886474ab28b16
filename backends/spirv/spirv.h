/* SPDX-License-Identifier: Apache-2.0 */
/* spirv.h -- the parts of the SPIR-V backend.
 *
 * A function is the program of a sub-group (backends/llvm/lower.h, `spread`); its par loops are
 * grids of work-groups with one sub-group each. Two emitters share the lowering, each with an
 * LLVM of its own and so in a shared object of its own: translator.cc and target.c.
 */
#ifndef KVJIT_BACKENDS_SPIRV_SPIRV_H
#define KVJIT_BACKENDS_SPIRV_SPIRV_H

#include "../backend.h"
#include "../llvm/lower.h"

/* LLVM's numbers for the address spaces of OpenCL. */
enum { KSPV_GLOBAL = 1, KSPV_LOCAL = 3 };

/* What the lowering of one function carries; kll_options.own. */
typedef struct kspv {
	bool *barrier; /* by node: one is due before it (barrier.c)           */
	const kir_slots *slots;
	LLVMValueRef *at;   /* by slot: its memory; NULL before the first use      */
	LLVMValueRef lane;  /* number of this lane in its sub-group, an i32        */
	LLVMValueRef block; /* the variable that blocks of memory go to (xe.c)    */
} kspv;

static inline kspv *kspv_of(const kll *l)
{
	return l->o->own;
}

/* barrier.c: marks the accesses of f before which lanes have to see each other's stores. False:
 * out of memory. */
bool kspv_find_barriers(const kir_func *f, const kir_slots *s, bool *marks);
void kspv_barrier(kll *l);

/* lanes.c: what moves elements from lane to lane. */
LLVMValueRef kspv_lane(kll *l);
LLVMValueRef kspv_group(kll *l);
/* The first element of x that this lane holds, an i32; x has `own` a lane. */
LLVMValueRef kspv_first(kll *l, unsigned own);
LLVMValueRef kspv_across(kll *l, kir_ref n, LLVMValueRef x);
LLVMValueRef kspv_moves(kll *l, kir_ref n);
/* Elements a lane holds, one by one; returns how many. And back. */
unsigned kspv_split(kll *l, LLVMValueRef v, LLVMValueRef *each);
LLVMValueRef kspv_build(kll *l, const LLVMValueRef *each, unsigned n);
/* Calls a function that who reads the module knows by its (mangled) name; a block load as an
 * instruction has the most arguments. */
enum { KSPV_MAX_ARGS = 10 };
LLVMValueRef kspv_call(kll *l, const char *name, LLVMTypeRef result, LLVMValueRef *arg,
                       unsigned narg, bool converges);
/* What body makes of arguments, as a function of the module that is made once for each name and
 * stands wherever it is called: what many ops are made of would be most of a module, and of the
 * time to make it. It is made on the spot where the emitter takes no functions, and without an
 * engine, as everything becomes scalars then (spirv.c), which a function wouldn't take. The
 * lane is one more argument. */
typedef LLVMValueRef kspv_body(kll *l, LLVMValueRef *arg, void *ctx);
LLVMValueRef kspv_once(kll *l, const char *name, LLVMTypeRef result, const LLVMValueRef *arg,
                       unsigned narg, kspv_body *body, void *ctx);

/* memory.c: local memory, loads and stores. */
LLVMValueRef kspv_memory(kll *l, kir_ref n);
/* One access of type t, as aligned as said. */
LLVMValueRef kspv_load(kll *l, LLVMTypeRef t, LLVMValueRef at, unsigned align);

/* xe.c: ops of a sub-group. */
LLVMValueRef kspv_xe(kll *l, kir_ref n);
LLVMValueRef kspv_exp2(kll *l, LLVMValueRef x, const kir_exp2 *near);
/* Whether products of t's own elements are one call, on vectors as an engine takes them. */
bool kspv_has_engine(const kir_target *t);

#endif
