/* SPDX-License-Identifier: Apache-2.0 */
/* support_api.c -- see support_api.h. */
#include "support_api.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

const char scale_ir[] =
    "func @scale(%x: in f32[?,16 | 0:$0, 1:4], %y: out f32[?,16 | 0:$0, 1:4],\n"
    "            %a: f32, %n: s64) level=V {\n"
    "  for %i = 0 to %n par {\n"
    "    %v = vload %x[%i,0] : f32<4>\n"
    "    %w = mul %v, %a : f32<4>\n"
    "    vstore %w, %y[%i,0]\n"
    "    yield\n"
    "  }\n"
    "  ret\n"
    "}\n";

const char attn_problem[] = "attn q=f32 kv=int8/token-head heads=8:2 dim=64 page=16 causal";

kvjit *open_with(const char *backend, const char *target)
{
	kvjit_options o = { 0 };
	kvjit *kv = NULL;

	o.size = sizeof(o);
	o.backend = backend;
	o.target = target;
	if (kvjit_open(&o, &kv) != KVJIT_OK)
		fail_msg("%s", kvjit_open_error());
	return kv;
}

kvjit_kernel *compile(kvjit *kv, const char *text, const char *sched)
{
	kvjit_compile_options o = { .size = sizeof(o), .sched = sched };
	kvjit_kernel *k = NULL;

	if (kvjit_compile(kv, text, &o, &k) != KVJIT_OK)
		fail_msg("%s", kvjit_error(kv));
	return k;
}

kvjit *open_code(void)
{
	static const char *const backends[] = { "x86", "c" };

	for (int i = 0; i < 2; i++) {
		kvjit *kv = open_with(backends[i], "generic");
		kvjit_kernel *k = NULL;

		if (kvjit_compile(kv, scale_ir, NULL, &k) == KVJIT_OK) {
			kvjit_release(k);
			return kv;
		}
		print_message("%s: %s\n", backends[i], kvjit_error(kv));
		kvjit_close(kv);
	}
	fail_msg("no backend compiles");
	return NULL;
}

void assert_says(const char *sentence, const char *words)
{
	char copy[200], *word, *rest = copy;

	snprintf(copy, sizeof(copy), "%s", words);
	while ((word = strsep(&rest, "|")))
		if (!strstr(sentence, word))
			fail_msg("'%s' doesn't say '%s'", sentence, word);
}

double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
