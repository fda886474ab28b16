/* SPDX-License-Identifier: Apache-2.0 */
/* context.c -- opening: which machine, target, backend and executor. The environment is read
 * here and nowhere else.
 */
#include "device.h"
#include "job.h"
#include "record.h"
#include "../passes/passes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* clang-format off */
const kvjit_env_info kvjit_env_table[KVJIT_NENV] = {
#define ENVVAR(name, values, doc) { "KVJIT_" #name, values, doc },
#include "env.def"
};
/* clang-format on */

/* A failed kvjit_open has no context to hold its sentence. */
static _Thread_local char open_error[512];

static const char *const status_names[] = {
	"ok",        "bad problem",    "unsupported", "bad argument", "no backend",
	"no memory", "internal error", "device lost", "pending"
};

const char *kvjit_status_name(kvjit_status s)
{
	unsigned n = sizeof(status_names) / sizeof(status_names[0]);

	return (unsigned)s < n ? status_names[s] : "unknown status";
}

const char *kvjit_open_error(void)
{
	return open_error;
}

const char *kvjit_error(const kvjit *kv)
{
	return kv ? kvjit_last_error((kvjit_errors *)&kv->errors) : kvjit_null_error();
}

bool kvjit_list_has(const char *list, const char *word)
{
	size_t n = strlen(word);

	while (list && *list) {
		size_t len;

		list += strspn(list, ", ");
		len = strcspn(list, ", ");
		if (len == n && !memcmp(list, word, n))
			return true;
		list += len;
	}
	return false;
}

void kvjit_target_list(char *buf, size_t len)
{
	size_t at = 0;

	buf[0] = 0;
	for (unsigned i = 0; i < kir_ntargets; i++)
		if (kbe_host_runs(&kir_targets[i]) && at < len)
			at += (size_t)snprintf(buf + at, len - at, "%s%s", at ? ", " : "",
			                       kir_targets[i].name);
}

