/* SPDX-License-Identifier: Apache-2.0 */
/* test_ir.c -- the IR from C: building, reading, copying, limits, and those messages of the
 * verifier that no text can cause because the parser wouldn't build such a function.
 */
#include "../ir/kir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void assert_prints(const kir_func *f, const char *want)
{
	kir_text t = { 0 };
	kir_print(f, &t);
	assert_string_equal(t.text, want);
	free(t.text);
}

static void assert_verifies(const kir_func *f)
{
	kir_diag d = { 0 };
	char buf[4096];
	if (!kir_verify(f, &d))
		fail_msg("%s", kir_diag_text(&d, buf, sizeof buf));
	assert_int_equal(d.n, 0);
}

static void assert_complains(const kir_func *f, const char *words)
{
	kir_diag d = { 0 };
	char buf[4096];
	assert_false(kir_verify(f, &d));
	kir_diag_text(&d, buf, sizeof buf);
	if (!strstr(buf, words))
		fail_msg("'%s' is not in:\n%s", words, buf);
}

/* Adds %q [?,16] f32 in, %o the same out, %n s64. */
static kir_func *start(kir_module *m, kir_level level)
{
	kir_func *f = kir_func_new(m, "f", level);
	kir_type_id rows = kir_buffer(m, KIR_f32, 2, (int64_t[]){ KIR_DYN, 16 });
	kir_add_param(f, "q", rows, KIR_IN);
	kir_add_param(f, "o", rows, KIR_OUT);
	kir_add_param(f, "n", kir_scalar(m, KIR_s64), KIR_IN);
	return f;
}

enum { Q = 1, O = 2, N = 3 };

static kir_ref binary(kir_func *f, kir_op op, kir_ref a, kir_ref b, kir_type_id type)
{
	return kir_emit(f, op, type, (kir_ref[]){ a, b }, 2, NULL);
}

/* A loop over rows with one inside that carries a sum, and an if. */
static kir_func *sample(kir_module *m)
{
	kir_func *f = start(m, KIR_T);
	kir_type_id f32 = kir_scalar(m, KIR_f32), row = kir_vector(m, KIR_f32, 16);
	kir_ref zero = kir_const_i(f, KIR_s64, 0);
	kir_ref par = kir_for(f, zero, N, 1, true, NULL, 0);
	kir_ref w = par + 1;
	f->node[w].name = "w";
	kir_ref x = kir_emit(f, KIR_OP_load, row, (kir_ref[]){ Q, w }, 2, NULL);
	kir_ref init = kir_const_f(f, KIR_f32, 0.1);
	kir_ref loop = kir_for(f, kir_const_i(f, KIR_s64, 0), w, 4, false, &init, 1);
	kir_ref r = kir_emit(f, KIR_OP_reduce_add, f32, &x, 1, NULL);
	f->node[r].name = "x";
	kir_ref s = binary(f, KIR_OP_add, loop + 2, r, f32);
	f->node[s].name = "x";
	kir_ref sum = kir_for_end(f, loop, &s, 1);
	kir_ref c =
	    binary(f, KIR_OP_lt, sum, kir_const_f(f, KIR_f32, 2), kir_scalar(m, KIR_i1));
	kir_ref op = kir_if(f, c);
	kir_else(f, &sum, 1);
	kir_ref one = kir_const_f(f, KIR_f32, 1);
	kir_ref y = kir_if_end(f, op, &one, 1);
	kir_emit(f, KIR_OP_store, KIR_NO_TYPE, (kir_ref[]){ y, O, w, zero }, 4, NULL);
	kir_for_end(f, par, NULL, 0);
	kir_ret(f);
	return f;
}

static const char sample_text[] = "func @f(%q: in f32[?,16], %o: out f32[?,16], %n: s64)\n"
                                  "     level=T {\n"
                                  "  for %w = 0 to %n par {\n"
                                  "    %0 = load %q[%w] : f32<16>\n"
                                  "    %3 = for %1 = 0 to %w step 4 carry(%2 = 0.1) {\n"
                                  "      %x = reduce.add %0 : f32\n"
                                  "      %x.1 = add %2, %x : f32\n"
                                  "      yield %x.1\n"
                                  "    }\n"
                                  "    %4 = lt %3, 2.0 : i1\n"
                                  "    %5 = if %4 {\n"
                                  "      yield %3\n"
                                  "    } else {\n"
                                  "      yield 1.0\n"
                                  "    }\n"
                                  "    store %5, %o[%w,0]\n"
                                  "    yield\n"
                                  "  }\n"
                                  "  ret\n"
                                  "}\n";

