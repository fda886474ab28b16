/* SPDX-License-Identifier: Apache-2.0 */
/* test_runtime.c -- kvjit's runtime of devices (backends/device.h) on the driver of this
 * folder: phases in order whatever the driver reorders, its clock, and each fault a device can
 * have: the right kind, a sentence that says what, nothing left behind, and the host goes on.
 *
 * A hand-written kernel takes the place of a backend's, so that this runs under a sanitizer.
 * Each test is a child, as a process has one driver and reads its environment once.
 */
#include "skip.h"
#include "../../backends/device.h"
#include "zecl.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__)
int __lsan_do_recoverable_leak_check(void);
#else
static int __lsan_do_recoverable_leak_check(void)
{
	return 0;
}
#endif

#define CHECK(condition)                                                                \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			_exit(1);                                                       \
		}                                                                       \
	} while (0)

enum { ROWS = 5, N = ROWS * 16 };

static const kbe_runtime *runtime;
static kbe_fault fault;

/* -- running it ------------------------------------------------------------------------- */

static void load_runtime(void)
{
	char path[512];
	kbe_runtime_get get;
	void *so, *symbol;

	snprintf(path, sizeof(path), "%s/libkvjit-ze.so", getenv("KVJIT_BACKEND_DIR"));
	so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	CHECK(so);
	symbol = dlsym(so, "kvjit_runtime");
	CHECK(symbol);
	memcpy(&get, &symbol, sizeof(get));
	runtime = get();
}

static uint8_t *spirv_of(const char *name, size_t *size)
{
	static uint8_t bytes[1 << 16];
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s.spv", getenv("ZECL_SPIRV"), name);
	file = fopen(path, "rb");
	CHECK(file);
	*size = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	return bytes;
}

/* Everything in order until something fails: what failed, NULL if nothing did. x: ROWS rows of
 * 16 that are 1 each and get three phases, twice. */
static const char *run(const char *kernel, bool timed, int32_t x[N], double *seconds)
{
	const kir_target *target = kir_target_find("xe-pvc");
	const kbe_choice choice = { NULL, target, NULL, NULL };
	const int64_t count[3] = { ROWS, ROWS, ROWS };
	const int32_t factor = 10;
	const uint8_t bytes[2] = { 8, 4 };
	kbe_device_info info;
	kbe_device *d = runtime->open(&choice, &info, &fault);
	kbe_queue *q = NULL;
	kbe_module *m = NULL;
	void *p = NULL;
	const void *value[2] = { &p, &factor };
	kbe_launch launch[2] = { { NULL, value, bytes, 2, count, 3 } };
	unsigned together = timed ? 2 : 1; /* both are one call, and its time is that of both */
	const char *failed = d ? NULL : "open";
	size_t size;
	uint8_t *spirv = spirv_of(kernel, &size);

	for (int i = 0; i < N; i++)
		x[i] = 1;
	if (d && !(q = runtime->queue(d, NULL, timed, &fault)))
		failed = "queue";
	if (q && !(m = runtime->module(d, spirv, size, &fault)))
		failed = "module";
	if (m && !(p = runtime->alloc(d, KBE_MEMORY_device, sizeof(int32_t) * N, &fault)))
		failed = "alloc";
	if (p && !runtime->copy(q, p, x, sizeof(int32_t) * N, &fault))
		failed = "copy";
	launch[0].module = m;
	launch[1] = launch[0];
	for (unsigned i = 0; i < 2 && p && !failed; i += together)
		if (!runtime->launch(q, launch, together, &fault))
			failed = "launch";
	if (p && !failed && seconds && !runtime->seconds(q, seconds, &fault))
		failed = "seconds";
	if (p && !failed && !runtime->copy(q, x, p, sizeof(int32_t) * N, &fault))
		failed = "copy back";
	if (p && !failed && !runtime->wait(q, &fault))
		failed = "wait";
	if (q)
		runtime->queue_free(q);
	if (p)
		runtime->free(d, p);
	if (m)
		runtime->module_free(m);
	if (d)
		runtime->close(d);
	return failed;
}

/* Of the objects of Level Zero that kvjit made; its driver says. */
static void nothing_lives(void)
{
	static const char *const kinds[ZECL_KINDS] = {
		"contexts",    "allocations", "modules", "build logs", "kernels",
		"event pools", "events",      "fences",  "queues",     "lists"
	};
	zecl_live_fn *live;
	ze_driver_handle_t driver;
	uint32_t one = 1, n[ZECL_KINDS];
	bool left = false;
	void *address;

	CHECK(zeDriverGet(&one, &driver) == ZE_RESULT_SUCCESS);
	CHECK(!zeDriverGetExtensionFunctionAddress(driver, "zecl_live", &address));
	memcpy(&live, &address, sizeof(live));
	live(n);
	for (int i = 0; i < ZECL_KINDS; i++)
		if (n[i]) {
			fprintf(stderr, "%u %s were left behind\n", n[i], kinds[i]);
			left = true;
		}
	CHECK(!left);
	CHECK(!__lsan_do_recoverable_leak_check());
}

/* -- children --------------------------------------------------------------------------- */

typedef struct fault_row {
	const char *environment, *kernel, *where; /* NULL: whichever call notices first */
	kbe_fault_kind kind;
	const char *sentence;
} fault_row;

