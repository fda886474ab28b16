/* SPDX-License-Identifier: Apache-2.0 */
/* test_api.c -- devices through kvjit.h, on the test driver: calls, queues, the host's own
 * handles, and what is refused. Skipped, with a sentence, where there is no backend for SPIR-V
 * or no driver.
 */
#include "../support_api.h"
#include "zecl.h"

#include <level_zero/ze_api.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 37, COLUMNS = 16, ELEMENTS = ROWS * COLUMNS, BYTES = ELEMENTS * 4 };

/* y = a * x, row by row. */
static const char scale[] = "func @scale(%x: in f32[?,16 | 0:$0, 1:4],\n"
                            "            %y: out f32[?,16 | 0:$0, 1:4], %a: f32, %n: s64)\n"
                            "     level=V target=xe-dg2 {\n"
                            "  for %i = 0 to %n par {\n"
                            "    %v = vload %x[%i,0] : f32<16>\n"
                            "    %w = mul %v, %a : f32<16>\n"
                            "    vstore %w, %y[%i,0]\n"
                            "    yield\n"
                            "  }\n"
                            "  ret\n"
                            "}\n";

/* Two phases: the second reads what the first wrote, in other rows. */
static const char turn[] = "func @turn(%x: in f32[?,16 | 0:$0, 1:4],\n"
                           "           %t: inout f32[?,16 | 0:$0, 1:4],\n"
                           "           %y: out f32[?,16 | 0:$0, 1:4], %n: s64)\n"
                           "     level=V target=xe-dg2 {\n"
                           "  for %i = 0 to %n par {\n"
                           "    %v = vload %x[%i,0] : f32<16>\n"
                           "    %w = add %v, 1.0 : f32<16>\n"
                           "    vstore %w, %t[%i,0]\n"
                           "    yield\n"
                           "  }\n"
                           "  for %i = 0 to %n par {\n"
                           "    %m = sub %n, %i : s64\n"
                           "    %r = sub %m, 1 : s64\n"
                           "    %v = vload %t[%r,0] : f32<16>\n"
                           "    vstore %v, %y[%i,0]\n"
                           "    yield\n"
                           "  }\n"
                           "  ret\n"
                           "}\n";

/* -- what the tests share ------------------------------------------------------------------ */

static kvjit_status open_xe(kvjit_options o, kvjit **kv)
{
	o.size = sizeof(o);
	o.target = o.target ? o.target : "xe";
	return kvjit_open(&o, kv);
}

static kvjit *open_any(void)
{
	kvjit *kv = NULL;

	if (open_xe((kvjit_options){ 0 }, &kv) != KVJIT_OK)
		fail_msg("%s", kvjit_open_error());
	return kv;
}

static float *device_floats(kvjit *kv, kvjit_memory kind, const float *from)
{
	void *p = NULL;

	if (kvjit_device_alloc(kv, kind, BYTES, &p) != KVJIT_OK ||
	    (from && kvjit_device_copy(kv, p, from, BYTES) != KVJIT_OK))
		fail_msg("%s", kvjit_error(kv));
	return p;
}

static void fill(float *x)
{
	for (int i = 0; i < ELEMENTS; i++)
		x[i] = (float)(i % 251) - 100;
}

static kvjit_arg tensor(const char *name, float *data)
{
	return (kvjit_arg){ .name = name,
		            .data = data,
		            .dtype = KVJIT_F32,
		            .rank = 2,
		            .shape = { ROWS, COLUMNS } };
}

static void scale_args(kvjit_arg a[4], float *x, float *y, double factor)
{
	a[0] = tensor("x", x);
	a[1] = tensor("y", y);
	a[2] = (kvjit_arg){ .name = "a", .f = factor };
	a[3] = (kvjit_arg){ .name = "n", .i = ROWS };
}

static void assert_scaled(kvjit *kv, const float *on_device, const float *x, float factor)
{
	static float y[ELEMENTS];

	assert_int_equal(kvjit_device_copy(kv, y, on_device, BYTES), KVJIT_OK);
	for (int i = 0; i < ELEMENTS; i++)
		assert_true(y[i] == x[i] * factor);
}

/* -- calls --------------------------------------------------------------------------------- */