static void builds_and_prints(void **state)
{
	(void)state;
	kir_module *m = kir_module_new();
	kir_func *f = sample(m);
	assert_verifies(f);
	assert_prints(f, sample_text);
	assert_int_equal(m->nfunc, 1);
	assert_ptr_equal(m->func[0], f);
	kir_module_free(m);
	kir_module_free(NULL);
}

static void copies(void **state)
{
	(void)state;
	kir_module *m = kir_module_new(), *other = kir_module_new();
	kir_func *f = sample(m), *g = kir_func_like(f, KIR_V), *h = start(other, KIR_T);
	assert_int_equal(g->nparam, 3);
	assert_int_equal(g->nnode, 4);
	assert_int_equal(m->nfunc, 1);
	g->level = KIR_T;
	kir_ref *to_g = kir_map_new(g, f), *to_h = kir_map_new(h, f);
	for (kir_ref n = 4; n < f->nnode; n++) {
		kir_copy(g, f, n, to_g);
		kir_copy(h, f, n, to_h);
	}
	assert_prints(g, sample_text);
	kir_module_free(m);
	assert_verifies(h);
	assert_prints(h, sample_text);
	kir_module_free(other);
}

static void reads(void **state)
{
	(void)state;
	kir_module *m = kir_module_new();
	kir_func *f = sample(m);
	unsigned *uses = kir_count_uses(f), first, nindex;
	kir_ref par = 5, store = 0, buf, upto;
	int64_t x;
	assert_int_equal(uses[Q], 1);
	assert_int_equal(uses[O], 1);
	assert_int_equal(f->node[par].op, KIR_OP_for);
	assert_true(kir_for_par(f, par));
	assert_int_equal(kir_for_step(f, par), 1);
	assert_int_equal(kir_region_end(f, par), f->nnode - 1);
	assert_int_equal(kir_region_end(f, f->nnode - 1), f->nnode);
	assert_int_equal(kir_region_end(f, 4), 5);
	assert_int_equal(kir_regions(f, par), 1);
	assert_int_equal(kir_regions(f, 4), 0);
	assert_int_equal(kir_param_index(f, O), 1);
	assert_int_equal(kir_param_index(f, par), -1);
	assert_true(kir_is_const(f, 4, &x) && x == 0);
	assert_false(kir_is_const(f, N, &x));
	for (kir_ref n = 1; n < f->nnode; n++) {
		if (f->node[n].op == KIR_OP_for && n != par) {
			assert_int_equal(kir_for_step(f, n), 4);
			assert_int_equal(f->node[kir_region_end(f, n) - 1].op, KIR_OP_res);
		}
		store = f->node[n].op == KIR_OP_store ? n : store;
	}
	kir_access(f, store, &buf, &first, &nindex, &upto);
	assert_int_equal(buf, O);
	assert_int_equal(first, 2);
	assert_int_equal(nindex, 2);
	assert_int_equal(upto, 0);
	kir_ref more = kir_emit(f, KIR_OP_load, kir_vector(m, KIR_f32, 16),
	                        (kir_ref[]){ Q, 4, 4, N }, 4, NULL);
	kir_access(f, more, &buf, &first, &nindex, &upto);
	assert_int_equal(nindex, 2);
	assert_int_equal(upto, N);
	assert_int_equal(kir_attr_of(f, more, KIR_ATTR_axis), -1);
	assert_int_equal(kir_operand_index(KIR_OP_attention, "lens"), 7);
	assert_int_equal(kir_operand_index(KIR_OP_attention, "len"), -1);
	kir_module_free(m);
}

