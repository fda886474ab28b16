/* SPDX-License-Identifier: Apache-2.0 */
/* opt_main.c -- kvjit-opt: passes on a text, one at a time or all.
 *
 *     kvjit-opt --passes=hoist,cse FILE        a file of IR, or "-"
 *     kvjit-opt --passes=all --check=ref FILE  a problem text works too
 *
 * The text that comes out is what a pass hands to the next, so a bug found in the middle of
 * the pipeline is a file that shows it with one pass. Exit codes: 0 done, 1 the text or a
 * check failed, 2 the command line was wrong.
 */
#include "output.h"
#include "sample.h"

#include "../ir/problem.h"
#include "../passes/passes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct options {
	const char *file, *passes, *skip, *target, *sched, *print, *check;
	double tol;
	unsigned long seed;
	bool verify_only;
} options;

static const char usage[] =
    "usage: kvjit-opt [options] FILE|-\n"
    "  --passes=A,B        run these; all: every one in order; help: list them\n"
    "  --skip=A,B          leave these out\n"
    "  --target=T          compile for this target instead of the one written\n"
    "  --sched=\"K=V ...\"   set these knobs\n"
    "  --print=WHERE,...   before:PASS, after:PASS; * for any\n"
    "  --check=C,...       verify, text (round trip), ref (interpreter before and after)\n"
    "  --seed=N --tol=X    of the check with ref\n"
    "  --verify-only       check the file, print nothing\n"
    "  --help              this\n";

static bool option(const char *arg, const char *name, const char **value)
{
	size_t n = strlen(name);

	if (strncmp(arg, name, n) != 0 || arg[n] != '=')
		return false;
	*value = arg + n + 1;
	return true;
}

static int find_word(const char *words, const char *word, size_t len)
{
	for (int i = 0;; i++) {
		size_t n = strcspn(words, ",");
		if (n == len && !memcmp(words, word, n))
			return i;
		if (!words[n])
			return -1;
		words += n + 1;
	}
}

static bool read_numbers(const char *seed, const char *tol, options *o)
{
	char *end;

	o->seed = 1;
	o->tol = 0.05;
	if (seed) {
		o->seed = strtoul(seed, &end, 0);
		if (*seed < '0' || *seed > '9' || *end) {
			fprintf(stderr, "kvjit-opt: --seed takes an integer, not '%s'\n", seed);
			return false;
		}
	}
	if (tol) {
		o->tol = strtod(tol, &end);
		if (end == tol || *end || !(o->tol >= 0) || isinf(o->tol)) {
			fprintf(stderr,
			        "kvjit-opt: --tol takes a finite number from 0 on, not '%s'\n",
			        tol);
			return false;
		}
	}
	return true;
}

/* A place of --print: before or after, a colon, a pass or *. */
static bool is_place(const char *word, size_t len)
{
	const char *pass = memchr(word, ':', len);
	size_t n = pass ? (size_t)(pass - word) : 0, m = pass ? len - n - 1 : 0;

	if (!pass || find_word("before,after", word, n) < 0)
		return false;
	if (m == 1 && pass[1] == '*')
		return true;
	for (unsigned i = 0; i < kpass_count; i++)
		if (strlen(kpass_table[i].name) == m &&
		    !memcmp(kpass_table[i].name, pass + 1, m))
			return true;
	return false;
}

static bool is_check(const char *word, size_t len)
{
	return find_word("verify,text,ref", word, len) >= 0;
}

static bool all_words(const char *name, const char *list, bool (*ok)(const char *, size_t),
                      const char *values)
{
	for (const char *s = list; s && *s;) {
		size_t n = strcspn(s, ", ");

		if (n && !ok(s, n)) {
			fprintf(stderr, "kvjit-opt: --%s takes %s, not '%.*s'\n", name, values,
			        (int)n, s);
			return false;
		}
		s += n + (s[n] != 0);
	}
	return true;
}

static bool read_words(const options *o)
{
	return all_words("check", o->check, is_check, "verify, text, ref") &&
	       all_words("print", o->print, is_place,
	                 "before:PASS and after:PASS, PASS one of --passes=help or *");
}

