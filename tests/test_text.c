/* SPDX-License-Identifier: Apache-2.0 */
/* test_text.c -- schedules in clear: what is printed is read back, a bad line has its number
 * and leaves nothing, and no locale changes a number. */
#include "../tune/text.h"
#include "support_locale.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static unsigned seed = 11;

static int below(int n)
{
	return rand_r(&seed) % n;
}

static const char *const problems[] = {
	"attn q=bf16 kv=int8/token-head heads=32:8 dim=128 page=128 causal batch=8 ctx=8192",
	"merge out=f32 heads=4 dim=64",
	"attn q=f32 kv=e4m3/head heads=8 dim=96 page=16 scale=0.125",
};
static const char *const scheds[] = { "kv_tile=64 q_tile=1 qk=bf16", "split=512",
	                              "kv_tile=16 prefetch=two unroll=4" };
static const char *const targets[] = { "avx2", "avx512-bf16", "avx512 +amx-tile", "" };
static const char *const machines[] = { "avx2 l1=32 l2=1024 processors=2 isa=sse3,avx2", "",
	                                "generic key=value # no comment" };

/* Of nine digits, as text keeps no more. */
static double random_real(void)
{
	char digits[40];

	snprintf(digits, sizeof(digits), "%d.%08de%d", below(10), below(100000000),
	         below(40) - 20);
	return below(8) ? strtod(digits, NULL) : below(2);
}

/* Strings are literals. */
static kt_schedule random_schedule(void)
{
	static const int64_t counts[] = { 0, 1, 40, INT32_MAX, INT64_MAX };
	kt_schedule r = { .where = { .threads = 1 + below(2) * below(65536),
		                     .policy = (kt_policy)below(2),
		                     .bucket = { below(KT_NBATCH + 1) - 1,
		                                 below(KT_NCTX + 1) - 1,
		                                 below(KT_NQLEN + 1) - 1 } },
		          .problem = (char *)problems[below(3)],
		          .sched = (char *)scheds[below(3)],
		          .target = (char *)targets[below(2)],
		          .machine = (char *)machines[below(3)],
		          .source = (kt_source)below(4),
		          .median = random_real(),
		          .lo = random_real(),
		          .hi = random_real(),
		          .ratio = random_real(),
		          .ratio_lo = random_real(),
		          .ratio_hi = random_real(),
		          .n = counts[below(5)],
		          .when = counts[below(5)],
		          .codegen = below(3) };

	for (unsigned i = 0; i < sizeof(r.where.machine.b); i++)
		r.where.machine.b[i] = (uint8_t)below(256);
	return r;
}

static void assert_same(const kt_schedule *a, const kt_schedule *b)
{
	assert_string_equal(a->problem, b->problem);
	assert_string_equal(a->sched, b->sched);
	assert_string_equal(a->target, b->target);
	assert_string_equal(a->machine, b->machine);
	assert_true(kt_key_equal(&a->where.machine, &b->where.machine));
	assert_int_equal(a->where.threads, b->where.threads);
	assert_int_equal(a->where.policy, b->where.policy);
	assert_memory_equal(&a->where.bucket, &b->where.bucket, sizeof(a->where.bucket));
	assert_int_equal(a->source, b->source);
	assert_true(a->median == b->median && a->lo == b->lo && a->hi == b->hi);
	assert_true(a->ratio == b->ratio && a->ratio_lo == b->ratio_lo);
	assert_true(a->ratio_hi == b->ratio_hi && a->n == b->n && a->when == b->when);
	assert_int_equal(a->codegen, b->codegen);
}

static void release(kt_schedule *at, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		kt_schedule_free(&at[i]);
	free(at);
}

static unsigned read_text(const char *text, kt_schedule **out)
{
	static kir_diag d;
	char why[4000];
	unsigned n = 0;

	d.n = 0;
	if (!kt_text_read(text, strlen(text), out, &n, &d))
		fail_msg("%s", kir_diag_text(&d, why, sizeof(why)));
	return n;
}

/* -- round trips --------------------------------------------------------------------------- */

enum { MANY = 500 };

static void what_is_printed_is_read_back(void **state)
{
	static kt_schedule want[MANY];
	kir_text t = { 0 }, again = { 0 };
	kt_schedule *got;
	unsigned n;

	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		want[i] = random_schedule();
		kt_text_schedule(&want[i], false, &t);
	}
	n = read_text(t.text, &got);
	assert_int_equal(n, MANY);
	for (unsigned i = 0; i < n; i++) {
		assert_same(&got[i], &want[i]);
		kt_text_schedule(&got[i], false, &again);
	}
	assert_string_equal(again.text, t.text);
	release(got, n);
	free(t.text);
	free(again.text);
}

