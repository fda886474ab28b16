/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.c -- kernels: arguments, group sizes, properties. */
#include "zecl.h"

#include <CL/cl_ext.h>
#include <stdlib.h>
#include <string.h>

ze_result_t zeKernelCreate(ze_module_handle_t module, const ze_kernel_desc_t *desc,
                           ze_kernel_handle_t *out)
{
	ze_kernel_handle_t k;
	cl_int error = CL_SUCCESS;

	if (strlen(desc->pKernelName) >= sizeof(k->name) || zecl_fault(ZECL_FAULT_kernel))
		return ZE_RESULT_ERROR_INVALID_KERNEL_NAME;
	k = calloc(1, sizeof(*k));
	if (!k)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	k->nargs = zecl_spirv_args(&module->spirv, desc->pKernelName, k->kinds, ZECL_MAX_ARGS);
	if (k->nargs >= 0)
		k->kernel = clCreateKernel(module->program, desc->pKernelName, &error);
	if (!k->kernel || error != CL_SUCCESS) {
		free(k);
		return ZE_RESULT_ERROR_INVALID_KERNEL_NAME;
	}
	k->module = module;
	strcpy(k->name, desc->pKernelName);
	clGetKernelWorkGroupInfo(k->kernel, zecl.device, CL_KERNEL_COMPILE_WORK_GROUP_SIZE,
	                         sizeof(k->required), k->required, NULL);
	clGetKernelSubGroupInfo(k->kernel, zecl.device, CL_KERNEL_COMPILE_SUB_GROUP_SIZE_INTEL,
	                        0, NULL, sizeof(k->subgroup), &k->subgroup, NULL);
	for (int i = 0; i < 3; i++)
		k->group[i] = k->required[i] ? k->required[i] : 1;
	zecl_count(ZECL_KERNELS, 1);
	*out = k;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeKernelDestroy(ze_kernel_handle_t k)
{
	clReleaseKernel(k->kernel);
	free(k);
	zecl_count(ZECL_KERNELS, -1);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeKernelSetCacheConfig(ze_kernel_handle_t k, ze_cache_config_flags_t flags)
{
	(void)k;
	(void)flags;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeKernelSetGroupSize(ze_kernel_handle_t k, uint32_t x, uint32_t y, uint32_t z)
{
	const size_t size[3] = { x, y, z };

	if (!x || !y || !z || (uint64_t)x * y * z > 1024)
		return ZE_RESULT_ERROR_INVALID_GROUP_SIZE_DIMENSION;
	for (int i = 0; i < 3; i++)
		if (k->required[0] && k->required[i] != size[i])
			return ZE_RESULT_ERROR_INVALID_GROUP_SIZE_DIMENSION;
	memcpy(k->group, size, sizeof(size));
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeKernelSuggestGroupSize(ze_kernel_handle_t k, uint32_t gx, uint32_t gy,
                                     uint32_t gz, uint32_t *x, uint32_t *y, uint32_t *z)
{
	(void)gy;
	(void)gz;
	*x = 256;
	*y = *z = 1;
	while (gx % *x)
		*x /= 2;
	if (k->required[0]) {
		*x = (uint32_t)k->required[0];
		*y = (uint32_t)k->required[1];
		*z = (uint32_t)k->required[2];
	}
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeKernelSetArgumentValue(ze_kernel_handle_t k, uint32_t index, size_t size,
                                     const void *value)
{
	static const char null[sizeof(void *)];
	struct zecl_value *arg = k->args + index;

	if ((int)index >= k->nargs)
		return ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_INDEX;
	if (k->kinds[index] == ZECL_POINTER
	        ? size != sizeof(void *)
	        : k->kinds[index] == ZECL_VALUE && size > ZECL_MAX_VALUE)
		return ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_SIZE;
	if (k->kinds[index] == ZECL_VALUE && !value)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	/* Intel's looks the address up; a null pointer is no value */
	if (k->kinds[index] == ZECL_POINTER && value && !memcmp(value, null, sizeof(null)))
		return ZE_RESULT_ERROR_INVALID_ARGUMENT;
	arg->set = true;
	arg->size = size;
	memset(arg->bytes, 0, sizeof(arg->bytes));
	if (value && k->kinds[index] != ZECL_LOCAL)
		memcpy(arg->bytes, value, size);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeKernelSetIndirectAccess(ze_kernel_handle_t k,
                                      ze_kernel_indirect_access_flags_t flags)
{
	k->indirect = flags;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeKernelGetIndirectAccess(ze_kernel_handle_t k,
                                      ze_kernel_indirect_access_flags_t *flags)
{
	*flags = k->indirect;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeKernelGetProperties(ze_kernel_handle_t k, ze_kernel_properties_t *p)
{
	cl_ulong local = 0, private = 0;

	clGetKernelWorkGroupInfo(k->kernel, zecl.device, CL_KERNEL_LOCAL_MEM_SIZE,
	                         sizeof(local), &local, NULL);
	clGetKernelWorkGroupInfo(k->kernel, zecl.device, CL_KERNEL_PRIVATE_MEM_SIZE,
	                         sizeof(private), &private, NULL);
	p->numKernelArgs = (uint32_t)k->nargs;
	p->requiredGroupSizeX = (uint32_t)k->required[0];
	p->requiredGroupSizeY = (uint32_t)k->required[1];
	p->requiredGroupSizeZ = (uint32_t)k->required[2];
	p->requiredNumSubGroups = 0;
	p->requiredSubgroupSize = (uint32_t)k->subgroup;
	p->maxSubgroupSize = k->subgroup ? (uint32_t)k->subgroup : zecl.product->subgroup[1];
	p->maxNumSubgroups = 1024 / p->maxSubgroupSize;
	p->localMemSize = (uint32_t)local;
	p->privateMemSize = (uint32_t) private;
	p->spillMemSize = 0;
	memset(&p->uuid, 0, sizeof(p->uuid));
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeKernelGetName(ze_kernel_handle_t k, size_t *size, char *name)
{
	size_t whole = strlen(k->name) + 1;

	if (name && *size) {
		memcpy(name, k->name, *size < whole ? *size : whole);
		name[*size - 1] = 0;
	}
	*size = whole;
	return ZE_RESULT_SUCCESS;
}
