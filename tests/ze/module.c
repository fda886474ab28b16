/* SPDX-License-Identifier: Apache-2.0 */
/* module.c -- modules: SPIR-V, compiled and linked with the library of what the CPU runtime
 * lacks. A "native" binary is the SPIR-V with the product's name before it, so that one of
 * another product is refused as a driver does it, and so is a real one, which can't run here.
 */
#include "zecl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct _ze_module_build_log_handle_t {
	char *text;
};

struct native {
	char magic[8], product[24];
};

static const char magic[8] = "zecl-nb";

static void append(char **log, const char *text)
{
	size_t old = *log ? strlen(*log) : 0;
	char *grown = realloc(*log, old + strlen(text) + 2);

	if (!grown)
		return;
	*log = grown;
	strcpy(grown + old, text);
	if (*text)
		strcat(grown, "\n");
}

static void append_cl(char **log, cl_program program)
{
	size_t size = 0;
	char *text;

	clGetProgramBuildInfo(program, zecl.device, CL_PROGRAM_BUILD_LOG, 0, NULL, &size);
	text = calloc(1, size + 1);
	if (text)
		clGetProgramBuildInfo(program, zecl.device, CL_PROGRAM_BUILD_LOG, size, text,
		                      NULL);
	if (text && *text)
		append(log, text);
	free(text);
}

static bool build(struct zecl_spirv spirv, cl_program *linked, char **log)
{
	cl_int error;
	cl_program parts[2] = { NULL, zecl.library };
	struct zecl_spirv older = { NULL, 0 };
	bool newer = zecl_newer(&spirv, &older);
	cl_uint nparts = 1;

	*linked = NULL;
	if (newer)
		spirv = older;
	/* The library is compiled anew in each link, which takes a tenth of a second; a
	 * quantizer takes two. */
	if (zecl_spirv_imports(&spirv))
		nparts = 2;
	parts[0] = clCreateProgramWithIL(zecl.context, spirv.words, spirv.nwords * 4, &error);
	free((void *)older.words);
	if (!parts[0])
		return false;
	error = clCompileProgram(parts[0], 1, &zecl.device, "", 0, NULL, NULL, NULL, NULL);
	append_cl(log, parts[0]);
	if (error == CL_SUCCESS) {
		*linked = clLinkProgram(zecl.context, 1, &zecl.device, "", nparts, parts, NULL,
		                        NULL, &error);
		if (*linked)
			append_cl(log, *linked);
	}
	clReleaseProgram(parts[0]);
	if (error != CL_SUCCESS && *linked) {
		clReleaseProgram(*linked);
		*linked = NULL;
	}
	return *linked != NULL;
}

/* What it is made of; the bytes may lie anywhere, the words need their alignment. */
static ze_result_t unpack(const ze_module_desc_t *desc, struct zecl_spirv *spirv, char **log)
{
	const uint8_t *bytes = desc->pInputModule;
	size_t size = desc->inputSize;
	struct native head;
	uint32_t *words;

	if (desc->format == ZE_MODULE_FORMAT_NATIVE) {
		if (size < sizeof(head) || memcmp(bytes, magic, sizeof(magic)) != 0) {
			append(log, "the binary is none of this driver's");
			return ZE_RESULT_ERROR_INVALID_NATIVE_BINARY;
		}
		memcpy(&head, bytes, sizeof(head));
		if (strcmp(head.product, zecl.product->name)) {
			append(log, "the binary was made for another device");
			return ZE_RESULT_ERROR_INVALID_NATIVE_BINARY;
		}
		bytes += sizeof(head);
		size -= sizeof(head);
	} else if (desc->format != ZE_MODULE_FORMAT_IL_SPIRV)
		return ZE_RESULT_ERROR_INVALID_ENUMERATION;
	words = malloc(size ? size : 1);
	if (!words)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	memcpy(words, bytes, size);
	spirv->words = words;
	spirv->nwords = size / 4;
	return ZE_RESULT_SUCCESS;
}

/* With ZECL_VAL, the path of spirv-val: its verdict on whatever is built, so that all modules
 * of all tests are valid. Extensions are newer than it: it sees calls in the place of their
 * instructions. What it finds it prints. */
