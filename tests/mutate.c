/* SPDX-License-Identifier: Apache-2.0 */
/* mutate.c -- file tests with something changed in them: mutate FILE.kvt...
 *
 * Takes a file's input, changes one to three things at random (a number, a type, an operand, a
 * word, an attribute, a line), and runs the parser, the verifier and then each pass that reads
 * the function's level, alone and followed by all others. A text is refused with a sentence or
 * becomes IR that verifies and reads back as itself. Crashes, loops and invalid IR are
 * failures: a pass that can't take a function must say so in words of its own.
 *
 * Of mutants that the interpreter runs to their end, on arguments that it finds nothing wrong
 * with, passes that compute nothing in another way must leave the results as they were.
 *
 *     KVJIT_MUTANTS=N   mutants of each file, 7 if not given; KVJIT_LONG=1: 400
 *     KVJIT_SEED=N      the first of them, 0 if not given: that is the file itself
 *     KVJIT_SHOW=1      prints each mutant
 *
 * A mutant depends on its seed and the file's text alone. Each file has a process of its own;
 * one that crashes is told and the next mutant goes on in another.
 */
#include "support_blob.h"

#include "../ir/format.h"
#include "../ir/kir.h"
#include "../passes/passes.h"
#include "../tools/sample.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum {
	SECONDS = 20,
	RUN_MS = 100,
	RUN_BYTES = 1 << 28,
	MAX_TEXT = 1 << 18,
	MAX_TOKENS = 1 << 15
};

static const char *const numbers[] = { "0",
	                               "1",
	                               "2",
	                               "-1",
	                               "3",
	                               "7",
	                               "15",
	                               "17",
	                               "64",
	                               "255",
	                               "4096",
	                               "65537",
	                               "2147483648",
	                               "-9223372036854775808",
	                               "9223372036854775807",
	                               "0.5",
	                               "1e300",
	                               "inf",
	                               "nan" };
static const char *const types[] = { "i1",  "s4",   "u4",   "s8",   "u8",   "s16", "u16",
	                             "s32", "u32",  "i64",  "s64",  "bf16", "f16", "f32",
	                             "f64", "e4m3", "e5m2", "e2m1", "e8m0" };

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* What the child is about: the parent reads it when the child has died. */
struct about {
	unsigned long seed;  /* of the mutant at work                */
	unsigned long taken; /* mutants that verified                */
	unsigned long run;   /* mutants that the interpreter ran     */
	unsigned long code;  /* mutants whose code ran               */
	unsigned long told;  /* mutants that were told as failures   */
	char stage[64];
};

static struct about *about;
static uint64_t state;

/* xorshift64*; n > 0 */
static size_t below(size_t n)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (size_t)((state * 0x2545f4914f6cdd1dull) >> 33) % n;
}

/* -- mutants -- */

struct token {
	size_t at, len;
};

static bool in_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '%' || c == '@' || c == '.';
}

static size_t tokens(const char *s, struct token *t)
{
	size_t n = 0;
	for (size_t i = 0; s[i] && n < MAX_TOKENS;) {
		size_t k = i;
		while (in_word(s[k]))
			k++;
		if (k > i)
			t[n++] = (struct token){ i, k - i };
		i = k > i ? k : i + 1;
	}
	return n;
}

/* text[at..at+len) becomes `with`; a text that would grow too long stays. */
static void put(char *text, size_t at, size_t len, const char *with, size_t n)
{
	size_t all = strlen(text);
	if (all - len + n >= MAX_TEXT)
		return;
	memmove(text + at + n, text + at + len, all - at - len + 1);
	memcpy(text + at, with, n);
}

static bool is_type(const char *s, size_t len)
{
	for (size_t i = 0; i < COUNT(types); i++)
		if (strlen(types[i]) == len && !memcmp(types[i], s, len))
			return true;
	return false;
}

