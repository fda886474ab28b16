/* SPDX-License-Identifier: Apache-2.0 */
/* spirv.c -- what a driver must know of a module before anybody compiles it: its version, its
 * kernels and what their parameters are. The OpenCL runtime doesn't say the last of programs
 * that come as SPIR-V.
 */
#include "zecl.h"

#include <stdlib.h>
#include <string.h>

enum {
	SPV_MAGIC = 0x07230203,
	SPV_HEADER = 5,
	SPV_KERNEL = 6, /* execution model */
	OP_ENTRY_POINT = 15,
	OP_TYPE_POINTER = 32,
	OP_FUNCTION = 54,
	OP_FUNCTION_PARAMETER = 55,
	OP_FUNCTION_END = 56,
	OP_DECORATE = 71,
	LINKAGE_ATTRIBUTES = 41,
	LINKAGE_IMPORT = 1,
	STORAGE_UNIFORM_CONSTANT = 0,
	STORAGE_WORKGROUP = 4,
	STORAGE_CROSS_WORKGROUP = 5,
};

/* Instruction behind *at: its words and their number, and *at moves on. NULL: the end. */
static const uint32_t *next(const struct zecl_spirv *m, size_t *at, uint32_t *op,
                            uint32_t *length)
{
	const uint32_t *word = m->words + *at;

	if (*at >= m->nwords)
		return NULL;
	*op = word[0] & 0xffff;
	*length = word[0] >> 16;
	if (!*length || *length > m->nwords - *at)
		return NULL;
	*at += *length;
	return word;
}

const char *zecl_spirv_check(const struct zecl_spirv *m, unsigned minor)
{
	size_t at = SPV_HEADER;
	uint32_t op, length;

	if (m->nwords < SPV_HEADER || m->words[0] != SPV_MAGIC)
		return "the module isn't SPIR-V";
	if (m->words[1] >> 16 != 1 || (m->words[1] >> 8 & 0xff) > minor)
		return "the module's SPIR-V version is newer than the device takes";
	while (next(m, &at, &op, &length))
		;
	return at == m->nwords ? NULL : "the module's last instruction is cut off";
}

static const char *entry_name(const uint32_t *word, uint32_t op, uint32_t length)
{
	const char *name = (const char *)(word + 3);

	if (op != OP_ENTRY_POINT || length < 4 || word[1] != SPV_KERNEL)
		return NULL;
	return memchr(name, 0, (length - 3) * sizeof(*word)) ? name : NULL;
}

const char *zecl_spirv_kernel(const struct zecl_spirv *m, unsigned i)
{
	size_t at = SPV_HEADER;
	uint32_t op, length;
	const uint32_t *word;

	while ((word = next(m, &at, &op, &length))) {
		const char *name = entry_name(word, op, length);

		if (name && !i--)
			return name;
	}
	return NULL;
}

bool zecl_spirv_imports(const struct zecl_spirv *m)
{
	size_t at = SPV_HEADER;
	uint32_t op, length;
	const uint32_t *word;

	while ((word = next(m, &at, &op, &length)))
		if (op == OP_DECORATE && length > 3 && word[2] == LINKAGE_ATTRIBUTES &&
		    word[length - 1] == LINKAGE_IMPORT)
			return true;
	return false;
}

static enum zecl_arg storage_kind(uint32_t storage)
{
	switch (storage) {
	case STORAGE_UNIFORM_CONSTANT:
	case STORAGE_CROSS_WORKGROUP: return ZECL_POINTER;
	case STORAGE_WORKGROUP: return ZECL_LOCAL;
	default: return ZECL_VALUE; /* a structure by value */
	}
}

int zecl_spirv_args(const struct zecl_spirv *m, const char *kernel, enum zecl_arg *kinds,
                    int max)
{
	size_t at = SPV_HEADER;
	uint32_t op, length, id = 0, bound = m->words[3];
	unsigned char *kind = calloc(bound ? bound : 1, 1);
	const uint32_t *word;
	bool inside = false;
	int n = 0;

	while (kind && (word = next(m, &at, &op, &length))) {
		const char *name = entry_name(word, op, length);

		if (name && !strcmp(name, kernel))
			id = word[2];
		if (op == OP_TYPE_POINTER && length == 4 && word[1] < bound)
			kind[word[1]] = (unsigned char)storage_kind(word[2]);
		if (op == OP_FUNCTION)
			inside = length == 5 && id && word[2] == id;
		if (op == OP_FUNCTION_END && inside)
			break;
		if (op == OP_FUNCTION_PARAMETER && inside && length == 3 && n < max)
			kinds[n++] = word[1] < bound ? kind[word[1]] : ZECL_VALUE;
	}
	free(kind);
	return id ? n : -1;
}
