/* SPDX-License-Identifier: Apache-2.0 */
/* module.c -- from a blob to a kernel that can be launched.
 *
 * A blob is SPIR-V, which the driver compiles (0.1 s and more the first time: drivers cache
 * it), or the driver's own machine code. Its one kernel is found by asking the module.
 */
#include "ze.h"
#include "../spirv_flags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPIRV_MAGIC 0x07230203u

/* -- the blob ------------------------------------------------------------------------------ */

typedef struct blob {
	const uint8_t *bytes;
	size_t size;
	bool spirv;
	unsigned major, minor; /* of SPIR-V */
} blob;

static bool read_blob(const void *bytes, size_t size, blob *out, kbe_fault *why)
{
	uint32_t word[2] = { 0, 0 };

	if (size < sizeof(word))
		return ze_fault(why, KBE_BUG, "a blob of %zu bytes is no module", size);
	memcpy(word, bytes, sizeof(word));
	out->bytes = bytes;
	out->size = size;
	out->spirv = word[0] == SPIRV_MAGIC;
	out->major = word[1] >> 16 & 0xff;
	out->minor = word[1] >> 8 & 0xff;
	return true;
}

/* -- building ------------------------------------------------------------------------------ */

/* The log goes behind the sentence, as much of it as there is room for. */
static void add_log(kbe_fault *why, ze_module_build_log_handle_t log)
{
	size_t size = 0, at = strlen(why->text);
	char *text;

	if (ze.zeModuleBuildLogGetString(log, &size, NULL) != ZE_RESULT_SUCCESS || size < 2)
		return;
	text = calloc(1, size + 1);
	if (text && ze.zeModuleBuildLogGetString(log, &size, text) == ZE_RESULT_SUCCESS)
		snprintf(why->text + at, sizeof(why->text) - at, "\n%s", text);
	free(text);
}

static bool build(kbe_module *m, const blob *b, kbe_fault *why)
{
	ze_module_desc_t desc = { ZE_STRUCTURE_TYPE_MODULE_DESC,
		                  NULL,
		                  b->spirv ? ZE_MODULE_FORMAT_IL_SPIRV
		                           : ZE_MODULE_FORMAT_NATIVE,
		                  b->size,
		                  b->bytes,
		                  b->spirv ? kbe_spirv_flags(b->bytes, b->size) : "",
		                  NULL };
	ze_module_build_log_handle_t log = NULL;
	bool ok = ZE_OK(why, zeModuleCreate, m->device->context, m->device->handle, &desc,
	                &m->module, &log);

	if (!ok)
		m->module = NULL;
	if (!ok && log)
		add_log(why, log);
	if (log)
		ze.zeModuleBuildLogDestroy(log);
	return ok;
}

/* Intel's driver of 2022 says 1.2 and builds 1.3 and 1.4: what it says counts only as the
 * reason why it refused. */
static void add_version(const kbe_device *d, const blob *b, kbe_fault *why)
{
	unsigned major = ZE_MAJOR_VERSION(d->spirv), minor = ZE_MINOR_VERSION(d->spirv);
	kbe_fault told = *why;

	if (!b->spirv || told.kind != KBE_UNABLE || b->major < major ||
	    (b->major == major && b->minor <= minor))
		return;
	ze_fault(why, told.kind,
	         "the kernel is SPIR-V %u.%u; the driver of %s takes up to %u.%u: a newer "
	         "driver may take it. %.700s",
	         b->major, b->minor, d->name, major, minor, told.text);
}

static bool find_kernel(kbe_module *m, kbe_fault *why)
{
	const char *name = NULL;
	uint32_t n = 0;
	ze_kernel_desc_t desc = { ZE_STRUCTURE_TYPE_KERNEL_DESC, NULL, 0, NULL };
	ze_kernel_properties_t is = { .stype = ZE_STRUCTURE_TYPE_KERNEL_PROPERTIES };

	if (!ZE_OK(why, zeModuleGetKernelNames, m->module, &n, NULL))
		return false;
	if (n != 1)
		return ze_fault(why, KBE_BUG, "a module has %u kernels; it must have one", n);
	if (!ZE_OK(why, zeModuleGetKernelNames, m->module, &n, &name))
		return false;
	desc.pKernelName = name;
	if (!ZE_OK(why, zeKernelCreate, m->module, &desc, &m->kernel)) {
		m->kernel = NULL;
		return false;
	}
	if (!ZE_OK(why, zeKernelGetProperties, m->kernel, &is))
		return false;
	m->nargs = is.numKernelArgs;
	/* one sub-group a work-group */
	m->lanes = is.requiredGroupSizeX ? is.requiredGroupSizeX : is.requiredSubgroupSize;
	if (!m->lanes)
		m->lanes = is.maxSubgroupSize ? is.maxSubgroupSize : 1;
	return ZE_OK(why, zeKernelSetGroupSize, m->kernel, m->lanes, 1, 1);
}

kbe_module *ze_module(kbe_device *d, const void *bytes, size_t size, kbe_fault *why)
{
	blob b = { 0 };
	kbe_module *m;

	if (!read_blob(bytes, size, &b, why))
		return NULL;
	m = calloc(1, sizeof(*m));
	if (!m) {
		ze_fault(why, KBE_NO_ROOM, "out of memory");
		return NULL;
	}
	m->device = d;
	pthread_mutex_init(&m->lock, NULL);
	if (!build(m, &b, why))
		add_version(d, &b, why);
	else if (find_kernel(m, why))
		return m;
	ze_module_free(m);
	return NULL;
}

void ze_module_free(kbe_module *m)
{
	if (m->kernel)
		ze.zeKernelDestroy(m->kernel);
	if (m->module)
		ze.zeModuleDestroy(m->module);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

void ze_module_info(const kbe_module *m, kbe_module_info *out)
{
	ze_kernel_properties_t is = { .stype = ZE_STRUCTURE_TYPE_KERNEL_PROPERTIES };

	memset(out, 0, sizeof(*out));
	if (ze.zeKernelGetProperties(m->kernel, &is) == ZE_RESULT_SUCCESS) {
		out->spill = is.spillMemSize;
		out->private_ = is.privateMemSize;
		out->local = is.localMemSize;
		out->subgroup = is.maxSubgroupSize;
		out->nargs = is.numKernelArgs;
	}
	if (ze.zeModuleGetNativeBinary(m->module, &out->native, NULL) != ZE_RESULT_SUCCESS)
		out->native = 0;
}
