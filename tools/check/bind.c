/* SPDX-License-Identifier: Apache-2.0 */
/* bind.c -- see bind.h. */
#include "bind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* -- memory between inaccessible pages --------------------------------------------- */

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t whole_pages(size_t bytes)
{
	size_t page = page_bytes();
	return (bytes + page - 1) / page * page;
}

/* The mapping is a guard page, whole pages, a guard page; bytes is at least 1. */
static void *guard_alloc(size_t bytes, bool low)
{
	size_t page = page_bytes(), whole = whole_pages(bytes);
	char *base =
	    mmap(NULL, whole + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED || mprotect(base + page, whole, PROT_READ | PROT_WRITE) != 0) {
		fprintf(stderr, "kvjit: there isn't enough memory\n");
		exit(1);
	}
	return low ? base + page : base + page + whole - bytes;
}

static void guard_free(void *p, size_t bytes)
{
	size_t page = page_bytes(), whole = whole_pages(bytes);
	char *first = (char *)((uintptr_t)p / page * page);
	munmap(first - page, whole + 2 * page);
}

/* -- names --------------------------------------------------------------------------- */

static void release(bind_arg *x)
{
	if (x->bytes)
		guard_free(x->data, x->bytes);
	x->data = NULL;
	x->bytes = 0;
}

bind_arg *bind_find(bind *b, const char *name)
{
	/* asked for each element of a cache: most names differ in the first letter */
	for (unsigned i = 0; i < b->n; i++)
		if (*b->at[i].name == *name && strcmp(b->at[i].name, name) == 0)
			return &b->at[i];
	return NULL;
}

static bind_arg *fresh(bind *b, const char *name)
{
	bind_arg *x = bind_find(b, name);
	if (!x && b->n < BIND_MAX)
		x = &b->at[b->n++];
	if (!x) {
		fprintf(stderr, "kvjit: more than %d arguments\n", BIND_MAX);
		exit(1);
	}
	release(x);
	memset(x, 0, sizeof *x);
	snprintf(x->name, sizeof x->name, "%s", name);
	return x;
}

bind_arg *bind_borrow(bind *b, const char *name, kvjit_dtype t, int rank, const int64_t *shape,
                      void *data)
{
	bind_arg *x = fresh(b, name);
	x->dtype = t;
	x->rank = rank;
	memcpy(x->shape, shape, (size_t)rank * sizeof *shape);
	x->data = data;
	return x;
}

bind_arg *bind_tensor(bind *b, const char *name, kvjit_dtype t, int rank, const int64_t *shape)
{
	bind_arg *x = bind_borrow(b, name, t, rank, shape, NULL);
	x->bytes = bind_item(t);
	for (int i = 0; i < rank; i++)
		x->bytes *= (size_t)shape[i];
	if (x->bytes == 0) /* an empty tensor still has an address, of nothing */
		x->bytes = bind_item(t);
	x->data = guard_alloc(x->bytes, b->flush_low);
	return x;
}

bind_arg *bind_scalar(bind *b, const char *name, int64_t i, double f)
{
	bind_arg *x = fresh(b, name);
	x->i = i;
	x->f = f;
	return x;
}

void bind_free(bind *b)
{
	for (unsigned i = 0; i < b->n; i++)
		release(&b->at[i]);
	b->n = 0;
}

/* Codes are bound as bytes, whatever small float they are. */
static kvjit_dtype dtype_for(const kvjit_param *p, const bind_arg *x)
{
	return x->dtype == KVJIT_U8 && bind_item(p->dtype) == 1 ? p->dtype : x->dtype;
}

