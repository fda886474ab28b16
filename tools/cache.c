/* SPDX-License-Identifier: Apache-2.0 */
/* cache.c -- kvjit cache: a table of its subcommands, and what they share. */
#include "cache.h"
#include "gpu.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct subcommand {
	const char *name;
	int (*run)(args *a, const char *dir);
	const char *operands, *doc;
} table[] = {
	{ "ls", cache_ls, "[--code|--schedules|--trials|--pins] [--json] [--cache DIR]",
	  "what is stored, a line each" },
	{ "show", cache_show, "KEY-PREFIX|PROBLEM [--json] [--cache DIR]",
	  "everything about an entry" },
	{ "why", cache_why, "PROBLEM [--sched KNOBS] [--target T] [--cache DIR]",
	  "whether it would be found, and why not" },
	{ "stats", cache_stats, "[--json] [--cache DIR]", "counts and bytes" },
	{ "gains", cache_gains, "[--json] [--cache DIR]",
	  "what tuning gave beside the default, a line each; exit code 1: a schedule is "
	  "slower" },
	{ "gc", cache_gc, "[--cap-mb N] [--cache DIR]",
	  "throws out what is stale or beyond the cap" },
	{ "verify", cache_verify, "[FILE.kvpack|DIR] [--cache DIR]",
	  "hashes of all entries, signature" },
	{ "merge", cache_merge, "[--cache DEST] SRC...", "joins other caches into this one" },
	{ "export", cache_export, "[--text] [--pins] [--target T] [-o FILE] [--cache DIR]",
	  "schedules in clear, or as a pin file" },
	{ "import", cache_import, "FILE [--pins] [--cache DIR]",
	  "takes such a file, whole or not at all" },
	{ "pin", cache_pin, "PROBLEM --sched KNOBS [--cache DIR]",
	  "fixes a problem's schedule" },
	{ "unpin", cache_unpin, "PROBLEM [--cache DIR]", "undoes pin" },
	{ "pack", cache_pack,
	  "-o FILE.kvpack --name NAME --version N [--expires YYYY-MM-DD] [--list FILE] "
	  "[--targets T,T] [--native] [--cache DIR]",
	  "one file to ship: schedules and code" },
	{ "sign", cache_sign, "FILE.kvpack --key FILE.key", "signs a pack" },
	{ "keygen", cache_keygen, "-o NAME", "makes NAME.key and NAME.pub" },
};
#define NTABLE (sizeof table / sizeof *table)

int cache_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("kvjit: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	return TOOL_FAILED;
}

static void log_line(const char *line, void *ctx)
{
	(void)ctx;
	fputs(line, stderr);
}

static bool exists(const char *folder)
{
	size_t n = strlen(folder);
	struct stat st;
	char path[4200];
	bool file = n > 3 && !strcmp(folder + n - 3, ".db");

	snprintf(path, sizeof path, file ? "%s" : "%s/kvjit.db", folder);
	return lstat(path, &st) == 0;
}

/* The folder or file meant by --cache; false after telling why there is none. */
static bool find_folder(const char *dir, bool tell, char *folder, size_t len)
{
	kt_reason why = KT_WHY_none;

	if (dir)
		snprintf(folder, len, "%s", dir);
	else
		why = kt_user_folder(getenv("KVJIT_CACHE_DIR"), folder, len);
	if (why == KT_WHY_none && !dir && !strcmp(folder, "off"))
		why = KT_WHY_off;
	if (why != KT_WHY_none && tell)
		cache_fail("the user's cache %s; name one with --cache DIR",
		           kt_reasons[why].sentence);
	return why == KT_WHY_none;
}

bool cache_exists(const char *dir)
{
	char folder[4096];

	return find_folder(dir, false, folder, sizeof folder) && exists(folder);
}

kt_store *cache_open(const char *dir, bool make)
{
	char folder[4096];

	if (!find_folder(dir, true, folder, sizeof folder))
		return NULL;
	if (!make && !exists(folder)) {
		cache_fail("there is no cache in %s", folder);
		return NULL;
	}
	kt_store *s =
	    kt_store_open(&(kt_store_options){ folder, KT_USER, 0, { log_line, NULL } });
	if (s && kt_store_state(s) == KT_WHY_none)
		return s;
	cache_fail("cache %s %s", folder,
	           s ? kt_reasons[kt_store_state(s)].sentence : "needs more memory");
	kt_store_close(s);
	return NULL;
}

kvjit *cache_front_of(const kir_target *t)
{
	kvjit_options o = { .size = sizeof o, .cache = "off", .cache_path = "", .pins = "" };
	kvjit *kv = NULL;

	if (t && t->lanes) {
		o.target = "generic";
		o.backend = gpu_backend(NULL);
	}
	if (kvjit_open(&o, &kv) != KVJIT_OK)
		cache_fail("%s", kvjit_open_error());
	return kv;
}

