/* SPDX-License-Identifier: Apache-2.0 */
/* support_cl.c -- see support_cl.h. */
#include "support_cl.h"

#if defined(__has_include)
#if __has_include(<CL/cl.h>)
#define HAVE_CL
#endif
#endif

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_CL
#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl.h>

enum { MAX_ARGS = 128 };

/* All that is called, by name: the tests link no OpenCL. */
/* clang-format off */
#define CALLS(X) \
	X(clGetPlatformIDs) X(clGetDeviceIDs) X(clGetDeviceInfo) X(clCreateContext) \
	X(clCreateCommandQueueWithProperties) X(clCreateProgramWithIL) \
	X(clCreateProgramWithSource) X(clBuildProgram) X(clGetProgramBuildInfo) \
	X(clCreateKernel) X(clReleaseKernel) X(clReleaseProgram) X(clSetKernelArg) \
	X(clSetKernelArgSVMPointer) X(clEnqueueNDRangeKernel) X(clFinish)
/* clang-format on */

static struct {
#define MEMBER(name) __typeof__(&(name)) name;
	CALLS(MEMBER)
#undef MEMBER
	cl_device_id device;
	cl_context context;
	cl_command_queue queue;
	bool tried, ok;
	char why[300];
} cl;

struct cl_module {
	cl_program program;
	cl_kernel kernel;
};

static bool missing(const char *what)
{
	snprintf(cl.why, sizeof cl.why, "%s", what);
	return false;
}

static bool load(void)
{
	void *so = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL), *at;

	if (!so)
		return missing("there is no libOpenCL.so.1");
