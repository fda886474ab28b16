/* SPDX-License-Identifier: Apache-2.0 */
/* claim.c -- one compile across processes: a byte-range lock for each key.
 *
 * Locks of an open file description, so that threads exclude each other as processes do, and
 * the system drops them with their holder however it ends. Keys share 2^62 places: two that
 * fall on one wait for each other, which costs time and nothing else.
 */
#include "store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* 0: taken; else errno. */
static int try_lock(int fd, const kt_key *key)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
	uint64_t place;

	memcpy(&place, key->b, sizeof(place));
	l.l_start = (off_t)(place >> 2);
	return fcntl(fd, F_OFD_SETLK, &l) ? errno : 0;
}

kt_reason kt_claim_take(kt_store *s, const kt_key *key, int wait_ms, kt_claim *c, bool *waited)
{
	int64_t end = now_ms() + wait_ms;
	struct timespec nap = { 0, 500000 };
	char path[4200];
	int why;

	c->fd = -1;
	*waited = false;
	if (kts_is_network(s->folder))
		return KT_WHY_none;
	snprintf(path, sizeof(path), "%s/claims", s->folder);
	c->fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
	if (c->fd < 0)
		return KT_WHY_none;
	while ((why = try_lock(c->fd, key)) == EAGAIN || why == EACCES || why == EINTR) {
		*waited = true;
		if (now_ms() >= end) {
			kt_claim_drop(c);
			return kt_say(&s->log, KT_WHY_locked, path, NULL);
		}
		nanosleep(&nap, NULL);
		if (nap.tv_nsec < 8000000)
			nap.tv_nsec *= 2;
	}
	if (why)
		kt_claim_drop(c);
	return KT_WHY_none;
}

/* The lock is let go, not only its descriptor closed: a child that was forked meanwhile has a
 * copy of that, which would hold it for as long as it lives. */
void kt_claim_drop(kt_claim *c)
{
	struct flock l = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	if (c->fd >= 0) {
		fcntl(c->fd, F_OFD_SETLK, &l);
		close(c->fd);
	}
	c->fd = -1;
}
