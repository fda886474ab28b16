/* SPDX-License-Identifier: Apache-2.0 */
/* support_cl.h -- running a module of SPIR-V on an OpenCL device that reads the host's memory
 * (Intel's runtime for processors), without a GPU and without the library in between.
 */
#ifndef KVJIT_TEST_SUPPORT_CL_H
#define KVJIT_TEST_SUPPORT_CL_H

#include "../backends/backend.h"
#include "../backends/ref/ref.h"

/* Whether there is such a device; if not, a sentence says why not. */
bool support_cl(const char **why);

typedef struct cl_module cl_module;

/* NULL and the device's words if it doesn't take the module. `name`: of the kernel. */
cl_module *support_cl_build(const void *words, size_t size, const char *name, char *why,
                            size_t len);
/* The same of OpenCL C. */
cl_module *support_cl_compile(const char *source, const char *name, char *why, size_t len);
void support_cl_drop(cl_module *m);

/* Runs all phases of f, a work-group of f's lanes for each iteration. */
bool support_cl_call(cl_module *m, const kir_func *f, const kref_arg *arg);
/* Runs `groups` groups of `lanes` with these arguments: pointers and numbers. Waits. */
typedef struct cl_arg {
	void *pointer; /* NULL: value */
	const void *value;
	size_t bytes;
} cl_arg;
bool support_cl_run(cl_module *m, const cl_arg *arg, unsigned narg, size_t groups,
                    size_t lanes);

#endif
