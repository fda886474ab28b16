/* SPDX-License-Identifier: Apache-2.0 */
/* device.c -- one device, with the properties of a row of products.def. */
#include "zecl.h"

#include <stdio.h>
#include <string.h>

struct _ze_device_handle_t {
	int unused;
};

static struct _ze_device_handle_t the_device;

ze_result_t zeDeviceGet(ze_driver_handle_t driver, uint32_t *count, ze_device_handle_t *devices)
{
	(void)driver;
	if (*count && devices)
		devices[0] = &the_device;
	*count = 1;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeDeviceGetSubDevices(ze_device_handle_t device, uint32_t *count,
                                  ze_device_handle_t *devices)
{
	(void)device;
	(void)devices;
	*count = 0;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeDeviceGetStatus(ze_device_handle_t device)
{
	(void)device;
	return zecl.lost ? ZE_RESULT_ERROR_DEVICE_LOST : ZE_RESULT_SUCCESS;
}

/* The first version of the structure has nanoseconds where the second has ticks a second. */
ze_result_t zeDeviceGetProperties(ze_device_handle_t device, ze_device_properties_t *p)
{
	const struct zecl_product *product = zecl.product;

	(void)device;
	p->type = ZE_DEVICE_TYPE_GPU;
	p->vendorId = 0x8086;
	p->deviceId = product->id;
	p->flags = 0;
	p->subdeviceId = 0;
	p->coreClockRate = product->mhz;
	p->maxMemAllocSize = zecl.memory_limit / 2;
	p->maxHardwareContexts = 64;
	p->maxCommandQueuePriority = 0;
	p->numThreadsPerEU = product->threads;
	p->physicalEUSimdWidth = product->lanes;
	p->numEUsPerSubslice = product->eus;
	p->numSubslicesPerSlice = product->subslices;
	p->numSlices = product->slices;
	p->timerResolution = p->stype == ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES_1_2
	                         ? 1000000000u / product->tick_ns
	                         : product->tick_ns;
	p->timestampValidBits = 32;
	p->kernelTimestampValidBits = 32;
	memset(&p->uuid, 0, sizeof(p->uuid));
	memcpy(p->uuid.id, &product->id, sizeof(product->id));
	snprintf(p->name, sizeof(p->name), "%s", product->title);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeDeviceGetComputeProperties(ze_device_handle_t device,
                                         ze_device_compute_properties_t *p)
{
	(void)device;
	p->maxTotalGroupSize = 1024;
	p->maxGroupSizeX = p->maxGroupSizeY = p->maxGroupSizeZ = 1024;
	p->maxGroupCountX = p->maxGroupCountY = p->maxGroupCountZ = UINT32_MAX;
	p->maxSharedLocalMemory = zecl.product->slm_kib << 10;
	p->numSubGroupSizes = 2;
	memset(p->subGroupSizes, 0, sizeof(p->subGroupSizes));
	memcpy(p->subGroupSizes, zecl.product->subgroup, sizeof(zecl.product->subgroup));
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeDeviceGetModuleProperties(ze_device_handle_t device,
                                        ze_device_module_properties_t *p)
{
	const ze_device_fp_flags_t all = ZE_DEVICE_FP_FLAG_DENORM | ZE_DEVICE_FP_FLAG_INF_NAN |
	                                 ZE_DEVICE_FP_FLAG_ROUND_TO_NEAREST |
	                                 ZE_DEVICE_FP_FLAG_FMA;

	(void)device;
	p->spirvVersionSupported = ZE_MAKE_VERSION(1, zecl_fault_value(ZECL_FAULT_spirv, 4));
	p->flags = ZE_DEVICE_MODULE_FLAG_FP16 | ZE_DEVICE_MODULE_FLAG_INT64_ATOMICS |
	           ZE_DEVICE_MODULE_FLAG_DP4A;
	p->fp16flags = p->fp32flags = all;
	p->fp64flags = 0;
	p->maxArgumentsSize = 2048;
	p->printfBufferSize = 1 << 20;
	memset(&p->nativeKernelSupported, 0, sizeof(p->nativeKernelSupported));
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeDeviceGetCommandQueueGroupProperties(ze_device_handle_t device, uint32_t *count,
                                                   ze_command_queue_group_properties_t *p)
{
	(void)device;
	if (*count && p) {
		p->flags = ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COMPUTE |
		           ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COPY;
		p->maxMemoryFillPatternSize = 128;
		p->numQueues = 4;
	}
	*count = 1;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeDeviceGetMemoryProperties(ze_device_handle_t device, uint32_t *count,
                                        ze_device_memory_properties_t *p)
{
	(void)device;
	if (*count && p) {
		p->flags = 0;
		p->maxClockRate = 0;
		p->maxBusWidth = zecl.product->bus;
		p->totalSize = zecl.memory_limit;
		snprintf(p->name, sizeof(p->name), "tests");
	}
	*count = 1;
	return ZE_RESULT_SUCCESS;
}

/* As on the real ones: what the host got from malloc can't be read. */
ze_result_t zeDeviceGetMemoryAccessProperties(ze_device_handle_t device,
                                              ze_device_memory_access_properties_t *p)
{
	const ze_memory_access_cap_flags_t yes =
	    ZE_MEMORY_ACCESS_CAP_FLAG_RW | ZE_MEMORY_ACCESS_CAP_FLAG_ATOMIC;

	(void)device;
	p->hostAllocCapabilities = p->deviceAllocCapabilities = yes;
	p->sharedSingleDeviceAllocCapabilities = yes;
	p->sharedCrossDeviceAllocCapabilities = 0;
	p->sharedSystemAllocCapabilities = 0;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeDeviceGetCacheProperties(ze_device_handle_t device, uint32_t *count,
                                       ze_device_cache_properties_t *p)
{
	(void)device;
	if (*count && p) {
		p->flags = 0;
		p->cacheSize = (size_t)zecl.product->cache_mib << 20;
	}
	*count = 1;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeDeviceGetGlobalTimestamps(ze_device_handle_t device, uint64_t *host,
                                        uint64_t *ticks)
{
	(void)device;
	*host = zecl_now_ns();
	*ticks = zecl_ticks();
	return ZE_RESULT_SUCCESS;
}