static void types(void **state)
{
	(void)state;
	kir_module *m = kir_module_new();
	kir_type_id a = kir_buffer(m, KIR_bf16, 3, (int64_t[]){ KIR_DYN, 4, 8 });
	kir_type_id b = kir_with_elem(m, a, KIR_s8);
	kir_text t = { 0 };
	assert_int_equal(a, kir_buffer(m, KIR_bf16, 3, (int64_t[]){ KIR_DYN, 4, 8 }));
	assert_int_equal(kir_type_at(m, a)->piece[0].stride, 64);
	assert_int_equal(kir_type_at(m, b)->piece[0].stride, 32);
	kir_type packed = *kir_type_at(m, a);
	packed.piece[0].stride = 128;
	kir_print_type(m, kir_with_elem(m, kir_type_intern(m, &packed), KIR_u16), &t);
	kir_print_type(m, b, &t);
	kir_print_type(m, kir_tile(m, KIR_i1, 2, 3), &t);
	assert_string_equal(t.text, "u16[?,4,8 | 0:128, 1:16, 2:2]s8[?,4,8]i1<2x3>");
	assert_int_equal(kir_type_count(kir_type_at(m, kir_tile(m, KIR_f32, 2, 3))), 6);
	assert_int_equal(kir_elem_bytes(KIR_e2m1), 1);
	assert_int_equal(kir_elem_bytes(KIR_f64), 8);
	assert_true(kir_is_float(KIR_e8m0) && !kir_is_float(KIR_s8) && !kir_is_float(KIR_i1));
	assert_true(kir_is_int(KIR_u8) && !kir_is_int(KIR_i1) && !kir_is_int(KIR_f16));
	assert_true(kir_is_signed(KIR_s64) && !kir_is_signed(KIR_u16));
	free(t.text);
	kir_module_free(m);
}

static void tables(void **state)
{
	(void)state;
	assert_string_equal(kir_ops[KIR_OP_x86_dpbusd].name, "x86.dpbusd");
	for (int op = 1; op < KIR_NOP; op++) {
		const kir_op_info *o = &kir_ops[op];
		assert_null(strchr(o->name, '_'));
		assert_int_equal(kir_op_find(o->name, strlen(o->name)), op);
		assert_true(o->level && *o->doc);
	}
	assert_int_equal(kir_op_find("ad", 2), KIR_NONE);
	for (int e = 1; e < KIR_NELEM; e++)
		assert_non_null(strchr("IUBFNZPE", kir_elems[e].kind));
	for (unsigned k = 0; k < kir_nknobs; k++) {
		kir_sched s = kir_sched_default();
		assert_int_equal(*kir_sched_knob(&s, k), kir_knobs[k].dflt);
	}
}

static void targets(void **state)
{
	(void)state;
	static const char *const names[] = {
		"generic",     "avx512-bf16",           "avx512-bf16-vbmi",
		"avx512+bf16", "avx512-fp16-vnni-bf16", "xe-pvc",
		"xe-dg2-xmx"
	};
	kir_module *m = kir_module_new();
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		kir_text t = { 0 };
		const kir_target *x = kir_target_parse(m, names[i], strlen(names[i]));
		assert_non_null(x);
		kir_target_print(x, &t);
		assert_string_equal(t.text, names[i]);
		free(t.text);
	}
	assert_null(kir_target_parse(m, "avx512bf16", 10));
	assert_null(kir_target_parse(m, "avx512-", 7));
	assert_non_null(kir_target_find("avx512-vbmi"));
	assert_null(kir_target_find("avx512-bf16-vbmi"));
	kir_module_free(m);
}

static void messages(void **state)
{
	(void)state;
	kir_diag d = { 0 };
	char buf[4096], small[8];
	kir_error(NULL, 1, 1, "nobody listens");
	kir_error(&d, 3, 14, "a");
	kir_error(&d, 3, 0, "b");
	kir_error(&d, 0, 0, "%d", 7);
	assert_string_equal(kir_diag_text(&d, buf, sizeof buf), "3:14: a\n3: b\n7");
	assert_string_equal(kir_diag_text(&d, small, sizeof small), "3:14: a");
	for (int i = 0; i < 20; i++)
		kir_error(&d, 0, 0, "x");
	assert_int_equal(d.n, 23);
	assert_non_null(strstr(kir_diag_text(&d, buf, sizeof buf), "\nand 7 more"));
}

/* -- limits of the parser -- */

static void assert_refused(const kir_text *t, const char *words)
{
	kir_diag d = { 0 };
	char buf[4096];
	assert_null(kir_parse(t->text, t->len, &d));
	if (!strstr(kir_diag_text(&d, buf, sizeof buf), words))
		fail_msg("'%s' is not in:\n%s", words, buf);
	assert_null(kir_parse(t->text, t->len, NULL));
}

static void nesting_is_limited(void **state)
{
	(void)state;
	kir_text t = { 0 };
	for (int levels = 64; levels <= 20000; levels += 19936) {
		t.len = 0;
		kir_text_add(&t, "func @f(%%n: s64) level=T {\nfor %%w = 0 to %%n par {\n");
		for (int i = 1; i < levels; i++)
			kir_text_add(&t, "for %%i%d = 0 to %%n {\n", i);
		for (int i = 0; i < levels; i++)
			kir_text_add(&t, "yield\n}\n");
		kir_text_add(&t, "ret\n}\n");
		if (levels > 64) {
			assert_refused(&t, "regions are nested deeper than 64 levels");
			continue;
		}
		kir_module *m = kir_parse(t.text, t.len, NULL);
		assert_non_null(m);
		assert_verifies(m->func[0]);
		kir_module_free(m);
	}
	free(t.text);
}

