/* SPDX-License-Identifier: Apache-2.0 */
/* test_api.c -- the library from outside: lifetimes, threads, every refusal, memory.
 *
 * Sentences are tested by the words a reader needs: the name of the parameter and what it
 * takes. */
#include "support_api.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* -- context ----------------------------------------------------------------------- */

static void test_lifetime(void **state)
{
	kvjit *kv = open_with("ref", NULL);
	kvjit_kernel *k = compile(kv, scale_ir, NULL);
	float x[32], y[32] = { 0 };
	kvjit_arg a[4] = { 0 };

	(void)state;
	kvjit_close(kv);
	for (int i = 0; i < 32; i++)
		x[i] = (float)i;
	a[0].data = x;
	a[1].data = y;
	a[0].dtype = a[1].dtype = KVJIT_F32;
	a[2].f = 3;
	a[3].i = 2;
	if (kvjit_call(k, NULL, a, 4, NULL) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	assert_true(y[1] == 3 && y[16] == 48 && y[19] == 57 && y[4] == 0);
	assert_string_equal(kvjit_kernel_error(k), "");
	kvjit_release(k);
	kvjit_release(NULL);
	kvjit_close(NULL);
	kvjit_plan_free(NULL);
	kvjit_free(NULL, 0);
}

static void test_open_refuses(void **state)
{
	kvjit_options o = { 0 };
	kvjit *kv = NULL;

	(void)state;
	assert_int_equal(kvjit_open(&o, &kv), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_open_error(), "size");
	o.size = sizeof(o);
	o.target = "pentium";
	assert_int_equal(kvjit_open(&o, &kv), KVJIT_UNSUPPORTED);
	assert_says(kvjit_open_error(), "pentium|generic");
	o.target = NULL;
	o.backend = "gpu";
	assert_int_equal(kvjit_open(&o, &kv), KVJIT_UNSUPPORTED);
	assert_says(kvjit_open_error(), "gpu|x86|ref");
	o.backend = "ref";
	o.device = "0"; /* of no GPU: nobody would look at it */
	assert_int_equal(kvjit_open(&o, &kv), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_open_error(), "options.device |ref|xe|spirv");
	o.device = NULL;
	o.device_handle = &o;
	assert_int_equal(kvjit_open(&o, &kv), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_open_error(), "options.device_handle |xe");
	o.device_handle = NULL;
	o.cache = "maybe"; /* a folder of that name would be made */
	assert_int_equal(kvjit_open(&o, &kv), KVJIT_UNSUPPORTED);
	assert_says(kvjit_open_error(), "options.cache |maybe|off, or a folder");
	assert_null(kv);
	setenv("KVJIT_CACHE_DIR", "on", 1);
	assert_int_equal(kvjit_open(NULL, &kv), KVJIT_UNSUPPORTED);
	assert_says(kvjit_open_error(), "KVJIT_CACHE_DIR |'on'|off, or a folder");
	setenv("KVJIT_CACHE_DIR", "off", 1);
	setenv("KVJIT_TARGET", "z80", 1);
	assert_int_equal(kvjit_open(NULL, &kv), KVJIT_UNSUPPORTED);
	assert_says(kvjit_open_error(), "z80");
	unsetenv("KVJIT_TARGET");
	setenv("KVJIT_CHECK", "everything", 1);
	assert_int_equal(kvjit_open(NULL, &kv), KVJIT_UNSUPPORTED);
	assert_says(kvjit_open_error(), "KVJIT_CHECK|everything|verify");
	unsetenv("KVJIT_CHECK");
	setenv("KVJIT_PRINT", "asm,after:lunch", 1);
	assert_int_equal(kvjit_open(NULL, &kv), KVJIT_UNSUPPORTED);
	assert_says(kvjit_open_error(), "KVJIT_PRINT|after:lunch|after:PASS");
	unsetenv("KVJIT_PRINT");
	assert_int_equal(kvjit_open(NULL, NULL), KVJIT_BAD_ARGUMENT);
}

static void test_info(void **state)
{
	kvjit *kv = open_with("ref", "generic");
	char *text = kvjit_info(kv);

	(void)state;
	assert_non_null(text);
	assert_says(text,
	            "machine|target   generic|backend  x86|ref (in use)|KVJIT_BACKEND_DIR");
	free(text);
	kvjit_close(kv);
	assert_string_equal(kvjit_status_name(KVJIT_OK), "ok");
	assert_string_equal(kvjit_status_name((kvjit_status)99), "unknown status");
}

/* A context of backend c that looks for it in another folder, and can't take what is there. */
static kvjit *open_other(const char *folder, const char *words)
{
	const char *dir = getenv("KVJIT_BACKEND_DIR");
	char *old = dir ? strdup(dir) : NULL;
	kvjit_kernel *k = NULL;
	kvjit *kv;

	setenv("KVJIT_BACKEND_DIR", folder, 1);
	kv = open_with("c", "generic");
	if (old)
		setenv("KVJIT_BACKEND_DIR", old, 1);
	else
		unsetenv("KVJIT_BACKEND_DIR");
	free(old);
	assert_int_equal(kvjit_compile(kv, scale_ir, NULL, &k), KVJIT_NO_BACKEND);
	assert_null(k);
	assert_says(kvjit_error(kv), words);
	return kv;
}

static void test_missing_backend(void **state)
{
	kvjit *kv = open_other("/nowhere", "'c'|/nowhere/libkvjit-c.so");
	char *text = NULL;

	(void)state;
	assert_int_equal(kvjit_explain(kv, scale_ir, &text), KVJIT_OK);
	assert_says(text, "supported: no|/nowhere");
	free(text);
	kvjit_close(kv);
}

/* A backend of another build, whose op table had a row more: its functions lie otherwise in
 * memory, and were walked into until it crashed. */
static void refuse_backend(const char *variable, const char *words)
{
	const char *other = getenv(variable);

	assert_non_null(other);
	kvjit_close(open_other(other, words));
}

static void test_backend_of_another_build(void **state)
{
	(void)state;
	refuse_backend("KVJIT_OTHER_BUILD",
	               "'c'|libkvjit-c.so|another build|install both from one");
	refuse_backend("KVJIT_OTHER_VERSION",
	               "'c'|libkvjit-c.so|isn't version|of this backend");
}

static bool maps_have(const char *word)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[600];
	bool found = false;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		found |= strstr(line, word) != NULL;
	fclose(f);
	return found;
}

