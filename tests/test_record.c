/* SPDX-License-Identifier: Apache-2.0 */
/* test_record.c -- KVJIT_RECORD: what is called how often, with which sizes, for how long. */
#include "support_cache.h"
#include "support_locale.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char attn[] = "attn q=f32 kv=int8/token-head heads=2:1 dim=64 page=16 causal";
static const char quant[] = "quant in=f32 to=e4m3/token-head heads=1 dim=32";
enum { PAGES = 64, MOST_SEQS = 4 };

static char path[400];

/* A context that records to `name` in the test's folder. */
static kvjit *recording(const char *name)
{
	kvjit *kv;

	snprintf(path, sizeof(path), "%s/%s", ct_folder, name);
	setenv("KVJIT_RECORD", path, 1);
	kv = ct_open("off", NULL, NULL);
	unsetenv("KVJIT_RECORD");
	return kv;
}

static kvjit_arg tensor(const char *name, void *data, kvjit_dtype type)
{
	return (kvjit_arg){ .name = name, .data = data, .dtype = type };
}

/* `calls` calls of the kernel with nseq sequences of `len` tokens, of which one is new. */
static void call_attn(kvjit_kernel *k, int64_t nseq, int32_t len, int calls)
{
	float q[MOST_SEQS][2][64] = { { { 0 } } }, out[MOST_SEQS][2][64];
	int32_t table[MOST_SEQS][PAGES];
	int32_t lens[MOST_SEQS], starts[MOST_SEQS + 1] = { 0 };
	kvjit_plan *plan = NULL;
	void *pool = kvjit_alloc(PAGES * 4096); /* more than pages of this format have */

	for (int s = 0; s < nseq; s++) {
		lens[s] = len;
		starts[s + 1] = s + 1;
		for (int i = 0; i < PAGES; i++)
			table[s][i] = i;
	}
	kvjit_batch b = { .size = sizeof(b),
		          .nseq = nseq,
		          .seq_lens = lens,
		          .query_starts = starts,
		          .block_table = &table[0][0],
		          .table_stride = PAGES,
		          .npages = PAGES };
	kvjit_arg args[] = { tensor("q", q, KVJIT_F32),
		             tensor("cache", pool, KVJIT_U8),
		             tensor("table", table, KVJIT_S32),
		             tensor("lens", lens, KVJIT_S32),
		             tensor("starts", starts, KVJIT_S32),
		             tensor("out", out, KVJIT_F32),
		             { .name = "scale", .dtype = KVJIT_F32, .f = 0.125 } };

	args[2].nstride = 1;
	args[2].stride[0] = PAGES;
	if (kvjit_plan_new(k, &b, &plan) != KVJIT_OK)
		fail_msg("%s", kvjit_kernel_error(k));
	for (int i = 0; i < calls; i++)
		if (kvjit_call(k, plan, args, (int)(sizeof(args) / sizeof(args[0])), NULL) !=
		    KVJIT_OK)
			fail_msg("%s", kvjit_kernel_error(k));
	kvjit_plan_free(plan);
	kvjit_free(pool, PAGES * 4096);
}

static char *text_of(const char *name)
{
	static char text[20000];
	FILE *f = fopen(name, "r");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

	text[n] = 0;
	if (f)
		fclose(f);
	return text;
}

