/* SPDX-License-Identifier: Apache-2.0 */
/* leave.c -- the end of the process, and threads of ours that compile (later.c).
 *
 * exit tears down what LLVM built on its way: a thread that is in it crashes. So exit waits for
 * ours, MOST at most, and none of them begins anything more. What has to run first is the
 * difficulty, since handlers run in the opposite order of their registration, and LLVM
 * registers a dozen in the course of a first compilation:
 *
 *     exit by the first thread, or its return from main: destructors of that thread's own
 *             variables, before all handlers; set up when it asks for something for later
 *     exit by another thread: a handler, set up once a compilation has ended, behind LLVM's
 *
 * What is left is an exit by another thread during the first compilation of the process.
 * A child of a fork has no threads, and waits for none.
 */
#include "job.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 10000, STEP = 1 }; /* milliseconds */

static atomic_bool leaving;
static atomic_int working; /* threads of this process */
static _Thread_local bool is_ours;

static void wait_for_all(void)
{
	struct timespec step = { 0, STEP * 1000000 };
	int own = is_ours; /* a host's log may call exit */

	atomic_store(&leaving, true);
	for (int ms = 0; ms < MOST && atomic_load(&working) > own; ms += STEP)
		nanosleep(&step, NULL);
}

/* -- what is called first ------------------------------------------------------------------ */

#if defined(__GLIBC__)

/* Registers a destructor of a variable of this thread, of the object that the last argument is
 * in: what C++ compilers call for thread_local. */
extern int __cxa_thread_atexit_impl(void (*destroy)(void *), void *variable, void *object);

static void first_thread_ends(void *unused)
{
	(void)unused;
	wait_for_all();
}

void kvjit_leave_watch(void)
{
	static _Thread_local bool watched;

	if (watched || gettid() != getpid())
		return;
	watched = true;
	__cxa_thread_atexit_impl(first_thread_ends, NULL, &leaving);
}

#else

void kvjit_leave_watch(void)
{
}

#endif

static void register_handler(void)
{
	atexit(wait_for_all);
}

void kvjit_leave_compiled(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, register_handler);
}

/* -- threads ------------------------------------------------------------------------------- */

bool kvjit_leaving(void)
{
	return atomic_load(&leaving);
}

static void in_child(void)
{
	atomic_store(&working, 0);
}

static void register_child(void)
{
	pthread_atfork(NULL, NULL, in_child);
}

bool kvjit_leave_enter(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, register_child);
	atomic_fetch_add(&working, 1);
	if (!atomic_load(&leaving))
		return true;
	kvjit_leave_done();
	return false;
}

void kvjit_leave_begin(void)
{
	is_ours = true;
}

void kvjit_leave_done(void)
{
	atomic_fetch_sub(&working, 1);
}