static void a_target_of_no_name_is_read_back(void **state)
{
	kt_schedule want = random_schedule(), *got;
	kir_text t = { 0 };

	(void)state;
	want.target = (char *)targets[3];
	kt_text_schedule(&want, false, &t);
	assert_int_equal(read_text(t.text, &got), 1);
	assert_same(got, &want);
	release(got, 1);
	free(t.text);
}

static void a_pin_has_problem_and_schedule_alone(void **state)
{
	kt_schedule want = random_schedule(), *got;
	kir_text t = { 0 };

	(void)state;
	want.problem = (char *)problems[1];
	want.sched = (char *)scheds[1];
	kt_text_schedule(&want, true, &t);
	assert_string_equal(t.text, "merge out=f32 heads=4 dim=64 :: split=512\n");
	assert_int_equal(read_text(t.text, &got), 1);
	assert_string_equal(got->problem, want.problem);
	assert_string_equal(got->sched, want.sched);
	assert_int_equal(got->source, KT_BY_hand);
	assert_int_equal(got->where.bucket.batch, KT_ANY);
	assert_int_equal(got->where.bucket.ctx, KT_ANY);
	assert_int_equal(got->where.bucket.qlen, KT_ANY);
	assert_int_equal(got->n, 0);
	release(got, 1);
	free(t.text);
}

/* Formats that stand before a problem have lines of their own there. */
static void a_record_is_one_line(void **state)
{
	kt_schedule want = random_schedule(), *got;
	kir_text t = { 0 };

	(void)state;
	want.problem =
	    (char *)"format mine {\n\tcode int8;\n\n}\nmerge out=f32 heads=4 dim=64\n";
	want.machine = (char *)"two\nlines";
	kt_text_schedule(&want, false, &t);
	assert_ptr_equal(strchr(t.text, '\n'), t.text + t.len - 1);
	assert_int_equal(read_text(t.text, &got), 1);
	assert_string_equal(got->problem,
	                    "format mine { code int8; } merge out=f32 heads=4 dim=64");
	assert_string_equal(got->machine, "two lines");
	release(got, 1);
	free(t.text);
}

static void comments_and_empty_lines_are_skipped(void **state)
{
	kt_schedule *got;
	unsigned n;

	(void)state;
	n = read_text("# a :: b\n\n \t \r\n  # indented\np1 :: s1\r\n\n"
	              "  p2 ::   s2 # threads=3\n#\np3::s3 #\np4 :: s4",
	              &got);
	assert_int_equal(n, 4);
	for (unsigned i = 0; i < n; i++) {
		char name[2][16];

		snprintf(name[0], sizeof(name[0]), "p%u", i + 1);
		snprintf(name[1], sizeof(name[1]), "s%u", i + 1);
		assert_string_equal(got[i].problem, name[0]);
		assert_string_equal(got[i].sched, name[1]);
	}
	assert_int_equal(got[1].where.threads, 3);
	release(got, n);
	assert_int_equal(read_text("", &got), 0);
	free(got);
	assert_int_equal(read_text("# nothing\n\n", &got), 0);
	free(got);
}

/* -- refusing ------------------------------------------------------------------------------ */

static void refuse(const char *text, size_t len, int line, const char *words)
{
	static kir_diag d;
	kt_schedule *got = (kt_schedule *)&d;
	unsigned n = 77;

	d.n = 0;
	if (kt_text_read(text, len, &got, &n, &d))
		fail_msg("read without a word: %s", text);
	assert_null(got);
	assert_int_equal(n, 0);
	assert_true(d.n >= 1);
	if (d.at[0].line != line || !strstr(d.at[0].msg, words))
		fail_msg("%d: %s\nwanted %d: %s\nof %s", d.at[0].line, d.at[0].msg, line, words,
		         text);
}

