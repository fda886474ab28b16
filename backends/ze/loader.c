/* SPDX-License-Identifier: Apache-2.0 */
/* loader.c -- the Level Zero loader, opened once in a process. */
#include "ze.h"

#include <dlfcn.h>
#include <string.h>

ze_calls ze;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool ready;
static kbe_fault reason;

static const struct call {
	const char *name;
	size_t at;
} calls[] = {
#define CALL(name) { #name, offsetof(ze_calls, name) },
#include "calls.def"
};

static bool look_up(void *so)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		void *symbol = dlsym(so, calls[i].name);

		if (!symbol)
			return ze_fault(&reason, KBE_NO_DEVICE,
			                "libze_loader.so.1 is too old: it has no %s",
			                calls[i].name);
		memcpy((char *)&ze + calls[i].at, &symbol, sizeof(symbol));
	}
	return true;
}

/* The loader stays: drivers start threads and don't survive being unloaded. */
static void load(void)
{
	void *so = dlopen("libze_loader.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

	if (!so)
		ze_fault(&reason, KBE_NO_DEVICE,
		         "the Level Zero loader, libze_loader.so.1, can't be loaded (Debian: "
		         "libze1)");
	else if (look_up(so))
		ready = ZE_OK(&reason, zeInit, 0);
}

bool ze_ready(kbe_fault *why)
{
	pthread_once(&once, load);
	if (!ready)
		ze_fault(why, reason.kind, "no Level Zero device: %s", reason.text);
	return ready;
}
