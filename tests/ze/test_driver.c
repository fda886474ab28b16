/* SPDX-License-Identifier: Apache-2.0 */
/* test_driver.c -- the driver of this folder through the stock loader: numerics of what xe.cl
 * emulates, the rules it checks, order and asynchrony, memory, and each fault.
 *
 * A process has one driver and its environment is read once: each test is a child of its own,
 * and the parent never calls Level Zero.
 */
#include "skip.h"
#include "zecl.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define CHECK(condition)                                                                \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			_exit(1);                                                       \
		}                                                                       \
	} while (0)
#define OK(call)   CHECK((call) == ZE_RESULT_SUCCESS)
#define LOST(call) CHECK((call) == ZE_RESULT_ERROR_DEVICE_LOST)
#define FOREVER    UINT64_MAX

static ze_driver_handle_t driver;
static ze_device_handle_t device;
static ze_context_handle_t context;
static ze_command_list_handle_t list; /* immediate, asynchronous */
static ze_event_pool_handle_t pool;

/* name=value[ name=value] around a child that must end well. */
static void in_child(const char *environment, void (*scenario)(void))
{
	char text[256], *rest = text, *one;
	int status;
	pid_t child = fork();

	if (!child) {
		snprintf(text, sizeof(text), "%s", environment);
		while ((one = strsep(&rest, " ")))
			if (*one)
				putenv(strdup(one));
		scenario();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("%s: status %#x", environment, (unsigned)status);
}

static void open_device(ze_command_queue_mode_t mode)
{
	uint32_t one = 1;
	const ze_context_desc_t cd = { .stype = ZE_STRUCTURE_TYPE_CONTEXT_DESC };
	const ze_command_queue_desc_t qd = { .stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_DESC,
		                             .mode = mode };
	const ze_event_pool_desc_t pd = { .stype = ZE_STRUCTURE_TYPE_EVENT_POOL_DESC,
		                          .flags = ZE_EVENT_POOL_FLAG_HOST_VISIBLE |
		                                   ZE_EVENT_POOL_FLAG_KERNEL_TIMESTAMP,
		                          .count = 8 };

	OK(zeInit(0));
	OK(zeDriverGet(&one, &driver));
	OK(zeDeviceGet(driver, &one, &device));
	OK(zeContextCreate(driver, &cd, &context));
	OK(zeCommandListCreateImmediate(context, device, &qd, &list));
	OK(zeEventPoolCreate(context, &pd, 1, &device, &pool));
}

static ze_event_handle_t event(uint32_t index)
{
	const ze_event_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_EVENT_DESC, .index = index };
	ze_event_handle_t e;

	OK(zeEventCreate(pool, &desc, &e));
	return e;
}

static void *shared(size_t size)
{
	const ze_device_mem_alloc_desc_t dd = { .stype =
		                                    ZE_STRUCTURE_TYPE_DEVICE_MEM_ALLOC_DESC };
	const ze_host_mem_alloc_desc_t hd = { .stype = ZE_STRUCTURE_TYPE_HOST_MEM_ALLOC_DESC };
	void *p;

	OK(zeMemAllocShared(context, &dd, &hd, size, 64, device, &p));
	memset(p, 0, size);
	return p;
}

static ze_result_t on_device(size_t size, void **p)
{
	const ze_device_mem_alloc_desc_t dd = { .stype =
		                                    ZE_STRUCTURE_TYPE_DEVICE_MEM_ALLOC_DESC };

	return zeMemAllocDevice(context, &dd, size, 0, device, p);
}

static ze_result_t load(const char *name, ze_module_handle_t *module,
                        ze_module_build_log_handle_t *log)
{
	static uint8_t bytes[1 << 16];
	char path[512];
	FILE *file;
	ze_module_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_MODULE_DESC,
		                  .format = ZE_MODULE_FORMAT_IL_SPIRV,
		                  .pInputModule = bytes };

	snprintf(path, sizeof(path), "%s/%s.spv", getenv("ZECL_SPIRV"), name);
	file = fopen(path, "rb");
	CHECK(file);
	desc.inputSize = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	return zeModuleCreate(context, device, &desc, module, log);
}

static ze_kernel_handle_t kernel_of(ze_module_handle_t module, const char *name)
{
	const ze_kernel_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_KERNEL_DESC,
		                        .pKernelName = name };
	ze_kernel_handle_t k;

	OK(zeKernelCreate(module, &desc, &k));
	return k;
}

