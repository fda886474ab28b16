/* SPDX-License-Identifier: Apache-2.0 */
/* filetest.c -- runs tests that are files of IR text: filetest FILE...
 *
 * The first line says what is tested; what stands before a line `==>` goes in, what stands
 * behind it must come out.
 *
 *     test text         parse and print; without `==>` the input is its own output
 *     test verify       parse and verify; each comment `; error: words` stands on the line of
 *                       a message that has these words, and there are no other messages
 *     test pass a,b     parse, run these passes on the first function, print; a failure
 *                       prints as `error: ` and its messages
 *
 * Whatever is printed is parsed and printed again and must be the same. KVJIT_BLESS=1 writes
 * what came out into the file.
 */
#include "../ir/kir.h"
#include "../ir/format.h"
#include "../passes/passes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ERRORS 256

struct test {
	const char *program, *path;
	char *file;        /* whole, terminated                                  */
	const char *kind;  /* of the first line, behind `test `                  */
	const char *input; /* begins with an empty line, so that lines count right */
	size_t input_len;
	const char *want; /* behind `==>`, NULL if there is none                  */
};

static bool fail(const struct test *t, const char *what, const char *text)
{
	printf("FAIL %s: %s\n%s%s  again: %s %s\n", t->path, what, text,
	       *text && text[strlen(text) - 1] != '\n' ? "\n" : "", t->program, t->path);
	return false;
}

static bool fail_diag(const struct test *t, const char *what, const kir_diag *d)
{
	char buf[8192];
	return fail(t, what, kir_diag_text(d, buf, sizeof buf));
}

/* -- differences -- */

static size_t line_length(const char *s)
{
	const char *end = strchr(s, '\n');
	return end ? (size_t)(end - s) + 1 : strlen(s);
}

static void put_lines(char mark, const char *s, const char *end)
{
	while (s < end) {
		size_t len = line_length(s);
		printf("  %c %.*s%s", mark, (int)len, s, s[len - 1] == '\n' ? "" : "\n");
		s += len;
	}
}

/* Lines that differ, between the first and the last difference, with one line around. */
static void put_diff(const char *want, const char *have)
{
	const char *we = want + strlen(want), *he = have + strlen(have), *before = want;
	const char *w = want, *h = have;
	while (*w && *h && line_length(w) == line_length(h) && !memcmp(w, h, line_length(w))) {
		before = w;
		h += line_length(h);
		w += line_length(w);
	}
	while (we > w && he > h && we[-1] == he[-1]) {
		we--;
		he--;
	}
	we += we > w || he > h ? line_length(we) : 0;
	he += line_length(he) && he < have + strlen(have) ? line_length(he) : 0;
	put_lines(' ', before, w);
	put_lines('-', w, we);
	put_lines('+', h, he);
}

/* -- text -- */

static char *print_formats(const kir_module *m)
{
	kir_text t = { 0 };
	kir_text_add(&t, "%s", "");
	for (unsigned i = 0; i < m->nformat; i++)
		kir_format_print(m->format[i], &t);
	return t.text;
}

/* Parses what was printed with the formats of m and prints it again. */
static bool round_trip(const struct test *t, const kir_module *m, const kir_func *f)
{
	kir_text once = { 0 }, twice = { 0 }, all = { 0 };
	kir_diag d = { 0 };
	char *formats = print_formats(m);
	kir_print(f, &once);
	kir_text_add(&all, "%s\n%s", formats, once.text);
	kir_module *again = kir_parse(all.text, all.len, &d);
	bool good = again != NULL;
	if (good) {
		kir_print(again->func[0], &twice);
		good = !strcmp(once.text, twice.text);
		if (!good) {
			fail(t, "printed, parsed and printed again it differs", "");
			put_diff(once.text, twice.text);
		}
	} else {
		fail_diag(t, "what it printed does not parse", &d);
	}
	kir_module_free(again);
	free(formats);
	free(once.text);
	free(twice.text);
	free(all.text);
	return good;
}

static bool bless(const struct test *t, const char *have)
{
	FILE *out = fopen(t->path, "w");
	if (!out)
		return fail(t, "can't be written", strerror(errno));
	fprintf(out, "test %s%.*s", t->kind, (int)t->input_len, t->input);
	fprintf(out, "==>\n%s", have);
	fclose(out);
	printf("blessed %s\n", t->path);
	return true;
}

static bool compare(const struct test *t, const char *have)
{
	const char *want = t->want ? t->want : t->input + 1;
	while (!t->want && *want == ';')
		want += line_length(want);
	if (!strcmp(want, have))
		return true;
	if (getenv("KVJIT_BLESS"))
		return bless(t, have);
	printf("FAIL %s: the output differs (- expected, + found)\n", t->path);
	put_diff(want, have);
	printf("  again: %s %s\n  accept: KVJIT_BLESS=1 %s %s\n", t->program, t->path,
	       t->program, t->path);
	return false;
}

/* -- kinds of tests -- */

static bool test_text(const struct test *t)
{
	kir_diag d = { 0 };
	kir_text out = { 0 };
	kir_module *m = kir_parse(t->input, t->input_len, &d);
	if (!m)
		return fail_diag(t, "it does not parse", &d);
	kir_print_module(m, &out);
	bool good = compare(t, out.text);
	for (unsigned i = 0; good && i < m->nfunc; i++)
		good = round_trip(t, m, m->func[i]);
	free(out.text);
	kir_module_free(m);
	return good;
}

struct expected {
	int line;
	const char *words;
	size_t len;
	bool seen;
};