/* Of one kind: numbers, types, values, words. */
static int kind(const char *s, size_t len)
{
	return *s >= '0' && *s <= '9' ? 0 : is_type(s, len) ? 1 : *s == '%' ? 2 : 3;
}

/* Changes one token for another of its kind, of the text or of a list. */
static void change_token(char *text, struct token *t)
{
	size_t n = tokens(text, t), i = n ? below(n) : 0;
	if (!n)
		return;
	int k = kind(text + t[i].at, t[i].len);
	const char *with = NULL;
	if (k == 0 && below(2))
		with = numbers[below(COUNT(numbers))];
	else if (k == 1)
		with = types[below(COUNT(types))];
	if (with) {
		put(text, t[i].at, t[i].len, with, strlen(with));
		return;
	}
	for (int tries = 0; tries < 64; tries++) {
		size_t o = below(n);
		char word[128];
		if (kind(text + t[o].at, t[o].len) != k || t[o].len >= sizeof word)
			continue;
		memcpy(word, text + t[o].at, t[o].len);
		put(text, t[i].at, t[i].len, word, t[o].len);
		return;
	}
}

static void change_line(char *text)
{
	size_t len = strlen(text), at = len ? below(len) : 0, end;
	char line[1024];
	while (at && text[at - 1] != '\n')
		at--;
	end = at + strcspn(text + at, "\n");
	end += text[end] == '\n';
	if (end - at >= sizeof line)
		return;
	memcpy(line, text + at, end - at);
	size_t what = below(3), n = end - at;
	if (what != 1) /* deleted, or moved behind the next */
		put(text, at, n, "", 0);
	if (what == 1)
		put(text, at, 0, line, n);
	else if (what == 2) {
		at += strcspn(text + at, "\n");
		at += text[at] == '\n';
		put(text, at, 0, line, n);
	}
}

/* One of the text's {...} goes. */
static void drop_attributes(char *text)
{
	size_t len = strlen(text), from = len ? below(len) : 0;
	char *open = strchr(text + from, '{'), *close = open ? strchr(open, '}') : NULL;
	if (close && !memchr(open, '\n', (size_t)(close - open)))
		put(text, (size_t)(open - text), (size_t)(close - open) + 1, "", 0);
}

static void mutate(char *text, struct token *t, unsigned long seed)
{
	state = 0x9e3779b97f4a7c15ull * (seed + 1);
	below(2);
	for (size_t n = 1 + below(3); n; n--) {
		size_t what = below(10);
		if (what < 7)
			change_token(text, t);
		else if (what < 9)
			change_line(text);
		else
			drop_attributes(text);
	}
}

/* -- what must hold -- */

static void tell(const char *path, const char *what, const char *text)
{
	about->told++;
	printf("FAIL %s: seed %lu, %s: %s\n", path, about->seed, about->stage, what);
	if (getenv("KVJIT_SHOW"))
		printf("%s\n", text);
	fflush(stdout);
}

static bool is_bug(const kir_diag *d)
{
	return !d->n || strstr(d->at[0].msg, " made invalid IR") ||
	       strstr(d->at[0].msg, " changed the result") ||
	       strstr(d->at[0].msg, " made text") || strstr(d->at[0].msg, " made a function") ||
	       strstr(d->at[0].msg, "no reason given");
}

/* What a pass may do to results: nothing if it isn't here, round sums elsewhere; -1: it
 * computes in another way. */
static double tolerance(const char *pass)
{
	static const struct {
		const char *pass;
		double tol;
	} row[] = { { "expand", -1 },    { "fold_scales", -1 }, { "late_scale", -1 },
		    { "arith", -1 },     { "short_exp", -1 },   { "lazy_rescale", -1 },
		    { "turn", -1 },      { "select", -1 },      { "vectorize", 0.02 },
		    { "fragment", 0.02 } };

	for (size_t i = 0; i < COUNT(row); i++)
		if (!strcmp(row[i].pass, pass))
			return row[i].tol;
	return 0;
}

