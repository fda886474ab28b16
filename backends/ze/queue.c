/* SPDX-License-Identifier: Apache-2.0 */
/* queue.c -- launches and copies, one after the other.
 *
 * An immediate command list takes each command at once, but promises no order between them: a
 * barrier before each says it. One more, with an event, is what a host waits for.
 *
 *     barrier  launch phase 0  barrier  launch phase 1  ...  barrier -> done
 */
#include "ze.h"

#include <stdlib.h>
#include <string.h>

enum { DONE, FIRST, LAST, NEVENTS };

struct kbe_queue {
	kbe_device *device;
	pthread_mutex_t lock; /* lists are one thread's at a time */
	ze_command_list_handle_t list;
	bool own_list, timed;
	ze_event_pool_handle_t pool;
	ze_event_handle_t event[NEVENTS];
	int64_t commands; /* of the last timed launch; its first and last took their time */
};

/* -- waiting ------------------------------------------------------------------------------- */

/* Under the lock. */
static bool drain(kbe_queue *q, kbe_fault *why)
{
	return ZE_OK(why, zeCommandListAppendBarrier, q->list, q->event[DONE], 0, NULL) &&
	       ZE_OK(why, zeEventHostSynchronize, q->event[DONE], UINT64_MAX) &&
	       ZE_OK(why, zeEventHostReset, q->event[DONE]);
}

bool ze_wait(kbe_queue *q, kbe_fault *why)
{
	bool ok;

	pthread_mutex_lock(&q->lock);
	ok = drain(q, why);
	pthread_mutex_unlock(&q->lock);
	return ok;
}

/* -- making -------------------------------------------------------------------------------- */

static bool make_list(kbe_queue *q, kbe_fault *why)
{
	ze_command_queue_desc_t desc = { ZE_STRUCTURE_TYPE_COMMAND_QUEUE_DESC,
		                         NULL,
		                         q->device->ordinal,
		                         0,
		                         0,
		                         ZE_COMMAND_QUEUE_MODE_ASYNCHRONOUS,
		                         ZE_COMMAND_QUEUE_PRIORITY_NORMAL };

	q->own_list = ZE_OK(why, zeCommandListCreateImmediate, q->device->context,
	                    q->device->handle, &desc, &q->list);
	return q->own_list;
}

static bool make_events(kbe_queue *q, kbe_fault *why)
{
	ze_event_pool_desc_t pool = { ZE_STRUCTURE_TYPE_EVENT_POOL_DESC, NULL,
		                      ZE_EVENT_POOL_FLAG_HOST_VISIBLE, NEVENTS };

	if (q->timed)
		pool.flags |= ZE_EVENT_POOL_FLAG_KERNEL_TIMESTAMP;
	if (!ZE_OK(why, zeEventPoolCreate, q->device->context, &pool, 1, &q->device->handle,
	           &q->pool)) {
		q->pool = NULL;
		return false;
	}
	for (uint32_t i = 0; i < NEVENTS; i++) {
		ze_event_desc_t event = { ZE_STRUCTURE_TYPE_EVENT_DESC, NULL, i,
			                  ZE_EVENT_SCOPE_FLAG_HOST, ZE_EVENT_SCOPE_FLAG_HOST };

		if (!ZE_OK(why, zeEventCreate, q->pool, &event, &q->event[i])) {
			q->event[i] = NULL;
			return false;
		}
	}
	return true;
}

