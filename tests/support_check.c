/* SPDX-License-Identifier: Apache-2.0 */
/* support_check.c -- see support_check.h. */
#include "support_check.h"

#include "../include/kvjit.h"
#include "../ir/problem.h"
#include "../passes/passes.h"

#include <stdio.h>
#include <string.h>

bool support_x86(void)
{
	kvjit_options o = { .size = sizeof o, .backend = "x86" };
	kvjit_kernel *k = NULL;
	kvjit *kv = NULL;

	if (kvjit_open(&o, &kv) != KVJIT_OK)
		return false;
	kvjit_status s = kvjit_compile(kv, "merge heads=1 dim=16", NULL, &k);

	kvjit_release(k);
	kvjit_close(kv);
	return s == KVJIT_OK;
}

bool support_passes(const char *text, const char *sched, const char *target, char *why,
                    size_t len)
{
	kpass_options o = { .check_text = true };
	kir_module *m = kir_module_new();
	kir_func *f = NULL;
	kir_diag d = { 0 };
	kir_problem p;
	char all[2000];

	snprintf(all, sizeof all, "%s %s", text, sched);
	if (kir_problem_parse(m, all, strlen(all), &p, &d))
		f = kir_problem_expand(m, &p, kir_target_find(target), &d);
	if (f)
		f = kpass_run(f, &o, &d);
	kir_diag_text(&d, why, len);
	kir_module_free(m);
	return f != NULL;
}
