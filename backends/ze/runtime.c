/* SPDX-License-Identifier: Apache-2.0 */
/* runtime.c -- Level Zero as a kbe_runtime: all that libkvjit-ze.so exports. */
#include "ze.h"

static const kbe_runtime runtime = {
	.version = KBE_RUNTIME_VERSION,
	.name = "ze",
	.list = ze_list,
	.open = ze_open,
	.close = ze_close,
	.module = ze_module,
	.module_free = ze_module_free,
	.module_info = ze_module_info,
	.alloc = ze_alloc,
	.free = ze_free,
	.place = ze_place,
	.queue = ze_queue,
	.queue_free = ze_queue_free,
	.launch = ze_launch,
	.copy = ze_copy,
	.wait = ze_wait,
	.seconds = ze_seconds,
};

__attribute__((visibility("default"))) const kbe_runtime *kvjit_runtime(void);

const kbe_runtime *kvjit_runtime(void)
{
	return &runtime;
}
