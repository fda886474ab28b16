/* SPDX-License-Identifier: Apache-2.0 */
/* event.c -- events with timestamps of 32 bits, and fences. */
#include "zecl.h"

#include <stdlib.h>

struct _ze_event_pool_handle_t {
	ze_event_pool_flags_t flags;
	uint32_t size;
};

struct _ze_fence_handle_t {
	struct zecl_queue *queue;
	uint64_t ticket; /* 0: nothing to wait for yet */
};

uint64_t zecl_ticks(void)
{
	return zecl_now_ns() / zecl.product->tick_ns;
}

/* With ZECL_WRAP each starts one tick before the counter's end. */
void zecl_event_signal(ze_event_handle_t event, uint64_t start, uint64_t end)
{
	if (getenv("ZECL_WRAP")) {
		end = UINT32_MAX + (end - start);
		start = UINT32_MAX;
	}
	pthread_mutex_lock(&zecl.lock);
	event->start = (uint32_t)start;
	event->end = (uint32_t)end;
	event->set = true;
	pthread_cond_broadcast(&zecl.changed);
	pthread_mutex_unlock(&zecl.lock);
}

ze_result_t zeEventPoolCreate(ze_context_handle_t context, const ze_event_pool_desc_t *desc,
                              uint32_t count, ze_device_handle_t *devices,
                              ze_event_pool_handle_t *out)
{
	(void)context;
	(void)count;
	(void)devices;
	if (!desc->count)
		return ZE_RESULT_ERROR_INVALID_SIZE;
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	(*out)->flags = desc->flags;
	(*out)->size = desc->count;
	zecl_count(ZECL_POOLS, 1);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeEventPoolDestroy(ze_event_pool_handle_t pool)
{
	free(pool);
	zecl_count(ZECL_POOLS, -1);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeEventCreate(ze_event_pool_handle_t pool, const ze_event_desc_t *desc,
                          ze_event_handle_t *out)
{
	if (desc->index >= pool->size)
		return ZE_RESULT_ERROR_INVALID_ARGUMENT;
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	(*out)->pool = pool;
	zecl_count(ZECL_EVENTS, 1);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeEventDestroy(ze_event_handle_t event)
{
	free(event);
	zecl_count(ZECL_EVENTS, -1);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeEventHostSignal(ze_event_handle_t event)
{
	zecl_event_signal(event, zecl_ticks(), zecl_ticks());
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeEventHostReset(ze_event_handle_t event)
{
	pthread_mutex_lock(&zecl.lock);
	event->set = false;
	pthread_mutex_unlock(&zecl.lock);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeEventHostSynchronize(ze_event_handle_t event, uint64_t timeout_ns)
{
	uint64_t until = zecl_until(timeout_ns);
	ze_result_t status = ZE_RESULT_NOT_READY;

	pthread_mutex_lock(&zecl.lock);
	zecl_waiting(1);
	while (!event->set && !zecl.lost && zecl_wait(until))
		;
	zecl_waiting(-1);
	if (event->set)
		status = ZE_RESULT_SUCCESS;
	else if (zecl.lost)
		status = ZE_RESULT_ERROR_DEVICE_LOST;
	pthread_mutex_unlock(&zecl.lock);
	return status;
}

ze_result_t zeEventQueryStatus(ze_event_handle_t event)
{
	return zeEventHostSynchronize(event, 0);
}

ze_result_t zeEventQueryKernelTimestamp(ze_event_handle_t event,
                                        ze_kernel_timestamp_result_t *t)
{
	ze_result_t status = zeEventQueryStatus(event);

	if (status != ZE_RESULT_SUCCESS)
		return status;
	if (!(event->pool->flags & ZE_EVENT_POOL_FLAG_KERNEL_TIMESTAMP))
		return ZE_RESULT_ERROR_INVALID_ARGUMENT;
	t->global.kernelStart = t->context.kernelStart = event->start;
	t->global.kernelEnd = t->context.kernelEnd = event->end;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeFenceCreate(ze_command_queue_handle_t queue, const ze_fence_desc_t *desc,
                          ze_fence_handle_t *out)
{
	(void)desc;
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	(*out)->queue = queue->queue;
	zecl_count(ZECL_FENCES, 1);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeFenceDestroy(ze_fence_handle_t fence)
{
	free(fence);
	zecl_count(ZECL_FENCES, -1);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeFenceHostSynchronize(ze_fence_handle_t fence, uint64_t timeout_ns)
{
	if (!fence->ticket)
		return ZE_RESULT_NOT_READY;
	return zecl_queue_sync(fence->queue, fence->ticket, timeout_ns);
}

ze_result_t zeFenceQueryStatus(ze_fence_handle_t fence)
{
	return zeFenceHostSynchronize(fence, 0);
}

ze_result_t zeFenceReset(ze_fence_handle_t fence)
{
	fence->ticket = 0;
	return ZE_RESULT_SUCCESS;
}

void zecl_fence_arm(ze_fence_handle_t fence)
{
	fence->ticket = zecl_queue_last(fence->queue);
}