static void test_call(void **state)
{
	static const kvjit_memory kinds[] = { KVJIT_MEMORY_DEVICE, KVJIT_MEMORY_SHARED,
		                              KVJIT_MEMORY_HOST };
	static float x[ELEMENTS];
	kvjit *kv = open_any();
	kvjit_kernel *k = compile(kv, scale, NULL);
	kvjit_arg a[4];

	(void)state;
	fill(x);
	assert_non_null(kvjit_device_name(kv));
	assert_null(kvjit_entry(k));
	for (int i = 0; i < 3; i++) {
		float *in = device_floats(kv, kinds[i], x);
		float *out = device_floats(kv, kinds[i], NULL);

		scale_args(a, in, out, 3);
		if (kvjit_call(k, NULL, a, 4, NULL) != KVJIT_OK)
			fail_msg("%s", kvjit_kernel_error(k));
		assert_scaled(kv, out, x, 3);
		a[3].i = 0; /* no iterations: nothing is launched */
		assert_int_equal(kvjit_call(k, NULL, a, 4, NULL), KVJIT_OK);
		kvjit_device_free(kv, in);
		kvjit_device_free(kv, out);
	}
	kvjit_release(k);
	kvjit_close(kv);
}

static void test_phases_are_in_order(void **state)
{
	static float x[ELEMENTS], y[ELEMENTS];
	kvjit *kv = open_any();
	kvjit_kernel *k = compile(kv, turn, NULL);
	float *in, *out, *between;
	kvjit_arg a[4];

	(void)state;
	fill(x);
	in = device_floats(kv, KVJIT_MEMORY_DEVICE, x);
	out = device_floats(kv, KVJIT_MEMORY_DEVICE, NULL);
	between = device_floats(kv, KVJIT_MEMORY_DEVICE, NULL);
	a[0] = tensor("x", in);
	a[1] = tensor("t", between);
	a[2] = tensor("y", out);
	a[3] = (kvjit_arg){ .name = "n", .i = ROWS };
	assert_int_equal(kvjit_call(k, NULL, a, 4, NULL), KVJIT_OK);
	assert_int_equal(kvjit_device_copy(kv, y, out, BYTES), KVJIT_OK);
	for (int i = 0; i < ROWS; i++)
		for (int j = 0; j < COLUMNS; j++)
			assert_true(y[i * COLUMNS + j] == x[(ROWS - 1 - i) * COLUMNS + j] + 1);
	kvjit_device_free(kv, in);
	kvjit_device_free(kv, out);
	kvjit_device_free(kv, between);
	kvjit_release(k);
	kvjit_close(kv);
}

/* One kernel, one device, several threads: each gets what its own arguments say. */
typedef struct caller {
	pthread_t thread;
	kvjit *kv;
	kvjit_kernel *k;
	float *in, *out, factor;
	bool ok;
} caller;

static void *call_often(void *ctx)
{
	caller *c = ctx;
	float first = 0;
	kvjit_arg a[4];

	c->ok = true;
	for (int i = 0; i < 20 && c->ok; i++) {
		scale_args(a, c->in, c->out, c->factor + (float)i);
		c->ok = kvjit_call(c->k, NULL, a, 4, NULL) == KVJIT_OK &&
		        kvjit_device_copy(c->kv, &first, c->out, sizeof(first)) == KVJIT_OK &&
		        first == -100 * (c->factor + (float)i);
	}
	return NULL;
}