/* The interpreter's maximum of NaNs is NaN, that of vectors what it began with: arguments have
 * none, nor bytes of which a view makes them, and where x has one now y may have anything (y
 * NULL: x is arguments). */
static void forget_nans(const kir_func *f, const sample *x, const sample *y)
{
	for (unsigned i = 0; i < f->nparam; i++) {
		const kir_type *t = kir_type_at(f->module, f->param[i].type);
		kir_elem e = (kir_elem)t->elem;
		int64_t size = kir_elem_bytes(e);
		static const char zeros[8];

		for (int64_t k = 0; t->buffer && k + size <= x->size[i]; k += size) {
			unsigned char *at = (unsigned char *)x->arg[i].base + k;
			uint64_t code = 0;

			memcpy(&code, at, (size_t)size);
			if (!y && size == 1 && code == 0xff)
				*at = 0x31;
			else if (kir_is_float(e) && isnan(kir_decode(e, code)))
				memcpy(y ? (char *)y->arg[i].base + k : (char *)at,
				       y ? (char *)at : zeros, (size_t)size);
		}
	}
}

/* Whether no two elements of a buffer share bytes: which of two stores comes last isn't said.
 */
static bool is_apart(const kir_type *t)
{
	enum { MOST = 1 << 18 };
	static unsigned char taken[MOST];
	int64_t idx[KIR_RANK] = { 0 }, n[KIR_RANK], size = kir_elem_bytes((kir_elem)t->elem);
	unsigned a;

	memset(taken, 0, sizeof taken);
	for (unsigned i = 0; i < t->rank; i++)
		n[i] = t->dim[i] == KIR_DYN ? 1 : t->dim[i];
	for (;;) {
		int64_t at = 0;

		for (unsigned p = 0; p < t->npieces; p++) {
			const kir_piece *x = &t->piece[p];
			int64_t q = idx[x->axis] / (x->div > 1 ? x->div : 1);

			at += x->dyn ? 0 : (x->mod > 0 ? q % x->mod : q) * x->stride;
		}
		if (at < 0 || at + size > MOST || taken[at])
			return false;
		memset(taken + at, 1, (size_t)size);
		for (a = t->rank; a-- > 0 && ++idx[a] >= n[a];)
			idx[a] = 0;
		if (a == UINT32_MAX)
			return true;
	}
}

static bool all_apart(const kir_func *f)
{
	for (kir_ref n = 1; n < f->nnode; n++)
		if (kir_type_of(f, n)->buffer && !is_apart(kir_type_of(f, n)))
			return false;
	return true;
}

static sample *arguments(const kir_func *f, kir_diag *why)
{
	sample *s = sample_new(f, about->seed, why);

	if (s)
		forget_nans(f, s, NULL);
	return s;
}

/* Whether f's own roundings move what it stores by more than `tol` of it: sums that cancel, of
 * which another order leaves something else. */
static bool cancels(const kir_func *f, const sample *rounded, double tol)
{
	kir_diag d = { 0 };
	sample *a = arguments(f, &d), *b = rounded ? sample_copy(rounded) : NULL;
	bool moved = a && b && kref_run(f, a->arg, KREF_EXACT, NULL, &d);

	if (moved) {
		forget_nans(f, a, b);
		moved = !sample_same(f, a, b, tol, &d);
	}
	sample_free(a);
	sample_free(b);
	return moved;
}

static bool same(const kir_func *before, const kir_func *after, void *ctx, kir_diag *why)
{
	const double *tol = ctx;
	kir_diag d = { 0 };
	sample *a = arguments(before, why), *b = a ? sample_copy(a) : NULL;
	bool ok = b && kref_run(before, a->arg, KREF_ROUND, NULL, why) &&
	          kref_run(after, b->arg, KREF_ROUND, NULL, why);

	if (ok) {
		forget_nans(before, a, b);
		ok = sample_same(before, a, b, *tol, &d) ||
		     (*tol > 0 && cancels(before, a, *tol)) ||
		     sample_same(before, a, b, *tol, why);
	}
	sample_free(a);
	sample_free(b);
	return ok;
}