static bool read_options(int argc, char **argv, options *o)
{
	const char *seed = NULL, *tol = NULL;

	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];
		if (!strcmp(a, "--verify-only"))
			o->verify_only = true;
		else if (!option(a, "--passes", &o->passes) && !option(a, "--skip", &o->skip) &&
		         !option(a, "--target", &o->target) &&
		         !option(a, "--sched", &o->sched) && !option(a, "--print", &o->print) &&
		         !option(a, "--check", &o->check) && !option(a, "--seed", &seed) &&
		         !option(a, "--tol", &tol)) {
			bool dash = a[0] == '-' && a[1];
			if (dash || o->file) {
				fprintf(stderr, "kvjit-opt: %s '%s'\n",
				        dash ? "unknown option" : "a second file", a);
				return false;
			}
			o->file = a;
		}
	}
	if (!read_numbers(seed, tol, o) || !read_words(o))
		return false;
	if (o->file || (o->passes && !strcmp(o->passes, "help")))
		return true;
	fprintf(stderr, "kvjit-opt: a file is missing, or - for the input\n");
	return false;
}

static int list_passes(void)
{
	for (unsigned i = 0; i < kpass_count; i++) {
		const kpass_info *p = &kpass_table[i];
		printf("%-12s %s %c -> %c  %s\n", p->name, p->lower ? "lower" : "opt  ",
		       "?AT?V"[p->from], "?AT?V"[p->to], p -> doc);
	}
	return 0;
}

static bool tell(const char *file, const kir_diag *d)
{
	for (unsigned i = 0; i < d->n && i < KIR_DIAG_MAX; i++) {
		if (d->at[i].line)
			fprintf(stderr, "%s:%d:%d: %s\n", file, d->at[i].line, d->at[i].col,
			        d->at[i].msg);
		else
			fprintf(stderr, "%s: %s\n", file, d->at[i].msg);
	}
	return false;
}

static char *read_text(const char *path, size_t *len)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "rb") : stdin;
	size_t cap = 1 << 16, n;
	char *text = malloc(cap);

	*len = 0;
	while (f && text && (n = fread(text + *len, 1, cap - *len - 1, f)) > 0) {
		*len += n;
		if (cap - *len > 1)
			continue;
		char *more = realloc(text, cap *= 2);
		if (!more)
			free(text);
		text = more;
	}
	if (f && f != stdin)
		fclose(f);
	if (!f || !text) {
		free(text);
		return NULL;
	}
	text[*len] = 0;
	return text;
}

/* IR has a line that begins with "func"; a problem has none. */
static bool is_ir(const char *s)
{
	for (; s; s = strchr(s, '\n')) {
		s += strspn(s, " \t\r\n");
		if (!strncmp(s, "func", 4) && strchr(" \t@", s[4]))
			return true;
	}
	return false;
}

/* -- knobs and target ------------------------------------------------------------- */

/* A row of the table, features behind it or not; NULL with a message. */
static const kir_target *target_of(kir_module *m, const char *name, kir_diag *d)
{
	const kir_target *t = kir_target_parse(m, name, strlen(name));
	char list[200];

	if (!t)
		kir_error(d, 0, 0, "no target '%.40s'; there are %s", name,
		          kir_target_names(list, sizeof(list)));
	return t;
}

static bool set_up(kir_func *f, const options *o, kir_diag *d)
{
	bool given[kir_nknobs] = { false };

	if (o->sched && (!kir_sched_parse(&f->sched, given, o->sched, d) ||
	                 !kir_sched_in_time(f, given, d)))
		return false;
	return !o->target || (f->target = target_of(f->module, o->target, d)) != NULL;
}

/* -- the check against the interpreter --------------------------------------------- */

static bool run(const kir_func *f, const sample *s, kref_mode mode, const char *when,
                kir_diag *why)
{
	kir_diag d = { 0 };

	if (kref_run(f, s->arg, mode, NULL, &d))
		return true;
	kir_error(why, d.n ? d.at[0].line : 0, 0, "%s: %.200s", when,
	          d.n ? d.at[0].msg : "the interpreter failed");
	return false;
}