kvjit *cache_front(void)
{
	return cache_front_of(NULL);
}

/* The sizes a problem names; IR names none. */
static kt_bucket bucket_of(const char *problem)
{
	kir_module *m = kir_module_new();
	kt_bucket b = { KT_ANY, KT_ANY, KT_ANY };
	kir_diag d = { 0 };
	kir_problem p;

	if (kir_problem_parse(m, problem, strlen(problem), &p, &d) &&
	    (p.batch || p.ctx || p.qlen > 1))
		b = kt_bucket_of(p.batch, p.ctx, p.qlen);
	kir_module_free(m);
	return b;
}

bool cache_resolve(kvjit *kv, const char *problem, const char *sched, unsigned flags,
                   cache_of *out, char *why, size_t len)
{
	kvjit_compile_options o = { sizeof o, sched, flags };
	kvjit_keys keys = { .size = sizeof keys };

	if (kvjit_keys_of(kv, problem, &o, &keys) != KVJIT_OK) {
		snprintf(why, len, "%s", kvjit_error(kv));
		return false;
	}
	out->bucket = bucket_of(problem);
	return kt_key_parse(keys.program, &out->program) && kt_key_parse(keys.code, &out->code);
}

/* A problem is in many rows of a cache: what is said of it is said once. */
static bool said_before(const char *problem)
{
	static char **said;
	static unsigned n;
	char **more;

	for (unsigned i = 0; i < n; i++)
		if (strcmp(said[i], problem) == 0)
			return true;
	more = cache_grow(said, n, sizeof *said);
	if (more) {
		said = more;
		said[n] = strdup(problem);
		n += said[n] != NULL;
	}
	return false;
}

bool cache_stands_alone(const char *problem)
{
	kir_module *m = kir_module_new();
	kir_diag d = { 0 };
	kir_problem p;
	bool ok = kir_problem_parse(m, problem, strlen(problem), &p, &d);

	kir_module_free(m);
	if (!ok && !said_before(problem))
		cache_fail("left out, because its format is declared nowhere (an older kvjit "
		           "kept it): %s",
		           problem);
	return ok;
}

bool cache_save(const char *path, const char *text, size_t len)
{
	FILE *f = path ? fopen(path, "wb") : stdout;
	bool ok = f && fwrite(text, 1, len, f) == len;

	if (f)
		ok &= (f == stdout ? fflush(f) : fclose(f)) == 0;
	if (!ok)
		cache_fail("%s can't be written", path ? path : "the output");
	return ok;
}

void cache_bucket_text(kt_bucket b, char out[48])
{
	static const char *const qlen[KT_NQLEN] = { "1", "2-15", "16+" };
	char batch[12] = "any", ctx[12] = "any";

	if (b.batch != KT_ANY)
		snprintf(batch, sizeof batch, "%d", 1 << b.batch);
	if (b.ctx != KT_ANY)
		snprintf(ctx, sizeof ctx, "%d", 256 << b.ctx);
	snprintf(out, 48, "%s/%s/%s", batch, ctx, b.qlen == KT_ANY ? "any" : qlen[b.qlen]);
}

void *cache_grow(void *array, unsigned n, size_t size)
{
	if (n & (n - 1))
		return array;
	return realloc(array, (n ? (size_t)n * 2 : 1) * size);
}

static void describe(FILE *to, const struct subcommand *c)
{
	fprintf(to, "  %-7s %s\n          kvjit cache %s %s\n", c->name, c->doc, c->name,
	        c->operands);
}

static void usage(FILE *to)
{
	fprintf(to, "usage: kvjit cache SUBCOMMAND ...\n\n");
	for (size_t i = 0; i < NTABLE; i++)
		describe(to, &table[i]);
	fprintf(to, "\n--cache: a folder or a .db file, instead of the user's cache.\n");
}

int tool_cache(args *a)
{
	if (a->argc && (!strcmp(a->argv[0], "--help") || !strcmp(a->argv[0], "help"))) {
		usage(stdout);
		return TOOL_OK;
	}
	for (size_t i = 0; a->argc && i < NTABLE; i++)
		if (!strcmp(a->argv[0], table[i].name)) {
			args rest = { .argc = a->argc - 1,
				      .argv = a->argv + 1,
				      .group = "cache ",
				      .name = table[i].name,
				      .operands = table[i].operands };
			if (args_flag(&rest, "--help")) {
				describe(stdout, &table[i]);
				return TOOL_OK;
			}
			const char *dir = args_value(&rest, "--cache");
			if (dir && !*dir) {
				cache_fail("option --cache takes a folder or a .db file");
				return TOOL_USAGE;
			}
			return table[i].run(&rest, dir);
		}
	if (a->argc)
		cache_fail("there is no subcommand 'cache %s'", a->argv[0]);
	usage(stderr);
	return TOOL_USAGE;
}
