/* SPDX-License-Identifier: Apache-2.0 */
/* tune_device.c -- what a tuner asks of a device without opening it: a process of its own opens
 * it, and leaves the answer in shared memory.
 */
#include "tune.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

bool tune_in_child(void (*fn)(void *ctx, tune_answer *out), void *ctx, tune_answer *out)
{
	tune_answer *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
	                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 0;
	pid_t pid;
	bool ok;

	if (shared == MAP_FAILED)
		return false;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		fn(ctx, shared);
		_exit(0);
	}
	ok = pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	     WEXITSTATUS(status) == 0;
	if (ok)
		*out = *shared;
	munmap(shared, sizeof *shared);
	return ok;
}

static void open_it(void *ctx, tune_answer *out)
{
	const kir_target *t = ctx;
	kvjit_options o = { .size = sizeof o, .target = t->name, .cache = "off" };
	kvjit *kv = NULL;

	if (kvjit_open(&o, &kv) != KVJIT_OK)
		snprintf(out->why, sizeof out->why, "%s", kvjit_open_error());
	else
		snprintf(out->sched, sizeof out->sched, "%s", kvjit_device_name(kv));
	kvjit_close(kv);
}

bool tune_device(const kir_target *t)
{
	tune_answer a = { 0 };

	return tune_in_child(open_it, (void *)t, &a) && *a.sched;
}
