/* SPDX-License-Identifier: Apache-2.0 */
/* fault.c -- ZECL_FAULT: which call goes wrong. */
#include "zecl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
#define FAULT(name, what) #name,
#include "faults.def"
};

static unsigned at[ZECL_FAULTS], seen[ZECL_FAULTS];

const char *zecl_fault_read(const char *text)
{
	while (text && *text) {
		size_t length = strcspn(text, ":,");
		unsigned which = 0;
		char *end;

		while (which < ZECL_FAULTS && (strlen(names[which]) != length ||
		                               strncmp(names[which], text, length) != 0))
			which++;
		if (which == ZECL_FAULTS)
			return "ZECL_FAULT names no fault of faults.def";
		if (text[length] != ':')
			return "ZECL_FAULT wants fault:n";
		at[which] = (unsigned)strtoul(text + length + 1, &end, 10);
		if (end == text + length + 1 || (*end && *end != ','))
			return "ZECL_FAULT wants a number behind ':'";
		text = *end ? end + 1 : end;
	}
	return NULL;
}

unsigned zecl_fault_value(enum zecl_fault fault, unsigned otherwise)
{
	return at[fault] ? at[fault] : otherwise;
}

bool zecl_fault(enum zecl_fault fault)
{
	bool now;

	pthread_mutex_lock(&zecl.lock);
	now = ++seen[fault] == at[fault];
	pthread_mutex_unlock(&zecl.lock);
	return now;
}