/* The first test: nothing has loaded a backend yet. */
static void test_no_llvm(void **state)
{
	kvjit *kv = open_with("ref", NULL);
	kvjit_kernel *k = compile(kv, scale_ir, NULL);

	(void)state;
	assert_false(maps_have("libLLVM") || maps_have("libkvjit-x86"));
	kvjit_release(k);
	kvjit_close(kv);
}

/* -- compiling --------------------------------------------------------------------- */

static void refuse_text(kvjit *kv, const char *text, const char *sched, kvjit_status want,
                        const char *words)
{
	kvjit_compile_options o = { .size = sizeof(o), .sched = sched };
	kvjit_kernel *k = NULL;
	kvjit_status s = kvjit_compile(kv, text, &o, &k);

	assert_null(k);
	if (s != want)
		fail_msg("'%.60s': %s, not %s: %s", text, kvjit_status_name(s),
		         kvjit_status_name(want), kvjit_error(kv));
	assert_says(kvjit_error(kv), words);
}

/* Knobs that nothing would read any more are refused by name, the others taken. */
static void refuse_late_knobs(kvjit *kv, kir_level level)
{
	char text[200], knob[60], words[60];

	snprintf(text, sizeof text, "func @f(%%n: s64) level=%s {\n  ret\n}\n",
	         kir_level_name(level));
	for (unsigned i = 0; i < kir_nknobs; i++) {
		const kir_knob_info *k = &kir_knobs[i];
		const char *last = strrchr(k->values, ',');

		snprintf(knob, sizeof knob, "%s=%s", k->name,
		         last ? last + 1 : strchr(k->values, ':') + 1);
		snprintf(words, sizeof words, "options.sched|knob %s|level %s", k->name,
		         kir_level_name(level));
		if (level > k->last)
			refuse_text(kv, text, knob, KVJIT_BAD_ARGUMENT, words);
		else
			kvjit_release(compile(kv, text, knob));
	}
}