static int lines_in(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void calls_are_counted_by_problem_and_size(void **state)
{
	kvjit *kv = recording("calls");
	kvjit_kernel *k = ct_get(kv, attn, 0), *again = ct_get(kv, attn, KVJIT_FRESH);
	kvjit_kernel *never = ct_get(kv, quant, 0);
	const char *text;

	(void)state;
	call_attn(k, 1, 300, 40);
	call_attn(k, 1, 500, 60);
	call_attn(again, 1, 300, 20); /* the same problem */
	call_attn(k, 3, 900, 7);
	call_attn(k, 3, 0, 7); /* no work: no size */
	kvjit_release(again);
	assert_int_equal(kvjit_record_write(kv), KVJIT_OK);
	text = text_of(path);
	assert_int_equal(lines_in(text), 3);
	assert_memory_equal(text, "# kvjit tune --from", 19);
	/* of the calls that were timed */
	assert_non_null(strstr(text, " batch=1 ctx=3"));
	assert_non_null(strstr(text, " qlen=1 :: calls=120 us="));
	assert_non_null(strstr(text, " batch=3 ctx=900 qlen=1 :: calls=7 us="));
	assert_null(strstr(text, "quant"));
	call_attn(k, 3, 900, 1);
	kvjit_close(kv);
	assert_non_null(strstr(text_of(path), " :: calls=8 us="));
	call_attn(k, 3, 900, 1); /* kernels live on, and are counted */
	kvjit_release(k);
	kvjit_release(never);
	assert_non_null(strstr(text_of(path), " :: calls=9 us="));
}

/* Lines are sound: numbers above 0, a problem that compiles with its sizes. */
static void a_line_is_a_problem_and_its_share(void **state)
{
	kvjit *kv = recording("lines");
	kvjit_kernel *k = ct_get(kv, attn, 0);
	unsigned long long calls = 0;
	double us = 0;
	char *line, *sep;

	(void)state;
	call_attn(k, 2, 700, 100);
	assert_int_equal(kvjit_record_write(kv), KVJIT_OK);
	line = strchr(text_of(path), '\n') + 1;
	sep = strstr(line, " :: ");
	assert_non_null(sep);
	assert_int_equal(sscanf(sep, " :: calls=%llu us=%lf\n", &calls, &us), 2);
	assert_int_equal(calls, 100);
	assert_true(us > 0 && us < 60e6);
	*sep = 0;
	kvjit_release(k);
	k = ct_get(kv, line, 0);
	assert_non_null(strstr(line, "batch=2 ctx=700 qlen=1"));
	kvjit_release(k);
	kvjit_close(kv);
}

static void stated_sizes_are_one_line(void **state)
{
	char sized[200];
	kvjit *kv = recording("sized");
	kvjit_kernel *k;

	(void)state;
	snprintf(sized, sizeof(sized), "%s batch=4 ctx=4096", attn);
	k = ct_get(kv, sized, 0);
	call_attn(k, 1, 300, 3);
	call_attn(k, 3, 900, 4);
	call_attn(k, 3, 0, 5); /* no work */
	kvjit_release(k);
	kvjit_close(kv);
	assert_int_equal(lines_in(text_of(path)), 2);
	assert_non_null(strstr(text_of(path), "batch=4 ctx=4096 :: calls=7 us="));
}

/* No schedule would be taken for them. */
static void knobs_of_the_caller_are_not_recorded(void **state)
{
	kvjit_compile_options o = { sizeof(o), "kv_tile=16", 0 };
	kvjit *kv = recording("knobs");
	kvjit_kernel *k = NULL;

	(void)state;
	assert_int_equal(kvjit_compile(kv, attn, &o, &k), KVJIT_OK);
	call_attn(k, 1, 300, 3);
	kvjit_release(k);
	kvjit_close(kv);
	assert_int_equal(access(path, F_OK), -1);
}

static void *call_often(void *k)
{
	call_attn(k, 1, 300, 500);
	return NULL;
}

static void threads_lose_no_call(void **state)
{
	enum { N = 4 };
	kvjit *kv = recording("threads");
	kvjit_kernel *k = ct_get(kv, attn, 0);
	pthread_t t[N];

	(void)state;
	for (int i = 0; i < N; i++)
		assert_int_equal(pthread_create(&t[i], NULL, call_often, k), 0);
	for (int i = 0; i < N; i++)
		pthread_join(t[i], NULL);
	kvjit_release(k);
	kvjit_close(kv);
	assert_non_null(strstr(text_of(path), ":: calls=2000 us="));
}

static void a_child_writes_nothing_of_its_parents(void **state)
{
	kvjit *kv = recording("child");
	kvjit_kernel *k = ct_get(kv, attn, 0);
	int status = -1;
	pid_t pid;

	(void)state;
	call_attn(k, 1, 300, 5);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		kvjit_release(k);
		kvjit_close(kv);
		exit(0);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	assert_int_equal(access(path, F_OK), -1);
	kvjit_release(k);
	kvjit_close(kv);
	assert_int_equal(access(path, F_OK), 0);
}

/* The end of a process that closed nothing; %p in a name. */
static void exit_writes_what_is_open(void **state)
{
	char name[500];
	pid_t pid;

	(void)state;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		kvjit *kv = recording("exit.%p.calls");

		call_attn(ct_get(kv, attn, 0), 1, 300, 5);
		exit(0);
	}
	waitpid(pid, NULL, 0);
	snprintf(name, sizeof(name), "%s/exit.%ld.calls", ct_folder, (long)pid);
	assert_non_null(strstr(text_of(name), ":: calls=5 us="));
}

/* The host's locale is its own: what is written is read by a tool that has another. */
static void no_locale_changes_a_record(void **state)
{
	bool comma = support_comma(ct_folder);
	const char *us;

	(void)state;
	if (!comma)
		skip();
	kvjit *kv = recording("comma");
	kvjit_kernel *k = ct_get(kv, attn, 0);

	call_attn(k, 1, 300, 5);
	kvjit_release(k);
	kvjit_close(kv);
	support_no_comma();
	us = strstr(text_of(path), " us=");
	assert_non_null(us);
	assert_int_equal(us[4 + strspn(us + 4, "0123456789")], '.');
}

