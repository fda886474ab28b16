/* SPDX-License-Identifier: Apache-2.0 */
/* test_architecture.c -- what the architecture promises, without touching it.
 *
 *   formats   tests/formats/made_up.kvt is declared in a text and known nowhere else; it gets
 *             its writer, its reader and its oracle on every target and backend
 *   scores    so do a score and a document mask written in the problem; blocks of keys that a
 *             mask empties are not visited, and may lie in memory that isn't there
 *   backends  backends/c runs the same programs, so nothing in the passes knows LLVM or x86
 */
#include "../tools/check/check.h"
#include "support_check.h"

#include "../backends/ref/ref.h"
#include "../passes/passes.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

static machine machines[MACHINE_MAX];
static unsigned nmachine;
static kvjit *ref;
static char *made_up; /* the declaration */

/* One seed on every backend and target; the writer's bytes must be equal. */
static void check_all(const char *text)
{
	check_result result[MACHINE_MAX] = { 0 };
	char why[500] = "";
	check c = { .text = text,
		    .ref = ref,
		    .machine = machines,
		    .nmachine = nmachine,
		    .result = result };
	bool c_ran = false;

	if (!check_seed(&c, 3, why, sizeof why))
		fail_msg("%s: %s", text, why);
	for (unsigned i = 0; i < nmachine; i++) {
		if (result[i].failed || !result[i].compared)
			fail_msg("%s on %s/%s: %s", text, machines[i].backend,
			         machines[i].target, result[i].text);
		c_ran |= strcmp(machines[i].backend, "c") == 0;
	}
	assert_true(c_ran);
}

static char *with_made_up(const char *problem)
{
	size_t n = strlen(made_up) + strlen(problem) + 2;
	char *text = malloc(n);

	snprintf(text, n, "%s\n%s", made_up, problem);
	return text;
}

/* -- a format nobody uses ------------------------------------------------------------------ */

static void test_made_up_format(void **state)
{
	static const char *const problems[] = {
		"write in=bf16 kv=made_up heads=2 dim=96 page=24",
		"write in=f32 kv=made_up heads=1 dim=96:48 page=24",
		"quant in=f16 to=made_up heads=2 dim=96",
		"attn q=bf16 kv=made_up heads=8:2 dim=96 page=24 causal lse",
	};

	(void)state;
	for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) {
		char *text = with_made_up(problems[i]);

		check_all(text);
		free(text);
	}
}

static float round_to(kir_elem e, double x)
{
	return (float)kir_decode(e,
	                         kir_encode(e, x, KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_inf));
}

/* The code of x among the 48 from group[0], by the declaration's words alone. */
static int code_of(const float *group, float x)
{
	float amax = 0, scale, t;

	for (int i = 0; i < 48; i++)
		amax = fmaxf(amax, fabsf(group[i]));
	scale = round_to(KIR_bf16, fmaxf(amax / 127.0f, 1e-6f));
	t = x * (1.0f / scale);
	t = fminf(fmaxf(t, -127.0f), 127.0f);
	return (int)truncf(t + copysignf(0.5f, t));
}

/* Every byte of one written token is where the declaration says, and no other changed. Of a
 * page, head h begins at h * 4992: 24 rows of 96 + 96 + 8 bytes, then 24 x 2 scales a side. */