/* Whether the interpreter runs f to its end, and soon: in a process of its own. */
static bool can_run(const kir_func *f)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		struct itimerval limit = { .it_value = { .tv_usec = RUN_MS * 1000 } };
		struct rlimit bytes = { RUN_BYTES, RUN_BYTES };
		kir_diag d = { 0 };
		sample *s;

		if (SANITIZED) /* has its shadow of all addresses, and tells what is too large
		                */
			(void)!freopen("/dev/null", "w", stderr);
		else
			setrlimit(RLIMIT_AS, &bytes);
		setitimer(ITIMER_VIRTUAL, &limit, NULL);
		s = arguments(f, &d);
		_exit(!s || !kref_run(f, s->arg, KREF_ROUND, NULL, &d));
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

/* list NULL: all passes. */
static void run_passes(const char *path, const char *text, const char *list, bool runs)
{
	double tol = list ? tolerance(list) : -1;
	kir_diag d = { 0 };
	kpass_options o = { .list = list, .check_text = true };

	if (runs && tol >= 0) {
		o.compare = same;
		o.ctx = &tol;
	}
	snprintf(about->stage, sizeof about->stage, "pass %s", list ? list : "all");
	kir_module *m = kir_parse(text, strlen(text), &d);
	if (!m) {
		tell(path, "a text parses once and not twice", text);
		return;
	}
	if (!kpass_run(m->func[0], &o, &d) && is_bug(&d)) {
		char buf[2048];
		tell(path, d.n ? kir_diag_text(&d, buf, sizeof buf) : "refused without a word",
		     text);
	}
	kir_module_free(m);
}

/* Whether some exp2 is a polynomial of its own, whose errors the interpreter doesn't have. */
static bool is_rough(const kir_func *f)
{
	for (kir_ref n = 1; n < f->nnode; n++)
		if (f->node[n].op == KIR_OP_exp2 && kir_attr_of(f, n, KIR_ATTR_degree))
			return true;
	return false;
}

/* What the backend makes of the function, once it is lowered, computes what the interpreter
 * does. */
static void run_code(const char *path, const char *text)
{
	const kbe_backend *x86 = support_backend("x86");
	double tol = 0.02; /* what is rounded to integers may go the other way */
	kir_diag d = { 0 };
	kpass_options o = { 0 };
	kbe_blob blob = { 0 };
	kir_module *m = kir_parse(text, strlen(text), &d);
	kir_func *f;

	snprintf(about->stage, sizeof about->stage, "code");
	if (x86 && m && support_runs(m->func[0]->target->name) &&
	    (f = kpass_run(m->func[0], &o, &d)) && !is_rough(f) && can_run(f)) {
		sample *a = arguments(f, &d), *b = a ? sample_copy(a) : NULL;
		char buf[2048];
		bool ok = b && kref_run(f, a->arg, KREF_ROUND, NULL, &d), made;

		made = ok && x86->compile(f, &blob, &d);
		if (made && support_call(f, &blob, b->arg)) {
			forget_nans(f, a, b);
			ok = sample_same(f, a, b, tol, &d);
			about->code++;
		}
		if (!ok || (!made && (!d.n || strstr(d.at[0].msg, "LLVM"))))
			tell(path, kir_diag_text(&d, buf, sizeof buf), text);
		sample_free(a);
		sample_free(b);
		free(blob.bytes);
	}
	kir_module_free(m);
}