static void test_threads(void **state)
{
	enum { THREADS = 4 };
	static float x[ELEMENTS];
	kvjit *kv = open_any();
	kvjit_kernel *k = compile(kv, scale, NULL);
	caller c[THREADS];

	(void)state;
	fill(x);
	for (int i = 0; i < THREADS; i++) {
		c[i] = (caller){ .kv = kv, .k = k, .factor = (float)(100 * i + 1) };
		c[i].in = device_floats(kv, KVJIT_MEMORY_DEVICE, x);
		c[i].out = device_floats(kv, KVJIT_MEMORY_DEVICE, NULL);
		assert_int_equal(pthread_create(&c[i].thread, NULL, call_often, &c[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(c[i].thread, NULL);
		assert_true(c[i].ok);
		kvjit_device_free(kv, c[i].in);
		kvjit_device_free(kv, c[i].out);
	}
	kvjit_release(k);
	kvjit_close(kv);
}

/* The next process finds the SPIR-V and has only the driver compile it. */
static void test_code_from_a_cache(void **state)
{
	const char *tmp = getenv("KVJIT_TMP");
	char folder[300], command[320];
	static float x[ELEMENTS];
	kvjit_options o = { .cache = folder };

	(void)state;
	snprintf(folder, sizeof(folder), "%s/ze-cache.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(folder));
	fill(x);
	for (int i = 0; i < 2; i++) {
		kvjit *kv = NULL;
		kvjit_kernel *k;
		float *in, *out;
		kvjit_arg a[4];

		assert_int_equal(open_xe(o, &kv), KVJIT_OK);
		k = compile(kv, scale, NULL);
		assert_says(kvjit_kernel_origin(k), i ? "cache " : "compiled");
		in = device_floats(kv, KVJIT_MEMORY_DEVICE, x);
		out = device_floats(kv, KVJIT_MEMORY_DEVICE, NULL);
		scale_args(a, in, out, 5);
		assert_int_equal(kvjit_call(k, NULL, a, 4, NULL), KVJIT_OK);
		assert_scaled(kv, out, x, 5);
		kvjit_device_free(kv, in);
		kvjit_device_free(kv, out);
		kvjit_release(k);
		kvjit_close(kv);
	}
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	assert_int_equal(system(command), 0);
}

/* -- queues -------------------------------------------------------------------------------- */

/* copy in, y = 2 x, z = 4 y, copy out: nobody waits in between. */
static void run_on(kvjit *kv, kvjit_queue *q, kvjit_kernel *k)
{
	static float x[ELEMENTS], z[ELEMENTS];
	float *there[3];
	kvjit_arg a[4];

	fill(x);
	memset(z, 0, sizeof(z));
	for (int i = 0; i < 3; i++)
		there[i] = device_floats(kv, KVJIT_MEMORY_DEVICE, NULL);
	assert_int_equal(kvjit_queue_copy(q, there[0], x, BYTES), KVJIT_OK);
	scale_args(a, there[0], there[1], 2);
	if (kvjit_queue_call(q, k, NULL, a, 4, NULL) != KVJIT_OK)
		fail_msg("%s", kvjit_queue_error(q));
	scale_args(a, there[1], there[2], 4);
	assert_int_equal(kvjit_queue_call(q, k, NULL, a, 4, NULL), KVJIT_OK);
	assert_int_equal(kvjit_queue_copy(q, z, there[2], BYTES), KVJIT_OK);
	assert_int_equal(kvjit_queue_wait(q), KVJIT_OK);
	for (int i = 0; i < ELEMENTS; i++)
		assert_true(z[i] == 8 * x[i]);
	for (int i = 0; i < 3; i++)
		kvjit_device_free(kv, there[i]);
}

static void test_queue(void **state)
{
	kvjit_queue_options o = { .size = sizeof(o), .timed = 1 };
	kvjit *kv = open_any();
	kvjit_kernel *k = compile(kv, scale, NULL);
	kvjit_queue *q = NULL, *timed = NULL;
	double seconds = -1;

	(void)state;
	assert_int_equal(kvjit_queue_new(kv, NULL, &q), KVJIT_OK);
	run_on(kv, q, k);
	assert_int_equal(kvjit_queue_seconds(q, &seconds), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_queue_error(q), "takes no times");
	assert_int_equal(kvjit_queue_new(kv, &o, &timed), KVJIT_OK);
	run_on(kv, timed, k);
	assert_int_equal(kvjit_queue_seconds(timed, &seconds), KVJIT_OK);
	assert_true(seconds > 0 && seconds < 10);
	o.size = 3;
	assert_int_equal(kvjit_queue_new(kv, &o, &q), KVJIT_BAD_ARGUMENT);
	kvjit_queue_free(q);
	kvjit_queue_free(timed);
	kvjit_release(k);
	kvjit_close(kv);
}

/* Kernel and queue keep the device when its context is closed. */
static void test_outlives_its_context(void **state)
{
	kvjit *kv = open_any(), *other;
	kvjit_kernel *k = compile(kv, scale, NULL);
	kvjit_queue *q = NULL;
	kvjit_arg a[4];

	(void)state;
	assert_int_equal(kvjit_queue_new(kv, NULL, &q), KVJIT_OK);
	kvjit_close(kv);
	scale_args(a, NULL, NULL, 2);
	a[0].shape[0] = a[1].shape[0] = a[3].i = 0;
	assert_int_equal(kvjit_queue_call(q, k, NULL, a, 4, NULL), KVJIT_OK);
	assert_int_equal(kvjit_queue_wait(q), KVJIT_OK);
	kvjit_release(k);
	other = open_any();
	k = compile(other, scale, NULL);
	assert_int_equal(kvjit_queue_call(q, k, NULL, a, 4, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_queue_error(q), "this queue's device");
	kvjit_release(k);
	kvjit_close(other);
	kvjit_queue_free(q);
}

/* -- the host's own handles ---------------------------------------------------------------- */

static void test_hosts_own_handles(void **state)
{
	ze_context_desc_t context_desc = { .stype = ZE_STRUCTURE_TYPE_CONTEXT_DESC };
	ze_command_queue_desc_t list_desc = { .stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_DESC };
	kvjit_options o = { 0 };
	kvjit_queue_options qo = { .size = sizeof(qo) };
	ze_driver_handle_t driver;
	ze_device_handle_t device;
	ze_context_handle_t context;
	ze_command_list_handle_t list;
	uint32_t one = 1;
	kvjit *kv = NULL;
	kvjit_kernel *k;
	kvjit_queue *q = NULL;

	(void)state;
	assert_int_equal(zeInit(0), 0);
	assert_int_equal(zeDriverGet(&one, &driver), 0);
	assert_int_equal(zeDeviceGet(driver, &one, &device), 0);
	assert_int_equal(zeContextCreate(driver, &context_desc, &context), 0);
	assert_int_equal(zeCommandListCreateImmediate(context, device, &list_desc, &list), 0);
	o.device_context = context;
	o.device_handle = device;
	assert_int_equal(open_xe(o, &kv), KVJIT_OK);
	qo.list = list;
	assert_int_equal(kvjit_queue_new(kv, &qo, &q), KVJIT_OK);
	k = compile(kv, scale, NULL);
	run_on(kv, q, k);
	kvjit_queue_free(q);
	kvjit_release(k);
	kvjit_close(kv);
	assert_int_equal(zeCommandListDestroy(list), 0);
	assert_int_equal(zeContextDestroy(context), 0);
}

/* -- what is refused ----------------------------------------------------------------------- */

static void test_wrong_memory_is_named(void **state)
{
	static float x[ELEMENTS];
	kvjit *kv = open_any();
	kvjit_kernel *k = compile(kv, scale, NULL);
	float *in = device_floats(kv, KVJIT_MEMORY_DEVICE, x);
	kvjit_arg a[4];

	(void)state;
	scale_args(a, in, x, 2);
	assert_int_equal(kvjit_call(k, NULL, a, 4, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(k), "argument 'y'|ordinary memory|kvjit_device_alloc");
	scale_args(a, in, in + COLUMNS, 2);
	assert_int_equal(kvjit_call(k, NULL, a, 4, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(k), "argument 'y' reaches|allocation ends");
	kvjit_device_free(kv, in);
	kvjit_release(k);
	kvjit_close(kv);
}

/* Copies 16 bytes of argument x, whose type is given, from index [0...] on. */
static kvjit_kernel *compile_first(kvjit *kv, const char *type, const char *index)
{
	char text[400];

	snprintf(text, sizeof(text),
	         "func @first(%%x: in %s, %%y: out u8[16], %%n: s64)\n"
	         "     level=V target=xe-dg2 {\n"
	         "  for %%i = 0 to %%n par {\n"
	         "    %%v = vload %%x[%%i,%s] : u8<16>\n"
	         "    vstore %%v, %%y[0]\n"
	         "    yield\n"
	         "  }\n"
	         "  ret\n"
	         "}\n",
	         type, index);
	return compile(kv, text, NULL);
}

/* A cache whose pages are records is read in blocks of 64 bytes. */
static void test_records_begin_at_blocks(void **state)
{
	static float x[ELEMENTS];
	kvjit *kv = open_any();
	kvjit_kernel *k = compile_first(kv, "u8[?,64 | 0:$0, 1:1]", "0");
	float *in = device_floats(kv, KVJIT_MEMORY_DEVICE, x);
	kvjit_arg a[3] = { { .name = "x",
		             .data = in,
		             .rank = 2,
		             .shape = { 2, 64 },
		             .nstride = 1,
		             .stride = { 64 } },
		           { .name = "y", .data = (char *)in + 256 },
		           { .name = "n", .i = 1 } };

	(void)state;
	if (kvjit_call(k, NULL, a, 3, NULL) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	a[0].stride[0] = 80;
	assert_int_equal(kvjit_call(k, NULL, a, 3, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(k), "argument 'x'|on a device|multiple of 64");
	a[0].stride[0] = 64;
	a[0].data = (char *)in + 16;
	assert_int_equal(kvjit_call(k, NULL, a, 3, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(k), "argument 'x'|on a device|aligned to 64 bytes");
	kvjit_device_free(kv, in);
	kvjit_release(k);
	kvjit_close(kv);
}

/* The distance of rows that may be read as blocks is one that a block may have. */
static void test_rows_lie_apart(void **state)
{
	static const struct {
		int64_t stride;
		const char *says;
	} bad[] = { { 80, "argument 'x'|on a device|multiple of 64" },
		    { 0, "argument 'x': stride 1 is 0|64 to 16777152 bytes apart" },
		    { -128, "argument 'x': stride 1 is -128|64 to 16777152 bytes apart" },
		    { 1 << 24, "argument 'x': stride 1 is 16777216|64 to 16777152 bytes" } };
	static float x[ELEMENTS];
	kvjit *kv = open_any();
	kvjit_kernel *k =
	    compile(kv,
	            "func @rows(%x: in u8[?,4,64 | 0:$0, 1:$1, 2:1], %y: out u8[16], %n: s64)\n"
	            "     level=V target=xe-pvc {\n"
	            "  %r = view %x : s8[?,4,64 | 0:$0, 1:$1, 2:1]\n"
	            "  for %i = 0 to %n par {\n"
	            "    %v = xe.load2d %r[%i,1,0] : s8<16> {trans=1}\n"
	            "    %w = bitcast %v : u8<16>\n"
	            "    vstore %w, %y[0]\n"
	            "    yield\n  }\n  ret\n}\n",
	            NULL);
	float *in = device_floats(kv, KVJIT_MEMORY_DEVICE, x);
	kvjit_arg a[3] = { { .name = "x",
		             .data = in,
		             .rank = 3,
		             .shape = { 1, 4, 64 },
		             .nstride = 2,
		             .stride = { 256, 64 } },
		           { .name = "y", .data = (char *)in + 2048 },
		           { .name = "n", .i = 0 } };

	(void)state;
	if (kvjit_call(k, NULL, a, 3, NULL) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		a[0].stride[1] = bad[i].stride;
		assert_int_equal(kvjit_call(k, NULL, a, 3, NULL), KVJIT_BAD_ARGUMENT);
		assert_says(kvjit_kernel_error(k), bad[i].says);
	}
	kvjit_device_free(kv, in);
	kvjit_release(k);
	kvjit_close(kv);
}

/* Bytes whose rows are words are read and written as words, with run-time strides or without.
 */
static void test_rows_of_words_begin_at_words(void **state)
{
	static float x[ELEMENTS];
	kvjit *kv = open_any();
	kvjit_kernel *k = compile_first(kv, "u8[?,20]", "0");
	float *in = device_floats(kv, KVJIT_MEMORY_DEVICE, x);
	kvjit_arg a[3] = {
		{ .name = "x", .data = in, .rank = 2, .shape = { 2, 20 } },
		{ .name = "y", .data = (char *)in + 256 },
		{ .name = "n", .i = 1 },
	};

	(void)state;
	if (kvjit_call(k, NULL, a, 3, NULL) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	for (int i = 0; i < 2; i++) {
		char *was = a[i].data;

		a[i].data = was + 2;
		assert_int_equal(kvjit_call(k, NULL, a, 3, NULL), KVJIT_BAD_ARGUMENT);
		assert_says(kvjit_kernel_error(k), "on a device|aligned to 4 bytes");
		a[i].data = was;
	}
	kvjit_device_free(kv, in);
	kvjit_release(k);
	kvjit_close(kv);
}

/* So are packed weights. */
static void test_packed_weights_begin_at_blocks(void **state)
{
	static float x[ELEMENTS];
	kvjit *kv = open_any();
	kvjit_kernel *k = compile_first(kv, "u8[1,8,32,4]", "0,0,0");
	float *in = device_floats(kv, KVJIT_MEMORY_DEVICE, x);
	kvjit_arg a[3] = { { .name = "x", .data = in },
		           { .name = "y", .data = (char *)in + 2048 },
		           { .name = "n", .i = 1 } };

	(void)state;
	if (kvjit_call(k, NULL, a, 3, NULL) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	a[0].data = (char *)in + 32;
	assert_int_equal(kvjit_call(k, NULL, a, 3, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(k), "argument 'x'|on a device|aligned to 64 bytes");
	kvjit_device_free(kv, in);
	kvjit_release(k);
	kvjit_close(kv);
}

static void test_a_plan_stays_with_its_device(void **state)
{
	static const int32_t lens[] = { 5 }, starts[] = { 0, 1 };
	kvjit_batch b = {
		.size = sizeof(b), .nseq = 1, .seq_lens = lens, .query_starts = starts
	};
	kvjit *kv = open_any(), *host = open_with("ref", "generic");
	kvjit_kernel *there = compile(kv, attn_problem, "split=0 q_tile=1 kv_tile=16");
	kvjit_kernel *here = compile(host, attn_problem, "split=0 q_tile=1 kv_tile=16");
	kvjit_plan *plan = NULL;

	(void)state;
	if (kvjit_plan_new(there, &b, &plan) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(there));
	assert_int_equal(kvjit_plan_new(here, &b, &plan), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(here), "another device");
	assert_int_equal(kvjit_call(here, plan, NULL, 0, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(here), "another device");
	kvjit_plan_free(plan);
	kvjit_release(here);
	kvjit_release(there);
	kvjit_close(host);
	kvjit_close(kv);
}

static void test_choosing_a_device(void **state)
{
	kvjit *kv = open_any();
	char *text = kvjit_info(kv);

	(void)state;
	assert_says(text,
	            "device   0: Intel(R) Data Center GPU Max|target xe-pvc|on       Intel");
	free(text);
	kvjit_close(kv);
	kv = NULL;
	assert_int_equal(open_xe((kvjit_options){ .device = "Max 1550" }, &kv), KVJIT_OK);
	kvjit_close(kv);
	kv = NULL;
	assert_int_equal(open_xe((kvjit_options){ .device = "7" }, &kv), KVJIT_NO_BACKEND);
	assert_says(kvjit_open_error(), "no device '7'|0: Intel(R) Data Center GPU Max");
	assert_int_equal(setenv("KVJIT_DEVICE", "Arc", 1), 0);
	assert_int_equal(open_xe((kvjit_options){ 0 }, &kv), KVJIT_NO_BACKEND);
	assert_says(kvjit_open_error(), "no device 'Arc'|xe-pvc");
	assert_int_equal(unsetenv("KVJIT_DEVICE"), 0);
	assert_null(kv);
}

/* -- at the end ---------------------------------------------------------------------------- */

static int nothing_lives(void **state)
{
	uint32_t live[ZECL_KINDS], one = 1;
	ze_driver_handle_t driver;
	zecl_live_fn *count;
	void *address = NULL;

	(void)state;
	assert_int_equal(zeDriverGet(&one, &driver), 0);
	assert_int_equal(zeDriverGetExtensionFunctionAddress(driver, "zecl_live", &address), 0);
	memcpy(&count, &address, sizeof(count));
	count(live);
	for (int i = 0; i < ZECL_KINDS; i++)
		if (live[i])
			fail_msg("%u objects of kind %d are left", live[i], i);
	return 0;
}

static bool can_run(void)
{
	kvjit *kv = NULL;
	kvjit_kernel *k = NULL;
	kvjit_status s = open_xe((kvjit_options){ 0 }, &kv);

	if (s != KVJIT_OK)
		print_message("SKIPPED: %s\n", kvjit_open_error());
	else if ((s = kvjit_compile(kv, scale, NULL, &k)) == KVJIT_NO_BACKEND)
		print_message("SKIPPED: %s\n", kvjit_error(kv));
	kvjit_release(k);
	kvjit_close(kv);
	return s != KVJIT_NO_BACKEND;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_call),
		cmocka_unit_test(test_phases_are_in_order),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_code_from_a_cache),
		cmocka_unit_test(test_queue),
		cmocka_unit_test(test_outlives_its_context),
		cmocka_unit_test(test_hosts_own_handles),
		cmocka_unit_test(test_wrong_memory_is_named),
		cmocka_unit_test(test_records_begin_at_blocks),
		cmocka_unit_test(test_rows_lie_apart),
		cmocka_unit_test(test_rows_of_words_begin_at_words),
		cmocka_unit_test(test_packed_weights_begin_at_blocks),
		cmocka_unit_test(test_a_plan_stays_with_its_device),
		cmocka_unit_test(test_choosing_a_device),
	};

	return can_run() ? cmocka_run_group_tests(tests, NULL, nothing_lives) : 77;
}