#define FIND(name)                                              \
	at = dlsym(so, #name);                                  \
	if (!at)                                                \
		return missing("libOpenCL.so.1 has no " #name); \
	memcpy(&cl.name, &at, sizeof at);
	CALLS(FIND)
#undef FIND
	return true;
}

static bool reads_host_memory(cl_device_id d)
{
	cl_device_svm_capabilities can = 0;
	char il[200] = "";

	cl.clGetDeviceInfo(d, CL_DEVICE_SVM_CAPABILITIES, sizeof can, &can, NULL);
	cl.clGetDeviceInfo(d, CL_DEVICE_IL_VERSION, sizeof il, il, NULL);
	return can & CL_DEVICE_SVM_FINE_GRAIN_SYSTEM && strstr(il, "SPIR-V_1.3");
}

static bool find_device(void)
{
	cl_platform_id platform[16];
	cl_device_id device[16];
	cl_uint np = 0, nd;

	if (cl.clGetPlatformIDs(16, platform, &np) != CL_SUCCESS || !np)
		return missing("there is no OpenCL platform");
	for (cl_uint p = 0; p < np && p < 16; p++) {
		nd = 0;
		cl.clGetDeviceIDs(platform[p], CL_DEVICE_TYPE_ALL, 16, device, &nd);
		for (cl_uint d = 0; d < nd && d < 16; d++)
			if (reads_host_memory(device[d])) {
				cl.device = device[d];
				return true;
			}
	}
	return missing("no OpenCL device takes SPIR-V 1.3 and reads the host's memory");
}

static bool open_device(void)
{
	cl_int e;

	if (!load() || !find_device())
		return false;
	cl.context = cl.clCreateContext(NULL, 1, &cl.device, NULL, NULL, &e);
	if (!cl.context)
		return missing("the OpenCL device gives no context");
	cl.queue = cl.clCreateCommandQueueWithProperties(cl.context, cl.device, NULL, &e);
	return cl.queue || missing("the OpenCL device gives no queue");
}

bool support_cl(const char **why)
{
	if (!cl.tried)
		cl.ok = open_device();
	cl.tried = true;
	*why = cl.why;
	return cl.ok;
}

static cl_module *finish(cl_program p, const char *name, char *why, size_t len)
{
	static const char options[] = "-cl-fp32-correctly-rounded-divide-sqrt";
	cl_module *m = calloc(1, sizeof *m);
	cl_int e = CL_SUCCESS;

	snprintf(why, len, "the device takes no such program");
	if (!p || !m) {
		free(m);
		return NULL;
	}
	m->program = p;
	if (cl.clBuildProgram(p, 1, &cl.device, options, NULL, NULL) == CL_SUCCESS)
		m->kernel = cl.clCreateKernel(p, name, &e);
	if (m->kernel)
		return m;
	if (e == CL_SUCCESS)
		cl.clGetProgramBuildInfo(p, cl.device, CL_PROGRAM_BUILD_LOG, len, why, NULL);
	else
		snprintf(why, len, "no kernel %s: error %d", name, (int)e);
	support_cl_drop(m);
	return NULL;
}

cl_module *support_cl_build(const void *words, size_t size, const char *name, char *why,
                            size_t len)
{
	cl_int e;

	return finish(cl.clCreateProgramWithIL(cl.context, words, size, &e), name, why, len);
}

cl_module *support_cl_compile(const char *source, const char *name, char *why, size_t len)
{
	cl_int e;

	return finish(cl.clCreateProgramWithSource(cl.context, 1, &source, NULL, &e), name, why,
	              len);
}

void support_cl_drop(cl_module *m)
{
	if (!m)
		return;
	if (m->kernel)
		cl.clReleaseKernel(m->kernel);
	cl.clReleaseProgram(m->program);
	free(m);
}

bool support_cl_run(cl_module *m, const cl_arg *arg, unsigned narg, size_t groups, size_t lanes)
{
	size_t global = groups * lanes;
	cl_int e = CL_SUCCESS;

	for (unsigned i = 0; i < narg && e == CL_SUCCESS; i++)
		e = arg[i].value ? cl.clSetKernelArg(m->kernel, i, arg[i].bytes, arg[i].value)
		                 : cl.clSetKernelArgSVMPointer(m->kernel, i, arg[i].pointer);
	if (e == CL_SUCCESS && groups)
		e = cl.clEnqueueNDRangeKernel(cl.queue, m->kernel, 1, NULL, &global, &lanes, 0,
		                              NULL, NULL);
	if (e == CL_SUCCESS)
		e = cl.clFinish(cl.queue);
	if (e != CL_SUCCESS)
		fprintf(stderr, "OpenCL error %d\n", (int)e);
	return e == CL_SUCCESS;
}

/* Numbers of the call, where clSetKernelArg reads them. */
typedef struct call {
	cl_arg arg[MAX_ARGS];
	int64_t s64[MAX_ARGS];
	float f32[MAX_ARGS];
	int32_t s32[MAX_ARGS];
	unsigned n;
} call;

static void put_s64(call *c, int64_t x)
{
	c->s64[c->n] = x;
	c->arg[c->n] = (cl_arg){ .value = &c->s64[c->n], .bytes = 8 };
	c->n++;
}

static bool put_param(call *c, const kir_func *f, unsigned i, const kref_arg *arg)
{
	const kir_type *t = kir_type_at(f->module, f->param[i].type);

	if (c->n + 8 > MAX_ARGS)
		return false;
	if (t->buffer) {
		c->arg[c->n++] = (cl_arg){ .pointer = arg->base };
		for (unsigned k = 0; k < f->param[i].nstride; k++)
			put_s64(c, arg->stride[k]);
		return true;
	}
	switch (t->elem) {
	case KIR_s64: put_s64(c, arg->i); return true;
	case KIR_s32:
		c->s32[c->n] = (int32_t)arg->i;
		c->arg[c->n] = (cl_arg){ .value = &c->s32[c->n], .bytes = 4 };
		break;
	case KIR_f32:
		c->f32[c->n] = (float)arg->f;
		c->arg[c->n] = (cl_arg){ .value = &c->f32[c->n], .bytes = 4 };
		break;
	default: return false;
	}
	c->n++;
	return true;
}

static int64_t iterations(const kir_func *f, kir_ref loop, const kref_arg *arg)
{
	kir_ref hi = kir_src(f, loop, 1);
	int64_t x, step = kir_for_step(f, loop);

	if (!kir_is_const(f, hi, &x))
		x = arg[kir_at(f, hi)->attr[0]].i;
	return x > 0 ? (x + step - 1) / step : 0;
}

bool support_cl_call(cl_module *m, const kir_func *f, const kref_arg *arg)
{
	call *c = calloc(1, sizeof *c);
	bool ok = c != NULL;
	int64_t phase = 0;
	unsigned at;

	for (unsigned i = 0; ok && i < f->nparam; i++)
		ok = put_param(c, f, i, &arg[i]);
	at = ok ? c->n : 0;
	for (int i = 0; ok && i < 3; i++)
		put_s64(c, 0);
	for (kir_ref n = 1; ok && n < f->nnode; n++) {
		if (kir_at(f, n)->op != KIR_OP_for || !kir_for_par(f, n))
			continue;
		int64_t end = iterations(f, n, arg), half = end / 2;

		/* in two pieces, the second with groups that have nothing to do */
		c->s64[at] = phase++;
		c->s64[at + 1] = 0;
		c->s64[at + 2] = half;
		ok = support_cl_run(m, c->arg, c->n, (size_t)half, f->target->lanes);
		c->s64[at + 1] = half;
		c->s64[at + 2] = end;
		ok = ok &&
		     (end == half || support_cl_run(m, c->arg, c->n, (size_t)(end - half) + 1,
		                                    f->target->lanes));
		n = kir_region_end(f, n) - 1;
	}
	free(c);
	return ok;
}

#else

bool support_cl(const char **why)
{
	*why = "built without OpenCL's headers";
	return false;
}

cl_module *support_cl_build(const void *words, size_t size, const char *name, char *why,
                            size_t len)
{
	(void)words;
	(void)size;
	(void)name;
	snprintf(why, len, "built without OpenCL's headers");
	return NULL;
}

cl_module *support_cl_compile(const char *source, const char *name, char *why, size_t len)
{
	return support_cl_build(source, 0, name, why, len);
}

void support_cl_drop(cl_module *m)
{
	(void)m;
}

bool support_cl_run(cl_module *m, const cl_arg *arg, unsigned narg, size_t groups, size_t lanes)
{
	(void)m;
	(void)arg;
	(void)narg;
	(void)groups;
	(void)lanes;
	return false;
}

bool support_cl_call(cl_module *m, const kir_func *f, const kref_arg *arg)
{
	(void)m;
	(void)f;
	(void)arg;
	return false;
}

#endif
