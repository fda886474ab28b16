/* SPDX-License-Identifier: Apache-2.0 */
/* page.c -- what callers ask of a format: how large its pages are, its hash, where tokens lie.
 */
#include "jit.h"

#include <string.h>

/* The format that `text` declares last, or the built-in one it names. */
static const kir_format *find(kir_module *m, const char *text, kir_diag *d)
{
	if (!strchr(text, '{'))
		return kir_format_get(m, text, d);
	if (!kir_parse_into(m, text, strlen(text), d))
		return NULL;
	if (!m->nformat)
		kir_error(d, 0, 0, "the text declares no format");
	return m->nformat ? m->format[m->nformat - 1] : NULL;
}

static bool page_bytes(const char *text, const kir_shape *s, int64_t *out, kir_diag *d)
{
	kir_module *m = kir_module_new();
	const kir_format *f = find(m, text, d);
	kir_layout layout;
	bool ok = f && kir_format_layout(f, s, &layout, d);

	if (ok) {
		*out = 0;
		for (unsigned i = 0; i < layout.ntensor; i++)
			*out += layout.tensor[i].page_bytes;
	}
	kir_module_free(m);
	return ok;
}

kvjit_status kvjit_page_bytes(kvjit *kv, const char *format, int64_t kv_heads, int64_t dim_k,
                              int64_t dim_v, int64_t page, int64_t *out)
{
	const kir_shape s = { kv_heads, dim_k, dim_v, page };
	char text[900];
	kir_diag d = { 0 };

	KVJIT_NEED_CONTEXT(kv);
	if (!format || !out)
		return kvjit_fail(&kv->errors, KVJIT_BAD_ARGUMENT,
		                  "format and out must not be NULL");
	if (!kir_problem_shape(&s, &d))
		return kvjit_fail(&kv->errors, KVJIT_BAD_ARGUMENT, "%s",
		                  kir_diag_text(&d, text, sizeof(text)));
	if (page_bytes(format, &s, out, &d))
		return KVJIT_OK;
	return kvjit_fail(&kv->errors, KVJIT_BAD_PROBLEM, "%s",
	                  kir_diag_text(&d, text, sizeof(text)));
}

kvjit_status kvjit_format_hash(kvjit *kv, const char *format, uint64_t *out)
{
	char text[900];
	kir_diag d = { 0 };

	KVJIT_NEED_CONTEXT(kv);
	if (!format || !out)
		return kvjit_fail(&kv->errors, KVJIT_BAD_ARGUMENT,
		                  "format and out must not be NULL");
	kir_module *m = kir_module_new();
	const kir_format *f = find(m, format, &d);

	if (f)
		*out = kir_format_hash(f);
	kir_module_free(m);
	if (f)
		return KVJIT_OK;
	return kvjit_fail(&kv->errors, KVJIT_BAD_PROBLEM, "%s",
	                  kir_diag_text(&d, text, sizeof(text)));
}

int64_t kvjit_block_slots(const int32_t *blocks, int64_t nblocks, int64_t page, int64_t tokens,
                          int64_t *slots)
{
	int64_t t = 0;

	if (page > INT32_MAX) /* the last slot would be no s64 */
		return 0;
	for (int64_t i = 0; blocks && slots && i < nblocks; i++)
		for (int64_t k = 0; k < page && t < tokens; k++)
			slots[t++] = blocks[i] < 0 ? -1 : blocks[i] * page + k;
	return t;
}
