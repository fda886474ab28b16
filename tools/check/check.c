/* SPDX-License-Identifier: Apache-2.0 */
/* check.c -- kvjit check PROBLEM: generated code against the interpreter at level A.
 *
 * Writers and quantizers must give the same bytes; attention and merge must stay within the
 * bound derived for the arithmetic they use (bound.c). The data is random but the same
 * everywhere: several seeds, each a batch of decodes, prefills, empty and partial sequences.
 */
#include "check.h"
#include "../tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

/* -- running ------------------------------------------------------------------------------ */

static bool run_seeds(check *c, int seeds, char *why, size_t len)
{
	for (int s = 0; s < seeds; s++)
		if (!check_seed(c, (uint64_t)s, why, len))
			return false;
	return true;
}

static void print_json(const check *c, int seeds, bool ok)
{
	cJSON *root = cJSON_CreateObject(), *list;
	cJSON_AddStringToObject(root, "problem", c->text);
	cJSON_AddNumberToObject(root, "seeds", seeds);
	cJSON_AddBoolToObject(root, "ok", ok);
	list = cJSON_AddArrayToObject(root, "machines");
	for (unsigned i = 0; i < c->nmachine; i++) {
		cJSON *one = cJSON_CreateObject();
		cJSON_AddStringToObject(one, "backend", c->machine[i].backend);
		cJSON_AddStringToObject(one, "target", c->machine[i].target);
		cJSON_AddBoolToObject(one, "ok", !c->result[i].failed);
		cJSON_AddStringToObject(one, "bound", c->result[i].bound);
		cJSON_AddNumberToObject(one, "worst", c->result[i].worst);
		cJSON_AddNumberToObject(one, "compared", (double)c->result[i].compared);
		cJSON_AddStringToObject(one, "failure", c->result[i].text);
		cJSON_AddItemToArray(list, one);
	}
	tool_print_json(root);
}

static void print_text(const check *c, int seeds)
{
	unsigned passed = 0;
	for (unsigned i = 0; i < c->nmachine; i++) {
		const check_result *r = &c->result[i];
		char name[80];
		snprintf(name, sizeof name, "%s/%s", c->machine[i].backend,
		         c->machine[i].target);
		passed += !r->failed;
		if (r->failed)
			printf("%-20s FAIL  %s\n", name, r->text);
		else
			printf(
			    "%-20s ok    %s; worst error %.3f of it; %llu values, %d seeds\n",
			    name, r->bound, r->worst, (unsigned long long)r->compared, seeds);
	}
	printf("%u passed, %u failed\n", passed, c->nmachine - passed);
}

static int check_problem(args *a, const char *target, const char *backend, const char *sched)
{
	int seeds = (int)args_number(a, "--seeds", 1, 1000, 3);
	bool json = args_flag(a, "--json");
	machine m[MACHINE_MAX];
	check_result result[MACHINE_MAX] = { 0 };
	check c = { .sched = sched, .machine = m, .result = result };
	char why[500] = "";
	args_flag(a, "--verbose");
	if (!args_end(a, 1, 1 << 20))
		return TOOL_USAGE;

	char *text = tool_program(a);
	bool ok = false;
	c.text = text;
	c.ref = text ? tool_open(NULL, "ref") : NULL;
	if (c.ref)
		c.nmachine = machine_open(target, backend, m);
	if (c.nmachine) {
		ok = run_seeds(&c, seeds, why, sizeof why);
		if (!ok)
			fprintf(stderr, "kvjit: %s\n", why);
		bool asked = ok;
		for (unsigned i = 0; i < c.nmachine; i++)
			ok &= !result[i].failed && result[i].compared > 0;
		if (json)
			print_json(&c, seeds, ok);
		else if (asked)
			print_text(&c, seeds);
	}
	machine_close(m, c.nmachine);
	kvjit_close(c.ref);
	free(text);
	return ok ? TOOL_OK : TOOL_FAILED;
}

int tool_check(args *a)
{
	const char *golden = args_value(a, "--golden");
	if (golden)
		return tool_golden(golden, a);
	const char *target = args_value(a, "--target"), *backend = args_value(a, "--backend");
	const char *sched = args_value(a, "--sched");
	return check_problem(a, target, backend, sched);
}
