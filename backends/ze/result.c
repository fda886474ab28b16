/* SPDX-License-Identifier: Apache-2.0 */
/* result.c -- from what Level Zero returns to a kind of fault and a sentence. */
#include "ze.h"

#include <stdarg.h>
#include <stdio.h>

static const struct result {
	ze_result_t code;
	kbe_fault_kind kind;
	const char *name, *advice;
} results[] = {
#define RESULT(name, kind, advice) { ZE_RESULT_##name, KBE_##kind, "ZE_RESULT_" #name, advice },
#include "results.def"
};

bool ze_fault(kbe_fault *why, kbe_fault_kind kind, const char *fmt, ...)
{
	va_list ap;

	why->kind = kind;
	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return false;
}

bool ze_failed(kbe_fault *why, const char *call, ze_result_t r)
{
	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
		if (results[i].code == r)
			return ze_fault(why, results[i].kind, "%s returned %s (0x%x): %s", call,
			                results[i].name, (unsigned)r, results[i].advice);
	return ze_fault(why, KBE_BUG, "%s returned 0x%x, a result kvjit doesn't know", call,
	                (unsigned)r);
}
