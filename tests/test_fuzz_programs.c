/* SPDX-License-Identifier: Apache-2.0 */
/* test_fuzz_programs.c -- random level-V programs: interpreter, x86 on every target this
 * machine has, C, and pass clean between them.
 *
 * support_program.h says what they are. Results must be bit-equal, those of %near within ulps.
 * KVJIT_FUZZ_SEED and KVJIT_FUZZ_PROGRAMS say where to begin and how many.
 */
#include "support_blob.h"
#include "support_cl.h"
#include "support_program.h"

#include "../ir/format.h"
#include "../passes/passes.h"
#include "../tools/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ELEMS = SUPPORT_PROGRAM_ELEMS, NTARGETS = 16 };

/* -- running ---------------------------------------------------------------------- */

typedef struct memory {
	kref_arg arg[SUPPORT_PROGRAM_PARAMS];
	unsigned n;
} memory;

static kir_elem elem_of(const kir_func *f, unsigned i)
{
	return (kir_elem)kir_type_at(f->module, f->param[i].type)->elem;
}

static void make_memory(const kir_func *f, uint64_t seed, memory *mem)
{
	mem->n = f->nparam;
	memset(mem->arg, 0, sizeof mem->arg);
	for (unsigned i = 0; i < mem->n; i++) {
		kir_elem e = elem_of(f, i);
		unsigned size = kir_elem_bytes(e);
		unsigned char *p = calloc(ELEMS, size);
		mem->arg[i].base = p;
		mem->arg[i].bytes = ELEMS * size;
		for (unsigned k = 0; f->param[i].dir == KIR_IN && k < ELEMS; k++) {
			double x =
			    kir_is_float(e) ? support_below(&seed, 4001) / 1000.0 - 2
			    : size == 1 ? support_below(&seed, 256) - (e == KIR_s8 ? 128 : 0)
			    : support_below(&seed, 8) ? support_below(&seed, 2000) - 1000
			                              : (double)(int32_t)random_bits(&seed);
			uint64_t code =
			    kir_encode(e, x, KIR_ROUND_even, KIR_NAN_keep, KIR_OVER_sat);
			memcpy(p + k * size, &code, size);
		}
	}
}

static void free_memory(memory *mem)
{
	for (unsigned i = 0; i < mem->n; i++)
		free(mem->arg[i].base);
}

static bool near_enough(double x, double y)
{
	return fabs(x - y) <= 4e-6 * fabs(x) + 2e-6;
}

/* The first element that differs; its parameter, ELEMS if there is none. */
static unsigned difference(const kir_func *f, const memory *a, const memory *b, unsigned *param)
{
	for (unsigned i = 0; i < f->nparam; i++) {
		kir_elem e = elem_of(f, i);
		unsigned size = kir_elem_bytes(e);
		for (unsigned k = 0; k < ELEMS; k++) {
			uint64_t x = 0, y = 0;
			double v, w;
			memcpy(&x, (char *)a->arg[i].base + k * size, size);
			memcpy(&y, (char *)b->arg[i].base + k * size, size);
			v = kir_decode(e, x);
			w = kir_decode(e, y);
			if (x == y || v == w || (isnan(v) && isnan(w)) ||
			    (i == f->nparam - 1 && near_enough(v, w)))
				continue;
			*param = i;
			return k;
		}
	}
	return ELEMS;
}

static void complain(const kir_func *f, uint64_t seed, const char *who, const char *what)
{
	kir_text t = { 0 };

	kir_print(f, &t);
	fprintf(stderr, "%s\n; KVJIT_FUZZ_SEED=%llu KVJIT_FUZZ_PROGRAMS=1\n", t.text,
	        (unsigned long long)seed);
	free(t.text);
	fail_msg("%s: %s", who, what);
}

static void compare(const kir_func *f, uint64_t seed, const char *who, const memory *want,
                    const memory *have)
{
	unsigned param = 0, at = difference(f, want, have, &param), size;
	uint64_t x = 0, y = 0;
	char buf[200];

	if (at == ELEMS)
		return;
	size = kir_elem_bytes(elem_of(f, param));
	memcpy(&x, (char *)want->arg[param].base + at * size, size);
	memcpy(&y, (char *)have->arg[param].base + at * size, size);
	snprintf(buf, sizeof buf, "%%%s[%u] is %#llx (%.9g), the interpreter says %#llx (%.9g)",
	         f->param[param].name, at, (unsigned long long)y,
	         kir_decode(elem_of(f, param), y), (unsigned long long)x,
	         kir_decode(elem_of(f, param), x));
	complain(f, seed, who, buf);
}

static bool call_device(const kir_func *f, const kbe_blob *b, const kref_arg *arg)
{
	char why[2000];
	cl_module *m = support_cl_build(b->bytes, b->size, f->name, why, sizeof why);
	bool ok = m && support_cl_call(m, f, arg);

	if (!m)
		fprintf(stderr, "%s\n", why);
	support_cl_drop(m);
	return ok;
}