static void test_made_up_bytes(void **state)
{
	enum { ROW = 200, HEAD = 4992, TOKEN = 17, PAGE = 1 };
	char *text = with_made_up("write in=f32 kv=made_up heads=2 dim=96 page=24");
	char why[500] = "";
	attn a;

	(void)state;
	if (!attn_open(&a, text, why, sizeof why))
		fail_msg("%s", why);
	assert_int_equal(a.layout.tensor[0].page_bytes, 2 * HEAD);
	for (unsigned m = 0; m < nmachine; m++) {
		kvjit_kernel *k = NULL;
		int64_t rows[3] = { 1, 2, 96 }, one = 1, pool[2] = { 3, 2 * HEAD };
		float *in[2] = { bind_tensor(&a.b, "key", KVJIT_F32, 3, rows)->data,
			         bind_tensor(&a.b, "value", KVJIT_F32, 3, rows)->data };
		int64_t *slot = bind_tensor(&a.b, "slots", KVJIT_S64, 1, &one)->data;
		bind_arg *cache = bind_tensor(&a.b, "cache", KVJIT_U8, 2, pool);
		unsigned char *want = malloc(cache->bytes), *row;

		*slot = PAGE * 24 + TOKEN;
		bind_scalar(&a.b, "n", 1, 0);
		for (int i = 0; i < 192; i++) {
			in[0][i] = round_to(KIR_bf16, sin(i * 0.7) * (1 + i / 48));
			in[1][i] = (float)(cos(i * 1.3) / (1 + i % 7));
		}
		memset(cache->data, 0xa5, cache->bytes);
		memset(want, 0xa5, cache->bytes);
		for (int h = 0; h < 2; h++)
			for (int side = 0; side < 2; side++)
				for (int i = 0; i < 96; i++) {
					const float *x = in[side] + h * 96;

					row = want + (PAGE * 2 + h) * HEAD + TOKEN * ROW;
					row[side * 96 + i] =
					    (unsigned char)code_of(x + i / 48 * 48, x[i]);
				}
		if (kvjit_compile(machines[m].kv, text, NULL, &k) != KVJIT_OK)
			fail_msg("%s", kvjit_error(machines[m].kv));
		if (bind_call(&a.b, machines[m].kv, k, NULL, why, sizeof why) != KVJIT_OK)
			fail_msg("%s", why);
		kvjit_release(k);
		/* scales lie behind all rows of a head: 2 bytes each, groups innermost */
		for (int h = 0; h < 2; h++)
			for (int side = 0; side < 2; side++) {
				size_t at = (size_t)((PAGE * 2 + h) * HEAD + 24 * ROW +
				                     side * 96 + TOKEN * 4);

				assert_memory_not_equal((char *)cache->data + at, want + at, 4);
				memcpy(want + at, (char *)cache->data + at, 4);
			}
		assert_memory_equal(cache->data, want, cache->bytes);
		free(want);
	}
	attn_close(&a);
	free(text);
}

/* -- scores and masks nobody thought of ---------------------------------------------------- */

static void test_made_up_score(void **state)
{
	(void)state;
	check_all("attn q=bf16 out=f32 kv=int8/token-head heads=4:2 dim=64 page=16 lse "
	          "score=\"s * 0.5 + w[h] - 0.01 * abs(q - k)\" "
	          "mask=\"doc[q] == doc[k] && k <= q || k < 2\" with=doc:s32,w:f32");
	check_all("attn q=f32 kv=e4m3/head heads=6:2 dim=32 page=24 "
	          "score=\"10 * tanh(s / 10)\" mask=\"(q - k) % 3 == 0 || q - k < 8\"");
}

/* The second code generator on the programs of other formats. */
static void test_other_formats(void **state)
{
	(void)state;
	check_all("attn q=bf16 kv=bf16 heads=4:2 dim=64 page=16 causal");
	check_all("attn q=f16 out=f32 kv=mxfp8 heads=3:1 dim=64 page=32 window=30 sink lse");
	check_all("write in=f16 kv=e5m2/head/x heads=2 dim=64 page=16");
}

enum { TOKENS = 512 };

/* One sequence of 512 tokens whose last `rows` are queries, all pages in order. Cache bytes 0
 * but where said; documents of `doc` tokens. */
static void bind_long(attn *a, int rows, int doc)
{
	int32_t lens[1] = { TOKENS }, starts[2] = { 0, rows }, table[TOKENS];
	int64_t pages = TOKENS / a->shape.page, n = TOKENS;
	int64_t q[3] = { rows, a->p.heads, a->p.dim_k };

	for (int i = 0; i < TOKENS; i++)
		table[i] = i;
	attn_batch(a, 1, lens, starts, table, pages, pages);
	for (unsigned i = 0; i < a->layout.ntensor; i++) {
		bind_arg *x = bind_find(&a->b, a->layout.tensor[i].name);

		for (size_t j = 0; j < x->bytes; j++) /* small bf16 values */
			((unsigned char *)x->data)[j] = j % 2 ? 0x3d : (unsigned char)(j / 2);
	}
	float *x = bind_tensor(&a->b, "q", KVJIT_F32, 3, q)->data;
	for (int64_t i = 0; i < q[0] * q[1] * q[2]; i++)
		x[i] = (float)sin((double)i);
	bind_scalar(&a->b, "scale", 0, 0.125);
	int32_t *d = bind_tensor(&a->b, "doc", KVJIT_S32, 1, &n)->data;
	for (int i = 0; i < TOKENS; i++)
		d[i] = i / doc;
}