int bind_args(const bind *b, const kvjit_kernel *k, kvjit_arg args[BIND_MAX], char *why,
              size_t len)
{
	int n = 0;
	for (int i = 0; i < kvjit_nparam(k); i++) {
		const kvjit_param *p = kvjit_param_at(k, i);
		if (p->planned)
			continue;
		const bind_arg *x = bind_find((bind *)b, p->name);
		if (!x || n == BIND_MAX) {
			snprintf(why, len, "parameter '%s' has no argument", p->name);
			return -1;
		}
		kvjit_arg *arg = &args[n++];
		memset(arg, 0, sizeof *arg);
		arg->name = p->name;
		arg->data = x->data;
		arg->dtype = dtype_for(p, x);
		arg->rank = x->rank;
		memcpy(arg->shape, x->shape, sizeof arg->shape);
		if (p->dtype == KVJIT_U8 && p->rank > 1 && x->rank == 2 && p->shape[1] >= 0) {
			/* a cache is bound as pages of bytes, whatever its inner shape */
			arg->rank = p->rank;
			memcpy(arg->shape + 1, p->shape + 1,
			       sizeof arg->shape - sizeof *arg->shape);
		}
		arg->nstride = x->nstride;
		memcpy(arg->stride, x->stride, sizeof arg->stride);
		arg->i = x->i;
		arg->f = x->f;
	}
	return n;
}

/* Strides are those of the first axes; the others are contiguous. */
size_t bind_bytes(const bind_arg *x)
{
	int64_t inner = 1, outer = 0;
	if (x->bytes)
		return x->bytes;
	for (int i = 0; i < x->rank; i++) {
		if (x->shape[i] == 0)
			return 0;
		if (i < x->nstride)
			outer += (x->shape[i] - 1) * x->stride[i];
		else
			inner *= x->shape[i];
	}
	return (size_t)(outer + inner) * bind_item(x->dtype);
}

kvjit_status bind_call(const bind *b, kvjit *kv, const kvjit_kernel *k, const kvjit_plan *plan,
                       char *why, size_t len)
{
	kvjit_arg args[BIND_MAX];
	int n = bind_args(b, k, args, why, len);
	if (n < 0)
		return KVJIT_BAD_ARGUMENT;
	if (kvjit_device_name(kv))
		return bind_device_call(b, kv, k, plan, args, n, why, len);
	kvjit_status s = kvjit_call(k, plan, args, n, NULL);
	if (s != KVJIT_OK)
		snprintf(why, len, "%s: %s", kvjit_status_name(s), kvjit_kernel_error(k));
	return s;
}

/* -- elements -------------------------------------------------------------------------- */

size_t bind_item(kvjit_dtype t)
{
	switch (t) {
	case KVJIT_S64: return 8;
	case KVJIT_S32:
	case KVJIT_F32: return 4;
	case KVJIT_F16:
	case KVJIT_BF16: return 2;
	default: return 1;
	}
}

kvjit_dtype bind_dtype(kir_elem e)
{
	switch (e) {
	case KIR_s8: return KVJIT_S8;
	case KIR_s32: return KVJIT_S32;
	case KIR_s64: return KVJIT_S64;
	case KIR_f32: return KVJIT_F32;
	case KIR_f16: return KVJIT_F16;
	case KIR_bf16: return KVJIT_BF16;
	case KIR_e4m3fn: return KVJIT_E4M3FN;
	case KIR_e5m2: return KVJIT_E5M2;
	case KIR_e4m3fnuz: return KVJIT_E4M3FNUZ;
	case KIR_e5m2fnuz: return KVJIT_E5M2FNUZ;
	case KIR_e8m0: return KVJIT_E8M0;
	default: return KVJIT_U8;
	}
}

double elem_get(kir_elem e, const void *data, int64_t i)
{
	uint64_t code = 0;
	size_t n = kir_elem_bytes(e);
	memcpy(&code, (const char *)data + (size_t)i * n, n);
	return kir_decode(e, code);
}

void elem_set(kir_elem e, void *data, int64_t i, double x)
{
	uint64_t code = kir_encode(e, x, KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_sat);
	size_t n = kir_elem_bytes(e);
	memcpy((char *)data + (size_t)i * n, &code, n);
}

int64_t place_of(const kir_layout *l, kir_stream s, const int64_t *index)
{
	const kir_type *t = &l->stream[s].type;
	int64_t at = l->stream[s].offset;
	for (unsigned i = 0; i < t->npieces; i++) {
		const kir_piece *p = &t->piece[i];
		int64_t x = p->div > 1 ? index[p->axis] / p->div : index[p->axis];
		if (p->mod)
			x %= p->mod;
		at +=
		    x * (p->dyn ? l->tensor[l->stream[s].tensor].stride[p->stride] : p->stride);
	}
	return at;
}
