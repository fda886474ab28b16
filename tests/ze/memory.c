/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c -- unified shared memory: pages of this process, with a page behind each that
 * nobody may touch.
 *
 * The CPU runtime takes any pointer, a GPU doesn't. So that a test notices, memory of the
 * device is unreadable for the host save while a launch or a copy runs, and launch.c refuses
 * pointers that were not allocated here.
 */
#include "zecl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct memory {
	unsigned char *map, *p;
	size_t mapped, readable, size;
	ze_memory_type_t type;
	uint64_t id;
	struct memory *next;
};

static struct memory *all; /* zecl.lock */
static uint64_t used, last_id;

static struct memory *find(const void *address)
{
	const unsigned char *p = address;
	struct memory *m = all;

	while (m && (p < m->p || p >= m->p + m->size))
		m = m->next;
	return m;
}

/* The end of the memory is the end of a page, as near as the alignment allows. */
static ze_result_t allocate(size_t size, size_t alignment, ze_memory_type_t type, void **out)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), slack;
	bool device = type != ZE_MEMORY_TYPE_HOST;
	struct memory *m;

	*out = NULL;
	if (alignment & (alignment - 1))
		return ZE_RESULT_ERROR_UNSUPPORTED_ALIGNMENT;
	if (!size || size > zecl.memory_limit / 2)
		return ZE_RESULT_ERROR_UNSUPPORTED_SIZE;
	if (zecl.lost)
		return ZE_RESULT_ERROR_DEVICE_LOST;
	if (device && zecl_fault(ZECL_FAULT_memory))
		return ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY;
	if (!device && zecl_fault(ZECL_FAULT_host))
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	if (alignment < 64)
		alignment = 64;
	slack = alignment > page ? alignment : 0;
	m = calloc(1, sizeof(*m));
	if (!m)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	m->size = size;
	m->type = type;
	m->readable = (size + slack + page - 1) / page * page;
	m->mapped = m->readable + page;
	m->map = mmap(NULL, m->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
	              -1, 0);
	pthread_mutex_lock(&zecl.lock);
	if (m->map == MAP_FAILED || (device && size > zecl.memory_limit - used)) {
		pthread_mutex_unlock(&zecl.lock);
		if (m->map != MAP_FAILED)
			munmap(m->map, m->mapped);
		free(m);
		return device ? ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY
		              : ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	}
	m->p = (unsigned char *)((uintptr_t)(m->map + m->readable - size) & ~(alignment - 1));
	if (type != ZE_MEMORY_TYPE_DEVICE)
		mprotect(m->map, m->readable, PROT_READ | PROT_WRITE);
	used += device ? size : 0;
	m->id = ++last_id;
	m->next = all;
	all = m;
	zecl.live[ZECL_MEMORIES]++;
	pthread_mutex_unlock(&zecl.lock);
	*out = m->p;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeMemAllocShared(ze_context_handle_t context,
                             const ze_device_mem_alloc_desc_t *desc,
                             const ze_host_mem_alloc_desc_t *host, size_t size,
                             size_t alignment, ze_device_handle_t device, void **p)
{
	(void)context;
	(void)desc;
	(void)host;
	(void)device;
	return allocate(size, alignment, ZE_MEMORY_TYPE_SHARED, p);
}

ze_result_t zeMemAllocDevice(ze_context_handle_t context,
                             const ze_device_mem_alloc_desc_t *desc, size_t size,
                             size_t alignment, ze_device_handle_t device, void **p)
{
	(void)context;
	(void)desc;
	(void)device;
	return allocate(size, alignment, ZE_MEMORY_TYPE_DEVICE, p);
}

ze_result_t zeMemAllocHost(ze_context_handle_t context, const ze_host_mem_alloc_desc_t *desc,
                           size_t size, size_t alignment, void **p)
{
	(void)context;
	(void)desc;
	return allocate(size, alignment, ZE_MEMORY_TYPE_HOST, p);
}

ze_result_t zeMemFree(ze_context_handle_t context, void *p)
{
	struct memory **at = &all, *m;

	(void)context;
	pthread_mutex_lock(&zecl.lock);
	while (*at && (*at)->p != p)
		at = &(*at)->next;
	m = *at;
	if (m) {
		*at = m->next;
		used -= m->type != ZE_MEMORY_TYPE_HOST ? m->size : 0;
		zecl.live[ZECL_MEMORIES]--;
	}
	pthread_mutex_unlock(&zecl.lock);
	if (!m)
		return ZE_RESULT_ERROR_INVALID_ARGUMENT;
	munmap(m->map, m->mapped);
	free(m);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeMemGetAllocProperties(ze_context_handle_t context, const void *p,
                                    ze_memory_allocation_properties_t *properties,
                                    ze_device_handle_t *device)
{
	struct memory *m;
	uint32_t one = 1;

	(void)context;
	pthread_mutex_lock(&zecl.lock);
	m = find(p);
	properties->type = m ? m->type : ZE_MEMORY_TYPE_UNKNOWN;
	properties->id = m ? m->id : 0;
	properties->pageSize = m ? (uint64_t)sysconf(_SC_PAGESIZE) : 0;
	pthread_mutex_unlock(&zecl.lock);
	if (device) {
		*device = NULL;
		if (m && properties->type != ZE_MEMORY_TYPE_HOST)
			zeDeviceGet(NULL, &one, device);
	}
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeMemGetAddressRange(ze_context_handle_t context, const void *p, void **base,
                                 size_t *size)
{
	struct memory *m;

	(void)context;
	pthread_mutex_lock(&zecl.lock);
	m = find(p);
	if (m && base)
		*base = m->p;
	if (m && size)
		*size = m->size;
	pthread_mutex_unlock(&zecl.lock);
	return m ? ZE_RESULT_SUCCESS : ZE_RESULT_ERROR_INVALID_ARGUMENT;
}

size_t zecl_memory_behind(const void *p)
{
	struct memory *m;
	size_t size;

	pthread_mutex_lock(&zecl.lock);
	m = find(p);
	size = m ? (size_t)(m->p + m->size - (const unsigned char *)p) : 0;
	pthread_mutex_unlock(&zecl.lock);
	return size;
}

static void protect(int how)
{
	pthread_mutex_lock(&zecl.lock);
	for (struct memory *m = all; m; m = m->next)
		if (m->type == ZE_MEMORY_TYPE_DEVICE)
			mprotect(m->map, m->readable, how);
	pthread_mutex_unlock(&zecl.lock);
}

void zecl_memory_open(void)
{
	protect(PROT_READ | PROT_WRITE);
}

void zecl_memory_close(void)
{
	protect(PROT_NONE);
}