static void test_compile_refuses(void **state)
{
	kvjit *kv = open_with("ref", "generic");
	kvjit_compile_options o = { 0 };
	kvjit_kernel *k = NULL;

	(void)state;
	assert_int_equal(kvjit_compile(kv, attn_problem, &o, &k), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_error(kv), "size");
	assert_int_equal(kvjit_compile(kv, NULL, NULL, &k), KVJIT_BAD_ARGUMENT);
	refuse_text(kv, "attn q=bf17 heads=8", NULL, KVJIT_BAD_PROBLEM, "q|bf16");
	refuse_text(kv, "", NULL, KVJIT_BAD_PROBLEM, "");
	refuse_text(kv, "func @f(%x: s64) level=V {\n  %y = add %z, 1 : s64\n  ret\n}\n", NULL,
	            KVJIT_BAD_PROBLEM, "2:|z");
	refuse_text(kv, attn_problem, "kv_tilt=3", KVJIT_BAD_ARGUMENT,
	            "options.sched|kv_tilt|kv_tile");
	refuse_text(kv, attn_problem, "qk=f64", KVJIT_BAD_ARGUMENT, "qk|int8|f64");
	refuse_text(kv, attn_problem, "kv_tile=16 split=0 kv_tile=8", KVJIT_BAD_ARGUMENT,
	            "options.sched|kv_tile is given twice");
	refuse_text(kv, attn_problem, "q_tile=65", KVJIT_BAD_ARGUMENT, "q_tile|0:64|65");
	refuse_late_knobs(kv, KIR_T);
	refuse_late_knobs(kv, KIR_V);
	refuse_text(kv,
	            "attn q=f32 kv=int8/token-head heads=8:2 dim=64 page=16 causal target=vax",
	            NULL, KVJIT_BAD_PROBLEM, "vax|generic");
	kvjit_close(kv);
}

static void test_params(void **state)
{
	kvjit *kv = open_with("ref", "generic");
	kvjit_kernel *k = compile(kv, scale_ir, NULL);
	const kvjit_param *p = kvjit_param_at(k, 0);
	char *text;

	(void)state;
	assert_int_equal(kvjit_nparam(k), 4);
	assert_string_equal(p->name, "x");
	assert_int_equal(p->dtype, KVJIT_F32);
	assert_int_equal(p->role, KVJIT_INPUT);
	assert_int_equal(p->rank, 2);
	assert_true(p->shape[0] == -1 && p->shape[1] == 16);
	assert_true(p->nstride == 1 && p->stride[0] == 16);
	assert_int_equal(kvjit_param_at(k, 1)->role, KVJIT_OUTPUT);
	assert_int_equal(kvjit_param_at(k, 3)->rank, 0);
	assert_null(kvjit_param_at(k, 4));
	assert_null(kvjit_param_at(k, -1));
	assert_string_equal(kvjit_kernel_target(k), "generic");
	assert_null(kvjit_entry(k));
	text = kvjit_kernel_text(k, "ir");
	assert_says(text, "func @scale|vload");
	free(text);
	assert_null(kvjit_kernel_text(k, "soup"));
	assert_says(kvjit_kernel_error(k), "soup|vector");
	kvjit_release(k);
	kvjit_close(kv);
}

/* Default strides of a cache come from its format's layout, in bytes. */
static void test_cache_params(void **state)
{
	kvjit *kv = open_with("ref", "generic");
	kvjit_kernel *k = compile(kv, attn_problem, NULL);
	int64_t page = 0, total = 0;
	int planned = 0;
	char *text;

	(void)state;
	assert_int_equal(kvjit_page_bytes(kv, "int8/token-head", 2, 64, 64, 16, &page),
	                 KVJIT_OK);
	for (int i = 0; i < kvjit_nparam(k); i++) {
		const kvjit_param *p = kvjit_param_at(k, i);

		planned += p->planned;
		if (p->dtype == KVJIT_U8)
			total += p->stride[0];
	}
	assert_int_equal(total, page);
	assert_int_equal(planned, 5);
	assert_true(page >= 2 * 16 * (64 + 64 + 4 + 4));
	assert_int_equal(kvjit_page_bytes(kv, "int7", 2, 64, 64, 16, &page), KVJIT_BAD_PROBLEM);
	assert_says(kvjit_error(kv), "int7");
	assert_int_equal(kvjit_page_bytes(kv, "int8/head", 0, 64, 64, 16, &page),
	                 KVJIT_BAD_ARGUMENT);
	text = kvjit_kernel_text(k, "problem");
	assert_says(text, "attn|heads=8:2");
	free(text);
	assert_int_equal(kvjit_explain(kv, attn_problem, &text), KVJIT_OK);
	assert_says(text, "supported: yes|backend: ref|kv_tile=16|(plan)");
	free(text);
	kvjit_release(k);
	kvjit_close(kv);
}