static ze_kernel_handle_t kernel(const char *name)
{
	ze_module_handle_t module;

	OK(load(name, &module, NULL));
	return kernel_of(module, name);
}

static void step_args(ze_kernel_handle_t k, void *x, int factor, int term)
{
	OK(zeKernelSetArgumentValue(k, 0, sizeof(x), &x));
	OK(zeKernelSetArgumentValue(k, 1, sizeof(factor), &factor));
	OK(zeKernelSetArgumentValue(k, 2, sizeof(term), &term));
}

static ze_result_t step(ze_kernel_handle_t k, void *x, int factor, int term,
                        ze_event_handle_t signal)
{
	const ze_group_count_t four = { 4, 1, 1 };

	step_args(k, x, factor, term);
	OK(zeKernelSetGroupSize(k, 16, 1, 1));
	return zeCommandListAppendLaunchKernel(list, k, &four, signal, 0, NULL);
}

static ze_result_t barrier(ze_event_handle_t signal)
{
	return zeCommandListAppendBarrier(list, signal, 0, NULL);
}

/* What is there, after everything is gone again. */
static void nothing_lives(void)
{
	zecl_live_fn *live;
	void *address;
	uint32_t n[ZECL_KINDS];

	OK(zeDriverGetExtensionFunctionAddress(driver, "zecl_live", &address));
	memcpy(&live, &address, sizeof(live));
	live(n);
	for (int i = 0; i < ZECL_KINDS; i++)
		if (n[i])
			fprintf(stderr, "%u of kind %d live\n", n[i], i);
	for (int i = 0; i < ZECL_KINDS; i++)
		CHECK(!n[i]);
}

static void close_device(void)
{
	OK(zeEventPoolDestroy(pool));
	OK(zeCommandListDestroy(list));
	OK(zeContextDestroy(context));
}

static void gemm_args(ze_kernel_handle_t k, void *a, void *b, void *c, int offset, int width,
                      int pitch)
{
	OK(zeKernelSetArgumentValue(k, 0, sizeof(a), &a));
	OK(zeKernelSetArgumentValue(k, 1, sizeof(b), &b));
	OK(zeKernelSetArgumentValue(k, 2, sizeof(c), &c));
	OK(zeKernelSetArgumentValue(k, 3, sizeof(offset), &offset));
	OK(zeKernelSetArgumentValue(k, 4, sizeof(width), &width));
	OK(zeKernelSetArgumentValue(k, 5, sizeof(pitch), &pitch));
	OK(zeKernelSetGroupSize(k, 16, 1, 1));
}

/* f16 of an integer of at most 10 bits. */
static uint16_t half(int i)
{
	uint16_t sign = i < 0 ? 0x8000 : 0;
	int e = 25, m = abs(i);

	if (!m)
		return 0;
	for (; m < 1024; m *= 2)
		e--;
	return (uint16_t)(sign | (unsigned)e << 10 | (m & 1023));
}

static const char *gemm_file = "gemm";

static void product(void)
{
	uint16_t *a, *b;
	float *c;
	int x[8][64], y[64][32];
	const ze_group_count_t one = { 1, 1, 1 };
	ze_module_handle_t module;
	ze_kernel_handle_t k;

	open_device(ZE_COMMAND_QUEUE_MODE_SYNCHRONOUS);
	a = shared(8 * 64 * 2);
	b = shared(64 * 32 * 2);
	c = shared(8 * 16 * 4);
	for (int i = 0; i < 8 * 64; i++)
		a[i] = half(x[i / 64][i % 64] = i * 37 % 61 - 30);
	for (int i = 0; i < 64 * 32; i++)
		b[i] = half(y[i / 32][i % 32] = i * 53 % 67 - 33);
	OK(load(gemm_file, &module, NULL));
	k = kernel_of(module, "gemm");
	gemm_args(k, a, b, c, 0, 128, 128);
	OK(zeCommandListAppendLaunchKernel(list, k, &one, NULL, 0, NULL));
	for (int m = 0; m < 8; m++)
		for (int n = 0; n < 16; n++) {
			int sum = 0;

			for (int i = 0; i < 64; i++)
				sum += x[m][i] * y[i][n];
			CHECK(c[m * 16 + n] == (float)sum); /* exact: integers below 2^24 */
		}
	/* A surface of half the width: the rest of each row is out of range and reads 0. */
	gemm_args(k, a, b, c, 0, 64, 128);
	OK(zeCommandListAppendLaunchKernel(list, k, &one, NULL, 0, NULL));
	for (int m = 0; m < 8; m++)
		for (int n = 0; n < 16; n++) {
			int sum = 0;

			for (int i = 0; i < 32; i++)
				sum += x[m][i] * y[i][n];
			CHECK(c[m * 16 + n] == (float)sum);
		}
}

