/* SPDX-License-Identifier: Apache-2.0 */
/* test_spoilt_scales.c -- a stored scale that no writer makes: NaN, infinite, negative, zero.
 *
 * Such a cache is spoilt, not a caller's mistake that could be refused: nothing looks at scales
 * but the kernel. Whatever the format and the arithmetic, only the rows that see the scale's
 * token may notice. docs/accuracy.md, "Scales that no writer makes", says what these get; it is
 * what the interpreter says in all but the cases named there.
 */
#include "support_api.h"

#include "../tools/check/bound.h"
#include "../tools/check/machine.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Sequence 0's token AT has the spoilt scale, for KV head 0. */
enum { SEQS = 2, LEN = 50, PAGE = 32, PAGES = 4, HEADS = 4, KV = 2, DIM = 64, AT = 37 };
/* Outputs, and those that see it; every value is a code up to LARGEST times SCALE. */
enum { ALL = SEQS * HEADS * DIM, MINE = HEADS / KV * DIM, LARGEST = 5 };

#define SCALE 0.125

static const int32_t table[PAGES] = { 2, 0, 3, 1 };

static const char *const formats[] = {
	"int8/token-head",  "e4m3/token-head", "int8/g32", "int4/g32",
	"uint4/token-head", "mxfp8",           "nvfp4"
};
static const char *const scheds[] = { "", "qk=f32 pv=f32", "qk=bf16 pv=bf16", "qk=int8 pv=int8",
	                              "qk=int8x2 pv=int8x2" };
enum { FORMATS = sizeof formats / sizeof *formats, SCHEDS = sizeof scheds / sizeof *scheds };

static const double spoilt[] = { NAN, -NAN, INFINITY, -INFINITY, -0.125, 0 };

/* Every code stands for something above 0, so that the signs of scores are those of scales. */
static void fill_codes(attn *a, kir_stream s)
{
	kir_elem e = attn_elem(a, s);

	for (int i = 0; i < PAGES * KV * PAGE * DIM; i++) {
		int64_t d = i % DIM, t = i / DIM % PAGE, h = i / DIM / PAGE % KV;
		int v = 1 + (i * 7 + i / DIM * 3) % LARGEST;

		attn_set(a, s, i / DIM / PAGE / KV, h, t, d,
		         kir_is_float(e) ? kir_encode(e, v, 0, 0, 0) : (uint64_t)v);
	}
}

static int64_t scales_of(const attn *a, kir_stream s)
{
	const kir_type *t = &a->layout.stream[s].type;

	return t->rank == 4 ? t->dim[3] : 1;
}

static void fill_scales(attn *a, kir_stream s)
{
	uint64_t code = kir_encode(attn_elem(a, s), SCALE, 0, 0, 0);
	int64_t n = scales_of(a, s);

	for (int64_t i = 0; i < PAGES * KV * PAGE * n; i++)
		attn_set(a, s, i / n / PAGE / KV, i / n / PAGE % KV, i / n % PAGE, i % n, code);
}

static void make_call(attn *a)
{
	const int32_t lens[SEQS] = { LEN, LEN }, starts[SEQS + 1] = { 0, 1, 2 };
	int64_t q[3] = { SEQS, HEADS, DIM }, given[2] = { SEQS, KV };

	attn_batch(a, SEQS, lens, starts, table, PAGES / SEQS, PAGES);
	fill_codes(a, KIR_S_k);
	fill_codes(a, KIR_S_v);
	fill_scales(a, KIR_S_ks);
	fill_scales(a, KIR_S_vs);
	uint16_t *x = bind_tensor(&a->b, "q", KVJIT_BF16, 3, q)->data;
	for (int i = 0; i < SEQS * HEADS * DIM; i++)
		x[i] = i % 3 ? 0x3f80 : 0x3f00;
	bind_scalar(&a->b, "scale", 0, 0.125);
	for (int i = 0; i < 2; i++) {
		float *d = attn_tensor(a, i ? "vd" : "kd", KVJIT_F32, 2, given)->data;

		for (int j = 0; j < SEQS * KV; j++)
			d[j] = 1;
	}
}

typedef struct job {
	attn a;
	kvjit *ref, *kv;
	kvjit_kernel *exact, *k;
	bound_profile p;
	char name[120]; /* of the case at hand */
	float clean[ALL], want[ALL], got[ALL];
} job;

static void run(job *j, kvjit *kv, const kvjit_kernel *k, float *out)
{
	char why[400];

	attn_outputs(&j->a, k);
	if (!attn_call(&j->a, kv, k, why, sizeof why))
		fail_msg("%s: %s", j->name, why);
	memcpy(out, bind_find(&j->a.b, "out")->data, sizeof j->clean);
}

