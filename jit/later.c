/* SPDX-License-Identifier: Apache-2.0 */
/* later.c -- compilations that nobody waits for (KVJIT_LATER).
 *
 *     asked -> QUEUED -> RUNNING, on a thread of this file -> the kernel is in hot.c
 *                                                          -> FAILED, until somebody asks
 *
 * Requests stand in a list in the order they were asked for. Threads are started when there is
 * something to do, at most MOST of a context, and end when there is nothing left: a host that
 * waits has none of them. Who asks without KVJIT_LATER runs a queued request himself, and waits
 * for a running one, so that one text is compiled once. The last one who is interested in a
 * request that has ended frees it.
 *
 * exit waits for what runs (leave.c).
 */
#include "job.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	MOST = 4,
	STACK = 8 << 20 /* as a program's first thread: LLVM's recursion is written for it */
};

typedef enum state { QUEUED, RUNNING, FAILED, DONE } state;

typedef struct request {
	struct request *next;
	state state;
	unsigned flags;
	int waiting; /* threads in kvjit_compile */
	kvjit_status status;
	char *why; /* NULL: no memory */
	const char *sched;
	char text[]; /* and sched behind it */
} request;

typedef struct worker {
	pthread_t thread;
	bool started, ended;
	kvjit *kv;
} worker;

struct kvjit_later {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a request has ended */
	request *first;
	worker worker[MOST];
	bool closing;
	pid_t pid; /* whose threads these are: a child has none of its parent's */
};

/* -- requests (under the lock) ------------------------------------------------------------ */

static request *find(const kvjit_later *l, const char *text, const char *sched, unsigned flags)
{
	request *r = l->first;

	while (r && (r->flags != flags || strcmp(r->text, text) != 0 ||
	             strcmp(r->sched, sched ? sched : "") != 0))
		r = r->next;
	return r;
}

static request *add(kvjit_later *l, const char *text, const char *sched, unsigned flags)
{
	size_t n = strlen(text) + 1, m = sched ? strlen(sched) : 0;
	request *r = calloc(1, sizeof(*r) + n + m + 1), **at = &l->first;

	if (!r)
		return NULL;
	r->flags = flags;
	memcpy(r->text, text, n);
	memcpy(r->text + n, sched ? sched : "", m + 1);
	r->sched = r->text + n;
	while (*at)
		at = &(*at)->next;
	return *at = r;
}

static void take_out(kvjit_later *l, request *r)
{
	request **at = &l->first;

	while (*at && *at != r)
		at = &(*at)->next;
	if (*at)
		*at = r->next;
}

static void drop(kvjit_later *l, request *r)
{
	take_out(l, r);
	if (r->waiting)
		return;
	free(r->why);
	free(r);
}

static request *next_queued(const kvjit_later *l)
{
	request *r = l->first;

	while (r && r->state != QUEUED)
		r = r->next;
	return r;
}

/* -- working ------------------------------------------------------------------------------ */

/* Compiles r, which is QUEUED; the lock is free meanwhile. */
static void run(kvjit *kv, request *r)
{
	kvjit_later *l = kv->later;
	kvjit_compile_options o = { sizeof(o), r->sched[0] ? r->sched : NULL, r->flags };
	kvjit_kernel *k = NULL;
	kvjit_status s;
	char *why = NULL;

	r->state = RUNNING;
	pthread_mutex_unlock(&l->lock);
	s = kvjit_compile_now(kv, r->text, &o, &k);
	if (s != KVJIT_OK)
		why = strdup(kvjit_error(kv));
	kvjit_release(k);
	kvjit_leave_compiled();
	pthread_mutex_lock(&l->lock);
	r->status = s;
	r->why = why;
	r->state = s == KVJIT_OK ? DONE : FAILED;
	pthread_cond_broadcast(&l->changed);
	if (s == KVJIT_OK)
		drop(l, r);
}

static void *work(void *arg)
{
	worker *w = arg;
	kvjit_later *l = w->kv->later;
	request *r;

	kvjit_leave_begin();
	pthread_mutex_lock(&l->lock);
	while (!l->closing && !kvjit_leaving() && (r = next_queued(l)))
		run(w->kv, r);
	w->ended = true;
	pthread_mutex_unlock(&l->lock);
	kvjit_leave_done();
	return NULL;
}