static int bad[3]; /* offset, width, pitch */

static void bad_surface(void)
{
	const ze_group_count_t one = { 1, 1, 1 };
	ze_module_handle_t module;
	ze_kernel_handle_t k;

	open_device(ZE_COMMAND_QUEUE_MODE_SYNCHRONOUS);
	OK(load(gemm_file, &module, NULL));
	k = kernel_of(module, "gemm");
	gemm_args(k, shared(4096), shared(4096), shared(512), bad[0], bad[1], bad[2]);
	LOST(zeCommandListAppendLaunchKernel(list, k, &one, NULL, 0, NULL));
	LOST(zeDeviceGetStatus(device));
}

static void test_products(void **state)
{
	(void)state;
	in_child("", product);
	in_child("ZE_ENABLE_VALIDATION_LAYER=1 ZE_ENABLE_PARAMETER_VALIDATION=1", product);
	gemm_file = "gemm_newer";
	in_child("", product);
}

static void test_surface_rules(void **state)
{
	static const int rows[][3] = {
		{ 16, 128, 128 }, /* base */
		{ 0, 32, 128 },   /* width below 64 */
		{ 0, 126, 128 },  /* width */
		{ 0, 128, 120 },  /* pitch below the width, no multiple of 16 */
		{ 0, 64, 72 },    /* pitch */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		gemm_file = i & 1 ? "gemm_newer" : "gemm";
		memcpy(bad, rows[i], sizeof(bad));
		in_child("", bad_surface);
	}
}

static void steps(void)
{
	const ze_command_queue_desc_t qd = { .stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_DESC };
	const ze_command_list_desc_t ld = { .stype = ZE_STRUCTURE_TYPE_COMMAND_LIST_DESC };
	const ze_fence_desc_t fd = { .stype = ZE_STRUCTURE_TYPE_FENCE_DESC };
	const ze_group_count_t four = { 4, 1, 1 };
	ze_command_queue_handle_t queue;
	ze_command_list_handle_t recorded;
	ze_fence_handle_t fence;
	ze_kernel_handle_t k;
	ze_module_handle_t module;
	ze_event_handle_t e;
	int *x;

	open_device(ZE_COMMAND_QUEUE_MODE_DEFAULT);
	e = event(0);
	x = shared(64 * 4);
	OK(load("step", &module, NULL));
	k = kernel_of(module, "step");
	OK(step(k, x, 1, 3, NULL)); /* 3 */
	OK(barrier(NULL));
	OK(step(k, x, 10, 4, NULL)); /* 34 */
	OK(barrier(e));
	OK(zeEventHostSynchronize(e, FOREVER));
	for (int i = 0; i < 64; i++)
		CHECK(x[i] == 34);

	OK(zeCommandQueueCreate(context, device, &qd, &queue));
	OK(zeCommandListCreate(context, device, &ld, &recorded));
	OK(zeFenceCreate(queue, &fd, &fence));
	CHECK(zeFenceQueryStatus(fence) == ZE_RESULT_NOT_READY);
	step_args(k, x, 2, 1);
	OK(zeCommandListAppendLaunchKernel(recorded, k, &four, NULL, 0, NULL));
	CHECK(zeCommandQueueExecuteCommandLists(queue, 1, &recorded, NULL) !=
	      ZE_RESULT_SUCCESS);
	OK(zeCommandListClose(recorded));
	step_args(k, x, 0, 0); /* what was appended keeps its arguments */
	OK(zeCommandQueueExecuteCommandLists(queue, 1, &recorded, NULL));
	OK(zeCommandQueueExecuteCommandLists(queue, 1, &recorded, fence));
	OK(zeFenceHostSynchronize(fence, FOREVER));
	CHECK(x[5] == (34 * 2 + 1) * 2 + 1);

	OK(zeFenceDestroy(fence));
	OK(zeCommandListDestroy(recorded));
	OK(zeCommandQueueDestroy(queue));
	OK(zeEventDestroy(e));
	OK(zeKernelDestroy(k));
	OK(zeModuleDestroy(module));
	OK(zeMemFree(context, x));
	close_device();
	nothing_lives();
}

