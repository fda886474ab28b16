/* SPDX-License-Identifier: Apache-2.0 */
/* test_confined.c -- a warm start in a process that may only read.
 *
 * A filter (seccomp) ends the process at the first system call that isn't in the table: no
 * other process, no thread, no socket, no file opened for writing, no page that is writable and
 * executable. Under it a kernel is found in a read-only cache, mapped and called. Calls that
 * libc takes one or the other of, by its version, are all in.
 */
#include "support_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#include <linux/filter.h>
#include <linux/seccomp.h>

/* Beside these: openat for reading, mmap and mprotect without W and X together, write to fd 2.
 */
static const int allowed[] = {
	/* reading files */
	SYS_read, SYS_pread64, SYS_close, SYS_lseek, SYS_fstat, SYS_stat, SYS_lstat,
	SYS_newfstatat, SYS_statx, SYS_statfs, SYS_fstatfs, SYS_access, SYS_faccessat,
	SYS_readlink, SYS_getcwd, SYS_fcntl, SYS_getdents64,
	/* memory */
	SYS_munmap, SYS_brk, SYS_mremap, SYS_madvise,
	/* who and where it is */
	SYS_getpid, SYS_gettid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_uname,
	SYS_sysinfo, SYS_sched_getaffinity, SYS_prlimit64, SYS_getrandom, SYS_arch_prctl,
	SYS_clock_gettime,
	/* locks, and the end */
	SYS_futex, SYS_exit_group
};
enum { NALLOWED = sizeof(allowed) / sizeof(allowed[0]), NCODE = 32 + 2 * NALLOWED };

static struct sock_filter code[NCODE];
static unsigned short ncode;

static void put(unsigned short op, unsigned char yes, unsigned char no, unsigned k)
{
	code[ncode++] = (struct sock_filter){ op, yes, no, k };
}

static void load(size_t offset)
{
	put(BPF_LD | BPF_W | BPF_ABS, 0, 0, (unsigned)offset);
}

/* Each rule ends with the number loaded for the next. */
static void load_number(void)
{
	load(offsetof(struct seccomp_data, nr));
}

static void answer(unsigned what)
{
	put(BPF_RET | BPF_K, 0, 0, what);
}

static void allow(int number)
{
	put(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (unsigned)number);
	answer(SECCOMP_RET_ALLOW);
}

/* number, if argument i has not all of `bits`, or, any: none of them. */
static void allow_without(int number, int i, unsigned bits, bool any)
{
	put(BPF_JMP | BPF_JEQ | BPF_K, 0, 5, (unsigned)number);
	load(offsetof(struct seccomp_data, args) + 8 * (size_t)i);
	put(BPF_ALU | BPF_AND | BPF_K, 0, 0, bits);
	put(BPF_JMP | BPF_JEQ | BPF_K, any ? 0 : 1, any ? 1 : 0, any ? 0 : bits);
	answer(SECCOMP_RET_ALLOW);
	load_number();
}

static void allow_write_to_stderr(void)
{
	put(BPF_JMP | BPF_JEQ | BPF_K, 0, 4, SYS_write);
	load(offsetof(struct seccomp_data, args));
	put(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 2);
	answer(SECCOMP_RET_ALLOW);
	load_number();
}

static void forbidden(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	dprintf(2, "system call %d isn't in the table\n", info->si_syscall);
	_exit(99);
}

/* False: the system has no such filters, or allows none. */
static bool confine(void)
{
	struct sigaction a = { .sa_sigaction = forbidden, .sa_flags = SA_SIGINFO };
	struct sock_fprog program = { 0, code };

	ncode = 0;
	load_number();
	for (int i = 0; i < NALLOWED; i++)
		allow(allowed[i]);
	allow_without(SYS_openat, 2, O_WRONLY | O_RDWR | O_CREAT | O_TRUNC, true);
	allow_without(SYS_open, 1, O_WRONLY | O_RDWR | O_CREAT | O_TRUNC, true);
	allow_without(SYS_mmap, 2, PROT_WRITE | PROT_EXEC, false);
	allow_without(SYS_mprotect, 2, PROT_WRITE | PROT_EXEC, false);
	allow_write_to_stderr();
	answer(SECCOMP_RET_TRAP);
	program.len = ncode;
	sigaction(SIGSYS, &a, NULL);
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

enum { NO_FILTERS = 77, ROWS = 3 };

static int exit_of(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

/* OpenMP's threads are no part of a warm start. */
static void serially(int64_t n, void (*fn)(int64_t begin, int64_t end, void *ctx), void *ctx,
                     void *executor)
{
	(void)executor;
	fn(0, n, ctx);
}

/* 0: found, called, right. */
static int start_confined(void)
{
	kvjit_options o = { .size = sizeof(o),
		            .cache = "off",
		            .cache_path = ct_folder,
		            .threads = 1,
		            .parallel = serially };
	float x[ROWS][16], y[ROWS][16] = { { 0 } };
	kvjit_arg args[] = { { .data = x, .dtype = KVJIT_F32 },
		             { .data = y, .dtype = KVJIT_F32 },
		             { .f = 2, .dtype = KVJIT_F32 },
		             { .i = ROWS, .dtype = KVJIT_S64 } };
	kvjit_kernel *k = NULL;
	kvjit *kv = NULL;

	for (int i = 0; i < ROWS * 16; i++)
		x[i / 16][i % 16] = (float)i;
	if (!confine())
		return NO_FILTERS;
	if (kvjit_open(&o, &kv) != KVJIT_OK)
		return 1;
	if (kvjit_compile(kv, scale_ir, NULL, &k) != KVJIT_OK || !ct_from_cache(k))
		return 2;
	if (kvjit_call(k, NULL, args, 4, NULL) != KVJIT_OK || y[2][3] != 2 * 35)
		return 3;
	kvjit_release(k);
	kvjit_close(kv);
	return 0;
}

static void a_warm_start_only_reads(void **state)
{
	int code_of;
	pid_t pid;

	(void)state;
	NEEDS_X86();
	fflush(NULL);
	pid = fork();
	if (!pid) {
		kvjit *kv = ct_open(ct_folder, NULL, NULL);

		kvjit_release(ct_get(kv, scale_ir, 0));
		kvjit_close(kv);
		_exit(0);
	}
	assert_int_equal(exit_of(pid), 0);
	pid = fork();
	if (!pid)
		_exit(start_confined());
	code_of = exit_of(pid);
	if (code_of == NO_FILTERS) {
		print_message("SKIPPED: this system allows no seccomp filter\n");
		skip();
	}
	assert_int_equal(code_of, 0);
}

/* That it can fail: what compiles opens more than it may. */
static void a_filter_ends_what_does_more(void **state)
{
	pid_t pid;
	int code_of;

	(void)state;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		if (!confine())
			_exit(NO_FILTERS);
		close(2);
		_exit(open("/dev/null", O_RDWR) >= 0 ? 1 : 2);
	}
	code_of = exit_of(pid);
	if (code_of == NO_FILTERS)
		skip();
	assert_int_equal(code_of, 99);
	pid = fork();
	if (!pid) {
		close(2);
		confine();
		mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		_exit(1);
	}
	assert_int_equal(exit_of(pid), 99);
}
#else
static void a_warm_start_only_reads(void **state)
{
	(void)state;
	print_message("SKIPPED: filters are written for x86-64, without sanitizers\n");
	skip();
}

static void a_filter_ends_what_does_more(void **state)
{
	(void)state;
	skip();
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		CT_TEST(a_warm_start_only_reads),
		CT_TEST(a_filter_ends_what_does_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
