/* SPDX-License-Identifier: Apache-2.0 */
/* backend.h -- turning a kir function into something callable.
 *
 * A backend is one const struct in one folder and, unless it is `ref`, one shared object
 * that jit/ loads on first use and that exports kvjit_backend(). It sees the IR and nothing
 * else of kvjit.
 *
 * What it makes is a blob: position-independent code with its constants, no relocations, no
 * symbols, entry at `entry` bytes from the start. Whoever has the blob can map and run it
 * without the backend.
 *
 * The entry's C signature follows from the function's parameters:
 *   a buffer   void *base, then int64_t for each of its run-time strides (bytes)
 *   a scalar   int32_t, int64_t or float
 *   at the end int64_t phase, int64_t begin, int64_t end
 * The function's top-level par loops are its phases, numbered from 0 in text order; a call
 * runs iterations [begin, end) of one. The loops' bounds are 0 and a parameter or a literal.
 * Calls of the same phase may run at the same time on other ranges; a phase starts when the
 * one before has ended.
 */
#ifndef KVJIT_BACKEND_H
#define KVJIT_BACKEND_H

#include "../ir/kir.h"
#include "isa.h"

#define KBE_VERSION 3

typedef struct kbe_blob {
	void *bytes;              /* malloc'd; the caller frees */
	size_t size, entry, text; /* text: bytes of code, the rest is constants */
	uint64_t isa;             /* extensions the code executes (isa.h), found by decoding
	                           * it; with KBE_ISA(unknown) it is never kept in a cache */
} kbe_blob;

typedef enum kbe_dump { KBE_DUMP_SOURCE, KBE_DUMP_ASM, KBE_DUMP_OBJECT } kbe_dump;

typedef struct kbe_backend {
	unsigned version;       /* KBE_VERSION */
	const char *name;       /* "x86", "c"  */
	const kir_build *build; /* &kir_own_build */
	/* Whether this backend compiles for t at all (not: whether this machine runs it). */
	bool (*supports)(const kir_target *t);
	/* f is at level V. False and a message if it can't. */
	bool (*compile)(const kir_func *f, kbe_blob *out, kir_diag *why);
	/* SOURCE: LLVM IR or C; ASM: assembly; OBJECT: an ELF file. */
	bool (*dump)(const kir_func *f, kbe_dump what, kir_text *out, kir_diag *why);
} kbe_backend;

/* The richest row of targets.def that this machine can run now, found by asking the processor
 * (CPUID, XCR0), never by its model; cache sizes from CPUID too. In cpu.c, part of libkvjit,
 * because code from a cache runs without any backend loaded. */
void kbe_host(kir_target *out);
/* Whether this machine executes everything t has. */
bool kbe_host_runs(const kir_target *t);

/* What a backend's shared object exports, as kvjit_backend. */
typedef const kbe_backend *(*kbe_get)(void);

#endif