static void run_backend(const kir_func *f, uint64_t seed, const kbe_backend *be,
                        const memory *want)
{
	kbe_blob blob = { 0 };
	kir_diag d = { 0 };
	char who[64], buf[1000];
	memory mem;

	snprintf(who, sizeof who, "%s/%s", be->name, f->target->name);
	if (!be->compile(f, &blob, &d))
		complain(f, seed, who, kir_diag_text(&d, buf, sizeof buf));
	make_memory(f, seed, &mem);
	if (!(f->target->lanes ? call_device : support_call)(f, &blob, mem.arg))
		complain(f, seed, who, "can't be called");
	compare(f, seed, who, want, &mem);
	free_memory(&mem);
	free(blob.bytes);
}

/* Print, parse, print: the same text. */
static void check_text(const kir_func *f, uint64_t seed)
{
	kir_text a = { 0 }, b = { 0 };
	kir_diag d = { 0 };
	kir_module *m;
	char buf[1000];

	kir_print(f, &a);
	m = kir_parse(a.text, a.len, &d);
	if (!m)
		complain(f, seed, "parser", kir_diag_text(&d, buf, sizeof buf));
	kir_print(m->func[0], &b);
	if (strcmp(a.text, b.text) != 0)
		complain(f, seed, "parser", "the text changes when parsed and printed");
	kir_module_free(m);
	free(a.text);
	free(b.text);
}

static void run_program(uint64_t seed, const kir_target *t, const kbe_backend *llvm,
                        const kbe_backend *c)
{
	kir_module *m = kir_module_new();
	kir_func *f = support_program(m, t, seed), *cleaned;
	kpass_options o = { .list = "clean" };
	kir_diag d = { 0 };
	char buf[1000];
	memory want, again;

	if (!kir_verify(f, &d))
		complain(f, seed, "generator", kir_diag_text(&d, buf, sizeof buf));
	check_text(f, seed);
	make_memory(f, seed, &want);
	if (!kref_run(f, want.arg, KREF_ROUND, NULL, &d))
		complain(f, seed, "interpreter", kir_diag_text(&d, buf, sizeof buf));
	cleaned = kpass_run(f, &o, &d);
	if (!cleaned)
		complain(f, seed, "clean", kir_diag_text(&d, buf, sizeof buf));
	make_memory(f, seed, &again);
	if (!kref_run(cleaned, again.arg, KREF_ROUND, NULL, &d))
		complain(cleaned, seed, "interpreter", kir_diag_text(&d, buf, sizeof buf));
	compare(cleaned, seed, "clean", &want, &again);
	free_memory(&again);
	/* LLVM cleans up by itself, so both are worth running; cc is slow */
	if (llvm)
		run_backend(seed & 1 ? f : cleaned, seed, llvm, &want);
	if (c)
		run_backend(cleaned, seed, c, &want);
	free_memory(&want);
	kir_module_free(m);
}

static uint64_t setting(const char *name, uint64_t dflt)
{
	const char *s = getenv(name);

	return s && *s ? strtoull(s, NULL, 0) : dflt;
}

static void programs(void **state)
{
	const kbe_backend *x86 = support_backend("x86"), *c = support_backend("c");
	const kir_target *target[NTARGETS];
	uint64_t first = setting("KVJIT_FUZZ_SEED", 1), n = setting("KVJIT_FUZZ_PROGRAMS", 300);
	unsigned ntarget = 0;
	(void)state;

	for (unsigned i = 0; i < kir_ntargets && ntarget < NTARGETS; i++)
		if (support_runs(kir_targets[i].name))
			target[ntarget++] = &kir_targets[i];
	assert_true(ntarget > 0);
	for (uint64_t i = first; i < first + n; i++)
		run_program(i, target[i % ntarget], x86, i % 40 == 0 || n == 1 ? c : NULL);
}

/* The same as programs of a sub-group, by turns with both emitters and on every GPU's row. They
 * run on Intel's runtime for processors, whose compiler crashes on one valid module in some
 * hundreds (seed 3054, say); none of these is such. */
static void programs_on_gpus(void **state)
{
	const kbe_backend *be[2] = { support_backend("spirv"), support_backend("spirv-llvm") };
	const kir_target *target[NTARGETS];
	uint64_t first = setting("KVJIT_FUZZ_SEED", 1), n = setting("KVJIT_FUZZ_PROGRAMS", 24);
	unsigned ntarget = 0;
	const char *why = "the SPIR-V backend wasn't built";
	(void)state;

	if (support_only()) /* no GPU's: those have been run */
		skip();
	for (unsigned i = 0; i < kir_ntargets && ntarget < NTARGETS; i++)
		if (kir_targets[i].lanes)
			target[ntarget++] = &kir_targets[i];
	if (!(be[0] || be[1]) || !support_cl(&why)) {
		print_message("SKIPPED: %s\n", why);
		skip();
	}
	for (uint64_t i = first; i < first + n; i++) {
		const kbe_backend *b = be[i % 2] ? be[i % 2] : be[(i + 1) % 2];

		run_program(i, target[i % ntarget], b, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(programs),
		                            cmocka_unit_test(programs_on_gpus) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
