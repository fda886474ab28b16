/* SPDX-License-Identifier: Apache-2.0 */
/* device.c -- finding devices, opening one, and its memory. */
#include "ze.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEVICES = 64, MAX_DRIVERS = 8, INTEL = 0x8086 };

/* -- what there is ------------------------------------------------------------------------- */

typedef struct found {
	ze_driver_handle_t driver;
	ze_device_handle_t handle;
	ze_device_properties_t is;
	const kir_target *row; /* NULL: none is known */
} found;

static const struct product {
	const char *row;
	uint32_t first, last;
} products[] = {
#define PRODUCT(row, first, last) { row, first, last },
#include "products.def"
};

static const kir_target *row_of(const ze_device_properties_t *p)
{
	for (size_t i = 0; i < sizeof(products) / sizeof(products[0]); i++)
		if (p->vendorId == INTEL && p->deviceId >= products[i].first &&
		    p->deviceId <= products[i].last)
			return kir_target_find(products[i].row);
	return NULL;
}

static bool describe(found *f, kbe_fault *why)
{
	memset(&f->is, 0, sizeof(f->is));
	f->is.stype = ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES;
	if (!ZE_OK(why, zeDeviceGetProperties, f->handle, &f->is))
		return false;
	f->row = row_of(&f->is);
	return true;
}

/* Counts are asked for first: not every driver corrects one that is too large. */
static bool add_devices(ze_driver_handle_t driver, found out[MAX_DEVICES], unsigned *n,
                        kbe_fault *why)
{
	ze_device_handle_t device[MAX_DEVICES];
	uint32_t count = 0, room = MAX_DEVICES - *n;

	if (!ZE_OK(why, zeDeviceGet, driver, &count, NULL))
		return false;
	count = count < room ? count : room;
	if (count && !ZE_OK(why, zeDeviceGet, driver, &count, device))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		out[*n].driver = driver;
		out[*n].handle = device[i];
		if (!describe(&out[(*n)++], why))
			return false;
	}
	return true;
}

/* Devices of all drivers, numbered as they come; none is a fault. */
static unsigned find_all(found out[MAX_DEVICES], kbe_fault *why)
{
	ze_driver_handle_t driver[MAX_DRIVERS];
	uint32_t count = 0;
	unsigned n = 0;

	if (!ze_ready(why) || !ZE_OK(why, zeDriverGet, &count, NULL))
		return 0;
	count = count < MAX_DRIVERS ? count : MAX_DRIVERS;
	if (count && !ZE_OK(why, zeDriverGet, &count, driver))
		return 0;
	for (uint32_t i = 0; i < count; i++)
		if (!add_devices(driver[i], out, &n, why))
			return 0;
	if (!n)
		ze_fault(why, KBE_NO_DEVICE,
		         "no Level Zero device: a driver is there, but it "
		         "offers no device");
	return n;
}

static void print(const found *f, unsigned i, kir_text *out)
{
	kir_text_add(out, "%u: %s, id %04x:%04x, %s%s", i, f->is.name, f->is.vendorId,
	             f->is.deviceId, f->row ? "target " : "of a kind kvjit doesn't know",
	             f->row ? f->row->name : "");
}

void ze_list(kir_text *out)
{
	found f[MAX_DEVICES];
	kbe_fault why;
	unsigned n = find_all(f, &why);

	for (unsigned i = 0; i < n; i++) {
		kir_text_add(out, "device   ");
		print(&f[i], i, out);
		kir_text_add(out, "\n");
	}
	if (!n)
		kir_text_add(out, "device   %s\n", why.text);
}

/* -- choosing ------------------------------------------------------------------------------ */

/* Whether f runs code for t; for any row, if t is NULL. What spelling its driver takes, the
 * driver says when it builds. */
static bool runs(const found *f, const kir_target *t)
{
	return f->row && (!t || !(t->features & ~(f->row->features | KIR_HAS_xe_ext)));
}

