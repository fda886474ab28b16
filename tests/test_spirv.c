/* SPDX-License-Identifier: Apache-2.0 */
/* test_spirv.c -- the modules that the SPIR-V backend makes, with both emitters: valid by
 * spirv-val, of version 1.3 at most, with no capability but the named ones, and without
 * extensions but on targets that ask for two. spirv-val of Debian 12 knows neither: modules
 * with them are validated by the test driver, with calls in the place of their instructions.
 */
#include "support_blob.h"

#include "../ir/problem.h"
#include "../passes/passes.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const emitters[] = { "spirv", "spirv-llvm" };
enum { NEMITTERS = 2 };

static const char *const problems[] = {
	"attn q=bf16 kv=int8/token-head heads=8:2 dim=64 page=16",
	"attn q=bf16 kv=e4m3/head heads=8:2 dim=128 page=64",
	"attn q=f32 kv=e4m3/head heads=8:2 dim=256 page=64",
	"attn q=bf16 kv=bf16 heads=4:4 dim=64 page=32 causal batch=4 ctx=512 qlen=64 q_tile=8",
	"attn q=f16 kv=f16 heads=8:2 dim=64 page=16 softcap=30 window=100 lse",
	"attn q=bf16 kv=int8/token-head heads=8:2 dim=64 page=16 qk=int8 pv=int8 split=512",
	"attn q=bf16 kv=e5m2/head heads=8:2 dim=64 page=16 causal",
	"attn q=bf16 kv=mxfp8 heads=8:2 dim=64 page=16 alibi sink softcap=30",
	"attn q=f32 kv=bf16 heads=2:1 dim=16 page=16 with=doc:s32 mask=\"doc[q] == doc[k]\"",
	"attn q=f32 kv=bf16 heads=2:1 dim=16 page=16 with=tree:bit "
	"mask=\"k <= q && (k < past || tree[nq,nk])\"",
	"write in=bf16 kv=mxfp8 heads=2 dim=64 page=16",
	"write in=bf16 kv=int8/token-head heads=8 dim=128 page=128",
	"write in=f16 kv=e4m3/head heads=2 dim=64 page=16",
	"write in=f32 kv=bf16 heads=2 dim=64 page=16 stores=streamed",
	"quant in=bf16 to=int8/token-head heads=8 dim=128",
	"quant in=f32 to=mxfp8 heads=2 dim=64",
	"merge out=bf16 heads=8 dim=128",
	"gemm acts=e4m3/g128 weights=e4m3/g128 block=128 dim=320:200 out=f32 n_tile=32 "
	"m_tile=8",
	"attn q=bf16 kv=fp8_ds_mla heads=4:1 dim=576:512 page=64 sparse=64 kv_tile=8",
};
enum { NPROBLEMS = sizeof problems / sizeof *problems, ROUNDS = 2 };

static kir_func *program(kir_module *m, const char *text, const kir_target *t)
{
	kir_diag d = { 0 };
	kpass_options o = { 0 };
	kir_func *f = NULL;
	kir_problem p;
	char msg[1000];

	if (kir_problem_parse(m, text, strlen(text), &p, &d))
		f = kir_problem_expand(m, &p, t, &d);
	if (f)
		f = kpass_run(f, &o, &d);
	if (!f)
		fail_msg("%s on %s: %s", text, t->name, kir_diag_text(&d, msg, sizeof msg));
	return f;
}

/* -- what is in a module --------------------------------------------------------------- */

enum {
	MAGIC = 0x07230203,
	BOUND = 3,
	OLDEST = 0x00010000,
	NEWEST = 0x00010300,
	OP_EXTENSION = 10,
	OP_ENTRY_POINT = 15,
	OP_CAPABILITY = 17,
	OP_LABEL = 248
};

/* Of the SPIR-V specification: Addresses, Linkage, Kernel, Vector16, Float16Buffer, Float16,
 * Float64, Int64, Groups, Int16, Int8, GenericPointer, SubgroupDispatch, GroupNonUniform and
 * its Shuffle. */
static bool known_capability(uint32_t c)
{
	static const uint32_t known[] = {
		4, 5, 6, 7, 8, 9, 10, 11, 18, 22, 38, 39, 58, 61, 65
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i] == c)
			return true;
	return false;
}

/* Of targets with xe_ext, and of no others: SPV_INTEL_2d_block_io's three and the other's one.
 */
static bool newer_capability(uint32_t c)
{
	return (c >= 6228 && c <= 6230) || c == 6236;
}

