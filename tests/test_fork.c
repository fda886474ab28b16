/* SPDX-License-Identifier: Apache-2.0 */
/* test_fork.c -- a child of a process that has compiled and called kernels goes on with them
 * and makes new ones. The OpenMP of GCC waits for ever there for threads that only the parent
 * has. */
#include "support_api.h"
#include "support_blob.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* PATIENCE: seconds; a child that hangs is ended by its alarm. */
enum { ROWS = 4096, COLS = 16, PATIENCE = 120 };

static float x[ROWS][COLS], y[ROWS][COLS];

static bool scales(const kvjit_kernel *k, float by)
{
	kvjit_arg a[] = {
		{ .name = "x",
		  .dtype = KVJIT_F32,
		  .data = x,
		  .rank = 2,
		  .shape = { ROWS, COLS } },
		{ .name = "y",
		  .dtype = KVJIT_F32,
		  .data = y,
		  .rank = 2,
		  .shape = { ROWS, COLS } },
		{ .name = "a", .f = by },
		{ .name = "n", .i = ROWS },
	};

	memset(y, 0, sizeof y);
	if (kvjit_call(k, NULL, a, 4, NULL) != KVJIT_OK)
		return false;
	for (int i = 0; i < ROWS; i++)
		for (int j = 0; j < 4; j++)
			if (y[i][j] != by * x[i][j])
				return false;
	return true;
}

/* In the child: the parent's kernel, a new one of its context, and one of a context of its own.
 * Which failed, 0: none. */
static int go_on(kvjit *kv, const kvjit_kernel *k)
{
	static const char other[] = "merge out=f32 heads=4 dim=64";
	kvjit_compile_options o = { .size = sizeof o, .flags = KVJIT_FRESH };
	kvjit_options mine = { .size = sizeof mine,
		               .backend = support_backend("x86") ? "x86" : "c" };
	kvjit *own = NULL;
	kvjit_kernel *more = NULL;

	if (!scales(k, 3))
		return 1;
	if (kvjit_compile(kv, scale_ir, &o, &more) != KVJIT_OK || !scales(more, 4))
		return 2;
	kvjit_release(more);
	if (kvjit_compile(kv, other, NULL, &more) != KVJIT_OK)
		return 3;
	kvjit_release(more);
	kvjit_close(kv);
	if (kvjit_open(&mine, &own) != KVJIT_OK ||
	    kvjit_compile(own, scale_ir, NULL, &more) != KVJIT_OK || !scales(more, 5))
		return 4;
	kvjit_release(more);
	kvjit_close(own);
	return 0;
}

static void a_child_goes_on(void **state)
{
	kvjit *kv = open_code();
	kvjit_kernel *k = compile(kv, scale_ir, NULL);
	int status = 0;
	pid_t pid;

	(void)state;
	for (int i = 0; i < ROWS * COLS; i++)
		x[i / COLS][i % COLS] = (float)(i % 1000);
	assert_true(scales(k, 2));
	pid = fork();
	if (!pid) {
		alarm(PATIENCE);
		_exit(go_on(kv, k));
	}
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status))
		fail_msg("the child was ended by signal %d (%d: it hung)", WTERMSIG(status),
		         SIGALRM);
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_true(scales(k, 6)); /* and the parent */
	kvjit_release(k);
	kvjit_close(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_child_goes_on) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
