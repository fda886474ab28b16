/* SPDX-License-Identifier: Apache-2.0 */
/* npy.h -- arrays in files: NumPy's .npy, versions 1 to 3, C order, little endian.
 *
 * A dtype is kept as NumPy writes it without the byte order: "u1", "i4", "f2", "f8".
 * 16-bit floats that NumPy doesn't have (bf16) are stored as u2.
 */
#ifndef KVJIT_TOOL_NPY_H
#define KVJIT_TOOL_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NPY_RANK 6

typedef struct npy {
	char dtype[4];
	int rank;
	int64_t shape[NPY_RANK];
	void *data; /* malloc'd, 64-byte aligned */
	size_t bytes;
} npy;

/* False and a sentence in why (len bytes). A loaded array is freed with npy_free. */
bool npy_load(const char *path, npy *out, char *why, size_t len);
bool npy_save(const char *path, const npy *a, char *why, size_t len);
void npy_free(npy *a);

#endif
