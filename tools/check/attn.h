/* SPDX-License-Identifier: Apache-2.0 */
/* attn.h -- one attention call with its data: what check and golden run kernels on.
 *
 * The cache is addressed through the format's declared layout, so any declared format works.
 * Whatever a kernel must not read as a value holds NaN: codes and scales of slots beyond a
 * sequence's end, and all other bytes 0xFF.
 */
#ifndef KVJIT_TOOL_ATTN_H
#define KVJIT_TOOL_ATTN_H

#include "bind.h"
#include "probe.h"
#include "../../ir/problem.h"

typedef struct attn {
	kir_module *m;
	kir_problem p;
	const kir_format *format; /* K and V together, as the program has it */
	kir_shape shape;
	kir_layout layout;
	int64_t nseq, rows, npages, max_pages;
	bind b;       /* every argument, by the name of its parameter */
	probe *probe; /* of an attention: its score and mask */
	/* With kv2=, the second cache: an attention of its own over the same queries, whose
	 * arguments are among the first one's, with a 2 at the end of their names. */
	struct attn *second, *first;
} attn;

/* Parses the text and lays out the format; attn and write problems. False and a sentence in
 * why. Close it either way. */
bool attn_open(attn *a, const char *text, char *why, size_t len);
void attn_close(attn *a);
/* The problem with other words: extra is appended to the canonical text ("out=f32 lse").
 * Formats declared in the text are kept. free() it. */
char *attn_text(const attn *a, const kir_problem *p);

/* What writes rows of f32 into caches that p reads. */
kir_problem attn_writer(const kir_problem *p);
/* Its text, for rows "key" and "value" of w. Where tokens share scales it is a transcode from a
 * cache of f32, which w gets too: whole groups are written or nothing. */
char *attn_write_text(const attn *a, const kir_problem *p, bind *w);

/* The argument of this name: the second cache's own before one that both share. NULL if there
 * is none. */
bind_arg *attn_arg(const attn *a, const char *name);
/* The same, but of the second of two caches its own or NULL: what the first's keys and values
 * lack (scales that are given, a mean, signs) is no part of it. */
bind_arg *attn_own(const attn *a, const char *name);
/* A new tensor of this cache's own. */
bind_arg *attn_tensor(attn *a, const char *name, kvjit_dtype t, int rank, const int64_t *shape);

/* Binds the batch (arrays are copied; table NULL with sparse=) and a poisoned cache of npages
 * pages. */
void attn_batch(attn *a, int64_t nseq, const int32_t *lens, const int32_t *starts,
                const int32_t *table, int64_t max_pages, int64_t npages);
/* Binds the poisoned cache tensors alone. */
void attn_cache(attn *a, int64_t npages);
/* Binds out and lse for a kernel, filled with 0xFF. */
void attn_outputs(attn *a, const kvjit_kernel *k);
/* Plans and calls k, compiled by kv, on the bound data. */
bool attn_call(const attn *a, kvjit *kv, const kvjit_kernel *k, char *why, size_t len);
/* out and lse (NaN if the kernel has none) as numbers, into malloc'd arrays. */
void attn_results(const attn *a, const kvjit_kernel *k, double **out, double **lse);

/* Element (page, head, token, i) of a stream: its code and its value. */
uint64_t attn_code(const attn *a, kir_stream s, int64_t page, int64_t h, int64_t t, int64_t i);
void attn_set(attn *a, kir_stream s, int64_t page, int64_t h, int64_t t, int64_t i,
              uint64_t code);
double attn_value(const attn *a, kir_stream s, int64_t page, int64_t h, int64_t t, int64_t i);
/* Of a code as a value; codes of 4 bits lie two a byte, which attn_code and attn_set know. */
kir_elem attn_elem(const attn *a, kir_stream s);
/* Element d of a whole key (side 0) or value, without scales, less its zero point: keys may lie
 * in two parts, and values inside keys. */
double attn_element(const attn *a, int side, int64_t page, int64_t h, int64_t t, int64_t d);
/* Its stored scale; 1 where none is stored. */
double attn_scale(const attn *a, int side, int64_t page, int64_t h, int64_t t, int64_t d);
/* Its zero point; 0 where the format has none. */
double attn_zero(const attn *a, int side, int64_t page, int64_t h, int64_t t, int64_t d);
/* All three at once: the element is returned. */
double attn_parts(const attn *a, int side, int64_t page, int64_t h, int64_t t, int64_t d,
                  double *scale, double *zero);
/* Given scale (kd, vd, qd) of a sequence and KV head; 1 if the kernel has none. */
double attn_given(const attn *a, const char *name, int64_t seq, int64_t h);
/* The name of the scale of the values: that of the keys, where values are inside them. */
static inline const char *attn_value_scale(const attn *a)
{
	return a->format->shared ? "kd" : "vd";
}
/* Whether a holds one of two caches. */
static inline bool attn_is_part(const attn *a)
{
	return a->first || a->second;
}
/* Sequence of a query row. */
int64_t attn_seq(const attn *a, int64_t row);

#endif