static bool newer_extension(const char *name)
{
	return !strcmp(name, "SPV_INTEL_2d_block_io") ||
	       !strcmp(name, "SPV_INTEL_subgroup_matrix_multiply_accumulate");
}

/* LLVM 22 gives some blocks numbers of other things (backends/spirv/labels.h). */
static void one_number_each(const uint32_t *w, size_t n, const char *what)
{
	bool *seen = calloc(w[BOUND], sizeof *seen);

	for (size_t at = 5; at < n; at += w[at] >> 16) {
		unsigned op = w[at] & 0xffff, where = 0;

		if (op == OP_LABEL || op == 11 ||
		    (op >= 19 && op <= 38)) /* no type before it */
			where = 1;
		else if (op == 12 || (op >= 41 && op <= 61 && op != 56) ||
		         (op >= 65 && op <= 70) || (op >= 77 && op <= 218 && op != 99) ||
		         op == 245)
			where = 2;
		if (!where)
			continue;
		if (w[at + where] >= w[BOUND] || seen[w[at + where]])
			fail_msg("%s: number %u is given twice", what, w[at + where]);
		seen[w[at + where]] = true;
	}
	free(seen);
}

/* How many extensions it has. */
static unsigned look_at(const kbe_blob *b, const kir_target *t, const char *what)
{
	const uint32_t *w = b->bytes;
	bool newer = t->features & KIR_HAS_xe_ext;
	size_t n = b->size / 4;
	unsigned entries = 0, extensions = 0;

	assert_true(b->size % 4 == 0 && n > 5 && b->entry < b->size && b->isa == 0);
	assert_int_equal(w[0], MAGIC);
	assert_in_range(w[1], OLDEST, NEWEST);
	for (size_t at = 5; at < n; at += w[at] >> 16) {
		unsigned op = w[at] & 0xffff;

		assert_true(w[at] >> 16);
		extensions += op == OP_EXTENSION;
		if (op == OP_EXTENSION && !(newer && newer_extension((const char *)&w[at + 1])))
			fail_msg("%s: extension %s", what, (const char *)&w[at + 1]);
		if (op == OP_CAPABILITY && !known_capability(w[at + 1]) &&
		    !(newer && newer_capability(w[at + 1])))
			fail_msg("%s: capability %u", what, w[at + 1]);
		entries += op == OP_ENTRY_POINT;
	}
	assert_int_equal(entries, 1);
	one_number_each(w, n, what);
	return extensions;
}

static bool have_validator(void)
{
	return !system("spirv-val --version >/dev/null 2>&1");
}

static void validate(const kbe_blob *b, const char *what)
{
	const char *dir = getenv("KVJIT_TMP");
	char path[400], command[1000];
	FILE *f;

	snprintf(path, sizeof path, "%s/test_spirv.%d.spv", dir ? dir : "/tmp", (int)getpid());
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(b->bytes, 1, b->size, f), b->size);
	assert_int_equal(fclose(f), 0);
	snprintf(command, sizeof command, "spirv-val --target-env spv1.3 %s", path);
	if (system(command))
		fail_msg("%s: spirv-val refuses %s", what, path);
	remove(path);
}

/* Of this thread: nothing in a compile waits, and other work doesn't count. */
static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct taken {
	double passes, all;
	size_t words;
	char what[300];
} taken;

static int longest_first(const void *a, const void *b)
{
	double x = ((const taken *)a)->all, y = ((const taken *)b)->all;

	return (x < y) - (x > y);
}

/* The table of docs/backend-spirv.md: how long, of which level A to V, how many words. */
static void print_times(const char *emitter, taken *t, unsigned n)
{
	qsort(t, n, sizeof *t, longest_first);
	print_message("%s: %u modules, median %.1f ms, longest %.1f ms\n", emitter, n,
	              1e3 * t[n / 2].all, 1e3 * t[0].all);
	for (unsigned i = 0; i < n && i < 6; i++)
		print_message("  %6.1f ms, passes %5.1f, %6zu words: %s\n", 1e3 * t[i].all,
		              1e3 * t[i].passes, t[i].words, t[i].what);
}