static void what_cannot_be_written_is_said(void **state)
{
	kvjit_options o = { .size = sizeof(o), .cache = "off" };
	kvjit *kv = NULL;

	(void)state;
	setenv("KVJIT_RECORD", "/nowhere/at/all", 1);
	assert_int_equal(kvjit_open(&o, &kv), KVJIT_UNSUPPORTED);
	assert_says(kvjit_open_error(), "KVJIT_RECORD|/nowhere/at/all|No such file");
	unsetenv("KVJIT_RECORD");
	assert_int_equal(kvjit_record_write(NULL), KVJIT_BAD_ARGUMENT);
	kv = ct_open("off", NULL, NULL);
	assert_int_equal(kvjit_record_write(kv), KVJIT_UNSUPPORTED);
	assert_says(kvjit_error(kv), "KVJIT_RECORD");
	kvjit_close(kv);
	kv = recording("gone");
	assert_int_equal(mkdir(path, 0700), 0); /* a folder in the file's place */
	assert_int_equal(kvjit_record_write(kv), KVJIT_BAD_ARGUMENT);
	assert_says(kvjit_error(kv), "KVJIT_RECORD|directory");
	kvjit_close(kv);
}

/* As an engine with a context for each model has it. */
static void contexts_with_one_file_are_added_up(void **state)
{
	kvjit *kv = recording("both"), *other = recording("both");
	kvjit_kernel *k = ct_get(kv, attn, 0), *l = ct_get(other, attn, 0);

	(void)state;
	call_attn(k, 1, 300, 5);
	call_attn(l, 1, 300, 7);
	kvjit_release(k);
	kvjit_close(kv);
	assert_non_null(strstr(text_of(path), " :: calls=12 us="));
	call_attn(l, 1, 300, 2);
	kvjit_release(l);
	kvjit_close(other);
	assert_non_null(strstr(text_of(path), " :: calls=14 us="));
	assert_int_equal(lines_in(text_of(path)), 2);
}

/* The name that a record has until it is whole can be foretold. */
static void a_link_in_its_way_leads_nowhere(void **state)
{
	char victim[500], way[500];
	kvjit *kv = recording("linked");
	FILE *f;

	(void)state;
	snprintf(victim, sizeof(victim), "%s/victim", ct_folder);
	snprintf(way, sizeof(way), "%s.%ld", path, (long)getpid());
	f = fopen(victim, "w");
	assert_non_null(f);
	fprintf(f, "untouched");
	fclose(f);
	assert_int_equal(symlink(victim, way), 0);
	assert_int_equal(kvjit_record_write(kv), KVJIT_OK);
	kvjit_close(kv);
	assert_string_equal(text_of(victim), "untouched");
	assert_memory_equal(text_of(path), "# kvjit tune --from", 19);
}

/* A record takes the place of what has its name: of /dev/null too, if a superuser named that.
 */
static void only_files_are_replaced(void **state)
{
	kvjit_options o = { .size = sizeof(o), .cache = "off" };
	struct stat st;
	kvjit *kv = NULL;

	(void)state;
	snprintf(path, sizeof(path), "%s/pipe",
	         ct_folder); /* a device needs rights to be made */
	assert_int_equal(mkfifo(path, 0600), 0);
	setenv("KVJIT_RECORD", path, 1);
	assert_int_equal(kvjit_open(&o, &kv), KVJIT_UNSUPPORTED);
	assert_says(kvjit_open_error(), "KVJIT_RECORD|pipe|a regular one");
	unsetenv("KVJIT_RECORD");
	kv = recording("out");
	assert_int_equal(symlink("/dev/stdout", path), 0);
	assert_int_equal(kvjit_record_write(kv), KVJIT_BAD_ARGUMENT);
	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	kvjit_close(kv);
	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CT_TEST(exit_writes_what_is_open),
		CT_TEST(calls_are_counted_by_problem_and_size),
		CT_TEST(a_line_is_a_problem_and_its_share),
		CT_TEST(stated_sizes_are_one_line),
		CT_TEST(knobs_of_the_caller_are_not_recorded),
		CT_TEST(threads_lose_no_call),
		CT_TEST(a_child_writes_nothing_of_its_parents),
		CT_TEST(no_locale_changes_a_record),
		CT_TEST(what_cannot_be_written_is_said),
		CT_TEST(contexts_with_one_file_are_added_up),
		CT_TEST(a_link_in_its_way_leads_nowhere),
		CT_TEST(only_files_are_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