/* Two steps without a barrier: which of them is first is anybody's guess. */
static void reordered(void)
{
	ze_event_handle_t e;
	ze_kernel_handle_t k;
	int *x;

	open_device(ZE_COMMAND_QUEUE_MODE_DEFAULT);
	e = event(0);
	x = shared(64 * 4);
	k = kernel("step");
	OK(step(k, x, 1, 3, NULL));
	OK(step(k, x, 10, 4, NULL));
	OK(barrier(e));
	OK(zeEventHostSynchronize(e, FOREVER));
	CHECK(x[0] == 4 * 1 + 3);
}

static void test_order(void **state)
{
	(void)state;
	in_child("", steps);
	in_child("ZECL_REORDER=1", steps);
	in_child("ZECL_REORDER=1", reordered);
}

static void asynchronous(void)
{
	ze_event_handle_t go, done;
	const ze_group_count_t four = { 4, 1, 1 };
	ze_kernel_timestamp_result_t t;
	ze_kernel_handle_t k;
	int *x;

	open_device(ZE_COMMAND_QUEUE_MODE_DEFAULT);
	go = event(0);
	done = event(1);
	x = shared(64 * 4);
	k = kernel("step");
	step_args(k, x, 1, 7);
	OK(zeKernelSetGroupSize(k, 16, 1, 1));
	OK(zeCommandListAppendLaunchKernel(list, k, &four, done, 1, &go));
	CHECK(zeEventHostSynchronize(done, 2000000) == ZE_RESULT_NOT_READY);
	CHECK(x[0] == 0);
	OK(zeEventHostSignal(go));
	OK(zeEventHostSynchronize(done, FOREVER));
	CHECK(x[0] == 7);
	OK(zeEventQueryKernelTimestamp(done, &t));
	CHECK(t.global.kernelStart <= UINT32_MAX && t.global.kernelEnd <= UINT32_MAX);
	CHECK((uint32_t)(t.global.kernelEnd - t.global.kernelStart) < 1000000);
	if (getenv("ZECL_WRAP"))
		CHECK(t.global.kernelStart == UINT32_MAX);
	OK(zeEventHostReset(done));
	CHECK(zeEventQueryStatus(done) == ZE_RESULT_NOT_READY);
}

static void test_events(void **state)
{
	(void)state;
	in_child("", asynchronous);
	in_child("ZECL_WRAP=1", asynchronous);
}

static void memory(void)
{
	ze_memory_allocation_properties_t p = {
		.stype = ZE_STRUCTURE_TYPE_MEMORY_ALLOCATION_PROPERTIES
	};
	const ze_host_mem_alloc_desc_t hd = { .stype = ZE_STRUCTURE_TYPE_HOST_MEM_ALLOC_DESC };
	ze_device_handle_t owner;
	void *on_host, *d, *base;
	size_t size;
	int on_stack = 5, *s, seven = 7;
	ze_event_handle_t e;

	open_device(ZE_COMMAND_QUEUE_MODE_DEFAULT);
	e = event(0);
	s = shared(100);
	OK(zeMemAllocHost(context, &hd, 100, 0, &on_host));
	OK(on_device(100, &d));
	OK(zeMemGetAllocProperties(context, s + 3, &p, &owner));
	CHECK(p.type == ZE_MEMORY_TYPE_SHARED && owner == device);
	OK(zeMemGetAllocProperties(context, on_host, &p, &owner));
	CHECK(p.type == ZE_MEMORY_TYPE_HOST && !owner);
	OK(zeMemGetAllocProperties(context, d, &p, &owner));
	CHECK(p.type == ZE_MEMORY_TYPE_DEVICE && owner == device);
	OK(zeMemGetAllocProperties(context, &on_stack, &p, &owner));
	CHECK(p.type == ZE_MEMORY_TYPE_UNKNOWN && !owner);
	OK(zeMemGetAddressRange(context, (char *)d + 40, &base, &size));
	CHECK(base == d && size == 100 && (uintptr_t)d % 64 == 0);
	CHECK(zeMemFree(context, &on_stack) != ZE_RESULT_SUCCESS);

	OK(zeCommandListAppendMemoryFill(list, d, &seven, sizeof(seven), 100, NULL, 0, NULL));
	OK(barrier(NULL));
	OK(zeCommandListAppendMemoryCopy(list, &on_stack, (char *)d + 96, 4, e, 0, NULL));
	OK(zeEventHostSynchronize(e, FOREVER));
	CHECK(on_stack == 7);
	CHECK(on_device(3000, &base) == ZE_RESULT_ERROR_UNSUPPORTED_SIZE);
	OK(on_device(2000, &base));
	CHECK(on_device(2000, &base) == ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY);
}

