/* SPDX-License-Identifier: Apache-2.0 */
/* test_slots.c -- which locals share memory, and that finding it out goes with a program's
 * length: it once went with its square, a third of a cold compile of nvfp4 decode. */
#include "../ir/kir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define HEAD "func @f(%o: out f32[64]) level=V target=avx2 {\n"

static kir_func *parsed(kir_module **m, const char *text)
{
	kir_diag why = { 0 };

	*m = kir_parse(text, strlen(text), &why);
	if (!*m || why.n)
		fail_msg("line %u: %s", why.at[0].line, why.at[0].msg);
	return (*m)->func[0];
}

/* Slots of the locals in the order in which they are made. */
static void expect(const char *text, const unsigned *slot, unsigned count, uint64_t total)
{
	kir_module *m;
	kir_func *f = parsed(&m, text);
	kir_slots s;
	unsigned at = 0;

	assert_true(kir_find_slots(f, &s));
	for (kir_ref n = 1; n < f->nnode; n++)
		if (f->node[n].op == KIR_OP_local) {
			assert_true(at < count);
			assert_int_equal(s.of[n], slot[at++]);
		}
	assert_int_equal(at, count);
	assert_int_equal(s.total, total);
	kir_drop_slots(&s);
	kir_module_free(m);
}

static void test_one_after_another(void **state)
{
	(void)state;
	expect(HEAD "  %a = local : f32[64]\n  store 1.0, %a[0]\n  %x = load %a[0] : f32\n"
	            "  %b = local : f32[64]\n  store %x, %b[0]\n  ret\n}\n",
	       (unsigned[]){ 0, 0 }, 2, 256);
	expect(HEAD "  %a = local : f32[64]\n  %b = local : f32[64]\n  store 1.0, %a[0]\n"
	            "  %x = load %a[0] : f32\n  store %x, %b[0]\n  ret\n}\n",
	       (unsigned[]){ 0, 1 }, 2, 512);
}

/* Made outside a loop and touched in it: another iteration may touch it again, so it lives to
 * the loop's end. Made inside, its life is its own, after loops in the same body too. */
static void test_loops(void **state)
{
	(void)state;
	expect(HEAD "  %a = local : f32[64]\n  for %i = 0 to 4 step 1 {\n"
	            "    store 1.0, %a[%i]\n    %b = local : f32[64]\n    store 1.0, %b[%i]\n"
	            "    yield\n  }\n  %c = local : f32[64]\n  store 1.0, %c[0]\n  ret\n}\n",
	       (unsigned[]){ 0, 1, 0 }, 3, 512);
	expect(HEAD
	       "  for %i = 0 to 4 step 1 {\n    %a = local : f32[64]\n"
	       "    for %j = 0 to 4 step 1 {\n      store 1.0, %a[%j]\n      yield\n    }\n"
	       "    %b = local : f32[64]\n    store 1.0, %b[0]\n"
	       "    for %k = 0 to 4 step 1 {\n      store 1.0, %b[%k]\n      yield\n    }\n"
	       "    yield\n  }\n  ret\n}\n",
	       (unsigned[]){ 0, 0 }, 2, 256);
}

/* The region's end must not be looked for at every touch: 40,000 ops took 16 s that
 * way, and take milliseconds; the limit is between, of this process's own time. */
static void test_length(void **state)
{
	enum { OPS = 40000 };
	static char text[OPS * 24 + 400];
	size_t n;
	kir_module *m;
	kir_func *f;
	kir_slots s;
	clock_t start, took;

	(void)state;
	strcpy(text, HEAD "  %a = local : f32[64]\n  for %i = 0 to 4 step 1 {\n");
	n = strlen(text);
	for (int i = 0; i < OPS; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "    store 1.0, %%a[%d]\n",
		                      i % 64);
	snprintf(text + n, sizeof text - n, "    yield\n  }\n  ret\n}\n");
	f = parsed(&m, text);
	start = clock();
	assert_true(kir_find_slots(f, &s));
	took = clock() - start;
	assert_int_equal(s.n, 1);
	if (took > CLOCKS_PER_SEC)
		fail_msg("%d ops took %.1f s", OPS, (double)took / CLOCKS_PER_SEC);
	kir_drop_slots(&s);
	kir_module_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_after_another),
		cmocka_unit_test(test_loops),
		cmocka_unit_test(test_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
