/* SPDX-License-Identifier: Apache-2.0 */
/* cache_pin.c -- kvjit cache pin, unpin: a choice of the user's cache that isn't made anew. */
#include "cache.h"

#include <stdlib.h>
#include <string.h>

/* The problem's own line, as all records have it; NULL: the text is no problem. */
static char *line_of_problem(const char *text)
{
	kir_module *m = kir_module_new();
	kir_text out = { 0 };
	kir_diag d = { 0 };
	kir_problem p;

	if (kir_problem_parse(m, text, strlen(text), &p, &d))
		kir_problem_print_whole(m, &p, &out);
	kir_module_free(m);
	return out.text;
}

/* sched NULL: the pin is taken away. */
static int put_pin(const cache_of *of, char *words, const char *sched, const char *dir)
{
	kt_pin pin = { of->program, of->bucket, words, (char *)sched };
	kt_store *s = cache_open(dir, sched != NULL);
	if (!s)
		return TOOL_FAILED;
	kt_reason r = sched ? kt_pin_put(s, &pin) : kt_pin_drop(s, &pin);
	if (r != KT_WHY_none)
		cache_fail("cache %s %s", kt_store_path(s), kt_reasons[r].sentence);
	kt_store_close(s);
	return r == KT_WHY_none ? TOOL_OK : TOOL_FAILED;
}

static int set_pin(const char *problem, const char *sched, const char *dir)
{
	kvjit *kv = cache_front();
	cache_of of;
	char why[900];

	if (!kv)
		return TOOL_FAILED;
	bool ok = cache_resolve(kv, problem, sched, KVJIT_FOREIGN, &of, why, sizeof why);
	kvjit_close(kv);
	if (!ok)
		return cache_fail("%s", why);
	char *words = line_of_problem(problem);
	int status = words ? put_pin(&of, words, sched, dir)
	                   : cache_fail("a pin is for a problem, not for IR");
	free(words);
	return status;
}

int cache_pin(args *a, const char *dir)
{
	const char *sched = args_value(a, "--sched");

	if (!args_end(a, 1, 1 << 20))
		return TOOL_USAGE;
	if (!sched || !*sched) {
		cache_fail("option --sched takes knobs, as in \"kv_tile=64 qk=bf16\"");
		return TOOL_USAGE;
	}
	char *text = tool_program(a);
	int status = text ? set_pin(text, sched, dir) : TOOL_FAILED;
	free(text);
	return status;
}

int cache_unpin(args *a, const char *dir)
{
	if (!args_end(a, 1, 1 << 20))
		return TOOL_USAGE;
	char *text = tool_program(a);
	int status = text ? set_pin(text, NULL, dir) : TOOL_FAILED;
	free(text);
	return status;
}
