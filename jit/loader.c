/* SPDX-License-Identifier: Apache-2.0 */
/* loader.c -- backends, and the runtime of devices, as shared objects, loaded on first use.
 *
 * They lie beside libkvjit.so, or in KVJIT_BACKEND_DIR and then nowhere else. Their symbols
 * stay their own (RTLD_LOCAL), so that their LLVM never meets another one of the process.
 */
#include "device.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

const char *const kvjit_backend_names[KVJIT_NBACKEND] = { "x86", "spirv", "spirv-llvm", "c",
	                                                  "ref" };

int kvjit_backend_find(const char *name)
{
	for (int i = 0; i < KVJIT_NBACKEND; i++)
		if (!strcmp(name, kvjit_backend_names[i]))
			return i;
	return -1;
}

/* The folder of libkvjit.so, or of the program when it is linked in; "." at worst. */
static void own_folder(char *buf, size_t len)
{
	Dl_info info;
	const char *slash = NULL;

	if (dladdr(kvjit_backend_names, &info) && info.dli_fname)
		slash = strrchr(info.dli_fname, '/');
	if (slash)
		snprintf(buf, len, "%.*s", (int)(slash - info.dli_fname), info.dli_fname);
	else
		snprintf(buf, len, ".");
}

/* The function that libkvjit-NAME.so exports; NULL, and why not. */
static void *open_object(const char *dir, const char *what, const char *name,
                         const char *symbol, kvjit_loaded *l, void **so)
{
	char folder[400];
	const char *msg;
	void *at;

	memset(l, 0, sizeof(*l));
	if (dir)
		snprintf(folder, sizeof(folder), "%s", dir);
	else
		own_folder(folder, sizeof(folder));
	snprintf(l->path, sizeof(l->path), "%s/libkvjit-%s.so", folder, name);
	*so = dlopen(l->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (*so) {
		at = dlsym(*so, symbol);
		return at;
	}
	msg = dlerror();
	snprintf(l->why, sizeof(l->why), "%s '%s' can't be loaded: %s", what, name,
	         msg ? msg : "no reason given");
	return NULL;
}

static void refuse_version(kvjit_loaded *l, const char *what, const char *name, int version,
                           void *so)
{
	snprintf(l->why, sizeof(l->why),
	         "%s '%s' can't be used: %s isn't version %d of this %s", what, name, l->path,
	         version, what);
	dlclose(so);
}

/* A function is handed over as it lies in memory. */
static void refuse_build(kvjit_loaded *l, const char *name, void *so)
{
	snprintf(l->why, sizeof(l->why),
	         "backend '%s' can't be used: %s comes from another build than libkvjit, with "
	         "other ops, elements or knobs; install both from one",
	         name, l->path);
	dlclose(so);
}

void kvjit_load_from(const char *dir, int i, kvjit_loaded *l)
{
	const char *name = kvjit_backend_names[i];
	void *so, *symbol = open_object(dir, "backend", name, "kvjit_backend", l, &so);
	const kbe_backend *b;
	kbe_get get;

	if (!so)
		return;
	memcpy(&get, &symbol, sizeof(get));
	b = symbol ? get() : NULL;
	if (!b || b->version != KBE_VERSION || strcmp(b->name, name) != 0)
		refuse_version(l, "backend", name, KBE_VERSION, so);
	else if (!kir_same_build(b->build, &kir_own_build))
		refuse_build(l, name, so);
	else
		l->backend = b;
}

const kbe_runtime *kvjit_load_runtime(const char *dir, kvjit_loaded *l)
{
	void *so, *symbol = open_object(dir, "runtime", "ze", "kvjit_runtime", l, &so);
	const kbe_runtime *r;
	kbe_runtime_get get;

	if (!so)
		return NULL;
	memcpy(&get, &symbol, sizeof(get));
	r = symbol ? get() : NULL;
	if (r && r->version == KBE_RUNTIME_VERSION && !strcmp(r->name, "ze"))
		return r;
	refuse_version(l, "runtime", "ze", KBE_RUNTIME_VERSION, so);
	return NULL;
}

const kbe_backend *kvjit_load(kvjit *kv, int backend, const char **why)
{
	kvjit_loaded *l = &kv->loaded[backend];

	pthread_mutex_lock(&kv->load);
	if (!l->tried)
		kvjit_load_from(kv->env[KVJIT_ENV_BACKEND_DIR], backend, l);
	l->tried = true;
	pthread_mutex_unlock(&kv->load);
	*why = l->why;
	return l->backend;
}
