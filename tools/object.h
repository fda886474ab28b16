/* SPDX-License-Identifier: Apache-2.0 */
/* object.h -- what a backend makes of a kernel, with zeros in it: an ELF file, or SPIR-V. */
#ifndef KVJIT_TOOL_OBJECT_H
#define KVJIT_TOOL_OBJECT_H

#include "../include/kvjit.h"
#include "../ir/kir.h"

/* backend has compiled k in this process. */
bool object_of(const kvjit_kernel *k, const char *backend, kir_text *out, kir_diag *why);

#endif
