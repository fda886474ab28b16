/* SPDX-License-Identifier: Apache-2.0 */
/* driver.c -- start: the OpenCL runtime below, the product above, and contexts. */
#include "zecl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct zecl zecl = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.running = PTHREAD_MUTEX_INITIALIZER,
};

struct _ze_driver_handle_t {
	int unused;
};
struct _ze_context_handle_t {
	int unused;
};

static struct _ze_driver_handle_t the_driver;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const struct zecl_product products[] = {
#define PRODUCT(name, id, title, s, ss, e, t, l, g0, g1, slm, gib, mib, mhz, bus, tick) \
	{ #name, id, title, s, ss, e, t, l, { g0, g1 }, slm, gib, mib, mhz, bus, tick },
#include "products.def"
};

void zecl_say(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	fputs("zecl: ", stderr);
	vfprintf(stderr, format, list);
	fputc('\n', stderr);
	va_end(list);
}

void zecl_lose(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	fputs("zecl: device lost: ", stderr);
	vfprintf(stderr, format, list);
	fputc('\n', stderr);
	va_end(list);
	pthread_mutex_lock(&zecl.lock);
	zecl.lost = true;
	pthread_cond_broadcast(&zecl.changed);
	pthread_mutex_unlock(&zecl.lock);
}

void zecl_count(enum zecl_kind kind, int by)
{
	pthread_mutex_lock(&zecl.lock);
	zecl.live[kind] += (uint32_t)by;
	pthread_mutex_unlock(&zecl.lock);
}

static void live_objects(uint32_t live[ZECL_KINDS])
{
	pthread_mutex_lock(&zecl.lock);
	memcpy(live, zecl.live, sizeof(zecl.live));
	pthread_mutex_unlock(&zecl.lock);
}

uint64_t zecl_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t zecl_until(uint64_t timeout_ns)
{
	uint64_t now = zecl_now_ns();

	return timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + timeout_ns;
}

bool zecl_wait(uint64_t until_ns)
{
	struct timespec t = { (time_t)(until_ns / 1000000000u),
		              (long)(until_ns % 1000000000u) };

	if (until_ns == UINT64_MAX) {
		pthread_cond_wait(&zecl.changed, &zecl.lock);
		return true;
	}
	if (zecl_now_ns() >= until_ns)
		return false;
	pthread_cond_timedwait(&zecl.changed, &zecl.lock, &t);
	return true;
}

static bool choose_product(void)
{
	const char *name = getenv("ZECL_PRODUCT"), *limit = getenv("ZECL_MEMORY");

	zecl.product = products;
	for (size_t i = 0; name && i < sizeof(products) / sizeof(*products); i++)
		if (!strcmp(products[i].name, name)) {
			zecl.product = &products[i];
			name = NULL;
		}
	if (name) {
		zecl_say("ZECL_PRODUCT=%s isn't in products.def", name);
		return false;
	}
	zecl.memory_limit = (uint64_t)zecl.product->memory_gib << 30;
	if (limit)
		zecl.memory_limit = strtoull(limit, NULL, 0);
	return true;
}

/* A CPU on which kernels of sub-groups run; another platform's would be a second opinion. */
static bool find_device(void)
{
	cl_platform_id platforms[16];
	cl_uint n = 0;
	char name[256];

	if (clGetPlatformIDs(16, platforms, &n) != CL_SUCCESS)
		n = 0;
	for (cl_uint i = 0; i < n && i < 16; i++) {
		name[0] = 0;
		clGetPlatformInfo(platforms[i], CL_PLATFORM_NAME, sizeof(name), name, NULL);
		if (strstr(name, "Intel") && clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_CPU, 1,
		                                            &zecl.device, NULL) == CL_SUCCESS)
			return true;
	}
	zecl_say("no OpenCL runtime of Intel's for CPUs among %u platforms", n);
	return false;
}

static bool compile_library(void)
{
	FILE *file = fopen(ZECL_LIBRARY, "rb");
	static char text[1 << 16], log[1 << 14];
	const char *source = text;
	size_t size = file ? fread(text, 1, sizeof(text), file) : 0;
	cl_int error;

	if (file)
		fclose(file);
	if (!size || size == sizeof(text)) {
		zecl_say("can't read " ZECL_LIBRARY);
		return false;
	}
	zecl.library = clCreateProgramWithSource(zecl.context, 1, &source, &size, &error);
	if (error == CL_SUCCESS)
		error = clCompileProgram(zecl.library, 1, &zecl.device, "-cl-std=CL3.0", 0,
		                         NULL, NULL, NULL, NULL);
	if (error == CL_SUCCESS)
		return true;
	clGetProgramBuildInfo(zecl.library, zecl.device, CL_PROGRAM_BUILD_LOG, sizeof(log) - 1,
	                      log, NULL);
	zecl_say("xe.cl: OpenCL error %d\n%s", error, log);
	clReleaseProgram(zecl.library);
	zecl.library = NULL;
	return false;
}

