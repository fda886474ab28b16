/* SPDX-License-Identifier: Apache-2.0 */
/* spirv_flags.h -- what compilers of SPIR-V are told about a module, by driver or offline.
 *
 * A kernel that multiplies on matrix engines holds its tiles in registers: it takes the larger
 * register file, with half as many threads on a core. The functions it calls for that stand in
 * the module by name.
 */
#ifndef KVJIT_SPIRV_FLAGS_H
#define KVJIT_SPIRV_FLAGS_H

#include <string.h>

static inline const char *kbe_spirv_flags(const void *spirv, size_t size)
{
	static const char name[] = "_matrix_mad_";

	return memmem(spirv, size, name, sizeof name - 1) ? "-ze-opt-large-register-file" : "";
}

#endif