static void modules_of(const kbe_backend *be, bool validator)
{
	taken seen[NPROBLEMS * ROUNDS] = { 0 };
	const kir_target *gpu[64];
	unsigned ngpu = 0;

	for (unsigned i = 0; i < kir_ntargets && ngpu < 64; i++)
		if (kir_targets[i].lanes)
			gpu[ngpu++] = &kir_targets[i];
	assert_true(ngpu > 0);
	for (unsigned i = 0; i < NPROBLEMS * ROUNDS; i++) {
		const char *problem = problems[i % NPROBLEMS];
		const kir_target *t = gpu[(i + i / NPROBLEMS) % ngpu];
		taken *s = &seen[i];
		kir_module *m = kir_module_new();
		double begin = now();
		kir_func *f = program(m, problem, t);
		kir_diag d = { 0 };
		char msg[1000];
		kbe_blob b;

		s->passes = now() - begin;
		snprintf(s->what, sizeof s->what, "%s on %s", problem, t->name);
		if (!be->compile(f, &b, &d))
			fail_msg("%s: %s: %s", be->name, s->what,
			         kir_diag_text(&d, msg, sizeof msg));
		s->all = now() - begin;
		s->words = b.size / 4;
		if (!look_at(&b, t, s->what) && validator)
			validate(&b, s->what);
		free(b.bytes);
		kir_module_free(m);
	}
	print_times(be->name, seen, NPROBLEMS * ROUNDS);
}

static void test_modules(void **state)
{
	bool validator = have_validator();
	unsigned found = 0;

	(void)state;
	if (!validator)
		print_message("spirv-val is missing: modules are not validated\n");
	for (int i = 0; i < NEMITTERS; i++) {
		const kbe_backend *be = support_backend(emitters[i]);

		if (be)
			modules_of(be, validator);
		else
			print_message("%s wasn't built\n", emitters[i]);
		found += be != NULL;
	}
	if (!found)
		skip();
}

/* -- the newer spelling -------------------------------------------------------------------- */

static unsigned ops(const uint32_t *w, size_t n, uint32_t op)
{
	unsigned found = 0;

	for (size_t at = 5; at < n; at += w[at] >> 16)
		found += (w[at] & 0xffff) == op;
	return found;
}

/* The same attention for the same device: as many instructions as there are calls by name,
 * which are gone. */
static void test_newer_spelling(void **state)
{
	static const char problem[] =
	    "attn q=bf16 kv=int8/token-head heads=8:2 dim=64 page=64 causal kv_tile=64";
	enum { CALL = 57, LOAD = 6231, LAST = 6233, PRODUCT = 6237 };

	(void)state;
	for (int i = 0; i < NEMITTERS; i++) {
		const kbe_backend *be = support_backend(emitters[i]);
		kir_module *m = kir_module_new();
		kir_diag d = { 0 };
		kbe_blob b[2];
		unsigned loads = 0, calls;

		for (int k = 0; be && k < 2; k++) {
			const char *name = k ? "xe-pvc-ext" : "xe-pvc";

			assert_true(
			    be->compile(program(m, problem, kir_target_find(name)), &b[k], &d));
		}
		kir_module_free(m);
		if (!be)
			continue;
		calls =
		    ops(b[0].bytes, b[0].size / 4, CALL) - ops(b[1].bytes, b[1].size / 4, CALL);
		for (uint32_t op = LOAD; op <= LAST; op++) {
			assert_int_equal(ops(b[0].bytes, b[0].size / 4, op), 0);
			loads += ops(b[1].bytes, b[1].size / 4, op);
		}
		assert_true(loads >= 8);
		assert_int_equal(ops(b[1].bytes, b[1].size / 4, PRODUCT), calls - loads);
		free(b[0].bytes);
		free(b[1].bytes);
	}
}

/* An f32 product of 4 rows and 16 lanes is a function, whose 64 broadcasts stand once: spelled
 * out they were most of a module of 314,000 words. */
static void test_products_once(void **state)
{
	static const char problem[] = "attn q=f32 kv=e4m3/head heads=8:2 dim=64 page=64";
	enum { BROADCAST = 263 };

	const kbe_backend *be = support_backend("spirv"); /* the other takes no functions */
	kir_diag d = { 0 };
	kbe_blob b;

	(void)state;
	if (!be)
		skip();
	kir_module *m = kir_module_new();
	assert_true(be->compile(program(m, problem, kir_target_find("xe-pvc")), &b, &d));
	assert_int_equal(ops(b.bytes, b.size / 4, BROADCAST), 64);
	free(b.bytes);
	kir_module_free(m);
}

/* -- refusals ---------------------------------------------------------------------------- */