static void destroy(kbe_queue *q)
{
	for (int i = 0; i < NEVENTS; i++)
		if (q->event[i])
			ze.zeEventDestroy(q->event[i]);
	if (q->pool)
		ze.zeEventPoolDestroy(q->pool);
	if (q->own_list)
		ze.zeCommandListDestroy(q->list);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

kbe_queue *ze_queue(kbe_device *d, void *list, bool timed, kbe_fault *why)
{
	kbe_queue *q = calloc(1, sizeof(*q));

	if (!q) {
		ze_fault(why, KBE_NO_ROOM, "out of memory");
		return NULL;
	}
	q->device = d;
	q->timed = timed;
	q->list = list;
	pthread_mutex_init(&q->lock, NULL);
	if ((list || make_list(q, why)) && make_events(q, why))
		return q;
	destroy(q);
	return NULL;
}

void ze_queue_free(kbe_queue *q)
{
	kbe_fault ignored; /* a lost device has nothing to wait for */

	ze_wait(q, &ignored);
	destroy(q);
}

/* -- launching ----------------------------------------------------------------------------- */

/* A null pointer is said by no value: drivers look up the address that a value has, and refuse
 * what they don't find. */
static bool set_argument(kbe_module *m, uint32_t i, size_t bytes, const void *value,
                         kbe_fault *why)
{
	static const char null[sizeof(void *)];

	if (bytes == sizeof(null) && !memcmp(value, null, sizeof(null)) &&
	    ze.zeKernelSetArgumentValue(m->kernel, i, bytes, value) ==
	        ZE_RESULT_ERROR_INVALID_ARGUMENT)
		value = NULL;
	return ZE_OK(why, zeKernelSetArgumentValue, m->kernel, i, bytes, value);
}

/* What one call of the kernel gets besides its own arguments. */
static bool set_range(kbe_module *m, unsigned at, int64_t phase, int64_t begin, int64_t end,
                      kbe_fault *why)
{
	return set_argument(m, at, sizeof(phase), &phase, why) &&
	       set_argument(m, at + 1, sizeof(begin), &begin, why) &&
	       set_argument(m, at + 2, sizeof(end), &end, why);
}

static int64_t pieces(const kbe_queue *q, int64_t n)
{
	int64_t most = q->device->most_groups;

	return n > 0 ? (n + most - 1) / most : 0;
}

/* The event of command i of a timed launch; NULL: none. */
static ze_event_handle_t event_of(const kbe_queue *q, int64_t i)
{
	if (!q->timed)
		return NULL;
	return i == 0 ? q->event[FIRST] : i == q->commands - 1 ? q->event[LAST] : NULL;
}

/* Events are used again once what signalled them has ended. */
static bool begin_timed(kbe_queue *q, const kbe_launch *l, unsigned n, kbe_fault *why)
{
	if (!q->timed)
		return true;
	if (!drain(q, why) || !ZE_OK(why, zeEventHostReset, q->event[FIRST]) ||
	    !ZE_OK(why, zeEventHostReset, q->event[LAST]))
		return false;
	q->commands = 0;
	for (unsigned i = 0; i < n; i++)
		for (unsigned p = 0; p < l[i].nphase; p++)
			q->commands += pieces(q, l[i].count[p]);
	return true;
}

/* command: how many there are of the launches in front. */
static bool append(kbe_queue *q, const kbe_launch *l, int64_t *command, kbe_fault *why)
{
	int64_t most = q->device->most_groups;
	kbe_module *m = l->module;

	for (unsigned p = 0; p < l->nphase; p++) {
		int64_t n = l->count[p];

		if (n > 0 && !ZE_OK(why, zeCommandListAppendBarrier, q->list, NULL, 0, NULL))
			return false;
		for (int64_t at = 0; at < n; at += most) {
			int64_t end = n - at > most ? at + most : n;
			ze_group_count_t groups = { (uint32_t)(end - at), 1, 1 };

			if (!set_range(m, l->nvalue, p, at, end, why) ||
			    !ZE_OK(why, zeCommandListAppendLaunchKernel, q->list, m->kernel,
			           &groups, event_of(q, (*command)++), 0, NULL))
				return false;
		}
	}
	return true;
}

/* A kernel's arguments are taken when it is appended: nobody else may set them until then. */
static bool set_and_append(kbe_queue *q, const kbe_launch *l, int64_t *command, kbe_fault *why)
{
	kbe_module *m = l->module;
	bool ok = true;

	pthread_mutex_lock(&m->lock);
	for (unsigned i = 0; ok && i < l->nvalue; i++)
		ok = set_argument(m, i, l->bytes[i], l->value[i], why);
	ok = ok && append(q, l, command, why);
	pthread_mutex_unlock(&m->lock);
	return ok;
}

bool ze_launch(kbe_queue *q, const kbe_launch *l, unsigned n, kbe_fault *why)
{
	int64_t command = 0;
	bool ok;

	for (unsigned i = 0; i < n; i++)
		if (l[i].module->nargs != l[i].nvalue + 3)
			return ze_fault(why, KBE_BUG,
			                "the kernel has %u arguments, its signature %u",
			                l[i].module->nargs, l[i].nvalue + 3);
	pthread_mutex_lock(&q->lock);
	ok = begin_timed(q, l, n, why);
	for (unsigned i = 0; ok && i < n; i++)
		ok = set_and_append(q, &l[i], &command, why);
	pthread_mutex_unlock(&q->lock);
	return ok;
}

bool ze_copy(kbe_queue *q, void *to, const void *from, size_t bytes, kbe_fault *why)
{
	bool ok;

	if (!bytes)
		return true;
	pthread_mutex_lock(&q->lock);
	ok = ZE_OK(why, zeCommandListAppendBarrier, q->list, NULL, 0, NULL) &&
	     ZE_OK(why, zeCommandListAppendMemoryCopy, q->list, to, from, bytes, NULL, 0, NULL);
	pthread_mutex_unlock(&q->lock);
	return ok;
}

/* -- time
 * -------------------------------------------------------------------------------------------
 */

/* Counters wrap; a launch is shorter than a turn of them. */
static double elapsed(const kbe_device *d, uint64_t from, uint64_t to)
{
	uint64_t mask =
	    d->timer_bits && d->timer_bits < 64 ? (UINT64_C(1) << d->timer_bits) - 1 : ~0ull;

	return (double)((to - from) & mask) * d->tick;
}

bool ze_seconds(kbe_queue *q, double *out, kbe_fault *why)
{
	ze_kernel_timestamp_result_t first = { 0 }, last = { 0 };
	bool ok;

	if (!q->timed)
		return ze_fault(why, KBE_BAD_VALUE, "this queue takes no times");
	pthread_mutex_lock(&q->lock);
	ok = drain(q, why);
	*out = 0;
	if (ok && q->commands) {
		ze_event_handle_t end = q->event[q->commands > 1 ? LAST : FIRST];

		ok = ZE_OK(why, zeEventQueryKernelTimestamp, q->event[FIRST], &first) &&
		     ZE_OK(why, zeEventQueryKernelTimestamp, end, &last);
		*out = elapsed(q->device, first.global.kernelStart, last.global.kernelEnd);
	}
	pthread_mutex_unlock(&q->lock);
	return ok;
}