static bool compare(const kir_func *before, const kir_func *after, void *ctx, kir_diag *why)
{
	const options *o = ctx;
	sample *a = sample_new(before, o->seed, why), *b = a ? sample_copy(a) : NULL;
	bool attention = false, ok = a && b;
	kref_mode mode;

	/* writers are exact to the byte, one rounding an op; attention isn't */
	for (unsigned i = 0; i < before->nparam; i++)
		attention |= !strcmp(before->param[i].name, "work");
	mode = attention ? KREF_EXACT : KREF_ROUND;
	ok = ok && run(before, a, mode, "before", why) && run(after, b, mode, "after", why) &&
	     sample_same(before, a, b, o->tol, why);
	sample_free(a);
	sample_free(b);
	return ok;
}

/* -- main ------------------------------------------------------------------------- */

static void emit(const char *text, void *ctx)
{
	(void)ctx;
	fputs(text, stdout);
}

static bool wants(const char *list, const char *word)
{
	for (size_t n; list && *list; list += n + (list[n] != 0)) {
		n = strcspn(list, ", ");
		if (n == strlen(word) && !memcmp(list, word, n))
			return true;
	}
	return false;
}

static kir_func *process(kir_func *f, options *o, kir_diag *d)
{
	kpass_options p = { .list = o->passes,
		            .skip = o->skip,
		            .print = o->print,
		            .check_text = wants(o->check, "text"),
		            .emit = emit,
		            .compare = wants(o->check, "ref") ? compare : NULL,
		            .ctx = o };

	if (!set_up(f, o, d) || !kir_verify(f, d))
		return NULL;
	if (!o->passes || o->verify_only)
		return f;
	if (!strcmp(o->passes, "all"))
		p.list = NULL;
	return kpass_run(f, &p, d);
}

static bool parse(kir_module *m, const char *text, size_t len, const options *o, kir_diag *d)
{
	kir_problem p;
	const kir_target *t = &kir_targets[0];
	const char *name;

	if (is_ir(text))
		return kir_parse_into(m, text, len, d);
	if (!kir_problem_parse(m, text, len, &p, d))
		return false;
	name = o->target ? o->target : p.target;
	if (name)
		t = target_of(m, name, d);
	return t && kir_problem_expand(m, &p, t, d) != NULL;
}

static bool process_all(kir_module *m, options *o)
{
	kir_text out = { 0 };
	kir_diag d = { 0 };

	for (unsigned i = 0; i < m->nformat; i++) {
		kir_format_print(m->format[i], &out);
		kir_text_add(&out, "\n");
	}
	for (unsigned i = 0, n = m->nfunc; i < n; i++) {
		kir_func *f = process(m->func[i], o, &d);
		if (!f) {
			free(out.text);
			return tell(o->file, &d);
		}
		kir_print(f, &out);
	}
	if (!o->verify_only && out.text)
		fputs(out.text, stdout);
	free(out.text);
	return true;
}

static int command(int argc, char **argv)
{
	options o = { 0 };
	kir_diag d = { 0 };
	kir_module *m;
	char *text;
	size_t len;
	bool ok;

	if (argc == 2 && !strcmp(argv[1], "--help")) {
		fputs(usage, stdout);
		return 0;
	}
	if (!read_options(argc, argv, &o)) {
		fputs(usage, stderr);
		return 2;
	}
	if (o.passes && !strcmp(o.passes, "help"))
		return list_passes();
	text = read_text(o.file, &len);
	if (!text) {
		fprintf(stderr, "kvjit-opt: can't read %s\n", o.file);
		return 1;
	}
	m = kir_module_new();
	ok = parse(m, text, len, &o, &d) ? process_all(m, &o) : tell(o.file, &d);
	kir_module_free(m);
	free(text);
	return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
	output_begin();
	return output_end("kvjit-opt", command(argc, argv));
}
