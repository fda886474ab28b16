/* SPDX-License-Identifier: Apache-2.0 */
/* parse_fuzz.c -- any bytes: the parser and the verifier must survive them, and what parses
 * must print to a text that parses and prints to itself.
 */
#include "../../ir/kir.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_again(const char *text, size_t len)
{
	kir_diag d = { 0 };
	kir_text t = { 0 };
	kir_module *m = kir_parse(text, len, &d);
	if (!m)
		abort();
	kir_print_module(m, &t);
	if (t.len != len || memcmp(t.text, text, len))
		abort();
	free(t.text);
	kir_module_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	kir_diag d = { 0 };
	kir_text t = { 0 };
	char messages[1024];
	/* File tests are the seeds: without their first line they are IR text. */
	if (size > 5 && !memcmp(data, "test ", 5)) {
		const uint8_t *end = memchr(data, '\n', size);
		size -= end ? (size_t)(end - data) : 0;
		data = end ? end : data;
	}
	kir_module *m = kir_parse((const char *)data, size, &d);
	kir_diag_text(&d, messages, sizeof messages);
	if (!m)
		return 0;
	for (unsigned i = 0; i < m->nfunc; i++) {
		kir_diag v = { 0 };
		kir_verify(m->func[i], &v);
		kir_diag_text(&v, messages, sizeof messages);
	}
	kir_print_module(m, &t);
	if (t.text)
		same_again(t.text, t.len);
	free(t.text);
	kir_module_free(m);
	return 0;
}
