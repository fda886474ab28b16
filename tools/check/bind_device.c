/* SPDX-License-Identifier: Apache-2.0 */
/* bind_device.c -- a call on a device: arguments there, results back.
 *
 *     host  [ tensor ]  ->  device  [ margin | tensor | margin ]  ->  host  [ tensor ]
 *
 * A device has no inaccessible pages to put a tensor between; the margins are held against what
 * was written there before the call, which shows writes outside, not reads.
 */
#include "bind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MARGIN = 4096, FILL = 0xc3 };

typedef struct there {
	char *base;  /* of the first margin; NULL: nothing was copied */
	char *image; /* margins and tensor, the host's */
	size_t bytes;
	bool written;
} there;

static bool in_margin(const there *t, size_t i)
{
	return i < MARGIN || i >= MARGIN + t->bytes;
}

static kvjit_status send(kvjit *kv, there *t, const bind_arg *x, kvjit_arg *arg)
{
	size_t whole;
	void *p = NULL;
	kvjit_status s;
	t->bytes = bind_bytes(x);
	whole = t->bytes + 2 * MARGIN;
	t->image = malloc(whole);
	if (!t->image)
		return KVJIT_NO_MEMORY;
	memset(t->image, FILL, whole);
	memcpy(t->image + MARGIN, x->data, t->bytes);
	s = kvjit_device_alloc(kv, KVJIT_MEMORY_DEVICE, whole, &p);
	t->base = p;
	arg->data = t->base ? t->base + MARGIN : NULL;
	return s == KVJIT_OK ? kvjit_device_copy(kv, t->base, t->image, whole) : s;
}

/* Takes what the device has; the host's tensor is written only if the call may write it. */
static kvjit_status fetch(kvjit *kv, there *t, const bind_arg *x, char *why, size_t len)
{
	size_t whole = t->bytes + 2 * MARGIN;
	kvjit_status s = kvjit_device_copy(kv, t->image, t->base, whole);
	if (s != KVJIT_OK)
		return s;
	for (size_t i = 0; i < whole; i++)
		if (in_margin(t, i) && (unsigned char)t->image[i] != FILL) {
			snprintf(why, len, "byte %ld of '%s' was written; it has %zu",
			         (long)i - MARGIN, x->name, t->bytes);
			return KVJIT_INTERNAL;
		}
	if (t->written)
		memcpy(x->data, t->image + MARGIN, t->bytes);
	else if (memcmp(x->data, t->image + MARGIN, t->bytes) != 0) {
		snprintf(why, len, "input '%s' was written", x->name);
		return KVJIT_INTERNAL;
	}
	return KVJIT_OK;
}

static const kvjit_param *param_of(const kvjit_kernel *k, const char *name)
{
	int i = 0;
	while (strcmp(kvjit_param_at(k, i)->name, name) != 0)
		i++;
	return kvjit_param_at(k, i);
}

kvjit_status bind_device_call(const bind *b, kvjit *kv, const kvjit_kernel *k,
                              const kvjit_plan *plan, kvjit_arg *args, int n, char *why,
                              size_t len)
{
	there t[BIND_MAX] = { 0 };
	kvjit_status s = KVJIT_OK;
	*why = '\0';
	for (int i = 0; i < n && s == KVJIT_OK; i++) {
		t[i].written = param_of(k, args[i].name)->role & KVJIT_OUTPUT;
		if (args[i].data)
			s = send(kv, &t[i], bind_find((bind *)b, args[i].name), &args[i]);
	}
	if (s == KVJIT_OK) {
		s = kvjit_call(k, plan, args, n, NULL);
		if (s != KVJIT_OK)
			snprintf(why, len, "%s: %s", kvjit_status_name(s),
			         kvjit_kernel_error(k));
	}
	for (int i = 0; i < n; i++) {
		if (t[i].base && s == KVJIT_OK)
			s = fetch(kv, &t[i], bind_find((bind *)b, args[i].name), why, len);
		kvjit_device_free(kv, t[i].base);
		free(t[i].image);
	}
	if (s != KVJIT_OK && !*why)
		snprintf(why, len, "%s: %s", kvjit_status_name(s), kvjit_error(kv));
	return s;
}