/* The tensors of a cache that a write takes: as many bytes as its pages have. */
static void arg_of_pages(kvjit *kv, const char *format, int64_t heads, int64_t dim, int64_t v)
{
	char text[200];
	kvjit_kernel *k;
	int64_t page;
	size_t all = 0;

	snprintf(text, sizeof text, "write in=f32 kv=%s heads=%d dim=%d:%d page=24", format,
	         (int)heads, (int)dim, (int)v);
	k = compile(kv, text, NULL);
	assert_int_equal(kvjit_page_bytes(kv, format, heads, dim, v, 24, &page), KVJIT_OK);
	for (int i = 0; i < kvjit_nparam(k); i++) {
		const kvjit_param *p = kvjit_param_at(k, i);
		kvjit_arg a;
		size_t bytes;

		if (p->dtype != KVJIT_U8)
			continue;
		assert_int_equal(kvjit_arg_of(k, p->name, 5, &a, &bytes), KVJIT_OK);
		assert_string_equal(a.name, p->name);
		assert_int_equal(a.dtype, KVJIT_U8);
		assert_int_equal(a.rank, p->rank);
		assert_int_equal(a.shape[0], 5);
		assert_int_equal(a.shape[1], p->shape[1]);
		assert_true(!a.data && !a.nstride);
		all += bytes;
	}
	assert_int_equal(all, 5 * page);
	kvjit_release(k);
}

static void refuse_arg_of(const kvjit_kernel *k, const char *name, int64_t n, const char *words)
{
	kvjit_arg a = { .rank = 77 };
	size_t bytes = 77;

	assert_int_equal(kvjit_arg_of(k, name, n, &a, &bytes), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(k), words);
	assert_true(a.rank == 77 && bytes == 77);
}

static void test_arg_of(void **state)
{
	kvjit *kv = open_with("ref", "generic");
	kvjit_kernel *k = compile(kv, attn_problem, NULL);
	kvjit_arg a;
	size_t bytes;

	(void)state;
	arg_of_pages(kv, "int8/token-head", 2, 64, 64);
	arg_of_pages(kv, "e4m3/token-head/inline", 2, 64, 32);
	arg_of_pages(kv, "nvfp4/page", 2, 64, 64);
	arg_of_pages(kv, "bf16/none/x", 3, 96, 96);
	arg_of_pages(kv, "mla_584", 1, 512, 448); /* pages longer than what lies in them */
	assert_int_equal(kvjit_arg_of(k, "q", 3, &a, &bytes), KVJIT_OK);
	assert_true(a.dtype == KVJIT_F32 && a.rank == 3 && a.shape[0] == 3);
	assert_true(a.shape[1] == 8 && a.shape[2] == 64 && bytes == 3 * 8 * 64 * 4);
	assert_int_equal(kvjit_arg_of(k, "lens", 0, &a, &bytes), KVJIT_OK);
	assert_true(a.shape[0] == 0 && bytes == 0);
	refuse_arg_of(k, "kache", 3, "no parameter 'kache'|q, cache, table");
	refuse_arg_of(k, "work", 3, "no parameter 'work'");
	refuse_arg_of(k, "scale", 3, "'scale' is a scalar");
	refuse_arg_of(k, "table", 3, "'table' has 2 extents that are open");
	refuse_arg_of(k, "cache", -1, "n is -1");
	refuse_arg_of(k, "cache", INT64_MAX / 2, "'cache'|more than memory");
	refuse_arg_of(k, NULL, 1, "name, out and bytes");
	refuse_arg_of(NULL, "cache", 1, "kvjit_arg_of|kvjit_compile");
	kvjit_release(k);
	kvjit_close(kv);
}

