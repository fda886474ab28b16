/* SPDX-License-Identifier: Apache-2.0 */
/* gpu.h -- kernels for GPUs that aren't there: compiled to be looked at or shipped, not called.
 */
#ifndef KVJIT_TOOL_GPU_H
#define KVJIT_TOOL_GPU_H

#include "../backends/native.h"
#include "../include/kvjit.h"
#include "../tune/record.h"

/* The GPU's row that a program is for: --target's, or what its text says. NULL: none. */
const kir_target *gpu_target(const char *target, const char *text);

/* A context that compiles for t and opens no device; NULL after telling why not. */
kvjit *gpu_open(const kir_target *t, const char *backend);
/* The program with t as its target, malloc'ed. */
char *gpu_text(const kir_target *t, const char *text);
/* Compiles text for t in it; NULL and the context's error. */
kvjit_kernel *gpu_compile(kvjit *kv, const kir_target *t, const char *text, const char *sched);

/* The backend that makes SPIR-V: that one, or what the environment says. */
const char *gpu_backend(const char *backend);

/* Whether the code of a cache is SPIR-V, and the device's own code to stand beside it (freed by
 * kt_code_free). False and why: the compiler isn't there, or refuses. */
bool gpu_is_spirv(const kt_code *c);
bool gpu_native_beside(const kt_code *spirv, kt_code *out, kir_diag *why);

/* What is made of the kernel, from backend NULL: the one that gpu_open takes. */
typedef enum gpu_stage { GPU_SPIRV, GPU_NATIVE, GPU_NATIVE_ASM, GPU_COUNTS } gpu_stage;
bool gpu_emit(const kvjit_kernel *k, const char *backend, gpu_stage stage, kir_text *out,
              kir_diag *why);
/* As numbers; false, and why, also for code with a call of what nobody defines. */
bool gpu_count(const kvjit_kernel *k, const char *backend, kbe_counts *out, kir_diag *why);

#endif
