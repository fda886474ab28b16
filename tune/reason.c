/* SPDX-License-Identifier: Apache-2.0 */
/* reason.c -- see reason.h. */
#include "reason.h"

#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

/* clang-format off */
const kt_reason_info kt_reasons[KT_NREASON] = {
#define REASON(name, log, sentence) { #name, sentence, log },
#include "reason.def"
};
/* clang-format on */

/* -- telling --------------------------------------------------------------------------- */

/* What was said: an entry for each place and reason, few and for the process's life. */
typedef struct said {
	struct said *next;
	kt_reason why;
	char path[];
} said;

static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;
static said *said_list;

static bool first_time(kt_reason why, const char *path)
{
	size_t len = strlen(path) + 1;
	said *s;

	pthread_mutex_lock(&said_lock);
	for (s = said_list; s; s = s->next)
		if (s->why == why && !strcmp(s->path, path))
			break;
	bool first = !s;
	if (first && (s = malloc(sizeof(*s) + len))) {
		memcpy(s->path, path, len);
		s->why = why;
		s->next = said_list;
		said_list = s;
	}
	pthread_mutex_unlock(&said_lock);
	return first;
}

kt_reason kt_say(const kt_log *log, kt_reason why, const char *path, const char *detail)
{
	char line[1200];

	if (!kt_reasons[why].log || !log || !log->line || !first_time(why, path))
		return why;
	/* a path that is too long must not cost the reason or the line's end */
	snprintf(line, sizeof(line), "kvjit: cache %.700s %s%s%.300s\n", path,
	         kt_reasons[why].sentence, detail ? ": " : "", detail ? detail : "");
	log->line(line, log->ctx);
	return why;
}

/* -- trust ------------------------------------------------------------------------------ */

static bool ours(uid_t owner)
{
	return owner == geteuid() || owner == 0;
}

/* The sticky bit doesn't help: in such a folder others can't replace our file, but they can
 * have put one there first. */
static bool loose(mode_t mode)
{
	return mode & (S_IWGRP | S_IWOTH);
}

kt_reason kt_file_trusted(int fd, const char *path)
{
	struct stat file, link, folder;
	char copy[4096];

	if (strlen(path) >= sizeof(copy))
		return KT_WHY_unreadable;
	memcpy(copy, path, strlen(path) + 1);
	if (fstat(fd, &file) || lstat(path, &link) || stat(dirname(copy), &folder))
		return KT_WHY_unreadable;
	if (S_ISLNK(link.st_mode))
		return KT_WHY_symlink;
	if (!S_ISREG(file.st_mode))
		return KT_WHY_not_file;
	if (!ours(file.st_uid) || !ours(folder.st_uid))
		return KT_WHY_foreign;
	return loose(file.st_mode) || loose(folder.st_mode) ? KT_WHY_loose : KT_WHY_none;
}

bool kt_privileged(void)
{
	return getauxval(AT_SECURE) != 0;
}