static bool is_valid(const struct zecl_spirv *spirv)
{
	const char *validator = getenv("ZECL_VAL");
	struct zecl_spirv calls, see = *spirv;
	char command[600];
	bool newer;
	FILE *to;

	if (!validator || !*validator)
		return true;
	newer = zecl_newer(spirv, &calls);
	if (newer)
		see = calls;
	snprintf(command, sizeof(command), "%s --target-env spv1.4 - >&2", validator);
	to = popen(command, "w");
	if (to)
		fwrite(see.words, 4, see.nwords, to);
	if (newer)
		free((void *)calls.words);
	return to && pclose(to) == 0;
}

static ze_result_t create(const ze_module_desc_t *desc, ze_module_handle_t *out, char **log)
{
	ze_module_handle_t m = calloc(1, sizeof(*m));
	ze_result_t status =
	    m ? unpack(desc, &m->spirv, log) : ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	const char *wrong = NULL;

	if (status == ZE_RESULT_SUCCESS) {
		if (zecl_fault(ZECL_FAULT_build))
			wrong = "error: a fault that was asked for";
		else
			wrong =
			    zecl_spirv_check(&m->spirv, zecl_fault_value(ZECL_FAULT_spirv, 4));
		if (!wrong && !is_valid(&m->spirv))
			wrong = "error: spirv-val refuses the module";
		if (wrong)
			append(log, wrong);
		if (wrong || !build(m->spirv, &m->program, log))
			status = ZE_RESULT_ERROR_MODULE_BUILD_FAILURE;
	}
	if (status != ZE_RESULT_SUCCESS) {
		if (m)
			free((void *)m->spirv.words);
		free(m);
		return status;
	}
	zecl_count(ZECL_MODULES, 1);
	*out = m;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeModuleCreate(ze_context_handle_t context, ze_device_handle_t device,
                           const ze_module_desc_t *desc, ze_module_handle_t *module,
                           ze_module_build_log_handle_t *build_log)
{
	char *log = NULL;
	ze_result_t status;

	(void)context;
	(void)device;
	if (zecl.lost)
		return ZE_RESULT_ERROR_DEVICE_LOST;
	append(&log, "");
	status = create(desc, module, &log);
	if (build_log) {
		*build_log = calloc(1, sizeof(**build_log));
		if (*build_log) {
			(*build_log)->text = log;
			zecl_count(ZECL_LOGS, 1);
			return status;
		}
	}
	free(log);
	return status;
}

ze_result_t zeModuleDestroy(ze_module_handle_t module)
{
	clReleaseProgram(module->program);
	free((void *)module->spirv.words);
	free(module);
	zecl_count(ZECL_MODULES, -1);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeModuleBuildLogDestroy(ze_module_build_log_handle_t log)
{
	free(log->text);
	free(log);
	zecl_count(ZECL_LOGS, -1);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeModuleBuildLogGetString(ze_module_build_log_handle_t log, size_t *size,
                                      char *text)
{
	const char *from = log->text ? log->text : "";
	size_t whole = strlen(from) + 1;

	if (text && *size) {
		memcpy(text, from, *size < whole ? *size : whole);
		text[*size - 1] = 0;
	}
	*size = whole;
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeModuleGetNativeBinary(ze_module_handle_t module, size_t *size, uint8_t *bytes)
{
	struct native head = { "", "" };
	size_t code = module->spirv.nwords * 4;

	if (bytes && *size < sizeof(head) + code)
		return ZE_RESULT_ERROR_INVALID_SIZE;
	*size = sizeof(head) + code;
	if (!bytes)
		return ZE_RESULT_SUCCESS;
	memcpy(head.magic, magic, sizeof(magic));
	strncpy(head.product, zecl.product->name, sizeof(head.product) - 1);
	memcpy(bytes, &head, sizeof(head));
	memcpy(bytes + sizeof(head), module->spirv.words, code);
	return ZE_RESULT_SUCCESS;
}

ze_result_t zeModuleGetKernelNames(ze_module_handle_t module, uint32_t *count,
                                   const char **names)
{
	unsigned n = 0;
	const char *name;

	for (; (name = zecl_spirv_kernel(&module->spirv, n)); n++)
		if (names && n < *count)
			names[n] = name;
	*count = n;
	return ZE_RESULT_SUCCESS;
}

/* What isn't resolved doesn't link. */
ze_result_t zeModuleGetProperties(ze_module_handle_t module, ze_module_properties_t *properties)
{
	(void)module;
	properties->flags = 0;
	return ZE_RESULT_SUCCESS;
}
