/* SPDX-License-Identifier: Apache-2.0 */
/* bind.h -- the arguments of a kernel by name, in memory of their own.
 *
 * Every tensor stands between two inaccessible pages, flush with one of them, so that a
 * kernel that touches a byte outside its arguments ends the process instead of passing.
 */
#ifndef KVJIT_TOOL_BIND_H
#define KVJIT_TOOL_BIND_H

#include "../../include/kvjit.h"
#include "../../ir/format.h"

enum { BIND_MAX = 32, BIND_NAME = 24 };

typedef struct bind_arg {
	char name[BIND_NAME];
	kvjit_dtype dtype;
	int rank; /* 0: scalar, the value in i and f */
	int64_t shape[6];
	int nstride;
	int64_t stride[4]; /* as kvjit_arg has them */
	int64_t i;
	double f;
	void *data;
	size_t bytes; /* 0: the data is another's */
} bind_arg;

typedef struct bind {
	unsigned n;
	bool flush_low; /* tensors made from now on begin at a page's start, not end at its end
	                 */
	bind_arg at[BIND_MAX];
} bind;

/* New or replaced; contents are zero. */
bind_arg *bind_tensor(bind *b, const char *name, kvjit_dtype t, int rank, const int64_t *shape);
bind_arg *bind_scalar(bind *b, const char *name, int64_t i, double f);
/* Names memory that someone else owns. */
bind_arg *bind_borrow(bind *b, const char *name, kvjit_dtype t, int rank, const int64_t *shape,
                      void *data);
bind_arg *bind_find(bind *b, const char *name); /* NULL if there is none */
void bind_free(bind *b);

/* The arguments of k in the order of its parameters, by name; -1 and a sentence when one isn't
 * bound. */
int bind_args(const bind *b, const kvjit_kernel *k, kvjit_arg args[BIND_MAX], char *why,
              size_t len);
/* Calls k with what its parameters ask for by name. KVJIT_BAD_ARGUMENT and a sentence when
 * one isn't bound; plan may be NULL. kv compiled k: if it has a device, arguments are copied
 * there and results back (bind_device.c). */
kvjit_status bind_call(const bind *b, kvjit *kv, const kvjit_kernel *k, const kvjit_plan *plan,
                       char *why, size_t len);
/* The same with the arguments of bind_args, for a kernel of kv's device. */
kvjit_status bind_device_call(const bind *b, kvjit *kv, const kvjit_kernel *k,
                              const kvjit_plan *plan, kvjit_arg *args, int n, char *why,
                              size_t len);
size_t bind_bytes(const bind_arg *x); /* of its data, whoever owns it */

size_t bind_item(kvjit_dtype t);    /* bytes of an element */
kvjit_dtype bind_dtype(kir_elem e); /* codes without a dtype of their own are U8 */
/* Element i of contiguous data of element type e, as a number, and back (to nearest even). */
double elem_get(kir_elem e, const void *data, int64_t i);
void elem_set(kir_elem e, void *data, int64_t i, double x);

/* Byte at which element index[] of a stream lies in its tensor, with the default strides. */
int64_t place_of(const kir_layout *l, kir_stream s, const int64_t *index);

#endif
