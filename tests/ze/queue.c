/* SPDX-License-Identifier: Apache-2.0 */
/* queue.c -- a thread for each queue, so that work is as asynchronous as on a GPU.
 *
 * Operations run in the order they came in. Level Zero doesn't promise that: between two
 * barriers they may run in any order. With ZECL_REORDER a queue waits until somebody waits for
 * it, and then runs what stands between two barriers backwards, so that a barrier that was
 * forgotten is noticed.
 */
#include "zecl.h"

#include <stdlib.h>
#include <string.h>

struct zecl_queue {
	pthread_t thread;
	struct zecl_op *head, **tail; /* these with zecl.lock */
	uint64_t pushed, done;
	bool stop, reorder;
};

static unsigned waiting; /* threads that wait for some queue or event; zecl.lock */

void zecl_waiting(int by)
{
	waiting += (unsigned)by;
	pthread_cond_broadcast(&zecl.changed);
}

static void op_free(struct zecl_op *op)
{
	free(op->args);
	free(op->waits);
	free(op);
}

static bool is_barrier(const struct zecl_op *op)
{
	return op->nwaits || op->code == ZECL_NOTHING || op->code == ZECL_RESET;
}

/* Ops to run next, in the order to run them; with the lock held. */
static struct zecl_op *take(struct zecl_queue *q)
{
	struct zecl_op *run = q->head, *op;

	q->head = run->next;
	run->next = NULL;
	while (q->reorder && !is_barrier(run) && q->head && !is_barrier(q->head)) {
		op = q->head;
		q->head = op->next;
		op->next = run;
		run = op;
	}
	if (!q->head)
		q->tail = &q->head;
	return run;
}

static bool copy(const struct zecl_op *op)
{
	uint64_t start = zecl_ticks();
	size_t to = zecl_memory_behind(op->dst), from = zecl_memory_behind(op->src);

	if (zecl_fault(ZECL_FAULT_copy)) {
		zecl_lose("a fault that was asked for, in a copy");
		return false;
	}
	if ((to && to < op->size) || (op->code == ZECL_COPY && from && from < op->size)) {
		zecl_lose("a copy of %zu bytes ends behind its memory", op->size);
		return false;
	}
	if (op->code == ZECL_COPY)
		memmove(op->dst, op->src, op->size);
	else if (op->code == ZECL_STAMP)
		memcpy(op->dst, &start, sizeof(start));
	else
		for (size_t i = 0; i + op->pattern_size <= op->size; i += op->pattern_size)
			memcpy((char *)op->dst + i, op->pattern, op->pattern_size);
	if (op->signal)
		zecl_event_signal(op->signal, start, zecl_ticks());
	return true;
}

/* Waits without the device: what is waited for may need it. */
static bool wait_for(const struct zecl_queue *q, const struct zecl_op *op)
{
	bool go = true;

	pthread_mutex_lock(&zecl.lock);
	zecl_waiting(1);
	for (uint32_t i = 0; i < op->nwaits && go; i++)
		while (!op->waits[i]->set && (go = !zecl.lost && !q->stop))
			zecl_wait(UINT64_MAX);
	zecl_waiting(-1);
	pthread_mutex_unlock(&zecl.lock);
	return go && !zecl.lost;
}

static void run(const struct zecl_queue *q, const struct zecl_op *op)
{
	if (!wait_for(q, op))
		return;
	switch (op->code) {
	case ZECL_NOTHING:
		if (op->signal)
			zecl_event_signal(op->signal, zecl_ticks(), zecl_ticks());
		return;
	case ZECL_RESET: zeEventHostReset(op->reset); return;
	default:
		pthread_mutex_lock(&zecl.running);
		zecl_memory_open();
		if (op->code == ZECL_LAUNCH)
			zecl_launch(op);
		else
			copy(op);
		zecl_memory_close();
		pthread_mutex_unlock(&zecl.running);
	}
}

static void *work(void *arg)
{
	struct zecl_queue *q = arg;
	struct zecl_op *op, *rest;

	pthread_mutex_lock(&zecl.lock);
	for (;;) {
		while (!q->stop && (!q->head || (q->reorder && !waiting)))
			zecl_wait(UINT64_MAX);
		if (q->stop)
			break;
		for (op = take(q); op; op = rest) {
			rest = op->next;
			pthread_mutex_unlock(&zecl.lock);
			run(q, op);
			op_free(op);
			pthread_mutex_lock(&zecl.lock);
			q->done++;
		}
		pthread_cond_broadcast(&zecl.changed);
	}
	pthread_mutex_unlock(&zecl.lock);
	return NULL;
}

struct zecl_queue *zecl_queue_new(void)
{
	struct zecl_queue *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->tail = &q->head;
	q->reorder = getenv("ZECL_REORDER") != NULL;
	if (pthread_create(&q->thread, NULL, work, q)) {
		free(q);
		return NULL;
	}
	return q;
}

void zecl_queue_free(struct zecl_queue *q)
{
	struct zecl_op *op;
	bool busy;

	pthread_mutex_lock(&zecl.lock);
	busy = q->head && !zecl.lost;
	q->stop = true;
	pthread_cond_broadcast(&zecl.changed);
	pthread_mutex_unlock(&zecl.lock);
	pthread_join(q->thread, NULL);
	if (busy)
		zecl_say("a queue was destroyed before its work was done");
	while ((op = q->head)) {
		q->head = op->next;
		op_free(op);
	}
	free(q);
}

uint64_t zecl_queue_push(struct zecl_queue *q, const struct zecl_op *from)
{
	struct zecl_op *op = malloc(sizeof(*op));
	uint64_t ticket;

	if (!op)
		abort();
	*op = *from;
	op->next = NULL;
	if (from->args) {
		size_t size = (size_t)from->kernel->nargs * sizeof(*op->args);

		op->args = malloc(size ? size : 1);
		memcpy(op->args, from->args, size);
	}
	if (from->nwaits) {
		op->waits = malloc(from->nwaits * sizeof(*op->waits));
		memcpy(op->waits, from->waits, from->nwaits * sizeof(*op->waits));
	}
	pthread_mutex_lock(&zecl.lock);
	*q->tail = op;
	q->tail = &op->next;
	ticket = ++q->pushed;
	pthread_cond_broadcast(&zecl.changed);
	pthread_mutex_unlock(&zecl.lock);
	return ticket;
}

uint64_t zecl_queue_last(struct zecl_queue *q)
{
	uint64_t ticket;

	pthread_mutex_lock(&zecl.lock);
	ticket = q->pushed;
	pthread_mutex_unlock(&zecl.lock);
	return ticket;
}

ze_result_t zecl_queue_sync(struct zecl_queue *q, uint64_t ticket, uint64_t timeout_ns)
{
	uint64_t until = zecl_until(timeout_ns);
	bool done;

	pthread_mutex_lock(&zecl.lock);
	zecl_waiting(1);
	while (q->done < ticket && zecl_wait(until))
		;
	zecl_waiting(-1);
	done = q->done >= ticket;
	pthread_mutex_unlock(&zecl.lock);
	if (zecl.lost)
		return ZE_RESULT_ERROR_DEVICE_LOST;
	return done ? ZE_RESULT_SUCCESS : ZE_RESULT_NOT_READY;
}