static void a_bad_line_has_its_number_and_leaves_nothing(void **state)
{
	static const struct {
		const char *line, *words;
	} bad[] = {
		{ "merge out=f32", "PROBLEM :: SCHEDULE" },
		{ "merge : : kv_tile=16", "PROBLEM :: SCHEDULE" },
		{ ":: kv_tile=16", "no problem before ::" },
		{ "merge ::", "no schedule after ::" },
		{ "merge :: # threads=1", "no schedule after ::" },
		{ "p :: s # frob=1", "frob" },
		{ "p :: s # threads", "threads" },
		{ "p :: s # threads=", "isn't one of its field" },
		{ "p :: s # threads=0", "isn't one of its field" },
		{ "p :: s # threads=-1", "isn't one of its field" },
		{ "p :: s # threads=70000", "isn't one of its field" },
		{ "p :: s # threads=1x", "1x" },
		{ "p :: s # threads=99999999999999999999", "isn't one of its field" },
		{ "p :: s # policy=hot", "hot" },
		{ "p :: s # source=rumour", "rumour" },
		{ "p :: s # batch=11", "11" },
		{ "p :: s # batch=-2", "-2" },
		{ "p :: s # ctx=13", "13" },
		{ "p :: s # qlen=3", "3" },
		{ "p :: s # median=fast", "fast" },
		{ "p :: s # median=-1", "-1" },
		{ "p :: s # median=nan", "nan" },
		{ "p :: s # median=inf", "inf" },
		{ "p :: s # median=-inf", "-inf" },
		{ "p :: s # median=0,5", "0,5" },
		{ "p :: s # ratio=1e999", "1e999" },
		{ "p :: s # n=-1", "-1" },
		{ "p :: s # n=9223372036854775808", "isn't one of its field" },
		{ "p :: s # when=yesterday", "yesterday" },
		{ "p :: s # codegen=2147483648", "isn't one of its field" },
		{ "p :: s # key=12", "12" },
		{ "p :: s # threads=1 policy=cold policy", "policy" },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[400];
		int n;

		n = snprintf(text, sizeof(text),
		             "# first\np :: s # threads=2\n\np :: s\n%s\np :: s\n",
		             bad[i].line);
		refuse(text, (size_t)n, 5, bad[i].words);
		n = snprintf(text, sizeof(text), "%s", bad[i].line); /* no line's end */
		refuse(text, (size_t)n, 1, bad[i].words);
	}
	refuse("p :: s\0 # threads=1\n", 20, 0, "zero byte");
}

/* As export would write them: what has no number of threads has no measurement. */
static char *print(const kt_schedule *at, unsigned n)
{
	kir_text t = { 0 };

	for (unsigned i = 0; i < n; i++)
		kt_text_schedule(&at[i], !at[i].where.threads, &t);
	return t.text ? t.text : strdup("");
}

/* A few bytes of text changed, some of its end cut off; of exactly its length, so that ASan
 * sees a read beyond it. */
static char *spoil(const char *text, size_t *len)
{
	static const char some[] = "#:=\n \t\"\r\\x0-9.e,\x80";
	char *out = malloc(*len);

	assert_non_null(out);
	memcpy(out, text, *len);
	for (int k = 1 + below(6); k; k--)
		out[below((int)*len)] = some[below((int)sizeof(some) - 1)];
	if (!below(4))
		*len = 1 + (size_t)below((int)*len - 1);
	return realloc(out, *len);
}

/* Any bytes at all: refused with a message, or read, and then printed and read the same. */
static void no_bytes_break_the_reader(void **state)
{
	static kir_diag d;
	kt_schedule some[3], *got, *again;
	unsigned n, nread = 0;
	char *sound;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		some[i] = random_schedule();
	sound = print(some, 3);
	for (unsigned i = 0; i < 5000; i++) {
		size_t len = strlen(sound);
		char *text = spoil(sound, &len);

		d.n = 0;
		if (kt_text_read(text, len, &got, &n, &d)) {
			char *first = print(got, n), *second;

			assert_int_equal(read_text(first, &again), n);
			second = print(again, n);
			assert_string_equal(second, first);
			release(again, n);
			release(got, n);
			free(first);
			free(second);
			nread++;
		} else {
			assert_true(d.n > 0 && d.at[0].msg[0] && d.at[0].line <= 9);
		}
		free(text);
	}
	assert_in_range(nread, 100, 4900); /* both happen, or this tests half */
	free(sound);
}

/* -- locale -------------------------------------------------------------------------------- */

static void no_locale_changes_a_number(void **state)
{
	const char *tmp = getenv("KVJIT_TMP");
	char folder[300], command[400];
	kt_schedule want = random_schedule(), *got;
	kir_text here = { 0 }, there = { 0 };
	bool comma;

	(void)state;
	snprintf(folder, sizeof(folder), "%s/text.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(folder));
	want.median = 0.00123456;
	want.ratio = 1.5e-7;
	kt_text_schedule(&want, false, &here);
	comma = support_comma(folder);
	if (comma) {
		kt_text_schedule(&want, false, &there);
		assert_int_equal(read_text(there.text, &got), 1);
		assert_same(got, &want);
		release(got, 1);
		refuse("p :: s # median=0,5", 19, 1, "0,5");
	}
	support_no_comma();
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	assert_int_equal(system(command), 0);
	if (comma)
		assert_string_equal(there.text, here.text);
	else
		print_message("no locale with a decimal comma here\n");
	free(here.text);
	free(there.text);
	if (!comma)
		skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_printed_is_read_back),
		cmocka_unit_test(a_target_of_no_name_is_read_back),
		cmocka_unit_test(a_pin_has_problem_and_schedule_alone),
		cmocka_unit_test(a_record_is_one_line),
		cmocka_unit_test(comments_and_empty_lines_are_skipped),
		cmocka_unit_test(a_bad_line_has_its_number_and_leaves_nothing),
		cmocka_unit_test(no_bytes_break_the_reader),
		cmocka_unit_test(no_locale_changes_a_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
