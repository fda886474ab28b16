/* SPDX-License-Identifier: Apache-2.0 */
/* cache_keep.c -- kvjit cache why, gc, verify, merge. */
#include "cache.h"
#include "gpu.h"
#include "../tune/pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { MOST_MB = 1 << 20 }; /* of a cap */

static void log_line(const char *line, void *ctx)
{
	(void)ctx;
	fputs(line, stderr);
}

/* -- why ------------------------------------------------------------------------------ */

static int why(kvjit *kv, const char *text, const char *sched, unsigned flags)
{
	kvjit_compile_options o = { sizeof o, sched, flags };
	char *out = NULL;

	if (kvjit_why(kv, text, &o, &out) != KVJIT_OK)
		return cache_fail("%s", kvjit_error(kv));
	fputs(out, stdout);
	free(out);
	return TOOL_OK;
}

int cache_why(args *a, const char *dir)
{
	const char *sched = args_value(a, "--sched"), *target = args_value(a, "--target");

	if (!args_end(a, 1, 1 << 20))
		return TOOL_USAGE;
	kvjit_options o = { .size = sizeof o, .target = target, .log = log_line, .cache = dir };
	char *text = tool_program(a), *whole = NULL;
	const kir_target *gpu = text ? gpu_target(target, text) : NULL;
	kvjit *kv = NULL;
	int status = TOOL_FAILED;

	if (gpu) { /* asked as it is compiled: with no device */
		o.target = "generic";
		o.backend = gpu_backend(NULL);
		whole = gpu_text(gpu, text);
	}
	if (kvjit_open(&o, &kv) != KVJIT_OK)
		cache_fail("%s", kvjit_open_error());
	else if (text)
		status = why(kv, whole ? whole : text, sched, gpu ? KVJIT_FOREIGN : 0);
	free(text);
	free(whole);
	kvjit_close(kv);
	return status;
}

/* -- gc ------------------------------------------------------------------------------- */

/* The cap that processes keep to in this environment; 0: the store's own; -1: it isn't one. */
static long usual_cap(void)
{
	const char *mb = getenv("KVJIT_CACHE_MB");
	char *end;
	long x;

	if (!mb || !*mb)
		return 0;
	x = strtol(mb, &end, 10);
	return !*end && x >= 1 && x <= MOST_MB ? x : -1;
}

int cache_gc(args *a, const char *dir)
{
	long mb = args_number(a, "--cap-mb", 1, MOST_MB, 0);
	kt_gc gc;

	if (!args_end(a, 0, 0))
		return TOOL_USAGE;
	if (!mb && (mb = usual_cap()) < 0)
		return cache_fail("KVJIT_CACHE_MB is '%.40s'; it takes 1 to %d",
		                  getenv("KVJIT_CACHE_MB"), MOST_MB);
	kt_store *s = cache_open(dir, false);
	if (!s)
		return TOOL_FAILED;
	kt_reason r = kt_store_gc(s, (int64_t)mb << 20, &gc);
	int status = r == KT_WHY_none
	                 ? TOOL_OK
	                 : cache_fail("cache %s %s", kt_store_path(s), kt_reasons[r].sentence);
	if (status == TOOL_OK)
		printf("code: %lld bytes, %lld before; %lld entries beyond the cap and %lld "
		       "of other "
		       "versions dropped\n",
		       (long long)gc.code_after, (long long)gc.code_before,
		       (long long)gc.dropped, (long long)gc.stale);
	kt_store_close(s);
	return status;
}

/* -- verify --------------------------------------------------------------------------- */

static bool count_native(const kt_code *c, void *ctx)
{
	*(unsigned *)ctx += !strcmp(c->kind, "native");
	return true;
}

/* "", or how much of the code is a GPU's own. */
static const char *native_text(unsigned n, char out[48])
{
	snprintf(out, 48, n ? ", %u of them a GPU's own" : "", n);
	return out;
}