bool kvjit_target_runs(const kir_target *host, const kir_target *t, char *why, size_t len)
{
	char list[200], lacks[100] = "";
	unsigned missing = t->features & ~host->features;

	if (kbe_host_runs(t))
		return true;
	(void)missing;
#define FEATURE(name, bit, doc)                                                            \
	if (missing & KIR_HAS_##name)                                                      \
		snprintf(lacks + strlen(lacks), sizeof(lacks) - strlen(lacks), "%s" #name, \
		         lacks[0] ? ", " : "");
#include "../ir/targets.def"
	kvjit_target_list(list, sizeof(list));
	snprintf(why, len, "target '%s' needs %s, which this machine lacks; it runs %s%s%s",
	         t->name, lacks[0] ? lacks : "a feature", list,
	         missing & KIR_HAS_amx_tile ? "; tiles: " : "",
	         missing & KIR_HAS_amx_tile ? kbe_tiles_text(kbe_host_tiles()) : "");
	return false;
}

void kvjit_emit(const char *text, void *ctx)
{
	kvjit *kv = ctx;

	if (kv->log)
		kv->log(text, kv->log_ctx);
	else
		fputs(text, stderr);
}

/* A program with raised privileges doesn't do what the environment of a stranger says. */
static void read_environment(kvjit *kv)
{
	if (kt_privileged())
		return;
	for (unsigned i = 0; i < KVJIT_NENV; i++) {
		const char *value = getenv(kvjit_env_table[i].name);

		kv->env[i] = value && *value ? strdup(value) : NULL;
	}
}

static bool makes_spirv(int backend)
{
	return backend == KVJIT_BE_spirv || backend == KVJIT_BE_spirv_llvm;
}

/* "xe" is whatever row the device has. */
static bool is_device(const char *target)
{
	const kir_target *t = target ? kir_target_find(target) : NULL;

	return target && (t ? t->lanes != 0 : !strcmp(target, "xe"));
}

static kvjit_status no_target(const char *name)
{
	char list[200];

	kvjit_target_list(list, sizeof(list));
	snprintf(open_error, sizeof(open_error),
	         "no target '%.40s'; this machine runs %s, and its devices xe", name, list);
	return KVJIT_UNSUPPORTED;
}

/* The row as the device has it: less local memory than the row says, on some. */
static kvjit_status pick_device(kvjit *kv, const kvjit_options *o, const kir_target *t)
{
	const char *device = o->device ? o->device : kv->env[KVJIT_ENV_DEVICE];
	kbe_choice c = { device, t, o->device_context, o->device_handle };
	kvjit_status s;

	if (!o->device_context != !o->device_handle) {
		snprintf(open_error, sizeof(open_error),
		         "options.device_context and options.device_handle go together: both "
		         "the host's, or neither");
		return KVJIT_BAD_ARGUMENT;
	}
	s = kvjit_device_open(kv->env[KVJIT_ENV_BACKEND_DIR], &c, &kv->device, open_error,
	                      sizeof(open_error));
	if (s != KVJIT_OK)
		return s;
	if (!t)
		t = kir_target_find(kv->device->info.row->name);
	kv->target = *t;
	if (kv->device->info.local && kv->device->info.local < kv->target.slm_bytes)
		kv->target.slm_bytes = kv->device->info.local;
	return KVJIT_OK;
}

static kvjit_status pick_target(kvjit *kv, const kvjit_options *o, const char *name)
{
	const kir_target *t = name ? kir_target_find(name) : &kv->host;

	if (is_device(name) && makes_spirv(kv->backend))
		return pick_device(kv, o, t);
	if (!t)
		return no_target(name);
	if (o->device || o->device_context || o->device_handle) {
		snprintf(
		    open_error, sizeof(open_error),
		    "options.device%s is given, but target '%s' with backend '%s' opens no "
		    "device; a GPU's target (xe, or a row of kvjit info) with backend spirv "
		    "does",
		    o->device           ? ""
		    : o->device_context ? "_context"
		                        : "_handle",
		    t->name, kvjit_backend_names[kv->backend]);
		return KVJIT_BAD_ARGUMENT;
	}
	if (t->lanes && kv->backend != KVJIT_BE_ref) {
		snprintf(open_error, sizeof(open_error),
		         "backend '%s' doesn't compile for target '%s'; spirv does",
		         kvjit_backend_names[kv->backend], name);
		return KVJIT_UNSUPPORTED;
	}
	kv->target = *t;
	return t == &kv->host || t->lanes ||
	               kvjit_target_runs(&kv->host, t, open_error, sizeof(open_error))
	           ? KVJIT_OK
	           : KVJIT_UNSUPPORTED;
}

/* False, with a message that names the variable and what it takes. */
static bool bad_variable(const kvjit *kv, kvjit_env variable)
{
	snprintf(open_error, sizeof(open_error), "%s is '%.40s'; it takes %s",
	         kvjit_env_table[variable].name, kv->env[variable],
	         kvjit_env_table[variable].values);
	return false;
}

static bool pick_backend(kvjit *kv, const char *name, const char *target)
{
	const char *spirv = kv->env[KVJIT_ENV_SPIRV];
	bool llvm = spirv && !strcmp(spirv, "llvm");

	if (spirv && !llvm && strcmp(spirv, "translator") != 0)
		return bad_variable(kv, KVJIT_ENV_SPIRV);
	if (!name)
		name = !is_device(target) ? "x86" : llvm ? "spirv-llvm" : "spirv";
	kv->backend = kvjit_backend_find(name);
	if (kv->backend >= 0)
		return true;
	snprintf(open_error, sizeof(open_error),
	         "no backend '%.40s'; there are x86, spirv, spirv-llvm, c and ref", name);
	return false;
}

/* A word of KVJIT_PRINT: a stage, or before: or after: and a pass or *. */
static bool is_print(const char *word)
{
	const char *pass = strchr(word, ':');

	if (!pass)
		return kvjit_list_has("llvm,c,asm", word);
	if (strncmp(word, "before:", 7) != 0 && strncmp(word, "after:", 6) != 0)
		return false;
	for (unsigned i = 0; i < kpass_count; i++)
		if (!strcmp(kpass_table[i].name, pass + 1))
			return true;
	return !strcmp(pass + 1, "*");
}

static bool is_check(const char *word)
{
	return kvjit_list_has("verify,text,ref", word);
}

/* Whether all words of a variable's list are ones it knows. */
static bool check_list(const kvjit *kv, kvjit_env variable, bool (*known)(const char *word))
{
	const char *list = kv->env[variable];

	while (list && *list) {
		char word[40] = "";
		size_t len;

		list += strspn(list, ", ");
		len = strcspn(list, ", ");
		memcpy(word, list, len < sizeof(word) - 1 ? len : sizeof(word) - 1);
		if (len && !known(word)) {
			snprintf(open_error, sizeof(open_error), "%s has no '%s'; it takes %s",
			         kvjit_env_table[variable].name, word,
			         kvjit_env_table[variable].values);
			return false;
		}
		list += len;
	}
	return true;
}

static bool check_numbers(const kvjit *kv)
{
	const char *mb = kv->env[KVJIT_ENV_CACHE_MB], *perf = kv->env[KVJIT_ENV_PERF];
	char *end;
	long x = mb ? strtol(mb, &end, 10) : 1;

	if (mb && (*end || x < 1 || x > 1048576))
		return bad_variable(kv, KVJIT_ENV_CACHE_MB);
	return !perf || !strcmp(perf, "1") || bad_variable(kv, KVJIT_ENV_PERF);
}

/* A word is neither a folder nor off: most likely somebody switched a cache on, or off, with
 * it, and found the folder later. */
static bool is_cache(const char *s)
{
	struct stat st;

	return !s || !*s || !strcmp(s, "off") || strchr(s, '/') || !stat(s, &st);
}

static bool check_cache(const kvjit *kv, const char *option)
{
	if (!option)
		return is_cache(kv->env[KVJIT_ENV_CACHE_DIR]) ||
		       bad_variable(kv, KVJIT_ENV_CACHE_DIR);
	if (is_cache(option))
		return true;
	snprintf(open_error, sizeof(open_error), "options.cache is '%.40s'; it takes %s",
	         option, kvjit_env_table[KVJIT_ENV_CACHE_DIR].values);
	return false;
}

static kvjit_status configure(kvjit *kv, const kvjit_options *o)
{
	const char *target = o->target ? o->target : kv->env[KVJIT_ENV_TARGET];
	const char *backend = o->backend ? o->backend : kv->env[KVJIT_ENV_BACKEND];
	kvjit_status s;

	kbe_host(&kv->host);
	kv->parallel = o->parallel ? o->parallel : kvjit_openmp;
	kv->executor = o->executor;
	kv->log = o->log;
	kv->log_ctx = o->log_ctx;
	if (!check_list(kv, KVJIT_ENV_CHECK, is_check) ||
	    !check_list(kv, KVJIT_ENV_PRINT, is_print))
		return KVJIT_UNSUPPORTED;
	if (!check_numbers(kv) || !check_cache(kv, o->cache) ||
	    !pick_backend(kv, backend, target))
		return KVJIT_UNSUPPORTED;
	s = pick_target(kv, o, target);
	if (s != KVJIT_OK)
		return s;
	if (o->threads < 0 || o->threads > 65536) {
		snprintf(open_error, sizeof(open_error),
		         "options.threads is %d; it takes 0 to 65536", o->threads);
		return KVJIT_BAD_ARGUMENT;
	}
	kv->threads = o->threads    ? o->threads
	              : kv->device  ? (int)kv->device->info.units
	              : o->parallel ? (int)sysconf(_SC_NPROCESSORS_ONLN)
	                            : kvjit_openmp_threads();
	if (kv->env[KVJIT_ENV_RECORD]) {
		kv->recorder = kvjit_recorder_new(kv->env[KVJIT_ENV_RECORD]);
		if (!kv->recorder) {
			snprintf(
			    open_error, sizeof(open_error),
			    "KVJIT_RECORD is '%.200s'; it takes a file, a new or a regular "
			    "one, that can be written: %s",
			    kv->env[KVJIT_ENV_RECORD], strerror(errno));
			return KVJIT_UNSUPPORTED;
		}
	}
	kv->hot = kvjit_hot_new();
	kv->later = kvjit_later_new();
	if (kv->hot && kv->later && kvjit_places_init(kv, o))
		return KVJIT_OK;
	snprintf(open_error, sizeof(open_error), "out of memory");
	return KVJIT_NO_MEMORY;
}

kvjit_status kvjit_open(const kvjit_options *options, kvjit **out)
{
	kvjit_options o = { 0 };
	kvjit_status s;
	kvjit *kv;

	open_error[0] = 0;
	if (!out ||
	    (options && (options->size < sizeof(size_t) || options->size > sizeof(o)))) {
		snprintf(open_error, sizeof(open_error),
		         out ? "options.size must be sizeof(kvjit_options)"
		             : "out must not be NULL");
		return KVJIT_BAD_ARGUMENT;
	}
	if (options)
		memcpy(&o, options, options->size);
	kv = calloc(1, sizeof(*kv));
	if (!kv) {
		snprintf(open_error, sizeof(open_error), "out of memory");
		return KVJIT_NO_MEMORY;
	}
	kvjit_errors_init(&kv->errors);
	pthread_mutex_init(&kv->load, NULL);
	read_environment(kv);
	s = configure(kv, &o);
	if (s != KVJIT_OK)
		kvjit_close(kv);
	else
		*out = kv;
	return s;
}

void kvjit_close(kvjit *kv)
{
	if (!kv)
		return;
	kvjit_later_free(kv->later);
	kvjit_hot_free(kv->hot);
	kvjit_recorder_close(kv->recorder);
	kvjit_places_free(kv);
	kvjit_device_release(kv->device);
	for (unsigned i = 0; i < KVJIT_NENV; i++)
		free(kv->env[i]);
	pthread_mutex_destroy(&kv->load);
	kvjit_errors_free(&kv->errors);
	free(kv);
}

static void print_target(const char *label, const kir_target *t, kir_text *out)
{
	kir_text_add(out, "%-9s%s: ", label, t->name);
	if (!t->features)
		kir_text_add(out, "no features, ");
#define FEATURE(name, bit, doc)           \
	if (t->features & KIR_HAS_##name) \
		kir_text_add(out, #name " ");
#include "../ir/targets.def"
	kir_text_add(out, "(%u-bit vectors, %u registers, L1 %u KiB, L2 %u KiB)\n",
	             t->vector_bits, t->vector_regs, t->l1_bytes / 1024, t->l2_bytes / 1024);
}

char *kvjit_info(kvjit *kv)
{
	kir_text t = { 0 };
	char list[200];

	if (!kv) {
		kvjit_fail_null("kvjit_info", "kv", "kvjit_open");
		return NULL;
	}
	kir_text_add(&t, "kvjit    %d\n", KVJIT_VERSION);
	print_target("machine", &kv->host, &t);
	print_target("target", &kv->target, &t);
	kvjit_target_list(list, sizeof(list));
	kir_text_add(&t, "runs     %s\n", list);
	kir_text_add(&t, "tiles    %s\n", kbe_tiles_text(kbe_host_tiles()));
	for (int i = 0; i < KVJIT_NBACKEND; i++) {
		const char *why = "";
		bool ok = i == KVJIT_BE_ref || kvjit_load(kv, i, &why);

		kir_text_add(&t, "backend  %s%s: %s\n", kvjit_backend_names[i],
		             i == kv->backend ? " (in use)" : "",
		             !ok                 ? why
		             : i == KVJIT_BE_ref ? "built in (interpreter)"
		                                 : kv->loaded[i].path);
	}
	kvjit_device_print(kv, &t);
	kvjit_places_print(kv, &t);
	kir_text_add(&t, "\nenvironment\n");
	for (unsigned i = 0; i < KVJIT_NENV; i++)
		kir_text_add(&t, "  %s=%s\n      %s (%s)\n", kvjit_env_table[i].name,
		             kv->env[i] ? kv->env[i] : "", kvjit_env_table[i].doc,
		             kvjit_env_table[i].values);
	return t.text;
}
