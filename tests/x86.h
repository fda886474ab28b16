/* SPDX-License-Identifier: Apache-2.0 */
/* x86.h -- compiling level-V texts with the x86 backend and running them, for its tests. What
 * is compiled is mapped the way libkvjit maps it and called through its prototype.
 */
#ifndef KVJIT_TESTS_X86_H
#define KVJIT_TESTS_X86_H

#include "../backends/backend.h"
#include "../ir/format.h"

/* libkvjit has it too, but doesn't export it. */
#include "../backends/cpu.c"

#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

typedef void (*map_fn)(const void *x, void *y, int64_t n, int64_t phase, int64_t b, int64_t e);

typedef struct code {
	kir_module *m;
	void *at;
	size_t bytes;
	void *entry;
} code;

static inline const kbe_backend *be(void)
{
	static const kbe_backend *found;
	const char *dir = getenv("KVJIT_BACKEND_DIR");
	char path[512];

	if (found)
		return found;
	snprintf(path, sizeof path, "%s/libkvjit-x86.so", dir ? dir : ".");
	void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	kbe_get get;

	if (!so)
		fail_msg("%s", dlerror());
	*(void **)&get = dlsym(so, "kvjit_backend");
	found = get();
	assert_int_equal(found->version, KBE_VERSION);
	return found;
}

/* The text with its last function parsed and checked. */
static inline kir_func *parsed(const char *text, kir_module **m)
{
	kir_diag d = { 0 };
	char msg[2000];

	*m = kir_parse(text, strlen(text), &d);
	if (!*m || !kir_verify((*m)->func[(*m)->nfunc - 1], &d))
		fail_msg("%s\n%s", kir_diag_text(&d, msg, sizeof msg), text);
	return (*m)->func[(*m)->nfunc - 1];
}

static inline void *map_code(const kbe_blob *b, size_t *bytes)
{
	void *p;

	*bytes = (b->size + 4095) & ~(size_t)4095;
	p = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(p != MAP_FAILED);
	memcpy(p, b->bytes, b->size);
	assert_int_equal(mprotect(p, *bytes, PROT_READ | PROT_EXEC), 0);
	return p;
}

static inline code build(const char *text)
{
	code c;
	kbe_blob b;
	kir_diag d = { 0 };
	char msg[2000];
	kir_func *f = parsed(text, &c.m);

	if (!be()->compile(f, &b, &d))
		fail_msg("%s\n%s", kir_diag_text(&d, msg, sizeof msg), text);
	assert_true(b.entry < b.text && b.text <= b.size);
	c.at = map_code(&b, &c.bytes);
	c.entry = (char *)c.at + b.entry;
	free(b.bytes);
	return c;
}

static inline void drop(code *c)
{
	munmap(c->at, c->bytes);
	kir_module_free(c->m);
}

/* Rows of targets.def this machine runs; i counts up from 0. */
static inline const kir_target *runnable(unsigned *i)
{
	while (*i < kir_ntargets) {
		const kir_target *t = &kir_targets[(*i)++];

		if (kbe_host_runs(t))
			return t;
	}
	return NULL;
}

/* The function that reads lanes of %x, computes %r from %v in `body` and writes them to %y. */
static inline code build_map(const kir_target *t, const char *from, const char *to,
                             unsigned lanes, const char *body)
{
	char text[4000];

	snprintf(text, sizeof text,
	         "func @map(%%x: in %s[?], %%y: out %s[?], %%n: s64) level=V target=%s {\n"
	         "for %%i = 0 to %%n par {\n"
	         "%%o = mul %%i, %u : s64\n"
	         "%%v = vload %%x[%%o] : %s<%u>\n"
	         "%s\n"
	         "vstore %%r, %%y[%%o]\nyield\n}\nret\n}\n",
	         from, to, t->name, lanes, from, lanes, body);
	return build(text);
}

static inline void run_map(const kir_target *t, const char *from, const char *to,
                           unsigned lanes, const char *body, const void *x, void *y, size_t n)
{
	code c = build_map(t, from, to, lanes, body);
	map_fn fn;

	*(void **)&fn = c.entry;
	fn(x, y, (int64_t)(n / lanes), 0, 0, (int64_t)(n / lanes));
	drop(&c);
}

static inline uint64_t get(const void *p, unsigned bytes, size_t i)
{
	uint64_t x = 0;

	memcpy(&x, (const char *)p + i * bytes, bytes);
	return x;
}

static inline bool same_code(kir_elem e, uint64_t a, uint64_t b)
{
	if (a == b)
		return true;
	/* NaNs of the larger types keep their payload, which the codec doesn't */
	return kir_elems[e].kind == 'F' && kir_elems[e].bits >= 16 && isnan(kir_decode(e, a)) &&
	       isnan(kir_decode(e, b));
}

/* All codes of an element of up to 16 bits. */
static inline void *all_codes(kir_elem e, size_t *n)
{
	unsigned bytes = kir_elem_bytes(e), bits = kir_elems[e].bits;
	char *p;

	*n = (size_t)1 << bits;
	if (*n < 64)
		*n = 64; /* the codes again */
	p = malloc(*n * bytes);
	for (size_t i = 0; i < *n; i++) {
		uint64_t c = i & ((1u << bits) - 1);

		memcpy(p + i * bytes, &c, bytes);
	}
	return p;
}

#endif