/* Numbers name a place in the list, other words a part of the name. */
static bool is_named(const found *f, unsigned i, const char *name)
{
	char *end;
	unsigned long number = strtoul(name, &end, 10);

	return *end ? strstr(f->is.name, name) != NULL : number == i;
}

static const found *refuse(const found *f, unsigned n, const kbe_choice *c, kbe_fault *why)
{
	kir_text list = { 0 };

	for (unsigned i = 0; i < n; i++) {
		kir_text_add(&list, "%s", i ? "; " : "");
		print(&f[i], i, &list);
	}
	ze_fault(why, KBE_NO_DEVICE, "no device%s%.60s%s runs target %s; there %s %s",
	         c->device ? " '" : "", c->device ? c->device : "", c->device ? "'" : "",
	         c->target ? c->target->name : "xe", n == 1 ? "is" : "are", list.text);
	free(list.text);
	return NULL;
}

/* A device of a kind that kvjit knows runs what its row says. One that it doesn't know is taken
 * only at a caller's word: with a target's name, and no device of a known kind there. */
static const found *choose(const found *f, unsigned n, const kbe_choice *c, kbe_fault *why)
{
	for (int unknown = 0; unknown < (c->target ? 2 : 1); unknown++)
		for (unsigned i = 0; i < n; i++) {
			if (c->handle ? c->handle != f[i].handle
			              : c->device && !is_named(&f[i], i, c->device))
				continue;
			if (unknown ? !f[i].row : runs(&f[i], c->target))
				return &f[i];
		}
	return refuse(f, n, c, why);
}

/* -- opening ------------------------------------------------------------------------------- */

static bool make_context(kbe_device *d, ze_driver_handle_t driver, kbe_fault *why)
{
	ze_context_desc_t desc = { ZE_STRUCTURE_TYPE_CONTEXT_DESC, NULL, 0 };

	d->own_context = ZE_OK(why, zeContextCreate, driver, &desc, &d->context);
	return d->own_context;
}

/* The queues that compute; a device may have others that only copy. */
static bool find_ordinal(kbe_device *d, kbe_fault *why)
{
	enum { MAX_GROUPS = 16 };
	ze_command_queue_group_properties_t group[MAX_GROUPS] = { 0 };
	uint32_t n = 0;

	for (uint32_t i = 0; i < MAX_GROUPS; i++)
		group[i].stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_GROUP_PROPERTIES;
	if (!ZE_OK(why, zeDeviceGetCommandQueueGroupProperties, d->handle, &n, NULL))
		return false;
	n = n < MAX_GROUPS ? n : MAX_GROUPS;
	if (n && !ZE_OK(why, zeDeviceGetCommandQueueGroupProperties, d->handle, &n, group))
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (group[i].flags & ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COMPUTE) {
			d->ordinal = i;
			return true;
		}
	return ze_fault(why, KBE_UNABLE, "device %s has no queue that computes", d->name);
}

static bool ask(kbe_device *d, const found *f, kbe_fault *why)
{
	ze_device_module_properties_t module = {
		.stype = ZE_STRUCTURE_TYPE_DEVICE_MODULE_PROPERTIES
	};
	ze_device_compute_properties_t compute = {
		.stype = ZE_STRUCTURE_TYPE_DEVICE_COMPUTE_PROPERTIES
	};
	ze_device_memory_access_properties_t access = {
		.stype = ZE_STRUCTURE_TYPE_DEVICE_MEMORY_ACCESS_PROPERTIES
	};

	d->handle = f->handle;
	d->row = f->row;
	memcpy(d->name, f->is.name, sizeof(d->name));
	d->tick = 1e-9 * (double)f->is.timerResolution;
	d->timer_bits = f->is.kernelTimestampValidBits;
	if (!ZE_OK(why, zeDeviceGetModuleProperties, d->handle, &module) ||
	    !ZE_OK(why, zeDeviceGetComputeProperties, d->handle, &compute) ||
	    !ZE_OK(why, zeDeviceGetMemoryAccessProperties, d->handle, &access))
		return false;
	d->spirv = module.spirvVersionSupported;
	d->local = compute.maxSharedLocalMemory;
	d->most_groups = compute.maxGroupCountX ? compute.maxGroupCountX : 1;
	d->system_memory = access.sharedSystemAllocCapabilities & ZE_MEMORY_ACCESS_CAP_FLAG_RW;
	return find_ordinal(d, why);
}

