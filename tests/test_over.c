/* SPDX-License-Identifier: Apache-2.0 */
/* test_over.c -- a scale of two divisors (amax/6 or 4: NVFP4's 4over6): which of the two a
 * group gets. By hand, and on random rows against the rule written down here once more: the
 * interpreter and machine code, to the byte. Other layouts and backends are `kvjit check`'s. */
#include "support_api.h"

#include "../ir/format.h"
#include "../tools/check/bind.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GROUP = 16, ROWS = 400 };

static uint8_t codes[ROWS][GROUP / 2], scales[ROWS];

static void quantize(kvjit *kv, const float *x, int64_t rows, float given)
{
	int64_t q[3] = { rows, 1, GROUP / 2 }, s[3] = { rows, 1, 1 },
	        in[3] = { rows, 1, GROUP };
	kvjit_kernel *k = compile(kv, "quant in=f32 to=nvfp4/page/4over6 dim=16", NULL);
	int64_t one = 1;
	char why[300];
	bind b = { 0 };

	memcpy(bind_tensor(&b, "x", KVJIT_F32, 3, in)->data, x, (size_t)(rows * GROUP) * 4);
	*(float *)bind_tensor(&b, "d", KVJIT_F32, 1, &one)->data = given;
	bind_arg *to = bind_tensor(&b, "q", KVJIT_U8, 3, q);
	bind_arg *st = bind_tensor(&b, "s", kvjit_param_at(k, 2)->dtype, 3, s);

	bind_scalar(&b, "n", rows, 0);
	if (bind_call(&b, kv, k, NULL, why, sizeof why) != KVJIT_OK)
		fail_msg("%s", why);
	memcpy(codes, to->data, (size_t)rows * sizeof *codes);
	memcpy(scales, st->data, (size_t)rows);
	bind_free(&b);
	kvjit_release(k);
}

/* -- the rule ------------------------------------------------------------------------------ */

static float round_to(kir_elem e, float x)
{
	return (float)kir_decode(e,
	                         kir_encode(e, x, KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_sat));
}

/* Codes of x under the scale of amax / divisor, which is returned, and their error. */
static float attempt(const float *x, float g, float divisor, float *q, float *error)
{
	float amax = 0, sq[GROUP];

	for (int i = 0; i < GROUP; i++)
		amax = fmaxf(amax, fabsf(x[i]));
	float scaled = amax * g;
	float s = round_to(KIR_e4m3fn, scaled / divisor), r = s == 0 ? 0 : g / s;

	for (int i = 0; i < GROUP; i++) {
		q[i] = round_to(KIR_e2m1, x[i] * r);
		float want = x[i] * g, got = q[i] * s, off = want - got;
		sq[i] = off * off;
	}
	for (int h = GROUP / 2; h; h /= 2)
		for (int i = 0; i < h; i++)
			sq[i] = sq[i] + sq[i + h];
	*error = sq[0];
	return s;
}

static void random_rows_follow_the_rule(void **state)
{
	static float x[ROWS][GROUP];
	const float givens[] = { 1.0F / 64, 0.37F, 1 };
	uint32_t rng = 1;
	int fours = 0, sixes = 0;
	kvjit *kv[2] = { open_with("ref", NULL), open_code() };

	(void)state;
	for (int i = 0; i < ROWS * GROUP; i++) {
		rng = rng * 1664525u + 1013904223u;
		float u = (float)(int32_t)rng * 0x1p-31F;
		x[i / GROUP][i % GROUP] = u * u * u * exp2f((float)(i / GROUP % 9 - 4));
	}
	for (int k = 0; k < 2; k++)
		for (size_t d = 0; d < sizeof givens / sizeof *givens; d++) {
			quantize(kv[k], x[0], ROWS, givens[d]);
			for (int row = 0; row < ROWS; row++) {
				float q[2][GROUP], e[2], s[2], g = 1 / givens[d];

				for (int c = 0; c < 2; c++)
					s[c] = attempt(x[row], g, c ? 4 : 6, q[c], &e[c]);
				int c = e[1] < e[0];

				fours += c;
				sixes += !c;
				assert_int_equal(scales[row],
				                 kir_encode(KIR_e4m3fn, s[c], 0, 0, 0));
				for (int i = 0; i < GROUP; i++)
					assert_int_equal(
					    codes[row][i / 2] >> (i % 2 * 4) & 15,
					    kir_encode(KIR_e2m1, q[c][i], 0, 0, 0));
			}
		}
	assert_true(fours > ROWS / 2 && sixes > ROWS / 2);
	kvjit_close(kv[0]);
	kvjit_close(kv[1]);
}

/* Scale 1.375 makes of 8 and 6 the codes 6 and 4, which err by .25 and .5; 2 makes them exact.
 * 6 is exact under 1 and under 1.5, so are zeros; a NaN's error is no less than another. */
static void groups_by_hand(void **state)
{
	static const float x[4][GROUP] = { { 8, 6 }, { 6 }, { 0 }, { 8, 6, NAN } };
	static const uint8_t first[4] = { 0x56, 0x07, 0, 0x67 },
	                     scale[4] = { 0x40, 0x38, 0, 0x3b };
	kvjit *kv[2] = { open_with("ref", NULL), open_code() };

	(void)state;
	for (int k = 0; k < 2; k++) {
		quantize(kv[k], x[0], 4, 1);
		for (int row = 0; row < 4; row++) {
			assert_int_equal(scales[row], scale[row]);
			assert_int_equal(codes[row][0], first[row]);
			assert_int_equal(codes[row][1], row == 3 ? 0x07 : 0);
		}
		kvjit_close(kv[k]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_rows_follow_the_rule),
		cmocka_unit_test(groups_by_hand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
