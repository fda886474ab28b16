/* SPDX-License-Identifier: Apache-2.0 */
/* support_store.c -- see support_store.h. */
#include "support_store.h"
#include "support_api.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

kt_store *ks_open(const char *name, kt_mode mode)
{
	kt_store_options o = { pk_in_folder(name), mode, 0, { pk_keep, NULL } };

	pk_said[0] = 0;
	return kt_store_open(&o);
}

kt_reason ks_put(kt_store *s, unsigned i, size_t size)
{
	uint8_t *bytes = malloc(size);
	kt_code c = pk_make_code(i, bytes, size);
	kt_reason why;

	c.codegen = KT_CODEGEN; /* what a gc keeps */
	why = kt_code_put(s, &c);
	free(bytes);
	return why;
}

kt_code ks_get(kt_store *s, unsigned i)
{
	kt_key k = pk_key_of("code", i);
	kt_code c;

	pk_assert_reason(kt_code_get(s, &k, &c), KT_WHY_none);
	return c;
}

unsigned ks_intact(kt_store *s, unsigned n, size_t size)
{
	uint8_t *bytes = malloc(size);
	unsigned found = 0;

	for (unsigned i = 0; i < n; i++) {
		kt_code want = pk_make_code(i, bytes, size), got;

		if (kt_code_get(s, &want.key, &got) != KT_WHY_none)
			continue;
		found += got.size == size && !memcmp(got.bytes, bytes, size) ? 1 : 1000;
		kt_code_free(&got);
	}
	free(bytes);
	return found;
}

void ks_make(const char *name, unsigned n)
{
	kt_store *s = ks_open(name, KT_USER);

	for (unsigned i = 0; i < n; i++)
		pk_assert_reason(ks_put(s, i, KS_SIZE), KT_WHY_none);
	kt_store_close(s);
	assert_string_equal(pk_said, "");
}

const char *ks_db(const char *name)
{
	static char path[4][100];
	static unsigned turn;
	char *p = path[turn++ % 4];

	snprintf(p, sizeof(path[0]), "%s/kvjit.db", name);
	return p;
}

void ks_sql(const char *name, const char *text)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(pk_in_folder(ks_db(name)), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

unsigned ks_aside(const char *name, char *last, size_t len)
{
	DIR *d = opendir(pk_in_folder(name));
	struct dirent *e;
	unsigned n = 0;

	while (d && (e = readdir(d))) {
		const char *tail = strstr(e->d_name, ".damaged-");

		if (!tail || strstr(tail, "-wal") || strstr(tail, "-shm"))
			continue;
		if (last)
			snprintf(last, len, "%s/%s", name, e->d_name);
		n++;
	}
	if (d)
		closedir(d);
	return n;
}

unsigned ks_lines(void)
{
	unsigned n = 0;

	for (const char *p = pk_said; *p; p++)
		n += *p == '\n';
	return n;
}

static int in_child(void (*fn)(void))
{
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		fn();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

void ks_run(void (*fn)(void))
{
	int status = in_child(fn);

	if (status == 77)
		skip();
	assert_int_equal(status, 0);
}

/* -- a kernel all the same ----------------------------------------------------------------- */

static void keep_quiet(const char *line, void *ctx)
{
	(void)line;
	(void)ctx;
}

const char *ks_not_compiled(const char *name)
{
	static char why[600];
	kvjit_options o = {
		.size = sizeof(o), .cache = pk_in_folder(name), .threads = 1, .log = keep_quiet
	};
	double start = seconds();
	kvjit_kernel *k = NULL;
	kvjit *kv = NULL;
	char x86[500];

	snprintf(x86, sizeof(x86), "%s/libkvjit-x86.so", getenv("KVJIT_BACKEND_DIR"));
	o.backend = access(x86, R_OK) ? "c" : "x86";
	if (kvjit_open(&o, &kv) != KVJIT_OK) {
		snprintf(why, sizeof(why), "%s", kvjit_open_error());
		return why;
	}
	snprintf(why, sizeof(why), "%s", "");
	if (kvjit_compile(kv, "merge out=f32 heads=4 dim=64", NULL, &k) != KVJIT_OK)
		snprintf(why, sizeof(why), "%s", kvjit_error(kv));
	else if (!kvjit_entry(k))
		snprintf(why, sizeof(why), "it has no code");
	kvjit_release(k);
	kvjit_close(kv);
	if (!*why && seconds() - start > 5)
		snprintf(why, sizeof(why), "it took %.1f s", seconds() - start);
	return *why ? why : NULL;
}
