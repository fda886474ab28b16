/* SPDX-License-Identifier: Apache-2.0 */
/* list.c -- command queues, command lists that are recorded, and immediate ones. */
#include "zecl.h"

#include <stdlib.h>
#include <string.h>

struct _ze_command_list_handle_t {
	struct _ze_command_queue_handle_t now; /* immediate: where to; else no queue */
	bool closed;
	struct zecl_op *ops;
	size_t n, room;
};

ze_result_t zeCommandQueueCreate(ze_context_handle_t context, ze_device_handle_t device,
                                 const ze_command_queue_desc_t *desc,
                                 ze_command_queue_handle_t *out)
{
	ze_command_queue_handle_t q;

	(void)context;
	(void)device;
	if (zecl.lost)
		return ZE_RESULT_ERROR_DEVICE_LOST;
	q = calloc(1, sizeof(*q));
	if (q)
		q->queue = zecl_queue_new();
	if (!q || !q->queue) {
		free(q);
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	}
	q->synchronous = desc->mode == ZE_COMMAND_QUEUE_MODE_SYNCHRONOUS;
	zecl_count(ZECL_QUEUES, 1);
	*out = q;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeCommandQueueDestroy(ze_command_queue_handle_t q)
{
	zecl_queue_free(q->queue);
	free(q);
	zecl_count(ZECL_QUEUES, -1);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeCommandQueueSynchronize(ze_command_queue_handle_t q, uint64_t timeout_ns)
{
	return zecl_queue_sync(q->queue, zecl_queue_last(q->queue), timeout_ns);
}

ze_result_t zeCommandQueueExecuteCommandLists(ze_command_queue_handle_t q, uint32_t n,
                                              ze_command_list_handle_t *lists,
                                              ze_fence_handle_t fence)
{
	const struct zecl_op between = { .code = ZECL_NOTHING };

	if (zecl.lost)
		return ZE_RESULT_ERROR_DEVICE_LOST;
	for (uint32_t i = 0; i < n; i++)
		if (!lists[i]->closed || lists[i]->now.queue)
			return ZE_RESULT_ERROR_INVALID_ARGUMENT;
	for (uint32_t i = 0; i < n; i++) {
		for (size_t k = 0; k < lists[i]->n; k++)
			zecl_queue_push(q->queue, lists[i]->ops + k);
		zecl_queue_push(q->queue, &between);
	}
	if (fence)
		zecl_fence_arm(fence);
	return q->synchronous ? zeCommandQueueSynchronize(q, UINT64_MAX) : ZE_RESULT_SUCCESS;
}

ze_result_t zeCommandListCreate(ze_context_handle_t context, ze_device_handle_t device,
                                const ze_command_list_desc_t *desc,
                                ze_command_list_handle_t *out)
{
	(void)context;
	(void)device;
	(void)desc;
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	zecl_count(ZECL_LISTS, 1);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeCommandListCreateImmediate(ze_context_handle_t context, ze_device_handle_t device,
                                         const ze_command_queue_desc_t *desc,
                                         ze_command_list_handle_t *out)
{
	ze_result_t status;

	if (zecl.lost)
		return ZE_RESULT_ERROR_DEVICE_LOST;
	status = zeCommandListCreate(context, device, NULL, out);
	if (status != ZE_RESULT_SUCCESS)
		return status;
	(*out)->now.synchronous = desc->mode == ZE_COMMAND_QUEUE_MODE_SYNCHRONOUS;
	(*out)->now.queue = zecl_queue_new();
	if (!(*out)->now.queue) {
		zeCommandListDestroy(*out);
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	}
	return ZE_RESULT_SUCCESS;
}

static void clear(ze_command_list_handle_t list)
{
	for (size_t i = 0; i < list->n; i++) {
		free(list->ops[i].args);
		free(list->ops[i].waits);
	}
	list->n = 0;
}

ze_result_t zeCommandListDestroy(ze_command_list_handle_t list)
{
	if (list->now.queue)
		zecl_queue_free(list->now.queue);
	clear(list);
	free(list->ops);
	free(list);
	zecl_count(ZECL_LISTS, -1);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeCommandListClose(ze_command_list_handle_t list)
{
	list->closed = true;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeCommandListReset(ze_command_list_handle_t list)
{
	clear(list);
	list->closed = false;
	return ZE_RESULT_SUCCESS;
}

/* Takes over args and waits, both from malloc. */
static ze_result_t record(ze_command_list_handle_t list, struct zecl_op *op)
{
	if (list->n == list->room) {
		size_t room = list->room * 2 + 16;
		struct zecl_op *ops = realloc(list->ops, room * sizeof(*ops));

		if (!ops)
			return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
		list->ops = ops;
		list->room = room;
	}
	list->ops[list->n++] = *op;
	return ZE_RESULT_SUCCESS;
}

static ze_result_t append(ze_command_list_handle_t list, struct zecl_op op,
                          ze_event_handle_t signal, uint32_t nwaits, ze_event_handle_t *waits)
{
	op.signal = signal;
	op.nwaits = nwaits;
	op.waits = waits;
	if (zecl.lost)
		return ZE_RESULT_ERROR_DEVICE_LOST;
	if (list->closed)
		return ZE_RESULT_ERROR_INVALID_ARGUMENT;
	if (list->now.queue) {
		uint64_t ticket = zecl_queue_push(list->now.queue, &op);

		return list->now.synchronous
		           ? zecl_queue_sync(list->now.queue, ticket, UINT64_MAX)
		           : ZE_RESULT_SUCCESS;
	}
	if (op.args) {
		size_t size = (size_t)op.kernel->nargs * sizeof(*op.args);

		op.args = memcpy(malloc(size ? size : 1), op.args, size);
	}
	if (nwaits)
		op.waits =
		    memcpy(malloc(nwaits * sizeof(*waits)), waits, nwaits * sizeof(*waits));
	return record(list, &op);
}

ze_result_t zeCommandListAppendLaunchKernel(ze_command_list_handle_t list, ze_kernel_handle_t k,
                                            const ze_group_count_t *groups,
                                            ze_event_handle_t signal, uint32_t nwaits,
                                            ze_event_handle_t *waits)
{
	struct zecl_op op = { .code = ZECL_LAUNCH, .kernel = k, .args = k->args };

	for (int i = 0; i < k->nargs; i++)
		if (!k->args[i].set) {
			zecl_say("argument %d of %s was never set", i, k->name);
			return ZE_RESULT_ERROR_INVALID_ARGUMENT;
		}
	memcpy(op.group, k->group, sizeof(op.group));
	op.groups[0] = groups->groupCountX;
	op.groups[1] = groups->groupCountY;
	op.groups[2] = groups->groupCountZ;
	return append(list, op, signal, nwaits, waits);
}

ze_result_t zeCommandListAppendMemoryCopy(ze_command_list_handle_t list, void *dst,
                                          const void *src, size_t size,
                                          ze_event_handle_t signal, uint32_t nwaits,
                                          ze_event_handle_t *waits)
{
	struct zecl_op op = { .code = ZECL_COPY, .dst = dst, .src = src, .size = size };

	return append(list, op, signal, nwaits, waits);
}

ze_result_t zeCommandListAppendMemoryFill(ze_command_list_handle_t list, void *dst,
                                          const void *pattern, size_t pattern_size, size_t size,
                                          ze_event_handle_t signal, uint32_t nwaits,
                                          ze_event_handle_t *waits)
{
	struct zecl_op op = { .code = ZECL_FILL, .dst = dst, .size = size };

	if (!pattern_size || pattern_size > sizeof(op.pattern) ||
	    (pattern_size & (pattern_size - 1)) || size % pattern_size)
		return ZE_RESULT_ERROR_INVALID_SIZE;
	op.pattern_size = pattern_size;
	memcpy(op.pattern, pattern, pattern_size);
	return append(list, op, signal, nwaits, waits);
}

ze_result_t zeCommandListAppendWriteGlobalTimestamp(ze_command_list_handle_t list,
                                                    uint64_t *dst, ze_event_handle_t signal,
                                                    uint32_t nwaits, ze_event_handle_t *waits)
{
	struct zecl_op op = { .code = ZECL_STAMP, .dst = dst, .size = sizeof(*dst) };

	return append(list, op, signal, nwaits, waits);
}

ze_result_t zeCommandListAppendBarrier(ze_command_list_handle_t list, ze_event_handle_t signal,
                                       uint32_t nwaits, ze_event_handle_t *waits)
{
	const struct zecl_op op = { .code = ZECL_NOTHING };

	return append(list, op, signal, nwaits, waits);
}

ze_result_t zeCommandListAppendMemoryRangesBarrier(ze_command_list_handle_t list, uint32_t n,
                                                   const size_t *sizes, const void **ranges,
                                                   ze_event_handle_t signal, uint32_t nwaits,
                                                   ze_event_handle_t *waits)
{
	(void)n;
	(void)sizes;
	(void)ranges;
	return zeCommandListAppendBarrier(list, signal, nwaits, waits);
}

ze_result_t zeCommandListAppendSignalEvent(ze_command_list_handle_t list,
                                           ze_event_handle_t event)
{
	return zeCommandListAppendBarrier(list, event, 0, NULL);
}

ze_result_t zeCommandListAppendWaitOnEvents(ze_command_list_handle_t list, uint32_t n,
                                            ze_event_handle_t *events)
{
	return zeCommandListAppendBarrier(list, NULL, n, events);
}

ze_result_t zeCommandListAppendEventReset(ze_command_list_handle_t list,
                                          ze_event_handle_t event)
{
	const struct zecl_op op = { .code = ZECL_RESET, .reset = event };

	return append(list, op, NULL, 0, NULL);
}
