/* SPDX-License-Identifier: Apache-2.0 */
/* gpu.c -- see gpu.h. */
#include "gpu.h"
#include "object.h"
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const kir_target *gpu_target(const char *target, const char *text)
{
	const char *at = target ? NULL : strstr(text, "target=");
	const kir_target *t;
	char word[32];

	if (!target && at) {
		at += strlen("target=");
		snprintf(word, sizeof word, "%.*s", (int)strcspn(at, " \t\r\n)"), at);
		target = word;
	}
	t = target ? kir_target_find(target) : NULL;
	return t && t->lanes ? t : NULL;
}

const char *gpu_backend(const char *backend)
{
	const char *said = getenv("KVJIT_BACKEND"), *spirv = getenv("KVJIT_SPIRV");

	if (backend || (said && *said))
		return backend ? backend : said;
	return spirv && !strcmp(spirv, "llvm") ? "spirv-llvm" : "spirv";
}

/* The context's own target is the host's: one of a GPU would open a device. */
kvjit *gpu_open(const kir_target *t, const char *backend)
{
	kvjit_options o = { .size = sizeof o,
		            .target = "generic",
		            .backend = gpu_backend(backend) };
	kvjit *kv = NULL;

	(void)t;
	if (kvjit_open(&o, &kv) == KVJIT_OK)
		return kv;
	fprintf(stderr, "kvjit: %s\n", kvjit_open_error());
	return NULL;
}

/* A problem's last field, or, of IR, a word of the header of its last function. */
char *gpu_text(const kir_target *t, const char *text)
{
	size_t len = strlen(text), at;
	bool named = strstr(text, "target=") != NULL;
	const char *level = NULL;
	char *whole = malloc(len + 64);

	for (const char *s = text; (s = strstr(s, "level=")) != NULL; s++)
		level = s;
	while (len && strchr(" \t\r\n", text[len - 1]))
		len--;
	at = level ? (size_t)(level - text) + strcspn(level, " \t\r\n{") : len;
	if (whole)
		sprintf(whole, "%.*s%s%s%s", (int)at, text,
		        named ? "" : " target=", named ? "" : t->name, text + at);
	return whole;
}

kvjit_kernel *gpu_compile(kvjit *kv, const kir_target *t, const char *text, const char *sched)
{
	kvjit_compile_options o = { .size = sizeof o,
		                    .sched = sched,
		                    .flags = KVJIT_FOREIGN | KVJIT_UNTUNED };
	char *whole = gpu_text(t, text);
	kvjit_kernel *k = NULL;

	if (whole && kvjit_compile(kv, whole, &o, &k) != KVJIT_OK)
		k = NULL;
	free(whole);
	return k;
}

/* Of code with a call of what nobody defines there is none. */
static bool of_spirv(const char *target, const void *spirv, size_t length, void **elf,
                     size_t *size, kbe_counts *counts, kir_diag *why)
{
	if (!kbe_native(target, spirv, length, elf, size, why))
		return false;
	if (kbe_native_count(target, *elf, *size, counts, why)) {
		if (!counts->calls)
			return true;
		kir_error(why, 0, 0,
		          "the code for '%s' calls functions that this compiler doesn't have",
		          target);
	}
	free(*elf);
	return false;
}

static bool native(const kvjit_kernel *k, const char *backend, void **elf, size_t *size,
                   kbe_counts *counts, kir_diag *why)
{
	kir_text spirv = { 0 };
	bool ok =
	    object_of(k, gpu_backend(backend), &spirv, why) &&
	    of_spirv(kvjit_kernel_target(k), spirv.text, spirv.len, elf, size, counts, why);

	free(spirv.text);
	return ok;
}

/* -- beside SPIR-V in a cache -------------------------------------------------------------- */

bool gpu_is_spirv(const kt_code *c)
{
	return !strcmp(c->kind, "spirv");
}

bool gpu_native_beside(const kt_code *spirv, kt_code *out, kir_diag *why)
{
	kbe_counts counts;
	void *elf = NULL;
	size_t size = 0;

	memset(out, 0, sizeof *out);
	if (!of_spirv(spirv->target, spirv->bytes, spirv->size, &elf, &size, &counts, why))
		return false;
	*out = *spirv;
	kt_native_key(&spirv->key, spirv->target, &out->key);
	kt_hash(elf, size, &out->hash);
	out->kind = strdup("native");
	out->backend = strdup(spirv->backend);
	out->target = strdup(spirv->target);
	out->problem = strdup(spirv->problem);
	out->sched = strdup(spirv->sched);
	out->phases = strdup(spirv->phases);
	out->bytes = elf;
	out->size = out->text = size;
	out->entry = 0;
	out->compile_us = out->uses = out->last_used = 0;
	if (out->kind && out->backend && out->target && out->problem && out->sched &&
	    out->phases)
		return true;
	kt_code_free(out);
	kir_error(why, 0, 0, "out of memory");
	return false;
}

bool gpu_count(const kvjit_kernel *k, const char *backend, kbe_counts *out, kir_diag *why)
{
	void *elf;
	size_t size;

	if (!native(k, backend, &elf, &size, out, why))
		return false;
	free(elf);
	return true;
}

bool gpu_emit(const kvjit_kernel *k, const char *backend, gpu_stage stage, kir_text *out,
              kir_diag *why)
{
	const kir_target *t = kir_target_find(kvjit_kernel_target(k));
	kbe_counts counts;
	void *elf;
	size_t size;
	bool ok = true;

	if (!t || !t->lanes) {
		kir_error(why, 0, 0,
		          "target '%s' is no GPU: there is no SPIR-V and no native code",
		          kvjit_kernel_target(k));
		return false;
	}
	if (stage == GPU_SPIRV)
		return object_of(k, gpu_backend(backend), out, why);
	if (!native(k, backend, &elf, &size, &counts, why))
		return false;
	if (stage == GPU_NATIVE) {
		*out = (kir_text){ elf, size, size };
		return true;
	}
	if (stage == GPU_COUNTS)
		kbe_counts_print(&counts, out);
	else
		ok = kbe_native_text(t->name, elf, size, out, why);
	free(elf);
	return ok;
}
