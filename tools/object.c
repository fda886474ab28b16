/* SPDX-License-Identifier: Apache-2.0 */
/* object.c -- see object.h. */
#include "object.h"
#include "../backends/backend.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The API gives texts; an object has zeros in it, so it is asked of the backend itself, which
 * the library has loaded into this process: to compile, or, where the code came from a cache,
 * to print the kernel's text. */
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

static const kbe_backend *loaded_backend(const char *name)
{
	loaded l = { "", "" };
	kbe_get get = NULL;
	snprintf(l.file, sizeof l.file, "libkvjit-%s.so", name);
	if (!dl_iterate_phdr(find_loaded, &l))
		return NULL;
	void *so = dlopen(l.path, RTLD_NOW | RTLD_NOLOAD);
	void *symbol = so ? dlsym(so, "kvjit_backend") : NULL;
	memcpy(&get, &symbol, sizeof get);
	const kbe_backend *b = get ? get() : NULL;
	/* the library refused another build's, but it stays in the process */
	return b && b->version == KBE_VERSION && kir_same_build(b->build, &kir_own_build)
	           ? b
	           : NULL;
}

static const kbe_backend *backend_of(const kvjit_kernel *k, const char *name, kir_diag *why)
{
	const kbe_backend *b = loaded_backend(name);

	if (!b) {
		free(kvjit_kernel_text(k, "llvm"));
		b = loaded_backend(name);
	}
	if (!b)
		kir_error(why, 0, 0, "backend '%s' isn't loaded: %s", name,
		          kvjit_kernel_error(k));
	return b;
}

bool object_of(const kvjit_kernel *k, const char *backend, kir_text *out, kir_diag *why)
{
	char *text = kvjit_kernel_text(k, "vector");
	kir_module *m = text ? kir_parse(text, strlen(text), why) : NULL;
	const kbe_backend *b = m ? backend_of(k, backend, why) : NULL;
	bool ok =
	    m && m->nfunc && b && b->dump(m->func[m->nfunc - 1], KBE_DUMP_OBJECT, out, why);

	kir_module_free(m);
	free(text);
	return ok;
}
