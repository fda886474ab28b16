/* SPDX-License-Identifier: Apache-2.0 */
/* other_build.c -- libkvjit-c.so as a build with another op table would have it. */
#include "../backends/backend.h"

static const kir_build other = { { sizeof(kir_func), sizeof(kir_node), sizeof(kir_type),
	                           sizeof(kir_param), sizeof(kir_target), sizeof(kir_module), 0,
	                           sizeof(kir_diag) },
	                         "i1 s8 " };
static const kbe_backend backend = { .version = KBE_VERSION, .name = "c", .build = &other };

__attribute__((visibility("default"))) const kbe_backend *kvjit_backend(void);

const kbe_backend *kvjit_backend(void)
{
	return &backend;
}
