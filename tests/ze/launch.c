/* SPDX-License-Identifier: Apache-2.0 */
/* launch.c -- one kernel, on the CPU. What would be a page fault or undefined on a GPU loses
 * the device here: pointers of the host, and what the block loads of xe.cl complain about.
 */
#include "zecl.h"

#include <string.h>

/* The sentences for the numbers of xe.cl. */
static const char *const complaints[] = {
	"nothing",
	"the base isn't a multiple of 64 bytes",
	"the width isn't from 64 bytes to 16 MiB, or no multiple of 4 bytes",
	"the height isn't from 1 to 16 Mi rows",
	"the pitch is less than the width, more than 16 MiB, or no multiple of 16 bytes",
	"the column isn't a multiple of 4 bytes",
	"this shape of a block isn't known",
};

static cl_int set_args(const struct zecl_op *op)
{
	cl_kernel kernel = op->kernel->kernel;
	cl_int error = CL_SUCCESS;

	for (int i = 0; i < op->kernel->nargs && error == CL_SUCCESS; i++) {
		const struct zecl_value *arg = op->args + i;
		void *p;

		switch (op->kernel->kinds[i]) {
		case ZECL_POINTER:
			memcpy(&p, arg->bytes, sizeof(p));
			error = clSetKernelArgSVMPointer(kernel, (cl_uint)i, p);
			break;
		case ZECL_LOCAL:
			error = clSetKernelArg(kernel, (cl_uint)i, arg->size, NULL);
			break;
		case ZECL_VALUE:
			error = clSetKernelArg(kernel, (cl_uint)i, arg->size, arg->bytes);
			break;
		}
	}
	return error;
}

static bool pointers_are_ours(const struct zecl_op *op)
{
	for (int i = 0; i < op->kernel->nargs; i++) {
		void *p;

		memcpy(&p, op->args[i].bytes, sizeof(p));
		if (op->kernel->kinds[i] == ZECL_POINTER && p && !zecl_memory_behind(p)) {
			zecl_lose("argument %d of %s, %p, is no memory of the device", i,
			          op->kernel->name, p);
			return false;
		}
	}
	return true;
}

/* The library counts in a variable of the program; a kernel of it tells and clears that. */
static bool complained(const struct zecl_op *op)
{
	int told[4] = { 0 };
	const size_t one = 1;
	cl_int error;
	cl_kernel tell = clCreateKernel(op->kernel->module->program, "zecl_tell", &error);

	if (!tell)
		return false;
	error = clSetKernelArgSVMPointer(tell, 0, told);
	if (error == CL_SUCCESS)
		error = clEnqueueNDRangeKernel(zecl.queue, tell, 1, NULL, &one, &one, 0, NULL,
		                               NULL);
	clFinish(zecl.queue);
	clReleaseKernel(tell);
	if (error != CL_SUCCESS || !told[0])
		return false;
	zecl_lose("%s: block load %d times wrong, first: %s (%d)", op->kernel->name, told[0],
	          complaints[told[1]], told[2]);
	return true;
}

bool zecl_launch(const struct zecl_op *op)
{
	size_t global[3];
	cl_event done = NULL;
	cl_ulong start = 0, end = 0;
	uint64_t ticks;
	cl_int error;

	if (zecl_fault(ZECL_FAULT_launch)) {
		zecl_lose("a fault that was asked for, in %s", op->kernel->name);
		return false;
	}
	if (!pointers_are_ours(op))
		return false;
	if (!op->groups[0] || !op->groups[1] || !op->groups[2]) {
		if (op->signal)
			zecl_event_signal(op->signal, zecl_ticks(), zecl_ticks());
		return true;
	}
	for (int i = 0; i < 3; i++)
		global[i] = op->group[i] * op->groups[i];
	error = set_args(op);
	if (error == CL_SUCCESS)
		error = clEnqueueNDRangeKernel(zecl.queue, op->kernel->kernel, 3, NULL, global,
		                               op->group, 0, NULL, &done);
	if (error == CL_SUCCESS)
		error = clWaitForEvents(1, &done);
	if (error != CL_SUCCESS) {
		zecl_lose("%s: OpenCL error %d", op->kernel->name, error);
		return false;
	}
	clGetEventProfilingInfo(done, CL_PROFILING_COMMAND_START, sizeof(start), &start, NULL);
	clGetEventProfilingInfo(done, CL_PROFILING_COMMAND_END, sizeof(end), &end, NULL);
	clReleaseEvent(done);
	if (complained(op))
		return false;
	ticks = zecl_ticks();
	if (op->signal)
		zecl_event_signal(op->signal, ticks - (end - start) / zecl.product->tick_ns,
		                  ticks);
	return true;
}