static void start(void)
{
	pthread_condattr_t monotonic;
	const cl_queue_properties profiling[] = { CL_QUEUE_PROPERTIES,
		                                  CL_QUEUE_PROFILING_ENABLE, 0 };
	const char *wrong = zecl_fault_read(getenv("ZECL_FAULT"));
	cl_int error;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&zecl.changed, &monotonic);
	zecl.lost = true;
	if (wrong) {
		zecl_say("%s", wrong);
		return;
	}
	if (zecl_fault_value(ZECL_FAULT_init, 0) || !choose_product() || !find_device())
		return;
	zecl.context = clCreateContext(NULL, 1, &zecl.device, NULL, NULL, &error);
	if (error == CL_SUCCESS)
		zecl.queue = clCreateCommandQueueWithProperties(zecl.context, zecl.device,
		                                                profiling, &error);
	if (error != CL_SUCCESS) {
		zecl_say("OpenCL error %d", error);
		return;
	}
	zecl.lost = !compile_library();
}

ze_result_t zeInit(ze_init_flags_t flags)
{
	pthread_once(&once, start);
	if (!zecl.queue || !zecl.library || (flags && !(flags & ZE_INIT_FLAG_GPU_ONLY)))
		return ZE_RESULT_ERROR_UNINITIALIZED;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeDriverGet(uint32_t *count, ze_driver_handle_t *drivers)
{
	if (*count && drivers)
		drivers[0] = &the_driver;
	*count = 1;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeDriverGetApiVersion(ze_driver_handle_t driver, ze_api_version_t *version)
{
	(void)driver;
	*version = ZE_API_VERSION_1_3;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeDriverGetProperties(ze_driver_handle_t driver, ze_driver_properties_t *properties)
{
	(void)driver;
	memset(&properties->uuid, 0xc1, sizeof(properties->uuid));
	properties->driverVersion = 1;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeDriverGetIpcProperties(ze_driver_handle_t driver,
                                     ze_driver_ipc_properties_t *properties)
{
	(void)driver;
	properties->flags = 0;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeDriverGetExtensionProperties(ze_driver_handle_t driver, uint32_t *count,
                                           ze_driver_extension_properties_t *properties)
{
	(void)driver;
	(void)properties;
	*count = 0;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeDriverGetExtensionFunctionAddress(ze_driver_handle_t driver, const char *name,
                                                void **address)
{
	zecl_live_fn *live = live_objects;

	(void)driver;
	if (strcmp(name, "zecl_live"))
		return ZE_RESULT_ERROR_INVALID_ARGUMENT;
	memcpy(address, &live, sizeof(live));
	return ZE_RESULT_SUCCESS;
}

static ze_result_t status(void)
{
	return zecl.lost ? ZE_RESULT_ERROR_DEVICE_LOST : ZE_RESULT_SUCCESS;
}

ze_result_t zeContextCreate(ze_driver_handle_t driver, const ze_context_desc_t *desc,
                            ze_context_handle_t *context)
{
	(void)driver;
	(void)desc;
	*context = calloc(1, sizeof(**context));
	if (!*context)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	zecl_count(ZECL_CONTEXTS, 1);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeContextCreateEx(ze_driver_handle_t driver, const ze_context_desc_t *desc,
                              uint32_t count, ze_device_handle_t *devices,
                              ze_context_handle_t *context)
{
	(void)count;
	(void)devices;
	return zeContextCreate(driver, desc, context);
}

ze_result_t zeContextDestroy(ze_context_handle_t context)
{
	free(context);
	zecl_count(ZECL_CONTEXTS, -1);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeContextGetStatus(ze_context_handle_t context)
{
	(void)context;
	return status();
}

ze_result_t zeContextSystemBarrier(ze_context_handle_t context, ze_device_handle_t device)
{
	(void)context;
	(void)device;
	return status();
}

ze_result_t zeContextMakeMemoryResident(ze_context_handle_t context, ze_device_handle_t device,
                                        void *p, size_t size)
{
	(void)context;
	(void)device;
	return zecl_memory_behind(p) >= size ? status() : ZE_RESULT_ERROR_INVALID_ARGUMENT;
}

ze_result_t zeContextEvictMemory(ze_context_handle_t context, ze_device_handle_t device,
                                 void *p, size_t size)
{
	return zeContextMakeMemoryResident(context, device, p, size);
}
