/* SPDX-License-Identifier: Apache-2.0 */
/* load_device.c -- a load whose kernel runs on a device: its arguments lie there, and the
 * device tells how long a call took, without the way there and back. */
#include "load.h"

#include <stdio.h>

static bool move_one(load *l, int i, char *why, size_t len)
{
	const bind_arg *x = bind_find(&l->a.b, l->arg[i].name);
	size_t bytes = bind_bytes(x);
	if (!l->arg[i].data)
		return true;
	if (kvjit_device_alloc(l->kv, KVJIT_MEMORY_DEVICE, bytes, &l->there[i]) == KVJIT_OK &&
	    kvjit_device_copy(l->kv, l->there[i], x->data, bytes) == KVJIT_OK)
		return true;
	snprintf(why, len, "%s", kvjit_error(l->kv));
	return false;
}

bool load_to_device(load *l, kvjit *kv, char *why, size_t len)
{
	kvjit_queue_options o = { .size = sizeof o, .timed = 1 };
	l->kv = kv;
	if (kvjit_queue_new(kv, &o, &l->queue) != KVJIT_OK) {
		snprintf(why, len, "%s", kvjit_error(kv));
		return false;
	}
	for (int i = 0; i < l->narg; i++)
		if (!move_one(l, i, why, len))
			return false;
	for (int i = 0; i < l->narg; i++)
		l->arg[i].data = l->there[i];
	for (int i = 0; i < l->nmove; i++)
		l->move[i].base = l->there[l->move[i].arg];
	return true;
}

void load_leave_device(load *l)
{
	kvjit_queue_free(l->queue);
	for (int i = 0; i < BIND_MAX; i++)
		kvjit_device_free(l->kv, l->there[i]);
	l->queue = NULL;
}

bool load_device_call(load *l, double *seconds)
{
	return kvjit_queue_call(l->queue, l->k, l->plan, l->arg, l->narg, NULL) == KVJIT_OK &&
	       kvjit_queue_seconds(l->queue, seconds) == KVJIT_OK;
}
