/* SPDX-License-Identifier: Apache-2.0 */
/* test_device.c -- devices that aren't there, and what is refused without one. Each refusal is
 * a status and a sentence, and the host goes on.
 *
 * A path that is no driver makes the loader find none, whatever this machine has. */
#include "support_api.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char gpu_problem[] =
    "quant in=f32 to=int8/token-head heads=2 dim=32 target=xe-pvc";

static int no_driver(void **state)
{
	(void)state;
	return setenv("ZE_ENABLE_ALT_DRIVERS", "/nowhere/libze_none.so", 1);
}

static kvjit_status open_target(const char *target, const char *backend, kvjit **kv)
{
	kvjit_options o = { .size = sizeof(o), .target = target, .backend = backend };

	return kvjit_open(&o, kv);
}

/* Without Level Zero's headers there is no runtime; without its loader or a driver, no device.
 */
static void assert_none(const char *sentence)
{
	if (!strstr(sentence, "no Level Zero device: "))
		assert_says(sentence, "runtime 'ze' can't be loaded|libkvjit-ze.so");
}

static void test_no_device_is_a_sentence(void **state)
{
	static const char *const targets[] = { "xe", "xe-pvc", "xe-dg2" };
	kvjit *kv = NULL;

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(open_target(targets[i], NULL, &kv), KVJIT_NO_BACKEND);
		assert_null(kv);
		assert_none(kvjit_open_error());
	}
}

static void test_info_says_why_there_is_none(void **state)
{
	kvjit *kv = open_with("ref", "generic");
	char *text = kvjit_info(kv);

	(void)state;
	assert_says(text, "device   ");
	assert_none(strstr(text, "\ndevice   "));
	free(text);
	kvjit_close(kv);
}

/* The interpreter runs a GPU's programs anywhere. */
static void test_interpreter_needs_no_device(void **state)
{
	kvjit *kv = NULL;
	kvjit_kernel *k;

	(void)state;
	assert_int_equal(open_target("xe-pvc", "ref", &kv), KVJIT_OK);
	assert_null(kvjit_device_name(kv));
	k = compile(kv, "quant in=f32 to=int8/token-head heads=2 dim=32", NULL);
	assert_string_equal(kvjit_kernel_target(k), "xe-pvc");
	kvjit_release(k);
	kvjit_close(kv);
	kv = NULL;
	assert_int_equal(open_target("xe", "ref", &kv), KVJIT_UNSUPPORTED);
	assert_says(kvjit_open_error(), "'xe'");
}

static void test_processor_backends_refuse_devices(void **state)
{
	kvjit *kv = NULL;

	(void)state;
	assert_int_equal(open_target("xe-pvc", "x86", &kv), KVJIT_UNSUPPORTED);
	assert_says(kvjit_open_error(), "'x86'|'xe-pvc'|spirv");
	assert_int_equal(open_target("xe-pvc", "c", &kv), KVJIT_UNSUPPORTED);
	assert_null(kv);
}

static void test_handles_come_in_pairs(void **state)
{
	kvjit_options o = { .size = sizeof(o), .target = "xe", .device_context = &o };
	kvjit *kv = NULL;

	(void)state;
	assert_int_equal(kvjit_open(&o, &kv), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_open_error(), "device_context|device_handle");
	assert_null(kv);
}

/* A problem may name a target; that one is a device's is said, not run elsewhere. */
static void test_a_device_is_opened_not_named(void **state)
{
	kvjit *kv = open_with("c", "generic");
	kvjit_kernel *k = NULL;

	(void)state;
	assert_int_equal(kvjit_compile(kv, gpu_problem, NULL, &k), KVJIT_UNSUPPORTED);
	assert_says(kvjit_error(kv), "xe-pvc|device|options.target");
	kvjit_close(kv);
}

static void test_memory_and_queues_want_a_device(void **state)
{
	kvjit *kv = open_with("ref", "generic");
	kvjit_queue *q = NULL;
	void *p = NULL;
	char byte = 0;

	(void)state;
	assert_int_equal(kvjit_device_alloc(kv, KVJIT_MEMORY_DEVICE, 64, &p),
	                 KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_error(kv), "no device|generic");
	assert_int_equal(kvjit_device_copy(kv, &byte, &byte, 1), KVJIT_BAD_ARGUMENT);
	assert_int_equal(kvjit_queue_new(kv, NULL, &q), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_error(kv), "no device|generic");
	assert_null(q);
	kvjit_device_free(kv, NULL);
	kvjit_queue_free(NULL);
	assert_int_equal(kvjit_device_alloc(NULL, KVJIT_MEMORY_DEVICE, 64, &p),
	                 KVJIT_BAD_ARGUMENT);
	assert_int_equal(kvjit_queue_new(NULL, NULL, &q), KVJIT_BAD_ARGUMENT);
	assert_int_equal(kvjit_queue_wait(NULL), KVJIT_BAD_ARGUMENT);
	assert_int_equal(kvjit_queue_call(NULL, NULL, NULL, NULL, 0, NULL), KVJIT_BAD_ARGUMENT);
	assert_string_equal(kvjit_queue_error(NULL),
	                    "kvjit_queue_call: q is NULL; kvjit_queue_new makes one");
	assert_null(kvjit_device_name(NULL));
	assert_string_equal(kvjit_status_name(KVJIT_DEVICE_LOST), "device lost");
	kvjit_close(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_device_is_a_sentence),
		cmocka_unit_test(test_info_says_why_there_is_none),
		cmocka_unit_test(test_interpreter_needs_no_device),
		cmocka_unit_test(test_processor_backends_refuse_devices),
		cmocka_unit_test(test_handles_come_in_pairs),
		cmocka_unit_test(test_a_device_is_opened_not_named),
		cmocka_unit_test(test_memory_and_queues_want_a_device),
	};

	return cmocka_run_group_tests(tests, no_driver, NULL);
}
