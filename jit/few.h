/* SPDX-License-Identifier: Apache-2.0 */
/* few.h -- tiles of queries with few of them, and the kernel that takes them (few.c). */
#ifndef KVJIT_JIT_FEW_H
#define KVJIT_JIT_FEW_H

#include "jit.h"

/* Whose variant takes k's tiles with few queries: k->few, or k itself. */
const kvjit_kernel *kvjit_few_of(const kvjit_kernel *k);
/* How many queries a tile of `many` may have for `few` to take it; 0: it takes none. */
int64_t kvjit_few_most(const kvjit_kernel *many, const kvjit_kernel *few);

#endif