/* With all signals blocked: they are for the host's threads. */
static bool start(worker *w)
{
	pthread_attr_t attr;
	sigset_t every, old;
	int failed;

	w->started = w->ended = false;
	if (!kvjit_leave_enter())
		return false;
	if (pthread_attr_init(&attr) != 0) {
		kvjit_leave_done();
		return false;
	}
	pthread_attr_setstacksize(&attr, STACK);
	sigfillset(&every);
	pthread_sigmask(SIG_SETMASK, &every, &old);
	failed = pthread_create(&w->thread, &attr, work, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	w->started = !failed;
	if (failed)
		kvjit_leave_done();
	return w->started;
}

/* One more thread, if there may be one. False: there is none at all. */
static bool help(kvjit *kv)
{
	kvjit_later *l = kv->later;
	int most = kv->threads < MOST ? kv->threads : MOST, working = 0;
	worker *free_one = NULL;

	for (int i = 0; i < most; i++) {
		worker *w = &l->worker[i];

		if (w->started && w->ended) {
			pthread_join(w->thread, NULL);
			w->started = false;
		}
		working += w->started;
		if (!w->started)
			free_one = w;
	}
	if (!free_one)
		return true;
	free_one->kv = kv;
	return start(free_one) || working;
}

/* A child goes on with what its parent had not begun. */
static void after_fork(kvjit_later *l)
{
	if (l->pid == getpid())
		return;
	l->pid = getpid();
	memset(l->worker, 0, sizeof(l->worker));
	for (request *r = l->first; r; r = r->next)
		if (r->state == RUNNING)
			r->state = QUEUED;
}

/* -- asking -------------------------------------------------------------------------------- */

static kvjit_status failed(kvjit *kv, request *r)
{
	return kvjit_fail(&kv->errors, r->status, "%s", r->why ? r->why : "out of memory");
}

/* r is in the list, its state what it was found in. */
static kvjit_status look(kvjit *kv, request *r)
{
	kvjit_status s;

	if (r->state == FAILED) {
		s = failed(kv, r);
		drop(kv->later, r);
		return s;
	}
	if (r->state == QUEUED && !help(kv)) {
		drop(kv->later, r);
		return kvjit_fail(&kv->errors, KVJIT_NO_MEMORY,
		                  "no thread can be started to compile on; without "
		                  "KVJIT_LATER this one does");
	}
	return kvjit_fail(&kv->errors, KVJIT_PENDING,
	                  "it is being compiled; ask again, or without KVJIT_LATER, which "
	                  "waits");
}

/* Until r has ended. */
static kvjit_status await(kvjit *kv, request *r)
{
	kvjit_later *l = kv->later;
	kvjit_status s = KVJIT_OK;

	r->waiting++;
	if (r->state == QUEUED)
		run(kv, r);
	while (r->state == RUNNING)
		pthread_cond_wait(&l->changed, &l->lock);
	r->waiting--;
	if (r->state == FAILED)
		s = failed(kv, r);
	drop(l, r);
	return s;
}

kvjit_status kvjit_later_ask(kvjit *kv, const char *text, const kvjit_compile_options *o,
                             kvjit_kernel **out)
{
	bool later = o->flags & KVJIT_LATER && !kvjit_leaving();
	unsigned flags = o->flags & ~(unsigned)KVJIT_LATER;
	kvjit_later *l = kv->later;
	kvjit_status s = KVJIT_OK;
	kvjit_kernel *k;
	request *r;

	if (later)
		kvjit_leave_watch();
	pthread_mutex_lock(&l->lock);
	after_fork(l);
	r = find(l, text, o->sched, flags);
	k = r ? NULL : kvjit_hot_find(kv->hot, text, o->sched, flags); /* it may have ended */
	if (!r && !k && later && !(r = add(l, text, o->sched, flags)))
		s = kvjit_fail(&kv->errors, KVJIT_NO_MEMORY, "out of memory");
	else if (r)
		s = later ? look(kv, r) : await(kv, r);
	pthread_mutex_unlock(&l->lock);
	if (s != KVJIT_OK)
		return s;
	if (!k)
		k = kvjit_hot_find(kv->hot, text, o->sched, flags);
	if (!k) {
		kvjit_compile_options now = { sizeof(now), o->sched, flags };

		return kvjit_compile_now(kv, text, &now, out);
	}
	*out = k;
	return KVJIT_OK;
}

/* -- the context's --------------------------------------------------------------------------
 */

kvjit_later *kvjit_later_new(void)
{
	kvjit_later *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->changed, NULL);
	l->pid = getpid();
	return l;
}

void kvjit_later_free(kvjit_later *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	after_fork(l);
	l->closing = true;
	pthread_mutex_unlock(&l->lock);
	for (int i = 0; i < MOST; i++)
		if (l->worker[i].started)
			pthread_join(l->worker[i].thread, NULL);
	while (l->first)
		drop(l, l->first);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	free(l);
}