static void sizes_are_limited(void **state)
{
	(void)state;
	kir_text t = { .len = ((size_t)16 << 20) + 1 };
	t.text = calloc(1, t.len);
	assert_non_null(t.text);
	assert_refused(&t, "the text is longer than 16777216 bytes");
	t.cap = t.len;
	t.len = 0;
	kir_text_add(&t, "func @f() level=T {\n");
	for (int i = 1; i < 9000; i++)
		kir_text_add(&t, "%%%d = splat 1 : s8<%d>\n", i, i);
	kir_text_add(&t, "ret\n}\n");
	assert_refused(&t, "there are more than 8192 types");
	free(t.text);
}

static void any_byte_is_survived(void **state)
{
	(void)state;
	for (int cut = 0; cut < (int)sizeof sample_text; cut++)
		for (int byte = 0; byte < 256; byte += 5) {
			char text[sizeof sample_text];
			memcpy(text, sample_text, sizeof text);
			text[cut] = (char)byte;
			kir_module *m = kir_parse(text, sizeof text - 1, NULL);
			if (m && m->nfunc)
				kir_verify(m->func[0], NULL);
			kir_module_free(m);
			kir_module_free(kir_parse(text, (size_t)cut, NULL));
		}
}

static void parsing_into_a_module(void **state)
{
	(void)state;
	kir_module *m = kir_module_new();
	const char good[] = "func @a() level=T {\nret\n}\n", bad[] = "func @b() level=T {\n";
	kir_diag d = { 0 };
	assert_true(kir_parse_into(m, good, sizeof good - 1, &d));
	assert_false(kir_parse_into(m, bad, sizeof bad - 1, &d));
	assert_int_equal(m->nfunc, 1);
	assert_true(kir_parse_into(m, good, sizeof good - 1, &d));
	assert_int_equal(m->nfunc, 2);
	assert_string_equal(m->func[1]->name, "a");
	kir_module_free(m);
}

/* -- what only a pass can get wrong -- */

static void wrong_structure(void **state)
{
	(void)state;
	kir_module *m = kir_module_new();
	kir_func *f = start(m, KIR_T);
	assert_complains(f, "@f: a function ends with ret");
	kir_for(f, kir_const_i(f, KIR_s64, 0), N, 1, true, NULL, 0);
	assert_complains(f, "@f: a region is not closed");
	kir_ret(f);
	assert_complains(f, "ret: it stands inside a region");

	f = start(m, KIR_T);
	kir_ret(f);
	kir_ret(f);
	assert_complains(f, "ret: it stands behind ret");

	f = start(m, KIR_T);
	kir_emit(f, KIR_OP_yield, KIR_NO_TYPE, NULL, 0, NULL);
	assert_complains(f, "yield: it stands outside a region");

	f = start(m, KIR_T);
	kir_emit(f, KIR_OP_arg, kir_scalar(m, KIR_s64), NULL, 0, NULL);
	assert_complains(f, "%0 = arg: it is not where its region begins");

	f = start(m, KIR_T);
	kir_emit(f, KIR_OP_res, kir_scalar(m, KIR_s64), (kir_ref[]){ N }, 1, NULL);
	assert_complains(f, "%0 = res: it is not behind its loop or if");

	f = start(m, KIR_T);
	kir_const_i(f, KIR_s64, 0);
	kir_add_param(f, "late", kir_scalar(m, KIR_s64), KIR_IN);
	assert_complains(f, "%late = param: parameters stand in front of everything else");

	f = start(m, KIR_T);
	kir_ref c = kir_const_i(f, KIR_s64, 0);
	f->node[c].op = KIR_NOP;
	assert_complains(f, "@f: node 4 is no op");
	assert_false(kir_verify(f, NULL));
	kir_module_free(m);
}

