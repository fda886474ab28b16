/* SPDX-License-Identifier: Apache-2.0 */
/* support_cache.c -- see support_cache.h. */
#include "support_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

char ct_folder[300];

int ct_make_folder(void **state)
{
	const char *tmp = getenv("KVJIT_TMP");

	(void)state;
	snprintf(ct_folder, sizeof(ct_folder), "%s/cache.XXXXXX", tmp ? tmp : "/tmp");
	return mkdtemp(ct_folder) ? 0 : -1;
}

int ct_drop_folder(void **state)
{
	char command[400];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", ct_folder);
	return system(command) != 0;
}

char ct_said[8000];

static void listen(const char *line, void *ctx)
{
	(void)ctx;
	strncat(ct_said, line, sizeof(ct_said) - strlen(ct_said) - 1);
}

bool ct_x86_is_built(void)
{
	const char *dir = getenv("KVJIT_BACKEND_DIR");
	char path[500];

	snprintf(path, sizeof(path), "%s/libkvjit-x86.so", dir ? dir : ".");
	return access(path, R_OK) == 0;
}

kvjit *ct_open(const char *cache, const char *path, const char *pins)
{
	kvjit_options o = { .size = sizeof(o),
		            .backend = ct_x86_is_built() ? NULL : "c",
		            .cache = cache,
		            .cache_path = path,
		            .pins = pins,
		            .threads = 1,
		            .log = listen };
	kvjit *kv = NULL;

	ct_said[0] = 0;
	if (kvjit_open(&o, &kv) != KVJIT_OK)
		fail_msg("%s", kvjit_open_error());
	return kv;
}

kvjit_kernel *ct_get(kvjit *kv, const char *text, unsigned flags)
{
	kvjit_compile_options o = { .size = sizeof(o), .flags = flags };
	kvjit_kernel *k = NULL;

	if (kvjit_compile(kv, text, &o, &k) != KVJIT_OK)
		fail_msg("%s: %s", text, kvjit_error(kv));
	return k;
}

bool ct_from_cache(const kvjit_kernel *k)
{
	return !strncmp(kvjit_kernel_origin(k), "cache ", 6);
}

void ct_put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}
