/* SPDX-License-Identifier: Apache-2.0 */
/* error.c -- sentences of failures, one for each thread and object.
 *
 * No thread-local storage: a context may be closed while threads that failed on it live on.
 * A thread is known by its pthread_t and its kernel id together, so that a new thread that
 * was given an old pthread_t doesn't read its predecessor's failure.
 */
#include "jit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct kvjit_error_of {
	struct kvjit_error_of *next;
	pthread_t thread;
	pid_t tid;
	char text[1024];
};

void kvjit_errors_init(kvjit_errors *e)
{
	pthread_mutex_init(&e->lock, NULL);
	e->first = NULL;
	e->mute = 0;
}

void kvjit_errors_free(kvjit_errors *e)
{
	struct kvjit_error_of *p = e->first;

	while (p) {
		struct kvjit_error_of *next = p->next;

		free(p);
		p = next;
	}
	pthread_mutex_destroy(&e->lock);
}

static struct kvjit_error_of *find(kvjit_errors *e)
{
	struct kvjit_error_of *p;

	for (p = e->first; p; p = p->next)
		if (pthread_equal(p->thread, pthread_self()))
			return p;
	return NULL;
}

kvjit_status kvjit_fail(kvjit_errors *e, kvjit_status s, const char *fmt, ...)
{
	struct kvjit_error_of *p;
	va_list ap;

	pthread_mutex_lock(&e->lock);
	p = find(e);
	if (!p) {
		p = calloc(1, sizeof(*p));
		if (p) {
			p->thread = pthread_self();
			p->next = e->first;
			e->first = p;
		} else {
			e->mute = gettid();
		}
	}
	pthread_mutex_unlock(&e->lock);
	if (!p)
		return s;
	p->tid = gettid();
	va_start(ap, fmt);
	vsnprintf(p->text, sizeof(p->text), fmt, ap);
	va_end(ap);
	return s;
}

/* A handle that is NULL has no place for a sentence. */
static _Thread_local char nobodys[160];

kvjit_status kvjit_fail_null(const char *call, const char *handle, const char *from)
{
	snprintf(nobodys, sizeof(nobodys), "%s: %s is NULL; %s makes one", call, handle, from);
	return KVJIT_BAD_ARGUMENT;
}

const char *kvjit_null_error(void)
{
	return nobodys;
}

const char *kvjit_last_error(kvjit_errors *e)
{
	struct kvjit_error_of *p;
	bool mute;

	pthread_mutex_lock(&e->lock);
	p = find(e);
	mute = e->mute == gettid();
	pthread_mutex_unlock(&e->lock);
	if (p && p->tid == gettid())
		return p->text;
	return mute ? "there is no memory for the sentence that says what is wrong" : "";
}