/* Where the interpreter's result is a number, the kernel's is within its bound. */
static void within_bounds(const job *j)
{
	double sums[BOUND_DIM];

	for (int h = 0; h < HEADS / KV; h++) {
		bound_terms t = bound_terms_of(&j->a, &j->p, 0, h);

		bound_abs_out(&j->a, 0, h, sums);
		for (int d = 0; d < DIM; d++) {
			float want = j->want[h * DIM + d], got = j->got[h * DIM + d];

			if (isfinite(want) &&
			    !(fabs(got - want) <=
			      bound_out(&j->a, &j->p, &t, d, sums[d], want, 0, KIR_f32)))
				fail_msg(
				    "%s: head %d, element %d is %g, the interpreter says %g",
				    j->name, h, d, got, want);
		}
	}
}

/* Digits can't be NaN, and negative ones are lost: the value counts with some weight up to the
 * largest. */
static void some_weight(const job *j, float want, float got)
{
	if (!isfinite(got) || got < 0 || got > 2 * LARGEST * SCALE)
		fail_msg("%s: %g where the interpreter says %g", j->name, got, want);
}

static void check(job *j, int side, double scale)
{
	bool lost = side && j->p.pv >= ARITH_int8 && !(scale >= 0);

	/* the other KV head, the other sequence: not a bit */
	assert_memory_equal(j->got + MINE, j->clean + MINE, (ALL - MINE) * sizeof *j->got);
	for (int i = 0; i < MINE; i++) {
		if (lost)
			some_weight(j, j->want[i], j->got[i]);
		else if (!side && scale == INFINITY
		             ? !isnan(j->got[i])
		             : isfinite(j->want[i]) != isfinite(j->got[i]))
			fail_msg("%s: %g where the interpreter says %g", j->name, j->got[i],
			         j->want[i]);
	}
	if (scale == 0) /* the bounds are derived for scales that aren't negative */
		within_bounds(j);
}

static void spoil(job *j, int side, double scale)
{
	kir_stream s = side ? KIR_S_vs : KIR_S_ks;
	uint64_t code = kir_encode(attn_elem(&j->a, s), scale, 0, 0, KIR_OVER_inf), kept;
	double back = kir_decode(attn_elem(&j->a, s), code);
	size_t n = strlen(j->name);

	if (back != scale && !(isnan(back) && isnan(scale)))
		return; /* the element has no such value */
	snprintf(j->name + n, sizeof j->name - n, " %s scale %g", side ? "value's" : "key's",
	         scale);
	kept = attn_code(&j->a, s, table[AT / PAGE], 0, AT % PAGE, 0);
	attn_set(&j->a, s, table[AT / PAGE], 0, AT % PAGE, 0, code);
	run(j, j->ref, j->exact, j->want);
	run(j, j->kv, j->k, j->got);
	check(j, side, scale);
	attn_set(&j->a, s, table[AT / PAGE], 0, AT % PAGE, 0, kept);
	j->name[n] = 0;
}

static void spoil_each(job *j, const machine *m, const char *format, const char *sched)
{
	char text[120], why[400];

	snprintf(text, sizeof text, "attn q=bf16 out=f32 kv=%s heads=4:2 dim=64 page=32",
	         format);
	snprintf(j->name, sizeof j->name, "%s/%s %s %s", m->backend, m->target, format, sched);
	if (!attn_open(&j->a, text, why, sizeof why))
		fail_msg("%s", why);
	j->kv = m->kv;
	j->exact = compile(j->ref, text, NULL);
	j->k = compile(j->kv, text, sched);
	if (!bound_profile_of(j->k, m->backend, false, &j->p, why, sizeof why))
		fail_msg("%s", why);
	make_call(&j->a);
	run(j, j->kv, j->k, j->clean);
	for (size_t i = 0; i < sizeof spoilt / sizeof *spoilt; i++) {
		spoil(j, 0, spoilt[i]);
		spoil(j, 1, spoilt[i]);
	}
	kvjit_release(j->exact);
	kvjit_release(j->k);
	attn_close(&j->a);
}

/* All formats and arithmetics on the machine's own target; on the others, and with backend c,
 * whose kernels cost a run of the C compiler each, integers of one format. */
static void only_rows_that_see_it(void **state)
{
	machine m[MACHINE_MAX];
	unsigned n = machine_open(NULL, NULL, m), full = 0;
	job j = { .ref = open_with("ref", NULL) };

	(void)state;
	for (unsigned i = 0; i < n; i++) {
		bool all = strcmp(m[i].backend, "x86") == 0 && !full++;

		if (strcmp(m[i].backend, "ref") == 0)
			continue;
		for (size_t f = 0; f < (all ? FORMATS : 1); f++)
			for (size_t s = all ? 0 : SCHEDS - 2; s < SCHEDS; s++)
				spoil_each(&j, &m[i], formats[f], scheds[s]);
	}
	machine_close(m, n);
	kvjit_close(j.ref);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(only_rows_that_see_it) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
