/* SPDX-License-Identifier: Apache-2.0 */
/* test_kept.c -- what a compiled kernel keeps in memory. */
#include "support_api.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Of what its passes made a kernel keeps nothing: 4 MB for this one. */
static void nothing_of_its_passes(void **state)
{
	kvjit *kv = open_code();
	kvjit_compile_options fresh = { .size = sizeof(fresh), .flags = KVJIT_FRESH };
	kvjit_kernel *k = NULL;
	size_t before;
	char *text;

	(void)state;
	kvjit_release(compile(kv, attn_problem, NULL)); /* what the backend keeps for itself */
	before = mallinfo2().uordblks;
	assert_int_equal(kvjit_compile(kv, attn_problem, &fresh, &k), KVJIT_OK);
	print_message("%zu KB\n", (mallinfo2().uordblks - before) / 1000);
	assert_true(mallinfo2().uordblks < before + 500 * 1000);
	text = kvjit_kernel_text(k, "vector"); /* is made again */
	assert_non_null(text);
	assert_non_null(strstr(text, "level=V"));
	free(text);
	kvjit_release(k);
	kvjit_close(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(nothing_of_its_passes) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