static void refuse(const kbe_backend *be, const char *text, const char *sentence)
{
	kir_diag d = { 0 };
	kbe_blob b;
	char msg[2000];
	kir_module *m = kir_parse(text, strlen(text), &d);

	assert_non_null(m);
	assert_false(be->compile(m->func[m->nfunc - 1], &b, &d));
	assert_null(b.bytes);
	kir_diag_text(&d, msg, sizeof msg);
	if (!strstr(msg, sentence))
		fail_msg("\"%s\" is not in \"%s\"", sentence, msg);
	kir_module_free(m);
}

static void test_refusals(void **state)
{
	(void)state;
	for (int i = 0; i < NEMITTERS; i++) {
		const kbe_backend *be = support_backend(emitters[i]);

		if (!be)
			continue;
		assert_string_equal(be->name, emitters[i]);
		for (unsigned t = 0; t < kir_ntargets; t++)
			assert_true(be->supports(&kir_targets[t]) ==
			            (kir_targets[t].lanes != 0));
		refuse(be, "func @f(%n: s64) level=V target=avx512 {\nret\n}\n",
		       "target avx512 is no GPU");
		refuse(be, "func @f(%n: s64) level=T target=xe-pvc {\nret\n}\n",
		       "level must be V");
		refuse(be,
		       "func @f(%x: inout f32[?], %n: s64) level=V target=xe-dg2 {\n"
		       "for %i = 0 to %n par {\n%l = local : f32[20000]\n"
		       "%v = load %l[%i] : f32\nstore %v, %x[%i]\nyield\n}\nret\n}\n",
		       "more than the 65536 bytes of local memory");
		refuse(be,
		       "func @f(%x: inout f32[?], %n: s64) level=V target=xe-pvc {\n"
		       "for %i = 0 to %n par {\n%v = vload %x[%i] : f32<512>\n"
		       "vstore %v, %x[%i]\nyield\n}\nret\n}\n",
		       "more than 16 elements for each of 16 lanes");
		/* lanes' parts are kept in arrays: these were written past their ends */
		refuse(be,
		       "func @f(%x: in u8[?,64,64], %y: out u8[?,256], %n: s64) level=V "
		       "target=xe-pvc {\nfor %i = 0 to %n par {\n"
		       "%a = xe.load2d %x[%i,0,0] : u8<1024> {pitch=64}\n"
		       "%c = xe.zip %a, %a : u8<2048>\n%d = xe.part %c : u8<256>\n"
		       "vstore %d, %y[%i,0]\nyield\n}\nret\n}\n",
		       "xe.zip: 128 bytes for each of 16 lanes; there are at most 64");
		refuse(be,
		       "func @f(%x: in u8[?,64,64], %y: out u8[?,1024], %n: s64) level=V "
		       "target=xe-lp {\nfor %i = 0 to %n par {\n"
		       "%a = xe.load2d %x[%i,0,0] : u8<1024> {pitch=64}\n"
		       "vstore %a, %y[%i,0]\nyield\n}\nret\n}\n",
		       "vstore: operand 1 has more than 16 elements for each of 16 lanes");
	}
}

/* -- local memory ------------------------------------------------------------------------- */

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (const char *at = text; (at = strstr(at, what)) != NULL; at += strlen(what))
		n++;
	return n;
}

/* The body of a program of f32 x: how many pieces of local memory it has, and barriers. */
static void shared(const kbe_backend *be, const char *body, unsigned slots, unsigned barriers)
{
	kir_diag d = { 0 };
	char text[2000], msg[2000];
	kir_text out = { 0 };
	kir_module *m;
	unsigned found[2];

	snprintf(text, sizeof text,
	         "func @f(%%x: inout f32[?], %%n: s64) level=V target=xe-pvc {\n"
	         "for %%i = 0 to %%n par {\n%syield\n}\nret\n}\n",
	         body);
	m = kir_parse(text, strlen(text), &d);
	if (!m || !be->dump(m->func[0], KBE_DUMP_SOURCE, &out, &d))
		fail_msg("%s%s", text, kir_diag_text(&d, msg, sizeof msg));
	found[0] = count(out.text, "internal addrspace(3) global");
	found[1] = count(out.text, "call spir_func void @_Z22__spirv_ControlBarrierjjj");
	if (found[0] != slots || found[1] != barriers)
		fail_msg("%s: %u pieces and %u barriers, not %u and %u:\n%s\n%s", be->name,
		         found[0], found[1], slots, barriers, text, out.text);
	free(out.text);
	kir_module_free(m);
}

