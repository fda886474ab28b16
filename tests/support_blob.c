/* SPDX-License-Identifier: Apache-2.0 */
/* support_blob.c -- see support_blob.h. */
#include "support_blob.h"

#include "../include/kvjit.h"

#include <dlfcn.h>
#include <ffi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAX_CELLS = 128 };

const kbe_backend *support_backend(const char *name)
{
	const char *dir = getenv("KVJIT_BACKEND_DIR");
	char path[512];
	void *so, *symbol;
	kbe_get get;

	snprintf(path, sizeof path, "%s/libkvjit-%s.so", dir ? dir : ".", name);
	so = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	symbol = so ? dlsym(so, "kvjit_backend") : NULL;
	if (!symbol)
		return NULL;
	memcpy(&get, &symbol, sizeof get);
	return get();
}

const char *support_only(void)
{
	const char *only = getenv("KVJIT_TEST_TARGET");

	return only && *only ? only : NULL;
}

bool support_runs(const char *target)
{
	kvjit_options o = { .size = sizeof o, .target = target };
	kvjit *kv = NULL;

	if ((support_only() && strcmp(target, support_only()) != 0) ||
	    kvjit_open(&o, &kv) != KVJIT_OK)
		return false;
	kvjit_close(kv);
	return true;
}

/* One parameter of the C signature. */
typedef union cell {
	void *p;
	int64_t s64;
	int32_t s32;
	float f32;
} cell;

typedef struct call {
	ffi_type *type[MAX_CELLS];
	cell value[MAX_CELLS];
	void *at[MAX_CELLS];
	unsigned n;
} call;

static void put_s64(call *c, int64_t x)
{
	c->type[c->n] = &ffi_type_sint64;
	c->value[c->n++].s64 = x;
}

static bool put_param(call *c, const kir_func *f, unsigned i, const kref_arg *arg)
{
	const kir_type *t = kir_type_at(f->module, f->param[i].type);

	if (c->n + 8 > MAX_CELLS)
		return false;
	if (t->buffer) {
		c->type[c->n] = &ffi_type_pointer;
		c->value[c->n++].p = arg->base;
		for (unsigned k = 0; k < f->param[i].nstride; k++)
			put_s64(c, arg->stride[k]);
		return true;
	}
	switch (t->elem) {
	case KIR_s64: put_s64(c, arg->i); return true;
	case KIR_s32:
		c->type[c->n] = &ffi_type_sint32;
		c->value[c->n++].s32 = (int32_t)arg->i;
		return true;
	case KIR_f32:
		c->type[c->n] = &ffi_type_float;
		c->value[c->n++].f32 = (float)arg->f;
		return true;
	default: return false;
	}
}

/* Iterations of a top-level par loop. */
static int64_t bound(const kir_func *f, kir_ref loop, const kref_arg *arg)
{
	kir_ref hi = kir_src(f, loop, 1);
	int64_t x, step = kir_for_step(f, loop);

	if (!kir_is_const(f, hi, &x))
		x = arg[kir_at(f, hi)->attr[0]].i;
	return x > 0 ? (x + step - 1) / step : 0;
}

static bool call_phases(const kir_func *f, void *entry, call *c, const kref_arg *arg)
{
	unsigned phase = c->n;
	int64_t k = 0;
	ffi_cif cif;
	void (*fn)(void);

	memcpy(&fn, &entry, sizeof fn);
	for (int i = 0; i < 3; i++)
		put_s64(c, 0);
	for (unsigned i = 0; i < c->n; i++)
		c->at[i] = &c->value[i];
	if (ffi_prep_cif(&cif, FFI_DEFAULT_ABI, c->n, &ffi_type_void, c->type) != FFI_OK)
		return false;
	for (kir_ref n = 1; n < f->nnode; n++) {
		if (kir_at(f, n)->op != KIR_OP_for || !kir_for_par(f, n))
			continue;
		int64_t end = bound(f, n, arg), half = end / 2;
		/* in two pieces, as threads would */
		for (int i = 0; i < 2; i++) {
			c->value[phase].s64 = k;
			c->value[phase + 1].s64 = i ? half : 0;
			c->value[phase + 2].s64 = i ? end : half;
			ffi_call(&cif, fn, NULL, c->at);
		}
		k++;
	}
	return true;
}

bool support_call(const kir_func *f, const kbe_blob *b, const kref_arg *arg)
{
	size_t size = (b->size + 4095) / 4096 * 4096;
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	call *c = calloc(1, sizeof *c);
	bool ok = p != MAP_FAILED && c;

	for (unsigned i = 0; ok && i < f->nparam; i++)
		ok = put_param(c, f, i, &arg[i]);
	if (ok) {
		memcpy(p, b->bytes, b->size);
		ok = !mprotect(p, size, PROT_READ | PROT_EXEC) &&
		     call_phases(f, (char *)p + b->entry, c, arg);
	}
	if (p != MAP_FAILED)
		munmap(p, size);
	free(c);
	return ok;
}