static void in_child(const char *environment, void (*scenario)(const void *), const void *of)
{
	char text[256], *rest = text, *one;
	int status;
	pid_t child = fork();

	if (!child) {
		snprintf(text, sizeof(text), "%s", environment);
		while ((one = strsep(&rest, " ")))
			if (*one)
				putenv(one);
		load_runtime();
		scenario(of);
		fflush(stdout);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("%s: status %#x", environment, (unsigned)status);
}

static void right(const void *timed)
{
	static int32_t x[N];
	double seconds = -1;
	const char *failed = run("entry", timed != NULL, x, timed ? &seconds : NULL);

	if (failed)
		fprintf(stderr, "%s: %s\n", failed, fault.text);
	CHECK(!failed);
	for (int i = 0; i < N; i++) /* 1: 11, 112, 1123; and again */
		CHECK(x[i] == 1123123);
	if (timed)
		CHECK(seconds > 0 && seconds < 60);
	nothing_lives();
}

static void wrong(const void *of)
{
	const fault_row *row = of;
	static int32_t x[N];
	const char *failed = run(row->kernel, false, x, NULL);

	if (!failed || (row->where && strcmp(failed, row->where)) || fault.kind != row->kind ||
	    !strstr(fault.text, row->sentence)) {
		fprintf(stderr, "%s: fails in %s, kind %d: %s\n", row->environment,
		        failed ? failed : "nothing", fault.kind, failed ? fault.text : "");
		_exit(1);
	}
	printf("    %s: %.70s\n", row->environment, fault.text);
	if (row->kind != KBE_NO_DEVICE)
		nothing_lives();
	/* The host goes on: a fault that happens once is over, a lost device stays lost. */
	failed = run("entry", false, x, NULL);
	if (row->kind == KBE_NO_DEVICE || row->kind == KBE_LOST ||
	    strstr(row->environment, "spirv"))
		CHECK(failed && strlen(fault.text) > 20);
	else
		CHECK(!failed && x[0] == 1123123);
}

/* A native binary is the driver's own: made for this device it runs, for another it is refused,
 * and one of Intel's compiler as well. */
static void native(const void *unused)
{
	const kir_target *target = kir_target_find("xe-pvc");
	const kbe_choice choice = { NULL, target, NULL, NULL };
	kbe_device_info info;
	kbe_device *d = runtime->open(&choice, &info, &fault);
	size_t size;
	uint8_t *spirv = spirv_of("entry", &size), *bytes = calloc(1, size + 32);
	kbe_module *m;

	(void)unused;
	CHECK(d && bytes);
	memcpy(bytes, "zecl-nb\0pvc", 12);
	memcpy(bytes + 32, spirv, size);
	m = runtime->module(d, bytes, size + 32, &fault);
	CHECK(m);
	runtime->module_free(m);
	memcpy(bytes + 8, "dg2", 3);
	CHECK(!runtime->module(d, bytes, size + 32, &fault));
	CHECK(fault.kind == KBE_UNABLE && strstr(fault.text, "INVALID_NATIVE_BINARY"));
	CHECK(strstr(fault.text, "made for another device"));
	memcpy(bytes, "\177ELF\2\1\1\0", 8);
	CHECK(!runtime->module(d, bytes, size + 32, &fault));
	CHECK(fault.kind == KBE_UNABLE && strstr(fault.text, "INVALID_NATIVE_BINARY"));
	free(bytes);
	runtime->close(d);
	nothing_lives();
}

static void test_right(void **state)
{
	(void)state;
	in_child("", right, NULL);
	in_child("ZECL_REORDER=1", right, NULL);
	in_child("ZE_ENABLE_VALIDATION_LAYER=1 ZE_ENABLE_PARAMETER_VALIDATION=1", right, NULL);
}

static void test_clock(void **state)
{
	(void)state;
	in_child("", right, "timed");
	in_child("ZECL_WRAP=1", right, "timed");
	in_child("ZECL_PRODUCT=bmg ZECL_WRAP=1 ZECL_REORDER=1", right, "timed");
}

static void test_faults(void **state)
{
	static const fault_row rows[] = {
		{ "ZE_ENABLE_ALT_DRIVERS=/nowhere.so", "entry", "open", KBE_NO_DEVICE,
		  "driver" },
		{ "ZECL_FAULT=init:1", "entry", "open", KBE_NO_DEVICE, "UNINITIALIZED" },
		{ "ZECL_FAULT=memory:1", "entry", "alloc", KBE_NO_ROOM,
		  "OUT_OF_DEVICE_MEMORY" },
		{ "ZECL_FAULT=build:1", "entry", "module", KBE_UNABLE,
		  "a fault that was asked for" },
		{ "", "unknown", "module", KBE_UNABLE, "kvjit_nobody_defines_this" },
		{ "ZECL_FAULT=spirv:1", "entry", "module", KBE_UNABLE, "takes up to 1.1" },
		{ "ZECL_FAULT=kernel:1", "entry", "module", KBE_BUG, "INVALID_KERNEL_NAME" },
		{ "ZECL_FAULT=copy:1", "entry", NULL, KBE_LOST, "DEVICE_LOST" },
		{ "ZECL_FAULT=launch:1", "entry", NULL, KBE_LOST, "DEVICE_LOST" },
		{ "ZECL_FAULT=launch:4", "entry", NULL, KBE_LOST, "DEVICE_LOST" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		in_child(rows[i].environment, wrong, &rows[i]);
}

static void test_native(void **state)
{
	(void)state;
	in_child("ZECL_PRODUCT=pvc", native, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_right),
		cmocka_unit_test(test_clock),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_native),
	};

	if (!ze_has_runtime())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
