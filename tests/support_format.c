/* SPDX-License-Identifier: Apache-2.0 */
/* support_format.c -- see support_format.h. */
#include "support_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

const kir_format *support_format_parse(kir_module *m, const char *text)
{
	kir_diag d = { 0 };
	char buf[1000];

	if (!kir_format_parse_body(m, text, strlen(text), 1, &d))
		fail_msg("%s", kir_diag_text(&d, buf, sizeof(buf)));
	return m->format[m->nformat - 1];
}

const kir_format *support_format_get(kir_module *m, const char *name)
{
	kir_diag d = { 0 };
	char buf[1000];
	const kir_format *f = kir_format_get(m, name, &d);

	if (!f)
		fail_msg("%s: %s", name, kir_diag_text(&d, buf, sizeof(buf)));
	return f;
}

void support_format_layout(const kir_format *f, const kir_shape *s, kir_layout *out)
{
	kir_diag d = { 0 };
	char buf[1000];

	if (!kir_format_layout(f, s, out, &d))
		fail_msg("%s: %s", f->name, kir_diag_text(&d, buf, sizeof(buf)));
}