/* What is printed as "ir" compiles to the same function. */
static void test_ir_text(void **state)
{
	kvjit *kv = open_with("ref", NULL);
	kvjit_kernel *a = compile(kv, attn_problem, "q_tile=4 split=0"), *b;
	char *first = kvjit_kernel_text(a, "ir"), *second;

	(void)state;
	assert_non_null(first);
	b = compile(kv, first, NULL);
	second = kvjit_kernel_text(b, "ir");
	assert_string_equal(first, second);
	free(first);
	free(second);
	kvjit_release(a);
	kvjit_release(b);
	kvjit_close(kv);
}

/* -- calling ------------------------------------------------------------------------ */

typedef struct call {
	float x[64], y[64];
	kvjit_arg a[6];
	int n;
} call;

static void good_call(call *c)
{
	memset(c, 0, sizeof(*c));
	for (int i = 0; i < 64; i++)
		c->x[i] = (float)i;
	c->n = 4;
	c->a[0].data = c->x;
	c->a[1].data = c->y;
	c->a[0].name = "x";
	c->a[1].name = "y";
	c->a[2].name = "a";
	c->a[3].name = "n";
	for (int i = 0; i < 2; i++) {
		c->a[i].dtype = KVJIT_F32;
		c->a[i].rank = 2;
		c->a[i].shape[0] = 4;
		c->a[i].shape[1] = 16;
	}
	c->a[2].f = 2;
	c->a[3].i = 4;
}

static void refuse_call(const kvjit_kernel *k, const call *c, const char *words)
{
	assert_int_equal(kvjit_call(k, NULL, c->a, c->n, NULL), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(k), words);
	assert_true(c->y[0] == 0 && c->y[16] == 0);
}

static void refuse_names(const kvjit_kernel *k, call *c)
{
	good_call(c);
	c->a[0].name = "z";
	refuse_call(k, c, "'z'|x, y, a, n");
	good_call(c);
	c->a[3].name = "x";
	refuse_call(k, c, "'x'|twice");
	good_call(c);
	c->n = 3;
	refuse_call(k, c, "'n'|missing|s64");
	good_call(c);
	c->n = 1;
	refuse_call(k, c, "'y'|missing|f32[?,16]");
	good_call(c);
	c->n = 5;
	refuse_call(k, c, "5|4");
	c->a[4].name = "zz";
	refuse_call(k, c, "'zz'|x, y, a, n");
	c->n = -1;
	refuse_call(k, c, "-1");
}

static void refuse_tensors(const kvjit_kernel *k, call *c)
{
	good_call(c);
	c->a[0].dtype = KVJIT_BF16;
	refuse_call(k, c, "'x'|bf16|f32");
	c->a[0].dtype = (kvjit_dtype)77;
	refuse_call(k, c, "'x'|unknown|f32");
	good_call(c);
	c->a[0].rank = 3;
	refuse_call(k, c, "'x'|rank 3|f32[?,16]");
	good_call(c);
	c->a[1].shape[1] = 8;
	refuse_call(k, c, "'y'|extent 1|8|16");
	good_call(c);
	c->a[1].shape[0] = -4;
	refuse_call(k, c, "'y'|extent 0|-4");
	good_call(c);
	c->a[1].shape[0] = 3;
	refuse_call(k, c, "'y'|extent 0 is 3|4");
	good_call(c);
	c->a[0].data = NULL;
	refuse_call(k, c, "'x'|NULL");
	good_call(c);
	c->a[0].data = (char *)c->x + 2;
	refuse_call(k, c, "'x'|aligned to 4");
	good_call(c);
	c->a[0].nstride = 2;
	refuse_call(k, c, "'x'|2 strides|takes 1");
	good_call(c);
	c->a[1].nstride = 1;
	refuse_call(k, c, "'y'|stride 0 is 0|overlap");
	c->a[1].stride[0] = INT64_MAX;
	refuse_call(k, c, "'y'|stride 0");
}

