/* SPDX-License-Identifier: Apache-2.0 */
/* problem_whole.c -- a problem with the formats it needs, on one line: what is remembered about
 * it must be said to somebody who hasn't read the text it came from. */
#include "problem.h"
#include "format.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static bool is_built_in(const char *name)
{
	kir_module *m = kir_module_new();
	kir_diag d = { 0 };
	bool found = kir_format_get(m, name, &d) != NULL;

	kir_module_free(m);
	return found;
}

/* Statements end with ';' instead of their lines. */
static void print_declaration(const kir_format *f, kir_text *out)
{
	kir_text text = { 0 };

	kir_format_print(f, &text);
	for (const char *at = text.text; at && *at;) {
		size_t n = strcspn(at, "\n");
		const char *end = at + n, *rest = end;

		while (n && isspace((unsigned char)*at))
			at++, n--;
		while (isspace((unsigned char)*rest))
			rest++;
		kir_text_add(out, "%.*s%s", (int)n, at,
		             n && at[n - 1] != '{' && *rest && *rest != '}' ? "; " : " ");
		at = rest;
	}
	free(text.text);
}

unsigned kir_problem_formats(const kir_problem *p, const char *name[KIR_PROBLEM_FORMATS])
{
	const char *const all[KIR_PROBLEM_FORMATS] = { p->k_format, p->v_format, p->from_v,
		                                       p->to_v, p->format2 };
	unsigned n = 0;

	for (int i = 0; i < KIR_PROBLEM_FORMATS; i++) {
		bool again = !all[i];

		for (unsigned k = 0; k < n; k++)
			again = again || !strcmp(name[k], all[i]);
		if (!again)
			name[n++] = all[i];
	}
	return n;
}

void kir_problem_print_whole(const kir_module *m, const kir_problem *p, kir_text *out)
{
	const char *name[KIR_PROBLEM_FORMATS];
	unsigned n = kir_problem_formats(p, name);

	for (unsigned i = 0; i < n; i++) {
		const kir_format *f = kir_format_find(m, name[i]);

		if (f && !is_built_in(name[i]))
			print_declaration(f, out);
	}
	kir_problem_print(p, out);
}
