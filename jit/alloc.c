/* SPDX-License-Identifier: Apache-2.0 */
/* alloc.c -- memory for cache pools: zeroed, on 2 MiB boundaries, on huge pages if the
 * system has them. Small pools get ordinary pages: a huge one would waste the rest of it.
 */
#include "jit.h"

#include <sys/mman.h>
#include <unistd.h>

static const size_t HUGE_PAGE = (size_t)2 << 20;

/* 0 when it doesn't fit in a size_t. */
static size_t rounded(size_t bytes)
{
	size_t unit = bytes >= HUGE_PAGE ? HUGE_PAGE : (size_t)sysconf(_SC_PAGESIZE);

	return bytes > SIZE_MAX - 2 * HUGE_PAGE ? 0 : (bytes + unit - 1) / unit * unit;
}

void *kvjit_alloc(size_t bytes)
{
	size_t size = rounded(bytes ? bytes : 1), head;
	char *raw;

	if (!size)
		return NULL;
	raw = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
	           -1, 0);
	if (raw == MAP_FAILED)
		return NULL;
	head = (HUGE_PAGE - (uintptr_t)raw % HUGE_PAGE) % HUGE_PAGE;
	if (head)
		munmap(raw, head);
	if (head < HUGE_PAGE)
		munmap(raw + head + size, HUGE_PAGE - head);
	if (size >= HUGE_PAGE)
		madvise(raw + head, size, MADV_HUGEPAGE);
	return raw + head;
}

void kvjit_free(void *p, size_t bytes)
{
	if (p)
		munmap(p, rounded(bytes ? bytes : 1));
}
