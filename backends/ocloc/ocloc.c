/* SPDX-License-Identifier: Apache-2.0 */
/* ocloc.c -- the offline compiler, through its C interface: files in, files out, in memory.
 *
 * It aborts on some modules that it can't compile, it prints, and it has globals: each compile
 * is a child of its own, which costs the loading of the compiler, about 0.1 s.
 */
#include "ocloc.h"
#include "../spirv_flags.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const kno_device devices[] = {
#define DEVICE(target, name, major, minor) { target, name, major, minor },
#include "devices.def"
};

/* As in ocloc_api.h, whose header is C++. */
typedef int invoke_fn(unsigned argc, const char *argv[], uint32_t nsource,
                      const uint8_t **source, const uint64_t *source_size,
                      const char **source_name, uint32_t nheader, const uint8_t **header,
                      const uint64_t *header_size, const char **header_name, uint32_t *nout,
                      uint8_t ***out, uint64_t **out_size, char ***out_name);

static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static invoke_fn *invoke;

const kno_device *kno_find(const char *target, kir_diag *why)
{
	char names[200] = "";

	for (size_t i = 0; i < sizeof(devices) / sizeof(*devices); i++) {
		if (!strcmp(devices[i].target, target))
			return &devices[i];
		strncat(names, i ? ", " : "", sizeof(names) - strlen(names) - 1);
		strncat(names, devices[i].target, sizeof(names) - strlen(names) - 1);
	}
	kir_error(why, 0, 0, "no native code for target '%s': there is for %s", target, names);
	return NULL;
}

static bool load(kir_diag *why)
{
	const char *const names[] = { "libocloc.so", "libocloc.so.1" };
	void *so = NULL, *symbol;

	pthread_mutex_lock(&loading);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names) && !so; i++)
		so = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
	symbol = so ? dlsym(so, "oclocInvoke") : NULL;
	if (symbol)
		memcpy(&invoke, &symbol, sizeof(invoke));
	else
		kir_error(
		    why, 0, 0,
		    "no native code without Intel's offline compiler: %s (Debian has it in "
		    "intel-opencl-icd)",
		    dlerror());
	pthread_mutex_unlock(&loading);
	return symbol != NULL;
}

/* The last lines of a log say what went wrong. */
static void say(const kno_device *d, const char *log, size_t size, int status, kir_diag *why)
{
	while (size && strchr(" \n", log[size - 1]))
		size--;
	if (size > 140) {
		log += size - 140;
		size = 140;
	}
	if (WIFSIGNALED(status))
		kir_error(why, 0, 0, "ocloc can't compile this for '%s', it ended by signal %d",
		          d->name, WTERMSIG(status));
	else
		kir_error(why, 0, 0, "ocloc can't compile this for '%s': %.*s", d->name,
		          size ? (int)size : 23, size ? log : "it ended without a word");
}

static void put(int file, const void *bytes, size_t size)
{
	for (const char *at = bytes; size;) {
		ssize_t n = write(file, at, size);

		if (n <= 0)
			_exit(2);
		at += n;
		size -= (size_t)n;
	}
}

/* In the child: the file or, with status 1, the log. */
static void compile(const kno_device *d, const void *spirv, size_t size, int file)
{
	const char *argv[] = {
		"ocloc",       "compile",  "-q",    "-spirv_input", "-file",
		"k.spv",       "-device",  d->name, "-output",      "k",
		"-exclude_ir", "--format", "zebin", "-options",     kbe_spirv_flags(spirv, size)
	};
	uint32_t nargs = sizeof(argv) / sizeof(*argv) - (*argv[14] ? 0 : 2);
	const uint8_t *source = spirv;
	const uint64_t source_size = size;
	const char *source_name = "k.spv";
	uint32_t n = 0;
	uint8_t **out = NULL;
	uint64_t *out_size = NULL;
	char **name = NULL;
	bool failed = invoke(nargs, argv, 1, &source, &source_size, &source_name, 0, NULL, NULL,
	                     NULL, &n, &out, &out_size, &name) != 0;

	for (uint32_t i = 0; i < n; i++) {
		size_t length = strlen(name[i]);
		bool log = !strcmp(name[i], "stdout.log");

		if (failed ? log : length > 4 && !strcmp(name[i] + length - 4, ".bin"))
			put(file, out[i], out_size[i]);
	}
	_exit(failed);
}

/* Everything in the file; malloc'ed, NUL behind the end. */
static char *all_of(int file, size_t *size)
{
	off_t end = lseek(file, 0, SEEK_END);
	char *bytes = end < 0 ? NULL : calloc(1, (size_t)end + 1);

	*size = 0;
	while (bytes && *size < (size_t)end) {
		ssize_t n = pread(file, bytes + *size, (size_t)end - *size, (off_t)*size);

		if (n <= 0)
			break;
		*size += (size_t)n;
	}
	return bytes;
}

bool kbe_native(const char *target, const void *spirv, size_t size, void **elf,
                size_t *elf_size, kir_diag *why)
{
	const kno_device *d = kno_find(target, why);
	char *result = NULL;
	int file, quiet, status = 0;
	size_t length = 0;
	kno_elf parts;
	pid_t child;

	*elf = NULL;
	if (!d || !load(why))
		return false;
	file = memfd_create("kvjit-native", MFD_CLOEXEC);
	child = file < 0 ? -1 : fork();
	if (!child) {
		quiet = open("/dev/null", O_WRONLY);
		dup2(quiet, 1);
		dup2(quiet, 2);
		compile(d, spirv, size, file);
	}
	if (child > 0 && waitpid(child, &status, 0) == child)
		result = all_of(file, &length);
	if (file >= 0)
		close(file);
	if (!result) {
		kir_error(why, 0, 0, "no process for ocloc: %s", strerror(errno));
		return false;
	}
	if (!status &&
	    kno_elf_read(result, length, &parts, why)) { /* "succeeded" with no kernel */
		free(parts.info);
		*elf = result;
		*elf_size = length;
		return true;
	}
	if (status)
		say(d, result, length, status, why);
	free(result);
	return false;
}