static void wrong_regions(void **state)
{
	(void)state;
	kir_module *m = kir_module_new();
	kir_func *f = start(m, KIR_T);
	kir_ref zero = kir_const_i(f, KIR_s64, 0);
	kir_ref par = kir_for(f, zero, N, 1, true, NULL, 0);
	kir_emit(f, KIR_OP_for, KIR_NO_TYPE, (kir_ref[]){ zero, N, zero }, 3, NULL);
	kir_emit(f, KIR_OP_yield, KIR_NO_TYPE, NULL, 0, NULL);
	assert_complains(f, "for: its region has 2 arguments less than it needs");

	f = start(m, KIR_T);
	zero = kir_const_i(f, KIR_s64, 0);
	par = kir_for(f, zero, N, 1, true, NULL, 0);
	kir_ref loop = kir_for(f, zero, N, 1, false, &zero, 1);
	f->node[loop + 2].type = kir_scalar(m, KIR_s32);
	kir_emit(f, KIR_OP_yield, KIR_NO_TYPE, NULL, 0, NULL);
	assert_complains(f, "%2 = arg: its type is s32, not s64");
	assert_complains(f, "yield: it gives 0 values where 1 are expected");

	f = start(m, KIR_T);
	zero = kir_const_i(f, KIR_s64, 0);
	par = kir_for(f, zero, N, 1, true, NULL, 0);
	loop = kir_for(f, zero, N, 1, false, &zero, 1);
	kir_ref res = kir_for_end(f, loop, &zero, 1);
	f->node[res].type = kir_scalar(m, KIR_s32);
	kir_for_end(f, par, NULL, 0);
	assert_complains(f, "%3 = res: its type is s32, not s64");
	f->node[res].op = KIR_OP_const;
	assert_complains(f, "for: it gives 1 values, 0 are taken");

	f = start(m, KIR_T);
	zero = kir_const_i(f, KIR_s64, 0);
	kir_for(f, zero, N, 1, true, NULL, 0);
	for (int i = 0; i < 100; i++)
		kir_for(f, zero, N, 1, false, NULL, 0);
	assert_complains(f, "for: regions are nested deeper than 64 levels");
	kir_text t = { 0 };
	kir_print(f, &t);
	free(t.text);
	kir_module_free(m);
}

static void wrong_operands(void **state)
{
	(void)state;
	kir_module *m = kir_module_new();
	kir_type_id s64 = kir_scalar(m, KIR_s64);
	kir_func *f = start(m, KIR_T);
	kir_ref zero = kir_const_i(f, KIR_s64, 0);
	kir_ref par = kir_for(f, zero, N, 1, true, NULL, 0);
	kir_ref in = binary(f, KIR_OP_add, par + 1, N, s64);
	f->node[in].name = "in";
	kir_emit(f, KIR_OP_load, kir_scalar(m, KIR_f32), (kir_ref[]){ Q, N, N, N, N }, 5, NULL);
	kir_for_end(f, par, NULL, 0);
	binary(f, KIR_OP_add, in, N, s64);
	binary(f, KIR_OP_add, 0, N, s64);
	binary(f, KIR_OP_add, N, N, KIR_NO_TYPE);
	kir_emit(f, KIR_OP_add, s64, &zero, 1, NULL);
	kir_emit(f, KIR_OP_yield, KIR_NO_TYPE, NULL, 0, NULL);
	f->node[f->nnode - 1].op = KIR_OP_ret;
	f->node[f->nnode - 1].type = s64;
	assert_complains(f, "load: it has more indices than its buffer has dimensions");
	assert_complains(f, "%2 = add: operand 1, %in, is out of scope");
	assert_complains(f, "%3 = add: operand 1 is missing");
	assert_complains(f, "add: it needs a type");
	assert_complains(f, "%4 = add: it has 1 operands");
	assert_complains(f, "%5 = ret: it has no type");
	kir_module_free(m);
}

