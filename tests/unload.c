/* SPDX-License-Identifier: Apache-2.0 */
/* unload.c -- a host may close libkvjit.so again, as one does that loads plugins: three times
 * open, compile, call on threads, dlclose. This program isn't linked with the library.
 *
 *     unload LIBKVJIT.SO BACKEND
 *
 * OpenMP's threads outlive a call and wait in their own library, which must stay where it is.
 */
#include "../include/kvjit.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 4096, COLS = 16, ROUNDS = 3 };

static const char text[] =
    "func @twice(%x: in f32[?,16 | 0:$0, 1:4], %y: out f32[?,16 | 0:$0, 1:4], %n: s64)\n"
    "     level=V {\n"
    "  for %i = 0 to %n par {\n"
    "    %v = vload %x[%i,0] : f32<4>\n"
    "    %w = add %v, %v : f32<4>\n"
    "    vstore %w, %y[%i,0]\n"
    "    yield\n"
    "  }\n"
    "  ret\n"
    "}\n";

static float x[ROWS][COLS], y[ROWS][COLS];

static void fail(const char *what)
{
	fprintf(stderr, "unload: %s\n", what);
	exit(1);
}

/* The library's functions, by the names and types of its header. */
#define FUNCTIONS(f)                                                                     \
	f(kvjit_open) f(kvjit_open_error) f(kvjit_close) f(kvjit_error) f(kvjit_compile) \
	    f(kvjit_call) f(kvjit_kernel_error) f(kvjit_release)

typedef struct library {
	void *so;
#define FIELD(name) __typeof__(&(name)) name;
	FUNCTIONS(FIELD)
} library;

static void load(library *l, const char *path)
{
	void *at;

	l->so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!l->so)
		fail(dlerror());
#define FIND(name)                                   \
	at = dlsym(l->so, #name);                    \
	if (!at)                                     \
		fail(#name " isn't in the library"); \
	memcpy(&l->name, &at, sizeof at);
	FUNCTIONS(FIND)
}

static void use(const library *l, const char *backend)
{
	kvjit_options o = { .size = sizeof o, .backend = backend, .cache = "off" };
	kvjit_arg a[3] = {
		{ .name = "x",
		  .dtype = KVJIT_F32,
		  .data = x,
		  .rank = 2,
		  .shape = { ROWS, COLS } },
		{ .name = "y",
		  .dtype = KVJIT_F32,
		  .data = y,
		  .rank = 2,
		  .shape = { ROWS, COLS } },
		{ .name = "n", .i = ROWS },
	};
	kvjit *kv = NULL;
	kvjit_kernel *k = NULL;

	memset(y, 0, sizeof y);
	if (l->kvjit_open(&o, &kv) != KVJIT_OK)
		fail(l->kvjit_open_error());
	if (l->kvjit_compile(kv, text, NULL, &k) != KVJIT_OK)
		fail(l->kvjit_error(kv));
	l->kvjit_close(kv); /* kernels live on */
	if (l->kvjit_call(k, NULL, a, 3, NULL) != KVJIT_OK)
		fail(l->kvjit_kernel_error(k));
	l->kvjit_release(k);
	for (int i = 0; i < ROWS; i++)
		for (int j = 0; j < COLS; j++)
			if (y[i][j] != (j < 4 ? 2 * x[i][j] : 0))
				fail("wrong results");
}

int main(int argc, char **argv)
{
	if (argc != 3)
		fail("takes the library and a backend");
	for (int i = 0; i < ROWS; i++)
		for (int j = 0; j < COLS; j++)
			x[i][j] = (float)(i + j);
	for (int i = 0; i < ROUNDS; i++) {
		library l;

		load(&l, argv[1]);
		use(&l, argv[2]);
		if (dlclose(l.so))
			fail(dlerror());
	}
	return 0;
}