static int verify_store(const char *dir)
{
	kt_store *s = cache_open(dir, false);
	int64_t n = 0;
	unsigned native = 0;
	char text[600], beside[48];

	if (!s)
		return TOOL_FAILED;
	kt_each_code(s, false, count_native, &native);
	kt_reason r = kt_store_verify(s, text, sizeof text, &n);
	if (r != KT_WHY_none && !*text)
		snprintf(text, sizeof text, "%s %s", kt_store_path(s), kt_reasons[r].sentence);
	int status = r == KT_WHY_none ? TOOL_OK : cache_fail("%s", text);
	if (status == TOOL_OK)
		printf("%s: %lld pieces of code%s, all sound\n", kt_store_path(s), (long long)n,
		       native_text(native, beside));
	r = kt_store_trust(s);
	if (r != KT_WHY_none)
		status = cache_fail("%s %s: its schedules are used, its code isn't",
		                    kt_store_path(s), kt_reasons[r].sentence);
	kt_store_close(s);
	return status;
}

static int judge(kt_pack *p, const char *path)
{
	const kt_pack_head *h = kt_pack_head_of(p);
	int64_t n = 0;
	unsigned native = 0;
	char text[600], beside[48];
	kt_reason r = kt_pack_verify(p, text, sizeof text, &n);

	if (r != KT_WHY_none)
		return cache_fail("%s %s", path, text);
	kt_pack_each_code(p, count_native, &native);
	printf("%s: %s version %lld, %u schedules, %u pieces of code%s, all sound\n", path,
	       h->name, (long long)h->version, h->nschedule, h->ncode,
	       native_text(native, beside));
	r = kt_pack_trust(p);
	if (r != KT_WHY_none)
		return cache_fail("%s %s", path, kt_reasons[r].sentence);
	puts("signed by a trusted key: its code is used");
	return TOOL_OK;
}

static int verify_pack(const char *path)
{
	kt_log log = { log_line, NULL };
	const char *file = getenv("KVJIT_TRUSTED");
	kt_trust *trust = kt_trust_read(file && *file ? file : "/etc/kvjit/trusted", &log);
	kt_pack *p = kt_pack_open(
	    &(kt_pack_options){ .path = path, .trust = trust, .now = (int64_t)time(NULL) });
	int status = TOOL_FAILED;

	if (p && kt_pack_state(p) == KT_WHY_none)
		status = judge(p, path);
	else
		cache_fail("%s %s", path,
		           p ? kt_reasons[kt_pack_state(p)].sentence : "needs more memory");
	kt_pack_close(p);
	kt_trust_free(trust);
	return status;
}

int cache_verify(args *a, const char *dir)
{
	if (!args_end(a, 0, 1))
		return TOOL_USAGE;
	const char *path = a->argc ? a->argv[0] : dir;
	size_t n = path ? strlen(path) : 0;
	if (n > 7 && !strcmp(path + n - 7, ".kvpack"))
		return verify_pack(path);
	return verify_store(path);
}

/* -- merge ---------------------------------------------------------------------------- */

/* A source is only read; where a journal stands beside it, that is part of it, and only a
 * store that may write can read it. */
static kt_store *open_source(const char *dir)
{
	size_t n = strlen(dir);
	bool file = n > 3 && !strcmp(dir + n - 3, ".db");
	struct stat st;
	char path[4200];

	snprintf(path, sizeof path, "%s%s-wal", dir, file ? "" : "/kvjit.db");
	if (stat(path, &st) == 0 && st.st_size > 0)
		return cache_open(dir, false);
	kt_store *s = kt_store_open(&(kt_store_options){ .folder = dir, .mode = KT_SYSTEM });
	if (s && kt_store_state(s) == KT_WHY_none)
		return s;
	cache_fail("cache %s %s", dir,
	           s ? kt_reasons[kt_store_state(s)].sentence : "needs more memory");
	kt_store_close(s);
	return NULL;
}

static bool merge(kt_store *to, const char *dir)
{
	kt_store *from = open_source(dir);
	kt_reason r = from ? kt_store_merge(to, from) : KT_WHY_none;

	if (r != KT_WHY_none)
		cache_fail("cache %s: merging %s: it %s", kt_store_path(to), dir,
		           kt_reasons[r].sentence);
	kt_store_close(from);
	return from && r == KT_WHY_none;
}

int cache_merge(args *a, const char *dir)
{
	int done = 0;

	if (!args_end(a, 1, 1 << 20))
		return TOOL_USAGE;
	kt_store *to = cache_open(dir, true);
	if (!to)
		return TOOL_FAILED;
	for (int i = 0; i < a->argc; i++)
		done += merge(to, a->argv[i]);
	int status = done == a->argc ? TOOL_OK : TOOL_FAILED;
	printf("%s: %d of %d caches merged\n", kt_store_path(to), done, a->argc);
	kt_store_close(to);
	return status;
}
