/* SPDX-License-Identifier: Apache-2.0 */
/* compile.c -- kvjit compile: a program to machine code, printing the stage asked for. What
 * --emit ir, tile or vector prints can be edited and compiled again. */
#include "cache.h"
#include "gpu.h"
#include "object.h"
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- any stage ----------------------------------------------------------------------------- */

static const struct gpu_word {
	const char *word;
	gpu_stage stage;
} gpu_words[] = {
	{ "spirv", GPU_SPIRV },
	{ "native", GPU_NATIVE },
	{ "native-asm", GPU_NATIVE_ASM },
	{ "counts", GPU_COUNTS },
};

/* A comment, so that the schedule can be handed back as it is. */
static void add_resolved(const kvjit_kernel *k, kir_text *out)
{
	char *open = kvjit_kernel_text(k, "resolved");

	if (open && *open)
		kir_text_add(out, "; resolved: %s\n", open);
	free(open);
}

/* False after telling why not. */
static bool stage_of(const kvjit_kernel *k, const char *backend, const char *stage,
                     kir_text *out)
{
	kir_diag d = { 0 };
	char why[1000], *text;

	for (size_t i = 0; i < sizeof gpu_words / sizeof *gpu_words; i++)
		if (!strcmp(stage, gpu_words[i].word)) {
			if (gpu_emit(k, backend, gpu_words[i].stage, out, &d))
				return true;
			fprintf(stderr, "kvjit: %s\n", kir_diag_text(&d, why, sizeof why));
			return false;
		}
	text = kvjit_kernel_text(k, stage);
	if (!strcmp(stage, "obj") ? object_of(k, backend ? backend : "x86", out, &d)
	                          : text != NULL) {
		if (text)
			*out = (kir_text){ text, strlen(text), 0 };
		if (text && out->len && text[out->len - 1] != '\n')
			kir_text_add(out, "\n");
		if (!strcmp(stage, "schedule"))
			add_resolved(k, out);
		return true;
	}
	fprintf(
	    stderr,
	    "kvjit: this kernel has no %s; --emit takes ir, tile, vector, llvm, asm, c, obj, "
	    "schedule, resolved, and for a GPU spirv, native, native-asm, counts\n",
	    stage);
	return false;
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

static int emit(kvjit *kv, kvjit_kernel *k, const char *stage, const char *backend,
                const char *path)
{
	kir_text out = { 0 };
	int status = TOOL_FAILED;

	if (!k)
		fprintf(stderr, "kvjit: %s\n", kvjit_error(kv));
	else if (stage_of(k, backend, stage, &out) && save(&out, path))
		status = TOOL_OK;
	free(out.text);
	kvjit_release(k);
	return status;
}

/* The device's own code into the user's cache, beside the SPIR-V that compiling kept there. */
static int keep_native(kvjit *kv, const char *text, const kir_target *t, const char *sched)
{
	kvjit_compile_options o = { sizeof o, sched, KVJIT_FOREIGN | KVJIT_UNTUNED };
	kt_store *s = NULL;
	kt_code spirv = { 0 }, native = { 0 };
	kt_reason r = KT_WHY_miss;
	char why[900] = "";
	kir_diag d = { 0 };
	char *whole = gpu_text(t, text);
	cache_of of;

	if (whole && cache_resolve(kv, whole, o.sched, o.flags, &of, why, sizeof why) &&
	    (s = cache_open(NULL, true)))
		r = kt_code_get(s, &of.code, &spirv);
	if (r != KT_WHY_none)
		cache_fail("no native code is kept: %s",
		           *why ? why : "the cache has no SPIR-V of this kernel");
	else if (!gpu_native_beside(&spirv, &native, &d))
		r = (cache_fail("%s", kir_diag_text(&d, why, sizeof why)), KT_WHY_miss);
	else if ((r = kt_code_put(s, &native)) != KT_WHY_none)
		cache_fail("cache %s %s", kt_store_path(s), kt_reasons[r].sentence);
	kt_code_free(&spirv);
	kt_code_free(&native);
	kt_store_close(s);
	free(whole);
	return r == KT_WHY_none ? TOOL_OK : TOOL_FAILED;
}

int tool_compile(args *a)
{
	const char *stage = args_value(a, "--emit"), *target = args_value(a, "--target");
	const char *backend = args_value(a, "--backend"), *sched = args_value(a, "--sched");
	const char *path = args_value(a, "-o");
	bool native = args_flag(a, "--native");
	kvjit_compile_options o = { .size = sizeof o, .sched = sched };
	kvjit_kernel *k = NULL;
	const kir_target *gpu;
	char *text;
	kvjit *kv;
	int status = TOOL_FAILED;

	if (!args_end(a, 1, 1 << 20))
		return TOOL_USAGE;
	if (!stage)
		stage = "schedule";
	if (!backend && strcmp(stage, "c") == 0)
		backend = "c";
	text = tool_program(a);
	gpu = text ? gpu_target(target, text) : NULL;
	kv = gpu ? gpu_open(gpu, backend) : tool_open(target, backend);
	if (kv && text) {
		if (gpu)
			k = gpu_compile(kv, gpu, text, sched);
		else if (kvjit_compile(kv, text, &o, &k) != KVJIT_OK)
			k = NULL;
		status = emit(kv, k, stage, backend, path);
		if (native && status == TOOL_OK)
			status = gpu ? keep_native(kv, text, gpu, sched)
			             : cache_fail("option --native needs a GPU's target, as "
			                          "--target xe-pvc");
	}
	free(text);
	kvjit_close(kv);
	return status;
}