/* The host can't read what the device has. */
static void read_device_memory(void)
{
	void *d;
	int status;
	pid_t child;

	open_device(ZE_COMMAND_QUEUE_MODE_DEFAULT);
	OK(on_device(64, &d));
	child = fork();
	if (!child) {
		signal(SIGSEGV, SIG_DFL); /* not cmocka's, nor the runtime's */
		_exit(*(volatile char *)d);
	}
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void host_pointer(void)
{
	static int mine[64];
	ze_event_handle_t e;

	open_device(ZE_COMMAND_QUEUE_MODE_DEFAULT);
	e = event(0);
	OK(step(kernel("step"), mine, 1, 1, e));
	LOST(zeEventHostSynchronize(e, FOREVER));
}

static void long_copy(void)
{
	static char mine[200];
	ze_event_handle_t e;
	void *d;

	open_device(ZE_COMMAND_QUEUE_MODE_DEFAULT);
	e = event(0);
	OK(on_device(100, &d));
	OK(zeCommandListAppendMemoryCopy(list, d, mine, 200, e, 0, NULL));
	LOST(zeEventHostSynchronize(e, FOREVER));
}

static void test_memory(void **state)
{
	(void)state;
	in_child("ZECL_MEMORY=4000", memory);
	in_child("", read_device_memory);
	in_child("", host_pointer);
	in_child("", long_copy);
}

static ze_result_t native(const uint8_t *bytes, size_t size)
{
	const ze_module_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_MODULE_DESC,
		                        .format = ZE_MODULE_FORMAT_NATIVE,
		                        .inputSize = size,
		                        .pInputModule = bytes };
	ze_module_handle_t module;

	return zeModuleCreate(context, device, &desc, &module, NULL);
}

static void modules(void)
{
	ze_module_build_log_handle_t log;
	ze_module_handle_t module;
	const ze_kernel_desc_t absent = { .stype = ZE_STRUCTURE_TYPE_KERNEL_DESC,
		                          .pKernelName = "absent" };
	ze_kernel_properties_t p = { .stype = ZE_STRUCTURE_TYPE_KERNEL_PROPERTIES };
	ze_kernel_handle_t k;
	static char text[10000];
	static uint8_t bytes[1 << 16];
	const char *name;
	size_t size = sizeof(text);
	uint32_t one = 1;

	open_device(ZE_COMMAND_QUEUE_MODE_DEFAULT);
	CHECK(load("unknown", &module, &log) == ZE_RESULT_ERROR_MODULE_BUILD_FAILURE);
	OK(zeModuleBuildLogGetString(log, &size, text));
	CHECK(strstr(text, "kvjit_nobody_defines_this"));
	OK(zeModuleBuildLogDestroy(log));

	OK(load("gemm", &module, NULL));
	OK(zeModuleGetKernelNames(module, &one, &name));
	CHECK(one == 1 && !strcmp(name, "gemm"));
	CHECK(zeKernelCreate(module, &absent, &k) == ZE_RESULT_ERROR_INVALID_KERNEL_NAME);
	k = kernel_of(module, "gemm");
	OK(zeKernelGetProperties(k, &p));
	CHECK(p.numKernelArgs == 6 && p.requiredSubgroupSize == 16 && !p.spillMemSize);
	CHECK(zeKernelSetArgumentValue(k, 6, 4, &one) ==
	      ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_INDEX);
	CHECK(zeKernelSetArgumentValue(k, 0, 4, &one) ==
	      ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_SIZE);
	CHECK(zeKernelSetGroupSize(k, 2048, 1, 1) ==
	      ZE_RESULT_ERROR_INVALID_GROUP_SIZE_DIMENSION);

	OK(zeModuleGetNativeBinary(module, &size, NULL));
	OK(zeModuleGetNativeBinary(module, &size, bytes));
	OK(native(bytes, size));
	bytes[8] ^= 1; /* of another product */
	CHECK(native(bytes, size) == ZE_RESULT_ERROR_INVALID_NATIVE_BINARY);
	bytes[0] ^= 1; /* of a real compiler */
	CHECK(native(bytes, size) == ZE_RESULT_ERROR_INVALID_NATIVE_BINARY);
	CHECK(native(bytes, 4) == ZE_RESULT_ERROR_INVALID_NATIVE_BINARY);
}

static void test_modules(void **state)
{
	(void)state;
	in_child("", modules);
}