static int64_t stride_of(const attn *a, const bind_arg *x, unsigned i)
{
	int64_t stride = (int64_t)bind_item(x->dtype);

	for (unsigned t = 0; t < a->layout.ntensor; t++)
		if (strcmp(a->layout.tensor[t].name, x->name) == 0)
			return a->layout.tensor[t].stride[i];
	for (int k = x->rank; k-- > (int)i + 1;)
		stride *= x->shape[k];
	return stride;
}

static void to_kref(attn *a, const kir_func *f, kref_arg *arg)
{
	for (unsigned i = 0; i < f->nparam; i++) {
		const bind_arg *x = bind_find(&a->b, f->param[i].name);

		if (!x)
			fail_msg("nothing is bound to %s", f->param[i].name);
		arg[i] = (kref_arg){
			.base = x->data, .bytes = (int64_t)x->bytes, .i = x->i, .f = x->f
		};
		for (unsigned s = 0; s < f->param[i].nstride; s++)
			arg[i].stride[s] = stride_of(a, x, s);
	}
}

/* Key blocks of 16 that the level-T program of a decode at position 511 reads, of 32. */
static int64_t blocks_read(const char *mask, int doc)
{
	char text[400], why[500] = "";
	kpass_options o = { .list = "expand,fold_scales,arith,skip_blocks,hoist,cse,dce" };
	int64_t item[2] = { 1, 8 }, row[3] = { 1, 1, 64 };
	kref_arg arg[BIND_MAX];
	kref_stats stats = { 0 };
	kir_diag d = { 0 };
	attn a;

	snprintf(text, sizeof text, "attn q=f32 kv=bf16/none/hnd heads=1 dim=64 page=16 %s",
	         mask);
	if (!attn_open(&a, text, why, sizeof why))
		fail_msg("%s", why);
	a.p.sched.kv_tile = 16;
	bind_long(&a, 1, doc);
	bind_tensor(&a.b, "out", KVJIT_F32, 3, row);
	memcpy(bind_tensor(&a.b, "work", KVJIT_S32, 2, item)->data,
	       (int32_t[]){ 0, 0, 0, 0, TOKENS, -1, 1, 0 }, 32);
	bind_tensor(&a.b, "join", KVJIT_S32, 2, item);
	bind_tensor(&a.b, "part", KVJIT_F32, 2, item);
	bind_scalar(&a.b, "nwork", 1, 0);
	bind_scalar(&a.b, "njoin", 0, 0);
	kir_func *f = kir_problem_expand(a.m, &a.p, kir_target_find("generic"), &d);

	f = f ? kpass_run(f, &o, &d) : NULL;
	if (!f)
		fail_msg("%s: %s", text, kir_diag_text(&d, why, sizeof why));
	to_kref(&a, f, arg);
	if (!kref_run(f, arg, KREF_EXACT, &stats, &d))
		fail_msg("%s: %s", text, kir_diag_text(&d, why, sizeof why));
	attn_close(&a);
	/* a block is 16 rows of K and of V; all else is less than one */
	return (int64_t)stats.bytes / (2 * 16 * 64 * 2);
}

static void test_blocks_shrink(void **state)
{
	const char *doc = "mask=\"doc[q] == doc[k]\" with=doc:s32";

	(void)state;
	assert_int_equal(blocks_read("", 1), 32);
	assert_int_equal(blocks_read("causal", 1), 32);
	assert_int_equal(blocks_read("window=64", 1), 4);
	assert_int_equal(blocks_read("window=65", 1), 5);
	assert_int_equal(blocks_read("chunk=128", 1), 8);
	assert_int_equal(blocks_read(doc, 48), 2);
	assert_int_equal(blocks_read(doc, 500), 1);
	assert_int_equal(blocks_read(doc, 256), 16);
	assert_int_equal(blocks_read("mask=\"k < 40 || q - k < 20\"", 1), 5);
	assert_int_equal(blocks_read("mask=\"k < 64 && doc[k] != doc[q]\" with=doc:s32", 512),
	                 0);
	/* undecidable for a block: all are visited */
	assert_int_equal(blocks_read("mask=\"k % 16 == 3\"", 1), 32);
}

