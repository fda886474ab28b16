/* SPDX-License-Identifier: Apache-2.0 */
/* compile.c -- kvjit compile: a program to machine code, printing the stage asked for. What
 * --emit ir, tile or vector prints can be edited and compiled again. */
#include "tool.h"
#include "../backends/backend.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "compile PROGRAM [--emit ir|tile|vector|llvm|asm|c|obj|schedule] [--target T] "
    "[--backend B] [--sched KNOBS] [-o FILE]";

/* -- an object file ------------------------------------------------------------------------ */

/* The API gives texts; an object has zeros in it, so it is asked of the backend itself, which
 * compiling has loaded into this process. */
typedef struct loaded {
	char file[32]; /* "libkvjit-x86.so" */
	char path[4096];
} loaded;

static int find_loaded(struct dl_phdr_info *info, size_t size, void *ctx)
{
	loaded *l = ctx;
	const char *slash = strrchr(info->dlpi_name, '/');
	(void)size;
	if (!slash || strcmp(slash + 1, l->file) != 0)
		return 0;
	snprintf(l->path, sizeof l->path, "%s", info->dlpi_name);
	return 1;
}

static const kbe_backend *backend_of(const char *name)
{
	loaded l = { "", "" };
	kbe_get get = NULL;
	snprintf(l.file, sizeof l.file, "libkvjit-%s.so", name);
	if (!dl_iterate_phdr(find_loaded, &l))
		return NULL;
	void *so = dlopen(l.path, RTLD_NOW | RTLD_NOLOAD);
	void *symbol = so ? dlsym(so, "kvjit_backend") : NULL;
	memcpy(&get, &symbol, sizeof get);
	return get ? get() : NULL;
}

static bool object(const kvjit_kernel *k, const char *backend, kir_text *out)
{
	char *text = kvjit_kernel_text(k, "vector");
	kir_diag d = { 0 };
	kir_module *m = text ? kir_parse(text, strlen(text), &d) : NULL;
	const kbe_backend *b = backend_of(backend ? backend : "x86");
	bool ok =
	    m && m->nfunc && b && b->dump(m->func[m->nfunc - 1], KBE_DUMP_OBJECT, out, &d);
	kir_module_free(m);
	free(text);
	return ok;
}

/* -- any stage ----------------------------------------------------------------------------- */

static bool stage_of(const kvjit_kernel *k, const char *backend, const char *stage,
                     kir_text *out)
{
	if (strcmp(stage, "obj") == 0)
		return object(k, backend, out);
	char *text = kvjit_kernel_text(k, stage);
	if (text) {
		*out = (kir_text){ text, strlen(text), 0 };
		if (out->len && text[out->len - 1] != '\n')
			kir_text_add(out, "\n");
	}
	return text != NULL;
}

static bool save(const kir_text *t, const char *path)
{
	FILE *f = path ? fopen(path, "wb") : stdout;
	bool ok = f && fwrite(t->text, 1, t->len, f) == t->len;
	if (f && f != stdout)
		ok &= fclose(f) == 0;
	if (!ok)
		fprintf(stderr, "kvjit: %s can't be written\n", path ? path : "the output");
	return ok;
}

static int emit(kvjit *kv, const char *text, const char *sched, const char *stage,
                const char *backend, const char *path)
{
	kvjit_compile_options o = { .size = sizeof o, .sched = sched };
	kvjit_kernel *k = NULL;
	kir_text out = { 0 };
	int status = TOOL_FAILED;
	if (kvjit_compile(kv, text, &o, &k) != KVJIT_OK)
		fprintf(stderr, "kvjit: %s\n", kvjit_error(kv));
	else if (!stage_of(k, backend, stage, &out))
		fprintf(stderr,
		        "kvjit: this kernel has no %s; --emit takes ir, tile, vector, llvm, "
		        "asm, c, "
		        "obj, schedule\n",
		        stage);
	else if (save(&out, path))
		status = TOOL_OK;
	free(out.text);
	kvjit_release(k);
	return status;
}

int tool_compile(args *a)
{
	const char *stage = args_value(a, "--emit"), *target = args_value(a, "--target");
	const char *backend = args_value(a, "--backend"), *sched = args_value(a, "--sched");
	const char *path = args_value(a, "-o");
	if (!args_end(a, 1, 1 << 20, usage))
		return TOOL_USAGE;
	if (!stage)
		stage = "schedule";
	if (!backend && strcmp(stage, "c") == 0)
		backend = "c";
	kvjit *kv = tool_open(target, backend);
	char *text = tool_program(a);
	int status = kv && text ? emit(kv, text, sched, stage, backend, path) : TOOL_FAILED;
	free(text);
	kvjit_close(kv);
	return status;
}