static void test_call_refuses(void **state)
{
	kvjit *kv = open_with("ref", "generic");
	kvjit_kernel *k = compile(kv, scale_ir, NULL);
	kvjit_plan *plan = NULL;
	kvjit_batch b = { 0 };
	call c;

	(void)state;
	refuse_names(k, &c);
	refuse_tensors(k, &c);
	good_call(&c);
	c.a[3].data = c.x;
	refuse_call(k, &c, "'n'|scalar s64|i");
	good_call(&c);
	c.a[2].rank = 1;
	refuse_call(k, &c, "'a'|scalar f32");
	good_call(&c);
	c.a[3].i = -1;
	refuse_call(k, &c, "'n'|-1");
	b.size = sizeof(b);
	assert_int_equal(kvjit_plan_new(k, &b, &plan), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_kernel_error(k), "no plan");
	assert_int_equal(kvjit_call(NULL, NULL, c.a, 4, NULL), KVJIT_BAD_ARGUMENT);
	kvjit_release(k);
	kvjit_close(kv);
}

/* Strides are elements; a transposed or padded input is taken as it is. */
static void check_scale(const kvjit_kernel *k)
{
	call c;

	good_call(&c);
	c.a[0].nstride = 1;
	c.a[0].stride[0] = 8;
	c.a[0].shape[0] = c.a[1].shape[0] = 4;
	if (kvjit_call(k, NULL, c.a, 4, NULL) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	for (int r = 0; r < 4; r++)
		for (int i = 0; i < 16; i++)
			assert_true(c.y[r * 16 + i] == (i < 4 ? 2 * c.x[r * 8 + i] : 0));
	good_call(&c);
	c.a[3].i = 0;
	c.a[0].data = c.a[1].data = NULL;
	c.a[0].shape[0] = c.a[1].shape[0] = 0;
	assert_int_equal(kvjit_call(k, NULL, c.a, 4, NULL), KVJIT_OK);
}

static void test_call(void **state)
{
	kvjit *ref = open_with("ref", "generic"), *kv = open_code();
	kvjit_kernel *a = compile(ref, scale_ir, NULL), *b = compile(kv, scale_ir, NULL);

	(void)state;
	check_scale(a);
	check_scale(b);
	assert_non_null(kvjit_entry(b));
	kvjit_release(a);
	kvjit_release(b);
	kvjit_close(kv);
	kvjit_close(ref);
}

/* The prototype that backends/backend.h states. */
typedef void scale_entry(void *x, int64_t xs, void *y, int64_t ys, float a, int64_t n,
                         int64_t phase, int64_t begin, int64_t end);

static void test_entry(void **state)
{
	kvjit *kv = open_code();
	kvjit_kernel *k = compile(kv, scale_ir, NULL);
	void *p = kvjit_entry(k);
	scale_entry *entry;
	call c;

	(void)state;
	memcpy(&entry, &p, sizeof(entry));
	good_call(&c);
	entry(c.x, 64, c.y, 64, 2, 4, 0, 1, 3);
	assert_true(c.y[0] == 0 && c.y[17] == 34 && c.y[33] == 66 && c.y[49] == 0);
	kvjit_release(k);
	kvjit_close(kv);
}

/* What a call costs beyond its work: one row, so that no thread is woken. The bound is far
 * above what is measured, for machines that run other things. */
static void test_call_cost(void **state)
{
	kvjit *kv = open_code();
	kvjit_kernel *k = compile(kv, scale_ir, NULL);
	double best = 1;
	call c;

	(void)state;
	good_call(&c);
	c.a[3].i = 1;
	for (int round = 0; round < 20; round++) {
		double t = seconds();

		for (int i = 0; i < 1000; i++)
			kvjit_call(k, NULL, c.a, 4, NULL);
		t = (seconds() - t) / 1000;
		best = t < best ? t : best;
	}
	print_message("a call costs %.0f ns\n", best * 1e9);
	assert_true(best < 20e-6);
	kvjit_release(k);
	kvjit_close(kv);
}

/* -- executor ----------------------------------------------------------------------- */

typedef struct pieces {
	int calls;
	int64_t total;
} pieces;

static void backwards(int64_t n, void (*fn)(int64_t, int64_t, void *), void *ctx,
                      void *executor)
{
	pieces *p = executor;

	p->calls++;
	p->total += n;
	for (int64_t i = n; i-- > 0;)
		fn(i, i + 1, ctx);
}

static void test_executor(void **state)
{
	kvjit *probe = open_code();
	const char *backend = probe->backend == KVJIT_BE_x86 ? "x86" : "c";
	kvjit_options o = { 0 };
	pieces p = { 0, 0 };
	kvjit *kv = NULL;
	kvjit_kernel *k;
	call c;

	(void)state;
	o.size = sizeof(o);
	o.backend = backend;
	o.target = "generic";
	o.parallel = backwards;
	o.executor = &p;
	assert_int_equal(kvjit_open(&o, &kv), KVJIT_OK);
	k = compile(kv, scale_ir, NULL);
	good_call(&c);
	assert_int_equal(kvjit_call(k, NULL, c.a, 4, NULL), KVJIT_OK);
	assert_true(p.calls == 1 && p.total == 4 && c.y[48] == 96);
	kvjit_release(k);
	kvjit_close(kv);
	kvjit_close(probe);
}

/* -- threads ------------------------------------------------------------------------ */

typedef struct worker {
	pthread_t thread;
	kvjit *kv;
	int index;
	bool ok;
} worker;

static void *work(void *p)
{
	worker *w = p;
	kvjit_kernel *k = NULL, *none = NULL;
	char knob[40];
	call c;

	w->ok = true;
	for (int round = 0; round < 4; round++) {
		kvjit_compile_options o = { .size = sizeof(o), .sched = knob };

		snprintf(knob, sizeof(knob), "nonsense%d=1", w->index);
		w->ok &= kvjit_compile(w->kv, scale_ir, &o, &none) == KVJIT_BAD_ARGUMENT;
		if (kvjit_compile(w->kv, scale_ir, NULL, &k) != KVJIT_OK) {
			w->ok = false;
			break;
		}
		good_call(&c);
		w->ok &= kvjit_call(k, NULL, c.a, 4, NULL) == KVJIT_OK && c.y[17] == 34;
		knob[strlen(knob) - 2] = 0;
		w->ok &= strstr(kvjit_error(w->kv), knob) != NULL;
		kvjit_release(k);
	}
	return NULL;
}

static void test_threads(void **state)
{
	kvjit *kv = open_code();
	worker w[8] = { 0 };

	(void)state;
	for (int i = 0; i < 8; i++) {
		w[i].kv = kv;
		w[i].index = i;
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(w[i].thread, NULL);
		assert_true(w[i].ok);
	}
	assert_string_equal(kvjit_error(kv), "");
	kvjit_close(kv);
}

/* -- memory -------------------------------------------------------------------------- */

static void test_wx(void **state)
{
	kvjit *kv = open_code();
	kvjit_kernel *k = compile(kv, scale_ir, NULL);
	uintptr_t entry = (uintptr_t)kvjit_entry(k), from, to;
	FILE *f = fopen("/proc/self/maps", "r");
	char line[600], perm[5];
	bool found = false;

	(void)state;
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %4s", &from, &to, perm) != 3)
			continue;
		assert_false(strchr(perm, 'w') && strchr(perm, 'x'));
		if (entry >= from && entry < to) {
			assert_string_equal(perm, "r-xp");
			found = true;
		}
	}
	assert_true(found);
	fclose(f);
	kvjit_release(k);
	kvjit_close(kv);
}

