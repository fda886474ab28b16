/* SPDX-License-Identifier: Apache-2.0 */
/* test_merge.c -- a part whose log-sum-exp says that it saw nothing isn't read: whoever made it
 * need not have written it, and memory that nobody wrote may hold NaNs. A weight of 0 times
 * that was once part of the sum. */
#include "support_api.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Heads and elements that fill no vector, and so many that several rows are taken at once. */
enum { PARTS = 3, ROWS = 4, HEADS = 5, DIM = 48 };

typedef struct job {
	float part[PARTS][ROWS][HEADS][DIM], lse[PARTS][ROWS][HEADS];
	float out[ROWS][HEADS][DIM], all[ROWS][HEADS];
} job;

/* Whether part p of a row saw nothing: none of row 0's, some of others by head, all of row 3's.
 */
static int blind(int p, int t, int h)
{
	return t == 3 || (t && (p + t + h) % 3 == 0);
}

static void fill(job *j, float none, float garbage)
{
	for (int p = 0; p < PARTS; p++)
		for (int t = 0; t < ROWS; t++)
			for (int h = 0; h < HEADS; h++) {
				int skip = blind(p, t, h);

				j->lse[p][t][h] = skip ? none : 0.5f * (float)(p - h);
				for (int d = 0; d < DIM; d++)
					j->part[p][t][h][d] =
					    skip ? garbage : (float)(p * 7 - t + h + d);
			}
}

static void compare(const job *j, float none, const char *where)
{
	for (int t = 0; t < ROWS; t++)
		for (int h = 0; h < HEADS; h++)
			for (int d = 0; d < DIM; d++) {
				double sum = 0, w = 0, want;

				for (int p = 0; p < PARTS; p++)
					if (!blind(p, t, h)) {
						double e = exp(j->lse[p][t][h]);
						w += e;
						sum += e * (double)j->part[p][t][h][d];
					}
				want = w > 0 ? sum / w : 0;
				if (!(fabs((double)j->out[t][h][d] - want) < 1e-4) ||
				    (w > 0 ? !(fabs((double)j->all[t][h] - log(w)) < 1e-4)
				           : j->all[t][h] != none))
					fail_msg("%s: [%d][%d][%d] is %g (%g), not %g (%g)",
					         where, t, h, d, (double)j->out[t][h][d],
					         (double)j->all[t][h], want,
					         w > 0 ? log(w) : (double)none);
			}
}

static void check(kvjit *kv)
{
	static const float nones[] = { -INFINITY, INFINITY },
	                   garbage[] = { NAN, INFINITY, -3e38f };
	kvjit_kernel *k = compile(kv, "merge heads=5 dim=48 out=f32 lse", NULL);
	job *j = calloc(1, sizeof(*j));
	kvjit_arg args[] = { { .name = "parts",
		               .data = j->part,
		               .dtype = KVJIT_F32,
		               .rank = 4,
		               .shape = { PARTS, ROWS, HEADS, DIM } },
		             { .name = "lses",
		               .data = j->lse,
		               .dtype = KVJIT_F32,
		               .rank = 3,
		               .shape = { PARTS, ROWS, HEADS } },
		             { .name = "p", .i = PARTS },
		             { .name = "n", .i = ROWS },
		             { .name = "out", .data = j->out, .dtype = KVJIT_F32 },
		             { .name = "lse", .data = j->all, .dtype = KVJIT_F32 } };

	for (int n = 0; n < 2; n++)
		for (int g = 0; g < 3; g++) {
			char where[100];

			fill(j, nones[n], garbage[g]);
			assert_int_equal(kvjit_call(k, NULL, args, 6, NULL), KVJIT_OK);
			snprintf(where, sizeof where, "%s, %g in what %g says is nothing",
			         kvjit_kernel_target(k), (double)garbage[g], (double)nones[n]);
			compare(j, nones[n], where);
		}
	free(j);
	kvjit_release(k);
	kvjit_close(kv);
}

static void parts_that_saw_nothing_hold_anything(void **state)
{
	static const char *const targets[] = { "generic", "avx2", "avx512" };
	kvjit *code = open_code();
	bool x86 = code->backend == KVJIT_BE_x86;

	(void)state;
	check(open_with("ref", NULL));
	check(code);
	for (int i = 0; x86 && i < 3; i++) {
		kvjit_options o = { .size = sizeof(o), .target = targets[i] };
		kvjit *kv;

		if (kvjit_open(&o, &kv) == KVJIT_OK)
			check(kv);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(
	    parts_that_saw_nothing_hold_anything) };

	return cmocka_run_group_tests_name("merge", tests, NULL, NULL);
}