static void try_mutant(const char *path, const char *text)
{
	kir_diag d = { 0 };
	snprintf(about->stage, sizeof about->stage, "parse");
	kir_module *m = kir_parse(text, strlen(text), &d);
	if (!m) {
		if (!d.n)
			tell(path, "refused without a word", text);
		return;
	}
	snprintf(about->stage, sizeof about->stage, "verify");
	bool good = m->nfunc > 0 && kir_verify(m->func[0], &d);
	unsigned level = good ? (unsigned)m->func[0]->level : 0;
	snprintf(about->stage, sizeof about->stage, "run");
	bool runs = good && level != KIR_A && all_apart(m->func[0]) && can_run(m->func[0]);
	if (!good && m->nfunc && !d.n)
		tell(path, "refused without a word", text);
	kir_module_free(m);
	if (!good)
		return;
	about->taken++;
	about->run += runs;
	for (unsigned i = 0; i < kpass_count; i++)
		if (kpass_table[i].from == level)
			run_passes(path, text, kpass_table[i].name, runs);
	run_passes(path, text, NULL, runs);
	if (runs && (!about->seed || getenv("KVJIT_LONG")))
		run_code(path, text);
}

/* -- files -- */

static char *read_input(const char *path)
{
	FILE *in = fopen(path, "rb");
	char *all = in ? calloc(MAX_TEXT, 1) : NULL;
	if (all && fread(all, 1, MAX_TEXT - 1, in) > 0) {
		char *end = strstr(all, "\n==>\n");
		size_t first = strcspn(all, "\n"); /* `test ...` */
		if (end)
			end[1] = '\0';
		memmove(all, all + first, strlen(all + first) + 1);
		for (char *c = all; (c = strchr(c, ';'));) /* comments take no part */
			memmove(c, c + strcspn(c, "\n"), strlen(c + strcspn(c, "\n")) + 1);
	}
	if (in)
		fclose(in);
	return all;
}

static void child(const char *path, const char *input, unsigned long end)
{
	char *text = malloc(MAX_TEXT);
	struct token *t = malloc(MAX_TOKENS * sizeof *t);
	while (text && t && ++about->seed < end) {
		/* of the processor's time: neighbours don't count; the kernel ends it */
		struct itimerval limit = { .it_value = { .tv_sec = SECONDS } };
		strcpy(text, input);
		if (about->seed)
			mutate(text, t, about->seed);
		if (getenv("KVJIT_SHOW"))
			printf("; %s seed %lu\n%s\n", path, about->seed, text);
		fflush(stdout);
		setitimer(ITIMER_VIRTUAL, &limit, NULL);
		try_mutant(path, text);
	}
	free(text);
	free(t);
	_exit(text && t ? 0 : 1);
}

static unsigned long number(const char *name, unsigned long otherwise)
{
	const char *s = getenv(name);
	return s && *s ? strtoul(s, NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
	unsigned long n = number("KVJIT_MUTANTS", number("KVJIT_LONG", 0) ? 400 : 7);
	unsigned long first = number("KVJIT_SEED", 0);
	about = mmap(NULL, sizeof *about, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
	             -1, 0);
	if (about == MAP_FAILED)
		return 1;
	for (int i = 1; i < argc; i++) {
		char *input = read_input(argv[i]);
		if (!input) {
			printf("FAIL %s: can't be read\n", argv[i]);
			return 1;
		}
		about->seed = first - 1;
		while (about->seed + 1 < first + n) {
			int status = 0;
			fflush(stdout);
			pid_t pid = fork();
			if (!pid)
				child(argv[i], input, first + n);
			if (pid < 0 || waitpid(pid, &status, 0) != pid)
				return 1;
			if (!status)
				break;
			tell(argv[i],
			     WIFSIGNALED(status) && WTERMSIG(status) == SIGVTALRM ? "a loop"
			                                                          : "a crash",
			     "");
		}
		free(input);
	}
	printf("%d files, %lu mutants verified, %lu of them ran, %lu as code, %lu failures\n",
	       argc - 1, about->taken, about->run, about->code, about->told);
	if (about->told)
		printf("again: KVJIT_SHOW=1 KVJIT_SEED=N KVJIT_MUTANTS=1 %s FILE\n", argv[0]);
	/* of one file there may be none that runs */
	return about->told || !about->taken || (argc > 2 && !about->run);
}