/* Pages that the mask empties hold NaN, then aren't there at all: nothing changes. */
static void run_without_pages(const char *mask, int doc, int64_t visible)
{
	char text[400], why[500] = "";
	attn a;

	snprintf(text, sizeof text,
	         "attn q=f32 out=f32 kv=bf16/none/hnd heads=2:1 dim=64 page=32 q_tile=4 %s",
	         mask);
	if (!attn_open(&a, text, why, sizeof why))
		fail_msg("%s", why);
	for (unsigned m = 0; m < nmachine; m++) {
		kvjit_kernel *k = NULL;
		unsigned char *first = NULL;

		if (strcmp(machines[m].backend, "ref") == 0)
			continue;
		if (kvjit_compile(machines[m].kv, text, NULL, &k) != KVJIT_OK)
			fail_msg("%s", kvjit_error(machines[m].kv));
		bind_long(&a, 4, doc);
		attn_outputs(&a, k);
		const bind_arg *out = bind_find(&a.b, "out");

		for (int turn = 0; turn < 3; turn++) {
			for (unsigned i = 0; turn && i < a.layout.ntensor; i++) {
				char *pool = bind_find(&a.b, a.layout.tensor[i].name)->data;
				size_t gone = (size_t)(TOKENS / 32 - visible) * 4096;

				assert_int_equal(a.layout.tensor[i].page_bytes, 4096);
				if (turn == 1)
					memset(pool, 0xff, gone);
				else
					assert_int_equal(mprotect(pool, gone, PROT_NONE), 0);
			}
			memset(out->data, 0xff, out->bytes);
			if (!attn_call(&a, machines[m].kv, k, why, sizeof why))
				fail_msg("%s", why);
			if (!first) {
				first = malloc(out->bytes);
				memcpy(first, out->data, out->bytes);
				assert_true(isfinite(((float *)out->data)[0]));
			}
			if (memcmp(first, out->data, out->bytes) != 0)
				fail_msg("%s on %s/%s: page contents that are masked matter",
				         mask, machines[m].backend, machines[m].target);
		}
		free(first);
		kvjit_release(k);
	}
	attn_close(&a);
}

static void test_pages_not_there(void **state)
{
	(void)state;
	run_without_pages("causal window=40", 1, 2);
	run_without_pages("mask=\"doc[q] == doc[k]\" with=doc:s32", 100, 1);
	run_without_pages("chunk=128 prefetch=two", 1, 4);
}

/* ------------------------------------------------------------------------------------------ */

static int set_up(void **state)
{
	const char *source = getenv("KVJIT_SOURCE_DIR");
	kvjit_options o = { .size = sizeof o, .backend = "ref" };
	char path[1000];
	FILE *f;

	(void)state;
	snprintf(path, sizeof path, "%s/tests/formats/made_up.kvt", source ? source : ".");
	made_up = calloc(1, 1000);
	f = fopen(path, "rb");
	if (!f || !made_up || !fread(made_up, 1, 999, f))
		return 1;
	fclose(f);
	nmachine = machine_open(NULL, NULL, machines);
	/* x86 comes last, and only if it is built: it isn't under sanitizers */
	for (bool x86 = support_x86();
	     !x86 && nmachine && !strcmp(machines[nmachine - 1].backend, "x86"); nmachine--)
		machine_close(&machines[nmachine - 1], 1);
	return nmachine == 0 || kvjit_open(&o, &ref) != KVJIT_OK;
}

static int tear_down(void **state)
{
	(void)state;
	machine_close(machines, nmachine);
	kvjit_close(ref);
	free(made_up);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks_shrink), cmocka_unit_test(test_pages_not_there),
		cmocka_unit_test(test_made_up_bytes), cmocka_unit_test(test_made_up_format),
		cmocka_unit_test(test_made_up_score), cmocka_unit_test(test_other_formats),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
