/* SPDX-License-Identifier: Apache-2.0 */
/* reason.h -- why something in a cache isn't used (reason.def), and where that is said. */
#ifndef KVJIT_TUNE_REASON_H
#define KVJIT_TUNE_REASON_H

#include <stdbool.h>
#include <stddef.h>

typedef enum kt_reason {
#define REASON(name, log, sentence) KT_WHY_##name,
#include "reason.def"
	KT_NREASON
} kt_reason;

typedef struct kt_reason_info {
	const char *name, *sentence;
	bool log;
} kt_reason_info;

extern const kt_reason_info kt_reasons[KT_NREASON];

/* Where lines go. line NULL: nowhere. A reason is said once for each place in a process. */
typedef struct kt_log {
	void (*line)(const char *text, void *ctx);
	void *ctx;
} kt_log;

/* "kvjit: cache PATH SENTENCE[: detail]\n"; detail may be NULL. Returns the reason. */
kt_reason kt_say(const kt_log *log, kt_reason why, const char *path, const char *detail);

/* -- who may supply code --------------------------------------------------------------------
 * A file whose bytes may be executed: a regular file, no link, owned by this user or root,
 * writable by nobody else, and the same for the folder it stands in. Checks the open file, so
 * that what is checked is what is read. none, or the first thing wrong. */
kt_reason kt_file_trusted(int fd, const char *path);
/* Whether this process may look at the environment and its user's files at all. */
bool kt_privileged(void); /* AT_SECURE */

#endif