static void test_shared_locals(void **state)
{
	(void)state;
	for (int i = 0; i < NEMITTERS; i++) {
		const kbe_backend *be = support_backend(emitters[i]);

		if (!be)
			continue;
		/* one after the other, and more together than there is; the second is written
		 * when all lanes are through with the first */
		shared(be,
		       "%v = vload %x[0] : f32<16>\n%a = local : f32[20000]\n"
		       "vstore %v, %a[0]\n%w = vload %a[0] : f32<16>\n"
		       "%b = local : f32[20000]\nvstore %w, %b[0]\n"
		       "%y = vload %b[0] : f32<16>\nvstore %y, %x[0]\n",
		       1, 1);
		/* both live: each lane has its own elements of both */
		shared(be,
		       "%v = vload %x[0] : f32<16>\n%a = local : f32[16]\n"
		       "%b = local : f32[16]\nvstore %v, %a[0]\nvstore %v, %b[0]\n"
		       "%w = vload %a[0] : f32<16>\n%y = vload %b[0] : f32<16>\n"
		       "vstore %w, %x[0]\nvstore %y, %x[0]\n",
		       2, 0);
		/* made outside a loop and read in it: it lives as long as the loop goes on */
		shared(be,
		       "%v = vload %x[0] : f32<16>\n%a = local : f32[16]\nvstore %v, %a[0]\n"
		       "for %k = 0 to 4 {\n%w = vload %a[0] : f32<16>\n"
		       "%b = local : f32[16]\nvstore %w, %b[0]\n"
		       "%y = vload %b[0] : f32<16>\nvstore %y, %x[0]\nyield\n}\n",
		       2, 0);
		/* of two branches one is taken; the smaller shares with the larger */
		shared(be,
		       "%v = vload %x[0] : f32<16>\n%c = lt %i, 4 : i1\nif %c {\n"
		       "%a = local : f32[16]\nvstore %v, %a[0]\n"
		       "%w = vload %a[0] : f32<16>\nvstore %w, %x[0]\nyield\n} else {\n"
		       "%b = local : f32[32]\nvstore %v, %b[0]\n"
		       "%y = vload %b[0] : f32<16>\nvstore %y, %x[0]\nyield\n}\n",
		       1, 0);
		/* round a loop: the first is written again after the second was */
		shared(be,
		       "%v = vload %x[0] : f32<16>\nfor %k = 0 to 4 {\n"
		       "%a = local : f32[16]\nvstore %v, %a[0]\n"
		       "%w = vload %a[0] : f32<16>\n%b = local : f32[16]\n"
		       "vstore %w, %b[0]\n%y = vload %b[0] : f32<16>\nvstore %y, %x[0]\n"
		       "yield\n}\n",
		       1, 2);
	}
}

/* -- many in one process ------------------------------------------------------------------- */

static void test_labels(void **state)
{
	const kbe_backend *be = support_backend("spirv-llvm");

	(void)state;
	if (!be)
		skip();
	for (unsigned i = 0; i < 120; i++) {
		const char *problem = problems[i * 7 % NPROBLEMS];
		kir_module *m = kir_module_new();
		kir_func *f = program(m, problem, kir_target_find("xe-pvc"));
		kir_diag d = { 0 };
		kbe_blob b;

		assert_true(be->compile(f, &b, &d));
		look_at(&b, m->func[0]->target, problem);
		free(b.bytes);
		kir_module_free(m);
	}
}

/* -- threads ------------------------------------------------------------------------------- */

static void *compile_often(void *arg)
{
	const kbe_backend *be = arg;
	void *first = NULL;
	size_t size = 0;

	for (int i = 0; i < 3; i++) {
		kir_module *m = kir_module_new();
		kir_func *f = program(m, problems[1], kir_target_find("xe-pvc"));
		kir_diag d = { 0 };
		kbe_blob b;

		assert_true(be->compile(f, &b, &d));
		assert_true(!first || (size == b.size && !memcmp(first, b.bytes, size)));
		free(first);
		first = b.bytes;
		size = b.size;
		kir_module_free(m);
	}
	free(first);
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	for (int i = 0; i < NEMITTERS; i++) {
		const kbe_backend *be = support_backend(emitters[i]);
		pthread_t thread[4];

		for (int t = 0; be && t < 4; t++)
			assert_int_equal(
			    pthread_create(&thread[t], NULL, compile_often, (void *)be), 0);
		for (int t = 0; be && t < 4; t++)
			pthread_join(thread[t], NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_modules),       cmocka_unit_test(test_newer_spelling),
		cmocka_unit_test(test_products_once), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_shared_locals), cmocka_unit_test(test_labels),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
