/* SPDX-License-Identifier: Apache-2.0 */
/* support_format.h -- formats for tests; what can't be had fails the test with its message. */
#ifndef KVJIT_TESTS_SUPPORT_FORMAT_H
#define KVJIT_TESTS_SUPPORT_FORMAT_H

#include "../ir/format.h"

const kir_format *support_format_parse(kir_module *m, const char *text);
/* A built-in name. */
const kir_format *support_format_get(kir_module *m, const char *name);
void support_format_layout(const kir_format *f, const kir_shape *s, kir_layout *out);

#endif