static unsigned read_expected(const struct test *t, struct expected *e)
{
	unsigned n = 0;
	int line = 1;
	for (const char *s = t->input; *s; s += line_length(s), line++) {
		const char *end = s + line_length(s), *at = s;
		while ((at = strstr(at, "; error: ")) && at < end && n < MAX_ERRORS) {
			const char *words = at + strlen("; error: ");
			const char *next = strstr(words, "; error: ");
			const char *stop = next && next < end ? next : end;
			while (stop > words && strchr(" \r\n", stop[-1]))
				stop--;
			e[n++] =
			    (struct expected){ line, words, (size_t)(stop - words), false };
			at = words;
		}
	}
	return n;
}

static bool has_words(const char *msg, const struct expected *e)
{
	for (const char *s = msg; strlen(s) >= e->len; s++)
		if (!memcmp(s, e->words, e->len))
			return true;
	return false;
}

static bool match(const struct test *t, const kir_diag *d, struct expected *e, unsigned n)
{
	bool good = true;
	if (d->n > KIR_DIAG_MAX)
		good = fail(t, "there are more messages than a kir_diag holds", "");
	for (unsigned i = 0; i < d->n && i < KIR_DIAG_MAX; i++) {
		unsigned k = 0;
		while (k < n && (e[k].seen || e[k].line != d->at[i].line ||
		                 !has_words(d->at[i].msg, &e[k])))
			k++;
		if (k < n) {
			e[k].seen = true;
			continue;
		}
		kir_diag one = { .n = 1 };
		one.at[0] = d->at[i];
		good = fail_diag(t, "a message that isn't expected", &one);
	}
	return good;
}

static bool test_verify(const struct test *t)
{
	struct expected e[MAX_ERRORS];
	unsigned n = read_expected(t, e);
	kir_diag d = { 0 };
	kir_module *m = kir_parse(t->input, t->input_len, &d);
	bool good = match(t, &d, e, n);
	for (unsigned i = 0; m && i < m->nfunc; i++) {
		kir_diag v = { 0 };
		if (kir_verify(m->func[i], &v) != (v.n == 0))
			good = fail(t, "kir_verify's result is not what its messages say", "");
		good = match(t, &v, e, n) && good;
		good = round_trip(t, m, m->func[i]) && good;
	}
	for (unsigned i = 0; i < n; i++) {
		if (e[i].seen)
			continue;
		char what[300];
		snprintf(what, sizeof what, "line %d: this message doesn't come: %.*s",
		         e[i].line, e[i].len > 200 ? 200 : (int)e[i].len, e[i].words);
		good = fail(t, what, "") && good;
	}
	kir_module_free(m);
	return good;
}

static bool test_pass(const struct test *t, const char *list)
{
	kir_diag d = { 0 };
	kir_text out = { 0 };
	kir_module *m = kir_parse(t->input, t->input_len, &d);
	if (!m)
		return fail_diag(t, "it does not parse", &d);
	if (!m->nfunc || !kir_verify(m->func[0], &d)) {
		kir_module_free(m);
		return fail_diag(t, "its function is wrong", &d);
	}
	kpass_options o = { .list = list };
	bool good = round_trip(t, m, m->func[0]);
	kir_func *f = kpass_run(m->func[0], &o, &d);
	char buf[8192];
	if (f)
		kir_print(f, &out);
	else
		kir_text_add(&out, "error: %s\n", kir_diag_text(&d, buf, sizeof buf));
	good = good && compare(t, out.text) && (!f || round_trip(t, f->module, f));
	free(out.text);
	kir_module_free(m);
	return good;
}

/* -- files -- */

static char *read_file(const char *path, size_t *len)
{
	FILE *in = fopen(path, "rb");
	char *text = NULL;
	size_t cap = 0, n;
	*len = 0;
	do {
		cap = cap ? cap * 2 : 4096;
		char *more = in ? realloc(text, cap) : NULL;
		if (!more)
			break;
		text = more;
		n = fread(text + *len, 1, cap - *len - 1, in);
		*len += n;
		text[*len] = '\0';
	} while (n);
	if (in)
		fclose(in);
	return text;
}

/* Cuts the file into its parts: the first line's end becomes the end of `kind`, and the input
 * keeps a newline in its place. */
static bool split(struct test *t, char kind[64])
{
	size_t first = line_length(t->file);
	if (strncmp(t->file, "test ", 5) || first > 60 || t->file[first - 1] != '\n')
		return false;
	snprintf(kind, 64, "%.*s", (int)first - 6, t->file + 5);
	t->kind = kind;
	t->input = t->file + first - 1;
	char *arrow = strstr(t->file + first - 1, "\n==>\n");
	t->input_len = strlen(t->input);
	if (arrow) {
		t->want = arrow + 5;
		t->input_len = (size_t)(arrow + 1 - t->input);
	}
	return true;
}

static bool run(struct test *t)
{
	char kind[64];
	size_t len;
	t->file = read_file(t->path, &len);
	if (!t->file)
		return fail(t, "can't be read", strerror(errno));
	if (!split(t, kind))
		return fail(t, "the first line is no `test ...`", "");
	if (!strcmp(kind, "text"))
		return test_text(t);
	if (!strcmp(kind, "verify"))
		return test_verify(t);
	if (!strncmp(kind, "pass ", 5))
		return test_pass(t, kind + 5);
	return fail(t, "unknown kind of test; there are text, verify and pass", "");
}

int main(int argc, char **argv)
{
	int passed = 0, failed = 0;
	for (int i = 1; i < argc; i++) {
		struct test t = { .program = argv[0], .path = argv[i] };
		if (run(&t))
			passed++;
		else
			failed++;
		free(t.file);
	}
	printf("%d passed, %d failed\n", passed, failed);
	return failed || !passed;
}