static void test_alloc(void **state)
{
	const size_t sizes[] = { 1, 4096, 5000, (size_t)2 << 20, ((size_t)5 << 20) + 1 };

	(void)state;
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		unsigned char *p = kvjit_alloc(sizes[i]);

		assert_non_null(p);
		assert_int_equal((uintptr_t)p % ((size_t)2 << 20), 0);
		assert_true(p[0] == 0 && p[sizes[i] - 1] == 0);
		p[0] = p[sizes[i] - 1] = 1;
		kvjit_free(p, sizes[i]);
	}
	assert_null(kvjit_alloc(SIZE_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_llvm),
		cmocka_unit_test(test_lifetime),
		cmocka_unit_test(test_open_refuses),
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_missing_backend),
		cmocka_unit_test(test_backend_of_another_build),
		cmocka_unit_test(test_compile_refuses),
		cmocka_unit_test(test_params),
		cmocka_unit_test(test_cache_params),
		cmocka_unit_test(test_arg_of),
		cmocka_unit_test(test_ir_text),
		cmocka_unit_test(test_call_refuses),
		cmocka_unit_test(test_call),
		cmocka_unit_test(test_entry),
		cmocka_unit_test(test_call_cost),
		cmocka_unit_test(test_executor),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_wx),
		cmocka_unit_test(test_alloc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
