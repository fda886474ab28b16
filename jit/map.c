/* SPDX-License-Identifier: Apache-2.0 */
/* map.c -- code into executable memory. A page is first writable, then executable, never
 * both; constants travel with the code and are readable there.
 */
#include "jit.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

bool kvjit_map_code(const void *bytes, size_t size, kvjit_map *out)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t whole = (size + page - 1) / page * page;
	void *p = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return false;
	memcpy(p, bytes, size);
	if (mprotect(p, whole, PROT_READ | PROT_EXEC)) {
		munmap(p, whole);
		return false;
	}
	out->base = p;
	out->size = whole;
	return true;
}

void kvjit_unmap(kvjit_map *m)
{
	if (m->base)
		munmap(m->base, m->size);
	m->base = NULL;
}

/* perf reads lines of "start size name". That the file can't be written isn't a failure of
 * the kernel. */
void kvjit_perf_map(const kvjit_map *m, size_t text, const char *name)
{
	char path[64];
	FILE *f;
	int fd;

	snprintf(path, sizeof(path), "/tmp/perf-%ld.map", (long)getpid());
	/* anybody can put a link of that name there; perf asks for a file of this user, too */
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
	          0644);
	f = fd >= 0 ? fdopen(fd, "a") : NULL;
	if (!f) {
		if (fd >= 0)
			close(fd);
		return;
	}
	fprintf(f, "%lx %zx kvjit:%s\n", (unsigned long)(uintptr_t)m->base, text, name);
	fclose(f);
}