static void wrong_types(void **state)
{
	(void)state;
	kir_module *m = kir_module_new();
	kir_func *f = start(m, KIR_T);
	kir_type deep = { .elem = KIR_f32, .rank = KIR_RANK + 1 };
	kir_type flat = { .elem = KIR_f32, .rank = 1, .dim = { 0 } };
	kir_type huge = { .elem = KIR_f32, .rank = 2, .dim = { 1 << 20, 1 << 20 } };
	kir_type bent = {
		.elem = KIR_f32, .rank = 1, .buffer = true, .npieces = 1, .dim = { 4 }
	};
	bent.piece[0] = (kir_piece){ .axis = 1, .div = 1, .stride = 4 };
	kir_type many = bent;
	many.piece[0] = (kir_piece){ .dyn = true, .div = 1, .stride = 4 };
	kir_ref x = kir_const_f(f, KIR_f32, 0);
	kir_emit(f, KIR_OP_splat, kir_type_intern(m, &deep), &x, 1, NULL);
	kir_emit(f, KIR_OP_splat, kir_type_intern(m, &flat), &x, 1, NULL);
	kir_emit(f, KIR_OP_splat, kir_type_intern(m, &huge), &x, 1, NULL);
	kir_emit(f, KIR_OP_view, kir_type_intern(m, &bent), (kir_ref[]){ Q }, 1, NULL);
	kir_emit(f, KIR_OP_view, kir_type_intern(m, &many), (kir_ref[]){ Q }, 1, NULL);
	kir_ref c = kir_const_f(f, KIR_f32, 0);
	f->node[c].type = kir_vector(m, KIR_f32, 4);
	kir_emit(f, KIR_OP_convert, kir_scalar(m, KIR_s8), &x, 1, (int64_t[]){ 3, 0, 0, 0 });
	kir_ret(f);
	f->sched.kv_tile = 5000;
	f->sched.qk = 99;
	assert_complains(f, "%0 = splat: its type has too many dimensions or pieces");
	assert_complains(f, "%1 = splat: extent 0 of its type is not positive");
	assert_complains(f, "%2 = splat: a value has at most 16777216 elements");
	assert_complains(f, "%3 = view: piece 0 of its type is wrong");
	assert_complains(f, "%4 = view: a buffer has at most 4 run-time strides");
	assert_complains(f, "const: a literal is a scalar");
	assert_complains(f, "%5 = convert: its round is 3, out of range");
	assert_complains(f, "@f: knob kv_tile is 5000; it takes 0:1024");
	assert_complains(f, "@f: knob qk is 99; it takes auto,");
	kir_module_free(m);
}

static void clashing_names(void **state)
{
	(void)state;
	kir_module *m = kir_module_new();
	kir_func *f = kir_func_new(m, "f", KIR_T);
	kir_type_id s64 = kir_scalar(m, KIR_s64);
	static const char *const names[] = { "x",  "x", "x.1", "x.7", "x.7",
		                             "12", "",  "a b", "x.1" };
	kir_ref n = kir_add_param(f, "x", s64, KIR_IN);
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		kir_ref y = binary(f, KIR_OP_add, n, n, s64);
		f->node[y].name = names[i];
	}
	kir_ret(f);
	assert_prints(f, "func @f(%x: s64)\n     level=T {\n"
	                 "  %x.1 = add %x, %x : s64\n"
	                 "  %x.2 = add %x, %x : s64\n"
	                 "  %x.3 = add %x, %x : s64\n"
	                 "  %x.7 = add %x, %x : s64\n"
	                 "  %x.4 = add %x, %x : s64\n"
	                 "  %0 = add %x, %x : s64\n"
	                 "  %1 = add %x, %x : s64\n"
	                 "  %2 = add %x, %x : s64\n"
	                 "  %x.5 = add %x, %x : s64\n"
	                 "  ret\n}\n");
	kir_module_free(m);
}

/* Places of words are those that the text has, and two tables agree where code takes one for
 * the other. */
static void words(void **state)
{
	(void)state;
	for (unsigned k = 0; k < kir_nknobs; k++) {
		const kir_knob_info *x = &kir_knobs[k];
		if (strchr(x->values, ':'))
			continue;
		assert_int_equal(kir_knob_word(x, "auto", 4), 0);
		assert_null(strchr(x->values, ' '));
	}
	assert_int_equal(kir_knob_word(&kir_knobs[KIR_KNOB_prefetch], "both", 4),
	                 KIR_prefetch_both);
	assert_string_equal(kir_knobs[KIR_KNOB_qk].values, kir_knobs[KIR_KNOB_pv].values);
	assert_string_equal(strchr(kir_knobs[KIR_KNOB_hint].values, ',') + 1,
	                    kir_attrs[KIR_ATTR_hint].words);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(builds_and_prints),
		cmocka_unit_test(copies),
		cmocka_unit_test(reads),
		cmocka_unit_test(types),
		cmocka_unit_test(tables),
		cmocka_unit_test(targets),
		cmocka_unit_test(messages),
		cmocka_unit_test(nesting_is_limited),
		cmocka_unit_test(sizes_are_limited),
		cmocka_unit_test(any_byte_is_survived),
		cmocka_unit_test(parsing_into_a_module),
		cmocka_unit_test(wrong_structure),
		cmocka_unit_test(wrong_regions),
		cmocka_unit_test(wrong_operands),
		cmocka_unit_test(wrong_types),
		cmocka_unit_test(clashing_names),
		cmocka_unit_test(words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