kbe_device *ze_open(const kbe_choice *c, kbe_device_info *info, kbe_fault *why)
{
	found all[MAX_DEVICES];
	const found *f;
	unsigned n = find_all(all, why);
	kbe_device *d;

	if (!n || !(f = choose(all, n, c, why)))
		return NULL;
	d = calloc(1, sizeof(*d));
	if (!d) {
		ze_fault(why, KBE_NO_ROOM, "out of memory");
		return NULL;
	}
	d->context = c->context;
	if (!ask(d, f, why) || (!d->context && !make_context(d, f->driver, why))) {
		ze_close(d);
		return NULL;
	}
	snprintf(info->name, sizeof(info->name), "%s", d->name);
	info->row = d->row;
	info->local = d->local;
	info->memory = f->is.maxMemAllocSize;
	info->units = f->is.numSlices * f->is.numSubslicesPerSlice * f->is.numEUsPerSubslice *
	              f->is.numThreadsPerEU;
	return d;
}

void ze_close(kbe_device *d)
{
	if (d->own_context)
		ze.zeContextDestroy(d->context);
	free(d);
}

/* -- memory -------------------------------------------------------------------------------- */

/* What vectors and block loads want of a base. */
enum { ALIGNMENT = 64 };

void *ze_alloc(kbe_device *d, kbe_memory kind, size_t bytes, kbe_fault *why)
{
	ze_device_mem_alloc_desc_t device = { ZE_STRUCTURE_TYPE_DEVICE_MEM_ALLOC_DESC, NULL, 0,
		                              0 };
	ze_host_mem_alloc_desc_t host = { ZE_STRUCTURE_TYPE_HOST_MEM_ALLOC_DESC, NULL, 0 };
	void *p = NULL;
	bool ok = false;

	switch (kind) {
	case KBE_MEMORY_device:
		ok = ZE_OK(why, zeMemAllocDevice, d->context, &device, bytes, ALIGNMENT,
		           d->handle, &p);
		break;
	case KBE_MEMORY_shared:
		ok = ZE_OK(why, zeMemAllocShared, d->context, &device, &host, bytes, ALIGNMENT,
		           d->handle, &p);
		break;
	case KBE_MEMORY_host:
		ok = ZE_OK(why, zeMemAllocHost, d->context, &host, bytes, ALIGNMENT, &p);
		break;
	}
	return ok ? p : NULL;
}

void ze_free(kbe_device *d, void *p)
{
	if (p)
		ze.zeMemFree(d->context, p);
}

/* Addresses that no allocation of the context holds are ordinary memory: some devices read it.
 */
bool ze_place(kbe_device *d, const void *p, kbe_place *out, kbe_fault *why)
{
	ze_memory_allocation_properties_t is = { ZE_STRUCTURE_TYPE_MEMORY_ALLOCATION_PROPERTIES,
		                                 NULL, ZE_MEMORY_TYPE_UNKNOWN, 0, 0 };
	static const char *const kinds[] = { "ordinary", "host", "device", "shared" };
	void *base = NULL;
	size_t bytes = 0;

	if (!ZE_OK(why, zeMemGetAllocProperties, d->context, p, &is, NULL))
		return false;
	out->kind = (unsigned)is.type < 4 ? kinds[is.type] : kinds[0];
	out->readable = is.type != ZE_MEMORY_TYPE_UNKNOWN || d->system_memory;
	out->host_readable = is.type != ZE_MEMORY_TYPE_DEVICE;
	out->end = 0;
	if (is.type == ZE_MEMORY_TYPE_UNKNOWN)
		return true;
	if (!ZE_OK(why, zeMemGetAddressRange, d->context, p, &base, &bytes))
		return false;
	out->end = (uintptr_t)base + bytes;
	return true;
}