static void properties(void)
{
	ze_device_properties_t p = { .stype = ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES };
	ze_device_compute_properties_t c = { .stype =
		                                 ZE_STRUCTURE_TYPE_DEVICE_COMPUTE_PROPERTIES };
	uint64_t ns;

	open_device(ZE_COMMAND_QUEUE_MODE_DEFAULT);
	OK(zeDeviceGetProperties(device, &p));
	OK(zeDeviceGetComputeProperties(device, &c));
	ns = p.timerResolution;
	p.stype = ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES_1_2;
	OK(zeDeviceGetProperties(device, &p));
	CHECK(p.timerResolution == 1000000000u / ns);
	printf("%s: id %04x, %u x %u x %u EUs, %u B of SLM, sub-groups %u and %u\n", p.name,
	       p.deviceId, p.numSlices, p.numSubslicesPerSlice, p.numEUsPerSubslice,
	       c.maxSharedLocalMemory, c.subGroupSizes[0], c.subGroupSizes[1]);
	CHECK(p.type == ZE_DEVICE_TYPE_GPU && c.maxSharedLocalMemory >= 65536);
	CHECK(strstr(p.name, getenv("NAMED")));
}

static void no_device(void)
{
	CHECK(zeInit(0) == ZE_RESULT_ERROR_UNINITIALIZED);
}

static void test_products_named(void **state)
{
	(void)state;
	in_child("ZECL_PRODUCT=pvc NAMED=1550", properties);
	in_child("ZECL_PRODUCT=dg2 NAMED=A770", properties);
	in_child("ZECL_PRODUCT=bmg NAMED=B580", properties);
	in_child("ZECL_PRODUCT=gen9", no_device);
}

static void fault_memory(void)
{
	void *p;

	open_device(ZE_COMMAND_QUEUE_MODE_DEFAULT);
	OK(on_device(64, &p));
	CHECK(on_device(64, &p) == ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY);
	OK(on_device(64, &p));
}

static void fault_build(void)
{
	ze_module_handle_t module;

	open_device(ZE_COMMAND_QUEUE_MODE_DEFAULT);
	CHECK(load("step", &module, NULL) == ZE_RESULT_ERROR_MODULE_BUILD_FAILURE);
	OK(load("step", &module, NULL));
}

static void fault_spirv(void)
{
	ze_module_handle_t module;
	ze_device_module_properties_t p = { .stype =
		                                ZE_STRUCTURE_TYPE_DEVICE_MODULE_PROPERTIES };

	open_device(ZE_COMMAND_QUEUE_MODE_DEFAULT);
	OK(zeDeviceGetModuleProperties(device, &p));
	CHECK(p.spirvVersionSupported == ZE_MAKE_VERSION(1, 1));
	CHECK(load("gemm", &module, NULL) == ZE_RESULT_ERROR_MODULE_BUILD_FAILURE);
}

static void fault_launch(void)
{
	ze_event_handle_t e;
	ze_kernel_handle_t k;
	void *p;
	int *x;

	open_device(ZE_COMMAND_QUEUE_MODE_DEFAULT);
	e = event(0);
	x = shared(64 * 4);
	k = kernel("step");
	OK(step(k, x, 1, 1, e));
	OK(zeEventHostSynchronize(e, FOREVER));
	OK(zeEventHostReset(e));
	OK(step(k, x, 1, 1, e));
	LOST(zeEventHostSynchronize(e, FOREVER));
	LOST(step(k, x, 1, 1, e));
	LOST(on_device(64, &p));
	LOST(zeDeviceGetStatus(device));
	OK(zeMemFree(context, x)); /* what is left can still be given back */
	OK(zeEventDestroy(e));
	close_device();
}

static void test_faults(void **state)
{
	(void)state;
	in_child("ZECL_FAULT=init:1", no_device);
	in_child("ZECL_FAULT=nonsense:1", no_device);
	in_child("ZECL_FAULT=memory", no_device);
	in_child("ZECL_FAULT=memory:2", fault_memory);
	in_child("ZECL_FAULT=build:1,launch:9", fault_build);
	in_child("ZECL_FAULT=spirv:1", fault_spirv);
	in_child("ZECL_FAULT=launch:2", fault_launch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_products),       cmocka_unit_test(test_surface_rules),
		cmocka_unit_test(test_order),          cmocka_unit_test(test_events),
		cmocka_unit_test(test_memory),         cmocka_unit_test(test_modules),
		cmocka_unit_test(test_products_named), cmocka_unit_test(test_faults),
	};

	if (!ze_has_runtime())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
