/* SPDX-License-Identifier: Apache-2.0 */
/* loader.c -- backends as shared objects, loaded on first use.
 *
 * They lie beside libkvjit.so, or in KVJIT_BACKEND_DIR and then nowhere else. Their symbols
 * stay their own (RTLD_LOCAL), so that their LLVM never meets another one of the process.
 */
#include "jit.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

const char *const kvjit_backend_names[KVJIT_NBACKEND] = { "x86", "c", "ref" };

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

void kvjit_load_from(const char *dir, int i, kvjit_loaded *l)
{
	const char *name = kvjit_backend_names[i];
	char folder[400];
	kbe_get get;
	void *so, *symbol;

	memset(l, 0, sizeof(*l));
	if (dir)
		snprintf(folder, sizeof(folder), "%s", dir);
	else
		own_folder(folder, sizeof(folder));
	snprintf(l->path, sizeof(l->path), "%s/libkvjit-%s.so", folder, name);
	so = dlopen(l->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (!so) {
		const char *msg = dlerror();

		snprintf(l->why, sizeof(l->why), "backend '%s' can't be loaded: %s", name,
		         msg ? msg : "no reason given");
		return;
	}
	symbol = dlsym(so, "kvjit_backend");
	memcpy(&get, &symbol, sizeof(get));
	l->backend = symbol ? get() : NULL;
	if (l->backend && l->backend->version == KBE_VERSION && !strcmp(l->backend->name, name))
		return;
	snprintf(l->why, sizeof(l->why),
	         "backend '%s' can't be used: %s isn't version %d of this backend", name,
	         l->path, KBE_VERSION);
	l->backend = NULL;
	dlclose(so);
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
