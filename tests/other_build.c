/* SPDX-License-Identifier: Apache-2.0 */
/* other_build.c -- libkvjit-c.so as a build with another op table would have it; with
 * OTHER_VERSION, as one with another interface would. */
#include "../backends/backend.h"

static const kir_build other = { { sizeof(kir_func), sizeof(kir_node), sizeof(kir_type),
	                           sizeof(kir_param), sizeof(kir_target), sizeof(kir_module), 0,
	                           sizeof(kir_diag) },
	                         "i1 s8 " };
#ifdef OTHER_VERSION
enum { VERSION = KBE_VERSION + 1 };
#else
enum { VERSION = KBE_VERSION };
#endif
static const kbe_backend backend = { .version = VERSION, .name = "c", .build = &other };

__attribute__((visibility("default"))) const kbe_backend *kvjit_backend(void);

const kbe_backend *kvjit_backend(void)
{
	return &backend;
}
